"""The report of a small and a large model together: quality, calls, bytes, personal data and cost, beside controls.

Every row is answered by both, once. The help predictor is learned on four fifths of the rows and judged on the fifth
that it has not seen, and so are its thresholds; the rows of all fifths make one deferral curve. APGR is the mean, over
all shares of calls, of the part of the gap from the small to the large model that is recovered (Ong et al., RouteLLM,
https://arxiv.org/abs/2406.18665), with the exact sweep of thresholds.

Dimension key:   N: rows   R: resamples   T: shares of calls, N + 1
"""

import dataclasses
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from sartor.errors import DataError, EgressRefused, LargeModelError
from sartor.evaluate.quality import proportion
from sartor.families.interface import BoolArray, FloatArray
from sartor.llm import privacy
from sartor.llm.audit import redact
from sartor.llm.interface import LargeModel
from sartor.llm.labels import Labelling
from sartor.llm.policy import Policy
from sartor.serve.router import Router, Small, Views, threshold_of
from sartor.types import Example, Metric, Note, Progress, silent

ArmName: TypeAlias = Literal["small-only", "large-only", "collaboration", "random-mix", "oracle"]

SHARES = (0.1, 0.2, 0.4)
"""Of calls, at which collaboration and the random mix are shown."""
LEAST_ROWS = 50
_FOLDS = 5
_RESAMPLES = 500
_WORKERS = 4
_POINTS = 100


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to answer all rows."""

    arm: ArmName
    threshold: float | None
    """Of the expected gain from which on the large model is asked, mean over folds."""
    quality: Metric
    """Share of rows answered rightly."""
    calls_per_1k: float
    bytes_out_per_1k: float
    """Of content; of a model that is no egress, what would be sent to one that is."""
    tokens_out_per_1k: float
    pii_leaked_per_1k: float
    """Pieces of personal data, as the recognisers find them, that stand in what is sent."""
    cost_ratio: float
    """To asking the large model every time; by tokens where the policy has no price."""
    p50_ms: float
    p95_ms: float

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON; the interval beside its value."""
        content = dataclasses.asdict(self)
        content["quality"] = self.quality.value
        placed: dict[str, Any] = {}
        for key, value in content.items():
            placed[key] = value
            if key == "quality":
                placed["interval"] = [self.quality.low, self.quality.high]
        return placed


@dataclass(frozen=True, slots=True)
class Collaboration:
    """What was found."""

    arms: tuple[Arm, ...]
    curve: tuple[tuple[float, float], ...]
    """Share of calls and quality, rows of the largest expected gain first."""
    apgr: Metric | None
    """None where the large model is no better than the small one."""
    auc: float
    """Area under the deferral curve: mean quality over all shares of calls."""
    recovered: Metric | None
    """Part of the gap at a fifth of the calls."""
    rows: int
    unanswered: int
    """Rows that the large model gave none of the labels for, or was not asked."""
    withheld: int
    """Of these, rows that the policy does not let go."""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class _Asked:
    """One row at the large model."""

    answer: str | None = None
    size: int = 0
    tokens_out: int = 0
    price: float = 0.0
    seconds: float = 0.0
    leaked: int = 0
    withheld: bool = False


def evaluate(
    small: Small,
    large: LargeModel,
    rows: Sequence[Example],
    policy: Policy,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Collaboration:
    """Answer all rows by both models, and show what routing between them is worth.

    Args:
        small: the model whose rows they are.
        large: behind the audit.
        rows: labelled; the small model must not have been made from them.
        policy: what a row must be to leave, also of a model that is no egress.
        seed: of folds and resamples.
        progress: told of the rows that the large model was asked for.

    Raises:
        DataError: when there are fewer than :data:`LEAST_ROWS` labelled rows.
        EgressRefused: when the policy lets nothing leave to calibrate; nothing was sent then.
        StorageError: when the ledger takes no row.
    """
    rows = [row for row in rows if row.output is not None]
    if len(rows) < LEAST_ROWS:
        raise DataError(
            f"There are {len(rows)} labelled rows; thresholds that are judged by rows they were not made from take "
            f"{LEAST_ROWS} at least."
        )
    large.permit("calibrate")
    texts, gold = [row.input for row in rows], np.array([str(row.output) for row in rows], dtype=object)
    started = time.perf_counter()
    known = _Known(small, texts)
    small_ms = 1000 * (time.perf_counter() - started) / len(rows)
    names = np.array(list(small.labels), dtype=object)
    small_right = names[known.views(texts).probabilities.argmax(axis=1)] == gold
    asked = _ask_all(small, large, texts, policy, progress)
    gains, thresholds = _left_out(known, large, rows, asked, seed)
    return _found(small_right, gold, asked, gains, thresholds, small_ms, seed)


class _Known:
    """A small model that has seen these texts, and looks at each once."""

    def __init__(self, small: Small, texts: Sequence[str]) -> None:
        self.labels: Sequence[str] = small.labels
        self.labelling: Labelling = small.labelling
        self._views = small.views(texts)
        self._at = {text: at for at, text in enumerate(texts)}

    def views(self, texts: Sequence[str]) -> Views:
        return self._views.take(np.array([self._at[text] for text in texts], dtype=np.int64))


def _ask_all(small: Small, large: LargeModel, texts: Sequence[str], policy: Policy, progress: Progress) -> list[_Asked]:
    done = 0

    def one(text: str) -> _Asked:
        nonlocal done
        found = _ask(small, large, text, policy)
        done += 1
        progress("ask", done, len(texts))
        return found

    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(one, texts))


def _ask(small: Small, large: LargeModel, text: str, policy: Policy) -> _Asked:
    """Return what the large model says of one text, and what it took; a row that may not go is not asked for."""
    try:
        clean = redact(text, policy).text
    except EgressRefused:
        return _Asked(withheld=True)
    size = small.labelling.request(clean).wire_bytes
    leaked = sum(span.text in clean for span in privacy.find(text))
    try:
        answer, reply = small.labelling.ask(large, text, "calibrate")
    except EgressRefused:  # the budget is spent
        return _Asked(withheld=True)
    except LargeModelError:
        return _Asked(size=size, leaked=leaked)
    price = reply.cost or float(reply.tokens_out + reply.tokens_in)
    return _Asked(answer, size, reply.tokens_out, price, reply.latency_s, leaked)


def _left_out(
    small: Small, large: LargeModel, rows: Sequence[Example], asked: Sequence[_Asked], seed: int
) -> tuple[FloatArray, FloatArray]:
    """Return (N,) expected gains and (N, shares) thresholds, each learned from the other folds."""
    folds = np.random.default_rng(seed).permutation(len(rows)) % _FOLDS
    gains, thresholds = np.zeros(len(rows)), np.zeros((len(rows), len(SHARES)))
    for fold in range(_FOLDS):
        learned, judged = ([int(at) for at in np.flatnonzero(side)] for side in (folds != fold, folds == fold))
        router = Router(small, large)
        found = router.calibrate(
            [rows[at] for at in learned], answers=[[asked[at].answer for at in learned]], share=0.2
        )
        gains[judged] = router.gains([rows[at].input for at in judged])
        thresholds[judged] = [threshold_of(found.gains, share) for share in SHARES]
    return gains, thresholds


def _found(
    small_right: BoolArray,
    gold: Any,
    asked: Sequence[_Asked],
    gains: FloatArray,
    thresholds: FloatArray,
    small_ms: float,
    seed: int,
) -> Collaboration:
    answered = np.array([one.answer is not None for one in asked])
    withheld = np.array([one.withheld for one in asked])
    large_right = np.array([one.answer == right for one, right in zip(asked, gold, strict=True)])
    # where the large model has nothing to say, the small one has answered already
    escalated_right = np.where(answered, large_right, small_right)
    books = _Books(asked, small_ms)
    everything, nothing = np.ones(len(asked), dtype=np.bool_), np.zeros(len(asked), dtype=np.bool_)
    arms = [
        books.arm("small-only", None, _share(small_right), nothing),
        books.arm("large-only", None, _share(large_right), everything & ~withheld),
    ]
    mixes: list[Arm] = []
    for at in range(len(SHARES)):
        called = (gains >= thresholds[:, at]) & ~withheld
        right = np.where(called, escalated_right, small_right)
        arms.append(books.arm("collaboration", float(thresholds[:, at].mean()), _share(right), called))
        mixes.append(books.mix(called.mean(), small_right, escalated_right, ~withheld))
    helped = escalated_right & ~small_right
    arms = [*arms, *mixes, books.arm("oracle", None, _share(small_right | helped), helped)]
    step = _steps(gains, small_right, escalated_right, np.random.default_rng(seed))
    small_quality, gap = float(small_right.mean()), float(escalated_right.mean() - small_right.mean())
    quality = small_quality + step.curve
    marks = np.unique(np.linspace(0, len(asked), _POINTS + 1).astype(int))
    return Collaboration(
        arms=tuple(arms),
        curve=tuple((float(mark / len(asked)), float(quality[mark])) for mark in marks),
        apgr=step.apgr if gap > 0 else None,
        auc=float(quality.mean()),
        recovered=step.recovered if gap > 0 else None,
        rows=len(asked),
        unanswered=int((~answered).sum()),
        withheld=int(withheld.sum()),
        notes=tuple(_notes(answered, withheld, gap)),
    )


def _notes(answered: BoolArray, withheld: BoolArray, gap: float) -> list[Note]:
    notes: list[Note] = []
    if withheld.any():
        text = (
            f"The policy does not let {int(withheld.sum())} of {len(withheld)} rows go: the small model answers "
            "them, and the large one alone has them wrong."
        )
        notes.append(Note("withheld", text, "warning"))
    if failed := int((~answered & ~withheld).sum()):
        text = f"The large model gave none of the labels for {failed} rows; that counts as wrong where it is alone."
        notes.append(Note("unanswered", text, "warning"))
    if gap <= 0:
        notes.append(
            Note("gap", "The large model is no better than the small one here: asking wins nothing.", "warning")
        )
    return notes


def _share(right: BoolArray) -> Metric:
    return proportion(int(right.sum()), len(right))


# --- arms --------------------------------------------------------------------------------------------------


class _Books:
    """What each row takes at the large model."""

    def __init__(self, asked: Sequence[_Asked], small_ms: float) -> None:
        def column(name: str) -> FloatArray:
            return np.array([getattr(one, name) for one in asked], dtype=np.float64)

        self.size, self.tokens, self.price = column("size"), column("tokens_out"), column("price")
        self.leaked, self.large_ms, self.small_ms = column("leaked"), 1000 * column("seconds"), small_ms

    def arm(self, name: ArmName, threshold: float | None, quality: Metric, called: BoolArray) -> Arm:
        """Return an arm that asks for these rows."""
        return self._arm(name, threshold, quality, called.astype(np.float64), name != "large-only")

    def mix(self, share: float, small_right: BoolArray, large_right: BoolArray, may: BoolArray) -> Arm:
        """Return what asking at random, as often, is expected to give."""
        chance = np.where(may, min(share / max(may.mean(), 1e-12), 1.0), 0.0)
        expected = np.where(may, chance * large_right + (1 - chance) * small_right, small_right)
        value = proportion(round(float(expected.sum())), len(expected))
        quality = Metric(float(expected.mean()), value.low, value.high)
        return self._arm("random-mix", None, quality, chance, True)

    def _arm(self, name: ArmName, threshold: float | None, quality: Metric, weight: FloatArray, small: bool) -> Arm:
        def per_1k(column: FloatArray) -> float:
            return float(1000 * (weight * column).mean())

        rng = np.random.default_rng(0)
        called = rng.random(len(weight)) < weight
        waited = called * self.large_ms + (self.small_ms if small else 0.0)
        whole = float(self.price.sum())
        return Arm(
            arm=name,
            threshold=threshold,
            quality=quality,
            calls_per_1k=float(1000 * weight.mean()),
            bytes_out_per_1k=per_1k(self.size),
            tokens_out_per_1k=per_1k(self.tokens),
            pii_leaked_per_1k=per_1k(self.leaked),
            cost_ratio=float((weight * self.price).sum() / whole) if whole else 0.0,
            p50_ms=float(np.quantile(waited, 0.5)),
            p95_ms=float(np.quantile(waited, 0.95)),
        )


# --- the deferral curve ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Steps:
    curve: FloatArray
    """(T,) quality above the small model's, after so many calls."""
    apgr: Metric
    recovered: Metric


def _steps(gains: FloatArray, small_right: BoolArray, large_right: BoolArray, rng: np.random.Generator) -> _Steps:
    difference = large_right.astype(np.float64) - small_right
    curve = deferral_curve(gains, difference)
    draws = [rng.integers(0, len(gains), len(gains)) for _ in range(_RESAMPLES)]
    drawn = np.array([_recovered(gains[rows], difference[rows]) for rows in draws])
    apgr, recovered = _recovered(gains, difference)
    return _Steps(curve, _interval(apgr, drawn[:, 0]), _interval(recovered, drawn[:, 1]))


def deferral_curve(gains: FloatArray, difference: FloatArray) -> FloatArray:
    """Return (N + 1,) what quality rises by when so many rows, those of the largest gain first, are escalated.

    Args:
        gains: (N,) expected; rows of one gain count as if their order were drawn.
        difference: (N,) 1 where only the large model is right, -1 where only the small one is, else 0.
    """
    order = np.argsort(-gains, kind="stable")
    _, starts = np.unique(-gains[order], return_index=True)
    sums = np.add.reduceat(difference[order], starts)
    sizes = np.diff(np.append(starts, len(gains)))
    return np.concatenate([[0.0], np.cumsum(np.repeat(sums / sizes, sizes))]) / len(gains)


def apgr(gains: FloatArray, difference: FloatArray) -> float:
    """Return the mean part of the gap that is recovered, over all shares of calls; NaN where there is no gap."""
    return _recovered(gains, difference)[0]


def _recovered(gains: FloatArray, difference: FloatArray) -> tuple[float, float]:
    """Return APGR, and the part of the gap at a fifth of the calls."""
    curve = deferral_curve(gains, difference)
    gap = curve[-1] if curve[-1] > 0 else np.nan
    return float(curve.mean() / gap), float(curve[round(0.2 * len(gains))] / gap)


def _interval(value: float, drawn: FloatArray) -> Metric:
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
    return Metric(value, float(low), float(high))


# --- the picture -------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _LEFT, _TOP, _SIDE = 640, 420, 70, 30, 330


def to_svg(found: Collaboration) -> str:
    """Return the deferral curve as a picture that needs nothing else."""
    by = {arm.arm: arm for arm in found.arms}
    small, large, oracle = (by[name].quality.value for name in ("small-only", "large-only", "oracle"))
    values = [small, large, oracle, *(quality for _, quality in found.curve)]
    low, high = min(values), max(values)
    pad = max(0.05 * (high - low), 0.005)
    low, high = max(0.0, low - pad), min(1.0, high + pad)

    def x(share: float) -> float:
        return _LEFT + share * (_WIDTH - _LEFT - 30)

    def y(quality: float) -> float:
        return _TOP + (high - quality) / max(high - low, 1e-9) * _SIDE

    curve = " ".join(f"{x(share):.1f},{y(quality):.1f}" for share, quality in found.curve)
    share = by["oracle"].calls_per_1k / 1000
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        "<title>Quality by share of calls to the large model</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
    ]
    for tick in np.linspace(low, high, 6):
        parts.append(
            f'<line x1="{x(0):.1f}" x2="{x(1):.1f}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>'
            f'<text x="{x(0) - 8:.1f}" y="{y(tick) + 4:.1f}" text-anchor="end">{100 * tick:.1f}%</text>'
        )
    for tick in np.linspace(0, 1, 6):
        parts.append(f'<text x="{x(tick):.1f}" y="{_TOP + _SIDE + 18}" text-anchor="middle">{100 * tick:.0f}%</text>')
    parts += [
        f'<text x="{x(0.5):.1f}" y="{_TOP + _SIDE + 38}" text-anchor="middle">share of calls to the large model</text>',
        f'<text x="{_LEFT}" y="18">rows answered rightly</text>',
        _line([(x(0), y(small)), (x(share), y(oracle)), (x(1), y(found.curve[-1][1]))], "#888", "2 3"),
        _line([(x(0), y(small)), (x(1), y(found.curve[-1][1]))], "#c60", "6 4"),
        f'<polyline points="{curve}" fill="none" stroke="#06c" stroke-width="2"/>',
    ]
    for arm in found.arms:
        if arm.arm == "collaboration":
            at = f'cx="{x(arm.calls_per_1k / 1000):.1f}" cy="{y(arm.quality.value):.1f}"'
            parts.append(f'<circle {at} r="4" fill="#06c"/>')
    legend = (("#06c", "collaboration"), ("#c60", "random mix"), ("#888", "oracle"))
    for at, (colour, name) in enumerate(legend):
        parts.append(
            f'<text x="{x(1) - 8:.1f}" y="{y(low) - 44 + 16 * at:.1f}" text-anchor="end" fill="{colour}">{name}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _line(points: Sequence[tuple[float, float]], colour: str, dashes: str) -> str:
    told = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{told}" fill="none" stroke="{colour}" stroke-dasharray="{dashes}"/>'
