"""The whole of the signals: false alarms as rare as promised, planted changes found, and no matter how rows come."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from streams import stretch, with_cells

from sartor.monitor import state
from sartor.monitor.seen import joined
from sartor.monitor.signals import BY_NAME, PER, SIGNALS, Budget, Reference, speaking
from sartor.monitor.state import Plan, State, advance
from sartor.types import Column

BUDGET = Budget(false_alarms=5.0, warnings=20.0, windows=(40, 160))
"""Five times the usual one: fewer draws are made then."""
COLUMNS = (Column("price", "number"), Column("colour", "category", ("red", "blue")))


def plan_of(reference, *, columns=(), wrong=0.1, budget=BUDGET):
    return Plan.of(Reference.of(reference, columns), budget, wrong=wrong)


def alerts(changes):
    return [change.signal for change in changes if change.after == "alert"]


def test_false_alarms_are_as_rare_as_promised():
    """Ten references and streams; so large a budget that there is something to count."""
    budget = Budget(false_alarms=40.0, warnings=80.0, windows=(40, 160))
    count = requests = 0
    for seed in range(10):
        rng = np.random.default_rng([seed, 5])
        plan = plan_of(stretch(200, rng), budget=budget)
        _, changes = advance(plan, State(), stretch(400, rng), 400, rng.random(50) < 0.95)
        count, requests = count + len(alerts(changes)), requests + 400
    assert count <= scipy.stats.poisson.ppf(1 - 1e-3, budget.false_alarms * requests / PER)


@pytest.mark.parametrize(
    ("changed", "signals"),
    [
        ({"shift": 0.7}, {"input-mmd", "input-classifier"}),
        ({"first": 0.05}, {"output-labels"}),
        ({"confidence": (4, 4)}, {"output-confidence", "expected-accuracy"}),
        ({"length": 5.0}, {"input-length"}),
        ({"abstain": 0.5}, {"out-of-scope"}),
        ({"latency": 3.0}, {"latency"}),
    ],
)
def test_a_planted_change_is_found_by_its_own_signals_and_no_others(changed, signals):
    rng = np.random.default_rng(21)
    plan = plan_of(stretch(300, rng))
    after, changes = advance(plan, State(), stretch(240, rng), 240)
    assert not alerts(changes)
    rows = joined([stretch(240, rng), stretch(320, rng, **changed)])
    after, changes = advance(plan, after, rows, 320)
    assert set(alerts(changes)) == signals
    assert {name for name, level in state.levels(plan, after).items() if level == "alert"} == signals
    assert all(240 < change.at <= 560 for change in changes)


def test_an_alert_ends_when_all_is_as_usual_again():
    rng = np.random.default_rng(22)
    plan = plan_of(stretch(300, rng))
    first, bad, last = stretch(160, rng), stretch(160, rng, length=5.0), stretch(700, rng)
    _, changes = advance(plan, State(), joined([first, bad, last]), 1020)
    told = [(change.before, change.after) for change in changes if change.signal == "input-length"]
    assert told[-1] == ("alert", "ok")
    assert "alert" in [after for _, after in told]


@pytest.mark.parametrize("part", [1, 37])
def test_it_does_not_matter_in_how_many_pieces_rows_come(part):
    rng = np.random.default_rng(23)
    plan = plan_of(stretch(200, rng))
    rows = joined([stretch(90, rng), stretch(80, rng, first=0.1, abstain=0.4)])
    whole, changes = advance(plan, State(), rows, len(rows))
    found, told = State(), []
    for start in range(0, len(rows), part):
        end = min(start + part, len(rows))
        piece = rows.take(slice(max(0, start - plan.history), end))
        found, more = advance(plan, found, piece, end - start)
        told += more
    assert found == whole
    assert sorted(told, key=lambda one: (one.at, one.signal)) == sorted(changes, key=lambda one: (one.at, one.signal))


def test_wrong_answers_are_told_by_feedback_and_say_that_answers_are_worse():
    rng = np.random.default_rng(24)
    plan = plan_of(stretch(200, rng), wrong=0.1)
    none = stretch(1, rng).take(slice(0, 0))
    after, changes = advance(plan, State(), none, 0, rng.random(300) > 0.1)
    assert not alerts(changes)
    assert not state.breaches(plan, after)
    after, changes = advance(plan, after, none, 0, rng.random(300) > 0.4)
    assert alerts(changes) == ["accuracy"]
    assert [signal.name for signal in state.breaches(plan, after)] == ["accuracy"]
    assert (after.seen, after.judged) == (0, 600)


@pytest.mark.parametrize(
    ("changed", "signal"),
    [({"level": 0.95}, "input-columns"), ({"price": 300.0}, "input-columns"), ({"gaps": 0.6}, "input-columns")],
)
def test_columns_of_a_table_are_watched(changed, signal):
    rng = np.random.default_rng(25)
    plan = plan_of(with_cells(200, rng), columns=COLUMNS)
    after, changes = advance(plan, State(), with_cells(160, rng), 160)
    assert not alerts(changes)
    rows = joined([with_cells(160, rng), with_cells(160, rng, **changed)])
    assert signal in alerts(advance(plan, after, rows, 160)[1])


def test_a_category_never_seen_is_told():
    rng = np.random.default_rng(26)
    plan = plan_of(with_cells(200, rng), columns=COLUMNS)
    rows = with_cells(200, rng)
    rows.cells["colour"][::4] = "Green"
    rows.cells["colour"][1::4] = " RED "
    after, changes = advance(plan, State(), rows, 200)
    assert "input-unseen" in alerts(changes)
    [reading] = [one for one in state.readings(plan, after) if one.signal == "input-unseen"]
    assert reading.value == pytest.approx(0.25, abs=0.02)
    assert (reading.at, reading.psi, reading.window) == (200, None, None)


def test_only_signals_that_have_something_to_say_share_the_budget():
    rng = np.random.default_rng(27)
    rows = stretch(100, rng)
    none = np.full(100, np.nan)
    names = {signal.name for signal in speaking(Reference.of(rows))}
    assert names == {signal.name for signal in SIGNALS} - {"input-columns", "input-unseen", "output-values", "adapter"}
    bare = replace(rows, projection=np.zeros((100, 0)), confidence=none, latency_ms=none, label=np.full(100, ""))
    left = {signal.name for signal in speaking(Reference.of(replace(bare, value=rows.length)))}
    assert left == {
        "input-length",
        "output-values",
        *("accuracy", "escalation", "out-of-scope", "out-of-list", "errors"),
    }


def test_thresholds_add_up_to_the_budget():
    budget, signals = Budget(false_alarms=2.0), 7
    looks = {window: PER / (window // 2) for window in budget.windows}
    expected = sum(signals * budget.threshold(signals, window) * looks[window] for window in budget.windows)
    assert expected == pytest.approx(2.0)
    assert signals * PER / budget.apart(signals) == pytest.approx(2.0)
    assert all(1 / budget.most(signals, window) < budget.threshold(signals, window) for window in budget.windows)


def test_windows_can_be_passed_over():
    rng = np.random.default_rng(28)
    plan = plan_of(stretch(200, rng))
    after, changes = advance(plan, State(), stretch(320, rng, shift=2.0, abstain=0.6), 320, windows=False)
    assert alerts(changes) == ["out-of-scope"]
    assert after.seen == 320


def test_every_signal_says_what_it_is_and_what_to_do():
    assert len(BY_NAME) == len(SIGNALS)
    for signal in SIGNALS:
        assert all((signal.title, signal.test, signal.value))
        assert signal.advice.endswith(".")
