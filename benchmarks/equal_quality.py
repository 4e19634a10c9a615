"""(g) Accuracy against seconds to equal quality: how long fine-tuning takes to be as good as what is generated at once.

    python -m benchmarks.equal_quality --data DATA

Held-out tasks of the ``report`` side, 8 rows a label, one thread, one process in which all is loaded. On the same
rows: Sartor (encode labels and rows, generate), the probe (encode, logistic regression), LoRA and full fine-tuning of
the plain base, both begun at the probe and judged on the whole test file after 0, 1, 2, 3, 4, 6, 8, 12, 16 … steps;
what judging takes is not counted. SetFit as well, where its package can be imported.

With ``--anchors`` Sartor has the anchor that never saw the task's group, as in :mod:`benchmarks.heldout`, and LoRA is
shown a second time, begun where that anchor ends (merged into the base). Without it Sartor is the floor.

The ratio is the seconds until a maker is first seen at Sartor's balanced accuracy, over Sartor's seconds. Where it is
not seen there within the budget, the budget over Sartor's seconds is a lower bound, and is counted as one. Cold is
the same for whole processes, from the start of the interpreter to its end. ``left_out`` in the result says what the
ratios do not hold.

Dimension key:   N: rows   C: labels
"""

import importlib.util
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
import torch
from sklearn.linear_model import LogisticRegression

from benchmarks import heldout, setfit_heldout, speed
from benchmarks.common import ROOT, Encoder, Run, TextTask, arguments, points, read_index, read_tasks, table
from benchmarks.fewshot import draw, require, targets
from sartor.evaluate import quality
from sartor.families.interface import Condition, FloatArray, IntArray
from sartor.families.text_classification import FAMILY
from sartor.finetune import Budget, Predict, Tuned, descent, finetune
from sartor.finetune.interface import Clock
from sartor.nn import lora
from sartor.nn.anchor import ANCHOR, read
from sartor.nn.features import TextFeatures
from sartor.nn.text_base import TextBase, load_base
from sartor.pretrain.public import fold
from sartor.types import Example, Requirement

TASKS = ("ag_news", "trec_coarse", "nlueval_askubuntu", "financial_phrasebank", "mag_field", "subj")
"""Of ``textcls`` on the report side, learnable, at most ten labels, a hundred test rows at least; one is of intents."""
SARTOR, PROBE, FROM_ANCHOR, SETFIT = "sartor", "probe", "lora-from-anchor", "setfit"
AT_ONCE = (SARTOR, PROBE)
TRAINED = ("lora", "full")
TITLES = {
    SARTOR: "Sartor",
    PROBE: "probe",
    "lora": "LoRA",
    "full": "full fine-tuning",
    FROM_ANCHOR: "LoRA from the anchor",
    SETFIT: "SetFit",
}
SETFIT_ITERATIONS = 20
"""Pairs of either kind for each row, as in its paper."""
REPEATS = 3
"""Of what takes a second; the median counts. A curve is one run."""
LEFT_OUT = (
    "What is done once and before any task: pretraining of the base, which all makers stand on, and training of the "
    "anchor, which Sartor and LoRA from the anchor stand on.",
    "The choice of learning rate, batch and start for LoRA and full fine-tuning: it was made on dev tasks and is free "
    "here, and so is the choice of Sartor's constants.",
    "When to stop: the curve is read by the test rows, in favour of what is trained, for nobody with 8 rows a label "
    "can see them. The first point at Sartor's accuracy counts, even where later ones fall below it.",
    "Between two judged steps: the step that reached Sartor's accuracy may lie up to a third before the one seen.",
    "Threads and accelerators: one CPU thread for everybody. Training gains more from both than one pass does.",
    "Calibration and an out-of-scope threshold, which only Sartor's seconds hold; cold, they hold its proof as well.",
)

_LORA = """
import csv, json, sys
from sartor.nn.text_base import load_base
from sartor.finetune import Budget, finetune
told = json.load(open(sys.argv[1]))
with open(told["rows"], encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
place = {label: at for at, label in enumerate(told["labels"])}
tuned = finetune(
    load_base(told["base"]), [row["text"] for row in rows], [place[row["label"]] for row in rows], len(place),
    method="lora", budget=Budget(**told["budget"]), max_tokens=told["max_tokens"], seed=told["seed"],
)
print(json.dumps({"steps": tuned.steps}))
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """One draw of rows of one task, and what everybody is judged by."""

    task: TextTask
    requirement: Requirement
    base: TextBase
    """Sartor's; what is fine-tuned is its plain encoder."""
    anchor: TextBase | None
    """The plain base with the anchor merged into it, where there is one."""
    rows: tuple[Example, ...]
    seed: int
    test: TextFeatures
    """Of the whole test file, for Sartor; the others encode it anew, for their encoder changes."""
    test_targets: IntArray

    @property
    def texts(self) -> list[str]:
        """Return the texts of the rows."""
        return [row.input for row in self.rows]

    @property
    def targets(self) -> IntArray:
        """Return (N,) the place of each row's label."""
        return targets(self.task.labels, self.rows)

    def judge(self, probabilities: FloatArray) -> float:
        """Return the balanced accuracy of (N, C) answers to the test rows."""
        return quality.scores(self.test_targets, probabilities).balanced_accuracy.value

    def judge_model(self, predict: Predict) -> float:
        """Return the balanced accuracy of a model that answers texts."""
        return self.judge(predict(self.test.texts))


@dataclass(frozen=True, slots=True)
class Point:
    """A model on its way: how long it took and what it is worth."""

    step: int
    seconds: float
    balanced_accuracy: float


@dataclass(frozen=True, slots=True)
class Curve:
    """What one maker did in one trial; a maker without steps has one point."""

    task: str
    seed: int
    maker: str
    points: tuple[Point, ...]

    @property
    def last(self) -> Point:
        """Return where it ended."""
        return self.points[-1]


@dataclass(frozen=True, slots=True)
class Ratio:
    """How much longer than Sartor a maker took to Sartor's balanced accuracy."""

    times: float
    bound: bool
    """True where it did not get there, so that ``times`` is the least it can be."""
    step: int | None
    """Where it got there."""


def main() -> None:
    options = arguments(
        __doc__ or "",
        seeds=3,
        extend={
            "--tasks": {"default": ",".join(TASKS), "help": "names, with commas between"},
            "--shots": {"type": int, "default": 8, "help": "rows a label"},
            "--budget": {"type": float, "default": 60.0, "help": "seconds for each curve"},
            "--cold": {"type": int, "default": 2, "help": "so many tasks in whole processes as well"},
            "--anchors": {"type": Path, "help": "folder of the anchors fold0 …; without it, Sartor has none"},
            "--picture": {"default": "docs/equal-quality.svg", "help": "where the picture (SVG) goes"},
        },
    )
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    torch.set_num_threads(1)
    run = Run("equal_quality", options, seeds=range(options.seeds))
    tasks = chosen(options.data, options.tasks.split(","))
    curves: list[Curve] = []
    cold: list[dict[str, Any]] = []
    with threadpoolctl.threadpool_limits(1):
        for at, task in enumerate(tasks):
            base, anchor = bases(task, options.anchors)
            trials = [prepare(task, Encoder(base, options.cache), options.shots, seed, anchor) for seed in run.seeds]
            if at == 0:
                warm_up(trials[0])
            for trial in trials:
                curves += race(trial, options.budget, run.say)
            if at < options.cold:
                cold.append(cold_start(trials[0], curves, options.budget))
            run.say(f"{at + 1}/{len(tasks)} {task.name} ({len(task.labels)} labels)")
    found = summarise(curves)
    print(to_table(found), *map(cold_line, cold), sep="\n")
    run.write(
        to_rows(curves),
        {**found, "cold": cold},
        name="equal-quality",
        base=heldout.BASE if options.anchors else heldout.PLAIN,
        left_out=LEFT_OUT,
        trained=RECIPE,
    )
    draw_picture(curves, ROOT / options.picture, run.say)


RECIPE = (
    f"AdamW, batches of {descent.BATCH}; head begun at the probe's; constants in sartor.finetune, chosen on dev tasks"
)


def chosen(data: Path, names: Sequence[str]) -> list[TextTask]:
    """Return the tasks of these names, of the collection ``textcls``, in this order.

    Raises:
        SystemExit: if one is not there, or is not on the report side.
    """
    index = {row.name: row for row in read_index(data) if row.collection == "textcls"}
    missing = [name for name in names if name not in index or heldout.side(index[name].group) != "report"]
    if missing:
        raise SystemExit(f"Not a task of textcls on the report side: {', '.join(missing)}.")
    return read_tasks(data, [index[name] for name in names])


def bases(task: TextTask, anchors: Path | None) -> tuple[TextBase, TextBase | None]:
    """Return Sartor's base for a task, and the plain base with the same anchor merged into it."""
    plain = load_base(heldout.PLAIN)
    if anchors is None:
        return plain, None
    part = fold(task.group)
    rows = read((anchors / f"fold{part}" / ANCHOR).read_bytes()).rows
    return heldout.fold_base(anchors, part), replace(plain, encoder=lora.merged(plain.encoder, rows))


def prepare(task: TextTask, encoder: Encoder, shots: int, seed: int, anchor: TextBase | None = None) -> Trial:
    """Draw rows of a task and encode its test rows."""
    requirement = require(task, encoder.base.ref.name)
    rows = tuple(task.train[row] for row in draw(task.train, shots, seed))
    test = encoder(requirement, [row.input for row in task.test])
    return Trial(task, requirement, encoder.base, anchor, rows, seed, test, targets(task.labels, task.test))


# --- the makers --------------------------------------------------------------------------------------------


def race(trial: Trial, budget: float, say: Callable[[str], None]) -> list[Curve]:
    """Return the curve of every maker."""
    found = {SARTOR: sartor_curve(trial), PROBE: probe_curve(trial)}
    found |= {method: trained_curve(trial, method, Budget(seconds=budget)) for method in TRAINED}
    if trial.anchor:
        found[FROM_ANCHOR] = trained_curve(replace(trial, base=trial.anchor), "lora", Budget(seconds=budget))
    found |= {SETFIT: setfit_curve(trial, budget, say)}
    return [Curve(trial.task.name, trial.seed, maker, told) for maker, told in found.items() if told]


def warm_up(trial: Trial) -> None:
    """Let everything be imported that training needs: the first optimizer alone takes a second."""
    for method in TRAINED:
        tune(trial, method, Budget(steps=1))


def sartor_curve(trial: Trial) -> tuple[Point, ...]:
    """Time what a user waits for when all is loaded: labels and rows encoded, weights generated."""

    def make() -> Any:
        labels = FAMILY.encode_labels(trial.base, trial.requirement)
        support = FAMILY.encode(trial.base, trial.requirement, trial.texts)
        return FAMILY.generate(trial.requirement, Condition(labels, support, trial.targets), seed=trial.seed)

    answers = FAMILY.predict(trial.requirement, make(), trial.test)
    seconds = float(np.median(speed.repeated(make, REPEATS)))
    return (Point(0, seconds, trial.judge(answers.probabilities)),)


def probe_curve(trial: Trial) -> tuple[Point, ...]:
    """Time logistic regression on the last layer, rows encoded anew."""
    tuned = [tune(trial, "probe", Budget(steps=0)) for _ in range(1 + REPEATS)]
    seconds = float(np.median([one.seconds for one in tuned[1:]]))
    return (Point(0, seconds, trial.judge_model(tuned[0].predict)),)


def trained_curve(trial: Trial, method: str, budget: Budget) -> tuple[Point, ...]:
    """Judge a method on its way, and once more where it ends."""
    told: list[Point] = []

    def judge(step: int, seconds: float, predict: Predict) -> None:
        if is_judged(step):
            told.append(Point(step, seconds, trial.judge_model(predict)))

    tuned = tune(trial, method, budget, on_step=judge)
    if told[-1].step < tuned.steps:
        told.append(Point(tuned.steps, tuned.seconds, trial.judge_model(tuned.predict)))
    return tuple(told)


def tune(trial: Trial, method: str, budget: Budget, **options: Any) -> Tuned:
    """Fine-tune on the rows of a trial."""
    return finetune(
        trial.base,
        trial.texts,
        trial.targets,
        len(trial.task.labels),
        method=method,
        budget=budget,
        max_tokens=trial.requirement.max_tokens,
        seed=trial.seed,
        **options,
    )


def is_judged(step: int) -> bool:
    """Say whether a step is 0, a power of two, or one and a half times one.

    >>> [step for step in range(50) if is_judged(step)]
    [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]
    """
    power = step if step % 3 else step // 3
    return power & (power - 1) == 0


def setfit_curve(trial: Trial, budget: float, say: Callable[[str], None]) -> tuple[Point, ...]:
    """Judge SetFit on its way, as :mod:`benchmarks.setfit_heldout` trains it; no point where its package is missing.

    The fit of its head is counted at each judged step as if it were the last.
    """
    if importlib.util.find_spec("setfit") is None:
        say("SetFit is left out: its package is not in this environment; benchmarks.setfit_heldout says how to get it.")
        return ()
    told: list[Point] = []
    with tempfile.TemporaryDirectory() as folder:
        package = setfit_heldout.SetFit(Path(folder))
        from setfit import SetFitModel, Trainer, TrainingArguments  # pyright: ignore[reportMissingImports]
        from transformers import TrainerCallback

        clock = Clock()
        setfit = SetFitModel(model_body=package.body(), model_head=LogisticRegression())

        def judge(step: int) -> None:
            before = clock.seconds
            with clock.still():
                fitting = speed.once(lambda: setfit.fit(trial.texts, trial.targets.tolist(), num_epochs=1))
                found = setfit_heldout.answer(setfit, trial.test.texts, len(trial.task.labels))
                told.append(Point(step, before + fitting, trial.judge(found)))

        class Judge(TrainerCallback):
            """Judges, and ends the training when the budget is spent."""

            def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
                control.should_training_stop = clock.seconds >= budget
                if is_judged(state.global_step) or control.should_training_stop:
                    judge(state.global_step)

        judge(0)
        quiet = {"report_to": "none", "logging_strategy": "no", "save_strategy": "no", "show_progress_bar": False}
        wishes = TrainingArguments(output_dir=folder, seed=trial.seed, num_iterations=SETFIT_ITERATIONS, **quiet)
        trainer = Trainer(model=setfit, args=wishes, callbacks=[Judge()])
        trainer.st_trainer.args.dataloader_pin_memory = False  # or it warns that there is nothing to pin for
        trainer.train_embeddings(trial.texts, trial.targets.tolist())
    return tuple(told)


# --- cold --------------------------------------------------------------------------------------------------


def cold_start(trial: Trial, curves: Sequence[Curve], budget: float) -> dict[str, Any]:
    """Time ``sartor generate`` and LoRA as whole processes on the rows of a trial.

    LoRA takes the steps after which its curve was first at Sartor's accuracy, and judges nothing; where the curve was
    never there, it trains until the budget is spent, and the ratio is a lower bound. Of ``sartor generate`` only the
    time counts: the anchor that comes with Sartor may have seen the task.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = speed.write_csv(folder / "rows.csv", trial.rows)
        words = ["generate", trial.task.description, "--examples", str(rows), "--name", "cold"]
        words += ["--base", trial.base.ref.name, "--language", trial.task.language, "--seed", str(trial.seed), "--json"]
        ours = [speed.child([sys.executable, "-c", speed.SARTOR, *words], folder) for _ in range(REPEATS)]
        accuracy = curve_of(curves, trial, SARTOR).last.balanced_accuracy
        reached = next((p for p in curve_of(curves, trial, "lora").points if p.balanced_accuracy >= accuracy), None)
        wanted = {
            "rows": str(rows),
            "labels": trial.task.labels,
            "base": heldout.PLAIN,
            "max_tokens": trial.requirement.max_tokens,
            "seed": trial.seed,
            "budget": {"steps": reached.step} if reached else {"seconds": budget},
        }
        (folder / "told.json").write_text(json.dumps(wanted), encoding="utf-8")
        trained = speed.child([sys.executable, "-c", _LORA, str(folder / "told.json")], folder)
    seconds = float(np.median([one.seconds for one in ours]))
    return {
        "task": trial.task.name,
        "seed": trial.seed,
        "sartor_seconds": seconds,
        "sartor_stages": json.loads(ours[0].output)["seconds"],
        "balanced_accuracy": accuracy,
        "lora_seconds": trained.seconds,
        "lora_steps": json.loads(trained.output)["steps"],
        "times": trained.seconds / seconds,
        "bound": reached is None,
    }


def curve_of(curves: Sequence[Curve], trial: Trial, maker: str) -> Curve:
    """Return what a maker did in a trial."""
    return next(c for c in curves if (c.task, c.seed, c.maker) == (trial.task.name, trial.seed, maker))


# --- what the curves say -----------------------------------------------------------------------------------


def ratio(curve: Curve, sartor: Curve) -> Ratio:
    """Return how many times Sartor's seconds a maker took to be first seen at Sartor's accuracy."""
    reached = next((p for p in curve.points if p.balanced_accuracy >= sartor.last.balanced_accuracy), None)
    if reached is None:
        return Ratio(curve.last.seconds / sartor.last.seconds, True, None)
    return Ratio(reached.seconds / sartor.last.seconds, False, reached.step)


def ratios(curves: Sequence[Curve]) -> dict[str, dict[tuple[str, int], Ratio]]:
    """Return maker -> (task, seed) -> ratio, of everybody who gets better with time."""
    sartor = {(curve.task, curve.seed): curve for curve in curves if curve.maker == SARTOR}
    found: dict[str, dict[tuple[str, int], Ratio]] = {}
    for curve in curves:
        if curve.maker not in AT_ONCE:
            found.setdefault(curve.maker, {})[curve.task, curve.seed] = ratio(curve, sartor[curve.task, curve.seed])
    return found


def median(found: Sequence[Ratio]) -> Ratio:
    """Return the median ratio (of two in the middle the lower one); a bound where it rests on one.

    Bounds stand at the least they can be, so that the true median is never below this one. It is exact if no bound
    lies at or below it.
    """
    ordered = sorted(found, key=lambda one: one.times)
    middle = ordered[(len(ordered) - 1) // 2]
    return Ratio(middle.times, any(one.bound and one.times <= middle.times for one in ordered), None)


def summarise(curves: Sequence[Curve]) -> dict[str, Any]:
    """Return for each maker its ratios and where its curves end, over all tasks and seeds and by task."""
    found = ratios(curves)
    by_maker: dict[str, Any] = {}
    for maker in dict.fromkeys(curve.maker for curve in curves):
        own = [curve for curve in curves if curve.maker == maker]
        by_maker[maker] = {
            "curves": len(own),
            "balanced_accuracy": task_mean(own, lambda curve: curve.last.balanced_accuracy),
            "seconds": task_mean(own, lambda curve: curve.last.seconds),
            **({"ratio": together(list(found[maker].values()))} if maker in found else {}),
        }
    tasks = dict.fromkeys(curve.task for curve in curves)
    by_task = {
        task: {
            maker: together([one for (name, _), one in cells.items() if name == task]) for maker, cells in found.items()
        }
        for task in tasks
    }
    return {"makers": by_maker, "tasks": by_task}


def together(found: Sequence[Ratio]) -> dict[str, Any]:
    """Return what several ratios say together."""
    middle = median(found)
    return {
        "median": middle.times,
        "median_is_bound": middle.bound,
        "least": min(one.times for one in found),
        "most": max(one.times for one in found),
        "n": len(found),
        "bounds": sum(one.bound for one in found),
        "before_training": sum(one.step == 0 for one in found),
    }


def task_mean(curves: Sequence[Curve], value: Callable[[Curve], float]) -> float:
    """Return the mean over tasks of means over seeds."""
    tasks: dict[str, list[float]] = {}
    for curve in curves:
        tasks.setdefault(curve.task, []).append(value(curve))
    return float(np.mean([np.mean(values) for values in tasks.values()]))


def to_rows(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return one row for the results for each curve."""
    found = ratios(curves)
    rows: list[dict[str, Any]] = []
    for curve in curves:
        row: dict[str, Any] = {"task": curve.task, "seed": curve.seed, "maker": curve.maker}
        row |= {"seconds": curve.last.seconds, "balanced_accuracy": curve.last.balanced_accuracy}
        if curve.maker in found:
            own = found[curve.maker][curve.task, curve.seed]
            row |= {"ratio": own.times, "bound": own.bound, "step": own.step}
        if len(curve.points) > 1:
            row["curve"] = [[point.step, point.seconds, point.balanced_accuracy] for point in curve.points]
        rows.append(row)
    return rows


def times(middle: float, bound: bool) -> str:
    """Return a ratio for a person, as ``12`` or, where it is a lower bound, ``>= 12``."""
    return f"{'>= ' if bound else ''}{middle:.3g}"


def to_table(summary: Mapping[str, Any]) -> str:
    """Return the ratios by task and over all, and what everybody is worth in the end."""
    makers = [maker for maker, found in summary["makers"].items() if "ratio" in found]
    header = ("times Sartor's seconds to its accuracy", *(TITLES[maker] for maker in makers))

    def cell(found: Mapping[str, Any]) -> str:
        return f"{times(found['median'], found['median_is_bound'])} ({found['bounds']}/{found['n']} not)"

    lines = [(task, *(cell(found[maker]) for maker in makers)) for task, found in summary["tasks"].items()]
    lines.append(("median of all", *(cell(summary["makers"][maker]["ratio"]) for maker in makers)))
    ends = [
        (TITLES[maker], points(found["balanced_accuracy"]), f"{found['seconds']:.2f}")
        for maker, found in summary["makers"].items()
    ]
    return "\n\n".join([table(header, lines), table(("at its end", "balanced accuracy", "seconds"), ends)])


def cold_line(found: Mapping[str, Any]) -> str:
    """Return one cold measurement for a person."""
    return (
        f"cold, {found['task']}: sartor generate {found['sartor_seconds']:.1f} s, LoRA {found['lora_seconds']:.1f} s "
        f"({found['lora_steps']} steps): {times(found['times'], found['bound'])} times"
    )


def draw_picture(curves: Sequence[Curve], path: Path, say: Callable[[str], None]) -> None:
    """Draw accuracy against seconds, a panel a task, a line a seed; Sartor and the probe are points."""
    if importlib.util.find_spec("matplotlib") is None:
        say("No picture: matplotlib is not in this environment. It comes with pip install 'sartor[bench]'")
        return
    import matplotlib as mpl  # pyright: ignore[reportMissingImports]
    from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]

    tasks = list(dict.fromkeys(curve.task for curve in curves))
    columns = min(3, len(tasks))
    lines = -(-len(tasks) // columns)
    # the same curves, the same file; text as text, for letters drawn as paths would be most of it
    with mpl.rc_context({"svg.hashsalt": "sartor", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(3 * columns, 2.4 * lines + 0.4), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, task in zip(panels, tasks, strict=False):
            draw_panel(panel, [curve for curve in curves if curve.task == task])
            panel.set_title(task)
        for panel in panels[len(tasks) :]:
            panel.set_axis_off()
        for panel in panels[max(0, len(tasks) - columns) : len(tasks)]:
            panel.set_xlabel("seconds")
        for panel in panels[::columns]:
            panel.set_ylabel("balanced accuracy, %")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(re.sub(r"(\d\.\d\d)\d+", r"\1", drawn.getvalue()), encoding="utf-8")  # a hundredth of a point
    say(f"drew {path.name}, {path.stat().st_size / 1e3:.0f} kB")


COLOURS = {
    SARTOR: "#d62728",
    PROBE: "#000000",
    "lora": "#1f77b4",
    "full": "#2ca02c",
    FROM_ANCHOR: "#17becf",
    SETFIT: "#9467bd",
}


def draw_panel(panel: Any, curves: Sequence[Curve]) -> None:
    """Draw one task."""
    named: set[str] = set()
    for curve in curves:
        label = TITLES[curve.maker] if curve.maker not in named else "_"
        named.add(curve.maker)
        style = {"marker": "*" if curve.maker == SARTOR else "o", "markersize": 8 if curve.maker == SARTOR else 4}
        if curve.maker not in AT_ONCE:
            style = {"linewidth": 1}
        seconds = [point.seconds for point in curve.points]
        accuracy = [100 * point.balanced_accuracy for point in curve.points]
        panel.plot(seconds, accuracy, color=COLOURS[curve.maker], label=label, alpha=0.8, **style)
    panel.set_xscale("log")
    panel.minorticks_off()
    panel.xaxis.set_major_formatter("{x:g}")
    panel.grid(alpha=0.25, linewidth=0.5)


if __name__ == "__main__":
    main()
