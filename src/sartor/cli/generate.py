"""``sartor generate``: a task and rows to a stored, proved model."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sartor.cli import console
from sartor.errors import GateRefused, TaskError
from sartor.types import Task, to_json

if TYPE_CHECKING:
    from sartor.pipeline import Made

_TASK_FILES = {".yaml", ".yml", ".json"}


@click.command()
@click.argument("task", required=False)
@click.option("--many", type=click.Path(path_type=Path), metavar="FILE", help="A task a line, JSON; none is proved.")
@click.option("--skip-bad", is_flag=True, help="With --many: leave lines out that cannot be used.")
@click.option(
    "--examples", metavar="FILE", help="Labelled rows: CSV, TSV, JSONL, XLSX or Parquet; or a folder of pictures."
)
@click.option(
    *("--unlabelled", "--prompts", "unlabelled"),
    metavar="FILE",
    help="Rows without answers; read where there is no labelled row.",
)
@click.option("--target", metavar="COLUMN", help="The rows are a table: foretell this column from the others.")
@click.option("--kind", metavar="FAMILY", help="As text-generation; default from the description and the rows.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Also copy the model there.")
@click.option("--name", metavar="NAME", help="Name in the store; default from the description.")
@click.option("--base", metavar="BASE", help="Frozen base to stand on; default by language.")
@click.option("--language", metavar="CODE", help="As en or ja; default detected.")
@click.option("--merge-labels", is_flag=True, help="Make one of labels that differ only in case, width or spaces.")
@console.column_options
@console.common
def generate(
    task: str | None,
    many: Path | None,
    skip_bad: bool,
    examples: str | None,
    unlabelled: str | None,
    out: Path | None,
    base: str | None,
    merge_labels: bool,
    seed: int,
    as_json: bool,
    **overrides: str | None,
) -> None:
    """Generate a model for TASK: a task file (task.yaml), or a description in quotes.

    Proves it beside honest baselines, stores it, and says what it is worth. With --many FILE there is no TASK:
    as many models as FILE has lines are made, fast and not proved.
    """
    if many is not None:
        _only_many(task, examples, unlabelled, *overrides.values(), merge_labels)
        from sartor.cli import many as bulk

        bulk.many(many, out=out, base=base, seed=seed, skip_bad=skip_bad, as_json=as_json)
        return
    if task is None or skip_bad:
        missing = "Missing argument 'TASK'." if task is None else "--skip-bad goes with --many."
        raise click.UsageError(missing, click.get_current_context())
    wanted = read_task(task, **overrides)
    from sartor import pipeline, settings
    from sartor.registry.store import Store

    store = Store(settings.current().home)
    if out is not None:
        store.check_export(out, overwrite=True)  # before minutes are spent
    with console.progress() as progress:
        made = pipeline.make(
            wanted,
            examples,
            base=base,
            seed=seed,
            merge_labels=merge_labels,
            unlabelled=unlabelled,
            progress=progress,
        )
    assert made.entry is not None
    if out is not None:
        store.export(made.entry.id, out, overwrite=True)  # only what the store holds as well is replaced
    if as_json:
        console.print_json(as_dict(made, out))
    else:
        print_made(made, out)
    if not made.decision.passed:
        raise GateRefused(" ".join(made.decision.reasons) + " The model is kept, but no alias points at it.")


def _only_many(*given: object) -> None:
    if any(given):
        raise TaskError(
            "With --many every line of the file says what it is: its name, description, kind, examples and prompts. "
            "Give no TASK beside it, and of the options only --out, --base, --skip-bad, --seed and --json."
        )


def read_task(
    task: str,
    *,
    name: str | None = None,
    kind: str | None = None,
    language: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    target: str | None = None,
) -> Task:
    """Return the task in a file, or one with ``task`` as its description, the overrides applied."""
    path = Path(task) if len(task) < 4096 and "\n" not in task else None
    is_file = path is not None and path.suffix.lower() in _TASK_FILES and " " not in path.suffix
    if path is not None and is_file:
        from sartor.data.taskfile import read_task as read_file

        found = read_file(path)
    elif path is not None and os.path.isfile(path):  # unlike Path.is_file, quiet about folders that may not be entered
        raise TaskError(
            f"{task!r} is a file, but not a task file (.yaml or .json). Give a description in quotes and the rows by "
            f'--examples: sartor generate "…" --examples {task}'
        )
    else:
        found = Task(description=task)
    if not found.description.strip() and not found.labels and not found.examples:
        raise TaskError("The description is empty. Say in a sentence what the model shall do.")
    columns = replace(
        found.columns,
        input=text_column or found.columns.input,
        output=label_column or found.columns.output,
    )
    return replace(
        found,
        name=name or found.name,
        kind=kind or found.kind,
        language=language or found.language,
        columns=columns,
        target=target or found.target,
    )


def as_dict(made: "Made", out: Path | None) -> dict[str, Any]:
    """Return what ``--json`` prints; documented in docs/contract.md."""
    manifest, entry = made.model.manifest, made.entry
    assert entry is not None
    return {
        "id": entry.id,
        "path": str(out.absolute() if out else entry.path),
        "name": entry.name,
        "version": entry.version,
        "alias": made.decision.alias,
        "family": manifest.family,
        "base": manifest.base.name,
        "head": manifest.head,
        "generator": manifest.generator,
        "seconds": dict(made.seconds),
        "n_parameters": manifest.n_parameters,
        "seed": manifest.seed,
        "labels": [label.name for label in manifest.requirement.labels],
        "gate": {"passed": made.decision.passed, "reasons": list(made.decision.reasons)},
        "notes": to_json(made.notes),
        "report": to_json(made.model.report),
    }


def print_made(made: "Made", out: Path | None) -> None:
    """Print what was understood, what the model is worth and what to do with it."""
    entry = made.entry
    assert entry is not None
    console.print_notes(made.notes)
    console.say()
    print_report(made)
    console.say(f"Stored as {entry.name}@v{entry.version} ({entry.id})" + (f", copied to {out}." if out else "."))
    if made.decision.alias:
        beside = "" if made.decision.alias == "champion" else f" {entry.name}@champion stays what it was."
        console.say(f"It is {entry.name}@{made.decision.alias} now.{beside}")
    console.next_step(*_next(entry.name, made.model.family.reads))


def _next(name: str, reads: str) -> list[str]:
    new, test = ("new_photos/", "test_photos/") if reads == "pictures" else ("--input new.csv", "test.csv")
    one = {"texts": '"a text of yours"', "pictures": "new.jpg"}.get(reads)
    return [
        *([f"sartor predict {name} {one}"] if one else []),
        f"sartor predict {name} {new} --output answers.csv",
        f"sartor evaluate {name} --data {test} --html report.html",
    ]


def print_report(made: "Made") -> None:
    """Print the proof and the cost."""
    from sartor.cli.evaluate import print_report as show

    show(made.model.report, made.model.family.reads)
    manifest, seconds = made.model.manifest, made.seconds
    parts = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in seconds.items())
    on = f" on {manifest.base.name}" if manifest.base.sha256 else ""
    console.say(f"{manifest.n_parameters:,} parameters ({manifest.head}{on}); {parts}.")
