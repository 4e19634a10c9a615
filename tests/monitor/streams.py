"""Synthetic requests."""

from dataclasses import replace

import numpy as np

from sartor.monitor.seen import Stretch

LABELS = np.array(["billing", "bug", "other"])


def stretch(rows, rng, *, first=0.5, confidence=(8, 2), shift=0.0, length=4.0, abstain=0.05, latency=1.0, cells=None):
    """Return requests; what is not named is as usual."""
    none = np.zeros(rows, dtype=bool)
    return Stretch(
        label=rng.choice(LABELS, rows, p=[first, *[(1 - first) / 2] * 2]),
        confidence=rng.beta(*confidence, rows),
        value=np.full(rows, np.nan),
        abstain=rng.random(rows) < abstain,
        escalated=rng.random(rows) < 0.1,
        error=none,
        listed=~none,
        latency_ms=latency * rng.gamma(4, 5, rows),
        length=np.round(rng.lognormal(length, 0.5, rows)),
        projection=rng.standard_normal((rows, 8)) + shift,
        cells=cells or {},
    )


def with_cells(rows, rng, *, level=0.5, price=100.0, gaps=0.0):
    """Return rows of a table with a category and a number."""
    prices = np.array([None if rng.random() < gaps else float(price * rng.gamma(5)) for _ in range(rows)], dtype=object)
    colours = np.where(rng.random(rows) < level, "red", "blue").astype(object)
    return replace(stretch(rows, rng), cells={"price": prices, "colour": colours})
