"""The whole system's one diagram: from a task and rows to a stored, proved model.

    describe -> understand -> encode -> generate -> prove -> store -> gate

Every arrow is a frozen value, so that each stage can be called alone.
"""

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from sartor import families, settings
from sartor.assets import catalogue
from sartor.data import load as loading
from sartor.data import split
from sartor.errors import DataError, StorageError
from sartor.evaluate import cost, gate, proof, testfile
from sartor.families.interface import Base, Condition, Family
from sartor.model import Model
from sartor.model import load as load_model
from sartor.registry.store import Entry, Store, slug
from sartor.requirement.heuristic import Understood, understand
from sartor.types import (
    BUNDLE_FORMAT,
    BaseRef,
    Columns,
    Cost,
    DataRef,
    Example,
    Manifest,
    Note,
    Progress,
    Report,
    Requirement,
    Rows,
    Task,
    Weights,
    silent,
)

RowsLike = Rows | str | Path | Iterable[Example | tuple[str, str] | Mapping[str, str]] | None
"""A file, or pairs of text and label, or dicts with the keys text/label or input/output."""


_COST_SECONDS = 0.7
"""For single answers, and again for bulk."""


@dataclass(frozen=True, slots=True)
class Made:
    """A model that was generated, where it is kept, and what the gate says of it."""

    model: Model
    entry: Entry | None
    decision: gate.Decision
    seconds: Mapping[str, float]
    notes: tuple[Note, ...] = ()
    """All that was noticed, quotes of rows included; what is stored has none."""


def make(
    task: Task,
    examples: RowsLike = None,
    *,
    base: str | None = None,
    seed: int = 0,
    store: bool = True,
    merge_labels: bool = False,
    unlabelled: str | Path | Iterable[str] | None = None,
    progress: Progress = silent,
) -> Made:
    """Generate, prove, store and gate a model.

    Args:
        task: in the user's words.
        examples: labelled rows; the task's own unless given.
        base: a name of the catalogue; chosen for the language unless given.
        seed: of folds and samples.
        store: whether the model is kept in the store.
        merge_labels: make one of labels that differ only in case, width or spaces.
        unlabelled: texts of the kind that will be asked; the task's own unless given.
        progress: is told how far it is.

    Raises:
        UserError: with a sentence, when the task or the rows cannot be used; nothing is stored then.
    """
    clock = Clock()
    rows = gather(task, examples, progress)
    understood = understand(
        task,
        rows,
        name=slug(task.name or task.description),
        base=base,
        merge_labels=merge_labels,
        unlabelled=gather_unlabelled(task, unlabelled, progress),
    )
    need, family = understood.requirement, families.load(understood.requirement.family)
    with clock("load"):
        frozen = family.base(need, progress=progress)
    with clock("encode"):
        condition = encode(family, frozen, understood, progress)
    need = replace(need, notes=(*need.notes, *_cut(condition, need)))
    progress("generate", 0, 0)
    with clock("generate"):
        weights = family.generate(need, condition, seed=seed)
    with clock("evaluate"):
        proved = proof.prove(family, need, condition, _groups(understood), seed=seed, progress=progress)
        model = _assemble(family, frozen, need, understood.examples, rows, weights, proved, seed, progress)
    model.report = replace(model.report, seconds=clock.seconds)
    home = Store(settings.current().home)
    entry = home.put(model.manifest, model.files(), slug(need.name)) if store else None
    decision = release(model, entry)
    if entry is not None:
        entry = home.get(entry.id)  # with the alias that it may have got
        model = Model(load_model(entry.path).manifest, model.report, weights, frozen)
    return Made(model, entry, decision, clock.seconds, need.notes)


def generate(task: Task | str, examples: RowsLike = None, **options: Any) -> Model:
    """Return a model for ``task`` (or a bare description); the options are those of :func:`make`.

    >>> import sartor
    >>> model = sartor.generate("Is the review good or bad?", [("Loved it", "good"), ("Broke at once", "bad")])
    ... # doctest: +SKIP
    """
    return make(Task(description=task) if isinstance(task, str) else task, examples, **options).model


def assess(
    model: Model,
    data: Path,
    *,
    examples: Path | None = None,
    columns: Columns | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Report:
    """Return the report of a stored model on a file of labelled rows, with what an answer costs here.

    ``examples`` are the rows that the model was made from: with them, all baselines are put to the same test.

    Raises:
        DataError: when the file cannot be used.
        BundleError: when the base is not the one that the model was made on.
    """
    rows = loading.read_rows(data, columns or Columns(), need_labels=True, progress=progress)
    made_from = None
    if examples is not None:
        made_from = loading.read_rows(examples, columns or Columns(), need_labels=True, progress=progress)
        if made_from.sha256 != model.manifest.data.sha256:
            raise DataError(
                f"{examples.name} is not what this model was made from: its rows have the hash "
                f"{made_from.sha256[:12]}, the model's {model.manifest.data.sha256[:12] or 'none'}. "
                "Name that file, or leave --examples out."
            )
    report = testfile.score_file(
        model.family,
        model.requirement,
        model.base,
        model.weights,
        rows,
        made_from=made_from,
        trained_on=model.manifest.data.sha256,
        seed=seed,
        progress=progress,
    )
    progress("measure", 0, 0)
    return replace(report, cost=measure(model, [example.input for example in rows.examples[:64]]))


class Clock:
    """Wall-clock seconds of named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Generator[None]:
        """Time the block under the name ``stage``."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 4)


# --- stages ------------------------------------------------------------------------------------------------


def gather(task: Task, examples: RowsLike, progress: Progress = silent) -> Rows | None:
    """Return the labelled rows: those given, else those the task names; None when there are none.

    Raises:
        DataError: when they cannot be read.
    """
    source = task.examples if examples is None else examples
    if source is None or isinstance(source, Rows):
        return source
    if isinstance(source, str | Path):
        return loading.read_rows(Path(source), task.columns, need_labels=True, progress=progress)
    found = tuple(_example(row) for row in source)
    return Rows(found, sha256=loading.fingerprint(found)) if found else None


def gather_unlabelled(
    task: Task, texts: str | Path | Iterable[str] | None = None, progress: Progress = silent
) -> Rows | None:
    """Return rows without labels: those given, else those the task names; None when there are none.

    Raises:
        DataError: when they cannot be read.
    """
    source = task.unlabelled if texts is None else texts
    if source is None:
        return None
    if isinstance(source, str | Path):
        return loading.read_rows(Path(source), replace(task.columns, output=None), need_labels=False, progress=progress)
    return Rows(tuple(Example(text) for text in source))


def encode(family: Family[Any], base: Base, understood: Understood, progress: Progress = silent) -> Condition[Any]:
    """Encode labels and rows, once."""
    need = understood.requirement
    position = {label.name: at for at, label in enumerate(need.labels)}
    unlabelled = understood.unlabelled
    return Condition(
        labels=family.encode_labels(base, need),
        support=family.encode(base, need, [example.input for example in understood.examples], progress=progress),
        targets=np.array([position[str(example.output)] for example in understood.examples], dtype=np.int64),
        unlabelled=family.encode(base, need, unlabelled, progress=progress) if unlabelled else None,
    )


def _cut(condition: Condition[Any], need: Requirement) -> Iterator[Note]:
    """Say how many texts were longer than what is read; a family whose inputs can be has an array ``cut``."""
    cut = int(np.count_nonzero(getattr(condition.support, "cut", ())))
    if cut:
        text = f"Longer than {need.max_tokens} tokens, and cut there: {cut:,} of {len(condition.targets):,} texts."
        # one in twenty is what the length was chosen for
        yield Note("cut", text, "warning" if 20 * cut > len(condition.targets) else "info")


def release(model: Model, entry: Entry | None) -> gate.Decision:
    """Ask the gate, and move the alias that it grants."""
    limits = model.requirement.limits
    if entry is None:
        return gate.gate(model.report, limits)
    home = Store(settings.current().home)
    while True:
        before = home.aliases(entry.name)
        incumbent = load_model(f"{entry.name}@champion").report if "champion" in before else None
        decision = gate.gate(model.report, limits, incumbent)
        if decision.alias is None:
            return decision
        try:
            home.move_alias(entry.name, decision.alias, entry.id, expected=before.get(decision.alias))
        except StorageError:
            if home.aliases(entry.name) == before:
                raise
            # another process moved an alias between our look and our move, so the gate must look again
        else:
            return decision


def _assemble(
    family: Family[Any],
    base: Base,
    need: Requirement,
    examples: Sequence[Example],
    rows: Rows | None,
    weights: Weights,
    proved: proof.Proof,
    seed: int,
    progress: Progress,
) -> Model:
    """Put together manifest and report, the cost of an answer measured on the way."""
    need = replace(need, notes=_storable(need.notes))
    spec = catalogue.catalogue().get(base.ref.name)
    manifest = Manifest(
        format=BUNDLE_FORMAT,
        id="",
        family=family.name,
        name=slug(need.name),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        requirement=need,
        base=base.ref,
        generator=family.generator,
        head=family.head(weights),
        data=DataRef(rows.sha256, len(examples), rows.source) if rows else DataRef("", 0),
        seed=seed,
        n_parameters=sum(tensor.numel() for tensor in weights.values()),
        shapes={name: tuple(tensor.shape) for name, tensor in weights.items()},
        files={},
        scores=_scores(proved),
        licence_lineage=spec.licence_lineage if spec else _lineage(base.ref),
        sartor_version=version("sartor"),
    )
    draft = Model(manifest, proof.to_report(proved), weights, base)
    progress("measure", 0, 0)
    spent = measure(draft, [example.input for example in examples[:64]])
    return Model(manifest, proof.to_report(proved, cost=spent, notes=need.notes), weights, base)


def measure(model: Model, texts: Sequence[str]) -> Cost:
    """Return what an answer costs on this machine, measured on ``texts`` (on the label names if there are none)."""
    size = sum(len(data) for data in model.files().values())
    sample = texts or [label.name for label in model.requirement.labels]
    return cost.measure_cost(model.answer, sample, size, model.manifest.n_parameters, seconds=_COST_SECONDS)


def _scores(proved: proof.Proof) -> dict[str, float]:
    if proved.scores is None:
        return {}
    scores = proved.scores
    return {
        "accuracy": scores.accuracy.value,
        "balanced_accuracy": scores.balanced_accuracy.value,
        "macro_f1": scores.macro_f1.value,
    }


def _lineage(base: BaseRef) -> tuple[str, ...]:
    return (f"{base.name}: {base.licence}",)


def _storable(notes: Sequence[Note]) -> tuple[Note, ...]:
    return tuple(note for note in notes if not note.quotes)


def _groups(understood: Understood) -> Any:
    return split.group_by_text([example.input for example in understood.examples])


def _example(row: Example | tuple[str, str] | Mapping[str, str]) -> Example:
    match row:
        case Example():
            return row
        case Mapping():
            text, label = row.get("text", row.get("input")), row.get("label", row.get("output"))
        case (text, label):
            pass
        case _:  # whatever else a caller without a type checker gives
            text = label = None
    if not isinstance(text, str) or not isinstance(label, str):
        raise DataError(f"An example is a text and a label, both str; got {row!r:.120}.")
    return Example(text, label)
