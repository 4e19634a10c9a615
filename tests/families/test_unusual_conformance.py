"""What every family that tells what is unusual must keep to. A new one is tested here without an edit."""

import functools
import importlib.util
import random
import re
import string
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

import tiny_pictures
from sartor import families
from sartor.errors import TaskError
from sartor.families.interface import NoBase, UnusualFamily
from sartor.types import BaseRef, Label, Requirement

pytestmark = pytest.mark.usefixtures("tiny")

NAMES = tuple(name for name in families.names() if isinstance(families.load(name), UnusualFamily))
CASES = {"three": 3, "five": 5, "nineteen": 19, "forty": 40}


def text_of(row, letters=string.ascii_lowercase[:5]):
    draw = random.Random(row)
    return " ".join("".join(draw.choices(letters, k=6)) for _ in range(6))


@functools.cache
def folder_of_pictures():
    """Where the pictures of all tests lie until the process ends."""
    return tempfile.TemporaryDirectory()


def inputs_of(texts):
    return tiny_pictures.pictures_of(texts, Path(folder_of_pictures().name))


class Made:
    """A family at work on good inputs."""

    def __init__(self, name, rows):
        self.family = families.load(name)
        self.requirement = Requirement(
            name, "model", "", (Label("good"),), language="", base="efficientnet-lite0", max_tokens=0
        )
        self.base = self.family.base(self.requirement)
        self.inputs = inputs_of([text_of(row) for row in range(rows)])
        self.support = self.encode(self.inputs)
        self.groups = np.arange(rows) // 2 if rows > 20 else np.arange(rows)
        self.strange = [text_of(row, string.ascii_lowercase[15:]) for row in range(5)]
        self.questions = self.encode(inputs_of([text_of(900 + row) for row in range(5)] + self.strange))

    def encode(self, inputs):
        return self.family.encode(self.base, self.requirement, inputs)

    def generate(self, order=None, seed=0):
        rows = np.arange(len(self.inputs)) if order is None else order
        return self.family.generate(self.requirement, self.support.take(rows), self.groups[rows], seed=seed)

    @functools.cached_property
    def weights(self):
        return self.generate()

    def answers(self, weights, features=None):
        return self.family.predict(self.requirement, weights, self.questions if features is None else features)


made_once = functools.cache(lambda name, case: Made(name, CASES[case]))
"""Everything in it is a frozen value, so tests may share it."""


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture(params=CASES)
def made(name, request):
    return made_once(name, request.param)


def assert_same(weights, others):
    assert weights.keys() == others.keys()
    for key, tensor in weights.items():
        assert torch.equal(tensor, others[key]), key


def test_there_is_one():
    assert NAMES


# --- the weights -------------------------------------------------------------------------------------------


def test_weights_are_finite_tensors(made):
    assert made.weights
    for key, tensor in made.weights.items():
        assert torch.isfinite(tensor).all(), key
        assert not tensor.requires_grad


def test_the_same_seed_gives_the_same_weights_and_no_global_generator_is_touched(made):
    states = np.random.get_state()[1].copy(), torch.get_rng_state(), random.getstate()  # noqa: NPY002
    assert_same(made.generate(seed=5), made.generate(seed=5))
    assert np.array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])
    assert random.getstate() == states[2]


def test_the_order_of_rows_does_not_change_a_bit(made):
    assert_same(made.generate(np.random.default_rng(0).permutation(len(made.inputs))), made.weights)


def test_no_tensor_has_a_place_for_every_row(name):
    sizes = {size for tensor in Made(name, 67).generate().values() for size in tensor.shape}
    assert sizes.isdisjoint({66, 67, 68}), "67 rows went in"


def test_fewer_rows_than_it_takes_are_refused(name):
    made = made_once(name, "five")
    for few in range(made.family.least):
        with pytest.raises(TaskError, match="fewer than"):
            made.generate(np.arange(few))


def test_rows_that_are_all_the_same_make_a_model(name):
    made = made_once(name, "five")
    weights = made.family.generate(
        made.requirement, made.support.take(np.zeros(6, dtype=np.int64)), np.zeros(6, dtype=np.int64), seed=0
    )
    found = made.answers(weights)
    assert np.isfinite(found.scores).all()
    assert np.isfinite(found.threshold)


def test_the_head_has_a_name(made):
    assert re.fullmatch(r"[a-z][a-z+-]*", made.family.head(made.weights))


# --- the answers -------------------------------------------------------------------------------------------


def test_answers_are_finite(made):
    found = made.answers(made.weights)
    assert found.scores.shape == found.unusual.shape == (10,)
    assert np.isfinite(found.scores).all()
    assert np.isfinite(found.threshold)
    assert np.array_equal(found.unusual, found.scores > found.threshold)


def test_no_question_gets_no_answer(made):
    assert made.answers(made.weights, made.encode([])).scores.shape == (0,)


def test_stored_and_loaded_weights_give_the_same_answers(made):
    loaded = load_tensors(save_tensors({key: tensor.contiguous() for key, tensor in made.weights.items()}))
    assert_same(made.weights, loaded)
    assert np.array_equal(made.answers(loaded).scores, made.answers(made.weights).scores)
    assert made.family.head(loaded) == made.family.head(made.weights)


def test_an_answer_does_not_depend_on_the_other_questions(made):
    together = made.answers(made.weights)
    for row in range(len(made.questions)):
        alone = made.answers(made.weights, made.questions.take(np.array([row])))
        np.testing.assert_allclose(alone.scores[0], together.scores[row], rtol=1e-5)


def test_what_is_strange_scores_higher(name):
    made = made_once(name, "forty")
    scores = made.answers(made.weights).scores
    assert np.median(scores[5:]) > np.max(scores[:5])


def test_encoding_tells_how_far_it_is(name):
    told = []
    made = made_once(name, "three")
    made.family.encode(made.base, made.requirement, made.inputs, progress=lambda *step: told.append(step))
    assert told[-1] == ("encode", 3, 3)


def test_heat_lies_on_a_map_for_each_input(made):
    heat = made.family.heat(made.base, made.requirement, made.weights, made.inputs[:2])
    assert heat.ndim == 3
    assert len(heat) == 2
    assert np.isfinite(heat).all()


# --- planting, controls ------------------------------------------------------------------------------------


def test_something_is_planted_on_each_input_and_the_same_seed_plants_the_same(name):
    made = made_once(name, "five")
    planted = made.family.plant(made.base, made.inputs[:3], seed=1)
    assert len({one.kind for one in planted}) == len(planted) > 1
    for one in planted:
        assert len(one.inputs) == 3
        assert set(one.inputs).isdisjoint(made.inputs)
    assert planted == made.family.plant(made.base, made.inputs[:3], seed=1)
    assert planted != made.family.plant(made.base, made.inputs[:3], seed=2)


def test_every_control_answers_with_finite_scores(made):
    controls = made.family.controls(made.requirement)
    assert len({one.name for one in controls}) == len(controls)
    for control in controls:
        for features in (made.questions, made.encode([])):
            found = control.answer(made.requirement, made.support, features, 0)
            assert found.shape == (len(features),)
            assert np.isfinite(found).all()


# --- the family --------------------------------------------------------------------------------------------


def test_a_family_bears_the_name_of_its_file(name):
    family = families.load(name)
    spec = importlib.util.find_spec(type(family).__module__)
    assert family.name == name == Path(spec.origin).stem.replace("_", "-")
    assert family.summary
    assert re.fullmatch(r"[a-z-]+/\d+", family.generator)


def test_a_base_says_what_it_is(name):
    ref = made_once(name, "three").base.ref
    assert isinstance(ref, BaseRef)
    assert re.fullmatch(r"[0-9a-f]{64}", ref.sha256) or ref == NoBase().ref


def test_a_family_of_another_kind_is_refused():
    with pytest.raises(TaskError, match="do not say what is unusual"):
        families.load_unusual("text-classification")
