"""Ridge in closed form against solving the long way, with every row really left out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.nn import ridge
from sartor.nn.ridge import Sums

SHAPES = [pytest.param(12, 4, id="primal"), pytest.param(7, 11, id="dual")]
PENALTIES = torch.tensor([0.03, 1.0, 20.0], dtype=torch.float64)


def problem(n, width, outputs=2, sets=2, seed=0):
    random = np.random.default_rng(seed)
    features = random.normal(size=(sets, n, width)) * random.uniform(0.2, 3, size=width) + 1.5
    return torch.from_numpy(features), torch.from_numpy(random.normal(size=(sets, n, outputs)) - 0.7)


def by_hand(x, y, added, weight=None):
    """Weights and bias under an absolute penalty, by the normal equations with the intercept as a free column."""
    weight = np.ones(len(x)) if weight is None else weight
    wide = np.hstack([x, np.ones((len(x), 1))])
    free = added * np.eye(wide.shape[1])
    free[-1, -1] = 0
    found = np.linalg.solve(wide.T @ (weight[:, None] * wide) + free, wide.T @ (weight[:, None] * y))
    return found[:-1], found[-1]


def length(x, weight=None):
    """The mean squared length of a centred row."""
    middle = np.average(x, axis=0, weights=weight)
    return np.average(((x - middle) ** 2).sum(axis=1), weights=weight)


@pytest.mark.parametrize(("n", "width"), SHAPES)
def test_solve_is_ridge_with_a_free_intercept_in_every_problem(n, width):
    x, y = problem(n, width)
    penalty = torch.tensor([0.1, 4.0], dtype=torch.float64)
    head = ridge.solve(x, y, penalty)
    for at in range(2):
        weight, bias = by_hand(x[at].numpy(), y[at].numpy(), float(penalty[at]) * length(x[at].numpy()))
        np.testing.assert_allclose(head.weight_BFC[at], weight, atol=1e-10)
        np.testing.assert_allclose(head(x)[at], x[at].numpy() @ weight + bias, atol=1e-10)


@pytest.mark.parametrize(("n", "width"), SHAPES)
def test_left_out_scores_are_those_of_heads_without_the_row(n, width):
    x, y = problem(n, width)
    penalty = torch.tensor([0.1, 4.0], dtype=torch.float64)
    found = ridge.left_out(x, y, penalty)
    for at in range(2):
        one, target = x[at].numpy(), y[at].numpy()
        added = float(penalty[at]) * length(one)
        for row in range(n):
            rest = np.arange(n) != row
            weight, bias = by_hand(one[rest], target[rest], added)
            np.testing.assert_allclose(found[at, row], one[row] @ weight + bias, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "width"), SHAPES)
def test_a_path_judges_every_penalty_by_rows_really_left_out(n, width, weighted):
    x, y = problem(n, width, sets=1)
    counts = np.random.default_rng(1).uniform(0.2, 3, n)
    mean_one = counts / counts.mean() if weighted else np.ones(n)
    found = ridge.path(x, y, PENALTIES, torch.from_numpy(counts) if weighted else None)
    one, target = x[0].numpy(), y[0].numpy()
    for at, penalty in enumerate(PENALTIES.tolist()):
        added = penalty * length(one, mean_one)
        for row in range(n):
            rest = np.arange(n) != row
            weight, bias = by_hand(one[rest], target[rest], added, mean_one[rest])
            np.testing.assert_allclose(found.left_out_BLNC[0, at, row], one[row] @ weight + bias, atol=1e-7)


@pytest.mark.parametrize(("n", "width"), SHAPES)
def test_the_head_of_a_path_is_the_mix_of_the_heads_of_its_penalties(n, width):
    x, y = problem(n, width)
    shares = torch.tensor([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]], dtype=torch.float64)
    mixed = ridge.path(x, y, PENALTIES).head(shares, PENALTIES)
    each = [ridge.solve(x, y, penalty.expand(2)) for penalty in PENALTIES]
    weight = sum(shares[:, at, None, None] * head.weight_BFC for at, head in enumerate(each))
    bias = sum(shares[:, at, None] * head.bias_BC for at, head in enumerate(each))
    torch.testing.assert_close(mixed.weight_BFC, weight, atol=1e-9, rtol=0)
    torch.testing.assert_close(mixed.bias_BC, bias, atol=1e-9, rtol=0)


def test_penalties_are_told_relative_to_the_features():
    x, y = problem(12, 4)
    penalty = torch.full((2,), 0.5, dtype=torch.float64)
    torch.testing.assert_close(ridge.solve(1000 * x, y, penalty)(1000 * x), ridge.solve(x, y, penalty)(x))


# --- sums --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_the_head_of_sums_is_that_of_their_rows(weighted):
    x, y = problem(12, 4, sets=1)
    counts = np.array([1, 2, 1, 3, 1, 1, 2, 1, 1, 1, 4, 1]) if weighted else np.ones(12, dtype=int)
    found = Sums.of(x[0], y[0], torch.from_numpy(counts) if weighted else None).head(0.3)
    repeated = torch.from_numpy(np.repeat(np.arange(12), counts))
    wanted = ridge.solve(x[:, repeated], y[:, repeated], torch.tensor([0.3], dtype=torch.float64))
    torch.testing.assert_close(found.weight_BFC, wanted.weight_BFC, atol=1e-10, rtol=0)
    torch.testing.assert_close(found.bias_BC, wanted.bias_BC, atol=1e-10, rtol=0)


def test_rows_added_and_taken_off_leave_exactly_the_sums_of_the_others():
    """Whole numbers add without rounding in float64, so exact means equal bits."""
    random = np.random.default_rng(0)
    x, y = (torch.from_numpy(random.integers(-50, 50, size=(9, width)).astype(float)) for width in (3, 2))
    first, second = Sums.of(x[:6], y[:6]), Sums.of(x[6:], y[6:])
    both = Sums.of(x, y)
    for found, wanted in ((first.plus(second), both), (both.plus(second, -1), first)):
        assert found.weight == wanted.weight
        for name in ("features_F", "targets_C", "gram_FF", "aligned_FC"):
            assert torch.equal(getattr(found, name), getattr(wanted, name)), name


# --- nothing raises ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.sampled_from(["any", "constant", "copies", "huge", "tiny", "far from zero"]),
    st.sampled_from([1e-9, 1e-4, 0.3, 30.0]),
    st.integers(0, 1000),
)
def test_any_columns_in_single_precision_give_finite_answers(n, width, kind, penalty, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(1, n, width))
    if kind == "constant":
        x[:] = 0.3
    elif kind == "copies":
        x = x[..., :1] * np.ones(width) + 1e-6 * x
    elif kind == "far from zero":
        x += 1e4
    x *= {"huge": 1e10, "tiny": 1e-15}.get(kind, 1.0)
    features, targets = torch.from_numpy(x).float(), torch.from_numpy(random.normal(size=(1, n, 2))).float()
    relative = torch.tensor([penalty])
    assert ridge.solve(features, targets, relative)(features).isfinite().all()
    assert ridge.left_out(features, targets, relative).isfinite().all()
    assert ridge.path(features, targets, relative.double()).left_out_BLNC.isfinite().all()
    assert Sums.of(features[0], targets[0]).head(penalty).weight_BFC.isfinite().all()
