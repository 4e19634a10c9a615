"""``sartor models``: what is in the store."""

import click

from sartor.cli import console


@click.command()
@console.common
def models(seed: int, as_json: bool) -> None:
    """List the stored models."""
    from sartor import settings
    from sartor.registry.store import Store

    home = settings.current().home
    entries = Store(home).list()
    if as_json:
        listed = [
            {
                "name": entry.name,
                "version": entry.version,
                "id": entry.id,
                "family": entry.family,
                "created": entry.created,
                "aliases": list(entry.aliases),
                "path": str(entry.path),
            }
            for entry in entries
        ]
        console.print_json({"home": str(home), "models": listed})
        return
    if not entries:
        console.say(f"No models yet in {home}.")
        console.next_step('sartor generate "Is this review positive or negative?" --examples reviews.csv')
        return
    rows = [
        (entry.name, f"v{entry.version}", entry.id, ", ".join(entry.aliases), entry.family, entry.created)
        for entry in entries
    ]
    console.print_table(("name", "version", "id", "aliases", "family", "created"), rows)
    console.next_step(f"sartor show {entries[-1].name}")
