"""Task and rows to a requirement, by rules alone. Every decision leaves a note that says why.

Tables, pictures and tasks of writing have pages of their own (:mod:`sartor.requirement.tables`, ``pictures``,
``writing``).
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from sartor.assets import catalogue
from sartor.data import clean
from sartor.data.text import answers_a_question
from sartor.errors import DataError, TaskError
from sartor.families.interface import LEAST_UNLABELLED
from sartor.requirement import language as languages
from sartor.requirement import pictures, tables
from sartor.requirement.kind import WRITES, kind_of
from sartor.requirement.labels import labels_in
from sartor.requirement.understood import MOST_DESCRIPTION as MOST_DESCRIPTION
from sartor.requirement.understood import Understood, described, fits, least_tokens, sample
from sartor.requirement.writing import understand_writing
from sartor.types import Example, Label, Note, Requirement, Rows, Task

MOST_LABELS = 1000
MOST_UNLABELLED = 1000
_FEW = 8
_TOKENS = (64, 128, 256)


def understand(
    task: Task,
    rows: Rows | None = None,
    *,
    name: str,
    base: str | None = None,
    merge_labels: bool = False,
    unlabelled: Rows | None = None,
) -> Understood:
    """Work out family, labels, language and base; a task of writing has no labels.

    Args:
        task: in the user's words.
        rows: with labels; None or empty when the description is all there is.
        name: of the model, where the task has none.
        base: overrides the choice of the base.
        merge_labels: make one of labels that differ only in case, width or spaces; nothing where texts are written.
        unlabelled: texts of the kind that will be asked; None when there are none or they were not looked at.

    Raises:
        TaskError: when the labels cannot be told, or there are too few or too many.
        DataError: when the rows do not go with the task, or have no answers to write.
        NotFoundError: when the kind or the base is not known.
    """
    if task.kind in tables.KINDS or task.target or (rows and rows.target):
        return tables.understand_table(
            task, rows, name=name, base=base, merge_labels=merge_labels, unlabelled=unlabelled is not None
        )
    if pictures.reads_pictures(task.kind) or (rows and rows.pictures):
        return pictures.understand_pictures(
            task, rows, name=name, base=base, merge_labels=merge_labels, unlabelled=unlabelled is not None
        )
    kind, why_kind = kind_of(task, rows)
    if kind == WRITES:
        return understand_writing(task, rows, name=name, base=base, unlabelled=unlabelled, why=why_kind)
    examples = tuple(rows.examples) if rows else ()
    if merge_labels:
        examples = clean.merge_labels(examples)
    description, cut = described(task)
    labels, label_notes = _labels(task, labels_in(description), examples)
    kept, unknown = _with_known_labels(examples, {label.name for label in labels})
    summary = clean.inspect(kept)
    plain, plain_notes = _unlabelled(unlabelled, labelled=bool(kept))
    code, why = _language(task, description, labels, [example.input for example in kept] or plain)
    # where the task does not say, the texts have told the language themselves
    plain, foreign = _of_language(plain, code) if task.language else (plain, ())
    chosen, base_note = _base(base, code)
    max_tokens = _max_tokens(summary.length_p95, code, catalogue.spec(chosen).max_tokens)
    notes = (
        *((rows.notes) if rows else ()),
        *cut,
        why_kind,
        *label_notes,
        *unknown,
        Note("language", f"Language: {code} ({why})."),
        base_note,
        *fits(task, chosen, catalogue.spec(chosen).n_parameters),
        Note("length", f"Texts are read up to {max_tokens} tokens; 95% have at most {summary.length_p95} characters.")
        if kept
        else Note("length", f"Texts are read up to {max_tokens} tokens."),
        *(summary.notes if kept else ()),
        *_balance(labels, len(kept), chosen),
        *plain_notes,
        *foreign,
    )
    requirement = Requirement(
        family=kind,
        name=task.name or name,
        description=description,
        labels=labels,
        language=code,
        base=chosen,
        max_tokens=max_tokens,
        limits=task.limits,
        notes=tuple(note for note in notes if not (merge_labels and "--merge-labels" in note.text)),
    )
    return Understood(requirement, kept, plain)


# --- labels ------------------------------------------------------------------------------------------------


def _labels(
    task: Task, named: Sequence[str], examples: Sequence[Example]
) -> tuple[tuple[Label, ...], tuple[Note, ...]]:
    """Return the labels; ``named`` are those that the description names."""
    counts = Counter(str(example.output) for example in examples if example.output is not None)
    if task.labels:
        labels = tuple(Label(name, text, counts[name]) for name, text in task.labels.items())
        note = f"Labels: the {len(labels)} that the task lists."
    elif len(counts) > 1 or (counts and not set(counts) <= set(named)):
        labels = tuple(Label(name, "", n) for name, n in sorted(counts.items()))
        note = f"Labels: the {len(labels)} found in the rows."
    else:
        labels = tuple(Label(name, "", counts[name]) for name in named)
        note = "Labels: " + ", ".join(label.name for label in labels) + ", as the description names them."
    _check_labels(labels, 0 if task.labels else len(examples))
    return labels, (Note("labels", note), *_silent_labels(task, named, labels, examples))


def _check_labels(labels: Sequence[Label], rows: int) -> None:
    """Refuse none, one or too many labels; ``rows`` is how many they were found in, 0 when the task lists them."""
    if not labels:
        raise TaskError(
            'Cannot tell the labels. Name them in the description ("… to billing, bug or other"), list them under '
            "'labels' in the task file, give rows with a label column by --examples, or say kind: text-generation if "
            "texts are to be written."
        )
    if len(labels) == 1:
        raise DataError(
            f"Need at least two labels to choose between; got only {labels[0].name!r}. "
            "Add rows of another label, or list all labels under 'labels' in the task file."
        )
    many = len(labels) > MOST_LABELS or (rows >= 50 and len(labels) > 0.8 * rows)
    if many and rows:
        raise DataError(
            f"Got {len(labels):,} different labels in {rows:,} rows: that looks like free text or an id, not a label "
            f"(at most {MOST_LABELS:,} labels are possible, each with several rows). "
            "Choose the label column with --label-column."
        )
    if many:
        raise TaskError(f"Got {len(labels):,} labels; at most {MOST_LABELS:,} are possible. Merge some.")


def _silent_labels(
    task: Task, named: Sequence[str], labels: Sequence[Label], examples: Sequence[Example]
) -> Iterator[Note]:
    without = [label.name for label in labels if label.rows == 0]
    if examples and without:
        names = ", ".join(repr(name) for name in without[:5]) + (" …" if len(without) > 5 else "")
        yield Note("labels", f"No row has the label {names}: known by name only.", "warning")
    found = {label.name.casefold() for label in labels}
    missing = [name for name in named if name.casefold() not in found]
    if examples and not task.labels and missing and len(missing) < len(named):
        yield Note(
            "labels",
            f"The description also names {', '.join(map(repr, missing))}, but no row has it: list it under 'labels' "
            "to keep it.",
            "warning",
        )


def _with_known_labels(examples: Sequence[Example], known: set[str]) -> tuple[tuple[Example, ...], tuple[Note, ...]]:
    kept = tuple(example for example in examples if example.output in known)
    if len(kept) == len(examples):
        return kept, ()
    others = sorted({str(example.output) for example in examples if example.output not in known})
    if not kept:
        raise DataError(
            f"No row has one of the task's labels ({_some(sorted(known))}); the rows have {_some(others)}. "
            "Make the two agree: labels are taken verbatim."
        )
    left_out = len(examples) - len(kept)
    rows = "1 row was" if left_out == 1 else f"{left_out:,} rows were"
    text = f"{rows} left out: labelled {_some(others)}, which is not among the task's labels."
    return kept, (Note("dropped", text, "warning"),)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def _balance(labels: Sequence[Label], rows: int, base: str) -> Iterator[Note]:
    if not rows:
        anchor = catalogue.spec(base).anchor
        asked = anchor is not None and anchor.questions and answers_a_question(label.name for label in labels)
        yield Note(
            "rows",
            f"No labelled rows: answers rest on {'the question' if asked else 'the words of the labels'} alone, and "
            "nothing can be proved. "
            f"About {_FEW} rows a label change that.",
            "warning",
        )
        return
    most, least = max(labels, key=lambda label: label.rows), min(labels, key=lambda label: label.rows)
    if most.rows == least.rows:
        yield Note("rows", f"{rows:,} rows, {most.rows:,} a label.")
    else:
        spread = f"from {least.rows:,} ({least.name!r}) to {most.rows:,} ({most.name!r}) a label"
        yield Note("rows", f"{rows:,} rows: {spread}.")
    if most.rows > 20 * max(1, least.rows):
        text = f"Very unbalanced: {most.name!r} has {most.rows:,} rows, {least.name!r} {least.rows:,}."
        yield Note("balance", f"{text} Look at balanced accuracy and at the table by label.", "warning")


def _unlabelled(rows: Rows | None, *, labelled: bool) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    """Return the texts to read, and why: beside labelled rows they have made no difference (LOG.md, 2026-11-25)."""
    if rows is None:
        return (), ()
    if labelled:
        text = "The unlabelled rows are not read: they help only where there is no labelled row."
        return (), (Note("unlabelled", text),)
    stride = max(1, math.ceil(len(rows.examples) / MOST_UNLABELLED))
    texts = tuple(example.input for example in rows.examples[::stride])
    if len(texts) < LEAST_UNLABELLED:
        note = f"Only {len(texts)} unlabelled rows: it takes {LEAST_UNLABELLED} to learn from them. They are not read."
        return (), (*rows.notes, Note("unlabelled", note, "warning"))
    read = f"{len(texts):,} of {len(rows.examples):,}" if stride > 1 else f"{len(texts):,}"
    note = (
        f"Unlabelled rows: {read} are read, to see which labels the words alone would be too fond of. They must be a "
        "fair sample of what will be asked; without one, leave them out."
    )
    return texts, (*rows.notes, Note("unlabelled", note))


def _of_language(texts: tuple[str, ...], code: str) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    """Return the unlabelled texts if they are in the task's language."""
    if not texts:
        return (), ()
    found, why = languages.detect(sample(texts))
    if found == code:
        return texts, ()
    note = f"The unlabelled rows seem to be in another language ({found}: {why}) than the task ({code}): not used."
    return (), (Note("unlabelled", note, "warning"),)


# --- language, base, length --------------------------------------------------------------------------------


def _language(task: Task, description: str, labels: Sequence[Label], texts: Sequence[str]) -> tuple[str, str]:
    if task.language:
        return languages.checked(task.language), "as the task says"
    # rows are what will be read later; the description only speaks when there are none
    return languages.detect(sample(texts) or [description, *(label.name for label in labels)])


def _base(asked: str | None, language: str) -> tuple[str, Note]:
    if asked is not None:
        return catalogue.spec(asked).name, Note("base", f"Base: {asked}, as asked.")
    name = catalogue.for_language(language)
    return name, Note("base", f"Base: {name}, chosen for the language.")


def _max_tokens(characters: int, language: str, most: int) -> int:
    """Return the least of a few lengths that holds 95% of the texts; encoding costs grow with it."""
    per_token = 1.2 if language in ("ja", "zh", "ko", "th") else 3.5
    return least_tokens(characters, per_token, _TOKENS, most)
