"""(i) What a generated adapter is worth: held-out text-to-text tasks, its condition right, wrong, or not there.

    python -m benchmarks.generation --data DATA --run DIR

``DIR`` is what ``recipes/text_generation.py`` left. Every row is answered by the same frozen base:

- ``base`` reads the input alone; ``told`` reads the task's description before it; ``shown`` reads five labelled rows
  before it, as many as fit
- ``anchor``: with one adapter for all tasks · ``mean``: with the mean of what is generated for tasks it learned from ·
  ``nearest``: with what is generated for the task it learned from whose description is nearest
- ``examples``, ``examples 4``: with the adapter generated from 16 labelled rows, from four of them (a description
  beside rows is not read) · ``description``, ``paraphrase``: from the description alone, from another wording of it ·
  ``prompts``: from 16 inputs without answers; the base reads the input alone
- ``shuffled``: from the 16 rows, their answers in another order · ``other``: from rows of the next task, of another
  group · ``gibberish``: from a description of random letters
- ``plain``: with as many plain gradient steps from the anchor, directions at random and nothing learned: the control of
  what learning is worth · ``lora 10``, ``lora 60``: with the anchor trained on the 16 rows for so many
  steps of eight (AdamW), its seconds beside those of generating

Two measures: the cross-entropy of the right answer's tokens (nats a token, all arms, all rows), and exact match of
greedy answers without case and outer punctuation (``--answered`` rows a task). Means over tasks within a group, then
over groups; intervals by drawing groups anew. Tasks are spread over groups: no second of a group before each has one.

Dimension key:   B: rows
"""

import math
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Run, arguments, gibberish, group_mean, table
from sartor.evaluate.matching import exact_match
from sartor.families.interface import Writing
from sartor.families.text_generation import FAMILY, WritingBase, generated
from sartor.nn import generator_file
from sartor.nn.check_adapter import Bounds
from sartor.nn.condition import SHOTS, Condition
from sartor.nn.decoder import Adapters, sites
from sartor.nn.generator import Generator
from sartor.nn.generator_file import Trained
from sartor.nn.language import LanguageModel, load_language_model
from sartor.nn.teacher_forcing import Batch, Written, answer_losses, below, write
from sartor.nn.text_base import load_base
from sartor.pretrain import adapters, instructions, run
from sartor.pretrain.adapters import AnchorLesson, Dial
from sartor.pretrain.instructions import Chances, InstructionMixture, InstructionTask
from sartor.pretrain.run import Pace
from sartor.types import Example, Requirement, Weights

BASE = "smollm2-135m-instruct"
GENERATOR = "generator.safetensors"
MEAN_OF = 32
"""Tasks learned from whose generated parts are averaged."""
BATCH = 16
MOST_READ = 512
"""Tokens that are read before an answer."""
WRITING = Writing(max_new_tokens=32)
LORA = (10, 60)
LORA_RATE = 2e-3
ANSWERED = ("base", "told", "shown", "anchor", "examples", "description", "other", "lora 60")
"""Arms whose answers are written, too."""
DIALS = (0.5, 1.5)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all tasks are judged with."""

    base: WritingBase
    plain: WritingBase
    """The same with steps that nothing was learned for."""
    mean: Weights
    near: Sequence[InstructionTask]
    """Tasks that were learned from."""

    @property
    def model(self) -> LanguageModel:
        """Return the frozen base."""
        return self.base.model


@dataclass(frozen=True, slots=True)
class Arm:
    """A way to answer."""

    adapter: Adapters | None
    control: str | None = None
    """The family's control by which the base is asked; None shows it the input alone."""
    seconds: float = math.nan


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
    told = Run("generation", options, seeds=range(options.seeds))
    split = instructions.load(options.data, held_out=options.fold)
    tasks = spread(split.held_out, options.most)
    learned = adapters.few_rows(split.train, SHOTS, 1)
    rows: list[dict[str, Any]] = []
    jobs = [(task, follower(tasks, at), options.rows, options.answered) for at, task in enumerate(tasks)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, spawn, initializer=start, initargs=(options.run, learned)) as pool:
        for at, found in enumerate(pool.map(work, jobs), start=1):
            rows += found
            told.say(f"{at}/{len(tasks)} {found[0]['task']}")
    summary = {field: summarise(rows, field) for field in ("loss", "exact_match")} | {"more": details(rows)}
    for field in ("loss", "exact_match"):
        print(to_table(field, summary[field]))
        print()
    print(summary["more"])
    told.write(rows, summary, name="generation", base=BASE, fold=options.fold)


def spread(tasks: Sequence[InstructionTask], most: int) -> list[InstructionTask]:
    """Return so many tasks: one of each group, then a second of each, and so on."""
    turn: dict[str, int] = {}
    placed: list[tuple[int, int, InstructionTask]] = []
    for at, task in enumerate(tasks):
        turn[task.group] = turn.get(task.group, -1) + 1
        placed.append((turn[task.group], at, task))
    return [task for _, _, task in sorted(placed, key=lambda one: one[:2])[:most]]


def follower(tasks: Sequence[InstructionTask], at: int) -> InstructionTask:
    """Return the next task of another group."""
    around = (*tasks[at + 1 :], *tasks[:at])
    return next((one for one in around if one.group != tasks[at].group), tasks[at])


# --- the work of a process ---------------------------------------------------------------------------------

_bench: list[Bench] = []


def start(folder: Path, learned: Sequence[InstructionTask]) -> None:
    """Load what all tasks are judged with."""
    torch.set_num_threads(1)
    _bench.append(load(folder, learned))


def work(job: tuple[InstructionTask, InstructionTask, int, int]) -> list[dict[str, Any]]:
    """Judge one task."""
    task, other, most, answered = job
    return judge(_bench[0], task, arms(_bench[0], task, other), most, answered)


def load(folder: Path, learned: Sequence[InstructionTask]) -> Bench:
    """Return what the recipe left, ready for tasks."""
    model = load_language_model(BASE)
    trained = generator_file.read((folder / GENERATOR).read_bytes(), sites(model.decoder))
    return bench(model, trained, WritingBase(model, trained, load_base("all-minilm-l6-v2")), learned)


def bench(model: LanguageModel, trained: Trained, base: WritingBase, learned: Sequence[InstructionTask]) -> Bench:
    """Return the controls that all tasks have in common."""
    own = trained.generator
    fresh = Generator(own.sites, rank=own.rank, steps=own.gradient.steps, sentence=own.encoder.inputs).eval()
    wide = Bounds(dict.fromkeys(own.sites, math.inf), dict.fromkeys(own.sites, math.inf))
    plain = WritingBase(model, Trained(trained.anchor, fresh.requires_grad_(False), wide), base.reader)
    some = [learned[at] for at in np.linspace(0, len(learned) - 1, min(MEAN_OF, len(learned))).astype(int)]
    made = [generated(base, [conditions(task)["examples"]])[0] for task in some]
    mean = {name: torch.stack([one[name].float() for one in made]).mean(dim=0) for name in made[0]}
    mean["answerer"], mean["anchor.rank"] = made[0]["answerer"], made[0]["anchor.rank"]
    return Bench(base, plain, mean, learned)


def conditions(task: InstructionTask) -> dict[str, Condition]:
    """Return what the generator may be told of a task."""
    told, support = task.descriptions[0], task.train[:SHOTS]
    outputs = [row.output for row in support]
    turned = [replace(row, output=out) for row, out in zip(support, [*outputs[1:], outputs[0]], strict=True)]
    found = {
        "examples": Condition(support=support),
        "examples 4": Condition(support=support[:4]),
        "description": Condition(told),
        "prompts": Condition(prompts=tuple(row.input for row in support)),
        "shuffled": Condition(support=tuple(turned)),
        "gibberish": Condition(gibberish(told)),
    }
    wordings = [text for text in (*task.descriptions[1:], *task.unseen) if text != told]
    return found | ({"paraphrase": Condition(wordings[0])} if wordings else {})


def arms(found: Bench, task: InstructionTask, other: InstructionTask) -> dict[str, Arm]:
    """Return all ways to answer a task's rows."""

    def made(base: WritingBase, condition: Condition) -> Arm:
        began = time.perf_counter()
        [weights] = generated(base, [condition])
        weights = FAMILY.settle(weights, "generated", 1.0)  # whoever would answer where words alone are known
        return Arm(FAMILY.adapter(base, weights), seconds=time.perf_counter() - began)

    told = conditions(task)
    ways = {
        "base": Arm(None),
        "told": Arm(None, "instruction"),
        "shown": Arm(None, "in-context"),
        "anchor": Arm(found.base.trained.anchor),
        "mean": Arm(FAMILY.adapter(found.base, found.mean)),
        "nearest": made(found.base, conditions(nearest(found, task))["examples"]),
        **{name: made(found.base, condition) for name, condition in told.items()},
        "other": made(found.base, conditions(other)["examples"]),
        "plain": made(found.plain, told["examples"]),
    }
    [weights] = generated(found.base, [told["examples"]])
    for dial in DIALS:
        ways[f"dial {dial}"] = Arm(FAMILY.adapter(found.base, FAMILY.settle(weights, "generated", dial)))
    return ways | lora(found, task)


def nearest(found: Bench, task: InstructionTask) -> InstructionTask:
    """Return the task learned from whose description is nearest, by its words."""
    words = set(task.descriptions[0].lower().split())

    def alike(one: InstructionTask) -> float:
        others = set(one.descriptions[0].lower().split())
        return len(words & others) / max(1, len(words | others))

    return max(found.near, key=alike)


def lora(found: Bench, task: InstructionTask) -> dict[str, Arm]:
    """Return the anchor trained on the rows that the generator reads, for more and more steps."""
    trained, rows = found.base.trained, task.train[:SHOTS]
    layers = found.model.decoder.config.layers - trained.layer
    made: dict[str, Arm] = {}
    for steps in LORA:
        began = time.perf_counter()
        pace = Pace(steps=steps, rate=LORA_RATE, warm_up=min(3, steps), every=steps)
        dial = Dial(pace, tasks=1, rows=8, rank=0, layers=layers, watched=1)
        mixture = InstructionMixture([replace(task, train=rows)], Chances(same_input=0.0, shown=(1.0, 0.0, 0.0)))
        lesson = AnchorLesson(found.model, mixture, mixture, dial, States(found.model, trained.layer))
        with tempfile.TemporaryDirectory() as folder:
            start = adapters.as_parameters(trained.anchor)
            got = run.descend(lesson, start, pace, Path(folder), seed=0, on_look=lambda look: None)
        made[f"lora {steps}"] = Arm(adapters.as_adapters(got), seconds=time.perf_counter() - began)
    return made


class States:
    """What enters the lowest layer with an adapter, computed when a row is first seen."""

    def __init__(self, model: LanguageModel, layer: int) -> None:
        self.model, self.layer = model, layer
        self.known: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, rows: Sequence[Written]) -> Tensor:
        """Return (B, T, H), filled up on the right with zeros."""
        for row in rows:
            if row.ids not in self.known:
                self.known[row.ids] = below(self.model, Batch.of([row], self.model.device), self.layer)[0]
        return torch.nn.utils.rnn.pad_sequence([self.known[row.ids] for row in rows], batch_first=True)


# --- judging -----------------------------------------------------------------------------------------------


def judge(
    found: Bench, task: InstructionTask, ways: Mapping[str, Arm], most: int, answered: int
) -> list[dict[str, Any]]:
    """Return the mean loss and exact match of a task's test rows for each arm."""
    rows = task.test[:most]
    states = States(found.model, found.base.trained.layer)
    judged: list[dict[str, Any]] = []
    for name, arm in ways.items():
        row: dict[str, Any] = {"task": task.name, "group": task.group, "arm": name}
        row["loss"] = float(np.mean(losses(found, task, arm, rows, states)))
        if name in ANSWERED:
            row["exact_match"] = float(np.mean([right(*both) for both in answers(found, task, arm, rows[:answered])]))
        if not math.isnan(arm.seconds):
            row["seconds"] = arm.seconds
        judged.append(row)
    return [*judged, {"task": task.name, "group": task.group, "arm": "likeness", **likeness(ways)}]


def asked(task: InstructionTask, arm: Arm, text: str) -> str:
    """Return what the base reads."""
    need = Requirement(FAMILY.name, task.name, task.descriptions[0], (), "en", BASE, MOST_READ)
    control = next((one for one in FAMILY.controls(need) if one.name == arm.control), None)
    return control.asked(need, task.train[:SHOTS], text) if control else text


def losses(found: Bench, task: InstructionTask, arm: Arm, rows: Sequence[Example], states: States) -> Sequence[float]:
    """Return the cross-entropy of each row's answer."""
    told = [write(found.model, Example(asked(task, arm, row.input), row.output), max_tokens=MOST_READ) for row in rows]
    known = states if arm.control is None else States(found.model, states.layer)
    got: list[float] = []
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            part = told[start : start + BATCH]
            batch = Batch.of(part, found.model.device)
            got += answer_losses(found.model, batch, arm.adapter, states.layer, known(part)).tolist()
    return got


def answers(found: Bench, task: InstructionTask, arm: Arm, rows: Sequence[Example]) -> Iterator[tuple[str, str]]:
    """Yield each row's answer and what it should have been."""
    texts = [asked(task, arm, row.input) for row in rows]
    said = FAMILY.written(found.base, arm.adapter, texts, WRITING)
    yield from zip(said, [str(row.output) for row in rows], strict=True)


def right(answer: str, wanted: str) -> bool:
    """Return whether an answer is the one wanted, case and outer punctuation aside."""
    return exact_match(answer, wanted, fold_case=True, strip_punctuation=True)


def likeness(ways: Mapping[str, Arm]) -> dict[str, float]:
    """Return how alike generated parts are, as cosines of B, and how large beside the anchor and a trained adapter."""

    def parts(name: str) -> Tensor:
        adapter = ways[name].adapter
        anchor = ways["anchor"].adapter
        assert adapter is not None, name
        assert anchor is not None
        return torch.cat([b[..., anchor[path][1].shape[-1] :].flatten() for path, (_, b) in adapter.items()]).float()

    def update(name: str) -> float:
        adapter = ways[name].adapter
        assert adapter is not None, name
        return float(torch.stack([(b @ a).square().sum() for a, b in adapter.values()]).sum().sqrt())

    pairs = [("examples", "other"), ("examples", "shuffled"), ("examples", "examples 4"), ("description", "gibberish")]
    pairs += [("description", "paraphrase")] if "paraphrase" in ways else []
    found = {
        f"cosine {one}, {two}": float(torch.nn.functional.cosine_similarity(parts(one), parts(two), dim=0))
        for one, two in pairs
    }
    return found | {f"norm {name}": update(name) for name in ("anchor", "examples", "description", "lora 60")}


# --- what it says ------------------------------------------------------------------------------------------


def summarise(rows: Sequence[Mapping[str, Any]], field: str, ours: str = "examples") -> dict[str, Any]:
    """Return the mean of every arm, and what generated from rows is ahead of it (of a loss: below it)."""
    values = {(row["task"], row["arm"]): row[field] for row in rows if field in row}
    group_of = {row["task"]: row["group"] for row in rows}
    sign = -1.0 if field == "loss" else 1.0
    found: dict[str, Any] = {"tasks": len(group_of), "groups": len(set(group_of.values())), "mean": {}, "ahead_of": {}}
    for arm in dict.fromkeys(arm for _, arm in values):
        names = sorted(name for name in group_of if (name, arm) in values)
        groups = [group_of[name] for name in names]
        found["mean"][arm] = group_mean(groups, [values[name, arm] for name in names])
        if arm != ours:
            ahead = [sign * (values[name, ours] - values[name, arm]) for name in names]
            found["ahead_of"][arm] = group_mean(groups, ahead)
    return found


def details(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return seconds, the share of the way from the anchor to a trained adapter, and likenesses; means or medians."""
    seconds: dict[str, list[float]] = {}
    for row in rows:
        if "seconds" in row:
            seconds.setdefault(row["arm"], []).append(row["seconds"])
    alike = [row for row in rows if row["arm"] == "likeness"]
    names = sorted({name for row in alike for name in row} - {"task", "group", "arm"})
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
