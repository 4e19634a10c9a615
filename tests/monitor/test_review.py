"""What a person should look at, and what becomes of what they say."""

import pytest
from journals import Stage, generator

from sartor import journal
from sartor.errors import NotFoundError, UserError
from sartor.journal import Reader
from sartor.monitor.journalled import RANDOM_SHARE, is_random
from sartor.monitor.review import answer, candidates, queue
from sartor.monitor.watch import Options, watch
from sartor.types import Example


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path / "home")


def test_unsure_unlike_and_random_answers_come_in_turn(stage):
    entry, rng = stage.put(), generator(1)
    ids = stage.ask(300, entry, rng, abstain=0.0)
    watch("mails", stage.home, Options(reference=100))
    unsure = stage.ask(3, entry, rng, confidence=(1, 30), abstain=0.0)
    unlike = stage.ask(3, entry, rng, shift=4.0, confidence=(30, 1), abstain=0.0)
    found = queue("mails", stage.home, most=9)
    by_reason = {}
    for item in found.items:
        by_reason.setdefault(item.reason, []).append(item.answer_id)
    assert len(found.items) == 9
    assert set(by_reason["low confidence"]) == set(unsure)
    assert set(by_reason["unlike before"]) == set(unlike)
    assert by_reason["random"]
    assert all(is_random(one) for one in by_reason["random"])
    assert {*ids, *unsure, *unlike} >= {item.answer_id for item in found.items}
    assert (found.retained, found.labels) == (0, ("billing", "bug", "other"))


def test_the_random_share_is_what_it_says_and_does_not_hang_on_the_answer(stage):
    entry = stage.put()
    ids = stage.ask(4000, entry, generator(2))
    share = sum(map(is_random, ids)) / len(ids)
    assert abs(share - RANDOM_SHARE) < 4 * (RANDOM_SHARE / len(ids)) ** 0.5


def test_a_review_is_feedback_and_a_candidate_where_the_text_is_kept(stage):
    entry, rng = stage.put(), generator(3)
    [kept] = stage.ask(1, entry, rng, kept=True, text="I was charged twice", label="bug", abstain=0.0)
    [lost] = stage.ask(1, entry, rng, label="bug", abstain=0.0)
    found = answer("mails", stage.home, kept, "billing", now=lambda: 5.0)
    assert (found.right, found.answered, found.candidate) == (False, "bug", Example("I was charged twice", "billing"))
    found = answer("mails", stage.home, lost, "bug")
    assert (found.right, found.candidate) == (True, None)
    told = [(row.answer_id, row.label, row.who) for row, _ in Reader(stage.home / journal.FILE).feedback()]
    assert told == [(kept, "billing", "review"), (lost, "bug", "review")]
    assert candidates("mails", stage.home) == (Example("I was charged twice", "billing"),)
    answer("mails", stage.home, kept, "other")
    assert candidates("mails", stage.home) == (Example("I was charged twice", "other"),)
    assert queue("mails", stage.home).items == ()


def test_what_cannot_be_judged_is_refused(stage):
    entry, rng = stage.put(), generator(4)
    [one] = stage.ask(1, entry, rng)
    with pytest.raises(UserError, match="Did you mean 'billing'"):
        answer("mails", stage.home, one, "biling")
    with pytest.raises(NotFoundError, match="no answer"):
        answer("mails", stage.home, "ans_" + 26 * "0", "bug")
    other = Stage(stage.home, name="others", clock=9e5)
    [foreign] = other.ask(1, other.put(7), rng)
    with pytest.raises(UserError, match="of the model others"):
        answer("mails", stage.home, foreign, "bug")
    assert list(Reader(stage.home / journal.FILE).feedback()) == []
