"""Draws small synthetic tables, many at a time: what a generator of models for tables learns from.

A data set is drawn in five steps: how its columns look, hidden variables, a signal in them, a target from the signal,
and then what spoils real tables: outliers and missing cells. Six mechanisms make the signal:

* ``graph``: causes run through random layers with noise after each; columns and target are nodes of that graph (the
  structural causal prior of TabPFN, Hollmann et al. 2023, section 4). A column may be an effect of the target's causes.
* ``network``: random layers on top of the columns themselves (the Bayesian network prior of the same paper).
* ``trees``: sums of random oblivious trees over a few columns (TabICL, Qu et al. 2025, fits trees to random targets;
  here they are drawn, not fitted).
* ``terms``: sums of waves, powers, steps and monotone curves of one column, or products of two.
* ``rules``: parity, k of n, counts, a few conjunctions, lookup tables, all as one truth table over six yes-no
  questions about columns (rule tasks as those that LightPFN adds).
* ``linear``: a weighted sum of few or all columns.

Everything is batched, so the cost is some hundred operations a batch, whatever its number of data sets.

Dimension key: B data sets, b those of one mechanism, N rows, V variables, D columns (a categorical variable fills
several), S signals, C classes, K picks, H nodes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sartor.errors import DataError

SIGNALS = 3
"""Signals of a data set; all but the first are only for classes by the largest of several scores."""
CLASSES = 10
LEVELS = 200
"""Levels of a categorical variable at most."""
ONE_HOT = 10
"""Levels beyond which a categorical variable is one column, a statistic of the target."""
QUESTIONS = 6
"""Yes-no questions of a rule."""
FACTORS = 4
"""Hidden factors that columns share, and groups that rows fall into."""
ROWS = 4
"""Rows of a data set at least: two for each half."""


@dataclass(frozen=True, slots=True)
class Tables:
    """A batch of data sets."""

    cells_BND: Tensor
    """float32; NaN where missing. The columns of a one-hot block are 0 or 1, all 0 where the category is missing."""
    present_BD: Tensor
    """bool; columns that exist. The others are 0 throughout."""
    targets_BN: Tensor
    """int64 class index, or float32 of any scale."""
    classes_B: Tensor
    """int64 number of classes, each with a row among the first half; 0 in regression."""


@dataclass(frozen=True, slots=True)
class Prior:
    """The dials: shares are of data sets, and those of the mechanisms are relative."""

    graph: float = 0.22
    network: float = 0.13
    trees: float = 0.2
    terms: float = 0.15
    rules: float = 0.13
    linear: float = 0.17
    all_columns: float = 0.5
    """Share with as many columns as may be."""
    some_irrelevant: float = 0.75
    correlated: float = 0.6
    clustered: float = 0.2
    near_copies: float = 0.15
    categorical: float = 0.5
    """Share with categorical variables."""
    many_levels: float = 0.15
    """Share of the categorical variables with 20 to 200 levels."""
    plain: float = 0.3
    """Share whose numbers are all of the mechanism's own distribution."""
    two_classes: float = 0.5
    """Share with two classes, the others have up to ten; rules have as many as they have."""
    imbalanced: float = 0.3
    label_noise: float = 0.3
    skewed: float = 0.2
    """Share of regressions whose target is an exponential of the signal."""
    heavy_noise: float = 0.2
    rounded: float = 0.1
    """Share of regressions whose target is whole steps."""
    missing: float = 0.4
    informative: float = 0.15
    """Share of the columns with missing cells where the target says what is missing."""
    outliers: float = 0.2
    smoothing: float = 5.0
    """Rows that the overall mean weighs in a level's statistic of the target."""

    def mechanisms(self) -> tuple[float, ...]:
        """Return the weights of the mechanisms, in the order of ``MECHANISMS``."""
        return self.graph, self.network, self.trees, self.terms, self.rules, self.linear


MECHANISMS = ("graph", "network", "trees", "terms", "rules", "linear")


def draw(
    prior: Prior,
    *,
    sets: int,
    rows: int,
    columns: int,
    regression: bool,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    fitted: int | None = None,
) -> Tables:
    """Return ``sets`` data sets of ``rows`` rows and at most ``columns`` columns.

    Both halves of a data set's rows have two different targets at least, and no target is NaN or infinite.

    Args:
        prior: the dials.
        sets: B.
        rows: N, 4 or more.
        columns: D.
        regression: whether targets are numbers.
        generator: of the same device; the same state gives the same tables.
        device: where to draw.
        fitted: first rows, by default half of them, that the statistics of categories with many levels are made of.
            Each of these rows leaves itself out; the rows after them are as rows that are to be predicted.

    Raises:
        DataError: too few rows, columns or sets, ``fitted`` is out of range, or no mechanism has a share.
    """
    fitted = rows // 2 if fitted is None else fitted
    _check(prior, sets, rows, columns, fitted)
    dice = _Dice(generator, torch.device(device))
    kinds_B = dice.choice(prior.mechanisms(), sets)
    layout = _layout(dice, prior, kinds_B, rows, columns)
    hidden_BNV = _hidden(dice, prior, layout, rows)
    nodes = _graphs(dice, hidden_BNV, kinds_B == MECHANISMS.index("graph"))
    table = _observe(dice, prior, layout, hidden_BNV)
    signal = _signals(dice, layout, table, kinds_B, nodes)
    make = _numbers if regression else _labels
    targets_BN, table = make(dice, prior, signal, layout, table)
    classes_B = torch.zeros(sets, dtype=torch.int64, device=dice.device)
    if not regression:
        classes_B = targets_BN.amax(1) + 1
    table = _encode_levels(prior, layout, table, targets_BN, classes_B, fitted)
    table = _add_outliers(dice, prior, layout, table)
    missing_BNV = _missing(dice, prior, layout, table, targets_BN, classes_B)
    return Tables(_cells(layout, table, missing_BNV), layout.present_BD, targets_BN, classes_B)


def _check(prior: Prior, sets: int, rows: int, columns: int, fitted: int) -> None:
    if rows < ROWS or columns < 1 or sets < 1:
        raise DataError(
            f"A batch of {sets} data sets of {rows} rows and {columns} columns cannot be drawn: "
            f"it takes one data set, {ROWS} rows and one column at least."
        )
    if not 1 <= fitted <= rows:
        raise DataError(f"Statistics of {fitted} of {rows} rows cannot be made: it takes one, and at most all of them.")
    if min(prior.mechanisms()) < 0 or sum(prior.mechanisms()) <= 0:
        raise DataError(f"One of the mechanisms {', '.join(MECHANISMS)} must have a share, and none a negative one.")


# Chance


@dataclass(frozen=True, slots=True)
class _Dice:
    """Random tensors of one generator on one device."""

    generator: torch.Generator
    device: torch.device

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device) * (high - low) + low

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def chance(self, share: float | Tensor, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device) < share

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return whole numbers from ``low`` to ``high``, both among them."""
        return torch.randint(low, high + 1, shape, generator=self.generator, device=self.device)

    def choice(self, weights: Sequence[float], *shape: int) -> Tensor:
        edges = torch.tensor(weights, device=self.device).cumsum(0)
        return torch.searchsorted(edges, self.uniform(0, 1, *shape) * edges[-1], right=True).clamp_(
            max=len(weights) - 1
        )

    def order(self, count: int) -> Tensor:
        return self.uniform(0, 1, count).argsort()

    def pick(self, weights_BV: Tensor, count: int) -> Tensor:
        """Return (B, count) places, drawn with replacement."""
        return torch.multinomial(weights_BV, count, replacement=True, generator=self.generator)


def _take(values_BNV: Tensor, index_BK: Tensor) -> Tensor:
    """Return (B, N, K) columns of each data set."""
    return values_BNV.gather(2, index_BK[:, None].expand(-1, values_BNV.shape[1], -1))


def _standard(values_BNV: Tensor) -> Tensor:
    """Return columns of mean 0 and deviation 1; a constant one is 0."""
    centred = values_BNV - values_BNV.mean(1, keepdim=True)
    spread = centred.square().mean(1, keepdim=True).sqrt()
    return centred * torch.where(spread > 1e-5, 1 / spread.clamp(min=1e-5), 0)


# Columns


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the variables are, and which columns they fill."""

    levels_BV: Tensor
    """Levels of a variable; 0 if it is continuous."""
    category_BV: Tensor
    """Whether the levels have no order."""
    one_hot_BV: Tensor
    statistic_BV: Tensor
    """Whether the column is a statistic of the target."""
    exists_BV: Tensor
    weights_BV: Tensor
    """How likely a mechanism uses a variable; 0 for those that are irrelevant."""
    owner_BD: Tensor
    """Variable of a column."""
    member_BD: Tensor
    """Level of a column, if its variable is one-hot."""
    present_BD: Tensor


def _layout(dice: _Dice, prior: Prior, kinds_B: Tensor, rows: int, columns: int) -> _Layout:
    sets = len(kinds_B)
    # Rules are mostly about categories, so more of their tables have nothing else.
    all_B = torch.where(kinds_B == MECHANISMS.index("rules"), 0.4, 0.1)
    share_B = dice.uniform(0, 0.7, sets) + dice.chance(all_B, sets)
    category_BV = dice.chance((share_B * dice.chance(prior.categorical, sets))[:, None], sets, columns)
    kind_BV = dice.choice((0.35, 0.65 - min(prior.many_levels, 0.6), prior.many_levels), sets, columns)
    most = max(min(LEVELS, rows // 2), 2)
    many_BV = dice.log_uniform(min(20, most), most + 1e-3, sets, columns).long()
    few_BV = dice.integers(2, ONE_HOT, sets, columns)
    levels_BV = torch.where(kind_BV == 0, 2, torch.where(kind_BV == 1, few_BV, many_BV))
    ordinal_BV = ~category_BV & dice.chance((0.3 * dice.uniform(0, 1, sets))[:, None], sets, columns)
    levels_BV = torch.where(ordinal_BV, dice.integers(2, ONE_HOT, sets, columns), levels_BV * category_BV)
    one_hot_BV = category_BV & (kind_BV == 1)

    fewer_B = dice.log_uniform(min(2, columns), columns + 0.999, sets).long().clamp(max=columns)
    count_B1 = torch.where(dice.chance(prior.all_columns, sets), columns, fewer_B)[:, None]
    width_BV = torch.where(one_hot_BV, levels_BV, 1)
    end_BV = width_BV.cumsum(1)
    start_BV = end_BV - width_BV
    cut_BV = one_hot_BV & (end_BV > count_B1) & (start_BV < count_B1)
    levels_BV = torch.where(cut_BV, count_B1 - start_BV, levels_BV)
    narrow_BV = cut_BV & (levels_BV < 2)  # one column is left: a number
    levels_BV = torch.where(narrow_BV, 0, levels_BV)
    category_BV, one_hot_BV = category_BV & ~narrow_BV, one_hot_BV & ~narrow_BV

    places_BD = torch.arange(columns, device=dice.device).expand(sets, columns).contiguous()
    owner_BD = torch.searchsorted(end_BV, places_BD, right=True).clamp(max=columns - 1)
    exists_BV = start_BV < count_B1
    return _Layout(
        levels_BV=levels_BV,
        category_BV=category_BV,
        one_hot_BV=one_hot_BV,
        statistic_BV=category_BV & (kind_BV == 2) & exists_BV,
        exists_BV=exists_BV,
        weights_BV=_relevance(dice, prior, exists_BV),
        owner_BD=owner_BD,
        member_BD=places_BD - start_BV.gather(1, owner_BD),
        present_BD=places_BD < count_B1,
    )


def _relevance(dice: _Dice, prior: Prior, exists_BV: Tensor) -> Tensor:
    sets, variables = exists_BV.shape
    count_B1 = exists_BV.sum(1, keepdim=True)
    share_B1 = torch.where(dice.chance(prior.some_irrelevant, sets, 1), dice.log_uniform(0.05, 1, sets, 1), 1)
    keys_BV = dice.uniform(0, 1, sets, variables) + ~exists_BV * 2
    rank_BV = keys_BV.argsort(1).argsort(1)
    relevant_BV = (rank_BV < (share_B1 * count_B1).ceil()) & exists_BV
    return relevant_BV * (dice.uniform(0, 1.5, sets, 1) * dice.normal(sets, variables)).exp()


def _hidden(dice: _Dice, prior: Prior, layout: _Layout, rows: int) -> Tensor:
    """Return (B, N, V) variables of mean 0 and deviation 1: alone, with shared factors, rotated, or near-copies."""
    sets, variables = layout.exists_BV.shape
    sources_BNK = torch.cat(
        (
            dice.normal(sets, rows, variables + FACTORS),
            torch.nn.functional.one_hot(dice.integers(0, FACTORS - 1, sets, rows), FACTORS),
        ),
        2,
    )
    own_BVV = torch.eye(variables, device=dice.device).expand(sets, -1, -1)
    falling_V = -torch.arange(variables, device=dice.device) / variables
    rotated_BVV = dice.normal(sets, variables, variables) * (dice.uniform(0, 4, sets, 1) * falling_V).exp()[:, :, None]
    kind_B11 = dice.choice((1 - prior.correlated, prior.correlated / 2, prior.correlated / 2), sets)[:, None, None]
    mix_BVV = torch.where(kind_B11 == 2, rotated_BVV, own_BVV)
    factors_BKV = dice.normal(sets, FACTORS, variables) * dice.uniform(0, 2, sets, 1, 1) * (kind_B11 == 1)
    mix_BKV = torch.cat((mix_BVV, factors_BKV), 1)
    mix_BKV = mix_BKV / mix_BKV.norm(dim=1, keepdim=True).clamp(min=1e-6)
    copied_BV = dice.chance(0.2, sets, variables) & dice.chance(prior.near_copies, sets, 1)
    twins_BKV = _take(mix_BKV, dice.pick(layout.exists_BV.float(), variables))
    fresh_BKV = dice.normal(*mix_BKV.shape) * (dice.log_uniform(0.01, 0.5, sets, 1, 1) / math.sqrt(variables))
    mix_BKV = torch.where(copied_BV[:, None], twins_BKV + fresh_BKV, mix_BKV)
    centres_BKV = dice.normal(sets, FACTORS, variables) * dice.uniform(0.5, 3, sets, 1, 1)
    centres_BKV = centres_BKV * dice.chance(prior.clustered, sets, 1, 1)
    return _standard(torch.bmm(sources_BNK, torch.cat((mix_BKV, centres_BKV), 1)))


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows of a batch, before variables become columns."""

    hidden_BNV: Tensor
    values_BNV: Tensor
    """What is seen of a variable, if it is one column."""
    codes_BNV: Tensor
    """int64 level."""
    effects_BNV: Tensor
    """What a mechanism sees: numbers of about deviation 1."""

    def reordered(self, sets_b: Tensor, order_bN: Tensor) -> "_Table":
        """Return the table with the rows of some data sets in another order."""

        def moved(values_BNV: Tensor) -> Tensor:
            found = values_BNV.clone()
            found[sets_b] = values_BNV[sets_b].gather(1, order_bN[:, :, None].expand(-1, -1, values_BNV.shape[2]))
            return found

        return _Table(moved(self.hidden_BNV), moved(self.values_BNV), moved(self.codes_BNV), moved(self.effects_BNV))


def _observe(dice: _Dice, prior: Prior, layout: _Layout, hidden_BNV: Tensor) -> _Table:
    sets, _, variables = hidden_BNV.shape
    levels_BV = layout.levels_BV.clamp(min=1)
    share_BNV = torch.sigmoid(hidden_BNV * 1.7)  # nearly the share of rows below
    uneven_BV = dice.log_uniform(0.5, 2.5, sets, variables)
    codes_BNV = (share_BNV.pow(uneven_BV[:, None]) * levels_BV[:, None]).long()
    codes_BNV = torch.minimum(codes_BNV, levels_BV[:, None] - 1)
    numbers_BNV = _marginals(dice, prior, hidden_BNV, share_BNV)
    values_BNV = torch.where(layout.levels_BV[:, None] > 0, codes_BNV.float(), numbers_BNV)

    table_BVL = dice.normal(sets, variables, LEVELS)
    nominal_BNV = table_BVL.transpose(1, 2).gather(1, codes_BNV)
    seen_BNV = _standard(values_BNV).clamp_(-4, 4)
    # The curve of a mechanism lies over the numbers themselves, or over what they are made from (their logarithm, say).
    inner_B11 = dice.chance(0.6, sets, 1, 1) & (layout.levels_BV[:, None] == 0)
    effects_BNV = torch.where(inner_B11, hidden_BNV, seen_BNV)
    effects_BNV = torch.where(layout.category_BV[:, None], _standard(nominal_BNV), effects_BNV)
    scale_BV = dice.log_uniform(0.01, 1000, sets, variables)
    shift_BV = scale_BV * dice.normal(sets, variables) * 3 * dice.chance(0.5, sets, variables)
    plain_BV = layout.levels_BV > 0
    values_BNV = torch.where(plain_BV[:, None], values_BNV, values_BNV * scale_BV[:, None] + shift_BV[:, None])
    return _Table(hidden_BNV, values_BNV, codes_BNV, effects_BNV)


def _marginals(dice: _Dice, prior: Prior, hidden_BNV: Tensor, share_BNV: Tensor) -> Tensor:
    """Return the variables with other distributions; all of them are monotone, so the order of rows stays."""
    sets, _, variables = hidden_BNV.shape
    kind_BV = dice.choice((0.4, 0.12, 0.1, 0.12, 0.08, 0.08, 0.1), sets, variables)
    kind_B1V = (kind_BV * ~dice.chance(prior.plain, sets, 1))[:, None]
    skewed_BNV = (hidden_BNV.clamp(-5, 5) * dice.uniform(0.3, 1.5, sets, 1, variables)).exp_()
    found = torch.where(kind_B1V == 1, skewed_BNV, hidden_BNV)
    found = torch.where(kind_B1V == 2, hidden_BNV * (0.3 + hidden_BNV.square()), found)  # heavy tails
    counts_BNV = (skewed_BNV * dice.log_uniform(0.8, 20, sets, 1, variables)).floor_()
    found = torch.where(kind_B1V == 3, counts_BNV, found)
    found = torch.where(kind_B1V == 4, hidden_BNV + 2.5 * hidden_BNV.sign(), found)  # two humps
    empty_BNV = share_BNV < dice.uniform(0.3, 0.9, sets, 1, variables)
    found = torch.where(kind_B1V == 5, skewed_BNV.masked_fill(empty_BNV, 0), found)
    return torch.where(kind_B1V == 6, share_BNV, found)


# Mechanisms


@dataclass(frozen=True, slots=True)
class _Signal:
    values_BNS: Tensor
    own_BN: Tensor
    """Classes that a rule has of its own; -1 where there are none."""


def _signals(dice: _Dice, layout: _Layout, table: _Table, kinds_B: Tensor, nodes: Tensor) -> _Signal:
    sets, rows, _ = table.effects_BNV.shape
    values_BNS = torch.zeros(sets, rows, SIGNALS, device=dice.device)
    own_BN = torch.full((sets, rows), -1, device=dice.device)
    for kind, name in enumerate(MECHANISMS):
        sets_b = (kinds_B == kind).nonzero()[:, 0]
        if not len(sets_b):
            continue
        effects, weights = table.effects_BNV[sets_b], layout.weights_BV[sets_b]
        if name == "graph":
            values_BNS[sets_b] = nodes
        elif name == "rules":
            nominal = layout.category_BV[sets_b] & (layout.levels_BV[sets_b] > 2)
            values_BNS[sets_b], own_BN[sets_b] = _rules(dice, effects, weights, layout.exists_BV[sets_b], nominal)
        else:
            values_BNS[sets_b] = _SMOOTH[name](dice, effects, weights)
    return _Signal(_standard(values_BNS), own_BN)


def _linear(dice: _Dice, effects_bNV: Tensor, weights_bV: Tensor) -> Tensor:
    sides_bVS = dice.normal(*weights_bV.shape, SIGNALS)
    return torch.bmm(effects_bNV, sides_bVS * weights_bV[:, :, None])


def _trees(dice: _Dice, effects_bNV: Tensor, weights_bV: Tensor, most: int = 8, depth: int = 4) -> Tensor:
    sets, rows, _ = effects_bNV.shape
    asked_bNK = _take(effects_bNV, dice.pick(weights_bV, most * depth))
    bits_bNTd = (asked_bNK > 0.8 * dice.normal(sets, 1, most * depth)).unflatten(2, (most, depth))
    place_d = torch.arange(depth, device=dice.device)
    worth_bTd = (2**place_d) * (place_d < dice.integers(1, depth, sets, most, 1))
    leaf_bNT = (bits_bNTd * worth_bTd[:, None]).sum(3) + torch.arange(most, device=dice.device) * 2**depth
    many_b1 = dice.log_uniform(1, most + 1, sets, 1)
    size_bT = (torch.arange(most, device=dice.device) < many_b1) * dice.log_uniform(0.3, 1, sets, most)
    leaves_bLS = (dice.normal(sets, most, 2**depth, SIGNALS) * size_bT[:, :, None, None]).flatten(1, 2)
    found = leaves_bLS.gather(1, leaf_bNT.flatten(1)[:, :, None].expand(-1, -1, SIGNALS))
    return found.unflatten(1, (rows, most)).sum(2)


_CURVES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x,
    lambda x: (1.5 * x).sin(),
    lambda x: x.square(),
    lambda x: (x > 0).float(),
    lambda x: (2 * x).tanh(),
    lambda x: x.abs(),
    lambda x: (3 * x).cos(),
    lambda x: 0.3 * x * x.square(),
    lambda x: (-x.square()).exp(),
    lambda x: x,
    lambda x: x.clamp(min=0),
    lambda x: (x > 0).float(),
)
"""Curves of the terms, each at a place of its own: a term's weight says whether it is used."""


def _terms(dice: _Dice, effects_bNV: Tensor, weights_bV: Tensor) -> Tensor:
    sets, count = len(effects_bNV), len(_CURVES)
    inputs_bNK = _take(effects_bNV, dice.pick(weights_bV, 2 * count))
    inputs_bNK = inputs_bNK * dice.uniform(0.5, 1.5, sets, 1, 2 * count) + 0.7 * dice.normal(sets, 1, 2 * count)
    ones_bNT = torch.stack([curve(inputs_bNK[:, :, at]) for at, curve in enumerate(_CURVES)], 2)
    others_bNT = torch.stack([_CURVES[-at](inputs_bNK[:, :, count + at]) for at in range(count)], 2)
    product_bT = dice.chance(dice.uniform(0, 1, sets, 1), sets, count)
    terms_bNT = _standard(torch.where(product_bT[:, None], ones_bNT * others_bNT, ones_bNT))
    used_bT = dice.uniform(0, 1, sets, count).argsort(1).argsort(1) < dice.log_uniform(1, count + 1, sets, 1).floor()
    sides_bTS = dice.normal(sets, count, SIGNALS) * used_bT[:, :, None]
    return torch.bmm(terms_bNT, sides_bTS)


_ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x,
    torch.tanh,
    torch.relu,
    torch.sin,
    torch.abs,
    lambda x: x.clamp(-4, 4).square(),
    lambda x: (-x.square()).exp(),
    lambda x: torch.nn.functional.leaky_relu(x, 0.2),
    lambda x: x.sign() + 0.1 * x,
)


def _layers(dice: _Dice, inputs_bNH: Tensor, first_bHH: Tensor, noise_b11: Tensor, depth: int = 3) -> Tensor:
    """Return the nodes (b, N, depth x H) of random layers; ``first_bHH`` is the first one's weights."""
    sets, rows, _ = inputs_bNH.shape
    width = first_bHH.shape[2]
    kinds = dice.integers(0, len(_ACTIVATIONS) - 1, sets)
    states, weights, found = inputs_bNH, first_bHH, []
    for _ in range(depth):
        states = torch.bmm(states, weights)
        gain_b11 = dice.log_uniform(0.5, 3, sets, 1, 1)
        states = states * (gain_b11 / states.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-6))
        states = _activated(states + 0.5 * gain_b11 * dice.normal(sets, 1, width), kinds)
        size_b11 = states.square().mean((1, 2), keepdim=True).sqrt()
        states = states + noise_b11 * size_b11 * dice.normal(sets, rows, width)
        found.append(states)
        kept = dice.chance(dice.uniform(0.15, 1, sets, 1, 1), sets, width, width)
        weights = dice.normal(sets, width, width) * kept
    return torch.cat(found, 2)


def _activated(states_bNH: Tensor, kinds_b: Tensor) -> Tensor:
    found = torch.empty_like(states_bNH)
    for kind, activation in enumerate(_ACTIVATIONS):
        sets = (kinds_b == kind).nonzero()[:, 0]
        if len(sets):
            found[sets] = activation(states_bNH[sets])
    return found


def _network(dice: _Dice, effects_bNV: Tensor, weights_bV: Tensor, width: int = 24) -> Tensor:
    sets, _, variables = effects_bNV.shape
    first_bVH = dice.normal(sets, variables, width) * weights_bV[:, :, None]
    first_bVH = first_bVH * dice.chance(dice.uniform(0.3, 1, sets, 1, 1), sets, variables, width)
    nodes_bNK = _layers(dice, effects_bNV, first_bVH, dice.log_uniform(1e-3, 0.1, sets, 1, 1))
    layer_b1 = dice.integers(0, 2, sets, 1) * width
    mixed = _standard(_take(nodes_bNK, layer_b1 + dice.integers(0, width - 1, sets, 2 * SIGNALS)))
    return mixed[:, :, :SIGNALS] + dice.uniform(0, 1, sets, 1, 1) * mixed[:, :, SIGNALS:]


def _graphs(dice: _Dice, hidden_BNV: Tensor, graph_B: Tensor, width: int = 24, causes: int = 10) -> Tensor:
    """Fill in the hidden variables of the data sets that are graphs, and return their targets (b, N, S)."""
    sets_b = graph_B.nonzero()[:, 0]
    sets, (_, rows, variables) = len(sets_b), hidden_BNV.shape
    if not sets:
        return hidden_BNV.new_zeros(0, rows, SIGNALS)
    causes_bNK = _causes(dice, sets, rows, causes)
    # Few causes as a rule: with many, few columns seldom tell the target.
    many_b1 = dice.log_uniform(1, causes + 1, sets, 1).ceil()
    used_bK1 = (torch.arange(causes, device=dice.device) < many_b1)[:, :, None]
    first_bKH = dice.normal(sets, causes, width) * used_bK1
    first_bKH = first_bKH * dice.chance(dice.uniform(0.3, 1, sets, 1, 1), sets, causes, width)
    nodes_bNK = _layers(dice, causes_bNK, first_bKH, dice.log_uniform(1e-3, 0.2, sets, 1, 1))
    nodes_bNK = torch.cat((causes_bNK, nodes_bNK), 2)
    count = nodes_bNK.shape[2]
    order_bK = dice.uniform(0, 1, sets, count)
    order_bK[:, :causes] += ~used_bK1[:, :, 0] * 0.5  # noise columns, but not too many of them
    order_bK[:, :causes] -= (used_bK1[:, :, 0] & dice.chance(0.5, sets, 1)) * 1.0  # the causes themselves are seen
    order_bK = order_bK.argsort(1)
    if variables > count - SIGNALS:
        order_bK = torch.cat((order_bK, dice.integers(0, count - 1, sets, variables)), 1)
    layer_b1 = causes + dice.integers(0, 2, sets, 1) * width
    targets_bS = layer_b1 + dice.uniform(0, 1, sets, width).argsort(1)[:, :SIGNALS]
    features_bV = order_bK[:, :variables]
    same_bV = (features_bV == targets_bS[:, :1]).nonzero()  # the target itself is no column: a cause takes its place
    features_bV = features_bV.clone()
    features_bV[same_bV[:, 0], same_bV[:, 1]] = 0
    hidden_BNV[sets_b] = _standard(_take(nodes_bNK, features_bV)).clamp_(-8, 8)
    return _take(nodes_bNK, targets_bS)


def _causes(dice: _Dice, sets: int, rows: int, causes: int) -> Tensor:
    """Return (b, N, K) normal, uniform, heavy-tailed or two-humped numbers."""
    normal_bNK = dice.normal(sets, rows, causes)
    kind_b1K = dice.choice((0.4, 0.2, 0.2, 0.2), sets, 1, causes)
    found = torch.where(kind_b1K == 1, torch.sigmoid(1.7 * normal_bNK) * 3.4 - 1.7, normal_bNK)
    found = torch.where(kind_b1K == 2, normal_bNK * (0.3 + normal_bNK.square() / 3), found)
    return torch.where(kind_b1K == 3, normal_bNK * 0.4 + normal_bNK.sign(), found)


_RULES = ("parity", "at least", "count", "any of", "lookup")


def _rules(
    dice: _Dice, effects_bNV: Tensor, weights_bV: Tensor, exists_bV: Tensor, nominal_bV: Tensor
) -> tuple[Tensor, Tensor]:
    """Return signals (b, N, S) and classes (b, N) of truth tables over questions about columns."""
    sets = len(effects_bNV)
    kinds_b1 = dice.choice((0.25, 0.15, 0.1, 0.2, 0.3), sets, 1)
    keys_bV = (weights_bV + 1e-9).log() - (-dice.uniform(1e-6, 1 - 1e-6, *weights_bV.shape).log()).log()
    order_bV = keys_bV.masked_fill(~exists_bV, -math.inf).argsort(1, descending=True)
    place_K = torch.arange(QUESTIONS, device=dice.device)
    place_bK = torch.where(kinds_b1 == _RULES.index("lookup"), place_K // 2, place_K) % exists_bV.sum(1, keepdim=True)
    columns_bK = order_bV.gather(1, place_bK)
    asked_bNK = _take(effects_bNV, columns_bK)
    # A lookup asks twice about a column, so its second question must be another one.
    edge_b1K = (0.6 * dice.normal(sets, QUESTIONS) * (dice.chance(0.6, sets, 1) | (place_K % 2 > 0)))[:, None]
    subset_bNK = (asked_bNK * (17 + 20 * dice.uniform(0, 1, sets, 1, QUESTIONS))).frac().abs() > 0.5
    bits_bNK = torch.where(nominal_bV.gather(1, columns_bK)[:, None], subset_bNK, asked_bNK > edge_b1K)
    code_bN = (bits_bNK * 2**place_K).sum(2)
    own_bN = _truth(dice, kinds_b1).gather(1, code_bN)
    rank_bCS = dice.normal(sets, CLASSES, SIGNALS)
    ordered_C1 = torch.arange(CLASSES, device=dice.device)[:, None] - 2.0
    values_bCS = torch.where(kinds_b1[:, :, None] == _RULES.index("count"), ordered_C1, rank_bCS)
    return values_bCS.gather(1, own_bN[:, :, None].expand(-1, -1, SIGNALS)), own_bN


def _truth(dice: _Dice, kinds_b1: Tensor) -> Tensor:
    """Return (b, 64) the class of each set of answers."""
    sets, size = len(kinds_b1), 2**QUESTIONS
    place_K = torch.arange(QUESTIONS, device=dice.device)
    bits_LK = torch.arange(size, device=dice.device)[:, None] // 2**place_K % 2
    parity_bL = ((place_K < dice.integers(2, 4, sets, 1))[:, None] * bits_LK).sum(2) % 2
    among_b1 = dice.integers(3, QUESTIONS, sets, 1)
    true_bL = ((place_K < among_b1)[:, None] * bits_LK).sum(2)
    least_bL = (true_bL >= (among_b1 + dice.integers(0, 2, sets, 1)) // 2).long()
    wanted_bTK = dice.uniform(0, 1, sets, 3, QUESTIONS).argsort(2) < dice.integers(2, 3, sets, 3, 1)
    wanted_bTK = wanted_bTK & (torch.arange(3, device=dice.device)[:, None] < dice.integers(1, 3, sets, 1, 1))
    says_bTK = dice.integers(0, 1, sets, 3, QUESTIONS)
    met_bLT = (~wanted_bTK[:, None] | (bits_LK[:, None] == says_bTK[:, None])).all(3)
    any_bL = (met_bLT & wanted_bTK.any(2)[:, None]).any(2).long()
    seen_b1 = 4 ** dice.integers(1, 3, sets, 1)
    classes_b1 = torch.where(dice.chance(0.3, sets, 1), 2, dice.integers(3, CLASSES, sets, 1))
    random_bL = (dice.uniform(0, 1, sets, size) * classes_b1).long()
    lookup_bL = random_bL.gather(1, torch.arange(size, device=dice.device) % seen_b1)
    tables = torch.stack((parity_bL, least_bL, true_bL, any_bL, lookup_bL), 1)
    return tables.gather(1, kinds_b1[:, :, None].expand(-1, -1, size))[:, 0]


_SMOOTH: dict[str, Callable[[_Dice, Tensor, Tensor], Tensor]] = {
    "network": _network,
    "trees": _trees,
    "terms": _terms,
    "linear": _linear,
}


# Targets


def _plain_signal(dice: _Dice, layout: _Layout, hidden_BNV: Tensor) -> Tensor:
    """Return (B, N) what takes the place of a target that says nothing: never constant, never tied."""
    sets, rows, variables = hidden_BNV.shape
    sides_BV = dice.normal(sets, variables) * layout.exists_BV
    found = torch.bmm(hidden_BNV, sides_BV[:, :, None])
    return (_standard(found) + 0.1 * dice.normal(sets, rows, 1))[:, :, 0]


def _noise(dice: _Dice, prior: Prior, signal: _Signal) -> Tensor:
    """Return (B, N, S) noise, in deviations of the signal."""
    sets, rows, signals = signal.values_BNS.shape
    normal = dice.normal(sets, rows, signals)
    heavy = normal / dice.uniform(0.05, 1, sets, rows, signals).sqrt()
    found = torch.where(dice.chance(prior.heavy_noise, sets, 1, 1), heavy, normal)
    uneven = found * (0.3 + signal.values_BNS[:, :, -1:].abs())
    found = torch.where(dice.chance(0.15, sets, 1, 1), uneven, found)
    return found * dice.log_uniform(0.01, 1, sets, 1, 1)


def _numbers(dice: _Dice, prior: Prior, signal: _Signal, layout: _Layout, table: _Table) -> tuple[Tensor, _Table]:
    """Return (B, N) numbers of any scale, and the table as it is."""
    sets, half = len(signal.own_BN), signal.own_BN.shape[1] // 2
    found_BN = (signal.values_BNS + _noise(dice, prior, signal))[:, :, 0].clamp(-20, 20)
    steep_B1 = dice.uniform(0.3, 1.2, sets, 1)
    found_BN = torch.where(dice.chance(prior.skewed, sets, 1), (found_BN.clamp(-6, 6) * steep_B1).exp(), found_BN)
    steps_B1 = dice.log_uniform(1, 10, sets, 1)
    found_BN = torch.where(dice.chance(prior.rounded, sets, 1), (found_BN * steps_B1).round(), found_BN)
    halves_BH = torch.stack((found_BN[:, :half].std(1, correction=0), found_BN[:, half:].std(1, correction=0)), 1)
    dull_B1 = (halves_BH.amin(1, keepdim=True) < 0.02) | ~found_BN.isfinite().all(1, keepdim=True)
    found_BN = torch.where(dull_B1, _plain_signal(dice, layout, table.hidden_BNV), found_BN)
    scale_B1 = dice.log_uniform(1e-2, 1e4, sets, 1) * (1 - 2 * dice.chance(0.2, sets, 1).float())
    return scale_B1 * (found_BN + 5 * dice.normal(sets, 1) * dice.chance(0.7, sets, 1)), table


def _labels(dice: _Dice, prior: Prior, signal: _Signal, layout: _Layout, table: _Table) -> tuple[Tensor, _Table]:
    """Return (B, N) classes, and the table, its rows reordered where one half lacked a class."""
    sets, rows = signal.own_BN.shape
    classes_B1 = torch.where(dice.chance(prior.two_classes, sets, 1), 2, dice.integers(3, CLASSES, sets, 1))
    shares_BC = _shares(dice, prior, classes_B1)
    noisy_BNS = signal.values_BNS + _noise(dice, prior, signal)
    labels_BN = torch.where(
        dice.chance(0.6, sets, 1),
        _bins(noisy_BNS[:, :, 0], shares_BC),
        _largest(dice, noisy_BNS, classes_B1, shares_BC),
    )
    labels_BN = torch.where((signal.own_BN >= 0) & dice.chance(0.85, sets, 1), signal.own_BN, labels_BN)
    rate_B1 = dice.uniform(0, 0.2, sets, 1) * dice.chance(prior.label_noise, sets, 1)
    others_BN = labels_BN.gather(1, dice.integers(0, rows - 1, sets, rows))
    labels_BN = _known(torch.where(dice.chance(rate_B1, sets, rows), others_BN, labels_BN))
    labels_BN, table = _mended(dice, labels_BN, layout, table)
    return _renamed(dice, labels_BN), table


def _shares(dice: _Dice, prior: Prior, classes_B1: Tensor) -> Tensor:
    """Return (B, C) shares of classes; those of classes that do not exist are 0."""
    sets = len(classes_B1)
    spread_B1 = torch.where(dice.chance(prior.imbalanced, sets, 1), dice.uniform(1, 3, sets, 1), 0.4)
    sizes_BC = (dice.normal(sets, CLASSES) * spread_B1).exp()
    rare_B1 = dice.log_uniform(0.01, 0.5, sets, 1)
    rare_B1 = torch.where(dice.chance(0.5, sets, 1), rare_B1, 1 - rare_B1)
    pair_BC = torch.cat((rare_B1, 1 - rare_B1), 1).repeat(1, CLASSES // 2)
    sizes_BC = torch.where((classes_B1 == 2) & (spread_B1 >= 1), pair_BC, sizes_BC)
    sizes_BC = sizes_BC * (torch.arange(CLASSES, device=dice.device) < classes_B1)
    return sizes_BC / sizes_BC.sum(1, keepdim=True)


def _bins(signal_BN: Tensor, shares_BC: Tensor) -> Tensor:
    """Return classes by quantiles; rows of the same signal are of the same class."""
    rows = signal_BN.shape[1]
    edges_BC = (shares_BC.cumsum(1)[:, :-1] * rows).long().clamp(max=rows - 1)
    values_BC = signal_BN.sort(1).values.gather(1, edges_BC)
    past_BC = shares_BC.cumsum(1)[:, :-1] > 1 - 1e-5
    values_BC = values_BC.masked_fill(past_BC, math.inf)
    return torch.searchsorted(values_BC.contiguous(), signal_BN.contiguous(), right=True)


def _largest(dice: _Dice, signals_BNS: Tensor, classes_B1: Tensor, shares_BC: Tensor) -> Tensor:
    """Return the class of the largest of C scores, which are mixes of the signals."""
    sets = len(signals_BNS)
    sides_BSC = dice.normal(sets, SIGNALS, CLASSES)
    scores_BNC = torch.bmm(signals_BNS, sides_BSC) + (shares_BC + 1e-6).log()[:, None] * 0.5
    absent_BC = torch.arange(CLASSES, device=dice.device) >= classes_B1
    return scores_BNC.masked_fill_(absent_BC[:, None], -math.inf).argmax(2)


def _counts(labels_BN: Tensor) -> Tensor:
    """Return (B, C) rows of each class."""
    counts = torch.zeros(len(labels_BN), CLASSES, dtype=torch.int64, device=labels_BN.device)
    return counts.scatter_add_(1, labels_BN, torch.ones_like(labels_BN))


def _known(labels_BN: Tensor) -> Tensor:
    """Return labels where classes without a row in the first half are of the most frequent class."""
    first_BC = _counts(labels_BN[:, : labels_BN.shape[1] // 2])
    return torch.where(first_BC.gather(1, labels_BN) > 0, labels_BN, first_BC.argmax(1, keepdim=True))


def _mended(dice: _Dice, labels_BN: Tensor, layout: _Layout, table: _Table) -> tuple[Tensor, _Table]:
    """Return labels and rows such that both halves have two classes.

    Rows are dealt to the halves in the order of their classes; if even so one has a single class, the target is a
    plain one.
    """
    half = labels_BN.shape[1] // 2
    sets_b = (_one_class(labels_BN[:, :half]) | _one_class(labels_BN[:, half:])).nonzero()[:, 0]
    if not len(sets_b):
        return labels_BN, table
    part = labels_BN[sets_b]
    counts = _counts(part)
    plain = _plain_signal(dice, replace(layout, exists_BV=layout.exists_BV[sets_b]), table.hidden_BNV[sets_b])
    halves = (plain.argsort(1).argsort(1) >= half).long()
    few_b1 = counts.topk(2, 1).values[:, 1:] < 2
    part = torch.where(few_b1, halves, part)
    # The largest classes first: two of them have two rows at least, so each half has both.
    place_bC = _counts(part).argsort(1, descending=True).argsort(1)
    keys = place_bC.gather(1, part) + dice.uniform(0, 0.5, *part.shape)
    dealt = keys.argsort(1)
    shuffled = [each[:, dice.order(each.shape[1])] for each in (dealt[:, 1::2], dealt[:, ::2])]
    order = torch.cat(shuffled, 1)
    labels_BN = labels_BN.clone()
    labels_BN[sets_b] = part.gather(1, order)
    return _known(labels_BN), table.reordered(sets_b, order)


def _one_class(labels_BN: Tensor) -> Tensor:
    return (labels_BN == labels_BN[:, :1]).all(1)


def _renamed(dice: _Dice, labels_BN: Tensor) -> Tensor:
    """Return labels from 0 without a gap, in random order."""
    counts_BC = _counts(labels_BN)
    keys_BC = dice.uniform(0, 1, *counts_BC.shape) + (counts_BC == 0) * 2
    return keys_BC.argsort(1).argsort(1).gather(1, labels_BN)


# What spoils a table


def _encode_levels(
    prior: Prior, layout: _Layout, table: _Table, targets_BN: Tensor, classes_B: Tensor, fitted: int
) -> _Table:
    """Return the table with statistics of the target where a category has many levels."""
    pairs = layout.statistic_BV.nonzero()
    if not len(pairs):
        return table
    sets_P, variables_P = pairs[:, 0], pairs[:, 1]
    largest_B = _counts(targets_BN[:, :fitted]).argmax(1) if int(classes_B[0]) else classes_B
    share_BN = torch.where((classes_B > 2)[:, None], (targets_BN == largest_B[:, None]).float(), targets_BN.float())
    codes_PN, known_PN = table.codes_BNV[sets_P, :, variables_P], share_BN[sets_P]
    found = _smoothed(codes_PN, known_PN, fitted, prior.smoothing)
    values_BNV = table.values_BNV.clone()
    values_BNV[sets_P, :, variables_P] = found
    return replace(table, values_BNV=values_BNV)


def _smoothed(codes_PN: Tensor, targets_PN: Tensor, fitted: int, smoothing: float) -> Tensor:
    """Return (P, N) the mean target of a row's level among the first ``fitted`` rows, itself left out."""
    first, rows = slice(None, fitted), codes_PN.shape[1]
    mean_P1 = targets_PN[:, first].mean(1, keepdim=True)
    centred_PN = targets_PN - mean_P1  # so that a large shift costs no digits
    sums_PL = torch.zeros(len(codes_PN), LEVELS, device=codes_PN.device)
    counts_PL = torch.zeros_like(sums_PL)
    sums_PL.scatter_add_(1, codes_PN[:, first], centred_PN[:, first])
    counts_PL.scatter_add_(1, codes_PN[:, first], torch.ones_like(centred_PN[:, first]))
    itself_N = torch.arange(rows, device=codes_PN.device) < fitted
    sums_PN = sums_PL.gather(1, codes_PN) - centred_PN * itself_N
    counts_PN = counts_PL.gather(1, codes_PN) - itself_N.float()
    return mean_P1 + sums_PN / (counts_PN + smoothing)


def _add_outliers(dice: _Dice, prior: Prior, layout: _Layout, table: _Table) -> _Table:
    """Return the table with some numbers ten to a hundred times as large."""
    sets_b = dice.chance(prior.outliers, len(layout.levels_BV)).nonzero()[:, 0]
    if not len(sets_b):
        return table
    values_bNV = table.values_BNV[sets_b]
    few_b1V = (dice.chance(0.25, len(sets_b), values_bNV.shape[2]) & (layout.levels_BV[sets_b] == 0))[:, None]
    hit_bNV = dice.chance(few_b1V * dice.log_uniform(0.002, 0.03, len(sets_b), 1, 1), *values_bNV.shape)
    values_BNV = table.values_BNV.clone()
    values_BNV[sets_b] = torch.where(hit_bNV, values_bNV * dice.log_uniform(10, 100, len(sets_b), 1, 1), values_bNV)
    return replace(table, values_BNV=values_BNV)


def _missing(
    dice: _Dice, prior: Prior, layout: _Layout, table: _Table, targets_BN: Tensor, classes_B: Tensor
) -> Tensor:
    """Return (B, N, V) whether a cell is missing: by chance, by another variable, by its own value, or by the target.

    No variable is missing in all rows of the first half.
    """
    sets, rows, variables = table.values_BNV.shape
    missing_BNV = torch.zeros(sets, rows, variables, dtype=torch.bool, device=dice.device)
    sets_b = dice.chance(prior.missing, sets).nonzero()[:, 0]
    if not len(sets_b):
        return missing_BNV
    hidden_bNV, count = table.hidden_BNV[sets_b], len(sets_b)
    rest = 1 - prior.informative
    kind_b1V = dice.choice((0.4 * rest, 0.3 * rest, 0.3 * rest, prior.informative), count, 1, variables)
    other_bNV = _take(hidden_bNV, dice.pick(layout.exists_BV[sets_b].float(), variables))
    told_bN1 = _driver(dice, targets_BN[sets_b], classes_B[sets_b])
    driver_bNV = torch.where(kind_b1V == 1, other_bNV, torch.where(kind_b1V == 2, hidden_bNV, told_bN1))
    steep_b1V = dice.uniform(1, 5, count, 1, variables) * (1 - 2 * dice.chance(0.5, count, 1, variables).float())
    rate_b1V = dice.log_uniform(0.01, 0.6, count, 1, variables)
    rate_b1V = rate_b1V * dice.chance(dice.uniform(0.1, 1, count, 1, 1), count, 1, variables)
    chance_bNV = 2 * rate_b1V * torch.sigmoid(driver_bNV * steep_b1V * (kind_b1V > 0))
    found_bNV = dice.chance(chance_bNV, count, rows, variables)
    missing_BNV[sets_b] = found_bNV & ~found_bNV[:, : rows // 2].all(1, keepdim=True)
    return missing_BNV


def _driver(dice: _Dice, targets_bN: Tensor, classes_b: Tensor) -> Tensor:
    """Return (b, N, 1) the target as a number of deviation 1; each class has a random one."""
    if not int(classes_b[0]):
        return _standard(targets_bN[:, :, None])
    values_bN = dice.normal(len(targets_bN), CLASSES).gather(1, targets_bN)
    return _standard(values_bN[:, :, None])


def _cells(layout: _Layout, table: _Table, missing_BNV: Tensor) -> Tensor:
    values_BNV = table.values_BNV.masked_fill(missing_BNV, math.nan)
    codes_BNV = table.codes_BNV.masked_fill(missing_BNV, -1)
    members_BND = (_take(codes_BNV, layout.owner_BD) == layout.member_BD[:, None]).float()
    one_hot_BD = layout.one_hot_BV.gather(1, layout.owner_BD)
    cells_BND = torch.where(one_hot_BD[:, None], members_BND, _take(values_BNV, layout.owner_BD))
    return cells_BND.masked_fill_(~layout.present_BD[:, None], 0)
