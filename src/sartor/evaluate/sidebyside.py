"""Several models on the same rows: what each scores, how they differ row by row, and which measures they keep.

Dimension key:   N: rows   C: labels of all models and of the rows
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from sartor.errors import DataError
from sartor.evaluate import answers as written_answers
from sartor.evaluate import numbers, quality
from sartor.evaluate.compare import holm, paired
from sartor.evaluate.kpi import KpiVerdict
from sartor.evaluate.machine import MachineCard
from sartor.evaluate.timing import Throughput
from sartor.families.interface import BoolArray, Estimate, FloatArray
from sartor.types import Metric, Note, NumberScores, Scores, Verdict, WrittenScores

Kind: TypeAlias = Literal["labels", "values", "texts"]
_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Said:
    """What one model said of the rows; which of the three depends on its kind."""

    names: tuple[str, ...] = ()
    """Its labels, columns of ``probabilities``."""
    probabilities: FloatArray | None = None
    abstain: BoolArray | None = None
    estimate: Estimate | None = None
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quality:
    """How good one model is on the rows; one of the three."""

    scores: Scores | None = None
    numbers: NumberScores | None = None
    written: WrittenScores | None = None


@dataclass(frozen=True, slots=True)
class Contest:
    """A later model against an earlier one, row by row. Positive differences favour the later."""

    model: str
    against: str
    difference: Metric
    """Of accuracy, of exact answers, or of R2."""
    gained: int | None
    """Rows that only the later has right; None of values."""
    negative_flips: int | None
    """Rows that the earlier had right and the later has not."""
    p_value: float
    """Exact McNemar; of values by swapping errors at random."""
    p_holm: float
    """Corrected for all pairs of this table."""
    verdict: Verdict
    """By ``p_holm``."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What one model's answers cost on one machine."""

    model: str
    machine: str
    """The processor's name; imported rows have another machine's."""
    latency_p50_ms: float
    latency_spread_ms: tuple[float, float]
    latency_p95_ms: float
    latency_p99_ms: float
    throughput: tuple[Throughput, ...]
    cold_start_s: float | None
    peak_memory_mb: float | None
    steady_memory_mb: float | None
    size_bytes: int
    """Of the bundle."""
    base_bytes: int
    """Of the frozen base that it needs beside the bundle; 0 where it needs none."""
    joules: float | None = None
    price_per_million: float | None = None
    """Of answers in the largest batch, at the price of an hour that was given."""
    imported: bool = False


@dataclass(frozen=True, slots=True)
class Entrant:
    """One model of the table."""

    model: str
    """As it was named."""
    id: str
    name: str
    family: str
    base: str
    head: str
    parent: str | None
    n_parameters: int
    quality: Quality
    kpis: KpiVerdict | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One table: the same rows, the same machine."""

    rows: int
    data_sha256: str
    source: str
    kind: Kind
    machine: MachineCard
    rounds: int
    models: tuple[Entrant, ...]
    contests: tuple[Contest, ...]
    costs: tuple[Spent, ...]
    pick: str | None
    """The model that keeps every KPI and is right most often; of all, where no KPIs were given."""
    why: str
    notes: tuple[Note, ...] = ()


def union_of_labels(said: Sequence[Said], right: Sequence[str]) -> tuple[str, ...]:
    """Return the labels of all models, the first one's first, then those that only rows carry."""
    known = dict.fromkeys(name for one in said for name in one.names)
    return (*known, *sorted(set(right) - known.keys()))


def widened(said: Said, names: Sequence[str]) -> FloatArray:
    """Return (N, C) a model's probabilities under the labels of all; it gives none to those it does not know."""
    assert said.probabilities is not None
    place = {name: at for at, name in enumerate(names)}
    found = np.zeros((len(said.probabilities), len(names)))
    found[:, [place[name] for name in said.names]] = said.probabilities
    return found


def score(
    kind: Kind, said: Sequence[Said], right: Sequence[str], values: FloatArray | None, seed: int
) -> list[Quality]:
    """Score every model on the rows.

    Raises:
        DataError: when there is no row.
    """
    if not right:
        raise DataError("There is no row to compare on. Give a file of labelled rows.")
    if kind == "labels":
        names = union_of_labels(said, right)
        targets = _targets(names, right)
        return [Quality(scores=quality.scores(targets, widened(one, names), seed=seed)) for one in said]
    if kind == "values":
        assert values is not None
        return [Quality(numbers=numbers.scores(values, _values(one), seed=seed)) for one in said]
    found = [written_answers.score_answers(one.texts, right, **_AS_WRITTEN, seed=seed) for one in said]
    return [Quality(written=_written(one)) for one in found]


_AS_WRITTEN: Mapping[str, Any] = {"fold_case": True, "strip_punctuation": True}


def contests(
    kind: Kind,
    models: Sequence[str],
    said: Sequence[Said],
    right: Sequence[str],
    values: FloatArray | None,
    seed: int,
) -> tuple[Contest, ...]:
    """Return every pair, the later against the earlier, Holm's correction over all of them."""
    pairs = [(later, earlier) for later in range(len(said)) for earlier in range(later)]
    found = [_pair(kind, said[later], said[earlier], said, right, values, seed) for later, earlier in pairs]
    corrected = holm([one.p_value for one in found])
    return tuple(
        Contest(
            models[later],
            models[earlier],
            one.difference,
            one.gained,
            one.lost,
            one.p_value,
            p,
            "tie" if p >= _ALPHA else "better" if one.difference.value > 0 else "worse",
        )
        for (later, earlier), one, p in zip(pairs, found, corrected, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    difference: Metric
    gained: int | None
    lost: int | None
    p_value: float


def _pair(
    kind: Kind,
    later: Said,
    earlier: Said,
    everyone: Sequence[Said],
    right: Sequence[str],
    values: FloatArray | None,
    seed: int,
) -> _Pair:
    if kind == "labels":
        names = union_of_labels(everyone, right)
        found = paired(_targets(names, right), widened(later, names), widened(earlier, names))
        return _Pair(found.difference, found.wins, found.losses, found.p_value)
    if kind == "texts":
        exact = written_answers.compare_answers(later.texts, earlier.texts, right, **_AS_WRITTEN, seed=seed).exact_match
        return _Pair(exact.difference, exact.wins, exact.losses, exact.p_value)
    assert values is not None
    assert later.estimate is not None
    other = numbers.Foretold("earlier", "earlier", _values(earlier))
    [found] = numbers.judge(values, later.estimate, [other], seed=seed).baselines
    return _Pair(found.difference, None, None, found.p_value)


def share_right(found: Quality) -> Metric:
    """Return what one model is ranked by: accuracy, the share of exact answers, or R2."""
    if found.scores is not None:
        return found.scores.accuracy
    if found.written is not None:
        return found.written.exact_match
    assert found.numbers is not None
    return found.numbers.r2


def pick(models: Sequence[Entrant], costs: Sequence[Spent]) -> tuple[str | None, str]:
    """Return the model to take and why: of those that keep every KPI the one right most often, the faster of equals."""
    kept = [one for one in models if one.kpis is None or one.kpis.passed]
    if not kept:
        return None, "No model keeps every KPI."
    speed = {one.model: one.latency_p50_ms for one in costs if not one.imported}
    best = max(kept, key=lambda one: (share_right(one.quality).value, -speed.get(one.model, np.inf)))
    among = "keeps every KPI and is" if best.kpis is not None else "is"
    left = f"; {len(models) - len(kept)} of {len(models)} do not keep them" if len(kept) < len(models) else ""
    return best.model, f"{best.model} {among} right most often on these rows (the faster of equals){left}."


def _targets(names: Sequence[str], right: Sequence[str]) -> np.ndarray:
    place = {name: at for at, name in enumerate(names)}
    return np.array([place[label] for label in right], dtype=np.int64)


def _values(said: Said) -> FloatArray:
    assert said.estimate is not None
    return said.estimate.values


def _written(found: written_answers.AnswerScores) -> WrittenScores:
    return WrittenScores(
        n=found.n,
        exact_match=found.exact_match,
        token_f1=found.token_f1,
        rouge_l=found.rouge_l,
        chrf=found.chrf,
        label_accuracy=found.labels.accuracy if found.labels else None,
    )
