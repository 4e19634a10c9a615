"""From a stored model of a table, and rows, to what the model looks at (:mod:`sartor.evaluate.explain`).

from sartor.explained import explain
explain(sartor.load("parts"), Path("new.csv"), row_number=1).contributions
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sartor.data import columns as columns_of
from sartor.data import records
from sartor.data.load import fingerprint
from sartor.data.table import read_table
from sartor.data.text import squeeze
from sartor.errors import DataError, TaskError, did_you_mean
from sartor.evaluate import explain as explaining
from sartor.evaluate.explain import Explanation, Part, Subject
from sartor.families.interface import FloatArray, IntArray, LabelFamily, NumberFamily
from sartor.model import Model
from sartor.nn.table_coder import Cells
from sartor.requirement import tables
from sartor.types import Columns, Example, Note, Progress, Requirement, Rows, silent

PICTURES = 6
"""Columns whose dependence is worked out where none is named."""
_NAMED = 3
"""Labels that a note names."""


def explain(
    model: Model,
    data: Path | records.Frame | None = None,
    *,
    row: str | Mapping[str, Any] | None = None,
    row_number: int | None = None,
    columns: Sequence[str] = (),
    seed: int = 0,
    progress: Progress = silent,
) -> Explanation:
    """Return what a model of a table looks at.

    A model keeps no row: without ``data`` only the scales can be had. Rows without a target are enough for dependence
    and contributions; what a column is worth takes the target too.

    Args:
        model: that :func:`sartor.load` gave.
        data: a file of rows, or a DataFrame.
        row: whose answer is explained, a dict or a JSON object.
        row_number: the same, a row of ``data``; the first is 1.
        columns: names of those whose dependence is worked out; the six that matter most unless given.
        seed: of samples, shuffles and orders.
        progress: is told how far it is.

    Raises:
        UserError: with a sentence, when the model has no columns, or rows or names do not fit it.
    """
    need, family = model.requirement, model.family
    if family.reads != "tables" or not isinstance(family, LabelFamily | NumberFamily):
        raise TaskError(
            f"{need.name!r} reads {family.reads} ({family.name}): it has no columns to explain. "
            + (
                "What an answer rests on in a picture is shown by sartor predict --heatmaps DIR."
                if family.reads == "pictures"
                else "What it is worth stands in its report: sartor evaluate."
            )
        )
    if row is not None and row_number is not None:
        raise DataError("Name one row: by its cells or by its number, not both.")
    subject = explaining.subject_of(family, need, model.weights)
    asked = [subject.part(name) for name in dict.fromkeys(columns)]
    found = Explanation(
        model=model.id,
        name=need.name,
        target=need.target,
        labels=subject.labels,
        unit=need.unit,
        shares=subject.shares,
        scales=explaining.scales(subject),
    )
    if data is None:
        if asked or row is not None or row_number is not None:
            raise DataError(
                "A model keeps no row, so it cannot say what is usual. What a column or a cell does takes a file of "
                "rows, labelled or not: name it by --data."
            )
        return found
    given = _given(need, data, model.manifest.data.sha256, progress)
    if row_number is not None and not 1 <= row_number <= len(given.inputs):
        raise DataError(f"There is no row {row_number:,}: the rows are numbered from 1 to {len(given.inputs):,}.")
    cells = family.encode(model.base, need, given.inputs, progress=progress)
    middle = explaining.middle(subject, cells, seed=seed)
    found = replace(found, rows=len(cells), middle=middle, notes=given.notes)
    found = _with_importance(found, subject, given, cells, seed, progress)
    found = _with_dependence(found, subject, asked, cells, seed, progress)
    if row is None and row_number is None:
        return found
    one = cells.take(np.array([row_number - 1])) if row_number is not None else _encoded(model, family, row)
    return replace(found, contributions=explaining.contributions(subject, one, cells, seed=seed, progress=progress))


def _encoded(model: Model, family: LabelFamily[Cells] | NumberFamily[Cells], row: Any) -> Cells:
    return family.encode(model.base, model.requirement, model.several([row]))


def _with_importance(
    found: Explanation, subject: Subject, given: "_Given", cells: Cells, seed: int, progress: Progress
) -> Explanation:
    """Add what columns are worth, or why that cannot be told."""
    if given.targets is None:
        return found
    n = len(given.labelled)
    if n < explaining.LEAST_LABELLED:
        rows = "1 row has" if n == 1 else f"{n} rows have"
        text = (
            f"What a column is worth is not told: {rows} a target that the model knows, and it takes "
            f"{explaining.LEAST_LABELLED}."
        )
        return replace(found, notes=(*found.notes, Note("importance", text, "warning")))
    some = cells.take(given.labelled)
    worth = explaining.importance(subject, some, given.targets, seed=seed, progress=progress)
    return replace(found, importance=worth)


def _with_dependence(
    found: Explanation, subject: Subject, asked: Sequence[Part], cells: Cells, seed: int, progress: Progress
) -> Explanation:
    telling = (subject.part(name) for name in explaining.most_telling(found, len(subject.parts)))
    # texts have no order in which they could be drawn
    parts = [part for part in (asked or telling) if part.drawn][: None if asked else PICTURES]
    drawn = list[explaining.Dependence]()
    for at, part in enumerate(parts):
        progress("dependence", at, len(parts))
        drawn.append(explaining.dependence(subject, part, cells, seed=seed))
    progress("dependence", len(parts), len(parts))
    return replace(found, dependence=tuple(drawn))


# --- the rows ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Given:
    """Rows, and what is known of them."""

    inputs: list[str]
    labelled: IntArray
    """Which of them have a target that the model knows."""
    targets: IntArray | FloatArray | None
    """Of these, labels' indices or values; None where there is no such column."""
    notes: tuple[Note, ...]


def _given(need: Requirement, data: Path | records.Frame, made_from: str, progress: Progress) -> _Given:
    rows = _of_frame(need, data) if records.is_frame(data) else _of_file(need, data, progress)
    inputs = [example.input for example in rows.examples]
    _, notes = columns_of.parse(records.frame_of(inputs), need.columns)
    notes = (*rows.notes, *(note for note in notes if note.level == "warning"))
    if not rows.target:
        names = list(json.loads(inputs[0])) if inputs else []
        text = (
            f"There is no column {need.target!r}, the target, so what a column is worth is not told."
            f"{did_you_mean(need.target, names)}"
        )
        return _Given(inputs, np.zeros(0, dtype=np.int64), None, (*notes, Note("importance", text)))
    known = [example for example in rows.examples if (example.output or "").strip()]
    if known and made_from and fingerprint(known) == made_from:
        text = (
            "These are the very rows that the model was made from: here even a column that tells nothing seems worth "
            "something. Give labelled rows that it has not seen."
        )
        notes = (*notes, Note("importance", text, "warning"))
    labelled, targets, said = _targets(need, rows.examples)
    return _Given(inputs, labelled, targets, (*notes, *said))


def _of_file(need: Requirement, path: Path, progress: Progress) -> Rows:
    progress("load", 0, 0)
    table = read_table(path, Columns(output=need.target))
    at = _place(table.header, need.target)
    rows = records.of_cells(table.header, table.rows, at)
    return Rows(rows, table.notes, source=path.name, target="" if at is None else table.header[at])


def _of_frame(need: Requirement, frame: records.Frame) -> Rows:
    names = [str(name) for name in frame.columns]
    at = _place(names, need.target)
    if at is None:
        return Rows([Example(text) for text in records.of_frame(frame)])
    inputs = records.of_frame(frame.drop(columns=frame.columns[at]))
    wanted = frame.iloc[:, at]
    outputs = ["" if none else records.spelled(cell) for cell, none in zip(wanted, wanted.isna(), strict=True)]
    rows = [Example(text, output) for text, output in zip(inputs, outputs, strict=True)]
    return Rows(rows, target=names[at])


def _place(names: Sequence[str], target: str) -> int | None:
    if target in names:
        return names.index(target)
    alike = [at for at, name in enumerate(names) if squeeze(name) == squeeze(target)]
    return alike[0] if len(alike) == 1 else None


def _targets(
    need: Requirement, examples: Sequence[Example]
) -> tuple[IntArray, IntArray | FloatArray, tuple[Note, ...]]:
    """Return which rows have a target that the model knows, what it is, and a note of the others."""
    labelled = [at for at, example in enumerate(examples) if (example.output or "").strip()]
    if not need.labels:
        values = tables.values_of([examples[at] for at in labelled], need.target)[0] if labelled else np.zeros(0)
        return np.array(labelled, dtype=np.int64), values, ()
    position = {label.name: at for at, label in enumerate(need.labels)}
    known = [at for at in labelled if examples[at].output in position]
    targets = np.array([position[str(examples[at].output)] for at in known], dtype=np.int64)
    notes: tuple[Note, ...] = ()
    if len(known) < len(labelled):
        odd = sorted({str(examples[at].output) for at in labelled} - position.keys())
        named = ", ".join(repr(label[:60]) for label in odd[:_NAMED]) + (" …" if len(odd) > _NAMED else "")
        text = f"{len(labelled) - len(known):,} rows have labels that the model does not know ({named}): not counted."
        notes = (Note("labels", text, "warning", quotes=True),)
    return np.array(known, dtype=np.int64), targets, notes
