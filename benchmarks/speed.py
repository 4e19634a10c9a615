"""(e) Speed and memory: what a person waits for, what an answer costs, what 10,000 rows take.

    python -m benchmarks.speed --data DATA

Fresh processes are timed from the outside, with their largest resident size; the base stands in the cache and the
network is off. Each figure is the median of several; the load of the machine stands in the result, as others may
work on it. Rows by the thousand are BANKING77's, drawn with replacement, a word of the same set put after each.
With ``--full`` 100,000 rows as well.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Run, arguments, public_sets, table
from sartor import pipeline
from sartor.data.split import few
from sartor.families.interface import Condition
from sartor.families.text_classification import FAMILY
from sartor.model import Classifier
from sartor.requirement.heuristic import understand
from sartor.types import Example, Rows, Task

BASE = "all-minilm-l6-v2+anchor2"
LABELS, SHOTS = 10, 8
SARTOR = "from sartor.cli import main; main()"
_WATCH = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.call(sys.argv[2:])
seconds = time.perf_counter() - start
json.dump([seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss], open(sys.argv[1], "w"))
sys.exit(code)
"""
# a process is born with the size of its parent, and ours is large: a small one stands between
MEGA = 1e6
_UNIT = 1 if sys.platform == "darwin" else 1024  # what the largest resident size is counted in


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended well."""

    seconds: float
    peak_mb: float
    output: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure."""

    what: str
    unit: str
    value: float
    """The median."""
    least: float
    most: float
    repeats: int
    more: Mapping[str, Any]

    @classmethod
    def of(cls, what: str, unit: str, values: Sequence[float], **more: Any) -> "Figure":
        """Return the median of ``values`` with their extremes."""
        return cls(what, unit, float(np.median(values)), min(values), max(values), len(values), more)

    def row(self) -> dict[str, Any]:
        """Return it for the results."""
        row = {"what": self.what, "unit": self.unit, "value": self.value, "least": self.least, "most": self.most}
        return {**row, "repeats": self.repeats, **self.more}


def main() -> None:
    options = arguments(
        __doc__ or "",
        seeds=1,
        extend={
            "--repeats": {"type": int, "default": 5, "help": "of short measurements"},
            "--full": {"action": "store_true", "help": "100,000 rows as well (many minutes)"},
        },
    )
    run = Run("speed", options, seeds=range(options.seeds))
    sets = public_sets(options.data)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), sets, options.repeats)
        stages = [bench.starts, bench.cold, bench.warm, bench.answers, bench.bulk, bench.sizes, bench.ten_thousand]
        for stage in [*stages, *([bench.hundred_thousand] if options.full else [])]:
            figures += stage()
            run.say(stage.__name__)
    lines = [
        (f.what, f"{f.value:,.3g}", f.unit, f"{f.least:,.3g} … {f.most:,.3g}", f.repeats, note(f)) for f in figures
    ]
    print(table(("what", "median", "unit", "least … most", "of", "more"), lines))
    run.write([figure.row() for figure in figures], {f.what: f"{f.value:.4g} {f.unit}" for f in figures}, base=BASE)


def note(figure: Figure) -> str:
    """Return what else was found, for a person."""
    return ", ".join(f"{key} {value}" for key, value in figure.more.items())


class Bench:
    """Rows, a stored model and a folder of this run's own; each method is one measurement."""

    def __init__(self, folder: Path, sets: Mapping[str, Mapping[str, tuple[Example, ...]]], repeats: int) -> None:
        self.folder = folder
        self.sets = sets
        self.repeats = repeats
        self.banking = sets["banking77"]["train"]
        names = sorted({str(row.output) for row in self.banking})[:LABELS]
        self.few = few([row for row in self.banking if row.output in names], SHOTS, 0)
        self.texts = [row.input for row in sets["banking77"]["test"]]
        self.csv = write_csv(folder / "few.csv", self.few)
        self.model = generate(self.few)

    def starts(self) -> list[Figure]:
        """Time Python alone, the import and the help."""
        commands = {"python, doing nothing": "pass", "import sartor": "import sartor"}
        found = [self._processes(what, [sys.executable, "-c", code]) for what, code in commands.items()]
        return [*found, self._processes("sartor --help", [sys.executable, "-c", SARTOR, "--help"])]

    def cold(self) -> list[Figure]:
        """Time whole commands in fresh processes: generate from 80 rows, then answer one text."""
        what = f"sartor generate, {len(self.few)} rows, {LABELS} labels, fresh process"
        words = ["generate", "Name the intent of a question to a bank.", "--examples", str(self.csv), "--name", "cold"]
        made = self._processes(what, [sys.executable, "-c", SARTOR, *words, "--json"])
        one = [sys.executable, "-c", SARTOR, "predict", "cold", self.texts[0], "--json"]
        return [made, self._processes("sartor predict, one text, fresh process", one)]

    def warm(self) -> list[Figure]:
        """Time the same in this process, where all is loaded, and the generator alone."""
        whole = repeated(lambda: generate(self.few), self.repeats)
        requirement, condition = encoded(self.few)
        alone = repeated(lambda: FAMILY.generate(requirement, condition, seed=0), 4 * self.repeats)
        return [
            Figure.of(f"generate and prove, {len(self.few)} rows, base loaded", "s", whole),
            Figure.of(f"generate from encoded rows, {LABELS} labels x {SHOTS}", "ms", [1000 * one for one in alone]),
        ]

    def answers(self) -> list[Figure]:
        """Time single answers, one text after the other."""
        self.model.answer(self.texts[:2])
        spent = [1000 * once(lambda text=text: self.model.answer([text])) for text in self.texts[:200]]
        p50, p95 = np.percentile(spent, [50, 95])
        return [
            Figure.of("answer to one text, p50", "ms", [float(p50)], texts=len(spent)),
            Figure.of("answer to one text, p95", "ms", [float(p95)], texts=len(spent)),
        ]

    def bulk(self) -> list[Figure]:
        """Time answers in bulk to texts of 20 and of 100 words."""
        words = " ".join(self.texts).split()
        found: list[Figure] = []
        for length, many in ((20, 500), (100, 150)):
            texts = [" ".join(words[at * length : (at + 1) * length]) for at in range(many)]
            rates = [many / spent for spent in repeated(lambda texts=texts: self.model.answer(texts), self.repeats)]
            found.append(Figure.of(f"answers in bulk, texts of {length} words", "texts/s", rates, texts=many))
        return found

    def sizes(self) -> list[Figure]:
        """Weigh stored models of 2, 77 and 150 labels."""
        two = [row for row in self.few if row.output in sorted({str(row.output) for row in self.few})[:2]]
        found: list[Figure] = []
        for rows in (two, self.sets["banking77"]["train_5"], self.sets["clinc150"]["train_5"]):
            labels = len({row.output for row in rows})
            start = time.perf_counter()
            model = generate(rows)
            spent = time.perf_counter() - start
            folder = model.save(self.folder / f"labels-{labels}")
            size = sum(file.stat().st_size for file in folder.iterdir())
            more = {"rows": len(rows), "seconds to generate and prove": round(spent, 1), "head": model.manifest.head}
            found.append(Figure.of(f"stored model, {labels} labels", "MB", [size / MEGA], **more))
        return found

    def ten_thousand(self) -> list[Figure]:
        """Generate from 10,000 rows."""
        return self._many(10_000)

    def hundred_thousand(self) -> list[Figure]:
        """Generate from 100,000 rows."""
        return self._many(100_000)

    def _many(self, rows: int) -> list[Figure]:
        path = write_csv(self.folder / f"{rows}.csv", synthesise(self.banking, rows, seed=0))
        words = ["generate", "Name the intent of a question to a bank.", "--examples", str(path), "--name", "many"]
        ended = child([sys.executable, "-c", SARTOR, *words, "--json"], self.folder)
        told = json.loads(ended.output)
        more = {**told["seconds"], "peak MB": round(ended.peak_mb), "head": told["head"], "labels": len(told["labels"])}
        return [Figure.of(f"sartor generate, {rows:,} rows, fresh process", "s", [ended.seconds], **more)]

    def _processes(self, what: str, command: Sequence[str]) -> Figure:
        ended = [child(command, self.folder) for _ in range(self.repeats)]
        peak = round(max(one.peak_mb for one in ended))
        return Figure.of(what, "s", [one.seconds for one in ended], **{"peak MB": peak})


def generate(rows: Sequence[Example]) -> Classifier:
    """Generate and prove a model that is not stored."""
    task = Task(description="Name the intent of a question to a bank.", language="en")
    made = pipeline.make(task, rows, base=BASE, store=False).model
    assert isinstance(made, Classifier), made
    return made


def encoded(rows: Sequence[Example]) -> tuple[Any, Condition[Any]]:
    """Return the requirement and the encoded task that a model of ``rows`` is generated from."""
    task = Task(description="Name the intent of a question to a bank.", language="en")
    understood = understand(task, Rows(rows), name="speed", base=BASE)
    base = FAMILY.base(understood.requirement)
    return understood.requirement, pipeline.encode(FAMILY, base, understood)


def synthesise(rows: Sequence[Example], many: int, *, seed: int) -> list[Example]:
    """Return ``many`` rows drawn with replacement, a word of the same rows put after each text."""
    random = np.random.default_rng(seed)
    words = sorted({word for row in rows for word in row.input.split()})
    drawn = random.integers(len(rows), size=many).tolist()
    added = random.integers(len(words), size=many).tolist()
    return [
        Example(f"{rows[row].input} {words[word]}", rows[row].output) for row, word in zip(drawn, added, strict=True)
    ]


def write_csv(path: Path, rows: Sequence[Example]) -> Path:
    """Write rows as ``text,label``; return the path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows((row.input, row.output) for row in rows)
    return path


def once(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def repeated(call: Callable[[], object], repeats: int) -> list[float]:
    """Return the seconds of ``repeats`` calls, after one that does not count."""
    call()
    return [once(call) for _ in range(repeats)]


def child(command: Sequence[str], folder: Path) -> Ended:
    """Run a command with a store of its own under ``folder`` and no network; wait for its end.

    Raises:
        RuntimeError: if it fails; with what it said.
    """
    environment = {**os.environ, "SARTOR_HOME": str(folder / "home"), "SARTOR_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "told"
        watched = [sys.executable, "-c", _WATCH, str(told), *command]
        done = subprocess.run(watched, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise RuntimeError(f"A measured process ended with {done.returncode}: {done.stderr[-2000:]}")
        seconds, peak = json.loads(told.read_text())
        return Ended(seconds, peak * _UNIT / MEGA, done.stdout)


if __name__ == "__main__":
    main()
