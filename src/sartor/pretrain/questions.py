"""How yes and no are read behind a question: a LoRA of their own that begins at the anchor's, while rows stay.

Label names that say nothing leave all to the description: with no row to learn from, "Is this about refunds?" is all
that there is. So "yes" and "no" are read behind the description, their own tokens are pooled, and what is learned is
how a question changes what they mean. Every label of a source that says what its texts are about can be asked for, so
that the same two answers mean something else in a thousand tasks, and only the question tells.

What did worse (LOG.md, 2026-11-25): tasks of yes and no in their own words among the questions, which are few and are
learned by heart; an adapter of their own for names that say something, which the anchor reads as well.

Dimension key:   n: rows of an episode   N: texts of the table   H: hidden width
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from sartor.families.text_classification import DESCRIPTION_TOKENS, readable
from sartor.nn.anchor import Anchor
from sartor.nn.encoder import InContext, in_context
from sartor.pretrain import run
from sartor.pretrain.anchor import match
from sartor.pretrain.mixture import Episode, Mixture
from sartor.pretrain.run import Look, Losses, Pace
from sartor.pretrain.states import States
from sartor.types import Weights

QUESTIONS = (
    "Is this text about {}? Answer yes or no.",
    "Decide whether the text is about {} or not.",
    "{}?",
    "Is it {}?",
    "Does the text have to do with {}? yes or no",
    "Say yes if the label {} fits, otherwise no.",
    "We want to know whether a message belongs under {}.",
    "Find the texts of the kind {}.",
    "Yes when somebody writes about {}, no when not.",
    "Is this a case of {}?",
)
"""What one label against the rest is asked by."""
_SCALE = "scale"


@dataclass(frozen=True, slots=True)
class Dial:
    """How much is spent."""

    pace: Pace
    episodes: int
    """A step."""
    watched: int = 60
    """Episodes of a look at what is not learned from; always the same."""


CPU = Dial(Pace(steps=900, rate=6e-4, warm_up=50, every=300), episodes=8)
GPU = Dial(Pace(steps=3_000, rate=6e-4, warm_up=50, every=300), episodes=32)


@dataclass(frozen=True, slots=True)
class Lessons:
    """What questions are made of."""

    train: Mixture
    watch: Mixture
    behind: Callable[[str, str], InContext]
    """Of a question and an answer, to be read together."""


def lessons(train: Mixture, watch: Mixture, tokenizer: Tokenizer) -> Lessons:
    """Return mixtures with what puts an answer behind a question."""
    behind = functools.cache(lambda before, words: in_context(tokenizer, before, words, DESCRIPTION_TOKENS))
    return Lessons(train, watch, behind)


def train(
    states: States,
    told: Lessons,
    rows: Weights,
    dial: Dial,
    folder: Path,
    *,
    seed: int,
    on_look: Callable[[Look], None],
) -> Anchor:
    """Return the adapter of ``rows`` with one for answers; go on from ``folder`` if a run lies there."""
    device = next(states.encoder.parameters()).device
    rows = {name: tensor.to(device) for name, tensor in rows.items()}
    parameters = {**rows, _SCALE: torch.tensor(math.log(8.0), device=device)}
    lesson = Lesson(states, told, states.encode_all(_texts(told), rows), dial)
    found = run.descend(lesson, parameters, dial.pace, folder, seed=seed, on_look=on_look)
    return Anchor(rows, {name: found[name] for name in rows})


def _texts(told: Lessons) -> np.ndarray:
    """Return the numbers of all rows that episodes can hold."""
    groups = (*told.train.groups.values(), *told.watch.groups.values())
    return np.unique(np.concatenate([source.rows for group in groups for source in group]))


@dataclass(frozen=True, slots=True)
class Lesson:
    """Rows, as the anchor has them, to be matched with the answers to a question."""

    states: States
    told: Lessons
    rows_NH: Tensor
    dial: Dial

    @property
    def weights(self) -> Mapping[str, float]:
        """Return what the loss counts."""
        return {"questions": 1.0}

    def learn(self, parameters: Mapping[str, Tensor], random: np.random.Generator) -> Losses:
        """Return the mean loss of a step's episodes."""
        return self._mean(self.told.train, self.dial.episodes, parameters, random)

    def watch(self, parameters: Mapping[str, Tensor]) -> Losses:
        """Return the mean loss of the same episodes every time."""
        return self._mean(self.told.watch, self.dial.watched, parameters, np.random.default_rng(0))

    def _mean(
        self, mixture: Mixture, episodes: int, parameters: Mapping[str, Tensor], random: np.random.Generator
    ) -> Losses:
        """Return the mean cross-entropy of rows against answers, over log(2); all answers are encoded at once."""
        asked = [self._draw(mixture, random) for _ in range(episodes)]
        adapter = {name: tensor for name, tensor in parameters.items() if name != _SCALE}
        said = [self.told.behind(question, answer) for _, question in asked for answer in ("yes", "no")]
        behind = self.states.encode_behind(said, adapter).unflatten(0, (episodes, 2))
        losses: list[Tensor] = []
        for (episode, _), answers_CH in zip(asked, behind, strict=True):
            rows_nH = self.rows_NH[torch.from_numpy(episode.rows).to(self.rows_NH.device)]
            scores = match(rows_nH, answers_CH[None]) * parameters[_SCALE].exp()
            targets = torch.from_numpy(episode.targets).to(scores.device)
            losses.append(functional.cross_entropy(scores, targets) / math.log(2))
        return {"questions": torch.stack(losses).mean()}

    def _draw(self, mixture: Mixture, random: np.random.Generator) -> tuple[Episode, str]:
        """Return an episode of one label against the rest, and what it asks."""
        while True:  # labels of some sources say nothing that could be asked for
            episode = mixture.draw(random, merged=0.0, asked=1.0)
            if episode.question is not None:
                template = QUESTIONS[int(random.integers(len(QUESTIONS)))]
                return episode, template.format(readable(episode.source.labels[episode.question]))
