"""A folder or a file that names pictures -> rows: the class is the folder's name, and every picture has been unpacked.

    photos/good/1.jpg, photos/bad/monday/7.png, …  ->  Example("/…/photos/good/1.jpg", "good"), …

What is told of a picture names it as the user does: by its path within the folder.
"""

import hashlib
import json
import os
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from sartor.data.load import named_column, usual_column
from sartor.data.picture_folders import Found, check_classes, list_folder, no_picture, notes_of, notes_of_files, were
from sartor.data.pictures import DATA_URI, SUFFIXES, PictureError, look, payload, shown
from sartor.data.table import OUTPUT_NAMES, Table, listed, read_table
from sartor.data.text import short, squeeze
from sartor.errors import DataError
from sartor.types import Columns, Example, Note, Progress, Rows, silent

PICTURE_NAMES = (
    *("image", "picture", "photo", "img", "image_path", "file_name", "filename", "file", "path", "filepath"),
    *("画像", "写真", "画像ファイル", "ファイル", "ファイル名", "パス"),
)
"""Usual names of a column of pictures, the surest first."""
_SHOWN = 3
_WORKERS = min(4, os.cpu_count() or 1)
_AHEAD = 8 * _WORKERS
"""Pictures that are asked for before the first answer is taken: all of them at once would fill the memory."""
_LOOKED_AT = 200
"""Rows by which a column of pictures is told."""


# --- to learn from -----------------------------------------------------------------------------------------


def read_pictures(path: Path, columns: Columns, *, progress: Progress = silent) -> Rows:
    """Read pictures to learn from: a folder with a folder for each class, or a flat one (rows without labels then), or
    a file with a column of paths and one of labels.

    Every picture is unpacked. Those that cannot be, copies, and pictures that stand under two classes are left out and
    told. The hash is that of contents and labels, whatever their names and order.

    Raises:
        DataError: when there is no picture that can be used, or there are too many classes.
    """
    progress("load", 0, 0)
    if not os.path.isdir(path):
        if path.suffix.lower() in SUFFIXES:
            raise DataError(
                f"{str(path)!r} is one picture. Give the folder that holds a folder of pictures for each class."
            )
        return rows_of(read_table(path, columns), path, columns, progress=progress)
    found = list_folder(path, progress=progress)
    if not found.pictures:
        raise no_picture(found)
    check_classes(found)
    labelled = [one for one in found.pictures if one.label is not None]
    rows = _rows(labelled or found.pictures, str(path), progress)
    notes = notes_of(found, {row.output for row in rows.examples if row.output is not None})
    return replace(rows, notes=(*rows.notes, *notes), source=found.root.name)


def rows_of(table: Table, path: Path, columns: Columns, *, progress: Progress = silent) -> Rows:
    """Return the rows of a file that was read and lies at ``path``, as :func:`read_pictures` does.

    Paths in it are relative to its folder; one that leads out of that folder is left out.

    Raises:
        DataError: when its columns cannot be told, or no picture can be used.
    """
    table, found = _named_in(table, path, columns)
    at = _label_column(table, columns)
    outputs = [None if at is None else row[at].strip() for row in table.rows]
    known = [one._replace(label=label) for one, label in zip(found, outputs, strict=True) if label != "" and one.path]
    no_path, no_label = sum(not one.path for one in found), sum(label == "" for label in outputs)
    if not known:
        raise DataError(
            f"None of the {len(found):,} rows of {table.source} can be used: {no_path:,} name no picture and "
            f"{no_label:,} have no label. Its columns are {listed(table.header)}."
        )
    rows = _rows(known, table.source, progress)
    notes = (*table.notes, _roles(table, _picture_column(table, columns), at), *rows.notes)
    left_out = (*_blank(no_path, "names no picture", "name no picture"), *_blank(no_label, "has no label", "have none"))
    return replace(rows, notes=(*notes, *left_out), source=table.source)


def of_pairs(pairs: Iterable[Any], *, progress: Progress = silent) -> Rows:
    """Return rows that are given in Python: pairs of path and label, or dicts with ``image`` and ``label``.

    Raises:
        DataError: when one is neither, or no picture can be used.
    """
    found = [_pair(row) for row in pairs]
    if not found:
        raise DataError("There is no picture. Give pairs of a path and a label.")
    return _rows(found, "the list", progress)


def is_of_pictures(path: Path) -> bool:
    """Whether a path is a folder, or a picture, rather than a file of rows."""
    return os.path.isdir(path) or path.suffix.lower() in SUFFIXES


def are_pictures(rows: Sequence[Any]) -> bool:
    """Whether rows that are given in Python are pairs of a picture's file and a label, not of a text and a label."""
    return len(rows) > 0 and all(isinstance(row, tuple) and len(row) == 2 and _is_picture(row[0]) for row in rows)


def _is_picture(source: object) -> bool:
    if isinstance(source, str):
        return os.path.splitext(source)[1].lower() in SUFFIXES and os.path.isfile(source)
    return isinstance(source, os.PathLike)


def looks_like_pictures(table: Table, columns: Columns) -> bool:
    """Whether a file names pictures: one of its columns holds hardly anything but their names."""
    named = named_column(table.header, columns.input, table.source) if columns.input in table.header else None
    places = range(len(table.header)) if named is None else (named,)
    return any(_names_pictures(table, at) for at in places)


# --- to answer for -----------------------------------------------------------------------------------------


def read_names(path: Path, columns: Columns, *, progress: Progress = silent) -> tuple[list[Found], tuple[Note, ...]]:
    """Return the pictures to answer for, none opened: all of a folder, or one for each row of a file, in its order.

    Raises:
        DataError: when there is none.
    """
    if os.path.isdir(path):
        found = list_folder(path, progress=progress)
        if not found.pictures:
            raise no_picture(found)
        return found.pictures, notes_of_files(found)
    if path.suffix.lower() in SUFFIXES:
        return read_arguments([str(path)], progress=progress)
    table, named = _named_in(read_table(path, columns), path, columns)
    return named, table.notes


def read_arguments(arguments: Sequence[str], *, progress: Progress = silent) -> tuple[list[Found], tuple[Note, ...]]:
    """Return the pictures that are named one by one, none opened; a folder among them stands for all in it.

    Pictures of a folder are known by their paths within it; where it is not the only argument, it goes before them.

    Raises:
        DataError: when a folder has none.
    """
    pictures: list[Found] = []
    notes: tuple[Note, ...] = ()
    for argument in arguments:
        if os.path.isdir(argument):
            inside, told = read_names(Path(argument), Columns(), progress=progress)
            if len(arguments) > 1:
                inside = [one._replace(name=os.path.join(shown(argument), one.name)) for one in inside]
            pictures, notes = [*pictures, *inside], (*notes, *told)
        else:
            name = short(argument) if argument.startswith(DATA_URI) else shown(argument)
            pictures.append(Found(as_source(argument), name))
    return pictures, notes


def problems(found: Sequence[Found]) -> list[str]:
    """Return for each picture a sentence that says why it cannot be used, "" where it can."""
    return [_sentence(one, told) if isinstance(told, PictureError) else "" for one, told in _checked(found, silent)]


def _sentence(one: Found, told: PictureError) -> str:
    return f"The picture {one.name!r} {told.why}." if one.path else "This row names no picture."


def as_source(picture: Any) -> str:
    """Return a picture that was given in Python as a family reads it: an absolute path, or a data URI.

    Raises:
        DataError: when it is no path.
    """
    if not isinstance(picture, str | os.PathLike):
        raise DataError(f"A picture is given by its path, or as a data URI; got {type(picture).__name__}.")
    path = os.fsdecode(picture)
    return path if path.startswith(DATA_URI) else os.path.abspath(path)


# --- files -------------------------------------------------------------------------------------------------


def _named_in(table: Table, path: Path, columns: Columns) -> tuple[Table, list[Found]]:
    """Return the pictures that a file's rows name, and the file with its header mended where it was taken for a row."""
    if table.header == ("text",) and squeeze(table.rows[0][0]) in {squeeze(name) for name in PICTURE_NAMES}:
        table = replace(table, header=(table.rows[0][0].strip(),), rows=table.rows[1:])
    if len(table.header) == 1:  # what a reader of texts says of a single column is not meant for pictures
        table = replace(table, notes=tuple(note for note in table.notes if note.topic not in ("columns", "delimiter")))
    if not table.rows:
        raise DataError(f"{table.source} has a header but no rows. Add at least one row.")
    at, folder = _picture_column(table, columns), Path(os.path.realpath(path)).parent
    return table, [_cell(row[at].strip(), folder) for row in table.rows]


def _cell(cell: str, folder: Path) -> Found:
    if not cell:
        return Found("", "", why_not="is not named")
    if cell.startswith(DATA_URI):
        return Found(cell, short(cell))
    path = folder / cell
    if "\\" in cell and not os.path.lexists(path):  # as Windows writes it
        path = folder / cell.replace("\\", "/")
    try:
        inside = Path(os.path.realpath(path)).is_relative_to(folder)
    except ValueError:  # a NUL: opening it will say so
        inside = True
    return Found(os.path.abspath(path), cell, why_not="" if inside else "lies outside of the file's folder")


def _picture_column(table: Table, columns: Columns) -> int:
    named = named_column(table.header, columns.input, table.source)
    if named is not None:
        return named
    usual = usual_column(table.header, PICTURE_NAMES, taken=None)
    telling = next((at for at in range(len(table.header)) if _names_pictures(table, at)), None)
    found = telling if usual is None else usual
    if found is None and len(table.header) == 1:
        return 0
    if found is None:
        raise DataError(
            f"{table.source} has no column of pictures that we know ({', '.join(PICTURE_NAMES[:5])}, …), and none "
            f"holds names of picture files; its columns are {listed(table.header)}. Name it with --text-column."
        )
    return found


def _names_pictures(table: Table, at: int) -> bool:
    """Whether most cells of a column are names of pictures."""
    cells = [row[at].strip() for row in table.rows[:_LOOKED_AT] if row[at].strip()]
    suffixes = (os.path.splitext(cell)[1].lower() for cell in cells if "\n" not in cell)
    named = sum(suffix in SUFFIXES for suffix in suffixes) + sum(cell.startswith("data:image/") for cell in cells)
    return len(cells) > 0 and 5 * named >= 4 * len(cells)


def _label_column(table: Table, columns: Columns) -> int | None:
    named = named_column(table.header, columns.output, table.source)
    if named is not None:
        return named
    taken = _picture_column(table, columns)
    usual = usual_column(table.header, OUTPUT_NAMES, taken=taken)
    return 1 - taken if usual is None and len(table.header) == 2 else usual


def _roles(table: Table, picture: int, label: int | None) -> Note:
    text = f"The pictures are in column {short(table.header[picture])!r}"
    if label is not None:
        text += f", the label in {short(table.header[label])!r}"
    others = [name for at, name in enumerate(table.header) if at not in (picture, label)]
    return Note("columns", f"{text}; not used: {listed(others)}." if others else f"{text}.")


def _blank(count: int, one: str, many: str) -> Iterator[Note]:
    if count:
        rows = f"1 row {one}" if count == 1 else f"{count:,} rows {many}"
        yield Note("dropped", f"{rows} and {were(count)} left out.", "warning")


def _pair(row: Any) -> Found:
    match row:
        case Example():
            picture, label = row.input, row.output
        case Mapping():
            picture = next((row[key] for key in ("image", "input", "path", "file") if key in row), None)
            label = row.get("label", row.get("output"))
        case (picture, label):
            pass
        case _:
            picture = label = None
    if not isinstance(picture, str | os.PathLike) or not (label is None or isinstance(label, str)):
        raise DataError(f"An example is the path of a picture and a label; got {row!r:.120}.")
    return Found(as_source(picture), shown(os.fsdecode(picture)), label)


# --- unpacking, copies -------------------------------------------------------------------------------------


def _rows(found: Sequence[Found], source: str, progress: Progress) -> Rows:
    """Return those that can be used, with notes on the others."""
    sound: list[tuple[Found, str]] = []
    bad: list[str] = []
    for one, told in _checked(found, progress):
        if isinstance(told, PictureError):
            bad.append(f"{short(one.name)!r} {told.why}")
        else:
            sound.append((one, told))
    if not sound:
        more = f"; and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
        what = "The only picture" if len(bad) == 1 else f"None of the {len(bad):,} pictures"
        can = "cannot" if len(bad) == 1 else "can"
        raise DataError(f"{what} of {source} {can} be used: {'; '.join(bad[:_SHOWN])}{more}.")
    kept, notes = _single(sound)
    if not kept:
        raise DataError(f"No picture of {source} can be used: each stands under two classes. Decide on one.")
    examples = tuple(Example(one.path, one.label) for one, _ in kept)
    return Rows(examples, (*_bad(bad), *notes), _fingerprint(kept), pictures=True)


def _checked(found: Sequence[Found], progress: Progress) -> Iterator[tuple[Found, str | PictureError]]:
    """Yield each picture with the hash of its file, or why it cannot be used, in order; a few threads unpack them."""
    progress("load", 0, len(found))
    pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="pictures")
    ahead: deque[tuple[Found, Future[str | PictureError]]] = deque()
    todo, done = iter(found), 0
    try:
        ahead.extend((one, pool.submit(_check, one)) for one in islice(todo, _AHEAD))
        while ahead:
            one, future = ahead.popleft()
            yield one, future.result()
            done += 1
            progress("load", done, len(found))
            ahead.extend((one, pool.submit(_check, one)) for one in islice(todo, 1))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # an interrupt waits for the few that are being unpacked


def _check(one: Found) -> str | PictureError:
    if one.why_not:
        return PictureError(one.path, one.why_not)
    try:
        look(one.path)
        return _content(one.path)
    except PictureError as error:
        return error
    except OSError as error:
        return PictureError(one.path, f"cannot be read ({error.strerror or error})")


def _content(source: str) -> str:
    """Return the sha256 of a picture's file."""
    if source.startswith(DATA_URI):
        return hashlib.sha256(payload(source)).hexdigest()
    with open(source, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _single(sound: Sequence[tuple[Found, str]]) -> tuple[list[tuple[Found, str]], tuple[Note, ...]]:
    """Return the pictures without copies, and without those that have more than one label."""
    alike: dict[str, list[Found]] = defaultdict(list)
    for one, content in sound:
        alike[content].append(one)
    kept = [(same[0], content) for content, same in alike.items() if len({one.label for one in same}) == 1]
    torn = [same for same in alike.values() if len({one.label for one in same}) > 1]
    copies = len(sound) - len(kept) - sum(map(len, torn))
    return kept, (*_copies(copies), *_torn(torn))


def _copies(count: int) -> Iterator[Note]:
    if count:
        are = (
            "1 picture is a copy of another and is"
            if count == 1
            else f"{count:,} pictures are copies of others and are"
        )
        yield Note("duplicates", f"{are} not counted.")


def _torn(torn: Sequence[Sequence[Found]]) -> Iterator[Note]:
    if torn:
        pictures = "1 picture stands" if len(torn) == 1 else f"{len(torn):,} pictures stand"
        first = "; ".join(" = ".join(repr(short(one.name)) for one in same[:_SHOWN]) for same in torn[:_SHOWN])
        more = f"; and {len(torn) - _SHOWN:,} more" if len(torn) > _SHOWN else ""
        text = f"{pictures} under more than one class and {were(len(torn))} left out ({first}{more}). Decide on one."
        yield Note("conflicts", text, "warning", quotes=True)


def _bad(bad: Sequence[str]) -> Iterator[Note]:
    if bad:
        count = "1 picture" if len(bad) == 1 else f"{len(bad):,} pictures"
        more = f"; and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
        text = f"{count} cannot be used and {were(len(bad))} left out: {'; '.join(bad[:_SHOWN])}{more}."
        yield Note("dropped", text, "warning", quotes=True)


def _fingerprint(kept: Sequence[tuple[Found, str]]) -> str:
    """Return the sha256 (hex) that names pictures: over a sorted JSON line ``["content","label"]`` for each."""
    lines = sorted(json.dumps([content, one.label], separators=(",", ":")) for one, content in kept)
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
