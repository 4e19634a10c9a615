import pytest
import torch

from sartor.errors import TaskError
from sartor.nn.weight_heads import BasisHead, join

SITES = {
    f"model.layers.{layer}.{kind}": shape
    for layer in (4, 5)
    for kind, shape in (("self_attn.q_proj", (8, 6)), ("mlp.down_proj", (6, 10)))
}


@pytest.fixture
def head():
    torch.manual_seed(0)
    return BasisHead(SITES, width=12, basis=3)


def deltas(adapters):
    return {path: b @ a for path, (a, b) in adapters.items()}


def test_it_starts_where_nothing_is_changed_and_learns(head):
    condition = torch.randn(5, 12)
    assert all(not delta.any() for delta in deltas(head(condition)).values())
    optimiser = torch.optim.SGD(head.parameters(), 0.1)
    for _ in range(2):
        optimiser.zero_grad()
        sum((delta - 1).pow(2).sum() for delta in deltas(head(condition)).values()).backward()
        optimiser.step()
    assert all(delta.abs().sum() > 0 for delta in deltas(head(condition)).values())
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in head.parameters())


def moved(head):
    torch.nn.init.normal_(head.small.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    return head


def test_every_site_has_the_shape_it_asks_for_and_another_condition_another_adapter(head):
    found = moved(head)(torch.randn(2, 12, generator=torch.Generator().manual_seed(0)))
    for path, (outputs, inputs) in SITES.items():
        a, b = found[path]
        assert (a.shape, b.shape) == ((2, 3, inputs), (2, outputs, 3))
    assert all((delta[0] - delta[1]).abs().max() > 1e-3 for delta in deltas(found).values())
    places = [delta[0] for path, delta in deltas(found).items() if "q_proj" in path]
    assert not torch.allclose(*places)  # a layer knows its place


def test_a_few_numbers_are_all_that_is_of_a_task(head):
    condition = torch.randn(2, 12)
    payload = moved(head).payload(condition)
    assert payload.shape == (2, len(SITES), 3, 3)
    whole, expanded = head(condition), head.expand(payload)
    assert all(
        torch.equal(one, other) for path in SITES for one, other in zip(whole[path], expanded[path], strict=True)
    )


@pytest.mark.parametrize("dial", [0.0, 0.5, 1.0, 1.5])
def test_anchor_and_generated_part_add_up(head, dial):
    generated = moved(head)(torch.randn(2, 12))
    anchor = {path: (torch.randn(1, 2, i), torch.randn(1, o, 2)) for path, (o, i) in SITES.items()}
    joined = join(anchor, generated, dial)
    for path, delta in deltas(joined).items():
        assert joined[path][0].shape[1] == 5
        wanted = deltas(anchor)[path] + dial * deltas(generated)[path]
        assert torch.allclose(delta, wanted, atol=1e-5)
        if dial == 0:
            assert torch.equal(joined[path][1][:, :, 2:], torch.zeros(2, SITES[path][0], 3))


def test_parts_of_different_sites_are_refused(head):
    generated = head(torch.randn(1, 12))
    anchor = {"model.layers.4.self_attn.q_proj": generated["model.layers.4.self_attn.q_proj"]}
    with pytest.raises(TaskError, match="different sites"):
        join(anchor, generated, 1.0)


def test_a_site_without_a_layer_is_refused():
    with pytest.raises(TaskError, match="names no layer"):
        BasisHead({"lm_head": (3, 3)}, width=4, basis=2)
