"""What the family text-generation does besides what every family that writes must."""

import dataclasses

import pytest
import torch

import tiny_language
from sartor.errors import AssetError, BundleError, TaskError
from sartor.families import text_generation
from sartor.families.interface import Writing, WritingTask
from sartor.families.text_generation import (
    FAMILY,
    WritingBase,
    drawn,
    generated,
    load_generator,
    spoken,
    within,
)
from sartor.nn.anchored import stacked
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


# --- many at once ------------------------------------------------------------------------------------------

NAMED = "Answer 'yes' if it rains, otherwise 'no'."


def test_each_of_many_is_what_it_is_alone(base, monkeypatch):
    monkeypatch.setattr(text_generation, "_MADE_AT_ONCE", 3)
    told = [("Say it", ()), ("", ROWS), (NAMED, ()), ("Whisper", ()), ("", ROWS[:3]), ("Shout", ()), ("", ROWS[2:6])]
    tasks = [WritingTask(requirement(description), rows, ("a", "b")) for description, rows in told]
    batches = list(FAMILY.generate_each(base, tasks))
    assert max(map(len, batches)) == 3
    made = dict(one for batch in batches for one in batch)
    assert sorted(made) == list(range(len(tasks)))
    for at, task in enumerate(tasks):
        [alone] = FAMILY.generate(base, task.requirement, [task.support], task.prompts)
        assert made[at].keys() == alone.keys()
        assert FAMILY.settled(made[at]) == FAMILY.settled(alone)
        for name, tensor in alone.items():
            torch.testing.assert_close(made[at][name].float(), tensor.float(), atol=2e-3, rtol=2e-2)


def test_batches_of_many_keep_to_their_tokens(base, monkeypatch):
    monkeypatch.setattr(text_generation, "_MOST_TOKENS_AT_ONCE", 1)
    batches = list(FAMILY.generate_each(base, [WritingTask(requirement(), ROWS)] * 3))
    assert [len(batch) for batch in batches] == [1, 1, 1]
    assert list(FAMILY.generate_each(base, [])) == []


@pytest.fixture
def mixed(base):
    """Weights of several kinds: generated at dials, anchor, base, and words alone."""
    one, other, third = FAMILY.generate(base, requirement(), [ROWS[:4], ROWS[4:], ROWS[2:5]])
    [words] = FAMILY.generate(base, requirement("Say it loudly"), [()])
    return [
        *(one, other, third, words),
        FAMILY.settle(one, "generated", 1.5),
        FAMILY.settle(other, "anchor"),
        FAMILY.settle(other, "generated", 0.0),
        FAMILY.settle(third, "base"),
    ]


def test_rows_of_many_models_are_answered_as_each_alone(base, mixed):
    writing = Writing(max_new_tokens=8)
    asked = [(mixed[at % len(mixed)], f"say {at} " + "word " * (at % 5)) for at in range(21)]
    asked[3] = (mixed[3], "  ")
    told = []
    answers = FAMILY.answer_mixed(base, asked, writing, progress=lambda *at: told.append(at))
    assert answers == [FAMILY.answer(base, weights, [text], writing)[0] for weights, text in asked]
    assert answers == super(type(FAMILY), FAMILY).answer_mixed(base, asked, writing)
    assert len({*answers}) > 4
    assert answers[3] == ""
    assert told[-1] == ("answer", 20, 20)
    assert FAMILY.answer_mixed(base, [], writing) == []


def test_rows_of_one_model_among_many_draw_as_in_their_own_file(base, mixed):
    writing = Writing(max_new_tokens=8, temperature=1.0, seed=5)
    texts = [f"say {at}" for at in range(5)]
    [alone] = [FAMILY.answer(base, mixed[0], texts, writing)]
    assert FAMILY.answer_mixed(base, [(mixed[0], text) for text in texts], writing) == alone
    beside = [(mixed[at % 2 and 1], text) for at, text in enumerate(texts)]
    assert [answer for at, answer in enumerate(FAMILY.answer_mixed(base, beside, writing)) if at % 2 == 0] == alone[::2]


def test_logits_of_a_mixed_batch_are_those_of_each_adapter_alone(base, mixed):
    adapters = [FAMILY.adapter(base, weights) for weights in mixed]
    ids = torch.randint(3, 200, (len(mixed), 9), generator=torch.Generator().manual_seed(0))
    decoder = base.model.decoder
    together = decoder.logits(decoder(ids, adapters=stacked(adapters)))
    for row, adapter in enumerate(adapters):
        alone = decoder.logits(decoder(ids[row : row + 1], adapters=adapter))[0]
        assert (together[row] - alone).abs().max() < 1e-4


def test_broken_weights_among_others_are_an_error_and_no_answer(base, mixed):
    broken = {name: tensor * float("nan") if "lora_B" in name else tensor for name, tensor in mixed[1].items()}
    with pytest.raises(BundleError, match="not finite"):
        FAMILY.answer_mixed(base, [(mixed[0], "say a"), (broken, "say b")], Writing(max_new_tokens=2))
