import numpy as np
import pytest

from benchmarks import controls
from sartor.nn.text_base import load_base
from sartor.pretrain.public import TextTask
from sartor.types import Example, Label, Requirement

WORDS = {"refunds": "refund money pay card", "crashes": "crash bug error app", "praise": "great good love thanks"}


def task(name="t", group="g", description="say what it is"):
    rows = [
        Example(f"{word} {other} {at}", label)
        for label, words in WORDS.items()
        for word in words.split()
        for other in ("the thing", "my house")
        for at in range(2)
    ]
    return TextTask(name, group, "textcls", "en", description, tuple(WORDS), tuple(rows[::2]), tuple(rows[1::2]))


def need(description="say what it is"):
    labels = tuple(Label(name) for name in WORDS)
    return Requirement("text-classification", "t", description, labels, "en", "all-minilm-l6-v2", 64)


def test_descriptions_are_another_tasks_letters_or_none():
    found = {**controls.described(need(), "count the words"), **controls.garbled(need())}
    assert found["other description"].description == "count the words"
    assert found["no description"].description == ""
    gibberish = found["gibberish"].description
    assert gibberish != "say what it is"
    assert [len(word) for word in gibberish.split()] == [3, 4, 2, 2]


def test_names_are_mute_or_those_of_other_labels():
    found = controls.named(need())
    assert [label.name for label in found["no names"].labels] == ["label 1", "label 2", "label 3"]
    swapped = [label.name for label in found["swapped names"].labels]
    assert sorted(swapped) == sorted(WORDS)
    assert all(one != other for one, other in zip(swapped, WORDS, strict=True))


def test_the_other_description_is_of_another_group():
    tasks = [task("a", "one", "A"), task("b", "one", "B"), task("c", "two", "C")]
    assert [controls._other(tasks, one) for one in tasks] == ["C", "C", "A"]


def test_a_question_is_half_yes_and_half_no():
    asked = [question for question, _ in controls.ask(task())]
    assert {question.description for question in asked} == {controls.ASK.format(name) for name in WORDS}
    assert all(question.description != other for question, other in controls.ask(task()))
    for question in asked:
        label = next(name for name in WORDS if name in question.description)
        for rows in (question.train, question.test):
            answers = [row.output for row in rows]
            assert answers.count("yes") == answers.count("no") > 3
            about = [any(word in row.input.split() for word in WORDS[label].split()) for row in rows]
            assert about == [answer == "yes" for answer in answers]


@pytest.fixture
def judged(tiny):
    base = load_base("all-minilm-l6-v2+anchor2")
    trial = controls.prepare(task(), base, [0, 1])
    whole = trial.requirement
    variants = controls.described(whole, "count the words") | controls.garbled(whole) | controls.named(whole)
    return [*controls.judge(trial, base, variants), *controls.judge_random(trial, base)]


def test_every_variant_is_judged_at_every_number_of_shots(judged):
    variants = dict.fromkeys(row["variant"] for row in judged)
    assert set(variants) == {
        *(controls.RIGHT, controls.RANDOM, controls.FLOOR, controls.TOLD),
        *("other description", "gibberish", "no description", "no names", "swapped names", controls.UNASKED),
    }
    assert len(judged) == len(variants) * len(controls.SHOTS)
    assert {row["draws"] for row in judged if row["shots"] == 0} == {1}
    assert {row["draws"] for row in judged if row["shots"] == 4} == {2}


def test_the_same_adapter_in_the_place_of_the_random_one_is_the_same_model(judged):
    values = {(row["shots"], row["variant"]): row["balanced_accuracy"] for row in judged}
    assert all(values[many, controls.RANDOM] == values[many, controls.RIGHT] for many in controls.SHOTS)


def test_questions_are_judged(tiny):
    base = load_base("all-minilm-l6-v2+anchor2")
    [(question, other), *_] = controls.ask(task())
    trial = controls.prepare(question, base, [0])
    rows = controls.judge(trial, base, controls.described(trial.requirement, other))
    assert {row["variant"] for row in rows} == {
        *(controls.RIGHT, controls.TOLD, controls.FLOOR, "other description", "no description", controls.UNASKED)
    }
    floor = [row["balanced_accuracy"] for row in rows if row["variant"] == controls.FLOOR and row["shots"] == 0]
    assert np.isfinite(floor).all()


def test_the_summary_counts_groups_once_and_says_what_the_right_one_is_ahead():
    rows = [
        {"task": name, "group": group, "variant": variant, "shots": many, "balanced_accuracy": value}
        for name, group, right, wrong in (("a", "g", 1.0, 0.0), ("b", "g", 0.0, 0.0), ("c", "h", 0.7, 0.6))
        for many in controls.SHOTS
        for variant, value in ((controls.RIGHT, right), ("no names", wrong))
    ]
    found = controls.summarise(rows)
    assert (found["tasks"], found["groups"]) == (3, 2)
    ahead = found["4"]["right_minus"]["no names"]
    assert ahead.value == pytest.approx((0.5 + 0.1) / 2)
    assert ahead.low == pytest.approx(0.1)
    assert "right - it" in controls.to_table("x", found)
