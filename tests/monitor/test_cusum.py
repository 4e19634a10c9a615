"""Cumulative sums: false alarms as far apart as was asked for, and a rise found."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sartor.monitor import cusum
from sartor.monitor.cusum import Cusum


def alarms(watched: Cusum, hits) -> int:
    """Return how often the sum reaches its limit, begun anew after each time."""
    count, sum_ = 0, 0.0
    for hit in hits.tolist():
        sum_ = watched.step(sum_, hit)
        if sum_ >= watched.limit:
            count, sum_ = count + 1, 0.0
    return count


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.4, 0.9])
def test_false_alarms_are_as_far_apart_as_was_asked_for(share):
    rng = np.random.default_rng(3)
    requests, apart = 100_000, 2_000
    found = alarms(cusum.of_share(share, apart=apart), rng.random(requests) < share)
    assert found <= scipy.stats.poisson.ppf(1 - 1e-4, requests / apart)


def test_a_share_that_doubles_is_found_soon():
    rng = np.random.default_rng(4)
    watched = cusum.of_reference(50, 500, apart=100_000)
    sums = watched.run(0.0, rng.random(2000) < 0.3)
    assert 0 < next(at for at, sum_ in enumerate(sums) if sum_ >= watched.limit) < 400


@pytest.mark.parametrize(
    ("rise", "share", "requests"), [(2.0, 0.3, 1760), (1.5, 0.3, 410), (2.0, 0.5, 57), (1.5, 0.5, 85)]
)
def test_how_soon_a_rise_is_found_is_what_the_docstring_says(rise, share, requests):
    watched = cusum.of_share(0.2, apart=110_000, rise=rise)
    gain = share * np.log(watched.risen / 0.2) + (1 - share) * np.log((1 - watched.risen) / 0.8)
    assert watched.limit / gain == pytest.approx(requests, rel=0.02)


def test_the_sum_falls_again_and_stays_within_its_limits():
    watched = cusum.of_share(0.1, apart=1000)
    risen = watched.run(0.0, [True] * 100)
    assert max(risen) == risen[-1] == watched.limit
    fallen = watched.run(risen[-1], [False] * 500)
    assert fallen[-1] == 0.0


@given(st.integers(0, 300), st.integers(1, 300))
def test_the_usual_share_is_told_on_the_safe_side(hits, more):
    rows = hits + more
    limit = cusum.upper_limit(hits, rows)
    assert hits / rows < limit <= 1.0
    assert scipy.stats.binom.cdf(hits, rows, limit) == pytest.approx(0.025, rel=1e-6)
    watched = cusum.of_reference(hits, rows, apart=1e4)
    assert 0 < watched.usual < watched.risen < 1


def test_a_share_of_one_can_be_watched():
    assert cusum.upper_limit(5, 5) == 1.0
    assert cusum.of_reference(5, 5, apart=1e4).risen < 1
