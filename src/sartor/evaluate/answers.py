"""How good generated texts are: means over rows with intervals, and two models on the same rows.

Every row has one reference text or several, all of them right; a row's figure is that of the reference it comes
nearest to, for each metric by itself.

Dimension key:   N: rows   M: metrics   C: labels
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sartor.data.text import squeeze
from sartor.errors import DataError
from sartor.evaluate import matching
from sartor.evaluate.compare import paired
from sartor.evaluate.quality import proportion, scores
from sartor.families.interface import BoolArray, FloatArray, IntArray
from sartor.types import Metric, Paired

MOST_LABELS = 20
LEAST_ROWS = 3
"""References are labels when they take at most ``MOST_LABELS`` values, each of them in ``LEAST_ROWS`` rows or more."""

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class AnswerRows:
    """What every row scored, in the order of the rows; the arrays cannot be written to."""

    exact_match_N: BoolArray
    token_f1_N: FloatArray
    rouge_l_N: FloatArray
    chrf_N: FloatArray


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Answers to a task that has few right ones, compared without case, spaces and outer punctuation."""

    labels: tuple[str, ...]
    """As first written, in the order of the rows."""
    accuracy: Metric
    balanced_accuracy: Metric
    not_a_label: int
    """Answers that are none of the labels; they count as wrong."""


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """Quality of ``n`` generated answers."""

    n: int
    exact_match: Metric
    token_f1: Metric
    rouge_l: Metric
    chrf: Metric
    labels: LabelScores | None
    """None where the references are not few and repeated."""
    rows: AnswerRows = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class PairedAnswers:
    """A model's answers against a baseline's, on the same rows. Positive differences favour the model."""

    exact_match: Paired
    """With McNemar's exact test."""
    token_f1: Metric
    """Mean difference, in [-1, 1]."""


def score_answers(
    answers: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    fold_case: bool = False,
    strip_punctuation: bool = False,
    seed: int = 0,
) -> AnswerScores:
    """Score N answers by the texts they should have been.

    The interval of exact match is Wilson's, those of the other means a bootstrap over rows.

    Args:
        answers: N texts; an empty one is right only where a reference is empty.
        references: N texts, or N groups of texts of which any one would be right.
        fold_case: for exact match alone, as in :func:`sartor.evaluate.matching.normalised`.
        strip_punctuation: likewise.
        seed: of the resampling behind the intervals; the same seed gives the same interval.

    Raises:
        DataError: when there is no row, or a row has no reference, or the two are not equally many.
    """
    accepted = _accepted(answers, references)
    rows = _rows(answers, accepted, fold_case, strip_punctuation)
    means = _means(np.stack([rows.token_f1_N, rows.rouge_l_N, rows.chrf_N], axis=1), lowest=0.0, seed=seed)
    return AnswerScores(
        n=len(answers),
        exact_match=proportion(int(rows.exact_match_N.sum()), len(answers)),
        token_f1=means[0],
        rouge_l=means[1],
        chrf=means[2],
        labels=_label_scores(answers, accepted, seed),
        rows=rows,
    )


def compare_answers(
    ours: Sequence[str],
    theirs: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    fold_case: bool = False,
    strip_punctuation: bool = False,
    seed: int = 0,
) -> PairedAnswers:
    """Compare two models by their answers to the same N rows; ``theirs`` are the baseline's.

    Args and errors are those of :func:`score_answers`.
    """
    model, baseline = (
        _rows(answers, _accepted(answers, references), fold_case, strip_punctuation) for answers in (ours, theirs)
    )
    return compare_rows(model, baseline, seed=seed)


def compare_rows(model: AnswerRows, baseline: AnswerRows, *, seed: int = 0) -> PairedAnswers:
    """Compare two models by what :func:`score_answers` found for each, row by row.

    Raises:
        DataError: when the two were not scored on equally many rows.
    """
    if len(model.exact_match_N) != len(baseline.exact_match_N):
        raise DataError(
            f"Two models are compared on the same rows; got {len(model.exact_match_N)} rows of one and "
            f"{len(baseline.exact_match_N)} of the other. Score both on one file."
        )
    right = np.zeros(len(model.exact_match_N), dtype=np.int64)
    difference = model.token_f1_N - baseline.token_f1_N
    return PairedAnswers(
        exact_match=paired(right, _right_or_wrong(model), _right_or_wrong(baseline)),
        token_f1=_means(difference[:, None], lowest=-1.0, seed=seed)[0],
    )


# --- rows --------------------------------------------------------------------------------------------------


def _accepted(answers: Sequence[str], references: Sequence[str | Sequence[str]]) -> list[tuple[str, ...]]:
    """Return the texts that would be right, row by row."""
    if len(answers) != len(references):
        raise DataError(
            f"Every answer needs its reference; got {len(answers)} answers and {len(references)} references. "
            "Give as many of one as of the other."
        )
    if not answers:
        raise DataError("There is no answer to score; give at least one row with a reference.")
    accepted = [(given,) if isinstance(given, str) else tuple(given) for given in references]
    for place, given in enumerate(accepted, start=1):
        if not given:
            raise DataError(f"Row {place} has no reference; give at least one text, or leave the row out.")
    return accepted


def _rows(
    answers: Sequence[str], accepted: Sequence[tuple[str, ...]], fold_case: bool, strip_punctuation: bool
) -> AnswerRows:
    def exact(answer: str, reference: str) -> bool:
        return matching.exact_match(answer, reference, fold_case=fold_case, strip_punctuation=strip_punctuation)

    pairs = list(zip(answers, accepted, strict=True))
    return AnswerRows(
        exact_match_N=_read_only(np.array([any(exact(answer, one) for one in given) for answer, given in pairs])),
        token_f1_N=_read_only(np.array([max(matching.token_f1(a, one) for one in given) for a, given in pairs])),
        rouge_l_N=_read_only(np.array([max(matching.rouge_l(a, one) for one in given) for a, given in pairs])),
        chrf_N=_read_only(np.array([max(matching.chrf(a, one) for one in given) for a, given in pairs])),
    )


def _read_only(values: np.ndarray) -> np.ndarray:
    values.flags.writeable = False
    return values


def _right_or_wrong(rows: AnswerRows) -> FloatArray:
    """Return (N, 2): all certainty on place 0 where the answer is right, on place 1 where it is wrong."""
    return np.eye(2)[(~rows.exact_match_N).astype(np.int64)]


def _means(values_NM: FloatArray, *, lowest: float, seed: int) -> list[Metric]:
    """Return M means with their 95% bootstrap intervals (percentiles); values lie between ``lowest`` and 1.

    Two rows are made up for the draw, one of the lowest value and one of 1. Without them rows that are all alike
    would give an interval of no width; with them the interval of rows that are 0 or 1 is nearly Wilson's, who
    likewise shrinks towards the middle.
    """
    pool = np.concatenate([values_NM, np.full((1, values_NM.shape[1]), lowest), np.ones((1, values_NM.shape[1]))])
    random = np.random.default_rng(seed)
    drawn = [pool[random.integers(len(pool), size=len(pool))].mean(axis=0) for _ in range(_RESAMPLES)]
    lows, highs = np.quantile(drawn, [0.025, 0.975], axis=0)
    return [
        Metric(float(value), float(min(value, low)), float(max(value, high)))
        for value, low, high in zip(values_NM.mean(axis=0), lows, highs, strict=True)
    ]


# --- few outputs -------------------------------------------------------------------------------------------


def _label_scores(answers: Sequence[str], accepted: Sequence[tuple[str, ...]], seed: int) -> LabelScores | None:
    keys = [{_key(reference) for reference in given} for given in accepted]
    if any(len(key) > 1 for key in keys):
        return None  # a row with two right answers has no one label
    right = [key.pop() for key in keys]
    counts = Counter(right)
    if not 2 <= len(counts) <= MOST_LABELS or min(counts.values()) < LEAST_ROWS:
        return None
    place = {key: c for c, key in enumerate(counts)}
    answered = np.array([place.get(_key(answer), len(place)) for answer in answers], dtype=np.int64)
    targets: IntArray = np.array([place[key] for key in right], dtype=np.int64)
    # the last column is for answers that are no label; no target stands there, so that no mean counts it
    found = scores(targets, np.eye(len(place) + 1)[answered], seed=seed)
    return LabelScores(
        labels=tuple(accepted[right.index(key)][0] for key in counts),
        accuracy=found.accuracy,
        balanced_accuracy=found.balanced_accuracy,
        not_a_label=int((answered == len(place)).sum()),
    )


def _key(text: str) -> str:
    """Return what two ways to write one label have in common."""
    return squeeze(matching.normalised(text, strip_punctuation=True))
