"""A condition as a set: sentence embeddings of a description or of prompts, in any order, to one vector.

Set Transformer (Lee et al. 2019, https://arxiv.org/abs/1810.00825): self-attention without positions, then attention
pooling. A learned item that is always there answers for an empty set.

Dimension key:   G: conditions   N: items   E: width of a sentence embedding   D: width
"""

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

KINDS = 2
"""Types of items: description, prompt."""


class SetEncoder(nn.Module):
    """Items to one vector a condition; the order of items does not matter."""

    def __init__(self, *, inputs: int = 384, width: int = 256, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.inputs = inputs
        self.project = nn.Linear(inputs, width)
        self.kinds = nn.Embedding(KINDS, width)
        self.fused = nn.LayerNorm(width)
        self.null = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.query = nn.Parameter(torch.zeros(width))
        self.keys = nn.Linear(width, width)
        self.values = nn.Linear(width, width)
        self.out = nn.LayerNorm(width)

    @override
    def forward(self, items_GNE: Tensor, types_GN: Tensor, keep_GN: Tensor) -> Tensor:
        """Return (G, D).

        Args:
            items_GNE: sentence embeddings of length one.
            types_GN: below :data:`KINDS`.
            keep_GN: True for what is an item.
        """
        items_GND = self.fused(self.project(items_GNE * math.sqrt(self.inputs)) + self.kinds(types_GN))
        null_G1D = self.null.expand(len(items_GND), 1, -1)
        set_GND = torch.cat([null_G1D, items_GND], dim=1)
        drop_GN = torch.cat([keep_GN.new_zeros(len(keep_GN), 1), ~keep_GN], dim=1)
        for layer in self.layers:
            set_GND = layer(set_GND, src_key_padding_mask=drop_GN)
        weights_GN = (self.keys(set_GND) @ self.query / math.sqrt(set_GND.shape[-1])).masked_fill(drop_GN, -torch.inf)
        return self.out(torch.einsum("gn,gnd->gd", weights_GN.softmax(dim=1), self.values(set_GND)))
