"""Adapters and merged models in llama.cpp's format, GGUF (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).

Header and blocks are made by llama.cpp's own package ``gguf`` (pure Python, the extra ``sartor[gguf]``); without it,
importing this module is a :class:`~sartor.errors.UserError`. What is ours: which tensor bears which name, the order
of rows, the tokenizer. llama.cpp turns neighbouring pairs of a head's width by an angle, the hub's models turn
halves; so the rows of queries and keys, and those of B at their sites, are put in pairs here.
:mod:`sartor.assets.gguf_lm` reads it all back.

Blocks are of 32 weights of a row. A weight is off by at most half a step: in Q8_0 the largest magnitude of its block
/ 127, in Q4_1 the block's range / 15, in Q4_0 the largest magnitude / 8, there by a whole step at one end. The token
table, which is the output layer too where they are tied, keeps 8 bits in the 4-bit formats, as in llama.cpp's own.

How far that is, of the weights alone, on SmolLM2-135M with two random adapters that change 8 of 10 answers:
log-probabilities of the ten likeliest tokens are off by 0.003 on average in F16, 0.07 in Q8_0, 0.4 to 0.8 in Q4_1,
1.1 in Q4_0; without the adapter by 0.7 to 1.3. So 4 bits drown an adapter of this base, which was unpacked from Q4_1
itself. A small file that keeps it is the base's own in Q4_1 with :func:`write_lora_gguf` beside it.

Dimension key:   r: rank   I, O: inputs and outputs of a linear layer
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from torch import Tensor

from sartor.compress.merge import CHAT_TEMPLATES, check_one, merged, refuse_other_shapes
from sartor.compress.whole import new_file
from sartor.errors import AssetError, BundleError, TaskError, UserError, did_you_mean
from sartor.nn.decoder import Adapters, DecoderConfig
from sartor.nn.language import LanguageModel
from sartor.types import Progress, silent

try:
    import gguf
    from gguf import GGMLQuantizationType, GGUFWriter
except ImportError:
    raise UserError("Writing GGUF needs the package gguf: say pip install 'sartor[gguf]'.") from None

Dtype: TypeAlias = Literal["F32", "F16", "Q8_0", "Q4_1", "Q4_0"]

DTYPES: Final[tuple[Dtype, ...]] = ("F32", "F16", "Q8_0", "Q4_1", "Q4_0")
"""From the most exact to the smallest; see the module."""

_TABLES: Final = ("token_embd.weight", "output.weight")
_NORMAL, _CONTROL, _OF_THE_USER = 1, 3, 4
"""Types of tokens."""
_MOST: Final = float(np.finfo(np.float16).max)
"""Of a weight's magnitude, but in float32: blocks have a scale in float16."""


def write_lora_gguf(path: Path, adapter: Adapters, config: DecoderConfig, base_name: str) -> None:
    """Write an adapter for llama.cpp, which loads it beside a GGUF file of the base (``--lora``).

    A chat template is the base file's: see to it that the base is asked as in training (``--chat-template chatml``).

    Args:
        path: not there; its parents are made.
        adapter: site -> A (1, r, I) and B (1, O, r), written as float32.
        config: of the base.
        base_name: for people who look into the file.

    Raises:
        TaskError: if ``adapter`` is a batch of several, or the base is no Llama.
        BundleError: if it does not fit the base, or is broken.
        StorageError: if something stands at ``path``, or the disk does not take the file.
    """
    refuse_other_shapes(config)
    check_one(adapter, config)
    rank = next(iter(adapter.values()))[0].shape[1]
    writer = GGUFWriter(None, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(rank))  # llama.cpp's factor is alpha / r
    _add_base(writer, base_name)
    names = _names(config, (f"{site}.weight" for site in adapter))
    weights: dict[str, Tensor] = {}
    for site, (a_1rI, b_1Or) in adapter.items():
        theirs = names[f"{site}.weight"]
        weights[f"{theirs}.lora_a"] = a_1rI[0]
        weights[f"{theirs}.lora_b"] = _in_pairs(theirs, b_1Or[0], config)
    stored = {name: (tuple(weight.shape), GGMLQuantizationType.F32) for name, weight in weights.items()}
    _write(path, writer, stored, weights.items(), silent)


def write_merged_gguf(
    path: Path, model: LanguageModel, adapter: Adapters, *, dtype: Dtype = "Q8_0", progress: Progress = silent
) -> None:
    """Write one model, the adapter folded into its base, that llama.cpp and what is built on it run as it is.

    The chat template in the file asks as Sartor does. Memory: the base and two of its tensors.

    Args:
        path: not there; its parents are made.
        model: the base.
        adapter: site -> A (1, r, I) and B (1, O, r).
        dtype: of the matrices; norms are float32 always.
        progress: is told of the stage ``export``, in weights.

    Raises:
        TaskError: if ``adapter`` is a batch of several, the base is no Llama, or its rows do not fill blocks.
        BundleError: if it does not fit the base, is broken, or too large for ``dtype``.
        AssetError: if the tokenizer is one that llama.cpp does not have.
        StorageError: if something stands at ``path``, or the disk does not take the file.
    """
    config = model.decoder.config
    if dtype not in DTYPES:
        raise TaskError(
            f"No format named {dtype!r}.{did_you_mean(str(dtype), DTYPES)} Known formats: {', '.join(DTYPES)}."
        )
    refuse_other_shapes(config)
    check_one(adapter, config)
    writer = GGUFWriter(None, "llama")
    writer.add_type(gguf.GGUFType.MODEL)
    _add_base(writer, model.spec.name)
    writer.add_license(model.spec.licence.lower())
    _add_shape(writer, config)
    _add_tokenizer(writer, model)
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if dtype == "F32" else f"MOSTLY_{dtype}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    shapes = {name: tuple(weight.shape) for name, weight in model.decoder.state_dict().items()}
    names = _names(config, shapes)
    stored = {names[name]: (shape, _kind(names[name], shape, dtype)) for name, shape in shapes.items()}
    weights = ((names[name], _in_pairs(names[name], weight, config)) for name, weight in merged(model.decoder, adapter))
    _write(path, writer, stored, weights, progress)


# --- tensors -----------------------------------------------------------------------------------------------


def _names(config: DecoderConfig, ours: Iterable[str]) -> dict[str, str]:
    theirs = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.layers)
    return {name: str(theirs.get_name(name, try_suffixes=(".weight",))) for name in ours}


def _in_pairs(theirs: str, rows: Tensor, config: DecoderConfig) -> Tensor:
    """Put the rows of queries and keys in llama.cpp's order; others stay as they are."""
    heads = {"attn_q": config.heads, "attn_k": config.kv_heads}.get(theirs.split(".")[-2])
    if heads is None:
        return rows
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(rows.shape)


def _kind(theirs: str, shape: tuple[int, ...], dtype: Dtype) -> GGMLQuantizationType:
    if len(shape) == 1:
        return GGMLQuantizationType.F32
    kind = GGMLQuantizationType[dtype]
    if theirs in _TABLES and dtype.startswith("Q4"):
        kind = GGMLQuantizationType.Q8_0
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    if shape[-1] % block:
        raise TaskError(
            f"{dtype} packs {block} weights of a row together, and rows of {theirs!r} have {shape[-1]}. Write F16."
        )
    return kind


def _write(
    path: Path,
    writer: GGUFWriter,
    stored: Mapping[str, tuple[tuple[int, ...], GGMLQuantizationType]],
    weights: Iterable[tuple[str, Tensor]],
    progress: Progress,
) -> None:
    """Write the file. ``weights`` come in the order of ``stored``, which tells shapes and kinds."""
    for name, (shape, kind) in stored.items():
        size = gguf.quant_shape_to_byte_shape(shape, kind)
        writer.add_tensor_info(name, size, np.dtype(np.uint8), math.prod(size), raw_dtype=kind)
    total, done = sum(math.prod(shape) for shape, _ in stored.values()), 0
    with new_file(path) as new:
        try:
            writer.write_header_to_file(new)
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for name, weight in weights:
                _append(writer, _packed(name, weight, stored[name][1]))
                done += weight.numel()
                progress("export", done, total)
        finally:
            writer.close()


def _packed(name: str, weight: Tensor, kind: GGMLQuantizationType) -> np.ndarray[Any, Any]:
    most = float(weight.abs().max())
    if kind != GGMLQuantizationType.F32 and most > _MOST:
        raise BundleError(f"With the adapter, {name!r} holds {most:.4g}, too large for {kind.name}. Write F32 instead.")
    return gguf.quantize(weight.detach().float().cpu().contiguous().numpy(), kind)


def _append(writer: GGUFWriter, packed: np.ndarray[Any, Any]) -> None:
    """Write a tensor. The library's way, numpy's ``tofile``, says nothing when a disk is full but for the last 4 KB."""
    assert writer.fout is not None
    file = writer.fout[0]
    writer.write_padding(file, file.tell())
    file.write(np.ascontiguousarray(packed).data)
    writer.write_padding(file, packed.nbytes)


# --- metadata ----------------------------------------------------------------------------------------------


def _add_base(writer: GGUFWriter, base_name: str) -> None:
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, base_name)


def _add_shape(writer: GGUFWriter, config: DecoderConfig) -> None:
    writer.add_block_count(config.layers)
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden)
    writer.add_feed_forward_length(config.intermediate)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)


def _add_tokenizer(writer: GGUFWriter, model: LanguageModel) -> None:
    """Tell llama.cpp the tokenizer.

    Raises:
        AssetError: if it is not SmolLM's kind, or has not a token for each row of the table.
    """
    told: dict[str, Any] = json.loads(model.tokenizer.to_str())
    _refuse_other_words(told)
    texts = {token: text for text, token in told["model"]["vocab"].items()}
    kinds = dict.fromkeys(texts, _NORMAL)
    for added in told["added_tokens"]:
        texts[added["id"]] = added["content"]
        kinds[added["id"]] = _CONTROL if added["special"] else _OF_THE_USER
    vocabulary = range(model.decoder.config.vocab_size)
    if sorted(texts) != list(vocabulary):
        raise AssetError(
            f"The tokenizer has {len(texts)} tokens and the base's table {len(vocabulary)} rows; GGUF wants one of "
            "each. Fetch the base again."
        )
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in told["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([texts[token] for token in vocabulary])
    writer.add_token_types([kinds[token] for token in vocabulary])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(model.opening[0])
    writer.add_eos_token_id(model.stop)
    writer.add_pad_token_id(model.stop)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATES[model.spec.template])


def _refuse_other_words(told: Mapping[str, Any]) -> None:
    words = told["pre_tokenizer"] or {}
    digits, *rest = words.get("pretokenizers") or [words]
    is_smollm = (
        digits.get("type") == "Digits"
        and digits.get("individual_digits")
        and [(one.get("type"), one.get("add_prefix_space"), one.get("use_regex")) for one in rest]
        == [("ByteLevel", False, True)]
    )
    if told["model"]["type"] != "BPE" or told["normalizer"] is not None or not is_smollm:
        raise AssetError(
            "The base's tokenizer is of a kind that is not written to GGUF; known is SmolLM's, which takes digits one "
            "by one and then GPT-2's words. Write the adapter in PEFT's format instead."
        )
