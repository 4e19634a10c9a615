"""A task at several numbers of shots and several seeds: the model and every control on the same rows.

Texts are encoded once a task; every number of shots and every seed takes its rows from there. The test rows are
all of the task's test file, and nothing is chosen by them.

Dimension key:   N: rows   C: labels
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from benchmarks.common import Encoder, TextTask, seed_mean
from sartor.data.split import few
from sartor.data.text import answers_a_question
from sartor.evaluate import quality
from sartor.evaluate.compare import paired
from sartor.families.interface import Condition, FloatArray, IntArray
from sartor.families.text_classification import FAMILY
from sartor.nn.features import TextFeatures
from sartor.requirement.heuristic import understand
from sartor.types import Example, Paired, Requirement, Rows, Scores, Task, Weights

Shots: TypeAlias = int | str
"""Rows a label; ``all`` is every row of the training file."""

MODEL = "model"
PROBE = "probe"
FLOOR = "floor"
ALONE = "anchor"
"""The floor on the anchor: the same head, and no question is read."""
WITHOUT_ROWS = ("majority", "label-names", FLOOR)
"""Controls that can answer when there is no row."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A task, ready to be generated for and judged."""

    task: TextTask
    requirement: Requirement
    condition: Condition[TextFeatures]
    """Of all training rows."""
    test: TextFeatures
    targets: IntArray
    """(N,) of the test rows."""
    unasked: TextFeatures | None = None
    """Label names as :data:`ALONE` reads them; None where no question is asked, so that it is the model itself."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What every maker says of the test rows."""

    probabilities: Mapping[str, FloatArray]
    """maker -> (N, C)."""
    weights: Weights
    """Of the model."""
    seconds: float
    """To generate the model from encoded rows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one maker did on one task's test rows, made from one draw of rows."""

    task: TextTask
    shots: Shots
    seed: int
    maker: str
    """``model`` or the name of a control."""
    scores: Scores
    paired: Paired
    """The model against this maker, row by row."""
    head: str


def require(task: TextTask, base: str) -> Requirement:
    """Return what the rules understand of a task; every number of shots keeps to the same."""
    labels = dict.fromkeys(task.labels, "")
    wanted = Task(description=task.description, name=task.name, labels=labels, language=task.language)
    return understand(wanted, Rows(task.train), name=task.name, base=base).requirement


def prepare(task: TextTask, encoder: Encoder) -> Encoded:
    """Encode labels, training and test rows of a task."""
    requirement = require(task, encoder.base.ref.name)
    condition = Condition(
        labels=FAMILY.encode_labels(encoder.base, requirement),
        support=encoder(requirement, [row.input for row in task.train]),
        targets=targets(task.labels, task.train),
    )
    test = encoder(requirement, [row.input for row in task.test])
    asked = encoder.base.questions is not None and answers_a_question(task.labels)
    unasked = FAMILY.encode_labels(replace(encoder.base, questions=None), requirement) if asked else None
    return Encoded(task, requirement, condition, test, targets(task.labels, task.test), unasked)


def targets(labels: Sequence[str], rows: Iterable[Example]) -> IntArray:
    """Return (N,) the place of each row's label among ``labels``."""
    place = {label: at for at, label in enumerate(labels)}
    return np.array([place[str(row.output)] for row in rows], dtype=np.int64)


def draw(rows: Sequence[Example], shots: Shots, seed: int) -> IntArray:
    """Return the numbers of ``shots`` rows of each label."""
    if isinstance(shots, str):
        return np.arange(len(rows))
    # rows alike in text and label have the same features, so that it does not matter which of them stands here
    place = {row: at for at, row in enumerate(rows)}
    return np.array([place[row] for row in few(rows, shots, seed)], dtype=np.int64)


def answer_all(encoded: Encoded, condition: Condition[TextFeatures], seed: int) -> Answers:
    """Let the model, and every control that can, answer the test rows."""
    requirement, test = encoded.requirement, encoded.test
    start = time.perf_counter()
    weights = FAMILY.generate(requirement, condition, seed=seed)
    seconds = time.perf_counter() - start
    answers = {MODEL: FAMILY.predict(requirement, weights, test).probabilities}
    answers[ALONE] = answers[MODEL]
    if encoded.unasked is not None:
        alone = FAMILY.generate(requirement, replace(condition, labels=encoded.unasked), seed=seed)
        answers[ALONE] = FAMILY.predict(requirement, alone, test).probabilities
    for control in FAMILY.controls(requirement):
        if len(condition.targets) or control.name in WITHOUT_ROWS:
            answers[control.name] = control.answer(requirement, condition, test, seed)
    return Answers(answers, weights, seconds)


def study(encoded: Encoded, shots: Sequence[Shots], seeds: Sequence[int]) -> list[Outcome]:
    """Judge a task at each number of shots; no shots, and all, draw nothing and so take one seed."""
    outcomes: list[Outcome] = []
    for many in shots:
        for seed in seeds if many not in (0, "all") else seeds[:1]:
            condition = encoded.condition.take(draw(encoded.task.train, many, seed))
            answers = answer_all(encoded, condition, seed)
            outcomes += [
                Outcome(
                    task=encoded.task,
                    shots=many,
                    seed=seed,
                    maker=maker,
                    scores=quality.scores(encoded.targets, found),
                    paired=paired(encoded.targets, answers.probabilities[MODEL], found),
                    head=FAMILY.head(answers.weights),
                )
                for maker, found in answers.probabilities.items()
            ]
    return outcomes


# --- what many outcomes say --------------------------------------------------------------------------------


def over_seeds(outcomes: Iterable[Outcome], field: str) -> dict[tuple[str, Shots, str], list[float]]:
    """Return (task, shots, maker) -> the values of a field of the scores, by seed."""
    found: dict[tuple[str, Shots, str], list[float]] = {}
    for outcome in outcomes:
        value = getattr(outcome.scores, field)
        found.setdefault((outcome.task.name, outcome.shots, outcome.maker), []).append(
            value if isinstance(value, float) else value.value
        )
    return found


def to_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return one row for the results for each task and number of shots; means over seeds."""
    fields = ("accuracy", "balanced_accuracy", "log_loss", "ece")
    calibrated = (MODEL, PROBE)
    values = {field: over_seeds(outcomes, field) for field in fields}
    makers = list(dict.fromkeys(outcome.maker for outcome in outcomes))
    cells = dict.fromkeys((outcome.task.name, outcome.shots) for outcome in outcomes)
    about = {outcome.task.name: outcome.task for outcome in outcomes}
    heads = {(outcome.task.name, outcome.shots): outcome.head for outcome in outcomes}
    rows: list[dict[str, Any]] = []
    for task, shots in cells:
        present = [maker for maker in makers if (task, shots, maker) in values["accuracy"]]
        row: dict[str, Any] = {"task": task, "group": about[task].group, "labels": len(about[task].labels)}
        row |= {"test": len(about[task].test), "shots": shots, "head": heads[task, shots]}
        for field in fields:
            told = present if field.endswith("accuracy") else [maker for maker in present if maker in calibrated]
            row[field] = {maker: float(np.mean(values[field][task, shots, maker])) for maker in told}
        if PROBE in present:
            row["minus_probe"] = differences(values["balanced_accuracy"], task, shots, PROBE)
        rows.append(row)
    return rows


def differences(
    values: Mapping[tuple[str, Shots, str], Sequence[float]], task: str, shots: Shots, control: str
) -> list[float]:
    """Return the model's value less the control's, seed by seed: both had the same rows."""
    ours, theirs = values[task, shots, MODEL], values[task, shots, control]
    return [one - other for one, other in zip(ours, theirs, strict=True)]


def by_task(outcomes: Sequence[Outcome], field: str) -> list[dict[str, Any]]:
    """Return for each task and number of shots every maker's mean over seeds, and the differences to the model.

    Intervals are over seeds. One draw has none of that kind; its accuracy has those over the test rows.
    """
    values = over_seeds(outcomes, field)
    last = {(outcome.task.name, outcome.shots, outcome.maker): outcome for outcome in outcomes}
    cells: dict[tuple[str, Shots], dict[str, Any]] = {}
    for (task, shots, maker), found in values.items():
        cell = cells.setdefault((task, shots), {"task": task, "shots": shots, field: {}, "model_minus": {}})
        over_rows = last[task, shots, maker] if len(found) == 1 and field == "accuracy" else None
        cell[field][maker] = over_rows.scores.accuracy if over_rows else seed_mean(found)
        if maker != MODEL:
            gaps = differences(values, task, shots, maker)
            cell["model_minus"][maker] = over_rows.paired.difference if over_rows else seed_mean(gaps)
    return list(cells.values())
