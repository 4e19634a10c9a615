"""A condition of text-generation: what a generator is told of a task, as texts and as tensors.

Dimension key:   G: conditions   N: items   E: width of a sentence embedding
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sartor.types import Example

DESCRIPTION, PROMPT = range(2)
"""Types of a condition's items, as :mod:`sartor.nn.set_encoder` has them."""
SHOTS = 16
"""Labelled rows and prompts of a condition, at most."""
MOST_SUPPORT = 64
"""Labelled rows that go into a model, drawn by their hashes; more take longer and say little more."""
CONDITION_TOKENS = 64
"""Of a text of a condition that are embedded."""

Modality: TypeAlias = Literal["description", "examples", "both", "prompts"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What the generator reads of a task."""

    description: str | None = None
    support: tuple[Example, ...] = ()
    """Labelled rows."""
    prompts: tuple[str, ...] = ()
    """Inputs without answers."""

    @property
    def modality(self) -> Modality:
        """Return what there is to read; prompts beside a description or rows do not count."""
        if self.support:
            return "both" if self.description else "examples"
        return "description" if self.description else "prompts"


@dataclass(frozen=True, slots=True)
class Item:
    """A text of a condition."""

    text: str
    kind: int


def items(condition: Condition) -> list[Item]:
    """Return what is embedded of a condition: its description, else its prompts; nothing where labelled rows speak.

    As in training, prompts say something only where nothing else does.
    """
    if condition.support:
        return []
    if condition.description:
        return [Item(condition.description, DESCRIPTION)]
    return [Item(prompt, PROMPT) for prompt in condition.prompts]


@dataclass(frozen=True, slots=True)
class Conditions:
    """Embedded conditions, filled up to the longest."""

    items_GNE: Tensor
    types_GN: Tensor
    keep_GN: Tensor


def tensors(
    conditions: Sequence[Condition], embedding: Callable[[str], NDArray[np.floating]], width: int, device: torch.device
) -> Conditions:
    """Return conditions as a generator reads them; one that is empty has no real item.

    Args:
        conditions: G of them.
        embedding: text -> (E,) of length one.
        width: E.
        device: where they shall lie.
    """
    listed = [items(condition) for condition in conditions]
    size = (len(listed), max(1, *(len(one) for one in listed)))
    embedded = np.zeros((*size, width), dtype=np.float32)
    types, keep = np.zeros(size, np.int64), np.zeros(size, bool)
    for at, one in enumerate(listed):
        for place, item in enumerate(one):
            embedded[at, place] = embedding(item.text)
            types[at, place], keep[at, place] = item.kind, True
    return Conditions(*(torch.from_numpy(part).to(device) for part in (embedded, types, keep)))


class Sentences:
    """Frozen embeddings of the texts that conditions are made of."""

    def __init__(self, texts: Sequence[str], embeddings_NE: NDArray[np.floating]) -> None:
        self.place: Mapping[str, int] = {text: at for at, text in enumerate(texts)}
        self.embeddings_NE = embeddings_NE

    def __call__(self, conditions: Sequence[Condition], device: torch.device) -> Conditions:
        """Return conditions as a generator reads them."""
        return tensors(
            conditions, lambda text: self.embeddings_NE[self.place[text]], self.embeddings_NE.shape[1], device
        )
