import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks.common import Encoder, TextTask
from tokenizers import Tokenizer

from benchmarks import fewshot, setfit_heldout
from sartor import settings
from sartor.assets import catalogue, resolve
from sartor.evaluate import quality
from sartor.nn.text_base import load_base
from sartor.types import Example

MAILS = ("billing", "bug", "other")


@pytest.fixture
def task(mails):
    rows = tuple(Example(text, label) for text, label in mails)
    return TextTask("mails", "mail", "tests", "en", "Sort the mail.", MAILS, rows, rows[::2])


@pytest.fixture
def base(tiny):
    return load_base(setfit_heldout.PLAIN)


def plan(**changes):
    return setfit_heldout.Plan(
        **{"shots": 2, "iterations": 10, "most_positions": None, "bf16": False, "package": "1", **changes}
    )


def row(task, group="g", *, seed=0, setfit=0.5, model=0.7, probe=0.6, seconds=10.0):
    made = {"setfit": setfit, "model": model, "probe": probe}
    return {"task": task, "group": group, "shots": 8, "seed": seed, "seconds": seconds, "balanced_accuracy": made}


def told(task, *, shots=8, model=0.8, probe=0.6, learnable=True):
    made = {"model": model, "probe": probe, "tfidf": 0.5}
    return {"task": task, "shots": shots, "balanced_accuracy": made, "learnable": learnable}


# --- what SetFit is given ----------------------------------------------------------------------------------


def test_positions_count_both_texts_of_two_pairs_a_row():
    assert setfit_heldout.positions_an_iteration(np.full(10, 7)) == pytest.approx(10 * 2 * 2 * 7)


def test_positions_count_the_padding_of_a_batch():
    tokens = np.array([3, 5, 9, 20, 40])
    random = np.random.default_rng(0)
    longest = tokens[random.integers(len(tokens), size=(20_000, setfit_heldout.BATCH_PAIRS))].max(axis=1)
    expected = 4 * len(tokens) * longest.mean()
    assert setfit_heldout.positions_an_iteration(tokens[::-1]) == pytest.approx(expected, rel=0.01)


def test_a_dear_task_gets_fewer_iterations_but_one_at_least():
    limited = plan(most_positions=1000)
    assert [setfit_heldout.affordable(limited, cost) for cost in (50, 100, 300, 2000)] == [10, 10, 3, 1]
    assert setfit_heldout.affordable(plan(), 1e9) == 10


def test_rows_are_those_that_the_model_gets(task):
    rows = setfit_heldout.drawn(task, 2, 3)
    assert rows == tuple(task.train[at] for at in fewshot.draw(task.train, 2, 3))
    assert Counter(example.output for example in rows) == dict.fromkeys(MAILS, 2)


def test_rows_of_one_label_cannot_be_learned_from():
    assert "1 label" in setfit_heldout.impossible([Example("a", "x"), Example("b", "x")])
    assert setfit_heldout.impossible([Example("a", "x"), Example("b", "y")]) == ""


def test_lengths_count_special_tokens_and_end_at_the_limit(base):
    texts = ["refund", "refund money", "half a pair \ud83d", "money " * 300]
    found = setfit_heldout.lengths(base.tokenizer, [Example(text, "x") for text in texts])
    assert found[0] == 3
    assert found[1] == 4
    assert found[3] == setfit_heldout.MAX_TOKENS


def test_the_body_has_our_tokenizer_weights_and_shape(base, tmp_path):
    setfit_heldout.write_body(tmp_path / "body")
    files = resolve.resolve(setfit_heldout.PLAIN, settings.current())
    assert (tmp_path / "body" / "model.safetensors").samefile(files.weights)
    text = "refund my money"
    found = Tokenizer.from_file(str(tmp_path / "body" / "tokenizer.json")).encode(text).ids
    assert found == base.tokenizer.encode(text).ids
    config = json.loads((tmp_path / "body" / "config.json").read_text())
    spec = catalogue.spec(setfit_heldout.PLAIN)
    assert (config["hidden_size"], config["num_hidden_layers"]) == (spec.dim, spec.layers)
    assert config["vocab_size"] == base.tokenizer.get_vocab_size()


def test_a_label_without_rows_gets_no_probability():
    shown = np.array([[0.2, 0.8], [0.6, 0.4]])
    model = SimpleNamespace(
        predict_proba=lambda texts, **_: shown[: len(texts)], model_head=SimpleNamespace(classes_=np.array([0, 2]))
    )
    found = setfit_heldout.answer(model, ["a", "b"], 3)
    assert found.tolist() == [[0.2, 0.0, 0.8], [0.6, 0.0, 0.4]]


def test_the_model_and_the_probe_answer_as_in_the_table_of_held_out_tasks(base, task, tmp_path):
    found = setfit_heldout.ours(base, task, setfit_heldout.drawn(task, 2, 1), 1)
    targets = fewshot.targets(task.labels, task.test)
    outcomes = fewshot.study(fewshot.prepare(task, Encoder(base, tmp_path)), (2,), (1,))
    wanted = {outcome.maker: outcome.scores for outcome in outcomes}
    assert found.keys() == {"model", "probe"}
    for maker, probabilities in found.items():
        scores = quality.scores(targets, probabilities)
        assert scores.balanced_accuracy == wanted[maker].balanced_accuracy
        assert scores.log_loss == pytest.approx(wanted[maker].log_loss, rel=1e-3)


# --- what is kept ------------------------------------------------------------------------------------------


def test_a_kept_row_is_found_by_all_that_it_depends_on(base, task, tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    made = setfit_heldout.recipe(plan(), base, task, 0)
    assert setfit_heldout.read_rows(path) == {}
    setfit_heldout.append_row(path, made, row("mails"))
    kept = setfit_heldout.read_rows(path)
    assert kept == {made: row("mails")}
    others = [plan(shots=1), plan(iterations=5), plan(bf16=True), plan(package="2"), plan(most_positions=1)]
    assert not any(setfit_heldout.recipe(other, base, task, 0) in kept for other in others)
    assert setfit_heldout.recipe(plan(), base, task, 1) not in kept
    assert setfit_heldout.recipe(plan(most_positions=10**9), base, task, 0) in kept


def test_a_row_that_was_cut_off_is_made_again(base, task, tmp_path):
    path = tmp_path / "rows.jsonl"
    recipes = [setfit_heldout.recipe(plan(), base, task, seed) for seed in range(3)]
    for made in recipes[:2]:
        setfit_heldout.append_row(path, made, row("mails", seed=made.seed))
    path.write_text(path.read_text()[:-30])
    assert list(setfit_heldout.read_rows(path)) == recipes[:1]
    setfit_heldout.append_row(path, recipes[2], row("mails", seed=2))
    assert list(setfit_heldout.read_rows(path)) == [recipes[0], recipes[2]]


# --- what the rows say -------------------------------------------------------------------------------------


def test_rows_are_joined_by_task_and_shots():
    [joined] = setfit_heldout.join([row("a")], [told("a", shots=4, model=0.1), told("a", learnable=False), told("b")])
    assert joined["heldout"] == {"model": 0.8, "probe": 0.6}
    assert joined["learnable"] is False
    assert joined["balanced_accuracy"]["model"] == 0.7


def test_a_group_counts_once_and_a_task_by_its_mean_over_seeds():
    rows = [row("a", "won", seed=0, setfit=0.5), row("a", "won", seed=1, setfit=0.3), row("b", "won", setfit=0.6)]
    rows += [row("c", "lost", setfit=0.9, seconds=50.0)]
    found = setfit_heldout.summarise(setfit_heldout.join(rows, [told("a"), told("b"), told("c")]))
    assert (found["tasks"], found["groups"]) == (3, 2)
    assert found["balanced_accuracy"]["setfit"].value == pytest.approx((0.5 + 0.9) / 2)
    assert found["model_minus_setfit"].value == pytest.approx((0.2 - 0.2) / 2)
    assert found["setfit_minus_probe"].value == pytest.approx((-0.1 + 0.3) / 2)
    assert found["heldout_model_minus_setfit"].value == pytest.approx((0.3 - 0.1) / 2)
    assert (found["groups_better"], found["groups_worse"]) == (0.5, 0.5)
    assert found["training_seconds"] == {"median": 10.0, "sum": 80.0}
    assert "3 tasks in 2 groups" in setfit_heldout.to_table("all", found)
