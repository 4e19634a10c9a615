"""The closed forms of the solver against solving again, row by row, the long way."""

import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from sartor.nn import solve
from sartor.nn.features import unit


def unit_rows(random, n, width):
    return unit(random.normal(size=(n, width)) + 0.5)


def task(n=24, n_labels=4, seed=0, unseen=(), names=("last", "mid", "words")):
    """Rows around label centres; the last block is sparse. Labels in ``unseen`` have no row."""
    random = np.random.default_rng(seed)
    labels = [label for label in range(n_labels) if label not in unseen]
    targets = np.array([labels[at % len(labels)] for at in range(n)])
    blocks = {}
    for name in names:
        centres = random.normal(size=(n_labels, 9))
        rows = unit(centres[targets] + 1.2 * random.normal(size=(n, 9)))
        if name == "words":
            rows = unit(np.where(np.abs(rows) > 0.25, rows, 0))
            blocks[name] = sp.csr_matrix(rows)
        else:
            blocks[name] = rows
    similarity = random.normal(size=(n, n_labels)) / 3 + 0.3 * np.eye(n_labels)[targets]
    return solve.Problem(blocks, similarity - similarity.mean(axis=1, keepdims=True), targets, n_labels)


def single_precision(problem):
    return replace(problem, blocks={name: block.astype(np.float32) for name, block in problem.blocks.items()})


def dense(block):
    return block.toarray() if sp.issparse(block) else block


def scores_of(problem, solution):
    """What a solution says of the rows of a problem, as a Solution documents it."""
    linear = sum(dense(problem.blocks[name]) @ columns for name, columns in solution.weights.items())
    return linear + solution.prior * problem.similarity + solution.bias


def design_of(problem, mix):
    """All rows in the space in which the candidate is plain ridge: each block of unit trace times its weight."""
    known = {name: weight for name, weight in mix.items() if name in problem.blocks}
    columns = []
    for name, weight in known.items():
        block = dense(problem.blocks[name])
        variance = np.square(block - block.mean(axis=0)).sum() / len(block)
        columns.append(block * np.sqrt(weight / sum(known.values()) / variance))
    return np.concatenate(columns, axis=1)


def refit_without(problem, mix, strength, penalty, row):
    """Return (C,) the scores of ``row`` by ridge with a free intercept, solved without it in the primal."""
    design = design_of(problem, mix)
    wanted = np.eye(problem.n_labels)[problem.targets] - strength * problem.similarity
    kept = np.arange(len(design)) != row
    mean_x, mean_y = design[kept].mean(axis=0), wanted[kept].mean(axis=0)
    x, y = design[kept] - mean_x, wanted[kept] - mean_y
    columns = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    return (design[row] - mean_x) @ columns + mean_y + strength * problem.similarity[row]


def profiles_of(problem):
    kernels = {name: solve._Kernel.of(block) for name, block in problem.blocks.items()}
    return [(mix, solve._Profile.of(problem, kernels, belief, mix)) for belief, mix in solve.PROFILES.values()]


# --- leave-one-out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unseen", [(), (1, 3)])
def test_each_candidates_left_out_scores_are_those_of_refits_without_the_row(unseen):
    problem = task(n=11, unseen=unseen)
    seen = [label for label in range(4) if label not in unseen]
    for (mix, profile), penalty in product(profiles_of(problem), solve.PENALTIES):
        for strength, (left_out, _, _) in zip(
            solve.PRIOR_STRENGTHS, profile.left_out(penalty, solve.PRIOR_STRENGTHS), strict=True
        ):
            wanted = np.array([refit_without(problem, mix, strength, penalty, row) for row in range(11)])
            np.testing.assert_allclose(left_out[:, seen], wanted[:, seen], atol=1e-8, rtol=0)


def test_a_label_without_rows_keeps_its_prior_and_the_mean_of_the_others():
    problem = task(n=12, unseen=(2,))
    _, profile = profiles_of(problem)[0]
    for strength, (left_out, alpha, mean) in zip((0.0, 2.0), profile.left_out(0.1, (0.0, 2.0)), strict=True):
        np.testing.assert_allclose(left_out[:, 2], strength * problem.similarity[:, 2] + mean[2], atol=1e-12)
        np.testing.assert_allclose(mean[2], mean[[0, 1, 3]].mean(), atol=1e-12)
        assert not alpha[:, 2].any()


def test_labels_thrown_by_dice_can_be_learnt_by_heart_but_not_left_out(monkeypatch):
    monkeypatch.setattr(solve, "PENALTIES", (0.01,))
    random = np.random.default_rng(3)
    n = 60
    rows = unit_rows(random, n, 200).astype(np.float32)
    problem = solve.Problem({"last": rows, "mid": rows}, np.zeros((n, 2)), random.integers(0, 2, n), 2)
    solution = solve.solve(problem, seed=0)
    fitted = scores_of(problem, solution).argmax(axis=1) == problem.targets
    left_out = solution.out_of_sample.argmax(axis=1) == problem.targets
    assert fitted.mean() > 0.9
    assert left_out.mean() < 0.7


# --- averaging ---------------------------------------------------------------------------------------------


def test_the_averaged_head_scores_as_the_average_of_all_heads(monkeypatch):
    problem = task(n=20)
    asked, given = solve._shares, []
    monkeypatch.setattr(solve, "_shares", lambda *args: given.append(asked(*args)) or given[-1])
    averaged = solve.solve(problem, seed=0)
    shares = np.where(given[0] >= 1e-3, given[0], 0).ravel()
    candidates = list(product(solve.PROFILES.values(), solve.PENALTIES, solve.PRIOR_STRENGTHS))
    wanted = np.zeros_like(problem.similarity)
    for share, ((_, mix), penalty, strength) in zip(shares / shares.sum(), candidates, strict=True):
        monkeypatch.setattr(solve, "PROFILES", {"only": (1.0, mix)})
        monkeypatch.setattr(solve, "PENALTIES", (penalty,))
        monkeypatch.setattr(solve, "PRIOR_STRENGTHS", (strength,))
        wanted += share * scores_of(problem, solve.solve(problem, seed=0))
    assert (shares > 0).sum() > 5
    np.testing.assert_allclose(scores_of(problem, averaged), wanted, atol=1e-5)


def test_shares_follow_beliefs_and_errors():
    beliefs = np.array([[0.2, 0.4, 0.4]])
    equal = solve._shares(np.full((1, 3), 0.1), beliefs, 50)
    np.testing.assert_allclose(equal, beliefs, rtol=1e-6)
    better = solve._shares(np.array([[0.1, 0.1, 0.4]]), beliefs, 50)
    assert better.sum() == pytest.approx(1)
    assert better[0, 2] < equal[0, 2]
    assert better[0, 1] / better[0, 0] == pytest.approx(2)


def test_block_weights_sum_to_one():
    assert sum(solve.solve(task(), seed=0).block_weights.values()) == pytest.approx(1)


def test_a_block_that_tells_the_labels_apart_outweighs_noise():
    random = np.random.default_rng(0)
    targets = np.arange(60) % 3
    telling = unit(np.eye(3)[targets] + 0.1 * random.normal(size=(60, 3))).astype(np.float32)
    noise = unit(random.normal(size=(60, 50))).astype(np.float32)
    zeros = np.zeros((60, 3))
    topic = solve.solve(solve.Problem({"last": telling, "words": noise}, zeros, targets, 3), seed=0)
    surface = solve.solve(solve.Problem({"last": noise, "words": telling}, zeros, targets, 3), seed=0)
    assert topic.block_weights["last"] > 0.6
    assert surface.block_weights["words"] > topic.block_weights["words"] + 0.1


def test_label_names_that_are_right_gain_weight_and_noise_loses_it():
    problem = task(n=120)
    truth = np.eye(4)[problem.targets]
    helpful = replace(problem, similarity=truth - truth.mean(axis=1, keepdims=True))
    harmful = replace(problem, similarity=-3 * helpful.similarity)
    assert solve.solve(helpful, seed=0).prior > 0.5
    assert solve.solve(harmful, seed=0).prior < 0.05


# --- three ways to the same head ---------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.0, 1.0])
@pytest.mark.parametrize("unseen", [(), (2,)])
def test_dual_primal_and_eigen_paths_agree(monkeypatch, strength, unseen):
    problem = single_precision(task(n=80, unseen=unseen))
    monkeypatch.setattr(solve, "PROFILES", {"only": (1.0, {"last": 3, "mid": 1, "words": 2})})
    monkeypatch.setattr(solve, "PRIOR_STRENGTHS", (strength,))
    monkeypatch.setattr(solve, "PENALTIES", (0.3,))
    eigen = solve.solve(problem, seed=0)
    monkeypatch.setattr(solve, "EIGEN_ROWS", 40)
    dual = solve.solve(problem, seed=0)
    monkeypatch.setattr(solve, "DUAL_ROWS", 0)
    primal = solve.solve(problem, seed=0)
    assert len(eigen.rows) == 80
    assert len(dual.rows) == len(primal.rows) < 50
    for other in (dual, primal):
        assert other.prior == strength
        assert other.penalty == pytest.approx(0.3)
        np.testing.assert_allclose(scores_of(problem, other), scores_of(problem, eigen), atol=2e-5)
        np.testing.assert_allclose(other.out_of_sample, eigen.out_of_sample[other.rows], atol=5e-5)
        for name in eigen.weights:
            np.testing.assert_allclose(other.weights[name], eigen.weights[name], atol=2e-5)


def test_chunks_of_rows_add_up(monkeypatch):
    """With more rows than the primal path takes at once."""
    problem = single_precision(task(n=4200))
    monkeypatch.setattr(solve, "EIGEN_ROWS", 100)
    chosen = solve.solve(problem, seed=0)
    monkeypatch.setattr(solve, "DUAL_ROWS", 0)
    np.testing.assert_allclose(scores_of(problem, solve.solve(problem, seed=0)), scores_of(problem, chosen), atol=1e-4)


def test_many_copies_of_a_few_rows_can_be_solved(monkeypatch):
    """The system is as near to singular as single precision can bear."""
    monkeypatch.setattr(solve, "EIGEN_ROWS", 100)
    random = np.random.default_rng(0)
    few = unit_rows(random, 5, 40).astype(np.float32)
    copies = random.integers(0, 5, 200_000)
    monkeypatch.setattr(solve, "PENALTIES", (0.01,))
    problem = solve.Problem({"last": few[copies], "mid": few[copies]}, np.zeros((200_000, 3)), copies % 3, 3)
    solution = solve.solve(problem, seed=0)
    assert all(np.isfinite(columns).all() for columns in solution.weights.values())
    assert (scores_of(problem, solution).argmax(axis=1) == problem.targets).mean() > 0.99


# --- samples and folds -------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 60), st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_a_stratified_sample_keeps_every_label_and_repeats_no_row(counts, size, seed):
    targets = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = solve.stratified(targets, min(size, len(targets)), seed)
    assert len(set(rows.tolist())) == len(rows)
    assert (np.diff(rows) > 0).all()
    kept = np.bincount(targets[rows], minlength=len(counts))
    assert (kept >= np.minimum(counts, 2)).all()
    assert len(rows) <= size + 2.5 * len(counts)


def test_folds_hold_every_label_equally():
    targets = np.repeat([0, 1, 2], [30, 9, 4])
    folds = solve._stratified_folds(targets, 3, seed=0)
    for label in range(3):
        counts = np.bincount(folds[targets == label], minlength=3)
        assert counts.max() - counts.min() <= 1


# --- logistic ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", solve.LOGISTIC_PENALTIES)
def test_logistic_regression_is_that_of_scikit_learn(penalty):
    problem = task(n=150)
    features = dense(problem.blocks["last"]).astype(np.float32)
    columns, bias = solve._fit_logistic(features, problem.targets, 4, penalty)
    theirs = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=2000).fit(features, problem.targets)
    ours = scipy.special.softmax(features @ columns + bias, axis=1)
    np.testing.assert_allclose(ours, theirs.predict_proba(features), atol=1e-2)


def test_logistic_regression_is_the_same_in_few_coordinates_as_in_all_columns(monkeypatch):
    problem = single_precision(task(n=320))
    ridge = solve.solve(problem, seed=0)
    wide = {name: sp.csr_matrix((dense(block).ravel(), np.indices(block.shape).reshape(2, -1)), shape=(320, 600))
            for name, block in problem.blocks.items()}  # fmt: skip
    columns = solve.solve_logistic(problem, ridge, seed=0)
    coordinates = solve.solve_logistic(replace(problem, blocks=wide), ridge, seed=0)
    assert columns.penalty == coordinates.penalty
    np.testing.assert_allclose(
        scipy.special.softmax(scores_of(replace(problem, blocks=wide), coordinates), axis=1),
        scipy.special.softmax(scores_of(problem, columns), axis=1),
        atol=5e-3,
    )


def test_logistic_answers_for_left_out_rows_come_from_folds_without_them():
    random = np.random.default_rng(0)
    rows = unit_rows(random, 300, 400).astype(np.float32)
    problem = solve.Problem({"last": rows, "mid": rows}, np.zeros((300, 2)), random.integers(0, 2, 300), 2)
    solution = solve.solve_logistic(problem, solve.solve(problem, seed=0), seed=0)
    assert (solution.out_of_sample.argmax(axis=1) == problem.targets).mean() < 0.65


@pytest.mark.parametrize(
    ("n", "unseen"),
    [
        pytest.param(solve.LOGISTIC_ROWS[0] - 1, (), id="too few rows"),
        pytest.param(solve.LOGISTIC_ROWS[0], (1,), id="a label without rows"),
    ],
)
def test_logistic_regression_is_left_alone_where_it_would_not_pay(n, unseen):
    problem = task(n=n, unseen=unseen)
    assert solve.solve_logistic(problem, solve.solve(problem, seed=0), seed=0) is None


# --- calibration -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guess", [1.0, 3.5])
@pytest.mark.parametrize("rows", [0.0, 8.0])
def test_the_temperature_is_the_best_of_a_grid(guess, rows):
    random = np.random.default_rng(1)
    targets = random.integers(0, 3, 80)
    scores = 0.7 * np.eye(3)[targets] + 0.4 * random.normal(size=(80, 3))

    def cost(t):
        return solve.cross_entropy(t * scores, targets) * 80 + rows * 0.5 * np.log(t / guess) ** 2

    found = solve.temperature(scores, targets, guess=guess, rows=rows)
    grid = guess * np.exp(np.linspace(-4, 4, 4001))
    best = grid[np.argmin([cost(t) for t in grid])]
    assert found == pytest.approx(best, rel=5e-3)


def test_with_few_rows_the_temperature_stays_near_the_guess():
    always_right = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert 3.5 <= solve.temperature(always_right, np.array([0, 1]), guess=3.5) < 4.5
    many = np.tile(always_right, (500, 1))
    assert solve.temperature(many, np.tile([0, 1], 500), guess=3.5) > 6


def test_scores_of_noise_get_a_low_temperature():
    random = np.random.default_rng(0)
    scores, targets = random.normal(size=(500, 4)), random.integers(0, 4, 500)
    assert solve.temperature(scores, targets, guess=3.5) < 0.5


def test_cross_entropy_of_equal_scores_is_the_logarithm_of_their_number():
    assert solve.cross_entropy(np.zeros((5, 7)), np.arange(5)) == pytest.approx(np.log(7))


# --- any rows at all ---------------------------------------------------------------------------------------

SHAPES = ("spread", "zero", "equal", "nearly equal", "copies", "sparse")


def block_of(shape, random, n):
    rows = unit_rows(random, n, 6)
    if shape == "zero":
        rows = np.zeros_like(rows)
    elif shape == "equal":
        rows = np.tile(rows[:1], (n, 1))
    elif shape == "nearly equal":
        rows = np.tile(rows[:1], (n, 1)) + 1e-7 * random.normal(size=rows.shape)
    elif shape == "copies":
        rows = rows[random.integers(0, max(1, n // 3), n)]
    elif shape == "sparse":
        return sp.csr_matrix(np.where(rows > 0.4, rows, 0).astype(np.float32))
    return rows.astype(np.float32)


@given(
    st.integers(1, 30),
    st.integers(2, 6),
    st.integers(0, 10_000),
    st.lists(st.sampled_from(SHAPES), min_size=6, max_size=6),
    st.booleans(),
)
@settings(deadline=None, max_examples=80)
def test_any_rows_give_finite_weights_and_no_warning(n, n_labels, seed, shapes, many):
    random = np.random.default_rng(seed)
    names = ("first", "low", "mid", "last", "peak", "words")
    blocks = {name: block_of(shape, random, n) for name, shape in zip(names, shapes, strict=True)}
    similarity = random.normal(size=(n, n_labels))
    targets = random.integers(0, n_labels, n)
    problem = solve.Problem(blocks, similarity - similarity.mean(axis=1, keepdims=True), targets, n_labels)
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("error")
        if many:
            patch.setattr(solve, "EIGEN_ROWS", 4)
            patch.setattr(solve, "DUAL_ROWS", 20)
        patch.setattr(solve, "LOGISTIC_ROWS", (1, 100))
        solution = solve.solve(problem, seed=0)
        rival = solve.solve_logistic(problem, solution, seed=0)
        for found in [solution] if rival is None else [solution, rival]:
            t = solve.temperature(found.out_of_sample, targets[found.rows], guess=3.5)
            assert np.isfinite(t)
            assert np.isfinite(scores_of(problem, found)).all()
            for columns in found.weights.values():
                # what is stored is half precision
                assert np.abs(columns).max(initial=0) < np.finfo(np.float16).max


def test_a_problem_may_bring_profiles_of_its_own():
    random = np.random.default_rng(0)
    targets = np.arange(30) % 3
    blocks = {name: unit(random.normal(size=(30, 8)) + 2 * np.eye(8)[targets]) for name in ("forms", "colours")}
    brought = {"forms": (0.5, {"forms": 1.0}), "both": (0.5, {"forms": 1.0, "colours": 3.0})}
    problem = solve.Problem(blocks, np.zeros((30, 3)), targets, 3, brought, (0.0,))
    found = solve.solve(problem, seed=0)
    assert found.weights.keys() == {"forms", "colours"}
    assert found.prior == 0
    assert solve.accuracy(found.out_of_sample, targets) > 0.8
    # where nothing is known of names, all strengths of their prior are the same candidate; tiny shares are dropped
    tried = solve.solve(replace(problem, strengths=None), seed=0)
    for name in blocks:
        np.testing.assert_allclose(tried.weights[name], found.weights[name], atol=5e-3)
    assert problem.take(np.arange(5)).known is brought
