"""``sartor compress``: a smaller or faster model, kept only if it loses no more than it may."""

from pathlib import Path

import click

from sartor.cli import console, derived
from sartor.types import Columns, to_json


@click.command()
@click.argument("model")
@click.option("--to", required=True, metavar="METHOD", help="int8 or onnx (texts), float16 (tables).")
@click.option("--max-loss", type=float, default=1.0, show_default=True, metavar="POINTS", help="Of accuracy.")
@click.option("--data", type=click.Path(path_type=Path), metavar="FILE", help="Rows to answer before and after.")
@console.column_options
@console.common
def compress(
    model: str,
    to: str,
    max_loss: float,
    data: Path | None,
    text_column: str | None,
    label_column: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Make MODEL (an id, a name, name@champion, name@v2, or a folder) smaller or faster.

    Both models answer the rows of --data; the new one is kept if what is lost is surely within --max-loss. Without
    --data they answer texts made up from the model's own words, and the loss is told from confidences.
    """
    from sartor import compressed

    with console.progress() as progress:
        found = compressed.compress(
            model,
            to,
            data=data,
            columns=Columns(text_column, label_column),
            max_loss=max_loss,
            seed=seed,
            progress=progress,
        )
    more = {
        "max_loss": max_loss,
        "loss": to_json(found.judged.loss),
        "bytes_before": found.bytes_before,
        "bytes_after": found.bytes_after,
    }
    if not as_json:
        console.say(
            f"From {found.bytes_before / 1e6:.1f} MB to {found.bytes_after / 1e6:.1f} MB, base included; "
            f"{found.judged.loss.rows:,} rows answered by both."
        )
    derived.finish(found.derived, more, as_json=as_json)
