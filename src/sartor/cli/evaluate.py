"""``sartor evaluate``: the full report of a stored model, on a file of rows it had not seen."""

from pathlib import Path

import click

from sartor.cli import console
from sartor.errors import UserError
from sartor.types import Columns, Report, to_json


@click.command()
@click.argument("model")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Labelled rows, or a folder of pictures; default: the stored proof.",
)
@click.option(
    "--examples",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The rows MODEL was made from: puts every baseline to the same test.",
)
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Also write the report as a page.")
@console.column_options
@console.common
def evaluate(
    model: str,
    data: Path | None,
    examples: Path | None,
    html: Path | None,
    text_column: str | None,
    label_column: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Report how good MODEL is (an id, a name, name@champion, name@v2, or a folder)."""
    from sartor import pipeline
    from sartor.evaluate.mistakes import Mistake
    from sartor.evaluate.render import to_html
    from sartor.model import load

    loaded = load(model)
    wrong: list[Mistake] = []
    if data is None:
        if examples is not None:
            raise UserError(
                "--examples goes with --data: it makes the baselines that are put to the test in that file."
            )
        report = loaded.report
    else:
        with console.progress() as progress:
            report = pipeline.assess(
                loaded,
                data,
                examples=examples,
                columns=Columns(text_column, label_column),
                seed=seed,
                progress=progress,
                on_mistakes=wrong.extend,
            )
    if html is not None:
        with console.writing(html) as file:
            file.write(to_html(report, loaded.manifest, wrong if loaded.family.reads == "pictures" else ()))
    if as_json:
        console.print_json(to_json(report))
        return
    print_report(report, loaded.family.reads)
    warnings = [note for note in report.notes if note.level == "warning"]
    console.print_notes(warnings)
    if html is not None:
        console.say(f"Written to {html}.")
    else:
        console.next_step(f"sartor evaluate {model}{f' --data {data}' if data else ''} --html report.html")


def print_report(report: Report, reads: str = "texts") -> None:
    """Print a report for a person: headline, comparison, labels, promises, cost; ``reads`` is what the model reads."""
    from sartor.evaluate import render

    console.say(click.style(report.headline, bold=True))
    console.say(report.protocol.text)
    if report.scores is not None:
        console.print_table(render.COMPARISON_COLUMNS, render.comparison_rows(report))
        console.print_table(render.CLASS_COLUMNS, render.class_rows(report)[:_MOST_CLASSES])
        if len(report.classes) > _MOST_CLASSES:
            console.say(f"… and {len(report.classes) - _MOST_CLASSES} more labels (--json or --html has them all)")
        console.say(
            f"Calibration: confidence is off by {100 * report.scores.ece:.1f} points on average (ECE), "
            f"balanced accuracy {100 * report.scores.balanced_accuracy.value:.1f}%."
        )
    if report.written is not None and report.written.scores is not None:
        console.print_table(render.WRITTEN_COLUMNS, render.written_rows(report))
    if report.numbers is not None:
        console.print_table(render.NUMBER_COLUMNS, render.number_rows(report))
    if report.unusual is not None:
        if rows := render.unusual_rows(report):
            console.print_table(render.UNUSUAL_COLUMNS, rows)
        if found := render.found_rows(report):
            console.print_table(render.FOUND_COLUMNS, found)
    for line in _lines(report):
        console.say(line)
    if (cost := report.cost) is not None:
        what = "pictures" if reads == "pictures" else "texts"
        console.say(
            f"One answer takes {cost.latency_p50_ms:.0f} ms (p95 {cost.latency_p95_ms:.0f} ms); in bulk "
            f"{cost.texts_per_second:,.0f} {what}/s; {cost.size_bytes / 1e6:.2f} MB on disk; peak memory "
            f"{cost.peak_memory_mb:,.0f} MB; on {cost.machine}."
        )


def _lines(report: Report) -> list[str]:
    from sartor.evaluate import render

    if report.written is not None:
        return render.written_lines(report)
    if report.unusual is not None:
        return render.unusual_lines(report)
    return render.number_lines(report) if report.numbers is not None else render.promise_lines(report)


_MOST_CLASSES = 20
