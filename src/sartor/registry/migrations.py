"""The numbered steps that bring a store's database to today's form. Never change one: add another.

``PRAGMA user_version`` counts the steps taken. An upgrade is one transaction: all of it or nothing.
"""

import sqlite3
from collections.abc import Callable
from typing import TypeAlias

from sartor.errors import StorageError

Migration: TypeAlias = Callable[[sqlite3.Connection], None]

APPLICATION_ID = 0x53415254
"""Marks a database as ours ("SART")."""

_ID = "TEXT NOT NULL CHECK (length(id) = 16 AND id NOT GLOB '*[^0-9a-f]*')"


def _m001_entries_aliases_events(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(
        f"""CREATE TABLE entries (
            seq INTEGER PRIMARY KEY, id {_ID} UNIQUE, name TEXT NOT NULL, version INTEGER NOT NULL,
            created TEXT NOT NULL, family TEXT NOT NULL, UNIQUE (name, version))"""
    )
    db.execute(
        """CREATE TABLE aliases (
            name TEXT NOT NULL, alias TEXT NOT NULL, id TEXT NOT NULL REFERENCES entries (id),
            PRIMARY KEY (name, alias))"""
    )
    # Folders that a put is about to publish: the only ones that a collection may ever remove.
    db.execute(f"CREATE TABLE pending (id {_ID} PRIMARY KEY, started REAL NOT NULL)")
    db.execute(
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, actor TEXT NOT NULL,
            body TEXT NOT NULL, hash TEXT NOT NULL)"""
    )
    for verb in ("UPDATE", "DELETE"):
        db.execute(
            f"""CREATE TRIGGER events_no_{verb.lower()} BEFORE {verb} ON events
                BEGIN SELECT RAISE (ABORT, 'events are append-only'); END"""
        )


def _m002_canaries_policies(db: sqlite3.Connection) -> None:
    db.execute(
        f"""CREATE TABLE canaries (
            name TEXT PRIMARY KEY, id {_ID} REFERENCES entries (id), share REAL NOT NULL CHECK (share BETWEEN 0 AND 1),
            since TEXT NOT NULL)"""
    )
    db.execute(
        """CREATE TABLE policies (
            name TEXT NOT NULL, alias TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (name, alias))"""
    )


MIGRATIONS: tuple[Migration, ...] = (_m001_entries_aliases_events, _m002_canaries_policies)


def version(db: sqlite3.Connection) -> int:
    """Return how many steps this database has taken; 0 for a new one.

    Raises:
        StorageError: when it is not ours, or has taken more steps than we know.
    """
    (taken,) = db.execute("PRAGMA user_version").fetchone()
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (taken or tables) and owner != APPLICATION_ID:
        raise StorageError("registry.db is a database of another program. Choose another folder as the store.")
    known = len(MIGRATIONS)
    if taken > known:
        raise StorageError(
            f"The store was written by a newer Sartor (registry.db is at step {taken}; this one knows {known}): update."
        )
    return taken


def migrate(db: sqlite3.Connection) -> None:
    """Take every step that ``db`` (in autocommit mode) has not taken yet, in one transaction.

    Raises:
        StorageError: as :func:`version`.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        for migration in MIGRATIONS[version(db) :]:
            migration(db)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
