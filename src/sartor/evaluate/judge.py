"""From answers to everything that a report says of them. The proof and the test file judge alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from sartor.evaluate.compare import paired
from sartor.evaluate.promise import PRECISIONS, coverage
from sartor.evaluate.quality import calibration_bins, class_scores, confusion, scores
from sartor.families.interface import FloatArray, IntArray
from sartor.types import Baseline, CalibrationBin, ClassScores, Coverage, Scores

MOST_CONFUSED = 25
"""Labels that a table of all against all is made of."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a baseline answered."""

    name: str
    title: str
    probabilities: FloatArray
    """(N, C) for the same rows and labels as the model's."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the answers for N rows are worth."""

    scores: Scores
    baselines: tuple[Baseline, ...]
    classes: tuple[ClassScores, ...]
    calibration: tuple[CalibrationBin, ...]
    coverage: tuple[Coverage, ...]
    confusion: tuple[tuple[int, ...], ...] = ()
    """(C, C) row is the right label, column the answered one; empty of more than :data:`MOST_CONFUSED` labels."""


def judge(
    targets: IntArray,
    probabilities: FloatArray,
    labels: Sequence[str],
    baselines: Sequence[Answers],
    *,
    seed: int,
) -> Judgement:
    """Judge (N, C) probabilities beside those of the baselines.

    Raises:
        DataError: when there is no row.
    """
    return Judgement(
        scores=scores(targets, probabilities, seed=seed),
        baselines=tuple(
            Baseline(
                name=baseline.name,
                title=baseline.title,
                scores=scores(targets, baseline.probabilities, seed=seed),
                paired=paired(targets, probabilities, baseline.probabilities),
            )
            for baseline in baselines
        ),
        classes=class_scores(targets, probabilities, labels),
        calibration=calibration_bins(targets, probabilities),
        coverage=tuple(coverage(targets, probabilities, precision) for precision in PRECISIONS),
        confusion=_confusion(targets, probabilities) if len(labels) <= MOST_CONFUSED else (),
    )


def _confusion(targets: IntArray, probabilities: FloatArray) -> tuple[tuple[int, ...], ...]:
    table = confusion(targets, probabilities.argmax(axis=1), probabilities.shape[1])
    return tuple(tuple(row) for row in table.tolist())


def too_few(labels: Sequence[str], rows: Sequence[int], distinct: Sequence[int]) -> str | None:
    """Say which labels have too few distinct rows for a proof; None when all have two.

    >>> too_few(["spam", "ham"], [1, 9], [1, 9])
    "label 'spam' has 1 row; give at least 2, better 8"
    """
    short = [
        f"label {label!r} has {_count(n, d)}" for label, n, d in zip(labels, rows, distinct, strict=True) if d < _LEAST
    ]
    if not short:
        return None
    named = ", ".join(short[:_NAMED])
    more = f" and {len(short) - _NAMED} labels more have too few rows" if len(short) > _NAMED else ""
    return f"{named}{more}; give at least {_LEAST}, better 8"


_LEAST = 2
_NAMED = 3


def _count(rows: int, distinct: int) -> str:
    if rows == distinct:
        return f"{rows} row" if rows == 1 else f"{rows} rows"
    return f"{rows} rows, all the same"
