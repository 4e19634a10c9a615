"""Models in memory, and batches of what is asked of them.

A *lane* is one thread for all models that stand on one base: it takes what waits, whoever asked, and answers it as one
batch: texts of many classifiers are encoded together, texts of many writers are written in one batch with an adapter
each. What one request breaks is answered again one by one, so that it breaks nothing for others.

A model that cannot be read or does not fit is an error. Nobody else answers for it.
"""

import asyncio
import collections
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec
import numpy as np
import torch

from sartor import journal, model, release
from sartor.errors import BundleError, SartorError
from sartor.families.interface import Base, Writing
from sartor.model import Classifier, Detector, Model, Regressor, Writer, of_manifest
from sartor.registry.store import Entry

READ_ROWS, WRITTEN_ROWS, TABLE_ROWS = 64, 32, 128
"""Of one batch: texts that are read, texts that are written, rows of a table, which cost next to nothing."""
MAX_WAITING = 1024
"""Rows that may wait in a lane; who comes then is told when to come again."""
LINGER_S = 0.003
"""How long a lane waits for those whom it has just answered to ask again."""
MAX_STREAMS = 32
"""Answers that are streamed, or wait to be."""
STUCK_S = 60.0
_BLANK = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAADklEQVR42mNogAIGyhgAgIQgARDoah"
    "cAAAAASUVORK5CYII="
)
"""A grey picture, to warm models of pictures with."""
FAILED_S = 1.0
"""How long a model that could not be read is not tried again."""


class Busy(SartorError):
    """Too much waits already."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many requests wait. Retry in {retry_after} s.")
        self.retry_after = retry_after


class TooLate(SartorError):
    """The time that a request had is over."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model says of one input."""

    label: str | None = None
    confidence: float | None = None
    abstain: bool = False
    probabilities: Mapping[str, float] | None = None
    scope: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    output: str | None = None
    score: float | None = None
    """How unusual the input is, where a model tells that."""
    threshold: float | None = None
    unusual: bool | None = None
    projection: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model in memory; whoever holds it may use it, whatever is evicted meanwhile."""

    entry: Entry
    model: Model
    lane: "Lane"
    size: int
    """Bytes of its weights."""


@dataclass(slots=True, eq=False)
class Work:
    """Inputs of one request that one model shall answer."""

    loaded: Loaded
    inputs: Sequence[str]
    writing: Writing
    deadline: float
    """Of time.monotonic()."""
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[list[Outcome]]"
    alike: Hashable = None
    dropped: bool = field(default=False)
    """Nobody waits for it any more."""


_Result: TypeAlias = list[Outcome] | Exception


class Lane:
    """One thread that answers for all models of one base."""

    def __init__(self, name: str, *, max_rows: int = READ_ROWS, max_waiting: int = MAX_WAITING) -> None:
        self.name = name
        self.batches: collections.deque[tuple[int, int]] = collections.deque(maxlen=1000)
        """Works and rows of the last batches."""
        self._max_rows, self._max_waiting = max_rows, max_waiting
        self._queue: collections.deque[Work] = collections.deque()
        self._changed = threading.Condition()
        self._rows = 0
        self._rate = 0.0
        self._busy_since: float | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"sartor-lane-{name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Return how many rows wait."""
        return self._rows

    @property
    def stuck(self) -> bool:
        """Return whether one batch takes suspiciously long."""
        since = self._busy_since
        return since is not None and time.monotonic() - since > STUCK_S

    def submit(self, work: Work) -> None:
        """Queue work.

        Raises:
            Busy: when too much waits.
        """
        with self._changed:
            if self._closed:
                raise Busy(1)
            if self._rows and self._rows + len(work.inputs) > self._max_waiting:
                raise Busy(self._retry_after())
            self._queue.append(work)
            self._rows += len(work.inputs)
            self._changed.notify()

    def close(self) -> None:
        """Answer what waits, and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=STUCK_S)

    def _retry_after(self) -> int:
        return max(1, min(60, math.ceil(self._rows / self._rate))) if self._rate else 1

    def _run(self) -> None:
        last = 1
        while (batch := self._gather(last)) is not None:
            now = time.monotonic()
            live = [work for work in batch if not work.dropped and now < work.deadline]
            self._busy_since = now
            for group in _alike(live):
                _deliver(group, _answer(group))
            spent = time.monotonic() - now
            self._busy_since = None
            if live:
                rows = sum(len(work.inputs) for work in live)
                self._rate = rows / max(spent, 1e-6)
                self.batches.append((len(live), rows))
            last = len(batch)

    def _gather(self, last: int) -> list[Work] | None:
        """Return what waits, once something does: as many as last time, if they come soon; None at the end."""
        with self._changed:
            while not self._queue:
                if self._closed:
                    return None
                self._changed.wait()
            end = time.monotonic() + LINGER_S
            while len(self._queue) < last and self._rows < self._max_rows and not self._closed:
                if (left := end - time.monotonic()) <= 0:
                    break
                self._changed.wait(left)
            batch: list[Work] = []
            rows = 0
            while self._queue and (not batch or rows + len(self._queue[0].inputs) <= self._max_rows):
                work = self._queue.popleft()
                batch.append(work)
                rows += len(work.inputs)
            self._rows -= rows
            return batch


def _alike(works: Iterable[Work]) -> Iterator[list[Work]]:
    """Yield works that can be answered together."""
    groups: dict[Hashable, list[Work]] = {}
    for work in works:
        groups.setdefault(id(work) if work.alike is None else work.alike, []).append(work)
    yield from groups.values()


def _answer(works: Sequence[Work]) -> list[_Result]:
    """Return what becomes of each; where one breaks the batch, each is answered alone."""
    try:
        return [*_compute(works)]
    except Exception as error:  # whatever a model does, the lane lives and whoever asked is told
        if len(works) == 1:
            return [error]
        return [one for work in works for one in _answer([work])]


def _deliver(works: Sequence[Work], results: Sequence[_Result]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Work, _Result]]] = {}
    for work, result in zip(works, results, strict=True):
        by_loop.setdefault(work.loop, []).append((work, result))
    for loop, pairs in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, pairs)


def _settle(pairs: Sequence[tuple[Work, _Result]]) -> None:
    for work, result in pairs:
        if work.done.done():
            continue
        if isinstance(result, Exception):
            work.done.set_exception(result)
        else:
            work.done.set_result(result)


# --- what a lane computes ----------------------------------------------------------------------------------


def _compute(works: Sequence[Work]) -> list[list[Outcome]]:
    first = works[0].loaded.model
    flat = [text for work in works for text in work.inputs]
    if isinstance(first, Writer):
        pairs = [(work.loaded.model.weights, text) for work in works for text in work.inputs]
        answers = first.family.answer_mixed(first.base, pairs, works[0].writing)
        return _parted(works, [Outcome(output=answer) for answer in answers])
    assert isinstance(first, Classifier | Regressor | Detector), first
    features = first.family.encode(first.base, first.requirement, flat)
    vectors = first.family.embeddings(features)
    projected: list[Any] = [None] * len(flat) if vectors is None else journal.project(vectors).tolist()
    outcomes: list[Outcome | None] = [None] * len(flat)
    for loaded, rows in _by_model(works).items():
        part = features if len(rows) == len(flat) else features.take(np.array(rows, dtype=np.int64))
        inputs = [flat[row] for row in rows]
        for row, outcome in zip(rows, _told(loaded.model, inputs, part, [projected[at] for at in rows]), strict=True):
            outcomes[row] = outcome
    return _parted(works, [outcome for outcome in outcomes if outcome is not None])


def _by_model(works: Sequence[Work]) -> dict[Loaded, list[int]]:
    rows: dict[Loaded, list[int]] = {}
    at = 0
    for work in works:
        rows.setdefault(work.loaded, []).extend(range(at, at + len(work.inputs)))
        at += len(work.inputs)
    return rows


def _parted(works: Sequence[Work], outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    parted: list[list[Outcome]] = []
    at = 0
    for work in works:
        parted.append(list(outcomes[at : at + len(work.inputs)]))
        at += len(work.inputs)
    return parted


def _told(of: Model, inputs: Sequence[str], features: Any, projected: Sequence[Any]) -> list[Outcome]:
    vectors = [None if one is None else tuple(one) for one in projected]
    if isinstance(of, Regressor):
        found = of.family.predict(of.requirement, of.weights, features)
        _check_finite(of, found.values)
        three = zip(found.values.tolist(), found.low.tolist(), found.high.tolist(), vectors, strict=True)
        return [Outcome(value=value, low=low, high=high, projection=vector) for value, low, high, vector in three]
    if isinstance(of, Detector):
        judged = of.family.predict(of.requirement, of.weights, features)
        _check_finite(of, judged.scores)
        both = zip(judged.scores.tolist(), judged.unusual.tolist(), vectors, strict=True)
        return [
            Outcome(
                label="unusual" if odd else "usual",
                score=score,
                threshold=judged.threshold,
                unusual=odd,
                projection=vector,
            )
            for score, odd, vector in both
        ]
    assert isinstance(of, Classifier), of
    prediction = of.told(inputs, features)
    _check_finite(of, prediction.probabilities)
    names = [label.name for label in of.requirement.labels]
    rows: list[list[float]] = prediction.probabilities.tolist()
    best: list[int] = prediction.best.tolist()
    rest = zip(rows, best, prediction.abstain.tolist(), prediction.scope.tolist(), vectors, strict=True)
    return [
        Outcome(
            label=names[at],
            confidence=row[at],
            abstain=abstain,
            probabilities=dict(zip(names, row, strict=True)),
            scope=scope if math.isfinite(scope) else None,
            projection=vector,
        )
        for row, at, abstain, scope, vector in rest
    ]


def _check_finite(of: Model, values: Any) -> None:
    if not np.isfinite(values).all():
        raise BundleError(f"{of.manifest.name} {of.id} answered with what is no number: it is broken.")


# --- the engine --------------------------------------------------------------------------------------------


class Engine:
    """Models of a store in memory, within a limit. All methods but :meth:`close` are for one event loop."""

    def __init__(
        self,
        *,
        memory_limit: int = 2_000_000_000,
        max_rows: int | None = None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """Make an empty engine.

        Args:
            memory_limit: bytes of weights and bases that may be resident; what was asked for last stays.
            max_rows: of one batch; what suits the kind of models unless given.
            max_waiting: rows that may wait for one base.
        """
        self.memory_limit = memory_limit
        self.pinned: frozenset[str] = frozenset()
        """Ids that go last: what aliases point at, and what they would be rolled back to."""
        self.loads = 0
        self._max_rows, self._max_waiting = max_rows, max_waiting
        self._resident: collections.OrderedDict[str, Loaded] = collections.OrderedDict()
        self._loading: dict[str, asyncio.Task[Loaded]] = {}
        self._failed: dict[str, tuple[float, Exception]] = {}
        self._bases: dict[tuple[str, str], Base] = {}
        self._base_sizes: dict[tuple[str, str], int] = {}
        self._base_lock = threading.Lock()
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="sartor-load")
        self._writing = 0
        self._streams = ThreadPoolExecutor(4, thread_name_prefix="sartor-stream")

    @property
    def resident(self) -> tuple[str, ...]:
        """Return the ids in memory, the one that was asked longest ago first."""
        return tuple(self._resident)

    @property
    def size(self) -> int:
        """Return the bytes of weights and bases in memory."""
        return sum(one.size for one in self._resident.values()) + sum(self._base_sizes.values())

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """Return the threads that answer."""
        return tuple(self._lanes.values())

    @property
    def bases(self) -> Mapping[tuple[str, str], Base]:
        """Return the loaded bases: (family, sha256) -> base."""
        return self._bases

    @property
    def waiting(self) -> int:
        """Return how many rows wait in all lanes."""
        return sum(lane.waiting for lane in self.lanes)

    def has(self, model_id: str) -> bool:
        """Return whether a model is in memory."""
        return model_id in self._resident

    async def load(self, entry: Entry) -> Loaded:
        """Return a model, read and warmed if it is not in memory; who asks for one that is being read waits for that.

        Raises:
            UserError: when it cannot be read, or its base cannot be had.
        """
        if (found := self._resident.get(entry.id)) is not None:
            self._resident.move_to_end(entry.id)
            return found
        when, error = self._failed.get(entry.id, (-math.inf, None))
        if error is not None and time.monotonic() - when < FAILED_S:
            raise type(error)(*error.args)
        task = self._loading.get(entry.id)
        if task is None:
            task = self._loading[entry.id] = asyncio.create_task(self._load(entry))
            task.add_done_callback(lambda _: self._loading.pop(entry.id, None))
        return await asyncio.shield(task)

    async def _load(self, entry: Entry) -> Loaded:
        loop = asyncio.get_running_loop()
        try:
            loaded = await loop.run_in_executor(self._pool, self._read, entry)
            await self._warm(loaded)
        except Exception as error:
            self._failed[entry.id] = (time.monotonic(), error)
            raise
        self._failed.pop(entry.id, None)
        self.loads += 1
        self._resident[entry.id] = loaded
        self._evict(keep=entry.id)
        return loaded

    def _read(self, entry: Entry) -> Loaded:
        found = model.load(entry.path)
        if found.id != entry.id:
            raise BundleError(
                f"The folder of {entry.name}@v{entry.version} holds the model {found.id}, not {entry.id}."
            )
        release.admit(found)
        key = _stands_on(found)
        with self._base_lock:
            if key not in self._bases:
                base = found.family.for_serving(found.base)
                self._base_sizes[key] = _size_of(base)
                self._bases[key] = base
            shared = self._bases[key]
            if key not in self._lanes:
                rows = self._max_rows or _suits(found)
                self._lanes[key] = Lane(
                    f"{key[0]}-{key[1][:8]}{key[1][64:]}", max_rows=rows, max_waiting=self._max_waiting
                )
        made = of_manifest(found.manifest, found.report, found.weights, shared, own_files=found.own_files)
        size = sum(tensor.numel() * tensor.element_size() for tensor in found.weights.values())
        return Loaded(entry, made, self._lanes[key], size)

    async def _warm(self, loaded: Loaded) -> None:
        """Answer once, so that the first who asks does not wait for what is made at a first answer."""
        need = loaded.model.requirement
        if loaded.model.family.reads == "pictures":
            sample = _BLANK
        elif need.target:
            sample = msgspec.json.encode({column.name: "" for column in need.columns}).decode()
        else:
            sample = next((label.name for label in need.labels), "") or need.description or "warm"
        await self.answer(loaded, [sample], Writing(max_new_tokens=1), timeout=STUCK_S)

    def _evict(self, keep: str) -> None:
        for pinned in (False, True):
            for model_id in [one for one in self._resident if (one in self.pinned) is pinned and one != keep]:
                if self.size <= self.memory_limit:
                    return
                del self._resident[model_id]
        stood_on = {_stands_on(one.model) for one in self._resident.values()}
        for key in [key for key in self._bases if key not in stood_on]:
            if self.size <= self.memory_limit:
                return
            del self._bases[key], self._base_sizes[key]  # its lane stays: a thread that waits costs nothing

    async def answer(
        self, loaded: Loaded, inputs: Sequence[str], writing: Writing | None = None, *, timeout: float = 30.0
    ) -> list[Outcome]:
        """Return what a model says of inputs, in order.

        Raises:
            Busy: when too much waits.
            TooLate: when it takes longer than ``timeout`` seconds.
            UserError: when the model does not take the inputs, or is broken.
        """
        loop = asyncio.get_running_loop()
        writing = writing or Writing()
        deadline = time.monotonic() + timeout
        alike = _key(loaded.model, inputs, writing)
        work = Work(loaded, inputs, writing, deadline, loop, loop.create_future(), alike)
        loaded.lane.submit(work)
        try:
            async with asyncio.timeout(timeout):
                return await work.done
        except TimeoutError:
            raise TooLate(f"No answer within {timeout:g} s. Ask for less at once, or allow more time.") from None
        finally:
            work.dropped = True

    async def stream(self, loaded: Loaded, text: str, writing: Writing) -> "Pieces":
        """Return the pieces of one written answer as they come; closing them stops the writing.

        Raises:
            Busy: when too many are being written.
        """
        if self._writing >= MAX_STREAMS:
            raise Busy(1)
        return Pieces(asyncio.get_running_loop(), self._streams, loaded.model, text, writing, self._count_streams)

    def _count_streams(self, more: int) -> None:
        with self._base_lock:
            self._writing += more

    def close(self) -> None:
        """Answer what waits, and stop all threads."""
        for lane in self.lanes:
            lane.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._streams.shutdown(wait=False, cancel_futures=True)


class Pieces:
    """Pieces of an answer that a thread writes; an asynchronous iterator."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: ThreadPoolExecutor,
        of: Model,
        text: str,
        writing: Writing,
        counted: Callable[[int], None],
    ) -> None:
        self._queue: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        self._stopped = threading.Event()

        def put(piece: str | Exception | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._queue.put_nowait, piece)

        def write() -> None:
            assert isinstance(of, Writer), of
            try:
                for piece in of.stream(text, writing):
                    if self._stopped.is_set():
                        return
                    put(piece)
            except Exception as error:  # whoever reads is told
                put(error)
            else:
                put(None)
            finally:
                counted(-1)

        counted(1)
        pool.submit(write)

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> str:
        piece = await self._queue.get()
        if piece is None:
            raise StopAsyncIteration
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        """Stop the writing at the next piece."""
        self._stopped.set()


def _key(of: Model, inputs: Sequence[str], writing: Writing) -> Hashable:
    """Return what works must have in common to be answered together; None for one that must be alone."""
    if isinstance(of, Writer):
        return None if writing.temperature > 0 else ("write", writing.max_new_tokens)
    if (key := of.family.encodes_alike(of.requirement)) is not None:
        return ("encode", key)
    if of.family.reads == "tables":  # rows of the same columns go together; who left a column out is told so, alone
        return ("rows", of.id, frozenset(name for text in inputs for name in _columns(text)))
    return None


def _stands_on(of: Model) -> tuple[str, str]:
    """Return what models must have in common to share a base: an encoder that one changed for itself is its own."""
    own = f"-{of.id}" if of.family.brings_base(of.weights, of.own_files) else ""
    return of.manifest.family, of.manifest.base.sha256 + own


def _columns(text: str) -> Iterable[str]:
    try:
        row = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return (f"no row: {text[:20]}",)
    return row if isinstance(row, dict) else ("no row",)


def _suits(of: Model) -> int:
    """Return how many rows are best answered at once."""
    if isinstance(of, Writer):
        return WRITTEN_ROWS
    return TABLE_ROWS if of.family.reads == "tables" else READ_ROWS


def _size_of(base: Any) -> int:
    """Return the bytes of the modules that a base holds."""
    names = {*getattr(base, "__dict__", {}), *getattr(type(base), "__slots__", ())}
    parts = [getattr(base, name, None) for name in names]
    inner = getattr(base, "model", None)
    parts += [getattr(inner, name, None) for name in getattr(type(inner), "__slots__", ())] if inner else []
    seen: dict[int, int] = {}
    for part in parts:
        if isinstance(part, torch.nn.Module):
            seen |= {tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in part.parameters()}
    return sum(seen.values())
