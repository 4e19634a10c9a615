import subprocess
import sys
import time

import pytest

from sartor.errors import DataError
from sartor.evaluate.cost import machine, measure_cost


def test_a_cost_is_positive_and_in_order():
    asked = []
    cost = measure_cost(lambda texts: asked.append(len(texts)), ["a", "b", "c"], 1200, 30, threads=2, seconds=0.1)
    assert 0 < cost.latency_p50_ms <= cost.latency_p95_ms
    assert cost.texts_per_second > 0
    assert cost.peak_memory_mb > 5
    assert (cost.size_bytes, cost.n_parameters) == (1200, 30)
    assert cost.machine.endswith("2 threads")
    assert asked.count(1) <= 42
    assert max(asked) == 64


def test_a_slow_answer_is_asked_few_times():
    asked = []

    def answer(texts):
        asked.append(len(texts))
        time.sleep(0.05 * len(texts))

    cost = measure_cost(answer, ["a"], 1, 1, seconds=0.3)
    assert asked.count(1) <= 2 + 10 + 6
    assert sum(asked) <= 2 + 10 + 12
    assert cost.latency_p50_ms >= 50


def test_without_a_text_there_is_nothing_to_measure():
    with pytest.raises(DataError, match="without a text"):
        measure_cost(len, [], 1, 1)


def test_memory_that_was_touched_counts():
    # a process of its own, started by a small one: the kernel hands a child its parent's peak, and ours may be large
    script = (
        "from sartor.evaluate.cost import peak_memory_mb as peak\n"
        "before = peak()\n"
        "touched = bytearray(b'x' * 300_000_000)\n"
        "print(peak() - before)"
    )
    small = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    grown = subprocess.run([sys.executable, "-c", small, script], check=True, capture_output=True, text=True).stdout
    assert 200 < float(grown) < 1000


def test_the_machine_names_its_cores():
    assert "cores" in machine()
    assert "threads" not in machine()
