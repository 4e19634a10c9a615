"""Dates and times as people write them in cells, by explicit formats only: a guesser would take numbers for dates.

Offsets from UTC are left out: a time is read as the clock showed it. Shape suffixes: ``N`` rows, ``K`` keys
(distinct spellings), ``P`` parts.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sartor.data.cells import Spelled, extract, joined, matches, pc, spread, strings, to_numpy

DAY_FIRST, MONTH_FIRST = "%d/%m/%Y", "%m/%d/%Y"
"""With any of ``/ - .`` between, and with years of two digits as well."""
TIME = " %H:%M:%S"
"""Added to a format whose cells have times that differ from midnight."""
PARTS = ("days", "year sin", "year cos", "weekday", "hour")
"""Days since 2000-01-01, place in the year on a circle, Monday = 0, hours since midnight."""

_TIME = (
    r"(?:(?P<half>午前|午後)? ?(?P<H>[0-9]{1,2})(?::|時)(?P<M>[0-9]{0,2})(?:(?::|分)(?P<S>[0-9]{1,2})(?:[.,][0-9]+)?)?"
    r"[分秒]? ?(?P<pm>[AaPp]\.?[Mm]\.?)? ?(?:Z|UTC|GMT|JST|[+-][0-9]{2}:?(?:[0-9]{2})?)?)"
)
_AFTER = rf"(?:(?:T|,? ){_TIME})?$"
_D, _M, _Y = r"(?P<d>[0-9]{1,2})", r"(?P<m>[0-9]{1,2})", r"(?P<y>[0-9]{4})"
_NAME = r"(?P<b>(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6})\.?"
_PATTERNS = {
    "%Y-%m-%d": rf"^{_Y}-{_M}-{_D}{_AFTER}",
    "%Y/%m/%d": rf"^{_Y}/{_M}/{_D}{_AFTER}",
    "%Y.%m.%d": rf"^{_Y}\.{_M}\.{_D}\.?{_AFTER}",
    "%Y年%m月%d日": rf"^{_Y} ?年 ?{_M} ?月 ?{_D} ?日(?:[T ]?{_TIME})?$",
    "%EC%Ey年%m月%d日": r"^(?P<era>明治|大正|昭和|平成|令和|[MTSHRmtshr])\.? ?(?P<y>元|[0-9]{1,2}) ?[年./-] ?"
    rf"{_M} ?[月./-] ?{_D} ?日?(?:[T ]?{_TIME})?$",
    "%d %b %Y": rf"^(?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?\.?[ -]?{_NAME}[ ,-]{{0,2}}(?P<y>[0-9]{{4}}|[0-9]{{2}}){_AFTER}",
    "%b %d, %Y": rf"^{_NAME}[ -]?(?P<d>[0-9]{{1,2}})(?:st|nd|rd|th)?[ ,-]{{1,2}}{_Y}{_AFTER}",
    "%Y%m%d": r"^(?P<y>(?:18|19|20|21)[0-9]{2})(?P<m>[0-9]{2})(?P<d>[0-9]{2})" + _AFTER,
    "%Y-%m": r"^(?P<y>(?:18|19|20|21)[0-9]{2})(?:[-/]|年)(?P<m>[0-9]{1,2})月?$",
    "%m/%Y": r"^(?P<m>[0-9]{1,2})[/-](?P<y>(?:18|19|20|21)[0-9]{2})$",
    "%b %Y": rf"^{_NAME}[ ,-]{{0,2}}{_Y}$",
}
"""Formats that can be read in one way only."""
_TWO_WAYS = rf"^(?P<a>[0-9]{{1,2}})(?P<mark>[/.-])(?P<c>[0-9]{{1,2}})[/.-](?P<y>[0-9]{{4}}|[0-9]{{2}}){_AFTER}"
_MONTHS = strings(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"])
_ERAS = strings(["明治", "大正", "昭和", "平成", "令和", "M", "T", "S", "H", "R"])
_ERA_BEGINS = np.array([1868, 1912, 1926, 1989, 2019] * 2 + [0])
_WEEKDAY = (
    r"^(?i:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}[.,]{0,2} |"
    r"\((?:[月火水木金土日](?:曜日?)?|(?i:mon|tue|wed|thu|fri|sat|sun))\)"
)


@dataclass(frozen=True, slots=True)
class Dates:
    """What the keys of a column are as dates."""

    days_K: NDArray[np.float64]
    """Whole days since 2000-01-01; NaN where a key is no date."""
    hours_K: NDArray[np.float64]
    """Hours since midnight, 0 where no time stands."""
    formats: tuple[str, ...]
    """Those that were found, the most frequent first, with :data:`TIME` where times tell something."""
    ambiguous: bool = False
    """Whether day and month could be told by no cell."""

    @property
    def read_K(self) -> NDArray[np.bool_]:
        """Which keys were understood."""
        return np.isfinite(self.days_K)


def read(spelled: Spelled, *, formats: tuple[str, ...] | None = None) -> Dates:
    """Read keys as dates.

    Args:
        spelled: The column.
        formats: As learned: they say whether the day or the month comes first, and if neither, ``3/4/2021`` is not
            read. None lets the cells tell.
    """
    keys, counts_K = pc.replace_substring_regex(spelled.keys, _WEEKDAY, ""), spelled.counts_K
    keys = pc.utf8_trim_whitespace(pc.replace_substring(keys, "  ", " "))
    days_K = np.full(len(keys), np.nan)
    hours_K = np.zeros(len(keys))
    rows: dict[str, tuple[int, bool]] = {}
    left_K = np.arange(len(keys))
    ambiguous = False
    for name, pattern in (*_PATTERNS.items(), ("", _TWO_WAYS)):
        found, parts = extract(keys.take(pa.array(left_K)), pattern)
        if not found.any():
            continue
        at, parts = left_K[found], {key: part.filter(pa.array(found)) for key, part in parts.items()}
        if not name:
            name, ambiguous = _order(parts, counts_K[at], formats)
        if name:
            days_K[at], hours_K[at] = _read(name, parts)
            seen = np.isfinite(days_K[at])
            rows[name] = int(counts_K[at][seen].sum()), bool((hours_K[at][seen] != 0).any())
        left_K = left_K[~found]
    ranked = sorted((item for item in rows.items() if item[1][0]), key=lambda item: (-item[1][0], item[0]))
    return Dates(days_K, hours_K, tuple(name + TIME * timed for name, (_, timed) in ranked), ambiguous)


def may_be(spelled: Spelled) -> NDArray[np.bool_]:
    """Return which keys are short and hold digits enough for a date; cheap."""
    return to_numpy(pc.less_equal(pc.utf8_length(spelled.keys), 45)) & matches(spelled.keys, r"[0-9元].*[0-9]")


def has_hours(formats: tuple[str, ...]) -> bool:
    """Return whether times tell something in a column of these formats."""
    return any(name.endswith(TIME) for name in formats)


def parts(dates: Dates, codes_N: NDArray[np.int64], *, hours: bool) -> NDArray[np.float64]:
    """Return (N, P) numbers that say when: :data:`PARTS`, the hour only if asked for. NaN where there is no date."""
    whole_K = np.where(dates.read_K, dates.days_K, 0.0)
    day_K = np.datetime64("2000-01-01", "D") + whole_K.astype(np.int64)
    year_K = day_K.astype("datetime64[Y]")
    begins_K = year_K.astype("datetime64[D]")
    length_K = ((year_K + 1).astype("datetime64[D]") - begins_K).astype(np.float64)
    share_K = ((day_K - begins_K).astype(np.float64) + dates.hours_K / 24) / length_K
    angle_K = 2 * np.pi * share_K
    weekday_K = (whole_K + 5) % 7  # 2000-01-01 was a Saturday
    columns = [whole_K + dates.hours_K / 24, np.sin(angle_K), np.cos(angle_K), weekday_K]
    columns += [dates.hours_K] if hours else []
    found_K = dates.read_K
    return np.stack([spread(np.where(found_K, column, np.nan), codes_N, np.nan) for column in columns], axis=1)


def _order(parts: dict[str, pa.Array], counts: NDArray[np.int64], formats: tuple[str, ...] | None) -> tuple[str, bool]:
    """Return whether day or month comes first, "" where that was not learned, and whether it is a mere guess."""
    if formats is not None:
        known = [name.removesuffix(TIME) for name in formats]
        return next((name for name in known if name in (DAY_FIRST, MONTH_FIRST)), ""), False
    first, second = _integers(parts["a"]), _integers(parts["c"])
    day_first = int(counts[(first > 12) & (second <= 12)].sum())
    month_first = int(counts[(second > 12) & (first <= 12)].sum())
    if day_first != month_first:
        return (DAY_FIRST if day_first > month_first else MONTH_FIRST), False
    slashes = to_numpy(pc.equal(parts["mark"], "/"))
    # points and hyphens are written where the day comes first
    return (MONTH_FIRST if 2 * counts[slashes].sum() >= counts.sum() else DAY_FIRST), True


def _read(name: str, parts: dict[str, pa.Array]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return days since 2000-01-01 and hours since midnight; NaN days where there is no such day or time."""
    if name in (DAY_FIRST, MONTH_FIRST):
        swap = name == MONTH_FIRST
        parts = {**parts, "d": parts["c" if swap else "a"], "m": parts["a" if swap else "c"]}
    year = _years(parts)
    month = _named_months(parts["b"]) if "b" in parts else _integers(parts["m"])
    day = _integers(parts["d"]) if "d" in parts else np.ones(len(year), dtype=np.int64)
    hours, clock = _hours(parts)
    good = clock & (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    months = np.where(good, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    date = months.astype("datetime64[D]") + np.where(good, day - 1, 0)
    good &= date.astype("datetime64[M]") == months  # there is no 30th of February
    days = (date - np.datetime64("2000-01-01", "D")).astype(np.float64)
    return np.where(good, days, np.nan), np.where(good, hours, 0.0)


def _years(parts: dict[str, pa.Array]) -> NDArray[np.int64]:
    if "era" in parts:
        eras = pc.fill_null(pc.index_in(pc.utf8_upper(parts["era"]), value_set=_ERAS), -1)
        return _ERA_BEGINS[to_numpy(eras)] + _integers(pc.replace_substring(parts["y"], "元", "1")) - 1
    year = _integers(parts["y"])
    short = to_numpy(pc.equal(pc.utf8_length(parts["y"]), 2))
    return np.where(short, year + np.where(year < 69, 2000, 1900), year)  # as POSIX has it


def _hours(parts: dict[str, pa.Array]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return hours since midnight, and whether the clock shows such a time."""
    if "H" not in parts:
        return np.zeros(len(parts["y"])), np.ones(len(parts["y"]), dtype=bool)
    hour, minute, second = (_integers(parts[name]) for name in "HMS")
    marks = pc.utf8_lower(joined(parts["half"], parts["pm"]))
    after, before = (matches(marks, pattern) for pattern in ("^(?:午後|p)", "^(?:午前|a)"))
    good = (hour < 24) & (minute < 60) & (second < 60) & ~((after | before) & (hour > 12))
    hour = np.where((after | before) & (hour == 12), 0, hour) + 12 * after
    return hour + minute / 60 + second / 3600, good


def _named_months(names: pa.Array) -> NDArray[np.int64]:
    found = pc.index_in(pc.utf8_slice_codeunits(pc.utf8_lower(names), 0, 3), value_set=_MONTHS)
    return to_numpy(pc.fill_null(found, -1)).astype(np.int64) + 1


def _integers(digits: pa.Array) -> NDArray[np.int64]:
    """Return digits as integers, 0 where there are none."""
    return to_numpy(pc.cast(pc.if_else(pc.equal(digits, ""), "0", digits), pa.int64()))
