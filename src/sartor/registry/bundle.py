"""A bundle: a folder with a manifest.json that pins every other file by its hash, and itself by its id.

manifest.json is written in one form only (sorted keys, two spaces), so that no byte of it can change unseen.
Whatever is read here may come from a stranger: sizes are bounded, links are not followed, and no name leads
out of the folder.
"""

import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from sartor.errors import BundleError, NotFoundError, StorageError
from sartor.registry import disk, header
from sartor.types import BUNDLE_FORMAT, Manifest, from_json, to_json

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
MAX_MANIFEST_BYTES = 4_000_000
MAX_FILE_BYTES = 2_000_000_000
MAX_FILES = 64

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SUFFIXES = (".safetensors", ".json", ".md", ".txt", ".onnx")
_BYSTANDERS = {".DS_Store", ".cache", ".git", ".gitattributes", "Thumbs.db", "desktop.ini"}
"""What file managers, git and the hub leave beside the files of a bundle; never read."""
_AGAIN = "Take the bundle from where it came again"


class Bundle(NamedTuple):
    """A bundle on the disk that was found sound."""

    manifest: Manifest
    path: Path


# --- making ------------------------------------------------------------------------------------------------


def canonical(value: Any) -> bytes:
    """Return the one JSON text of plain dicts, lists and scalars that hashes are taken of.

    Raises:
        ValueError: for a number that is not finite, or text that is not Unicode.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


def seal(draft: Manifest, files: Mapping[str, bytes]) -> tuple[Manifest, Mapping[str, bytes]]:
    """Return the manifest that pins ``files``, and those files with manifest.json among them.

    Args:
        draft: a manifest whose ``format``, ``id`` and ``files`` are not looked at.
        files: file name -> content, without manifest.json; model.safetensors must be there.

    Raises:
        BundleError: when :func:`read` would refuse the result.
    """
    _check_names(files)
    _check_shapes(io.BytesIO(files[WEIGHTS]), len(files[WEIGHTS]), draft, WEIGHTS)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    fields = to_json(replace(draft, format=BUNDLE_FORMAT, files=hashes))
    try:
        fields["id"] = _id(fields)
        text = _text(fields)
    except ValueError as error:
        raise BundleError(
            f"The manifest of {draft.name!r} cannot be written as JSON: {error}. Numbers must be finite "
            "and text must be Unicode."
        ) from error
    for name, data, most in [
        (MANIFEST, text, MAX_MANIFEST_BYTES),
        *((n, d, MAX_FILE_BYTES) for n, d in files.items()),
    ]:
        if len(data) > most:
            raise BundleError(f"{name} of {draft.name!r} has {len(data)} bytes; a bundle takes at most {most}.")
    return from_json(fields, Manifest), {**files, MANIFEST: text}


def write(folder: Path, files: Mapping[str, bytes], *, overwrite: bool = False) -> None:
    """Write sealed ``files`` as ``folder``, which appears whole or not at all.

    Args:
        folder: where to, new or empty; its parents are made.
        files: what :func:`seal` or :func:`load` gave.
        overwrite: swap with the folder that stands there, and delete that; the caller has looked at it.

    Raises:
        StorageError: when the folder holds anything and ``overwrite`` is false, or cannot be written.
    """
    folder = Path(os.path.abspath(folder))
    prefix = f".sartor-{hashlib.sha256(os.fsencode(folder.name)).hexdigest()[:8]}-"
    with disk.explained(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        disk.sweep(folder.parent, prefix)
        if os.path.lexists(folder) and not overwrite and not disk.is_empty(folder):
            raise StorageError(f"{str(folder)!r} exists already. Choose another folder, or remove it first.")
        with disk.staging(folder.parent, prefix) as stage:
            disk.fill(stage, files)
            disk.place(stage, folder, overwrite=overwrite)


def _id(fields: Mapping[str, Any]) -> str:
    pinned = {key: value for key, value in fields.items() if key != "id"}
    return hashlib.sha256(canonical(pinned)).hexdigest()[:16]


def _text(fields: Mapping[str, Any]) -> bytes:
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False)
    return f"{text}\n".encode()


# --- reading -----------------------------------------------------------------------------------------------


def read(folder: Path, *, verify: bool = True) -> Bundle:
    """Return the bundle in ``folder`` once it is found sound.

    Args:
        folder: holds manifest.json; may itself be a link.
        verify: hash every file. Without it the manifest, names, sizes and shapes are still checked.

    Raises:
        NotFoundError: when there is no such folder.
        BundleError: when it holds no bundle, a damaged or foreign one, or one of a newer format.
        StorageError: when it may not be read.
    """
    with disk.explained(folder, "read"):
        manifest, _ = _read_manifest(folder)
        _check_listing(folder, manifest)
        for name, digest in manifest.files.items():
            with _opened(folder / name, MAX_FILE_BYTES) as (file, _):
                if verify and hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise _changed(folder / name)
        with _opened(folder / WEIGHTS, MAX_FILE_BYTES) as (file, size):
            _check_shapes(file, size, manifest, str(folder / WEIGHTS))
    return Bundle(manifest, folder)


def load(folder: Path) -> tuple[Manifest, Mapping[str, bytes]]:
    """Return the manifest and every file of the bundle in ``folder``, as :func:`seal` gave them.

    Raises:
        NotFoundError, BundleError, StorageError: as :func:`read`.
    """
    read(folder, verify=False)
    files: dict[str, bytes] = {}
    with disk.explained(folder, "read"):
        manifest, text = _read_manifest(folder)
        for name, digest in manifest.files.items():
            with _opened(folder / name, MAX_FILE_BYTES) as (file, _):
                files[name] = file.read()
            # The very bytes that are handed out are hashed, not those of an earlier reading.
            if hashlib.sha256(files[name]).hexdigest() != digest:
                raise _changed(folder / name)
    return manifest, {**files, MANIFEST: text}


def _read_manifest(folder: Path) -> tuple[Manifest, bytes]:
    if not folder.exists():
        raise NotFoundError(f"There is no folder {str(folder)!r}. Name the folder that holds a {MANIFEST}.")
    path = folder / MANIFEST
    if not os.path.lexists(path):
        raise BundleError(f"{str(folder)!r} holds no {MANIFEST}, so it is no bundle. Name the folder that holds one.")
    with _opened(path, MAX_MANIFEST_BYTES) as (file, _):
        data = file.read()
    fields = _parse(data, path)
    _check_format(fields, path)
    try:
        manifest = from_json(fields, Manifest)
        same = manifest.id == _id(fields) and data == _text(fields)
    except (msgspec.ValidationError, ValueError) as error:
        raise BundleError(f"{path} is no manifest of format {BUNDLE_FORMAT}: {error}. {_AGAIN}.") from error
    if not same:
        raise _changed(path)
    _check_names(manifest.files, str(path))
    return manifest, data


def _parse(data: bytes, path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {error}. {_AGAIN}.") from error
    if not isinstance(fields, dict):
        raise BundleError(f"{path} is no manifest: it holds a {type(fields).__name__}, not an object. {_AGAIN}.")
    return fields


def _check_format(fields: Mapping[str, Any], path: Path) -> None:
    number = fields.get("format")
    if type(number) is not int or number < 1:
        raise BundleError(f"{path} is no manifest: its format is {number!r}, not a number from 1 on. {_AGAIN}.")
    if number > BUNDLE_FORMAT:
        raise BundleError(
            f"{path} was written by a newer Sartor (format {number}; this one reads {BUNDLE_FORMAT}): update."
        )


def _check_names(files: Mapping[str, Any], where: str = "the bundle") -> None:
    if len(files) > MAX_FILES:
        raise BundleError(f"A bundle holds at most {MAX_FILES} files; {where} names {len(files)}.")
    for name in files:
        if not _FILE_NAME.fullmatch(name) or not name.endswith(_SUFFIXES) or name.lower() == MANIFEST:
            raise BundleError(
                f"{where} names the file {name!r}, which no bundle may hold. Names are letters, digits, "
                f"'.', '_' and '-', and end in {', '.join(_SUFFIXES)}."
            )
    if len({name.lower() for name in files}) < len(files):
        raise BundleError(f"{where} names files that differ in upper and lower case only: {sorted(files)}.")
    if WEIGHTS not in files:
        raise BundleError(f"{where} names no {WEIGHTS}; it names {sorted(files)}. A bundle needs its weights.")


def _check_listing(folder: Path, manifest: Manifest) -> None:
    there = {entry.name for entry in os.scandir(folder)} - _BYSTANDERS
    if missing := sorted(set(manifest.files) - there):
        raise BundleError(f"{folder} lacks {missing[0]}, which its {MANIFEST} names. {_AGAIN}.")
    if extra := sorted(there - set(manifest.files) - {MANIFEST}):
        raise BundleError(f"{folder} holds {extra[0]!r}, which its {MANIFEST} does not name. Remove it to go on.")


def _check_shapes(file: BinaryIO, size: int, manifest: Manifest, name: str) -> None:
    shapes = header.read_shapes(file, size, name)
    if shapes != dict(manifest.shapes):
        differing = sorted(k for k in {*shapes, *manifest.shapes} if shapes.get(k) != manifest.shapes.get(k))[0]
        raise BundleError(
            f"{name} does not hold the tensors that the manifest names: {differing!r} has the shape "
            f"{shapes.get(differing)} in the file and {manifest.shapes.get(differing)} in the manifest. "
            f"{_AGAIN}."
        )


@contextmanager
def _opened(path: Path, most: int) -> Iterator[tuple[io.BufferedReader, int]]:
    """Open a regular file of at most ``most`` bytes, following no link, and tell its size."""
    if stat.S_ISLNK(path.lstat().st_mode):
        raise BundleError(f"{path} is a link. A bundle holds plain files only: {_AGAIN.lower()}.")
    # Not blocking, so that a pipe in the place of a file cannot hold us up.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise BundleError(f"{path} is not a plain file. {_AGAIN}.")
    with open(handle, "rb") as file:
        if status.st_size > most:
            raise BundleError(f"{path} has {status.st_size} bytes; at most {most} are read. {_AGAIN}.")
        yield file, status.st_size


def _changed(path: Path) -> BundleError:
    return BundleError(f"{path} was changed after the bundle was sealed: its hash does not fit. {_AGAIN}.")
