"""Reading rows: formats, encodings, columns, and what is refused."""

import csv
import gzip
import hashlib
import io
import json
import os
import random
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.data.load import fingerprint, read_inputs, read_rows
from sartor.data.table import read_table
from sartor.errors import DataError
from sartor.types import Columns, Example, Rows

ANY = Columns()
ROWS = [Example("great film", "pos"), Example("dull, long film", "neg"), Example("fine", "pos")]
CSV = 'text,label\ngreat film,pos\n"dull, long film",neg\nfine,pos\n'
JAPANESE = "本文,ラベル\n請求書が二重に届きました,請求\nログインできません,不具合\nありがとうございます,その他\n"


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str, bytes | str], Path]:
    def write(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def load(path: Path, columns: Columns = ANY) -> Rows:
    return read_rows(path, columns, need_labels=True)


def pairs(rows: Rows) -> list[tuple[str, str | None]]:
    return [(example.input, example.output) for example in rows.examples]


def note(rows: Rows, topic: str, level: str | None = None) -> str:
    return " ".join(n.text for n in rows.notes if n.topic == topic and level in (None, n.level))


def refusal(path: Path, columns: Columns = ANY) -> str:
    with pytest.raises(DataError) as caught:
        load(path, columns)
    message = str(caught.value)
    assert message.endswith("."), message
    return message


# --- formats -----------------------------------------------------------------------------------------------


def test_csv_is_read_with_its_quoted_delimiters(save):
    rows = load(save("rows.csv", CSV))
    assert list(rows.examples) == ROWS
    assert rows.source == "rows.csv"
    assert rows.sha256 == fingerprint(ROWS)
    assert "UTF-8" in note(rows, "encoding")
    assert "comma" in note(rows, "delimiter")
    assert "'text'" in note(rows, "columns")
    assert "'label'" in note(rows, "columns")
    assert not [n for n in rows.notes if n.level == "warning"]


@pytest.mark.parametrize(("delimiter", "said"), [(";", "semicolon"), ("\t", "tab"), (",", "comma")])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".CSV"])
def test_the_delimiter_is_found_whatever_the_suffix(save, delimiter, said, suffix):
    text = f"id{delimiter}text{delimiter}label\n1{delimiter}so, so; well{delimiter}neg\n"
    text = text.replace("so, so; well", '"so, so; well"')
    rows = load(save(f"rows{suffix}", text))
    assert pairs(rows) == [("so, so; well", "neg")]
    assert said in note(rows, "delimiter")


def test_quoted_fields_may_hold_line_ends_and_quotation_marks(save):
    rows = load(save("rows.csv", 'text,label\r\n"one\r\ntwo ""x""",a\r\n"three\n\nfour",b\r\n'))
    assert pairs(rows) == [('one\r\ntwo "x"', "a"), ("three\n\nfour", "b")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_every_line_end_is_known(save, end, last):
    text = CSV.replace("\n", end) if last else CSV.replace("\n", end).removesuffix(end)
    assert list(load(save("rows.csv", text)).examples) == ROWS


def test_tab_separated_text_may_hold_single_quotation_marks(save):
    rows = load(save("rows.tsv", 'text\tlabel\n"never closed\ta\nplain\tb\n'))
    assert pairs(rows) == [('"never closed', "a"), ("plain", "b")]
    assert "quotation mark" in note(rows, "delimiter", "warning")


def test_json_lines_end_at_newlines_only(save):
    text = json.dumps({"text": "one\u2028two\u0085three", "label": "a"}, ensure_ascii=False)
    rows = load(save("rows.jsonl", f'{text}\n\n{{"label": "b", "text": "x", "extra": 1}}\r\n'))
    assert pairs(rows) == [("one\u2028two\u0085three", "a"), ("x", "b")]


def test_json_lines_may_differ_in_their_keys(save):
    table = read_table(save("rows.ndjson", '{"a": 1}\n{"b": 2.50, "a": null}\n{"c": [true], "b": false}\n'))
    assert table.header == ("a", "b", "c")
    assert list(table.rows) == [("1", "", ""), ("", "2.50", ""), ("", "false", "[true]")]


def test_json_holds_a_list_of_objects(save):
    path = save("rows.json", json.dumps([{"input": e.input, "output": e.output} for e in ROWS]))
    assert list(load(path).examples) == ROWS


def test_json_lines_named_json_are_read(save):
    rows = load(save("rows.json", '{"text": "x", "label": "a"}\n{"text": "y", "label": "b"}\n'))
    assert pairs(rows) == [("x", "a"), ("y", "b")]
    assert "JSON Lines" in note(rows, "columns")


def test_json_escapes_that_no_file_can_hold_are_taken_out(save):
    rows = load(save("rows.jsonl", r'{"text": "a\u0000b\ud800c \ud83d\ude00", "label": "x"}'))
    assert pairs(rows) == [("ab\ufffdc 😀", "x")]
    assert "1 cells" in note(rows, "encoding", "warning")


def test_parquet_is_read(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["a", None, "c"], "label": [1.0, 2.0, None], "n": [1, 2, 3]}), path)
    assert list(read_table(path).rows) == [("a", "1", "1"), ("", "2", "2"), ("c", "", "3")]
    rows = load(path)
    assert pairs(rows) == [("a", "1")]


def workbook(path: Path, *sheets: Sequence[Sequence[object]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for number, rows in enumerate(sheets, 1):
        sheet = book.create_sheet(f"sheet {number}")
        for row in rows:
            sheet.append(row)
    book.save(path)
    book.close()
    return path


def test_excel_numbers_are_labels_without_a_point(tmp_path):
    path = workbook(tmp_path / "rows.xlsx", [["text", "label"], ["a", 1.0], [2.5, 2], ["c", True], [None, None]])
    assert pairs(load(path)) == [("a", "1"), ("2.5", "2"), ("c", "true")]


def test_the_first_sheet_that_holds_something_is_read_and_the_others_are_named(tmp_path):
    sheets = [], [[], ["text", "label"], ["a", "x"]], [["text", "label"], ["b", "y"]]
    rows = load(workbook(tmp_path / "rows.xlsx", *sheets))
    assert pairs(rows) == [("a", "x")]
    assert "'sheet 2'" in note(rows, "columns", "warning")
    assert "'sheet 3'" in note(rows, "columns", "warning")


# --- encodings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "byte order mark"),
        ("utf-16", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("cp932", "CP932"),
        ("euc_jp", "EUC-JP"),
        ("iso2022_jp", "ISO-2022-JP"),
    ],
)
def test_japanese_text_is_read_in_every_encoding(save, encoding, said):
    rows = load(save("rows.csv", JAPANESE.encode(encoding)))
    assert pairs(rows)[0] == ("請求書が二重に届きました", "請求")
    assert len(rows.examples) == 3
    assert said in note(rows, "encoding")
    assert not [n for n in rows.notes if n.level == "warning"]


@pytest.mark.parametrize("order", ["le", "be"])
def test_utf16_is_read_in_both_byte_orders_with_a_mark_and_without(save, order):
    bare = CSV.encode(f"utf-16-{order}")
    mark = "\ufeff".encode(f"utf-16-{order}")
    assert list(load(save("marked.csv", mark + bare)).examples) == ROWS
    assert list(load(save("bare.csv", bare)).examples) == ROWS
    japanese = save("japanese.csv", mark + JAPANESE.encode(f"utf-16-{order}"))
    assert pairs(load(japanese))[1] == ("ログインできません", "不具合")


@pytest.mark.parametrize(
    "text",
    [
        "text,label\nﾃｽﾄ,ﾊﾞｸﾞ\n",
        "text,label\nｱﾙﾊﾞｲﾄ,ｼｺﾞﾄ\n",
        "text,label\nｶｰﾄﾞ,ｲ\nﾃﾞｰﾀ,ﾛ\n",
        "text,label\nｺﾋﾟｰできない,a\n",
        "text,label\n請求,a\n",
        "text,label\nok,バグ\n",
        "text,label\nA社のシステム,良\n",
        "text,label\n①㈱テスト～－髙,a\n",
        "text,label\nソ能表,十\n",
        "内容,分類\n荷物が届かない,配送\n",
        "text,label\nWi-Fiが繋がらない。don't,ネット\n",
    ],
)
def test_short_cp932_files_are_read_right(save, text):
    rows = load(save("rows.csv", text.encode("cp932")))
    expected = [tuple(line.split(",")) for line in text.splitlines()[1:]]
    assert pairs(rows) == expected
    assert "CP932" in note(rows, "encoding")


@pytest.mark.parametrize(
    "text",
    [
        "text,label\ncafé,a\n",
        "text,label\nit’s fine,a\ndon’t,b\n",
        "text,label\nélève déçu à Noël,a\n",
        "text,label\nGrüße aus München,schön\n",
        "text,label\nEl niño comió piñas,español\n",
        "text,label\n“Hello” – he said… 20 €,a\n",
        "text,label\n20°C and £5,a\n",
        "text,label\nnão é possível a ação,a\n",
    ],
)
def test_short_western_files_are_read_right(save, text):
    rows = load(save("rows.csv", text.encode("cp1252")))
    assert pairs(rows)[0][0] == text.splitlines()[1].split(",")[0]
    assert "CP1252" in note(rows, "encoding")


@pytest.mark.parametrize(
    "text", ["請求書が届きました", "価格を教えて", "アルバイトの募集", "これは社会の話です", "ﾒｰﾙの返信"]
)
def test_short_euc_files_are_read_right(save, text):
    assert pairs(load(save("rows.csv", f"text,label\n{text},a\n".encode("euc_jp"))))[0][0] == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Очень хороший фильм и прекрасная игра актёров", "cp1251"),
        ("这部电影非常好看，我很喜欢", "gb18030"),
        ("이 영화는 정말 재미있어요", "cp949"),
    ],
)
def test_other_code_pages_are_guessed_with_a_warning(save, text, encoding):
    rows = load(save("rows.csv", f"text,label\n{text},x\n{text},y\n{text},x\n".encode(encoding)))
    assert pairs(rows)[0] == (text, "x")
    assert "guessed" in note(rows, "encoding", "warning")


def test_foreign_lines_in_a_utf8_file_are_decoded_one_by_one_and_counted(save):
    good = "請求書が届きました,請求\n".encode() * 5
    bad = "ログインできません,不具合\n".encode("cp932") + "très bien,café\n".encode("cp1252")
    rows = load(save("rows.csv", b"text,label\n" + good + bad))
    assert pairs(rows)[5:] == [("ログインできません", "不具合"), ("très bien", "café")]
    warning = note(rows, "encoding", "warning")
    assert "2 of 8 lines" in warning
    assert "line 7" in warning


def test_a_character_cut_in_two_costs_that_character_only(save):
    cut = "長い文章がここで切れまし".encode() + "た".encode()[:2] + b",a\n"
    rows = load(save("rows.csv", b"text,label\n" + cut))
    assert pairs(rows) == [("長い文章がここで切れまし\ufffd", "a")]
    assert "1 of 2 lines" in note(rows, "encoding", "warning")


def test_nul_characters_are_taken_out_and_counted(save):
    rows = load(save("rows.csv", b"text,label\na\0b\0,x\nfine,y\n"))
    assert pairs(rows) == [("ab", "x"), ("fine", "y")]
    assert "2 NUL" in note(rows, "encoding", "warning")


# --- columns and rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("Sentence,Category", "body,x"),
        ("カテゴリ,テキスト", "x,body"),
        ("ﾃｷｽﾄ,ﾗﾍﾞﾙ", "body,x"),
        ("INPUT , OUTPUT", "body,x"),
        ("id,intent,message", "7,x,body"),
        ("review,text,topic,label", "no,body,no,x"),
    ],
)
def test_columns_are_found_by_their_usual_names(save, header, cells):
    rows = load(save("rows.csv", f"{header}\n{cells}\n"))
    assert pairs(rows) == [("body", "x")]
    assert not note(rows, "columns", "warning")


def test_unused_columns_are_named(save):
    assert "'id', 'topic'" in note(load(save("rows.csv", "id,text,topic,label\n1,a,b,c\n")), "columns")


def test_named_columns_win_over_usual_names(save):
    path = save("rows.csv", "text,label,title,Topic B\nbody,a,head,z\n")
    assert pairs(load(path, Columns(input="title", output="topic b"))) == [("head", "z")]


def test_two_unknown_columns_are_taken_by_place_with_a_warning(save):
    rows = load(save("rows.csv", "foo,bar\none,a\ntwo,b\nthree,a\nfour,b\n"))
    assert pairs(rows)[0] == ("one", "a")
    assert "'foo'" in note(rows, "columns", "warning")


def test_the_column_beside_a_known_one_takes_the_other_part(save):
    assert pairs(load(save("a.csv", "label,what\na,one\n"))) == [("one", "a")]
    assert pairs(load(save("b.csv", "mood,text\nsad,one\n"))) == [("one", "sad")]


def test_a_file_without_header_is_told_by_its_labels(save):
    rows = load(save("rows.csv", "great film,pos\ndull film,neg\nfine film,pos\n"))
    assert pairs(rows) == [("great film", "pos"), ("dull film", "neg"), ("fine film", "pos")]
    assert "no header" in note(rows, "columns", "warning")


def test_labels_are_stripped_and_inputs_are_verbatim(save):
    rows = load(save("rows.csv", 'text,label\n"  two  spaces ", Bug \n'))
    assert pairs(rows) == [("  two  spaces ", "Bug")]


def test_integer_labels_stay_as_they_are_written(save):
    assert pairs(load(save("rows.csv", "text,label\na,01\nb,2.0\nc,-3\n"))) == [("a", "01"), ("b", "2.0"), ("c", "-3")]
    assert pairs(load(save("rows.jsonl", '{"text": "a", "label": 1}'))) == [("a", "1")]


def test_rows_without_text_or_label_are_left_out_and_counted(save):
    rows = load(save("rows.csv", "text,label\na,x\n ,x\nb,\nc, \n\nd,y\n"))
    assert pairs(rows) == [("a", "x"), ("d", "y")]
    assert "1 row has no text" in note(rows, "dropped", "warning")
    assert "2 rows have no label" in note(rows, "dropped", "warning")


def test_labels_are_ignored_when_not_needed(save):
    rows = read_rows(save("rows.csv", "text,label\na,\nb,1.5\n"), Columns(output="gone"), need_labels=False)
    assert pairs(rows) == [("a", None), ("b", None)]


def test_short_rows_are_padded_with_a_warning(save):
    path = save("rows.csv", "text,label,more\na,x,1\nb,y\n")
    assert list(read_table(path).rows)[1] == ("b", "y", "")
    assert "1 rows" in note(load(path), "columns", "warning")


def test_trailing_delimiters_are_no_columns(save):
    assert pairs(load(save("rows.csv", "text,label\na,x,,\nb,y,\n"))) == [("a", "x"), ("b", "y")]


@pytest.mark.parametrize("name", ["rows.txt", "rows.csv"])
def test_one_text_per_line_needs_no_header(save, name):
    path = save(name, "first text\nsecond text\n\nfourth\n")
    inputs = read_inputs(path, ANY)
    assert inputs.texts == ["first text", "second text", "", "fourth"]
    assert any(n.level == "warning" and "'first text'" in n.text for n in inputs.notes)


def test_plain_text_keeps_commas_and_quotation_marks(save):
    path = save("rows.txt", 'Good, really.\n"So he said; I left.\nFine, too, yes\n')
    assert read_inputs(path, ANY).texts == ["Good, really.", '"So he said; I left.', "Fine, too, yes"]


def test_a_known_or_named_header_of_one_column_is_no_text(save):
    assert read_inputs(save("a.txt", "Text\none\ntwo\n"), ANY).texts == ["one", "two"]
    assert read_inputs(save("b.csv", "review me\none, two\n"), Columns(input="review me")).texts == ["one, two"]


def test_inputs_keep_every_row_in_order_with_all_columns(save):
    inputs = read_inputs(save("rows.csv", "id,text,label\n1,a,x\n2,,y\n3, ,z\n4,d,\n"), ANY)
    assert inputs.texts == ["a", "", " ", "d"]
    assert [row[0] for row in inputs.table.rows] == ["1", "2", "3", "4"]


def test_progress_ends_at_the_number_of_rows(save):
    seen: list[tuple[str, int, int]] = []
    read_rows(save("rows.csv", CSV), ANY, need_labels=True, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("load", 3, 3)


# --- the same rows have the same name ----------------------------------------------------------------------


def test_the_fingerprint_knows_order_labels_and_borders():
    assert fingerprint(ROWS) == fingerprint([Example(e.input, e.output) for e in ROWS])
    others = [ROWS[::-1], ROWS[:2], [Example("a", None)], [Example("a", "")], [Example("a", "None")]]
    others += [[Example("a\n", "b")], [Example("a", "\nb")], [Example("\ud800", "b")], []]
    assert len({fingerprint(rows) for rows in [ROWS, *others]}) == len(others) + 1


def test_the_fingerprint_is_that_of_the_json_lines():
    expected = hashlib.sha256(b'["caf\\u00e9","x"]\n["b",null]\n').hexdigest()
    assert fingerprint([Example("café", "x"), Example("b")]) == expected


def test_formats_give_the_same_fingerprint(save):
    jsonl = "".join(json.dumps({"text": e.input, "label": e.output}) + "\n" for e in ROWS)
    assert load(save("rows.csv", CSV)).sha256 == load(save("rows.jsonl", jsonl)).sha256


# --- what is refused ---------------------------------------------------------------------------------------


def test_a_missing_file_is_refused_with_its_neighbour(save, tmp_path):
    save("examples.csv", CSV)
    message = refusal(tmp_path / "example.csv")
    assert "no file" in message
    assert "Did you mean 'examples.csv'?" in message
    assert "no file" in refusal(tmp_path / "nowhere" / "rows.csv")


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "rows.csv").mkdir()
    assert "is a folder" in refusal(tmp_path / "rows.csv")


def test_a_file_that_may_not_be_read_is_refused(save):
    path = save("rows.csv", CSV)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        message = refusal(path)
    finally:
        os.seteuid(user)
    assert "no permission" in message


@pytest.mark.parametrize("name", ["rows.csv", "rows.txt", "rows.jsonl", "rows.json", "rows.parquet", "rows.xlsx"])
def test_an_empty_file_is_refused(save, name):
    assert "is empty" in refusal(save(name, ""))


@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", "\n \n\n"), ("a.jsonl", "\n\n"), ("a.json", "[]"), ("a.txt", "\n")]
)
def test_a_file_of_nothing_is_refused(save, name, text):
    assert "is empty" in refusal(save(name, text))


def test_an_empty_workbook_is_refused(tmp_path):
    assert "is empty" in refusal(workbook(tmp_path / "rows.xlsx", []))


def test_a_header_alone_is_refused(save, tmp_path):
    assert "no rows" in refusal(save("rows.csv", "text,label\n"))
    assert "no rows" in refusal(save("rows.txt", "text\n"))
    assert "no rows" in refusal(workbook(tmp_path / "rows.xlsx", [["text", "label"]]))


def test_a_header_with_a_name_twice_is_refused(save):
    assert "more than one column called 'text'" in refusal(save("rows.csv", "text,label,text\na,b,c\n"))
    assert "more than once" in refusal(save("rows.jsonl", '{"text": "a", "text": "b", "label": "c"}'))


def test_a_file_without_a_label_column_is_refused(save):
    assert "no label column" in refusal(save("a.csv", "text,foo,bar\na,b,c\n"))
    assert "no label column" in refusal(save("b.csv", "text\na\nb\n"))
    unlike = "text,note\n" + "".join(f"t{n},n{n}\n" for n in range(6))
    assert "no label column" in refusal(save("c.csv", unlike))


def test_a_file_without_a_text_column_is_refused(save):
    message = refusal(save("a.csv", "foo,bar,label\na,b,c\n"))
    assert "no text column" in message
    assert "'foo', 'bar', 'label'" in message


def test_a_named_column_that_is_absent_is_refused_with_the_nearest(save):
    message = refusal(save("rows.csv", CSV), Columns(input="texts"))
    assert "Did you mean 'text'?" in message
    assert "'text', 'label'" in message
    assert "no column 'zzz'" in refusal(save("rows.csv", CSV), Columns(output="zzz"))


def test_one_column_cannot_be_both(save):
    assert "both" in refusal(save("rows.csv", CSV), Columns(input="text", output="text"))


def test_labels_that_are_measurements_are_refused(save):
    message = refusal(save("rows.csv", "text,label\na,1.5\nb,2\nc,-0.25\n"))
    assert "regression" in message
    assert "number to predict, not a label" in message


def test_labels_that_are_not_all_numbers_are_kept(save):
    assert len(load(save("rows.csv", "text,label\na,1.5\nb,two\n")).examples) == 2


def test_rows_with_too_many_fields_are_refused_with_their_line(save):
    message = refusal(save("rows.csv", 'text,label\n"a\nb",x\nc,d,e\n'))
    assert "Line 4" in message
    assert "3 fields" in message
    assert csv.field_size_limit() == 131_072


def test_a_quotation_mark_that_is_never_closed_is_refused_with_its_line(save):
    message = refusal(save("rows.csv", 'text,label\nfine,x\n"open,y\nlost,z\n'))
    assert "line 3" in message
    assert "never closed" in message


def test_rows_of_which_none_can_be_used_are_refused(save):
    assert "None of the 2 rows" in refusal(save("rows.csv", "text,label\na,\n,b\n"))


def test_an_unknown_suffix_is_refused_with_the_known_ones(save):
    message = refusal(save("rows.cvs", CSV))
    assert "Did you mean '.csv'?" in message
    assert ".parquet" in message
    assert "Save it as .xlsx" in refusal(save("rows.xls", b"\xd0\xcf\x11\xe0"))
    assert "no suffix" in refusal(save("rows", CSV))


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("rows.csv", CSV)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "PNG"),
        (zipped(), "ZIP"),
        (gzip.compress(CSV.encode()), "gzip"),
        (random.Random(0).randbytes(5000), "binary data"),
        (random.Random(1).randbytes(200), "binary data"),
        (bytes(500), "NUL"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "PDF"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".txt", ".jsonl"])
def test_binary_junk_is_refused_by_what_it_looks_like(save, content, what, suffix):
    message = refusal(save(f"rows{suffix}", content))
    assert "not a text file" in message
    assert what in message


@pytest.mark.parametrize("suffix", [".xlsx", ".parquet"])
@pytest.mark.parametrize("content", [CSV.encode(), zipped(), b"PAR1 broken PAR1", b"PK\x03\x04 broken"])
def test_a_file_that_is_not_what_its_suffix_says_is_refused(save, suffix, content):
    assert "it looks like" in refusal(save(f"rows{suffix}", content))


def test_a_damaged_utf16_file_is_refused(save):
    assert "does not fit" in refusal(save("rows.csv", CSV.encode("utf-16")[:-1]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"text": "a", "label": "b"}\n{"text": \n', "Line 2"),
        ('{"text": "a"}\n["b"]\n', "a list"),
        ('"a"\n', "'a'"),
        ("[" * 100_000, "deeply"),
    ],
)
def test_a_line_that_is_no_json_object_is_refused(save, text, said):
    assert said in refusal(save("rows.jsonl", text))


def test_json_that_is_no_list_of_objects_is_refused(save):
    assert "'data'" in refusal(save("a.json", '{"data": [{"text": "a"}]}'))
    assert "Item 2" in refusal(save("b.json", '[{"text": "a"}, 3]'))
    assert "line 2" in refusal(save("c.json", '[{"text": "a"},\n {"text" "b"}]'))


def test_objects_without_common_keys_are_refused(save):
    text = "".join(f'{{"k{n}": 1}}\n' for n in range(2000))
    assert "1,000 different keys" in refusal(save("rows.jsonl", text))


# --- size --------------------------------------------------------------------------------------------------


def test_a_cell_of_50_mb_is_read_whole(save):
    limit = csv.field_size_limit()
    cell = "word, text\n" * (50_000_000 // 11)
    path = save("rows.csv", f'text,label\n"{cell}",a\nshort,b\n')
    rows = load(path)
    assert rows.examples[0].input == cell
    assert csv.field_size_limit() == limit


def test_100_000_rows_are_read(save):
    lines = (f'"text {n}, これは少し長い文章です",label {n % 7}\n' for n in range(100_000))
    path = save("rows.csv", "text,label\n" + "".join(lines))
    assert len(load(path).examples) == 100_000


# --- round trips -------------------------------------------------------------------------------------------

cells = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(str.strip)
labels = cells.map(str.strip)
tables = st.lists(st.tuples(cells, labels), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(rows=tables, delimiter=st.sampled_from(",;\t"), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_rows_written_as_csv_are_read_back_identical(tmp_path_factory, rows, delimiter, encoding):
    rows = [(text, f"x{label}") for text, label in rows]  # so that no label is a mere number
    path = tmp_path_factory.getbasetemp() / "trip.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([("text", "label"), *rows])
    assert pairs(load(path)) == rows


@settings(max_examples=150, deadline=None)
@given(rows=tables, ascii_only=st.booleans())
def test_rows_written_as_json_lines_are_read_back_identical(tmp_path_factory, rows, ascii_only):
    rows = [(text, f"x{label}") for text, label in rows]
    path = tmp_path_factory.getbasetemp() / "trip.jsonl"
    lines = (json.dumps({"text": text, "label": label}, ensure_ascii=ascii_only) for text, label in rows)
    path.write_text("\n".join(lines), encoding="utf-8", newline="\n")
    assert pairs(load(path)) == rows


@settings(max_examples=300, deadline=None)
@given(
    content=st.binary(max_size=200), suffix=st.sampled_from([".csv", ".txt", ".jsonl", ".json", ".xlsx", ".parquet"])
)
def test_any_bytes_are_read_or_refused_but_never_crash(tmp_path_factory, content, suffix):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    assert read_or_refuse(path) in ("", ".")


@settings(max_examples=150, deadline=None)
@given(data=st.data(), suffix=st.sampled_from([".xlsx", ".parquet", ".csv", ".jsonl"]))
def test_damaged_files_are_read_or_refused_but_never_crash(tmp_path_factory, data, suffix):
    whole = bytearray(whole_file(tmp_path_factory.getbasetemp(), suffix).read_bytes())
    del whole[data.draw(st.just(len(whole)) | st.integers(0, len(whole))) :]
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, len(whole)), st.integers(0, 255)), max_size=5)):
        whole[place : place + 1] = bytes([byte])
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(whole)
    assert read_or_refuse(path) in ("", ".")


def read_or_refuse(path: Path) -> str:
    """Return how the refusal ends; "" when the file is read as a table."""
    try:
        table = read_table(path)
    except DataError as error:
        return str(error)[-1]
    assert all(len(row) == len(table.header) for row in table.rows)
    return ""


def whole_file(folder: Path, suffix: str) -> Path:
    path = folder / f"whole{suffix}"
    if path.exists():
        return path
    rows = [[f"text {n}, 長い", f"label {n % 3}"] for n in range(40)]
    if suffix == ".xlsx":
        workbook(path, [["text", "label"], *rows])
    elif suffix == ".parquet":
        pq.write_table(pa.table({"text": [row[0] for row in rows], "label": [row[1] for row in rows]}), path)
    elif suffix == ".csv":
        path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows), encoding="cp932")
    else:
        path.write_text("".join(json.dumps(dict(zip("xy", row, strict=True))) + "\n" for row in rows))
    return path
