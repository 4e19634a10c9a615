"""(k) Tables: CC-18's 30, PMLB's report half, ARFF's 33, beside what people use, on the same rows.

    python -m benchmarks.tabular --data DATA --group cc18

The protocol of TabPFN v1 and MotherNet: five splits into halves, at most so many rows of the one to learn from, at
most 1,000 of the other to be judged by; classes keep their shares, and each has a row to learn from. All with their
defaults and one thread. Fits are kept in the cache one by one, so a run that was cut off goes on where it was; a fit
is made anew when its rows, its library or (of the model) any file of the package has changed.

Means, ranks and differences are means over sources: tables of the same data count as one. A difference's interval is
from drawing sources anew. ``below_linear`` are sets of 100 rows or more where the interval over splits lies wholly
below the linear model's, before and after Holm's correction over the sets.
"""

import argparse
import functools
import hashlib
import json
import math
import multiprocessing
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks import tabular_peers as peers
from benchmarks.common import Run, arguments, group_mean, holm, seed_mean, seed_p_value, table
from benchmarks.tabular_peers import LINEAR, MODEL, Task, in_turn
from sartor.pretrain.real_tables import GROUPS, RealTable, half, load
from sartor.types import Metric

Budget = int | None
"""Rows to learn from; none means all of the half."""
MOST_TEST = 1000
SEVERAL = 100
"""Sets with so many rows should never be worse than the linear model."""
CALLS = 200
NOMINAL_COVERAGE = 0.9
PROTOCOL = 1
"""Raised when a fit's figures would no longer be those of another day for another reason than rows and libraries."""
HIGHER = {"auc": True, "accuracy": True, "log_loss": False, "r2": True, "relative_rmse": False}
FIELDS: Mapping[Task, tuple[str, ...]] = {
    "classification": ("auc", "accuracy", "log_loss"),
    "regression": ("r2", "r2_bounded", "relative_rmse", "coverage", "width"),
}
CHIEF: Mapping[Task, str] = {"classification": "auc", "regression": "r2"}
SPENT = ("fit_seconds", "predict_seconds", "seconds", "cpu_seconds", "row_microseconds")
"""What a clock says; ``cpu_seconds`` are those of the process, which do not grow where others use the machine."""
_ALIKE = 5e-5
"""Means that are the same to four decimals are a tie."""


def main() -> None:
    options = arguments(__doc__ or "", seeds=None, extend=FLAGS)
    run = Run("tabular", options, seeds=range(options.splits))
    tables = chosen(load(options.data, options.group), options.half)[: options.limit]
    names = available(options.peers, run)
    jobs = [
        Job(one, size, budgets, split, options.cache / "tabular" / options.group)
        for one in tables
        for size, budgets in sizes(one, options.rows).items()
        for split in range(options.splits)
    ]
    cells = list(measured(jobs, names, options.workers, run))
    summary = summarise(cells)
    for part in summary:
        print(f"{to_table(part)}\n")
    suffix = f"-{options.half}" if options.half == "validation" else ""
    run.write(
        to_rows(cells),
        summary,
        name=f"tabular-{options.group}{suffix}",
        group=options.group,
        half=options.half,
        peers={name: peers.stamp(name) for name in names},
        unavailable=peers.UNAVAILABLE,
        threads=1,
        workers=options.workers,
        failed=[
            {"set": cell.table, "rows": told(cell.budget), "split": cell.split, "peer": cell.peer, "why": cell.failure}
            for cell in cells
            if cell.failure
        ],
    )


def _budgets(text: str) -> list[Budget]:
    return [None if word == "all" else int(word) for word in text.split(",")]


def _peers(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in peers.KNOWN]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no peer {unknown[0]!r}; there are {', '.join(peers.KNOWN)}")
    return names


class _Words(list[Any]):
    """A list that is told as it was typed."""

    def __str__(self) -> str:
        return ",".join(told(value) if value is None or isinstance(value, int) else value for value in self)


FLAGS: dict[str, dict[str, Any]] = {
    "--group": {"choices": GROUPS, "required": True, "help": "which sets"},
    "--half": {"choices": ("report", "validation"), "help": "of pmlb; validation is chosen by and never quoted"},
    "--rows": {
        "type": lambda text: _Words(_budgets(text)),
        "default": _Words([50, 200, 1000, None]),
        "help": "most rows to learn from, as 50,200,1000,all",
    },
    "--splits": {"type": int, "default": 5, "help": "how many, from 0; 5 unless told"},
    "--peers": {
        "type": lambda text: _Words(_peers(text)),
        "default": _Words(peers.DEFAULT),
        "help": f"of {', '.join(peers.KNOWN)}",
    },
    "--limit": {"type": int, "help": "only the first so many sets, to try the script"},
    "--workers": {"type": int, "default": 1, "help": "processes of one thread each"},
}


def chosen(tables: Iterable[RealTable], wanted: str | None) -> list[RealTable]:
    """Return the tables of a half, or all; by name."""
    return [one for one in tables if wanted is None or (half(one.name) == wanted and not _in_cc18(one))]


def _in_cc18(one: RealTable) -> bool:
    return one.group != "cc18" and half(one.name) is None


def available(names: Sequence[str], run: Run) -> list[str]:
    """Return the peers that are installed; say which are not."""
    for name in names:
        if lacking := peers.missing(name):
            run.say(f"{name} is left out: {lacking} is not installed")
    return [name for name in names if not peers.missing(name)]


def told(budget: Budget) -> str:
    """Return a budget as it is typed."""
    return "all" if budget is None else str(budget)


# --- rows --------------------------------------------------------------------------------------------------


def sizes(one: RealTable, budgets: Sequence[Budget]) -> dict[int, list[Budget]]:
    """Return how many rows are learned from -> the budgets that come to that; each is measured once."""
    most = len(split_rows(one.target, one.task, 0, len(one.target))[0])
    found: dict[int, list[Budget]] = {}
    for budget in budgets:
        found.setdefault(most if budget is None else min(budget, most), []).append(budget)
    return found


def split_rows(
    target: NDArray[Any], task: Task, split: int, most: int, most_test: int = MOST_TEST
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows to learn from and to be judged by, in random order.

    Within each class every other row is to learn from, its first in any case. A smaller number of rows is the
    beginning of a larger one: rows of each class are spread evenly over the order, but every class's first comes first.
    """
    random = np.random.default_rng(split)
    place = in_turn(target, task, random)
    if task == "classification":
        _, at, counts = np.unique(target, return_inverse=True, return_counts=True)
        total = counts[at]
    else:
        total = np.full(len(target), len(target))
    train = place % 2 == 0
    among = place // 2
    many = np.where(train, (total + 1) // 2, total // 2)
    key = np.where(among == 0, -1.0, (among + random.random(len(target))) / np.maximum(many, 1))
    order = np.lexsort((random.random(len(target)), key))
    found = order[train[order]][:most], order[~train[order]][:most_test]
    return random.permutation(found[0]), random.permutation(found[1])


# --- one fit -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """Rows that all peers learn from."""

    table: RealTable
    size: int
    budgets: list[Budget]
    split: int
    cache: Path

    @property
    def work(self) -> int:
        """Return what the seconds of a fit are about proportional to."""
        classes = len(np.unique(self.table.target)) if self.table.task == "classification" else 2
        return self.size * self.table.frame.shape[1] * (classes if classes > 2 else 1)

    def key(self, peer: str) -> Path:
        """Return where a peer's figures on these rows are kept."""
        parts = [PROTOCOL, digest(self.table), self.size, self.split, peer, peers.stamp(peer)]
        code = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
        return self.cache / self.table.name / f"{self.size}-{self.split}-{peer}-{code}.json"


@dataclass(frozen=True, slots=True)
class Cell:
    """What a peer came to on a set, a budget and a split."""

    table: str
    source: str
    task: Task
    shape: tuple[int, int]
    classes: int
    seen_as: str
    chosen_by: bool
    budget: Budget
    size: int
    split: int
    peer: str
    values: dict[str, float]
    failure: str


def digest(one: RealTable) -> str:
    """Return what names a table's contents."""
    rows = pd.util.hash_pandas_object(one.frame, index=False).to_numpy()
    target = [str(value) for value in one.target.tolist()]
    names = [one.task, *map(str, one.frame.columns), *one.nominal]
    return hashlib.sha256(rows.tobytes() + json.dumps([names, target]).encode()).hexdigest()


def measured(jobs: Sequence[Job], names: Sequence[str], workers: int, run: Run) -> Iterator[Cell]:
    """Yield every cell; those that are not in the cache are measured first, with a line for each job."""
    waiting = [job for job in jobs if not all(kept(job.key(name)) for name in names)]
    run.say(f"{len(jobs)} sets of rows, {len(jobs) - len(waiting)} of them in the cache; {', '.join(names)}")
    total, done, started = sum(job.work for job in waiting), 0, time.perf_counter()
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) if workers > 1 else None
    with pool or nullcontext():
        work = functools.partial(study, names=list(names))
        for at, (job, text) in enumerate(
            zip(waiting, (pool.map if pool else map)(work, waiting), strict=True), start=1
        ):
            done += job.work
            left = (time.perf_counter() - started) / done * (total - done)
            run.say(f"{at}/{len(waiting)} {text}; {left / 60:.0f} min left")
    for job in jobs:
        yield from (cell for name in names for cell in cells_of(job, name))


def study(job: Job, names: Sequence[str]) -> str:
    """Measure the peers that are not in the cache yet, on one thread; return the job for a person."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for name in names:
            path = job.key(name)
            if not kept(path):
                warm(name, job.table.task)
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_suffix(".part")
                part.write_text(json.dumps(measure(job, name)), encoding="utf-8")
                part.replace(path)
    return f"{job.table.name}, {job.size} rows, split {job.split}"


def kept(path: Path) -> bool:
    """Return whether a fit's figures are in the cache; one that failed is tried again."""
    return path.exists() and "failure" not in json.loads(path.read_text(encoding="utf-8"))


@functools.cache
def warm(name: str, task: Task) -> None:
    """Fit once what does not count: libraries and weights are loaded then."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(40, 2)), columns=["a", "b"])
    target = frame["a"].to_numpy() + 0.1 * random.normal(size=40)
    codes = np.where(target > 0, 1, 0) if task == "classification" else target
    peers.answer(peers.make(name, task, (), 0, seconds=0), task, frame, codes, frame, 2)


def measure(job: Job, name: str) -> dict[str, Any]:
    """Return a peer's figures on the rows of a job, or why there are none."""
    one = job.table
    train, test = split_rows(one.target, one.task, job.split, job.size)
    model = peers.make(name, one.task, one.nominal, job.split)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return {"values": figures(model, one, train, test, time_rows=job.split == 0)}
    except Exception as error:  # a peer that fails on a set is told of and does not end the run
        return {"failure": f"{type(error).__name__}: {error}"[:200]}


def figures(
    model: Any, one: RealTable, train: NDArray[np.int64], test: NDArray[np.int64], *, time_rows: bool
) -> dict[str, float]:
    """Return quality, seconds and, if asked for, microseconds of a single row, of a model that was not fitted yet."""
    frame, asked = one.frame.iloc[train].reset_index(drop=True), one.frame.iloc[test].reset_index(drop=True)
    if one.task == "classification":
        classes, codes = np.unique(one.target, return_inverse=True)
        present, target = np.unique(codes[train], return_inverse=True)
        predict = lambda rows: model.predict_proba(rows)  # noqa: E731
    else:
        target = one.target[train]
        predict = lambda rows: model.predict(rows)  # noqa: E731
    start, cpu = time.perf_counter(), time.process_time()
    model.fit(frame, target)
    fitted = time.perf_counter()
    found = predict(asked)
    ended = time.perf_counter()
    values = {"fit_seconds": fitted - start, "predict_seconds": ended - fitted, "seconds": ended - start}
    values["cpu_seconds"] = time.process_time() - cpu
    if time_rows:
        values["row_microseconds"] = row_microseconds(predict, asked)
    if one.task == "classification":
        return values | class_figures(codes[test], peers.spread(found, present, len(classes)))
    values |= value_figures(one.target[test], np.asarray(found, np.float64).reshape(-1))
    if hasattr(model, "predict_interval"):
        bounds = np.asarray(model.predict_interval(asked), np.float64)
        values |= interval_figures(one.target[test], bounds, float(np.std(target)))
    return values


def row_microseconds(predict: Any, asked: pd.DataFrame) -> float:
    """Return the median of so many calls of one row each; a search is no different from what it found."""
    spent = []
    for at in range(CALLS):
        row = asked.iloc[[at % len(asked)]]
        start = time.perf_counter()
        predict(row)
        spent.append(time.perf_counter() - start)
    return 1e6 * float(np.median(spent))


def class_figures(codes: NDArray[Any], probabilities: NDArray[np.float64]) -> dict[str, float]:
    """Return AUC (one class against another, macro), accuracy and log-loss."""
    return {
        "auc": auc(codes, probabilities),
        "accuracy": float(np.mean(probabilities.argmax(axis=1) == codes)),
        "log_loss": peers.log_loss(codes, probabilities),
    }


def auc(codes: NDArray[Any], probabilities: NDArray[np.float64]) -> float:
    """Return the area under the curve, the mean over pairs of classes that are there (Hand and Till, 2001).

    NaN where there are rows of one class alone.
    """
    present = np.unique(codes)
    areas = [
        (_area(codes, probabilities, one, other) + _area(codes, probabilities, other, one)) / 2
        for at, one in enumerate(present)
        for other in present[at + 1 :]
    ]
    return float(np.mean(areas)) if areas else math.nan


def _area(codes: NDArray[Any], probabilities: NDArray[np.float64], one: int, other: int) -> float:
    """Return how often a row of ``one`` has more of ``one`` than a row of ``other``; ties are halves."""
    among = (codes == one) | (codes == other)
    ranks = scipy.stats.rankdata(probabilities[among, one])
    mine = codes[among] == one
    n, m = int(mine.sum()), int((~mine).sum())
    return float((ranks[mine].sum() - n * (n + 1) / 2) / (n * m))


def value_figures(target: NDArray[np.float64], found: NDArray[np.float64]) -> dict[str, float]:
    """Return R2, R2 no lower than -1 (one wild set else outweighs all), RMSE, and RMSE in spreads of the target."""
    rmse, spread = float(np.sqrt(np.mean((target - found) ** 2))), float(np.std(target))
    r2 = 1 - (rmse / spread) ** 2 if spread > 0 else math.nan
    return {"r2": r2, "r2_bounded": max(r2, -1.0), "rmse": rmse, "relative_rmse": rmse / spread if spread else math.nan}


def interval_figures(target: NDArray[np.float64], bounds: NDArray[np.float64], spread: float) -> dict[str, float]:
    """Return the share of targets inside, and the mean width in spreads of the target that was learned from."""
    inside = (bounds[:, 0] <= target) & (target <= bounds[:, 1])
    return {"coverage": float(inside.mean()), "width": float((bounds[:, 1] - bounds[:, 0]).mean()) / spread}


def cells_of(job: Job, name: str) -> list[Cell]:
    """Return a peer's figures on a job, once for each budget that comes to these rows."""
    one, measured = job.table, json.loads(job.key(name).read_text(encoding="utf-8"))
    classes = len(np.unique(one.target)) if one.task == "classification" else 0
    chosen_by = bool(one.seen_as) and half(one.name) == "validation"
    return [
        Cell(
            one.name,
            one.source,
            one.task,
            one.frame.shape,
            classes,
            one.seen_as,
            chosen_by,
            budget,
            job.size,
            job.split,
            name,
            measured.get("values", {}),
            measured.get("failure", ""),
        )
        for budget in job.budgets
    ]


# --- what it comes to --------------------------------------------------------------------------------------


def to_rows(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """Return means over splits, a row for each set, budget and peer."""
    groups: dict[tuple[str, Budget, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.table, cell.budget, cell.peer].append(cell)
    rows = []
    for (name, budget, peer), found in groups.items():
        first, good = found[0], [cell.values for cell in found if not cell.failure]
        fields = list(dict.fromkeys(field for values in good for field in values))
        rows.append(
            {
                "set": name,
                "task": first.task,
                "rows": first.shape[0],
                "features": first.shape[1],
                **({"classes": first.classes} if first.classes else {}),
                **({"seen_as": first.seen_as} if first.seen_as else {}),
                "budget": told(budget),
                "train": first.size,
                "splits": len(good),
                "peer": peer,
                **{field: float(np.mean([value[field] for value in good if field in value])) for field in fields},
            }
        )
    return rows


def summarise(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return, for each task and budget, what the peers come to; of ARFF also without what was chosen by."""
    found = []
    groups: dict[tuple[Task, Budget], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.task, cell.budget].append(cell)
    for (task, budget), every in groups.items():
        fresh = [cell for cell in every if not cell.chosen_by]
        kinds = {"all": every} | ({"not chosen by": fresh} if fresh and len(fresh) < len(every) else {})
        found += [_at(task, budget, kind, chosen_cells) for kind, chosen_cells in kinds.items()]
    return found


def _at(task: Task, budget: Budget, kind: str, cells: Sequence[Cell]) -> dict[str, Any]:
    grid = Grid.of(cells)
    many = {
        "task": task,
        "budget": told(budget),
        "kind": kind,
        "sets": len(grid.tables),
        "sources": len(set(grid.sources)),
        "left_out": grid.left_out,
    }
    if not grid.tables:
        return many
    fields = [field for field in (*FIELDS[task], *SPENT) if field in grid.values]
    means = {
        field: {peer: group_mean(grid.sources, values.mean(axis=1)) for peer, values in grid.values[field].items()}
        for field in fields
    }
    judged = [field for field in fields if field in HIGHER]
    many |= {"mean": means, "mean_rank": {field: mean_ranks(grid, field) for field in judged}}
    if MODEL in grid.peers:
        many["sartor_minus"] = {field: minus(grid, field) for field in judged}
        if LINEAR in grid.peers:
            chief = CHIEF[task]
            rows = {cell.table: cell.shape[0] for cell in cells}
            gaps = grid.values[chief][MODEL] - grid.values[chief][LINEAR]
            large = [at for at, name in enumerate(grid.tables) if rows[name] >= SEVERAL]
            many["below_linear"] = below({grid.tables[at]: gaps[at] for at in large})
    return many


@dataclass(frozen=True, slots=True)
class Grid:
    """Sets on which no peer failed, and all that was measured there."""

    tables: list[str]
    sources: list[str]
    peers: list[str]
    values: dict[str, dict[str, NDArray[np.float64]]]
    """Field -> peer -> (sets, splits)."""
    left_out: list[str]

    @classmethod
    def of(cls, cells: Sequence[Cell]) -> "Grid":
        """Return the grid of one task and budget."""
        failed = {cell.table for cell in cells if cell.failure}
        source = {cell.table: cell.source for cell in cells if cell.table not in failed}
        tables, names = list(source), list(dict.fromkeys(cell.peer for cell in cells))
        values: dict[str, dict[str, NDArray[np.float64]]] = {}
        for field in dict.fromkeys(field for cell in cells for field in cell.values):
            by_peer: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
            for cell in sorted(cells, key=lambda cell: cell.split):
                if cell.table in source and field in cell.values:
                    by_peer[cell.peer][cell.table].append(cell.values[field])
            values[field] = {
                peer: np.array([found[name] for name in tables])
                for peer, found in by_peer.items()
                if len({len(found.get(name, ())) for name in tables}) == 1 and found
            }
        return cls(tables, list(source.values()), names, values, sorted(failed))


def mean_ranks(grid: Grid, field: str) -> dict[str, float]:
    """Return each peer's mean rank, 1 the best, by means over splits; ties share."""
    scores = np.array([values.mean(axis=1) for values in grid.values[field].values()])
    ranks = scipy.stats.rankdata(-scores.round(6) if HIGHER[field] else scores.round(6), axis=0)
    return {peer: group_mean(grid.sources, row).value for peer, row in zip(grid.values[field], ranks, strict=True)}


def minus(grid: Grid, field: str) -> dict[str, dict[str, Any]]:
    """Return the model less each peer, with an interval over sources, and on how many sets it is better."""
    mine, found = grid.values[field][MODEL].mean(axis=1), {}
    for peer, values in grid.values[field].items():
        if peer != MODEL:
            gaps = mine - values.mean(axis=1)
            better = gaps if HIGHER[field] else -gaps
            found[peer] = {
                "difference": group_mean(grid.sources, gaps),
                "wins": int((better > _ALIKE).sum()),
                "ties": int((abs(better) <= _ALIKE).sum()),
                "losses": int((better < -_ALIKE).sum()),
            }
    return found


def below(gaps: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Return the sets where the interval over splits lies wholly below zero, and which of them after Holm.

    Args:
        gaps: Set -> (splits,) the model less the other.
    """
    adjusted = dict(zip(gaps, holm([seed_p_value(gap) for gap in gaps.values()]), strict=True))
    intervals = {name: seed_mean(gap) for name, gap in gaps.items()}
    under: dict[str, Metric] = {name: interval for name, interval in intervals.items() if interval.high < 0}
    return {
        "sets": len(gaps),
        "interval_below": under,
        "below_after_holm": [name for name in under if adjusted[name] < 0.05],
    }


def to_table(found: Mapping[str, Any]) -> str:
    """Return what a task and budget come to, for a person."""
    title = (
        f"{found['task']}, {found['budget']} rows, {found['kind']}: {found['sets']} sets of {found['sources']} sources"
    )
    if not found["sets"]:
        return title
    mean, ranks = found["mean"], found["mean_rank"]
    minus_all = found.get("sartor_minus", {})
    judged = list(ranks)
    chief = judged[0]
    names = sorted(ranks[chief], key=ranks[chief].__getitem__)
    header = ["", *(word for field in judged for word in (field, "rank", f"{MODEL} - it", "w/t/l"))]
    header += [field for field in ("coverage", "width", *SPENT) if field in mean]
    lines = []
    for name in names:
        line: list[object] = [name]
        for field in judged:
            gap = minus_all.get(field, {}).get(name)
            line += [f"{mean[field][name].value:.4f}", f"{ranks[field][name]:.2f}"]
            line += [_gap(gap["difference"]), f"{gap['wins']}/{gap['ties']}/{gap['losses']}"] if gap else ["", ""]
        for field in header[len(line) :]:
            line.append(f"{mean[field][name].value:.3g}" if name in mean[field] else "")
        lines.append(line)
    notes = []
    if under := found.get("below_linear"):
        after = ", ".join(under["below_after_holm"]) or "none"
        notes.append(f"below linear over splits: {', '.join(under['interval_below']) or 'none'}; after Holm: {after}")
    if found["left_out"]:
        notes.append(f"left out, as a peer failed: {', '.join(found['left_out'])}")
    return "\n".join([title, table(header, lines), *notes])


def _gap(gap: Metric) -> str:
    return f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"


if __name__ == "__main__":
    main()
