from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny_tasks
from sartor.families.text_generation import FAMILY
from sartor.nn.teacher_forcing import Batch, answer_losses, write
from sartor.pretrain import arms
from sartor.pretrain.arms import Arm, Plan
from tiny_tasks import TASKS, task


@pytest.fixture(scope="module")
def bench():
    return tiny_tasks.bench()


PLAN = Plan(rows=4, answered=2, unrelated=1, lora=(2,))


@pytest.fixture(scope="module")
def found(bench):
    return arms.judge(bench, TASKS[0], arms.arms(bench, *TASKS, PLAN), PLAN, [TASKS[1]], seed=5)


def test_all_arms_of_a_plan_are_judged_and_answered(found):
    assert [one.arm for one in found.arms] == [*arms.ARMS, "lora 2"]
    assert all(np.isfinite(one.loss) for one in found.arms)
    assert all(0 <= one.exact_match <= 1 for one in found.arms)
    timed = {one.arm for one in found.arms if one.seconds is not None}
    assert timed == {*arms.CONDITIONS, "nearest", "other", "plain", "lora 2"}
    assert (found.task, found.group, found.seed) == ("upper", "group upper", 5)


def test_a_description_beside_rows_is_not_read(found):
    loss = {one.arm: one.loss for one in found.arms}
    assert loss["all"] == loss["examples"]
    assert loss["all"] != loss["description"]


def test_only_the_arms_of_a_plan_are_made(bench):
    plan = Plan(arms=("base", "anchor", "examples", "dial 0"))
    ways = arms.arms(bench, *TASKS, plan)
    assert list(ways) == ["base", "anchor", "examples", "dial 0"]
    for path, both in ways["dial 0"].adapter.items():  # nothing of the generated part is left
        assert all(torch.allclose(*parts, atol=1e-3) for parts in zip(both, ways["anchor"].adapter[path], strict=True))
    assert set(arms.likeness(ways)) == {"norm anchor", "norm examples"}


def test_of_two_tasks_each_goes_beyond_their_mean_the_other_way(found):
    common, beyond = (found.likeness[f"cosine {how}examples, other"] for how in ("", "beyond the mean "))
    assert beyond == pytest.approx(-1, abs=1e-3)
    assert common > beyond


def test_where_nothing_was_learned_from_there_is_no_mean(bench):
    assert {"mean", "nearest"}.isdisjoint(arms.arms(tiny_tasks.bench(()), *TASKS, Plan()))


def test_longer_training_on_the_rows_fits_them_better(bench):
    ways = arms.lora(bench, TASKS[0], (10, 60))
    states = arms.States(bench.model, bench.base.trained.layer)
    seen = [
        np.mean(arms.losses(bench, TASKS[0], arm, TASKS[0].train, states))
        for arm in (Arm(bench.base.trained.anchor), *ways.values())
    ]
    assert seen == sorted(seen, reverse=True)


def test_no_row_that_is_judged_is_shown():
    for one in TASKS:
        seen = {text for condition in arms.conditions(one).values() for text in map(str, condition.support)}
        assert not seen & set(map(str, one.test))


def test_shuffled_rows_have_the_same_inputs_and_outputs_but_not_together():
    found = arms.conditions(TASKS[0])
    right, wrong = found["examples"].support, found["shuffled"].support
    assert [row.input for row in right] == [row.input for row in wrong]
    assert sorted(row.output for row in right) == sorted(row.output for row in wrong)
    assert right != wrong


def test_states_computed_once_are_those_of_a_batch(bench):
    rows = [write(bench.model, row) for row in TASKS[0].train[:3]]
    states = arms.States(bench.model, 1)
    batch = Batch.of(rows, torch.device("cpu"))
    with_states = answer_losses(bench.model, batch, None, 1, states(rows))
    torch.testing.assert_close(with_states, answer_losses(bench.model, batch, None, 1), atol=0.02, rtol=0.01)


def test_each_group_has_a_task_before_any_has_two():
    tasks = [task(f"{group}{at}", str.upper, group) for group in "abc" for at in range(3)]
    assert [one.group for one in arms.spread(tasks, 5)] == ["a", "b", "c", "a", "b"]
    assert arms.follower(tasks, 8).group == "a"


def test_an_answer_is_right_whatever_its_case_and_full_stop():
    assert arms.right("Paris.", "paris")
    assert not arms.right("Paris, France", "paris")


def test_a_seed_draws_other_rows_and_none_from_the_other_side():
    one = TASKS[0]
    assert arms.redrawn(one, 0) is one
    drawn = arms.redrawn(one, 1)
    assert drawn == arms.redrawn(one, 1) != arms.redrawn(one, 2)
    assert drawn.train != one.train
    assert (set(drawn.train), set(drawn.test)) == (set(one.train), set(one.test))


# --- prompts of other tasks


def test_an_adapter_that_changes_nothing_does_no_harm(bench):
    idle = {path: (a, torch.zeros_like(b)) for path, (a, b) in bench.base.trained.anchor.items()}
    for one in arms.harm(bench, {"idle": Arm(idle)}, TASKS):
        assert one.kl == pytest.approx(0, abs=1e-6)
        assert one.after == one.before
        assert one.tokens_after == one.tokens_before


def test_the_tokens_that_a_base_has_right_are_counted(bench):
    """What it holds for the likeliest itself is all right, and what it does not is all wrong."""
    decoder, row = bench.model.decoder, TASKS[0].test[0]
    prompt = bench.model.prompt(row.input)
    states = arms.States(bench.model, 1)
    ids = torch.tensor([prompt])
    likeliest = int(decoder.logits(decoder(ids)[0, -1]).argmax())
    for token, wanted in ((likeliest, 1.0), ((likeliest + 1) % 200, 0.0)):
        written = arms.Written((*prompt, token), len(prompt))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(arms, "write", lambda *rest, written=written, **more: written)
            [(_, before, _)] = arms.divergences(bench.model, None, [row], states)
        assert before == wanted


def test_harm_is_told_for_both_ways_to_ask(found):
    assert [(one.arm, one.way) for one in found.harm] == [
        (arm, way) for way in ("told", "shown") for arm in ("anchor", "examples", "description", "lora 2")
    ]
    assert all(one.kl > 0 for one in found.harm)


def test_the_divergence_is_that_of_the_plain_base_from_the_adapted(bench):
    row, adapter = TASKS[0].test[0], bench.base.trained.anchor
    written = write(bench.model, row)
    batch = Batch.of([written], torch.device("cpu"))
    decoder = bench.model.decoder
    states = (decoder(batch.ids_BT, batch.keep_BT, adapters=one)[0, batch.places_M] for one in ({}, adapter))
    plain, adapted = (decoder.logits(one).double().log_softmax(-1) for one in states)
    wanted = float((plain.exp() * (plain - adapted)).sum(-1).mean())
    [(kl, before, after)] = arms.divergences(bench.model, adapter, [row], arms.States(bench.model, 1))
    assert kl == pytest.approx(wanted, rel=0.05)
    hits = [float((one.argmax(-1) == batch.targets_M).double().mean()) for one in (plain, adapted)]
    assert [before, after] == pytest.approx(hits)


def test_lost_answers_are_counted(bench, monkeypatch):
    said = {None: "RED", "adapted": "blue"}
    monkeypatch.setattr(
        type(FAMILY), "written", lambda self, base, adapter, texts, writing: [said[adapter and "adapted"]] * len(texts)
    )
    fresh = replace(bench, said={})
    red = replace(TASKS[0], test=TASKS[0].train[:4])
    told, _ = arms.harm(fresh, {"anchor": Arm(bench.base.trained.anchor)}, [red])
    assert (told.before, told.after) == (1.0, 0.0)
    assert len(fresh.said) == 2
