"""Rows with their answers as a base reads them, and the loss of the answers.

Dimension key:   B: rows   T: tokens   M: answer tokens of all rows   G: adapters   H: hidden width   V: vocabulary
                 r: rank   I, O: inputs and outputs of a site
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sartor.nn.decoder import Adapters
from sartor.nn.encoder import padded
from sartor.nn.language import LanguageModel
from sartor.types import Example

MOST_TOKENS = 96
"""Of a user's text in training."""


@dataclass(frozen=True, slots=True)
class Written:
    """A row as the base reads it."""

    ids: tuple[int, ...]
    answer: int
    """Place of the answer's first token."""


def write(
    model: LanguageModel,
    row: Example,
    instruction: str = "",
    *,
    max_tokens: int | None = MOST_TOKENS,
    most: int | None = None,
) -> Written:
    """Return a row with its answer, what is read before it cut at ``max_tokens``, all of it at ``most``."""
    prompt = model.prompt(row.input, instruction, max_tokens=max_tokens)
    return Written((*prompt, *model.answer(str(row.output)))[:most], len(prompt))


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows beside each other."""

    ids_BT: Tensor
    keep_BT: Tensor
    rows_M: Tensor
    """Which row an answer token is of."""
    places_M: Tensor
    """The place before it, from which it is foretold."""
    targets_M: Tensor

    @classmethod
    def of(cls, rows: Sequence[Written], device: torch.device) -> "Batch":
        """Put rows beside each other, filled up on the right."""
        ids_BT, keep_BT = padded([row.ids for row in rows], 0)
        foretold = [(at, place) for at, row in enumerate(rows) for place in range(row.answer, len(row.ids))]
        rows_M, places_M = torch.tensor(foretold).T
        targets_M = ids_BT[rows_M, places_M]
        found = (ids_BT, keep_BT, rows_M, places_M - 1, targets_M)
        return cls(*(tensor.to(device) for tensor in found))


def answer_losses(
    model: LanguageModel, batch: Batch, adapters: Adapters | None, layer: int, below_BTH: Tensor | None = None
) -> Tensor:
    """Return (B,) the mean cross-entropy of each row's answer tokens; differentiable in the adapters.

    Args:
        model: frozen.
        batch: of B rows.
        adapters: site -> A (B or 1, r, I) and B (B or 1, O, r), none of a layer below ``layer``.
        layer: up to which no adapter stands.
        below_BTH: the states that enter it, where they are known.
    """
    logits_MV = answer_logits(model, batch, adapters, layer, below_BTH)
    return row_means(batch, functional.cross_entropy(logits_MV, batch.targets_M, reduction="none"))


def answer_logits(
    model: LanguageModel, batch: Batch, adapters: Adapters | None, layer: int, below_BTH: Tensor | None = None
) -> Tensor:
    """Return (M, V) what is foretold at each answer token; arguments as of :func:`answer_losses`."""
    with torch.autocast(batch.ids_BT.device.type, torch.bfloat16):
        if below_BTH is None:
            below_BTH = below(model, batch, layer)
        states_BTH = model.decoder.above(below_BTH, batch.keep_BT, layer=layer, adapters=adapters)
        return model.decoder.logits(states_BTH[batch.rows_M, batch.places_M]).float()


def row_means(batch: Batch, values_M: Tensor) -> Tensor:
    """Return (B,) the mean of each row's answer tokens."""
    rows = len(batch.ids_BT)
    summed_B = values_M.new_zeros(rows).index_add(0, batch.rows_M, values_M)
    return summed_B / torch.bincount(batch.rows_M, minlength=rows)


@torch.no_grad()
def below(model: LanguageModel, batch: Batch, layer: int) -> Tensor:
    """Return (B, T, H): the states that enter ``layer``, below which there is no adapter."""
    with torch.autocast(batch.ids_BT.device.type, torch.bfloat16):
        return model.decoder.below(batch.ids_BT, batch.keep_BT, layer)
