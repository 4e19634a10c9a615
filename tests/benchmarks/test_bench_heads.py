import json

import numpy as np
import pytest
import torch

import tiny_base
import tiny_language
from benchmarks import heads
from sartor.nn.condition import Condition
from sartor.nn.teacher_forcing import Batch, below
from sartor.nn.text_base import TextBase
from sartor.pretrain.instructions import InstructionTask
from sartor.pretrain.reconstruction import Farm
from sartor.types import BaseRef, Example

SIZE = heads.Size(width=16, latent=16, last=8, cascade=((8, 4, 4),), columns=8)


def task(name, answer, group=None):
    rows = tuple(Example(f"{word} {at}", answer(word)) for word in ("red", "blue", "green") for at in range(10))
    told = (f"say {name}", f"please say {name}")
    return InstructionTask(name, group or f"group {name}", "f", told, rows[:24], rows[24:], "exact_match", "pool")


TASKS = (task("good", lambda _: "!!!!"), task("bad", lambda _: "????"), task("about", str.upper))


@pytest.fixture(scope="module")
def setting():
    model = tiny_language.model()
    reader = heads.Reader(TextBase(BaseRef("tiny", "0", "none"), tiny_base.encoder(), tiny_base.tokenizer(), ""))
    return heads.Setting(
        model,
        tiny_language.anchor(model.decoder),
        reader,
        lambda rows: below(model, Batch.of(rows, model.device), 1),
        TASKS,
        TASKS[:2],
        TASKS,
        seconds=0.4,
        rows=3,
        rank=3,
        size=SIZE,
        farm=Farm(steps=3, window=2, rate=0.02),
        steps=2,
    )


def silent(text):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def cells(setting, folder):
    return [heads.train_cell(setting, *cell, folder, silent) for cell in heads.CELLS]


def test_every_cell_learns_and_spends_the_same(setting, cells):
    assert [cell.name for cell in cells] == [", ".join(cell) for cell in heads.CELLS]
    for cell in cells:
        assert len(cell.about["looks"]) >= 1
        last = cell.about["looks"][-1]
        assert last["seconds"] >= setting.seconds, cell.name
        assert cell.about["chosen step"] in [look["step"] for look in cell.about["looks"]]
        with torch.no_grad():
            made = cell.make([heads.condition_of(one) for one in TASKS], cell.weights, None)
        assert list(made) == list(setting.sites)
        assert any(b.abs().sum() > 0 for _, b in made.values()), cell.name
    spent = [cell.about["seconds on targets"] for cell in cells if "checkpoints" in cell.name]
    assert len(set(spent)) == 1  # they are made once, and paid for by each


def test_a_cell_that_is_there_is_not_trained_again(setting, folder, cells):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = heads.train_cell(setting, *heads.CELLS[0], folder, silent)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert all(torch.equal(again.weights[name], tensor) for name, tensor in cells[0].weights.items())


def test_every_arm_is_judged_and_told(setting, cells, tmp_path):
    rows = [row for cell in cells for row in heads.judge(setting, cell)] + heads.own(setting)
    assert all(np.isfinite(value) for row in rows for value in row.values() if isinstance(value, float))
    for name in {row["task"] for row in rows}:
        anchors = [row["anchor"] for row in rows if row["task"] == name]
        assert anchors == pytest.approx([anchors[0]] * len(anchors), rel=1e-2)
    found = heads.summarise(rows)
    assert (found["tasks"], found["groups"]) == (3, 3)
    assert set(found["answers_below_checkpoints"]) == set(heads.HEADS)
    assert all(cell.name in heads.to_table(found) for cell in cells)
    kept = heads.kept_rows(tmp_path / "rows.json", lambda: rows)
    assert kept == rows == heads.kept_rows(tmp_path / "rows.json", lambda: [])


def test_a_difference_has_the_sign_of_what_is_better():
    rows = [
        {"cell": cell, "task": name, "group": name, "anchor": 2.0, "right": right, "other": 3.0}
        for name in "ab"
        for cell, right in (("gradient, answers", 1.0), ("basis, answers", 1.5), ("basis, checkpoints", 1.7))
    ]
    found = heads.summarise(rows)
    assert found["right_below"]["basis, answers"]["anchor"].value == pytest.approx(0.5)
    assert found["answers_below_checkpoints"]["basis"].value == pytest.approx(0.2)
    assert found["gradient_below"]["basis, checkpoints"].value == pytest.approx(0.7)


def test_the_mean_of_adapters_does_what_they_do_in_the_mean():
    random = torch.Generator().manual_seed(0)
    made = [{"s": (torch.randn(1, 2, 5, generator=random), torch.randn(1, 4, 2, generator=random))} for _ in range(3)]
    a, b = heads.averaged(made)["s"]
    torch.testing.assert_close(b @ a, torch.stack([one["s"][1] @ one["s"][0] for one in made]).mean(dim=0))


def test_a_row_is_one_item_and_its_answer_is_never_cut_off(setting):
    row = Example("word " * 100, "good")
    condition = Condition("say it", (row,))
    assert [len(texts) for _, texts in heads.items(condition)] == [1, 2]
    told = setting.reader([condition], None, tokens=False).conditions
    width = setting.reader.width
    assert told.items_GNE.shape == (1, 2, 2 * width)
    assert not told.items_GNE[0, 0, width:].any()
    assert torch.allclose(told.items_GNE[0, 1].unflatten(0, (2, width)).norm(dim=1), torch.ones(2), atol=1e-3)
    both = [setting.reader([Condition("say it", (Example("word " * 100, out),))], None, tokens=True) for out in "ab"]
    assert not torch.equal(both[0].tokens_GNLE, both[1].tokens_GNLE)


def test_conditions_are_blurred_in_training_alone(setting):
    condition = heads.condition_of(TASKS[0])
    for tokens in (False, True):
        found = [setting.reader([condition], blur, tokens=tokens) for blur in (None, None, np.random.default_rng(0))]
        plain, same, other = (one.tokens_GNLE if tokens else one.conditions.items_GNE for one in found)
        assert torch.equal(plain, same)
        assert not torch.allclose(plain, other, atol=1e-3)


def test_what_is_kept_of_a_cell_is_json(folder, cells):
    for cell in cells:
        assert json.loads((folder / f"{cell.name}.json").read_text())["dial"] in heads.DIALS
