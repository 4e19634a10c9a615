"""Pictures as blocks of features: pooled stages of a frozen net, and a few statistics of the pixels.

The head's channels know things (what ImageNet taught), the stages before it know form, where it is and how it is
woven, the pixels know colour; which of them a task needs is not known before its rows are seen, so all are kept apart
here and weighed where the head is solved (:mod:`sartor.nn.solve`). Which there are was chosen on drawn tasks
(LOG.md, 2026-11-25). More views of each picture (its centre, its mirror image) cost their number of times the seconds
and told no more there; nor did a grey thumbnail.

Dimension key:   N: pictures   S: side of what the net sees   H, W: height and width   D: width of a block   C: channels
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from sartor.nn.threads import one_thread

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]
Pixels: TypeAlias = NDArray[np.uint8]
"""(H, W, 3), RGB."""
PICTURES_AT_ONCE = 8
PLACES = 3
"""Parts that height and width are cut into, each, where a block tells where things are."""
COLOUR_LEVELS = 4
"""Of red, green and blue each, in the histogram."""

COLOUR_POOL = 4
"""Pixels a side that are one for the histogram: a quarter of a picture's time went into it otherwise."""

Kind: TypeAlias = Literal["mean", "spread", "peak", "places"]
"""How a channel of a map becomes numbers: its mean, its standard deviation, its maximum, or its mean in each of 3 x 3
places."""

POOLED: Mapping[str, tuple[int, tuple[Kind, ...]]] = {
    "things": (7, ("mean",)),
    "thing-peaks": (7, ("peak",)),
    "late": (6, ("mean", "spread")),
    "part-peaks": (5, ("peak",)),
    "form-peaks": (4, ("peak",)),
    "places": (4, ("places",)),
    "forms": (4, ("mean", "spread")),
    "textures": (2, ("mean", "spread")),
}
"""Block -> the map that it is pooled from, counted from 0 (7 is the head), and how."""
COLOURS = "colours"
"""The block that no net is needed for."""
BLOCKS = (*POOLED, COLOURS)
"""In the order in which :func:`blocks_of` makes them."""
ANCHORED = ("things", "thing-peaks", "late", "part-peaks", "places")
"""Blocks that are pooled from the stages of an anchor as well, where there is one (:func:`anchored`)."""


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


def anchored(name: str) -> str:
    """Return what a block is called that was pooled from the stages of an anchor."""
    return f"anchored-{name}"


def widths(net: PictureNet) -> Mapping[str, int]:
    """Return the width of each block, in the order of :func:`blocks_of`."""
    channels = net.config.channels
    sizes = {name: sum(PLACES**2 if kind == "places" else 1 for kind in kinds) for name, (_, kinds) in POOLED.items()}
    wide = {name: size * channels[POOLED[name][0]] for name, size in sizes.items()}
    above = {anchored(name): wide[name] for name in ANCHORED} if net.anchored is not None else {}
    return {**wide, COLOURS: COLOUR_LEVELS**3, **above}


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
        side: of what the net sees, in pixels.
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
        batch.append(squeezed(picture, side))
        if len(batch) == PICTURES_AT_ONCE:
            flush()
    flush()
    if not found:
        return nothing(net, 0)
    columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return PictureFeatures(dict(zip(widths(net), columns, strict=True)))


def squeezed(picture: Pixels, side: int) -> Pixels:
    """Return (S, S, 3) the whole picture; what is not square loses its proportions, not its edges."""
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR))


@torch.inference_mode()
def _encoded(net: PictureNet, pictures_NSSC: Pixels) -> tuple[Floats, ...]:
    with one_thread(len(pictures_NSSC) == 1):
        found = blocks_of(net, torch.from_numpy(pictures_NSSC).to(net.device))
    return tuple(unit(block.cpu().numpy()) for block in found)


def blocks_of(net: PictureNet, pictures_NSSC: Tensor) -> tuple[Tensor, ...]:
    """Return the blocks (N, D) of squeezed pictures, in the order of :data:`BLOCKS`; those of an anchor come last."""
    maps = net.maps(pictures_NSSC)
    found = [*(pooled(name, maps) for name in POOLED), _colours(pictures_NSSC)]
    if net.anchored is not None:
        above = net.maps_above(maps)
        found += [pooled(name, above) for name in ANCHORED]
    return tuple(found)


def pooled(name: str, maps: Sequence[Tensor]) -> Tensor:
    """Return a block (N, D) of a net's maps."""
    at, kinds = POOLED[name]
    return torch.cat([pool(maps[at], kind) for kind in kinds], dim=1)


def pool(map_NCHW: Tensor, kind: Kind) -> Tensor:
    """Return (N, C), or (N, 9 C): a channel's places, row by row, stand together."""
    match kind:
        case "mean":
            return map_NCHW.mean(dim=(2, 3))
        case "spread":
            return map_NCHW.std(dim=(2, 3), correction=0)
        case "peak":
            return map_NCHW.amax(dim=(2, 3))
        case "places":
            return functional.adaptive_avg_pool2d(map_NCHW, PLACES).flatten(1)


def _colours(pictures_NSSC: Tensor) -> Tensor:
    """Return (N, 64) the root of the share of pixels near each of 64 colours; one counts for its neighbours too.

    Roots: distances between histograms are then those of Hellinger, in which rare colours count.
    """
    small_NPC, _ = _small(pictures_NSSC)
    pairs_NPL, blue_NPL = _near(small_NPC)
    return (pairs_NPL.transpose(1, 2) @ blue_NPL / pairs_NPL.shape[1]).flatten(1).sqrt()


def colour_shares(pictures_NSSC: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Return (N, P, 64) how near each pixel is to each colour, and the height and width of the P small pixels."""
    small_NPC, size = _small(pictures_NSSC)
    pairs_NPL, blue_NPL = _near(small_NPC)
    return (pairs_NPL[..., None] * blue_NPL[..., None, :]).flatten(2), size


def _small(pictures_NSSC: Tensor) -> tuple[Tensor, tuple[int, int]]:
    small_NCHW = functional.avg_pool2d(pictures_NSSC.permute(0, 3, 1, 2).float(), COLOUR_POOL, ceil_mode=True)
    return small_NCHW.flatten(2).transpose(1, 2), (small_NCHW.shape[2], small_NCHW.shape[3])


def _near(pixels_NPC: Tensor) -> tuple[Tensor, Tensor]:
    """Return how near pixels are to each of 16 pairs of red and green, and to each of 4 blues."""
    level_NPC = pixels_NPC / 255 * (COLOUR_LEVELS - 1)
    steps_L = torch.arange(COLOUR_LEVELS, device=level_NPC.device)
    near_NPCL = (1 - (level_NPC[..., None] - steps_L).abs()).clamp_min(0)
    red_NPL, green_NPL, blue_NPL = near_NPCL.unbind(dim=2)
    return (red_NPL[..., None] * green_NPL[..., None, :]).flatten(2), blue_NPL
