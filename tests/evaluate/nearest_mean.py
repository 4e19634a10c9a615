"""A whole family in a page: a text is a number, a label is the mean of its numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sartor.families.interface import Condition, Control, FloatArray, IntArray, LabelFamily, Prediction
from sartor.types import BaseRef, Label, Progress, Requirement, Weights, silent


@dataclass(frozen=True)
class Numbers:
    values: FloatArray

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: IntArray) -> "Numbers":
        return Numbers(self.values[rows])


@dataclass(frozen=True)
class NoBase:
    ref: BaseRef = field(default_factory=lambda: BaseRef("none", "", "none"))


Answer = Callable[[Requirement, Condition[Numbers], Numbers, int], FloatArray]


def majority(requirement: Requirement, condition: Condition[Numbers], features: Numbers, seed: int) -> FloatArray:
    counts = np.bincount(condition.targets, minlength=len(requirement.labels))
    return np.tile(counts / counts.sum(), (len(features), 1))


def label_names(requirement: Requirement, condition: Condition[Numbers], features: Numbers, seed: int) -> FloatArray:
    return _nearest(condition.labels.values, features)


MAJORITY = Control("majority", "majority class", majority)
LABEL_NAMES = Control("label-names", "label names alone", label_names)


@dataclass
class NearestMean(LabelFamily[Numbers]):
    baselines: Sequence[Control[Numbers]] = (MAJORITY,)
    seen: list[tuple[Requirement, Condition[Numbers]]] = field(default_factory=list)
    """What ``generate`` was given."""

    name = "nearest-mean"
    summary = "Numbers by their nearest mean."
    generator = "mean/1"

    def base(self, requirement: Requirement, *, progress: Progress = silent) -> NoBase:
        return NoBase()

    def encode(
        self, base: object, requirement: Requirement, inputs: Sequence[str], *, progress: Progress = silent
    ) -> Numbers:
        return Numbers(np.array([float(text) for text in inputs], dtype=np.float64))

    def encode_labels(self, base: object, requirement: Requirement) -> Numbers:
        return self.encode(base, requirement, [label.name for label in requirement.labels])

    def generate(self, requirement: Requirement, condition: Condition[Numbers], *, seed: int) -> Weights:
        self.seen.append((requirement, condition))
        means = np.full(len(requirement.labels), np.inf)
        for c in np.unique(condition.targets):
            means[c] = condition.support.values[condition.targets == c].mean()
        return {"means": means}

    def predict(self, requirement: Requirement, weights: Weights, features: Numbers) -> Prediction:
        probabilities = _nearest(weights["means"], features)
        n = len(features)
        return Prediction(probabilities, scope=features.values.copy(), abstain=np.zeros(n, dtype=np.bool_))

    def head(self, weights: Weights) -> str:
        return "mean"

    def controls(self, requirement: Requirement) -> Sequence[Control[Numbers]]:
        return self.baselines


def _nearest(means: FloatArray, features: Numbers) -> FloatArray:
    closeness = np.exp(-np.minimum(np.abs(features.values[:, None] - means[None, :]), 50))
    return closeness / closeness.sum(axis=1, keepdims=True)


def requirement(names: Sequence[str], targets: Sequence[int] = ()) -> Requirement:
    labels = tuple(Label(name, rows=list(targets).count(c)) for c, name in enumerate(names))
    return Requirement("nearest-mean", "numbers", "", labels, language="en", base="none", max_tokens=8)


def task(
    names: Sequence[str], values: Sequence[float], targets: Sequence[int]
) -> tuple[Requirement, Condition[Numbers]]:
    labels = Numbers(np.array([float(name) for name in names]))
    rows = Numbers(np.array(values, dtype=np.float64))
    return requirement(names, targets), Condition(labels, rows, np.array(targets, dtype=np.int64))
