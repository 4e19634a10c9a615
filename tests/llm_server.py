"""A real HTTP server on loopback that plays an OpenAI-compatible endpoint, well or badly."""

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Endpoint:
    """What the server is to do, and what it saw."""

    def __init__(self) -> None:
        self.plan: deque[Callable[[BaseHTTPRequestHandler], None]] = deque()
        """One behaviour for each request to come; then :attr:`usual`."""
        self.usual: Callable[[BaseHTTPRequestHandler], None] = says('{"label": "bug"}')
        self.connections = 0
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    @property
    def bodies(self) -> str:
        """All that was ever sent, as text."""
        return json.dumps(self.requests, ensure_ascii=False)


def says(content: Any, **more: Any) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with a chat completion."""
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    message = {"role": "assistant", "content": content}
    body = {"model": "served-1", "choices": [{"index": 0, "message": message}], "usage": usage, **more}
    return sends(200, json.dumps(body).encode())


def sends(status: int, body: bytes = b"{}", **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with a status and a body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def hangs_after_headers(handler: BaseHTTPRequestHandler) -> None:
    """Send headers, then a byte now and then, for longer than anybody waits."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    """Close without a word."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


@contextmanager
def serving() -> Iterator[Endpoint]:
    """Serve on a free port of loopback."""
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            endpoint.requests.append(json.loads(body))
            endpoint.headers.append({name.lower(): value for name, value in self.headers.items()})
            behave = endpoint.plan.popleft() if endpoint.plan else endpoint.usual
            try:
                behave(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_GET = do_POST

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[socket.socket, Any]:
            endpoint.connections += 1
            return super().get_request()

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
