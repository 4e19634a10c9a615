"""A user's own collection of text-to-text tasks: a folder with a folder a task, and in it what ``generate`` takes.

``tasks/iso-dates/task.yaml`` is a task file; ``train.csv`` beside it holds the rows where it names none, ``test.csv``
the rows to judge by; without it they are the last third of the rows, in an order by their hashes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sartor.data.load import read_rows
from sartor.data.taskfile import read_task
from sartor.errors import DataError
from sartor.families.text_generation import drawn
from sartor.pretrain.instructions import InstructionTask
from sartor.pretrain.mixture import fingerprint
from sartor.types import Example

TASK_FILES = ("task.yaml", "task.yml", "task.json")
LEAST_TRAIN, LEAST_TEST = 5, 3
"""Rows without which a task says nothing."""


def read(folder: Path) -> tuple[list[InstructionTask], list[str]]:
    """Return the tasks of a folder, and a sentence for each that was left out.

    Every task is a group of its own.

    Raises:
        DataError: when there is none, or rows cannot be read.
        TaskError: when a task file cannot be read.
    """
    found: list[InstructionTask] = []
    left_out: list[str] = []
    for path in _task_files(folder):
        task = _read(path)
        if not task.descriptions:
            left_out.append(f"{task.name} was left out: it has no description.")
        elif len(task.train) < LEAST_TRAIN or len(task.test) < LEAST_TEST:
            left_out.append(
                f"{task.name} was left out: it has {len(task.train)} rows to generate from and {len(task.test)} to "
                f"judge by, and at least {LEAST_TRAIN} and {LEAST_TEST} are needed."
            )
        else:
            found.append(task)
    return found, left_out


def _task_files(folder: Path) -> Iterator[Path]:
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
        files = [next((path / name for name in TASK_FILES if (path / name).is_file()), None) for path in inside]
    except OSError as error:
        raise DataError(f"{str(folder)!r} cannot be read: {error.strerror}.") from error
    if not any(files):
        raise DataError(
            f"{str(folder)!r} holds no tasks. Give a folder with a folder a task (task.yaml, train.csv, test.csv), or "
            "one of public tasks (text/INDEX.csv)."
        )
    yield from (path for path in files if path is not None)


def _read(path: Path) -> InstructionTask:
    about = read_task(path)
    named = Path(about.examples) if about.examples else _rows_beside(path, "train")
    if named is None:
        raise DataError(f"The task {path.parent.name!r} has no rows: name them by 'examples' in {path.name}.")
    rows = _unique(read_rows(named, about.columns, need_labels=True).examples)
    beside = _rows_beside(path, "test")
    if beside is not None and beside != named:
        seen = {fingerprint(row.input) for row in rows}
        judged = _unique(read_rows(beside, about.columns, need_labels=True).examples)
        test = [row for row in judged if fingerprint(row.input) not in seen]
    else:
        ordered = drawn(rows, len(rows))
        cut = len(ordered) - len(ordered) // 3
        rows, test = list(ordered[:cut]), list(ordered[cut:])
    name = path.parent.name
    told = (about.description.strip(),) if about.description.strip() else ()
    return InstructionTask(name, f"own {name}", "own", told, tuple(rows), tuple(test), "exact_match", None)


def _rows_beside(path: Path, stem: str) -> Path | None:
    return next(iter(sorted(file for file in path.parent.glob(f"{stem}.*") if file.is_file())), None)


def _unique(rows: Sequence[Example]) -> list[Example]:
    """Return the first row of each input that has an answer."""
    found: dict[str, Example] = {}
    for row in rows:
        if row.input.strip() and (row.output or "").strip():
            found.setdefault(fingerprint(row.input), row)
    return list(found.values())
