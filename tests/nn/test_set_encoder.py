import pytest
import torch

from sartor.nn.set_encoder import SetEncoder


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    made = SetEncoder(inputs=12, width=16, heads=2).double().eval()
    for parameter in made.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return made


def condition(rows=3, seed=0):
    """Return a description and some labelled rows: one condition of 1 + 3 * rows items."""
    random = torch.Generator().manual_seed(seed)
    items = torch.nn.functional.normalize(
        torch.randn(1, 1 + 3 * rows, 12, generator=random, dtype=torch.float64), dim=-1
    )
    types = torch.tensor([[0, *[2, 3, 4] * rows]])
    example = torch.tensor([[-1, *(at for at in range(rows) for _ in range(3))]])
    return items, types, torch.ones_like(types, dtype=torch.bool), example


def test_the_order_of_items_does_not_matter(encoder):
    items, types, keep, example = condition()
    order = torch.randperm(items.shape[1], generator=torch.Generator().manual_seed(1))
    shuffled = encoder(items[:, order], types[:, order], keep[:, order], example[:, order])
    assert torch.allclose(encoder(items, types, keep, example), shuffled, atol=1e-12)


def test_the_numbers_of_labelled_rows_do_not_matter(encoder):
    items, types, keep, example = condition()
    other = torch.where(example >= 0, 2 - example, example)
    assert torch.allclose(encoder(items, types, keep, example), encoder(items, types, keep, other), atol=1e-12)


def test_which_output_belongs_to_which_input_matters(encoder):
    items, types, keep, example = condition()
    swapped = items.clone()
    swapped[0, [2, 5]] = items[0, [5, 2]]
    assert (encoder(items, types, keep, example) - encoder(swapped, types, keep, example)).abs().max() > 1e-3


def test_padding_does_not_matter(encoder):
    items, types, keep, example = condition()
    more = torch.cat([items, torch.randn(1, 4, 12, dtype=torch.float64)], dim=1)
    padded = (
        torch.cat([types, torch.full((1, 4), 1)], dim=1),
        torch.cat([keep, torch.zeros(1, 4, dtype=torch.bool)], dim=1),
        torch.cat([example, torch.tensor([[0, 1, 7, -1]])], dim=1),
    )
    assert torch.allclose(encoder(items, types, keep, example), encoder(more, *padded), atol=1e-12)


def test_an_empty_set_is_something(encoder):
    items, types, keep, example = condition()
    empty = encoder(items, types, torch.zeros_like(keep), example)
    assert empty.isfinite().all()
    assert torch.allclose(
        empty, encoder(items[:, :1], types[:, :1], torch.zeros(1, 1, dtype=torch.bool), example[:, :1])
    )
    assert (empty - encoder(items, types, keep, example)).abs().max() > 1e-3
