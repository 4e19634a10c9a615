"""Statistics of good pictures: against plain algebra, and the promise of the threshold."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

import tiny_pictures
from sartor.nn import unusual, unusual_baselines
from sartor.nn.unusual import PictureMaps


def maps_of(n, seed=0, shift=0.0, placed=False):
    """Features as those of a net would be: places that resemble each other, or each with a mean of its own."""
    random = np.random.default_rng(seed)
    own = np.random.default_rng(99).normal(0, 3.0 if placed else 0.0, (3, 8, 8, 1))
    found = {}
    for at, (name, (channels, side)) in enumerate({"fine": (5, 8), "middle": (6, 4), "coarse": (7, 2)}.items()):
        mixed = np.random.default_rng(at).normal(0, 1, (channels, channels))
        drawn = np.moveaxis(random.normal(0, 1, (n, side, side, channels)) @ mixed + own[at, :side, :side], -1, 1)
        found[name] = (drawn + shift).astype(np.float16)
    pooled = random.normal(0, 1, (n, 9)).astype(np.float32)
    return PictureMaps(found, pooled, random.random((n, 10)).astype(np.float32))


def test_encoding_averages_places_and_holds_a_row_for_each_picture():
    net = tiny_pictures.net()
    pictures = [np.asarray(tiny_pictures.picture_of(word)) for word in ("ab", "xyz", "q")]
    found = unusual.encode_maps(net, pictures, 32)
    assert len(found) == 3
    assert [maps.shape[2:] for maps in found.maps.values()] == [(4, 4), (2, 2), (1, 1)]
    np.testing.assert_allclose(np.linalg.norm(found.pooled, axis=1), 1, rtol=1e-5)
    with torch.inference_mode():
        square = torch.from_numpy(np.asarray(tiny_pictures.picture_of("xyz").resize((32, 32), 2)).copy())
        raw = net.maps(square[None])[unusual.STAGES["fine"]][0].numpy()
    inner = raw[:, 0:3, 0:3].mean(axis=(1, 2))
    np.testing.assert_allclose(found.maps["fine"][1][:, 1, 1], inner, rtol=2e-2, atol=2e-2)
    assert len(unusual.encode_maps(net, [], 32)) == 0
    assert unusual.encode_maps(net, [], 32).maps["fine"].shape[1:] == found.maps["fine"].shape[1:]


@pytest.mark.parametrize("placed", [False, True])
def test_distances_are_those_of_mahalanobis(placed):
    maps = maps_of(30, placed=placed).maps["middle"]
    mean, whiten, volume = unusual._fit(unusual._moments(maps), placed=placed, shrinkage=0.0)
    rows = np.moveaxis(maps.astype(np.float64), 1, -1)
    centre = rows.mean(axis=0) if placed else rows.mean(axis=(0, 1, 2))
    left = (rows - centre).reshape(-1, 6)
    covariance = left.T @ left / (len(left) * (29 / 30 if placed else 1))
    wanted = np.einsum("nhwc,cd,nhwd->nhw", rows - centre, np.linalg.inv(covariance), rows - centre) / 6
    np.testing.assert_allclose(unusual._gaussian(mean, whiten).distances(maps), wanted, rtol=1e-3, atol=1e-5)
    assert volume == pytest.approx(np.linalg.slogdet(covariance)[1], rel=1e-5)


def test_shrinkage_keeps_the_variances_and_takes_the_rest():
    moments = unusual._moments(maps_of(9).maps["coarse"])
    _, whiten, _ = unusual._fit(moments, placed=False, shrinkage=1.0)
    assert np.count_nonzero(np.abs(whiten) > 1e-9) == 7
    _, less, _ = unusual._fit(moments, placed=False, shrinkage=0.1)
    variances = np.diagonal(np.linalg.inv(less.T @ less))
    np.testing.assert_allclose(variances, np.diagonal(np.linalg.inv(whiten.T @ whiten)), rtol=1e-6)


def test_a_channel_that_never_fires_makes_no_infinity():
    features = maps_of(6)
    features.maps["fine"][:, 2] = 0
    learned = unusual.learn(features, np.arange(6))
    assert np.isfinite(unusual.score(learned, unusual.look(learned, features))).all()


def test_places_have_means_of_their_own_only_where_they_differ():
    for placed in (False, True):
        weights = unusual.to_weights(unusual.learn(maps_of(40, placed=placed), np.arange(40)))
        assert unusual.is_placed(weights, "fine") is placed
    loaded = unusual.from_weights(weights)
    asked = maps_of(4, seed=5, placed=True)
    found = unusual.score(loaded, unusual.look(loaded, asked))
    learned = unusual.learn(maps_of(40, placed=True), np.arange(40))
    np.testing.assert_allclose(found, unusual.score(learned, unusual.look(learned, asked)), rtol=1e-4)


def test_what_differs_in_one_place_is_found_there():
    learned = unusual.learn(maps_of(40), np.arange(40))
    asked = maps_of(20, seed=7)
    usual = unusual.score(learned, unusual.look(learned, asked))
    asked.maps["fine"][:, :, 6, 1] += 20
    seen = unusual.look(learned, asked)
    assert (unusual.score(learned, seen) > usual).all()
    assert (seen.map_NHW.reshape(20, -1).argmax(axis=1) == 6 * 8 + 1).all()


def test_pictures_of_one_look_are_left_out_together():
    groups = np.array([3, 3, 7, 1, 7, 9, 3])
    folds = unusual.fold_rows(groups)
    assert sorted(np.concatenate(folds).tolist()) == list(range(7))
    assert sorted(map(sorted, (set(groups[rows]) for rows in folds))) == [[1], [3], [7], [9]]
    assert len(unusual.fold_rows(np.arange(50))) == 10
    with pytest.raises(ValueError, match="too few"):
        unusual.learn(maps_of(2), np.arange(2))


# --- the promise -------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=19, max_size=200, unique=True))
def test_of_left_out_scores_and_one_more_the_share_above_the_threshold_is_at_most_that_wanted(scores):
    found = np.array(scores)
    n, above = len(found), 0
    for at in range(n):  # each in turn is the new one
        above += found[at] > unusual.threshold_of(np.delete(found, at)) if n > 19 else 0
    assert above <= math.floor(unusual.FALSE_ALARMS * n + 1e-9) or n == 19


@pytest.mark.parametrize("n", [2, 5, 18])
def test_few_pictures_get_the_bound_of_a_normal_distribution_but_never_less_than_their_largest(n):
    scores = np.random.default_rng(n).normal(0, 1, n)
    bound = scores.mean() + stdtrit(n - 1, 0.95) * scores.std(ddof=1) * np.sqrt(1 + 1 / n)
    assert unusual.threshold_of(scores) == pytest.approx(max(bound, scores.max()))


@pytest.mark.parametrize(("n", "wanted"), [(1, 0.5), (4, 0.2), (18, 1 / 19), (19, 0.05), (500, 0.05)])
def test_what_can_be_vouched_for(n, wanted):
    assert unusual.promised(n) == pytest.approx(wanted)
    assert (n >= unusual.enough()) == (wanted == 0.05)


def test_false_alarms_on_new_pictures_are_as_promised():
    alarms = []
    for seed in range(12):
        learned = unusual.learn(maps_of(25, seed=seed), np.arange(25))
        asked = maps_of(60, seed=1000 + seed)
        alarms.append((unusual.score(learned, unusual.look(learned, asked)) > learned.threshold).mean())
    assert 0.005 < np.mean(alarms) < 0.08


# --- controls ----------------------------------------------------------------------------------------------


def test_controls_are_what_they_say():
    support, asked = maps_of(8), maps_of(3, seed=1)
    mean = unusual_baselines.mean_distance(support, asked, 0)
    np.testing.assert_allclose(mean, [np.linalg.norm(row - support.pooled.mean(0)) for row in asked.pooled], rtol=1e-6)
    near = unusual_baselines.nearest(support, support, 0)
    assert near.shape == (8,)
    memory = unusual_baselines.patch_memory(support, support, 0)
    assert memory.max() < 1e-2, "all patches are kept of so few, so each is its own neighbour"
    assert (unusual_baselines.patch_memory(support, asked, 0) > 0.1).all()
