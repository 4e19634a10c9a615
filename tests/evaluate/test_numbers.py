"""The proof of values: figures against closed forms, p against every swap, verdicts and their sentences."""

import itertools
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from sartor.errors import DataError
from sartor.evaluate import numbers
from sartor.evaluate.numbers import Foretold, judge, prove_numbers, score_number_file, scores, to_report
from sartor.evaluate.render import number_lines, number_rows, to_html
from sartor.families.interface import Estimate, NumberControl
from sartor.types import Example, Requirement, Rows, from_json, to_json
from sartor.types import Report as ReportType

NEED = Requirement("tabular-regression", "m", "", (), "", "none", 0, target="price", unit="kg")
VALUES = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda value: round(value, 3))


def sure(values):
    return Estimate(np.array(values, dtype=float), np.array(values) - 1.0, np.array(values) + 1.0)


def noisy(n, scale, seed):
    return np.random.default_rng(seed).normal(0, scale, n)


# --- figures -----------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(pair=st.integers(3, 30).flatmap(lambda n: st.tuples(*[arrays(float, n, elements=VALUES)] * 2)))
def test_figures_are_those_of_scikit_learn(pair):
    right, told = pair
    if np.ptp(right) < 1:
        right = right + np.arange(len(right))
    found = scores(right, told)
    assert found.n == len(right)
    assert found.r2.value == pytest.approx(r2_score(right, told), rel=1e-9, abs=1e-9)
    assert found.mae == pytest.approx(mean_absolute_error(right, told))
    assert found.rmse == pytest.approx(root_mean_squared_error(right, told))
    assert found.r2.low <= found.r2.value <= found.r2.high


def test_the_interval_of_r2_holds_what_it_says():
    rng = np.random.default_rng(0)
    true = 1 - 0.25 / 1.25  # of values that are signal and noise
    held = 0
    for seed in range(100):
        signal = rng.normal(size=150)
        found = scores(signal + rng.normal(0, 0.5, 150), signal, seed=seed).r2
        held += found.low <= true <= found.high
    assert 85 <= held <= 100


def test_values_that_are_all_the_same_tell_nothing():
    same = np.full(12, 3.0)
    assert scores(same, same).r2.value == 0
    assert scores(same, same + 1).r2.value == 0
    assert np.isfinite(scores(same, same + 1).r2.low)


def test_the_same_seed_gives_the_same_intervals():
    right, told = noisy(40, 1, 0), noisy(40, 1, 1)
    assert scores(right, told, seed=4) == scores(right, told, seed=4)
    assert scores(right, told, seed=4) != scores(right, told, seed=5)


@settings(max_examples=25, deadline=None)
@given(differences=arrays(float, st.integers(1, 9), elements=st.floats(-10, 10, width=16)))
def test_p_is_near_that_of_all_swaps(differences):
    every = np.array(list(itertools.product([-1.0, 1.0], repeat=len(differences)))) @ differences
    exact = np.mean(np.abs(every) >= abs(differences.sum()) * (1 - 1e-12))
    assert numbers._swapped(differences, seed=0) == pytest.approx(exact, abs=0.07)


def test_no_difference_is_no_news():
    assert numbers._swapped(np.zeros(20), seed=0) == 1.0
    assert numbers._swapped(np.full(30, 1.0), seed=0) < 0.01


# --- the verdict -------------------------------------------------------------------------------------------


def judged(ours, *others, n=60, unit=""):
    """Judge errors of these sizes."""
    right = noisy(n, 3, 9)
    told = [Foretold(f"way {at}", f"Way {at}", right + noisy(n, size, at)) for at, size in enumerate(others)]
    return judge(right, sure(right + noisy(n, ours, 77)), told, unit=unit)


def test_better_worse_and_tie():
    found = judged(1.0, 0.1, 1.0, 6.0)
    assert [one.verdict for one in found.baselines] == ["worse", "tie", "better"]
    worse, _, better = found.baselines
    assert worse.difference.high < 0 < better.difference.low
    assert better.difference.value == pytest.approx(found.scores.r2.value - better.scores.r2.value)
    assert worse.p_value < 0.05
    assert better.p_value < 0.05


def test_the_headline_names_the_winner_then_the_equal_then_all():
    def line(found):
        return numbers.headline(found, where="on 60 rows")

    assert line(judged(1.0, 0.1, 1.0)).startswith("A baseline wins: Way 0 is better (R² ")
    assert "; no better than Way 0 on these rows (R² " in line(judged(1.0, 1.0, 6.0))
    assert line(judged(1.0, 6.0, 7.0)).endswith("; better than all 2 baselines")
    assert line(judged(1.0)).endswith("; compared with no baseline")
    assert " kg on average" in line(judged(1.0, 6.0, unit="kg"))
    assert numbers.headline(None, where="") == "Not proved: nothing was measured."
    told = numbers.headline(judged(1.0), where="on 60 rows", reasons=("too few", "too odd"))
    assert told.startswith("Not proved: too few; too odd. R² ")


def test_how_often_and_how_wide_intervals_are():
    right = np.arange(10.0)
    told = Estimate(right, right - 1, right + np.where(np.arange(10) < 8, 1, -0.5))
    found = judge(right, told, [])
    assert found.covered.value == pytest.approx(0.8)
    assert found.covered.low < 0.8 < found.covered.high
    assert found.width == pytest.approx(1.7)
    assert judge(right, Estimate(right, right, right), []).covered.value == 1.0


def test_nothing_to_judge_is_refused():
    with pytest.raises(DataError, match="no row to score"):
        judge(np.zeros(0), sure([]), [])


# --- a whole proof -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """Rows of one number."""

    values: np.ndarray

    def __len__(self):
        return len(self.values)

    def take(self, rows):
        return Column(self.values[rows])


class Line:
    """A family that draws a line through the rows, and remembers which rows it was made from."""

    def __init__(self):
        self.made_from = []

    def base(self, requirement):
        return SimpleNamespace()

    def encode(self, base, requirement, inputs, *, progress=None):
        return Column(np.array([float(text) for text in inputs]))

    def generate(self, requirement, support, values, *, seed):
        self.made_from.append(frozenset(support.values.tolist()))
        return {"line": np.polyfit(support.values, values, 1)}

    def predict(self, requirement, weights, features):
        values = np.polyval(weights["line"], features.values)
        return Estimate(values, values - 2, values + 2)

    def controls(self, requirement):
        def mean(requirement, support, values, features, seed):
            assert frozenset(support.values.tolist()).isdisjoint(features.values.tolist())
            return np.full(len(features), values.mean())

        return [NumberControl("mean", "The mean of the rows", mean)]


def proved(n, groups=None, seed=0):
    family, x = Line(), np.arange(float(n))
    values = 2 * x + noisy(n, 1, 3)
    told = []
    found = prove_numbers(
        family,
        NEED,
        Column(x),
        values,
        np.arange(n) if groups is None else groups,
        seed=seed,
        progress=lambda *step: told.append(step),
    )
    return family, found, told


def test_every_row_is_answered_by_a_model_made_without_it():
    family, found, told = proved(40)
    assert found.proved
    assert (found.protocol.kind, found.protocol.folds, found.protocol.rows) == ("cross-validation", 5, 40)
    assert len(family.made_from) == 5
    rows = set(range(40))
    left_out = [rows - made for made in family.made_from]
    assert sorted(itertools.chain.from_iterable(left_out)) == sorted(rows)
    assert found.numbers.scores.n == 40
    assert found.numbers.scores.r2.value > 0.99
    assert found.numbers.covered.value > 0.85
    assert "better than all 1 baselines" in found.headline
    assert told[-1] == ("evaluate", 10, 10)


def test_rows_of_one_group_are_never_parted():
    family, found, _ = proved(40, groups=np.arange(40) // 2)
    assert found.proved
    for made in family.made_from:
        assert all((row in made) == (row + 1 in made) for row in range(0, 40, 2))


@pytest.mark.parametrize("n", [0, 1, 3])
def test_too_few_rows_are_not_measured(n):
    _, found, _ = proved(n)
    assert not found.proved
    assert found.numbers is None
    assert found.protocol.kind == "none"
    report = to_report(found)
    assert report.headline.startswith("Not proved: ")
    assert [note.level for note in report.notes] == ["warning"]
    assert number_rows(report) == []
    assert number_lines(report) == []


def test_few_rows_are_measured_and_not_proved():
    _, found, _ = proved(9)
    assert found.numbers is not None
    assert not found.proved
    assert found.headline.startswith("Not proved: 9 different rows are too few; give at least 10. R² ")


def test_many_rows_are_held_out_once(monkeypatch):
    monkeypatch.setattr(numbers, "MOST_ROWS_FOLDED", 50)
    family, found, _ = proved(100)
    assert (found.protocol.kind, found.protocol.rows) == ("holdout", 20)
    assert len(family.made_from) == 1
    assert found.numbers.scores.n == 20


def test_a_report_is_the_same_after_json():
    report = to_report(proved(40)[1], seconds={"load": 1.0})
    assert from_json(to_json(report), ReportType) == report
    rows = number_rows(report)
    assert [row[0] for row in rows] == ["this model", "The mean of the rows"]
    assert rows[1][-1] == "better"
    [line] = number_lines(report)
    assert line.startswith("Intervals are 4 kg wide and are to hold 90% of the right values; they held ")
    assert line.split(";")[0] + ";" in to_html(report)


# --- a file of rows ----------------------------------------------------------------------------------------


def rows_of(x, values, sha256="aa"):
    return Rows([Example(str(a), str(b)) for a, b in zip(x, values, strict=True)], (), sha256, "test.csv")


def test_a_file_is_scored_with_the_stored_weights():
    family, x = Line(), np.arange(30.0)
    rows, values = rows_of(x, 2 * x + 1), 2 * x + 1
    weights = {"line": np.array([2.0, 0.0])}
    report = score_number_file(family, None, NEED, weights, rows, values, trained_on="bb")
    assert report.proved
    assert report.protocol.kind == "test-file"
    assert report.numbers.scores.mae == pytest.approx(1.0)
    assert report.numbers.baselines == ()
    assert "on 30 rows of test.csv" in report.headline
    assert family.made_from == []


def test_what_a_model_was_made_from_makes_the_baselines():
    x, known = np.arange(30.0), np.arange(100.0, 140.0)
    made_from = (rows_of(known, 2 * known, "bb"), 2 * known)
    report = score_number_file(
        Line(), None, NEED, {"line": np.array([2.0, 0.0])}, rows_of(x, 2 * x), 2 * x, made_from=made_from
    )
    [mean] = report.numbers.baselines
    assert mean.verdict == "better"
    assert mean.scores.mae == pytest.approx(np.abs(2 * known.mean() - 2 * x).mean())


def test_the_very_rows_and_too_few_prove_nothing():
    x = np.arange(30.0)
    line = {"line": np.array([2.0, 0.0])}
    same = score_number_file(Line(), None, NEED, line, rows_of(x, 2 * x), 2 * x, trained_on="aa")
    assert same.headline.startswith("Not proved: the model was made from these very rows")
    few = score_number_file(Line(), None, NEED, line, rows_of(x[:5], 2 * x[:5]), 2 * x[:5], trained_on="bb")
    assert few.headline.startswith("Not proved: 5 different rows are too few")
    assert not same.proved
    assert not few.proved


def test_a_file_without_values_is_refused():
    rows = Rows([Example("1"), Example("2")])
    with pytest.raises(DataError, match="None of the 2 rows has a label"):
        score_number_file(Line(), None, NEED, {"line": np.array([2.0, 0.0])}, rows, np.zeros(0))
