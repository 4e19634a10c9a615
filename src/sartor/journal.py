"""The journal: an append-only record of answers, feedback, decisions and events, in one SQLite file.

    answers     one row an answer: who gave it, what, how sure, how long it took; of the input its keyed hash, its
                length and 32 random projections of its embedding, never its text
    texts       input and written output, only where the policy of an alias retains them
    feedback    a true label, or thumbs, for an answer
    decisions   why an answer came from where it came: a canary's share, an escalation, a refusal
    events      what happened to the server: started, stopped, an alias moved, an error, an alert

An answer may be told to its asker once the future of :meth:`Journal.write` is done: its row is on the disk then.
Writing is a *group commit*: one thread takes all rows that wait, commits them with one sync, and takes those that came
in meanwhile. In the mode ``fast`` nobody waits, and what was told in the last fraction of a second may be lost with the
machine; rows lost with the process alone are those of the same fraction.

Readers open the file for themselves, in this process or another, and never hold up the writer (write-ahead log).
``seq`` grows with every row of a table: whoever reads on from where it stopped keeps the last one it saw.

Dimension key:   N: rows   H: hidden width
"""

import functools
import hashlib
import hmac
import json
import os
import queue
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from sartor.errors import NotFoundError, StorageError

if TYPE_CHECKING:
    import pyarrow

Source: TypeAlias = Literal["small", "large", "abstain"]
"""Who answered: the small model, the large one, or nobody (the small one gave its best guess and abstained)."""
Mode: TypeAlias = Literal["safe", "fast"]
_Row = TypeVar("_Row", bound="AnswerRow | FeedbackRow | DecisionRow | EventRow")

FILE = "journal.db"
"""In the store's folder."""
FORMAT = 1
"""Of the tables; columns may be added within it."""
PROJECTED = 32
"""Numbers that are kept of an embedding."""
BATCH_ROWS = 4096
"""Of one commit at most."""
MOST_WAITING = 50_000
"""Rows that may wait for the disk; who comes then is turned away."""
BUSY_S = 10.0
FAST_LINGER_S = 0.05
"""How long rows of the fast mode are gathered."""

_APPLICATION_ID = 0x534A524E
_ANSWER_ID = re.compile(r"ans_[0-9a-hjkmnp-tv-z]{26}")
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_PRUNED_AT_ONCE = 5000


# --- rows --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One answer. Times are seconds since 1970, UTC."""

    answer_id: str
    """``ans_`` and 26 letters and digits that grow with time (:func:`new_answer_id`)."""
    at: float
    name: str
    """Of the model, as the store has it."""
    alias: str
    """Under which it answered: ``challenger`` where a canary sent it there; "" where none was asked for."""
    version: int
    model: str
    """The bundle's id; of an answer by the large model, the small model that was asked first."""
    family: str
    source: Source
    confidence: float | None = None
    """Calibrated probability that ``label`` is right; None of values and texts."""
    label: str | None = None
    """The best label, also where the model abstains; None of values and texts."""
    value: float | None = None
    """A foretold value."""
    abstain: bool = False
    latency_ms: float = 0.0
    """From the request's arrival to the answer, the journal not counted."""
    input_hash: str = ""
    """Keyed (:meth:`Journal.hash`): equal inputs of one journal have equal hashes, and nobody else can try texts."""
    input_chars: int = 0
    output_chars: int | None = None
    """Of a written answer; its text is in ``texts`` where it is retained."""
    scope: float | None = None
    """How much the input looks like what the model was made for; larger is more."""
    projection: tuple[float, ...] | None = None
    """(32,) random projections of the input's embedding (:func:`project`), where there is one."""
    asked: str = ""
    """The model as the request named it."""
    large: str = ""
    """The large model that answered; "" where none did."""
    text: str | None = None
    """The input, where it is retained. Not read back unless asked for."""
    output: str | None = None
    """A written answer, likewise."""
    seq: int = 0
    """Given by the journal."""


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """What is known of an answer afterwards. Several may come for one answer: the last one holds."""

    answer_id: str
    at: float
    label: str | None = None
    """The right label, value or text; None where only thumbs were given."""
    thumbs: int | None = None
    """1 up, -1 down; None where a label was given."""
    who: str = ""
    """Where it came from: ``api``, ``review``, ``large``."""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """Why an answer came from where it came."""

    answer_id: str
    at: float
    kind: str
    """``canary``, ``escalate``, ``keep``, ``refuse`` …"""
    reason: str = ""
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seq: int = 0


@dataclass(frozen=True, slots=True)
class EventRow:
    """Something that happened to the server or to a name."""

    at: float
    kind: str
    """``start``, ``stop``, ``loaded``, ``moved``, ``error``, ``canary``, ``alert`` …"""
    name: str = ""
    """Of the model it is about; "" for all."""
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seq: int = 0


Row: TypeAlias = AnswerRow | FeedbackRow | DecisionRow | EventRow

_ANSWER_COLUMNS = (
    *("answer_id", "at", "name", "alias", "version", "model", "family", "source", "confidence", "label", "value"),
    *("abstain", "latency_ms", "input_hash", "input_chars", "output_chars", "scope", "projection", "asked", "large"),
)
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE answers (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, answer_id TEXT NOT NULL UNIQUE, at REAL NOT NULL, name TEXT NOT NULL,
    alias TEXT NOT NULL, version INTEGER NOT NULL, model TEXT NOT NULL, family TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('small', 'large', 'abstain')), confidence REAL, label TEXT, value REAL,
    abstain INTEGER NOT NULL, latency_ms REAL NOT NULL, input_hash TEXT NOT NULL, input_chars INTEGER NOT NULL,
    output_chars INTEGER, scope REAL, projection BLOB, asked TEXT NOT NULL, large TEXT NOT NULL);
CREATE INDEX answers_by_name ON answers (name);
CREATE INDEX answers_by_time ON answers (at);
CREATE TABLE texts (answer_id TEXT PRIMARY KEY, at REAL NOT NULL, input TEXT, output TEXT) WITHOUT ROWID;
CREATE INDEX texts_by_time ON texts (at);
CREATE TABLE feedback (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, answer_id TEXT NOT NULL, at REAL NOT NULL, label TEXT, thumbs INTEGER,
    who TEXT NOT NULL);
CREATE INDEX feedback_of ON feedback (answer_id);
CREATE TABLE decisions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, answer_id TEXT NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL,
    reason TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX decisions_of ON decisions (answer_id);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    body TEXT NOT NULL);
""" + "".join(
    f"CREATE TRIGGER {table}_as_written BEFORE UPDATE ON {table} BEGIN SELECT RAISE (ABORT, 'append-only'); END;\n"
    for table in ("answers", "texts", "feedback", "decisions", "events")
)


def new_answer_id(now: float | None = None) -> str:
    """Return a new id: 48 bits of milliseconds and 80 random bits, so that ids grow and cannot be guessed."""
    number = int((time.time() if now is None else now) * 1000) << 80 | secrets.randbits(80)
    return "ans_" + "".join(_DIGITS[number >> shift & 31] for shift in range(125, -1, -5))


def is_answer_id(text: str) -> bool:
    """Return whether ``text`` can be an answer's id.

    >>> is_answer_id("ans_00000000000000000000000000"), is_answer_id("../ans_0")
    (True, False)
    """
    return _ANSWER_ID.fullmatch(text) is not None


def project(embeddings_NH: NDArray[Any]) -> NDArray[np.float32]:
    """Return (N, 32) random projections of embeddings, the same in every process.

    Distances between rows are kept on average (Johnson and Lindenstrauss 1984; Gaussian entries of variance 1/32), so
    that drift shows, while an embedding of some hundred numbers cannot be told from 32 of its sums.
    """
    embeddings_NH = np.asarray(embeddings_NH, dtype=np.float32)
    return embeddings_NH @ _directions(embeddings_NH.shape[1])


@functools.lru_cache(maxsize=16)
def _directions(hidden: int) -> NDArray[np.float32]:
    draws = np.random.default_rng([PROJECTED, hidden]).standard_normal((hidden, PROJECTED))
    return (draws / np.sqrt(PROJECTED)).astype(np.float32)


# --- writing -----------------------------------------------------------------------------------------------


class Journal:
    """A journal that is written to. One object a process; threads may share it."""

    def __init__(self, path: Path, *, mode: Mode = "safe", most_waiting: int = MOST_WAITING) -> None:
        """Open the journal, or make it, and start its writer.

        Args:
            path: of the file; its folder must be there.
            mode: ``safe`` waits for the disk before a row counts as written; ``fast`` does not.
            most_waiting: rows that may wait for the disk.

        Raises:
            StorageError: when it cannot be opened, is another program's or a newer Sartor's.
        """
        self.path = path
        self.mode: Mode = mode
        self.last_error: StorageError | None = None
        """Of the last batch; None when it was written."""
        self._most = most_waiting
        self._waiting = 0
        self._queue: queue.SimpleQueue[tuple[Sequence[Row], Future[None]] | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        db = _open_to_write(path, mode)
        with _explained(path):
            [self._key] = db.execute("SELECT value FROM meta WHERE key = 'key'").fetchone()
        self._writer = threading.Thread(target=self._work, args=(db,), name="sartor-journal", daemon=True)
        self._writer.start()

    @property
    def waiting(self) -> int:
        """Return how many rows are not on the disk yet."""
        return self._waiting

    def hash(self, text: str) -> str:
        """Return what stands for an input: 32 hex digits of HMAC-SHA256 with this journal's own random key."""
        return hmac.digest(self._key, text.encode(errors="surrogatepass"), hashlib.sha256).hex()[:32]

    def write(self, rows: Sequence[Row]) -> Future[None]:
        """Hand rows to the writer, all in one commit; never waits.

        Returns:
            What is done once they are safe: on the disk, or at once in the mode ``fast``. It raises StorageError
            when the disk did not take them; none of them is there then.

        Raises:
            StorageError: when too many rows wait already, or the journal is closed; nothing is written then.
        """
        done: Future[None] = Future()
        with self._gate:
            if self._closed:
                raise StorageError(f"The journal {str(self.path)!r} is closed: it takes no more rows.")
            if self._waiting and self._waiting + len(rows) > self._most:
                raise StorageError(f"{self._waiting:,} rows wait for the disk of {str(self.path)!r}. Retry soon.")
            self._waiting += len(rows)
            self._queue.put((rows, done))
        if self.mode == "fast":
            told: Future[None] = Future()
            told.set_result(None)
            return told
        return done

    def append(self, *rows: Row) -> None:
        """Write rows and wait until they are safe.

        Raises:
            StorageError: as :meth:`write`.
        """
        self.write(rows).result()

    def close(self) -> None:
        """Write what waits, and stop. Doing it twice is no error."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._writer.join()

    def reader(self) -> "Reader":
        """Return a reader of the same file."""
        return Reader(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self, db: sqlite3.Connection) -> None:
        with closing(db):
            going = True
            while going:
                batch, going = self._take()
                if batch:
                    self._commit(db, batch)

    def _take(self) -> tuple[list[tuple[Sequence[Row], Future[None]]], bool]:
        """Return all that waits, waiting for the first; and whether there may be more."""
        first = self._queue.get()
        if first is None:
            return [], False
        batch = [first]
        rows = len(first[0])
        if self.mode == "fast" and not self._closed:
            time.sleep(FAST_LINGER_S)
        while rows < BATCH_ROWS:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return batch, False
            batch.append(item)
            rows += len(item[0])
        return batch, True

    def _commit(self, db: sqlite3.Connection, batch: Sequence[tuple[Sequence[Row], Future[None]]]) -> None:
        error = self._try(db, [row for rows, _ in batch for row in rows])
        if error is not None and not isinstance(error, StorageError) and len(batch) > 1:
            for one in batch:  # one of them is at fault, and the others are not to pay for it
                self._commit(db, [one])
            return
        self.last_error = error if isinstance(error, StorageError) else None
        with self._gate:
            self._waiting -= sum(len(rows) for rows, _ in batch)
        for _, done in batch:
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    def _try(self, db: sqlite3.Connection, rows: Sequence[Row]) -> Exception | None:
        try:
            with _explained(self.path):
                db.execute("BEGIN IMMEDIATE")
                _insert(db, rows)
                step("committing")
                db.execute("COMMIT")
                step("committed")
        except Exception as error:  # whatever it is, who waits must be told, and the writer must live
            if db.in_transaction:
                db.execute("ROLLBACK")
            return error
        return None


def step(name: str) -> None:
    """Do nothing. Marks each moment at which a crash must lose nothing that was told; the tests crash here."""


def _insert(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    answers = [row for row in rows if isinstance(row, AnswerRow)]
    marks = ", ".join("?" * len(_ANSWER_COLUMNS))
    db.executemany(
        f"INSERT INTO answers ({', '.join(_ANSWER_COLUMNS)}) VALUES ({marks})", [_answer_cells(row) for row in answers]
    )
    db.executemany(
        "INSERT INTO texts VALUES (?, ?, ?, ?)",
        [(row.answer_id, row.at, row.text, row.output) for row in answers if (row.text, row.output) != (None, None)],
    )
    db.executemany(
        "INSERT INTO feedback (answer_id, at, label, thumbs, who) VALUES (?, ?, ?, ?, ?)",
        [(row.answer_id, row.at, row.label, row.thumbs, row.who) for row in rows if isinstance(row, FeedbackRow)],
    )
    db.executemany(
        "INSERT INTO decisions (answer_id, at, kind, reason, body) VALUES (?, ?, ?, ?, ?)",
        [
            (row.answer_id, row.at, row.kind, row.reason, _text(row.body))
            for row in rows
            if isinstance(row, DecisionRow)
        ],
    )
    db.executemany(
        "INSERT INTO events (at, kind, name, body) VALUES (?, ?, ?, ?)",
        [(row.at, row.kind, row.name, _text(row.body)) for row in rows if isinstance(row, EventRow)],
    )


def _answer_cells(row: AnswerRow) -> tuple[Any, ...]:
    packed = None if row.projection is None else np.asarray(row.projection, dtype="<f4").tobytes()
    return tuple(packed if name == "projection" else getattr(row, name) for name in _ANSWER_COLUMNS)


def _text(body: Mapping[str, Any]) -> str:
    return json.dumps(dict(body), ensure_ascii=False, sort_keys=True)


# --- reading -----------------------------------------------------------------------------------------------


class Reader:
    """Reads a journal, in whatever process. Each call opens the file anew; a journal that is not there is empty."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def answers(
        self,
        *,
        name: str | None = None,
        alias: str | None = None,
        model: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after: int = 0,
        last: int | None = None,
        texts: bool = False,
    ) -> Iterator[AnswerRow]:
        """Yield answers, oldest first.

        Args:
            name: of the model; None for all.
            alias: under which it answered.
            model: the bundle's id.
            since: the earliest time, seconds since 1970.
            until: the first time that is too late.
            after: the last ``seq`` that was seen.
            last: only as many, the newest.
            texts: read retained inputs and outputs too.

        Raises:
            StorageError: when the journal cannot be read.
        """
        where, given = _where(name=name, alias=alias, model=model, since=since, until=until, after=after)
        columns = ", ".join(f"a.{column}" for column in _ANSWER_COLUMNS)
        kept = "t.input, t.output" if texts else "NULL, NULL"
        join = "LEFT JOIN texts t ON t.answer_id = a.answer_id" if texts else ""
        query = f"SELECT {columns}, {kept}, a.seq FROM answers a {join} {where}"
        yield from (_answer_of(cells) for cells in self._ordered(query, given, "a.seq", last))

    def answer(self, answer_id: str) -> AnswerRow:
        """Return one answer, with its text where that is retained.

        Raises:
            NotFoundError: when there is none.
        """
        columns = ", ".join(f"a.{column}" for column in _ANSWER_COLUMNS)
        query = (
            f"SELECT {columns}, t.input, t.output, a.seq FROM answers a LEFT JOIN texts t ON t.answer_id = a.answer_id "
            "WHERE a.answer_id = ?"
        )
        for cells in self._rows(query, [answer_id]):
            return _answer_of(cells)
        raise NotFoundError(f"There is no answer {answer_id!r} in the journal: it never was, or is pruned.")

    def has(self, answer_id: str) -> bool:
        """Return whether there is such an answer."""
        return any(True for _ in self._rows("SELECT 1 FROM answers WHERE answer_id = ?", [answer_id]))

    def feedback(
        self, *, name: str | None = None, since: float | None = None, after: int = 0, last: int | None = None
    ) -> Iterator[tuple[FeedbackRow, AnswerRow]]:
        """Yield feedback and the answers that it is of (with retained texts), oldest feedback first.

        Args:
            name: of the model; None for all.
            since: the earliest time of the feedback.
            after: the last ``seq`` of feedback that was seen.
            last: only as many, the newest.

        Raises:
            StorageError: when the journal cannot be read.
        """
        columns = ", ".join(f"a.{column}" for column in _ANSWER_COLUMNS)
        given: list[Any] = [after]
        where = "WHERE f.seq > ?"
        for column, value, sign in (("a.name", name, "="), ("f.at", since, ">=")):
            if value is not None:
                where += f" AND {column} {sign} ?"
                given.append(value)
        query = (
            f"SELECT f.answer_id, f.at, f.label, f.thumbs, f.who, f.seq, {columns}, t.input, t.output, a.seq "
            "FROM feedback f JOIN answers a ON a.answer_id = f.answer_id "
            f"LEFT JOIN texts t ON t.answer_id = a.answer_id {where}"
        )
        for cells in self._ordered(query, given, "f.seq", last):
            yield FeedbackRow(*cells[:6]), _answer_of(cells[6:])

    def feedback_of(self, answer_id: str) -> tuple[FeedbackRow, ...]:
        """Return the feedback for one answer, oldest first."""
        query = "SELECT answer_id, at, label, thumbs, who, seq FROM feedback WHERE answer_id = ? ORDER BY seq"
        return tuple(FeedbackRow(*cells) for cells in self._rows(query, [answer_id]))

    def decisions(
        self,
        *,
        answer_id: str | None = None,
        kind: str | None = None,
        since: float | None = None,
        after: int = 0,
        last: int | None = None,
    ) -> Iterator[DecisionRow]:
        """Yield decisions, oldest first; arguments as of :meth:`answers`."""
        where, given = _where("d", answer_id=answer_id, kind=kind, since=since, after=after)
        query = f"SELECT d.answer_id, d.at, d.kind, d.reason, d.body, d.seq FROM decisions d {where}"
        for cells in self._ordered(query, given, "d.seq", last):
            yield DecisionRow(*cells[:4], body=json.loads(cells[4]), seq=cells[5])

    def events(
        self,
        *,
        kind: str | None = None,
        name: str | None = None,
        since: float | None = None,
        after: int = 0,
        last: int | None = None,
    ) -> Iterator[EventRow]:
        """Yield events, oldest first; arguments as of :meth:`answers`."""
        where, given = _where("e", kind=kind, name=name, since=since, after=after)
        query = f"SELECT e.at, e.kind, e.name, e.body, e.seq FROM events e {where}"
        for cells in self._ordered(query, given, "e.seq", last):
            yield EventRow(*cells[:3], body=json.loads(cells[3]), seq=cells[4])

    def names(self) -> tuple[str, ...]:
        """Return the names of all models that answered, sorted; the index alone is read, one step a name."""
        query = (
            "WITH RECURSIVE n (name) AS (SELECT min(name) FROM answers UNION ALL "
            "SELECT (SELECT min(name) FROM answers WHERE name > n.name) FROM n WHERE n.name IS NOT NULL) "
            "SELECT name FROM n WHERE name IS NOT NULL"
        )
        return tuple(name for (name,) in self._rows(query, []))

    def count(self, *, name: str | None = None, since: float | None = None, until: float | None = None) -> int:
        """Return the number of answers."""
        where, given = _where(name=name, since=since, until=until)
        return sum(cells[0] for cells in self._rows(f"SELECT count(*) FROM answers a {where}", given))

    def table(self, **chosen: Any) -> "pyarrow.Table":
        """Return answers as an Arrow table, a column for each field; arguments as of :meth:`answers`."""
        import pyarrow as pa

        texts = bool(chosen.get("texts"))
        rows = list(self.answers(**chosen))
        schema = _arrow_schema(texts)
        return pa.table(
            {name: pa.array([getattr(row, name) for row in rows], schema.field(name).type) for name in schema.names},
            schema=schema,
        )

    def export(self, path: Path, *, texts: bool = False) -> int:
        """Write all answers, a chunk at a time, to a Parquet file; return their number.

        Args:
            path: of the file, which is written anew; feedback goes into ``<stem>.feedback.parquet`` beside it.
            texts: with retained inputs and outputs.

        Raises:
            StorageError: when it cannot be read or written.
        """
        import pyarrow as pa
        import pyarrow.parquet as parquet

        written, after = 0, 0
        beside = path.with_name(f"{path.stem}.feedback.parquet")
        try:
            with parquet.ParquetWriter(path, _arrow_schema(texts)) as file:
                while rows := self._chunk(after, texts):
                    schema = _arrow_schema(texts)
                    cells = {
                        name: pa.array([getattr(row, name) for row in rows], schema.field(name).type)
                        for name in schema.names
                    }
                    file.write_table(pa.table(cells, schema=schema))
                    written, after = written + len(rows), rows[-1].seq
            known = [row for row, _ in self.feedback()]
            names = ("answer_id", "at", "label", "thumbs", "who")
            kinds = (pa.string(), pa.float64(), pa.string(), pa.int64(), pa.string())
            columns = {n: pa.array([getattr(row, n) for row in known], k) for n, k in zip(names, kinds, strict=True)}
            parquet.write_table(pa.table(columns), beside)
        except OSError as error:
            raise StorageError(
                f"Cannot write {str(path)!r}: {error.strerror or error}. Choose another place."
            ) from error
        return written

    def _chunk(self, after: int, texts: bool, size: int = 50_000) -> list[AnswerRow]:
        found: list[AnswerRow] = []
        for row in self.answers(after=after, texts=texts):
            found.append(row)
            if len(found) == size:
                break
        return found

    def _ordered(self, query: str, given: Sequence[Any], by: str, last: int | None) -> Iterator[tuple[Any, ...]]:
        if last is None:
            yield from self._rows(f"{query} ORDER BY {by}", given)
        else:
            newest = list(self._rows(f"{query} ORDER BY {by} DESC LIMIT ?", [*given, last]))
            yield from reversed(newest)

    def _rows(self, query: str, given: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        if not self.path.exists():
            return
        with _explained(self.path), closing(_connect(self.path, "mode=ro")) as db:
            if _check(db, self.path):
                yield from db.execute(query, given)


def _where(
    table: str = "a",
    *,
    since: float | None = None,
    until: float | None = None,
    after: int | None = None,
    **equal: str | None,
) -> tuple[str, list[Any]]:
    tests: list[tuple[str, Any]] = [(f"{table}.{column} = ?", value) for column, value in equal.items()]
    tests += [(f"{table}.at >= ?", since), (f"{table}.at < ?", until), (f"{table}.seq > ?", after or None)]
    if table == "a":  # rows come in the order of seq; the index of times alone says where to begin
        tests.append(("a.seq >= (SELECT min(seq) FROM answers WHERE at >= ?)", since))
    kept = [(test, value) for test, value in tests if value is not None]
    clause = f"WHERE {' AND '.join(test for test, _ in kept)}" if kept else ""
    return clause, [value for _, value in kept]


def _answer_of(cells: Sequence[Any]) -> AnswerRow:
    fields = dict(zip(_ANSWER_COLUMNS, cells, strict=False))
    packed = fields["projection"]
    fields["projection"] = None if packed is None else tuple(np.frombuffer(packed, dtype="<f4").tolist())
    fields["abstain"] = bool(fields["abstain"])
    at = len(_ANSWER_COLUMNS)
    return AnswerRow(**fields, text=cells[at], output=cells[at + 1], seq=cells[at + 2])


def _arrow_schema(texts: bool) -> Any:
    import pyarrow as pa

    kinds = {
        "at": pa.float64(),
        "version": pa.int64(),
        "confidence": pa.float64(),
        "value": pa.float64(),
        "abstain": pa.bool_(),
        "latency_ms": pa.float64(),
        "input_chars": pa.int64(),
        "output_chars": pa.int64(),
        "scope": pa.float64(),
        "projection": pa.list_(pa.float32()),
    }
    names = ("seq", *_ANSWER_COLUMNS, *(("text", "output") if texts else ()))
    return pa.schema([(name, pa.int64() if name == "seq" else kinds.get(name, pa.string())) for name in names])


# --- retention ---------------------------------------------------------------------------------------------


def prune(path: Path, *, before: float, texts_before: float | None = None) -> int:
    """Remove answers from before a time, with their texts, feedback and decisions; return how many answers.

    Args:
        path: of the journal; one that is being written to is held up for milliseconds at a time.
        before: seconds since 1970.
        texts_before: texts go already that are from before this later time, while their answers stay.

    Raises:
        StorageError: when it cannot be written.
    """
    if not path.exists():
        return 0
    removed = 0
    with _explained(path), closing(_connect(path, "mode=rw")) as db:
        if not _check(db, path):
            return 0
        db.execute("PRAGMA secure_delete = ON")
        _prune_texts(db, before if texts_before is None else max(before, texts_before))
        while gone := _prune_some(db, before):
            removed += gone
        db.execute("DELETE FROM events WHERE at < ?", (before,))
    return removed


def _prune_texts(db: sqlite3.Connection, before: float) -> None:
    query = "DELETE FROM texts WHERE answer_id IN (SELECT answer_id FROM texts WHERE at < ? LIMIT ?)"
    while db.execute(query, (before, _PRUNED_AT_ONCE)).rowcount > 0:
        pass


def _prune_some(db: sqlite3.Connection, before: float) -> int:
    db.execute("BEGIN IMMEDIATE")
    try:
        query = "SELECT answer_id FROM answers WHERE at < ? LIMIT ?"
        gone = db.execute(query, (before, _PRUNED_AT_ONCE)).fetchall()
        for table in ("texts", "feedback", "decisions", "answers"):
            db.executemany(f"DELETE FROM {table} WHERE answer_id = ?", gone)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return len(gone)


# --- SQLite ------------------------------------------------------------------------------------------------


def _open_to_write(path: Path, mode: Mode) -> sqlite3.Connection:
    with _explained(path):
        _touch(path)
        db = _connect(path, "mode=rw")
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'FULL' if mode == 'safe' else 'NORMAL'}")
            _create(db, path)
        except BaseException:
            db.close()
            raise
        return db


def _touch(path: Path) -> None:
    """Make the file so that only its owner can read it; SQLite gives its log the same rights."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise StorageError(
            f"Cannot open the journal {str(path)!r}: {error.strerror}. Choose another folder as the store."
        ) from error


def _create(db: sqlite3.Connection, path: Path) -> None:
    if _check(db, path):
        return
    db.execute("BEGIN IMMEDIATE")  # of two processes that make it, one goes first
    try:
        if not _check(db, path):
            for statement in _statements(_SCHEMA):
                db.execute(statement)
            db.execute("INSERT INTO meta VALUES ('key', ?)", (secrets.token_bytes(32),))
            db.execute(f"PRAGMA user_version = {FORMAT}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    part = ""
    for line in script.splitlines():
        part += f"{line}\n"
        if part.strip() and sqlite3.complete_statement(part):
            yield part
            part = ""


def _check(db: sqlite3.Connection, path: Path) -> int:
    """Return the format of the tables, 0 where there are none yet."""
    (taken,) = db.execute("PRAGMA user_version").fetchone()
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (taken or tables) and owner != _APPLICATION_ID:
        raise StorageError(f"{str(path)!r} is a database of another program. Choose another folder as the store.")
    if taken > FORMAT:
        raise StorageError(f"{str(path)!r} was written by a newer Sartor (format {taken}; known is {FORMAT}): update.")
    return taken


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )


_REASONS = {
    sqlite3.SQLITE_FULL: "no space is left on that disk. Free some",
    sqlite3.SQLITE_IOERR: "the disk does not take or give the bytes: it may be full, limited or failing",
    sqlite3.SQLITE_BUSY: f"another process has held it for {BUSY_S:.0f} seconds. Wait for it",
    sqlite3.SQLITE_READONLY: "it is read-only. Ask its owner",
    sqlite3.SQLITE_CANTOPEN: "permission is denied, or its folder is gone",
    sqlite3.SQLITE_NOTADB: "it is no database. Move it away, and a new one is begun",
    sqlite3.SQLITE_CORRUPT: "it is damaged. Move it away, and a new one is begun",
}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the disk into a sentence; what it says of our SQL stays as it is."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        reason = _REASONS.get((code or 0) & 0xFF)
        if reason is None:
            raise
        raise StorageError(f"Cannot use the journal {str(path)!r}: {reason}.") from error
