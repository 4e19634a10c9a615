"""A stored model made smaller or faster: kept only if the loss stays within a margin.

model -> candidate -> both answer the same rows -> gate -> a bundle that names its parent
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from sartor import derived, pipeline
from sartor.data import load as loading
from sartor.data import records
from sartor.derived import Derived
from sartor.errors import DataError, TaskError, did_you_mean
from sartor.evaluate import noninferior, numbers, testfile
from sartor.evaluate.gate import gate
from sartor.evaluate.judge import Answers
from sartor.evaluate.noninferior import Judged
from sartor.families.text_classification import readable
from sartor.model import Classifier, Model, Regressor, Writer, load
from sartor.nn.text_base import TextBase, engine_files
from sartor.nn.tuned import without_tuned
from sartor.requirement import tables
from sartor.types import REPORT_SCHEMA, Columns, Example, Note, Progress, Protocol, Report, Rows, Weights, silent

METHODS = ("int8", "onnx", "float16")
"""What a model may be made."""
MOST_ROWS = 20_000
PROBES = 600
_EXPORTED = {
    "gguf": "sartor export MODEL --format merged-gguf --dtype Q8_0 --out FILE",
    "int4": "sartor export MODEL --format merged-gguf --dtype Q4_0 --out FILE",
}


@dataclass(frozen=True, slots=True)
class Compressed:
    """A candidate and what the gate says of its loss."""

    derived: Derived
    judged: Judged
    bytes_before: int
    bytes_after: int
    """Of everything that answering takes: the bundle, and the base where it needs one beside it."""


def compress(
    ref: str | Path,
    to: str,
    *,
    data: Path | None = None,
    columns: Columns | None = None,
    max_loss: float = 1.0,
    seed: int = 0,
    progress: Progress = silent,
) -> Compressed:
    """Make a smaller model of a stored one, and keep it if what is lost stays within the margin.

    Args:
        ref: of the model.
        to: a name in :data:`METHODS`.
        data: rows that both answer; with labels the loss is exact, without, it is told from the parent's confidences.
            None: texts made up from the model's own words.
        columns: of the file, where they have no usual names.
        max_loss: in points of accuracy.
        seed: of made-up texts and intervals.
        progress: is told how far it is.

    Raises:
        TaskError: when the model cannot be made that, or is that already.
        UserError: when what it takes is not installed, or the rows cannot be used.
        StorageError: when the disk does not take the new bundle.
    """
    start = time.perf_counter()
    if not 0 <= max_loss < 100:
        raise TaskError(f"--max-loss is in points of accuracy, 0 to 100; got {max_loss:g}.")
    parent = load(ref)
    _check(parent, to)
    rows = _rows(parent, data, columns or Columns(), progress)
    progress("compress", 0, 0)
    weights, own_files = _made(parent, to)
    draft = derived.candidate(parent, weights, own_files, method=to, report=parent.report, seed=seed)
    progress("compare", 0, 0)
    judged, report = _judge(parent, draft, rows, max_loss / 100, seed)
    cost = pipeline.measure(draft, [row.input for row in rows.examples[:64]])
    report = replace(report, cost=cost)
    made = derived.candidate(parent, weights, own_files, method=to, report=report, seed=seed)
    slow = _too_slow(made)
    kept = derived.keep(
        made,
        kept=judged.kept and not slow,
        reasons=(*judged.reasons, *slow),
        seconds=round(time.perf_counter() - start, 2),
    )
    return Compressed(kept, judged, _bytes(parent), _bytes(made))


def _check(parent: Model, to: str) -> None:
    manifest = parent.manifest
    if to in _EXPORTED and isinstance(parent, Writer):
        raise TaskError(f"A model that writes is made {to} for other engines: {_EXPORTED[to]}.")
    if to not in METHODS:
        raise TaskError(
            f"There is no way to compress to {to!r}.{did_you_mean(to, METHODS)} Known: {', '.join(METHODS)}."
        )
    if manifest.method in METHODS:
        raise TaskError(
            f"{manifest.name} {manifest.id} is compressed already ({manifest.method}). Compress what it was made from: "
            f"{manifest.parent}."
        )
    if isinstance(parent, Writer):
        raise TaskError(f"A model that writes is made smaller for other engines: {_EXPORTED['gguf']}.")
    known = METHODS[:2] if parent.family.reads == "texts" else METHODS[2:]
    if to not in known:
        raise TaskError(f"A model of {manifest.family} cannot be made {to}. It can be made {' or '.join(known)}.")


def _too_slow(made: Model) -> tuple[str, ...]:
    """Return why the limits of the task are missed; accuracy is the other gate's, memory is not told in one process."""
    limits = replace(made.requirement.limits, min_accuracy=None, max_memory_mb=None)
    decision = gate(made.report, limits)
    return () if decision.passed else decision.reasons


def _bytes(model: Model) -> int:
    own = sum(len(data) for data in model.files().values())
    if isinstance(model.base, TextBase) and model.base.engine is None:
        own += sum(tensor.nbytes for tensor in model.base.encoder.state_dict().values())
        if model.base.branched is not None:
            own += sum(tensor.nbytes for tensor in model.base.branched.upper.state_dict().values())
    return own


# --- candidates --------------------------------------------------------------------------------------------


def _made(parent: Model, to: str) -> tuple[Weights, Mapping[str, bytes]]:
    if to == "float16":
        return smaller_numbers(parent.weights), parent.own_files
    from sartor.compress import text_onnx  # packages that need not be there

    base = parent.base
    assert isinstance(base, TextBase)
    content = text_onnx.encoder_onnx(base, "int8" if to == "int8" else "float32")
    return without_tuned(parent.weights), engine_files(base, content, len(base.poolings))


def smaller_numbers(weights: Weights) -> Weights:
    """Return a model of a table with the tensors of its net in fewer bytes.

    Steps stay where they are, for they may stand at the very value of a cell; their places and signs
    are whole numbers, and are the same in fewer bytes.
    """
    return {name: _smaller(name, tensor) for name, tensor in weights.items()}


def _smaller(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if name == "net.products.columns" and tensor.numel() and int(tensor.max()) < 2**15:
        return tensor.to(torch.int16)
    if name == "net.products.signs":
        return tensor.to(torch.int8)
    if not name.startswith("net.") or tensor.dtype != torch.float32 or name == "net.products.thresholds":
        return tensor
    halved = tensor.half()
    return halved if bool(halved.isfinite().all()) else tensor


# --- rows --------------------------------------------------------------------------------------------------


def _rows(model: Model, data: Path | None, columns: Columns, progress: Progress) -> Rows:
    if data is None:
        return probes(model)
    if model.family.reads == "tables":
        found = records.read_records(data, columns.output or model.requirement.target, progress=progress)
        return replace(found, examples=found.examples[:MOST_ROWS])
    try:
        found = loading.read_rows(data, columns, need_labels=True, progress=progress)
    except DataError:
        if columns.output is not None:
            raise
        found = loading.read_rows(data, columns, need_labels=False, progress=progress)
    return replace(found, examples=found.examples[:MOST_ROWS])


def probes(model: Model) -> Rows:
    """Return texts made up from the words that a model knows: label names, descriptions, and plain words around them.

    Raises:
        TaskError: where rows are those of a table, which nobody can make up.
    """
    if model.family.reads == "tables" or isinstance(model, Writer):
        raise TaskError(f"Name rows for {model.manifest.name} to answer before and after: --data FILE.")
    need = model.requirement
    draw = np.random.default_rng(0)
    own = [word for label in need.labels for word in f"{readable(label.name)} {label.description}".split()]
    words = [*own, *need.description.split()] or ["text"]
    texts = {
        " ".join(draw.permutation([*draw.choice(words, 2), *draw.choice(_PLAIN, draw.integers(2, 12))]))
        for _ in range(PROBES)
    }
    return Rows(tuple(Example(text) for text in sorted(texts)), source="made-up texts")


_PLAIN = [
    "the",
    "a",
    "i",
    "you",
    "it",
    "is",
    "was",
    "are",
    "not",
    "and",
    "but",
    "to",
    "of",
    "for",
    "in",
    "on",
    "with",
    "my",
    "your",
    "this",
    "that",
    "have",
    "has",
    "can",
    "will",
    "please",
    "thanks",
    "hello",
    "what",
    "when",
    "where",
    "why",
    "how",
    "many",
    "much",
    "very",
    "good",
    "bad",
    "new",
    "old",
    "first",
    "last",
    "day",
    "week",
    "year",
    "time",
    "people",
    "work",
    "home",
    "money",
    "price",
    "order",
    "account",
    "card",
    "phone",
    "email",
    "app",
    "screen",
    "problem",
    "help",
    "need",
    "want",
    "like",
    "love",
    "hate",
    "think",
    "know",
    "see",
    "get",
    "make",
    "open",
    "close",
    "send",
    "pay",
    "buy",
    "sell",
    "change",
    "stop",
    "start",
    "best",
    "worst",
    "again",
    "never",
    "always",
    "today",
    "yesterday",
    "team",
    "game",
    "city",
    "world",
    "country",
    "company",
    "market",
    "report",
    "news",
    "film",
    "book",
    "music",
    "food",
    "weather",
    "doctor",
    "school",
    "question",
    "answer",
]


# --- judging -----------------------------------------------------------------------------------------------


def _judge(parent: Model, draft: Model, rows: Rows, margin: float, seed: int) -> tuple[Judged, Report]:
    inputs = [row.input for row in rows.examples]
    labelled = all(row.output is not None for row in rows.examples)
    match parent, draft:
        case Classifier(), Classifier():
            before, after = parent.prediction(inputs), draft.prediction(inputs)
            if not labelled:
                judged = noninferior.judge(noninferior.unlabelled_loss(before.probabilities, after.best), margin)
                return judged, _unlabelled_report(judged, rows, seed)
            names = [label.name for label in parent.requirement.labels]
            right = [str(row.output) for row in rows.examples]
            was = [names[at] == wanted for at, wanted in zip(before.best, right, strict=True)]
            now = [names[at] == wanted for at, wanted in zip(after.best, right, strict=True)]
            judged = noninferior.judge(
                noninferior.labelled_loss(was, now, (before.best == after.best).tolist()), margin
            )
            other = Answers("parent", f"What it was made from ({parent.id})", before.probabilities)
            report = testfile.score_answers(after.probabilities, rows, parent.requirement.labels, [other], seed=seed)
            return judged, report
        case Regressor(), Regressor():
            return _judge_values(parent, draft, rows, margin, seed)
        case _:
            raise AssertionError((parent, draft))


def _judge_values(parent: Regressor, draft: Regressor, rows: Rows, margin: float, seed: int) -> tuple[Judged, Report]:
    """Judge values: a row counts as lost where the new value leaves the interval that the right one lies in before."""
    inputs = [row.input for row in rows.examples]
    values, _ = tables.values_of(rows.examples, parent.requirement.target)
    before, after = parent.estimate(inputs), draft.estimate(inputs)
    was = (before.low <= values) & (values <= before.high)
    now = (after.low <= values) & (values <= after.high)
    close = np.abs(after.values - before.values) <= margin * (before.high - before.low)
    judged = noninferior.judge(noninferior.labelled_loss(was.tolist(), now.tolist(), close.tolist()), margin)
    other = numbers.Foretold("parent", f"What it was made from ({parent.id})", before.values)
    found = numbers.judge(values, after, [other], unit=parent.requirement.unit, seed=seed)
    where = f"on {len(values)} rows of {rows.source}"
    text = f"The compressed model answered {len(values)} rows whose values are known."
    report = Report(
        schema=REPORT_SCHEMA,
        headline=numbers.headline(found, where=where),
        proved=True,
        protocol=Protocol("test-file", folds=0, rows=len(values), seed=seed, text=text),
        scores=None,
        notes=rows.notes,
        numbers=found,
    )
    return judged, report


def _unlabelled_report(judged: Judged, rows: Rows, seed: int) -> Report:
    said = judged.reasons[0]
    text = f"Compared with what it was made from on {judged.loss.rows:,} rows ({rows.source or 'given in Python'})."
    note = Note("proof", "Not proved: nobody said what is right. Give labelled rows to 'sartor evaluate'.", "warning")
    return Report(
        schema=REPORT_SCHEMA,
        headline=f"Not proved: only compared with what it was made from. {said}",
        proved=False,
        protocol=Protocol("none", folds=0, rows=judged.loss.rows, seed=seed, text=text),
        scores=None,
        notes=(note,),
    )
