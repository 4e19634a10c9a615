"""Good pictures alone in, how unusual another one is out, with a map of where.

The model is a set of closed-form statistics of a frozen net's stages (:mod:`sartor.nn.unusual`): means over all
pictures and a whitening matrix a stage; no picture, no patch and no feature of one is kept.

Dimension key:   N: pictures   H, W: height and width of a map
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from typing_extensions import override

from sartor.data import planted
from sartor.data.pictures import decode
from sartor.errors import TaskError
from sartor.families.interface import (
    FloatArray,
    IntArray,
    Planted,
    Reads,
    UnusualControl,
    UnusualFamily,
    Unusualness,
    counted,
)
from sartor.nn import unusual, unusual_baselines
from sartor.nn.picture_base import PictureBase, load_picture_base
from sartor.nn.unusual import PictureMaps
from sartor.types import Progress, Requirement, Weights, silent


class ImageAnomalyDetection(UnusualFamily[PictureMaps]):
    """The family ``image-anomaly-detection``."""

    name: ClassVar[str] = "image-anomaly-detection"
    summary: ClassVar[str] = "says how unusual a picture is beside good ones, and where"
    generator: ClassVar[str] = "picture-gaussians/1"
    reads: ClassVar[Reads] = "pictures"
    least: ClassVar[int] = unusual.LEAST
    false_alarms: ClassVar[float] = unusual.FALSE_ALARMS

    @override
    def base(self, requirement: Requirement, *, progress: Progress = silent) -> PictureBase:
        return load_picture_base(requirement.base, device=requirement.limits.device or "cpu", progress=progress)

    @override
    def encode(
        self, base: PictureBase, requirement: Requirement, inputs: Sequence[str], *, progress: Progress = silent
    ) -> PictureMaps:
        progress("encode", 0, len(inputs))
        pictures = (decode(source, side=base.side) for source in inputs)
        return unusual.encode_maps(base.net, pictures, base.side, on_rows=counted(progress, "encode", len(inputs)))

    @override
    def generate(self, requirement: Requirement, support: PictureMaps, groups: IntArray, *, seed: int) -> Weights:
        if len(support) < self.least:
            pictures = "1 picture" if len(support) == 1 else f"{len(support)} pictures"
            raise TaskError(
                f"Got {pictures}: what is usual cannot be told from fewer than {self.least}. Give more good pictures; "
                f"{unusual.enough()} let the threshold keep its promise."
            )
        return unusual.to_weights(unusual.learn(support, groups))

    @override
    def predict(self, requirement: Requirement, weights: Weights, features: PictureMaps) -> Unusualness:
        learned = unusual.from_weights(weights)
        return Unusualness(unusual.score(learned, unusual.look(learned, features)), learned.threshold)

    @override
    def heat(self, base: PictureBase, requirement: Requirement, weights: Weights, inputs: Sequence[str]) -> FloatArray:
        learned = unusual.from_weights(weights)
        map_NHW = unusual.look(learned, self.encode(base, requirement, inputs)).map_NHW.astype(np.float64)
        usual, limit = np.log(learned.limit)
        return (np.log(map_NHW + 1e-12) - usual) / max(limit - usual, 1e-6)

    @override
    def plant(self, base: PictureBase, inputs: Sequence[str], *, seed: int) -> Sequence[Planted]:
        found: dict[str, list[str]] = {kind: [] for kind in planted.KINDS}
        for at, source in enumerate(inputs):
            picture = decode(source, side=base.side)  # as it is read without a defect, or the reading would be noticed
            for number, kind in enumerate(planted.KINDS):
                painted = planted.paint(kind, picture, np.random.default_rng([seed, at, number]))
                found[kind].append(planted.as_source(painted))
        return tuple(Planted(kind, title, found[kind]) for kind, title in planted.KINDS.items())

    @override
    def head(self, weights: Weights) -> str:
        return "placed" if any(unusual.is_placed(weights, name) for name in unusual.STAGES) else "everywhere"

    @override
    def controls(self, requirement: Requirement) -> Sequence[UnusualControl[PictureMaps]]:
        return (
            UnusualControl("pooled", "Distance to the mean of pooled features", _peer(unusual_baselines.mean_distance)),
            UnusualControl("neighbour", "Nearest good picture by pooled features", _peer(unusual_baselines.nearest)),
            UnusualControl("pixels", "Colours and edges alone", _peer(unusual_baselines.pixel_statistics)),
            UnusualControl("patches", "Nearest of 1,000 stored patches", _peer(unusual_baselines.patch_memory)),
        )


FAMILY = ImageAnomalyDetection()


def _peer(
    answer: Callable[[PictureMaps, PictureMaps, int], FloatArray],
) -> Callable[[Requirement, PictureMaps, PictureMaps, int], FloatArray]:
    def answered(requirement: Requirement, support: PictureMaps, features: PictureMaps, seed: int) -> FloatArray:
        return answer(support, features, seed)

    return answered
