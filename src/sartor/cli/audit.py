"""``sartor audit``: what was sent to large models, and whether the record of it is whole."""

import click

from sartor.cli import console

_BROKEN = 3


@click.command()
@click.option("--verify", is_flag=True, help="Check every row against the one before it; exit 3 where one was changed.")
@click.option("--head", metavar="HASH", help="With --verify: a hash noted earlier, which must still be in the chain.")
@console.common
def audit(verify: bool, head: str | None, seed: int, as_json: bool) -> int:
    """Sum up the ledger: every call to a large model, and every one that was refused."""
    from sartor import settings
    from sartor.errors import UserError
    from sartor.llm.connect import ledger
    from sartor.llm.ledger import Verified
    from sartor.llm.summary import summarise

    if head is not None and not verify:
        raise UserError("--head goes with --verify: it is a hash that the chain must hold.")
    book = ledger(settings.current())
    checked = book.verify(head) if verify else None
    if checked is not None and not checked.ok:
        return _tell_broken(str(book.path), checked, as_json=as_json)
    rows = list(book.rows())
    found = summarise(rows)
    parts = [
        {"destination": destination, "purpose": purpose, **part.as_json()}
        for (destination, purpose), part in sorted(found.parts.items())
    ]
    if as_json:
        whole = checked or Verified(True, len(rows), rows[-1].hash if rows else "")
        console.print_json(_report(str(book.path), whole, checked is not None, {**found.total.as_json(), "by": parts}))
        return 0
    if not rows:
        console.say(f"Nothing was ever sent to a large model: there is no row in {book.path}.")
        return 0
    total = found.total
    console.say(
        f"{total.calls:,} calls, {total.answered:,} answered, {total.failed:,} failed; {total.refused:,} refused and "
        f"not sent. {total.bytes_out:,} bytes left this process, {total.bytes_in:,} came back; cost {total.cost:.4g}."
    )
    columns = ("destination", "purpose", "calls", "answered", "failed", "refused", "bytes out", "bytes in", "cost")
    keys = ("destination", "purpose", "calls", "answered", "failed", "refused", "bytes_out", "bytes_in", "cost")
    console.print_table(columns, [[str(part[key]) for key in keys] for part in parts])
    if total.redactions:
        masked = ", ".join(f"{count} {kind}" for kind, count in sorted(total.redactions.items()))
        console.say(f"Masked before they left: {masked}.")
    if checked is not None:
        console.say(f"The chain of {checked.rows:,} rows is whole. Its head is {checked.head}: note it elsewhere.")
    else:
        console.next_step("sartor audit --verify")
    return 0


def _report(path: str, checked: object, verified: bool, sums: dict[str, object]) -> dict[str, object]:
    from sartor.llm.ledger import Verified

    assert isinstance(checked, Verified)
    return {
        "ledger": path,
        "rows": checked.rows,
        "head": checked.head,
        "verified": checked.ok if verified else None,
        "why": checked.why,
        **sums,
    }


def _tell_broken(path: str, checked: object, *, as_json: bool) -> int:
    from sartor.llm.ledger import Verified
    from sartor.llm.summary import Sum

    assert isinstance(checked, Verified)
    if as_json:
        console.print_json(_report(path, checked, True, {**Sum().as_json(), "by": []}))
    console.say_error(f"Refused: the ledger {path!r} is broken at row {checked.rows}. {checked.why}")
    return _BROKEN
