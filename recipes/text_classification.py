"""Train the anchor of text-classification: what texts have to be told apart by in general.

    python -m recipes.text_classification --data DATA --fold 0 --out DIR/fold0      # never sees a group of fold 0
    python -m recipes.text_classification --data DATA --fold none --out DIR/shipped # never sees a public benchmark

Folds 0, 1 and 2 are for the figures on held-out tasks; ``none`` is the one that is shipped. Two stages: ``rows``, the
adapter that texts are read by, then ``questions``, the adapter that yes and no are read by, behind a question.

Hardware: two CPU cores, some 5 minutes for the states below (once) and 15 for a run at the ``cpu`` dial; ``--dial gpu``
is the same code on one GPU. A run that was cut off goes on when the same line is typed again.

What it reads: English classification tasks whose licence lets shipped weights learn from them, canaries never
(``sartor.pretrain.public``). Groups of sources are split before rows are read; rows that also stand in a task that is
held out are taken off (``sartor.pretrain.mixture``). Groups of the ``dev`` side not learned from are watched.

What comes out, in ``--out``: anchor.safetensors (float16), card.json, a folder a stage with its history.json and, with
matplotlib, run.png.
"""

import argparse
import hashlib
import json

import torch

from recipes.common import Teller, draw, parser
from sartor.families.text_classification import sayings
from sartor.nn.anchor import ANCHOR, write
from sartor.nn.text_base import load_base
from sartor.pretrain import anchor, mixture, public, questions, states
from sartor.pretrain.anchor import Lessons
from sartor.pretrain.mixture import Mixture
from sartor.pretrain.public import TextTask

DIALS = {"cpu": (anchor.CPU, questions.CPU), "gpu": (anchor.GPU, questions.GPU)}
STAGES = ("rows", "questions")


def main() -> None:
    options = arguments()
    for_rows, for_questions = DIALS[options.dial]
    held_out = None if options.fold == "none" else int(options.fold)
    base = load_base(options.base)
    start = base.encoder.config.layers // 2
    index = [row for row in public.read_index(options.data) if mixture.is_candidate(row)]
    tasks = public.read_tasks(options.data, index)
    divided = mixture.split(zip(index, tasks, strict=True), held_out)

    # one table of texts for every fold, so that the states below are computed once
    said = {task.name: [sayings(label, "", "en") for label in task.labels] for task in tasks}
    texts = {row.input for task in tasks for row in (*task.train, *task.test)}
    table = sorted(texts.union(*(ways for labels in said.values() for ways in labels)))
    number = {text: at for at, text in enumerate(table)}
    told = Teller()
    folder = states.prepare(base, table, start, options.cache, progress=told.progress)
    learn, watch = (Mixture(mixture.sources(part, number)) for part in (divided.train, divided.watch))
    names = {task: [tuple(number[way] for way in ways) for ways in labels] for task, labels in said.items()}
    for title, part in (("learned from", divided.train), ("watched", divided.watch)):
        told.part(title, part, sum(map(rows, part)))
    print("losses over log(classes): 1 is chance", flush=True)
    below = states.States(base.encoder.to(options.device), folder)
    told.stage("rows", for_rows.pace)
    rows_folder, questions_folder = (options.out / stage for stage in STAGES)
    lessons = Lessons(learn, watch, names)
    learned = anchor.train(below, start, lessons, for_rows, rows_folder, seed=options.seed, on_look=told.look)
    told.stage("questions", for_questions.pace)
    asked = questions.lessons(learn, watch, base.tokenizer)
    found = questions.train(
        below, asked, learned, for_questions, questions_folder, seed=options.seed, on_look=told.look
    )
    write(found, options.out / ANCHOR)
    write_card(options, divided)
    draw(options.out, STAGES, "cross-entropy / log(classes)")
    print(f"Done: {options.out / ANCHOR}")


def arguments() -> argparse.Namespace:
    flags = parser(__doc__ or "", DIALS, base="all-minilm-l6-v2")
    folds = [*map(str, range(public.FOLDS)), "none"]
    flags.add_argument(
        "--fold", choices=folds, required=True, help="groups that it never sees; none: those of the benchmarks alone"
    )
    return flags.parse_args()


def write_card(options: argparse.Namespace, divided: mixture.Split) -> None:
    for_rows, for_questions = DIALS[options.dial]
    card = {
        "made by": "python -m recipes.text_classification --data DATA --out DIR "
        f"--fold {options.fold} --dial {options.dial} --seed {options.seed}",
        "base": options.base,
        "sha256": hashlib.sha256((options.out / ANCHOR).read_bytes()).hexdigest(),
        "rank": for_rows.rank,
        "steps": {"rows": for_rows.pace.steps, "questions": for_questions.pace.steps},
        "torch": torch.__version__,
        "groups": sorted({task.group for task in divided.train}),
        "tasks": sorted(f"{task.collection}/{task.name}" for task in divided.train),
        "rows": sum(rows(task) for task in divided.train),
    }
    (options.out / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def rows(task: TextTask) -> int:
    return len(task.train) + len(task.test)


if __name__ == "__main__":
    main()
