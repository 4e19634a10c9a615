"""``sartor collaborate eval``: the arms, the contract, and no connection without a policy."""

import json

import pytest
from cli_helpers import write_csv
from test_contract_page import documented

from llm_server import says, serving

ARMS = ["small-only", "large-only", *["collaboration"] * 3, *["random-mix"] * 3, "oracle"]


@pytest.fixture
def labelled(tmp_path, mails):
    """Sixty rows, of which the tiny model has some wrong."""
    rows = [(f"{text} {number}", label) for number in range(5) for text, label in mails]
    return write_csv(tmp_path / "rows.csv", rows)


def run(sartor, labelled, *more, large="scripted:accuracy=0.95"):
    return sartor("collaborate", "eval", "--model", "mails", "--data", labelled, "--large", large, *more)


def test_it_prints_the_arms_and_the_documented_keys(sartor, made, labelled):
    ran = run(sartor, labelled, "--json")
    assert ran.code == 0, ran.err
    assert list(ran.json) == documented("collaborate eval")
    assert [arm["arm"] for arm in ran.json["arms"]] == ARMS
    for arm in ran.json["arms"]:
        assert list(arm) == documented("collaborate eval, arm")
        low, high = arm["interval"]
        assert low <= arm["quality"] <= high
        assert (arm["threshold"] is None) == (arm["arm"] != "collaboration")
    assert ran.json["egress"] is False
    assert run(sartor, labelled, "--json").json["arms"][3]["quality"] == ran.json["arms"][3]["quality"]
    audit = sartor("audit", "--verify", "--json").json
    assert (audit["verified"], audit["bytes_out"], audit["calls"]) == (True, 0, 120)


def test_a_person_reads_that_a_script_stood_in(sartor, made, labelled, tmp_path):
    ran = run(sartor, labelled, "--svg", tmp_path / "curve.svg")
    assert ran.code == 0, ran.err
    assert "answers from the gold labels" in ran.out
    assert "<svg" in (tmp_path / "curve.svg").read_text()


def test_without_a_policy_nothing_connects(sartor, made, labelled):
    with serving() as server:
        ran = run(sartor, labelled, "--json", large=server.url)
        assert ran.code == 3
        assert ran.json["error"]["type"] == "EgressRefused"
        assert "Nothing was sent" in ran.err
        assert server.connections == 0
    audit = sartor("audit", "--verify", "--json").json
    assert (audit["calls"], audit["refused"], audit["outcomes"]) == (0, 1, {"no-egress": 1})


def test_with_a_policy_an_endpoint_is_asked_and_every_call_is_in_the_ledger(sartor, made, labelled, tmp_path):
    with serving() as server:
        server.usual = says('{"label": "bug"}')
        policy = tmp_path / "policy.yaml"
        policy.write_text(
            json.dumps({"egress": True, "destinations": [server.url], "personal_data": {"default": "mask"}})
        )
        ran = run(sartor, labelled, "--json", "--policy", policy, large=f"{server.url}#some-model")
        assert ran.code == 0, ran.err
        assert {request["model"] for request in server.requests} == {"some-model"}
        assert (ran.json["large"], ran.json["egress"]) == ("some-model", True)
        assert ran.json["arms"][1]["quality"] == pytest.approx(1 / 3)
    audit = sartor("audit", "--verify", "--json").json
    assert audit["calls"] == audit["answered"] == len(server.requests) == 60
    assert audit["bytes_out"] == pytest.approx(60 * ran.json["arms"][1]["bytes_out_per_1k"] / 1000)


@pytest.mark.parametrize(("policy", "said"), [("egres: true", "Did you mean 'egress'"), (None, "no policy file")])
def test_a_bad_policy_gets_a_sentence(sartor, made, labelled, tmp_path, policy, said):
    path = tmp_path / "policy.yaml"
    if policy:
        path.write_text(policy)
    ran = run(sartor, labelled, "--policy", path)
    assert ran.code == 2
    assert said in ran.err


def test_few_rows_and_unknown_models_get_a_sentence(sartor, made, mails_csv, labelled):
    ran = run(sartor, mails_csv)
    assert (ran.code, "50 at least" in ran.err) == (2, True)
    ran = run(sartor, labelled, large="gpt")
    assert (ran.code, "names no large model" in ran.err) == (2, True)


def test_a_model_that_writes_is_refused(sartor, tiny, labelled, tmp_path):
    made = sartor("generate", "Write the mail in upper case", "--kind", "text-generation", "--name", "upper")
    assert made.code in (0, 3)
    ran = sartor("collaborate", "eval", "--model", "upper", "--data", labelled, "--large", "scripted:")
    assert (ran.code, "under labels" in ran.err) == (2, True)
