"""Which rows are worth having: copies, contradictions, suspects of a wrong label, and the few that stand for all.

Everything here is told from vectors and probabilities that somebody else made; rows are numbers from 0 on.

Dimension key:   N: rows   C: labels   H: width of a vector
"""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sartor.data.text import normalise

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

NEAR = 0.95
"""Cosine from which on two texts say the same."""
REDUNDANT = 0.85
"""Cosine from which on a row adds little to another of its label."""
_CHUNK = 1024
_MOST_CANDIDATES = 4000
"""Of a label, among which is chosen."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row whose label is doubtful."""

    row: int
    label: int
    suggested: int
    """The label that rows like it have."""
    given: float
    """Probability of its own label, by a model that had not seen it."""
    confidence: float
    """Of the suggested one."""


def exact_groups(texts: Sequence[str]) -> list[list[int]]:
    """Return groups of rows that are one text but for case, width and spaces; two rows or more each."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        groups[normalise(text)].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def contradictions(groups: Sequence[Sequence[int]], labels: Sequence[str]) -> list[list[int]]:
    """Return the groups whose rows do not all have one label."""
    return [list(rows) for rows in groups if len({labels[row] for row in rows}) > 1]


def near_groups(vectors_NH: Floats, least: float = NEAR) -> list[list[int]]:
    """Return groups of rows that are linked by a cosine of at least ``least``; two rows or more each."""
    parent = np.arange(len(vectors_NH))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = int(parent[row])
        return row

    for start in range(0, len(vectors_NH), _CHUNK):
        close = vectors_NH[start : start + _CHUNK] @ vectors_NH.T >= least
        for one, other in zip(*np.nonzero(close), strict=True):
            a, b = root(start + int(one)), root(int(other))
            if a != b:
                parent[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = defaultdict(list)
    for row in range(len(vectors_NH)):
        groups[root(row)].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def suspects(probabilities_NC: Floats, targets: Ints) -> list[Suspect]:
    """Return rows whose label is doubtful, the most doubtful first.

    Confident learning (Northcutt, Jiang and Chuang 2021, https://arxiv.org/abs/1911.00068), section 3: a row
    belongs to another label when it is as sure of that as rows of that label are on average, and less sure of its own
    label than its rows are.

    Args:
        probabilities_NC: of each row by a model that had not seen it.
        targets: (N,) index of the label it has.
    """
    n, labels = probabilities_NC.shape
    own_N = probabilities_NC[np.arange(n), targets]
    counts_C = np.bincount(targets, minlength=labels)
    usual_C = np.bincount(targets, weights=own_N, minlength=labels) / np.maximum(counts_C, 1)
    best_N = probabilities_NC.argmax(axis=1)
    sure_N = probabilities_NC[np.arange(n), best_N]
    doubtful_N = (best_N != targets) & (sure_N >= usual_C[best_N]) & (own_N < usual_C[targets]) & (counts_C[best_N] > 0)
    found = [
        Suspect(int(row), int(targets[row]), int(best_N[row]), float(own_N[row]), float(sure_N[row]))
        for row in np.flatnonzero(doubtful_N)
    ]
    return sorted(found, key=lambda one: one.given - one.confidence)


def redundant(vectors_NH: Floats, targets: Ints, least: float = REDUNDANT) -> float:
    """Return the share of rows that have a near one of their own label."""
    if not len(targets):
        return 0.0
    near = 0
    for start in range(0, len(targets), _CHUNK):
        alike = vectors_NH[start : start + _CHUNK] @ vectors_NH.T
        alike[targets[start : start + _CHUNK, None] != targets[None, :]] = -1
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = -1
        near += int((alike.max(axis=1) >= least).sum())
    return near / len(targets)


def coverage(vectors_NH: Floats, chosen: Sequence[int] | Ints) -> float:
    """Return the mean cosine of a row to the nearest chosen one."""
    if not len(chosen) or not len(vectors_NH):
        return 0.0
    some = vectors_NH[np.asarray(chosen)]
    parts = [(vectors_NH[start : start + _CHUNK] @ some.T).max(axis=1) for start in range(0, len(vectors_NH), _CHUNK)]
    return float(np.concatenate(parts).mean())


def quota(counts: Sequence[int], size: int) -> list[int]:
    """Return how many rows of each label are taken of ``size``: in their shares, but at least one each.

    >>> quota([90, 9, 1], 10)
    [8, 1, 1]
    """
    total = sum(counts)
    if size >= total:
        return list(counts)
    found = [min(count, 1) for count in counts]
    while sum(found) < size:
        # the label that is furthest below its share is next
        short = [
            size * count / total - have if have < count else -np.inf for count, have in zip(counts, found, strict=True)
        ]
        found[int(np.argmax(short))] += 1
    while sum(found) > size:  # fewer rows than labels: the rarest go first
        found[min((count, at) for at, count in enumerate(counts) if found[at])[1]] -= 1
    return found


def choose(vectors_NH: Floats, targets: Ints, size: int, *, rank: Ints | None = None) -> list[int]:
    """Return the ``size`` most useful rows, the most useful of each label first by turns.

    Within a label, each next row is the one that brings all rows of the label nearest to a chosen one (facility
    location; its greedy choice is within 1 - 1/e of the best: Nemhauser, Wolsey and Fisher 1978).

    Args:
        vectors_NH: of length one.
        targets: (N,) index of the label.
        size: of the choice.
        rank: (N,) 0 for good rows; others are taken only where no better are left, the higher the later.
    """
    rank = np.zeros(len(targets), dtype=np.int64) if rank is None else rank
    labels = np.unique(targets)
    members = [np.flatnonzero(targets == label) for label in labels]
    wanted = quota([len(rows) for rows in members], size)
    orders = [_ordered(vectors_NH[rows], many, rank[rows]) for rows, many in zip(members, wanted, strict=True)]
    chosen: list[int] = []
    for turn in range(max(wanted, default=0)):
        chosen += [int(rows[order[turn]]) for rows, order in zip(members, orders, strict=True) if turn < len(order)]
    return chosen


def _ordered(vectors: Floats, many: int, rank: Ints) -> list[int]:
    """Return ``many`` rows of one label, each the most useful beside those before it; lower ranks first.

    Gains only shrink, so that a row whose old gain is below the best new one need not be looked at (Minoux 1978).
    """
    order: list[int] = []
    good = np.flatnonzero(rank == 0)
    # what is doubtful need not be covered
    covered = np.zeros(len(good) or len(vectors), dtype=np.float32)
    known = vectors[good] if len(good) else vectors
    for level in np.unique(rank):
        rows = np.flatnonzero(rank == level)[:_MOST_CANDIDATES]
        rows = rows[: max(0, many - len(order))] if level else rows
        if not len(rows):
            continue
        alike = np.maximum(known @ vectors[rows].T, 0).astype(np.float32)
        heap = [(-float(gain), at) for at, gain in enumerate(np.maximum(alike - covered[:, None], 0).sum(axis=0))]
        heapq.heapify(heap)
        while heap and len(order) < many:
            _, at = heapq.heappop(heap)
            gain = float(np.maximum(alike[:, at] - covered, 0).sum())
            if heap and gain < -heap[0][0] - 1e-6:
                heapq.heappush(heap, (-gain, at))
                continue
            order.append(int(rows[at]))
            covered = np.maximum(covered, alike[:, at])
    left = np.setdiff1d(np.arange(len(vectors)), order)
    return [*order, *left[: many - len(order)].tolist()]
