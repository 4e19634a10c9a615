"""Numbers as people write them in cells: units, currencies, thousands, decimal commas, full width, parentheses.

Shape suffixes: ``N`` rows, ``K`` keys (distinct spellings).
"""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sartor.data.cells import Spelled, among, extract, joined, lower, matches, pc, to_numpy
from sartor.data.text import squeeze

HUGE = 1e300
"""What is at least as large is no measurement and is taken as missing."""
ENOUGH = 0.95
"""A column is of a kind when at least this share of its cells can be read so."""

_PLAIN = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?$"
_INFINITE = tuple(sign + name for sign in ("", "+", "-") for name in ("inf", "infinity", "∞"))
_MINUS = r"^([$¥€£₩₹] ?)?[−‐–—▲△] ?"
_CURRENCY = re.compile(r"[$¥€£₩₹฿₽₺₫₱]|US\$|Rs\.?|USD|EUR|GBP|JPY|CNY|KRW|INR|CHF|CAD|AUD|SEK|NOK|DKK|PLN|BRL")
_UNIT = re.compile(r"(?:[^\W\d_]|[%‰°$¥€£₩₹])(?:[^\W\d_]|[%‰°·/^ ]){0,16}[23]?(?:/[^\W\d_]{1,6}[23]?)?\.?")
_WRITTEN = (
    r"^(?P<sign>[+-]?) ?(?P<before>Rs\.|[^0-9+.,()-]{0,4}) ?(?P<inner>[+-]?)"
    r"(?P<digits>[.,]?[0-9](?:[0-9.,'’ ]*[0-9])?[.,]?)(?P<power>[eE][+-]?[0-9]{1,4})?"
    r" ?(?P<times>百万|[千万億兆])?(?P<after>[^0-9 .,+-].*)?$"
)
"""What stands before and behind is checked once for each spelling of it: classes of letters make RE2 slow to begin."""
_TIMES = {"": 1.0, "千": 1e3, "万": 1e4, "百万": 1e6, "億": 1e8, "兆": 1e12}
_GROUPS = {
    ".": r"^(?:[1-9][0-9]{0,2}(?:,[0-9]{2,3})*,[0-9]{3}|[1-9][0-9]{0,2}(?:[ '’][0-9]{3})+|[0-9]*)(?:\.[0-9]*)?$",
    ",": r"^(?:[1-9][0-9]{0,2}(?:\.[0-9]{3})+|[1-9][0-9]{0,2}(?:[ '’][0-9]{3})+|[0-9]*)(?:,[0-9]*)?$",
}
"""How digits are grouped, by the decimal mark."""
_PLAIN_COMMA = r"^[+-]?(?:[1-9][0-9]{0,2}(?:\.[0-9]{3})+|[0-9]+)(?:[eE][+-]?[0-9]{1,4})?$"
"""Which plain numbers are numbers too where the decimal mark is a comma."""
_SAME_UNIT = {"円": "¥", "jpy": "¥", "yen": "¥", "usd": "$", "us$": "$", "eur": "€", "gbp": "£"}


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the keys of a column are as numbers."""

    values_K: NDArray[np.float64]
    """NaN where a key is none, or says that it is missing."""
    read_K: NDArray[np.bool_]
    """Which keys were understood, those too that say ``inf``."""
    huge_K: NDArray[np.bool_]
    """Which are infinite or beyond 1e300: understood, but missing."""
    any_unit_K: NDArray[np.bool_]
    """Which would be understood if every unit would do."""
    unit: str = ""
    decimal: str = "."
    units: tuple[str, ...] = ()
    """All units that were found, the most frequent first."""


def read(spelled: Spelled, *, unit: str | None = None, decimal: str | None = None, least: int = 1) -> Numbers:
    """Read keys as numbers, with this unit and decimal mark, or with those that most rows have.

    A cell with another unit is not read; one without a unit is. A unit that fewer than ``least`` rows have is none.
    """
    keys, counts_K = spelled.keys, spelled.counts_K
    values_K = np.full(len(keys), np.nan)
    infinite_K = among(lower(keys), _INFINITE)
    plain_K = matches(keys, _PLAIN)
    rest_K = np.flatnonzero(~plain_K & ~infinite_K)
    cells = _parts(keys.take(pa.array(rest_K)))
    rest_K, digits = rest_K[cells.found], cells.digits
    fits = {mark: matches(digits, pattern) for mark, pattern in _GROUPS.items()}
    if decimal is None:
        decimal = _decimal(keys, counts_K, plain_K, fits, counts_K[rest_K])
    if decimal == ",":
        # "1.5" in a column of decimal commas is no number, "1.500" is 1500
        at = np.flatnonzero(plain_K)
        kept, values_K[at] = _comma(keys.take(pa.array(at)))
        plain_K[at[~kept]] = False
    else:
        values_K[plain_K] = _floats(keys.filter(pa.array(plain_K)))
    units = _ordered(cells.units, counts_K[rest_K][fits[decimal]], fits[decimal], least)
    chosen = unit if unit is not None else (units[0] if units else "")
    fitting = {name for name in set(cells.units) if name == "" or unit_key(name) == unit_key(chosen)}
    same = np.array([name in fitting for name in cells.units], dtype=bool)
    good = fits[decimal] & same
    values_K[rest_K[good]] = _grouped(digits, decimal, cells)[good]
    read_K = plain_K | infinite_K
    read_K[rest_K[good]] = True
    huge_K = infinite_K | (np.abs(values_K) >= HUGE)
    values_K[huge_K] = np.nan
    any_unit_K = read_K.copy()
    any_unit_K[rest_K[fits[decimal]]] = True
    return Numbers(values_K, read_K, huge_K, any_unit_K, chosen, decimal, units)


def unit_key(unit: str) -> str:
    """Return what units are compared by: case, width and spaces do not matter, ``円`` is ``¥``."""
    key = squeeze(unit).rstrip(".")
    return _SAME_UNIT.get(key, key)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of the keys that may be numbers."""

    found: NDArray[np.bool_]
    digits: pa.Array
    power: pa.Array
    sign: NDArray[np.float64]
    units: list[str]


def _parts(keys: pa.Array) -> _Parts:
    keys = pc.replace_substring_regex(keys, _MINUS, r"-\1")
    keys = pc.replace_substring_regex(keys, r"^\(([^()+-]*)\)( ?[^()0-9]*)$", r"-\1\2")
    found, parts = extract(keys, _WRITTEN)
    # a sign may stand before the currency or behind it, but not on both sides
    found &= ~(to_numpy(pc.not_equal(parts["sign"], "")) & to_numpy(pc.not_equal(parts["inner"], "")))
    before = _checked(parts["before"].to_pylist(), _CURRENCY)
    after = _checked(parts["after"].to_pylist(), _UNIT)
    found &= np.array([a is not None and b is not None for a, b in zip(after, before, strict=True)], dtype=bool)
    units = [a or b or "" for a, b, good in zip(after, before, found, strict=True) if good]
    parts = {name: part.filter(pa.array(found)) for name, part in parts.items()}
    negative = to_numpy(pc.or_(pc.equal(parts["sign"], "-"), pc.equal(parts["inner"], "-")))
    times = np.array([_TIMES[name] for name in parts["times"].to_pylist()], dtype=np.float64)
    return _Parts(found, parts["digits"], parts["power"], np.where(negative, -times, times), units)


def _checked(texts: list[str], pattern: re.Pattern[str]) -> list[str | None]:
    """Return units without what is around them, None for what is none."""
    known: dict[str, str | None] = {"": ""}
    for text in texts:
        if text not in known:
            known[text] = text.strip(" .") if len(text) <= 24 and pattern.fullmatch(text.strip()) else None
    return [known[text] for text in texts]


def _decimal(
    keys: pa.Array,
    counts_K: NDArray[np.int64],
    plain_K: NDArray[np.bool_],
    fits: dict[str, NDArray[np.bool_]],
    counts: NDArray[np.int64],
) -> str:
    """Return the decimal mark that more rows speak for; a point where none speaks."""
    comma = int(counts[fits[","] & ~fits["."]].sum())
    if not comma:
        return "."
    point = int(counts[fits["."] & ~fits[","]].sum())
    point += int(counts_K[plain_K & ~matches(keys, _PLAIN_COMMA)].sum())
    return "," if comma > point else "."


def _comma(keys: pa.Array) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Read plain numbers where the decimal mark is a comma: points can only part thousands."""
    kept = matches(keys, _PLAIN_COMMA)
    bare = pc.replace_substring(keys, ".", "")
    return kept, np.where(kept, _floats(pc.if_else(pa.array(kept), bare, "nan")), np.nan)


def _floats(keys: pa.Array) -> NDArray[np.float64]:
    return to_numpy(keys).astype(object).astype(np.float64)


def _grouped(digits: pa.Array, decimal: str, cells: _Parts) -> NDArray[np.float64]:
    """Return the numbers, NaN where the groups do not fit the decimal mark."""
    bare = pc.replace_substring_regex(digits, r"[,'’ ]" if decimal == "." else r"[.'’ ]", "")
    bare = pc.replace_substring(bare, ",", ".") if decimal == "," else bare
    whole = joined(bare, cells.power)
    fit = pa.array(matches(whole, _PLAIN))
    return _floats(pc.if_else(fit, whole, "nan")) * cells.sign


def _ordered(units: list[str], counts: NDArray[np.int64], fit: NDArray[np.bool_], least: int) -> tuple[str, ...]:
    """Return the units of at least so many rows, most frequent first, each in its most frequent spelling."""
    spellings: Counter[str] = Counter()
    for name, count in zip((unit for unit, good in zip(units, fit, strict=True) if good), counts, strict=True):
        if name:
            spellings[name] += int(count)
    totals: Counter[str] = Counter()
    shown: dict[str, str] = {}
    for name, count in sorted(spellings.items(), key=lambda item: (-item[1], item[0])):
        totals[unit_key(name)] += count
        shown.setdefault(unit_key(name), name)
    ranked = sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    return tuple(shown[key] for key, count in ranked if count >= least)
