"""The generator of tables: the floor where nothing was learned, and what it must not depend on."""

import dataclasses

import pytest
import torch

from sartor.nn import table_generator, table_net, table_target
from sartor.nn.table_generator import PASSES, Draws, Generated, Support, TableGenerator

UNITS = 12


@pytest.fixture(scope="module")
def untrained():
    torch.manual_seed(0)
    return TableGenerator(width=16, layers=2, units=UNITS)


@pytest.fixture(scope="module")
def trained():
    """As training would leave it: every weight is something."""
    torch.manual_seed(1)
    made = TableGenerator(width=16, layers=2, units=UNITS)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


def support(columns=5, rows=40, sets=2, classes=3, seed=0, absent=()):
    random = torch.Generator().manual_seed(seed)
    cells = torch.randn(sets, rows, columns, generator=random)
    present = torch.ones(sets, columns, dtype=torch.bool)
    present[:, list(absent)] = False
    cells = (cells - cells.mean(1, keepdim=True)) / cells.std(1, keepdim=True, correction=0) * present[:, None]
    if not classes:
        values = cells[..., :1] + 0.3 * torch.randn(sets, rows, 1, generator=random)
        return Support(cells, present, values, torch.zeros(sets, dtype=torch.int64))
    label = (cells[..., 0] + 0.5 * torch.randn(sets, rows, generator=random) > 0).long()
    label[:, ::7] = classes - 1
    targets = torch.nn.functional.one_hot(label, classes).float()
    return Support(cells, present, targets, torch.full((sets,), classes))


def draws(columns=5, sets=2, seed=3, products=16):
    return Draws.of(sets, columns, seed=seed, units=UNITS, products=products)


@pytest.fixture
def no_products(monkeypatch):
    """Products are drawn by place, so what is said of places is said of the rest."""

    def nothing(importance, cells, products, random):
        empty = cells.new_zeros(len(cells), 0, table_net.STEPS)
        return empty.long(), empty, empty

    monkeypatch.setattr(table_net, "draw_products", nothing)


def tensors(made: Generated):
    of_hidden = {name: getattr(made.hidden, name) for name in made.hidden.__slots__}
    return {**of_hidden, "penalty": made.penalty_B, "warmth": made.warmth_B2, "importance": made.importance_BD}


def assert_same(first: Generated, second: Generated):
    for name, tensor in tensors(first).items():
        assert torch.equal(tensor, tensors(second)[name]), name


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("absent", [(), (1, 4)])
def test_untrained_it_is_the_floor_exactly_in_every_pass(untrained, classes, absent):
    labelled = support(classes=classes, absent=absent)
    made = table_generator.generate(untrained, labelled, draws())
    assert len(made) == PASSES
    for one in made:
        assert_same(one, table_generator.floor(labelled, draws()))


def test_trained_it_is_something_else(trained):
    made = table_generator.generate(trained, support(), draws())[-1]
    plain = table_generator.floor(support(), draws())
    for name, tensor in tensors(made).items():
        if name != "signs_BPK":
            assert not torch.equal(tensor, tensors(plain)[name]), name


def test_columns_in_another_order_give_the_same_net(trained, no_products):
    """Draws belong to columns, so they are permuted with them."""
    order = [3, 0, 4, 2, 1]
    first, given = support(), draws()
    moved = dataclasses.replace(first, cells_BND=first.cells_BND[..., order], present_BD=first.present_BD[:, order])
    drawn = dataclasses.replace(given, units_BDH=given.units_BDH[:, order], turned_BDH=given.turned_BDH[:, order])
    wanted = tensors(table_generator.generate(trained, first, given)[-1])
    found = tensors(table_generator.generate(trained, moved, drawn)[-1])
    for name in ("weight_BDH", "skip_BD", "importance"):
        torch.testing.assert_close(found[name], wanted[name][:, order], atol=2e-4, rtol=1e-3)
    for name in ("bias_BH", "amplitude_BG", "penalty", "warmth"):
        torch.testing.assert_close(found[name], wanted[name], atol=2e-4, rtol=1e-3)


def test_absent_columns_have_no_influence(trained, no_products):
    wide, drawn = support(absent=(3, 4)), draws()
    made = table_generator.generate(trained, wide, drawn)[-1]
    again = dataclasses.replace(drawn, units_BDH=drawn.units_BDH.clone(), turned_BDH=drawn.turned_BDH.clone())
    again.units_BDH[:, 3:], again.turned_BDH[:, 3:] = 100.0, -100.0
    assert_same(made, table_generator.generate(trained, wide, again)[-1])
    for name in ("weight_BDH", "skip_BD", "importance"):
        assert not tensors(made)[name][:, 3:].any()
        assert tensors(made)[name][:, :3].all()


def test_products_ask_only_for_columns_that_are_there(trained):
    made = table_generator.generate(trained, support(absent=(0, 3)), draws(products=64))[-1]
    assert set(made.hidden.columns_BPK.unique().tolist()) == {1, 2, 4}


def test_the_order_of_rows_does_not_matter(trained, no_products):
    labelled = support()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(5))
    moved = dataclasses.replace(
        labelled, cells_BND=labelled.cells_BND[:, order], targets_BNC=labelled.targets_BNC[:, order]
    )
    wanted = table_generator.generate(trained, labelled, draws())[-1].hidden
    found = table_generator.generate(trained, moved, draws())[-1].hidden
    torch.testing.assert_close(found.weight_BDH, wanted.weight_BDH, atol=2e-4, rtol=1e-3)


def test_a_seed_gives_the_same_net_and_another_seed_another(trained):
    first, second = (table_generator.generate(trained, support(), draws())[-1] for _ in range(2))
    assert_same(first, second)
    other = table_generator.generate(trained, support(), draws(seed=4))[-1]
    assert not torch.equal(other.hidden.weight_BDH, first.hidden.weight_BDH)
    assert not torch.equal(other.hidden.columns_BPK, first.hidden.columns_BPK)


def test_parameters_that_are_given_stand_in_for_its_own(untrained, trained):
    given = dict(trained.named_parameters())
    stood_in = table_generator.generate(untrained, support(), draws(), given)[-1]
    assert_same(stood_in, table_generator.generate(trained, support(), draws())[-1])


def test_every_parameter_learns(trained):
    labelled = support()
    made = table_generator.generate(trained, labelled, draws())
    loss = sum(one.penalty_B.sum() + one.warmth_B2.sum() for one in made) + sum(
        table_net.features(one.hidden, labelled.cells_BND).square().sum() for one in made
    )
    slopes = torch.autograd.grad(loss, list(trained.parameters()))
    for (name, _), slope in zip(trained.named_parameters(), slopes, strict=True):
        assert slope.any(), name


@pytest.mark.parametrize(("width", "layers", "rank"), [(8, 1, 4), (32, 3, 16)])
def test_weights_alone_restore_a_generator_of_any_size(width, layers, rank):
    torch.manual_seed(2)
    made = TableGenerator(width=width, layers=layers, units=UNITS, rank=rank)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    again = table_target.restored(made.state_dict())
    assert len(again.layers) == layers
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert_same(
        table_generator.generate(again, support(), draws())[-1],
        table_generator.generate(made.eval().requires_grad_(False), support(), draws())[-1],
    )


def test_the_shipped_generator_gives_finite_nets_of_any_table():
    shipped = table_target.shipped_generator()
    units = shipped.directions.shape[1]
    for rows, columns, classes in ((1, 1, 2), (3, 9, 0), (60, 4, 10)):
        labelled = support(columns=columns, rows=max(rows, 2), sets=1, classes=classes)
        labelled = dataclasses.replace(
            labelled, cells_BND=labelled.cells_BND[:, :rows], targets_BNC=labelled.targets_BNC[:, :rows]
        )
        made = table_generator.generate(shipped, labelled, Draws.of(1, columns, seed=0, units=units))[-1]
        assert table_net.features(made.hidden, labelled.cells_BND).isfinite().all()
        assert made.penalty_B.isfinite().all()


def test_logits_order_as_scores_do_and_bend_near_zero():
    scores = torch.tensor([[[0.9, 0.1, 0.0, -0.5]]], dtype=torch.float64)
    found = table_generator.logits(scores, torch.tensor([[3.0, 0.5]], dtype=torch.float64))[0, 0]
    wanted = 3 * scores[0, 0] + 0.5 * torch.log(torch.tensor([0.92, 0.12, 0.02, 0.02], dtype=torch.float64))
    torch.testing.assert_close(found, wanted)
