"""Rows of a table in, one of a list of classes out.

The target is a small net on standardised columns (:mod:`sartor.nn.table_net`). Its hidden layer is emitted by a
generator that was trained on synthetic tables alone; its head is solved from the rows in closed form, and rows left out
decide how much of what was generated, of random units and of plain ridge answers (:mod:`sartor.nn.table_solver`).

Dimension key:   N: rows   D: columns, coded   C: classes
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from sartor.assets.catalogue import TABLE_GENERATOR
from sartor.data import columns, records
from sartor.families.interface import Condition, Control, FloatArray, IntArray, LabelFamily, NoBase, Prediction, Reads
from sartor.nn import table_baselines, table_coder, table_solver, text_columns
from sartor.nn.table_baselines import PEERS, Peer
from sartor.nn.table_coder import Cells
from sartor.nn.table_generator import TableGenerator
from sartor.nn.table_solver import Calibration
from sartor.nn.table_target import coder_of, head_of, net_of, shipped_generator, to_weights
from sartor.nn.text_base import TextBase, load_base
from sartor.types import Progress, Requirement, Weights, silent

OUT_OF_SCOPE_SHARE = 0.01
"""Of the labelled rows would be marked as not sure."""


class TabularClassification(LabelFamily[Cells]):
    """See the module."""

    name: ClassVar[str] = "tabular-classification"
    summary: ClassVar[str] = "Foretell a class from the columns of a table."
    generator: ClassVar[str] = TABLE_GENERATOR.stem.replace("-", "/")
    reads: ClassVar[Reads] = "tables"

    @override
    def base(self, requirement: Requirement, *, progress: Progress = silent) -> NoBase | TextBase:
        texts = any(column.kind == "text" for column in requirement.columns)
        return load_base(requirement.base, progress=progress) if texts else NoBase()

    @override
    def encode(
        self, base: Any, requirement: Requirement, inputs: Sequence[str], *, progress: Progress = silent
    ) -> Cells:
        progress("encode", 0, len(inputs))
        cells, _ = columns.parse(records.frame_of(inputs, requirement.columns), requirement.columns)
        texts_NTE = text_columns.embed(base, cells.texts, progress=progress) if cells.texts else None
        progress("encode", len(inputs), len(inputs))
        return Cells(cells.numbers, cells.codes, texts_NTE)

    @override
    def encode_labels(self, base: Any, requirement: Requirement) -> Cells:
        return Cells(np.zeros((len(requirement.labels), 0)), np.zeros((len(requirement.labels), 0), dtype=np.int64))

    @override
    def generate(self, requirement: Requirement, condition: Condition[Cells], *, seed: int) -> Weights:
        return _generated(shipped_generator(), requirement, condition, seed)

    @override
    def predict(self, requirement: Requirement, weights: Weights, features: Cells) -> Prediction:
        if "constant" in weights:
            found_NC = np.tile(weights["constant"].numpy(), (len(features), 1))
            return Prediction(found_NC, found_NC.max(axis=1), np.zeros(len(features), dtype=bool))
        scores_NC = net_of(weights).scores(coder_of(weights).code(features))
        plain, sharp = weights["calibration.warmth"].tolist()
        found_NC = Calibration(plain, sharp, weights["calibration.bias"].numpy()).probabilities(scores_NC)
        scope_N = found_NC.max(axis=1)
        return Prediction(found_NC, scope_N, scope_N < float(weights["scope.threshold"]))

    @override
    def head(self, weights: Weights) -> str:
        return head_of(weights)

    @override
    def controls(self, requirement: Requirement) -> Sequence[Control[Cells]]:
        return (
            Control("majority", "Majority class", majority),
            Control("floor", "Sartor with nothing learned", floor),
            *(Control(peer, title, _peer(peer)) for peer, title, _ in PEERS),
        )


FAMILY = TabularClassification()


def _generated(
    generator: TableGenerator, requirement: Requirement, condition: Condition[Cells], seed: int
) -> dict[str, Tensor]:
    n_labels = len(requirement.labels)
    if len(np.unique(condition.targets)) < 2:
        return {"constant": torch.from_numpy(_shares(condition.targets, n_labels))}
    order = condition.support.order(condition.targets)
    support, targets_N = condition.support.take(order), condition.targets[order]
    place_C = _usual_first(targets_N, n_labels)
    targets_N = place_C[targets_N]
    targets_NC = np.eye(n_labels)[targets_N]
    coder, coded_ND = table_coder.learn(support, columns.levels(requirement.columns), targets_NC)
    solved = table_solver.solve(generator, coded_ND, targets_NC, classes=n_labels, seed=seed)
    calibration = table_solver.calibrate(solved.left_out_NC, targets_N[solved.rows])
    scope_N = calibration.probabilities(solved.left_out_NC).max(axis=1)
    weights = to_weights(coder, solved)
    return {name: tensor[..., place_C] if name in _OUTPUTS else tensor for name, tensor in weights.items()} | {
        "calibration.warmth": torch.tensor([calibration.plain, calibration.sharp], dtype=torch.float64),
        "calibration.bias": torch.from_numpy(calibration.bias_C[place_C]),
        "scope.threshold": torch.tensor(float(np.quantile(scope_N, OUT_OF_SCOPE_SHARE)), dtype=torch.float64),
    }


_OUTPUTS = ("net.columns.out", "net.bias", "net.units.out", "net.products.out")
"""Tensors whose last axis is the classes."""


def _usual_first(targets_N: IntArray, n_labels: int) -> IntArray:
    """Return (C,) the place of each label by how many rows it has, then by its first row: names must not matter."""
    counts_C = np.bincount(targets_N, minlength=n_labels)
    first_C = np.full(n_labels, len(targets_N))
    np.minimum.at(first_C, targets_N, np.arange(len(targets_N)))
    return np.argsort(np.lexsort((first_C, -counts_C)))


def _shares(targets_N: IntArray, n_labels: int) -> FloatArray:
    """Return (C,) the labels' shares, one row added to each."""
    counts = np.bincount(targets_N, minlength=n_labels) + 1.0
    return counts / counts.sum()


# --- controls ----------------------------------------------------------------------------------------------


def majority(requirement: Requirement, condition: Condition[Cells], rows: Cells, seed: int) -> FloatArray:
    """Return the labels' shares for every row."""
    return np.tile(_shares(condition.targets, len(requirement.labels)), (len(rows), 1))


def floor(requirement: Requirement, condition: Condition[Cells], rows: Cells, seed: int) -> FloatArray:
    """Return what the same solver says where the generator has learned nothing: random units and plain ridge."""
    weights = _generated(TableGenerator(), requirement, condition, seed)
    return FAMILY.predict(requirement, weights, rows).probabilities


def _peer(peer: Peer) -> Callable[[Requirement, Condition[Cells], Cells, int], FloatArray]:
    def answer(requirement: Requirement, condition: Condition[Cells], rows: Cells, seed: int) -> FloatArray:
        if not len(condition.support):
            return majority(requirement, condition, rows, seed)
        levels, classes = columns.levels(requirement.columns), len(requirement.labels)
        return table_baselines.probabilities(peer, condition.support, levels, condition.targets, rows, classes, seed)

    return answer
