"""A table to a requirement, by rules alone: classes or values, which column is what. Every decision leaves a note."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sartor.assets import catalogue
from sartor.data import clean, columns, records
from sartor.errors import DataError, TaskError
from sartor.families.interface import NO_BASE
from sartor.requirement import language as languages
from sartor.requirement.understood import Understood, described, sample
from sartor.types import Column, Example, Label, Note, Requirement, Rows, Task

CLASSES = "tabular-classification"
VALUES = "tabular-regression"
KINDS = (CLASSES, VALUES)
MOST_CLASSES = 1000
_FEW_VALUES = 10
"""Different whole numbers up to which a target is taken for classes."""
_ENOUGH = 20
"""Rows a model of a table is worth looking at from."""


def understand_table(
    task: Task,
    rows: Rows | None,
    *,
    name: str,
    base: str | None = None,
    merge_labels: bool = False,
    unlabelled: bool = False,
) -> Understood:
    """Work out whether classes or values are foretold, and from which columns.

    Args:
        task: in the user's words.
        rows: as :func:`sartor.data.records.read_records` gives them.
        name: of the model, where the task has none.
        base: that reads free texts, where there are any; chosen for their language unless given.
        merge_labels: make one of classes that differ only in case, width or spaces.
        unlabelled: whether there are rows without a target, which are not read.

    Raises:
        TaskError: when there are no rows: a table cannot be told from its description.
        DataError: when the target does not vary, or is no number where one is asked for.
    """
    if rows is None or not rows.examples:
        raise TaskError(
            "A model of a table is made from rows: give a file with --examples and name the column to foretell with "
            "--target."
        )
    description, cut = described(task)
    examples = tuple(example for example in rows.examples if (example.output or "").strip())
    if merge_labels:
        examples = clean.merge_labels(examples)
    kind, why = _kind(task, [str(example.output) for example in examples])
    target = rows.target or task.target or "target"
    frame = records.frame_of([example.input for example in examples])
    if not len(frame.columns):
        raise DataError(f"There is no column to tell {target!r} from: it is the only one. Give at least one more.")
    found, column_notes = columns.learn(
        frame.assign(**{_TARGET: [example.output for example in examples]}), target=_TARGET
    )
    if all(column.kind == "ignored" for column in found):
        raise DataError(
            f"No column says anything of {target!r}: {_ignored(found)}. Give columns that differ from row to row."
        )
    chosen = _base(found, frame, base)
    labels, unit = (), ""
    if kind == CLASSES:
        labels = _labels([str(example.output) for example in examples], target)
    else:
        unit = values_of(examples, target)[1]
    notes = (
        *rows.notes,
        *cut,
        Note("kind", f"Kind: {kind}, {why}."),
        Note("target", f"Foretold: {target!r}, from {_read(found)} of {len(found)} columns."),
        *column_notes,
        *_texts(found, chosen),
        *_size(len(examples)),
        *([Note("unlabelled", "The unlabelled rows are not read: a table is told from labelled rows.")] * unlabelled),
    )
    requirement = Requirement(
        family=kind,
        name=task.name or name,
        description=description,
        labels=labels,
        language=task.language or "",
        base=chosen,
        max_tokens=0,
        limits=task.limits,
        notes=notes,
        columns=found,
        target=target,
        unit=unit,
    )
    return Understood(requirement, examples)


_TARGET = "\0target"
"""A name that no column of a file has: a file's own columns may be called anything."""


def values_of(examples: Sequence[Example], target: str) -> tuple[NDArray[np.float64], str]:
    """Return (N,) the target of rows as numbers, and their unit.

    Raises:
        DataError: when they are none, or one of them is not.
    """
    cells = [str(example.output) for example in examples]
    found = columns.numbers_of(cells)
    if found is None:
        odd = next((cell for cell in cells if columns.numbers_of([cell]) is None), cells[0])
        raise DataError(
            f"The target {target!r} is to be a number, but {odd!r} is none. Mend the column, or say "
            f"--kind {CLASSES} if its cells are classes."
        )
    values, unit, _ = found
    missing = int(np.count_nonzero(~np.isfinite(values)))
    if missing:
        odd = cells[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise DataError(
            f"The target {target!r} is no finite number in {missing:,} of {len(cells):,} rows, as in {odd!r}. Mend or "
            "remove these rows."
        )
    return values, unit


def _kind(task: Task, outputs: Sequence[str]) -> tuple[str, str]:
    if task.kind in KINDS:
        return task.kind, "as the task says"
    if task.labels:
        return CLASSES, "because the task lists labels"
    found = columns.numbers_of(outputs)
    if found is None:
        return CLASSES, "because the target is made of words"
    known = found[0][np.isfinite(found[0])]  # a few cells may be none: such a target is to be mended, not renamed
    different = len(np.unique(known))
    if different <= _FEW_VALUES and np.equal(known, np.round(known)).all():
        return CLASSES, f"because the target takes only {different} whole values; say --kind {VALUES} for a number"
    return VALUES, f"because the target is a number that takes {different:,} values"


def _labels(outputs: Sequence[str], target: str) -> tuple[Label, ...]:
    counts = Counter(outputs)
    if len(counts) < 2:
        raise DataError(
            f"The target {target!r} is {next(iter(counts))!r} in every row: there is nothing to tell apart. Give rows "
            "of at least two classes."
        )
    if len(counts) > MOST_CLASSES or (len(outputs) >= 50 and len(counts) > 0.5 * len(outputs)):
        raise DataError(
            f"The target {target!r} has {len(counts):,} different values in {len(outputs):,} rows: that looks like a "
            f"text or an id, not a class (at most {MOST_CLASSES:,} are possible, each with several rows). Name "
            "another column with --target."
        )
    return tuple(Label(name, "", n) for name, n in sorted(counts.items()))


def _read(found: Sequence[Column]) -> int:
    return sum(column.kind != "ignored" for column in found)


def _base(found: Sequence[Column], frame: records.Frame, asked: str | None) -> str:
    """Return the base that reads free texts, the frozen one without an anchor; none where there are no texts."""
    texts = [str(cell) for column in found if column.kind == "text" for cell in frame[column.name].dropna()]
    if not texts:
        return NO_BASE
    return asked or catalogue.for_language(languages.detect(sample(texts))[0]).partition("+")[0]


def _ignored(found: Sequence[Column]) -> str:
    first = [f"{column.name!r} ({column.why or 'free text'})" for column in found[:5]]
    return ", ".join(first) + (" …" if len(found) > 5 else "")


def _texts(found: Sequence[Column], base: str) -> Iterator[Note]:
    names = [repr(column.name) for column in found if column.kind == "text"]
    if names:
        are = "is free text, read" if len(names) == 1 else "are free texts, read"
        yield Note("columns", f"{', '.join(names[:5])} {are} by the base {base}.")


def _size(n: int) -> Iterator[Note]:
    if n < _ENOUGH:
        yield Note(
            "rows", f"Only {n} rows: take the model's word with care; {_ENOUGH} or more are worth a look.", "warning"
        )
    else:
        yield Note("rows", f"{n:,} rows.")
