"""Splitting: no group in two parts, every label in training, nothing depends on the order of rows."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.data.split import few, folds, group_by_text, holdout
from sartor.data.text import normalise
from sartor.errors import DataError
from sartor.types import Example

tables = st.lists(st.tuples(st.integers(-5, 40), st.integers(0, 4)), min_size=1, max_size=80)
"""Rows of (group, target); a group may have several targets."""


def arrays(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def balanced(classes: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    targets = np.arange(classes * rows) % classes
    return group_by_text([f"text {n}" for n in range(len(targets))]), targets


def test_texts_that_differ_in_case_width_or_spaces_are_one_group():
    groups = group_by_text(["Hello  World", "hello world ", "ＨＥＬＬＯ\u3000ｗｏｒｌｄ", "ﾃｽﾄ", "テスト", "hello"])
    assert groups.dtype == np.int64
    assert groups.shape == (6,)
    assert len(set(groups[:3])) == 1
    assert groups[3] == groups[4]
    assert len(set(groups)) == 3


def test_the_groups_of_no_texts_are_an_empty_array():
    assert group_by_text([]).shape == (0,)


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


@given(tables, st.integers(2, 6), st.integers(0, 3))
def test_folds_test_every_row_once_and_never_split_a_group(rows, k, seed):
    groups, targets = arrays(rows)
    if len(set(groups)) < 2:
        with pytest.raises(DataError, match="at least two"):
            folds(groups, targets, k, seed)
        return
    parts = folds(groups, targets, k, seed)
    assert 2 <= len(parts) <= min(k, len(set(groups)))
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(len(rows)))
    for train, test in parts:
        assert train.dtype == test.dtype == np.int64
        assert sorted([*train, *test]) == list(range(len(rows)))
        assert not set(groups[train]) & set(groups[test])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), min_size=2, max_size=40), st.integers(2, 6))
def test_a_label_with_two_groups_is_in_every_training_part(sizes, k):
    rows = [(group, target) for group, (target, copies) in enumerate(sizes) for _ in range(copies)]
    groups, targets = arrays(rows)
    n_groups = Counter(target for target, _ in sizes)
    for train, _ in folds(groups, targets, k, 0):
        missing = set(n_groups) - set(targets[train].tolist())
        assert all(n_groups[target] == 1 for target in missing)


@given(tables.filter(lambda rows: len({group for group, _ in rows}) > 1), st.randoms(), st.integers(0, 3))
def test_parts_do_not_depend_on_the_order_of_rows(rows, random, seed):
    order = list(range(len(rows)))
    random.shuffle(order)
    groups, targets = arrays(rows)
    for split in (
        lambda g, t: [test for _, test in folds(g, t, 3, seed)],
        lambda g, t: [holdout(g, t, 0.3, 50, seed)[1]],
    ):
        straight = [sorted(groups[test].tolist()) for test in split(groups, targets)]
        shuffled = [sorted(groups[order][test].tolist()) for test in split(groups[order], targets[order])]
        assert straight == shuffled


@pytest.mark.parametrize("k", [2, 3, 5, 10])
def test_folds_are_stratified(k):
    groups, targets = balanced(4, 33)
    for _, test in folds(groups, targets, k, 0):
        counts = np.bincount(targets[test], minlength=4)
        assert counts.min() >= 33 // k
        assert counts.max() <= -(-33 // k)
        assert abs(len(test) - 132 / k) <= 1


def test_folds_of_large_groups_are_even():
    groups = np.repeat(np.arange(40), [1, 2, 3, 10] * 10)
    sizes = [len(test) for _, test in folds(groups, np.zeros(160, dtype=int), 5, 0)]
    assert max(sizes) - min(sizes) <= 3


def test_folds_change_with_the_seed_and_with_nothing_else():
    groups, targets = balanced(3, 20)

    def tests(seed: int) -> list[list[int]]:
        return [test.tolist() for _, test in folds(groups, targets, 5, seed)]

    assert tests(1) == tests(1)
    assert tests(1) != tests(2)


def test_texts_keep_their_fold_mates_in_every_process():
    texts = [f"text {n}" for n in range(8)]
    parts = folds(group_by_text(texts), [0, 1] * 4, 2, seed=7)
    assert [test.tolist() for _, test in parts] == [[0, 3, 4, 7], [1, 2, 5, 6]]


def test_many_rows_are_dealt_quickly():
    groups, targets = balanced(50, 1000)
    assert len(folds(groups, targets, 5, 0)) == 5


@given(tables, st.floats(0, 0.9), st.integers(0, 30), st.integers(0, 3))
def test_a_holdout_splits_no_group_takes_no_label_and_keeps_its_size(rows, share, max_rows, seed):
    groups, targets = arrays(rows)
    train, test = holdout(groups, targets, share, max_rows, seed)
    assert train.dtype == test.dtype == np.int64
    assert sorted([*train, *test]) == list(range(len(rows)))
    assert not set(groups[train]) & set(groups[test])
    assert set(targets[train]) == set(targets)
    assert len(test) <= max_rows
    for target in set(targets):
        held = np.count_nonzero(targets[test] == target)
        assert held <= share * np.count_nonzero(targets == target) + 0.5


@pytest.mark.parametrize(("max_rows", "size"), [(1000, 60), (30, 30)])
def test_a_holdout_is_stratified(max_rows, size):
    groups, targets = balanced(3, 100)
    _, test = holdout(groups, targets, 0.2, max_rows, 0)
    assert np.bincount(targets[test]).tolist() == [size // 3] * 3
    assert not np.array_equal(test, holdout(groups, targets, 0.2, max_rows, 1)[1])


examples = [Example(f"text {n}", "abc"[n % 3]) for n in range(30)]


def test_few_takes_as_many_rows_of_each_label_in_their_order():
    chosen = few(examples, 4, seed=0)
    assert Counter(example.output for example in chosen) == {"a": 4, "b": 4, "c": 4}
    assert list(chosen) == [example for example in examples if example in chosen]
    assert chosen != few(examples, 4, seed=1)
    assert few(examples, 99, seed=0) == tuple(examples)


def test_few_takes_no_text_twice_and_no_row_without_label():
    rows = [Example("Same", "a"), Example("same ", "a"), Example("other", "a"), Example("x")]
    assert few(rows, 3, seed=0) == (rows[0], rows[2])


@settings(max_examples=30)
@given(st.permutations(examples), st.integers(1, 5))
def test_few_does_not_depend_on_the_order_of_rows(rows, shots):
    assert set(few(rows, shots, 0)) == set(few(examples, shots, 0))


def test_more_shots_hold_the_rows_of_fewer():
    assert set(few(examples, 2, 0)) < set(few(examples, 5, 0))
