"""A vendor's model that changed is noticed."""

from dataclasses import replace

import pytest

from llm_server import says, sends
from sartor.errors import EgressRefused, LargeModelError
from sartor.llm import canary
from sartor.llm.canary import Fingerprint, changed


def test_the_same_model_is_the_same_and_another_name_is_another(connected, server):
    server.usual = says(" Canberra. ")
    model = connected()
    before = canary.take(model)
    assert before == Fingerprint("served-1", ("canberra",) * len(canary.QUESTIONS))
    model.forget()
    assert changed(before, canary.take(model)) == ""
    model.forget()
    server.usual = says("Canberra", model="served-2")
    assert "served-2" in changed(before, canary.take(model))


def test_answers_that_differ_are_counted():
    before = Fingerprint("m", tuple("abcdefghijkl"))
    assert changed(before, replace(before, answers=("x", *before.answers[1:]))) == ""
    assert "6 of 12" in changed(before, replace(before, answers=("x",) * 6 + before.answers[6:]))
    assert changed(before, replace(before, answers=(None,) * 12)) == ""


def test_an_endpoint_that_is_down_is_no_change_but_an_error(connected, server):
    server.usual = sends(400)
    with pytest.raises(LargeModelError):
        canary.take(connected())


def test_a_policy_may_forbid_it(connected, server):
    with pytest.raises(EgressRefused):
        canary.take(connected(purposes=("answer",)))
    assert server.connections == 0
