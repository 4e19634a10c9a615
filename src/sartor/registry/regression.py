"""Regression sets: labelled cases that every new version of a name must still answer.

    <home>/regression/<name>.jsonl      one case a line, for its owner's eyes only

A set holds the user's own rows, in clear: it is no part of a bundle and leaves the folder with nothing. It grows by
:func:`add`, which replaces the file in one step under a lock, so that a reader sees the old set or the new one.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from sartor.errors import StorageError, UserError
from sartor.registry import disk
from sartor.registry.store import is_name

FOLDER = "regression"
MOST_CASES = 20_000


@dataclass(frozen=True, slots=True)
class Case:
    """An input and what must come out."""

    input: str
    output: str
    must_pass: bool = False
    """Whether this case alone can refuse a model."""
    source: str = ""
    """Where it came from: a file's name, ``feedback`` …"""


def path_of(home: Path, name: str) -> Path:
    """Return where the set of a name is kept.

    Raises:
        UserError: when it cannot be the name of a model.
    """
    if not is_name(name):
        raise UserError(f"{name!r} is no name of a model: up to 64 of a-z, 0-9, '.', '_' and '-'.")
    return home / FOLDER / f"{name}.jsonl"


def read(home: Path, name: str) -> tuple[Case, ...]:
    """Return the cases of a name, in the order of their adding; none where there is no set.

    Raises:
        StorageError: when the file is damaged or cannot be read.
    """
    path = path_of(home, name)
    if not path.exists():
        return ()
    with disk.explained(path, "read"):
        lines = path.read_bytes().splitlines()
    cases: list[Case] = []
    for number, line in enumerate(lines, 1):
        try:
            cases.append(msgspec.json.decode(line, type=Case))
        except msgspec.MsgspecError as error:
            raise StorageError(f"Line {number} of {path} is no case ({error}). Mend or remove that line.") from error
    return tuple(cases)


def add(home: Path, name: str, cases: Iterable[Case]) -> tuple[int, int]:
    """Add cases to the set of a name; return how many are new, and how many there are now.

    A case whose input is there already takes its place: the last word on an input holds, and what must pass goes on
    to.

    Raises:
        UserError: when the set would grow beyond 20,000 cases.
        StorageError: when it cannot be written.
    """
    path = path_of(home, name)
    with disk.explained(path.parent):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with disk.locked(path.parent):
            known = {case.input: case for case in read(home, name)}
            before = len(known)
            for case in cases:
                old = known.get(case.input)
                keeps = case.must_pass or (old is not None and old.must_pass)
                known[case.input] = Case(case.input, case.output, keeps, case.source)
            if len(known) > MOST_CASES:
                raise UserError(f"A regression set holds at most {MOST_CASES:,} cases; this would make {len(known):,}.")
            _write(path, tuple(known.values()))
    return len(known) - before, len(known)


def _write(path: Path, cases: Sequence[Case]) -> None:
    text = "".join(json.dumps(asdict(case), ensure_ascii=False) + "\n" for case in cases)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)  # of a dead process: the lock is ours
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(handle, "wb") as file:
        file.write(text.encode(errors="surrogatepass"))
        file.flush()
        os.fsync(file.fileno())
    disk.step("cases written")
    os.replace(part, path)
    disk.sync_folder(path.parent)
