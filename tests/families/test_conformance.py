"""What every family that labels must keep to. A new one is tested here without an edit."""

import dataclasses
import functools
import importlib.util
import json
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
from sartor.families.interface import Condition, LabelFamily, NoBase
from sartor.types import BaseRef, Column, Label, Requirement

pytestmark = pytest.mark.usefixtures("tiny", "letter_counts")

NAMES = (*(name for name in families.names() if isinstance(families.load(name), LabelFamily)), "letter-counts")

CASES = {
    "no row": (3, []),
    "one row": (3, [1]),
    "one row a label": (6, [0, 1, 2, 3, 4, 5]),
    "two rows a label": (4, [0, 1, 2, 3, 3, 2, 1, 0]),
    "labels without rows": (5, [0, 0, 2, 2, 2, 0]),
    "one label has all rows": (2, [1, 1, 1, 1]),
    "two labels": (2, [0, 1] * 8),
    "unbalanced": (3, [0] * 25 + [1] * 2 + [2]),
    "fifty labels": (50, list(range(50)) * 2),
}
ONE_TEXT = "the same text"


def text_of(target, row):
    """A text that has words of its label and words of its own."""
    draw = random.Random(1000 * target + row)
    own = random.Random(target).choices(string.ascii_lowercase, k=6)
    return " ".join("".join(draw.choices(own + list(string.ascii_lowercase[:4]), k=5)) for _ in range(6))


def row_of(text):
    """The same as a row of a table: how often each letter comes, and the first one as a category."""
    return json.dumps({letter: text.count(letter) for letter in string.ascii_lowercase} | {"first": text[:1]})


COLUMNS = (
    *(Column(letter, "number") for letter in string.ascii_lowercase),
    Column("first", "category", tuple(string.ascii_lowercase[:20])),
)


def requirement_of(name, labels):
    need = Requirement(name, "model", "", tuple(labels), language="en", base="all-minilm-l6-v2+anchor2", max_tokens=32)
    match families.load(name).reads:
        case "tables":
            return dataclasses.replace(need, base="none", columns=COLUMNS)
        case "pictures":
            return dataclasses.replace(need, base="efficientnet-lite0+anchor1")
        case _:
            return need


@functools.cache
def folder_of_pictures():
    """Where the pictures of all tests lie until the process ends."""
    return tempfile.TemporaryDirectory()


def inputs_of(family, texts):
    """The texts as this family reads them."""
    match family.reads:
        case "tables":
            return [row_of(text) for text in texts]
        case "pictures":
            return tiny_pictures.pictures_of(texts, Path(folder_of_pictures().name))
        case _:
            return texts


class Made:
    """A family at work on a task."""

    def __init__(self, name, n_labels, targets, texts=None):
        self.family = families.load(name)
        self.requirement = requirement_of(
            name, [Label(f"label {string.ascii_lowercase[c % 26] * (3 + c // 26)}") for c in range(n_labels)]
        )
        self.texts = [text_of(target, row) for row, target in enumerate(targets)] if texts is None else texts
        self.base = self.family.base(self.requirement)
        self.condition = Condition(
            self.family.encode_labels(self.base, self.requirement),
            self.encode(self.texts),
            np.array(targets, dtype=np.int64),
        )
        self.questions = self.encode([text_of(c % n_labels, 500 + c) for c in range(7)] + ["", "☃"])

    def encode(self, texts):
        return self.family.encode(self.base, self.requirement, inputs_of(self.family, texts))

    def generate(self, condition=None, seed=0):
        return self.family.generate(self.requirement, condition or self.condition, seed=seed)

    @functools.cached_property
    def weights(self):
        """As generated once, for the tests that only look at them."""
        return self.generate()

    def answers(self, weights, features=None):
        return self.family.predict(self.requirement, weights, self.questions if features is None else features)


made_once = functools.cache(lambda name, case: Made(name, *CASES[case]))
"""Everything in it is a frozen value, so tests may share it."""


@pytest.fixture(params=CASES)
def case(request):
    return request.param


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def unless_refused(name, case):
    """Names of labels say nothing of how things look, so without a row there is no model of pictures."""
    if families.load(name).reads == "pictures" and not CASES[case][1]:
        pytest.skip("refused; see test_image_classification")


@pytest.fixture
def made(name, case):
    unless_refused(name, case)
    return made_once(name, case)


def numpy_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002  it is the global one that must rest


def assert_same(weights, others):
    assert weights.keys() == others.keys()
    for key, tensor in weights.items():
        assert torch.equal(tensor, others[key]), key


def assert_valid(probabilities, rows, n_labels):
    assert probabilities.shape == (rows, n_labels)
    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


# --- the weights -------------------------------------------------------------------------------------------


def test_weights_are_finite_tensors_of_small_types(made):
    weights = made.weights
    assert weights
    small = {torch.float16, torch.float32, torch.int8, torch.int32}
    if made.family.reads == "tables":  # cells may be as large as 1e300
        small |= {torch.float64, torch.int64, torch.bool}
    for key, tensor in weights.items():
        assert tensor.dtype in small, key
        assert torch.isfinite(tensor).all(), key
        assert not tensor.requires_grad


def test_the_same_seed_gives_the_same_weights_and_no_global_generator_is_touched(made):
    states = numpy_state(), torch.get_rng_state(), random.getstate()
    assert_same(made.generate(seed=5), made.generate(seed=5))
    assert np.array_equal(numpy_state(), states[0])
    assert torch.equal(torch.get_rng_state(), states[1])
    assert random.getstate() == states[2]


def test_the_order_of_rows_does_not_change_a_bit(made):
    order = np.random.default_rng(0).permutation(len(made.condition.targets))
    assert_same(made.generate(made.condition.take(order)), made.weights)


def test_copies_of_a_text_may_come_in_any_order(name):
    made = Made(name, 2, [0, 1, 0, 0, 1], [ONE_TEXT, ONE_TEXT, ONE_TEXT, "another", ONE_TEXT])
    assert_same(made.generate(made.condition.take(np.array([4, 2, 3, 1, 0]))), made.generate())


def test_permuted_labels_permute_the_probabilities(name, case):
    unless_refused(name, case)
    made, n_labels = made_once(name, case), CASES[case][0]
    order = np.random.default_rng(1).permutation(n_labels)
    place = np.argsort(order)
    condition = Condition(made.condition.labels.take(order), made.condition.support, place[made.condition.targets])
    requirement = requirement_of(name, [made.requirement.labels[at] for at in order])
    weights = made.family.generate(requirement, condition, seed=0)
    permuted = made.family.predict(requirement, weights, made.questions)
    plain = made.answers(made.weights)
    np.testing.assert_allclose(permuted.probabilities, plain.probabilities[:, order], atol=2e-3)
    np.testing.assert_allclose(permuted.scope, plain.scope, atol=2e-2)


def test_generating_changes_nothing_that_it_was_given(made):
    targets, before = made.condition.targets.copy(), made.answers(made.weights)
    made.generate()
    assert np.array_equal(made.condition.targets, targets)
    assert np.array_equal(made.answers(made.generate()).probabilities, before.probabilities)


def test_no_tensor_has_a_place_for_every_row(name):
    made = Made(name, 3, [0, 1, 2] * 21 + [0, 1, 2, 0])
    sizes = {size for tensor in made.generate().values() for size in tensor.shape}
    assert sizes.isdisjoint({67, 66, 68}), "67 rows went in"


def test_the_head_has_a_name(made):
    assert re.fullmatch(r"[a-z][a-z+-]*", made.family.head(made.weights))


# --- the answers -------------------------------------------------------------------------------------------


def test_answers_are_probabilities_with_a_scope(made):
    answers = made.answers(made.weights)
    n = len(made.questions)
    assert_valid(answers.probabilities, n, len(made.requirement.labels))
    assert answers.scope.shape == answers.abstain.shape == (n,)
    assert np.isfinite(answers.scope).all()
    assert answers.abstain.dtype == np.bool_


def test_no_question_gets_no_answer(made):
    answers = made.answers(made.weights, made.encode([]))
    assert answers.probabilities.shape == (0, len(made.requirement.labels))
    assert answers.scope.shape == answers.abstain.shape == answers.best.shape == (0,)


def test_stored_and_loaded_weights_give_the_same_answers(made):
    weights = made.weights
    loaded = load_tensors(save_tensors({key: tensor.contiguous() for key, tensor in weights.items()}))
    assert_same(weights, loaded)
    before, after = made.answers(weights), made.answers(loaded)
    assert np.array_equal(before.probabilities, after.probabilities)
    assert np.array_equal(before.abstain, after.abstain)
    assert made.family.head(loaded) == made.family.head(weights)


def test_an_answer_does_not_depend_on_the_other_questions(made):
    weights = made.weights
    together = made.answers(weights)
    for row in range(len(made.questions)):
        alone = made.answers(weights, made.questions.take(np.array([row])))
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[row], atol=1e-5)


def test_rows_taken_from_features_are_those_of_a_subset_encoded_anew(name):
    made = Made(name, 3, [0, 1, 2, 0, 1, 2])
    weights = made.weights
    rows = np.array([4, 0, 3])
    taken = made.condition.support.take(rows)
    assert len(taken) == 3
    anew = made.encode([made.texts[row] for row in rows])
    got, wanted = made.answers(weights, taken), made.answers(weights, anew)
    np.testing.assert_allclose(got.probabilities, wanted.probabilities, atol=1e-4)
    nothing = made.condition.support.take(np.array([], dtype=np.int64))
    assert len(nothing) == 0


def test_rows_are_learnt(name):
    made = Made(name, 3, [0, 1, 2] * 10)
    asked = made.encode([text_of(c, 700 + at) for at in range(20) for c in range(3)])
    assert (made.answers(made.weights, asked).best == np.tile([0, 1, 2], 20)).mean() > 0.6


def test_encoding_tells_how_far_it_is(name):
    told = []
    made = Made(name, 2, [0, 1])
    inputs = inputs_of(made.family, ["a", "b"])
    made.family.encode(made.base, made.requirement, inputs, progress=lambda *step: told.append(step))
    assert told[-1] == ("encode", 2, 2)


# --- the controls ------------------------------------------------------------------------------------------


def test_every_control_answers_with_probabilities(made):
    for control in made.family.controls(made.requirement):
        for features in (made.questions, made.encode([])):
            answers = control.answer(made.requirement, made.condition, features, 0)
            assert_valid(answers, len(features), len(made.requirement.labels))


def test_controls_have_names_of_their_own_and_the_majority_is_among_them(name):
    controls = [
        control.name for control in families.load(name).controls(requirement_of(name, [Label("a"), Label("b")]))
    ]
    assert len(set(controls)) == len(controls)
    assert "majority" in controls


# --- the family --------------------------------------------------------------------------------------------


def test_a_family_bears_the_name_of_its_file(name):
    family = families.load(name)
    spec = importlib.util.find_spec(type(family).__module__)
    assert family.name == name == Path(spec.origin).stem.replace("_", "-")
    assert family.summary
    assert re.fullmatch(r"[a-z-]+/\d+", family.generator)


def test_a_base_says_what_it_is(name):
    requirement = requirement_of(name, [Label("a"), Label("b")])
    ref = families.load(name).base(requirement).ref
    assert isinstance(ref, BaseRef)
    assert ref.name
    assert re.fullmatch(r"[0-9a-f]{64}", ref.sha256) or ref == NoBase().ref
