"""``sartor finetune``: a stored model and more rows, from the generated weights."""

from pathlib import Path

import click

from sartor.cli import console, derived
from sartor.types import Columns


@click.command()
@click.argument("model")
@click.option("--data", type=click.Path(path_type=Path), required=True, metavar="FILE", help="More labelled rows.")
@click.option("--method", metavar="METHOD", help="head, lora, partial or full; default by rows and budget.")
@click.option("--budget", metavar="BUDGET", help="As 60s, 5m, 200steps, or 60s,200steps; 60s unless given.")
@click.option("--balanced", is_flag=True, help="Every label counts alike, however many rows it has.")
@click.option("--label-smoothing", type=float, default=0.0, metavar="SHARE", help="Of each target, over all labels.")
@console.column_options
@console.common
def finetune(
    model: str,
    data: Path,
    method: str | None,
    budget: str | None,
    balanced: bool,
    label_smoothing: float,
    text_column: str | None,
    label_column: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Fine-tune MODEL (an id, a name, name@champion, name@v2, or a folder) on more rows.

    It begins at the generated weights and stays near them. The new model is kept if it is not worse than its parent on
    rows that it had not seen. An interrupt (Ctrl-C) ends the training; what was best so far is judged and stored.
    """
    from sartor import finetuned
    from sartor.finetune.adapted_head import Options

    with console.progress() as progress:
        found = finetuned.finetune(
            model,
            data,
            method=method,
            budget=finetuned.parse_budget(budget),
            columns=Columns(text_column, label_column),
            options=Options(balanced, label_smoothing),
            seed=seed,
            progress=progress,
        )
    if not as_json:
        how = f"{found.steps} steps, the best after {found.best_step}" if found.steps else "solved"
        console.say(f"Method {found.derived.method} ({found.why}): {how}; {found.trained_parameters:,} parameters.")
    more = {
        "why": found.why,
        "steps": found.steps,
        "best_step": found.best_step,
        "interrupted": found.interrupted,
        "learned_rows": found.learned,
        "judged_rows": found.judged,
        "trained_parameters": found.trained_parameters,
    }
    derived.finish(found.derived, more, as_json=as_json)
