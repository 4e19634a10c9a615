"""The proof of what is unusual, on numbers that are one more or less far from nought."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from sartor.errors import DataError, TaskError
from sartor.evaluate import gate, render, unusual
from sartor.families.interface import NoBase, Planted, UnusualControl, UnusualFamily, Unusualness
from sartor.types import Example, Label, Limits, Report, Requirement, Rows, from_json, to_json

from .reports import COST

NEED = Requirement("distance", "m", "", (Label("good"),), "", "none", 0)


@dataclass(frozen=True)
class Numbers:
    values: np.ndarray

    def __len__(self):
        return len(self.values)

    def take(self, rows):
        return Numbers(self.values[rows])


class Distance(UnusualFamily):
    """Inputs are numbers as text; unusual is what is farther from their mean than any good one."""

    name, summary, generator, least, false_alarms = "distance", "", "distance/1", 3, 0.05

    def __init__(self, alarm=1.0, blind=False):
        self.alarm, self.blind, self.seen = alarm, blind, []

    def base(self, requirement, *, progress=None):
        return NoBase()

    def head(self, weights):
        return "mean"

    def encode(self, base, requirement, inputs, *, progress=None):
        return Numbers(np.array([float(text) for text in inputs]))

    def generate(self, requirement, support, groups, *, seed):
        if len(support) < self.least:
            raise TaskError("too few")
        self.seen.append(set(support.values.tolist()))
        middle = support.values.mean()
        return {"middle": middle, "limit": self.alarm * np.abs(support.values - middle).max()}

    def predict(self, requirement, weights, features):
        scores = np.abs(features.values - weights["middle"])
        return Unusualness(scores * 0 if self.blind else scores, float(weights["limit"]))

    def plant(self, base, inputs, *, seed):
        return (
            Planted("far", "far away", [str(float(text) + 40) for text in inputs]),
            Planted("near", "not far away", [str(float(text) + 1e-6) for text in inputs]),
        )

    def controls(self, requirement):
        return (
            UnusualControl("pooled", "Random", lambda need, known, asked, seed: np.modf(asked.values * 977)[0]),
            UnusualControl("same", "The same", lambda n, known, asked, s: np.abs(asked.values - known.values.mean())),
        )


def numbers(n, seed=0):
    return [str(round(one, 6)) for one in np.random.default_rng(seed).normal(0, 1, n)]


def proof_of(n, family=None, **options):
    family, inputs = family or Distance(), numbers(n)
    support = family.encode(None, NEED, inputs)
    return unusual.prove_unusual(family, None, NEED, inputs, support, np.arange(n), seed=0, **options)


def test_no_row_is_scored_by_a_model_that_had_seen_it():
    family, inputs = Distance(), numbers(20)
    support = family.encode(None, NEED, inputs)
    asked = []
    plain = family.predict
    family.predict = lambda need, weights, features: (
        asked.append((family.seen[-1], set(features.values.tolist()))),
        plain(need, weights, features),
    )[1]
    unusual.prove_unusual(family, None, NEED, inputs, support, np.arange(20), seed=0)
    known, tested = zip(*asked[::3], strict=True)  # good, planted, real bad
    assert set().union(*tested) == set(support.values.tolist())
    for one, other in zip(known, tested, strict=True):
        assert one.isdisjoint(other)


def test_false_alarms_and_planted_kinds_are_told_apart():
    proof = proof_of(60)
    found = proof.unusual
    far, near = found.planted
    assert proof.proved
    assert found.false_alarms.value < 0.15
    assert (far.kind, far.n, far.found.value, far.auroc.value) == ("far", unusual.MOST_PLANTED, 1.0, 1.0)
    assert near.found.value < 0.2
    assert 0.3 < near.auroc.value < 0.7
    assert found.scores is None
    assert [one.name for one in found.baselines] == ["pooled", "same"]
    assert found.baselines[0].verdict == "better"
    assert (found.baselines[1].difference.value, found.baselines[1].verdict) == (0, "tie")


def test_real_bad_ones_are_told_by_their_label_and_baselines_are_judged_by_them():
    bad = [(str(50 + at), "hole") for at in range(6)] + [(str(0.01 * at), "stain") for at in range(6)]
    found = proof_of(40, bad=bad).unusual
    hole, stain = found.kinds
    assert (hole.kind, hole.n, hole.found.value) == ("hole", 6, 1.0)
    assert stain.found.value == 0
    assert (found.scores.n_good, found.scores.n_bad) == (40, 12)
    assert found.scores.found.value == 0.5
    assert found.auroc == found.scores.auroc
    assert found.scores.average_precision.low <= found.scores.average_precision.value


def test_few_good_ones_prove_nothing_and_say_what_they_can_vouch_for():
    proof = proof_of(6)
    assert not proof.proved
    assert "14.3%" in proof.headline
    assert proof.unusual.promised == pytest.approx(1 / 7)
    nothing = proof_of(3)
    assert nothing.unusual is None
    assert nothing.protocol.kind == "none"
    assert "too few" in nothing.headline


def test_a_baseline_that_wins_is_named_first():
    proof = proof_of(60, Distance(blind=True))
    assert proof.unusual.baselines[1].verdict == "worse"
    assert proof.headline.startswith("A baseline wins: The same")


def test_the_report_is_written_and_read_and_shown():
    report = unusual.to_report(proof_of(30), threshold=2.5, cost=COST)
    assert from_json(to_json(report), Report) == report
    assert report.unusual.threshold == 2.5
    text = render.to_html(report)
    assert "planted: far away" in text
    assert "artificial" in text
    assert render.unusual_rows(report)[0][0] == "this model"
    assert "2.5" in render.unusual_lines(report)[0]


# --- the gate ----------------------------------------------------------------------------------------------


def test_the_gate_refuses_alarms_beyond_the_promise():
    assert gate.gate(unusual.to_report(proof_of(60), threshold=1.0), Limits()).alias == "champion"
    loud = gate.gate(unusual.to_report(proof_of(60, Distance(alarm=0.3)), threshold=1.0), Limits())
    assert not loud.passed
    assert any("called unusual" in reason for reason in loud.reasons)


def test_the_gate_refuses_what_is_worse_than_the_nearest_baseline():
    report = unusual.to_report(proof_of(60, Distance(blind=True)), threshold=1.0)
    pooled = replace(report.unusual.baselines[0], verdict="worse")
    for verdict, passed in (("worse", False), ("tie", True), ("better", True)):
        held = replace(report, unusual=replace(report.unusual, baselines=(replace(pooled, verdict=verdict),)))
        assert gate.gate(held, Limits()).passed is passed


# --- a file ------------------------------------------------------------------------------------------------


def rows_of(labels):
    return Rows([Example(text, label) for label, texts in labels.items() for text in texts], sha256="ab", source="x")


def score(labels, **options):
    family = Distance()
    weights = family.generate(NEED, family.encode(None, NEED, numbers(30)), np.arange(30), seed=0)
    return unusual.score_unusual_file(family, None, NEED, weights, rows_of(labels), made_from_rows=30, **options)


def test_a_file_of_good_and_bad_is_scored():
    report = score({"good": numbers(25, 1), "scratch": ["9", "-9"]})
    assert report.proved
    assert report.unusual.scores.auroc.value == 1
    assert report.unusual.baselines == ()
    with_rows = score({"good": numbers(25, 1), "scratch": ["9", "-9"]}, made_from=rows_of({"good": numbers(30)}))
    assert [one.name for one in with_rows.unusual.baselines] == ["pooled", "same"]


def test_a_file_of_good_ones_alone_tells_false_alarms():
    report = score({None: numbers(25, 1)})
    assert report.unusual.scores is None
    assert report.unusual.false_alarms.value < 0.2
    assert any("false alarms alone" in note.text for note in report.notes)


def test_a_file_without_good_ones_or_with_labels_that_say_nothing_is_refused():
    with pytest.raises(DataError, match="None of the labels"):
        score({"cat": ["1"], "dog": ["2"]})
    with pytest.raises(DataError, match="None of the labels"):
        score({"scratch": ["9"]})


def test_the_rows_that_it_was_made_of_prove_nothing():
    assert not score({"good": numbers(25, 1)}, trained_on="ab").proved
    assert not score({"good": numbers(5, 1)}).proved
