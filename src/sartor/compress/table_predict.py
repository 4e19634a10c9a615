"""Answers of one generated model of a table; numpy is all that is needed. `sartor export --format numpy` put this file
beside the model's numbers, model.npz.

    from predict import Model
    model = Model()
    model.predict([{"age": 31, "city": "Kyoto", "opened": "2021-03-31"}])

or, one JSON object a line:

    python predict.py < rows.jsonl

A row is a dict of plain cells: numbers, or text that is a plain numeral ("3.5", "1e3"); categories as text; booleans
as True, False, 0, 1 or a word for it; dates as datetime.date, datetime.datetime or ISO text
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
from collections import Counter
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
    """A generated model of a table. It never changes: threads may share it.

    Args:
        path: of model.npz; beside this file if not given.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        with np.load(path or Path(__file__).with_name("model.npz"), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        self._prepare(json.loads(arrays.pop("about").tobytes()), arrays)

    def _prepare(self, about: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Lay out what is the same for every row."""
        self.labels: list[str] = about["labels"]
        self.fields: list[dict[str, Any]] = about["fields"]
        self._missing = frozenset(about["missing"])
        self._unknown = frozenset(about["unknown"])
        self._huge, self._least = about["huge"], about["least"]
        self._low, self._high = -about["largest"], about["largest"]
        self._a = arrays
        self._codes = [_known(field["levels"]) if field["kind"] == "category" else None for field in self.fields]
        numbers = sum(field.get("parts", 1) for field in self.fields if field["kind"] != "category")
        self._size = numbers, len(arrays["level_count"])
        self._tables = list(_tables(arrays))
        self._bent = len(arrays["bend_knots"])
        self._bend_at = np.arange(self._bent) * arrays["bend_start"].shape[1]
        self._bends = np.stack([arrays[f"bend_{name}"].ravel() for name in ("start", "slope", "base")])
        self._slot, self._gap_slot = (arrays[name].astype(np.intp) for name in ("number_slot", "gap_slot"))
        self._there, self._gone = (np.ascontiguousarray(values_U) for values_U in arrays["gap_values"].T)
        # Products of three steps first, then of two, of one. Then the first steps of all stand in a row, the second
        # steps of those that have two, the third: one gather and one comparison for all.
        steps = {at: [arrays[f"products_{at}_{name}"] for name in ("column", "above", "out")] for at in (3, 2, 1)}
        flat = [
            [steps[order][which][:, at] for at in range(3) for order in (3, 2, 1) if order > at] for which in (0, 1)
        ]
        self._columns, self._above = np.concatenate(flat[0]).astype(np.intp), np.concatenate(flat[1])
        three, two, one = (len(steps[order][0]) for order in (3, 2, 1))
        self._ends = three, three + two, three + two + one, 2 * (three + two) + one
        outs = [arrays["columns_out"], arrays["units_out"], *(steps[order][2] for order in (3, 2, 1))]
        self._out = np.ascontiguousarray(np.concatenate(outs).T)

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
        numbers = np.asarray(numbers, dtype=np.float64)
        codes = np.zeros((*numbers.shape[:-1], 0), dtype=np.int64) if codes is None else np.asarray(codes)
        if numbers.ndim == 1:
            return self._answers(numbers, codes)[None]
        parts = range(0, max(len(numbers), 1), _CHUNK)
        return np.concatenate([self._answers(numbers[at : at + _CHUNK], codes[at : at + _CHUNK]) for at in parts])

    # --- the net; all of it takes one row as (M,) or many as (N, M), since of one the overhead of numpy is what counts

    def _answers(self, numbers: np.ndarray, codes: np.ndarray) -> np.ndarray:
        a = self._a
        coded = self._coded(numbers, codes)
        units = coded @ a["units_weight"]
        units += a["units_bias"]
        np.maximum(units, 0, out=units)
        held = self._held(coded)
        scores = np.concatenate([coded, units, held], axis=-1) @ self._out.T + a["bias"]
        if "warmth" not in a:
            (middle, spread), (low, high) = a["target"], a["range"]
            value = np.minimum(np.maximum(middle + spread * scores, low), high)
            return np.concatenate([value, value - a["half"], value + a["half"]], axis=-1)
        plain, sharp = a["warmth"]
        logits = plain * scores + sharp * np.log(np.maximum(scores, 0) + self._least) + a["logit_bias"]
        odds = np.exp(logits - np.maximum.reduce(logits, axis=-1, keepdims=True))
        odds /= np.add.reduce(odds, axis=-1, keepdims=True)
        return odds

    def _coded(self, numbers: np.ndarray, codes: np.ndarray) -> np.ndarray:
        a = self._a
        known = np.abs(numbers) < self._huge  # not for NaN
        filled = np.where(known.take(self._slot, -1), numbers.take(self._slot, -1), a["number_middle"])
        if self._bent:
            bent = filled[..., : self._bent]
            at = np.add.reduce(bent[..., None] >= a["bend_knots"], axis=-1, dtype=np.intp)
            start, slope, base = self._bends.take(at + self._bend_at, 1)
            filled[..., : self._bent] = slope * (bent - start) + base
        filled -= a["number_mean"]
        filled /= a["number_spread"]
        np.maximum(filled, self._low, out=filled)
        np.minimum(filled, self._high, out=filled)
        parts = [filled.astype(np.float32)]
        if len(self._gap_slot):
            parts.append(np.where(known.take(self._gap_slot, -1), self._there, self._gone))
        if self._tables:
            count = a["level_count"]
            rows = np.where((codes < 0) | (codes >= count), count, codes)
            parts += [table[rows[..., at]] for at, table in enumerate(self._tables)]
        return np.concatenate(parts, axis=-1)

    def _held(self, coded: np.ndarray) -> np.ndarray:
        """Return which products hold."""
        holds = np.concatenate([coded, -coded], axis=-1).take(self._columns, -1) > self._above
        three, two, one, last = self._ends
        held = holds[..., :one]
        held[..., :two] &= holds[..., one : one + two]
        held[..., :three] &= holds[..., last:]
        return held

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
    low = [f"\n{level.lower()}" for level in levels]
    counts = Counter(low)
    once = {name: code for code, name in enumerate(low) if counts[name] == 1}
    return {**once, **{level: code for code, level in enumerate(levels)}}


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
