"""(i) What a generated adapter is worth: held-out text-to-text tasks, its condition right, wrong, or not there.

    python -m benchmarks.generation --data DATA --run DIR

``DIR`` is what ``recipes/text_generation.py`` left. Every row is answered by the same frozen base:

- ``base`` reads the input alone; ``told`` reads the task's description before it; ``shown`` reads four labelled rows
  before it, as many as fit
- ``anchor``: with one adapter for all tasks · ``mean``: with the mean of what is generated for tasks it learned from
- ``description``, ``examples``, ``both``: with the adapter generated from the task's first description, from 16
  labelled rows, from both; the base reads the input alone
- ``other``: from both of the next task, of another group · ``gibberish``: from a description of random letters

Two measures: the cross-entropy of the right answer's tokens (nats a token, all arms, all rows), and exact match of
greedy answers without case and outer punctuation (``--answered`` rows a task). Means over tasks within a group, then
over groups; intervals by drawing groups anew.

Dimension key:   G: conditions   B: rows   S: sites   K: width of a basis
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.common import Run, arguments, gibberish, group_mean, table
from sartor.evaluate.matching import exact_match
from sartor.families.text_classification import load_base
from sartor.nn.anchored import join
from sartor.nn.decoder import Adapters
from sartor.nn.generation import generate
from sartor.nn.language import LanguageModel, load_language_model
from sartor.pretrain import adapters, generator, instructions
from sartor.pretrain.adapters import Batch, Sentences
from sartor.pretrain.generator import Generator
from sartor.pretrain.instructions import Condition, InstructionTask
from sartor.types import Example

BASE = "smollm2-135m-instruct"
SHOWN = 4
SHOTS = 16
MOST_NEW, MOST_READ = 32, 512
"""Tokens of an answer, and of what is read before it."""
MEAN_OF = 64
"""Tasks learned from whose generated parts are averaged."""
BATCH = 16


@dataclass(frozen=True, slots=True)
class Trained:
    """The base, and what a run of the recipe left."""

    model: LanguageModel
    anchor: Adapters
    generator: Generator
    sentences: Sentences
    layer: int
    """The lowest that adapters change."""

    def payload(self, condition: Condition) -> Tensor:
        """Return (1, S, K, K): what is generated for a condition."""
        told = self.sentences([condition], next(self.generator.parameters()).device)
        given = (told.items_GNE, told.types_GN, told.keep_GN, told.example_GN)
        return self.generator.head.payload(self.generator.encoder(*given))

    def adapter(self, payload_1SKK: Tensor) -> Adapters:
        """Return the adapter, the anchor's part in it."""
        return join(self.anchor, self.generator.head.expand(payload_1SKK), 1.0)


@dataclass(frozen=True, slots=True)
class Arm:
    """A way to answer."""

    adapter: Adapters | None
    write: Callable[[Example], str]
    """What the base reads of a row."""


def main() -> None:
    options = arguments(
        __doc__ or "",
        seeds=1,
        extend={
            "--run": {"type": Path, "required": True, "help": "folder of the recipe's run"},
            "--fold": {"type": int, "default": 0, "help": "that the run never saw"},
            "--rows": {"type": int, "default": 16, "help": "test rows of a task at most"},
            "--answered": {"type": int, "default": 8, "help": "of these, rows that are answered as well"},
            "--most": {"type": int, "help": "only the first so many tasks, to try the script"},
        },
    )
    run = Run("generation", options, seeds=range(options.seeds))
    split = instructions.load(options.data, held_out=options.fold)
    tasks = spread(split.held_out, options.most)
    learned = adapters.few_rows(spread(split.train, MEAN_OF), SHOTS, 1)
    with torch.inference_mode():
        trained = load(options.run, [*adapters.few_rows(tasks, SHOTS, 1), *learned], options.cache)
        mean = torch.cat([trained.payload(conditions(task)["both"]) for task in learned]).mean(dim=0, keepdim=True)
        rows: list[dict[str, Any]] = []
        for at, task in enumerate(tasks, start=1):
            other = next(one for one in (*tasks[at:], *tasks[:at]) if one.group != task.group)
            rows += judge(trained, task, arms(trained, task, other, mean), options.rows, options.answered)
            run.say(f"{at}/{len(tasks)} {task.name}")
    summary = {field: summarise(rows, field) for field in ("loss", "exact_match")}
    for field, found in summary.items():
        print(to_table(field, found))
        print()
    run.write(rows, summary, name="generation", base=trained.model.spec.name, fold=options.fold)


def spread(tasks: Sequence[InstructionTask], most: int | None) -> list[InstructionTask]:
    """Return so many tasks at equal distances, all of them where there is no limit."""
    if most is None or most >= len(tasks):
        return list(tasks)
    return [tasks[at] for at in np.linspace(0, len(tasks) - 1, most).astype(int)]


def load(folder: Path, tasks: Sequence[InstructionTask], cache: Path) -> Trained:
    """Return what the recipe left, ready for conditions of these tasks."""
    model, anchor = load_language_model(BASE), load_anchor(folder)
    weights = {name: tensor.float() for name, tensor in load_file(folder / "generator.safetensors").items()}
    made = Generator(adapters.sites_of(model, anchor), rank=generator.CPU.rank)
    made.load_state_dict(weights)
    texts = [*adapters.condition_texts(tasks), *(gibberish(task.descriptions[0]) for task in tasks)]
    sentences = adapters.embed(load_base("all-minilm-l6-v2"), texts, cache)
    return Trained(model, anchor, made.eval(), sentences, min(int(path.split(".")[2]) for path in anchor))


def load_anchor(folder: Path) -> Adapters:
    """Return the anchor that the recipe left."""
    found = load_file(folder / "anchor.safetensors")
    return adapters.as_adapters({name: tensor.float() for name, tensor in found.items()})


def conditions(task: InstructionTask) -> dict[str, Condition]:
    """Return what the generator may be told of a task."""
    told, support = task.descriptions[0], task.train[:SHOTS]
    return {
        "description": Condition("description", told, (), ()),
        "examples": Condition("examples", None, support, ()),
        "both": Condition("both", told, support, ()),
        "gibberish": Condition("description", gibberish(told), (), ()),
    }


def arms(trained: Trained, task: InstructionTask, other: InstructionTask, mean: Tensor) -> dict[str, Arm]:
    """Return all ways to answer a task's rows."""

    def alone(row: Example) -> str:
        return row.input

    def shown(row: Example) -> str:
        before = "\n\n".join(f"{one.input}\n{one.output}" for one in task.train[:SHOWN])
        return f"{before}\n\n{row.input}"

    found = {
        "base": Arm(None, alone),
        "told": Arm(None, lambda row: f"{task.descriptions[0]}\n\n{row.input}"),
        "shown": Arm(None, shown),
        "anchor": Arm(trained.anchor, alone),
        "mean": Arm(trained.adapter(mean), alone),
    }
    found |= {name: Arm(trained.adapter(trained.payload(one)), alone) for name, one in conditions(task).items()}
    found["other"] = Arm(trained.adapter(trained.payload(conditions(other)["both"])), alone)
    return found


def judge(
    trained: Trained, task: InstructionTask, ways: Mapping[str, Arm], most: int, answered: int
) -> list[dict[str, Any]]:
    """Return the mean loss and exact match of a task's test rows for each arm."""
    rows = task.test[:most]
    return [
        {
            "task": task.name,
            "group": task.group,
            "arm": name,
            "loss": float(np.mean(list(losses(trained, arm, rows)))),
            "exact_match": float(np.mean([right(*pair) for pair in answers(trained, arm, rows[:answered])])),
        }
        for name, arm in ways.items()
    ]


def losses(trained: Trained, arm: Arm, rows: Sequence[Example]) -> Iterator[float]:
    """Yield the cross-entropy of each row's answer."""
    for start in range(0, len(rows), BATCH):
        part = [Example(arm.write(row), row.output) for row in rows[start : start + BATCH]]
        batch = Batch.of(
            [adapters.write(trained.model, row, max_tokens=MOST_READ) for row in part], torch.device("cpu")
        )
        yield from adapters.answer_losses(trained.model, batch, arm.adapter, trained.layer).tolist()


def answers(trained: Trained, arm: Arm, rows: Sequence[Example]) -> Iterator[tuple[str, str]]:
    """Yield each row's answer and what it should have been."""
    model = trained.model
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        prompts = [model.prompt(arm.write(row), max_tokens=MOST_READ) for row in part]
        said = generate(
            model.decoder, prompts, adapters=arm.adapter, max_new_tokens=MOST_NEW, stop_ids=model.spec.stop_ids
        )
        yield from ((model.read(ids), str(row.output)) for ids, row in zip(said, part, strict=True))


def right(answer: str, wanted: str) -> bool:
    """Return whether an answer is the one wanted, case and outer punctuation aside."""
    return exact_match(answer, wanted, fold_case=True, strip_punctuation=True)


# --- what it says ------------------------------------------------------------------------------------------


def summarise(rows: Sequence[Mapping[str, Any]], field: str) -> dict[str, Any]:
    """Return the mean of every arm, and what generated from both is ahead of it (of a loss: below it)."""
    values = {(row["task"], row["arm"]): row[field] for row in rows}
    group_of = {row["task"]: row["group"] for row in rows}
    names = sorted(group_of)
    groups = [group_of[name] for name in names]
    sign = -1.0 if field == "loss" else 1.0
    found: dict[str, Any] = {"tasks": len(names), "groups": len(set(groups)), "mean": {}, "both_ahead_of": {}}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        found["mean"][arm] = group_mean(groups, [values[name, arm] for name in names])
        ahead = [sign * (values[name, "both"] - values[name, arm]) for name in names]
        if arm != "both":
            found["both_ahead_of"][arm] = group_mean(groups, ahead)
    return found


def to_table(field: str, summary: Mapping[str, Any]) -> str:
    """Return means and differences for a person."""
    lines: list[tuple[object, ...]] = []
    for arm, mean in summary["mean"].items():
        ahead = summary["both_ahead_of"].get(arm)
        told = "" if ahead is None else f"{ahead.value:+.3f} [{ahead.low:+.3f}, {ahead.high:+.3f}]"
        lines.append((arm, f"{mean.value:.3f}", told))
    title = f"{field}: {summary['tasks']} tasks in {summary['groups']} groups"
    return "\n".join([title, table(("arm", "", "generated from both, ahead"), lines)])


if __name__ == "__main__":
    main()
