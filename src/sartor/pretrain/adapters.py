"""What the generator of text-generation learns by: the answers of a frozen language model, with adapters around it.

End to end (Phang et al. 2023, https://arxiv.org/abs/2211.12485; Charakorn et al. 2025, https://arxiv.org/abs/2506.06105):
the loss of the answers goes back through the frozen base into what made the adapters. Most often the base reads the
input alone, so that only the adapter can tell what is to be done with it. The layers below the lowest adapter have no
part in the gradient.

Dimension key:   B: rows of a step   T: tokens   M: answer tokens of a step   G: adapters of a step   H: hidden width
                 V: vocabulary   r: rank   I, O: inputs and outputs of a site
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sartor.nn import lora
from sartor.nn.condition import CONDITION_TOKENS, Sentences
from sartor.nn.decoder import Adapters, sites
from sartor.nn.encoder import Pooling, encode_texts
from sartor.nn.language import LanguageModel
from sartor.nn.teacher_forcing import Batch, Written, answer_losses, write
from sartor.nn.text_base import TextBase
from sartor.pretrain import kept, run
from sartor.pretrain.instructions import Episode, InstructionMixture, InstructionTask
from sartor.pretrain.run import Look, Losses, Pace, Parameters
from sartor.types import Progress, silent

A, B = ".A", ".B"


@dataclass(frozen=True, slots=True)
class Dial:
    """How much is spent."""

    pace: Pace
    tasks: int
    """A step."""
    rows: int
    """Of a task."""
    rank: int
    layers: int
    """How many of the upper layers have adapters."""
    targets: tuple[str, ...] = ("q_proj", "v_proj", "down_proj")
    watched: int = 12
    """Steps' worth of episodes in a look at what is not learned from; always the same."""
    support: int = 16
    """Labelled rows of a condition at most."""


CPU = Dial(Pace(steps=250, rate=2e-3, warm_up=40, every=50), tasks=8, rows=2, rank=8, layers=10)
GPU = Dial(Pace(steps=4_000, rate=1e-3, warm_up=200, every=250), tasks=32, rows=4, rank=8, layers=30)


States: TypeAlias = Callable[[Sequence[Written]], Tensor]
"""Rows -> (B, T, H) what enters the lowest layer with an adapter, as :class:`sartor.pretrain.below.Below` has it."""


# --- the anchor ---------------------------------------------------------------------------------------------


def first_layer(model: LanguageModel, layers: int) -> int:
    """Return the lowest of the upper ``layers``."""
    return max(0, model.decoder.config.layers - layers)


def chosen_sites(model: LanguageModel, dial: Dial) -> dict[str, tuple[int, int]]:
    """Return path -> (O, I) of the linear layers that have adapters."""
    upper = range(first_layer(model, dial.layers), model.decoder.config.layers)
    kept = tuple(f"model.layers.{layer}." for layer in upper)
    return {path: shape for path, shape in sites(model.decoder, dial.targets).items() if path.startswith(kept)}


def fresh(model: LanguageModel, dial: Dial, seed: int) -> Parameters:
    """Return an adapter that changes nothing: A uniform within 1 / sqrt(I), B zero."""
    generator = torch.Generator().manual_seed(seed)
    device = model.device
    found: Parameters = {}
    for path, (outputs, inputs) in chosen_sites(model, dial).items():
        found[path + A] = lora.fresh_a(dial.rank, inputs, generator).to(device)
        found[path + B] = torch.zeros(outputs, dial.rank, device=device)
    return found


def as_adapters(parameters: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return site -> A (1, r, I) and B (1, O, r)."""
    paths = [name.removesuffix(A) for name in parameters if name.endswith(A)]
    return {path: (parameters[path + A][None], parameters[path + B][None]) for path in paths}


def sites_of(model: LanguageModel, adapter: Adapters) -> dict[str, tuple[int, int]]:
    """Return path -> (O, I) of an adapter's sites in the decoder's order, which a file of tensors does not keep.

    A generator's own weights are numbered in that order.
    """
    return {path: shape for path, shape in sites(model.decoder).items() if path in adapter}


def as_parameters(adapter: Adapters) -> Parameters:
    """Return the matrices of one adapter, as :func:`as_adapters` takes them."""
    return {path + name: part[0] for path, both in adapter.items() for name, part in zip((A, B), both, strict=True)}


@dataclass(frozen=True, slots=True)
class AnchorLesson:
    """One adapter for all tasks, which knows nothing of any: the control that a generated one must beat."""

    model: LanguageModel
    train: InstructionMixture
    watched: InstructionMixture
    dial: Dial
    below: States | None = None

    @property
    def weights(self) -> Mapping[str, float]:
        """Return what the loss counts."""
        return {"answers": 1.0}

    def learn(self, parameters: Mapping[str, Tensor], random: np.random.Generator) -> Losses:
        """Return the mean loss of a step's rows."""
        return {"answers": self._loss(draw(self.train, self.dial, random), parameters)}

    def watch(self, parameters: Mapping[str, Tensor]) -> Losses:
        """Return the mean loss of the same rows every time."""
        random = np.random.default_rng(0)
        losses = [self._loss(draw(self.watched, self.dial, random), parameters) for _ in range(self.dial.watched)]
        return {"answers": torch.stack(losses).mean()}

    def _loss(self, episodes: Sequence[Episode], parameters: Mapping[str, Tensor]) -> Tensor:
        return episode_losses(self.model, episodes, as_adapters(parameters), self.dial, self.below).mean()


def episode_losses(
    model: LanguageModel,
    episodes: Sequence[Episode],
    adapters: Adapters,
    dial: Dial,
    below: States | None,
) -> Tensor:
    """Return (B,) the losses of the rows of episodes, one after the other, under one adapter or one for each row."""
    rows = written(model, episodes)
    batch = Batch.of(rows, model.device)
    known = below(rows) if below else None
    return answer_losses(model, batch, adapters, first_layer(model, dial.layers), known)


def draw(mixture: InstructionMixture, dial: Dial, random: np.random.Generator) -> tuple[Episode, ...]:
    """Return the episodes of a step."""
    return mixture.draw(random, tasks=dial.tasks, rows=dial.rows, support=dial.support)


def written(model: LanguageModel, episodes: Sequence[Episode]) -> list[Written]:
    """Return the rows of episodes, one after the other."""
    return [write(model, row, episode.instruction) for episode in episodes for row in episode.queries]


def all_rows(model: LanguageModel, tasks: Iterable[InstructionTask]) -> list[Written]:
    """Return every row that episodes of these tasks can ask, if no instruction is shown."""
    return [write(model, row) for task in tasks for row in task.train]


def rows_of(episodes: Sequence[Episode]) -> NDArray[np.int64]:
    """Return (B,) which episode a row is of."""
    return np.repeat(np.arange(len(episodes)), [len(episode.queries) for episode in episodes])


def train_anchor(
    lesson: AnchorLesson, folder: Path, *, seed: int, on_look: Callable[[Look], None]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the multi-task adapter; go on from ``folder`` if a run lies there."""
    start = fresh(lesson.model, lesson.dial, seed)
    return as_adapters(run.descend(lesson, start, lesson.dial.pace, folder, seed=seed, on_look=on_look))


# --- conditions ---------------------------------------------------------------------------------------------


def condition_texts(tasks: Iterable[InstructionTask]) -> list[str]:
    """Return all texts that conditions of these tasks can hold and that are embedded."""
    found: set[str] = set()
    for task in tasks:
        found.update(task.descriptions)
        found.update(row.input for row in task.train)
    return sorted(found)


def embed(base: TextBase, texts: Sequence[str], cache: Path, progress: Progress = silent) -> Sentences:
    """Return the sentence embeddings (N, E) of texts, of length one, computed once and kept in ``cache``."""
    told_by = [base.ref.sha256, CONDITION_TOKENS, *texts]
    folder = kept.once(cache, "sentences", told_by, lambda folder: _embed(base, texts, folder, progress))
    return Sentences(texts, np.load(folder / "embeddings.npy"))


def _embed(base: TextBase, texts: Sequence[str], folder: Path, progress: Progress) -> None:
    done = 0

    def on_rows(rows: int) -> None:
        nonlocal done
        done += rows
        progress("embed", done, len(texts))

    last = Pooling(base.encoder.config.layers)
    with torch.autocast(next(base.encoder.parameters()).device.type, torch.bfloat16):  # twice as fast on a core
        found, _ = encode_texts(
            base.encoder, base.tokenizer, texts, (last,), max_tokens=CONDITION_TOKENS, on_rows=on_rows
        )
    unit = found[:, 0] / np.linalg.norm(found[:, 0], axis=1, keepdims=True)
    np.save(folder / "embeddings.npy", unit.astype(np.float16))


def few_rows(tasks: Iterable[InstructionTask], most: int, wordings: int) -> list[InstructionTask]:
    """Return tasks with their first rows and wordings, so that all texts of conditions can be embedded beforehand."""
    return [replace(task, train=task.train[:most], descriptions=task.descriptions[:wordings]) for task in tasks]
