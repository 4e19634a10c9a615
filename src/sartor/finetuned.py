"""A stored model and more rows: fine-tuned from what was generated, kept only if it is not worse than its parent.

model + rows -> method and budget -> candidate -> rows that it did not see -> gate -> a bundle that names its parent
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
import torch

from sartor import derived, settings
from sartor.data import load as loading
from sartor.data import records, split
from sartor.data.text import encodable, short
from sartor.derived import Derived
from sartor.errors import DataError, TaskError, did_you_mean
from sartor.evaluate import numbers, testfile
from sartor.evaluate.compare import paired
from sartor.evaluate.headline import percent
from sartor.evaluate.judge import Answers
from sartor.families import text_classification, text_generation
from sartor.families.interface import FloatArray, IntArray
from sartor.families.text_generation import WritingBase
from sartor.finetune import adapted_head, generated, table_head, writer
from sartor.finetune.adapted_head import Options
from sartor.finetune.interface import Budget, Clock
from sartor.model import Classifier, Model, Regressor, Writer, load
from sartor.nn import features, solve
from sartor.nn.features import TextFeatures
from sartor.nn.text_base import TextBase
from sartor.nn.tuned import is_tuned, tuned_weights
from sartor.requirement import tables
from sartor.types import (
    REPORT_SCHEMA,
    Columns,
    DataRef,
    Example,
    Note,
    Progress,
    Protocol,
    Report,
    Rows,
    Weights,
    silent,
)

HEAD = "head"
METHODS = (HEAD, *generated.METHODS)
DEFAULT_SECONDS = 60.0
FEW_ROWS = 64
"""Below, gradients have nothing to hold rows out of."""
MANY_ROWS = 2000
LEAST_ROWS = 8
LEAST_DESCENT = 24
_SHORT_S = 20.0
_HELD_OUT, _WATCHED = 0.2, 0.15
_MOST_JUDGED = 1000
_MOST_WRITTEN = 48
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|seconds|m|min|minutes|steps?)")


@dataclass(frozen=True, slots=True)
class Finetuned:
    """A candidate, and how it came about."""

    derived: Derived
    why: str
    """Why this method."""
    steps: int
    """Of gradient; 0 for a head that was solved."""
    best_step: int
    """The one that is kept."""
    interrupted: bool
    learned: int
    """Rows."""
    judged: int
    """Rows that it was held against its parent on."""
    trained_parameters: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What a method gives back."""

    weights: Weights
    head: str
    judged: IntArray
    """Which rows it is judged on, by a model that had not seen them."""
    probabilities: FloatArray
    """(M, C) of these."""
    protocol: Protocol
    learned: int
    trained: int
    steps: int = 0
    best_step: int = 0
    interrupted: bool = False


def parse_budget(text: str | None) -> Budget | None:
    """Return a budget of seconds, steps or both; None for none given.

    >>> parse_budget("2m,100steps")
    Budget(seconds=120.0, steps=100)

    Raises:
        TaskError: when it is not understood.
    """
    if text is None:
        return None
    seconds: float | None = None
    steps: int | None = None
    for part in text.replace(" ", "").split(","):
        found = _BUDGET.fullmatch(part.lower())
        if not found or ("." in found[1] and found[2].startswith("step")):
            raise TaskError(f"A budget is written as 60s, 5m, 200steps or 60s,200steps; got {short(text)!r}.")
        if found[2].startswith("step"):
            steps = int(found[1])
        else:
            seconds = float(found[1]) * (60 if found[2].startswith("m") else 1)
    return Budget(seconds, steps)


def finetune(
    ref: str | Path,
    data: Path,
    *,
    method: str | None = None,
    budget: Budget | None = None,
    columns: Columns | None = None,
    options: Options | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Finetuned:
    """Fine-tune a stored model on more rows, from its generated weights.

    Args:
        ref: of the model.
        data: labelled rows that it has not seen.
        method: of :data:`METHODS`; chosen by rows and budget unless given.
        budget: 60 seconds unless given.
        columns: of the file, where they have no usual names.
        options: how rows count.
        seed: of splits, adapters and the order of rows.
        progress: is told how far it is.

    Raises:
        TaskError: when the method or the budget cannot be.
        DataError: when the rows cannot be used.
        StorageError: when the disk does not take the new bundle.
    """
    clock = Clock()
    parent = load(ref)
    _check(parent, method)
    options = options or Options()
    if not 0 <= options.smoothing < 1:
        raise TaskError(f"Label smoothing is a share from 0 to below 1; got {options.smoothing:g}.")
    rows = _rows(parent, data, columns or Columns(), progress)
    if len(rows.examples) < LEAST_ROWS:
        raise DataError(
            f"{len(rows.examples)} rows are too few to learn from and to judge by: give {LEAST_ROWS} at least."
        )
    whole = budget or Budget(seconds=DEFAULT_SECONDS)
    if isinstance(parent, Regressor):
        return _values(parent, rows, whole, clock, seed, progress)
    if isinstance(parent, Writer):
        return _written(parent, rows, whole, clock, seed, progress)
    assert isinstance(parent, Classifier)
    targets = _targets(parent, rows)
    name, why = _choose(parent, targets, method, budget)
    if parent.family.reads == "tables":
        found = _table(parent, rows, targets, whole, clock, seed, progress)
    elif name == HEAD:
        found = _solved_head(parent, rows, targets, whole, options, clock, seed, progress)
    else:
        found = _descended(parent, rows, targets, name, whole, options, clock, seed, progress)
    return _finish(parent, rows, targets, found, name, why, clock, seed)


def _check(parent: Model, method: str | None) -> None:
    manifest = parent.manifest
    if method is not None and method not in METHODS:
        near = did_you_mean(method, METHODS)
        raise TaskError(f"No way to fine-tune named {method!r}.{near} Known ways: {', '.join(METHODS)}.")
    if parent.own_files or manifest.method == "float16":
        raise TaskError(
            f"{manifest.name} {manifest.id} is compressed ({manifest.method}), and has no weights to go on from. "
            f"Fine-tune what it was made from, {manifest.parent}, and compress that."
        )
    if isinstance(parent, Writer) and method not in (None, "lora"):
        raise TaskError(f"Of a model that writes the generated adapter is trained: --method lora; got {method}.")
    if parent.family.reads == "tables" and method not in (None, HEAD):
        raise TaskError(f"Of a model of a table the head is solved anew: --method head; {method} is of texts.")


def _rows(model: Model, data: Path, columns: Columns, progress: Progress) -> Rows:
    if model.family.reads == "tables":
        return records.read_records(data, columns.output or model.requirement.target, progress=progress)
    return loading.read_rows(data, columns, need_labels=True, progress=progress)


def _targets(model: Classifier, rows: Rows) -> IntArray:
    place = {label.name: at for at, label in enumerate(model.requirement.labels)}
    if unknown := sorted({str(row.output) for row in rows.examples} - place.keys()):
        named = ", ".join(repr(short(label)) for label in unknown[:3]) + (" …" if len(unknown) > 3 else "")
        more = "a label" if len(unknown) == 1 else f"{len(unknown)} labels"
        raise DataError(
            f"{rows.source or 'The rows'} has {more} that the model does not know ({named}); it knows "
            f"{', '.join(map(repr, list(place)[:5]))}{' …' if len(place) > 5 else ''}. To extend it, put these rows "
            "and those it was made from into one file and generate it anew: sartor generate … --examples BOTH."
        )
    return np.array([place[str(row.output)] for row in rows.examples], dtype=np.int64)


def _choose(model: Model, targets: IntArray, method: str | None, budget: Budget | None) -> tuple[str, str]:
    """Return a method, and why."""
    if method is not None:
        return method, "as asked"
    n, labels = len(targets), len(np.unique(targets))
    if model.family.reads == "tables":
        return HEAD, "of a model of a table the head is solved anew"
    if is_tuned(model.weights):
        return HEAD, "its encoder was fine-tuned before; the head goes on from there"
    if n < FEW_ROWS or n < 8 * labels:
        return HEAD, f"{n} rows of {labels} labels are too few for gradients; the head is solved near the generated one"
    if budget is not None and budget.seconds is not None and budget.seconds < _SHORT_S:
        return HEAD, f"{budget.seconds:g} seconds are too few for gradients; the head is solved near the generated one"
    if n >= MANY_ROWS and (budget is None or budget.seconds is None or budget.seconds >= 120):
        return "partial", f"{n:,} rows can carry the last layers whole"
    return "lora", f"{n:,} rows can carry an adapter of rank {generated.RANK} and the head"


def _spent(clock: Clock, budget: Budget, what: str) -> None:
    """Refuse a budget that leaves nothing to work with.

    Raises:
        TaskError: when it is spent.
    """
    if budget.spent(clock.seconds, 0):
        asked = " and ".join(
            [
                *([f"{budget.seconds:g} seconds"] if budget.seconds is not None else []),
                *([f"{budget.steps} steps"] if budget.steps is not None else []),
            ]
        )
        raise TaskError(
            f"The budget ({asked}) was spent before the first step: {what} took {clock.seconds:.1f} s alone. "
            f"Give {np.ceil(2 * clock.seconds + 1):.0f}s at least, or one step."
        )


# --- texts -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    """Rows of texts as the parent sees them."""

    found: TextFeatures
    logits: FloatArray
    """(N, C), of its tempered softmax."""
    groups: IntArray
    temperature: float


def _known(parent: Classifier, rows: Rows, progress: Progress) -> _Known:
    texts = [row.input for row in rows.examples]
    found = parent.family.encode(parent.base, parent.requirement, texts, progress=progress)
    temperature = float(parent.weights["temperature"])
    logits = temperature * text_classification.scores(parent.weights, found)
    return _Known(found, logits, np.asarray(split.group_by_text(texts)), temperature)


def _solved_head(
    parent: Classifier,
    rows: Rows,
    targets: IntArray,
    budget: Budget,
    options: Options,
    clock: Clock,
    seed: int,
    progress: Progress,
) -> _Candidate:
    known = _known(parent, rows, progress)
    _spent(clock, budget, "reading and encoding")
    progress("solve", 0, 0)
    blocks = _blocks(parent.weights, known.found)
    made = adapted_head.adapt(blocks, known.logits, targets, known.groups, options, seed=seed)
    weights = dict(parent.weights)
    pooled = parent.weights["pooled.weight"].double().numpy()
    names = text_classification.block_names(known.found)
    for name, change in made.weights.items():
        if name in names:
            pooled[names.index(name)] += change / known.temperature
        else:
            key = f"{name}.weight"
            weights[key] = (parent.weights[key].double() + torch.from_numpy(change / known.temperature)).half()
    weights["pooled.weight"] = torch.from_numpy(pooled).half()
    weights["bias"] = parent.weights["bias"] + torch.from_numpy(made.bias / known.temperature).float()
    judged = made.rows
    sharp = _settle(weights, made.left_out, targets[judged])
    text = f"Each of {len(judged):,} rows was answered by a head that was adapted without it (cross-validation)."
    folds = min(adapted_head.FOLDS, len(np.unique(known.groups)))
    return _Candidate(
        weights=weights,
        head="logistic",
        judged=judged,
        probabilities=scipy.special.softmax(sharp * made.left_out, axis=1),
        protocol=Protocol("cross-validation", folds=folds, rows=len(judged), seed=seed, text=text),
        learned=len(judged),
        trained=sum(part.size for part in made.weights.values()) + made.bias.size,
    )


def _blocks(weights: Weights, found: TextFeatures) -> dict[str, Any]:
    """Return the blocks whose weights may change.

    Of n-grams only buckets that two different texts share: the weights of others would tell what stood in one row.
    """
    blocks: dict[str, Any] = {
        name: found.pooled[:, at].astype(np.float64) for at, name in enumerate(text_classification.block_names(found))
    }
    distinct = features.distinct_rows(found.characters)
    if len(distinct) < text_classification.NGRAM_TEXTS:
        return blocks
    for name, counts in (("words", found.words), ("characters", found.characters)):
        if f"{name}.weight" in weights:
            shared = np.bincount(counts[distinct].indices, minlength=features.BUCKETS) > 1
            weighed = features.weigh(counts, weights[f"{name}.idf"].float().numpy())
            blocks[name] = weighed.multiply(shared[None, :].astype(np.float64)).tocsr()
    return blocks


def _settle(weights: dict[str, torch.Tensor], logits: FloatArray, targets: IntArray) -> float:
    """Set temperature and threshold by logits of rows that the head had not seen; return what they are sharpened by."""
    sharp = solve.temperature(logits, targets, guess=1.0)
    weights["temperature"] = weights["temperature"] * sharp
    threshold = float(np.quantile((sharp * logits).max(axis=1), text_classification.OUT_OF_SCOPE_SHARE))
    weights["scope.threshold"] = torch.tensor(threshold, dtype=torch.float32)
    weights["head"] = torch.tensor(text_classification.LOGISTIC, dtype=torch.int32)
    return sharp


def _descended(
    parent: Classifier,
    rows: Rows,
    targets: IntArray,
    method: str,
    budget: Budget,
    options: Options,
    clock: Clock,
    seed: int,
    progress: Progress,
) -> _Candidate:
    if len(targets) < LEAST_DESCENT:
        raise DataError(
            f"{len(targets)} rows are too few for {method}, which holds some out to stop by and some to be judged by: "
            f"give {LEAST_DESCENT} at least, or say --method head."
        )
    if is_tuned(parent.weights):
        raise TaskError(
            f"The encoder of {parent.manifest.name} was fine-tuned before. Say --method head, or begin again from its "
            f"parent {parent.manifest.parent} with all rows."
        )
    base = parent.base
    assert isinstance(base, TextBase)
    known = _known(parent, rows, progress)
    _spent(clock, budget, "reading and encoding")
    rest, judged = split.holdout(known.groups, targets, _HELD_OUT, _MOST_JUDGED, seed)
    learn, watch = split.holdout(known.groups[rest], targets[rest], _WATCHED, _MOST_JUDGED, seed + 1)
    learn, watch = rest[learn], rest[watch]
    if not len(judged) or not len(watch):
        raise DataError(f"These rows are too few of each label to hold some out for {method}. Say --method head.")
    pooled = torch.einsum("nph,phc->nc", torch.from_numpy(known.found.pooled), parent.weights["pooled.weight"].float())
    beside = known.logits / known.temperature - pooled.numpy() - parent.weights["bias"].double().numpy()
    start = generated.Start(
        base=base,
        texts=[encodable(row.input) for row in rows.examples],
        targets=targets,
        pooled=known.found.pooled,
        beside=beside,
        head=parent.weights["pooled.weight"],
        bias=parent.weights["bias"],
        temperature=known.temperature,
        max_tokens=parent.requirement.max_tokens,
    )
    checkpoint = _checkpoint(parent, rows, method, options, seed)
    made = generated.train(
        start, method, budget, options, learn, watch, seed=seed, progress=progress, clock=clock, checkpoint=checkpoint
    )
    checkpoint.unlink(missing_ok=True)
    weights: dict[str, torch.Tensor] = {
        **parent.weights,
        **tuned_weights(made.way, made.start),
        "pooled.weight": made.head.half(),
        "bias": made.bias.float(),
    }
    seen = _logits(parent, weights, rows, np.concatenate([watch, judged]))
    sharp = _settle(weights, seen[: len(watch)], targets[watch])
    text = f"Trained on {len(learn):,} rows, stopped by {len(watch):,}, judged on {len(judged):,} others, held out."
    return _Candidate(
        weights=weights,
        head="logistic",
        judged=judged,
        probabilities=scipy.special.softmax(sharp * seen[len(watch) :], axis=1),
        protocol=Protocol("holdout", folds=1, rows=len(judged), seed=seed, text=text),
        learned=len(learn),
        trained=sum(tensor.numel() for tensor in made.way.values()) + made.head.numel() + made.bias.numel(),
        steps=made.steps,
        best_step=made.best_step,
        interrupted=made.interrupted,
    )


def _checkpoint(parent: Model, rows: Rows, method: str, options: Options, seed: int) -> Path:
    """Return the file that says how far this very training is, if it was killed."""
    told = json.dumps([parent.id, rows.sha256, method, options.balanced, options.smoothing, seed])
    name = hashlib.sha256(told.encode()).hexdigest()[:16]
    return settings.current().cache / "finetune" / f"{name}.safetensors"


def _logits(parent: Classifier, weights: Weights, rows: Rows, which: IntArray) -> FloatArray:
    """Return the logits of some rows as the stored model will give them: its weights are rounded already."""
    family, need = parent.family, parent.requirement
    texts = [rows.examples[row].input for row in which]
    encoded = family.encode(family.own_base(need, weights, {}), need, texts)
    return float(weights["temperature"]) * text_classification.scores(weights, encoded)


# --- tables ------------------------------------------------------------------------------------------------


def _table(
    parent: Classifier, rows: Rows, targets: IntArray, budget: Budget, clock: Clock, seed: int, progress: Progress
) -> _Candidate:
    inputs = [row.input for row in rows.examples]
    cells = parent.family.encode(parent.base, parent.requirement, inputs, progress=progress)
    _spent(clock, budget, "reading the rows")
    wanted = np.eye(len(parent.requirement.labels))[targets]
    made = table_head.adapt(_with_net(parent), cells, wanted, _groups(inputs), seed=seed)
    left_out = table_head.probabilities(parent.weights, made.left_out)
    judged = np.arange(len(targets))
    return _Candidate(
        made.weights, parent.manifest.head, judged, left_out, _folded(len(inputs), seed), len(inputs), made.trained
    )


def _with_net(parent: Model) -> Weights:
    if "constant" in parent.weights:
        raise TaskError(
            f"{parent.manifest.name} is a constant: there is nothing to solve anew. Generate it with all rows."
        )
    return parent.weights


def _folded(n: int, seed: int) -> Protocol:
    text = f"Each of {n:,} rows was answered by a head that was solved anew without it (cross-validation)."
    return Protocol("cross-validation", folds=adapted_head.FOLDS, rows=n, seed=seed, text=text)


def _groups(inputs: Sequence[str]) -> IntArray:
    return np.asarray(split.group_by_text(inputs))


def _values(parent: Regressor, rows: Rows, budget: Budget, clock: Clock, seed: int, progress: Progress) -> Finetuned:
    inputs = [row.input for row in rows.examples]
    values, _ = tables.values_of(rows.examples, parent.requirement.target)
    cells = parent.family.encode(parent.base, parent.requirement, inputs, progress=progress)
    _spent(clock, budget, "reading the rows")
    weights = _with_net(parent)
    middle, spread = float(weights["target.middle"]), float(weights["target.spread"])
    made = table_head.adapt(weights, cells, ((values - middle) / spread)[:, None], _groups(inputs), seed=seed)
    before = parent.estimate(inputs)
    after = middle + spread * made.left_out[:, 0]
    low, high = weights["target.range"].tolist()
    room = 0.5 * (high - low)
    new_range = [min(low, float(values.min()) - 0.1 * room), max(high, float(values.max()) + 0.1 * room)]
    changed = {**made.weights, "target.range": torch.tensor(new_range, dtype=weights["target.range"].dtype)}
    after = np.clip(after, *new_range)
    errors_before, errors_after = (float(np.mean((found - values) ** 2)) for found in (before.values, after))
    kept = errors_after <= errors_before
    estimate = replace(
        before, values=after, low=after - (before.values - before.low), high=after + (before.high - before.values)
    )
    other = numbers.Foretold("parent", f"What it was made from ({parent.id})", before.values)
    found = numbers.judge(values, estimate, [other], unit=parent.requirement.unit, seed=seed)
    report = Report(
        schema=REPORT_SCHEMA,
        headline=numbers.headline(found, where=f"on {len(values)} rows it had not seen"),
        proved=True,
        protocol=_folded(len(values), seed),
        scores=None,
        notes=_plain(rows.notes),
        numbers=found,
    )
    reason = (
        f"On {len(values):,} rows the mean squared error is {errors_after:.4g}, the parent's {errors_before:.4g}: "
        f"{'not worse' if kept else 'worse'}."
    )
    candidate = derived.candidate(
        parent,
        changed,
        parent.own_files,
        method=HEAD,
        report=report,
        data=DataRef(rows.sha256, len(values), rows.source),
        seed=seed,
    )
    stored = derived.keep(candidate, kept=kept, reasons=(reason,), seconds=round(clock.seconds, 2))
    why = "of a model of a table the head is solved anew"
    return Finetuned(stored, why, 0, 0, False, len(values), len(values), made.trained)


# --- models that write -------------------------------------------------------------------------------------


def _written(parent: Writer, rows: Rows, budget: Budget, clock: Clock, seed: int, progress: Progress) -> Finetuned:
    base, family = parent.base, text_generation.FAMILY
    assert isinstance(base, WritingBase)
    if len(rows.examples) < LEAST_DESCENT:
        raise DataError(
            f"{len(rows.examples)} rows are too few to train an adapter on, to stop by and to be judged by: give "
            f"{LEAST_DESCENT} at least, or generate the model anew with all rows."
        )
    start = parent.weights if family.head(parent.weights) == "generated" else family.settle(parent.weights, "generated")
    adapter = family.adapter(base, start)
    assert adapter is not None
    examples = text_generation.readable(rows.examples)
    groups = _groups([row.input for row in examples])
    alike = np.zeros(len(examples), dtype=np.int64)
    rest, judged = split.holdout(groups, alike, _HELD_OUT, _MOST_WRITTEN, seed)
    learn, watch = split.holdout(groups[rest], alike[rest], _WATCHED, _MOST_WRITTEN, seed + 1)
    learn, watch = rest[learn], rest[watch]
    _spent(clock, budget, "reading the rows")
    made = writer.train(
        base.model,
        adapter,
        examples,
        learn,
        watch,
        budget,
        limits=text_generation.limits(base.model),
        seed=seed,
        progress=progress,
        clock=clock,
    )
    weights = text_generation.with_adapter(parent.weights, made.adapter)
    unseen = [examples[row] for row in judged]
    after, before = family.losses(base, [weights, parent.weights], unseen)
    kept = float(after.mean()) <= float(before.mean()) + 1e-9
    reason = (
        f"On {len(unseen):,} rows that it had not seen right answers cost {after.mean():.3f} nats a token, by the "
        f"parent {before.mean():.3f}: {'not worse' if kept else 'worse'}."
    )
    text = f"Trained on {len(learn):,} rows, stopped by {len(watch):,}, judged on {len(judged):,} others, held out."
    report = Report(
        schema=REPORT_SCHEMA,
        headline=f"{reason} No answer was written: 'sartor evaluate' with unseen rows tells how many are right.",
        proved=False,
        protocol=Protocol("holdout", folds=1, rows=len(judged), seed=seed, text=text),
        scores=None,
        notes=_plain(rows.notes),
    )
    candidate = derived.candidate(
        parent,
        weights,
        parent.own_files,
        method="lora",
        report=report,
        head="generated",
        data=DataRef(rows.sha256, len(examples), rows.source),
        seed=seed,
    )
    stored = derived.keep(candidate, kept=kept, reasons=(reason,), seconds=round(clock.seconds, 2))
    why = "of a model that writes the generated adapter is trained"
    trained = sum(part.numel() for both in made.adapter.values() for part in both)
    return Finetuned(stored, why, made.steps, made.best_step, made.interrupted, len(learn), len(judged), trained)


# --- the gate ----------------------------------------------------------------------------------------------


def _finish(
    parent: Classifier,
    rows: Rows,
    targets: IntArray,
    found: _Candidate,
    method: str,
    why: str,
    clock: Clock,
    seed: int,
) -> Finetuned:
    judged = [rows.examples[row] for row in found.judged]
    before = parent.prediction([row.input for row in judged]).probabilities
    kept, reason = not_worse(targets[found.judged], found.probabilities, before)
    report = _report(parent, judged, found, before, rows, seed)
    made = derived.candidate(
        parent,
        found.weights,
        parent.own_files,
        method=method,
        report=report,
        head=found.head,
        data=DataRef(rows.sha256, len(rows.examples), rows.source),
        seed=seed,
    )
    stored = derived.keep(made, kept=kept, reasons=(reason,), seconds=round(clock.seconds, 2))
    return Finetuned(
        derived=stored,
        why=why,
        steps=found.steps,
        best_step=found.best_step,
        interrupted=found.interrupted,
        learned=found.learned,
        judged=len(judged),
        trained_parameters=found.trained,
    )


def not_worse(targets: IntArray, after: FloatArray, before: FloatArray) -> tuple[bool, str]:
    """Say whether a candidate is right as often as its parent on rows it had not seen; of equals, log-loss decides."""
    found = paired(targets, after, before)
    losses = [float(-np.log(np.clip(p[np.arange(len(targets)), targets], 1e-12, 1)).mean()) for p in (after, before)]
    kept = found.wins > found.losses or (found.wins == found.losses and losses[0] <= losses[1] + 1e-9)
    new, old = (float((p.argmax(axis=1) == targets).mean()) for p in (after, before))
    verdict = "not worse" if kept else "worse"
    return kept, (
        f"On {len(targets):,} rows that it had not seen {percent(new)} are right, the parent's {percent(old)} "
        f"({found.wins} gained, {found.losses} lost; log-loss {losses[0]:.3f} against {losses[1]:.3f}): {verdict}."
    )


def _report(
    parent: Classifier,
    judged: Sequence[Example],
    found: _Candidate,
    before: FloatArray,
    rows: Rows,
    seed: int,
) -> Report:
    other = Answers("parent", f"What it was made from ({parent.id})", before)
    report = testfile.score_answers(
        found.probabilities, Rows(judged, source=rows.source), parent.requirement.labels, [other], seed=seed
    )
    return replace(report, protocol=found.protocol, notes=(*_plain(rows.notes), *_plain(report.notes)))


def _plain(notes: Sequence[Note]) -> tuple[Note, ...]:
    return tuple(note for note in notes if not note.quotes)
