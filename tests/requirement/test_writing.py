"""What is understood of a task of text in, text out, and the notes that say why."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sartor.assets import catalogue
from sartor.data.text import encodable
from sartor.errors import DataError, NotFoundError, TaskError
from sartor.requirement.understood import MOST_DESCRIPTION
from sartor.requirement.writing import BASE, understand_writing
from sartor.types import Example, Limits, Note, Rows, Task

WHY = Note("kind", "because")
POLITE = Task("Rewrite the message politely")


def rows(*pairs, notes=()):
    return Rows([Example(text, answer) for text, answer in pairs], notes)


MESSAGES = rows(("give me the file", "Could you send the file?"), ("no", "I am afraid not."))


def understood(task=POLITE, given_rows=None, **options):
    return understand_writing(task, given_rows, name="polite", why=WHY, **options)


def need(*arguments, **options):
    return understood(*arguments, **options).requirement


def notes(requirement, topic, level=None):
    return [n.text for n in requirement.notes if n.topic == topic and level in (None, n.level)]


@pytest.mark.parametrize("given_rows", [MESSAGES, None], ids=["rows", "no rows"])
def test_every_decision_has_a_note(given_rows):
    found = need(POLITE, given_rows)
    for topic in ("kind", "language", "base", "rows"):
        assert len(notes(found, topic)) == 1
    assert WHY in found.notes


def test_what_is_made_has_no_labels_and_is_a_language_model():
    found = need(Task("Rewrite", limits=Limits(device="cpu")), MESSAGES)
    assert (found.family, found.labels, found.name) == ("text-generation", (), "polite")
    assert found.base in catalogue.language_models()
    assert found.limits.device == "cpu"
    assert need(Task("Rewrite", name="mine")).name == "mine"


def test_rows_stay_as_they_are_and_in_their_order():
    assert understood(POLITE, MESSAGES).examples == tuple(MESSAGES.examples)


def test_what_was_noticed_while_reading_is_kept():
    noticed = rows(("a", "b"), notes=(Note("encoding", "odd"),))
    assert notes(need(POLITE, noticed), "encoding") == ["odd"]


# --- base and language -------------------------------------------------------------------------------------


def test_a_base_that_is_asked_for_is_taken_if_it_writes():
    assert notes(need(POLITE), "base") == [f"Base: {BASE}, as none was asked for."]
    assert notes(need(POLITE, base=BASE), "base") == [f"Base: {BASE}, as asked."]
    for name in ("all-minilm-l6-v2", ""):
        with pytest.raises(NotFoundError, match=f"Known: {BASE}"):
            need(POLITE, base=name)
    with pytest.raises(NotFoundError, match=f"Did you mean '{BASE}'"):
        need(POLITE, base="smollm2-135m")


def test_a_base_beyond_the_memory_limit_is_told():
    assert any("100 MB" in text for text in notes(need(Task("Rewrite", limits=Limits(max_memory_mb=100))), "base"))
    assert len(notes(need(Task("Rewrite", limits=Limits(max_memory_mb=9000))), "base")) == 1


def test_texts_tell_the_language_and_the_task_goes_before_them():
    japanese = rows(("請求書がまだ届いていません", "請求書"))
    assert need(POLITE, japanese).language == "ja"
    assert need(Task("要約してください")).language == "ja"
    assert need(Task("Rewrite", language="EN-gb"), japanese).language == "en"
    assert need(POLITE, unlabelled=rows(("請求書がまだ届いていません", None))).language == "ja"
    with pytest.raises(TaskError, match="no language code"):
        need(Task("Rewrite", language="klingon"))


def test_names_and_quantities_do_not_tell_a_language():
    names = rows(("Xavier Ortiz", "X. O."), ("Bella Dubois", "B. D."), ("Igor Novak", "I. N."))
    found = need(Task("Write the initials of the name and put a dot after each of them"), names)
    assert found.language == "en"
    assert notes(found, "language", "warning") == []


@pytest.mark.parametrize(
    ("text", "answer", "poor"),
    [
        ("give me the file", "Could you send the file?", []),
        ("give me the file", "ファイルを送っていただけますか", ["ja"]),
        ("ファイルを送れ", "Could you send the file?", ["ja"]),
        ("ファイルを送れ", "Пришлите, пожалуйста, файл", ["ja and ru"]),
        ("pay me", "It is £30, and no more than that.", []),
    ],
)
def test_a_language_that_the_base_does_not_read_is_told(text, answer, poor):
    told = [f"The base {BASE} reads English: answers in {code} will be poor." for code in poor]
    assert notes(need(POLITE, rows((text, answer))), "language", "warning") == told


def test_texts_are_read_as_far_as_the_base_can():
    assert need(POLITE).max_tokens == catalogue.language_model(BASE).max_tokens


# --- rows --------------------------------------------------------------------------------------------------


def numbered(n):
    return rows(*((f"text {at}", f"answer {at}") for at in range(n)))


@pytest.mark.parametrize(
    ("n", "told"),
    [(1, "1 row."), (16, "16 rows."), (64, "64 rows."), (65, "64 of 65 rows, drawn"), (10_000, "64 of 10,000 rows")],
)
def test_the_number_of_rows_is_told_and_none_is_cut(n, told):
    found = understood(POLITE, numbered(n))
    assert len(found.examples) == n
    [note] = notes(found.requirement, "rows", "info")
    assert note.startswith(told)


@pytest.mark.parametrize("given_rows", [None, Rows([])])
def test_no_row_says_that_nothing_can_be_proved(given_rows):
    [note] = notes(need(POLITE, given_rows), "rows", "warning")
    assert note.startswith("No labelled rows: the description alone")
    assert "nothing can be proved" in note


def test_rows_without_a_text_or_an_answer_are_left_out():
    found = understood(POLITE, rows((" ", "x"), ("", None), ("a", None), ("b", "\n"), ("c", ""), ("d", "y")))
    assert found.examples == (Example("d", "y"),)
    assert notes(found.requirement, "dropped", "warning") == [
        "2 rows have no text and were left out.",
        "3 rows have no answer and were left out.",
    ]


def test_copies_are_merged_and_only_copies():
    found = understood(POLITE, rows(("a", "b"), ("A", "b"), ("a", "b"), ("a", "b "), ("a", "b")))
    assert found.examples == (Example("a", "b"), Example("A", "b"), Example("a", "b "))
    assert notes(found.requirement, "duplicates", "info")[0].startswith("2 rows repeat")
    assert notes(need(POLITE, MESSAGES), "duplicates") == []


def test_contradictions_are_counted_and_kept():
    given_rows = rows(("a", "b"), ("a", "c"), (" a", "d"), ("x", "y"), ("x", "z"), ("Q", "b"), ("q", "c"), ("a", "b "))
    found = understood(POLITE, given_rows)
    assert len(found.examples) == 8
    assert notes(found.requirement, "conflicts", "warning")[0].startswith("2 texts have more than one answer")
    assert notes(need(POLITE, rows(("a", "b"), ("a", " b "))), "conflicts") == []


def test_answers_of_more_than_two_hundred_words_are_told():
    found = need(POLITE, rows(("a", "word " * 201), ("b", "word " * 200)))
    assert notes(found, "length", "warning") == [
        "1 answer has more than 200 words: what is written ends at --max-new-tokens."
    ]


def test_halves_of_surrogate_pairs_are_left_out_of_rows():
    [row] = understood(POLITE, rows(("\ud800 a", "b \udfff"))).examples
    assert row == Example(" a", "b ")


# --- unlabelled rows ---------------------------------------------------------------------------------------


def texts(n):
    return Rows([Example(f"the text number {at}") for at in range(n)], (Note("encoding", "odd"),))


@pytest.mark.parametrize(
    ("n", "read", "told"), [(1, 1, "1 is read"), (16, 16, "16 are read"), (400, 16, "16 of 400 are")]
)
def test_without_a_row_some_unlabelled_ones_are_read(n, read, told):
    found = understood(POLITE, unlabelled=texts(n))
    assert len(set(found.unlabelled)) == read
    assert told in notes(found.requirement, "unlabelled")[0]
    assert notes(found.requirement, "encoding") == ["odd"]


def test_those_read_are_spread_over_the_file():
    read = understood(POLITE, unlabelled=texts(1600)).unlabelled
    assert read == tuple(f"the text number {at}" for at in range(0, 1600, 100))


def test_beside_a_row_no_unlabelled_one_is_read():
    found = understood(POLITE, MESSAGES, unlabelled=texts(40))
    assert found.unlabelled == ()
    assert "not read" in notes(found.requirement, "unlabelled")[0]


def test_unlabelled_rows_without_a_text_or_twice_are_not_read():
    plain = Rows([Example(" "), Example("a"), Example("a"), Example("")])
    assert understood(POLITE, unlabelled=plain).unlabelled == ("a",)
    nothing = understood(POLITE, unlabelled=Rows([Example(" ")]))
    assert nothing.unlabelled == ()
    assert notes(nothing.requirement, "unlabelled", "warning")


# --- descriptions, labels and refusals ---------------------------------------------------------------------


def test_a_long_description_is_cut():
    cut = need(Task("Rewrite. " + "x" * 5000))
    assert len(cut.description) == MOST_DESCRIPTION
    assert notes(cut, "description", "warning")


def test_rows_do_without_a_description():
    assert need(Task(), MESSAGES).description == ""


def test_labels_of_the_task_are_said_not_to_be_used():
    assert notes(need(Task("Rewrite", labels={"a": "", "b": ""})), "labels", "warning")
    assert notes(need(POLITE), "labels") == []


@pytest.mark.parametrize(
    ("task", "given_rows", "error", "sentence"),
    [
        (Task(" \n"), None, TaskError, "neither a description nor a row"),
        (Task(), Rows([]), TaskError, "neither a description nor a row"),
        (Task(), rows(("", ""), ("a", " ")), DataError, "None of the 2 rows .* 1 have no text and 1 no answer"),
        (POLITE, rows(("a", None)), DataError, "--unlabelled"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_a_sentence(task, given_rows, error, sentence):
    with pytest.raises(error, match=sentence):
        need(task, given_rows)


def test_unlabelled_rows_alone_do_not_say_what_to_write():
    with pytest.raises(TaskError, match="neither a description nor a row"):
        need(Task(), unlabelled=texts(16))


TEXTS = st.text(st.characters(), max_size=40)  # halves of surrogate pairs among them


@given(TEXTS, st.lists(st.tuples(TEXTS, st.none() | TEXTS), max_size=8), st.lists(TEXTS, max_size=20))
@example("\ud800", [("a", "\ud800"), ("\ud800", "a")], ["\ud800"])
@example("", [("a", "b"), ("\ud800", "a")], [])
def test_odd_rows_are_understood_or_refused(description, pairs, plain):
    usable = {
        Example(encodable(text), encodable(answer))
        for text, answer in pairs
        if answer and encodable(text).strip() and encodable(answer).strip()
    }
    try:
        found = understood(Task(description), rows(*pairs), unlabelled=Rows([Example(text) for text in plain]))
    except (TaskError, DataError):
        assert not usable
        return
    assert set(found.examples) == usable
    assert len(found.unlabelled) <= 16
    assert not (found.examples and found.unlabelled)
    assert all(text.strip() for text in found.unlabelled)
