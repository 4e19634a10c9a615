"""How much may be escalated: a share of requests and bytes, at every moment, whatever comes in a burst.

Each request earns ``share`` of a call and its part of the bytes; each escalation spends a call and its bytes. What was
earned can be saved up to a hundred requests' worth. So among the first n requests at most ``share * n`` are escalated,
and among any n in a row at most ``share * (n + 100)``. What a call sends again after a
fault is taken afterwards, and nothing more goes until it is earned. Nothing here reads a clock.
"""

import threading
from dataclasses import dataclass

from sartor.llm.policy import Policy

_SAVED = 100
"""Requests whose earnings can be saved."""
_ROUNDING = 1e-9


@dataclass(slots=True)
class _Bucket:
    each: float
    """Earned with each request."""
    level: float = 0.0

    def earn(self) -> None:
        self.level = min(self.level + self.each, max(self.each * _SAVED, self.each, 1.0))

    def has(self, amount: float) -> bool:
        return self.level + _ROUNDING >= amount


class Budget:
    """What is left of a policy's limits on traffic. Safe for many threads."""

    def __init__(self, policy: Policy) -> None:
        self._calls = None if policy.max_share is None else _Bucket(policy.max_share)
        self._bytes = None if policy.max_bytes_per_1k is None else _Bucket(policy.max_bytes_per_1k / 1000)
        self._lock = threading.Lock()
        self.requests = 0
        self.escalated = 0

    def request(self) -> None:
        """Note that a row is to be answered, by whomever."""
        with self._lock:
            self.requests += 1
            for bucket in (self._calls, self._bytes):
                if bucket is not None:
                    bucket.earn()

    def refusal(self, size: int, *, coming: int = 0) -> str:
        """Return why a row of ``size`` bytes may not be escalated now, "" if it may; nothing is spent.

        ``coming`` requests are counted as if they were noted already.
        """
        with self._lock:
            return self._refusal(size, coming)

    def spend(self, size: int) -> str:
        """Take a call of ``size`` bytes if it may be made; return why not, "" if it may."""
        with self._lock:
            why = self._refusal(size, 0)
            if not why:
                self.escalated += 1
                if self._calls is not None:
                    self._calls.level -= 1
                if self._bytes is not None:
                    self._bytes.level -= size
            return why

    def charge(self, size: int) -> None:
        """Take bytes that left beyond what was spent, as for attempts that failed: a debt, paid before others go."""
        with self._lock:
            if self._bytes is not None:
                self._bytes.level -= size

    def _refusal(self, size: int, coming: int) -> str:
        if self._calls is not None and not self._calls.has(1 - coming * self._calls.each):
            return "the policy's share of escalated requests is used up"
        if self._bytes is not None and not self._bytes.has(size - coming * self._bytes.each):
            return "the policy's bytes for a thousand requests are used up"
        return ""
