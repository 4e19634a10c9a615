"""How unusual a picture is beside good ones: distances of its patches in a frozen net, by closed-form statistics.

As PaDiM (Defard et al. 2020, https://arxiv.org/abs/2011.08785) we take the feature maps of early and middle stages and
the Mahalanobis distance of each patch to what good pictures have there; as PatchCore (Roth et al. 2021,
https://arxiv.org/abs/2106.08265, section 3.1) patches are averaged with their neighbours. Two things differ. Each stage
has a Gaussian of its own, and distances are added, so that five pictures are enough for its covariance. And no patch is
kept: what is stored are means over all good pictures and one whitening matrix a stage.

Whether a place has a mean of its own (parts that lie the same way in every picture) or all places share one (surfaces),
and how far the covariance is shrunk, is what makes pictures that were left out most likely.

A picture's score is the largest of a few summaries of its map (its worst spot, its worst tenth, the whole, the shift of
the whole), each in standard deviations of good pictures that were left out; the threshold is the rank among these that
keeps the false alarms (split conformal prediction: Vovk et al. 2005, cross-fitted as Barber et al. 2021,
https://doi.org/10.1214/20-AOS1965).

Dimension key:   N: pictures   C: channels   H, W: height and width of a map   P: places   D: width   S: summaries
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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

STAGES: Mapping[str, tuple[int, int]] = {"fine": (1, 2), "middle": (2, 1), "coarse": (3, 1)}
"""Name -> stage of the net, counted from 0, and how many of its places a side are averaged to one: strides 8, 8, 16."""
SUMMARIES = ("spot", "tenth", "whole", "shift")
FALSE_ALARMS = 0.05
"""Share of good pictures that may be called unusual."""
LEAST = 3
"""Good pictures."""
SHRINKAGES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Of a covariance towards its diagonal."""
PICTURES_AT_ONCE = 8
_SPOT, _TENTH = 0.01, 0.1
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
    """Name of :data:`STAGES` -> (N, C, H, W), averaged over 3 by 3 places."""
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
    maps = (_around(every[stage], together).half().cpu().numpy() for stage, together in STAGES.values())
    pooled = unit(every[-1].mean(dim=(2, 3)).cpu().numpy())
    return (*maps, pooled, _pixel_statistics(pictures_NSSC))


def _around(map_NCHW: Tensor, together: int) -> Tensor:
    """Return each place as the mean of the 3 by 3 around it, ``together`` places a side made one before."""
    small = functional.avg_pool2d(map_NCHW, together, ceil_mode=True) if together > 1 else map_NCHW
    return functional.avg_pool2d(functional.pad(small, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


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

    def whitened(self, map_NCHW: Halves) -> NDArray[np.float32]:
        """Return (N, C, P)."""
        flat_NCP = map_NCHW.reshape(*map_NCHW.shape[:2], -1).astype(np.float32)
        return np.matmul(self.whiten, flat_NCP - self.mean)


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


def _distances(mean: Floats, whiten: Floats, map_NCHW: Halves) -> NDArray[np.float32]:
    """Return (N, P) squared distances, a channel."""
    gaussian = Gaussian(mean.astype(np.float32), whiten.astype(np.float32), 1.0)
    return np.stack([(gaussian.whitened(one[None])[0] ** 2).mean(axis=0) for one in map_NCHW])


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
                likely[at] -= len(pictures) * volume + len(mean) * _distances(mean, whiten, pictures).mean(1).sum()
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
    shift: Mapping[str, float]
    """Of each stage: mean shift of the whole in good pictures that were left out."""
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
    order = _canonical(features)
    features = features.take(order)
    folds = fold_rows(groups[order])
    stages: dict[str, Gaussian] = {}
    distances: dict[str, NDArray[np.float32]] = {}
    shifts: dict[str, Floats] = {}
    for name, maps in features.maps.items():
        parts = [_moments(maps[rows]) for rows in folds]
        placed, shrinkage = _chosen(parts, [maps[_few(rows, len(features))] for rows in folds])
        whole = _together(parts)
        distances[name] = np.empty((len(features), whole.first_CP.shape[1]), dtype=np.float32)
        shifts[name] = np.empty(len(features))
        for part, rows in zip(parts, folds, strict=True):
            mean, whiten, _ = _fit(whole.without(part), placed=placed, shrinkage=shrinkage)
            distances[name][rows], shifts[name][rows] = _look(Gaussian(*_singles(mean, whiten), 1.0), maps[rows])
        mean, whiten, _ = _fit(whole, placed=placed, shrinkage=shrinkage)
        stages[name] = Gaussian(*_singles(mean, whiten), max(float(distances[name].mean()), 1e-12))
    means = {name: max(float(shift.mean()), 1e-12) for name, shift in shifts.items()}
    shapes = {name: maps.shape[2:] for name, maps in features.maps.items()}
    scaled = {name: found / stages[name].scale for name, found in distances.items()}
    seen = _summed(scaled, {name: shift / means[name] for name, shift in shifts.items()}, shapes)
    middle, spread = seen.logs_NS.mean(axis=0), _spread(seen.logs_NS)
    scores = _scores(seen.logs_NS, middle, spread)
    worst = np.exp(seen.logs_NS[:, SUMMARIES.index("spot")])
    limit = (float(np.median(seen.map_NHW)), float(np.quantile(worst, 1 - FALSE_ALARMS)))
    return Learned(stages, means, middle, spread, threshold_of(scores), limit)


def look(learned: Learned, features: PictureMaps) -> Seen:
    """Return what a model sees in pictures."""
    scaled: dict[str, NDArray[np.float32]] = {}
    shifts: dict[str, Floats] = {}
    for name, gaussian in learned.stages.items():
        scaled[name], shift = _look(gaussian, features.maps[name])
        shifts[name] = shift / learned.shift[name]
    return _summed(scaled, shifts, {name: features.maps[name].shape[2:] for name in learned.stages})


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


def _singles(mean: Floats, whiten: Floats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return mean.astype(np.float32), whiten.astype(np.float32)


def _look(gaussian: Gaussian, map_NCHW: Halves) -> tuple[NDArray[np.float32], Floats]:
    """Return (N, P) distances and (N,) shifts of the whole."""
    n, size = len(map_NCHW), map_NCHW.shape[2:]
    distances, shifts = np.empty((n, math.prod(size)), dtype=np.float32), np.empty(n)
    for at, one in enumerate(map_NCHW):
        white_CP = gaussian.whitened(one[None])[0]
        distances[at] = (white_CP**2).mean(axis=0) / gaussian.scale
        shifts[at] = (white_CP.mean(axis=1, dtype=np.float64) ** 2).mean()
    return distances, shifts


def _summed(
    scaled: Mapping[str, NDArray[np.float32]], shifts: Mapping[str, Floats], shapes: Mapping[str, tuple[int, ...]]
) -> Seen:
    """Return the mean over stages, on the finest grid, and its summaries."""
    finest = max(shapes.values())
    n = len(next(iter(scaled.values())))
    map_NHW = np.zeros((n, *finest), dtype=np.float32)
    for name, found_NP in scaled.items():
        map_NHW += enlarged(found_NP.reshape(n, *shapes[name]), finest)
    map_NHW /= len(scaled)
    flat_NP = -np.sort(-map_NHW.reshape(n, -1), axis=1)
    places = flat_NP.shape[1]
    shift = sum(shifts.values()) / len(shifts) if n else np.zeros(0)
    summaries = [flat_NP[:, : max(1, round(share * places))].mean(axis=1) for share in (_SPOT, _TENTH, 1.0)]
    return Seen(map_NHW, np.log(np.stack([*summaries, shift], axis=1).astype(np.float64) + 1e-12))


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
        found[f"{name}.scale"] = torch.tensor([gaussian.scale, learned.shift[name]], dtype=torch.float32)
    summaries = np.stack([learned.middle, learned.spread]).astype(np.float32)
    return found | {
        "summaries": torch.from_numpy(summaries),
        "threshold": torch.tensor(learned.threshold, dtype=torch.float32),
        "limit": torch.tensor(learned.limit, dtype=torch.float32),
    }


def from_weights(weights: Mapping[str, Tensor]) -> Learned:
    """Return what :func:`to_weights` wrote."""
    stages: dict[str, Gaussian] = {}
    shift: dict[str, float] = {}
    for name in STAGES:
        mean = weights[f"{name}.mean"].numpy()
        whiten = np.zeros((len(mean), len(mean)), dtype=np.float32)
        whiten[np.tril_indices(len(mean))] = weights[f"{name}.whiten"].numpy()
        scale, shift[name] = weights[f"{name}.scale"].tolist()
        stages[name] = Gaussian(mean, whiten, scale)
    middle, spread = weights["summaries"].double().numpy()
    usual, limit = weights["limit"].tolist()
    return Learned(stages, shift, middle, spread, float(weights["threshold"]), (usual, limit))


def is_placed(weights: Mapping[str, Tensor], stage: str) -> bool:
    """Tell whether each place of a stage has a mean of its own."""
    return weights[f"{stage}.mean"].shape[1] > 1
