"""The target for tables: one layer of hidden units on standardised columns, and a linear head that is solved.

Three groups of features stand side by side, each with an amplitude, which under a ridge penalty is how much is
expected of it: the columns themselves; rectified units; and *products* of up to three steps ("column 3 above .2 and
column 7 below -1"), which tell rules as trees do.

Random vector functional links (Pao, Park and Sobajic 1994, https://doi.org/10.1016/0925-2312(94)90053-1) are the case
in which nothing is generated: the floor.

Dimension key:   B: nets   N: rows   D: columns   H: rectified units   P: products   K: steps of a product
                 F: D + H + P
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

UNITS = 128
PRODUCTS = 64
STEPS = 3
GROUPS = 3
"""Columns, rectified units, products."""
LARGEST = 4.0
"""Standardised cells beyond are cut here."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """The hidden layer of B nets."""

    weight_BDH: Tensor
    bias_BH: Tensor
    skip_BD: Tensor
    """How large each column stands among the features."""
    amplitude_BG: Tensor
    columns_BPK: Tensor
    """int64, of each step of a product."""
    thresholds_BPK: Tensor
    """A step is 1 above (or, with sign -1, below) it; minus infinity for a step that is always 1."""
    signs_BPK: Tensor

    def net(self, at: int) -> "Hidden":
        """Return one net, B = 1."""
        return Hidden(*(getattr(self, field.name)[at : at + 1] for field in fields(self)))


def features(hidden: Hidden, cells_BND: Tensor) -> Tensor:
    """Return (B, N, F) features of standardised rows."""
    columns, units, products = cells_BND.shape[-1], hidden.bias_BH.shape[-1], hidden.columns_BPK.shape[1]
    linear, rectified, ruled = hidden.amplitude_BG.unbind(-1)
    skip_BND = cells_BND * (hidden.skip_BD * (linear / math.sqrt(max(columns, 1)))[:, None])[:, None]
    units_BNH = (cells_BND @ hidden.weight_BDH + hidden.bias_BH[:, None]).relu()
    parts = [skip_BND, units_BNH * (rectified / math.sqrt(max(units, 1)))[:, None, None]]
    if products:
        parts.append(steps(hidden, cells_BND) * (ruled / math.sqrt(products))[:, None, None])
    return torch.cat(parts, -1)


def steps(hidden: Hidden, cells_BND: Tensor) -> Tensor:
    """Return (B, N, P) whether all steps of each product hold, as 0 or 1."""
    found_BNP = cells_BND.new_ones(*cells_BND.shape[:2], hidden.columns_BPK.shape[1])
    for at in range(hidden.columns_BPK.shape[2]):
        index_BNP = hidden.columns_BPK[:, None, :, at].expand(-1, cells_BND.shape[1], -1)
        above_BNP = cells_BND.gather(2, index_BNP) - hidden.thresholds_BPK[:, None, :, at]
        found_BNP = found_BNP * (above_BNP * hidden.signs_BPK[:, None, :, at] > 0)
    return found_BNP


def draw_products(
    importance_BD: Tensor, support_BND: Tensor, products: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return columns, thresholds and signs (B, P, K) of products whose columns are drawn by their importance.

    A threshold lies half way between two rows, so that steps fall where rows are. A quarter of the products has one
    step, half have two, a quarter three.
    """
    sets, rows = support_BND.shape[:2]
    shape = (sets, products * STEPS)
    device = support_BND.device
    columns_BQ = torch.multinomial(importance_BD.clamp_min(1e-9), shape[1], replacement=True, generator=generator)
    pairs_2BQ = torch.randint(rows, (2, *shape), generator=generator, device=device)
    both_2BQ = torch.stack(
        [support_BND[torch.arange(sets, device=device)[:, None], row, columns_BQ] for row in pairs_2BQ]
    )
    thresholds_BPK = both_2BQ.mean(0).view(sets, products, STEPS)
    signs_BPK = (
        (torch.randint(2, shape, generator=generator, device=device) * 2 - 1)
        .to(support_BND)
        .view(sets, products, STEPS)
    )
    orders_P = torch.ones(products, dtype=torch.int64, device=device) * 2
    orders_P[: products // 4], orders_P[-(products // 4) :] = 1, STEPS
    unused_PK = torch.arange(STEPS, device=device) >= orders_P[:, None]
    thresholds_BPK = thresholds_BPK.masked_fill(unused_PK, -torch.inf)
    return columns_BQ.view(sets, products, STEPS), thresholds_BPK, signs_BPK.masked_fill(unused_PK, 1.0)
