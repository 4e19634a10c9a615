"""What each place adds sums to the score, whatever a block is pooled by."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_pictures
from sartor.nn import picture_evidence, picture_features
from sartor.nn.picture_features import ANCHORED, anchored

SIDE = 50
"""Maps of odd sizes: thirds of them overlap."""


def shown(words=("ab", "xyz", "q")):
    return np.stack([picture_features.squeezed(np.asarray(tiny_pictures.picture_of(word)), SIDE) for word in words])


def net(with_anchor=False):
    made = tiny_pictures.net()
    return replace(made, anchored=tiny_pictures.net(3).weights) if with_anchor else made


@pytest.mark.parametrize("with_anchor", [False, True])
def test_evidence_of_each_block_sums_to_its_score(with_anchor):
    made, pictures = net(with_anchor), shown()
    features = picture_features.encode_pictures(made, pictures, SIDE)
    names = set(features.blocks)
    assert (anchored(ANCHORED[0]) in names) is with_anchor
    for at, name in enumerate(features.blocks):
        columns = torch.randn(3, features.blocks[name].shape[1], generator=torch.Generator().manual_seed(at))
        found = picture_evidence.evidence(made, pictures, {name: columns})
        assert found.shape == (3, picture_evidence.GRID, picture_evidence.GRID)
        wanted = (features.blocks[name] * columns.numpy()).sum(axis=1)
        np.testing.assert_allclose(found.sum(axis=(1, 2)), wanted, rtol=2e-4, atol=1e-5, err_msg=name)


def test_evidence_of_several_blocks_is_the_sum_of_theirs():
    made, pictures = net(), shown(["ab"])
    wide = picture_features.widths(made)
    columns = {name: torch.ones(1, wide[name]) for name in ("things", "textures", "colours")}
    alone = [picture_evidence.evidence(made, pictures, {name: column}) for name, column in columns.items()]
    np.testing.assert_allclose(picture_evidence.evidence(made, pictures, columns), sum(alone), atol=1e-6)


def test_what_lies_in_one_corner_speaks_there():
    pictures = np.full((1, 64, 64, 3), 255, dtype=np.uint8)
    pictures[0, :16, :16] = (255, 0, 0)
    column = torch.zeros(1, 64)
    column[0, 48] = 1  # all red, no green, no blue
    found = picture_evidence.evidence(net(), pictures, {"colours": column})[0]
    assert found[:7, :7].sum() == pytest.approx(found.sum())
    assert found.sum() > 0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 30))
def test_masses_on_another_grid_keep_their_sum_and_their_place(height, width, side):
    masses = np.random.default_rng(height * width).random((2, height, width))
    found = picture_evidence.spread_out(masses, side)
    np.testing.assert_allclose(found.sum(axis=(1, 2)), masses.sum(axis=(1, 2)))
    alone = np.zeros((1, height, width))
    alone[0, 0, 0] = 1
    moved = picture_evidence.spread_out(alone, side)[0]
    assert moved[: -(-side // height), : -(-side // width)].sum() == pytest.approx(1)
