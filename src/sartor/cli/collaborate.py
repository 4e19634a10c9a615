"""``sartor collaborate``: what a small and a large model are worth together."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sartor.cli import console
from sartor.errors import UserError
from sartor.types import Columns, to_json

if TYPE_CHECKING:
    from sartor.serve.collaboration import Collaboration

_COLUMNS = ("", "threshold", "right", "95% interval", "calls/1k", "bytes/1k", "PII/1k", "cost", "p50 ms", "p95 ms")


@click.group()
def collaborate() -> None:
    """Small and large models together."""


@collaborate.command("eval")
@click.option("--model", required=True, metavar="MODEL", help="The small one: an id, a name, name@alias, a folder.")
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Labelled rows it was not made from."
)
@click.option(
    "--large",
    required=True,
    metavar="URL",
    help="https://host/v1, local:NAME, or scripted:accuracy=0.95 (gold labels).",
)
@click.option("--policy", type=click.Path(path_type=Path), metavar="FILE", help="What may leave; see docs/contract.md.")
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Also write the deferral curve.")
@console.column_options
@console.common
def evaluate(
    model: str,
    data: Path,
    large: str,
    policy: Path | None,
    svg: Path | None,
    text_column: str | None,
    label_column: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Show MODEL alone, a large model alone, both together, a random mix and an oracle, on the same rows."""
    from sartor import pipeline, settings
    from sartor.evaluate.testfile import labelled
    from sartor.llm import connect
    from sartor.llm.policy import read
    from sartor.model import Classifier, load
    from sartor.serve import collaboration
    from sartor.serve.router import OfClassifier

    current = settings.current()
    if policy is not None and not policy.exists():
        raise UserError(f"There is no policy file {str(policy)!r}.")
    rules = read(policy or current.policy)
    small = load(model)
    if not isinstance(small, Classifier):
        raise UserError(f"{small.manifest.name} puts nothing under labels; collaborate eval is for models that do.")
    columns = Columns(text_column, label_column)
    with console.progress() as progress:
        rows = labelled(pipeline.known_rows(small, data, columns, progress))
        gold = {row.input: str(row.output) for row in rows}
        names = [label.name for label in small.requirement.labels]
        with closing(connect(large, rules, current, gold=gold, labels=names)) as asked:
            found = collaboration.evaluate(OfClassifier(small), asked, rows, rules, seed=seed, progress=progress)
    if svg is not None:
        with console.writing(svg) as file:
            file.write(collaboration.to_svg(found))
    if as_json:
        console.print_json(
            {
                "model": small.id,
                "large": asked.model,
                "destination": asked.destination,
                "egress": asked.egress,
                "rows": found.rows,
                "withheld": found.withheld,
                "unanswered": found.unanswered,
                "arms": [arm.as_json() for arm in found.arms],
                "apgr": to_json(found.apgr),
                "auc": found.auc,
                "recovered_at_20": to_json(found.recovered),
                "curve": [list(point) for point in found.curve],
                "notes": to_json(found.notes),
            }
        )
        return
    _show(found, asked.model, large)
    if svg is not None:
        console.say(f"Written to {svg}.")


def _show(found: "Collaboration", name: str, spec: str) -> None:
    from sartor.evaluate.render import interval, percent

    console.print_table(
        _COLUMNS,
        [
            (
                arm.arm,
                "" if arm.threshold is None else f"{arm.threshold:.3f}",
                percent(arm.quality.value),
                interval(arm.quality),
                f"{arm.calls_per_1k:.0f}",
                f"{arm.bytes_out_per_1k:,.0f}",
                f"{arm.pii_leaked_per_1k:.1f}",
                f"{arm.cost_ratio:.2f}",
                f"{arm.p50_ms:.0f}",
                f"{arm.p95_ms:.0f}",
            )
            for arm in found.arms
        ],
    )
    if found.apgr is not None and found.recovered is not None:
        console.say(
            f"At a fifth of the calls {percent(found.recovered.value)} {interval(found.recovered)} of the gap is "
            f"recovered; over all shares {percent(found.apgr.value)} {interval(found.apgr)} (APGR; 50% is chance)."
        )
    if spec.lower().startswith("scripted"):
        console.say(
            f"The large model is a script ({name}) that answers from the gold labels: this tells of routing alone."
        )
    console.print_notes(found.notes)
