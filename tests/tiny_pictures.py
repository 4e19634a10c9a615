"""A base for pictures small enough for unit tests: a few narrow blocks, random weights, views of 32 pixels.

It stands in the cache and the catalogue under the names of the real ones, as :mod:`tiny_base` does for texts.
"""

import dataclasses
import hashlib
import json
import random
import string
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from sartor.assets import catalogue
from sartor.nn import picture_anchor
from sartor.nn.anchor import Anchor, write
from sartor.nn.picture_net import PictureNet, PictureNetConfig

WIDTH, DEPTH, SIDE = 0.25, 0.3, 32


def config() -> PictureNetConfig:
    """Return the shape: 8 blocks of 8 to 80 channels."""
    return PictureNetConfig(WIDTH, DEPTH)


def net(seed: int = 0) -> PictureNet:
    """Return a net with random weights that keep the size of what goes through."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in config().shapes():
        if name.endswith(".bias"):
            weights[name] = torch.randn(shape, generator=generator) * 0.1
        else:
            size = shape[1] * shape[2] * shape[3]
            weights[name] = torch.randn(shape, generator=generator) * (2 / size) ** 0.5
    return PictureNet(config(), weights)


def specs(cache: Path) -> dict[str, catalogue.PictureBaseSpec]:
    """Put the tiny base into ``cache`` under the names of the real ones; return the catalogue that knows it."""
    found = {}
    stems = list(dict.fromkeys(real.stem for real in catalogue.picture_bases().values()))
    for name, real in catalogue.picture_bases().items():
        made = net(stems.index(real.stem))
        path = cache / "bases" / real.stem / catalogue.WEIGHTS
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(made.weights), path)
        found[name] = dataclasses.replace(
            real,
            width=WIDTH,
            depth=DEPTH,
            side=SIDE,
            n_parameters=sum(tensor.numel() for tensor in made.weights.values()),
            files={catalogue.WEIGHTS: hashlib.sha256(path.read_bytes()).hexdigest()},
            sources=(),
            anchor=anchor(path.parent, made) if real.anchor else None,
        )
    return found


def anchor(folder: Path, made: PictureNet) -> catalogue.AnchorSpec:
    """Put a random anchor of a tiny net into ``folder``; return what the catalogue says of it."""
    path = folder / "anchor.safetensors"
    generator = torch.Generator().manual_seed(0)
    fresh = picture_anchor.fresh(made.config, 2, generator=generator)
    write(Anchor({name: 0.1 * torch.randn(one.shape, generator=generator) for name, one in fresh.items()}), path)
    return catalogue.AnchorSpec(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def picture_of(text: str) -> Image.Image:
    """Return a picture that shows how often each letter comes: stripes whose number, slope and colours follow it."""
    counts = np.array([text.count(letter) for letter in string.ascii_lowercase], dtype=float)
    draw = random.Random(json.dumps(text))
    down, across = np.mgrid[:40, :48] / 40
    waves = np.zeros((40, 48, 3))
    for letter, count in enumerate(counts):
        angle, pitch = np.pi * letter / 26, 2 + letter % 5
        wave = np.sin(2 * np.pi * pitch * (across * np.cos(angle) + down * np.sin(angle)) + draw.random())
        waves += (count * wave)[..., None] * np.array([letter % 3 == channel for channel in range(3)])
    scaled = 127 + 120 * waves / max(1.0, float(np.abs(waves).max()))
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8))


def pictures_of(texts: list[str], folder: Path) -> list[str]:
    """Write a picture for each text into ``folder``, the same under one name; return where they lie."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for text in texts:
        path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.png"
        if not path.exists():
            picture_of(text).save(path)
        paths.append(str(path))
    return paths
