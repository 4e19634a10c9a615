"""A server as a process: a socket, signals, an orderly end."""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvicorn
from typing_extensions import override

from sartor.errors import StorageError, UserError
from sartor.registry.store import Store
from sartor.serve import keys, presence
from sartor.serve.app import build
from sartor.serve.engine import Engine
from sartor.serve.follow import EMPTY
from sartor.serve.guard import Limits, is_loopback
from sartor.serve.service import JournalMode, Service

DRAIN_S = 30


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve."""

    host: str = "127.0.0.1"
    port: int = 8000
    models: tuple[str, ...] = ()
    """That may be asked for; empty for every alias."""
    journal: JournalMode = "safe"
    memory_limit: int = 2_000_000_000
    certificate: Path | None = None
    private_key: Path | None = None
    limits: Limits = field(default_factory=Limits)
    request_log: bool = False


def serve(home: Path, options: Options, *, told: Callable[[str], None]) -> None:
    """Serve a store until a signal comes; then answer what has begun, and stop.

    Args:
        home: the store's folder.
        options: how.
        told: given the address, once the socket listens.

    Raises:
        UserError: when it may not or cannot listen there.
        NotFoundError: when a model does not exist.
        StorageError: when another server serves this store, or the disk does not let it.
    """
    locked = _check(home, options)
    listening = _listen(options.host, options.port)
    port = listening.getsockname()[1]
    tls = options.certificate is not None
    shown = f"[{options.host}]" if ":" in options.host else options.host
    url = f"{'https' if tls else 'http'}://{shown}:{port}"
    _log_to_stderr(options.request_log)
    with listening, presence.announced(home, presence.Server(url, os.getpid(), time.time())):
        only = frozenset(options.models) or None
        service = Service(home, only=only, mode=options.journal, engine=Engine(memory_limit=options.memory_limit))
        app = build(service, limits=options.limits, must_have_key=locked, tls=tls)
        config = uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=DRAIN_S,
            ssl_certfile=options.certificate,
            ssl_keyfile=options.private_key,
        )
        told(url)
        _Server(config, service).run(sockets=[listening])


def _check(home: Path, options: Options) -> bool:
    """Return whether everybody needs a key."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"Cannot make the store {str(home)!r}: {error.strerror}.") from error
    live = [key for key in keys.read(home) if key.revoked is None]
    if not is_loopback(options.host) and not live:
        raise UserError(
            f"{options.host} can be reached from other machines, and this store has no key. Make one with "
            "'sartor keys add', or leave --host out."
        )
    if (options.certificate is None) != (options.private_key is None):
        raise UserError("TLS needs both files: --tls-cert and --tls-key.")
    for path in (options.certificate, options.private_key):
        if path is not None and not path.is_file():
            raise UserError(f"There is no file {str(path)!r}.")
    _check_models(home, options.models)
    return not is_loopback(options.host) or bool(live)


def _check_models(home: Path, models: tuple[str, ...]) -> None:
    snapshot = Store(home).snapshot()
    by_id = {entry.id: entry for entry in snapshot.entries}
    live = {key: by_id[model_id] for key, model_id in snapshot.aliases.items()}
    routes = replace(EMPTY, snapshot=snapshot, live=live)
    for ref in models:
        routes.find(ref)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # named as TCP, or asyncio leaves Nagle's algorithm on for who connects, and a small answer waits 40 ms
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise UserError(f"Cannot listen at {host}:{port}: {error.strerror or error}. Choose another --port.") from error
    listening.setblocking(False)
    return listening


def _log_to_stderr(requests: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for name, level in (
        ("sartor.serve", logging.INFO if requests else logging.WARNING),
        ("uvicorn.error", logging.WARNING),
    ):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


class _Server(uvicorn.Server):
    """Ends in order, with exit code 0, on the first signal; at once on the second."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    @contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @override
    def handle_exit(self, sig: int, frame: Any) -> None:
        self._service.draining = True
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
