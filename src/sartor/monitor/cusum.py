"""Did a share rise? Cumulative sums over single requests, with the false-alarm rate settled beforehand.

Each request adds the logarithm of how much likelier it is at the share that must be found than at the usual one, and
the sum never falls below zero (Page, "Continuous inspection schemes", Biometrika 41, 1954; on errors told by feedback
this is the Page-Hinkley test). At the usual share, or below, false alarms are on average at least exp(limit) requests
apart (Lorden, "Procedures for reacting to a change in distribution", 1971): so a limit is the logarithm of the requests
that shall lie between two.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.special import betaincinv

_MISSED = 0.025
"""How often the usual share is above the upper limit that stands for it."""
_RISE = 2.0
_LEAST_RISE = 0.05


@dataclass(frozen=True, slots=True)
class Cusum:
    """A share that is watched."""

    usual: float
    """What the share is at most, as the reference tells."""
    risen: float
    """The share that must be found soon; one halfway between is found late, one below that never."""
    limit: float
    """An alert where the sum reaches it."""

    def step(self, sum_: float, hit: bool) -> float:
        """Return the sum after one more request; it stays at the limit, so that it can fall again."""
        gain = math.log(self.risen / self.usual) if hit else math.log((1 - self.risen) / (1 - self.usual))
        return min(self.limit, max(0.0, sum_ + gain))

    def run(self, sum_: float, hits: Iterable[bool]) -> list[float]:
        """Return the sum after each request."""
        found: list[float] = []
        for hit in hits:
            sum_ = self.step(sum_, hit)
            found.append(sum_)
        return found


def of_reference(hits: int, rows: int, *, apart: float) -> Cusum:
    """Return what watches a share that ``hits`` of ``rows`` requests of the reference had.

    Args:
        hits: of the reference.
        rows: of the reference, more than 0.
        apart: requests that shall lie between two false alarms, on average, at least.
    """
    return of_share(upper_limit(hits, rows), apart=apart)


def of_share(usual: float, *, apart: float, rise: float = _RISE) -> Cusum:
    """Return what watches a share that is usually at most ``usual``.

    Args:
        usual: what it is at most.
        apart: see :func:`of_reference`.
        rise: how many times as large a share must be found soon; a smaller one finds small rises sooner, large ones
            later. With a share of .2 and 110,000 requests apart, .3 is found after 1,760 at a rise of 2 and 410 at
            1.5, .5 after 57 and 85.
    """
    usual = min(max(usual, 1e-4), 0.98)
    risen = min(max(rise * usual, usual + _LEAST_RISE), (1 + usual) / 2)
    return Cusum(usual, risen, math.log(apart))


def upper_limit(hits: int, rows: int) -> float:
    """Return the one-sided upper Clopper-Pearson limit (97.5%) of ``hits / rows``.

    >>> round(upper_limit(0, 500), 4)
    0.0074
    """
    return 1.0 if hits >= rows else float(betaincinv(hits + 1, rows - hits, 1 - _MISSED))
