"""May this model be released? Pure functions of what was measured and the limits of its task.

:func:`gate` looks at a model that was just made; :func:`may_move` at one to which an alias shall move.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sartor.evaluate.compare import rows_to_show, worse_at_most
from sartor.evaluate.headline import percent
from sartor.types import Limits, Metric, Report

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


# --- release: may an alias move to this model? -------------------------------------------------------------

MARGIN = 0.05
"""How much worse than the incumbent, as a share of rows, a model may be at the most."""
CALIBRATION_ROWS = 50
"""Rows that it takes to say how well confidence fits."""
CALIBRATION_GAP = 0.05
"""How much further off than the incumbent's a model's confidence may be."""
CALIBRATION_MOST = 0.15
"""How far off it may be where there is no incumbent."""
ERROR_RATIO = 1.05
"""How much larger than the incumbent's the error of foretold values may be."""


@dataclass(frozen=True, slots=True)
class Regression:
    """How a model and the incumbent answered the cases of a regression set."""

    cases: int
    right: int
    must_pass: int = 0
    """Cases that must be right."""
    must_pass_lost: tuple[int, ...] = ()
    """Numbers (from 1) of those that the model has wrong, and the incumbent, if there is one, right."""
    incumbent_right: int | None = None
    """None where there is no incumbent."""
    wins: int = 0
    """Cases that only the model has right."""
    losses: int = 0
    """Cases that only the incumbent has right."""
    calibration: float | None = None
    """Expected calibration error, 0..1; None of a model that says no confidence."""
    incumbent_calibration: float | None = None
    error: float | None = None
    """Root mean squared error of foretold values; the counts above are then of values within their interval."""
    incumbent_error: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the gate looked at."""

    check: str
    """``accuracy``, ``latency``, ``memory``, ``must-pass``, ``non-inferiority``, ``calibration``, ``proof``."""
    passed: bool
    text: str
    """One sentence for a person."""


@dataclass(frozen=True, slots=True)
class Release:
    """Whether an alias may move to a model, and why."""

    passed: bool
    gated: bool
    """False where there was nothing to compare by: no regression set."""
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return every check that failed; where none did, every check."""
        missed = tuple(one.text for one in self.checks if not one.passed)
        return missed or tuple(one.text for one in self.checks)


def may_move(
    report: Report,
    limits: Limits,
    *,
    incumbent: Report | None = None,
    regression: Regression | None = None,
    margin: float = MARGIN,
) -> Release:
    """Say whether an alias may move to a model.

    Args:
        report: its stored proof, with what an answer costs.
        limits: of its task.
        incumbent: the proof of the model that the alias points at; None where it points at nothing.
        regression: how both answered the regression set; None where there is none.
        margin: how much worse than the incumbent it may be, as a share of rows.
    """
    checks = [
        *(Check("accuracy", *one) for one in _accuracy(report, limits)),
        *(Check("latency", *one) for one in _latency(report, limits)),
        *(Check("memory", *one) for one in _memory(report, limits)),
    ]
    if regression is None:
        checks.append(_unmeasured(report, incumbent))
    else:
        checks += [*_must_pass(regression), *_not_worse(regression, margin), *_calibrated(regression)]
    return Release(all(one.passed for one in checks), regression is not None, tuple(checks))


def _unmeasured(report: Report, incumbent: Report | None) -> Check:
    """Without a regression set two proofs are all there is; they can show a much worse model, and no good one."""
    if incumbent is None:
        return Check("proof", True, "There is no incumbent and no regression set: nothing was compared.")
    ours, theirs = _interval(report), _interval(incumbent)
    if theirs is not None and ours is None:
        return Check(
            "proof", False, "The incumbent is proved and this model is not; a regression set can compare them."
        )
    if ours is not None and theirs is not None and ours.high < theirs.low:
        text = (
            f"Its proof says {percent(ours.value)} where the incumbent's says {percent(theirs.value)}: clearly worse."
        )
        return Check("proof", False, text)
    return Check(
        "proof", True, "There is no regression set: nothing shows that this model is as good as the incumbent."
    )


def _interval(report: Report) -> Metric | None:
    if report.scores is not None:
        return report.scores.accuracy
    if report.written is not None and report.written.scores is not None:
        return report.written.scores.exact_match
    return report.numbers.scores.r2 if report.numbers is not None else None


def _must_pass(found: Regression) -> Iterator[Check]:
    if not found.must_pass:
        return
    if not found.must_pass_lost:
        yield Check("must-pass", True, f"None of the {_cases(found.must_pass)} that must be right is lost.")
        return
    numbers = ", ".join(map(str, found.must_pass_lost[:5])) + (" …" if len(found.must_pass_lost) > 5 else "")
    lost = len(found.must_pass_lost)
    yield Check(
        "must-pass", False, f"{lost} of the {_cases(found.must_pass)} that must be right lost: number {numbers}."
    )


def _not_worse(found: Regression, margin: float) -> Iterator[Check]:
    if found.incumbent_right is None:
        share = percent(found.right / max(found.cases, 1))
        yield Check("non-inferiority", True, f"{share} of the {_cases(found.cases)} right; there is no incumbent.")
        return
    if found.error is not None and found.incumbent_error is not None:
        yield _smaller_error(found.error, found.incumbent_error)
        return
    told = f"{found.right} of {_cases(found.cases)} right, the incumbent {found.incumbent_right}"
    if found.cases < rows_to_show(margin):  # the best of models could not be shown to keep the margin
        few = f"{told}; with fewer than {rows_to_show(margin)} it must not be behind"
        yield Check("non-inferiority", found.losses <= found.wins, f"{few}.")
        return
    bound = worse_at_most(found.wins, found.losses, found.cases)
    said = f"{told}: at most {100 * bound:.1f} points worse (95%, exact); {100 * margin:g} are allowed."
    yield Check("non-inferiority", bound <= margin, said)


def _smaller_error(ours: float, theirs: float) -> Check:
    text = (
        f"Its error (RMSE) is {ours:.4g}, the incumbent's {theirs:.4g}; {100 * (ERROR_RATIO - 1):.0f}% more is allowed."
    )
    return Check("non-inferiority", ours <= ERROR_RATIO * theirs, text)


def _calibrated(found: Regression) -> Iterator[Check]:
    if found.calibration is None or found.cases < CALIBRATION_ROWS:
        return
    most = CALIBRATION_MOST
    if found.incumbent_calibration is not None:
        most = max(most, found.incumbent_calibration + CALIBRATION_GAP)
    said = f"Confidence is off by {100 * found.calibration:.1f} points; {100 * most:.1f} are allowed."
    yield Check("calibration", found.calibration <= most, said)


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count:,} cases"
