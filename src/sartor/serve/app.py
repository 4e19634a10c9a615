"""HTTP: Sartor's own endpoints, and those that OpenAI's clients ask."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from fastapi import APIRouter, FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from sartor import release
from sartor.data import records
from sartor.errors import BundleError, GateRefused, NotFoundError, SartorError, StorageError, UserError
from sartor.families.interface import Writing
from sartor.journal import AnswerRow
from sartor.model import Classifier
from sartor.serve.engine import Busy, TooLate
from sartor.serve.follow import NotReady, Unavailable
from sartor.serve.guard import Guard, Keyring, Limits, error_body
from sartor.serve.metrics import Metrics
from sartor.serve.service import Given, Service, said

T = TypeVar("T")
MOST_TOKENS = 2048
_SEED = 2**32 - 1

Ref = Annotated[str, Field(min_length=1, max_length=200, description="name@alias, name@v3, an id, or auto")]
Text = Annotated[str, Field(max_length=1_000_000)]


# --- what is asked -----------------------------------------------------------------------------------------


class Predict(BaseModel):
    """Inputs for one model."""

    model: Ref
    inputs: list[Text | dict[str, Any]] = Field(min_length=1, description="texts, or rows of a table")
    max_new_tokens: int = Field(64, ge=1, le=MOST_TOKENS)
    temperature: float = Field(0.0, ge=0, le=10)
    seed: int = Field(0, ge=0, le=_SEED)
    timeout_ms: int | None = Field(None, ge=1, le=600_000)


class Feedback(BaseModel):
    """What is known of an answer: the right one, or thumbs."""

    answer_id: str = Field(max_length=64)
    label: str | None = Field(None, max_length=100_000, description="the right label, value or text")
    thumbs: Literal["up", "down"] | None = None


class ChatMessage(BaseModel):
    """One turn; the last one of the user is answered."""

    role: str = Field(max_length=32)
    content: Text | list[dict[str, Any]] | None = None


class _Sampling(BaseModel):
    model: Ref
    stream: bool = False
    temperature: float | None = Field(None, ge=0, le=10)
    seed: int | None = Field(None, ge=0, le=_SEED)
    n: Literal[1] | None = None
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)

    def writing(self, longest: int | None = None) -> Writing:
        """Return how the answer is written."""
        plain = Writing()
        return Writing(longest or self.max_tokens or plain.max_new_tokens, self.temperature or 0.0, self.seed or 0)


class Chat(_Sampling):
    """A chat, of which the last turn of the user is answered: a generated model was made for one task."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    max_completion_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)


class Completion(_Sampling):
    """Texts to answer."""

    prompt: Text | list[Text]


class Embeddings(BaseModel):
    """Texts to embed with the base of a served model."""

    model: Ref
    input: Text | list[Text]
    encoding_format: Literal["float", "base64"] = "float"


class Promote(BaseModel):
    """A model that an alias shall point at."""

    model: Ref
    alias: str = Field("champion", max_length=64)
    canary: float | None = Field(None, gt=0, lt=1)
    force: bool = False


class Rollback(BaseModel):
    """A name whose champion shall be what it was before."""

    name: str = Field(max_length=64)


# --- what is told ------------------------------------------------------------------------------------------


def result_of(given: Given) -> dict[str, Any]:
    """Return one of ``results``."""
    row, outcome = given.row, given.outcome
    told: dict[str, Any] = {"answer_id": row.answer_id}
    if outcome.label is not None:
        told |= {"label": outcome.label, "probabilities": outcome.probabilities}
        if outcome.unusual is not None:
            told |= {"score": outcome.score, "threshold": outcome.threshold, "unusual": outcome.unusual}
    elif outcome.output is not None:
        told |= {"output": outcome.output}
    else:
        told |= {"value": outcome.value, "low": outcome.low, "high": outcome.high}
    told |= {"confidence": outcome.confidence, "abstain": outcome.abstain, "source": row.source}
    return told | {"model": row.name, "alias": row.alias, "version": row.version, "id": row.model}


def headers_of(given: Sequence[Given]) -> dict[str, str]:
    """Return what the headers say: of all answers the version, of a single one the rest too."""
    versions = dict.fromkeys(str(one.row.version) for one in given)
    told = {"x-sartor-model": given[0].row.name, "x-sartor-version": ",".join(versions)}
    told["x-sartor-source"] = ",".join(dict.fromkeys(one.row.source for one in given))
    if len(given) == 1:
        row = given[0].row
        told["x-sartor-answer-id"] = row.answer_id
        if row.confidence is not None:
            told["x-sartor-confidence"] = f"{row.confidence:.6f}"
    return told


def row_of(row: AnswerRow) -> dict[str, Any]:
    """Return a row of the journal as JSON; the text is there where it is retained."""
    told = asdict(row)
    del told["seq"]
    return told


_STATUS: Sequence[tuple[type[Exception], int, str]] = (
    (NotReady, 503, "not_ready"),
    (Unavailable, 503, "model_unavailable"),
    (Busy, 429, "overloaded"),
    (TooLate, 504, "too_late"),
    (GateRefused, 409, "gate_refused"),
    (NotFoundError, 404, "not_found"),
    (StorageError, 503, "storage"),
    (BundleError, 503, "model_unavailable"),
    (UserError, 422, "bad_input"),
)


def error_response(error: Exception) -> JSONResponse:
    """Return what a client gets of an error of ours."""
    status, code = next(((status, code) for kind, status, code in _STATUS if isinstance(error, kind)), (500, "bug"))
    headers = {"retry-after": str(error.retry_after)} if isinstance(error, Busy) else {}
    if isinstance(error, NotReady | StorageError):
        headers["retry-after"] = "1"
    return JSONResponse(error_body(str(error), code, status), status, headers)


# --- routes ------------------------------------------------------------------------------------------------


def build(
    service: Service,
    *,
    limits: Limits | None = None,
    must_have_key: bool = False,
    tls: bool = False,
    metrics: Metrics | None = None,
) -> Any:
    """Return the ASGI application of a service.

    Args:
        service: started and stopped with the application.
        limits: of one request.
        must_have_key: whether everybody needs a key.
        tls: whether it is served by TLS.
        metrics: counters; new ones unless given.
    """
    limits, metrics = limits or Limits(), metrics or Metrics(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(title="Sartor", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(SartorError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    for router in (_own(service, limits), _openai(service, limits), _control(service), _health(service, metrics)):
        app.include_router(router)
    return Guard(
        app,
        keyring=Keyring(service.home),
        limits=limits,
        must_have_key=must_have_key,
        tls=tls,
        draining=lambda: service.draining,
        counted=metrics.request,
    )


async def _on_error(_: Request, error: Exception) -> Response:
    return error_response(error)


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # where and why, never what was sent
    said_of = "; ".join(f"{'.'.join(map(str, one['loc'][:6]))}: {one['msg'][:200]}" for one in error.errors()[:5])
    text = said_of.encode(errors="replace").decode()
    return JSONResponse(error_body(f"This request cannot be read: {text}.", "bad_request", 422), 422)


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = error_body(str(error.detail), "not_found" if error.status_code == 404 else "refused", error.status_code)
    return JSONResponse(body, error.status_code, error.headers)


async def while_there(request: Request, work: Awaitable[T]) -> T:
    """Return what ``work`` gives; cancel it when the client goes.

    Raises:
        HTTPException: 499, which nobody reads.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HTTPException(499, "The client has gone.")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _own(service: Service, limits: Limits) -> APIRouter:
    router = APIRouter(responses=_ERRORS)

    @router.post("/predict")
    async def predict(asked: Predict, request: Request) -> Response:
        """Answer inputs with one model; an answer is told once its row in the journal is safe."""
        inputs = [text if isinstance(text, str) else _row(text) for text in asked.inputs]
        _check(inputs, limits)
        timeout = min(limits.seconds, (asked.timeout_ms or 1e9) / 1000)
        writing = Writing(asked.max_new_tokens, asked.temperature, asked.seed)
        given = await while_there(request, service.answer(asked.model, inputs, writing, timeout=timeout))
        return JSONResponse({"results": [result_of(one) for one in given]}, headers=headers_of(given))

    @router.get("/answers/{answer_id}")
    async def answers(answer_id: Annotated[str, Path(max_length=64)]) -> Response:
        """Return the journal's row of one answer, and its feedback."""
        row, feedback = await service.look_up(answer_id)
        told = [{"at": one.at, "label": one.label, "thumbs": one.thumbs, "who": one.who} for one in feedback]
        return JSONResponse({**row_of(row), "feedback": told})

    @router.post("/feedback")
    async def feedback(asked: Feedback) -> Response:
        """Say what the right answer was, or thumbs up or down."""
        if (asked.label is None) == (asked.thumbs is None):
            raise UserError("Give the right label, or thumbs (up or down): one of them.")
        thumbs = {"up": 1, "down": -1, None: None}[asked.thumbs]
        await service.feed_back(asked.answer_id, asked.label, thumbs)
        return JSONResponse({"answer_id": asked.answer_id, "recorded": True})

    return router


def _openai(service: Service, limits: Limits) -> APIRouter:
    router = APIRouter(prefix="/v1", responses=_ERRORS)

    @router.get("/models")
    async def models() -> Response:
        """List what may be asked for."""
        return JSONResponse({"object": "list", "data": [_model(*one) for one in service.follower.routes.served()]})

    @router.get("/models/{ref}")
    async def model(ref: Annotated[str, Path(max_length=200)]) -> Response:
        """Return one model."""
        found = service.find(ref)
        return JSONResponse(_model(found.entry.name, found.alias or f"v{found.entry.version}", found.entry))

    @router.post("/chat/completions")
    async def chat(asked: Chat, request: Request) -> Response:
        """Answer the last turn of the user."""
        text = _last_turn(asked.messages)
        _check([text], limits)
        writing = asked.writing(asked.max_completion_tokens)
        if asked.stream:
            return await _streamed(service, asked.model, text, writing, limits, _chat_chunk)
        given = await while_there(request, service.answer(asked.model, [text], writing, timeout=limits.seconds))
        choices = [{"index": 0, "message": {"role": "assistant", "content": said(given[0])}, "finish_reason": "stop"}]
        return _completed("chat.completion", asked.model, given, choices, await _usage(service, [text], given))

    @router.post("/completions")
    async def completions(asked: Completion, request: Request) -> Response:
        """Answer texts."""
        texts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
        _check(texts, limits)
        writing = asked.writing()
        if asked.stream:
            if len(texts) != 1:
                raise UserError("One text at a time is streamed. Ask for several without stream.")
            return await _streamed(service, asked.model, texts[0], writing, limits, _text_chunk)
        given = await while_there(request, service.answer(asked.model, texts, writing, timeout=limits.seconds))
        choices = [
            {"index": at, "text": said(one), "finish_reason": "stop", "logprobs": None} for at, one in enumerate(given)
        ]
        return _completed("text_completion", asked.model, given, choices, await _usage(service, texts, given))

    @router.post("/embeddings")
    async def embeddings(asked: Embeddings) -> Response:
        """Embed texts with the base of a served model, named by the base's name or the model's."""
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        _check(texts, limits)
        vectors, name = await _embed(service, asked.model, texts)
        told = [
            {"object": "embedding", "index": at, "embedding": _vector(vector, asked.encoding_format)}
            for at, vector in enumerate(vectors)
        ]
        return JSONResponse(
            {"object": "list", "model": name, "data": told, "usage": {"prompt_tokens": 0, "total_tokens": 0}}
        )

    return router


def _control(service: Service) -> APIRouter:
    router = APIRouter(prefix="/control", responses=_ERRORS)

    @router.post("/promote")
    async def promote(asked: Promote) -> Response:
        """Let an alias point at a model, if the gate lets it."""
        entry = service.find(asked.model).entry
        done = await asyncio.to_thread(
            lambda: release.promote(service.home, entry.id, alias=asked.alias, canary=asked.canary, force=asked.force)
        )
        if not done.moved:
            raise GateRefused(" ".join(done.gate.reasons))
        told = {"name": entry.name, "alias": done.alias, "version": entry.version, "id": entry.id}
        return JSONResponse({**told, "forced": done.forced, "gated": done.gate.gated})

    @router.post("/rollback")
    async def rollback(asked: Rollback) -> Response:
        """Let a champion be what it was before."""
        done = await asyncio.to_thread(lambda: release.rollback(service.home, asked.name, reason="asked over HTTP"))
        told = {"name": done.entry.name, "alias": done.alias, "version": done.entry.version, "id": done.entry.id}
        return JSONResponse({**told, "left": done.left, "canary": done.canary})

    return router


def _health(service: Service, metrics: Metrics) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> Response:
        """Say whether the process is well; where it is not, it is to be started again."""
        return JSONResponse({"healthy": service.alive}, 200 if service.alive else 503)

    @router.get("/readyz")
    async def readyz() -> Response:
        """Say whether requests may come."""
        ready = service.ready
        broken = [f"{name}@{alias}" for name, alias in service.follower.routes.broken]
        return JSONResponse({"ready": ready, "broken": sorted(broken)}, 200 if ready else 503)

    @router.get("/metrics")
    async def prometheus() -> Response:
        """Return counters for Prometheus."""
        content, kind = metrics.text()
        return Response(content, media_type=kind)

    return router


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/json": {"schema": {"type": "object"}}}}
    for status, text in {
        400: "the body is no JSON",
        401: "no key, or none that is known",
        403: "a key for something else",
        404: "no such model or answer",
        408: "the body came too slowly",
        413: "too large",
        422: "it cannot be answered",
        429: "too much at once; see Retry-After",
        503: "not now; see Retry-After",
        504: "too late",
    }.items()
}


# --- parts -------------------------------------------------------------------------------------------------


def _check(inputs: Sequence[str], limits: Limits) -> None:
    if not inputs:
        raise UserError("Give at least one input.")
    if len(inputs) > limits.rows:
        raise UserError(f"At most {limits.rows} inputs are answered at once; got {len(inputs):,}.")
    if (longest := max(map(len, inputs))) > limits.text_chars:
        raise UserError(f"An input has at most {limits.text_chars:,} characters; one has {longest:,}.")


def _row(cells: Mapping[str, Any]) -> str:
    [row] = records.inputs_of([cells]) if cells else ["{}"]
    return row


def _model(name: str, alias: str, entry: Any) -> dict[str, Any]:
    more = {"version": entry.version, "sartor_id": entry.id, "family": entry.family}
    return {"id": f"{name}@{alias}", "object": "model", "created": _unix(entry.created), "owned_by": "sartor", **more}


def _unix(created: str) -> int:
    try:
        return int(datetime.fromisoformat(created).timestamp())
    except ValueError:
        return 0


def _last_turn(messages: Sequence[ChatMessage]) -> str:
    turns = [message for message in messages if message.role == "user"]
    if not turns or turns[-1].content is None:
        raise UserError("There is no turn of the user. The last one is what is answered.")
    content = turns[-1].content
    if isinstance(content, str):
        return content
    if any(part.get("type") != "text" or not isinstance(part.get("text"), str) for part in content):
        raise UserError("Only parts of text are read here.")
    return "\n".join(str(part["text"]) for part in content)


def _completed(
    kind: str, asked: str, given: Sequence[Given], choices: list[dict[str, Any]], usage: Mapping[str, int]
) -> Response:
    body = {"id": given[0].row.answer_id, "object": kind, "created": int(time.time()), "model": asked}
    return JSONResponse({**body, "choices": choices, "usage": usage}, headers=headers_of(given))


async def _usage(service: Service, texts: Sequence[str], given: Sequence[Given]) -> dict[str, int]:
    """Return tokens as the base counts them; 0 where it has none."""
    loaded = await service.load(service.find(given[0].row.model))
    base = loaded.model.base
    tokenizer = getattr(getattr(base, "model", base), "tokenizer", None)
    if tokenizer is None:
        prompt = completion = 0
    else:
        prompt = sum(len(tokenizer.encode(text).ids) for text in texts)
        completion = sum(len(tokenizer.encode(said(one)).ids) for one in given)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _chat_chunk(text: str | None, *, first: bool) -> dict[str, Any]:
    delta: dict[str, Any] = {"role": "assistant"} if first else {}
    if text is not None:
        delta["content"] = text
    return {"index": 0, "delta": delta, "finish_reason": None if text is not None else "stop"}


def _text_chunk(text: str | None, *, first: bool) -> dict[str, Any]:
    return {"index": 0, "text": text or "", "finish_reason": None if text is not None else "stop", "logprobs": None}


async def _streamed(
    service: Service, ref: str, text: str, writing: Writing, limits: Limits, chunk: Any
) -> StreamingResponse:
    """Return an answer as server-sent events; errors that come before the first piece have their own status."""
    found = service.find(ref)
    pieces = service.stream(ref, text, writing, timeout=limits.seconds)
    first = await anext(pieces)
    kind = "chat.completion.chunk" if chunk is _chat_chunk else "text_completion"
    head = {"id": f"stream-{time.time_ns()}", "object": kind, "created": int(time.time()), "model": ref}

    async def events() -> AsyncIterator[str]:
        try:
            begun = False
            piece: str | Given = first
            while isinstance(piece, str):
                yield _event({**head, "choices": [chunk(piece, first=not begun)]})
                begun, piece = True, await anext(pieces)
            told = {"answer_id": piece.row.answer_id, "source": piece.row.source, "version": piece.row.version}
            yield _event({**head, "choices": [chunk(None, first=not begun)], "sartor": told})
            yield "data: [DONE]\n\n"
        except (SartorError, OSError) as error:
            yield _event(json.loads(bytes(error_response(error).body)))
        finally:
            await pieces.aclose()

    headers = {"x-sartor-model": found.entry.name, "x-sartor-version": str(found.entry.version)}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def _event(body: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


async def _embed(service: Service, ref: str, texts: Sequence[str]) -> tuple[Any, str]:
    base_name = {base.ref.name: key for key, base in service.engine.bases.items()}
    entry = None
    if ref in base_name:
        for _, _, one in service.follower.routes.served():
            if service.engine.has(one.id):
                loaded = await service.engine.load(one)
                of = loaded.model
                if of.manifest.base.name == ref and not of.family.brings_base(of.weights, of.own_files):
                    entry = loaded
                    break
    if entry is None:
        entry = await service.load(service.find(ref))
    model = entry.model
    if not isinstance(model, Classifier) or model.family.reads == "tables":
        raise UserError(f"The base of {ref!r} embeds no texts. Name a model of text-classification, or its base.")

    def encode() -> Any:
        features = model.family.encode(model.base, model.requirement, list(texts))
        return model.family.embeddings(features)

    vectors = await asyncio.to_thread(encode)
    if vectors is None:
        raise UserError(f"The base of {ref!r} embeds no texts. Name a model of text-classification, or its base.")
    return vectors, model.manifest.base.name


def _vector(vector: Any, encoding: str) -> Any:
    if encoding == "base64":
        return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()
    return [float(value) for value in vector]
