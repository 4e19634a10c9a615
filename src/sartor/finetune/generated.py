"""Gradient descent on a generated text classifier: it starts at what was generated and is held near it.

What is trained is the way that answers (the anchor's, or the upper half of the encoder) and the head on all blocks.
Everything below that way stands still and is run once. The loss is cross-entropy, with the squared distance of all
trained tensors from where they began (L2-SP, https://arxiv.org/abs/1802.01483). A tenth of the rows and more say when
to stop; what they liked best is what is given back, after an interrupt as well.

    lora      adapters of rank 8 around the linear layers of the upper way, and the head
    partial   the last two layers, norms and biases of the others of the way, and the head
    full      all layers of the way from the embeddings on, and the head

Dimension key:   N: rows   C: labels   B: batch   T: tokens   H: hidden width   P: pooled blocks
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional

from sartor.families.interface import FloatArray, IntArray
from sartor.finetune.adapted_head import Options, class_weights
from sartor.finetune.interface import Budget, Clock
from sartor.nn import lora
from sartor.nn.encoder import BertEncoder, padded, pool
from sartor.nn.text_base import TextBase
from sartor.nn.tuned import way_of
from sartor.types import Progress, silent

METHODS: Final = ("lora", "partial", "full")
RANK = 8
LAST_LAYERS = 2
BATCH = 16
RATES: Mapping[str, float] = {"lora": 1e-3, "partial": 1e-4, "full": 5e-5}
HEAD_RATE = 1e-3
NEAR = 1e-2
"""Of the squared distance from the start."""
PATIENCE = 6
"""Looks at the rows that stop, without a gain."""
MAX_NORM = 1.0


@dataclass(frozen=True, slots=True)
class Start:
    """Where descent begins."""

    base: TextBase
    texts: Sequence[str]
    targets: IntArray
    pooled: np.ndarray
    """(N, P, H) unit vectors of the texts."""
    beside: FloatArray
    """(N, C) scores of what is not trained: n-grams."""
    head: Tensor
    """(P, H, C)"""
    bias: Tensor
    temperature: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Trained:
    """What descent made."""

    way: Mapping[str, Tensor]
    """Tensors of the way, by the encoder's names or as an adapter's."""
    start: int
    """The layer at which the way leaves the frozen one."""
    head: Tensor
    bias: Tensor
    steps: int
    best_step: int
    seconds: float
    losses: tuple[float, ...]
    interrupted: bool


def train(
    start: Start,
    method: str,
    budget: Budget,
    options: Options,
    learn: IntArray,
    watch: IntArray,
    *,
    seed: int,
    progress: Progress = silent,
    clock: Clock | None = None,
    checkpoint: Path | None = None,
) -> Trained:
    """Train until the budget is spent or the watched rows gain no more.

    Args:
        start: what was generated, and the rows.
        method: of :data:`METHODS`.
        budget: of seconds and steps; a step that has begun is finished.
        options: how rows count.
        learn: which rows are learned from.
        watch: which rows say when to stop.
        seed: of the adapter's start and of the order of rows.
        progress: told of every step.
        clock: counts since the encoding began, if it did.
        checkpoint: file that says how far it is; where it is there, the training goes on.
    """
    clock = clock or Clock()
    run = _Run(start, method, options, seed)
    course = _Course(best=run.copied(), best_loss=run.loss_on(watch))
    if checkpoint is not None and checkpoint.exists():
        course = _resumed(checkpoint, run) or course
    every = max(1, min(20, len(learn) // BATCH))
    losses: list[float] = []
    interrupted = False
    order = _batches(learn, torch.Generator().manual_seed(seed))
    for _ in range(course.step):  # so that it goes on with the rows that would have come
        next(order)
    try:
        while course.waited < PATIENCE and not budget.spent(course.seconds + clock.seconds, course.step):
            losses.append(run.step(next(order)))
            course = replace(course, step=course.step + 1)
            progress("finetune", course.step, budget.steps or 0)
            if course.step % every and not budget.spent(course.seconds + clock.seconds, course.step):
                continue
            if (loss := run.loss_on(watch)) < course.best_loss - 1e-4:
                course = replace(course, best=run.copied(), best_loss=loss, best_step=course.step, waited=0)
            else:
                course = replace(course, waited=course.waited + 1)
            if checkpoint is not None:
                _keep(checkpoint, run, replace(course, seconds=course.seconds + clock.seconds))
    except KeyboardInterrupt:  # what was best so far is what was asked for
        interrupted = True
    best = dict(course.best)
    head, bias = best.pop("head"), best.pop("bias")
    return Trained(
        best, run.first, head, bias, course.step, course.best_step, clock.seconds, tuple(losses), interrupted
    )


@dataclass(frozen=True, slots=True)
class _Course:
    """How far a training is."""

    best: Mapping[str, Tensor]
    best_loss: float
    best_step: int = 0
    step: int = 0
    waited: int = 0
    """Looks without a gain."""
    seconds: float = 0.0
    """Of work before this process."""


_NUMBERS: Final = ("best_loss", "best_step", "step", "waited", "seconds")
_NOW, _BEST, _MOMENT = "now.", "best.", "moment."


def _keep(path: Path, run: "_Run", course: _Course) -> None:
    """Write how far a training is; a disk that does not take it is no reason to stop."""
    tensors = {_NOW + name: tensor for name, tensor in run.copied().items()}
    tensors |= {_BEST + name: tensor for name, tensor in course.best.items()}
    for name, parameter in run.trained.items():
        state = run.optimizer.state[parameter]
        tensors |= {f"{_MOMENT}{key}.{name}": state[key] for key in ("exp_avg", "exp_avg_sq", "step")}
    tensors["numbers"] = torch.tensor([float(getattr(course, name)) for name in _NUMBERS], dtype=torch.float64)
    draft = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)


def _resumed(path: Path, run: "_Run") -> _Course | None:
    """Bring a training to where it was; None where what is there cannot be read."""
    try:
        found = load(path.read_bytes())
        numbers = dict(zip(_NUMBERS, found["numbers"].tolist(), strict=True))
        state: dict[Tensor, dict[str, Tensor]] = {}
        for name, parameter in run.trained.items():
            if found[_NOW + name].shape != parameter.shape:
                return None
            state[parameter] = {key: found[f"{_MOMENT}{key}.{name}"] for key in ("exp_avg", "exp_avg_sq", "step")}
        best = {name: found[_BEST + name] for name in run.trained}
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    with torch.no_grad():
        for name, parameter in run.trained.items():
            parameter.copy_(found[_NOW + name])
    run.optimizer.state.update(state)
    whole = {name: int(numbers[name]) for name in ("best_step", "step", "waited")}
    return _Course(best, numbers["best_loss"], **whole, seconds=numbers["seconds"])


class _Run:
    """Tensors in training."""

    def __init__(self, start: Start, method: str, options: Options, seed: int) -> None:
        self.start = start
        self.options = options
        self.ids = _tokenised(start)
        self.counted = torch.from_numpy(class_weights(start.targets, options.balanced)).float()
        self.targets = torch.from_numpy(start.targets)
        self.beside = torch.from_numpy(start.beside).float()
        way, self.first = way_of(start.base)
        self.first = 0 if method == "full" else self.first
        self.trained, self.encoder = _trainable(way, method, self.first, seed)
        self.trained |= {
            "head": start.head.float().clone().requires_grad_(),
            "bias": start.bias.float().clone().requires_grad_(),
        }
        self.began = {name: tensor.detach().clone() for name, tensor in self.trained.items()}
        groups = [
            {"params": [t for n, t in self.trained.items() if n not in ("head", "bias")], "lr": RATES[method]},
            {"params": [self.trained["head"], self.trained["bias"]], "lr": HEAD_RATE},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0)

    def copied(self) -> dict[str, Tensor]:
        """Return the tensors as they are now."""
        return {name: tensor.detach().clone() for name, tensor in self.trained.items()}

    def step(self, rows: Tensor) -> float:
        """Take a step on a batch; return its loss before."""
        loss = self._loss(rows, smoothing=self.options.smoothing)
        away = sum(((tensor - self.began[name]) ** 2).sum() for name, tensor in self.trained.items())
        (loss + NEAR * away).backward()
        torch.nn.utils.clip_grad_norm_(list(self.trained.values()), MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    @torch.no_grad()
    def loss_on(self, rows: IntArray) -> float:
        """Return the mean loss on rows that are not learned from."""
        order = torch.from_numpy(rows)[np.argsort([len(self.ids[row]) for row in rows], kind="stable")]
        total = sum(float(self._loss(part)) * len(part) for part in order.split(4 * BATCH))
        return total / max(len(rows), 1)

    def _loss(self, rows: Tensor, smoothing: float = 0.0) -> Tensor:
        logits_BC = self._logits(rows)
        each = functional.cross_entropy(logits_BC, self.targets[rows], reduction="none", label_smoothing=smoothing)
        counted = self.counted[rows]
        return (each * counted).sum() / counted.sum()

    def _logits(self, rows: Tensor) -> Tensor:
        base = self.start.base
        ids_BT, keep_BT = padded([self.ids[int(row)] for row in rows], base.encoder.config.pad_id)
        states = self._states(ids_BT, keep_BT)
        blocks_BPH = torch.from_numpy(self.start.pooled[rows.numpy()])
        found = [
            functional.normalize(pool(states[pooling.layer], keep_BT, pooling.kind), dim=1)
            if pooling.layer in states
            else blocks_BPH[:, at]
            for at, pooling in enumerate(base.poolings)
        ]
        scores = torch.einsum("bph,phc->bc", torch.stack(found, dim=1), self.trained["head"])
        return self.start.temperature * (scores + self.beside[rows] + self.trained["bias"])

    def _states(self, ids_BT: Tensor, keep_BT: Tensor) -> dict[int, Tensor]:
        """Return the states that training changes, by the number that a pooling has for their layer."""
        depth = self.start.base.encoder.config.layers
        keep_B11T = None if bool(keep_BT.all()) else keep_BT[:, None, None, :]
        layers = list(self.encoder.encoder["layer"])  # pyright: ignore[reportArgumentType]
        with torch.no_grad():
            state_BTH = self.encoder.embeddings(ids_BT)
            for layer in layers[: self.first]:
                state_BTH = layer(state_BTH, keep_B11T)
        found: dict[int, Tensor] = {}
        for at, layer in enumerate(layers[self.first :], self.first + 1):
            state_BTH = layer(state_BTH, keep_B11T)
            found[at] = state_BTH
        return found if self.start.base.branched is None else {depth + 1: state_BTH}


def _trainable(way: BertEncoder, method: str, first: int, seed: int) -> tuple[dict[str, Tensor], BertEncoder]:
    """Return what of the way is trained, and an encoder that uses it."""
    upper = tuple(f"encoder.layer.{layer}." for layer in range(first, way.config.layers))
    if method == "lora":
        fresh = lora.fresh(way, RANK, generator=torch.Generator().manual_seed(seed))
        adapter = {name: tensor.requires_grad_() for name, tensor in fresh.items() if name.startswith(upper)}
        return adapter, lora.bypassed(way, adapter)
    last = upper[-LAST_LAYERS:]
    chosen = {
        name: tensor.detach().clone()
        for name, tensor in way.state_dict().items()
        if name.startswith(upper) and (method == "full" or name.startswith(last) or _small(name))
    }
    copy = lora.rebuilt(way, chosen)
    trained = {name: parameter for name, parameter in copy.named_parameters() if name in chosen}
    for name, parameter in copy.named_parameters():
        parameter.requires_grad_(name in chosen)
    return dict(trained), copy


def _small(name: str) -> bool:
    """Whether a tensor is a bias or of a norm (BitFit: https://arxiv.org/abs/2106.10199)."""
    return name.endswith(".bias") or ".LayerNorm." in name


def _batches(rows: IntArray, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield row numbers without end: every epoch holds each row once, in an order of its own."""
    numbers = torch.from_numpy(rows)
    while True:
        yield from numbers[torch.randperm(len(rows), generator=generator)].split(BATCH)


def _tokenised(start: Start) -> list[list[int]]:
    most = start.max_tokens
    encodings = start.base.tokenizer.encode_batch_fast([start.base.prefix + text[: most * 64] for text in start.texts])
    return [e.ids if len(e.ids) <= most else [*e.ids[: most - 1], e.ids[-1]] for e in encodings]
