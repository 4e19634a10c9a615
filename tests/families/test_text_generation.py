"""What the family text-generation does besides what every family that writes must."""

import dataclasses

import pytest
import torch

import tiny_language
from sartor.errors import AssetError, BundleError, TaskError
from sartor.families import text_generation
from sartor.families.text_generation import (
    FAMILY,
    WritingBase,
    drawn,
    generated,
    load_generator,
    spoken,
    within,
)
from sartor.nn.condition import MOST_SUPPORT, Condition
from sartor.types import Example, Requirement

pytestmark = pytest.mark.usefixtures("tiny")

ROWS = tuple(Example(f"text {at}", f"TEXT {at}") for at in range(8))


def requirement(description=""):
    return Requirement("text-generation", "m", description, (), "en", "smollm2-135m-instruct", 64)


@pytest.fixture
def base():
    return FAMILY.base(requirement())


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- what is read of a task --------------------------------------------------------------------------------


def test_a_description_that_names_its_answers_speaks_as_rows():
    told = "Answer 'yes' if it rains, otherwise 'no'."
    assert spoken(Condition(told)).support == (Example("", "yes"), Example("", "no"))
    asked = spoken(Condition(told, prompts=("a", "b", "c")))
    assert asked.support == (Example("a", "yes"), Example("b", "no"), Example("c", "yes"))
    for other in (Condition("Say it loudly"), Condition(told, ROWS), Condition(prompts=("a",))):
        assert spoken(other) == other


def test_what_was_named_is_foretold(base):
    told = [
        Condition(f"Answer '{one}' if it rains, otherwise '{other}'.")
        for one, other in (("!!!!", "????"), ("aa", "bb"))
    ]
    made = [generated(base, [one])[0] for one in told]
    assert [FAMILY.settled(weights) for weights in made] == [("generated", 1.0)] * 2
    right, wrong = FAMILY.losses(base, made, [Example("", "!!!!"), Example("", "????")])
    assert right.mean() < wrong.mean()


def test_many_rows_are_drawn_by_their_hashes():
    many = [Example(f"text {at}", "x") for at in range(500)]
    found = drawn(many, MOST_SUPPORT)
    assert len(set(found)) == MOST_SUPPORT
    assert drawn(many[::-1], MOST_SUPPORT) == found
    assert drawn(many[:-1], MOST_SUPPORT)[:5] == tuple(row for row in found if row != many[-1])[:5]


def test_no_more_rows_than_are_read_together_go_in(base, monkeypatch):
    monkeypatch.setattr(text_generation, "MOST_SUPPORT_TOKENS", 100)
    kept = within(base.model, Condition(support=ROWS)).support
    assert kept == ROWS[: len(kept)]
    assert 0 < len(kept) < len(ROWS)
    [one], [other] = (FAMILY.generate(base, requirement(), [rows]) for rows in (drawn(ROWS, 8), drawn(ROWS, 8)[:2]))
    assert same(one, other) == (len(within(base.model, Condition(support=drawn(ROWS, 8))).support) == 2)


def test_a_description_beside_rows_is_not_read(base):
    [one] = FAMILY.generate(base, requirement("Say it"), [ROWS])
    [other] = FAMILY.generate(base, requirement("Do not say it"), [ROWS])
    assert same(one, other)


def test_words_alone_are_used_as_much_as_was_best(base):
    for dial, answerer in ((0.25, "generated"), (0.0, "anchor")):
        trained = type(base.trained)(base.trained.anchor, base.trained.generator, base.trained.bounds, dial)
        settled = WritingBase(base.model, trained, base.reader)
        [words], [rows] = (generated(settled, [one]) for one in (Condition("say it"), Condition(support=ROWS)))
        assert FAMILY.settled(words) == (answerer, dial)
        assert FAMILY.settled(rows) == ("generated", 1.0)


def test_progress_is_told_of_sets(base, monkeypatch):
    monkeypatch.setattr(text_generation, "MOST_SUPPORT_TOKENS", 800)
    told = []
    FAMILY.generate(base, requirement(), [ROWS] * 9, progress=lambda *of: told.append(of))
    assert told[-1] == ("generate", 9, 9)
    assert len(told) > 1


# --- the generator -----------------------------------------------------------------------------------------


def test_an_adapter_beyond_the_bounds_is_refused(base):
    tight = type(base.trained.bounds)(
        dict.fromkeys(base.trained.bounds.frobenius, 1e-6), dict.fromkeys(base.trained.bounds.spectral, 1e-6)
    )
    trained = type(base.trained)(base.trained.anchor, base.trained.generator, tight)
    with pytest.raises(BundleError, match="too large"):
        generated(WritingBase(base.model, trained, base.reader), [Condition(support=ROWS)])


def test_a_base_without_a_generator_says_so():
    model = tiny_language.model()
    bare = dataclasses.replace(model, spec=dataclasses.replace(model.spec, generator=None))
    with pytest.raises(TaskError, match="no generator for the base"):
        load_generator(bare)


def test_a_generator_that_was_changed_is_refused(base):
    path = base.model.spec.generator.path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(AssetError, match="not the one that Sartor came with"):
        load_generator(base.model)
    path.unlink()
    with pytest.raises(AssetError, match="cannot be read"):
        load_generator(base.model)
