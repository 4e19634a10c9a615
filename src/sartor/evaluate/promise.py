"""How many answers may be taken unread, if they must be right so often: a promise that holds in 95% of cases.

Thresholds are tested from the strictest to the loosest until one fails (fixed-sequence testing; Angelopoulos,
Bates, Candès, Jordan, Lei, "Learn then Test", https://arxiv.org/abs/2110.01052). As a test is only made when
all before it passed, choosing among many thresholds costs nothing of the 95%. Which thresholds are tested
must not depend on what turned out right: a fixed grid and the confidences alone settle it.
"""

import math

import numpy as np
from scipy.special import betaincinv

from sartor.families.interface import FloatArray, IntArray
from sartor.types import Coverage

PRECISIONS = (0.95, 0.99)
"""The promises that a report makes or refuses."""
_RISK = 0.05
_GRID = (*(1 - np.geomspace(1e-4, 1, 101)[:-1]).tolist(), 0.0)
"""From 0.9999 down to 0 (answer every row); closer where models crowd: near one."""
_SMALLEST_SHARE = 20
"""Steps that accept fewer than one row in 20 are passed over: one chance error among the first few dozen of
many rows would end the sequence before the steps that have the evidence."""


def coverage(targets: IntArray, probabilities: FloatArray, precision: float) -> Coverage:
    """Find the most rows that can be answered so that at least ``precision`` of the answers are right.

    When nothing can be promised, ``threshold`` is None, ``coverage`` 0, and ``accepted`` and ``errors`` tell
    of the most confident rows on which it failed: fewer than ``needed``, or with too many errors among them.

    Args:
        targets: (N,) index of the right label, N > 0.
        probabilities: (N, C) for rows that the model had not seen.
        precision: the share that must be right, strictly between 0 and 1.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.concatenate([[0], np.cumsum((probabilities.argmax(axis=1) != targets)[order])])
    accepted = np.searchsorted(-confidence[order], -np.array(_GRID), side="right")
    tested = np.flatnonzero(accepted >= max(rows_needed(precision), len(targets) / _SMALLEST_SHARE))
    rows = accepted[tested]
    passed = np.logical_and.accumulate(lower_bound(rows - wrong[rows], rows) >= precision)
    last = int(passed.sum()) - 1
    promised = last >= 0
    evidence = int(rows[max(last, 0)]) if len(rows) else len(targets)
    return Coverage(
        precision=precision,
        promised=promised,
        threshold=_GRID[tested[last]] if promised else None,
        coverage=evidence / len(targets) if promised else 0.0,
        accepted=evidence,
        errors=int(wrong[evidence]),
        needed=rows_needed(precision),
    )


def rows_needed(precision: float) -> int:
    """Return the fewest rows, all right, that support the promise: 59 for .95, 299 for .99.

    >>> rows_needed(0.95), rows_needed(0.99)
    (59, 299)
    """
    return math.ceil(math.log(_RISK) / math.log(precision))


def lower_bound(right: IntArray, n: IntArray) -> FloatArray:
    """Return the one-sided 95% Clopper-Pearson lower limit of each ``right / n``; 0 where none is right."""
    limit = betaincinv(np.maximum(right, 1), n - right + 1, _RISK)
    return np.where(right > 0, limit, 0.0)
