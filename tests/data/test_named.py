import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.data.named import MOST, named_answers


@pytest.mark.parametrize(
    ("description", "named"),
    [
        ("Answer 'yes' if it rains, otherwise 'no'.", ("yes", "no")),
        ('Generate "True" when the two agree, or "False" when they do not', ("True", "False")),
        ("Label the text as “good”, “bad” or “neither”.", ("good", "bad", "neither")),
        ('You read a mail. Respond with "1" if it is spam and with "0" if it is not.', ("1", "0")),
        ("「はい」か「いいえ」で答える", ()),
        ('Say "hello" to everyone.', ()),
        ("Rewrite the date in ISO format", ()),
        ("Turn 'cat' into 'dog' everywhere", ()),
        ('Write JSON with the keys "value" and "unit".', ()),
        ("Answer 'a very long answer indeed, no label' or 'yes'", ()),
        ("Answer 'yes' or 'yes'.", ()),
        ("It's a dog's life, or isn't it?", ()),
        ("", ()),
    ],
)
def test_answers_are_named_as_a_choice_behind_a_verb(description, named):
    assert named_answers(description) == named


@given(st.text())
def test_any_text_is_read_in_no_time_and_names_several_or_none(text):
    found = named_answers(text)
    assert not found or 2 <= len(found) <= MOST
    assert all(name in text for name in found)


def test_a_long_text_of_quotes_takes_no_time():
    assert named_answers("answer '" * 20_000) == ()
    assert named_answers("answer " * 50_000 + "'yes' or 'no'") == ("yes", "no")
