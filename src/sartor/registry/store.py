"""The store: immutable bundles named by hash; names with versions; aliases that move by compare-and-swap.

    <home>/registry.db       entries, aliases, events (SQLite, write-ahead log)
    <home>/models/<id>/      one bundle each
    <home>/tmp/              what is being written

A bundle is written in ``tmp``, renamed into ``models``, and only then entered in the database, all under the
database's write lock: what has no row does not exist. Every put and every move of an alias leaves an event,
and each event carries the hash of the one before it.
"""

import hashlib
import json
import os
import pwd
import re
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from sartor.errors import BundleError, NotFoundError, StorageError, UserError, did_you_mean
from sartor.registry import bundle, disk, migrations
from sartor.types import Manifest

GARBAGE_AGE_S = 3600.0
BUSY_S = 30.0
"""How long to wait for another process that writes, in seconds."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"v([0-9]{1,9})")
_ID = re.compile(r"[0-9a-f]{16}")
_PREFIX = re.compile(r"[0-9a-f]{6,16}")
_CANNOT_MAKE_INDEX = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
_NO_EVENT = "0" * 64


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored model."""

    name: str
    version: int
    """1, 2, 3 … within the name."""
    id: str
    created: str
    """ISO 8601, as the manifest says."""
    family: str
    aliases: tuple[str, ...]
    path: Path
    """The bundle's folder."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log."""

    seq: int
    at: str
    """ISO 8601, UTC."""
    kind: str
    """``put`` (id, name, version), ``alias`` (name, alias, from, to and, where it was said, why), ``canary`` (name, id
    and share, or null and 0 at its end, why) or ``policy`` (name, alias, policy)."""
    actor: str
    """The system's user and the process."""
    body: Mapping[str, Any]
    hash: str
    """sha256 of the hash before it and of this event."""


@dataclass(frozen=True, slots=True)
class Canary:
    """A model that gets a share of what its name's champion is asked."""

    name: str
    id: str
    share: float
    """0..1 of the requests."""
    since: str
    """ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a server follows, as it stood at one moment."""

    seq: int
    """Of the last event; it grows with every change."""
    entries: tuple[Entry, ...]
    aliases: Mapping[tuple[str, str], str]
    """(name, alias) -> id."""
    canaries: Mapping[str, Canary]
    policies: Mapping[tuple[str, str], Mapping[str, Any]]
    """(name, alias) -> what holds for its answers."""


_Entries: TypeAlias = list[Entry]  # within Store, ``list`` is a method


def _no_alias(before: Mapping[str, str]) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Put:
    """A model to be stored beside others."""

    draft: Manifest
    files: Mapping[str, bytes]
    name: str
    alias: Callable[[Mapping[str, str]], str | None] = _no_alias
    """The alias that it takes, told of those that its name has (alias -> id). Asked while nobody else can move one; not
    of a model that is stored already."""


def slug(text: str) -> str:
    """Return a valid name for any text: itself if it is one, its Latin letters, or ``model-`` and a hash.

    >>> slug("Is this review positive?"), slug("レビューを分類する")
    ('is-this-review-positive', 'model-c2726f')
    """
    if _NAME.fullmatch(text):
        return text
    plain = unicodedata.normalize("NFKD", text).lower()
    letters = [c for c in plain if c.isalnum()]
    latin = [c for c in letters if c.isascii()]
    words = re.sub(r"[^a-z0-9]+", "-", "".join(c for c in plain if not unicodedata.combining(c))).strip("-")
    if not words or 2 * len(latin) < len(letters):
        return f"model-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:6]}"
    if len(words) > 64:
        words = words[:65].rpartition("-")[0] or words[:64]
    return words


def is_name(text: str) -> bool:
    """Return whether ``text`` can be the name of a model or of an alias: no path, no hidden file, nothing to escape.

    >>> is_name("mails"), is_name("../mails"), is_name("a/b"), is_name(".x")
    (True, False, False, False)
    """
    return _NAME.fullmatch(text) is not None


def resolve(ref: str, home: Path) -> Path:
    """Return the folder of the bundle that ``ref`` names.

    A folder that holds manifest.json goes first; then what :meth:`Store.get` takes.

    Raises:
        NotFoundError: when nothing is named so.
    """
    if ref and os.path.isfile(os.path.join(ref, bundle.MANIFEST)):
        return Path(ref)
    if os.sep in ref or ref.startswith("."):
        raise NotFoundError(
            f"There is no bundle in the folder {ref!r}: it holds no {bundle.MANIFEST}. Name such a folder, "
            "or a model of the store ('sartor models' lists them)."
        )
    return Store(home).get(ref).path


class Store:
    """The models under one folder. Opening it makes and holds nothing; threads and processes may share it."""

    def __init__(self, home: Path) -> None:
        self.home = Path(os.path.abspath(home))
        self._models = self.home / "models"
        self._tmp = self.home / "tmp"
        self._file = self.home / "registry.db"

    # --- reading: works on a read-only store; a store that is not there is an empty one ---------------------

    def list(self) -> _Entries:
        """Return every stored model, in the order of their putting."""
        with self._reading() as db:
            return self._entries(db) if db else []

    def get(self, ref: str) -> Entry:
        """Return the model that ``ref`` names.

        ``ref`` is a whole id; ``name``: its latest version (whoever serves others names an alias, which only a
        gate moves); ``name@alias``; ``name@v3``; or the first six or more digits of an id. They are tried in this
        order.

        Raises:
            NotFoundError: when nothing, or more than one model, is named so.
            BundleError: when the model's folder is gone.
        """
        entry = _find(ref, self.list(), self.home)
        if not entry.path.is_dir():
            raise BundleError(
                f"The folder of {entry.name}@v{entry.version} is gone: {entry.path}. Put the model again to mend it."
            )
        return entry

    def aliases(self, name: str) -> Mapping[str, str]:
        """Return alias -> id for the models called ``name``."""
        with self._reading() as db:
            rows = db.execute("SELECT alias, id FROM aliases WHERE name = ? ORDER BY alias", (name,)) if db else ()
            return dict(rows)

    def events(self) -> tuple[Event, ...]:
        """Return the log, oldest first."""
        with self._reading() as db:
            return _events(db) if db else ()

    def seq(self) -> int:
        """Return the number of the last event, 0 where there is none: whoever follows the store asks this alone."""
        with self._reading() as db:
            return db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0] if db else 0

    def snapshot(self) -> Snapshot:
        """Return entries, aliases, canaries and policies as they stood at one moment."""
        with self._reading() as db:
            if db is None:
                return Snapshot(0, (), {}, {}, {})
            db.execute("BEGIN")
            (seq,) = db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
            aliases = {(name, alias): to for name, alias, to in db.execute("SELECT name, alias, id FROM aliases")}
            policies = {(name, alias): json.loads(body) for name, alias, body in db.execute("SELECT * FROM policies")}
            return Snapshot(seq, tuple(self._entries(db)), aliases, _canaries(db), policies)

    def canary(self, name: str) -> Canary | None:
        """Return the canary of a name, if one is running."""
        with self._reading() as db:
            return _canaries(db).get(name) if db else None

    def verify_chain(self) -> int:
        """Return the number of events once the log is found whole, and entries and aliases to follow from it.

        Raises:
            StorageError: naming what was changed from outside.
        """
        with self._reading() as db:
            if not db:
                return 0
            db.execute("BEGIN")
            events, rows = _events(db), _rows(db)
        _check_hashes(events, self._file)
        _check_replay(events, rows, self._file)
        return len(events)

    # --- writing --------------------------------------------------------------------------------------------

    def put(self, draft: Manifest, files: Mapping[str, bytes], name: str) -> Entry:
        """Seal and store a model as the next version of ``name``; return its entry once it is on the disk.

        The same draft and files again give the same entry, and mend its folder if that was damaged.

        Args:
            draft: see :func:`sartor.registry.bundle.seal`; its ``name`` becomes ``name``.
            files: file name -> content, without manifest.json.
            name: see :func:`slug`.

        Raises:
            UserError: when ``name`` cannot be one.
            BundleError: when the files make no sound bundle.
            StorageError: when the store cannot be written.
        """
        [entry] = self.put_many([Put(draft, files, name)])
        return entry

    def put_many(self, puts: Sequence[Put]) -> _Entries:
        """Seal and store models, all of them or none; return their entries, in order.

        What :meth:`put` says of one holds of each. For a hundred it is one look at the store and one commit.

        Raises:
            UserError, BundleError, StorageError: as :meth:`put`.
        """
        for one in puts:
            _check_name(one.name, "a model")
        sealed = [bundle.seal(replace(one.draft, name=one.name), one.files) for one in puts]
        with self._writing() as db:
            self._collect(db, GARBAGE_AGE_S)
            with ExitStack() as held:
                stages = [held.enter_context(disk.staging(self._tmp)) for _ in puts]
                for stage, (_, files) in zip(stages, sealed, strict=True):
                    disk.fill(stage, files)
                started = [(manifest.id, time.time()) for manifest, _ in sealed]
                with _transaction(db):
                    db.executemany("INSERT OR REPLACE INTO pending VALUES (?, ?)", started)
                disk.step("declared")
                self._publish(db, stages, [manifest for manifest, _ in sealed], puts)
            disk.step("published")
            known = {entry.id: entry for entry in self._entries(db)}
            return [known[manifest.id] for manifest, _ in sealed]

    def move_alias(
        self, name: str, alias: str, to_id: str, *, expected: str | None, why: Mapping[str, Any] | None = None
    ) -> Entry:
        """Point ``name@alias`` at ``to_id`` if it still points at ``expected`` (None: nothing); return it.

        A canary of the name ends where its model, or what it is held against, moves: ``champion`` is that.

        Args:
            name: of the models.
            alias: to be moved.
            to_id: a whole id.
            expected: what it points at, as the caller saw it.
            why: kept with the event, as JSON.

        Raises:
            UserError: when ``alias`` cannot be one.
            NotFoundError: when ``to_id`` is no version of ``name``.
            StorageError: when another process moved it first; says who.
        """
        _check_name(alias, "an alias")
        if _VERSION.fullmatch(alias):
            raise UserError(f"{alias!r} cannot be an alias, for {name}@{alias} is a version. Choose another.")
        stored = self.list()
        if not any(entry.name == name for entry in stored):
            raise _not_found(name, name, stored, self.home)
        with self._writing() as db, _transaction(db):
            disk.step("begun")
            entries = self._entries(db)
            if not any(entry.name == name and entry.id == to_id for entry in entries):
                known = ", ".join(entry.id for entry in entries if entry.name == name)
                raise NotFoundError(f"{name} has no version with the id {to_id!r}. Its versions are {known}.")
            row = db.execute("SELECT id FROM aliases WHERE name = ? AND alias = ?", (name, alias)).fetchone()
            current = row[0] if row else None
            if current != expected:
                raise _lost_race(_events(db), name, alias, current, expected)
            db.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?, ?)", (name, alias, to_id))
            disk.step("moved")
            body = {"name": name, "alias": alias, "from": current, "to": to_id}
            _log(db, "alias", body | ({"why": dict(why)} if why else {}))
            if alias == "champion":
                _end_canary(db, name, {"kind": "moved"})
            disk.step("logged")
            return next(entry for entry in self._entries(db) if entry.id == to_id)

    def start_canary(self, name: str, to_id: str, share: float, *, why: Mapping[str, Any] | None = None) -> Canary:
        """Give ``to_id`` a share of what ``name@champion`` is asked, and the alias ``challenger``; return the canary.

        One that was running ends.

        Raises:
            UserError: when the share is not between 0 and 1, or the model is the champion.
            NotFoundError: when ``to_id`` is no version of ``name``, or the name has no champion.
        """
        if not 0 < share < 1:
            raise UserError(f"A canary's share lies between 0% and 100%; got {100 * share:g}%.")
        with self._writing() as db, _transaction(db):
            aliases = dict(db.execute("SELECT alias, id FROM aliases WHERE name = ?", (name,)))
            entries = [entry.id for entry in self._entries(db) if entry.name == name]
            if to_id not in entries:
                raise NotFoundError(f"{name} has no version with the id {to_id!r}. Its versions are {entries}.")
            if "champion" not in aliases:
                raise NotFoundError(f"{name} has no champion to share requests with. Promote the model without it.")
            if aliases["champion"] == to_id:
                raise UserError(f"{to_id} is {name}@champion already: it gets every request.")
            since = datetime.now(UTC).isoformat(timespec="milliseconds")
            db.execute("INSERT OR REPLACE INTO canaries VALUES (?, ?, ?, ?)", (name, to_id, share, since))
            _log(db, "canary", {"name": name, "id": to_id, "share": share, "why": dict(why or {})})
            if (before := aliases.get("challenger")) != to_id:
                db.execute("INSERT OR REPLACE INTO aliases VALUES (?, 'challenger', ?)", (name, to_id))
                _log(db, "alias", {"name": name, "alias": "challenger", "from": before, "to": to_id})
            disk.step("canary")
            return Canary(name, to_id, share, since)

    def end_canary(self, name: str, to_id: str, *, why: Mapping[str, Any]) -> bool:
        """End the canary of a name if it is still that of ``to_id``; say whether it was. Aliases stay."""
        with self._writing() as db, _transaction(db):
            running = _canaries(db).get(name)
            if running is None or running.id != to_id:
                return False
            _end_canary(db, name, why)
            disk.step("ended")
            return True

    def set_policy(self, name: str, alias: str, policy: Mapping[str, Any]) -> None:
        """Say what holds for the answers of ``name@alias``, whatever model it points at.

        Raises:
            UserError: when the names cannot be such.
        """
        _check_name(name, "a model")
        _check_name(alias, "an alias")
        with self._writing() as db, _transaction(db):
            text = bundle.canonical(dict(policy)).decode()
            db.execute("INSERT OR REPLACE INTO policies VALUES (?, ?, ?)", (name, alias, text))
            _log(db, "policy", {"name": name, "alias": alias, "policy": dict(policy)})

    def policy(self, name: str, alias: str) -> Mapping[str, Any]:
        """Return what holds for the answers of ``name@alias``; empty where nothing was said."""
        with self._reading() as db:
            query = "SELECT body FROM policies WHERE name = ? AND alias = ?"
            row = db.execute(query, (name, alias)).fetchone() if db else None
            return json.loads(row[0]) if row else {}

    def export(self, ref: str, out_dir: Path, *, overwrite: bool = False) -> Path:
        """Copy the bundle that ``ref`` names to ``out_dir``, which appears whole or not at all; return it.

        Args:
            ref: see :meth:`get`.
            out_dir: must not exist or be empty, or with ``overwrite`` hold a sound bundle that this store holds
                too, and nothing else.
            overwrite: swap in one step with what is there.

        Raises:
            NotFoundError, BundleError: as :meth:`get`, and when the stored bundle is damaged.
            StorageError: when ``out_dir`` stands in the way or cannot be written.
        """
        entry = self.get(ref)
        target, replacing = self.check_export(out_dir, overwrite=overwrite)
        _, files = bundle.load(entry.path)
        bundle.write(target, files, overwrite=replacing)
        return target

    def check_export(self, out_dir: Path, *, overwrite: bool = False) -> tuple[Path, bool]:
        """Return where :meth:`export` would write, and whether it would replace a bundle there.

        Raises:
            StorageError: when ``out_dir`` stands in the way.
        """
        target = Path(os.path.abspath(out_dir))
        if target.is_relative_to(self.home):
            raise StorageError(f"{str(target)!r} lies within the store. Choose a folder outside {str(self.home)!r}.")
        replacing = os.path.lexists(target) and not disk.is_empty(target)
        if replacing:
            self._check_replaceable(target, overwrite)
        return target, replacing

    def collect_garbage(self, older_than: float = GARBAGE_AGE_S) -> int:
        """Remove what dead processes left behind; return the number of folders.

        Only folders that a put had declared and never entered are removed from ``models``, and only when
        declared more than ``older_than`` seconds ago.

        Raises:
            StorageError: when the store cannot be written.
        """
        if not self._file.exists():
            return 0
        with self._writing() as db:
            return self._collect(db, older_than)

    # --- within ---------------------------------------------------------------------------------------------

    def _publish(
        self, db: sqlite3.Connection, stages: Sequence[Path], manifests: Sequence[Manifest], puts: Sequence[Put]
    ) -> None:
        placed: list[tuple[Path, Path]] = []

        def withdraw() -> None:
            for stage, target in placed:
                if target.exists() and not stage.exists():
                    os.rename(target, stage)

        with _transaction(db, undo=withdraw):
            disk.step("begun")
            for stage, manifest, one in zip(stages, manifests, puts, strict=True):
                target = self._models / manifest.id
                entered = db.execute("SELECT 1 FROM entries WHERE id = ?", (manifest.id,)).fetchone() is not None
                if not entered:
                    placed.append((stage, target))  # before it is: an interrupt may come in between
                # A folder without a row was left by a dead process: nobody else could be here, under the lock.
                if not (entered and _is_sound(target)):
                    disk.place(stage, target, overwrite=True)
                if not entered:
                    _enter(db, manifest)
                    _grant(db, one, manifest)
                disk.step("entered")
            db.executemany("DELETE FROM pending WHERE id = ?", [(manifest.id,) for manifest in manifests])
            disk.step("committing")

    def _collect(self, db: sqlite3.Connection, older_than: float) -> int:
        removed = disk.sweep(self._tmp)
        disk.step("swept")
        stale = "SELECT id FROM pending WHERE started <= ?"
        limit = time.time() - older_than
        if db.execute(stale, (limit,)).fetchone() is None:
            return removed
        with _transaction(db):
            for (model_id,) in db.execute(stale, (limit,)).fetchall():
                folder = self._models / model_id
                known = db.execute("SELECT 1 FROM entries WHERE id = ?", (model_id,)).fetchone()
                if not known:
                    removed += disk.remove_unlocked(folder)
                if known or not folder.exists():
                    db.execute("DELETE FROM pending WHERE id = ?", (model_id,))
                disk.step("collected")
        return removed

    def _check_replaceable(self, target: Path, overwrite: bool) -> None:
        if not overwrite:
            raise StorageError(f"{str(target)!r} exists already. Choose another folder, or ask to overwrite it.")
        keep = f"{str(target)!r} is not overwritten, for it holds what this store does not: "
        if target.is_symlink():
            raise StorageError(f"{keep}it is a link. Choose another folder.")
        try:
            manifest, _ = bundle.read(target)
        except (BundleError, NotFoundError) as error:
            raise StorageError(f"{keep}{error} Choose another folder.") from error
        if extra := sorted(set(os.listdir(target)) - {*manifest.files, bundle.MANIFEST}):
            raise StorageError(f"{keep}{extra[0]!r}. Choose another folder.")
        if not any(entry.id == manifest.id and _is_sound(entry.path) for entry in self.list()):
            raise StorageError(f"{keep}the model {manifest.id}. Choose another folder.")

    def _entries(self, db: sqlite3.Connection) -> _Entries:
        aliases: dict[str, Sequence[str]] = {}
        for alias, model_id in db.execute("SELECT alias, id FROM aliases ORDER BY alias"):
            aliases[model_id] = (*aliases.get(model_id, ()), alias)
        rows = db.execute("SELECT name, version, id, created, family FROM entries ORDER BY seq").fetchall()
        return [Entry(*row, aliases=tuple(aliases.get(row[2], ())), path=self._models / row[2]) for row in rows]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """Give a connection to read from; None where there is no store yet."""
        with disk.explained(self.home, "read"), _explained(self._file):
            db = self._connect_to_read() if self._file.exists() else None
            if db is None:
                yield None
                return
            with closing(db):
                taken = migrations.version(db)
                if 0 < taken < len(migrations.MIGRATIONS):
                    with self._writing():  # which upgrades it
                        pass
                yield db if taken else None

    def _connect_to_read(self) -> sqlite3.Connection:
        try:
            # This reads a write-protected file too, but SQLite needs to make an index of its log beside it.
            return self._connect("mode=rw")
        except sqlite3.OperationalError as error:
            log = self._file.with_name(f"{self._file.name}-wal")
            if _code(error) not in _CANNOT_MAKE_INDEX or (log.exists() and log.stat().st_size):
                raise
        # Where there is no log, nobody writes: the file alone is the whole store.
        return self._connect("mode=ro&immutable=1")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection to write to, in autocommit mode; the store is made or upgraded first."""
        with disk.explained(self.home), _explained(self._file):
            for folder in (self.home, self._models, self._tmp):
                folder.mkdir(parents=True, exist_ok=True)
            with closing(self._connect("mode=rwc")) as db:
                disk.step("connected")
                if migrations.version(db) < len(migrations.MIGRATIONS):
                    self._upgrade(db)
                yield db

    def _upgrade(self, db: sqlite3.Connection) -> None:
        # SQLite does not wait while another process turns on the write-ahead log: let one go at a time.
        with disk.locked(self.home):
            db.execute("PRAGMA journal_mode = WAL")
            disk.step("logging ahead")
            migrations.migrate(db)
            disk.sync_folder(self.home)
            disk.step("migrated")

    def _connect(self, mode: str) -> sqlite3.Connection:
        db = sqlite3.connect(f"{self._file.as_uri()}?{mode}", uri=True, timeout=BUSY_S, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException:
            db.close()
            raise
        return db


# --- finding -----------------------------------------------------------------------------------------------


def _find(ref: str, entries: Sequence[Entry], home: Path) -> Entry:
    name, at, which = ref.partition("@")
    named = [entry for entry in entries if entry.name == name]
    if whole := [entry for entry in entries if entry.id == ref]:
        return whole[0]
    if named and at:
        return _find_version(which, named)
    if named:
        return named[-1]
    if not _PREFIX.fullmatch(ref):
        raise _not_found(ref, name, entries, home)
    near = [entry for entry in entries if entry.id.startswith(ref)]
    if not near:
        raise _not_found(ref, name, entries, home)
    if len(near) > 1:
        candidates = ", ".join(f"{entry.id} ({entry.name}@v{entry.version})" for entry in near)
        raise NotFoundError(f"More than one model has an id that begins with {ref!r}: {candidates}. Give more digits.")
    return near[0]


def _find_version(which: str, named: Sequence[Entry]) -> Entry:
    version = _VERSION.fullmatch(which)
    for entry in named:
        if which in entry.aliases or (version and entry.version == int(version[1])):
            return entry
    aliases = sorted({alias for entry in named for alias in entry.aliases})
    versions = f"v{named[0].version} to v{named[-1].version}" if len(named) > 1 else f"v{named[0].version}"
    name = named[0].name
    raise NotFoundError(
        f"{name} has no version or alias {which!r}.{did_you_mean(which, aliases)} It has {versions} and "
        f"{'the aliases ' + ', '.join(aliases) if aliases else 'no alias'}."
    )


def _not_found(ref: str, name: str, entries: Sequence[Entry], home: Path) -> NotFoundError:
    if not entries:
        return NotFoundError(
            f"There is no model {ref!r}: the store {str(home)!r} is empty. 'sartor generate' fills it."
        )
    known = {*(entry.name for entry in entries), *(entry.id for entry in entries)}
    return NotFoundError(f"There is no model {ref!r}.{did_you_mean(name, known)} 'sartor models' lists them.")


def _check_name(name: str, what: str) -> None:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be the name of {what}. A name is up to 64 of a-z, 0-9, '.', '_' and '-', and "
            f"begins with a letter or digit, as {slug(name)!r}."
        )


def _is_sound(folder: Path) -> bool:
    try:
        bundle.read(folder)
    except (BundleError, NotFoundError):
        return False
    return True


# --- the log -----------------------------------------------------------------------------------------------


def _enter(db: sqlite3.Connection, manifest: Manifest) -> None:
    (latest,) = db.execute("SELECT coalesce(max(version), 0) FROM entries WHERE name = ?", (manifest.name,)).fetchone()
    db.execute(
        "INSERT INTO entries (id, name, version, created, family) VALUES (?, ?, ?, ?, ?)",
        (manifest.id, manifest.name, latest + 1, manifest.created, manifest.family),
    )
    _log(db, "put", {"id": manifest.id, "name": manifest.name, "version": latest + 1})


def _grant(db: sqlite3.Connection, one: Put, manifest: Manifest) -> None:
    """Point the alias that a model may have at it."""
    before = dict(db.execute("SELECT alias, id FROM aliases WHERE name = ?", (manifest.name,)))
    alias = one.alias(before)
    if alias is None or before.get(alias) == manifest.id:
        return
    db.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?, ?)", (manifest.name, alias, manifest.id))
    body = {"name": manifest.name, "alias": alias, "from": before.get(alias), "to": manifest.id}
    _log(db, "alias", body)


def _canaries(db: sqlite3.Connection) -> dict[str, Canary]:
    rows = db.execute("SELECT name, id, share, since FROM canaries").fetchall()
    return {row[0]: Canary(*row) for row in rows}


def _end_canary(db: sqlite3.Connection, name: str, why: Mapping[str, Any]) -> None:
    if db.execute("DELETE FROM canaries WHERE name = ?", (name,)).rowcount:
        _log(db, "canary", {"name": name, "id": None, "share": 0.0, "why": dict(why)})


def _log(db: sqlite3.Connection, kind: str, body: Mapping[str, Any]) -> None:
    last = db.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    seq, before = last or (0, _NO_EVENT)
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    row = (seq + 1, at, kind, _actor(), bundle.canonical(body).decode())
    db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", (*row, _event_hash(before, row)))


def _event_hash(before: str, row: Sequence[Any]) -> str:
    return hashlib.sha256(before.encode() + bundle.canonical(list(row))).hexdigest()


def _actor() -> str:
    user = os.getuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = f"user {user}"
    return f"{name} (process {os.getpid()})"


def _events(db: sqlite3.Connection) -> tuple[Event, ...]:
    rows = db.execute("SELECT seq, at, kind, actor, body, hash FROM events ORDER BY seq").fetchall()
    return tuple(Event(*row[:4], body=_body(row[4]), hash=row[5]) for row in rows)


def _body(text: str) -> Mapping[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        body = text
    return body if isinstance(body, dict) else {"unreadable": text}


def _lost_race(
    events: Sequence[Event], name: str, alias: str, current: str | None, expected: str | None
) -> StorageError:
    now = current or "nothing"
    moves = [e for e in events if e.kind == "alias" and (e.body.get("name"), e.body.get("alias")) == (name, alias)]
    who = f"{moves[-1].actor} moved it at {moves[-1].at}" if moves else "nobody ever moved it"
    return StorageError(
        f"{name}@{alias} was expected at {expected or 'nothing'} and is at {now}: {who}. Look at what it is "
        "now, and decide again."
    )


def _rows(db: sqlite3.Connection) -> tuple[set[tuple[Any, ...]], dict[tuple[str, str], str]]:
    entries = set(db.execute("SELECT id, name, version FROM entries"))
    return entries, {(name, alias): to for name, alias, to in db.execute("SELECT name, alias, id FROM aliases")}


def _check_hashes(events: Sequence[Event], file: Path) -> None:
    before = _NO_EVENT
    for number, event in enumerate(events, 1):
        row = (event.seq, event.at, event.kind, event.actor, bundle.canonical(event.body).decode())
        if event.seq != number or event.hash != _event_hash(before, row):
            raise _tampered(file, f"event {number} does not fit its hash")
        before = event.hash


def _check_replay(
    events: Sequence[Event], rows: tuple[set[tuple[Any, ...]], dict[tuple[str, str], str]], file: Path
) -> None:
    # A chain that was cut at its end is still a chain; but the rows then say more than the log.
    bodies = [(event.kind, event.body.get) for event in events]
    puts = {(get("id"), get("name"), get("version")) for kind, get in bodies if kind == "put"}
    moves = {(get("name"), get("alias")): get("to") for kind, get in bodies if kind == "alias"}
    for model_id, *_ in puts ^ rows[0]:
        raise _tampered(file, f"the log and the entries differ in {model_id}")
    for (name, alias), _ in moves.items() ^ rows[1].items():
        raise _tampered(file, f"the log and the aliases differ in {name}@{alias}")


def _tampered(file: Path, what: str) -> StorageError:
    return StorageError(f"{file} was changed by something other than Sartor: {what}. Restore it from a copy you trust.")


# --- SQLite ------------------------------------------------------------------------------------------------


def _nothing() -> None:
    pass


@contextmanager
def _transaction(db: sqlite3.Connection, undo: Callable[[], None] = _nothing) -> Iterator[None]:
    """Hold the write lock; commit at the end, or call ``undo`` while still holding it, and roll back."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            try:
                undo()
            finally:
                db.execute("ROLLBACK")
        raise
    disk.step("committed")


def _code(error: sqlite3.Error) -> int | None:
    """Return SQLite's primary result code; None for what Python's module itself found wrong."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turn what SQLite says of the disk into a sentence; what it says of our SQL stays as it is."""
    busy = f"another process has held it for {BUSY_S:.0f} seconds. Wait for it, and retry"
    denied = "permission is denied. Ask its owner, or choose another folder as the store"
    restore = "Restore it from a copy; the models beside it are untouched"
    reasons = {
        sqlite3.SQLITE_FULL: "no space is left on that disk. Free some, and retry",
        sqlite3.SQLITE_IOERR: "the disk does not take or give the bytes: it may be full, limited or failing",
        sqlite3.SQLITE_BUSY: busy,
        sqlite3.SQLITE_LOCKED: busy,
        sqlite3.SQLITE_READONLY: "it is read-only. Ask its owner, or choose another folder as the store",
        sqlite3.SQLITE_CANTOPEN: denied,
        sqlite3.SQLITE_PERM: denied,
        sqlite3.SQLITE_NOTADB: f"it is no database. {restore}",
        sqlite3.SQLITE_CORRUPT: f"it is damaged. {restore}",
    }
    try:
        yield
    except sqlite3.Error as error:
        reason = reasons.get(_code(error) or 0)
        if reason is None:
            raise
        raise StorageError(f"Cannot use the store's {file}: {reason}.") from error
