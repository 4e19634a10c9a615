"""What every family that foretells values must keep to. A new one is tested here without an edit."""

import functools
import importlib.util
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from sartor import families
from sartor.errors import NotFoundError, TaskError
from sartor.families.interface import NoBase, NumberFamily
from sartor.types import BaseRef, Column, Requirement

NAMES = [name for name in families.names() if isinstance(families.load(name), NumberFamily)]
CASES = {"one row": 1, "two rows": 2, "seven rows": 7, "forty rows": 40, "all the same": 12}
LEVELS = ("red", "green", "blue")
COLUMNS = (Column("size", "number"), Column("weight", "number"), Column("colour", "category", LEVELS))


def row_of(at):
    """A row of a table and its value: mostly by size, more where it is red."""
    draw = random.Random(at)
    size, weight, colour = draw.uniform(0, 10), draw.uniform(0, 1), draw.choice(LEVELS)
    cells = {"size": round(size, 3), "weight": round(weight, 3), "colour": colour}
    return json.dumps(cells), 100 + 3 * cells["size"] + 5 * (colour == "red")


class Made:
    """A family at work on a task."""

    def __init__(self, name, rows, constant=False):
        self.family = families.load(name)
        self.requirement = Requirement(name, "model", "", (), "", "none", 0, columns=COLUMNS, target="price")
        self.base = self.family.base(self.requirement)
        self.inputs, values = zip(*(row_of(at) for at in range(rows)), strict=True)
        self.values = np.full(rows, 7.5) if constant else np.array(values)
        self.support = self.encode(self.inputs)
        asked = [row_of(1000 + at)[0] for at in range(8)]
        self.questions = self.encode([*asked, '{"size": null, "weight": "", "colour": "violet"}'])

    def encode(self, inputs):
        return self.family.encode(self.base, self.requirement, inputs)

    def generate(self, order=None, seed=0):
        rows = np.arange(len(self.values)) if order is None else order
        return self.family.generate(self.requirement, self.support.take(rows), self.values[rows], seed=seed)

    @functools.cached_property
    def weights(self):
        return self.generate()

    def answers(self, weights, features=None):
        return self.family.predict(self.requirement, weights, self.questions if features is None else features)


made_once = functools.cache(lambda name, case: Made(name, CASES[case], constant=case == "all the same"))
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


def assert_alike(one, other, places=1e-6):
    for found, wanted in ((one.values, other.values), (one.low, other.low), (one.high, other.high)):
        np.testing.assert_allclose(found, wanted, rtol=places)


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
    assert_same(made.generate(np.random.default_rng(0).permutation(len(made.values))), made.weights)


def test_no_tensor_has_a_place_for_every_row(name):
    sizes = {size for tensor in Made(name, 67).generate().values() for size in tensor.shape}
    assert sizes.isdisjoint({66, 67, 68}), "67 rows went in"


def test_the_head_has_a_name(made):
    assert re.fullmatch(r"[a-z][a-z+-]*", made.family.head(made.weights))


# --- the answers -------------------------------------------------------------------------------------------


def test_answers_are_finite_and_lie_in_their_intervals(made):
    found = made.answers(made.weights)
    n = len(made.questions)
    assert found.values.shape == found.low.shape == found.high.shape == (n,)
    assert np.isfinite([found.values, found.low, found.high]).all()
    assert (found.low <= found.values).all()
    assert (found.values <= found.high).all()


def test_no_question_gets_no_answer(made):
    found = made.answers(made.weights, made.encode([]))
    assert found.values.shape == found.low.shape == found.high.shape == (0,)


def test_stored_and_loaded_weights_give_the_same_answers(made):
    loaded = load_tensors(save_tensors({key: tensor.contiguous() for key, tensor in made.weights.items()}))
    assert_same(made.weights, loaded)
    assert_alike(made.answers(loaded), made.answers(made.weights), 0)
    assert made.family.head(loaded) == made.family.head(made.weights)


def test_an_answer_does_not_depend_on_the_other_questions(made):
    together = made.answers(made.weights)
    for row in range(len(made.questions)):
        alone = made.answers(made.weights, made.questions.take(np.array([row])))
        np.testing.assert_allclose(alone.values[0], together.values[row], rtol=1e-5)


def test_rows_taken_from_features_are_those_of_a_subset_encoded_anew(name):
    made = made_once(name, "seven rows")
    rows = np.array([4, 0, 3])
    anew = made.encode([made.inputs[row] for row in rows])
    assert_alike(made.answers(made.weights, made.support.take(rows)), made.answers(made.weights, anew))
    assert len(made.support.take(np.array([], dtype=np.int64))) == 0


def test_rows_are_learnt_and_intervals_hold(name):
    made = made_once(name, "forty rows")
    inputs, right = zip(*(row_of(2000 + at) for at in range(200)), strict=True)
    found = made.answers(made.weights, made.encode(inputs))
    assert np.var(found.values - right) < 0.1 * np.var(right)
    assert ((found.low <= right) & (np.array(right) <= found.high)).mean() > 0.75


def test_a_shift_and_another_unit_of_the_values_shift_and_scale_the_answers(name):
    made = made_once(name, "forty rows")
    other = Made(name, 40)
    other.values = 1000 * made.values - 5e5
    plain, scaled = made.answers(made.weights), other.answers(other.generate())
    np.testing.assert_allclose(scaled.values, 1000 * plain.values - 5e5, rtol=1e-4)
    np.testing.assert_allclose(scaled.high - scaled.low, 1000 * (plain.high - plain.low), rtol=1e-4)


def test_encoding_tells_how_far_it_is(name):
    told = []
    made = made_once(name, "two rows")
    made.family.encode(made.base, made.requirement, made.inputs, progress=lambda *step: told.append(step))
    assert told[-1] == ("encode", 2, 2)


# --- the controls ------------------------------------------------------------------------------------------


def test_every_control_answers_with_finite_values(made):
    for control in made.family.controls(made.requirement):
        for features in (made.questions, made.encode([])):
            found = control.answer(made.requirement, made.support, made.values, features, 0)
            assert found.shape == (len(features),)
            assert np.isfinite(found).all()


def test_controls_have_names_of_their_own_and_the_mean_is_among_them(name):
    made = made_once(name, "two rows")
    controls = {control.name: control for control in made.family.controls(made.requirement)}
    assert len(controls) == len(made.family.controls(made.requirement))
    mean = controls["mean"].answer(made.requirement, made.support, made.values, made.questions, 0)
    np.testing.assert_allclose(mean, made.values.mean())


# --- the family --------------------------------------------------------------------------------------------


def test_a_family_bears_the_name_of_its_file(name):
    family = families.load(name)
    spec = importlib.util.find_spec(type(family).__module__)
    assert family.name == name == Path(spec.origin).stem.replace("_", "-")
    assert family.summary
    assert re.fullmatch(r"[a-z-]+/\d+", family.generator)


def test_a_base_says_what_it_is(name):
    ref = made_once(name, "two rows").base.ref
    assert isinstance(ref, BaseRef)
    assert re.fullmatch(r"[0-9a-f]{64}", ref.sha256) or ref == NoBase().ref


def test_a_family_of_another_kind_is_refused():
    with pytest.raises(TaskError, match="do not foretell values"):
        families.load_number("text-classification")
    with pytest.raises(NotFoundError):
        families.load_number("tabular-regresion")
