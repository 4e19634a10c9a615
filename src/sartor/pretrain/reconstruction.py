"""Training of a weight head by checkpoints, not by answers: adapters of many tasks are trained first, then regressed.

The manner of Drag-and-Drop LLMs (https://arxiv.org/abs/2506.16406, section 2), the other objective than that of
:mod:`sartor.pretrain.generator`: for each task an adapter is trained beside the anchor, and its last checkpoints are
kept; at each step of the head's training a task, one of its checkpoints and one of its conditions meet at random. No
base is asked any more.

Adapters that do the same may have different A and B, for only B A counts. So A is drawn once and is the same for all
tasks, as in what is shipped, and only B is trained, from zero: then B is one with what it does. B is regressed in
blocks of sixty-four outputs, the mean over tasks taken off and what is left brought to a mean square of one: a loss of
1 is that of foretelling the mean, 0 is every checkpoint to the number. (There, each block of each checkpoint is brought
to one, and its mean and spread are foretold, too.)

Dimension key:   W: checkpoints of a task   G: conditions   r: rank   I, O: inputs and outputs of a site
                 T: tokens   H: hidden width
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sartor.errors import DataError
from sartor.nn import lora
from sartor.nn.anchored import join
from sartor.nn.condition import Condition
from sartor.nn.decoder import Adapters
from sartor.nn.language import LanguageModel
from sartor.nn.teacher_forcing import Batch, Written, answer_losses
from sartor.nn.weight_heads import Sites
from sartor.pretrain.adapters import States
from sartor.pretrain.instructions import InstructionMixture
from sartor.pretrain.run import Losses

COLUMNS = 64
"""Outputs of a block."""
_LEAST = 1e-6
"""Scale of a block that no task changes."""


@dataclass(frozen=True, slots=True)
class Farm:
    """How the adapter of a task is trained."""

    steps: int = 8
    """Before the window."""
    window: int = 4
    """Steps each of which leaves a checkpoint, at :attr:`late` of the rate."""
    rows: int = 4
    """A step."""
    rate: float = 1e-2
    late: float = 0.25


def shared_a(sites: Sites, rank: int, seed: int) -> dict[str, Tensor]:
    """Return site -> A (r, I), the same for all tasks."""
    random = torch.Generator().manual_seed(seed)
    return {path: lora.fresh_a(rank, inputs, random) for path, (_, inputs) in sites.items()}


def checkpoints(
    model: LanguageModel,
    rows: Sequence[Written],
    beside: Adapters,
    a: Mapping[str, Tensor],
    farm: Farm,
    layer: int,
    states: States | None,
    random: np.random.Generator,
) -> dict[str, Tensor]:
    """Return site -> B (W, O, r), the last checkpoints of an adapter trained on the rows of one task.

    Args:
        model: frozen.
        rows: of the task.
        beside: the anchor, A (1, r0, I) and B (1, O, r0) at each site.
        a: of all tasks.
        farm: how long and how fast.
        layer: up to which no adapter stands.
        states: of what enters it, where that is known.
        random: what rows are drawn from.
    """
    leaves = {
        path: torch.zeros(anchor_b.shape[1], a[path].shape[0], device=anchor_b.device, requires_grad=True)
        for path, (_, anchor_b) in beside.items()
    }
    optimiser = torch.optim.AdamW(list(leaves.values()), lr=farm.rate, betas=(0.9, 0.98), weight_decay=0.0)
    kept: list[dict[str, Tensor]] = []
    for step in range(farm.steps + farm.window):
        if step == farm.steps:
            optimiser.param_groups[0]["lr"] = farm.late * farm.rate
        drawn = [rows[at] for at in random.permutation(len(rows))[: farm.rows]]
        batch = Batch.of(drawn, model.device)
        generated = {path: (a[path][None], b_Or[None]) for path, b_Or in leaves.items()}
        known = states(drawn) if states else None
        loss = answer_losses(model, batch, join(beside, generated, 1.0), layer, known).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step >= farm.steps:
            kept.append({path: b_Or.detach().clone() for path, b_Or in leaves.items()})
    return {path: torch.stack([one[path] for one in kept]) for path in leaves}


# --- normalised --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Normal:
    """What is taken off B, and what it is divided by then."""

    mean: Mapping[str, Tensor]
    """Site -> (O, r)."""
    scale: Mapping[str, Tensor]
    """Site -> (O, 1), the same for all outputs of a block."""

    @classmethod
    def of(cls, targets: Sequence[Mapping[str, Tensor]]) -> "Normal":
        """Return what brings checkpoints of many tasks, site -> (W, O, r) each, to mean zero and a mean square of one.

        Raises:
            DataError: if there are fewer than two tasks, which have no spread.
        """
        if len(targets) < 2:
            raise DataError(
                f"To regress adapters it takes those of two tasks or more; got {len(targets)}. Spend more on targets."
            )
        mean: dict[str, Tensor] = {}
        scale: dict[str, Tensor] = {}
        for path in targets[0]:
            all_WOr = torch.cat([one[path].float() for one in targets])
            mean[path] = all_WOr.mean(dim=0)
            power_O = (all_WOr - mean[path]).square().mean(dim=(0, 2))
            blocks = [block.mean().sqrt().clamp_min(_LEAST).expand(len(block)) for block in power_O.split(COLUMNS)]
            scale[path] = torch.cat(blocks)[:, None]
        return cls(mean, scale)

    def normalised(self, path: str, b_GOr: Tensor) -> Tensor:
        """Return B of a site as it is regressed."""
        return (b_GOr - self.mean[path]) / self.scale[path]

    def restored(self, path: str, normal_GOr: Tensor) -> Tensor:
        """Return B of a site from what was regressed."""
        return normal_GOr * self.scale[path] + self.mean[path]


Foretell = Callable[[Sequence[Condition], Mapping[str, Tensor], np.random.Generator | None], Mapping[str, Tensor]]
"""Conditions, a head's parameters and what conditions are blurred by -> site -> (G, O, r), as they are regressed."""


@dataclass(frozen=True, slots=True)
class ReconstructionLesson:
    """Conditions in, checkpoints of their tasks out."""

    foretell: Foretell
    train: InstructionMixture
    """Of tasks that have targets."""
    targets: Mapping[str, Mapping[str, Tensor]]
    """Task -> site -> B (W, O, r)."""
    normal: Normal
    conditions: int = 8
    """A step."""
    support: int = 16
    """Labelled rows of a condition at most."""
    watched: Callable[[Mapping[str, Tensor]], Losses] = lambda parameters: {}
    """What a look shows."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Return what the loss counts."""
        return {"blocks": 1.0}

    def learn(self, parameters: Mapping[str, Tensor], random: np.random.Generator) -> Losses:
        """Return the mean square of what is left of a step's checkpoints."""
        episodes = self.train.draw(random, tasks=self.conditions, rows=1, support=self.support)
        names = [one.task.name for one in episodes]
        found = self.foretell([one.condition for one in episodes], parameters, random)
        return {"blocks": self.left(names, found, random)}

    def watch(self, parameters: Mapping[str, Tensor]) -> Losses:
        """Return what a look shows."""
        return self.watched(parameters)

    def left(self, names: Sequence[str], foretold: Mapping[str, Tensor], random: np.random.Generator) -> Tensor:
        """Return the mean square, over all numbers, of what a random checkpoint of each task is away."""
        return left(foretold, [self.targets[name] for name in names], self.normal, random)


def left(
    foretold: Mapping[str, Tensor],
    targets: Sequence[Mapping[str, Tensor]],
    normal: Normal,
    random: np.random.Generator,
) -> Tensor:
    """Return the mean square of normalised differences to one checkpoint of each target, drawn at random.

    Args:
        foretold: site -> (G, O, r), normalised.
        targets: site -> (W, O, r) of each of G.
        normal: of these.
        random: what checkpoints are drawn from.
    """
    picked = [int(random.integers(len(next(iter(target.values()))))) for target in targets]
    total, numbers = next(iter(foretold.values())).new_zeros(()), 0
    for path, found_GOr in foretold.items():
        wanted_GOr = torch.stack([target[path][at].float() for target, at in zip(targets, picked, strict=True)])
        difference = found_GOr - normal.normalised(path, wanted_GOr)
        total, numbers = total + difference.square().sum(), numbers + difference.numel()
    return total / numbers
