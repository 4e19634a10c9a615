import numpy as np
import pytest
import torch

import tiny_pictures
from sartor.errors import AssetError, BundleError, TaskError
from sartor.nn import picture_anchor
from sartor.nn.anchor import Anchor, write
from sartor.nn.picture_base import PictureBase, anchored
from sartor.nn.picture_features import ANCHORED, BLOCKS, encode_pictures, nothing, widths
from sartor.types import BaseRef

NET, SIDE = tiny_pictures.net(), tiny_pictures.SIDE
BASE = PictureBase(BaseRef("tiny", "0" * 64, "none"), NET, SIDE)


def fresh(rank=2):
    return picture_anchor.fresh(NET.config, rank, generator=torch.Generator().manual_seed(0))


def changed(rank=2):
    random = torch.Generator().manual_seed(1)
    return {name: 0.1 * torch.randn(tensor.shape, generator=random) for name, tensor in fresh(rank).items()}


def pictures(n=5):
    return np.random.default_rng(0).integers(0, 256, (n, 40, 30, 3)).astype(np.uint8)


def with_anchor(adapter, path):
    write(Anchor(adapter), path / "anchor.safetensors")
    return anchored(BASE, path / "anchor.safetensors", name="tiny+anchor")


def test_a_fresh_anchor_says_what_the_frozen_net_says(tmp_path):
    found = encode_pictures(with_anchor(fresh(), tmp_path).net, pictures(), SIDE)
    assert tuple(found.blocks) == (*BLOCKS, *(f"anchored-{name}" for name in ANCHORED))
    for name in ANCHORED:
        np.testing.assert_allclose(found.blocks[f"anchored-{name}"], found.blocks[name], atol=1e-5)


def test_an_anchor_changes_its_own_blocks_alone(tmp_path):
    base = with_anchor(changed(), tmp_path)
    found, plain = (encode_pictures(net, pictures(), SIDE) for net in (base.net, NET))
    for name in BLOCKS:
        np.testing.assert_array_equal(found.blocks[name], plain.blocks[name])
    for name in ANCHORED:
        assert np.abs(found.blocks[f"anchored-{name}"] - found.blocks[name]).max() > 1e-3
    assert base.ref.name == "tiny+anchor"
    assert base.ref.sha256 != BASE.ref.sha256


def test_its_update_is_b_a_and_a_bias():
    adapter, weights = changed(), picture_anchor.adapted(NET, changed())
    for site, shape in picture_anchor.sites(NET.config).items():
        update = adapter[f"{site}.lora_B.weight"] @ adapter[f"{site}.lora_A.weight"]
        assert update.shape == shape
        torch.testing.assert_close(
            weights[f"{site}.weight"][..., 0, 0], NET.weights[f"{site}.weight"][..., 0, 0] + update
        )
        torch.testing.assert_close(weights[f"{site}.bias"], NET.weights[f"{site}.bias"] + adapter[f"{site}.bias"])
    lower = {name for name in NET.weights if name.startswith(("stem", "blocks.0."))}
    assert lower
    assert all(weights[name] is NET.weights[name] for name in lower)


def test_no_picture_has_the_same_blocks(tmp_path):
    net = with_anchor(changed(), tmp_path).net
    assert {name: block.shape[1] for name, block in nothing(net, 0).blocks.items()} == widths(net)


def test_what_does_not_fit_is_refused(tmp_path):
    adapter = changed()
    with pytest.raises(BundleError, match=r"it has no head\.lora_A"):
        with_anchor({name: tensor for name, tensor in adapter.items() if name != "head.lora_A.weight"}, tmp_path)
    with pytest.raises(BundleError, match="does not fit this net at 'head'"):
        with_anchor({**adapter, "head.bias": torch.zeros(3)}, tmp_path)
    (tmp_path / "broken").write_bytes(b"no safetensors")
    with pytest.raises(AssetError, match="cannot be read"):
        anchored(BASE, tmp_path / "broken", name="tiny+anchor")
    base = with_anchor(adapter, tmp_path)
    with pytest.raises(TaskError, match="has an anchor already"):
        anchored(base, tmp_path / "anchor.safetensors", name="twice")
