"""Counters for Prometheus."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sartor.serve.service import Service

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_KNOWN = re.compile(r"/(predict|feedback|healthz|readyz|metrics|openapi\.json|v1/[a-z/]{1,40}|control/[a-z]{1,20})")


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self, service: Service) -> None:
        """Count what ``service`` does from now on."""
        self._registry = CollectorRegistry()
        kept: dict[str, Any] = {"registry": self._registry}
        self._requests = Counter("sartor_requests", "Requests.", ("path", "status"), **kept)
        self._seconds = Histogram(
            "sartor_request_seconds", "Seconds of a request.", ("path",), buckets=_SECONDS, **kept
        )
        which = ("model", "alias", "version", "source")
        self._answers = Counter("sartor_answers", "Answers that were told.", which, **kept)
        self._latency = Histogram(
            "sartor_answer_seconds",
            "Seconds of an answer, the journal not counted.",
            ("model",),
            buckets=_SECONDS,
            **kept,
        )
        self._events = Counter("sartor_events", "What happened to the server.", ("kind",), **kept)
        self._registry.register(_State(service))
        service.watch(self.seen)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request; of a path that may hold an id, only what stands before it."""
        known = path if _KNOWN.fullmatch(path) else "/answers" if path.startswith("/answers/") else "other"
        known = "/v1/models" if known.startswith("/v1/models") else known
        self._requests.labels(known, str(status)).inc()
        self._seconds.labels(known).observe(seconds)

    def seen(self, kind: str, body: Mapping[str, Any]) -> None:
        """Count an answer or an event."""
        if kind == "answer":
            row = body["row"]
            self._answers.labels(row.name, row.alias, str(row.version), row.source).inc()
            self._latency.labels(row.name).observe(row.latency_ms / 1000)
        else:
            self._events.labels(body["kind"]).inc()

    def text(self) -> tuple[bytes, str]:
        """Return all counters as text, and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _State(Collector):
    """What stands in the server at this moment."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield gauges."""
        service, engine = self._service, self._service.engine
        journal = service.journal
        for name, text, value in (
            ("sartor_ready", "Whether requests may come.", float(service.ready)),
            ("sartor_waiting_rows", "Rows that wait for an answer.", engine.waiting),
            ("sartor_resident_models", "Models in memory.", len(engine.resident)),
            ("sartor_resident_bytes", "Bytes of weights and bases in memory.", engine.size),
            ("sartor_journal_waiting_rows", "Rows that wait for the disk.", journal.waiting if journal else 0),
            ("sartor_broken_aliases", "Aliases whose model cannot be read.", len(service.follower.routes.broken)),
        ):
            yield GaugeMetricFamily(name, text, value=value)
