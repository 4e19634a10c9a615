"""What the monitor remembers between two looks: one row for each model, in one SQLite file beside the journal.

The reference and the last window are kept as arrays: numbers that the journal had, no text and no cell of a table. Two
monitors may run: whoever comes second finds the cursor moved and starts anew from there.
"""

import io
import os
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

import msgspec
import numpy as np

from sartor.errors import StorageError
from sartor.monitor.journalled import Cursor
from sartor.monitor.seen import Stretch
from sartor.monitor.state import State

FILE = "monitor.db"
"""In the store's folder."""
FORMAT = 1
_BUSY_S = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS watched (
    name TEXT NOT NULL, model TEXT NOT NULL, at REAL NOT NULL, turn INTEGER NOT NULL, body TEXT NOT NULL,
    reference BLOB NOT NULL, tail BLOB NOT NULL, PRIMARY KEY (name, model)) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """Requests with their place in the journal, by which cells are found again while the journal has them."""

    rows: Stretch
    seq: tuple[int, ...] = ()

    @classmethod
    def nothing(cls) -> "Kept":
        """Return no requests."""
        return cls(Stretch.of([]))

    def last(self, most: int) -> "Kept":
        """Return the last ``most``."""
        start = max(0, len(self.seq) - most)
        return Kept(self.rows.take(slice(start, None)), self.seq[start:])


@dataclass(frozen=True, slots=True)
class Book:
    """What is said of a model beside its arrays."""

    cursor: Cursor = field(default_factory=Cursor)
    state: State = field(default_factory=State)
    wrong: float | None = None
    """Share of wrong answers that is usual at most."""
    wrong_by: str = ""
    """Where that is from."""
    rolled_back: str = ""
    """What was said when the alias was moved back from this model; "" where it was not."""
    asked: int = 0
    """Requests of the reference, as asked for when it was begun."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A model's row."""

    book: Book
    reference: Kept
    tail: Kept
    at: float = 0.0
    turn: int = 0
    """How often it was written."""


class Memory:
    """Opening it makes nothing; reading one that is not there finds nothing."""

    def __init__(self, home: Path) -> None:
        self.path = home / FILE

    def read(self, name: str, model: str) -> Remembered | None:
        """Return what is remembered of a model.

        Raises:
            StorageError: when it cannot be read.
        """
        if not self.path.exists():
            return None
        with self._open("mode=ro") as db:
            known = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'watched'").fetchone()
            query = "SELECT body, reference, tail, at, turn FROM watched WHERE name = ? AND model = ?"
            found = db.execute(query, (name, model)).fetchone() if known else None
        if found is None:
            return None
        try:
            body = msgspec.json.decode(found[0], type=Book)
            return Remembered(body, _unpacked(found[1]), _unpacked(found[2]), found[3], found[4])
        except (msgspec.MsgspecError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise StorageError(
                f"What the monitor remembers of {name} in {str(self.path)!r} cannot be read ({error}). Move that file "
                "away: the monitor begins anew."
            ) from error

    def write(self, name: str, model: str, new: Remembered) -> bool:
        """Write what is remembered of a model if nobody else did since it was read; return whether it was written.

        Raises:
            StorageError: when it cannot be written.
        """
        row = (new.at, msgspec.json.encode(new.book).decode(), _packed(new.reference), _packed(new.tail))
        self._make()
        with self._open("mode=rw") as db:
            db.execute(_SCHEMA)
            if new.turn == 0:
                added = (
                    "INSERT OR IGNORE INTO watched (name, model, turn, at, body, reference, tail) "
                    "VALUES (?, ?, 1, ?, ?, ?, ?)"
                )
                return db.execute(added, (name, model, *row)).rowcount == 1
            changed = (
                "UPDATE watched SET at = ?, body = ?, reference = ?, tail = ?, turn = turn + 1 "
                "WHERE name = ? AND model = ? AND turn = ?"
            )
            return db.execute(changed, (*row, name, model, new.turn)).rowcount == 1

    def forget(self, name: str, model: str) -> None:
        """Forget a model, so that its reference is begun anew from its next requests."""
        if self.path.exists():
            with self._open("mode=rw") as db:
                db.execute(_SCHEMA)
                db.execute("DELETE FROM watched WHERE name = ? AND model = ?", (name, model))

    def _make(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise StorageError(f"Cannot open {str(self.path)!r}: {error.strerror}. Ask its owner.") from error

    @contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        address = f"{self.path.absolute().as_uri()}?{mode}"
        try:
            with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S, isolation_level=None)) as db:
                (taken,) = db.execute("PRAGMA user_version").fetchone()
                if taken > FORMAT:
                    raise StorageError(f"{str(self.path)!r} was written by a newer Sartor: update.")
                if not taken and mode == "mode=rw":
                    db.execute(f"PRAGMA user_version = {FORMAT}")
                yield db
        except sqlite3.Error as error:
            raise StorageError(
                f"Cannot use the monitor's {str(self.path)!r} ({error}). If it is damaged, move it away: the monitor "
                "begins anew."
            ) from error


_ARRAYS = tuple(one.name for one in fields(Stretch) if one.name != "cells")


def _packed(kept: Kept) -> bytes:
    arrays = {name: getattr(kept.rows, name) for name in _ARRAYS}
    arrays["projection"] = arrays["projection"].astype(np.float32)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, seq=np.array(kept.seq, dtype=np.int64), **arrays)
    return file.getvalue()


def _unpacked(content: bytes) -> Kept:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in _ARRAYS}
        found["projection"] = found["projection"].astype(np.float64)
        return Kept(Stretch(**found), tuple(arrays["seq"].tolist()))
