import numpy as np
import pytest
import torch

import tiny_language
from sartor.nn import teacher_forcing
from sartor.nn.teacher_forcing import Batch
from sartor.pretrain import below
from sartor.types import Example


@pytest.fixture(scope="module")
def model():
    return tiny_language.model()


@pytest.fixture(scope="module")
def rows(model):
    texts = ("one", "two and three", "four", "a much longer text than the others are")
    return [teacher_forcing.write(model, Example(text, text[:3])) for text in texts]


def test_what_is_kept_gives_the_losses_that_computing_it_anew_gives(model, rows, tmp_path):
    kept = below.prepare(model, rows, 1, tmp_path)
    batch = Batch.of(rows[::-1], torch.device("cpu"))
    anew = teacher_forcing.answer_losses(model, batch, None, 1)
    found = teacher_forcing.answer_losses(model, batch, None, 1, kept(rows[::-1]))
    assert torch.allclose(anew, found, rtol=2e-2)  # float16 in between
    assert (anew - anew.flip(0)).abs().max() > 0.1


def test_it_is_computed_once(model, rows, tmp_path):
    told = []
    below.prepare(model, rows, 1, tmp_path, progress=lambda *of: told.append(of))
    assert told[-1] == ("layers below", len(rows), len(rows))
    told.clear()
    again = below.prepare(model, [*rows, rows[0]], 1, tmp_path, progress=lambda *of: told.append(of))
    assert told == []
    assert again(rows[:1]).shape == (1, len(rows[0].ids), 16)
    assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == ["below"]


def test_another_layer_and_other_rows_are_other_tables(model, rows, tmp_path):
    for layer, part in ((1, rows), (2, rows), (1, rows[:2])):
        below.prepare(model, part, layer, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_run_that_was_cut_off_leaves_nothing(model, rows, tmp_path):
    class Cut(Exception):
        pass

    def cut(*_):
        raise Cut

    with pytest.raises(Cut):
        below.prepare(model, rows, 1, tmp_path, progress=cut)
    assert not list(tmp_path.iterdir())


def test_a_row_that_is_not_of_the_table_is_computed(model, rows, tmp_path):
    kept = below.prepare(model, rows, 1, tmp_path)
    new = teacher_forcing.write(model, Example("never seen", "no"))
    found = kept([rows[0], new, rows[1]])
    alone = teacher_forcing.below(model, Batch.of([new], torch.device("cpu")), 1)
    torch.testing.assert_close(found[1, : len(new.ids)], alone[0].float(), atol=0.02, rtol=0.01)
    assert not found[1, len(new.ids) :].any()
    assert torch.equal(found[0, : len(rows[0].ids)], kept(rows[:1])[0])
    assert np.isfinite(kept.states).all()
