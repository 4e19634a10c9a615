"""A generated head adapted to new rows: the most likely one, if it lies near the generated one.

Logits are those of the generated head plus a linear part that is held at zero by a ridge penalty, so that without
rows nothing changes (L2-SP: Li et al. 2018, https://arxiv.org/abs/1802.01483, with the generated weights as the start).
The penalty is chosen on inner folds, "change nothing" among its values.

Dimension key:   N: rows   C: labels   H: width of a block   R: coordinates
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import scipy.optimize
import scipy.sparse as sp
import scipy.special
from numpy.typing import NDArray

from sartor.nn.solve import stratified

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, np.inf)
"""On logits, whose prior spread is 1 / sqrt(penalty)."""
SHARES: Mapping[str, float] = {
    **{"anchor": 6, "anchor-peak": 2, "last": 2, "peak": 1, "mid": 3, "low": 1, "first": 0.5},
    **{"characters": 2, "words": 1},
}
"""What each block is worth beside the others, as in the profile ``anchored`` of :mod:`sartor.nn.solve`."""
FOLDS = 5
MOST_ROWS = 3000
_FLAT = 1e-6


@dataclass(frozen=True, slots=True)
class Options:
    """How rows count."""

    balanced: bool = False
    """Every label counts alike, however many rows it has."""
    smoothing: float = 0.0
    """Share of a row's target that is spread over all labels."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Blocks of rows as at most N coordinates, and the way back."""

    coordinates: Floats
    """(N, R)"""
    back: Floats
    """(N, R): dual weights of rows for each coordinate."""
    blocks: Mapping[str, Any]
    means: Mapping[str, Floats]
    scales: Mapping[str, float]

    @classmethod
    def of(cls, blocks: Mapping[str, Any]) -> "Kernel":
        """Take the mean off every block, and weigh them."""
        n = next(iter(blocks.values())).shape[0]
        gram, means, scales = np.zeros((n, n)), dict[str, Floats](), dict[str, float]()
        for name, block in blocks.items():
            part = np.asarray((block @ block.T).todense() if sp.issparse(block) else block @ block.T, dtype=np.float64)
            part = part - part.mean(axis=0) - part.mean(axis=1)[:, None] + part.mean()
            variance = np.trace(part) / n
            scales[name] = SHARES.get(name, 1.0) / variance if variance > _FLAT else 0.0
            means[name] = np.asarray(block.mean(axis=0), dtype=np.float64).ravel()
            gram += scales[name] * part
        total = sum(SHARES.get(name, 1.0) for name, scale in scales.items() if scale) or 1.0
        scales = {name: scale / total for name, scale in scales.items()}
        values, vectors = np.linalg.eigh(gram / total)
        kept = values > 1e-9 * max(values[-1], 1e-12)
        roots = np.sqrt(values[kept])
        return cls(vectors[:, kept] * roots, vectors[:, kept] / roots, blocks, means, scales)

    def primal(self, columns: Floats) -> tuple[dict[str, Floats], Floats]:
        """Return (H, C) weights of each block, and what they give to the mean row."""
        dual = self.back @ columns
        dual -= dual.mean(axis=0)  # blocks are centred
        weights = {
            name: self.scales[name] * np.asarray(block.T @ dual, dtype=np.float64)
            for name, block in self.blocks.items()
        }
        offset = sum((self.means[name] @ part for name, part in weights.items()), start=np.zeros(columns.shape[1]))
        return weights, offset


@dataclass(frozen=True, slots=True)
class Adapted:
    """What is added to the generated head, in logits."""

    weights: Mapping[str, Floats]
    """block -> (H, C)"""
    bias: Floats
    penalty: float
    left_out: Floats
    """(N, C) logits of each row by a head adapted without it."""
    rows: Ints
    """(N,) which rows were learned from."""


def adapt(
    blocks: Mapping[str, Any],
    logits_NC: Floats,
    targets: Ints,
    groups: Ints,
    options: Options,
    *,
    seed: int,
) -> Adapted:
    """Return the most likely change of a head whose ``logits_NC`` are known.

    Args:
        blocks: name -> (N, H) rows.
        logits_NC: of the generated head.
        targets: (N,) index of the right label.
        groups: (N,) rows of one text stay in one fold.
        options: how rows count.
        seed: of folds.
    """
    rows = np.arange(len(targets))
    if len(rows) > MOST_ROWS:
        rows = stratified(targets, MOST_ROWS, seed)
    kernel = Kernel.of({name: block[rows] for name, block in blocks.items()})
    start, wanted = logits_NC[rows], targets[rows]
    everything = np.arange(len(rows))
    left_out = np.array(start)
    for train, test in folds(groups[rows], seed):
        penalty = _choose(kernel, start, wanted, groups[rows], train, options, seed)
        left_out[test] = _moved(kernel, start, wanted, train, test, penalty, options)
    penalty = _choose(kernel, start, wanted, groups[rows], everything, options, seed)
    columns, bias = _fit(kernel.coordinates, start, wanted, penalty, options)
    weights, offset = kernel.primal(columns)
    return Adapted(weights, bias - offset, penalty, left_out, rows)


def folds(groups: Ints, seed: int) -> list[tuple[Ints, Ints]]:
    """Return splits into rows to learn from and rows to judge; one of a group's rows, all of them."""
    order = np.random.default_rng(seed).permutation(np.unique(groups))
    many = min(FOLDS, len(order))
    fold = {int(group): at % many for at, group in enumerate(order)}
    place = np.array([fold[int(group)] for group in groups])
    return [(np.flatnonzero(place != at), np.flatnonzero(place == at)) for at in range(many)] if many > 1 else []


def _choose(
    kernel: Kernel, start: Floats, targets: Ints, groups: Ints, rows: Ints, options: Options, seed: int
) -> float:
    """Return the penalty whose heads foretell rows of inner folds best."""
    inner = folds(groups[rows], seed + 1)
    losses = np.zeros(len(PENALTIES))
    for train, test in inner:
        for at, penalty in enumerate(PENALTIES):
            moved = _moved(kernel, start, targets, rows[train], rows[test], penalty, options)
            losses[at] += cross_entropy(moved, targets[rows[test]], options)
    return PENALTIES[int(losses.argmin())] if inner else PENALTIES[3]


def _moved(
    kernel: Kernel, start: Floats, targets: Ints, train: Ints, test: Ints, penalty: float, options: Options
) -> Floats:
    columns, bias = _fit(kernel.coordinates[train], start[train], targets[train], penalty, options)
    return start[test] + kernel.coordinates[test] @ columns + bias


def _fit(rows_NR: Floats, start: Floats, targets: Ints, penalty: float, options: Options) -> tuple[Floats, Floats]:
    """Return (R, C) columns and (C,) bias by L-BFGS; the bias is held towards zero as by one row of variance one."""
    n, width = rows_NR.shape
    labels = start.shape[1]
    if not np.isfinite(penalty) or not n:
        return np.zeros((width, labels)), np.zeros(labels)
    truth, counted = _truth(targets, labels, options), _weights(targets, options)

    def objective(flat: Floats) -> tuple[float, Floats]:
        columns, bias = flat[: width * labels].reshape(width, labels), flat[width * labels :]
        logs = scipy.special.log_softmax(start + rows_NR @ columns + bias, axis=1)
        loss = -(counted[:, None] * truth * logs).sum() + 0.5 * penalty * (columns**2).sum() + 0.5 * (bias**2).sum()
        excess = counted[:, None] * (np.exp(logs) * truth.sum(axis=1, keepdims=True) - truth)
        slope = rows_NR.T @ excess + penalty * columns
        return float(loss), np.concatenate([slope.ravel(), excess.sum(axis=0) + bias])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = scipy.optimize.minimize(
            objective,
            np.zeros((width + 1) * labels),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 100, "ftol": 1e-8, "gtol": 1e-5},
        )
    return found.x[: width * labels].reshape(width, labels), found.x[width * labels :]


def cross_entropy(logits: Floats, targets: Ints, options: Options) -> float:
    """Return the sum of a loss over rows, counted as ``options`` says; targets are not smoothed."""
    logs = scipy.special.log_softmax(logits, axis=1)
    return float(-(_weights(targets, options) * logs[np.arange(len(targets)), targets]).sum())


def _truth(targets: Ints, labels: int, options: Options) -> Floats:
    return np.eye(labels)[targets] * (1 - options.smoothing) + options.smoothing / labels


def _weights(targets: Sequence[int] | Ints, options: Options) -> Floats:
    return class_weights(np.asarray(targets), options.balanced)


def class_weights(targets: Ints, balanced: bool) -> Floats:
    """Return (N,) how much each row counts; the mean is one.

    >>> class_weights(np.array([0, 0, 0, 1]), True).round(3).tolist()
    [0.667, 0.667, 0.667, 2.0]
    """
    if not balanced or not len(targets):
        return np.ones(len(targets))
    counts = np.bincount(targets)
    present = int((counts > 0).sum())
    return len(targets) / (present * counts[targets])
