"""The ways to answer a text-to-text task that a generated adapter is put beside, and how each is judged.

Every row is answered by the same frozen base:

- ``base`` reads the input alone; ``told`` reads the task's description before it; ``shown`` reads five labelled rows
  before it, as many as fit
- ``anchor``: with one adapter for all tasks · ``mean``: with the mean of what is generated for tasks that were learned
  from · ``nearest``: with what is generated for the task learned from whose description is nearest
- ``examples``, ``examples 4``: with the adapter generated from 16 labelled rows, from four of them · ``description``,
  ``paraphrase``: from the description alone, from another wording of it · ``prompts``: from 16 inputs without answers ·
  ``all``: from rows, description and inputs together; the base reads the input alone
- ``shuffled``: from the 16 rows, their answers in another order · ``other``: from rows of the next task, of another
  group · ``gibberish``: from a description of random letters
- ``plain``: with as many plain gradient steps from the anchor, directions at random and nothing learned: the control of
  what learning is worth · ``dial G``: with so much of what was generated from rows; 0 is the anchor, 1 the whole
- ``lora N``: with the anchor trained on the 16 rows for N steps of eight (AdamW)

Two measures: the cross-entropy of the right answer's tokens (nats a token), and exact match of greedy answers without
case and outer punctuation. And what an adapter does to the base where it has no business: on prompts of other tasks.

Dimension key:   B: rows   T: tokens   H: hidden width   M: answer tokens of all rows   V: vocabulary
"""

import math
import string
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sartor.evaluate.matching import exact_match
from sartor.families.interface import Writing
from sartor.families.text_generation import FAMILY, WritingBase, generated
from sartor.nn.check_adapter import Bounds
from sartor.nn.condition import SHOTS, Condition
from sartor.nn.decoder import Adapters
from sartor.nn.generator import Generator
from sartor.nn.generator_file import Trained
from sartor.nn.language import LanguageModel
from sartor.nn.teacher_forcing import Batch, Written, answer_logits, answer_losses, below, row_means, write
from sartor.pretrain import adapters, run
from sartor.pretrain.adapters import AnchorLesson, Dial
from sartor.pretrain.instructions import Chances, InstructionMixture, InstructionTask
from sartor.pretrain.run import Pace
from sartor.types import Example, Progress, Requirement, Weights, silent

PLAIN: Mapping[str, str | None] = {"base": None, "told": "instruction", "shown": "in-context"}
"""Arms without an adapter -> the family's control by which the base is asked; None shows it the input alone."""
CONDITIONS = (
    *("examples", "examples 4", "description", "prompts", "all"),
    *("shuffled", "gibberish", "paraphrase"),
)
"""What the generator is told in the arms of the same name, where a task has it."""
ARMS = (*PLAIN, "anchor", "mean", "nearest", *CONDITIONS, "other", "plain", "dial 0.5", "dial 1.5")
"""All arms but those that are trained, in the order in which they are judged."""
LORA, DIAL = "lora ", "dial "
OURS = "examples"
"""The arm that the others are compared with."""
MEAN_OF = 32
"""Tasks learned from whose generated parts are averaged."""
MOST_READ = 512
"""Tokens that are read before an answer."""
WRITING = Writing(max_new_tokens=32)
LORA_RATE = 2e-3
HARMING = ("anchor", OURS, "description")
"""Arms whose adapters are put before prompts of other tasks."""
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """What is judged, and how long."""

    arms: tuple[str, ...] = ARMS
    """Names of :data:`ARMS`."""
    lora: tuple[int, ...] = ()
    """Steps after which the trained anchor is judged, besides."""
    rows: int = 16
    """Test rows of a task at most."""
    answered: int = 8
    """Of these, rows that are answered as well."""
    answering: frozenset[str] | None = None
    """Arms whose answers are written; None stands for all."""
    unrelated: int = 8
    """Prompts of other tasks, each of another, for each way to ask; 0 leaves them out."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all tasks are judged with."""

    base: WritingBase
    plain: WritingBase
    """The same with steps that nothing was learned for."""
    mean: Weights | None
    """None where nothing was learned from."""
    near: Sequence[InstructionTask]
    """Tasks that were learned from."""
    others: "States"
    """Of prompts of other tasks, which many tasks have in common."""
    said: dict[str, str] = field(default_factory=dict)
    """Such a prompt -> what the plain base answered, asked once."""

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


@dataclass(frozen=True, slots=True)
class Judged:
    """How well an arm answers the test rows of a task."""

    arm: str
    loss: float
    exact_match: float | None = None
    """Share of answers; None where none were written."""
    seconds: float | None = None
    """To make the adapter."""


@dataclass(frozen=True, slots=True)
class Harm:
    """What the adapter of an arm does to the base on prompts of other tasks."""

    arm: str
    way: str
    """How the base is asked, in the words of :data:`PLAIN`."""
    kl: float
    """From the plain base to the adapted one, nats a token of the right answer; mean over prompts."""
    before: float
    """Share of prompts that the plain base answers exactly."""
    after: float
    """… that the adapted base answers exactly."""
    tokens_before: float
    """Share of the right answers' tokens, their ends included, that the plain base holds for the likeliest."""
    tokens_after: float
    """… that the adapted base does."""


@dataclass(frozen=True, slots=True)
class TaskFound:
    """All that was found of a task with one draw of its rows."""

    task: str
    group: str
    seed: int
    arms: tuple[Judged, ...]
    likeness: Mapping[str, float]
    """Cosines of generated parts, and sizes."""
    harm: tuple[Harm, ...] = ()


# --- what all tasks share ----------------------------------------------------------------------------------


def bench(
    model: LanguageModel,
    trained: Trained,
    base: WritingBase,
    learned: Sequence[InstructionTask],
    progress: Progress = silent,
) -> Bench:
    """Return the controls that all tasks have in common.

    Args:
        model: the frozen base.
        trained: its generator.
        base: the two, and what conditions are read by.
        learned: tasks that the generator was learned from.
        progress: told of the tasks that the mean is taken of.
    """
    own = trained.generator
    fresh = Generator(own.sites, rank=own.rank, steps=own.gradient.steps, sentence=own.encoder.inputs).eval()
    wide = Bounds(dict.fromkeys(own.sites, math.inf), dict.fromkeys(own.sites, math.inf))
    plain = WritingBase(model, Trained(trained.anchor, fresh.requires_grad_(False), wide), base.reader)
    mean = _mean(base, learned, progress) if learned else None
    return Bench(base, plain, mean, learned, States(model, trained.layer))


def _mean(base: WritingBase, learned: Sequence[InstructionTask], progress: Progress) -> Weights:
    """Return the mean of what is generated for tasks at equal distances."""
    some = [learned[at] for at in np.linspace(0, len(learned) - 1, min(MEAN_OF, len(learned))).astype(int)]
    made: list[Weights] = []
    for task in some:
        made += generated(base, [conditions(task)[OURS]])
        progress("mean adapter", len(made), len(some))
    mean = {name: torch.stack([one[name].float() for one in made]).mean(dim=0) for name in made[0]}
    mean["answerer"], mean["anchor.rank"] = made[0]["answerer"], made[0]["anchor.rank"]
    return mean


def spread(tasks: Sequence[InstructionTask], most: int | None) -> list[InstructionTask]:
    """Return so many tasks: one of each group, then a second of each, and so on."""
    turn: dict[str, int] = {}
    placed: list[tuple[int, int, InstructionTask]] = []
    for at, task in enumerate(tasks):
        turn[task.group] = turn.get(task.group, -1) + 1
        placed.append((turn[task.group], at, task))
    return [task for _, _, task in sorted(placed, key=lambda one: one[:2])[:most]]


def followers(tasks: Sequence[InstructionTask], at: int) -> list[InstructionTask]:
    """Return the tasks of other groups, the next one first."""
    around = (*tasks[at + 1 :], *tasks[:at])
    return [one for one in around if one.group != tasks[at].group]


def follower(tasks: Sequence[InstructionTask], at: int) -> InstructionTask:
    """Return the next task of another group; the task itself where there is none."""
    return next(iter(followers(tasks, at)), tasks[at])


def redrawn(task: InstructionTask, seed: int) -> InstructionTask:
    """Return a task with its rows in an order of the seed's; seed 0 leaves them as they lie."""
    if seed == 0:
        return task
    random = np.random.default_rng(seed)
    train, test = ([rows[at] for at in random.permutation(len(rows))] for rows in (task.train, task.test))
    return replace(task, train=tuple(train), test=tuple(test))


# --- the arms ----------------------------------------------------------------------------------------------


def gibberish(text: str) -> str:
    """Return words of random letters, as long as those of a text; always the same."""
    random = np.random.default_rng(0)
    letters = list(string.ascii_lowercase)
    return " ".join("".join(random.choice(letters, len(word))) for word in text.split())


def conditions(task: InstructionTask) -> dict[str, Condition]:
    """Return what the generator may be told of a task."""
    told, support = task.descriptions[0], task.train[:SHOTS]
    outputs = [row.output for row in support]
    turned = [replace(row, output=out) for row, out in zip(support, [*outputs[1:], outputs[0]], strict=True)]
    inputs = tuple(row.input for row in support)
    found = {
        "examples": Condition(support=support),
        "examples 4": Condition(support=support[:4]),
        "description": Condition(told),
        "prompts": Condition(prompts=inputs),
        "all": Condition(told, support, inputs),
        "shuffled": Condition(support=tuple(turned)),
        "gibberish": Condition(gibberish(told)),
    }
    wordings = [text for text in (*task.descriptions[1:], *task.unseen) if text != told]
    return found | ({"paraphrase": Condition(wordings[0])} if wordings else {})


def arms(
    found: Bench, task: InstructionTask, other: InstructionTask, plan: Plan | None = None, *, seed: int = 0
) -> dict[str, Arm]:
    """Return the ways to answer a task's rows that the plan asks for, where there are such.

    Args:
        found: what all tasks are judged with.
        task: whose rows are answered.
        other: whose rows the wrong condition is made of.
        plan: which arms.
        seed: of the training of ``lora``.
    """
    plan = plan or Plan()
    told = conditions(task)
    makers: dict[str, Callable[[], Arm]] = {name: _asking(control) for name, control in PLAIN.items()}
    makers["anchor"] = lambda: Arm(found.base.trained.anchor)
    if (mean := found.mean) is not None:
        makers["mean"] = lambda: Arm(FAMILY.adapter(found.base, mean))
        makers["nearest"] = lambda: _generating(found.base, conditions(nearest(found, task))[OURS])
    makers |= {name: _told(found.base, condition) for name, condition in told.items()}
    makers["other"] = lambda: _generating(found.base, conditions(other)[OURS])
    makers["plain"] = lambda: _generating(found.plain, told[OURS])
    ways = {name: makers[name]() for name in plan.arms if name in makers}
    dials = [name for name in plan.arms if name.startswith(DIAL)]
    if dials:
        [weights] = generated(found.base, [told[OURS]])
        for name in dials:
            settled = FAMILY.settle(weights, "generated", float(name.removeprefix(DIAL)))
            ways[name] = Arm(FAMILY.adapter(found.base, settled))
    return ways | lora(found, task, plan.lora, seed=seed)


def _asking(control: str | None) -> Callable[[], Arm]:
    return lambda: Arm(None, control)


def _told(base: WritingBase, condition: Condition) -> Callable[[], Arm]:
    return lambda: _generating(base, condition)


def _generating(base: WritingBase, condition: Condition) -> Arm:
    began = time.perf_counter()
    [weights] = generated(base, [condition])
    weights = FAMILY.settle(weights, "generated", 1.0)  # whoever would answer where words alone are known
    return Arm(FAMILY.adapter(base, weights), seconds=time.perf_counter() - began)


def nearest(found: Bench, task: InstructionTask) -> InstructionTask:
    """Return the task learned from whose description is nearest, by its words."""
    words = set(task.descriptions[0].lower().split())

    def alike(one: InstructionTask) -> float:
        others = set(one.descriptions[0].lower().split())
        return len(words & others) / max(1, len(words | others))

    return max(found.near, key=alike)


def lora(found: Bench, task: InstructionTask, steps: Sequence[int], *, seed: int = 0) -> dict[str, Arm]:
    """Return the anchor trained on the rows that the generator reads, each time anew for so many steps."""
    trained, rows = found.base.trained, task.train[:SHOTS]
    layers = found.model.decoder.config.layers - trained.layer
    made: dict[str, Arm] = {}
    for count in steps:
        began = time.perf_counter()
        pace = Pace(steps=count, rate=LORA_RATE, warm_up=min(3, count), every=count)
        dial = Dial(pace, tasks=1, rows=8, rank=0, layers=layers, watched=1)
        mixture = InstructionMixture([replace(task, train=rows)], Chances(same_input=0.0, shown=(1.0, 0.0, 0.0)))
        lesson = AnchorLesson(found.model, mixture, mixture, dial, States(found.model, trained.layer))
        with tempfile.TemporaryDirectory() as folder:
            start = adapters.as_parameters(trained.anchor)
            got = run.descend(lesson, start, pace, Path(folder), seed=seed, on_look=lambda look: None)
        made[f"{LORA}{count}"] = Arm(adapters.as_adapters(got), seconds=time.perf_counter() - began)
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
    found: Bench,
    task: InstructionTask,
    ways: Mapping[str, Arm],
    plan: Plan,
    others: Sequence[InstructionTask] = (),
    *,
    seed: int = 0,
) -> TaskFound:
    """Return how each arm answers a task's test rows, and what adapters do to prompts of other tasks.

    Args:
        found: what all tasks are judged with.
        task: whose test rows are answered.
        ways: of :func:`arms`.
        plan: how many rows.
        others: tasks of other groups.
        seed: that the rows were drawn by; it is only noted.
    """
    rows = task.test[: plan.rows]
    states = States(found.model, found.base.trained.layer)
    judged: list[Judged] = []
    for name, arm in ways.items():
        loss = float(np.mean(losses(found, task, arm, rows, states)))
        match = None
        if plan.answering is None or name in plan.answering:
            match = float(np.mean([right(*both) for both in answers(found, task, arm, rows[: plan.answered])]))
        judged.append(Judged(name, loss, match, None if math.isnan(arm.seconds) else arm.seconds))
    adapted = {name: ways[name] for name in ways if name in HARMING or name.startswith(LORA)}
    done = harm(found, adapted, others[: plan.unrelated])
    return TaskFound(task.name, task.group, seed, tuple(judged), likeness(ways), tuple(done))


def asked(task: InstructionTask, arm: Arm, text: str) -> str:
    """Return what the base reads."""
    need = Requirement(FAMILY.name, task.name, task.descriptions[0], (), "en", "", MOST_READ)
    control = next((one for one in FAMILY.controls(need) if one.name == arm.control), None)
    return control.asked(need, task.train[:SHOTS], text) if control else text


def losses(found: Bench, task: InstructionTask, arm: Arm, rows: Sequence[Example], states: States) -> Sequence[float]:
    """Return the cross-entropy of each row's answer."""
    told = [write(found.model, Example(asked(task, arm, row.input), row.output), max_tokens=MOST_READ) for row in rows]
    known = states if arm.control is None else States(found.model, states.layer)
    got: list[float] = []
    with torch.inference_mode():
        for start in range(0, len(rows), _BATCH):
            part = told[start : start + _BATCH]
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
    """Return how alike generated parts are, as cosines of B, and how large beside the anchor and a trained adapter.

    Of arms that were made; all of them joined to the anchor, which is left out of the cosines. What all tasks have in
    common is large, so cosines are taken once more of what goes beyond the mean.
    """

    def parts(name: str) -> Tensor:
        adapter, anchor = ways[name].adapter or {}, ways["anchor"].adapter or {}
        return torch.cat([b[..., anchor[path][1].shape[-1] :].flatten() for path, (_, b) in adapter.items()]).float()

    def update(name: str) -> float:
        adapter = ways[name].adapter or {}
        return float(torch.stack([(b @ a).square().sum() for a, b in adapter.values()]).sum().sqrt())

    pairs = [("examples", "other"), ("examples", "shuffled"), ("examples", "examples 4"), ("description", "gibberish")]
    pairs.append(("description", "paraphrase"))
    longest = [name for name in ways if name.startswith(LORA)][-1:]
    found = {
        f"cosine {one}, {two}": float(functional.cosine_similarity(parts(one), parts(two), dim=0))
        for one, two in pairs
        if {"anchor", one, two} <= ways.keys()
    }
    if {"anchor", "mean"} <= ways.keys():
        middle = parts("mean")
        found |= {
            f"cosine beyond the mean {one}, {two}": float(
                functional.cosine_similarity(parts(one) - middle, parts(two) - middle, dim=0)
            )
            for one, two in pairs
            if {one, two} <= ways.keys()
        }
    sized = [name for name in ("anchor", "examples", "description", *longest) if name in ways]
    return found | {f"norm {name}": update(name) for name in sized}


# --- prompts of other tasks --------------------------------------------------------------------------------


def harm(found: Bench, ways: Mapping[str, Arm], others: Sequence[InstructionTask]) -> list[Harm]:
    """Return what adapters do to prompts of other tasks, one of each, asked as the plain base would be.

    Told and shown, not by the input alone: there the plain base has something right that can be lost. Exact answers
    are few even so, and an adapter that teaches the base to be short may add some; so tokens are counted as well.
    """
    if not others:
        return []
    done: list[Harm] = []
    for way, control in PLAIN.items():
        if control is None:
            continue
        rows = [Example(asked(one, Arm(None, control), one.test[0].input), one.test[0].output) for one in others]
        wanted = [str(row.output) for row in rows]
        before = [right(*both) for both in zip(_plain_answers(found, rows), wanted, strict=True)]
        for name, arm in ways.items():
            said = FAMILY.written(found.base, arm.adapter, [row.input for row in rows], WRITING)
            after = [right(*both) for both in zip(said, wanted, strict=True)]
            figures = divergences(found.model, arm.adapter, rows, found.others)
            kl, tokens_before, tokens_after = (float(np.mean(one)) for one in zip(*figures, strict=True))
            done.append(Harm(name, way, kl, float(np.mean(before)), float(np.mean(after)), tokens_before, tokens_after))
    return done


def _plain_answers(found: Bench, rows: Sequence[Example]) -> list[str]:
    new = [row.input for row in rows if row.input not in found.said]
    found.said.update(zip(new, FAMILY.written(found.base, None, new, WRITING), strict=True))
    return [found.said[row.input] for row in rows]


@torch.inference_mode()
def divergences(
    model: LanguageModel, adapter: Adapters | None, rows: Sequence[Example], states: States
) -> Sequence[tuple[float, float, float]]:
    """Return KL(plain || adapted) in nats for each row, and the share of tokens that either has right.

    Each is the mean over the tokens of the row's answer.
    """
    found: list[tuple[float, float, float]] = []
    for start in range(0, len(rows), _BATCH):
        part = [write(model, row, max_tokens=MOST_READ) for row in rows[start : start + _BATCH]]
        batch, known_BTH = Batch.of(part, model.device), states(part)
        plain_MV, adapted_MV = (
            functional.log_softmax(answer_logits(model, batch, one, states.layer, known_BTH), dim=-1)
            for one in (None, adapter)
        )
        kl_M = functional.kl_div(adapted_MV, plain_MV, log_target=True, reduction="none").sum(dim=-1)
        hits = ((one.argmax(dim=-1) == batch.targets_M).float() for one in (plain_MV, adapted_MV))
        found += zip(*(row_means(batch, one_M).tolist() for one_M in (kl_M, *hits)), strict=True)
    return found
