import json
from dataclasses import replace

import pytest
import torch
from benchmarks.common import Encoder, TextTask
from benchmarks.equal_quality import Curve, Point, Ratio

from benchmarks import equal_quality
from sartor.finetune import Budget
from sartor.nn import lora
from sartor.nn.text_base import load_base
from sartor.types import Example

LABELS = ("billing", "bug", "other")


@pytest.fixture
def trial(tiny, mails, tmp_path):
    rows = tuple(Example(text, label) for text, label in mails)
    task = TextTask("mails", "mail", "tests", "en", "Sort the mail.", LABELS, rows, rows[::2])
    return equal_quality.prepare(task, Encoder(load_base("all-minilm-l6-v2"), tmp_path / "features"), 2, seed=0)


def curve(maker, *points, task="mails", seed=0):
    return Curve(task, seed, maker, tuple(Point(*point) for point in points))


SARTOR = curve("sartor", (0, 0.5, 0.8))


def test_steps_are_judged_at_powers_of_two_and_between():
    judged = [step for step in range(70) if equal_quality.is_judged(step)]
    assert judged == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]


def test_every_maker_learns_from_the_same_rows_and_answers_the_same(trial):
    assert [row.output for row in trial.rows] == ["billing"] * 2 + ["bug"] * 2 + ["other"] * 2
    said = []
    curves = {curve.maker: curve for curve in equal_quality.race(trial, 0.05, said.append)}
    assert list(curves) == ["sartor", "probe", "lora", "full"]
    assert "SetFit is left out" in said[0]
    start = curves["probe"].last.balanced_accuracy
    for method in equal_quality.TRAINED:
        points = curves[method].points
        assert points[0].step == 0
        assert points[0].balanced_accuracy == start
        assert [p.seconds for p in points] == sorted(p.seconds for p in points)
        assert points[-1].seconds >= 0.05
    assert all(curve.last.seconds > 0 for curve in curves.values())


def test_with_an_anchor_lora_is_shown_from_there_as_well(trial):
    ends = lora.fresh(trial.base.encoder, 2, generator=torch.Generator().manual_seed(0))
    ends = {name: tensor + 1.0 for name, tensor in ends.items()}
    anchor = replace(trial.base, encoder=lora.merged(trial.base.encoder, ends))
    curves = {curve.maker: curve for curve in equal_quality.race(replace(trial, anchor=anchor), 0.0, lambda _: None)}
    assert list(curves) == ["sartor", "probe", "lora", "full", "lora-from-anchor"]
    assert curves["lora-from-anchor"].last.step == 0
    begun = equal_quality.tune(replace(trial, base=anchor), "probe", Budget(steps=0)).predict
    assert curves["lora-from-anchor"].last.balanced_accuracy == trial.judge_model(begun)


def test_a_curve_ends_with_the_model_of_its_last_step(trial, monkeypatch):
    monkeypatch.setattr(equal_quality, "is_judged", lambda step: step == 0)
    first, last = equal_quality.trained_curve(trial, "lora", Budget(steps=5))
    assert (first.step, last.step) == (0, 5)
    assert first.seconds < last.seconds


def test_the_ratio_is_of_the_first_point_at_sartors_accuracy():
    found = equal_quality.ratio(curve("lora", (0, 1.0, 0.7), (1, 2.0, 0.8), (2, 3.0, 0.9)), SARTOR)
    assert found == Ratio(4.0, False, 1)
    fallen = curve("lora", (0, 1.0, 0.85), (1, 2.0, 0.1))
    assert equal_quality.ratio(fallen, SARTOR) == Ratio(2.0, False, 0)


def test_a_maker_that_never_gets_there_has_a_bound():
    assert equal_quality.ratio(curve("lora", (0, 1.0, 0.7), (9, 60.0, 0.79)), SARTOR) == Ratio(120.0, True, None)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ([(3, False), (1, False), (2, False)], (2, False)),
        ([(3, True), (1, False), (2, False)], (2, False)),  # whatever lies beyond the bound, 2 stays in the middle
        ([(3, False), (1, True), (2, False)], (2, True)),  # the bound may lie anywhere above 1
        ([(3, True), (1, False), (2, True)], (2, True)),
        ([(4, True), (1, False), (2, False), (3, False)], (2, False)),
    ],
)
def test_a_median_that_rests_on_a_bound_is_one(found, wanted):
    middle = equal_quality.median([Ratio(times, bound, None) for times, bound in found])
    assert (middle.times, middle.bound) == wanted


def test_the_summary_counts_bounds_and_what_the_probe_had_already():
    curves = [SARTOR, curve("probe", (0, 0.4, 0.7))]
    curves += [curve("lora", (0, 0.5, 0.7), (1, 5.0, 0.9)), curve("full", (0, 0.5, 0.7), (1, 50.0, 0.75))]
    other = [("sartor", (0, 0.5, 0.6)), ("probe", (0, 0.4, 0.7)), ("lora", (0, 1.0, 0.7)), ("full", (0, 1.0, 0.7))]
    curves += [curve(maker, point, task="news", seed=1) for maker, point in other]
    found = equal_quality.summarise(curves)
    assert found["makers"]["sartor"] == {"curves": 2, "balanced_accuracy": pytest.approx(0.7), "seconds": 0.5}
    assert "ratio" not in found["makers"]["probe"]
    lora, full = (found["makers"][maker]["ratio"] for maker in ("lora", "full"))
    assert (lora["least"], lora["most"], lora["bounds"], lora["before_training"]) == (2.0, 10.0, 0, 1)
    assert (full["least"], full["most"], full["bounds"], full["n"]) == (2.0, 100.0, 1, 2)
    assert found["tasks"]["mails"]["full"]["median_is_bound"]
    assert ">= 100 (1/1 not)" in equal_quality.to_table(found)
    rows = {(row["task"], row["maker"]): row for row in equal_quality.to_rows(curves)}
    assert (rows["mails", "full"]["ratio"], rows["mails", "full"]["bound"]) == (100.0, True)
    assert rows["mails", "lora"]["curve"] == [[0, 0.5, 0.7], [1, 5.0, 0.9]]
    assert "ratio" not in rows["mails", "sartor"]


def test_a_mean_is_over_tasks_of_means_over_seeds():
    curves = [curve("lora", (0, 1.0, 1.0), task="a", seed=seed) for seed in range(3)]
    curves.append(curve("lora", (0, 1.0, 0.0), task="b"))
    assert equal_quality.task_mean(curves, lambda one: one.last.balanced_accuracy) == 0.5


def test_whole_processes_are_given_the_rows_and_the_steps_that_were_enough(trial, monkeypatch):
    """The processes themselves need the real base; what they are told does not."""
    seen = []

    def child(command, folder):
        seen.append(command)
        if "generate" not in command:
            told = json.loads(folder.joinpath("told.json").read_text())
            seen.append(told)
            return equal_quality.speed.Ended(6.0, 1.0, json.dumps({"steps": 12}))
        return equal_quality.speed.Ended(3.0, 1.0, json.dumps({"seconds": {"encode": 1.0}}))

    monkeypatch.setattr(equal_quality.speed, "child", child)
    sartor = curve("sartor", (0, 0.5, 0.45))
    reached = [curve("lora", (0, 1.0, 0.1), (12, 4.0, 0.5))]
    found = equal_quality.cold_start(trial, [sartor, *reached], 60.0)
    assert (found["times"], found["bound"], found["lora_steps"]) == (2.0, False, 12)
    assert seen[-1]["budget"] == {"steps": 12}
    assert seen[-1]["labels"] == list(LABELS)
    never = [curve("lora", (0, 1.0, 0.1), (12, 60.0, 0.2))]
    assert equal_quality.cold_start(trial, [sartor, *never], 60.0)["bound"]
    assert seen[-1]["budget"] == {"seconds": 60.0}


def test_the_picture_is_small_and_holds_every_task(tmp_path):
    pytest.importorskip("matplotlib")
    curves = [
        curve(
            maker,
            *((step, 0.5 + step, 0.5 + step / 100) for step in range(1 if maker in ("sartor", "probe") else 20)),
            task=f"task-{at}",
            seed=seed,
        )
        for at in range(6)
        for seed in range(3)
        for maker in equal_quality.COLOURS
    ]
    path = tmp_path / "picture.svg"
    equal_quality.draw_picture(curves, path, lambda _: None)
    drawn = path.read_text()
    assert all(f"task-{at}" in drawn for at in range(6))
    assert len(drawn) < 100_000
    equal_quality.draw_picture(curves, tmp_path / "again.svg", lambda _: None)
    assert (tmp_path / "again.svg").read_text() == drawn
