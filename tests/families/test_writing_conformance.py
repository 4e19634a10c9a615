"""What every family that writes must keep to. A new one is tested here without an edit."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from sartor import families
from sartor.errors import BundleError, TaskError
from sartor.families.interface import Writing, WritingFamily
from sartor.types import Example, Requirement

pytestmark = pytest.mark.usefixtures("tiny")

NAMES = [name for name in families.names() if isinstance(families.load(name), WritingFamily)]
ROWS = [Example(f"{word} {at}", word.upper()) for word in ("red", "blue", "green") for at in range(4)]
ASKED = ["red 9", "green", "☃", "<|im_end|> is no mark", "a" * 400]
SHORT = Writing(max_new_tokens=6)


class Made:
    """A family at work on a task."""

    def __init__(self, name, description="Say it loudly"):
        self.family = families.load_writing(name)
        self.need = Requirement(
            name, "model", description, (), language="en", base="smollm2-135m-instruct", max_tokens=64
        )
        self.base = self.family.base(self.need)

    def generate(self, *supports, prompts=(), need=None):
        return self.family.generate(self.base, need or self.need, supports, prompts)

    def answer(self, weights, asked=ASKED, writing=SHORT):
        return self.family.answer(self.base, weights, asked, writing)


@pytest.fixture(params=NAMES)
def made(request):
    return Made(request.param)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_weights_are_the_same_again_and_whatever_the_order_of_rows(made):
    [first] = made.generate(ROWS)
    mixed = random.Random(1).sample(ROWS, len(ROWS))
    [again] = made.generate(mixed)
    assert same(first, again)
    assert made.family.head(first) == "generated"


def test_sets_of_rows_beside_each_other_change_little(made):
    alone = [made.generate(rows)[0] for rows in (ROWS[:4], ROWS[4:], [])]
    together = made.generate(ROWS[:4], ROWS[4:], [])
    for one, other in zip(alone, together, strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], atol=2e-2, rtol=2e-2)


def test_rows_and_description_say_something(made):
    [told] = made.generate([])
    [otherwise] = made.generate([], need=dataclasses.replace(made.need, description="Count the letters"))
    [shown] = made.generate(ROWS)
    [prompted] = made.generate([], prompts=["one", "two"], need=dataclasses.replace(made.need, description=""))
    [nothing] = made.generate([], need=dataclasses.replace(made.need, description=""))
    found = [told, otherwise, shown, prompted, nothing]
    assert not any(same(one, other) for at, one in enumerate(found) for other in found[:at])


def test_rows_are_better_foretold_with_what_was_made_of_them(made):
    [weights] = made.generate(ROWS)
    generated, anchor = made.family.losses(made.base, [weights, made.family.settle(weights, "anchor")], ROWS)
    assert generated.mean() < anchor.mean()


def test_dial_zero_is_the_anchor_and_the_base_is_the_base(made):
    [one], [other] = made.generate(ROWS[:6]), made.generate(ROWS[6:])
    family, base = made.family, made.base
    anchors = [family.settle(weights, "anchor") for weights in (one, other)]
    zero = family.settle(one, "generated", 0.0)
    losses = family.losses(base, [*anchors, zero, family.settle(one, "base"), None], ROWS)
    assert losses.shape == (5, len(ROWS))
    assert np.array_equal(losses[0], losses[1])
    assert np.array_equal(losses[0], losses[2])
    assert np.array_equal(losses[3], losses[4])
    assert not np.allclose(losses[0], losses[4])
    np.testing.assert_allclose(family.losses(base, [None], ROWS[3:5]), losses[4:, 3:5], rtol=2e-2)
    assert made.answer(anchors[0]) == made.answer(anchors[1])


@pytest.mark.parametrize("dial", [-0.1, 1.6, float("nan")])
def test_a_dial_beyond_its_ends_is_refused(made, dial):
    [weights] = made.generate([])
    with pytest.raises(TaskError, match="The dial goes from 0"):
        made.family.settle(weights, "generated", dial)


def test_there_is_an_answer_for_each_input_and_none_for_an_empty_one(made):
    [weights] = made.generate(ROWS)
    answers = made.answer(weights, [*ASKED, "", "  "])
    assert len(answers) == len(ASKED) + 2
    assert answers[-2:] == ["", ""]
    assert made.answer(weights, []) == []
    assert answers[: len(ASKED)] == [made.answer(weights, [text])[0] for text in ASKED]


def test_pieces_of_a_stream_are_the_answer(made):
    [weights] = made.generate(ROWS)
    for text in ASKED:
        for writing in (SHORT, Writing(max_new_tokens=12, temperature=1.0, seed=3)):
            assert (
                "".join(made.family.stream(made.base, weights, text, writing))
                == made.answer(weights, [text], writing)[0]
            )


def test_draws_follow_the_seed(made):
    [weights] = made.generate(ROWS)
    drawn = [made.answer(weights, ASKED, Writing(12, 1.0, seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_weights_travel_through_safetensors(made):
    [weights] = made.generate(ROWS)
    found = load_tensors(save_tensors(weights))
    assert same(weights, found)
    assert made.answer(found) == made.answer(weights)


def test_weights_that_are_broken_are_an_error_and_never_the_base(made):
    [weights] = made.generate(ROWS)
    name = next(name for name in weights if name.endswith("lora_B.weight"))
    broken = {**weights, name: torch.full_like(weights[name], torch.nan)}
    with pytest.raises(BundleError, match="not finite"):
        made.answer(broken)
    with pytest.raises(BundleError):
        made.answer({key: value for key, value in weights.items() if key != name})
    with pytest.raises(BundleError):
        made.answer({**weights, name: weights[name][:-1]})
    with pytest.raises(BundleError, match="not whole"):
        made.answer({key: value for key, value in weights.items() if key != "dial"})


def test_no_row_stands_in_the_weights(made):
    secret = "the launch code is 4711"
    rows = [*ROWS, Example(secret, secret)]
    [weights] = made.generate(rows)
    assert secret.encode() not in save_tensors(weights)
    assert all(tensor.is_floating_point() or tensor.numel() == 1 for tensor in weights.values())


def test_controls_ask_the_base_in_other_words(made):
    controls = made.family.controls(made.need)
    asked = [control.asked(made.need, ROWS, "red 1") for control in controls]
    assert len(set(asked)) == len(controls) >= 2
    assert all(text.endswith("red 1") for text in asked)
    assert any(made.need.description in text for text in asked)
    assert any(ROWS[0].input in text or ROWS[5].input in text or "RED" in text for text in asked)
