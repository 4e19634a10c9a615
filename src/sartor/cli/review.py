"""``sartor review``: answers that a person should look at, and what they say of them."""

from datetime import UTC, datetime

import click

from sartor.cli import console
from sartor.errors import UserError
from sartor.types import to_json

_TEXT = 100


@click.command()
@click.argument("name")
@click.option("--most", type=click.IntRange(1, 1000), default=30, show_default=True, help="Answers to list.")
@click.option("--answer", "answer_id", metavar="ID", help="The answer that you judge.")
@click.option("--label", metavar="LABEL", help="What is right; the label it has confirms it.")
@console.common
def review(name: str, most: int, answer_id: str | None, label: str | None, seed: int, as_json: bool) -> None:
    """List answers of the champion of NAME to look at: unsure ones, unlike ones and a random share; or judge one."""
    from sartor import settings
    from sartor.monitor import review as queue

    home = settings.current().home
    if (answer_id is None) != (label is None):
        raise UserError("To judge an answer give both: --answer ID --label LABEL.")
    if answer_id is not None and label is not None:
        _judge(name, queue.answer(name, home, answer_id, label), as_json=as_json)
        return
    found = queue.queue(name, home, most=most)
    if as_json:
        console.print_json(to_json(found))
        return
    if not found.items:
        console.say(f"No answer of {name} waits for review.")
        return
    if found.retained < len(found.items):
        without = len(found.items) - found.retained
        console.say(
            f"· The texts of {without} of {len(found.items)} were not kept, as the alias' policy says: look them up "
            "where the request came from, by the answer's id. 'sartor promote --retain' keeps those to come."
        )
    console.print_table(
        ("answer", "when", "why", "label", "confidence", "text"),
        [
            (
                item.answer_id,
                datetime.fromtimestamp(item.at, UTC).strftime("%Y-%m-%d %H:%M"),
                item.reason,
                (item.label or "") + (" (abstained)" if item.abstain else ""),
                "" if item.confidence is None else f"{item.confidence:.2f}",
                "(not kept)" if item.text is None else item.text[:_TEXT],
            )
            for item in found.items
        ],
    )
    label = found.labels[0] if found.labels else "TEXT"
    console.next_step(f"sartor review {name} --answer {found.items[0].answer_id} --label {label!r}")


def _judge(name: str, found: object, *, as_json: bool) -> None:
    from sartor.monitor.review import Reviewed

    assert isinstance(found, Reviewed)
    if as_json:
        console.print_json(to_json(found))
        return
    said = "is right" if found.right else f"was {found.answered!r}, should be {found.label!r}"
    console.say(f"{found.answer_id} {said}: kept as feedback.")
    if found.candidate is None:
        console.say("· Its text was not kept, so it cannot become a regression case or a training row.")
    else:
        console.next_step(f"sartor regress add {name} --feedback")
