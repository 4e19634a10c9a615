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
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from sartor.nn import lora
from sartor.pretrain.mixture import Episode, Mixture
from sartor.pretrain.states import States

TARGETS = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")
CHECKPOINT, HISTORY, ANCHOR = "checkpoint.safetensors", "history.json", "anchor.safetensors"


@dataclass(frozen=True, slots=True)
class Dial:
    """How much is spent."""

    steps: int
    episodes: int
    """A step."""
    rank: int
    rate: float = 5e-4
    decay: float = 0.01
    warm_up: int = 100
    names: float = 0.5
    """Weight of the matching of rows with label names."""
    unnamed: float = 0.2
    """How often an episode's names are left out."""
    every: int = 300
    """Steps between two looks at the tasks to watch."""
    watched: int = 60
    """Episodes of such a look; always the same."""


CPU = Dial(steps=1200, episodes=2, rank=16)
GPU = Dial(steps=20_000, episodes=16, rank=32)


@dataclass(frozen=True, slots=True)
class Look:
    """How the run stood at a step: losses over log(classes), so that 1 is chance."""

    step: int
    rows: float
    names: float
    watched_rows: float
    watched_names: float


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
) -> dict[str, Tensor]:
    """Train the layers from ``start`` on, go on from ``folder`` if a run lies there; return the adapter.

    Every step draws from its own seed, so that a run that was cut off ends as one that was not. The last step is what
    counts: the rate has come down by then, and the watched losses, which rise as scores grow surer of themselves, are
    for a person to see (LOG.md has the balanced accuracy by which the number of steps was chosen).
    """
    run = _Run.begin(states, start, dial, folder, seed)
    while run.step < dial.steps:
        rows, names = run.learn(states, lessons, dial, seed)
        if run.step % dial.every == 0 or run.step == dial.steps:
            watched = watch(states, lessons, run.adapter, run.scales, dial)
            look = Look(run.step, rows, names, *watched)
            on_look(look)
            run.keep(folder, look)
    return load_file(folder / ANCHOR)


class _Run:
    """What changes from step to step."""

    def __init__(self, adapter: dict[str, Tensor], scales: Tensor, dial: Dial) -> None:
        self.adapter, self.scales = adapter, scales
        for tensor in (*adapter.values(), scales):
            tensor.requires_grad_()
        self.optimiser = torch.optim.AdamW(
            [
                {"params": list(adapter.values()), "lr": dial.rate, "weight_decay": dial.decay},
                {"params": [scales], "lr": 1e-2, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
        )
        self.step = 0
        self.history: list[Look] = []
        self.recent: list[tuple[float, float]] = []

    @classmethod
    def begin(cls, states: States, start: int, dial: Dial, folder: Path, seed: int) -> "_Run":
        """Return a new run, or the one whose checkpoint lies in ``folder``."""
        fresh = lora.fresh(states.encoder, dial.rank, generator=torch.Generator().manual_seed(seed), targets=TARGETS)
        layers = range(start, states.encoder.config.layers)
        kept = tuple(f"encoder.layer.{layer}." for layer in layers)
        adapter = {name: tensor for name, tensor in fresh.items() if name.startswith(kept)}
        device = next(states.encoder.parameters()).device
        run = cls(adapter, torch.tensor([math.log(4.0), math.log(8.0)], device=device), dial)
        if (folder / CHECKPOINT).exists():
            run._load(folder)
        return run

    def learn(self, states: States, lessons: Lessons, dial: Dial, seed: int) -> tuple[float, float]:
        """Take one step; return the mean losses since the last look."""
        self.step += 1
        random = np.random.default_rng([seed, self.step])
        rate = min(self.step / dial.warm_up, 1) * (0.05 + 0.95 * (1 + math.cos(math.pi * self.step / dial.steps)) / 2)
        self.optimiser.param_groups[0]["lr"] = dial.rate * rate
        drawn = [lessons.train.draw(random) for _ in range(dial.episodes)]
        rows, names = losses(states, lessons, drawn, self.adapter, self.scales, random, dial.unnamed)
        self.optimiser.zero_grad()
        (rows + dial.names * names).backward()
        torch.nn.utils.clip_grad_norm_(self.adapter.values(), 1.0)
        self.optimiser.step()
        self.recent.append((float(rows.detach()), float(names.detach())))
        mean = np.mean(self.recent, axis=0)
        return float(mean[0]), float(mean[1])

    def keep(self, folder: Path, look: Look) -> None:
        """Write the checkpoint and the adapter, whole or not at all."""
        self.recent = []
        self.history.append(look)
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / ANCHOR, {name: tensor.detach().half() for name, tensor in self.adapter.items()})
        moments = self.optimiser.state_dict()["state"]
        state = {f"moments.{at}.{key}": value for at, slot in moments.items() for key, value in slot.items()}
        adapter = {f"adapter.{name}": tensor.detach() for name, tensor in self.adapter.items()}
        (folder / HISTORY).write_bytes(msgspec.json.encode([asdict(past) for past in self.history]))
        _replace(folder / CHECKPOINT, {**state, **adapter, "scales": self.scales.detach()})

    def _load(self, folder: Path) -> None:
        found = load_file(folder / CHECKPOINT)
        with torch.no_grad():
            for name, tensor in self.adapter.items():
                tensor.copy_(found[f"adapter.{name}"])
            self.scales.copy_(found["scales"])
        state = self.optimiser.state_dict()
        for name, tensor in found.items():
            if name.startswith("moments."):
                _, at, key = name.split(".")
                state["state"].setdefault(int(at), {})[key] = tensor
        self.optimiser.load_state_dict(state)
        self.history = msgspec.json.decode((folder / HISTORY).read_bytes(), type=list[Look])
        self.step = self.history[-1].step


def _replace(path: Path, tensors: Mapping[str, Tensor]) -> None:
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, partial)
    partial.replace(path)


@torch.no_grad()
def watch(
    states: States, lessons: Lessons, adapter: Mapping[str, Tensor], scales: Tensor, dial: Dial
) -> tuple[float, float]:
    """Return the mean losses of the same episodes every time."""
    random = np.random.default_rng(0)
    found = [
        torch.stack(losses(states, lessons, [lessons.watch.draw(random)], adapter, scales, random, 0.0))
        for _ in range(dial.watched)
    ]
    rows, names = torch.stack(found).mean(dim=0).tolist()
    return rows, names


def losses(
    states: States,
    lessons: Lessons,
    episodes: Sequence[Episode],
    adapter: Mapping[str, Tensor],
    scales: Tensor,
    random: np.random.Generator,
    unnamed: float,
) -> tuple[Tensor, Tensor]:
    """Return the mean losses of the rows' own heads and of their match with label names; both over log(C)."""
    said = [
        np.zeros(0, dtype=np.int64)
        if episode.picked is None or random.random() < unnamed
        else np.array([lessons.names[episode.source.name][label] for label in episode.picked]).T.ravel()
        for episode in episodes
    ]
    texts = [np.concatenate([episode.rows, names]) for episode, names in zip(episodes, said, strict=True)]
    features = states.encode(np.concatenate(texts), adapter).split([len(part) for part in texts])
    of_rows, of_names = scales.new_zeros(()), scales.new_zeros(())
    for episode, adapted in zip(episodes, features, strict=True):
        n = len(episode.rows)
        targets = torch.from_numpy(episode.targets).to(adapted.device)
        frozen = torch.from_numpy(states.frozen[episode.rows].astype(np.float32)).to(adapted.device)
        left_out = leave_one_out(_kernel(adapted[:n], frozen, random), targets, episode.classes, _penalty(random))
        unit = len(episodes) * math.log(episode.classes)
        of_rows = of_rows + functional.cross_entropy(left_out * scales[0].exp(), targets) / unit
        if len(adapted) > n:
            similarity = match(adapted[:n, 0], adapted[n:, 0], episode.classes)
            of_names = of_names + functional.cross_entropy(similarity * scales[1].exp(), targets) / unit
    return of_rows, of_names


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


def match(rows_nH: Tensor, names: Tensor, classes: int) -> Tensor:
    """Return (n, C) similarity to the names, their mean taken off; ``names`` (ways * C, H), way by way."""
    said = functional.normalize(names.unflatten(0, (-1, classes)).sum(dim=0), dim=-1)
    return rows_nH @ (said - said.mean(dim=0)).T
