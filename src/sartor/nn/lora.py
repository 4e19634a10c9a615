"""Low-rank adapters of an encoder's linear layers, as values.

LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685), sections 4.1 and 4.2: a frozen weight W gets an update B A of
rank r; A starts at random, B at zero, so that a fresh adapter changes nothing. Names are PEFT's,
``<module path>.lora_A.weight`` and ``<module path>.lora_B.weight``; ``lora_alpha`` is r, so that the paper's factor
alpha / r is one and any scale lies in B.

Dimension key:   B: batch   T: tokens   H: hidden width   r: rank   I: inputs of a layer   O: its outputs
"""

import copy
import math
from collections.abc import Collection, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from sartor.errors import BundleError, TaskError, did_you_mean
from sartor.nn.encoder import BertEncoder
from sartor.types import Weights

A, B = ".lora_A.weight", ".lora_B.weight"


def sites(encoder: BertEncoder) -> dict[str, tuple[int, int]]:
    """Return the module path of every linear layer -> (O, I), the shape of its weight, in the encoder's order."""
    return {path: (layer.out_features, layer.in_features) for path, layer in _linears(encoder).items()}


def fresh(
    encoder: BertEncoder, rank: int, *, generator: torch.Generator, targets: Collection[str] | None = None
) -> Weights:
    """Return an adapter that changes nothing yet: A uniform as the paper's code starts it, B zero.

    Args:
        encoder: what it shall fit.
        rank: of every layer alike.
        generator: on the CPU; where A is drawn from.
        targets: the last parts of module paths, as ``query`` or ``attention.output.dense``; None is every linear
            layer.

    Raises:
        TaskError: if the rank is not positive, or a target names no linear layer.
    """
    if rank < 1:
        raise TaskError(f"The rank of an adapter is at least 1; got {rank}.")
    device = next(encoder.parameters()).device
    adapter: dict[str, Tensor] = {}
    for path, (outputs, inputs) in _targeted(sites(encoder), targets).items():
        adapter[path + A] = fresh_a(rank, inputs, generator).to(device)
        adapter[path + B] = torch.zeros(outputs, rank, device=device)
    return adapter


def fresh_a(rank: int, inputs: int, generator: torch.Generator) -> Tensor:
    """Return how the paper's code starts A (r, I): nn.init.kaiming_uniform_(a=sqrt(5)) is a bound of 1 / sqrt(I)."""
    return (torch.rand(rank, inputs, generator=generator) * 2 - 1) / math.sqrt(inputs)


def check(encoder: BertEncoder, adapter: Weights) -> None:
    """Compare an adapter with the layers that it names; no weight is touched.

    Raises:
        BundleError: if it does not fit the encoder.
    """
    _pairs(encoder, adapter)


def merged(encoder: BertEncoder, adapter: Weights) -> BertEncoder:
    """Return a new frozen encoder with W + B A; it shares every other tensor with ``encoder``.

    Raises:
        BundleError: if the adapter does not fit the encoder.
    """
    layers = _linears(encoder)
    with torch.no_grad():
        updated = {f"{path}.weight": layers[path].weight + b @ a for path, (a, b) in _pairs(encoder, adapter).items()}
    return rebuilt(encoder, updated).requires_grad_(False)


def apply(encoder: BertEncoder, adapter: Weights, ids_BT: Tensor, keep_BT: Tensor | None = None) -> list[Tensor]:
    """Return the states (B, T, H) that ``encoder(ids_BT, keep_BT)`` would with the adapter; differentiable in it.

    x A^T B^T is added beside x W^T: on one core a step at rank 8 takes 0.70 to 0.86 of the time of W + B A, whose
    gradient is first formed for all of W.

    Raises:
        BundleError: if the adapter does not fit the encoder.
    """
    return bypassed(encoder, adapter)(ids_BT, keep_BT)


def bypassed(encoder: BertEncoder, adapter: Weights) -> BertEncoder:
    """Return the encoder that :func:`apply` runs: linear layers with a low-rank way around them, the rest shared.

    Raises:
        BundleError: if the adapter does not fit the encoder.
    """
    layers = _linears(encoder)
    around = {path: _Bypassed(layers[path], a, b) for path, (a, b) in _pairs(encoder, adapter).items()}
    return _with_modules(encoder, around)


def rebuilt(encoder: BertEncoder, weights: Weights) -> BertEncoder:
    """Return a new encoder that has ``weights`` in place of its own of those names, and shares all others."""
    with torch.device("meta"):  # no time spent on initial values that are overwritten
        made = BertEncoder(encoder.config)
    made.load_state_dict({**encoder.state_dict(), **weights}, assign=True)
    return made.train(encoder.training)


class _Bypassed(nn.Module):
    """A linear layer with a low-rank way around it."""

    def __init__(self, layer: nn.Linear, a_rI: Tensor, b_Or: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.a_rI = a_rI
        self.b_Or = b_Or

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + functional.linear(functional.linear(x, self.a_rI), self.b_Or)


def _linears(encoder: BertEncoder) -> dict[str, nn.Linear]:
    return {path: module for path, module in encoder.named_modules() if isinstance(module, nn.Linear)}


def _targeted(known: Mapping[str, tuple[int, int]], targets: Collection[str] | None) -> Mapping[str, tuple[int, int]]:
    if targets is None:
        return known

    def matches(path: str, target: str) -> bool:
        return f".{path}".endswith(f".{target}")

    for target in targets:
        if not any(matches(path, target) for path in known):
            names = sorted({path.rpartition(".layer.")[2].partition(".")[2] for path in known})
            near = did_you_mean(target, names)
            raise TaskError(
                f"No linear layer ends in {target!r}.{near} Each layer of the encoder has {', '.join(names)}."
            )
    return {path: shape for path, shape in known.items() if any(matches(path, target) for target in targets)}


def _pairs(encoder: BertEncoder, adapter: Weights) -> dict[str, tuple[Tensor, Tensor]]:
    """Return module path -> (A, B), checked: an adapter that does not fit must not pass for the base."""
    shapes = sites(encoder)
    paths = list(dict.fromkeys(name.removesuffix(A).removesuffix(B) for name in adapter))
    for path in paths:
        if path not in shapes or path + A not in adapter or path + B not in adapter:
            raise BundleError(
                f"The adapter does not fit this encoder at {path!r}: it needs {A[1:]} and {B[1:]} of a linear layer. "
                "Give an adapter that was made for this base."
            )
        a_rI, b_Or = adapter[path + A], adapter[path + B]
        if (len(b_Or), *a_rI.shape[1:]) != shapes[path] or b_Or.shape[1:] != a_rI.shape[:1]:
            raise BundleError(
                f"The adapter does not fit this encoder at {path!r}: A {tuple(a_rI.shape)} and B {tuple(b_Or.shape)} "
                f"for a weight of {shapes[path]}. Give an adapter that was made for this base."
            )
    return {path: (adapter[path + A], adapter[path + B]) for path in paths}


def _with_modules(encoder: BertEncoder, replacing: Mapping[str, nn.Module]) -> BertEncoder:
    """Return an encoder with other modules at some paths; what lies beside these paths is shared, not copied."""

    def copied(module: nn.Module, path: str) -> nn.Module:
        if path in replacing:
            return replacing[path]
        shallow = copy.copy(module)
        shallow._modules = {
            name: child and copied(child, f"{path}.{name}".lstrip(".")) for name, child in module._modules.items()
        }
        return shallow

    return cast(BertEncoder, copied(encoder, ""))
