"""(n) Serving: closed loops of 1 to 64 clients, many models on one base, and what the server itself costs.

    python -m benchmarks.serving

One server a way, in a process of its own, asked over loopback by clients that each send the next text when they have
an answer: ``sartor serve`` with its journal (an answer waits for the disk), without it, and a plain FastAPI
application that answers each request by itself. The texts are those of ``examples/bank-mails``. Ways take turns, so
that what else the machine does falls on all of them; its load stands in the result. On a machine that others use,
seconds by the clock say little: ``cpu_ms`` is what an answer took of the processor, by the server's whole process.
"""

import argparse
import asyncio
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, Run, arguments, table
from sartor import cli, pipeline, settings
from sartor.families.interface import Writing
from sartor.model import Classifier, load
from sartor.registry.store import Store
from sartor.serve.engine import Engine
from sartor.types import Task

NAME = "bank-mails"
HEADS = 50
"""Classifiers on one base."""
WRITERS = 8
TOKENS = 8
"""Of a written answer."""
ASK_WRITERS = 16
SARTOR = "from sartor.cli import main; main()"
PLAIN = "from benchmarks.serving import plain; plain()"


def main() -> None:
    options = arguments(
        __doc__ or "",
        seeds=None,
        data=False,
        extend={
            "--seconds": {"type": float, "default": 6.0, "help": "of one measurement"},
            "--rounds": {"type": int, "default": 2, "help": "that ways take turns"},
            "--writers": {"action": "store_true", "help": "models that write as well (needs their base)"},
        },
    )
    run = Run("serving", options, seeds=[0])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SARTOR_HOME"] = folder
        settings.current.cache_clear()
        stock(Path(folder), options)
        run.say("made the models")
        texts = questions()
        rows: list[dict[str, Any]] = [{"what": "engine in bulk", **bulk(texts, options.seconds)}]
        rows += loops(texts, options, run)
        rows += asyncio.run(mixed(Path(folder), texts, options))
        run.say("many models on one base")
    show(rows)
    run.write(rows, summary(rows), seconds_each=options.seconds, rounds=options.rounds, texts=len(texts))


def stock(home: Path, options: argparse.Namespace) -> None:
    """Make one model, the same behind :data:`HEADS` names, and models that write."""
    example = ROOT / "examples" / NAME
    made = pipeline.make(Task("Route bank mails", name=NAME), example / "train.csv").model
    store = Store(home)
    for number in range(HEADS):
        draft = replace(made.manifest, seed=1 + number, name=f"head-{number}")
        entry = store.put(draft, made.files(), f"head-{number}")
        store.move_alias(entry.name, "champion", entry.id, expected=None)
    if options.writers:
        lines = [
            {"name": f"writer-{n}", "description": f"Rewrite the text in the style of number {n}"}
            for n in range(WRITERS)
        ]
        path = home / "many.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert cli.run(["generate", "--many", str(path), "--json"]) == 0


def questions() -> list[str]:
    """Return texts that the models had not seen."""
    with (ROOT / "examples" / NAME / "test.csv").open(encoding="utf-8") as file:
        return [row["text"] for row in csv.DictReader(file)]


def bulk(texts: Sequence[str], seconds: float) -> dict[str, float]:
    """Return texts a second in batches of 64, nothing around them, and what each took of the processor."""
    model = load(f"{NAME}@champion")
    assert isinstance(model, Classifier)
    model.answer(texts[:64])
    begun, worked, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begun < seconds:
        model.answer([texts[(done + at) % len(texts)] for at in range(64)])
        done += 64
    cpu = 1000 * (time.process_time() - worked) / done
    return {"texts_per_second": done / (time.perf_counter() - begun), "cpu_ms": cpu}


# --- closed loops over loopback ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """A server to compare."""

    name: str
    program: str
    arguments: tuple[str, ...]


WAYS = (
    Way("sartor", SARTOR, ("serve", "--port", "0", "--json")),
    Way("sartor, journal off", SARTOR, ("serve", "--port", "0", "--json", "--journal", "off")),
    Way("plain FastAPI", PLAIN, ()),
)


def loops(texts: Sequence[str], options: argparse.Namespace, run: Run) -> list[dict[str, Any]]:
    """Return throughput and latency of each way and number of clients; the better of the rounds."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for way in WAYS:
            with server(way) as (port, process):
                asyncio.run(closed(port, texts, 4, 2.0))  # until everything is warm
                for clients in (1, 4, 16, 64):
                    worked = _cpu_seconds(process)
                    one = asyncio.run(closed(port, texts, clients, options.seconds))
                    one["cpu_ms"] = 1000 * (_cpu_seconds(process) - worked) / one["requests"]
                    found.setdefault((way.name, clients), []).append(one)
            run.say(way.name)
    return [
        {
            "what": way,
            "clients": clients,
            **max(several, key=lambda one: one["texts_per_second"]),
            "cpu_ms": min(one["cpu_ms"] for one in several),
        }
        for (way, clients), several in found.items()
    ]


@contextmanager
def server(way: Way) -> Iterator[tuple[int, int]]:
    """Give the port of a running server, and its process."""
    command = [sys.executable, "-c", way.program, *way.arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        told = ""
        while not told.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, "the server ended"
            told += line
        port = int(json.loads(told)["url"].rpartition(":")[2])
        while not _ready(port):
            time.sleep(0.1)
        try:
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)


def _cpu_seconds(process: int) -> float:
    """Return what a process has taken of the processor so far (Linux); nan elsewhere."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b" 200 " in connection.recv(100)
    except OSError:
        return False


async def closed(port: int, texts: Sequence[str], clients: int, seconds: float) -> dict[str, Any]:
    """Return what ``clients`` get that each ask again once they have an answer."""
    spent: list[float] = []
    failed = 0
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        at = number * 37
        while time.perf_counter() < end:
            body = json.dumps({"model": f"{NAME}@champion", "inputs": [texts[at % len(texts)]]}).encode()
            begun = time.perf_counter()
            head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            status = await _read(reader)
            spent.append(time.perf_counter() - begun)
            failed += status != 200
            at += 1
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    whole = time.perf_counter() - begun
    p50, p99 = (1000 * float(value) for value in np.percentile(spent, [50, 99]))
    rate = len(spent) / whole
    return {"texts_per_second": rate, "p50_ms": p50, "p99_ms": p99, "requests": len(spent), "failed": failed}


async def _read(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


def plain() -> None:
    """Serve as one would by hand: one request, one answer of the model."""
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    model = load(f"{NAME}@champion")
    assert isinstance(model, Classifier)
    model.answer(["warm"])

    class Asked(BaseModel):
        model: str
        inputs: list[str]

    app = FastAPI()

    @app.post("/predict")
    def predict(asked: Asked) -> Any:
        answers = model.answer(asked.inputs)
        return {"results": [{"label": one.label, "confidence": one.confidence} for one in answers]}

    @app.get("/readyz")
    async def readyz() -> Any:
        return {}

    # named as TCP, as sartor serve's is: asyncio then sends small answers at once
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])


# --- the engine alone --------------------------------------------------------------------------------------


async def mixed(home: Path, texts: Sequence[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what many models on one base cost against one, and the time of one answer without a server."""
    engine, store = Engine(), Store(home)
    heads = [await engine.load(store.get(f"head-{number}@champion")) for number in range(HEADS)]
    rows = []
    ways: list[tuple[str, Callable[[int], Any]]] = [
        ("one classifier", lambda number: heads[0]),
        (f"{HEADS} classifiers", lambda number: heads[number % HEADS]),
    ]
    for what, pick in ways * options.rounds:
        found = await _engine_loop(engine, pick, texts, 64, options.seconds, Writing())
        rows.append({"what": what, "clients": 64, **found})
    found = await _engine_loop(engine, lambda number: heads[0], texts, 1, options.seconds, Writing())
    rows.append({"what": "engine alone", "clients": 1, **found})
    if options.writers:
        writers = [await engine.load(store.get(f"writer-{number}@champion")) for number in range(WRITERS)]
        writing = Writing(max_new_tokens=TOKENS)
        for what, count in (("one writer", 1), (f"{WRITERS} writers", WRITERS)) * options.rounds:
            pick = lambda number, count=count: writers[number % count]  # noqa: E731
            found = await _engine_loop(engine, pick, texts, ASK_WRITERS, 2 * options.seconds, writing)
            rows.append({"what": what, "clients": ASK_WRITERS, **found})
    engine.close()
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        kept = best.setdefault(row["what"], row)
        if row.get("texts_per_second", 0) > kept.get("texts_per_second", 0):
            best[row["what"]] = row
    return list(best.values())


async def _engine_loop(
    engine: Engine, pick: Callable[[int], Any], texts: Sequence[str], clients: int, seconds: float, writing: Writing
) -> dict[str, float]:
    spent: list[float] = []
    worked = time.process_time()
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        at = number * 37
        while time.perf_counter() < end:
            begun = time.perf_counter()
            await engine.answer(pick(number), [texts[at % len(texts)]], writing, timeout=300)
            spent.append(time.perf_counter() - begun)
            at += 1

    begun = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    rate = len(spent) / (time.perf_counter() - begun)
    cpu = 1000 * (time.process_time() - worked) / len(spent)
    return {"texts_per_second": rate, "p50_ms": 1000 * float(np.median(spent)), "cpu_ms": cpu}


# --- what is told ------------------------------------------------------------------------------------------


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the ratios that the aims are stated in."""

    def of(what: str, key: str, clients: int | None = None) -> float:
        return next(row[key] for row in rows if row["what"] == what and clients in (None, row.get("clients")))

    at_64 = of("sartor", "texts_per_second", 64)
    heads = f"{HEADS} classifiers"
    told = {
        "share of the engine's bulk rate at 64 clients": at_64 / of("engine in bulk", "texts_per_second"),
        "the same, by the processor": of("engine in bulk", "cpu_ms") / of("sartor", "cpu_ms", 64),
        "times the plain server at 64 clients": at_64 / of("plain FastAPI", "texts_per_second", 64),
        "the same, by the processor ": of("plain FastAPI", "cpu_ms", 64) / of("sartor", "cpu_ms", 64),
        f"{heads} against one": of(heads, "texts_per_second") / of("one classifier", "texts_per_second"),
        f"{heads} against one, by the processor": of("one classifier", "cpu_ms") / of(heads, "cpu_ms"),
        "ms over the bare engine, journal off": of("sartor, journal off", "p50_ms", 1) - of("engine alone", "p50_ms"),
        "the same, of the processor": of("sartor, journal off", "cpu_ms", 1) - of("engine alone", "cpu_ms"),
        "ms of the journal": of("sartor", "p50_ms", 1) - of("sartor, journal off", "p50_ms", 1),
        "the same, of the processor  ": of("sartor", "cpu_ms", 1) - of("sartor, journal off", "cpu_ms", 1),
    }
    if any(row["what"] == "one writer" for row in rows):
        many = f"{WRITERS} writers"
        told[f"{many} against one"] = of(many, "texts_per_second") / of("one writer", "texts_per_second")
        told[f"{many} against one, by the processor"] = of("one writer", "cpu_ms") / of(many, "cpu_ms")
    return told


def show(rows: Sequence[dict[str, Any]]) -> None:
    keys = ("texts_per_second", "p50_ms", "p99_ms", "cpu_ms", "failed")
    cells = [(row["what"], row.get("clients", ""), *(_shown(row.get(key)) for key in keys)) for row in rows]
    print(table(("what", "clients", "texts/s", "p50 ms", "p99 ms", "cpu ms", "failed"), cells))
    print(table(("ratio", ""), [(name, f"{value:.2f}") for name, value in summary(rows).items()]))


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
