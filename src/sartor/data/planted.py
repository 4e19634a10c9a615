"""Defects painted on pictures by rule: stand-ins for bad parts, where a plant has only good ones to show.

From faint to plain, small and large, painted at the picture's own resolution. What a model finds of them says that it
is awake; real defects may be of quite another kind.

Dimension key:   H, W: height and width
"""

import base64
import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import scipy.ndimage
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from sartor.data.pictures import Pixels

_Floats: TypeAlias = NDArray[np.floating[Any]]

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "scratch": "a thin line, brighter or darker",
        "spot": "a small spot, brighter or darker",
        "blur": "a blurred place",
        "colour": "a place of another tint",
    }
)
"""Name -> what is painted, for a person."""
_CONTRAST = (30.0, 110.0)
"""Of scratches and spots, in 255ths."""
_TINT = (12.0, 40.0)


def paint(kind: str, picture: Pixels, random: Generator) -> Pixels:
    """Return a picture (H, W, 3) with a defect of a kind somewhere in it."""
    painted = _PAINTERS[kind](picture.astype(np.float32), random)
    return np.clip(np.rint(painted), 0, 255).astype(np.uint8)


def as_source(picture: Pixels) -> str:
    """Return a picture as a data URI, every pixel kept; BMP, for nothing is squeezed that is read at once."""
    held = io.BytesIO()
    Image.fromarray(picture).save(held, "BMP")
    return "data:image/bmp;base64," + base64.b64encode(held.getvalue()).decode("ascii")


# --- painters ----------------------------------------------------------------------------------------------


def _scratch(picture: _Floats, random: Generator) -> _Floats:
    side = min(picture.shape[:2])
    y, x, _ = _from_centre(picture, random)
    turn = random.uniform(0, np.pi)
    along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    across = across + 0.15 * along**2 / side  # scratches are seldom straight
    length, width = side * random.uniform(0.06, 0.18), max(0.6, side * random.uniform(0.002, 0.005))
    mask = _edge(np.abs(across), width, max(0.5, width / 2)) * _edge(np.abs(along), length, side / 50)
    return _towards(picture, mask, random)


def _spot(picture: _Floats, random: Generator) -> _Floats:
    side = min(picture.shape[:2])
    y, x, _ = _from_centre(picture, random)
    return _towards(picture, _edge(np.hypot(y, x), side * random.uniform(0.01, 0.035), side / 150), random)


def _blur(picture: _Floats, random: Generator) -> _Floats:
    side = min(picture.shape[:2])
    sigma = side * random.uniform(0.006, 0.02)
    y, x, centre = _from_centre(picture, random)
    mask = _edge(np.hypot(y, x), side * random.uniform(0.06, 0.14), side / 60)
    near = tuple(slice(max(0, round(at - side / 4)), round(at + side / 4) + 1) for at in centre)
    blurred = picture.copy()
    blurred[near] = scipy.ndimage.gaussian_filter(picture[near], (sigma, sigma, 0))
    return picture + mask[..., None] * (blurred - picture)


def _colour(picture: _Floats, random: Generator) -> _Floats:
    side = min(picture.shape[:2])
    y, x, _ = _from_centre(picture, random)
    mask = _edge(np.hypot(y, x), side * random.uniform(0.06, 0.14), side / 60)
    most = random.uniform(*_TINT)
    tint = np.full(3, -most / 2, dtype=np.float32)
    tint[random.integers(3)] = most
    return picture + mask[..., None] * tint * random.choice([-1.0, 1.0])


_PAINTERS: Mapping[str, Callable[[_Floats, Generator], _Floats]] = MappingProxyType(
    {"scratch": _scratch, "spot": _spot, "blur": _blur, "colour": _colour}
)


def _from_centre(picture: _Floats, random: Generator) -> tuple[_Floats, _Floats, tuple[float, float]]:
    """Return (H, 1) and (1, W) distances from a spot in the middle seven tenths of a picture, and the spot."""
    height, width = picture.shape[:2]
    centre = float(random.uniform(0.15, 0.85) * height), float(random.uniform(0.15, 0.85) * width)
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(centre[0])
    x = np.arange(width, dtype=np.float32)[None, :] - np.float32(centre[1])
    return y, x, centre


def _edge(distance: _Floats, radius: float, soft: float) -> _Floats:
    """Return 1 within a radius, 0 without, and something between for ``soft`` pixels."""
    return np.clip((radius - distance) / max(soft, 1e-6) + 0.5, 0, 1).astype(np.float32)


def _towards(picture: _Floats, mask: _Floats, random: Generator) -> _Floats:
    """Return the picture made brighter or darker where the mask is: whichever has room, else either."""
    weight = float(mask.sum())
    level = float((picture.mean(axis=2) * mask).sum() / weight) if weight else 127.0
    contrast = float(random.uniform(*_CONTRAST))
    up = level < contrast or (level < 255 - contrast and random.random() < 0.5)
    return picture + mask[..., None] * (contrast if up else -contrast)
