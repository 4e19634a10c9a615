"""Models take turns, medians count."""

import pytest

from sartor.evaluate import timing
from sartor.evaluate.timing import Fresh, fresh_process, interleaved


class Clock:
    """Stands still but for what a model is told to take."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_rounds_take_turns_and_medians_count():
    clock, turns = Clock(), []

    def model(name, seconds):
        calls = iter(seconds)

        def answer(texts):
            turns.append(name)
            clock.now += next(calls) * len(texts)

        return answer

    slow_once = [9, 9, *[0.001] * 4, *[0.5] * 4, *[0.001] * 4]
    a, b = model("a", slow_once), model("b", [0.002] * 14)
    first, second = interleaved([a, b], ["x", "y"], rounds=3, batches=(1, 2), singles=2, clock=clock)
    assert "".join(turns[4:]) == "aaaabbbb" + "bbbbaaaa" + "aaaabbbb"
    assert first.latency_p50_ms == pytest.approx(1)
    assert first.latency_spread_ms == pytest.approx((1, 500))
    assert first.latency_p99_ms > 490
    assert [(one.batch, round(one.per_second)) for one in first.throughput] == [(1, 1000), (2, 1000)]
    assert second.latency_p95_ms == pytest.approx(2)
    assert [round(one.per_second) for one in second.throughput] == [500, 500]


def test_joules_are_told_where_the_machine_tells_them(tmp_path, monkeypatch):
    (tmp_path / "intel-rapl:0").mkdir()
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    counter.write_text("1000000")
    monkeypatch.setattr(timing, "_RAPL", tmp_path)

    def answer(texts):
        counter.write_text(str(int(counter.read_text()) + 3_000_000 * len(texts)))

    [found] = interleaved([answer], ["x"], rounds=1, batches=(4,), singles=1)
    assert found.joules == pytest.approx(3)


def test_no_joules_where_nobody_may_read_them(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "_RAPL", tmp_path)
    [found] = interleaved([lambda texts: None], ["x"], rounds=1, batches=(1,), singles=1)
    assert found.joules is None


@pytest.mark.parametrize("program", ["raise SystemExit(1)", "print('no JSON')", ""])
def test_a_process_that_cannot_load_the_model_leaves_its_figures_open(tmp_path, monkeypatch, program):
    monkeypatch.setattr(timing, "_FRESH", program)
    assert fresh_process(tmp_path, ["x"]) == Fresh()


def test_a_fresh_process_tells_its_memory_and_its_cold_start(tmp_path, monkeypatch):
    stub = "import types,sys\nm=types.ModuleType('sartor.model')\n"
    stub += "m.load=lambda path: types.SimpleNamespace(predict=lambda texts: texts)\nsys.modules['sartor.model']=m\n"
    monkeypatch.setattr(timing, "_FRESH", stub + timing._FRESH)
    found = fresh_process(tmp_path, ["x", "y"])
    assert 0 < found.cold_start_s < 60
    assert 1 < found.peak_memory_mb < 1000
    assert found.steady_memory_mb <= found.peak_memory_mb + 1
