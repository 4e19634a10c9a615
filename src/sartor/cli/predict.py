"""``sartor predict``: answers for a text, or for every row of a file."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from sartor.cli import console
from sartor.errors import UserError
from sartor.types import Columns

if TYPE_CHECKING:
    from sartor.model import Answer, Model

_CHUNK = 5000
_SHOWN = 3
_FIELDS: Sequence[str] = ("text", "label", "confidence", "abstain", "probabilities")


@click.command()
@click.argument("model")
@click.argument("texts", nargs=-1)
@click.option("--input", "source", type=click.Path(path_type=Path), metavar="FILE", help="Rows to answer for.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Answers: .jsonl or .csv.")
@click.option("--text-column", metavar="NAME", help="Column that holds the text.")
@console.common
def predict(
    model: str,
    texts: tuple[str, ...],
    source: Path | None,
    output: Path | None,
    text_column: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Answer TEXTS, or every row of a file, with MODEL (an id, a name, name@champion, name@v2, or a folder)."""
    if bool(texts) == (source is not None):
        raise UserError("Give texts to answer, or a file by --input, not both and not neither.")
    write = _writer(output)
    if source is None:
        inputs: Sequence[str] = texts
    else:
        from sartor.data.load import read_inputs

        read = read_inputs(source, Columns(input=text_column))
        inputs = read.texts
        for note in read.notes:
            if note.level == "warning":
                console.say_error(f"! {note.text}")
    from sartor.model import load

    loaded = load(model)
    rows = _answers(loaded, inputs)
    if output is not None:
        with console.writing(output) as file:
            answered, abstained = write(file, rows)
        if as_json:
            console.print_json({"model": loaded.id, "output": str(output), "rows": answered, "abstained": abstained})
        else:
            console.say(f"{answered:,} answers written to {output}, {abstained:,} of them marked 'abstain'.")
    elif as_json:
        console.print_json({"model": loaded.id, "answers": [as_dict(text, answer) for text, answer in rows]})
    elif source is not None:
        for text, answer in rows:
            console.say(json.dumps(as_dict(text, answer), ensure_ascii=False))
    else:
        for text, answer in rows:
            _print(text if len(texts) > 1 else None, answer)


def as_dict(text: str, answer: "Answer") -> dict[str, Any]:
    """Return one row of output; documented in docs/contract.md."""
    return {
        "text": text,
        "label": answer.label,
        "confidence": round(answer.confidence, 6),
        "abstain": answer.abstain,
        "probabilities": {label: round(p, 6) for label, p in answer.probabilities.items()},
    }


def _answers(model: "Model", inputs: Sequence[str]) -> "Iterator[tuple[str, Answer]]":
    with console.progress() as progress:
        for start in range(0, len(inputs), _CHUNK):
            part = inputs[start : start + _CHUNK]
            answers = model.answer(
                part, progress=lambda _, done, __, at=start: progress("answer", at + done, len(inputs))
            )
            yield from zip(part, answers, strict=True)


def _writer(output: Path | None) -> "Callable[[IO[str], Iterator[tuple[str, Answer]]], tuple[int, int]]":
    suffix = output.suffix.lower() if output else ".jsonl"
    if suffix in (".jsonl", ".ndjson"):
        return _write_jsonl
    if suffix == ".csv":
        return _write_csv
    raise UserError(f"Cannot write answers as {suffix or 'a file without a suffix'!r}. Known: .jsonl, .csv.")


def _write_jsonl(file: IO[str], rows: "Iterator[tuple[str, Answer]]") -> tuple[int, int]:
    answered = abstained = 0
    for text, answer in rows:
        file.write(json.dumps(as_dict(text, answer), ensure_ascii=False) + "\n")
        answered, abstained = answered + 1, abstained + answer.abstain
    return answered, abstained


def _write_csv(file: IO[str], rows: "Iterator[tuple[str, Answer]]") -> tuple[int, int]:
    file.write("\ufeff")  # Excel reads UTF-8 only with a byte order mark
    writer = csv.DictWriter(file, _FIELDS)
    writer.writeheader()
    answered = abstained = 0
    for text, answer in rows:
        row = as_dict(text, answer)
        row["abstain"] = "true" if answer.abstain else "false"
        row["probabilities"] = json.dumps(row["probabilities"], ensure_ascii=False)
        writer.writerow(row)
        answered, abstained = answered + 1, abstained + answer.abstain
    return answered, abstained


def _print(text: str | None, answer: "Answer") -> None:
    if text is not None:
        console.say(f"{text[:76]}{'…' if len(text) > 76 else ''}")
    sure = f"{100 * answer.confidence:.0f}% sure"
    doubt = "; none of the labels may fit" if answer.abstain else ""
    console.say(f"{click.style(answer.label, bold=True)}  ({sure}{doubt})")
    ranked = sorted(answer.probabilities.items(), key=lambda item: -item[1])[1:_SHOWN]
    if ranked:
        console.say("  then " + ", ".join(f"{label} {100 * p:.0f}%" for label, p in ranked))
