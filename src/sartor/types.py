"""The values that travel between stages. All are frozen; none knows how it is made.

    Task + Rows -> Requirement -> Weights -> Report -> Manifest

They are plain dataclasses, so that ``msgspec`` can read, check and write every one of them as JSON
(:func:`to_json`, :func:`from_json`) and print their JSON Schema. This module imports neither torch nor numpy.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import msgspec

if TYPE_CHECKING:
    from torch import Tensor

    Weights: TypeAlias = Mapping[str, Tensor]
else:
    Weights: TypeAlias = Mapping[str, Any]
"""A generated model: parameter name -> tensor. A value, never a mutated module."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""``progress(stage, done, total)``: how far a stage is. ``total`` is 0 when it is not known."""

_T = TypeVar("_T")

REPORT_SCHEMA = 1
"""Version of :class:`Report`. Fields may be added within a version, never changed or removed."""
BUNDLE_FORMAT = 1
"""Version of the stored bundle (:class:`Manifest` and the files beside it)."""


def silent(stage: str, done: int, total: int) -> None:
    """Report no progress."""


# --- what the user gives -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a file hold what. ``None`` means: find them by their usual names."""

    input: str | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the model must keep to. ``None`` means no limit."""

    max_latency_ms: float | None = None
    """p95 for one input on this machine, in milliseconds."""
    max_memory_mb: float | None = None
    """Peak resident memory while answering, in MB (1e6 bytes)."""
    min_accuracy: float | None = None
    """Lowest cross-validated accuracy, 0..1, that is good enough."""
    device: str | None = None
    """``cpu`` or ``cuda``; None takes the CPU."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the user wants, in their words."""

    description: str = ""
    name: str | None = None
    kind: str | None = None
    """A family's name, as ``text-classification``; None lets the requirement stage find it."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """label -> description ("" where there is none), in the user's order; empty when the rows shall tell."""
    language: str | None = None
    """ISO 639-1 code; None detects it."""
    columns: Columns = field(default_factory=Columns)
    examples: str | None = None
    """Path of the labelled rows."""
    unlabelled: str | None = None
    """Path of rows without labels."""
    target: str | None = None
    """The column to foretell: makes the rows a table, all other columns are told from. Rows of text have none."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Example:
    """One row: what goes in and, when known, what should come out."""

    input: str
    output: str | None = None


ColumnKind: TypeAlias = Literal["number", "boolean", "category", "date", "text", "ignored"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, as it was understood from the rows a model is made from."""

    name: str
    kind: ColumnKind
    levels: tuple[str, ...] = ()
    """Of a category or boolean, most frequent first. Only levels that at least two rows carry are named, so that no
    row can be read from a model."""
    unit: str = ""
    """Stripped from the cells."""
    decimal: str = "."
    """``.`` or ``,``"""
    formats: tuple[str, ...] = ()
    """Of a date."""
    why: str = ""
    """Why it is ignored."""


NoteLevel: TypeAlias = Literal["info", "warning"]


@dataclass(frozen=True, slots=True)
class Note:
    """One line of why, for a person."""

    topic: str
    """A short key: ``language``, ``labels``, ``encoding``, ``dropped`` …"""
    text: str
    level: NoteLevel = "info"
    quotes: bool = False
    """True when ``text`` quotes the user's rows: shown, never stored."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as read, with what was noticed on the way. ``sha256`` names them: same rows, same hash."""

    examples: Sequence[Example]
    notes: tuple[Note, ...] = ()
    sha256: str = ""
    source: str = ""
    """The file's name, or "" for rows given in Python."""
    target: str = ""
    """Name of the column that the outputs stood in, where rows are those of a table (:mod:`sartor.data.records`)."""
    pictures: bool = False
    """Whether inputs are paths of pictures (:mod:`sartor.data.picture_rows`)."""


# --- what we understood ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Label:
    """A label verbatim as the user wrote it, its description, and how many rows carry it."""

    name: str
    description: str = ""
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Requirement:
    """What has to be made, and why we think so."""

    family: str
    name: str
    description: str
    labels: tuple[Label, ...]
    language: str
    base: str
    """Name of a base in the assets' catalogue."""
    max_tokens: int
    """Longer inputs are cut here."""
    limits: Limits = field(default_factory=Limits)
    notes: tuple[Note, ...] = ()
    columns: tuple[Column, ...] = ()
    """Of a table, but for its target."""
    target: str = ""
    """Name of the column that is foretold."""
    unit: str = ""
    """Of a number that is foretold, as the rows write it."""


# --- what was proved ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Metric:
    """A value in 0..1 (or a difference in -1..1) with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Scores:
    """Quality on ``n`` rows that the scored model had not seen."""

    n: int
    accuracy: Metric
    balanced_accuracy: Metric
    macro_f1: Metric
    log_loss: float
    ece: float
    """Expected calibration error over 10 equal-mass bins, 0..1."""


Verdict: TypeAlias = Literal["better", "worse", "tie"]


@dataclass(frozen=True, slots=True)
class Paired:
    """The model against a baseline on the same rows. Positive differences favour the model."""

    difference: Metric
    """Accuracy of the model minus that of the baseline."""
    wins: int
    """Rows that only the model has right."""
    losses: int
    """Rows that only the baseline has right."""
    p_value: float
    """Exact two-sided McNemar test."""
    verdict: Verdict
    """``better`` or ``worse`` when p < .05, else ``tie``."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A control: what it is, how it scored, how the model compares."""

    name: str
    title: str
    scores: Scores
    paired: Paired


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Quality for one label."""

    label: str
    rows: int
    precision: float
    recall: Metric
    f1: float
    most_confused_with: str | None = None


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Rows of similar confidence: what was claimed and what came true."""

    confidence: float
    accuracy: float
    rows: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many answers can be taken unread if they must be right this often."""

    precision: float
    """The promise: .95 or .99."""
    promised: bool
    threshold: float | None
    """Take answers with at least this confidence; None when nothing can be promised."""
    coverage: float
    """Share of rows answered at that threshold, 0..1."""
    accepted: int
    """Rows the promise rests on."""
    errors: int
    needed: int
    """Accepted rows without an error that a promise takes at least (59 for .95, 299 for .99)."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What an answer costs on this machine."""

    latency_p50_ms: float
    latency_p95_ms: float
    """One text at a time, base loaded, tokenising included."""
    texts_per_second: float
    """In bulk."""
    peak_memory_mb: float
    """Largest resident size of this process so far, base included."""
    size_bytes: int
    """Of the bundle's files; the base is shared and not counted."""
    n_parameters: int
    machine: str


@dataclass(frozen=True, slots=True)
class Protocol:
    """How the figures came about."""

    kind: Literal["cross-validation", "holdout", "test-file", "none"]
    folds: int
    rows: int
    seed: int
    text: str
    """One sentence for a person."""


@dataclass(frozen=True, slots=True)
class WrittenScores:
    """Quality of ``n`` written answers to rows that the scored model had not seen."""

    n: int
    exact_match: Metric
    """Share of answers that are the right one but for case, outer punctuation and spaces."""
    token_f1: Metric
    """Words in common with the right answer."""
    rouge_l: Metric
    chrf: Metric
    label_accuracy: Metric | None = None
    """Where right answers are few and repeat, as labels do."""
    cross_entropy: float | None = None
    """Of the right answers, nats a token; mean over rows."""


@dataclass(frozen=True, slots=True)
class WrittenBaseline:
    """Another way to answer the same rows: what it is, how it scored, how the model compares."""

    name: str
    title: str
    scores: WrittenScores
    paired: Paired
    """Exact matches of the model minus those of the baseline."""
    token_f1: Metric
    """Mean difference, -1..1."""


@dataclass(frozen=True, slots=True)
class DialPoint:
    """How well right answers are foretold with so much of the generated part."""

    dial: float
    cross_entropy: float
    """Nats a token on rows that the part was generated without; mean over rows."""


Answerer: TypeAlias = Literal["generated", "anchor", "base"]
"""Who answers: the generated adapter with the anchor, the anchor alone (one adapter for all tasks), the plain base."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was found of a model that writes."""

    answerer: Answerer
    """Whose answers are given from now on."""
    why: str
    """One sentence for a person."""
    dial: float
    """How much of the generated part is used; 1 is what was trained."""
    scores: WrittenScores | None = None
    """Of the chosen answerer, chosen anew in each fold without its rows; None when nothing could be measured."""
    baselines: tuple[WrittenBaseline, ...] = ()
    sweep: tuple[DialPoint, ...] = ()
    """Empty below 8 rows."""


@dataclass(frozen=True, slots=True)
class NumberScores:
    """Quality of ``n`` foretold values of rows that the scored model had not seen."""

    n: int
    r2: Metric
    """Share of the values' variance that is told; below 0 for worse than their mean."""
    rmse: float
    """Root of the mean squared error, in the target's unit."""
    mae: float
    """Mean absolute error, in the target's unit."""


@dataclass(frozen=True, slots=True)
class NumberBaseline:
    """Another way to foretell the same rows: what it is, how it scored, how the model compares."""

    name: str
    title: str
    scores: NumberScores
    difference: Metric
    """R2 of the model minus that of the baseline."""
    p_value: float
    """Two-sided, by swapping the two ways' squared errors of a row at random."""
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Numbers:
    """What was found of a model that foretells values."""

    scores: NumberScores
    baselines: tuple[NumberBaseline, ...] = ()
    nominal: float = 0.9
    """How often an interval shall hold the right value."""
    covered: Metric | None = None
    """How often it did."""
    width: float = 0.0
    """Mean width of an interval, in the target's unit."""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class UnusualScores:
    """How well ``n_bad`` bad inputs are told from ``n_good`` good ones; the scored model had seen neither."""

    n_good: int
    n_bad: int
    auroc: Metric
    """The chance that a bad one scores higher than a good one."""
    average_precision: Metric
    found: Metric
    """Share of bad ones that the threshold finds."""


@dataclass(frozen=True, slots=True)
class Found:
    """One kind of defect, or of bad inputs, and how many of them were found."""

    kind: str
    title: str
    n: int
    found: Metric
    """Share above the threshold."""
    auroc: Metric
    """Against the good ones that were not looked at before."""


@dataclass(frozen=True, slots=True)
class UnusualBaseline:
    """Another way to score the same inputs: how well it tells bad from good, and how the model compares."""

    name: str
    title: str
    auroc: Metric
    difference: Metric
    """AUROC of the model minus that of the baseline."""
    p_value: float
    """Two-sided, by swapping the two ways' ranks of an input (with all that was planted on it) at random."""
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Unusual:
    """What was found of a model that says how unusual an input is."""

    wanted: float
    """Share of good inputs that may be called unusual."""
    promised: float
    """The least such share that so many good inputs can vouch for: ``wanted``, or 1 / (n + 1) where that is more."""
    threshold: float
    """Scores above it are unusual."""
    false_alarms: Metric | None = None
    """Share of good inputs that were called unusual by a model that had not seen them."""
    planted: tuple[Found, ...] = ()
    """Artificial defects, painted by rule on good inputs that the model had not seen."""
    scores: UnusualScores | None = None
    """Of real bad inputs, where there were any."""
    kinds: tuple[Found, ...] = ()
    """The same by their label."""
    auroc: Metric | None = None
    """On the real bad inputs, or where there were none on the planted ones,"""
    baselines: tuple[UnusualBaseline, ...] = ()
    """and those of the baselines."""


@dataclass(frozen=True, slots=True)
class Report:
    """The proof of one model. ``schema`` is its version; later commands read it."""

    schema: int
    headline: str
    """First line: what a person must know; names the baseline that won, if one did."""
    proved: bool
    protocol: Protocol
    scores: Scores | None
    baselines: tuple[Baseline, ...] = ()
    classes: tuple[ClassScores, ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    cost: Cost | None = None
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    """Wall-clock of ``load``, ``encode``, ``generate``, ``evaluate``."""
    notes: tuple[Note, ...] = ()
    written: Written | None = None
    """Of a model that writes; ``scores`` and what follows it are of one that labels."""
    numbers: Numbers | None = None
    """Of a model that foretells values."""
    unusual: Unusual | None = None
    """Of a model that says how unusual an input is."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """Rows of each label (in the order of ``classes``) that were answered with each; empty of more than 25 labels."""


# --- what is stored ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BaseRef:
    """Which frozen base a model stands on."""

    name: str
    sha256: str
    licence: str


@dataclass(frozen=True, slots=True)
class DataRef:
    """Which rows a model was made from: their hash and number, never the rows."""

    sha256: str
    rows: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself. ``files`` pins every other file; ``id`` pins this one."""

    format: int
    id: str
    """First 16 hex digits of the sha256 of this manifest without ``id``."""
    family: str
    name: str
    created: str
    """ISO 8601, UTC."""
    requirement: Requirement
    base: BaseRef
    generator: str
    """Name and version of what emitted the weights, as ``floor/1``."""
    head: str
    """What was solved, as ``ridge`` or ``logistic``."""
    data: DataRef
    seed: int
    n_parameters: int
    shapes: Mapping[str, tuple[int, ...]]
    files: Mapping[str, str]
    """File name -> sha256."""
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    licence_lineage: tuple[str, ...] = ()
    parent: str | None = None
    """Id of the model that this one was made from, if it was."""
    sartor_version: str = ""
    method: str = ""
    """How it was made from its parent, as ``int8`` or ``lora``."""
    rejected: tuple[str, ...] = ()
    """Why a gate refused it in its parent's place; empty where none did."""


# --- JSON --------------------------------------------------------------------------------------------------


def to_json(value: Any) -> Any:
    """Return ``value`` (any of the above) as plain dicts, lists and scalars."""
    return msgspec.to_builtins(value)


def from_json(data: Any, kind: type[_T]) -> _T:
    """Return ``data`` (plain dicts and lists) as a ``kind``, checked.

    Raises:
        msgspec.ValidationError: with the path of what does not fit.
    """
    return msgspec.convert(data, kind)
