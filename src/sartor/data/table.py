"""A file -> a table of strings: every format, no opinion yet on which column means what.

Formats go by suffix and are checked against what the file holds. Cells are strings as the user wrote them;
only Excel and Parquet numbers are spelled here (``1.0`` as ``1``).
"""

import csv
import io
import itertools
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

from sartor.data.encoding import decode, looks_like
from sartor.data.text import short, squeeze
from sartor.errors import DataError, did_you_mean
from sartor.types import Columns, Note

INPUT_NAMES = (
    *("text", "input", "sentence", "message", "body", "content", "comment", "review", "utterance", "query"),
    *("prompt", "document", "本文", "テキスト", "文章", "入力", "内容", "メッセージ", "コメント", "文"),
)
"""Usual names of the input column, the surest first."""
OUTPUT_NAMES = (
    *("label", "output", "category", "class", "intent", "target", "tag", "sentiment", "topic"),
    *("ラベル", "分類", "カテゴリ", "カテゴリー", "クラス", "出力", "正解", "意図", "種別"),
)
"""Usual names of the label column, the surest first."""

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_NO_DELIMITER = "\x1f"
"""Stands for "one column": a control character that a text hardly holds."""
_MAX_KEYS = 1000
"""More different keys than this in JSON rows are no columns."""
_LOOK = 20
"""Records looked at to find delimiter and header."""


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows as strings, all as long as the header."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[Note, ...] = ()
    source: str = ""
    """The file's name."""


_Record: TypeAlias = tuple[int, list[str]]
"""Number of the line (or sheet row) where a record begins, and its cells; no cells for a blank line."""
_Quoting: TypeAlias = Literal[0, 3]
"""``csv.QUOTE_MINIMAL`` or ``csv.QUOTE_NONE``."""
_Reader: TypeAlias = Callable[[BinaryIO, str, Columns], Table]


def read_table(path: Path, columns: Columns | None = None) -> Table:
    """Read every row of a file; ``columns`` helps to tell a header from a first row.

    Raises:
        DataError: when the file cannot be read, is no table, or holds no row.
    """
    name = path.name
    try:
        with path.open("rb") as file:
            reader = _READERS.get(path.suffix.lower())
            if reader is None:
                raise _unknown_suffix(path)
            if not file.read(1):
                raise DataError(f"{name} is empty. Give a file with a header and at least one row.")
            file.seek(0)
            table = reader(file, name, columns or Columns())
    except OSError as error:
        raise DataError(_cannot_open(path, error)) from error
    if not table.rows:
        raise DataError(f"{name} has a header ({listed(table.header)}) but no rows. Add at least one row.")
    return table


def listed(names: Sequence[str]) -> str:
    """Return names for a sentence, quoted, cut where there are too many or too long ones."""
    shown = ", ".join(repr(short(name)) for name in names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20:,} more"


def _cannot_open(path: Path, error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return f"There is no file {str(path)!r}.{_neighbour(path)} Check the path."
        case IsADirectoryError():
            return f"{str(path)!r} is a folder, not a file. Name the file of rows inside it."
        case PermissionError():
            return f"There is no permission to read {str(path)!r}. Change the file's permissions, or copy it."
        case _:
            return f"{str(path)!r} cannot be read: {error.strerror or error}."


def _neighbour(path: Path) -> str:
    try:
        return did_you_mean(path.name, (file.name for file in path.parent.iterdir()))
    except OSError:
        return ""


def _unknown_suffix(path: Path) -> DataError:
    suffix = path.suffix.lower()
    got = f"the suffix {suffix!r}" if suffix else "no suffix"
    hint = did_you_mean(suffix, _READERS)
    if suffix in {".xls", ".ods", ".numbers"}:
        hint = " Save it as .xlsx or .csv."
    return DataError(f"{path.name} has {got}, so its format is not known.{hint} Known: {', '.join(_READERS)}.")


# --- header, and rows as long as it ------------------------------------------------------------------------


def _build(records: Iterable[_Record], name: str, columns: Columns, *, unit: str) -> Table:
    """Make a table of records, the first of which may be a header."""
    stream = iter(records)
    first = next(((line, cells) for line, cells in stream if any(cell.strip() for cell in cells)), None)
    if first is None:
        raise DataError(f"{name} is empty: it holds nothing but blank lines. Give it a header and rows.")
    rows, padded = _square(stream, len(first[1]), name, unit)
    header, headless = _header(first[1], rows, name, columns)
    notes: list[Note] = []
    if headless is not None:
        rows.insert(0, tuple(first[1]))
        notes.append(headless)
    if padded:
        text = f"{padded:,} rows of {name} have fewer fields than the header; the rest was taken as empty."
        notes.append(Note("columns", text, "warning"))
    return Table(_checked(header, name), rows, tuple(notes), name)


def _square(records: Iterable[_Record], width: int, name: str, unit: str) -> tuple[list[tuple[str, ...]], int]:
    """Return rows of ``width`` cells, and how many of them were too short."""
    rows: list[tuple[str, ...]] = []
    padded = 0
    for line, cells in records:
        if len(cells) == width:
            rows.append(tuple(cells))
        elif not cells:
            if width == 1:  # among several columns a blank line is no row; in one column it is an empty one
                rows.append(("",))
        elif len(cells) < width:
            rows.append((*cells, *[""] * (width - len(cells))))
            padded += 1
        elif any(cells[width:]):
            raise DataError(
                f"{unit.capitalize()} {line:,} of {name} has {len(cells):,} fields, the header {width:,}. "
                "A text that holds the delimiter or a line end must stand in double quotes."
            )
        else:
            rows.append(tuple(cells[:width]))
    return rows, padded


def _header(
    first: list[str], rows: list[tuple[str, ...]], name: str, columns: Columns
) -> tuple[tuple[str, ...], Note | None]:
    """Return the header, and a warning when the first record is none but a row."""
    header = tuple(cell.strip() for cell in first)
    if _known(header, columns):
        return header, None
    if len(header) == 1:
        text = (
            f"{name} has one column, and its first line {short(header[0])!r} is no column name that we know: "
            "it was read as a text. If it is a header, name it as the input column."
        )
        return ("text",), Note("columns", text, "warning")
    if len(header) == 2 and header[1] and any(row[1].strip() == header[1] for row in rows):
        text = (
            f"{name} has no header: {short(header[1])!r} in its first line is a label of later rows. The "
            "first column was taken as text, the second as label."
        )
        return ("text", "label"), Note("columns", text, "warning")
    return header, None


def _known(header: Iterable[str], columns: Columns) -> bool:
    """Whether one of these names is a usual one or was named by the user."""
    names = {squeeze(known) for known in (*INPUT_NAMES, *OUTPUT_NAMES, columns.input or "", columns.output or "")}
    return any(squeeze(short(cell)) in names - {""} for cell in header)


def _checked(header: Sequence[str], name: str) -> tuple[str, ...]:
    """Return the header with nameless columns named, and no name twice."""
    filled = tuple(cell or f"column {n}" for n, cell in enumerate(header, 1))
    twice = sorted({cell for cell in filled if filled.count(cell) > 1})
    if twice:
        raise DataError(
            f"{name} has more than one column called {listed(twice)}. Its columns are {listed(filled)}. "
            "Rename or remove the extra ones."
        )
    return filled


# --- CSV, TSV, text ----------------------------------------------------------------------------------------


def _read_delimited(file: BinaryIO, name: str, columns: Columns) -> Table:
    text, notes = decode(file.read(), name)
    if name.lower().endswith(".txt") and not _is_table(text, columns):
        lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
        table = _build(((n, [line]) for n, line in enumerate(lines, 1)), name, columns, unit="line")
        note = Note("delimiter", f"{name} was read as one text per line.")
    else:
        delimiter = _delimiter(text, columns)
        try:
            table, said = _parse(text, delimiter, csv.QUOTE_MINIMAL, name, columns), ()
        except _OpenQuote as error:
            if delimiter != "\t":
                raise
            # Tab-separated files are often written without quoting, so that '"' is a mere character.
            table = _parse(text, delimiter, csv.QUOTE_NONE, name, columns)
            said = (Note("delimiter", f"{error.found}; so quotation marks were read as text.", "warning"),)
        what = _DELIMITERS.get(delimiter)
        how = f"{name} is separated by {what}s." if what else f"{name} has one column and no delimiter."
        notes, note = (*notes, *said), Note("delimiter", how)
    return replace(table, notes=(*notes, note, *table.notes))


class _OpenQuote(DataError):
    """A quotation mark is never closed."""

    def __init__(self, name: str, line: int) -> None:
        self.found = f"A quotation mark opened in the row at line {line:,} of {name} is never closed"
        super().__init__(
            f"{self.found}, so that the rest of the file would be one cell. Close it, or double it if it is text."
        )


def _parse(text: str, delimiter: str, quoting: _Quoting, name: str, columns: Columns) -> Table:
    with _any_field_size():
        return _build(_records(text, delimiter, quoting, name), name, columns, unit="line")


def _records(text: str, delimiter: str, quoting: _Quoting, name: str) -> Iterator[_Record]:
    """Yield the records of delimited text, knowing their lines."""
    # decode() leaves no NUL, so this last line can only be ours: if it comes back in company, a quote is open
    end = "\0"
    lines = itertools.chain(io.StringIO(text, newline=""), [end])
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting)
    line = 1
    for record in reader:
        if record and record[-1].endswith(end):
            if record != [end]:
                raise _OpenQuote(name, line)
            return
        yield line, record
        line = reader.line_num + 1


@contextmanager
def _any_field_size() -> Iterator[None]:
    """Lift csv's limit of 128 KiB a cell, which belongs to the whole process, for a while."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _first_records(text: str, delimiter: str) -> list[list[str]]:
    """Return some records from the beginning, without the one that the look cuts off."""
    head = text[: 1 << 16]
    with _any_field_size():
        reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
        records = list(itertools.islice((record for record in reader if record), _LOOK + 1))
    whole = len(head) == len(text) or len(records) > _LOOK
    return records if whole or len(records) == 1 else records[:-1]


def _delimiter(text: str, columns: Columns) -> str:
    """Return the delimiter that gives known names, then rows as wide as the header, then most columns."""

    def merit(delimiter: str) -> tuple[bool, float, int]:
        records = _first_records(text, delimiter)
        width = len(records[0]) if records else 1
        if width < 2:
            return False, 0.0, 1
        alike = sum(len(record) == width for record in records) / len(records)
        return _known(records[0], columns), alike, width

    best = max(_DELIMITERS, key=merit)
    return best if merit(best)[2] > 1 else _NO_DELIMITER


def _is_table(text: str, columns: Columns) -> bool:
    """Whether a .txt file is a table: columns that we know, or tabs, the same number in every line."""
    records = _first_records(text, "\t")
    if records and len(records[0]) > 1 and len({len(record) for record in records}) == 1:
        return True
    first = next((line for line in io.StringIO(text[: 1 << 16]) if line.strip()), "")
    return any(
        len(cells) > 1 and _known(cells, columns)
        for cells in ([cell.strip().strip('"') for cell in first.split(delimiter)] for delimiter in _DELIMITERS)
    )


# --- JSON --------------------------------------------------------------------------------------------------


def _read_json_lines(file: BinaryIO, name: str, columns: Columns) -> Table:
    text, notes = decode(file.read(), name)
    return _json_lines(text, name, notes)


def _json_lines(text: str, name: str, notes: tuple[Note, ...]) -> Table:
    # JSON strings may hold U+2028 and its like as they are: only \n ends a line, unlike in splitlines().
    values = [
        (f"Line {n:,} of {name}", _loads(line, f"Line {n:,} of {name}"))
        for n, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]
    return _from_objects(values, name, notes)


def _read_json(file: BinaryIO, name: str, columns: Columns) -> Table:
    text, notes = decode(file.read(), name)
    try:
        value = _loads(text, name)
    except DataError:
        first = text.lstrip().split("\n", 1)[0]
        if not (first.startswith("{") and first.rstrip().endswith("}")):
            raise
        said = Note("columns", f"{name} holds one object per line (JSON Lines) and was read so.")
        return _json_lines(text, name, (*notes, said))
    if not isinstance(value, list):
        raise DataError(
            f"{name} holds {_kind(value)}, not a list of rows. "
            'Write it as [{"text": "...", "label": "..."}, ...], or as JSON Lines.'
        )
    return _from_objects([(f"Item {n:,} of {name}", item) for n, item in enumerate(value, 1)], name, notes)


def _loads(text: str, where: str) -> Any:
    """Parse JSON with numbers left as they are written, and no key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = sorted({key for key in keys if keys.count(key) > 1})
            raise DataError(f"{where} has the key {listed(twice)} more than once. Keep one of them.")
        return found

    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=lambda _: None, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise DataError(f"{where} is not valid JSON: {error.msg} at {at}. Mend it, or give the rows as CSV.") from error
    except RecursionError as error:
        raise DataError(f"{where} is nested too deeply to be a row. Give flat objects.") from error


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with the keys {listed(list(value))}"
    return "a list" if isinstance(value, list) else f"the single value {short(str(value))!r}"


def _from_objects(values: list[tuple[str, Any]], name: str, notes: tuple[Note, ...]) -> Table:
    """Make a table of objects, whose keys may differ."""
    keys: dict[str, None] = {}
    for where, value in values:
        if not isinstance(value, dict):
            raise DataError(
                f'{where} holds {_kind(value)}, not an object. Write a row as {{"text": "...", "label": "..."}}.'
            )
        keys.update(dict.fromkeys(value))
        if len(keys) > _MAX_KEYS:
            raise DataError(f"{name} has more than {_MAX_KEYS:,} different keys; rows must share their keys.")
    if not keys:
        raise DataError(f'{name} is empty: it holds no row. Write rows as {{"text": "...", "label": "..."}}.')
    mended: list[str] = []
    rows = [tuple(_mend(_json_cell(value.get(key)), mended) for key in keys) for _, value in values]
    header = _checked([key.strip() for key in keys], name)
    return Table(header, rows, (*notes, *_mended_note(mended, name)), name)


def _json_cell(value: Any) -> str:
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _mend(cell: str, mended: list[str]) -> str:
    r"""Return a cell without what escapes as ``\u0000`` and ``\ud800`` can bring in and no file can hold."""
    if not _UNFIT.search(cell):
        return cell
    mended.append(cell)
    return _UNFIT.sub(lambda found: "" if found[0] == "\0" else "\ufffd", cell)


_UNFIT = re.compile("[\0\ud800-\udfff]")


def _mended_note(mended: list[str], name: str) -> tuple[Note, ...]:
    if not mended:
        return ()
    text = f"{len(mended):,} cells of {name} held NUL characters or lone surrogates, which were taken out."
    return (Note("encoding", text, "warning"),)


# --- Parquet, Excel ----------------------------------------------------------------------------------------


def _read_parquet(file: BinaryIO, name: str, columns: Columns) -> Table:
    import pyarrow.parquet  # slow to import, and few files are Parquet

    mended: list[str] = []
    try:
        content = pyarrow.parquet.ParquetFile(file).read(use_threads=False)
        names = [column.strip() for column in content.column_names]
        cells = [[_mend(_cell(value), mended) for value in column.to_pylist()] for column in content.columns]
        rows = list(zip(*cells, strict=True))
    except Exception as error:  # a damaged file makes the reader raise nearly anything
        raise _mismatch(file, name, "a Parquet file") from error
    return Table(_checked(names, name), rows, _mended_note(mended, name), name)


def _read_excel(file: BinaryIO, name: str, columns: Columns) -> Table:
    import openpyxl  # slow to import, and few files are workbooks

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl warns of styles and charts, which hold no rows
        try:
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            sheets = [(sheet.title, records) for sheet in book.worksheets if (records := _sheet_records(sheet))]
        except Exception as error:  # a damaged file makes the reader raise nearly anything
            raise _mismatch(file, name, "an Excel workbook") from error
    if not sheets:
        raise DataError(f"{name} is empty: no sheet of it holds anything. Give it a header and rows.")
    title, records = sheets[0]
    notes: tuple[Note, ...] = ()
    if len(sheets) > 1:
        others = listed([other for other, _ in sheets[1:]])
        text = f"The sheet {title!r} of {name} was read; {others} also hold rows and were not."
        notes = (Note("columns", text, "warning"),)
    width = len(records[0][1])
    even = ((n, cells + [""] * (width - len(cells)) if cells else cells) for n, cells in records)
    table = _build(even, name, columns, unit="row")
    return replace(table, notes=(*notes, *table.notes))


def _sheet_records(sheet: Any) -> list[_Record]:
    """Return the records of a sheet that hold something or lie between such, less empty cells at the end."""
    sheet.reset_dimensions()  # what the file says of its size is often wrong
    records: list[_Record] = []
    for n, values in enumerate(sheet.iter_rows(values_only=True), 1):
        cells = [_cell(value) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        if records or cells:
            records.append((n, cells))
    while records and not records[-1][1]:
        records.pop()
    return records


def _cell(value: Any) -> str:
    """Spell a typed value as a person would."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return "" if value != value else str(int(value)) if value.is_integer() else repr(value)
        case bytes():
            return value.decode("utf-8", "replace")
        case datetime() | date() | time():
            return value.isoformat()
        case dict() | list():
            return json.dumps(value, ensure_ascii=False, default=str)
        case _:
            return str(value)


def _mismatch(file: BinaryIO, name: str, wanted: str) -> DataError:
    file.seek(0)
    found = looks_like(file.read(16))
    damaged = "a damaged one" if found and wanted.split()[1] in found else found or "text, or something else"
    return DataError(f"{name} is not {wanted} that can be read: it looks like {damaged}. Name it by what it holds.")


_READERS: dict[str, _Reader] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".txt": _read_delimited,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".xlsx": _read_excel,
}
