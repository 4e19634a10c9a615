import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.errors import DataError
from sartor.pretrain import mixture, public
from sartor.pretrain.mixture import Mixture
from sartor.pretrain.public import IndexRow, TextTask
from sartor.types import Example

GROUPS = [f"group {at}" for at in range(30)]


def task(group: str, texts: list[str]) -> TextTask:
    rows = tuple(Example(text, "ab"[at % 2]) for at, text in enumerate(texts))
    return TextTask(f"task of {group}", group, "textcls", "en", "", ("a", "b"), rows[::2] + rows[1::4], rows[3::4])


def row(group: str, *, licence="ok", collection="textcls", canary=False, language="en", kind="classification"):
    return IndexRow(f"task of {group}", collection, group, language, kind, canary, licence)


def pairs(shared: str = "the very same text"):
    return [(row(group), task(group, [f"{group} {at}" for at in range(8)] + [shared])) for group in GROUPS]


def fingerprints(tasks):
    return {mixture.fingerprint(example.input) for task in tasks for example in (*task.train, *task.test)}


@pytest.mark.parametrize("held_out", range(public.FOLDS))
def test_no_group_and_no_text_of_a_held_out_fold_is_learned_from(held_out):
    found = mixture.split(pairs(), held_out)
    unseen = [task for _, task in pairs() if public.fold(task.group) == held_out]
    assert unseen
    assert found.train
    assert not {task.group for task in found.train} & {task.group for task in unseen}
    assert not fingerprints(found.train) & fingerprints(unseen)


@pytest.mark.parametrize("held_out", range(public.FOLDS))
def test_what_is_watched_is_neither_learned_from_nor_reported(held_out):
    found = mixture.split(pairs(), held_out)
    assert found.watch
    assert {public.side(task.group) for task in found.watch} == {"dev"}
    assert not {task.group for task in found.watch} & {task.group for task in found.train}


def test_every_fold_holds_groups_out_and_the_public_sets_are_held_out_together():
    assert {public.fold(group) for group in GROUPS} == set(range(public.FOLDS))
    assert {public.fold(group) for group in public.PUBLIC} == {0}


def test_what_is_shipped_never_saw_a_public_benchmark():
    everything = [
        *pairs(),
        *((row(group), task(group, [f"{group} {at}" for at in range(8)])) for group in public.PUBLIC),
    ]
    learned = {task.group for task in mixture.split(everything, None).train}
    assert learned == set(GROUPS)


def test_a_copy_is_a_copy_whatever_its_case_and_spaces():
    assert mixture.fingerprint("A  text\n") == mixture.fingerprint("a text")
    assert mixture.fingerprint("a text") != mixture.fingerprint("a test")


@pytest.mark.parametrize(
    ("about", "may"),
    [
        ({"licence": "ok"}, True),
        ({"licence": "unclear"}, False),
        ({"licence": "unclear", "collection": "sni"}, True),
        ({"licence": "non-commercial", "collection": "sni"}, False),
        ({"licence": "custom terms", "collection": "sni"}, False),
        ({"licence": "ok", "canary": True}, False),
    ],
)
def test_the_licence_says_what_may_be_learned_from(about, may):
    assert row("g", **about).trainable is may
    learned = mixture.split([(row("g", **about), task("g", ["one", "two", "three", "four"]))], None).train
    assert bool(learned) is may


def source(labels: int, rows: int) -> mixture.Source:
    texts = [f"row {at}" for at in range(rows)]
    names = tuple(f"label {at}" for at in range(labels))
    examples = tuple(Example(text, names[at % labels]) for at, text in enumerate(texts))
    made = TextTask("t", "g", "textcls", "en", "", names, examples, (Example("row 0", "no label"),))
    return mixture.sources([made], {text: at for at, text in enumerate(texts)})[0]


@given(labels=st.integers(2, 40), each=st.integers(2, 30), seed=st.integers(0, 1000))
def test_an_episode_is_a_task_of_its_own(labels, each, seed):
    whole = source(labels, labels * each)
    found = mixture.episode(whole, np.random.default_rng(seed))
    assert 2 <= found.classes <= mixture.LABELS
    assert len(set(found.rows)) == len(found.rows) == len(found.targets)
    assert set(found.targets) == set(range(found.classes))
    if found.picked is not None:  # targets are the labels' own, in the order they were picked
        place = dict(zip(whole.rows, whole.targets, strict=True))
        assert [place[text] for text in found.rows] == list(found.picked[found.targets])


@given(labels=st.integers(2, 40), each=st.integers(2, 30), seed=st.integers(0, 1000))
def test_a_question_is_one_label_against_the_rest_half_and_half(labels, each, seed):
    whole = source(labels, labels * each)
    found = mixture.episode(whole, np.random.default_rng(seed), asked=1.0)
    assert found.picked is None
    place = dict(zip(whole.rows, whole.targets, strict=True))
    assert [place[text] == found.question for text in found.rows] == [target == 0 for target in found.targets]
    assert list(found.targets).count(0) == list(found.targets).count(1)


def test_how_often_one_label_is_asked_for_and_none_that_tells_nothing():
    random = np.random.default_rng(0)
    drawn = [mixture.episode(source(3, 60), random, asked=0.25) for _ in range(400)]
    assert 0.15 < np.mean([found.question is not None for found in drawn]) < 0.35
    assert all(mixture.episode(source(3, 60), random).question is None for _ in range(100))
    mute = mixture.replace(source(3, 60), labels=("Yes", "1", "no"))
    assert all(mixture.episode(mute, random, asked=1.0).question is None for _ in range(100))


def test_where_names_are_learned_none_is_merged_away():
    random = np.random.default_rng(0)
    drawn = [mixture.episode(source(9, 90), random, merged=share) for share in (0.0, 1.0) for _ in range(50)]
    assert all(found.picked is not None for found in drawn[:50])
    assert any(found.picked is None for found in drawn[50:])


def test_an_answer_that_is_no_label_is_left_off():
    assert len(source(2, 10).rows) == 10


def test_groups_take_turns_not_tasks():
    one, other = source(2, 10), source(2, 10)
    many = [mixture.replace(one, name=f"{at}", group="many") for at in range(9)]
    mixed = Mixture([*many, mixture.replace(other, group="one")])
    random = np.random.default_rng(0)
    drawn = [mixed.draw(random).source.group for _ in range(400)]
    assert 60 < drawn.count("one") < 140  # one in four: the root of 10 rows against that of 90


def test_a_folder_without_a_task_to_learn_from_is_said():
    with pytest.raises(DataError, match="no task to learn from"):
        Mixture([])
