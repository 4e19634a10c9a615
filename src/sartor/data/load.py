"""A file -> rows: which column is the input, which the label, and what had to be left out."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sartor.data.table import INPUT_NAMES, OUTPUT_NAMES, Table, listed, read_table
from sartor.data.text import short, squeeze
from sartor.errors import DataError, did_you_mean
from sartor.types import Columns, Example, Note, Progress, Rows, silent

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_STEP = 10_000
"""Rows between two reports of progress."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """All rows of a file in order, empty ones as well: prediction writes one row for each."""

    table: Table
    column: int
    """Index of the input column in the table's header."""
    notes: tuple[Note, ...] = ()

    @property
    def texts(self) -> list[str]:
        """Return the input of every row, "" where there is none."""
        return [row[self.column] for row in self.table.rows]


def read_rows(path: Path, columns: Columns, *, need_labels: bool, progress: Progress = silent) -> Rows:
    """Read rows to learn from: (input, label), or inputs alone when no labels are needed.

    Inputs are verbatim, labels too but for the whitespace around them. Rows without a text (or without a
    label, when labels are needed) are left out and counted in the notes.

    Raises:
        DataError: when the file cannot be read, its columns cannot be told, or nothing is left of it.
    """
    progress("load", 0, 0)
    return rows_of(read_table(path, columns), columns, need_labels=need_labels, progress=progress)


def rows_of(table: Table, columns: Columns, *, need_labels: bool, progress: Progress = silent) -> Rows:
    """Return the rows of a file that was read, as :func:`read_rows` does.

    Raises:
        DataError: when its columns cannot be told, or nothing is left of it.
    """
    column, label_column, found = _roles(table, columns, need_labels=need_labels)
    examples: list[Example] = []
    no_text = no_label = 0
    for n, row in enumerate(table.rows):
        if n % _STEP == 0:
            progress("load", n, len(table.rows))
        output = None if label_column is None else row[label_column].strip()
        if not row[column].strip():
            no_text += 1
        elif output == "":
            no_label += 1
        else:
            examples.append(Example(row[column], output))
    progress("load", len(table.rows), len(table.rows))
    if not examples:
        raise DataError(
            f"None of the {len(table.rows):,} rows of {table.source} can be used: {no_text:,} have no text and "
            f"{no_label:,} no label. Fill the columns, or name others; there are {listed(table.header)}."
        )
    if label_column is not None:
        _refuse_numbers(examples, table.header[label_column], table.source)
    notes = (*table.notes, *found, *_dropped(no_text, "text"), *_dropped(no_label, "label"))
    return Rows(examples, notes, fingerprint(examples), table.source)


def read_inputs(path: Path, columns: Columns, *, progress: Progress = silent) -> Inputs:
    """Read rows to answer for: every one, in order, with all its columns.

    Raises:
        DataError: when the file cannot be read or its input column cannot be told.
    """
    progress("load", 0, 0)
    table = read_table(path, columns)
    column, _, found = _roles(table, columns, need_labels=False)
    progress("load", len(table.rows), len(table.rows))
    return Inputs(table, column, (*table.notes, *found))


def fingerprint(examples: Iterable[Example]) -> str:
    """Return the sha256 (hex) that names these rows: over a JSON line ``["input","output"]`` for each."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps([example.input, example.output], separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


# --- which column is what ----------------------------------------------------------------------------------


def _roles(table: Table, columns: Columns, *, need_labels: bool) -> tuple[int, int | None, tuple[Note, ...]]:
    """Return the index of the input column, that of the label column if one is needed, and why."""
    header = table.header
    asked_output = columns.output if need_labels else None
    input_column = named_column(header, columns.input, table.source)
    output_column = named_column(header, asked_output, table.source)
    if input_column is not None and input_column == output_column:
        raise DataError(
            f"The column {header[input_column]!r} of {table.source} was named both as input and as label. "
            f"Its columns are {listed(header)}; name two of them."
        )
    if input_column is None:
        input_column = usual_column(header, INPUT_NAMES, taken=output_column)
    if output_column is None:
        output_column = usual_column(header, OUTPUT_NAMES, taken=input_column)
    guessed = input_column is None or (need_labels and output_column is None)
    if guessed:
        input_column, output_column = _guess(table, input_column, output_column, need_labels=need_labels)
    assert input_column is not None
    if not need_labels:
        output_column = None
    return input_column, output_column, (_role_note(header, input_column, output_column, guessed=guessed),)


def named_column(header: Sequence[str], asked: str | None, source: str) -> int | None:
    """Return the index of the column that the user named; None when none was named."""
    if asked is None:
        return None
    if asked in header:
        return header.index(asked)
    alike = [n for n, name in enumerate(header) if squeeze(name) == squeeze(asked)]
    if len(alike) == 1:
        return alike[0]
    raise DataError(f"{source} has no column {asked!r}.{did_you_mean(asked, header)} Its columns are {listed(header)}.")


def usual_column(header: Sequence[str], names: Sequence[str], *, taken: int | None) -> int | None:
    """Return the index of the column with the surest of the usual names, if there is one."""
    squeezed = [squeeze(name) if n != taken else "" for n, name in enumerate(header)]
    return next((squeezed.index(squeeze(name)) for name in names if squeeze(name) in squeezed), None)


def _guess(
    table: Table, input_column: int | None, output_column: int | None, *, need_labels: bool
) -> tuple[int, int | None]:
    """Tell the columns of a narrow table by their place: the first is the text, the second the label."""
    header = table.header
    if len(header) == 1 and not need_labels:
        return 0, None
    if len(header) == 2:
        if input_column is None:
            input_column = 0 if output_column is None else 1 - output_column
        label_column = 1 - input_column
        if not need_labels or output_column is not None or _few_distinct(table, label_column):
            return input_column, label_column
        raise DataError(
            f"{table.source} has no label column: nearly every value of {header[label_column]!r} is another. "
            "Name the label column, or add one called 'label'."
        )
    missing = "text" if input_column is None else "label"
    known = ", ".join(INPUT_NAMES[:5] if missing == "text" else OUTPUT_NAMES[:5])
    raise DataError(
        f"{table.source} has no {missing} column that we know ({known}, ...); its columns are "
        f"{listed(header)}. Name the {missing} column, or rename it to {missing!r}.{_maybe_a_table(need_labels)}"
    )


def _maybe_a_table(learnt_from: bool) -> str:
    return " If the rows are a table, name the column to foretell from the others with --target." if learnt_from else ""


def _few_distinct(table: Table, column: int) -> bool:
    values = [row[column].strip() for row in table.rows]
    return len(set(values) - {""}) <= max(2, len(values) // 2)


def _role_note(header: Sequence[str], input_column: int, output_column: int | None, *, guessed: bool) -> Note:
    text = f"The text is in column {short(header[input_column])!r}"
    if output_column is not None:
        text += f", the label in {short(header[output_column])!r}"
    if guessed:
        return Note("columns", f"{text}: told by their place, since no usual name was found.", "warning")
    others = [name for n, name in enumerate(header) if n not in (input_column, output_column)]
    return Note("columns", f"{text}; not used: {listed(others)}." if others else f"{text}.")


# --- rows --------------------------------------------------------------------------------------------------


def _dropped(count: int, what: str) -> tuple[Note, ...]:
    if not count:
        return ()
    have = "row has" if count == 1 else "rows have"
    return (
        Note(
            "dropped",
            f"{count:,} {have} no {what} and {'was' if count == 1 else 'were'} left out.",
            "warning",
        ),
    )


def _refuse_numbers(examples: Sequence[Example], column: str, source: str) -> None:
    """Refuse labels that are measurements: all of them numbers, and not all of them whole."""
    labels = {example.output or "" for example in examples}
    if not all(_NUMBER.fullmatch(label) for label in labels):
        return
    fraction = next((label for label in sorted(labels) if not float(label).is_integer()), None)
    if fraction is not None:
        raise DataError(
            f"The column {column!r} of {source} looks like a number to predict, not a label (as {fraction!r}): "
            "regression is of tables, not of texts. Give labels, as 'low' and 'high' for ranges; or say --target, if "
            "the number is to be foretold from the other columns of a table."
        )
