import numpy as np
import pytest
import torch

import tiny_base
import tiny_language
from benchmarks import generation
from sartor.families.text_generation import WritingBase
from sartor.nn.generator_file import Trained
from sartor.nn.text_base import TextBase
from sartor.pretrain.instructions import InstructionTask
from sartor.types import BaseRef, Example


def task(name, answer, group=None):
    rows = tuple(Example(f"{word} {at}", answer(word)) for word in ("red", "blue") for at in range(10))
    told = (f"say {name}", f"please say {name}")
    return InstructionTask(name, group or f"group {name}", "f", told, rows[:16], rows[16:], "exact_match", None)


TASKS = (task("upper", str.upper), task("first", lambda word: word[0]))


@pytest.fixture(scope="module")
def bench():
    model = tiny_language.model()
    decoder = model.decoder
    generator = tiny_language.generator(decoder).eval().requires_grad_(False)
    trained = Trained(tiny_language.anchor(decoder), generator, tiny_language.bounds(decoder))
    reader = TextBase(BaseRef("tiny", "0", "none"), tiny_base.encoder(), tiny_base.tokenizer(), "")
    return generation.bench(model, trained, WritingBase(model, trained, reader), TASKS)


@pytest.fixture(scope="module")
def judged(bench):
    rows = generation.judge(bench, TASKS[0], generation.arms(bench, *TASKS), 4, 2)
    return {row["arm"]: row for row in rows}


def test_every_arm_is_judged_on_the_same_rows(judged):
    assert list(judged) == [
        *("base", "told", "shown", "anchor", "mean", "nearest"),
        *("examples", "examples 4", "description", "prompts", "shuffled", "gibberish", "paraphrase"),
        *("other", "plain", "dial 0.5", "dial 1.5", "lora 10", "lora 60", "likeness"),
    ]
    arms = [row for row in judged.values() if row["arm"] != "likeness"]
    assert all(np.isfinite(row["loss"]) for row in arms)
    assert [row["arm"] for row in arms if "exact_match" in row] == [
        name for name in judged if name in generation.ANSWERED
    ]
    # of two tasks the other one is the nearest that was learned from, or the task itself
    assert len({row["loss"] for row in arms if row["arm"] != "nearest"}) == len(arms) - 1


def test_longer_training_on_the_rows_fits_them_better(bench):
    ways = generation.lora(bench, TASKS[0])
    states = generation.States(bench.model, bench.base.trained.layer)
    seen = [
        np.mean(generation.losses(bench, TASKS[0], arm, TASKS[0].train, states))
        for arm in (generation.Arm(bench.base.trained.anchor), *ways.values())
    ]
    assert seen == sorted(seen, reverse=True)


def test_no_row_that_is_judged_is_shown():
    for one in TASKS:
        seen = {text for condition in generation.conditions(one).values() for text in map(str, condition.support)}
        assert not seen & set(map(str, one.test))


def test_shuffled_rows_have_the_same_inputs_and_outputs_but_not_together():
    found = generation.conditions(TASKS[0])
    right, wrong = found["examples"].support, found["shuffled"].support
    assert [row.input for row in right] == [row.input for row in wrong]
    assert sorted(row.output for row in right) == sorted(row.output for row in wrong)
    assert right != wrong


def test_states_computed_once_are_those_of_a_batch(bench):
    rows = [generation.write(bench.model, row) for row in TASKS[0].train[:3]]
    states = generation.States(bench.model, 1)
    batch = generation.Batch.of(rows, torch.device("cpu"))
    with_states = generation.answer_losses(bench.model, batch, None, 1, states(rows))
    torch.testing.assert_close(with_states, generation.answer_losses(bench.model, batch, None, 1), atol=0.02, rtol=0.01)


def test_each_group_has_a_task_before_any_has_two():
    tasks = [task(f"{group}{at}", str.upper, group) for group in "abc" for at in range(3)]
    assert [one.group for one in generation.spread(tasks, 5)] == ["a", "b", "c", "a", "b"]
    assert generation.follower(tasks, 8).group == "a"


def test_an_answer_is_right_whatever_its_case_and_full_stop():
    assert generation.right("Paris.", "paris")
    assert not generation.right("Paris, France", "paris")


def test_less_loss_is_ahead_and_more_right_answers_are():
    rows = [
        {"task": name, "group": name, "arm": arm, "loss": loss, "exact_match": 1 - loss}
        for name in "ab"
        for arm, loss in (("examples", 0.2), ("anchor", 0.5), ("lora 60", 0.1))
    ]
    for field in ("loss", "exact_match"):
        found = generation.summarise(rows, field)
        assert found["ahead_of"]["anchor"].value == pytest.approx(0.3)
        assert "+0.300" in generation.to_table(field, found)
    assert generation.details(rows)["share_of_the_way_from_anchor_to_lora_60"] == pytest.approx(0.75)
