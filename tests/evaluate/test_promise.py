import numpy as np
import pytest
from scipy.stats import beta, binom

from sartor.evaluate.promise import coverage, lower_bound, rows_needed

SEEDS = 250
MANY = np.abs(np.random.default_rng(99).normal(2.5, 2, 40_000))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def answers(evidence, sharpness, rng):
    """Rows that are right with probability sigmoid(evidence), and claim sigmoid(sharpness * evidence)."""
    claimed = sigmoid(sharpness * evidence)
    targets = (rng.random(len(evidence)) >= sigmoid(evidence)).astype(np.int64)
    return targets, np.stack([claimed, 1 - claimed], axis=1)


def true_precision(threshold, sharpness):
    return sigmoid(MANY)[sigmoid(sharpness * MANY) >= threshold].mean()


def naive_threshold(targets, probabilities, precision):
    """The loosest confidence above which the rows at hand are right often enough: promises too much."""
    order = np.argsort(-probabilities[:, 0])
    share = np.cumsum(targets[order] == 0) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(share >= precision)
    return probabilities[order[good[-1]], 0] if len(good) else None


@pytest.mark.parametrize("sharpness", [1.0, 3.0, 0.5], ids=["calibrated", "overconfident", "underconfident"])
def test_a_promise_is_broken_in_at_most_5_of_100_samples(sharpness):
    broken = naively_broken = promised = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        targets, probabilities = answers(np.abs(rng.normal(2.5, 2, 800)), sharpness, rng)
        found = coverage(targets, probabilities, 0.95)
        if found.threshold is not None:
            promised += 1
            broken += true_precision(found.threshold, sharpness) < 0.95
        naive = naive_threshold(targets, probabilities, 0.95)
        naively_broken += naive is not None and true_precision(naive, sharpness) < 0.95
    assert broken <= 0.06 * SEEDS
    assert promised >= 0.3 * SEEDS  # it is not safe by silence
    assert naively_broken >= 0.3 * SEEDS  # and the sample is one that breaks promises


def test_a_confidence_that_says_nothing_hardly_ever_earns_a_promise():
    broken = 0
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        claimed = rng.uniform(0.5, 1, 400)
        targets = (rng.random(400) >= 0.9499).astype(np.int64)  # just short of the promise at every threshold
        broken += coverage(targets, np.stack([claimed, 1 - claimed], axis=1), 0.95).promised
    assert broken <= 0.06 * 1000


def test_a_promise_takes_59_rows_or_299():
    assert (rows_needed(0.95), rows_needed(0.99)) == (59, 299)


@pytest.mark.parametrize("n", [58, 59, 60])
def test_rows_without_an_error_promise_from_59_on(n):
    found = coverage(np.zeros(n, dtype=np.int64), np.tile([0.9, 0.1], (n, 1)), 0.95)
    assert found.promised == (n >= 59)
    assert (found.accepted, found.errors, found.needed) == (n, 0, 59)
    assert found.coverage == (1.0 if n >= 59 else 0.0)
    assert (found.threshold is None) == (n < 59)


def test_errors_among_the_surest_answers_end_the_search():
    n = 200
    confidence = np.linspace(0.99, 0.6, n)
    targets = np.zeros(n, dtype=np.int64)
    targets[:10] = 1  # the ten surest are wrong
    found = coverage(targets, np.stack([confidence, 1 - confidence], axis=1), 0.95)
    assert not found.promised
    assert found.errors == 10
    assert found.accepted >= found.needed


def test_one_error_among_the_surest_of_many_rows_does_not_end_the_search():
    n = 2000
    confidence = np.linspace(0.9999, 0.6, n)
    targets = np.zeros(n, dtype=np.int64)
    targets[3] = 1
    found = coverage(targets, np.stack([confidence, 1 - confidence], axis=1), 0.95)
    assert (found.coverage, found.errors) == (1.0, 1)


def test_the_threshold_accepts_the_rows_that_it_says():
    rng = np.random.default_rng(4)
    targets, probabilities = answers(np.abs(rng.normal(4, 2, 1000)), 1.0, rng)
    found = coverage(targets, probabilities, 0.95)
    taken = probabilities.max(axis=1) >= found.threshold
    assert 0 < found.coverage < 1
    assert found.accepted == taken.sum()
    assert found.coverage == taken.mean()
    assert found.errors == (probabilities.argmax(axis=1) != targets)[taken].sum()
    assert binom.cdf(found.errors, found.accepted, 0.05) <= 0.05


def test_a_threshold_answers_the_same_in_any_order_of_rows():
    rng = np.random.default_rng(5)
    targets, probabilities = answers(np.abs(rng.normal(4, 2, 500)), 1.0, rng)
    order = rng.permutation(500)
    assert coverage(targets, probabilities, 0.95) == coverage(targets[order], probabilities[order], 0.95)


def test_the_lower_limit_is_clopper_pearsons():
    right, n = np.array([0, 1, 50, 58, 60]), np.array([3, 10, 60, 60, 60])
    expected = [0.0, *beta.ppf(0.05, right[1:], n[1:] - right[1:] + 1)]
    assert lower_bound(right, n) == pytest.approx(expected)
