"""The generator of text-generation: a condition in, an adapter of a frozen language model out.

A set encoder reads the condition's sentences and a basis head makes B of them (zero, before anything is learned). A
condition with labelled rows has no sentences (:mod:`sartor.nn.condition`): B starts where an empty condition's does,
and gradient steps go on from there (:mod:`sartor.nn.gradient_steps`). Sentences beside rows were no help on tasks never
seen, and gave tasks away that were learned from (LOG.md, 2026-11-25).

Dimension key:   G: conditions   S: sites   K: rank   I, O: inputs and outputs of a site
"""

from typing import Protocol

import torch
from torch import Tensor, nn
from typing_extensions import override

from sartor.nn.condition import Conditions
from sartor.nn.decoder import Adapters
from sartor.nn.gradient_steps import GradientSteps
from sartor.nn.set_encoder import SetEncoder
from sartor.nn.weight_heads import BasisHead, Sites


class Rows(Protocol):
    """The labelled rows of G conditions, as :class:`sartor.nn.support_rows.SupportRows` has them."""

    @property
    def count_G(self) -> Tensor:
        """Return how many each has."""
        ...

    def __call__(self, generated: Adapters) -> Tensor:
        """Return (G,) the mean loss of each condition's rows, zero where it has none; differentiable in B."""
        ...


class Generator(nn.Module):
    """Conditions to the generated part of adapters."""

    def __init__(
        self, sites: Sites, *, rank: int = 16, steps: int = 1, width: int = 64, sentence: int = 384, seed: int = 0
    ) -> None:
        super().__init__()
        self.sites = dict(sites)
        self.rank = rank
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.encoder = SetEncoder(inputs=sentence, width=width)
            self.head = BasisHead(sites, width=width, basis=rank, seed=seed)
            self.gradient = GradientSteps(sites, rank=rank, steps=steps)

    @override
    def forward(self, conditions: Conditions, rows: Rows | None = None) -> Adapters:
        """Return the generated part for each condition.

        Args:
            conditions: G of them.
            rows: asked once a step; None where no condition has labelled rows.
        """
        adapters = self.start(conditions)
        if rows is None:
            return adapters
        for step in range(self.gradient.steps):
            adapters = self.stepped(adapters, step, rows)
        return adapters

    def start(self, conditions: Conditions) -> Adapters:
        """Return what the condition's words alone say: A (G, K, I) the same for all, B (G, O, K)."""
        vectors_GD = self.encoder(conditions.items_GNE, conditions.types_GN, conditions.keep_GN)
        payload_GSKK = self.head.payload(vectors_GD)
        count = len(payload_GSKK)
        return {
            path: (self.head.v[at].expand(count, -1, -1), self.head.u[at] @ payload_GSKK[:, at])
            for at, path in enumerate(self.sites)
        }

    def stepped(self, adapters: Adapters, step: int, rows: Rows) -> Adapters:
        """Return adapters one gradient step on; the gradient itself is a constant."""
        with torch.enable_grad():
            leaves = {path: b_GOK.detach().requires_grad_() for path, (_, b_GOK) in adapters.items()}
            losses_G = rows({path: (a_GKI.detach(), leaves[path]) for path, (a_GKI, _) in adapters.items()})
            found = torch.autograd.grad(losses_G.sum(), list(leaves.values()))
        gradients = dict(zip(leaves, found, strict=True))
        taken = self.gradient(step, gradients, losses_G.detach(), rows.count_G)
        return {path: (a_GKI, b_GOK - taken[path]) for path, (a_GKI, b_GOK) in adapters.items()}
