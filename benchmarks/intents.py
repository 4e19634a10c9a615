"""(a) BANKING77, HWU64 and CLINC150 with the fixed 5- and 10-shot files, and queries out of their scope.

    python -m benchmarks.intents --data DATA

The full test files; the few-shot files of the intent literature as they are, and with ``--full`` the whole
training files. Out of scope are CLINC150's own queries (for BANKING77 they are of another domain) and, harder,
queries of the same domain: the file of BANKING77's holds test rows of 27 of its 77 intents, so that there a model
is made for the 50 others and judged on their rows (``banking50``).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.common import Encoder, Run, TextTask, arguments, gap, points, public_sets, table, verdict, without
from benchmarks.fewshot import MODEL, Encoded, answer_all, prepare
from sartor.evaluate import quality
from sartor.evaluate.compare import paired
from sartor.families.interface import FloatArray, IntArray, Prediction
from sartor.families.text_classification import FAMILY
from sartor.nn.text_base import load_base
from sartor.types import Example

BASE = "all-minilm-l6-v2+anchor2"
ABOUT = {
    "banking77": "Name the intent of a question to a bank.",
    "hwu64": "Name the intent of a command to a home assistant.",
    "clinc150": "Name the intent of a request to an assistant.",
}
OUT_OF_SCOPE = {
    "banking77": {"other domain": "oos_out_of_domain_test"},
    "banking50": {"same domain": "oos_in_domain_test", "other domain": "oos_out_of_domain_test"},
    "clinc150": {"mixed": "oos_test"},
    "hwu64": {},
}
GROUND = {
    # logistic regression on the last layer, and label-name similarity, as measured before there was a model
    ("banking77", "train_5"): {"probe": 0.808, "label-names": 0.622},
    ("banking77", "train_10"): {"probe": 0.858, "label-names": 0.622},
    ("hwu64", "train_5"): {"probe": 0.773, "label-names": 0.540},
    ("hwu64", "train_10"): {"probe": 0.836, "label-names": 0.540},
    ("clinc150", "train_5"): {"probe": 0.874, "label-names": 0.684},
    ("clinc150", "train_10"): {"probe": 0.901, "label-names": 0.684},
}
COVERAGE = 0.9


@dataclass(frozen=True, slots=True)
class Setting:
    """One set with one training file, and the rows outside its scope."""

    name: str
    training: str
    task: TextTask
    outside: Mapping[str, tuple[Example, ...]]


def main() -> None:
    options = arguments(
        __doc__ or "",
        seeds=3,
        extend={"--full": {"action": "store_true", "help": "whole training files as well (minutes more)"}},
    )
    run = Run("intents", options, seeds=range(options.seeds))
    encoder = Encoder(load_base(BASE), options.cache)
    trainings = ["train_5", "train_10", *(["train"] if options.full else [])]
    rows: list[dict[str, Any]] = []
    for setting in settings(public_sets(options.data), trainings):
        rows += judge(setting, encoder, run.seeds)
        ours = next(row for row in reversed(rows) if row["maker"] == MODEL)
        run.say(
            f"{setting.name} {setting.training}: {points(ours['accuracy'].value)} right, "
            f"{ours['head']} in {ours['seconds']:.1f} s"
        )
    print(accuracy_table(rows))
    print()
    print(scope_table(rows))
    run.write(rows, summarise(rows), base=BASE)


def settings(sets: Mapping[str, Mapping[str, tuple[Example, ...]]], trainings: Sequence[str]) -> Iterator[Setting]:
    """Yield every set with every training file, ``banking50`` among them."""
    for name in ABOUT:
        for training in trainings:
            outside = {title: sets[name][file] for title, file in OUT_OF_SCOPE[name].items()}
            yield Setting(name, training, to_task(name, sets[name][training], sets[name]["test"]), outside)
    banking = sets["banking77"]
    held_out = held_out_intents(banking["test"], banking["oos_in_domain_test"])
    inside = [row for row in banking["test"] if row.output not in held_out]
    outside = {title: banking[file] for title, file in OUT_OF_SCOPE["banking50"].items()}
    for training in trainings:
        rows = without((row for row in banking[training] if row.output not in held_out), banking["oos_in_domain_test"])
        test = without(inside, banking["oos_in_domain_test"])
        yield Setting("banking50", training, to_task("banking77", rows, test), outside)


def held_out_intents(test: Sequence[Example], outside: Sequence[Example]) -> set[str]:
    """Return the intents whose test rows are, for the most part, among the out-of-scope rows."""
    texts = {row.input for row in outside}
    rows = Counter(str(row.output) for row in test)
    found = Counter(str(row.output) for row in test if row.input in texts)
    return {label for label, n in found.items() if n > rows[label] / 2}


def to_task(name: str, train: Sequence[Example], test: Sequence[Example]) -> TextTask:
    """Return a set as a task."""
    labels = tuple(sorted({str(row.output) for row in train}))
    return TextTask(name, name, "benchmarks", "en", ABOUT[name], labels, tuple(train), tuple(test))


def judge(setting: Setting, encoder: Encoder, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return a row for the model, then one for each control."""
    encoded = prepare(setting.task, encoder)
    outside = {
        title: encoder(encoded.requirement, [row.input for row in rows]) for title, rows in setting.outside.items()
    }
    seed = seeds[0]
    answers = answer_all(encoded, encoded.condition, seed)
    inside, weights = answers.probabilities, answers.weights
    within = FAMILY.predict(encoded.requirement, weights, encoded.test)
    rejected = {title: FAMILY.predict(encoded.requirement, weights, features) for title, features in outside.items()}
    common = {"set": setting.name, "training": setting.training, "rows": len(setting.task.train)}
    common |= {"labels": len(setting.task.labels), "test": len(setting.task.test)}
    ours = {**common, "maker": MODEL, "head": FAMILY.head(weights), "seconds": answers.seconds}
    ours |= figures(encoded.targets, inside[MODEL], seed)
    ours["auroc"] = {title: quality.auroc(within.scope, found.scope) for title, found in rejected.items()}
    ours["auroc_of_confidence"] = {
        title: quality.auroc(within.confidence, found.confidence) for title, found in rejected.items()
    }
    ours["rejected"] = {"in scope": share(within), **{title: share(found) for title, found in rejected.items()}}
    # with a whole training file a seed costs minutes and changes a few folds
    others = seeds[1:] if setting.training != "train" else ()
    ours["accuracy_by_seed"] = [ours["accuracy"].value, *accuracies(encoded, others)]
    rows = [ours]
    for control in FAMILY.controls(encoded.requirement):
        row = {**common, "maker": control.name, **figures(encoded.targets, inside[control.name], seed)}
        far = {
            title: control.answer(encoded.requirement, encoded.condition, features, seed)
            for title, features in outside.items()
        }
        sure = inside[control.name].max(axis=1)
        row["auroc"] = {title: quality.auroc(sure, found.max(axis=1)) for title, found in far.items()}
        against = paired(encoded.targets, inside[MODEL], inside[control.name])
        row["model_minus"] = against.difference
        row |= {"wins": against.wins, "losses": against.losses, "p": against.p_value, "verdict": against.verdict}
        rows.append(row)
    return rows


def figures(targets: IntArray, probabilities: FloatArray, seed: int) -> dict[str, Any]:
    """Return what is said of every maker."""
    found = quality.scores(targets, probabilities, seed=seed)
    return {
        "accuracy": found.accuracy,
        "balanced_accuracy": found.balanced_accuracy,
        "macro_f1": found.macro_f1,
        "log_loss": found.log_loss,
        "ece": found.ece,
        "accuracy_at_90": accuracy_at(targets, probabilities, COVERAGE),
    }


def accuracy_at(targets: IntArray, probabilities: FloatArray, coverage: float) -> float:
    """Return the accuracy on the ``coverage`` share of rows that a maker is surest of; ties by the rows' order."""
    order = np.argsort(-probabilities.max(axis=1), kind="stable")[: round(coverage * len(targets))]
    return float(np.mean(probabilities[order].argmax(axis=1) == targets[order]))


def accuracies(encoded: Encoded, seeds: Sequence[int]) -> list[float]:
    """Return the model's accuracy for each seed of its own folds and samples; the rows stay the same."""
    found: list[float] = []
    for seed in seeds:
        weights = FAMILY.generate(encoded.requirement, encoded.condition, seed=seed)
        best = FAMILY.predict(encoded.requirement, weights, encoded.test).best
        found.append(float(np.mean(best == encoded.targets)))
    return found


def share(prediction: Prediction) -> float:
    """Return the share of rows that are turned away."""
    return float(prediction.abstain.mean())


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of the table, and the ground beside them."""
    cells = dict.fromkeys((row["set"], row["training"]) for row in rows)
    accuracy = {(row["set"], row["training"], row["maker"]): row["accuracy"].value for row in rows}
    makers = dict.fromkeys(row["maker"] for row in rows)
    return {
        "accuracy": {
            f"{name} {training}": {maker: accuracy[name, training, maker] for maker in makers}
            | ({"ground": GROUND[name, training]} if (name, training) in GROUND else {})
            for name, training in cells
        },
        "lost_or_tied": [
            f"{row['set']} {row['training']}: {row['verdict']} against {row['maker']}"
            for row in rows
            if row["maker"] != MODEL and row["verdict"] != "better"
        ],
    }


def accuracy_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return accuracy, calibration and comparison for a person."""
    header = ("set, rows", "maker", "accuracy", "at 90%", "ECE", "log-loss", "model minus it", "McNemar p", "head, s")
    lines: list[tuple[object, ...]] = []
    for row in rows:
        ours = row["maker"] == MODEL
        lines.append(
            (
                f"{row['set']} {row['training']}",
                row["maker"],
                points(row["accuracy"].value),
                points(row["accuracy_at_90"]),
                points(row["ece"]),
                f"{row['log_loss']:.2f}",
                "" if ours else gap(row["model_minus"]).removesuffix(verdict(row["model_minus"])) + row["verdict"],
                "" if ours else f"{row['p']:.3f}",
                f"{row['head']} {row['seconds']:.1f}" if ours else "",
            )
        )
    return table(header, lines)


def scope_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how well each maker tells what is out of scope."""
    header = ("set, rows", "out of scope", "AUROC", "of confidence", "probe's", "TF-IDF's", "turned away in", "out")
    lines: list[tuple[object, ...]] = []
    theirs = {(row["set"], row["training"], row["maker"]): row["auroc"] for row in rows}
    for row in rows:
        if row["maker"] != MODEL:
            continue
        for title, value in row["auroc"].items():
            key = row["set"], row["training"]
            lines.append(
                (
                    " ".join(key),
                    title,
                    points(value),
                    points(row["auroc_of_confidence"][title]),
                    points(theirs[(*key, "probe")][title]),
                    points(theirs[(*key, "tfidf")][title]),
                    points(row["rejected"]["in scope"]),
                    points(row["rejected"][title]),
                )
            )
    return table(header, lines)


if __name__ == "__main__":
    main()
