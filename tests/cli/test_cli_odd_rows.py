"""Rows that are odd and still usable: a warning, exit 0, and a model that answers."""

import json

import numpy as np
import pytest
from cli_helpers import LABELS, ROUTE, write_jsonl

import sartor as library

HTML = '<script>alert("x")</script>'
ASKED = ["I was charged twice", "", "🙂", "エラーが出ます", "word " * 500]


def generate(sartor, tmp_path, rows, *options, task="Sort these"):
    path = rows if hasattr(rows, "suffix") else write_jsonl(tmp_path / "rows.jsonl", rows)
    ran = sartor("generate", task, "--examples", path, "--name", "odd", "--json", *options)
    assert ran.code == 0, ran.err
    made = ran.json
    assert_sane(made)
    return made


def assert_sane(made):
    """Probabilities are finite and sum to one, the report is whole, and the labels are those of the manifest."""
    model = library.load(made["path"])
    probabilities = model.predict_proba(ASKED)
    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-9)
    assert set(model.predict(ASKED)) <= set(made["labels"])
    assert list(model.classes_) == made["labels"]
    json.dumps(made["report"], allow_nan=False)


def notes(made, topic):
    return [note["text"] for note in made["notes"] if note["topic"] == topic]


def task_file(tmp_path, **fields):
    path = tmp_path / "task.json"
    path.write_text(json.dumps({"description": "Sort mails", **fields}))
    return path


# --- labels ------------------------------------------------------------------------------------------------

SPELLED = [("error again", "Bug"), ("my refund", " BILLING"), ("another refund", "Billing ")]


def test_labels_that_differ_in_case_or_spaces_only_are_kept_and_a_merge_is_offered(sartor, tmp_path, mails):
    made = generate(sartor, tmp_path, [*mails, *SPELLED])
    assert {"bug", "Bug", "billing", "BILLING", "Billing"} < set(made["labels"])
    assert any("'billing' and 'BILLING' and 'Billing'" in text for text in notes(made, "labels"))
    assert any("--merge-labels" in text for text in notes(made, "labels"))


def test_merge_labels_makes_one_of_them_as_most_rows_spell_it(sartor, tmp_path, mails):
    made = generate(sartor, tmp_path, [*mails, *SPELLED], "--merge-labels")
    assert made["labels"] == LABELS
    assert not any("--merge-labels" in text for text in notes(made, "labels"))


ODD_NAMES = {
    "numbers": ["007", "7", "1e3"],
    "truth values": ["yes", "no", "null"],
    "emoji": ["👍", "👎", "🤷‍♀️"],
    "another script": ["請求", "מענה", "سؤال"],
    "very long": ["a" * 500, "b" * 500, "word " * 99 + "end"],
    "line ends": ["one\ntwo", "tab\there", "three\r\nfour"],
    "markdown": ["# heading", "| a | b |", "[x](http://e.x) **b** `c`"],
    "HTML": [HTML, "<b>&amp;</b>", "</td></tr></table>"],
    "templates": ["{{ 7 * 7 }}", "{0}", "%s %d {label}"],
    "quotes": ['"', "'", "\\"],
}


@pytest.mark.parametrize("names", ODD_NAMES.values(), ids=ODD_NAMES)
def test_label_names_of_any_kind_come_back_verbatim(sartor, tmp_path, names, mails):
    spelled = dict(zip(LABELS, names, strict=True))
    made = generate(sartor, tmp_path, [(text, spelled[label]) for text, label in mails])
    assert sorted(made["labels"]) == sorted(names)
    ran = sartor("predict", "odd", "hello", "--json")
    assert sorted(ran.json["answers"][0]["probabilities"]) == sorted(names)
    page = tmp_path / "page.html"
    assert sartor("evaluate", "odd", "--html", page).code == 0
    assert HTML not in page.read_text()
    assert sartor("show", "odd").code == 0


def test_a_label_of_the_task_without_rows_is_known_by_name_only(sartor, tmp_path, mails):
    path = task_file(tmp_path, labels=LABELS)
    made = generate(sartor, tmp_path, [row for row in mails if row[1] == "bug"], task=path)
    assert made["labels"] == LABELS
    assert any("'billing', 'other'" in text and "by name only" in text for text in notes(made, "labels"))
    assert not made["report"]["proved"]


def test_one_row_is_enough_where_the_task_lists_labels(sartor, tmp_path, mails):
    made = generate(sartor, tmp_path, mails[:1], task=task_file(tmp_path, labels=LABELS))
    assert made["report"]["headline"].startswith("Not proved")


def test_one_row_is_enough_where_the_description_names_labels(sartor, tmp_path, mails):
    made = generate(sartor, tmp_path, mails[:1], task=ROUTE)
    assert made["labels"] == LABELS
    assert any("the description names" in text for text in notes(made, "labels"))


def test_rows_with_a_label_that_the_task_does_not_list_are_left_out(sartor, tmp_path, mails):
    rows = [*mails, ("what is this", "spam")]
    made = generate(sartor, tmp_path, rows, task=task_file(tmp_path, labels=LABELS))
    assert made["labels"] == LABELS
    assert any("1 row was" in text and "'spam'" in text for text in notes(made, "dropped"))


def test_two_hundred_labels_of_two_rows(sartor, tmp_path):
    rows = [(f"text number {n} about thing {n // 2}", f"label {n // 2}") for n in range(400)]
    made = generate(sartor, tmp_path, rows)
    assert len(made["labels"]) == 200


def test_as_many_labels_as_rows_are_fine_where_the_task_lists_them(sartor, tmp_path):
    names = [f"thing {n}" for n in range(60)]
    rows = [(f"text about {name}", name) for name in names]
    made = generate(sartor, tmp_path, rows, task=task_file(tmp_path, labels=names))
    assert made["labels"] == names


def test_very_unbalanced_rows_are_told(sartor, tmp_path):
    rows = [(f"hello {n} thanks", "other") for n in range(500)]
    made = generate(sartor, tmp_path, [*rows, ("error", "bug"), ("crash of the app", "bug")])
    assert any("'other' has 500 rows, 'bug' 2" in text for text in notes(made, "balance"))


# --- texts -------------------------------------------------------------------------------------------------

ODD_TEXTS = {
    "identical": lambda mails: [("the same text", label) for label in LABELS * 4],
    "identical within a label": lambda mails: [(label, label) for label in LABELS * 4],
    "emoji": lambda mails: [(face * n, label) for n in (1, 2, 3) for face, label in zip("🙂🐞💶", LABELS, strict=True)],
    "punctuation": lambda mails: [
        (mark * n, label) for n in (1, 2, 3) for mark, label in zip("!?…", LABELS, strict=True)
    ],
    "very short": lambda mails: [(letter, label) for letter, label in zip("abcdefghi.,1", LABELS * 4, strict=True)],
    "contradictory": lambda mails: [(text, label) for text, _ in mails for label in LABELS],
    "some contradictory": lambda mails: [*mails, (mails[0][0], "other")],
    "one row a label": lambda mails: [mails[0], mails[4], mails[8]],
    "one row a label of two": lambda mails: [mails[0], mails[4]],
    "one row of one label, many of another": lambda mails: [*mails[:4], mails[4]],
    "a hundred copies": lambda mails: [*mails, *[mails[0]] * 100],
    "controls and directions": lambda mails: [(f"\x01{text}\u202e\ufeff\u200b", label) for text, label in mails],
    "lone surrogates": lambda mails: [(f"\ud800 {text}", label) for text, label in mails],
}


@pytest.mark.parametrize("rows", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_odd_texts_still_make_a_model(sartor, tmp_path, mails, rows):
    rows = rows(mails)
    made = generate(sartor, tmp_path, rows)
    assert set(made["labels"]) == {label for _, label in rows}


def test_contradictory_rows_are_shown_and_not_stored(sartor, tmp_path, mails):
    made = generate(sartor, tmp_path, [*mails, (mails[0][0], "other")])
    assert any(mails[0][0] in text for text in notes(made, "conflicts"))
    assert mails[0][0] not in json.dumps(made["report"])


def test_copies_are_counted(sartor, tmp_path, mails):
    made = generate(sartor, tmp_path, [*mails, *[mails[0]] * 100])
    assert any(text.startswith("100 rows repeat") for text in notes(made, "duplicates"))


def test_blank_texts_and_labels_are_left_out_and_counted(sartor, tmp_path, mails):
    made = generate(sartor, tmp_path, [*mails, ("  \t ", "bug"), ("", "bug"), ("a real text", " ")])
    assert notes(made, "dropped") == ["2 rows have no text and were left out.", "1 row has no label and was left out."]


def test_texts_of_a_hundred_thousand_words_are_cut_and_counted(sartor, tmp_path, mails):
    long = [("error in the app " * 25_000, "bug"), ("refund my money " * 34_000, "billing")]
    made = generate(sartor, tmp_path, [*mails, *long])
    assert any("2 texts are very long" in text for text in notes(made, "length"))
    assert notes(made, "cut") == ["Longer than 64 tokens, and cut there: 2 of 14 texts."]


def test_texts_that_fit_are_not_said_to_be_cut(made):
    assert notes(made, "cut") == []


@pytest.mark.slow
def test_a_cell_of_fifty_megabytes_is_read(sartor, tmp_path, mails):
    generate(sartor, tmp_path, [*mails, ("refund " * 7_500_000, "billing")])


# --- files -------------------------------------------------------------------------------------------------


def csv_of(rows):
    return "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows)


def test_a_file_of_mixed_encodings_is_read_line_by_line(sartor, tmp_path, mails):
    path = tmp_path / "mixed.csv"
    path.write_bytes(
        csv_of([*mails, ("où est ma facture", "billing"), ("ça marche bien", "other")]).encode()
        + "Erreur très étrange,bug\n".encode("cp1252")
    )
    made = generate(sartor, tmp_path, path)
    assert any(note["level"] == "warning" for note in made["notes"] if note["topic"] == "encoding")
    assert made["labels"] == LABELS


def test_nul_bytes_are_taken_out(sartor, tmp_path, mails):
    path = tmp_path / "nul.csv"
    path.write_bytes(csv_of(mails).replace("error 42", "err\0or 42").encode())
    made = generate(sartor, tmp_path, path)
    assert any("1 NUL" in text for text in notes(made, "encoding"))


def test_labels_that_the_model_never_saw_count_as_wrong(sartor, made, tmp_path, mails):
    data = write_jsonl(tmp_path / "test.jsonl", [*mails[:3], ("buy now", "spam")])
    ran = sartor("evaluate", "mails", "--data", data, "--json")
    assert ran.code == 0, ran.err
    assert any("'spam'" in note["text"] for note in ran.json["notes"] if note["topic"] == "unknown labels")
    assert "spam" in {scores["label"] for scores in ran.json["classes"]}


# --- descriptions ------------------------------------------------------------------------------------------


def test_a_description_of_a_megabyte_is_cut_with_a_warning(sartor, mails_csv):
    ran = sartor("generate", "Route mails. " * 80_000, "--examples", mails_csv, "--json")
    assert ran.code == 0, ran.err
    assert_sane(ran.json)
    assert any("1,039,999 characters" in text for text in notes(ran.json, "description"))


# --- descriptions, labels and texts without a labelled row -------------------------------------------------

UNLABELLED = [f"my card was charged twice for invoice {n}" for n in range(20)]


def described(sartor, tmp_path, description, *options, **fields):
    path = task_file(tmp_path, **{"description": description, "labels": LABELS, **fields})
    ran = sartor("generate", path, "--name", "odd", "--json", *options)
    assert ran.code == 0, ran.err
    assert_sane(ran.json)
    return ran.json


def texts(tmp_path, lines):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return path


ODD_DESCRIPTIONS = {
    "emoji": "🙂🐞💶",
    "one letter": "x",
    "only spaces and marks": " \u3000 ... ?! ",
    "another language": "問い合わせを分類する",
    "lone surrogates": "\ud800 sort \udfff these",
    "controls": "sort\x00\x07 these\x1b[31m",
    "one long word": "a" * 1999,
}


@pytest.mark.parametrize("description", ODD_DESCRIPTIONS.values(), ids=ODD_DESCRIPTIONS)
@pytest.mark.parametrize("rows", [True, False], ids=["rows", "no rows"])
def test_a_description_of_any_kind_makes_a_model(sartor, tmp_path, mails, description, rows):
    options = ("--examples", write_jsonl(tmp_path / "rows.jsonl", mails)) if rows else ()
    described(sartor, tmp_path, description, *options)


def test_a_description_of_a_megabyte_is_cut_and_that_is_said(sartor, tmp_path, mails):
    made = described(sartor, tmp_path, "sort these mails " * 60_000)
    assert any("the first 2,000 are used" in text for text in notes(made, "description"))


def test_a_thousand_labels_without_a_row(sartor, tmp_path):
    names = [f"thing number {n}" for n in range(1000)]
    assert len(described(sartor, tmp_path, "Name the thing", labels=names)["labels"]) == 1000


@pytest.mark.parametrize("names", ODD_NAMES.values(), ids=ODD_NAMES)
def test_label_names_of_any_kind_do_without_a_row(sartor, tmp_path, names):
    made = described(sartor, tmp_path, "Sort these", "--unlabelled", texts(tmp_path, UNLABELLED), labels=names)
    assert made["labels"] == names


def test_unlabelled_rows_make_another_model_and_that_is_said(sartor, tmp_path):
    plain = described(sartor, tmp_path, "Sort mails")
    told = described(sartor, tmp_path, "Sort mails", "--unlabelled", texts(tmp_path, UNLABELLED))
    assert any("20 are read" in text for text in notes(told, "unlabelled"))
    assert told["id"] != plain["id"]
    named = described(sartor, tmp_path, "Sort mails", unlabelled=str(texts(tmp_path, UNLABELLED)))
    assert library.load(named["path"]).weights["bias"].equal(library.load(told["path"]).weights["bias"])


def test_unlabelled_rows_in_another_language_leave_the_model_as_it_would_be(sartor, tmp_path):
    plain = described(sartor, tmp_path, "Sort mails", language="en")
    foreign = texts(tmp_path, ["請求書がまだ届いていません"] * 20)
    told = described(sartor, tmp_path, "Sort mails", "--unlabelled", foreign, language="en")
    assert any("another language" in text for text in notes(told, "unlabelled"))
    assert library.load(told["path"]).weights["bias"].equal(library.load(plain["path"]).weights["bias"])


def test_unlabelled_rows_that_are_odd_are_no_matter(sartor, tmp_path):
    odd = ["", "  ", "🙂", "\ud800", "word " * 5000, *UNLABELLED]
    described(sartor, tmp_path, "Sort mails", "--unlabelled", texts(tmp_path, odd))


def test_no_unlabelled_text_is_stored(sartor, tmp_path):
    made = described(sartor, tmp_path, "Sort mails", "--unlabelled", texts(tmp_path, UNLABELLED))
    folder = library.load(made["path"])
    stored = b"".join(folder.files().values())
    assert b"charged twice" not in stored


@pytest.mark.parametrize("content", ["", "text\n", "a,b,c\n1,2,3\n"], ids=["nothing", "a header", "other columns"])
def test_an_unlabelled_file_that_cannot_be_used_is_refused(sartor, tmp_path, content):
    path = tmp_path / "texts.csv"
    path.write_text(content)
    ran = sartor("generate", ROUTE, "--unlabelled", path)
    assert ran.code == 2
    assert "texts.csv" in ran.err


def test_an_unlabelled_file_beside_rows_is_said_not_to_be_read_and_must_be_there(sartor, tmp_path, mails):
    rows = write_jsonl(tmp_path / "rows.jsonl", mails)
    told = described(sartor, tmp_path, "Sort mails", "--examples", rows, "--unlabelled", texts(tmp_path, UNLABELLED))
    assert any("not read" in text for text in notes(told, "unlabelled"))
    ran = sartor("generate", ROUTE, "--examples", rows, "--unlabelled", tmp_path / "none.csv")
    assert ran.code == 2
    assert "none.csv" in ran.err


def test_init_takes_the_language_from_unlabelled_rows_as_generate_does(sartor, tmp_path):
    foreign = texts(tmp_path, ["請求書がまだ届いていません"] * 20)
    path = tmp_path / "task.yaml"
    ran = sartor("init", ROUTE, "--unlabelled", foreign, "--out", path, "--json")
    assert ran.json["requirement"]["language"] == "ja"
    ran = sartor("generate", path, "--json")
    assert any("20 are read" in text for text in notes(ran.json, "unlabelled"))
