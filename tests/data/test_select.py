"""Which rows are worth having."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.data import select


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_copies_are_found_whatever_their_case_and_width():
    assert select.exact_groups(["Hello  World", "other", "ｈｅｌｌｏ world", "hello world "]) == [[0, 2, 3]]
    assert select.contradictions([[0, 2, 3], [1, 4]], ["a", "b", "a", "a", "c"]) == [[1, 4]]


def test_near_rows_are_linked_through_each_other():
    angles = np.radians([0, 10, 20, 90, 170])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert select.near_groups(rows, 0.98) == [[0, 1, 2]]
    assert select.near_groups(rows, 0.999) == []


def test_a_flipped_label_is_suspected_and_a_hard_row_is_not():
    random = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], 40)
    probabilities = 0.8 * np.eye(3)[targets] + 0.2 / 3
    hard = random.choice(120, 20, replace=False)
    probabilities[hard] = 0.34, 0.33, 0.33
    given = targets.copy()
    given[5], given[50] = 2, 0
    found = select.suspects(probabilities, given)
    assert {one.row for one in found} == {5, 50} - set(hard.tolist())
    assert all(one.suggested == targets[one.row] for one in found)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any), st.data())
def test_quotas_fill_the_size_and_ask_for_no_row_that_is_not_there(counts, data):
    size = data.draw(st.integers(1, sum(counts)))
    found = select.quota(counts, size)
    assert sum(found) == size
    assert all(0 <= have <= count for have, count in zip(found, counts, strict=True))
    if size >= len([count for count in counts if count]):
        assert all(have for have, count in zip(found, counts, strict=True) if count)


def greedy(vectors, many):
    """Choose by the plain rule, every gain anew."""
    alike, covered, order = np.maximum(vectors @ vectors.T, 0), np.zeros(len(vectors)), []
    for _ in range(many):
        gains = np.maximum(alike - covered[:, None], 0).sum(axis=0)
        gains[order] = -1
        order.append(int(gains.argmax()))
        covered = np.maximum(covered, alike[:, order[-1]])
    return order


def test_the_lazy_choice_is_the_plain_one():
    vectors = unit(np.random.default_rng(1).normal(size=(60, 5)))
    assert select.choose(vectors, np.zeros(60, dtype=np.int64), 12) == greedy(vectors, 12)


def test_a_choice_covers_better_than_chance_and_leaves_out_what_it_should():
    random = np.random.default_rng(2)
    centres = unit(random.normal(size=(8, 16)))
    vectors = unit(np.concatenate([centres[at] + 0.05 * random.normal(size=(2 + 8 * at, 16)) for at in range(8)]))
    targets = np.zeros(len(vectors), dtype=np.int64)
    chosen = select.choose(vectors, targets, 8)
    chance = np.mean([select.coverage(vectors, random.permutation(len(vectors))[:8]) for _ in range(20)])
    assert select.coverage(vectors, chosen) > chance + 0.05
    rank = np.zeros(len(vectors), dtype=np.int64)
    rank[:10] = 2
    assert not set(select.choose(vectors, targets, len(vectors) - 10, rank=rank)) & set(range(10))
    rank[20:22] = 1
    last = select.choose(vectors, targets, len(vectors) - 5, rank=rank)[-7:]
    assert (set(last[:2]), set(last[2:]) < set(range(10))) == ({20, 21}, True)


def test_labels_take_turns():
    vectors = unit(np.random.default_rng(3).normal(size=(30, 4)))
    targets = np.repeat([0, 1, 2], [20, 8, 2])
    chosen = select.choose(vectors, targets, 9)
    assert len(set(chosen)) == 9
    assert sorted(np.unique(targets[chosen], return_counts=True)[1].tolist()) == [1, 2, 6]
    assert set(targets[chosen[:3]]) == {0, 1, 2}


def test_redundancy_is_told_within_a_label():
    rows = unit(np.array([[1, 0], [1, 0.01], [0, 1], [0.01, 1]]))
    assert select.redundant(rows, np.array([0, 0, 1, 1])) == 1
    assert select.redundant(rows, np.array([0, 1, 0, 1])) == 0
    assert select.redundant(rows[:0], np.zeros(0, dtype=np.int64)) == 0


@pytest.mark.parametrize("size", [1, 5, 10])
def test_as_many_are_chosen_as_were_asked_for(size):
    vectors = unit(np.random.default_rng(4).normal(size=(10, 3)))
    rank = np.array([2, 2, 2, 2, 2, 2, 0, 1, 0, 0])
    chosen = select.choose(vectors, np.arange(10) % 2, size, rank=rank)
    assert len(set(chosen)) == size
