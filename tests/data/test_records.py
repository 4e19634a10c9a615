"""Rows of a table as JSON objects: what goes in comes out, and the target is found."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.data import records
from sartor.data.table import read_table
from sartor.errors import DataError
from sartor.types import Column, Columns

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(data=st.data(), header=st.lists(NAMES, min_size=1, max_size=5, unique=True))
def test_cells_come_out_as_they_went_in(data, header):
    rows = data.draw(st.lists(st.tuples(*[CELLS] * len(header)), max_size=4))
    inputs = [row.input for row in records.of_cells(header, rows, None)]
    assert [json.loads(text) for text in inputs] == [dict(zip(header, row, strict=True)) for row in rows]
    frame = records.frame_of(inputs, [Column(name, "number") for name in header])
    assert list(frame.columns) == header
    assert [tuple(row) for row in frame.itertuples(index=False, name=None)] == rows


@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=4), target=st.integers(0, 2))
def test_the_target_is_the_output_and_not_in_the_input(rows, target):
    header = ["a", "b", "c"]
    for row, example in zip(rows, records.of_cells(header, rows, target), strict=True):
        assert example.output == row[target].strip()
        assert list(json.loads(example.input)) == [name for name in header if name != header[target]]


@given(
    cells=st.lists(
        st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), CELLS), min_size=1
    )
)
def test_rows_of_a_frame_are_their_values(cells):
    frame = pd.DataFrame({"a": pd.Series(cells, dtype=object), "b": 1})
    told = [json.loads(text)["a"] for text in records.of_frame(frame)]
    for cell, back in zip(cells, told, strict=True):
        finite = not (isinstance(cell, float) and np.isinf(cell))
        assert back == (cell if finite else None)


def test_frames_of_any_type_are_read():
    frame = pd.DataFrame(
        {
            "n": np.array([1.5, np.nan]),
            "i": np.array([1, 2], dtype=np.int8),
            "t": pd.to_datetime(["2021-03-03", None]),
            "c": pd.Categorical(["x", None]),
            "b": [True, False],
            "text": ["はい", "a"],
        },
        index=[7, 3],
    )
    first, second = (json.loads(text) for text in records.of_frame(frame))
    assert first == {"n": 1.5, "i": 1, "t": "2021-03-03 00:00:00", "c": "x", "b": True, "text": "はい"}
    assert second == {"n": None, "i": 2, "t": None, "c": None, "b": False, "text": "a"}


# --- the target --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "found"),
    [("Failed", 2), ("failed", 1), ("ｐｒｉｃｅ", 3), (" Price ", 3), ("PRICE", 3)],
    ids=["its very name", "another very name", "width", "spaces", "case"],
)
def test_a_target_is_found_by_its_very_name_or_one_alike(asked, found):
    assert records.target_of(["a", "failed", "Failed", "price"], asked, "x.csv") == found


def test_a_name_that_could_be_two_is_refused():
    with pytest.raises(DataError, match="no column 'FAILED' to foretell"):
        records.target_of(["a", "failed", "Failed"], "FAILED", "x.csv")


@pytest.mark.parametrize("name", ["label", "Target", "ｃｌａｓｓ", "分類"])
def test_a_usual_name_need_not_be_said(name):
    assert records.target_of(["a", name, "b"], None, "x.csv") == 1


def test_a_target_that_cannot_be_told_is_asked_for():
    with pytest.raises(DataError, match=r"'a', 'b'.*--target"):
        records.target_of(["a", "b"], None, "x.csv")
    with pytest.raises(DataError, match="Did you mean 'price'"):
        records.target_of(["a", "price"], "prise", "x.csv")


def test_rows_with_a_blank_target_are_counted_in_files_and_frames(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,y\n1,no\n2,\n3, \n4,yes\n")
    rows = records.read_records(path, "y")
    assert [row.output for row in rows.examples] == ["no", "yes"]
    assert rows.target == "y"
    assert rows.source == "x.csv"
    assert "2 rows have nothing in the target column 'y' and were left out." in [note.text for note in rows.notes]
    frame = pd.DataFrame({"a": [1, 2, 3], "y": ["no", None, "yes"]})
    found = records.of_rows(frame, "y")
    assert [row.output for row in found.examples] == ["no", "yes"]
    assert [note.text for note in found.notes] == ["1 row has nothing in the target column 'y' and was left out."]
    with pytest.raises(DataError, match="empty in all 3 rows"):
        records.of_rows(frame.assign(y=None), "y")


def test_whole_numbers_of_a_frame_are_classes_without_a_fraction():
    frame = pd.DataFrame({"a": [1, 2, 3], "y": [0.0, 1.0, np.nan]})
    assert [row.output for row in records.of_rows(frame, "y").examples] == ["0", "1"]


def test_the_same_rows_have_the_same_hash():
    frame = pd.DataFrame({"a": [1, 2], "y": ["n", "y"]})
    assert records.of_rows(frame, "y").sha256 == records.of_rows(frame.copy(), "y").sha256
    assert records.of_rows(frame, "y").sha256 != records.of_rows(frame.assign(a=[1, 3]), "y").sha256


def test_two_columns_of_one_name_are_refused():
    frame = pd.DataFrame([[1, 2, "y"]], columns=["a", "a", "y"])
    with pytest.raises(DataError, match="more than one column called 'a'"):
        records.of_rows(frame, "y")
    with pytest.raises(DataError, match="more than one column called 'a'"):
        records.inputs_of(frame)


# --- what is given to a model ------------------------------------------------------------------------------


def test_rows_are_given_as_a_frame_dicts_or_text():
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    told = ['{"a":1,"b":"x"}', '{"a":2,"b":null}']
    assert records.inputs_of(frame) == told
    assert records.inputs_of([{"a": 1, "b": "x"}, {"a": 2, "b": None}]) == told
    assert records.inputs_of(told) == told
    assert records.inputs_of([]) == []


@pytest.mark.parametrize("row", ['{"a": 1}', {"a": 1}])
def test_one_row_is_no_list(row):
    with pytest.raises(DataError, match=r"model.predict\(\[row\]\)"):
        records.inputs_of(row)


@pytest.mark.parametrize("text", ["", "[1]", "3", '"a"', "null", '{"a": }', "plain words", '{"a": 1} x'])
def test_what_is_no_object_is_refused_with_a_sentence(text):
    with pytest.raises(DataError, match="A row of a table is a JSON object"):
        records.frame_of(['{"a": 1}', text])


def test_a_column_that_a_row_lacks_is_missing_there():
    frame = records.frame_of(['{"a": 1}', '{"b": 2}'])
    assert frame["a"].isna().tolist() == [False, True]
    assert records.frame_of([], [Column("a", "number"), Column("b", "text")]).shape == (0, 2)


# --- is it a table? ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "is_one"),
    [
        ("a,b,c\n1,2,x\n3,4,y\n", True),
        ('a,b,c\n"1,000",2,x\n,,\n', True),
        ("a,b,c\nq,r,1\ns,t,2\n", False),
        ("a,b\n1,2\n3,4\n", False),
        ("text,b,c\n1,2,3\n3,4,5\n", False),
        ("a,b,c\n,,\n,,\n", False),
    ],
)
def test_a_file_is_a_table_where_most_columns_are_numbers(tmp_path, content, is_one):
    path = tmp_path / "x.csv"
    path.write_text(content)
    assert records.looks_like_a_table(read_table(path), Columns()) is is_one
    assert not records.looks_like_a_table(read_table(path), Columns(input="a"))
