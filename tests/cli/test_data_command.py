"""``sartor data check``: what rows are worth."""

import pytest
from cli_helpers import write_csv

from sartor.data.load import read_rows
from sartor.types import Columns

ENDS = ["now", "again", "today", "at once", "please"]


@pytest.fixture
def rows(mails):
    """Sixty rows, one of them a copy and one labelled otherwise than its copy."""
    found = [(f"{text} {end}", label) for end in ENDS for text, label in mails]
    return [*found, (found[0][0].upper(), found[0][1]), (found[5][0], "other")]


@pytest.fixture
def rows_csv(tmp_path, rows):
    return write_csv(tmp_path / "rows.csv", rows)


def test_copies_and_contradictions_are_told_by_their_rows(sartor, tiny, rows_csv):
    ran = sartor("data", "check", rows_csv, "--json")
    assert ran.code == 0, ran.err
    found = ran.json
    assert found["rows"] == 62
    assert found["labels"] == {"billing": 21, "bug": 20, "other": 21}
    assert found["exact_duplicates"] == [[1, 61], [6, 62]]
    assert found["contradictions"] == [[6, 62]]
    assert found["useful"] <= 59
    assert (found["selected"], found["coverage"], found["out"]) == ([], None, None)
    for one in found["suspects"]:
        assert one["label"] != one["suggested"]
        assert one["given"] < one["confidence"]


def test_the_most_useful_rows_are_written(sartor, tiny, rows_csv, rows, tmp_path):
    for name in ("out.csv", "out.jsonl"):
        ran = sartor("data", "check", rows_csv, "--select", 30, "--out", tmp_path / name, "--json")
        assert ran.code == 0, ran.err
        chosen = ran.json["selected"]
        assert len(set(chosen)) == 30
        assert not {6, 62} & set(chosen)
        assert ran.json["coverage"] >= ran.json["coverage_random"] - 0.02
        written = read_rows(tmp_path / name, Columns(), need_labels=True).examples
        assert [(row.input, row.output) for row in written] == [rows[at - 1] for at in chosen]
    again = sartor("data", "check", rows_csv, "--select", 30, "--json").json["selected"]
    assert again == chosen


def test_a_person_reads_what_to_look_at(sartor, tiny, rows_csv):
    ran = sartor("data", "check", rows_csv)
    assert ran.code == 0
    for said in ("one text, several labels", "6, 62", "Next:"):
        assert said in ran.out


def test_rows_without_labels_are_looked_at_too(sartor, tiny, mails, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text, _ in [*mails, mails[0]]))
    ran = sartor("data", "check", path, "--select", 5, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["rows"], ran.json["labels"], ran.json["contradictions"]) == (13, {}, [])
    assert ran.json["exact_duplicates"] == [[1, 13]]
    assert len(ran.json["selected"]) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--select", "0"], "1 to 62"),
        (["--select", "63"], "1 to 62"),
        (["--out", "x.csv"], "--select"),
        (["--select", "3", "--out", "x.parquet"], ".jsonl"),
        (["--label-column", "lable"], "no column"),
    ],
)
def test_what_cannot_be_is_refused(sartor, tiny, rows_csv, arguments, said):
    ran = sartor("data", "check", rows_csv, *arguments)
    assert (ran.code, said in ran.err) == (2, True), ran.err


def test_a_file_that_is_not_there(sartor, tiny, tmp_path):
    assert sartor("data", "check", tmp_path / "none.csv").code == 2
