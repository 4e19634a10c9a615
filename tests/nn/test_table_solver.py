"""What a solved net says: of rows left out, of new rows, and as one net of many."""

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.nn import ridge, table_net, table_solver, table_target
from sartor.nn.table_generator import LEAST_SCORE, WARMTH, TableGenerator
from sartor.nn.table_solver import WAYS


@pytest.fixture(scope="module")
def untrained():
    torch.manual_seed(0)
    return TableGenerator(width=8, layers=1).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def moved():
    """A generator that was never trained, and whose weights are not zero either."""
    torch.manual_seed(1)
    made = TableGenerator(width=8, layers=1)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made.eval().requires_grad_(False)


def rows(n, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(n, columns)).clip(-4, 4).astype(np.float32)


def standardised(values):
    values = values.astype(np.float64)
    return ((values - values.mean()) / values.std())[:, None]


def one_hot(labels, classes=2):
    return np.eye(classes)[labels.astype(int)]


def new_error(solved, coded, targets):
    """The share of the variance of rows it never saw that a net does not tell."""
    return ((solved.net.scores(coded) - targets) ** 2).sum() / ((targets - targets.mean(axis=0)) ** 2).sum()


# --- one net -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("classes", [0, 3])
def test_the_joined_net_answers_as_the_mix_of_its_members(moved, monkeypatch, guarded, classes):
    joined, given = table_solver._joined, []
    monkeypatch.setattr(table_solver, "_shares", lambda left_out, *_: (np.array([0.5, 0.3, 0.2])[: len(left_out)], []))
    monkeypatch.setattr(table_solver, "_joined", lambda ways, *rest: given.append(ways) or joined(ways, *rest))
    coded, random = rows(40, 3), np.random.default_rng(1)
    targets = one_hot(random.integers(3, size=40), 3) if classes else standardised(random.normal(size=40))
    solved = table_solver.solve(moved, coded, targets, classes=classes, members=3, guarded=guarded)
    asked = rows(10, 3, seed=2)
    cells = torch.from_numpy(asked)[None]
    wanted = np.zeros((10, targets.shape[1]))
    for share, way in zip((0.5, 0.3, 0.2), given[0], strict=False):
        for member in way:
            features = cells if member.hidden is None else table_net.features(member.hidden, cells)
            wanted += share / len(way) * member.head(features.double())[0].numpy()
    assert [len(way) for way in given[0]] == ([3, 2, 1] if guarded else [3])
    np.testing.assert_allclose(solved.net.scores(asked), wanted, atol=1e-4)


@pytest.mark.parametrize("members", [1, 2, 3, 5])
def test_every_row_is_judged_by_nets_that_were_generated_without_it(moved, monkeypatch, members):
    seen, generate = [], table_solver.table_generator.generate
    monkeypatch.setattr(
        table_solver.table_generator,
        "generate",
        lambda generator, support, draws: seen.append(support.cells_BND[0]) or generate(generator, support, draws),
    )
    judges, way = [], table_solver._way
    monkeypatch.setattr(
        table_solver, "_way", lambda hidden, judged, *rest: judges.append(judged) or way(hidden, judged, *rest)
    )
    coded = rows(30, 3)
    table_solver.solve(moved, coded, standardised(coded[:, 0] * 1.0), classes=0, members=members, guarded=False)
    assert np.any(judges[0], axis=0).all()
    for judged, known in zip(judges[0], seen, strict=True):
        judged_rows = {tuple(row) for row in coded[judged].tolist()}
        assert judged_rows
        assert not judged_rows & {tuple(row) for row in known.tolist()}


def test_the_same_seed_gives_the_same_net_and_another_another(moved):
    coded = rows(40, 3)
    targets = standardised(coded[:, 0] * coded[:, 1])
    first, second, other = (
        table_solver.solve(moved, coded, targets, classes=0, members=2, seed=seed).net.scores(coded)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)


# --- honest ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [0, 2])
@pytest.mark.parametrize("columns", [4, 60])
def test_of_noise_no_way_claims_to_tell_anything(columns, classes):
    generator = table_target.shipped_generator()
    claims, truths, news = [], [], []
    for seed in range(3):
        random = np.random.default_rng(seed)
        targets = one_hot(random.integers(2, size=240)) if classes else standardised(random.normal(size=240))
        coded = rows(240, columns, seed)
        solved = table_solver.solve(generator, coded[:120], targets[:120], classes=classes, members=4, seed=seed)
        claims.append(solved.errors["mix"])
        truths.append(min(solved.errors[way] for way in WAYS))
        news.append(new_error(solved, coded[120:], targets[120:]))
    assert np.mean(claims) > 0.93
    assert np.mean(truths) > 0.95
    assert np.mean(news) == pytest.approx(np.mean(claims), abs=0.12)


def test_what_is_said_of_rows_left_out_holds_for_new_rows():
    generator = table_target.shipped_generator()
    coded = rows(600, 6)
    targets = standardised(coded[:, 0] + (coded[:, 1] > 0) + 0.5 * np.random.default_rng(1).normal(size=600))
    solved = table_solver.solve(generator, coded[:200], targets[:200], classes=0, members=4)
    assert solved.errors["mix"] < 0.5
    assert new_error(solved, coded[200:], targets[200:]) == pytest.approx(solved.errors["mix"], abs=0.1)


def test_left_out_scores_do_not_know_the_rows_own_target(moved):
    """One label that is wrong does not draw its own left-out score to it."""
    coded = rows(60, 3)
    targets = standardised(coded[:, 0].astype(float))
    wrong = targets.copy()
    wrong[5] += 20
    right, drawn = (
        table_solver.solve(moved, coded, known, classes=0, members=2, guarded=False) for known in (targets, wrong)
    )
    fitted = drawn.net.scores(coded)[5, 0] - right.net.scores(coded)[5, 0]
    assert fitted > 1
    assert drawn.left_out_NC[5, 0] - right.left_out_NC[5, 0] < 0.2 * fitted


# --- what it can learn -------------------------------------------------------------------------------------


RULES = {
    "parity": lambda x: (x[:, 0] > 0) ^ (x[:, 1] > 0),
    "a box": lambda x: (np.abs(x[:, 0]) < 0.8) & (x[:, 1] > -0.5),
    "a ring": lambda x: (x[:, :2] ** 2).sum(axis=1) > 1.4,
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("trained", [True, False])
def test_rules_are_told_by_nets_and_not_by_the_columns_alone(untrained, rule, trained):
    coded = rows(700, 4)
    targets = one_hot(RULES[rule](coded))
    generator = table_target.shipped_generator() if trained else untrained
    solved = table_solver.solve(generator, coded[:300], targets[:300], classes=2, members=4)
    assert solved.errors["mix"] < 0.7 * solved.errors["linear"]
    right = solved.net.scores(coded[300:]).argmax(axis=1) == targets[300:].argmax(axis=1)
    assert right.mean() > 0.85
    assert solved.shares["linear"] < 0.5


def test_the_guard_mixes_what_errs_least_on_rows_left_out(untrained):
    coded = rows(150, 30)
    targets = standardised(coded[:, :8].sum(axis=1) + 0.1 * np.random.default_rng(0).normal(size=150))
    solved = table_solver.solve(untrained, coded, targets, classes=0, members=2)
    assert solved.errors["mix"] < solved.errors["generated"]
    assert sum(solved.shares.values()) == pytest.approx(1)
    for way in WAYS:  # what was generated has the benefit of a doubt of one row
        assert solved.errors["mix"] <= solved.errors[way] + 1 / 150 + 1e-9
    alone = table_solver.solve(untrained, coded, targets, classes=0, members=2, guarded=False)
    assert alone.shares == {"generated": 1.0}
    assert alone.errors["mix"] == pytest.approx(solved.errors["generated"])


@pytest.mark.parametrize("right", [0, 1, 2])
def test_the_way_that_is_right_answers_alone(right):
    targets = standardised(np.random.default_rng(0).normal(size=80))
    left_out = np.random.default_rng(1).normal(size=(3, 80, 1))
    left_out[right] = targets
    shares, errors = table_solver._shares(left_out, targets, None)
    assert shares[right] == 1
    assert errors[right] == 0


def test_of_ways_that_are_equally_good_what_was_generated_answers():
    targets = standardised(np.random.default_rng(0).normal(size=80))
    shares, _ = table_solver._shares(np.stack([0.5 * targets] * 3), targets, None)
    assert shares.tolist() == [1, 0, 0]


def test_trained_it_lets_in_the_columns_that_matter():
    coded = rows(300, 12)
    targets = standardised(coded[:, 3] ** 2 + np.maximum(coded[:, 7], 0))
    solved = table_solver.solve(table_target.shipped_generator(), coded, targets, classes=0, members=4)
    assert set(np.argsort(solved.importance_D)[-2:].tolist()) == {3, 7}


# --- weights, and many rows --------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_beyond_the_most_rows_heads_are_solved_on_all(moved, monkeypatch, weighted):
    monkeypatch.setattr(table_solver, "MOST_ROWS", 50)
    monkeypatch.setattr(table_solver, "_CHUNK", 32)
    given, parts = [], table_solver._parts
    monkeypatch.setattr(table_solver, "_parts", lambda member, *rest: given.append(member) or parts(member, *rest))
    coded = rows(200, 3)
    targets = standardised(coded[:, 0] + 0.1 * coded[:, 1] ** 2)
    weight = np.random.default_rng(0).integers(1, 4, 200).astype(float) if weighted else None
    solved = table_solver.solve(moved, coded, targets, classes=0, members=2, guarded=False, weight_N=weight)
    assert len(solved.rows) == len(solved.left_out_NC) == 50
    assert len(set(solved.rows.tolist())) == 50
    counts = torch.ones(200) if weight is None else torch.from_numpy(weight)
    repeated = torch.from_numpy(coded)[None].repeat_interleave(counts.long(), dim=1)
    wanted_of = torch.from_numpy(targets)[None].repeat_interleave(counts.long(), dim=1)
    wanted = np.zeros((200, 1))
    for member in given:
        # a penalty is that of so many rows as there are, whatever the scale of their weights
        penalty = torch.tensor([member.penalty * float(counts.double().mean())], dtype=torch.float64)
        head = ridge.solve(table_net.features(member.hidden, repeated).double(), wanted_of, penalty)
        wanted += head(table_net.features(member.hidden, torch.from_numpy(coded)[None]).double())[0].numpy() / 2
    np.testing.assert_allclose(solved.net.scores(coded), wanted, atol=1e-3)


def test_rows_of_no_weight_have_no_part_in_a_head(untrained):
    """Hidden layers of random units do not read rows, so only the head could tell."""
    coded = rows(60, 3)
    targets = standardised(coded[:, 0].astype(float))
    spoiled = targets.copy()
    spoiled[:10] = 50
    weight = np.r_[np.full(10, 1e-12), np.ones(50)]
    first, second = (
        table_solver.solve(untrained, coded, known, classes=0, members=2, weight_N=weight)
        for known in (targets, spoiled)
    )
    np.testing.assert_allclose(first.net.scores(coded), second.net.scores(coded), atol=1e-4)
    assert second.errors["mix"] == pytest.approx(first.errors["mix"], abs=1e-3)
    assert second.errors["mix"] < 0.1


@pytest.mark.parametrize("weight", [None, np.array([1.0, 1.0, 2.0, 4.0])])
def test_where_no_column_varies_the_mean_is_told(untrained, weight):
    targets = np.array([[1.0], [2.0], [3.0], [6.0]])
    solved = table_solver.solve(untrained, np.zeros((4, 0), np.float32), targets, classes=0, weight_N=weight)
    middle = np.average(targets, weights=weight, axis=0)
    np.testing.assert_allclose(solved.net.scores(np.zeros((2, 0), np.float32)), np.tile(middle, (2, 1)), rtol=1e-6)
    for row in range(4):
        rest = np.arange(4) != row
        wanted = np.average(targets[rest, 0], weights=None if weight is None else weight[rest])
        assert solved.left_out_NC[row, 0] == pytest.approx(wanted)


@settings(deadline=None, max_examples=12)
@given(
    st.integers(2, 7),
    st.integers(1, 4),
    st.sampled_from([0, 2, 5]),
    st.sampled_from(["any", "copies", "constant target", "one outlier"]),
    st.integers(0, 100),
)
def test_few_rows_of_any_kind_give_finite_answers(n, columns, classes, kind, seed):
    random = np.random.default_rng(seed)
    coded = rows(n, columns, seed)
    if kind == "copies":
        coded[:] = coded[:, :1]
    elif kind == "one outlier":
        coded[:] = 0
        coded[0] = 4
    targets = one_hot(random.integers(classes, size=n), classes) if classes else random.normal(size=(n, 1))
    if kind == "constant target":
        targets[:] = targets[0]
    solved = table_solver.solve(table_target.shipped_generator(), coded, targets, classes=classes, members=2)
    assert np.isfinite(solved.left_out_NC).all()
    assert np.isfinite(solved.net.scores(coded)).all()
    assert sum(solved.shares.values()) == pytest.approx(1)
    if classes:
        found = table_solver.calibrate(solved.left_out_NC, targets.argmax(axis=1)).probabilities(solved.left_out_NC)
        np.testing.assert_allclose(found.sum(axis=1), 1)


# --- probabilities -----------------------------------------------------------------------------------------


def scored(n, classes=3, noise=0.3, seed=0):
    random = np.random.default_rng(seed)
    targets = random.integers(classes, size=n)
    return np.eye(classes)[targets] * 0.6 + noise * random.normal(size=(n, classes)), targets


@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_of_calibration_is_that_of_finite_differences(monkeypatch, weighted):
    taken, minimise = [], scipy.optimize.minimize
    monkeypatch.setattr(
        scipy.optimize, "minimize", lambda objective, *a, **k: taken.append(objective) or minimise(objective, *a, **k)
    )
    scores, targets = scored(40)
    table_solver.calibrate(scores, targets, np.arange(1.0, 41) if weighted else None)
    random = np.random.default_rng(1)
    for _ in range(5):
        at = random.normal(size=5) * 0.5 + [1, 0.5, 0, 0, 0]
        wanted = scipy.optimize.approx_fprime(at, lambda v: taken[0](v)[0], 1e-6)
        np.testing.assert_allclose(taken[0](at)[1], wanted, rtol=1e-3, atol=1e-3)


def test_probabilities_sum_to_one_and_follow_the_documented_formula():
    scores, targets = scored(60)
    found = table_solver.calibrate(scores, targets)
    logits = found.plain * scores + found.sharp * np.log(np.maximum(scores, 0) + LEAST_SCORE) + found.bias_C
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.probabilities(scores), wanted, atol=1e-12)
    np.testing.assert_allclose(found.probabilities(scores * 1e3).sum(axis=1), 1)


def test_few_rows_leave_the_calibration_near_what_is_usual():
    right = np.array([[1.0, 0.0], [0.0, 1.0]])
    few = table_solver.calibrate(right, np.array([0, 1]))
    many = table_solver.calibrate(np.tile(right, (300, 1)), np.tile([0, 1], 300))
    assert few.plain == pytest.approx(WARMTH[0], rel=0.2)
    assert few.sharp == pytest.approx(WARMTH[1], abs=0.3)
    assert many.probabilities(right).min() < 0.2 * few.probabilities(right).min()
    assert many.plain > 1.1 * few.plain


def test_scores_that_are_noise_give_no_sure_answers():
    random = np.random.default_rng(0)
    scores, targets = random.normal(0.5, 0.3, size=(600, 2)), random.integers(2, size=600)
    assert table_solver.calibrate(scores, targets).probabilities(scores).max() < 0.75


def test_calibration_mends_the_shares_of_classes():
    scores, targets = scored(600)
    targets[(targets == 0) & (np.random.default_rng(0).random(600) < 0.8)] = 1
    found = table_solver.calibrate(scores, targets).probabilities(scores).mean(axis=0)
    np.testing.assert_allclose(found, np.bincount(targets) / 600, atol=0.03)


def test_weights_of_calibration_are_repetitions():
    scores, targets = scored(50)
    counts = np.random.default_rng(0).integers(1, 4, 50)
    # the pull towards the usual is that of one row of each, so only what many rows say can be the same
    many = np.tile(np.arange(50), 40)
    weighted = table_solver.calibrate(scores[many], targets[many], np.tile(counts, 40))
    repeated = np.repeat(many, np.tile(counts, 40).astype(int))
    found = table_solver.calibrate(scores[repeated], targets[repeated])
    np.testing.assert_allclose(weighted.probabilities(scores), found.probabilities(scores), atol=0.01)
