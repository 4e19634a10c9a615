"""Faults, injected for real: killed processes, full disks, taken rights, races."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import registry_child
import tiny_bundle as made

from sartor.registry import bundle, disk
from sartor.registry.store import Store

MOST_STEPS = 60


def put(store: Store, seed: int):
    return store.put(made.draft(seed), made.files(seed), "reviews")


def assert_whole(store: Store) -> None:
    """Every entry is sound, every other folder is one that a put declared, the log fits."""
    for entry in store.list():
        assert bundle.read(entry.path).manifest.id == entry.id
    assert [entry.version for entry in store.list()] == list(range(1, len(store.list()) + 1))
    store.verify_chain()


def assert_clean(store: Store) -> None:
    """Nothing is left of a dead process."""
    store.collect_garbage(older_than=0)
    assert os.listdir(store.home / "tmp") == []
    assert sorted(os.listdir(store.home / "models")) == sorted(entry.id for entry in store.list())


def forked(function: Callable[..., None], *arguments: object) -> int:
    """Run a function of the child in a fork of this process; return its exit code, or minus its signal."""
    process = os.fork()
    if process == 0:
        try:
            function(*arguments)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed_at_every_step(function: Callable[..., None], *arguments: object) -> Iterator[int]:
    """Run a function again and again, killed at step 1, 2, 3 …; yield the step until one run ends."""
    for nth in range(1, MOST_STEPS):
        code = forked(function, nth, *arguments)
        assert code in (0, -signal.SIGKILL)
        yield nth
        if code == 0:
            return
    raise AssertionError(f"not done after {MOST_STEPS} steps")


def test_a_first_put_killed_at_any_step_leaves_all_or_nothing(tmp_path):
    for nth in range(1, MOST_STEPS):
        store = Store(tmp_path / f"home{nth}")
        code = forked(registry_child.killed_put, nth, store.home, 5)
        assert code in (0, -signal.SIGKILL)
        assert_whole(store)
        assert len(store.list()) in (0, 1)
        assert put(store, 5).version == 1
        assert_whole(store)
        assert_clean(store)
        if code == 0:
            break
    assert nth > 12


def test_a_put_killed_at_any_step_harms_no_other(store):
    old = [put(store, 1), put(store, 2)]
    steps = 0
    for nth in killed_at_every_step(registry_child.killed_put, store.home, 3):
        steps = nth
        assert_whole(store)
        assert store.list()[:2] == old
        assert put(store, 100 + nth) in store.list()
        assert_whole(store)
    assert steps > 12
    assert_clean(store)


def test_several_put_at_once_and_killed_at_any_step_are_all_there_or_none(store):
    first = put(store, 1)
    steps = 0
    for nth in killed_at_every_step(registry_child.killed_put_many, store.home, (3, 4, 5)):
        steps = nth
        assert_whole(store)
        stored = store.list()
        assert len(stored) in (1, 4)
        if len(stored) == 4:
            assert store.aliases("reviews") == {"champion": stored[1].id}
            break
        assert store.aliases("reviews") == {}
    assert steps > 20
    assert stored[0].id == first.id
    assert_clean(store)


def test_an_alias_move_killed_at_any_step_is_made_or_not(store):
    first, second = put(store, 1), put(store, 2)
    store.move_alias("reviews", "champion", first.id, expected=None)
    for _ in killed_at_every_step(registry_child.killed_move, store.home, second.id):
        assert_whole(store)
        (at,) = store.aliases("reviews").values()
        moves = [event.body["to"] for event in store.events() if event.kind == "alias"]
        assert at == moves[-1]
        if at == second.id:
            store.move_alias("reviews", "champion", first.id, expected=second.id)
    assert len(moves) > 2


@pytest.mark.parametrize("exchange", [True, False])
def test_an_export_killed_at_any_step_leaves_the_old_or_the_new(store, tmp_path, exchange):
    old, new = put(store, 1), put(store, 2)
    out = tmp_path / "exports" / "out"
    store.export(old.id, out)
    seen = set()
    for _ in killed_at_every_step(registry_child.killed_export, store.home, new.id, out, True, exchange):
        # Where a system cannot swap names, there is a moment without; the store still holds both.
        seen.add(bundle.read(out).manifest.id if out.exists() else None)
        assert_whole(store)
        store.export(old.id, out, overwrite=out.exists())
        assert os.listdir(out.parent) == ["out"]
    assert seen - {None} == {old.id, new.id}
    assert (None in seen) == (not exchange)


def test_a_first_export_killed_at_any_step_leaves_all_or_nothing(store, tmp_path):
    entry = put(store, 1)
    out = tmp_path / "exports" / "out"
    seen = set()
    for _ in killed_at_every_step(registry_child.killed_export, store.home, entry.id, out, False, True):
        seen.add(out.exists())
        if out.exists():
            assert bundle.read(out).manifest.id == entry.id
            disk.remove(out)
        store.export(entry.id, out)
        assert os.listdir(out.parent) == ["out"]
        disk.remove(out)
    assert seen == {True, False}


def test_a_process_killed_at_any_moment_harms_nothing(store):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    script = Path(__file__).with_name("registry_child.py")
    for pause in (0.01, 0.03, 0.05, 0.08):
        command = [sys.executable, str(script), "put_for_ever", str(store.home)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            time.sleep(pause)
            child.kill()
        assert_whole(store)
    assert store.list()
    assert_clean(store)


def test_an_interrupt_at_any_step_leaves_no_rest(store, monkeypatch):
    old = put(store, 1)
    for nth in range(1, MOST_STEPS):
        passed = []

        def step(name: str, nth: int = nth, passed: list[str] = passed) -> None:
            passed.append(name)
            if len(passed) == nth:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(disk, "step", step)
            try:
                put(store, 2)
            except KeyboardInterrupt:
                pass
            else:
                break
        assert os.listdir(store.home / "tmp") == []
        assert store.list()[:1] == [old]
        assert sorted(os.listdir(store.home / "models")) == sorted(entry.id for entry in store.list())
        assert_whole(store)
    assert nth > 12


# --- full disks --------------------------------------------------------------------------------------------


def test_a_full_disk_is_a_sentence_and_no_harm(tmp_path, run_child):
    mount = ("unshare", "--mount", "--map-root-user", "sh", "-c")
    script = f'mount -t tmpfs -o size=1m tmpfs "{tmp_path}" && exec "$0" "$@"'
    if not shutil.which("unshare") or subprocess.run([*mount, script, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a tmpfs of their own")
    done = run_child("full_disk", tmp_path, before=(*mount, script))
    assert done.returncode == 0, done.stderr
    weights, database = done.stdout.splitlines()
    assert "no space is left on that disk. Free some" in weights
    assert "no space is left" in database or "it may be full" in database


@pytest.mark.parametrize(
    ("function", "sentence"),
    [("limited_files", "a file is larger than this system lets you write"), ("limited_database", "Cannot ")],
)
def test_a_limit_on_file_sizes_is_a_sentence_and_no_harm(store, run_child, function, sentence):
    done = run_child(function, store.home)
    assert done.returncode == 0, done.stderr
    assert sentence in done.stdout
    assert_whole(store)
    put(store, 4)
    assert_clean(store)


# --- rights ------------------------------------------------------------------------------------------------


def test_a_store_without_the_right_to_write_can_be_read(run_child):
    # The root's own folder for tests is closed to other users: take one of our own.
    with tempfile.TemporaryDirectory() as name:
        ground = Path(name)
        ground.chmod(0o755)
        store = Store(ground / "home")
        store.move_alias("reviews", "champion", put(store, 1).id, expected=None)
        before = {path: path.stat().st_mtime_ns for path in store.home.rglob("*")}
        (ground / "free").mkdir()
        (ground / "free").chmod(0o777)
        closed = [ground, store.home, *(path for path in store.home.rglob("*") if path.is_dir())]
        for folder in closed:
            folder.chmod(0o555)
        try:
            done = run_child("read_only", store.home, ground / "free" / "out")
        finally:
            for folder in closed:
                folder.chmod(0o755)
        assert done.returncode == 0, done.stderr
        put_, moved, exported = done.stdout.splitlines()
        assert "read-only" in put_ or "permission is denied" in put_
        assert "read-only" in moved or "permission is denied" in moved
        assert exported.startswith("Cannot write to")
        assert {path: path.stat().st_mtime_ns for path in store.home.rglob("*")} == before


def test_a_log_left_by_a_killed_writer_is_read_or_refused_but_never_overlooked():
    with tempfile.TemporaryDirectory() as name:
        ground = Path(name)
        ground.chmod(0o755)
        store = Store(ground / "home")
        assert forked(registry_child.die_after_commit, store.home) == -signal.SIGKILL
        assert (store.home / "registry.db-wal").stat().st_size > 0
        store.home.chmod(0o555)
        try:
            assert forked(registry_child.list_one_without_rights, store.home) == 0
            store.home.chmod(0o755)
            (store.home / "registry.db-shm").unlink()
            store.home.chmod(0o555)
            assert forked(registry_child.list_is_refused_without_rights, store.home) == 0
        finally:
            store.home.chmod(0o755)
        assert len(store.list()) == 1


# --- races -------------------------------------------------------------------------------------------------


def test_eight_processes_put_and_one_of_them_wins_the_alias(store, tmp_path, run_child):
    count = 2
    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(run_child, "race", store.home, 100 + count * i, count, tmp_path / "go") for i in range(8)]
        (tmp_path / "go").touch()
        done = [run.result() for run in runs]
    assert [run.returncode for run in done] == [0] * 8, [run.stderr for run in done]
    answers = [run.stdout.strip() for run in done]
    (winner,) = (answer.removeprefix("won ") for answer in answers if answer.startswith("won "))
    assert all(f"is at {winner}" in answer for answer in answers if not answer.startswith("won "))
    assert store.aliases("reviews") == {"champion": winner}
    assert len(store.list()) == 8 * count + 1
    assert_whole(store)
    assert_clean(store)
