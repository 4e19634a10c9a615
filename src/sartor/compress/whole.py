"""Files and folders for other programs, which appear whole or not at all.

Each is made in a folder of its own beside its place and renamed into it. What stands there is never overwritten.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sartor.errors import StorageError
from sartor.registry import disk


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends without an error, it is at ``target``.

    Args:
        target: not there, or an empty folder; its parents are made.

    Raises:
        StorageError: if something stands at ``target``, or the disk does not take the files.
    """
    target = Path(os.path.abspath(target))
    with _stage(target) as stage:
        if os.path.lexists(target) and not disk.is_empty(target):
            raise StorageError(f"{str(target)!r} exists already. Choose another folder, or remove it first.")
        yield stage
        for file in stage.iterdir():
            _sync_file(file)
        disk.sync_folder(stage)
        disk.place(stage, target, overwrite=False)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Give a path to write to; when the block ends without an error, the file is at ``target``.

    Args:
        target: not there; its parents are made.

    Raises:
        StorageError: if something stands at ``target``, or the disk does not take the file.
    """
    target = Path(os.path.abspath(target))
    with _stage(target) as stage:
        if os.path.lexists(target):
            raise StorageError(f"{str(target)!r} exists already. Choose another name, or remove it first.")
        yield stage / target.name
        _sync_file(stage / target.name)
        disk.place(stage / target.name, target, overwrite=False)


@contextmanager
def _stage(target: Path) -> Iterator[Path]:
    prefix = f".sartor-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]}-"
    with disk.explained(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        disk.sweep(target.parent, prefix)
        with disk.staging(target.parent, prefix) as stage:
            yield stage


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
