"""A file of texts checked: which rows are copies, contradict each other or seem mislabelled, and which are worth most.

rows -> vectors, and probabilities by models that had not seen the row -> findings -> the chosen rows
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sartor.data import load as loading
from sartor.data import select, split
from sartor.data.text import short
from sartor.errors import DataError, TaskError
from sartor.families.interface import Condition, IntArray
from sartor.families.text_classification import FAMILY
from sartor.nn.features import Floats, TextFeatures, unit
from sartor.nn.text_base import LAST, POOLED
from sartor.requirement.heuristic import understand
from sartor.types import Columns, Example, Note, Progress, Requirement, Rows, Task, silent

MOST_ROWS = 20_000
FOLDS = 5
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Doubt:
    """A row whose label is doubtful."""

    row: int
    """From 1 on, among the rows with a text (and a label)."""
    label: str
    suggested: str
    given: float
    """Probability of its own label by a model that had not seen it."""
    confidence: float
    """Of the suggested one."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found in a file. Rows are numbered from 1 on, among those that can be used."""

    rows: int
    labels: dict[str, int]
    """Label -> rows; empty where there are none."""
    exact_duplicates: tuple[tuple[int, ...], ...]
    """Groups of rows that are one text."""
    near_duplicates: tuple[tuple[int, ...], ...]
    """Groups of rows that say the same in other words, or nearly the same ones."""
    contradictions: tuple[tuple[int, ...], ...]
    """Groups of one text with several labels."""
    suspects: tuple[Doubt, ...]
    """The most doubtful first."""
    redundant: float
    """Share of rows with another of their label that is close in meaning."""
    useful: int
    """Rows that are no copy, contradict nobody and are not doubtful."""
    selected: tuple[int, ...]
    """The most useful ones, if some were asked for; the best first."""
    coverage: float | None
    """Mean cosine of a row to the nearest selected one; and of one drawn at random:"""
    coverage_random: float | None
    seconds: float
    notes: tuple[Note, ...] = ()


def check(
    path: Path,
    *,
    columns: Columns | None = None,
    select_rows: int | None = None,
    base: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Check, tuple[Example, ...]]:
    """Check the rows of a file; return what was found, and the selected rows.

    Args:
        path: of texts, with labels or without.
        columns: of the file, where they have no usual names.
        select_rows: how many rows are to be chosen.
        base: that reads the texts; by language unless given.
        seed: of folds and draws.
        progress: is told how far it is.

    Raises:
        DataError: when the file cannot be used.
        TaskError: when no such number of rows can be chosen.
    """
    start = time.perf_counter()
    rows, labelled = _read(path, columns or Columns(), progress)
    n = len(rows.examples)
    if select_rows is not None and not 1 <= select_rows <= n:
        raise TaskError(f"--select takes 1 to {n}, the number of rows that can be used; got {select_rows}.")
    if n > MOST_ROWS:
        raise DataError(f"{path.name} has {n:,} rows; at most {MOST_ROWS:,} are compared with each other. Give a part.")
    need = _need(rows, labelled, base)
    found = FAMILY.encode(
        FAMILY.base(need, progress=progress), need, [row.input for row in rows.examples], progress=progress
    )
    names = [label.name for label in need.labels] if labelled else ["text"]
    targets = np.array([names.index(str(row.output)) if labelled else 0 for row in rows.examples], dtype=np.int64)
    vectors = vectors_of(found)
    exact = select.exact_groups([row.input for row in rows.examples])
    against = select.contradictions(exact, [str(row.output) for row in rows.examples]) if labelled else []
    near = select.near_groups(vectors)
    doubts = doubtful(need, found, targets, seed, progress) if labelled else []
    rank = ranked(n, targets, (*exact, *near), against, doubts)
    chosen = select.choose(vectors, targets, select_rows, rank=rank) if select_rows else []
    result = Check(
        rows=n,
        labels={name: int((targets == at).sum()) for at, name in enumerate(names)} if labelled else {},
        exact_duplicates=_numbered(exact),
        near_duplicates=_numbered(group for group in near if group not in exact),
        contradictions=_numbered(against),
        suspects=tuple(
            Doubt(one.row + 1, names[one.label], names[one.suggested], round(one.given, 4), round(one.confidence, 4))
            for one in doubts
        ),
        redundant=select.redundant(vectors, targets),
        useful=int((rank == 0).sum()),
        selected=tuple(row + 1 for row in chosen),
        coverage=select.coverage(vectors, chosen) if chosen else None,
        coverage_random=_random_coverage(vectors, len(chosen), seed) if chosen else None,
        seconds=round(time.perf_counter() - start, 2),
        notes=(*rows.notes, *_notes(rows, labelled, doubts, names)),
    )
    return result, tuple(rows.examples[row] for row in chosen)


def _read(path: Path, columns: Columns, progress: Progress) -> tuple[Rows, bool]:
    """Return the rows of a file, and whether they have labels."""
    try:
        rows = loading.read_rows(path, columns, need_labels=True, progress=progress)
    except DataError:
        if columns.output is not None:
            raise
        return loading.read_rows(path, columns, need_labels=False, progress=progress), False
    return (rows, True) if len({row.output for row in rows.examples}) > 1 else (rows, False)


def _need(rows: Rows, labelled: bool, base: str | None) -> Requirement:
    if labelled:
        labels = dict.fromkeys(sorted({str(row.output) for row in rows.examples}), "")
        task = Task(name="rows", kind=FAMILY.name, labels=labels)
        return understand(task, replace(rows, notes=()), name="rows", base=base).requirement
    # two names that nobody answers by: only the base and the language are looked at
    some = Rows([Example(row.input, ("first", "second")[at % 2]) for at, row in enumerate(rows.examples[:2000])])
    task = Task(name="rows", kind=FAMILY.name, labels={"first": "", "second": ""})
    return understand(task, some, name="rows", base=base).requirement


def vectors_of(found: TextFeatures) -> Floats:
    """Return (N, H) unit vectors of what texts mean: the last layer, beside the anchor's where there is one."""
    blocks = [LAST, *([len(POOLED)] if found.pooled.shape[1] > len(POOLED) else [])]
    centred = np.concatenate([found.pooled[:, block] for block in blocks], axis=1)
    return unit(centred)


def doubtful(
    need: Requirement, found: TextFeatures, targets: IntArray, seed: int, progress: Progress = silent
) -> list[select.Suspect]:
    """Return rows whose label is doubtful by heads that were generated without them; none where there are too few."""
    groups = split.group_by_text(found.texts)
    if len(set(groups.tolist())) < 2 * FOLDS or len(np.unique(targets)) < 2:
        return []
    labels = found.take(np.zeros(len(need.labels), dtype=np.int64))
    # rows alone shall speak: a name that fits badly is no reason to doubt a row
    labels = replace(labels, pooled=np.zeros_like(labels.pooled))
    probabilities = np.zeros((len(targets), len(need.labels)))
    parts = split.folds(groups, targets, FOLDS, seed)
    for at, (train, test) in enumerate(parts):
        progress("cross-validate", at, len(parts))
        weights = FAMILY.generate(need, Condition(labels, found.take(train), targets[train]), seed=seed)
        probabilities[test] = FAMILY.predict(need, weights, found.take(test)).probabilities
    progress("cross-validate", len(parts), len(parts))
    return select.suspects(probabilities, targets)


def ranked(
    n: int,
    targets: IntArray,
    copies: Iterable[Sequence[int]],
    against: Iterable[Sequence[int]],
    doubts: Iterable[select.Suspect],
) -> IntArray:
    """Return (N,) 0 for useful rows, 1 for doubtful labels, 2 for copies, 3 for contradictions."""
    rank = np.zeros(n, dtype=np.int64)
    rank[[one.row for one in doubts]] = 1
    rank[[row for group in copies for row in _repeated(group, targets)]] = 2
    rank[[row for group in against for row in group]] = 3
    return rank


def _repeated(group: Sequence[int], targets: IntArray) -> list[int]:
    """Return the rows of a group that another of the same label comes before."""
    seen: set[int] = set()
    found: list[int] = []
    for row in group:
        label = int(targets[row])
        if label in seen:
            found.append(row)
        seen.add(label)
    return found


def _random_coverage(vectors: Floats, size: int, seed: int) -> float:
    draws = [np.random.default_rng([seed, at]).permutation(len(vectors))[:size] for at in range(5)]
    return float(np.mean([select.coverage(vectors, draw) for draw in draws]))


def _numbered(groups: Iterable[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row + 1 for row in group) for group in groups)


def _notes(rows: Rows, labelled: bool, doubts: Sequence[select.Suspect], names: Sequence[str]) -> list[Note]:
    if not labelled:
        return [Note("labels", "No labels were read: copies and coverage are told, nothing of labels.", "warning")]
    if not doubts:
        return []
    texts = [short(rows.examples[one.row].input) for one in doubts[:_SHOWN]]
    shown = "; ".join(
        f"row {one.row + 1} {text!r}: {names[one.label]!r}, rather {names[one.suggested]!r}"
        for one, text in zip(doubts[:_SHOWN], texts, strict=True)
    )
    return [Note("suspects", f"{len(doubts):,} labels are doubtful ({shown}). Look at them.", "warning", quotes=True)]
