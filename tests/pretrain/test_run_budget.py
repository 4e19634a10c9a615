"""Runs that end when their seconds are spent, on a clock that a test moves by hand."""

import numpy as np
import pytest
import torch

from sartor.pretrain.run import Budget, descend_for


class Valley:
    """A bowl whose bottom is at one; each step costs what it is told, each look a hundred seconds."""

    def __init__(self, cost):
        self.now, self.cost = 0.0, cost
        self.weights = {"height": 1.0}
        self.drawn = []

    def learn(self, parameters, random):
        self.now += self.cost
        self.drawn.append(random.random())
        return {"height": (parameters["x"] - 1).square().sum()}

    def watch(self, parameters):
        self.now += 100.0
        return {"height": (parameters["x"] - 1).square().sum()}

    def clock(self):
        return self.now


def spend(cost, budget, seed=0):
    valley, looks = Valley(cost), []
    start = {"x": torch.zeros(2, 2)}
    descend_for(valley, start, budget, seed=seed, on_look=lambda *of: looks.append(of), clock=valley.clock)
    assert not start["x"].any()
    return valley, looks


@pytest.mark.parametrize("cost", [0.5, 1.0, 2.0])
def test_steps_are_as_many_as_the_seconds_are_enough_for_and_looks_are_free(cost):
    valley, looks = spend(cost, Budget(seconds=40.0, rate=0.1, looks=4))
    assert len(valley.drawn) == 40 / cost
    assert [spent for _, _, spent in looks] == [10.0, 20.0, 30.0, 40.0]
    assert [look.step for look, _, _ in looks] == [int(at / cost) for at in (10, 20, 30, 40)]
    heights = [look.watched["height"] for look, _, _ in looks]
    assert heights[-1] < 0.1 < heights[0] < 4.0
    assert np.isclose(float((looks[-1][1]["x"] - 1).square().sum()), heights[-1])


def test_what_a_look_is_given_does_not_change_afterwards():
    _, looks = spend(1.0, Budget(seconds=40.0, rate=0.1, looks=4))
    assert not torch.equal(looks[0][1]["x"], looks[1][1]["x"])


def test_a_step_longer_than_the_budget_is_taken_once_and_looked_at_once():
    valley, looks = spend(1000.0, Budget(seconds=40.0, rate=0.1, looks=4))
    assert (len(valley.drawn), len(looks)) == (1, 1)


def test_the_same_seed_draws_the_same():
    one, same, other = (spend(1.0, Budget(seconds=5.0, rate=0.1), seed)[0].drawn for seed in (0, 0, 1))
    assert one == same != other


def test_the_rate_warms_up_and_comes_down():
    budget = Budget(seconds=100.0, rate=1.0)
    assert budget.rate_at(0.0) == pytest.approx(0.1, abs=0.01)
    assert budget.rate_at(10.0) == pytest.approx(0.976, abs=0.01)
    assert budget.rate_at(100.0) == budget.rate_at(200.0) == pytest.approx(0.05)
