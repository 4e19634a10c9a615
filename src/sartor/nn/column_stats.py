"""What is told of each column of a table in closed form: the tokens that a generator reads.

Telling a generator how a column goes with the target, instead of letting it find out from rows, is worth more than ten
times the training (LOG.md). All statistics are of support rows; none depends on the order of rows, columns or classes.

Dimension key:   B: tables   N: support rows   D: columns   C: outputs   H: hidden units   K: shapes   S: statistics
"""

import math

import torch
from torch import Tensor

from sartor.nn.ridge import Head
from sartor.nn.table_net import Hidden

SHAPES = 8
COLUMN_STATS = 2 * SHAPES + 6
TABLE_STATS = 7
_ROWS = 512
"""For the gradients; more tell the same."""
_LEAST = 1e-6


def shapes(cells_BND: Tensor) -> Tensor:
    """Return (B, N, D, K): what a standardised column may matter by, as its size, its sign, or being in the middle."""
    x = cells_BND
    return torch.stack(
        [
            x,
            x.abs(),
            (x > 0).to(x),
            (x - 0.7).relu(),
            (-x - 0.7).relu(),
            (2 * x).sin(),
            (2 * x).cos(),
            (-2 * x * x).exp(),
        ],
        -1,
    )


def correlations(cells_BND: Tensor, targets_BNC: Tensor) -> Tensor:
    """Return (B, D, K) the share of the targets' variance that each shape of a column tells by itself, 0..1."""
    shapes_BNDK = shapes(cells_BND)
    shapes_BNDK = shapes_BNDK - shapes_BNDK.mean(1, keepdim=True)
    targets_BNC = targets_BNC - targets_BNC.mean(1, keepdim=True)
    n = cells_BND.shape[1]
    common_BDKC = torch.einsum("bndk,bnc->bdkc", shapes_BNDK, targets_BNC) / n
    spread_BDK = shapes_BNDK.square().mean(1)
    total_B = targets_BNC.square().mean(1).sum(-1)
    share_BDK = common_BDKC.square().sum(-1) / (spread_BDK * total_B[:, None, None] + 1e-12)
    return torch.where(spread_BDK > _LEAST, share_BDK.clamp(0, 1), torch.zeros_like(share_BDK))


def gradients(hidden: Hidden, head: Head, cells_BND: Tensor) -> Tensor:
    """Return (B, D, D) the average gradient outer product of a net's scores, over rows and outputs.

    Radhakrishnan et al. 2024 (https://doi.org/10.1126/science.adi5639), equation 1. Products have no gradient and do
    not speak here.
    """
    x_BND = cells_BND[:, :_ROWS]
    columns, units = x_BND.shape[-1], hidden.bias_BH.shape[-1]
    linear, rectified, _ = hidden.amplitude_BG.unbind(-1)
    active_BNH = (x_BND @ hidden.weight_BDH + hidden.bias_BH[:, None] > 0).to(x_BND)
    ones_BN1 = torch.ones_like(active_BNH[..., :1])
    active_BNE = torch.cat([active_BNH, ones_BN1], -1)
    # the columns' own part is one more unit with a gradient of its own: (H + 1) pieces of (D, C)
    out_BHC = head.weight_BFC[:, columns : columns + units] * (rectified / math.sqrt(units))[:, None, None]
    skip_BD = hidden.skip_BD * (linear / math.sqrt(columns))[:, None]
    skip_BDC = head.weight_BFC[:, :columns] * skip_BD[:, :, None]
    together_BEE = active_BNE.mT @ active_BNE / x_BND.shape[1]
    both_BHH = together_BEE[:, :-1, :-1] * (out_BHC @ out_BHC.mT)
    mixed_BHD = together_BEE[:, :-1, -1:] * (out_BHC @ skip_BDC.mT)
    cross_BDD = hidden.weight_BDH @ mixed_BHD
    return hidden.weight_BDH @ both_BHH @ hidden.weight_BDH.mT + cross_BDD + cross_BDD.mT + skip_BDC @ skip_BDC.mT


def column_stats(cells_BND: Tensor, targets_BNC: Tensor, gradients_BDD: Tensor, correlations_BDK: Tensor) -> Tensor:
    """Return (B, D, S) of each column: how it goes with the target alone, in a net, and how its values lie."""
    n = cells_BND.shape[1]
    share_BD = gradients_BDD.diagonal(dim1=-2, dim2=-1).clamp_min(0)
    share_BD = share_BD / share_BD.sum(-1, keepdim=True).clamp_min(1e-12)
    present_B1 = (cells_BND.abs().amax(1) > 0).sum(-1, keepdim=True).clamp_min(1)
    evidence_BDK = (n * correlations_BDK).log1p() / 4
    absolute_BD = cells_BND.abs().mean(1)
    return torch.cat(
        [
            correlations_BDK.clamp_min(1e-8).sqrt(),
            evidence_BDK,
            share_BD.sqrt()[..., None],
            ((share_BD * present_B1).clamp_min(1e-4).log() / 4)[..., None],
            absolute_BD[..., None],
            cells_BND.pow(3).mean(1).clamp(-8, 8)[..., None] / 4,
            cells_BND.pow(4).mean(1).clamp(0, 30)[..., None] / 10,
            _coarseness(cells_BND)[..., None],
        ],
        -1,
    )


def _coarseness(cells_BND: Tensor) -> Tensor:
    """Return (B, D) how often neighbours in order are equal: 0 for measurements, 1 for a constant."""
    ordered_BND = cells_BND[:, :_ROWS].sort(1).values
    return (
        (ordered_BND.diff(dim=1).abs() < 1e-6).to(cells_BND).mean(1) if cells_BND.shape[1] > 1 else cells_BND[:, 0] * 0
    )


def table_stats(cells_BND: Tensor, present_BD: Tensor, classes_B: Tensor, fits_B2: Tensor, step: float) -> Tensor:
    """Return (B, S) of each table: rows, columns, classes, how well a plain net and a plain ridge do left out."""
    n = cells_BND.shape[1]
    present_B = present_BD.sum(-1).clamp_min(1).to(cells_BND)
    rows_B = torch.full_like(present_B, math.log(max(n, 1)) / 4 - 1)
    return torch.stack(
        [
            rows_B,
            present_B.log() / 2 - 1,
            classes_B.clamp_min(1).to(cells_BND).log() / 2,
            (classes_B == 0).to(cells_BND),
            *fits_B2.unbind(-1),
            torch.full_like(present_B, step),
        ],
        -1,
    )
