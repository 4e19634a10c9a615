"""The head of a safetensors file, written by ourselves: what the library writes changes with its versions.

The format (https://github.com/huggingface/safetensors#format): its length in 8 little-endian bytes, then JSON.
"""

import json
import struct
from collections.abc import Iterable
from typing import Literal

_WIDTHS = {"F32": 4, "F16": 2}


def header(tensors: Iterable[tuple[str, Literal["F32", "F16"], tuple[int, ...], int]]) -> bytes:
    """Return the head of a file that holds tensors (name, type, shape, number of values) in this order."""
    found, at = {}, 0
    for name, kind, shape, size in tensors:
        end = at + _WIDTHS[kind] * size
        found[name] = {"dtype": kind, "shape": shape, "data_offsets": (at, end)}
        at = end
    text = json.dumps(found, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
