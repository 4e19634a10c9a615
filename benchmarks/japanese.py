"""(d) Japanese classification tasks at 0, 8 and 64 rows a label, and with all rows.

    python -m benchmarks.japanese --data DATA

The base is the multilingual one that Sartor chooses for Japanese; its anchor learned from English tasks alone, so that
all of these are new to it. Means over a task's seeds, then over the tasks of a source, then over sources; the interval
draws sources anew and, with so few of them, is only a hint. No constant of the head was chosen on these tasks.
"""

from typing import Any

import numpy as np

from benchmarks.common import Encoder, Run, arguments, gap, group_mean, points, read_index, read_tasks, table
from benchmarks.fewshot import MODEL, Outcome, Shots, by_task, differences, over_seeds, prepare, study, to_rows
from benchmarks.shots import to_table
from sartor.nn.text_base import load_base

BASE = "multilingual-e5-small+anchor1"
SHOTS: tuple[Shots, ...] = (0, 8, 64, "all")
FIELD = "balanced_accuracy"


def main() -> None:
    options = arguments(__doc__ or "", seeds=5)
    run = Run("japanese", options, seeds=range(options.seeds))
    encoder = Encoder(load_base(BASE), options.cache)
    index = [row for row in read_index(options.data) if (row.collection, row.kind) == ("japanese", "classification")]
    outcomes: list[Outcome] = []
    for task in read_tasks(options.data, index):
        outcomes += study(prepare(task, encoder), SHOTS, run.seeds)
        run.say(f"{task.name} ({len(task.labels)} labels)")
    tasks, means = by_task(outcomes, FIELD), over_sources(outcomes)
    print(to_table(tasks, FIELD))
    print()
    print(means_table(means))
    run.write(to_rows(outcomes), {"sources": means, "tasks": tasks}, base=BASE)


def over_sources(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return, for each number of shots, every maker's mean and the model's difference to every control."""
    values = over_seeds(outcomes, FIELD)
    group_of = {outcome.task.name: outcome.task.group for outcome in outcomes}
    names = list(group_of)
    found: dict[str, Any] = {}
    for shots in dict.fromkeys(outcome.shots for outcome in outcomes):
        makers = dict.fromkeys(maker for _, many, maker in values if many == shots)
        groups = [group_of[name] for name in names]
        found[str(shots)] = {
            FIELD: {
                maker: group_mean(groups, [float(np.mean(values[name, shots, maker])) for name in names])
                for maker in makers
            },
            "model_minus": {
                maker: group_mean(groups, [float(np.mean(differences(values, name, shots, maker))) for name in names])
                for maker in makers
                if maker != MODEL
            },
        }
    return found


def means_table(means: dict[str, Any]) -> str:
    """Return means over sources for a person."""
    makers = (MODEL, "floor", "probe", "tfidf", "label-names", "majority")
    controls = makers[1:5]
    header = ("shots", *makers, *(f"model - {name}" for name in controls))
    lines = [
        (
            shots,
            *(points(cell[FIELD][maker].value) if maker in cell[FIELD] else "" for maker in makers),
            *(gap(cell["model_minus"][name]) if name in cell["model_minus"] else "" for name in controls),
        )
        for shots, cell in means.items()
    ]
    return f"all tasks, {FIELD}, 95% intervals over sources\n{table(header, lines)}"


if __name__ == "__main__":
    main()
