"""An explanation for people: tables, sparklines, and a page that needs nothing else."""

from dataclasses import replace

import pytest

from sartor.evaluate import render_explained as render
from sartor.evaluate.explain import (
    Contribution,
    Contributions,
    Dependence,
    Explanation,
    Importance,
    Importances,
    Point,
    Scale,
)
from sartor.types import Metric, Note

from .test_render import NASTY, Page


def explanation(labels=("no", "yes"), name="parts", level="left"):
    """Return an explanation of two columns."""

    def answers(value):
        return tuple([1 - value, value, *[0.0] * (len(labels) - 2)]) if labels else (value,)

    accuracy = Metric(0.1, 0.05, 0.15) if labels else None
    sides = (Point(level, None, answers(0.4)), Point("right", None, answers(0.45)), Point("", None, answers(0.5)))
    ages = (Point("1", 1.0, answers(0.2)), Point("2", 2.0, answers(0.9)), Point("", None, answers(0.6)))
    return Explanation(
        model="0123456789abcdef",
        name=name,
        target="failed",
        labels=tuple(labels),
        unit="" if labels else "kg",
        shares={"generated": 0.8, "random": 0.2, "linear": 0.0},
        scales=(Scale("side", "category", 0.6), Scale("age", "number", 0.4), Scale("x", "ignored", 0.0, "it is")),
        rows=50,
        middle=((0.0, 1.0),) * max(len(labels), 1),
        importance=Importances(
            "log-loss" if labels else "R2",
            0.5,
            50,
            10,
            (
                Importance("side", Metric(0.0, -0.00001, 0.1), accuracy),
                Importance("age", Metric(0.4, 0.3, 0.5), accuracy),
                Importance("x", Metric(0.0, 0.0, 0.0), accuracy),
            ),
        ),
        dependence=(Dependence("age", "number", 50, ages), Dependence("side", "category", 50, sides)),
        contributions=Contributions(
            "yes" if labels else "",
            0.9,
            0.5,
            50,
            256,
            (
                Contribution("age", "2", 0.5, 0.01),
                Contribution("side", level, -0.1, 0.01),
                Contribution("x", "", 0.0, 0.0),
            ),
        ),
    )


def test_what_is_worth_most_comes_first_and_else_what_is_let_in_most():
    found = explanation()
    rows = render.column_rows(found)
    assert [row[0] for row in rows] == ["age", "side", "x"]
    assert rows[0][2:] == ("40.0%", "0.400", "[0.300, 0.500]", "10.0 [5.0, 15.0]")
    assert rows[1][4] == "[0.000, 0.100]"
    assert rows[2][2] == "–"
    assert {len(row) for row in rows} == {len(render.column_columns(found))}
    without = replace(found, importance=None)
    assert [row[0] for row in render.column_rows(without)] == ["side", "age", "x"]
    assert {len(row) for row in render.column_rows(without)} == {len(render.column_columns(without))}


def test_all_sparklines_have_one_scale_so_that_small_effects_look_small():
    age, side = render.dependence_rows(explanation())
    assert age == ("age", "yes", "▂█▅", "20.0% at 1", "90.0% at 2")
    assert side == ("side", "yes", "▄▄▅", "40.0% at left", "50.0% at (empty)")


def test_of_values_the_unit_is_said():
    found = explanation(labels=())
    assert render.dependence_rows(found)[0][3:] == ("0.2 kg at 1", "0.9 kg at 2")
    assert "This row's answer is 0.9 kg; 0.5 kg is the mean of 50 rows" in render.contribution_line(found)
    assert render.contribution_rows(found)[0] == ("age", "2", "+0.5", "0.01")
    assert render.column_columns(found)[3] == "R² falls by"


def test_cells_that_add_nothing_are_not_listed_and_others_by_points():
    assert render.contribution_rows(explanation()) == [
        ("age", "2", "+50.0 points", "1.0 points"),
        ("side", "left", "-10.0 points", "1.0 points"),
    ]


def test_of_many_labels_the_four_that_vary_most_are_drawn():
    found = explanation(labels=("a", "b", "c", "d", "e", "f"))
    assert render.drawn_outputs(found) == [0, 1, 2, 3]
    assert len(render.dependence_rows(found)) == 8


def test_who_answers_is_said():
    assert "the generated net 80%, random units 20%" in render.who_answers(explanation())
    assert "constant" in render.who_answers(replace(explanation(), shares={}))


@pytest.mark.parametrize("labels", [("no", "yes"), (), ("a", "b", "c")])
def test_the_page_needs_nothing_else_and_its_tags_are_closed(labels):
    page = Page(render.to_html(explanation(labels)))
    assert not page.open
    assert page.tags.count("polyline") == len(render.drawn_outputs(explanation(labels)))
    assert not {"script", "link", "img", "iframe", "image", "use"} & set(page.tags)
    assert not {"src", "href"} & {name for name, _ in page.attributes}


def test_axes_are_labelled_with_answers_that_there_can_be():
    page = Page(render.to_html(explanation()))
    assert "0.0%" in page.text
    assert "100.0%" in page.text
    assert "105" not in page.text
    places = [float(value) for name, value in page.attributes if name in ("cx", "cy")]
    assert places
    assert all(0 < place < 320 for place in places)


def test_the_page_without_rows_has_scales_alone():
    found = explanation()
    page = render.to_html(replace(found, importance=None, dependence=(), contributions=None, middle=(), rows=0))
    assert "How much of each column is let in" in page
    assert "How the answer depends" not in page
    assert "One row" not in page


def test_whatever_is_named_is_escaped():
    made = explanation(labels=("no", NASTY), name=NASTY, level=NASTY)
    page = render.to_html(replace(made, notes=(Note("x", NASTY, "warning"),)))
    assert "<script" not in page
    assert 'onload="y' not in page
