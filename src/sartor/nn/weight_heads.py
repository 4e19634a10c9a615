"""From a condition's vector to an adapter: the last part of a parameter generator.

A *site* is a linear layer: its path -> (O outputs, I inputs), paths as ``model.layers.3.self_attn.q_proj``. Every head
starts where the adapter changes nothing, with a gradient that is not zero.

Dimension key:   G: conditions   S: sites   D: width of a condition   r: rank   K: width of a basis
                 I, O: inputs and outputs of a site
"""

import math
import re
from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn
from typing_extensions import override

from sartor.errors import TaskError

Adapters: TypeAlias = Mapping[str, tuple[Tensor, Tensor]]
"""Site -> A (G, r, I) and B (G, O, r)."""
Sites: TypeAlias = Mapping[str, tuple[int, int]]

_PATH = re.compile(r"\.layers\.(\d+)\.(.+)$")


def _place(path: str) -> tuple[int, str]:
    """Return a site's layer and the kind of its module."""
    found = _PATH.search(path)
    if found is None:
        raise TaskError(f"The site {path!r} names no layer; one is called as model.layers.3.self_attn.q_proj.")
    return int(found[1]), found[2]


class SiteTrunk(nn.Module):
    """A condition at every site: its vector with embeddings of the layer and of the kind of module (G, S, D).

    As in Text-to-LoRA (https://arxiv.org/abs/2506.06105), section 3.
    """

    def __init__(self, sites: Sites, *, width: int) -> None:
        super().__init__()
        places = [_place(path) for path in sites]
        layers, kinds = (list(dict.fromkeys(part)) for part in zip(*places, strict=True))
        self.layer_of: list[int] = [layers.index(layer) for layer, _ in places]
        self.kind_of: list[int] = [kinds.index(kind) for _, kind in places]
        self.layers = nn.Embedding(len(layers), width)
        self.kinds = nn.Embedding(len(kinds), width)
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


class BasisHead(nn.Module):
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
    def forward(self, condition_GD: Tensor) -> Adapters:
        """Return adapters for G conditions."""
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


def join(anchor: Adapters, generated: Adapters, dial: float) -> Adapters:
    """Return anchor and generated part side by side along the rank, the latter ``dial`` times; 0 is the anchor alone.

    Args:
        anchor: site -> A (1, r0, I) and B (1, O, r0), of one adapter.
        generated: of G conditions and some rank r, at the same sites.
        dial: how much of the generated part; 1 is what was trained.

    Raises:
        TaskError: if the two are not of the same sites.
    """
    if anchor.keys() != generated.keys():
        raise TaskError("The anchor and the generated part are of different sites; take the two of one training.")
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for path, (a_GrI, b_GOr) in generated.items():
        a0, b0 = (part.expand(len(a_GrI), -1, -1) for part in anchor[path])
        found[path] = torch.cat([a0, a_GrI], dim=1), torch.cat([b0, dial * b_GOr], dim=2)
    return found
