import sys

import pytest

from benchmarks import speed
from sartor.types import Example


def test_a_process_is_timed_and_weighed(tmp_path):
    ended = speed.child(
        [sys.executable, "-c", "import time; x = bytearray(80_000_000); time.sleep(.2); print('ok')"], tmp_path
    )
    assert ended.output == "ok\n"
    assert ended.seconds >= 0.2
    assert 80 < ended.peak_mb < 200


def test_a_process_that_fails_is_not_timed(tmp_path):
    with pytest.raises(RuntimeError, match="ended with 3: no such thing"):
        speed.child(
            [sys.executable, "-c", "import sys; print('no such thing', file=sys.stderr); sys.exit(3)"], tmp_path
        )


def test_synthesised_rows_keep_their_labels_and_hardly_repeat():
    rows = [Example(f"text {at}", str(at % 2)) for at in range(50)]
    found = speed.synthesise(rows, 200, seed=0)
    assert found == speed.synthesise(rows, 200, seed=0)
    labels = {row.input: row.output for row in rows}
    assert all(labels[row.input.rpartition(" ")[0]] == row.output for row in found)
    assert len({row.input for row in found}) > 150


def test_a_figure_is_the_median_with_its_extremes():
    figure = speed.Figure.of("latency", "ms", [3.0, 1.0, 9.0], texts=3)
    assert figure.row() == {
        "what": "latency",
        "unit": "ms",
        "value": 3.0,
        "least": 1.0,
        "most": 9.0,
        "repeats": 3,
        "texts": 3,
    }


def test_calls_are_repeated_after_one_that_does_not_count():
    calls = []
    assert len(speed.repeated(lambda: calls.append(1), 3)) == 3
    assert len(calls) == 4
