"""Adapters on their way out and in: an anchor with a generated part beside it, and PEFT's names for the two.

The anchor is one LoRA for all tasks, rank r0; the generated part knows its task, rank r. Side by side along the rank
they are one LoRA of rank r0 + r (as in Doc-to-LoRA, https://arxiv.org/abs/2602.15902, section 3), which every engine
that reads PEFT directories can load. ``lora_alpha`` is the rank, so that PEFT's factor is one: any scale, the dial's
too, lies in B.

Dimension key:   G: conditions   r: rank   I, O: inputs and outputs of a site
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sartor.errors import BundleError, TaskError
from sartor.nn.decoder import Adapters

_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"


def join(anchor: Adapters, generated: Adapters, dial: float) -> Adapters:
    """Return anchor and generated part side by side along the rank, the latter ``dial`` times; 0 is the anchor alone.

    Args:
        anchor: site -> A (1, r0, I) and B (1, O, r0), of one adapter.
        generated: of G conditions and some rank r, at the same sites.
        dial: how much of the generated part, from 0 on; 1 is what was trained.

    Raises:
        TaskError: if the two are not of the same sites, or the dial is negative or no number.
    """
    if not 0 <= dial < math.inf:
        raise TaskError(f"The dial of a generated part is a number from 0 on; got {dial}. 1 is what was trained.")
    if anchor.keys() != generated.keys():
        raise TaskError("The anchor and the generated part are of different sites; take the two of one training.")
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for path, (a_GrI, b_GOr) in generated.items():
        a0, b0 = (part.expand(len(a_GrI), -1, -1) for part in anchor[path])
        found[path] = torch.cat([a0, a_GrI], dim=1), torch.cat([b0, dial * b_GOr], dim=2)
    return found


def stacked(adapters: Sequence[Adapters | None]) -> Adapters | None:
    """Return the adapters of some rows as one batch, each row with its own; None is a row without one.

    A row that has nothing at a site, or is of less rank than another, is filled up with zeros, which change nothing.

    Args:
        adapters: of each row, site -> A (1, r, I) and B (1, O, r).
    """
    ranks: dict[str, int] = {}
    like: dict[str, tuple[Tensor, Tensor]] = {}
    for one in adapters:
        for path, pair in (one or {}).items():
            ranks[path], like[path] = max(ranks.get(path, 0), pair[0].shape[1]), pair
    if not like:
        return None
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for path, (a_1rI, b_1Or) in like.items():
        a_GrI = a_1rI.new_zeros(len(adapters), ranks[path], a_1rI.shape[2])
        b_GOr = b_1Or.new_zeros(len(adapters), b_1Or.shape[1], ranks[path])
        for row, one in enumerate(adapters):
            if one is not None and path in one:
                a, b = one[path]
                a_GrI[row, : a.shape[1]], b_GOr[row, :, : b.shape[2]] = a[0], b[0]
        found[path] = a_GrI, b_GOr
    return found


def to_peft(adapters: Adapters, index: int) -> dict[str, Tensor]:
    """Return one adapter as PEFT stores it: ``base_model.model.<path>.lora_A.weight`` (r, I), ``….lora_B.weight``.

    The tensors are copies, so that a file holds one adapter and not the batch it was cut from.

    Args:
        adapters: of G conditions.
        index: which of them.

    Raises:
        TaskError: if there is none of that number, or there is no site.
        BundleError: if two sites are of different rank.
    """
    if not adapters or not all(0 <= index < len(a_GrI) for a_GrI, _ in adapters.values()):
        count = min((len(a_GrI) for a_GrI, _ in adapters.values()), default=0)
        raise TaskError(f"There is no adapter number {index}: there are {count}, counted from 0.")
    _refuse_mixed_ranks({path: a_GrI.shape[1] for path, (a_GrI, _) in adapters.items()})
    found: dict[str, Tensor] = {}
    for path, (a_GrI, b_GOr) in adapters.items():
        found[_PREFIX + path + _A] = a_GrI[index].detach().clone().contiguous()
        found[_PREFIX + path + _B] = b_GOr[index].detach().clone().contiguous()
    return found


def from_peft(weights: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return site -> A (1, r, I) and B (1, O, r), in the order of ``weights``.

    Whether the sites are those of a base is for :mod:`sartor.nn.check_adapter` to say.

    Raises:
        BundleError: if a name is none of PEFT's, a tensor stands without its partner, or the ranks are not all alike.
    """
    paths = list(dict.fromkeys(_path(name) for name in weights))
    if not paths:
        raise BundleError("The adapter is empty: it has no tensor. Make it again.")
    found = {path: _pair(weights, path) for path in paths}
    _refuse_mixed_ranks({path: a_1rI.shape[1] for path, (a_1rI, _) in found.items()})
    return found


def _path(name: str) -> str:
    path = name.removeprefix(_PREFIX).removesuffix(_A).removesuffix(_B)
    if name not in (_PREFIX + path + _A, _PREFIX + path + _B) or not path:
        raise BundleError(
            f"The adapter has a tensor {name!r}; known are {_PREFIX}<path>{_A} and {_PREFIX}<path>{_B}. Give a plain "
            "LoRA of linear layers, saved by PEFT."
        )
    return path


def _pair(weights: Mapping[str, Tensor], path: str) -> tuple[Tensor, Tensor]:
    a_rI, b_Or = (weights.get(_PREFIX + path + end) for end in (_A, _B))
    if a_rI is None or b_Or is None:
        missing = _A if a_rI is None else _B
        raise BundleError(f"The adapter has no {missing[1:]} at {path!r}. The file is not whole; make it again.")
    if a_rI.ndim != 2 or b_Or.ndim != 2 or a_rI.shape[0] != b_Or.shape[1]:
        raise BundleError(
            f"The adapter's parts do not fit each other at {path!r}: A {tuple(a_rI.shape)} and B {tuple(b_Or.shape)}, "
            "wanted (r, inputs) and (outputs, r). Make it again."
        )
    return a_rI[None], b_Or[None]


def _refuse_mixed_ranks(ranks: Mapping[str, int]) -> None:
    first = next(iter(ranks))
    for path, rank in ranks.items():
        if rank != ranks[first]:
            raise BundleError(
                f"The adapter is of rank {ranks[first]} at {first!r} and of rank {rank} at {path!r}; engines want one "
                "rank everywhere. Fill the smaller up with zeros."
            )
