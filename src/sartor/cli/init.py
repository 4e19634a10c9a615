"""``sartor init``: a task file, with what was understood and why."""

import os
from dataclasses import replace
from pathlib import Path

import click

from sartor.cli import console
from sartor.cli.generate import read_task
from sartor.errors import StorageError
from sartor.types import to_json

_ADVICE = "A few words after each label, where its name says little, help most with few rows."
_ADVICE_WRITING = (
    "Give 16 rows of what goes in and what shall come out, as different from each other as what will be asked; the "
    "rows say nearly all, the description little."
)
_ADVICE_PICTURES = (
    "Take pictures of each class as they will be asked: the same camera, distance and light, and never all of one "
    "class on one day, or the day is what is learned."
)
_ADVICE_TABLE = (
    "Leave out columns that will not be known when you ask, whatever they tell: a model that has read the outcome "
    "proves itself and is of no use."
)


@click.command()
@click.argument("description")
@click.option(
    "--examples", metavar="FILE", help="Labelled rows: CSV, TSV, JSONL, XLSX or Parquet; or a folder of pictures."
)
@click.option(
    *("--unlabelled", "--prompts", "unlabelled"),
    metavar="FILE",
    help="Rows without answers; read where there is no other.",
)
@click.option("--out", type=click.Path(path_type=Path), default="task.yaml", show_default=True, metavar="FILE")
@click.option("--name", metavar="NAME", help="Name in the store; default from the description.")
@click.option("--target", metavar="COLUMN", help="The rows are a table: foretell this column from the others.")
@click.option("--kind", metavar="FAMILY", help="As text-generation; default from the description and the rows.")
@click.option("--language", metavar="CODE", help="As en or ja; default detected.")
@click.option("--force", is_flag=True, help="Replace the task file if there is one.")
@console.column_options
@console.common
def init(
    description: str,
    examples: str | None,
    unlabelled: str | None,
    out: Path,
    force: bool,
    seed: int,
    as_json: bool,
    **overrides: str | None,
) -> None:
    """Write a task file for DESCRIPTION and show what was understood, and why. Nothing is generated yet."""
    task = read_task(description, **overrides)
    if os.path.lexists(out) and not force:
        raise StorageError(f"{str(out)!r} exists already. Say --force to replace it, or name another file by --out.")
    from sartor import pipeline
    from sartor.data.taskfile import write_task
    from sartor.registry.store import slug
    from sartor.requirement.heuristic import understand

    with console.progress() as progress:
        rows = pipeline.gather(task, examples, progress)
        plain = pipeline.gather_unlabelled(task, unlabelled, progress)
    need = understand(task, rows, name=slug(task.name or task.description), unlabelled=plain).requirement
    written = replace(
        task,
        name=need.name,
        kind=need.family,
        labels={} if need.columns else {label.name: label.description for label in need.labels},
        language=need.language or None,
        target=need.target or None,
        examples=os.path.abspath(examples) if examples else task.examples,
        unlabelled=os.path.abspath(unlabelled) if unlabelled else task.unlabelled,
    )
    write_task(written, out)
    if as_json:
        console.print_json({"task_file": str(out), "task": to_json(written), "requirement": to_json(need)})
        return
    console.print_notes(need.notes)
    console.say()
    advice = _ADVICE if need.labels else _ADVICE_WRITING
    if need.columns or (rows and rows.pictures):
        advice = _ADVICE_TABLE if need.columns else _ADVICE_PICTURES
    console.say(f"Written to {out}. {advice}")
    console.next_step(f"sartor generate {out}")
