"""A whole family in one file: a text is how often it has each letter, a label the mean of its texts and its name.

It stands here, outside the package, to prove that a new family takes one file and no other edit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import ClassVar

import numpy as np
import scipy.special
import torch

from sartor.families.interface import Condition, Control, FloatArray, IntArray, LabelFamily, Prediction
from sartor.types import BaseRef, Progress, Requirement, Weights, silent


@dataclass(frozen=True, slots=True)
class Letters:
    """(N, 26) shares of the letters."""

    shares: FloatArray

    def __len__(self) -> int:
        return len(self.shares)

    def take(self, rows: IntArray) -> "Letters":
        return Letters(self.shares[rows])


@dataclass(frozen=True, slots=True)
class Alphabet:
    """No base is needed."""

    ref: BaseRef = field(default_factory=lambda: BaseRef("alphabet", "0" * 64, "public domain"))


class LetterCounts(LabelFamily[Letters]):
    """The family ``letter-counts``."""

    name: ClassVar[str] = "letter-counts"
    summary: ClassVar[str] = "puts a text under the label whose texts have the same letters"
    generator: ClassVar[str] = "means/1"

    def base(self, requirement: Requirement, *, progress: Progress = silent) -> Alphabet:
        return Alphabet()

    def encode(
        self, base: Alphabet, requirement: Requirement, inputs: Sequence[str], *, progress: Progress = silent
    ) -> Letters:
        counts = [[text.lower().count(letter) for letter in ascii_lowercase] for text in inputs]
        shares = np.array(counts, dtype=np.float64).reshape(len(inputs), len(ascii_lowercase))
        progress("encode", len(inputs), len(inputs))
        return Letters(shares / np.maximum(shares.sum(axis=1, keepdims=True), 1))

    def encode_labels(self, base: Alphabet, requirement: Requirement) -> Letters:
        return self.encode(base, requirement, [f"{label.name} {label.description}" for label in requirement.labels])

    def generate(self, requirement: Requirement, condition: Condition[Letters], *, seed: int) -> Weights:
        sums = condition.labels.shares.copy()
        for row in np.lexsort(condition.support.shares.T):  # sums of floats depend on the order
            sums[condition.targets[row]] += condition.support.shares[row]
        rows = 1 + np.bincount(condition.targets, minlength=len(sums))
        return {"means": torch.from_numpy(sums / rows[:, None]).float()}

    def predict(self, requirement: Requirement, weights: Weights, features: Letters) -> Prediction:
        probabilities = nearest(weights["means"].double().numpy(), features)
        return Prediction(probabilities, probabilities.max(axis=1), np.zeros(len(features), dtype=np.bool_))

    def head(self, weights: Weights) -> str:
        return "means"

    def controls(self, requirement: Requirement) -> Sequence[Control[Letters]]:
        return (
            Control("majority", "Majority class", majority),
            Control("label-names", "Letters of the label names", label_names),
        )


def nearest(means: FloatArray, features: Letters) -> FloatArray:
    distances = np.square(features.shares[:, None, :] - means[None, :, :]).sum(axis=2)
    return scipy.special.softmax(-50 * distances, axis=1)


def majority(requirement: Requirement, condition: Condition[Letters], rows: Letters, seed: int) -> FloatArray:
    counts = np.bincount(condition.targets, minlength=len(requirement.labels)) + 1.0
    return np.tile(counts / counts.sum(), (len(rows), 1))


def label_names(requirement: Requirement, condition: Condition[Letters], rows: Letters, seed: int) -> FloatArray:
    return nearest(condition.labels.shares, rows)


FAMILY = LetterCounts()
