"""(s) Accuracy against steps and seconds: what was generated and n steps, against the plain base and n steps.

    python -m benchmarks.finetune --data DATA

The same rows (8 a label of TREC-6 and SST-5, 5 of HWU64) for all. *Generated* begins at the model that is generated of
them (``sartor finetune``: LoRA on the anchor's way, and its last layers), *plain* at a fresh LoRA, or all weights, and
the head of logistic regression. Batches are of 16 rows against 8, rates are each one's own; both are judged on the
first 300 test rows after 0, 1, 2, 4 … steps, and judging is not counted. No row stops anybody: the curves are read by
test rows. ``steps_to_best`` is the first step at which a way is seen at the best accuracy that ``plain`` reaches.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.common import Run, arguments, points, public_sets, table
from benchmarks.fewshot import targets
from sartor.data.split import few
from sartor.families.interface import Condition, IntArray
from sartor.families.text_classification import FAMILY, scores
from sartor.finetune import Budget, finetune, generated
from sartor.finetune.adapted_head import Options
from sartor.finetune.generated import Start
from sartor.nn.text_base import TextBase, load_base
from sartor.requirement.heuristic import understand
from sartor.types import Example, Requirement, Rows, Task, Weights

BASE, PLAIN = "all-minilm-l6-v2+anchor2", "all-minilm-l6-v2"
SETS = {"trec6": ("train", 8), "sst5": ("train", 8), "hwu64": ("train_5", 5)}
POINTS = (0, 1, 2, 4, 8, 16, 32, 64)
TEST = 300
FROM_GENERATED = ("lora", "partial")
FROM_PLAIN = ("lora", "full")


def main() -> None:
    told = {"--sets": {"default": ",".join(SETS), "help": "which, by commas"}}
    options = arguments(__doc__ or "", seeds=1, extend=told)
    run = Run("finetune", options, seeds=range(options.seeds))
    base, plain = load_base(BASE), load_base(PLAIN)
    sets = public_sets(options.data)
    rows: list[dict[str, Any]] = []
    for name in options.sets.split(","):
        train, shots = SETS[name]
        for seed in range(options.seeds):
            support, test = few(sets[name][train], shots, seed), sets[name]["test"][:TEST]
            labels = dict.fromkeys(sorted({str(row.output) for row in support}), "")
            need = understand(
                Task(name=name, labels=labels, language="en"), Rows(support), name=name, base=BASE
            ).requirement
            curves = from_generated(base, need, support, test, seed) | from_plain(plain, need, support, test, seed)
            rows += [
                {"set": name, "seed": seed, "rows": len(support), "way": way, "curve": c} for way, c in curves.items()
            ]
            run.say(f"{name}: " + ", ".join(f"{way} {points(max(p[2] for p in c))}" for way, c in curves.items()))
    run.write(rows, summed(rows))
    print(shown(rows))


def from_generated(
    base: TextBase, need: Requirement, support: Sequence[Example], test: Sequence[Example], seed: int
) -> dict[str, list[tuple[int, float, float]]]:
    """Return (steps, seconds, accuracy) of what was generated and of what follows it."""
    start_s = time.perf_counter()
    found = FAMILY.encode(base, need, [row.input for row in support])
    condition = Condition(FAMILY.encode_labels(base, need), found, targets(_names(need), support))
    weights = FAMILY.generate(need, condition, seed=seed)
    made_s = time.perf_counter() - start_s
    both = [*support, *test]
    where = np.arange(len(both))
    curves: dict[str, list[tuple[int, float, float]]] = {}
    for method in FROM_GENERATED:
        run = generated._Run(_start(base, need, weights, both), method, Options(), seed)  # pyright: ignore
        order = generated._batches(where[: len(support)], torch.Generator().manual_seed(seed))  # pyright: ignore
        seconds, curve = made_s, list[tuple[int, float, float]]()
        for step in range(POINTS[-1] + 1):
            if step:
                began = time.perf_counter()
                run.step(next(order))
                seconds += time.perf_counter() - began
            if step in POINTS:
                curve.append((step, seconds, _right(run, where[len(support) :], targets(_names(need), test))))
        curves[f"generated, {method}"] = curve
    return curves


def _start(base: TextBase, need: Requirement, weights: Weights, rows: Sequence[Example]) -> Start:
    texts = [row.input for row in rows]
    found = FAMILY.encode(base, need, texts)
    pooled = np.einsum("nph,phc->nc", found.pooled, weights["pooled.weight"].float().numpy())
    return Start(
        base=base,
        texts=texts,
        targets=targets(_names(need), rows),
        pooled=found.pooled,
        beside=scores(weights, found) - pooled - weights["bias"].double().numpy(),
        head=weights["pooled.weight"],
        bias=weights["bias"],
        temperature=float(weights["temperature"]),
        max_tokens=need.max_tokens,
    )


def _right(run: Any, rows: IntArray, wanted: IntArray) -> float:
    with torch.no_grad():
        parts = [run._logits(part).argmax(dim=1) for part in torch.from_numpy(rows).split(64)]
    return float((torch.cat(parts).numpy() == wanted).mean())


def from_plain(
    base: TextBase, need: Requirement, support: Sequence[Example], test: Sequence[Example], seed: int
) -> dict[str, list[tuple[int, float, float]]]:
    """Return the same of what is trained from the plain base."""
    names = _names(need)
    wanted = targets(names, test)
    curves: dict[str, list[tuple[int, float, float]]] = {}
    for method in FROM_PLAIN:
        curve: list[tuple[int, float, float]] = []

        def judge(step: int, seconds: float, predict: Any, curve: list[tuple[int, float, float]] = curve) -> None:
            if step in POINTS:
                best = predict([row.input for row in test]).argmax(axis=1)
                curve.append((step, seconds, float((best == wanted).mean())))

        finetune(
            base,
            [row.input for row in support],
            targets(names, support),
            len(names),
            method=method,
            budget=Budget(steps=POINTS[-1]),
            max_tokens=need.max_tokens,
            seed=seed,
            on_step=judge,
        )
        curves[f"plain, {method}"] = curve
    return curves


def _names(need: Requirement) -> list[str]:
    return [label.name for label in need.labels]


def summed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return for each set and draw the best of the plain base, and when each way is first seen there."""
    found: dict[str, Any] = {}
    for key in dict.fromkeys((row["set"], row["seed"]) for row in rows):
        here = [row for row in rows if (row["set"], row["seed"]) == key]
        best = max(point[2] for row in here if row["way"].startswith("plain") for point in row["curve"])
        found[f"{key[0]}, {key[1]}"] = {
            "best_of_plain": best,
            "steps_to_best": {
                row["way"]: next((point[0] for point in row["curve"] if point[2] >= best), None) for row in here
            },
            "seconds_to_best": {
                row["way"]: next((point[1] for point in row["curve"] if point[2] >= best), None) for row in here
            },
        }
    return found


def shown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table for a person."""
    lines = [(row["set"], row["way"], *(points(point[2]) for point in row["curve"])) for row in rows]
    return table(("set", "way", *map(str, POINTS)), lines)


if __name__ == "__main__":
    main()
