"""Are two samples of one distribution? Tests whose p-values hold for any distribution and any number of rows.

Permutation tests are exact given the pooled rows. They draw until five draws are as far apart as what was seen, so that
what is plainly alike costs a few dozen draws and only what is suspicious costs thousands (Besag and Clifford,
"Sequential Monte Carlo p-values", Biometrika 78, 1991: the p-value stays valid).

Dimension key:   N: rows of both samples   R, M: rows of the reference and of the other   D: dimensions   B: draws
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from sartor.monitor.seen import FloatArray

Draw: TypeAlias = Callable[[int], FloatArray]
"""Number of draws -> (B,) the statistic of each, were both samples of one distribution."""
_ENOUGH = 5
_FIRST = 32
_AT_ONCE = 2048
_PSI_BINS = 10
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Found:
    """How far two samples are apart, and how likely that is by chance."""

    value: float
    p: float
    psi: float | None = None
    """Population stability index, where samples are numbers."""


NOTHING = Found(0.0, 1.0)
"""Where there are no rows to speak of."""


def drawn_p(observed: float, draw: Draw, most: int) -> float:
    """Return the p-value of ``observed`` among draws; large values count as far apart.

    Args:
        observed: the statistic as seen.
        draw: see :data:`Draw`.
        most: draws at most; no p-value is below 1 / (most + 1).
    """
    reached = observed - _ROUNDING * max(1.0, abs(observed))
    drawn = beyond = 0
    size = _FIRST
    while drawn < most:
        size = min(size, most - drawn)
        hits = draw(size) >= reached
        if beyond + int(hits.sum()) >= _ENOUGH:
            last = int(np.flatnonzero(hits)[_ENOUGH - beyond - 1])
            return _ENOUGH / (drawn + last + 1)
        beyond, drawn, size = beyond + int(hits.sum()), drawn + size, min(4 * size, _AT_ONCE)
    return (beyond + 1) / (drawn + 1)


def subsets(rows: int, size: int, draws: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return (B, N) indicators of ``size`` rows drawn at random without replacement."""
    few = min(size, rows - size)  # whichever half is smaller is drawn
    chosen = np.argpartition(rng.random((draws, rows), dtype=np.float32), few, axis=1)[:, :few]
    found = np.full((draws, rows), 0.0 if few == size else 1.0, dtype=np.float32)
    found[np.arange(draws)[:, None], chosen] = 1.0 if few == size else 0.0
    return found


# --- vectors -----------------------------------------------------------------------------------------------


def bandwidth(reference_RD: FloatArray) -> float:
    """Return the median distance between rows, by which a kernel's width is set (Gretton et al. 2012, section 8)."""
    rows = reference_RD[:500]
    distances = np.sqrt(_squares(rows, rows)[np.triu_indices(len(rows), 1)])
    found = float(np.median(distances)) if len(distances) else 0.0
    return found or 1.0


def kernel(a_ND: FloatArray, b_MD: FloatArray, width: float) -> NDArray[np.float32]:
    """Return (N, M) how alike rows are: exp(-|a - b|^2 / (2 width^2))."""
    return np.exp(_squares(a_ND, b_MD) / (-2 * width**2)).astype(np.float32)


def mmd(
    reference_RD: FloatArray,
    current_MD: FloatArray,
    rng: np.random.Generator,
    *,
    width: float,
    most: int,
    own_RR: NDArray[np.float32] | None = None,
) -> Found:
    """Test by the maximum mean discrepancy with a Gaussian kernel; the value is the (biased) squared MMD.

    Gretton et al., "A kernel two-sample test", JMLR 13, 2012; the p-value by permutation.

    Args:
        reference_RD: rows of the reference.
        current_MD: rows of the window.
        rng: of the draws.
        width: of the kernel (:func:`bandwidth`).
        most: draws at most.
        own_RR: the reference's :func:`kernel` with itself, where it is known already.
    """
    m, r = len(current_MD), len(reference_RD)
    across_MR = kernel(current_MD, reference_RD, width)
    own_RR = kernel(reference_RD, reference_RD, width) if own_RR is None else own_RR
    alike_NN = np.block([[kernel(current_MD, current_MD, width), across_MR], [across_MR.T, own_RR]])
    sums = alike_NN.sum(axis=1, dtype=np.float64)
    total = float(sums.sum())

    def statistic(chosen_BN: NDArray[np.float32]) -> FloatArray:
        within = np.einsum("bn,bn->b", chosen_BN @ alike_NN, chosen_BN, dtype=np.float64)
        across = chosen_BN @ sums - within
        return within / m**2 - 2 * across / (m * r) + (total - within - 2 * across) / r**2

    seen = np.zeros((1, m + r), dtype=np.float32)
    seen[0, :m] = 1
    observed = float(statistic(seen)[0])
    p = drawn_p(observed, lambda draws: statistic(subsets(m + r, m, draws, rng)), most)
    return Found(max(0.0, observed), p)


def told_apart(reference_RD: FloatArray, current_MD: FloatArray) -> Found:
    """Test by a domain classifier: can rows be told apart better than by chance? The value is the area under its curve.

    A linear discriminant learns on every other row and ranks the rest (Mann-Whitney, which holds for whatever was
    learned, as those rows had no part in it); then the other way about, and the smaller p-value is doubled. (Lopez-Paz
    and Oquab, "Revisiting classifier two-sample tests", 2017.)
    """
    areas: list[float] = []
    ps: list[float] = []
    for learn in (0, 1):
        direction = _discriminant(reference_RD[learn::2], current_MD[learn::2])
        old, new = reference_RD[1 - learn :: 2] @ direction, current_MD[1 - learn :: 2] @ direction
        test = scipy.stats.mannwhitneyu(new, old, alternative="greater", method="asymptotic")
        areas.append(float(test.statistic) / (len(old) * len(new)))
        ps.append(float(test.pvalue))
    return Found(float(np.mean(areas)), min(1.0, 2 * min(ps)))


def _discriminant(old: FloatArray, new: FloatArray) -> FloatArray:
    centred = np.concatenate([old - old.mean(axis=0), new - new.mean(axis=0)])
    spread = centred.T @ centred / len(centred)
    # with few rows the spread is poorly known; a tenth of its mean keeps it well posed
    ridge = 0.1 * np.trace(spread) / len(spread) + 1e-12
    return np.linalg.solve(spread + ridge * np.eye(len(spread)), new.mean(axis=0) - old.mean(axis=0))


def _squares(a: FloatArray, b: FloatArray) -> FloatArray:
    found = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
    return np.maximum(found, 0.0)


# --- numbers -----------------------------------------------------------------------------------------------


def ks(reference_R: FloatArray, current_M: FloatArray) -> Found:
    """Test by Kolmogorov and Smirnov, both sides; with ties the p-value is too large, never too small.

    The stability index is told beside it; it has no p-value, and alerts nobody.
    """
    if not len(reference_R) or not len(current_M):
        return NOTHING
    both = np.sort(np.concatenate([reference_R, current_M]))
    gaps = np.searchsorted(np.sort(current_M), both, side="right") / len(current_M) - np.searchsorted(
        np.sort(reference_R), both, side="right"
    ) / len(reference_R)
    value = float(np.abs(gaps).max())
    return Found(value, ks_p(value, len(reference_R), len(current_M)), psi(reference_R, current_M))


def ks_p(distance: float, r: int, m: int) -> float:
    """Return the p-value of a distance between samples of ``r`` and ``m`` rows.

    Smirnov's limit with the correction of Stephens (1970), which is on the safe side in the tail: P(D > d) is at most
    2 exp(-2 d^2 r m / (r + m)) (Wei and Dudley 2012, for r and m not too small).
    """
    n = r * m / (r + m)
    return float(min(1.0, 2 * np.exp(-2 * n * distance**2)))


def psi(reference_R: FloatArray, current_M: FloatArray) -> float:
    """Return the population stability index over tenths of the reference; by custom 0.1 is some drift, 0.25 much."""
    if not len(reference_R) or not len(current_M):
        return 0.0
    # by order, not between two values: a gap is minus infinity, and has no middle
    tenths = np.linspace(0, 1, _PSI_BINS + 1)[1:-1]
    edges = np.unique(np.quantile(reference_R, tenths, method="inverted_cdf"))
    old, new = (
        (np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1) + 0.5)
        / (len(values) + 0.5 * (len(edges) + 1))
        for values in (reference_R, current_M)
    )
    return float(((new - old) * np.log(new / old)).sum())


def lower(reference_R: FloatArray, current_M: FloatArray, rng: np.random.Generator, *, most: int) -> Found:
    """Test by permutation whether the current mean is lower; the value is how much it fell."""
    if not len(reference_R) or not len(current_M):
        return NOTHING
    both = np.concatenate([current_M, reference_R])
    m, r, total = len(current_M), len(reference_R), float(both.sum())

    def statistic(sums: FloatArray) -> FloatArray:
        return (total - sums) / r - sums / m

    observed = float(statistic(np.array([current_M.sum()]))[0])
    p = drawn_p(observed, lambda draws: statistic(subsets(m + r, m, draws, rng) @ both), most)
    return Found(observed, p)


def slower(reference_R: FloatArray, current_M: FloatArray, *, least: float) -> Found:
    """Test by Mann and Whitney whether current values are larger; the value is the ratio of the medians.

    Nothing is found below a ratio of ``least``: of many rows, a difference that nobody minds is significant too.
    """
    if not len(reference_R) or not len(current_M):
        return NOTHING
    ratio = float(np.median(current_M) / max(float(np.median(reference_R)), 1e-9))
    if ratio < least:
        return Found(ratio, 1.0)
    test = scipy.stats.mannwhitneyu(current_M, reference_R, alternative="greater", method="asymptotic")
    return Found(ratio, float(test.pvalue))


# --- categories --------------------------------------------------------------------------------------------


def shares(reference_R: NDArray[np.str_], current_M: NDArray[np.str_], rng: np.random.Generator, *, most: int) -> Found:
    """Test shares of categories by the likelihood ratio G, exactly by permutation; the value is half the distance.

    Half the sum of the absolute differences of shares: 0 alike, 1 nothing in common.
    """
    if not len(reference_R) or not len(current_M):
        return NOTHING
    names, codes = np.unique(np.concatenate([current_M, reference_R]), return_inverse=True)
    counts = np.bincount(codes, minlength=len(names))
    new = np.bincount(codes[: len(current_M)], minlength=len(names))
    m, r = len(current_M), len(reference_R)

    def statistic(new_BC: NDArray[np.int64]) -> FloatArray:
        old_BC = counts - new_BC
        return (_xlogx(new_BC) + _xlogx(old_BC)).sum(axis=1)  # G / 2 but for what the margins settle

    def draw(draws: int) -> FloatArray:
        return statistic(rng.multivariate_hypergeometric(counts, m, size=draws, method="marginals"))

    distance = float(np.abs(new / m - (counts - new) / r).sum() / 2)
    return Found(distance, drawn_p(float(statistic(new[None])[0]), draw, most))


def _xlogx(counts: NDArray[np.int64]) -> FloatArray:
    return np.asarray(counts * np.log(np.maximum(counts, 1)), dtype=np.float64)
