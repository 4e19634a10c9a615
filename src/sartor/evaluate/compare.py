"""A model against a baseline on the same rows."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr

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
