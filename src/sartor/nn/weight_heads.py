"""From a condition to an adapter: the last part of a parameter generator.

A *site* is a linear layer: its path -> (O outputs, I inputs), paths as ``model.layers.3.self_attn.q_proj``. Every head
starts where the adapter changes nothing, with a gradient that is not zero.

Parameters for q, v and down of SmolLM2-135M, 30 layers: a basis of 16 2.3 million, direct 10.2, hyper-convolution 7.2.

Dimension key:   G: conditions   S: sites   D: width of a condition   r: rank   K: width of a basis
                 I, O: inputs and outputs of a site   N: prompts   L: tokens of a prompt   E: width of a token's state
                 C: a block's columns   J: blocks of all sites
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from sartor.errors import TaskError
from sartor.nn import lora
from sartor.nn.decoder import Adapters

Sites: TypeAlias = Mapping[str, tuple[int, int]]

_PATH = re.compile(r"\.layers\.(\d+)\.(.+)$")


def _place(path: str) -> tuple[int, str]:
    """Return a site's layer and the kind of its module."""
    found = _PATH.search(path)
    if found is None:
        raise TaskError(f"The site {path!r} names no layer; one is called as model.layers.3.self_attn.q_proj.")
    return int(found[1]), found[2]


@dataclass(frozen=True, slots=True)
class _Places:
    """Where sites stand; layers and kinds of modules are counted from 0 in the order in which they first come."""

    layer_of: list[int]
    """Of each site."""
    kind_of: list[int]
    layers: int
    kinds: int

    @classmethod
    def of(cls, sites: Sites) -> "_Places":
        if not sites:
            raise TaskError("There is no site to make an adapter for. Name at least one linear layer.")
        places = [_place(path) for path in sites]
        layers, kinds = (list(dict.fromkeys(part)) for part in zip(*places, strict=True))
        return cls(
            [layers.index(layer) for layer, _ in places],
            [kinds.index(kind) for _, kind in places],
            len(layers),
            len(kinds),
        )

    def shapes(self, sites: Sites) -> list[tuple[int, int]]:
        """Return the one shape that each kind of module has in all layers."""
        found: dict[int, tuple[int, int]] = {}
        for (path, shape), kind in zip(sites.items(), self.kind_of, strict=True):
            if found.setdefault(kind, shape) != shape:
                raise TaskError(
                    f"The site {path!r} is {shape} and in another layer {found[kind]}; this head wants one shape for "
                    "a kind of module. Take a basis head."
                )
        return [found[kind] for kind in range(self.kinds)]


class WeightHead(nn.Module, ABC):
    """Conditions to adapters; what a generator ends with."""

    sites: dict[str, tuple[int, int]]
    rank: int
    """Of every site alike."""

    @abstractmethod
    @override
    def forward(self, condition_GD: Tensor, tokens_GNLE: Tensor | None = None) -> Adapters:
        """Return an adapter for each condition.

        Args:
            condition_GD: a vector each, as :class:`~sartor.nn.set_encoder.SetEncoder` gives it.
            tokens_GNLE: states of the prompts' tokens, for a head that reads these instead.
        """

    @property
    def size(self) -> int:
        """Return the number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


class SiteTrunk(nn.Module):
    """A condition at every site: its vector with embeddings of the layer and of the kind of module (G, S, D).

    As in Text-to-LoRA (https://arxiv.org/abs/2506.06105), section 3.
    """

    def __init__(self, sites: Sites, *, width: int) -> None:
        super().__init__()
        places = _Places.of(sites)
        self.layer_of, self.kind_of = places.layer_of, places.kind_of
        self.layers = nn.Embedding(places.layers, width)
        self.kinds = nn.Embedding(places.kinds, width)
        self.mix = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.out = nn.LayerNorm(width)

    @override
    def forward(self, condition_GD: Tensor) -> Tensor:
        """Return (G, S, D)."""
        device = condition_GD.device
        places_SD = self.layers(torch.tensor(self.layer_of, device=device))
        places_SD = places_SD + self.kinds(torch.tensor(self.kind_of, device=device))
        latent_GSD = condition_GD[:, None] + places_SD
        return self.out(latent_GSD + self.mix(latent_GSD))


class BasisHead(WeightHead):
    """Learned bases at every site, U (O, K) and V (K, I), and a small generated matrix Z (K, K) between: W + U Z V.

    LoRA-XS (https://arxiv.org/abs/2405.17604) with learned bases, the small matrix generated as in Zhyper
    (https://arxiv.org/abs/2510.19733): what is of a task is S K^2 numbers. Z starts at zero, the bases do not.
    """

    def __init__(self, sites: Sites, *, width: int = 256, basis: int = 16, seed: int = 0) -> None:
        super().__init__()
        self.sites = dict(sites)
        self.rank = basis
        self.trunk = SiteTrunk(sites, width=width)
        self.small = nn.Linear(width, basis * basis)
        nn.init.zeros_(self.small.weight)
        nn.init.zeros_(self.small.bias)
        random = torch.Generator().manual_seed(seed)

        def drawn(*size: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(size, generator=random) / math.sqrt(size[1]))

        self.u = nn.ParameterList(drawn(outputs, basis) for outputs, _ in sites.values())
        self.v = nn.ParameterList(drawn(basis, inputs) for _, inputs in sites.values())

    @override
    def forward(self, condition_GD: Tensor, tokens_GNLE: Tensor | None = None) -> Adapters:
        """Return adapters for G conditions; tokens are not read."""
        return self.expand(self.payload(condition_GD))

    def payload(self, condition_GD: Tensor) -> Tensor:
        """Return (G, S, K, K): all that is of a task."""
        return self.small(self.trunk(condition_GD)).unflatten(-1, (self.rank, self.rank))

    def expand(self, payload_GSKK: Tensor) -> Adapters:
        """Return adapters from what is of a task."""
        return {
            path: (payload_GSKK[:, at] @ self.v[at], self.u[at].expand(len(payload_GSKK), -1, -1))
            for at, path in enumerate(self.sites)
        }


# --- directly ----------------------------------------------------------------------------------------------


class _Residual(nn.Module):
    """x + MLP(LayerNorm(x)), four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.LayerNorm(width), *_mlp(width, 4 * width, width))

    @override
    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(x)


def _mlp(inputs: int, inner: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, inner), nn.SiLU(), nn.Linear(inner, outputs)


class DirectHead(WeightHead):
    """All numbers of A and B from one linear layer for each kind of module.

    Text-to-LoRA (https://arxiv.org/abs/2506.06105), section 3, variant L: half of the latent is the condition, a
    quarter each the layer and the kind of module; an MLP mixes them, two more refine. The latent is brought to length
    one, as in Doc-to-LoRA (https://arxiv.org/abs/2602.15902), so that the scale of an update lies in weights alone.
    The last layer starts with no weight and a fresh LoRA as its bias (section 3's Bias-HyperInit): runs that do not
    are reported to fail often.
    """

    def __init__(
        self, sites: Sites, *, width: int = 256, latent: int = 256, last: int = 256, rank: int = 8, seed: int = 0
    ) -> None:
        super().__init__()
        places = _Places.of(sites)
        self.sites = dict(sites)
        self.rank = rank
        self.layer_of, self.kind_of, self.shapes = places.layer_of, places.kind_of, places.shapes(sites)
        self.condition = nn.Sequential(nn.Linear(width, latent // 2), nn.LayerNorm(latent // 2))
        self.layers = nn.Sequential(nn.Embedding(places.layers, latent // 4), nn.LayerNorm(latent // 4))
        self.kinds = nn.Sequential(nn.Embedding(places.kinds, latent // 4), nn.LayerNorm(latent // 4))
        whole = latent // 2 + 2 * (latent // 4)
        self.trunk = nn.Sequential(
            *_mlp(whole, 4 * whole, whole),
            _Residual(whole),
            _Residual(whole),
            nn.LayerNorm(whole),
            *_mlp(whole, 2 * whole, last),
            nn.SiLU(),
        )
        random = torch.Generator().manual_seed(seed)
        self.last = nn.ModuleList(_bias_start(last, shape, rank, random) for shape in self.shapes)

    @override
    def forward(self, condition_GD: Tensor, tokens_GNLE: Tensor | None = None) -> Adapters:
        """Return adapters for G conditions; tokens are not read."""
        latent_GSD = self._latent(condition_GD)
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for kind, (outputs, inputs) in enumerate(self.shapes):
            places = [at for at, other in enumerate(self.kind_of) if other == kind]
            numbers = self.last[kind](latent_GSD[:, places])
            a, b = numbers.split([self.rank * inputs, outputs * self.rank], dim=-1)
            a, b = a.unflatten(-1, (self.rank, inputs)), b.unflatten(-1, (outputs, self.rank))
            for at, place in enumerate(places):
                found[place] = a[:, at], b[:, at]
        return {path: found[place] for place, path in enumerate(self.sites)}

    def _latent(self, condition_GD: Tensor) -> Tensor:
        """Return (G, S, D'), of length one."""
        device = condition_GD.device
        condition_GSD = self.condition(condition_GD)[:, None].expand(-1, len(self.sites), -1)
        places_SD = torch.cat(
            [
                self.layers(torch.tensor(self.layer_of, device=device)),
                self.kinds(torch.tensor(self.kind_of, device=device)),
            ],
            dim=-1,
        )
        whole_GSD = torch.cat([condition_GSD, places_SD.expand(len(condition_GD), -1, -1)], dim=-1)
        return functional.normalize(self.trunk(whole_GSD), dim=-1)


def _bias_start(width: int, shape: tuple[int, int], rank: int, random: torch.Generator) -> nn.Linear:
    """Return a layer to A and B of a site that gives a fresh LoRA whatever it is given: A at random, B zero."""
    outputs, inputs = shape
    made = nn.Linear(width, rank * (inputs + outputs))
    with torch.no_grad():
        made.weight.zero_()
        made.bias.zero_()
        made.bias[: rank * inputs] = lora.fresh_a(rank, inputs, random).flatten()
    return made


# --- by hyper-convolution ----------------------------------------------------------------------------------

PROMPTS, TOKENS, STATE = 16, 64, 384
"""Prompts, tokens of a prompt and width of a token's state that a hyper-convolution reads at most."""
CASCADE = ((32, 48, 192), (64, 24, 128), (128, 12, 96), (256, 8, 64))
"""(N, L, E) behind each block but the last."""


class _HyperConv(nn.Module):
    """(G, N, L, E) to (G, N', L', E'): along the width and the height in both orders, then along the depth.

    Drag-and-Drop LLMs (https://arxiv.org/abs/2506.16406), section 2: each is a convolution over two axes that has the
    third for its channels.
    """

    def __init__(self, before: tuple[int, int, int], behind: tuple[int, int, int]) -> None:
        super().__init__()
        (n0, l0, e0), (n1, l1, e1) = before, behind
        self.norm = nn.LayerNorm([l0, e0])
        self.first_width, self.second_width = _conv(e0, e1), _conv(e0, e1)
        self.first_height, self.second_height = _conv(l0, l1), _conv(l0, l1)
        self.bias = nn.Parameter(torch.zeros(l1, e1))
        self.depth = _conv(n0, n1)

    @override
    def forward(self, x_GNLE: Tensor) -> Tensor:
        x_GNLE = self.norm(x_GNLE)
        one = _along(2, self.first_height, _along(3, self.first_width, x_GNLE))
        other = _along(3, self.second_width, _along(2, self.second_height, x_GNLE))
        return self.depth((one + other + self.bias) / 3)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding="same", bias=False)


def _along(axis: int, conv: nn.Conv2d, x_GNLE: Tensor) -> Tensor:
    return conv(x_GNLE.transpose(1, axis)).transpose(1, axis)


class HyperConvHead(WeightHead):
    """Blocks of r x C numbers, by a cascade of hyper-convolutions over the prompts' tokens; sites are cut out of them.

    As Drag-and-Drop LLMs (https://arxiv.org/abs/2506.16406), but for a small base: a kernel of 3, GELU between blocks,
    and what a block is for (layer, kind of module, A or B, place in it) is learned and added to it, not told by its
    number alone. A is cut into blocks along its inputs, B transposed along its outputs. The last convolution starts
    with no weight, and what is added as a fresh LoRA, as in :class:`DirectHead`.

    It reads states of prompts' tokens, not a condition's vector, and the order of prompts matters to it.
    """

    def __init__(
        self,
        sites: Sites,
        *,
        reads: tuple[int, int, int] = (PROMPTS, TOKENS, STATE),
        cascade: Sequence[tuple[int, int, int]] = CASCADE,
        rank: int = 8,
        columns: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _refuse_uneven(sites, columns)
        places = _Places.of(sites)
        self.sites = dict(sites)
        self.rank = rank
        self.reads = reads
        starts = _block_starts(places.shapes(sites), rank, columns, seed)
        # A and B of each kind by turns: where theirs begin, and of each block of a site which is its, of which layer
        counts = [len(part) for pair in starts for part in pair]
        begin = list(accumulate(counts, initial=0))
        blocks = [
            (begin[2 * kind + part] + at, 2 * layer + part)
            for layer, kind in zip(places.layer_of, places.kind_of, strict=True)
            for part in range(2)
            for at in range(counts[2 * kind + part])
        ]
        self.start_of = [start for start, _ in blocks]
        self.half_of = [half for _, half in blocks]
        self.starts = nn.Parameter(torch.cat([part for pair in starts for part in pair]))
        self.halves = nn.Parameter(torch.zeros(2 * places.layers, rank, columns))
        shapes = [reads, *cascade, (len(blocks), rank, columns)]
        made = [_HyperConv(before, behind) for before, behind in pairwise(shapes)]
        nn.init.zeros_(made[-1].depth.weight)
        self.blocks = nn.ModuleList(made)

    @override
    def forward(self, condition_GD: Tensor | None = None, tokens_GNLE: Tensor | None = None) -> Adapters:
        """Return adapters for G conditions, whose vector is not read.

        Args:
            condition_GD: None will do.
            tokens_GNLE: states of tokens, zero where there is none; fewer prompts or tokens than are read are filled
                up with zeros.

        Raises:
            TaskError: if there are no tokens, or more of them than are read.
        """
        x = self._filled(tokens_GNLE)
        for number, block in enumerate(self.blocks):
            x = block(functional.gelu(x) if number else x)
        return self._cut(x + self.starts[self.start_of] + self.halves[self.half_of])

    def _filled(self, tokens_GNLE: Tensor | None) -> Tensor:
        prompts, tokens, state = self.reads
        shape = () if tokens_GNLE is None else tuple(tokens_GNLE.shape[1:])
        if tokens_GNLE is None or len(shape) != 3 or shape[0] > prompts or shape[1] > tokens or shape[2] != state:
            raise TaskError(
                f"This head reads the states of up to {prompts} prompts of up to {tokens} tokens, {state} wide; got "
                f"{shape or 'none'}. Give fewer prompts, or shorter ones."
            )
        return functional.pad(tokens_GNLE, (0, 0, 0, tokens - shape[1], 0, prompts - shape[0]))

    def _cut(self, blocks_GJrC: Tensor) -> Adapters:
        columns = blocks_GJrC.shape[-1]
        sizes = [size // columns for outputs, inputs in self.sites.values() for size in (inputs, outputs)]
        # the blocks of a matrix stand beside each other
        wide = [part.transpose(1, 2).flatten(2) for part in blocks_GJrC.split(sizes, dim=1)]
        pairs = zip(wide[::2], wide[1::2], strict=True)
        return {path: (a_GrI, b_GrO.mT) for path, (a_GrI, b_GrO) in zip(self.sites, pairs, strict=True)}


def _refuse_uneven(sites: Sites, columns: int) -> None:
    for path, (outputs, inputs) in sites.items():
        if outputs % columns or inputs % columns:
            raise TaskError(
                f"A hyper-convolution makes blocks of {columns} columns, and the site {path!r} has {outputs} outputs "
                f"and {inputs} inputs; both must be multiples of {columns}. Choose other sites, or another head."
            )


def _block_starts(shapes: Sequence[tuple[int, int]], rank: int, columns: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return the blocks (n, r, C) that A and B of each kind of module start as: a fresh LoRA's."""
    random = torch.Generator().manual_seed(seed)
    return [
        (
            torch.stack(lora.fresh_a(rank, inputs, random).split(columns, dim=1)),
            torch.zeros(outputs // columns, rank, columns),
        )
        for outputs, inputs in shapes
    ]


# --- with an anchor ----------------------------------------------------------------------------------------
