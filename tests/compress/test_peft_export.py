import json
import math
import os

import compress_helpers as made
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import tiny_language
from sartor.compress.peft import CONFIG, WEIGHTS, read_peft, write_peft
from sartor.errors import BundleError, NotFoundError, StorageError, TaskError
from sartor.nn.decoder import sites

DECODER = tiny_language.model().decoder
SITES = list(sites(DECODER))
BASE = {"base_name": "tiny", "base_sha256": "ab" * 32}


def same(one, other):
    assert one.keys() == other.keys()
    for path, factors in one.items():
        for factor, its in zip(factors, other[path], strict=True):
            assert torch.equal(factor, its)


def written(folder, rank=3, **changes):
    """Write an adapter, then change its configuration; give the adapter."""
    found = made.adapter(DECODER, rank)
    write_peft(folder, found, **BASE)
    config = {**json.loads((folder / CONFIG).read_text()), **changes}
    (folder / CONFIG).write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))
    return found


@given(only=st.sets(st.sampled_from(SITES), min_size=1), rank=st.integers(1, 5), seed=st.integers(0, 99))
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_is_read_to_the_last_bit(tmp_path_factory, only, rank, seed):
    folder = tmp_path_factory.mktemp("peft") / "adapter"
    found = made.adapter(DECODER, rank, seed=seed, only=only)
    write_peft(folder, found, **BASE)
    same(read_peft(folder), found)
    assert sorted(os.listdir(folder)) == [CONFIG, WEIGHTS]


def test_the_configuration_says_what_engines_ask_for(tmp_path):
    written(tmp_path / "a", rank=4)
    assert json.loads((tmp_path / "a" / CONFIG).read_text()) == {
        "base_model_name_or_path": "tiny",
        "bias": "none",
        "inference_mode": True,
        "layers_pattern": "layers",
        "layers_to_transform": [0, 1, 2],
        "lora_alpha": 4,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": 4,
        "target_modules": ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
        "task_type": "CAUSAL_LM",
    }
    with safe_open(tmp_path / "a" / WEIGHTS, "pt") as file:
        assert file.metadata() == {"base_sha256": "ab" * 32, "format": "pt"}
        assert set(file.keys()) == {f"base_model.model.{site}.lora_{part}.weight" for site in SITES for part in "AB"}


def test_sites_that_are_not_the_same_in_each_layer_are_named_in_full(tmp_path):
    only = ["model.layers.0.mlp.up_proj", "model.layers.2.self_attn.q_proj"]
    write_peft(tmp_path / "a", made.adapter(DECODER, only=only), **BASE)
    config = json.loads((tmp_path / "a" / CONFIG).read_text())
    assert config["target_modules"] == only
    assert not {"layers_to_transform", "layers_pattern"} & config.keys()


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, for what peft calls
@pytest.mark.parametrize(
    "only",
    [
        SITES,
        [site for site in SITES if ".0." not in site and "q_proj" in site],
        ["model.layers.0.mlp.up_proj", "model.layers.2.self_attn.q_proj", "model.layers.1.mlp.down_proj"],
    ],
    ids=["all", "some layers", "here and there"],
)
def test_peft_itself_says_the_same_with_it(tmp_path, only):
    peft = pytest.importorskip("peft")
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = DECODER.config
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=shape.max_positions,
            rms_norm_eps=shape.rms_norm_eps,
            tie_word_embeddings=True,
        )
    )
    theirs.model.load_state_dict(DECODER.model.state_dict())
    found = made.adapter(DECODER, only=only)
    write_peft(tmp_path / "a", found, **BASE)
    loaded = peft.PeftModel.from_pretrained(theirs, tmp_path / "a").double().eval()
    parts = [name for name, _ in loaded.named_parameters() if ".lora_A." in name]
    assert len(parts) == len(only)  # peft is silent about what it did not find
    with torch.inference_mode():
        said = loaded(made.ids(shape)).logits
    # transformers works out the angles in float32
    torch.testing.assert_close(said, made.logits(DECODER, found), atol=1e-4, rtol=1e-5)
    assert (said - made.logits(DECODER)).abs().max() > 0.1


# --- reading what others wrote -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"lora_alpha": 6}, 2.0),
        ({"lora_alpha": 1}, 1 / 3),
        ({"lora_alpha": 4.5}, 1.5),
        ({"lora_alpha": 3, "use_rslora": True}, math.sqrt(3)),
        ({"use_rslora": False, "init_lora_weights": "gaussian", "revision": None}, 1.0),
    ],
)
def test_another_factor_goes_into_b(tmp_path, changes, factor):
    found = written(tmp_path / "a", rank=3, **changes)
    for path, (a, b) in read_peft(tmp_path / "a").items():
        assert torch.equal(a, found[path][0])
        torch.testing.assert_close(b, found[path][1] * factor, atol=0, rtol=1e-6)


def test_half_precision_is_read_as_float32(tmp_path):
    found = written(tmp_path / "a")
    weights = load_file(tmp_path / "a" / WEIGHTS)
    save_file({name: weight.bfloat16() for name, weight in weights.items()}, tmp_path / "a" / WEIGHTS)
    for path, (_, b) in read_peft(tmp_path / "a").items():
        assert torch.equal(b, found[path][1].bfloat16().float())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "IA3"}, "of type 'IA3'; known is 'LORA'"),
        ({"peft_type": "gone"}, "of type None"),
        ({"lora_alpha": "gone"}, "lacks lora_alpha"),
        ({"lora_alpha": "gone", "r": "gone"}, "lacks r and lora_alpha"),
        ({"r": "8"}, "has r '8' and lora_alpha 3"),
        ({"r": True}, "has r True"),
        ({"lora_alpha": 0}, "lora_alpha 0"),
        ({"lora_alpha": math.nan}, "lora_alpha nan"),
        ({"r": 4}, "r is 4, its tensors are of rank 3"),
        ({"bias": "all"}, "bias 'all'"),
        ({"use_dora": True}, "use_dora True"),
        ({"alpha_pattern": {"q_proj": 9}}, "alpha_pattern"),
        ({"rank_pattern": {"q_proj": 9}}, "rank_pattern"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
    ],
)
def test_what_is_no_plain_lora_is_refused(tmp_path, changes, said):
    written(tmp_path / "a", **changes)
    with pytest.raises(BundleError, match=said):
        read_peft(tmp_path / "a")


@pytest.mark.parametrize("text", ["", "[1]", '"LORA"', '{"peft_type": "LO', "[" * 10_000])
def test_a_configuration_that_is_none_is_refused(tmp_path, text):
    written(tmp_path / "a")
    (tmp_path / "a" / CONFIG).write_text(text)
    with pytest.raises(BundleError, match=r"is no JSON|tells of an adapter of type"):
        read_peft(tmp_path / "a")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    written(tmp_path / "a")
    whole = (tmp_path / "a" / WEIGHTS).read_bytes()
    for size in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a" / WEIGHTS).write_bytes(whole[:size])
        with pytest.raises(BundleError, match="no sound safetensors file"):
            read_peft(tmp_path / "a")


def test_a_missing_tensor_and_a_number_that_is_none_are_refused(tmp_path):
    written(tmp_path / "a")
    weights = load_file(tmp_path / "a" / WEIGHTS)
    name = f"base_model.model.{SITES[0]}.lora_B.weight"
    save_file({key: weight for key, weight in weights.items() if key != name}, tmp_path / "a" / WEIGHTS)
    with pytest.raises(BundleError, match=r"has no lora_B.weight at"):
        read_peft(tmp_path / "a")
    weights[name][0, 0] = math.inf
    save_file(weights, tmp_path / "a" / WEIGHTS)
    with pytest.raises(BundleError, match="not finite"):
        read_peft(tmp_path / "a")


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_a_sentence(tmp_path, name):
    written(tmp_path / "a")
    (tmp_path / "a" / name).unlink()
    with pytest.raises(NotFoundError, match="A folder of PEFT holds"):
        read_peft(tmp_path / "a")
    with pytest.raises(NotFoundError):
        read_peft(tmp_path / "nowhere")


# --- whole or not at all -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "error", "said"),
    [
        (made.broken(made.adapter(DECODER)), BundleError, "not finite"),
        (made.adapter(DECODER, groups=2), TaskError, "One adapter is written at a time"),
        ({"lm_head": (torch.ones(1, 2, 4), torch.ones(1, 5, 2))}, TaskError, "no linear layer of a Llama"),
        ({}, BundleError, "no site at all"),
        ({**made.adapter(DECODER), **made.adapter(DECODER, 2, only=SITES[:1])}, BundleError, "does not fit at"),
    ],
)
def test_what_cannot_be_loaded_is_not_written(tmp_path, found, error, said):
    with pytest.raises(error, match=said):
        write_peft(tmp_path / "a", found, **BASE)
    assert os.listdir(tmp_path) == []


def test_what_stands_there_stays(tmp_path):
    (tmp_path / "a").mkdir()
    found = written(tmp_path / "a")  # an empty folder is as good as none
    with pytest.raises(StorageError, match="exists already"):
        write_peft(tmp_path / "a", made.adapter(DECODER, seed=5), **BASE)
    same(read_peft(tmp_path / "a"), found)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="exists already"):
        write_peft(tmp_path / "file", found, **BASE)
    assert sorted(os.listdir(tmp_path)) == ["a", "file"]


def test_a_full_disk_leaves_nothing(tmp_path):
    found = made.adapter(DECODER)
    write_peft(tmp_path / "whole", found, **BASE)
    size = (tmp_path / "whole" / WEIGHTS).stat().st_size
    for limit in (0, 100, size // 2, size - 1):
        with pytest.raises(StorageError, match="larger than this system lets you write"), made.no_file_above(limit):
            write_peft(tmp_path / "a", found, **BASE)
        assert os.listdir(tmp_path) == ["whole"]
    with made.no_file_above(size):
        write_peft(tmp_path / "a", found, **BASE)
    same(read_peft(tmp_path / "a"), found)
