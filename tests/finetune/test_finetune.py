import dataclasses
import time

import numpy as np
import pytest
import torch

import tiny_base
from sartor.errors import DataError, TaskError
from sartor.families.interface import Condition
from sartor.families.text_classification import FAMILY, last_layer_probe
from sartor.finetune import METHODS, Budget, descent, finetune, interface
from sartor.nn.text_base import TextBase
from sartor.requirement.heuristic import understand
from sartor.types import BaseRef, Example, Rows, Task

LABELS = ("billing", "bug", "other")
TRAINED = ("lora", "full")
BASE = TextBase(BaseRef("tiny", "", "none"), tiny_base.encoder(), tiny_base.tokenizer(), "")


@pytest.fixture
def rows(mails):
    return [text for text, _ in mails], np.array([LABELS.index(label) for _, label in mails])


def tune(rows, method, *, steps=4, n_labels=3, base=BASE, **options):
    texts, targets = rows
    options = {"budget": Budget(steps=steps), "max_tokens": 64, **options}
    return finetune(base, texts, targets, n_labels, method=method, **options)


def test_the_probe_is_the_control_of_that_name(rows, tiny):
    texts, targets = rows
    examples = [Example(text, LABELS[at]) for text, at in zip(*rows, strict=True)]
    task = Task(description="Sort the mail.", labels=dict.fromkeys(LABELS, ""), language="en")
    requirement = understand(task, Rows(examples), name="mails", base="all-minilm-l6-v2").requirement
    base = FAMILY.base(requirement)
    for labels in (3, 2):  # two labels share one row of weights in the solver
        kept = targets < labels
        support = FAMILY.encode(base, requirement, [text for text, keep in zip(texts, kept, strict=True) if keep])
        condition = Condition(FAMILY.encode_labels(base, requirement), support, targets[kept])
        wanted = last_layer_probe(requirement, condition, FAMILY.encode(base, requirement, texts), 0)
        found = tune((support.texts, targets[kept]), "probe", base=base, max_tokens=requirement.max_tokens)
        np.testing.assert_allclose(found.predict(texts), wanted, atol=1e-4)
        assert (found.steps, found.losses) == (0, ())


@pytest.mark.parametrize("method", TRAINED)
def test_training_starts_where_the_probe_ends_and_the_loss_falls(rows, method):
    texts, targets = rows
    seen = {}
    tuned = tune(rows, method, steps=30, on_step=lambda step, seconds, predict: seen.update({step: predict(texts)}))
    np.testing.assert_allclose(seen[0], tune(rows, "probe").predict(texts), atol=1e-6)
    assert sorted(seen) == list(range(31))
    assert (tuned.steps, len(tuned.losses)) == (30, 30)
    assert np.mean(tuned.losses[-6:]) < 0.8 * np.mean(tuned.losses[:6])
    np.testing.assert_array_equal(seen[30], tuned.predict(texts))
    before, after = (found[np.arange(len(targets)), targets].mean() for found in (seen[0], seen[30]))
    assert after > before
    np.testing.assert_allclose(tuned.predict(texts).sum(axis=1), 1)


@pytest.mark.parametrize("method", TRAINED)
def test_one_step_is_judged_on_the_loss_before_it(rows, method):
    """A batch holds all of these rows, so that the first loss is the start's on all of them."""
    texts, targets = rows[0][::2], rows[1][::2]
    assert len(texts) <= descent.BATCH
    start = tune((texts, targets), method, steps=0)
    first = tune((texts, targets), method, steps=1).losses[0]
    chosen = start.predict(texts)[np.arange(len(targets)), targets]
    assert first == pytest.approx(-np.log(chosen).mean(), rel=1e-4)


@pytest.mark.parametrize("method", TRAINED)
def test_a_seed_gives_the_same_weights_and_another_gives_others(rows, method):
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    many = ([*rows[0], *rows[0]], np.concatenate([rows[1], rows[1]]))  # more than one batch
    one, same, other = (tune(many, method, seed=seed).weights for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_base_stays_as_it_was_when_the_caller_breaks_off(rows, method):
    before = {name: tensor.clone() for name, tensor in BASE.encoder.state_dict().items()}

    def break_off(step, seconds, predict):
        if step == 2 or method == "probe":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(rows, method, on_step=break_off)
    assert all(torch.equal(before[name], tensor) for name, tensor in BASE.encoder.state_dict().items())
    assert not any(parameter.requires_grad for parameter in BASE.encoder.parameters())


def test_what_is_trained_is_what_the_method_says(rows):
    head = {"head.weight", "head.bias"}
    names = {method: set(tune(rows, method, steps=1).weights) for method in METHODS}
    assert names["probe"] == head
    assert names["full"] == head | set(BASE.encoder.state_dict())
    assert all(name in head or ".lora_" in name for name in names["lora"])
    assert len(names["lora"]) == 2 + 2 * 12
    trained = tune(rows, "full", steps=1).weights
    assert not torch.equal(trained["encoder.layer.0.output.dense.weight"], _own("encoder.layer.0.output.dense.weight"))
    assert not any(tensor.requires_grad for tensor in trained.values())


def _own(name):
    return BASE.encoder.state_dict()[name]


def test_a_label_without_a_row_is_as_good_as_never_answered(rows):
    for method in METHODS:
        found = tune(rows, method, n_labels=5).predict(["refund", "hello"])
        assert found.shape == (2, 5)
        assert found[:, 3:].max() < 1e-9
        assert np.isfinite(found).all()


def test_rows_of_two_labels_far_apart_keep_their_places(rows):
    texts, targets = rows
    found = tune((texts, np.where(targets == 0, 3, 1)), "lora", steps=20, n_labels=4).predict(texts)
    np.testing.assert_array_equal(found.argmax(axis=1), np.where(targets == 0, 3, 1))


def test_time_spent_judging_is_not_counted(rows):
    told = []

    def judge(step, seconds, predict):
        told.append(seconds)
        time.sleep(0.3)

    start = time.perf_counter()
    tuned = tune(rows, "lora", steps=2, on_step=judge)
    passed = time.perf_counter() - start
    assert told == sorted(told)
    assert told[-1] <= tuned.seconds <= passed - 3 * 0.3


def test_a_budget_of_seconds_ends_by_the_clock(rows, monkeypatch):
    ticks = iter(np.arange(0, 1000, 0.25))
    monkeypatch.setattr(interface.time, "perf_counter", lambda: float(next(ticks)))
    tuned = tune(rows, "lora", budget=Budget(seconds=8.0, steps=500))
    assert 2 < tuned.steps < 32
    assert tuned.seconds >= 8.0


def test_a_budget_ends_at_what_comes_first():
    assert Budget(seconds=1.0, steps=5).spent(0.5, 5)
    assert Budget(seconds=1.0, steps=5).spent(1.0, 0)
    assert not Budget(seconds=1.0, steps=5).spent(0.5, 4)
    assert not Budget(steps=5).spent(1e9, 4)
    with pytest.raises(TaskError, match="seconds=None, steps=None"):
        Budget()
    with pytest.raises(TaskError, match="seconds=-1"):
        Budget(seconds=-1, steps=3)


def test_every_step_is_told(rows):
    told = []
    tune(rows, "lora", steps=3, progress=lambda *what: told.append(what))
    assert told == [("finetune", step, 3) for step in range(4)]


def test_an_unknown_way_is_answered_with_the_known_ones(rows):
    with pytest.raises(TaskError, match=r"named 'lroa'\. Did you mean 'lora'\? Known ways: full, lora, probe\."):
        tune(rows, "lroa")


def test_rows_that_cannot_be_learned_from_are_refused(rows):
    texts, targets = rows
    with pytest.raises(DataError, match="at least two labels to fine-tune; got 1"):
        tune((texts[:4], targets[:4]), "lora")
    with pytest.raises(DataError, match="at least two labels to fine-tune; got 0"):
        tune(([], []), "lora")
    with pytest.raises(DataError, match=r"12 texts and targets of shape \(3,\)"):
        tune((texts, targets[:3]), "lora")
    with pytest.raises(DataError, match="among 2 labels, 0 to 1; got 0 to 2"):
        tune(rows, "lora", n_labels=2)


@pytest.mark.parametrize("method", TRAINED)
def test_odd_texts_and_those_too_long_are_trained_on(method):
    texts = ["", "\ud800 half a pair", "refund " * 500, "bug"]
    base = dataclasses.replace(BASE, prefix="about ")
    tuned = tune((texts, [0, 1, 0, 1]), method, n_labels=2, base=base, max_tokens=16, steps=2)
    assert np.isfinite(tuned.predict(texts)).all()
    assert tuned.predict([]).shape == (0, 2)
