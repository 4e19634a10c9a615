"""Asks again when that may help, stops asking when it does not, and does not ask twice for the same.

Retries wait exponentially longer, each a random part of that (full jitter: Brooker, "Exponential backoff and jitter",
2015). After several failures in a row the breaker is open and calls fail at once, until after a while one is let
through to try. All clocks here are monotonic: setting the wall clock changes nothing.
"""

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from sartor.errors import LargeModelError
from sartor.llm.interface import LargeModel, Purpose, Reply, Request

RETRIED = frozenset({"unreachable", "timeout", "rate-limited", "server-error", "malformed"})
"""Outcomes after which the same request may fare better. A key that is rejected stays so."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on."""

    attempts: int = 3
    """Calls at most for one request."""
    first_wait_s: float = 0.5
    longest_wait_s: float = 20.0
    total_s: float = 60.0
    """No attempt begins after this."""
    failures: int = 5
    """In a row, after which the breaker opens."""
    cool_down_s: float = 30.0
    """How long it stays open."""
    concurrent: int = 4
    """Calls at the same time."""
    queue_s: float = 30.0
    """How long a request waits for its turn."""
    cache: int = 1024
    """Answers kept in memory; 0 keeps none. Only those of temperature 0."""


class Breaker:
    """Closed: all calls go. Open: none. Half open: one, and its outcome decides."""

    def __init__(self, failures: int, cool_down_s: float, clock: Callable[[], float]) -> None:
        self._most = failures
        self._cool_down_s = cool_down_s
        self._clock = clock
        self._failures = 0
        self._opened: float | None = None
        self._trying = False
        self._lock = threading.Lock()

    def enter(self) -> bool:
        """Return whether a call may go now."""
        with self._lock:
            if self._opened is None:
                return True
            if self._trying or self._clock() - self._opened < self._cool_down_s:
                return False
            self._trying = True
            return True

    def leave(self, *, failed: bool) -> None:
        """Note how a call ended that was let through."""
        with self._lock:
            self._trying = False
            self._failures = self._failures + 1 if failed else 0
            self._opened = self._clock() if self._failures >= self._most else None

    @property
    def open(self) -> bool:
        """Return whether calls fail at once now."""
        with self._lock:
            return self._opened is not None and self._clock() - self._opened < self._cool_down_s


class Patient:
    """A large model with retries, a breaker, a limit of calls at once, and a cache. Safe for many threads."""

    def __init__(
        self,
        inner: LargeModel,
        patience: Patience | None = None,
        *,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._inner = inner
        self._patience = patience = patience or Patience()
        self._random = random.Random(seed)
        self._clock = clock
        self._sleep = sleep
        self._turns = threading.BoundedSemaphore(patience.concurrent)
        self._cache: OrderedDict[str, Reply] = OrderedDict()
        self._lock = threading.Lock()
        self.breaker = Breaker(patience.failures, patience.cool_down_s, clock)

    @property
    def model(self) -> str:
        """Return the name of the model that is asked for."""
        return self._inner.model

    @property
    def destination(self) -> str:
        """Return where texts go."""
        return self._inner.destination

    @property
    def egress(self) -> bool:
        """Return whether texts leave this process."""
        return self._inner.egress

    def permit(self, purpose: Purpose) -> None:
        """Do nothing if texts may be sent for this purpose; see :class:`sartor.llm.interface.LargeModel`."""
        self._inner.permit(purpose)

    def ask(self, request: Request) -> Reply:
        """Return the answer to one request; see :class:`sartor.llm.interface.LargeModel`."""
        key = request.key
        with self._lock:
            known = self._cache.get(key)
            if known is not None:
                self._cache.move_to_end(key)
                return replace(known, cached=True, bytes_out=0, bytes_in=0, cost=0.0, latency_s=0.0)
        reply = self._until_answered(request)
        if request.temperature == 0 and self._patience.cache:
            with self._lock:
                self._cache[key] = reply
                while len(self._cache) > self._patience.cache:
                    self._cache.popitem(last=False)
        return reply

    def forget(self) -> None:
        """Empty the cache: the endpoint's model has changed."""
        with self._lock:
            self._cache.clear()

    def close(self) -> None:
        """End connections; see :class:`sartor.llm.interface.LargeModel`."""
        self._inner.close()

    def _until_answered(self, request: Request) -> Reply:
        started = self._clock()
        attempt = lost = 0
        while True:
            attempt += 1
            try:
                reply = self._once(request)
                return replace(reply, bytes_out=reply.bytes_out + lost)
            except LargeModelError as error:
                error.bytes_out = lost = lost + error.bytes_out
                if error.outcome not in RETRIED or attempt >= self._patience.attempts:
                    raise
                wait = self._wait(attempt, error.retry_after_s)
                if wait is None or self._clock() - started + wait > self._patience.total_s:
                    raise
                self._sleep(wait)

    def _once(self, request: Request) -> Reply:
        if not self._turns.acquire(timeout=self._patience.queue_s):
            raise LargeModelError(
                f"{self.destination} is asked by too many at once; waited {self._patience.queue_s:g} s.", "busy"
            )
        try:
            if not self.breaker.enter():
                raise LargeModelError(
                    f"{self.destination} failed several times in a row; it is not asked again for "
                    f"{self._patience.cool_down_s:g} s.",
                    "circuit-open",
                )
            failed = False
            try:
                return self._inner.ask(request)
            except LargeModelError as error:
                failed = error.outcome in RETRIED or error.outcome == "key-rejected"
                raise
            finally:
                self.breaker.leave(failed=failed)
        finally:
            self._turns.release()

    def _wait(self, attempt: int, asked_s: float | None) -> float | None:
        """Return how long to wait before the next attempt; None when the endpoint asks for too long."""
        most = min(self._patience.longest_wait_s, self._patience.first_wait_s * 2 ** (attempt - 1))
        with self._lock:
            wait = self._random.uniform(0, most)
        if asked_s is None:
            return wait
        return None if asked_s > self._patience.longest_wait_s else max(wait, asked_s)
