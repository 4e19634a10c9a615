"""What the tests of the command line share."""

import csv
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor import cli

ROUTE = "Route mails to billing, bug or other"
LABELS = ["billing", "bug", "other"]


@dataclass(frozen=True)
class Ran:
    """What one command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def write_csv(path: Path, rows: Iterable[Sequence[str]], header: Sequence[str] = ("text", "label")) -> Path:
    """Write a CSV file; return its path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_jsonl(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    """Write rows of text and label as JSON Lines; return the path."""
    lines = (json.dumps({"text": text, "label": label}) for text, label in rows)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Return path -> content (None for a folder) of all that is below ``folder``."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def forked(folder: Path, arguments: Sequence[object], before: Callable[[], None] = lambda: None) -> Ran:
    """Run one command in a fork of this process, ``before`` called first in there; ``folder`` takes what it prints.

    A fork is a process of its own that has everything imported: five seconds less than a fresh one. A signal that
    killed it is its code, negative.
    """
    out, err = folder / "stdout", folder / "stderr"
    process = os.fork()
    if process == 0:
        code = 1
        try:
            with out.open("w") as sys.stdout, err.open("w") as sys.stderr:
                try:
                    before()
                    code = cli.run([str(argument) for argument in arguments])
                except BaseException:
                    traceback.print_exc()
        finally:
            os._exit(code)
    return Ran(_exit_code(process), out.read_text(), err.read_text())


def _exit_code(process: int, within_s: float = 60) -> int:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, 9)
    os.waitpid(process, 0)
    raise AssertionError(f"not done after {within_s} seconds")
