"""Nothing leaves but through the audit: by a real socket that counts connections."""

import dataclasses

import pytest

from llm_server import says
from sartor.errors import EgressRefused, LargeModelError, StorageError
from sartor.llm.audit import Audited, redact
from sartor.llm.interface import Reply, Request
from sartor.llm.ledger import Ledger
from sartor.llm.policy import Policy, Price
from sartor.llm.scripted import Script, Scripted
from sartor.llm.summary import summarise

SECRET = "Mail me at jane.doe@example.com or 4111 1111 1111 1111"


def bodies(book):
    return [dict(row.body) for row in book.rows()]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"egress": False}, "no-egress"),
        ({"destinations": ()}, "destination"),
        ({"destinations": ("http://127.0.0.1:9/v1",)}, "destination"),
        ({"purposes": ()}, "purpose"),
        ({"default_action": "block"}, "personal-data"),
        ({"max_cost_per_day": 1.0}, "budget"),
        ({"max_cost_per_day": 0.0001, "prices": {"m": Price(1e3, 1e3)}}, "budget"),
    ],
)
def test_what_the_policy_does_not_allow_connects_to_nothing(connected, server, book, changes, outcome):
    with pytest.raises(EgressRefused) as refused:
        connected(**changes).ask(Request(SECRET))
    assert refused.value.outcome == outcome
    assert server.connections == 0
    assert [(body["kind"], body["outcome"]) for body in bodies(book)] == [("refused", outcome)]
    assert book.verify().ok


def test_a_full_disk_means_no_row_and_no_call(connected, server, book, monkeypatch):
    def full(*arguments, **more):
        raise StorageError("disk full")

    model = connected()
    monkeypatch.setattr(book, "append", full)
    with pytest.raises(StorageError):
        model.ask(Request("hello"))
    assert server.connections == 0


def test_a_read_only_place_for_the_ledger_means_no_call(server, allowed, tmp_path):
    (tmp_path / "file").write_text("")
    backend = Counting()
    model = Audited(backend, allowed, Ledger(tmp_path / "file" / "ledger.db"))
    with pytest.raises(StorageError, match="nothing is sent"):
        model.ask(Request("hello"))
    assert backend.calls == []


class Counting:
    """An egress that notes what it would send."""

    egress = True
    destination = "http://127.0.0.1:1/v1"
    model = "m"

    def __init__(self, answer="fine", error=None):
        self.calls = []
        self.answer = answer
        self.error = error

    def send(self, cleared):
        self.calls.append(cleared)
        if self.error is not None:
            raise self.error
        return Reply(self.answer, "m-1", 1_000_000, 1_000_000, 0.1)

    def close(self):
        pass


@pytest.fixture
def policy():
    return Policy(
        egress=True,
        destinations=("http://127.0.0.1:1/v1",),
        default_action="mask",
        prices={"m": Price(1.0, 2.0)},
        source="policy.yaml",
    )


def test_a_call_has_its_row_before_it_is_made_and_its_outcome_after(policy, book):
    class Looking(Counting):
        def send(self, cleared):
            self.before = bodies(book)
            return super().send(cleared)

    backend = Looking()
    reply = Audited(backend, policy, book).ask(Request("hello", "label it", "calibrate"))
    [before] = backend.before
    assert before["kind"] == "sent"
    assert before["purpose"] == "calibrate"
    assert before["bytes_out"] == reply.bytes_out == len("hello" + "label it")
    sent, outcome = bodies(book)
    assert sent == before
    assert outcome["outcome"] == "answered"
    assert (outcome["tokens_out"], outcome["tokens_in"], outcome["bytes_in"]) == (1_000_000, 1_000_000, 4)
    assert reply.cost == outcome["cost"] == 3.0
    assert book.spent() == pytest.approx(3.0)


def test_no_text_and_no_answer_is_in_the_file(policy, book):
    Audited(Counting("private answer"), policy, book).ask(Request(f"{SECRET} about aubergines"))
    content = b"".join(path.read_bytes() for path in book.path.parent.iterdir())
    for text in (b"aubergines", b"jane.doe", b"4111", b"private answer"):
        assert text not in content


def test_what_is_retained_is_what_was_sent_and_only_by_policy(policy, book):
    Audited(Counting(), policy, book).ask(Request(SECRET))
    assert book.retained() == []
    Audited(Counting(), dataclasses.replace(policy, retain=True), book).ask(Request(SECRET))
    assert book.retained() == [("Mail me at [EMAIL_1] or [CARD_1]", "fine")]


def test_personal_data_is_masked_on_the_way_out_and_put_back_in_the_answer(connected, server, book):
    server.usual = says("I wrote to [EMAIL_1].")
    reply = connected().ask(Request(SECRET))
    assert "jane" not in server.bodies
    assert "4111" not in server.bodies
    assert reply.text == "I wrote to jane.doe@example.com."
    assert bodies(book)[0]["redactions"] == {"card": 1, "email": 1}


def test_a_failed_call_has_an_outcome_and_its_reservation_is_given_back(policy, book):
    model = Audited(Counting(error=LargeModelError("down", "unreachable")), policy, book)
    with pytest.raises(LargeModelError):
        model.ask(Request("hello"))
    assert [body.get("outcome") for body in bodies(book)] == [None, "unreachable"]
    assert book.spent() == 0


def test_a_call_that_timed_out_may_have_cost_what_was_reserved(policy, book):
    model = Audited(Counting(error=LargeModelError("slow", "timeout")), policy, book)
    with pytest.raises(LargeModelError):
        model.ask(Request("hello"))
    assert book.spent() > 0


def test_a_call_that_was_cut_off_counts_as_sent(policy, book):
    with pytest.raises(KeyboardInterrupt):
        Audited(Counting(error=KeyboardInterrupt()), policy, book).ask(Request("hello"))
    found = summarise(book.rows())
    assert (found.total.calls, found.total.failed, found.total.bytes_out) == (1, 1, 5)


def test_the_day_s_budget_is_never_exceeded_and_survives_a_restart(policy, book):
    policy = dataclasses.replace(policy, max_cost_per_day=7.0)
    for _ in range(2):
        Audited(Counting(), policy, book).ask(Request("hello"))
    backend = Counting()
    policy = dataclasses.replace(policy, max_cost_per_day=6.0)
    with pytest.raises(EgressRefused, match="6 a day"):
        Audited(backend, policy, book).ask(Request("hello"))
    assert backend.calls == []


def test_setting_the_clock_forward_gives_no_new_budget(policy, tmp_path):
    wall, steady = [1000.0], [50.0]
    book = Ledger(tmp_path / "l.db", clock=lambda: wall[0])
    policy = dataclasses.replace(policy, max_cost_per_day=3.0)
    model = Audited(Counting(), policy, book, monotonic=lambda: steady[0])
    model.ask(Request("hello"))
    wall[0] += 10 * 86_400
    with pytest.raises(EgressRefused):
        model.ask(Request("hello"))
    steady[0] += 2 * 86_400
    wall[0] += 2 * 86_400
    model.ask(Request("hello"))  # a day has really passed


def test_a_script_is_no_egress_it_is_audited_and_needs_no_policy(book):
    model = Audited(Scripted(Script(1.0), {SECRET: "yes"}, ["no"]), Policy(), book)
    reply = model.ask(Request(SECRET))
    assert (reply.text, reply.bytes_out, reply.cost) == ("yes", 0, 0)
    found = summarise(book.rows())
    assert (found.total.calls, found.total.answered, found.total.bytes_out) == (1, 1, 0)
    assert book.verify().ok


def test_what_may_be_a_name_can_fail_closed(policy):
    text = "please call Zorblax Quenby about it"
    assert redact(text, policy).text == text
    with pytest.raises(EgressRefused, match="unrecognised"):
        redact(text, dataclasses.replace(policy, unrecognised="block"))
    assert "Zorblax" not in redact(text, dataclasses.replace(policy, unrecognised="mask")).text


def test_other_recognisers_are_heard(policy, book):
    from sartor.llm.privacy import Span

    backend = Counting()
    model = Audited(backend, policy, book, recognisers=[lambda text: [Span(0, 5, "name", text[:5])]])
    model.ask(Request("hello you"))
    assert backend.calls[0].request.text == "[NAME_1] you"
