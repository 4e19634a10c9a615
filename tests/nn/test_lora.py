import math

import pytest
import torch

import tiny_base
from sartor.errors import BundleError, TaskError
from sartor.nn import lora

ENCODER = tiny_base.encoder()
IDS = torch.tensor([[2, 8, 9, 10, 3], [2, 11, 3, 0, 0]])
KEEP = IDS != 0


def random(seed):
    return torch.Generator().manual_seed(seed)


def adapter(rank=4, *, scale=0.2, targets=None):
    """One that changes something: B is not zero."""
    generator = random(1)
    made = lora.fresh(ENCODER, rank, generator=generator, targets=targets)
    return {
        name: tensor + scale * torch.randn(tensor.shape, generator=generator) if name.endswith(lora.B) else tensor
        for name, tensor in made.items()
    }


def test_every_linear_layer_is_a_site_with_the_shape_of_its_weight():
    wanted = {
        name.removesuffix(".weight"): tuple(tensor.shape)
        for name, tensor in ENCODER.state_dict().items()
        if name.endswith("weight") and tensor.ndim == 2 and "embeddings" not in name
    }
    assert lora.sites(ENCODER) == wanted
    assert len(wanted) == 6 * ENCODER.config.layers


def test_names_and_shapes_are_those_of_peft():
    made = lora.fresh(ENCODER, 4, generator=random(0))
    wanted = {}
    for path, (outputs, inputs) in lora.sites(ENCODER).items():
        wanted[f"{path}.lora_A.weight"] = (4, inputs)
        wanted[f"{path}.lora_B.weight"] = (outputs, 4)
    assert {name: tuple(tensor.shape) for name, tensor in made.items()} == wanted
    assert "encoder.layer.0.attention.self.query.lora_A.weight" in made


def test_a_fresh_adapter_is_the_base_exactly():
    made = lora.fresh(ENCODER, 4, generator=random(0))
    base = ENCODER(IDS, KEEP)
    for states in (lora.apply(ENCODER, made, IDS, KEEP), lora.merged(ENCODER, made)(IDS, KEEP)):
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(states, base, strict=True))


def test_a_starts_uniform_within_the_bound_and_by_its_generator():
    made = lora.fresh(ENCODER, 16, generator=random(3))
    for path, (_, inputs) in lora.sites(ENCODER).items():
        a = made[path + lora.A] * math.sqrt(inputs)
        assert 0.9 < a.abs().max() <= 1
        assert a.std().item() == pytest.approx(1 / math.sqrt(3), abs=0.05)
    again = lora.fresh(ENCODER, 16, generator=random(3))
    assert all(torch.equal(made[name], again[name]) for name in made)
    other = lora.fresh(ENCODER, 16, generator=random(4))
    assert not any(torch.equal(made[name], other[name]) for name in made if name.endswith(lora.A))


@pytest.mark.parametrize("targets", [None, ["query", "value"], ["output.dense"]])
def test_merged_is_what_is_applied(targets):
    made = adapter(targets=targets)
    base = ENCODER(IDS, KEEP)[-1]
    applied = lora.apply(ENCODER, made, IDS, KEEP)
    for ours, theirs in zip(applied, lora.merged(ENCODER, made)(IDS, KEEP), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (applied[-1] - base).abs().max() > 1e-2


def test_targets_are_ends_of_module_paths():
    made = lora.fresh(ENCODER, 2, generator=random(0), targets=["query", "attention.output.dense"])
    paths = {name.removesuffix(lora.A).removesuffix(lora.B) for name in made}
    assert paths == {
        f"encoder.layer.{layer}.attention.{end}" for layer in (0, 1) for end in ("self.query", "output.dense")
    }


def test_an_unknown_target_is_named_with_the_known_ones():
    with pytest.raises(TaskError, match=r"No linear layer ends in 'qeury'.*attention\.self\.query"):
        lora.fresh(ENCODER, 2, generator=random(0), targets=["qeury"])
    with pytest.raises(TaskError, match="No linear layer ends in 'ery'"):  # a part of a name is no name
        lora.fresh(ENCODER, 2, generator=random(0), targets=["ery"])
    with pytest.raises(TaskError, match="at least 1; got 0"):
        lora.fresh(ENCODER, 0, generator=random(0))


def test_gradient_reaches_a_and_b_and_nothing_else():
    made = {name: tensor.requires_grad_() for name, tensor in adapter().items()}
    lora.apply(ENCODER, made, IDS, KEEP)[-1].square().mean().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().max() > 0 for tensor in made.values())
    assert all(parameter.grad is None for parameter in ENCODER.parameters())
    assert not any(parameter.requires_grad for parameter in lora.merged(ENCODER, made).parameters())


def test_the_gradient_is_that_of_the_merged_weight():
    path = "encoder.layer.1.intermediate.dense"
    made = {name: tensor.requires_grad_() for name, tensor in adapter(targets=["intermediate.dense"]).items()}
    a, b = made[path + lora.A], made[path + lora.B]
    lora.apply(ENCODER, made, IDS, KEEP)[-1].square().sum().backward()
    merged = lora.merged(ENCODER, made)
    weight = merged.get_parameter(f"{path}.weight").requires_grad_()
    merged(IDS, KEEP)[-1].square().sum().backward()
    torch.testing.assert_close(a.grad, b.detach().T @ weight.grad, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(b.grad, weight.grad @ a.detach().T, atol=1e-4, rtol=1e-3)


def test_the_encoder_stays_as_it_was_and_shares_what_is_not_touched():
    before = {name: tensor.clone() for name, tensor in ENCODER.state_dict().items()}
    made = adapter(targets=["query"])
    lora.apply(ENCODER, made, IDS, KEEP)
    merged = lora.merged(ENCODER, made)
    assert all(torch.equal(before[name], tensor) for name, tensor in ENCODER.state_dict().items())
    for name, tensor in merged.state_dict().items():
        shared = tensor.data_ptr() == ENCODER.state_dict()[name].data_ptr()
        assert shared == (not name.endswith("query.weight"))


def test_an_adapter_that_does_not_fit_is_refused_and_never_passes_for_the_base():
    path = "encoder.layer.0.attention.self.query"
    good = lora.fresh(ENCODER, 2, generator=random(0), targets=["query"])
    without_b = {name: tensor for name, tensor in good.items() if name != path + lora.B}
    elsewhere = {name.replace("encoder.layer.0", "encoder.layer.7"): tensor for name, tensor in good.items()}
    too_wide = {**good, path + lora.A: torch.zeros(2, 99)}
    other_rank = {**good, path + lora.A: torch.zeros(3, 32)}
    for wrong in (without_b, elsewhere, too_wide, other_rank):
        for use in (
            lambda wrong=wrong: lora.apply(ENCODER, wrong, IDS),
            lambda wrong=wrong: lora.merged(ENCODER, wrong),
        ):
            with pytest.raises(BundleError, match=r"does not fit this encoder at 'encoder\.layer"):
                use()
