"""Surfaces as a plant has them, drawn by rule, and what can be wrong with them.

A :class:`Surface` is what does not change from one picture of a product to the next: kind of texture, pitch, colours,
light. Each picture of it is drawn anew. A defect is painted on a picture; it may be so faint that nobody would see it.

Dimension key:   S: side
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import scipy.ndimage
import scipy.spatial
from numpy.random import Generator
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
"""(S, S, 3) of 0..1, or (S, S)."""

# --- fields ------------------------------------------------------------------------------------------------


def cloud(random: Generator, side: int, scale: float) -> Floats:
    """Return (S, S) smooth noise of mean 0 and deviation 1, whose bumps are about ``scale`` pixels wide."""
    small = max(2, round(side / max(scale, 1)) + 3)
    coarse = random.standard_normal((small, small)).astype(np.float32)
    field = np.asarray(scipy.ndimage.zoom(coarse, side / (small - 2), order=3, mode="nearest"))[:side, :side]
    return (field - field.mean()) / (field.std() + 1e-6)


def _grid(random: Generator, side: int, turn: float) -> tuple[Floats, Floats]:
    """Return (S, S) coordinates in pixels, turned, begun anywhere."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    begun = random.uniform(0, 1000, 2).astype(np.float32)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return cos * x - sin * y + begun[0], sin * x + cos * y + begun[1]


# --- surfaces ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Surface:
    """What all pictures of one product share."""

    kind: str
    pitch: float
    """Of what repeats, in pixels."""
    turn: float
    """Radians."""
    uneven: float
    """How far from regular it is, 0..1."""
    colours: Floats
    """(2, 3) between which the texture mixes."""
    noise: float
    """Of the camera."""
    light: float
    """How much brightness differs over a picture and between pictures."""
    wander: float
    """Radians by which pictures are turned against each other."""

    @classmethod
    def draw(cls, random: Generator, kind: str | None = None) -> "Surface":
        """Return any surface, or any of a kind."""
        first = random.uniform(0.05, 0.95, 3)
        grey = random.random() < 0.4
        first = np.full(3, first.mean()) if grey else first
        contrast = random.uniform(0.1, 0.6) * random.choice([-1, 1])
        second = np.clip(first + contrast * (1 if grey else random.uniform(0.4, 1, 3)), 0, 1)
        return cls(
            kind=kind or str(random.choice(KINDS)),
            pitch=float(np.exp(random.uniform(np.log(5), np.log(40)))),
            turn=float(random.uniform(0, np.pi)),
            uneven=float(random.uniform(0, 0.6)),
            colours=np.stack([first, second]).astype(np.float32),
            noise=float(random.uniform(0, 0.05)),
            light=float(random.uniform(0, 0.15)),
            wander=float(random.choice([0.02, 0.02, 0.2, np.pi])),
        )

    def near(self, random: Generator) -> "Surface":
        """Return a product that a person takes a second look to tell from this one."""
        change = random.integers(4)
        pitch, turn, uneven, colours = self.pitch, self.turn, self.uneven, self.colours
        if change == 0:
            pitch *= float(np.exp(random.choice([-1, 1]) * random.uniform(0.15, 0.6)))
        elif change == 1 and self.wander < 1:
            turn += float(random.uniform(0.2, 1.2))
        elif change == 2:
            uneven = float((uneven + random.uniform(0.25, 0.6)) % 1)
        else:
            colours = np.clip(colours + random.uniform(-0.12, 0.12, (2, 3)), 0, 1).astype(np.float32)
        return Surface(self.kind, pitch, turn, uneven, colours, self.noise, self.light, self.wander)

    def picture(self, random: Generator, side: int) -> Floats:
        """Return (S, S, 3) one picture of it, its light and the camera's noise not yet put on."""
        turn = self.turn + random.uniform(-self.wander, self.wander)
        mixed = np.clip(_TEXTURES[self.kind](random, side, self.pitch, turn, self.uneven), 0, 1)[..., None]
        return self.colours[0] * (1 - mixed) + self.colours[1] * mixed

    def taken(self, random: Generator, picture: Floats) -> Floats:
        """Return the picture as a camera takes it."""
        side = len(picture)
        shade = 1 + self.light * (0.5 * cloud(random, side, side / 2) + random.standard_normal())
        seen = picture * shade[..., None] + self.noise * random.standard_normal(picture.shape)
        return np.clip(seen, 0, 1).astype(np.float32)


def _weave(random: Generator, side: int, pitch: float, turn: float, uneven: float) -> Floats:
    x, y = _grid(random, side, turn)
    wave = 2 * np.pi / pitch
    x = x + uneven * pitch * 0.15 * cloud(random, side, pitch * 3)
    y = y + uneven * pitch * 0.15 * cloud(random, side, pitch * 3)
    over = np.sin(wave * x / 2) * np.sin(wave * y / 2) > 0
    thread = np.where(over, np.abs(np.sin(wave * x)), np.abs(np.sin(wave * y)))
    return (0.15 + 0.7 * thread + 0.1 * uneven * cloud(random, side, 3)).astype(np.float32)


def _stripes(random: Generator, side: int, pitch: float, turn: float, uneven: float) -> Floats:
    x, _ = _grid(random, side, turn)
    x = x + uneven * pitch * 0.2 * cloud(random, side, pitch * 4)
    return (0.5 + 0.5 * np.sin(2 * np.pi * x / pitch)).astype(np.float32)


def _brushed(random: Generator, side: int, pitch: float, turn: float, uneven: float) -> Floats:
    raw = random.standard_normal((2 * side, 2 * side)).astype(np.float32)
    lines = scipy.ndimage.gaussian_filter(raw, (0.6 + uneven, 4 + pitch), mode="wrap")
    turned = scipy.ndimage.rotate(lines, np.degrees(turn), reshape=False, order=1, mode="wrap")
    cut = turned[side // 2 : side // 2 + side, side // 2 : side // 2 + side]
    return (0.5 + 0.2 * cut / (cut.std() + 1e-6)).astype(np.float32)


def _grain(random: Generator, side: int, pitch: float, turn: float, uneven: float) -> Floats:
    del turn
    coarse, fine = cloud(random, side, pitch), cloud(random, side, max(2.0, pitch / 5))
    return (0.5 + 0.2 * (uneven * coarse + (1 - uneven) * fine)).astype(np.float32)


def _cells(random: Generator, side: int, pitch: float, turn: float, uneven: float) -> Floats:
    del turn
    around = side + 4 * pitch
    steps = np.arange(0, around, max(pitch, 8))
    points = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2) - 2 * pitch
    points = points + random.normal(0, max(pitch, 8) * (0.1 + 0.5 * uneven), points.shape)
    y, x = np.mgrid[:side, :side]
    near, _ = scipy.spatial.KDTree(points).query(np.stack([x, y], -1).reshape(-1, 2), k=2)
    return np.clip((near[:, 1] - near[:, 0]) / max(pitch, 8) * 2, 0, 1).reshape(side, side).astype(np.float32)


def _rings(random: Generator, side: int, pitch: float, turn: float, uneven: float) -> Floats:
    x, y = _grid(random, side, turn)
    across = x + pitch * (0.5 + 2 * uneven) * cloud(random, side, side / 2) + 0.15 * pitch * np.sin(y / (3 * pitch))
    lines = 0.5 + 0.5 * np.sin(2 * np.pi * across / pitch)
    return (0.8 * lines**2 + 0.08 * cloud(random, side, 3)).astype(np.float32)


def _holes(random: Generator, side: int, pitch: float, turn: float, uneven: float) -> Floats:
    x, y = _grid(random, side, turn)
    pitch = max(pitch, 9)
    x = x + uneven * pitch * 0.1 * cloud(random, side, pitch * 3)
    away = np.hypot((x % pitch) - pitch / 2, (y % pitch) - pitch / 2) / pitch
    return (1 / (1 + np.exp((away - 0.3) * 30))).astype(np.float32)


def _tiles(random: Generator, side: int, pitch: float, turn: float, uneven: float) -> Floats:
    x, y = _grid(random, side, turn)
    pitch = max(pitch, 12)
    row = np.floor(y / pitch)
    x = x + (row % 2) * pitch
    brick = np.floor(x / (2 * pitch))
    tone = np.sin(brick * 12.9898 + row * 78.233) * 43758.5453 % 1
    joint = np.minimum(x % (2 * pitch), y % pitch) < pitch * 0.1
    return np.where(joint, 0.0, 0.5 + 0.4 * uneven * (tone - 0.5) + 0.1 * cloud(random, side, 4)).astype(np.float32)


_TEXTURES: Mapping[str, Callable[[Generator, int, float, float, float], Floats]] = MappingProxyType(
    {
        "weave": _weave,
        "stripes": _stripes,
        "brushed": _brushed,
        "grain": _grain,
        "cells": _cells,
        "rings": _rings,
        "holes": _holes,
        "tiles": _tiles,
    }
)
KINDS = tuple(_TEXTURES)

# --- defects -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Defect:
    """What is painted where: all that two pictures with the same kind of defect on one product share."""

    family: str
    size: float
    """Of the side."""
    strength: float
    """0..1"""
    dark: bool

    @classmethod
    def draw(cls, random: Generator, family: str) -> "Defect":
        """Return one of a family, plain or faint."""
        return cls(
            family,
            float(np.exp(random.uniform(np.log(0.06), np.log(0.3)))),
            float(random.uniform(0.25, 1)),
            bool(random.random() < 0.5),
        )

    def paint(self, random: Generator, picture: Floats) -> Floats:
        """Return the picture with it, somewhere."""
        size = self.size * float(np.exp(random.normal(0, 0.25)))
        return np.clip(_DEFECTS[self.family](random, picture, size, self.strength, self.dark), 0, 1).astype(np.float32)


def _centre(random: Generator, side: int) -> tuple[float, float]:
    y, x = random.uniform(0.15, 0.85, 2) * side
    return float(y), float(x)


def _away(random: Generator, side: int, size: float) -> Floats:
    """Return (S, S) the distance from a spot, 1 at its edge; it is somewhat oblong."""
    cy, cx = _centre(random, side)
    turn, oblong = random.uniform(0, np.pi), np.exp(random.normal(0, 0.3))
    y, x = np.mgrid[:side, :side].astype(np.float32)
    along, across = np.cos(turn) * (x - cx) + np.sin(turn) * (y - cy), np.cos(turn) * (y - cy) - np.sin(turn) * (x - cx)
    return np.hypot(along * oblong, across / oblong) / (size * side / 2)


def _to(picture: Floats, mask: Floats, tone: Floats | float) -> Floats:
    """Return the picture with ``tone`` where the (S, S) mask is 1."""
    return picture * (1 - mask[..., None]) + np.asarray(tone, dtype=np.float32) * mask[..., None]


def _line(random: Generator, side: int, length: float, wander: float) -> Floats:
    """Return (S, S) 1 on a thin line."""
    steps = max(8, round(length * side))
    heading = random.uniform(0, 2 * np.pi) + np.cumsum(random.normal(0, wander, steps))
    cy, cx = _centre(random, side)
    y, x = cy + np.cumsum(np.sin(heading)), cx + np.cumsum(np.cos(heading))
    middle = steps // 2
    y, x = y - y[middle] + cy, x - x[middle] + cx
    canvas = np.zeros((side, side), dtype=np.float32)
    inside = (y >= 0) & (y < side) & (x >= 0) & (x < side)
    canvas[y[inside].astype(int), x[inside].astype(int)] = 1
    return canvas


def _scratch(random: Generator, picture: Floats, size: float, strength: float, dark: bool) -> Floats:
    side = len(picture)
    width = random.uniform(0.5, 1.3)
    mask = scipy.ndimage.gaussian_filter(_line(random, side, 3 * size, 0.01), width)
    return _to(picture, strength * mask / (mask.max() + 1e-6), 0.0 if dark else 1.0)


def _crack(random: Generator, picture: Floats, size: float, strength: float, dark: bool) -> Floats:
    side = len(picture)
    lines = [_line(random, side, 3 * size, 0.35) for _ in range(random.integers(1, 4))]
    mask = scipy.ndimage.gaussian_filter(np.maximum.reduce(lines), 0.7)
    return _to(picture, strength * mask / (mask.max() + 1e-6), 0.0 if dark else 0.15)


def _dent(random: Generator, picture: Floats, size: float, strength: float, dark: bool) -> Floats:
    side = len(picture)
    away = _away(random, side, size)
    height = np.exp(-(away**2) * 1.5)
    slope = np.gradient(height, axis=1) * (-1 if dark else 1) + np.gradient(height, axis=0)
    return picture + 0.6 * strength * (slope / (np.abs(slope).max() + 1e-6))[..., None]


def _blob(random: Generator, picture: Floats, size: float, strength: float, dark: bool) -> Floats:
    side = len(picture)
    edge = _away(random, side, size * 0.7) + 0.25 * cloud(random, side, size * side / 3)
    return _to(picture, strength / (1 + np.exp((edge - 1) * 12)), 0.0 if dark else 1.0)


def _hole(random: Generator, picture: Floats, size: float, strength: float, dark: bool) -> Floats:
    side = len(picture)
    away = _away(random, side, size * 0.6)
    rim = strength * np.exp(-(((away - 1) * 5) ** 2))
    return _to(_to(picture, (away < 1).astype(np.float32), 0.05 if dark else 0.3), 0.7 * rim, 0.9)


def _smear(random: Generator, picture: Floats, size: float, strength: float, dark: bool) -> Floats:
    side = len(picture)
    mask = 1 / (1 + np.exp((_away(random, side, 1.3 * size) - 1) * 6))
    along = (1 + 6 * strength, 0.5, 0) if dark else (0.5, 1 + 6 * strength, 0)
    return _to(picture, mask, scipy.ndimage.gaussian_filter(picture, along))


def _thread(random: Generator, picture: Floats, size: float, strength: float, dark: bool) -> Floats:
    side = len(picture)
    at = int(random.uniform(0.1, 0.9) * side)
    width = max(1, round(size * side / 12))
    mask = np.zeros((side, side), dtype=np.float32)
    start = int(random.uniform(0, 0.5) * side)
    mask[at : at + width, start : start + int((0.3 + 2 * size) * side)] = strength
    mask = mask if dark else mask.T
    return _to(picture, mask, picture.mean((0, 1)) * random.choice([0.5, 1.5]))


def _warp(random: Generator, picture: Floats, size: float, strength: float, dark: bool) -> Floats:
    side = len(picture)
    pull = np.exp(-(_away(random, side, 1.5 * size) ** 2)) * strength * size * side * 0.35
    y, x = np.mgrid[:side, :side].astype(np.float32)
    moved = (y + pull, x) if dark else (y, x + pull)
    layers = [scipy.ndimage.map_coordinates(picture[..., c], moved, order=1, mode="reflect") for c in range(3)]
    return np.stack(layers, -1)


def _stain(random: Generator, picture: Floats, size: float, strength: float, dark: bool) -> Floats:
    side = len(picture)
    edge = _away(random, side, 2 * size) + 0.35 * cloud(random, side, size * side / 2)
    mask = 0.75 * strength / (1 + np.exp((edge - 1) * 5))
    tint = random.uniform(0, 0.35, 3) if dark else random.uniform(0.65, 1, 3)
    return _to(picture, mask, (picture * 0.5 + 0.5 * tint).astype(np.float32))


_DEFECTS: Mapping[str, Callable[[Generator, Floats, float, float, bool], Floats]] = MappingProxyType(
    {
        "scratches": _scratch,
        "cracks": _crack,
        "dents": _dent,
        "blobs": _blob,
        "holes": _hole,
        "smears": _smear,
        "threads": _thread,
        "warps": _warp,
        "stains": _stain,
    }
)
DEFECTS = tuple(_DEFECTS)
