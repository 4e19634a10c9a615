"""``sartor data``: what rows are worth, before a model is made from them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sartor.cli import console
from sartor.errors import UserError
from sartor.types import Columns, Example, to_json

if TYPE_CHECKING:
    from sartor.checked import Check

_SHOWN = 10


@click.group()
def data() -> None:
    """Look at rows before a model is made from them."""


@data.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--select", "size", type=int, metavar="N", help="Choose the N most useful rows.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write them: .csv or .jsonl.")
@click.option("--base", metavar="BASE", help="Frozen base that reads the texts; default by language.")
@console.column_options
@console.common
def check(
    file: Path,
    size: int | None,
    out: Path | None,
    base: str | None,
    text_column: str | None,
    label_column: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Check the texts of FILE: copies, contradictions, doubtful labels, how much rows add to each other.

    Rows are numbered from 1 on, among those that have a text and a label.
    """
    if out is not None and size is None:
        raise UserError("--out writes the rows that --select chooses: say how many.")
    if out is not None and out.suffix.lower() not in (".csv", ".jsonl", ".ndjson"):
        raise UserError(f"Rows cannot be written as {out.suffix or 'a file without a suffix'!r}. Known: .csv, .jsonl.")
    from sartor import checked

    with console.progress() as progress:
        found, rows = checked.check(
            file,
            columns=Columns(text_column, label_column),
            select_rows=size,
            base=base,
            seed=seed,
            progress=progress,
        )
    if out is not None:
        _write(out, rows)
    if as_json:
        console.print_json({**to_json(found), "out": None if out is None else str(out)})
        return
    _print(found, out)


def _write(out: Path, rows: Sequence[Example]) -> None:
    with console.writing(out) as file:
        if out.suffix.lower() == ".csv":
            file.write("\ufeff")  # Excel reads UTF-8 only with a byte order mark
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows([row.input, row.output or ""] for row in rows)
        else:
            for row in rows:
                file.write(json.dumps({"text": row.input, "label": row.output}, ensure_ascii=False) + "\n")


def _print(found: "Check", out: Path | None) -> None:
    console.say(click.style(f"{found.useful:,} of {found.rows:,} rows are useful as they are.", bold=True))
    table = [
        ("copies of a text", found.exact_duplicates),
        ("nearly the same text", found.near_duplicates),
        ("one text, several labels", found.contradictions),
    ]
    rows = [
        (what, f"{len(groups):,}", f"{sum(map(len, groups)):,}", "; ".join(map(_listed, groups[:3])))
        for what, groups in table
    ]
    console.print_table(("", "groups", "rows", "as rows"), rows)
    if found.suspects:
        console.say(f"{len(found.suspects):,} labels are doubtful; the most doubtful first:")
        lines = [
            (str(one.row), one.label, one.suggested, f"{one.given:.2f}", f"{one.confidence:.2f}")
            for one in found.suspects[:_SHOWN]
        ]
        console.print_table(("row", "label", "rather", "p of its own", "p of the other"), lines)
    console.say(f"{100 * found.redundant:.0f}% of the rows have another of their label that is close in meaning.")
    if found.selected:
        console.say(
            f"{len(found.selected):,} rows selected: a row is {found.coverage:.3f} from the nearest of them (cosine; "
            f"{found.coverage_random:.3f} from as many drawn at random)."
        )
    if out is not None:
        console.say(f"Written to {out}.")
    console.print_notes(note for note in found.notes if note.level == "warning" and note.topic != "suspects")
    if not found.selected:
        console.next_step(f"sartor data check FILE --select {max(1, found.rows // 2)} --out selected.csv")


def _listed(group: Sequence[int]) -> str:
    return ", ".join(map(str, group[:6])) + (" …" if len(group) > 6 else "")
