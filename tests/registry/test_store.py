import doctest
import hashlib
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import tiny_bundle as made
from hypothesis import given
from hypothesis import strategies as st

from sartor.errors import BundleError, NotFoundError, StorageError, UserError
from sartor.registry import bundle, disk
from sartor.registry import store as store_module
from sartor.registry.store import Entry, Put, Store, resolve, slug


def put(store: Store, seed: int = 0, name: str = "reviews", n: int = 6) -> Entry:
    return store.put(made.draft(seed, n), made.files(seed, n), name)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def change(store: Store, *statements: str) -> None:
    with closing(sqlite3.connect(store.home / "registry.db")) as db, db:
        for verb in ("update", "delete"):
            db.execute(f"DROP TRIGGER IF EXISTS events_no_{verb}")
        for statement in statements:
            db.execute(statement)


# --- putting and finding -----------------------------------------------------------------------------------


def test_a_store_that_does_not_exist_is_empty_and_stays_away(store):
    assert store.list() == []
    assert store.events() == ()
    assert store.aliases("reviews") == {}
    assert store.verify_chain() == store.collect_garbage() == 0
    with pytest.raises(NotFoundError, match=r"is empty. 'sartor generate' fills it"):
        store.get("reviews")
    with pytest.raises(NotFoundError):
        store.move_alias("reviews", "champion", "0" * 16, expected=None)
    assert not store.home.exists()


def test_what_is_put_is_listed_and_sound(store):
    entry = put(store)
    assert store.list() == [entry]
    assert (entry.name, entry.version, entry.family, entry.aliases) == ("reviews", 1, "text-classification", ())
    assert entry.path == store.home / "models" / entry.id
    manifest, _ = bundle.read(entry.path)
    assert (manifest.id, manifest.created) == (entry.id, entry.created)
    assert os.listdir(store.home / "tmp") == []


def test_the_bundle_bears_the_name_it_was_put_under(store):
    assert bundle.read(put(store, name="other").path).manifest.name == "other"


def test_several_are_put_at_once_in_order_and_each_may_take_an_alias(store):
    def free(before):
        return "challenger" if "champion" in before else "champion"

    puts = [Put(made.draft(n), made.files(n), name, free) for n, name in enumerate(("a", "b", "a", "a"))]
    found = store.put_many([*puts, puts[1]])
    assert [(entry.name, entry.version) for entry in found] == [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 1)]
    assert store.aliases("a") == {"champion": found[0].id, "challenger": found[3].id}
    assert store.list() == found[:4]
    assert store.verify_chain() == 4 + 4
    assert all(bundle.read(entry.path).manifest.id == entry.id for entry in found)


def test_of_several_put_at_once_a_bad_one_keeps_all_out(store):
    with pytest.raises(UserError):
        store.put_many([Put(made.draft(1), made.files(1), "good"), Put(made.draft(2), made.files(2), "No Name")])
    assert store.put_many([]) == []
    assert store.list() == []


def test_versions_count_within_a_name(store):
    entries = [put(store, 0), put(store, 1), put(store, 0, "other"), put(store, 2)]
    assert [(entry.name, entry.version) for entry in entries] == [
        ("reviews", 1),
        ("reviews", 2),
        ("other", 1),
        ("reviews", 3),
    ]
    assert store.list() == entries


def test_the_same_model_again_is_the_same_entry(store):
    assert put(store) == put(store)
    assert len(store.events()) == 1


def test_the_same_model_again_mends_a_damaged_folder(store):
    entry = put(store)
    (entry.path / "README.md").write_text("changed")
    assert put(store) == entry
    bundle.read(entry.path)
    (entry.path / "README.md").unlink()
    (entry.path / "model.safetensors").unlink()
    assert put(store) == entry
    bundle.read(entry.path)
    assert os.listdir(store.home / "tmp") == []


def test_a_bundle_that_is_not_sound_leaves_nothing(store):
    with pytest.raises(BundleError):
        store.put(made.draft(n=3), made.files(n=4), "reviews")
    assert not store.home.exists()


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "../a", "a/b", "é", "a" * 65, "a\n"])
def test_a_name_that_cannot_be_one_is_refused_with_one_that_can(store, name):
    with pytest.raises(UserError, match="cannot be the name of a model") as caught:
        put(store, name=name)
    suggested = re.findall(r"as '([^']*)'\.$", str(caught.value))[0]
    assert put(store, name=suggested).version == 1


def test_a_model_is_found_by_every_kind_of_reference(store):
    first, second, third = put(store, 0), put(store, 1), put(store, 2)
    assert store.get("reviews") == third
    assert store.get("reviews@v2") == second
    assert store.get(first.id) == store.get(first.id[:6]) == first
    store.move_alias("reviews", "champion", second.id, expected=None)
    assert store.get("reviews@champion").id == second.id
    assert store.get("reviews").id == third.id
    assert store.get("reviews@v3") == third


def test_a_name_goes_before_the_beginning_of_an_id(store):
    first = put(store)
    named = put(store, 1, first.id[:6])
    assert store.get(first.id[:6]) == named
    assert store.get(first.id[:7]) == first


def test_an_ambiguous_beginning_lists_the_candidates(store):
    entries = [put(store), put(store, 1)]
    ids = ["abcdef0000000000", "abcdef1111111111"]
    with closing(sqlite3.connect(store.home / "registry.db")) as db, db:
        for entry, other in zip(entries, ids, strict=True):
            db.execute("UPDATE entries SET id = ? WHERE id = ?", (other, entry.id))
    with pytest.raises(NotFoundError, match=r"abcdef0000000000 \(reviews@v1\), abcdef1111111111 \(reviews@v2\)"):
        store.get("abcdef")


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("reviewz", r"Did you mean 'reviews'\? 'sartor models' lists them"),
        ("reviewz@champion", "Did you mean 'reviews'"),
        ("reviews@v9", "no version or alias 'v9'. It has v1 to v2 and the aliases champion"),
        ("reviews@chanpion", "Did you mean 'champion'"),
        ("reviews@", "no version or alias ''"),
        ("fffffff", "lists them"),
        ("", "lists them"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(store, ref, message):
    put(store)
    store.move_alias("reviews", "champion", put(store, 1).id, expected=None)
    with pytest.raises(NotFoundError, match=message):
        store.get(ref)


def test_a_model_whose_folder_is_gone_is_an_error_and_can_be_put_again(store):
    entry = put(store)
    disk.remove(entry.path)
    with pytest.raises(BundleError, match="is gone"):
        store.get("reviews")
    assert store.list() == [entry]
    assert put(store) == store.get("reviews") == entry


def test_a_reference_is_a_folder_first_and_then_a_model(store, tmp_path, monkeypatch):
    entry = put(store)
    monkeypatch.chdir(tmp_path)
    assert resolve("reviews", store.home) == entry.path
    store.export("reviews", tmp_path / "reviews")
    assert resolve("reviews", store.home) == Path("reviews")
    assert resolve(str(tmp_path / "reviews"), store.home) == tmp_path / "reviews"
    for ref in ("./nothing", str(tmp_path), "../x"):
        with pytest.raises(NotFoundError, match=r"holds no manifest.json"):
            resolve(ref, store.home)
    for ref in ("", "x" * 5000, "a\0b"):
        with pytest.raises(NotFoundError):
            resolve(ref, store.home)


@given(st.text())
def test_every_text_has_a_slug_that_is_a_name_and_its_own_slug(text):
    name = slug(text)
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", name)
    assert slug(name) == name


def test_a_slug_keeps_latin_words_and_hashes_other_scripts():
    assert slug("Is this review positive?") == "is-this-review-positive"
    assert slug("Crème brûlée, oui/non") == "creme-brulee-oui-non"
    assert slug("my_model.v2") == "my_model.v2"
    assert slug("word " * 40) == "-".join(["word"] * 13)
    japanese = "レビューを3つに分類する"
    assert slug(japanese) == f"model-{hashlib.sha256(japanese.encode()).hexdigest()[:6]}"
    assert doctest.testmod(store_module).failed == 0
    assert slug("\ud800") != slug("") != slug(" !")


# --- aliases and the log -----------------------------------------------------------------------------------


def test_an_alias_moves_only_from_where_it_is_expected(store):
    first, second = put(store), put(store, 1)
    assert store.move_alias("reviews", "champion", first.id, expected=None).aliases == ("champion",)
    with pytest.raises(StorageError, match=rf"expected at nothing and is at {first.id}: .* \(process {os.getpid()}\)"):
        store.move_alias("reviews", "champion", second.id, expected=None)
    with pytest.raises(StorageError, match="is at nothing: nobody ever moved it"):
        store.move_alias("reviews", "challenger", second.id, expected=first.id)
    assert store.aliases("reviews") == {"champion": first.id}
    assert store.move_alias("reviews", "champion", second.id, expected=first.id).aliases == ("champion",)
    assert [entry.aliases for entry in store.list()] == [(), ("champion",)]


def test_an_alias_names_only_a_version_of_its_own_name(store):
    put(store)
    other = put(store, 1, "other")
    with pytest.raises(NotFoundError, match="reviews has no version with the id"):
        store.move_alias("reviews", "champion", other.id, expected=None)
    with pytest.raises(UserError, match="'v1' cannot be an alias"):
        store.move_alias("reviews", "v1", other.id, expected=None)
    with pytest.raises(UserError, match="cannot be the name of an alias"):
        store.move_alias("reviews", "The Best", other.id, expected=None)


def test_every_put_and_move_leaves_an_event(store):
    entry = put(store)
    store.move_alias("reviews", "champion", entry.id, expected=None)
    made_, moved = store.events()
    assert (made_.kind, made_.body) == ("put", {"id": entry.id, "name": "reviews", "version": 1})
    assert moved.body == {"name": "reviews", "alias": "champion", "from": None, "to": entry.id}
    assert f"process {os.getpid()}" in moved.actor
    assert store.verify_chain() == 2


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE events SET body = replace(body, '\"version\":1', '\"version\":2') WHERE seq = 1", "event 1"),
        ("UPDATE events SET body = 'x' WHERE seq = 1", "event 1"),
        ("UPDATE events SET body = '{}' WHERE seq = 1", "event 1"),
        ("UPDATE events SET actor = 'nobody' WHERE seq = 2", "event 2"),
        ("UPDATE events SET at = '2000' WHERE seq = 2", "event 2"),
        ("UPDATE events SET hash = hash || '0' WHERE seq = 3", "event 3"),
        ("DELETE FROM events WHERE seq = 2", "event 2"),
        ("DELETE FROM events WHERE seq = 1", "event 1"),
        ("DELETE FROM events WHERE seq = 3", "the aliases differ in reviews@champion"),
        ("UPDATE aliases SET id = (SELECT id FROM entries WHERE version = 2)", "the aliases differ"),
        ("DELETE FROM aliases", "the aliases differ"),
        ("UPDATE entries SET version = 7 WHERE version = 2", "the entries differ"),
    ],
)
def test_whatever_is_changed_from_outside_is_found(store, statement, message):
    entry = put(store)
    put(store, 1)
    store.move_alias("reviews", "champion", entry.id, expected=None)
    assert store.verify_chain() == 3
    change(store, statement)
    with pytest.raises(StorageError, match=message):
        store.verify_chain()


# --- export ------------------------------------------------------------------------------------------------


def test_an_export_is_the_same_bundle(store, tmp_path):
    entry = put(store)
    out = store.export("reviews", tmp_path / "a" / "b")
    assert out == tmp_path / "a" / "b"
    assert contents(out) == contents(entry.path)
    assert os.listdir(tmp_path / "a") == ["b"]


def test_an_export_overwrites_only_what_the_store_holds(store, tmp_path):
    old, new = put(store), put(store, 1)
    out = store.export(old.id, tmp_path / "out")
    with pytest.raises(StorageError, match="exists already"):
        store.export(new.id, out)
    assert contents(out) == contents(old.path)
    store.export(new.id, out, overwrite=True)
    assert contents(out) == contents(new.path)
    assert sorted(os.listdir(tmp_path)) == ["home", "out"]


def _add_a_file(out: Path) -> None:
    (out / "notes.txt").write_text("mine")


def _add_a_bystander(out: Path) -> None:
    (out / ".gitattributes").write_text("mine")


def _change_a_file(out: Path) -> None:
    (out / "README.md").write_text("mine")


def _hold_another_bundle(out: Path) -> None:
    disk.remove(out)
    bundle.write(out, bundle.seal(made.draft(9), made.files(9))[1])


def _be_a_link(out: Path) -> None:
    out.rename(out.with_name("elsewhere"))
    out.symlink_to(out.with_name("elsewhere"))


def _be_a_file(out: Path) -> None:
    disk.remove(out)
    out.write_text("mine")


@pytest.mark.parametrize(
    "spoil",
    [_add_a_file, _add_a_bystander, _change_a_file, _hold_another_bundle, _be_a_link, _be_a_file],
)
def test_an_export_deletes_nothing_that_the_store_does_not_hold(store, tmp_path, spoil: Callable[[Path], None]):
    entry = put(store)
    out = store.export(entry.id, tmp_path / "out")
    spoil(out)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StorageError, match="is not overwritten, for it holds what this store does not"):
        store.export(entry.id, out, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_export_does_not_replace_a_bundle_whose_stored_twin_is_damaged(store, tmp_path):
    old, new = put(store), put(store, 1)
    out = store.export(old.id, tmp_path / "out")
    (old.path / "README.md").write_text("changed")
    with pytest.raises(StorageError, match="is not overwritten"):
        store.export(new.id, out, overwrite=True)
    with pytest.raises(BundleError, match="was changed"):
        store.export(old.id, tmp_path / "other")
    assert sorted(os.listdir(tmp_path)) == ["home", "out"]


def test_an_export_may_fill_an_empty_folder(store, tmp_path):
    entry = put(store)
    out = tmp_path / "out"
    out.mkdir()
    store.export(entry.id, out)
    assert bundle.read(out).manifest.id == entry.id


def test_an_export_stays_out_of_the_store(store):
    put(store)
    with pytest.raises(StorageError, match="within the store"):
        store.export("reviews", store.home / "models" / "copy")


# --- garbage -----------------------------------------------------------------------------------------------


def test_garbage_is_only_what_was_declared_long_ago_and_is_not_locked(store):
    kept = put(store)
    orphan = put(store, 1)
    change(
        store,
        f"INSERT INTO pending VALUES ('{orphan.id}', unixepoch() - 3000), ('{kept.id}', 0)",
        f"DELETE FROM entries WHERE id = '{orphan.id}'",
    )
    stranger = store.home / "models" / "put-here-by-hand"
    stranger.mkdir()
    assert store.collect_garbage() == 0
    assert orphan.path.exists()
    change(store, "UPDATE pending SET started = unixepoch() - 4000")
    with disk.locked(orphan.path):
        assert store.collect_garbage() == 0
    assert store.collect_garbage() == 1
    assert sorted(path.name for path in (store.home / "models").iterdir()) == sorted([kept.id, stranger.name])


def test_an_orphan_of_the_same_model_is_replaced(store):
    entry = put(store)
    (entry.path / "README.md").write_text("half")
    change(store, "DELETE FROM entries", "DELETE FROM events")
    assert put(store).id == entry.id
    bundle.read(entry.path)
    assert store.verify_chain() == 1


def test_the_staging_of_a_dead_process_is_removed_and_of_a_living_one_is_not(store):
    put(store)
    dead = store.home / "tmp" / ("0" * 16)
    dead.mkdir()
    (dead / "model.safetensors").write_bytes(b"half")
    foreign = store.home / "tmp" / "not-ours"
    foreign.mkdir()
    with disk.staging(store.home / "tmp") as living:
        put(store, 1)
        assert living.exists()
        assert not dead.exists()
    assert os.listdir(store.home / "tmp") == ["not-ours"]


# --- bad ground --------------------------------------------------------------------------------------------


def test_a_damaged_database_is_a_sentence(store):
    put(store)
    (store.home / "registry.db").write_bytes(b"no database at all" * 100)
    for attempt in (store.list, lambda: put(store, 1)):
        with pytest.raises(StorageError, match=r"registry.db: it is no database. Restore it"):
            attempt()


def test_a_home_that_is_a_file_is_a_sentence(tmp_path):
    (tmp_path / "home").write_text("")
    for home in (tmp_path / "home", tmp_path / "home" / "deeper"):
        assert Store(home).list() == []
        with pytest.raises(StorageError, match="Cannot write to"):
            put(Store(home))


def test_a_store_that_another_process_holds_is_a_sentence(store, monkeypatch):
    monkeypatch.setattr("sartor.registry.store.BUSY_S", 0.05)
    put(store)
    with closing(sqlite3.connect(store.home / "registry.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another process has held it"):
            put(store, 1)
        assert len(store.list()) == 1
    assert os.listdir(store.home / "tmp") == []
    assert put(store, 1).version == 2


def test_odd_characters_in_the_way_to_the_store_do_no_harm(tmp_path):
    store = Store(tmp_path / "a?b#c%20 d'é")
    entry = put(store)
    assert store.list() == [entry]
    assert (tmp_path / "a?b#c%20 d'é" / "registry.db").exists()
