import pytest

from sartor.data.text import MARKS, normalise


@pytest.mark.parametrize("marks", ["\u0301\u0323", "\u0323\u0301"])
def test_a_cell_of_combining_marks_is_normalised_in_a_moment(marks):
    """Sorting them took time by the square of their number: for this cell, minutes."""
    assert len(normalise("e" + marks * 200_000)) <= 1 + MARKS


def test_marks_that_a_script_needs_stay():
    assert normalise("E\u0301\u0323 ") == normalise("\u1eb9\u0301")
    assert normalise("E\u0301") != normalise("E")
