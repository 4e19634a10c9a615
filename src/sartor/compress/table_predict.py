"""Answers of one generated model of a table; numpy is all that is needed. `sartor export --format numpy` put this file
beside the model's numbers, model.npz.

    from predict import Model
    model = Model()
    model.predict([{"age": 31, "city": "Kyoto", "opened": "2021-03-31"}])

or, one JSON object a line:

    python predict.py < rows.jsonl

A row is a dict of plain cells: numbers, or text that is a plain numeral ("3.5", "1e3"); categories as text; booleans
as True, False, 0, 1 or a word that the column's rows use; dates as datetime.date, datetime.datetime or ISO text
("2021-03-31", "2021-03-31 14:05"). None, NaN, and what people write for it ("", "n/a", "-") are missing. A level that
was not learned counts as none. Units, thousands and other dates are read by `sartor predict`, not here: such a cell is
an error, and so is a column that a row lacks.

Dimension key:   N: rows   M: numbers   G: categories   C: classes (1 for a value)
"""

import datetime
import json
import math
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_PLAIN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:[T ]([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_BEGIN = datetime.date(2000, 1, 1)
_CHUNK = 256


class Model:
    """A generated model of a table. It is never changed, so that threads may share it.

    Args:
        path: of model.npz; beside this file if not given.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        with np.load(path or Path(__file__).with_name("model.npz"), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(arrays.pop("about").tobytes())
        self.labels: list[str] = about["labels"]
        self.fields: list[dict[str, Any]] = about["fields"]
        self._missing = frozenset(about["missing"])
        self._unknown = frozenset(about["unknown"])
        self._huge, self._least = about["huge"], about["least"]
        self._low, self._high = -about["largest"], about["largest"]
        self._a = arrays
        self._codes = [_known(field["levels"]) if field["kind"] == "category" else None for field in self.fields]
        self._size = (sum(field.get("parts", 1) for field in self.fields if field["kind"] != "category"),)
        self._size += (len(arrays["level_count"]),)
        self._tables = list(_tables(arrays))
        self._bent = len(arrays["bend_knots"])
        self._bend_at = np.arange(self._bent) * arrays["bend_start"].shape[1]
        self._bends = [np.ascontiguousarray(arrays[f"bend_{name}"].ravel()) for name in ("start", "slope", "base")]
        orders = [at for at in (1, 2, 3) if len(arrays[f"products_{at}_column"])]
        # steps one after another: of all products the first, then the second …; one gather and one comparison for all
        self._shapes = [arrays[f"products_{at}_column"].T.shape for at in orders]
        self._columns = _flat([arrays[f"products_{at}_column"].T for at in orders], np.intp)
        self._above = _flat([arrays[f"products_{at}_above"].T for at in orders], np.float32)
        self._out = np.concatenate(
            [arrays["columns_out"], arrays["units_out"], *(arrays[f"products_{at}_out"] for at in orders)]
        ).astype(np.float32)

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return for each row its label and the probability of every label; or its value, and an interval of 90%.

        Raises:
            ValueError: when a row lacks a column, or a cell is not plain.
        """
        found = self.answers(*self.prepare(rows)).tolist()
        if not self.labels:
            return [{"value": value, "low": low, "high": high} for value, low, high in found]
        return [
            {"label": self.labels[row.index(max(row))], "probabilities": dict(zip(self.labels, row, strict=True))}
            for row in found
        ]

    def prepare(self, rows: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """Return rows as (N, M) numbers, NaN where missing, and (N, G) codes of levels, -1 where there is none."""
        numbers = np.empty((len(rows), self._size[0]))
        codes = np.full((len(rows), self._size[1]), -1, dtype=np.int64)
        for row, numbers_M, codes_G in zip(rows, numbers, codes, strict=True):
            for field, known in zip(self.fields, self._codes, strict=True):
                name, at = field["name"], field["at"]
                if name not in row:
                    raise ValueError(f"A row has no column {name!r}. Give None where nothing is known.")
                cell = row[name]
                if known is not None:
                    codes_G[at] = self._code(cell, known)
                elif field["kind"] == "date":
                    numbers_M[at : at + field["parts"]] = self._date(name, cell)[: field["parts"]]
                else:
                    numbers_M[at] = self._number(field, cell)
        return numbers, codes

    def answers(self, numbers: np.ndarray, codes: np.ndarray | None = None) -> np.ndarray:
        """Return (N, C) probabilities in the order of ``labels``; or (N, 3): value, low, high.

        Args:
            numbers: (N, M) or, for one row, (M,); columns in the order of ``fields``, a date's parts one by one.
            codes: (N, G) or (G,) indices into the levels of categories; below 0 for none.
        """
        numbers_NM = np.atleast_2d(np.asarray(numbers, dtype=np.float64))
        codes_NG = np.zeros((len(numbers_NM), 0), dtype=np.int64) if codes is None else np.atleast_2d(codes)
        if len(numbers_NM) <= _CHUNK:
            return self._answers(numbers_NM, codes_NG)
        parts = range(0, len(numbers_NM), _CHUNK)
        return np.concatenate([self._answers(numbers_NM[a : a + _CHUNK], codes_NG[a : a + _CHUNK]) for a in parts])

    # --- the net

    def _answers(self, numbers_NM: np.ndarray, codes_NG: np.ndarray) -> np.ndarray:
        a = self._a
        coded_ND = self._coded(numbers_NM, codes_NG)
        units_NH = coded_ND @ a["units_weight"]
        units_NH += a["units_bias"]
        np.maximum(units_NH, 0, out=units_NH)
        features = [coded_ND, units_NH, *self._products(coded_ND)]
        scores_NC = (np.concatenate(features, axis=1) @ self._out).astype(np.float64)
        scores_NC += a["bias"]
        if "warmth" not in a:
            (middle, spread), (low, high) = a["target"], a["range"]
            value_N1 = np.minimum(np.maximum(middle + spread * scores_NC, low), high)
            return np.concatenate([value_N1, value_N1 - a["half"], value_N1 + a["half"]], axis=1)
        plain, sharp = a["warmth"]
        logits_NC = plain * scores_NC + sharp * np.log(np.maximum(scores_NC, 0) + self._least) + a["logit_bias"]
        odds_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
        return odds_NC / odds_NC.sum(axis=1, keepdims=True)

    def _coded(self, numbers_NM: np.ndarray, codes_NG: np.ndarray) -> np.ndarray:
        a, parts = self._a, []
        known_NM = np.abs(numbers_NM) < self._huge  # not for NaN
        if len(a["number_slot"]):
            slot_V = a["number_slot"]
            filled_NV = np.where(known_NM[:, slot_V], numbers_NM[:, slot_V], a["number_middle"])
            if self._bent:
                bent_NB = filled_NV[:, : self._bent]
                at_NB = (bent_NB[:, :, None] >= a["bend_knots"]).sum(axis=2) + self._bend_at
                start, slope, base = (values[at_NB] for values in self._bends)
                filled_NV[:, : self._bent] = slope * (bent_NB - start) + base
            filled_NV -= a["number_mean"]
            filled_NV /= a["number_spread"]
            np.maximum(filled_NV, self._low, out=filled_NV)
            parts.append(np.minimum(filled_NV, self._high, out=filled_NV).astype(np.float32))
        if len(a["gap_slot"]):
            parts.append(np.where(known_NM[:, a["gap_slot"]], *a["gap_values"].T))
        for at, table in enumerate(self._tables):
            code_N = codes_NG[:, at]
            parts.append(table[np.where((code_N >= 0) & (code_N < len(table) - 1), code_N, -1)])
        return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def _products(self, coded_ND: np.ndarray) -> Iterator[np.ndarray]:
        if not self._shapes:
            return
        both_NE = np.concatenate([coded_ND, -coded_ND], axis=1)
        holds_NS = both_NE.take(self._columns, axis=1) > self._above
        at = 0
        for steps, products in self._shapes:
            held_NP = holds_NS[:, at : at + products]
            for step in range(1, steps):
                held_NP = held_NP & holds_NS[:, at + step * products : at + (step + 1) * products]
            at += steps * products
            yield held_NP.astype(np.float32)

    # --- cells

    def _text(self, cell: Any) -> str:
        """Return a cell as Sartor spells it; "" where it is missing."""
        if cell is None or (isinstance(cell, float | np.floating) and math.isnan(cell)):
            return ""
        if isinstance(cell, bool | np.bool_):
            return "true" if cell else "false"
        if isinstance(cell, float | np.floating):
            whole = float(cell).is_integer() and abs(cell) < 1e15
            return str(int(cell)) if whole else repr(float(cell))
        text = " ".join(unicodedata.normalize("NFKC", str(cell)).split())
        return "" if text.lower() in self._missing else text

    def _code(self, cell: Any, known: Mapping[str, int]) -> int:
        text = self._text(cell)
        return known.get(text, known.get(f"\n{text.lower()}", -1)) if text else -1

    def _number(self, field: Mapping[str, Any], cell: Any) -> float:
        if isinstance(cell, int | float | np.number | np.bool_):
            return _float(cell)
        if field["kind"] == "boolean" and isinstance(cell, str):  # a spelling of "missing" may say no here
            said = field["truths"].get(" ".join(unicodedata.normalize("NFKC", cell).split()).lower())
            if said is not None:
                return said
        text = self._text(cell)
        if not text or text.lower() in self._unknown:
            return math.nan
        if field["kind"] == "boolean":
            raise ValueError(f"The cell {cell!r} of {field['name']!r} says neither yes nor no.")
        if not _PLAIN.fullmatch(text) or (field["comma"] and "." in text):
            raise ValueError(
                f"The cell {cell!r} of {field['name']!r} is no plain number. Give a number; units, thousands and "
                "decimal commas are read by `sartor predict`."
            )
        return float(text)

    def _date(self, name: str, cell: Any) -> list[float]:
        if isinstance(cell, datetime.date):
            cell = cell.isoformat()
        text = self._text(cell)
        if not text or text.lower() in self._unknown or text == "NaT":
            return [math.nan] * 5
        found = _ISO.fullmatch(text)
        try:
            if found is None:
                raise ValueError
            year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
            datetime.time(hour, minute, second)
            return date_parts(datetime.date(year, month, day), hour + minute / 60 + second / 3600)
        except ValueError:
            raise ValueError(f"The cell {cell!r} of {name!r} is no ISO date, as 2021-03-31.") from None


def date_parts(day: datetime.date, hours: float = 0.0) -> list[float]:
    """Return the numbers that a date is: days since 2000, sine and cosine of its place in the year, weekday, hour."""
    days = (day - _BEGIN).days
    begin = datetime.date(day.year, 1, 1)
    length = 366 if day.year % 4 == 0 and (day.year % 100 or day.year % 400 == 0) else 365
    angle = 2 * math.pi * (((day - begin).days + hours / 24) / length)
    return [days + hours / 24, math.sin(angle), math.cos(angle), float(day.weekday()), hours]


def _float(cell: Any) -> float:
    try:
        return float(cell)
    except OverflowError:  # an integer beyond floats
        return math.nan


def _known(levels: Sequence[str]) -> dict[str, int]:
    """Return the code of each level, and behind a line feed, which no level holds, of those that case does not tell."""
    low = [level.lower() for level in levels]
    once = {f"\n{name}": code for code, name in enumerate(low) if low.count(name) == 1}
    return {**once, **{level: code for code, level in enumerate(levels)}}


def _flat(parts: Sequence[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=dtype), *(part.ravel() for part in parts)]).astype(dtype)


def _tables(arrays: Mapping[str, np.ndarray]) -> Iterator[np.ndarray]:
    at = 0
    for count, width in zip(arrays["level_count"].tolist(), arrays["level_width"].tolist(), strict=True):
        size = (count + 1) * width
        yield arrays["level_table"][at : at + size].reshape(-1, width)
        at += size


if __name__ == "__main__":
    made = Model()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(made.predict([json.loads(line)])[0], ensure_ascii=False) + "\n")
