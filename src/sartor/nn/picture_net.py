"""EfficientNet-Lite in plain torch, for inference: pictures to the feature maps of its stages.

EfficientNet (Tan and Le 2019, https://arxiv.org/abs/1905.11946, table 1) scales one row of stages in width and depth;
its Lite variants (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite) have ReLU6, no
squeeze-and-excitation, and the same stem and head at every size. A block (MBConv: Sandler et al. 2018,
https://arxiv.org/abs/1801.04381, figure 3) is expand 1x1 -> depthwise kxk -> project 1x1, with its input added where
shapes allow it. Batch norms are folded into the convolutions (:mod:`sartor.assets.efficientnet`).

Weights are a mapping, so that a generator can hand in others: ``stem``, ``blocks.N.{expand,depthwise,project}``,
``head``, each with ``.weight`` and ``.bias``. The classes that the net was trained on are not read here.

Dimension key:   B: pictures in a batch   C: channels   H, W: height and width
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
          (3, 1, 6, 320, 1))  # fmt: skip
"""Of Lite0: kernel, stride of the first block, expansion, channels, blocks."""
STEM, HEAD = 32, 1280
"""Channels before and behind the stages."""
ANCHORED_FROM = 4
"""The first stage, counted from 0, that an anchor changes: those below are of small fields, and two thirds of the
work."""
_MULTIPLE = 8
"""Channels are rounded to it."""


@dataclass(frozen=True, slots=True)
class Block:
    """The shape of one MBConv block."""

    kernel: int
    stride: int
    into: int
    wide: int
    """Channels between expansion and projection."""
    out: int

    @property
    def expands(self) -> bool:
        """Tell whether there is an expansion at all."""
        return self.wide != self.into

    @property
    def adds(self) -> bool:
        """Tell whether the input is added to the output."""
        return self.stride == 1 and self.into == self.out


@dataclass(frozen=True, slots=True)
class PictureNetConfig:
    """The shape of an EfficientNet-Lite."""

    width: float = 1.0
    depth: float = 1.0
    mean: float = 127.0
    """Taken off a colour, 0 to 255."""
    spread: float = 128.0
    """What is left is divided by it."""
    stages: tuple[tuple[int, int, int, int, int], ...] = STAGES
    """As :data:`STAGES`, before ``width`` and ``depth``."""
    stem: int = STEM
    head: int = HEAD

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Return all blocks, in order."""
        return tuple(block for stage in self.staged() for block in stage)

    @property
    def channels(self) -> tuple[int, ...]:
        """Return the channels behind each stage, and those of the head."""
        return (*(stage[-1].out for stage in self.staged()), self.head)

    def staged(self) -> Iterator[tuple[Block, ...]]:
        """Yield the blocks of each stage. The first and the last stage keep their number of blocks."""
        into = self.stem
        for at, (kernel, stride, expansion, channels, repeats) in enumerate(self.stages):
            out = self._scaled(channels)
            if 0 < at < len(self.stages) - 1:
                repeats = math.ceil(self.depth * repeats)
            firsts = [(into, stride)] + [(out, 1)] * (repeats - 1)
            yield tuple(Block(kernel, step, width, expansion * width, out) for width, step in firsts)
            into = out

    def _scaled(self, channels: int) -> int:
        """Return channels times width, rounded to a multiple of 8, but never down by more than a tenth."""
        wanted = channels * self.width
        rounded = max(_MULTIPLE, int(wanted + _MULTIPLE / 2) // _MULTIPLE * _MULTIPLE)
        return rounded + _MULTIPLE if rounded < 0.9 * wanted else rounded

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the name and shape of each weight."""
        yield from _convolution("stem", self.stem, 3, 3)
        for at, block in enumerate(self.blocks):
            if block.expands:
                yield from _convolution(f"blocks.{at}.expand", block.wide, block.into, 1)
            yield from _convolution(f"blocks.{at}.depthwise", block.wide, 1, block.kernel)
            yield from _convolution(f"blocks.{at}.project", block.out, block.wide, 1)
        yield from _convolution("head", self.head, self.blocks[-1].out, 1)


def _convolution(name: str, out: int, into: int, kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, into, kernel, kernel)
    yield f"{name}.bias", (out,)


@dataclass(frozen=True, slots=True)
class PictureNet:
    """A frozen net: its shape and its weights."""

    config: PictureNetConfig
    weights: Mapping[str, Tensor]
    anchored: Mapping[str, Tensor] | None = None
    """Weights of the upper stages with an anchor (:func:`sartor.nn.picture_anchor.adapted`), if there is one."""

    @property
    def device(self) -> torch.device:
        """Return where the weights lie."""
        return self.weights["head.bias"].device

    def maps(self, pictures_BHWC: Tensor) -> list[Tensor]:
        """Return the feature maps (B, C, H, W) behind each stage and behind the head, of uint8 RGB pictures."""
        return feature_maps(self.config, self.weights, prepared(self.config, pictures_BHWC))

    def maps_above(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return :meth:`maps` with those of the upper stages as the anchor has them."""
        assert self.anchored is not None
        below = maps[:ANCHORED_FROM]
        return [*below, *feature_maps_above(self.config, self.anchored, below[-1], ANCHORED_FROM)]


def load_picture_net(config: PictureNetConfig, weights: Path, device: str = "cpu") -> PictureNet:
    """Return a frozen net with the weights of a safetensors file, in float32.

    Raises:
        KeyError, ValueError: when a weight is missing or has another shape.
    """
    stored = load_file(weights, device=device)
    found: dict[str, Tensor] = {}
    for name, shape in config.shapes():
        if tuple(stored[name].shape) != shape:
            raise ValueError(f"{name} has the shape {tuple(stored[name].shape)}, wanted is {shape}")
        # channels last: on a CPU the 1x1 convolutions are then plain matrix products
        layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
        found[name] = stored[name].float().contiguous(memory_format=layout)
    return PictureNet(config, found)


def prepared(config: PictureNetConfig, pictures_BHWC: Tensor) -> Tensor:
    """Return uint8 RGB pictures (B, H, W, 3) as the (B, 3, H, W) that the net reads, channels last in memory."""
    return ((pictures_BHWC.float() - config.mean) / config.spread).permute(0, 3, 1, 2)


def feature_maps(config: PictureNetConfig, weights: Mapping[str, Tensor], prepared_BCHW: Tensor) -> list[Tensor]:
    """Return the maps (B, C, H, W) behind each stage, as blocks hand them on (signed), and behind the head (0 to 6).

    Args:
        config: the shape.
        weights: by the names of :meth:`PictureNetConfig.shapes`.
        prepared_BCHW: of :func:`prepared`; any height and width.
    """
    states = functional.relu6(_same_convolution(weights, "stem", prepared_BCHW, stride=2))
    return feature_maps_above(config, weights, states, 0)


def feature_maps_above(
    config: PictureNetConfig, weights: Mapping[str, Tensor], states_BCHW: Tensor, first: int
) -> list[Tensor]:
    """Return the maps behind the stages from ``first`` on and behind the head, as :func:`feature_maps` does.

    Args:
        config: the shape.
        weights: by the names of :meth:`PictureNetConfig.shapes`.
        states_BCHW: the map behind stage ``first - 1``; behind the stem, with ReLU6, where ``first`` is 0.
        first: counted from 0.
    """
    maps: list[Tensor] = []
    stages = list(config.staged())
    at = sum(len(stage) for stage in stages[:first])
    for stage in stages[first:]:
        for block in stage:
            states_BCHW = _block(weights, f"blocks.{at}", block, states_BCHW)
            at += 1
        maps.append(states_BCHW)
    maps.append(functional.relu6(_same_convolution(weights, "head", states_BCHW)))
    return maps


def _block(weights: Mapping[str, Tensor], name: str, block: Block, states: Tensor) -> Tensor:
    wide = states
    if block.expands:
        wide = functional.relu6(_same_convolution(weights, f"{name}.expand", wide))
    wide = _same_convolution(weights, f"{name}.depthwise", wide, stride=block.stride, groups=block.wide)
    out = _same_convolution(weights, f"{name}.project", functional.relu6(wide))
    return states + out if block.adds else out


def _same_convolution(
    weights: Mapping[str, Tensor], name: str, states: Tensor, *, stride: int = 1, groups: int = 1
) -> Tensor:
    """Convolve with as much padding as TensorFlow's ``SAME``: an odd pixel is added at the right and at the bottom."""
    weight = weights[f"{name}.weight"]
    kernel = weight.shape[-1]
    top, bottom = same_padding(states.shape[2], kernel, stride)
    left, right = same_padding(states.shape[3], kernel, stride)
    padding = (top, left)
    if (top, left) != (bottom, right):
        states, padding = functional.pad(states, (left, right, top, bottom)), (0, 0)
    return functional.conv2d(states, weight, weights[f"{name}.bias"], stride, padding, groups=groups)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how many pixels are added before and behind ``size`` so that ceil(size / stride) come out.

    >>> same_padding(224, 3, 2), same_padding(56, 5, 1)
    ((0, 1), (2, 2))
    """
    missing = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
    return missing // 2, missing - missing // 2
