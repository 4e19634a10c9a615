"""promote, rollback, regress, status."""

import pytest
from cli_helpers import ROUTE, write_csv
from test_contract_page import documented

from sartor import journal
from sartor.journal import AnswerRow, FeedbackRow, Journal


@pytest.fixture
def second(sartor, made, tmp_path, mails):
    """A second version of ``mails`` that learned every label wrongly."""
    turned = {"billing": "bug", "bug": "other", "other": "billing"}
    path = write_csv(tmp_path / "turned.csv", [(text, turned[label]) for text, label in mails])
    ran = sartor("generate", ROUTE, "--examples", path, "--name", "mails", "--json")
    assert (ran.code, ran.json["alias"]) == (0, "challenger")
    return ran.json


def test_the_way_of_a_release(sartor, made, second, mails_csv):
    before = sartor("status", "--json").json
    assert list(before) == documented("status")
    champion = before["models"][1]
    assert (champion["alias"], champion["gate"], champion["version"]) == ("champion", "generate", 1)

    added = sartor("regress", "add", "mails", "--data", mails_csv, "--json")
    assert added.json == {"name": "mails", "added": 12, "cases": 12, "must_pass": 0}
    refused = sartor("promote", second["id"], "--json")
    assert refused.code == 3
    assert list(refused.json) == documented("promote")
    assert (refused.json["moved"], refused.json["gate"]["passed"]) == (False, False)
    assert "--force" in refused.err

    forced = sartor("promote", second["id"], "--as", "champion", "--force", "--retain", "--json")
    assert forced.code == 0
    assert {key: forced.json[key] for key in ("name", "alias", "version", "forced", "previous")} == {
        "name": "mails",
        "alias": "champion",
        "version": 2,
        "forced": True,
        "previous": made["id"],
    }
    shown = sartor("status")
    assert "was forced" in shown.out
    assert "sartor rollback mails" in shown.out
    assert [one["policy"] for one in sartor("status", "--json").json["models"]] == [{}, {"retain": True}]

    back = sartor("rollback", "mails", "--json")
    assert list(back.json) == documented("rollback")
    assert (back.json["version"], back.json["left"]) == (1, second["id"])
    assert sartor("rollback").code == 2
    assert "was rolled back" in sartor("status").out


def test_a_canary_and_what_is_said_to_a_person(sartor, made, second):
    ran = sartor("promote", second["id"], "--canary", "10%")
    assert ran.code == 0
    assert "mails@v2 gets 10% of what mails@champion is asked, ungated." in ran.out
    assert "shares 10%" in sartor("status").out
    assert "The canary" in sartor("rollback").out
    for share in ("0", "100%", "much", "-3%", "nan"):
        assert sartor("promote", second["id"], "--canary", share).code == 2


def test_corrected_answers_become_cases(sartor, tiny, made):
    def answer(text):
        return AnswerRow(
            journal.new_answer_id(), 1.0, "mails", "champion", 1, made["id"], made["family"], "small", text=text
        )

    kept, lost = answer("the bill is broken"), answer(None)
    with Journal(tiny / journal.FILE) as book:
        book.append(kept, lost, *(FeedbackRow(row.answer_id, 2.0, "billing") for row in (kept, lost)))
        book.append(FeedbackRow(kept.answer_id, 3.0, thumbs=1))
    ran = sartor("regress", "add", "mails", "--feedback", "--must-pass", "--json")
    assert ran.json == {"name": "mails", "added": 1, "cases": 1, "must_pass": 1}
    assert "no text in the journal" in ran.err
    assert sartor("regress", "list", "mails", "--json").json["cases"] == [
        {"input": "the bill is broken", "output": "billing", "must_pass": True, "source": "feedback"}
    ]


def test_what_cannot_be_done_is_refused_with_a_sentence(sartor, made):
    assert sartor("promote", "nobody").code == 2
    assert sartor("promote", made["id"], "--as", "../x").code == 2
    assert sartor("rollback", "nobody").code == 2
    assert "nothing to go back to" in sartor("rollback", "mails").err
    assert sartor("regress", "add", "mails").code == 2
    assert sartor("regress", "add", "../mails", "--feedback").code == 2


def test_an_empty_store_has_nothing_to_tell(sartor):
    ran = sartor("status", "--json")
    assert ran.json["healthy"]
    assert [finding["level"] for finding in ran.json["findings"]] == ["info"]
