"""Gradient descent on a generated adapter of a model that writes: it starts at what was generated and is held near it.

The whole adapter is trained, the anchor's ranks and the generated ones, by the cross-entropy of the right answers. Rows
held out say when to stop; what they liked best is what is given back, after an interrupt as well.

Dimension key:   r: rank   I, O: inputs and outputs of a site
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sartor.families.interface import IntArray
from sartor.finetune.interface import Budget, Clock
from sartor.nn.decoder import Adapters
from sartor.nn.generator_file import lowest_layer
from sartor.nn.language import LanguageModel
from sartor.nn.teacher_forcing import Batch, Written, answer_losses, write
from sartor.types import Example, Progress, silent

BATCH = 4
RATE = 3e-4
NEAR = 1e-2
"""Of the squared distance from the start (L2-SP, https://arxiv.org/abs/1802.01483)."""
PATIENCE = 6
EVERY = 5
"""Steps between two looks at the rows that stop."""
MAX_NORM = 1.0


@dataclass(frozen=True, slots=True)
class TrainedAdapter:
    """What descent made."""

    adapter: Adapters
    steps: int
    best_step: int
    losses: tuple[float, ...]
    interrupted: bool


def train(
    model: LanguageModel,
    adapter: Adapters,
    rows: Sequence[Example],
    learn: IntArray,
    watch: IntArray,
    budget: Budget,
    *,
    limits: tuple[int, int],
    seed: int,
    progress: Progress = silent,
    clock: Clock | None = None,
) -> TrainedAdapter:
    """Train until the budget is spent or the watched rows gain no more.

    Args:
        model: frozen.
        adapter: site -> A (1, r, I) and B (1, O, r), where it begins.
        rows: inputs and right answers.
        learn: which rows are learned from.
        watch: which rows say when to stop.
        budget: of seconds and steps; a step that has begun is finished.
        limits: tokens that are read of an input, and of all.
        seed: of the order of rows.
        progress: told of every step.
        clock: counts since the reading began, if it did.
    """
    clock = clock or Clock()
    most_read, most = limits
    written = [write(model, row, max_tokens=most_read, most=most) for row in rows]
    trained = {path: tuple(map(_leaf, both)) for path, both in adapter.items()}
    leaves = [part for both in trained.values() for part in both]
    began = [part.detach().clone() for part in leaves]
    layer = lowest_layer(adapter)
    optimizer = torch.optim.AdamW(leaves, lr=RATE, weight_decay=0.0)

    def losses_of(which: Sequence[int]) -> Tensor:
        batch = Batch.of([written[row] for row in which], model.device)
        return answer_losses(model, batch, _pairs(trained), layer)

    def watched() -> float:
        with torch.no_grad():
            parts = [losses_of(part) for part in _parts(written, watch)]
        return float(torch.cat(parts).mean())

    best, best_loss, best_step, waited = _copied(trained), watched(), 0, 0
    losses: list[float] = []
    interrupted = False
    order = _batches(learn, seed)
    try:
        while not budget.spent(clock.seconds, len(losses)):
            loss = losses_of(next(order)).mean()
            away = [((part - start) ** 2).sum() for part, start in zip(leaves, began, strict=True)]
            (loss + NEAR * torch.stack(away).sum()).backward()
            torch.nn.utils.clip_grad_norm_(leaves, MAX_NORM)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
            progress("finetune", len(losses), budget.steps or 0)
            if len(losses) % EVERY and not budget.spent(clock.seconds, len(losses)):
                continue
            if (found := watched()) < best_loss - 1e-4:
                best, best_loss, best_step, waited = _copied(trained), found, len(losses), 0
            else:
                waited += 1
            if waited >= PATIENCE:
                break
    except KeyboardInterrupt:  # what was best so far is what was asked for
        interrupted = True
    return TrainedAdapter(best, len(losses), best_step, tuple(losses), interrupted)


def _leaf(part: Tensor) -> Tensor:
    return part.detach().float().clone().requires_grad_()


def _pairs(trained: Mapping[str, tuple[Tensor, ...]]) -> dict[str, tuple[Tensor, Tensor]]:
    return {path: (both[0], both[1]) for path, both in trained.items()}


def _copied(trained: Mapping[str, tuple[Tensor, ...]]) -> dict[str, tuple[Tensor, Tensor]]:
    return {path: (both[0].detach().clone(), both[1].detach().clone()) for path, both in trained.items()}


def _parts(written: Sequence[Written], which: IntArray) -> Iterator[list[int]]:
    order = sorted(which.tolist(), key=lambda row: len(written[row].ids))
    for start in range(0, len(order), 2 * BATCH):
        yield order[start : start + 2 * BATCH]


def _batches(learn: IntArray, seed: int) -> Iterator[list[int]]:
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(learn)
        for start in range(0, len(order), BATCH):
            yield order[start : start + BATCH].tolist()
