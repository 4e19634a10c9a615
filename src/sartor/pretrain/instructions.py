"""The text-to-text tasks that a generator of small language models learns from, and the batches drawn out of them.

Two sources: public tasks, classification answered in words among them, and the programs of
:mod:`sartor.pretrain.transforms`.

**Who is held out.** Groups of sources stand and fall together, and a family of transforms is a group. Each group has a
fold and a side by its hash. Public groups have those of :mod:`sartor.pretrain.public`, so that text classification and
this family hide the same sources. Families of transforms are few, so they are dealt out in the order of their hashes:
one in three to a fold, and two in three of these to ``report``. The generator that never sees a fold learns from all
other groups; of the fold, the ``dev`` side chooses checkpoints (validation) and the ``report`` side is held out for the
figures. Three rules close what the groups leave open:

- a public group that asks for what transforms ask for goes where these go (:data:`KIN`), or is left out where these
  part;
- a composition is not learned from if one of its steps is hidden;
- rows and descriptions of hidden tasks are taken off the others by fingerprint, and transforms have their inputs from
  shares of the pools that training, validation and held-out tasks do not have in common.

Of each training task some wordings are never learned from (``unseen``), and its test rows never are. A test row of one
public task may be a training row of another of the same group.

**Why batches share inputs.** Where the input tells the task, nothing is learned from the condition. So half of a batch
and more are tasks that read the very same inputs, and most often the base sees the input alone.
"""

import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Literal

import numpy as np

from sartor.errors import DataError
from sartor.nn.condition import Condition, Modality
from sartor.pretrain import public, transforms
from sartor.pretrain.mixture import fingerprint
from sartor.pretrain.public import IndexRow, TextTask
from sartor.pretrain.transforms import Transform
from sartor.types import Example

Part = Literal["train", "validation", "held out"]

MODALITIES: tuple[Modality, ...] = ("description", "examples", "both", "prompts")
METRICS = frozenset({"accuracy", "exact_match", "rouge_l"})
"""Of public tasks; others need more than a text to compare with (code, worked solutions)."""
COMMON = 8
"""Two tasks share inputs if as many of their training rows read the same text."""
MOST_NAMES = 12
"""Different answers of a task that may be renamed, at most; each of them twice or oftener."""
LARGEST = 4
"""Tasks of one batch that share inputs, at most."""
KIN: Mapping[str, tuple[str, ...]] = {
    "antonym/synonym lists": ("antonym",),
    "countries": ("geography",),
    "en word translation": ("translation",),
    "singular/plural": ("inflection",),
    "word letters": ("case", "position", "count"),
    "function_vectors:present-past": ("inflection",),
    **{f"function_vectors:choose_{place}_of_{n}": ("pick",) for place in ("first", "middle", "last") for n in (3, 5)},
    **{f"function_vectors:alphabetically_{place}_{n}": ("pick",) for place in ("first", "last") for n in (3, 5)},
    **{f"function_vectors:{kind}_v_animal_{n}": ("category",) for kind in ("color", "fruit") for n in (3, 5)},
    "function_vectors:animal_v_object_5": ("category",),
    "instruction_induction:num_to_verbal": ("number_format",),
    "sni:task1443_string_to_number": ("number_format",),
    "sni:task113_count_frequency_of_letter": ("count",),
    "sni:task158_count_frequency_of_words": ("count",),
    "sni:task162_count_words_starting_with_letter": ("count",),
    "sni:task163_count_words_ending_with_letter": ("count",),
    "sni:task160_replace_letter_in_a_sentence": ("replace",),
    "sni:task376_reverse_order_of_words": ("order",),
    "sni:task377_remove_words_of_given_length": ("remove",),
    "sni:task378_reverse_words_of_given_length": ("order",),
}
"""Public group -> families of transforms that ask for the same."""

_TRANSFORM = "transform "
_SHARES: Mapping[Part, range] = {"train": range(4), "validation": range(4, 5), "held out": range(5, 8)}
"""Eighths of a pool's inputs."""
_UNSEEN = 8
"""One wording in as many is never learned from, and one at least."""
_TRIES = 50


@dataclass(frozen=True, slots=True)
class InstructionTask:
    """A text-to-text task."""

    name: str
    """``COLLECTION/NAME`` or ``FAMILY/NAME``, unique."""
    group: str
    """Tasks of one group are on one side of every split."""
    family: str
    """The collection of a public task, the family of a transform."""
    descriptions: tuple[str, ...]
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    metric: str
    """One of :data:`METRICS`."""
    pool: str | None
    """Tasks of one pool may read the same inputs; None where none does."""
    unseen: tuple[str, ...] = ()
    """Wordings of a training task that are never learned from."""


@dataclass(frozen=True, slots=True)
class Dial:
    """Which tasks and rows are taken. The defaults are for a CPU."""

    words_in: int = 60
    chars_in: int = 480
    words_out: int = 24
    chars_out: int = 200
    least_train: int = 24
    """Rows without which a task is left out."""
    least_test: int = 8
    wordings: int = 24
    """Descriptions of a task at most."""
    kinds: frozenset[str] = frozenset({"classification", "short_generation"})
    """Of public tasks. Multiple choice is knowledge that a base of 135M does not have."""
    rows: int = 600
    """Training rows of a transform at most."""
    tests: int = 200
    """Test rows of a transform at most."""
    seed: int = 0
    """Of the transforms' inputs."""


@dataclass(frozen=True, slots=True)
class Split:
    """What one generator learns from, what chooses its checkpoint, and what it is judged by."""

    train: tuple[InstructionTask, ...]
    validation: tuple[InstructionTask, ...]
    held_out: tuple[InstructionTask, ...]


@dataclass(frozen=True, slots=True)
class Episode:
    """One task of a batch."""

    task: InstructionTask
    condition: Condition
    queries: tuple[Example, ...]
    """Rows to answer; none of their inputs stands in the condition."""
    instruction: str
    """What the base reads before each input; empty most often."""
    shared: int | None
    """Episodes of a batch with the same number have the same query inputs; None for one that stands alone."""


@dataclass(frozen=True, slots=True)
class Chances:
    """How batches are drawn."""

    same_input: float = 0.5
    """Share of a batch, at least, in tasks that have their query inputs in common with another."""
    modalities: tuple[float, float, float, float] = (0.3, 0.3, 0.3, 0.1)
    """Over all episodes, in the order of :data:`MODALITIES`. Prompts alone cannot tell tasks with the same inputs
    apart, so only episodes that stand alone have them, and the oftener."""
    shown: tuple[float, float, float] = (0.65, 0.175, 0.175)
    """How often the base reads no instruction, the task's shortest description, a whole one."""
    renamed: float = 0.0
    """How often the answers of a task that has few are other words, the same in condition and queries; what it was
    told by then is left out. So rows alone can tell what to answer, and no task's words are learned by heart."""


# --- which part a group is in -------------------------------------------------------------------------------


def part_of(group: str, held_out: int) -> Part | None:
    """Return what a group is for when fold ``held_out`` is hidden; None where its kin are for different things."""
    if group in KIN:
        parts: set[Part | None] = {part_of(_TRANSFORM + family, held_out) for family in KIN[group]}
        return parts.pop() if len(parts) == 1 else None
    if group.startswith(_TRANSFORM):
        place = _families().index(group.removeprefix(_TRANSFORM))
        fold, report = place % public.FOLDS, place // public.FOLDS % 3 != 0
    else:
        fold, report = public.fold(group), public.side(group) == "report"
    if fold != held_out:
        return "train"
    return "held out" if report else "validation"


@functools.cache
def _families() -> tuple[str, ...]:
    """Return the families of transforms in the order of their hashes."""
    return tuple(sorted({task.family for task in transforms.transforms()}, key=_hash))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# --- where tasks come from ----------------------------------------------------------------------------------


def load(data: Path | None, *, held_out: int = 0, dial: Dial | None = None) -> Split:
    """Return the tasks of a data folder and the transforms, split.

    Args:
        data: the folder, as :func:`sartor.pretrain.public.read_index` takes it; None for transforms alone.
        held_out: the fold that is hidden.
        dial: which tasks and rows are taken.
    """
    dial = dial or Dial()
    found = [] if data is None else public_tasks(data, dial)
    return split([*found, *transform_tasks(dial, held_out)], held_out, dial)


def transform_tasks(dial: Dial, held_out: int) -> list[InstructionTask]:
    """Return the transforms, their inputs from the share of the pools that their part of the split has."""
    families: dict[str, Part | None] = {family: part_of(_TRANSFORM + family, held_out) for family in _families()}
    made: list[InstructionTask] = []
    for transform in transforms.transforms():
        part = families[transform.family]
        if part is None or (part == "train" and any(families[step] != "train" for step in transform.parts)):
            continue
        made.append(_transform_task(transform, part, dial))
    return made


def _transform_task(transform: Transform, part: Part, dial: Dial) -> InstructionTask:
    def kept(text: str, test: bool) -> bool:
        return transforms.is_test(text) is test and _eighth(text) in _SHARES[part]

    return InstructionTask(
        name=transform.name,
        group=_TRANSFORM + transform.family,
        family=transform.family,
        descriptions=transform.descriptions,
        train=transform.make(dial.seed, dial.rows, lambda text: kept(text, False)),
        test=transform.make(dial.seed, dial.tests, lambda text: kept(text, True)),
        metric=transform.metric,
        pool=transform.pool,
    )


@functools.lru_cache(2**17)
def _eighth(text: str) -> int:
    return transforms.share(text, 8, "part")


def public_tasks(data: Path, dial: Dial) -> list[InstructionTask]:
    """Return the English tasks of a data folder that may be learned from, with the rows that are short enough."""
    rows = [
        row
        for row in public.read_index(data)
        if row.trainable and row.language == "en" and row.kind in dial.kinds and row.metric in METRICS
    ]
    archives = {name: public.read_archive(data / "text" / f"{name}.tar.xz") for name in {r.collection for r in rows}}
    tasks = [_text_task(row, archives[row.collection]) for row in rows]
    # only this collection has other wordings in the file; names of the others may be the same by chance
    told = public.descriptions(data, [task for task, _ in tasks if task.collection == "sni"], dial.wordings)
    return [
        InstructionTask(
            name=f"{row.collection}/{row.name}",
            group=row.group,
            family=row.collection,
            descriptions=_wordings([*told.get(row.name, [task.description]), *more], dial),
            train=_short(task.train, dial),
            test=_short(task.test, dial),
            metric=row.metric,
            pool=None,
        )
        for row, (task, more) in zip(rows, tasks, strict=True)
    ]


def _text_task(row: IndexRow, files: Mapping[str, bytes]) -> tuple[TextTask, list[str]]:
    """Return a task and other wordings of it."""
    about = json.loads(files[f"{row.name}/task.json"])
    return public.read_task(row, files), about.get("descriptions") or []


def _short(rows: Iterable[Example], dial: Dial) -> tuple[Example, ...]:
    """Return rows that have an answer and are short enough, the first of each input."""
    found: dict[str, Example] = {}
    for row in rows:
        answer = row.output or ""
        sizes = (len(row.input.split()), len(row.input), len(answer.split()), len(answer))
        limits = (dial.words_in, dial.chars_in, dial.words_out, dial.chars_out)
        if sizes[0] and sizes[2] and all(size <= limit for size, limit in zip(sizes, limits, strict=True)):
            found.setdefault(fingerprint(row.input), row)
    return tuple(found.values())


_OPENING = re.compile(
    r"(?i)^(?:In this task,? )?you(?:'re| are| will be|'ll be) (?:given|provided with|presented with) "
)


def _wordings(told: Iterable[str], dial: Dial) -> tuple[str, ...]:
    """Return descriptions; a task with one alone gets mechanical variants, so that one can be held back."""
    found = list(dict.fromkeys(text.strip() for text in told if text.strip()))[: dial.wordings]
    if len(found) > 1 or not found:
        return tuple(found)
    text = found[0]
    plain = _OPENING.sub("The input is ", text)
    more = (f"Task: {plain}", f"Please do the following. {text}", f"{plain} Reply with the answer only.")
    return tuple(dict.fromkeys((text, plain, *more)))


# --- the split ----------------------------------------------------------------------------------------------


def split(tasks: Iterable[InstructionTask], held_out: int, dial: Dial | None = None) -> Split:
    """Return the parts of a split, no row and no description of a hidden task among those to learn from.

    Args:
        tasks: of all parts.
        held_out: the fold that is hidden.
        dial: how many rows a task needs.

    Raises:
        DataError: there is no such fold.
    """
    dial = dial or Dial()
    if held_out not in range(public.FOLDS):
        raise DataError(f"There is no fold {held_out}; give one from 0 to {public.FOLDS - 1}.")
    parts: dict[Part, list[InstructionTask]] = {"train": [], "validation": [], "held out": []}
    for task in tasks:
        part = part_of(task.group, held_out)
        if part is not None:
            parts[part].append(_own_rows(task))
    judged = [task for task in parts["held out"] if _enough(task, dial)]
    rows, told = _rows(judged), _told(judged)
    watched = [task for task in (_off(task, rows, told) for task in parts["validation"]) if _enough(task, dial)]
    rows, told = rows | _rows(watched), told | _told(watched)
    learned = [task for task in (_off(task, rows, told) for task in parts["train"]) if _enough(task, dial)]
    held_back = [task for task in _with_unseen(learned) if task.descriptions and task.unseen]
    return Split(*(tuple(_pooled(part)) for part in (held_back, watched, judged)))


def _enough(task: InstructionTask, dial: Dial) -> bool:
    return len(task.train) >= dial.least_train and len(task.test) >= dial.least_test and bool(task.descriptions)


def _rows(tasks: Iterable[InstructionTask]) -> set[str]:
    return {fingerprint(row.input) for task in tasks for row in (*task.train, *task.test)}


def _told(tasks: Iterable[InstructionTask]) -> set[str]:
    return {fingerprint(text) for task in tasks for text in task.descriptions}


def _own_rows(task: InstructionTask) -> InstructionTask:
    """Take off test rows that are training rows too."""
    seen = {fingerprint(row.input) for row in task.train}
    return replace(task, test=tuple(row for row in task.test if fingerprint(row.input) not in seen))


def _off(task: InstructionTask, rows: set[str], told: set[str]) -> InstructionTask:
    def kept(examples: tuple[Example, ...]) -> tuple[Example, ...]:
        return tuple(row for row in examples if fingerprint(row.input) not in rows)

    left = tuple(text for text in task.descriptions if fingerprint(text) not in told)
    return replace(task, train=kept(task.train), test=kept(task.test), descriptions=left)


def _with_unseen(tasks: Sequence[InstructionTask]) -> list[InstructionTask]:
    """Hold back wordings of each task, from all tasks: some tasks are told by the same words."""
    chosen: dict[str, tuple[str, ...]] = {}
    for task in tasks:
        by_hash = sorted(task.descriptions, key=lambda text: _hash(f"{task.name} {text}"))
        chosen[task.name] = tuple(by_hash[: max(1, len(by_hash) // _UNSEEN)])
    hidden = {fingerprint(text) for texts in chosen.values() for text in texts}
    return [
        replace(
            task,
            descriptions=tuple(text for text in task.descriptions if fingerprint(text) not in hidden),
            unseen=chosen[task.name],
        )
        for task in tasks
    ]


def _pooled(tasks: Sequence[InstructionTask]) -> list[InstructionTask]:
    """Give tasks that have no pool the pool of those whose inputs they share."""
    readers: dict[str, list[int]] = {}
    for at, task in enumerate(tasks):
        if task.pool is None:
            for row in task.train:
                readers.setdefault(row.input, []).append(at)
    common: dict[tuple[int, int], int] = {}
    for places in readers.values():
        for at, one in enumerate(places):
            for other in places[at + 1 :]:
                common[one, other] = common.get((one, other), 0) + 1
    root = list(range(len(tasks)))

    def top(at: int) -> int:
        while root[at] != at:
            at = root[at]
        return at

    shared: set[int] = set()
    for (one, other), count in common.items():
        if count >= COMMON:
            low, high = sorted((top(one), top(other)))
            root[high] = low
            shared |= {one, other}
    pools = {at: f"like {tasks[top(at)].name}" for at in shared}
    return [replace(task, pool=pools.get(at, task.pool)) for at, task in enumerate(tasks)]


# --- batches ------------------------------------------------------------------------------------------------


class InstructionMixture:
    """Tasks that take turns, half of each batch and more in tasks that read the same inputs.

    Groups take turns, not tasks, by the root of their number of tasks; so do pools, where inputs are shared.
    """

    def __init__(self, tasks: Sequence[InstructionTask], chances: Chances | None = None) -> None:
        if not tasks:
            raise DataError("There is no task to learn from: none is left after the split. Give a folder with more.")
        self.chances = chances or Chances()
        self._rows = {task.name: {row.input: row for row in task.train} for task in tasks}
        self._pools = _grouped((task.pool, task) for task in tasks if task.pool is not None)
        self._pools = {pool: members for pool, members in self._pools.items() if len(members) > 1}
        self._names = {task.name: found for task in tasks if (found := _names(task))}
        self._words = sorted({name for found in self._names.values() for name in found})
        alone = [task for task in tasks if task.pool not in self._pools]
        self._groups = _grouped((task.group, task) for task in alone or tasks)

    def draw(
        self, random: np.random.Generator, *, tasks: int = 8, rows: int = 4, support: int = 16, prompts: int = 16
    ) -> tuple[Episode, ...]:
        """Return the episodes of one step.

        Args:
            random: what is drawn from; the same state draws the same.
            tasks: episodes.
            rows: queries of an episode.
            support: labelled rows of a condition at most; from 1 on, all numbers are as likely.
            prompts: inputs of a condition that has nothing else, at most; likewise.
        """
        wanted = ceil(tasks * self.chances.same_input) if self._pools else 0
        chosen: list[tuple[InstructionTask, list[str], int | None]] = []
        number = 0
        while len(chosen) < wanted and tasks - len(chosen) >= 2:
            room = min(LARGEST, max(2, wanted - len(chosen)), tasks - len(chosen))
            together, texts = self._together(random, int(random.integers(2, room + 1)), rows)
            chosen += [(task, texts, number) for task in together]
            number += 1
        while len(chosen) < tasks:
            task = _turn(self._groups, random)
            chosen.append((task, _some(list(self._rows[task.name]), rows, random), None))
        alone = sum(number is None for _, _, number in chosen) / tasks
        return tuple(self._episode(*one, alone, (support, prompts), random) for one in chosen)

    def _together(self, random: np.random.Generator, most: int, rows: int) -> tuple[list[InstructionTask], list[str]]:
        """Return tasks of one pool, two or more, and inputs that all of them have among their training rows."""
        for _ in range(_TRIES):
            names = list(self._pools)
            chances = np.sqrt([len(self._pools[name]) for name in names])
            members = self._pools[names[random.choice(len(names), p=chances / chances.sum())]]
            order = random.permutation(len(members))
            taken = [members[order[0]]]
            texts = list(self._rows[taken[0].name])
            for at in order[1:]:
                both = [text for text in texts if text in self._rows[members[at].name]]
                if len(both) >= max(rows, COMMON):
                    taken, texts = [*taken, members[at]], both
                if len(taken) == most:
                    break
            if len(taken) > 1:
                return taken, _some(texts, rows, random)
        raise DataError(
            f"No two of the tasks have {max(rows, COMMON)} inputs in common; give tasks that do, ask for fewer rows, "
            "or set Chances.same_input to 0."
        )

    def _episode(
        self,
        task: InstructionTask,
        texts: list[str],
        shared: int | None,
        alone: float,
        most: tuple[int, int],
        random: np.random.Generator,
    ) -> Episode:
        modality = MODALITIES[random.choice(len(MODALITIES), p=self._modalities(task, shared, alone))]
        others = [text for text in self._rows[task.name] if text not in texts]
        support = _up_to(others, most[0], random) if modality in ("examples", "both") else []
        prompts = _up_to(others, most[1], random) if modality == "prompts" else []
        told = task.descriptions[random.integers(len(task.descriptions))]
        whole = task.descriptions[random.integers(len(task.descriptions))]
        seen = random.choice(3, p=self.chances.shown)
        described = modality in ("description", "both")
        name: Mapping[str, str] = {}
        if support and self.chances.renamed and random.random() < self.chances.renamed:
            name = self._renaming(task, random)
            described = described and not name

        def row(text: str) -> Example:
            found = self._rows[task.name][text]
            return replace(found, output=name.get(str(found.output), found.output))

        return Episode(
            task=task,
            condition=Condition(told if described else None, tuple(row(text) for text in support), tuple(prompts)),
            queries=tuple(row(text) for text in texts),
            instruction="" if name else ("", min(task.descriptions, key=len), whole)[seen],
            shared=shared,
        )

    def _renaming(self, task: InstructionTask, random: np.random.Generator) -> Mapping[str, str]:
        """Return other words for the answers of a task, any that tasks of few answers have; {} if it has many."""
        names = self._names.get(task.name, ())
        others: list[int] = random.permutation(len(self._words))[: len(names)].tolist()
        return dict(zip(names, (self._words[at] for at in others), strict=False))

    def _modalities(self, task: InstructionTask, shared: int | None, alone: float) -> list[float]:
        """Return the chances of an episode, so that over a batch they are those that are asked for."""
        *others, prompts = self.chances.modalities
        telling = shared is None and task.pool not in self._pools
        prompts = min(1.0, prompts / alone) if telling else 0.0
        return [*((1 - prompts) * chance / sum(others) for chance in others), prompts]


def _names(task: InstructionTask) -> tuple[str, ...]:
    """Return the answers of a task that has few short ones."""
    counts = Counter(str(row.output) for row in task.train)
    few = 2 <= len(counts) <= MOST_NAMES and min(counts.values()) >= 2
    return tuple(sorted(counts)) if few and all(len(name.split()) <= 3 for name in counts) else ()


def _grouped(pairs: Iterable[tuple[str, InstructionTask]]) -> dict[str, list[InstructionTask]]:
    found: dict[str, list[InstructionTask]] = {}
    for key, task in pairs:
        found.setdefault(key, []).append(task)
    return found


def _turn(groups: Mapping[str, list[InstructionTask]], random: np.random.Generator) -> InstructionTask:
    members = list(groups.values())
    chances = np.sqrt([len(group) for group in members])
    group = members[random.choice(len(members), p=chances / chances.sum())]
    return group[random.integers(len(group))]


def _some(texts: Sequence[str], n: int, random: np.random.Generator) -> list[str]:
    order: list[int] = random.permutation(len(texts))[:n].tolist()
    return [texts[at] for at in order]


def _up_to(texts: Sequence[str], most: int, random: np.random.Generator) -> list[str]:
    return _some(texts, int(random.integers(1, most + 1)), random)
