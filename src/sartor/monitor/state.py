"""Rows in, levels and changes out: the monitor's whole memory is one frozen value.

    reference -> Plan;   Plan, State, new rows, new feedback -> State, changes

What is asked of each window depends on its place in the stream alone, so that it does not matter in how many pieces the
rows come: the same rows give the same alerts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sartor.monitor import cusum
from sartor.monitor.alerts import Level, Track, after_sum, after_window, worst
from sartor.monitor.cusum import Cusum
from sartor.monitor.seen import BoolArray, Stretch
from sartor.monitor.signals import STREAMS, WINDOW_TESTS, Budget, Reference, Signal, speaking, stride

DRAWS_IN_ALERT = 100
_MORE_WRONG = 1.5
"""Few answers are judged, and their usual share of wrong ones is an upper limit already: small rises count."""
_WRONG = 0.1
"""Share of wrong answers that is taken for usual where nothing is known of it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is watched, against what, and where it alerts. Follows from the reference and never changes."""

    reference: Reference
    budget: Budget
    signals: tuple[Signal, ...]
    sums: Mapping[str, Cusum]
    """Signal -> how its share is watched."""
    seed: int = 0

    @classmethod
    def of(
        cls, reference: Reference, budget: Budget | None = None, *, wrong: float | None = None, seed: int = 0
    ) -> "Plan":
        """Return the plan for a reference.

        Args:
            reference: requests from when all was well.
            budget: of false alarms.
            wrong: share of wrong answers that is usual at most, as the proof or judged answers tell.
            seed: of the draws.
        """
        budget = budget or Budget()
        signals = speaking(reference)
        apart = budget.apart(max(1, len(signals)))
        sums = {
            signal.name: cusum.of_reference(int(hits.sum()), len(hits), apart=apart)
            for signal in signals
            if signal.kind == "stream"
            for hits in [STREAMS[signal.name](reference.rows, reference.columns)]
        }
        sums["accuracy"] = cusum.of_share(_WRONG if wrong is None else wrong, apart=apart, rise=_MORE_WRONG)
        return cls(reference, budget, signals, sums, seed)

    @property
    def history(self) -> int:
        """Return how many rows before the new ones must be at hand."""
        return max(self.budget.windows)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a signal said last."""

    signal: str
    level: Level
    value: float
    """As the signal tells it."""
    usual: float | None = None
    """Of the reference, where the value is a share."""
    p: float | None = None
    """Of a window; of several windows that whose threshold is nearest."""
    threshold: float = 0.0
    """Of p; of the sum for a stream."""
    window: int | None = None
    """Requests."""
    sum: float | None = None
    """Of a stream."""
    psi: float | None = None
    """Population stability index of the window, where the signal is of numbers."""
    at: int = 0
    """Requests, or judged answers, since the reference."""


@dataclass(frozen=True, slots=True)
class State:
    """All that is remembered."""

    seen: int = 0
    """Requests since the reference."""
    judged: int = 0
    """Answers that somebody judged."""
    tracks: Mapping[str, Track] = field(default_factory=dict[str, Track])
    """``signal`` or ``signal/window`` -> what was told of it."""
    sums: Mapping[str, float] = field(default_factory=dict[str, float])
    readings: Mapping[str, Reading] = field(default_factory=dict[str, Reading])
    """``signal`` or ``signal/window`` -> what it said last."""


@dataclass(frozen=True, slots=True)
class Change:
    """A signal's level changed."""

    signal: str
    before: Level
    after: Level
    at: int
    """Requests, or judged answers, since the reference."""
    reading: Reading


def advance(
    plan: Plan,
    state: State,
    rows: Stretch,
    new: int,
    right: BoolArray | Sequence[bool] = (),
    *,
    windows: bool = True,
) -> tuple[State, tuple[Change, ...]]:
    """Return the state after more requests and feedback, and the levels that changed on the way, in order.

    Args:
        plan: see :class:`Plan`.
        state: after what came before.
        rows: the new requests, and before them up to ``plan.history`` that came last.
        new: how many of ``rows`` are new.
        right: (F,) of each new feedback whether the answer was right.
        windows: false to pass windows over, which costs a hundred times less; for rows that are long past.
    """
    fresh = rows.take(slice(len(rows) - new, None))
    state, changes = _feedback(plan, state, np.asarray(right, dtype=np.bool_))
    for signal in plan.signals:
        if signal.kind == "stream":
            hits = STREAMS[signal.name](fresh, plan.reference.columns)
            state, more = _stream(plan, state, signal.name, hits, state.seen)
            changes += more
    for end in _ends(plan, state.seen, new) if windows else ():
        state, more = _windows(plan, state, rows.take(slice(0, len(rows) - new + end - state.seen)), end)
        changes += more
    return replace(state, seen=state.seen + new), tuple(sorted(changes, key=lambda change: change.at))


def levels(plan: Plan, state: State) -> dict[str, Level]:
    """Return the level of each signal of the plan."""
    return {signal.name: _level(state.tracks, signal.name) for signal in plan.signals}


def readings(plan: Plan, state: State) -> tuple[Reading, ...]:
    """Return one reading for each signal that said anything: of windows the one that is nearest to its threshold."""
    found: list[Reading] = []
    for signal in plan.signals:
        own = [one for one in state.readings.values() if one.signal == signal.name]
        if own:
            nearest = min(own, key=lambda one: 0.0 if one.p is None else one.p / one.threshold)
            found.append(replace(nearest, level=_level(state.tracks, signal.name)))
    return tuple(found)


def _ends(plan: Plan, seen: int, new: int) -> list[int]:
    """Return after which requests, counted from the reference, a window is to be looked at."""
    return sorted(
        {
            end
            for window in plan.budget.windows
            for end in range(seen + 1, seen + new + 1)
            if end >= window and end % stride(window) == 0
        }
    )


def _windows(plan: Plan, state: State, rows: Stretch, end: int) -> tuple[State, list[Change]]:
    before, found = state, state
    many = len(plan.signals)
    for window in plan.budget.windows:
        if end < window or end % stride(window) or len(rows) < window:
            continue
        part = rows.take(slice(len(rows) - window, None))
        alert = plan.budget.threshold(many, window)
        warn = alert * plan.budget.warnings / plan.budget.false_alarms
        for signal in plan.signals:
            if signal.kind != "window":
                continue
            key = f"{signal.name}/{window}"
            rng = np.random.default_rng([plan.seed, window, end, *signal.name.encode()])
            track = state.tracks.get(key, Track())
            # an alert only asks whether all is as usual again, for which few draws do
            most = DRAWS_IN_ALERT if track.level == "alert" else plan.budget.most(many, window)
            said = WINDOW_TESTS[signal.name](plan.reference, part, rng, most)
            track = after_window(track, said.p, warn=warn, alert=alert)
            reading = Reading(
                signal.name, track.level, said.value, p=said.p, threshold=alert, window=window, psi=said.psi, at=end
            )
            found = replace(found, tracks={**found.tracks, key: track}, readings={**found.readings, key: reading})
    return found, _changes(before, found, [one for one in plan.signals if one.kind == "window"], end)


def _changes(before: State, after: State, signals: Sequence[Signal], at: int) -> list[Change]:
    found: list[Change] = []
    for signal in signals:
        was, now = _level(before.tracks, signal.name), _level(after.tracks, signal.name)
        if was != now:
            own = [one for one in after.readings.values() if one.signal == signal.name and one.at == at]
            surest = min(own, key=lambda one: (one.p or 0.0) / one.threshold)
            found.append(Change(signal.name, was, now, at, surest))
    return found


def _level(tracks: Mapping[str, Track], signal: str) -> Level:
    return worst([track.level for key, track in tracks.items() if key.partition("/")[0] == signal])


def _feedback(plan: Plan, state: State, right: BoolArray) -> tuple[State, list[Change]]:
    if not len(right):
        return state, []
    after, changes = _stream(plan, state, "accuracy", ~right, state.judged)
    return replace(after, judged=state.judged + len(right)), changes


def _stream(plan: Plan, state: State, name: str, hits: BoolArray, start: int) -> tuple[State, list[Change]]:
    if not len(hits):
        return state, []
    watched = plan.sums[name]
    alert = watched.limit
    warn = alert - float(np.log(plan.budget.warnings / plan.budget.false_alarms))
    track, sum_ = state.tracks.get(name, Track()), state.sums.get(name, 0.0)
    seen, share = start, state.readings[name].value if name in state.readings else 0.0
    changes: list[Change] = []
    reading = Reading(name, track.level, share)
    for hit in hits.tolist():
        sum_, seen = watched.step(sum_, hit), seen + 1
        share += (hit - share) / min(seen, plan.history)
        before, track = track, after_sum(track, sum_, warn=warn, alert=alert)
        if track.level != before.level:
            reading = Reading(name, track.level, share, watched.usual, threshold=alert, sum=sum_, at=seen)
            changes.append(Change(name, before.level, track.level, seen, reading))
    reading = Reading(name, track.level, share, watched.usual, threshold=alert, sum=sum_, at=seen)
    return (
        replace(
            state,
            tracks={**state.tracks, name: track},
            sums={**state.sums, name: sum_},
            readings={**state.readings, name: reading},
        ),
        changes,
    )


def breaches(plan: Plan, state: State) -> tuple[Signal, ...]:
    """Return the signals that say, now, that answers are worse."""
    return tuple(one for one in plan.signals if one.accuracy and _level(state.tracks, one.name) == "alert")
