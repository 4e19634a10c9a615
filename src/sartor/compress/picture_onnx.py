"""A model of pictures as an ONNX graph (https://onnx.ai) from pixels to probabilities, the net in it.

The folder holds ``model.onnx``, ``labels.json`` (names, side, the out-of-scope threshold), ``run.py``
(:mod:`sartor.compress.picture_run`: Pillow, numpy and onnxruntime alone) and ``requirements.txt``. The graph's input
``pictures`` is (N, S, S, 3) uint8 RGB; its outputs are ``probabilities`` (N, C) and ``scope`` (N). In 8 bits, the
convolutions' weights and what flows between them are whole numbers, whose ranges a few pictures tell (static
quantisation, QDQ: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html); pooled blocks and
head stay in float32.

Dimension key:   N: pictures   S: side   C: channels, or labels at the end   H, W: height and width
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sartor.compress.onnx_graph import Nodes, TensorProto, helper, onnx
from sartor.compress.whole import new_folder
from sartor.errors import UserError
from sartor.nn import picture_features
from sartor.nn.picture_base import PictureBase
from sartor.nn.picture_features import ANCHORED, COLOUR_LEVELS, COLOUR_POOL, COLOURS, PLACES, POOLED, Pixels, anchored
from sartor.nn.picture_net import ANCHORED_FROM, Block, same_padding
from sartor.types import Requirement, Weights

OPSET: Final = 13
"""The oldest in which convolutions may be quantised channel by channel."""
IR_VERSION: Final = 7
REQUIREMENTS: Final = "numpy\nonnxruntime\npillow\n"
CALIBRATION: Final = 32
"""Pictures that tell the ranges."""
_RUN: Final = Path(__file__).with_name("picture_run.py")  # imports a package that need not be there


def write_onnx(
    path: Path,
    base: PictureBase,
    requirement: Requirement,
    weights: Weights,
    *,
    eight_bits: bool = False,
    calibration: Sequence[Pixels] = (),
) -> None:
    """Write a folder.

    Args:
        path: of the new folder.
        base: the frozen net.
        requirement: with the labels.
        weights: of the family ``image-classification``.
        eight_bits: whether convolutions are quantised.
        calibration: pictures (H, W, 3) that tell the ranges then; drawn ones where there are none.

    Raises:
        UserError: if a package that writes it is not there.
        StorageError: if something stands at ``path``, or the disk does not take the files.
    """
    made = graph(base, requirement, weights)
    with new_folder(path) as folder:
        target = folder / "model.onnx"
        target.write_bytes(made.SerializeToString())
        if eight_bits:
            shown = calibration or list(drawn(base.side))
            _quantise(target, [picture_features.squeezed(one, base.side) for one in shown])
        about = {
            "labels": [label.name for label in requirement.labels],
            "side": base.side,
            "threshold": float(weights["scope.threshold"]),
        }
        (folder / "labels.json").write_text(json.dumps(about, ensure_ascii=False, indent=2), encoding="utf-8")
        (folder / "run.py").write_bytes(_RUN.read_bytes())
        (folder / "requirements.txt").write_text(REQUIREMENTS, encoding="utf-8")


def graph(base: PictureBase, requirement: Requirement, weights: Weights) -> Any:
    """Return the checked model in float32."""
    nodes = _Graph(base)
    scores = nodes.scores(nodes.blocks(), weights)
    outputs = [nodes.add("Softmax", scores, axis=1), nodes.add("ReduceMax", scores, axes=[1], keepdims=0)]
    named = [
        helper.make_node("Identity", [one], [name])
        for one, name in zip(outputs, ("probabilities", "scope"), strict=True)
    ]
    side, labels = base.side, len(requirement.labels)
    made = helper.make_graph(
        [*nodes.nodes, *named],
        "sartor",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["N", side, side, 3])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", labels]),
            helper.make_tensor_value_info("scope", TensorProto.FLOAT, ["N"]),
        ],
        nodes.constants,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, producer_name="sartor", opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


class _Graph(Nodes):
    """From pixels to scores, as :mod:`sartor.nn.picture_features` and the family compute them."""

    def __init__(self, base: PictureBase) -> None:
        super().__init__(("pictures", "probabilities", "scope"))
        self.net, self.side = base.net, base.side
        self.weights = base.net.weights
        self.sizes: list[int] = []
        """Height and width of each map."""

    # --- blocks

    def blocks(self) -> dict[str, str]:
        """Return the names of the blocks, (N, D) each, of length one."""
        pixels = self.add("Transpose", self.add("Cast", "pictures", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        maps = self.maps(pixels)
        found = {name: self._pooled(maps[at], at, kinds) for name, (at, kinds) in POOLED.items()}
        found[COLOURS] = self._colours(pixels)
        if self.net.anchored is not None:
            self.weights = self.net.anchored
            above = self._maps_above(maps[ANCHORED_FROM - 1], self.sizes[ANCHORED_FROM - 1], ANCHORED_FROM)
            for name in ANCHORED:
                at, kinds = POOLED[name]
                found[anchored(name)] = self._pooled(above[at - ANCHORED_FROM], at, kinds)
        return {name: self._unit(block) for name, block in found.items()}

    def maps(self, pixels: str) -> list[str]:
        """Return the maps behind each stage and behind the head."""
        config = self.net.config
        centred = self.add("Sub", pixels, self.constant(np.float32(config.mean)))
        states = self.add("Div", centred, self.constant(np.float32(config.spread)))
        states = self._relu6(self._convolution("stem", states, self.side, stride=2))
        return self._maps_above(states, -(-self.side // 2), 0)

    def _maps_above(self, states: str, size: int, first: int) -> list[str]:
        """Return the maps behind the stages from ``first`` on and behind the head, by the weights of the moment."""
        maps, sizes = list[str](), list[int]()
        stages = list(self.net.config.staged())
        at = sum(len(stage) for stage in stages[:first])
        for stage in stages[first:]:
            for block in stage:
                states, size = self._block(f"blocks.{at}", block, states, size), -(-size // block.stride)
                at += 1
            maps.append(states)
            sizes.append(size)
        self.sizes = [*self.sizes[:first], *sizes]
        return [*maps, self._relu6(self._convolution("head", states, size))]

    def _block(self, name: str, block: Block, states: str, size: int) -> str:
        wide = self._relu6(self._convolution(f"{name}.expand", states, size)) if block.expands else states
        wide = self._convolution(f"{name}.depthwise", wide, size, stride=block.stride, groups=block.wide)
        out = self._convolution(f"{name}.project", self._relu6(wide), -(-size // block.stride))
        return self.add("Add", states, out) if block.adds else out

    def _convolution(self, name: str, states: str, size: int, *, stride: int = 1, groups: int = 1) -> str:
        weight, bias = (self.weights[f"{name}.{part}"].cpu().contiguous().numpy() for part in ("weight", "bias"))
        kernel = weight.shape[-1]
        before, behind = same_padding(size, kernel, stride)
        return self.add(
            "Conv",
            states,
            self.constant(weight, called=f"{name}.weight"),
            self.constant(bias, called=f"{name}.bias"),
            called=name,
            group=groups,
            kernel_shape=[kernel, kernel],
            pads=[before, before, behind, behind],
            strides=[stride, stride],
        )

    def _relu6(self, states: str) -> str:
        return self.add("Clip", states, self.constant(np.float32(0)), self.constant(np.float32(6)))

    def _pooled(self, states: str, at: int, kinds: Sequence[picture_features.Kind]) -> str:
        every = [self._pool(states, at, kind) for kind in kinds]
        return every[0] if len(every) == 1 else self.add("Concat", *every, axis=1)

    def _pool(self, states: str, at: int, kind: picture_features.Kind) -> str:
        match kind:
            case "mean":
                return self._mean(states, [2, 3], keep=0)
            case "peak":
                return self.add("ReduceMax", states, axes=[2, 3], keepdims=0)
            case "spread":
                away = self.add("Sub", states, self._mean(states, [2, 3], keep=1))
                return self.add("Sqrt", self._mean(self.add("Mul", away, away), [2, 3], keep=0))
            case "places":
                thirds = _parts(self.sizes[at], PLACES)
                rows = self.add("MatMul", self.constant(thirds), states)
                return self.add("Flatten", self.add("MatMul", rows, self.constant(thirds.T)), axis=1)

    def _colours(self, pixels: str) -> str:
        size, levels = COLOUR_POOL, COLOUR_LEVELS
        small = self.add("AveragePool", pixels, kernel_shape=[size, size], strides=[size, size], ceil_mode=1)
        places = (-(-self.side // size)) ** 2
        scaled = self.add("Mul", small, self.constant(np.float32((levels - 1) / 255)))
        level = self.add("Reshape", scaled, self.constant(np.array([-1, 3, 1, places])))
        steps = self.constant(np.arange(levels, dtype=np.float32)[None, None, :, None])
        away = self.add("Abs", self.add("Sub", level, steps))
        near = self.add("Relu", self.add("Sub", self.constant(np.float32(1)), away))  # (B, 3, levels, places)
        red, green, blue = (self.add("Gather", near, self.constant(np.array(channel)), axis=1) for channel in range(3))
        both = self.add(
            "Mul",
            self.add("Reshape", red, self.constant(np.array([-1, levels, 1, places]))),
            self.add("Reshape", green, self.constant(np.array([-1, 1, levels, places]))),
        )
        pairs = self.add("Reshape", both, self.constant(np.array([-1, levels**2, places])))
        counts = self.add("MatMul", pairs, self.add("Transpose", blue, perm=[0, 2, 1]))
        return self.add("Sqrt", self.add("Flatten", self.add("Div", counts, self.constant(np.float32(places))), axis=1))

    def _unit(self, block: str) -> str:
        length = self.add("ReduceL2", block, axes=[1], keepdims=1)
        return self.add("Div", block, self.add("Max", length, self.constant(np.float32(1e-12))))

    def _mean(self, states: str, axes: Sequence[int], *, keep: int) -> str:
        return self.add("ReduceMean", states, axes=list(axes), keepdims=keep)

    # --- head

    def scores(self, blocks: dict[str, str], weights: Weights) -> str:
        """Return the scores, tempered, (N, C)."""
        used = [name for name in blocks if f"{name}.weight" in weights]
        every = [
            self.add("MatMul", blocks[name], self.constant(weights[f"{name}.weight"].float().numpy())) for name in used
        ]
        summed = self.add("Sum", *every, self.constant(weights["bias"].float().numpy()))
        return self.add("Mul", summed, self.constant(weights["temperature"].float().numpy()))


def _parts(size: int, parts: int) -> NDArray[np.float32]:
    """Return (parts, size) what takes the mean of each part: torch's adaptive pooling, in which parts may overlap."""
    found = np.zeros((parts, size), dtype=np.float32)
    for at in range(parts):
        start, stop = at * size // parts, -(-(at + 1) * size // parts)
        found[at, start:stop] = 1 / (stop - start)
    return found


# --- 8 bits ------------------------------------------------------------------------------------------------


def drawn(side: int) -> Iterator[Pixels]:
    """Yield pictures that show the net a bit of everything: shapes and waves of all sizes and colours on each other."""
    down, across = np.mgrid[:side, :side] / side
    for seed in range(CALIBRATION):
        random = np.random.default_rng(seed)
        picture = np.tile(random.random(3), (side, side, 1))
        for _ in range(12):
            colour, angle, pitch = random.random(3), random.random() * np.pi, 2 ** random.uniform(0, 6)
            wave = np.sin(pitch * 2 * np.pi * (across * np.cos(angle) + down * np.sin(angle)) + random.random() * 6)
            x, y, wide, tall = random.random(4)
            inside = ((across - x) / (0.05 + wide / 2)) ** 2 + ((down - y) / (0.05 + tall / 2)) ** 2 < 1
            shade = (0.5 + 0.5 * wave * random.random())[..., None] * colour
            picture = np.where(inside[..., None], shade, picture)
        noise = random.normal(size=picture.shape) * 0.1 * random.random()
        yield ((picture + noise).clip(0, 1) * 255).astype(np.uint8)


def _quantise(path: Path, calibration: Sequence[Pixels]) -> None:
    """Put a model in 8 bits in the place of one in float32."""
    try:
        from onnxruntime import quantization
        from onnxruntime.quantization import shape_inference
    except ImportError:
        raise UserError("Writing 8 bits needs the package onnxruntime: say pip install 'sartor[onnx]'.") from None

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(calibration)

        def get_next(self) -> Any:
            picture = next(self.rest, None)
            return None if picture is None else {"pictures": picture[None]}

    whole = path.with_name("float.onnx")
    path.rename(whole)
    shape_inference.quant_pre_process(str(whole), str(whole), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(whole),
        str(path),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Add", "Clip"],
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod.MinMax,
    )
    whole.unlink()
