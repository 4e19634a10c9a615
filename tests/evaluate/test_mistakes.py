"""The wrong answers to look at: the surest first, and small copies of their pictures."""

import numpy as np
from PIL import Image

from sartor.evaluate.mistakes import MOST, THUMBNAIL, of_labels, of_unusual, thumbnail
from sartor.families.interface import Unusualness
from sartor.types import Example


def test_wrong_answers_come_surest_first_and_labels_that_the_model_does_not_know_are_wrong():
    rows = [Example("a", "x"), Example("b", "y"), Example("c", "x"), Example("d", "z")]
    found = of_labels(rows, np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4]]), ["x", "y"])
    assert [(one.input, one.right, one.answer, one.how) for one in found] == [
        ("c", "x", "y", "80% sure"),
        ("b", "y", "x", "70% sure"),
        ("d", "z", "x", "60% sure"),
    ]
    many = [Example(str(at), "x") for at in range(99)]
    assert len(of_labels(many, np.tile([0.1, 0.9], (99, 1)), ["x", "y"])) == MOST


def test_false_alarms_and_what_was_missed_come_farthest_from_the_threshold_first():
    answer = Unusualness(np.array([0.0, 3.0, 5.0, 1.5]), 2.0)
    found = of_unusual(["a", "b"], [("c", "hole"), ("d", "stain")], answer)
    assert [(one.input, one.right, one.answer) for one in found] == [("b", "good", "unusual"), ("d", "stain", "usual")]


def test_a_thumbnail_is_small_and_one_that_is_gone_is_left_out(tmp_path):
    path = tmp_path / "large.png"
    Image.fromarray(np.zeros((600, 900, 3), dtype=np.uint8)).save(path)
    found = thumbnail(str(path))
    assert found.startswith("data:image/jpeg;base64,")
    assert len(found) < 4000
    assert thumbnail(str(tmp_path / "gone.png")) == ""
    assert THUMBNAIL == 160
