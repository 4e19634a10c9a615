"""The real base for pictures: fetched once into the cache of the environment's settings."""

import dataclasses
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from sartor.assets.catalogue import WEIGHTS, picture_base, picture_bases
from sartor.assets.fetch import sha256
from sartor.assets.resolve import resolve_picture_base
from sartor.nn.picture_base import load_picture_base
from sartor.nn.picture_features import encode_pictures
from sartor.settings import current

pytestmark = pytest.mark.asset
LITE0 = "efficientnet-lite0"


@pytest.fixture(scope="module")
def base():
    return load_picture_base(LITE0)


@pytest.fixture(scope="module")
def ball():
    """An orange disc before a gradient, (224, 224, 3)."""
    down, across = np.mgrid[:224, :224]
    picture = np.stack([down, across, down * across // 224], axis=2)
    picture[(down - 112) ** 2 + (across - 112) ** 2 < 50**2] = (250, 140, 20)
    return picture.astype(np.uint8)


@pytest.mark.parametrize("name", picture_bases())
def test_the_files_are_the_pinned_ones_and_stay(name):
    files = resolve_picture_base(name, current())
    assert sha256(files.weights) == picture_base(name).files[WEIGHTS]
    assert load_picture_base(name).ref.sha256 == files.sha256  # with the anchor's, where there is one
    assert resolve_picture_base(name, dataclasses.replace(current(), offline=True)) == files
    assert sum(tensor.numel() for tensor in load_file(files.weights).values()) == files.spec.n_parameters


@torch.inference_mode()
def test_it_scores_classes_as_its_first_package_does(base, ball):
    # numbers of efficientnet_lite_pytorch 0.1.0, whose norms are not folded
    stored = load_file(resolve_picture_base(LITE0, current()).weights)
    things = base.net.maps(torch.from_numpy(ball)[None])[-1]
    scores = functional.linear(things.mean(dim=(2, 3)), stored["classifier.weight"], stored["classifier.bias"])[0]
    wanted = [-1.38798, -0.87484, -0.27652, 1.69183, 0.25651, -0.45501]
    np.testing.assert_allclose(scores[[0, 200, 400, 600, 800, 999]], wanted, atol=1e-4)
    assert scores.argmax() == 722, "a ping-pong ball"
    np.testing.assert_allclose(scores.max(), 9.5565, atol=1e-4)
    np.testing.assert_allclose(things.mean(dim=(2, 3))[0, [600, 900]], [0.106696, 0.0094386], atol=1e-5)
    np.testing.assert_allclose(things.amax(dim=(2, 3))[0, [600, 900]], [1.673297, 0.288859], atol=1e-5)


def test_a_picture_takes_milliseconds(base, ball):
    encode_pictures(base.net, [ball], base.side)
    start = time.process_time()
    for _ in range(5):
        encode_pictures(base.net, [ball], base.side)
    assert (time.process_time() - start) / 5 < 0.06
