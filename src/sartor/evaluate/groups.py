"""Means over tasks of which some are made from one source."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from sartor.types import Metric

_RESAMPLES = 10_000


def group_mean(groups: Sequence[str], values: ArrayLike, *, seed: int = 0) -> Metric:
    """Return the mean of group means with a 95% interval from drawing whole groups anew.

    Tasks of one source are not independent; the groups are what is drawn (a cluster bootstrap, percentile).
    """
    values = np.asarray(values, dtype=np.float64)
    names, at = np.unique(np.asarray(groups), return_inverse=True)
    means = np.bincount(at, weights=values) / np.bincount(at)
    drawn = np.random.default_rng(seed).integers(len(names), size=(_RESAMPLES, len(names)))
    low, high = np.quantile(means[drawn].mean(axis=1), [0.025, 0.975])
    return Metric(float(means.mean()), float(low), float(high))
