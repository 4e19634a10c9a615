import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sartor.nn.set_encoder import SetEncoder

GOLDEN = [-0.1869906583002501, 0.35903500240986347, -0.11034328345569669, 0.11454418051487328]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    made = SetEncoder(inputs=12, width=16, heads=2).double().eval()
    for parameter in made.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return made


def condition(prompts=3, seed=0):
    """Return a description and some prompts: one condition."""
    random = torch.Generator().manual_seed(seed)
    items = torch.nn.functional.normalize(
        torch.randn(1, 1 + prompts, 12, generator=random, dtype=torch.float64), dim=-1
    )
    types = torch.tensor([[0, *[1] * prompts]])
    return items, types, torch.ones_like(types, dtype=torch.bool)


def test_the_order_of_items_does_not_matter(encoder):
    items, types, keep = condition()
    order = torch.randperm(items.shape[1], generator=torch.Generator().manual_seed(1))
    shuffled = encoder(items[:, order], types[:, order], keep[:, order])
    assert torch.allclose(encoder(items, types, keep), shuffled, atol=1e-12)


def test_padding_does_not_matter(encoder):
    items, types, keep = condition()
    more = torch.cat([items, torch.randn(1, 4, 12, dtype=torch.float64)], dim=1)
    padded = (
        torch.cat([types, torch.full((1, 4), 1)], dim=1),
        torch.cat([keep, torch.zeros(1, 4, dtype=torch.bool)], dim=1),
    )
    assert torch.allclose(encoder(items, types, keep), encoder(more, *padded), atol=1e-12)


def test_an_empty_set_is_something(encoder):
    items, types, keep = condition()
    empty = encoder(items, types, torch.zeros_like(keep))
    assert empty.isfinite().all()
    assert torch.allclose(empty, encoder(items[:, :1], types[:, :1], torch.zeros(1, 1, dtype=torch.bool)))
    assert (empty - encoder(items, types, keep)).abs().max() > 1e-3


# --- any set -----------------------------------------------------------------------------------------------


def drawn(data):
    """Return one condition of any kinds of items."""
    kinds = [0] * data.draw(st.integers(0, 1)) + [1] * data.draw(st.integers(0, 7))
    types = torch.tensor([kinds], dtype=torch.long)
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    items = torch.randn(1, len(kinds), 12, generator=random, dtype=torch.float64)
    return torch.nn.functional.normalize(items, dim=-1), types, torch.ones_like(types, dtype=torch.bool)


def padding(data):
    """Return items that are none, of any content."""
    size = data.draw(st.integers(1, 5))
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    return (
        torch.randn(1, size, 12, generator=random, dtype=torch.float64) * 10,
        torch.randint(0, 2, (1, size), generator=random),
        torch.zeros(1, size, dtype=torch.bool),
    )


@given(data=st.data())
@hypothesis_settings(max_examples=60, deadline=None)
def test_neither_order_nor_padding_matters_to_any_set(encoder, data):
    condition = drawn(data)
    padded = [torch.cat(parts, dim=1) for parts in zip(condition, padding(data), strict=True)]
    order = torch.tensor(data.draw(st.permutations(range(padded[0].shape[1]))))
    found = encoder(*(part[:, order] for part in padded))
    torch.testing.assert_close(found, encoder(*condition), atol=1e-12, rtol=1e-12)


def test_a_condition_does_not_depend_on_those_beside_it(encoder):
    one, other = condition(prompts=1, seed=1), condition(prompts=7, seed=2)
    room = (torch.zeros(1, 6, 12, dtype=torch.float64), torch.zeros(1, 6), torch.zeros(1, 6))
    long = [torch.cat([part, more.to(part.dtype)], dim=1) for part, more in zip(one, room, strict=True)]
    both = encoder(*(torch.cat(parts) for parts in zip(long, other, strict=True)))
    torch.testing.assert_close(both[:1], encoder(*one), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(both[1:], encoder(*other), atol=1e-12, rtol=1e-12)


def test_no_items_at_all_are_an_empty_set(encoder):
    none = [part[:, :0] for part in condition()]
    items, types, keep = condition()
    torch.testing.assert_close(encoder(*none), encoder(items, types, torch.zeros_like(keep)))


def test_without_a_gradient_it_says_the_same(encoder):
    with_gradient = encoder(*condition())
    assert with_gradient.requires_grad
    with torch.inference_mode():  # torch goes another way through its own layers then
        torch.testing.assert_close(encoder(*condition()), with_gradient.detach(), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_every_item_and_its_type_matter(encoder, at):
    items, types, keep = condition()
    whole = encoder(items, types, keep)
    without, other = keep.clone(), types.clone()
    without[0, at], other[0, at] = False, 1 - types[0, at]
    assert (encoder(items, types, without) - whole).abs().max() > 1e-3
    assert (encoder(items, other, keep) - whole).abs().max() > 1e-3


def test_every_part_learns():
    torch.manual_seed(0)
    encoder = SetEncoder(inputs=12, width=16, heads=2).double()
    optimiser = torch.optim.SGD(encoder.parameters(), 0.1)
    direction = torch.linspace(-1, 1, 16, dtype=torch.float64)
    items, types, keep = condition()
    for _ in range(2):  # keys wait for the query, which starts at zero
        optimiser.zero_grad()
        (encoder(items, types, keep) @ direction).sum().backward()
        optimiser.step()
    # a softmax does not see what is added to all of its scores
    unseen = {name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-12}
    assert unseen <= {"keys.bias"}


def test_golden():
    encoder = SetEncoder(inputs=12, width=16, heads=2).double().eval()
    with torch.no_grad():
        for at, parameter in enumerate(encoder.parameters()):
            numbers = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_(0.5 * torch.sin((1 + at) * numbers + at).view_as(parameter))
        _, types, keep = condition(prompts=6)
        items = torch.nn.functional.normalize(torch.cos(torch.arange(84.0, dtype=torch.float64)).view(1, 7, 12), dim=-1)
        keep[0, 6] = False
        found = encoder(items, types, keep)[0, :4]
    assert found.tolist() == pytest.approx(GOLDEN, rel=1e-9)
