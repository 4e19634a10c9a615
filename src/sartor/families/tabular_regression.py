"""Rows of a table in, one value out, with an interval.

As :mod:`sartor.families.tabular_classification`, for values: they are standardised and foretold by a small net whose
hidden layer is generated and whose head is solved. What each row would have been told had it been left out gives the
interval: the error that nine of ten such rows keep below (split-free conformal prediction: Barber et al. 2021,
https://doi.org/10.1214/20-AOS1965, the jackknife).

Dimension key:   N: rows   D: columns, coded
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from sartor.assets.catalogue import TABLE_GENERATOR
from sartor.data import columns, records
from sartor.families.interface import Estimate, FloatArray, NoBase, NumberControl, NumberFamily, Reads
from sartor.nn import table_baselines, table_coder, table_solver, text_columns
from sartor.nn.table_baselines import PEERS, Peer
from sartor.nn.table_coder import Cells
from sartor.nn.table_generator import TableGenerator
from sartor.nn.table_target import coder_of, head_of, net_of, shipped_generator, to_weights
from sartor.nn.text_base import TextBase, load_base
from sartor.types import Progress, Requirement, Weights, silent

COVERAGE = 0.9
"""Of intervals."""
BEYOND = 0.1
"""How far an answer may lie beyond the values of the rows, as a share of their range: nets know nothing out there."""


class TabularRegression(NumberFamily[Cells]):
    """See the module."""

    name: ClassVar[str] = "tabular-regression"
    summary: ClassVar[str] = "Foretell a value, with an interval, from the columns of a table."
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
    def generate(self, requirement: Requirement, support: Cells, values: FloatArray, *, seed: int) -> Weights:
        return _generated(shipped_generator(), requirement, support, values, seed)

    @override
    def predict(self, requirement: Requirement, weights: Weights, features: Cells) -> Estimate:
        if "constant" in weights:
            same = np.full(len(features), float(weights["constant"]))
            return Estimate(same, same, same)
        scores_NC = net_of(weights).scores(coder_of(weights).code(features))
        values = float(weights["target.middle"]) + float(weights["target.spread"]) * scores_NC[:, 0]
        values = np.clip(values, *weights["target.range"].tolist())
        half = float(weights["interval"])
        return Estimate(values, values - half, values + half)

    @override
    def head(self, weights: Weights) -> str:
        return head_of(weights)

    @override
    def controls(self, requirement: Requirement) -> Sequence[NumberControl[Cells]]:
        return (
            NumberControl("mean", "The mean of the rows", mean),
            NumberControl("floor", "Sartor with nothing learned", floor),
            *(NumberControl(peer, title, _peer(peer)) for peer, _, title in PEERS),
        )


FAMILY = TabularRegression()


def _generated(
    generator: TableGenerator, requirement: Requirement, support: Cells, values: FloatArray, seed: int
) -> dict[str, Tensor]:
    spread = float(values.std())
    if spread <= 1e-12 * (1 + abs(float(values.mean()))):
        return {"constant": torch.tensor(float(values.mean()), dtype=torch.float64)}
    order = support.order(values)
    known, values_N = support.take(order), values[order]
    middle = float(values_N.mean())
    targets_N1 = ((values_N - middle) / spread)[:, None]
    coder, coded_ND = table_coder.learn(known, columns.levels(requirement.columns), targets_N1)
    solved = table_solver.solve(generator, coded_ND, targets_N1, classes=0, seed=seed)
    errors_N = np.abs(solved.left_out_NC[:, 0] - targets_N1[solved.rows, 0])
    low, high = values_N.min(), values_N.max()
    room = BEYOND * (high - low)
    return to_weights(coder, solved) | {
        "target.middle": torch.tensor(middle, dtype=torch.float64),
        "target.spread": torch.tensor(spread, dtype=torch.float64),
        "target.range": torch.tensor([low - room, high + room], dtype=torch.float64),
        "interval": torch.tensor(table_solver.kept_below(errors_N, COVERAGE) * spread, dtype=torch.float64),
    }


# --- controls ----------------------------------------------------------------------------------------------


def mean(requirement: Requirement, support: Cells, values: FloatArray, rows: Cells, seed: int) -> FloatArray:
    """Return the mean of the known values for every row."""
    return np.full(len(rows), values.mean())


def floor(requirement: Requirement, support: Cells, values: FloatArray, rows: Cells, seed: int) -> FloatArray:
    """Return what the same solver says where the generator has learned nothing: random units and plain ridge."""
    weights = _generated(TableGenerator(), requirement, support, values, seed)
    return FAMILY.predict(requirement, weights, rows).values


def _peer(peer: Peer) -> Callable[[Requirement, Cells, FloatArray, Cells, int], FloatArray]:
    def answer(requirement: Requirement, support: Cells, values: FloatArray, rows: Cells, seed: int) -> FloatArray:
        return table_baselines.values(peer, support, columns.levels(requirement.columns), values, rows, seed)

    return answer
