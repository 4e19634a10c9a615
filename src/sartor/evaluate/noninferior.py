"""May a model made from another take its place? Exact bounds on what would be lost, from the same rows.

Dimension key:   N: rows   C: labels
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from sartor.evaluate.headline import percent
from sartor.families.interface import FloatArray, IntArray

CONFIDENCE = 0.95
"""Of each bound."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a candidate loses against its parent, 0..1."""

    rows: int
    value: float
    """Share of rows that only the parent has right less that only the candidate has; below zero for a gain. Of rows
    without labels: what the parent's own confidences say would be lost."""
    low: float
    high: float
    """The value lies below this with 95% confidence at least; exact."""
    negative_flips: int | None
    """Rows that only the parent has right; None where nobody knows what is right."""
    gained: int | None
    agreement: float
    """Share of rows that both answer alike."""
    agreement_low: float
    """Exact 95% lower bound of it."""
    labelled: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """What a gate says of a candidate."""

    kept: bool
    margin: float
    loss: Loss
    reasons: tuple[str, ...]


def labelled_loss(right_parent: Sequence[bool], right_candidate: Sequence[bool], alike: Sequence[bool]) -> Loss:
    """Return the loss on rows whose right answers are known.

    Each of the two bounds is the difference of two exact ones (Clopper and Pearson, Biometrika 26, 1934), each at half
    of the error: of the share that only the parent has right, and that only the candidate has. So it is exact whatever
    the two have in common, and a little wide.
    """
    parent, candidate = np.asarray(right_parent, dtype=bool), np.asarray(right_candidate, dtype=bool)
    lost, gained, n = int((parent & ~candidate).sum()), int((candidate & ~parent).sum()), len(parent)
    half = (1 - CONFIDENCE) / 2
    same = int(np.count_nonzero(alike))
    return Loss(
        rows=n,
        value=(lost - gained) / n,
        low=lower(lost, n, half) - upper(gained, n, half),
        high=upper(lost, n, half) - lower(gained, n, half),
        negative_flips=lost,
        gained=gained,
        agreement=same / n,
        agreement_low=lower(same, n, 1 - CONFIDENCE),
        labelled=True,
    )


def unlabelled_loss(parent_NC: FloatArray, best_candidate: IntArray) -> Loss:
    """Return the loss as the parent's calibrated confidences tell it, on rows without labels.

    Where the candidate answers otherwise, what is lost is the parent's confidence in its own answer less that in the
    candidate's. The upper bound takes the exact one of how often answers differ, each at the largest such gap seen.
    """
    n = len(parent_NC)
    best = parent_NC.argmax(axis=1)
    gaps = parent_NC[np.arange(n), best] - parent_NC[np.arange(n), best_candidate]
    differ = int((best != best_candidate).sum())
    # where none differs, nobody knows how far apart they would be: a tie of two labels is at most one half
    largest = float(gaps.max()) if differ else 0.5
    return Loss(
        rows=n,
        value=float(gaps.mean()),
        low=0.0,
        high=upper(differ, n, 1 - CONFIDENCE) * largest,
        negative_flips=None,
        gained=None,
        agreement=1 - differ / n,
        agreement_low=lower(n - differ, n, 1 - CONFIDENCE),
        labelled=False,
    )


def judge(loss: Loss, margin: float) -> Judged:
    """Hold a loss against the margin that may be lost."""
    kept = loss.high <= margin
    on = f"on {loss.rows:,} rows" if loss.labelled else f"on {loss.rows:,} rows without labels"
    said = (
        f"The loss {on} is {_points(loss.value)} points, with 95% confidence at most {_points(loss.high)}; at most "
        f"{_points(margin)} may be lost. Answers agree with the parent's in {percent(loss.agreement)} of them."
    )
    hint = () if kept or not loss.labelled or loss.value > margin else (_rows_hint(loss, margin),)
    return Judged(kept, margin, loss, (said, *hint))


def rows_needed(margin: float) -> int:
    """Return how many rows without a single loss show that at most ``margin`` is lost.

    >>> rows_needed(0.01)
    368
    """
    return int(np.ceil(np.log((1 - CONFIDENCE) / 2) / np.log1p(-margin))) if 0 < margin < 1 else 0


def _rows_hint(loss: Loss, margin: float) -> str:
    needed = rows_needed(margin)
    if not needed or loss.rows >= needed:
        return "Give more rows, or allow for more loss."
    return f"{needed:,} rows at least could show that little: give more, or allow for more loss with --max-loss."


def _points(share: float) -> str:
    return f"{100 * share:.2f}"


def upper(successes: int, n: int, error: float) -> float:
    """Return the exact upper bound of a proportion; it is passed with a chance of at most ``error``.

    >>> round(upper(0, 299, 0.05), 4)
    0.01
    """
    return 1.0 if successes >= n else float(betaincinv(successes + 1, n - successes, 1 - error))


def lower(successes: int, n: int, error: float) -> float:
    """Return the exact lower bound of a proportion."""
    return 0.0 if successes <= 0 else float(betaincinv(successes, n - successes + 1, error))
