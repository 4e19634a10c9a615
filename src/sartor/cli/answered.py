"""What a row of answers looks like, in files, in JSON and for a person; documented in docs/contract.md."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import click

from sartor.cli import console
from sartor.types import Progress

if TYPE_CHECKING:
    from sartor.cli.heatmaps import Heatmaps
    from sartor.data.picture_folders import Found
    from sartor.families.interface import Writing
    from sartor.model import Answer, Classifier, Detector, Model, Regressor, Writer

_SHOWN = 3
_PICTURES = 64
"""Pictures that are answered at once; they are answered again where one of them cannot be read."""


class Counts(NamedTuple):
    """What was written."""

    rows: int = 0
    abstained: int = 0
    unread: int = 0
    """Rows that say only why there is no answer."""
    unusual: int = 0

    def plus(self, row: Mapping[str, Any]) -> "Counts":
        """Return the counts with one row more."""
        return Counts(
            self.rows + 1,
            self.abstained + bool(row.get("abstain")),
            self.unread + bool(row.get("error")),
            self.unusual + bool(row.get("unusual")),
        )


class Answered(Protocol):
    """Answers of one kind of model."""

    @property
    def fields(self) -> Sequence[str]:
        """Return the names of what a row holds, where there is no row to tell."""
        ...

    def answer(self, inputs: Sequence[Any], progress: Progress) -> list[dict[str, Any]]:
        """Return a row of output for each input."""
        ...

    def counted(self, counts: Counts) -> dict[str, int]:
        """Return what ``--json`` says of a file of answers."""
        ...

    def told(self, counts: Counts, output: Path) -> str:
        """Say what was written."""
        ...

    def show(self, row: Mapping[str, Any], *, alone: bool) -> None:
        """Print a row for a person."""
        ...


def of_model(model: "Model", writing: "Writing", heat: "Heatmaps | None" = None) -> Answered:
    """Return how a model's answers are shown; ``heat`` takes a map of each picture that is answered."""
    from sartor.model import Classifier, Detector, Regressor, Writer

    if isinstance(model, Writer):
        return Written(model, writing)
    if isinstance(model, Regressor):
        return Foretold(model)
    if isinstance(model, Detector):
        return Suspected(model, heat)
    assert isinstance(model, Classifier), model
    match model.family.reads:
        case "tables":
            return Classed(model)
        case "pictures":
            return Pictured(model, heat)
        case "texts":
            return Labelled(model)


# --- texts -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Labelled:
    """Answers of a model that puts texts under labels."""

    model: "Classifier"
    fields: Sequence[str] = ("text", "label", "confidence", "abstain", "probabilities")

    def answer(self, inputs: Sequence[str], progress: Progress) -> list[dict[str, Any]]:
        """Return a row of output for each text."""
        answers = self.model.answer(inputs, progress=progress)
        return [{"text": text, **_told(answer)} for text, answer in zip(inputs, answers, strict=True)]

    def counted(self, counts: Counts) -> dict[str, int]:
        """Return what ``--json`` says of a file of answers."""
        return {"rows": counts.rows, "abstained": counts.abstained}

    def told(self, counts: Counts, output: Path) -> str:
        """Say what was written."""
        return _told_of(counts, output)

    def show(self, row: Mapping[str, Any], *, alone: bool) -> None:
        """Print a row for a person."""
        if not alone:
            _say_asked(row["text"])
        _say_label(row)


@dataclass(frozen=True, slots=True)
class Written:
    """Answers of a model that writes."""

    model: "Writer"
    writing: "Writing"
    fields: Sequence[str] = ("input", "output")

    def answer(self, inputs: Sequence[str], progress: Progress) -> list[dict[str, Any]]:
        """Return a row of output for each text."""
        answers = self.model.predict(inputs, self.writing, progress=progress)
        return [{"input": text, "output": answer} for text, answer in zip(inputs, answers, strict=True)]

    def counted(self, counts: Counts) -> dict[str, int]:
        """Return what ``--json`` says of a file of answers."""
        return {"rows": counts.rows}

    def told(self, counts: Counts, output: Path) -> str:
        """Say what was written."""
        return f"{counts.rows - counts.unread:,} answers written to {output}."

    def show(self, row: Mapping[str, Any], *, alone: bool) -> None:
        """Print a row for a person."""
        _say_asked(row["input"])
        console.say(click.style(row["output"], bold=True))


# --- pictures ----------------------------------------------------------------------------------------------


class _OfPictures:
    """Answers for pictures; one that cannot be read has a row that says why."""

    fields: Sequence[str]

    def __init__(self, model: "Model", heat: "Heatmaps | None" = None) -> None:
        self._model = model
        self._heat = heat

    def answer(self, inputs: "Sequence[Found]", progress: Progress) -> list[dict[str, Any]]:
        """Return a row of output for each picture."""
        rows: list[dict[str, Any]] = []
        for start in range(0, len(inputs), _PICTURES):
            rows += self._some(inputs[start : start + _PICTURES])
            progress("answer", len(rows), len(inputs))
        return rows

    def _some(self, pictures: "Sequence[Found]") -> list[dict[str, Any]]:
        from sartor.data.pictures import PictureError

        try:
            if any(one.why_not for one in pictures):
                return self._sound(pictures)
            return [self._row(one, answer) for one, answer in zip(pictures, self._answers(pictures), strict=True)]
        except PictureError:  # which ones are broken is asked only where one is
            return self._sound(pictures)

    def _sound(self, pictures: "Sequence[Found]") -> list[dict[str, Any]]:
        from sartor.data.picture_rows import problems

        told = problems(pictures)
        answers = iter(self._answers([one for one, error in zip(pictures, told, strict=True) if not error]))
        return [
            self._unread(one, error) if error else self._row(one, next(answers))
            for one, error in zip(pictures, told, strict=True)
        ]

    def _answers(self, pictures: "Sequence[Found]") -> list[dict[str, Any]]:
        if not pictures:
            return []
        found = self._told([one.path for one in pictures])
        if self._heat is not None:
            self._heat.write(pictures, self._model.heat([one.path for one in pictures]))
        return found

    def _told(self, paths: Sequence[str]) -> list[dict[str, Any]]:
        """Return what is told of each picture."""
        raise NotImplementedError

    def _row(self, picture: "Found", told: Mapping[str, Any]) -> dict[str, Any]:
        return {"image": picture.name, **told, "error": None}

    def _unread(self, picture: "Found", error: str) -> dict[str, Any]:
        return {**dict.fromkeys(self.fields), "image": picture.name, "error": error}


class Pictured(_OfPictures):
    """Answers of a model that puts pictures under labels."""

    fields: Sequence[str] = ("image", "label", "confidence", "abstain", "probabilities", "error")

    def __init__(self, model: "Classifier", heat: "Heatmaps | None" = None) -> None:
        super().__init__(model, heat)
        self._classifier = model

    def _told(self, paths: Sequence[str]) -> list[dict[str, Any]]:
        return [_told(answer) for answer in self._classifier.answer(paths)]

    def counted(self, counts: Counts) -> dict[str, int]:
        """Return what ``--json`` says of a file of answers."""
        return {"rows": counts.rows, "abstained": counts.abstained, "unread": counts.unread}

    def told(self, counts: Counts, output: Path) -> str:
        """Say what was written."""
        return _told_of(counts, output)

    def show(self, row: Mapping[str, Any], *, alone: bool) -> None:
        """Print a row for a person."""
        if row["error"]:
            console.say(row["error"])
            return
        if not alone:
            _say_asked(row["image"])
        _say_label(row)


class Suspected(_OfPictures):
    """Answers of a model that says how unusual a picture is."""

    fields: Sequence[str] = ("image", "score", "threshold", "unusual", "error")

    def __init__(self, model: "Detector", heat: "Heatmaps | None" = None) -> None:
        super().__init__(model, heat)
        self._detector = model

    def _told(self, paths: Sequence[str]) -> list[dict[str, Any]]:
        found = self._detector.judge(paths)
        threshold = round(found.threshold, 4)
        pairs = zip(found.scores.tolist(), found.unusual.tolist(), strict=True)
        return [{"score": round(score, 4), "threshold": threshold, "unusual": unusual} for score, unusual in pairs]

    def counted(self, counts: Counts) -> dict[str, int]:
        """Return what ``--json`` says of a file of answers."""
        return {"rows": counts.rows, "unusual": counts.unusual, "unread": counts.unread}

    def told(self, counts: Counts, output: Path) -> str:
        """Say what was written."""
        return f"{counts.rows:,} answers written to {output}, {counts.unusual:,} of them 'unusual'."

    def show(self, row: Mapping[str, Any], *, alone: bool) -> None:
        """Print a row for a person."""
        if row["error"]:
            console.say(row["error"])
            return
        if not alone:
            _say_asked(row["image"])
        word = click.style("unusual" if row["unusual"] else "usual", bold=True)
        console.say(f"{word}  (score {row['score']:.2f}; above {row['threshold']:.2f} is unusual)")


# --- rows of a table: the columns as they were given, then what is foretold ----------------------------------


@dataclass(frozen=True, slots=True)
class Classed:
    """Answers of a model that foretells classes."""

    model: "Classifier"
    fields: Sequence[str] = ("label", "confidence", "abstain", "probabilities")

    def answer(self, inputs: Sequence[str], progress: Progress) -> list[dict[str, Any]]:
        """Return a row of output for each row, a JSON object."""
        answers = self.model.answer(inputs, progress=progress)
        return [_beside(row, _told(answer)) for row, answer in zip(inputs, answers, strict=True)]

    def counted(self, counts: Counts) -> dict[str, int]:
        """Return what ``--json`` says of a file of answers."""
        return {"rows": counts.rows, "abstained": counts.abstained}

    def told(self, counts: Counts, output: Path) -> str:
        """Say what was written."""
        return _told_of(counts, output)

    def show(self, row: Mapping[str, Any], *, alone: bool) -> None:
        """Print a row for a person."""
        if not alone:
            _say_asked(_shown(row, self.fields))
        _say_label(row)


@dataclass(frozen=True, slots=True)
class Foretold:
    """Answers of a model that foretells values."""

    model: "Regressor"
    fields: Sequence[str] = ("value", "low", "high")

    def answer(self, inputs: Sequence[str], progress: Progress) -> list[dict[str, Any]]:
        """Return a row of output for each row, a JSON object."""
        found = self.model.estimate(inputs, progress=progress)
        three = zip(found.values.tolist(), found.low.tolist(), found.high.tolist(), strict=True)
        return [_beside(row, dict(zip(self.fields, one, strict=True))) for row, one in zip(inputs, three, strict=True)]

    def counted(self, counts: Counts) -> dict[str, int]:
        """Return what ``--json`` says of a file of answers."""
        return {"rows": counts.rows}

    def told(self, counts: Counts, output: Path) -> str:
        """Say what was written."""
        return f"{counts.rows - counts.unread:,} answers written to {output}."

    def show(self, row: Mapping[str, Any], *, alone: bool) -> None:
        """Print a row for a person."""
        if not alone:
            _say_asked(_shown(row, self.fields))
        unit = f" {self.model.requirement.unit}" if self.model.requirement.unit else ""
        value = click.style(f"{row['value']:.6g}{unit}", bold=True)
        console.say(f"{value}  (nine of ten lie between {row['low']:.6g} and {row['high']:.6g})")


def _beside(row: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cells of a row and what is told of it; a column of the same name stays, as ``input: NAME``."""
    cells = json.loads(row)
    return {(f"input: {name}" if name in told else name): cell for name, cell in cells.items()} | dict(told)


def _shown(row: Mapping[str, Any], told: Sequence[str]) -> str:
    return ", ".join(f"{name}={cell}" for name, cell in row.items() if name not in told)


# --- what they share ---------------------------------------------------------------------------------------


def _told(answer: "Answer") -> dict[str, Any]:
    return {
        "label": answer.label,
        "confidence": round(answer.confidence, 6),
        "abstain": answer.abstain,
        "probabilities": {label: round(p, 6) for label, p in answer.probabilities.items()},
    }


def _told_of(counts: Counts, output: Path) -> str:
    return (
        f"{counts.rows - counts.unread:,} answers written to {output}, {counts.abstained:,} of them marked 'abstain'."
    )


def _say_asked(text: str) -> None:
    console.say(f"{text[:76]}{'…' if len(text) > 76 else ''}")


def _say_label(row: Mapping[str, Any]) -> None:
    sure = f"{100 * row['confidence']:.0f}% sure"
    doubt = "; none of the labels may fit" if row["abstain"] else ""
    console.say(f"{click.style(row['label'], bold=True)}  ({sure}{doubt})")
    ranked = sorted(row["probabilities"].items(), key=lambda item: -item[1])[1:_SHOWN]
    if ranked:
        console.say("  then " + ", ".join(f"{label} {100 * p:.0f}%" for label, p in ranked))
