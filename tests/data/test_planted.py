"""Painted defects: small, somewhere, the same for the same seed, and read back bit for bit."""

import numpy as np
import pytest

from sartor.data import planted
from sartor.data.good_names import good_label
from sartor.data.pictures import decode


def weave(side=(180, 240)):
    y, x = np.mgrid[: side[0], : side[1]]
    grey = 127 + 50 * np.sin(x / 2) * np.sin(y / 3)
    return np.repeat(np.rint(grey)[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("kind", planted.KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_a_defect_changes_some_of_a_picture_and_leaves_the_rest(kind, seed):
    picture = weave()
    before = picture.copy()
    painted = planted.paint(kind, picture, np.random.default_rng(seed))
    changed = (painted != picture).any(axis=2).mean()
    assert 0.0002 < changed < 0.12
    assert np.array_equal(picture, before)
    assert painted.shape == picture.shape
    assert painted.dtype == np.uint8
    assert np.array_equal(painted, planted.paint(kind, picture, np.random.default_rng(seed)))


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("kind", ["scratch", "spot"])
def test_on_black_and_on_white_it_goes_where_there_is_room(kind, level):
    picture = np.full((60, 60, 3), level, dtype=np.uint8)
    painted = planted.paint(kind, picture, np.random.default_rng(0)).astype(int)
    assert np.abs(painted - level).max() >= 29


def test_what_is_handed_on_is_read_back_as_it_was():
    picture = np.random.default_rng(0).integers(0, 256, (31, 45, 3), dtype=np.uint8)
    assert np.array_equal(decode(planted.as_source(picture)), picture)


@pytest.mark.parametrize(
    ("labels", "good"),
    [
        (["bad", "good"], "good"),
        (["NG", "OK "], "OK "),
        (["不良", "良品"], "良品"),
        (["good", "ok"], None),
        (["cat", "dog"], None),
        ([], None),
    ],
)
def test_the_good_label_is_known_by_its_name_unless_two_are(labels, good):
    assert good_label(labels) == good
