import functools
import itertools
import math
from dataclasses import replace

import pytest

from sartor.evaluate.compare import rows_to_show, worse_at_most
from sartor.evaluate.gate import Regression, may_move
from sartor.types import Limits

from .reports import COST, report, scores

GOOD = report(cost=COST)
EVEN = Regression(cases=100, right=90, incumbent_right=90)


def failed(decision):
    return [check.check for check in decision.checks if not check.passed]


def test_a_first_model_without_a_regression_set_passes_and_is_called_ungated():
    decision = may_move(GOOD, Limits())
    assert (decision.passed, decision.gated) == (True, False)


def test_beside_an_incumbent_two_proofs_can_only_refuse_what_is_clearly_worse():
    worse = replace(GOOD, scores=scores(0.6, 0.55, 0.65))
    assert failed(may_move(worse, Limits(), incumbent=replace(GOOD, scores=scores(0.9, 0.86, 0.93)))) == ["proof"]
    near = replace(GOOD, scores=scores(0.85, 0.80, 0.89))
    decision = may_move(near, Limits(), incumbent=replace(GOOD, scores=scores(0.9, 0.86, 0.93)))
    assert (decision.passed, decision.gated) == (True, False)
    unproved = replace(GOOD, scores=None)
    assert failed(may_move(unproved, Limits(), incumbent=GOOD)) == ["proof"]
    assert may_move(unproved, Limits()).passed


@pytest.mark.parametrize(
    ("limits", "check"),
    [
        (Limits(min_accuracy=0.99), "accuracy"),
        (Limits(max_latency_ms=8), "latency"),
        (Limits(max_memory_mb=299), "memory"),
    ],
)
def test_limits_of_the_task_hold_whatever_the_cases_say(limits, check):
    assert failed(may_move(GOOD, limits, regression=EVEN, incumbent=GOOD)) == [check]


def test_one_lost_case_that_must_pass_refuses():
    lost = replace(EVEN, must_pass=4, must_pass_lost=(17,), wins=30, losses=1, incumbent_right=60)
    decision = may_move(GOOD, Limits(), regression=lost, incumbent=GOOD)
    assert failed(decision) == ["must-pass"]
    assert "number 17" in decision.reasons[0]
    assert may_move(GOOD, Limits(), regression=replace(lost, must_pass_lost=()), incumbent=GOOD).passed


def test_enough_rows_must_show_that_the_margin_is_kept():
    assert may_move(GOOD, Limits(), regression=EVEN, incumbent=GOOD).passed
    assert may_move(GOOD, Limits(), regression=replace(EVEN, wins=12, losses=6, cases=200), incumbent=GOOD).passed
    unsure = replace(EVEN, cases=200, wins=10, losses=10)
    assert failed(may_move(GOOD, Limits(), regression=unsure, incumbent=GOOD)) == ["non-inferiority"]
    assert may_move(GOOD, Limits(), regression=unsure, incumbent=GOOD, margin=0.1).passed


def test_with_few_rows_a_model_must_not_be_behind():
    few = Regression(cases=12, right=9, incumbent_right=9, wins=1, losses=1)
    assert may_move(GOOD, Limits(), regression=few, incumbent=GOOD).passed
    assert failed(may_move(GOOD, Limits(), regression=replace(few, losses=2), incumbent=GOOD)) == ["non-inferiority"]


def test_confidence_must_fit_about_as_well_as_the_incumbents():
    off = replace(EVEN, calibration=0.3, incumbent_calibration=0.05)
    assert failed(may_move(GOOD, Limits(), regression=off, incumbent=GOOD)) == ["calibration"]
    assert may_move(GOOD, Limits(), regression=replace(off, incumbent_calibration=0.26), incumbent=GOOD).passed
    few = replace(off, cases=20)
    assert may_move(GOOD, Limits(), regression=few, incumbent=GOOD).passed


def test_foretold_values_are_judged_by_their_error():
    values = Regression(cases=50, right=44, incumbent_right=46, losses=2, error=1.04, incumbent_error=1.0)
    assert may_move(GOOD, Limits(), regression=values, incumbent=GOOD).passed
    assert failed(may_move(GOOD, Limits(), regression=replace(values, error=1.06), incumbent=GOOD)) == [
        "non-inferiority"
    ]


def test_where_it_passed_every_check_is_a_reason():
    decision = may_move(GOOD, Limits(max_latency_ms=100), regression=EVEN, incumbent=GOOD)
    assert len(decision.reasons) == len(decision.checks) == 2


# --- the bound ---------------------------------------------------------------------------------------------


bound = functools.cache(worse_at_most)


def trinomial(lost, won, n, p_lost, p_won):
    ways = math.comb(n, lost) * math.comb(n - lost, won)
    return ways * p_lost**lost * p_won**won * (1 - p_lost - p_won) ** (n - lost - won)


@pytest.mark.parametrize(
    ("p_lost", "p_won"), [(0.05, 0.0), (0.1, 0.05), (0.3, 0.3), (0.5, 0.3), (0.1, 0.001), (0.02, 0.02)]
)
def test_the_bound_lies_below_the_truth_in_at_most_one_of_twenty_cases(p_lost, p_won):
    n = 10
    missed = sum(
        trinomial(lost, won, n, p_lost, p_won)
        for lost, won in itertools.product(range(n + 1), repeat=2)
        if lost + won <= n and bound(won, lost, n) < p_lost - p_won
    )
    assert missed <= 0.05


def test_the_bound_is_that_of_the_losses_where_nothing_differs():
    assert worse_at_most(0, 0, 72) == pytest.approx(1 - 0.025 ** (1 / 72))
    assert worse_at_most(0, 0, rows_to_show(0.05)) <= 0.05 < worse_at_most(0, 0, rows_to_show(0.05) - 1)
    assert worse_at_most(0, 0, 0) == 1.0
    assert worse_at_most(0, 20, 20) == 1.0


def test_more_wins_lower_the_bound_and_more_losses_raise_it():
    by_wins = [worse_at_most(wins, 6, 150) for wins in (0, 3, 6, 12, 24)]
    by_losses = [worse_at_most(6, losses, 150) for losses in (0, 3, 6, 12, 24)]
    assert by_wins == sorted(by_wins, reverse=True)
    assert by_losses == sorted(by_losses)
    assert worse_at_most(40, 0, 100) < 0
