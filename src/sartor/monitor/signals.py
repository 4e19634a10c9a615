"""What is watched, by which test, and what to do about it.

A signal is a pure function: of a reference and a window of requests, or of a running sum and the next request. Who may
cry wolf how often is settled beforehand (:class:`Budget`): so many false alarms in 10,000 requests for all signals
together, shared out equally (Bonferroni), so that the sum holds whatever depends on what.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sartor.monitor import samples
from sartor.monitor.samples import NOTHING, Found
from sartor.monitor.seen import BoolArray, FloatArray, Stretch, unseen
from sartor.types import Column

Kind: TypeAlias = Literal["window", "stream", "feedback", "weights"]
PER = 10_000
"""Requests that a rate of false alarms is told for."""
_SLOWER = 1.5
_MOST_MISSING = 0.5
_LEAST_ROWS = 10
_DRAWS_BEYOND = 2
"""Draws that reach a threshold by chance; a test needs some to tell."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing that is watched."""

    name: str
    title: str
    kind: Kind
    test: str
    value: str
    """What its value is."""
    advice: str
    accuracy: bool = False
    """A breach says that answers are worse, not only that something changed."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How often all signals together may cry wolf."""

    false_alarms: float = 1.0
    """In 10,000 requests, on average at most."""
    warnings: float = 5.0
    """Likewise, warnings included."""
    windows: tuple[int, ...] = (50, 200, 800)
    """Requests of each window: short ones find large changes soon, long ones find small changes at all."""

    def threshold(self, signals: int, window: int) -> float:
        """Return the p-value at which a window alerts, when ``signals`` share the budget."""
        return self.false_alarms / signals / len(self.windows) * stride(window) / PER

    def apart(self, signals: int) -> float:
        """Return how many requests shall lie between two false alarms of one stream."""
        return PER * signals / self.false_alarms

    def most(self, signals: int, window: int) -> int:
        """Return how many draws a permutation test needs at most."""
        return int(np.ceil(_DRAWS_BEYOND / self.threshold(signals, window)))


def stride(window: int) -> int:
    """Return after how many requests a window is looked at again: neighbours share half."""
    return max(1, window // 2)


@dataclass(frozen=True, slots=True)
class Reference:
    """Requests from when all was well, and what is worked out of them once."""

    rows: Stretch
    columns: tuple[Column, ...] = ()
    width: float = 1.0
    """Of the kernel."""
    alike: NDArray[np.float32] | None = None
    """(R, R) kernel of the embeddings' projections."""

    @classmethod
    def of(cls, rows: Stretch, columns: Sequence[Column] = ()) -> "Reference":
        """Return the reference that ``rows`` make."""
        vectors = rows.projection[np.isfinite(rows.projection).all(axis=1)]
        if not vectors.size:
            return cls(rows, tuple(columns))
        width = samples.bandwidth(vectors)
        return cls(rows, tuple(columns), width, samples.kernel(vectors, vectors, width))


WindowTest: TypeAlias = Callable[[Reference, Stretch, np.random.Generator, int], Found]
"""Reference, window, generator, draws at most -> what was found."""
Hits: TypeAlias = Callable[[Stretch, Sequence[Column]], BoolArray]
"""Requests -> (N,) which of them count."""


# --- windows -----------------------------------------------------------------------------------------------


def _input_mmd(reference: Reference, window: Stretch, rng: np.random.Generator, most: int) -> Found:
    old, new = _vectors(reference.rows), _vectors(window)
    if not _enough(new, window):
        return NOTHING
    return samples.mmd(old, new, rng, width=reference.width, most=most, own_RR=reference.alike)


def _input_classifier(reference: Reference, window: Stretch, rng: np.random.Generator, most: int) -> Found:
    old, new = _vectors(reference.rows), _vectors(window)
    return samples.told_apart(old, new) if _enough(new, window) else Found(0.5, 1.0)


def _input_length(reference: Reference, window: Stretch, rng: np.random.Generator, most: int) -> Found:
    return samples.ks(reference.rows.length, window.length)


def _input_columns(reference: Reference, window: Stretch, rng: np.random.Generator, most: int) -> Found:
    known = [_celled(rows) for rows in (reference.rows, window)]
    named = [name for name in reference.rows.cells if name in window.cells]
    if not named or not _enough(np.flatnonzero(known[1]), window):
        return NOTHING
    pairs = [(reference.rows.cells[name][known[0]], window.cells[name][known[1]]) for name in named]
    found = [_one_column(old, new, rng, most * len(named)) for old, new in pairs]
    surest = min(found, key=lambda one: one.p)
    return Found(surest.value, min(1.0, surest.p * len(found)), surest.psi)


def _celled(rows: Stretch) -> BoolArray:
    """Return (N,) true where any cell is known; texts of the others were not kept."""
    found = np.zeros(len(rows), dtype=np.bool_)
    for column in rows.cells.values():
        found |= np.array([cell is not None for cell in column], dtype=np.bool_)
    return found


def _one_column(old: NDArray[np.object_], new: NDArray[np.object_], rng: np.random.Generator, most: int) -> Found:
    if sum(isinstance(cell, float) for cell in old) > len(old) / 2:
        return samples.ks(_numbers(old), _numbers(new))
    return samples.shares(_texts(old), _texts(new), rng, most=most)


def _numbers(cells: NDArray[np.object_]) -> FloatArray:
    """Return numbers; gaps count as the smallest of all, for more of them are a change too."""
    return np.array([cell if isinstance(cell, float) else -np.inf for cell in cells], dtype=np.float64)


def _texts(cells: NDArray[np.object_]) -> NDArray[np.str_]:
    return np.array(["" if cell is None else str(cell) for cell in cells], dtype=np.str_)


def _output_labels(reference: Reference, window: Stretch, rng: np.random.Generator, most: int) -> Found:
    return samples.shares(reference.rows.label, window.label, rng, most=most)


def _output_confidence(reference: Reference, window: Stretch, rng: np.random.Generator, most: int) -> Found:
    new = _finite(window.confidence)
    return samples.ks(_finite(reference.rows.confidence), new) if _enough(new, window) else NOTHING


def _output_values(reference: Reference, window: Stretch, rng: np.random.Generator, most: int) -> Found:
    new = _finite(window.value)
    return samples.ks(_finite(reference.rows.value), new) if _enough(new, window) else NOTHING


def _expected_accuracy(reference: Reference, window: Stretch, rng: np.random.Generator, most: int) -> Found:
    new = _finite(window.confidence)
    return samples.lower(_finite(reference.rows.confidence), new, rng, most=most) if _enough(new, window) else NOTHING


def _latency(reference: Reference, window: Stretch, rng: np.random.Generator, most: int) -> Found:
    return samples.slower(_finite(reference.rows.latency_ms), _finite(window.latency_ms), least=_SLOWER)


def _vectors(rows: Stretch) -> FloatArray:
    return rows.projection[np.isfinite(rows.projection).all(axis=1)]


def _finite(values: FloatArray) -> FloatArray:
    return values[np.isfinite(values)]


def _enough(values: NDArray[Any], window: Stretch) -> bool:
    return len(values) >= max(_LEAST_ROWS, (1 - _MOST_MISSING) * len(window))


WINDOW_TESTS: Mapping[str, WindowTest] = {
    "input-mmd": _input_mmd,
    "input-classifier": _input_classifier,
    "input-length": _input_length,
    "input-columns": _input_columns,
    "output-labels": _output_labels,
    "output-values": _output_values,
    "output-confidence": _output_confidence,
    "expected-accuracy": _expected_accuracy,
    "latency": _latency,
}

# --- streams -----------------------------------------------------------------------------------------------

STREAMS: Mapping[str, Hits] = {
    "input-unseen": unseen,
    "escalation": lambda rows, columns: rows.escalated,
    "out-of-scope": lambda rows, columns: rows.abstain,
    "out-of-list": lambda rows, columns: ~rows.listed,
    "errors": lambda rows, columns: rows.error,
}

# --- what they are called ----------------------------------------------------------------------------------

_LOOK = "Look at what is new: sartor review shows suspects."
_IMPROVE = "Correct some answers (sartor review), and make a new version from rows like these."

SIGNALS: tuple[Signal, ...] = (
    Signal(
        "input-mmd",
        "what is asked",
        "window",
        "maximum mean discrepancy of embeddings, by permutation",
        "squared discrepancy",
        f"Inputs are about something else than before. {_LOOK} {_IMPROVE}",
    ),
    Signal(
        "input-classifier",
        "what is asked, told apart",
        "window",
        "domain classifier on embeddings, Mann-Whitney on rows it did not learn from",
        "area under the curve; 0.5 is alike",
        f"Inputs can be told from those before. {_LOOK} {_IMPROVE}",
    ),
    Signal(
        "input-length",
        "length of inputs",
        "window",
        "Kolmogorov-Smirnov",
        "largest difference of shares",
        "Inputs are longer or shorter than before. See whether what sends them has changed, or cuts them.",
    ),
    Signal(
        "input-columns",
        "columns of inputs",
        "window",
        "Kolmogorov-Smirnov or exact G-test of each column, Bonferroni",
        "largest difference of shares, of the surest column",
        "A column has other values than before. See whether its source, its unit or its spelling has changed.",
    ),
    Signal(
        "input-unseen",
        "categories never seen",
        "stream",
        "cumulative sum",
        "share of requests",
        "Rows hold categories that the model does not know. See how they are spelled, or make a new version with them.",
    ),
    Signal(
        "output-labels",
        "shares of labels",
        "window",
        "G-test, exact by permutation",
        "half the sum of differences",
        "Some labels are answered more often, others less. If that is not what happens outside, look at inputs first.",
    ),
    Signal(
        "output-values",
        "values, or lengths of texts",
        "window",
        "Kolmogorov-Smirnov",
        "largest difference of shares",
        "Answers are larger or smaller, or longer or shorter, than before. Look at inputs first.",
    ),
    Signal(
        "output-confidence",
        "confidence",
        "window",
        "Kolmogorov-Smirnov",
        "largest difference of shares",
        f"The model is more or less sure than before. {_LOOK}",
    ),
    Signal(
        "expected-accuracy",
        "accuracy to be expected",
        "window",
        "mean of calibrated confidence, by permutation",
        "how much it fell",
        f"More answers are wrong than before, as far as the model's own confidence tells. {_IMPROVE}",
        accuracy=True,
    ),
    Signal(
        "accuracy",
        "accuracy by feedback",
        "feedback",
        "Page-Hinkley",
        "share of wrong answers among those judged",
        f"People say that more answers are wrong. Go back to the version before (sartor rollback), or: {_IMPROVE}",
        accuracy=True,
    ),
    Signal(
        "escalation",
        "asked of a large model",
        "stream",
        "cumulative sum",
        "share of requests",
        f"More requests go to the large model, which costs more. {_IMPROVE}",
    ),
    Signal(
        "out-of-scope",
        "none of the labels",
        "stream",
        "cumulative sum",
        "share of requests",
        f"More requests are none of the labels, or the model is not sure. {_LOOK} A new label may be wanted.",
    ),
    Signal(
        "out-of-list",
        "answers not of the list",
        "stream",
        "cumulative sum",
        "share of requests",
        "More answers are none of the known ones. Go back to the version before (sartor rollback).",
        accuracy=True,
    ),
    Signal(
        "errors",
        "requests that failed",
        "stream",
        "cumulative sum",
        "share of requests",
        "More requests fail. See the server's log; if it began with this version: sartor rollback.",
        accuracy=True,
    ),
    Signal(
        "latency",
        "time for an answer",
        "window",
        f"Mann-Whitney, and at least {_SLOWER:g} times the usual median",
        "ratio of medians",
        "Answers take longer than before. See what else runs on this machine, and how long the inputs are.",
    ),
    Signal(
        "adapter",
        "size of the weights",
        "weights",
        "largest norm or singular value beside its bound",
        "share of the bound",
        "The adapter is larger than those of the generator's training, or broken. Make it again.",
    ),
)
BY_NAME: Mapping[str, Signal] = {signal.name: signal for signal in SIGNALS}


def speaking(reference: Reference, *, feedback: bool = True) -> tuple[Signal, ...]:
    """Return the signals that can say anything about requests like these; they share the budget."""
    rows, answered = reference.rows, ~reference.rows.error
    share = {
        "input-mmd": np.isfinite(rows.projection).all(axis=1) if rows.projection.shape[1] else ~answered & answered,
        "input-columns": _celled(rows),
        "output-labels": rows.label != "",
        "output-values": np.isfinite(rows.value),
        "output-confidence": np.isfinite(rows.confidence),
        "latency": np.isfinite(rows.latency_ms),
    }
    share["input-classifier"] = share["input-mmd"]
    share["expected-accuracy"] = share["output-confidence"]
    share["input-unseen"] = np.full(
        len(rows), bool(rows.cells) and any(c.kind == "category" for c in reference.columns)
    )
    share["accuracy"] = np.full(len(rows), feedback)

    def speaks(signal: Signal) -> bool:
        if signal.kind == "weights":  # which no request changes
            return False
        # an answer that failed has neither label nor confidence
        present = share.get(signal.name, answered)[answered]
        return len(present) >= _LEAST_ROWS and float(present.mean()) >= 1 - _MOST_MISSING

    return tuple(signal for signal in SIGNALS if speaks(signal))
