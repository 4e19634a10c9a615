"""Which tasks a generator learns from, and the small tasks that are drawn out of them.

A generator that sees the same rows under the same label words again and again learns them by heart (LOG.md). So each
episode is a task of its own: some of the classes, some of the rows, and at times classes merged into new ones that
have no name. Groups of sources, not tasks, take turns, for some sources were made into forty tasks.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sartor.errors import DataError
from sartor.pretrain import public
from sartor.pretrain.public import IndexRow, TextTask
from sartor.types import Example

Ints = NDArray[np.int64]

ROWS = (12, 24, 32, 48)
"""Rows of an episode, one of these at random."""
LABELS = 16
"""Classes of an episode at most."""
WHOLE = 0.6
"""How often a task of few classes keeps all of them."""
FEW_LABELS = 6
MERGED = 0.3
"""How often classes are merged into nameless ones, where names are not what is learned."""
TELLING = re.compile(
    r"(?!(?:yes|no|true|false|good|bad|neutral|none|other|same|(?:in)?valid|(?:in)?correct)$)[a-z].{2,}"
)
"""A label, in lower case, whose name says what its texts are about."""
GROUP_ROWS = 6000
"""Rows beyond which a group's turns do not grow; they go with the square root of its rows."""


@dataclass(frozen=True, slots=True)
class Source:
    """A task, its rows numbered in a table of texts that all tasks share."""

    name: str
    group: str
    labels: tuple[str, ...]
    rows: Ints
    """(N,) numbers of texts."""
    targets: Ints
    """(N,) places among ``labels``."""


@dataclass(frozen=True, slots=True)
class Episode:
    """A small task."""

    source: Source
    rows: Ints
    """(n,) numbers of texts."""
    targets: Ints
    """(n,) from 0 to ``classes``."""
    classes: int
    picked: Ints | None
    """(classes,) places among the source's labels; None when classes were merged, and so have no name of their own."""
    question: int | None = None
    """Place of the label that class 0 (yes) has and class 1 (no) has not; None when that is not what is asked."""


@dataclass(frozen=True, slots=True)
class Split:
    """What one generator learns from, and what it is checked by while it learns."""

    train: tuple[TextTask, ...]
    watch: tuple[TextTask, ...]
    """Of groups that ``train`` has not, on the ``dev`` side, which is never reported."""


def is_candidate(row: IndexRow) -> bool:
    """Return whether a task is of the kind that text classifiers learn from."""
    return row.kind == "classification" and row.language == "en" and not row.canary


def split(tasks: Iterable[tuple[IndexRow, TextTask]], held_out: int | None, side: str = "dev") -> Split:
    """Return what the generator that never sees fold ``held_out`` learns from.

    None holds out the groups of the public benchmarks alone, so that what is shipped can be judged by them.

    A training row whose text stands in any task of a held-out group is taken off, whatever task it came with.

    Args:
        tasks: candidates (:func:`is_candidate`) with their rows.
        held_out: a fold of :func:`sartor.pretrain.public.fold`.
        side: of the tasks to watch.
    """
    pairs = list(tasks)

    def hidden(group: str) -> bool:
        return group in public.PUBLIC if held_out is None else public.fold(group) == held_out

    seen = {row.group for row, _ in pairs if row.trainable and not hidden(row.group)}
    unseen = [task for row, task in pairs if row.group not in seen]
    forbidden = {fingerprint(example.input) for task in unseen for example in (*task.train, *task.test)}
    train = tuple(_without(task, forbidden) for row, task in pairs if row.trainable and row.group in seen)
    return Split(train, tuple(task for task in unseen if public.side(task.group) == side))


def fingerprint(text: str) -> str:
    """Return what two copies of a text have in common, whatever their case and spaces."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode("utf-8", "surrogatepass")).hexdigest()


def _without(task: TextTask, forbidden: set[str]) -> TextTask:
    def kept(rows: tuple[Example, ...]) -> tuple[Example, ...]:
        return tuple(row for row in rows if fingerprint(row.input) not in forbidden)

    return replace(task, train=kept(task.train), test=kept(task.test))


def sources(tasks: Sequence[TextTask], number: Mapping[str, int]) -> list[Source]:
    """Return tasks with all their rows, those whose answer is no label left off; ``number`` is text -> its place."""
    found: list[Source] = []
    for task in tasks:
        place = {label: at for at, label in enumerate(task.labels)}
        rows = [row for row in (*task.train, *task.test) if row.output in place]
        numbers = np.array([number[row.input] for row in rows], dtype=np.int64)
        targets = np.array([place[str(row.output)] for row in rows], dtype=np.int64)
        source = Source(task.name, task.group, task.labels, numbers, targets)
        if len(usable(source)) >= 2:
            found.append(source)
    return found


def usable(source: Source) -> Ints:
    """Return the places of labels with at least two rows."""
    return np.flatnonzero(np.bincount(source.targets, minlength=len(source.labels)) >= 2)


class Mixture:
    """Sources that take turns by their groups."""

    def __init__(self, sources: Sequence[Source]) -> None:
        if not sources:
            raise DataError("There is no task to learn from: the data folder holds none whose licence allows it.")
        self.groups: dict[str, list[Source]] = {}
        for source in sources:
            self.groups.setdefault(source.group, []).append(source)
        rows = [min(sum(len(source.rows) for source in group), GROUP_ROWS) for group in self.groups.values()]
        self.chances = np.sqrt(rows) / np.sqrt(rows).sum()

    def draw(self, random: np.random.Generator, *, merged: float = MERGED, asked: float = 0.0) -> Episode:
        """Return an episode of a source of a group; how often of which kind, as in :func:`episode`."""
        group = list(self.groups.values())[random.choice(len(self.groups), p=self.chances)]
        return episode(group[random.integers(len(group))], random, merged=merged, asked=asked)


def episode(source: Source, random: np.random.Generator, *, merged: float = MERGED, asked: float = 0.0) -> Episode:
    """Return a small task drawn out of a large one, every class with two rows or more.

    Args:
        source: the large task.
        random: what is drawn from.
        merged: how often four classes or more are merged into nameless ones.
        asked: how often a task whose labels say what their texts are about becomes a question, "Is this text about
            NAME?", yes or no. The answers are the same then in a thousand tasks, and only the question says what
            they mean.
    """
    known = usable(source)
    size = int(random.choice(ROWS))
    telling = [place for place in known if TELLING.match(source.labels[place].lower())] if asked else []
    if telling and random.random() < asked:
        return _question(source, int(random.choice(telling)), known, size, random)
    classes = min(len(known), int(random.integers(2, LABELS + 1)), size // 2)
    if len(known) <= FEW_LABELS and random.random() < WHOLE:
        classes = min(len(known), size // 2)
    picked = random.permutation(known)[:classes]
    drawn = [random.permutation(np.flatnonzero(source.targets == label))[: max(2, size // classes)] for label in picked]
    rows = source.rows[np.concatenate(drawn)]
    targets = np.repeat(np.arange(classes), [len(part) for part in drawn])
    if classes < 4 or random.random() >= merged:
        return Episode(source, rows, targets, classes, picked)
    fewer = int(random.integers(2, classes))
    # every new class has at least one old one
    place = random.permutation(np.concatenate([np.arange(fewer), random.integers(0, fewer, classes - fewer)]))
    return Episode(source, rows, place[targets], fewer, None)


def _question(source: Source, asked: int, known: Ints, size: int, random: np.random.Generator) -> Episode:
    """Return one class against rows of all others, half of each."""
    yes = random.permutation(np.flatnonzero(source.targets == asked))[: size // 2]
    others = np.flatnonzero((source.targets != asked) & np.isin(source.targets, known))
    no = random.permutation(others)[: len(yes)]
    rows = source.rows[np.concatenate([yes, no])]
    return Episode(source, rows, np.repeat([0, 1], [len(yes), len(no)]), 2, None, asked)
