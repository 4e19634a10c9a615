"""Who serves a store: a small file that its server keeps locked as long as it lives (the kernel lets go with it)."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from sartor.errors import StorageError

FILE = "server.json"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that lives."""

    url: str
    pid: int
    since: float
    """Seconds since 1970, UTC."""


@contextmanager
def announced(home: Path, server: Server) -> Iterator[None]:
    """Say that ``server`` serves this store, until the block ends or the process dies.

    Raises:
        StorageError: when another one does.
    """
    path = home / FILE
    try:
        home.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StorageError(f"Cannot write {str(path)!r}: {error.strerror}. Choose another store.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = look(home)
            told = f"{other.url} (process {other.pid})" if other else "another process"
            raise StorageError(f"This store is served already: {told}. Stop that, or set SARTOR_HOME.") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(asdict(server)).encode(), 0)
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def look(home: Path) -> Server | None:
    """Return the server of a store, if one lives."""
    try:
        handle = os.open(home / FILE, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            return msgspec.json.decode(os.pread(handle, 4096, 0), type=Server)
        except msgspec.MsgspecError:
            return None
    finally:
        os.close(handle)
    return None
