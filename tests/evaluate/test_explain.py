"""What a model of a table looks at: the column that matters is found, nothing is made up of others."""

from itertools import permutations

import numpy as np
import pytest
import torch

import table_models
from sartor.errors import DataError, NotFoundError
from sartor.evaluate import explain
from sartor.evaluate.explain import Part, Subject
from sartor.nn.table_coder import Cells
from sartor.requirement import tables
from sartor.types import Column, from_json, to_json


@pytest.fixture(scope="module", params=tables.KINDS)
def model(request):
    """A model of either kind, the rows it was made from and their targets."""
    need, weights, cells, targets = table_models.made(request.param)
    return table_models.subject(request.param, need, weights), cells, targets


def given_by(function, width, labels=()):
    """Return a subject that answers by a function of (N, M) numbers."""
    parts = tuple(Part(Column(f"x{at}", "number"), (at,), (), 1 / width, True) for at in range(width))
    return Subject(lambda cells: function(cells.numbers_NM), parts, labels, {})


def numbers(n, width, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, width))
    return Cells(values, np.zeros((n, 0), dtype=np.int64))


def by_name(found):
    return {one.column: one for one in found}


# --- scales


def test_scales_sum_to_one_and_the_column_that_tells_is_let_in_most(model):
    found = by_name(explain.scales(model[0]))
    assert list(found) == ["a", "b", "side", "day", "same", "gaps"]
    assert sum(one.scale for one in found.values()) == pytest.approx(1)
    assert max(found.values(), key=lambda one: one.scale).column == "a"
    assert found["same"].scale == 0
    assert found["same"].why == "every cell is the same"
    assert found["a"].why == ""


def test_a_constant_model_lets_nothing_in_and_depends_on_nothing(model):
    need, _, cells, targets = table_models.made(tables.VALUES, 20)
    subject = table_models.subject(tables.VALUES, need, {"constant": torch.tensor(3.0, dtype=torch.float64)})
    assert {one.scale for one in explain.scales(subject)} == {0.0}
    assert {one.loss.value for one in explain.importance(subject, cells, targets).columns} == {0.0}
    found = explain.contributions(subject, cells.take(np.array([0])), cells)
    assert (found.answer, found.usual) == (3.0, 3.0)
    assert {one.change for one in found.columns} == {0.0}
    assert {point.answers for point in explain.dependence(subject, subject.parts[0], cells).points} == {(3.0,)}


# --- importance


def test_importance_finds_the_column_that_matters_and_nothing_in_a_constant_one(model):
    subject, cells, targets = model
    found = explain.importance(subject, cells, targets)
    worth = {name: one.loss for name, one in by_name(found.columns).items()}
    assert max(worth, key=lambda name: worth[name].value) == "a"
    assert worth["a"].low > 5 * abs(worth["b"].value)
    assert (worth["same"].value, worth["same"].low, worth["same"].high) == (0, 0, 0)
    accuracy = by_name(found.columns)["a"].accuracy
    assert (accuracy is not None and accuracy.low > 0.2) if subject.labels else accuracy is None
    assert found.measure == ("log-loss" if subject.labels else "R2")


def test_importance_of_a_sum_is_what_theory_says():
    # R2 falls by 2 var(w x) / var(y) when x is shuffled among rows, whatever else there is
    cells = numbers(1000, 3)
    values = cells.numbers_NM @ np.array([2.0, 1.0, 0.0])
    found = explain.importance(given_by(lambda x: x @ np.array([[2.0], [1.0], [0.0]]), 3), cells, values)
    assert found.score == pytest.approx(1)
    for one, wanted in zip(found.columns, (2 * 4 / 5, 2 * 1 / 5, 0.0), strict=True):
        assert one.loss.low - 1e-9 <= wanted <= one.loss.high + 1e-9
        assert one.loss.high - one.loss.low < 0.25


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    subject = given_by(lambda x: x @ np.array([[1.0], [1.0]]), 2)
    held = 0
    for seed in range(100):
        cells = numbers(60, 2, seed)
        noise = np.random.default_rng([seed, 1]).normal(size=60)
        found = explain.importance(subject, cells, cells.numbers_NM.sum(axis=1) + noise, seed=seed).columns[0].loss
        held += found.low <= 2 / 3 <= found.high  # 2 var(x) / var(y)
    assert 88 <= held <= 100


def test_no_row_keeps_its_own_cell_and_each_cell_is_given_once():
    donors = explain._donors(30, 0)
    assert (donors != np.arange(30)).all()
    assert (np.sort(donors, axis=1) == np.arange(30)).all()
    assert len({tuple(one) for one in donors}) == explain.SHUFFLES


def test_too_few_rows_and_values_that_do_not_vary_are_refused(model):
    subject, cells, targets = model
    with pytest.raises(DataError, match="10 labelled rows or more; got 9"):
        explain.importance(subject, cells.take(np.arange(9)), targets[:9])
    if not subject.labels:
        with pytest.raises(DataError, match="one and the same value"):
            explain.importance(subject, cells, np.ones(len(cells)))


def test_of_many_rows_a_sample_is_shuffled(monkeypatch):
    monkeypatch.setattr(explain, "MOST_SHUFFLED", 50)
    cells = numbers(200, 1)
    assert explain.importance(given_by(lambda x: x, 1), cells, cells.numbers_NM[:, 0]).rows == 50


# --- dependence


def test_dependence_is_the_mean_answer_with_the_column_set():
    cells = numbers(40, 2)
    subject = given_by(lambda x: x[:, :1] ** 2 + x[:, 1:], 2)
    found = explain.dependence(subject, subject.parts[0], cells)
    assert len(found.points) == 12
    for point in found.points:
        assert point.number in cells.numbers_NM[:, 0]
        assert point.answers[0] == pytest.approx(point.number**2 + cells.numbers_NM[:, 1].mean())
    assert [point.number for point in found.points] == sorted(point.number for point in found.points)


def test_dependence_of_every_kind_of_column(model):
    subject, cells, _ = model
    found = {part.column.name: explain.dependence(subject, part, cells) for part in subject.parts if part.read}
    assert "same" not in found
    rising = [point.answers[-1] for point in found["a"].points]
    assert rising[-1] - rising[0] > 0.5
    assert [point.value for point in found["side"].points] == list(subject.part("side").column.levels)
    assert [point.value for point in found["gaps"].points] == ["0", "1", "2", "3", "4", "5", "6", ""]
    assert found["gaps"].points[-1].number is None
    days = [point.value for point in found["day"].points]
    assert len(days) == 12
    assert days == sorted(days)
    assert all(day.startswith("2021-") and len(day) == 10 for day in days)
    if subject.labels:
        assert all(sum(point.answers) == pytest.approx(1) for one in found.values() for point in one.points)


def test_a_column_goes_by_its_name_and_one_that_is_not_read_is_refused(model):
    assert model[0].part("SIDE ").column.name == "side"
    with pytest.raises(NotFoundError, match=r"no column 'sidee'\. Did you mean 'side'\?"):
        model[0].part("sidee")
    with pytest.raises(DataError, match=r"'same' is not read \(every cell is the same\)"):
        model[0].part("same")


# --- contributions


def test_contributions_sum_to_the_answer_less_the_usual_one(model):
    subject, cells, _ = model
    for at in (0, 7, 41):
        found = explain.contributions(subject, cells.take(np.array([at])), cells)
        assert sum(one.change for one in found.columns) == pytest.approx(found.answer - found.usual, abs=1e-5)
        assert found.columns[0].column == "a"
        assert found.rows == explain.MOST_WALKED
        assert [abs(one.change) for one in found.columns] == sorted(
            (abs(o.change) for o in found.columns), reverse=True
        )


def test_contributions_of_a_label_are_of_the_likeliest():
    def answer(x):
        one = 1 / (1 + np.exp(-x[:, :1]))
        return np.concatenate([one, 1 - one], axis=1)

    row = Cells(np.array([[-3.0, 0.0]]), np.zeros((1, 0), dtype=np.int64))
    found = explain.contributions(given_by(answer, 2, ("up", "down")), row, numbers(30, 2))
    assert found.label == "down"
    assert found.answer == pytest.approx(1 / (1 + np.exp(-3)))
    assert found.columns[0].change > 0.3
    assert found.columns[1].change == pytest.approx(0, abs=1e-12)


def test_contributions_are_shapley_values():
    # three columns: all six orders by hand, from every other row
    def function(x):
        return (x[:, 0] * x[:, 1] + np.maximum(x[:, 2], x[:, 0]))[:, None]

    others, row = numbers(5, 3), numbers(1, 3, seed=9)
    wanted = np.zeros(3)
    for start in others.numbers_NM:
        for order in permutations(range(3)):
            at, before = start.copy(), function(start[None])[0, 0]
            for column in order:
                at[column] = row.numbers_NM[0, column]
                after = function(at[None])[0, 0]
                wanted[column] += (after - before) / 30
                before = after
    found = by_name(explain.contributions(given_by(function, 3), row, others).columns)
    for column, one in enumerate(found[f"x{at}"] for at in range(3)):
        assert abs(one.change - wanted[column]) < 4 * one.error + 1e-9
        assert 0 < one.error < 0.2


def test_of_a_sum_contributions_are_exact_and_without_error():
    others, row = numbers(100, 2), numbers(1, 2, seed=3)
    subject = given_by(lambda x: x @ np.array([[2.0], [-1.0]]), 2)
    found = explain.contributions(subject, row, others, seed=5)
    used = others.take(explain._sample(100, explain.MOST_WALKED, 5)).numbers_NM.mean(axis=0)
    wanted = (row.numbers_NM[0] - used) * [2, -1]
    assert [by_name(found.columns)[f"x{at}"].change for at in range(2)] == pytest.approx(wanted.tolist())
    assert max(one.error for one in found.columns) < 1e-12


# --- all


def test_the_same_seed_gives_the_same_and_another_does_not(model):
    subject, cells, targets = model

    def found(seed):
        row = cells.take(np.array([3]))
        return (
            explain.importance(subject, cells, targets, seed=seed),
            explain.contributions(subject, row, cells, seed=seed),
        )

    assert found(1) == found(1)
    assert all(one != other for one, other in zip(found(1), found(2), strict=True))


def test_what_is_found_is_json_and_comes_back(model):
    subject, cells, targets = model
    found = explain.Explanation(
        model="id",
        name="name",
        target="y",
        labels=subject.labels,
        unit="",
        shares=subject.shares,
        scales=explain.scales(subject),
        rows=len(cells),
        middle=explain.middle(subject, cells),
        importance=explain.importance(subject, cells, targets),
        dependence=(explain.dependence(subject, subject.parts[0], cells),),
        contributions=explain.contributions(subject, cells.take(np.array([0])), cells),
    )
    assert all(low < high for low, high in found.middle)
    assert from_json(to_json(found), explain.Explanation) == found
    assert next(explain.most_telling(found, 1)) == "a"
    assert "same" not in list(explain.most_telling(found, 6))


def test_rows_are_not_changed(model):
    subject, cells, targets = model
    numbers, codes = cells.numbers_NM.copy(), cells.codes_NG.copy()
    explain.importance(subject, cells, targets)
    explain.contributions(subject, cells.take(np.array([0])), cells)
    assert np.array_equal(cells.numbers_NM, numbers, equal_nan=True)
    assert np.array_equal(cells.codes_NG, codes)
