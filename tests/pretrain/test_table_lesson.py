"""Training of the generator of tables, at a hundredth of its size."""

import dataclasses

import numpy as np
import pytest
import torch

from sartor.nn import table_generator
from sartor.nn.table_generator import Draws, TableGenerator
from sartor.pretrain import table_generator as lesson_of
from sartor.pretrain.run import Pace
from sartor.pretrain.table_generator import FIRST_PASS, Dial, Size, TableLesson
from sartor.pretrain.table_prior import Prior

DIAL = Dial(Pace(steps=4, rate=3e-3, warm_up=1, every=2), tables=4, cells=300, width=8, layers=1, watched=4)


@pytest.fixture
def lesson():
    torch.manual_seed(0)
    return TableLesson(
        TableGenerator(width=DIAL.width, layers=DIAL.layers, units=16, rank=table_generator.RANK), DIAL, Prior()
    )


@pytest.fixture(autouse=True)
def _few_units(monkeypatch):
    """Of 16 units and products a net answers as well as any for what is asked here."""
    made = Draws.of
    monkeypatch.setattr(Draws, "of", lambda *args, **more: made(*args, **{**more, "units": 16, "products": 16}))


def start(lesson):
    return dict(lesson.generator.named_parameters())


def quiet(look):
    pass


@pytest.mark.parametrize("seed", range(3))
def test_sizes_keep_within_what_a_step_may_hold(seed):
    random = np.random.default_rng(seed)
    for _ in range(300):
        size = Size.draw(random, 8_000)
        assert 2 <= size.columns <= 48
        assert 48 <= size.rows <= 640
        assert size.rows * size.columns <= 8_000 + 64 * size.columns
        assert 16 <= size.support < size.rows - 9


def test_before_training_what_is_watched_is_the_floor(lesson):
    found = lesson.watch(start(lesson))
    assert set(found) == {"classes", "classes, floor", "values", "values, floor"}
    for kind in ("classes", "values"):
        torch.testing.assert_close(found[kind], found[f"{kind}, floor"])
        assert found[kind].isfinite()


def test_the_floor_stays_where_it_is_when_parameters_move(lesson):
    torch.manual_seed(1)
    moved = {name: tensor + 0.3 * torch.randn_like(tensor) for name, tensor in start(lesson).items()}
    first, second = lesson.watch(start(lesson)), lesson.watch(moved)
    for kind in ("classes", "values"):
        assert torch.equal(first[f"{kind}, floor"], second[f"{kind}, floor"])
        assert not torch.allclose(first[kind], second[kind])


def test_a_step_is_of_classes_or_of_values_and_counts_the_first_pass_less(lesson):
    kinds = set()
    for seed in range(8):
        losses = lesson.learn(start(lesson), np.random.default_rng(seed))
        assert set(losses) == set(lesson.weights)
        (kind,) = (name for name in ("classes", "values") if losses[name] != 0)
        kinds.add(kind)
        # untrained, both passes are the floor
        torch.testing.assert_close(losses["first"], losses[kind])
    assert kinds == {"classes", "values"}
    assert lesson.weights["first"] == FIRST_PASS < 1


@pytest.mark.parametrize(("kind", "seed"), [("classes", 0), ("values", 5)])
def test_a_few_steps_lower_the_loss_of_tables_that_stay(lesson, tmp_path, monkeypatch, kind, seed):
    draw = lesson._draw(np.random.default_rng(seed), kind == "values")
    monkeypatch.setattr(TableLesson, "_draw", lambda self, random, regression: draw)
    monkeypatch.setattr(lesson_of, "REGRESSION", float(kind == "values"))
    monkeypatch.setattr(TableLesson, "watch", lambda self, parameters: {})
    looks = []
    pace = dataclasses.replace(DIAL.pace, steps=24, every=4, rate=1e-2)
    longer = dataclasses.replace(lesson, dial=dataclasses.replace(DIAL, pace=pace))
    lesson_of.train(longer, tmp_path, seed=0, on_look=looks.append)
    losses = [look.learned[kind] for look in looks]
    assert len(losses) == 6
    assert losses[-1] < 0.95 * losses[0]
    assert losses[-1] == min(losses)


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(lesson, tmp_path):
    class Cut(Exception):
        pass

    def cut(look):
        if look.step == 4:
            raise Cut

    whole = lesson_of.train(lesson, tmp_path / "whole", seed=0, on_look=quiet)
    with pytest.raises(Cut):
        lesson_of.train(lesson, tmp_path / "cut", seed=0, on_look=cut)
    resumed = lesson_of.train(lesson, tmp_path / "cut", seed=0, on_look=quiet)
    assert set(whole) == set(start(lesson))
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
    assert any(not torch.equal(tensor, start(lesson)[name]) for name, tensor in whole.items())
    other = lesson_of.train(lesson, tmp_path / "other", seed=1, on_look=quiet)
    assert any(not torch.equal(tensor, other[name]) for name, tensor in whole.items())


def test_the_rows_that_judge_have_no_part_in_what_is_generated(lesson):
    """Their targets may be anything: the net is the same, only its loss is not."""
    size = Size(rows=60, support=30, columns=4)
    tables, _, _ = lesson._draw(np.random.default_rng(0), False)
    tables = dataclasses.replace(
        tables,
        cells_BND=tables.cells_BND[:, :60],
        targets_BN=tables.targets_BN[:, :60] % 2,
        classes_B=torch.full_like(tables.classes_B, 2),
    )
    spoiled = dataclasses.replace(tables, targets_BN=tables.targets_BN.clone(), cells_BND=tables.cells_BND.clone())
    spoiled.targets_BN[:, 30:] = 1 - spoiled.targets_BN[:, 30:]
    spoiled.cells_BND[:, 30:] = 0
    (first, rows), (second, other) = lesson_of._support(tables, size), lesson_of._support(spoiled, size)
    for name in ("cells_BND", "present_BD", "targets_BNC", "classes_B"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert not torch.equal(rows, other)
