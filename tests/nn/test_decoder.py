import dataclasses
import functools

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from sartor.errors import AssetError, BundleError, TaskError
from sartor.nn.decoder import Cache, Decoder, DecoderConfig, load_decoder, rows_of, sites

CONFIG = DecoderConfig(
    vocab_size=50,
    hidden=24,
    layers=3,
    heads=4,
    kv_heads=2,
    head_dim=8,
    intermediate=40,
    max_positions=64,
    tied=True,
)
HUB = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
}


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every weight a value that matters: norms and biases too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4 + float("norm" in name))
    return module.eval().requires_grad_(False)


@functools.cache
def decoder(seed: int = 0, dtype: torch.dtype = torch.float64, **changes) -> Decoder:
    made = Decoder(dataclasses.replace(CONFIG, **changes)).to(dtype)
    return randomised(made, seed)


def adapters(groups: int, rank: int = 2, seed: int = 0, targets=None, dtype=torch.float64, layers=range(3)):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) * 0.3

    return {
        path: (random(groups, rank, inputs), random(groups, outputs, rank))
        for path, (outputs, inputs) in sites(decoder(), targets).items()
        if int(path.split(".")[2]) in layers
    }


def ids(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 50, (rows, length), generator=torch.Generator().manual_seed(seed))


def padded(rows: list[torch.Tensor], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, rows))
    ids_BT, keep_BT = torch.full((len(rows), longest), 7), torch.zeros((len(rows), longest), dtype=torch.bool)
    for at, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
        ids_BT[at, place], keep_BT[at, place] = row, True
    return ids_BT, keep_BT


# --- the same as the ecosystem's ---------------------------------------------------------------------------

KINDS = {
    "llama": {"tie_word_embeddings": True},
    "llama-untied": {"rope_theta": 500.0, "rms_norm_eps": 1e-3},
    "qwen2": {"use_sliding_window": False, "sliding_window": 4},
    "qwen3": {"tie_word_embeddings": True, "head_dim": 12},
    "mistral": {"sliding_window": None},
}


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_transformers(kind, tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type = kind.partition("-")[0]
    options = {**HUB, **KINDS[kind]}
    theirs = randomised(AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **options)))
    save_file(dict(theirs.named_parameters()), tmp_path / "model")  # what is tied is named once
    # what the library writes today, and what lies on the hub from before it
    for told in (theirs.config.to_dict(), {"model_type": model_type, **options}):
        ours = load_decoder(DecoderConfig.from_hub(told), tmp_path / "model")
        ids_BT, keep_BT = padded([ids(1, 9)[0], ids(1, 5, seed=1)[0]], "left")
        positions_BT = (keep_BT.long().cumsum(1) - 1).clamp(min=0)
        with torch.inference_mode():
            wanted = theirs(ids_BT, attention_mask=keep_BT.long(), position_ids=positions_BT).logits
            got = ours.logits(ours(ids_BT, keep_BT))
        assert wanted[keep_BT].std() > 0.5
        torch.testing.assert_close(got[keep_BT], wanted[keep_BT], atol=2e-5, rtol=1e-4)


# --- padding, causality, cache -----------------------------------------------------------------------------


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.sampled_from(["left", "right"]))
@hypothesis_settings(max_examples=25, deadline=None)
def test_padding_changes_no_state_of_a_real_token(lengths, side):
    rows = [ids(1, length, seed=at)[0] for at, length in enumerate(lengths)]
    ids_BT, keep_BT = padded(rows, side)
    got = decoder()(ids_BT, keep_BT)
    assert got.isfinite().all()
    for at, row in enumerate(rows):
        torch.testing.assert_close(got[at][keep_BT[at]], decoder()(row[None])[0])


def test_without_a_mask_padding_on_the_left_would_change_them():
    ids_BT, keep_BT = padded([ids(1, 9)[0], ids(1, 5)[0]], "left")
    assert (decoder()(ids_BT) - decoder()(ids_BT, keep_BT))[1, -5:].abs().max() > 1e-2


def test_no_token_sees_a_later_one():
    first, second = ids(1, 8), ids(1, 8)
    second[0, 5:] = (second[0, 5:] + 1) % 50
    before, after = decoder()(first), decoder()(second)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert (before[:, 5:] - after[:, 5:]).abs().amin(dim=1).max() > 1e-3


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.sampled_from(["none", "left", "right"]))
@hypothesis_settings(max_examples=25, deadline=None)
def test_reading_in_pieces_with_a_cache_is_reading_at_once(pieces, padding):
    length = sum(pieces)
    ids_BT, keep_BT = ids(2, length), None
    if padding != "none":
        ids_BT, keep_BT = padded([ids(1, length)[0], ids(1, 1, seed=3)[0]], padding)
    cache = Cache.empty(CONFIG, 2, length, device=torch.device("cpu"), dtype=torch.float64)
    got, start = [], 0
    for size in pieces:
        part = slice(start, start + size)
        got.append(decoder()(ids_BT[:, part], None if keep_BT is None else keep_BT[:, part], cache=cache))
        start += size
    real = torch.ones_like(ids_BT, dtype=torch.bool) if keep_BT is None else keep_BT
    torch.testing.assert_close(torch.cat(got, dim=1)[real], decoder()(ids_BT, keep_BT)[real])
    assert cache.length == length


def test_a_cache_of_some_rows_goes_on_as_these_rows():
    ids_BT, keep_BT = padded([ids(1, n, seed=n)[0] for n in (6, 3, 5)], "left")
    cache = Cache.empty(CONFIG, 3, 7, device=torch.device("cpu"), dtype=torch.float64)
    decoder()(ids_BT, keep_BT, cache=cache)
    kept, new = torch.tensor([2, 0]), torch.tensor([[1], [2]])
    got = decoder()(new, cache=cache.rows(kept))
    whole = torch.cat((ids_BT[kept], new), dim=1)
    wanted = decoder()(whole, torch.cat((keep_BT[kept], torch.ones_like(new, dtype=torch.bool)), dim=1))
    torch.testing.assert_close(got[:, 0], wanted[:, -1])


def test_a_full_cache_is_refused():
    cache = Cache.empty(CONFIG, 1, 3, device=torch.device("cpu"), dtype=torch.float64)
    with pytest.raises(ValueError, match="room for 3 tokens, not for 4"):
        decoder()(ids(1, 4), cache=cache)


# --- adapters ----------------------------------------------------------------------------------------------


def merged(made: Decoder, adapter) -> Decoder:
    """The decoder with W + B A in place of W."""
    weights = dict(made.state_dict())
    for path, (a_GrI, b_GOr) in adapter.items():
        weights[f"{path}.weight"] = weights[f"{path}.weight"] + b_GOr[0] @ a_GrI[0]
    result = Decoder(made.config).double()
    result.load_state_dict(weights)
    return result.eval().requires_grad_(False)


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_adapter_is_a_low_rank_update_of_the_weights(side):
    adapter = adapters(1)
    ids_BT, keep_BT = padded([ids(1, 7)[0], ids(1, 4, seed=1)[0]], side)
    got, wanted = decoder()(ids_BT, keep_BT, adapters=adapter), merged(decoder(), adapter)(ids_BT, keep_BT)
    torch.testing.assert_close(got[keep_BT], wanted[keep_BT])
    assert (got - decoder()(ids_BT, keep_BT))[keep_BT].abs().max() > 0.1


def test_every_site_takes_part():
    ids_BT = ids(1, 7)
    plain = decoder()(ids_BT)
    for path, pair in adapters(1).items():
        assert (decoder()(ids_BT, adapters={path: pair}) - plain).abs().max() > 1e-3, path


def test_each_row_can_have_its_own_adapter():
    mine = adapters(3)
    ids_BT, keep_BT = padded([ids(1, n, seed=n)[0] for n in (6, 3, 5)], "right")
    together = decoder()(ids_BT, keep_BT, adapters=mine)
    for at in range(3):
        kept = torch.tensor([at])
        alone = decoder()(ids_BT[kept], keep_BT[kept], adapters=rows_of(mine, kept))
        torch.testing.assert_close(together[at][keep_BT[at]], alone[0][keep_BT[at]])
    assert (together[0, 0] - decoder()(ids_BT[:1], adapters=rows_of(mine, torch.tensor([1])))[0, 0]).abs().max() > 0.1


def test_one_adapter_for_all_is_the_same_for_each():
    one = adapters(1)
    each = {path: (a.expand(4, -1, -1), b.expand(4, -1, -1)) for path, (a, b) in one.items()}
    torch.testing.assert_close(decoder()(ids(4, 5), adapters=one), decoder()(ids(4, 5), adapters=each))


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_reach_the_adapter_and_nothing_else(groups):
    path = "model.layers.1.mlp.up_proj"
    pair = tuple(factor.requires_grad_() for factor in adapters(groups, targets=["up_proj"])[path])
    ids_BT = ids(2, 5)

    def loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return decoder()(ids_BT, adapters={path: (a, b)}).square().sum()

    assert torch.autograd.gradcheck(loss, pair)
    loss(*pair).backward()
    assert all(factor.grad.abs().max() > 0 for factor in pair)
    assert all(parameter.grad is None for parameter in decoder().parameters())


@pytest.mark.parametrize("layer", [0, 1, 3])
@pytest.mark.parametrize("side", ["left", "right"])
def test_below_and_above_are_the_whole(layer, side):
    adapter = adapters(2, layers=range(layer, 3))
    ids_BT, keep_BT = padded([ids(1, 7)[0], ids(1, 4, seed=1)[0]], side)
    entering = decoder().below(ids_BT, keep_BT, layer)
    got = decoder().above(entering, keep_BT, layer=layer, adapters=adapter)
    torch.testing.assert_close(got, decoder()(ids_BT, keep_BT, adapters=adapter))


def test_an_adapter_of_a_layer_that_is_not_computed_is_refused():
    entering = decoder().below(ids(1, 4), None, 2)
    with pytest.raises(BundleError, match=r"part at 'model\.layers\.1\..*layers from 2 on"):
        decoder().above(entering, None, layer=2, adapters=adapters(1, layers=[1, 2]))


@pytest.mark.parametrize("layer", [-1, 4])
def test_there_is_no_such_layer(layer):
    with pytest.raises(ValueError, match="0 to 3"):
        decoder().below(ids(1, 4), None, layer)


Q = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("path", "a", "b"),
    [
        ("model.layers.3.self_attn.q_proj", (1, 2, 24), (1, 32, 2)),
        ("layers.0.self_attn.q_proj", (1, 2, 24), (1, 32, 2)),
        ("0.self_attn.q_proj", (1, 2, 24), (1, 32, 2)),
        ("model.layers.0.self_attn", (1, 2, 24), (1, 32, 2)),
        ("lm_head", (1, 2, 24), (1, 50, 2)),
        (Q, (1, 2, 23), (1, 32, 2)),
        (Q, (1, 2, 24), (1, 24, 2)),
        (Q, (1, 2, 24), (1, 32, 3)),
        (Q, (2, 2, 24), (2, 32, 2)),
        (Q, (1, 2, 24), (3, 32, 2)),
        (Q, (2, 24), (32, 2)),
        (Q, (1, 0, 24), (1, 32, 0)),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(path, a, b):
    with pytest.raises(BundleError, match=r"does not fit this decoder.*made for this base"):
        decoder()(ids(3, 4), adapters={path: (torch.ones(a).double(), torch.ones(b).double())})


def test_sites_are_the_linear_layers_of_the_stack_in_order():
    modules = {path: module for path, module in decoder(tied=False).named_modules() if isinstance(module, nn.Linear)}
    assert list(modules)[-1] == "lm_head"
    del modules["lm_head"]
    assert sites(decoder(tied=False)) == {path: tuple(module.weight.shape) for path, module in modules.items()}
    assert list(sites(decoder())) == list(modules)
    assert list(sites(decoder(), ["q_proj", "mlp.down_proj"]))[:3] == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.mlp.down_proj",
        "model.layers.1.self_attn.q_proj",
    ]


def test_an_unknown_target_is_told_with_the_nearest():
    with pytest.raises(TaskError, match=r"'q_prj'\. Did you mean 'q_proj'\?.*self_attn\.q_proj"):
        sites(decoder(), ["v_proj", "q_prj"])


@pytest.mark.parametrize("changes", [{}, {"qk_norm": True, "qkv_bias": True}])
def test_bfloat16_is_near(changes):
    whole = decoder(dtype=torch.float32, **changes)
    half = load_like(whole, torch.bfloat16)
    pair = adapters(2, dtype=torch.float32)
    ids_BT, keep_BT = padded([ids(1, 7)[0], ids(1, 4, seed=1)[0]], "left")
    wanted = whole(ids_BT, keep_BT, adapters=pair)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = whole(ids_BT, keep_BT, adapters=pair)
    for got in (mixed, half(ids_BT, keep_BT, adapters=pair).float()):
        assert similarity(got[keep_BT], wanted[keep_BT]) > 0.999


def load_like(made: Decoder, dtype: torch.dtype) -> Decoder:
    result = Decoder(made.config).to(dtype)
    result.load_state_dict(made.state_dict())
    return result.eval().requires_grad_(False)


def similarity(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


# --- configuration and loading -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_type": "gpt2"}, r"'gpt2'.*llama, mistral, qwen2, qwen3"),
        ({"model_type": None}, r"None"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, r"'llama3'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, r"'linear'"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, r"'yarn'"),
        ({"model_type": "mistral", "sliding_window": 4096}, r"sliding window of 4096"),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 9}, r"sliding window of 9"),
        ({"model_type": "qwen3", "layer_types": ["full_attention", "sliding_attention"]}, r"sliding_attention"),
        ({"hidden_act": "gelu"}, r"'gelu'"),
        ({"attention_bias": True}, r"biases in its attention"),
        ({"mlp_bias": True}, r"biases in its feed-forward"),
        ({"partial_rotary_factor": 0.5}, r"a part of a head"),
        ({"num_key_value_heads": 3}, r"4 heads in 3 groups"),
        ({"head_dim": 7}, r"width 7"),
        ({"hidden_size": None}, r"not complete"),
        ({"num_attention_heads": 0, "head_dim": None}, r"not complete"),
    ],
)
def test_what_this_decoder_cannot_do_is_refused_in_a_sentence(changes, told):
    with pytest.raises(AssetError, match=told):
        DecoderConfig.from_hub({"model_type": "llama", **HUB, **changes})


@pytest.mark.parametrize("name", [*HUB.keys() - {"head_dim", "num_key_value_heads"}])
def test_a_configuration_without_a_size_is_refused(name):
    with pytest.raises(AssetError, match=name):
        DecoderConfig.from_hub({"model_type": "llama", **{key: value for key, value in HUB.items() if key != name}})


def test_an_old_configuration_says_less():
    old = {key: value for key, value in HUB.items() if key not in ("head_dim", "num_key_value_heads")}
    found = DecoderConfig.from_hub({"model_type": "llama", **old})
    assert (found.kv_heads, found.head_dim, found.tied, found.rope_theta) == (4, 6, False, 10_000.0)
    with pytest.raises(AssetError, match="num_key_value_heads"):
        DecoderConfig.from_hub({"model_type": "qwen2", **old})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_loaded_decoder_is_frozen_and_has_the_weights_of_the_file(tmp_path, dtype):
    save_file(decoder(dtype=torch.float16).state_dict(), tmp_path / "model")
    made = load_decoder(CONFIG, tmp_path / "model", dtype=dtype)
    stored = load_file(tmp_path / "model")
    assert made.state_dict().keys() == stored.keys()
    assert not made.training
    for name, parameter in made.named_parameters():
        assert not parameter.requires_grad
        assert torch.equal(parameter, stored[name].to(dtype))


def test_an_output_layer_of_a_tied_checkpoint_is_passed_over(tmp_path):
    save_file({**decoder().state_dict(), "lm_head.weight": torch.zeros(50, 24)}, tmp_path / "model")
    states = torch.randn(2, 24)
    made = load_decoder(CONFIG, tmp_path / "model")
    torch.testing.assert_close(made.logits(states), states @ made.model.embed_tokens.weight.T)


@pytest.mark.parametrize("change", ["missing", "other shape"])
def test_a_file_with_other_weights_is_refused(tmp_path, change):
    name = "model.layers.1.mlp.up_proj.weight"
    weights = {key: tensor for key, tensor in decoder().state_dict().items() if key != name}
    if change == "other shape":
        weights[name] = torch.zeros(3, 3)
    save_file(weights, tmp_path / "model")
    with pytest.raises(AssetError, match=f"{name}. Fetch the base again"):
        load_decoder(CONFIG, tmp_path / "model")
