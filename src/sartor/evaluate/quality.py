"""How often a model is right, how sure we are of that, and how well its confidence fits.

Everything here is a pure function of the targets and the probabilities of rows that the model had not seen.

Dimension key:   N: rows   C: labels   R: resamples
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sartor.errors import DataError
from sartor.families.interface import FloatArray, IntArray
from sartor.types import CalibrationBin, ClassScores, Metric, Scores

_Z = float(ndtri(0.975))
_RESAMPLES = 1000
_BINS = 10
_SMALLEST = float(np.finfo(np.float64).eps)
"""A probability of zero would make one wrong answer cost infinitely much: the log-loss clips here."""


def scores(targets: IntArray, probabilities: FloatArray, *, seed: int = 0) -> Scores:
    """Score N rows. Balanced accuracy and macro-F1 are means over the labels that occur in ``targets``.

    Args:
        targets: (N,) index of the right label.
        probabilities: (N, C), rows sum to one.
        seed: of the resampling behind two of the intervals; the same seed gives the same interval.

    Raises:
        DataError: when there is no row, or the shapes do not fit.
    """
    _check(targets, probabilities)
    best = probabilities.argmax(axis=1)
    right = int((best == targets).sum())
    balanced, macro_f1 = _means_over_labels(confusion(targets, best, probabilities.shape[1]), seed)
    return Scores(
        n=len(targets),
        accuracy=proportion(right, len(targets)),
        balanced_accuracy=balanced,
        macro_f1=macro_f1,
        log_loss=_log_loss(targets, probabilities),
        ece=_ece(calibration_bins(targets, probabilities)),
    )


def class_scores(targets: IntArray, probabilities: FloatArray, labels: Sequence[str]) -> tuple[ClassScores, ...]:
    """Score every label by itself, in the order of ``labels``; one without rows has a recall of 0 in [0, 1].

    Raises:
        DataError: when there is no row, or the shapes do not fit.
    """
    _check(targets, probabilities)
    table = confusion(targets, probabilities.argmax(axis=1), len(labels))
    precision, f1 = _precision(table), _f1(table)
    return tuple(
        ClassScores(
            label=label,
            rows=int(table[c].sum()),
            precision=float(precision[c]),
            recall=proportion(int(table[c, c]), int(table[c].sum())),
            f1=float(f1[c]),
            most_confused_with=_most_confused(table[c], c, labels),
        )
        for c, label in enumerate(labels)
    )


def calibration_bins(targets: IntArray, probabilities: FloatArray, bins: int = _BINS) -> tuple[CalibrationBin, ...]:
    """Group rows of similar confidence into at most ``bins`` bins of nearly equal size, least sure first.

    Rows of equal confidence share a bin, so that the order of the rows cannot change the result; hence a
    model that is always equally sure has one bin.

    Raises:
        DataError: when there is no row, or the shapes do not fit.
    """
    _check(targets, probabilities)
    confidence = probabilities.max(axis=1)
    order = np.argsort(confidence, kind="stable")
    confidence, right = confidence[order], (probabilities.argmax(axis=1) == targets)[order]
    equal_mass = (np.arange(1, bins) * len(order)) // bins
    cuts = np.unique(np.searchsorted(confidence, confidence[equal_mass], side="left"))
    return tuple(
        CalibrationBin(confidence=float(claimed.mean()), accuracy=float(came_true.mean()), rows=len(claimed))
        for claimed, came_true in zip(np.split(confidence, cuts), np.split(right, cuts), strict=True)
        if len(claimed)
    )


def auroc(positive_scores: FloatArray, negative_scores: FloatArray) -> float:
    """Return the chance that a positive row scores higher than a negative one; ties count half.

    Raises:
        DataError: when either side has no row.
    """
    n_positive, n_negative = len(positive_scores), len(negative_scores)
    if not n_positive or not n_negative:
        raise DataError(
            f"An AUROC needs rows on both sides; got {n_positive} positive and {n_negative} negative. "
            "Give at least one of each."
        )
    negatives = np.sort(negative_scores)
    beaten = np.searchsorted(negatives, positive_scores, side="left")
    not_lost_to = np.searchsorted(negatives, positive_scores, side="right")
    return float((beaten + not_lost_to).mean()) / 2 / n_negative


def proportion(successes: int, n: int) -> Metric:
    """Return ``successes / n`` with its 95% Wilson score interval; 0 in [0, 1] when n is 0.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if not n:
        return Metric(0.0, 0.0, 1.0)
    value, low, high = _wilson(np.array([successes]), np.array([n]))
    return Metric(float(value[0]), float(low[0]), float(high[0]))


def confusion(targets: IntArray, best: IntArray, n_labels: int) -> IntArray:
    """Return (C, C) counts: row is the right label, column the answered one."""
    flat = np.bincount(targets * n_labels + best, minlength=n_labels * n_labels)
    return flat.reshape(n_labels, n_labels).astype(np.int64)


# --- intervals of means over labels ------------------------------------------------------------------------


def _means_over_labels(table: IntArray, seed: int) -> tuple[Metric, Metric]:
    """Return balanced accuracy and macro-F1 of a confusion table, over the labels with rows.

    The interval is the hull of two. A bootstrap within each label is right when there are errors to draw
    from, but has no width when there are none; square-and-add over each label's Wilson interval (MOVER: Zou
    and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008)
    has, but takes the labels for independent, which F1s are not.
    """
    present = np.flatnonzero(table.sum(axis=1))
    hits, answered = _resample(table, present, np.random.default_rng(seed))
    rows = table.sum(axis=1)[present]
    right = np.diagonal(table)[present]
    touched = rows + table.sum(axis=0)[present] - right
    # F1 = 2J / (1 + J), where J is a plain proportion: the right rows among all that bear or got the label.
    f1, f1_low, f1_high = (2 * jaccard / (1 + jaccard) for jaccard in _wilson(right, touched))
    return (
        _hull((hits / rows).mean(axis=1), *_wilson(right, rows)),
        _hull((2 * hits / (rows + answered)).mean(axis=1), f1, f1_low, f1_high),
    )


def _resample(
    table: IntArray, present: IntArray, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw each label's rows anew from its own row of the table.

    Returns two (R, labels present): rows that are right, rows answered with the label.
    """
    hits = np.empty((_RESAMPLES, len(present)), dtype=np.int64)
    answered = np.zeros((_RESAMPLES, table.shape[1]), dtype=np.int64)
    for column, c in enumerate(present):
        seen = np.flatnonzero(table[c])
        rows = int(table[c].sum())
        drawn = rng.multinomial(rows, table[c, seen] / rows, size=_RESAMPLES)
        answered[:, seen] += drawn
        hits[:, column] = drawn[:, seen == c].sum(axis=1)
    return hits, answered[:, present]


def _hull(resampled: FloatArray, values: FloatArray, lows: FloatArray, highs: FloatArray) -> Metric:
    """Return the mean of ``values`` within the wider end, on each side, of both intervals."""
    value = float(values.mean())
    below = float(np.sqrt(np.square(values - lows).sum())) / len(values)
    above = float(np.sqrt(np.square(highs - values).sum())) / len(values)
    drawn_low, drawn_high = np.quantile(resampled, [0.025, 0.975])
    low = max(0.0, min(value - below, float(drawn_low)))
    return Metric(value, low, min(1.0, max(value + above, float(drawn_high))))


def _wilson(successes: IntArray, n: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return value, lower and upper 95% limit of each proportion."""
    value = successes / n
    centre = (value + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * np.sqrt(value * (1 - value) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    # At 0 and at n the formula meets the value but for rounding.
    low = np.where(successes == 0, 0.0, centre - half)
    return value, low, np.where(successes == n, 1.0, centre + half)


# --- single figures ----------------------------------------------------------------------------------------


def _check(targets: IntArray, probabilities: FloatArray) -> None:
    if not len(targets):
        raise DataError("There is no row to score; give at least one labelled row.")
    if probabilities.ndim != 2 or len(probabilities) != len(targets):
        raise DataError(
            f"Probabilities must have one row for each of the {len(targets)} targets; "
            f"got the shape {probabilities.shape}. Give an array of rows by labels."
        )


def _log_loss(targets: IntArray, probabilities: FloatArray) -> float:
    chosen = probabilities[np.arange(len(targets)), targets]
    return float(-np.log(np.clip(chosen, _SMALLEST, 1.0)).mean())


def _ece(bins: Sequence[CalibrationBin]) -> float:
    """Return the expected calibration error: the gap between claim and truth, weighted by rows."""
    rows = sum(b.rows for b in bins)
    return sum(b.rows * abs(b.confidence - b.accuracy) for b in bins) / rows


def _precision(table: IntArray) -> FloatArray:
    return np.diagonal(table) / np.maximum(table.sum(axis=0), 1)


def _f1(table: IntArray) -> FloatArray:
    return 2 * np.diagonal(table) / np.maximum(table.sum(axis=0) + table.sum(axis=1), 1)


def _most_confused(row: IntArray, c: int, labels: Sequence[str]) -> str | None:
    wrong = row.copy()
    wrong[c] = 0
    return labels[int(wrong.argmax())] if wrong.any() else None
