"""Where alerts go: a log, a webhook, a mail, Prometheus. What is sent names models, signals and figures, never a text.

Nothing is sent to a host that the settings do not name (``SARTOR_ALERTS``), nor at all offline; a webhook that answers
with a redirect has failed, for it leads elsewhere.
"""

import json
import logging
import smtplib
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

from typing_extensions import override

from sartor.errors import UserError
from sartor.monitor.alerts import LEVELS
from sartor.monitor.signals import BY_NAME
from sartor.monitor.state import Change
from sartor.monitor.watch import Health
from sartor.settings import Settings

TIMEOUT_S = 5.0
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_LOG = logging.getLogger("sartor.monitor")


@dataclass(frozen=True, slots=True)
class Sinks:
    """Where alerts are sent beside the log."""

    webhook: str = ""
    email: str = ""
    """To whom."""


def check(sinks: Sinks, settings: Settings) -> None:
    """Return if the settings let alerts be sent there.

    Raises:
        UserError: if not; it says what to set.
    """
    if sinks.webhook:
        parts = urllib.parse.urlsplit(sinks.webhook)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"A webhook is an http or https address; got {sinks.webhook!r}.")
        _allowed(parts.hostname, settings)
    if sinks.email:
        if "@" not in sinks.email or any(letter in sinks.email for letter in "\r\n"):
            raise UserError(f"{sinks.email!r} is no mail address.")
        _allowed(_smtp(settings)[0], settings)


def send(health: Health, sinks: Sinks, settings: Settings) -> tuple[str, ...]:
    """Log the changes of a look and send them on; return what went wrong, as sentences. It never raises for a sink."""
    for change in health.changes:
        _LOG.log(logging.WARNING if change.after == "alert" else logging.INFO, "%s: %s", health.name, told(change))
    if not health.changes:
        return ()
    check(sinks, settings)
    failed: list[str] = []
    for send_one, where in ((_post, sinks.webhook), (_mail, sinks.email)):
        if where:
            try:
                send_one(health, where, settings)
            except (OSError, smtplib.SMTPException, ValueError) as error:
                failed.append(f"Not sent to {_plain(where)}: {error}")
    for text in failed:
        _LOG.error("%s", text)
    return tuple(failed)


def told(change: Change) -> str:
    """Return a change as a sentence."""
    signal, reading = BY_NAME[change.signal], change.reading
    after = f"after {change.at:,} {'judged answers' if signal.kind == 'feedback' else 'requests'}"
    if change.after == "ok":
        return f"{signal.title} is as usual again, {after}."
    return f"{change.after}: {signal.title}, {after} ({signal.value}: {reading.value:.3g}). {signal.advice}"


def message(health: Health) -> Mapping[str, Any]:
    """Return what a webhook gets."""
    return {
        "name": health.name,
        "model": health.model,
        "version": health.version,
        "level": health.level,
        "text": f"{health.name}: " + " ".join(told(change) for change in health.changes),
        "changes": [
            {
                "signal": change.signal,
                "before": change.before,
                "after": change.after,
                "value": change.reading.value,
                "at": change.at,
                "advice": BY_NAME[change.signal].advice if change.after != "ok" else "",
            }
            for change in health.changes
        ],
        "rolled_back": health.rolled_back,
    }


def prometheus(healths: Sequence[Health]) -> str:
    """Return the state of models in Prometheus' text format."""
    lines = [
        "# HELP sartor_alert_level 0 ok, 1 warn, 2 alert.",
        "# TYPE sartor_alert_level gauge",
        *(
            _sample("sartor_alert_level", one, LEVELS.index(line.level), line.signal)
            for one in healths
            for line in one.lines
        ),
        "# HELP sartor_signal_value What the signal said last, in its own measure.",
        "# TYPE sartor_signal_value gauge",
        *(
            _sample("sartor_signal_value", one, line.reading.value, line.signal)
            for one in healths
            for line in one.lines
        ),
        "# HELP sartor_watched_requests Requests that were watched since the reference.",
        "# TYPE sartor_watched_requests gauge",
        *(_sample("sartor_watched_requests", one, one.seen) for one in healths),
        "# HELP sartor_judged_answers Answers that somebody judged since the reference.",
        "# TYPE sartor_judged_answers gauge",
        *(_sample("sartor_judged_answers", one, one.judged) for one in healths),
    ]
    return "\n".join(lines) + "\n"


def _sample(name: str, health: Health, value: float, signal: str = "") -> str:
    labels = f'name="{health.name}",model="{health.model}"' + (f',signal="{signal}"' if signal else "")
    return f"{name}{{{labels}}} {value:g}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    @override
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def _post(health: Health, address: str, settings: Settings) -> None:
    body = json.dumps(message(health), ensure_ascii=False).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method="POST")
    # no proxy of the environment either: what is allowed is the host, and nobody between
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S):
            pass
    except urllib.error.HTTPError as error:
        with error:
            raise ValueError(f"it answered {error.code}") from None


def _mail(health: Health, address: str, settings: Settings) -> None:
    host, port, user, password = _smtp(settings)
    mail = EmailMessage()
    mail["Subject"] = f"Sartor: {health.name} is {health.level}"
    mail["From"] = user if "@" in user else f"sartor@{host}"
    mail["To"] = address
    mail.set_content("\n".join([*(told(change) for change in health.changes), health.rolled_back]).strip() + "\n")
    with smtplib.SMTP(host, port, timeout=TIMEOUT_S) as server:
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=ssl.create_default_context())
            server.ehlo()
        elif user and host not in _LOOPBACK:
            raise ValueError(f"{host} offers no TLS, and a password is not sent in the clear")
        if user:
            server.login(user, password)
        server.send_message(mail)


def _smtp(settings: Settings) -> tuple[str, int, str, str]:
    parts = urllib.parse.urlsplit(f"//{settings.smtp}")
    try:
        port = parts.port or 25
    except ValueError:
        port = 0
    if not settings.smtp or not parts.hostname or not port:
        raise UserError("No mail can be sent: set SARTOR_SMTP to host:port, or user:password@host:port.")
    user, password = (urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
    return parts.hostname, port, user, password


def _allowed(host: str, settings: Settings) -> None:
    if settings.offline:
        raise UserError("Alerts are not sent: SARTOR_OFFLINE lets no connection be opened.")
    if host.lower() not in settings.alerts:
        known = f"it names {', '.join(settings.alerts)}" if settings.alerts else "it names none"
        raise UserError(f"Alerts may not be sent to {host}: SARTOR_ALERTS lists the hosts that they may, and {known}.")


def _plain(where: str) -> str:
    """Return a place without what may be secret in an address."""
    parts = urllib.parse.urlsplit(where)
    return parts.hostname or where
