"""The floor: a linear head solved in closed form on blocks of features, with nothing learned beforehand.

Every block gives a centred kernel of unit trace. A *candidate* is one weighing of the blocks (a profile), one
strength of the label-name prior and one ridge penalty; its leave-one-out scores are known in closed form (Golub,
Heath and Wahba 1979, the identity e_i / (1 - h_i)). Candidates are averaged, not picked: each counts by its prior
times exp(-SHARPNESS * sqrt(n) * excess of its leave-one-out cross-entropy), because with a few dozen rows the best
candidate is mostly luck. The average of linear heads is a linear head, so one matrix is all that is kept.

The prior: similarity of a text to the label names, in the last layer, is what the head starts from; ridge solves
the rest. With no rows at all it is the whole head.

With hundreds of rows a multinomial logistic regression on the averaged blocks is solved too, and inner folds say
which of the two answers. No matrix here holds a row: centred sums over rows are all that leaves this module.

Dimension key:   N: rows   C: labels   J: candidates   H: width of a block
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse as sp
import scipy.special
from numpy.typing import NDArray
from scipy.linalg.blas import ssyrk  # pyright: ignore[reportAttributeAccessIssue]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Block: TypeAlias = Any
"""(N, H) array or ``csr_matrix`` of float32."""

Profiles: TypeAlias = Mapping[str, tuple[float, Mapping[str, float]]]
"""name -> (prior probability, weight of each block)"""

ANCHOR = "anchor"
"""Name of the block that tells of an anchor."""
PROFILES: Profiles = {
    "balanced": (0.5, {"last": 6, "peak": 2, "mid": 4, "low": 1, "characters": 2, "words": 1}),
    "even": (0.15, {"last": 2, "peak": 2, "mid": 2, "low": 2, "characters": 2, "words": 2}),
    "surface": (0.15, {"last": 2, "mid": 2, "characters": 4, "words": 4}),
    "topic": (0.1, {"last": 1}),
    "form": (0.1, {"first": 1, "low": 2, "mid": 2, "words": 1, "characters": 1}),
}
ANCHORED: Profiles = {
    "anchored": (
        0.4,
        {"anchor": 6, "anchor-peak": 2, "last": 2, "mid": 3, "low": 1, "characters": 2, "words": 1},
    ),
    "anchor": (0.1, {"anchor": 3, "anchor-peak": 1}),
    **{name: (belief / 2, mix) for name, (belief, mix) in PROFILES.items()},
}
"""Where the blocks of an anchor stand beside the frozen ones: half of the belief goes to profiles that use them."""
PENALTIES = tuple(np.logspace(-2, 1.5, 8))
PRIOR_STRENGTHS = (0.0, 0.5, 1.0, 2.0)
SHARPNESS = 2.0
_TEMPERATURES = tuple(np.geomspace(1, 64, 7))

EIGEN_ROWS = 1000
"""Up to here all candidates are tried on all rows; above, on a sample of this many."""
DUAL_ROWS = 6000
"""Up to here the last system is N x N, above it is features x features."""
FLAT = 1e-6
"""A block whose rows, of length one, vary less than this holds rounding errors only and is left out."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is to be solved. Blocks hold one row per text, in the same order."""

    blocks: Mapping[str, Block]
    """name -> (N, H) with rows of length one (or zero)."""
    similarity: Floats
    """(N, C) similarity of each row to each label name, each row's mean taken off."""
    targets: Ints
    """(N,) index of the label."""
    n_labels: int
    profiles: Profiles | None = None
    """What is tried; None for :data:`PROFILES`, which are of texts, or :data:`ANCHORED` where there is an anchor."""
    strengths: tuple[float, ...] | None = None
    """Of the label-name prior that are tried; None for :data:`PRIOR_STRENGTHS`, 0 alone where no name is read."""

    @property
    def known(self) -> Profiles:
        """Return the profiles that are tried."""
        if self.profiles is not None:
            return self.profiles
        return ANCHORED if ANCHOR in self.blocks else PROFILES

    def take(self, rows: Ints) -> "Problem":
        """Return the problem with these rows only."""
        blocks = {name: block[rows] for name, block in self.blocks.items()}
        return replace(self, blocks=blocks, similarity=self.similarity[rows], targets=self.targets[rows])


@dataclass(frozen=True, slots=True)
class Solution:
    """A linear head: scores = sum over blocks of block @ weights + prior * similarity + bias."""

    weights: Mapping[str, Floats]
    """block name -> (H, C)."""
    bias: Floats
    """(C,)"""
    prior: float
    out_of_sample: Floats
    """(M, C) scores of rows by a head that had not seen them."""
    rows: Ints
    """(M,) which rows those are."""
    block_weights: Mapping[str, float]
    """Share of each block after averaging; sums to one."""
    penalty: float
    """Geometric mean of the averaged penalties."""
    loss: float
    """Mean squared error of ``out_of_sample`` against one-hot targets."""


def solve(problem: Problem, *, seed: int) -> Solution:
    """Return the averaged ridge head for any number of rows, one included."""
    n = len(problem.targets)
    if n <= EIGEN_ROWS:
        return _solve_all(problem)
    sample = stratified(problem.targets, EIGEN_ROWS, seed)
    chosen = _solve_all(problem.take(sample))
    return _solve_one(problem, chosen, seed)


def stratified(targets: Ints, size: int, seed: int) -> Ints:
    """Return about ``size`` sorted row numbers with every label in its share, and at least two rows of each."""
    random = np.random.default_rng(seed)
    share = size / len(targets)
    chosen = [
        random.permutation(rows)[: max(2, round(share * len(rows)))]
        for label in np.unique(targets)
        if len(rows := np.flatnonzero(targets == label))
    ]
    return np.sort(np.concatenate(chosen))


# --- all candidates on a few rows --------------------------------------------------------------------------


def _solve_all(problem: Problem) -> Solution:
    n = len(problem.targets)
    truth = one_hot(problem.targets, problem.n_labels)
    kernels = {name: _Kernel.of(block) for name, block in problem.blocks.items()}
    profiles = [_Profile.of(problem, kernels, belief, mix) for belief, mix in problem.known.values()]
    strengths = PRIOR_STRENGTHS if problem.strengths is None else problem.strengths
    # candidates stand in a grid: a profile with a penalty in each row, a strength of the prior in each column
    rivals = [(profile, penalty) for profile in profiles for penalty in PENALTIES]
    losses = np.array(
        [
            [tempered_loss(left_out, problem.targets) for left_out, *_ in profile.left_out(penalty, strengths)]
            for profile, penalty in rivals
        ]
    )
    beliefs = np.array([[profile.belief * profile.beliefs[s] for s in strengths] for profile, _ in rivals])
    shares = _shares(losses, beliefs, n)
    shares = np.where(shares < 1e-3, 0, shares) / shares[shares >= 1e-3].sum()

    # the second pass solves again instead of keeping 160 solutions of N x C
    alphas = {name: np.zeros_like(truth) for name in kernels}
    block_weights = dict.fromkeys(kernels, 0.0)
    out_of_sample, bias = np.zeros_like(truth), np.zeros(problem.n_labels)
    for (profile, penalty), row in zip(rivals, shares, strict=True):
        kept = [(share, strength) for share, strength in zip(row, strengths, strict=True) if share > 0]
        solved = profile.left_out(penalty, [strength for _, strength in kept])
        for (share, _), (left_out, alpha, mean) in zip(kept, solved, strict=True):
            out_of_sample += share * left_out
            bias += share * mean
            for name, weight in profile.mix.items():
                alphas[name] += share * weight * alpha
                block_weights[name] += share * weight
    weights: dict[str, Floats] = {}
    for name, alpha in alphas.items():
        weights[name], offset = kernels[name].primal(problem.blocks[name], alpha)
        bias -= offset
    return Solution(
        weights=weights,
        bias=bias,
        prior=float(shares.sum(axis=0) @ np.array(strengths)),
        out_of_sample=out_of_sample,
        rows=np.arange(n),
        block_weights=block_weights,
        penalty=float(np.exp(shares.sum(axis=1) @ np.log([penalty for _, penalty in rivals]))),
        loss=float(np.mean((out_of_sample - truth) ** 2)),
    )


@dataclass(frozen=True, slots=True)
class _Kernel:
    """A centred kernel of unit trace, and what takes its dual weights back to features."""

    matrix: Floats
    scale: float
    mean: Floats

    @classmethod
    def of(cls, block: Block) -> "_Kernel":
        gram = _dense(block @ block.T).astype(np.float64)
        centred = gram - gram.mean(axis=0) - gram.mean(axis=1)[:, None] + gram.mean()
        variance = np.trace(centred) / len(gram)
        scale = 1 / variance if variance > FLAT else 0.0  # one row, or all alike: nothing to tell apart by
        return cls(centred * scale, scale, _dense(block.mean(axis=0)).ravel().astype(np.float64))

    def primal(self, block: Block, alpha: Floats) -> tuple[Floats, Floats]:
        """Return (H, C) weights and the (C,) score they give to the mean row."""
        # alpha's columns sum to zero (the kernel is centred), so no centring of the rows is needed here
        weights = self.scale * _dense(block.T @ alpha.astype(np.float32)).astype(np.float64)
        return weights, self.mean @ weights


@dataclass(frozen=True, slots=True)
class _Profile:
    """One weighing of the blocks, decomposed once for all prior strengths and penalties."""

    problem: Problem
    belief: float
    mix: Mapping[str, float]
    eigenvalues: Floats
    vectors: Floats
    squares: Floats
    """``vectors`` squared."""
    plain: "Residual"
    """What is to be solved without the prior."""
    full: "Residual"
    """And with the prior at strength one; residuals are linear in the strength."""
    rotated: tuple[Floats, Floats]
    """(N, C) ``plain``, and what each unit of strength adds to it, in the coordinates of ``vectors``."""
    beliefs: Mapping[float, float]

    @classmethod
    def of(
        cls, problem: Problem, kernels: Mapping[str, _Kernel], belief: float, mix: Mapping[str, float]
    ) -> "_Profile":
        known = {block: weight for block, weight in mix.items() if block in kernels}
        shares = {block: weight / sum(known.values()) for block, weight in known.items()}
        kernel: Floats = np.sum([weight * kernels[block].matrix for block, weight in shares.items()], axis=0)
        eigenvalues, vectors = np.linalg.eigh(kernel)
        plain, full = Residual.of(problem, 0.0), Residual.of(problem, 1.0)
        everything = np.arange(len(problem.targets))
        start = plain.at(everything)
        rotated = vectors.T @ start, vectors.T @ (full.at(everything) - start)
        beliefs = prior_beliefs(len(problem.targets) / int(plain.seen.sum()))
        return cls(
            problem, belief, shares, np.maximum(eigenvalues, 0), vectors, vectors**2, plain, full, rotated, beliefs
        )

    def left_out(self, penalty: float, strengths: Sequence[float]) -> Iterator[tuple[Floats, Floats, Floats]]:
        """Yield leave-one-out scores (N, C), dual weights (N, C) and means (C,) at each strength of the prior."""
        problem = self.problem
        truth = one_hot(problem.targets, problem.n_labels)
        inverse = 1 / (self.eigenvalues + penalty)
        start, slope = (self.vectors @ (inverse[:, None] * part) for part in self.rotated)
        # (K + penalty) alpha = residual, so what is left unfitted is penalty * alpha
        freedom = penalty * (self.squares @ inverse) - 1 / len(truth)
        for strength in strengths:
            alpha = start + strength * slope
            mean = self.plain.mean + strength * (self.full.mean - self.plain.mean)
            prior = strength * problem.similarity
            yield _leave_one_out(truth, prior, mean, self.plain.seen, penalty * alpha, freedom), alpha, mean


@dataclass(frozen=True, slots=True)
class Residual:
    """What the label-name prior leaves to be solved: targets minus ``strength`` times similarity, centred.

    A label without rows keeps its prior as it is (ridge would only learn to take it back) and the mean of others.
    """

    problem: Problem
    strength: float
    mean: Floats
    """(C,) what was taken off to centre it."""
    seen: NDArray[np.bool_]
    """(C,) labels that have rows."""

    @classmethod
    def of(cls, problem: Problem, strength: float) -> "Residual":
        """Return the residual of all rows of ``problem``."""
        counts = np.bincount(problem.targets, minlength=problem.n_labels)
        seen = counts > 0
        mean = (counts - strength * problem.similarity.sum(axis=0)) / len(problem.targets)
        return cls(problem, strength, np.where(seen, mean, mean[seen].mean()), seen)

    def at(self, rows: Ints) -> Floats:
        """Return (len(rows), C); a part at a time, because N x C is large when both are."""
        truth = one_hot(self.problem.targets[rows], self.problem.n_labels)
        return np.where(self.seen, truth - self.strength * self.problem.similarity[rows] - self.mean, 0.0)


def _leave_one_out(
    truth: Floats, prior: Floats, mean: Floats, seen: NDArray[np.bool_], unfitted: Floats, freedom: Floats
) -> Floats:
    """Return (N, C) scores that each row gets from a head without it: truth - unfitted / (1 - leverage)."""
    # a row that alone carries its score is no reason for infinities
    error = np.clip(unfitted / np.maximum(freedom, 1e-6)[:, None], -10, 10)
    return np.where(seen, truth - error, prior + mean)


def prior_beliefs(rows_per_label: float) -> Mapping[float, float]:
    """Return how far each strength of the label-name prior is believed before any row is weighed."""
    if rows_per_label < 8:
        return {0.0: 0.02, 0.5: 0.08, 1.0: 0.3, 2.0: 0.6}
    if rows_per_label < 32:
        return {0.0: 0.1, 0.5: 0.2, 1.0: 0.4, 2.0: 0.3}
    return {0.0: 0.3, 0.5: 0.3, 1.0: 0.3, 2.0: 0.1}


def _shares(losses: NDArray[np.floating], beliefs: Floats, n: int) -> Floats:
    log_shares = np.log(beliefs) - SHARPNESS * np.sqrt(n) * (losses - losses.min())
    shares = np.exp(log_shares - log_shares.max())
    return shares / shares.sum()


def one_hot(targets: Ints, n_labels: int) -> Floats:
    """Return (N, C) rows of the identity."""
    return np.eye(n_labels)[targets]


def _dense(matrix: Any) -> NDArray[np.float32]:
    return matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)


# --- one candidate on many rows ----------------------------------------------------------------------------

SINGLE_PRECISION = 6e-7
"""Smallest penalty a row: below, rounding in float32 can make the last system indefinite."""


def _solve_one(problem: Problem, chosen: Solution, seed: int) -> Solution:
    """Solve again on all rows, with the weighing of blocks, prior and penalty that a sample chose."""
    design = Design.of(problem, chosen.block_weights)
    residual = Residual.of(problem, chosen.prior)
    rows = stratified(problem.targets, EIGEN_ROWS, seed + 1)
    system = _dual if design.rows <= DUAL_ROWS else _primal
    penalty = max(chosen.penalty, SINGLE_PRECISION * design.rows)
    columns, leverage = system(design, residual, penalty, rows)
    fitted = np.concatenate([part @ columns for _, part in design.chunks(rows)])
    truth = one_hot(problem.targets[rows], problem.n_labels)
    left_out = _leave_one_out(
        truth,
        chosen.prior * problem.similarity[rows],
        residual.mean,
        residual.seen,
        residual.at(rows) - fitted,
        1 - leverage - 1 / design.rows,
    )
    weights, offset = design.split(columns)
    return Solution(
        weights=weights,
        bias=residual.mean - offset,
        prior=chosen.prior,
        out_of_sample=left_out,
        rows=rows,
        block_weights=chosen.block_weights,
        penalty=penalty,
        loss=float(np.mean((left_out - truth) ** 2)),
    )


@dataclass(frozen=True, slots=True)
class Design:
    """All blocks side by side, centred and scaled, handed out in chunks so that it never stands in memory whole."""

    blocks: Mapping[str, Block]
    scales: Mapping[str, float]
    """block -> what its centred rows are multiplied by."""
    means: Mapping[str, NDArray[np.float32]]
    rows: int

    @classmethod
    def of(cls, problem: Problem, block_weights: Mapping[str, float]) -> "Design":
        """Return the design in which each block has unit trace times its weight."""
        blocks = {name: problem.blocks[name] for name, weight in block_weights.items() if weight > 1e-3}
        # in float64: a sum over 100,000 rows of float32 is off in the third digit
        means = {name: np.asarray(block.mean(axis=0, dtype=np.float64)).ravel() for name, block in blocks.items()}
        scales = {}
        for name, block in blocks.items():
            squares = block.multiply(block).sum() if sp.issparse(block) else np.square(block, dtype=np.float64).sum()
            variance = squares / block.shape[0] - float(means[name] @ means[name])
            scales[name] = float(np.sqrt(block_weights[name] / variance)) if variance > FLAT else 0.0
        means = {name: mean.astype(np.float32) for name, mean in means.items()}
        return cls(blocks, scales, means, len(problem.targets))

    @property
    def width(self) -> int:
        """Return the number of columns."""
        return sum(block.shape[1] for block in self.blocks.values())

    def chunks(self, rows: Ints | None = None, size: int = 1024) -> "Iterator[tuple[Ints, NDArray[np.float32]]]":
        """Yield (row numbers, their dense columns)."""
        rows = np.arange(self.rows) if rows is None else rows
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            yield part, self.dense(part)

    def dense(self, rows: Ints) -> NDArray[np.float32]:
        """Return these rows, centred and scaled, as (len(rows), width)."""
        columns = np.empty((len(rows), self.width), dtype=np.float32)
        start = 0
        for name, block in self.blocks.items():
            stop = start + block.shape[1]
            np.subtract(_dense(block[rows]), self.means[name], out=columns[:, start:stop])
            columns[:, start:stop] *= np.float32(self.scales[name])
            start = stop
        return columns

    def split(self, columns: NDArray[np.floating]) -> tuple[Mapping[str, Floats], Floats]:
        """Return weights for the plain blocks, and the (C,) score they give to the mean row."""
        weights: dict[str, Floats] = {}
        offset = np.zeros(columns.shape[1])
        start = 0
        for name, block in self.blocks.items():
            stop = start + block.shape[1]
            weights[name] = self.scales[name] * columns[start:stop].astype(np.float64)
            offset = offset + self.means[name] @ weights[name]
            start = stop
        return weights, offset


def _dual(design: Design, residual: Residual, penalty: float, probes: Ints) -> tuple[NDArray[np.floating], Floats]:
    """Return (width, C) columns and the leverage of the rows ``probes``."""
    n = design.rows
    features = design.dense(np.arange(n))
    kernel = ssyrk(1.0, features.T, trans=1, lower=1)  # the transpose is in BLAS's own order: no copy
    kernel[np.diag_indices(n)] += np.float32(penalty)
    factor = scipy.linalg.cho_factor(kernel, lower=True, overwrite_a=True, check_finite=False)
    alpha = scipy.linalg.cho_solve(factor, residual.at(np.arange(n)).astype(np.float32), check_finite=False)
    unit = np.zeros((n, len(probes)), dtype=np.float32)
    unit[probes, np.arange(len(probes))] = 1
    inverse = scipy.linalg.cho_solve(factor, unit, check_finite=False)
    leverage = 1 - penalty * inverse[probes, np.arange(len(probes))].astype(np.float64)
    return features.T @ alpha, leverage


def _primal(design: Design, residual: Residual, penalty: float, probes: Ints) -> tuple[NDArray[np.floating], Floats]:
    """Return what :func:`_dual` does, from a system whose size does not grow with the rows."""
    width = design.width
    gram = np.zeros((width, width), dtype=np.float32, order="F")
    moment = np.zeros((width, len(residual.mean)), dtype=np.float32)
    for rows, part in design.chunks(size=4096):
        gram = ssyrk(1.0, part.T, beta=1.0, c=gram, lower=1, overwrite_c=1)
        moment += part.T @ residual.at(rows).astype(np.float32)
    gram[np.diag_indices(width)] += np.float32(penalty)
    factor = scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    columns = scipy.linalg.cho_solve(factor, moment, check_finite=False)
    leverage = np.concatenate(
        [
            np.einsum("nh,hn->n", part, scipy.linalg.cho_solve(factor, part.T, check_finite=False))
            for _, part in design.chunks(probes)
        ]
    )
    return columns, leverage.astype(np.float64)


# --- logistic regression -----------------------------------------------------------------------------------

LOGISTIC_ROWS = (300, 10_000)
"""Below, ridge is as good and cheaper (LOG.md, 2026-11-23); above, the features do not fit in memory at once."""
LOGISTIC_LABELS = 200
LOGISTIC_PENALTIES = (0.3, 0.03)
INNER_FOLDS = 5


def solve_logistic(problem: Problem, ridge: Solution, *, seed: int) -> Solution | None:
    """Return a multinomial logistic regression on the blocks as ridge weighed them, its penalty from inner folds.

    None when it would not pay: too few or too many rows, too many labels, or a label with fewer rows than folds.
    """
    rows_per_label = np.bincount(problem.targets, minlength=problem.n_labels)
    n = len(problem.targets)
    too_thin = rows_per_label.min() < INNER_FOLDS or problem.n_labels > LOGISTIC_LABELS
    if not LOGISTIC_ROWS[0] <= n <= LOGISTIC_ROWS[1] or too_thin:
        return None
    sample = np.arange(n) if n <= EIGEN_ROWS else stratified(problem.targets, EIGEN_ROWS, seed)
    coordinates, _ = _coordinates(Design.of(problem, ridge.block_weights), sample)
    targets = problem.targets[sample]
    fold = _stratified_folds(targets, INNER_FOLDS, seed)
    best_loss, best_penalty, best_scores = np.inf, 0.0, np.empty(0)
    for penalty in LOGISTIC_PENALTIES:
        scores = np.empty((len(sample), problem.n_labels))
        for k in range(INNER_FOLDS):
            train, test = fold != k, fold == k
            columns, bias = _fit_logistic(coordinates[train], targets[train], problem.n_labels, penalty)
            scores[test] = coordinates[test] @ columns + bias
        loss = cross_entropy(scores, targets)
        if loss < best_loss:
            best_loss, best_penalty, best_scores = loss, penalty, scores
    columns, bias, design = _logistic_columns(problem, ridge, best_penalty)
    weights, offset = design.split(columns)
    return Solution(
        weights=weights,
        bias=bias - offset,
        prior=0.0,
        out_of_sample=best_scores,
        rows=sample,
        block_weights=ridge.block_weights,
        penalty=best_penalty,
        loss=float(np.mean((_softmax(best_scores) - one_hot(targets, problem.n_labels)) ** 2)),
    )


def _logistic_columns(problem: Problem, ridge: Solution, penalty: float) -> tuple[Floats, Floats, Design]:
    design = Design.of(problem, ridge.block_weights)
    everything = np.arange(design.rows)
    if design.rows <= design.width // 4:
        coordinates, back = _coordinates(design, everything)
        columns, bias = _fit_logistic(coordinates, problem.targets, problem.n_labels, penalty)
        return back(columns), bias, design
    columns, bias = _fit_logistic(design.dense(everything), problem.targets, problem.n_labels, penalty)
    return columns, bias, design


def _coordinates(design: Design, rows: Ints) -> tuple[NDArray[np.float32], Callable[[Floats], Floats]]:
    """Return ``rows`` in at most len(rows) orthogonal coordinates, and what takes columns there back to features.

    An L2-penalised head lies in the span of its rows, so that nothing is lost, and a step costs rows instead of
    width.
    """
    features = design.dense(rows)
    eigenvalues, vectors = np.linalg.eigh((features @ features.T).astype(np.float64))
    kept = eigenvalues > 1e-7 * max(eigenvalues[-1], 1e-12)
    roots, vectors = np.sqrt(eigenvalues[kept]), vectors[:, kept]
    return (vectors * roots).astype(np.float32), lambda columns: features.T @ (vectors / roots @ columns)


def _fit_logistic(features: NDArray[np.float32], targets: Ints, n_labels: int, penalty: float) -> tuple[Floats, Floats]:
    """Return (width, C) columns and (C,) bias, by L-BFGS.

    Minimises mean cross-entropy + penalty / (2 n) * |columns|^2; the bias is not penalised.
    """
    n, width = features.shape
    truth = np.eye(n_labels, dtype=np.float32)[targets]

    def objective(flat: Floats) -> tuple[float, Floats]:
        columns, bias = flat[: width * n_labels].reshape(width, n_labels), flat[width * n_labels :]
        logs = scipy.special.log_softmax(features @ columns.astype(np.float32) + bias.astype(np.float32), axis=1)
        loss = -logs[np.arange(n), targets].mean(dtype=np.float64) + penalty / (2 * n) * float(
            flat[: columns.size] @ flat[: columns.size]
        )
        excess = (np.exp(logs) - truth) / np.float32(n)
        slope = features.T @ excess + penalty / n * columns
        return float(loss), np.concatenate([slope.ravel(), excess.sum(axis=0, dtype=np.float64)])

    # plain scipy: the optimisers of torch cost seconds to import
    found = scipy.optimize.minimize(
        objective,
        np.zeros((width + 1) * n_labels),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 100, "maxcor": 10, "ftol": 1e-6, "gtol": 1e-6},
    )
    return found.x[: width * n_labels].reshape(width, n_labels), found.x[width * n_labels :]


def _stratified_folds(targets: Ints, k: int, seed: int) -> Ints:
    random = np.random.default_rng(seed)
    fold = np.empty(len(targets), dtype=np.int64)
    for label in np.unique(targets):
        rows = random.permutation(np.flatnonzero(targets == label))
        fold[rows] = np.arange(len(rows)) % k
    return fold


# --- calibration -------------------------------------------------------------------------------------------


def _softmax(scores: Floats) -> Floats:
    return scipy.special.softmax(scores, axis=1)


def cross_entropy(scores: Floats, targets: Ints) -> float:
    """Return the mean of -log softmax(scores) at the targets."""
    return float(-scipy.special.log_softmax(scores, axis=1)[np.arange(len(targets)), targets].mean())


def tempered_loss(scores: Floats, targets: Ints) -> float:
    """Return the least cross-entropy that ``scores`` reach at one of a few temperatures."""
    top = scores - scores.max(axis=1, keepdims=True)
    right = top[np.arange(len(targets)), targets]
    return min(float(np.mean(np.log(np.exp(t * top).sum(axis=1)) - t * right)) for t in _TEMPERATURES)


def accuracy(scores: Floats, targets: Ints) -> float:
    """Return the share of rows whose largest score is that of the target."""
    return float((scores.argmax(axis=1) == targets).mean())


def temperature(scores: Floats, targets: Ints, *, guess: float, rows: float = 8.0) -> float:
    """Return t such that softmax(t * scores) is calibrated, from scores of rows their head had not seen.

    Guo et al. 2017 (https://arxiv.org/abs/1706.04599), section 4.2, held towards ``guess`` as if by ``rows`` more
    rows: a handful of left-out rows says little of confidence.
    """

    def objective(log_t: float) -> float:
        fit = cross_entropy(np.exp(log_t) * scores, targets) * len(targets)
        return fit + rows * 0.5 * (log_t - np.log(guess)) ** 2

    found = scipy.optimize.minimize_scalar(objective, bounds=(np.log(guess) - 5, np.log(guess) + 5), method="bounded")
    return float(np.exp(found.x))
