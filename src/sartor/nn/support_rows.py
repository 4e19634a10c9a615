"""The labelled rows of conditions, answered by the base with each adapter that a generator proposes.

Dimension key:   G: conditions   B: labelled rows of all of them   T: tokens   H: hidden width
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sartor.nn.anchored import join
from sartor.nn.decoder import Adapters, rows_of
from sartor.nn.language import LanguageModel
from sartor.nn.teacher_forcing import MOST_TOKENS, Batch, Written, answer_losses, below, write
from sartor.types import Example


@dataclass(frozen=True, slots=True)
class SupportRows:
    """What :class:`~sartor.nn.generator.Generator` asks at every gradient step."""

    model: LanguageModel
    batch: Batch
    of_B: Tensor
    """Which condition a row is of."""
    count_G: Tensor
    anchor: Adapters
    layer: int
    below_BTH: Tensor
    """What enters the lowest layer with an adapter: the same for every proposal."""

    @classmethod
    def of(
        cls,
        model: LanguageModel,
        supports: Sequence[Sequence[Example]],
        anchor: Adapters,
        layer: int,
        states: Callable[[Sequence[Written]], Tensor] | None = None,
        *,
        max_tokens: int = MOST_TOKENS,
        most: int | None = None,
    ) -> "SupportRows | None":
        """Return the rows of G conditions; None where there is not one.

        Args:
            model: frozen.
            supports: labelled rows of each condition.
            anchor: what stands beside every proposal.
            layer: up to which no adapter stands.
            states: where ``below_BTH`` is known already.
            max_tokens: of an input that are read.
            most: tokens of a row that are read, its answer included.
        """
        rows = [write(model, row, max_tokens=max_tokens, most=most) for support in supports for row in support]
        if not rows:
            return None
        counts = torch.tensor([len(support) for support in supports])
        batch = Batch.of(rows, model.device)
        of_B = torch.arange(len(counts)).repeat_interleave(counts).to(model.device)
        known = states(rows) if states else below(model, batch, layer)
        return cls(model, batch, of_B, counts.to(model.device), anchor, layer, known)

    def __call__(self, generated: Adapters) -> Tensor:
        """Return (G,) the mean loss of each condition's rows, zero where it has none."""
        joined = rows_of(join(self.anchor, generated, 1.0), self.of_B)
        losses_B = answer_losses(self.model, self.batch, joined, self.layer, self.below_BTH)
        summed_G = losses_B.new_zeros(len(self.count_G)).index_add(0, self.of_B, losses_B)
        return summed_G / self.count_G.clamp_min(1)
