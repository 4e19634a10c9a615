"""The first line of a report: what a person must know, losses and ties included."""

from collections.abc import Sequence

from sartor.types import Baseline, Scores


def headline(scores: Scores | None, baselines: Sequence[Baseline], *, where: str, reasons: Sequence[str] = ()) -> str:
    """Say how good the model is, in one line.

    Args:
        scores: of the model; None when nothing could be measured.
        baselines: that answered the same rows.
        where: what the figures were measured on, as ``on 400 rows it had not seen``.
        reasons: why the model is not proved; empty when it is.
    """
    measured = _measured(scores, baselines, where) if scores else ""
    if not reasons:
        return measured or "Not proved: nothing was measured."
    return ". ".join(filter(None, [f"Not proved: {'; '.join(reasons)}", measured]))


def percent(value: float) -> str:
    """Return a share as a person reads it.

    >>> percent(0.825)
    '82.5%'
    """
    return f"{100 * value:.1f}%"


def p_value(p: float) -> str:
    """Return ``p = .031``, or ``p < .001``.

    >>> p_value(0.03125), p_value(0.0000001), p_value(1.0)
    ('p = .031', 'p < .001', 'p = 1')
    """
    if p < 0.001:
        return "p < .001"
    return "p = 1" if p > 0.9995 else f"p = {p:.3f}".replace("0.", ".")


def _measured(scores: Scores, baselines: Sequence[Baseline], where: str) -> str:
    accuracy = scores.accuracy
    right = f"{percent(accuracy.value)} right [{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}] {where}"
    if winner := _strongest(baselines, "worse"):
        theirs = percent(winner.scores.accuracy.value)
        return (
            f"A baseline wins: {winner.title} is better "
            f"({theirs} against {percent(accuracy.value)} {where}, {p_value(winner.paired.p_value)})"
        )
    if equal := _strongest(baselines, "tie"):
        theirs = percent(equal.scores.accuracy.value)
        return f"{right}; no better than {equal.title} on these rows ({theirs}, {p_value(equal.paired.p_value)})"
    return f"{right}; {_better_than(len(baselines))}"


def _strongest(baselines: Sequence[Baseline], verdict: str) -> Baseline | None:
    """Return the most accurate baseline against which the model is ``verdict``."""
    candidates = [b for b in baselines if b.paired.verdict == verdict]
    return max(candidates, key=lambda b: b.scores.accuracy.value, default=None)


def _better_than(n: int) -> str:
    if not n:
        return "compared with no baseline"
    return "better than the one baseline" if n == 1 else f"better than all {n} baselines"
