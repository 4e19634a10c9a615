import dataclasses
import json
import os

import compress_helpers as made
import jinja2
import pytest
import torch
from safetensors.torch import load_file

from sartor.compress.merge import CHAT_TEMPLATES, merged, write_merged_safetensors
from sartor.errors import BundleError, StorageError, TaskError
from sartor.nn.decoder import DecoderConfig, load_decoder

MODEL = made.model()
ADAPTER = made.adapter(MODEL.decoder)


def test_the_merged_weights_say_what_base_and_adapter_say():
    plain = made.exact(MODEL.decoder)
    plain.load_state_dict({name: weight.double() for name, weight in merged(MODEL.decoder, ADAPTER)})
    wanted = made.logits(MODEL.decoder, ADAPTER)
    torch.testing.assert_close(made.logits(plain), wanted, atol=1e-5, rtol=1e-5)
    assert (wanted - made.logits(MODEL.decoder)).abs().max() > 0.1


def test_a_weight_without_an_adapter_is_the_bases_to_the_last_bit():
    only = ["model.layers.1.mlp.up_proj"]
    before = MODEL.decoder.state_dict()
    changed = [
        name
        for name, weight in merged(MODEL.decoder, made.adapter(MODEL.decoder, only=only))
        if not torch.equal(weight, before[name])
    ]
    assert changed == [f"{only[0]}.weight"]


@pytest.mark.parametrize("tied", [True, False])
def test_a_hub_folder_is_one_that_transformers_loads(tmp_path, tied):
    from transformers import AutoTokenizer, LlamaForCausalLM

    model = made.model(tied=tied)
    write_merged_safetensors(tmp_path / "hub", model, ADAPTER)
    theirs = LlamaForCausalLM.from_pretrained(tmp_path / "hub").double().eval()
    with torch.inference_mode():
        said = theirs(made.ids(model.decoder.config)).logits
    torch.testing.assert_close(said, made.logits(model.decoder, ADAPTER), atol=1e-4, rtol=1e-4)
    assert theirs.generation_config.eos_token_id == list(model.spec.stop_ids)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hub")
    turns = [{"role": "user", "content": "hello wörld 12"}]
    asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert tuple(asked) == model.prompt("hello wörld 12")
    assert tokenizer.eos_token == "<|im_end|>"


@pytest.mark.parametrize(("dtype", "kind"), [("F32", torch.float32), ("F16", torch.float16)])
def test_a_hub_folder_is_a_base_of_ours(tmp_path, dtype, kind):
    write_merged_safetensors(tmp_path / "hub", MODEL, ADAPTER, dtype=dtype)
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    assert DecoderConfig.from_hub(config) == MODEL.decoder.config
    stored = load_file(tmp_path / "hub" / "model.safetensors")
    for name, weight in merged(MODEL.decoder, ADAPTER):
        assert torch.equal(stored[name], weight.to(kind))
    load_decoder(MODEL.decoder.config, tmp_path / "hub" / "model.safetensors")


@pytest.mark.parametrize("system", ["", "Be brief."])
def test_the_template_for_others_asks_as_ours_does(system):
    turns = [{"role": "system", "content": system}] * bool(system) + [{"role": "user", "content": "Hello!"}]
    template = jinja2.Environment(autoescape=False).from_string(CHAT_TEMPLATES[MODEL.spec.template])
    asked = template.render(messages=turns, add_generation_prompt=True)
    assert asked == MODEL.spec.chat("Hello!", system=system)


def huge():
    """An adapter that brings weights above what float16 holds."""
    return made.broken(ADAPTER, 1e6)


@pytest.mark.parametrize(
    ("found", "dtype", "error", "said"),
    [
        (made.broken(ADAPTER), "F32", BundleError, "not finite"),
        (made.broken(ADAPTER, 3e38), "F32", BundleError, "'model.layers.1.mlp.down_proj.weight' holds numbers that"),
        (huge(), "F16", BundleError, "too large for F16"),
        (made.adapter(MODEL.decoder, groups=2), "F32", TaskError, "One adapter is written at a time"),
        ({"model.layers.7.mlp.up_proj": (torch.ones(1, 1, 64), torch.ones(1, 96, 1))}, "F32", BundleError, "layers.7"),
    ],
)
def test_what_is_no_sound_model_is_not_written(tmp_path, found, dtype, error, said):
    with pytest.raises(error, match=said):
        write_merged_safetensors(tmp_path / "hub", MODEL, found, dtype=dtype)
    assert os.listdir(tmp_path) == []


def test_another_kind_of_decoder_is_refused(tmp_path):
    model = made.model(qkv_bias=True)
    with pytest.raises(TaskError, match="Only a plain Llama"):
        write_merged_safetensors(tmp_path / "hub", model, made.adapter(model.decoder))
    wide = dataclasses.replace(MODEL.decoder.config, head_dim=8)
    assert wide.heads * wide.head_dim != wide.hidden
    with pytest.raises(TaskError, match="heads of another width"):
        write_merged_safetensors(tmp_path / "hub", made.model(head_dim=8), {})


def test_a_full_disk_leaves_nothing(tmp_path):
    for limit in (100, 10_000, 100_000):
        with pytest.raises(StorageError, match="larger than this system lets you write"), made.no_file_above(limit):
            write_merged_safetensors(tmp_path / "a" / "hub", MODEL, ADAPTER)
        assert os.listdir(tmp_path / "a") == []
    write_merged_safetensors(tmp_path / "a" / "hub", MODEL, ADAPTER)
    with pytest.raises(StorageError, match="exists already"):
        write_merged_safetensors(tmp_path / "a" / "hub", MODEL, ADAPTER)
    assert os.listdir(tmp_path / "a") == ["hub"]
