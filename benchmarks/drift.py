"""(m) Drift: false alarms on stationary streams, and requests until an alert on eight kinds of planted drift.

    python -m benchmarks.drift --data DATA --streams DIR          # ours; writes the streams for the peers
    python -m benchmarks.drift_peers DIR PEERS.json               # with river and Evidently installed
    python -m benchmarks.drift --data DATA --streams DIR --peers PEERS.json

Models are generated from ten rows a label (twenty of sets without few-shot files) on the base that Sartor takes;
streams are drawn from rows that they were not made from (:mod:`benchmarks.drift_streams`). Thresholds follow from the
reference of each stream and the default budget; nothing was chosen by these sets. Feedback comes for every tenth
answer; what is found without it is told apart.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from benchmarks.common import Encoder, Run, arguments, seed_mean, table
from benchmarks.drift_streams import (
    AFTER,
    DRIFTS,
    Answered,
    Drift,
    Material,
    material,
    other_language,
    planted,
    sources,
    stationary,
)
from sartor.monitor.cusum import upper_limit
from sartor.monitor.signals import BY_NAME, PER, Budget, Reference
from sartor.monitor.state import Change, Plan, State, advance, levels
from sartor.nn.text_base import load_base
from sartor.types import Metric

BASE = "all-minilm-l6-v2+anchor2"
BEFORE = 300
"""Stationary requests before the onset."""
PIECE = 25
FEEDBACK_EVERY = 10
JUDGED = 200
"""Answers by which the usual share of wrong ones is known."""
OURS = "sartor"
UNJUDGED = "sartor, no feedback"


@dataclass(frozen=True, slots=True)
class Delay:
    """What one detector did on one planted stream."""

    set: str
    kind: str
    seed: int
    detector: str
    requests: int | None
    """From the onset to the alert; None where it was not found in time."""
    signal: str = ""


def main() -> None:
    options = arguments(
        __doc__ or "",
        seeds=3,
        extend={
            "--streams": {"type": Path, "required": True, "help": "folder for the streams, which the peers read"},
            "--peers": {"type": Path, "help": "what benchmarks.drift_peers wrote"},
            "--side": {"choices": ("dev", "report"), "default": "report", "help": "dev is for choices, never quoted"},
            "--sets": {"default": "", "help": "only these, by commas"},
            "--stationary": {"type": int, "default": 5, "help": "stationary streams a set"},
            "--rows": {"type": Path, "help": "rows of a run before; only what follows from them is made anew"},
        },
    )
    run = Run("drift", options, seeds=range(options.seeds))
    measured: dict[str, Any] = {}
    if options.rows is not None:
        before = json.loads(options.rows.read_text())
        rows = before["rows"]
        measured = before.get("measured") or {key: before[key] for key in ("commit", "date", "load", "seconds")}
    else:
        rows = [row for one in _materials(options, run) for row in judge(one, options, run)]
    peers = json.loads(options.peers.read_text()) if options.peers else {"rows": [], "versions": {}}
    rows = [row for row in rows if row["detector"] in (OURS, UNJUDGED)] + peers["rows"]
    summary = summarise(rows)
    print(to_table(summary))
    name = "drift" if options.side == "report" else "drift-dev"
    run.write(
        rows, summary, name=name, base=BASE, side=options.side, peers=peers["versions"], after=AFTER, measured=measured
    )


def _materials(options: Any, run: Run) -> Iterable[Material]:
    encoder = Encoder(load_base(BASE), options.cache)
    language = other_language(options.data)
    wanted = {name for name in options.sets.split(",") if name}
    for source in sources(options.data, options.side):
        if not wanted or source.task.name in wanted:
            made = material(source, language, encoder)
            run.say(f"{made.name}: {made.accuracy:.1%} right on {len(made.usual):,} rows")
            yield made


def judge(one: Material, options: Any, run: Run) -> list[dict[str, Any]]:
    """Return rows of all streams of a set; write the streams."""
    options.streams.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for seed in range(options.stationary):
        reference, stream = stationary(one, PER, seed)
        save(options.streams / f"{one.name}__stationary__{seed}.npz", reference, stream, -1)
        found = alerts(one, reference, stream, seed)
        base = {"set": one.name, "kind": "stationary", "seed": seed}
        rows.append({**base, "detector": OURS, "alerts": len(found), "signals": [change.signal for change in found]})
        rows.append({**base, "detector": UNJUDGED, "alerts": sum(change.signal != "accuracy" for change in found)})
        run.say(f"{one.name} stationary {seed}: {[change.signal for change in found]}")
    for drift in DRIFTS:
        for seed in range(options.seeds):
            reference, stream = planted(one, drift, BEFORE, seed)
            save(options.streams / f"{one.name}__{drift.name}__{seed}.npz", reference, stream, BEFORE)
            delays = until_alert(one, drift, reference, stream, seed)
            rows += [
                {"set": d.set, "kind": d.kind, "seed": d.seed, "detector": d.detector}
                | {"delay": d.requests, "signal": d.signal}
                for d in delays
            ]
            run.say(f"{one.name} {drift.name} {seed}: {[(d.requests, d.signal) for d in delays]}")
    return rows


# --- ours --------------------------------------------------------------------------------------------------


def plan_of(one: Material, reference: Answered, seed: int) -> Plan:
    """Return the plan for a reference; how many answers are usually wrong is known from other rows."""
    rng = np.random.default_rng([seed, 2])
    wrong = ~one.usual.right[rng.integers(len(one.usual), size=JUDGED)]
    usual = upper_limit(int(wrong.sum()), JUDGED)
    return Plan.of(Reference.of(reference.stretch()), Budget(), wrong=usual, seed=seed)


def alerts(one: Material, reference: Answered, stream: Answered, seed: int) -> list[Change]:
    """Return every rise to an alert."""
    plan = plan_of(one, reference, seed)
    _, changes = advance(plan, State(), stream.stretch(), len(stream), stream.right[::FEEDBACK_EVERY])
    return [change for change in changes if change.after == "alert"]


def until_alert(one: Material, drift: Drift, reference: Answered, stream: Answered, seed: int) -> list[Delay]:
    """Return how long drift lasts until the first signal rises to an alert, with feedback and without."""
    plan = plan_of(one, reference, seed)
    rows, state, first = stream.stretch(), State(), dict[str, tuple[int, str]]()
    already: set[str] = set()
    for start in range(0, len(stream), PIECE):
        end = min(start + PIECE, len(stream))
        piece = rows.take(slice(max(0, start - plan.history), end))
        judged = stream.right[[at for at in range(start, end) if at % FEEDBACK_EVERY == 0]]
        state, changes = advance(plan, state, piece, end - start, judged)
        if end <= BEFORE:
            already = {name for name, level in levels(plan, state).items() if level == "alert"}
            continue
        for change in changes:
            if change.after != "alert" or change.signal in already:
                continue
            at = end if BY_NAME[change.signal].kind == "feedback" else change.at
            first.setdefault(OURS, (at - BEFORE, change.signal))
            if change.signal != "accuracy":
                first.setdefault(UNJUDGED, (at - BEFORE, change.signal))
        if UNJUDGED in first:
            break
    return [
        Delay(one.name, drift.name, seed, detector, *first.get(detector, (None, ""))) for detector in (OURS, UNJUDGED)
    ]


def save(path: Path, reference: Answered, stream: Answered, onset: int) -> None:
    """Write what a peer reads of a stream."""
    arrays: dict[str, np.ndarray] = {"onset": np.array(onset)}
    for name, part in (("reference", reference), ("stream", stream)):
        arrays |= {
            f"{name}.label": part.label,
            f"{name}.confidence": part.confidence,
            f"{name}.length": part.length,
            f"{name}.projection": part.projection,
        }
    np.savez(path, allow_pickle=False, **arrays)


# --- what it says ------------------------------------------------------------------------------------------


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return for each detector its false alarms, and of each kind the median delay and how often it is found."""
    detectors = dict.fromkeys(row["detector"] for row in rows)
    found: dict[str, Any] = {}
    for detector in detectors:
        own = [row for row in rows if row["detector"] == detector]
        quiet = [row["alerts"] for row in own if row["kind"] == "stationary"]
        kinds = {
            drift.name: _delays([row["delay"] for row in own if row["kind"] == drift.name])
            for drift in DRIFTS
            if any(row["kind"] == drift.name for row in own)
        }
        found[detector] = {"false_alarms": seed_mean(quiet) if quiet else None, "streams": len(quiet), "drift": kinds}
    return found


def _delays(delays: Sequence[int | None]) -> dict[str, Any]:
    """Return the median, those never found counting as longest, its 95% interval by order statistics, and the share."""
    ordered = sorted(AFTER if delay is None else delay for delay in delays)
    n = len(ordered)
    low = int(scipy.stats.binom.ppf(0.025, n, 0.5))
    return {
        "median": Metric(
            float(np.median(ordered)), float(ordered[max(0, low - 1)]), float(ordered[min(n - 1, n - low)])
        ),
        "found": sum(delay is not None for delay in delays),
        "of": n,
    }


def to_table(summary: Mapping[str, Any]) -> str:
    """Return the table for a person: a line for each detector."""
    kinds = [drift.name for drift in DRIFTS]

    def cell(found: Mapping[str, Any] | None) -> str:
        if not found:
            return "-"
        value, low, high = (part for part in (found["median"].value, found["median"].low, found["median"].high))
        missed = "" if found["found"] == found["of"] else f" ({found['found']}/{found['of']})"
        if 2 * found["found"] <= found["of"]:
            return f"not found{missed}"
        return f"{value:.0f} [{low:.0f}, {high:.0f}]{missed}"

    def alarms(found: Metric | None) -> str:
        return "-" if found is None else f"{found.value:.1f} [{max(0.0, found.low):.1f}, {found.high:.1f}]"

    lines = [
        (name, alarms(found["false_alarms"]), *(cell(found["drift"].get(kind)) for kind in kinds))
        for name, found in summary.items()
    ]
    return table(("detector", "false alarms / 10,000", *kinds), lines)


if __name__ == "__main__":
    main()
