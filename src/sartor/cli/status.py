"""``sartor status``: what is served, is it healthy, what to do."""

import time
from typing import TYPE_CHECKING, Any

import click

from sartor.cli import console

if TYPE_CHECKING:
    from sartor.standing import Standing

_MARKS = {
    "info": "·",
    "warning": click.style("!", fg="yellow", bold=True),
    "error": click.style("✗", fg="red", bold=True),
}


@click.command()
@console.common
def status(seed: int, as_json: bool) -> None:
    """Tell what is served, whether it is healthy, and what to do."""
    from sartor import settings, standing

    found = standing.stand(settings.current().home)
    if as_json:
        console.print_json(as_dict(found))
        return
    if found.server is not None:
        minutes = (time.time() - found.server.since) / 60
        console.say(f"Served at {found.server.url} (process {found.server.pid}) for {minutes:,.0f} min.")
    if found.served:
        console.print_table(
            ("model", "version", "id", "let in by", "since", "answers/h", "abstained", "p50 ms", "p95 ms"),
            [
                (
                    f"{one.name}@{one.alias}",
                    f"v{one.version}",
                    one.id,
                    one.gate,
                    one.moved[:16].replace("T", " "),
                    f"{lately.answers:,}",
                    f"{100 * lately.abstained / lately.answers:.0f}%" if lately.answers else "",
                    "" if lately.latency_p50_ms is None else f"{lately.latency_p50_ms:.1f}",
                    "" if lately.latency_p95_ms is None else f"{lately.latency_p95_ms:.1f}",
                )
                for one, lately in zip(found.served, found.recent, strict=True)
            ],
        )
    for finding in found.findings:
        advice = f"  → {finding.advice}" if finding.advice else ""
        console.say(f"{_MARKS[finding.level]} {finding.text}{advice}")
    console.say("All is well." if found.healthy else "Something is wrong: see above.")


def as_dict(found: "Standing") -> dict[str, Any]:
    """Return what ``--json`` prints; documented in docs/contract.md."""
    from sartor.types import to_json

    return {
        "healthy": found.healthy,
        "server": None if found.server is None else to_json(found.server),
        "models": [
            {
                "name": one.name,
                "alias": one.alias,
                "version": one.version,
                "id": one.id,
                "family": one.family,
                "gate": one.gate,
                "reasons": list(one.reasons),
                "moved": one.moved,
                "actor": one.actor,
                "previous": one.previous,
                "canary": None if one.canary is None else to_json(one.canary),
                "policy": dict(one.policy),
                "cases": one.cases,
                "healthy": not one.damage,
                "recent": to_json(lately),
            }
            for one, lately in zip(found.served, found.recent, strict=True)
        ],
        "errors": found.errors,
        "findings": to_json(found.findings),
    }
