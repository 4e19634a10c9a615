"""What a model of a table looks at: how much of each column is let in, what a column is worth, and what a cell does.

    scales          of the generated net, from the weights alone
    importance      what is lost when a column's cells change places (Breiman 2001,
                    https://doi.org/10.1023/A:1010933404324); takes labelled rows
    dependence      the mean answer when a column is set to one value in all rows (Friedman 2001,
                    https://doi.org/10.1214/aos/1013203451); takes rows
    contributions   what each cell of one row adds to the mean answer: Shapley values by walks from other rows to this
                    one (Štrumbelj and Kononenko 2014, https://doi.org/10.1007/s10115-013-0679-x); takes rows

All are of the model, not of the world: of columns that go together, any may be told the other's worth, and rows with
changed cells need not be likely ones. A column of the table moves whole, however many numbers it is coded as.

Dimension key:   N: rows   P: columns   O: outputs (the labels, or one value)   K: shuffles   G: points
                 B: rows walked from   R: rounds   W: walks   S: P + 1 steps of a walk
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from sartor.data import columns as columns_of
from sartor.data.table import listed
from sartor.data.text import squeeze
from sartor.errors import DataError, NotFoundError, did_you_mean
from sartor.families.interface import FloatArray, IntArray, LabelFamily, NumberFamily
from sartor.nn import table_coder
from sartor.nn.table_coder import Cells
from sartor.nn.table_target import coder_of, shares_of
from sartor.types import Column, ColumnKind, Metric, Note, Progress, Requirement, Weights, silent

LEAST_LABELLED = 10
"""Rows that permutation importance takes; below, chance says more."""
SHUFFLES = 10
MOST_SHUFFLED = 1000
"""Rows, of which a sample is taken beyond."""
MOST_AVERAGED = 250
MOST_WALKED = 64
LEAST_ROUNDS, MOST_ROUNDS = 2, 32
"""A round is two walks from each row, in an order and in its reverse: 64 orders of columns at most."""
_LEAST_WALKS = 128
_POINTS = 12
_OUTERMOST = 0.02
"""Share of the rows on either side that points leave out."""
_CHUNK = 128
"""Rows whose thousands of products stay in the processor's cache: nearly twice as fast as a thousand at once."""
_TOGETHER = 2048
"""Rows of walks."""
_SMALLEST = float(np.finfo(np.float64).eps)

Answer: TypeAlias = Callable[[Cells], FloatArray]
"""N rows -> (N, O): probabilities of the labels, or values."""


@dataclass(frozen=True, slots=True)
class Part:
    """A column of the table, and where its cells stand."""

    column: Column
    numbers: tuple[int, ...]
    codes: tuple[int, ...]
    scale: float
    """Its share of what is let in."""
    used: bool
    """False: nothing that stands in it changes an answer."""
    texts: tuple[int, ...] = ()

    @property
    def read(self) -> bool:
        """Return whether its cells are looked at: a column may be read, and then told to vary too little."""
        return bool(self.numbers or self.codes or self.texts)

    @property
    def drawn(self) -> bool:
        """Return whether its cells have an order or are few, so that what an answer depends on can be drawn."""
        return bool(self.numbers or self.codes)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is explained."""

    answer: Answer
    parts: tuple[Part, ...]
    """Every column of the table, in its order."""
    labels: tuple[str, ...]
    """Empty where values are foretold."""
    shares: Mapping[str, float]
    """How much of the generated net, of random units and of the columns alone answers."""

    def part(self, name: str) -> Part:
        """Return the column of this name.

        Raises:
            NotFoundError: when there is none.
            DataError: when it is not read.
        """
        names = [part.column.name for part in self.parts]
        alike = [at for at, known in enumerate(names) if squeeze(known) == squeeze(name)]
        if name not in names and len(alike) != 1:
            raise NotFoundError(
                f"The model knows no column {name!r}.{did_you_mean(name, names)} Its columns are {listed(names)}."
            )
        found = self.parts[names.index(name) if name in names else alike[0]]
        if not found.read:
            why = found.column.why or "nothing of it is read"
            raise DataError(f"The column {found.column.name!r} is not read ({why}), so that no answer depends on it.")
        return found


# --- what is found -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of a column the generated net lets in."""

    column: str
    kind: ColumnKind
    scale: float
    """0..1; all columns sum to one, or are 0 where the model is a constant."""
    why: str = ""
    """Why nothing of it is read."""


@dataclass(frozen=True, slots=True)
class Importance:
    """What a column is worth; below 0 where answers are better without it."""

    column: str
    loss: Metric
    """By how much the log-loss rises, or R2 falls, when its cells change places."""
    accuracy: Metric | None = None
    """By how much the accuracy falls; None where values are foretold."""


@dataclass(frozen=True, slots=True)
class Importances:
    """Permutation importance of all columns, in the table's order."""

    measure: str
    """``log-loss`` or ``R2``."""
    score: float
    """The model's own on these rows."""
    rows: int
    shuffles: int
    columns: tuple[Importance, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """A value that all rows are given in a column."""

    value: str
    """As a person reads it; "" where nothing stands in the cell."""
    number: float | None
    """Of a number or date (days since 2000-01-01); None elsewhere."""
    answers: tuple[float, ...]
    """Mean probability of each label, or the mean value alone."""


@dataclass(frozen=True, slots=True)
class Dependence:
    """The mean answer by what stands in a column."""

    column: str
    kind: ColumnKind
    rows: int
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one cell adds to the answer."""

    column: str
    value: str
    """The cell as it was read; "" where nothing stands in it."""
    change: float
    error: float
    """Standard error of ``change`` by the orders that were drawn."""


@dataclass(frozen=True, slots=True)
class Contributions:
    """The changes sum to ``answer - usual``."""

    label: str
    """Whose probability is explained; "" where values are foretold."""
    answer: float
    usual: float
    """Mean answer of the rows walked from."""
    rows: int
    walks: int
    columns: tuple[Contribution, ...]
    """The largest change first."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that was found."""

    model: str
    name: str
    target: str
    labels: tuple[str, ...]
    unit: str
    shares: Mapping[str, float]
    scales: tuple[Scale, ...]
    rows: int = 0
    """That were given."""
    middle: tuple[tuple[float, float], ...] = ()
    """Of each label, or the value alone: between which answers eight of ten given rows have theirs."""
    importance: Importances | None = None
    dependence: tuple[Dependence, ...] = ()
    contributions: Contributions | None = None
    notes: tuple[Note, ...] = ()


# --- the subject -------------------------------------------------------------------------------------------


def subject_of(family: LabelFamily[Cells] | NumberFamily[Cells], requirement: Requirement, weights: Weights) -> Subject:
    """Return a model of a table as it is explained."""
    columns = requirement.columns
    numbers, categories = columns_of.places(columns)
    texts = [at for at, column in enumerate(columns) if column.kind == "text"]
    scale_P, used = np.zeros(len(columns)), set[int]()
    if "constant" not in weights:
        origin_D = coder_of(weights).origin(numbers, categories, texts)
        scale_P, used = table_coder.by_column(origin_D, weights["importance"].numpy(), len(columns)), set(origin_D)
    parts = tuple(
        Part(
            column,
            tuple(place for place, owner in enumerate(numbers) if owner == at),
            tuple(place for place, owner in enumerate(categories) if owner == at),
            float(scale_P[at]),
            at in used,
            tuple(place for place, owner in enumerate(texts) if owner == at),
        )
        for at, column in enumerate(columns)
    )
    labels = tuple(label.name for label in requirement.labels)
    return Subject(_answer_of(family, requirement, weights), parts, labels, shares_of(weights))


def _answer_of(family: LabelFamily[Any] | NumberFamily[Any], requirement: Requirement, weights: Weights) -> Answer:
    def some(cells: Cells) -> FloatArray:
        if isinstance(family, NumberFamily):
            return family.predict(requirement, weights, cells).values[:, None]
        return family.predict(requirement, weights, cells).probabilities

    def answer(cells: Cells) -> FloatArray:
        # at least one chunk, so that no rows have a shape too
        starts = range(0, max(len(cells), 1), _CHUNK)
        return np.concatenate([some(cells.take(np.arange(at, min(at + _CHUNK, len(cells))))) for at in starts])

    return answer


def scales(subject: Subject) -> tuple[Scale, ...]:
    """Return how much of each column the generated net lets in, in the table's order."""
    return tuple(Scale(part.column.name, part.column.kind, part.scale, _why_unused(part)) for part in subject.parts)


def _why_unused(part: Part) -> str:
    if part.used:
        return ""
    return part.column.why or "it did not vary, or others tell more"


# --- importance --------------------------------------------------------------------------------------------


def importance(
    subject: Subject, cells: Cells, targets_N: IntArray | FloatArray, *, seed: int = 0, progress: Progress = silent
) -> Importances:
    """Return what is lost when a column's cells change places among rows.

    No row keeps its own cell. The interval is over rows: each counts by its own loss and by the loss of the rows that
    were given its cells (Hájek's projection, Student's t).

    Args:
        subject: what is explained.
        cells: of N rows; of more than 1,000 a sample is taken.
        targets_N: index of the right label, or the right value.
        seed: of the sample and the shuffles; all columns share these.
        progress: told of columns.

    Raises:
        DataError: when rows are too few, or all have one value where values are foretold.
    """
    if len(cells) < LEAST_LABELLED:
        raise DataError(
            f"Permutation importance takes {LEAST_LABELLED} labelled rows or more; got {len(cells)}. Give more rows."
        )
    chosen = _sample(len(cells), MOST_SHUFFLED, seed)
    cells, targets_N = cells.take(chosen), targets_N[chosen]
    losses = _losses_of(subject, targets_N)
    own = losses(subject.answer(cells))
    donors_KN = _donors(len(cells), seed)
    found: list[Importance] = []
    for at, part in enumerate(subject.parts):
        progress("shuffle", at, len(subject.parts))
        found.append(_importance(subject, part, cells, targets_N, own, donors_KN))
    progress("shuffle", len(subject.parts), len(subject.parts))
    loss_N = own[0]
    score = float(loss_N.mean()) if subject.labels else 1 - float(loss_N.mean() / targets_N.var())
    return Importances("log-loss" if subject.labels else "R2", score, len(cells), SHUFFLES, tuple(found))


_Losses: TypeAlias = tuple[FloatArray, ...]
"""(N,) of each row: log-loss and whether the answer is wrong, or the squared error."""


def _losses_of(subject: Subject, targets_N: IntArray | FloatArray) -> Callable[[FloatArray], _Losses]:
    if not subject.labels:
        if not targets_N.var() > 0:
            raise DataError("The rows have one and the same value: nothing can be lost. Give rows of several values.")
        return lambda answers_N1: ((answers_N1[:, 0] - targets_N) ** 2,)

    def of_classes(answers_NO: FloatArray) -> _Losses:
        right_N = np.take_along_axis(answers_NO, targets_N.astype(np.int64)[:, None], axis=1)[:, 0]
        wrong_N = answers_NO.argmax(axis=1) != targets_N
        return -np.log(np.clip(right_N, _SMALLEST, 1.0)), wrong_N.astype(np.float64)

    return of_classes


def _donors(n: int, seed: int) -> IntArray:
    """Return (K, N) whose cell each row is given: one ring through all rows, so that none is its own."""
    rng = np.random.default_rng([seed, 1])
    rings_KN = np.stack([rng.permutation(n) for _ in range(SHUFFLES)])
    donors_KN = np.empty_like(rings_KN)
    np.put_along_axis(donors_KN, rings_KN, np.roll(rings_KN, 1, axis=1), axis=1)
    return donors_KN


def _importance(
    subject: Subject, part: Part, cells: Cells, targets_N: IntArray | FloatArray, own: _Losses, donors_KN: IntArray
) -> Importance:
    nothing = Metric(0.0, 0.0, 0.0)
    if not part.used:
        return Importance(part.column.name, nothing, nothing if subject.labels else None)
    losses = _losses_of(subject, targets_N)
    rises = [np.zeros(donors_KN.shape) for _ in own]
    for k, donors_N in enumerate(donors_KN):
        shuffled = losses(subject.answer(_given(cells, part, cells.take(donors_N))))
        for rise_KN, after_N, before_N in zip(rises, shuffled, own, strict=True):
            rise_KN[k] = after_N - before_N
    counted = [_influence(rise_KN, donors_KN) for rise_KN in rises]
    if subject.labels:
        return Importance(part.column.name, _interval(counted[0]), _interval(counted[1]))
    # a ratio: how rows bear on the variance counts as well
    square_N = (targets_N - targets_N.mean()) ** 2
    drop = counted[0].mean() / square_N.mean()
    return Importance(part.column.name, _interval((counted[0] - drop * square_N) / square_N.mean() + drop))


def _influence(rise_KN: FloatArray, donors_KN: IntArray) -> FloatArray:
    """Return (N,) how each row bears on the mean rise, as the one that is answered and as the giver of its cell."""
    given_N = np.zeros(rise_KN.shape[1])
    for rise_N, donors_N in zip(rise_KN, donors_KN, strict=True):
        given_N[donors_N] += rise_N
    return rise_KN.mean(axis=0) + given_N / len(rise_KN) - rise_KN.mean()


def _interval(found_N: FloatArray) -> Metric:
    """Return the mean of (N,) and its 95% interval."""
    value, n = float(found_N.mean()), len(found_N)
    half = float(stdtrit(n - 1, 0.975) * found_N.std(ddof=1) / np.sqrt(n))
    return Metric(value, value - half, value + half)


# --- dependence --------------------------------------------------------------------------------------------


def dependence(subject: Subject, part: Part, cells: Cells, *, seed: int = 0) -> Dependence:
    """Return the mean answer when a column is set to one value in all rows.

    The values are those of the given rows: of numbers and dates a dozen quantiles, of categories the levels, the most
    frequent first. Where rows have nothing in the cell, that is a point too.

    Args:
        subject: what is explained.
        part: a column that is read.
        cells: of the rows; of more than 250 a sample is taken for the mean.
        seed: of the sample.
    """
    grid = _grid(part, cells)
    some = cells.take(_sample(len(cells), MOST_AVERAGED, seed))
    points = [
        Point(value, number, tuple(subject.answer(_given(some, part, grid.take(np.full(len(some), at)))).mean(axis=0)))
        for at, (value, number) in enumerate(zip(told(part, grid), _positions(part, grid), strict=True))
    ]
    points = [replace(point, answers=tuple(float(answer) for answer in point.answers)) for point in points]
    return Dependence(part.column.name, part.column.kind, len(some), tuple(points))


def middle(subject: Subject, cells: Cells, *, seed: int = 0) -> tuple[tuple[float, float], ...]:
    """Return between which answers eight of ten rows have theirs: beside this, a dependence is large or small."""
    answers_NO = subject.answer(cells.take(_sample(len(cells), MOST_AVERAGED, seed)))
    low_O, high_O = np.quantile(answers_NO, [0.1, 0.9], axis=0)
    return tuple(zip(low_O.tolist(), high_O.tolist(), strict=True))


def _grid(part: Part, cells: Cells) -> Cells:
    """Return rows whose cells of this column are the points."""
    if part.codes:
        codes_N = cells.codes_NG[:, part.codes[0]]
        points = list(range(min(len(part.column.levels), _POINTS))) + [-1] * bool((codes_N < 0).any())
        codes_GG = np.tile(cells.codes_NG[:1], (len(points), 1))
        codes_GG[:, part.codes[0]] = points
        return Cells(np.tile(cells.numbers_NM[:1], (len(points), 1)), codes_GG, _first(cells, len(points)))
    first_N = cells.numbers_NM[:, part.numbers[0]]
    order = np.argsort(first_N, kind="stable")[: np.count_nonzero(~np.isnan(first_N))]
    _, starts = np.unique(first_N[order], return_index=True)
    if len(starts) > _POINTS:
        ranks = np.linspace(_OUTERMOST, 1 - _OUTERMOST, _POINTS) * (len(order) - 1)
        at = np.round(ranks).astype(np.int64)
        starts = at[np.unique(first_N[order[at]], return_index=True)[1]]
    return cells.take(np.concatenate([order[starts], np.flatnonzero(np.isnan(first_N))[:1]]))


def _positions(part: Part, cells: Cells) -> list[float | None]:
    if part.codes:
        return [None] * len(cells)
    return [None if np.isnan(number) else float(number) for number in cells.numbers_NM[:, part.numbers[0]]]


def told(part: Part, cells: Cells) -> list[str]:
    """Return the cells of a column as they were read, for a person; "" where nothing stands or it is not known."""
    column = part.column
    if not part.drawn:
        return [""] * len(cells)
    if part.codes:
        codes_N = cells.codes_NG[:, part.codes[0]].tolist()
        return [column.levels[code] if 0 <= code < len(column.levels) else "" for code in codes_N]
    return ["" if np.isnan(cell) else _written(column, cell) for cell in cells.numbers_NM[:, part.numbers[0]].tolist()]


def _written(column: Column, cell: float) -> str:
    match column.kind:
        case "boolean":
            return "yes" if cell > 0.5 else "no"
        case "date":
            return (
                str(np.datetime64("2000-01-01", "m") + round(cell * 24 * 60)).removesuffix("T00:00").replace("T", " ")
            )
        case _:
            return f"{cell:.6g}{' ' + column.unit if column.unit else ''}"


# --- contributions -----------------------------------------------------------------------------------------


def contributions(
    subject: Subject, row: Cells, cells: Cells, *, seed: int = 0, progress: Progress = silent
) -> Contributions:
    """Return what each cell of a row adds to the mean answer of others.

    A walk begins at another row and takes over this row's cells one column after the other, in a drawn order; what an
    answer changes by at a step is that column's. Walks start from every other row equally often, in pairs of an order
    and its reverse, so that the changes sum to ``answer - usual`` whatever was drawn, but for rounding (1e-6).

    Args:
        subject: what is explained; of labels, the likeliest one's probability.
        row: one row.
        cells: what is usual; of more than 64 rows a sample is taken.
        seed: of the sample and the orders.
        progress: told of walks.

    Raises:
        DataError: when there is no row to compare with.
    """
    if not len(cells):
        raise DataError("There is no row that says what is usual. Give rows.")
    others = cells.take(_sample(len(cells), MOST_WALKED, seed))
    answers_O = subject.answer(row)[0]
    at = int(answers_O.argmax())
    used = [part for part in subject.parts if part.used]
    rounds = min(max(_LEAST_WALKS // (2 * len(others)), LEAST_ROUNDS), MOST_ROUNDS)
    change_BRP = _walked(lambda some: subject.answer(some)[:, at], used, row, others, rounds, seed, progress)
    change_P = change_BRP.mean(axis=(0, 1))
    noise_P = np.sqrt((change_BRP.var(axis=1, ddof=1) / rounds).mean(axis=0) / len(others))
    found = {part.column.name: (change_P[p], noise_P[p]) for p, part in enumerate(used)}
    every = [
        Contribution(part.column.name, told(part, row)[0], *map(float, found.get(part.column.name, (0.0, 0.0))))
        for part in subject.parts
        if part.read
    ]
    return Contributions(
        label=subject.labels[at] if subject.labels else "",
        answer=float(answers_O[at]),
        usual=float(subject.answer(others)[:, at].mean()),
        rows=len(others),
        walks=2 * rounds * len(others),
        columns=tuple(sorted(every, key=lambda one: -abs(one.change))),
    )


def _walked(
    answer: Callable[[Cells], FloatArray],
    parts: Sequence[Part],
    row: Cells,
    others: Cells,
    rounds: int,
    seed: int,
    progress: Progress,
) -> FloatArray:
    """Return (B, R, P) the change by each column, mean of a walk and its reverse."""
    rng = np.random.default_rng([seed, 2])
    found_XP = np.empty((len(others) * rounds, len(parts)))
    pairs = max(1, _TOGETHER // (len(parts) + 1))
    for start in range(0, len(found_XP), pairs):
        progress("walk", start, len(found_XP))
        which = np.arange(start, min(start + pairs, len(found_XP)))
        orders_XP = rng.permuted(np.tile(np.arange(len(parts)), (len(which), 1)), axis=1)
        ways = (
            _steps(answer, parts, row, others.take(which // rounds), way) for way in (orders_XP, orders_XP[:, ::-1])
        )
        found_XP[which] = sum(ways) / 2
    progress("walk", len(found_XP), len(found_XP))
    return found_XP.reshape(len(others), rounds, len(parts))


def _steps(
    answer: Callable[[Cells], FloatArray], parts: Sequence[Part], row: Cells, starts: Cells, orders_WP: IntArray
) -> FloatArray:
    """Return (W, P) what each column changes on the walk from a start to the row."""
    place_WP = np.argsort(orders_WP, axis=1)
    taken_WSP = place_WP[:, None] < np.arange(len(parts) + 1)[:, None]
    on_way = starts.take(np.repeat(np.arange(len(starts)), len(parts) + 1))
    numbers, codes = on_way.numbers_NM, on_way.codes_NG  # `take` has copied them
    for p, part in enumerate(parts):
        taken = taken_WSP[:, :, p].ravel()
        for at in part.numbers:
            numbers[taken, at] = row.numbers_NM[0, at]
        for at in part.codes:
            codes[taken, at] = row.codes_NG[0, at]
        for at in part.texts:
            on_way.texts_NTE[taken, at] = row.texts_NTE[0, at]  # pyright: ignore[reportOptionalSubscript]
    answers_WS = answer(on_way).reshape(len(starts), -1)
    return np.take_along_axis(np.diff(answers_WS, axis=1), place_WP, axis=1)


# --- what they share ---------------------------------------------------------------------------------------


def _given(cells: Cells, part: Part, donors: Cells) -> Cells:
    """Return rows with a column of others."""
    numbers, codes = cells.numbers_NM.copy(), cells.codes_NG.copy()
    for at in part.numbers:
        numbers[:, at] = donors.numbers_NM[:, at]
    for at in part.codes:
        codes[:, at] = donors.codes_NG[:, at]
    texts = None if cells.texts_NTE is None else cells.texts_NTE.copy()
    for at in part.texts:
        texts[:, at] = donors.texts_NTE[:, at]  # pyright: ignore[reportOptionalSubscript]
    return Cells(numbers, codes, texts)


def _first(cells: Cells, rows: int) -> NDArray[np.float32] | None:
    """Return the texts of the first row, so many times."""
    return None if cells.texts_NTE is None else np.repeat(cells.texts_NTE[:1], rows, axis=0)


def _sample(n: int, most: int, seed: int) -> IntArray:
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng([seed, most]).choice(n, most, replace=False))


def most_telling(found: Explanation, most: int) -> Iterator[str]:
    """Yield the names of the columns that matter most: by importance where it is known, else by scale."""
    if found.importance is not None:
        ranked = [(one.loss.value, one.column) for one in found.importance.columns]
    else:
        ranked = [(one.scale, one.column) for one in found.scales]
    names = [name for worth, name in sorted(ranked, key=lambda one: -one[0]) if worth > 0]
    yield from names[:most]
