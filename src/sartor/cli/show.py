"""``sartor show``: one stored model, its manifest and its proof."""

import click

from sartor.cli import console
from sartor.cli.evaluate import print_report
from sartor.types import to_json


@click.command()
@click.argument("model")
@console.common
def show(model: str, seed: int, as_json: bool) -> None:
    """Show MODEL (an id, a name, name@champion, name@v2, or a folder): its manifest and its proof."""
    from sartor import settings
    from sartor.registry import bundle, store

    manifest, path = bundle.read(store.resolve(model, settings.current().home))
    if as_json:
        console.print_json(to_json(manifest))
        return
    from sartor.model import load

    need = manifest.requirement
    labels = ", ".join(label.name for label in need.labels[:20]) + (" …" if len(need.labels) > 20 else "")
    console.print_table(
        ("", manifest.name),
        [
            ("id", manifest.id),
            ("description", need.description[:200]),
            ("labels", labels),
            ("family", manifest.family),
            ("generator, head", f"{manifest.generator}, {manifest.head}"),
            *([("base", f"{manifest.base.name} ({manifest.base.licence})")] if manifest.base.sha256 else []),
            *([("foretells", f"{need.target} from {len(need.columns)} columns")] if need.columns else []),
            ("parameters", f"{manifest.n_parameters:,}"),
            ("made from", f"{manifest.data.rows:,} rows ({manifest.data.sha256[:12] or 'none'}), seed {manifest.seed}"),
            ("created", manifest.created),
            ("folder", str(path)),
        ],
    )
    loaded = load(path)
    print_report(loaded.report, loaded.family.reads)
    asked = {
        "texts": '"a text of yours"',
        "tables": "--input new.csv --output answers.csv",
        "pictures": "new_photos/ --output answers.csv",
    }
    console.next_step(f"sartor predict {model} {asked[loaded.family.reads]}")
