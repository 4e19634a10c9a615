import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import tiny_pictures
from sartor.nn.picture_net import Block, PictureNetConfig, feature_maps, load_picture_net, prepared, same_padding


def pictures(n, height, width, seed=0):
    return torch.randint(0, 256, (n, height, width, 3), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def test_lite0_has_the_published_shape():
    config = PictureNetConfig()
    assert config.channels == (16, 24, 40, 80, 112, 192, 320, 1280)
    assert len(config.blocks) == 16
    assert config.blocks[0] == Block(kernel=3, stride=1, into=32, wide=32, out=16)
    assert not config.blocks[0].expands
    assert config.blocks[1] == Block(kernel=3, stride=2, into=16, wide=96, out=24)
    assert [block.stride for block in config.blocks].count(2) == 4
    # 4.65 million with the classifier and both numbers of each norm; folded, one of them is left
    assert sum(math.prod(shape) for _, shape in config.shapes()) == 3_350_000


def test_larger_ones_grow_in_width_and_depth_but_not_at_stem_and_head():
    lite4 = PictureNetConfig(width=1.4, depth=1.8)
    assert lite4.channels == (24, 32, 56, 112, 160, 272, 448, 1280)
    assert [len(stage) for stage in lite4.staged()] == [1, 4, 4, 6, 6, 8, 1]
    assert next(lite4.shapes()) == ("stem.weight", (32, 3, 3, 3))


@given(st.integers(1, 600), st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]))
def test_padding_gives_the_sizes_of_tensorflow(size, kernel, stride):
    before, behind = same_padding(size, kernel, stride)
    assert (size + before + behind - kernel) // stride + 1 == math.ceil(size / stride)
    assert 0 <= behind - before <= 1


@pytest.mark.parametrize(("height", "width"), [(32, 32), (45, 61), (1, 1)])
def test_maps_have_the_channels_and_strides_of_their_stages(height, width):
    net = tiny_pictures.net()
    maps = net.maps(pictures(2, height, width))
    assert tuple(found.shape[1] for found in maps) == net.config.channels
    for found, stride in zip(maps, (2, 4, 8, 16, 16, 32, 32, 32), strict=True):
        assert found.shape[2:] == (math.ceil(height / stride), math.ceil(width / stride))
    assert maps[-1].min() >= 0
    assert maps[-1].max() <= 6


def test_a_picture_alone_gives_what_it_gives_among_others():
    net, seen = tiny_pictures.net(), pictures(3, 32, 32)
    for together, alone in zip(net.maps(seen), net.maps(seen[1:2]), strict=True):
        np.testing.assert_allclose(alone[0], together[1], atol=1e-5)


def test_other_weights_may_be_handed_in():
    net, seen = tiny_pictures.net(), prepared(tiny_pictures.config(), pictures(1, 32, 32))
    changed = {**net.weights, "head.bias": net.weights["head.bias"] + 1}
    plain, other = feature_maps(net.config, net.weights, seen), feature_maps(net.config, changed, seen)
    assert torch.equal(plain[-2], other[-2])
    assert not torch.equal(plain[-1], other[-1])


def test_colours_are_centred():
    found = prepared(PictureNetConfig(mean=127, spread=128), torch.tensor([[[[127, 255, 0]]]], dtype=torch.uint8))
    assert found.shape == (1, 3, 1, 1)
    assert found.flatten().tolist() == [0, 1, -127 / 128]


def test_a_file_gives_the_same_net(tmp_path):
    net = tiny_pictures.net()
    save_file({**net.weights, "classifier.bias": torch.zeros(3)}, tmp_path / "net.safetensors")
    loaded = load_picture_net(net.config, tmp_path / "net.safetensors")
    assert loaded.weights.keys() == net.weights.keys()
    for mine, other in zip(net.maps(pictures(2, 40, 40)), loaded.maps(pictures(2, 40, 40)), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)


def test_a_file_of_another_shape_is_refused(tmp_path):
    save_file(dict(tiny_pictures.net().weights), tmp_path / "net.safetensors")
    with pytest.raises((KeyError, ValueError)):
        load_picture_net(PictureNetConfig(), tmp_path / "net.safetensors")
