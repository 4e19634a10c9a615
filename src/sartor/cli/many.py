"""``sartor generate --many``: a file of tasks to as many models, none of them proved."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.cli import console
from sartor.errors import TaskError
from sartor.types import to_json

if TYPE_CHECKING:
    from sartor.bulk import BadLine, Kept


def many(path: Path, *, out: Path | None, base: str | None, seed: int, skip_bad: bool, as_json: bool) -> None:
    """Make what ``path`` lists, and say what became of each line."""
    from sartor import bulk, pipeline

    clock = pipeline.Clock()
    with console.progress() as progress, clock("check"):
        listed = bulk.read(path, base=base, progress=progress)
    if listed.bad and not (skip_bad and listed.lines):
        raise TaskError(_refusal(path, listed.bad, len(listed.lines), out_of_skip=skip_bad))
    for line in listed.bad:
        console.say_error(f"! Line {line.number} is left out: {line.text}")
    kept: list[Kept] = []
    try:
        with console.progress() as progress:
            for batch in bulk.make(listed.lines, out=out, seed=seed, clock=clock, progress=progress):
                kept += batch
    except KeyboardInterrupt:
        there = (
            f"At least {len(kept):,} of {len(listed.lines):,} models are there"  # a batch may have ended in a folder
        )
        console.say_error(f"{there}; the same command makes the rest.")
        raise
    kept.sort(key=lambda one: one.line)
    if as_json:
        console.print_json(as_dict(kept, listed.bad, clock.seconds))
    else:
        _print(kept, listed.bad, clock.seconds, out)


def _refusal(path: Path, bad: Sequence["BadLine"], good: int, *, out_of_skip: bool) -> str:
    told = "\n".join(f"  Line {line.number}: {line.text}" for line in bad)
    lines = "1 line" if len(bad) == 1 else f"{len(bad):,} lines"
    advice = "Mend them." if out_of_skip or not good else "Mend them, or go on without them by --skip-bad."
    return f"{lines} of {path.name} cannot be used, and nothing was made.\n{told}\n{advice}"


def as_dict(kept: Sequence["Kept"], bad: Sequence["BadLine"], seconds: dict[str, float]) -> dict[str, Any]:
    """Return what ``--json`` prints; documented in docs/contract.md."""
    made = sum(one.status == "made" for one in kept)
    return {
        "made": made,
        "unchanged": len(kept) - made,
        "left_out": len(bad),
        "seconds": seconds,
        "per_minute": _per_minute(made, seconds),
        "models": [{**asdict(one), "path": str(one.path)} for one in kept],
        "bad": to_json(bad),
    }


def _per_minute(made: int, seconds: dict[str, float]) -> float:
    spent = seconds.get("generate", 0.0) + seconds.get("store", 0.0)
    return round(60 * made / spent, 1) if made and spent else 0.0


def _print(kept: Sequence["Kept"], bad: Sequence["BadLine"], seconds: dict[str, float], out: Path | None) -> None:
    made = [one for one in kept if one.status == "made"]
    parts = [_counted(len(made), "made")]
    if len(made) < len(kept):
        parts.append(f"{len(kept) - len(made):,} unchanged since they were made, and skipped")
    if bad:
        parts.append(f"{_counted(len(bad), 'left out', 'line')}")
    console.say("; ".join(parts) + ".")
    spent = ", ".join(f"{stage} {took:.1f} s" for stage, took in seconds.items())
    rate = f": {_per_minute(len(made), seconds):,.0f} a minute" if made else ""
    console.say(f"{spent}{rate}.")
    console.say(f"They lie in {out}, one folder each." if out else "They are in the store: 'sartor models' lists them.")
    if made:
        console.say("None is proved: nothing was measured. 'sartor evaluate' with rows it has not seen proves one.")
    first = kept[0].name if out is None else str(kept[0].path)
    console.next_step(
        f'sartor predict {first} "a text of yours"',
        f"sartor evaluate {first} --data test.csv --html report.html",
        "sartor predict --input rows.csv --model-column model --output answers.csv",
    )


def _counted(count: int, what: str, thing: str = "model") -> str:
    return f"1 {thing} {what}" if count == 1 else f"{count:,} {thing}s {what}"
