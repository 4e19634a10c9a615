"""Columns of raw tables: which is what, learned from rows, stored as JSON, applied to new ones."""

import datetime
import json
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.data.columns import as_frame, learn, numbers_of, parse
from sartor.data.table import Table
from sartor.errors import DataError
from sartor.types import Column, from_json, to_json

ROWS = 40
RNG = np.random.default_rng(0)


def learned(values, name="x", **others):
    """Return the column learned from these cells, and all warnings."""
    columns, notes = learn(as_frame({name: values, **others}))
    return columns[0], " ".join(note.text for note in notes if note.level == "warning")


def kind(values, name="x"):
    return learned(values, name)[0].kind


def numbers(values, name="x"):
    """Return what the cells of a column are as numbers, by the names of its parts."""
    frame = as_frame({name: values})
    columns, _ = learn(frame)
    cells, _ = parse(frame, columns)
    return {part: column.tolist() for part, column in zip(cells.number_names, cells.numbers.T, strict=True)}


def of_new(rows, new, name="x"):
    columns, _ = learn(as_frame({name: rows}))
    return parse(as_frame({name: new}), columns)


def warnings_of(notes):
    return " ".join(note.text for note in notes if note.level == "warning")


# --- anything -> a frame


def test_a_frame_keeps_order_and_holds_objects_under_names_that_are_strings():
    table = Table(("b", "a"), [("1", "x"), ("2", "")])
    assert as_frame(table).to_dict("list") == {"b": ["1", "2"], "a": ["x", ""]}
    given = pd.DataFrame({3: [1, 2], "c": pd.Categorical(["u", "v"])}, index=[7, 9])
    frame = as_frame(given)
    assert list(frame.columns) == ["3", "c"]
    assert list(frame.index) == [0, 1]
    assert set(frame.dtypes) == {np.dtype(object)}
    assert list(given.columns) == [3, "c"], "what was given is left alone"
    assert list(as_frame({"z": [[1], [2]], "y": np.array([1.0, 2.0])}).columns) == ["z", "y"]


def test_no_rows_and_no_columns_are_frames_too():
    assert as_frame(Table(("a", "b"), [])).shape == (0, 2)
    assert as_frame({}).shape == (0, 0)
    frame = as_frame({"a": []})
    columns, _ = learn(frame)
    assert columns == (Column("a", "ignored", why="every cell is missing"),)
    assert parse(frame, columns)[0].numbers.shape == (0, 0)


@pytest.mark.parametrize("names", [["a", "a", "b"], [1, "1", "b"]])
def test_a_name_that_comes_twice_is_refused(names):
    frame = pd.DataFrame([[1, 2, 3]])
    frame.columns = pd.Index(names, dtype=object)
    with pytest.raises(DataError, match=rf"more than one column called '{names[0]}'"):
        as_frame(frame)


def test_columns_of_different_length_or_none_are_refused():
    with pytest.raises(DataError, match="'a' 2, 'b' 1"):
        as_frame({"a": [1, 2], "b": [1]})
    with pytest.raises(DataError, match="not a sequence"):
        as_frame({"a": "xyz"})


# --- missing


MISSING = [
    *("", "  ", "NA", "n/a", "N/A", "null", "None", "nan", "NaN", "-", "--", "?", ".", "missing", "unknown"),
    *("不明", "なし", "欠損", "#N/A", "#VALUE!", "#DIV/0!", "ＮＡ", "－", "？", "\u3000", "#ＤＩＶ/０！", "ー"),
    *(pd.NA, pd.NaT, None, math.nan, Decimal("NaN"), Decimal("sNaN"), np.float32("nan")),
]


@pytest.mark.parametrize("missing", MISSING)
def test_every_spelling_of_a_missing_value(missing):
    assert numbers(["5", missing, "7.5"])["x"] == pytest.approx([5, math.nan, 7.5], nan_ok=True)


def test_missing_cells_of_a_category_have_the_code_of_none():
    frame = as_frame({"x": ["red", "blue", "-", None, "red", "blue", "red", "N/A", "unknown", "unknown"]})
    columns, _ = learn(frame)
    assert columns == (Column("x", "category", levels=("red", "blue", "unknown")),)
    assert parse(frame, columns)[0].codes[:, 0].tolist() == [0, 1, -1, -1, 0, 1, 0, -1, 2, 2]


# --- numbers


@pytest.mark.parametrize(
    ("cells", "values", "unit", "decimal"),
    [
        (["12,5 kg", "3 kg"], [12.5, 3], "kg", ","),
        (["¥1,200", "￥3,400"], [1200, 3400], "¥", "."),
        (["1200円", "¥5"], [1200, 5], "¥", "."),
        (["35 %", "4%"], [35, 4], "%", "."),
        (["１２３", "４．５"], [123, 4.5], "", "."),
        (["1.234,56", "2,5"], [1234.56, 2.5], "", ","),
        (["0,5", "1.000", "1e3"], [0.5, 1000, 1000], "", ","),
        (["(1,200)", "300"], [-1200, 300], "", "."),
        (["($1,200.50)", "$3"], [-1200.5, 3], "$", "."),
        (["▲500", "△1,000", "−2", "¥−3"], [-500, -1000, -2, -3], "¥", "."),
        (["1e5", "-2E-3", "+.5", "5."], [1e5, -2e-3, 0.5, 5], "", "."),
        (["1'234.5", "1 234 567", "2\u00a0000"], [1234.5, 1234567, 2000], "", "."),
        (["1,00,000", "12,34,567.5"], [100000, 1234567.5], "", "."),
        (["12万円", "3億円", "5円"], [120000, 3e8, 5], "円", "."),
        (["20℃", "21 °C"], [20, 21], "°C", "."),
        (["50m²", "60 m2", "70 M2"], [50, 60, 70], "m2", "."),
        (["5 km/h", "6km/h", "7"], [5, 6, 7], "km/h", "."),
        ([1, 2.5, None], [1, 2.5, math.nan], "", "."),
        (["9" * 60, "1"], [1e60, 1], "", "."),
        (["1.234", "2.5"], [1.234, 2.5], "", "."),
        (["1,234", "12,345"], [1234, 12345], "", "."),
        ([np.float32(1.5), np.int8(2)], [1.5, 2], "", "."),
    ],
)
def test_numbers_as_people_write_them(cells, values, unit, decimal):
    found = numbers_of(cells)
    assert found is not None
    assert found[0] == pytest.approx(values, nan_ok=True)
    assert found[1:] == (unit, decimal)


NO_NUMBERS = [
    *(["a", "b"], [], [None, "NA"], ["12A", "12B"], ["5 kg", "6 g"], ["2021-03-03", "3/4"], ["12:30", "1:00"]),
    *(["1-2"], ["1_000"], ["0x1F"], ["--5"], ["1,2,3"], ["1.2.3"], ["5th", "6th", "1st", "2nd"], ["٣"], ["5 😀"]),
    *(["1.500,00", "1.5"], ["-"], ["SKU 5"]),
]


@pytest.mark.parametrize("cells", NO_NUMBERS)
def test_what_is_no_number(cells):
    assert numbers_of(cells) is None


def test_a_few_cells_that_are_no_numbers_are_missing_and_quoted_in_a_note_that_is_not_stored():
    cells = [*map(str, range(100, 139)), "abc"]
    columns, notes = learn(as_frame({"x": cells}))
    assert columns[0].kind == "number" or columns[0].why.startswith("whole numbers")
    told = next(note for note in notes if "no numbers" in note.text)
    assert "'x' (1, as 'abc')" in told.text
    assert told.quotes
    assert told.level == "warning"
    assert kind([*map(str, RNG.normal(size=18)), "abc", "def"]) != "number", "one in ten is too many"


def test_infinite_and_huge_numbers_are_missing_and_said():
    values = [1.5, 2, math.inf, -math.inf, 1e308, -1e300, 3]
    for cells in (values, [str(value) for value in values]):
        assert numbers(cells)["x"] == pytest.approx([1.5, 2, *[math.nan] * 4, 3], nan_ok=True)
        assert "'x' (4)" in learned(cells)[1]
    assert learned([10**400, 1, 2, 3])[0].kind == "number"


def test_digits_with_leading_zeros_are_names():
    assert learned(["0123", "0456", "1234"] * 9)[0] == Column("x", "category", levels=("0123", "0456", "1234"))
    assert kind(["0", "1", "10"] * 9) == "number"
    assert kind(["0.5", "01.5", "2"] * 9) == "number"


def test_whole_numbers_of_few_values_stay_numbers():
    assert kind(["0", "1"] * ROWS) == kind([1, 2, 3] * ROWS) == "number"


def test_the_unit_of_the_header_is_taken_off_new_cells_and_another_unit_is_not_guessed():
    cells, notes = of_new([60.5, 70.25, 80], ["61 kg", "62", "63 lb"], name="重さ（kg）")
    assert cells.numbers[:, 0] == pytest.approx([61, 62, math.nan], nan_ok=True)
    assert "'63 lb'" in warnings_of(notes)
    assert learned(["5 kg", "6 kg"] * 9, name="weight [g]")[0].unit == "kg", "the cells know better"


def test_new_cells_keep_the_decimal_mark_that_was_learned():
    cells, notes = of_new(["1,5", "2,25", "3"] * 9, ["1,234", "1.234", "1.5"])
    assert cells.numbers[:, 0] == pytest.approx([1.234, 1234, math.nan], nan_ok=True)
    assert "'1.5'" in warnings_of(notes)


def test_several_units_are_said_and_a_unit_of_one_row_is_not_stored():
    column, warned = learned(["5 kg", "6 kg", "500 g", "700 g"] * 9)
    assert column.kind == "category"
    assert "several units" in warned
    assert "g, kg" in warned
    assert learned([*map(str, RNG.normal(size=30)), "5 Smith"])[0].unit == ""


@given(st.lists(st.floats(-1e290, 1e290) | st.none(), min_size=1).filter(any))
def test_numbers_round_trip(values):
    expected = [math.nan if value is None else value for value in values]
    for cells in (values, ["" if value is None else repr(value) for value in values]):
        found = numbers_of(cells)
        assert found is not None
        np.testing.assert_array_equal(found[0], expected)


# --- booleans


BOOLEANS = [
    *(("yes", "NO"), ("Y", "n"), ("TRUE", "False"), ("t", "F"), ("はい", "いいえ"), ("有", "無"), ("○", "×")),
    *((True, False), ("あり", "なし"), ("ｙｅｓ", "ｎｏ")),
]


@pytest.mark.parametrize(("yes", "no"), BOOLEANS)
def test_booleans_in_every_spelling(yes, no):
    assert kind([yes, no, None, yes]) == "boolean"
    assert numbers([yes, no, None, yes])["x"] == pytest.approx([1, 0, math.nan, 1], nan_ok=True)


def test_new_booleans_may_be_spelled_another_way():
    cells, notes = of_new(["yes", "no", "yes", "no"], ["TRUE", "n", "1", 0, "maybe", "なし"])
    assert cells.numbers[:, 0] == pytest.approx([1, 0, 1, 0, math.nan, math.nan], nan_ok=True)
    assert "(1, as 'maybe')" in warnings_of(notes)
    assert of_new([True, False] * 3, [0.0, 1.0])[0].numbers[:, 0].tolist() == [0, 1]
    assert kind(["yes", "no", "maybe"] * 3) == "category"
    assert learned(["yes", "no", "yes"])[0].levels == ("yes",), "a level of one row is not named"


# --- dates


def test_golden_parts_of_a_date():
    found = numbers(["2000-01-01", "2000-07-01", "2021-03-03", "1999-12-31", None])
    assert list(found) == ["x: days", "x: year sin", "x: year cos", "x: weekday"]
    assert found["x: days"] == pytest.approx([0, 182, 7732, -1, math.nan], nan_ok=True)
    assert found["x: weekday"] == pytest.approx([5, 5, 2, 4, math.nan], nan_ok=True)
    turns = [0, 182 / 366, 61 / 365, 364 / 365]
    assert found["x: year sin"][:4] == pytest.approx([math.sin(2 * math.pi * turn) for turn in turns], abs=1e-12)
    assert found["x: year cos"][:4] == pytest.approx([math.cos(2 * math.pi * turn) for turn in turns], abs=1e-12)


DATES = [
    *("2021-03-03", "2021/3/3", "2021.03.03", "2021年3月3日", "２０２１年３月３日", "令和3年3月3日", "R3.3.3"),
    *("20210303", "3 March 2021", "3-Mar-21", "March 3rd, 2021", "Wed, 3 Mar 2021", "2021年3月3日(水)"),
    *("2021-03-03T00:00:00Z", datetime.date(2021, 3, 3), pd.Timestamp("2021-03-03", tz="Asia/Tokyo")),
    np.datetime64("2021-03-03"),
]


@pytest.mark.parametrize("cell", DATES)
def test_formats_of_dates(cell):
    assert numbers([cell, "2021-03-04", "2021-03-05"])["x: days"] == [7732, 7733, 7734]


ERAS = [
    *(("平成元年1月8日", 1989, 1, 8), ("昭和64年1月7日", 1989, 1, 7), ("大正15/12/25", 1926, 12, 25)),
    ("明治45年7月30日", 1912, 7, 30),
]


@pytest.mark.parametrize(("cell", "year", "month", "day"), ERAS)
def test_japanese_eras(cell, year, month, day):
    days = (datetime.date(year, month, day) - datetime.date(2000, 1, 1)).days
    assert numbers([cell, "2021-03-04"])["x: days"][0] == days


TIMES = [
    *(("2021-03-03 10:30", 10.5), ("2021-03-03T10:30:00+09:00", 10.5), ("3/13/2021 1:30 PM", 13.5)),
    *(("2021/3/3 12:00 am", 0), ("2021年3月3日10時30分", 10.5), ("2021年3月3日 午後1時30分", 13.5)),
    ("2021-03-03 23:15:00.123", 23.25),
]


@pytest.mark.parametrize(("cell", "hour"), TIMES)
def test_times(cell, hour):
    found = numbers([cell, "2021-03-04 06:00"])
    assert found["x: hour"] == [hour, 6]
    assert found["x: days"][0] % 1 == pytest.approx(hour / 24)


@pytest.mark.parametrize("cell", ["2021-03", "2021/3", "2021年3月", "03/2021", "Mar 2021", "March, 2021"])
def test_a_month_is_its_first_day(cell):
    assert numbers([cell, "2021-03-03"])["x: days"] == [7730, 7732]


def test_times_at_midnight_tell_nothing():
    rows = ["2021-03-03 00:00:00", "2021-03-04 00:00:00"]
    assert learned(rows)[0].formats == ("%Y-%m-%d",)
    assert len(of_new(rows, ["2021-03-03 05:00"])[0].number_names) == 4
    assert learned(["2021-03-03 00:00", "2021-03-04 01:00"])[0].formats == ("%Y-%m-%d %H:%M:%S",)


def test_three_formats_in_one_column():
    assert numbers(["2021-03-03", "04/03/2021", "令和3年3月5日", "25/12/2021"])["x: days"] == [7732, 7733, 7734, 8029]


def test_the_cells_tell_whether_day_or_month_comes_first():
    assert learned(["03/04/2021", "25/12/2021"]) == (Column("x", "date", formats=("%d/%m/%Y",)), "")
    assert learned(["03/04/2021", "12/25/2021"]) == (Column("x", "date", formats=("%m/%d/%Y",)), "")
    assert "whether the day or the month" in learned(["03/04/2021", "05/06/2021"])[1]
    assert learned(["03.04.2021", "05.06.2021"])[0].formats == ("%d/%m/%Y",)


def test_new_dates_are_read_as_learned_or_not_at_all():
    cells, notes = of_new(["03/04/2021", "25/12/2021"], ["04/03/2021", "12/25/2021", "2021-03-03", "30/02/2021"])
    assert cells.numbers[:, 0] == pytest.approx([7733, math.nan, 7732, math.nan], nan_ok=True)
    assert "(2, as '12/25/2021', '30/02/2021')" in warnings_of(notes)
    cells, _ = of_new(["2021-03-03", "2021-03-04"], ["04/03/2021"])
    assert math.isnan(cells.numbers[0, 0]), "which comes first was never told"


def test_numbers_are_no_dates():
    assert kind(["3.4", "12.5", "1.10"] * 9) == kind(["2021", "2022"] * 9) == "number"
    assert kind([20210303, 20211399] * 9) == "number", "there is no 13th month"
    assert kind([20210303, 20211231] * 9) == "date"
    assert kind(["10-20", "20-30"] * 9) == "category"


# --- strings


def test_a_category_names_only_levels_of_two_rows_or_more():
    frame = as_frame({"x": ["b", "b", "a", "a", "a", "secret", "Ａ", " b "]})
    columns, _ = learn(frame)
    assert columns[0] == Column("x", "category", levels=("a", "b"))
    assert parse(frame, columns)[0].codes[:, 0].tolist() == [1, 1, 0, 0, 0, -2, 0, 1]


def test_new_levels_are_counted_and_case_is_forgiven_where_it_is_clear():
    rows = ["Red", "Red", "x", "x", "X", "X"]
    cells, notes = of_new(rows, ["red", "ＲＥＤ", "X", "x", "green", "", "Ｘ"])
    levels = learned(rows)[0].levels
    codes = [levels.index("Red")] * 2 + [levels.index("X"), levels.index("x"), -2, -1, levels.index("X")]
    assert cells.codes[:, 0].tolist() == codes
    assert any("'x' (1)" in note.text and note.level == "info" for note in notes)


def test_ten_thousand_levels():
    cells = [f"level {n}" for n in range(10_000)] * 2
    column, _ = learned(cells)
    assert (column.kind, len(column.levels)) == ("category", 10_000)
    assert from_json(json.loads(json.dumps(to_json(column))), Column) == column


def test_texts_are_kept_as_they_are():
    texts = [f"The  part {n} came back" for n in range(ROWS)]
    frame = as_frame({"x": [*texts, None]})
    columns, _ = learn(frame)
    assert columns[0] == Column("x", "text")
    cells, _ = parse(frame, columns)
    assert cells.text_names == ("x",)
    assert cells.texts[0].tolist() == [*texts, ""]
    assert kind([f"請求書が二重に届きました。{n}回目です" for n in range(ROWS)]) == "text"
    assert kind([f"notwithstanding {n} responsibilities" for n in range(ROWS)]) == "text", "long and all different"
    assert kind(["I agree with this", "I do not agree with this"] * ROWS) == "category", "the same again and again"


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("x", [f"A{n:04}" for n in range(ROWS)]),
        ("x", [f"{n * 7919:036x}" for n in range(1, ROWS)]),
        ("x", ["red", "green", "blue"]),
        ("x", list(range(5, 5 + ROWS))),
        ("x", [str(n) for n in range(ROWS)][::-1]),
        ("customer id", [n * n * 1000 for n in range(ROWS)]),
        ("PassengerId", [n * n * 1000 for n in range(ROWS)]),
        ("伝票番号", [n * n * 1000 for n in range(ROWS)]),
        ("Order No.", [n * n * 1000 for n in range(ROWS)]),
        ("x", [str(n) + "7" * 58 for n in range(10, 60)]),
    ],
)
def test_what_names_rows_is_ignored_with_a_warning(name, cells):
    columns, notes = learn(
        as_frame({name: cells, "other": [0.5, 1.5, 1.25] * (len(cells) // 3) + [0.5] * (len(cells) % 3)})
    )
    assert columns[0].kind == "ignored"
    assert columns[0].why
    assert repr(name) in warnings_of(notes)


def test_what_is_kept_though_it_looks_like_row_numbers():
    assert kind(list(range(1950, 1990)), name="year") == "number"
    assert kind(list(range(ROWS))) == "number", "nothing else is there to learn from"
    assert kind([n * n * 1000 for n in range(ROWS)]) == "number", "a measurement may be whole and never the same"


def test_constant_empty_and_copied_columns_are_ignored():
    frame = as_frame(
        {
            "same": ["7", "7.0"] * ROWS,
            "word": ["x"] * 2 * ROWS,
            "empty": ["", None] * ROWS,
            "a": ["1", "2"] * ROWS,
            "b": ["1.0", "2"] * ROWS,
            "c": ["u", "v"] * ROWS,
            "d": ["u ", "ｖ"] * ROWS,
            "day": ["2021-03-03"] * 2 * ROWS,
            "ticked": ["x", ""] * ROWS,
        }
    )
    columns, notes = learn(frame)
    kinds = "ignored ignored ignored number ignored category ignored ignored category".split()
    assert [column.kind for column in columns] == kinds
    assert [column.why for column in columns if column.why] == [
        "every cell is the same",
        "every cell is the same",
        "every cell is missing",
        "a copy of 'a'",
        "a copy of 'c'",
        "every cell is the same",
    ]
    for name in ("same", "word", "empty", "b", "d", "day"):
        assert f"'{name}'" in warnings_of(notes)


# --- leaks


def leaks(target, feature):
    columns, notes = learn(as_frame({"x": feature, "y": target}), target="y")
    assert columns[0].kind != "ignored"
    return any(note.topic == "leakage" and "'x'" in note.text and note.level == "warning" for note in notes)


def test_what_tells_the_target_is_warned_of_and_kept():
    labels = RNG.choice(["ok", "bad"], 400).tolist()
    colour = {"ok": ["red", "green"], "bad": ["blue", "grey"]}
    told = [colour[label][n % 2] for n, label in enumerate(labels)]
    assert leaks(labels, labels)
    assert leaks(labels, told)
    assert leaks(labels, ["red", *told[1:]])
    assert leaks(labels, [{"ok": 3, "bad": 8}[label] for label in labels])
    assert leaks(labels, [n / 7 if label == "bad" else None for n, label in enumerate(labels)]), "gaps tell"
    assert not leaks(labels, ["red" if n % 10 == 0 else value for n, value in enumerate(told)])
    assert not leaks(labels[:20], labels[:20]), "too few rows to say"
    rare = ["bad", *["ok"] * 399]
    assert not leaks(rare, told), "the usual answer is nearly always right"


def test_what_ranks_as_a_numeric_target_is_warned_of():
    prices = RNG.lognormal(size=400)
    assert leaks([f"{price:.4f} $" for price in prices], np.log(prices))
    assert leaks(prices, -prices)
    assert leaks(list(range(100)), [n * n * 1.5 for n in range(100)]), "a target may look like row numbers"
    assert not leaks(prices, prices + RNG.normal(size=400))


# --- new rows


FRAME = as_frame({"Age": [5, 6.5, 7] * 5, "city": ["a", "b", "c"] * 5, "same": [1] * 15})


def test_columns_are_found_by_name_in_any_order_and_others_are_left():
    columns, _ = learn(FRAME)
    cells, notes = parse(as_frame({"more": [1], "city": ["b"], "ａｇｅ": ["6"]}), columns)
    assert (cells.number_names, cells.numbers.tolist()) == (("Age",), [[6.0]])
    assert (cells.code_names, cells.codes.tolist()) == (("city",), [[1]])
    assert [(note.level, "'more'" in note.text) for note in notes] == [("info", True)]


def test_a_missing_or_renamed_column_is_refused():
    columns, _ = learn(FRAME)
    with pytest.raises(DataError, match=r"no column 'Age'.*Did you mean 'Ages'\?.*'Ages', 'city'"):
        parse(as_frame({"Ages": [1], "city": ["a"]}), columns)
    with pytest.raises(DataError, match="could be any of 'AGE', 'age'"):
        parse(as_frame({"AGE": [1], "age": [1], "city": ["a"]}), columns)
    with pytest.raises(DataError, match="no column 'goal'"):
        learn(FRAME, target="goal")


def test_a_column_that_has_its_own_name_is_not_taken_for_another():
    columns, _ = learn(as_frame({"a": [1, 2.5], "A": [2, 7.5]}))
    with pytest.raises(DataError, match="no column 'A'"):
        parse(as_frame({"a": [1]}), columns)


def test_what_was_learned_is_json():
    columns, _ = learn(FRAME)
    assert from_json(json.loads(json.dumps(to_json(columns))), tuple[Column, ...]) == columns


# --- anything at all


VALUES = st.one_of(
    st.text(max_size=12),
    st.sampled_from("1 2,5 3kg - yes no 2021-03-03 03/04/21 inf \ud800 0012 令和3年3月3日".split()),
    st.integers() | st.floats() | st.booleans() | st.none() | st.datetimes() | st.binary(max_size=3) | st.decimals(),
)
TABLES = st.integers(1, 12).flatmap(
    lambda rows: st.dictionaries(st.text(max_size=4), st.lists(VALUES, min_size=rows, max_size=rows), max_size=4)
)
STRINGS = st.integers(1, 12).flatmap(
    lambda rows: st.dictionaries(
        st.text(max_size=4),
        st.lists(st.text("019.,-/: kgG年月日○é", max_size=10), min_size=rows, max_size=rows),
        max_size=3,
    )
)


@settings(deadline=None, max_examples=60)
@given(st.one_of(TABLES, STRINGS))
def test_any_table_is_learned_and_parsed(table):
    frame = as_frame(table)
    columns, _ = learn(frame)
    cells, _ = parse(frame, columns)
    assert [column.name for column in columns] == list(table)
    assert cells.numbers.shape == (len(frame), len(cells.number_names))
    assert cells.codes.shape == (len(frame), len(cells.code_names))
    assert not np.isinf(cells.numbers).any()
    assert from_json(json.loads(json.dumps(to_json(columns))), tuple[Column, ...]) == columns


@settings(deadline=None, max_examples=60)
@given(st.one_of(TABLES, STRINGS), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(table, random):
    rows = list(range(len(next(iter(table.values()), []))))
    random.shuffle(rows)
    target = next(iter(table), None)
    shuffled = {name: [values[row] for row in rows] for name, values in table.items()}
    assert learn(as_frame(table), target=target) == learn(as_frame(shuffled), target=target)


def test_a_sample_of_many_spellings_tells_what_is_hopeless_but_not_what_is_read():
    rows = 30_000
    days = np.datetime64("1900-01-01") + np.arange(rows)
    frame = as_frame(
        {
            "id": [f"{n:x}-{n * 7919:x}" for n in range(rows)],
            "text": [f"part {n} failed {n % 7} tests" for n in range(rows)],
            "number": [f"{n / 7:.4f}" if n % 25 else f"bad {n}" for n in range(rows)],
            "date": [str(day) if n % 25 else f"bad {n}" for n, day in enumerate(days)],
        }
    )
    assert [column.kind for column in learn(frame)[0]] == ["ignored", "text", "number", "date"]


def test_many_rows_take_time_by_their_number():
    rows = 20_000
    frame = as_frame({f"x{n}": [f"{value:.3f} kg" for value in RNG.normal(size=rows)] for n in range(3)})
    columns, _ = learn(frame)
    cells, _ = parse(frame, columns)
    assert cells.numbers.shape == (rows, 3)
    assert not np.isnan(cells.numbers).any()


CELLS = {
    "size": [*("1", "-2.5", "+3", "0012", "1e3", "", " 7 ", "n/a", "1,234", "x", "inf", "９", "9" * 60), None, 4.5],
    "paid": ["yes", "NO", "y", "", "なし", "無", "はい", "○", "1", "0", "perhaps", None, True],
    "city": ["Kyoto", "kyoto", " Kyoto", "Ōtsu", "", "?", "Nara", "unknown", None, 3],
}


@pytest.mark.parametrize("name", CELLS)
@given(data=st.data())
def test_a_few_rows_are_read_as_among_many(name, data):
    learned = as_frame({
        "size": [str(at * 1.5) for at in range(40)],
        "paid": ["yes", "no"] * 20,
        "city": ["Kyoto", "Nara", "Ōtsu", "Tsu"] * 10,
    })  # fmt: skip
    columns = [column for column in learn(learned)[0] if column.name == name]
    cells = data.draw(st.lists(st.sampled_from(CELLS[name]), min_size=1, max_size=5))
    few, said = parse(as_frame({name: cells}), columns)
    many, _ = parse(as_frame({name: [*cells, *[CELLS[name][0]] * 40]}), columns)
    np.testing.assert_array_equal(few.numbers, many.numbers[: len(cells)])
    np.testing.assert_array_equal(few.codes, many.codes[: len(cells)])
    assert [note.text for note in said if note.level == "warning"] == [
        note.text for note in parse(as_frame({name: [*cells, *[""] * 40]}), columns)[1] if note.level == "warning"
    ]
