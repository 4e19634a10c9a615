"""The features of a net by hand."""

import math

import pytest
import torch

from sartor.nn import table_net
from sartor.nn.table_net import Hidden


def hidden(columns=2, units=3, products=0, **changed):
    parts = {
        "weight_BDH": torch.ones(1, columns, units),
        "bias_BH": torch.tensor([[0.0, -1.0, 1.0]])[:, :units],
        "skip_BD": torch.full((1, columns), 2.0),
        "amplitude_BG": torch.tensor([[1.0, 2.0, 4.0]]),
        "columns_BPK": torch.zeros(1, products, table_net.STEPS, dtype=torch.int64),
        "thresholds_BPK": torch.full((1, products, table_net.STEPS), -torch.inf),
        "signs_BPK": torch.ones(1, products, table_net.STEPS),
    }
    return Hidden(**{**parts, **changed})


CELLS = torch.tensor([[[1.0, -3.0], [0.5, 2.0], [0.0, 0.0]]])


def test_features_by_hand():
    found = table_net.features(hidden(), CELLS)[0]
    skip = CELLS[0] * 2 * 1 / math.sqrt(2)
    total = CELLS[0].sum(1, keepdim=True)
    units = torch.relu(total + torch.tensor([[0.0, -1.0, 1.0]])) * 2 / math.sqrt(3)
    torch.testing.assert_close(found, torch.cat([skip, units], 1))


def test_a_product_holds_where_all_its_steps_do():
    one = hidden(
        columns_BPK=torch.tensor([[[0, 1, 0], [1, 0, 0], [0, 0, 1]]]),
        thresholds_BPK=torch.tensor([[[0.2, 1.0, -torch.inf], [0.0, -torch.inf, -torch.inf], [0.7, 0.2, 5.0]]]),
        signs_BPK=torch.tensor([[[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0], [-1.0, 1.0, -1.0]]]),
    )
    # column 0 > .2 and column 1 > 1; column 1 < 0; column 0 in (.2, .7) and column 1 < 5
    assert table_net.steps(one, CELLS)[0].tolist() == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]
    found = table_net.features(one, CELLS)[0, :, -3:]
    torch.testing.assert_close(found, table_net.steps(one, CELLS)[0] * 4 / math.sqrt(3))


@pytest.mark.parametrize(("group", "where"), [(0, slice(0, 2)), (1, slice(2, 5)), (2, slice(5, 9))])
def test_each_group_has_its_own_amplitude(group, where):
    amplitude = torch.tensor([[1.0, 2.0, 4.0]])
    louder = amplitude.clone()
    louder[0, group] *= 3
    first, second = (table_net.features(hidden(products=4, amplitude_BG=one), CELLS)[0] for one in (amplitude, louder))
    rest = torch.ones(9, dtype=torch.bool)
    rest[where] = False
    torch.testing.assert_close(second[:, where], 3 * first[:, where])
    torch.testing.assert_close(second[:, rest], first[:, rest])
    assert first[:, where].any()


def test_an_absent_column_is_a_feature_of_zeros_that_changes_nothing_else():
    wide = hidden(columns=3, skip_BD=torch.tensor([[2.0, 2.0, 0.0]]), weight_BDH=torch.ones(1, 3, 3))
    wide.weight_BDH[:, 2] = 0
    found = table_net.features(wide, torch.cat([CELLS, torch.zeros(1, 3, 1)], 2))
    narrow = table_net.features(hidden(), CELLS)
    assert found.shape == (1, 3, 6)
    assert not found[..., 2].any()
    torch.testing.assert_close(found[..., 3:], narrow[..., 2:])


def test_one_net_of_many_answers_as_it_did_among_them():
    two = Hidden(*(torch.cat([getattr(hidden(products=2), name), getattr(hidden(products=2), name) * 2])
                   for name in Hidden.__slots__))  # fmt: skip
    two.columns_BPK.clamp_(max=1)
    cells = CELLS.expand(2, -1, -1)
    torch.testing.assert_close(table_net.features(two.net(1), CELLS)[0], table_net.features(two, cells)[1])


def test_products_are_drawn_by_importance_with_thresholds_between_rows():
    random = torch.Generator().manual_seed(0)
    cells = torch.randn(2, 30, 4, generator=random)
    cells[:, :, 3] = cells[:, :, 3].sign()
    importance = torch.tensor([[1.0, 0.5, 0.0, 0.5], [0.0, 0.0, 0.0, 1.0]])
    columns, thresholds, signs = table_net.draw_products(importance, cells, 64, random)
    assert columns.shape == thresholds.shape == signs.shape == (2, 64, table_net.STEPS)
    used = thresholds > -torch.inf
    assert used[0].sum(1).tolist() == used[1].sum(1).tolist() == [1] * 16 + [2] * 32 + [3] * 16
    assert not (columns[0] == 2).any()
    assert (columns[1] == 3).all()
    assert set(thresholds[1][used[1]].tolist()) == {-1.0, 0.0, 1.0}
    assert (signs[~used] == 1).all()
    assert set(signs[used].tolist()) == {-1.0, 1.0}
    share = float((columns[0] == 0).float().mean())
    assert share == pytest.approx(0.5, abs=0.1)
