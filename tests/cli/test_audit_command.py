"""``sartor audit``: sums, and a chain that is whole or not."""

import re
import sqlite3
from pathlib import Path

import pytest

from sartor import settings
from sartor.llm import connect
from sartor.llm.connect import ledger
from sartor.llm.interface import Request
from sartor.llm.policy import Policy

PAGE = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")


@pytest.fixture
def asked(home):
    """Three answers of a scripted model."""
    model = connect("scripted:accuracy=1", Policy(), settings.current(), gold={"a": "yes", "b": "no", "c": "no"})
    for text in "abc":
        model.ask(Request(text))


def test_an_empty_ledger_is_whole(sartor, home):
    ran = sartor("audit", "--verify")
    assert (ran.code, ran.err) == (0, "")
    assert not list(Path(home).glob("*"))
    found = sartor("audit", "--verify", "--json").json
    assert (found["rows"], found["verified"], found["calls"]) == (0, True, 0)


def test_it_sums_up_and_prints_the_documented_keys(sartor, asked):
    found = sartor("audit", "--json").json
    table = PAGE.split("<!-- keys: audit -->\n", 1)[1].split("\n\n", 1)[0]
    assert list(found) == re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    assert (found["verified"], found["calls"], found["answered"], found["bytes_out"]) == (None, 3, 3, 0)
    [part] = found["by"]
    assert (part["destination"], part["purpose"], part["calls"]) == ("scripted", "answer", 3)


def test_a_person_reads_sums_and_the_head(sartor, asked):
    ran = sartor("audit", "--verify")
    assert ran.code == 0
    assert "3 calls, 3 answered" in ran.out
    assert "whole" in ran.out
    head = sartor("audit", "--verify", "--json").json["head"]
    assert sartor("audit", "--verify", "--head", head).code == 0
    assert sartor("audit", "--verify", "--head", "0" * 63 + "1").code == 3


def test_a_changed_row_is_refused(sartor, asked):
    path = ledger(settings.current()).path
    with sqlite3.connect(path) as database:
        database.execute("UPDATE rows SET body = replace(body, 'answer', 'teach') WHERE seq = 3")
    database.close()
    assert sartor("audit").code == 0  # only --verify looks
    ran = sartor("audit", "--verify")
    assert ran.code == 3
    assert "Row 3" in ran.err
    ran = sartor("audit", "--verify", "--json")
    assert (ran.code, ran.json["verified"]) == (3, False)
    assert ran.json["why"]


def test_a_file_that_is_no_ledger(sartor, home):
    path = ledger(settings.current()).path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("not a database, " * 100)
    assert sartor("audit", "--verify").code == 3
    assert sartor("audit").code == 2


def test_head_needs_verify(sartor, home):
    assert sartor("audit", "--head", "x").code == 2
