"""The parameter generator for tables: statistics of columns in, the hidden layer of a small net out.

What is hard is generated: which columns matter, in which directions, how smooth, how strongly penalised. What is easy
is solved exactly: the last layer. A transformer over columns (no positions, so any order and any number) reads
closed-form statistics (:mod:`sartor.nn.column_stats`), twice: first of a net of random units, then of what it
generated itself. All that it emits begins at zero, so that untrained it *is* the net of random units, the floor.

Dimension key:   B: tables (or members)   N: support rows   D: columns   C: outputs   H: units   R: rank   E: width
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from sartor.nn import column_stats, ridge, table_net
from sartor.nn.ridge import Head
from sartor.nn.table_net import GROUPS, PRODUCTS, UNITS, Hidden

RANK = 16
PASSES = 2
FLOOR_PENALTY = 0.3
"""As much noise as three tenths of the signal: what is assumed where nothing is known."""
WARMTH = (3.0, 0.5)
"""What :func:`logits` takes where nothing is known."""
LEAST_SCORE = 0.02
_FLOOR_BIAS = 0.7
_FITS = 2


@dataclass(frozen=True, slots=True)
class Support:
    """The labelled rows of B tables, standardised."""

    cells_BND: Tensor
    present_BD: Tensor
    targets_BNC: Tensor
    """One-hot classes, or standardised values (C = 1)."""
    classes_B: Tensor
    """0 for values."""


@dataclass(frozen=True, slots=True)
class Draws:
    """The random part of B nets; another draw is another member of an ensemble."""

    units_BDH: Tensor
    turned_BDH: Tensor
    """Turned into the directions that the gradients of a first net span."""
    bias_BH: Tensor
    seed: int
    """Of products, which are drawn by importance."""
    products: int = PRODUCTS

    @classmethod
    def of(
        cls,
        tables: int,
        columns: int,
        *,
        seed: int,
        units: int = UNITS,
        products: int = PRODUCTS,
        device: torch.device | str = "cpu",
    ) -> "Draws":
        """Return the draws of a seed."""
        random = torch.Generator(device).manual_seed(seed)
        shape = (tables, columns, units)
        first, second = (torch.randn(shape, generator=random, device=device) for _ in range(2))
        return cls(first, second, torch.randn(tables, units, generator=random, device=device), seed, products)


@dataclass(frozen=True, slots=True)
class Generated:
    """Hidden layers, and what goes with them."""

    hidden: Hidden
    penalty_B: Tensor
    warmth_B2: Tensor
    """What :func:`logits` takes of scores, and of their logarithms."""
    importance_BD: Tensor
    """How much of each column is let in; the largest is 1."""


class TableGenerator(nn.Module):
    """Statistics of columns to hidden layers."""

    def __init__(
        self, *, width: int = 64, layers: int = 3, heads: int = 4, units: int = UNITS, rank: int = RANK
    ) -> None:
        super().__init__()
        inputs = column_stats.COLUMN_STATS + column_stats.TABLE_STATS
        self.columns = nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))
        self.table = nn.Linear(column_stats.TABLE_STATS, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.out = nn.LayerNorm(width)
        self.of_column = nn.Linear(width, 3 + rank)
        self.of_table = nn.Linear(width, GROUPS + 5)
        self.directions = nn.Parameter(torch.randn(rank, units) / math.sqrt(rank))
        for last in (self.of_column, self.of_table):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    @override
    def forward(self, stats_BDS: Tensor, table_BS: Tensor, present_BD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (B, D, 3 + R) of columns, (B, 8) of tables, and the directions (R, H)."""
        wide_BDS = torch.cat([stats_BDS, table_BS[:, None].expand(-1, stats_BDS.shape[1], -1)], -1)
        tokens_BDE = torch.cat([self.table(table_BS)[:, None], self.columns(wide_BDS)], 1)
        absent_BD = torch.cat([present_BD.new_zeros(len(present_BD), 1), ~present_BD], 1)
        for layer in self.layers:
            tokens_BDE = layer(tokens_BDE, src_key_padding_mask=absent_BD)
        tokens_BDE = self.out(tokens_BDE)
        return self.of_column(tokens_BDE[:, 1:]), self.of_table(tokens_BDE[:, 0]), self.directions


# --- from statistics to nets -------------------------------------------------------------------------------


def generate(
    generator: TableGenerator,
    support: Support,
    draws: Draws,
    parameters: Mapping[str, Tensor] | None = None,
) -> list[Generated]:
    """Return what each pass emits; the last one counts, the others can be learned from as well.

    ``parameters`` stand in for the generator's own, in training.
    """
    with torch.no_grad():
        correlations_BDK = column_stats.correlations(support.cells_BND, support.targets_BNC)
        made = floor(support, draws)
        head, fit_B = _solved(made, support)
        linear_B = _fit_linear(support)
    found = []
    for step in range(PASSES):
        with torch.no_grad():
            gradients_BDD = column_stats.gradients(made.hidden, head, support.cells_BND)
            stats_BDS = column_stats.column_stats(
                support.cells_BND, support.targets_BNC, gradients_BDD, correlations_BDK
            )
            table_BS = column_stats.table_stats(
                support.cells_BND,
                support.present_BD,
                support.classes_B,
                torch.stack([fit_B, linear_B], -1),
                float(step),
            )
            turn_BDD = _root(gradients_BDD)
        emitted = functional_call(
            generator, dict(parameters or generator.named_parameters()), (stats_BDS, table_BS, support.present_BD)
        )
        made = _built(emitted, turn_BDD, support, draws)
        found.append(made)
        if step + 1 < PASSES:
            with torch.no_grad():
                head, fit_B = _solved(made, support)
    return found


def logits(scores_BNC: Tensor, warmth_B2: Tensor) -> Tensor:
    """Return (B, N, C) logits of scores that ridge regression gave to one-hot classes.

    Such scores are nearly probabilities, but may be negative: among many classes their logarithm orders better, near
    zero they themselves do (LOG.md).
    """
    plain_B11, sharp_B11 = warmth_B2[:, None, :1], warmth_B2[:, None, 1:]
    return plain_B11 * scores_BNC + sharp_B11 * (scores_BNC.relu() + LEAST_SCORE).log()


def floor(support: Support, draws: Draws) -> Generated:
    """Return nets of random units: what the generator emits before it has learned anything."""
    columns = support.cells_BND.shape[-1]
    nothing = support.cells_BND.new_zeros
    emitted = (
        nothing(*support.present_BD.shape, 3 + RANK),
        nothing(len(support.present_BD), GROUPS + 5),
        nothing(RANK, draws.bias_BH.shape[1]),
    )
    return _built(emitted, nothing(len(support.present_BD), columns, columns), support, draws)


def _built(emitted: tuple[Tensor, Tensor, Tensor], turn_BDD: Tensor, support: Support, draws: Draws) -> Generated:
    """Return the nets that emitted numbers stand for."""
    of_column_BDV, of_table_BV, directions_RH = emitted
    scale_BD = 2 * torch.tanh(of_column_BDV[..., 0])
    skip_BD = 2 * torch.tanh(of_column_BDV[..., 1])
    ruled_BD = 3 * torch.tanh(of_column_BDV[..., 2])
    amplitudes_BG, rest_BV = of_table_BV[:, :GROUPS], of_table_BV[:, GROUPS:]
    penalty_B, turned_B, bias_B, warm_B, sharp_B = rest_BV.unbind(-1)
    present_B = support.present_BD.sum(-1).clamp_min(1).to(scale_BD)
    weight_BDH = draws.units_BDH + torch.tanh(turned_B)[:, None, None] * (turn_BDD @ draws.turned_BDH)
    weight_BDH = weight_BDH + of_column_BDV[..., 3:] @ directions_RH
    weight_BDH = weight_BDH * (scale_BD.exp() / present_B.sqrt()[:, None] * support.present_BD)[..., None]
    let_in_BD = (scale_BD + ruled_BD).exp() * support.present_BD
    importance_BD = (let_in_BD / let_in_BD.amax(-1, keepdim=True).clamp_min(1e-9)).detach()
    random = torch.Generator(importance_BD.device).manual_seed(draws.seed)
    columns, thresholds, signs = table_net.draw_products(importance_BD, support.cells_BND, draws.products, random)
    hidden = Hidden(
        weight_BDH=weight_BDH,
        bias_BH=draws.bias_BH * (_FLOOR_BIAS * bias_B.exp())[:, None],
        skip_BD=skip_BD.exp() * support.present_BD,
        amplitude_BG=amplitudes_BG.exp(),
        columns_BPK=columns,
        thresholds_BPK=thresholds,
        signs_BPK=signs,
    )
    warmth_B2 = torch.stack([WARMTH[0] * warm_B.exp(), WARMTH[1] * sharp_B.exp()], -1)
    return Generated(hidden, FLOOR_PENALTY * (2 * penalty_B).exp(), warmth_B2, importance_BD)


def _root(gradients_BDD: Tensor) -> Tensor:
    """Return (B, D, D) the square root of each matrix, scaled to the identity's trace."""
    energy_BD, directions_BDD = torch.linalg.eigh(gradients_BDD.double())
    energy_BD = energy_BD.clamp_min(0)
    energy_BD = energy_BD / energy_BD.sum(-1, keepdim=True).clamp_min(1e-12) * energy_BD.shape[-1]
    return ((directions_BDD * energy_BD.sqrt()[:, None]) @ directions_BDD.mT).to(gradients_BDD)


def _solved(made: Generated, support: Support) -> tuple[Head, Tensor]:
    """Return the heads of nets, and (B,) the share of variance that they tell of rows left out, -1..1."""
    features_BNF = table_net.features(made.hidden, support.cells_BND)
    head = ridge.solve(features_BNF, support.targets_BNC, made.penalty_B)
    return head, _left_out_fit(features_BNF, support.targets_BNC, made.penalty_B)


def _fit_linear(support: Support) -> Tensor:
    penalty_B = torch.full_like(support.present_BD[:, 0], FLOOR_PENALTY, dtype=support.cells_BND.dtype)
    return _left_out_fit(support.cells_BND, support.targets_BNC, penalty_B)


def _left_out_fit(features_BNF: Tensor, targets_BNC: Tensor, penalty_B: Tensor) -> Tensor:
    error_BNC = targets_BNC - ridge.left_out(features_BNF, targets_BNC, penalty_B)
    total_B = (targets_BNC - targets_BNC.mean(1, keepdim=True)).square().sum((1, 2)).clamp_min(1e-9)
    return (1 - error_BNC.square().sum((1, 2)) / total_B).clamp(-1, 1)
