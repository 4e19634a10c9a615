"""``sartor predict``: answers for a text, or for every row of a file."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import click

from sartor.cli import console, mixed
from sartor.errors import UserError
from sartor.types import Columns, Progress

if TYPE_CHECKING:
    from sartor.families.interface import Writing
    from sartor.model import Answer, Classifier, Writer

_CHUNK = 5000
_SHOWN = 3


@click.command()
@click.argument("model", required=False)
@click.argument("texts", nargs=-1)
@click.option("--input", "source", type=click.Path(path_type=Path), metavar="FILE", help="Rows to answer for.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Answers: .jsonl or .csv.")
@click.option("--text-column", metavar="NAME", help="Column that holds the text.")
@click.option("--model-column", metavar="NAME", help="Column that names each row's model; MODEL where it is empty.")
@click.option("--max-new-tokens", type=click.IntRange(1, 2048), metavar="N", help="Where a written answer ends (64).")
@click.option("--temperature", type=click.FloatRange(0, 10), metavar="T", help="Of a written answer; 0 is the surest.")
@click.option(
    "--dial", type=float, metavar="G", help="How much of a generated adapter writes: 0 none, 1 what was made."
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
    seed: int,
    as_json: bool,
) -> None:
    """Answer TEXTS, or every row of a file, with MODEL (an id, a name, name@champion, name@v2, or a folder)."""
    if model is None and model_column is None:
        raise click.UsageError("Missing argument 'MODEL'.", click.get_current_context())
    if model_column is not None and source is None:
        raise UserError("--model-column is a column of a file: name that by --input.")
    if bool(texts) == (source is not None):
        raise UserError("Give texts to answer, or a file by --input, not both and not neither.")
    _check_suffix(output)
    if model_column is not None and source is not None:
        writing = (max_new_tokens, temperature or 0.0, seed)
        kind, pairs = mixed.read(source, text_column, model_column, model, dial, *writing)
        head = {"models": {name: one.id for name, one in kind.model.manifests.items()}}
        _give(kind, _answers(kind, pairs), head, output, as_json=as_json, to_file=True)
        return
    assert model is not None
    inputs = list(texts) if source is None else _read(source, text_column)
    from sartor.families.interface import Writing
    from sartor.model import Classifier, Writer, load

    loaded = load(model)
    asked = {"--max-new-tokens": max_new_tokens, "--temperature": temperature, "--dial": dial}
    given = [flag for flag, value in asked.items() if value is not None]
    if isinstance(loaded, Writer):
        writer = loaded if dial is None else loaded.dialled(dial)
        writing = Writing(max_new_tokens or Writing().max_new_tokens, temperature or 0.0, seed)
        if cut := writer.cut(inputs, writing):
            text_is = "1 text is" if cut == 1 else f"{cut:,} texts are"
            console.say_error(f"! {text_is} longer than what this base reads, and cut there.")
        if len(texts) == 1 and output is None and not as_json:
            _stream(writer, texts[0], writing)
            return
        kind = _Written(writer, writing)
    elif given:
        raise UserError(f"{given[0]} is for models that write; {loaded.manifest.name} puts texts under labels.")
    else:
        assert isinstance(loaded, Classifier), loaded
        kind = _Labelled(loaded)
    rows = _answers(kind, inputs)
    _give(kind, rows, {"model": loaded.id}, output, as_json=as_json, to_file=source is not None, alone=len(texts) == 1)


def _give(
    kind: "_Kind",
    rows: Iterable[dict[str, Any]],
    head: Mapping[str, Any],
    output: Path | None,
    *,
    as_json: bool,
    to_file: bool,
    alone: bool = False,
) -> None:
    """Write or print answers; ``head`` begins what ``--json`` prints, ``to_file`` asks for JSON Lines."""
    if output is not None:
        with console.writing(output) as file:
            counts = _write_csv(file, kind, rows) if output.suffix.lower() == ".csv" else _write_jsonl(file, rows)
        if as_json:
            console.print_json({**head, "output": str(output), **kind.counted(*counts)})
        else:
            console.say(kind.told(*counts, output))
    elif as_json:
        console.print_json({**head, "answers": list(rows)})
    elif to_file:
        for row in rows:
            console.say(json.dumps(row, ensure_ascii=False))
    else:
        for row in rows:
            kind.show(row, alone=alone)


def _read(source: Path, text_column: str | None) -> Sequence[str]:
    from sartor.data.load import read_inputs

    read = read_inputs(source, Columns(input=text_column))
    for note in read.notes:
        if note.level == "warning":
            console.say_error(f"! {note.text}")
    return read.texts


def _check_suffix(output: Path | None) -> None:
    suffix = output.suffix.lower() if output else ".jsonl"
    if suffix not in (".jsonl", ".ndjson", ".csv"):
        raise UserError(f"Cannot write answers as {suffix or 'a file without a suffix'!r}. Known: .jsonl, .csv.")


# --- what rows of output look like; documented in docs/contract.md ------------------------------------------


@dataclass(frozen=True, slots=True)
class _Labelled:
    """Answers of a model that labels."""

    model: "Classifier"
    fields: Sequence[str] = ("text", "label", "confidence", "abstain", "probabilities")

    def answer(self, inputs: Sequence[str], progress: Progress) -> list[dict[str, Any]]:
        return [as_dict(*both) for both in zip(inputs, self.model.answer(inputs, progress=progress), strict=True)]

    def counted(self, rows: int, abstained: int) -> dict[str, int]:
        return {"rows": rows, "abstained": abstained}

    def told(self, rows: int, abstained: int, output: Path) -> str:
        return f"{rows:,} answers written to {output}, {abstained:,} of them marked 'abstain'."

    def show(self, row: Mapping[str, Any], *, alone: bool) -> None:
        if not alone:
            _say_asked(row["text"])
        sure = f"{100 * row['confidence']:.0f}% sure"
        doubt = "; none of the labels may fit" if row["abstain"] else ""
        console.say(f"{click.style(row['label'], bold=True)}  ({sure}{doubt})")
        ranked = sorted(row["probabilities"].items(), key=lambda item: -item[1])[1:_SHOWN]
        if ranked:
            console.say("  then " + ", ".join(f"{label} {100 * p:.0f}%" for label, p in ranked))


@dataclass(frozen=True, slots=True)
class _Written:
    """Answers of a model that writes."""

    model: "Writer"
    writing: "Writing"
    fields: Sequence[str] = ("input", "output")

    def answer(self, inputs: Sequence[str], progress: Progress) -> list[dict[str, Any]]:
        answers = self.model.predict(inputs, self.writing, progress=progress)
        return [{"input": text, "output": answer} for text, answer in zip(inputs, answers, strict=True)]

    def counted(self, rows: int, abstained: int) -> dict[str, int]:
        return {"rows": rows}

    def told(self, rows: int, abstained: int, output: Path) -> str:
        return f"{rows:,} answers written to {output}."

    def show(self, row: Mapping[str, Any], *, alone: bool) -> None:
        _say_asked(row["input"])
        console.say(click.style(row["output"], bold=True))


def as_dict(text: str, answer: "Answer") -> dict[str, Any]:
    """Return one row of output of a model that labels."""
    return {
        "text": text,
        "label": answer.label,
        "confidence": round(answer.confidence, 6),
        "abstain": answer.abstain,
        "probabilities": {label: round(p, 6) for label, p in answer.probabilities.items()},
    }


def _say_asked(text: str) -> None:
    console.say(f"{text[:76]}{'…' if len(text) > 76 else ''}")


def _stream(writer: "Writer", text: str, writing: "Writing") -> None:
    for piece in writer.stream(text, writing):
        click.echo(piece, nl=False)
    console.say()


_Kind: TypeAlias = "_Labelled | _Written | mixed.Mixed"


def _answers(kind: "_Kind", inputs: Sequence[Any]) -> Iterator[dict[str, Any]]:
    with console.progress() as progress:
        for start in range(0, len(inputs), _CHUNK):
            part = inputs[start : start + _CHUNK]
            yield from kind.answer(part, lambda _, done, __, at=start: progress("answer", at + done, len(inputs)))


def _write_jsonl(file: IO[str], rows: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    answered = abstained = 0
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        answered, abstained = answered + 1, abstained + row.get("abstain", False)
    return answered, abstained


def _write_csv(file: IO[str], kind: "_Kind", rows: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    file.write("\ufeff")  # Excel reads UTF-8 only with a byte order mark
    writer = csv.DictWriter(file, kind.fields)
    writer.writeheader()
    answered = abstained = 0
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
        answered, abstained = answered + 1, abstained + row.get("abstain", False)
    return answered, abstained


def _cell(value: object) -> object:
    match value:
        case bool():
            return "true" if value else "false"
        case Mapping():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return value
