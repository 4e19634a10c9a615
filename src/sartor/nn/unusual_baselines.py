"""What a model of unusual pictures must be shown beside: the usual ways to use frozen features of good pictures alone.

Dimension key:   N: good pictures   M: pictures that are asked   D: width   B: patches that are kept
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from sartor.nn.unusual import Floats, Halves, PictureMaps, enlarged

MEMORY = 1000
"""Patches."""
_MEMORY_STAGES = ("middle", "coarse")


def mean_distance(support: PictureMaps, asked: PictureMaps, seed: int) -> Floats:
    """Return (M,) the distance to the mean of the last layer's pooled unit vectors."""
    return np.linalg.norm(asked.pooled - support.pooled.mean(axis=0), axis=1).astype(np.float64)


def nearest(support: PictureMaps, asked: PictureMaps, seed: int) -> Floats:
    """Return (M,) one less the cosine to the nearest good picture."""
    return 1 - (asked.pooled @ support.pooled.T).max(axis=1).astype(np.float64)


def pixel_statistics(support: PictureMaps, asked: PictureMaps, seed: int) -> Floats:
    """Return (M,) squared standardised distances of colours and edges, summed."""
    spread = support.pixels.std(axis=0) + 1e-3
    return (((asked.pixels - support.pixels.mean(axis=0)) / spread) ** 2).sum(axis=1).astype(np.float64)


def patch_memory(support: PictureMaps, asked: PictureMaps, seed: int) -> Floats:
    """Return (M,) how far the strangest patch is from the nearest of some patches of good pictures.

    As PatchCore (Roth et al. 2021), but for a random choice of patches in the place of a core set.
    """
    random = np.random.default_rng(seed)
    n, places = len(support), int(np.prod(_shape(support.maps)))
    kept = np.sort(random.choice(n * places, min(MEMORY, n * places), replace=False))
    rows, inverse = np.unique(kept // places, return_inverse=True)
    memory_BD = np.concatenate([_patches(support, row)[kept[inverse == at] % places] for at, row in enumerate(rows)])
    bank_BD = torch.from_numpy(memory_BD)
    found = [torch.cdist(torch.from_numpy(_patches(asked, row)), bank_BD).amin(1).amax() for row in range(len(asked))]
    return np.array([float(one) for one in found])


def _shape(maps: Mapping[str, Halves]) -> tuple[int, ...]:
    return max(maps[name].shape[2:] for name in _MEMORY_STAGES)


def _patches(features: PictureMaps, row: int) -> NDArray[np.float32]:
    """Return (P, D) the patches of a picture, stages side by side."""
    size = _shape(features.maps)
    layers = [enlarged(features.maps[name][row].astype(np.float32), size) for name in _MEMORY_STAGES]
    return np.concatenate([layer.reshape(len(layer), -1) for layer in layers]).T.copy()
