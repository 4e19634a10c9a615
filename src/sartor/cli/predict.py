"""``sartor predict``: answers for texts or pictures, or for every row of a file."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from sartor.cli import answered, console, mixed
from sartor.cli.answered import Answered, Counts
from sartor.cli.heatmaps import Heatmaps
from sartor.errors import DataError, UserError
from sartor.types import Columns, Note

if TYPE_CHECKING:
    from sartor.data.picture_folders import Found
    from sartor.families.interface import Writing
    from sartor.model import Model, Writer

_CHUNK = 5000


@click.command()
@click.argument("model", required=False)
@click.argument("texts", nargs=-1)
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Rows to answer for; or a folder of pictures.",
)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Answers: .jsonl or .csv.")
@click.option("--text-column", metavar="NAME", help="Column that holds the text.")
@click.option("--model-column", metavar="NAME", help="Column that names each row's model; MODEL where it is empty.")
@click.option("--max-new-tokens", type=click.IntRange(1, 2048), metavar="N", help="Where a written answer ends (64).")
@click.option("--temperature", type=click.FloatRange(0, 10), metavar="T", help="Of a written answer; 0 is the surest.")
@click.option(
    "--dial", type=float, metavar="G", help="How much of a generated adapter writes: 0 none, 1 what was made."
)
@click.option(
    "--heatmaps",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Of pictures: also a PNG of each that shows what the answer rests on.",
)
@console.common
def predict(
    model: str | None,
    texts: tuple[str, ...],
    source: Path | None,
    output: Path | None,
    text_column: str | None,
    model_column: str | None,
    max_new_tokens: int | None,
    temperature: float | None,
    dial: float | None,
    heatmaps: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Answer TEXTS, or every row of a file, with MODEL (an id, a name, name@champion, name@v2, or a folder).

    Of a model of pictures, TEXTS are pictures, or folders of them.
    """
    if model is None and model_column is None:
        raise click.UsageError("Missing argument 'MODEL'.", click.get_current_context())
    if model_column is not None and source is None:
        raise UserError("--model-column is a column of a file: name that by --input.")
    if bool(texts) == (source is not None):
        raise UserError("Give texts or pictures to answer, or a file by --input, not both and not neither.")
    _check_suffix(output)
    if model_column is not None and source is not None:
        writing = (max_new_tokens, temperature or 0.0, seed)
        kind, pairs = mixed.read(source, text_column, model_column, model, dial, *writing)
        head = {"models": {name: one.id for name, one in kind.model.manifests.items()}}
        _give(kind, _answers(kind, pairs), head, output, as_json=as_json, to_file=True)
        return
    assert model is not None
    from sartor.families.interface import Writing
    from sartor.model import Writer, load

    loaded = load(model)
    inputs = _inputs(loaded, texts, source, text_column)
    asked = {"--max-new-tokens": max_new_tokens, "--temperature": temperature, "--dial": dial}
    given = [flag for flag, value in asked.items() if value is not None]
    if given and not isinstance(loaded, Writer):
        raise UserError(f"{given[0]} is for models that write; {loaded.manifest.name} does not.")
    writing = Writing(max_new_tokens or Writing().max_new_tokens, temperature or 0.0, seed)
    if isinstance(loaded, Writer):
        loaded = loaded if dial is None else loaded.dialled(dial)
        _tell_cut(loaded.cut(inputs, writing))
        if len(texts) == 1 and output is None and not as_json:
            _stream(loaded, texts[0], writing)
            return
    kind = answered.of_model(loaded, writing, _heat(loaded, heatmaps))
    rows = _answers(kind, inputs)
    if loaded.family.reads == "pictures":
        rows = _if_any_was_read(rows)
    _give(kind, rows, {"model": loaded.id}, output, as_json=as_json, to_file=source is not None, alone=len(inputs) == 1)


def _heat(model: "Model", folder: Path | None) -> Heatmaps | None:
    if folder is None:
        return None
    if model.family.reads != "pictures":
        raise UserError(f"--heatmaps is for models of pictures; {model.manifest.name} reads {model.family.reads}.")
    return Heatmaps(folder)


def _give(
    kind: Answered,
    rows: Iterable[dict[str, Any]],
    head: Mapping[str, Any],
    output: Path | None,
    *,
    as_json: bool,
    to_file: bool,
    alone: bool = False,
) -> None:
    """Write or print answers; ``head`` begins what ``--json`` prints, ``to_file`` asks for JSON Lines."""
    counted = _Counted(rows)
    if output is not None:
        with console.writing(output) as file:
            if output.suffix.lower() == ".csv":
                _write_csv(file, kind, counted)
            else:
                _write_jsonl(file, counted)
        if as_json:
            console.print_json({**head, "output": str(output), **kind.counted(counted.counts)})
        else:
            console.say(kind.told(counted.counts, output))
    elif as_json:
        console.print_json({**head, "answers": list(counted)})
    elif to_file:
        for row in counted:
            console.say(json.dumps(row, ensure_ascii=False))
    else:
        for row in counted:
            kind.show(row, alone=alone)
    if unread := counted.counts.unread:
        rows_say = "its row says why" if unread == 1 else "their rows say why"
        console.say_error(f"! {unread:,} of {counted.counts.rows:,} pictures could not be read: {rows_say}.")


class _Counted:
    """Rows that are counted while they pass."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self.counts = Counts()
        self._rows = rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._rows:
            self.counts = self.counts.plus(row)
            yield row


def _if_any_was_read(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rows; where none of them has an answer, nothing is written.

    Raises:
        DataError: when no picture could be read.
    """
    held: list[dict[str, Any]] | None = []
    for row in rows:
        if held is not None and row["error"]:
            held.append(row)
            continue
        yield from held or ()
        held = None
        yield row
    if held:
        left = len(held) - 3
        more = "" if left <= 0 else " So is 1 more." if left == 1 else f" So are {left:,} more."
        none = "" if len(held) == 1 else f"None of the {len(held):,} pictures can be read. "
        raise DataError(none + " ".join(row["error"] for row in held[:3]) + more)


def _tell_cut(cut: int) -> None:
    if cut:
        text_is = "1 text is" if cut == 1 else f"{cut:,} texts are"
        console.say_error(f"! {text_is} longer than what this base reads, and cut there.")


def _inputs(model: "Model", texts: Sequence[str], source: Path | None, text_column: str | None) -> Sequence[Any]:
    """Return what is to be answered, and tell on stderr what a user must know of it."""
    if model.family.reads == "pictures":
        return _pictures(texts, source, text_column)
    if model.family.reads == "tables":
        if text_column is not None:
            raise UserError(
                f"--text-column is for models of texts; {model.manifest.name} reads the columns of a table."
            )
        return _rows(model, texts, source)
    if source is None:
        return list(texts)
    from sartor.data.load import read_inputs

    read = read_inputs(source, Columns(input=text_column))
    _tell(note for note in read.notes if note.level == "warning")
    return read.texts


def _pictures(arguments: Sequence[str], source: Path | None, column: str | None) -> "Sequence[Found]":
    from sartor.data import picture_rows

    with console.progress() as progress:
        if source is None:
            found, notes = picture_rows.read_arguments(arguments, progress=progress)
        else:
            found, notes = picture_rows.read_names(source, Columns(input=column), progress=progress)
    _tell(note for note in notes if note.level == "warning")
    return found


def _rows(model: "Model", texts: Sequence[str], source: Path | None) -> list[str]:
    """Return rows of a table as JSON objects of the same columns."""
    from sartor.data import columns, records

    need = model.requirement
    if source is None:
        cells = [records.cells_of(row_of(text)) for text in texts]
        names = dict.fromkeys(name for row in cells for name in row)
        inputs = [json.dumps({name: row.get(name) for name in names}, ensure_ascii=False) for row in cells]
    else:
        table = records.read_table(source)
        inputs = [row.input for row in records.of_cells(table.header, table.rows, None)]
        _tell(note for note in table.notes if note.level == "warning")
    frame = records.frame_of(inputs)
    if need.target not in (column.name for column in need.columns):  # rows whose answer is known have it beside them
        frame = frame.drop(columns=need.target, errors="ignore")
    _tell(columns.parse(frame, need.columns)[1])
    return inputs


def _tell(notes: Iterable[Note]) -> None:
    for note in notes:
        console.say_error(f"{'!' if note.level == 'warning' else '·'} {note.text}")


def row_of(text: str) -> str:
    """Return a row of a table as JSON; ``age=31,city=Kyoto`` is one as well.

    Raises:
        UserError: when it is neither.
    """
    if text.lstrip().startswith("{"):
        return text
    parts = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and sign for name, sign, _ in parts):
        raise UserError(
            f"A row of a table is given as name=value,name=value or as a JSON object; got {text[:60]!r}. "
            "Cells that hold a comma go into JSON; a file of rows is named with --input."
        )
    return json.dumps({name.strip(): value.strip() for name, _, value in parts}, ensure_ascii=False)


def _check_suffix(output: Path | None) -> None:
    suffix = output.suffix.lower() if output else ".jsonl"
    if suffix not in (".jsonl", ".ndjson", ".csv"):
        raise UserError(f"Cannot write answers as {suffix or 'a file without a suffix'!r}. Known: .jsonl, .csv.")


def _stream(writer: "Writer", text: str, writing: "Writing") -> None:
    for piece in writer.stream(text, writing):
        click.echo(piece, nl=False)
    console.say()


def _answers(kind: Answered, inputs: Sequence[Any]) -> Iterator[dict[str, Any]]:
    with console.progress() as progress:
        for start in range(0, len(inputs), _CHUNK):
            part = inputs[start : start + _CHUNK]
            yield from kind.answer(part, lambda _, done, __, at=start: progress("answer", at + done, len(inputs)))


def _write_jsonl(file: IO[str], rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_csv(file: IO[str], kind: Answered, rows: Iterable[Mapping[str, Any]]) -> None:
    file.write("\ufeff")  # Excel reads UTF-8 only with a byte order mark
    stream = iter(rows)
    first = next(stream, None)
    writer = csv.DictWriter(file, kind.fields if first is None else list(first))
    writer.writeheader()
    for row in chain(() if first is None else (first,), stream):
        writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: object) -> object:
    match value:
        case bool():
            return "true" if value else "false"
        case Mapping():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return value
