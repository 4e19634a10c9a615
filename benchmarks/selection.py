"""(r) Half of the rows, chosen, against halves drawn at random, with right labels and with a tenth of them wrong.

    python -m benchmarks.selection --data DATA

Rows are those of the public few-shot files (BANKING77 and HWU64, 10 a label) or 64 a label (TREC-6, SST-5). A tenth of
their labels is made wrong in a second study. ``select`` is ``sartor data check --select``: copies, contradictions and
doubtful labels last, of the others those that all are nearest to. Random halves keep labels in their shares. Everybody
is generated and judged on the whole test file, which nobody chose by. Beside it: how many of the wrong labels are among
the suspects, and how many suspects are wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.common import Encoder, Run, arguments, points, public_sets, table
from benchmarks.fewshot import targets
from sartor import checked
from sartor.data import select
from sartor.data.split import few
from sartor.families.interface import Condition, IntArray
from sartor.families.text_classification import FAMILY
from sartor.nn.features import TextFeatures
from sartor.nn.text_base import load_base
from sartor.requirement.heuristic import understand
from sartor.types import Example, Requirement, Rows, Task

BASE = "all-minilm-l6-v2+anchor2"
SETS = {"banking77": "train_10", "hwu64": "train_10", "trec6": "train", "sst5": "train"}
SHOTS = 64
NOISE = (0.0, 0.1)


def main() -> None:
    told = {"--halves": {"type": int, "default": 5, "help": "random halves of each set"}}
    options = arguments(__doc__ or "", seeds=None, extend=told)
    run = Run("selection", options, seeds=[0])
    encode = Encoder(load_base(BASE), options.cache)
    rows: list[dict[str, Any]] = []
    sets = public_sets(options.data)
    for name, train in SETS.items():
        support = list(sets[name][train] if train != "train" else few(sets[name][train], SHOTS, 0))
        need = requirement(name, support)
        found, test = (encode(need, [row.input for row in part]) for part in (support, sets[name]["test"]))
        for noise in NOISE:
            rows.append(study(name, need, encode, support, found, test, sets[name]["test"], noise, options.halves))
            run.say(f"{name}, {noise:.0%} wrong: {points(rows[-1]['selected'])} against {points(rows[-1]['random'])}")
    run.write(rows, summed(rows))
    print(shown(rows))


def requirement(name: str, support: Sequence[Example]) -> Requirement:
    labels = dict.fromkeys(sorted({str(row.output) for row in support}), "")
    task = Task(name=name, labels=labels, language="en")
    return understand(task, Rows(support), name=name, base=BASE).requirement


def study(
    name: str,
    need: Requirement,
    encode: Encoder,
    support: Sequence[Example],
    found: TextFeatures,
    test: TextFeatures,
    test_rows: Sequence[Example],
    noise: float,
    halves: int,
) -> dict[str, Any]:
    """Return how good models of the whole, of the chosen half and of random halves are."""
    labels = [label.name for label in need.labels]
    truth, wanted = targets(labels, support), targets(labels, test_rows)
    given, wrong = noisy(truth, len(labels), noise)
    names = FAMILY.encode_labels(encode.base, need)

    def right(which: IntArray) -> float:
        weights = FAMILY.generate(need, Condition(names, found.take(which), given[which]), seed=0)
        return float((FAMILY.predict(need, weights, test).best == wanted).mean())

    vectors = checked.vectors_of(found)
    doubts = checked.doubtful(need, found, given, 0)
    exact = select.exact_groups([row.input for row in support])
    copies = [*exact, *select.near_groups(vectors)]
    against = select.contradictions(exact, [labels[at] for at in given])
    rank = checked.ranked(len(given), given, copies, against, doubts)
    half = len(given) // 2
    chosen = np.array(select.choose(vectors, given, half, rank=rank), dtype=np.int64)
    drawn = [random_half(given, half, seed) for seed in range(halves)]
    suspected = np.zeros(len(given), dtype=bool)
    suspected[[one.row for one in doubts]] = True
    scores = [right(one) for one in drawn]
    return {
        "set": name,
        "wrong_labels": noise,
        "rows": len(given),
        "half": half,
        "all": right(np.arange(len(given))),
        "without_suspects": right(np.flatnonzero(~suspected)),
        "selected": right(np.sort(chosen)),
        "random": float(np.mean(scores)),
        "random_halves": scores,
        "coverage": select.coverage(vectors, chosen),
        "coverage_random": float(np.mean([select.coverage(vectors, one) for one in drawn])),
        "suspects": int(suspected.sum()),
        "wrong_found": float(suspected[wrong].mean()) if wrong.any() else None,
        "suspects_wrong": float(wrong[suspected].mean()) if suspected.any() else None,
    }


def noisy(truth: IntArray, labels: int, share: float) -> tuple[IntArray, Any]:
    """Return targets of which a share is another label, and which are."""
    random = np.random.default_rng(0)
    wrong = np.zeros(len(truth), dtype=bool)
    wrong[random.permutation(len(truth))[: round(share * len(truth))]] = True
    other = (truth + random.integers(1, labels, len(truth))) % labels
    return np.where(wrong, other, truth), wrong


def random_half(given: IntArray, size: int, seed: int) -> IntArray:
    """Return a half with labels in their shares."""
    random = np.random.default_rng([seed, 7])
    members = [random.permutation(np.flatnonzero(given == label)) for label in np.unique(given)]
    wanted = select.quota([len(rows) for rows in members], size)
    return np.sort(np.concatenate([rows[:many] for rows, many in zip(members, wanted, strict=True)]))


def summed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return means over sets, by share of wrong labels."""
    keys = ("all", "without_suspects", "selected", "random")
    found = {noise: [row for row in rows if row["wrong_labels"] == noise] for noise in NOISE}
    return {str(noise): {key: mean([row[key] for row in part]) for key in keys} for noise, part in found.items()}


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def shown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table for a person."""
    header = (
        "set",
        "wrong",
        "rows",
        "all",
        "no suspects",
        "half: selected",
        "random",
        "best random",
        "found",
        "precise",
    )
    lines = [
        (
            row["set"],
            f"{row['wrong_labels']:.0%}",
            row["rows"],
            *(points(row[key]) for key in ("all", "without_suspects", "selected", "random")),
            points(max(row["random_halves"])),
            *("" if row[key] is None else points(row[key]) for key in ("wrong_found", "suspects_wrong")),
        )
        for row in rows
    ]
    return table(header, lines)


if __name__ == "__main__":
    main()
