"""What a server does, without HTTP: find the model, answer, write the journal, and only then tell."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from sartor import journal, release
from sartor.data import pictures, records
from sartor.data.text import encodable
from sartor.errors import DataError, NotFoundError, SartorError, StorageError, TaskError, UserError
from sartor.families.interface import Writing
from sartor.journal import AnswerRow, DecisionRow, EventRow, FeedbackRow, Journal
from sartor.model import Writer
from sartor.registry.store import Store
from sartor.release import CHALLENGER, CHAMPION
from sartor.serve import canary
from sartor.serve.canary import Arm, Rules
from sartor.serve.engine import Busy, Engine, Loaded, Outcome, TooLate
from sartor.serve.follow import Follower, Found, NotReady, Unavailable

JournalMode: TypeAlias = Literal["safe", "fast", "off"]
BROKEN_LIMIT = 3
"""Requests in a row that a champion fails for reasons of its own before the version before takes over."""


@dataclass(frozen=True, slots=True)
class Given:
    """One answer that may be told: its row is safe."""

    row: AnswerRow
    outcome: Outcome


class Router(Protocol):
    """Who may hand what the small models are not sure of to a large one."""

    async def route(self, found: Found, inputs: Sequence[str], given: Sequence[Given]) -> Sequence[Given]:
        """Return what is to be told, in order: as it was given, or with another source and outcome."""
        ...


@dataclass(slots=True)
class _Trial:
    """What was counted of a canary and the champion beside it."""

    id: str
    canary: Arm = field(default_factory=Arm)
    champion: Arm = field(default_factory=Arm)
    after: int = 0
    """The last feedback that was counted."""
    over: bool = False


class Service:
    """All that a server does. Everything but :meth:`close` is for one event loop."""

    def __init__(
        self,
        home: Path,
        *,
        only: frozenset[str] | None = None,
        mode: JournalMode = "safe",
        engine: Engine | None = None,
        rules: Rules | None = None,
        router: Router | None = None,
    ) -> None:
        """Open the journal; :meth:`start` begins to follow the store.

        Args:
            home: the store's folder, which must be there.
            only: models that may be asked for; None for all.
            mode: of the journal; ``off`` keeps nothing, and no answer can be looked up or judged.
            engine: a new one unless given.
            rules: of canaries.
            router: who may ask a large model.

        Raises:
            StorageError: when the journal cannot be opened.
        """
        self.home, self.router, self.rules = home, router, rules or Rules()
        self.engine = engine or Engine()
        self.follower = Follower(home, self.engine, only=only, told=self._event)
        self.journal = None if mode == "off" else Journal(home / journal.FILE, mode=mode)
        self.draining = False
        self.started = time.time()
        self._seen: Callable[[str, Mapping[str, Any]], None] = lambda kind, body: None
        self._trials: dict[str, _Trial] = {}
        self._failing: dict[str, int] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def watch(self, seen: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Tell ``seen`` of every answer and event from now on."""
        self._seen = seen

    # --- life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to follow the store; answers come as soon as :attr:`ready`."""
        self._event("start", "", {"mode": self.journal.mode if self.journal else "off"})
        self._spawn(self.follower.run())
        self._spawn(self._watch_canaries())

    async def stop(self) -> None:
        """Stop following, answer what waits, and write what is still to be written."""
        self.draining = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.engine.close)
        self._event("stop", "", {})
        if self.journal is not None:
            await asyncio.to_thread(self.journal.close)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def ready(self) -> bool:
        """Return whether requests may come: models are warm, the journal takes rows, no end is near."""
        written = self.journal is None or self.journal.last_error is None
        return self.follower.ready and written and not self.draining

    @property
    def alive(self) -> bool:
        """Return whether no model holds its thread for ever."""
        return not any(lane.stuck for lane in self.engine.lanes)

    # --- answers --------------------------------------------------------------------------------------------

    async def answer(
        self, ref: str, inputs: Sequence[str], writing: Writing | None = None, *, timeout: float = 30.0
    ) -> list[Given]:
        """Return one answer for each input, in order, once their rows are safe.

        Raises:
            UserError: when the model or the inputs cannot be used.
            Busy, TooLate, NotReady, Unavailable: when it cannot be answered now.
            StorageError: when the journal did not take the rows: nothing counts as told.
        """
        begun = time.perf_counter()
        found = self.find(ref)
        inputs = [encodable(text) for text in inputs]
        groups = self._arms(found, inputs)
        parts = [self._of_arm(found, arm, [inputs[row] for row in rows], writing, timeout) for arm, rows in groups]
        answered = await asyncio.gather(*parts)
        spent = 1000 * (time.perf_counter() - begun)
        given: list[Given | None] = [None] * len(inputs)
        decisions: list[DecisionRow] = []
        for (_, rows), (arm, outcomes, why) in zip(groups, answered, strict=True):
            for row, outcome in zip(rows, outcomes, strict=True):
                given[row] = Given(self._row(arm, inputs[row], outcome, spent), outcome)
                if why:
                    decisions.append(_decision(given[row], why))
        told: Sequence[Given] = [one for one in given if one is not None]
        if self.router is not None:
            told = await self.router.route(found, inputs, told)
        await self._keep([*(one.row for one in told), *decisions])
        for one in told:
            self._seen("answer", {"row": one.row})
        return list(told)

    def find(self, ref: str) -> Found:
        """Return the model that ``ref`` names now.

        Raises:
            UserError, Unavailable, NotReady: as :meth:`answer`.
        """
        try:
            return self.follower.routes.find(ref)
        except NotFoundError:
            if not self.follower.ready:
                raise NotReady("Models are still being read. Retry in a second.") from None
            raise

    async def load(self, found: Found) -> Loaded:
        """Return a model in memory.

        Raises:
            Unavailable: when it cannot be read.
        """
        try:
            return await self.engine.load(found.entry)
        except (SartorError, OSError) as error:
            raise Unavailable(f"{found.asked} cannot answer: {error}") from error

    def _arms(self, found: Found, inputs: Sequence[str]) -> list[tuple[Found, list[int]]]:
        """Return which of the inputs go to the model that was asked for, and which to its canary."""
        name = found.entry.name
        running = self.follower.routes.snapshot.canaries.get(name)
        other = self.follower.routes.live.get((name, CHALLENGER))
        whole = [(found, list(range(len(inputs))))]
        if found.alias != CHAMPION or running is None or other is None or other.id != running.id:
            return whole
        if (trial := self._trials.get(name)) is not None and trial.id == running.id and trial.over:
            return whole
        sent = [row for row, text in enumerate(inputs) if canary.chosen(name, text, running.share)]
        if not sent:
            return whole
        kept = sorted(set(range(len(inputs))) - set(sent))
        arms = [(Found(other, CHALLENGER, found.asked), sent)]
        return [*([(found, kept)] if kept else []), *arms]

    async def _of_arm(
        self, found: Found, arm: Found, inputs: Sequence[str], writing: Writing | None, timeout: float
    ) -> tuple[Found, list[Outcome], Mapping[str, Any]]:
        """Return who answered, what, and why if that needs saying. What a canary fails, the champion answers."""
        if arm is found:
            outcomes = await self._ask(found, inputs, writing, timeout)
            if self._trials:
                self._count(found, outcomes)
            return found, outcomes, {}
        trial = self._trial(arm)
        try:
            outcomes = await self._ask(arm, inputs, writing, timeout / 2)
        except (Busy, asyncio.CancelledError):
            raise
        except Exception as error:
            outcomes = await self._ask(found, inputs, writing, timeout / 2)  # raises where the input is to blame
            trial.canary = replace(trial.canary, failed=trial.canary.failed + 1)
            self._count(found, outcomes)
            return found, outcomes, {"kind": "canary", "reason": f"the canary failed: {error}", "canary": arm.entry.id}
        self._count(arm, outcomes)
        return arm, outcomes, {"kind": "canary", "reason": "by its share", "canary": arm.entry.id}

    async def _ask(self, found: Found, inputs: Sequence[str], writing: Writing | None, timeout: float) -> list[Outcome]:
        loaded = await self.load(found)
        if loaded.model.family.reads == "tables":
            _check_rows(inputs)
        if loaded.model.family.reads == "pictures":
            _check_pictures(inputs)
        try:
            outcomes = await self.engine.answer(loaded, inputs, writing, timeout=timeout)
        except (Busy, TooLate):
            raise
        except UserError as error:
            if _is_input(error):
                raise
            self._failed(found, error)
            raise Unavailable(f"{found.asked} cannot answer: {error}") from error
        except Exception as error:
            self._failed(found, error)
            raise Unavailable(f"{found.asked} failed: {type(error).__name__}.") from error
        self._failing.pop(found.entry.id, None)
        return outcomes

    def _failed(self, found: Found, error: Exception) -> None:
        """Count what a model fails by itself; a champion that fails again and again is rolled back."""
        body = {"alias": found.alias, "id": found.entry.id, "error": f"{type(error).__name__}: {error}"}
        self._event("error", found.entry.name, body)
        count = self._failing[found.entry.id] = self._failing.get(found.entry.id, 0) + 1
        name = found.entry.name
        if found.alias == CHAMPION and count == BROKEN_LIMIT and name in self.follower.routes.previous:
            self._spawn(self._roll_back(name, found.entry.id, str(error)))

    async def _roll_back(self, name: str, broken: str, why: str) -> None:
        reason = f"{BROKEN_LIMIT} requests in a row failed: {why}"
        try:
            if (await asyncio.to_thread(Store(self.home).aliases, name)).get(CHAMPION) == broken:
                await asyncio.to_thread(release.rollback, self.home, name, reason=reason)
                self._event("rollback", name, {"from": broken, "reason": reason})
        except SartorError as error:
            self._event("error", name, {"while": "rolling back", "error": str(error)})

    def _row(self, found: Found, text: str, outcome: Outcome, spent: float) -> AnswerRow:
        entry = found.entry
        policy = self.follower.routes.snapshot.policies.get((entry.name, found.alias or CHAMPION), {})
        if found.alias == CHALLENGER and not policy:
            policy = self.follower.routes.snapshot.policies.get((entry.name, CHAMPION), {})
        kept = policy.get("retain") is True
        return AnswerRow(
            answer_id=journal.new_answer_id(),
            at=time.time(),
            name=entry.name,
            alias=found.alias,
            version=entry.version,
            model=entry.id,
            family=entry.family,
            source="abstain" if outcome.abstain else "small",
            confidence=outcome.confidence,
            label=outcome.label,
            value=outcome.value,
            abstain=outcome.abstain,
            latency_ms=round(spent, 3),
            input_hash=self.journal.hash(text) if self.journal else "",
            input_chars=len(text),
            output_chars=None if outcome.output is None else len(outcome.output),
            scope=outcome.scope,
            projection=outcome.projection,
            asked=found.asked,
            text=text if kept else None,
            output=outcome.output if kept else None,
        )

    async def _keep(self, rows: Sequence[journal.Row]) -> None:
        if self.journal is not None:
            done = self.journal.write(rows)
            if not done.done():
                await asyncio.wrap_future(done)
            else:
                done.result()

    async def stream(
        self, ref: str, text: str, writing: Writing, *, timeout: float = 30.0
    ) -> AsyncGenerator[str | Given]:
        """Yield the pieces of one written answer, and last the answer itself, once its row is safe.

        Raises:
            as :meth:`answer`; before the first piece wherever that is possible.
        """
        found, text = self.find(ref), encodable(text)
        loaded = await self.load(found)
        if not isinstance(loaded.model, Writer) or self.router is not None:
            [given] = await self.answer(ref, [text], writing, timeout=timeout)
            yield said(given)
            yield given
            return
        begun = time.perf_counter()
        pieces = await self.engine.stream(loaded, text, writing)
        whole: list[str] = []
        try:
            async with asyncio.timeout(timeout):
                async for piece in pieces:
                    whole.append(piece)
                    yield piece
        except TimeoutError:
            raise TooLate(f"No end within {timeout:g} s. Ask for fewer tokens, or allow more time.") from None
        finally:
            pieces.close()
        outcome = Outcome(output="".join(whole))
        given = Given(self._row(found, text, outcome, 1000 * (time.perf_counter() - begun)), outcome)
        await self._keep([given.row])
        self._seen("answer", {"row": given.row})
        yield given

    # --- what comes later -----------------------------------------------------------------------------------

    def _reader(self) -> journal.Reader:
        if self.journal is None:
            raise NotFoundError("This server keeps no journal.")
        return self.journal.reader()

    async def look_up(self, answer_id: str) -> tuple[AnswerRow, Sequence[FeedbackRow]]:
        """Return one answer and its feedback.

        Raises:
            NotFoundError: when there is none.
        """
        if not journal.is_answer_id(answer_id):
            raise NotFoundError("No answer has such an id.")
        reader = self._reader()
        row = await asyncio.to_thread(reader.answer, answer_id)
        return row, await asyncio.to_thread(reader.feedback_of, answer_id)

    async def feed_back(self, answer_id: str, label: str | None, thumbs: int | None, who: str = "api") -> None:
        """Write down what is known of an answer now.

        Raises:
            NotFoundError: when there is no such answer.
            StorageError: when it could not be written.
        """
        await self.look_up(answer_id)
        label = None if label is None else encodable(label)
        await self._keep([FeedbackRow(answer_id, time.time(), label, thumbs, who)])

    # --- canaries -------------------------------------------------------------------------------------------

    def _trial(self, arm: Found) -> _Trial:
        name = arm.entry.name
        trial = self._trials.get(name)
        if trial is None or trial.id != arm.entry.id:
            trial = self._trials[name] = _Trial(arm.entry.id)
        return trial

    def _count(self, found: Found, outcomes: Sequence[Outcome]) -> None:
        trial = self._trials.get(found.entry.name)
        if trial is None:
            return
        more = (len(outcomes), sum(outcome.abstain for outcome in outcomes))
        if found.entry.id == trial.id:
            arm = trial.canary
            trial.canary = replace(arm, answers=arm.answers + more[0], abstained=arm.abstained + more[1])
        else:
            arm = trial.champion
            trial.champion = replace(arm, answers=arm.answers + more[0], abstained=arm.abstained + more[1])

    async def _watch_canaries(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            for name, running in list(self.follower.routes.snapshot.canaries.items()):
                trial = self._trials.get(name)
                if trial is None or trial.id != running.id or trial.over:
                    continue
                try:
                    await self._count_feedback(name, trial)
                    verdict, reason = canary.judge(trial.canary, trial.champion, self.rules)
                    if verdict != "inconclusive":
                        await self._conclude(name, trial, verdict == "success", reason)
                except Exception as error:  # whatever it is, other canaries must be watched
                    self._event("error", name, {"while": "watching a canary", "error": f"{error}"})

    async def _count_feedback(self, name: str, trial: _Trial) -> None:
        if self.journal is None:
            return
        rows = await asyncio.to_thread(
            lambda: list(self._reader().feedback(name=name, since=self.started, after=trial.after))
        )
        for row, answered in rows:
            trial.after = row.seq
            said_answer = answered.label if answered.label is not None else answered.output
            wrong = row.thumbs == -1 or (row.label is not None and row.label != said_answer)
            if answered.model == trial.id:
                arm = trial.canary
                trial.canary = replace(arm, judged=arm.judged + 1, wrong=arm.wrong + wrong)
            else:
                arm = trial.champion
                trial.champion = replace(arm, judged=arm.judged + 1, wrong=arm.wrong + wrong)

    async def _conclude(self, name: str, trial: _Trial, passed: bool, reason: str) -> None:
        trial.over = True  # no request more goes to it, whatever the store says and however long that takes
        try:
            await asyncio.to_thread(release.conclude, self.home, name, trial.id, passed=passed, reason=reason)
        except StorageError as error:
            self._event("error", name, {"while": "ending a canary", "error": str(error)})
            return
        self._event("canary", name, {"id": trial.id, "verdict": "success" if passed else "fail", "reason": reason})

    # --- events ---------------------------------------------------------------------------------------------

    def _event(self, kind: str, name: str, body: Mapping[str, Any]) -> None:
        self._seen("event", {"kind": kind, "name": name, **body})
        if self.journal is None:
            return
        with suppress(StorageError):  # the journal is closed or full: the answers that need it say so
            done = self.journal.write([EventRow(time.time(), kind, name, body)])
            done.add_done_callback(lambda told: told.exception())


def said(given: Given) -> str:
    """Return an answer as text, whatever the family."""
    outcome = given.outcome
    if outcome.output is not None:
        return outcome.output
    return outcome.label if outcome.label is not None else f"{outcome.value:.10g}"


def _decision(given: Given | None, why: Mapping[str, Any]) -> DecisionRow:
    assert given is not None
    body = {"canary": why["canary"]}
    return DecisionRow(given.row.answer_id, given.row.at, str(why["kind"]), str(why["reason"]), body)


def _check_rows(inputs: Sequence[str]) -> None:
    """Return if rows of a table are such.

    Raises:
        DataError: when one is not.
    """
    for text in inputs:
        records.cells_of(text)


def _check_pictures(inputs: Sequence[str]) -> None:
    """Return if pictures came with the request: files of this machine are opened for nobody.

    Raises:
        DataError: when one is something else.
    """
    for text in inputs:
        if not text.startswith(pictures.DATA_URI):
            raise DataError(
                f"A picture is sent in the request, as data:image/png;base64,…; got {text[:40]!r}. Files of the "
                "server's machine are not opened."
            )


def _is_input(error: UserError) -> bool:
    """Return whether an error is about what was asked, not about the model."""
    return isinstance(error, DataError | TaskError)
