"""The whole system's one diagram: from a task and rows to a stored, proved model.

    describe -> understand -> encode -> generate -> prove -> store -> gate

Every arrow is a frozen value, so that each stage can be called alone.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
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
from sartor.data import looks, picture_rows, records, split
from sartor.data.table import read_table
from sartor.errors import DataError, StorageError
from sartor.evaluate import cost, gate, numbers, proof, testfile, unusual, written
from sartor.evaluate.mistakes import Mistake
from sartor.families.interface import (
    NO_BASE,
    Base,
    Condition,
    Family,
    LabelFamily,
    NumberFamily,
    UnusualFamily,
    Writing,
    WritingFamily,
)
from sartor.model import Classifier, Detector, Model, Regressor, Writer, of_manifest
from sartor.model import load as load_model
from sartor.registry.store import Entry, Store, slug
from sartor.requirement import pictures, tables
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
    Unusual,
    Weights,
    silent,
)

RowsLike = Rows | str | Path | records.Frame | Iterable[Example | tuple[str | Path, str] | Mapping[str, Any]] | None
"""A file, a folder of pictures, a table, or pairs of text (or a picture's path) and label, or dicts with the keys
text/label or input/output (or a table's columns, where the task has a target)."""


_COST_SECONDS = 0.7
"""For single answers, and again for bulk."""
_SHORTEST, _LONGEST = 16, 128
"""Tokens of a written answer in a proof."""


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
    if isinstance(family, WritingFamily):
        draft = write(family, frozen, understood, clock, seed, progress)
    elif need.family == tables.VALUES:
        draft = foretell(families.load_number(family.name), frozen, understood, clock, seed, progress)
    elif issubclass(type(family), UnusualFamily):
        draft = learn_usual(families.load_unusual(family.name), frozen, understood, clock, seed, progress)
    else:
        draft = label(families.load_label(family.name), frozen, understood, clock, seed, progress)
    with clock("evaluate"):
        model = assemble(family, frozen, draft, understood.examples, rows, seed, progress)
    model.report = replace(model.report, seconds=clock.seconds)
    home = Store(settings.current().home)
    entry = home.put(model.manifest, model.files(), slug(need.name)) if store else None
    decision = release(model, entry)
    if entry is not None:
        entry = home.get(entry.id)  # with the alias that it may have got
        model = of_manifest(load_model(entry.path).manifest, model.report, draft.weights, frozen)
    return Made(model, entry, decision, clock.seconds, draft.need.notes)


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
    on_mistakes: Callable[[Sequence[Mistake]], None] | None = None,
) -> Report:
    """Return the report of a stored model on a file of labelled rows, with what an answer costs here.

    ``examples`` are the rows that the model was made from: with them, all baselines are put to the same test.
    ``on_mistakes`` is given the wrong answers to look at, of a model that labels or tells what is unusual.

    Raises:
        DataError: when the file cannot be used.
        BundleError: when the base is not the one that the model was made on.
    """
    rows = known_rows(model, data, columns or Columns(), progress)
    made_from = None
    if examples is not None:
        made_from = known_rows(model, examples, columns or Columns(), progress)
        if made_from.sha256 != model.manifest.data.sha256:
            raise DataError(
                f"{examples.name} is not what this model was made from: its rows have the hash "
                f"{made_from.sha256[:12]}, the model's {model.manifest.data.sha256[:12] or 'none'}. "
                "Name that file, or leave --examples out."
            )
    if isinstance(model, Writer):
        report = written.score_written_file(
            model.family,
            model.base,
            model.requirement,
            model.weights,
            rows,
            support=made_from.examples if made_from else (),
            writing=_writing(rows.examples),
            trained_on=model.manifest.data.sha256,
            seed=seed,
            progress=progress,
        )
    elif isinstance(model, Regressor):
        report = _assess_numbers(model, rows, made_from, seed, progress)
    elif isinstance(model, Detector):
        report = _assess_unusual(model, rows, made_from, seed, progress, on_mistakes)
    else:
        report = _assess(model, rows, made_from, seed, progress, on_mistakes)
    progress("measure", 0, 0)
    return replace(report, cost=measure(model, [example.input for example in rows.examples[:64]]))


_OnMistakes = Callable[[Sequence[Mistake]], None] | None


def _assess(
    model: Model, rows: Rows, made_from: Rows | None, seed: int, progress: Progress, on_mistakes: _OnMistakes
) -> Report:
    return testfile.score_file(
        families.load_label(model.manifest.family),
        model.requirement,
        model.base,
        model.weights,
        rows,
        made_from=made_from,
        trained_on=model.manifest.data.sha256,
        seed=seed,
        progress=progress,
        on_mistakes=on_mistakes,
    )


def _assess_numbers(model: Regressor, rows: Rows, made_from: Rows | None, seed: int, progress: Progress) -> Report:
    target = model.requirement.target
    return numbers.score_number_file(
        model.family,
        model.base,
        model.requirement,
        model.weights,
        rows,
        tables.values_of(rows.examples, target)[0],
        made_from=(made_from, tables.values_of(made_from.examples, target)[0]) if made_from else None,
        trained_on=model.manifest.data.sha256,
        seed=seed,
        progress=progress,
    )


def _assess_unusual(
    model: Detector, rows: Rows, made_from: Rows | None, seed: int, progress: Progress, on_mistakes: _OnMistakes
) -> Report:
    return unusual.score_unusual_file(
        model.family,
        model.base,
        model.requirement,
        model.weights,
        rows,
        made_from=made_from,
        trained_on=model.manifest.data.sha256,
        made_from_rows=next((label.rows for label in model.requirement.labels), model.manifest.data.rows),
        seed=seed,
        progress=progress,
        on_mistakes=on_mistakes,
    )


def known_rows(model: Model, path: Path, columns: Columns, progress: Progress) -> Rows:
    """Return the rows of a file with what each should have been answered."""
    if model.family.reads == "tables":
        return records.read_records(path, columns.output or model.requirement.target, progress=progress)
    if model.family.reads == "pictures":
        return picture_rows.read_pictures(path, columns, progress=progress)
    return loading.read_rows(path, columns, need_labels=True, progress=progress)


class Clock:
    """Wall-clock seconds of named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Generator[None]:
        """Time the block under the name ``stage``, on top of what it took before."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - start, 4)


# --- stages ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Draft:
    """A target that was generated and proved, before anything is written down."""

    need: Requirement
    weights: Weights
    report: Callable[[Cost | None, Sequence[Note]], Report]
    """What the proof says, with the cost and what else was noticed."""


def label(
    family: LabelFamily[Any], base: Base, understood: Understood, clock: Clock, seed: int, progress: Progress
) -> Draft:
    """Generate and prove a model that labels."""
    with clock("encode"):
        condition = encode(family, base, understood, progress)
    need = understood.requirement
    need = replace(need, notes=(*need.notes, *_cut(condition, need)))
    progress("generate", 0, 0)
    with clock("generate"):
        weights = family.generate(need, condition, seed=seed)
    with clock("evaluate"):
        proved = proof.prove(family, need, condition, _groups(understood), seed=seed, progress=progress)
    return Draft(need, weights, lambda spent, notes: proof.to_report(proved, cost=spent, notes=notes))


def foretell(
    family: NumberFamily[Any], base: Base, understood: Understood, clock: Clock, seed: int, progress: Progress
) -> Draft:
    """Generate and prove a model that foretells values."""
    need = understood.requirement
    values, _ = tables.values_of(understood.examples, need.target)
    with clock("encode"):
        support = family.encode(base, need, [example.input for example in understood.examples], progress=progress)
    progress("generate", 0, 0)
    with clock("generate"):
        weights = family.generate(need, support, values, seed=seed)
    with clock("evaluate"):
        proved = numbers.prove_numbers(family, need, support, values, _groups(understood), seed=seed, progress=progress)
    return Draft(need, weights, lambda spent, notes: numbers.to_report(proved, cost=spent, notes=notes))


def learn_usual(
    family: UnusualFamily[Any], base: Base, understood: Understood, clock: Clock, seed: int, progress: Progress
) -> Draft:
    """Generate and prove a model that says what is unusual; bad inputs, where there are any, are only measured on."""
    need = understood.requirement
    good, bad, _ = unusual.parted(Rows(understood.examples), need)
    with clock("encode"):
        support = family.encode(base, need, good, progress=progress)
        groups = looks.group_by_look(good)
    progress("generate", 0, 0)
    with clock("generate"):
        weights = family.generate(need, support, groups, seed=seed)
    with clock("evaluate"):
        proved = unusual.prove_unusual(family, base, need, good, support, groups, bad=bad, seed=seed, progress=progress)
    threshold = family.predict(need, weights, support.take(np.arange(0))).threshold
    return Draft(
        need, weights, lambda spent, notes: unusual.to_report(proved, threshold=threshold, cost=spent, notes=notes)
    )


def write(
    family: WritingFamily, base: Base, understood: Understood, clock: Clock, seed: int, progress: Progress
) -> Draft:
    """Generate and prove a model that writes; who answers is settled by the proof."""
    need, examples, prompts = read_with(family, base, understood)
    with clock("generate"):
        [weights] = family.generate(base, need, [examples], prompts, progress=progress)
    with clock("evaluate"):
        proved = written.prove_written(
            family, base, need, examples, prompts, writing=_writing(examples), seed=seed, progress=progress
        )
    if examples:
        weights = family.settle(weights, proved.written.answerer, proved.written.dial)
    else:
        why = "There is no row to choose by, so this is what was best where descriptions alone were known."
        proved = written.with_answerer(proved, *family.settled(weights), why)
    return Draft(need, weights, lambda spent, notes: written.to_report(proved, cost=spent, notes=notes))


def read_with(family: WritingFamily, base: Base, understood: Understood) -> Understood:
    """Return what was understood, with a note of rows that are longer than what this base reads."""
    need = understood.requirement
    notes = (*need.notes, *_cut_rows(family.cut_rows(base, understood.examples)))
    return understood._replace(requirement=replace(need, notes=notes))


def _cut_rows(cut: int) -> Iterator[Note]:
    if cut:
        rows, each = ("row is", "its") if cut == 1 else ("rows are", "each one's")
        text = f"{cut:,} {rows} longer than what is read of one: {each} input or answer is cut."
        yield Note("cut", text, "warning")


def _writing(examples: Sequence[Example]) -> Writing:
    """Return how answers are written in a proof: as long as the longest that is wanted; a token is a letter or more."""
    longest = max((len(str(row.output)) for row in examples), default=_LONGEST)
    return Writing(max_new_tokens=min(max(longest, _SHORTEST), _LONGEST))


def gather(task: Task, examples: RowsLike, progress: Progress = silent) -> Rows | None:
    """Return the labelled rows: those given, else those the task names; None when there are none.

    Raises:
        DataError: when they cannot be read.
    """
    source = task.examples if examples is None else examples
    if source is None or isinstance(source, Rows):
        return source
    if records.is_frame(source):
        return records.of_rows(source, task.target)
    if isinstance(source, str | Path):
        return _rows_of_path(task, Path(source), progress)
    return _rows_of_list(task, list(source), progress)


def _rows_of_path(task: Task, path: Path, progress: Progress) -> Rows:
    if _says_a_table(task):
        return records.read_records(path, task.target, progress=progress)
    if _of_pictures(task, path):
        return picture_rows.read_pictures(path, task.columns, progress=progress)
    return _rows_of_some_kind(path, task, progress)


def _rows_of_list(task: Task, source: Sequence[Any], progress: Progress) -> Rows | None:
    if _says_a_table(task):
        return records.of_rows(records.frame_of_rows(source), task.target)
    if pictures.reads_pictures(task.kind) or (task.kind is None and picture_rows.are_pictures(source)):
        return picture_rows.of_pairs(source, progress=progress)
    found = tuple(_example(row) for row in source)
    return Rows(found, sha256=loading.fingerprint(found)) if found else None


def _says_a_table(task: Task) -> bool:
    return task.target is not None or task.kind in tables.KINDS


def _of_pictures(task: Task, path: Path) -> bool:
    """Whether a path leads to pictures, because the task says so, or it is a folder and the task says nothing else."""
    return pictures.reads_pictures(task.kind) or (task.kind is None and picture_rows.is_of_pictures(path))


def _rows_of_some_kind(path: Path, task: Task, progress: Progress) -> Rows:
    """Return the rows of a file of which nobody said what it holds: texts, a table or pictures; it is read once."""
    progress("load", 0, 0)
    table = read_table(path, task.columns)
    if task.kind is None and picture_rows.looks_like_pictures(table, task.columns):
        return picture_rows.rows_of(table, path, task.columns, progress=progress)
    if records.looks_like_a_table(table, task.columns):
        return records.rows_of(table, task.target, progress=progress)
    return loading.rows_of(table, task.columns, need_labels=True, progress=progress)


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
        if _of_pictures(task, Path(source)):
            found, notes = picture_rows.read_names(Path(source), replace(task.columns, output=None), progress=progress)
            return Rows(tuple(Example(one.path) for one in found), notes, pictures=True)
        return loading.read_rows(Path(source), replace(task.columns, output=None), need_labels=False, progress=progress)
    return Rows(tuple(Example(str(text)) for text in source))


def encode(family: LabelFamily[Any], base: Base, understood: Understood, progress: Progress = silent) -> Condition[Any]:
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


def assemble(
    family: Family,
    base: Base,
    draft: Draft,
    examples: Sequence[Example],
    rows: Rows | None,
    seed: int,
    progress: Progress,
    *,
    measured: bool = True,
) -> Model:
    """Put together manifest and report, the cost of an answer measured on the way, if it shall be."""
    need, weights = replace(draft.need, notes=_storable(draft.need.notes)), draft.weights
    found = draft.report(None, ())
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
        scores=scores_of(found),
        licence_lineage=_lineage(base.ref),
        sartor_version=version("sartor"),
    )
    if not measured:
        return of_manifest(manifest, draft.report(None, need.notes), weights, base)
    progress("measure", 0, 0)
    spent = measure(of_manifest(manifest, found, weights, base), [example.input for example in examples[:64]])
    return of_manifest(manifest, draft.report(spent, need.notes), weights, base)


def measure(model: Model, texts: Sequence[str]) -> Cost:
    """Return what an answer costs on this machine, measured on ``texts`` (on the label names if there are none)."""
    size = sum(len(data) for data in model.files().values())
    sample = list(texts) or [label.name for label in model.requirement.labels] or [model.requirement.description]
    # as a user gets them: labels with all that is told of them
    answer = (
        model.answer
        if isinstance(model, Classifier)
        else model.estimate
        if isinstance(model, Regressor)
        else model.judge
        if isinstance(model, Detector)
        else model.predict
    )
    return cost.measure_cost(answer, sample, size, model.manifest.n_parameters, seconds=_COST_SECONDS)


def scores_of(report: Report) -> dict[str, float]:
    """Return the figures of a report that a manifest names."""
    if report.scores is not None:
        scores = report.scores
        return {
            "accuracy": scores.accuracy.value,
            "balanced_accuracy": scores.balanced_accuracy.value,
            "macro_f1": scores.macro_f1.value,
        }
    if report.written is not None and report.written.scores is not None:
        found = report.written.scores
        return {"exact_match": found.exact_match.value, "token_f1": found.token_f1.value}
    if report.numbers is not None:
        return {"r2": report.numbers.scores.r2.value, "mae": report.numbers.scores.mae}
    if report.unusual is not None:
        return _unusual_scores(report.unusual)
    return {}


def _unusual_scores(found: Unusual) -> dict[str, float]:
    scores: dict[str, float] = {}
    if found.false_alarms is not None:
        scores["false_alarms"] = found.false_alarms.value
    if found.scores is not None:
        scores |= {"auroc": found.scores.auroc.value, "found": found.scores.found.value}
    return scores


def _lineage(base: BaseRef) -> tuple[str, ...]:
    if base.name == NO_BASE:
        return ()
    known = {spec.name: spec.licence_lineage for spec in catalogue.every()}
    return known.get(base.name, (f"{base.name}: {base.licence}",))


def _storable(notes: Sequence[Note]) -> tuple[Note, ...]:
    return tuple(note for note in notes if not note.quotes)


def _groups(understood: Understood) -> Any:
    inputs = [example.input for example in understood.examples]
    if families.load(understood.requirement.family).reads == "pictures":
        return looks.group_by_look(inputs)
    return split.group_by_text(inputs)


def _example(row: Example | tuple[str | Path, str] | Mapping[str, str]) -> Example:
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
