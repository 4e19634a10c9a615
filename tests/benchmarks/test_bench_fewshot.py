from dataclasses import replace

import numpy as np
import pytest
from benchmarks.common import Encoder, IndexRow, TextTask
from benchmarks.fewshot import Outcome

from benchmarks import common, fewshot, heldout, intents, japanese
from sartor.evaluate import quality
from sartor.evaluate.compare import paired
from sartor.nn.text_base import load_base
from sartor.pretrain import public
from sartor.types import Example

LABELS = ("billing", "bug", "other")


@pytest.fixture
def task(mails):
    rows = tuple(Example(text, label) for text, label in mails)
    return TextTask("mails", "mail", "tests", "en", "Sort the mail.", LABELS, rows, rows[::2])


@pytest.fixture
def encoded(tiny, task, tmp_path):
    return fewshot.prepare(task, Encoder(load_base("all-minilm-l6-v2"), tmp_path / "features"))


def outcome(task, maker, right, *, shots: fewshot.Shots = 4, seed=0, group="g"):
    """Of a task with two test rows of each of two labels, ``right`` of the first label's answered rightly."""
    targets = np.array([0, 0, 1, 1])
    probabilities = np.eye(2)[[0 if at < right else 1 for at in range(2)] + [1, 1]]
    about = TextTask(task, group, "tests", "en", "", ("a", "b"), (), tuple(Example("", label) for label in "aabb"))
    scores = quality.scores(targets, probabilities)
    return Outcome(about, shots, seed, maker, scores, paired(targets, np.eye(2)[targets], probabilities), "ridge")


def test_rows_are_drawn_by_label_and_by_seed(task):
    drawn = fewshot.draw(task.train, 2, seed=0)
    assert [task.train[row].output for row in drawn] == ["billing"] * 2 + ["bug"] * 2 + ["other"] * 2
    assert set(fewshot.draw(task.train, 1, seed=0)) < set(drawn)
    assert any(set(fewshot.draw(task.train, 2, seed)) != set(drawn) for seed in range(1, 5))
    assert fewshot.draw(task.train, 0, seed=0).dtype == np.int64
    assert len(fewshot.draw(task.train, 0, seed=0)) == 0
    assert fewshot.draw(task.train, "all", seed=0).tolist() == list(range(12))


def test_texts_are_encoded_once(encoded, task, tmp_path, monkeypatch):
    kept = {path.name for path in (tmp_path / "features").iterdir()}
    assert len(kept) == 2
    again = Encoder(load_base("all-minilm-l6-v2"), tmp_path / "features")
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "features").iterdir()}
    found = fewshot.prepare(task, again)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "features").iterdir()} == stamps
    np.testing.assert_array_equal(found.test.pooled, encoded.test.pooled)


def test_the_model_and_every_control_answer_the_same_rows(encoded):
    outcomes = fewshot.study(encoded, (0, 2, "all"), seeds=(0, 1))
    makers = {shots: [o.maker for o in outcomes if o.shots == shots and o.seed == 0] for shots in (0, 2, "all")}
    assert makers[0] == ["model", "anchor", "majority", "label-names"]
    assert makers[2] == makers["all"] == ["model", "anchor", "majority", "tfidf", "label-names", "probe"]
    assert {o.seed for o in outcomes if o.shots == 2} == {0, 1}
    assert {o.seed for o in outcomes if o.shots in (0, "all")} == {0}
    assert all(o.scores.n == 6 for o in outcomes)
    rows = fewshot.to_rows(outcomes)
    assert [row["shots"] for row in rows] == [0, 2, "all"]
    assert [row["head"] for row in rows] == ["zero-shot", "ridge", "ridge"]
    assert len(rows[1]["minus_probe"]) == 2
    assert "minus_probe" not in rows[0]


def test_where_there_is_an_anchor_it_is_judged_left_off_and_asked_nothing(tiny, task, tmp_path):
    anchored = Encoder(load_base("all-minilm-l6-v2+anchor2"), tmp_path / "features")
    answers = {"billing": "yes", "bug": "no"}
    rows = tuple(Example(row.input, answers[row.output]) for row in task.train if row.output in answers)
    asked = replace(task, labels=("yes", "no"), description="Is it about a bill?", train=rows, test=rows)
    for judged, alike in ((task, True), (asked, False)):
        encoded = fewshot.prepare(judged, anchored)
        found = {outcome.maker: outcome.scores for outcome in fewshot.study(encoded, (0,), seeds=(0,))}
        assert list(found) == ["model", fewshot.ALONE, fewshot.FLOOR, "majority", "label-names"]
        assert (found["model"].log_loss == found[fewshot.ALONE].log_loss) is alike


def test_differences_are_paired_by_seed():
    outcomes = [outcome("t", "model", 2, seed=0), outcome("t", "model", 1, seed=1)]
    outcomes += [outcome("t", "probe", 0, seed=0), outcome("t", "probe", 1, seed=1)]
    values = fewshot.over_seeds(outcomes, "balanced_accuracy")
    assert fewshot.differences(values, "t", 4, "probe") == [0.5, 0.0]
    [cell] = fewshot.by_task(outcomes, "balanced_accuracy")
    assert cell["model_minus"]["probe"].value == 0.25
    assert cell["balanced_accuracy"]["model"].value == 0.875


def test_one_draw_has_no_interval_over_seeds():
    outcomes = [outcome("t", "model", 2), outcome("t", "probe", 1)]
    [balanced] = fewshot.by_task(outcomes, "balanced_accuracy")
    assert common.verdict(balanced["model_minus"]["probe"]) == "one draw"
    assert common.gap(balanced["model_minus"]["probe"]) == "+25.0 one draw"
    [accuracy] = fewshot.by_task(outcomes, "accuracy")
    assert accuracy["model_minus"]["probe"] == outcomes[1].paired.difference
    assert accuracy["accuracy"]["model"] == outcomes[0].scores.accuracy


def index(name, group, collection="sni", **changes):
    about = {"language": "en", "kind": "classification", "canary": False, **changes}
    return IndexRow(name=name, collection=collection, group=group, **about)


def test_a_side_has_two_tasks_a_group_and_those_of_textcls_first():
    rows = [index(f"t{at}", "trec") for at in range(5)] + [index("mine", "trec", "textcls")]
    found = heldout.chosen(rows, "report")
    assert len(found) == 2
    assert found[0].name == "mine"
    assert found == heldout.chosen(reversed(rows), "report")
    assert heldout.chosen(rows, "dev") == []


def test_only_english_classification_is_held_out():
    rows = [index("a", "trec", kind="multiple_choice"), index("b", "trec", language="ja"), index("c", "trec", "mmlu")]
    assert heldout.chosen(rows, "report") == []


def test_every_group_is_on_one_side_and_the_public_ones_are_reported():
    groups = [f"group {at}" for at in range(200)]
    sides = [heldout.side(group) for group in groups]
    assert set(sides) == {"dev", "report"}
    assert 70 < sides.count("dev") < 130
    assert {heldout.side(group) for group in public.PUBLIC} == {"report"}


def test_a_task_is_learnable_by_what_the_probe_does_with_all_rows():
    outcomes = [outcome("by probe", "probe", 2, shots="all"), outcome("by probe", "model", 0, shots="all")]
    outcomes += [outcome("by model", "probe", 0, shots="all"), outcome("by model", "model", 2, shots="all")]
    outcomes += [outcome("few", "probe", 2, shots=4)]
    assert heldout.learnable_tasks(outcomes) == {"by probe"}


def test_the_summary_weighs_groups_and_names_the_lost_ones():
    outcomes = []
    for seed in (0, 1, 2):
        for task, group, ours, theirs in (("a", "won", 2, 0), ("b", "won", 2, 0), ("c", "lost", 0, 1 + seed % 2)):
            outcomes.append(outcome(task, "model", ours, seed=seed, group=group))
            outcomes.append(outcome(task, "probe", theirs, seed=seed, group=group))
    found = heldout.summarise(outcomes, {"a", "b", "c"})
    assert (found["tasks"], found["groups"]) == (3, 2)
    cell = found["shots"]["4"]
    assert cell["balanced_accuracy"]["model"].value == pytest.approx((1.0 + 0.5) / 2)
    assert cell["model_minus"]["probe"].value == pytest.approx((0.5 - 1 / 3) / 2)
    beside = cell["against_probe"]
    assert (beside["groups_better"], beside["groups_worse"]) == (0.5, 0.5)
    assert "probe" in heldout.to_table("all", found)


def test_a_group_that_loses_on_every_seed_is_named():
    gaps = np.array([[-0.1, -0.11, -0.12], [0.2, -0.2, 0.1]])
    found = heldout.against(["lost", "tied"], gaps)
    assert list(found["interval_below"]) == ["lost"]
    assert found["below_after_holm"] == ["lost"]
    assert found["above_after_holm"] == []


def test_accuracy_at_a_coverage_leaves_out_the_least_sure():
    targets = np.zeros(10, dtype=np.int64)
    first = np.array([0.9] * 9 + [0.45])
    assert intents.accuracy_at(targets, np.stack([first, 1 - first], axis=1), 0.9) == 1.0
    first = np.array([0.1] + [0.9] * 8 + [0.6])
    assert intents.accuracy_at(targets, np.stack([first, 1 - first], axis=1), 0.9) == pytest.approx(8 / 9)


def test_intents_held_out_are_those_whose_rows_lie_outside():
    test = [Example(f"a{at}", "a") for at in range(4)] + [Example(f"b{at}", "b") for at in range(4)]
    outside = [Example(f"a{at}", "oos") for at in range(4)] + [Example("b0", "oos")]
    assert intents.held_out_intents(test, outside) == {"a"}


def test_no_intent_of_the_fifty_is_out_of_scope():
    def rows(part, labels):
        return tuple(Example(f"{part} {label}{at}", label) for label in labels for at in range(3))

    outside = tuple(Example(row.input, "oos") for row in rows("test", "a"))
    banking = {"test": rows("test", "ab"), "train_5": rows("train", "ab"), "oos_in_domain_test": outside}
    banking["oos_out_of_domain_test"] = outside
    sets = {"banking77": banking, "hwu64": banking, "clinc150": {**banking, "oos_test": outside}}
    fifty = [setting for setting in intents.settings(sets, ["train_5"]) if setting.name == "banking50"]
    assert [setting.task.labels for setting in fifty] == [("b",)]
    assert {row.output for row in fifty[0].task.test} == {"b"}


def test_japanese_means_are_over_sources():
    outcomes = [outcome("a", "model", 2, group="one"), outcome("b", "model", 2, group="one")]
    outcomes += [outcome("c", "model", 0, group="two")]
    found = japanese.over_sources(outcomes)
    assert found["4"]["balanced_accuracy"]["model"].value == 0.75
