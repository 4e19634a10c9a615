"""A stored model on a labelled file of rows that it had not seen.

Dimension key:   N: labelled rows   C: labels of the model   U: labels of the file that are not among them
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from sartor.errors import DataError
from sartor.evaluate.headline import headline
from sartor.evaluate.judge import Answers, judge, too_few
from sartor.evaluate.mistakes import Mistake, of_labels
from sartor.families.interface import Base, Condition, F, FloatArray, IntArray, LabelFamily
from sartor.types import (
    REPORT_SCHEMA,
    Example,
    Label,
    Note,
    Progress,
    Protocol,
    Report,
    Requirement,
    Rows,
    Weights,
    silent,
)

CONTROLS_WITHOUT_ROWS = frozenset({"label-names"})
"""Controls that answer from the labels alone: the rows a model was made from are not stored with it."""
_MAJORITY = "majority"
"""Told from the counts in the requirement, with or without rows."""
_NAMED = 5


def score_file(
    family: LabelFamily[F],
    requirement: Requirement,
    base: Base,
    weights: Weights,
    rows: Rows,
    *,
    made_from: Rows | None = None,
    trained_on: str = "",
    seed: int = 0,
    progress: Progress = silent,
    on_mistakes: Callable[[Sequence[Mistake]], None] | None = None,
) -> Report:
    """Score a stored model on the labelled rows of a file, beside the baselines of its family.

    A bundle holds no row, so without ``made_from`` only the baselines that need none can be had.

    Args:
        family: of the model.
        requirement: that the model was generated for.
        base: that the model stands on, loaded.
        weights: of the model.
        rows: of the file; those without an output are left out, and a note says so.
        made_from: the rows that the model was made from.
        trained_on: hash of the rows that the model was made from, to notice when they are the same.
        seed: of the intervals.
        progress: told of the encoding.
        on_mistakes: given the surest wrong answers; they quote rows, so the report does not have them.

    Raises:
        DataError: when no row is labelled.
    """
    texts = [example.input for example in labelled(rows)]
    features = family.encode(base, requirement, texts, progress=progress)
    position = {label.name: at for at, label in enumerate(requirement.labels)}
    known = [row for row in (made_from.examples if made_from else ()) if row.output in position]
    condition = Condition(
        labels=family.encode_labels(base, requirement),
        support=family.encode(base, requirement, [row.input for row in known], progress=progress),
        targets=np.array([position[str(row.output)] for row in known], dtype=np.int64),
    )
    baselines = [
        Answers(control.name, control.title, control.answer(requirement, condition, features, seed))
        for control in family.controls(requirement)
        if control.name in CONTROLS_WITHOUT_ROWS or (known and control.name != _MAJORITY)
    ]
    probabilities = family.predict(requirement, weights, features).probabilities
    if on_mistakes is not None:
        on_mistakes(of_labels(labelled(rows), probabilities, [label.name for label in requirement.labels]))
    return score_answers(probabilities, rows, requirement.labels, baselines, trained_on=trained_on, seed=seed)


def score_answers(
    probabilities: FloatArray,
    rows: Rows,
    labels: Sequence[Label],
    baselines: Sequence[Answers] = (),
    *,
    trained_on: str = "",
    seed: int = 0,
) -> Report:
    """Score (N, C) probabilities for the :func:`labelled` rows, beside ``baselines`` and the majority class.

    Labels of the file that the model does not know count as wrong in every figure.

    Raises:
        DataError: when no row is labelled.
    """
    examples = labelled(rows)
    known = [label.name for label in labels]
    unknown = sorted({str(example.output) for example in examples} - set(known))
    names = [*known, *unknown]
    targets = _targets(examples, names)
    majority = Answers(_MAJORITY, "Majority class", _majority(labels, len(examples)))
    judgement = judge(
        targets,
        _widened(probabilities, len(unknown)),
        names,
        [_widened_answers(baseline, len(unknown)) for baseline in (majority, *baselines)],
        seed=seed,
    )
    reasons = _reasons(rows, trained_on, known, targets, examples)
    source = f" of {rows.source}" if rows.source else ""
    return Report(
        schema=REPORT_SCHEMA,
        headline=headline(
            judgement.scores, judgement.baselines, where=f"on {len(examples)} rows{source}", reasons=reasons
        ),
        proved=not reasons,
        protocol=Protocol(
            "test-file",
            folds=0,
            rows=len(examples),
            seed=seed,
            text=f"The stored model answered {len(examples)} labelled rows{source}.",
        ),
        scores=judgement.scores,
        baselines=judgement.baselines,
        classes=judgement.classes,
        calibration=judgement.calibration,
        coverage=judgement.coverage if not reasons else (),
        confusion=judgement.confusion,
        notes=(*_notes(rows, examples, unknown), *(_not_proved(reason) for reason in reasons)),
    )


def labelled(rows: Rows) -> list[Example]:
    """Return the rows that have an output.

    Raises:
        DataError: when there is none.
    """
    examples = [example for example in rows.examples if example.output is not None]
    if not examples:
        source = f" of {rows.source}" if rows.source else ""
        raise DataError(
            f"None of the {len(rows.examples)} rows{source} has a label, so there is nothing to score. "
            "Give a file with a column of right answers."
        )
    return examples


def _targets(examples: Sequence[Example], names: Sequence[str]) -> IntArray:
    index = {name: i for i, name in enumerate(names)}
    return np.array([index[str(example.output)] for example in examples], dtype=np.int64)


def _widened(probabilities: FloatArray, n_unknown: int) -> FloatArray:
    """Return (N, C + U): no model gives any probability to a label it does not know."""
    return np.pad(probabilities, ((0, 0), (0, n_unknown)))


def _widened_answers(baseline: Answers, n_unknown: int) -> Answers:
    return dataclasses.replace(baseline, probabilities=_widened(baseline.probabilities, n_unknown))


def _majority(labels: Sequence[Label], n: int) -> FloatArray:
    """Return (N, C): the shares of the labels among the rows the model was made from, for every row."""
    counts = np.array([label.rows for label in labels], dtype=np.float64)
    shares = counts / counts.sum() if counts.any() else np.full(len(labels), 1 / len(labels))
    return np.tile(shares, (n, 1))


def _reasons(
    rows: Rows, trained_on: str, known: Sequence[str], targets: IntArray, examples: Sequence[Example]
) -> tuple[str, ...]:
    """Return why these rows prove nothing."""
    if trained_on and rows.sha256 == trained_on:
        return ("the model was made from these very rows; give rows that it has not seen",)
    counts = np.bincount(targets, minlength=len(known))[: len(known)]
    texts = Counter(int(t) for t, _ in {(t, e.input) for t, e in zip(targets, examples, strict=True)})
    reason = too_few(known, counts.tolist(), [texts[c] for c in range(len(known))])
    return () if reason is None else (reason,)


def _notes(rows: Rows, examples: Sequence[Example], unknown: Sequence[str]) -> list[Note]:
    notes = list(rows.notes)
    if missing := len(rows.examples) - len(examples):
        notes.append(Note("unlabelled", f"{missing} rows without a label were left out.", "warning"))
    if unknown:
        affected = sum(example.output in unknown for example in examples)
        named = ", ".join(repr(label) for label in unknown[:_NAMED])
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        text = (
            f"The model does not know the labels {named}{more}; their {affected} rows count as wrong in every figure."
        )
        notes.append(Note("unknown labels", text, "warning", quotes=True))
    return notes


def _not_proved(reason: str) -> Note:
    return Note("proof", f"Not proved: {reason}.", "warning")
