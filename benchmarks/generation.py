"""(i) What a generated adapter is worth: held-out text-to-text tasks, its condition right, wrong, or not there.

    python -m benchmarks.generation --data DATA --run DIR

``DIR`` is what ``recipes/text_generation.py`` left. This is ``sartor controls text-generation`` over many tasks, its
arms as :mod:`sartor.pretrain.arms` has them, with per-task LoRA and every figure of every task kept.

Two measures: the cross-entropy of the right answer's tokens (nats a token, all arms, all rows), and exact match of
greedy answers without case and outer punctuation (``--answered`` rows a task, the arms of :data:`ANSWERED`). Means over
tasks within a group, then over groups; intervals by drawing groups anew. Tasks are spread over groups: no second of a
group before each has one. A description beside rows is not read, so rows with a description are no arm here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Run, arguments, table
from sartor.pretrain import controls
from sartor.pretrain.arms import ARMS, Plan, TaskFound
from sartor.pretrain.arms import follower as follower
from sartor.pretrain.arms import spread as spread
from sartor.pretrain.controls import BASE as BASE

GENERATOR = "generator.safetensors"
LORA = (10, 60)
ANSWERED = ("base", "told", "shown", "anchor", "examples", "description", "other", "lora 60")
"""Arms whose answers are written, too."""
PLAN = Plan(
    arms=tuple(arm for arm in ARMS if arm != "all"), lora=LORA, answering=frozenset(ANSWERED), unrelated=0
)  # what harm is done to other prompts is told by `sartor controls`


def main() -> None:
    options = arguments(
        __doc__ or "",
        seeds=1,
        extend={
            "--run": {"type": Path, "required": True, "help": "folder of the recipe's run"},
            "--fold": {"type": int, "default": 0, "help": "that the run never saw"},
            "--rows": {"type": int, "default": 16, "help": "test rows of a task at most"},
            "--answered": {"type": int, "default": 8, "help": "of these, rows that are answered as well"},
            "--most": {"type": int, "default": 48, "help": "tasks at most"},
            "--workers": {"type": int, "default": 1, "help": "processes, each on one core"},
        },
    )
    torch.set_num_threads(1)
    told = Run("generation", options, seeds=range(options.seeds))
    tasks = controls.load_tasks(options.data, fold=options.fold)
    plan = replace(PLAN, rows=options.rows, answered=options.answered)
    source = controls.Source(tasks.learned, generator=options.run / GENERATOR)
    todo = controls.jobs(tasks.judged, options.most, seeds=told.seeds, unrelated=plan.unrelated)
    rows: list[dict[str, Any]] = []
    for at, found in enumerate(controls.judged(source, todo, plan, workers=options.workers), start=1):
        rows += as_rows(found)
        told.say(f"{at}/{len(todo)} {found.task}")
    summary = {field: summarise(rows, field) for field in ("loss", "exact_match")} | {"more": details(rows)}
    for field in ("loss", "exact_match"):
        print(to_table(field, summary[field]))
        print()
    print(summary["more"])
    told.write(rows, summary, name="generation", base=source.base, fold=options.fold)


def as_rows(found: TaskFound) -> list[dict[str, Any]]:
    """Return a row an arm, and one for how alike what was generated is."""
    about: dict[str, Any] = {"task": found.task, "group": found.group}
    about |= {"seed": found.seed} if found.seed else {}
    rows: list[dict[str, Any]] = []
    for one in found.arms:
        figures = {"loss": one.loss, "exact_match": one.exact_match, "seconds": one.seconds}
        rows.append({**about, "arm": one.arm} | {name: value for name, value in figures.items() if value is not None})
    alike = {name: value for name, value in found.likeness.items() if "beyond the mean" not in name}  # no column of it
    return [*rows, {**about, "arm": "likeness", **alike}]


# --- what it says ------------------------------------------------------------------------------------------


def summarise(rows: Sequence[Mapping[str, Any]], field: str, ours: str = "examples") -> dict[str, Any]:
    """Return the mean of every arm, and what generated from rows is ahead of it (of a loss: below it)."""
    several: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if field in row:
            several.setdefault((row["task"], row["arm"]), []).append(row[field])
    values = {key: float(np.mean(some)) for key, some in several.items()}  # over seeds
    group_of = {row["task"]: row["group"] for row in rows}
    found = controls.against(values, group_of, less_is_better=field == "loss", ours=ours)
    return {
        "tasks": len(group_of),
        "groups": len(set(group_of.values())),
        "mean": {arm: one.mean for arm, one in found.items()},
        "ahead_of": {arm: one.ahead for arm, one in found.items() if one.ahead is not None},
    }


def details(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return seconds, the share of the way from the anchor to a trained adapter, and likenesses; means or medians."""
    seconds: dict[str, list[float]] = {}
    for row in rows:
        if "seconds" in row:
            seconds.setdefault(row["arm"], []).append(row["seconds"])
    alike = [row for row in rows if row["arm"] == "likeness"]
    names = sorted({name for row in alike for name in row} - {"task", "group", "seed", "arm"})
    mean = summarise(rows, "loss")["mean"]
    way = mean["anchor"].value - mean["lora 60"].value
    return {
        "median_seconds": {arm: float(np.median(some)) for arm, some in seconds.items()},
        "share_of_the_way_from_anchor_to_lora_60": (mean["anchor"].value - mean["examples"].value) / way,
        "mean_likeness": {name: float(np.mean([row[name] for row in alike if name in row])) for name in names},
    }


def to_table(field: str, summary: Mapping[str, Any]) -> str:
    """Return means and differences for a person."""
    lines: list[tuple[object, ...]] = []
    for arm, mean in summary["mean"].items():
        ahead = summary["ahead_of"].get(arm)
        told = "" if ahead is None else f"{ahead.value:+.3f} [{ahead.low:+.3f}, {ahead.high:+.3f}]"
        lines.append((arm, f"{mean.value:.3f}", told))
    title = f"{field}: {summary['tasks']} tasks in {summary['groups']} groups"
    return "\n".join([title, table(("arm", "", "generated from rows, ahead"), lines)])


if __name__ == "__main__":
    main()
