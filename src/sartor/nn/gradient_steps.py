"""From labelled rows to an adapter by a few learned gradient steps: what a generator reads of rows besides their words.

The rows are answered once by the frozen base with the adapter as it stands, and the gradient of their loss tells, at
every site, what to write where. Learned over many tasks are the directions in which a site listens (A, the same for
all tasks), how far each step goes at each of them and at each output, and how that depends on what the gradient looks
like. So a step is a function of rows like any other part of a generator, and a task costs one pass forward and
backward a step. Learned rates: Meta-SGD (Li et al. 2017, https://arxiv.org/abs/1707.09835); learned directions: Lee
and Choi 2018 (https://arxiv.org/abs/1801.05558); gradients as what a weight generator reads: MEND (Mitchell et al.
2021, https://arxiv.org/abs/2110.11309), section 3. Gradients are constants in training, as in first-order MAML
(https://arxiv.org/abs/1703.03400, section 5.2): a second derivative through the base would cost three times as much.

Dimension key:   G: conditions   S: sites   K: rank   I, O: inputs and outputs of a site   F: features of a site
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sartor.errors import TaskError
from sartor.nn.weight_heads import Sites

RATE = 2e-3
"""Of a step before anything is learned, where the gradient's root mean square is one. See LOG.md, 2026-11-25."""
_SPEED = 5.0
"""How much faster logarithms of rates move than weights do."""
_FURTHEST = 1.5
"""Logarithm of how far a rate can move from where it began, for each of the three things it depends on: without a bound
training ends in steps that overshoot on tasks never seen."""
_FEATURES = 4
_SMALL = 1e-12


class GradientSteps(nn.Module):
    """Gradients of B at every site to what is taken off B; without training, plain steps of :data:`RATE`."""

    def __init__(self, sites: Sites, *, rank: int, steps: int = 1, inner: int = 32) -> None:
        super().__init__()
        if steps < 1:
            raise TaskError(f"A generator takes at least one gradient step; got {steps}.")
        self.sites = dict(sites)
        self.steps = steps
        self.columns = nn.Parameter(torch.zeros(steps, len(sites), rank))
        self.outputs = nn.ParameterList(nn.Parameter(torch.zeros(steps, outputs)) for outputs, _ in sites.values())
        self.places = nn.Parameter(torch.zeros(steps, len(sites), inner))
        self.read = nn.Linear(_FEATURES, inner)
        self.gate = nn.Linear(inner, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, step: int, gradients: Mapping[str, Tensor], loss_G: Tensor, rows_G: Tensor) -> dict[str, Tensor]:
        """Return site -> (G, O, K), to be taken off B; zero for a condition without rows.

        Args:
            step: from 0.
            gradients: site -> (G, O, K) of each condition's mean loss.
            loss_G: that loss.
            rows_G: how many rows it is the mean of.
        """
        power_GS = torch.stack([gradients[path].square().mean(dim=(1, 2)) for path in self.sites], dim=1)
        size_G = power_GS.mean(dim=1).sqrt()
        rate_GS = self._rate(step, power_GS, size_G, loss_G, rows_G) * (rows_G > 0)[:, None]
        found: dict[str, Tensor] = {}
        for at, path in enumerate(self.sites):
            columns_K = _factor(self.columns[step, at])
            outputs_O1 = _factor(self.outputs[at][step])[:, None]
            unit_GOK = gradients[path] / (size_G + _SMALL)[:, None, None]
            found[path] = rate_GS[:, at, None, None] * outputs_O1 * columns_K * unit_GOK
        return found

    def _rate(self, step: int, power_GS: Tensor, size_G: Tensor, loss_G: Tensor, rows_G: Tensor) -> Tensor:
        """Return (G, S) how far each site goes."""
        share_GS = (power_GS + _SMALL).log() / 2 - (size_G + _SMALL).log()[:, None]
        told = [(size_G + _SMALL).log() / 4, loss_G, (rows_G + 1.0).log()]
        features_GSF = torch.stack([share_GS, *(one[:, None].expand_as(share_GS) for one in told)], dim=-1)
        inner_GSD = nn.functional.gelu(self.read(features_GSF) + self.places[step])
        return RATE * _factor(self.gate(inner_GSD)[..., 0] / math.sqrt(inner_GSD.shape[-1]))


def _factor(moved: Tensor) -> Tensor:
    """Return what a rate is multiplied by: 1 where nothing was learned."""
    return (_FURTHEST * torch.tanh(_SPEED / _FURTHEST * moved)).exp()
