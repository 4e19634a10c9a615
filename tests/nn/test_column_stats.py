"""Statistics of columns against their definitions, and what they must not depend on."""

import numpy as np
import pytest
import torch

from sartor.nn import column_stats, ridge, table_net
from sartor.nn.column_stats import COLUMN_STATS, SHAPES, TABLE_STATS
from sartor.nn.table_net import Hidden


def table(sets=2, rows=40, columns=5, outputs=3, seed=0):
    random = np.random.default_rng(seed)
    cells = random.normal(size=(sets, rows, columns))
    cells = (cells - cells.mean(axis=1, keepdims=True)) / cells.std(axis=1, keepdims=True)
    targets = np.eye(outputs)[random.integers(outputs, size=(sets, rows))]
    return torch.from_numpy(cells), torch.from_numpy(targets)


def net(sets=2, columns=5, units=7, seed=0):
    random = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    nothing = torch.zeros(sets, 0, 3, dtype=torch.float64)
    return Hidden(
        normal(sets, columns, units),
        normal(sets, units),
        normal(sets, columns).exp(),
        normal(sets, 3).exp(),
        nothing.long(),
        nothing,
        nothing,
    )


def told(cells, targets):
    """What a generator reads of columns, by the gradients of a random net."""
    hidden = net(len(cells), cells.shape[-1])
    head = ridge.solve(table_net.features(hidden, cells), targets, torch.ones(len(cells), dtype=torch.float64))
    gradients = column_stats.gradients(hidden, head, cells)
    found = column_stats.column_stats(cells, targets, gradients, column_stats.correlations(cells, targets))
    return found, gradients


def test_gradients_are_the_outer_products_that_autograd_finds():
    cells, targets = table(rows=30)
    hidden = net()
    head = ridge.solve(table_net.features(hidden, cells), targets, torch.ones(2, dtype=torch.float64))
    asked = cells.clone().requires_grad_()
    scores = head(table_net.features(hidden, asked))
    wanted = torch.zeros(2, 5, 5, dtype=torch.float64)
    for output in range(3):
        (slope,) = torch.autograd.grad(scores[..., output].sum(), asked, retain_graph=True)
        wanted += torch.einsum("bnd,bne->bde", slope, slope) / 30
    torch.testing.assert_close(column_stats.gradients(hidden, head, cells), wanted, atol=1e-12, rtol=1e-9)


def test_the_columns_own_part_has_the_same_gradient_in_every_row():
    """Units that are silent leave the linear part alone, whose outer product is that of its weights."""
    cells, targets = table(rows=30)
    hidden = net()
    hidden = Hidden(hidden.weight_BDH, hidden.bias_BH - 1e3, *(getattr(hidden, n) for n in list(hidden.__slots__)[2:]))
    head = ridge.solve(table_net.features(hidden, cells), targets, torch.ones(2, dtype=torch.float64))
    slope = head.weight_BFC[:, :5] * (hidden.skip_BD * hidden.amplitude_BG[:, :1] / np.sqrt(5))[..., None]
    torch.testing.assert_close(column_stats.gradients(hidden, head, cells), slope @ slope.mT)


def test_correlations_are_squared_correlations():
    cells, _ = table(sets=1)
    values = cells[..., :1] ** 2 + 0.3 * cells[..., 1:2]
    found = column_stats.correlations(cells, values)[0]
    shapes = column_stats.shapes(cells)[0]
    for column in range(5):
        for shape in range(SHAPES):
            wanted = np.corrcoef(shapes[:, column, shape], values[0, :, 0])[0, 1] ** 2
            assert float(found[column, shape]) == pytest.approx(wanted, abs=1e-9)


def test_correlations_of_many_outputs_are_the_share_of_all_their_variance():
    cells, targets = table(sets=1)
    found = column_stats.correlations(cells, targets)[0, :, 0]
    spread = targets[0].var(0, correction=0).numpy()
    for column in range(5):
        each = [np.corrcoef(cells[0, :, column], targets[0, :, output])[0, 1] ** 2 for output in range(3)]
        assert float(found[column]) == pytest.approx(float(np.dot(each, spread) / spread.sum()), abs=1e-9)


def test_a_column_that_is_the_target_tells_all_and_a_constant_one_nothing():
    cells, _ = table(sets=1)
    cells[..., 1] = 0.0
    found = column_stats.correlations(cells, cells[..., :1])[0]
    assert float(found[0, 0]) == pytest.approx(1)
    assert not found[1].any()


def test_no_statistic_depends_on_the_order_of_rows_or_of_classes():
    cells, targets = table()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    first, gradients = told(cells, targets)
    for found, matrices in (told(cells[:, order], targets[:, order]), told(cells, targets[..., [2, 0, 1]])):
        torch.testing.assert_close(found, first, atol=1e-10, rtol=0)
        torch.testing.assert_close(matrices, gradients, atol=1e-10, rtol=0)


def test_the_statistics_of_columns_are_permuted_as_the_columns_are():
    cells, targets = table()
    _, gradients = told(cells, targets)
    order = [3, 0, 4, 2, 1]

    def stats(x, outer):
        return column_stats.column_stats(x, targets, outer, column_stats.correlations(x, targets))

    moved = stats(cells[..., order], gradients[:, order][:, :, order])
    torch.testing.assert_close(moved, stats(cells, gradients)[:, order])
    assert not torch.allclose(moved, stats(cells, gradients))


def test_steps_are_told_from_measurements():
    cells, _ = table(sets=1)
    cells[0, :, 1] = (cells[0, :, 1] > 0).double()
    cells[0, :, 2] = 0.0
    found = column_stats._coarseness(cells)[0].tolist()
    assert found[0] == 0
    assert found[1] == pytest.approx(38 / 39)
    assert found[2] == 1


def test_widths_are_those_that_a_generator_is_built_for_and_one_row_is_enough():
    for rows in (1, 40):
        cells, targets = table(rows=40)
        cells, targets = cells[:, :rows], targets[:, :rows]
        found, _ = told(cells, targets)
        assert found.shape == (2, 5, COLUMN_STATS)
        assert found.isfinite().all()
        present = torch.ones(2, 5, dtype=torch.bool)
        fits = torch.tensor([[0.3, 0.1], [0.0, -1.0]])
        of_table = column_stats.table_stats(cells, present, torch.tensor([3, 0]), fits, 1.0)
        assert of_table.shape == (2, TABLE_STATS)
        assert of_table.isfinite().all()
        assert of_table[:, 3].tolist() == [0, 1]
