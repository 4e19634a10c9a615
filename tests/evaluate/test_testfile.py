import numpy as np
import pytest

from sartor.errors import DataError
from sartor.evaluate.testfile import score_answers, score_file
from sartor.families.interface import Control
from sartor.types import Example, Label, Note, Rows

from .nearest_mean import LABEL_NAMES, MAJORITY, NearestMean, NoBase, requirement

LABELS = (Label("0", rows=30), Label("10", rows=10))
WEIGHTS = {"means": np.array([0.0, 10.0])}


def rows(*pairs, sha256="", source="test.csv"):
    return Rows([Example(text, label) for text, label in pairs], sha256=sha256, source=source)


GOOD = (("1", "0"), ("2", "0"), ("8", "10"), ("9", "10"), ("7", "10"))


def score(*pairs, family=None, **options):
    wanted = requirement(["0", "10"], [0, 0, 0, 1])
    return score_file(family or NearestMean(), wanted, NoBase(), WEIGHTS, rows(*pairs), **options)


def test_a_stored_model_is_scored_beside_the_majority_of_its_own_rows():
    report = score(*GOOD)
    assert report.proved
    assert report.protocol.kind == "test-file"
    assert report.scores.accuracy.value == 1.0
    assert [(b.name, b.scores.accuracy.value) for b in report.baselines] == [("majority", 0.4)]
    assert "on 5 rows of test.csv" in report.headline


def test_label_names_are_asked_too_but_no_control_that_needs_rows():
    report = score(*GOOD, family=NearestMean(baselines=(MAJORITY, LABEL_NAMES)))
    assert [b.name for b in report.baselines] == ["majority", "label-names"]
    assert report.baselines[1].scores.accuracy.value == 1.0


def test_labels_the_model_never_saw_count_as_wrong_and_are_named():
    report = score(*GOOD, ("5", "other"), ("6", "other"), ("4", "strange"))
    assert report.scores.n == 8
    assert report.scores.accuracy.value == 5 / 8
    assert report.scores.balanced_accuracy.value == pytest.approx(0.5)  # two of four labels
    assert [c.label for c in report.classes] == ["0", "10", "other", "strange"]
    assert report.notes == (
        Note(
            "unknown labels",
            "The model does not know the labels 'other', 'strange'; their 3 rows count as wrong in every figure.",
            "warning",
            quotes=True,
        ),
    )


def test_rows_without_a_label_are_left_out_and_counted():
    report = score(*GOOD, ("5", None))
    assert report.scores.n == 5
    assert [note.text for note in report.notes] == ["1 rows without a label were left out."]


def test_a_file_without_a_label_is_refused():
    with pytest.raises(DataError, match=r"None of the 1 rows of test\.csv has a label"):
        score(("5", None))


def test_the_rows_the_model_was_made_from_prove_nothing():
    answers = np.eye(2)[[0, 0, 1, 1, 1]]
    report = score_answers(answers, rows(*GOOD, sha256="abc"), LABELS, trained_on="abc")
    assert not report.proved
    assert report.headline.startswith("Not proved: the model was made from these very rows")
    assert report.coverage == ()
    assert score_answers(answers, rows(*GOOD, sha256="abc"), LABELS, trained_on="abd").proved


def test_a_label_with_too_few_test_rows_is_not_proved():
    assert score(*GOOD[1:]).headline.startswith("Not proved: label '0' has 1 row; give at least 2")


def test_a_model_made_from_no_rows_has_a_majority_that_knows_nothing():
    labels = (Label("0"), Label("10"))
    report = score_answers(np.eye(2)[[0, 0, 1, 1, 1]], rows(*GOOD), labels)
    assert report.baselines[0].scores.log_loss == pytest.approx(np.log(2))


def test_the_rows_a_model_was_made_from_put_every_baseline_to_the_test():
    def nearest_row(requirement, condition, features, seed):
        assert list(condition.targets) == [0, 1]
        return np.eye(2)[[int(np.argmin(abs(value - condition.support.values))) for value in features.values]]

    family = NearestMean(baselines=(MAJORITY, LABEL_NAMES, Control("nearest", "Nearest row", nearest_row)))
    made_from = rows(("0", "0"), ("10", "10"), ("5", "a label that was left out"))
    report = score(*GOOD, family=family, made_from=made_from)
    assert [b.name for b in report.baselines] == ["majority", "label-names", "nearest"]
    assert report.baselines[2].scores.accuracy.value == 1.0
