import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

import tiny_base
import tiny_language
from sartor.nn import condition, teacher_forcing
from sartor.nn.condition import Condition
from sartor.nn.teacher_forcing import Batch, Written
from sartor.nn.text_base import TextBase
from sartor.pretrain import adapters
from sartor.pretrain.instructions import Chances, InstructionMixture, InstructionTask
from sartor.pretrain.run import Pace
from sartor.types import BaseRef, Example

DIAL = adapters.Dial(Pace(steps=4, rate=1e-2, warm_up=1, every=2), tasks=2, rows=2, rank=2, layers=2, watched=2)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    return tiny_language.model()


def task(name, answer):
    rows = tuple(Example(f"{word} {at}", answer(word)) for word in ("red", "blue", "green") for at in range(12))
    return InstructionTask(name, name, "f", (f"say {name}", f"please say {name}"), rows, (), "exact_match", "pool")


TASKS = (task("upper", str.upper), task("first", lambda word: word[0]))


@pytest.fixture(scope="module")
def mixture():
    return InstructionMixture(TASKS, Chances(shown=(1.0, 0.0, 0.0)))


def row(model, text, answer):
    return teacher_forcing.write(model, Example(text, answer))


def test_the_loss_of_a_row_is_that_of_its_answer_alone(model):
    rows = [row(model, "one two three", "yes"), row(model, "one", "a longer answer")]
    batch = Batch.of(rows, CPU)
    found = teacher_forcing.answer_losses(model, batch, None, 0)
    for at, one in enumerate(rows):
        ids = torch.tensor([one.ids])
        logits = model.decoder.logits(model.decoder(ids))[0, one.answer - 1 : -1]
        assert torch.allclose(functional.cross_entropy(logits, ids[0, one.answer :]), found[at], rtol=2e-2)  # bfloat16


def test_only_the_answer_is_foretold_from_the_place_before_it(model):
    batch = Batch.of([Written((5, 6, 7, 8), 2), Written((9, 10), 1)], CPU)
    assert batch.rows_M.tolist() == [0, 0, 1]
    assert batch.places_M.tolist() == [1, 2, 0]
    assert batch.targets_M.tolist() == [7, 8, 10]
    assert batch.keep_BT.tolist() == [[True] * 4, [True, True, False, False]]


def test_a_fresh_adapter_changes_nothing_and_the_gradient_reaches_it(model):
    parameters = {name: tensor.requires_grad_() for name, tensor in adapters.fresh(model, DIAL, 0).items()}
    batch = Batch.of([row(model, "one", "yes")], CPU)
    layer = adapters.first_layer(model, DIAL.layers)
    with_it = teacher_forcing.answer_losses(model, batch, adapters.as_adapters(parameters), layer)
    assert torch.equal(with_it, teacher_forcing.answer_losses(model, batch, None, layer))
    with_it.sum().backward()
    assert all(tensor.grad is not None for tensor in parameters.values())
    assert all(tensor.grad.abs().sum() > 0 for name, tensor in parameters.items() if name.endswith(adapters.B))


def test_adapters_stand_at_the_chosen_sites_of_the_upper_layers(model):
    found = adapters.chosen_sites(model, DIAL)
    assert {path.split(".")[2] for path in found} == {"1", "2"}
    assert {path.rpartition(".")[2] for path in found} == set(DIAL.targets)


def test_sites_keep_the_decoders_order_whatever_the_order_of_a_file(model):
    adapter = adapters.as_adapters(dict(sorted(adapters.fresh(model, DIAL, 0).items(), reverse=True)))
    wanted = adapters.chosen_sites(model, DIAL)
    assert list(adapter) != list(wanted)
    assert list(adapters.sites_of(model, adapter).items()) == list(wanted.items())


def lesson(model, mixture, steps=4):
    dial = dataclasses.replace(DIAL, pace=dataclasses.replace(DIAL.pace, steps=steps, every=steps // 2))
    return adapters.AnchorLesson(model, mixture, mixture, dial)


def test_an_anchor_learns(model, mixture, tmp_path):
    looks = []
    adapters.train_anchor(lesson(model, mixture, 60), tmp_path, seed=0, on_look=looks.append)
    untrained = lesson(model, mixture).watch(adapters.fresh(model, DIAL, 0))["answers"]
    assert looks[-1].watched["answers"] < 0.9 * float(untrained)


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(model, mixture, tmp_path):
    def train(folder, on_look=lambda look: None):
        return adapters.train_anchor(lesson(model, mixture), tmp_path / folder, seed=0, on_look=on_look)

    class Cut(Exception):
        pass

    def cut(look):
        if look.step == 4:
            raise Cut

    whole = train("whole")
    with pytest.raises(Cut):
        train("cut", cut)
    resumed = train("cut")
    assert all(torch.equal(one, other) for path in whole for one, other in zip(whole[path], resumed[path], strict=True))


# --- conditions ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base():
    return TextBase(BaseRef("tiny", "0", "none"), tiny_base.encoder(), tiny_base.tokenizer(), "")


def test_what_is_embedded_is_the_description_or_the_prompts_and_nothing_beside_rows():
    found = condition.items(Condition("say it", (), ("e", "f")))
    assert [(item.text, item.kind) for item in found] == [("say it", condition.DESCRIPTION)]
    found = condition.items(Condition(prompts=("e", "f")))
    assert [(item.text, item.kind) for item in found] == [("e", condition.PROMPT), ("f", condition.PROMPT)]
    assert condition.items(Condition("say it", (Example("a", "b"),), ("e",))) == []


def test_texts_are_embedded_once_and_stand_where_their_condition_is(base, tmp_path):
    texts = adapters.condition_texts(TASKS)
    told = []
    sentences = adapters.embed(base, texts, tmp_path, progress=lambda *of: told.append(of))
    assert told[-1] == ("embed", len(texts), len(texts))
    told.clear()
    assert (
        adapters.embed(base, texts, tmp_path, lambda *of: told.append(of)).embeddings_NE == sentences.embeddings_NE
    ).all()
    assert told == []
    prompts = tuple(row.input for row in TASKS[0].train[:2])
    conditions = (Condition("say upper"), Condition(prompts=prompts), Condition(support=TASKS[0].train[:2]))
    found = sentences(conditions, CPU)
    assert found.keep_GN.sum(dim=1).tolist() == [1, 2, 0]
    place = sentences.place[prompts[1]]
    np.testing.assert_array_equal(found.items_GNE[1, 1], sentences.embeddings_NE[place].astype(np.float32))
    assert found.types_GN[1].tolist() == [condition.PROMPT] * 2
    assert torch.allclose(found.items_GNE[1].norm(dim=1), torch.ones(2), atol=1e-3)


def test_every_text_that_a_draw_can_hold_is_embedded(mixture):
    known = set(adapters.condition_texts(TASKS))
    drawn = [episode for seed in range(30) for episode in mixture.draw(np.random.default_rng(seed), tasks=2, rows=2)]
    assert all(item.text in known for episode in drawn for item in condition.items(episode.condition))
