"""Pictures of parts, some of them scratched, and files that only look like pictures; all made here."""

import csv
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

TASK = "Good or scratched part?"


def photo(label: str, seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """Return a picture of a part: stripes of its own, and a bright line across it where it is scratched."""
    draw = np.random.default_rng([seed, *label.encode()])
    width, height = size
    grey = np.kron(draw.normal(110, 25, (height // 8, width // 8)), np.ones((8, 8))) + draw.normal(
        0, 6, (height, width)
    )
    pixels = np.stack([grey + 20, grey, grey - 20], axis=-1)
    if label == "scratched":
        row = int(draw.integers(4, height - 4))
        pixels[row - 2 : row + 2] += 110
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def album(folder: Path, classes: Mapping[str, int], *, start: int = 0, suffix: str = ".png") -> Path:
    """Write a folder of pictures for each class; return the folder."""
    for label, count in classes.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for at in range(start, start + count):
            photo(label, at).save(folder / label / f"{at:03d}{suffix}")
    return folder


def csv_of(path: Path, rows: Iterable[Sequence[str]], header: Sequence[str] = ("image", "label")) -> Path:
    """Write a file that names pictures; return its path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def png_of(width: int, height: int, rows: int = 100) -> bytes:
    """Return a PNG that says it has this size, all black and cut after some rows; a few kB for any size."""
    packed = zlib.compressobj(9)
    data = b"".join(packed.compress(bytes(1 + width)) for _ in range(min(height, rows))) + packed.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
