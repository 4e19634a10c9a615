"""A family that writes without a language model: what it learns from rows is which of them say ``yes``."""

from collections import Counter

import numpy as np
import torch
from typing_extensions import override

from sartor.families.interface import Writing, WritingControl, WritingFamily
from sartor.types import BaseRef, Requirement

ANSWERERS = ("generated", "anchor", "base")
NEED = Requirement("echo", "echo", "Say it loudly", (), "en", "none", 64)
WRITING = Writing()


class Base:
    ref = BaseRef("none", "0", "none")


class Echo(WritingFamily):
    """Answers with its rows' most frequent output, the anchor in capitals, the base with what it was asked.

    ``costs`` are the losses of the three, for a right answer and for a wrong one.
    """

    name, summary, generator = "echo", "answers", "echo/1"

    def __init__(self, costs=((0.5, 3.0), (2.0, 2.0), (4.0, 4.0))):
        self.costs = costs
        self.seen = []

    @override
    def base(self, requirement, *, progress=lambda *of: None):
        return Base()

    @override
    def generate(self, base, requirement, supports, prompts=(), *, progress=lambda *of: None):
        self.seen.append([tuple(rows) for rows in supports])
        outputs = [Counter(str(row.output) for row in rows).most_common(1) for rows in supports]
        return [self._weights(found[0][0] if found else "") for found in outputs]

    def _weights(self, text):
        return {"text": torch.tensor([*text.encode(), 0]), "who": torch.tensor(0), "dial": torch.tensor(1.0)}

    @override
    def settle(self, weights, answerer, dial=1.0):
        return {**weights, "who": torch.tensor(ANSWERERS.index(answerer)), "dial": torch.tensor(float(dial))}

    @override
    def settled(self, weights):
        return ANSWERERS[int(weights["who"])], float(weights["dial"])

    @override
    def head(self, weights):
        return self.settled(weights)[0]

    @override
    def answer(self, base, weights, inputs, writing, *, progress=lambda *of: None):
        return [self._say(weights, text) for text in inputs]

    def _say(self, weights, text):
        if weights is None or self.head(weights) == "base":
            return text.rpartition("\n")[2]
        if self.head(weights) == "anchor":
            return text.upper()
        return bytes(weights["text"].tolist()[:-1]).decode()

    @override
    def losses(self, base, arms, rows):
        return np.stack([self.costs_of(weights, rows) for weights in arms])

    def costs_of(self, weights, rows):
        at = 2 if weights is None else int(weights["who"])
        further = 0.0 if weights is None or at else abs(float(weights["dial"]) - 1.25)
        said = [self._say(weights, row.input) == row.output for row in rows]
        return np.array([self.costs[at][0 if right else 1] + further for right in said])

    @override
    def controls(self, requirement):
        told = WritingControl("instruction", "Told", lambda need, rows, text: f"{need.description}\n{text}")
        shown = WritingControl(
            "in-context", "Shown", lambda need, rows, text: f"{rows[0].input}\n{text}", needs_rows=True
        )
        return told, shown
