"""What stands before every request: keys, limits of size, time and rate, headers, one line of log; plain ASGI.

Nothing of a request's text is logged. A body is read whole before anything of ours runs, so that a slow or huge one
costs nobody else anything.
"""

import asyncio
import ipaddress
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from sartor.errors import StorageError
from sartor.serve import keys
from sartor.serve.keys import Key

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""That need no key: they tell nothing but yes or no."""
CONTROL = "/control/"
LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]", "testserver"})
"""Hosts that may be asked for where no key is needed: a page of another site cannot be one of them."""

_log = logging.getLogger("sartor.serve")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may be."""

    body_bytes: int = 2_000_000
    body_seconds: float = 15.0
    rows: int = 256
    text_chars: int = 200_000
    seconds: float = 60.0
    """For an answer; a request may ask for less."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens there.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("")
    (True, True, False, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Keyring:
    """The keys of a store, read again when the file changes."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._stamp: tuple[int, int, int] | None = None
        self._keys: Mapping[str, Key] = {}
        self._looked = 0.0

    @property
    def keys(self) -> Mapping[str, Key]:
        """Return id -> key, at most half a second old.

        Raises:
            StorageError: when they cannot be read: nobody gets in then.
        """
        now = time.monotonic()
        if now - self._looked > 0.5:
            try:
                stat = (self._home / keys.FILE).stat()
                stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            except FileNotFoundError:
                stamp = None
            if stamp != self._stamp:
                self._keys = {key.id: key for key in keys.read(self._home)} if stamp else {}
                self._stamp = stamp
            self._looked = now
        return self._keys


class Buckets:
    """Requests a minute of each key: a bucket that fills evenly and holds ten seconds' worth, at least one."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def wait(self, key_id: str, rate: float) -> float:
        """Take one from a key's bucket; return 0, or the seconds until there is one."""
        now, most = time.monotonic(), max(1.0, rate / 6)
        left, at = self._left.get(key_id, (most, now))
        left = min(most, left + (now - at) * rate / 60)
        if left < 1:
            self._left[key_id] = (left, now)
            return (1 - left) * 60 / rate
        self._left[key_id] = (left - 1, now)
        return 0.0


class Guard:
    """Wraps an application."""

    def __init__(
        self,
        app: App,
        *,
        keyring: Keyring,
        limits: Limits,
        must_have_key: bool,
        tls: bool,
        draining: Callable[[], bool],
        counted: Callable[[str, int, float], None],
    ) -> None:
        """Wrap ``app``.

        Args:
            app: what answers.
            keyring: of the store; where it holds a key, everybody needs one.
            limits: of one request.
            must_have_key: whether a key is needed even where there is none.
            tls: whether browsers shall insist on it.
            draining: whether no new request may begin.
            counted: told of path, status and seconds of every request.
        """
        self._app, self._keyring, self._limits = app, keyring, limits
        self._must, self._draining, self._counted = must_have_key, draining, counted
        self._headers = [*_HEADERS, *([(b"strict-transport-security", b"max-age=31536000")] if tls else [])]
        self._buckets = Buckets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, key_id = time.perf_counter(), 0, "-"

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), *self._headers]}
            await send(message)

        try:
            refused, key = self._look(scope)
            key_id = key.id if key else "-"
            if refused is None:
                body, refused = await self._read(scope, receive)
                if refused is None:
                    scope.setdefault("state", {})["key"] = key
                    await self._app(scope, _replayed(body, receive), told)
                    return
            await _refuse(told, *refused)
        finally:
            spent = time.perf_counter() - begun
            self._counted(scope["path"], status, spent)
            _log.info("%s %s %d %.1f ms key=%s", scope["method"], scope["path"], status, 1000 * spent, key_id)

    def _look(self, scope: Scope) -> tuple[tuple[int, str, str, float | None] | None, Key | None]:
        """Return why a request is refused (status, code, sentence, seconds), and the key that it came with."""
        path = scope["path"]
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if path in OPEN_PATHS:
            return None, None
        if self._draining():
            return (503, "draining", "This server is stopping. Retry in a second, elsewhere.", 1.0), None
        try:
            known = self._keyring.keys
        except StorageError:
            return (503, "no_keys", "Keys cannot be read, so nobody gets in. See the server's log.", 5.0), None
        if not known and not self._must:
            return self._open(path, headers), None
        scheme, _, text = headers.get(b"authorization", "").partition(" ")
        key = keys.find(known, text.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            return (401, "invalid_api_key", "Give a key: Authorization: Bearer sk-sartor-….", None), None
        needed = "control" if path.startswith(CONTROL) else "predict"
        if needed not in key.scopes and not (path == "/metrics" and "control" in key.scopes):
            return (403, "wrong_scope", f"This key is not for {needed}.", None), key
        if key.rate is not None and (seconds := self._buckets.wait(key.id, key.rate)):
            return (429, "rate_limit_exceeded", f"This key may ask {key.rate:g} times a minute.", seconds), key
        return None, key

    def _open(self, path: str, headers: Mapping[Any, str]) -> tuple[int, str, str, float | None] | None:
        """Return why a request without a key is refused where none is needed: a web page may be behind it."""
        host = headers.get(b"host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name.lower() not in LOCAL:
            return 403, "wrong_host", "Without keys this server answers to localhost alone.", None
        origin = headers.get(b"origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "wrong_origin", "Without keys this server answers no page of another site.", None
        if path.startswith(CONTROL):
            return 403, "wrong_scope", "What controls this server needs a key: sartor keys add --scope control.", None
        return None

    async def _read(self, scope: Scope, receive: Receive) -> tuple[bytes, tuple[int, str, str, float | None] | None]:
        """Return the whole body, or why it is refused."""
        most = self._limits.body_bytes
        refused = (413, "too_large", f"A request has at most {most:,} bytes. Send fewer rows at once.", None)
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > most:
            return b"", refused
        parts: list[bytes] = []
        size, more = 0, scope["method"] not in ("GET", "HEAD")
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return b"", (499, "gone", "The client has gone.", None)
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        return b"", refused
                    more = message.get("more_body", False)
        except TimeoutError:
            return b"", (408, "too_slow", f"A body must come within {self._limits.body_seconds:g} s.", None)
        return b"".join(parts), None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return what gives the whole body first, and then whatever comes: the client's going."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(send: Send, status: int, code: str, text: str, retry: float | None) -> None:
    body = json.dumps(error_body(text, code, status)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if retry is not None:
        headers.append((b"retry-after", str(max(1, round(retry + 0.5))).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status in (408, 413, 499):  # what is left of the body is not read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def error_body(text: str, code: str, status: int) -> dict[str, Any]:
    """Return an error as OpenAI's clients read it."""
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": text, "type": kind, "code": code, "param": None}}
