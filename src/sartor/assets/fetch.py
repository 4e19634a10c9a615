"""Where the files of a base come from: an installed package, a wheel, the model hub, pip.

Each function fills a folder or raises :class:`Unavailable`, after which the next source has its turn. Bytes
that are not the pinned ones are another matter: :class:`~sartor.errors.AssetError`, and nobody has a turn.
"""

import contextlib
import errno
import functools
import hashlib
import importlib.metadata
import os
import queue
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TypeAlias

from sartor.assets import e5, efficientnet, gguf_lm
from sartor.assets.catalogue import HubSource, WheelSource
from sartor.errors import AssetError
from sartor.types import Progress

_CONNECT_SECONDS, _READ_SECONDS = 3.0, 15.0
_PATIENCE_SECONDS = 4.0
"""For the first answer of the hub. No timeout of ours bounds the look-up of a name, so a thread waits."""
_POLL_SECONDS = 0.2

_CONVERSIONS = {"e5": e5.convert, "smollm2": gguf_lm.convert, "efficientnet": efficientnet.convert}

_Opener: TypeAlias = Callable[[str], IO[bytes]]


class Unavailable(Exception):
    """Raised when a source cannot be had here and now; the text says why."""


def sha256(path: Path) -> str:
    """Return the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, wanted: str, remedy: str) -> None:
    """Compare a file with the hash that pins it; ``remedy`` is a sentence on what to do.

    Raises:
        AssetError: when it is not that file.
    """
    got = sha256(path)
    if got != wanted:
        raise AssetError(f"{path} is not the file that Sartor knows: its sha256 is {got}, wanted is {wanted}. {remedy}")


# --- packages ----------------------------------------------------------------------------------------------


def from_installed(source: WheelSource, folder: Path, progress: Progress) -> None:
    """Take the files from a package that is installed in this environment, without importing it."""
    try:
        distribution = importlib.metadata.distribution(source.package)
    except importlib.metadata.PackageNotFoundError:
        raise Unavailable(f"{source.title} is not installed") from None
    if distribution.version != source.version:
        raise Unavailable(f"{source.package} is installed in version {distribution.version}")

    def open_member(member: str) -> IO[bytes]:
        return Path(str(distribution.locate_file(member))).open("rb")

    try:
        _take(source, open_member, folder, progress)
    except FileNotFoundError as error:
        raise Unavailable(f"{source.title} is installed without {error.filename}") from None


def from_wheel(source: WheelSource, wheel: Path, folder: Path, progress: Progress) -> None:
    """Take the files from the wheel, which must be the pinned one."""
    check(wheel, source.sha256, "Delete it, and fetch it again from a source that you trust.")
    with zipfile.ZipFile(wheel) as archive:
        _take(source, archive.open, folder, progress)


def _take(source: WheelSource, open_member: _Opener, folder: Path, progress: Progress) -> None:
    if source.conversion is None:
        _copy_members(source.members, open_member, folder)
        return
    raw = folder / "raw"
    raw.mkdir()
    _copy_members(source.members, open_member, raw)
    for name, wanted in source.member_sha256.items():
        check(
            raw / name,
            wanted,
            f"{source.title[0].upper()}{source.title[1:]} seems damaged: install it again.",
        )
    _CONVERSIONS[source.conversion](raw / next(iter(source.members)), folder, progress=progress)
    shutil.rmtree(raw)


def _copy_members(members: Mapping[str, str], open_member: _Opener, folder: Path) -> None:
    for name, member in members.items():
        outer, _, inner = member.partition("!")
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open_member(outer))
            if inner:
                archive = stack.enter_context(zipfile.ZipFile(file))
                file = stack.enter_context(archive.open(inner))
            shutil.copyfileobj(file, stack.enter_context((folder / name).open("wb")), 1 << 20)


# --- pip ---------------------------------------------------------------------------------------------------


def pip_arguments(source: WheelSource) -> list[str]:
    """Return what follows ``python -m`` to fetch the wheel."""
    platform = ["--platform", source.platform] if source.platform else []
    requirement = f"{source.package}=={source.version}"
    return ["pip", "download", "--no-deps", "--only-binary=:all:", *platform, requirement]


def download_wheel(source: WheelSource, folder: Path, lock: int, report: Callable[[int, int], None]) -> Path:
    """Return the wheel in ``folder``, fetched by pip unless it lies there since an earlier attempt.

    pip inherits the file descriptor ``lock``: when this process is killed, the lock is held until that pip
    has ended, so two never write into one folder. ``report(done, total)`` counts bytes.
    """
    wheel = folder / source.filename
    if wheel.exists():
        if sha256(wheel) == source.sha256:
            return wheel
        wheel.unlink()  # cut short by a crash
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    errors = folder / "errors.txt"
    # `env` sets pip's folder of temporary files: progress can be seen there, and nothing is left elsewhere
    command = [
        "env",
        f"TMPDIR={folder}",
        sys.executable,
        "-P",
        "-m",
        *pip_arguments(source),
        "--dest",
        str(folder),
    ]
    command += ["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--quiet"]
    command += ["--timeout", "15", "--retries", "1"]
    with (
        errors.open("wb") as file,
        _killed_on_error(
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, pass_fds=(lock,))
        ) as process,
    ):
        while process.poll() is None:
            report(min(_size(folder), source.size), source.size)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
    if not wheel.exists():
        said = errors.read_text(encoding="utf-8", errors="replace")
        if "No space left on device" in said:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))
        raise Unavailable(f"pip could not fetch {source.package}=={source.version}: {_last_error(said)}")
    report(source.size, source.size)
    return wheel


@contextlib.contextmanager
def _killed_on_error(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    except BaseException:
        process.kill()
        process.wait()
        raise


def _size(folder: Path) -> int:
    total = 0
    for root, _, files in os.walk(folder):  # unlike rglob it does not mind that pip deletes folders meanwhile
        for file in files:
            with contextlib.suppress(OSError):
                total += os.path.getsize(os.path.join(root, file))
    return total


def _last_error(said: str) -> str:
    lines = [line.removeprefix("ERROR:").strip() for line in said.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it gave no reason"


# --- the hub -----------------------------------------------------------------------------------------------


def from_hub(
    source: HubSource,
    files: Mapping[str, str],
    partial: Path,
    folder: Path,
    report: Callable[[int, int], None],
) -> None:
    """Download ``files`` (name -> sha256) into ``folder`` through ``partial``, where a broken one resumes."""
    # imported here, because it takes a third of a second and a base that is cached needs none of it
    from huggingface_hub import constants, hf_hub_url

    endpoint = source.endpoint or constants.ENDPOINT
    if not _answers(endpoint):
        raise Unavailable("the model hub does not answer")
    partial.mkdir(parents=True, exist_ok=True)
    done = 0
    for name, wanted in files.items():
        url = hf_hub_url(source.repository, name, revision=source.revision, endpoint=source.endpoint)
        part = partial / f"{wanted}.part"
        before = done

        def count(size: int, before: int = before) -> None:
            report(before + size, max(source.size, before + size))

        _download(url, part, count)
        if sha256(part) != wanted:
            target = part.rename(partial / name)
            try:
                check(target, wanted, "The hub sent something else: try again later, or use a package instead.")
            finally:
                target.unlink()
        done += part.stat().st_size
        part.rename(folder / name)


@functools.cache
def _answers(endpoint: str) -> bool:
    """Tell, once for this process, whether the hub can be reached at all; any answer will do."""
    from huggingface_hub import get_session

    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def ask() -> None:
        try:
            get_session().head(endpoint, timeout=_CONNECT_SECONDS)
        except Exception:  # whatever went wrong, the hub did not answer
            answers.put(False)
        else:
            answers.put(True)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=_PATIENCE_SECONDS)
    except queue.Empty:
        return False


def _download(url: str, part: Path, count: Callable[[int], None]) -> None:
    from huggingface_hub import get_session

    have = part.stat().st_size if part.exists() else 0
    # a compressed answer could not be resumed in the middle
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    timeout = (_CONNECT_SECONDS, _READ_SECONDS, _READ_SECONDS, _CONNECT_SECONDS)
    try:
        with get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as answer:
            if answer.status_code == 416:  # nothing is missing
                return
            answer.raise_for_status()
            with part.open("ab" if answer.status_code == 206 else "wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)
                    count(file.tell())
    except OSError:  # the disk; the network's errors are not OSErrors here
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Unavailable(f"the download from the model hub broke off: {reason}") from error
