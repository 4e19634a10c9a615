import numpy as np
import pytest
import torch

import tiny_pictures
from sartor.nn import picture_features as features
from sartor.nn.picture_features import BLOCKS, blocks_of, encode_pictures, nothing, pool, squeezed, widths

NET, SIDE = tiny_pictures.net(), tiny_pictures.SIDE


def picture(height=40, width=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def encoded(*pictures):
    return encode_pictures(NET, pictures, SIDE)


def test_every_block_is_of_length_one_and_as_wide_as_told():
    found = encoded(picture(), picture(7, 3), picture(1, 1), picture(500, 20))
    assert tuple(found.blocks) == BLOCKS
    for name, block in found.blocks.items():
        assert block.shape == (4, widths(NET)[name])
        assert block.dtype == np.float32
        lengths = np.linalg.norm(block, axis=1)
        np.testing.assert_allclose(lengths[lengths > 0], 1, atol=1e-5)


def test_a_batch_changes_nothing():
    many = [picture(seed=seed) for seed in range(features.PICTURES_AT_ONCE + 3)]
    told = []
    together = encode_pictures(NET, iter(many), SIDE, on_rows=told.append)
    assert told == [features.PICTURES_AT_ONCE, 3]
    alone = encoded(many[-1])
    for name in BLOCKS:
        np.testing.assert_allclose(alone.blocks[name][0], together.blocks[name][-1], atol=1e-5)


def test_rows_are_taken_in_order():
    three = encoded(*(picture(seed=seed) for seed in range(3)))
    two = three.take(np.array([2, 0]))
    assert len(two) == 2
    for name in BLOCKS:
        assert np.array_equal(two.blocks[name], three.blocks[name][[2, 0]])


def test_no_picture_gives_no_row():
    assert len(encoded()) == 0
    assert {name: block.shape for name, block in nothing(NET, 4).blocks.items()} == {
        name: (4, width) for name, width in widths(NET).items()
    }


@pytest.mark.parametrize(("kind", "wanted"), [("mean", 2.5), ("spread", 1.25**0.5), ("peak", 4.0)])
def test_pooling(kind, wanted):
    found = pool(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), kind)
    assert found.shape == (1, 1)
    assert found.item() == pytest.approx(wanted)


def test_colours_tell_shares_of_pixels():
    half = torch.zeros((1, SIDE, SIDE, 3), dtype=torch.uint8)
    half[:, SIDE // 2 :, :, 0] = 255  # red below, black above
    shares = (blocks_of(NET, half)[BLOCKS.index("colours")] ** 2).reshape(4, 4, 4)
    wanted = torch.zeros(4, 4, 4)
    wanted[0, 0, 0] = wanted[3, 0, 0] = 0.5
    np.testing.assert_allclose(shares, wanted, atol=1e-6)


def test_a_colour_between_counts_for_its_neighbours():
    grey = torch.full((1, SIDE, SIDE, 3), 255 // 6, dtype=torch.uint8)  # half of the way to the second level
    shares = blocks_of(NET, grey)[BLOCKS.index("colours")] ** 2
    assert shares.sum().item() == pytest.approx(1, abs=1e-4)
    assert (shares > 0.1).sum() == 8


def test_places_are_means_of_thirds_row_by_row():
    bright = torch.zeros(1, 2, 6, 6)
    bright[0, 1, 2:4, 4:] = 1  # the second channel, in the middle row at the right
    found = pool(bright, "places").reshape(2, 3, 3)
    wanted = torch.zeros(2, 3, 3)
    wanted[1, 1, 2] = 1
    assert torch.equal(found, wanted)


def test_what_is_not_square_is_squeezed_whole():
    wide = np.zeros((10, 40, 3), dtype=np.uint8)
    wide[:, 20:] = 200
    found = squeezed(wide, 8)
    assert found.shape == (8, 8, 3)
    assert (found[:, :3] == 0).all()
    assert (found[:, 5:] == 200).all()
