"""What the tests of serving share."""

import asyncio
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from sartor.serve.app import build
from sartor.serve.service import Service

TESTS = Path(__file__).parents[1]


def parts_csv(path, n=40):
    """Write a table of parts: they fail where they are wide and hot; the price goes by width."""
    draw = random.Random(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["width", "heat", "steel", "failed", "price"])
        for _ in range(n):
            width, heat, steel = draw.uniform(1, 9), draw.uniform(100, 300), draw.choice("ABC")
            fails = "yes" if width + heat / 60 > 8 else "no"
            writer.writerow([f"{width:.2f}", f"{heat:.0f}", steel, fails, f"{3 * width + 1:.2f}"])
    return path


LABELS = ("billing", "bug", "other")
ROWS = [
    ("I was charged twice for my invoice", "billing"),
    ("refund my money please, the bill is wrong", "billing"),
    ("my card was charged, but I did not pay for this", "billing"),
    ("the invoice is not mine", "billing"),
    ("the app shows an error and a broken screen", "bug"),
    ("crash after crash, it is a bug", "bug"),
    ("error 42 in the app", "bug"),
    ("the screen is broken since the update", "bug"),
    ("hello, I have a question about the text", "other"),
    ("thanks, great app", "other"),
    ("hello and thanks for the good help", "other"),
    ("a question: is this for free?", "other"),
]
PART = {"width": "8.50", "heat": "290", "steel": "A", "failed": "", "price": "20.00"}


@asynccontextmanager
async def serving(home, **options):
    """Give a client of a server in this process, once it is ready; its service is ``client.service``."""
    guard = {name: options.pop(name) for name in ("limits", "must_have_key", "tls") if name in options}
    service = Service(home, **options)
    app = build(service, **guard)
    await service.start()
    try:
        while not service.follower.ready:
            await asyncio.sleep(0.01)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
            client.headers["content-type"] = "application/json"
            client.service = service
            yield client
    finally:
        await service.stop()


async def ask(client, model="mails@champion", inputs=("my card was charged",), **more):
    return await client.post("/predict", json={"model": model, "inputs": list(inputs), **more})


async def until(condition, within=30.0):
    """Wait for what must come true."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")


class Child:
    """``sartor serve`` on the tiny base in a process of its own."""

    def __init__(self, home, arguments=(), before=()):
        program = [sys.executable, str(TESTS / "serve" / "serve_child.py")]
        environment = {**os.environ, "SARTOR_HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        command = [*before, *program, "serve", "--port", "0", "--json", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, env=environment, **pipes)
        self.url = ""
        self.verify = True

    def wait_ready(self, within=120.0):
        assert self.process.stdout is not None
        lines = []
        while not self.url:
            line = self.process.stdout.readline()
            assert line, f"it ended: {self.process.communicate()[1]}"
            lines.append(line)
            if line.startswith("}"):
                self.url = json.loads("".join(lines))["url"]
        end = time.monotonic() + within
        while time.monotonic() < end:
            try:
                url = self.url.replace("0.0.0.0", "127.0.0.1")
                if httpx.get(f"{url}/readyz", timeout=5, verify=self.verify).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError("it never was ready")

    def stop(self, number=signal.SIGTERM, within=60):
        self.process.send_signal(number)
        return self.process.wait(within)

    def kill(self):
        self.process.kill()
        self.process.communicate()
