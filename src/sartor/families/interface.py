"""What a family must be able to do. A new family is one new file beside this one, and no other edit.

A family that labels:   base -> encode -> condition -> generate -> predict
A family that writes:   base -> generate -> settle -> answer

An input is a text, or a row of a table as a JSON object (:mod:`sartor.data.records`), or a picture: the absolute path
of its file, or a data URI (:mod:`sartor.data.pictures`).

Where rows are labelled, ``encode`` is the dear part and is done once a row; ``generate`` is one forward pass over what
was encoded, so that the proof can call it again on every fold. Where answers are written, ``generate`` takes the sets
of rows of all folds at once. A family is final: to change one, wrap it.

Dimension key:   N: rows   C: labels
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from sartor.errors import TaskError
from sartor.types import Answerer, BaseRef, Example, Progress, Requirement, Weights, silent

IntArray: TypeAlias = NDArray[np.int64]
FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
Reads: TypeAlias = Literal["texts", "tables", "pictures"]
"""What a family's inputs are."""


class Features(Protocol):
    """Encoded rows. Opaque to everybody but the family that made them."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def take(self, rows: IntArray) -> Self:
        """Return the features of these rows, in this order."""
        ...


class Base(Protocol):
    """A loaded, frozen base."""

    @property
    def ref(self) -> BaseRef:
        """Return what a manifest says of it."""
        ...


NO_BASE = "none"
"""In the place of a base's name: nothing frozen is stood upon."""


@dataclass(frozen=True, slots=True)
class NoBase:
    """Stands where other families have a frozen base: nothing but the rows is read."""

    @property
    def ref(self) -> BaseRef:
        """Return a reference to nothing."""
        return BaseRef(NO_BASE, "", "")


def counted(progress: Progress, stage: str, total: int) -> Callable[[int], None]:
    """Return what is told the rows of each batch, and tells how many are done."""
    done = 0

    def on_rows(rows: int) -> None:
        nonlocal done
        done += rows
        progress(stage, done, total)

    return on_rows


F = TypeVar("F", bound=Features)

STRONGEST = 2.0
"""Of heat in an input where it is on a scale of the input's own (:meth:`Family.heat`)."""
LEAST_UNLABELLED = 10
"""Rows without a label that it takes to read any: what a generator made of fewer would say too much of each."""


@dataclass(frozen=True, slots=True)
class Condition(Generic[F]):
    """The encoded task: all that a generator sees."""

    labels: F
    """Of label names and descriptions, C rows in the requirement's order."""
    support: F
    """Of the labelled rows; may be empty."""
    targets: IntArray
    """(N,) index into the requirement's labels, one for each support row."""
    unlabelled: F | None = None
    """Of rows without a label, at least :data:`LEAST_UNLABELLED` or they are not read; nothing is judged by them."""

    def take(self, rows: IntArray) -> "Condition[F]":
        """Return the same task with these support rows only."""
        return replace(self, support=self.support.take(rows), targets=self.targets[rows])


@dataclass(frozen=True, slots=True)
class Prediction:
    """Answers for N rows."""

    probabilities: FloatArray
    """(N, C), rows sum to one; calibrated."""
    scope: FloatArray
    """(N,) how much a row looks like what the model was made for; larger is more."""
    abstain: BoolArray
    """(N,) true where ``scope`` lies below the model's threshold: none of these, or not sure."""

    @property
    def confidence(self) -> FloatArray:
        """Return (N,) probability of the best label."""
        return self.probabilities.max(axis=1)

    @property
    def best(self) -> IntArray:
        """Return (N,) index of the best label."""
        return self.probabilities.argmax(axis=1)


@dataclass(frozen=True, slots=True)
class Control(Generic[F]):
    """An honest baseline: made from the same rows, judged on the same rows."""

    name: str
    title: str
    answer: Callable[[Requirement, "Condition[F]", F, int], FloatArray]
    """``answer(requirement, condition, features, seed)`` -> (N, C) probabilities for ``features``."""


class Family(ABC):
    """A kind of model that can be generated: one that labels, or one that writes."""

    name: ClassVar[str]
    """As the file's, with hyphens; the ecosystem's pipeline task."""
    summary: ClassVar[str]
    """One line for a person."""
    generator: ClassVar[str]
    """Name and version of what emits the weights, as ``floor/1``."""
    reads: ClassVar[Reads] = "texts"

    @abstractmethod
    def base(self, requirement: Requirement, *, progress: Progress = silent) -> Base:
        """Load the frozen base that the requirement names.

        Raises:
            AssetError: when it cannot be had.
        """

    def own_base(
        self, requirement: Requirement, weights: Weights, files: Mapping[str, bytes], *, progress: Progress = silent
    ) -> Base:
        """Load what a stored model stands on: the frozen base, unless its weights or files bring or change one.

        Args:
            requirement: names the frozen base.
            weights: of the model.
            files: of its bundle, those beside weights, report and card.
            progress: told of what is fetched.

        Raises:
            AssetError: when it cannot be had.
            UserError: when what runs it is not installed.
        """
        return self.base(requirement, progress=progress)

    def brings_base(self, weights: Weights, files: Mapping[str, bytes]) -> bool:
        """Return whether what :meth:`own_base` loads is this model's alone, and must not answer for any other."""
        return False

    @abstractmethod
    def head(self, weights: Weights) -> str:
        """Return the name of what answers, as ``ridge`` or ``generated``."""

    def for_serving(self, base: Any) -> Any:
        """Return the same base, set up for many small requests: answers are the same but for the rounding of sums."""
        return base

    def encodes_alike(self, requirement: Requirement) -> Hashable:
        """Return a key: inputs of models of one base and equal keys may be encoded together. None: never.

        Who answers for many models then runs the base once for all of them.
        """
        return None

    def embeddings(self, features: Any) -> NDArray[Any] | None:
        """Return (N, H) one vector for each encoded input, to see drift by; None where there is no such."""
        return None

    def heat(self, base: Any, requirement: Requirement, weights: Weights, inputs: Sequence[str]) -> FloatArray:
        """Return (N, H, W) where in each input lies what the answer rests on.

        Of a family that labels: what speaks for the answer, or against it where negative; the strongest place of each
        input has :data:`STRONGEST`.
        Of one that tells what is unusual: 0 is usual, 1 the worst that good inputs have, on a scale of logarithms.

        Raises:
            TaskError: where answers rest on no place.
        """
        raise TaskError(f"Models of the family {self.name!r} read no pictures: there is no place to point at.")


# --- families that label -----------------------------------------------------------------------------------


class LabelFamily(Family, Generic[F]):
    """Rows in, one of a list of labels out."""

    @abstractmethod
    def encode(self, base: Any, requirement: Requirement, inputs: Sequence[str], *, progress: Progress = silent) -> F:
        """Encode inputs, one row each, in order."""

    @abstractmethod
    def encode_labels(self, base: Any, requirement: Requirement) -> F:
        """Encode the requirement's labels (names and descriptions), one row each, in order."""

    @abstractmethod
    def generate(self, requirement: Requirement, condition: Condition[F], *, seed: int) -> Weights:
        """Emit the weights of the target. Deterministic; the order of support rows does not matter."""

    @abstractmethod
    def predict(self, requirement: Requirement, weights: Weights, features: F) -> Prediction:
        """Answer for encoded rows with generated weights."""

    @abstractmethod
    def controls(self, requirement: Requirement) -> Sequence[Control[F]]:
        """Return the baselines this family must be shown beside."""


# --- families that foretell values -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Estimate:
    """Values for N rows."""

    values: FloatArray
    """(N,) in the target's unit."""
    low: FloatArray
    """(N,) the right value lies below this in about one of twenty rows,"""
    high: FloatArray
    """(N,) and above this in another."""


@dataclass(frozen=True, slots=True)
class NumberControl(Generic[F]):
    """An honest baseline: made from the same rows, judged on the same rows."""

    name: str
    title: str
    answer: Callable[[Requirement, F, FloatArray, F, int], FloatArray]
    """``answer(requirement, support, values, features, seed)`` -> (N,) values for ``features``."""


class NumberFamily(Family, Generic[F]):
    """Rows in, one value out, with an interval."""

    @abstractmethod
    def encode(self, base: Any, requirement: Requirement, inputs: Sequence[str], *, progress: Progress = silent) -> F:
        """Encode inputs, one row each, in order."""

    @abstractmethod
    def generate(self, requirement: Requirement, support: F, values: FloatArray, *, seed: int) -> Weights:
        """Emit the weights of the target from rows and their (N,) values. Deterministic."""

    @abstractmethod
    def predict(self, requirement: Requirement, weights: Weights, features: F) -> Estimate:
        """Answer for encoded rows with generated weights."""

    @abstractmethod
    def controls(self, requirement: Requirement) -> Sequence[NumberControl[F]]:
        """Return the baselines this family must be shown beside."""


# --- families that tell what is unusual ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unusualness:
    """How unusual N inputs are."""

    scores: FloatArray
    """(N,) larger is more unusual."""
    threshold: float
    """Above it an input is unusual."""

    @property
    def unusual(self) -> BoolArray:
        """Return (N,) whether each is."""
        return self.scores > self.threshold


@dataclass(frozen=True, slots=True)
class Planted:
    """Inputs that something was done to, by rule: a stand-in for what is bad, where nobody has a bad one."""

    kind: str
    title: str
    inputs: Sequence[str]
    """One for each input that was given, in order."""


@dataclass(frozen=True, slots=True)
class UnusualControl(Generic[F]):
    """An honest baseline: made from the same rows, judged on the same rows."""

    name: str
    title: str
    answer: Callable[[Requirement, F, F, int], FloatArray]
    """``answer(requirement, support, features, seed)`` -> (N,) scores for ``features``, larger is more unusual."""


class UnusualFamily(Family, Generic[F]):
    """Good inputs alone in, how unusual another one is out."""

    least: ClassVar[int]
    """Good inputs that it takes."""
    false_alarms: ClassVar[float]
    """Share of good inputs that may be called unusual."""

    @abstractmethod
    def encode(self, base: Any, requirement: Requirement, inputs: Sequence[str], *, progress: Progress = silent) -> F:
        """Encode inputs, one row each, in order."""

    @abstractmethod
    def generate(self, requirement: Requirement, support: F, groups: IntArray, *, seed: int) -> Weights:
        """Emit the weights of the target from good rows. Deterministic; their order does not matter.

        The threshold is such that a good row that is not among them lies above it in :attr:`false_alarms` of cases.

        Args:
            requirement: what is generated.
            support: N good rows.
            groups: (N,) rows of one group (the same look) are left out together.
            seed: of whatever is drawn.

        Raises:
            TaskError: when there are fewer than :attr:`least`.
        """

    @abstractmethod
    def predict(self, requirement: Requirement, weights: Weights, features: F) -> Unusualness:
        """Answer for encoded rows with generated weights."""

    @abstractmethod
    def plant(self, base: Any, inputs: Sequence[str], *, seed: int) -> Sequence[Planted]:
        """Return copies of inputs that something was done to, by rule, a list for each kind."""

    @abstractmethod
    def controls(self, requirement: Requirement) -> Sequence[UnusualControl[F]]:
        """Return the baselines this family must be shown beside."""


# --- families that write -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Writing:
    """How answers are written."""

    max_new_tokens: int = 64
    """Where an answer ends that does not stop."""
    temperature: float = 0.0
    """0 takes the likeliest token each time."""
    seed: int = 0
    """Of draws at a temperature above 0."""


@dataclass(frozen=True, slots=True)
class WritingTask:
    """What one of many targets is generated from."""

    requirement: Requirement
    support: Sequence[Example] = ()
    """Labelled rows."""
    prompts: Sequence[str] = ()
    """Inputs without answers."""


@dataclass(frozen=True, slots=True)
class WritingControl:
    """Another way to answer, by the same base and from the same rows, without generated weights."""

    name: str
    title: str
    asked: Callable[[Requirement, Sequence[Example], str], str]
    """``asked(requirement, support, text)`` -> what the base reads instead of ``text``."""
    needs_rows: bool = False
    """Whether it shows the base labelled rows."""


class WritingFamily(Family):
    """Text in, text out."""

    @abstractmethod
    def generate(
        self,
        base: Any,
        requirement: Requirement,
        supports: Sequence[Sequence[Example]],
        prompts: Sequence[str] = (),
        *,
        progress: Progress = silent,
    ) -> list[Weights]:
        """Emit the weights of one target for each set of labelled rows, at dial 1.

        Where a set is empty, the dial and who answers are what was found best for words alone.

        Deterministic; the order of rows in a set does not matter.

        Args:
            base: as :meth:`base` gave it.
            requirement: with the description.
            supports: sets of labelled rows; an empty one leaves the description and the prompts.
            prompts: inputs without answers.
            progress: told of the sets.
        """

    def generate_each(self, base: Any, tasks: Sequence[WritingTask]) -> Iterator[list[tuple[int, Weights]]]:
        """Yield the targets of many tasks, batch by batch: a task's number and its weights, as of :meth:`generate`.

        All come once, in whatever order is the fastest. A batch may round sums otherwise than a task alone.
        """
        for number, task in enumerate(tasks):
            [weights] = self.generate(base, task.requirement, [task.support], task.prompts)
            yield [(number, weights)]

    def cut_rows(self, base: Any, rows: Sequence[Example]) -> int:
        """Return how many labelled rows are longer than what is read of one."""
        return 0

    def cut_inputs(self, base: Any, inputs: Sequence[str], writing: Writing) -> int:
        """Return how many inputs are longer than what is read of one."""
        return 0

    @abstractmethod
    def settle(self, weights: Weights, answerer: Answerer, dial: float = 1.0) -> Weights:
        """Return the same weights with another answerer, or another share of what was generated."""

    @abstractmethod
    def settled(self, weights: Weights) -> tuple[Answerer, float]:
        """Return who answers, and the share of what was generated."""

    @abstractmethod
    def losses(self, base: Any, arms: Sequence[Weights | None], rows: Sequence[Example]) -> FloatArray:
        """Return (A, N) the mean cross-entropy (nats a token) of each row's answer under each of A weights.

        None is the plain base.
        """

    @abstractmethod
    def answer(
        self,
        base: Any,
        weights: Weights | None,
        inputs: Sequence[str],
        writing: Writing,
        *,
        progress: Progress = silent,
    ) -> list[str]:
        """Return one answer for each input, in order; None is the plain base.

        Raises:
            BundleError: when the weights do not fit the base or are broken; the plain base never answers for them.
        """

    def answer_mixed(
        self,
        base: Any,
        asked: Sequence[tuple[Weights, str]],
        writing: Writing,
        *,
        progress: Progress = silent,
    ) -> list[str]:
        """Return one answer for each pair of weights and input, in order, as :meth:`answer` gives it.

        Rows that share weights are best given the same object. Draws follow the seed as in :meth:`answer`.

        Raises:
            BundleError: when weights do not fit the base or are broken.
        """
        answers: list[str] = []
        for at, (weights, text) in enumerate(asked):
            answers += self.answer(base, weights, [text], replace(writing, seed=writing.seed + at))
            progress("answer", at + 1, len(asked))
        return answers

    def stream(self, base: Any, weights: Weights, text: str, writing: Writing) -> Iterator[str]:
        """Yield the pieces of one answer as they are written; together they are what :meth:`answer` gives."""
        yield from self.answer(base, weights, [text], writing)

    @abstractmethod
    def controls(self, requirement: Requirement) -> Sequence[WritingControl]:
        """Return the ways to ask the plain base that this family must be shown beside."""
