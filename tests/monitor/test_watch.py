"""The monitor over a journal: learns, alerts, remembers, and goes back."""

import json
import sqlite3
from dataclasses import replace

import pytest
from journals import COLUMNS, Stage, generator

from sartor import journal
from sartor.errors import NotFoundError, StorageError, UserError
from sartor.journal import FeedbackRow, Reader
from sartor.monitor import memory
from sartor.monitor.journalled import is_random
from sartor.monitor.signals import Budget
from sartor.monitor.watch import Options, champions, forget, health, watch
from sartor.registry.store import Store

OPTIONS = Options(reference=100, budget=Budget(false_alarms=5.0, warnings=20.0, windows=(40,)))


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path / "home")


def look(stage, options=OPTIONS, **more):
    return watch(stage.name, stage.home, options, now=lambda: stage.clock, **more)


def level(found, signal):
    return next(line.level for line in found.lines if line.signal == signal)


def test_it_learns_first_and_alerts_then(stage):
    entry, rng = stage.put(), generator(1)
    assert health("mails", stage.home, OPTIONS).at == 0
    stage.ask(60, entry, rng)
    first = look(stage)
    assert (first.learning, first.reference, first.wanted, first.seen, first.lines) == (True, 60, 100, 0, ())
    stage.ask(120, entry, rng)
    usual = look(stage)
    assert (usual.learning, usual.seen, usual.level, usual.changes) == (False, 80, "ok", ())
    stage.ask(80, entry, rng, shift=1.0)
    drifted = look(stage)
    assert {change.signal for change in drifted.changes if change.after == "alert"} == {"input-mmd", "input-classifier"}
    assert (drifted.level, level(drifted, "input-mmd"), level(drifted, "output-labels")) == ("alert", "alert", "ok")
    assert all(line.advice for line in drifted.lines if line.level == "alert")
    told = [event.body["signal"] for event in stage.events("alert") if event.body["after"] == "alert"]
    assert sorted(told) == ["input-classifier", "input-mmd"]
    again = look(stage)
    assert (again.level, again.changes, again.seen) == ("alert", (), 160)
    kept = health("mails", stage.home, OPTIONS)
    assert (kept.level, kept.lines, kept.seen) == (again.level, again.lines, again.seen)


def test_many_looks_say_what_one_says(stage, tmp_path):
    other = Stage(tmp_path / "other")
    for one, parts in ((stage, [260]), (other, [10, 90, 1, 39, 60, 60])):
        entry, rng = one.put(), generator(2)
        left = [one.row(entry, rng, shift=0.0 if at < 200 else 0.8) for at in range(260)]
        for part in parts:
            one.write(*left[:part])
            del left[:part]
            found = look(one)
        assert found.seen == 160
    both = [memory.Memory(one.home).read("mails", entry.id) for one in (stage, other)]
    assert both[0].book.state == both[1].book.state
    assert both[0].tail.seq == both[1].tail.seq


def test_failed_requests_are_errors(stage):
    entry, rng = stage.put(), generator(3)
    stage.ask(150, entry, rng)
    assert look(stage).level == "ok"
    stage.fail(20, entry)
    stage.ask(5, entry, rng)
    found = look(stage)
    assert level(found, "errors") == "alert"
    assert found.seen == 75


def test_answers_off_the_list_are_told(stage):
    entry, rng = stage.put(), generator(4)
    stage.ask(120, entry, rng)
    stage.ask(30, entry, rng, label="something else")
    assert level(look(stage), "out-of-list") == "alert"


def goes_back(stage):
    """Return a rollback as the command line has one, and what was asked of it."""
    asked = []

    def back(name, model, why):
        asked.append((name, model, why))
        first = min(Store(stage.home).list(), key=lambda entry: entry.version)
        Store(stage.home).move_alias(name, "champion", first.id, expected=model)
        return f"went back to v{first.version}"

    return back, asked


def test_wrong_answers_move_the_alias_back_once(stage):
    rng = generator(5)
    old = stage.put(1)
    stage.judge(stage.ask(120, old, rng), rng, wrong=0.1)
    new = stage.put(2)
    ids = stage.ask(300, new, rng)
    back, asked = goes_back(stage)
    assert look(stage, rollback=back).level == "ok"
    assert any("judged answers of other versions" in note for note in look(stage, rollback=back).notes)
    stage.judge(ids, rng, wrong=0.7)
    found = look(stage, rollback=back)
    assert level(found, "accuracy") == "alert"
    assert found.rolled_back == "went back to v1"
    assert [(name, model) for name, model, _ in asked] == [("mails", new.id)]
    assert Store(stage.home).aliases("mails")["champion"] == old.id
    assert [event.body["model"] for event in stage.events("rollback")] == [new.id]
    after = look(stage, rollback=back)
    assert (after.version, after.rolled_back, len(asked)) == (1, "", 1)


def test_nothing_to_go_back_to_is_told_and_not_tried_again(stage):
    entry, rng = stage.put(), generator(6)
    ids = stage.ask(150, entry, rng)
    look(stage)
    stage.judge(ids, rng, wrong=0.8)
    calls = []

    def back(name, model, why):
        calls.append(why)
        raise UserError("there is no other.")

    assert look(stage, rollback=back).rolled_back == "Not rolled back: there is no other."
    look(stage, rollback=back)
    assert len(calls) == 1


def test_what_inputs_do_moves_no_alias(stage):
    entry, rng = stage.put(), generator(7)
    stage.ask(140, entry, rng)
    stage.ask(80, entry, rng, shift=2.0, confidence=(2, 6))
    back, asked = goes_back(stage)
    found = look(stage, rollback=back)
    assert level(found, "expected-accuracy") == level(found, "input-mmd") == "alert"
    assert not asked


def test_only_judgements_that_are_a_fair_sample_count(stage):
    entry, rng = stage.put(), generator(8)
    ids = stage.ask(260, entry, rng)
    look(stage)
    picked = [one for one in ids if not is_random(one)]
    stage.judge(picked[:100], rng, wrong=1.0, who="review")
    stage.judge(picked[100:150], rng, wrong=1.0, who="large")
    assert look(stage).judged == 0
    stage.judge(picked[200:210], rng, wrong=0.0)
    stage.judge(picked[200:210], rng, wrong=1.0)  # a second word on the same answer
    found = look(stage)
    assert (found.judged, level(found, "accuracy")) == (10, "ok")
    assert next(line.reading.value for line in found.lines if line.signal == "accuracy") == 0.0


def test_feedback_given_while_learning_is_not_lost(stage):
    entry, rng = stage.put(), generator(9)
    stage.judge(stage.ask(50, entry, rng), rng)
    assert look(stage).judged == 0
    stage.ask(60, entry, rng)
    assert look(stage).judged == 50


def test_a_right_label_and_a_wrong_one(stage):
    entry, rng = stage.put(), generator(10)
    ids = stage.ask(110, entry, rng, label="bug", abstain=0.0)
    stage.write(*(FeedbackRow(one, stage.clock, label="bug" if at else "other") for at, one in enumerate(ids[:4])))
    found = look(stage)
    assert found.judged == 4
    assert next(line.reading.value for line in found.lines if line.signal == "accuracy") == pytest.approx(0.25)


def table_rows(stage, entry, rng, rows, colour):
    texts = [json.dumps({"price": float(rng.gamma(5)), "colour": str(rng.choice(colour))}) for _ in range(rows)]
    return [stage.row(entry, rng, kept=True, text=text) for text in texts]


def test_columns_are_watched_while_the_journal_has_them_and_never_kept(tmp_path):
    stage = Stage(tmp_path / "home", columns=COLUMNS)
    entry, rng = stage.put(), generator(11)
    stage.write(*table_rows(stage, entry, rng, 130, ["red", "blue"]))
    assert look(stage).level == "ok"
    stage.write(*table_rows(stage, entry, rng, 60, ["red"]))
    found = look(stage)
    assert level(found, "input-columns") == "alert"
    content = (stage.home / memory.FILE).read_bytes()
    kept = memory.Memory(stage.home).read("mails", entry.id)
    assert kept.reference.rows.cells == kept.tail.rows.cells == {}
    assert b"colour" not in content
    assert b"blue" not in content


def test_columns_that_are_not_retained_are_said_not_to_be_watched(tmp_path):
    stage = Stage(tmp_path / "home", columns=COLUMNS)
    entry, rng = stage.put(), generator(12)
    stage.ask(130, entry, rng)
    assert any("Columns are not watched" in note for note in look(stage).notes)


def test_broken_weights_are_told_at_once(stage):
    stage.put(weight=float("nan"))
    found = look(stage)
    assert (found.level, [line.signal for line in found.lines]) == ("alert", ["adapter"])
    assert [change.signal for change in found.changes] == ["adapter"]
    assert look(stage).changes == ()


def test_what_is_usual_can_be_begun_anew(stage):
    entry, rng = stage.put(), generator(13)
    stage.ask(140, entry, rng)
    stage.ask(80, entry, rng, shift=2.0)
    assert look(stage).level == "alert"
    forget("mails", stage.home)
    stage.ask(160, entry, rng, shift=2.0)
    found = look(stage)
    assert (found.level, found.reference, found.seen) == ("ok", 100, 60)


def test_who_comes_second_changes_nothing(stage):
    entry, rng = stage.put(), generator(14)
    stage.ask(120, entry, rng)
    look(stage)
    book = memory.Memory(stage.home)
    before = book.read("mails", entry.id)
    assert book.write("mails", entry.id, replace(before, at=1.0))
    assert not book.write("mails", entry.id, replace(before, at=2.0))
    assert book.read("mails", entry.id).at == 1.0
    assert not book.write("mails", entry.id, replace(before, turn=0))


def test_without_a_champion_there_is_nothing_to_watch(stage):
    stage.put(champion=False)
    assert champions(stage.home) == ()
    with pytest.raises(NotFoundError, match="no alias"):
        look(stage)


def test_a_reference_is_not_made_of_a_handful():
    with pytest.raises(UserError, match="needs 100 requests"):
        Options(reference=20)


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at" * 20, b""])
def test_a_memory_that_is_damaged_is_a_sentence(stage, content):
    entry, rng = stage.put(), generator(15)
    stage.ask(110, entry, rng)
    look(stage)
    (stage.home / memory.FILE).write_bytes(content)
    if content:
        with pytest.raises(StorageError, match="move it away"):
            look(stage)
    else:
        assert look(stage).seen == 10


def test_a_newer_memory_is_refused(stage):
    stage.put()
    look(stage)
    with sqlite3.connect(stage.home / memory.FILE) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StorageError, match="newer"):
        look(stage)


def test_memory_is_for_its_owner_alone(stage):
    stage.put()
    look(stage)
    assert (stage.home / memory.FILE).stat().st_mode & 0o077 == 0
    assert next(Reader(stage.home / journal.FILE).answers(), None) is None
