import json
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.common import RESULTS

import tiny_tasks
from benchmarks import generation
from sartor.pretrain import arms


@pytest.fixture(scope="module")
def judged():
    bench, (task, other) = tiny_tasks.bench(), tiny_tasks.TASKS
    plan = replace(generation.PLAN, rows=4, answered=2)
    found = arms.judge(bench, task, arms.arms(bench, task, other, plan), plan)
    return {row["arm"]: row for row in generation.as_rows(found)}


def test_every_arm_is_judged_on_the_same_rows(judged):
    assert list(judged) == [
        *("base", "told", "shown", "anchor", "mean", "nearest"),
        *("examples", "examples 4", "description", "prompts", "shuffled", "gibberish", "paraphrase"),
        *("other", "plain", "dial 0.5", "dial 1.5", "lora 10", "lora 60", "likeness"),
    ]
    rows = [row for row in judged.values() if row["arm"] != "likeness"]
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert [row["arm"] for row in rows if "exact_match" in row] == [
        name for name in judged if name in generation.ANSWERED
    ]
    # of two tasks the other one is the nearest that was learned from, or the task itself
    assert len({row["loss"] for row in rows if row["arm"] != "nearest"}) == len(rows) - 1


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


def test_the_rows_that_are_kept_say_what_their_summary_says(judged):
    """A row has the keys that kept ones have, and the figures of the README come out of the rows again."""
    kept = json.loads((RESULTS / "generation.json").read_text())
    by_arm = {row["arm"]: row for row in kept["rows"]}
    assert {arm: list(row) for arm, row in judged.items()} == {arm: list(by_arm[arm]) for arm in judged}
    for field in ("loss", "exact_match"):
        found, wanted = generation.summarise(kept["rows"], field), kept["summary"][field]
        for part in ("mean", "ahead_of"):
            assert list(found[part]) == list(wanted[part])
            for arm, metric in found[part].items():
                assert [metric.value, metric.low, metric.high] == pytest.approx(wanted[part][arm], abs=2e-3)
    more = generation.details(kept["rows"])
    assert more["mean_likeness"] == pytest.approx(kept["summary"]["more"]["mean_likeness"], abs=1e-3)
    assert more["median_seconds"] == pytest.approx(kept["summary"]["more"]["median_seconds"], abs=1e-3)
