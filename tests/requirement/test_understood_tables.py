"""What is understood of a table, and said of it."""

import pytest

from sartor.data import records
from sartor.errors import DataError, TaskError
from sartor.requirement import tables
from sartor.requirement.heuristic import understand
from sartor.requirement.tables import CLASSES, VALUES
from sartor.types import Example, Limits, Rows, Task

TASK = Task("Tell y", target="y")


def rows_of(outputs, columns=None):
    """Rows of a number and a word, with these targets."""
    cells = columns or [[str(at * 1.7 % 11), "red" if at % 3 else "blue"] for at in range(len(outputs))]
    header = [*("a", "b", "c", "d")[: len(cells[0])], "y"]
    examples = records.of_cells(header, [(*row, str(y)) for row, y in zip(cells, outputs, strict=True)], len(cells[0]))
    return Rows(examples, (), "00", "x.csv", "y")


def told(outputs, task=TASK, columns=None):
    return understand(task, rows_of(outputs, columns), name="model")


def test_spellings_of_a_class_are_made_one_where_that_is_asked_for():
    outputs = ["yes", "Yes", "yes", "no"] * 8
    assert [label.name for label in told(outputs).requirement.labels] == ["Yes", "no", "yes"]
    merged = understand(TASK, rows_of(outputs, None), name="model", merge_labels=True)
    assert [(label.name, label.rows) for label in merged.requirement.labels] == [("no", 8), ("yes", 24)]


def test_rows_without_a_target_are_told_not_to_be_read():
    plain = Rows([Example('{"a": "1"}')])
    found = understand(TASK, rows_of(["yes", "no"] * 15, None), name="model", unlabelled=plain)
    assert "not read" in said(found, "unlabelled")
    assert not said(told(["yes", "no"] * 15), "unlabelled")


def said(found, topic):
    return " ".join(note.text for note in found.requirement.notes if note.topic == topic)


@pytest.mark.parametrize(
    ("outputs", "kind", "why"),
    [
        (["yes", "no"] * 15, CLASSES, "made of words"),
        ([0, 1] * 15, CLASSES, "takes only 2 whole values"),
        (list(range(10)) * 3, CLASSES, "takes only 10 whole values"),
        (list(range(11)) * 3, VALUES, "takes 11 values"),
        ([0.5, 1.5] * 15, VALUES, "takes 2 values"),
        ([f"{at}.5 km" for at in range(30)], VALUES, "takes 30 values"),
        ([f"¥{at},000" for at in range(1, 31)], VALUES, "takes 30 values"),
    ],
)
def test_words_and_few_whole_numbers_are_classes_other_numbers_values(outputs, kind, why):
    found = told(outputs)
    assert found.requirement.family == kind
    assert why in said(found, "kind")


def test_the_task_overrides_what_was_told():
    assert told([0, 1] * 15, Task("t", kind=VALUES, target="y")).requirement.family == VALUES
    assert told(list(range(15)) * 2, Task("t", kind=CLASSES, target="y")).requirement.family == CLASSES
    listed = Task("t", labels={str(at): "" for at in range(15)}, target="y")
    assert told(list(range(15)) * 2, listed).requirement.family == CLASSES


def test_a_requirement_says_what_is_read_and_stands_on_no_base():
    limits = Limits(max_latency_ms=5)
    need = told([f"{at}.5 km" for at in range(30)], Task("How far", target="y", name="far", limits=limits)).requirement
    assert (need.name, need.base, need.language, need.target, need.unit) == ("far", "none", "", "y", "km")
    assert [(column.name, column.kind) for column in need.columns] == [("a", "number"), ("b", "category")]
    assert need.limits == limits
    assert need.labels == ()


def test_classes_are_counted_and_sorted():
    labels = told(["b", "a", "a"] * 10).requirement.labels
    assert [(label.name, label.rows) for label in labels] == [("a", 20), ("b", 10)]


def test_levels_that_one_row_carries_are_not_named():
    cells = [[str(at % 7), "red" if at % 3 else "blue"] for at in range(30)]
    cells[4][1] = "secret"
    need = told(["yes", "no"] * 15, columns=cells).requirement
    assert "secret" not in str(need)
    assert need.columns[1].levels == ("red", "blue")


def test_texts_are_read_by_a_base_of_their_language():
    cells = [[str(at % 7), f"a long remark about the part number {at}"] for at in range(30)]
    understood = told(["yes", "no"] * 15, columns=cells)
    assert "'b' is free text, read by the base all-minilm-l6-v2." in said(understood, "columns")
    assert understood.requirement.base == "all-minilm-l6-v2"


def test_where_there_is_no_text_there_is_no_base():
    assert told(["yes", "no"] * 15).requirement.base == "none"


@pytest.mark.parametrize(("n", "level"), [(6, "warning"), (40, "info")])
def test_few_rows_are_warned_of(n, level):
    [note] = [note for note in told(["yes", "no"] * (n // 2)).requirement.notes if note.topic == "rows"]
    assert note.level == level
    assert str(n) in note.text


@pytest.mark.parametrize(
    ("outputs", "task", "columns", "sentence"),
    [
        (["x"] * 20, TASK, None, "'x' in every row"),
        ([f"word {at}" for at in range(60)], TASK, None, "60 different values in 60 rows"),
        (["1.5", "2.5"] * 20 + ["inf"], TASK, None, "in 1 of 41 rows, as in 'inf'"),
        (["a", "b"] * 10, Task("t", kind=VALUES, target="y"), None, "'a' is none"),
        (["a", "b"] * 10, TASK, [["1", ""]] * 20, "No column says anything of 'y'"),
        (["a", "b"] * 10, TASK, [[]] * 20, "no column to tell 'y' from"),
    ],
)
def test_what_no_model_can_be_made_of_is_refused(outputs, task, columns, sentence):
    with pytest.raises(DataError, match=sentence):
        told(outputs, task, columns)


@pytest.mark.parametrize("rows", [None, Rows([], (), "", "", "y")])
def test_a_table_is_made_from_rows(rows):
    with pytest.raises(TaskError, match="--examples"):
        understand(TASK, rows, name="model")


def test_values_and_their_unit():
    rows = rows_of(["1.5 kg", "2,000 kg", "3kg"])
    values, unit = tables.values_of(rows.examples, "y")
    assert values.tolist() == [1.5, 2000, 3]
    assert unit == "kg"
    with pytest.raises(DataError, match="'y' is to be a number, but 'a few' is none"):
        tables.values_of(rows_of(["1", "a few", "many"]).examples, "y")
