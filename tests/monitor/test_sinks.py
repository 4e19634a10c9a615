"""Alerts go where the settings let them, and nowhere else."""

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sartor.errors import UserError
from sartor.monitor import sinks
from sartor.monitor.sinks import Sinks, check, prometheus, send
from sartor.monitor.state import Change, Reading
from sartor.monitor.watch import Health, Line
from sartor.settings import Settings

READING = Reading("errors", "alert", 0.25, usual=0.01, threshold=9.0, sum=9.0, at=120)
HEALTH = Health(
    name="mails",
    model="0123456789abcdef",
    version=3,
    level="alert",
    reference=500,
    wanted=500,
    seen=120,
    judged=4,
    false_alarms=1.0,
    lines=(Line("errors", "requests that failed", "alert", "cumulative sum", READING, "See the log."),),
    changes=(Change("errors", "ok", "alert", 120, READING),),
)
QUIET = Health("mails", "0123456789abcdef", 3, "ok", 500, 500, 120, 4, 1.0)


def allowing(*hosts, offline=False, smtp=""):
    return Settings(Path("/none"), Path("/none"), offline, hosts, smtp)


@pytest.fixture
def server():
    """A webhook on loopback that answers with ``server.code``; gives what it got in ``server.got``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(self.server.code)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as one:
        one.got, one.code = [], 200
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def address(server):
    return f"http://127.0.0.1:{server.server_port}/hook?key=secret"


def test_a_webhook_gets_what_changed(server):
    assert send(HEALTH, Sinks(address(server)), allowing("127.0.0.1")) == ()
    [got] = server.got
    assert (got["name"], got["level"], got["version"]) == ("mails", "alert", 3)
    assert got["changes"][0]["signal"] == "errors"
    assert "rollback" in got["changes"][0]["advice"]


def test_where_nothing_changed_nothing_is_sent(server):
    assert send(QUIET, Sinks(address(server)), allowing("127.0.0.1")) == ()
    assert server.got == []


@pytest.mark.parametrize("code", [302, 307, 500])
def test_a_webhook_that_fails_is_told_without_its_key_and_not_followed(server, code):
    server.code = code
    [failed] = send(HEALTH, Sinks(address(server)), allowing("127.0.0.1"))
    assert str(code) in failed
    assert "secret" not in failed
    assert len(server.got) == 1


def test_a_webhook_that_is_not_there_is_told(server):
    where = address(server)
    server.shutdown()
    server.server_close()
    [failed] = send(HEALTH, Sinks(where), allowing("127.0.0.1"))
    assert failed.startswith("Not sent to 127.0.0.1:")


@pytest.mark.parametrize(
    ("to", "settings", "said"),
    [
        (Sinks("http://127.0.0.1:1/"), allowing(), "SARTOR_ALERTS"),
        (Sinks("http://127.0.0.1:1/"), allowing("localhost"), "it names localhost"),
        (Sinks("http://127.0.0.1:1/"), allowing("127.0.0.1", offline=True), "SARTOR_OFFLINE"),
        (Sinks("file:///etc/passwd"), allowing(""), "http or https"),
        (Sinks("http://127.0.0.1@evil.example/"), allowing("127.0.0.1"), "evil.example"),
        (Sinks(email="me@here.example"), allowing("here.example"), "SARTOR_SMTP"),
        (Sinks(email="me@here.example"), allowing("here.example", smtp="there.example:25"), "there.example"),
        (Sinks(email="me@here.example\nBcc: all@here.example"), allowing("x", smtp="x:25"), "no mail address"),
        (Sinks(email="me@here.example"), allowing("x", smtp="x:port"), "SARTOR_SMTP"),
    ],
)
def test_nothing_goes_where_it_may_not(to, settings, said):
    with pytest.raises(UserError, match=said):
        check(to, settings)


class _Smtp(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                while (text := self.rfile.readline()) != b".\r\n":
                    self.server.got.append(text.decode())
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 good\r\n")
            if word == b"QUIT":
                break


@pytest.fixture
def mailer():
    with socketserver.TCPServer(("127.0.0.1", 0), _Smtp) as one:
        one.got = []
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield one
        one.shutdown()
        thread.join()


def test_a_mail_says_what_changed(mailer):
    settings = allowing("127.0.0.1", smtp=f"127.0.0.1:{mailer.server_address[1]}")
    assert send(HEALTH, Sinks(email="me@here.example"), settings) == ()
    text = "".join(mailer.got)
    assert "Subject: Sartor: mails is alert" in text
    assert "requests that failed" in text


def test_a_password_is_not_sent_in_the_clear(mailer, monkeypatch):
    monkeypatch.setattr(sinks, "_LOOPBACK", set())
    settings = allowing("127.0.0.1", smtp=f"user:secret@127.0.0.1:{mailer.server_address[1]}")
    [failed] = send(HEALTH, Sinks(email="me@here.example"), settings)
    assert "no TLS" in failed
    assert "secret" not in failed
    assert mailer.got == []


def test_changes_are_logged(caplog):
    with caplog.at_level("INFO", logger="sartor.monitor"):
        send(HEALTH, Sinks(), allowing())
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "alert: requests that failed, after 120 requests (share of requests: 0.25)." in record.message


def test_prometheus_reads_it():
    lines = prometheus([HEALTH, QUIET]).splitlines()
    assert 'sartor_alert_level{name="mails",model="0123456789abcdef",signal="errors"} 2' in lines
    assert 'sartor_signal_value{name="mails",model="0123456789abcdef",signal="errors"} 0.25' in lines
    assert lines.count('sartor_watched_requests{name="mails",model="0123456789abcdef"} 120') == 2
    assert all(line.startswith("#") or len(line.rsplit(" ", 1)) == 2 for line in lines)
