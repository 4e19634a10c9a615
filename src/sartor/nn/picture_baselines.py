"""What a head on pictures must be shown beside: the usual ways to use frozen features, each on unit vectors.

Dimension key:   N: labelled pictures   M: pictures that are asked   D: width   C: classes
"""

import warnings
from typing import TypeAlias

import numpy as np
import scipy.special
from numpy.typing import NDArray

from sartor.nn import solve

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.floating]
"""Unit vectors."""
Ints: TypeAlias = NDArray[np.int64]

NEIGHBOURS = (1, 3, 5, 9)
"""Numbers that are tried; rows left out choose."""
_GUESS = 16.0
"""Temperature of cosines before any row is seen."""
_STRENGTH = 100.0
"""C of the logistic regression: the best of 1, 10 and 100 on drawn tasks, so that it is no straw man."""


def probe(support_ND: Rows, targets_N: Ints, asked_MD: Rows, classes: int) -> Floats:
    """Return (M, C) probabilities by a multinomial logistic regression."""
    from sklearn.linear_model import LogisticRegression  # one second to import

    present = np.unique(targets_N)
    found = np.zeros((len(asked_MD), classes))
    if len(present) == 1 or not len(asked_MD):
        found[:, present[0]] = 1.0
        return found
    model = LogisticRegression(C=_STRENGTH, max_iter=300, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # many labels of few rows each, or max_iter: both are fine here
        found[:, present] = model.fit(support_ND, targets_N).predict_proba(asked_MD)
    return found


def prototypes(support_ND: Rows, targets_N: Ints, asked_MD: Rows, classes: int) -> Floats:
    """Return (M, C) probabilities by the cosine to the mean of each class (Snell et al. 2017, section 2.3).

    Rows left out of their own class's mean set the temperature.
    """
    truth_NC = np.eye(classes)[targets_N]
    counts_C = truth_NC.sum(axis=0)
    seen_C = counts_C > 0
    sums_CD = truth_NC.T @ support_ND
    scores_MC = _cosines(asked_MD, sums_CD)
    left_out_NC = _cosines(support_ND, sums_CD)
    own_N = np.arange(len(targets_N))
    others_ND = sums_CD[targets_N] - support_ND
    left_out_NC[own_N, targets_N] = (support_ND * _unit(others_ND)).sum(axis=1)
    told_N = counts_C[targets_N] > 1
    warmth = _GUESS
    if told_N.any():
        warmth = solve.temperature(left_out_NC[told_N], targets_N[told_N], guess=_GUESS)
    return scipy.special.softmax(np.where(seen_C, warmth * scores_MC, -np.inf), axis=1)


def neighbours(support_ND: Rows, targets_N: Ints, asked_MD: Rows, classes: int) -> Floats:
    """Return (M, C) probabilities by the classes of the nearest pictures; their number is chosen by rows left out."""
    among_NN = support_ND @ support_ND.T
    np.fill_diagonal(among_NN, -np.inf)
    known = [k for k in NEIGHBOURS if k < len(targets_N)] or [1]
    right = [float((_votes(among_NN, targets_N, classes, k).argmax(axis=1) == targets_N).mean()) for k in known]
    return _votes(asked_MD @ support_ND.T, targets_N, classes, known[int(np.argmax(right))])


def _votes(closeness_MN: Rows, targets_N: Ints, classes: int, k: int) -> Floats:
    """Return (M, C) shares of the k nearest, half a vote spread over the classes; nearer ones win ties."""
    nearest_MK = np.argsort(-closeness_MN, axis=1, kind="stable")[:, :k]
    weights_K = 1 - 0.01 * np.arange(nearest_MK.shape[1])
    found_MC = np.full((len(closeness_MN), classes), 0.5 / classes)
    for at, weight in enumerate(weights_K):
        np.add.at(found_MC, (np.arange(len(found_MC)), targets_N[nearest_MK[:, at]]), weight)
    return found_MC / found_MC.sum(axis=1, keepdims=True)


def _cosines(rows_ND: Rows, sums_CD: Rows) -> Floats:
    return np.asarray(rows_ND @ _unit(sums_CD).T, dtype=np.float64)


def _unit(rows: Rows) -> Rows:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
