"""What answers of several models cost, measured side by side: rounds that take turns, and a process for each.

A machine is never as fast twice: what else it does, and how warm it is, moves every figure. So models take turns,
round by round, and the median over rounds counts, with its spread. Memory and cold start are those of a fresh process
that loads one model only.
"""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sartor.evaluate.cost import Answer
from sartor.types import Progress, silent

BATCHES = (1, 8, 64)
"""Sizes of batches whose throughput is told."""
SINGLES = 20
"""Single answers of a round."""
_WARM_UP = 2
_FRESH_S = 120
_RAPL = Path("/sys/class/powercap")

_FRESH = """
import json, resource, sys, time
told = json.load(sys.stdin)
from sartor.model import load
model = load(told["path"])
model.predict(told["texts"][:1])
cold = time.time() - told["started"]
def peak():
    try:  # what getrusage tells on Linux begins with the memory of the process that started this one
        status = open("/proc/self/status").read()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
loaded = peak()
model.predict(told["texts"])
try:
    steady = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
except OSError:
    steady = None
print(json.dumps({"cold_start_s": cold, "peak_memory_mb": peak(), "steady_memory_mb": steady}))
"""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Answers in batches of one size."""

    batch: int
    per_second: float
    """Median over rounds."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one model's answers took."""

    latency_p50_ms: float
    """Of single answers, base loaded: the median over rounds of each round's median."""
    latency_spread_ms: tuple[float, float]
    """The lowest and the highest of the rounds' medians."""
    latency_p95_ms: float
    """Over all rounds' answers."""
    latency_p99_ms: float
    throughput: tuple[Throughput, ...]
    joules: float | None
    """Of the processor, an answer in the largest batch; None where the machine does not tell (RAPL)."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """What a process of its own takes; None where it could not be had."""

    cold_start_s: float | None = None
    """From the start of the interpreter to the first answer."""
    peak_memory_mb: float | None = None
    steady_memory_mb: float | None = None
    """After a batch of answers."""


def interleaved(
    answers: Sequence[Answer],
    texts: Sequence[str],
    *,
    rounds: int,
    batches: Sequence[int] = BATCHES,
    singles: int = SINGLES,
    progress: Progress = silent,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Time models that take turns; each round begins with another one.

    Args:
        answers: one for each model: the whole way of a request, with its base loaded.
        texts: like those to come; at least one.
        rounds: of turns.
        batches: sizes whose throughput is measured.
        singles: single answers of a round.
        progress: is told of every turn.
        clock: seconds.
    """
    for answer in answers:
        for text in itertools.islice(itertools.cycle(texts), _WARM_UP):
            answer([text])
    single_s = [list[list[float]]() for _ in answers]
    bulk_s = [{batch: list[float]() for batch in batches} for _ in answers]
    joules = [list[float]() for _ in answers]
    sample = list(itertools.islice(itertools.cycle(texts), max((*batches, singles))))
    for turn in range(rounds):
        for step in range(len(answers)):
            at = (turn + step) % len(answers)
            progress("measure", turn * len(answers) + step, rounds * len(answers))
            single_s[at].append([_timed(answers[at], [text], clock) for text in sample[:singles]])
            for batch in batches:
                before = _energy()
                bulk_s[at][batch].append(_timed(answers[at], sample[:batch], clock))
                if batch == max(batches) and before is not None and (after := _energy()) is not None:
                    joules[at].append(max(0.0, after - before) / batch)
    progress("measure", rounds * len(answers), rounds * len(answers))
    return [_timing(*found) for found in zip(single_s, bulk_s, joules, strict=True)]


def _timed(answer: Answer, texts: list[str], clock: Callable[[], float]) -> float:
    start = clock()
    answer(texts)
    return clock() - start


def _timing(single_s: list[list[float]], bulk_s: dict[int, list[float]], joules: list[float]) -> Timing:
    medians = [float(np.median(one)) * 1000 for one in single_s]
    every = np.concatenate(single_s) * 1000
    return Timing(
        latency_p50_ms=float(np.median(medians)),
        latency_spread_ms=(min(medians), max(medians)),
        latency_p95_ms=float(np.percentile(every, 95)),
        latency_p99_ms=float(np.percentile(every, 99)),
        throughput=tuple(Throughput(batch, batch / float(np.median(found))) for batch, found in bulk_s.items()),
        joules=float(np.median(joules)) if joules else None,
    )


def _energy() -> float | None:
    """Return the joules that the processors have taken so far; None where the machine does not tell."""
    try:
        counters = sorted(_RAPL.glob("intel-rapl:?/energy_uj"))
        return sum(int(counter.read_text()) for counter in counters) / 1e6 if counters else None
    except (OSError, ValueError):  # only an administrator may read it
        return None


def fresh_process(folder: Path, texts: Sequence[str]) -> Fresh:
    """Load the model in ``folder`` in a process of its own, and let it answer ``texts``."""
    told: dict[str, Any] = {"path": str(folder), "texts": list(texts), "started": time.time()}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _FRESH],
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=_FRESH_S,
            check=True,
        )
        return Fresh(**json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return Fresh()
