"""Any OpenAI-compatible endpoint, by the official ``openai`` package (extra ``sartor[llm]``).

One call, no retries: those go through the audit again, so that each has its row. A call ends after ``timeout_s``
whatever the other side does, bytes that trickle included, because the whole of it is cancelled from outside. Nothing
but the destination is connected to: no redirect is followed, no proxy and no address is read from the environment.
"""

import asyncio
import json
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from sartor.errors import LargeModelError, UserError
from sartor.llm import tokens
from sartor.llm.interface import Cleared, Reply, Request
from sartor.llm.policy import normal

_MOST_BYTES = 4 << 20
"""An answer that is longer is not read to its end."""
_T = TypeVar("_T")


class Endpoint:
    """A model behind HTTP."""

    egress = True

    def __init__(self, base_url: str, model: str, key: str, *, timeout_s: float = 30.0) -> None:
        try:
            self.destination = normal(base_url)
        except ValueError:
            raise UserError(f"{base_url[:80]!r} is no address of an endpoint. Write it as https://host/v1.") from None
        self.model = model
        self._key = key
        self._timeout_s = timeout_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self._lock = threading.Lock()

    def send(self, cleared: Cleared) -> Reply:
        """Return the answer to one request; see :class:`sartor.llm.interface.Backend`."""
        started = time.monotonic()
        content = self._run(self._post(cleared.request))
        return _reply(content, cleared.request, time.monotonic() - started)

    def close(self) -> None:
        """End connections and the thread that holds them."""
        with self._lock:
            if self._loop is not None:
                if self._client is not None:
                    asyncio.run_coroutine_threadsafe(self._client.close(), self._loop).result(5)
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = self._client = None

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        with self._lock:
            loop = self._loop = self._loop or _background_loop()
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    async def _post(self, request: Request) -> bytes:
        """Return the body of the answer.

        Raises:
            LargeModelError: when there is none.
        """
        openai = _openai()
        if self._client is None:
            self._client = _client(openai, self.destination, self._key)
        try:
            create = self._client.chat.completions.with_streaming_response.create  # imports much when first asked for
            async with asyncio.timeout(self._timeout_s):
                async with create(**_body(request, self.model)) as response:
                    return await _read(response)
        except (TimeoutError, openai.APITimeoutError) as error:
            raise LargeModelError(
                f"{self.destination} gave no whole answer within {self._timeout_s:g} s.", "timeout"
            ) from error
        except openai.APIStatusError as error:
            raise _refused(self.destination, error) from error
        except openai.APIConnectionError as error:
            raise LargeModelError(
                f"{self.destination} cannot be reached ({error.__cause__ or error}).", "unreachable"
            ) from error
        except openai.OpenAIError as error:
            raise LargeModelError(f"{self.destination} answered what is no answer ({error}).", "malformed") from error
        except OSError as error:
            raise LargeModelError(f"{self.destination} broke off ({error}).", "unreachable") from error


def _openai() -> Any:
    try:
        import openai
    except ImportError:
        raise LargeModelError(
            "Asking an endpoint needs the package openai: say pip install 'sartor[llm]'.", "unavailable"
        ) from None
    return openai


def _client(openai: Any, base_url: str, key: str) -> Any:
    transport = openai.DefaultAsyncHttpxClient(follow_redirects=False, trust_env=False)
    # what is not given is taken from the environment, and would be sent to whatever endpoint this is
    return openai.AsyncOpenAI(
        api_key=key or "none",
        base_url=base_url,
        organization="",
        project="",
        webhook_secret="",
        max_retries=0,
        timeout=None,  # ours is around it all
        http_client=transport,
    )


def _background_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()

    def work() -> None:
        loop.run_forever()
        loop.close()

    threading.Thread(target=work, name="sartor-llm", daemon=True).start()
    return loop


def _body(request: Request, model: str) -> dict[str, Any]:
    system = [{"role": "system", "content": request.system}] if request.system else []
    body: dict[str, Any] = {
        "model": model,
        "messages": [*system, {"role": "user", "content": request.wire_text}],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
    }
    if request.schema is not None:
        schema = {"name": "answer", "schema": dict(request.schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


async def _read(response: Any) -> bytes:
    content = bytearray()
    async for piece in response.iter_bytes():
        content += piece
        if len(content) > _MOST_BYTES:
            raise LargeModelError(f"The answer is longer than {_MOST_BYTES >> 20} MB; it was not read on.", "malformed")
    return bytes(content)


def _refused(destination: str, error: Any) -> LargeModelError:
    code = error.status_code
    match code:
        case 401 | 403:
            return LargeModelError(
                f"{destination} does not take the key ({code}). Set SARTOR_LLM_KEY, or put it into the keyring.",
                "key-rejected",
            )
        case 429:
            return _waiting(
                LargeModelError(f"{destination} takes no more requests for now (429).", "rate-limited"), error
            )
        case _ if code >= 500 or code in (408, 409, 425):
            return _waiting(LargeModelError(f"{destination} failed ({code}).", "server-error"), error)
        case _:
            return LargeModelError(f"{destination} refused the request ({code}: {_said(error)}).", "refused")


def _said(error: Any) -> str:
    return " ".join(str(error.message).split())[:200]


def _waiting(failure: LargeModelError, error: Any) -> LargeModelError:
    """Note how long the endpoint asks to wait."""
    try:
        failure.retry_after_s = max(0.0, float(error.response.headers.get("retry-after", "")))
    except ValueError:
        failure.retry_after_s = None
    return failure


def _reply(content: bytes, request: Request, seconds: float) -> Reply:
    try:
        body = json.loads(content)
        text = body["choices"][0]["message"]["content"]
        if not isinstance(text, str):
            raise TypeError(f"its content is {text!r:.40}")
        name = str(body.get("model") or "")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise LargeModelError(f"The answer is not what the protocol says ({error!r:.120}).", "malformed") from error
    usage = body.get("usage")
    counts = [usage.get(key) if isinstance(usage, dict) else None for key in ("prompt_tokens", "completion_tokens")]
    counted = all(isinstance(count, int) and 0 <= count < 1 << 40 for count in counts)
    sent, received = counts if counted else (tokens.estimate(request.system + request.wire_text), tokens.estimate(text))
    return Reply(text, name, int(sent or 0), int(received or 0), seconds, counted=counted)
