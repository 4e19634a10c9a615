"""Whether a task asks for labels or for texts."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_labels import NAMED, NAMELESS

from sartor.errors import NotFoundError
from sartor.requirement.heuristic import understand
from sartor.requirement.kind import kind_of, n_words, verb_of
from sartor.types import Example, Rows, Task

LABELS, WRITES = "text-classification", "text-generation"
ROUTE = "Route mails to billing, bug or other"


def kind(description="", rows=(), **fields):
    return kind_of(Task(description, **fields), Rows([Example(*row) for row in rows]) if rows else None)[0]


def rows(n, distinct, word="id"):
    return [(f"text {at}", f"{word} {at % distinct}") for at in range(n)]


# --- by the description alone ------------------------------------------------------------------------------

WRITTEN = [
    "Rewrite the message politely",
    "Please extract the order number.",
    "Convert the date to DD/MM/YYYY",
    'Replace "foo" by "bar"',
    "Translate from English to French and German",
    "Give the first and the last letter of the word",
    "Can you summarise this mail in one or two sentences?",
    "Name the capital of the country",
    "Your task is to shorten the sentence.",
    "You are given a sentence. Paraphrase it.",
    "For each message, write the reply.",
    "I need you to fix the spelling",
    "- normalise the phone number",
    "Sort the words alphabetically",
    "List the animals in the text",
    "Answer the question.",
    "文を丁寧な表現に書き換える",
    "次の文章を英語に翻訳してください。",
    "日本語から英語への翻訳",
    "本文を要約してください。50字以内でお願いします。",
    "住所を抽出する",
    "単語を五十音順に並べる",
    "文字数を数えて下さい",
    "誤字を直してほしい。",
    "質問に答えてください",
]
LABELLED = [
    "Sort these",
    "Sort these mails",
    "Classify the mail",
    "Name the intent of a question to a bank.",
    "Say which team a mail is for",
    "Give positive or negative",
    "Answer yes or no: is the mail about money?",
    "Return one of these labels: spam, ham",
    "Extract the sentiment as one of positive, negative or neutral",
    "The writer of the mail",
    "問い合わせを分類する",
    "文を書き換えるべき人を判定する",
    "翻訳の質が良いか悪いかを判定する",
]


@pytest.mark.parametrize("description", WRITTEN)
def test_without_rows_a_verb_of_writing_asks_for_texts(description):
    assert kind(description) == WRITES


@pytest.mark.parametrize("description", [*LABELLED, *NAMED, *NAMELESS])
def test_without_rows_all_other_descriptions_ask_for_labels(description):
    assert kind(description) == LABELS


def test_the_first_sentence_with_a_verb_decides():
    assert verb_of("Classify the mail. Write the label.") == "labels"
    assert verb_of("Write a reply. Label it.") == "writes"
    assert verb_of("The label of the mail") is None


# --- by the rows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("description", ["", "Some mails", "Rewrite the text"])
@pytest.mark.parametrize(
    ("n", "distinct", "found"), [(8, 5, WRITES), (8, 4, LABELS), (9, 5, WRITES), (400, 200, LABELS), (60, 60, WRITES)]
)
def test_outputs_that_seldom_repeat_are_texts(description, n, distinct, found):
    assert kind(description, rows(n, distinct)) == found


def test_spelling_makes_no_new_output():
    spelled = [
        ("a", "Bug"),
        ("b", "bug"),
        ("c", " bug "),
        ("d", "BUG"),
        ("e", "x"),
        ("f", "X"),
        ("g", "x "),
        ("h", "Ｘ"),
    ]
    assert kind("", spelled) == LABELS


@pytest.mark.parametrize("n", [3, 16, 60])
@pytest.mark.parametrize("description", [ROUTE, "Classify the mails", "Sort these"])
def test_a_description_that_asks_for_labels_goes_before_rows(description, n):
    assert kind(description, rows(n, n)) == LABELS


def test_long_outputs_are_texts_even_under_a_verb_of_labelling():
    titles = [(f"article {n}", f"the long and winding story of number {n}") for n in range(16)]
    assert kind("Assign a title to each article", titles) == WRITES


def test_names_that_no_row_has_are_no_labels():
    named_by_chance = "What is the first and the last letter of a word, or its middle?"
    assert kind(named_by_chance, rows(16, 16)) == WRITES
    assert kind(named_by_chance, rows(3, 3)) == LABELS


def test_names_that_half_of_the_rows_have_are_labels():
    labels = "Turn the review into great, good, fair, poor or bad"
    outputs = ["great", "Good", "fair", "poor", "bad", "so-so", "fine", "meh"]
    assert kind(labels, [(f"review {at}", output) for at, output in enumerate(outputs)]) == LABELS


FEW = {
    "labels": ("", [("my invoice is wrong", "billing"), ("the app crashes", "bug")], LABELS),
    "a repeat": ("Rewrite the text", [("a", "x"), ("b", "x"), ("c", "y")], LABELS),
    "a verb": ("Reverse the letters", [("abc", "cba"), ("xyz", "zyx")], WRITES),
    "a long output": ("", [("hi", "yes"), ("bye", "it is time to go home")], WRITES),
    "four words": ("", [("hi", "account and access rights"), ("bye", "bug")], LABELS),
    "words of the input": ("", [("Ann Lee, 12 Oak St", "Ann Lee"), ("Bo Ek, Rome", "Bo Ek")], WRITES),
    "words of half of the inputs": ("", [("Ann Lee, 12 Oak St", "Ann Lee"), ("a fall", "x")], LABELS),
    "words of another input": ("", [("Ann", "Bo"), ("Bo", "Ann")], LABELS),
    "one row of words": ("", [("hello there", "HELLO THERE")], WRITES),
    "one row of a label": ("", [("hello there", "greeting")], LABELS),
    "Japanese words": ("", [("山田さんは東京に住む", "東京"), ("鈴木さんは大阪に住む", "大阪")], WRITES),
    "Japanese labels": ("", [("荷物が届かない", "配送"), ("アプリが落ちます", "不具合")], LABELS),
    "Japanese endings": ("", [("動かないです", "よくない"), ("届かないです", "とてもない")], LABELS),
    "a long Japanese output": ("", [("だめ", "申し訳ございませんが、お受けできません"), ("はい", "承知")], WRITES),
}


@pytest.mark.parametrize(("description", "given", "found"), FEW.values(), ids=FEW)
def test_few_rows_are_texts_where_something_says_so(description, given, found):
    assert kind(description, given) == found


def test_seven_rows_are_few_and_eight_are_not():
    given_rows = [(f"text {n}", output) for n, output in enumerate("abcdefgh")]
    assert kind("", given_rows[:7]) == LABELS
    assert kind("", given_rows) == WRITES


def test_rows_without_outputs_say_nothing():
    assert kind("Sort these", [("a", None), ("b", " "), ("c", "")]) == LABELS
    assert kind("Translate these", [("a", None), ("b", " "), ("c", "")]) == WRITES


# --- as the task says --------------------------------------------------------------------------------------


def test_the_task_goes_before_rows_and_description():
    assert kind("Rewrite", rows(60, 60), kind=LABELS) == LABELS
    assert kind("Rewrite", rows(60, 60), labels={"a": "", "b": ""}) == LABELS
    assert kind(ROUTE, rows(60, 3), kind=WRITES) == WRITES
    assert kind(kind=WRITES, labels={"a": "", "b": ""}) == WRITES


def test_an_unknown_kind_is_refused_and_the_nearest_named():
    with pytest.raises(NotFoundError, match="Did you mean 'text-classification'"):
        kind("Rewrite", kind="text-classifcation")


@pytest.mark.parametrize(
    ("task", "given", "part"),
    [
        (Task("Rewrite", kind=WRITES), None, "Kind: text-generation, as the task says."),
        (Task(ROUTE), None, "because texts are to be put under labels"),
        (Task("Rewrite"), None, "the description asks for a text. If there are labels"),
        (Task(), Rows([Example(*row) for row in rows(60, 58)]), "58 of 60 outputs differ"),
        (Task(), Rows([Example("hi", "it is time to go home")]), "outputs are as long as no label is"),
        (Task(), Rows([Example("Ann Lee, Rome", "Ann Lee")]), "words of their inputs"),
    ],
)
def test_a_note_says_why(task, given, part):
    _, note = kind_of(task, given)
    assert (note.topic, note.level) == ("kind", "info")
    assert part in note.text


def test_the_reader_of_tasks_goes_where_the_kind_says():
    free = Rows([Example(f"text {n}", f"id {n}") for n in range(60)])
    assert understand(Task(), free, name="ids").requirement.family == WRITES
    assert understand(Task("Translate to German"), name="german").requirement.family == WRITES
    assert understand(Task(ROUTE), name="mails").requirement.family == LABELS


# --- of any kind -------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=40)


@given(TEXTS, st.lists(st.tuples(TEXTS, st.none() | TEXTS), max_size=12))
def test_any_task_has_a_kind_that_does_not_depend_on_the_order_of_rows(description, given_rows):
    found = kind(description, given_rows)
    assert found in (LABELS, WRITES)
    assert kind(description, given_rows[::-1]) == found


@pytest.mark.parametrize(
    "piece", ["for each ", "please ", "given, ", "書く", "。", " ", "your task is to ", "sort ", "1."]
)
def test_a_long_description_comes_to_an_end(piece):
    start = time.perf_counter()
    verb_of(piece * (2000 // len(piece)))
    assert time.perf_counter() - start < 5  # no limit of speed: a pattern that backtracks without end takes hours


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("one", 1),
        ("Don't stop.", 2),
        ("a-b c", 2),
        ("明日は雨", 1),
        ("明日は雨だ", 2),
        ("PDFを送る mail", 3),
        ("!?", 0),
    ],
)
def test_words_are_counted_with_and_without_spaces(text, words):
    assert n_words(text) == words
