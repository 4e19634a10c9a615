"""Peers that a model of a table stands beside, from the same cells: linear models, a random forest, boosted trees.

All are scikit-learn's with their defaults (more iterations where they would warn), on one core.

Dimension key:   N: rows   M: columns of numbers   G: columns of categories   C: classes
"""

import warnings
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from sartor.nn import table_coder
from sartor.nn.table_coder import Cells

Floats = NDArray[np.float64]
Peer: TypeAlias = Literal["linear", "forest", "boosting"]
PEERS: tuple[tuple[Peer, str, str], ...] = (
    ("linear", "Logistic regression", "Ridge regression"),
    ("forest", "Random forest", "Random forest"),
    ("boosting", "Gradient boosting", "Gradient boosting"),
)
"""Name, title among classes, title among values."""
_MOST_BINS = 255


def probabilities(
    peer: Peer,
    support: Cells,
    levels: Sequence[int],
    targets_N: NDArray[np.int64],
    rows: Cells,
    classes: int,
    seed: int,
) -> Floats:
    """Return (N, C) for ``rows``, of a peer fitted to ``support``."""
    found = np.zeros((len(rows), classes))
    present = np.unique(targets_N)
    if len(present) < 2 or not len(rows):
        found[:, present] = 1.0
        return found
    known_ND, asked_ND = _inputs(peer, support, levels, np.eye(classes)[targets_N], rows)
    model = _classifier(peer, support, seed)
    with warnings.catch_warnings(), threadpoolctl.threadpool_limits(1):
        warnings.simplefilter("ignore")  # a solver that stops early, a label of one row: both are told by the figures
        found[:, present] = model.fit(known_ND, targets_N).predict_proba(asked_ND)
    return found


def values(peer: Peer, support: Cells, levels: Sequence[int], values_N: Floats, rows: Cells, seed: int) -> Floats:
    """Return (N,) values for ``rows``, of a peer fitted to ``support``."""
    if not len(rows):
        return np.zeros(0)
    known_ND, asked_ND = _inputs(peer, support, levels, values_N[:, None], rows)
    with warnings.catch_warnings(), threadpoolctl.threadpool_limits(1):
        warnings.simplefilter("ignore")
        return _regressor(peer, support, seed).fit(known_ND, values_N).predict(asked_ND)


def _inputs(peer: Peer, support: Cells, levels: Sequence[int], targets_NC: Floats, rows: Cells) -> tuple[Any, Any]:
    if peer == "linear":
        coder, known_ND = table_coder.learn(support, levels, targets_NC)
        asked_ND = coder.code(rows)
        if not known_ND.shape[1]:  # no column varies in these rows
            return np.zeros((len(support), 1)), np.zeros((len(rows), 1))
        return known_ND, asked_ND
    known_ND, asked_ND = (np.hstack([cells.numbers_NM, _codes(cells)]) for cells in (support, rows))
    if support.texts_NTE is None:
        return known_ND, asked_ND
    coder, known_texts_ND = table_coder.learn(_texts(support), (), targets_NC)
    return np.hstack([known_ND, known_texts_ND]), np.hstack([asked_ND, coder.code(_texts(rows))])


def _texts(cells: Cells) -> Cells:
    """Return the columns of free text alone: trees are given the same numbers of them as our net."""
    n = len(cells)
    return Cells(np.zeros((n, 0)), np.zeros((n, 0), dtype=np.int64), cells.texts_NTE)


def _codes(cells: Cells) -> Floats:
    """Return (N, G) codes as trees take them: missing where there is none, rare ones together."""
    codes_NG = np.where(cells.codes_NG < 0, np.nan, np.minimum(cells.codes_NG, _MOST_BINS - 1))
    return codes_NG.astype(np.float64)


def _classifier(peer: Peer, support: Cells, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    if peer == "linear":
        return LogisticRegression(max_iter=500)
    if peer == "forest":
        return RandomForestClassifier(random_state=seed)
    return HistGradientBoostingClassifier(random_state=seed, categorical_features=_categorical(support))


def _regressor(peer: Peer, support: Cells, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import RidgeCV

    if peer == "linear":
        return RidgeCV(np.geomspace(0.1, 1000, 13))
    if peer == "forest":
        return RandomForestRegressor(random_state=seed)
    return HistGradientBoostingRegressor(random_state=seed, categorical_features=_categorical(support))


def _categorical(support: Cells) -> Any:
    """Return the places of codes."""
    numbers, codes = support.numbers_NM.shape[1], support.codes_NG.shape[1]
    return list(range(numbers, numbers + codes))
