"""A generated model of a table as named tensors, and the generator that comes with Sartor.

coder.*        how cells become numbers (:mod:`sartor.nn.table_coder`)
net.*          the solved net (:mod:`sartor.nn.table_solver`)
shares         how much of what was generated, of random units, and of the columns alone answers
importance     (D,) how much of each coded column is let in
"""

import functools
import hashlib
from collections.abc import Mapping

import torch
from safetensors.torch import load
from torch import Tensor

from sartor.assets.catalogue import TABLE_GENERATOR
from sartor.errors import AssetError
from sartor.nn.table_coder import Coder
from sartor.nn.table_generator import TableGenerator
from sartor.nn.table_solver import WAYS, Net, Solved

_CODER, _NET = "coder.", "net."


def to_weights(coder: Coder, solved: Solved) -> dict[str, Tensor]:
    """Return the tensors of a model."""
    return {
        **{_CODER + name: tensor for name, tensor in coder.tensors.items()},
        **{_NET + name: tensor for name, tensor in solved.net.tensors.items()},
        "shares": torch.tensor([solved.shares.get(way, 0.0) for way in WAYS]),
        "importance": torch.from_numpy(solved.importance_D).float(),
    }


def coder_of(weights: Mapping[str, Tensor]) -> Coder:
    """Return how a model codes cells."""
    return Coder(_under(weights, _CODER))


def net_of(weights: Mapping[str, Tensor]) -> Net:
    """Return the net of a model, also of one whose numbers were put into fewer bytes."""
    return Net(
        {name: tensor.to(_WHOLE.get(tensor.dtype, tensor.dtype)) for name, tensor in _under(weights, _NET).items()}
    )


_WHOLE = {torch.float16: torch.float32, torch.int16: torch.int64, torch.int8: torch.float32}
"""What tensors of fewer bytes stand for: weights, places of columns, signs."""


def _under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def shares_of(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Return how much each way counts in the answers of a model; empty where there was nothing to solve."""
    if "shares" not in weights:
        return {}
    return {way: float(share) for way, share in zip(WAYS, weights["shares"], strict=True)}


def head_of(weights: Mapping[str, Tensor]) -> str:
    """Return which ways answer, the largest share first, as ``generated`` or ``generated+random``."""
    used = sorted(((share, way) for way, share in shares_of(weights).items() if share > 0), reverse=True)
    return "+".join(way for _, way in used) or "constant"


@functools.cache
def shipped_generator() -> TableGenerator:
    """Return the generator that comes with Sartor, frozen.

    Raises:
        AssetError: when its file is not what it was when it was shipped.
    """
    content = TABLE_GENERATOR.path.read_bytes()
    if hashlib.sha256(content).hexdigest() != TABLE_GENERATOR.sha256:
        raise AssetError(f"{TABLE_GENERATOR.file} is damaged: its hash is another. Install Sartor again.")
    return restored({name: tensor.float() for name, tensor in load(content).items()})


def restored(weights: Mapping[str, Tensor]) -> TableGenerator:
    """Return the generator of these weights, whose shapes tell its own; frozen."""
    rank, units = weights["directions"].shape
    layers = len({name.split(".")[1] for name in weights if name.startswith("layers.")})
    made = TableGenerator(width=len(weights["out.weight"]), layers=layers, units=units, rank=rank)
    made.load_state_dict(dict(weights))
    return made.eval().requires_grad_(False)
