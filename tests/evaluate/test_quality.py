import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from sartor.errors import DataError
from sartor.evaluate.quality import auroc, calibration_bins, class_scores, confusion, proportion, scores

ANSWERS = st.tuples(st.integers(0, 10_000), st.integers(1, 60), st.integers(2, 6))


def draw(seed, n, n_labels, sharpness=2.0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, n_labels, n)
    logits = rng.normal(size=(n, n_labels))
    logits[np.arange(n), targets] += sharpness * rng.random()
    odds = np.exp(logits)
    return targets, odds / odds.sum(axis=1, keepdims=True)


@given(ANSWERS)
def test_the_figures_are_those_of_scikit_learn(answers):
    targets, probabilities = draw(*answers)
    best, present = probabilities.argmax(axis=1), np.unique(targets)
    over_present = {"labels": present, "average": "macro", "zero_division": 0}
    found = scores(targets, probabilities)
    assert found.n == len(targets)
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(targets, best))
    assert found.balanced_accuracy.value == pytest.approx(metrics.recall_score(targets, best, **over_present))
    assert found.macro_f1.value == pytest.approx(metrics.f1_score(targets, best, **over_present))
    expected = metrics.log_loss(targets, probabilities, labels=range(answers[2]))
    assert found.log_loss == pytest.approx(expected)


@given(ANSWERS)
def test_every_interval_holds_its_value_and_stays_within_0_and_1(answers):
    found = scores(*draw(*answers))
    for metric in (found.accuracy, found.balanced_accuracy, found.macro_f1):
        assert 0 <= metric.low <= metric.value <= metric.high <= 1


@given(ANSWERS)
def test_label_figures_are_those_of_scikit_learn(answers):
    targets, probabilities = draw(*answers)
    labels = [f"label {c}" for c in range(answers[2])]
    precision, recall, f1, rows = metrics.precision_recall_fscore_support(
        targets, probabilities.argmax(axis=1), labels=range(len(labels)), zero_division=0
    )
    found = class_scores(targets, probabilities, labels)
    assert [c.label for c in found] == labels
    assert [c.rows for c in found] == rows.tolist()
    assert [c.precision for c in found] == pytest.approx(precision)
    assert [c.recall.value for c in found] == pytest.approx(recall)
    assert [c.f1 for c in found] == pytest.approx(f1)


@given(ANSWERS)
def test_bins_do_not_depend_on_the_order_of_rows(answers):
    targets, probabilities = draw(*answers)
    probabilities = np.round(probabilities, 1)  # many ties
    order = np.random.default_rng(0).permutation(len(targets))
    one = calibration_bins(targets, probabilities)
    other = calibration_bins(targets[order], probabilities[order])
    assert [b.rows for b in one] == [b.rows for b in other]
    assert [b.accuracy for b in one] == pytest.approx([b.accuracy for b in other])
    assert sum(b.rows for b in one) == len(targets)
    assert len(one) <= 10


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(1, 30))
def test_auroc_is_that_of_scikit_learn_with_ties(seed, n_positive, n_negative):
    drawn = np.random.default_rng(seed).integers(0, 5, n_positive + n_negative).astype(float)
    truth = np.arange(len(drawn)) < n_positive
    expected = metrics.roc_auc_score(truth, drawn)
    assert auroc(drawn[:n_positive], drawn[n_positive:]) == pytest.approx(expected)


def test_auroc_wants_rows_on_both_sides():
    with pytest.raises(DataError, match="3 positive and 0 negative"):
        auroc(np.ones(3), np.empty(0))


def test_the_wilson_interval_is_that_of_the_books():
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for successes, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        found = proportion(successes, n)
        assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_a_share_of_no_rows_is_not_known():
    assert (proportion(0, 0).low, proportion(0, 0).high) == (0.0, 1.0)


TWO = np.array([[0.7, 0.3], [0.3, 0.7]])
THREE = np.array([[0.8, 0.15, 0.05], [0.1, 0.9, 0.0], [0.3, 0.0, 0.7]])
TWENTY = 0.7 * np.eye(20) + 0.3 * np.roll(np.eye(20), 1, axis=1)


@pytest.mark.parametrize(
    ("truth", "rows"),
    [(TWO, [300, 300]), (THREE, [60, 40, 20]), (TWENTY, [8] * 20)],
    ids=["two labels", "three labels", "twenty labels"],
)
def test_the_intervals_of_means_hold_the_truth_in_most_samples(truth, rows):
    table = truth * np.array(rows)[:, None]
    true_recall = np.diag(truth).mean()
    true_f1 = (2 * np.diag(table) / (table.sum(axis=0) + table.sum(axis=1))).mean()
    n_labels = len(rows)
    targets = np.repeat(np.arange(n_labels), rows)
    held = np.zeros(2)
    for seed in range(150):
        rng = np.random.default_rng(seed)
        best = np.concatenate([rng.choice(n_labels, n, p=p) for n, p in zip(rows, truth, strict=True)])
        found = scores(targets, np.eye(n_labels)[best])
        held += [
            found.balanced_accuracy.low <= true_recall <= found.balanced_accuracy.high,
            found.macro_f1.low <= true_f1 <= found.macro_f1.high,
        ]
    assert (held >= 0.92 * 150).all()


def test_the_interval_of_macro_f1_is_at_least_as_wide_as_a_plain_bootstrap():
    targets = np.repeat([0, 1], 300)
    best = np.where(np.arange(600) % 10 < 7, targets, 1 - targets)
    found = scores(targets, np.eye(2)[best]).macro_f1
    rng = np.random.default_rng(1)
    drawn = [np.concatenate([rng.integers(0, 300, 300), rng.integers(300, 600, 300)]) for _ in range(400)]
    f1 = [scores(targets[rows], np.eye(2)[best[rows]]).macro_f1.value for rows in drawn]
    low, high = np.quantile(f1, [0.025, 0.975])
    assert found.low <= low + 0.004
    assert found.high >= high - 0.004


def test_no_error_among_few_rows_is_not_certainty():
    targets = np.arange(8) % 2
    found = scores(targets, np.eye(2)[targets])
    assert found.balanced_accuracy.value == found.macro_f1.value == 1.0
    assert found.balanced_accuracy.low < 0.8
    assert found.macro_f1.low < 0.8


def test_the_same_seed_gives_the_same_scores():
    targets, probabilities = draw(1, 200, 4)
    assert scores(targets, probabilities, seed=7) == scores(targets, probabilities, seed=7)


def test_one_sure_and_wrong_answer_costs_much_but_not_infinitely_much():
    found = scores(np.array([0]), np.array([[0.0, 1.0]]))
    assert 30 < found.log_loss < 40


def test_a_model_that_is_right_as_often_as_it_claims_has_no_calibration_error():
    probabilities = np.tile([0.8, 0.2], (100, 1))
    targets = (np.arange(100) % 5 == 0).astype(np.int64)  # 80 of 100 are label 0
    assert calibration_bins(targets, probabilities) == calibration_bins(targets[::-1], probabilities)
    assert scores(targets, probabilities).ece == pytest.approx(0.0)
    assert scores(1 - targets, probabilities).ece == pytest.approx(0.6)


def test_bins_hold_nearly_equally_many_rows():
    targets, probabilities = draw(5, 1003, 3)
    rows = [b.rows for b in calibration_bins(targets, probabilities)]
    assert len(rows) == 10
    assert set(rows) <= {100, 101}


def test_the_label_most_often_answered_instead_is_named():
    targets = np.array([0, 0, 0, 0, 1, 2])
    best = np.array([0, 2, 2, 1, 1, 2])
    found = class_scores(targets, np.eye(3)[best], ["a", "b", "c"])
    assert [c.most_confused_with for c in found] == ["c", None, None]


def test_rows_of_the_table_are_the_right_labels():
    assert confusion(np.array([0, 0, 1]), np.array([1, 1, 1]), 2).tolist() == [[0, 2], [0, 1]]


@pytest.mark.parametrize(
    ("targets", "probabilities", "message"),
    [
        (np.empty(0, dtype=np.int64), np.empty((0, 2)), "no row to score"),
        (np.zeros(3, dtype=np.int64), np.ones((2, 2)), r"3 targets.*\(2, 2\)"),
        (np.zeros(3, dtype=np.int64), np.ones(3), r"3 targets.*\(3,\)"),
    ],
)
def test_what_cannot_be_scored_is_refused(targets, probabilities, message):
    with pytest.raises(DataError, match=message):
        scores(targets, probabilities)
