"""A model in the hand, as a Python program uses it."""

import math

import numpy as np
import pytest
import threadpoolctl

import sartor
from sartor import pipeline, settings
from sartor.errors import BundleError, DataError, NotFoundError, StorageError
from sartor.types import BaseRef

TASK = "Route mails to billing, bug or other"
TEXTS = ["refund my money", "", "error in the app", "🙂", "word " * 300]


@pytest.fixture
def model(tiny, mails, monkeypatch):
    monkeypatch.setattr(pipeline, "_COST_SECONDS", 0.01)
    with threadpoolctl.threadpool_limits(1):  # threads that wait for each other cost more than this work
        yield sartor.generate(sartor.Task(TASK, name="mails"), mails)


def test_predict_gives_one_label_a_text(model):
    labels = model.predict(TEXTS)
    assert labels.shape == (5,)
    assert set(labels) <= set(model.classes_)


def test_predict_proba_has_the_columns_of_classes(model):
    probabilities = model.predict_proba(TEXTS)
    assert probabilities.shape == (5, 3)
    assert list(model.classes_) == ["billing", "bug", "other"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert list(model.classes_[probabilities.argmax(axis=1)]) == list(model.predict(TEXTS))


def test_answers_say_the_same_as_the_arrays(model):
    answers = model.answer(TEXTS)
    assert [answer.label for answer in answers] == list(model.predict(TEXTS))
    assert [list(a.probabilities.values()) for a in answers] == model.predict_proba(TEXTS).tolist()
    assert all(math.isclose(a.confidence, max(a.probabilities.values())) for a in answers)


def test_an_empty_text_is_answered_and_marked(model):
    assert [answer.abstain for answer in model.answer(["", " \n", "refund my money"])][:2] == [True, True]


def test_no_texts_give_no_answers(model):
    assert model.predict([]).shape == (0,)
    assert model.predict_proba([]).shape == (0, 3)
    assert model.answer([]) == []


def test_a_text_in_the_place_of_texts_is_refused(model):
    with pytest.raises(DataError, match="list of texts"):
        model.predict("refund")
    with pytest.raises(DataError, match="list of texts"):
        model.predict_proba("refund")


def test_half_a_surrogate_pair_is_no_reason_to_fail(model):
    assert model.predict(["\ud800 refund"]).shape == (1,)


def test_score_is_the_share_of_right_labels(model, mails):
    texts, labels = zip(*mails, strict=True)
    right = np.mean(model.predict(texts) == np.array(labels))
    assert model.score(texts, labels) == right
    assert right > 0.5


def test_a_saved_model_answers_as_before(model, tmp_path):
    folder = model.save(tmp_path / "model")
    again = sartor.load(folder)
    assert folder == tmp_path / "model"
    np.testing.assert_array_equal(again.predict_proba(TEXTS), model.predict_proba(TEXTS))
    assert again.report == model.report
    assert again.id == model.id


def test_save_refuses_a_folder_that_holds_something(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="exists already"):
        model.save(tmp_path)


def test_a_model_is_loaded_by_name_id_or_folder(model):
    assert sartor.load("mails").id == sartor.load(model.id).id == sartor.load("mails@v1").id == model.id
    with pytest.raises(NotFoundError):
        sartor.load("nobody")


def test_a_model_that_was_not_stored_has_no_id(tiny, mails, monkeypatch):
    monkeypatch.setattr(pipeline, "_COST_SECONDS", 0.01)
    model = sartor.generate(TASK, mails, store=False)
    assert model.id == ""
    assert not settings.current().home.exists()
    assert model.predict(["refund"])[0] in model.classes_


def test_a_base_other_than_the_one_it_was_made_on_is_refused(model):
    class Other:
        ref = BaseRef("another", "0" * 64, "MIT")

    stranger = type(model)(model.manifest, model.report, model.weights, Other())
    with pytest.raises(BundleError, match="answers would be noise"):
        stranger.predict(["refund"])


def test_a_model_shows_its_name_and_worth(model):
    assert "mails" in repr(model)
    assert model.report.headline in repr(model)
