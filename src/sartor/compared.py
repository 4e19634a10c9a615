"""Stored models side by side: one table, one machine, the same rows.

models + labelled rows -> what each says -> scores, pairs, costs, KPIs -> Comparison
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from sartor import settings
from sartor.assets import catalogue, resolve
from sartor.data import load as loading
from sartor.data import records
from sartor.data.text import squeeze
from sartor.errors import DataError, SartorError, UserError
from sartor.evaluate import sidebyside, timing
from sartor.evaluate.kpi import KpiFile, KpiVerdict, judge_kpis, read_kpis, row_costs
from sartor.evaluate.machine import machine_card
from sartor.evaluate.sidebyside import Comparison, Entrant, Kind, Quality, Said, Spent
from sartor.families.interface import FloatArray, Writing
from sartor.model import Classifier, Model, Regressor, Writer, load
from sartor.registry import store
from sartor.requirement import tables
from sartor.types import Columns, Example, Note, Progress, Rows, from_json, silent

ROUNDS = 5
MOST_BATCH = 64
_MOST_IMPORTED = 50_000_000
"""Bytes of a file that is read."""


def compare(
    refs: Sequence[str],
    data: Path,
    *,
    columns: Columns | None = None,
    kpis: Path | None = None,
    imported: Sequence[Path] = (),
    rounds: int = ROUNDS,
    batches: Sequence[int] = timing.BATCHES,
    price_per_hour: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """Judge models on the rows of a file, and what their answers cost on this machine.

    Args:
        refs: at least one model; later ones are held against earlier ones.
        data: labelled rows that none of them was made from.
        columns: of the file, where they have no usual names.
        kpis: a ``kpi.yaml``.
        imported: what ``sartor compare --json`` printed on other machines.
        rounds: of timing; models take turns.
        batches: sizes whose throughput is told.
        price_per_hour: of this machine, for the cost of a million answers.
        seed: of intervals.
        progress: is told how far it is.

    Raises:
        UserError: when models are of different kinds, or a file cannot be used.
    """
    wanted = read_kpis(kpis) if kpis is not None else None
    others = [_read_comparison(path) for path in imported]
    names = _distinct(refs)
    models = [load(ref) for ref in names]
    kind = _one_kind(names, models)
    rows = _rows(models, data, columns or Columns(), progress)
    examples = [example for example in rows.examples if (example.output or "").strip()]
    inputs, right = [example.input for example in examples], [str(example.output) for example in examples]
    values = tables.values_of(examples, models[0].requirement.target)[0] if kind == "values" else None
    said = [_ask(model, inputs, right, progress) for model in models]
    quality = sidebyside.score(kind, said, right, values, seed)
    spent = _spent(names, models, inputs, rounds, batches, price_per_hour, progress)
    entrants = tuple(_entrant(name, model, found) for name, model, found in zip(names, models, quality, strict=True))
    if wanted is not None:
        entrants = tuple(
            replace(one, kpis=_verdict(wanted, model, kind, answers, right, values, cost))
            for one, model, answers, cost in zip(entrants, models, said, spent, strict=True)
        )
    best, why = sidebyside.pick(entrants, spent)
    return Comparison(
        rows=len(examples),
        data_sha256=rows.sha256,
        source=rows.source,
        kind=kind,
        machine=machine_card(torch.get_num_threads()),
        rounds=rounds,
        models=entrants,
        contests=sidebyside.contests(kind, names, said, right, values, seed),
        costs=(*spent, *_imported(others)),
        pick=best,
        why=why,
        notes=_notes(rows, models, names, others),
    )


def _distinct(refs: Sequence[str]) -> tuple[str, ...]:
    if twice := sorted({ref for ref in refs if refs.count(ref) > 1}):
        raise UserError(f"{twice[0]!r} is named twice. Name each model once.")
    return tuple(refs)


def _one_kind(names: Sequence[str], models: Sequence[Model]) -> Kind:
    kinds: list[tuple[Kind, str]] = [(_kind(model), model.family.reads) for model in models]
    for name, kind, model in zip(names, kinds, models, strict=True):
        if kind != kinds[0]:
            raise UserError(
                f"{names[0]} is a model of {models[0].manifest.family} and {name} one of {model.manifest.family}: they "
                "answer different questions. Compare models of one kind."
            )
    return kinds[0][0]


def _kind(model: Model) -> Kind:
    return "texts" if isinstance(model, Writer) else "values" if isinstance(model, Regressor) else "labels"


def _rows(models: Sequence[Model], data: Path, columns: Columns, progress: Progress) -> Rows:
    if models[0].family.reads != "tables":
        return loading.read_rows(data, columns, need_labels=True, progress=progress)
    targets = dict.fromkeys(squeeze(model.requirement.target) for model in models)
    if len(targets) > 1:
        raise UserError(f"These models foretell different columns ({', '.join(targets)}). Compare those of one column.")
    return records.read_records(data, columns.output or models[0].requirement.target, progress=progress)


def _ask(model: Model, inputs: Sequence[str], right: Sequence[str], progress: Progress) -> Said:
    match model:
        case Writer():
            longest = max(map(len, right), default=64)
            return Said(texts=tuple(model.predict(inputs, Writing(min(max(longest, 16), 128)), progress=progress)))
        case Regressor():
            return Said(estimate=model.estimate(inputs, progress=progress))
        case Classifier():
            found = model.prediction(inputs, progress=progress)
            names = tuple(label.name for label in model.requirement.labels)
            return Said(names, found.probabilities, found.abstain)
        case _:
            raise AssertionError(model)


def _entrant(name: str, model: Model, quality: Quality) -> Entrant:
    manifest = model.manifest
    return Entrant(
        model=name,
        id=manifest.id,
        name=manifest.name,
        family=manifest.family,
        base=manifest.base.name,
        head=manifest.head,
        parent=manifest.parent,
        n_parameters=manifest.n_parameters,
        quality=quality,
    )


# --- costs -------------------------------------------------------------------------------------------------


def _spent(
    names: Sequence[str],
    models: Sequence[Model],
    inputs: Sequence[str],
    rounds: int,
    batches: Sequence[int],
    price_per_hour: float | None,
    progress: Progress,
) -> list[Spent]:
    sample = list(inputs[: max(*batches, MOST_BATCH)])
    found = timing.interleaved(
        [_answer(model) for model in models], sample, rounds=rounds, batches=batches, progress=progress
    )
    here = machine_card(torch.get_num_threads()).processor
    spent: list[Spent] = []
    for at, (name, model, one) in enumerate(zip(names, models, found, strict=True)):
        progress("start anew", at, len(models))
        folder = store.resolve(name, settings.current().home)
        fresh = timing.fresh_process(folder, sample)
        fastest = one.throughput[-1].per_second
        spent.append(
            Spent(
                model=name,
                machine=here,
                latency_p50_ms=one.latency_p50_ms,
                latency_spread_ms=one.latency_spread_ms,
                latency_p95_ms=one.latency_p95_ms,
                latency_p99_ms=one.latency_p99_ms,
                throughput=one.throughput,
                cold_start_s=fresh.cold_start_s,
                peak_memory_mb=fresh.peak_memory_mb,
                steady_memory_mb=fresh.steady_memory_mb,
                size_bytes=sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
                base_bytes=_base_bytes(model),
                joules=one.joules,
                price_per_million=None if price_per_hour is None else price_per_hour / 3600 / fastest * 1e6,
            )
        )
    progress("start anew", len(models), len(models))
    return spent


def _answer(model: Model) -> Callable[[Sequence[str]], Any]:
    if isinstance(model, Classifier):
        return model.answer
    return model.estimate if isinstance(model, Regressor) else model.predict


def _base_bytes(model: Model) -> int:
    """Return the bytes of the frozen base that lie in the cache for this model."""
    name = model.manifest.base.name
    try:
        if (spec := catalogue.catalogue().get(name)) is not None:
            files = resolve.cached(spec, settings.current())
            anchor = spec.anchor.path.stat().st_size if spec.anchor is not None else 0
            return anchor + (files.weights.stat().st_size if files else 0)
        if (language := catalogue.language_models().get(name)) is not None:
            found = resolve.cached_language_model(language, settings.current())
            return found.weights.stat().st_size if found else 0
    except (OSError, SartorError):
        return 0
    return 0


# --- KPIs --------------------------------------------------------------------------------------------------


def _verdict(
    wanted: KpiFile,
    model: Model,
    kind: Kind,
    said: Said,
    right: Sequence[str],
    values: FloatArray | None,
    spent: Spent,
) -> KpiVerdict:
    names: dict[str, Any] = {
        "rows": float(len(right)),
        "latency_ms": spent.latency_p50_ms,
        "latency_p95_ms": spent.latency_p95_ms,
        "latency_p99_ms": spent.latency_p99_ms,
        "per_second": spent.throughput[-1].per_second,
        "size_mb": spent.size_bytes / 1e6,
        "memory_mb": np.nan if spent.peak_memory_mb is None else spent.peak_memory_mb,
        "cold_start_s": np.nan if spent.cold_start_s is None else spent.cold_start_s,
        **_told(wanted, kind, said, right, values),
    }
    return judge_kpis(wanted, names, _failed(wanted.must_pass, model))


def _told(wanted: KpiFile, kind: Kind, said: Said, right: Sequence[str], values: FloatArray | None) -> dict[str, Any]:
    """Return what expressions may name of each row."""
    if kind == "values":
        assert values is not None
        assert said.estimate is not None
        found = said.estimate
        error = found.values - values
        return {"value": values, "answer": found.values, "error": error, "low": found.low, "high": found.high}
    if kind == "texts":
        answered, sure, abstain = list(said.texts), np.ones(len(right)), np.zeros(len(right), dtype=bool)
        hit = [squeeze(one) == squeeze(other) for one, other in zip(answered, right, strict=True)]
    else:
        assert said.probabilities is not None
        assert said.abstain is not None
        answered = [said.names[at] for at in said.probabilities.argmax(axis=1)]
        sure, abstain = said.probabilities.max(axis=1), said.abstain
        hit = [one == other for one, other in zip(answered, right, strict=True)]
    is_right = np.array(hit, dtype=bool)
    return {
        "label": np.array(right, dtype=object),
        "answer": np.array(answered, dtype=object),
        "right": is_right,
        "wrong": ~is_right,
        "confidence": sure,
        "abstain": abstain,
        "cost": row_costs(wanted.costs, right, answered, abstain.tolist()),
    }


def _failed(cases: Sequence[Example], model: Model) -> list[int]:
    if not cases:
        return []
    answers = [str(one) for one in model.predict([case.input for case in cases])]
    return [
        at + 1
        for at, (got, case) in enumerate(zip(answers, cases, strict=True))
        if squeeze(got) != squeeze(str(case.output))
    ]


# --- other machines ----------------------------------------------------------------------------------------


def _read_comparison(path: Path) -> Comparison:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"The comparison {str(path)!r} cannot be read: {error.strerror or error}.") from error
    try:
        if len(data) > _MOST_IMPORTED:
            raise ValueError(f"it has {len(data):,} bytes")
        return from_json(msgspec.json.decode(data), Comparison)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path.name} is not what 'sartor compare … --json' prints ({error}). Write that into a file, and name it."
        ) from error


def _imported(others: Sequence[Comparison]) -> list[Spent]:
    return [replace(cost, imported=True) for other in others for cost in other.costs if not cost.imported]


def _notes(rows: Rows, models: Sequence[Model], names: Sequence[str], others: Sequence[Comparison]) -> tuple[Note, ...]:
    notes = list(rows.notes)
    for name, model in zip(names, models, strict=True):
        if model.manifest.data.sha256 and model.manifest.data.sha256 == rows.sha256:
            text = f"{name} was made from these very rows, so it knows them: give rows that no model has seen."
            notes.append(Note("rows", text, "warning"))
    for other in others:
        if other.data_sha256 != rows.sha256:
            text = f"What {other.machine.processor} measured was of other rows ({other.source}): only costs compare."
            notes.append(Note("import", text, "warning"))
    return tuple(notes)
