"""How unusual a picture is beside good ones: distances of its patches in a frozen net, by closed-form statistics.

As PaDiM (Defard et al. 2020, https://arxiv.org/abs/2011.08785) we take the feature maps of early and middle stages and
the Mahalanobis distance of each patch to what good pictures have there; as PatchCore (Roth et al. 2021,
https://arxiv.org/abs/2106.08265, section 3.1) patches are averaged with their neighbours. Two things differ. Each stage
has a Gaussian of its own, and distances are added, so that five pictures are enough for its covariance. And no patch is
kept: what is stored are means over all good pictures and one whitening matrix a stage.

Whether a place has a mean of its own (parts that lie the same way in every picture) or all places share one (surfaces),
and how far the covariance is shrunk, is what makes pictures that were left out most likely.

A picture's score is the larger of two summaries of its map (its worst tenth, the whole), each in standard deviations of
good pictures that were left out; the threshold is the rank among these that keeps the false alarms (split conformal
prediction: Vovk et al. 2005, cross-fitted as Barber et al. 2021, https://doi.org/10.1214/20-AOS1965). Stages and
summaries were chosen by drawn surfaces with drawn defects.

Dimension key:   N: pictures   C: channels   H, W: height and width of a map   P: places   D: width   S: summaries
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import scipy.linalg
import scipy.special
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sartor.nn.features import unit
from sartor.nn.picture_net import PictureNet

Halves: TypeAlias = NDArray[np.float16]
Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Pixels: TypeAlias = NDArray[np.uint8]
"""(H, W, 3), RGB."""

STAGES: Mapping[str, int] = MappingProxyType({"fine": 2, "middle": 4, "coarse": 5})
"""Name -> stage of the net, counted from 0: strides 8, 16, 32."""
SUMMARIES = ("tenth", "whole")
FALSE_ALARMS = 0.05
"""Share of good pictures that may be called unusual."""
LEAST = 3
"""Good pictures."""
SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Of a covariance towards its diagonal."""
PICTURES_AT_ONCE = 8
_WORST, _TENTH = 0.01, 0.1
"""Shares of places."""
_FOLDS = 10
_MOST_CHOSEN_BY = 60
"""Pictures that shrinkage is chosen by."""
_TINY = 1e-6
"""Of the mean variance: the least variance of a channel, for some channels never fire."""


# --- features ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PictureMaps:
    """Encoded pictures, one row each."""

    maps: Mapping[str, Halves]
    """Name of :data:`STAGES` -> (N, C, H, W), averaged over the 3 by 3 places around."""
    pooled: NDArray[np.float32]
    """(N, D) unit vectors of the net's last layer; for the controls."""
    pixels: NDArray[np.float32]
    """(N, 10) of colours and edges; for the controls."""

    def __len__(self) -> int:
        return len(self.pooled)

    def take(self, rows: Ints) -> "PictureMaps":
        """Return the features of these rows, in this order."""
        maps = {name: found[rows] for name, found in self.maps.items()}
        return PictureMaps(maps, self.pooled[rows], self.pixels[rows])


def encode_maps(
    net: PictureNet,
    pictures: Iterable[Pixels],
    side: int,
    *,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> PictureMaps:
    """Return the features of pictures of any size, read one after the other; what is not square is squeezed.

    Args:
        net: frozen.
        pictures: (H, W, 3) each.
        side: that they are seen at, in pixels.
        on_rows: called after each batch with the number of pictures that it held.
    """
    parts: list[tuple[NDArray[np.floating], ...]] = []
    batch: list[Pixels] = []

    def flush() -> None:
        if batch:
            parts.append(_encoded(net, np.stack(batch)))
            on_rows(len(batch))
            batch.clear()

    for picture in pictures:
        batch.append(np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)))
        if len(batch) == PICTURES_AT_ONCE:
            flush()
    flush()
    if not parts:
        parts.append(tuple(part[:0] for part in _encoded(net, np.zeros((1, side, side, 3), dtype=np.uint8))))
    *maps, pooled, pixels = (np.concatenate(column) for column in zip(*parts, strict=True))
    return PictureMaps(dict(zip(STAGES, maps, strict=True)), pooled, pixels)


@torch.inference_mode()
def _encoded(net: PictureNet, pictures_NSSC: Pixels) -> tuple[NDArray[np.floating], ...]:
    seen = torch.from_numpy(pictures_NSSC).to(net.device)
    every = net.maps(seen)
    # float16 ends at 65,504, far above what a folded net's stages hold
    maps = (_around(every[stage]).half().cpu().numpy() for stage in STAGES.values())
    pooled = unit(every[-1].mean(dim=(2, 3)).cpu().numpy())
    return (*maps, pooled, _pixel_statistics(pictures_NSSC))


def _around(map_NCHW: Tensor) -> Tensor:
    """Return each place as the mean of the 3 by 3 around it."""
    return functional.avg_pool2d(functional.pad(map_NCHW, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _pixel_statistics(pictures_NSSC: Pixels) -> NDArray[np.float32]:
    """Return (N, 10): mean and spread of each colour, darkest and brightest hundredth, mean step across and down."""
    colours = pictures_NSSC.reshape(len(pictures_NSSC), -1, 3).astype(np.float32) / 255
    grey = pictures_NSSC.astype(np.float32).mean(axis=3) / 255
    ends = np.quantile(grey.reshape(len(grey), -1), [0.01, 0.99], axis=1).T
    steps = [np.abs(np.diff(grey, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)]
    return np.concatenate([colours.mean(1), colours.std(1), ends, np.stack(steps, 1)], axis=1).astype(np.float32)


# --- statistics of a stage ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gaussian:
    """What good pictures have at the places of one stage."""

    mean: NDArray[np.float32]
    """(C, P), or (C, 1) where all places share one."""
    whiten: NDArray[np.float32]
    """(C, C) lower triangular: rows of ``whiten @ (x - mean)`` have variance one."""
    scale: float
    """Mean distance of places in good pictures that were left out; distances are in it."""

    def distances(self, map_NCHW: Halves) -> NDArray[np.float32]:
        """Return (N, H, W) squared distances, the mean over channels, in ``scale``."""
        n, _, *size = map_NCHW.shape
        found = np.empty((n, *size), dtype=np.float32)
        for at, picture_CHW in enumerate(map_NCHW):  # one at a time: all of them in float32 would fill the memory
            flat_CP = picture_CHW.reshape(len(picture_CHW), -1).astype(np.float32)
            white_CP = self.whiten @ (flat_CP - self.mean)
            found[at] = (white_CP**2).mean(axis=0).reshape(size) / self.scale
        return found


@dataclass(frozen=True, slots=True)
class _Moments:
    """Sums over pictures."""

    pictures: int
    first_CP: Floats
    second_CC: Floats
    """Over all places."""

    def without(self, other: "_Moments") -> "_Moments":
        return _Moments(
            self.pictures - other.pictures, self.first_CP - other.first_CP, self.second_CC - other.second_CC
        )


def _moments(map_NCHW: Halves) -> _Moments:
    n, c = map_NCHW.shape[:2]
    first, second = np.zeros((c, math.prod(map_NCHW.shape[2:]))), np.zeros((c, c))
    for picture_CHW in map_NCHW:  # one at a time: all of them in float64 would fill the memory
        flat_CP = picture_CHW.reshape(c, -1).astype(np.float64)
        first += flat_CP
        second += flat_CP @ flat_CP.T
    return _Moments(n, first, second)


def _fit(found: _Moments, *, placed: bool, shrinkage: float) -> tuple[Floats, Floats, float]:
    """Return mean (C, P or 1), whitening (C, C) and the log-determinant of the covariance."""
    n, places = found.pictures, found.first_CP.shape[1]
    if placed:
        mean = found.first_CP / n
        # what a mean of n takes away is given back
        covariance = (found.second_CC - found.first_CP @ found.first_CP.T / n) / (max(n - 1, 1) * places)
    else:
        mean = found.first_CP.sum(axis=1, keepdims=True) / (n * places)
        covariance = found.second_CC / (n * places) - mean @ mean.T
    own = np.maximum(np.diagonal(covariance), 0)
    own = np.maximum(own, _TINY * own.mean() + 1e-12)
    shrunk = (1 - shrinkage) * covariance
    np.fill_diagonal(shrunk, own)
    lower = np.linalg.cholesky(shrunk + 1e-9 * own.mean() * np.eye(len(own)))
    whiten = scipy.linalg.solve_triangular(lower, np.eye(len(own)), lower=True)
    return mean, whiten, 2 * float(np.log(np.diagonal(lower)).sum())


def _gaussian(mean: Floats, whiten: Floats, scale: float = 1.0) -> Gaussian:
    return Gaussian(mean.astype(np.float32), whiten.astype(np.float32), scale)


def _chosen(parts: Sequence[_Moments], held: Sequence[Halves]) -> tuple[bool, float]:
    """Return whether places have means of their own and the shrinkage: what makes held-out pictures most likely."""
    whole = _together(parts)
    ways = [(placed, shrinkage) for placed in (False, True) for shrinkage in SHRINKAGES]
    likely = np.zeros(len(ways))
    for part, pictures in zip(parts, held, strict=True):
        others = whole.without(part)
        for at, (placed, shrinkage) in enumerate(ways):
            if len(pictures) and not (placed and others.pictures < 2):
                mean, whiten, volume = _fit(others, placed=placed, shrinkage=shrinkage)
                likely[at] -= (
                    len(pictures) * volume
                    + len(mean) * _gaussian(mean, whiten).distances(pictures).mean(axis=(1, 2)).sum()
                )
            else:
                likely[at] -= np.inf if len(pictures) else 0
    return ways[int(likely.argmax())]


def _together(parts: Sequence[_Moments]) -> _Moments:
    return _Moments(
        sum(part.pictures for part in parts),
        np.sum([part.first_CP for part in parts], axis=0),
        np.sum([part.second_CC for part in parts], axis=0),
    )


# --- from good pictures to a model -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Learned:
    """All that is kept of good pictures."""

    stages: Mapping[str, Gaussian]
    middle: Floats
    """(S,) mean of each summary's logarithm in good pictures that were left out."""
    spread: Floats
    """(S,) standard deviation."""
    threshold: float
    limit: tuple[float, float]
    """Of the map, what is usual at a place, and what the worst places of good pictures come to."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model sees in N pictures."""

    map_NHW: NDArray[np.float32]
    """Distances, the mean over stages; 1 is usual."""
    logs_NS: Floats
    """Logarithms of the summaries."""


def learn(features: PictureMaps, groups: Ints) -> Learned:
    """Return what good pictures have in common; their order does not matter.

    Args:
        features: of N pictures.
        groups: (N,) pictures of one group look the same: they are left out together.

    Raises:
        ValueError: of fewer pictures than :data:`LEAST`.
    """
    if len(features) < LEAST:
        raise ValueError(f"{len(features)} pictures are too few, {LEAST} is the least")
    order = _canonical(features)  # by it rows are looked up, not copied: they may fill half of the memory
    # where nearly all look the same, they are alike by nature, and looks say nothing
    folds = fold_rows(groups[order] if len(np.unique(groups)) >= LEAST else np.arange(len(order)))
    stages: dict[str, Gaussian] = {}
    distances: dict[str, NDArray[np.float32]] = {}
    for name, maps in features.maps.items():
        parts = [_moments(maps[order[rows]]) for rows in folds]
        placed, shrinkage = _chosen(parts, [maps[order[_few(rows, len(features))]] for rows in folds])
        whole = _together(parts)
        found_NHW = np.empty((len(features), *maps.shape[2:]), dtype=np.float32)
        for part, rows in zip(parts, folds, strict=True):
            mean, whiten, _ = _fit(whole.without(part), placed=placed, shrinkage=shrinkage)
            found_NHW[rows] = _gaussian(mean, whiten).distances(maps[order[rows]])
        mean, whiten, _ = _fit(whole, placed=placed, shrinkage=shrinkage)
        stages[name] = _gaussian(mean, whiten, max(float(found_NHW.mean()), 1e-12))
        distances[name] = found_NHW / stages[name].scale
    seen = _summed(distances)
    middle, spread = seen.logs_NS.mean(axis=0), _spread(seen.logs_NS)
    threshold = threshold_of(_scores(seen.logs_NS, middle, spread))
    worst_N = _largest(seen.map_NHW, _WORST)
    limit = (max(float(np.median(seen.map_NHW)), 1e-12), max(float(np.quantile(worst_N, 1 - FALSE_ALARMS)), 1e-12))
    return Learned(stages, middle, spread, threshold, limit)


def look(learned: Learned, features: PictureMaps) -> Seen:
    """Return what a model sees in pictures."""
    return _summed({name: gaussian.distances(features.maps[name]) for name, gaussian in learned.stages.items()})


def score(learned: Learned, seen: Seen) -> Floats:
    """Return (N,) scores, in standard deviations of good pictures."""
    return _scores(seen.logs_NS, learned.middle, learned.spread)


def threshold_of(scores: Floats, wanted: float = FALSE_ALARMS) -> float:
    """Return the score that a new good picture exceeds with a chance of at most ``wanted``, if that can be told.

    Of n scores of pictures that were left out, the next good one is as likely as they to be the largest, the second
    largest, and so on: the (1 - wanted)(n + 1)-th is the threshold. Fewer than 1 / wanted - 1 cannot tell: the largest
    of them is exceeded with a chance of 1 / (n + 1). The bound of a normal distribution (Student's t, for one more
    draw) is taken then where it is higher, and nothing more is promised.
    """
    n = len(scores)
    rank = math.ceil((n + 1) * (1 - wanted) - 1e-9)
    if rank <= n:
        return float(np.sort(scores)[rank - 1])
    bound = scores.mean() + scipy.special.stdtrit(n - 1, 1 - wanted) * scores.std(ddof=1) * math.sqrt(1 + 1 / n)
    return float(max(bound, scores.max()))


def enough(wanted: float = FALSE_ALARMS) -> int:
    """Return how many good pictures can vouch for a share of false alarms.

    >>> enough()
    19
    """
    return math.ceil(1 / wanted - 1 - 1e-9)


def promised(n: int, wanted: float = FALSE_ALARMS) -> float:
    """Return the least share of false alarms that n good pictures can vouch for, ``wanted`` at best.

    >>> promised(19), promised(4)
    (0.05, 0.2)
    """
    return max(wanted, 1 / (n + 1))


def fold_rows(groups: Ints) -> list[Ints]:
    """Return which rows are left out together: as many folds as there are groups, ten at most."""
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first, kind="stable"), kind="stable")  # groups as they come
    fold = order[member] % min(_FOLDS, len(first))
    return [np.flatnonzero(fold == at) for at in range(min(_FOLDS, len(first)))]


def _canonical(features: PictureMaps) -> Ints:
    """Return an order that the rows alone tell: sums of floats and folds depend on it."""
    keys = [(row.tobytes(), at) for at, row in enumerate(features.pooled)]
    return np.array([at for _, at in sorted(keys)], dtype=np.int64)


def _few(rows: Ints, n: int) -> Ints:
    """Return some of the rows of a fold, so that of all n few are looked at."""
    return rows[: max(1, math.ceil(len(rows) * min(1.0, _MOST_CHOSEN_BY / n)))]


def _summed(scaled: Mapping[str, NDArray[np.float32]]) -> Seen:
    """Return the mean over stages, on the finest grid, and its summaries."""
    finest = max(found_NHW.shape[1:] for found_NHW in scaled.values())
    map_NHW = np.stack([enlarged(found_NHW, finest) for found_NHW in scaled.values()]).mean(axis=0)
    summaries = np.stack([_largest(map_NHW, _TENTH), _largest(map_NHW, 1.0)], axis=1)
    return Seen(map_NHW, np.log(summaries + 1e-12))


def _largest(map_NHW: NDArray[np.float32], share: float) -> Floats:
    """Return (N,) the mean of a share of the places, the largest."""
    flat_NP = -np.sort(-map_NHW.reshape(len(map_NHW), math.prod(map_NHW.shape[1:])), axis=1)
    return flat_NP[:, : max(1, round(share * flat_NP.shape[1]))].mean(axis=1, dtype=np.float64)


def enlarged(map_NHW: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return maps on a finer grid."""
    if map_NHW.shape[1:] == size:
        return map_NHW
    grown = functional.interpolate(torch.from_numpy(map_NHW)[:, None], tuple(size), mode="bilinear")
    return grown[:, 0].numpy()


_USUAL_SPREAD, _USUAL_ROWS = 0.15, 2
"""Of a summary's logarithm, and how many pictures it counts for: two or three pictures can be alike by chance."""


def _spread(logs_NS: Floats) -> Floats:
    n = len(logs_NS)
    squares = ((logs_NS - logs_NS.mean(axis=0)) ** 2).sum(axis=0)
    return np.sqrt((squares + _USUAL_ROWS * _USUAL_SPREAD**2) / (n - 1 + _USUAL_ROWS))


def _scores(logs_NS: Floats, middle: Floats, spread: Floats) -> Floats:
    return ((logs_NS - middle) / spread).max(axis=1)


# --- as weights --------------------------------------------------------------------------------------------


def to_weights(learned: Learned) -> dict[str, Tensor]:
    """Return what is stored; a matrix is packed, for half of it is zero."""
    found: dict[str, Tensor] = {}
    for name, gaussian in learned.stages.items():
        lower = np.tril_indices(len(gaussian.whiten))
        found[f"{name}.mean"] = torch.from_numpy(gaussian.mean)
        found[f"{name}.whiten"] = torch.from_numpy(gaussian.whiten[lower])
        found[f"{name}.scale"] = torch.tensor(gaussian.scale, dtype=torch.float32)
    summaries = np.stack([learned.middle, learned.spread]).astype(np.float32)
    return found | {
        "summaries": torch.from_numpy(summaries),
        "threshold": torch.tensor(learned.threshold, dtype=torch.float32),
        "limit": torch.tensor(learned.limit, dtype=torch.float32),
    }


def from_weights(weights: Mapping[str, Tensor]) -> Learned:
    """Return what :func:`to_weights` wrote."""
    stages: dict[str, Gaussian] = {}
    for name in STAGES:
        mean = weights[f"{name}.mean"].numpy()
        whiten = np.zeros((len(mean), len(mean)), dtype=np.float32)
        whiten[np.tril_indices(len(mean))] = weights[f"{name}.whiten"].numpy()
        stages[name] = Gaussian(mean, whiten, float(weights[f"{name}.scale"]))
    middle, spread = weights["summaries"].double().numpy()
    usual, limit = weights["limit"].tolist()
    return Learned(stages, middle, spread, float(weights["threshold"]), (usual, limit))


def is_placed(weights: Mapping[str, Tensor], stage: str) -> bool:
    """Tell whether each place of a stage has a mean of its own."""
    return weights[f"{stage}.mean"].shape[1] > 1
