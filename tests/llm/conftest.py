"""A ledger of the test's own, and a server on loopback."""

import dataclasses

import pytest

from llm_server import serving
from sartor.llm.audit import Audited
from sartor.llm.endpoint import Endpoint
from sartor.llm.ledger import Ledger
from sartor.llm.patient import Patience, Patient
from sartor.llm.policy import Policy

QUICK = Patience(first_wait_s=0.001, longest_wait_s=0.01, total_s=5, failures=3, cool_down_s=60)


@pytest.fixture
def server():
    with serving() as endpoint:
        yield endpoint


@pytest.fixture
def book(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


@pytest.fixture
def allowed(server):
    """A policy that lets texts go to the server."""
    return Policy(egress=True, destinations=(server.url,), default_action="mask", source="policy.yaml")


@pytest.fixture
def connected(server, book, allowed):
    """Make the server's model, behind audit and patience; keyword arguments change the policy."""
    made = []

    def connect(patience=QUICK, *, timeout_s=5.0, key="k-1", monotonic=None, **policy):
        endpoint = Endpoint(server.url, "m", key, timeout_s=timeout_s)
        more = {} if monotonic is None else {"monotonic": monotonic}
        made.append(Patient(Audited(endpoint, dataclasses.replace(allowed, **policy), book, **more), patience))
        return made[-1]

    yield connect
    for model in made:
        model.close()
