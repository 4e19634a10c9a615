import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

import tiny_base
from sartor.nn import anchor as anchors
from sartor.nn.anchor import Anchor
from sartor.nn.text_base import TextBase, anchored
from sartor.pretrain import mixture, questions, states
from sartor.pretrain.mixture import Mixture
from sartor.pretrain.public import TextTask
from sartor.pretrain.questions import Dial
from sartor.pretrain.run import CHECKPOINT, Pace, descend
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
    return sorted({row.input for task in tasks for row in task.train})


@pytest.fixture(scope="module")
def told(base, tasks, table):
    number = {text: at for at, text in enumerate(table)}
    one, other = (Mixture([source]) for source in mixture.sources(tasks, number))
    return questions.lessons(one, other, base.tokenizer)


@pytest.fixture
def below(base, table, tmp_path):
    return states.States(base.encoder, states.prepare(base, table, 1, tmp_path))


@pytest.fixture
def lesson(below, told, rows):
    return questions.Lesson(below, told, below.encode_all(np.arange(len(below.offsets) - 1), rows), DIAL)


def run(below, told, rows, folder, dial=DIAL, on_look=lambda look: None):
    return questions.train(below, told, rows, dial, folder, seed=0, on_look=on_look)


def test_what_a_question_means_is_learned(lesson, table, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(questions, "QUESTIONS", ("is it {}",))
    random = torch.Generator().manual_seed(0)
    directions = {word: torch.randn(32, generator=random) for word in KINDS}
    kinds = {word: kind for kind, words in KINDS.items() for word in words.split()}
    told_apart = torch.stack([functional.normalize(directions[kinds[text.split()[0]]], dim=0) for text in table])
    looks = []
    pace = Pace(steps=60, rate=1e-2, warm_up=2, every=60)
    start = {**rows, "scale": torch.tensor(2.0)}
    easy = dataclasses.replace(lesson, rows_NH=told_apart)
    descend(easy, start, pace, tmp_path, seed=0, on_look=looks.append)
    assert looks[-1].watched["questions"] < 0.2 < 0.8 < float(easy.watch(start)["questions"])


def test_rows_stay_as_they_were(below, told, rows, tmp_path):
    found = run(below, told, rows, tmp_path)
    assert all(torch.equal(found.rows[name], rows[name]) for name in rows)
    assert all(not torch.equal(found.questions[name], rows[name]) for name in rows)
    assert not any(tensor.requires_grad for tensor in found.questions.values())


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(below, told, rows, tmp_path):
    run(below, told, rows, tmp_path / "whole")

    class Cut(Exception):
        pass

    def cut(look):
        if look.step == 6:
            raise Cut

    with pytest.raises(Cut):
        run(below, told, rows, tmp_path / "cut", on_look=cut)
    run(below, told, rows, tmp_path / "cut")
    whole, resumed = (load_file(tmp_path / name / CHECKPOINT) for name in ("whole", "cut"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_question_asks_for_the_label_that_is_yes(lesson, told, table):
    random = np.random.default_rng(0)
    for _ in range(20):
        episode, question = lesson._draw(told.train, random)
        asked = next(kind for kind in KINDS if kind in question)
        of_label = [any(table[row].startswith(word) for word in KINDS[asked].split()) for row in episode.rows]
        assert of_label == [target == 0 for target in episode.targets]  # 0 is yes


def test_labels_that_say_nothing_are_never_asked_for(base, below):
    texts = [f"{word} {at}" for at in range(4) for word in ("refund", "bug")]
    number = {text: at for at, text in enumerate(texts)}

    def source(name, labels):
        examples = tuple(Example(text, labels[at % 2]) for at, text in enumerate(texts))
        return mixture.sources([TextTask(name, name, "textcls", "en", "", labels, examples, ())], number)[0]

    mixed = Mixture([source("telling", ("money", "fault")), source("mute", ("No", "Yes")), source("other", ("1", "2"))])
    lesson = questions.Lesson(below, questions.lessons(mixed, mixed, base.tokenizer), torch.zeros(0), DIAL)
    drawn = [lesson._draw(mixed, np.random.default_rng(seed))[0] for seed in range(20)]
    assert {episode.source.name for episode in drawn} == {"telling"}


def test_another_question_is_another_loss(lesson, told, rows, monkeypatch):
    parameters = {**rows, "scale": torch.zeros(())}
    one = float(lesson.watch(parameters)["questions"])
    assert one == float(lesson.watch(parameters)["questions"])
    monkeypatch.setattr(questions, "QUESTIONS", ("hello {}",))
    assert float(lesson.watch(parameters)["questions"]) != one


def test_what_was_trained_is_read_by_the_family(below, told, rows, base, tmp_path):
    anchors.write(run(below, told, rows, tmp_path), tmp_path / anchors.ANCHOR)
    made = anchored(base, tmp_path / anchors.ANCHOR, name="tiny+mine")
    assert made.branched is not None
    assert made.questions is not None


def test_an_anchor_that_was_taught_no_question_reads_none(rows, base, tmp_path):
    anchors.write(Anchor(rows), tmp_path / anchors.ANCHOR)
    made = anchored(base, tmp_path / anchors.ANCHOR, name="tiny+mine")
    assert made.branched is not None
    assert made.questions is None
