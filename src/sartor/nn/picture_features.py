"""Pictures as blocks of features: pooled stages of a frozen net, and a few statistics of the pixels.

The head's channels know things (what ImageNet taught), the stages before it know texture and form, the pixels know
colour and layout; which of them a task needs is not known before its rows are seen, so all are kept apart here and
weighed where the head is solved (:mod:`sartor.nn.solve`). Each picture is seen in several views, and what a block says
of them is averaged.

Dimension key:   N: pictures   V: views   S: side of a view   H, W: height and width   D: width of a block   C: channels
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sartor.nn.features import unit
from sartor.nn.picture_net import PictureNet

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]
Pixels: TypeAlias = NDArray[np.uint8]
"""(H, W, 3), RGB."""
View: TypeAlias = Literal["whole", "centre", "mirrored"]

VIEWS: tuple[View, ...] = ("whole", "centre")
"""Of each picture that is encoded."""
CENTRE = 0.75
"""Share of height and width that the view of the centre shows."""
PICTURES_AT_ONCE = 8
THUMBNAIL = 8
"""Pixels a side."""
COLOUR_LEVELS = 4
"""Of red, green and blue each, in the histogram."""

_COLOUR_POOL = 4
"""Pixels a side that are one for the histogram: a quarter of a view's time went into it otherwise."""

BLOCKS = ("things", "peaks", "forms", "textures", "layout", "colours")
"""In the order in which :func:`blocks_of` makes them."""
FORMS, TEXTURES = 4, 2
"""Stages, counted from 0, that the blocks of these names are pooled from: strides 16 and 8."""


@dataclass(frozen=True, slots=True)
class PictureFeatures:
    """Encoded pictures, one row each."""

    blocks: Mapping[str, Floats]
    """name -> (N, D); each (D,) vector has length one, or is zero."""

    def __len__(self) -> int:
        return len(next(iter(self.blocks.values())))

    def take(self, rows: Ints) -> "PictureFeatures":
        """Return the features of these rows, in this order."""
        return PictureFeatures({name: block[rows] for name, block in self.blocks.items()})


def widths(net: PictureNet) -> Mapping[str, int]:
    """Return the width of each block."""
    channels = net.config.channels
    wide = (channels[-1], channels[-1], 2 * channels[FORMS], 2 * channels[TEXTURES], THUMBNAIL**2, COLOUR_LEVELS**3)
    return dict(zip(BLOCKS, wide, strict=True))


def nothing(net: PictureNet, rows: int) -> PictureFeatures:
    """Return features of ``rows`` pictures that are not there: all zeros."""
    return PictureFeatures({name: np.zeros((rows, wide), dtype=np.float32) for name, wide in widths(net).items()})


def encode_pictures(
    net: PictureNet,
    pictures: Iterable[Pixels],
    side: int,
    *,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> PictureFeatures:
    """Return the features of pictures of any size, read one after the other.

    Args:
        net: frozen.
        pictures: (H, W, 3) each.
        side: of the views, in pixels.
        on_rows: called after each batch with the number of pictures that it held.
    """
    found: list[tuple[Floats, ...]] = []
    batch: list[Pixels] = []

    def flush() -> None:
        if batch:
            found.append(_encoded(net, np.stack(batch)))
            on_rows(len(batch))
            batch.clear()

    for picture in pictures:
        batch.append(views(picture, side))
        if len(batch) == PICTURES_AT_ONCE:
            flush()
    flush()
    if not found:
        return nothing(net, 0)
    columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return PictureFeatures(dict(zip(BLOCKS, columns, strict=True)))


def views(picture: Pixels, side: int) -> Pixels:
    """Return (V, S, S, 3) the views of a picture; what is not square is squeezed."""
    image = Image.fromarray(picture)
    return np.stack([np.asarray(_view(image, view, side)) for view in VIEWS])


def _view(image: Image.Image, view: View, side: int) -> Image.Image:
    width, height = image.size
    box = None
    if view == "centre":
        across, down = (size * (1 - CENTRE) / 2 for size in (width, height))
        box = (across, down, width - across, height - down)
    shown = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if view == "mirrored" else shown


@torch.inference_mode()
def _encoded(net: PictureNet, views_NVSSC: Pixels) -> tuple[Floats, ...]:
    n, v = views_NVSSC.shape[:2]
    seen = torch.from_numpy(views_NVSSC.reshape(n * v, *views_NVSSC.shape[2:])).to(net.device)
    every = (block.unflatten(0, (n, v)).mean(dim=1).cpu().numpy() for block in blocks_of(net, seen))
    return tuple(unit(block) for block in every)


def blocks_of(net: PictureNet, views_BSSC: Tensor) -> tuple[Tensor, ...]:
    """Return the blocks (B, D) of single views, in the order of :data:`BLOCKS`."""
    maps = net.maps(views_BSSC)
    things_BCHW = maps[-1]
    return (
        things_BCHW.mean(dim=(2, 3)),
        things_BCHW.amax(dim=(2, 3)),
        _moments(maps[FORMS]),
        _moments(maps[TEXTURES]),
        _layout(views_BSSC),
        _colours(views_BSSC),
    )


def _moments(map_BCHW: Tensor) -> Tensor:
    """Return (B, 2 C) the mean and the spread of each channel."""
    spread_BC, mean_BC = torch.std_mean(map_BCHW, dim=(2, 3), correction=0)
    return torch.cat([mean_BC, spread_BC], dim=1)


def _layout(views_BSSC: Tensor) -> Tensor:
    """Return (B, 64) a grey thumbnail, its mean taken off."""
    grey_BHW = views_BSSC.float().mean(dim=3) / 255
    small_BD = functional.adaptive_avg_pool2d(grey_BHW[:, None], THUMBNAIL).flatten(1)
    return small_BD - small_BD.mean(dim=1, keepdim=True)


def _colours(views_BSSC: Tensor) -> Tensor:
    """Return (B, 64) the root of the share of pixels near each of 64 colours; one counts for its neighbours too.

    Roots: distances between histograms are then those of Hellinger, in which rare colours count.
    """
    small_BCHW = functional.avg_pool2d(views_BSSC.permute(0, 3, 1, 2).float(), _COLOUR_POOL, ceil_mode=True)
    level_BCP = small_BCHW.flatten(2) / 255 * (COLOUR_LEVELS - 1)
    steps_L = torch.arange(COLOUR_LEVELS, device=level_BCP.device)
    near_BPCL = (1 - (level_BCP.transpose(1, 2)[..., None] - steps_L).abs()).clamp_min(0)
    red_BPL, green_BPL, blue_BPL = near_BPCL.unbind(dim=2)
    pairs_BPL = (red_BPL[..., None] * green_BPL[..., None, :]).flatten(2)
    return (pairs_BPL.transpose(1, 2) @ blue_BPL / pairs_BPL.shape[1]).flatten(1).sqrt()
