import re

import pytest

from sartor.evaluate.gate import gate
from sartor.types import Limits

from .reports import COST, report

GOOD = report(cost=COST)


def test_a_model_without_limits_may_be_champion():
    decision = gate(GOOD, Limits(), None)
    assert (decision.passed, decision.alias) == (True, "champion")
    assert decision.reasons == ("The task sets no limits.",)


def test_beside_a_champion_it_may_only_be_challenger():
    decision = gate(GOOD, Limits(min_accuracy=0.5), GOOD)
    assert (decision.passed, decision.alias) == (True, "challenger")
    assert "same rows" in decision.reasons[-1]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(min_accuracy=0.99), "wants at least 99.0%"),
        (Limits(max_latency_ms=8), r"9\.0 ms; the task wants at most 8 ms"),
        (Limits(max_memory_mb=299), "300 MB; the task wants at most 299 MB"),
    ],
)
def test_a_missed_limit_refuses(limits, said):
    decision = gate(GOOD, limits, None)
    assert (decision.passed, decision.alias) == (False, None)
    assert len(decision.reasons) == 1
    assert re.search(said, decision.reasons[0])


def test_limits_that_are_just_met_are_met():
    limits = Limits(min_accuracy=GOOD.scores.accuracy.value, max_latency_ms=9.0, max_memory_mb=300.0)
    decision = gate(GOOD, limits, None)
    assert decision.passed
    assert len(decision.reasons) == 3


def test_only_what_was_missed_is_told():
    decision = gate(GOOD, Limits(min_accuracy=0.5, max_latency_ms=1, max_memory_mb=1), None)
    assert [reason.split()[0] for reason in decision.reasons] == ["Latency", "Peak"]


def test_a_model_that_is_not_proved_has_no_accuracy_to_show():
    unproved = report(proved=False)
    assert "not proved" in gate(unproved, Limits(min_accuracy=0.1), None).reasons[0]
    assert gate(unproved, Limits(), None).passed


def test_what_was_not_measured_keeps_no_limit():
    unmeasured = report(cost=None)
    decision = gate(unmeasured, Limits(max_latency_ms=1e9, max_memory_mb=1e9), None)
    assert not decision.passed
    assert all("was not measured" in reason for reason in decision.reasons)
