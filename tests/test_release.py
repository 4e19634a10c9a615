"""Promote, roll back, canary: real tiny models in a real store."""

import itertools
import threading
from dataclasses import replace

import pytest
import torch

from sartor import pipeline, release
from sartor.errors import BundleError, NotFoundError, StorageError, UserError
from sartor.registry import regression
from sartor.registry.regression import Case
from sartor.registry.store import Store
from sartor.types import Limits, Task

LABELS = {"billing": "", "bug": "", "other": ""}


@pytest.fixture
def good(tiny, quick, mails):
    """The first model: ``generate`` made it the champion."""
    return pipeline.make(Task("Route mails", name="mails", labels=LABELS), mails).entry


@pytest.fixture
def another(tiny, good):
    """Put a further version: the same answers under another seed, or what its arguments change."""

    def put(seed, limits=None, **weights):
        model = pipeline.load_model(good.path)
        need = replace(model.requirement, limits=limits or Limits())
        made = dict(model.weights) | weights
        draft = pipeline.of_manifest(replace(model.manifest, seed=seed, requirement=need), model.report, made)
        return Store(tiny).put(draft.manifest, draft.files(), "mails")

    return put


@pytest.fixture
def bad(another, good):
    """A second one that takes every label for the next."""
    model = pipeline.load_model(good.path)
    turned = {
        name: tensor.roll(1, -1).contiguous()
        for name, tensor in model.weights.items()
        if name == "bias" or name.endswith(".weight")
    }
    return another(1, **turned)


def cases(mails, must_pass=False):
    return [Case(text, label, must_pass) for text, label in mails]


def champion(home):
    return Store(home).aliases("mails")["champion"]


def test_without_a_regression_set_a_promotion_passes_and_is_recorded_as_ungated(tiny, good, another):
    second = another(2)
    done = release.promote(tiny, f"{second.name}@v2")
    assert (done.moved, done.forced, done.gate.gated) == (True, False, False)
    assert champion(tiny) == second.id
    [served] = [one for one in release.served(tiny) if one.alias == "champion"]
    assert (served.gate, served.previous) == ("ungated", good.id)


def test_a_model_that_loses_cases_is_refused_and_force_is_recorded(tiny, good, bad, mails):
    regression.add(tiny, "mails", cases(mails))
    done = release.promote(tiny, bad.id)
    assert (done.moved, done.gate.passed, done.gate.gated) == (False, False, True)
    assert champion(tiny) == good.id
    forced = release.promote(tiny, bad.id, force=True)
    assert (forced.moved, forced.forced) == (True, True)
    assert champion(tiny) == bad.id
    why = Store(tiny).events()[-1].body["why"]
    assert why["kind"] == "force"
    assert why["reasons"] == list(done.gate.reasons)
    assert release.promote(tiny, good.id).gate.passed  # and the better one may come back


def test_a_case_that_must_pass_refuses_alone(tiny, good, bad, mails):
    text, label = mails[0]
    regression.add(tiny, "mails", [Case(text, label, must_pass=True)])
    done = release.promote(tiny, bad.id)
    assert [check.check for check in done.gate.checks if not check.passed] == ["must-pass", "non-inferiority"]


def test_a_rollback_is_one_row_and_goes_back_as_far_as_there_were_promotions(tiny, good, another):
    second, third = another(2), another(3)
    release.promote(tiny, second.id)
    release.promote(tiny, third.id)
    events = len(Store(tiny).events())
    done = release.rollback(tiny, "mails")
    assert (done.entry.id, done.left, done.canary) == (second.id, third.id, False)
    assert len(Store(tiny).events()) == events + 1
    assert release.rollback(tiny).entry.id == good.id  # the only name that can be rolled back
    with pytest.raises(NotFoundError, match="nothing to go back to"):
        release.rollback(tiny, "mails")
    release.promote(tiny, third.id)
    assert release.rollback(tiny, "mails@champion").entry.id == good.id
    assert Store(tiny).verify_chain() == len(Store(tiny).events())


def test_a_rollback_to_a_damaged_version_is_refused(tiny, good, another):
    second = another(2)
    release.promote(tiny, second.id)
    (good.path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(BundleError):
        release.rollback(tiny, "mails")
    assert champion(tiny) == second.id


def test_a_champion_that_cannot_be_read_stands_in_nobodys_way(tiny, good, another):
    second = another(2)
    (good.path / "model.safetensors").write_bytes(b"damaged")
    assert [one.damage != "" for one in release.served(tiny)] == [True]
    assert release.promote(tiny, second.id).moved
    assert champion(tiny) == second.id


def test_what_does_not_exist_is_said_to_not_exist(tiny, good):
    with pytest.raises(NotFoundError, match="no model 'nobody'"):
        release.promote(tiny, "nobody")
    with pytest.raises(NotFoundError, match="no model 'nobody'"):
        release.rollback(tiny, "nobody")
    with pytest.raises(NotFoundError, match="nothing to go back to"):
        release.rollback(tiny)


def test_limits_of_the_task_are_asked_of_every_alias(tiny, good, another):
    slow = another(4, limits=Limits(max_memory_mb=1))
    done = release.promote(tiny, slow.id, alias="staging")
    assert not done.moved
    assert "Peak memory" in done.gate.reasons[0]
    second = another(2)
    assert release.promote(tiny, second.id, alias="staging").moved
    assert Store(tiny).aliases("mails")["staging"] == second.id


def test_a_canary_ends_by_verdict_by_rollback_or_by_promotion(tiny, good, another):
    second, store = another(2), Store(tiny)
    begun = release.promote(tiny, second.id, canary=0.1)
    assert (begun.alias, begun.canary.share, champion(tiny)) == ("challenger", 0.1, good.id)
    done = release.rollback(tiny, "mails")
    assert (done.canary, done.left, done.entry.id) == (True, second.id, good.id)
    assert not release.conclude(tiny, "mails", second.id, passed=True, reason="late")
    assert champion(tiny) == good.id
    release.promote(tiny, second.id, canary=0.5)
    assert release.conclude(tiny, "mails", second.id, passed=False, reason="10 of 20 failed")
    assert (champion(tiny), store.canary("mails")) == (good.id, None)
    release.promote(tiny, second.id, canary=0.5)
    assert release.conclude(tiny, "mails", second.id, passed=True, reason="as good")
    assert (champion(tiny), store.canary("mails")) == (second.id, None)
    assert release.rollback(tiny, "mails").entry.id == good.id
    with pytest.raises(UserError, match="leave out --as"):
        release.promote(tiny, second.id, canary=0.5, alias="staging")


def test_weights_that_are_no_numbers_are_refused_whatever_the_force(tiny, good, another):
    model = pipeline.load_model(good.path)
    entry = another(5, bias=torch.full_like(model.weights["bias"], float("nan")))
    with pytest.raises(BundleError, match="NaN"):
        release.promote(tiny, entry.id, force=True)
    assert champion(tiny) == good.id


def test_of_eight_that_move_an_alias_at_once_one_wins_each_time(tiny, good, another):
    """Every move that was told of is in the log, in an order in which each began where the one before it ended."""
    second = another(2)
    told, lost, wrong = [], [], []
    start = threading.Barrier(8)

    def storm(number):
        start.wait()
        for turn in range(6):
            try:
                if (number + turn) % 2:
                    told.append(release.rollback(tiny, "mails").entry.id)
                else:
                    done = release.promote(tiny, second.id)
                    told.extend([second.id] if done.previous != second.id else [])
            except (StorageError, NotFoundError) as error:
                lost.append(error)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=storm, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    moves = [e.body for e in Store(tiny).events() if e.kind == "alias" and e.body["alias"] == "champion"]
    assert len(moves) == 1 + len(told)
    assert all(one["to"] == other["from"] for one, other in itertools.pairwise(moves))
    assert champion(tiny) == moves[-1]["to"]
    assert Store(tiny).verify_chain() > 0
