"""Levels have hysteresis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.monitor.alerts import CALM_FOR, CALM_P, LEVELS, Track, after_sum, after_window, worst

WARN, ALERT = 0.01, 0.001


def run(ps, track=None):
    track = track or Track()
    told = []
    for p in ps:
        track = after_window(track, p, warn=WARN, alert=ALERT)
        told.append(track.level)
    return told


def test_up_at_once_and_down_only_after_a_while():
    assert run([0.5, 0.005, 0.02, 0.0005, 0.02, 0.5, 0.5, 0.02, *[0.5] * CALM_FOR]) == [
        *("ok", "warn", "warn", "alert", "alert", "alert", "alert", "alert"),
        *["alert"] * (CALM_FOR - 1),
        "ok",
    ]


def test_a_warning_does_not_lower_an_alert():
    assert run([0.0001, 0.005]) == ["alert", "alert"]


@given(st.lists(st.floats(0, 1), max_size=40))
def test_no_level_changes_without_its_cause(ps):
    track = Track()
    for at, p in enumerate(ps):
        before, track = track, after_window(track, p, warn=WARN, alert=ALERT)
        if track.level != before.level:
            match track.level:
                case "alert":
                    assert p <= ALERT
                case "warn":
                    assert ALERT < p <= WARN
                    assert before.level == "ok"
                case "ok":
                    assert min(ps[at - CALM_FOR + 1 : at + 1]) > CALM_P


@pytest.mark.parametrize(
    ("sums", "told"),
    [
        ([0.0, 2.9, 3.0, 5.0, 1.0, 0.1, 0.0], ["ok", "ok", "warn", "alert", "alert", "alert", "ok"]),
        ([3.5, 1.0, 0.0], ["warn", "warn", "ok"]),
    ],
)
def test_a_sum_is_as_usual_at_zero(sums, told):
    track, found = Track(), []
    for sum_ in sums:
        track = after_sum(track, sum_, warn=3.0, alert=5.0)
        found.append(track.level)
    assert found == told


def test_the_worst_level():
    assert worst([]) == "ok"
    assert [worst(["ok", level]) for level in LEVELS] == list(LEVELS)
