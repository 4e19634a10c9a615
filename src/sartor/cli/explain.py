"""``sartor explain``: what a model of a table looks at."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sartor.cli import console
from sartor.cli.predict import row_of
from sartor.types import to_json

if TYPE_CHECKING:
    from sartor.evaluate.explain import Explanation

_MOST_COLUMNS = 20


@click.command()
@click.argument("model")
@click.option(
    "--data", type=click.Path(path_type=Path), metavar="FILE", help="Rows; with the target, columns are weighed too."
)
@click.option("--row", metavar="ROW", help="Explain the answer to this row: 'a=1,b=2', or a JSON object.")
@click.option("--row-number", type=int, metavar="N", help="Explain the answer to a row of --data; the first is 1.")
@click.option("--column", "columns", multiple=True, metavar="NAME", help="Show this column, more than once for more.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Also write a page with pictures.")
@console.common
def explain(
    model: str,
    data: Path | None,
    row: str | None,
    row_number: int | None,
    columns: tuple[str, ...],
    html: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Tell what MODEL, which foretells from a table, looks at (an id, a name, name@v2, or a folder).

    A model keeps no row: without --data there is only how much of each column is let in.
    """
    from sartor import explained
    from sartor.evaluate import render_explained
    from sartor.model import load

    loaded = load(model)
    with console.progress() as progress:
        found = explained.explain(
            loaded,
            data,
            row=None if row is None else row_of(row),
            row_number=row_number,
            columns=columns,
            seed=seed,
            progress=progress,
        )
    if html is not None:
        with console.writing(html) as file:
            file.write(render_explained.to_html(found, loaded.manifest))
    if as_json:
        console.print_json(to_json(found))
        return
    _print(found, in_full=bool(columns))
    if html is not None:
        console.say(f"Written to {html}.")
    elif data is None:
        console.say("A model keeps no row: what a column is worth, and how answers depend on it, takes a file of rows.")
        console.next_step(f"sartor explain {model} --data rows.csv")
    else:
        console.next_step(*_next(model, data, found))


def _print(found: "Explanation", *, in_full: bool) -> None:
    """Print an explanation for a person; the answers at each value of a column where columns were named."""
    from sartor.evaluate import render_explained as render

    console.say(click.style(f"What {found.name} looks at to foretell {found.target}", bold=True))
    console.say(render.who_answers(found))
    if found.importance is not None:
        console.say(render.importance_line(found))
    rows = render.column_rows(found)
    console.print_table(render.column_columns(found), rows[:_MOST_COLUMNS])
    if len(rows) > _MOST_COLUMNS:
        console.say(f"… and {len(rows) - _MOST_COLUMNS} more columns (--json or --html has them all)")
    if found.dependence and in_full:
        for one in found.dependence:
            console.print_table(render.point_columns(found, one), render.point_rows(found, one))
    elif found.dependence:
        console.say(
            "The mean answer when all rows have one value in a column, all on the scale that most answers lie on:"
        )
        console.print_table(render.DEPENDENCE_COLUMNS, render.dependence_rows(found))
    if found.contributions is not None:
        console.say(render.contribution_line(found))
        if added := render.contribution_rows(found):
            console.print_table(render.CONTRIBUTION_COLUMNS, added)
    console.print_notes(found.notes)


def _next(model: str, data: Path, found: "Explanation") -> list[str]:
    if found.contributions is None:
        return [
            f"sartor explain {model} --data {data} --row-number 1",
            f"sartor explain {model} --data {data} --html page.html",
        ]
    return [f"sartor explain {model} --data {data} --html page.html"]
