"""Rows of a table as inputs: each a JSON object of its cells, so that they travel as texts do.

    {"age": "31", "city": "Kyoto", "opened": ""}  ->  "yes"

Cells are strings as the user wrote them. Which column is what is told later, from all rows together
(:mod:`sartor.data.columns`).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pandas as pd

from sartor.data.columns import as_frame
from sartor.data.load import fingerprint
from sartor.data.table import INPUT_NAMES, OUTPUT_NAMES, Table, listed, read_table
from sartor.data.text import squeeze
from sartor.errors import DataError, did_you_mean
from sartor.types import Column, Columns, Example, Note, Progress, Rows, silent

Frame: TypeAlias = Any
"""A pandas DataFrame, for modules that check types strictly: pandas brings none of its own."""

_JSON = msgspec.json.Encoder()
_OBJECT = msgspec.json.Decoder(dict[str, Any])


def read_records(path: Path, target: str | None, *, progress: Progress = silent) -> Rows:
    """Read a file of rows; ``target`` names the column to foretell (a usual name unless given).

    Rows whose target is blank are left out and counted.

    Raises:
        DataError: when the file cannot be read, the target cannot be told, or no row has one.
    """
    progress("load", 0, 0)
    return rows_of(read_table(path, Columns(output=target)), target, progress=progress)


def rows_of(table: Table, target: str | None, *, progress: Progress = silent) -> Rows:
    """Return the rows of a file that was read, as :func:`read_records` does.

    Raises:
        DataError: when the target cannot be told, or no row has one.
    """
    at = target_of(table.header, target, table.source)
    rows = of_cells(table.header, table.rows, at)
    progress("load", len(table.rows), len(table.rows))
    kept = [row for row in rows if str(row.output).strip()]
    if not kept:
        raise DataError(
            f"The target column {table.header[at]!r} of {table.source} is empty in all {len(rows):,} rows. "
            "Fill it, or name another column by --target."
        )
    notes = (*table.notes, *_blank(len(rows) - len(kept), table.header[at]))
    return Rows(kept, notes, fingerprint(kept), table.source, table.header[at])


def of_rows(frame: Frame, target: str | None) -> Rows:
    """Return the rows of a table that is in memory; ``target`` names the column to foretell.

    Raises:
        DataError: when it is not there, or blank in every row.
    """
    frame = as_frame(frame)
    header = [str(name) for name in frame.columns]
    at = target_of(header, target, "The table")
    wanted = frame.iloc[:, at]
    inputs = of_frame(frame.drop(columns=frame.columns[at]))
    outputs = ["" if missing else spelled(cell) for cell, missing in zip(wanted, wanted.isna(), strict=True)]
    kept = [Example(text, output) for text, output in zip(inputs, outputs, strict=True) if output.strip()]
    if not kept:
        raise DataError(f"The target column {header[at]!r} of the table is empty in all {len(frame):,} rows. Fill it.")
    return Rows(kept, _blank(len(inputs) - len(kept), header[at]), fingerprint(kept), "", header[at])


def spelled(cell: Any) -> str:
    """Return a target as text: whole numbers without a fraction, as classes are called."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def of_cells(header: Sequence[str], rows: Iterable[Sequence[Any]], target: int | None) -> list[Example]:
    """Return one example for each row of cells; the target's cell is its output."""
    others = [at for at in range(len(header)) if at != target]
    names = [header[at] for at in others]
    return [
        Example(
            _JSON.encode(dict(zip(names, (row[at] for at in others), strict=True))).decode(),
            None if target is None else row[target].strip(),
        )
        for row in rows
    ]


def target_of(header: Sequence[str], asked: str | None, source: str) -> int:
    """Return which column is foretold.

    Raises:
        DataError: when it is not there, or none has a usual name.
    """
    squeezed = [squeeze(name) for name in header]
    if asked is not None:
        alike = [at for at, name in enumerate(squeezed) if name == squeeze(asked)]
        if asked in header or len(alike) == 1:
            return header.index(asked) if asked in header else alike[0]
        near = did_you_mean(asked, header)
        raise DataError(f"{source} has no column {asked!r} to foretell.{near} Its columns are {listed(header)}.")
    for name in OUTPUT_NAMES:
        if squeeze(name) in squeezed:
            return squeezed.index(squeeze(name))
    raise DataError(
        f"{source} has no column with a usual name of a target (target, label, class, …); its columns are "
        f"{listed(header)}. Name the one to foretell by --target."
    )


def frame_of(inputs: Sequence[str], columns: Sequence[Column] = ()) -> pd.DataFrame:
    """Return rows that were given as JSON objects as a table; a column that a row does not have is missing there.

    Where there is no row to tell them, the columns are those given.

    Raises:
        DataError: when one is no JSON object.
    """
    if not inputs:
        return pd.DataFrame(columns=[column.name for column in columns], dtype=object)
    return pd.DataFrame([cells_of(text) for text in inputs], dtype=object)


def cells_of(text: str) -> Mapping[str, Any]:
    """Return the cells of one row.

    Raises:
        DataError: when it is no JSON object.
    """
    try:
        return _OBJECT.decode(text)
    except msgspec.MsgspecError as error:
        raise DataError(
            f'A row of a table is a JSON object of its columns, as \'{{"age": 31, "city": "Kyoto"}}\'; '
            f"got {text[:60]!r}."
        ) from error


def inputs_of(rows: pd.DataFrame | Sequence[Mapping[str, Any]] | Sequence[str]) -> list[str]:
    """Return rows in any form in which they are given to a model as JSON objects.

    Raises:
        DataError: when they are one text, or none of these forms.
    """
    if isinstance(rows, pd.DataFrame):
        return of_frame(rows)
    if isinstance(rows, str | Mapping):
        raise DataError("Give a list of rows, not one row: model.predict([row]).")
    return [row if isinstance(row, str) else of_frame(pd.DataFrame([row], dtype=object))[0] for row in rows]


def of_frame(frame: pd.DataFrame) -> list[str]:
    """Return each row of a table as a JSON object; what is missing is left blank.

    Raises:
        DataError: when two columns have one name.
    """
    frame = as_frame(frame)
    cells = frame.where(frame.notna(), None)
    names = [str(name) for name in frame.columns]
    return [
        _JSON.encode({name: _plain(cell) for name, cell in zip(names, row, strict=True)}).decode()
        for row in cells.itertuples(index=False, name=None)
    ]


def _plain(cell: Any) -> Any:
    """Return a cell as JSON has it."""
    if cell is None or isinstance(cell, str | bool | int | float):
        return cell
    return cell.item() if hasattr(cell, "item") else str(cell)


def looks_like_a_table(table: Table, columns: Columns) -> bool:
    """Whether a file holds a table rather than texts: no column of texts is named, and most are numbers."""
    return columns.input is None and is_table(table)


def is_frame(rows: Any) -> bool:
    """Whether rows are given as a pandas DataFrame."""
    return isinstance(rows, pd.DataFrame)


def frame_of_rows(rows: Iterable[Any]) -> Frame:
    """Return a list of dicts as a table."""
    return pd.DataFrame(list(rows), dtype=object)


def is_table(table: Table) -> bool:
    """Whether three columns or more, none with a usual name of texts, are numbers for the most part."""
    usual = {squeeze(name) for name in INPUT_NAMES}
    if len(table.header) < 3 or any(squeeze(name) in usual for name in table.header):
        return False
    rows = table.rows[:200]
    numbers = sum(_mostly_numbers([row[at] for row in rows]) for at in range(len(table.header)))
    return 2 * numbers >= len(table.header)


def _mostly_numbers(cells: Sequence[str]) -> bool:
    known = [cell for cell in cells if cell.strip()]
    return 2 * sum(_is_number(cell) for cell in known) > len(known) > 0


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", ""))
    except ValueError:
        return False
    return True


def _blank(count: int, target: str) -> tuple[Note, ...]:
    if not count:
        return ()
    rows = "1 row has" if count == 1 else f"{count:,} rows have"
    was = "was" if count == 1 else "were"
    return (Note("dropped", f"{rows} nothing in the target column {target!r} and {was} left out.", "warning"),)
