"""A small model for tests of routing, as sure as the text itself says: ``bug .9 17`` reads as bug, 90% sure."""

import numpy as np

from sartor.llm.labels import Labelling
from sartor.serve.router import Views
from sartor.types import Example

LABELS = ["billing", "bug", "other"]


class UnsureSmall:
    """Answers with the first word, as surely as the second says; abstains where there is a third word ``odd``."""

    labels = LABELS
    labelling = Labelling("Route mails", dict.fromkeys(LABELS, ""))

    def __init__(self, *, vectors=True):
        self.vectors = vectors
        self.calls = 0

    def views(self, texts):
        self.calls += 1
        probabilities = np.zeros((len(texts), 3))
        for row, text in enumerate(texts):
            label, sure = text.split()[:2]
            probabilities[row] = (1 - float(sure)) / 2
            probabilities[row, LABELS.index(label)] = float(sure)
        top = probabilities.max(axis=1)
        abstain = np.array(["odd" in text for text in texts])
        return Views(probabilities, top, abstain, np.sign(probabilities - top[:, None]) + 1 if self.vectors else None)


def rows(number=400, seed=0):
    """Rows whose right label the small model gives as often as it is sure of it."""
    rng = np.random.default_rng(seed)
    made = []
    for at in range(number):
        said, sure = LABELS[rng.integers(3)], round(float(rng.uniform(0.4, 1.0)), 3)
        others = [label for label in LABELS if label != said]
        right = said if rng.random() < sure else others[rng.integers(2)]
        made.append(Example(f"{said} {sure} {seed}-{at}", right))
    return made


def gold(examples):
    return {example.input: example.output for example in examples}
