"""An encoder that a model has changed for itself: tensors of its bundle beside the frozen base.

    tuned.start                        the lowest layer that is another
    tuned.encoder.layer.4.…            tensors in the place of the base's
    tuned.encoder.layer.4.….lora_A.…   an adapter of rank r around one of its linear layers

Where the base has an anchor, only its way through the upper layers is changed, and the frozen states stay what they
were; where it has none, the layers from ``start`` on are.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from sartor.errors import BundleError
from sartor.nn import lora
from sartor.nn.branch import beside
from sartor.nn.encoder import BertEncoder
from sartor.nn.text_base import TextBase
from sartor.types import Weights

TUNED = "tuned."
_START = f"{TUNED}start"


def way_of(base: TextBase) -> tuple[BertEncoder, int]:
    """Return the way that answers and may be trained, as a whole encoder, and the layer at which it leaves the other.

    Where there is no anchor that is the upper half of the encoder itself.
    """
    if base.branched is None:
        return base.encoder, base.encoder.config.layers // 2
    start = base.branched.start
    upper: dict[str, Tensor] = {}
    for name, tensor in base.branched.upper.state_dict().items():
        at, _, rest = name.partition(".")
        upper[f"encoder.layer.{start + int(at)}.{rest}"] = tensor
    return lora.rebuilt(base.encoder, upper), start


def tuned_weights(trained: Mapping[str, Tensor], start: int) -> dict[str, Tensor]:
    """Return trained tensors as a bundle has them: adapters as they are, whole matrices in half precision."""
    found = {
        TUNED + name: tensor.detach().cpu().float()
        if lora.A in name or lora.B in name
        else tensor.detach().cpu().half()
        for name, tensor in trained.items()
    }
    return {_START: torch.tensor(start, dtype=torch.int32), **found}


def is_tuned(weights: Weights) -> bool:
    """Whether a model has changed the encoder for itself."""
    return _START in weights


def tuned_base(base: TextBase, weights: Weights) -> TextBase:
    """Return the base as a model has changed it; itself where it has not.

    Raises:
        BundleError: when what is stored does not fit the base.
    """
    if not is_tuned(weights):
        return base
    start = int(weights[_START])
    found = {
        name.removeprefix(TUNED): tensor.float()
        for name, tensor in weights.items()
        if name.startswith(TUNED) and name != _START
    }
    adapter = {name: tensor for name, tensor in found.items() if name.endswith((lora.A, lora.B))}
    whole = {name: tensor for name, tensor in found.items() if name not in adapter}
    way, _ = way_of(base)
    known = way.state_dict()
    for name, tensor in whole.items():
        if name not in known or known[name].shape != tensor.shape:
            raise BundleError(f"The model has a tensor {name!r} that its base has no place for. Generate it again.")
    if whole:
        way = lora.rebuilt(way, whole)
    if adapter:
        way = lora.merged(way, adapter)
    way.eval().requires_grad_(False)
    if base.branched is None:
        return replace(base, encoder=way)
    return replace(base, branched=beside(base.encoder, way, start))


def without_tuned(weights: Weights) -> Weights:
    """Return the head alone: what a bundle needs that brings its own encoder."""
    return {name: tensor for name, tensor in weights.items() if not name.startswith(TUNED)}
