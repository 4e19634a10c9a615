import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny_language
from sartor.errors import DataError
from sartor.nn.anchored import join
from sartor.nn.condition import Condition
from sartor.nn.teacher_forcing import Batch, answer_losses, below, write
from sartor.pretrain import adapters, reconstruction
from sartor.pretrain.instructions import Chances, InstructionMixture, InstructionTask
from sartor.pretrain.reconstruction import Farm, Normal, ReconstructionLesson
from sartor.types import Example

FARM = Farm(steps=30, window=3, rate=0.05)


def rows_of(answer):
    return tuple(Example(f"{word} {at}", answer) for word in ("red", "blue", "green") for at in range(8))


def task(name, answer):
    return InstructionTask(name, name, "f", (f"say {name}",), rows_of(answer), (), "exact_match", None)


TASKS = (task("good", "!!!!"), task("bad", "????"))


@pytest.fixture(scope="module")
def model():
    return tiny_language.model()


@pytest.fixture(scope="module")
def anchor(model):
    return tiny_language.anchor(model.decoder)


@pytest.fixture(scope="module")
def shared(model, anchor):
    return reconstruction.shared_a(adapters.sites_of(model, anchor), 3, 0)


def trained(model, anchor, shared, answer, farm=FARM, seed=0, states=None):
    rows = [write(model, row) for row in rows_of(answer)]
    random = np.random.default_rng(seed)
    return reconstruction.checkpoints(model, rows, anchor, shared, farm, 1, states, random)


@pytest.fixture(scope="module")
def targets(model, anchor, shared):
    return {one.name: trained(model, anchor, shared, one.train[0].output) for one in TASKS}


def loss(model, anchor, shared, b, answer):
    batch = Batch.of([write(model, row) for row in rows_of(answer)], model.device)
    joined = join(anchor, {path: (shared[path][None], b[path][None]) for path in shared}, 1.0)
    with torch.no_grad():
        return float(answer_losses(model, batch, joined, 1).mean())


def test_every_checkpoint_answers_its_own_task_better_than_the_anchor_and_than_the_others(
    model, anchor, shared, targets
):
    zero = {path: torch.zeros_like(b_WOr[0]) for path, b_WOr in targets["good"].items()}
    for name, other, answer in (("good", "bad", "!!!!"), ("bad", "good", "????")):
        start = loss(model, anchor, shared, zero, answer)
        for at in range(FARM.window):
            own = loss(model, anchor, shared, {path: b[at] for path, b in targets[name].items()}, answer)
            wrong = loss(model, anchor, shared, {path: b[at] for path, b in targets[other].items()}, answer)
            assert own < 0.8 * start
            assert own < 0.8 * wrong


def test_a_window_holds_the_last_steps_each_a_little_further(targets):
    for b_WOr in targets["good"].values():
        assert len(b_WOr) == FARM.window
        steps = (b_WOr[1:] - b_WOr[:-1]).abs().amax(dim=(1, 2))
        assert (steps > 0).all()
        assert steps.max() < 1.5 * FARM.late * FARM.rate  # AdamW moves no number much further than its rate


def test_the_same_seed_trains_the_same_and_states_known_beforehand_change_nothing(model, anchor, shared):
    short = Farm(steps=2, window=1)
    one, same, other = (trained(model, anchor, shared, "!!!!", short, seed) for seed in (0, 0, 1))
    known = trained(
        model, anchor, shared, "!!!!", short, states=lambda rows: below(model, Batch.of(rows, model.device), 1)
    )
    assert all(torch.equal(one[path], same[path]) and torch.equal(one[path], known[path]) for path in one)
    assert any(not torch.equal(one[path], other[path]) for path in one)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(1, 3), st.sampled_from([3, 64, 70]), st.floats(0.01, 100), st.integers(0, 99))
def test_normalised_targets_have_mean_zero_and_mean_square_one_and_come_back(tasks, window, outputs, size, seed):
    random = torch.Generator().manual_seed(seed)
    made = [{"s": size * torch.randn(window, outputs, 2, generator=random) + 3} for _ in range(tasks)]
    normal = Normal.of(made)
    whole = torch.cat([normal.normalised("s", one["s"]) for one in made])
    torch.testing.assert_close(whole.mean(dim=0), torch.zeros(outputs, 2), atol=1e-3, rtol=0)
    for block in whole.split(reconstruction.COLUMNS, dim=1):
        assert float(block.square().mean()) == pytest.approx(1, rel=1e-3)
    torch.testing.assert_close(normal.restored("s", whole), torch.cat([one["s"] for one in made]), atol=1e-3, rtol=1e-4)
    assert normal.scale["s"].shape == (outputs, 1)


def test_foretelling_the_mean_costs_one_and_a_checkpoint_itself_nothing(targets):
    normal = Normal.of(list(targets.values()))
    mean = {path: torch.zeros(2, *b_WOr.shape[1:]) for path, b_WOr in targets["good"].items()}
    drawn = [
        float(reconstruction.left(mean, list(targets.values()), normal, np.random.default_rng(seed)))
        for seed in range(20)
    ]
    assert np.mean(drawn) == pytest.approx(1, abs=0.05)
    single = {name: {path: b[-1:] for path, b in one.items()} for name, one in targets.items()}
    exact = {
        path: normal.normalised(path, torch.cat([one[path] for one in single.values()])) for path in targets["good"]
    }
    assert float(reconstruction.left(exact, list(single.values()), normal, np.random.default_rng(0))) < 1e-6


def test_one_task_has_no_spread_and_is_refused(targets):
    with pytest.raises(DataError, match="two tasks or more; got 1"):
        Normal.of([targets["good"]])


def test_a_condition_is_asked_for_its_own_tasks_checkpoint(targets):
    normal = Normal.of(list(targets.values()))
    mean = {name: {path: b.mean(dim=0) for path, b in one.items()} for name, one in targets.items()}

    def foretell(conditions, parameters, blur):
        def named(condition: Condition):
            answer = condition.support[0].output if condition.support else None
            return "good" if answer == "!!!!" or condition.description == "say good" else "bad"

        return {
            path: torch.stack([normal.normalised(path, mean[named(one)][path]) for one in conditions])
            for path in targets["good"]
        }

    mixture = InstructionMixture(TASKS, Chances(same_input=0.0, modalities=(0.5, 0.25, 0.25, 0.0)))
    lesson = ReconstructionLesson(foretell, mixture, targets, normal, conditions=8)
    found = float(lesson.learn({}, np.random.default_rng(0))["blocks"])
    assert found < 0.1  # what the window itself moves
    turned = ReconstructionLesson(
        foretell, mixture, dict(zip(targets, reversed(targets.values()), strict=True)), normal
    )
    assert float(turned.learn({}, np.random.default_rng(0))["blocks"]) > 2
    assert lesson.watch({}) == {}
