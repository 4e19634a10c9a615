"""The head of a model of a table solved anew on new rows, near the one that was generated; exact, in closed form.

Scores are linear in columns, units and products. The change of the head is a ridge regression of what the old head
leaves over, so that without rows nothing changes; each group of features has unit trace. The penalty is chosen by
left-out rows (Golub, Heath and Wahba 1979), "change nothing" among its values.

Dimension key:   N: rows   C: outputs   D: columns   F: features of a group
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sartor.families.interface import FloatArray, IntArray
from sartor.finetune.adapted_head import folds
from sartor.nn.table_coder import Cells
from sartor.nn.table_solver import Calibration, Net, product_features
from sartor.nn.table_target import coder_of, net_of
from sartor.types import Weights

PENALTIES = tuple(np.geomspace(0.03, 300, 9).tolist())
MOST_ROWS = 4000
_FLAT = 1e-9


@dataclass(frozen=True, slots=True)
class AdaptedTable:
    """A model with another head."""

    weights: Weights
    left_out: FloatArray
    """(N, C) scores of each row by a head that was solved without it."""
    trained: int


def adapt(weights: Weights, cells: Cells, targets_NC: FloatArray, groups: IntArray, *, seed: int) -> AdaptedTable:
    """Return the model with its head solved anew.

    Args:
        weights: of the model.
        cells: N rows; beyond 4,000, those are drawn.
        targets_NC: one-hot classes, or standardised values.
        groups: (N,) equal rows stay on one side of a split.
        seed: of splits and draws.
    """
    net, coded_ND = net_of(weights), coder_of(weights).code(cells)
    scores_NC = net.scores(coded_ND)
    rows = np.arange(len(coded_ND))
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).permutation(len(rows))[:MOST_ROWS])
    parts = {name: scaled for name, scaled in _groups_of(net, coded_ND[rows]).items()}
    gram_NN = sum((part.rows @ part.rows.T for part in parts.values()), start=np.ones((len(rows), len(rows))))
    rest_NC = targets_NC[rows] - scores_NC[rows]
    left_out = np.array(scores_NC)
    for train, test in folds(groups[rows], seed):
        dual, _ = _solve(gram_NN[np.ix_(train, train)], rest_NC[train])
        left_out[rows[test]] += gram_NN[np.ix_(test, train)] @ dual
    dual_NC, _ = _solve(gram_NN, rest_NC)
    others = np.setdiff1d(np.arange(len(coded_ND)), rows)
    changed = dict(weights)
    for name, part in parts.items():
        key = f"net.{name}.out"
        change = part.scale * (part.rows.T @ dual_NC)
        changed[key] = (weights[key].double() + torch.from_numpy(change)).to(weights[key].dtype)
    bias = weights["net.bias"]
    changed["net.bias"] = (bias.double() + torch.from_numpy(dual_NC.sum(axis=0))).to(bias.dtype)
    if len(others):  # no part in the head, so it has not seen them
        left_out[others] = net_of(changed).scores(coded_ND[others])
    trained = sum(changed[f"net.{name}.out"].numel() for name in parts) + bias.numel()
    return AdaptedTable(changed, left_out, trained)


def probabilities(weights: Weights, scores_NC: FloatArray) -> FloatArray:
    """Return (N, C) as the model's own calibration has them."""
    plain, sharp = weights["calibration.warmth"].tolist()
    return Calibration(plain, sharp, weights["calibration.bias"].numpy()).probabilities(scores_NC)


@dataclass(frozen=True, slots=True)
class _Part:
    rows: FloatArray
    """(N, F), scaled."""
    scale: float


def _groups_of(net: Net, coded_ND: np.ndarray) -> Mapping[str, _Part]:
    found: dict[str, _Part] = {}
    for name, rows_NF in features_of(net, coded_ND).items():
        variance = float(rows_NF.var(axis=0).sum())
        if variance > _FLAT:
            scale = 1 / np.sqrt(variance)
            found[name] = _Part(scale * rows_NF, float(scale))
    return found


def features_of(net: Net, coded_ND: np.ndarray) -> dict[str, FloatArray]:
    """Return the features that the net's heads stand on, by group."""
    t: Mapping[str, Any] = net.tensors
    cells_ND = torch.from_numpy(coded_ND)
    found = {"columns": cells_ND}
    if t["units.out"].shape[0]:
        found["units"] = (cells_ND @ t["units.weight"] + t["units.bias"]).relu()
    if t["products.out"].shape[0]:
        found["products"] = product_features(net, coded_ND)
    return {name: part.double().numpy() for name, part in found.items()}


def _solve(gram_NN: FloatArray, rest_NC: FloatArray) -> tuple[FloatArray, float]:
    """Return (N, C) dual weights at the penalty whose left-out rows are foretold best, or zeros."""
    values, vectors = np.linalg.eigh(gram_NN)
    values = np.maximum(values, 0)
    rotated = vectors.T @ rest_NC
    best, chosen, penalty_chosen = float((rest_NC**2).mean()), np.zeros_like(rest_NC), np.inf
    for penalty in PENALTIES:
        inverse = 1 / (values + penalty)
        dual = vectors @ (inverse[:, None] * rotated)
        left = dual / np.maximum((vectors**2) @ inverse, 1e-12)[:, None]
        if (error := float((left**2).mean())) < best:
            best, chosen, penalty_chosen = error, dual, penalty
    return chosen, penalty_chosen
