"""AUROCs and their intervals, against plain counting and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from sartor.evaluate.ranking import Ranked, _newcombe, _precisions, _weighted

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=30)


def alone(bad):
    return np.full(bad, -1)


@settings(max_examples=40, deadline=None)
@given(SCORES, SCORES)
def test_rows_that_count_once_give_the_plain_figures(good, bad):
    good, bad = np.array(good), np.array(bad)
    ones = np.ones((1, len(good))), np.ones((1, len(bad)))
    truth, scores = np.r_[np.zeros(len(good)), np.ones(len(bad))], np.r_[good, bad]
    assert _weighted(good, bad, *ones)[0] == pytest.approx(roc_auc_score(truth, scores))
    assert _precisions(good, bad, *ones)[0] == pytest.approx(average_precision_score(truth, scores))


@settings(max_examples=40, deadline=None)
@given(SCORES, SCORES, st.integers(0, 9))
def test_rows_that_count_twice_are_as_two_rows(good, bad, seed):
    good, bad = np.array(good), np.array(bad)
    random = np.random.default_rng(seed)
    times = random.integers(0, 3, len(good)), random.integers(0, 3, len(bad))
    if not times[0].any() or not times[1].any():
        return
    many = np.repeat(good, times[0]), np.repeat(bad, times[1])
    ones = np.ones((1, len(many[0]))), np.ones((1, len(many[1])))
    weights = times[0][None].astype(float), times[1][None].astype(float)
    assert _weighted(good, bad, *weights)[0] == pytest.approx(_weighted(*many, *ones)[0])
    assert _precisions(good, bad, *weights)[0] == pytest.approx(_precisions(*many, *ones)[0])


def test_an_interval_has_a_width_where_all_is_told_apart_and_shrinks_with_rows():
    few = Ranked(10, alone(5)).auroc(np.zeros(10), np.ones(5), seed=0)
    many = Ranked(200, alone(100)).auroc(np.zeros(200), np.ones(100), seed=0)
    assert few.value == few.high == many.value == 1
    assert 0.5 < few.low < many.low < 1
    low, high = _newcombe(0.5, 50, 50)
    assert low == pytest.approx(1 - high)
    assert low < 0.42


def test_an_interval_holds_the_truth():
    random, inside = np.random.default_rng(0), 0
    for _ in range(100):
        good, bad = random.normal(0, 1, 30), random.normal(1, 1, 20)
        found = Ranked(30, alone(20)).auroc(good, bad, seed=0)
        inside += found.low <= 0.7602 <= found.high
    assert inside / 100 > 0.9


@pytest.mark.parametrize("of_good", [True, False], ids=["planted", "real"])
def test_two_ways_that_are_as_good_as_each_other_are_seldom_told_apart(of_good):
    random, told, rounds = np.random.default_rng(1), 0, 120
    of = np.tile(np.arange(24), 2) if of_good else alone(48)
    for _ in range(rounds):
        shared = random.normal(0, 1, 24)
        base = shared[of] if of_good else random.normal(0, 1, 48)
        ways = [(shared + random.normal(0, 0.7, 24), base + 1 + random.normal(0, 0.7, 48)) for _ in range(2)]
        told += Ranked(24, of).difference(*ways, seed=0)[1] < 0.05
    assert told / rounds < 0.1


def test_a_way_that_is_better_is_told_with_the_sign_and_the_interval_above_nothing():
    random = np.random.default_rng(2)
    good, bad = random.normal(0, 1, 60), random.normal(2.5, 1, 60)
    noise = random.normal(0, 1, 60), random.normal(0.5, 1, 60)
    difference, p = Ranked(60, alone(60)).difference((good, bad), noise, seed=0)
    assert difference.low > 0
    assert p < 0.01
    same, p = Ranked(60, alone(60)).difference((good, bad), (good, bad), seed=0)
    assert (same.value, same.low, same.high, p) == (0, 0, 0, 1)
