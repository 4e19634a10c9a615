"""``sartor predict --model-column``: rows that each name the model that shall answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sartor.cli import console
from sartor.cli.answered import Counts
from sartor.errors import DataError, did_you_mean
from sartor.types import Columns, Progress

if TYPE_CHECKING:
    from sartor.families.interface import Writing
    from sartor.writers import Writers


def read(
    source: Path,
    text_column: str | None,
    model_column: str,
    default: str | None,
    dial: float | None,
    max_new_tokens: int | None,
    temperature: float,
    seed: int,
) -> "tuple[Mixed, Sequence[tuple[str, str]]]":
    """Return the models that a file's rows name, and for each row a name and a text.

    Raises:
        UserError: when the file cannot be used, a row names no model and there is no default, or one cannot answer.
    """
    from sartor.families.interface import Writing
    from sartor.writers import Writers

    pairs = _pairs(source, text_column, model_column, default)
    writing = Writing(max_new_tokens or Writing().max_new_tokens, temperature, seed)
    writers = Writers([name for name, _ in pairs], dial=dial)
    if cut := writers.cut(pairs, writing):
        text_is = "1 text is" if cut == 1 else f"{cut:,} texts are"
        console.say_error(f"! {text_is} longer than what this base reads, and cut there.")
    return Mixed(writers, writing), pairs


def _pairs(source: Path, text_column: str | None, model_column: str, default: str | None) -> Sequence[tuple[str, str]]:
    from sartor.data.load import read_inputs
    from sartor.data.table import listed

    found = read_inputs(source, Columns(input=text_column, output=model_column))
    for note in found.notes:
        if note.level == "warning":
            console.say_error(f"! {note.text}")
    header = found.table.header
    if model_column not in header:
        near = did_you_mean(model_column, header)
        raise DataError(f"{source.name} has no column {model_column!r}.{near} Its columns are {listed(header)}.")
    place = header.index(model_column)
    if place == found.column:
        raise DataError(
            f"The column {model_column!r} of {source.name} cannot both name the model and be the text. Name that of "
            "the text by --text-column."
        )
    names = [row[place].strip() or (default or "") for row in found.table.rows]
    blank = [at for at, name in enumerate(names, 1) if not name]
    if blank:
        more = f" and {len(blank) - 1:,} more" if len(blank) > 1 else ""
        raise DataError(
            f"Row {blank[0]:,}{more} of {source.name} names no model in {model_column!r}. Fill the column, or give a "
            "MODEL for such rows."
        )
    return list(zip(names, found.texts, strict=True))


@dataclass(frozen=True, slots=True)
class Mixed:
    """Answers of many models that write."""

    model: "Writers"
    writing: "Writing"
    fields: Sequence[str] = ("input", "output", "model")

    def answer(self, inputs: Sequence[tuple[str, str]], progress: Progress) -> list[dict[str, Any]]:
        """Return a row of output for each pair of a model's name and a text."""
        answers = self.model.predict(inputs, self.writing, progress=progress)
        return [
            {"input": text, "output": answer, "model": name}
            for (name, text), answer in zip(inputs, answers, strict=True)
        ]

    def counted(self, counts: Counts) -> dict[str, int]:
        """Return what ``--json`` says of a file of answers."""
        return {"rows": counts.rows}

    def told(self, counts: Counts, output: Path) -> str:
        """Say what was written."""
        return f"{counts.rows:,} answers of {len(self.model.manifests):,} models written to {output}."

    def show(self, row: Mapping[str, Any], *, alone: bool) -> None:
        """Print a row for a person."""
        console.say(f"{row['model']}: {click.style(row['output'], bold=True)}")
