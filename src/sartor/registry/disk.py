"""Folders that appear whole or not at all.

A folder is filled under a random name, written through to the disk, and renamed into place. While its writer
lives it holds a lock on it (``flock``, which the kernel drops with the process), so that a later process can
tell what is being written from what was left behind. POSIX only.
"""

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from sartor.errors import StorageError

_LEFTOVER = re.compile(r"[0-9a-f]{16}(-old)?")
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

_REASONS = {
    errno.ENOSPC: "no space is left on that disk. Free some, or choose a folder on another disk",
    errno.EDQUOT: "your quota on that disk is used up. Free some, or choose a folder on another disk",
    errno.EFBIG: "a file is larger than this system lets you write. Raise the limit, or choose another disk",
    errno.EROFS: "that disk is mounted read-only. Choose a folder that can be written",
    errno.EACCES: "permission is denied. Ask its owner, or choose a folder of your own",
    errno.EPERM: "permission is denied. Ask its owner, or choose a folder of your own",
}


def step(name: str) -> None:
    """Do nothing. Marks each moment at which a crash must be harmless; the tests crash here."""


@contextmanager
def explained(folder: Path, doing: str = "write to") -> Iterator[None]:
    """Turn what the operating system says of ``folder`` into a sentence.

    Raises:
        StorageError: for any OSError within.
    """
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, f"the system says {error.strerror or error}. Mend that, and retry")
        raise StorageError(f"Cannot {doing} {str(folder)!r}: {reason}.") from error


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fill(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` into an empty folder and wait until they are on the disk."""
    for name, data in files.items():
        _write_file(folder / name, data)
        step(f"wrote {name}")
    sync_folder(folder)
    step("filled")


def _write_file(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    with open(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def staging(parent: Path, prefix: str = "") -> Iterator[Path]:
    """Give a new, locked folder ``parent/<prefix><token>``; at the end, what bears that name is removed."""
    stage, lock = _new_locked(parent, prefix)
    try:
        step("staged")
        yield stage
    finally:
        try:
            remove(stage)
        finally:
            os.close(lock)


def _new_locked(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        stage = parent / f"{prefix}{secrets.token_hex(8)}"
        stage.mkdir()
        lock = try_lock(stage)
        if lock is not None:
            return stage, lock
        # A sweep took the folder for a leftover in the moment before it was locked: take another.


def try_lock(folder: Path) -> int | None:
    """Return a handle that holds the lock on ``folder``; None when it is gone or its writer lives."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(folder, follow_symlinks=False)):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock on ``folder``, waiting for it as long as it takes."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sweep(parent: Path, prefix: str = "") -> int:
    """Remove the staging folders of dead processes; return how many."""
    removed = 0
    for name in os.listdir(parent):
        if name.startswith(prefix) and _LEFTOVER.fullmatch(name[len(prefix) :]):
            removed += remove_unlocked(parent / name)
    return removed


def remove_unlocked(folder: Path) -> bool:
    """Remove ``folder`` unless its writer lives; say whether it was removed."""
    lock = try_lock(folder)
    if lock is None:
        return False
    try:
        remove(folder)
    finally:
        os.close(lock)
    return True


def remove(folder: Path) -> None:
    """Remove ``folder`` and all in it, if it is there."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def is_empty(folder: Path) -> bool:
    """Return whether ``folder`` is a folder (no link) with nothing in it; a folder may be renamed onto such."""
    return not folder.is_symlink() and folder.is_dir() and not os.listdir(folder)


def place(stage: Path, target: Path, *, overwrite: bool) -> None:
    """Make ``stage`` appear as ``target`` in one step.

    With ``overwrite``, a folder that stood there takes the stage's name; without, it is an OSError.
    """
    step("placing")
    if overwrite and os.path.lexists(target):
        _swap(stage, target)
    else:
        os.rename(stage, target)
    step("placed")
    sync_folder(target.parent)
    step("synced")


def _swap(stage: Path, target: Path) -> None:
    if _exchange(stage, target):
        return
    aside = stage.with_name(f"{stage.name}-old")
    os.rename(target, aside)
    step("aside")
    try:
        os.rename(stage, target)
    except BaseException:
        os.rename(aside, target)
        raise
    os.rename(aside, stage)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step (renameat2, Linux); False where the system cannot."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(code, os.strerror(code), str(other))
