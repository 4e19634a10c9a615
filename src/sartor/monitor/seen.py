"""What the monitor sees of requests: never a text, only what the journal keeps of each.

Dimension key:   N: requests   D: of a projection
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sartor.types import Column

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
Cell: TypeAlias = float | str | None
"""Of a table: a number, a category, or nothing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request and its answer."""

    id: str = ""
    seq: int = 0
    """In the journal; 0 where it is no answer."""
    time: float = 0.0
    """Unix, in seconds."""
    label: str | None = None
    """What was answered, where answers are of a list; None where a text was written or nothing was answered."""
    confidence: float | None = None
    """Calibrated, 0..1."""
    value: float | None = None
    """A foretold value; of a written answer its length in characters."""
    abstain: bool = False
    """None of the labels, or not sure."""
    escalated: bool = False
    """A large model was asked."""
    error: bool = False
    """It could not be answered."""
    listed: bool = True
    """False: an answer that is not of the list it should be of."""
    latency_ms: float | None = None
    length: int = 0
    """Characters of the input."""
    projection: Sequence[float] | None = None
    """(D,) random projection of the input's embedding."""
    cells: Mapping[str, Cell] = field(default_factory=dict[str, Cell])
    """Of a table's row, where the journal keeps them."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Requests in the order of their coming, a column each; what is missing is NaN, or "" of a label."""

    label: NDArray[np.str_]
    confidence: FloatArray
    value: FloatArray
    abstain: BoolArray
    escalated: BoolArray
    error: BoolArray
    listed: BoolArray
    latency_ms: FloatArray
    length: FloatArray
    projection: FloatArray
    """(N, D); D is 0 where nobody keeps one."""
    cells: Mapping[str, NDArray[np.object_]] = field(default_factory=dict[str, NDArray[np.object_]])
    """A row of which no cell is known has None in all columns."""

    def __len__(self) -> int:
        return len(self.length)

    def take(self, rows: slice | NDArray[np.int64]) -> "Stretch":
        """Return these requests, in this order."""
        return Stretch(
            self.label[rows],
            self.confidence[rows],
            self.value[rows],
            self.abstain[rows],
            self.escalated[rows],
            self.error[rows],
            self.listed[rows],
            self.latency_ms[rows],
            self.length[rows],
            self.projection[rows],
            {name: column[rows] for name, column in self.cells.items()},
        )

    @classmethod
    def of(cls, rows: Sequence[Seen]) -> "Stretch":
        """Return rows as columns."""
        names = dict.fromkeys(name for row in rows for name in row.cells)
        widths = [len(row.projection) for row in rows if row.projection is not None]
        empty = [np.nan] * max(widths, default=0)
        projection = [
            empty if row.projection is None or len(row.projection) != len(empty) else row.projection for row in rows
        ]
        return cls(
            label=np.array([row.label or "" for row in rows], dtype=np.str_),
            confidence=_floats([row.confidence for row in rows]),
            value=_floats([row.value for row in rows]),
            abstain=np.array([row.abstain for row in rows], dtype=np.bool_),
            escalated=np.array([row.escalated for row in rows], dtype=np.bool_),
            error=np.array([row.error for row in rows], dtype=np.bool_),
            listed=np.array([row.listed for row in rows], dtype=np.bool_),
            latency_ms=_floats([row.latency_ms for row in rows]),
            length=np.array([row.length for row in rows], dtype=np.float64),
            projection=np.array(projection, dtype=np.float64).reshape(len(rows), len(empty)),
            cells={name: _objects([row.cells.get(name) for row in rows]) for name in names},
        )


def joined(parts: Sequence[Stretch]) -> Stretch:
    """Return stretches one behind the other.

    Raises:
        ValueError: when there is none, or their projections differ in width.
    """
    names = dict.fromkeys(name for part in parts for name in part.cells)
    cells = {
        name: np.concatenate([part.cells.get(name, _objects([None] * len(part))) for part in parts]) for name in names
    }
    return Stretch(
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.abstain for part in parts]),
        np.concatenate([part.escalated for part in parts]),
        np.concatenate([part.error for part in parts]),
        np.concatenate([part.listed for part in parts]),
        np.concatenate([part.latency_ms for part in parts]),
        np.concatenate([part.length for part in parts]),
        np.concatenate([part.projection for part in parts]),
        cells,
    )


def unseen(stretch: Stretch, columns: Sequence[Column]) -> BoolArray:
    """Return (N,) true where a row holds a category that the model's columns do not name."""
    found = np.zeros(len(stretch), dtype=np.bool_)
    for column in columns:
        if column.kind == "category" and column.name in stretch.cells:
            known = {*(level.casefold() for level in column.levels), ""}
            cells = ("" if cell is None else str(cell).strip().casefold() for cell in stretch.cells[column.name])
            found |= np.array([cell not in known for cell in cells], dtype=np.bool_)
    return found


def _floats(values: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _objects(values: Sequence[Cell]) -> NDArray[np.object_]:
    found = np.empty(len(values), dtype=np.object_)
    found[:] = values
    return found
