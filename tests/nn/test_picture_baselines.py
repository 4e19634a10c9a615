import numpy as np
import pytest
import scipy.special

from sartor.nn import picture_baselines as peers
from sartor.nn.features import unit

EVERY = [peers.probe, peers.prototypes, peers.neighbours]


def task(seed=0, shots=6, classes=3, width=12):
    """Unit vectors about a direction of their class."""
    random = np.random.default_rng(seed)
    middle = random.normal(size=(classes, width)) * 1.5
    targets = np.repeat(np.arange(classes), shots)
    asked = np.repeat(np.arange(classes), 10)
    rows = unit(middle[targets] + random.normal(size=(len(targets), width)))
    return rows, targets, unit(middle[asked] + random.normal(size=(len(asked), width))), asked


@pytest.mark.parametrize("peer", EVERY)
def test_a_peer_learns(peer):
    support, targets, asked, wanted = task()
    found = peer(support, targets, asked, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == wanted).mean() > 0.8


@pytest.mark.parametrize("peer", EVERY)
def test_a_class_without_a_row_is_never_the_answer(peer):
    support, targets, asked, _ = task()
    found = peer(support, targets * 2, asked, 6)
    assert set(found.argmax(axis=1)) <= {0, 2, 4}
    assert np.isfinite(found).all()


@pytest.mark.parametrize("peer", EVERY)
def test_one_row_of_each_class_is_enough(peer):
    support, targets, asked, _ = task(shots=1)
    found = peer(support, targets, asked, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_array_equal(peer(support, targets, support, 3).argmax(axis=1), targets)


@pytest.mark.parametrize("peer", EVERY)
def test_one_class_alone_is_the_answer(peer):
    support, _, asked, _ = task()
    found = peer(support, np.ones(len(support), dtype=np.int64), asked, 3)
    assert (found.argmax(axis=1) == 1).all()


def test_prototypes_are_softmaxes_of_cosines_to_the_means():
    support, targets, asked, _ = task(seed=3)
    means = unit(np.stack([support[targets == c].mean(axis=0) for c in range(3)]))
    found = peers.prototypes(support, targets, asked, 3)
    logs = np.log(found)
    cosines = asked @ means.T
    slopes = (logs[:, 0] - logs[:, 1]) / (cosines[:, 0] - cosines[:, 1])
    np.testing.assert_allclose(slopes, slopes[0])
    np.testing.assert_allclose(found, scipy.special.softmax(slopes[0] * cosines, axis=1))


def test_the_number_of_neighbours_is_the_best_for_rows_left_out():
    # each class lies on a line; a stray of the other class sits beside every second row, which one neighbour trusts
    angles = np.array([0.0, 0.01, 0.05, 0.06, 0.1, 0.11, 1.5, 1.51, 1.55, 1.56, 1.45, 1.46])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    targets = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0])
    asked = np.array([[np.cos(0.112), np.sin(0.112)]])
    assert peers.neighbours(rows, targets, asked, 2).argmax() == 0
    only = peers._votes(asked @ rows.T, targets, 2, 1)
    assert only.argmax() == 1
