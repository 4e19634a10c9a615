"""What a row of answers looks like, in files, in JSON and for a person; documented in docs/contract.md."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from sartor.cli import console
from sartor.types import Progress

if TYPE_CHECKING:
    from sartor.families.interface import Writing
    from sartor.model import Answer, Classifier, Model, Regressor, Writer

_SHOWN = 3


class Answered(Protocol):
    """Answers of one kind of model."""

    @property
    def fields(self) -> Sequence[str]:
        """Return the names of what a row holds, where there is no row to tell."""
        ...

    def answer(self, inputs: Sequence[Any], progress: Progress) -> list[dict[str, Any]]:
        """Return a row of output for each input."""
        ...

    def counted(self, rows: int, abstained: int) -> dict[str, int]:
        """Return what ``--json`` says of a file of answers."""
        ...

    def told(self, rows: int, abstained: int, output: Path) -> str:
        """Say what was written."""
        ...

    def show(self, row: Mapping[str, Any], *, alone: bool) -> None:
        """Print a row for a person."""
        ...


def of_model(model: "Model", writing: "Writing") -> Answered:
    """Return how a model's answers are shown."""
    from sartor.model import Classifier, Regressor, Writer

    if isinstance(model, Writer):
        return Written(model, writing)
    if isinstance(model, Regressor):
        return Foretold(model)
    assert isinstance(model, Classifier), model
    return Classed(model) if model.family.reads == "tables" else Labelled(model)


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

    def counted(self, rows: int, abstained: int) -> dict[str, int]:
        """Return what ``--json`` says of a file of answers."""
        return {"rows": rows, "abstained": abstained}

    def told(self, rows: int, abstained: int, output: Path) -> str:
        """Say what was written."""
        return f"{rows:,} answers written to {output}, {abstained:,} of them marked 'abstain'."

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

    def counted(self, rows: int, abstained: int) -> dict[str, int]:
        """Return what ``--json`` says of a file of answers."""
        return {"rows": rows}

    def told(self, rows: int, abstained: int, output: Path) -> str:
        """Say what was written."""
        return f"{rows:,} answers written to {output}."

    def show(self, row: Mapping[str, Any], *, alone: bool) -> None:
        """Print a row for a person."""
        _say_asked(row["input"])
        console.say(click.style(row["output"], bold=True))


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

    def counted(self, rows: int, abstained: int) -> dict[str, int]:
        """Return what ``--json`` says of a file of answers."""
        return {"rows": rows, "abstained": abstained}

    def told(self, rows: int, abstained: int, output: Path) -> str:
        """Say what was written."""
        return f"{rows:,} answers written to {output}, {abstained:,} of them marked 'abstain'."

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

    def counted(self, rows: int, abstained: int) -> dict[str, int]:
        """Return what ``--json`` says of a file of answers."""
        return {"rows": rows}

    def told(self, rows: int, abstained: int, output: Path) -> str:
        """Say what was written."""
        return f"{rows:,} answers written to {output}."

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


def _say_asked(text: str) -> None:
    console.say(f"{text[:76]}{'…' if len(text) > 76 else ''}")


def _say_label(row: Mapping[str, Any]) -> None:
    sure = f"{100 * row['confidence']:.0f}% sure"
    doubt = "; none of the labels may fit" if row["abstain"] else ""
    console.say(f"{click.style(row['label'], bold=True)}  ({sure}{doubt})")
    ranked = sorted(row["probabilities"].items(), key=lambda item: -item[1])[1:_SHOWN]
    if ranked:
        console.say("  then " + ", ".join(f"{label} {100 * p:.0f}%" for label, p in ranked))
