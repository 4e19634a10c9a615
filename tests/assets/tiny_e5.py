"""A random model of the format E5S1, small enough to write in a line or two."""

import struct
from dataclasses import dataclass

import numpy as np

HIDDEN, LAYERS, HEADS, WIDE, VOCABULARY, POSITIONS, TYPES = 32, 2, 2, 64, 16, 16, 2
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "ガ", "10", "～", "20", "▁日本", "a", "<mask>"]
SCORES = np.array([0, 0, 0, 0, -3, -4, -4, -4, -4, -5, -4, 0], dtype="<f4")


@dataclass
class TinyE5:
    """The bytes of a file, and what must come out of it, by the file's own names."""

    data: bytes
    tensors: dict[str, np.ndarray]


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes = {"emb.word": (VOCABULARY, HIDDEN), "emb.pos": (POSITIONS, HIDDEN), "emb.type": (TYPES, HIDDEN)}
    shapes |= {"emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}
    for layer in range(LAYERS):
        for name in ("q", "k", "v", "ao", "fi", "fo"):
            out, into = {"fi": (WIDE, HIDDEN), "fo": (HIDDEN, WIDE)}.get(name, (HIDDEN, HIDDEN))
            shapes |= {f"l{layer}.{name}.w": (out, into), f"l{layer}.{name}.b": (out,)}
        for name in ("aln", "oln"):
            shapes |= {f"l{layer}.{name}.w": (HIDDEN,), f"l{layer}.{name}.b": (HIDDEN,)}
    return shapes


def pack_four_bit(scales: np.ndarray, values: np.ndarray) -> bytes:
    """Return blocks of scales (B,) and values (B, 32) in -8..7, one weight at a time."""
    out = bytearray()
    for scale, row in zip(scales, values, strict=True):
        out += np.array(scale, dtype="<f2").tobytes()
        out += bytes(int(row[at] + 8) | int(row[at + 16] + 8) << 4 for at in range(16))
    return bytes(out)


def tiny_e5(seed: int = 0) -> TinyE5:
    rng = np.random.default_rng(seed)
    tensors, stored = {}, {}
    for name, shape in _shapes().items():
        if len(shape) == 2 and name not in ("emb.pos", "emb.type"):
            blocks = int(np.prod(shape)) // 32
            scales = rng.uniform(0.01, 0.1, blocks).astype(np.float16)
            values = rng.integers(-8, 8, (blocks, 32))
            stored[name] = (1, pack_four_bit(scales, values))
            tensors[name] = (scales[:, None].astype(np.float64) * values).reshape(shape)
        else:
            tensors[name] = rng.normal(size=shape).astype("<f4")
            stored[name] = (0, tensors[name].tobytes())
    text = [piece.encode() for piece in PIECES]
    head = struct.pack("<4sI7ifi", b"E5S1", 1, HIDDEN, LAYERS, HEADS, WIDE, VOCABULARY, POSITIONS, TYPES, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, text)))
    head += np.cumsum([0, *map(len, text)]).astype("<u4").tobytes() + SCORES.tobytes() + b"".join(text)
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0x3000, 1, 0x20)
    at = len(head) + 4 + sum(2 + len(name) + 21 for name in stored)
    directory = struct.pack("<i", len(stored))
    for name, (kind, data) in stored.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, tensors[name].size, at, len(data))
        at += len(data)
    return TinyE5(head + directory + b"".join(data for _, data in stored.values()), tensors)
