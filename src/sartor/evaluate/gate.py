"""May this model be released? A pure function of its report and the limits of its task."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sartor.evaluate.headline import percent
from sartor.types import Limits, Report

CONTROL_TO_BEAT = "pooled"
"""Of a model that tells what is unusual: what is nearest to it and needs no map."""
Alias: TypeAlias = Literal["champion", "challenger"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says, and why."""

    passed: bool
    reasons: tuple[str, ...]
    """When refused: every limit that was missed. When passed: every limit that was kept."""
    alias: Alias | None
    """The alias that the model may take; None when refused."""


def gate(report: Report, limits: Limits, incumbent: Report | None = None) -> Decision:
    """Hold a report against the limits.

    A model that keeps them may be ``champion`` where there is none. Beside an ``incumbent`` it may only be
    ``challenger``: two reports cannot tell which of two models is better, as they are not paired row by row.
    """
    checks = [
        *_accuracy(report, limits),
        *_latency(report, limits),
        *_memory(report, limits),
        *_unusual(report),
    ]
    missed = tuple(reason for kept, reason in checks if not kept)
    if missed:
        return Decision(passed=False, reasons=missed, alias=None)
    kept = tuple(reason for _, reason in checks) or ("The task sets no limits.",)
    if incumbent is None:
        return Decision(passed=True, reasons=kept, alias="champion")
    beside = "There is a champion already; compare the two on the same rows before one replaces the other."
    return Decision(passed=True, reasons=(*kept, beside), alias="challenger")


def _accuracy(report: Report, limits: Limits) -> Iterator[tuple[bool, str]]:
    if (least := limits.min_accuracy) is None:
        return
    found = _share_right(report)
    if not report.proved or found is None:
        yield False, f"The task wants an accuracy of at least {percent(least)}, but the model is not proved."
        return
    what, value = found
    yield value >= least, f"{what} is {percent(value)}; the task wants at least {percent(least)}."


def _share_right(report: Report) -> tuple[str, float] | None:
    if report.scores is not None:
        return "Accuracy", report.scores.accuracy.value
    if report.written is not None and report.written.scores is not None:
        return "The share of exact answers", report.written.scores.exact_match.value
    return None


def _unusual(report: Report) -> Iterator[tuple[bool, str]]:
    """Hold a model that tells what is unusual against what it is for; nobody needs to ask for that."""
    if (found := report.unusual) is None:
        return
    if (alarms := found.false_alarms) is not None:
        at_most = f"{percent(found.promised)} is what so many good pictures can vouch for"
        told = f"{percent(alarms.value)} of good pictures it had not seen were called unusual; {at_most}."
        yield alarms.low <= found.promised, told
    for baseline in found.baselines:
        if baseline.name == CONTROL_TO_BEAT:
            how = "worse" if baseline.verdict == "worse" else "not worse"
            yield baseline.verdict != "worse", f"It is {how} than the plainest baseline: {baseline.title.lower()}."


def _latency(report: Report, limits: Limits) -> Iterator[tuple[bool, str]]:
    if (most := limits.max_latency_ms) is None:
        return
    if report.cost is None:
        yield False, f"The task wants an answer within {most:g} ms, but latency was not measured."
        return
    value = report.cost.latency_p95_ms
    yield value <= most, f"Latency (p95) is {value:.1f} ms; the task wants at most {most:g} ms."


def _memory(report: Report, limits: Limits) -> Iterator[tuple[bool, str]]:
    if (most := limits.max_memory_mb) is None:
        return
    if report.cost is None:
        yield False, f"The task wants at most {most:g} MB of memory, but memory was not measured."
        return
    value = report.cost.peak_memory_mb
    yield value <= most, f"Peak memory is {value:.0f} MB; the task wants at most {most:g} MB."
