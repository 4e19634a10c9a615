"""Which answers a person should look at, and what becomes of what they say.

A third each: answers that the model was least sure of; inputs that are least like the reference; and a random share,
which alone says how many of all answers are wrong.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from sartor import journal
from sartor.errors import UserError, did_you_mean
from sartor.journal import AnswerRow, FeedbackRow, Journal, Reader
from sartor.monitor import samples
from sartor.monitor.journalled import is_random
from sartor.monitor.memory import Memory
from sartor.monitor.watch import champion
from sartor.registry import bundle
from sartor.types import Example, Manifest

Reason: TypeAlias = Literal["low confidence", "unlike before", "random"]
RECENT = 5000
"""Newest answers of the model, among which is chosen."""
_LEAST_REFERENCE = 20


@dataclass(frozen=True, slots=True)
class Item:
    """An answer to look at."""

    answer_id: str
    at: float
    reason: Reason
    label: str | None
    """What was answered; of a model that writes its text, where that is retained."""
    confidence: float | None
    abstain: bool
    text: str | None
    """What was asked; None where it is not retained."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for a person."""

    name: str
    model: str
    labels: tuple[str, ...]
    """That an answer may be corrected to; empty where any text may stand."""
    items: tuple[Item, ...]
    retained: int
    """Items whose text is there."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What became of a review."""

    answer_id: str
    answered: str | None
    label: str
    right: bool
    candidate: Example | None
    """A case for the regression set; None where the text was not retained."""


def queue(name: str, home: Path, *, most: int = 30) -> Queue:
    """Return answers of the champion of ``name`` that nobody judged yet, the most telling first.

    Raises:
        NotFoundError: when ``name`` has no champion.
        StorageError: when the journal cannot be read.
    """
    entry = champion(name, home)
    manifest, _ = bundle.read(entry.path, verify=False)
    reader = Reader(home / journal.FILE)
    judged = {feedback.answer_id for feedback, _ in reader.feedback(name=name)}
    recent = reader.answers(name=name, model=entry.id, last=RECENT, texts=True)
    rows = [row for row in recent if row.answer_id not in judged and row.source != "large"]
    remembered = Memory(home).read(name, entry.id)
    reference = None if remembered is None else remembered.reference.rows.projection
    items = chosen(rows, reference, most)
    labels = tuple(label.name for label in manifest.requirement.labels)
    return Queue(name, entry.id, labels, items, sum(item.text is not None for item in items))


def chosen(rows: Sequence[AnswerRow], reference: np.ndarray | None, most: int) -> tuple[Item, ...]:
    """Return which of ``rows`` to look at: in turn the least sure, the least like the reference, and random ones."""
    unlike = _unlike(rows, reference)
    doubtful = sorted(
        (at for at, row in enumerate(rows) if row.confidence is not None),
        key=lambda at: (not rows[at].abstain, rows[at].confidence),
    )
    ways: tuple[tuple[Reason, list[int]], ...] = (
        ("random", [at for at in range(len(rows) - 1, -1, -1) if is_random(rows[at].answer_id)]),
        ("low confidence", doubtful),
        ("unlike before", unlike),
    )
    found: dict[int, Reason] = {}
    waiting: dict[Reason, Iterator[int]] = {reason: iter(order) for reason, order in ways}
    while waiting and len(found) < most:
        for reason in tuple(waiting):
            at = next((one for one in waiting[reason] if one not in found), None)
            if at is None:
                del waiting[reason]
            elif len(found) < most:
                found[at] = reason
    return tuple(_item(rows[at], reason) for at, reason in found.items())


def _unlike(rows: Sequence[AnswerRow], reference: np.ndarray | None) -> list[int]:
    """Return the rows whose inputs are unlike the reference, the most unlike first."""
    if reference is None or not reference.size:
        return []
    known = reference[np.isfinite(reference).all(axis=1)]
    seen = [at for at, row in enumerate(rows) if row.projection is not None and len(row.projection) == known.shape[1]]
    if len(known) < _LEAST_REFERENCE or not seen:
        return []
    width = samples.bandwidth(known) / 2
    inputs = np.array([rows[at].projection for at in seen])
    alike = samples.kernel(inputs, known, width).mean(axis=1)
    own = samples.kernel(known, known, width)
    usual = (own.sum(axis=1) - 1) / (len(known) - 1)
    # as far out as one in twenty of the reference; what is closer is no suspect
    limit = np.quantile(usual, 0.05)
    return [seen[at] for at in np.argsort(alike) if alike[at] < limit]


def _item(row: AnswerRow, reason: Reason) -> Item:
    said = row.label if row.label is not None else row.output
    if said is None and row.value is not None:
        said = f"{row.value:g}"
    return Item(row.answer_id, row.at, reason, said, row.confidence, row.abstain, row.text)


def answer(name: str, home: Path, answer_id: str, label: str, *, now: Callable[[], float] = time.time) -> Reviewed:
    """Record what a person says is the right answer; it is feedback, and a case for the regression set.

    Raises:
        NotFoundError: when there is no such model or answer.
        UserError: when the answer is of another model, or the label is none of the model's.
        StorageError: when the journal cannot be read or written.
    """
    entry = champion(name, home)
    manifest, _ = bundle.read(entry.path, verify=False)
    row = Reader(home / journal.FILE).answer(answer_id)
    if row.name != name:
        raise UserError(f"The answer {answer_id} is of the model {row.name}: sartor review {row.name}.")
    _check_label(label, manifest)
    with Journal(home / journal.FILE) as writer:
        writer.append(FeedbackRow(answer_id, now(), label=label, who="review"))
    said = _item(row, "random").label
    right = said == label and not row.abstain
    return Reviewed(answer_id, said, label, right, None if row.text is None else Example(row.text, label))


def candidates(name: str, home: Path) -> tuple[Example, ...]:
    """Return reviewed rows of all versions of ``name`` whose texts are retained: the last word of each.

    Raises:
        StorageError: when the journal cannot be read.
    """
    found: dict[str, Example] = {}
    for feedback, row in Reader(home / journal.FILE).feedback(name=name):
        if feedback.who == "review" and feedback.label is not None and row.text is not None:
            found[feedback.answer_id] = Example(row.text, feedback.label)
    return tuple(found.values())


def _check_label(label: str, manifest: Manifest) -> None:
    labels = [one.name for one in manifest.requirement.labels]
    if labels and label not in labels:
        raise UserError(f"{label!r} is none of the labels of {manifest.name}.{did_you_mean(label, labels)}")
