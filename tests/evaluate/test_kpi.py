"""Measures of a business: what may be written, what it gives, what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.errors import TaskError
from sartor.evaluate.kpi import Costs, Expression, judge_kpis, read_kpis, row_costs

NAMES = {
    "right": np.array([True, False, True, True]),
    "confidence": np.array([0.9, 0.8, 0.4, 1.0]),
    "cost": np.array([0.0, 5.0, 0.0, 0.0]),
    "label": np.array(["a", "b", "a", "no"], dtype=object),
    "latency_ms": 4.0,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("mean(cost)", 1.25),
        ("share(right & (confidence >= 0.5))", 0.5),
        ("share(right and confidence >= 0.5)", 0.5),
        ("count(not right) + count(~right)", 2),
        ("sum(where(right, 0, 2 * cost)) - -1", 11),
        ("mean(only(cost, label == 'b'))", 5),
        ("share(label == 'no')", 0.25),
        ("latency_ms / 2 < 3", 1),
        ("max(confidence) - min(confidence)", 0.6),
        ("quantile(confidence, 0.5) - median(confidence)", 0),
        ("abs(1 - 3)", 2),
    ],
)
def test_an_expression_is_what_it_says(text, value):
    assert Expression(text)(NAMES) == pytest.approx(value)


def test_the_mean_of_no_row_is_not_a_number_and_keeps_no_bound(tmp_path):
    assert math.isnan(Expression("mean(only(cost, label == 'nobody'))")(NAMES))
    path = written(tmp_path, "kpis: [{name: x, value: \"mean(only(cost, label == 'nobody'))\", max: 9}]")
    assert not judge_kpis(read_kpis(path), NAMES, ()).passed


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "right.__class__",
        "(lambda: 1)()",
        "[x for x in cost]",
        "cost[0]",
        "mean(cost, axis=0)",
        "mean(*cost)",
        "2 ** 99999999",
        "open('x')",
        "f'{cost}'",
        "1 if right else 2",
        "0 < cost < 1",
        "mean(",
        "b'x' == label",
        "a := 1",
        "",
        "1+" * 400 + "1",
    ],
)
def test_what_is_not_listed_is_refused_before_anything_is_computed(text):
    with pytest.raises(TaskError, match=r"expression|Expression"):
        Expression(text)(NAMES)


@given(st.text(max_size=60))
def test_no_text_ever_does_anything_but_give_a_number_or_a_sentence(text):
    try:
        assert isinstance(Expression(text)(NAMES), float)
    except TaskError:
        return


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mean(confidance)", "Did you mean 'confidence'"),
        ("confidence", "a value for each row"),
        ("label", "a value for each row"),
        ("mean(label)", "do not fit"),
        ("median_of(cost)", "Did you mean 'median'"),
        ("mean(cost, 1)", "takes 1 argument"),
    ],
)
def test_a_mistake_is_told(text, said):
    with pytest.raises(TaskError, match=said):
        Expression(text)(NAMES)


def written(folder, text):
    path = folder / "kpi.yaml"
    path.write_text(text)
    return path


def test_a_file_is_read_as_it_is_written(tmp_path):
    found = read_kpis(
        written(
            tmp_path,
            "costs: {no: {yes: 5}, otherwise: 2, abstain: 0.1}\n"
            "kpis: [{name: cost, value: mean(cost), max: 0.3}, {name: plain, value: share(right)}]\n"
            "must_pass: [{text: hello, label: yes}]\n",
        )
    )
    assert [(kpi.name, kpi.least, kpi.most) for kpi in found.kpis] == [("cost", None, 0.3), ("plain", None, None)]
    assert found.must_pass[0].output == "yes"
    costs = row_costs(found.costs, ["no", "no", "yes", "yes"], ["yes", "no", "no", "yes"], [False] * 3 + [True])
    assert costs.tolist() == [5, 0, 2, 0.1]
    assert row_costs(Costs(), ["a"], ["b"], [True]).tolist() == [1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kpi: []", "no key 'kpi'. Did you mean 'kpis'"),
        ("kpis: [{name: x}]", "needs a 'name'"),
        ("kpis: [{name: x, value: mean(cost), max: lots}]", "must be a number"),
        ("kpis: [{name: x, value: mean(cost), max: .nan}]", "must be a number"),
        ("kpis: [{name: x, value: exec(1)}]", "no function 'exec'"),
        ("kpis: [{name: x, value: '1'}, {name: x, value: '2'}]", "twice"),
        ("kpis: {a: b}", "list of mappings"),
        ("kpis: []\nkpis: []", "line 2: 'kpis' is there twice"),
        ("must_pass: [{text: a}]", "is a 'text' and a 'label'"),
        ("costs: {a: 3}\nkpis: [{name: x, value: '1'}]", "which answer costs what"),
        ("{}", "asks for nothing"),
        ("", "holds no mapping"),
        ("[", "not valid YAML"),
        ("kpis: &a [*a]", "twice|list of mappings|not valid"),
    ],
)
def test_a_file_that_is_not_understood_is_refused_with_a_sentence(tmp_path, text, said):
    with pytest.raises(TaskError, match=said):
        read_kpis(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(TaskError, match="cannot be read"):
        read_kpis(tmp_path / "none.yaml")
