"""The journal's rows as the monitor sees them: read on from where it stopped, never a text but for a table's cells.

An answer that somebody judged counts once, by its first judgement. Judgements of answers that were picked for being
doubtful say nothing of all answers: of reviews only those of the random share count, of the large model's none.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sartor.evaluate.matching import exact_match
from sartor.journal import AnswerRow, FeedbackRow, Reader
from sartor.monitor.seen import Cell, Seen
from sartor.types import Column, Manifest

RANDOM_SHARE = 0.02
"""Of all answers, for review."""
_RANDOM_OF = 10_000


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last rows of the journal that were seen."""

    answers: int = 0
    events: int = 0
    feedback: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What came since."""

    rows: tuple[Seen, ...]
    right: tuple[bool, ...]
    """Of each answer that was judged for the first time."""
    cursor: Cursor
    more: bool
    """Whether rows were left for the next batch."""


def read_on(reader: Reader, manifest: Manifest, cursor: Cursor, *, most: int) -> Batch:
    """Return what came for a model since ``cursor``, ``most`` answers at most.

    Raises:
        StorageError: when the journal cannot be read.
    """
    columns = manifest.requirement.columns
    after = reader.answers(name=manifest.name, model=manifest.id, after=cursor.answers, texts=bool(columns))
    answers = list(itertools.islice(after, most))
    more = len(answers) == most
    failed = [
        event
        for event in reader.events(kind="error", name=manifest.name, after=cursor.events)
        if event.body.get("id") == manifest.id and not (more and event.at > answers[-1].at)
    ]
    rows = [seen(row, manifest) for row in answers]
    rows += [Seen(time=event.at, error=True) for event in failed]
    judged = list(reader.feedback(name=manifest.name, after=cursor.feedback))
    right = tuple(
        one for feedback, answer in judged if (one := _judged(reader, feedback, answer, manifest)) is not None
    )
    return Batch(
        rows=tuple(sorted(rows, key=lambda row: row.time)),
        right=right,
        cursor=Cursor(
            max([cursor.answers, *(row.seq for row in answers)]),
            max([cursor.events, *(event.seq for event in failed)]),
            max([cursor.feedback, *(feedback.seq for feedback, _ in judged)]),
        ),
        more=more,
    )


def seen(row: AnswerRow, manifest: Manifest) -> Seen:
    """Return an answer as the monitor sees it."""
    labels = {label.name for label in manifest.requirement.labels}
    return Seen(
        id=row.answer_id,
        seq=row.seq,
        time=row.at,
        label=row.label,
        confidence=row.confidence,
        value=row.output_chars if row.value is None else row.value,
        abstain=row.abstain,
        escalated=row.source == "large",
        listed=not labels or row.label is None or row.label in labels,
        latency_ms=row.latency_ms,
        length=row.input_chars,
        projection=row.projection,
        cells=cells_of(row.text, manifest.requirement.columns),
    )


def cells_of(text: str | None, columns: Sequence[Column]) -> Mapping[str, Cell]:
    """Return the cells of a row of a table that was retained; none where it was not, or is no such row."""
    if not columns or not text:
        return {}
    try:
        row = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(row, dict):
        return {}
    return {column.name: _cell(row.get(column.name), column) for column in columns if column.kind in _WATCHED}


_WATCHED = ("number", "boolean", "category")


def _cell(value: object, column: Column) -> Cell:
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    if column.kind == "number":
        try:
            return float(text.replace(column.unit, "").strip() if column.unit else text)
        except ValueError:
            return None
    return text


def is_random(answer_id: str) -> bool:
    """Return whether an answer is of the random share that is reviewed, whatever is known of it."""
    drawn = int(hashlib.sha256(f"review {answer_id}".encode()).hexdigest(), 16) % _RANDOM_OF
    return drawn < RANDOM_SHARE * _RANDOM_OF


def verdict(feedback: FeedbackRow, answer: AnswerRow) -> bool | None:
    """Return whether feedback says that an answer was right; None where that cannot be told.

    A value is right by thumbs alone; a written answer also where it is retained and says the same.
    """
    if feedback.label is None:
        return None if feedback.thumbs is None else feedback.thumbs > 0
    if answer.label is not None:
        return feedback.label == answer.label and not answer.abstain
    if answer.output is None:
        return None
    return exact_match(answer.output, feedback.label, fold_case=True, strip_punctuation=True)


def counts(feedback: FeedbackRow) -> bool:
    """Return whether feedback is of an answer that was not picked for being doubtful."""
    return feedback.who not in ("review", "large") or (feedback.who == "review" and is_random(feedback.answer_id))


def _judged(reader: Reader, feedback: FeedbackRow, answer: AnswerRow, manifest: Manifest) -> bool | None:
    if answer.model != manifest.id or answer.source == "large" or not counts(feedback):
        return None
    before = [one for one in reader.feedback_of(answer.answer_id) if one.seq < feedback.seq and counts(one)]
    return None if before else verdict(feedback, answer)
