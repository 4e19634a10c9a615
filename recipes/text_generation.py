"""Train the generator of text-generation: conditions in, adapters of a small language model out.

    python -m recipes.text_generation --data DATA --fold 0 --out DIR

Two stages, each resumable by the same line: ``anchor``, one adapter for all tasks (the control that the rest must
beat), then ``generator``, what a condition adds to it. What it reads: the public text-to-text tasks whose licence
allows it and the programs of ``sartor.pretrain.transforms``; groups of sources and families of programs are held out
whole (``sartor.pretrain.instructions``). ``--fold 0`` never sees the public benchmarks.

Hardware: two CPU cores, some 15 minutes for the sentence embeddings of the conditions (once) and an hour for a run at
the ``cpu`` dial; ``--dial gpu`` is the same code on one GPU, in as many calls as it takes.

What comes out, in ``--out``: anchor.safetensors and generator.safetensors (float16), card.json, a folder a stage with
its history.json and, with matplotlib, run.png.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from sartor.families.text_classification import load_base
from sartor.nn.anchor import replace_file
from sartor.nn.language import load_language_model
from sartor.pretrain import adapters, generator, instructions
from sartor.pretrain.adapters import AnchorLesson, Dial
from sartor.pretrain.generator import Generator, GeneratorLesson
from sartor.pretrain.instructions import InstructionMixture, InstructionTask
from sartor.pretrain.run import HISTORY, Look

DIALS = {"cpu": (adapters.CPU, generator.CPU, 64), "gpu": (adapters.GPU, generator.GPU, 256)}
"""Of the anchor, of the generator, and rows of a task that conditions and queries are drawn from."""
ANCHOR, GENERATOR = "anchor", "generator"


def main() -> None:
    options = arguments()
    for_anchor, for_generator, rows = DIALS[options.dial]
    split = instructions.load(options.data, held_out=options.fold)
    train, validation = (adapters.few_rows(part, rows) for part in (split.train, split.validation))
    told = Teller()
    told.begin(train, validation)
    texts = adapters.condition_texts([*train, *validation])
    sentences = adapters.embed(load_base(options.sentences), texts, options.cache, progress=told.embedded)
    model = load_language_model(options.base, device=options.device)
    learn, watch = InstructionMixture(train), InstructionMixture(validation)

    told.stage(ANCHOR, for_anchor)
    lesson = AnchorLesson(model, learn, watch, for_anchor)
    anchor = adapters.train_anchor(lesson, options.out / ANCHOR, seed=options.seed, on_look=told.look)
    told.stage(GENERATOR, for_generator)
    fresh = Generator(adapters.chosen_sites(model, for_generator), rank=for_generator.rank, seed=options.seed)
    lesson = GeneratorLesson(model, fresh.to(options.device), anchor, sentences, learn, watch, for_generator)
    weights = generator.train(lesson, options.out / GENERATOR, seed=options.seed, on_look=told.look)

    save(options.out / f"{ANCHOR}.safetensors", adapters.as_parameters(anchor))
    save(options.out / f"{GENERATOR}.safetensors", weights)
    write_card(options, split)
    draw(options.out)
    print(f"Done: {options.out}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--fold", type=int, default=0, help="groups that it never sees; 0 hides the benchmarks too")
    parser.add_argument("--dial", choices=DIALS, default="cpu", help="how much is spent")
    parser.add_argument("--base", default="smollm2-135m-instruct")
    parser.add_argument("--sentences", default="all-minilm-l6-v2", help="base that embeds conditions")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "sartor-pretrain")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    return parser.parse_args()


class Teller:
    """Tells a person how far it is."""

    def __init__(self) -> None:
        self.started = self.told = self.stage_began = time.monotonic()
        self.dial = adapters.CPU
        self.first: int | None = None

    def begin(self, train: Sequence[InstructionTask], validation: Sequence[InstructionTask]) -> None:
        for title, tasks in (("learned from", train), ("watched", validation)):
            groups = len({task.group for task in tasks})
            print(f"{title}: {len(tasks)} tasks in {groups} groups, {sum(len(task.train) for task in tasks)} rows")

    def embedded(self, stage: str, done: int, total: int) -> None:
        if time.monotonic() - self.told > 10 or done == total:
            self.told = time.monotonic()
            print(f"[{self.told - self.started:5.0f} s] {stage}: {done} of {total} texts", flush=True)

    def stage(self, name: str, dial: Dial) -> None:
        self.stage_began, self.dial, self.first = time.monotonic(), dial, None
        print(f"[{self.stage_began - self.started:5.0f} s] stage {name}: {dial.pace.steps} steps", flush=True)

    def look(self, look: Look) -> None:
        now = time.monotonic()
        every = self.dial.pace.every
        self.first = look.step - every if self.first is None else self.first
        left = (now - self.stage_began) / (look.step - self.first) * (self.dial.pace.steps - look.step)
        learned, watched = (
            ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items()) for losses in (look.learned, look.watched)
        )
        print(
            f"[{now - self.started:5.0f} s] step {look.step}: {learned}; watched {watched}; {left:.0f} s left",
            flush=True,
        )


def save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    replace_file(path, {name: tensor.detach().half() for name, tensor in tensors.items()})


def write_card(options: argparse.Namespace, split: instructions.Split) -> None:
    hashes = {
        name: hashlib.sha256((options.out / f"{name}.safetensors").read_bytes()).hexdigest()
        for name in (ANCHOR, GENERATOR)
    }
    card = {
        "made by": "python -m recipes.text_generation --data DATA --out DIR "
        f"--fold {options.fold} --dial {options.dial} --seed {options.seed}",
        "base": options.base,
        "conditions by": options.sentences,
        "sha256": hashes,
        "torch": torch.__version__,
        "groups": sorted({task.group for task in split.train}),
        "tasks": sorted(task.name for task in split.train),
    }
    (options.out / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def draw(folder: Path) -> None:
    """Draw the run, if matplotlib is there."""
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError:
        print("No picture of the run: install sartor[bench] for one.")
        return
    figure, axes_of = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    for axes, stage in zip(axes_of, (ANCHOR, GENERATOR), strict=True):
        history = json.loads((folder / stage / HISTORY).read_text())
        steps = [look["step"] for look in history]
        axes.plot(steps, [look["learned"]["answers"] for look in history], color="grey", label="learned from")
        for name in history[-1]["watched"]:
            axes.plot(steps, [look["watched"][name] for look in history], label=f"watched: {name}")
        axes.set(xlabel="step", title=f"stage: {stage}")
        axes.legend()
    axes_of[0].set(ylabel="cross-entropy of an answer's token (nats)")
    figure.savefig(folder / "run.png", dpi=100)


if __name__ == "__main__":
    main()
