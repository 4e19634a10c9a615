"""How well scores tell bad inputs from good ones, and how sure we are of that.

Inputs come in units: a good input with all that was planted on it is one, for they resemble each other; a real bad
input is one of its own. Intervals and tests are over units.

Dimension key:   M: good rows   B: bad rows   U: units   R: resamples
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from sartor.evaluate.quality import auroc
from sartor.families.interface import FloatArray, IntArray
from sartor.types import Metric

_Z = float(ndtri(0.975))
_RESAMPLES = 1000
_CELLS = 4_000_000
"""Numbers of a resampled table at most."""
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Ranked:
    """Which rows are good, which are bad, and which of these were made of which good ones. M and B are 1 or more."""

    good: int
    """M."""
    of_B: IntArray
    """Good row that a bad one was made of; -1: of none."""

    @property
    def units(self) -> IntArray:
        """Return (M + B) the unit of each row, good ones first."""
        own = self.good + np.arange(len(self.of_B))
        return np.concatenate([np.arange(self.good), np.where(self.of_B >= 0, self.of_B, own)])

    @property
    def bad_units(self) -> int:
        """Return how many units hold something bad."""
        return len(np.unique(self.units[self.good :]))

    def auroc(self, good_M: FloatArray, bad_B: FloatArray, *, seed: int) -> Metric:
        """Return the chance that a bad row scores higher than a good one.

        The interval is the hull of a bootstrap over units and of Newcombe's method 5 (Statistics in Medicine 25, 2006,
        pages 559-573), which has a width where all bad rows are above all good ones.
        """
        value = auroc(bad_B, good_M)
        drawn_R = _weighted(good_M, bad_B, *self._drawn(seed))
        low, high = _newcombe(value, self.good, self.bad_units)
        drawn_low, drawn_high = np.quantile(drawn_R, [0.025, 0.975])
        return Metric(value, max(0.0, min(low, float(drawn_low))), min(1.0, max(high, float(drawn_high))))

    def average_precision(self, good_M: FloatArray, bad_B: FloatArray, *, seed: int) -> Metric:
        """Return the mean, over bad rows, of the share of bad ones among all that score as high; bootstrap interval."""
        value = float(_precisions(good_M, bad_B, np.ones((1, len(good_M))), np.ones((1, len(bad_B))))[0])
        drawn = np.quantile(_precisions(good_M, bad_B, *self._drawn(seed)), [0.025, 0.975])
        return Metric(value, min(value, float(drawn[0])), max(value, float(drawn[1])))

    def difference(
        self, ours: tuple[FloatArray, FloatArray], theirs: tuple[FloatArray, FloatArray], *, seed: int
    ) -> tuple[Metric, float]:
        """Return our AUROC less theirs with its bootstrap interval over units, and the two-sided p of no difference.

        p is of the signs that each unit's influence on the difference (Hájek's projection) would have if the two ways
        were swapped at random.
        """
        drawn = self._drawn(seed)
        value = auroc(ours[1], ours[0]) - auroc(theirs[1], theirs[0])
        low, high = np.quantile(_weighted(*ours, *drawn) - _weighted(*theirs, *drawn), [0.025, 0.975])
        influence_U = self._influence(*ours) - self._influence(*theirs)
        signs_RU = np.random.default_rng([seed, 1]).choice([-1.0, 1.0], size=(_RESAMPLES, len(influence_U)))
        extreme = np.abs(signs_RU @ influence_U) >= abs(value) * (1 - 1e-12)
        p = float((1 + extreme.sum()) / (1 + _RESAMPLES))
        return Metric(value, min(value, float(low)), max(value, float(high))), p

    def _influence(self, good_M: FloatArray, bad_B: FloatArray) -> FloatArray:
        """Return (U,) what each unit adds: by its good row against all bad ones, and by its bad ones against all good.

        They sum to twice the AUROC, whose variance is nevertheless that of their sum: each is the derivative by a unit.
        """
        placed_B = _below(good_M, bad_B) / len(good_M)
        placed_M = 1 - _below(bad_B, good_M) / len(bad_B)
        added = np.concatenate([placed_M / len(good_M), placed_B / len(bad_B)])
        return np.asarray(np.bincount(self.units, weights=added), dtype=np.float64)

    def _drawn(self, seed: int) -> tuple[FloatArray, FloatArray]:
        """Return (R, M) and (R, B) how often each row is drawn: units anew within those of one kind."""
        units = self.units
        kinds = np.zeros(units.max() + 1, dtype=np.int64)
        kinds[: self.good] += 1
        kinds[units[self.good :]] += 2
        resamples = int(np.clip(_CELLS // len(units), 100, _RESAMPLES))
        random = np.random.default_rng([seed, 2])
        times_RU = np.zeros((resamples, len(kinds)))
        for kind in (1, 2, 3):
            members = np.flatnonzero(kinds == kind)
            if len(members):
                drawn = random.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)
                times_RU[:, members] = drawn
        return times_RU[:, units[: self.good]], times_RU[:, units[self.good :]]


def _below(scores: FloatArray, asked: FloatArray) -> FloatArray:
    """Return how many scores each asked one is above; equal ones count half."""
    ordered = np.sort(scores)
    return (np.searchsorted(ordered, asked, "left") + np.searchsorted(ordered, asked, "right")) / 2


def _weighted(good_M: FloatArray, bad_B: FloatArray, good_RM: FloatArray, bad_RB: FloatArray) -> FloatArray:
    """Return (R,) AUROCs of rows that count so many times; one half where a side is empty."""
    order = np.argsort(good_M, kind="stable")
    sums_RM = np.pad(np.cumsum(good_RM[:, order], axis=1), ((0, 0), (1, 0)))
    left, right = (np.searchsorted(good_M[order], bad_B, side) for side in ("left", "right"))
    won_R = ((sums_RM[:, left] + sums_RM[:, right]) / 2 * bad_RB).sum(axis=1)
    pairs_R = good_RM.sum(axis=1) * bad_RB.sum(axis=1)
    return np.where(pairs_R > 0, won_R / np.where(pairs_R > 0, pairs_R, 1), 0.5)


def _precisions(good_M: FloatArray, bad_B: FloatArray, good_RM: FloatArray, bad_RB: FloatArray) -> FloatArray:
    """Return (R,) average precisions of rows that count so many times."""
    good, bad = np.argsort(-good_M, kind="stable"), np.argsort(-bad_B, kind="stable")
    above_good = np.searchsorted(-good_M[good], -bad_B[bad], "right")
    above_bad = np.searchsorted(-bad_B[bad], -bad_B[bad], "right")
    goods_RB = np.pad(np.cumsum(good_RM[:, good], axis=1), ((0, 0), (1, 0)))[:, above_good]
    bads_RB = np.pad(np.cumsum(bad_RB[:, bad], axis=1), ((0, 0), (1, 0)))[:, above_bad]
    counted_RB = bad_RB[:, bad]
    precision_RB = bads_RB / np.maximum(bads_RB + goods_RB, 1e-12)
    return (precision_RB * counted_RB).sum(axis=1) / np.maximum(counted_RB.sum(axis=1), 1e-12)


def _newcombe(value: float, good: int, bad: int) -> tuple[float, float]:
    """Return the 95% limits: where a chance is just so far from ``value`` that its own variance allows it."""

    def error(chance: float) -> float:
        more = (good + bad) / 2 - 1
        spread = 1 + more * (1 - chance) / (2 - chance) + more * chance / (1 + chance)
        return float(np.sqrt(chance * (1 - chance) / (good * bad) * spread))

    def end(outer: float, sign: float) -> float:
        near, far = value, outer
        for _ in range(_STEPS):
            middle = (near + far) / 2
            if sign * (middle - value) < _Z * error(middle):
                near = middle
            else:
                far = middle
        return near

    return end(0.0, -1.0), end(1.0, 1.0)
