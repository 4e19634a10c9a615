"""(c) Held-out tasks: public English classification tasks at 0, 1, 4, 8 and 16 rows a label, and with all rows.

    python -m benchmarks.heldout --data DATA

Tasks are tied to the group of their source; at most two tasks a group, means over tasks within a group, then over
groups, intervals from drawing whole groups. The head's constants (profiles, prior beliefs, temperatures) were
chosen on groups of the ``dev`` side; figures are quoted of the ``report`` side alone. Tasks marked as canaries are
among them: they are judged, nothing is made from them that is kept.

``learnable`` are the tasks where a probe on all training rows beats the largest label's share of the test rows by
ten points of accuracy. That is found without the model.
"""

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import (
    Encoder,
    IndexRow,
    Run,
    arguments,
    gap,
    group_mean,
    holm,
    points,
    read_index,
    read_tasks,
    seed_mean,
    seed_p_value,
    table,
)
from benchmarks.fewshot import (
    ALONE,
    FLOOR,
    MODEL,
    PROBE,
    Outcome,
    Shots,
    differences,
    over_seeds,
    prepare,
    study,
    to_rows,
)
from sartor.nn.anchor import ANCHOR
from sartor.nn.text_base import TextBase, anchored, load_base
from sartor.pretrain.public import fold
from sartor.pretrain.public import side as side

BASE = "all-minilm-l6-v2+anchor2"
PLAIN = "all-minilm-l6-v2"
COLLECTIONS = ("textcls", "sni", "persona", "glue", "bigbench", "bbh")
TASKS_A_GROUP = 2
SHOTS: tuple[Shots, ...] = (0, 1, 4, 8, 16, "all")
LEARNABLE = 0.10
FIELDS = ("balanced_accuracy", "accuracy", "log_loss", "ece")


def main() -> None:
    options = arguments(
        __doc__ or "",
        seeds=5,
        extend={
            "--side": {
                "choices": ("dev", "report"),
                "default": "report",
                "help": "dev is for development, never quoted",
            },
            "--anchors": {
                "type": Path,
                "required": True,
                "help": "folder of the anchors fold0, fold1, fold2 that recipes/text_classification.py made",
            },
            "--most": {"type": int, "help": "only the first so many tasks, to try the script"},
        },
    )
    run = Run("heldout", options, seeds=range(options.seeds))

    @functools.cache
    def encoder(fold: int) -> Encoder:
        return Encoder(fold_base(options.anchors, fold), options.cache)

    index = sorted(chosen(read_index(options.data), options.side), key=lambda row: fold(row.group))[: options.most]
    outcomes: list[Outcome] = []
    for at, task in enumerate(read_tasks(options.data, index), start=1):
        outcomes += study(prepare(task, encoder(fold(task.group))), SHOTS, run.seeds)
        run.say(f"{at}/{len(index)} {task.name} ({len(task.labels)} labels)")
    learnable = learnable_tasks(outcomes)
    summary = {
        name: summarise(outcomes, tasks)
        for name, tasks in (("all", {outcome.task.name for outcome in outcomes}), ("learnable", learnable))
    }
    for name, found in summary.items():
        print(to_table(name, found))
        print()
    # balanced accuracy is what is quoted here; plain accuracy would make the file too large to read
    rows = [
        {key: value for key, value in row.items() if key != "accuracy"} | {"learnable": row["task"] in learnable}
        for row in to_rows(outcomes)
    ]
    canaries = sorted(row.name for row in index if row.canary)
    name = "heldout" if options.side == "report" else "heldout-dev"
    run.write(rows, summary, name=name, base=BASE, side=options.side, canaries=canaries)


def fold_base(anchors: Path, fold: int) -> TextBase:
    """Return the base with the anchor that never saw a group of this fold."""
    return anchored(load_base(PLAIN), anchors / f"fold{fold}" / ANCHOR, name=BASE)


def chosen(index: Iterable[IndexRow], wanted: str) -> list[IndexRow]:
    """Return the tasks of a side: at most two a group, those of ``textcls`` first, then by the hash of the name."""
    groups: dict[str, list[IndexRow]] = {}
    for row in index:
        fits = row.kind == "classification" and row.language == "en" and row.collection in COLLECTIONS
        if fits and side(row.group) == wanted:
            groups.setdefault(row.group, []).append(row)

    def rank(row: IndexRow) -> tuple[bool, str]:
        return row.collection != "textcls", hashlib.sha256(row.name.encode()).hexdigest()

    return [row for group in sorted(groups) for row in sorted(groups[group], key=rank)[:TASKS_A_GROUP]]


def learnable_tasks(outcomes: Iterable[Outcome]) -> set[str]:
    """Return the tasks that a probe on all rows learns."""
    found: set[str] = set()
    for outcome in outcomes:
        if outcome.maker == PROBE and outcome.shots == "all":
            labels = [row.output for row in outcome.task.test]
            largest = max(labels.count(label) for label in set(labels)) / len(labels)
            if outcome.scores.accuracy.value - largest >= LEARNABLE:
                found.add(outcome.task.name)
    return found


def summarise(outcomes: Iterable[Outcome], tasks: set[str]) -> dict[str, Any]:
    """Return, for each number of shots, means of every maker and the paired differences to every control."""
    outcomes = [outcome for outcome in outcomes if outcome.task.name in tasks]
    values = {field: over_seeds(outcomes, field) for field in FIELDS}
    group_of = {outcome.task.name: outcome.task.group for outcome in outcomes}
    names = sorted(group_of)
    groups = [group_of[name] for name in names]
    shots = dict.fromkeys(outcome.shots for outcome in outcomes)
    return {
        "tasks": len(names),
        "groups": len(set(groups)),
        "shots": {str(many): _at(values, names, groups, many) for many in shots},
    }


def _at(
    values: Mapping[str, Mapping[tuple[str, Shots, str], Sequence[float]]],
    names: Sequence[str],
    groups: Sequence[str],
    shots: Shots,
) -> dict[str, Any]:
    balanced = values["balanced_accuracy"]
    makers = list(dict.fromkeys(maker for _, many, maker in balanced if many == shots))
    found: dict[str, Any] = {
        field: {
            maker: group_mean(groups, [float(np.mean(values[field][name, shots, maker])) for name in names])
            for maker in makers
        }
        for field in FIELDS
    }
    by_seed = {
        maker: np.array([differences(balanced, name, shots, maker) for name in names])
        for maker in makers
        if maker != MODEL
    }
    found["model_minus"] = {maker: group_mean(groups, gaps.mean(axis=1)) for maker, gaps in by_seed.items()}
    for control in (PROBE, FLOOR):
        if control in by_seed:
            found[f"against_{control}"] = against(groups, by_seed[control])
    return found


def against(groups: Sequence[str], gaps: np.ndarray) -> dict[str, Any]:
    """Return in how many groups the model is better or worse, and where it surely is.

    Args:
        groups: (T,) of each task.
        gaps: (T, seeds) model minus control.
    """
    at = np.asarray(groups)
    means = {group: gaps[at == group].mean(axis=0) for group in sorted(set(groups))}
    centres = np.array([gap.mean() for gap in means.values()])
    adjusted = dict(zip(means, holm([seed_p_value(gap) for gap in means.values()]), strict=True))
    intervals = {group: seed_mean(gap) for group, gap in means.items()}
    below = [group for group, interval in intervals.items() if interval.high < 0]
    above = [group for group, interval in intervals.items() if interval.low > 0]
    return {
        "groups_better": float(np.mean(centres > 0)),
        "groups_worse": float(np.mean(centres < 0)),
        "interval_above": len(above),
        "interval_below": {group: intervals[group] for group in below},
        "below_after_holm": [group for group in below if adjusted[group] < 0.05],
        "above_after_holm": [group for group in above if adjusted[group] < 0.05],
    }


def to_table(name: str, summary: Mapping[str, Any]) -> str:
    """Return balanced accuracy, differences and calibration for a person."""
    header = (
        "shots",
        "model",
        "anchor",
        "floor",
        "probe",
        "TF-IDF",
        "names",
        "majority",
        "model - anchor",
        "model - floor",
        "model - probe",
        "model - TF-IDF",
    )
    header = (*header, "model - names", "groups +/-", "below: seeds, Holm", "ECE", "probe's", "log-loss", "probe's ")
    lines: list[tuple[object, ...]] = []
    for shots, found in summary["shots"].items():
        mean, gaps, beside = found["balanced_accuracy"], found["model_minus"], found.get("against_probe")
        lines.append(
            (
                shots,
                *(
                    points(mean[m].value) if m in mean else ""
                    for m in (MODEL, ALONE, FLOOR, PROBE, "tfidf", "label-names", "majority")
                ),
                *(gap(gaps[m]) if m in gaps else "" for m in (ALONE, FLOOR, PROBE, "tfidf", "label-names")),
                f"{points(beside['groups_better'])}/{points(beside['groups_worse'])}" if beside else "",
                f"{len(beside['interval_below'])}, {len(beside['below_after_holm'])}" if beside else "",
                *(points(found["ece"][m].value) if m in mean else "" for m in (MODEL, PROBE)),
                *(f"{found['log_loss'][m].value:.2f}" if m in mean else "" for m in (MODEL, PROBE)),
            )
        )
    title = f"{name}: {summary['tasks']} tasks in {summary['groups']} groups, balanced accuracy"
    lost = [
        f"below the probe at {shots} over seeds: {', '.join(found['against_probe']['interval_below'])}"
        for shots, found in summary["shots"].items()
        if found.get("against_probe", {}).get("interval_below")
    ]
    return "\n".join([title, table(header, lines), *lost])


if __name__ == "__main__":
    main()
