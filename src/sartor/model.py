"""A generated model in the hand: ask it, score it, save it, load it.

A model is its manifest, its report and its weights; the frozen base is loaded when the first question comes.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from typing_extensions import override

from sartor import families, settings
from sartor.data import picture_rows, records
from sartor.errors import BundleError, DataError
from sartor.families.interface import (
    Base,
    Estimate,
    Family,
    LabelFamily,
    NumberFamily,
    Prediction,
    UnusualFamily,
    Unusualness,
    Writing,
    WritingFamily,
)
from sartor.registry import bundle, store
from sartor.registry.card import model_card
from sartor.types import Manifest, Progress, Report, Requirement, Weights, from_json, silent, to_json

Inputs: TypeAlias = Sequence[str] | Sequence[Path] | Sequence[Mapping[str, Any]] | records.Frame
"""Texts; or paths of pictures; or, for a model of a table, its rows: a DataFrame, dicts, or JSON objects as text."""
WEIGHTS, REPORT, CARD = "model.safetensors", "report.json", "README.md"
_OF_EVERY_MODEL = (WEIGHTS, REPORT, CARD, bundle.MANIFEST)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a classifier says of one text."""

    label: str
    """The best known label, verbatim as the owner wrote it; also where the model abstains."""
    confidence: float
    """Calibrated probability that ``label`` is right, if one of the labels is."""
    probabilities: Mapping[str, float]
    abstain: bool
    """True: none of these, or not sure."""


class Model:
    """A generated model. It is a value: nothing that is done with it changes it."""

    def __init__(
        self,
        manifest: Manifest,
        report: Report,
        weights: Weights,
        base: Base | None = None,
        own_files: Mapping[str, bytes] | None = None,
    ) -> None:
        self.manifest = manifest
        self.report = report
        self.weights = weights
        self.own_files = own_files or {}
        """What a bundle holds besides: an encoder of its own, for one."""
        self._given_base = base

    @property
    def id(self) -> str:
        """Return the content hash that names this model; "" before it was stored or saved."""
        return self.manifest.id

    @property
    def requirement(self) -> Requirement:
        """Return what was to be made, and why."""
        return self.manifest.requirement

    @functools.cached_property
    def family(self) -> Family:
        """Return the family that this model is of."""
        return families.load(self.manifest.family)

    @functools.cached_property
    def base(self) -> Base:
        """Return the frozen base, loaded now if it was not.

        Raises:
            AssetError: when it cannot be had.
            BundleError: when it is not the one that this model was made on.
        """
        base = self._given_base or self.family.own_base(self.requirement, self.weights, self.own_files)
        made_on = self.manifest.base
        if base.ref.sha256 != made_on.sha256:
            raise BundleError(
                f"This model was made on the base {made_on.name} {made_on.sha256[:12]}, but here {base.ref.name} is "
                f"{base.ref.sha256[:12]}: its answers would be noise. Generate it again, or update Sartor."
            )
        return base

    def predict(self, inputs: Inputs) -> Any:
        """Return one answer for each input, in order: a label, a value, or a text."""
        raise NotImplementedError

    def heat(self, inputs: Inputs) -> NDArray[np.float64]:
        """Return (N, H, W) where in each picture lies what the answer rests on (:meth:`Family.heat`).

        Raises:
            TaskError: where the model reads no pictures.
        """
        return self.family.heat(self.base, self.requirement, self.weights, self.several(inputs))

    def several(self, inputs: Inputs) -> list[str]:
        """Return inputs as the family reads them.

        Raises:
            DataError: when they are one input, not several.
        """
        if self.family.reads == "tables":
            rows: Any = inputs
            return records.inputs_of(rows)
        if self.family.reads == "pictures":
            if isinstance(inputs, str | Path):
                raise DataError("Give a list of pictures, not one: model.predict([path]).")
            return [picture_rows.as_source(picture) for picture in inputs]
        if isinstance(inputs, str):  # a str is a sequence of str, and would be answered letter by letter
            raise DataError("Give a list of texts, not one text: model.predict([text]).")
        return [str(text) for text in inputs]

    def files(self) -> dict[str, bytes]:
        """Return the bundle's files but for the manifest: weights, report and model card."""
        return {
            **self.own_files,
            WEIGHTS: save_tensors({name: tensor.contiguous() for name, tensor in self.weights.items()}),
            REPORT: msgspec.json.format(msgspec.json.encode(to_json(self.report)), indent=2),
            CARD: model_card(self.manifest, self.report).encode(),
        }

    def save(self, folder: str | Path) -> Path:
        """Write the bundle to ``folder``, which must not exist; return it.

        Raises:
            StorageError: when it exists or cannot be written.
        """
        _, sealed = bundle.seal(self.manifest, self.files())
        bundle.write(Path(folder), sealed)
        return Path(folder)

    def __repr__(self) -> str:
        return f"<sartor model {self.manifest.name!r} {self.id or '(not stored)'}: {self.report.headline}>"


class Classifier(Model):
    """A model that puts texts under labels, or rows of a table under classes."""

    @functools.cached_property
    @override
    def family(self) -> LabelFamily[Any]:
        return families.load_label(self.manifest.family)

    @property
    def classes_(self) -> NDArray[np.str_]:
        """Return the labels, in the order of the columns of :meth:`predict_proba`."""
        return np.array([label.name for label in self.requirement.labels], dtype=np.str_)

    def answer(self, inputs: Inputs, *, progress: Progress = silent) -> list[Answer]:
        """Return one answer for each input, in order."""
        prediction = self.prediction(inputs, progress=progress)
        names = [label.name for label in self.requirement.labels]
        # plain lists first: a million answers are made in seconds, not minutes
        rows: list[list[float]] = prediction.probabilities.tolist()
        best: list[int] = prediction.best.tolist()
        abstain: list[bool] = prediction.abstain.tolist()
        return [
            Answer(names[at], row[at], dict(zip(names, row, strict=True)), none)
            for row, at, none in zip(rows, best, abstain, strict=True)
        ]

    def prediction(self, inputs: Inputs, *, progress: Progress = silent) -> Prediction:
        """Return the arrays behind :meth:`answer`."""
        inputs = self.several(inputs)
        return self.told(inputs, self.family.encode(self.base, self.requirement, inputs, progress=progress))

    def told(self, inputs: Sequence[str], features: Any) -> Prediction:
        """Return the answers for inputs that the family has encoded, perhaps with those of other models."""
        prediction = self.family.predict(self.requirement, self.weights, features)
        # nothing was asked, so nothing is known; the best guess still stands in the row
        blank = np.array([not text.strip() for text in inputs], dtype=np.bool_)
        return replace(prediction, abstain=prediction.abstain | blank)

    @override
    def predict(self, inputs: Inputs) -> NDArray[np.str_]:
        """Return (N,) the best label of each input."""
        return self.classes_[self.prediction(inputs).best]

    def predict_proba(self, inputs: Inputs) -> NDArray[np.float64]:
        """Return (N, C) calibrated probabilities, columns as in ``classes_``."""
        return self.prediction(inputs).probabilities

    def score(self, inputs: Inputs, labels: Iterable[str]) -> float:
        """Return the share of ``inputs`` whose best label is the right one."""
        return float(np.mean(np.equal(self.predict(inputs), np.array(list(labels), dtype=np.str_))))


class Regressor(Model):
    """A model that foretells a value for each row of a table."""

    @functools.cached_property
    @override
    def family(self) -> NumberFamily[Any]:
        return families.load_number(self.manifest.family)

    def estimate(self, inputs: Inputs, *, progress: Progress = silent) -> Estimate:
        """Return values and intervals for inputs, in order."""
        features = self.family.encode(self.base, self.requirement, self.several(inputs), progress=progress)
        return self.family.predict(self.requirement, self.weights, features)

    @override
    def predict(self, inputs: Inputs) -> NDArray[np.float64]:
        """Return (N,) the value of each input, in the target's unit."""
        return self.estimate(inputs).values

    def predict_interval(self, inputs: Inputs) -> NDArray[np.float64]:
        """Return (N, 2) between which the right value lies in nine of ten rows."""
        found = self.estimate(inputs)
        return np.stack([found.low, found.high], axis=1)

    def score(self, inputs: Inputs, values: Iterable[float]) -> float:
        """Return the share of the values' variance that is told (R2)."""
        right = np.array(list(values), dtype=np.float64)
        total = ((right - right.mean()) ** 2).sum()
        return float(1 - ((self.predict(inputs) - right) ** 2).sum() / total)


class Detector(Model):
    """A model that says how unusual a picture is beside good ones."""

    @functools.cached_property
    @override
    def family(self) -> UnusualFamily[Any]:
        return families.load_unusual(self.manifest.family)

    def judge(self, inputs: Inputs, *, progress: Progress = silent) -> Unusualness:
        """Return scores and the threshold above which an input is unusual, inputs in order."""
        features = self.family.encode(self.base, self.requirement, self.several(inputs), progress=progress)
        return self.family.predict(self.requirement, self.weights, features)

    @override
    def predict(self, inputs: Inputs) -> NDArray[np.bool_]:
        """Return (N,) whether each input is unusual."""
        return self.judge(inputs).unusual


class Writer(Model):
    """A model that writes texts."""

    @functools.cached_property
    @override
    def family(self) -> WritingFamily:
        return families.load_writing(self.manifest.family)

    def dialled(self, dial: float) -> "Writer":
        """Return the same model that answers with so much of what was generated, whoever answered before.

        0 is the anchor alone, one adapter for all tasks; 1 is what was made.

        Raises:
            TaskError: when there is no such dial.
        """
        weights = self.family.settle(self.weights, "generated", dial)
        return Writer(self.manifest, self.report, weights, self._given_base)

    @override
    def predict(self, inputs: Inputs, writing: Writing | None = None, *, progress: Progress = silent) -> list[str]:
        """Return one text for each input, in order.

        Raises:
            BundleError: when the weights do not fit the base; the plain base never answers for them.
        """
        writing = writing or Writing()
        return self.family.answer(self.base, self.weights, self.several(inputs), writing, progress=progress)

    def cut(self, inputs: Inputs, writing: Writing | None = None) -> int:
        """Return how many of the inputs are too long to be read to their end."""
        return self.family.cut_inputs(self.base, self.several(inputs), writing or Writing())

    def stream(self, text: str, writing: Writing | None = None) -> Iterator[str]:
        """Yield the pieces of one answer as they are written."""
        return self.family.stream(self.base, self.weights, text, writing or Writing())


def of_manifest(
    manifest: Manifest,
    report: Report,
    weights: Weights,
    base: Base | None = None,
    own_files: Mapping[str, bytes] | None = None,
) -> Model:
    """Return the model of a manifest's family."""
    match families.load(manifest.family):
        case WritingFamily():
            kind = Writer
        case NumberFamily():
            kind = Regressor
        case UnusualFamily():
            kind = Detector
        case _:
            kind = Classifier
    return kind(manifest, report, weights, base, own_files)


def load(ref: str | Path) -> Model:
    """Return the model in a folder, or the one in the store that ``ref`` names (id, name, name@alias, name@v3).

    Raises:
        NotFoundError: when there is none.
        BundleError: when it is damaged, foreign or too new.
    """
    folder = store.resolve(str(ref), settings.current().home)
    manifest, files = bundle.load(folder)
    try:
        report = from_json(msgspec.json.decode(files[REPORT]), Report)
    except (KeyError, msgspec.MsgspecError) as error:
        raise BundleError(f"The bundle in {str(folder)!r} has no readable {REPORT} ({error}).") from error
    own_files = {name: data for name, data in files.items() if name not in _OF_EVERY_MODEL}
    return of_manifest(manifest, report, load_tensors(files[WEIGHTS]), own_files=own_files)
