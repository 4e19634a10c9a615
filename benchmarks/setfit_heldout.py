"""(f) SetFit on the held-out tasks: what an encoder trained on the same rows does, and how long that takes.

    pip install --no-deps -r requirements/bench.txt
    python -m benchmarks.setfit_heldout --data DATA

SetFit ("Efficient Few-Shot Learning Without Prompts", https://arxiv.org/abs/2209.11055, section 3) trains a sentence
encoder on pairs of rows, alike when their labels are, and fits a logistic regression on what comes out. Here it is
the package ``setfit`` with its defaults (cosine loss, one epoch, batches of 16 pairs, learning rate 2e-5, logistic
regression) and the paper's 20 iterations of pairs, on the weights of our own base. Texts are cut at 128 tokens:
training costs a hundred times what encoding does.

Tasks, drawn rows, test rows and measure are those of :mod:`benchmarks.heldout`. The model and the probe answer for
the same draws here; ``heldout`` in the result is their mean over the draws of that table, and ``learnable`` comes
from it. Finished draws are kept in ``--cache``: a run that was cut off goes on where it stopped. All on one core.

Dimension key:   N: rows   C: labels
"""

import contextlib
import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import threadpoolctl
import torch
from tokenizers import Tokenizer

from benchmarks.common import RESULTS, Run, TextTask, arguments, gap, group_mean, points, read_index, read_tasks, table
from benchmarks.fewshot import MODEL, PROBE, draw, require, targets
from benchmarks.heldout import PLAIN, chosen
from sartor import settings
from sartor.assets import catalogue, resolve
from sartor.data.text import encodable
from sartor.evaluate import quality
from sartor.families.interface import Condition, FloatArray, IntArray
from sartor.families.text_classification import FAMILY
from sartor.nn.encoder import encode_texts
from sartor.nn.features import unit
from sartor.nn.text_base import LAST, TextBase, load_base
from sartor.types import Example

SETFIT = "setfit"
PACKAGES = ("setfit", "sentence-transformers", "transformers", "datasets", "accelerate")
MAX_TOKENS = 128
BATCH_PAIRS = 16
LEARNING_RATE = 2e-5
TEST_BATCH = 64
ALIKE = 0.999
"""Least cosine between a text's vector from our encoder and from the body that SetFit starts with."""

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of every task."""

    shots: int
    iterations: int
    """Pairs of either kind for each row."""
    most_positions: int | None
    """Positions (tokens and padding) that the training of one task may run through the body; None for no limit."""
    bf16: bool
    """Train under autocast to bfloat16."""
    package: str
    """The version of ``setfit``."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that the row of a task depends on: a kept one is taken up if its recipe is the wanted one."""

    task: str
    shots: int
    seed: int
    iterations: int
    bf16: bool
    base: str
    """The hash of its weights."""
    package: str


def main() -> None:
    options = arguments(
        __doc__ or "",
        seeds=1,
        extend={
            "--shots": {"type": int, "default": 8, "help": "rows a label; 8 unless told"},
            "--iterations": {"type": int, "default": 20, "help": "pairs of either kind for each row; 20 unless told"},
            "--most-positions": {
                "type": int,
                "help": "fewer iterations where a task's training would run more tokens and padding through the body",
            },
            "--bf16": {"action": "store_true", "help": "train under autocast to bfloat16: nearly twice as fast"},
            "--most": {"type": int, "help": "only the first so many tasks, to try the script"},
        },
    )
    run = Run("setfit_heldout", options, seeds=range(options.seeds))
    torch.set_num_threads(1)
    base = load_base(PLAIN)
    plan = Plan(options.shots, options.iterations, options.most_positions, options.bf16, version("setfit"))
    tasks = read_tasks(options.data, chosen(read_index(options.data), "report")[: options.most])
    with threadpoolctl.threadpool_limits(1):
        rows, skipped = measure(run, plan, base, tasks, options.cache / "setfit-heldout.jsonl")
    rows = join(rows, json.loads((RESULTS / "heldout.json").read_text(encoding="utf-8"))["rows"])
    summary = {
        name: summarise(found)
        for name, found in (("all", rows), ("learnable", [row for row in rows if row["learnable"]]))
        if found
    }
    for name, found in summary.items():
        print(to_table(name, found))
    run.write(
        rows,
        summary,
        name="setfit-heldout",
        base=PLAIN,
        plan=asdict(plan),
        max_tokens=MAX_TOKENS,
        packages={name: version(name) for name in PACKAGES},
        skipped=skipped,
        fewer_iterations=sorted({row["task"] for row in rows if row["iterations"] < plan.iterations}),
    )


def measure(
    run: Run, plan: Plan, base: TextBase, tasks: Sequence[TextTask], kept: Path
) -> tuple[list[Row], dict[str, str]]:
    """Return a row for each task and seed, the cheap tasks first, and why which tasks are left out."""
    done = read_rows(kept)
    skipped = {task.name: reason for task in tasks if (reason := impossible(drawn(task, plan.shots, 0)))}
    todo = [(task, recipe(plan, base, task, seed)) for task in tasks if task.name not in skipped for seed in run.seeds]
    todo.sort(key=lambda pair: pair[1].iterations * cost(base, pair[0], plan.shots, 0))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        setfit = SetFit(Path(scratch))
        similarity = least_cosine(setfit, base, [row.input for row in tasks[0].test[:TEST_BATCH]])
        run.say(f"our encoder and SetFit's body agree to a cosine of {similarity:.6f}")
        if similarity < ALIKE:
            raise RuntimeError(f"SetFit's body is not our base: a text's vectors have a cosine of {similarity:.4f}.")
        for at, (task, wanted) in enumerate(todo, start=1):
            if wanted not in done:
                done[wanted] = judge(setfit, wanted, base, task)
                append_row(kept, wanted, done[wanted])
            rows.append(done[wanted])
            run.say(f"{at}/{len(todo)} {described(rows[-1])}")
    return rows, skipped


def described(row: Row) -> str:
    """Return a row for a person."""
    made = row["balanced_accuracy"]
    scores = ", ".join(f"{name} {points(made[name])}" for name in (SETFIT, MODEL, PROBE))
    return f"{row['task']} ({row['labels']} labels, seed {row['seed']}): {scores}; {row['seconds']:.0f} s"


# --- one task ----------------------------------------------------------------------------------------------


def drawn(task: TextTask, shots: int, seed: int) -> tuple[Example, ...]:
    """Return the rows that a model of this task is made from."""
    return tuple(task.train[row] for row in draw(task.train, shots, seed))


def recipe(plan: Plan, base: TextBase, task: TextTask, seed: int) -> Recipe:
    """Return what the plan means for a task."""
    iterations = affordable(plan, cost(base, task, plan.shots, seed))
    return Recipe(task.name, plan.shots, seed, iterations, plan.bf16, base.ref.sha256, plan.package)


def cost(base: TextBase, task: TextTask, shots: int, seed: int) -> float:
    """Return how many positions an iteration on a draw is expected to run through the body."""
    return positions_an_iteration(lengths(base.tokenizer, drawn(task, shots, seed)))


def impossible(rows: Sequence[Example]) -> str:
    """Return why SetFit cannot learn from these rows, "" if it can."""
    labels = {row.output for row in rows}
    return "" if len(labels) > 1 else f"rows of {len(labels)} label: there is no pair of unlike rows"


def lengths(tokenizer: Tokenizer, rows: Iterable[Example]) -> IntArray:
    """Return (N,) the number of tokens of each row, special ones included, at most :data:`MAX_TOKENS`."""
    encodings = tokenizer.encode_batch_fast([encodable(row.input) for row in rows])
    return np.array([min(len(encoding.ids), MAX_TOKENS) for encoding in encodings], dtype=np.int64)


def positions_an_iteration(tokens: IntArray) -> float:
    """Return how many positions (tokens and padding) an iteration of pairs is expected to run through the body.

    That is two pairs for each row, so four texts, each padded to the longest of a batch's 16 first or second ones:
    the chance that the longest of 16 is at most the k-th of n is (k / n) ** 16.
    """
    at_most = (np.arange(len(tokens) + 1) / len(tokens)) ** BATCH_PAIRS
    return float(4 * len(tokens) * (np.sort(tokens) * np.diff(at_most)).sum())


def affordable(plan: Plan, positions: float) -> int:
    """Return how many iterations of so many positions the plan allows, one at least."""
    if plan.most_positions is None:
        return plan.iterations
    return max(1, min(plan.iterations, int(plan.most_positions / positions)))


def judge(setfit: "SetFit", wanted: Recipe, base: TextBase, task: TextTask) -> Row:
    """Let SetFit, the model and the probe learn from one draw and answer the test rows."""
    rows = drawn(task, wanted.shots, wanted.seed)
    texts = [encodable(row.input) for row in rows]
    start = time.perf_counter()
    model = setfit.train(texts, targets(task.labels, rows), wanted)
    seconds = time.perf_counter() - start
    answers = {SETFIT: answer(model, [encodable(row.input) for row in task.test], len(task.labels))}
    answers |= ours(base, task, rows, wanted.seed)
    right = targets(task.labels, task.test)
    scores = {maker: quality.scores(right, found) for maker, found in answers.items()}
    return {
        "task": task.name,
        "group": task.group,
        "labels": len(task.labels),
        "test": len(task.test),
        "shots": wanted.shots,
        "seed": wanted.seed,
        "rows": len(rows),
        "iterations": wanted.iterations,
        "steps": math.ceil(2 * wanted.iterations * len(rows) / BATCH_PAIRS),
        "seconds": seconds,
        "balanced_accuracy": {maker: found.balanced_accuracy.value for maker, found in scores.items()},
        "accuracy": {maker: found.accuracy.value for maker, found in scores.items()},
    }


def ours(base: TextBase, task: TextTask, rows: Sequence[Example], seed: int) -> dict[str, FloatArray]:
    """Return what the model and the probe, made from these rows, answer for the test rows: (N, C) each."""
    requirement = require(task, base.ref.name)
    condition = Condition(
        labels=FAMILY.encode_labels(base, requirement),
        support=FAMILY.encode(base, requirement, [row.input for row in rows]),
        targets=targets(task.labels, rows),
    )
    test = FAMILY.encode(base, requirement, [row.input for row in task.test])
    weights = FAMILY.generate(requirement, condition, seed=seed)
    [probe] = [control for control in FAMILY.controls(requirement) if control.name == PROBE]
    return {
        MODEL: FAMILY.predict(requirement, weights, test).probabilities,
        PROBE: probe.answer(requirement, condition, test, seed),
    }


# --- SetFit ------------------------------------------------------------------------------------------------


class SetFit:
    """Trains the package's models, each from the same body."""

    def __init__(self, scratch: Path) -> None:
        """Build the body of our base's own files in ``scratch``; nothing is fetched."""
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the packages are imported
        import datasets
        import setfit
        import transformers
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

        datasets.disable_progress_bars()
        transformers.logging.disable_progress_bar()
        logging.getLogger("setfit").setLevel(logging.ERROR)
        self._package, self._progress = setfit, transformers.ProgressCallback
        self._scratch = scratch
        write_body(scratch / "body")

        def body() -> SentenceTransformer:
            encoder = Transformer(str(scratch / "body"), max_seq_length=MAX_TOKENS)
            pooling = Pooling(catalogue.spec(PLAIN).dim, "mean")
            return SentenceTransformer(modules=[encoder, pooling, Normalize()], device="cpu")

        self.body = body

    def train(self, texts: Sequence[str], labels: IntArray, wanted: Recipe) -> Any:
        """Return a trained ``SetFitModel`` whose classes are places among the labels."""
        from sklearn.linear_model import LogisticRegression

        model = self._package.SetFitModel(model_body=self.body(), model_head=LogisticRegression())
        options = self._package.TrainingArguments(
            output_dir=str(self._scratch),
            num_iterations=wanted.iterations,
            batch_size=BATCH_PAIRS,
            num_epochs=1,
            body_learning_rate=LEARNING_RATE,
            seed=wanted.seed,
            report_to="none",
            logging_strategy="no",
            save_strategy="no",
            show_progress_bar=False,
        )
        trainer = self._package.Trainer(model=model, args=options)
        trainer.st_trainer.args.dataloader_pin_memory = False  # or it warns that there is nothing to pin for
        trainer.remove_callback(self._progress)  # its bar and losses would drown ours
        # the two halves of trainer.train(); the head is fitted to vectors as exact as those of the test rows
        with torch.autocast("cpu", torch.bfloat16, enabled=wanted.bf16):
            trainer.train_embeddings(list(texts), labels.tolist())
        trainer.train_classifier(list(texts), labels.tolist())
        return model


def write_body(folder: Path) -> None:
    """Write our base as a folder that ``transformers`` loads: configuration, tokenizer and the very same weights."""
    files = resolve.resolve(PLAIN, settings.current())
    spec = files.spec
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": spec.vocab_size,
        "hidden_size": spec.dim,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.intermediate,
        "max_position_embeddings": spec.max_positions,
        "layer_norm_eps": spec.layer_norm_eps,
        "pad_token_id": spec.pad_id,
    }
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    about = {f"{name}_token": token for name, token in special.items()}
    about |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": spec.max_positions}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")
    (folder / "model.safetensors").symlink_to(files.weights.resolve())
    (folder / "tokenizer.json").symlink_to(files.tokenizer.resolve())


def least_cosine(setfit: SetFit, base: TextBase, texts: Sequence[str]) -> float:
    """Return the least cosine between what our encoder and SetFit's untrained body make of a text."""
    texts = [encodable(text) for text in texts]
    last = base.poolings[LAST]
    pooled, _ = encode_texts(base.encoder, base.tokenizer, texts, [last], max_tokens=MAX_TOKENS)
    theirs = setfit.body().encode(texts, show_progress_bar=False)
    return float((unit(pooled[:, 0]) * unit(theirs)).sum(axis=1).min())


def answer(model: Any, texts: Sequence[str], n_labels: int) -> FloatArray:
    """Return (N, C) probabilities; labels that the model was shown no row of get none."""
    shown = model.predict_proba(list(texts), batch_size=TEST_BATCH, as_numpy=True, show_progress_bar=False)
    probabilities = np.zeros((len(texts), n_labels))
    probabilities[:, model.model_head.classes_] = shown
    return probabilities


# --- what is kept between runs -----------------------------------------------------------------------------


def read_rows(path: Path) -> dict[Recipe, Row]:
    """Return the rows that were kept; a line that was cut off is none."""
    found: dict[Recipe, Row] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").split("\n"):
            with contextlib.suppress(json.JSONDecodeError):
                kept = json.loads(line)
                found[Recipe(**kept["recipe"])] = kept["row"]
    return found


def append_row(path: Path, made: Recipe, row: Row) -> None:
    """Add a finished row to the file, on a line of its own even after one that was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cut = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * cut + json.dumps({"recipe": asdict(made), "row": row}) + "\n")


# --- what the rows say -------------------------------------------------------------------------------------


def join(rows: Iterable[Row], heldout: Iterable[Row]) -> list[Row]:
    """Add to each row what the table of held-out tasks says of its task at the same number of shots."""
    beside = {(row["task"], row["shots"]): row for row in heldout}
    joined: list[Row] = []
    for row in rows:
        told = beside[row["task"], row["shots"]]
        means = {maker: told["balanced_accuracy"][maker] for maker in (MODEL, PROBE)}
        joined.append({**row, "heldout": means, "learnable": told["learnable"]})
    return joined


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Return means over groups of tasks, and paired differences; each task counts by its mean over seeds."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    group_of = {row["task"]: row["group"] for row in rows}
    groups = [group_of[task] for task in tasks]

    def means(field: str, maker: str) -> FloatArray:
        return np.array([np.mean([row[field][maker] for row in rows if row["task"] == task]) for task in tasks])

    made = {maker: means("balanced_accuracy", maker) for maker in (SETFIT, MODEL, PROBE)}
    over_draws = {maker: means("heldout", maker) for maker in (MODEL, PROBE)}
    ahead = made[MODEL] - made[SETFIT]
    by_group = np.array([ahead[np.array(groups) == group].mean() for group in dict.fromkeys(groups)])
    seconds = [row["seconds"] for row in rows]
    return {
        "tasks": len(tasks),
        "groups": len(by_group),
        "balanced_accuracy": {maker: group_mean(groups, values) for maker, values in made.items()},
        "model_minus_setfit": group_mean(groups, ahead),
        "setfit_minus_probe": group_mean(groups, made[SETFIT] - made[PROBE]),
        "groups_better": float(np.mean(by_group > 0)),
        "groups_worse": float(np.mean(by_group < 0)),
        "heldout": {maker: group_mean(groups, values) for maker, values in over_draws.items()},
        "heldout_model_minus_setfit": group_mean(groups, over_draws[MODEL] - made[SETFIT]),
        "training_seconds": {"median": float(np.median(seconds)), "sum": float(np.sum(seconds))},
    }


def to_table(name: str, summary: Mapping[str, Any]) -> str:
    """Return a summary for a person."""
    mean = summary["balanced_accuracy"]
    header = ("", "SetFit", "model", "probe", "model - SetFit", "SetFit - probe", "model over draws - SetFit")
    differences = ("model_minus_setfit", "setfit_minus_probe", "heldout_model_minus_setfit")
    line = (
        f"{name}: {summary['tasks']} tasks in {summary['groups']} groups",
        *(points(mean[maker].value) for maker in (SETFIT, MODEL, PROBE)),
        *(gap(summary[field]) for field in differences),
    )
    return table(header, [line])


if __name__ == "__main__":
    main()
