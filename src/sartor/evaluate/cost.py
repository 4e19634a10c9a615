"""What an answer costs on this machine: time, memory, size."""

import itertools
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sartor.errors import DataError
from sartor.types import Cost

Answer: TypeAlias = Callable[[Sequence[str]], Any]
"""Texts in, answers out; what they are does not matter here."""

_WARM_UP_CALLS = 2
_SINGLE_CALLS = 40
_LEAST_CALLS = 10
"""Fewer would make the p95 that a gate reads the whim of one call; a slow answer may take five budgets for them."""
_BULK = 64


def measure_cost(
    answer: Answer,
    sample_texts: Sequence[str],
    size_bytes: int,
    n_parameters: int,
    *,
    threads: int | None = None,
    seconds: float = 1.5,
) -> Cost:
    """Time ``answer`` on some texts, first one by one (40 at most), then in bulk.

    Ten single calls are made if five times the budget allows for them; one is always waited for.

    Args:
        answer: the whole way of one request, tokenising included, with the base loaded.
        sample_texts: texts like those to come.
        size_bytes: of the bundle's files.
        n_parameters: of the target.
        threads: how many threads ``answer`` may use, for the line about the machine.
        seconds: that each of the two may take.

    Raises:
        DataError: when there is no text to answer.
    """
    if not sample_texts:
        raise DataError("Cannot measure what an answer costs without a text; give at least one.")
    for text in itertools.islice(itertools.cycle(sample_texts), _WARM_UP_CALLS):
        answer([text])
    singles = _time_singles(answer, sample_texts, seconds)
    p50, p95 = (float(ms) for ms in np.percentile(singles, [50, 95]) * 1000)
    return Cost(
        latency_p50_ms=p50,
        latency_p95_ms=p95,
        texts_per_second=_bulk_rate(answer, sample_texts, seconds, seconds_each=p50 / 1000),
        peak_memory_mb=peak_memory_mb(),
        size_bytes=size_bytes,
        n_parameters=n_parameters,
        machine=machine(threads),
    )


def peak_memory_mb() -> float:
    """Return the largest resident size of this process so far, in MB (1e6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return peak * unit / 1e6


def machine(threads: int | None = None) -> str:
    """Return one line about this machine: processor, cores, and the threads in use when given."""
    parts = [_processor(), f"{os.cpu_count() or 1} cores"]
    return ", ".join(parts if threads is None else [*parts, f"{threads} threads"])


def _time_singles(answer: Answer, texts: Sequence[str], budget: float) -> list[float]:
    """Return the seconds of each call with one text, until the calls or the time are used up."""
    seconds: list[float] = []
    begin = time.perf_counter()
    for text in itertools.islice(itertools.cycle(texts), _SINGLE_CALLS):
        start = time.perf_counter()
        answer([text])
        seconds.append(time.perf_counter() - start)
        allowed = budget if len(seconds) >= _LEAST_CALLS else 5 * budget
        if time.perf_counter() - begin >= allowed:
            break
    return seconds


def _bulk_rate(answer: Answer, texts: Sequence[str], budget: float, *, seconds_each: float) -> float:
    """Return texts per second in batches that the time surely allows for."""
    size = _BULK if seconds_each * _BULK <= budget else max(1, int(budget / seconds_each))
    endless = itertools.cycle(texts)
    done, start = 0, time.perf_counter()
    while True:
        answer(list(itertools.islice(endless, size)))
        done += size
        if (elapsed := time.perf_counter() - start) >= budget:
            return done / elapsed


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()
