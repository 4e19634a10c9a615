"""What stands beside the frozen net for pictures: a low-rank adapter of its upper stages, learned over many tasks.

Pictures go through the lower stages once, and through the upper ones twice, frozen and adapted, so that nothing of what
the frozen net knows is lost and an answer costs half a pass more. Where a convolution is of one pixel it is a linear
layer, and its update is LoRA's (:mod:`sartor.nn.lora`, whose names are used); biases get an update of their own.

Dimension key:   B: pictures in a batch   C: channels   H, W: height and width   r: rank   O: outputs   I: inputs
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from sartor.errors import BundleError
from sartor.nn.lora import A, B, fresh_a
from sartor.nn.picture_net import ANCHORED_FROM, PictureNet, PictureNetConfig
from sartor.types import Weights

BIAS = ".bias"


def sites(config: PictureNetConfig) -> dict[str, tuple[int, int]]:
    """Return each adapted convolution -> (O, I), the shape of its weight."""
    return dict(_sites(config))


def _sites(config: PictureNetConfig) -> Iterator[tuple[str, tuple[int, int]]]:
    below = sum(len(stage) for stage in list(config.staged())[:ANCHORED_FROM])
    for at, block in enumerate(config.blocks):
        if at >= below:
            if block.expands:
                yield f"blocks.{at}.expand", (block.wide, block.into)
            yield f"blocks.{at}.project", (block.out, block.wide)
    yield "head", (config.head, config.blocks[-1].out)


def fresh(config: PictureNetConfig, rank: int, *, generator: torch.Generator) -> dict[str, Tensor]:
    """Return an adapter that changes nothing yet."""
    found: dict[str, Tensor] = {}
    for site, (outputs, inputs) in _sites(config):
        found[site + A] = fresh_a(rank, inputs, generator)
        found[site + B] = torch.zeros(outputs, rank)
        found[site + BIAS] = torch.zeros(outputs)
    return found


def adapted(net: PictureNet, adapter: Weights) -> Mapping[str, Tensor]:
    """Return the net's weights with W + B A and b + its update; differentiable in the adapter.

    Raises:
        BundleError: if the adapter does not fit the net.
    """
    weights = dict(net.weights)
    for site, (outputs, inputs) in _sites(net.config):
        try:
            a_rI, b_Or, bias_O = (adapter[site + part] for part in (A, B, BIAS))
        except KeyError as error:
            raise BundleError(f"The adapter does not fit this net: it has no {error.args[0]}.") from None
        if (len(b_Or), a_rI.shape[1], len(bias_O)) != (outputs, inputs, outputs) or b_Or.shape[1] != len(a_rI):
            raise BundleError(f"The adapter does not fit this net at {site!r}, whose weight is {outputs} x {inputs}.")
        update_OI11 = (b_Or @ a_rI)[:, :, None, None]
        weights[f"{site}.weight"] = (weights[f"{site}.weight"] + update_OI11).contiguous(
            memory_format=torch.channels_last
        )
        weights[f"{site}.bias"] = weights[f"{site}.bias"] + bias_O
    return weights
