"""The anchor of pictures: an adapter of the net's upper stages, learned over many small tasks at once.

It does not depend on the task at hand: it says what pictures have to be told apart by in general. Each episode is
solved in closed form on the adapted features, every picture by a head that has not seen it (leave-one-out ridge,
Bertinetto et al. 2019, https://arxiv.org/abs/1805.08136), so that what is learned is features from which a few
pictures go far, never a head. B starts at zero: step 0 is the frozen net. What lies below the adapted stages does not
change, and is computed once.

Dimension key:   P: pictures of a pool   N: pictures of an episode   C: classes   H, W: height and width   D: width
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from sartor.nn import picture_anchor
from sartor.nn.anchor import replace_file
from sartor.nn.picture_features import pooled
from sartor.nn.picture_net import ANCHORED_FROM, PictureNet, feature_maps, prepared
from sartor.pretrain import run
from sartor.pretrain.picture_tasks import Bytes, Ints, Pool
from sartor.pretrain.run import Look, Losses, Pace, Parameters
from sartor.types import Weights

MIX: Mapping[str, float] = {"things": 2, "thing-peaks": 2, "late": 2, "part-peaks": 1, "places": 1}
"""What each block counts in an episode."""
PENALTIES = (0.03, 0.1, 0.3)
_SCALE = {"scale": math.log(6.0)}
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Dial:
    """How much is spent."""

    pace: Pace
    pictures: int
    """Of an episode, at most."""
    rank: int
    watched: int = 10
    """Episodes of each group that is looked at; always the same."""


CPU = Dial(Pace(steps=900, rate=4e-4, warm_up=50, every=150), pictures=40, rank=16)
GPU = Dial(Pace(steps=10_000, rate=4e-4, warm_up=200, every=500), pictures=160, rank=32)


@dataclass(frozen=True, slots=True)
class Below:
    """A pool whose pictures went as far as what is frozen."""

    group: str
    states_PCHW: Tensor
    """float16"""
    classes_P: Ints
    sets_P: Ints


def below(
    net: PictureNet,
    groups: Iterable[str],
    draw: Callable[[str], Pool | None],
    folder: Path,
    *,
    on_group: Callable[[str, int], None] = lambda group, pictures: None,
) -> list[Below]:
    """Return groups as the adapted stages read them; one that lies in ``folder`` is not drawn again.

    Args:
        net: frozen.
        groups: those that are wanted.
        draw: returns a group's pictures, or None where it has no source; it is left out then.
        folder: where they are kept.
        on_group: told of each, and how many pictures it has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Below] = []
    for group in groups:
        path = folder / f"{group}.safetensors"
        if not path.exists():
            drawn = draw(group)
            if drawn is None:
                continue
            labels = {"classes": torch.from_numpy(drawn.classes), "sets": torch.from_numpy(drawn.sets)}
            replace_file(path, {"states": states_below(net, drawn.pictures), **labels})
        kept = load_file(path, device=str(net.device))
        found.append(Below(group, kept["states"], kept["classes"].cpu().numpy(), kept["sets"].cpu().numpy()))
        on_group(group, len(kept["states"]))
    return found


@torch.inference_mode()
def states_below(net: PictureNet, pictures_PSSC: Bytes) -> Tensor:
    """Return (P, C, H, W) what the stage below the adapted ones hands on, float16."""
    found = []
    for at in range(0, len(pictures_PSSC), _AT_ONCE):
        part = torch.from_numpy(pictures_PSSC[at : at + _AT_ONCE]).to(net.device)
        maps = feature_maps(net.config, net.weights, prepared(net.config, part))
        found.append(maps[ANCHORED_FROM - 1].half().cpu())
    return torch.cat(found)


# --- episodes ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Episode:
    """Pictures of a few classes."""

    pool: Below
    rows: Ints
    targets_N: Tensor
    classes: int

    @classmethod
    def draw(cls, pool: Below, random: np.random.Generator, most: int) -> "Episode":
        """Return two to eight classes of one set, two to eight pictures of each."""
        known = np.unique(pool.classes_P[pool.sets_P == random.choice(np.unique(pool.sets_P))])
        chosen = random.permutation(known)[: random.integers(2, 9)]
        each = int(random.integers(2, max(3, min(9, most // len(chosen) + 1))))
        rows = [random.permutation(np.flatnonzero(pool.classes_P == label))[:each] for label in chosen]
        targets = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
        return cls(pool, np.concatenate(rows), torch.from_numpy(targets), len(chosen))


@dataclass(frozen=True, slots=True)
class Lesson:
    """Pictures to be told apart by heads that have not seen them."""

    net: PictureNet
    train: Sequence[Below]
    watched: Sequence[Below]
    dial: Dial

    @property
    def weights(self) -> Mapping[str, float]:
        """Return what each loss counts."""
        return {"pictures": 1.0}

    def learn(self, parameters: Mapping[str, Tensor], random: np.random.Generator) -> Losses:
        """Return the loss of an episode; every group is as likely as any other."""
        pool = self.train[int(random.integers(len(self.train)))]
        return {"pictures": self.loss(Episode.draw(pool, random, self.dial.pictures), parameters)}

    def watch(self, parameters: Mapping[str, Tensor]) -> Losses:
        """Return the mean loss of each group that is not learned from."""
        found: dict[str, Tensor] = {}
        for pool in self.watched:
            random = np.random.default_rng(0)
            episodes = [Episode.draw(pool, random, self.dial.pictures) for _ in range(self.dial.watched)]
            found[pool.group] = torch.stack([self.loss(one, parameters) for one in episodes]).mean()
        return found

    def loss(self, episode: Episode, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the cross-entropy of an episode's pictures, each told by a head of all others."""
        weights = picture_anchor.adapted(self.net, parameters)
        below_BCHW = episode.pool.states_PCHW[torch.from_numpy(episode.rows)].float()
        blocks = blocks_above(self.net, weights, below_BCHW)
        targets_N = episode.targets_N.to(below_BCHW.device)
        return left_out_loss(blocks, targets_N, episode.classes, parameters["scale"].exp())


def blocks_above(net: PictureNet, weights: Mapping[str, Tensor], below_BCHW: Tensor) -> dict[str, Tensor]:
    """Return the blocks that the upper stages give, each row of length one."""
    states_BCHW = below_BCHW.contiguous(memory_format=torch.channels_last)
    maps = replace(net, anchored=weights).maps_above([states_BCHW] * ANCHORED_FROM)
    return {name: functional.normalize(pooled(name, maps), dim=1) for name in MIX}


def left_out_loss(blocks: Mapping[str, Tensor], targets_N: Tensor, classes: int, scale: Tensor) -> Tensor:
    """Return the mean cross-entropy of leave-one-out ridge scores, over a few penalties."""
    n = len(targets_N)
    kernel_NN = sum((weight * _kernel(blocks[name]) for name, weight in MIX.items()), torch.zeros(()))
    kernel_NN = kernel_NN / sum(MIX.values())
    truth_NC = functional.one_hot(targets_N, classes).to(kernel_NN)
    residual_NC = truth_NC - truth_NC.mean(0)
    losses = []
    for penalty in PENALTIES:
        inverse_NN = torch.linalg.inv(kernel_NN + penalty * torch.eye(n).to(kernel_NN))
        free_N1 = (inverse_NN.diagonal() * penalty - 1 / n).clamp_min(0.02)[:, None]
        left_out_NC = truth_NC - penalty * (inverse_NN @ residual_NC) / free_N1
        losses.append(functional.cross_entropy(scale * left_out_NC, targets_N))
    return torch.stack(losses).mean()


def _kernel(block_ND: Tensor) -> Tensor:
    """Return (N, N) inner products of centred rows, of unit trace."""
    centred_ND = block_ND - block_ND.mean(0)
    kernel_NN = centred_ND @ centred_ND.T
    return kernel_NN * (len(kernel_NN) / kernel_NN.trace().clamp_min(1e-6))


def train(lesson: Lesson, folder: Path, *, seed: int, on_look: Callable[[Look], None]) -> Weights:
    """Return an adapter of the upper stages; go on from ``folder`` if a run lies there."""
    random = torch.Generator().manual_seed(seed)
    fresh = picture_anchor.fresh(lesson.net.config, lesson.dial.rank, generator=random)
    parameters: Parameters = {name: tensor.to(lesson.net.device) for name, tensor in fresh.items()}
    parameters |= {name: torch.tensor(value, device=lesson.net.device) for name, value in _SCALE.items()}
    found = run.descend(lesson, parameters, lesson.dial.pace, folder, seed=seed, on_look=on_look)
    return {name: tensor for name, tensor in found.items() if name not in _SCALE}
