"""The small model answers; a larger one is asked where it would help, if the policy lets the row go.

    texts -> views of the small model -> expected gain of each larger model -> threshold -> policy, budget -> Decision

:meth:`Router.calibrate` learns from labelled rows for which rows asking helps, and sets the threshold: for a share of
calls, or so that what the small model keeps is right so often (an exact binomial bound by fixed-sequence testing, as in
:mod:`sartor.evaluate.promise`, on rows that nothing was learned from). :meth:`Router.decide` calls nothing. Whatever
fails on the way to a larger model, the small one has answered already, and the decision says why it did.

Dimension key:   N: rows   C: labels   D: width of an embedding   S: signals
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias, overload

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from sartor.errors import DataError, EgressRefused, LargeModelError, StorageError
from sartor.evaluate.promise import lower_bound, rows_needed
from sartor.families.interface import BoolArray, FloatArray, IntArray
from sartor.llm.audit import redact
from sartor.llm.interface import LargeModel
from sartor.llm.labels import Labelling
from sartor.llm.policy import Policy
from sartor.model import Classifier
from sartor.serve import router_help
from sartor.serve.router_budget import Budget
from sartor.types import Example

Source: TypeAlias = Literal["small", "large", "abstain"]

SHARE = 0.2
"""Of rows that are escalated where neither the policy nor the caller says how many."""
_WORKERS = 4
_WATCHED = 500
"""Latest rows whose wish to escalate is held against what calibration found."""
_LEAST_WATCHED = 100
_ALARM = 1e-3
_SMALLEST = 1e-6
_FOLDS = 5
_WORTH = 0.05
"""What a dearer model must be expected to gain over a cheaper one."""
_MOST_LEARNED = 2000
"""Outcomes that help is learned from at most."""


@dataclass(frozen=True, slots=True)
class Views:
    """What a small model sees in N rows."""

    probabilities: FloatArray
    """(N, C) calibrated."""
    scope: FloatArray
    """(N,) how much a row looks like what the model was made for; larger is more."""
    abstain: BoolArray
    """(N,)"""
    vectors: FloatArray | None = None
    """(N, D) an embedding, where there is one."""
    words: Any = None
    """(N, K) counts of words, sparse, where there are any."""

    def take(self, rows: IntArray) -> "Views":
        """Return what is seen in these rows, in this order."""
        vectors = None if self.vectors is None else self.vectors[rows]
        words = None if self.words is None else self.words[rows]
        return Views(self.probabilities[rows], self.scope[rows], self.abstain[rows], vectors, words)


class Small(Protocol):
    """A small model, as a router needs it."""

    @property
    def labels(self) -> Sequence[str]:
        """Return its labels, in the order of all probabilities."""
        ...

    @property
    def labelling(self) -> Labelling:
        """Return what it does, as a larger model is told."""
        ...

    def views(self, texts: Sequence[str]) -> Views:
        """Return what it sees in texts."""
        ...


class OfClassifier:
    """A generated classifier as a router needs it."""

    def __init__(self, model: Classifier) -> None:
        self._model = model

    @property
    def labels(self) -> Sequence[str]:
        """Return the labels of the model."""
        return [label.name for label in self._model.requirement.labels]

    @property
    def labelling(self) -> Labelling:
        """Return the task of the model."""
        need = self._model.requirement
        return Labelling(need.description or need.name, {label.name: label.description for label in need.labels})

    def views(self, texts: Sequence[str]) -> Views:
        """Encode once; answer, and keep the embedding."""
        model = self._model
        inputs = model.several(texts)
        features = model.family.encode(model.base, model.requirement, inputs)
        prediction = model.family.predict(model.requirement, model.weights, features)
        blank = np.array([not text.strip() for text in inputs], dtype=np.bool_)
        pooled = getattr(features, "pooled", None)
        return Views(
            prediction.probabilities,
            prediction.scope,
            prediction.abstain | blank,
            None if pooled is None else np.asarray(pooled, dtype=np.float64).reshape(len(inputs), -1),
            getattr(features, "words", None),
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """Who answers a row, and why."""

    answer: str
    """One of the labels; where ``source`` is ``abstain`` the small model's best guess, not to be relied on."""
    source: Source
    confidence: float
    """Calibrated probability that the small model's answer is right; of a larger one, how often it was."""
    reason: str
    """A word, a colon and a sentence: ``confident``, ``helps``, ``not-calibrated``, ``out-of-scope``, ``budget``,
    ``ledger``, or what refused the call (:class:`EgressRefused`) or failed (:class:`LargeModelError`)."""
    egress_bytes: int = 0
    """That left for this row; of a decision that was not carried out, that would."""
    cost: float = 0.0
    """In the currency of the policy's prices; of a decision that was not carried out, at most."""
    gain: float = 0.0
    """Expected gain of asking, -1..1."""
    model: str = "small"
    """Which larger model, where one was asked."""


@dataclass(frozen=True, slots=True)
class Promise:
    """How often the small model is right where it is not overruled, in 95% of calibrations at least."""

    quality: float
    rows: int
    """Kept rows that it rests on; nothing was learned from them."""
    errors: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was found on labelled rows."""

    rows: int
    outcomes: int
    """Rows that the last of the larger models answered, rightly or wrongly."""
    threshold: float
    """Ask where the expected gain is at least this."""
    share: float
    """Of rows that were to be escalated at that threshold."""
    small_quality: float
    large_quality: tuple[float, ...]
    """Of each larger model, on the rows that it answered."""
    models: tuple[str, ...]
    """What they called themselves: another name needs another calibration."""
    promise: Promise | None = None
    needed: int = 0
    """Rows, all right, that the promise would have taken at least; 0 where none was asked for."""
    gains: FloatArray = field(default_factory=lambda: np.zeros(0))
    """(N,) expected gain of asking the last of the larger models, each row without its own outcome."""


@dataclass(frozen=True, slots=True)
class _BySignal:
    """Expects help where the small model is unsure: all that is known before a larger model ever answered."""

    def predict(self, blocks: Sequence[Any]) -> FloatArray:
        """Return (N,) one less the small model's confidence."""
        return 1.0 - blocks[0][:, 0]


@dataclass(frozen=True, slots=True)
class _Stage:
    """One larger model."""

    model: LargeModel
    help: router_help.HelpPredictor | _BySignal
    """Foretells what it gains over the one before: over the small model the first."""
    quality: float


class Router:
    """Small first, larger where it helps. Safe for many threads once calibrated."""

    def __init__(
        self, small: Classifier | Small, large: LargeModel | Sequence[LargeModel], policy: Policy | None = None
    ) -> None:
        """Put models together.

        Args:
            small: answers every row.
            large: one, or several from the cheapest to the dearest, each behind the audit (:func:`sartor.llm.connect`).
            policy: limits on traffic, and what is masked; the audit holds the same policy again, by itself.
        """
        self.small: Small = OfClassifier(small) if isinstance(small, Classifier) else small
        self.larger: tuple[LargeModel, ...] = tuple(large) if isinstance(large, Sequence) else (large,)
        self.policy = policy or Policy()
        self.budget = Budget(self.policy)
        self.calibration: Calibration | None = None
        self._stages: tuple[_Stage, ...] = ()
        self._prototypes: _Prototypes | None = None
        self._wished: deque[bool] = deque(maxlen=_WATCHED)
        self._lock = threading.Lock()

    # --- learning -------------------------------------------------------------------------------------------

    def calibrate(
        self,
        rows: Sequence[Example],
        *,
        share: float | None = None,
        promise: float | None = None,
        answers: Sequence[Sequence[str | None]] | None = None,
    ) -> Calibration:
        """Learn when to ask, from labelled rows that the small model was not made from.

        Args:
            rows: those without an output are left out.
            share: of rows to escalate; unless told the policy's, else :data:`SHARE`.
            promise: instead, how often the small model must be right where it is not overruled, 0..1.
            answers: of each larger model to each row, None where it gave none; unless told they are asked for, which
                the policy must allow for the purpose ``calibrate``.

        Raises:
            DataError: when there is no labelled row.
            EgressRefused: when the policy does not let rows go to calibrate; calibrate with ``answers``, or not at all.
            StorageError: when the ledger takes no row.
        """
        kept = [at for at, row in enumerate(rows) if row.output is not None]
        if not kept:
            raise DataError("Calibrating a router takes labelled rows that the model was not made from; there is none.")
        rows = [rows[at] for at in kept]
        texts = [row.input for row in rows]
        if answers is None:
            answers = [self._ask_all(model, texts) for model in self.larger]
        else:
            answers = [[one[at] for at in kept] for one in answers]
        views = self.small.views(texts)
        gold = [str(row.output) for row in rows]
        names = np.array(list(self.small.labels), dtype=object)
        small_right = names[views.probabilities.argmax(axis=1)] == np.array(gold, dtype=object)
        rng = np.random.default_rng(0)
        judged = rng.random(len(rows)) < 0.5 if promise is not None else np.ones(len(rows), dtype=np.bool_)
        learned = ~judged if promise is not None else judged
        position = {name: at for at, name in enumerate(names)}
        targets = np.array([position.get(one, -1) for one in gold], dtype=np.int64)
        prototypes = _Prototypes.of(views, targets, len(names), learned)
        blocks = _blocks(views, prototypes, own=learned)
        stages: list[_Stage] = []
        gains: list[FloatArray] = []
        below, known = small_right, learned
        for model, given in zip(self.larger, answers, strict=True):
            answered = np.array([answer is not None for answer in given])
            right = np.array([answer == one for answer, one in zip(given, gold, strict=True)])
            stage, gain = _learn(model, blocks, below, right, answered & known)
            stages.append(stage)
            gains.append(gain)
            below, known = right, answered & learned
        gain = _best(np.stack(gains, axis=1))[1]
        if promise is None:
            threshold, kept_promise = threshold_of(gain, self._share(share)), None
        else:
            threshold, kept_promise = _promised(gain[judged], small_right[judged], promise)
        found = Calibration(
            rows=len(rows),
            outcomes=sum(answer is not None for answer in answers[-1]),
            threshold=threshold,
            share=float((gain >= threshold).mean()),
            small_quality=float(small_right.mean()),
            large_quality=tuple(stage.quality for stage in stages),
            models=tuple(model.model for model in self.larger),
            promise=kept_promise,
            needed=0 if promise is None else rows_needed(promise),
            gains=gain,
        )
        with self._lock:
            self._stages, self._prototypes, self.calibration = tuple(stages), prototypes, found
            self._wished.clear()
        return found

    def _share(self, share: float | None) -> float:
        if share is not None:
            return share
        return SHARE if self.policy.max_share is None else self.policy.max_share

    def _ask_all(self, model: LargeModel, texts: Sequence[str]) -> list[str | None]:
        """Return a larger model's answers; None where it gave none of the labels, or the row may not go."""
        model.permit("calibrate")

        def one(text: str) -> str | None:
            try:
                return self.small.labelling.ask(model, text, "calibrate")[0]
            except LargeModelError:
                return None
            except EgressRefused:  # this row holds what may not leave, or the budget is spent
                return None

        with ThreadPoolExecutor(_WORKERS) as pool:
            return list(pool.map(one, texts))

    # --- answering ------------------------------------------------------------------------------------------

    @overload
    def decide(self, x: str) -> Decision: ...
    @overload
    def decide(self, x: list[str]) -> list[Decision]: ...
    def decide(self, x: str | list[str]) -> Decision | list[Decision]:
        """Return who would answer, without a call and without spending anything."""
        texts = [x] if isinstance(x, str) else list(x)
        decided = [self._checked(text, plan, coming=1) for text, plan in zip(texts, self._plans(texts), strict=True)]
        return decided[0] if isinstance(x, str) else decided

    @overload
    def predict(self, x: str) -> Decision: ...
    @overload
    def predict(self, x: list[str]) -> list[Decision]: ...
    def predict(self, x: str | list[str]) -> Decision | list[Decision]:
        """Return an answer for a text, or one for each of several, in order; a larger model is asked where it helps."""
        texts = [x] if isinstance(x, str) else list(x)
        with ThreadPoolExecutor(_WORKERS) as pool:
            pending: list[Callable[[], Decision]] = []
            for text, plan in zip(texts, self._plans(texts), strict=True):
                self.budget.request()
                self._watch(plan.stage is not None)
                checked = self._checked(text, plan, coming=0, spend=True)
                if checked.source == "large" and plan.stage is not None:
                    pending.append(pool.submit(self._carried_out, text, plan, checked).result)
                else:
                    pending.append(lambda checked=checked: checked)
            decided = [get() for get in pending]
        return decided[0] if isinstance(x, str) else decided

    def gains(self, texts: Sequence[str]) -> FloatArray:
        """Return (N,) what asking is expected to gain, -1..1; zero before a calibration."""
        return np.array([plan.gain for plan in self._plans(texts)], dtype=np.float64)

    def drift(self) -> str:
        """Return what has changed since the calibration so that it must be made again, "" if nothing did.

        Of rows that are like those of the calibration, ever so many ask for a larger model: an exact binomial test of
        the last 500. And a model that calls itself otherwise is another model.
        """
        found = self.calibration
        if found is None:
            return "the router was never calibrated"
        models = tuple(model.model for model in self.larger)
        if models != found.models:
            return f"another model answers ({', '.join(models)} instead of {', '.join(found.models)})"
        with self._lock:
            wished, seen = sum(self._wished), len(self._wished)
        if seen < _LEAST_WATCHED:
            return ""
        # what calibration found is itself an estimate: its own upper and lower end are tested against
        expected = (found.share * found.rows + 1) / (found.rows + 2)
        spread = 2 * float(np.sqrt(expected * (1 - expected) / found.rows))
        ends = [float(np.clip(end, _SMALLEST, 1 - _SMALLEST)) for end in (expected - spread, expected + spread)]
        odd = [
            scipy.stats.binomtest(wished, seen, end, side).pvalue
            for end, side in zip(ends, ("less", "greater"), strict=True)
        ]
        if min(odd) >= _ALARM:
            return ""
        return (
            f"{wished} of the last {seen} rows asked for a larger model, where calibration found "
            f"{100 * found.share:.0f}%: rows are no longer like those"
        )

    def _plans(self, texts: Sequence[str]) -> "list[_Plan]":
        """Return for each text what the small model says and which stage would help."""
        if not texts:
            return []
        views = self.small.views(texts)
        with self._lock:
            stages, prototypes, found = self._stages, self._prototypes, self.calibration
        best = views.probabilities.argmax(axis=1)
        confidence = views.probabilities.max(axis=1)
        if found is None:
            gains = stage = None
        else:
            blocks = _blocks(views, prototypes)
            stage, gains = _best(np.stack([one.help.predict(blocks) for one in stages], axis=1))
        plans: list[_Plan] = []
        for row in range(len(texts)):
            asked = None
            gain = 0.0
            if stage is not None and gains is not None and found is not None:
                gain = float(gains[row])
                asked = stages[int(stage[row])] if gain >= found.threshold else None
            label = self.small.labels[int(best[row])]
            plans.append(_Plan(label, float(confidence[row]), bool(views.abstain[row]), gain, asked, found is not None))
        return plans

    def _checked(self, text: str, plan: "_Plan", *, coming: int, spend: bool = False) -> Decision:
        """Return the decision that policy and budget leave of a plan."""
        if plan.stage is None:
            return plan.by_small(*_WHY[("confident" if plan.calibrated else "not-calibrated")])
        model = plan.stage.model
        request = self.small.labelling.request(text)
        size, cost = request.wire_bytes, 0.0
        if model.egress:
            try:
                self.policy.check(model.destination, "answer", model.model)
                clean = replace(request, text=redact(text, self.policy).text)
            except EgressRefused as refusal:
                return plan.by_small(refusal.outcome, str(refusal))
            size = clean.wire_bytes
            price = self.policy.price(model.model)
            cost = price.of(size, request.max_tokens) if price else 0.0
        why = self.budget.spend(size) if spend else self.budget.refusal(size, coming=coming)
        if why:
            return plan.by_small("budget", f"{why}.")
        told = f"helps: asking {model.model} is expected to gain {plan.gain:.2f}."
        return Decision(
            plan.label, "large", plan.stage.quality, told, size if model.egress else 0, cost, plan.gain, model.model
        )

    def _carried_out(self, text: str, plan: "_Plan", decision: Decision) -> Decision:
        assert plan.stage is not None
        try:
            answer, reply = self.small.labelling.ask(plan.stage.model, text)
        except LargeModelError as error:
            self.budget.charge(error.bytes_out - decision.egress_bytes)
            return replace(plan.by_small(error.outcome, str(error)), egress_bytes=error.bytes_out)
        except EgressRefused as refusal:
            self.budget.charge(-decision.egress_bytes)
            return plan.by_small(refusal.outcome, str(refusal))
        except StorageError as error:
            self.budget.charge(-decision.egress_bytes)
            return plan.by_small("ledger", str(error))
        if not reply.cached:
            self.budget.charge(reply.bytes_out - decision.egress_bytes)
        return replace(decision, answer=answer, egress_bytes=reply.bytes_out, cost=reply.cost)

    def _watch(self, wished: bool) -> None:
        with self._lock:
            self._wished.append(wished)


_WHY = {
    "confident": ("confident", "asking a larger model is not expected to help enough."),
    "not-calibrated": ("not-calibrated", "the router was not calibrated, so no larger model is asked."),
}


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the small model says of a row, and who is to be asked."""

    label: str
    confidence: float
    abstain: bool
    gain: float
    stage: _Stage | None
    calibrated: bool

    def by_small(self, word: str, sentence: str) -> Decision:
        """Return the small model's own answer, or that it has none, and why nobody else was asked."""
        source: Source = "abstain" if self.abstain else "small"
        if self.abstain and word == "confident":
            word, sentence = "out-of-scope", "the row is like none of the labels, and nobody else would know better."
        return Decision(self.label, source, self.confidence, f"{word}: {sentence}", gain=self.gain)


# --- signals -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Prototypes:
    """A cheap second view: the mean embedding of each label's rows."""

    sums: FloatArray
    """(F, C, D) of the rows of each fold."""
    folds: IntArray
    """(N,) fold of the rows that they were made from, -1 of others."""

    @classmethod
    def of(cls, views: Views, targets: IntArray, n_labels: int, used: BoolArray) -> "_Prototypes | None":
        if views.vectors is None:
            return None
        folds = np.where(used, np.random.default_rng(0).permutation(len(targets)) % _FOLDS, -1)
        one_hot = np.equal(targets[:, None], np.arange(n_labels)).astype(np.float64)
        sums = [(one_hot * (folds == fold)[:, None]).T @ views.vectors for fold in range(_FOLDS)]
        return cls(np.stack(sums), folds)

    def similarities(self, vectors: FloatArray, *, own: bool = False) -> FloatArray:
        """Return (N, C) cosines to each label's mean; ``own`` rows see means of the other folds alone.

        Were a row only taken out of its own label's mean, the gap it leaves would tell its label.
        """
        total = self.sums.sum(axis=0)
        similar = _cosines(vectors, total)
        if own:
            for fold in range(_FOLDS):
                rows = self.folds == fold
                similar[rows] = _cosines(vectors[rows], total - self.sums[fold])
        return similar


def _cosines(vectors: FloatArray, means: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=1)[:, None] * np.linalg.norm(means, axis=1)
    return vectors @ means.T / np.maximum(lengths, _SMALLEST)


def _signals(views: Views, prototypes: _Prototypes | None, *, own: bool) -> FloatArray:
    """Return (N, S): confidence, margin, entropy, scope, abstention, and whether the cheap view disagrees."""
    ordered = np.sort(views.probabilities, axis=1)
    top = np.clip(ordered[:, -1], _SMALLEST, 1 - _SMALLEST)
    second = ordered[:, -2] if ordered.shape[1] > 1 else np.zeros(len(ordered))
    entropy = -(views.probabilities * np.log(np.clip(views.probabilities, _SMALLEST, 1))).sum(axis=1)
    columns = [top, np.log(top / (1 - top)), top - second, entropy, views.scope, views.abstain.astype(np.float64)]
    if prototypes is not None and views.vectors is not None:
        similar = prototypes.similarities(views.vectors, own=own)
        best = views.probabilities.argmax(axis=1)
        nearest = np.sort(similar, axis=1)
        columns += [
            np.not_equal(similar.argmax(axis=1), best).astype(np.float64),
            nearest[:, -1] - similar[np.arange(len(best)), best],
            nearest[:, -1],
        ]
    return np.stack(columns, axis=1)


def _blocks(views: Views, prototypes: _Prototypes | None, *, own: NDArray[np.bool_] | None = None) -> list[Any]:
    """Return the blocks that help is foretold from; ``own`` rows are those that the prototypes were made of."""
    signals = _signals(views, prototypes, own=own is not None)
    blocks: list[Any] = [signals]
    if views.vectors is not None:
        blocks.append(views.vectors)
    if views.words is not None:
        blocks.append(unit_rows(views.words))
    return blocks


def unit_rows(matrix: Any) -> Any:
    """Return a sparse matrix whose rows have length one; rows of nothing stay nothing."""
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return matrix.multiply(1 / np.maximum(lengths, _SMALLEST)[:, None]).tocsr()


# --- learning ----------------------------------------------------------------------------------------------


def _learn(
    model: LargeModel,
    blocks: Sequence[Any],
    below_right: BoolArray,
    right: BoolArray,
    known: BoolArray,
) -> tuple[_Stage, FloatArray]:
    """Return a stage learned from the known rows, and (N,) the gains that it expects, each without its own outcome."""
    rows = np.flatnonzero(known)
    if not len(rows):  # nobody knows how good it is: rows that the small model is unsure of go first
        unsure = _BySignal()
        return _Stage(model, unsure, 0.0), unsure.predict(blocks)
    quality = float(right[rows].mean())
    if len(rows) > _MOST_LEARNED:  # kernels grow with the square of the rows
        rows = np.sort(np.random.default_rng(0).choice(rows, _MOST_LEARNED, replace=False))
    gain = right[rows].astype(np.float64) - below_right[rows]
    predictor = router_help.fit([block[rows] for block in blocks], gain, standardised=(0,))
    expected = predictor.predict(blocks)
    expected[rows] = predictor.left_out
    return _Stage(model, predictor, quality), expected


def _best(steps: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the stage to ask for each row, and its gain over the small model: the cheapest that none dearer beats.

    ``steps`` are what each stage gains over the one before; a dearer one has to gain :data:`_WORTH` more.
    """
    gains = np.cumsum(steps, axis=1)
    stage = np.zeros(len(gains), dtype=np.int64)
    gain = gains[:, 0].copy()
    for dearer in range(1, gains.shape[1]):
        better = gains[:, dearer] >= gain + _WORTH
        stage[better], gain[better] = dearer, gains[better, dearer]
    return stage, gain


def threshold_of(gain: FloatArray, share: float) -> float:
    """Return the threshold that ``share`` of the rows reach, and never one that asks where asking harms."""
    if share <= 0:
        return float("inf")
    at = min(round(share * len(gain)), len(gain))
    reached = float(np.sort(gain)[::-1][max(at - 1, 0)])
    return max(reached, _SMALLEST)


def _promised(gain: FloatArray, small_right: BoolArray, quality: float) -> tuple[float, Promise | None]:
    """Return the largest threshold below which the small model is right so often, by fixed-sequence testing.

    From keeping a twentieth of the rows to keeping all of them, each step is tested until one fails. Without a promise
    the threshold is minus infinity: every row is escalated that may be.
    """
    order = np.argsort(gain, kind="stable")
    right = np.concatenate([[0], np.cumsum(small_right[order])])
    ends = np.unique(np.linspace(0.05, 1.0, 20) * len(gain)).astype(np.int64)
    ends = ends[ends >= rows_needed(quality)]
    # rows of one gain are kept together
    ends = np.unique([int(np.searchsorted(gain[order], gain[order][end - 1], side="right")) for end in ends]).astype(
        np.int64
    )
    passed = np.logical_and.accumulate(lower_bound(right[ends], ends) >= quality)
    if not passed.any():
        return float("-inf"), None
    kept = int(ends[int(passed.sum()) - 1])
    threshold = float(np.nextafter(gain[order][kept - 1], np.inf))
    return threshold, Promise(quality, kept, int(kept - right[kept]))
