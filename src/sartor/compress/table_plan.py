"""A generated model of a table as one value, from which every format for other programs is written.

What a row goes through: its cells become numbers and codes of levels (:class:`Field` says how); these become D coded
columns, standardised and cut; a net of columns, rectified units and products of steps makes scores of them; and these
become probabilities, or a value with its interval. Every number of that path stands in :attr:`Plan.arrays`, under the
names below; a writer knows no more.

What cannot matter is left out: units and products that add nothing or never fire, columns that none of them reads,
and cells that no coded column needs. Products that hold together are one.

Names of arrays (all C-contiguous; float64, float32 or int32):

number_slot (V)             which of the M numbers each standardised number is; the first B are bent
number_middle (V)           stands for a missing one
number_mean, _spread (V)    coded = clip((number - mean) / spread)
bend_knots (B, Q)           a bent number with k knots at or below it is slope * (number - start) + base first
bend_start, _slope, _base (B, Q + 1)
gap_slot (U)                which of the M numbers each gap tells of
gap_values (U, 2)           what is coded when the number is there, and when it is missing
level_count, _width (G)     levels of each category, and the coded columns that they make
level_table                 for each category (count + 1, width), one after another; the last row is of no known level
columns_out (D, C), bias (C)
units_weight (D, H), units_bias (H), units_out (H, C)
products_K_column (P, K)    for K = 1, 2, 3 steps: coded column, or D + coded column for its negative …
products_K_above (P, K)     … that must be above this; the product is 1 where all its steps hold
products_K_out (P, C)
warmth (2), logit_bias (C)  classes: softmax(plain * s + sharp * log(max(s, 0) + least) + logit_bias)
target (2), range (2), half (1)   values: clip(middle + spread * s), and how far the interval reaches to each side

The coded columns stand in this order: numbers, gaps, then each category's. Coded columns, thresholds and level_table
are float32, since a step may stand at the very value of a row's: they must be told apart as Sartor does. So numbers are
to be standardised in float64 and rounded to float32 then.

Dimension key:   M: numbers   G: categories   V, B, U: numbers coded, bent, gaps told   Q: knots   D: coded columns
                 H: units   P: products   K: steps   C: outputs
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sartor.data import cells, columns, dates
from sartor.data.numerals import HUGE
from sartor.data.table import listed
from sartor.errors import BundleError, TaskError
from sartor.nn.table_coder import Cells, Coder, Source
from sartor.nn.table_generator import LEAST_SCORE
from sartor.nn.table_net import LARGEST, STEPS
from sartor.nn.table_target import coder_of, net_of
from sartor.types import Column, Requirement, Weights

Kind: TypeAlias = Literal["number", "boolean", "date", "category"]
_Arrays: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Field:
    """A column of the table that answers depend on."""

    name: str
    kind: Kind
    at: int
    """Which of the M numbers is its first, or which of the G codes it is."""
    parts: tuple[str, ...] = ()
    """Of a date: :data:`sartor.data.dates.PARTS`, each a number."""
    levels: tuple[str, ...] = ()
    """Of a category, in the order of their codes; every other code is below 0."""
    truths: Mapping[str, float] | None = None
    """Of booleans: what each spelling in lower case says."""
    comma: bool = False
    """Whether the decimal mark of a number's cells is a comma."""

    @property
    def numbers(self) -> tuple[str, ...]:
        """Return a name for each of its numbers."""
        if self.kind == "date":
            return tuple(f"{self.name}: {part}" for part in self.parts)
        return () if self.kind == "category" else (self.name,)


@dataclass(frozen=True, slots=True)
class Plan:
    """See the module."""

    name: str
    target: str
    labels: tuple[str, ...]
    """Empty where a value is foretold."""
    fields: tuple[Field, ...]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def numbers(self) -> tuple[str, ...]:
        """Return the names of the M numbers, in order."""
        return tuple(name for field in self.fields for name in field.numbers)

    @property
    def categories(self) -> tuple[Field, ...]:
        """Return the fields of the G codes, in order."""
        return tuple(field for field in self.fields if field.kind == "category")

    def tables(self) -> list[NDArray[np.float32]]:
        """Return the (levels + 1, width) table of each category."""
        found: list[NDArray[np.float32]] = []
        at = 0
        for count, width in zip(self.arrays["level_count"], self.arrays["level_width"], strict=True):
            size = int((count + 1) * width)
            found.append(self.arrays["level_table"][at : at + size].reshape(-1, width))
            at += size
        return found

    def about(self) -> dict[str, Any]:
        """Return all that is no array, as JSON has it."""
        return {
            "name": self.name,
            "target": self.target,
            "labels": list(self.labels),
            "fields": [_told(field) for field in self.fields],
            "missing": list(cells.MISSING),
            "unknown": list(cells.UNKNOWN),
            "huge": HUGE,
            "largest": LARGEST,
            "least": LEAST_SCORE,
        }


def _told(field: Field) -> dict[str, Any]:
    told: dict[str, Any] = {"name": field.name, "kind": field.kind, "at": field.at}
    match field.kind:
        case "number":
            told["comma"] = field.comma
        case "boolean":
            told["truths"] = dict(field.truths or {})
        case "date":
            told["parts"] = len(field.parts)
        case "category":
            told["levels"] = list(field.levels)
    return told


def plan(requirement: Requirement, weights: Weights) -> Plan:
    """Return the plan of a model of the families ``tabular-classification`` or ``tabular-regression``.

    Raises:
        TaskError: when it answers every row alike, or reads free texts.
        BundleError: when its numbers are broken.
    """
    if "constant" in weights:
        raise _same(requirement)
    texts = [column.name for column in requirement.columns if column.kind == "text"]
    if texts:
        raise TaskError(
            f"{requirement.name!r} reads free texts ({listed(texts)}) by a language model, which no other program has. "
            "Make a model without these columns to export it."
        )
    coder, tensors = coder_of(weights), net_of(weights).tensors
    sources, seen = coder.sources(), _Seen.of(coder)
    net = _net({name: tensor.numpy() for name, tensor in tensors.items()}, *seen.reach(sources))
    used = _read_by(net)
    if not used:
        raise _same(requirement)
    bent = coder.tensors["numbers.bent"].numpy()

    def place(at: int) -> tuple[int, int, int]:
        kind, slot = sources[at]
        straight = kind != "number" or not bent[slot]
        return ("number", "gap", "category", "text").index(kind), int(straight and kind == "number"), slot

    used.sort(key=lambda at: (*place(at), at))
    fields, numbers, codes = _fields(requirement.columns, {sources[at] for at in used})
    arrays = {
        **_numbers(coder, [at for at in used if sources[at][0] == "number"], numbers),
        **_gaps(seen, coder, [at for at in used if sources[at][0] == "gap"], numbers),
        **_levels(seen, coder, [at for at in used if sources[at][0] == "category"], codes),
        **_narrowed(net, used, len(sources)),
        **_answer({name: tensor.numpy() for name, tensor in weights.items()}),
    }
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    for name, array in kept.items():
        if not np.isfinite(array).all():
            raise BundleError(
                f"{name!r} of this model is not finite, so that its answers are noise. Generate it again."
            )
    labels = tuple(label.name for label in requirement.labels)
    return Plan(requirement.name, requirement.target, labels, fields, kept)


def needless(requirement: Requirement, made: Plan) -> tuple[str, ...]:
    """Return what to say of columns that Sartor asks for and a plan does not; nothing where there are none."""
    asked = {field.name for field in made.fields}
    rest = [column.name for column in requirement.columns if column.kind != "ignored" and column.name not in asked]
    if not rest:
        return ()
    return (f"Left out, since answers do not depend on {'it' if len(rest) == 1 else 'them'}: {listed(rest)}.",)


def _same(requirement: Requirement) -> TaskError:
    return TaskError(
        f"{requirement.name!r} answers every row alike, since its columns told nothing: there is nothing to export. "
        "`sartor predict` shows its answer."
    )


# --- cells -> coded columns --------------------------------------------------------------------------------


def _fields(
    all_columns: Sequence[Column], read: set[tuple[str, int]]
) -> tuple[tuple[Field, ...], dict[int, int], dict[int, int]]:
    """Return the fields that are read, and the new place of each of the coder's numbers and codes."""
    fields: list[Field] = []
    numbers: dict[int, int] = {}
    codes: dict[int, int] = {}
    at_number = at_code = 0
    for column in all_columns:
        if column.kind in ("ignored", "text"):
            continue
        if column.kind == "category":
            if ("category", at_code) in read:
                fields.append(Field(column.name, "category", len(codes), levels=column.levels))
                codes[at_code] = len(codes)
            at_code += 1
            continue
        parts = dates.PARTS[: 4 + dates.has_hours(column.formats)] if column.kind == "date" else ()
        slots = range(at_number, at_number + max(len(parts), 1))
        at_number = slots.stop
        if any((kind, slot) in read for kind in ("number", "gap") for slot in slots):
            truths = columns.truths(column) if column.kind == "boolean" else None
            comma = column.kind == "number" and column.decimal == ","
            fields.append(Field(column.name, column.kind, len(numbers), parts, truths=truths, comma=comma))
            numbers.update({slot: len(numbers) + place for place, slot in enumerate(slots)})
    return tuple(fields), numbers, codes


def _numbers(coder: Coder, places: Sequence[int], slots: Mapping[int, int]) -> _Arrays:
    t = {name: tensor.numpy() for name, tensor in coder.tensors.items()}
    sources = coder.sources()
    theirs = [sources[at][1] for at in places]
    bent = [slot for slot in theirs if t["numbers.bent"][slot]]
    knots_BQ, values_BQ = t["numbers.knots"][bent], t["numbers.values"][bent]
    rise_BQ, run_BQ = np.diff(values_BQ, axis=1), np.diff(knots_BQ, axis=1)
    flat_B1 = np.zeros((len(bent), 1))
    # as np.interp has it: no number falls between two knots that are one
    slope_BQ = np.divide(rise_BQ, run_BQ, out=np.zeros_like(rise_BQ), where=run_BQ > 0)
    return {
        "number_slot": np.array([slots[slot] for slot in theirs], dtype=np.int32),
        "number_middle": t["numbers.middle"][theirs],
        "number_mean": t["mean"][list(places)],
        "number_spread": t["spread"][list(places)],
        "bend_knots": knots_BQ,
        "bend_start": np.hstack([knots_BQ[:, :1], knots_BQ]),
        "bend_slope": np.hstack([flat_B1, slope_BQ, flat_B1]),
        "bend_base": np.hstack([values_BQ[:, :1], values_BQ]),
    }


def _gaps(seen: "_Seen", coder: Coder, places: Sequence[int], slots: Mapping[int, int]) -> _Arrays:
    sources = coder.sources()
    return {
        "gap_slot": np.array([slots[sources[at][1]] for at in places], dtype=np.int32),
        "gap_values": seen.coded_RD[[0, -1]][:, list(places)].T,
    }


def _levels(seen: "_Seen", coder: Coder, places: Sequence[int], codes: Mapping[int, int]) -> _Arrays:
    sources = coder.sources()
    tables = [seen.levels(slot)[:, [at for at in places if sources[at][1] == slot]] for slot in codes]
    return {
        "level_count": np.array([len(table) - 1 for table in tables], dtype=np.int32),
        "level_width": np.array([table.shape[1] for table in tables], dtype=np.int32),
        "level_table": np.concatenate([np.zeros(0, dtype=np.float32), *(table.ravel() for table in tables)]),
    }


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the coder itself makes of every level of every category, and of what is missing."""

    coded_RD: NDArray[np.float32]
    """Row r is of the level r of all categories that have it, every number there; in the last row all is missing."""
    levels_G: NDArray[np.int64]

    @classmethod
    def of(cls, coder: Coder) -> "_Seen":
        levels_G = coder.tensors["categories.levels"].numpy()
        rows = int(levels_G.max(initial=1)) + 1
        level_R1 = np.arange(rows)[:, None]
        numbers_RM = np.zeros((rows, len(coder.tensors["numbers.middle"])))
        numbers_RM[-1] = np.nan
        return cls(coder.code(Cells(numbers_RM, np.where(level_R1 < levels_G, level_R1, -1))), levels_G)

    def levels(self, slot: int) -> NDArray[np.float32]:
        """Return (L + 1, D) of the levels of a category, and of none."""
        return self.coded_RD[[*range(self.levels_G[slot]), -1]]

    def reach(
        self, sources: Sequence[Source]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], dict[int, NDArray[np.float32]]]:
        """Return the least and the largest value of each coded column, and all its values where they are few."""
        least_D = np.full(len(sources), -LARGEST, dtype=np.float32)
        largest_D = -least_D
        few: dict[int, NDArray[np.float32]] = {}
        for at, (kind, _) in enumerate(sources):
            if kind != "number":
                few[at] = np.unique(self.coded_RD[:, at])  # rows beyond a category's levels are of none
                least_D[at], largest_D[at] = few[at][0], few[at][-1]
        return least_D, largest_D, few


# --- the net -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Products:
    """Products of K steps; a column of D or more is the negative of one."""

    column_PK: NDArray[np.int32]
    above_PK: NDArray[np.float32]
    out_PC: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Net:
    columns_DC: NDArray[np.float32]
    bias_C: NDArray[np.float64]
    weight_DH: NDArray[np.float32]
    unit_bias_H: NDArray[np.float32]
    units_HC: NDArray[np.float32]
    products: tuple[_Products, ...]
    """Of 1, 2, 3 steps."""


def _net(
    t: Mapping[str, NDArray[Any]],
    least_D: NDArray[np.float32],
    largest_D: NDArray[np.float32],
    few: Mapping[int, NDArray[np.float32]],
) -> _Net:
    weight_DH = t["units.weight"]
    highest_H = t["units.bias"] + np.maximum(weight_DH * least_D[:, None], weight_DH * largest_D[:, None]).sum(axis=0)
    alive_H = (highest_H > 0) & t["units.out"].any(axis=1)
    always_C, products = _products(t, _Steps(least_D, largest_D, few))
    return _Net(
        t["columns.out"],
        t["bias"].astype(np.float64) + always_C,
        weight_DH[:, alive_H],
        t["units.bias"][alive_H],
        t["units.out"][alive_H],
        products,
    )


@dataclass(frozen=True, slots=True)
class _Steps:
    """What can come of steps, by the values that coded columns can have."""

    least_D: NDArray[np.float32]
    largest_D: NDArray[np.float32]
    few: Mapping[int, NDArray[np.float32]]

    def settled(self, column: int, sign: float, threshold: np.float32) -> tuple[int, np.float32] | bool:
        """Return the step as a column (or D + column for its negative) and what it must be above; or its one answer."""
        least, largest = self.least_D[column], self.largest_D[column]
        values = self.few.get(column)
        if sign < 0:
            least, largest, threshold = -largest, -least, -threshold
            values = None if values is None else -values[::-1]
        if threshold >= largest:
            return False
        if threshold < least:
            return True
        if values is not None:  # half way between two of them, so that no rounding matters
            above = int(np.searchsorted(values, threshold, side="right"))
            threshold = values[above - 1] + (values[above] - values[above - 1]) / np.float32(2)
            threshold = values[above - 1] if threshold >= values[above] else threshold
        return (column if sign > 0 else len(self.least_D) + column), np.float32(threshold)

    def product(self, every: Iterable[tuple[int, float, np.float32]]) -> tuple[tuple[int, np.float32], ...] | None:
        """Return the steps that a product needs, in order; None where they never hold together."""
        needed: dict[int, np.float32] = {}
        for column, sign, threshold in every:
            step = self.settled(column, sign, threshold)
            if step is False:
                return None
            if step is not True:
                needed[step[0]] = max(step[1], needed.get(step[0], np.float32(-np.inf)))
        width = len(self.least_D)
        if any(above >= -needed[at + width] for at, above in needed.items() if at + width in needed):
            return None
        return tuple(sorted(needed.items()))


def _products(t: Mapping[str, NDArray[Any]], steps: _Steps) -> tuple[NDArray[np.float64], tuple[_Products, ...]]:
    """Return what products that always hold add, and those of 1, 2, 3 steps that are left, same ones summed."""
    outputs = t["products.out"].shape[1]
    summed: dict[tuple[tuple[int, np.float32], ...], NDArray[np.float64]] = {}
    named = (t["products.columns"].tolist(), t["products.signs"].tolist(), t["products.thresholds"])
    for columns_K, signs_K, thresholds_K, out_C in zip(*named, t["products.out"], strict=True):
        product = steps.product(zip(columns_K, signs_K, thresholds_K, strict=True))
        if product is not None and out_C.any():
            summed[product] = summed.get(product, np.zeros(outputs)) + out_C
    always_C = summed.pop((), np.zeros(outputs))
    return always_C, tuple(_of_order(order, summed, outputs) for order in range(1, STEPS + 1))


def _of_order(
    order: int, summed: Mapping[tuple[tuple[int, np.float32], ...], NDArray[np.float64]], outputs: int
) -> _Products:
    mine = [(product, out_C) for product, out_C in sorted(summed.items()) if len(product) == order]
    return _Products(
        np.array([[at for at, _ in product] for product, _ in mine], dtype=np.int32).reshape(-1, order),
        np.array([[above for _, above in product] for product, _ in mine], dtype=np.float32).reshape(-1, order),
        np.array([out_C for _, out_C in mine], dtype=np.float32).reshape(-1, outputs),
    )


def _read_by(net: _Net) -> list[int]:
    """Return the coded columns that add anything."""
    width = len(net.columns_DC)
    read = [np.flatnonzero(net.columns_DC.any(axis=1)), np.flatnonzero(net.weight_DH.any(axis=1))]
    read += [group.column_PK.ravel() % max(width, 1) for group in net.products]
    return np.unique(np.concatenate(read)).tolist()


def _narrowed(net: _Net, used: Sequence[int], width: int) -> _Arrays:
    """Return the net's arrays on the coded columns that are used, in their order."""
    place_D = np.zeros(2 * width, dtype=np.int32)
    for new, old in enumerate(used):
        place_D[[old, width + old]] = new, len(used) + new
    arrays: _Arrays = {
        "columns_out": net.columns_DC[list(used)],
        "bias": net.bias_C,
        "units_weight": net.weight_DH[list(used)],
        "units_bias": net.unit_bias_H,
        "units_out": net.units_HC,
    }
    for order, group in enumerate(net.products, start=1):
        arrays[f"products_{order}_column"] = place_D[group.column_PK]
        arrays[f"products_{order}_above"] = group.above_PK
        arrays[f"products_{order}_out"] = group.out_PC
    return arrays


def _answer(weights: Mapping[str, NDArray[Any]]) -> _Arrays:
    if "calibration.warmth" in weights:
        return {"warmth": weights["calibration.warmth"], "logit_bias": weights["calibration.bias"]}
    return {
        "target": np.array([weights["target.middle"], weights["target.spread"]], dtype=np.float64),
        "range": weights["target.range"],
        "half": np.array([weights["interval"]], dtype=np.float64),
    }
