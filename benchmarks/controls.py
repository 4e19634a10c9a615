"""(h) What the words are worth: wrong descriptions, wrong or missing label names, and a random anchor.

    python -m benchmarks.controls --data DATA --anchors DIR
    python -m benchmarks.controls --data DATA --anchors DIR --fold 0    # groups of one fold, with its anchor alone

Held-out tasks of the ``report`` side, as in :mod:`benchmarks.heldout` and with the same anchors, at 0 and 4 rows a
label. Each is generated for again with one thing changed, on the same rows, and judged on the same test rows (the
first 300):

- ``other description``: that of the next task, of another group · ``gibberish``: words of random letters, as many as
  there were · ``no description``
- ``no names``: labels are called "label 1", "label 2" … · ``swapped names``: each label bears the name of the next
- ``no question read``: yes and no are read as all other names are: what the adapter of questions adds
- ``random anchor``: adapters of the same shape, their values drawn anew with each tensor's own spread
- ``floor``: the head on the frozen blocks alone
- ``with unlabelled texts``: nothing wrong, but up to 100 training texts without their labels besides; read at 0 rows

*Questions*: every label of a held-out task whose name says something becomes a task of its own, "Tell whether this
concerns NAME: yes or no?"; half of the rows have the label. At 0 rows only the description can tell yes from no.

The adapters do not depend on the task, so they are the mean of all adapters already, and there is no other task's to
swap in. Heads of other tasks have other labels. The description is read where the labels are yes and no, and in no
other case, where wrong ones tie to the digit.

Dimension key:   N: rows   C: labels
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from benchmarks import heldout
from benchmarks.common import (
    Run,
    TextTask,
    arguments,
    gap,
    gibberish,
    group_mean,
    points,
    read_index,
    read_tasks,
    table,
)
from benchmarks.fewshot import draw, require, targets
from sartor.evaluate import quality
from sartor.families.interface import Condition, IntArray
from sartor.families.text_classification import FAMILY, readable, without_anchor
from sartor.nn.anchor import ANCHOR
from sartor.nn.features import TextFeatures
from sartor.nn.text_base import TextBase, anchored, load_base
from sartor.pretrain.mixture import TELLING
from sartor.pretrain.public import fold
from sartor.types import Example, Requirement

SHOTS = (0, 4)
TEST_ROWS = 300
UNLABELLED = 100
RIGHT, RANDOM, FLOOR, TOLD = "right", "random anchor", "floor", "with unlabelled texts"
UNASKED = "no question read"
ASK = "Tell whether this concerns {}: yes or no?"
QUESTIONS_A_TASK = 4


@dataclass(frozen=True, slots=True)
class Trial:
    """A task with all that its variants share."""

    task: TextTask
    requirement: Requirement
    support: TextFeatures
    """Of the rows that some draw takes."""
    support_targets: IntArray
    draws: Mapping[tuple[int, int], IntArray]
    """(shots, seed) -> places among ``support``."""
    test: TextFeatures
    test_targets: IntArray
    unlabelled: TextFeatures
    """Some training texts."""


def main() -> None:
    options = arguments(
        __doc__ or "",
        seeds=2,
        extend={
            "--anchors": {"type": Path, "required": True, "help": "folder of the anchors fold0, fold1, fold2"},
            "--most": {"type": int, "help": "only the first so many tasks, to try the script"},
            "--fold": {"type": int, "help": "only groups of this fold"},
            "--side": {"choices": ("dev", "report"), "default": "report", "help": "dev is never quoted"},
        },
    )
    run = Run("controls", options, seeds=range(options.seeds))
    chosen = heldout.chosen(read_index(options.data), options.side)
    index = [row for row in chosen if options.fold in (None, fold(row.group))]
    tasks = read_tasks(options.data, index[: options.most])
    rows: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    made: dict[int, tuple[TextBase, TextBase]] = {}
    for at, task in enumerate(tasks, start=1):
        part = fold(task.group)
        if part not in made:
            made[part] = heldout.fold_base(options.anchors, part), randomised(options.anchors / f"fold{part}" / ANCHOR)
        base, random = made[part]
        trial = prepare(task, base, run.seeds)
        need = trial.requirement
        rows += judge(trial, base, {**described(need, _other(tasks, task)), **garbled(need), **named(need)})
        rows += judge_random(trial, random)
        for question, other in ask(task):
            trial = prepare(question, base, run.seeds)
            questions += judge(trial, base, described(trial.requirement, other))
        run.say(f"{at}/{len(tasks)} {task.name} ({len(task.labels)} labels)")
    summary = {"tasks": summarise(rows), "questions": summarise(questions)}
    for name, found in summary.items():
        print(to_table(name, found))
        print()
    name = "controls" if options.side == "report" else "controls-dev"
    run.write([*rows, *questions], summary, name=name, base=heldout.BASE, side=options.side)


def randomised(path: Path) -> TextBase:
    """Return the base with an anchor whose values are drawn anew, each tensor with its own mean and spread."""
    generator = torch.Generator().manual_seed(0)
    drawn: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(path).items():
        values = tensor.float()
        spread = values.std() if values.numel() > 1 else torch.zeros(())
        noise = torch.randn(values.shape, generator=generator)
        drawn[name] = (values.mean() + spread * noise).half()
    with tempfile.TemporaryDirectory() as folder:
        save_file(drawn, Path(folder) / ANCHOR)
        return anchored(load_base(heldout.PLAIN), Path(folder) / ANCHOR, name=heldout.BASE)


def prepare(task: TextTask, base: TextBase, seeds: Sequence[int]) -> Trial:
    """Draw rows and encode them, and the test rows."""
    taken = {(many, seed): draw(task.train, many, seed) for many in SHOTS for seed in (seeds if many else seeds[:1])}
    needed = np.unique(np.concatenate([*taken.values(), np.zeros(0, dtype=np.int64)])).astype(np.int64)
    support = [task.train[row] for row in needed]
    requirement, test = require(task, base.ref.name), task.test[:TEST_ROWS]
    return Trial(
        task,
        requirement,
        FAMILY.encode(base, requirement, [row.input for row in support]),
        targets(task.labels, support),
        {key: np.searchsorted(needed, rows) for key, rows in taken.items()},
        FAMILY.encode(base, requirement, [row.input for row in test]),
        targets(task.labels, test),
        FAMILY.encode(base, requirement, [row.input for row in some(task.train)]),
    )


def some(rows: Sequence[Example]) -> Sequence[Example]:
    """Return up to :data:`UNLABELLED` rows at equal distances: files may be sorted by label."""
    return [rows[at] for at in np.linspace(0, len(rows) - 1, min(len(rows), UNLABELLED)).astype(int)]


def judge(trial: Trial, base: TextBase, variants: Mapping[str, Requirement]) -> list[dict[str, Any]]:
    """Return a row for each number of shots and variant, those that every task has among them."""
    need = trial.requirement
    every = {RIGHT: need, **variants, TOLD: need, FLOOR: need}
    found = [row for name, varied in every.items() for row in answer(trial, base, name, varied)]
    return [*found, *answer(trial, replace(base, questions=None), UNASKED, need)]


def judge_random(trial: Trial, random: TextBase) -> list[dict[str, Any]]:
    """Return a row for each number of shots under the random anchor."""
    need = trial.requirement
    support, test = (FAMILY.encode(random, need, rows.texts) for rows in (trial.support, trial.test))
    return answer(replace(trial, support=support, test=test), random, RANDOM, need)


def described(need: Requirement, other: str) -> dict[str, Requirement]:
    """Return the requirement under another description, and under none."""
    return {"other description": replace(need, description=other), "no description": replace(need, description="")}


def garbled(need: Requirement) -> dict[str, Requirement]:
    """Return the requirement under words of random letters, as long as those of its description."""
    return {"gibberish": replace(need, description=gibberish(need.description))}


def named(need: Requirement) -> dict[str, Requirement]:
    """Return the requirement under other label names."""
    labels = need.labels
    mute = tuple(replace(label, name=f"label {at}") for at, label in enumerate(labels, start=1))
    shifted = tuple(replace(label, name=labels[at - 1].name) for at, label in enumerate(labels))
    return {"no names": replace(need, labels=mute), "swapped names": replace(need, labels=shifted)}


def answer(trial: Trial, base: TextBase, variant: str, need: Requirement) -> list[dict[str, Any]]:
    """Return balanced accuracies under a requirement, the mean over draws for each number of shots."""
    labels = FAMILY.encode_labels(base, need)
    found: dict[int, list[float]] = {}
    for (many, seed), rows in trial.draws.items():
        unlabelled = trial.unlabelled if variant == TOLD else None
        condition = Condition(labels, trial.support.take(rows), trial.support_targets[rows], unlabelled)
        if variant == FLOOR:
            said = without_anchor(need, condition, trial.test, seed)
        else:
            weights = FAMILY.generate(need, condition, seed=seed)
            said = FAMILY.predict(need, weights, trial.test).probabilities
        found.setdefault(many, []).append(quality.scores(trial.test_targets, said).balanced_accuracy.value)
    about = {"task": trial.task.name, "group": trial.task.group, "variant": variant}
    return [
        {**about, "shots": many, "balanced_accuracy": float(np.mean(values)), "draws": len(values)}
        for many, values in found.items()
    ]


# --- questions ---------------------------------------------------------------------------------------------


def ask(task: TextTask) -> Iterator[tuple[TextTask, str]]:
    """Yield yes-or-no tasks made of a task's labels, each with a question that asks for the next label.

    The first few labels by a fixed shuffle.
    """
    random = np.random.default_rng(0)
    telling = [label for label in task.labels if TELLING.match(label.lower())]
    enough = [label for label in telling if _count(task.test, label) >= 4 and _count(task.train, label) >= max(SHOTS)]
    questions = [ASK.format(readable(label)) for label in task.labels]
    for place in random.permutation(len(enough))[:QUESTIONS_A_TASK]:
        label = enough[place]
        at = task.labels.index(label)
        question = replace(
            task,
            name=f"{task.name}: {label}",
            description=questions[at],
            labels=("yes", "no"),
            train=_halves(task.train, label, random),
            test=_halves(task.test, label, random),
        )
        yield question, questions[(at + 1) % len(questions)]


def _count(rows: Iterable[Example], label: str) -> int:
    return sum(row.output == label for row in rows)


def _halves(rows: Sequence[Example], label: str, random: np.random.Generator) -> tuple[Example, ...]:
    """Return rows of the label as yes, and as many of others as no."""
    yes = [Example(row.input, "yes") for row in rows if row.output == label]
    no = [Example(row.input, "no") for row in rows if row.output != label]
    size = min(len(yes), len(no))
    picked = [[part[at] for at in random.permutation(len(part))[:size]] for part in (yes, no)]
    return tuple(row for pair in zip(*picked, strict=True) for row in pair)


def _other(tasks: Sequence[TextTask], task: TextTask) -> str:
    """Return the description of the next task of another group."""
    at = tasks.index(task)
    return next(one.description for one in (*tasks[at:], *tasks[:at]) if one.group != task.group)


# --- what it says ------------------------------------------------------------------------------------------


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return, for each number of shots, the mean of each variant and what the right one is ahead."""
    found: dict[str, Any] = {"tasks": len({row["task"] for row in rows}), "groups": len({row["group"] for row in rows})}
    for many in SHOTS:
        values = {(row["task"], row["variant"]): row["balanced_accuracy"] for row in rows if row["shots"] == many}
        group_of = {row["task"]: row["group"] for row in rows}
        names = sorted(group_of)
        groups = [group_of[name] for name in names]
        variants = dict.fromkeys(row["variant"] for row in rows)
        found[str(many)] = {
            "balanced_accuracy": {
                variant: group_mean(groups, [values[name, variant] for name in names]) for variant in variants
            },
            "right_minus": {
                variant: group_mean(groups, [values[name, RIGHT] - values[name, variant] for name in names])
                for variant in variants
                if variant != RIGHT
            },
        }
    return found


def to_table(name: str, summary: Mapping[str, Any]) -> str:
    """Return means and differences for a person."""
    lines: list[tuple[object, ...]] = []
    for many in map(str, SHOTS):
        for variant, mean in summary[many]["balanced_accuracy"].items():
            ahead = summary[many]["right_minus"].get(variant)
            lines.append((many, variant, points(mean.value), gap(ahead) if ahead else ""))
    title = f"{name}: {summary['tasks']} in {summary['groups']} groups, balanced accuracy"
    return "\n".join([title, table(("rows a label", "variant", "", "right - it"), lines)])


if __name__ == "__main__":
    main()
