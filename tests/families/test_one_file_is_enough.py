"""A family in one file outside the package goes the whole way: made, proved, stored, loaded, asked, assessed."""

import numpy as np
import pytest

from sartor import families, model, pipeline
from sartor.errors import NotFoundError
from sartor.types import Task

pytestmark = pytest.mark.usefixtures("tiny")

ROWS = [(word * (1 + at % 3), label) for label, words in {
    "vowels": ("aeiou", "aaa", "eee", "ooo", "iou", "aei", "uuu", "oia", "eau", "ieie"),
    "consonants": ("bcd", "xyz", "fgh", "klm", "ttt", "rst", "vwx", "ddd", "pqr", "zzz"),
}.items() for at, word in enumerate(words)]  # fmt: skip


def test_without_the_file_there_is_no_such_family():
    assert "letter-counts" not in families.names()
    with pytest.raises(NotFoundError, match="No model family named 'letter-counts'"):
        pipeline.make(Task("Tell vowels from consonants", kind="letter-counts"), ROWS)


def test_with_the_file_there_is_one_and_the_others_are_still_there(letter_counts):
    own = {"image-anomaly-detection", "image-classification", "tabular-classification", "tabular-regression"}
    own |= {"text-classification", "text-generation"}
    assert set(families.names()) == own | {"letter-counts"}


@pytest.fixture
def made(letter_counts):
    return pipeline.make(Task("Tell vowels from consonants", name="letters", kind="letter-counts"), ROWS)


def test_its_model_is_proved_against_its_own_controls(made):
    report = made.model.report
    assert report.protocol.rows == len(ROWS)
    assert report.scores.accuracy.value > 0.9
    assert [baseline.name for baseline in report.baselines] == ["majority", "label-names"]


def test_its_model_is_stored_and_says_what_it_is(made):
    manifest = model.load("letters").manifest
    assert manifest.id == made.entry.id
    assert (manifest.family, manifest.head, manifest.generator) == ("letter-counts", "means", "means/1")
    assert manifest.shapes == {"means": (2, 26)}
    assert manifest.base.licence == "public domain"


def test_its_loaded_model_answers_as_the_one_that_was_made(made):
    texts = ["ua", "kk", "", "hello"]
    loaded = model.load(made.entry.id)
    assert loaded.predict(["ua", "kk"]).tolist() == ["vowels", "consonants"]
    assert np.array_equal(loaded.predict_proba(texts), made.model.predict_proba(texts))


def test_its_loaded_model_is_assessed_on_a_file(made, tmp_path):
    path = tmp_path / "test.csv"
    path.write_text("text,label\nuoi,vowels\neoe,vowels\nhhh,consonants\nkgk,consonants\nlmn,consonants\n")
    report = pipeline.assess(model.load("letters"), path)
    assert report.scores.accuracy.value == 1.0
    assert report.scores.n == 5
