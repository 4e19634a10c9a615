"""A causal language model in this process, by llama.cpp (package ``xllamacpp``, extra ``sartor[local]``).

Nothing leaves: no key, no network. It is small, so that everything can be tried without a large one; what it answers
says nothing of what a large one would.
"""

import importlib
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from sartor.errors import LargeModelError
from sartor.llm.interface import Cleared, Reply

_CONTEXT = 4096
"""Tokens, request and answer together."""


class Local:
    """A GGUF file, loaded when it is first asked."""

    egress = False
    destination = "in-process"

    def __init__(self, path: Path, model: str, *, threads: int = 2) -> None:
        self.path = path
        self.model = model
        self._threads = threads
        self._server: Any = None
        self._lock = threading.Lock()

    def send(self, cleared: Cleared) -> Reply:
        """Return the answer to one request; see :class:`sartor.llm.interface.Backend`."""
        request = cleared.request
        system = [{"role": "system", "content": request.system}] if request.system else []
        body: dict[str, Any] = {
            "messages": [*system, {"role": "user", "content": request.wire_text}],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        if request.schema is not None:
            schema = {"name": "answer", "schema": dict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        started = time.monotonic()
        try:
            with self._lock:
                answer = self._loaded().handle_chat_completions(body)
            text = answer["choices"][0]["message"]["content"]
            usage = answer["usage"]
            counts = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        except LargeModelError:
            raise
        except Exception as error:  # llama.cpp's own errors are of many kinds, all of them runtime errors
            raise LargeModelError(f"The model in this process gave no answer ({error!s:.200}).", "malformed") from error
        if not isinstance(text, str):
            raise LargeModelError("The model in this process answered with no text.", "malformed")
        return Reply(text, self.model, *counts, time.monotonic() - started)

    def close(self) -> None:
        """Unload the model; the next request loads it again."""
        with self._lock:
            self._server = None

    def _loaded(self) -> Any:
        if self._server is None:
            try:
                xllamacpp: Any = importlib.import_module("xllamacpp")  # a compiled package without types
            except ImportError:
                raise LargeModelError(
                    "A model in this process needs the package xllamacpp: say pip install 'sartor[local]'.",
                    "unavailable",
                ) from None
            settings = xllamacpp.CommonParams()
            settings.model.path = str(self.path)
            settings.n_ctx = _CONTEXT
            settings.n_parallel = 1
            settings.cpuparams.n_threads = self._threads
            settings.api_keys = [secrets.token_hex(16)]  # it also listens on loopback, for nobody
            settings.verbosity = -1
            self._server = xllamacpp.Server(settings)
        return self._server
