"""Who may ask: keys, hashed at rest, with scopes.

    <home>/keys.json     for its owner's eyes only; holds no key, only hashes

A key is shown once, when it is made: ``sk-sartor-<8 digits>-<43 letters>``. The digits find its row, the rest is 256
random bits, so a plain SHA-256 is as good as a slow hash.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from sartor.errors import NotFoundError, StorageError, UserError
from sartor.registry import disk

FILE = "keys.json"
Scope: TypeAlias = Literal["predict", "control"]
SCOPES: tuple[Scope, ...] = ("predict", "control")
_KEY = re.compile(r"sk-sartor-([0-9a-f]{8})-([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key."""

    id: str
    """8 hex digits."""
    hash: str
    """SHA-256 of the whole key."""
    scopes: tuple[Scope, ...]
    created: str
    """ISO 8601, UTC."""
    note: str = ""
    """Whose it is."""
    rate: float | None = None
    """Requests a minute; None for no limit."""
    revoked: str | None = None


def read(home: Path) -> tuple[Key, ...]:
    """Return all keys, revoked ones too.

    Raises:
        StorageError: when the file cannot be read: nobody gets in then.
    """
    path = home / FILE
    if not path.exists():
        return ()
    with disk.explained(path, "read"):
        data = path.read_bytes()
    try:
        return tuple(msgspec.json.decode(data, type=list[Key]))
    except msgspec.MsgspecError as error:
        raise StorageError(
            f"{str(path)!r} holds no keys ({error}). Restore it, or remove it and make new ones."
        ) from error


def add(
    home: Path, scopes: Sequence[str] = ("predict",), *, note: str = "", rate: float | None = None
) -> tuple[str, Key]:
    """Make a key; return it, which nobody can do again, and what is kept of it.

    Raises:
        UserError: when a scope is unknown.
        StorageError: when it cannot be written.
    """
    known: list[Scope] = [scope for scope in SCOPES if scope in scopes]
    if not known or set(scopes) - set(SCOPES):
        raise UserError(f"A key is for any of {', '.join(SCOPES)}; got {', '.join(scopes) or 'nothing'}.")
    key_id = secrets.token_hex(4)
    random = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    text = f"sk-sartor-{key_id}-{random}"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made = Key(key_id, _hash(text), tuple(known), now, note, rate)
    with disk.explained(home):
        home.mkdir(parents=True, exist_ok=True)
        with disk.locked(home):
            _write(home / FILE, (*read(home), made))
    return text, made


def revoke(home: Path, key_id: str) -> Key:
    """Revoke a key: a running server refuses it within a second.

    Raises:
        NotFoundError: when there is no such key.
    """
    with disk.explained(home), disk.locked(home):
        keys = read(home)
        found = next((key for key in keys if key.id == key_id), None)
        if found is None:
            raise NotFoundError(f"There is no key {key_id!r}. 'sartor keys list' lists them.")
        gone = replace(found, revoked=found.revoked or datetime.now(UTC).isoformat(timespec="seconds"))
        _write(home / FILE, tuple(gone if key.id == key_id else key for key in keys))
    return gone


def find(keys: Mapping[str, Key], text: str) -> Key | None:
    """Return the key that ``text`` is, if it is one that was not revoked; takes as long whatever is wrong with it."""
    match = _KEY.fullmatch(text)
    found = keys.get(match[1]) if match else None
    same = hmac.compare_digest(_hash(text), found.hash if found else _hash(""))
    return found if found is not None and same and found.revoked is None else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _write(path: Path, keys: Sequence[Key]) -> None:
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)  # of a dead process: the lock is ours
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        json.dump([asdict(key) for key in keys], file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    disk.sync_folder(path.parent)
