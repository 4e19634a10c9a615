"""``sartor compare``: models side by side on the same rows and the same machine."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sartor.cli import console
from sartor.types import Columns, to_json

if TYPE_CHECKING:
    from sartor.evaluate.sidebyside import Comparison


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--data", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Labelled rows, unseen.")
@click.option("--kpi", type=click.Path(path_type=Path), metavar="FILE", help="Measures of your business: kpi.yaml.")
@click.option(
    "--import",
    "imported",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="What compare --json printed on another machine.",
)
@click.option("--rounds", type=click.IntRange(1, 1000), default=5, show_default=True, help="Models take turns.")
@click.option(
    "--batch", "batches", type=click.IntRange(1, 4096), multiple=True, metavar="N", help="Size of a batch; 1, 8, 64."
)
@click.option("--price-per-hour", type=click.FloatRange(min=0), metavar="PRICE", help="Of this machine.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Also write a page with a picture.")
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Also write the picture alone.")
@console.column_options
@console.common
def compare(
    models: tuple[str, ...],
    data: Path,
    kpi: Path | None,
    imported: tuple[Path, ...],
    rounds: int,
    batches: tuple[int, ...],
    price_per_hour: float | None,
    html: Path | None,
    svg: Path | None,
    text_column: str | None,
    label_column: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Compare MODELS (ids, names, name@champion, name@v2, or folders) on one file of rows and on this machine.

    Later models are held against earlier ones: rows that were won, and those that only the earlier had right.
    """
    from sartor import compared
    from sartor.evaluate import render_compared, timing

    with console.progress() as progress:
        found = compared.compare(
            models,
            data,
            columns=Columns(text_column, label_column),
            kpis=kpi,
            imported=imported,
            rounds=rounds,
            batches=sorted(set(batches)) or timing.BATCHES,
            price_per_hour=price_per_hour,
            seed=seed,
            progress=progress,
        )
    for path, render in ((html, render_compared.to_html), (svg, render_compared.to_svg)):
        if path is not None:
            with console.writing(path) as file:
                file.write(render(found))
    if as_json:
        console.print_json(to_json(found))
        return
    _print(found)
    for path in (html, svg):
        if path is not None:
            console.say(f"Written to {path}.")
    if html is None:
        console.next_step(f"sartor compare {' '.join(models)} --data {data} --html compared.html")


def _print(found: "Comparison") -> None:
    from sartor.evaluate import render_compared as render

    console.say(click.style(found.why, bold=True))
    console.say(render.lead(found))
    console.print_table(render.quality_columns(found), render.quality_rows(found))
    if found.contests:
        console.print_table(render.CONTEST_COLUMNS, render.contest_rows(found))
    console.print_table(render.cost_columns(found), render.cost_rows(found))
    if rows := render.kpi_rows(found):
        console.print_table(render.kpi_columns(found), rows)
    console.say(render.machine_line(found))
    console.print_notes(note for note in found.notes if note.level == "warning")
