"""The proof: every row is answered by a model that was generated without it, and so by every baseline.

Folds only measure. In each, the family generates anew from the rows of the other folds and makes all its own
choices in there; the stored model is another one, generated from all rows.

Dimension key:   N: rows   M: rows measured   C: labels
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from sartor.data import split
from sartor.evaluate.headline import headline
from sartor.evaluate.judge import Answers, Judgement, judge, too_few
from sartor.families.interface import Condition, Control, F, FloatArray, IntArray, LabelFamily
from sartor.types import (
    REPORT_SCHEMA,
    Baseline,
    CalibrationBin,
    ClassScores,
    Cost,
    Coverage,
    Note,
    Progress,
    Protocol,
    Report,
    Requirement,
    Scores,
    silent,
)

Split: TypeAlias = tuple[IntArray, IntArray]
"""Rows to generate from, rows to measure on."""
Folds: TypeAlias = Callable[[Any, IntArray, int, int], Sequence[Split]]
"""``folds(groups, targets, k, seed)``: k splits, each row measured once, no group on both sides."""
Holdout: TypeAlias = Callable[[Any, IntArray, float, int, int], Split]
"""``holdout(groups, targets, share, max_rows, seed)``: one split that measures on that share."""

_MOST_FOLDS = 5
MOST_ROWS_FOLDED = 5000
"""Above, one holdout is precise enough, and five more generations are not worth their time."""
LARGEST_HOLDOUT = 5000
HELD_OUT = 0.2
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Proof:
    """What was measured, and on what. M is 0 when nothing could be."""

    proved: bool
    reasons: tuple[str, ...]
    """Why it is not proved; empty when it is."""
    protocol: Protocol
    rows: IntArray
    """(M,) index of the measured rows, ascending; all N in cross-validation."""
    targets: IntArray
    """(M,) index of the right label."""
    probabilities: FloatArray
    """(M, C) by models that had not seen the row; the mean over repeats."""
    scope: FloatArray
    """(M,) by the same models."""
    scores: Scores | None
    baselines: tuple[Baseline, ...] = ()
    classes: tuple[ClassScores, ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    """Empty unless proved: who has not seen every label promises nothing."""
    confusion: tuple[tuple[int, ...], ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def headline(self) -> str:
        """Return the first line of the report."""
        where = f"on {len(self.rows)} rows it had not seen"
        return headline(self.scores, self.baselines, where=where, reasons=self.reasons)


def prove(
    family: LabelFamily[F],
    requirement: Requirement,
    condition: Condition[F],
    groups: Sequence[Any] | IntArray,
    *,
    seed: int,
    folds: Folds = split.folds,
    holdout: Holdout = split.holdout,
    repeats: int = 1,
    progress: Progress = silent,
) -> Proof:
    """Measure what the family makes of this task, beside every baseline of the family, on the same rows.

    Up to 5,000 rows are cross-validated, in five folds or as many as the smallest label has distinct rows;
    beyond, a fifth of the rows (5,000 at most) is held out once.

    Args:
        family: that generates.
        requirement: what is generated.
        condition: with all N rows.
        groups: (N,) rows of one group (the same text, the same look) stay on the same side of every split.
        seed: of the splits, the generations and the intervals.
        folds: makes the splits of a cross-validation.
        holdout: makes the one split of many rows.
        repeats: how often to cross-validate with other folds; probabilities are averaged.
        progress: told of every generation and every baseline.
    """
    group_ids = np.asarray(groups)
    assert len(group_ids) == len(condition.targets), (len(group_ids), len(condition.targets))
    assert repeats >= 1, repeats
    labels = [label.name for label in requirement.labels]
    distinct = _distinct(group_ids, condition.targets, len(labels))
    rows = np.bincount(condition.targets, minlength=len(labels))
    reason = too_few(labels, rows.tolist(), distinct.tolist())
    if (distinct >= 2).sum() < 2:
        return _unmeasured(reason or "there is only one label", len(labels), len(group_ids), seed)
    protocol, splits = _plan(group_ids, condition.targets, distinct, seed, repeats, folds, holdout)
    if not protocol.rows:
        return _unmeasured("every label has too few rows to hold any out", len(labels), len(group_ids), seed)
    measured = _measure(family, requirement, condition, group_ids, splits, seed, progress)
    judgement = judge(measured.targets, measured.probabilities, labels, measured.baselines, seed=seed)
    return _proof(measured, judgement, protocol, () if reason is None else (reason,))


def to_report(
    proof: Proof,
    *,
    cost: Cost | None = None,
    seconds: Mapping[str, float] | None = None,
    notes: Sequence[Note] = (),
) -> Report:
    """Write a proof down, with what else is known of the model; ``notes`` come before those of the proof."""
    return Report(
        schema=REPORT_SCHEMA,
        headline=proof.headline,
        proved=proof.proved,
        protocol=proof.protocol,
        scores=proof.scores,
        baselines=proof.baselines,
        classes=proof.classes,
        calibration=proof.calibration,
        coverage=proof.coverage,
        confusion=proof.confusion,
        cost=cost,
        seconds=dict(seconds or {}),
        notes=(*notes, *proof.notes),
    )


# --- which rows measure ------------------------------------------------------------------------------------


def _distinct(groups: IntArray, targets: IntArray, n_labels: int) -> IntArray:
    """Return (C,) how many groups each label occurs in."""
    pairs = set(zip(groups.tolist(), targets.tolist(), strict=True))
    return np.bincount(np.array([target for _, target in pairs], dtype=np.int64), minlength=n_labels)


def _plan(
    groups: IntArray,
    targets: IntArray,
    distinct: IntArray,
    seed: int,
    repeats: int,
    folds: Folds,
    holdout: Holdout,
) -> tuple[Protocol, Sequence[Split]]:
    n = len(targets)
    if n > MOST_ROWS_FOLDED:
        train, test = holdout(groups, targets, HELD_OUT, LARGEST_HOLDOUT, seed)
        text = f"Generated from {len(train)} rows, measured on {len(test)} others held out."
        return Protocol("holdout", folds=1, rows=len(test), seed=seed, text=text), [(train, test)]
    k = min(_MOST_FOLDS, int(distinct[distinct >= 2].min()))
    rounds = [folds(groups, targets, k, seed + repeat) for repeat in range(repeats)]
    k = len(rounds[0])
    again = f", {repeats} times over" if repeats > 1 else ""
    how = f"{k}-fold cross-validation{again}"
    text = f"Each of the {n} rows was answered by a model generated without it ({how})."
    return Protocol("cross-validation", folds=k, rows=n, seed=seed, text=text), list(chain(*rounds))


def plan_alike(
    groups: IntArray,
    seed: int,
    *,
    most_folded: int,
    held_out: float,
    largest: int,
) -> tuple[Protocol, Sequence[Split]]:
    """Return how rows without labels to spread are measured, and the splits.

    Args:
        groups: (N,) rows of one group stay on the same side of every split.
        seed: of the splits.
        most_folded: rows up to which they are cross-validated.
        held_out: share of more rows that is held out, once.
        largest: rows that are held out at most.
    """
    n = len(groups)
    alike = np.zeros(n, dtype=np.int64)
    if n > most_folded:
        train, test = split.holdout(groups, alike, held_out, largest, seed)
        text = f"Generated from {len(train)} rows, measured on {len(test)} others held out."
        return Protocol("holdout", folds=1, rows=len(test), seed=seed, text=text), [(train, test)]
    found = split.folds(groups, alike, min(_MOST_FOLDS, n), seed)
    text = f"Each of the {n} rows was answered by a model generated without it ({len(found)}-fold cross-validation)."
    return Protocol("cross-validation", folds=len(found), rows=n, seed=seed, text=text), found


# --- the measuring -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Measured:
    rows: IntArray
    targets: IntArray
    probabilities: FloatArray
    scope: FloatArray
    baselines: tuple[Answers, ...]


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums over repeats, one entry for each of N rows."""

    times: FloatArray
    probabilities: FloatArray
    scope: FloatArray
    baselines: tuple[FloatArray, ...]


def _measure(
    family: LabelFamily[F],
    requirement: Requirement,
    condition: Condition[F],
    groups: IntArray,
    splits: Sequence[Split],
    seed: int,
    progress: Progress,
) -> _Measured:
    """Let the family and every control answer the held-out rows of each split from the other rows."""
    controls = family.controls(requirement)
    n, shape = len(groups), (len(groups), len(requirement.labels))
    sums = _Sums(np.zeros(n), np.zeros(shape), np.zeros(n), tuple(np.zeros(shape) for _ in controls))
    told = steps(progress, len(splits) * (1 + len(controls)))
    next(told)
    for train, test in splits:
        assert not np.isin(groups[test], groups[train]).any(), "a group straddles the folds"
        known, features = condition.take(train), condition.support.take(test)
        wanted = _as_known(requirement, known.targets)
        prediction = family.predict(wanted, family.generate(wanted, known, seed=seed), features)
        sums.times[test] += 1
        sums.probabilities[test] += prediction.probabilities
        sums.scope[test] += prediction.scope
        next(told)
        for control, total in zip(controls, sums.baselines, strict=True):
            total[test] += control.answer(wanted, known, features, seed)
            next(told)
    return _averages(sums, condition.targets, controls)


def _as_known(requirement: Requirement, targets: IntArray) -> Requirement:
    """Return the requirement with the row counts of these rows: those of the others are not known."""
    counts = np.bincount(targets, minlength=len(requirement.labels)).tolist()
    labels = (dataclasses.replace(label, rows=n) for label, n in zip(requirement.labels, counts, strict=True))
    return dataclasses.replace(requirement, labels=tuple(labels))


def _averages(sums: _Sums, targets: IntArray, controls: Sequence[Control[Any]]) -> _Measured:
    rows = np.flatnonzero(sums.times)
    times = sums.times[rows]
    return _Measured(
        rows=rows,
        targets=targets[rows],
        probabilities=sums.probabilities[rows] / times[:, None],
        scope=sums.scope[rows] / times,
        baselines=tuple(
            Answers(control.name, control.title, total[rows] / times[:, None])
            for control, total in zip(controls, sums.baselines, strict=True)
        ),
    )


def steps(progress: Progress, total: int) -> Iterator[None]:
    """Tell ``progress`` where it stands at every ``next``, from 0 to ``total``."""
    for done in range(total + 1):
        progress("evaluate", done, total)
        yield


# --- the verdict -------------------------------------------------------------------------------------------


def _proof(measured: _Measured, judgement: Judgement, protocol: Protocol, reasons: tuple[str, ...]) -> Proof:
    return Proof(
        proved=not reasons,
        reasons=reasons,
        protocol=protocol,
        rows=measured.rows,
        targets=measured.targets,
        probabilities=measured.probabilities,
        scope=measured.scope,
        scores=judgement.scores,
        baselines=judgement.baselines,
        classes=judgement.classes,
        calibration=judgement.calibration,
        coverage=judgement.coverage if not reasons else (),
        confusion=judgement.confusion,
        notes=(*why_not(reasons), *_not_held_out(judgement.classes, protocol)),
    )


def _not_held_out(classes: Sequence[ClassScores], protocol: Protocol) -> tuple[Note, ...]:
    """Return a note on the labels that a holdout has no rows of; cross-validation measures every row."""
    absent = [repr(c.label) for c in classes if not c.rows]
    if not absent or protocol.kind != "holdout":
        return ()
    named = ", ".join(absent[:_NAMED]) + (" …" if len(absent) > _NAMED else "")
    text = f"{len(absent)} of {len(classes)} labels were not measured, having too few rows: {named}."
    return (Note("holdout", text, "warning"),)


def _unmeasured(reason: str, n_labels: int, n_rows: int, seed: int) -> Proof:
    text = f"Nothing was measured: the {n_rows} rows cannot be divided." if n_rows else "There were no rows."
    return Proof(
        proved=False,
        reasons=(reason,),
        protocol=Protocol("none", folds=0, rows=0, seed=seed, text=text),
        rows=np.empty(0, dtype=np.int64),
        targets=np.empty(0, dtype=np.int64),
        probabilities=np.empty((0, n_labels)),
        scope=np.empty(0),
        scores=None,
        notes=why_not((reason,)),
    )


def why_not(reasons: Sequence[str]) -> tuple[Note, ...]:
    """Return a note for each reason why a model is not proved."""
    return tuple(Note("proof", f"Not proved: {reason}.", "warning") for reason in reasons)
