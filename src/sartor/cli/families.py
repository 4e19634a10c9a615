"""``sartor families``: the kinds of models that can be generated."""

import click

from sartor.cli import console


@click.command()
@console.common
def families(seed: int, as_json: bool) -> None:
    """List the kinds of models that can be generated."""
    from sartor import families as known

    loaded = [known.load(name) for name in known.names()]
    if as_json:
        listed = [{"name": f.name, "summary": f.summary, "generator": f.generator} for f in loaded]
        console.print_json({"families": listed})
        return
    console.print_table(("family", "what it does", "generator"), [(f.name, f.summary, f.generator) for f in loaded])
