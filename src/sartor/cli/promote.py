"""``sartor promote`` and ``sartor rollback``: which version answers."""

from typing import TYPE_CHECKING, Any

import click

from sartor.cli import console
from sartor.errors import GateRefused, UserError

if TYPE_CHECKING:
    from sartor.release import Promoted


@click.command()
@click.argument("model")
@click.option("--as", "alias", default="champion", show_default=True, metavar="ALIAS", help="Alias that shall move.")
@click.option("--canary", metavar="SHARE", help="Give it a share of the champion's requests first, as 10%.")
@click.option("--force", is_flag=True, help="Move although the gate refuses; the log keeps that.")
@click.option("--retain/--no-retain", default=None, help="Keep texts of requests to this alias in the journal, or not.")
@console.common
def promote(
    model: str, alias: str, canary: str | None, force: bool, retain: bool | None, seed: int, as_json: bool
) -> None:
    """Let an alias point at MODEL (an id, or name@v2), if the gate finds it as good as what it pointed at."""
    share = None if canary is None else share_of(canary)
    from sartor import release, settings
    from sartor.registry.store import Store

    home = settings.current().home
    with console.progress() as progress:
        done = release.promote(home, model, alias=alias, canary=share, force=force, progress=progress)
    if retain is not None and done.moved:
        policy = {**Store(home).policy(done.entry.name, done.alias), "retain": retain}
        Store(home).set_policy(done.entry.name, done.alias, policy)
    if as_json:
        console.print_json(as_dict(done))
    else:
        print_promoted(done)
    if not done.moved:
        raise GateRefused(
            " ".join(done.gate.reasons)
            + f" {done.entry.name}@{done.alias} stays what it was; --force moves it all the same."
        )


@click.command()
@click.argument("name", required=False)
@console.common
def rollback(name: str | None, seed: int, as_json: bool) -> None:
    """Let the champion of NAME be what it was before; where a canary runs, end that alone."""
    from sartor import release, settings

    done = release.rollback(settings.current().home, name)
    if as_json:
        console.print_json(
            {
                "name": done.entry.name,
                "alias": done.alias,
                "version": done.entry.version,
                "id": done.entry.id,
                "left": done.left,
                "canary": done.canary,
            }
        )
        return
    entry = done.entry
    if done.canary:
        console.say(f"The canary {done.left} of {entry.name} is ended; {entry.name}@champion stays v{entry.version}.")
    else:
        console.say(f"{entry.name}@champion is v{entry.version} ({entry.id}) again; it was {done.left}.")
    console.next_step("sartor status")


def share_of(text: str) -> float:
    """Return a share: ``10%`` or ``0.1``.

    Raises:
        UserError: when it is none.

    >>> share_of("10%"), share_of("0.25")
    (0.1, 0.25)
    """
    plain = text.strip()
    try:
        share = float(plain.removesuffix("%")) / (100 if plain.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise UserError(f"A canary's share lies between 0% and 100%, as 10% or 0.1; got {text!r}.")
    return share


def as_dict(done: "Promoted") -> dict[str, Any]:
    """Return what ``--json`` prints; documented in docs/contract.md."""
    from sartor.types import to_json

    return {
        "name": done.entry.name,
        "alias": done.alias,
        "version": done.entry.version,
        "id": done.entry.id,
        "previous": done.previous,
        "moved": done.moved,
        "forced": done.forced,
        "canary": None if done.canary is None else done.canary.share,
        "gate": {"passed": done.gate.passed, "gated": done.gate.gated, "checks": to_json(done.gate.checks)},
    }


def print_promoted(done: "Promoted") -> None:
    """Print what the gate said and what became of it."""
    for check in done.gate.checks:
        mark = click.style("✓", fg="green") if check.passed else click.style("✗", fg="red", bold=True)
        console.say(f"{mark} {check.check}: {check.text}")
    if not done.moved:
        return
    entry = done.entry
    ungated = "" if done.gate.gated or not done.gate.passed else ", ungated"
    how = ", forced" if done.forced else ungated
    if done.canary is not None:
        share = f"{100 * done.canary.share:g}%"
        console.say(f"{entry.name}@v{entry.version} gets {share} of what {entry.name}@champion is asked{how}.")
    else:
        console.say(f"{entry.name}@{done.alias} is v{entry.version} ({entry.id}) now{how}.")
    console.next_step("sartor status", f"sartor rollback {entry.name}")
