import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiny_base
from sartor.families.text_classification import TextBase, anchored
from sartor.nn import anchor as anchors
from sartor.nn.anchor import Anchor
from sartor.pretrain import mixture, names, states
from sartor.pretrain.anchor import Lessons
from sartor.pretrain.mixture import Mixture
from sartor.pretrain.names import Dial
from sartor.pretrain.public import TextTask
from sartor.pretrain.run import CHECKPOINT, Pace
from sartor.types import BaseRef, Example

DIAL = Dial(Pace(steps=6, rate=5e-3, warm_up=2, every=3), episodes=2, watched=4)
KINDS = {"money": "refund invoice card pay", "fault": "crash bug error broken", "praise": "great good love thanks"}


@pytest.fixture(scope="module")
def base():
    return TextBase(BaseRef("tiny", "0", "none"), tiny_base.encoder(), tiny_base.tokenizer(), "")


@pytest.fixture(scope="module")
def rows(base):
    return tiny_base.adapter(base.encoder)


@pytest.fixture(scope="module")
def tasks():
    rows = tuple(
        Example(f"{word} {other}", label)
        for label, words in KINDS.items()
        for word in words.split()
        for other in ("the app", "my card", "this screen")
    )
    return [TextTask(f"{at}", f"group {at}", "textcls", "en", "", tuple(KINDS), rows[at::2], ()) for at in range(2)]


@pytest.fixture(scope="module")
def table(tasks):
    return sorted({row.input for task in tasks for row in task.train} | set(KINDS) | set(names.ANSWERS))


@pytest.fixture(scope="module")
def lessons(tasks, table):
    number = {text: at for at, text in enumerate(table)}
    one, other = mixture.sources(tasks, number)
    said = {task.name: [(number[label],) for label in KINDS] for task in tasks}
    said[names.YES_NO] = [(number[answer],) for answer in names.ANSWERS]
    return Lessons(Mixture([one]), Mixture([other]), said)


@pytest.fixture(scope="module")
def told(base):
    return names.wordings(base.tokenizer, {"0": ["is this about money or a bug", "say what it is of"]})


@pytest.fixture
def below(base, table, tmp_path):
    return states.States(base.encoder, states.prepare(base, table, 1, tmp_path))


@pytest.fixture
def lesson(below, lessons, told, rows):
    return names.Lesson(below, lessons, told, below.encode_all(np.arange(len(below.offsets) - 1), rows), DIAL)


def run(below, lessons, told, rows, folder, dial=DIAL, on_look=lambda look: None):
    return names.train(below, lessons, told, rows, dial, folder, seed=0, on_look=on_look)


def test_names_are_learned_and_rows_stay_as_they_were(below, lessons, told, rows, tmp_path):
    looks = []
    long = dataclasses.replace(DIAL, pace=dataclasses.replace(DIAL.pace, steps=60, every=30))
    found = run(below, lessons, told, rows, tmp_path, long, looks.append)
    assert looks[-1].learned["names"] < looks[0].learned["names"]
    assert all(torch.equal(found.rows[name], rows[name]) for name in rows)
    assert all(not torch.equal(found.names[name], rows[name]) for name in rows)
    assert found.context is not None
    assert not found.context.requires_grad


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(below, lessons, told, rows, tmp_path):
    run(below, lessons, told, rows, tmp_path / "whole")

    class Cut(Exception):
        pass

    def cut(look):
        if look.step == 6:
            raise Cut

    with pytest.raises(Cut):
        run(below, lessons, told, rows, tmp_path / "cut", on_look=cut)
    run(below, lessons, told, rows, tmp_path / "cut")
    whole, resumed = (load_file(tmp_path / name / CHECKPOINT) for name in ("whole", "cut"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def parameters(rows):
    numbers = (anchors.CONTEXT, "scale.names", "scale.questions")
    return {**rows, **{name: torch.zeros(()) for name in numbers}}


def an_episode(lessons, *, asked):
    return lessons.train.draw(np.random.default_rng(1), merged=0.0, asked=asked)


def loss(lesson, episode, rows, **described):
    lesson = dataclasses.replace(lesson, dial=dataclasses.replace(DIAL, **described))
    return float(lesson._loss(episode, parameters(rows), np.random.default_rng(0)))


def test_a_description_is_read_in_training(lesson, lessons, rows):
    episode = an_episode(lessons, asked=0.0)
    assert loss(lesson, episode, rows, described=1.0) != loss(lesson, episode, rows, described=0.0)


def test_a_question_is_always_asked(lesson, lessons, rows):
    episode = an_episode(lessons, asked=1.0)
    assert episode.question is not None
    assert loss(lesson, episode, rows, described=1.0) == loss(lesson, episode, rows, described=0.0)
    other = dataclasses.replace(episode, question=(episode.question + 1) % 3)
    assert loss(lesson, other, rows) != loss(lesson, episode, rows)


def test_what_was_trained_is_read_by_the_family(below, lessons, told, rows, base, tmp_path):
    anchors.write(run(below, lessons, told, rows, tmp_path), tmp_path / anchors.ANCHOR)
    made = anchored(base, tmp_path / anchors.ANCHOR, name="tiny+mine")
    assert made.branched is not None
    assert made.names is not made.branched
    assert made.context > 0


def test_an_anchor_without_names_of_its_own_reads_them_as_rows(rows, base, tmp_path):
    anchors.write(Anchor(rows), tmp_path / anchors.ANCHOR)
    made = anchored(base, tmp_path / anchors.ANCHOR, name="tiny+mine")
    assert made.names is made.branched
    assert made.context == 0
