"""Cells to numbers: gaps, levels, tails, and the columns that are left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.nn import table_coder
from sartor.nn.table_coder import MOST_COLUMNS, Cells
from sartor.nn.table_net import LARGEST


def cells(numbers=None, codes=None):
    numbers = None if numbers is None else np.asarray(numbers, dtype=float).reshape(len(numbers), -1)
    codes = None if codes is None else np.asarray(codes, dtype=np.int64).reshape(len(codes), -1)
    n = len(codes if numbers is None else numbers)
    return Cells(
        np.zeros((n, 0)) if numbers is None else numbers, np.zeros((n, 0), np.int64) if codes is None else codes
    )


def noise(n, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, 1))
    return (values - values.mean()) / values.std()


def standardised(column):
    return (column - np.mean(column)) / np.std(column)


# --- numbers -----------------------------------------------------------------------------------------------


def test_numbers_without_gaps_are_standardised_and_cut():
    values = np.random.default_rng(0).normal(5, 3, size=(400, 2))
    values[0, 0] = 20.0
    coder, coded = table_coder.learn(cells(values), [], noise(400))
    wanted = np.clip(np.stack([standardised(column) for column in values.T], 1), -LARGEST, LARGEST)
    np.testing.assert_allclose(coded, wanted, atol=1e-5)
    assert coded[0, 0] == LARGEST
    np.testing.assert_array_equal(coder.code(cells(values)), coded)


def test_gaps_stand_at_the_median_and_are_told_by_a_column_of_their_own():
    values = [1.0, 2.0, np.nan, 9.0, np.nan, 3.0]
    coder, coded = table_coder.learn(cells(values), [], noise(6))
    filled = np.array([1.0, 2.0, 2.5, 9.0, 2.5, 3.0])
    gaps = np.array([0.0, 0, 1, 0, 1, 0])
    np.testing.assert_allclose(coded, np.stack([standardised(filled), standardised(gaps)], 1), atol=1e-6)
    np.testing.assert_array_equal(coder.code(cells(values)), coded)


def test_a_gap_where_there_was_none_is_the_median_and_nothing_more():
    coder, coded = table_coder.learn(cells([1.0, 2.0, 4.0]), [], noise(3))
    assert coded.shape == (3, 1)
    np.testing.assert_array_equal(coder.code(cells([np.nan, 2.0])), coder.code(cells([2.0, 2.0])))


def test_heavy_tails_are_bent_and_stay_in_order():
    values = np.exp(3 * np.random.default_rng(0).normal(size=200))
    coder, coded = table_coder.learn(cells(values), [], noise(200))
    order = np.argsort(values)
    assert (np.diff(coded[order, 0]) >= 0).all()
    # what makes the middle half of the rows is told apart, which one deviation of the raw values would not
    quarter, three = np.quantile(coded[:, 0], [0.25, 0.75])
    assert three - quarter > 1
    assert np.ptp(standardised(values)[order[50:150]]) < 0.2
    beyond = coder.code(cells([values.min() - 1, values.max() * 100]))[:, 0]
    np.testing.assert_allclose(beyond, [coded.min(), coded.max()])


def test_numbers_that_are_not_heavy_are_not_bent():
    values = np.random.default_rng(0).normal(size=200)
    _, coded = table_coder.learn(cells(values), [], noise(200))
    np.testing.assert_allclose(coded[:, 0], np.clip(standardised(values), -LARGEST, LARGEST), atol=1e-5)


@pytest.mark.parametrize("same", [0.0, 7.3, 1e15, np.nan, 1e308, -1e308])
def test_a_column_that_cannot_vary_is_left_out(same):
    values = np.stack([np.full(20, same), np.arange(20.0)], 1)
    coder, coded = table_coder.learn(cells(values), [], noise(20))
    np.testing.assert_allclose(coded, standardised(np.arange(20.0))[:, None], atol=1e-6)
    np.testing.assert_array_equal(coder.code(cells([[-same, 3.0], [5.0, 3.0]]))[:, 0], np.repeat(coded[3, 0], 2))


@pytest.mark.parametrize("unit", [1e-12, 1e-60, 1e60])
def test_the_unit_of_a_column_does_not_matter(unit):
    values = np.random.default_rng(0).exponential(size=30)
    _, coded = table_coder.learn(cells(values), [], noise(30))
    _, found = table_coder.learn(cells(unit * values), [], noise(30))
    np.testing.assert_allclose(found, coded, atol=1e-6)


def test_where_nothing_varies_no_column_is_left():
    coder, coded = table_coder.learn(cells(np.full((5, 2), 3.0), np.zeros(5)), [1], noise(5))
    assert coded.shape == coder.code(cells(np.ones((5, 2)), np.zeros(5))).shape == (5, 0)


@pytest.mark.parametrize("largest", [1e200, 1.7e308])
def test_numbers_as_large_as_there_are_stay_in_order(largest):
    values = largest * np.linspace(-1, 1, 41)
    coder, coded = table_coder.learn(cells(values), [], noise(41))
    assert coded.shape[1] == 1
    assert (np.diff(coded[:, 0]) >= 0).all()
    assert coded[0, 0] < -0.5
    assert coded[-1, 0] > 0.5
    assert np.isfinite(coder.code(cells([largest, -largest, 0.0]))).all()


def test_beyond_the_most_columns_those_that_tell_most_are_kept():
    random = np.random.default_rng(0)
    values = random.normal(size=(60, MOST_COLUMNS + 50))
    targets = standardised(values[:, [3]] + values[:, [-1]])
    coder, coded = table_coder.learn(cells(values), [], targets)
    assert coded.shape == (60, MOST_COLUMNS)
    kept = coder.tensors["kept"].numpy()
    assert (np.diff(kept) > 0).all()
    assert {3, MOST_COLUMNS + 49} <= set(kept.tolist())
    np.testing.assert_array_equal(coder.code(cells(values)), coded)


# --- categories --------------------------------------------------------------------------------------------


def test_few_levels_are_one_column_each():
    codes = np.array([0, 1, 2, 0, 1, 0])
    coder, coded = table_coder.learn(cells(codes=codes), [3], noise(6))
    wanted = np.stack([standardised((codes == level).astype(float)) for level in range(3)], 1)
    np.testing.assert_allclose(coded, wanted, atol=1e-6)
    unseen, missing = coder.code(cells(codes=[-2, -1]))
    none = np.array([-np.mean(codes == level) / np.std(codes == level) for level in range(3)])
    np.testing.assert_allclose(unseen, none, atol=1e-6)
    np.testing.assert_array_equal(missing, unseen)


def test_a_missing_level_has_a_column_where_rows_were_missing():
    coder, coded = table_coder.learn(cells(codes=[0, 1, -1, 0]), [2], noise(4))
    assert coded.shape == (4, 3)
    assert coded[2, 2] > 0 > coded[0, 2]
    assert coder.code(cells(codes=[-1]))[0, 2] > 0


MANY = 30


def many_levels(n=300, seed=0):
    random = np.random.default_rng(seed)
    codes = random.integers(MANY, size=n)
    return codes, standardised(random.normal(size=MANY)[codes] + 0.1 * random.normal(size=n))[:, None]


def test_of_many_levels_the_usual_target_and_the_frequency_are_told():
    codes, targets = many_levels()
    coder, coded = table_coder.learn(cells(codes=codes), [MANY], targets)
    assert coded.shape == (300, 2)
    # five rows' worth of the overall mean, which is 0
    usual = np.array([targets[codes == level].sum() / ((codes == level).sum() + 5) for level in range(MANY)])
    asked = coder.code(cells(codes=np.arange(MANY)))
    assert np.corrcoef(asked[:, 0], usual)[0, 1] == pytest.approx(1, abs=1e-6)
    count = np.log1p(np.bincount(codes, minlength=MANY))
    assert np.corrcoef(asked[:, 1], count)[0, 1] == pytest.approx(1, abs=1e-6)


def test_a_rows_own_target_has_no_part_in_what_is_told_of_its_level():
    codes, targets = many_levels()
    row = 17
    changed = targets.copy()
    changed[row] += 100 * np.std(targets)
    raw = []
    for known in (targets, changed):
        coder, _ = table_coder.learn(cells(codes=codes), [MANY], known)
        effects = {**coder.tensors, "effects.prior": coder.tensors["effects.prior"] * 0}
        raw.append(table_coder.Coder(effects)._raw(cells(codes=codes), known)[:, 0])
    moved = ~np.isclose(raw[0], raw[1], atol=1e-9)
    assert not moved[row]
    assert not moved[codes != codes[row]].any()
    # but for those of its own fold, a fifth
    assert moved[codes == codes[row]].mean() > 0.5


def test_what_is_told_of_a_level_does_not_give_a_rows_own_target_away():
    """Were its own target alone left out, the rest of the level's sum would tell it: a correlation of -1."""
    codes, targets = np.arange(300) % MANY, noise(300)
    coder, _ = table_coder.learn(cells(codes=codes), [MANY], targets)
    told = coder._raw(cells(codes=codes), targets)[:, 0]
    within = [np.corrcoef(told[codes == level], targets[codes == level, 0])[0, 1] for level in range(MANY)]
    assert np.mean(within) > -0.8


def test_targets_of_noise_cannot_be_told_from_levels_of_one_row():
    """A level that names its row tells its target, unless the row's own is left out."""
    targets = noise(200)
    _, coded = table_coder.learn(cells(codes=np.arange(200)), [200], targets)
    for column in coded.T:
        assert abs(np.corrcoef(column, targets[:, 0])[0, 1]) < 0.3


def test_unknown_and_missing_levels_of_many_are_told_the_mean():
    codes, targets = many_levels()
    coder, _ = table_coder.learn(cells(codes=codes), [MANY], targets)
    for code in (-2, -1, MANY + 4):
        raw = coder._raw(cells(codes=[code]), None)[0]
        assert raw[0] == pytest.approx(float(targets.mean()))
        assert raw[1] == 0


@pytest.mark.parametrize(("classes", "told"), [(2, 1), (3, 3), (9, table_coder.MOST_EFFECTS)])
def test_of_classes_the_share_of_each_is_told_up_to_some(classes, told):
    codes, _ = many_levels()
    targets = np.eye(classes)[np.random.default_rng(0).integers(classes, size=300)]
    _, coded = table_coder.learn(cells(codes=codes), [MANY], targets)
    assert coded.shape[1] == told + 1


# --- order, and anything -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(0, 1000))
def test_the_order_of_rows_does_not_depend_on_the_one_they_came_in(n, seed):
    random = np.random.default_rng(seed)
    numbers = random.integers(3, size=(n, 2)).astype(float)
    numbers[numbers == 2] = np.nan
    rows, targets = cells(numbers, random.integers(-1, 3, size=(n, 2))), random.integers(2, size=n)
    shuffled = random.permutation(n)
    first, second = rows.order(targets), rows.take(shuffled).order(targets[shuffled])
    np.testing.assert_array_equal(targets[first], targets[shuffled][second])
    np.testing.assert_array_equal(rows.take(first).codes_NG, rows.take(shuffled).take(second).codes_NG)
    np.testing.assert_array_equal(rows.take(first).numbers_NM, rows.take(shuffled).take(second).numbers_NM)


VALUES = st.one_of(
    st.sampled_from([np.nan, 0.0, 1.0, -1.0, 1e-300, 1e308, -1e308, 5e-324]),
    st.floats(allow_nan=True, allow_infinity=False),
)


@settings(deadline=None, max_examples=120)
@given(st.data(), st.integers(1, 12), st.integers(0, 3), st.integers(0, 2), st.sampled_from([1, 2, 7]))
def test_any_table_is_coded_finitely_and_new_rows_as_well(data, n, width, categories, outputs):
    numbers = np.array(data.draw(st.lists(VALUES, min_size=n * width, max_size=n * width))).reshape(n, width)
    levels = data.draw(st.lists(st.integers(1, 20), min_size=categories, max_size=categories))
    codes = [data.draw(st.lists(st.integers(-2, many - 1), min_size=n, max_size=n)) for many in levels]
    table = Cells(numbers, np.array(codes, dtype=np.int64).reshape(categories, n).T)
    labels = np.array(data.draw(st.lists(st.integers(0, max(outputs, 2) - 1), min_size=n, max_size=n)))
    targets = (
        np.eye(outputs)[labels] if outputs > 1 else standardised(np.arange(n))[:, None] if n > 1 else np.ones((1, 1))
    )
    coder, coded = table_coder.learn(table, levels, targets)
    assert coded.dtype == np.float32
    for found in (coded, coder.code(table)):
        assert np.isfinite(found).all()
        assert (np.abs(found) <= LARGEST).all()
    other = np.array(data.draw(st.lists(VALUES, min_size=width, max_size=width))).reshape(1, width)
    assert np.isfinite(coder.code(Cells(other, np.full((1, categories), -2)))).all()
