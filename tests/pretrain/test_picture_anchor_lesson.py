import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

import tiny_pictures
from sartor.nn import picture_anchor as adapters
from sartor.nn.picture_net import ANCHORED_FROM
from sartor.pretrain import picture_anchor, picture_validation
from sartor.pretrain.picture_anchor import MIX, Dial, Episode, Lesson
from sartor.pretrain.picture_tasks import Pool
from sartor.pretrain.run import CHECKPOINT, Pace

NET, SIDE = tiny_pictures.net(), tiny_pictures.SIDE
DIAL = Dial(Pace(steps=6, rate=1e-3, warm_up=2, every=3), pictures=16, rank=2, watched=3)


def pool(seed=0, group="stripes", each=6):
    """Stripes of four pitches in any colours."""
    random = np.random.default_rng(seed)
    across = np.arange(SIDE)
    pictures = [
        np.clip(128 + 90 * np.sin(across / pitch + random.random() * 6)[None, :, None] * random.random(3), 0, 255)
        * np.ones((SIDE, 1, 1))
        for pitch in (1, 2, 4, 9)
        for _ in range(each)
    ]
    classes = np.repeat(np.arange(4), each)
    return Pool(group, np.stack(pictures).astype(np.uint8), classes, np.zeros_like(classes))


def below(folder, *pools):
    known = {one.group: one for one in pools}
    return picture_anchor.below(NET, known, known.get, folder)


@pytest.fixture
def lesson(tmp_path):
    learned, watched = below(tmp_path, pool(), pool(1, "other stripes"))
    return Lesson(NET, [learned], [watched], DIAL)


def test_the_loss_is_that_of_heads_that_have_not_seen_the_row():
    random = np.random.default_rng(0)
    blocks = {name: functional.normalize(torch.from_numpy(random.normal(size=(9, 7)))) for name in MIX}
    targets = torch.tensor([0, 1, 2] * 3)
    kernel = sum(weight * picture_anchor._kernel(blocks[name]) for name, weight in MIX.items()) / sum(MIX.values())
    truth = functional.one_hot(targets, 3).double()
    losses = []
    for penalty in picture_anchor.PENALTIES:
        told = torch.zeros(9, 3, dtype=torch.float64)
        for row in range(9):
            rest = [at for at in range(9) if at != row]
            # a centred kernel and an unpenalised mean: a ridge with an intercept
            inner = kernel[rest][:, rest].numpy()
            mean = truth[rest].mean(0)
            solved = _with_intercept(inner, truth[rest].numpy(), penalty)
            told[row] = torch.from_numpy(solved(kernel[row][rest].numpy()))
            assert mean.shape == (3,)
        losses.append(functional.cross_entropy(5 * told, targets))
    found = picture_anchor.left_out_loss(blocks, targets, 3, torch.tensor(5.0, dtype=torch.float64))
    assert float(found) == pytest.approx(float(torch.stack(losses).mean()), abs=1e-8)


def _with_intercept(inner, truth, penalty):
    """Solve ridge with an intercept that is not penalised, by its own linear system."""
    n = len(inner)
    system = np.block([[inner + penalty * np.eye(n), np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
    solution = np.linalg.solve(system, np.concatenate([truth, np.zeros((1, truth.shape[1]))]))
    return lambda row: row @ solution[:n] + solution[n]


def test_states_below_are_computed_once(tmp_path):
    first = below(tmp_path, pool())
    asked = []
    again = picture_anchor.below(NET, ["stripes"], asked.append, tmp_path)
    assert asked == []
    torch.testing.assert_close(again[0].states_PCHW, first[0].states_PCHW)
    np.testing.assert_array_equal(again[0].classes_P, first[0].classes_P)
    assert picture_anchor.below(NET, ["nothing"], lambda group: None, tmp_path) == []


def test_what_is_below_does_not_depend_on_the_adapter(tmp_path):
    [one] = below(tmp_path, pool())
    channels = NET.config.channels[ANCHORED_FROM - 1]
    assert one.states_PCHW.shape[:2] == (24, channels)
    blocks = picture_anchor.blocks_above(NET, NET.weights, one.states_PCHW[:3].float())
    assert set(blocks) == set(MIX)


def test_episodes_are_drawn_from_one_set_and_bounded(tmp_path):
    [one] = below(tmp_path, pool())
    random = np.random.default_rng(0)
    for _ in range(30):
        episode = Episode.draw(one, random, 16)
        assert len(episode.rows) == len(set(episode.rows)) == len(episode.targets_N) <= 16
        counts = torch.bincount(episode.targets_N, minlength=episode.classes)
        assert counts.min() >= 2


def test_learning_lowers_the_loss_and_goes_on_where_it_was_cut_off(lesson, tmp_path):
    whole = picture_anchor.train(lesson, tmp_path / "whole", seed=0, on_look=lambda look: None)
    half = dataclasses.replace(lesson, dial=dataclasses.replace(DIAL, pace=DIAL.pace))

    class Enough(Exception):
        pass

    def stop(look):
        raise Enough

    with pytest.raises(Enough):
        picture_anchor.train(half, tmp_path / "cut", seed=0, on_look=stop)
    assert not (tmp_path / "cut" / CHECKPOINT).exists()
    looks = []
    again = picture_anchor.train(lesson, tmp_path / "cut", seed=0, on_look=looks.append)
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor)
    assert [look.step for look in looks] == [3, 6]
    assert any(tensor.abs().max() > 0 for name, tensor in whole.items() if "lora_B" in name)


def test_a_fresh_anchor_validates_as_the_frozen_net(lesson):
    fresh = adapters.fresh(NET.config, 2, generator=torch.Generator().manual_seed(0))
    plain = picture_validation.accuracy(NET, None, lesson.watched)
    assert picture_validation.accuracy(NET, fresh, lesson.watched) == pytest.approx(plain)
    assert 0 <= plain["other stripes"] <= 1
