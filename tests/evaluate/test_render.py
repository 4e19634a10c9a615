from dataclasses import replace
from html.parser import HTMLParser

import pytest

from sartor.evaluate.render import (
    CLASS_COLUMNS,
    COMPARISON_COLUMNS,
    class_rows,
    comparison_rows,
    confusion_lines,
    promise_lines,
    to_html,
)
from sartor.types import (
    BaseRef,
    Coverage,
    DataRef,
    Manifest,
    Note,
    Protocol,
    Requirement,
)

from .reports import baseline, report

NASTY = "<script>alert('x')</script>\" onload=\"y"
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Collects tags and attributes, and checks that every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def manifest(name="mails"):
    requirement = Requirement("text-classification", name, "", (), "en", "tiny", 8)
    return Manifest(
        format=1,
        id="0123456789abcdef",
        family="text-classification",
        name=name,
        created="2026-01-01T00:00:00Z",
        requirement=requirement,
        base=BaseRef("tiny", "00", "MIT"),
        generator="floor/1",
        head="ridge",
        data=DataRef("ff", 400),
        seed=0,
        n_parameters=10,
        shapes={},
        files={},
        licence_lineage=("MIT",),
    )


def test_a_page_is_whole_and_asks_for_nothing_else():
    page = Page(to_html(report(), manifest()))
    assert page.open == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not [a for a in page.attributes if a[0] in ("src", "href")]
    assert "url(" not in to_html(report())
    assert page.tags.count("svg") == 2
    assert "0123456789abcdef" in page.text


def test_a_page_draws_every_bin_and_every_bar():
    made = report()
    page = Page(to_html(made))
    assert page.tags.count("circle") == len(made.calibration)
    assert page.tags.count("rect") == 1 + len(made.baselines)


def test_what_users_wrote_is_escaped_everywhere():
    made = report(
        labels=(NASTY, "ham"),
        headline=NASTY,
        notes=(Note(NASTY, NASTY, "warning"),),
        protocol=Protocol("test-file", 0, 1, 0, NASTY),
    )
    made = replace(made, baselines=(replace(made.baselines[0], title=NASTY),))
    html = to_html(made, manifest(NASTY))
    page = Page(html)
    assert "<script" not in html
    assert not [a for a in page.attributes if a[0].startswith("on")]
    assert NASTY in page.text


def test_a_report_without_figures_is_a_page_too():
    empty = report(
        proved=False,
        scores=None,
        baselines=(),
        classes=(),
        calibration=(),
        coverage=(),
        cost=None,
        headline="Not proved: no rows",
    )
    page = Page(to_html(empty))
    assert "Not proved: no rows" in page.text
    assert "Nothing is promised" in page.text
    assert "svg" not in page.tags
    assert comparison_rows(empty) == class_rows(empty) == []


def test_the_model_comes_first_and_then_its_strongest_rival():
    rivals = (baseline("weak", 0.2, "better", 1e-5), baseline("strong", 0.95, "worse", 0.004))
    found = comparison_rows(report(baselines=rivals))
    assert [row[0] for row in found] == ["this model", "strong", "weak"]
    assert [row[-2:] for row in found] == [("", ""), (".004", "WORSE"), ("< .001", "better")]
    assert {len(row) for row in found} == {len(COMPARISON_COLUMNS)}


def test_every_label_has_a_row_and_a_label_without_rows_has_no_recall():
    made = report()
    unmeasured = replace(made.classes[0], label="new", rows=0)
    found = class_rows(replace(made, classes=(*made.classes, unmeasured)))
    assert [row[0] for row in found] == ["no", "yes", "new"]
    assert found[-1][3:5] == ("–", "–")
    assert {len(row) for row in found} == {len(CLASS_COLUMNS)}


def test_the_worst_confusions_come_first():
    lines = confusion_lines(report(labels=("a", "b", "c")))
    assert len(lines) == 3
    assert all("most often taken for" in line for line in lines)
    shares = [float(line.split(": ")[1].split("%")[0]) for line in lines]
    assert shares == sorted(shares)


@pytest.mark.parametrize(
    ("coverage", "words"),
    [
        (Coverage(0.95, True, 0.87, 0.64, 320, 8, 59), ["95% right is promised", "0.87", "64.0%", "8 of 320"]),
        (Coverage(0.95, True, 0.0, 1.0, 320, 8, 59), ["whatever their confidence"]),
        (Coverage(0.99, False, None, 0.0, 40, 1, 299), ["99% right cannot", "at least 299 rows", "there are 40"]),
        (Coverage(0.95, False, None, 0.0, 62, 3, 59), ["cannot", "3 of the 62 most confident answers"]),
    ],
)
def test_promises_are_told_in_words(coverage, words):
    (line,) = promise_lines(report(coverage=(coverage,)))
    for word in words:
        assert word in line
