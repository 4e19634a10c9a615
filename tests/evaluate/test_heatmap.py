"""Heat over a picture: a PNG of its size, coloured where it is hot and as it was where it is not."""

import io

import numpy as np
from PIL import Image

from sartor.evaluate.heatmap import MOST_SIDE, overlay


def opened(content):
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        return np.asarray(image).astype(int)


def test_it_is_warm_where_it_is_hot_and_cold_where_it_speaks_against():
    picture = np.full((40, 60, 3), 128, dtype=np.uint8)
    heat = np.zeros((4, 6))
    heat[0, 0], heat[3, 5] = 2, -2
    seen = opened(overlay(picture, heat))
    assert seen.shape == (40, 60, 3)
    assert seen[2, 2, 0] > 180 > 100 > seen[2, 2, 2]
    assert seen[37, 57, 2] > 150 > 100 > seen[37, 57, 0]
    assert (seen[18:22, 25:35] == 128).all()


def test_heat_below_what_shows_changes_nothing_and_large_pictures_become_smaller():
    picture = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    assert np.array_equal(opened(overlay(picture, np.full((3, 3), 0.5))), picture)
    large = opened(overlay(np.zeros((900, 1800, 3), dtype=np.uint8), np.zeros((2, 2))))
    assert large.shape == (MOST_SIDE // 2, MOST_SIDE, 3)
