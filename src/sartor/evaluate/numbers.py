"""The proof of a model that foretells values: every row by one that was generated without it, and by every baseline.

Dimension key:   N: rows   M: rows measured   R: resamples
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sartor.errors import DataError
from sartor.evaluate.headline import p_value
from sartor.evaluate.proof import HELD_OUT, LARGEST_HOLDOUT, MOST_ROWS_FOLDED, plan_alike, steps, why_not
from sartor.evaluate.quality import proportion
from sartor.evaluate.testfile import labelled
from sartor.families.interface import BoolArray, Estimate, F, FloatArray, IntArray, NumberFamily
from sartor.types import (
    REPORT_SCHEMA,
    Cost,
    Metric,
    Note,
    NumberBaseline,
    Numbers,
    NumberScores,
    Progress,
    Protocol,
    Report,
    Requirement,
    Rows,
    Verdict,
    Weights,
    silent,
)

LEAST_ROWS = 4
"""Below, nothing is measured."""
LEAST_PROVED = 10
"""Rows that a proof takes."""
NOMINAL = 0.9
CONTROL_WITHOUT_ROWS = "mean"
_RESAMPLES = 1000
_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Foretold:
    """What another way says of the measured rows."""

    name: str
    title: str
    values_M: FloatArray


@dataclass(frozen=True, slots=True)
class NumberProof:
    """What was measured, and on what."""

    proved: bool
    reasons: tuple[str, ...]
    """Why it is not proved; empty when it is."""
    protocol: Protocol
    numbers: Numbers | None
    notes: tuple[Note, ...] = ()

    @property
    def headline(self) -> str:
        """Return the first line of the report."""
        return headline(self.numbers, where=f"on {self.protocol.rows} rows it had not seen", reasons=self.reasons)


def prove_numbers(
    family: NumberFamily[F],
    requirement: Requirement,
    support: F,
    values_N: FloatArray,
    groups: Sequence[Any] | IntArray,
    *,
    seed: int,
    progress: Progress = silent,
) -> NumberProof:
    """Measure what the family makes of this task, beside every baseline of the family, on the same rows.

    Up to 5,000 rows are cross-validated in five folds; beyond, a fifth (5,000 at most) is held out once.

    Args:
        family: that generates.
        requirement: what is generated.
        support: all N rows, encoded.
        values_N: that they have.
        groups: (N,) rows of one group (the same row) stay on the same side of every split.
        seed: of the splits, the generations and the intervals.
        progress: told of every generation and every baseline.
    """
    group_ids = np.asarray(groups)
    distinct = len(set(group_ids.tolist()))
    if distinct < LEAST_ROWS:
        return _unmeasured(len(values_N), seed)
    protocol, splits = plan_alike(
        group_ids, seed, most_folded=MOST_ROWS_FOLDED, held_out=HELD_OUT, largest=LARGEST_HOLDOUT
    )
    if not protocol.rows:
        return _unmeasured(len(values_N), seed)
    controls = family.controls(requirement)
    told = steps(progress, len(splits) * (1 + len(controls)))
    next(told)
    ours = np.full((3, len(values_N)), np.nan)
    theirs = np.full((len(controls), len(values_N)), np.nan)
    for train, test in splits:
        known, features = support.take(train), support.take(test)
        estimate = family.predict(
            requirement, family.generate(requirement, known, values_N[train], seed=seed), features
        )
        ours[:, test] = estimate.values, estimate.low, estimate.high
        next(told)
        for at, control in enumerate(controls):
            theirs[at, test] = control.answer(requirement, known, values_N[train], features, seed)
            next(told)
    measured = np.flatnonzero(~np.isnan(ours[0]))
    others = [Foretold(one.name, one.title, theirs[at, measured]) for at, one in enumerate(controls)]
    estimate = Estimate(*ours[:, measured])
    numbers = judge(values_N[measured], estimate, others, unit=requirement.unit, seed=seed)
    reasons = _too_few(distinct)
    return NumberProof(not reasons, reasons, protocol, numbers, why_not(reasons))


def to_report(
    proof: NumberProof,
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
        scores=None,
        cost=cost,
        seconds=dict(seconds or {}),
        notes=(*notes, *proof.notes),
        numbers=proof.numbers,
    )


def score_number_file(
    family: NumberFamily[Any],
    base: Any,
    requirement: Requirement,
    weights: Weights,
    rows: Rows,
    values_N: FloatArray,
    *,
    made_from: tuple[Rows, FloatArray] | None = None,
    trained_on: str = "",
    seed: int = 0,
    progress: Progress = silent,
) -> Report:
    """Score a stored model on the rows of a file whose values are known, beside the baselines of its family.

    A bundle holds no row, so without ``made_from`` no baseline can be had.

    Raises:
        DataError: when no row has a value.
    """
    examples = labelled(rows)
    features = family.encode(base, requirement, [row.input for row in examples], progress=progress)
    others: list[Foretold] = []
    if made_from is not None:
        support = family.encode(base, requirement, [row.input for row in labelled(made_from[0])], progress=progress)
        others = [
            Foretold(one.name, one.title, one.answer(requirement, support, made_from[1], features, seed))
            for one in family.controls(requirement)
        ]
    numbers = judge(values_N, family.predict(requirement, weights, features), others, unit=requirement.unit, seed=seed)
    same = bool(trained_on) and rows.sha256 == trained_on
    reasons = (
        ("the model was made from these very rows; give rows that it has not seen",)
        if same
        else _too_few(len({row.input for row in examples}))
    )
    source = f" of {rows.source}" if rows.source else ""
    text = f"The stored model answered {len(examples)} rows{source} whose values are known."
    return Report(
        schema=REPORT_SCHEMA,
        headline=headline(numbers, where=f"on {len(examples)} rows{source}", reasons=reasons),
        proved=not reasons,
        protocol=Protocol("test-file", folds=0, rows=len(examples), seed=seed, text=text),
        scores=None,
        notes=(*rows.notes, *why_not(reasons)),
        numbers=numbers,
    )


# --- the verdict -------------------------------------------------------------------------------------------


def judge(
    values_M: FloatArray, estimate: Estimate, others: Sequence[Foretold], *, unit: str = "", seed: int = 0
) -> Numbers:
    """Judge foretold values beside those of the baselines.

    Raises:
        DataError: when there is no row.
    """
    if not len(values_M):
        raise DataError("There is no row to score. Give rows whose value is known.")
    inside: BoolArray = (values_M >= estimate.low) & (values_M <= estimate.high)
    return Numbers(
        scores=scores(values_M, estimate.values, seed=seed),
        baselines=tuple(_baseline(values_M, estimate.values, other, seed) for other in others),
        nominal=NOMINAL,
        covered=proportion(int(inside.sum()), len(inside)),
        width=float(np.mean(estimate.high - estimate.low)),
        unit=unit,
    )


def scores(values_M: FloatArray, foretold_M: FloatArray, *, seed: int = 0) -> NumberScores:
    """Score M foretold values; the interval of R2 is a bootstrap over rows."""
    error_M = foretold_M - values_M
    r2_R = _r2(values_M, error_M, _resampled(len(values_M), seed))
    low, high = np.quantile(r2_R, [0.025, 0.975])
    r2 = float(_r2(values_M, error_M, np.arange(len(values_M))[None])[0])
    return NumberScores(
        n=len(values_M),
        r2=Metric(r2, min(float(low), r2), max(float(high), r2)),
        rmse=float(np.sqrt(np.mean(error_M**2))),
        mae=float(np.mean(np.abs(error_M))),
    )


def _baseline(values_M: FloatArray, ours_M: FloatArray, other: Foretold, seed: int) -> NumberBaseline:
    rows_RM = _resampled(len(values_M), seed)
    ours, theirs = ours_M - values_M, other.values_M - values_M
    difference_R = _r2(values_M, ours, rows_RM) - _r2(values_M, theirs, rows_RM)
    whole = np.arange(len(values_M))[None]
    value = float((_r2(values_M, ours, whole) - _r2(values_M, theirs, whole))[0])
    low, high = np.quantile(difference_R, [0.025, 0.975])
    p = _swapped(ours**2 - theirs**2, seed)
    verdict: Verdict = "tie" if p >= _SIGNIFICANT else "better" if value > 0 else "worse"
    return NumberBaseline(
        name=other.name,
        title=other.title,
        scores=scores(values_M, other.values_M, seed=seed),
        difference=Metric(value, min(float(low), value), max(float(high), value)),
        p_value=p,
        verdict=verdict,
    )


def _resampled(n: int, seed: int) -> IntArray:
    return np.random.default_rng(seed).integers(n, size=(_RESAMPLES, n))


def _r2(values_M: FloatArray, error_M: FloatArray, rows_RM: IntArray) -> FloatArray:
    """Return (R,) the share of variance told; 0 where there is none and no error, as scikit-learn has it."""
    drawn_RM = values_M[rows_RM]
    total_R = ((drawn_RM - drawn_RM.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    left_R = (error_M[rows_RM] ** 2).sum(axis=1)
    return np.where(total_R > 0, 1 - left_R / np.where(total_R > 0, total_R, 1), 0.0)


def _swapped(differences_M: FloatArray, seed: int) -> float:
    """Return the two-sided p of a mean difference, by the signs that swapping two ways at random would give."""
    signs_RM = np.random.default_rng([seed, 1]).choice([-1.0, 1.0], size=(_RESAMPLES, len(differences_M)))
    extreme = np.abs(signs_RM @ differences_M) >= abs(differences_M.sum()) * (1 - 1e-12)
    return float((1 + extreme.sum()) / (1 + _RESAMPLES))


def headline(numbers: Numbers | None, *, where: str, reasons: Sequence[str] = ()) -> str:
    """Say how good the model is, in one line; losses and ties included."""
    measured = _measured(numbers, where) if numbers else ""
    if not reasons:
        return measured or "Not proved: nothing was measured."
    return ". ".join(filter(None, [f"Not proved: {'; '.join(reasons)}", measured]))


def _measured(numbers: Numbers, where: str) -> str:
    found, unit = numbers.scores, f" {numbers.unit}" if numbers.unit else ""
    r2 = f"R² {found.r2.value:.3f} [{found.r2.low:.3f}, {found.r2.high:.3f}]"
    told = f"{r2} {where}, off by {found.mae:.4g}{unit} on average"
    if winner := _best(numbers.baselines, "worse"):
        return (
            f"A baseline wins: {winner.title} is better (R² {winner.scores.r2.value:.3f} against {found.r2.value:.3f} "
            f"{where}, {p_value(winner.p_value)})"
        )
    if equal := _best(numbers.baselines, "tie"):
        theirs = f"R² {equal.scores.r2.value:.3f}, {p_value(equal.p_value)}"
        return f"{told}; no better than {equal.title} on these rows ({theirs})"
    if not numbers.baselines:
        return f"{told}; compared with no baseline"
    return f"{told}; better than all {len(numbers.baselines)} baselines"


def _best(baselines: Sequence[NumberBaseline], verdict: Verdict) -> NumberBaseline | None:
    return max((one for one in baselines if one.verdict == verdict), key=lambda one: one.scores.r2.value, default=None)


# --- which rows measure ------------------------------------------------------------------------------------


def _too_few(distinct: int) -> tuple[str, ...]:
    return () if distinct >= LEAST_PROVED else (f"{distinct} different rows are too few; give at least {LEAST_PROVED}",)


def _unmeasured(n: int, seed: int) -> NumberProof:
    text = f"Nothing was measured: {n} rows cannot be divided." if n else "There were no rows."
    reasons = (f"{n} rows are too few to hold any out",)
    protocol = Protocol("none", folds=0, rows=0, seed=seed, text=text)
    return NumberProof(False, reasons, protocol, None, why_not(reasons))
