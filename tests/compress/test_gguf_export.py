import dataclasses
import json
import os
import subprocess
import sys

import compress_helpers as made
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, pre_tokenizers

import tiny_language
from sartor.assets import gguf_lm
from sartor.errors import AssetError, BundleError, StorageError, TaskError
from sartor.nn.decoder import DecoderConfig, load_decoder

library = pytest.importorskip("gguf")

from sartor.compress.gguf import DTYPES, write_lora_gguf, write_merged_gguf  # noqa: E402
from sartor.compress.merge import CHAT_TEMPLATES, merged  # noqa: E402

MODEL = made.model()
ADAPTER = made.adapter(MODEL.decoder)
WEIGHTS = dict(merged(MODEL.decoder, ADAPTER))


def tensors(path):
    """Return name -> values of a file, as llama.cpp's own package reads it."""
    return {
        one.name: library.dequantize(one.data, one.tensor_type).reshape([int(n) for n in reversed(one.shape)])
        for one in library.GGUFReader(path).tensors
    }


def fields(path):
    return {name: field.contents() for name, field in library.GGUFReader(path).fields.items()}


def back(path, folder):
    """Read a file with the reader of our own."""
    folder.mkdir()
    gguf_lm.convert(path, folder)
    return load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())


# --- merged models -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_in_float32_all_comes_back_to_the_last_bit(tmp_path, tied):
    model = made.model(tied=tied)
    write_merged_gguf(tmp_path / "m.gguf", model, ADAPTER, dtype="F32")
    weights, config = back(tmp_path / "m.gguf", tmp_path / "back")
    wanted = dict(merged(model.decoder, ADAPTER))
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], weight) for name, weight in wanted.items())
    assert DecoderConfig.from_hub(config) == model.decoder.config
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, 2)
    decoder = load_decoder(model.decoder.config, tmp_path / "back" / "model.safetensors")
    wanted = made.logits(model.decoder, ADAPTER)
    torch.testing.assert_close(made.logits(decoder), wanted, atol=1e-5, rtol=1e-5)
    assert (wanted - made.logits(model.decoder)).abs().max() > 0.1


def test_the_tokenizer_comes_back(tmp_path):
    write_merged_gguf(tmp_path / "m.gguf", MODEL, ADAPTER, dtype="F16")
    back(tmp_path / "m.gguf", tmp_path / "back")
    theirs, ours = Tokenizer.from_file(str(tmp_path / "back" / "tokenizer.json")), made.tokenizer()
    for text in ("hello world 123", "hell on 4\n", "größer 東京", "<|im_start|>user\nhello<|im_end|>"):
        assert theirs.encode(text).ids == ours.encode(text).ids
    told = fields(tmp_path / "m.gguf")
    assert told["tokenizer.chat_template"] == CHAT_TEMPLATES["chatml"]
    assert told["tokenizer.ggml.token_type"] == [3] * 3 + [1] * (ours.get_vocab_size() - 3)
    assert told["tokenizer.ggml.add_bos_token"] is False
    assert told["general.license"] == "apache-2.0"
    assert told["general.file_type"] == library.LlamaFileType.MOSTLY_F16


STEPS = {
    # block of a row -> step, and the most steps that a weight may be off
    "Q8_0": (lambda block: np.abs(block).max(-1) / 127, 0.5),
    "Q4_1": (lambda block: (block.max(-1) - block.min(-1)) / 15, 0.5),
    "Q4_0": (lambda block: np.abs(block).max(-1) / 8, 1.0),
}


@pytest.mark.parametrize("dtype", STEPS)
def test_packed_weights_come_back_within_the_blocks_step(tmp_path, dtype):
    write_merged_gguf(tmp_path / "m.gguf", MODEL, ADAPTER, dtype=dtype)
    weights, _ = back(tmp_path / "m.gguf", tmp_path / "back")
    for name, weight in WEIGHTS.items():
        if weight.dim() == 1:
            assert torch.equal(weights[name], weight)
            continue
        step, most = STEPS["Q8_0" if "embed_tokens" in name else dtype]
        blocks = weight.numpy().reshape(-1, 32)
        steps = step(blocks)[:, None]
        off = np.abs(weights[name].numpy().reshape(-1, 32) - blocks)
        # scale and minimum are rounded to float16
        assert (off <= most * steps + 2e-3 * np.abs(blocks).max(-1, keepdims=True)).all()
        assert (off / steps).mean() > 0.15  # and are packed at all: even errors of half a step are a quarter on average
        assert (off / steps).mean() < 0.3


def test_half_precision_is_rounding_and_no_more(tmp_path):
    write_merged_gguf(tmp_path / "m.gguf", MODEL, ADAPTER, dtype="F16")
    weights, _ = back(tmp_path / "m.gguf", tmp_path / "back")
    for name, weight in WEIGHTS.items():
        assert torch.equal(weights[name], weight if weight.dim() == 1 else weight.half().float())


def test_a_smaller_format_is_a_smaller_file(tmp_path):
    sizes, seen = [], []
    for dtype in DTYPES:
        path = tmp_path / f"{dtype}.gguf"
        write_merged_gguf(path, MODEL, ADAPTER, dtype=dtype, progress=lambda *told: seen.append(told))
        sizes.append(path.stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    total = sum(weight.numel() for weight in WEIGHTS.values())
    assert seen[-1] == ("export", total, total)


# --- adapters ----------------------------------------------------------------------------------------------


def test_base_and_adapter_make_the_merged_model_in_the_files_own_order(tmp_path):
    none = {path: (a, 0 * b) for path, (a, b) in ADAPTER.items()}
    write_merged_gguf(tmp_path / "base.gguf", MODEL, none, dtype="F32")
    write_merged_gguf(tmp_path / "merged.gguf", MODEL, ADAPTER, dtype="F32")
    write_lora_gguf(tmp_path / "lora.gguf", ADAPTER, MODEL.decoder.config, "tiny")
    base, whole, parts = (tensors(tmp_path / f"{name}.gguf") for name in ("base", "merged", "lora"))
    assert len(parts) == 2 * len(ADAPTER)
    for name, weight in base.items():
        if f"{name}.lora_a" in parts:
            weight = weight + parts[f"{name}.lora_b"] @ parts[f"{name}.lora_a"]
        np.testing.assert_allclose(weight, whole[name], atol=1e-6)
    told = fields(tmp_path / "lora.gguf")
    assert told["general.type"] == "adapter"
    assert told["general.architecture"] == "llama"
    assert told["adapter.type"] == "lora"
    assert told["adapter.lora.alpha"] == 3.0
    assert told["general.base_model.0.name"] == "tiny"


def test_rows_of_queries_and_keys_are_put_in_pairs(tmp_path):
    write_lora_gguf(tmp_path / "lora.gguf", ADAPTER, MODEL.decoder.config, "tiny")
    parts = tensors(tmp_path / "lora.gguf")
    places = {"attn_q": ("self_attn.q_proj", 4), "attn_k": ("self_attn.k_proj", 2)}
    for theirs, (ours, heads) in places.items():
        a, b = (part[0].numpy() for part in ADAPTER[f"model.layers.1.{ours}"])
        np.testing.assert_array_equal(parts[f"blk.1.{theirs}.weight.lora_a"], a)
        found = parts[f"blk.1.{theirs}.weight.lora_b"]
        for head in range(heads):
            for pair in range(8):  # of a head's width of 16
                np.testing.assert_array_equal(found[16 * head + 2 * pair], b[16 * head + pair])
                np.testing.assert_array_equal(found[16 * head + 2 * pair + 1], b[16 * head + pair + 8])
    others = {"attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_down": "mlp.down_proj"}
    for theirs, ours in others.items():
        _, b = ADAPTER[f"model.layers.0.{ours}"]
        np.testing.assert_array_equal(parts[f"blk.0.{theirs}.weight.lora_b"], b[0].numpy())


def test_an_adapter_of_some_sites_has_no_other_tensor(tmp_path):
    only = ["model.layers.1.mlp.up_proj"]
    write_lora_gguf(tmp_path / "l.gguf", made.adapter(MODEL.decoder, only=only), MODEL.decoder.config, "tiny")
    assert list(tensors(tmp_path / "l.gguf")) == ["blk.1.ffn_up.weight.lora_a", "blk.1.ffn_up.weight.lora_b"]


# --- refusals, and whole or not at all ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "error", "said"),
    [
        (made.broken(ADAPTER), BundleError, "not finite"),
        (made.adapter(MODEL.decoder, groups=2), TaskError, "One adapter is written at a time"),
        ({}, BundleError, "no site at all"),
        ({"model.layers.7.mlp.up_proj": (torch.ones(1, 1, 64), torch.ones(1, 96, 1))}, BundleError, "layers.7"),
        ({"model.layers.1.mlp.up_proj": (torch.ones(1, 1, 96), torch.ones(1, 64, 1))}, BundleError, "does not fit"),
    ],
)
def test_an_adapter_that_is_none_is_not_written(tmp_path, found, error, said):
    with pytest.raises(error, match=said):
        write_lora_gguf(tmp_path / "l.gguf", found, MODEL.decoder.config, "tiny")
    with pytest.raises(error, match=said):
        write_merged_gguf(tmp_path / "m.gguf", MODEL, found)
    assert os.listdir(tmp_path) == []


def test_a_weight_that_the_format_cannot_hold_is_refused(tmp_path):
    for dtype in DTYPES[1:]:
        with pytest.raises(BundleError, match=f"too large for {dtype}"):
            write_merged_gguf(tmp_path / "m.gguf", MODEL, made.broken(ADAPTER, 1e6), dtype=dtype)
    assert os.listdir(tmp_path) == []
    write_merged_gguf(tmp_path / "m.gguf", MODEL, made.broken(ADAPTER, 1e6), dtype="F32")


def test_other_models_and_formats_are_sentences(tmp_path):
    path = tmp_path / "m.gguf"
    with pytest.raises(TaskError, match="Did you mean 'Q8_0'"):
        write_merged_gguf(path, MODEL, ADAPTER, dtype="Q8")
    qwen = made.model(qkv_bias=True)
    with pytest.raises(TaskError, match="Only a plain Llama"):
        write_merged_gguf(path, qwen, ADAPTER)
    with pytest.raises(TaskError, match="Only a plain Llama"):
        write_lora_gguf(path, ADAPTER, qwen.decoder.config, "tiny")
    narrow = made.model(hidden=48, head_dim=12)
    with pytest.raises(TaskError, match=r"Q8_0 packs 32 weights .* have 48. Write F16"):
        write_merged_gguf(path, narrow, made.adapter(narrow.decoder))
    bytes_only = tiny_language.model()
    bytes_only.tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    with pytest.raises(AssetError, match="known is SmolLM's"):
        write_merged_gguf(path, bytes_only, made.adapter(bytes_only.decoder), dtype="F32")
    fewer = dataclasses.replace(MODEL, decoder=made.model(vocab_size=300).decoder)
    with pytest.raises(AssetError, match=r"has \d+ tokens and the base's table 300 rows"):
        write_merged_gguf(path, fewer, ADAPTER)
    assert os.listdir(tmp_path) == []


def test_what_stands_there_stays(tmp_path):
    (tmp_path / "m.gguf").write_text("mine")
    with pytest.raises(StorageError, match="exists already"):
        write_merged_gguf(tmp_path / "m.gguf", MODEL, ADAPTER)
    with pytest.raises(StorageError, match="exists already"):
        write_lora_gguf(tmp_path / "m.gguf", ADAPTER, MODEL.decoder.config, "tiny")
    assert (tmp_path / "m.gguf").read_text() == "mine"
    assert os.listdir(tmp_path) == ["m.gguf"]


def test_a_full_disk_leaves_nothing_and_says_why(tmp_path):
    write_lora_gguf(tmp_path / "whole.gguf", ADAPTER, MODEL.decoder.config, "tiny")
    size = (tmp_path / "whole.gguf").stat().st_size
    for limit in (0, 200, 5_000, size // 2, size - 5_000, size - 100, size - 1):
        with pytest.raises(StorageError, match="larger than this system lets you write"), made.no_file_above(limit):
            write_lora_gguf(tmp_path / "l.gguf", ADAPTER, MODEL.decoder.config, "tiny")
        with pytest.raises(StorageError, match="larger than this system lets you write"), made.no_file_above(limit):
            write_merged_gguf(tmp_path / "m.gguf", MODEL, ADAPTER, dtype="F16")
        assert os.listdir(tmp_path) == ["whole.gguf"]


def test_without_the_library_there_is_a_sentence():
    code = (
        "import sys; sys.modules['gguf'] = None\n"
        "from sartor.errors import UserError\n"
        "try:\n    import sartor.compress.gguf\n"
        "except UserError as error:\n    sys.exit(f'told: {error}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip() == "told: Writing GGUF needs the package gguf: say pip install 'sartor[gguf]'."
