"""What the benchmarks share: public data, encoded texts kept between runs, intervals, and the results on disk.

Nothing here knows a table; :mod:`benchmarks.fewshot` and the scripts do.
"""

import argparse
import csv
import hashlib
import inspect
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.stats
import torch
from numpy.typing import ArrayLike, NDArray

from sartor.evaluate import cost
from sartor.evaluate.compare import holm as holm
from sartor.evaluate.groups import group_mean as group_mean
from sartor.families.text_classification import FAMILY, TextClassification
from sartor.nn import encoder, features
from sartor.nn.features import TextFeatures
from sartor.nn.text_base import POOLED, TextBase
from sartor.pretrain.arms import gibberish as gibberish
from sartor.pretrain.public import IndexRow as IndexRow
from sartor.pretrain.public import TextTask as TextTask
from sartor.pretrain.public import read_archive as read_archive
from sartor.pretrain.public import read_index as read_index
from sartor.pretrain.public import read_jsonl as read_jsonl
from sartor.pretrain.public import read_tasks as read_tasks
from sartor.types import Example, Metric, Requirement

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_VERSIONED = ("sartor", "torch", "numpy", "scipy", "scikit-learn", "tokenizers")
_ALIKE = 1e-12
"""Values that differ by less are the same but for rounding."""


# --- public data -------------------------------------------------------------------------------------------


def read_csv(content: bytes) -> tuple[Example, ...]:
    """Return the rows of a ``text,label`` file."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
    return tuple(Example(row["text"], row["label"]) for row in rows)


def public_sets(data: Path) -> dict[str, dict[str, tuple[Example, ...]]]:
    """Return set -> file (``train_5``, ``test`` …) -> rows of the public benchmarks."""
    found: dict[str, dict[str, tuple[Example, ...]]] = {}
    for name, content in read_archive(data / "benchmarks" / "text.tar.xz").items():
        folder, _, file = name.partition("/")
        if file.endswith(".csv"):
            found.setdefault(folder, {})[file.removesuffix(".csv")] = read_csv(content)
    return found


def without(rows: Iterable[Example], others: Iterable[Example]) -> tuple[Example, ...]:
    """Return ``rows`` less those whose text is among ``others``."""
    texts = {other.input for other in others}
    return tuple(row for row in rows if row.input not in texts)


# --- encoded texts -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encodes texts once and keeps them in a folder, named by all that their features depend on."""

    base: TextBase
    folder: Path

    def __call__(self, requirement: Requirement, texts: Sequence[str]) -> TextFeatures:
        """Return the features of ``texts``, from the folder if they are there."""
        path = self.folder / f"{self._key(requirement, texts)}.npz"
        if path.exists():
            return load_features(path, texts)
        found = FAMILY.encode(self.base, requirement, texts)
        save_features(path, found)
        return found

    def _key(self, requirement: Requirement, texts: Sequence[str]) -> str:
        code = [inspect.getsource(part) for part in (encoder, features, TextBase, TextClassification.encode)]
        parts = [self.base.ref.sha256, self.base.prefix, POOLED, requirement.max_tokens, code, list(texts)]
        return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()


def save_features(path: Path, found: TextFeatures) -> None:
    """Write features to ``path`` (npz); a run that is cut off leaves no half file under that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, NDArray[Any]] = {"pooled": found.pooled, "cut": found.cut}
    for name, matrix in (("words", found.words), ("characters", found.characters)):
        parts = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}
        arrays |= {f"{name}.{part}": array for part, array in parts.items()}
        arrays[f"{name}.shape"] = np.array(matrix.get_shape())
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        np.savez(file, allow_pickle=False, **arrays)
    Path(file.name).replace(path)


def load_features(path: Path, texts: Sequence[str]) -> TextFeatures:
    """Return what :func:`save_features` wrote for these texts."""
    with np.load(path, allow_pickle=False) as arrays:
        words, characters = (
            sp.csr_matrix(
                tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr")),
                shape=tuple(arrays[f"{name}.shape"]),
            )
            for name in ("words", "characters")
        )
        return TextFeatures(arrays["pooled"], words, characters, arrays["cut"], tuple(texts))


# --- intervals ---------------------------------------------------------------------------------------------


def seed_mean(values: ArrayLike) -> Metric:
    """Return the mean over seeds with Student's 95% interval; one value, or values all alike, have none (NaN).

    A task with fewer rows than are asked for gives the same rows to every seed, and that is one draw.
    """
    values = np.asarray(values, dtype=np.float64)
    mean, n = float(values.mean()), len(values)
    if np.ptp(values) < _ALIKE:
        return Metric(mean, math.nan, math.nan)
    half = float(scipy.stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return Metric(mean, mean - half, mean + half)


def seed_p_value(values: ArrayLike) -> float:
    """Return the p-value of Student's two-sided test that the mean over seeds is zero."""
    values = np.asarray(values, dtype=np.float64)
    if np.ptp(values) < _ALIKE:  # there is no spread to test by
        return 1.0
    t = values.mean() / (values.std(ddof=1) / np.sqrt(len(values)))
    return 2 * float(scipy.stats.t.sf(abs(t), len(values) - 1))


def verdict(difference: Metric) -> str:
    """Return in a word what a paired difference (positive favours the model) and its interval say."""
    if math.isnan(difference.low):
        return "one draw"
    if difference.low > 0:
        return "better"
    return "WORSE" if difference.high < 0 else "tie"


# --- what is told and kept ---------------------------------------------------------------------------------


def arguments(
    about: str, *, seeds: int | None, data: bool = True, extend: Mapping[str, Mapping[str, Any]] | None = None
) -> argparse.Namespace:
    """Read the flags that every script has, and those of ``extend`` (flag -> what argparse wants to know of it).

    A script that names its draws otherwise has no ``--seeds`` (none).
    """
    parser = argparse.ArgumentParser(description=about.strip().partition("\n")[0])
    if data:
        parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "sartor-benchmarks",
        help="folder for what was encoded or fitted; safe to delete",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    if seeds is not None:
        parser.add_argument("--seeds", type=int, default=seeds, help=f"how many, from 0; {seeds} unless told")
    for flag, options in (extend or {}).items():
        parser.add_argument(flag, **options)
    return parser.parse_args()


class Run:
    """One run of a script: when, where, on what; and what came out."""

    def __init__(self, benchmark: str, options: argparse.Namespace, *, seeds: Sequence[int]) -> None:
        self.benchmark = benchmark
        self.started = time.perf_counter()
        self.load_before = os.getloadavg()
        self.seeds = list(seeds)
        self.out: Path = options.out
        self.command = command_line(benchmark, options)

    def say(self, text: str) -> None:
        """Tell how far it is."""
        print(f"[{time.perf_counter() - self.started:6.0f} s] {text}", file=sys.stderr, flush=True)

    def write(self, rows: Sequence[Mapping[str, Any]], summary: Any, *, name: str = "", **more: Any) -> Path:
        """Write ``NAME.json`` (the benchmark's own name unless told), one row a line; return its path."""
        head = {
            "benchmark": self.benchmark,
            "command": self.command,
            "commit": commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": cost.machine(torch.get_num_threads()),
            "load": {"before": self.load_before, "after": os.getloadavg()},
            "versions": {"python": sys.version.split()[0], **{name: version(name) for name in _VERSIONED}},
            "seconds": round(time.perf_counter() - self.started, 1),
            "seeds": self.seeds,
            **more,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / f"{name or self.benchmark}.json"
        path.write_text(render(head, rows, summary), encoding="utf-8")
        self.say(f"wrote {path.name}, {path.stat().st_size / 1e3:.0f} kB")
        return path


def render(head: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], summary: Any) -> str:
    """Return the JSON of a result: what heads it, one row a line, the summary; floats of four decimals."""
    lines = [f" {json.dumps(key)}: {_compact(value)}," for key, value in head.items()]
    body = ",\n".join(f"  {_compact(row)}" for row in rows)
    summed = json.dumps(_rounded(summary), ensure_ascii=False, indent=1).replace("\n", "\n ")
    return "\n".join(["{", *lines, f' "rows": [\n{body}\n ],', f' "summary": {summed}', "}", ""])


def _compact(value: Any) -> str:
    return json.dumps(_rounded(value), ensure_ascii=False)


def _rounded(value: Any) -> Any:
    if isinstance(value, Metric):
        return [_rounded(part) for part in (value.value, value.low, value.high)]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value


def command_line(benchmark: str, options: argparse.Namespace) -> str:
    """Return what to type for this run again; folders of this machine are told by their flag's name."""
    words = ["python", "-m", f"benchmarks.{benchmark}"]
    for name, value in vars(options).items():
        flag = f"--{name.replace('_', '-')}"
        if name in ("cache", "out") or value is False or value is None:
            continue
        words += [flag] if value is True else [flag, _folder(name) if isinstance(value, Path) else str(value)]
    return " ".join(words)


def _folder(name: str) -> str:
    return "DATA" if name == "data" else "DIR"


def commit() -> str:
    """Return the commit that these figures belong to; a working tree with other code says so."""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", "src")
    except (OSError, subprocess.CalledProcessError):
        return "uncommitted"
    return f"{head}, with uncommitted changes" if changed else head


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table for a person; the first column is flush left, the others right."""
    cells = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def points(value: float) -> str:
    """Return a share in percent, as ``81.3``."""
    return f"{100 * value:.1f}"


def gap(difference: Metric) -> str:
    """Return a difference in points with its interval and what it says, as ``+2.1 [+1.0, +3.2] better``."""
    value, low, high = (100 * part for part in (difference.value, difference.low, difference.high))
    if math.isnan(low):
        return f"{value:+.1f} {verdict(difference)}"
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}] {verdict(difference)}"
