"""The proof of a model that tells what is unusual: false alarms on good inputs left out, and how much bad is found.

Where nobody has a bad input, something is planted on good ones that the scored model had not seen. That is said to be
artificial wherever it is told: it shows that a model is awake, not what it is worth on real defects.

Dimension key:   N: good inputs   M: good inputs measured   B: bad (or planted) inputs   U: units   R: resamples
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sartor.data.good_names import good_label
from sartor.errors import DataError
from sartor.evaluate.headline import p_value, percent
from sartor.evaluate.mistakes import Mistake, of_unusual
from sartor.evaluate.proof import HELD_OUT, LARGEST_HOLDOUT, MOST_ROWS_FOLDED, plan_alike, steps, why_not
from sartor.evaluate.quality import proportion
from sartor.evaluate.ranking import Ranked
from sartor.families.interface import F, FloatArray, IntArray, UnusualFamily
from sartor.types import (
    REPORT_SCHEMA,
    Cost,
    Found,
    Note,
    Progress,
    Protocol,
    Report,
    Requirement,
    Rows,
    Unusual,
    UnusualBaseline,
    UnusualScores,
    Verdict,
    Weights,
    silent,
)

MOST_PLANTED = 24
"""Good inputs that something is planted on."""
_SIGNIFICANT = 0.05
_NAMED = 3


@dataclass(frozen=True, slots=True)
class UnusualProof:
    """What was measured, and on what."""

    proved: bool
    reasons: tuple[str, ...]
    """Why it is not proved; empty when it is."""
    protocol: Protocol
    unusual: Unusual | None
    notes: tuple[Note, ...] = ()

    @property
    def headline(self) -> str:
        """Return the first line of the report."""
        return headline(self.unusual, reasons=self.reasons)


@dataclass(frozen=True, slots=True)
class Bads:
    """Bad inputs: what each is called, and of which good one it was made."""

    kinds: tuple[tuple[str, str], ...] = ()
    """Name and title."""
    kind_B: IntArray = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    of_B: IntArray = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Index of a good input; -1: of none."""

    def __len__(self) -> int:
        return len(self.kind_B)


@dataclass(frozen=True, slots=True)
class Way:
    """How a way scores good inputs, planted ones and real bad ones."""

    name: str
    title: str
    good_M: FloatArray
    planted_B: FloatArray
    real_B: FloatArray


def prove_unusual(
    family: UnusualFamily[F],
    base: Any,
    requirement: Requirement,
    inputs: Sequence[str],
    support: F,
    groups: Sequence[Any] | IntArray,
    *,
    bad: Sequence[tuple[str, str]] = (),
    seed: int,
    progress: Progress = silent,
) -> UnusualProof:
    """Measure what the family makes of good inputs, beside every baseline of the family, on the same inputs.

    Each good input is scored by a model made without it, and so is what was planted on some of them. Real bad inputs
    are scored by the model of every fold; the mean of how far they lie above its threshold counts.

    Args:
        family: that generates.
        base: loaded.
        requirement: what is generated.
        inputs: N good ones.
        support: the same, encoded.
        groups: (N,) inputs of one group (the same look) stay on the same side of every split.
        bad: real bad inputs, each with its label, where there are any; nothing is learned from them.
        seed: of the splits, the generations, the planting and the intervals.
        progress: told of every generation and every baseline.
    """
    group_ids = np.asarray(groups)
    distinct = len(set(group_ids.tolist()))
    if distinct <= family.least:
        return _unmeasured(len(inputs), seed)
    protocol, splits = plan_alike(
        group_ids, seed, most_folded=MOST_ROWS_FOLDED, held_out=HELD_OUT, largest=LARGEST_HOLDOUT
    )
    measured = np.sort(np.concatenate([test for _, test in splits]))
    if not len(measured) or any(len(train) < family.least for train, _ in splits):
        return _unmeasured(len(inputs), seed)
    planted, planted_features = _plant(family, base, requirement, inputs, measured, seed, progress)
    real, real_inputs = _real(bad)
    real_features = family.encode(base, requirement, real_inputs, progress=progress)
    controls = family.controls(requirement)
    ways = [("model", "this model"), *((one.name, one.title) for one in controls)]
    # the last row is how far the model's scores lie above its threshold, which is another in every fold
    good, on_planted, on_real = (np.zeros((len(ways) + 1, n)) for n in (len(inputs), len(planted), len(real)))
    told = steps(progress, len(splits) * len(ways))
    next(told)
    for train, test in splits:
        known, here = support.take(train), np.flatnonzero(np.isin(planted.of_B, test))
        parts = (support.take(test), planted_features.take(here), real_features)
        weights = family.generate(requirement, known, group_ids[train], seed=seed)
        answers = [family.predict(requirement, weights, part) for part in parts]
        for at in range(-1, len(ways)):
            if at <= 0:
                scores = [one.scores - (one.threshold if at else 0.0) for one in answers]
            else:
                scores = [controls[at - 1].answer(requirement, known, part, seed) for part in parts]
            good[at, test], on_planted[at, here] = scores[0], scores[1]
            on_real[at] += scores[2] / len(splits)
            if at >= 0:
                next(told)
    place = np.searchsorted(measured, planted.of_B)
    found = judge(
        [Way(*way, good[at, measured], on_planted[at], on_real[at]) for at, way in enumerate(ways)],
        Way("", "", good[-1, measured], on_planted[-1], on_real[-1]),
        dataclasses.replace(planted, of_B=place),
        real,
        wanted=family.false_alarms,
        n=distinct,
        seed=seed,
    )
    reasons = _too_few(distinct, family.false_alarms)
    return UnusualProof(not reasons, reasons, protocol, found, why_not(reasons))


def to_report(
    proof: UnusualProof,
    *,
    threshold: float,
    cost: Cost | None = None,
    seconds: Mapping[str, float] | None = None,
    notes: Sequence[Note] = (),
) -> Report:
    """Write a proof down, with what else is known of the model; ``notes`` come before those of the proof."""
    found = proof.unusual
    return Report(
        schema=REPORT_SCHEMA,
        headline=proof.headline,
        proved=proof.proved,
        protocol=proof.protocol,
        scores=None,
        cost=cost,
        seconds=dict(seconds or {}),
        notes=(*notes, *proof.notes),
        unusual=None if found is None else dataclasses.replace(found, threshold=threshold),
    )


def score_unusual_file(
    family: UnusualFamily[Any],
    base: Any,
    requirement: Requirement,
    weights: Weights,
    rows: Rows,
    *,
    made_from: Rows | None = None,
    trained_on: str = "",
    made_from_rows: int = 0,
    seed: int = 0,
    progress: Progress = silent,
    on_mistakes: Callable[[Sequence[Mistake]], None] | None = None,
) -> Report:
    """Score a stored model on inputs of which it is known whether they are good, beside the baselines of its family.

    A bundle holds no input, so without ``made_from`` no baseline can be had.

    Args:
        family: of the model.
        base: that the model stands on, loaded.
        requirement: that the model was generated for; its one label, if it has one, is the good one.
        weights: of the model.
        rows: with labels; without any, all are taken for good ones.
        made_from: the good inputs that the model was made from.
        trained_on: hash of these, to notice when they are the same.
        made_from_rows: how many they were.
        seed: of the intervals.
        progress: told of the encoding.
        on_mistakes: given false alarms and what was missed; they quote inputs, so the report does not have them.

    Raises:
        DataError: when none of the labels is known to be the good one, or no input is good.
    """
    good, bad, notes = parted(rows, requirement)
    if not good:
        raise DataError(
            f"All {len(bad):,} inputs are bad ones: without good ones false alarms cannot be told. Put some good "
            "pictures into a folder called good, beside the others."
        )
    real, bad_inputs = _real(bad)
    features = family.encode(base, requirement, [*good, *bad_inputs], progress=progress)
    answer = family.predict(requirement, weights, features)
    if on_mistakes is not None:
        on_mistakes(of_unusual(good, bad, answer))
    ways = [Way("model", "this model", *_parts(answer.scores, len(good)))]
    above = Way("", "", *_parts(answer.scores - answer.threshold, len(good)))
    if made_from is not None:
        known, _, _ = parted(made_from, requirement)
        support = family.encode(base, requirement, known, progress=progress)
        ways += [
            Way(one.name, one.title, *_parts(one.answer(requirement, support, features, seed), len(good)))
            for one in family.controls(requirement)
        ]
    found = judge(ways, above, Bads(), real, wanted=family.false_alarms, n=made_from_rows, seed=seed)
    found = dataclasses.replace(found, threshold=answer.threshold)
    same = bool(trained_on) and rows.sha256 == trained_on
    reasons = ("the model was made from these very inputs; give some that it has not seen",) if same else ()
    if not reasons and len(good) < enough(family.false_alarms):
        reasons = (f"{len(good)} good inputs are too few; give at least {enough(family.false_alarms)}",)
    source = f" of {rows.source}" if rows.source else ""
    text = f"The stored model scored {len(good):,} good and {len(bad):,} bad inputs{source}."
    return Report(
        schema=REPORT_SCHEMA,
        headline=headline(found, reasons=reasons),
        proved=not reasons,
        protocol=Protocol("test-file", folds=0, rows=len(good) + len(bad), seed=seed, text=text),
        scores=None,
        notes=(*rows.notes, *notes, *why_not(reasons)),
        unusual=found,
    )


def _parts(scores: FloatArray, good: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    return scores[:good], np.zeros(0), scores[good:]


def enough(wanted: float) -> int:
    """Return how many good inputs can vouch for a share of false alarms.

    >>> enough(0.05)
    19
    """
    return int(np.ceil(1 / wanted - 1 - 1e-9))


# --- which are good ----------------------------------------------------------------------------------------


def parted(rows: Rows, requirement: Requirement) -> tuple[list[str], list[tuple[str, str]], tuple[Note, ...]]:
    """Return good inputs, bad ones with their label, and what must be known of that.

    Raises:
        DataError: when it cannot be told which label is the good one.
    """
    labels = sorted({row.output for row in rows.examples if row.output is not None})
    if not labels:
        note = Note("labels", "No input has a label: all are taken for good ones, so false alarms alone are measured.")
        return [row.input for row in rows.examples], [], (note,)
    own = next((label.name for label in requirement.labels), None)
    good = own if own in labels else good_label(labels)
    if good is None:
        named = ", ".join(map(repr, labels[:_NAMED])) + (" …" if len(labels) > _NAMED else "")
        raise DataError(
            f"None of the labels ({named}) is known to be that of good inputs. Call that folder "
            f"{own or 'good'!r}, and the others as you like."
        )
    known = [row for row in rows.examples if row.output is not None]
    return (
        [row.input for row in known if row.output == good],
        [(row.input, str(row.output)) for row in known if row.output != good],
        (Note("labels", f"{good!r} is taken for the good ones, every other label for bad ones."),),
    )


# --- what is asked -----------------------------------------------------------------------------------------


def _plant(
    family: UnusualFamily[F],
    base: Any,
    requirement: Requirement,
    inputs: Sequence[str],
    measured: IntArray,
    seed: int,
    progress: Progress,
) -> tuple[Bads, F]:
    """Return what was planted on some of the measured inputs, encoded."""
    few = min(MOST_PLANTED, len(measured))
    chosen = np.sort(np.random.default_rng([seed, 3]).choice(measured, few, replace=False))
    found = family.plant(base, [inputs[int(row)] for row in chosen], seed=seed)
    features = family.encode(
        base, requirement, [source for planted in found for source in planted.inputs], progress=progress
    )
    kinds = tuple((planted.kind, planted.title) for planted in found)
    return Bads(kinds, np.repeat(np.arange(len(found)), few), np.tile(chosen, len(found))), features


def _real(bad: Sequence[tuple[str, str]]) -> tuple[Bads, list[str]]:
    names = sorted({label for _, label in bad})
    kind_B = np.array([names.index(label) for _, label in bad], dtype=np.int64)
    kinds = tuple((name, name) for name in names)
    return Bads(kinds, kind_B, np.full(len(bad), -1, dtype=np.int64)), [source for source, _ in bad]


# --- the verdict -------------------------------------------------------------------------------------------


def judge(
    ways: Sequence[Way], above: Way, planted: Bads, real: Bads, *, wanted: float, n: int, seed: int = 0
) -> Unusual:
    """Judge the first way beside the others.

    Args:
        ways: the model first.
        above: how far its scores lie above its threshold.
        planted: B inputs that were made of the good ones.
        real: bad inputs.
        wanted: share of good inputs that may be called unusual.
        n: good inputs that the model is made from.
        seed: of the intervals.
    """
    ours = ways[0]
    alarms = int((above.good_M > 0).sum())
    bads = real if len(real) else planted
    ranked = Ranked(len(ours.good_M), bads.of_B)

    def bad_of(way: Way) -> FloatArray:
        return way.real_B if len(real) else way.planted_B

    return Unusual(
        wanted=wanted,
        promised=max(wanted, 1 / (n + 1)),
        threshold=0.0,
        false_alarms=proportion(alarms, len(ours.good_M)),
        planted=tuple(_found(ours.good_M, ours.planted_B, above.planted_B, planted, seed)),
        kinds=tuple(_found(ours.good_M, ours.real_B, above.real_B, real, seed)),
        scores=_scores(ours, above, ranked, seed) if len(real) else None,
        auroc=ranked.auroc(ours.good_M, bad_of(ours), seed=seed) if len(bads) else None,
        baselines=tuple(_baseline(ranked, (ours.good_M, bad_of(ours)), way, bad_of(way), seed) for way in ways[1:])
        if len(bads)
        else (),
    )


def _scores(ours: Way, above: Way, ranked: Ranked, seed: int) -> UnusualScores:
    return UnusualScores(
        n_good=len(ours.good_M),
        n_bad=len(ours.real_B),
        auroc=ranked.auroc(ours.good_M, ours.real_B, seed=seed),
        average_precision=ranked.average_precision(ours.good_M, ours.real_B, seed=seed),
        found=proportion(int((above.real_B > 0).sum()), len(above.real_B)),
    )


def _found(good_M: FloatArray, bad_B: FloatArray, above_B: FloatArray, bads: Bads, seed: int) -> Iterator[Found]:
    for at, (kind, title) in enumerate(bads.kinds):
        rows = np.flatnonzero(bads.kind_B == at)
        yield Found(
            kind=kind,
            title=title,
            n=len(rows),
            found=proportion(int((above_B[rows] > 0).sum()), len(rows)),
            auroc=Ranked(len(good_M), bads.of_B[rows]).auroc(good_M, bad_B[rows], seed=seed),
        )


def _baseline(
    ranked: Ranked, ours: tuple[FloatArray, FloatArray], way: Way, bad_B: FloatArray, seed: int
) -> UnusualBaseline:
    difference, p = ranked.difference(ours, (way.good_M, bad_B), seed=seed)
    verdict: Verdict = "tie" if p >= _SIGNIFICANT else "better" if difference.value > 0 else "worse"
    return UnusualBaseline(
        name=way.name,
        title=way.title,
        auroc=ranked.auroc(way.good_M, bad_B, seed=seed),
        difference=difference,
        p_value=p,
        verdict=verdict,
    )


def headline(found: Unusual | None, *, reasons: Sequence[str] = ()) -> str:
    """Say how good the model is, in one line; losses and ties included."""
    measured = "; ".join(_measured(found)) if found else ""
    if not reasons:
        return measured or "Not proved: nothing was measured."
    return ". ".join(filter(None, [f"Not proved: {'; '.join(reasons)}", measured]))


def _measured(found: Unusual) -> Iterator[str]:
    what = "bad ones" if found.scores else "planted (artificial) defects"
    if winner := _best(found.baselines, "worse"):
        yield f"A baseline wins: {winner.title} tells {what} better ({p_value(winner.p_value)})"
    if (alarms := found.false_alarms) is not None:
        yield (
            f"{percent(alarms.value)} of good ones that it had not seen were called unusual "
            f"[{100 * alarms.low:.1f}, {100 * alarms.high:.1f}]; {percent(found.wanted)} is wanted"
        )
    if found.scores is not None:
        auroc = found.scores.auroc
        yield (
            f"{percent(found.scores.found.value)} of {found.scores.n_bad} bad ones were found, AUROC {auroc.value:.3f} "
            f"[{auroc.low:.3f}, {auroc.high:.3f}]"
        )
    elif found.planted:
        n = sum(one.n for one in found.planted)
        share = sum(one.found.value * one.n for one in found.planted) / max(n, 1)
        yield f"{percent(share)} of {n} planted (artificial) defects were found"
    if equal := _best(found.baselines, "tie"):
        yield f"no better than {equal.title} at telling {what} ({p_value(equal.p_value)})"
    elif found.baselines and not _best(found.baselines, "worse"):
        yield f"better than all {len(found.baselines)} baselines at telling {what}"


def _best(baselines: Sequence[UnusualBaseline], verdict: Verdict) -> UnusualBaseline | None:
    return max((one for one in baselines if one.verdict == verdict), key=lambda one: one.auroc.value, default=None)


# --- which rows measure ------------------------------------------------------------------------------------


def _too_few(distinct: int, wanted: float) -> tuple[str, ...]:
    if distinct >= enough(wanted):
        return ()
    return (
        f"{distinct} different good ones can vouch for {percent(1 / (distinct + 1))} false alarms at best; it takes "
        f"{enough(wanted)} for {percent(wanted)}",
    )


def _unmeasured(n: int, seed: int) -> UnusualProof:
    reasons = (f"{n} good ones are too few to hold any out",)
    text = f"Nothing was measured: {n} good ones cannot be divided."
    protocol = Protocol("none", folds=0, rows=0, seed=seed, text=text)
    return UnusualProof(False, reasons, protocol, None, why_not(reasons))
