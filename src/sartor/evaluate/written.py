"""The proof of a model that writes: every row is answered by one that was generated without it, and by the other ways.

Who answers from now on, the generated adapter (and how much of it), the anchor or the plain base, is what foretells
right answers best on rows that the adapter was generated without. The figures are of a choice in which no row has a
part itself: each fold's is made on the rows of the others.

Dimension key:   N: rows   M: rows measured   A: arms (who answers, and with which dial)   F: folds
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sartor.data import split
from sartor.evaluate.answers import AnswerScores, compare_rows, score_answers
from sartor.evaluate.headline import p_value, percent
from sartor.evaluate.proof import plan_alike, steps, why_not
from sartor.evaluate.testfile import labelled
from sartor.families.interface import FloatArray, IntArray, Writing, WritingFamily
from sartor.types import (
    REPORT_SCHEMA,
    Answerer,
    Cost,
    DialPoint,
    Example,
    Note,
    Progress,
    Protocol,
    Report,
    Requirement,
    Rows,
    Weights,
    Written,
    WrittenBaseline,
    WrittenScores,
    silent,
)

LEAST_ROWS = 4
"""Below, nothing is measured."""
LEAST_PROVED = 10
"""Rows that a proof takes."""
LEAST_SWEPT = 8
"""Rows from which on the dial is chosen."""
MOST_FOLDED = 40
"""Above, one holdout is enough: writing an answer takes a tenth of a second."""
MOST_TEST = 48
DIALS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
"""Shares of the generated part that are tried; 0 is the anchor."""
_HELD_OUT = 0.5
_TITLES: Mapping[Answerer, str] = {
    "generated": "What was generated",
    "anchor": "One adapter for all tasks (the anchor)",
    "base": "The plain base, given the input alone",
}
_OTHERS: tuple[Answerer, ...] = ("anchor", "base")
_NAMES: Mapping[Answerer, str] = {
    "generated": "What was generated",
    "anchor": "The anchor (one adapter for all tasks)",
    "base": "The plain base",
}


@dataclass(frozen=True, slots=True)
class WrittenProof:
    """What was measured, and on what."""

    proved: bool
    reasons: tuple[str, ...]
    """Why it is not proved; empty when it is."""
    protocol: Protocol
    written: Written
    notes: tuple[Note, ...] = ()

    @property
    def headline(self) -> str:
        """Return the first line of the report."""
        return headline(self.written, where=f"on {self.protocol.rows} rows it had not seen", reasons=self.reasons)


def prove_written(
    family: WritingFamily,
    base: Any,
    requirement: Requirement,
    examples: Sequence[Example],
    prompts: Sequence[str] = (),
    *,
    writing: Writing,
    seed: int,
    progress: Progress = silent,
) -> WrittenProof:
    """Measure what the family makes of this task, beside the other ways to answer, on the same rows.

    Up to 40 rows are cross-validated in five folds; of more, half are held out once, 48 at most.

    Args:
        family: that generates.
        base: loaded.
        requirement: what is generated.
        examples: all N labelled rows.
        prompts: inputs without answers.
        writing: how answers are written.
        seed: of the splits and the intervals.
        progress: told of every step.
    """
    unlabelled = _unlabelled(sum(example.output is None for example in examples))
    examples = [example for example in examples if example.output is not None]
    groups = split.group_by_text([example.input for example in examples])
    if len(examples) < LEAST_ROWS or len(set(groups.tolist())) < 2:
        return _unmeasured(len(examples), seed, unlabelled)
    protocol, splits = plan_alike(groups, seed, most_folded=MOST_FOLDED, held_out=_HELD_OUT, largest=MOST_TEST)
    if not protocol.rows:
        return _unmeasured(len(examples), seed, unlabelled)
    controls = family.controls(requirement)
    done = steps(progress, 5 + len(controls))
    next(done)
    supports = [[examples[row] for row in train] for train, _ in splits]
    made = family.generate(base, requirement, supports, prompts)
    next(done)
    folds = [_Fold(tuple(supports[f]), [examples[row] for row in test], made[f]) for f, (_, test) in enumerate(splits)]
    arms = _arms(len(examples))
    losses_MA = np.concatenate([_losses(family, base, fold, arms) for fold in folds])
    next(done)
    half_M = _halves(folds)
    choice = _Choice.of(arms, losses_MA, half_M)
    asked = _Asked(family, base, requirement, writing, folds, half_M)
    ours = asked.by(lambda half: choice.of_half[half])
    next(done)
    told: list[_Told] = []
    for answerer in _OTHERS:
        answers = asked.by(lambda _, answerer=answerer: (answerer, 1.0))
        told.append((answerer, _TITLES[answerer], answers, choice.mean(answerer)))
        next(done)
    for control in controls:
        told.append((control.name, control.title, asked.control(control.asked), None))
        next(done)
    wanted = [str(row.output) for fold in folds for row in fold.rows]
    written = _written(choice, ours, told, wanted, seed, swept=len(examples) >= LEAST_SWEPT)
    reasons = _too_few([row.input for fold in folds for row in fold.rows])
    return WrittenProof(not reasons, reasons, protocol, written, (*unlabelled, *why_not(reasons), *_told(written)))


def to_report(
    proof: WrittenProof,
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
        written=proof.written,
    )


def score_written_file(
    family: WritingFamily,
    base: Any,
    requirement: Requirement,
    weights: Weights,
    rows: Rows,
    *,
    support: Sequence[Example] = (),
    writing: Writing,
    trained_on: str = "",
    seed: int = 0,
    progress: Progress = silent,
) -> Report:
    """Score a stored model on the labelled rows of a file, beside the other ways to answer.

    Args:
        family: of the model.
        base: that the model stands on, loaded.
        requirement: that the model was generated for.
        weights: of the model.
        rows: of the file; those without an output are left out, and a note says so.
        support: the rows that the model was made from; a bundle holds none, so without them no way that is shown any.
        writing: how answers are written.
        trained_on: hash of the rows that the model was made from, to notice when they are the same.
        seed: of the intervals.
        progress: told of every step.

    Raises:
        DataError: when no row is labelled.
    """
    examples = labelled(rows)
    controls = [one for one in family.controls(requirement) if support or not one.needs_rows]
    done = steps(progress, 3 + len(controls))
    next(done)
    texts, wanted = [row.input for row in examples], [str(row.output) for row in examples]
    head, dial = family.settled(weights)

    settled = [family.settle(weights, answerer, dial) for answerer in (head, *_OTHERS)]
    ours_loss, *losses = family.losses(base, settled, examples).mean(axis=1).tolist()
    said: list[list[str]] = []
    for one in settled:
        said.append(family.answer(base, one, texts, writing))
        next(done)
    others = zip(_OTHERS, said[1:], losses, strict=True)
    told: list[_Told] = [(name, _TITLES[name], answers, loss) for name, answers, loss in others]
    for control in controls:
        answers = family.answer(base, None, [control.asked(requirement, support, text) for text in texts], writing)
        told.append((control.name, control.title, answers, None))
        next(done)
    scores, baselines = _scored(said[0], ours_loss, told, wanted, seed)
    found = Written(head, f"{_NAMES[head]} answers, as was settled when the model was made.", dial, scores, baselines)
    reasons = _reasons(rows, trained_on, texts)
    source = f" of {rows.source}" if rows.source else ""
    text = f"The stored model answered {len(examples)} labelled rows{source}."
    return Report(
        schema=REPORT_SCHEMA,
        headline=headline(found, where=f"on {len(examples)} rows{source}", reasons=reasons),
        proved=not reasons,
        protocol=Protocol("test-file", folds=0, rows=len(examples), seed=seed, text=text),
        scores=None,
        notes=(*rows.notes, *_unlabelled(len(rows.examples) - len(examples)), *why_not(reasons)),
        written=found,
    )


# --- which rows measure ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Fold:
    """Rows to generate from, rows to measure on, and what was generated."""

    support: tuple[Example, ...]
    rows: Sequence[Example]
    weights: Weights


def _halves(folds: Sequence[_Fold]) -> IntArray:
    """Return (M,) the parts between which choices are crossed: the folds, or the two halves of a holdout."""
    if len(folds) == 1:  # a text is in one half only
        groups = split.group_by_text([row.input for row in folds[0].rows])
        _, first, of = np.unique(groups, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[of] % 2
    return np.repeat(np.arange(len(folds)), [len(fold.rows) for fold in folds])


# --- who answers -------------------------------------------------------------------------------------------

_Arm = tuple[Answerer, float]


def _arms(n: int) -> tuple[_Arm, ...]:
    """Return who may answer, in the order in which ties are broken."""
    dials = sorted(DIALS, key=lambda dial: abs(dial - 1)) if n >= LEAST_SWEPT else [1.0]
    return (*(("generated", dial) for dial in dials), ("anchor", 1.0), ("base", 1.0))


def _losses(family: WritingFamily, base: Any, fold: _Fold, arms: Sequence[_Arm]) -> FloatArray:
    """Return (rows, A)."""
    return family.losses(base, [family.settle(fold.weights, *arm) for arm in arms], fold.rows).T


def _means(losses_MA: FloatArray) -> FloatArray:
    """Return (A,); infinite where it is no number, and all alike where there is no row: the first arm is taken."""
    means_A = losses_MA.sum(axis=0) / max(len(losses_MA), 1)
    return np.where(np.isfinite(means_A), means_A, np.inf)


@dataclass(frozen=True, slots=True)
class _Choice:
    """The arm of the least mean loss, over all rows and without those of each part."""

    arms: tuple[_Arm, ...]
    means_A: FloatArray
    whole: _Arm
    of_half: Mapping[int, _Arm]
    loss: float
    """Of the rows, each under the arm that was chosen without it."""

    @classmethod
    def of(cls, arms: tuple[_Arm, ...], losses_MA: FloatArray, half_M: IntArray) -> "_Choice":
        best = {half: int(_means(losses_MA[half_M != half]).argmin()) for half in np.unique(half_M).tolist()}
        own = [losses_MA[row, best[half]] for row, half in enumerate(half_M.tolist())]
        means_A = _means(losses_MA)
        chosen = {half: arms[at] for half, at in best.items()}
        return cls(arms, means_A, arms[int(means_A.argmin())], chosen, float(np.mean(own)))

    def mean(self, answerer: Answerer, dial: float = 1.0) -> float:
        """Return the mean loss under an arm."""
        return float(self.means_A[self.arms.index((answerer, dial))])

    @property
    def sweep(self) -> tuple[DialPoint, ...]:
        points = {0.0: self.mean("anchor")}
        points |= {dial: self.mean("generated", dial) for who, dial in self.arms if who == "generated"}
        return tuple(DialPoint(dial, points[dial]) for dial in sorted(points) if np.isfinite(points[dial]))

    @property
    def why(self) -> str:
        """Return one sentence for a person."""
        best = min(self.mean(who, dial) for who, dial in self.arms if who == "generated")
        parts = f"{best:.2f} with what was generated, {self.mean('anchor'):.2f} with the anchor alone"
        return (
            f"{_NAMES[self.whole[0]]} answers: right answers cost {parts}, {self.mean('base'):.2f} with the plain "
            "base (nats a token, on rows it was generated without; less is better)."
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """All ways to have the held-out rows answered, in the order of the folds."""

    family: WritingFamily
    base: Any
    requirement: Requirement
    writing: Writing
    folds: Sequence[_Fold]
    half_M: IntArray

    def by(self, arm: Callable[[int], _Arm]) -> list[str]:
        """Return the answers, each by the arm of its row's part."""
        said: list[str] = []
        for fold in self.folds:
            halves = self.half_M[len(said) : len(said) + len(fold.rows)].tolist()
            found = [""] * len(fold.rows)
            for half in dict.fromkeys(halves):
                rows = [at for at, other in enumerate(halves) if other == half]
                settled = self.family.settle(fold.weights, *arm(half))
                texts = [fold.rows[at].input for at in rows]
                answers = self.family.answer(self.base, settled, texts, self.writing)
                for at, answer in zip(rows, answers, strict=True):
                    found[at] = answer
            said += found
        return said

    def control(self, asked: Callable[[Requirement, Sequence[Example], str], str]) -> list[str]:
        """Return the plain base's answers to other words."""
        texts = [asked(self.requirement, fold.support, row.input) for fold in self.folds for row in fold.rows]
        return self.family.answer(self.base, None, texts, self.writing)


# --- scores ------------------------------------------------------------------------------------------------

_Told = tuple[str, str, list[str], float | None]
"""Name, title, answers and loss of another way to answer."""


def _written(
    choice: _Choice, ours: Sequence[str], told: Sequence[_Told], wanted: Sequence[str], seed: int, *, swept: bool
) -> Written:
    scores, baselines = _scored(ours, choice.loss, told, wanted, seed)
    answerer, dial = choice.whole
    return Written(answerer, choice.why, dial, scores, baselines, choice.sweep if swept else ())


def _scored(
    ours: Sequence[str], loss: float, told: Sequence[_Told], wanted: Sequence[str], seed: int
) -> tuple[WrittenScores, tuple[WrittenBaseline, ...]]:
    def score(answers: Sequence[str]) -> AnswerScores:
        return score_answers(answers, wanted, fold_case=True, strip_punctuation=True, seed=seed)

    mine = score(ours)
    baselines: list[WrittenBaseline] = []
    for name, title, answers, its_loss in told:
        its = score(answers)
        compared = compare_rows(mine.rows, its.rows, seed=seed)
        scores = _to_scores(its, its_loss)
        baselines.append(WrittenBaseline(name, title, scores, compared.exact_match, compared.token_f1))
    return _to_scores(mine, loss), tuple(baselines)


def _to_scores(found: AnswerScores, loss: float | None) -> WrittenScores:
    return WrittenScores(
        n=found.n,
        exact_match=found.exact_match,
        token_f1=found.token_f1,
        rouge_l=found.rouge_l,
        chrf=found.chrf,
        label_accuracy=found.labels.accuracy if found.labels else None,
        cross_entropy=loss if loss is not None and np.isfinite(loss) else None,
    )


# --- words -------------------------------------------------------------------------------------------------


def headline(written: Written, *, where: str, reasons: Sequence[str] = ()) -> str:
    """Say how good a model that writes is, in one line; who answers, if it is not what was generated."""
    measured = _measured(written, where) if written.scores else ""
    if measured and written.answerer != "generated":
        measured = f"{measured}. {_NAMES[written.answerer]} answers: what was generated for this task was no better"
    if not reasons:
        return measured or "Not proved: nothing was measured."
    return ". ".join(filter(None, [f"Not proved: {'; '.join(reasons)}", measured]))


def _measured(written: Written, where: str) -> str:
    assert written.scores is not None
    share = written.scores.exact_match
    right = (
        f"{percent(share.value)} exactly right [{100 * share.low:.1f}, {100 * share.high:.1f}] {where} "
        f"(token F1 {percent(written.scores.token_f1.value)})"
    )
    if winner := _strongest(written.baselines, "worse"):
        theirs = percent(winner.scores.exact_match.value)
        return (
            f"Another way wins: {winner.title} is better ({theirs} exactly right against {percent(share.value)} "
            f"{where}, {p_value(winner.paired.p_value)})"
        )
    if equal := _strongest(written.baselines, "tie"):
        theirs = percent(equal.scores.exact_match.value)
        return f"{right}; no better than {equal.title} on these rows ({theirs}, {p_value(equal.paired.p_value)})"
    return f"{right}; better than all {len(written.baselines)} other ways to answer"


def _strongest(baselines: Sequence[WrittenBaseline], verdict: str) -> WrittenBaseline | None:
    candidates = [one for one in baselines if one.paired.verdict == verdict]
    return max(candidates, key=lambda one: one.scores.exact_match.value, default=None)


def _unmeasured(n_rows: int, seed: int, notes: Sequence[Note]) -> WrittenProof:
    needed = f"about {LEAST_PROVED} with different texts are needed"
    reason = f"of {_count(n_rows)} nothing can be held out; {needed}" if n_rows else f"there is no row; {needed}"
    text = f"Nothing was measured: {_count(n_rows)} cannot be divided." if n_rows else "There were no labelled rows."
    protocol = Protocol("none", folds=0, rows=0, seed=seed, text=text)
    written = Written("generated", "Nothing was measured, so what was generated answers.", 1.0)
    return WrittenProof(
        proved=False, reasons=(reason,), protocol=protocol, written=written, notes=(*notes, *why_not((reason,)))
    )


def in_bulk(n_rows: int, answerer: Answerer, dial: float, seed: int) -> WrittenProof:
    """Return the proof of a model that was made among many: nothing was measured, and it says so."""
    reason = "it was made in bulk, where nothing is measured; 'sartor evaluate' with rows it has not seen proves it"
    whose = "What was generated answers" if answerer == "generated" else f"{_NAMES[answerer]} answers"
    why = f"{whose}; made in bulk, it was not held against the other ways."
    protocol = Protocol("none", folds=0, rows=0, seed=seed, text=f"Made in bulk from {_count(n_rows)}, not measured.")
    return WrittenProof(False, (reason,), protocol, Written(answerer, why, dial), why_not((reason,)))


def _too_few(texts: Sequence[str]) -> tuple[str, ...]:
    """Return why rows of these texts prove nothing: copies of one text are one row."""
    n, distinct = len(texts), len(set(split.group_by_text(texts).tolist()))
    if distinct >= LEAST_PROVED:
        return ()
    rows = _count(n) if n == distinct else f"{_count(n)} with {distinct} different texts"
    return (f"only {rows} could be measured; {LEAST_PROVED} are needed",)


def _count(n: int) -> str:
    return "1 row" if n == 1 else f"{n} rows"


def _reasons(rows: Rows, trained_on: str, texts: Sequence[str]) -> tuple[str, ...]:
    if trained_on and rows.sha256 == trained_on:
        return ("the model was made from these very rows; give rows that it has not seen",)
    return _too_few(texts)


def _told(written: Written) -> Iterator[Note]:
    if written.answerer != "generated":
        yield Note("answerer", written.why, "warning")


def _unlabelled(missing: int) -> tuple[Note, ...]:
    return (Note("unlabelled", f"Left out: {_count(missing)} without an answer.", "warning"),) if missing else ()


def with_answerer(proof: WrittenProof, answerer: Answerer, dial: float, why: str) -> WrittenProof:
    """Return a proof that measured nothing, of a model whose answerer was settled otherwise."""
    return dataclasses.replace(proof, written=dataclasses.replace(proof.written, answerer=answerer, dial=dial, why=why))
