"""Which rows teach and which judge: by the text itself, so that neither the order of rows nor copies matter.

Rows with the same normalised text are one group, and a group is never split: a copy in the training part
would give the answer away. Groups are dealt in the order of a hash of their text with the seed.

Dimension key:   N: rows
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sartor.data.text import normalise
from sartor.errors import DataError
from sartor.types import Example

IntArray: TypeAlias = NDArray[np.int64]

_Groups: TypeAlias = dict[int, Counter[int]]
"""Group -> how many of its rows have which target."""


def group_by_text(inputs: Sequence[str]) -> IntArray:
    """Return (N,) the group of each input: a hash of its normalised text, the same in every file."""
    return np.array([_hash(normalise(text)) for text in inputs], dtype=np.int64)


def folds(groups: ArrayLike, targets: ArrayLike, k: int, seed: int) -> list[tuple[IntArray, IntArray]]:
    """Return (train, test) row indices of ``k`` folds (fewer for fewer groups); each row is tested once.

    Args:
        groups: (N,) from :func:`group_by_text`, or :func:`sartor.data.looks.group_by_look`.
        targets: (N,) index of each row's label.
        k: 2 or more.
        seed: another seed gives other folds.

    Every label is spread evenly, and one with two groups or more is in every training part.

    Raises:
        DataError: when there are fewer than two groups.
    """
    assert k >= 2, k
    members = _members(groups, targets)
    if len(members) < 2:
        raise DataError("The rows are all the same; at least two different ones are needed to measure. Add rows.")
    fold_of = _deal(members, min(k, len(members)), seed)
    fold = np.array([fold_of[group] for group in np.asarray(groups).tolist()], dtype=np.int64)
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in np.unique(fold)]


def holdout(groups: ArrayLike, targets: ArrayLike, share: float, max_rows: int, seed: int) -> tuple[IntArray, IntArray]:
    """Return (train, test) row indices, ``share`` of every label's rows but ``max_rows`` in all in test.

    No label loses its last group to the test part; a label with few rows may have none there, and so may all.
    """
    members = _members(groups, targets)
    rows = Counter(np.asarray(targets).tolist())
    share = min(share, max_rows / max(rows.total(), 1))
    quota = {target: int(share * n + 0.5) for target, n in rows.items()}
    left = Counter(target for counts in members.values() for target in counts)
    test: set[int] = set()
    size = 0
    for group in _order(members, seed):
        counts = members[group]
        fits = all(n <= quota[target] and left[target] > 1 for target, n in counts.items())
        if fits and size + counts.total() <= max_rows:
            test.add(group)
            size += counts.total()
            for target, n in counts.items():
                quota[target] -= n
                left[target] -= 1
    tested = np.array([group in test for group in np.asarray(groups).tolist()], dtype=np.bool_)
    return np.flatnonzero(~tested), np.flatnonzero(tested)


def few(examples: Sequence[Example], shots: int, seed: int) -> tuple[Example, ...]:
    """Return ``shots`` rows of different text for each label (all of fewer), in the given order."""
    by_label: dict[str, dict[int, int]] = defaultdict(dict)
    for row, group in enumerate(group_by_text([example.input for example in examples]).tolist()):
        label = examples[row].output
        if label is not None:
            by_label[label].setdefault(group, row)
    chosen = [rows[group] for rows in by_label.values() for group in _order(rows, seed)[:shots]]
    return tuple(examples[row] for row in sorted(chosen))


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _order(groups: Sequence[int] | dict[int, int] | _Groups, seed: int) -> list[int]:
    """Return the groups in an order that depends on them and the seed alone."""
    return sorted(groups, key=lambda group: (_hash(f"{seed} {group}"), group))


def _members(groups: ArrayLike, targets: ArrayLike) -> _Groups:
    members: _Groups = defaultdict(Counter)
    for group, target in zip(np.asarray(groups).tolist(), np.asarray(targets).tolist(), strict=True):
        members[group][target] += 1
    return members


def _deal(members: _Groups, k: int, seed: int) -> dict[int, int]:
    """Return the fold of each group: the rarest labels first, each group to where its labels are scarcest."""
    n_groups = Counter(target for counts in members.values() for target in counts)
    n_rows = Counter[int]()
    for counts in members.values():
        n_rows.update(counts)
    held = [Counter[int]() for _ in range(k)]
    placed = [Counter[int]() for _ in range(k)]
    sizes = [0] * k

    def rank(group: int) -> tuple[int, int, int]:
        rarest = min((n_groups[target], target) for target in members[group])
        return *rarest, -members[group].total()

    def price(fold: int, counts: Counter[int]) -> tuple[int, float, int, int]:
        strands = sum(1 < n_groups[t] == placed[fold][t] + 1 for t in counts)  # all of a label in one fold
        crowd = sum(held[fold][t] / n_rows[t] for t in counts)
        return strands, crowd, sizes[fold], fold

    fold_of: dict[int, int] = {}
    for group in sorted(_order(members, seed), key=rank):
        counts = members[group]
        fold = min(range(k), key=lambda f: price(f, counts))
        fold_of[group] = fold
        held[fold].update(counts)
        placed[fold].update(counts.keys())
        sizes[fold] += counts.total()
    return fold_of
