"""What commands print that make a model from another; documented in docs/contract.md."""

from typing import TYPE_CHECKING, Any

import click

from sartor.cli import console
from sartor.errors import GateRefused
from sartor.types import to_json

if TYPE_CHECKING:
    from sartor.derived import Derived


def as_dict(found: "Derived") -> dict[str, Any]:
    """Return the keys that all of them print."""
    entry = found.entry
    return {
        "id": entry.id,
        "parent": found.parent,
        "method": found.method,
        "seconds": found.seconds,
        "kept": found.kept,
        "reasons": list(found.reasons),
        "name": entry.name,
        "version": entry.version,
        "alias": found.decision.alias if found.decision else None,
        "path": str(entry.path),
        "n_parameters": found.model.manifest.n_parameters,
        "report": to_json(found.model.report),
    }


def finish(found: "Derived", more: dict[str, Any], *, as_json: bool) -> None:
    """Print what was made, and say no where the gate did.

    Raises:
        GateRefused: where it was not kept.
    """
    if as_json:
        console.print_json({**as_dict(found), **more})
    else:
        _print(found)
    if not found.kept:
        raise GateRefused(
            f"The candidate is not kept in the place of {found.parent}: it stands apart as {found.entry.name}."
        )


def _print(found: "Derived") -> None:
    entry = found.entry
    for reason in found.reasons:
        console.say(click.style(reason, bold=True))
    console.say(found.model.report.headline)
    console.say(
        f"Stored as {entry.name}@v{entry.version} ({entry.id}), made from {found.parent} by {found.method} in "
        f"{found.seconds:.1f} s."
    )
    if found.decision is not None and found.decision.alias:
        console.say(f"It is {entry.name}@{found.decision.alias} now.")
    if found.kept:
        console.next_step(
            f"sartor compare {found.parent} {entry.id} --data test.csv",
            f"sartor predict {entry.id} --input new.csv --output answers.csv",
        )
