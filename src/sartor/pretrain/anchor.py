"""The anchor of text classifiers: a LoRA for the upper half of the base, learned over many small tasks at once.

It does not depend on the task at hand: it is the part of a generator that says what texts have to be told apart by in
general. Each episode is solved in closed form on the adapted features, every row by a head that has not seen it
(leave-one-out ridge, Bertinetto et al. 2019, https://arxiv.org/abs/1805.08136, with the identity of
:mod:`sartor.nn.solve`), so that what is learned is features from which a few rows go far, never a head. Beside it,
rows are matched with the names of their labels. B starts at zero: step 0 is the frozen base.

Dimension key:   n: rows of an episode   C: classes   H: hidden width
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sartor.nn import lora
from sartor.pretrain import run
from sartor.pretrain.mixture import Episode, Mixture
from sartor.pretrain.run import Look, Losses, Pace, Parameters
from sartor.pretrain.states import States
from sartor.types import Weights

TARGETS = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")
_SCALES = {"scale.rows": math.log(4.0), "scale.names": math.log(8.0)}


@dataclass(frozen=True, slots=True)
class Dial:
    """How much is spent."""

    pace: Pace
    episodes: int
    """A step."""
    rank: int
    names: float = 0.5
    """Weight of the matching of rows with label names."""
    unnamed: float = 0.2
    """How often an episode's names are left out."""
    watched: int = 60
    """Episodes of a look at what is not learned from; always the same."""


CPU = Dial(Pace(steps=1200, rate=5e-4, warm_up=100, every=300), episodes=2, rank=16)
GPU = Dial(Pace(steps=20_000, rate=5e-4, warm_up=100, every=1000), episodes=16, rank=32)


@dataclass(frozen=True, slots=True)
class Lessons:
    """The two mixtures and where label names stand in the table of texts."""

    train: Mixture
    watch: Mixture
    names: Mapping[str, Sequence[tuple[int, ...]]]
    """source -> for each label the texts that say its name."""


def train(
    states: States,
    start: int,
    lessons: Lessons,
    dial: Dial,
    folder: Path,
    *,
    seed: int,
    on_look: Callable[[Look], None],
) -> Weights:
    """Return an adapter of the layers from ``start`` on; go on from ``folder`` if a run lies there."""
    parameters = begin(states, start, dial.rank, seed)
    found = run.descend(Lesson(states, lessons, dial), parameters, dial.pace, folder, seed=seed, on_look=on_look)
    return {name: tensor for name, tensor in found.items() if name not in _SCALES}


def begin(states: States, start: int, rank: int, seed: int) -> Parameters:
    """Return a fresh adapter, which changes nothing, and the scales of the scores."""
    fresh = lora.fresh(states.encoder, rank, generator=torch.Generator().manual_seed(seed), targets=TARGETS)
    kept = tuple(f"encoder.layer.{layer}." for layer in range(start, states.encoder.config.layers))
    adapter = {name: tensor for name, tensor in fresh.items() if name.startswith(kept)}
    device = next(states.encoder.parameters()).device
    return {**adapter, **{name: torch.tensor(value, device=device) for name, value in _SCALES.items()}}


@dataclass(frozen=True, slots=True)
class Lesson:
    """Rows to be told apart by their own heads, and to be matched with label names."""

    states: States
    lessons: Lessons
    dial: Dial

    @property
    def weights(self) -> Mapping[str, float]:
        """Return what each loss counts."""
        return {"rows": 1.0, "names": self.dial.names}

    def learn(self, parameters: Mapping[str, Tensor], random: np.random.Generator) -> Losses:
        """Return the losses of a step's episodes."""
        drawn = [self.lessons.train.draw(random) for _ in range(self.dial.episodes)]
        return self._losses(drawn, parameters, random, self.dial.unnamed)

    def watch(self, parameters: Mapping[str, Tensor]) -> Losses:
        """Return the mean losses of the same episodes every time."""
        random = np.random.default_rng(0)
        found = [
            self._losses([self.lessons.watch.draw(random)], parameters, random, 0.0) for _ in range(self.dial.watched)
        ]
        return {name: torch.stack([losses[name] for losses in found]).mean() for name in self.weights}

    def _losses(
        self,
        episodes: Sequence[Episode],
        parameters: Mapping[str, Tensor],
        random: np.random.Generator,
        unnamed: float,
    ) -> Losses:
        """Return the mean losses of the rows' own heads and of their match with label names; both over log(C)."""
        states, lessons = self.states, self.lessons
        adapter = {name: tensor for name, tensor in parameters.items() if name not in _SCALES}
        said = [
            np.zeros(0, dtype=np.int64)
            if episode.picked is None or random.random() < unnamed
            else np.array([lessons.names[episode.source.name][label] for label in episode.picked]).T.ravel()
            for episode in episodes
        ]
        texts = [np.concatenate([episode.rows, names]) for episode, names in zip(episodes, said, strict=True)]
        features = states.encode(np.concatenate(texts), adapter).split([len(part) for part in texts])
        of_rows, of_names = features[0].new_zeros(()), features[0].new_zeros(())
        for episode, adapted in zip(episodes, features, strict=True):
            n, unit = len(episode.rows), len(episodes) * math.log(episode.classes)
            targets = torch.from_numpy(episode.targets).to(adapted.device)
            frozen = torch.from_numpy(states.frozen[episode.rows].astype(np.float32)).to(adapted.device)
            left_out = leave_one_out(_kernel(adapted[:n], frozen, random), targets, episode.classes, _penalty(random))
            scores = left_out * parameters["scale.rows"].exp()
            of_rows = of_rows + functional.cross_entropy(scores, targets) / unit
            if len(adapted) > n:
                scores = match(adapted[:n, 0], adapted[n:, 0].unflatten(0, (-1, episode.classes)))
                scores = scores * parameters["scale.names"].exp()
                of_names = of_names + functional.cross_entropy(scores, targets) / unit
        return {"rows": of_rows, "names": of_names}


def _penalty(random: np.random.Generator) -> float:
    return math.exp(random.uniform(math.log(0.05), 0.0))


def _kernel(adapted_n2H: Tensor, frozen_n3H: Tensor, random: np.random.Generator) -> Tensor:
    own = 0.75 * centred(adapted_n2H[:, 0]) + 0.25 * centred(adapted_n2H[:, 1])
    if random.random() < 0.5:  # alone, and beside the frozen blocks that it will stand beside
        return own
    mid, last, peak = (centred(frozen_n3H[:, at]) for at in range(3))
    return 0.5 * own + 0.5 * (0.5 * last + 0.35 * mid + 0.15 * peak)


def centred(features_nH: Tensor) -> Tensor:
    """Return the (n, n) kernel of centred rows, scaled to unit trace."""
    rows = features_nH - features_nH.mean(dim=0)
    return rows @ rows.T / (rows.pow(2).sum() / len(rows)).clamp_min(1e-6)


def leave_one_out(kernel_nn: Tensor, targets: Tensor, classes: int, penalty: float) -> Tensor:
    """Return (n, C) ridge scores, each row's from a head without it; differentiable in the kernel."""
    truth = functional.one_hot(targets, classes).to(kernel_nn.dtype)
    inverse = torch.linalg.inv(kernel_nn + penalty * torch.eye(len(kernel_nn), device=kernel_nn.device))
    unfitted = penalty * (inverse @ (truth - truth.mean(dim=0)))
    freedom = (penalty * inverse.diagonal() - 1 / len(kernel_nn)).clamp_min(1e-3)
    return truth - unfitted / freedom[:, None]


def match(rows_nH: Tensor, ways_wCH: Tensor) -> Tensor:
    """Return (n, C) similarity to the names, their mean taken off; each name is said in w ways."""
    said = functional.normalize(ways_wCH.sum(dim=0), dim=-1)
    return rows_nH @ (said - said.mean(dim=0)).T
