"""Pictures to a requirement, by rules alone. Every decision leaves a note that says why."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from sartor import families
from sartor.data import clean, looks
from sartor.data.good_names import good_label
from sartor.data.picture_folders import MOST_CLASSES
from sartor.errors import DataError, TaskError
from sartor.requirement.understood import Understood, described
from sartor.types import Example, Label, Note, Requirement, Rows, Task

CLASSES = "image-classification"
ANOMALIES = "image-anomaly-detection"
KINDS = (CLASSES, ANOMALIES)
BASE = "efficientnet-lite0+anchor1"
"""What looks at pictures where no other is asked for."""
_FEW = 8
"""Pictures of a class below which a model of it is a guess."""
_SHOWN = 5


def reads_pictures(kind: str | None) -> bool:
    """Whether a kind of model is one of pictures; one that is not known is not."""
    if kind is None or kind in KINDS:
        return kind is not None
    return kind in families.names() and families.load(kind).reads == "pictures"


def understand_pictures(
    task: Task,
    rows: Rows | None,
    *,
    name: str,
    base: str | None = None,
    merge_labels: bool = False,
    unlabelled: bool = False,
) -> Understood:
    """Work out which classes pictures are put into.

    Args:
        task: in the user's words.
        rows: as :func:`sartor.data.picture_rows.read_pictures` gives them.
        name: of the model, where the task has none.
        base: that looks at pictures; :data:`BASE` unless given.
        merge_labels: make one of classes that differ only in case, width or spaces.
        unlabelled: whether there are pictures without a label beside, which are not read.

    Raises:
        TaskError: when there are no pictures, or the task is of another kind.
        DataError: when the classes cannot be told, or there are too few or too many.
        NotFoundError: when the kind is not known.
    """
    if task.kind is not None and not reads_pictures(task.kind):
        families.load(task.kind)  # refuses what is not known
        raise TaskError(f"The rows are pictures, and models of the kind {task.kind} read none. Say kind: {CLASSES}.")
    if rows is None or not rows.examples:
        raise TaskError(
            "A model of pictures is made from pictures: give a folder that holds one for each class with --examples, "
            "or a file with the columns image and label."
        )
    description, cut = described(task)
    examples, left_out = _labelled(tuple(rows.examples))
    if merge_labels:
        examples = clean.merge_labels(examples)
    labels, why = _labels(task, examples)
    kept, unknown = _with_known_labels(examples, {label.name for label in labels})
    kind, why_kind = _kind(task, labels, examples, rows)
    plain = BASE
    if kind == ANOMALIES:
        labels, why_good = _good(labels)
        why = (*why, *why_good)
        plain = BASE.partition("+")[0]  # an anchor knows classes; what is unusual is told from the frozen stages
    notes = (
        *rows.notes,
        *cut,
        why_kind,
        *left_out,
        *why,
        *unknown,
        Note("base", f"Base: {base or plain}, " + ("as asked." if base else "as none was asked for.")),
        *(() if merge_labels else _spellings(kept)),
        *(_size(labels, len(kept)) if kind != ANOMALIES else _good_ones(labels, len(examples))),
        *_alike([example.input for example in (kept if labels else examples)]),
        *([Note("unlabelled", "The unlabelled pictures are not read: a model is made of labelled ones.")] * unlabelled),
    )
    requirement = Requirement(
        family=kind,
        name=task.name or name,
        description=description,
        labels=labels,
        language=task.language or "",
        base=base or plain,
        max_tokens=0,
        limits=task.limits,
        notes=notes,
    )
    return Understood(requirement, kept if labels else examples)


# --- classes -----------------------------------------------------------------------------------------------


def _kind(task: Task, labels: Sequence[Label], examples: Sequence[Example], rows: Rows) -> tuple[str, Note]:
    """Return the family, and why: one that tells what is unusual where there are pictures of one class alone.

    Raises:
        DataError: when that is asked for, or all there is, and cannot be had; or there are too many classes.
    """
    if task.kind is not None and task.kind not in (CLASSES, ANOMALIES):
        return task.kind, Note("kind", f"Kind: {task.kind}, as the task says.")
    with_pictures = sum(label.rows > 0 for label in labels)
    if task.kind == ANOMALIES or (task.kind is None and with_pictures < 2 and ANOMALIES in families.names()):
        families.load(ANOMALIES)  # refuses what is not known
        why = "as the task says" if task.kind else "because all pictures are of one kind"
        return ANOMALIES, Note("kind", f"Kind: {ANOMALIES}, {why}.")
    if with_pictures < 2:
        raise DataError(_one_class(labels, len(examples)) + _hint(rows))
    _check_many(labels, len(examples))
    why = "as the task says" if task.kind else "because pictures are to be put into classes"
    return CLASSES, Note("kind", f"Kind: {CLASSES}, {why}.")


def _good(labels: tuple[Label, ...]) -> tuple[tuple[Label, ...], tuple[Note, ...]]:
    """Return the label of good pictures, where pictures have labels.

    Raises:
        TaskError: when there are several, and none is known to be the good one.
    """
    with_pictures = [label for label in labels if label.rows]
    if len(with_pictures) < 2:
        return tuple(with_pictures), ()
    name = good_label([label.name for label in with_pictures])
    if name is None:
        raise TaskError(
            f"Which pictures are good? The classes are {_some([label.name for label in with_pictures])}. Call the "
            "folder of good ones 'good', or give it alone."
        )
    others = [label.name for label in with_pictures if label.name != name]
    text = f"{name!r} is taken for the good ones; {_some(others)} only measure what is found."
    return tuple(label for label in with_pictures if label.name == name), (Note("labels", text),)


def _one_class(labels: Sequence[Label], pictures: int) -> str:
    known = [label.name for label in labels if label.rows]
    what = f"all {pictures:,} pictures are {known[0]!r}" if known else f"none of the {pictures:,} pictures has a label"
    return (
        f"Need pictures of at least two classes to choose between; {what}. Give a folder that holds one folder of "
        "pictures for each class, or a file with the columns image and label."
    )


def _hint(rows: Rows) -> str:
    return "".join(f" {note.text}" for note in rows.notes if note.topic == "folders")


def _check_many(labels: Sequence[Label], pictures: int) -> None:
    if len(labels) > MOST_CLASSES or (pictures >= 50 and len(labels) > 0.8 * pictures):
        raise DataError(
            f"Got {len(labels):,} different labels for {pictures:,} pictures: that looks like names, not classes (at "
            f"most {MOST_CLASSES:,} are possible, each with several pictures). Choose the column with --label-column, "
            "or put pictures of one class into one folder."
        )


def _labelled(examples: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Note, ...]]:
    """Return the pictures that have a label; all where none has."""
    known = tuple(example for example in examples if example.output is not None)
    without = len(examples) - len(known)
    if not known or not without:
        return tuple(examples), ()
    pictures = "1 picture has no label and was" if without == 1 else f"{without:,} pictures have no label and were"
    return known, (Note("dropped", f"{pictures} left out.", "warning"),)


def _labels(task: Task, examples: Sequence[Example]) -> tuple[tuple[Label, ...], tuple[Note, ...]]:
    """Return the classes, and why: those that the task lists, else those of the pictures."""
    counts = Counter(example.output for example in examples if example.output is not None)
    if not task.labels:
        labels = tuple(Label(name, "", count) for name, count in sorted(counts.items()))
        return labels, (
            Note("labels", f"Labels: {_some([label.name for label in labels])}, as found."),
        ) if labels else ()
    labels = tuple(Label(name, text, counts[name]) for name, text in task.labels.items())
    return labels, (Note("labels", f"Labels: the {len(labels)} that the task lists."), *_without(labels))


def _without(labels: Sequence[Label]) -> Iterator[Note]:
    without = [label.name for label in labels if not label.rows]
    if without:
        text = f"No picture has the label {_some(without)}: such a class is never the answer."
        yield Note("labels", text, "warning")


def _with_known_labels(examples: Sequence[Example], known: set[str]) -> tuple[tuple[Example, ...], tuple[Note, ...]]:
    kept = tuple(example for example in examples if example.output in known)
    if len(kept) == len(examples) or not known:
        return kept, ()
    others = sorted({str(example.output) for example in examples if example.output not in known})
    if not kept:
        raise DataError(
            f"No picture has one of the task's labels ({_some(sorted(known))}); the pictures have {_some(others)}. "
            "Make the two agree: labels are taken verbatim."
        )
    count = len(examples) - len(kept)
    pictures = "1 picture was" if count == 1 else f"{count:,} pictures were"
    text = f"{pictures} left out: labelled {_some(others)}, which is not among the task's labels."
    return kept, (Note("dropped", text, "warning"),)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


# --- pictures ----------------------------------------------------------------------------------------------


def _spellings(examples: Sequence[Example]) -> Iterator[Note]:
    yield from (note for note in clean.inspect(examples).notes if note.topic == "labels")


def _size(labels: Sequence[Label], pictures: int) -> Iterator[Note]:
    """Say how many pictures there are of each class, and where they are too few."""
    known = {label.name: label.rows for label in labels if label.rows}
    if not known:
        yield Note("rows", f"{pictures:,} pictures.")
        return
    most, least = max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name])
    if known[most] == known[least]:
        yield Note("rows", f"{pictures:,} pictures, {known[most]:,} a class.")
    else:
        yield Note(
            "rows", f"{pictures:,} pictures: from {known[least]:,} ({least!r}) to {known[most]:,} ({most!r}) a class."
        )
    yield from _few(known)
    if known[most] > 20 * known[least]:
        text = f"Very unbalanced: {most!r} has {known[most]:,} pictures, {least!r} {known[least]:,}."
        yield Note("balance", f"{text} Look at balanced accuracy and at the table by label.", "warning")


def _good_ones(labels: Sequence[Label], pictures: int) -> Iterator[Note]:
    good = next((label.rows for label in labels), pictures)
    yield Note("rows", f"{good:,} good pictures." if good != 1 else "1 good picture.")


def _few(known: Mapping[str, int]) -> Iterator[Note]:
    single = [name for name, count in known.items() if count == 1]
    few = [name for name, count in known.items() if 1 < count < _FEW]
    if single:
        text = f"There is only one picture of {_some(single)}: what it shows of its class cannot be measured. Add some."
        yield Note("rows", text, "warning")
    if few:
        text = f"There are fewer than {_FEW} pictures of {_some(few)}: take the model's word with care."
        yield Note("rows", text, "warning")


def _alike(inputs: Sequence[str]) -> Iterator[Note]:
    """Say how many pictures look like another."""
    sizes = Counter(looks.group_by_look(inputs).tolist())
    count = sum(size for size in sizes.values() if size > 1)
    if count:
        text = f"{count:,} pictures look like another, as shots of a burst or copies that were saved again do"
        yield Note("duplicates", f"{text}; these stay together in the proof.")
