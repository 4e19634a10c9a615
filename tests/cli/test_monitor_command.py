"""``sartor monitor`` and ``sartor review`` from a generated model to a rollback, on a synthetic journal."""

import json
import time

import numpy as np
import pytest

from sartor import journal
from sartor.journal import AnswerRow, FeedbackRow, Journal, Reader, new_answer_id
from sartor.monitor import sinks
from sartor.registry.store import Store

FAST = ("--reference", "100", "--false-alarms", "5")


@pytest.fixture
def asked(made, home):
    """Let the model that was made answer; gives ``ask(rows)``, which returns the answers' ids."""
    entry = Store(home).get("mails@champion")
    rng = np.random.default_rng(0)
    clock = [1000.0]

    def row(shift, text):
        clock[0] += 1
        return AnswerRow(
            answer_id=new_answer_id(clock[0]),
            at=clock[0],
            name="mails",
            alias="champion",
            version=entry.version,
            model=Store(home).aliases("mails")["champion"],
            family=entry.family,
            source="small",
            confidence=float(rng.beta(8, 2)),
            label=str(rng.choice(["billing", "bug", "other"])),
            latency_ms=5.0,
            input_chars=int(rng.integers(10, 90)),
            projection=tuple((rng.standard_normal(32) + shift).tolist()),
            text=text,
        )

    def ask(rows, *, shift=0.0, text=None):
        found = [row(shift, text) for _ in range(rows)]
        write(home, *found)
        return [one.answer_id for one in found]

    return ask


def write(home, *rows):
    with Journal(home / journal.FILE, mode="fast") as writer:
        writer.append(*rows)


def test_monitor_learns_alerts_and_says_what_to_do(sartor, asked, tmp_path):
    asked(50)
    ran = sartor("monitor", "mails", "--once", *FAST)
    assert ran.code == 0, ran.err
    assert "Learning what is usual: 50 of 100 requests" in ran.out
    asked(110)
    metrics = tmp_path / "sartor.prom"
    ran = sartor("monitor", "--once", *FAST, "--prometheus", metrics, "--json")
    assert ran.code == 0, ran.err
    [health] = ran.json["models"]
    assert (health["level"], health["seen"], health["learning"]) == ("ok", 60, False)
    asked(60, shift=2.0)
    ran = sartor("monitor", "mails", "--once", *FAST)
    assert ran.code == 3
    assert "mails@v1" in ran.out
    assert "Inputs are about something else than before." in ran.out
    assert "Refused: " in ran.err
    assert "mails" in ran.err
    assert 'signal="input-mmd"} 0' in metrics.read_text()
    ran = sartor("monitor", "mails", "--once", *FAST, "--json")
    assert ran.code == 3
    assert ran.json["models"][0]["level"] == "alert"
    assert sartor("monitor", "mails", "--once", "--forget", *FAST).code == 0


def test_monitor_goes_back_when_people_say_that_answers_are_wrong(sartor, asked, home, mails_csv):
    store = Store(home)
    first = store.get("mails@champion")
    assert sartor("generate", "Sort mails", "--examples", mails_csv, "--name", "mails", "--seed", 1).code == 0
    second = store.list()[-1]
    assert (second.version, second.id) == (2, second.id)
    store.move_alias("mails", "champion", second.id, expected=first.id)
    ids = asked(260)
    assert sartor("monitor", "--once", *FAST, "--rollback").code == 0
    write(home, *(FeedbackRow(one, 5e3, thumbs=-1, who="api") for one in ids))
    ran = sartor("monitor", "--once", *FAST, "--rollback", "--json")
    assert ran.code == 3
    assert "went back to v1" in ran.json["models"][0]["rolled_back"]
    assert store.aliases("mails")["champion"] == first.id
    store.verify_chain()


def test_monitor_looks_again_until_it_is_interrupted(sartor, asked, monkeypatch):
    asked(10)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    ran = sartor("monitor", "mails", "--every", "7")
    assert (ran.code, slept) == (130, [7.0, 7.0])


def test_nothing_is_sent_where_the_settings_do_not_say_so(sartor, asked, monkeypatch):
    monkeypatch.setattr(sinks, "_post", pytest.fail)
    ran = sartor("monitor", "mails", "--once", "--webhook", "http://127.0.0.1:9/")
    assert ran.code == 2
    assert "SARTOR_OFFLINE" in ran.err


@pytest.mark.parametrize("arguments", [("monitor", "--once"), ("monitor", "nobody", "--once"), ("review", "nobody")])
def test_without_a_champion_there_is_nothing_to_watch_or_review(sartor, home, arguments):
    ran = sartor(*arguments)
    assert ran.code == 2
    assert ran.err.startswith("Error: ")


def test_review_lists_answers_and_takes_a_label(sartor, asked, home):
    asked(30)
    [kept] = asked(1, text="I was charged twice")
    ran = sartor("review", "mails", "--most", 40)
    assert ran.code == 0, ran.err
    assert "The texts of 30 of 31 were not kept" in ran.out
    assert "I was charged twice" in ran.out
    listed = sartor("review", "mails", "--most", 40, "--json").json
    assert listed["retained"] == 1
    ran = sartor("review", "mails", "--answer", kept, "--label", "billing", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["candidate"] == {"input": "I was charged twice", "output": "billing"}
    other = next(item["answer_id"] for item in listed["items"] if item["answer_id"] != kept)
    said = sartor("review", "mails", "--answer", other, "--label", "bug").out
    assert "its text was not kept" in said.lower()
    assert len(list(Reader(home / journal.FILE).feedback(name="mails"))) == 2
    assert kept not in json.dumps(sartor("review", "mails", "--most", 40, "--json").json)


@pytest.mark.parametrize("flags", [("--answer", "ans_" + 26 * "0"), ("--label", "bug")])
def test_half_a_judgement_is_refused(sartor, made, flags):
    ran = sartor("review", "mails", *flags)
    assert ran.code == 2
    assert "--answer ID --label LABEL" in ran.err


def test_there_is_no_review_where_nothing_was_asked(sartor, made):
    assert sartor("review", "mails").out == "No answer of mails waits for review.\n"
