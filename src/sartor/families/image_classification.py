"""A picture in, one of a list of labels out: a linear head on the stages of a frozen net and on colours.

The head is solved in closed form from the labelled pictures by :mod:`sartor.nn.solve`, on the frozen net and, where the
base has an anchor (an adapter that ``recipes/images.py`` learned over many tasks), on its upper stages adapted; without
it the head is the *floor*, on which nothing was learned. What weighs them is rows left out; names of labels say nothing
here, for there is no encoder that reads both pictures and texts. What is stored is one matrix a block, a bias, a
temperature and an out-of-scope threshold; scores are linear in the features, probabilities their tempered softmax.

Dimension key:   N: pictures   C: labels   D: width of a block
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import ClassVar

import numpy as np
import scipy.special
import threadpoolctl
import torch
from typing_extensions import override

from sartor.assets import catalogue
from sartor.data.pictures import decode
from sartor.errors import TaskError
from sartor.families.interface import (
    STRONGEST,
    Condition,
    Control,
    FloatArray,
    IntArray,
    LabelFamily,
    Prediction,
    Reads,
    counted,
)
from sartor.nn import picture_baselines, picture_evidence, picture_features, solve
from sartor.nn.picture_base import PictureBase, load_picture_base
from sartor.nn.picture_features import ANCHORED, BLOCKS, PictureFeatures, anchored
from sartor.types import Progress, Requirement, Weights, silent

_DEEP = {"things": 2, "thing-peaks": 2, "late": 2, "part-peaks": 1, "form-peaks": 1}
PROFILES: solve.Profiles = {
    "balanced": (0.5, {**_DEEP, "places": 2}),
    "deep": (0.25, _DEEP),
    "places": (0.1, {"places": 2, "thing-peaks": 1, "form-peaks": 1}),
    "surface": (0.15, {"forms": 2, "textures": 2, "colours": 1}),
}
"""Which blocks a task may need (:mod:`sartor.nn.solve`). Chosen on drawn tasks (LOG.md, 2026-11-25)."""
_ABOVE = {anchored(name): float(weight) for name, weight in {**_DEEP, "places": 2}.items() if name in ANCHORED}
ANCHORED_PROFILES: solve.Profiles = {
    "anchored": (0.25, {**_ABOVE, "form-peaks": 1}),
    "both": (0.25, {**_ABOVE, **_DEEP, "places": 2}),
    **{name: (belief / 2, mix) for name, (belief, mix) in PROFILES.items()},
}
"""Where an anchor stands beside the frozen net: half of the belief goes to profiles that use it."""
RIDGE_TEMPERATURE = 5.0
"""What ridge scores usually need; a few rows cannot say otherwise. Chosen on drawn tasks likewise."""
LOGISTIC_TEMPERATURE = 1.0
OUT_OF_SCOPE_SHARE = 0.05
"""Share of the owner's own pictures, unseen by the head, that the out-of-scope threshold turns away."""


class ImageClassification(LabelFamily[PictureFeatures]):
    """The family ``image-classification``."""

    name: ClassVar[str] = "image-classification"
    summary: ClassVar[str] = "puts a picture under one of your labels, and says when none fits"
    generator: ClassVar[str] = "picture-anchor/1"
    reads: ClassVar[Reads] = "pictures"

    @override
    def base(self, requirement: Requirement, *, progress: Progress = silent) -> PictureBase:
        return load_picture_base(requirement.base, device=requirement.limits.device or "cpu", progress=progress)

    @override
    def encode(
        self, base: PictureBase, requirement: Requirement, inputs: Sequence[str], *, progress: Progress = silent
    ) -> PictureFeatures:
        progress("encode", 0, len(inputs))
        pictures = (decode(source, side=base.side) for source in inputs)
        on_rows = counted(progress, "encode", len(inputs))
        return picture_features.encode_pictures(base.net, pictures, base.side, on_rows=on_rows)

    @override
    def encode_labels(self, base: PictureBase, requirement: Requirement) -> PictureFeatures:
        return picture_features.nothing(base.net, len(requirement.labels))

    @override
    def generate(self, requirement: Requirement, condition: Condition[PictureFeatures], *, seed: int) -> Weights:
        if len(condition.targets) == 0:
            raise TaskError(
                "A model of pictures needs pictures: names of labels alone say nothing of how things look. Give a few "
                "of each label by --examples."
            )
        condition = condition.take(_canonical_order(condition))
        problem = solve.Problem(
            blocks=condition.support.blocks,
            similarity=np.zeros((len(condition.targets), len(requirement.labels))),
            targets=condition.targets,
            n_labels=len(requirement.labels),
            profiles=ANCHORED_PROFILES if set(ANCHORED_BLOCKS) <= set(condition.support.blocks) else PROFILES,
            strengths=(0.0,),
        )
        head, guess = "ridge", RIDGE_TEMPERATURE
        few = len(condition.targets) <= solve.EIGEN_ROWS
        # small matrices on one core: threads that wait for each other cost more than the work
        with threadpoolctl.threadpool_limits(1, user_api="blas") if few else nullcontext():
            solution = solve.solve(problem, seed=seed)
            rival = solve.solve_logistic(problem, solution, seed=seed)
        if rival is not None and _right(rival, condition) > _right(solution, condition):
            solution, head, guess = rival, "logistic", LOGISTIC_TEMPERATURE
        t = solve.temperature(solution.out_of_sample, condition.targets[solution.rows], guess=guess)
        threshold = float(np.quantile((t * solution.out_of_sample).max(axis=1), OUT_OF_SCOPE_SHARE))
        return {
            **{f"{name}.weight": torch.from_numpy(columns).half() for name, columns in solution.weights.items()},
            "bias": torch.from_numpy(solution.bias).float(),
            "temperature": torch.tensor(t, dtype=torch.float32),
            "scope.threshold": torch.tensor(threshold, dtype=torch.float32),
            "head": torch.tensor(_HEADS.index(head), dtype=torch.int32),
        }

    @override
    def predict(self, requirement: Requirement, weights: Weights, features: PictureFeatures) -> Prediction:
        scores_NC = np.tile(weights["bias"].double().numpy(), (len(features), 1))
        for name, columns_DC in _columns(weights):
            scores_NC += features.blocks[name] @ columns_DC
        scores_NC *= float(weights["temperature"])
        # ridge scores of far-away rows fall back to the labels' base rates
        scope_N = scores_NC.max(axis=1, initial=-np.inf)
        abstain_N = scope_N < float(weights["scope.threshold"])
        return Prediction(scipy.special.softmax(scores_NC, axis=1), scope_N, abstain_N)

    @override
    def heat(self, base: PictureBase, requirement: Requirement, weights: Weights, inputs: Sequence[str]) -> FloatArray:
        found: list[FloatArray] = []
        for source in inputs:  # one at a time: maps of many would fill the memory
            squeezed = np.stack([picture_features.squeezed(decode(source, side=base.side), base.side)])
            best = self.predict(requirement, weights, self.encode(base, requirement, [source])).best[0]
            # what speaks for it more than for the mean of all labels
            columns = {
                name: torch.from_numpy(columns_DC[:, best] - columns_DC.mean(axis=1))[None]
                for name, columns_DC in _columns(weights)
            }
            places = picture_evidence.evidence(base.net, squeezed, columns)[0]
            found.append(STRONGEST * places / max(float(np.abs(places).max()), 1e-12))
        return np.stack(found) if found else np.zeros((0, picture_evidence.GRID, picture_evidence.GRID))

    @override
    def head(self, weights: Weights) -> str:
        return _HEADS[int(weights["head"])]

    @override
    def controls(self, requirement: Requirement) -> Sequence[Control[PictureFeatures]]:
        floor = Control("floor", "Sartor without its anchor", without_anchor)
        return (
            *((floor,) if catalogue.picture_base(requirement.base).anchor else ()),
            Control("majority", "Majority class", majority),
            Control("probe", "Logistic regression on the net's last layer", _peer(picture_baselines.probe)),
            Control("prototypes", "Nearest mean of a class in the last layer", _peer(picture_baselines.prototypes)),
            Control("neighbours", "Nearest pictures in the last layer", _peer(picture_baselines.neighbours)),
        )


FAMILY = ImageClassification()
ANCHORED_BLOCKS = tuple(anchored(name) for name in ANCHORED)

_HEADS = ("ridge", "logistic")


def _canonical_order(condition: Condition[PictureFeatures]) -> IntArray:
    """Return an order that the rows alone tell: sums of floats depend on it."""
    blocks = list(condition.support.blocks.values())

    def key(row: int) -> tuple[bytes, ...]:
        return (*(block[row].tobytes() for block in blocks), int(condition.targets[row]).to_bytes(8, "big"))

    return np.array(sorted(range(len(condition.targets)), key=key), dtype=np.int64)


def _columns(weights: Weights) -> Iterator[tuple[str, FloatArray]]:
    for name in (*BLOCKS, *ANCHORED_BLOCKS):
        if f"{name}.weight" in weights:
            yield name, weights[f"{name}.weight"].double().numpy()


def _right(solution: solve.Solution, condition: Condition[PictureFeatures]) -> float:
    """Return the share of rows that a head which had not seen them gets right."""
    return solve.accuracy(solution.out_of_sample, condition.targets[solution.rows])


# --- controls ----------------------------------------------------------------------------------------------

_Condition = Condition[PictureFeatures]


def majority(requirement: Requirement, condition: _Condition, rows: PictureFeatures, seed: int) -> FloatArray:
    """Return the labels' shares (one row added to each) for every row."""
    counts = np.bincount(condition.targets, minlength=len(requirement.labels)) + 1.0
    return np.tile(counts / counts.sum(), (len(rows), 1))


def without_anchor(requirement: Requirement, condition: _Condition, rows: PictureFeatures, seed: int) -> FloatArray:
    """Return the floor's answers: the same head on the frozen net alone."""
    plain = replace(condition, labels=frozen(condition.labels), support=frozen(condition.support))
    weights = FAMILY.generate(requirement, plain, seed=seed)
    return FAMILY.predict(requirement, weights, rows).probabilities


def frozen(features: PictureFeatures) -> PictureFeatures:
    """Return the blocks of the frozen net alone, on which the floor stands."""
    return PictureFeatures({name: features.blocks[name] for name in BLOCKS})


def _peer(
    answer: Callable[[picture_baselines.Rows, IntArray, picture_baselines.Rows, int], FloatArray],
) -> Callable[[Requirement, _Condition, PictureFeatures, int], FloatArray]:
    def answered(requirement: Requirement, condition: _Condition, rows: PictureFeatures, seed: int) -> FloatArray:
        if not len(condition.support) or not len(rows):
            return majority(requirement, condition, rows, seed)
        support, asked = condition.support.blocks["things"], rows.blocks["things"]
        return answer(support, condition.targets, asked, len(requirement.labels))

    return answered
