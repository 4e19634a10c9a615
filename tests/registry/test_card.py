from dataclasses import replace

import pytest
import tiny_bundle as made
import yaml
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sartor.registry.card import model_card
from sartor.types import (
    Baseline,
    BaseRef,
    CalibrationBin,
    ClassScores,
    Cost,
    Coverage,
    Label,
    Metric,
    Note,
    Paired,
    Protocol,
    Report,
    Scores,
)

NASTY = 'a|b `c` <script>x</script> *d* \\ "e"\n# f: [g](h) & 良い'


def metric(value: float) -> Metric:
    return Metric(value, value - 0.05, value + 0.05)


def scores(value: float) -> Scores:
    return Scores(40, metric(value), metric(value - 0.01), metric(value - 0.02), 0.5, 0.03)


def report(label: str = "good") -> Report:
    return Report(
        schema=1,
        headline="TF-IDF wins by 2 points.",
        proved=True,
        protocol=Protocol("cross-validation", 5, 40, 0, "5 folds over 40 rows."),
        scores=scores(0.8),
        baselines=(Baseline("tfidf", "TF-IDF", scores(0.82), Paired(metric(-0.02), 3, 4, 1.0, "tie")),),
        classes=(ClassScores(label, 20, 0.7, metric(0.75), 0.72, "bad"),),
        calibration=(CalibrationBin(0.9, 0.85, 20),),
        coverage=(
            Coverage(0.95, True, 0.83, 0.725, 80, 0, 59),
            Coverage(0.99, False, None, 0.0, 80, 0, 299),
        ),
        cost=Cost(3.0, 4.5, 900.0, 420.0, 123456, 13, "a CPU"),
        seconds={"load": 1.25, "generate": 0.5},
        notes=(Note("dropped", "the row 'my secret row' was dropped"),),
    )


def front(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def tables(card: str) -> list[list[list[str]]]:
    """Return the tables of the card as a reader sees them: rows of cells of text."""
    found: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(card.split("---\n", 2)[2]):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and token.map and token.level >= 4:
            found[-1][-1].append("".join(child.content for child in token.children or ()))
    return found


def test_the_hub_reads_the_card():
    card = ModelCard(model_card(made.draft(), report()))
    assert card.data.license == "mit"
    assert card.data.language == "en"
    assert card.data.library_name == "sartor"
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.base_model == "tiny"
    assert card.data.model_name == "reviews"
    results = card.data.eval_results
    assert results is not None
    assert {result.metric_type: result.metric_value for result in results} == {
        "accuracy": 0.8,
        "balanced_accuracy": 0.79,
        "f1": 0.78,
    }


def test_the_card_says_what_was_proved():
    card = model_card(made.draft(), report())
    labels, results, classes, calibration, seconds, licences = tables(card)
    assert labels[1:] == [["good", "it pleased", "3"], ["悪い", "", "2"]]
    assert [row[0] for row in results[1:]] == ["this model", "TF-IDF"]
    assert results[1][1] == "0.800 (0.750 to 0.850)"
    assert results[2][6] == "tie: -0.020 (-0.070 to +0.030), p = 1"
    assert classes[1] == ["good", "20", "0.700", "0.750 (0.700 to 0.800)", "0.720", "bad"]
    assert calibration[1] == ["0.900", "0.850", "20"]
    assert seconds[1:] == [["load", "1.250"], ["generate", "0.500"]]
    assert licences[2] == ["lineage", "base: MIT"]
    assert "TF-IDF wins by 2 points." in card
    assert "Right 95% of the time: take answers with a confidence of at least 0.830. That covers 72.5%" in card
    assert "Right 99% of the time: cannot be promised. It takes at least 299 accepted rows" in card
    assert 'sartor predict DIR "..."' in card


def test_the_card_holds_no_row_and_not_the_name_of_the_file():
    card = model_card(made.draft(), report())
    assert "5 rows, sha256 `" + "cd" * 32 in card
    assert "secret" not in card


def test_a_model_that_was_not_proved_says_so():
    unproved = replace(
        report(), scores=None, baselines=(), classes=(), calibration=(), coverage=(), cost=None, seconds={}
    )
    card = model_card(made.draft(), unproved)
    assert "This model was not proved." in card
    assert "model-index" not in front(card)
    assert "## Cost" not in card


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("", {"license": "unknown"}),
        ("My: own", {"license": "other", "license_name": "My: own"}),
    ],
)
def test_a_licence_is_one_that_the_hub_knows_or_other(licence, expected):
    fields = front(model_card(replace(made.draft(), base=BaseRef("tiny", "00", licence)), report()))
    assert {key: value for key, value in fields.items() if key.startswith("license")} == expected


def test_what_could_be_markup_shows_as_text():
    draft = made.draft(labels=(Label(NASTY, NASTY, 1),))
    draft = replace(draft, name="a: b\n- c", requirement=replace(draft.requirement, description="# no heading\n\n- x"))
    card = model_card(draft, replace(report(NASTY), headline="1. no list\n---\n<b>"))
    labels, _, classes, *_ = tables(card)
    shown = " ".join(NASTY.split())
    assert labels[1] == [shown, shown, "1"]
    assert classes[1][0] == shown
    assert front(card)["model-index"][0]["name"] == "a: b\n- c"
    html = MarkdownIt("commonmark").enable("table").render(card.split("---\n", 2)[2])
    assert "<script" not in html
    assert "<b>" not in html
    assert "<p># no heading - x</p>" in html
    assert "<p>1. no list --- &lt;b&gt;</p>" in html


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=12))
def test_any_label_stays_in_its_cell(label):
    (_, row), *_ = tables(model_card(made.draft(labels=(Label(label, label, 7),)), report()))
    assert len(row) == 3
    assert row[2] == "7"
