"""Cells of a table's column -> their distinct spellings, and which of these say "missing".

All that is costly is then done once a spelling, not once a cell. Shape suffixes: ``N`` rows, ``K`` keys (distinct
spellings).
"""

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from sartor.data.text import compatible, encodable

pc: Any = pyarrow.compute
"""Arrow's functions come about when it is imported, so that no type checker knows them."""

MISSING = (
    *("", "na", "n/a", "n.a.", "null", "none", "nan", "nat", "<na>", "missing", "-", "--", "---", "?", "."),
    *("#n/a", "#value!", "#div/0!", "#name?", "#null!", "#num!", "#ref!"),
    *("–", "—", "―", "−", "ー", "不明", "なし", "無し", "欠損"),
)
"""Spellings of a missing value, in lower case and half width."""
UNKNOWN = ("unknown", "unk", "n.d.", "not available")
"""Missing where the rest are numbers or dates; a level of its own in a category."""
_NUMERIC = {"integer", "floating", "mixed-integer-float", "decimal", "boolean"}
"""Kinds of values (pandas' words) that need no reading."""


@dataclass(frozen=True, slots=True)
class Spelled:
    """A column by its distinct spellings, in half width, with single spaces and none around."""

    codes_N: NDArray[np.int64]
    """Index into the keys; -1 where there is none."""
    keys: pa.Array
    """K strings in the order of their code points, so that the order of rows tells nothing."""

    @property
    def counts_K(self) -> NDArray[np.int64]:
        """How many rows carry each key."""
        return np.bincount(self.codes_N[self.codes_N >= 0], minlength=len(self.keys))

    @property
    def missing_K(self) -> NDArray[np.bool_]:
        """Which keys say that a value is missing, whatever the column."""
        return among(lower(self.keys), MISSING)

    @property
    def unknown_K(self) -> NDArray[np.bool_]:
        """Which keys say so beside numbers or dates."""
        return among(lower(self.keys), UNKNOWN)

    def without(self, drop_K: NDArray[np.bool_]) -> "Spelled":
        """Return the column with these keys taken out."""
        if not drop_K.any():
            return self
        renamed_K = np.where(drop_K, -1, np.cumsum(~drop_K) - 1)
        return Spelled(spread(renamed_K, self.codes_N, -1), self.keys.filter(pa.array(~drop_K)))


def spread(values_K: NDArray[Any], codes_N: NDArray[np.int64], missing: Any) -> NDArray[Any]:
    """Return for each row the value of its key, ``missing`` where it has none."""
    return np.append(values_K, np.asarray([missing], dtype=values_K.dtype))[codes_N]


def among(keys: pa.Array, known: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which of the keys are among the known ones."""
    return to_numpy(pc.is_in(keys, value_set=strings(known)))


def lower(keys: pa.Array) -> pa.Array:
    """Return the keys in lower case."""
    return pc.utf8_lower(keys)


def matches(keys: pa.Array, pattern: str) -> NDArray[np.bool_]:
    """Return which keys the pattern (RE2) is found in."""
    return to_numpy(pc.match_substring_regex(keys, pattern))


def extract(keys: pa.Array, pattern: str) -> tuple[NDArray[np.bool_], dict[str, pa.Array]]:
    """Return which keys fit the pattern (RE2), and its named groups: "" where a group or the whole does not fit."""
    found = pc.extract_regex(keys, pattern)
    groups = {field.name: pc.fill_null(pc.struct_field(found, field.name), "") for field in found.type}
    return to_numpy(pc.is_valid(found)), groups


def strings(values: Any) -> pa.Array:
    """Return strings (and None) as an Arrow array that may hold more than 2 GB."""
    return pa.array(values, type=pa.large_string(), from_pandas=True)


def joined(first: pa.Array, second: pa.Array) -> pa.Array:
    """Return each string of the first with that of the second behind it."""
    return pc.binary_join_element_wise(first, second, pa.scalar("", pa.large_string()))


def to_numpy(array: pa.Array) -> NDArray[Any]:
    """Return an Arrow array as a numpy array of its own."""
    return array.to_numpy(zero_copy_only=False)


# --- values -> strings or numbers ------------------------------------------------------------------------------


def typed(values_N: NDArray[Any]) -> tuple[NDArray[np.float64], bool] | None:
    """Return values that are numbers or booleans already as numbers, and whether they are booleans; else None."""
    kind = pd.api.types.infer_dtype(values_N, skipna=True)
    if kind not in _NUMERIC:
        return None
    numbers_N = np.full(len(values_N), np.nan)
    try:
        present_N = ~pd.isna(values_N)
        numbers_N[present_N] = values_N[present_N].astype(np.float64)
    except (OverflowError, InvalidOperation):  # an integer beyond floats; a signalling NaN of decimal's
        return None
    return numbers_N, kind == "boolean"


def spell(values_N: NDArray[Any]) -> Spelled:
    """Return a column of any values by its distinct spellings."""
    raw = pc.dictionary_encode(_encodable(written(values_N)))
    codes_N = to_numpy(pc.fill_null(raw.indices, -1)).astype(np.int64)
    keys, renamed = _tidy(raw.dictionary)
    return Spelled(spread(renamed, codes_N, -1), keys)


def _tidy(raw: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
    """Return the keys of raw strings, and which key each of them has."""
    tidy = raw
    wide_K = ~to_numpy(pc.string_is_ascii(tidy))
    if wide_K.any():
        narrow = [compatible(text) for text in tidy.filter(pa.array(wide_K)).to_pylist()]
        tidy = pc.replace_with_mask(tidy, pa.array(wide_K), strings(narrow))
    if matches(tidy, r"\s\s|[\t\r\n\v\f]").any():
        tidy = pc.replace_substring_regex(tidy, r"[\s\v]+", " ")
    encoded = pc.dictionary_encode(pc.utf8_trim_whitespace(tidy))
    order = to_numpy(pc.array_sort_indices(encoded.dictionary)).astype(np.int64)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return encoded.dictionary.take(pa.array(order)), rank[to_numpy(encoded.indices).astype(np.int64)]


def _encodable(texts: Any) -> pa.Array:
    try:
        return strings(texts)
    except (UnicodeEncodeError, pa.ArrowTypeError):  # half of a surrogate pair; a NaN of another kind than Python's
        spellings = (_written(text) for text in texts)
        return strings([None if text is None else encodable(text) for text in spellings])


def written(values_N: NDArray[Any]) -> Any:
    """Return values as strings, what is missing as None or NaN."""
    if pd.api.types.infer_dtype(values_N, skipna=True) == "string":
        return values_N
    return [_written(value) for value in values_N]


def _written(value: Any) -> str | None:
    match value:
        case str():
            return value
        case None:
            return None
        case bool() | np.bool_():
            return "true" if bool(value) else "false"
        case float() | np.floating():
            return _written_float(float(value))
        case _ if value is pd.NA or value is pd.NaT or (isinstance(value, Decimal) and value.is_nan()):
            return None
        case datetime() | date():
            return value.isoformat()
        case timedelta():
            return f"{value.total_seconds()!r} s"
        case bytes():
            return value.decode("utf-8", "replace")
        case int():
            return _written_integer(value)
        case _:
            return str(value)


def _written_float(value: float) -> str | None:
    if math.isnan(value):
        return None
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _written_integer(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python writes
        return "inf" if value > 0 else "-inf"
