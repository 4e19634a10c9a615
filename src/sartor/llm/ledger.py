"""The egress ledger: a row for every call, written before anything is sent, each with the hash of the row before it.

    rows(seq, at, cost, body, hash)        append-only; hash = sha256(hash before, seq, body)
    retained(seq, text, answer)            only where the policy says so; not chained, so that it can be deleted

A call has a row of kind ``sent`` before it is made and one of kind ``outcome`` after; a refused one has one row,
``refused``. No row holds a text: what was sent is named by a hash, salted so that short texts cannot be looked up in
a table made beforehand.

A row of what leaves is on the disk before the call is made; one of what does not may be lost in a power cut.
SQLite serialises writers of all processes, and a budget is read and reserved in the transaction that appends the row,
so that many at once cannot exceed it. Rows are never younger than the one before: a clock that goes back stands still.

Whoever can write the file can make a whole new chain, and cut rows off its end (SQLite's own counter shows the latter
unless that was changed as well): to be safe from the owner of the file, note :attr:`Verified.head` elsewhere.
"""

import contextlib
import hashlib
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor.errors import StorageError

FILE = "ledger.db"
"""In the store's folder."""
DAY_S = 86_400.0
_FIRST = "0" * 64
_BUSY_S = 10.0
_TABLES = """
CREATE TABLE rows(seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, cost REAL NOT NULL, body TEXT NOT NULL,
                  hash TEXT NOT NULL);
CREATE INDEX rows_at ON rows(at);
CREATE TABLE retained(seq INTEGER PRIMARY KEY, text TEXT NOT NULL, answer TEXT NOT NULL);
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the ledger."""

    seq: int
    at: float
    """Seconds since 1970, never less than the row before."""
    cost: float
    """``sent``: what is reserved; ``outcome``: what was spent less what was reserved."""
    body: Mapping[str, Any]
    hash: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check of the whole chain found."""

    ok: bool
    rows: int
    head: str
    """Hash of the last row: noted elsewhere, it proves later that nothing before it was changed or cut off."""
    why: str = ""
    """What is wrong, in a sentence."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What the ledger knows of the last 24 hours."""

    cost: float
    at: float
    """Time of the row that is about to be written."""


class Ledger:
    """An append-only file. Made when the first row is; safe for many threads and processes."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.clock = clock
        self._lock = threading.Lock()
        self._open: tuple[int, sqlite3.Connection] | None = None
        """Process and its connection: kept, because closing the last one writes the log back."""
        self._salt = ""

    def append(
        self,
        body: Mapping[str, Any],
        *,
        cost: float = 0.0,
        durable: bool = True,
        check: Callable[[Spent], None] | None = None,
    ) -> Row:
        """Append a row; return it.

        Args:
            body: what it says, plain JSON.
            cost: reserved or corrected by it.
            durable: whether it must outlive a power cut.
            check: asked in the same transaction what was spent before; whatever it raises, no row is written.

        Raises:
            StorageError: when no row can be written; then nothing may be sent.
        """
        with self._writing(durable=durable) as database:
            last = database.execute("SELECT seq, at, hash FROM rows ORDER BY seq DESC LIMIT 1").fetchone()
            before, at, previous = last or (0, 0.0, _FIRST)
            at, cost = max(float(self.clock()), at), float(cost)
            if check is not None:
                check(Spent(self._spent(database, at), at))
            text = _canonical(body)
            seq = before + 1
            sealed = _hash(previous, seq, at, cost, text)
            database.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", (seq, at, cost, text, sealed))
            return Row(seq, at, cost, dict(body), sealed)

    def retain(self, seq: int, text: str, answer: str) -> None:
        """Keep what was sent and answered, beside its row.

        Raises:
            StorageError: when it cannot be written.
        """
        with self._writing() as database:
            database.execute("INSERT OR REPLACE INTO retained VALUES (?, ?, ?)", (seq, text, answer))

    def retained(self) -> list[tuple[str, str]]:
        """Return texts and answers that were kept, oldest first."""
        if not self.path.exists():
            return []
        with self._reading() as database:
            return database.execute("SELECT text, answer FROM retained ORDER BY seq").fetchall()

    def digest(self, text: str) -> str:
        """Return the salted sha256 by which rows name a text.

        Raises:
            StorageError: when there is no salt yet and none can be written.
        """
        if not self._salt:
            with self._writing() as database:
                (self._salt,) = database.execute("SELECT value FROM meta WHERE key = 'salt'").fetchone()
        return hashlib.sha256(f"{self._salt}{text}".encode(errors="surrogatepass")).hexdigest()

    def spent(self) -> float:
        """Return what the last 24 hours cost, reservations of calls under way included."""
        if not self.path.exists():
            return 0.0
        with self._reading() as database:
            (last,) = database.execute("SELECT max(at) FROM rows").fetchone()
            return self._spent(database, max(self.clock(), last or 0.0))

    def rows(self) -> Iterator[Row]:
        """Yield all rows, oldest first; none where there is no ledger.

        Raises:
            StorageError: when the file cannot be read.
        """
        if not self.path.exists():
            return
        with self._reading() as database:
            found = database.execute("SELECT seq, at, cost, body, hash FROM rows ORDER BY seq")
            for seq, at, cost, body, sealed in found:
                yield Row(seq, at, cost, json.loads(body), sealed)

    def verify(self, noted: str | None = None) -> Verified:
        """Check every row against the one before it. A ledger that is not there is empty, and whole.

        Args:
            noted: an earlier :attr:`Verified.head`, which must be among the rows' hashes.
        """
        previous, number = _FIRST, 0
        seen = noted in (None, _FIRST)
        if not self.path.exists():
            return Verified(seen, 0, _FIRST, "" if seen else "There is no ledger, but a hash was noted of one.")
        try:
            with self._reading() as database:
                for seq, at, cost, body, sealed in database.execute(
                    "SELECT seq, at, cost, body, hash FROM rows ORDER BY seq"
                ):
                    number += 1
                    if seq != number:
                        return Verified(False, number, previous, f"Row {number} is missing; the next one is {seq}.")
                    if sealed != _hash(previous, seq, at, cost, body):
                        return Verified(False, number, previous, f"Row {seq} is not what it was when it was written.")
                    previous = sealed
                    seen = seen or sealed == noted
                ever = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'rows'").fetchone()
        except (sqlite3.Error, StorageError, ValueError, TypeError) as error:
            return Verified(False, number, previous, f"The file cannot be read as a ledger: {error}.")
        if ever is not None and ever[0] != number:
            return Verified(False, number, previous, f"Rows were cut off the end: there were {ever[0]}, now {number}.")
        return Verified(seen, number, previous, "" if seen else "The hash that was noted is of none of its rows.")

    @staticmethod
    def _spent(database: sqlite3.Connection, at: float) -> float:
        (cost,) = database.execute("SELECT total(cost) FROM rows WHERE at > ?", (at - DAY_S,)).fetchone()
        return float(cost)

    def close(self) -> None:
        """Close the file; the next row opens it again."""
        with self._lock:
            if self._open is not None:
                self._open[1].close()
            self._open = None

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        try:
            with closing(self._connect()) as database:
                yield database
        except sqlite3.Error as error:
            raise StorageError(f"The ledger {str(self.path)!r} cannot be read: {error}.") from error

    @contextmanager
    def _writing(self, *, durable: bool = True) -> Generator[sqlite3.Connection]:
        """Open a transaction that nobody else writes beside; it is done when the block is, or not at all."""
        try:
            with self._lock:
                database = self._kept()
                database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                database.execute("BEGIN IMMEDIATE")
                try:
                    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'rows'").fetchone():
                        _create(database)
                    yield database
                    database.execute("COMMIT")
                except BaseException:
                    if database.in_transaction:
                        database.execute("ROLLBACK")
                    raise
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"The ledger {str(self.path)!r} takes no row ({error}), so nothing is sent. Make room, or see to it "
                "that it can be written."
            ) from error

    def _kept(self) -> sqlite3.Connection:
        """Return this process's connection: one from before a fork is another process's."""
        if self._open is None or self._open[0] != os.getpid() or not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = not self.path.exists()
            database = self._connect()
            if new:
                with contextlib.suppress(OSError):
                    os.chmod(self.path, 0o600)
            try:
                database.execute("PRAGMA journal_mode = WAL")
            except sqlite3.Error:
                database.close()
                raise
            self._open = os.getpid(), database
        return self._open[1]


def _create(database: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";"):
        if statement.strip():
            database.execute(statement)
    database.execute("INSERT INTO meta VALUES ('salt', ?)", (secrets.token_hex(16),))


def _canonical(body: Mapping[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _hash(previous: str, seq: int, at: float, cost: float, body: str) -> str:
    return hashlib.sha256(f"{previous}\n{seq}\n{at!r}\n{cost!r}\n{body}".encode()).hexdigest()
