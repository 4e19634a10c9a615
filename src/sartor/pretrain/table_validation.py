"""How a generator of tables does on real ones that nothing is reported of: by this, runs are compared.

Dimension key:   N: rows   C: classes
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartor.data import columns
from sartor.nn import table_coder, table_solver
from sartor.nn.table_coder import Cells
from sartor.nn.table_generator import TableGenerator
from sartor.pretrain.real_tables import RealTable

MOST_ROWS = 1000
"""To generate from, and to answer."""


@dataclass(frozen=True, slots=True)
class Validated:
    """Means over tables."""

    tables: int
    log_loss: float
    """Of classes, nats."""
    r2: float
    """Of values."""
    generated: float
    """The share of the answer that was generated, not from random units or the columns alone."""


def validate(generator: TableGenerator, tables: Iterable[RealTable], *, seed: int = 0, members: int = 8) -> Validated:
    """Return how well half of each table is told by the other half."""
    losses: list[float] = []
    told: list[float] = []
    shares: list[float] = []
    for table in tables:
        known, asked = _halves(len(table.target), seed)
        loss, share = _judged(generator, table, known, asked, seed, members)
        (losses if table.task == "classification" else told).append(loss)
        shares.append(share)
    return Validated(len(shares), float(np.mean(losses)), float(np.mean(told)), float(np.mean(shares)))


def _halves(n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.random.default_rng([seed, n]).permutation(n)
    return order[: n // 2][:MOST_ROWS], order[n // 2 :][:MOST_ROWS]


def _judged(
    generator: TableGenerator,
    table: RealTable,
    known: NDArray[np.int64],
    asked: NDArray[np.int64],
    seed: int,
    members: int,
) -> tuple[float, float]:
    """Return the log-loss or R2 of the rows asked, and how much of the answer was generated."""
    frame = columns.as_frame(table.frame)
    found, _ = columns.learn(frame.iloc[known], categories=table.nominal)
    levels = columns.levels(found)
    read = [columns.parse(frame.iloc[rows], found)[0] for rows in (known, asked)]
    support, rows = (Cells(cells.numbers, cells.codes) for cells in read)
    wanted = table.target[known], table.target[asked]
    if table.task == "regression":
        return _values(generator, support, rows, levels, *wanted, seed, members)
    return _classes(generator, support, rows, levels, *wanted, seed, members)


def _values(
    generator: TableGenerator,
    support: Cells,
    rows: Cells,
    levels: list[int],
    known: NDArray[Any],
    asked: NDArray[Any],
    seed: int,
    members: int,
) -> tuple[float, float]:
    middle, spread = known.astype(np.float64).mean(), known.astype(np.float64).std()
    targets_N1 = ((known.astype(np.float64) - middle) / spread)[:, None]
    coder, coded_ND = table_coder.learn(support, levels, targets_N1)
    solved = table_solver.solve(generator, coded_ND, targets_N1, classes=0, members=members, seed=seed)
    error = middle + spread * solved.net.scores(coder.code(rows))[:, 0] - asked.astype(np.float64)
    r2 = 1 - (error**2).mean() / asked.astype(np.float64).var()
    return float(r2), solved.shares.get("generated", 0.0)


def _classes(
    generator: TableGenerator,
    support: Cells,
    rows: Cells,
    levels: list[int],
    known: NDArray[Any],
    asked: NDArray[Any],
    seed: int,
    members: int,
) -> tuple[float, float]:
    present, codes = np.unique(known, return_inverse=True)
    targets_NC = np.eye(len(present))[codes]
    coder, coded_ND = table_coder.learn(support, levels, targets_NC)
    solved = table_solver.solve(generator, coded_ND, targets_NC, classes=len(present), members=members, seed=seed)
    calibration = table_solver.calibrate(solved.left_out_NC, codes[solved.rows])
    found_NC = calibration.probabilities(solved.net.scores(coder.code(rows)))
    right_N = (found_NC * (asked[:, None] == present)).sum(axis=1)
    return float(-np.log(np.clip(right_N, 1e-6, 1)).mean()), solved.shares.get("generated", 0.0)
