"""What all commands share: options, tables, progress, JSON. Results go to stdout, everything else to stderr."""

import functools
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from sartor.errors import SartorError, StorageError
from sartor.types import Note, Progress

_F = TypeVar("_F", bound=Callable[..., Any])
_NUMBER = re.compile(r"[-+−–\[\]\d.,%= <>p]*")
_SILENT_S = 2.0
"""Nothing is said of a stage that is over sooner than this."""
_EVERY_S = 10.0
"""Without a terminal, one line of progress at most this often."""


def common(command: _F) -> _F:
    """Add the options that every command has."""
    number = click.IntRange(0, 2**32 - 1)
    seeded = click.option("--seed", type=number, default=0, show_default=True, help="Same seed, same result.")(command)
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for machines.")(seeded)


def column_options(command: _F) -> _F:
    """Add the options that name columns."""
    named = click.option("--text-column", metavar="NAME", help="Column that holds the text.")(command)
    return click.option("--label-column", metavar="NAME", help="Column that holds the label.")(named)


def print_json(value: Any) -> None:
    """Print ``value`` as one JSON object."""
    say(json.dumps(value, ensure_ascii=False, indent=2))


def say(text: str = "") -> None:
    """Print a line of the result.

    Raises:
        StorageError: when the disk that takes our output is full.
    """
    with _printing():
        click.echo(text)


def say_error(text: str) -> None:
    """Print a line that is not part of the result."""
    click.echo(text, err=True)


@contextmanager
def _printing() -> Generator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        silence()
        raise StorageError(f"Cannot print the result: {error.strerror}. Make room, and run this again.") from error


def silence() -> None:
    """Send what is still to be printed nowhere: stdout takes no more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def next_step(*commands: str) -> None:
    """Say what to do now; ``sartor`` at the start is written so that it can be pasted here."""
    say()
    say("Next:")
    for command in commands:
        say(f"  {_program()}{command.removeprefix('sartor')}")


def _program() -> str:
    """Return how this program was called: ``sartor`` where it is on the PATH, else its path, as .venv/bin/sartor."""
    called = Path(sys.argv[0])
    if called.name != "sartor" or shutil.which("sartor") == str(called):
        return "sartor"
    return os.path.relpath(called) if called.absolute().is_relative_to(Path.cwd()) else str(called)


def failed(error: Exception, *, as_json: bool) -> None:
    """Print an error that the caller can mend."""
    message = error.format_message() if isinstance(error, click.ClickException) else str(error)
    if as_json:
        print_json({"error": {"type": type(error).__name__, "message": message}})
    if isinstance(error, click.UsageError) and error.ctx is not None:
        say_error(error.ctx.get_usage())
    kind = "Refused" if isinstance(error, SartorError) and error.exit_code == 3 else "Error"
    say_error(f"{kind}: {message}")


def print_notes(notes: Iterable[Note]) -> None:
    """Print what was understood and why, warnings marked."""
    for note in notes:
        mark = click.style("! ", fg="yellow", bold=True) if note.level == "warning" else "· "
        say(f"{mark}{note.text}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, columns of numbers to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    cells = [tuple(row) for row in rows]
    for column, values in zip(columns, zip(*cells, strict=True), strict=True):
        numbers = all(_NUMBER.fullmatch(value) for value in values)
        table.add_column(Text(column), justify="right" if numbers else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    terminal = Console(file=sys.stdout)
    if not terminal.is_terminal:  # a file has no width; fold nothing
        terminal = Console(file=sys.stdout, width=200)
    with _printing():
        terminal.print(table)


@contextmanager
def progress() -> Generator[Progress]:
    """Give a ``progress(stage, done, total)``: bars on a terminal, elsewhere a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    tasks: dict[str, Any] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=None)
        bars.update(tasks[stage], completed=done, total=total or None)
        if total and done >= total:
            bars.remove_task(tasks.pop(stage))

    with bars:
        yield report


class _Lines:
    """Progress for a log: a line when a stage takes longer than two seconds, then one every ten."""

    def __init__(self) -> None:
        self.stage = ""
        self.next = 0.0
        self.begun = (0.0, 0)
        """When the stage was first told of, and how much was done then."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self.stage:
            self.stage, self.next, self.begun = stage, now + _SILENT_S, (now, done)
        elif now >= self.next:
            self.next = now + _EVERY_S
            say_error(
                f"{stage}: {done:,} of {total:,}{self._left(now, done, total)}" if total else f"{stage}: {done:,}"
            )

    def _left(self, now: float, done: int, total: int) -> str:
        start, before = self.begun
        if done <= before or done >= total:
            return ""
        left = (now - start) / (done - before) * (total - done)
        return f", about {left:.0f} s left" if left < 100 else f", about {left / 60:.0f} min left"


@contextmanager
def writing(path: Path) -> Generator[IO[str]]:
    """Open ``path`` for text; it appears whole at the end, or not at all.

    Raises:
        StorageError: when it cannot be written.
    """
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise StorageError(f"Cannot write {str(path)!r}: {error.strerror}. Choose another place.") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only the owner can read
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise StorageError(f"Cannot write {str(path)!r}: {error.strerror}. Nothing was written.") from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@functools.cache
def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
