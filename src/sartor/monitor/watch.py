"""Looks at the models in use: reads the journal on, asks the signals, remembers, and on a breach moves an alias back.

    journal -> batches -> reference (the first requests of a model) -> signals -> levels -> events, sinks, rollback

A model is watched from its own first requests on: they are its reference, and until there are enough nothing is said.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
from safetensors.torch import load as load_tensors

from sartor import journal
from sartor.errors import BundleError, NotFoundError, SartorError, UserError
from sartor.journal import EventRow, Journal, Reader
from sartor.model import REPORT, WEIGHTS
from sartor.monitor import weights
from sartor.monitor.alerts import Level, Track, worst
from sartor.monitor.cusum import upper_limit
from sartor.monitor.journalled import Batch, cells_of, counts, read_on, verdict
from sartor.monitor.memory import Book, Kept, Memory, Remembered
from sartor.monitor.seen import Stretch, joined
from sartor.monitor.signals import BY_NAME, Budget, Reference
from sartor.monitor.state import Change, Plan, Reading, advance, breaches, readings
from sartor.registry import bundle
from sartor.registry.store import Entry, Store
from sartor.release import CHAMPION
from sartor.types import Manifest, Report, from_json

REFERENCE = 500
"""Requests that a reference is made of, unless told."""
LEAST_REFERENCE = 100
AT_ONCE = 2000
BACKLOG = 10_000
"""Of a longer backlog only the end is looked at through windows."""
LEAST_JUDGED = 50
"""Judged answers from which on they tell how many are usually wrong."""
_MOST_JUDGED = 1000
_MOST_SHARE = 1e6
"""Stands for the infinite, which JSON has not."""

Rollback: TypeAlias = Callable[[str, str, str], str]
"""``rollback(name, model id, why)`` moves the alias back and says in a sentence what it did.

It raises a :class:`SartorError` where there is nothing to go back to.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """How closely models are watched."""

    reference: int = REFERENCE
    """Requests."""
    budget: Budget = field(default_factory=Budget)
    rollback_on: tuple[str, ...] = ("accuracy", "out-of-list", "errors")
    """Signals that may move an alias back. That less accuracy is to be expected (``expected-accuracy``) is not among
    them: it says that inputs have changed, and an older model would be no better at them."""

    def __post_init__(self) -> None:
        if self.reference < LEAST_REFERENCE:
            raise UserError(f"A reference needs {LEAST_REFERENCE} requests at least; got {self.reference}.")


@dataclass(frozen=True, slots=True)
class Line:
    """What one signal says, for a person."""

    signal: str
    title: str
    level: Level
    test: str
    reading: Reading
    advice: str
    """"" where all is well."""


@dataclass(frozen=True, slots=True)
class Health:
    """How a model in use is doing."""

    name: str
    model: str
    version: int
    level: Level
    reference: int
    """Requests of the reference so far."""
    wanted: int
    """Requests that it takes."""
    seen: int
    """Requests since."""
    judged: int
    """Answers that somebody judged, since the reference."""
    false_alarms: float
    """In 10,000 requests, of all signals together; at most, on average."""
    lines: tuple[Line, ...] = ()
    changes: tuple[Change, ...] = ()
    """Levels that changed in this look."""
    notes: tuple[str, ...] = ()
    rolled_back: str = ""
    at: float = 0.0
    """When the model was looked at last; 0 for never."""

    @property
    def learning(self) -> bool:
        """Return whether the reference is not whole yet."""
        return self.reference < self.wanted


# --- looking -----------------------------------------------------------------------------------------------


def watch(
    name: str,
    home: Path,
    options: Options | None = None,
    *,
    rollback: Rollback | None = None,
    now: Callable[[], float] = time.time,
) -> Health:
    """Look at the champion of ``name``: read the journal on, and remember and record what changed.

    Args:
        name: of the model.
        home: the store's folder.
        options: how closely.
        rollback: moves the alias back when answers are worse; None to alert alone.
        now: the clock.

    Raises:
        NotFoundError: when ``name`` has no champion.
        StorageError: when the journal or the memory cannot be read or written.
    """
    options = options or Options()
    entry = champion(name, home)
    manifest, _ = bundle.read(entry.path, verify=False)
    reader = Reader(home / journal.FILE)
    memory = Memory(home)
    before = memory.read(name, entry.id) or _begun(entry, manifest, reader, options)
    after, changes = _look(before, entry, manifest, reader, options)
    after = replace(after, at=now())
    if not memory.write(name, entry.id, after):
        return health(name, home, options)  # another monitor was faster, and has told
    after = replace(after, turn=after.turn + 1)
    rolled_back = ""
    if rollback is not None and not after.book.rolled_back:
        rolled_back = _rolled_back(after, entry, manifest, reader, options, rollback)
    if rolled_back:
        after = replace(after, book=replace(after.book, rolled_back=rolled_back))
        memory.write(name, entry.id, after)
    _record(home, entry, changes, rolled_back, now())
    return _health(entry, manifest, reader, after, options, changes)


def health(name: str, home: Path, options: Options | None = None) -> Health:
    """Return how the champion of ``name`` was doing when it was last looked at; reads little, changes nothing.

    Raises:
        NotFoundError: when ``name`` has no champion.
        StorageError: when the memory cannot be read.
    """
    options = options or Options()
    entry = champion(name, home)
    manifest, _ = bundle.read(entry.path, verify=False)
    found = Memory(home).read(name, entry.id) or Remembered(Book(), Kept.nothing(), Kept.nothing())
    return _health(entry, manifest, Reader(home / journal.FILE), found, options, ())


def champion(name: str, home: Path) -> Entry:
    """Return the champion of ``name``.

    Raises:
        NotFoundError: when there is none.
    """
    return Store(home).get(f"{name}@{CHAMPION}")


def champions(home: Path) -> tuple[str, ...]:
    """Return the names that have a champion, sorted."""
    return tuple(sorted(entry.name for entry in Store(home).list() if CHAMPION in entry.aliases))


def forget(name: str, home: Path) -> None:
    """Begin the reference of a champion anew: what is asked now is what is usual.

    Raises:
        NotFoundError: when ``name`` has no champion.
        StorageError: when the memory cannot be written.
    """
    memory, entry = Memory(home), champion(name, home)
    found = memory.read(name, entry.id)
    if found is not None:
        fresh = Book(cursor=found.book.cursor, wrong=found.book.wrong, wrong_by=found.book.wrong_by)
        memory.write(name, entry.id, replace(found, book=fresh, reference=Kept.nothing(), tail=Kept.nothing()))


def _look(
    found: Remembered, entry: Entry, manifest: Manifest, reader: Reader, options: Options
) -> tuple[Remembered, tuple[Change, ...]]:
    changes: tuple[Change, ...] = ()
    plan: Plan | None = None
    found, changes = _weights(found, entry, manifest)
    while True:
        wanted = found.book.asked or options.reference
        short = wanted - len(found.reference.seq)
        before = found.book.cursor.feedback
        batch = read_on(reader, manifest, found.book.cursor, most=min(AT_ONCE, short) if short > 0 else AT_ONCE)
        found = replace(found, book=replace(found.book, cursor=batch.cursor, asked=wanted))
        if short > 0:
            # feedback waits until there is a plan by which to judge it
            cursor = replace(batch.cursor, feedback=before)
            found = replace(found, book=replace(found.book, cursor=cursor), reference=_joined(found.reference, batch))
        else:
            plan = plan or plan_of(found, manifest, reader, options)
            late = batch.more and _waiting(reader, manifest, batch) > BACKLOG
            found, more = _advanced(found, plan, manifest, reader, batch, late)
            changes += more
        if not batch.more:
            return found, changes


def _advanced(
    found: Remembered, plan: Plan, manifest: Manifest, reader: Reader, batch: Batch, late: bool
) -> tuple[Remembered, tuple[Change, ...]]:
    tail = found.tail.last(plan.history)
    both = _joined(_with_cells(tail, manifest, reader), batch)
    state, changes = advance(plan, found.book.state, both.rows, len(batch.rows), batch.right, windows=not late)
    return replace(found, book=replace(found.book, state=state), tail=both.last(plan.history)), changes


def _joined(kept: Kept, batch: Batch) -> Kept:
    new = Stretch.of(batch.rows)
    if not len(new):
        return kept
    width = max(kept.rows.projection.shape[1], new.projection.shape[1])
    both = [_wide(part, width) for part in (kept.rows, new) if len(part)]
    return Kept(joined(both), (*kept.seq, *(row.seq for row in batch.rows)))


def _wide(rows: Stretch, width: int) -> Stretch:
    if rows.projection.shape[1] == width:
        return rows
    return replace(rows, projection=np.full((len(rows), width), np.nan))


def _with_cells(kept: Kept, manifest: Manifest, reader: Reader) -> Kept:
    """Return requests with the cells that the journal still has."""
    columns, known = manifest.requirement.columns, [seq for seq in kept.seq if seq]
    if not columns or not known:
        return kept
    wanted = set(known)
    answers = reader.answers(name=manifest.name, model=manifest.id, after=min(known) - 1, texts=True)
    first = itertools.takewhile(lambda row: row.seq <= max(known), answers)
    cells = {row.seq: cells_of(row.text, columns) for row in first if row.seq in wanted}
    names = dict.fromkeys(name for row in cells.values() for name in row)
    found = {name: np.array([None] * len(kept.seq), dtype=np.object_) for name in names}
    for name, column in found.items():
        column[:] = [cells.get(seq, {}).get(name) for seq in kept.seq]
    return Kept(replace(kept.rows, cells=found), kept.seq)


def plan_of(found: Remembered, manifest: Manifest, reader: Reader, options: Options) -> Plan:
    """Return the plan that follows from what is remembered."""
    rows = _with_cells(found.reference, manifest, reader).rows
    return Plan.of(Reference.of(rows, manifest.requirement.columns), options.budget, wrong=found.book.wrong)


def _waiting(reader: Reader, manifest: Manifest, batch: Batch) -> int:
    newest = next(reader.answers(name=manifest.name, model=manifest.id, last=1), None)
    return 0 if newest is None else newest.seq - batch.cursor.answers


# --- what is usual -----------------------------------------------------------------------------------------


def _begun(entry: Entry, manifest: Manifest, reader: Reader, options: Options) -> Remembered:
    wrong, by = _usually_wrong(entry, manifest, reader)
    return Remembered(Book(wrong=wrong, wrong_by=by, asked=options.reference), Kept.nothing(), Kept.nothing())


def _usually_wrong(entry: Entry, manifest: Manifest, reader: Reader) -> tuple[float | None, str]:
    """Return the share of wrong answers that is usual at most, and where that is from.

    Feedback to the versions before goes first: who gives feedback is no fair sample of who asks, but it is the same
    people before and after.
    """
    told = [
        right
        for feedback, answer in reader.feedback(name=manifest.name, last=_MOST_JUDGED)
        if answer.model != entry.id and counts(feedback) and (right := verdict(feedback, answer)) is not None
    ]
    if len(told) >= LEAST_JUDGED:
        return upper_limit(told.count(False), len(told)), f"{len(told)} judged answers of other versions"
    proved = _proved(entry)
    return (None, "no proof; 10% are taken for usual") if proved is None else (1 - proved, "the model's proof")


def _proved(entry: Entry) -> float | None:
    """Return the lower end of what the proof says of the share of right answers."""
    try:
        _, files = bundle.load(entry.path)
        report = from_json(msgspec.json.decode(files[REPORT]), Report)
    except (KeyError, ValueError, BundleError, NotFoundError):
        return None
    if not report.proved:
        return None
    if report.scores is not None:
        return report.scores.accuracy.low
    if report.written is not None and report.written.scores is not None:
        return report.written.scores.exact_match.low
    return None


def _weights(found: Remembered, entry: Entry, manifest: Manifest) -> tuple[Remembered, tuple[Change, ...]]:
    """Return what is remembered with the size of the weights, which never changes and is measured once."""
    state = found.book.state
    if "adapter" in state.readings:
        return found, ()
    _, files = bundle.load(entry.path)
    share = min(_MOST_SHARE, weights.share_of_bounds(load_tensors(files[WEIGHTS]), weights.bounds_of(manifest)))
    level: Level = "alert" if not share <= 1 else "ok"
    reading = Reading("adapter", level, share, threshold=1.0)
    state = replace(
        state,
        tracks={**state.tracks, "adapter": Track(level)},
        readings={**state.readings, "adapter": reading},
    )
    changes = (Change("adapter", "ok", level, 0, reading),) if level != "ok" else ()
    return replace(found, book=replace(found.book, state=state)), changes


# --- what follows ------------------------------------------------------------------------------------------


def _rolled_back(
    found: Remembered, entry: Entry, manifest: Manifest, reader: Reader, options: Options, rollback: Rollback
) -> str:
    if len(found.reference.seq) < found.book.asked:
        return ""
    plan = plan_of(found, manifest, reader, options)
    worse = [signal for signal in breaches(plan, found.book.state) if signal.name in options.rollback_on]
    if not worse:
        return ""
    why = f"{entry.name}@v{entry.version}: " + ", ".join(signal.title for signal in worse)
    try:
        return rollback(entry.name, entry.id, why)
    except SartorError as error:  # nothing to go back to is no reason to stop watching
        return f"Not rolled back: {error}"


def _record(home: Path, entry: Entry, changes: Sequence[Change], rolled_back: str, at: float) -> None:
    rows = [
        EventRow(
            at,
            "alert",
            entry.name,
            {
                "model": entry.id,
                "signal": change.signal,
                "before": change.before,
                "after": change.after,
                "value": _finite(change.reading.value),
                "requests": change.at,
            },
        )
        for change in changes
    ]
    if rolled_back:
        rows.append(EventRow(at, "rollback", entry.name, {"model": entry.id, "said": rolled_back}))
    if rows:
        with Journal(home / journal.FILE) as writer:
            writer.append(*rows)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _health(
    entry: Entry,
    manifest: Manifest,
    reader: Reader,
    found: Remembered,
    options: Options,
    changes: tuple[Change, ...],
) -> Health:
    state, have, wanted = found.book.state, len(found.reference.seq), found.book.asked or options.reference
    said = [one for one in state.readings.values() if one.signal == "adapter" and one.value > 0]
    notes = _notes(found, manifest)
    if have >= wanted:
        plan = plan_of(found, manifest, reader, options)
        said += readings(plan, state)
        if manifest.requirement.columns and "input-columns" not in {signal.name for signal in plan.signals}:
            notes.append("Columns are not watched: that takes the rows, and the alias' policy does not retain them.")
    lines = tuple(
        Line(signal.name, signal.title, one.level, signal.test, one, signal.advice if one.level != "ok" else "")
        for one in said
        for signal in [BY_NAME[one.signal]]
    )
    order = {name: at for at, name in enumerate(BY_NAME)}
    return Health(
        name=entry.name,
        model=entry.id,
        version=entry.version,
        level=worst(line.level for line in lines),
        reference=have,
        wanted=wanted,
        seen=state.seen,
        judged=state.judged,
        false_alarms=options.budget.false_alarms,
        lines=tuple(sorted(lines, key=lambda line: order[line.signal])),
        changes=changes,
        notes=tuple(notes),
        rolled_back=found.book.rolled_back,
        at=found.at,
    )


def _notes(found: Remembered, manifest: Manifest) -> list[str]:
    notes: list[str] = []
    have, wanted = len(found.reference.seq), found.book.asked
    if found.at == 0:
        return [f"Nobody looked yet: sartor monitor --once {manifest.name}."]
    if have < wanted:
        notes.append(f"Learning what is usual: {have:,} of {wanted:,} requests. Until then nothing alerts.")
    if found.book.wrong is not None:
        notes.append(f"Up to {found.book.wrong:.0%} wrong answers are taken for usual, by {found.book.wrong_by}.")
    return notes
