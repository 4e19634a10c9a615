import numpy as np
import pytest
import torch

import tiny_language
from benchmarks import generation
from sartor.pretrain import adapters
from sartor.pretrain.adapters import Dial, Sentences
from sartor.pretrain.generator import Generator, SetEncoder
from sartor.pretrain.instructions import InstructionTask
from sartor.pretrain.run import Pace
from sartor.types import Example

DIAL = Dial(Pace(steps=1, rate=1e-2, warm_up=1, every=1), tasks=1, rows=1, rank=2, layers=2)


def task(name, answer):
    rows = tuple(Example(f"{word} {at}", answer(word)) for word in ("red", "blue") for at in range(10))
    return InstructionTask(name, f"group {name}", "f", (f"say {name}",), rows[:16], rows[16:], "exact_match", None)


TASKS = (task("upper", str.upper), task("first", lambda word: word[0]))


@pytest.fixture(scope="module")
def trained():
    model = tiny_language.model()
    anchor = adapters.as_adapters(adapters.fresh(model, DIAL, 0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Generator(adapters.chosen_sites(model, DIAL), rank=2, width=32)
        made.encoder = SetEncoder(inputs=8, width=32)
        torch.nn.init.normal_(made.head.small.weight, std=0.3)
    texts = [*adapters.condition_texts(TASKS), *(generation.gibberish(one.descriptions[0]) for one in TASKS)]
    drawn = np.random.default_rng(0).normal(size=(len(texts), 8))
    sentences = Sentences(texts, (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16))
    return generation.Trained(model, anchor, made.eval(), sentences, 1)


@pytest.fixture(scope="module")
def judged(trained):
    with torch.inference_mode():
        payload = [trained.payload(generation.conditions(one)["both"]) for one in TASKS]
        ways = generation.arms(trained, *TASKS, torch.cat(payload).mean(dim=0, keepdim=True))
        return {row["arm"]: row for row in generation.judge(trained, TASKS[0], ways, 4, 2)}


def test_every_arm_is_judged_on_the_same_rows(judged):
    assert list(judged) == [
        *("base", "told", "shown", "anchor", "mean"),
        *("description", "examples", "both", "gibberish", "other"),
    ]
    assert all(np.isfinite(row["loss"]) and 0 <= row["exact_match"] <= 1 for row in judged.values())


def test_an_anchor_that_changes_nothing_is_the_base_and_conditions_differ(judged):
    assert judged["anchor"]["loss"] == pytest.approx(judged["base"]["loss"], abs=1e-6)
    generated = [judged[arm]["loss"] for arm in ("mean", "description", "examples", "both", "gibberish", "other")]
    assert len({round(loss, 4) for loss in generated}) == len(generated)
    assert len({round(judged[arm]["loss"], 4) for arm in ("base", "told", "shown")}) == 3


def test_no_row_that_is_judged_is_shown(trained):
    for one in TASKS:
        seen = {text for condition in generation.conditions(one).values() for text in map(str, condition.support)}
        assert not seen & set(map(str, one.test))


def test_an_answer_is_right_whatever_its_case_and_full_stop():
    assert generation.right("Paris.", "paris")
    assert not generation.right("Paris, France", "paris")


def test_less_loss_is_ahead_and_more_right_answers_are():
    rows = [
        {"task": name, "group": name, "arm": arm, "loss": loss, "exact_match": 1 - loss}
        for name in "ab"
        for arm, loss in (("both", 0.2), ("anchor", 0.5))
    ]
    for field in ("loss", "exact_match"):
        found = generation.summarise(rows, field)
        assert found["both_ahead_of"]["anchor"].value == pytest.approx(0.3)
        assert "+0.300" in generation.to_table(field, found)
