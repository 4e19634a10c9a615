"""Two-sample tests: valid under the null, and with power against what they are for."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.monitor import samples

R, M, MOST = 120, 40, 400


def vectors(rng, rows, shift=0.0, scale=1.0):
    return scale * rng.standard_normal((rows, 8)) + shift


def numbers(rng, rows, shift=0.0):
    return np.round(rng.beta(5, 2, rows), 2) + shift


def labels(rng, rows, first=0.2):
    return rng.choice(np.array(["a", "b", "c", "d"]), rows, p=[first, *[(1 - first) / 3] * 3])


TESTS = {
    "mmd": (
        lambda old, new, rng: samples.mmd(old, new, rng, width=samples.bandwidth(old), most=MOST),
        vectors,
        {"shift": 0.8},
    ),
    "told apart": (lambda old, new, rng: samples.told_apart(old, new), vectors, {"shift": 0.8}),
    "ks": (lambda old, new, rng: samples.ks(old, new), numbers, {"shift": 0.2}),
    "lower": (lambda old, new, rng: samples.lower(old, new, rng, most=MOST), numbers, {"shift": -0.2}),
    "slower": (lambda old, new, rng: samples.slower(old, new, least=0.0), numbers, {"shift": 0.2}),
    "shares": (lambda old, new, rng: samples.shares(old, new, rng, most=MOST), labels, {"first": 0.7}),
}


@pytest.mark.parametrize("name", TESTS)
def test_without_a_change_a_p_value_is_as_small_as_it_says_no_more_often(name):
    test, make, _ = TESTS[name]
    rng = np.random.default_rng(7)
    ps = np.array([test(make(rng, R), make(rng, M), rng).p for _ in range(200)])
    for level in (0.05, 0.2, 0.5):
        # 1 in 10,000 that a valid test is beyond: 18 bounds are looked at, and the seed is fixed
        assert (ps <= level).sum() <= scipy.stats.binom.ppf(1 - 1e-4, len(ps), level), (name, level)
    assert ps.min() > 0


@pytest.mark.parametrize("name", TESTS)
def test_a_change_is_found(name):
    test, make, changed = TESTS[name]
    rng = np.random.default_rng(8)
    assert all(test(make(rng, R), make(rng, M, **changed), rng).p < 0.01 for _ in range(10))


def test_a_discrepancy_finds_what_moves_no_mean():
    rng = np.random.default_rng(9)
    old, new = vectors(rng, R), vectors(rng, M, scale=2.0)
    assert samples.mmd(old, new, rng, width=samples.bandwidth(old), most=MOST).p < 0.01
    assert samples.told_apart(old, new).p > 0.01


def test_a_discrepancy_is_what_its_definition_says():
    rng = np.random.default_rng(10)
    old, new = vectors(rng, 9), vectors(rng, 5, shift=1.0)
    found = samples.mmd(old, new, rng, width=1.5, most=10)

    def alike(a, b):
        return np.mean([[np.exp(-((x - y) ** 2).sum() / (2 * 1.5**2)) for y in b] for x in a])

    assert found.value == pytest.approx(alike(old, old) + alike(new, new) - 2 * alike(old, new), abs=1e-5)
    own = samples.kernel(old, old, 1.5)
    assert samples.mmd(old, new, np.random.default_rng(0), width=1.5, most=10, own_RR=own) == samples.mmd(
        old, new, np.random.default_rng(0), width=1.5, most=10
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.data())
def test_subsets_have_their_size_and_every_row_has_its_turn(rows, data):
    size = data.draw(st.integers(1, rows - 1))
    drawn = samples.subsets(rows, size, 400, np.random.default_rng(rows))
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    assert (drawn.sum(axis=1) == size).all()
    share = size / rows
    assert np.abs(drawn.mean(axis=0) - share).max() < 5.5 * np.sqrt(share * (1 - share) / 400) + 1e-9


@pytest.mark.parametrize("most", [7, 100, 3000])
def test_drawing_stops_early_only_where_nothing_is_found(most):
    asked = []

    def draw(size):
        asked.append(size)
        return np.zeros(size)

    assert samples.drawn_p(1.0, draw, most) == pytest.approx(1 / (most + 1))
    assert sum(asked) == most
    asked.clear()
    assert samples.drawn_p(0.0, draw, most) == 1.0
    assert len(asked) == 1


@pytest.mark.parametrize(("r", "m"), [(500, 50), (500, 800), (300, 30)])
def test_the_bound_of_kolmogorov_and_smirnov_is_above_the_exact_p_value(r, m):
    for gap in np.linspace(0.05, 0.4, 15):
        old, new = np.arange(r) / r, np.arange(m) / m + gap
        exact = scipy.stats.ks_2samp(old, new, method="exact")
        found = samples.ks(old, new)
        assert found.value == pytest.approx(exact.statistic)
        assert found.p >= exact.pvalue * (1 - 1e-9)


def test_stability_index():
    rng = np.random.default_rng(11)
    old = rng.normal(size=2000)
    assert samples.psi(old, rng.normal(size=2000)) < 0.05
    assert samples.psi(old, rng.normal(1.0, size=2000)) > 0.25
    assert samples.psi(np.ones(50), np.ones(50)) == pytest.approx(0.0)


def test_a_delay_that_nobody_minds_is_not_found():
    rng = np.random.default_rng(12)
    old = rng.gamma(9, 1, 2000)
    assert samples.slower(old, 1.2 * old, least=1.0).p < 1e-6
    assert samples.slower(old, 1.2 * old, least=1.5).p == 1.0
    assert samples.slower(old, 1.8 * old, least=1.5).p < 1e-6


def test_nothing_is_found_where_there_is_nothing():
    rng, none = np.random.default_rng(0), np.zeros(0)
    for found in (
        samples.ks(none, np.ones(3)),
        samples.lower(np.ones(3), none, rng, most=10),
        samples.slower(none, none, least=1.0),
        samples.shares(np.zeros(0, dtype=str), np.array(["a"]), rng, most=10),
    ):
        assert found == samples.NOTHING
    assert samples.psi(none, none) == 0.0
