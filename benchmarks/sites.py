"""(j) What there is to win by knowing the task: one adapter for all tasks against one trained for each, site by site.

    python -m benchmarks.sites --data DATA --run DIR

``DIR`` is what ``recipes/text_generation.py`` left; its anchor is the adapter for all tasks. Validation tasks of its
fold, never the held-out ones, for sites are chosen by this. For each task an adapter of rank 8 is trained on up to 24
of its rows, on {q, v}, {q, v, down} and all seven linear layers of the upper ten layers, ``--steps`` steps of 8 rows,
and judged by the cross-entropy of the answers to its test rows (nats a token); seconds are one thread's.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Run, arguments, group_mean, table
from benchmarks.generation import BASE, GENERATOR, spread
from sartor.nn import decoder, generator_file
from sartor.nn.decoder import Adapters
from sartor.nn.language import LanguageModel, load_language_model
from sartor.nn.teacher_forcing import Batch, answer_losses, write
from sartor.pretrain import adapters, instructions
from sartor.pretrain.adapters import AnchorLesson, Dial
from sartor.pretrain.instructions import Chances, InstructionMixture, InstructionTask
from sartor.pretrain.run import Pace

SITES = {
    "q, v": ("q_proj", "v_proj"),
    "q, v, down": ("q_proj", "v_proj", "down_proj"),
    "all seven": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
}
ROWS, TESTS = 24, 16
LAYERS = 10
"""The upper ones, which have adapters."""


def main() -> None:
    options = arguments(
        __doc__ or "",
        seeds=1,
        extend={
            "--run": {"type": Path, "required": True, "help": "folder of the recipe's run"},
            "--fold": {"type": int, "default": 0, "help": "that the run never saw"},
            "--most": {"type": int, "default": 12, "help": "tasks"},
            "--steps": {"type": int, "default": 60, "help": "of each task's training"},
        },
    )
    run = Run("sites", options, seeds=range(options.seeds))
    split = instructions.load(options.data, held_out=options.fold)
    tasks = adapters.few_rows(spread(split.validation, options.most), ROWS, 1)
    model = load_language_model(BASE)
    anchor = load_anchor(model, options.run)
    rows: list[dict[str, Any]] = []
    for at, task in enumerate(tasks, start=1):
        found: dict[str, Any] = {"base": loss(model, task, None), "anchor": loss(model, task, anchor)}
        for name, targets in SITES.items():
            started = time.perf_counter()
            found[name] = loss(model, task, own(model, task, targets, options.steps))
            found[f"{name}: seconds"] = time.perf_counter() - started
        rows.append({"task": task.name, "group": task.group, **found})
        run.say(f"{at}/{len(tasks)} {task.name}")
    summary = summarise(rows)
    print(to_table(summary))
    run.write(rows, summary, base=model.spec.name, fold=options.fold)


def load_anchor(model: LanguageModel, folder: Path) -> Adapters:
    """Return the anchor that the recipe left."""
    return generator_file.read((folder / GENERATOR).read_bytes(), decoder.sites(model.decoder)).anchor


def own(model: LanguageModel, task: InstructionTask, targets: Sequence[str], steps: int) -> Adapters:
    """Return an adapter that was trained on a task's training rows alone."""
    pace = Pace(steps=steps, rate=2e-3, warm_up=min(10, steps), every=steps)
    dial = Dial(pace, tasks=1, rows=8, rank=8, layers=LAYERS, targets=tuple(targets), watched=1)
    mixture = InstructionMixture([task], Chances(same_input=0.0, shown=(1.0, 0.0, 0.0)))
    with tempfile.TemporaryDirectory() as folder:
        lesson = AnchorLesson(model, mixture, mixture, dial)
        return adapters.train_anchor(lesson, Path(folder), seed=0, on_look=lambda look: None)


@torch.inference_mode()
def loss(model: LanguageModel, task: InstructionTask, adapter: Adapters | None) -> float:
    """Return the mean cross-entropy of the answers to a task's test rows."""
    rows = [write(model, row) for row in task.test[:TESTS]]
    layer = adapters.first_layer(model, LAYERS)
    return float(answer_losses(model, Batch.of(rows, torch.device("cpu")), adapter, layer).mean())


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means over groups, and what each is below the anchor."""
    groups = [row["group"] for row in rows]
    named = [name for name in rows[0] if name not in ("task", "group")]
    return {
        "tasks": len(rows),
        "groups": len(set(groups)),
        "mean": {name: group_mean(groups, [row[name] for row in rows]) for name in named},
        "below_anchor": {
            name: group_mean(groups, [row["anchor"] - row[name] for row in rows])
            for name in named
            if name != "anchor" and "seconds" not in name
        },
        "median_seconds": {
            name: float(np.median([row[f"{name}: seconds"] for row in rows])) for name in SITES if name in named
        },
    }


def to_table(summary: dict[str, Any]) -> str:
    """Return the means for a person."""
    lines: list[tuple[object, ...]] = []
    for name, mean in summary["mean"].items():
        if "seconds" not in name:
            below = summary["below_anchor"].get(name)
            told = "" if below is None else f"{below.value:+.3f} [{below.low:+.3f}, {below.high:+.3f}]"
            seconds = summary["median_seconds"].get(name)
            lines.append((name, f"{mean.value:.3f}", told, "" if seconds is None else f"{seconds:.0f}"))
    title = f"nats a token: {summary['tasks']} validation tasks in {summary['groups']} groups"
    return "\n".join([title, table(("adapter", "", "below the anchor", "seconds"), lines)])


if __name__ == "__main__":
    main()
