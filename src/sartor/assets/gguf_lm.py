"""A GGUF file of a Llama -> the files of a decoder base: weights, shape, tokenizer.

GGUF (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) is what llama.cpp reads. All numbers are
little-endian::

    magic "GGUF", version | number of tensors, number of metadata
    metadata: name, type, value; a text is its length and UTF-8, an array its type, its length and its values
    directory of tensors: name, dimensions (the last of torch's first), type, offset
    padding to a multiple of ``general.alignment``, then the tensors

Four- and eight-bit tensors are blocks of 32 weights: a float16 scale, in Q4_1 a float16 minimum too, then the whole
numbers; of four-bit ones weight j is the low half and weight j + 16 the high half of byte j. All become float32: in
float16, half the size, SmolLM2's logits are off by up to 0.05. llama.cpp turns neighbouring pairs of a head's width by
an angle, the hub's models turn halves, so its rows of queries and keys lie in another order; here they are put back.

The same bytes come out on every machine, so the result is pinned by its hash: we write the safetensors header and the
JSON files ourselves, because what the libraries write changes with their versions.

Dimension key:   N: blocks   O: outputs of a linear layer
"""

import json
import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from sartor.assets import plain_safetensors
from sartor.errors import AssetError
from sartor.types import Progress, silent

Bytes: TypeAlias = NDArray[np.uint8]
Metadata: TypeAlias = Mapping[str, Any]

_T = TypeVar("_T")

_NUMBERS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_CONTROL: Final = 3
"""Type of a token that no text holds."""
_BYTES_AT_ONCE: Final = 1 << 20
"""Some 2 million weights: 20 MB while they are unpacked."""

_OUTER_NAMES: Final = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER_NAMES: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_PRE_TOKENIZERS: Final = {
    # digits one by one, then GPT-2's words
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        ],
    }
}


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a tensor is stored."""

    block: int
    """Weights in a block."""
    size: int
    """Bytes of a block."""
    unpack: Callable[[Bytes], NDArray[np.float32]]
    """Blocks (N, size) -> weights (N, block)."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor as it lies in the file."""

    kind: _Kind
    shape: tuple[int, ...]
    data: Bytes
    """Blocks (N, bytes of one)."""

    @property
    def weights(self) -> int:
        return len(self.data) * self.kind.block


@dataclass(frozen=True, slots=True)
class _Shape:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    positions: int
    vocabulary: int


class _Cursor:
    """Reads forward over the bytes of the file."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def raw(self, size: int) -> memoryview:
        """Return the next ``size`` bytes, a view."""
        if size < 0 or self.at + size > len(self.data):
            raise ValueError(f"{size} bytes are wanted at {self.at}, the file has {len(self.data)}")
        self.at += size
        return self.data[self.at - size : self.at]

    def numbers(self, layout: str) -> tuple[Any, ...]:
        """Return the values of a ``struct`` layout."""
        return struct.unpack("<" + layout, self.raw(struct.calcsize("<" + layout)))

    def text(self) -> str:
        """Return a text."""
        return str(self.raw(self.numbers("Q")[0]), "utf-8")

    def value(self, kind: int) -> Any:
        """Return a value of the metadata; arrays as lists."""
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY:
            return self.numbers(_NUMBERS[kind])[0]
        inner, length = self.numbers("IQ")
        if inner == _TEXT:
            return [self.text() for _ in range(length)]
        layout = f"<{_NUMBERS[inner]}"
        return [value for (value,) in struct.iter_unpack(layout, self.raw(length * struct.calcsize(layout)))]


def convert(source: Path, folder: Path, *, progress: Progress = silent) -> None:
    """Write ``model.safetensors``, ``config.json`` and ``tokenizer.json`` of the GGUF file ``source`` into ``folder``.

    Weights become float32. Takes seconds, a hundred MB of memory, and reports the stage ``convert`` in weights.

    Raises:
        AssetError: when ``source`` is not a complete GGUF file, or one of another architecture or tokenizer.
    """
    try:
        metadata, stored = _read(source)
        shape = _shape(metadata)
        weights = _named(shape, stored)
        tokenizer, config = _tokenizer(metadata), _config(metadata, shape, tied="output.weight" not in stored)
    except (ValueError, LookupError, TypeError, struct.error) as error:
        raise _refused(source, error) from error
    for name, content in (("tokenizer.json", tokenizer), ("config.json", config)):
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    try:
        _write_weights(folder / "model.safetensors", weights, progress)
    except FloatingPointError as error:
        raise _refused(source, error) from error


def _refused(source: Path, why: Exception) -> AssetError:
    return AssetError(
        f"{source.name} is not a GGUF file that can be read here: {why}. Known are those of a Llama with SmolLM's "
        "tokenizer. Delete it and fetch the package again."
    )


# --- reading -----------------------------------------------------------------------------------------------


def _read(source: Path) -> tuple[Metadata, dict[str, _Stored]]:
    if source.stat().st_size == 0:
        raise ValueError("it is empty")
    with source.open("rb") as file:
        cursor = _Cursor(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    magic, version = cursor.numbers("4sI")
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError(f"it starts with {magic!r}, version {version}")
    n_tensors, n_metadata = cursor.numbers("QQ")
    metadata: dict[str, Any] = {}
    for _ in range(n_metadata):
        name = cursor.text()
        metadata[name] = cursor.value(cursor.numbers("I")[0])
    alignment = _entry(metadata, "general.alignment", int) if "general.alignment" in metadata else 32
    if alignment < 1:
        raise ValueError(f"its tensors are aligned to {alignment} bytes")
    return metadata, _read_tensors(cursor, n_tensors, alignment)


def _read_tensors(cursor: _Cursor, number: int, alignment: int) -> dict[str, _Stored]:
    directory: list[tuple[str, tuple[int, ...], int, int]] = []
    for _ in range(number):
        name = cursor.text()
        dimensions = cursor.numbers(f"{cursor.numbers('I')[0]}Q")
        directory.append((name, dimensions[::-1], *cursor.numbers("IQ")))
    start = cursor.at + -cursor.at % alignment
    stored: dict[str, _Stored] = {}
    for name, shape, number_of_kind, offset in directory:
        if number_of_kind not in _KINDS:
            raise ValueError(f"the tensor {name!r} is of type {number_of_kind}, known are {list(_KINDS)}")
        kind = _KINDS[number_of_kind]
        blocks, rest = divmod(_product(shape), kind.block)
        if rest or not shape or shape[-1] % kind.block:
            raise ValueError(f"the tensor {name!r} of shape {shape} cannot be cut into blocks of {kind.block}")
        cursor.at = start + offset
        data = np.frombuffer(cursor.raw(blocks * kind.size), dtype=np.uint8)
        stored[name] = _Stored(kind, shape, data.reshape(blocks, kind.size))
    return stored


def _product(shape: tuple[int, ...]) -> int:
    total = 1  # of Python's own whole numbers: a damaged file may ask for more than 64 bits hold
    for length in shape:
        total *= length
    return total


def _entry(metadata: Metadata, name: str, kind: type[_T]) -> _T:
    value = metadata[name]
    if type(value) is not kind:
        raise ValueError(f"{name} is {value!r:.40}")
    return value


def _texts(metadata: Metadata, name: str) -> list[str]:
    values = _entry(metadata, name, list)
    if not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} holds more than texts")
    return values


def _shape(metadata: Metadata) -> _Shape:
    architecture = _entry(metadata, "general.architecture", str)
    if architecture != "llama":
        raise ValueError(f"its architecture is {architecture!r}")
    scaled = {"llama.rope.scaling.type", "llama.rope.scaling.factor"} & metadata.keys()
    if scaled:
        raise ValueError(f"its positions are scaled ({', '.join(sorted(scaled))})")

    def number(name: str) -> int:
        return _entry(metadata, f"llama.{name}", int)

    hidden, heads = number("embedding_length"), number("attention.head_count")
    shape = _Shape(
        hidden=hidden,
        layers=number("block_count"),
        heads=heads,
        kv_heads=number("attention.head_count_kv"),
        head_dim=number("rope.dimension_count"),
        intermediate=number("feed_forward_length"),
        positions=number("context_length"),
        vocabulary=number("vocab_size"),
    )
    if shape.heads * shape.head_dim != hidden or shape.kv_heads < 1 or heads % shape.kv_heads or shape.head_dim % 2:
        raise ValueError(f"its {heads} heads in {shape.kv_heads} groups do not fit a width of {hidden}")
    return shape


# --- weights -----------------------------------------------------------------------------------------------


def _named(shape: _Shape, stored: Mapping[str, _Stored]) -> dict[str, _Stored]:
    """Return the tensors under the hub's names, rows in the hub's order; each must be there, and no other."""
    weights: dict[str, _Stored] = {}
    left = dict(stored)
    for theirs, ours, size in _names(shape):
        if theirs == "output.weight" and theirs not in stored:
            continue  # tied to the token table
        tensor = left.pop(theirs)
        if tensor.shape != size:
            raise ValueError(f"{theirs} has the shape {tensor.shape} instead of {size}")
        heads = {"q_proj": shape.heads, "k_proj": shape.kv_heads}.get(ours.split(".")[-2])
        weights[ours] = _in_halves(tensor, heads) if heads else tensor
    if left:
        raise ValueError(f"it holds {next(iter(left))!r}, which a Llama does not have")
    return weights


def _names(shape: _Shape) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield (name in the file, name on the hub, shape)."""
    hidden, wide, keys = shape.hidden, shape.intermediate, shape.kv_heads * shape.head_dim
    for theirs, ours in _OUTER_NAMES.items():
        yield f"{theirs}.weight", f"{ours}.weight", (hidden,) if "norm" in theirs else (shape.vocabulary, hidden)
    inner = {"ffn_gate": (wide, hidden), "ffn_up": (wide, hidden), "ffn_down": (hidden, wide)}
    inner |= {"attn_k": (keys, hidden), "attn_v": (keys, hidden), "attn_norm": (hidden,), "ffn_norm": (hidden,)}
    for layer in range(shape.layers):
        for theirs, ours in _LAYER_NAMES.items():
            size = inner.get(theirs, (hidden, hidden))
            yield f"blk.{layer}.{theirs}.weight", f"model.layers.{layer}.{ours}.weight", size


def _in_halves(tensor: _Stored, heads: int) -> _Stored:
    """Put the rows back: of each head first those that stood at even places, then the others."""
    order_O = np.arange(tensor.shape[0]).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)
    rows = tensor.data.reshape(tensor.shape[0], -1)[order_O]  # a row is whole blocks
    return _Stored(tensor.kind, tensor.shape, rows.reshape(tensor.data.shape))


def _write_weights(path: Path, weights: Mapping[str, _Stored], progress: Progress) -> None:
    total = sum(tensor.weights for tensor in weights.values())
    done = 0
    with path.open("wb") as file:
        file.write(plain_safetensors.header((name, "F32", t.shape, t.weights) for name, t in weights.items()))
        for name, tensor in weights.items():
            for chunk in _unpacked(tensor):
                if not np.isfinite(chunk).all():
                    raise FloatingPointError(f"{name} holds a value that is not a number or too large")
                file.write(chunk.data)
                done += chunk.size
                progress("convert", done, total)


def _unpacked(tensor: _Stored) -> Iterator[NDArray[np.float32]]:
    step = _BYTES_AT_ONCE // tensor.kind.size
    for start in range(0, len(tensor.data), step):
        with np.errstate(invalid="ignore"):  # whoever writes the values looks for infinite ones
            yield np.ascontiguousarray(tensor.kind.unpack(tensor.data[start : start + step]))


def _float16(columns_N2: Bytes) -> NDArray[np.float32]:
    return columns_N2.copy().view("<f2").astype("<f4")


def _nibbles(columns_N16: Bytes) -> NDArray[np.float32]:
    return np.concatenate([columns_N16 & 15, columns_N16 >> 4], axis=1).astype("<f4")


def _q4_0(blocks: Bytes) -> NDArray[np.float32]:
    return _float16(blocks[:, :2]) * (_nibbles(blocks[:, 2:]) - 8)


def _q4_1(blocks: Bytes) -> NDArray[np.float32]:
    return _float16(blocks[:, :2]) * _nibbles(blocks[:, 4:]) + _float16(blocks[:, 2:4])


def _q8_0(blocks: Bytes) -> NDArray[np.float32]:
    return _float16(blocks[:, :2]) * blocks[:, 2:].view(np.int8).astype("<f4")


_KINDS: Final = {
    0: _Kind(1, 4, lambda blocks: blocks.copy().view("<f4")),
    1: _Kind(1, 2, _float16),
    2: _Kind(32, 18, _q4_0),
    3: _Kind(32, 20, _q4_1),
    8: _Kind(32, 34, _q8_0),
}
"""llama.cpp's number of a type -> how it is stored: F32, F16, Q4_0, Q4_1, Q8_0."""


# --- configuration and tokenizer ---------------------------------------------------------------------------


def _short(value: float) -> float:
    """Return the shortest number that is the same in float32: 1e-05 for 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _config(metadata: Metadata, shape: _Shape, *, tied: bool) -> dict[str, Any]:
    tokens = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": shape.positions,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": _short(_entry(metadata, "llama.attention.layer_norm_rms_epsilon", float)),
        "rope_scaling": None,
        "rope_theta": _short(_entry(metadata, "llama.rope.freq_base", float)),
        "tie_word_embeddings": tied,
        "vocab_size": shape.vocabulary,
        **{ours: metadata.get(f"tokenizer.ggml.{theirs}_token_id") for ours, theirs in tokens.items()},
    }


def _tokenizer(metadata: Metadata) -> dict[str, Any]:
    model = _entry(metadata, "tokenizer.ggml.model", str)
    pre = _entry(metadata, "tokenizer.ggml.pre", str)
    if model != "gpt2" or pre not in _PRE_TOKENIZERS:
        raise ValueError(f"its tokenizer is {model!r} with the words of {pre!r}")
    texts = _texts(metadata, "tokenizer.ggml.tokens")
    kinds = _entry(metadata, "tokenizer.ggml.token_type", list)
    merges = [merge.split(" ") for merge in _texts(metadata, "tokenizer.ggml.merges")]
    vocabulary = {text: token for token, text in enumerate(texts)}
    if len(vocabulary) != _entry(metadata, "llama.vocab_size", int):
        raise ValueError(f"it has {len(vocabulary)} different tokens")
    for first, second in merges:
        if not {first, second, first + second} <= vocabulary.keys():
            raise ValueError(f"it merges {first!r} and {second!r}, and not all of it are tokens")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added_token(token, text)
            for token, (text, kind) in enumerate(zip(texts, kinds, strict=True))
            if kind == _CONTROL
        ],
        "normalizer": None,
        "pre_tokenizer": _PRE_TOKENIZERS[pre],
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def _added_token(token: int, text: str) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": token, "content": text, **flags}
