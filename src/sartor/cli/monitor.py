"""``sartor monitor``: how models in use are doing, and what to do about it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sartor.cli import console
from sartor.errors import GateRefused, UserError

if TYPE_CHECKING:
    from sartor.monitor.watch import Health, Rollback


@click.command()
@click.argument("name", required=False)
@click.option("--once", is_flag=True, help="Look once and exit; exit code 3 where something alerts.")
@click.option("--every", type=click.FloatRange(1), default=30.0, show_default=True, help="Seconds between two looks.")
@click.option("--reference", type=click.IntRange(100), metavar="N", help="Requests that tell what is usual (500).")
@click.option("--false-alarms", type=click.FloatRange(0.01, 1000), metavar="N", help="In 10,000 requests, at most (1).")
@click.option("--forget", is_flag=True, help="Take what is asked from now on for usual.")
@click.option("--rollback", "rolls_back", is_flag=True, help="Go back to the version before where answers are worse.")
@click.option("--webhook", metavar="URL", default="", help="POST changes there; its host must be in SARTOR_ALERTS.")
@click.option("--email", metavar="ADDRESS", default="", help="Mail changes there, by SARTOR_SMTP.")
@click.option("--prometheus", type=click.Path(path_type=Path), metavar="FILE", help="Write the state as metrics.")
@console.common
def monitor(
    name: str | None,
    once: bool,
    every: float,
    reference: int | None,
    false_alarms: float | None,
    forget: bool,
    rolls_back: bool,
    webhook: str,
    email: str,
    prometheus: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Watch the champion of NAME, or all champions: inputs, answers, accuracy, cost."""
    from sartor import settings
    from sartor.monitor import sinks, watch
    from sartor.monitor.signals import Budget

    current = settings.current()
    home, to = current.home, sinks.Sinks(webhook, email)
    sinks.check(to, current)
    names = [name] if name else list(watch.champions(home))
    if not names:
        raise UserError(f"No model in {home} is a champion, so there is none to watch. 'sartor generate' makes one.")
    if forget:
        for one in names:
            watch.forget(one, home)
    options = watch.Options(
        reference=reference or watch.REFERENCE,
        budget=Budget() if false_alarms is None else Budget(false_alarms, 5 * false_alarms),
    )
    rollback = _rollback(home) if rolls_back else None

    def look() -> "list[Health]":
        found = [watch.watch(one, home, options, rollback=rollback) for one in names]
        for health in found:
            for failed in sinks.send(health, to, current):
                console.say_error(f"! {failed}")
        if prometheus is not None:
            with console.writing(prometheus) as file:
                file.write(sinks.prometheus(found))
        return found

    found = look()
    _show(found, as_json=as_json)
    if once:
        _refuse_alerts(found)
    while not once:
        time.sleep(every)
        found = look()
        if as_json or any(health.changes for health in found):
            _show(found, as_json=as_json)


def _refuse_alerts(found: "Sequence[Health]") -> None:
    alarmed = [f"{health.name}@v{health.version}" for health in found if health.level == "alert"]
    if alarmed:
        raise GateRefused(f"{', '.join(alarmed)} {'needs' if len(alarmed) == 1 else 'need'} a look.")


def _rollback(home: Path) -> "Rollback":
    """Return what moves a champion back to the version before; a canary that runs is ended first."""
    from sartor import release

    def back(name: str, model: str, why: str) -> str:
        done = release.rollback(home, name, reason=why)
        if done.canary:
            done = release.rollback(home, name, reason=why)
        return f"{name}@{done.alias} went back to v{done.entry.version}, for {why}."

    return back


def _show(found: "Sequence[Health]", *, as_json: bool) -> None:
    if as_json:
        console.print_json({"models": [to_json(health) for health in found]})
        return
    for health in found:
        _show_one(health)
    alarmed = [health.name for health in found if health.level == "alert"]
    if alarmed:
        console.next_step(f"sartor review {alarmed[0]}", f"sartor monitor --once {alarmed[0]} --json")


def _show_one(health: "Health") -> None:
    marks: dict[str, Callable[[str], str]] = {
        "ok": lambda text: click.style(text, fg="green"),
        "warn": lambda text: click.style(text, fg="yellow"),
        "alert": lambda text: click.style(text, fg="red", bold=True),
    }
    state = "learning" if health.learning else health.level
    mark = marks[health.level] if not health.learning else str
    console.say(
        f"{health.name}@v{health.version} ({health.model}): {mark(state)}; {health.seen:,} requests watched, "
        f"{health.judged:,} answers judged, at most {health.false_alarms:g} false alarms in 10,000 requests."
    )
    for note in health.notes:
        console.say(f"· {note}")
    if health.rolled_back:
        console.say(f"! {health.rolled_back}")
    if health.lines:
        console.print_table(
            ("signal", "state", "value", "alerts at", "requests", "what is watched"),
            [
                (line.signal, line.level, f"{line.reading.value:.3g}", _limit(line), f"{line.reading.at:,}", line.title)
                for line in health.lines
            ],
        )
    for line in health.lines:
        if line.advice:
            console.say(f"! {line.title}: {line.advice}")


def _limit(line: Any) -> str:
    reading = line.reading
    if reading.p is not None:
        return f"p {reading.p:.1g}, limit {reading.threshold:.1g}"
    if reading.sum is not None:
        return f"sum {reading.sum:.1f}, limit {reading.threshold:.1f}"
    return f"{reading.threshold:g}"


def to_json(health: "Health") -> dict[str, Any]:
    """Return what ``--json`` prints of a model."""
    return {
        "name": health.name,
        "id": health.model,
        "version": health.version,
        "level": health.level,
        "learning": health.learning,
        "reference": health.reference,
        "seen": health.seen,
        "judged": health.judged,
        "false_alarms": health.false_alarms,
        "signals": [
            {
                "signal": line.signal,
                "title": line.title,
                "level": line.level,
                "test": line.test,
                "value": line.reading.value,
                "usual": line.reading.usual,
                "p": line.reading.p,
                "sum": line.reading.sum,
                "threshold": line.reading.threshold,
                "window": line.reading.window,
                "psi": line.reading.psi,
                "at": line.reading.at,
                "advice": line.advice,
            }
            for line in health.lines
        ],
        "changes": [
            {"signal": change.signal, "before": change.before, "after": change.after, "at": change.at}
            for change in health.changes
        ],
        "notes": list(health.notes),
        "rolled_back": health.rolled_back,
    }
