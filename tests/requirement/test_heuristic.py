"""What is understood of a task, and the notes that say why."""

import pytest

from sartor.assets import catalogue
from sartor.errors import DataError, NotFoundError, TaskError
from sartor.requirement.heuristic import MOST_DESCRIPTION, understand
from sartor.types import Example, Limits, Note, Rows, Task

ROUTE = "Route mails to billing, bug or other"


def rows(*pairs, notes=()):
    return Rows([Example(text, label) for text, label in pairs], notes)


MAILS = rows(("my invoice is wrong", "billing"), ("the app crashes", "bug"), ("good day to you", "other"))
JAPANESE = rows(("請求書が届きません", "請求"), ("アプリが落ちます", "不具合"))


def need(task, given=None, **options):
    return understand(task, given, name="mails", **options).requirement


def notes(requirement, topic, level=None):
    return [n.text for n in requirement.notes if n.topic == topic and level in (None, n.level)]


@pytest.mark.parametrize("topic", ["kind", "labels", "language", "base", "length", "rows"])
@pytest.mark.parametrize("given", [MAILS, None], ids=["rows", "no rows"])
def test_every_decision_has_a_note(given, topic):
    assert notes(need(Task(ROUTE), given), topic)


def test_labels_come_from_the_task_then_from_the_rows_then_from_the_description():
    listed = need(Task(ROUTE, labels={"bug": "a fault", "billing": "", "sales": ""}), MAILS)
    assert [(label.name, label.description, label.rows) for label in listed.labels] == [
        ("bug", "a fault", 1),
        ("billing", "", 1),
        ("sales", "", 0),
    ]
    assert notes(listed, "labels")[0] == "Labels: the 3 that the task lists."
    found = need(Task(ROUTE), rows(("a", "x"), ("b", "y"), ("c", "y")))
    assert [(label.name, label.rows) for label in found.labels] == [("x", 1), ("y", 2)]
    named = need(Task(ROUTE))
    assert [label.name for label in named.labels] == ["billing", "bug", "other"]


def test_one_label_in_the_rows_is_enough_when_the_description_names_others():
    found = need(Task(ROUTE), rows(("a", "bug"), ("b", "bug")))
    assert [(label.name, label.rows) for label in found.labels] == [("billing", 0), ("bug", 2), ("other", 0)]
    assert any("'billing', 'other'" in text for text in notes(found, "labels", "warning"))


def test_a_label_that_only_the_description_names_is_asked_for():
    found = need(Task(ROUTE), rows(("a", "bug"), ("b", "billing")))
    assert any("also names 'other'" in text for text in notes(found, "labels", "warning"))


@pytest.mark.parametrize(
    ("task", "base", "rests_on"),
    [
        (Task("Is it about a bill?"), None, "the question alone"),
        (Task("Is it about a bill?"), "all-minilm-l6-v2+anchor1", "the words of the labels alone"),
        (Task("Is it about a bill?"), "all-minilm-l6-v2", "the words of the labels alone"),
        (Task(ROUTE), None, "the words of the labels alone"),
    ],
)
def test_without_a_row_it_is_said_what_answers_rest_on(task, base, rests_on):
    [note] = notes(understand(task, None, name="mails", base=base).requirement, "rows", "warning")
    assert rests_on in note


def test_rows_of_other_labels_are_left_out_with_a_note():
    understood = understand(Task(labels={"bug": "", "other": ""}), MAILS, name="mails")
    assert [example.output for example in understood.examples] == ["bug", "other"]
    assert notes(understood.requirement, "dropped", "warning") == [
        "1 row was left out: labelled 'billing', which is not among the task's labels."
    ]


def test_the_language_chooses_the_base():
    assert need(Task(ROUTE), MAILS).base == catalogue.for_language("en")
    japanese = need(Task("分類"), JAPANESE)
    assert (japanese.language, japanese.base) == ("ja", catalogue.for_language("ja"))
    assert "Japanese" in notes(japanese, "language")[0]
    assert japanese.base in notes(japanese, "base")[0]


def test_what_is_asked_for_goes_before_what_is_found():
    asked = need(Task(ROUTE, language="JA", name="mine"), MAILS, base="all-minilm-l6-v2")
    assert (asked.language, asked.base, asked.name) == ("ja", "all-minilm-l6-v2", "mine")
    assert notes(asked, "base") == ["Base: all-minilm-l6-v2, as asked."]
    assert notes(asked, "language") == ["Language: ja (as the task says)."]


def test_a_base_beyond_the_memory_limit_is_told():
    tight = need(Task(ROUTE, limits=Limits(max_memory_mb=100)), MAILS)
    assert any("100 MB" in text for text in notes(tight, "base", "warning"))
    assert notes(need(Task(ROUTE, limits=Limits(max_memory_mb=9000)), MAILS), "base", "warning") == []


@pytest.mark.parametrize(("characters", "tokens"), [(10, 64), (300, 128), (600, 256), (100_000, 256)])
def test_longer_texts_get_more_tokens(characters, tokens):
    assert need(Task(ROUTE), rows(("a" * characters, "bug"), ("b" * characters, "other"))).max_tokens == tokens


def test_no_row_says_that_nothing_can_be_proved():
    assert "nothing can be proved" in notes(need(Task(ROUTE)), "rows", "warning")[0]


def test_unbalanced_rows_are_told():
    given = rows(*((f"mail {n}", "bug") for n in range(50)), ("hi", "other"), ("bill", "billing"))
    assert "'bug' has 50 rows" in notes(need(Task(ROUTE), given), "balance", "warning")[0]
    assert notes(need(Task(ROUTE), MAILS), "balance") == []


def test_what_was_noticed_while_reading_is_kept():
    kept = need(Task(ROUTE), rows(*((e.input, e.output) for e in MAILS.examples), notes=(Note("encoding", "odd"),)))
    assert notes(kept, "encoding") == ["odd"]


def test_merged_labels_are_one():
    given = rows(("a", "Bug"), ("b", "bug "), ("c", "bug "), ("d", "Other"))
    assert [label.name for label in need(Task(), given).labels] == ["Bug", "Other", "bug "]
    merged = need(Task(), given, merge_labels=True)
    assert [(label.name, label.rows) for label in merged.labels] == [("Other", 1), ("bug ", 3)]


def test_a_long_description_is_cut():
    cut = need(Task(f"{ROUTE}. " + "x" * 5000))
    assert len(cut.description) == MOST_DESCRIPTION
    assert [label.name for label in cut.labels] == ["billing", "bug", "other"]
    assert notes(cut, "description", "warning")


REFUSED = {
    "no label to be told": (Task("Sort these"), None, TaskError, "Cannot tell the labels"),
    "one label in the rows": (Task("Sort"), rows(("a", "x"), ("b", "x")), DataError, "only 'x'.*Add rows"),
    "one label in the task": (Task(labels={"x": ""}), None, DataError, "only 'x'"),
    "a label for every row": (
        Task(kind="text-classification"),
        rows(*((f"text {n}", f"id {n}") for n in range(60))),
        DataError,
        "60 different labels in 60 rows",
    ),
    "too many labels in the rows": (
        Task(),
        rows(*((f"text {n}", f"id {n % 1001}") for n in range(5005))),
        DataError,
        "1,001 different labels",
    ),
    "too many labels in the task": (
        Task(labels=dict.fromkeys(map(str, range(1001)), "")),
        None,
        TaskError,
        "at most 1,000",
    ),
    "rows of other labels only": (Task(labels={"a": "", "b": ""}), MAILS, DataError, "No row has one of the task's"),
    "no language": (Task(ROUTE, language="klingon"), None, TaskError, "'klingon' is no language code"),
    "no family": (Task(ROUTE, kind="text-classifcation"), None, NotFoundError, "Did you mean 'text-classification'"),
}


@pytest.mark.parametrize(("task", "given", "error", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_understood_is_refused_with_a_sentence(task, given, error, sentence):
    with pytest.raises(error, match=sentence):
        need(task, given)


def test_an_unknown_base_is_refused_and_the_known_named():
    with pytest.raises(NotFoundError, match="all-minilm-l6-v2"):
        need(Task(ROUTE), base="all-minilm")


# --- rows without labels -----------------------------------------------------------------------------------

PLAIN = Rows([Example(f"please look at the invoice number {n} of this month") for n in range(30)])


def test_unlabelled_rows_are_read_where_there_is_no_other():
    found = understand(Task(ROUTE), name="mails", unlabelled=PLAIN)
    assert len(found.unlabelled) == 30
    [note] = notes(found.requirement, "unlabelled")
    assert note.startswith("Unlabelled rows: 30 are read")
    assert "fair sample" in note


def test_of_very_many_unlabelled_rows_some_are_read():
    many = Rows([Example(f"the invoice {n} is not right") for n in range(2500)])
    found = understand(Task(ROUTE), name="mails", unlabelled=many)
    assert 800 <= len(found.unlabelled) <= 1000
    assert "of 2,500 are read" in notes(found.requirement, "unlabelled")[0]


def test_beside_labelled_rows_unlabelled_ones_are_not_read_and_that_is_said():
    found = understand(Task(ROUTE, unlabelled="more.txt"), MAILS, name="mails", unlabelled=PLAIN)
    assert found.unlabelled == ()
    assert "not read" in notes(found.requirement, "unlabelled")[0]


def test_a_handful_of_unlabelled_rows_is_too_few():
    found = understand(Task(ROUTE), name="mails", unlabelled=Rows(PLAIN.examples[:9]))
    assert found.unlabelled == ()
    assert "takes 10" in notes(found.requirement, "unlabelled", "warning")[0]


def test_unlabelled_rows_in_another_language_than_the_task_says_are_not_used():
    texts = Rows([Example("請求書がまだ届いていません") for _ in range(20)])
    found = understand(Task(ROUTE, language="en"), name="mails", unlabelled=texts)
    assert found.unlabelled == ()
    assert "another language (ja" in notes(found.requirement, "unlabelled", "warning")[0]


def test_unlabelled_rows_tell_the_language_where_the_task_does_not():
    texts = Rows([Example("請求書がまだ届いていません") for _ in range(20)])
    found = understand(Task(ROUTE), name="mails", unlabelled=texts)
    assert len(found.unlabelled) == 20
    assert (found.requirement.language, found.requirement.base) == ("ja", catalogue.for_language("ja"))
