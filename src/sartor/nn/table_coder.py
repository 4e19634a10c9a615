"""Cells of a user's table to the numbers that a net reads; learned from labelled rows, kept as tensors.

Numbers: gaps are filled with the median and told by a column of their own; heavy tails (kurtosis above 10) are bent to
a normal by 33 quantiles. Categories: one column a level up to 12; of more levels how
frequent the level is, and what the target usually is there, told by rows of other folds. Free texts: where their
embeddings lie along the 16 directions in which those of the rows differ most. Then every column is standardised
and cut at four deviations. What cannot vary is left out, and beyond 400 columns those that tell least by themselves.

No row is kept: medians, quantiles between 1% and 99%, and means over the rows of a level.

Dimension key:   N: rows   M: columns of numbers   G: columns of categories   T: columns of text   C: outputs
                 D: columns coded   Q: quantiles   E: width of an embedding   P: directions of embeddings
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor

from sartor.nn import column_stats
from sartor.nn.table_net import LARGEST

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Source: TypeAlias = tuple[Literal["number", "gap", "category", "text"], int]
"""What a coded column tells of, and of which column of numbers, of codes or of texts."""

ONE_HOT = 12
"""Levels up to which each has a column of its own."""
EFFECT_FOLDS = 5
"""Were each row's own target alone left out of its level's mean, what is left would give it away (LOG.md)."""
MOST_COLUMNS = 400
MOST_EFFECTS = 5
"""Outputs whose usual value is told of each level of a category that has many."""
_HEAVY = 10.0
_QUANTILES = np.linspace(0.01, 0.99, 33)
_PRIOR_ROWS = 5.0
"""Rows' worth of the overall mean that a level begins with."""
TEXT_DIRECTIONS = 16
"""Numbers that are told of a free text."""
_ROWS_A_DIRECTION = 8
_PRINCIPAL_ROWS = 5000
_SCREENED_ROWS = 2000
_NO_SPREAD = 1e-9
"""Of a mean: what may be rounding."""
_LEAST, _MOST = 1e-100, 1e120
"""Smaller spreads are none; larger numbers are cut, so that their squares can be summed."""


@dataclass(frozen=True, slots=True)
class Cells:
    """N rows as numbers and level codes."""

    numbers_NM: Floats
    """NaN where missing."""
    codes_NG: Ints
    """Index of the level; below 0 where it is missing or unknown."""
    texts_NTE: NDArray[np.float32] | None = None
    """Embeddings of columns of free text, zero where there is none; None where there are no such columns."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.numbers_NM)

    def take(self, rows: Ints) -> "Cells":
        """Return these rows, in this order."""
        return Cells(
            self.numbers_NM[rows], self.codes_NG[rows], None if self.texts_NTE is None else self.texts_NTE[rows]
        )

    def order(self, targets_N: NDArray[np.generic]) -> Ints:
        """Return the rows in an order that does not depend on the one they came in."""
        texts_TN = [] if self.texts_NTE is None else self.texts_NTE[:, :, 0].T
        columns = [targets_N, *texts_TN, *self.codes_NG.T, *np.nan_to_num(self.numbers_NM, nan=np.inf).T]
        return np.lexsort(columns)


@dataclass(frozen=True, slots=True)
class Coder:
    """What was learned of the columns, by name of tensor."""

    tensors: Mapping[str, Tensor]

    def code(self, cells: Cells) -> NDArray[np.float32]:
        """Return (N, D) of rows that were not learned from."""
        return self._standardised(self._raw(cells, None))

    def origin(self, numbers: Sequence[int], categories: Sequence[int], texts: Sequence[int] = ()) -> Ints:
        """Return (D,) which column of the table each coded column came from.

        Args:
            numbers: (M,) the table's column of each column of numbers; a date's parts have the same.
            categories: (G,) that of each column of categories.
            texts: (T,) that of each column of free text.
        """
        places = {"number": numbers, "gap": numbers, "category": categories, "text": texts}
        return np.array([places[kind][at] for kind, at in self.sources()], dtype=np.int64)

    def sources(self) -> list[Source]:
        """Return what each of the D coded columns tells of."""
        levels_G, outputs = self._array("categories.levels").tolist(), len(self._array("effects.prior"))
        every = list[Source]()
        for at, gap in enumerate(self._array("numbers.gaps").tolist()):
            every.append(("number", at))
            every.extend(_same(("gap", at), gap))
        for at, (many, gap) in enumerate(zip(levels_G, self._array("categories.gaps").tolist(), strict=True)):
            effects = outputs + 1 if many > ONE_HOT else 0
            every.extend(_same(("category", at), one_hots(many) + gap + effects))
        if "texts.principal" in self.tensors:
            columns, _, directions = self.tensors["texts.principal"].shape
            for at in range(columns):
                every.extend(_same(("text", at), directions))
        return [every[place] for place in self._array("kept").tolist()]

    def _standardised(self, raw_ND: Floats) -> NDArray[np.float32]:
        kept = self._array("kept")
        coded_ND = (raw_ND[:, kept] - self._array("mean")) / self._array("spread")
        return np.clip(coded_ND, -LARGEST, LARGEST).astype(np.float32)

    def _raw(self, cells: Cells, targets_NC: Floats | None) -> Floats:
        columns = [
            *self._numbers(cells.numbers_NM),
            *self._categories(cells.codes_NG, targets_NC),
            *self._texts(cells.texts_NTE),
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((len(cells), 0))

    def _numbers(self, numbers_NM: Floats) -> Iterator[Floats]:
        middle, bent, gaps = self._array("numbers.middle"), self._array("numbers.bent"), self._array("numbers.gaps")
        numbers_NM = np.clip(numbers_NM, -_MOST, _MOST)
        for at in range(numbers_NM.shape[1]):
            missing_N = np.isnan(numbers_NM[:, at])
            filled_N = np.where(missing_N, middle[at], numbers_NM[:, at])
            if bent[at]:
                filled_N = np.interp(filled_N, self._array("numbers.knots")[at], self._array("numbers.values")[at])
            yield filled_N
            if gaps[at]:
                yield missing_N.astype(np.float64)

    def _categories(self, codes_NG: Ints, targets_NC: Floats | None) -> Iterator[Floats]:
        levels, gaps = self._array("categories.levels"), self._array("categories.gaps")
        for at in range(codes_NG.shape[1]):
            codes_N = codes_NG[:, at]
            for level in range(one_hots(int(levels[at]))):
                yield (codes_N == level).astype(np.float64)
            if gaps[at]:
                yield (codes_N < 0).astype(np.float64)
            if levels[at] > ONE_HOT:
                yield from self._effects(at, codes_N, targets_NC)

    def _effects(self, at: int, codes_N: Ints, targets_NC: Floats | None) -> Iterator[Floats]:
        """Yield what the target usually is at each row's level, told by the other folds where its own is known."""
        sums_LC, counts_L = self._array(f"effects.{at}.sums"), self._array(f"effects.{at}.counts")
        prior_C = self._array("effects.prior")
        levels = len(counts_L)
        place_N = np.where((codes_N >= 0) & (codes_N < levels), codes_N, levels)
        count_N, sum_NC = np.append(counts_L, 0.0)[place_N], np.vstack([sums_LC, 0 * prior_C])[place_N]
        if targets_NC is not None:
            told_NC = targets_NC[:, : sum_NC.shape[1]]
            fold_N = np.random.default_rng(len(codes_N)).permutation(len(codes_N)) % EFFECT_FOLDS
            for fold in range(EFFECT_FOLDS):
                mine = np.flatnonzero(fold_N == fold)
                own_counts, own_sums = _level_sums(place_N[mine], told_NC[mine], levels)
                count_N[mine] -= np.append(own_counts, 0.0)[place_N[mine]]
                sum_NC[mine] -= np.vstack([own_sums, 0 * prior_C])[place_N[mine]]
        usual_NC = (sum_NC + _PRIOR_ROWS * prior_C) / (count_N + _PRIOR_ROWS)[:, None]
        yield from usual_NC.T
        yield np.log1p(count_N)

    def _texts(self, texts_NTE: NDArray[np.float32] | None) -> Iterator[Floats]:
        if texts_NTE is not None:
            along_NTP = np.einsum(
                "nte,tep->ntp", texts_NTE - self._array("texts.middle"), self._array("texts.principal")
            )
            yield from along_NTP.reshape(len(texts_NTE), -1).T.astype(np.float64)

    def _array(self, name: str) -> NDArray[Any]:
        return self.tensors[name].numpy()


def _same(source: Source, times: int) -> list[Source]:
    return [source] * times


def one_hots(levels: int) -> int:
    """Return how many levels of a category have a column of their own."""
    return levels if levels <= ONE_HOT else 0


def learn(cells: Cells, levels: Sequence[int], targets_NC: Floats) -> tuple[Coder, NDArray[np.float32]]:
    """Return the coder of labelled rows, and these rows coded (N, D).

    Args:
        cells: of the rows.
        levels: how many levels each category has.
        targets_NC: one-hot classes, or standardised values (C = 1).
    """
    effects_NC = _told(targets_NC)
    tensors = {
        **_number_tensors(cells.numbers_NM),
        **_category_tensors(cells.codes_NG, levels, effects_NC),
        **_text_tensors(cells.texts_NTE),
    }
    raw_ND = Coder(tensors)._raw(cells, effects_NC)
    mean_D, spread_D = raw_ND.mean(axis=0), raw_ND.std(axis=0)
    kept = np.flatnonzero(spread_D > np.maximum(_NO_SPREAD * np.abs(mean_D), _LEAST))
    shaped = Coder({**tensors, **_shape(kept, mean_D, spread_D)})
    coded_ND = shaped._standardised(raw_ND)
    if len(kept) > MOST_COLUMNS:
        strongest = _strongest(coded_ND, targets_NC)
        shaped = Coder({**tensors, **_shape(kept[strongest], mean_D, spread_D)})
        coded_ND = coded_ND[:, strongest]
    return shaped, coded_ND


def by_column(origin_D: Ints, told_D: NDArray[np.floating[Any]], columns: int) -> Floats:
    """Return (columns,) the share of each column of a table in what is told of coded ones; all sum to one, or are 0.

    Args:
        origin_D: as :meth:`Coder.origin` gives it.
        told_D: what is told of each coded column, not negative.
        columns: of the table.
    """
    found = np.bincount(origin_D, weights=told_D, minlength=columns).astype(np.float64)
    return found / max(found.sum(), 1e-12)


def _shape(kept: Ints, mean_D: Floats, spread_D: Floats) -> dict[str, Tensor]:
    return {
        "kept": torch.from_numpy(kept.astype(np.int64)),
        "mean": torch.from_numpy(mean_D[kept]),
        "spread": torch.from_numpy(spread_D[kept]),
    }


def _told(targets_NC: Floats) -> Floats:
    """Return the outputs whose usual value is told of a level: of two classes one, of many the most frequent."""
    if targets_NC.shape[1] == 2:
        return targets_NC[:, 1:]
    return targets_NC[:, :MOST_EFFECTS]


def _number_tensors(numbers_NM: Floats) -> dict[str, Tensor]:
    numbers_NM, width = np.clip(numbers_NM, -_MOST, _MOST), numbers_NM.shape[1]
    middle, knots, values = np.zeros(width), np.zeros((width, len(_QUANTILES))), np.zeros((width, len(_QUANTILES)))
    bent, gaps = np.zeros(width, dtype=bool), np.isnan(numbers_NM).any(axis=0)
    for at in range(width):
        known = numbers_NM[~np.isnan(numbers_NM[:, at]), at]
        if not len(known):
            continue
        middle[at] = np.median(known)
        centred = known - known.mean()
        spread = centred.std()
        if spread > _LEAST and np.mean((centred / spread) ** 4) > _HEAVY and len(np.unique(known[:1000])) > 10:
            bent[at] = True
            knots[at] = np.quantile(known, _QUANTILES)
            ordered = np.sort(known)
            below = (np.searchsorted(ordered, knots[at]) + np.searchsorted(ordered, knots[at], side="right")) / 2
            values[at] = scipy.special.ndtri(np.clip(below / len(known), 0.005, 0.995))
    found = {"middle": middle, "knots": knots, "values": values, "bent": bent, "gaps": gaps}
    return {f"numbers.{name}": torch.from_numpy(array) for name, array in found.items()}


def _category_tensors(codes_NG: Ints, levels: Sequence[int], effects_NC: Floats) -> dict[str, Tensor]:
    tensors = {
        "categories.levels": torch.tensor(list(levels), dtype=torch.int64),
        "categories.gaps": torch.from_numpy((codes_NG < 0).any(axis=0)),
        "effects.prior": torch.from_numpy(effects_NC.mean(axis=0)),
    }
    for at, many in enumerate(levels):
        if many > ONE_HOT:
            counts_L, sums_LC = _level_sums(np.where(codes_NG[:, at] < 0, many, codes_NG[:, at]), effects_NC, many)
            tensors[f"effects.{at}.sums"] = torch.from_numpy(sums_LC)
            tensors[f"effects.{at}.counts"] = torch.from_numpy(counts_L)
    return tensors


def _level_sums(place_N: Ints, targets_NC: Floats, levels: int) -> tuple[Floats, Floats]:
    """Return (L,) rows and (L, C) sums of targets of each level; what lies beyond the levels is not counted."""
    counts = np.bincount(place_N, minlength=levels + 1)[:levels].astype(np.float64)
    sums = np.zeros((levels + 1, targets_NC.shape[1]))
    np.add.at(sums, place_N, targets_NC)
    return counts, sums[:levels]


def _text_tensors(texts_NTE: NDArray[np.float32] | None) -> dict[str, Tensor]:
    """Return the mean embedding and the directions in which embeddings differ most, eight rows for each at least."""
    if texts_NTE is None:
        return {}
    middle_TE = texts_NTE.mean(axis=0)
    directions = max(1, min(TEXT_DIRECTIONS, len(texts_NTE) // _ROWS_A_DIRECTION))
    centred_TNE = np.moveaxis(texts_NTE[:_PRINCIPAL_ROWS] - middle_TE, 1, 0).astype(np.float64)
    _, principal_TEE = np.linalg.eigh(np.swapaxes(centred_TNE, 1, 2) @ centred_TNE)
    principal_TEP = principal_TEE[:, :, ::-1][:, :, :directions]
    return {
        "texts.middle": torch.from_numpy(middle_TE),
        "texts.principal": torch.from_numpy(principal_TEP.astype(np.float32)),
    }


def _strongest(coded_ND: NDArray[np.float32], targets_NC: Floats) -> Ints:
    """Return the columns that tell most by themselves, in order."""
    rows = slice(None, None, max(1, len(coded_ND) // _SCREENED_ROWS))
    targets_1NC = torch.from_numpy(targets_NC[rows])[None].float()
    told_D = [
        column_stats.correlations(torch.from_numpy(coded_ND[rows, at : at + MOST_COLUMNS])[None], targets_1NC)[0].amax(
            -1
        )
        for at in range(0, coded_ND.shape[1], MOST_COLUMNS)
    ]
    return np.sort(torch.cat(told_D).topk(MOST_COLUMNS).indices.numpy())
