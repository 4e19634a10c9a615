"""A picture and over it, in colours, where something lies.

Dimension key:   H, W: height and width
"""

import io

import numpy as np
from PIL import Image

from sartor.data.pictures import Pixels
from sartor.families.interface import FloatArray

MOST_SIDE = 640
"""Pixels of the longer side."""
_LEAST, _FULL = 0.6, 1.5
"""Heat that begins to show, and that shows in full; in full is the hottest place of a picture that has hotter ones."""
_OPAQUE = 0.65
_WARM = np.array([[255, 225, 0], [255, 120, 0], [220, 0, 30]], dtype=np.float64)
_COLD = np.array([[120, 200, 255], [60, 130, 255], [20, 40, 200]], dtype=np.float64)
"""From faint to full: for, and against."""


def overlay(picture: Pixels, heat_HW: FloatArray) -> bytes:
    """Return a PNG of a picture with heat on it: yellow to red, blue where it speaks against the answer."""
    image = Image.fromarray(picture)
    image.thumbnail((MOST_SIDE, MOST_SIDE))
    flat = Image.fromarray(heat_HW.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    heat = np.asarray(flat, dtype=np.float64)
    full = max(_FULL, float(np.abs(heat_HW).max()))
    strength = np.clip((np.abs(heat) - _LEAST) / (full - _LEAST), 0, 1)[..., None]
    colour = np.where(heat[..., None] >= 0, _colour(strength, _WARM), _colour(strength, _COLD))
    alpha = _OPAQUE * strength
    mixed = (1 - alpha) * np.asarray(image, dtype=np.float64) + alpha * colour
    held = io.BytesIO()
    Image.fromarray(np.rint(mixed).astype(np.uint8)).save(held, "PNG")
    return held.getvalue()


def _colour(strength: FloatArray, scale: FloatArray) -> FloatArray:
    channels = [np.interp(strength[..., 0], np.linspace(0, 1, len(scale)), scale[:, at]) for at in range(3)]
    return np.stack(channels, axis=-1)
