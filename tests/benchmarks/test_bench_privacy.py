"""benchmarks/privacy.py: rows of our own making hold what they say, and leaks are counted as they are."""

import random

import pytest

from benchmarks import privacy as bench
from sartor.llm import privacy
from sartor.llm.policy import Policy


@pytest.mark.parametrize("language", ["ja", "en"])
def test_own_rows_hold_their_units_and_none_with_a_check_leaks(language):
    rows = bench.own(language, random.Random(5), 300)
    assert all(unit in row.text for row in rows for _, unit in row.units)
    found = bench.judged(rows, Policy(default_action="mask"))
    for kind in (*privacy.CHECKED, "key"):
        if kind in found["by_kind"]:
            assert found["by_kind"][kind]["leaked"].value == 0


def test_leaks_are_counted_by_kind_and_blocked_rows_leak_nothing():
    rows = [bench.Row("call Zed at a@b.example", (("email", "a@b.example"), ("name", "Zed"))), bench.Row("fine", ())]
    masked = bench.judged(rows, Policy(default_action="mask"))
    assert masked["by_kind"]["name"]["leaked"].value == 1
    assert masked["leaked"].value == 0.5
    blocked = bench.judged(rows, Policy())
    assert blocked["leaked"].value == 0
    assert blocked["blocked_rows"].value == 0.5


def test_public_rows_count_units_that_stand_in_the_query():
    header = "conversation_hash,predicted_category,user_query,target_response,pii_units,redacted_query\n"
    content = header + "1,x,Ask Ann of ACME and <PRESIDIO_X>,y,ann||acme||gone||presidio_x,z\n"
    [row] = bench.pupa({"routing/pupa/PUPA_A.csv": content.encode(), "routing/other.csv": b""})
    assert row.units == (("one word", "ann"), ("one word", "acme"))
