import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import DataError
from sartor.pretrain import table_prior
from sartor.pretrain.table_prior import MECHANISMS, Prior


def only(mechanism: str, **dials) -> Prior:
    return Prior(**{name: float(name == mechanism) for name in MECHANISMS}, **dials)


CLEAN = {"missing": 0.0, "outliers": 0.0, "label_noise": 0.0, "imbalanced": 0.0, "categorical": 0.0, "all_columns": 1.0}


def tables(prior=None, *, sets=48, rows=64, columns=12, regression=False, seed=0, **more):
    generator = torch.Generator().manual_seed(seed)
    return table_prior.draw(
        prior or Prior(), sets=sets, rows=rows, columns=columns, regression=regression, generator=generator, **more
    )


def assert_sound(found, regression: bool):
    assert found.cells_BND.dtype == torch.float32
    assert not found.cells_BND.isinf().any()
    assert not found.cells_BND.transpose(1, 2)[~found.present_BD].any()
    assert found.present_BD.any(1).all()
    half = found.targets_BN.shape[1] // 2
    for part in (found.targets_BN[:, :half], found.targets_BN[:, half:]):
        assert (part.amax(1) > part.amin(1)).all()
    if regression:
        assert found.targets_BN.dtype == torch.float32
        assert found.targets_BN.isfinite().all()
        assert not found.classes_B.any()
    else:
        assert found.targets_BN.dtype == found.classes_B.dtype == torch.int64
        assert found.targets_BN.min() == 0
        for targets, classes in zip(found.targets_BN, found.classes_B, strict=True):
            assert targets[:half].unique().tolist() == list(range(int(classes)))
            assert targets.max() < classes <= table_prior.CLASSES


@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_mechanism_gives_sound_tables(mechanism, regression):
    found = tables(only(mechanism), regression=regression)
    assert found.cells_BND.shape == (48, 64, 12)
    assert found.present_BD.shape == (48, 12)
    assert found.targets_BN.shape == (48, 64)
    assert_sound(found, regression)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(4, 41),
    st.integers(1, 90),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_small_and_wide_tables_are_sound(sets, rows, columns, regression, seed):
    assert_sound(tables(sets=sets, rows=rows, columns=columns, regression=regression, seed=seed), regression)


def test_many_large_tables_are_sound_and_of_every_number_of_classes():
    found = tables(sets=256, rows=200)
    assert_sound(found, False)
    assert set(found.classes_B.tolist()) == set(range(2, table_prior.CLASSES + 1))


def test_the_same_state_of_the_generator_gives_the_same_tables():
    one, two, other = tables(seed=3), tables(seed=3), tables(seed=4)
    assert torch.equal(one.cells_BND.nan_to_num(7), two.cells_BND.nan_to_num(7))
    assert torch.equal(one.targets_BN, two.targets_BN)
    assert not torch.equal(one.targets_BN, other.targets_BN)


def test_the_random_state_of_torch_is_left_alone():
    before = torch.get_rng_state()
    tables()
    assert torch.equal(before, torch.get_rng_state())


def test_cells_are_missing_in_the_share_of_sets_that_the_dial_says():
    missing = tables(Prior(missing=0.4), sets=400, rows=40).cells_BND.isnan()
    assert 0.25 < missing.any(2).any(1).float().mean() < 0.45
    assert not missing[:, :20].all(1).any()
    assert not tables(Prior(missing=0.0)).cells_BND.isnan().any()


def test_where_the_target_says_what_is_missing_the_gaps_tell_the_target():
    found = tables(Prior(missing=1.0, informative=1.0, categorical=0.0), sets=200, rows=400, regression=True)
    gaps = table_prior._standard(found.cells_BND.isnan().float())
    told = table_prior._standard(found.targets_BN[:, :, None])
    strongest = (gaps * told).mean(1).abs().amax(1)
    assert strongest.mean() > 0.3
    blind = tables(Prior(missing=1.0, informative=0.0, categorical=0.0), sets=200, rows=400, regression=True)
    gaps = table_prior._standard(blind.cells_BND.isnan().float())
    told = table_prior._standard(blind.targets_BN[:, :, None])
    assert (gaps * told).mean(1).abs().amax(1).mean() < strongest.mean() - 0.1


def test_one_hot_blocks_are_zero_or_one_and_no_more_than_one_of_a_block_is_set():
    dice = table_prior._Dice(torch.Generator().manual_seed(0), torch.device("cpu"))
    prior = Prior(categorical=1.0)
    layout = table_prior._layout(dice, prior, torch.zeros(64), 50, 20)
    hidden = table_prior._hidden(dice, prior, layout, 50)
    table = table_prior._observe(dice, prior, layout, hidden)
    missing = torch.rand(hidden.shape, generator=dice.generator) < 0.2
    cells = table_prior._cells(layout, table, missing)
    blocks = 0
    for data, variable in (layout.one_hot_BV & layout.exists_BV).nonzero().tolist():
        own = (layout.owner_BD[data] == variable) & layout.present_BD[data]
        block = cells[data][:, own]
        assert block.shape[1] == layout.levels_BV[data, variable] >= 2
        assert torch.equal(block.sum(1), (~missing[data, :, variable]).float())
        blocks += 1
    assert blocks > 20


def test_a_statistic_of_many_levels_leaves_its_own_row_out_and_knows_no_target_of_a_new_row():
    codes = torch.tensor([[0, 0, 0, 1, 0, 1, 2]])
    targets = torch.tensor([[1.0, 2.0, 6.0, 3.0, 100.0, 100.0, 100.0]])
    found = table_prior._smoothed(codes, targets, fitted=4, smoothing=2.0)
    mean = 3.0
    expected = [
        (2 + 6 + 2 * mean) / 4, (1 + 6 + 2 * mean) / 4, (1 + 2 + 2 * mean) / 4, mean,
        (1 + 2 + 6 + 2 * mean) / 5, (3 + 2 * mean) / 3, mean,
    ]  # fmt: skip
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_a_statistic_of_many_levels_tells_the_target_of_new_rows():
    dice = table_prior._Dice(torch.Generator().manual_seed(0), torch.device("cpu"))
    prior = Prior(categorical=1.0, many_levels=0.6)
    layout = table_prior._layout(dice, prior, torch.zeros(64), 1000, 4)
    table = table_prior._observe(dice, prior, layout, table_prior._hidden(dice, prior, layout, 1000))
    places = layout.statistic_BV.nonzero().tolist()
    assert len(places) > 20
    told = []
    for data, variable in places:
        targets = table.effects_BNV[:, :, variable]
        coded = table_prior._encode_levels(prior, layout, table, targets, torch.zeros(64, dtype=torch.int64), 500)
        new = torch.stack((coded.values_BNV[data, 500:, variable], targets[data, 500:]))
        told.append(torch.corrcoef(new)[0, 1])
    assert torch.stack(told).median() > 0.8


def test_parity_is_a_function_of_few_columns():
    dice = table_prior._Dice(torch.Generator().manual_seed(0), torch.device("cpu"))
    bits = (torch.rand(32, 400, 8, generator=dice.generator) < 0.5) * 2.0 - 1
    every, none = torch.ones(32, 8, dtype=torch.bool), torch.zeros(32, 8, dtype=torch.bool)
    _, classes = table_prior._rules(dice, bits, every.float(), every, none)
    exact = 0
    for rows, target in zip(bits, classes, strict=True):
        signs = rows * (target[:, None] * 2.0 - 1)
        pairs = [(rows[:, one] * signs[:, two]).mean().abs() for one in range(8) for two in range(one)]
        alone = signs.mean(0).abs().max()
        exact += int(max(pairs) == 1 and alone < 0.3)
    assert exact >= 2  # XOR of two columns, each of which says nothing by itself


@pytest.mark.parametrize("mechanism", ["trees", "rules"])
def test_what_is_made_of_few_yes_no_questions_has_few_values(mechanism):
    dice = table_prior._Dice(torch.Generator().manual_seed(0), torch.device("cpu"))
    bits = (torch.rand(40, 300, 4, generator=dice.generator) < 0.5) * 2.0 - 1
    every = torch.ones(40, 4, dtype=torch.bool)
    if mechanism == "trees":
        signal = table_prior._trees(dice, bits, every.float())[:, :, 0]
    else:
        signal = table_prior._rules(dice, bits, every.float(), every, ~every)[0][:, :, 0]
    codes = ((bits > 0) * torch.tensor([1, 2, 4, 8])).sum(2)
    for code, values in zip(codes, signal, strict=True):
        for each in range(16):
            torch.testing.assert_close(values[code == each], values[code == each][:1].expand((code == each).sum()))
    assert (signal.std(1) > 0).float().mean() > 0.6


def test_a_linear_target_is_found_by_least_squares_and_chance_is_not():
    prior = only("linear", skewed=0.0, heavy_noise=0.0, rounded=0.0, plain=1.0, **CLEAN)
    found = tables(prior, rows=200, columns=6, regression=True)
    cells = torch.cat((table_prior._standard(found.cells_BND), torch.ones(48, 200, 1)), 2)
    targets = table_prior._standard(found.targets_BN[:, :, None])
    guess = cells[:, 100:] @ torch.linalg.lstsq(cells[:, :100], targets[:, :100], driver="gelsd").solution
    explained = 1 - (guess - targets[:, 100:]).square().mean((1, 2))
    assert explained.median() > 0.8


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_neighbours_tell_classes_better_than_the_largest_class(mechanism):
    found = tables(only(mechanism, two_classes=1.0, some_irrelevant=0.0, **CLEAN), sets=100, rows=400, columns=4)
    cells = table_prior._standard(found.cells_BND).clamp(-4, 4)
    near = torch.cdist(cells[:, 200:], cells[:, :200]).topk(9, 2, largest=False).indices
    voted = found.targets_BN[:, None, :200].expand(-1, 200, -1).gather(2, near).mode(2).values
    new = found.targets_BN[:, 200:]
    largest = found.targets_BN[:, :200].mode(1, keepdim=True).values
    gain = (voted == new).float().mean(1) - (largest == new).float().mean(1)
    assert gain.mean() > 0.06


def test_classes_can_be_rare():
    found = tables(Prior(two_classes=1.0, imbalanced=1.0, rules=0.0), sets=200, rows=400)
    share = found.targets_BN.float().mean(1)
    rare = torch.minimum(share, 1 - share)
    assert 0.1 < (rare < 0.05).float().mean() < 0.6
    assert (rare > 0.2).any()


@pytest.mark.parametrize("bad", [{"rows": 3}, {"columns": 0}, {"sets": 0}, {"fitted": 0}, {"fitted": 65}])
def test_what_cannot_be_drawn_is_said(bad):
    with pytest.raises(DataError, match="it takes one"):
        tables(**bad)


@pytest.mark.parametrize("share", [0.0, -1.0])
def test_a_mechanism_must_have_a_share(share):
    nothing = dict.fromkeys(MECHANISMS, 0.0) | {"linear": share}
    with pytest.raises(DataError, match="must have a share"):
        tables(Prior(**nothing))


@pytest.mark.gpu
def test_tables_are_drawn_on_a_gpu():
    generator = torch.Generator("cuda").manual_seed(0)
    found = table_prior.draw(
        Prior(), sets=64, rows=64, columns=12, regression=False, generator=generator, device="cuda"
    )
    assert found.cells_BND.device.type == "cuda"
    assert math.isfinite(found.targets_BN.float().mean())
