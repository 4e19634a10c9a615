import sqlite3
from contextlib import closing

import pytest
import tiny_bundle as made

from sartor.errors import StorageError
from sartor.registry import migrations


def _add_notes(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE entries ADD COLUMN notes TEXT NOT NULL DEFAULT ''")


def _fail_halfway(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE half (x)")
    raise RuntimeError("halfway")


@pytest.fixture
def filled(store):
    store.put(made.draft(), made.files(), "reviews")
    return store


def columns(store):
    with closing(sqlite3.connect(store.home / "registry.db")) as db:
        taken = db.execute("PRAGMA user_version").fetchone()[0]
        return taken, {row[1] for row in db.execute("PRAGMA table_info(entries)")}


def test_an_older_store_is_upgraded_by_reading_or_writing(filled, monkeypatch):
    before = filled.list()
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, _add_notes))
    assert filled.list() == before
    assert columns(filled)[0] == len(migrations.MIGRATIONS)
    assert "notes" in columns(filled)[1]
    assert filled.put(made.draft(1), made.files(1), "reviews").version == 2


def test_a_store_of_the_first_step_is_upgraded_and_keeps_all(store, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:1])
        entry = store.put(made.draft(), made.files(), "reviews")
    assert columns(store)[0] == 1
    assert store.list() == [entry]
    assert store.canary("reviews") is None
    store.set_policy("reviews", "champion", {"retain": True})
    assert store.policy("reviews", "champion") == {"retain": True}
    assert store.verify_chain() == 2


def test_an_upgrade_that_fails_changes_nothing(filled, monkeypatch):
    before = filled.list(), columns(filled)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, _add_notes, _fail_halfway))
        with pytest.raises(RuntimeError, match="halfway"):
            filled.put(made.draft(1), made.files(1), "reviews")
    assert (filled.list(), columns(filled)) == before


def test_a_store_of_a_newer_sartor_is_left_alone(filled):
    with closing(sqlite3.connect(filled.home / "registry.db")) as db:
        db.execute("PRAGMA user_version = 9")
    for attempt in (filled.list, lambda: filled.put(made.draft(1), made.files(1), "reviews")):
        with pytest.raises(StorageError, match=r"newer Sartor \(registry.db is at step 9; this one knows 2\): update"):
            attempt()


def test_a_database_of_another_program_is_left_alone(store):
    store.home.mkdir()
    with closing(sqlite3.connect(store.home / "registry.db")) as db:
        db.execute("CREATE TABLE theirs (x)")
    for attempt in (store.list, lambda: store.put(made.draft(), made.files(), "reviews")):
        with pytest.raises(StorageError, match="another program"):
            attempt()


def test_the_log_can_only_be_added_to(filled):
    with closing(sqlite3.connect(filled.home / "registry.db")) as db:
        for statement in ("UPDATE events SET actor = 'me'", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)
