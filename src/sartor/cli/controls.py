"""``sartor controls``: what a generator is worth beside the controls that could explain it away."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sartor.cli import console
from sartor.errors import TaskError
from sartor.types import Metric, to_json

if TYPE_CHECKING:
    from sartor.pretrain.controls import Controls, HarmResult

_FAMILY = "text-generation"
_AIM = 0.02
"""Share of what the plain base has right of other tasks that may be lost."""


def _steps(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[int, ...]:
    found = [part.strip() for part in (text or "").split(",") if part.strip()]
    if not all(part.isdecimal() and 0 < int(part) <= 10_000 for part in found):
        raise click.BadParameter(f"{text!r} is no list of numbers of steps. Write it as 10,60.")
    return tuple(dict.fromkeys(int(part) for part in found))


_COUNT = click.IntRange(1)


@click.command()
@click.argument("family")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Public tasks (text/INDEX.csv), or your own: a folder a task, with task.yaml.",
)
@click.option("--most", type=click.IntRange(2), metavar="N", help="Tasks at most, spread over groups; default all.")
@click.option("--rows", type=_COUNT, default=16, show_default=True, help="Test rows of a task at most.")
@click.option("--answered", type=_COUNT, default=8, show_default=True, help="Of these, rows that are answered.")
@click.option(
    "--unrelated", type=click.IntRange(0), default=8, show_default=True, help="Prompts of other tasks a task."
)
@click.option("--seeds", type=_COUNT, default=1, show_default=True, help="Draws of rows, from --seed on.")
@click.option("--workers", type=_COUNT, default=1, show_default=True, help="Processes; 1.5 GB and a core each.")
@click.option("--lora-steps", metavar="N,N", callback=_steps, help="Also train per task so long, as 10,60; slow.")
@click.option(
    "--generator",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="generator.safetensors of a recipe's run; default the shipped one.",
)
@click.option("--fold", type=click.IntRange(0), default=0, show_default=True, help="That the generator never saw.")
@click.option("--learned-too", is_flag=True, help="Judge tasks that the generator learned from as well.")
@console.common
def controls(
    family: str,
    data: Path,
    most: int | None,
    rows: int,
    answered: int,
    unrelated: int,
    seeds: int,
    workers: int,
    lora_steps: tuple[int, ...],
    generator: Path | None,
    fold: int,
    learned_too: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Put what FAMILY generates beside its controls, over many tasks: wrong conditions, the anchor, the plain base.

    Nothing is stored. A task takes a minute or so a draw on one core, with --lora-steps 10,60 two or three.
    """
    check_family(family)
    from sartor.pretrain import controls as judge
    from sartor.pretrain.arms import Plan

    plan = Plan(lora=lora_steps, rows=rows, answered=answered, unrelated=unrelated)
    with console.progress() as progress:
        progress("read tasks", 0, 0)
        tasks = judge.load_tasks(data, fold=fold, learned_too=learned_too)
        found = judge.run(
            tasks,
            family=family,
            most=most,
            plan=plan,
            seeds=range(seed, seed + seeds),
            generator=generator,
            workers=workers,
            progress=progress,
        )
    if as_json:
        console.print_json(to_json(found))
    else:
        print_controls(found)


def check_family(family: str) -> None:
    """Return if this command can judge the family.

    Raises:
        NotFoundError: if there is no such family.
        TaskError: if its controls are not among these.
    """
    if family == _FAMILY:
        return
    from sartor import families

    families.load(family)
    raise TaskError(
        f"This command has the controls of {_FAMILY}, not those of {family!r}. Those of text-classification are a "
        "benchmark of the repository: python -m benchmarks.controls --data DATA --anchors DIR."
    )


def print_controls(found: "Controls") -> None:
    """Print what was found for a person."""
    console.print_notes(found.notes)
    console.say()
    seeds = f"{len(found.seeds)} draws of rows" if len(found.seeds) > 1 else "one draw of rows"
    console.say(
        f"{found.tasks} tasks in {found.groups} groups, {seeds}; {found.base}; generator: {found.generator}. 95% "
        "intervals over groups; differences are in favour of what is generated from 16 rows."
    )
    console.print_table(
        ("who answers", "tasks", "nats a token", "difference", "exact", "difference", "made in"),
        [
            (
                one.title,
                str(one.tasks),
                f"{one.loss.value:.2f}",
                _gap(one.loss_difference),
                _percent(one.exact_match),
                _gap(one.exact_match_difference, points=True),
                f"{one.seconds:.1f} s" if one.seconds is not None else "",
            )
            for one in found.arms
        ],
    )
    console.print_table(
        ("ahead of", "by nats a token", "by exact answers"),
        [
            (f"{pair.arm} ahead of {pair.against}", _gap(pair.loss), _gap(pair.exact_match, points=True))
            for pair in found.pairs
        ],
    )
    console.print_table(
        ("how alike, how large", "mean"),
        [(name, f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]") for name, one in found.likeness.items()],
    )
    if found.unrelated:
        console.print_table(
            (
                "adapter, on prompts of other tasks",
                "asked",
                "KL (nats)",
                "exact, plain",
                "change",
                "tokens, plain",
                "change",
            ),
            [
                (
                    one.title,
                    one.way,
                    f"{one.kl.value:.2f} [{one.kl.low:.2f}, {one.kl.high:.2f}]",
                    _percent(one.before),
                    _gap(one.change, points=True),
                    _percent(one.tokens_before),
                    _gap(one.tokens_change, points=True),
                )
                for one in found.unrelated
            ],
        )
    for line in verdicts(found):
        console.say(line)


def verdicts(found: "Controls") -> list[str]:
    """Return what the figures say, in sentences."""
    ahead = {one.name: one.loss_difference for one in found.arms if one.loss_difference is not None}
    wrong = [name for name in ("anchor", "mean", "other", "shuffled", "gibberish", "plain") if name in ahead]
    better = [name for name in wrong if ahead[name].low > 0]
    lines: list[str] = []
    if better:
        lines.append(f"By nats, generated from 16 rows is better than: {', '.join(better)}.")
    if unproved := [name for name in wrong if name not in better]:
        lines.append(f"By nats, it is not shown to be better than: {', '.join(unproved)}.")
    for one in found.unrelated:
        if one.arm == "examples":
            lines.append(_told_of_harm(one))
    return lines


def _told_of_harm(one: "HarmResult") -> str:
    """Return what a generated adapter does to prompts of other tasks; the aim is about what can be lost."""
    worst = min(one.change.value, one.tokens_change.value)
    kept = "within" if worst >= -_AIM else "beyond"
    exact, tokens = (f"{100 * change.value:+z.1f}" for change in (one.change, one.tokens_change))
    lines = (
        f"On prompts of other tasks ({one.way}) a generated adapter changes the base's exact answers by {exact} points "
        f"and its right tokens by {tokens}: {kept} the {100 * _AIM:.0f} that may be lost."
    )
    if one.before.value < _AIM:
        lines += " The plain base answers next to none of them exactly, so look at tokens and KL."
    return lines


def _percent(share: Metric | None) -> str:
    return "" if share is None else f"{100 * share.value:.1f}%"


def _gap(difference: Metric | None, *, points: bool = False) -> str:
    if difference is None:
        return ""
    scale, form = (100, "+.1f") if points else (1, "+.2f")
    value, low, high = (format(scale * part, form) for part in (difference.value, difference.low, difference.high))
    return f"{value} [{low}, {high}]"
