from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.data.split import group_by_text
from sartor.evaluate.proof import prove, to_report
from sartor.families.interface import Control
from sartor.types import Note, from_json, to_json
from sartor.types import Report as ReportType

from .nearest_mean import LABEL_NAMES, MAJORITY, NearestMean, task
from .reports import COST


def drawn(n=60, seed=0, spread=0.3):
    """Two heaps of numbers, around 0 and 10."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % 2
    return (10 * targets + rng.normal(0, spread, n)).tolist(), targets.tolist()


def proved(values, targets, names=("0", "10"), baselines=(MAJORITY,), seed=0, **options):
    family = NearestMean(baselines=baselines)
    requirement, condition = task(names, values, targets)
    groups = group_by_text([str(value) for value in values])
    return family, prove(family, requirement, condition, groups, seed=seed, **options)


def test_heaps_far_apart_are_told_apart_better_than_by_the_majority():
    _, proof = proved(*drawn())
    assert proof.proved
    assert proof.reasons == proof.notes == ()
    assert proof.scores.accuracy.value == 1.0
    assert [b.paired.verdict for b in proof.baselines] == ["better"]
    assert (proof.protocol.kind, proof.protocol.folds, proof.protocol.rows) == ("cross-validation", 5, 60)
    assert proof.headline.startswith("100.0% right [")
    assert proof.headline.endswith("on 60 rows it had not seen; better than the one baseline")


def test_rows_are_answered_in_their_own_place():
    values, targets = drawn()
    _, proof = proved(values, targets)
    assert proof.rows.tolist() == list(range(60))
    assert proof.targets.tolist() == targets
    assert proof.scope.tolist() == values  # this family's scope is the row's own number
    assert proof.probabilities.shape == (60, 2)
    assert proof.probabilities.sum(axis=1) == pytest.approx(np.ones(60))


def test_labels_drawn_by_chance_are_not_learnt():
    rng = np.random.default_rng(1)
    _, proof = proved(rng.normal(5, 5, 200).tolist(), rng.integers(0, 2, 200).tolist())
    assert proof.proved
    assert 0.35 < proof.scores.accuracy.value < 0.65
    assert not any(c.promised for c in proof.coverage)
    assert "better than" not in proof.headline.replace("no better than", "")


def test_a_control_that_knows_more_wins_and_is_named():
    def crib(requirement, condition, features, seed):
        return np.eye(2)[(features.values < 5).astype(int)]

    values, targets = drawn()
    swapped = [1 - t for t in targets]  # labels 1 and 0: what a mean finds is right, so spoil it with outliers
    values[0] = values[2] = 300.0
    swapped[0] = swapped[2] = 1
    _, proof = proved(values, swapped, baselines=(MAJORITY, Control("crib", "the crib", crib)))
    assert proof.headline.startswith("A baseline wins: the crib is better (")
    assert [b.paired.verdict for b in proof.baselines if b.name == "crib"] == ["worse"]


def test_a_control_that_does_as_well_is_a_tie():
    _, proof = proved(*drawn(), baselines=(MAJORITY, LABEL_NAMES))
    assert "no better than label names alone" in proof.headline


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), min_size=6, max_size=40), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_copies_never_straddle_folds_whatever_the_rows(rows, seed):
    asked = []

    def spy(requirement, condition, features, seed):
        asked.append((set(condition.support.values), set(features.values)))
        return MAJORITY.answer(requirement, condition, features, seed)

    values, targets = [float(value) for value, _ in rows], [target for _, target in rows]
    _, proof = proved(values, targets, names=("0", "4", "8"), baselines=(Control("spy", "spy", spy),), seed=seed)
    assert all(not known & measured for known, measured in asked)
    assert (len(asked) > 0) == (proof.scores is not None)
    if proof.scores:
        assert set().union(*(measured for _, measured in asked)) == set(values)


def test_a_fold_that_lets_a_copy_straddle_is_a_bug_that_shows():
    values, targets = [1.0, 1.0, 2.0, 2.0, 9.0, 9.5], [0, 0, 0, 0, 1, 1]

    def careless(groups, targets, k, seed):
        even = np.arange(0, 6, 2)
        return [(even + 1, even), (even, even + 1)]

    with pytest.raises(AssertionError, match="straddles"):
        proved(values, targets, folds=careless)


def test_the_family_sees_neither_the_held_out_rows_nor_their_count():
    family, _ = proved(*drawn())
    assert len(family.seen) == 5
    for requirement, condition in family.seen:
        assert len(condition.support) == 48
        counts = np.bincount(condition.targets, minlength=2).tolist()
        assert [label.rows for label in requirement.labels] == counts


def test_a_label_with_one_row_is_not_proved_but_measured():
    values, targets = drawn(20)
    _, proof = proved([*values, 50.0], [*targets, 2], names=("0", "10", "50"))
    assert not proof.proved
    assert proof.scores.n == 21
    assert proof.headline.startswith("Not proved: label '50' has 1 row; give at least 2, better 8. ")
    assert "21 rows it had not seen" in proof.headline
    assert [note.level for note in proof.notes] == ["warning"]
    assert proof.coverage == ()
    by_label = {c.label: c for c in proof.classes}
    assert (by_label["50"].rows, by_label["50"].recall.value) == (1, 0.0)


def test_copies_of_one_text_are_one_row():
    values, targets = drawn(20)
    _, proof = proved([*values, 50.0, 50.0, 50.0], [*targets, 2, 2, 2], names=("0", "10", "50"))
    assert proof.reasons == ("label '50' has 3 rows, all the same; give at least 2, better 8",)


def test_a_label_without_a_row_is_not_proved():
    _, proof = proved(*drawn(20), names=("0", "10", "50"))
    assert proof.reasons == ("label '50' has 0 rows; give at least 2, better 8",)


def test_of_many_short_labels_three_are_named():
    values, targets = drawn(20)
    names = ("0", "10", *(str(c) for c in range(50, 60)))
    _, proof = proved(values, targets, names=names)
    assert "'52' has 0 rows and 7 labels more have too few rows; give" in proof.reasons[0]


@pytest.mark.parametrize(
    ("values", "targets"), [([], []), ([1.0], [0]), ([1.0, 9.0], [0, 1]), ([1.0, 2.0, 9.0], [0, 0, 1])]
)
def test_too_few_rows_are_not_measured_at_all(values, targets):
    family, proof = proved(values, targets)
    assert not proof.proved
    assert proof.scores is None
    assert proof.protocol.kind == "none"
    assert proof.headline.startswith("Not proved: label ")
    assert family.seen == []
    assert to_report(proof).scores is None


def test_folds_are_as_many_as_the_smallest_label_has_rows():
    values, targets = drawn(40)
    _, proof = proved([*values, 50.0, 51.0, 52.0], [*targets, 2, 2, 2], names=("0", "10", "50"))
    assert proof.proved
    assert proof.protocol.folds == 3


def test_repeats_are_averaged_over_other_folds():
    values, targets = drawn(30, spread=4.0)
    _, once = proved(values, targets, seed=3)
    _, again = proved(values, targets, seed=4)
    family, both = proved(values, targets, seed=3, repeats=2)
    assert len(family.seen) == 10
    assert both.probabilities == pytest.approx((once.probabilities + again.probabilities) / 2)
    assert not np.allclose(once.probabilities, again.probabilities)
    assert "2 times over" in both.protocol.text


def test_many_rows_are_held_out_once():
    values, targets = drawn(5002)
    family, proof = proved(values, targets)
    assert len(family.seen) == 1
    assert (proof.protocol.kind, proof.protocol.folds) == ("holdout", 1)
    assert 990 <= proof.protocol.rows <= 1010
    assert len(proof.rows) == len(proof.scope) == proof.scores.n == proof.protocol.rows
    assert proof.scope.tolist() == np.array(values)[proof.rows].tolist()
    assert [c.promised for c in proof.coverage] == [True, True]


def test_a_label_too_small_to_hold_out_is_named():
    values, targets = drawn(5002)
    _, proof = proved([*values, 50.0, 51.0], [*targets, 2, 2], names=("0", "10", "50"))
    assert proof.proved
    assert [note.text for note in proof.notes] == ["1 of 3 labels were not measured, having too few rows: '50'."]


def test_rows_that_leave_none_to_hold_out_prove_nothing():
    n = 2600
    values = [float(v) for v in range(2 * n)]
    _, proof = proved(values, [v // 2 for v in range(2 * n)], names=tuple(str(2 * c) for c in range(n)))
    assert (proof.protocol.kind, proof.scores) == ("none", None)
    assert "too few rows to hold any out" in proof.headline


def test_the_same_seed_proves_the_same():
    one, other = (to_report(proved(*drawn(spread=4.0), seed=2)[1]) for _ in range(2))
    assert one == other


def test_progress_counts_every_generation_and_every_baseline():
    told = []
    proved(*drawn(), progress=lambda *step: told.append(step))
    assert told == [("evaluate", done, 10) for done in range(11)]


def test_a_report_says_all_that_was_proved_and_survives_json():
    _, proof = proved(*drawn())
    note = Note("language", "English.")
    report = to_report(proof, cost=COST, seconds={"encode": 1.5}, notes=[note])
    assert report.headline == proof.headline
    assert (report.cost, report.seconds, report.notes) == (COST, {"encode": 1.5}, (note,))
    assert from_json(to_json(report), ReportType) == report
    assert replace(report, cost=None, seconds={}, notes=()) == to_report(proof)
