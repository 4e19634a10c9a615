"""One picture: a file or a data URI -> RGB, whatever its format, and what it looks like at a glance.

Pictures come from anywhere, so nothing of what a file says is believed: its size is looked at before anything is
unpacked, and whatever goes wrong inside of the decoder is a sentence. Pillow's own state is left as it is.

Dimension key:   H: height   W: width
"""

import base64
import binascii
import functools
import io
import os
import stat
import threading
import unicodedata
import warnings
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sartor.data.encoding import looks_like
from sartor.errors import DataError

Pixels: TypeAlias = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow's names of what is read; its other decoders are old, rare, or call other programs."""
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"},
)
"""Of files that are read; lower case."""
FOREIGN = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".pdf", ".eps", ".ico", ".tga", ".dcm", ".raw"}
    | {".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"},
)
"""Suffixes of pictures that are not read."""
MOST_PIXELS = 100_000_000
"""A picture of more is refused unseen."""
DATA_URI = "data:"
_READ = "JPEG, PNG, WebP, BMP, TIFF and GIF are read"
_ORIENTATION = 0x0112
"""EXIF's tag."""
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_KNOWN = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
"""How files of :data:`FORMATS` begin."""
_HEIF = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"heif": "HEIC", b"avif": "AVIF", b"avis": "AVIF"}
_LARGE = 16_000_000
"""Pixels from which on pictures are unpacked one at a time, or those of a few threads would fill the memory."""
_ONE_LARGE = threading.Lock()


class PictureError(DataError):
    """A picture that cannot be used."""

    def __init__(self, source: str, why: str) -> None:
        self.why = why
        """What follows its name, as ``is empty``."""
        name = "" if source.startswith(DATA_URI) else f" {shown(source)!r}"
        super().__init__(f"The picture{name} {why}.")


def decode(source: str, *, side: int | None = None) -> Pixels:
    """Return a picture as (H, W, 3) RGB, upright; transparent parts are white, of an animation it is the first frame.

    Grey of 16 bits is scaled from its whole range, whatever of it is used; floats and longer integers from the least
    of the ranges 0..1 (floats alone), 0..255, 0..65535 that holds them, else from their own.

    Args:
        source: path of a file, or a data URI (``data:image/png;base64,…``).
        side: how long the shorter side must at least be: a JPEG that has more is unpacked at a half, quarter or
            eighth of its size where that is enough, several times as fast.

    Raises:
        PictureError: a DataError, when it is no picture, of a format that is not read, damaged, too large to unpack
            (:data:`MOST_PIXELS`), or cannot be opened.
    """
    return np.array(_decoded(source, side))


def shown(path: str) -> str:
    """Return a path as it can be printed: a name that is not UTF-8 has marks in the place of what is not."""
    return unicodedata.normalize("NFC", os.fsencode(path).decode("utf-8", "replace"))


# --- what a picture looks like -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """A picture at a glance."""

    bits: int
    """64 of them: where it gets brighter from left to right, on a grid of 9 by 8 (a "difference hash")."""
    thumb: bytes
    """16 by 16 greys."""


def look(path: str) -> Look:
    """Return what a picture looks like; who has it decodes as a whole, so it is sound.

    It is remembered for as long as the file is the same.

    Raises:
        PictureError: as :func:`decode`.
    """
    if path.startswith(DATA_URI):
        return _look(path)
    found = _stat(path)
    return _remembered(path, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=1 << 17)
def _remembered(path: str, size: int, changed: int) -> Look:
    return _look(path)


def _look(source: str) -> Look:
    grey = _decoded(source, _LOOK_SIDE).convert("L")
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    return Look(int.from_bytes(bits.tobytes(), "big"), grey.resize((16, 16), Image.Resampling.BOX).tobytes())


_LOOK_SIDE = 64


# --- opening -----------------------------------------------------------------------------------------------


def _stat(path: str) -> os.stat_result:
    """Return what the system says of a file.

    Raises:
        PictureError: when there is none, or it is no file.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # a ValueError of a path that holds a NUL
        raise _unopened(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise PictureError(path, "is a folder" if stat.S_ISDIR(found.st_mode) else "is no file, but a pipe or a device")
    if found.st_size == 0:
        raise PictureError(path, "is empty")
    return found


def _opened(source: str) -> AbstractContextManager[IO[bytes]]:
    if source.startswith(DATA_URI):
        return io.BytesIO(payload(source))
    _stat(source)
    try:
        return open(source, "rb")
    except OSError as error:
        raise _unopened(source, error) from error


def payload(source: str) -> bytes:
    """Return the file inside of a data URI.

    Raises:
        PictureError: when it is none of base64.
    """
    head, comma, body = source.partition(",")
    try:
        if not comma or not head.endswith(";base64"):
            raise ValueError
        return base64.b64decode("".join(body.split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise PictureError(source, "is a data URI without base64; write data:image/png;base64,…") from error


def _unopened(source: str, error: Exception) -> PictureError:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return PictureError(source, "is not there")
        case PermissionError():
            return PictureError(source, "may not be read: its permissions do not allow it")
        case OSError():
            return PictureError(source, f"cannot be read ({error.strerror or error})")
        case _:
            return PictureError(source, "has a name that no file can have")


# --- unpacking ---------------------------------------------------------------------------------------------


def _decoded(source: str, side: int | None) -> Image.Image:
    """Return the picture in mode RGB."""
    with _opened(source) as file, _quiet():
        try:
            with Image.open(file, formats=FORMATS) as image:
                _check_size(source, *image.size)
                if side is not None:
                    image.draft(None, (side, side))
                with _ONE_LARGE if image.width * image.height > _LARGE else nullcontext():
                    return _upright_rgb(image)
        except PictureError:
            raise
        except Image.DecompressionBombError as error:  # Pillow sees it before we do
            raise _too_large(source) from error
        except Image.UnidentifiedImageError as error:
            raise PictureError(source, _what(file)) from error
        except OSError as error:
            if error.errno is not None:
                raise _unopened(source, error) from error
            raise _damaged(source) from error
        except Exception as error:  # decoders of broken files end in errors of every kind
            raise _damaged(source) from error


def _check_size(source: str, width: int, height: int) -> None:
    if width * height == 0:
        raise PictureError(source, f"has no pixels: it is {width} x {height}")
    if width * height > MOST_PIXELS:
        raise _too_large(source, f"{width:,} x {height:,} pixels")


def _too_large(source: str, size: str = "too many pixels") -> PictureError:
    return PictureError(source, f"has {size}, and at most {MOST_PIXELS // 1_000_000} million are read; scale it down")


def _damaged(source: str) -> PictureError:
    return PictureError(source, "is damaged or cut short")


def _what(file: IO[bytes]) -> str:
    """Return what a file is that no decoder knows."""
    file.seek(0)
    head = file.read(64)
    brand = _HEIF.get(head[8:12]) if head[4:8] == b"ftyp" else None
    if brand:
        return f"is {brand}, which is not read; save it as JPEG or PNG"
    if head.startswith(_KNOWN):
        return "is damaged or cut short"
    what = looks_like(head)
    if what is None and not any(byte < 9 for byte in head):
        what = "text"
    return f"is {what or 'something else'}, not a picture ({_READ})"


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    turn = _orientation(image)  # a TIFF has been turned already, and says so
    rgb = _rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNED.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a picture with broken EXIF is still a picture
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if "A" in image.mode.upper().removeprefix("LAB") or "transparency" in image.info:
        clear = image.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        white.alpha_composite(clear)
        return white.convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: NDArray[Any]) -> Pixels:
    """Return (H, W) greys of other types, as :func:`decode` says."""
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    whole = values.dtype.kind != "f"
    plain = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0).clip(0.0)
    most = float(plain.max())
    ranges = (255.0, 65535.0) if whole else (1.0, 255.0, 65535.0)
    top = next((top for top in ranges if most <= top), most)
    return (plain * (255.0 / top) + 0.5).astype(np.uint8)


_LOUD = threading.Lock()
_quieted = 0
_before: "warnings.catch_warnings[None] | None" = None


@contextmanager
def _quiet() -> Generator[None]:
    """Ignore what Pillow warns of, in all threads that are in here; what others warn of is heard."""
    # Python's own context manager would undo what another thread does to the filters meanwhile
    global _quieted, _before
    with _LOUD:
        if _quieted == 0:
            _before = warnings.catch_warnings()
            _before.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\b")
        _quieted += 1
    try:
        yield
    finally:
        with _LOUD:
            _quieted -= 1
            if _quieted == 0 and _before is not None:
                _before.__exit__(None, None, None)
                _before = None
