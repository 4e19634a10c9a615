"""Where in a picture lies what speaks for an answer: scores that are linear in pooled features, taken apart by place.

A mean is a sum over places, so a linear score of it is too (class activation maps: Zhou et al. 2016,
https://arxiv.org/abs/1512.04150, section 2). So is a standard deviation (each place adds its squared distance from the
mean, divided by the deviation and by the places), the root of a share (each place its part of the share, divided by the
root) and a maximum (it lies in one place). Blocks are scaled to length one, which only divides. So the evidence of all
places sums to the score but for its bias: nothing is approximated.

Dimension key:   N: pictures   S: side   H, W: height and width of a map   G: side of the grid   D: width of a block
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sartor.nn.picture_features import (
    ANCHORED,
    COLOURS,
    PLACES,
    POOLED,
    Kind,
    Pixels,
    anchored,
    colour_shares,
    pool,
)
from sartor.nn.picture_net import PictureNet

GRID = 28
"""Places a side that evidence is told of."""
_TINY = 1e-12


@torch.inference_mode()
def evidence(net: PictureNet, pictures_NSSC: Pixels, columns: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """Return (N, G, G) what each place adds to the score ``sum over blocks of unit(block) . column``.

    Args:
        net: frozen.
        pictures_NSSC: squeezed (:func:`sartor.nn.picture_features.squeezed`).
        columns: block -> (N, D), one direction for each picture.
    """
    seen = torch.from_numpy(pictures_NSSC).to(net.device)
    maps = net.maps(seen)
    above = net.maps_above(maps) if any(name not in (*POOLED, COLOURS) for name in columns) else maps
    total = np.zeros((len(pictures_NSSC), GRID, GRID))
    for name, column_ND in columns.items():
        if name == COLOURS:
            parts = [_of_colours(seen, column_ND)]
        elif name in POOLED:
            parts = _of_block(maps, name, column_ND)
        else:
            parts = _of_block(above, next(one for one in ANCHORED if anchored(one) == name), column_ND)
        for part_NHW in parts:
            total += spread_out(part_NHW.double().cpu().numpy())
    return total


def _of_block(maps: Sequence[Tensor], name: str, column_ND: Tensor) -> list[Tensor]:
    """Return (N, H, W) for each way in which the block is pooled."""
    at, kinds = POOLED[name]
    pooled = [pool(maps[at], kind) for kind in kinds]
    length_N = torch.cat(pooled, dim=1).norm(dim=1).clamp_min(_TINY)
    columns = torch.split(column_ND.to(maps[at].dtype) / length_N[:, None], [part.shape[1] for part in pooled], dim=1)
    parts = zip(kinds, pooled, columns, strict=True)
    return [_of_kind(maps[at], kind, found, column) for kind, found, column in parts]


def _of_kind(map_NCHW: Tensor, kind: Kind, pooled: Tensor, column: Tensor) -> Tensor:
    n, c, height, width = map_NCHW.shape
    places = height * width
    match kind:
        case "mean":
            return torch.einsum("nchw,nc->nhw", map_NCHW, column) / places
        case "spread":
            away = (map_NCHW - map_NCHW.mean(dim=(2, 3), keepdim=True)) ** 2
            return torch.einsum("nchw,nc->nhw", away, column / pooled.clamp_min(_TINY)) / places
        case "peak":
            found = torch.zeros(n, places, dtype=map_NCHW.dtype, device=map_NCHW.device)
            found.scatter_add_(1, map_NCHW.flatten(2).argmax(dim=2), pooled * column)
            return found.unflatten(1, (height, width))
        case "places":
            rows, across = _windows(height, map_NCHW), _windows(width, map_NCHW)
            weights = column.unflatten(1, (c, PLACES, PLACES))
            return torch.einsum("nchw,ncij,ih,jw->nhw", map_NCHW, weights, rows, across)


def _windows(size: int, like: Tensor) -> Tensor:
    """Return (3, size) how much each place counts in each third, as adaptive pooling has it; rows sum to one."""
    found = torch.zeros(PLACES, size, dtype=like.dtype, device=like.device)
    for at in range(PLACES):
        start, end = at * size // PLACES, -((-(at + 1) * size) // PLACES)
        found[at, start:end] = 1 / (end - start)
    return found


def _of_colours(pictures_NSSC: Tensor, column_ND: Tensor) -> Tensor:
    shares_NPD, (height, width) = colour_shares(pictures_NSSC)
    roots_ND = shares_NPD.mean(dim=1).sqrt()
    length_N = roots_ND.norm(dim=1).clamp_min(_TINY)
    weights_ND = column_ND.to(roots_ND.dtype) / length_N[:, None] / roots_ND.clamp_min(_TINY)
    return (torch.einsum("npd,nd->np", shares_NPD, weights_ND) / shares_NPD.shape[1]).unflatten(1, (height, width))


def spread_out(masses_NHW: NDArray[np.float64], side: int = GRID) -> NDArray[np.float64]:
    """Return (N, side, side) the same masses on another grid: each is shared by overlap, so the sum stays."""
    rows, across = (_overlap(size, side) for size in masses_NHW.shape[1:])
    return np.einsum("gh,nhw,kw->ngk", rows, masses_NHW, across)


def _overlap(size: int, side: int) -> NDArray[np.float64]:
    """Return (side, size) which share of each of ``size`` cells lies in each of ``side`` cells."""
    low, high = np.arange(side)[:, None] * size / side, (np.arange(side)[:, None] + 1) * size / side
    cells = np.arange(size)[None, :]
    return np.clip(np.minimum(high, cells + 1) - np.maximum(low, cells), 0, None)
