"""``sartor regress``: the cases that every new version of a name must still answer."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sartor.cli import console
from sartor.errors import UserError

if TYPE_CHECKING:
    from sartor.registry.regression import Case


@click.group()
def regress() -> None:
    """Keep cases that every new version of a name must still answer."""


@regress.command()
@click.argument("name")
@click.option("--data", type=click.Path(path_type=Path), metavar="FILE", help="Labelled rows.")
@click.option("--feedback", is_flag=True, help="Answers that users corrected, where their texts were retained.")
@click.option("--must-pass", is_flag=True, help="Each of these cases alone can refuse a version.")
@console.column_options
@console.common
def add(
    name: str,
    data: Path | None,
    feedback: bool,
    must_pass: bool,
    text_column: str | None,
    label_column: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Add labelled rows to the regression set of NAME."""
    if (data is None) != feedback:
        raise UserError("Say where the cases are: --data FILE, or --feedback; not both and not neither.")
    from sartor import settings
    from sartor.registry import regression

    home = settings.current().home
    cases = (
        _of_feedback(name, must_pass) if data is None else _of_file(name, data, must_pass, text_column, label_column)
    )
    new, total = regression.add(home, name, cases)
    if as_json:
        console.print_json({"name": name, "added": new, "cases": total, "must_pass": _must_pass(name)})
        return
    console.say(f"{new:,} new cases; the regression set of {name} has {total:,}.")
    console.next_step("sartor promote ID")


@regress.command("list")
@click.argument("name")
@console.common
def list_(name: str, seed: int, as_json: bool) -> None:
    """Show the regression set of NAME."""
    from sartor import settings
    from sartor.registry import regression
    from sartor.types import to_json

    cases = regression.read(settings.current().home, name)
    if as_json:
        console.print_json({"name": name, "cases": to_json(cases)})
        return
    if not cases:
        console.say(f"{name} has no regression set.")
        console.next_step(f"sartor regress add {name} --data cases.csv")
        return
    rows = [
        (str(number), case.input[:60], case.output[:40], "yes" if case.must_pass else "", case.source)
        for number, case in enumerate(cases, 1)
    ]
    console.print_table(("number", "input", "right", "must pass", "from"), rows)


def _of_file(name: str, path: Path, must_pass: bool, text_column: str | None, label_column: str | None) -> "list[Case]":
    from sartor import settings
    from sartor.data import load, records
    from sartor.registry import bundle
    from sartor.registry.regression import Case
    from sartor.registry.store import Store
    from sartor.types import Columns

    need = bundle.read(Store(settings.current().home).get(name).path, verify=False).manifest.requirement
    if need.target:
        rows = records.read_records(path, label_column or need.target)
    else:
        rows = load.read_rows(path, Columns(text_column, label_column), need_labels=True)
    for note in rows.notes:
        if note.level == "warning":
            console.say_error(f"! {note.text}")
    return [Case(row.input, str(row.output), must_pass, path.name) for row in rows.examples]


def _of_feedback(name: str, must_pass: bool) -> "list[Case]":
    from sartor import journal, settings
    from sartor.registry.regression import Case
    from sartor.registry.store import Store

    home = settings.current().home
    Store(home).get(name)
    known = [pair for pair in journal.Reader(home / journal.FILE).feedback(name=name) if pair[0].label is not None]
    kept = [(row, answer) for row, answer in known if answer.text is not None]
    if lost := len(known) - len(kept):
        console.say_error(f"! {lost:,} corrected answers have no text in the journal: promote with --retain keeps it.")
    return [Case(str(answer.text), str(row.label), must_pass, "feedback") for row, answer in kept]


def _must_pass(name: str) -> int:
    from sartor import settings
    from sartor.registry import regression

    return sum(case.must_pass for case in regression.read(settings.current().home, name))
