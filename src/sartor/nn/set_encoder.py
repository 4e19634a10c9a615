"""A condition as a set: sentence embeddings of a description, prompts and labelled rows, in any order, to one vector.

Set Transformer (Lee et al. 2019, https://arxiv.org/abs/1810.00825): self-attention without positions, then attention
pooling. The three texts of a labelled row (input, output, both) hold together by their row's mean, which each of them
is given besides its own embedding. A learned item that is always there answers for an empty set.

Dimension key:   G: conditions   N: items   E: width of a sentence embedding   D: width   X: labelled rows
"""

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

KINDS = 5
"""Types of items: description, prompt, input, output, input with output."""


class SetEncoder(nn.Module):
    """Items to one vector a condition; the order of items, and of labelled rows, does not matter."""

    def __init__(self, *, inputs: int = 384, width: int = 256, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.inputs = inputs
        self.project = nn.Linear(inputs, width)
        self.kinds = nn.Embedding(KINDS, width)
        self.whole = nn.Linear(width, width)
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
    def forward(self, items_GNE: Tensor, types_GN: Tensor, keep_GN: Tensor, example_GN: Tensor) -> Tensor:
        """Return (G, D).

        Args:
            items_GNE: sentence embeddings of length one.
            types_GN: below :data:`KINDS`.
            keep_GN: True for what is an item.
            example_GN: which labelled row an item is of, -1 for none.
        """
        items_GND = self.project(items_GNE * math.sqrt(self.inputs)) + self.kinds(types_GN)
        items_GND = self.fused(items_GND + self.whole(_row_means(items_GND, keep_GN, example_GN)))
        null_G1D = self.null.expand(len(items_GND), 1, -1)
        set_GND = torch.cat([null_G1D, items_GND], dim=1)
        drop_GN = torch.cat([keep_GN.new_zeros(len(keep_GN), 1), ~keep_GN], dim=1)
        for layer in self.layers:
            set_GND = layer(set_GND, src_key_padding_mask=drop_GN)
        weights_GN = (self.keys(set_GND) @ self.query / math.sqrt(set_GND.shape[-1])).masked_fill(drop_GN, -torch.inf)
        return self.out(torch.einsum("gn,gnd->gd", weights_GN.softmax(dim=1), self.values(set_GND)))


def _row_means(items_GND: Tensor, keep_GN: Tensor, example_GN: Tensor) -> Tensor:
    """Return (G, N, D): for an item of a labelled row the mean over that row's items, zero for the others."""
    rows = int(example_GN.max()) + 1 if example_GN.numel() else 0
    if rows <= 0:
        return torch.zeros_like(items_GND)
    of_row_GNX = (example_GN[:, :, None] == torch.arange(rows, device=example_GN.device)) & keep_GN[:, :, None]
    shares_GNX = of_row_GNX.to(items_GND.dtype)
    means_GXD = shares_GNX.transpose(1, 2) @ items_GND / shares_GNX.sum(dim=1)[:, :, None].clamp_min(1)
    return shares_GNX @ means_GXD
