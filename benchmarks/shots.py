"""(b) SST-5, TREC-6 and AG News at 0, 8 and 64 rows a label, ten seeds.

    python -m benchmarks.shots --data DATA

The full public test files. Training rows whose text is also in the test file are left out; those of AG News come
from the collection of tasks, as its training file is not among the public sets. With ``--full`` all training rows
as well.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common import (
    Encoder,
    Run,
    TextTask,
    arguments,
    gap,
    points,
    public_sets,
    read_index,
    read_tasks,
    table,
    without,
)
from benchmarks.fewshot import MODEL, Outcome, Shots, by_task, prepare, study, to_rows
from sartor.nn.text_base import load_base
from sartor.types import Example, Metric

BASE = "all-minilm-l6-v2+anchor2"
SHOTS: tuple[Shots, ...] = (0, 8, 64)
SST5 = ("very negative", "negative", "neutral", "positive", "very positive")
TREC6 = ("abbreviation", "description", "entity", "human", "location", "number")
AG_NEWS = ("World", "Sports", "Business", "Sci/Tech")
AG_NEWS_NAMES = {"Science or Technology": "Sci/Tech"}
"""Label of the collection of tasks -> that of the public test file."""


def main() -> None:
    options = arguments(
        __doc__ or "",
        seeds=10,
        extend={"--full": {"action": "store_true", "help": "all training rows as well (minutes more)"}},
    )
    run = Run("shots", options, seeds=range(options.seeds))
    encoder = Encoder(load_base(BASE), options.cache)
    outcomes: list[Outcome] = []
    for task in tasks(options.data):
        encoded = prepare(task, encoder)
        for shots in (*SHOTS, *(("all",) if options.full else ())):
            outcomes += study(encoded, [shots], run.seeds)
            run.say(f"{task.name}, {shots} rows a label")
    summary = {field: by_task(outcomes, field) for field in ("accuracy", "balanced_accuracy", "log_loss", "ece")}
    print(to_table(summary["accuracy"], "accuracy"))
    run.write(to_rows(outcomes), summary, base=BASE)


def tasks(data: Path) -> list[TextTask]:
    """Return the three, with every test row."""
    sets = public_sets(data)
    news = next(row for row in read_index(data) if (row.collection, row.name) == ("textcls", "ag_news"))
    train = read_tasks(data, [news])[0].train
    renamed = [replace(row, output=AG_NEWS_NAMES.get(str(row.output), row.output)) for row in train]
    return [
        _task("sst5", "Rate a sentence from a movie review on five levels.", SST5, sets["sst5"]),
        _task("trec6", "Say what kind of answer a question asks for.", TREC6, sets["trec6"]),
        _task("ag_news", "Say what a news item is about.", AG_NEWS, {**sets["ag_news"], "train": tuple(renamed)}),
    ]


def _task(name: str, about: str, labels: tuple[str, ...], files: Mapping[str, tuple[Example, ...]]) -> TextTask:
    train = without(files["train"], files["test"])
    return TextTask(name, name, "benchmarks", "en", about, labels, train, files["test"])


def to_table(summary: list[dict[str, Any]], field: str) -> str:
    """Return means over seeds for a person, each control with the model's difference to it."""
    controls = ("probe", "tfidf", "label-names", "majority")
    header = ("task", "shots", "model", *(f"{name}, model minus it" for name in controls))
    lines: list[tuple[object, ...]] = []
    for cell in summary:
        means, gaps = cell[field], cell["model_minus"]
        theirs = (f"{points(means[c].value)}  {gap(gaps[c])}" if c in means else "" for c in controls)
        lines.append((cell["task"], cell["shots"], interval(means[MODEL]), *theirs))
    return f"{field}, 95% intervals over seeds (accuracy of one draw: over test rows)\n{table(header, lines)}"


def interval(metric: Metric) -> str:
    """Return a mean and half the width of its interval, in points."""
    half = (metric.high - metric.low) / 2
    return points(metric.value) if math.isnan(half) else f"{points(metric.value)} ± {points(half)}"


if __name__ == "__main__":
    main()
