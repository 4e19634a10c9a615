"""A model against a baseline on the same rows."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr, betaincinv

from sartor.evaluate.quality import proportion
from sartor.families.interface import BoolArray, FloatArray, IntArray
from sartor.types import Metric, Paired, Verdict

_ALPHA = 0.05


def paired(targets: IntArray, model_probs: FloatArray, baseline_probs: FloatArray) -> Paired:
    """Compare the answers of two models, row by row.

    The test is McNemar's, exact: a binomial over the rows that only one of them has right.

    Args:
        targets: (N,) index of the right label, N > 0.
        model_probs: (N, C).
        baseline_probs: (N, C).
    """
    model_right = model_probs.argmax(axis=1) == targets
    baseline_right = baseline_probs.argmax(axis=1) == targets
    wins = int((model_right & ~baseline_right).sum())
    losses = int((baseline_right & ~model_right).sum())
    p_value = mcnemar(wins, losses)
    return Paired(
        difference=_difference(model_right, baseline_right),
        wins=wins,
        losses=losses,
        p_value=p_value,
        verdict=_verdict(wins, losses, p_value),
    )


def mcnemar(wins: int, losses: int) -> float:
    """Return the p-value of the exact two-sided McNemar test; 1 when the two never differ.

    >>> mcnemar(6, 0)
    0.03125
    """
    # At one half both tails of the binomial are alike, so the test needs none of scipy.stats, a slow import.
    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values ("A simple sequentially rejective multiple test procedure", 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


def worse_at_most(wins: int, losses: int, n: int) -> float:
    """Return how much worse the model may be, as a share of rows: an exact one-sided 95% bound of losses less wins.

    The smaller of two bounds, each at 97.5%, so that the smaller holds at 95% whatever the rows:

    - the Clopper-Pearson limit of the losses alone, which is sharp where the two hardly ever differ;
    - the largest difference that a test of losses less wins does not reject. What it needs to know besides, how often
      the two differ, is taken at its worst within a 99.5% interval (Berger and Boos, "P values maximized over a
      confidence set for the nuisance parameter", JASA 89, 1994).

    >>> round(worse_at_most(0, 0, 100), 3), round(worse_at_most(12, 6, 200), 3)
    (0.036, 0.03)
    """
    if not n:
        return 1.0
    alone = _upper(losses, n, _ALPHA / 2)
    low, high = float(losses - wins) / n, alone
    if _plausible(wins, losses, n, high):
        return alone
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _plausible(wins, losses, n, middle) else (low, middle)
    return high


def rows_to_show(margin: float) -> int:
    """Return the fewest rows, none lost, that show a model to be at most ``margin`` worse.

    >>> rows_to_show(0.05)
    72
    """
    return math.ceil(math.log(_ALPHA / 2) / math.log(1 - margin))


_HALVINGS = 16
_DIFFERING = 0.005
"""Level at which the share of rows that the two differ in is bounded."""
_SHARES = 21


def _upper(successes: int, n: int, risk: float) -> float:
    """Return the Clopper-Pearson upper limit of ``successes / n``."""
    return 1.0 if successes >= n else float(betaincinv(successes + 1, n - successes, 1 - risk))


def _lower(successes: int, n: int, risk: float) -> float:
    return 0.0 if successes <= 0 else float(betaincinv(successes, n - successes + 1, risk))


def _plausible(wins: int, losses: int, n: int, difference: float) -> bool:
    """Return whether losses less wins could be as low as seen, were the model worse by ``difference``."""
    differing = wins + losses
    low = max(_lower(differing, n, _DIFFERING / 2), abs(difference))
    high = max(_upper(differing, n, _DIFFERING / 2), low)
    shares_S = np.linspace(low, min(1.0, high), _SHARES)
    return float(_chances(losses - wins, n, difference, shares_S).max()) + _DIFFERING > _ALPHA / 2


def _chances(excess: int, n: int, difference: float, shares_S: FloatArray) -> FloatArray:
    """Return (S,) the chance that losses less wins is at most ``excess``, if the two differ in a share of the rows."""
    shares_S1 = np.maximum(shares_S, 1e-12)[:, None]
    least, most = n * float(shares_S.min()), n * float(shares_S.max())
    # beyond nine standard deviations and ten rows the binomial weighs nothing
    differing_D = np.arange(max(0, int(least - 9 * least**0.5 - 10)), min(n, int(most + 9 * most**0.5 + 10)) + 1)
    lost_S1 = np.clip((1 + difference / shares_S1) / 2, 0, 1)
    # of D differing rows, losses less wins is at most the excess where losses are at most half of D + excess
    fewest_D = np.floor((differing_D + excess) / 2)
    within_SD = bdtr(np.clip(fewest_D, 0, differing_D), differing_D, lost_S1) * (fewest_D >= 0)
    chances_SD = np.diff(bdtr(differing_D, n, np.minimum(shares_S1, 1.0)), axis=1, prepend=0.0)
    return (chances_SD * within_SD).sum(axis=1)


def _verdict(wins: int, losses: int, p_value: float) -> Verdict:
    if p_value >= _ALPHA:
        return "tie"
    return "better" if wins > losses else "worse"


def _difference(model_right: BoolArray, baseline_right: BoolArray) -> Metric:
    both = int((model_right & baseline_right).sum())
    only_model = int(model_right.sum()) - both
    only_baseline = int(baseline_right.sum()) - both
    return paired_difference(both, only_model, only_baseline, len(model_right) - both - only_model - only_baseline)


def paired_difference(both: int, only_first: int, only_second: int, neither: int) -> Metric:
    """Return the difference of two proportions measured on the same rows, with its 95% interval.

    Method 10 of Newcombe, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", Statistics in Medicine 17 (1998): the two Wilson intervals, squared and added, less
    what the two have in common.
    """
    n = both + only_first + only_second + neither
    first, second = proportion(both + only_first, n), proportion(both + only_second, n)
    common = _correlation(both, only_first, only_second, neither)
    difference = first.value - second.value
    below = _distance(first.value - first.low, second.high - second.value, common)
    above = _distance(first.high - first.value, second.value - second.low, common)
    return Metric(difference, max(-1.0, difference - below), min(1.0, difference + above))


def _distance(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Return Newcombe's phi: the correlation of the two, made smaller by half a row when positive."""
    margins = np.array(
        [both + only_first, only_second + neither, both + only_second, only_first + neither], dtype=np.float64
    )
    if not margins.all():
        return 0.0
    excess = both * neither - only_first * only_second
    if excess > 0:
        excess = max(excess - margins[:2].sum() / 2, 0.0)
    return float(excess / np.sqrt(margins.prod()))
