"""Faults of an endpoint, over a real socket: each ends in time, with a word that says what it was."""

import threading
import time

import pytest

from llm_server import hangs_after_headers, hangs_up, says, sends
from sartor.errors import LargeModelError, UserError
from sartor.llm.endpoint import Endpoint
from sartor.llm.interface import Cleared, Request
from sartor.llm.patient import Breaker, Patience
from sartor.llm.summary import summarise

ONCE = Patience(attempts=1)


def outcome(model, request=None):
    """Return why asking failed."""
    with pytest.raises(LargeModelError) as error:
        model.ask(request or Request("hello"))
    assert str(error.value)
    return error.value.outcome


def test_an_answer_comes_with_what_it_cost(connected, server):
    reply = connected().ask(Request("hello", "label it", seed=7))
    assert (reply.text, reply.model, reply.tokens_out, reply.tokens_in) == ('{"label": "bug"}', "served-1", 20, 5)
    assert reply.counted
    assert reply.latency_s > 0
    [sent] = server.requests
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert (sent["model"], sent["seed"], sent["temperature"]) == ("m", 7, 0)
    assert server.headers[0]["authorization"] == "Bearer k-1"


def test_the_key_of_another_program_is_not_sent(server, connected, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    connected(key="").ask(Request("hello"))
    assert "somebody-else" not in str(server.headers)
    assert "org-secret" not in str(server.headers)


def test_a_redirect_is_not_followed(connected, server):
    server.usual = sends(307, b"", Location="http://127.0.0.1:9/v1/chat/completions")
    assert outcome(connected(ONCE)) in ("refused", "malformed")
    assert server.connections == 1


def test_nobody_there(connected, server):
    model = connected(ONCE)
    server.usual = hangs_up
    assert outcome(model) == "unreachable"


def test_nobody_listens(book, allowed):
    endpoint = Endpoint("http://127.0.0.1:1/v1", "m", "k")
    with pytest.raises(LargeModelError) as error:
        endpoint.send(Cleared(Request("hello"), 1))
    assert error.value.outcome == "unreachable"
    endpoint.close()


def test_bytes_that_trickle_in_do_not_hold_us_up(connected, server):
    server.usual = hangs_after_headers
    started = time.monotonic()
    assert outcome(connected(ONCE, timeout_s=0.3)) == "timeout"
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize(
    ("status", "wanted", "calls"),
    [
        (429, "rate-limited", 3),
        (500, "server-error", 3),
        (503, "server-error", 3),
        (401, "key-rejected", 1),
        (403, "key-rejected", 1),
        (400, "refused", 1),
        (404, "refused", 1),
    ],
)
def test_a_storm_is_met_with_few_calls_each_in_the_ledger(connected, server, book, status, wanted, calls):
    server.usual = sends(status, b'{"error": {"message": "no"}}')
    assert outcome(connected()) == wanted
    assert len(server.requests) == calls
    found = summarise(book.rows())
    assert found.total.outcomes == {wanted: calls}
    assert book.verify().ok


def test_a_failure_that_passes_is_not_noticed(connected, server):
    server.plan.extend([sends(500), hangs_up, says("fine")])
    assert connected().ask(Request("hello")).text == "fine"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"{",
        b"[]",
        b"null",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": null}}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_answer_is_malformed(connected, server, body):
    server.usual = sends(200, body)
    assert outcome(connected(ONCE)) == "malformed"


def test_an_answer_without_end_is_not_read_on(connected, server, monkeypatch):
    monkeypatch.setattr("sartor.llm.endpoint._MOST_BYTES", 1000)
    server.usual = says("x" * 5000)
    assert outcome(connected(ONCE)) == "malformed"


@pytest.mark.parametrize("usage", [None, "many", {"prompt_tokens": -5, "completion_tokens": 1}, {"prompt_tokens": "9"}])
def test_tokens_are_estimated_where_the_endpoint_counts_badly(connected, server, usage):
    server.usual = says("four words are here", usage=usage)
    reply = connected().ask(Request("hello"))
    assert not reply.counted
    assert (reply.tokens_out, reply.tokens_in) == (2, 5)


def test_after_failures_in_a_row_nothing_is_sent_any_more(connected, server):
    server.usual = sends(500)
    model = connected()
    outcome(model)
    assert model.breaker.open
    assert outcome(model, Request("another")) == "circuit-open"
    assert len(server.requests) == 3


def test_the_breaker_lets_one_through_after_a_while():
    now = [0.0]
    breaker = Breaker(2, 10.0, lambda: now[0])
    for _ in range(2):
        assert breaker.enter()
        breaker.leave(failed=True)
    assert not breaker.enter()
    now[0] = 10.0
    assert [breaker.enter(), breaker.enter()] == [True, False]
    breaker.leave(failed=True)
    assert not breaker.enter()
    now[0] = 20.0
    assert breaker.enter()
    breaker.leave(failed=False)
    assert [breaker.enter(), breaker.enter()] == [True, True]


def test_an_endpoint_that_asks_for_too_long_a_wait_is_not_waited_for(connected, server):
    server.usual = sends(429, b"{}", Retry_After="3600")
    assert outcome(connected()) == "rate-limited"
    assert len(server.requests) == 1


def test_the_same_question_is_asked_once(connected, server, book):
    model = connected()
    first, again = model.ask(Request("hello")), model.ask(Request("hello"))
    assert (again.text, again.cached, again.cost, again.bytes_out) == (first.text, True, 0, 0)
    assert len(server.requests) == 1
    model.ask(Request("hello", temperature=0.5))
    model.ask(Request("hello", temperature=0.5))
    assert len(server.requests) == 3
    model.forget()
    model.ask(Request("hello"))
    assert len(server.requests) == 4


def test_no_more_than_so_many_at_once(connected, server):
    at_once, most = [], []

    def slow(handler):
        at_once.append(1)
        most.append(len(at_once))
        time.sleep(0.05)
        at_once.pop()
        says("fine")(handler)

    server.usual = slow
    model = connected(Patience(concurrent=2))
    threads = [threading.Thread(target=model.ask, args=(Request(f"text {n}"),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 2
    assert len(server.requests) == 8


def test_who_waits_too_long_for_a_turn_is_told(connected, server):
    server.usual = hangs_after_headers
    model = connected(Patience(concurrent=1, queue_s=0.05, attempts=1), timeout_s=0.6)
    thread = threading.Thread(target=lambda: outcome(model))
    thread.start()
    while not server.requests:
        time.sleep(0.005)
    assert outcome(model, Request("another")) == "busy"
    thread.join()


@pytest.mark.parametrize("url", ["", "ftp://a", "localhost:80", "http://", "http://a?x=1", "http://u:p@a/v1"])
def test_what_is_no_address_gets_a_sentence(url):
    with pytest.raises(UserError, match="no address"):
        Endpoint(url, "m", "k")
