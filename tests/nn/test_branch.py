import pytest
import torch

import tiny_base
from sartor.errors import BundleError
from sartor.nn import branch, lora
from sartor.nn.branch import BranchedEncoder

ENCODER = tiny_base.encoder()
ADAPTER = tiny_base.adapter(ENCODER)
IDS = torch.randint(1, 20, (3, 7), generator=torch.Generator().manual_seed(0))
KEEP = torch.arange(7)[None] < torch.tensor([7, 4, 2])[:, None]


def test_the_frozen_states_stay_and_the_adapted_last_comes_beside_them():
    frozen = ENCODER(IDS, KEEP)
    found = BranchedEncoder(ENCODER, ADAPTER)(IDS, KEEP)
    assert len(found) == len(frozen) + 1
    assert all(torch.equal(one, other) for one, other in zip(found, frozen, strict=False))
    whole = lora.merged(ENCODER, ADAPTER)(IDS, KEEP)[-1]
    assert torch.allclose(found[-1], whole, atol=1e-5)
    assert not torch.allclose(found[-1], frozen[-1], atol=1e-2)


def test_training_from_the_states_below_sees_what_answering_sees():
    start = branch.first_layer(ADAPTER)
    assert start == 1
    upper = branch.upper_states(ENCODER, ADAPTER, ENCODER(IDS, KEEP)[start], KEEP)
    assert torch.allclose(upper, BranchedEncoder(ENCODER, ADAPTER)(IDS, KEEP)[-1], atol=1e-5)


def test_the_gradient_reaches_every_part_of_the_adapter():
    adapter = {name: tensor.clone().requires_grad_() for name, tensor in ADAPTER.items()}
    branch.upper_states(ENCODER, adapter, ENCODER(IDS)[1], None).pow(2).sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in adapter.values())


@pytest.mark.parametrize("names", [[], ["embeddings.word_embeddings.lora_A.weight"]])
def test_an_adapter_of_no_layer_is_refused(names):
    with pytest.raises(BundleError, match="must name layers"):
        branch.first_layer({name: torch.zeros(2, 2) for name in names})
