"""What the ledger's rows add up to."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sartor.llm.ledger import Row


@dataclass(slots=True)
class Sum:
    """Calls of one kind, added up."""

    calls: int = 0
    """Rows that something was sent for, or was to be."""
    answered: int = 0
    failed: int = 0
    """Without an answer: the endpoint's fault, or cut off."""
    refused: int = 0
    """By the policy; nothing was sent."""
    bytes_out: int = 0
    """Content that left this process."""
    bytes_in: int = 0
    tokens_out: int = 0
    tokens_in: int = 0
    cost: float = 0.0
    redactions: Counter[str] = field(default_factory=Counter[str])
    outcomes: Counter[str] = field(default_factory=Counter[str])

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "calls": self.calls,
            "answered": self.answered,
            "failed": self.failed,
            "refused": self.refused,
            "bytes_out": self.bytes_out,
            "bytes_in": self.bytes_in,
            "tokens_out": self.tokens_out,
            "tokens_in": self.tokens_in,
            "cost": round(self.cost, 6),
            "redactions": dict(sorted(self.redactions.items())),
            "outcomes": dict(sorted(self.outcomes.items())),
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """All calls, and those of each destination and purpose."""

    total: Sum
    parts: Mapping[tuple[str, str], Sum]


def summarise(rows: Iterable[Row]) -> Summary:
    """Add up rows in the order in which they were written."""
    total, parts = Sum(), dict[tuple[str, str], Sum]()
    open_calls: dict[int, tuple[Sum, Mapping[str, Any]]] = {}
    for row in rows:
        body = row.body
        match body.get("kind"):
            case "refused":
                part = parts.setdefault((body["destination"], body["purpose"]), Sum())
                for one in (total, part):
                    one.refused += 1
                    one.outcomes[body["outcome"]] += 1
            case "sent":
                part = parts.setdefault((body["destination"], body["purpose"]), Sum())
                open_calls[row.seq] = part, body
                for one in (total, part):
                    one.calls += 1
                    one.bytes_out += body["bytes_out"] if body["egress"] else 0
                    one.redactions.update(body["redactions"])
                    one.cost += row.cost
            case "outcome" if body["of"] in open_calls:
                part, sent = open_calls.pop(body["of"])
                for one in (total, part):
                    _close(one, body, sent, row.cost)
    for part, sent in open_calls.values():  # cut off: what was sent is all that is known
        for one in (total, part):
            one.failed += 1
            one.outcomes["cut-off"] += 1
            one.tokens_out += sent["tokens_out"]
    return Summary(total, parts)


def _close(one: Sum, body: Mapping[str, Any], sent: Mapping[str, Any], cost: float) -> None:
    one.answered += body["outcome"] == "answered"
    one.failed += body["outcome"] != "answered"
    one.outcomes[body["outcome"]] += 1
    one.bytes_in += body.get("bytes_in", 0)
    one.tokens_out += body.get("tokens_out", sent["tokens_out"])
    one.tokens_in += body.get("tokens_in", 0)
    one.cost += cost
