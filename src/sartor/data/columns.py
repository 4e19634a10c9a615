"""A table of anything -> typed columns: which column is what, learned from rows, and applied to new ones.

Nothing here depends on the order of rows, and what is learned names no value that a single row carries. Shape
suffixes: ``N`` rows, ``K`` distinct spellings of a column.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pandas import DataFrame

from sartor.data import dates, numerals
from sartor.data.cells import Spelled, among, lower, matches, pc, spell, spread, strings, to_numpy, typed, written
from sartor.data.numerals import ENOUGH, HUGE
from sartor.data.table import Table, listed
from sartor.data.text import compatible, encodable, short, squeeze
from sartor.errors import DataError, did_you_mean
from sartor.types import Column, ColumnKind, Note, NoteLevel

_YES = ("yes", "y", "true", "t", "on", "はい", "有", "有り", "あり", "○", "◯", "〇")
_NO = ("no", "n", "false", "f", "off", "いいえ", "無", "無し", "なし", "×", "✕", "✗")
_THERE, _NOT_THERE = ("有", "有り", "あり"), ("無し", "なし")
"""Beside the first, the second say "no"; elsewhere they say that a value is missing."""
_ID_NAMES = {"id", "ids", "uid", "uuid", "guid", "rowid", "key", "pk", "passengerid", "customerid", "userid", "orderid"}
_ID_ENDS = {"no", "nr", "num", "number", "index", "code"}
_ID_JAPANESE = re.compile(r"(番号|キー|通番|連番|識別子|コード)$")
_TIME_NAMES = {"year", "years", "month", "week", "day", "days", "hour", "time", "t", "age", "date"}
_TIME_JAPANESE = re.compile(r"[年月日週齢歳]$")
_HEADER_UNIT = re.compile(r"[(\[]\s*([^()\[\]0-9]{1,16})\s*[)\]]\s*$")
_LEAK_ROWS = 30
_LEAK = 0.995
_LEAK_RANK = 0.999
_MANY = 20_000
"""Of a column with more distinct spellings a sample is looked at first."""
_SHOWN = 3
"""Cells quoted in a note."""


@dataclass(frozen=True, slots=True)
class Cells:
    """N rows, in order, as their columns were understood."""

    numbers: NDArray[np.float64]
    """(N, number of number names); NaN where missing."""
    number_names: tuple[str, ...]
    """Columns of numbers and booleans (1 is yes), and the parts of dates, as ``age``, ``opened: weekday``."""
    codes: NDArray[np.int64]
    """(N, number of category columns): index into the levels; -1 missing, -2 a level not among them."""
    code_names: tuple[str, ...]
    texts: tuple[NDArray[np.object_], ...] = ()
    """One array of N strings for each column of text, "" where missing."""
    text_names: tuple[str, ...] = ()


# --- anything -> a frame ---------------------------------------------------------------------------------------


def as_frame(table: Table | DataFrame | Mapping[str, Sequence[Any]]) -> DataFrame:
    """Return a table with columns of objects, whose names are strings and each another, in the order given.

    Raises:
        DataError: when two columns have one name, or columns differ in length.
    """
    match table:
        case Table():
            names, columns = list(table.header), np.empty((len(table.rows), len(table.header)), dtype=object)
            if columns.size:
                columns[:] = table.rows
            frame = DataFrame(columns)
        case DataFrame():
            names = [_name(label) for label in table.columns]
            frame = table.astype(object).reset_index(drop=True)
        case _:
            names = [_name(label) for label in table]
            frame = _of_mapping(table, names)
    _refuse_twice(names)
    frame.columns = pd.Index(names, dtype=object)
    return frame


def _name(label: Any) -> str:
    """Return a column's name; the levels of a pandas MultiIndex are joined."""
    return " ".join(str(part) for part in label if str(part)) if isinstance(label, tuple) else str(label)


def _of_mapping(table: Mapping[str, Sequence[Any]], names: list[str]) -> DataFrame:
    columns: list[NDArray[Any]] = []
    for name, values in zip(names, table.values(), strict=True):
        if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
            raise DataError(f"The column {name!r} is {type(values).__name__}, not a sequence. Give one value a row.")
        columns.append(_objects(values))
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        lists = [f"{short(name)!r} {len(column):,}" for name, column in zip(names, columns, strict=True)]
        raise DataError(f"The columns differ in length: {_several(lists)}. Give each one value a row.")
    return DataFrame(dict(enumerate(columns)), dtype=object)


def _objects(values: Any) -> NDArray[Any]:
    if isinstance(values, np.ndarray) and values.dtype == object:
        return values  # pandas would look for strings in it, and fail at what UTF-8 cannot write
    if isinstance(values, np.ndarray | pd.Series | pd.Index):
        return pd.Series(values).to_numpy(dtype=object)
    return pd.Series(list(values), dtype=object).to_numpy()


def _refuse_twice(names: Sequence[str]) -> None:
    index = pd.Index(names, dtype=object)
    if index.has_duplicates:
        twice = sorted(set(index[index.duplicated()]))
        raise DataError(
            f"The table has more than one column called {listed(twice)}. Rename or remove the extra ones, so that "
            "each name stands for one column."
        )


def numbers_of(values: Any) -> tuple[NDArray[np.float64], str, str] | None:
    """Return values as numbers (NaN where missing), their unit and their decimal mark; None when they are no numbers.

    They are numbers when at least 95% of those that are not missing can be read so; the others become NaN.
    """
    values_N = _objects(values)
    known = typed(values_N)
    if known is not None:
        numbers_N = _bounded(known[0])
        return (numbers_N, "", ".") if np.isfinite(numbers_N).any() else None
    spelled = _present(spell(values_N))
    spelled = spelled.without(spelled.unknown_K)
    found = numerals.read(spelled)
    if not _enough(spelled, found.read_K):
        return None
    return spread(found.values_K, spelled.codes_N, np.nan), found.unit, found.decimal


def _bounded(numbers_N: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(numbers_N) < HUGE, numbers_N, np.nan)


def _present(spelled: Spelled) -> Spelled:
    return spelled.without(spelled.missing_K)


def _enough(spelled: Spelled, read_K: NDArray[np.bool_]) -> bool:
    """Whether nearly all of the cells that are not missing were read."""
    counts_K = spelled.counts_K
    return bool(len(counts_K) and counts_K[read_K].sum() >= ENOUGH * counts_K.sum())


# --- notes -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Notes:
    """Collects one note for all columns of which the same is to be said."""

    said: dict[tuple[str, str, NoteLevel, bool], list[str]] = field(default_factory=dict)

    def say(self, topic: str, text: str, name: str, *, level: NoteLevel = "info", detail: str = "") -> None:
        """Say ``text`` of a column, whose name will stand behind it."""
        self.add(topic, text, name, level, detail, quotes=False)

    def quote(self, topic: str, text: str, name: str, detail: str) -> None:
        """Warn of a column with cells of it as detail: such a note is shown, never stored."""
        self.add(topic, text, name, "warning", detail, quotes=True)

    def add(self, topic: str, text: str, name: str, level: NoteLevel, detail: str, *, quotes: bool) -> None:
        shown = f"{short(name)!r} ({detail})" if detail else f"{short(name)!r}"
        self.said.setdefault((topic, text, level, quotes), []).append(shown)

    def all(self) -> tuple[Note, ...]:
        return tuple(
            Note(topic, f"{text}: {_several(names)}.", level, quotes)
            for (topic, text, level, quotes), names in self.said.items()
        )


def _several(items: Sequence[str]) -> str:
    shown = ", ".join(items[:20])
    return shown if len(items) <= 20 else f"{shown} and {len(items) - 20:,} more"


def _quoted(spelled: Spelled, which_K: NDArray[np.bool_]) -> str:
    """Return how many cells have these keys, and some of them."""
    keys = [repr(short(key)) for key in spelled.keys.filter(pa.array(which_K)).slice(0, _SHOWN).to_pylist()]
    return f"{int(spelled.counts_K[which_K].sum()):,}, as {', '.join(keys)}"


# --- learning --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _View:
    """A column as it is compared with others: by numbers or by codes."""

    numbers_N: NDArray[np.float64] | None = None
    codes_N: NDArray[np.int64] | None = None
    digest: bytes = b""
    """Same cells, same digest."""


_SEQUENCE = "whole numbers without repeats or wide gaps, as row numbers are"
_NAMED = "named as an id is, and nearly every value is another"
_DISTINCT = "nearly every value is another, as in an id"
_SAME = "every cell is the same"
_EMPTY = "every cell is missing"
_NO_VIEW = _View()


def learn(
    frame: DataFrame, *, target: str | None = None, categories: Collection[str] = ()
) -> tuple[tuple[Column, ...], tuple[Note, ...]]:
    """Understand every column but the target, in order, from the rows of a frame made by :func:`as_frame`.

    Args:
        frame: The rows that a model is made from.
        target: Name of the column to predict; columns that tell it suspiciously well are warned of.
        categories: Names of columns whose cells are names, even where they are written as numbers.

    Raises:
        DataError: when there is no such target.
    """
    names = [str(name) for name in frame.columns]
    at_target = None if target is None else _place(names, target)
    notes = _Notes()
    answer = _NO_VIEW if at_target is None else _view_of_target(_values(frame, at_target))
    columns: list[Column] = []
    first: dict[bytes, str] = {}
    for at, name in enumerate(names):
        if at == at_target:
            continue
        learned = _learn_names if name in categories else _learn_column
        column, view = learned(name, _values(frame, at), notes)
        if column.kind != "ignored" and view.digest in first:
            column = Column(name, "ignored", why=f"a copy of {first[view.digest]!r}")
        if column.kind != "ignored":
            first[view.digest] = name
            _warn_of_leak(column, view, answer, notes)
        columns.append(column)
    columns = _not_without_any(columns)
    _say_what_was_read(columns, notes)
    return tuple(columns), notes.all()


def _values(frame: DataFrame, at: int) -> NDArray[Any]:
    return frame.iloc[:, at].to_numpy(dtype=object)


def _place(names: Sequence[str], asked: str) -> int:
    """Return where the column of this name is."""
    if asked in names:
        return names.index(asked)
    alike = [at for at, name in enumerate(names) if squeeze(name) == squeeze(asked)]
    if len(alike) == 1:
        return alike[0]
    raise DataError(f"There is no column {asked!r}.{did_you_mean(asked, names)} The columns are {listed(names)}.")


def _learn_column(name: str, values_N: NDArray[Any], notes: _Notes) -> tuple[Column, _View]:
    known = typed(values_N)
    if known is not None and not known[1]:
        return _learn_typed(name, known[0], notes)
    everything = spell(values_N)
    spelled = _present(everything)
    if not len(spelled.keys):
        return _ignored(name, _EMPTY)
    answers = _answers(everything, spelled)
    truth_K = _truth_of(answers.keys)
    if {0.0, 1.0} == set(truth_K):
        return Column(name, "boolean", levels=_levels(answers)), _number_view(_rows(answers, truth_K))
    found = _read_numbers(spelled)
    if found is not None and not _is_code(spelled):
        return _learn_spelled(name, *found, notes)
    days = _learn_dates(name, spelled.without(spelled.unknown_K), notes)
    return days if days is not None else _learn_strings(name, spelled, notes)


def _learn_names(name: str, values_N: NDArray[Any], notes: _Notes) -> tuple[Column, _View]:
    spelled = _present(spell(values_N))
    if not len(spelled.keys):
        return _ignored(name, _EMPTY)
    if len(spelled.keys) == 1 and spelled.counts_K[0] == len(spelled.codes_N):
        return _ignored(name, _SAME)
    levels = _levels(spelled)
    view = _View(codes_N=spelled.codes_N, digest=_digest_of_strings(spelled))
    return (Column(name, "category", levels=levels), view) if levels else _ignored(name, _DISTINCT)


def _ignored(name: str, why: str) -> tuple[Column, _View]:
    return Column(name, "ignored", why=why), _NO_VIEW


# --- booleans


def _truth_of(keys: pa.Array) -> NDArray[np.float64]:
    """Return 1 for yes, 0 for no, NaN for all else."""
    low = lower(keys)
    return np.where(among(low, _YES), 1.0, np.where(among(low, _NO), 0.0, np.nan))


def truths(column: Column) -> dict[str, float]:
    """Return what each spelling, in lower case, says in a column of booleans: 1 for yes, 0 for no."""
    missing = () if set(column.levels).intersection(_THERE) else _NOT_THERE
    found = {**dict.fromkeys((*_YES, "1"), 1.0), **dict.fromkeys((*_NO, "0"), 0.0)}
    return {spelling: value for spelling, value in found.items() if spelling not in missing}


def _answers(everything: Spelled, spelled: Spelled) -> Spelled:
    """Return the cells that are not missing, where なし is no missing value but the opposite of あり."""
    there_K, no_K = among(spelled.keys, _THERE), among(spelled.keys, _NO)
    if not there_K.any() or not (there_K | no_K).all():
        return spelled
    return everything.without(everything.missing_K & ~among(everything.keys, _NOT_THERE))


def _rows(spelled: Spelled, values_K: NDArray[np.float64]) -> NDArray[np.float64]:
    return spread(values_K, spelled.codes_N, np.nan)


# --- numbers


def _read_numbers(spelled: Spelled) -> tuple[Spelled, numerals.Numbers] | None:
    """Return the cells that are known, and what they are as numbers; None when they are none."""
    known = spelled.without(spelled.unknown_K)
    sample = _sample(known)
    if sample is not known and not _half(sample, numerals.read(sample).any_unit_K):
        return None
    found = numerals.read(known, least=2)
    return (known, found) if _enough(known, found.read_K) else None


def _sample(spelled: Spelled) -> Spelled:
    """Return every so many-th key of a column with very many, so that what is hopeless is not tried on all."""
    distinct = len(spelled.keys)
    if distinct < _MANY or 2 * distinct < spelled.counts_K.sum():
        return spelled
    return spelled.without(np.arange(distinct) % (distinct // 1000) > 0)


def _half(spelled: Spelled, read_K: NDArray[np.bool_]) -> bool:
    return bool(2 * spelled.counts_K[read_K].sum() >= spelled.counts_K.sum())


def _is_code(spelled: Spelled) -> bool:
    """Whether digits stand for a name: whole numbers, some with leading zeros."""
    return bool(matches(spelled.keys, "^0[0-9]").any() and matches(spelled.keys, "^[0-9]+$").all())


def _learn_typed(name: str, raw_N: NDArray[np.float64], notes: _Notes) -> tuple[Column, _View]:
    numbers_N = _bounded(raw_N)
    huge = int((np.isnan(numbers_N) & ~np.isnan(raw_N)).sum())
    _say_huge(name, huge, notes)
    if _may_be_compact_dates(numbers_N):
        found = _learn_dates(name, spell(numbers_N.astype(object)), notes, least=1.0)
        if found is not None:
            return found
    return _judge_numbers(Column(name, "number", unit=_header_unit(name)), numbers_N)


def _learn_spelled(name: str, spelled: Spelled, found: numerals.Numbers, notes: _Notes) -> tuple[Column, _View]:
    numbers_N = _rows(spelled, found.values_K)
    if _may_be_compact_dates(numbers_N) and found.read_K.all():
        days = _learn_dates(name, spelled, notes, least=1.0)
        if days is not None:
            return days
    _say_huge(name, int(spelled.counts_K[found.huge_K].sum()), notes)
    if not found.read_K.all():
        notes.quote("cells", _NO_NUMBER, name, _quoted(spelled, ~found.read_K))
    if found.unit:
        notes.say("units", "Units were taken off the cells", name, detail=found.unit)
    if found.decimal == ",":
        notes.say("columns", "Numbers with a decimal comma", name)
    column = Column(name, "number", unit=found.unit or _header_unit(name), decimal=found.decimal)
    return _judge_numbers(column, numbers_N)


def _say_huge(name: str, count: int, notes: _Notes) -> None:
    if count:
        text = "Infinite numbers, and those of 1e300 or more, were taken as missing"
        notes.say("cells", text, name, level="warning", detail=f"{count:,}")


def _header_unit(name: str) -> str:
    """Return the unit that a header names in brackets at its end, "" if none."""
    found = _HEADER_UNIT.search(compatible(name))
    return found[1].strip() if found else ""


def _may_be_compact_dates(numbers_N: NDArray[np.float64]) -> bool:
    """Whether all are whole numbers of the size of 20210303, and not all the same."""
    present = numbers_N[~np.isnan(numbers_N)]
    if len(present) < 2 or present.min() < 1.8e7 or present.max() >= 2.2e7:
        return False
    return bool(present.min() < present.max() and (present == np.floor(present)).all())


def _judge_numbers(column: Column, numbers_N: NDArray[np.float64]) -> tuple[Column, _View]:
    """Ignore numbers that tell nothing."""
    present = numbers_N[~np.isnan(numbers_N)]
    if not len(present):
        return _ignored(column.name, _EMPTY)
    low, high = float(present.min()), float(present.max())
    if low == high and len(present) == len(numbers_N):
        return _ignored(column.name, _SAME)
    if (present == np.floor(present)).all():
        why = _id_like(column.name, present, high - low + 1)
        if why:
            return _ignored(column.name, why)
    return column, _number_view(numbers_N)


def _id_like(name: str, whole: NDArray[np.float64], width: float) -> str:
    """Return why whole numbers only name their rows, "" if they do not.

    Whether n draws from R numbers are all different has a chance of about exp(-n^2 / 2R): where R < n^2 / 20, that
    they are is no accident. (The order of rows would tell as well, but must not matter.)
    """
    rows = len(whole)
    repeated = 1 - len(pd.unique(whole)) / rows
    if repeated > 1 - ENOUGH:
        return ""
    if _named_as_id(name):
        return _NAMED
    if rows >= 10 and not repeated and width <= max(rows, rows * rows / 20) and not _named_as_time(name):
        return _SEQUENCE
    return _DISTINCT if rows >= 10 and np.abs(whole).max() >= 1e15 else ""


def _words(name: str) -> list[str]:
    """Return the words of a column's name, parted by space, punctuation, script or capital."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", compatible(name))]


def _named_as_id(name: str) -> bool:
    words = _words(name)
    return bool(
        _ID_NAMES.intersection(words)
        or _ID_ENDS.intersection(words[-1:])
        or _ID_JAPANESE.search(compatible(name).strip())
    )


def _named_as_time(name: str) -> bool:
    return bool(_TIME_NAMES.intersection(_words(name)) or _TIME_JAPANESE.search(compatible(name).strip()))


def _number_view(numbers_N: NDArray[np.float64]) -> _View:
    return _View(numbers_N=numbers_N, digest=_digest(b"numbers", numbers_N + 0.0))


def _digest(kind: bytes, *parts: NDArray[Any] | bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16, person=kind)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return digest.digest()


def _digest_of_strings(spelled: Spelled) -> bytes:
    text = "".join(spelled.keys.to_pylist()).encode()
    return _digest(b"strings", spelled.codes_N, to_numpy(pc.binary_length(spelled.keys)), text)


# --- dates


def _learn_dates(name: str, spelled: Spelled, notes: _Notes, *, least: float = ENOUGH) -> tuple[Column, _View] | None:
    counts_K = spelled.counts_K
    enough = least * counts_K.sum()
    if not len(counts_K) or counts_K[dates.may_be(spelled)].sum() < enough:
        return None
    sample = _sample(spelled)
    if sample is not spelled and not _half(sample, dates.read(sample).read_K):
        return None
    found = dates.read(spelled)
    if counts_K[found.read_K].sum() < enough:
        return None
    if not found.read_K.all():
        notes.quote("cells", "Cells that are no dates were taken as missing", name, _quoted(spelled, ~found.read_K))
    if found.ambiguous:
        told = (
            "the month first"
            if dates.MONTH_FIRST in [f.removesuffix(dates.TIME) for f in found.formats]
            else ("the day first")
        )
        text = f"No cell tells whether the day or the month comes first, and they were read with {told}"
        notes.say("dates", f"{text}; dates as 2021-03-31 leave no doubt", name, level="warning")
    numbers_NP = dates.parts(found, spelled.codes_N, hours=dates.has_hours(found.formats))
    if len(np.unique(numbers_NP[:, 0])) < 2:  # NaN is one value here
        return _ignored(name, _SAME)
    column = Column(name, "date", formats=found.formats)
    return column, _View(numbers_N=numbers_NP[:, 0], digest=_digest(b"dates", numbers_NP))


# --- strings


def _learn_strings(name: str, spelled: Spelled, notes: _Notes) -> tuple[Column, _View]:
    counts_K, keys = spelled.counts_K, spelled.keys
    rows, distinct = int(counts_K.sum()), len(keys)
    if distinct == 1 and rows == len(spelled.codes_N):
        return _ignored(name, _SAME)
    view = _View(codes_N=spelled.codes_N, digest=_digest_of_strings(spelled))
    if _is_text(spelled):
        return Column(name, "text"), view
    levels = _levels(spelled)
    if not levels or (distinct >= ENOUGH * rows and rows >= 20):
        return _ignored(name, _DISTINCT)
    several = numerals.read(spelled)
    if len(several.units) > 1 and _enough(spelled, several.any_unit_K):
        units = ", ".join(short(unit) for unit in several.units[:_SHOWN])
        notes.quote("units", "Numbers in several units were read as categories; write them in one unit", name, units)
    return Column(name, "category", levels=levels), view


def _levels(spelled: Spelled) -> tuple[str, ...]:
    """Return the keys that at least two rows carry, the most frequent first."""
    counts_K = spelled.counts_K
    order = np.argsort(-counts_K, kind="stable")
    return tuple(spelled.keys.take(pa.array(order[counts_K[order] >= 2])).to_pylist())


def _is_text(spelled: Spelled) -> bool:
    """Whether strings are texts: four words or more that do not come again and again, or long and mostly different.

    Three letters of Chinese or Japanese count as a word, and each as two letters. One long word is a code.
    """
    counts_K, keys = spelled.counts_K, spelled.keys
    rows, distinct = int(counts_K.sum()), len(keys)
    if distinct <= rows / 5:
        return False
    wide = np.zeros(distinct)
    if not to_numpy(pc.string_is_ascii(keys)).all():
        wide = to_numpy(pc.count_substring_regex(keys, r"[\p{Han}\p{Hiragana}\p{Katakana}]"))
    words = float(((to_numpy(pc.count_substring_regex(keys, r"\S+")) + wide / 3) * counts_K).sum() / rows)
    length = float(((to_numpy(pc.utf8_length(keys)) + wide) * counts_K).sum() / rows)
    return words >= 4 or (words >= 1.5 and length > 25 and distinct > rows / 2)


# --- what else is odd


def _warn_of_leak(column: Column, view: _View, answer: _View, notes: _Notes) -> None:
    """Warn of a column that all but gives the answer; it is kept, since it may be known in time."""
    if answer is _NO_VIEW or not (_ranks_alike(column, view, answer) or _gives_away(view, answer)):
        return
    text = "These tell the target nearly by themselves; they were kept, but leave out what is known only afterwards"
    notes.say("leakage", text, column.name, level="warning")


def _view_of_target(values_N: NDArray[Any]) -> _View:
    found = numbers_of(values_N)
    return _View(numbers_N=found[0]) if found is not None else _View(codes_N=_present(spell(values_N)).codes_N)


def _ranks_alike(column: Column, view: _View, answer: _View) -> bool:
    if view.numbers_N is None or answer.numbers_N is None or column.kind == "date":
        return False
    both = ~np.isnan(view.numbers_N) & ~np.isnan(answer.numbers_N)
    if both.sum() < _LEAK_ROWS:
        return False
    ranks = [pd.Series(numbers_N[both]).rank().to_numpy() for numbers_N in (view.numbers_N, answer.numbers_N)]
    a, b = (rank - rank.mean() for rank in ranks)
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return scale > 0 and abs(float((a * b).sum())) > _LEAK_RANK * scale


def _gives_away(view: _View, answer: _View) -> bool:
    """Whether the levels of a column, or the gaps in it, tell the target."""
    answers_N = _codes(answer)
    codes_N = _codes(view)
    levels, classes = codes_N.max(initial=-1) + 2, answers_N.max(initial=-1) + 1
    if view.codes_N is not None or levels - 1 <= 2 * classes:
        return _tells(codes_N, answers_N)
    return _tells(np.where(codes_N < 0, -1, 0), answers_N)


def _codes(view: _View) -> NDArray[np.int64]:
    """Return codes of the levels, -1 where missing."""
    if view.codes_N is not None:
        return view.codes_N
    assert view.numbers_N is not None
    return pd.factorize(view.numbers_N)[0].astype(np.int64)


def _tells(codes_N: NDArray[np.int64], answers_N: NDArray[np.int64]) -> bool:
    """Whether the best guess by level is right in 99.5% of rows, and nearly always where the usual answer is not."""
    known = answers_N >= 0
    codes, answers = codes_N[known] + 1, answers_N[known]
    rows = len(answers)
    if rows < _LEAK_ROWS or 5 * len(np.unique(codes)) > rows:
        return False
    pairs, counts = np.unique(codes * (answers.max() + 1) + answers, return_counts=True)
    best = np.zeros(codes.max() + 1, dtype=np.int64)
    np.maximum.at(best, pairs // (answers.max() + 1), counts)
    wrong, wrong_usually = rows - int(best.sum()), rows - int(np.bincount(answers).max())
    return wrong <= (1 - _LEAK) * rows and wrong_usually > 0 and wrong <= 0.05 * wrong_usually


def _not_without_any(columns: list[Column]) -> list[Column]:
    """Take numbers that look like row numbers after all where nothing else is left."""
    if any(column.kind != "ignored" for column in columns):
        return columns
    return [
        Column(column.name, "number", unit=_header_unit(column.name)) if column.why == _SEQUENCE else column
        for column in columns
    ]


_KINDS: Mapping[ColumnKind, str] = {
    "number": "Numbers",
    "boolean": "Yes or no",
    "category": "Categories",
    "date": "Dates",
    "text": "Texts",
}


def _say_what_was_read(columns: Sequence[Column], notes: _Notes) -> None:
    for column in columns:
        if column.kind != "ignored":
            notes.say("columns", _KINDS[column.kind], column.name)
        elif column.why in (_SEQUENCE, _NAMED, _DISTINCT):
            text = f"Ignored, since a model learns nothing for new rows from them ({column.why})"
            notes.say("ignored", text, column.name, level="warning")
        elif column.why in (_SAME, _EMPTY):
            notes.say("ignored", f"Ignored, since {column.why}", column.name, level="warning")
        else:
            notes.say("ignored", "Ignored as copies", column.name, level="warning", detail=column.why)


# --- new rows --------------------------------------------------------------------------------------------------


def parse(frame: DataFrame, columns: Sequence[Column]) -> tuple[Cells, tuple[Note, ...]]:
    """Read rows as their columns were learned. What cannot be read is missing, and counted in a note.

    Args:
        frame: As made by :func:`as_frame`. Columns are found by name, whatever their order.
        columns: As :func:`learn` returned them.

    Raises:
        DataError: when a column that is not ignored is not there.
    """
    used = [column for column in columns if column.kind != "ignored"]
    names = [str(name) for name in frame.columns]
    places = _places(names, used)
    notes = _Notes()
    known = {squeeze(column.name) for column in columns}
    for at, name in enumerate(names):
        if at not in places and squeeze(name) not in known:
            notes.say("columns", "Not used, since the model was made without them", name)
    numbers: list[tuple[str, NDArray[np.float64]]] = []
    codes: list[tuple[str, NDArray[np.int64]]] = []
    texts: list[tuple[str, NDArray[np.object_]]] = []
    for column, at in zip(used, places, strict=True):
        values_N = _values(frame, at)
        match column.kind:
            case "number":
                numbers.append((column.name, _parse_numbers(column, values_N, notes)))
            case "boolean":
                numbers.append((column.name, _parse_truth(column, values_N, notes)))
            case "date":
                parts_NP = _parse_dates(column, values_N, notes)
                names_P = [f"{column.name}: {part}" for part in dates.PARTS]
                numbers += zip(names_P, parts_NP.T, strict=False)  # the hour may not be there
            case "category":
                codes.append((column.name, _parse_levels(column, values_N, notes)))
            case _:
                texts.append((column.name, _parse_texts(values_N)))
    rows = len(frame)
    cells = Cells(
        numbers=np.column_stack([values for _, values in numbers]) if numbers else np.empty((rows, 0)),
        number_names=tuple(name for name, _ in numbers),
        codes=np.column_stack([values for _, values in codes]) if codes else np.empty((rows, 0), dtype=np.int64),
        code_names=tuple(name for name, _ in codes),
        texts=tuple(values for _, values in texts),
        text_names=tuple(name for name, _ in texts),
    )
    return cells, notes.all()


def levels(columns: Sequence[Column]) -> list[int]:
    """Return how many levels each of the codes of :class:`Cells` has."""
    return [len(column.levels) for column in columns if column.kind == "category"]


def places(columns: Sequence[Column]) -> tuple[list[int], list[int]]:
    """Return the column of each of the numbers of :class:`Cells` (a date has several), and of each of its codes."""
    numbers: list[int] = []
    for at, column in enumerate(columns):
        if column.kind in ("number", "boolean"):
            numbers.append(at)
        elif column.kind == "date":
            numbers += [at] * (len(dates.PARTS) - (not dates.has_hours(column.formats)))
    return numbers, [at for at, column in enumerate(columns) if column.kind == "category"]


def _places(names: Sequence[str], columns: Sequence[Column]) -> list[int]:
    """Return where each column is among the names: by its very name, else but for case, width and spaces."""
    exact = {name: at for at, name in enumerate(names)}
    taken = {column.name for column in columns}
    alike: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        if name not in taken:
            alike.setdefault(squeeze(name), []).append(at)
    places: list[int] = []
    for column in columns:
        at = exact.get(column.name)
        if at is None:
            near = alike.get(squeeze(column.name), [])
            if len(near) > 1:
                found = listed([names[at] for at in near])
                raise DataError(f"The column {column.name!r} could be any of {found}. Rename the right one so.")
            if not near:
                missing = [c.name for c in columns if c.name not in exact and squeeze(c.name) not in alike]
                raise _no_column(missing, names)
            at = alike.pop(squeeze(column.name))[0]
        places.append(at)
    return places


def _no_column(missing: Sequence[str], names: Sequence[str]) -> DataError:
    few = f"no column {missing[0]!r}" if len(missing) == 1 else f"none of the columns {listed(missing)}"
    return DataError(
        f"There is {few}, from which the model was made.{did_you_mean(missing[0], names)} "
        f"The columns are {listed(names)}. Add or rename the column; leave its cells empty where nothing is known."
    )


_NO_NUMBER = "Cells that are no numbers were taken as missing"


def _parse_numbers(column: Column, values_N: NDArray[Any], notes: _Notes) -> NDArray[np.float64]:
    if column.decimal == "." and (plain := _plainly(values_N, _plain_number)) is not None:
        return np.array([np.nan if value is None else value for value in plain])
    known = typed(values_N)
    if known is not None:
        numbers_N = _bounded(known[0])
        _say_huge(column.name, int((np.isnan(numbers_N) & ~np.isnan(known[0])).sum()), notes)
        return numbers_N
    spelled = _present(spell(values_N))
    spelled = spelled.without(spelled.unknown_K)
    found = numerals.read(spelled, unit=column.unit, decimal=column.decimal)
    _say_huge(column.name, int(spelled.counts_K[found.huge_K].sum()), notes)
    if not found.read_K.all():
        notes.quote("cells", _NO_NUMBER, column.name, _quoted(spelled, ~found.read_K))
    return _rows(spelled, found.values_K)


def _parse_truth(column: Column, values_N: NDArray[Any], notes: _Notes) -> NDArray[np.float64]:
    if (plain := _plainly(values_N, _PLAIN_TRUTH.get)) is not None:
        return np.array([np.nan if value is None else value for value in plain])
    everything = spell(values_N)
    truth_K = _truth_of(everything.keys)
    truth_K[among(everything.keys, ("1",))] = 1.0
    truth_K[among(everything.keys, ("0",))] = 0.0
    if not set(column.levels).intersection(_THERE):
        truth_K[everything.missing_K] = np.nan
    odd_K = np.isnan(truth_K) & ~everything.missing_K & ~everything.unknown_K
    if odd_K.any():
        notes.quote(
            "cells", "Cells that say neither yes nor no were taken as missing", column.name, _quoted(everything, odd_K)
        )
    return _rows(everything, truth_K)


def _parse_dates(column: Column, values_N: NDArray[Any], notes: _Notes) -> NDArray[np.float64]:
    spelled = _present(spell(values_N))
    spelled = spelled.without(spelled.unknown_K)
    found = dates.read(spelled, formats=column.formats)
    if not found.read_K.all():
        text = "Cells that are no dates as learned were taken as missing"
        notes.quote("cells", text, column.name, _quoted(spelled, ~found.read_K))
    return dates.parts(found, spelled.codes_N, hours=dates.has_hours(column.formats))


def _parse_levels(column: Column, values_N: NDArray[Any], notes: _Notes) -> NDArray[np.int64]:
    known = column.levels
    plain = _plainly(values_N, lambda cell: known.index(cell) if cell in known else None)
    if plain is not None:
        return np.array([-1 if value is None else value for value in plain], dtype=np.int64)
    spelled = _present(spell(values_N))
    levels = strings(column.levels)
    codes_K = _index(spelled.keys, levels)
    new = codes_K < 0
    if new.any():
        # "red" is "Red", but only where there is no other red
        low = pd.Series(to_numpy(lower(levels)).astype(object), dtype=object)
        once = np.flatnonzero(~low.duplicated(keep=False).to_numpy())
        found = _index(lower(spelled.keys), strings(low.to_numpy()[once]))
        codes_K[new] = np.append(once, -2)[found[new]]
    if (codes_K < 0).any():
        count = int(spelled.counts_K[codes_K < 0].sum())
        notes.say("levels", "Cells with a level that is not among those learned", column.name, detail=f"{count:,}")
    return spread(codes_K, spelled.codes_N, -1)


_FEW_ROWS = 32
_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,20})?", re.ASCII)
_PLAIN_TRUTH = {word: truth for words, truth in ((_YES, 1.0), (_NO, 0.0)) for word in words if word not in _NOT_THERE}


def _plain_number(cell: str) -> float | None:
    return float(cell) if _PLAIN_NUMBER.fullmatch(cell) else None


def _plainly(values_N: NDArray[Any], read: Callable[[str], Any]) -> list[Any] | None:
    """Return what a few cells are, None for a blank one, where all are written plainly; else None.

    Arrow's calls cost much more than one row's cells, and there are tens of them a column.
    """
    if len(values_N) > _FEW_ROWS:
        return None
    found: list[Any] = []
    for cell in values_N:
        if cell is None or (isinstance(cell, str) and not cell):
            found.append(None)
        elif isinstance(cell, str) and (value := read(cell)) is not None:
            found.append(value)
        else:
            return None
    return found


def _index(keys: pa.Array, known: pa.Array) -> NDArray[np.int64]:
    """Return which of the known each key is, -1 where it is none."""
    return to_numpy(pc.fill_null(pc.index_in(keys, value_set=known), -1)).astype(np.int64)


def _parse_texts(values_N: NDArray[Any]) -> NDArray[np.object_]:
    texts_N = np.empty(len(values_N), dtype=object)
    texts_N[:] = [encodable(text) if isinstance(text, str) else "" for text in written(values_N)]
    return texts_N
