"""How label names are read: a LoRA of their own that begins at the anchor's, learned while rows stay as they are.

With no row to learn from, names and the description are all there is. A name is read alone, framed, and behind the
description of its task, in one of many wordings where there are some; so what is learned as well is how a description
changes what a name means ("yes" to "Is this text about refunds?"). Rows are read by the anchor and do not move: in one
LoRA with the names they lost more than the names gained (LOG.md, 2026-11-25).

Dimension key:   n: rows of an episode   N: texts of the table   C: classes   H: hidden width
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from sartor.families.text_classification import DESCRIPTION_TOKENS, readable
from sartor.nn.anchor import CONTEXT, Anchor
from sartor.nn.encoder import InContext, in_context
from sartor.pretrain import run
from sartor.pretrain.anchor import Lessons, match
from sartor.pretrain.mixture import Episode, Mixture
from sartor.pretrain.run import Look, Losses, Pace
from sartor.pretrain.states import FROZEN, States
from sartor.types import Weights

ANSWERS = ("yes", "no")
YES_NO = "yes or no"
"""Where the names of the answers to a question stand among the names of sources."""
QUESTIONS = (
    "Is this text about {}? Answer yes or no.",
    "Decide whether the text is about {} or not.",
    "{}?",
    "Does the text have to do with {}? yes or no",
    "Say yes if the label {} fits, otherwise no.",
)
"""What an episode of one class against the rest is asked by."""
_SCALES = {"scale.names": math.log(8.0), "scale.questions": math.log(8.0)}
_FROZEN_LAST = FROZEN.index("last")


@dataclass(frozen=True, slots=True)
class Dial:
    """How much is spent."""

    pace: Pace
    episodes: int
    """A step."""
    asked: float = 0.25
    """How often an episode is a question."""
    described: float = 0.7
    """How often names are read behind the description as well, if the task has one."""
    watched: int = 60
    """Episodes of a look at what is not learned from; always the same."""


CPU = Dial(Pace(steps=900, rate=6e-4, warm_up=50, every=300), episodes=4)
GPU = Dial(Pace(steps=3_000, rate=6e-4, warm_up=50, every=300), episodes=16)


@dataclass(frozen=True, slots=True)
class Wordings:
    """What names are read behind."""

    descriptions: Mapping[str, Sequence[str]]
    """source -> wordings of its description."""
    behind: Callable[[str, str], InContext]
    """Of a description and a name, to be read together."""


def wordings(tokenizer: Tokenizer, descriptions: Mapping[str, Sequence[str]]) -> Wordings:
    """Return descriptions with what puts names behind them."""
    return Wordings(
        descriptions,
        functools.cache(lambda before, words: in_context(tokenizer, before, words, DESCRIPTION_TOKENS)),
    )


def train(
    states: States,
    lessons: Lessons,
    told: Wordings,
    rows: Weights,
    dial: Dial,
    folder: Path,
    *,
    seed: int,
    on_look: Callable[[Look], None],
) -> Anchor:
    """Return the adapter of ``rows`` with one for names; go on from ``folder`` if a run lies there."""
    device = next(states.encoder.parameters()).device
    rows = {name: tensor.to(device) for name, tensor in rows.items()}
    numbers = {CONTEXT: math.log(2.0), **_SCALES}
    parameters = {**rows, **{name: torch.tensor(value, device=device) for name, value in numbers.items()}}
    lesson = Lesson(states, lessons, told, states.encode_all(_texts(lessons), rows), dial)
    found = run.descend(lesson, parameters, dial.pace, folder, seed=seed, on_look=on_look)
    return Anchor(rows, {name: found[name] for name in rows}, found[CONTEXT])


def _texts(lessons: Lessons) -> np.ndarray:
    """Return the numbers of all rows that episodes can hold."""
    mixtures = (lessons.train, lessons.watch)
    rows = [source.rows for mixture in mixtures for group in mixture.groups.values() for source in group]
    return np.unique(np.concatenate(rows))


@dataclass(frozen=True, slots=True)
class Lesson:
    """Rows, as the anchor has them, to be matched with names."""

    states: States
    lessons: Lessons
    told: Wordings
    rows_NH: Tensor
    dial: Dial

    @property
    def weights(self) -> Mapping[str, float]:
        """Return what the loss counts."""
        return {"names": 1.0}

    def learn(self, parameters: Mapping[str, Tensor], random: np.random.Generator) -> Losses:
        """Return the mean loss of a step's episodes."""
        return self._mean(self.lessons.train, self.dial.episodes, parameters, random)

    def watch(self, parameters: Mapping[str, Tensor]) -> Losses:
        """Return the mean loss of the same episodes every time."""
        return self._mean(self.lessons.watch, self.dial.watched, parameters, np.random.default_rng(0))

    def _mean(
        self, mixture: Mixture, episodes: int, parameters: Mapping[str, Tensor], random: np.random.Generator
    ) -> Losses:
        drawn = [mixture.draw(random, merged=0.0, asked=self.dial.asked) for _ in range(episodes)]
        return {"names": torch.stack([self._loss(episode, parameters, random) for episode in drawn]).mean()}

    def _loss(self, episode: Episode, parameters: Mapping[str, Tensor], random: np.random.Generator) -> Tensor:
        """Return the cross-entropy of rows against names, over log(C).

        What a model without rows answers by: the frozen similarity and the learned one together. A question's answers
        have no frozen similarity worth having, and are left to what is learned.
        """
        adapter = {name: tensor for name, tensor in parameters.items() if name not in (CONTEXT, *_SCALES)}
        numbers = self._names(episode)
        ways = self.states.encode(numbers.ravel(), adapter)[:, 0].unflatten(0, numbers.shape)
        before = self._description(episode, random)
        if before is not None:
            said = [self.told.behind(before, words) for words in _words(episode)]
            behind = parameters[CONTEXT].exp() * self.states.encode_behind(said, adapter)
            ways = torch.cat([ways, behind[None]])
        similarity = match(self.rows_NH[torch.from_numpy(episode.rows).to(self.rows_NH.device)], ways)
        asked = episode.question is not None
        if not asked:
            similarity = similarity + match(self._frozen(episode.rows), self._frozen(numbers))
        scale = parameters["scale.questions" if asked else "scale.names"].exp()
        targets = torch.from_numpy(episode.targets).to(similarity.device)
        return functional.cross_entropy(similarity * scale, targets) / math.log(episode.classes)

    def _frozen(self, texts: np.ndarray) -> Tensor:
        last = self.states.frozen[texts.ravel(), _FROZEN_LAST].astype(np.float32)
        return torch.from_numpy(last).to(self.rows_NH.device).unflatten(0, texts.shape)

    def _names(self, episode: Episode) -> np.ndarray:
        """Return (w, C) the texts that say the classes' names, in each of w ways."""
        if episode.picked is None:
            return np.array(self.lessons.names[YES_NO], dtype=np.int64).T
        known = self.lessons.names[episode.source.name]
        return np.array([known[label] for label in episode.picked], dtype=np.int64).T

    def _description(self, episode: Episode, random: np.random.Generator) -> str | None:
        """Return a wording of what the episode asks, or None where names are to stand alone."""
        if episode.question is not None:
            asked = readable(episode.source.labels[episode.question])
            return QUESTIONS[int(random.integers(len(QUESTIONS)))].format(asked)
        known = self.told.descriptions.get(episode.source.name, ())
        if not known or random.random() >= self.dial.described:
            return None
        return known[int(random.integers(len(known)))]


def _words(episode: Episode) -> Sequence[str]:
    if episode.picked is None:
        return ANSWERS
    return [readable(episode.source.labels[label]) for label in episode.picked]
