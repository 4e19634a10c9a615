"""Nothing reaches a large model but through here: policy check -> redaction -> ledger row -> call -> outcome row.

A call whose row cannot be written is not made. A call that was cut off has a row without an outcome, and counts as
sent. What is no egress (a script, a model in this process) has its rows too, and needs no policy.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sartor.errors import EgressRefused, LargeModelError, StorageError
from sartor.llm import privacy, tokens
from sartor.llm.interface import Backend, Cleared, Purpose, Reply, Request
from sartor.llm.ledger import DAY_S, Ledger, Spent
from sartor.llm.policy import Policy, Price

_FREE = Price(0.0, 0.0)
_BILLED = ("timeout", "malformed")
"""Failures after which the vendor may ask for money all the same."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text as the policy lets it go."""

    text: str
    masked: privacy.Masked
    counts: Mapping[str, int]
    """Kind -> places that were masked."""


def redact(text: str, policy: Policy, others: Sequence[privacy.Recogniser] = ()) -> Redacted:
    """Return ``text`` as it may leave under ``policy``.

    Raises:
        EgressRefused: when it holds a kind of personal data that blocks.
    """
    spans = privacy.find(text, unrecognised=policy.unrecognised != "allow", others=others)
    blocked = sorted({span.kind for span in spans if policy.action(span.kind) == "block"})
    if blocked:
        raise EgressRefused(
            f"Nothing was sent: the text holds personal data that the policy blocks ({', '.join(blocked)}). "
            "personal_data in the policy can mask them instead.",
            "personal-data",
        )
    masked = privacy.mask(text, [span for span in spans if policy.action(span.kind) == "mask"])
    return Redacted(masked.text, masked, masked.counts)


class Audited:
    """A backend behind the audit. Safe for many threads."""

    def __init__(
        self,
        backend: Backend,
        policy: Policy,
        ledger: Ledger,
        *,
        recognisers: Sequence[privacy.Recogniser] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._policy = policy
        self._ledger = ledger
        self._recognisers = tuple(recognisers)
        self._monotonic = monotonic
        self._recent: deque[tuple[float, float]] = deque()
        """When and what this process spent, by a clock that nobody can set."""
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        """Return the name of the model that is asked for."""
        return self._backend.model

    @property
    def destination(self) -> str:
        """Return where texts go."""
        return self._backend.destination

    @property
    def egress(self) -> bool:
        """Return whether texts leave this process."""
        return self._backend.egress

    @property
    def policy(self) -> Policy:
        """Return what may leave."""
        return self._policy

    def permit(self, purpose: Purpose) -> None:
        """Do nothing if texts may be sent for this purpose at all; a refusal has its row.

        Raises:
            EgressRefused: when the policy does not allow it.
        """
        if not self.egress:
            return
        try:
            self._policy.check(self.destination, purpose, self.model)
        except EgressRefused as refusal:
            self._ledger.append({**self._head(purpose), "kind": "refused", "outcome": refusal.outcome})
            raise

    def ask(self, request: Request) -> Reply:
        """Return the answer to one request; what was masked in the text is put back in the answer.

        Raises:
            EgressRefused: when the policy does not let it go; nothing was sent.
            LargeModelError: when there is no answer.
            StorageError: when the ledger takes no row; nothing was sent.
        """
        head = self._head(request.purpose)
        try:
            cleared, redacted, reserved = self._cleared(request, head)
        except EgressRefused as refusal:
            self._ledger.append({**head, "kind": "refused", "outcome": refusal.outcome})
            raise
        started = self._monotonic()
        try:
            reply = self._backend.send(cleared)
        except LargeModelError as error:
            error.bytes_out = cleared.request.wire_bytes if self.egress else 0
            self._close(cleared.row, {"outcome": error.outcome}, reserved, reserved if error.outcome in _BILLED else 0)
            raise
        except BaseException:
            self._close(cleared.row, {"outcome": "interrupted"}, reserved, reserved)
            raise
        return self._accounted(cleared, redacted, reply, reserved, self._monotonic() - started)

    def close(self) -> None:
        """End connections and close the ledger."""
        self._backend.close()
        self._ledger.close()

    def _head(self, purpose: Purpose) -> dict[str, Any]:
        return {
            "purpose": purpose,
            "destination": self.destination,
            "model": self.model,
            "egress": self.egress,
        }

    def _cleared(self, request: Request, head: Mapping[str, Any]) -> tuple[Cleared, Redacted, float]:
        """Check, redact, reserve and write the row."""
        if self.egress:
            self._policy.check(self.destination, request.purpose, self.model)
            redacted = redact(request.text, self._policy, self._recognisers)
        else:
            redacted = Redacted(request.text, privacy.Masked(request.text, {}, {}), {})
        clean = replace(request, text=redacted.text)
        price = self._policy.price(self.model) or _FREE
        most = price.of(tokens.at_most(clean.wire_bytes), clean.max_tokens) if self.egress else 0.0
        body = {
            **head,
            "kind": "sent",
            "bytes_out": clean.wire_bytes,
            "tokens_out": tokens.estimate(clean.system + clean.wire_text),
            "redactions": dict(redacted.counts),
            "text_sha256": self._ledger.digest(clean.wire_text),
        }
        with self._lock:
            row = self._ledger.append(
                body, cost=most, durable=self.egress, check=lambda spent: self._within(spent, most)
            )
            self._recent.append((self._monotonic(), most))
        return Cleared(clean, row.seq), redacted, most

    def _within(self, spent: Spent, most: float) -> None:
        """Refuse a call that could exceed the day's budget, by the ledger's clock or by this process's own."""
        limit = self._policy.max_cost_per_day
        if limit is None or not self.egress:
            return
        now = self._monotonic()
        while self._recent and self._recent[0][0] <= now - DAY_S:
            self._recent.popleft()
        before = max(spent.cost, sum(cost for _, cost in self._recent))
        if before + most > limit:
            raise EgressRefused(
                f"Nothing was sent: the last 24 hours cost {before:.4g}, this call may cost {most:.4g}, and the policy "
                f"allows {limit:g} a day.",
                "budget",
            )

    def _accounted(self, cleared: Cleared, redacted: Redacted, reply: Reply, reserved: float, seconds: float) -> Reply:
        request = cleared.request
        price = self._policy.price(self.model) or _FREE
        bytes_in = len(reply.text.encode(errors="surrogatepass"))
        cost = price.of(reply.tokens_out, reply.tokens_in) if self.egress else 0.0
        body = {
            "outcome": "answered",
            "answered_by": reply.model,
            "bytes_in": bytes_in,
            "tokens_out": reply.tokens_out,
            "tokens_in": reply.tokens_in,
            "counted": reply.counted,
            "latency_s": round(seconds, 4),
        }
        self._close(cleared.row, body, reserved, cost)
        if self._policy.retain:
            with contextlib.suppress(StorageError):  # an answer is not lost because it could not be learned from
                self._ledger.retain(cleared.row, request.text, reply.text)
        return replace(
            reply,
            text=redacted.masked.unmask(reply.text),
            bytes_out=request.wire_bytes if self.egress else 0,
            bytes_in=bytes_in,
            cost=cost,
            redactions=redacted.counts,
        )

    def _close(self, row: int, body: Mapping[str, Any], reserved: float, cost: float) -> None:
        """Write the outcome; where the disk is full by now, the row of the call stands alone and says enough."""
        with self._lock:
            self._recent.append((self._monotonic(), cost - reserved))
        with contextlib.suppress(StorageError):
            self._ledger.append(
                {**body, "kind": "outcome", "of": row, "cost": cost}, cost=cost - reserved, durable=False
            )
