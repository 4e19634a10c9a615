"""What the tests do in processes of their own: be killed, run out of disk, lose rights, race.

python registry_child.py <function> <arguments…>
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import tiny_bundle as made

from sartor.errors import StorageError
from sartor.registry import disk
from sartor.registry.store import Put, Store


def report(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def _die_at(nth: int) -> None:
    """Kill this process with SIGKILL at the nth step."""
    passed = 0

    def step(name: str) -> None:
        nonlocal passed
        passed += 1
        if passed == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    disk.step = step


def _old_file_systems() -> None:
    disk._exchange = lambda one, other: False


def killed_put(nth: int, home: Path, seed: int) -> None:
    _die_at(nth)
    Store(home).put(made.draft(seed), made.files(seed), "reviews")


def killed_put_many(nth: int, home: Path, seeds: Sequence[int]) -> None:
    _die_at(nth)
    Store(home).put_many([Put(made.draft(seed), made.files(seed), "reviews", champion) for seed in seeds])


def champion(before: Mapping[str, str]) -> str | None:
    return None if "champion" in before else "champion"


def killed_export(nth: int, home: Path, ref: str, out: Path, overwrite: bool, exchange: bool) -> None:
    if not exchange:
        _old_file_systems()
    _die_at(nth)
    Store(home).export(ref, out, overwrite=overwrite)


def killed_move(nth: int, home: Path, to_id: str) -> None:
    store = Store(home)
    _die_at(nth)
    store.move_alias("reviews", "champion", to_id, expected=store.aliases("reviews").get("champion"))


def put_for_ever(home: str) -> None:
    store = Store(Path(home))
    report("ready")
    for seed in range(1000, 100_000):
        store.put(made.draft(seed), made.files(seed), "reviews")


def race(home: str, first: str, count: str, go: str) -> None:
    """Put ``count`` models, then move the alias from nothing to our own: print "won" or the error."""
    store = Store(Path(home))
    while not os.path.exists(go):
        time.sleep(0.001)
    seeds = range(int(first), int(first) + int(count))
    entries = [store.put(made.draft(seed), made.files(seed), "reviews") for seed in seeds]
    store.put(made.draft(7), made.files(7), "reviews")
    try:
        store.move_alias("reviews", "champion", entries[0].id, expected=None)
    except StorageError as error:
        report(error)
    else:
        report("won", entries[0].id)


def full_disk(home: str) -> None:
    """Meet a full disk while writing weights, and while writing the database; go on once there is room."""
    store = Store(Path(home))
    first = store.put(made.draft(1), made.files(1), "reviews")
    _refused(store, 2, 1_000_000)
    filler = Path(home) / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 512):
                pass
        except OSError:
            pass
    _refused(store, 2, 6)
    assert store.list() == [first]
    filler.unlink()
    store.put(made.draft(3), made.files(3), "reviews")
    assert [entry.version for entry in store.list()] == [1, 2]
    assert store.verify_chain() == 2


def limited_files(home: str) -> None:
    store = Store(Path(home))
    first = store.put(made.draft(1), made.files(1), "reviews")
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    _refused(store, 2, 100_000)
    assert store.list() == [first]
    store.put(made.draft(3), made.files(3), "reviews")


def limited_database(home: str) -> None:
    store = Store(Path(home))
    first = store.put(made.draft(1), made.files(1), "reviews")
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))
    _refused(store, 2, 6)
    assert store.list() == [first]


def _refused(store: Store, seed: int, n: int) -> None:
    try:
        store.put(made.draft(seed, n), made.files(seed, n), "reviews")
    except StorageError as error:
        report(error)
    else:
        raise AssertionError("the put went through")
    assert len(store.list()) == 1
    assert os.listdir(store.home / "tmp") == []


def _give_up_rights() -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def die_after_commit(home: Path) -> None:
    disk.step = lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == "published" else None
    Store(home).put(made.draft(1), made.files(1), "reviews")


def list_one_without_rights(home: Path) -> None:
    _give_up_rights()
    assert [entry.name for entry in Store(home).list()] == ["reviews"]


def list_is_refused_without_rights(home: Path) -> None:
    _give_up_rights()
    try:
        Store(home).list()
    except StorageError:
        return
    raise AssertionError("the log was overlooked")


def read_only(home: str, out: str) -> None:
    """As a user who may read the store and not write it."""
    draft, files = made.draft(2), made.files(2)  # while numpy can still be imported
    _give_up_rights()
    store = Store(Path(home))
    (entry,) = store.list()
    assert store.get("reviews") == entry
    assert store.verify_chain() == 2
    assert store.export("reviews", Path(out)) == Path(out)
    for attempt in (
        lambda: store.put(draft, files, "reviews"),
        lambda: store.move_alias("reviews", "champion", entry.id, expected=entry.id),
        lambda: store.export("reviews", Path(home).parent / "out"),
    ):
        try:
            attempt()
        except StorageError as error:
            report(error)
        else:
            raise AssertionError("a read-only store was written")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
