"""The API, fuzzed from its own OpenAPI document: whatever is asked, nothing breaks."""

import threading

import httpx
import hypothesis
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error

from sartor.serve.app import build
from sartor.serve.service import Service


@pytest.fixture
def served(shop):
    """The address of a server in a thread of this process, and its document."""
    config = uvicorn.Config(build(Service(shop.home)), host="127.0.0.1", port=0, log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    while httpx.get(f"{url}/readyz").status_code != 200:
        pass
    yield url
    server.should_exit = True
    thread.join(30)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("examples", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_no_request_that_the_document_allows_or_forbids_is_a_server_error(served, examples):
    schema = schemathesis.openapi.from_url(f"{served}/openapi.json")
    asked = set()

    for found in schema.get_all_operations():
        operation = found.ok()
        strategy = operation.as_strategy()

        @hypothesis.given(case=strategy)
        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def fuzz(case):
            answer = case.call(headers={"host": "localhost"})
            case.validate_response(answer, checks=[not_a_server_error])

        fuzz()
        asked.add(operation.path)
    assert {"/predict", "/feedback", "/v1/chat/completions", "/v1/completions", "/v1/embeddings"} <= asked
    assert httpx.post(f"{served}/predict", json={"model": "mails", "inputs": ["x"]}).status_code == 200


ODD = [
    b"",
    b"null",
    b"[]",
    b'{"model": "mails", "inputs": [null]}',
    b'{"model": "mails", "inputs": [{"a": {"b": [1, 2]}}]}',
    b'{"model": "parts", "inputs": [{}]}',
    b'{"model": "parts", "inputs": [{"width": NaN, "heat": 1e999, "steel": [1], "price": {"x": 1}}]}',
    b'{"model": "prices", "inputs": [{"width": "\\u0000", "heat": true, "steel": null, "failed": -0.0}]}',
    b'{"model": "w0", "inputs": ["<|im_end|>\\u0000"], "max_new_tokens": 2, "temperature": 10, "seed": 4294967295}',
    b'{"model": "mails\\u0000", "inputs": ["x"]}',
    b'{"model": "mails@champion", "inputs": ["' + "\u0301".encode() * 5000 + b'"]}',
    b"[" * 50_000,
    b'{"model": "mails", "inputs": ["x"], "timeout_ms": 1e400}',
]


def test_what_no_document_thinks_of_is_refused_or_answered(served):
    for body in ODD:
        answer = httpx.post(f"{served}/predict", content=body, headers={"content-type": "application/json"}, timeout=60)
        assert answer.status_code < 500, (body[:80], answer.text)
    for path in ("/answers/%00", "/answers/" + "a" * 3000, "/v1/models/%2e%2e%2f", "/%ff", "/predict?x=" + "y" * 3000):
        assert httpx.get(f"{served}{path}", timeout=60).status_code < 500
