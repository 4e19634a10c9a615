"""Foretells for which rows a larger model would help: right where the small one is wrong, less the other way round.

What is learned is the *gain* of asking (1, 0 or -1), not whether the small model fails: rows that both get wrong cost
money and win nothing. Each block of features (what the small model says of a row, its embedding, its words) has a
linear kernel; their weighted sum is the kernel of a ridge regression (Saunders, Gammerman, Vovk, "Ridge regression
learning algorithm in dual variables", 1998) whose leave-one-out answers are known in closed form, so that weights and
ridge are chosen by rows that were left out, and so that every row's own score can be had without its own outcome.

Dimension key:   N: rows   M: rows asked for   B: blocks   D: width of a block
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from sartor.families.interface import FloatArray

Block: TypeAlias = Any
"""(N, D) features: an array or a sparse matrix, rows in one order in all blocks."""
_RIDGES = tuple(float(ridge) for ridge in np.geomspace(0.1, 1000, 13))
_SHARES = (0.25, 0.5, 0.75, 1.0)
_NO_SPREAD = 1e-6
"""Of a column that is the same in all rows but for rounding."""
_LEAST = 20
"""Rows below which nothing is learned from outcomes."""


@dataclass(frozen=True, slots=True)
class HelpPredictor:
    """Answers with the expected gain of asking the larger model."""

    support: tuple[Block, ...]
    """Centred blocks of the rows it was learned from."""
    centres: tuple[FloatArray, ...]
    spreads: tuple[FloatArray | float, ...]
    """What columns are divided by; 1 where a block is taken as it is."""
    scales: tuple[float, ...]
    """What a block's kernel is multiplied with: one over its mean squared length, times its weight."""
    dual: FloatArray
    """(N,)"""
    mean: float
    """Gain of asking for any row."""
    left_out: FloatArray
    """(N,) expected gain of the rows themselves, each without its own outcome."""

    def predict(self, blocks: Sequence[Block]) -> FloatArray:
        """Return (M,) the expected gain of asking, -1..1."""
        kernel = sum(
            scale * _product(_centred(block, centre, spread), support)
            for block, centre, spread, scale, support in zip(
                blocks, self.centres, self.spreads, self.scales, self.support, strict=True
            )
            if scale
        )
        if isinstance(kernel, int):  # no block tells anything
            return np.full(_rows(blocks[0]), self.mean)
        return np.clip(self.mean + kernel @ self.dual, -1.0, 1.0)


def fit(blocks: Sequence[Block], gain: FloatArray, standardised: Sequence[int] = ()) -> HelpPredictor:
    """Learn from outcomes.

    Args:
        blocks: features of N rows; a sparse one should have rows of like length.
        gain: (N,) 1 where only the larger model was right, -1 where only the small one was, else 0.
        standardised: blocks whose columns are of different kinds, and are put on one scale.
    """
    centres = tuple(_centre(block) for block in blocks)
    spreads = tuple(_spread(block) if at in standardised else 1.0 for at, block in enumerate(blocks))
    centred = [_centred(*parts) for parts in zip(blocks, centres, spreads, strict=True)]
    kernels = [_product(block, block) for block in centred]
    units = [1 / max(float(np.trace(kernel)) / len(gain), 1e-12) for kernel in kernels]
    mean = float(gain.mean())
    if len(gain) < _LEAST or np.ptp(gain) == 0:
        nothing = (0.0,) * len(blocks)
        return HelpPredictor(
            tuple(centred), centres, spreads, nothing, np.zeros(len(gain)), mean, np.full(len(gain), mean)
        )
    kernels = [unit * kernel for unit, kernel in zip(units, kernels, strict=True)]
    weights, ridge = _choose(kernels, gain - mean)
    kernel = _mixed(kernels, weights)
    dual, left_out = _solve(kernel, gain - mean, (ridge,))[0]
    scales = tuple(weight * unit for weight, unit in zip(weights, units, strict=True))
    return HelpPredictor(tuple(centred), centres, spreads, scales, dual, mean, np.clip(mean + left_out, -1.0, 1.0))


def _choose(kernels: Sequence[FloatArray], target: FloatArray) -> tuple[tuple[float, ...], float]:
    """Return block weights and ridge whose left-out answers have the least squared error.

    Blocks are taken up one after the other, each with the share that serves best beside those before.
    """
    weights = (1.0,) + (0.0,) * (len(kernels) - 1)
    best = (*_error(kernels, weights, target), weights)
    for block in range(1, len(kernels)):
        before = best[2]
        for share in _SHARES:
            tried = (*((1 - share) * weight for weight in before[:block]), share, *before[block + 1 :])
            best = min(best, (*_error(kernels, tried, target), tried))
    return best[2], best[1]


def _error(kernels: Sequence[FloatArray], weights: Sequence[float], target: FloatArray) -> tuple[float, float]:
    found = _solve(_mixed(kernels, weights), target, _RIDGES)
    errors = [float(np.square(left_out - target).mean()) for _, left_out in found]
    at = int(np.argmin(errors))
    return errors[at], _RIDGES[at]


def _mixed(kernels: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    return np.sum([weight * kernel for weight, kernel in zip(weights, kernels, strict=True) if weight], axis=0)


def _solve(kernel: FloatArray, target: FloatArray, ridges: Sequence[float]) -> list[tuple[FloatArray, FloatArray]]:
    """Return for each ridge the dual (N,) and the answers to the rows, each left out (N,)."""
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0.0)
    rotated = vectors.T @ target
    found: list[tuple[FloatArray, FloatArray]] = []
    for ridge in ridges:
        inverse = 1 / (values + ridge)
        dual = vectors @ (inverse * rotated)
        # of (K + ridge)^-1, whose diagonal gives the left-out errors: dual / diagonal
        diagonal = np.square(vectors) @ inverse
        found.append((dual, target - dual / diagonal))
    return found


def _centre(block: Block) -> FloatArray:
    return np.asarray(block.mean(axis=0), dtype=np.float64).ravel()


def _spread(block: Block) -> FloatArray:
    spread = np.asarray(block, dtype=np.float64).std(axis=0)
    return np.where(spread > _NO_SPREAD, spread, 1.0)


def _centred(block: Block, centre: FloatArray, spread: FloatArray | float) -> Block:
    """Return a block less its centre; a sparse one stays as it is, for the mean is learned apart."""
    if sp.issparse(block):
        return sp.csr_matrix(block)
    return (np.asarray(block, dtype=np.float64) - centre) / spread


def _product(one: Block, other: Block) -> FloatArray:
    product = one @ other.T
    return np.asarray(product.toarray() if sp.issparse(product) else product, dtype=np.float64)


def _rows(block: Block) -> int:
    return int(block.shape[0])
