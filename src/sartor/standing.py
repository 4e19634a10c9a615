"""What is served, is it healthy, and what to do: the one screen of ``sartor status``."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from sartor import journal, release
from sartor.errors import StorageError
from sartor.monitor import watch
from sartor.release import CHAMPION, Served
from sartor.serve import presence

RECENT_S = 3600.0
MOST_ROWS = 20_000
"""Answers of a name that are looked at."""
FEW_ANSWERS = 20
ABSTAIN_SHARE = 0.3
"""Of recent answers; more is worth a look."""

Level: TypeAlias = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know."""

    name: str
    """Of the model; "" where it is about the store or the server."""
    level: Level
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Recent:
    """Answers of one name and alias in the last hour."""

    answers: int = 0
    abstained: int = 0
    large: int = 0
    """Given by the large model."""
    confidence: float | None = None
    """Mean; None where none is known."""
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that is served, and everything that is found."""

    server: presence.Server | None
    served: tuple[Served, ...]
    recent: tuple[Recent, ...]
    """Of each served alias, in the same order."""
    errors: int
    """That the server met in the last hour."""
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Return whether nothing is found that is an error."""
        return all(finding.level != "error" for finding in self.findings)


def stand(home: Path, *, now: float | None = None) -> Standing:
    """Return how a store and its server stand.

    Raises:
        StorageError: when the store or the journal cannot be read.
    """
    since = (time.time() if now is None else now) - RECENT_S
    reader = journal.Reader(home / journal.FILE)
    server, served = presence.look(home), tuple(release.served(home))
    recent = tuple(_recent(reader, one, since) for one in served)
    errors = sum(1 for _ in reader.events(kind="error", since=since))
    findings = [*_of_server(server, served, errors)]
    for one, lately in zip(served, recent, strict=True):
        findings += [*_of_alias(one, lately), *_of_monitor(home, one)]
    return Standing(server, served, recent, errors, tuple(findings))


def _recent(reader: journal.Reader, one: Served, since: float) -> Recent:
    rows = list(reader.answers(name=one.name, alias=one.alias, since=since, last=MOST_ROWS))
    if not rows:
        return Recent()
    known = [row.confidence for row in rows if row.confidence is not None]
    p50, p95 = np.percentile([row.latency_ms for row in rows], [50, 95]).tolist()
    return Recent(
        answers=len(rows),
        abstained=sum(row.abstain for row in rows),
        large=sum(row.source == "large" for row in rows),
        confidence=float(np.mean(known)) if known else None,
        latency_p50_ms=p50,
        latency_p95_ms=p95,
    )


def _of_server(server: presence.Server | None, served: tuple[Served, ...], errors: int) -> Iterator[Finding]:
    if not served:
        yield Finding("", "info", "Nothing is served: no alias points at a model.", "sartor generate, or promote ID")
    elif server is None:
        yield Finding("", "info", "No server runs on this store.", "sartor serve")
    if errors:
        yield Finding("", "warning", f"{errors:,} requests failed in the last hour.", "read the server's log")


def _of_alias(one: Served, recent: Recent) -> Iterator[Finding]:
    where = f"{one.name}@{one.alias}"
    if one.damage:
        advice = f"sartor rollback {one.name}" if one.previous else "generate it again, or promote another version"
        yield Finding(one.name, "error", f"{where} cannot be read: {one.damage}", advice)
    if one.gate == "force":
        yield Finding(
            one.name, "warning", f"{where} was forced: {' '.join(one.reasons)}", f"sartor rollback {one.name}"
        )
    if one.gate == "ungated":
        advice = f"sartor regress add {one.name} --data FILE"
        yield Finding(one.name, "info", f"{where} is ungated: nothing was compared when it was promoted.", advice)
    if one.gate == "rollback" and one.alias == CHAMPION:
        advice = f"generate a better version, and promote it: v{one.version} answers"
        yield Finding(one.name, "warning", f"{where} was rolled back: {' '.join(one.reasons)}", advice)
    if one.canary is not None:
        text = (
            f"{where} shares {100 * one.canary.share:g}% of its requests with {one.canary.id} since {one.canary.since}."
        )
        yield Finding(one.name, "info", text, f"sartor promote {one.canary.id}, or sartor rollback {one.name}")
    if recent.answers >= FEW_ANSWERS and recent.abstained > ABSTAIN_SHARE * recent.answers:
        share = 100 * recent.abstained / recent.answers
        text = f"{where} abstained in {share:.0f}% of {recent.answers:,} answers of the last hour."
        yield Finding(one.name, "warning", text, "look at what is asked; add such rows, and generate it anew")


def _of_monitor(home: Path, one: Served) -> Iterator[Finding]:
    """Yield what the monitor found when it looked last."""
    if one.alias != CHAMPION or one.damage:
        return
    where = f"{one.name}@{one.alias}"
    try:
        health = watch.health(one.name, home)
    except StorageError as error:
        yield Finding(one.name, "warning", str(error))
        return
    for line in health.lines:
        if line.level != "ok":
            level: Level = "warning" if line.level == "alert" else "info"
            yield Finding(one.name, level, f"{where}, {line.title}: {line.level}.", line.advice)
