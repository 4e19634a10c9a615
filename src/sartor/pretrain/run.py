"""A run of gradient steps that may be cut off: AdamW, a warm-up, a cosine, looks at what is watched, a checkpoint.

Every step draws from its own seed, so that a run that was cut off ends as one that was not. The last step is what
counts: the rate has come down by then, and the watched losses, which rise as scores grow surer of themselves, are for
a person to see (LOG.md has the balanced accuracy by which numbers of steps were chosen).
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from sartor.nn.anchor import replace_file

CHECKPOINT, HISTORY = "checkpoint.safetensors", "history.json"

Parameters: TypeAlias = dict[str, Tensor]
"""Matrices, which decay; vectors, which do not; and single numbers, which have a rate of their own."""
Losses: TypeAlias = Mapping[str, Tensor]
"""Name -> a loss, a number."""

_NUMBERS_RATE = 1e-2


@dataclass(frozen=True, slots=True)
class Pace:
    """How many steps, and how large they are."""

    steps: int
    rate: float
    warm_up: int
    every: int
    """Steps between two looks, each of which leaves a checkpoint."""
    decay: float = 0.01

    def rate_at(self, step: int) -> float:
        """Return the rate of a step, the first being 1."""
        cosine = (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.rate * min(step / self.warm_up, 1) * (0.05 + 0.95 * cosine)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many seconds of the processor, for runs whose steps cost different amounts; looks do not count."""

    seconds: float
    rate: float
    looks: int = 4
    """Spread evenly over the seconds, the last one at the end."""
    warm_up: float = 0.1
    """Share of the seconds."""
    decay: float = 0.01

    def rate_at(self, spent: float) -> float:
        """Return the rate when so many seconds are spent."""
        share = min(spent / self.seconds, 1)
        cosine = (1 + math.cos(math.pi * share)) / 2
        return self.rate * min((share + 0.01) / self.warm_up, 1) * (0.05 + 0.95 * cosine)


@dataclass(frozen=True, slots=True)
class Look:
    """How the run stood at a step."""

    step: int
    learned: dict[str, float]
    """Means since the last look."""
    watched: dict[str, float]


class Objective(Protocol):
    """What is learned."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Return what each loss counts."""
        ...

    def learn(self, parameters: Mapping[str, Tensor], random: np.random.Generator) -> Losses:
        """Return the losses of a step's draw."""
        ...

    def watch(self, parameters: Mapping[str, Tensor]) -> Losses:
        """Return the losses on what is not learned from; on the same every time."""
        ...


def descend(
    objective: Objective,
    parameters: Parameters,
    pace: Pace,
    folder: Path,
    *,
    seed: int,
    on_look: Callable[[Look], None],
) -> Parameters:
    """Change the parameters step by step, going on from ``folder`` if a run lies there; return them."""
    run = _Run(parameters, pace.rate, pace.decay)
    if (folder / CHECKPOINT).exists():
        run.load(folder)
    while run.step < pace.steps:
        run.learn(objective, pace.rate_at(run.step + 1), seed)
        if run.step % pace.every == 0 or run.step == pace.steps:
            with torch.no_grad():
                watched = {name: float(loss) for name, loss in objective.watch(run.parameters).items()}
            look = Look(run.step, run.learned, watched)
            on_look(look)
            run.keep(folder, look)
    return {name: tensor.detach() for name, tensor in run.parameters.items()}


def descend_for(
    objective: Objective,
    parameters: Parameters,
    budget: Budget,
    *,
    seed: int,
    on_look: Callable[[Look, Parameters, float], None],
    clock: Callable[[], float] = time.process_time,
) -> None:
    """Change the parameters until the budget is spent; what is learned is told in looks alone.

    Args:
        objective: what is learned.
        parameters: where it begins.
        budget: how long, and how fast.
        seed: of what is drawn.
        on_look: is given the parameters as they are, too, and the seconds that were spent.
        clock: seconds of the processor.
    """
    run = _Run(parameters, budget.rate, budget.decay)
    spent, looked = 0.0, 0
    while looked < budget.looks:
        began = clock()
        run.learn(objective, budget.rate_at(spent), seed)
        spent += clock() - began
        if spent >= budget.seconds * (looked + 1) / budget.looks:
            looked = int(spent * budget.looks / budget.seconds)  # a long step may pass two of them
            with torch.no_grad():
                watched = {name: float(loss) for name, loss in objective.watch(run.parameters).items()}
            found = {name: tensor.detach().clone() for name, tensor in run.parameters.items()}
            on_look(Look(run.step, run.learned, watched), found, spent)
            run.recent = []


class _Run:
    """What changes from step to step."""

    def __init__(self, parameters: Parameters, rate: float, decay: float) -> None:
        self.parameters = {name: tensor.clone().requires_grad_() for name, tensor in parameters.items()}
        matrices, vectors, numbers = (
            [tensor for tensor in self.parameters.values() if tensor.dim() in dims]
            for dims in (range(2, 9), range(1, 2), range(1))
        )
        self.paced = [*matrices, *vectors]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": matrices, "lr": rate, "weight_decay": decay},
                {"params": vectors, "lr": rate, "weight_decay": 0.0},
                {"params": numbers, "lr": _NUMBERS_RATE, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
        )
        self.step = 0
        self.history: list[Look] = []
        self.recent: list[dict[str, float]] = []

    def learn(self, objective: Objective, rate: float, seed: int) -> None:
        """Take one step."""
        self.step += 1
        for group in self.optimiser.param_groups[:2]:
            group["lr"] = rate
        losses = objective.learn(self.parameters, np.random.default_rng([seed, self.step]))
        self.optimiser.zero_grad()
        torch.stack([objective.weights[name] * loss for name, loss in losses.items()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.paced, 1.0)
        self.optimiser.step()
        self.recent.append({name: float(loss.detach()) for name, loss in losses.items()})

    @property
    def learned(self) -> dict[str, float]:
        """Return the mean losses since the last look."""
        return {name: float(np.mean([past[name] for past in self.recent])) for name in self.recent[-1]}

    def keep(self, folder: Path, look: Look) -> None:
        """Write the checkpoint, whole or not at all."""
        self.recent = []
        self.history.append(look)
        folder.mkdir(parents=True, exist_ok=True)
        moments = self.optimiser.state_dict()["state"]
        state = {f"moments.{at}.{key}": value for at, slot in moments.items() for key, value in slot.items()}
        values = {f"parameters.{name}": tensor.detach() for name, tensor in self.parameters.items()}
        (folder / HISTORY).write_bytes(msgspec.json.encode(self.history))
        replace_file(folder / CHECKPOINT, {**state, **values})

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint."""
        found = load_file(folder / CHECKPOINT)
        with torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(found[f"parameters.{name}"])
        state = self.optimiser.state_dict()
        for name, tensor in found.items():
            if name.startswith("moments."):
                _, at, key = name.split(".")
                state["state"].setdefault(int(at), {})[key] = tensor
        self.optimiser.load_state_dict(state)
        self.history = msgspec.json.decode((folder / HISTORY).read_bytes(), type=list[Look])
        self.step = self.history[-1].step
