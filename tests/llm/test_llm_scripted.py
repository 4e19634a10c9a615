"""The scripted model, and what large models are called by."""

from contextlib import closing

import pytest

from sartor.assets import resolve
from sartor.errors import LargeModelError, NotFoundError, UserError
from sartor.llm import connect
from sartor.llm.interface import Request
from sartor.llm.labels import Labelling
from sartor.llm.patient import Patience
from sartor.llm.policy import Policy
from sartor.llm.scripted import Script, parse
from sartor.settings import Settings

GOLD = {f"text {number}": "yes" if number % 3 else "no" for number in range(400)}
LABELLING = Labelling("Yes or no?", {"yes": "", "no": "", "maybe": ""})


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "home", tmp_path / "cache", offline=True)


def answers(spec, settings):
    model = connect(spec, Policy(), settings, gold=GOLD, labels=list(LABELLING.labels))
    return [LABELLING.ask(model, text)[0] for text in list(GOLD)[:120]]


def test_it_is_right_as_often_as_it_is_told_and_the_seed_settles_when(settings):
    found = answers("scripted:accuracy=0.8,seed=3", settings)
    right = [answer == gold for answer, gold in zip(found, GOLD.values(), strict=False)]
    assert 0.7 < sum(right) / len(right) < 0.9
    assert found == answers("scripted:accuracy=0.8,seed=3", settings)
    assert found != answers("scripted:accuracy=0.8,seed=4", settings)
    assert answers("scripted:accuracy=1", settings) == list(GOLD.values())[:120]


def test_it_fails_as_often_as_it_is_told(settings):
    model = connect("scripted:failures=1", Policy(), settings, gold=GOLD, patience=Patience(attempts=1))
    with pytest.raises(LargeModelError) as error:
        model.ask(Request("text 1"))
    assert error.value.outcome == "server-error"


def test_a_text_that_it_does_not_know_is_guessed_not_refused(settings):
    model = connect("scripted:accuracy=1", Policy(), settings, gold=GOLD)
    assert LABELLING.ask(model, "never seen")[0] in ("yes", "no")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("scripted:acuracy=1", "Did you mean 'accuracy'"),
        ("scripted:accuracy=high", "a number"),
        ("scripted:accuracy=2", "shares"),
        ("gpt", "names no large model"),
        ("ftp://a.example", "names no large model"),
        ("http://", "no address"),
    ],
)
def test_what_names_no_model_gets_a_sentence(settings, spec, said):
    with pytest.raises(UserError, match=said):
        connect(spec, Policy(), settings)


@pytest.mark.parametrize("spec", ["local:smollm3", "local:/nowhere/a.gguf"])
def test_a_local_model_that_is_not_there(settings, spec):
    with pytest.raises(NotFoundError):
        connect(spec, Policy(), settings)


def test_script_defaults():
    assert parse("") == Script()


@pytest.mark.asset
def test_our_own_small_model_answers_in_this_process_by_schema(tmp_path):
    from sartor import settings

    pytest.importorskip("xllamacpp")
    own = Settings(tmp_path / "home", settings.from_environment({}).cache, offline=False)
    model = connect("local:smollm2-135m-instruct", Policy(), own)
    label, reply = LABELLING.ask(model, "Is water wet?")
    assert label in LABELLING.labels
    assert (reply.bytes_out, reply.model) == (0, "smollm2-135m-instruct")
    assert reply.tokens_in > 0
    assert not model.egress


@pytest.mark.asset
def test_a_real_server_of_llama_cpp_answers_over_http(tmp_path):
    from sartor import settings

    xllamacpp = pytest.importorskip("xllamacpp")
    own = Settings(tmp_path / "home", settings.from_environment({}).cache, offline=False, llm_key="k-9")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(resolve.resolve_gguf("smollm2-135m-instruct", own))
    parameters.n_ctx, parameters.cpuparams.n_threads, parameters.api_keys = 2048, 1, ["k-9"]
    server = xllamacpp.Server(parameters)
    url = f"{server.listening_address}/v1"
    policy = Policy(egress=True, destinations=(url,), default_action="mask")
    with closing(connect(url, policy, own)) as model:
        label, reply = LABELLING.ask(model, "Is water wet? asks Alice Johnson")
    assert label in LABELLING.labels
    assert reply.counted
    assert reply.redactions == {"name": 1}
    rejected = Settings(own.home, own.cache, offline=False, llm_key="wrong")
    with closing(connect(url, policy, rejected)) as model, pytest.raises(LargeModelError) as error:
        model.ask(Request("hello"))
    assert error.value.outcome == "key-rejected"
