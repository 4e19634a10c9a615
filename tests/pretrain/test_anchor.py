import contextlib
import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiny_base
from sartor.nn import lora
from sartor.nn.anchor import Anchor, write
from sartor.nn.text_base import TextBase, anchored
from sartor.pretrain import anchor, mixture, states
from sartor.pretrain.anchor import Dial, Lessons
from sartor.pretrain.mixture import Mixture
from sartor.pretrain.public import TextTask
from sartor.pretrain.run import CHECKPOINT, Pace
from sartor.types import BaseRef, Example

PACE = Pace(steps=6, rate=5e-4, warm_up=2, every=3)
DIAL = Dial(PACE, episodes=2, rank=2, watched=4)
KINDS = {"money": "refund invoice card pay", "fault": "crash bug error broken", "praise": "great good love thanks"}


@pytest.fixture(scope="module")
def base():
    return TextBase(BaseRef("tiny", "0", "none"), tiny_base.encoder(), tiny_base.tokenizer(), "")


@pytest.fixture(scope="module")
def tasks():
    rows = tuple(
        Example(f"{word} {other} {at}", label)
        for label, words in KINDS.items()
        for word in words.split()
        for other in ("the app", "my card", "this screen")
        for at in range(2)
    )
    return [TextTask(f"{at}", f"group {at}", "textcls", "en", "", tuple(KINDS), rows[at::2], ()) for at in range(2)]


@pytest.fixture(scope="module")
def table(tasks):
    return sorted({row.input for task in tasks for row in task.train} | set(KINDS))


@pytest.fixture(scope="module")
def lessons(tasks, table):
    number = {text: at for at, text in enumerate(table)}
    one, other = mixture.sources(tasks, number)
    names = {task.name: [(number[label],) for label in KINDS] for task in tasks}
    return Lessons(Mixture([one]), Mixture([other]), names)


@pytest.fixture
def below(base, table, tmp_path):
    return states.States(base.encoder, states.prepare(base, table, 1, tmp_path))


def run(below, lessons, folder, dial=DIAL, seed=0):
    looks = []
    best = anchor.train(below, 1, lessons, dial, folder, seed=seed, on_look=looks.append)
    return best, looks


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(below, lessons, tmp_path):
    run(below, lessons, tmp_path / "whole")

    class Cut(Exception):
        pass

    def cut(look):
        if look.step == 6:
            raise Cut

    with pytest.raises(Cut):
        anchor.train(below, 1, lessons, DIAL, tmp_path / "cut", seed=0, on_look=cut)
    assert len(run(below, lessons, tmp_path / "cut")[1]) == 1  # steps 4 to 6 only
    whole, resumed = (load_file(tmp_path / name / CHECKPOINT) for name in ("whole", "cut"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_an_anchor_learns_from_rows_it_is_given_and_only_moves_the_upper_layers(below, lessons, tmp_path):
    long = dataclasses.replace(DIAL, pace=dataclasses.replace(PACE, steps=60, every=30, rate=5e-3))
    best, looks = run(below, lessons, tmp_path / "long", long)
    assert looks[-1].learned["rows"] < looks[0].learned["rows"]
    untrained = anchor.Lesson(below, lessons, DIAL).watch(anchor.begin(below, 1, 2, 0))
    assert looks[-1].watched["rows"] < 0.9 * float(untrained["rows"])
    assert {name.split(".")[2] for name in best} == {"1"}


def test_a_fresh_anchor_is_the_frozen_last_layer(below, base, table, monkeypatch):
    adapter = {n: t for n, t in lora.fresh(base.encoder, 2, generator=torch.Generator()).items() if ".layer.1." in n}
    numbers = np.arange(len(table))[::-1].copy()
    found = below.encode(numbers, adapter)[:, 0]
    last = torch.from_numpy(below.frozen[numbers, states.FROZEN.index("last")].astype(np.float32))
    assert torch.allclose(found, last, atol=1e-2)  # bfloat16 in between
    monkeypatch.setattr(states, "_half", lambda _: contextlib.nullcontext())
    assert torch.allclose(below.encode(numbers, adapter)[:, 0], last, atol=2e-3)


def test_leave_one_out_is_what_leaving_out_and_solving_again_gives():
    random = torch.Generator().manual_seed(0)
    features = torch.randn(9, 5, generator=random, dtype=torch.float64)
    targets = torch.arange(9) % 3
    scale = float((features - features.mean(0)).pow(2).sum() / 9)
    found = anchor.leave_one_out(anchor.centred(features), targets, 3, 0.4)
    truth = torch.eye(3, dtype=torch.float64)[targets]
    for row in range(9):
        kept = torch.arange(9) != row
        rows, mean = features[kept], features[kept].mean(0)
        # the penalty stands against the kernel's scale on all rows
        gram = (rows - mean).T @ (rows - mean) + 0.4 * scale * torch.eye(5, dtype=torch.float64)
        head = torch.linalg.solve(gram, (rows - mean).T @ (truth[kept] - truth[kept].mean(0)))
        again = (features[row] - mean) @ head + truth[kept].mean(0)
        assert torch.allclose(found[row], again, atol=1e-8)


def test_states_are_computed_once(base, table, tmp_path):
    told = []
    first = states.prepare(base, table, 1, tmp_path, progress=lambda *of: told.append(of))
    assert told[-1] == ("encode", len(table), len(table))
    told.clear()
    assert states.prepare(base, table, 1, tmp_path, progress=lambda *of: told.append(of)) == first
    assert told == []


def test_what_was_trained_stands_beside_the_base(below, lessons, base, tmp_path):
    write(Anchor(run(below, lessons, tmp_path / "run")[0]), tmp_path / "anchor.safetensors")
    made = anchored(base, tmp_path / "anchor.safetensors", name="tiny+mine")
    assert made.branched is not None
    assert made.ref.sha256 != base.ref.sha256
    assert len(made.poolings) == len(base.poolings) + 2


def test_two_runs_may_compute_the_same_states_at_once(base, table, tmp_path):
    def meanwhile(*_):
        if not list(tmp_path.glob("states-*")):
            states.prepare(base, table, 1, tmp_path)

    folder = states.prepare(base, table, 1, tmp_path, progress=meanwhile)
    assert states.States(base.encoder, folder).encode(np.arange(2), tiny_base.adapter(base.encoder)).isfinite().all()
    assert list(tmp_path.iterdir()) == [folder]
