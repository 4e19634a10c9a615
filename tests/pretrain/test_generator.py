import dataclasses

import numpy as np
import pytest
import torch

import tiny_language
from sartor.nn import condition
from sartor.pretrain import adapters, generator
from sartor.pretrain.instructions import Chances, InstructionMixture, InstructionTask
from sartor.pretrain.run import Pace
from sartor.types import Example

DIAL = adapters.Dial(Pace(steps=4, rate=1e-2, warm_up=1, every=2), tasks=2, rows=2, rank=3, layers=2, watched=2)

STEPS = 400


def task(name, answer):
    rows = tuple(Example(f"{word} {at}", answer(word)) for word in ("red", "blue", "green") for at in range(12))
    return InstructionTask(name, name, "f", (f"say {name}", f"please say {name}"), rows, (), "exact_match", "pool")


TASKS = (task("good", lambda _: "!!!!"), task("bad", lambda _: "????"))


@pytest.fixture(scope="module")
def model():
    return tiny_language.model()


@pytest.fixture(scope="module")
def lesson(model):
    texts = adapters.condition_texts(TASKS)
    drawn = np.random.default_rng(0).normal(size=(len(texts), 32))  # a random tiny encoder has all texts in one place
    sentences = condition.Sentences(texts, (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16))
    anchor = adapters.as_adapters(adapters.fresh(model, dataclasses.replace(DIAL, rank=2), 0))
    mixture = InstructionMixture(TASKS, Chances(shown=(1.0, 0.0, 0.0)))
    made = generator.Generator(adapters.chosen_sites(model, DIAL), rank=3, steps=2, width=32, sentence=32)
    return generator.GeneratorLesson(model, made, anchor, sentences, mixture, mixture, DIAL)


def start(lesson):
    return dict(lesson.generator.named_parameters())


def test_without_rows_it_starts_at_the_anchor_and_with_rows_a_plain_step_below_it(lesson):
    found = lesson.watch(start(lesson))
    assert found["without rows"] == found["anchor, without rows"]
    assert found["with rows"] < found["anchor, with rows"]


def test_tasks_of_the_same_inputs_are_told_apart_by_their_condition(lesson, tmp_path):
    looks = []
    pace = dataclasses.replace(DIAL.pace, steps=STEPS, every=STEPS)
    long = dataclasses.replace(lesson, dial=dataclasses.replace(DIAL, pace=pace))
    generator.train(long, tmp_path, seed=0, on_look=looks.append)
    found = looks[-1].watched
    assert found["answers"] < 0.8 * found["anchor"]
    assert found["answers"] < 0.8 * found["other condition"]


def test_at_dial_zero_the_generated_part_is_not_there(lesson):
    random = np.random.default_rng(0)
    episodes = adapters.draw(lesson.train, DIAL, random)
    moved = {name: 0.2 * torch.randn_like(tensor) for name, tensor in start(lesson).items()}
    anchor = lesson.losses(episodes, start(lesson), dial=0.0)
    assert torch.allclose(lesson.losses(episodes, moved, dial=0.0), anchor)
    assert not torch.allclose(lesson.losses(episodes, moved), anchor)


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(lesson, tmp_path):
    class Cut(Exception):
        pass

    def cut(look):
        if look.step == 4:
            raise Cut

    whole = generator.train(lesson, tmp_path / "whole", seed=0, on_look=lambda look: None)
    with pytest.raises(Cut):
        generator.train(lesson, tmp_path / "cut", seed=0, on_look=cut)
    resumed = generator.train(lesson, tmp_path / "cut", seed=0, on_look=lambda look: None)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
