"""policy.yaml: what it says, and what is said of a bad one."""

import dataclasses

import pytest

from sartor.errors import EgressRefused, PolicyError
from sartor.llm.policy import Policy, normal, parse, read

FULL = """
egress: true
destinations: ["HTTPS://LLM.example.com/v1/"]
purposes: [answer]
personal_data: {default: mask, card: block, ip: allow}
unrecognised: block
limits: {max_share: 0.2, max_bytes_per_1k: 1000, max_cost_per_day: 1.5}
prices: {m: {input: 0.5, output: 2}}
retain: true
"""


def test_a_policy_says_all_it_can():
    policy = parse(FULL, "policy.yaml")
    assert policy.egress
    assert policy.retain
    assert policy.destinations == ("https://llm.example.com:443/v1",)
    assert [policy.action(kind) for kind in ("card", "ip", "email", "unrecognised")] == [
        "block",
        "allow",
        "mask",
        "block",
    ]
    assert (policy.max_share, policy.max_bytes_per_1k, policy.max_cost_per_day) == (0.2, 1000, 1.5)
    price = policy.price("m")
    assert price is not None
    assert price.of(1_000_000, 500_000) == 1.5


@pytest.mark.parametrize("text", ["", "{}", "egress: false", "destinations: [https://a.example]"])
def test_what_does_not_say_egress_allows_none(text):
    with pytest.raises(EgressRefused) as refused:
        parse(text, "p.yaml").check("https://a.example", "answer", "m")
    assert refused.value.outcome == "no-egress"
    assert refused.value.exit_code == 3


def test_without_a_file_nothing_may_leave_and_personal_data_blocks(tmp_path):
    policy = read(tmp_path / "none.yaml")
    assert policy == Policy()
    assert policy.action("email") == "block"
    with pytest.raises(EgressRefused, match="no policy"):
        policy.check("https://a.example", "answer", "m")


@pytest.mark.parametrize(
    ("destination", "purpose", "model", "outcome"),
    [
        ("https://llm.example.com/v1", "answer", "m", ""),
        ("https://llm.example.com:443/v1/more", "answer", "m", ""),
        ("https://llm.example.com/v10", "answer", "m", "destination"),
        ("http://llm.example.com/v1", "answer", "m", "destination"),
        ("https://llm.example.com:8443/v1", "answer", "m", "destination"),
        ("https://llm.example.com.evil.example/v1", "answer", "m", "destination"),
        ("https://llm.example.com@evil.example/v1", "answer", "m", "destination"),
        ("https://llm.example.com/v1/../admin", "answer", "m", "destination"),
        ("https://llm.example.com/v1", "teach", "m", "purpose"),
        ("https://llm.example.com/v1", "answer", "unpriced", "budget"),
    ],
)
def test_only_what_is_listed_may_go(destination, purpose, model, outcome):
    policy = parse(FULL, "policy.yaml")
    if not outcome:
        policy.check(destination, purpose, model)
        return
    with pytest.raises(EgressRefused) as refused:
        policy.check(destination, purpose, model)
    assert refused.value.outcome == outcome
    assert "Nothing was sent" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("egres: true", "Did you mean 'egress'"),
        ("egress: maybe", "true or false"),
        ("egress: true\negress: false", "there twice"),
        ("- a", "keys and values"),
        ("egress: [", "line"),
        ("destinations: https://a.example", "a list"),
        ("destinations: [ftp://a.example]", "https://host/v1"),
        ("destinations: ['https://user:pw@a.example']", "https://host/v1"),
        ("purposes: [anser]", "Did you mean 'answer'"),
        ("personal_data: {emial: mask}", "Did you mean 'email'"),
        ("personal_data: {email: hide}", "block, mask or allow"),
        ("limits: {max_share: 20}", "between 0 and 1"),
        ("limits: {max_cost_per_day: -1}", "from 0 up"),
        ("limits: {max_cost_per_day: .nan}", "from 0 up"),
        ("prices: {m: {input: 1}}", "both input and output"),
        ("!!python/object/apply:os.system ['true']", "policy.yaml"),
    ],
)
def test_a_bad_policy_gets_a_sentence(text, said):
    with pytest.raises(PolicyError, match=said) as error:
        parse(text, "policy.yaml")
    assert "policy.yaml" in str(error.value)


def test_a_policy_that_cannot_be_read_is_no_policy(tmp_path):
    with pytest.raises(PolicyError, match="cannot be read"):
        read(tmp_path)
    (tmp_path / "p.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PolicyError, match="UTF-8"):
        read(tmp_path / "p.yaml")


def test_offline_only_this_machine_may_be_reached():
    text = "egress: true\ndestinations: [http://127.0.0.1:80, https://a.example, http://localhost]"
    policy = dataclasses.replace(parse(text, "p.yaml"), offline=True)
    policy.check("http://127.0.0.1:80/v1", "answer", "m")
    policy.check("http://localhost/v1", "answer", "m")
    with pytest.raises(EgressRefused, match="offline"):
        policy.check("https://a.example/v1", "answer", "m")


def test_addresses_have_one_spelling():
    assert normal("http://[::1]:80/") == "http://[::1]:80"
