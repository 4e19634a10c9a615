"""Pictures to learn from: letters, kana, icons, emoji, photographs, surfaces and what can be wrong with them.

A *pool* is one source group: pictures, the class of each, and the set that it belongs to. A task takes its classes from
one set: all letters are one set; a product with its defects is another. Groups are told apart before anything is drawn:
some are learned from, some choose (``validation``), some are only judged by (``report``), each whole. Digits are of the
last kind in every form, so no font's digit and no emoji of one is drawn here.

Sources are folders of a person's own choice, and a group whose folder is missing is left out:

    fonts/    .ttf, .otf with Latin, Greek, Cyrillic; Japanese where they have it
    icons/    fonts of icons, each of whose characters is a class
    emoji/    one picture each, and emoji.json with their kinds
    photos/   photographs; pieces of one photograph are a class

Dimension key:   P: pictures   S: side
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
import scipy.ndimage
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sartor.errors import DataError
from sartor.pretrain.surfaces import KINDS, Defect, Floats, Surface, cloud

Side: TypeAlias = Literal["train", "validation", "report"]
Bytes: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]

SIDES: Mapping[str, Side] = MappingProxyType(
    {
        "letters": "train",
        "kana": "train",
        "kanji": "train",
        "icons": "train",
        "emoji": "train",
        "emoji kinds": "train",
        "photos": "train",
        "textures": "train",
        "scratches": "train",
        "dents": "train",
        "blobs": "train",
        "holes": "train",
        "smears": "train",
        "threads": "train",
        "several defects": "train",
        "cyrillic": "validation",
        "emoji objects": "validation",
        "photos at night": "validation",
        "tiles and cells": "validation",
        "cracks": "validation",
        "warps": "validation",
        "printed digits": "report",
        "stains": "report",
    }
)
"""Group -> what it is for. Handwritten digits and textile pictures, which are not drawn, are ``report`` as well."""
_OF_VALIDATION = ("tiles", "cells")
"""Kinds of surface that no group to be learned from holds."""
_LEARNED_KINDS = tuple(kind for kind in KINDS if kind not in _OF_VALIDATION)
_NIGHT = 5
"""Photographs kept for validation: every fifth."""
_LEARNED_DEFECTS = ("scratches", "dents", "blobs", "holes", "smears", "threads")
_OBJECTS = ("Objects", "Travel & Places")
"""Emoji kept for validation."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Pictures of one source group."""

    group: str
    pictures: Bytes
    """(P, S, S, 3)"""
    classes: Ints
    """(P,)"""
    sets: Ints
    """(P,) classes of one task are of one set; no two sets share a class."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is drawn of a group."""

    side: int = 224
    classes: int = 100
    """Of letters, icons and emoji, at most."""
    each: int = 8
    """Pictures of such a class."""
    products: int = 20
    """Sets of surfaces and of products with a defect."""
    of_product: int = 12
    """Pictures of each state of a product."""


LARGE = Size(classes=600, each=12, products=200, of_product=16)
"""For a GPU."""
SMALL = Size(side=64, classes=6, each=4, products=2, of_product=4)
"""For tests."""


def groups(*sides: Side) -> tuple[str, ...]:
    """Return the groups that are for any of these."""
    return tuple(group for group, side in SIDES.items() if side in sides)


def draw_pool(group: str, folder: Path, size: Size, *, seed: int) -> Pool | None:
    """Draw a group; None where the folder has no source for it. Other groups do not change what is drawn.

    Raises:
        DataError: when a source cannot be read.
    """
    random = np.random.default_rng([seed, list(SIDES).index(group)])
    drawn = list(_draw(group, folder, size, random))
    if not drawn:
        return None
    pictures = np.stack([np.round(picture * 255).astype(np.uint8) for picture, _, _ in drawn])
    classes, sets = (np.array([one[at] for one in drawn], dtype=np.int64) for at in (1, 2))
    return Pool(group, pictures, classes, sets)


_Drawn: TypeAlias = tuple[Floats, int, int]
"""A picture, its class, its set."""


def _draw(group: str, folder: Path, size: Size, random: Generator) -> Iterator[_Drawn]:
    if group in _ALPHABETS:
        return _letters(_fonts(folder / "fonts"), _ALPHABETS[group], size, random)
    if group == "icons":
        return _icons(_fonts(folder / "icons"), size, random)
    if group.startswith("emoji"):
        return _emoji(group, folder / "emoji", size, random)
    if group.startswith("photos"):
        return _photos(group, folder / "photos", size, random)
    if group in ("textures", "tiles and cells"):
        return _textures(group, size, random)
    return _products(_LEARNED_DEFECTS if group == "several defects" else (group,), size, random)


# --- surfaces ----------------------------------------------------------------------------------------------


def _textures(group: str, size: Size, random: Generator) -> Iterator[_Drawn]:
    """Yield sets of five products that are near each other."""
    kinds = _OF_VALIDATION if group == "tiles and cells" else _LEARNED_KINDS
    for at in range(size.products):
        first = Surface.draw(random, kinds[at % len(kinds)])
        for place, surface in enumerate([first, *(first.near(random) for _ in range(4))]):
            for _ in range(size.of_product):
                yield surface.taken(random, surface.picture(random, size.side)), 5 * at + place, at


def _products(families: Sequence[str], size: Size, random: Generator) -> Iterator[_Drawn]:
    """Yield a product that is good, or has a defect, or (of several families) one of three defects."""
    kinds = _LEARNED_KINDS if set(families) <= set(_LEARNED_DEFECTS) else KINDS
    for at in range(size.products):
        surface = Surface.draw(random, kinds[at % len(kinds)])
        chosen = random.permutation(families)[:3]
        for place, defect in enumerate([None, *(Defect.draw(random, str(family)) for family in chosen)]):
            for _ in range(size.of_product):
                picture = surface.picture(random, size.side)
                picture = defect.paint(random, picture) if defect else picture
                yield surface.taken(random, picture), 4 * at + place, at


# --- characters --------------------------------------------------------------------------------------------

_LATIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_GREEK = "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθλμξπρσφψω"
_KANA = "".join(chr(code) for start in (0x3042, 0x30A2) for code in range(start, start + 82, 1))
_KANJI = (
    "一右雨円王音下火花学気休玉金空月犬見口校左山子糸字耳車手出女小上森人水正生青夕石赤先早草足村大男竹中虫町天田土日入年白文木本名目"
    "立力林引羽雲園遠何科夏家歌画回会海絵外角楽活間丸岩顔汽記帰弓牛魚京強教近兄形計元言原戸古午後語工公広交光考行高黄合谷国黒今才細作算止"
)
_ALPHABETS: Mapping[str, str] = MappingProxyType(
    {
        "letters": _LATIN + _GREEK,
        "kana": _KANA,
        "kanji": _KANJI,
        "cyrillic": "БГДЖЗИЛПФЦЧШЩЪЫЭЮЯбвгджзиклмнптфцчшщъыэюя",
        "printed digits": "0123456789",
    }
)


def _fonts(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.glob("*") if path.suffix.lower() in (".ttf", ".otf")))


def _letters(fonts: Sequence[Path], alphabet: str, size: Size, random: Generator) -> Iterator[_Drawn]:
    able = [font for font in fonts if _has(font, alphabet[0]) and _has(font, alphabet[-1])]
    chosen = random.permutation(list(alphabet))[: size.classes] if able else []
    for label, letter in enumerate(chosen):
        for _ in range(size.each):
            yield _character(random, able[random.integers(len(able))], str(letter), size.side), label, 0


def _icons(fonts: Sequence[Path], size: Size, random: Generator) -> Iterator[_Drawn]:
    label = 0
    for font in fonts:
        known = _characters(font)
        for icon in random.permutation(known)[: 2 * size.classes]:
            for _ in range(size.each):
                yield _character(random, font, chr(icon), size.side), label, 0
            label += 1


def _has(font: Path, letter: str) -> bool:
    missing = _mask(font, "\U0010fffd", 32)
    return bool(np.any(_mask(font, letter, 32))) and not np.array_equal(_mask(font, letter, 32), missing)


def _characters(font: Path) -> list[int]:
    """Return the code points from the private areas, where fonts of icons have theirs."""
    ranges = (*range(0xE000, 0xF8FF), *range(0xF0000, 0xF2000))
    return [code for code in ranges if _has(font, chr(code))]


def _mask(font: Path, letter: str, pixels: int) -> Bytes:
    """Return a character as large as a square, ink 255."""
    try:
        face = ImageFont.truetype(str(font), pixels)
    except OSError as error:
        raise DataError(f"{font.name} cannot be read as a font ({error}). Take it out of the folder.") from error
    canvas = Image.new("L", (2 * pixels, 2 * pixels))
    ImageDraw.Draw(canvas).text((pixels, pixels), letter, 255, face, anchor="mm")
    return np.asarray(canvas)


def _character(random: Generator, font: Path, letter: str, side: int) -> Floats:
    mask = _mask(font, letter, side // 2).astype(np.float32) / 255
    mask = _moved(random, _bent(random, _cropped(mask), side)[..., None], side, turn=0.25)[..., 0]
    thick = random.integers(-1, 3)
    if thick:
        mask = (scipy.ndimage.grey_dilation if thick > 0 else scipy.ndimage.grey_erosion)(
            mask, (1 + 2 * abs(thick),) * 2
        )
    mask = scipy.ndimage.gaussian_filter(mask, random.uniform(0.3, 2.5))
    paper, ink = _paper_and_ink(random)
    ground = paper + random.uniform(0, 0.06) * cloud(random, side, side / 6)[..., None]
    return _camera(random, ground * (1 - mask[..., None]) + ink * mask[..., None])


def _paper_and_ink(random: Generator) -> tuple[Floats, Floats]:
    if random.random() < 0.5:
        paper, ink = np.full(3, random.uniform(0, 0.25)), np.full(3, random.uniform(0.6, 1))
        return (paper, ink) if random.random() < 0.5 else (ink, paper)
    paper = random.uniform(0, 1, 3)
    ink = np.where(
        paper.mean() > 0.5, random.uniform(0, 0.4, 3) * paper, paper + random.uniform(0.4, 1, 3) * (1 - paper)
    )
    return paper, ink


def _cropped(mask: Floats) -> Floats:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return mask
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    longer = max(cut.shape)
    return np.pad(cut, [((longer - n) // 2, longer - n - (longer - n) // 2) for n in cut.shape])


def _bent(random: Generator, mask: Floats, side: int) -> Floats:
    """Return a character as a hand would write it, more or less."""
    pixels = len(mask)
    much = random.choice([0, 0.02, 0.05, 0.08]) * pixels
    y, x = np.mgrid[:pixels, :pixels].astype(np.float32)
    by = [much * cloud(random, pixels, pixels / random.uniform(2, 5)) for _ in range(2)]
    return scipy.ndimage.map_coordinates(mask, (y + by[0], x + by[1]), order=1)


def _moved(random: Generator, layers: Floats, side: int, *, turn: float) -> Floats:
    """Return (S, S, L) square layers somewhere on a larger square, turned, stretched, smaller; 0 beside them."""
    n = layers.shape[0]
    scale = n / (side * random.uniform(0.45, 0.95))
    angle, shear = random.uniform(-turn, turn), random.normal(0, 0.12)
    stretch = np.exp(random.normal(0, 0.12))
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = scale * np.array([[cos, -sin], [sin, cos]]) @ np.array([[stretch, shear], [0, 1 / stretch]])
    centre = np.full(2, (side - 1) / 2) + random.normal(0, 0.05, 2) * side
    offset = np.full(2, (n - 1) / 2) - matrix @ centre
    moved = [
        scipy.ndimage.affine_transform(layers[..., at], matrix, offset, (side, side), order=1)
        for at in range(layers.shape[-1])
    ]
    return np.stack(moved, -1)


def _camera(random: Generator, picture: Floats) -> Floats:
    side = len(picture)
    light = 1 + random.uniform(0, 0.12) * cloud(random, side, side / 2) + random.normal(0, 0.08)
    noisy = picture * light[..., None] + random.uniform(0, 0.05) * random.standard_normal(picture.shape)
    return np.clip(noisy, 0, 1).astype(np.float32)


# --- pictures ----------------------------------------------------------------------------------------------


def _emoji(group: str, folder: Path, size: Size, random: Generator) -> Iterator[_Drawn]:
    """Each emoji a class, or (where it is told) each kind of emoji, of which every picture shows another one."""
    known = _kinds(folder, objects=group == "emoji objects")
    if group == "emoji":
        for label, name in enumerate(
            random.permutation([name for names in known for name in names])[: 2 * size.classes]
        ):
            image = _opened(folder / str(name), "RGBA")
            for _ in range(size.each):
                yield _pasted(random, image, size.side), label, 0
        return
    for label, names in enumerate(known[: size.classes]):
        for name in random.permutation(names)[: 2 * size.each]:
            yield _pasted(random, _opened(folder / str(name), "RGBA"), size.side), label, 0


def _kinds(folder: Path, *, objects: bool) -> list[list[str]]:
    """Return the files of each kind of emoji that has several; none that shows a digit or a letter."""
    if not (folder / "emoji.json").exists():
        return []
    found: dict[str, list[str]] = {}
    for one in json.loads((folder / "emoji.json").read_text()):
        kind, usable = one["subcategory"], one["category"] not in ("Symbols", "Component", "Activities")
        if usable and (one["category"] in _OBJECTS) == objects and (folder / one["image"]).exists():
            found.setdefault(kind, []).append(one["image"])
    return [names for _, names in sorted(found.items()) if len(names) >= 8]


def _opened(path: Path, mode: str) -> Floats:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode)).astype(np.float32) / 255
    except OSError as error:
        raise DataError(f"{path.name} cannot be read as a picture ({error}). Take it out of the folder.") from error


def _pasted(random: Generator, image: Floats, side: int) -> Floats:
    moved = _moved(random, np.concatenate([image[..., :3] * image[..., 3:], image[..., 3:]], -1), side, turn=0.5)
    alpha = moved[..., 3:]
    ground = random.uniform(0, 1, 3) + random.uniform(0, 0.1) * cloud(random, side, side / 6)[..., None]
    if random.random() < 0.4:
        surface = Surface.draw(random)
        ground = surface.picture(random, side)
    tone = np.exp(random.normal(0, 0.15, 3))
    return _camera(random, np.clip(ground * (1 - alpha) + tone * moved[..., :3], 0, 1))


def _photos(group: str, folder: Path, size: Size, random: Generator) -> Iterator[_Drawn]:
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    night = group == "photos at night"
    for label, path in enumerate([path for at, path in enumerate(paths) if (at % _NIGHT == 2) == night]):
        image = _opened(path, "RGB")
        for quarter in range(4 if night else 1):  # few photographs: pieces of one quarter are a class
            part = image if not night else _quarter(image, quarter)
            for _ in range(size.of_product * (1 if night else 2)):
                piece = _piece(random, part, size.side)
                yield _camera(random, piece * (0.35 if night else 1)), 4 * label + quarter, 0


def _quarter(image: Floats, which: int) -> Floats:
    height, width = image.shape[0] // 2, image.shape[1] // 2
    top, left = (which // 2) * height, (which % 2) * width
    return image[top : top + height, left : left + width]


def _piece(random: Generator, image: Floats, side: int) -> Floats:
    n = int(min(image.shape[:2]) * random.uniform(0.3, 0.7))
    top, left = random.integers(image.shape[0] - n + 1), random.integers(image.shape[1] - n + 1)
    piece = image[top : top + n, left : left + n]
    piece = piece[:, ::-1] if random.random() < 0.5 else piece
    resized = Image.fromarray(np.round(piece * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(resized).astype(np.float32) / 255
