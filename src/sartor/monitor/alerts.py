"""Levels of alert with hysteresis: what was told is not taken back by the next request.

    ok --(warn)--> warn --(alert)--> alert --(calm for a while)--> ok

The evidence is a p-value, or a sum that stands in for one. Between ``warn`` and ``calm`` nothing changes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["ok", "warn", "alert"]
LEVELS: tuple[Level, ...] = ("ok", "warn", "alert")
CALM_P = 0.05
"""From here on a window is as usual."""
CALM_FOR = 3
"""Windows in a row that must be as usual; neighbours share half their requests."""


@dataclass(frozen=True, slots=True)
class Track:
    """What was told of one test so far."""

    level: Level = "ok"
    calm: int = 0
    """Windows in a row that were as usual."""


def after_window(track: Track, p: float, *, warn: float, alert: float) -> Track:
    """Return the track after one more window of requests.

    Args:
        track: so far.
        p: of the window.
        warn: threshold of a warning.
        alert: threshold of an alert, not above ``warn``.
    """
    if p <= alert:
        return Track("alert")
    if p <= warn and track.level == "ok":
        return Track("warn")
    calm = track.calm + 1 if p > CALM_P else 0
    return Track("ok") if calm >= CALM_FOR else Track(track.level, calm)


def after_sum(track: Track, sum_: float, *, warn: float, alert: float) -> Track:
    """Return the track after one more request, told by a cumulative sum: it is as usual again at zero.

    Args:
        track: so far.
        sum_: after the request.
        warn: limit of a warning.
        alert: limit of an alert, not below ``warn``.
    """
    if sum_ >= alert:
        return Track("alert")
    if sum_ >= warn and track.level == "ok":
        return Track("warn")
    return Track("ok") if sum_ <= 0 else track


def worst(levels: Iterable[Level]) -> Level:
    """Return the most alarming of levels; ``ok`` where there is none."""
    return LEVELS[max(map(LEVELS.index, levels), default=0)]
