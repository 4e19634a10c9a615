"""Train the anchor of text-classification: what texts have to be told apart by in general.

    python -m recipes.text_classification --data DATA --fold 0            # figures: never sees a group of fold 0
    python -m recipes.text_classification --data DATA --fold none         # the one that is shipped

Hardware: two CPU cores, some 5 minutes for the states below (once) and 10 for a run at the ``cpu`` dial; ``--dial gpu``
is the same code on one GPU. A run that was cut off goes on when the same line is typed again.

What it reads: English classification tasks whose licence lets shipped weights learn from them, canaries never
(``sartor.pretrain.public``). Groups of sources are split before rows are read; rows that also stand in a task that is
held out are taken off (``sartor.pretrain.mixture``). Groups of the ``dev`` side not learned from are watched.

What comes out, in ``--out``: anchor.safetensors (float16), card.json, history.json and, with matplotlib, run.png.
"""

import argparse
import hashlib
import json
import tempfile
import time
from pathlib import Path

import torch

from sartor.families.text_classification import load_base, sayings
from sartor.pretrain import anchor, mixture, public, states
from sartor.pretrain.anchor import Dial, Lessons, Look
from sartor.pretrain.mixture import Mixture
from sartor.pretrain.public import TextTask

DIALS = {"cpu": anchor.CPU, "gpu": anchor.GPU}


def main() -> None:
    options = arguments()
    dial = DIALS[options.dial]
    held_out = None if options.fold == "none" else int(options.fold)
    base = load_base(options.base)
    start = base.encoder.config.layers // 2
    index = [row for row in public.read_index(options.data) if mixture.is_candidate(row)]
    tasks = public.read_tasks(options.data, index)
    divided = mixture.split(zip(index, tasks, strict=True), held_out)

    # one table of texts for every fold, so that the states below are computed once
    names = {task.name: [sayings(label, "", "en") for label in task.labels] for task in tasks}
    texts = {row.input for task in tasks for row in (*task.train, *task.test)}
    table = sorted(texts.union(*(said for task in names.values() for said in task)))
    number = {text: at for at, text in enumerate(table)}
    told = Teller(len(table))
    folder = states.prepare(base, table, start, options.cache, progress=told.encoded)
    lessons = Lessons(
        Mixture(mixture.sources(divided.train, number)),
        Mixture(mixture.sources(divided.watch, number)),
        {task: [tuple(number[way] for way in said) for said in labels] for task, labels in names.items()},
    )
    told.begin(divided)
    below = states.States(base.encoder.to(options.device), folder)
    anchor.train(below, start, lessons, dial, options.out, seed=options.seed, on_look=told.look)
    write_card(options, dial, divided)
    draw(options.out)
    print(f"Done: {options.out / anchor.ANCHOR}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    folds = [*map(str, range(public.FOLDS)), "none"]
    parser.add_argument("--fold", choices=folds, required=True, help="groups that it never sees; none for all")
    parser.add_argument("--dial", choices=DIALS, default="cpu", help="how much is spent")
    parser.add_argument("--base", default="all-minilm-l6-v2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "sartor-pretrain")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    return parser.parse_args()


class Teller:
    """Tells a person how far it is."""

    def __init__(self, texts: int) -> None:
        self.texts = texts
        self.started = self.told = time.monotonic()

    def encoded(self, stage: str, done: int, total: int) -> None:
        if time.monotonic() - self.told > 10 or done == total:
            self.told = time.monotonic()
            print(f"[{self.told - self.started:5.0f} s] {stage}: {done} of {total} texts", flush=True)

    def begin(self, divided: mixture.Split) -> None:
        for title, tasks in (("learned from", divided.train), ("watched", divided.watch)):
            rows = sum(len(task.train) + len(task.test) for task in tasks)
            print(
                f"{title}: {len(tasks)} tasks in {len({task.group for task in tasks})} groups, {rows} rows", flush=True
            )
        print("losses over log(classes): 1 is chance", flush=True)

    def look(self, look: Look) -> None:
        print(
            f"[{time.monotonic() - self.started:5.0f} s] step {look.step}: "
            f"rows {look.rows:.3f}, names {look.names:.3f}; "
            f"watched rows {look.watched_rows:.3f}, names {look.watched_names:.3f}",
            flush=True,
        )


def write_card(options: argparse.Namespace, dial: Dial, divided: mixture.Split) -> None:
    card = {
        "made by": "python -m recipes.text_classification --data DATA --out DIR "
        f"--fold {options.fold} --dial {options.dial} --seed {options.seed}",
        "base": options.base,
        "sha256": hashlib.sha256((options.out / anchor.ANCHOR).read_bytes()).hexdigest(),
        "rank": dial.rank,
        "steps": dial.steps,
        "torch": torch.__version__,
        "groups": sorted({task.group for task in divided.train}),
        "tasks": sorted(f"{task.collection}/{task.name}" for task in divided.train),
        "rows": sum(rows(task) for task in divided.train),
    }
    (options.out / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def rows(task: TextTask) -> int:
    return len(task.train) + len(task.test)


def draw(folder: Path) -> None:
    """Draw the run, if matplotlib is there."""
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError:
        print("No picture of the run: install sartor[bench] for one.")
        return
    history = json.loads((folder / anchor.HISTORY).read_text())
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    steps = [look["step"] for look in history]
    for field, colour in (("rows", "tab:blue"), ("names", "tab:orange")):
        axes.plot(steps, [look[field] for look in history], color=colour, alpha=0.4, label=f"{field}, learned from")
        axes.plot(steps, [look[f"watched_{field}"] for look in history], color=colour, label=f"{field}, watched")
    axes.set(xlabel="step", ylabel="cross-entropy / log(classes)")
    axes.legend()
    figure.savefig(folder / "run.png", dpi=100)


if __name__ == "__main__":
    main()
