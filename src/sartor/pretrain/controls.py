"""What a generator of adapters is worth beside the controls that could explain it away, over a collection of tasks.

:mod:`sartor.pretrain.arms` judges one task; here tasks are chosen, judged one after the other or in several processes,
and summed up. Means are over seeds within a task, over tasks within a group of sources, then over groups; intervals by
drawing groups anew. Tasks are spread over groups: no second of a group before each has one.
"""

import contextlib
import hashlib
import lzma
import multiprocessing
import signal
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

from sartor.errors import AssetError, DataError, StorageError
from sartor.evaluate.groups import group_mean
from sartor.families.text_generation import WritingBase, load_generator
from sartor.nn import generator_file
from sartor.nn.condition import SHOTS
from sartor.nn.decoder import sites
from sartor.nn.generator_file import Trained
from sartor.nn.language import LanguageModel, load_language_model
from sartor.nn.text_base import load_base
from sartor.pretrain import adapters, arms, instructions, own_tasks
from sartor.pretrain.arms import DIAL, LORA, OURS, Bench, Plan, TaskFound
from sartor.pretrain.instructions import InstructionTask
from sartor.types import Metric, Note, Progress, silent

BASE = "smollm2-135m-instruct"
READER = "all-minilm-l6-v2"
"""What conditions are read by where the base names nothing."""
INDEX = Path("text") / "INDEX.csv"
"""What a folder of public tasks has."""
SHIPPED_FOLD = 0
"""That the generator which comes with Sartor never saw."""
LEAST_TASKS = 2
"""Of different groups: a wrong condition is another task's."""
PAIRS = (("description", "gibberish"), ("description", "anchor"), ("description", "paraphrase"), ("all", "anchor"))
"""Comparisons besides those with ours."""
_FEW = 40
"""Rows of a program that the generator learned from: more are not read."""
WORDED = 1
"""Descriptions of a task learned from that are kept."""

TITLES: Mapping[str, str] = {
    "base": "the plain base",
    "told": "… told what to do",
    "shown": "… told and shown 5 of the rows",
    "anchor": "one adapter for all tasks (the anchor)",
    "mean": "mean of what is generated for tasks learned from",
    "nearest": "generated for the nearest task learned from",
    "examples": "generated from 16 rows",
    "examples 4": "generated from 4 rows",
    "description": "generated from the description",
    "prompts": "generated from 16 inputs without answers",
    "all": "generated from rows, description and inputs",
    "shuffled": "generated from rows, their answers shuffled",
    "gibberish": "generated from gibberish",
    "paraphrase": "generated from another wording",
    "other": "generated from another task's rows",
    "plain": "as many plain gradient steps, nothing learned",
}


@dataclass(frozen=True, slots=True)
class Tasks:
    """What is judged, and what the generator learned from."""

    judged: tuple[InstructionTask, ...]
    learned: tuple[InstructionTask, ...]
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """Where what all tasks are judged with comes from; light enough for another process."""

    learned: Sequence[InstructionTask]
    base: str = BASE
    generator: Path | None = None
    """A file of ``recipes/text_generation.py``; None takes the one that comes with Sartor."""

    def bench(self, progress: Progress = silent) -> Bench:
        """Load it.

        Raises:
            AssetError: if the base or the generator cannot be read.
            StorageError: if the generator's file cannot be opened.
        """
        model = load_language_model(self.base, progress=progress)
        trained = load_generator(model) if self.generator is None else read_generator(self.generator, model)
        spec = model.spec.generator
        reader = load_base(spec.reader if spec else READER, progress=progress)
        return arms.bench(model, trained, WritingBase(model, trained, reader), self.learned, progress)


@dataclass(frozen=True, slots=True)
class Job:
    """A task with one draw of its rows, and what it is confronted with."""

    task: InstructionTask
    other: InstructionTask
    unrelated: tuple[InstructionTask, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class ArmResult:
    """An arm over all tasks that have it; differences are in favour of what is generated from rows."""

    name: str
    title: str
    tasks: int
    loss: Metric
    """Nats a token of the right answer."""
    loss_difference: Metric | None
    """How many more than ours; None of ours itself."""
    exact_match: Metric | None
    exact_match_difference: Metric | None
    """Share of answers that ours has right and it has not, less the other way round."""
    seconds: float | None
    """Median, to make one adapter."""


@dataclass(frozen=True, slots=True)
class PairResult:
    """How far an arm is ahead of another one on the same tasks."""

    arm: str
    against: str
    loss: Metric
    exact_match: Metric | None


@dataclass(frozen=True, slots=True)
class HarmResult:
    """What adapters of an arm do to prompts of other tasks, over all tasks."""

    arm: str
    title: str
    way: str
    kl: Metric
    before: Metric
    after: Metric
    change: Metric
    """Share of prompts answered exactly, adapted less plain."""
    tokens_before: Metric
    tokens_after: Metric
    tokens_change: Metric
    """Share of the right answers' tokens that are held for the likeliest, adapted less plain."""


@dataclass(frozen=True, slots=True)
class Controls:
    """All that was found."""

    family: str
    base: str
    generator: str
    """Name of the file."""
    tasks: int
    groups: int
    seeds: tuple[int, ...]
    rows: int
    """Test rows of a task at most."""
    answered: int
    """Of these, rows that are answered as well."""
    unrelated_prompts: int
    """Of a task and a way to ask, at most."""
    arms: tuple[ArmResult, ...]
    pairs: tuple[PairResult, ...]
    likeness: Mapping[str, Metric]
    """Cosines of generated parts of B, norms of whole adapters."""
    unrelated: tuple[HarmResult, ...]
    notes: tuple[Note, ...]
    found: tuple[TaskFound, ...]


# --- what is judged ----------------------------------------------------------------------------------------


def read_generator(path: Path, model: LanguageModel) -> Trained:
    """Return the generator in a file.

    Raises:
        StorageError: if it cannot be opened.
        AssetError: if it is no generator of this base.
    """
    try:
        return generator_file.read(path.read_bytes(), sites(model.decoder))
    except OSError as error:
        raise StorageError(f"The generator {str(path)!r} cannot be read: {error.strerror}.") from error
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise AssetError(
            f"{str(path)!r} is no generator for {model.spec.name!r}. Give a generator.safetensors that "
            "recipes/text_generation.py made for it."
        ) from error


def load_tasks(data: Path, *, fold: int = SHIPPED_FOLD, learned_too: bool = False) -> Tasks:
    """Return the tasks of a folder: public ones whose groups a fold holds out, or a user's own.

    Args:
        data: a folder of public tasks (with ``text/INDEX.csv``), or one as :mod:`sartor.pretrain.own_tasks` has it.
        fold: that the generator never saw.
        learned_too: judge also tasks that it learned from or whose groups chose its checkpoint.

    Raises:
        DataError: if there is no such folder, or nothing in it that can be judged.
    """
    if not data.is_dir():
        raise DataError(f"There is no folder {str(data)!r}. Give the folder that the tasks lie in.")
    notes: list[Note] = []
    if (data / INDEX).exists():
        split = _split(data, fold)
        judged = split.held_out
        if learned_too:
            judged = (*split.held_out, *split.validation, *split.train)
            notes.append(
                Note(
                    "learned",
                    f"The generator saw {len(split.train)} of the {len(judged)} tasks in training, and "
                    f"{len(split.validation)} chose when to stop: what is said here is not what it does for new tasks.",
                    "warning",
                )
            )
        else:
            notes.append(
                Note(
                    "held out",
                    f"Only groups of tasks that fold {fold} holds out are judged ({len(judged)} tasks). The generator "
                    f"saw the groups of its training fold: {len(split.train)} tasks.",
                )
            )
    else:
        split = instructions.load(None, held_out=fold, dial=instructions.Dial(rows=_FEW, tests=_FEW))
        own, left_out = own_tasks.read(data)
        judged = tuple(own)
        notes += [Note("left out", text, "warning") for text in left_out]
        notes.append(
            Note(
                "own tasks",
                "The generator learned from public tasks and programs; a task of yours that asks for what one of these "
                "asks for is not new to it.",
            )
        )
    groups = {task.group for task in judged}
    if len(groups) < LEAST_TASKS:
        raise DataError(
            f"{str(data)!r} has {len(judged)} tasks in {len(groups)} groups that can be judged; at least "
            f"{LEAST_TASKS} of different groups are needed: a wrong condition is another task's."
            + "".join(f" {note.text}" for note in notes if note.topic == "left out")
        )
    learned = tuple(adapters.few_rows(split.train, SHOTS, WORDED))
    return Tasks(tuple(judged), learned, tuple(notes))


def _split(data: Path, fold: int) -> instructions.Split:
    try:
        return instructions.load(data, held_out=fold)
    except (OSError, KeyError, ValueError, EOFError, tarfile.TarError, lzma.LZMAError) as error:
        raise DataError(
            f"{str(data)!r} cannot be read as a folder of public tasks ({error}). Get it anew, or give a folder with "
            "a folder a task."
        ) from error


def jobs(tasks: Sequence[InstructionTask], most: int | None, *, seeds: Iterable[int], unrelated: int) -> list[Job]:
    """Return the jobs of so many tasks, all seeds of a task one after the other."""
    chosen = arms.spread(tasks, most)
    made: list[Job] = []
    for at, task in enumerate(chosen):
        around = _one_a_group(arms.followers(chosen, at))
        for seed in seeds:
            drawn, other, *others = (arms.redrawn(one, seed) for one in (task, arms.follower(chosen, at), *around))
            made.append(Job(drawn, other, tuple(others[:unrelated]), seed))
    return made


def _one_a_group(tasks: Iterable[InstructionTask]) -> list[InstructionTask]:
    """Return the first task of each group."""
    first: dict[str, InstructionTask] = {}
    for task in tasks:
        first.setdefault(task.group, task)
    return list(first.values())


# --- the work ----------------------------------------------------------------------------------------------


def judged(
    source: Source, todo: Sequence[Job], plan: Plan, *, workers: int = 1, progress: Progress = silent
) -> Iterator[TaskFound]:
    """Yield what is found of each job, in their order.

    Args:
        source: where what all are judged with comes from.
        todo: of :func:`jobs`.
        plan: what is judged.
        workers: processes, each on one core; one stands for this process.
        progress: told of each job.

    Raises:
        StorageError: when a process was ended from outside, for want of memory most often.
    """
    if workers == 1:
        found = source.bench(progress)
        progress("tasks", 0, len(todo))
        for at, job in enumerate(todo, start=1):
            yield work(found, job, plan)
            progress("tasks", at, len(todo))
        return
    before = set(multiprocessing.active_children())
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=_start, initargs=(source, plan)) as pool:
        try:
            for at, found in enumerate(pool.map(_work, todo), start=1):
                yield found
                progress("tasks", at, len(todo))
        except BrokenProcessPool as error:
            raise StorageError("A process was ended from outside. Ask for fewer workers: each takes 1.5 GB.") from error
        except BaseException:
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()  # whoever interrupts does not wait for tasks at work
            raise


def work(found: Bench, job: Job, plan: Plan) -> TaskFound:
    """Judge one task."""
    ways = arms.arms(found, job.task, job.other, plan, seed=job.seed)
    return arms.judge(found, job.task, ways, plan, job.unrelated, seed=job.seed)


_here: list[tuple[Bench, Plan]] = []
"""In a process of several: what it judges with."""


def _start(source: Source, plan: Plan) -> None:
    with contextlib.suppress(ValueError):  # an interrupt ends it without a word
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
    _here.append((source.bench(), plan))


def _work(job: Job) -> TaskFound:
    found, plan = _here[0]
    return work(found, job, plan)


def run(
    tasks: Tasks,
    *,
    family: str,
    most: int | None = None,
    plan: Plan | None = None,
    seeds: Sequence[int] = (0,),
    generator: Path | None = None,
    workers: int = 1,
    progress: Progress = silent,
) -> Controls:
    """Judge a generator over tasks, beside its controls.

    Args:
        tasks: of :func:`load_tasks`.
        family: whose generator it is.
        most: tasks at most; None takes all.
        plan: which arms, how many rows.
        seeds: draws of the rows; 0 takes the rows as they lie.
        generator: its file; None takes the one that comes with Sartor.
        workers: processes.
        progress: told of each task.
    """
    plan = plan or Plan()
    source = Source(tasks.learned, generator=generator)
    mixed = sorted(tasks.judged, key=lambda task: hashlib.sha256(task.name.encode()).digest())  # few are of all sources
    todo = jobs(mixed, most, seeds=seeds, unrelated=plan.unrelated)
    found = tuple(judged(source, todo, plan, workers=workers, progress=progress))
    return summed_up(
        found,
        plan,
        family=family,
        base=source.base,
        generator=generator.name if generator else "shipped",
        seeds=tuple(seeds),
        notes=tasks.notes,
    )


# --- what it says ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Against:
    """The mean of an arm over tasks, and how far ours is ahead of it on the same tasks."""

    tasks: int
    mean: Metric
    ahead: Metric | None
    """None of ours itself, and where the two have no task in common."""


def against(
    values: Mapping[tuple[str, str], float],
    group_of: Mapping[str, str],
    *,
    less_is_better: bool,
    ours: str = OURS,
) -> dict[str, Against]:
    """Return what is found of each arm, in the order in which arms first appear.

    Args:
        values: (task, arm) -> a figure.
        group_of: task -> its group.
        less_is_better: as of a loss.
        ours: the arm that the others are compared with.
    """
    sign = -1.0 if less_is_better else 1.0
    found: dict[str, Against] = {}
    for arm in dict.fromkeys(arm for _, arm in values):
        names = sorted(name for name in group_of if (name, arm) in values)
        mean = group_mean([group_of[name] for name in names], [values[name, arm] for name in names])
        both = [name for name in names if (name, ours) in values]
        ahead = None
        if arm != ours and both:
            gaps = [sign * (values[name, ours] - values[name, arm]) for name in both]
            ahead = group_mean([group_of[name] for name in both], gaps)
        found[arm] = Against(len(names), mean, ahead)
    return found


def title(arm: str) -> str:
    """Return what a person is told of an arm."""
    if arm.startswith(LORA):
        return f"the anchor trained on the rows, {arm.removeprefix(LORA)} steps"
    if arm.startswith(DIAL):
        return f"generated from 16 rows, dial {arm.removeprefix(DIAL)}"
    return TITLES[arm]


def summed_up(
    found: Sequence[TaskFound],
    plan: Plan,
    *,
    family: str,
    base: str,
    generator: str,
    seeds: tuple[int, ...],
    notes: tuple[Note, ...] = (),
) -> Controls:
    """Return means and intervals over tasks."""
    group_of = {one.task: one.group for one in found}
    loss_of = _per_task(found, lambda one: {a.arm: a.loss for a in one.arms})
    match_of = _per_task(found, lambda one: {a.arm: a.exact_match for a in one.arms if a.exact_match is not None})
    losses = against(loss_of, group_of, less_is_better=True)
    matches = against(match_of, group_of, less_is_better=False)
    alike = against(_per_task(found, lambda one: one.likeness), group_of, less_is_better=False)
    return Controls(
        family=family,
        base=base,
        generator=generator,
        tasks=len(group_of),
        groups=len(set(group_of.values())),
        seeds=seeds,
        rows=plan.rows,
        answered=plan.answered,
        unrelated_prompts=plan.unrelated,
        arms=tuple(_arm(name, losses, matches, _median_seconds(found, name)) for name in losses),
        pairs=tuple(_pairs(loss_of, match_of, group_of)),
        likeness={name: one.mean for name, one in alike.items()},
        unrelated=tuple(_harms(found, group_of)),
        notes=notes,
        found=tuple(found),
    )


def _arm(name: str, losses: Mapping[str, Against], matches: Mapping[str, Against], seconds: float | None) -> ArmResult:
    loss, match = losses[name], matches.get(name)
    return ArmResult(
        name=name,
        title=title(name),
        tasks=loss.tasks,
        loss=loss.mean,
        loss_difference=loss.ahead,
        exact_match=match.mean if match else None,
        exact_match_difference=match.ahead if match else None,
        seconds=seconds,
    )


def _pairs(
    losses: Mapping[tuple[str, str], float],
    matches: Mapping[tuple[str, str], float],
    group_of: Mapping[str, str],
) -> Iterator[PairResult]:
    for ours, other in PAIRS:
        kept = [{key: value for key, value in of.items() if key[1] in (ours, other)} for of in (losses, matches)]
        loss, match = (
            against(values, group_of, less_is_better=less, ours=ours).get(other)
            for values, less in zip(kept, (True, False), strict=True)
        )
        if loss and loss.ahead:
            yield PairResult(ours, other, loss.ahead, match.ahead if match else None)


def _per_task(
    found: Iterable[TaskFound], figures: Callable[[TaskFound], Mapping[str, float]]
) -> dict[tuple[str, str], float]:
    """Return (task, name) -> the mean over seeds."""
    several: dict[tuple[str, str], list[float]] = {}
    for one in found:
        for name, value in figures(one).items():
            several.setdefault((one.task, name), []).append(value)
    return {key: float(np.mean(values)) for key, values in several.items()}


def _median_seconds(found: Iterable[TaskFound], arm: str) -> float | None:
    spent = [one.seconds for task in found for one in task.arms if one.arm == arm and one.seconds is not None]
    return float(np.median(spent)) if spent else None


def _harms(found: Sequence[TaskFound], group_of: Mapping[str, str]) -> Iterator[HarmResult]:
    def over(figure: Callable[[arms.Harm], float]) -> dict[str, Against]:
        values = _per_task(found, lambda one: {f"{harm.arm}\n{harm.way}": figure(harm) for harm in one.harm})
        return against(values, group_of, less_is_better=False)

    figures = (
        over(lambda one: one.kl),
        over(lambda one: one.before),
        over(lambda one: one.after),
        over(lambda one: one.after - one.before),
        over(lambda one: one.tokens_before),
        over(lambda one: one.tokens_after),
        over(lambda one: one.tokens_after - one.tokens_before),
    )
    for name in figures[0]:
        arm, way = name.split("\n")
        yield HarmResult(arm, title(arm), way, *(one[name].mean for one in figures))
