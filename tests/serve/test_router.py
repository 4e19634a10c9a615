"""Who answers: the small model, a larger one where it helps, and why."""

import dataclasses

import numpy as np
import pytest

from sartor.errors import DataError, EgressRefused
from sartor.llm import connect
from sartor.llm.policy import Policy, Price
from sartor.serve.router import Router
from sartor.settings import Settings
from sartor.types import Example
from unsure_small import LABELS, UnsureSmall, gold, rows


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "home", tmp_path / "cache", offline=True)


@pytest.fixture
def scripted(settings):
    """Make a scripted large model that knows these rows."""

    def make(examples, spec="scripted:accuracy=0.95"):
        return connect(spec, Policy(), settings, gold=gold(examples), labels=LABELS)

    return make


def right(decisions, examples):
    return np.mean([one.answer == row.output for one, row in zip(decisions, examples, strict=True)])


def test_it_recovers_most_of_the_gap_with_few_calls(scripted):
    known, new = rows(400), rows(400, seed=1)
    router = Router(UnsureSmall(), scripted([*known, *new]))
    found = router.calibrate(known, share=0.4)
    assert found.share == pytest.approx(0.4, abs=0.01)
    assert (found.rows, found.outcomes) == (400, 400)
    assert found.large_quality[0] == pytest.approx(0.95, abs=0.04)
    decisions = router.predict([row.input for row in new])
    share = np.mean([one.source == "large" for one in decisions])
    assert 0.3 < share < 0.5
    small = np.mean([row.input.split()[0] == row.output for row in new])
    assert right(decisions, new) > small + 0.5 * (0.95 - small)
    assert all(one.reason.startswith("helps" if one.source == "large" else "confident") for one in decisions)
    assert all(one.egress_bytes == 0 for one in decisions)  # a script is no egress


def test_decide_calls_nothing_and_says_what_predict_will_do(scripted):
    known = rows(200)
    large = scripted(known)
    router = Router(UnsureSmall(), large)
    router.calibrate(known)
    calls = []
    ask, large.ask = large.ask, lambda request: calls.append(request) or ask(request)
    texts = [row.input for row in known[:40]]
    decided = router.decide(texts)
    assert calls == []
    assert router.budget.requests == 0
    predicted = router.predict(texts)
    assert [one.source for one in decided] == [one.source for one in predicted]
    assert len(calls) == sum(one.source == "large" for one in predicted) > 0
    assert router.decide(texts[0]).source == decided[0].source
    assert router.predict([]) == router.decide([]) == []


def test_without_calibration_the_small_model_answers(scripted):
    router = Router(UnsureSmall(), scripted(rows(5)))
    decision = router.predict("bug .5 x")
    assert (decision.answer, decision.source, decision.confidence) == ("bug", "small", 0.5)
    assert decision.reason.startswith("not-calibrated")
    assert router.drift()


def test_a_large_model_that_is_worse_is_not_asked(scripted):
    known = rows(300)
    router = Router(UnsureSmall(), scripted(known, "scripted:accuracy=0.2"))
    found = router.calibrate(known, share=0.5)
    assert found.share < 0.2
    assert np.mean([one.source == "large" for one in router.predict([row.input for row in known])]) < 0.2


def test_what_is_like_no_label_is_abstained_from_unless_somebody_helps(scripted):
    known = rows(200)
    router = Router(UnsureSmall(), scripted(known))
    router.calibrate(known, share=0.3)
    decision = router.predict("bug .99 odd")
    assert (decision.answer, decision.source) == ("bug", "abstain")
    assert decision.reason.startswith("out-of-scope")


@pytest.mark.parametrize("vectors", [True, False])
def test_a_promise_rests_on_rows_and_holds_on_new_ones(scripted, vectors):
    known, new = rows(1200), rows(2000, seed=1)
    router = Router(UnsureSmall(vectors=vectors), scripted([*known, *new]))
    found = router.calibrate(known, promise=0.85)
    assert found.promise is not None
    assert found.promise.rows >= found.needed == 19
    assert 0 < found.share < 1
    decided = router.decide([row.input for row in new])
    kept = [one.answer == row.output for one, row in zip(decided, new, strict=True) if one.source == "small"]
    assert len(kept) > 200
    assert np.mean(kept) > 0.83


def test_a_promise_that_rows_cannot_carry_is_not_made_and_all_is_escalated(scripted):
    known = rows(60)
    router = Router(UnsureSmall(), scripted(known))
    found = router.calibrate(known, promise=0.99)
    assert found.promise is None
    assert found.needed == 299
    assert {one.source for one in router.decide([row.input for row in known])} == {"large"}


def test_of_several_models_the_cheapest_that_helps_is_asked(settings):
    known, new = rows(600), rows(200, seed=1)
    # the medium model knows bugs only, the large one everything
    hard = {text: label if text.startswith("bug") else "other" for text, label in gold([*known, *new]).items()}
    medium = connect("scripted:accuracy=1,seed=1", Policy(), settings, gold=hard, labels=LABELS)
    large = connect("scripted:accuracy=1,seed=2", Policy(), settings, gold=gold([*known, *new]), labels=LABELS)
    router = Router(UnsureSmall(), [medium, large])
    router.calibrate(known, share=0.6)
    decisions = router.predict([row.input for row in new])
    asked = {one.model for one in decisions if one.answer and one.source == "large" and one.reason}
    assert asked <= {medium.model, large.model}
    by = {
        name: [row.input.split()[0] for row, one in zip(new, decisions, strict=True) if one.model == name]
        for name in asked
    }
    assert by[medium.model].count("bug") > 0.9 * len(by[medium.model]) > 0
    assert by[large.model].count("bug") < 0.1 * len(by[large.model])


def test_answers_that_are_known_are_not_asked_for(scripted):
    known = rows(100)
    large = scripted([])
    router = Router(UnsureSmall(), large)
    large.ask = None
    found = router.calibrate(known, answers=[[row.output for row in known]])
    assert found.large_quality == (1.0,)


def test_no_labelled_row_is_said(scripted):
    with pytest.raises(DataError, match="none"):
        Router(UnsureSmall(), scripted([])).calibrate([Example("bug .5 x", None)])


def test_drift_is_noticed_and_the_same_traffic_is_none(scripted):
    known, new = rows(400), rows(400, seed=1)
    router = Router(UnsureSmall(), scripted([*known, *new]))
    router.calibrate(known, share=0.2)
    router.predict([row.input for row in new])
    assert router.drift() == ""
    router.predict([f"bug .41 {at}" for at in range(300)])
    assert "no longer like" in router.drift()
    router.calibrate(known, share=0.2)
    assert router.drift() == ""
    router.calibration = dataclasses.replace(router.calibration, models=("older",))
    assert "another model" in router.drift()


def test_rows_may_not_leave_to_calibrate_without_the_policy(settings):
    policy = Policy()
    model = connect("http://127.0.0.1:9/v1", policy, settings)
    with pytest.raises(EgressRefused):
        Router(UnsureSmall(), model, policy).calibrate(rows(50))
    model.close()


def test_outcomes_that_nobody_has_leave_confidence_to_decide():
    class Silent:
        model, destination, egress = "m", "nowhere", False

    known = rows(100)
    router = Router(UnsureSmall(), Silent())
    router.calibrate(known, answers=[[None] * 100], share=0.2)
    decided = router.decide([row.input for row in known])
    asked = [one.confidence for one in router.decide([row.input for row in known]) if one.source == "small"]
    assert sum(one.source == "large" for one in decided) == 20
    assert min(asked) > 0.4


def test_the_budget_of_cost_is_told_beforehand(settings):
    policy = Policy(egress=True, destinations=("http://127.0.0.1:9",), prices={"m": Price(10.0, 10.0)}, source="p.yaml")
    model = connect("http://127.0.0.1:9/v1#m", policy, settings)
    router = Router(UnsureSmall(), model, policy)
    known = rows(60)
    router.calibrate(known, answers=[[row.output for row in known]], share=1.0)
    decision = next(one for one in router.decide([row.input for row in known]) if one.source == "large")
    assert decision.egress_bytes > 100
    assert decision.cost > 0
    model.close()
