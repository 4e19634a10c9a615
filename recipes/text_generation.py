"""Train the generator of text-generation: conditions in, adapters of a small language model out.

    python -m recipes.text_generation --data DATA --fold 0 --out DIR

Two stages, each resumable by the same line: ``anchor``, one adapter for all tasks (the control that the rest must
beat), then ``generator``, what a condition adds to it. What it reads: the public text-to-text tasks whose licence
allows it and the programs of ``sartor.pretrain.transforms``; groups of sources and families of programs are held out
whole (``sartor.pretrain.instructions``). ``--fold 0`` never sees the public benchmarks.

Hardware: two CPU cores, some minutes for the sentence embeddings of the conditions and half an hour for the lower
layers of all rows (both once), then an hour for a run at the ``cpu`` dial; ``--dial gpu`` is the same code on one GPU,
in as many calls as it takes.

What comes out, in ``--out``: generator.safetensors (the anchor, the generator and how large its adapters are, in
float16), card.json, a folder a stage with its history.json and, with matplotlib, run.png.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping

import torch

from recipes.common import Teller, draw, parser
from sartor.nn import generator_file
from sartor.nn.generator import Generator
from sartor.nn.language import load_language_model
from sartor.nn.text_base import load_base
from sartor.pretrain import adapters, below, generator, instructions
from sartor.pretrain.adapters import AnchorLesson
from sartor.pretrain.generator import GeneratorLesson
from sartor.pretrain.instructions import Chances, InstructionMixture

DIALS = {"cpu": (adapters.CPU, generator.CPU, (24, 8)), "gpu": (adapters.GPU, generator.GPU, (256, 24))}
"""Of the anchor, of the generator, and how many rows and wordings of a task are drawn from."""
SHOWN = {"cpu": (1.0, 0.0, 0.0), "gpu": (0.65, 0.175, 0.175)}
"""How often the base reads no instruction, the shortest, a whole one; without any, lower layers are computed once."""
ANCHOR, GENERATOR = "anchor", "generator"
FILE = "generator.safetensors"


def main() -> None:
    options = arguments()
    for_anchor, for_generator, most = DIALS[options.dial]
    split = instructions.load(options.data, held_out=options.fold)
    train, validation = (adapters.few_rows(part, *most) for part in (split.train, split.validation))
    told = Teller()
    for title, part in (("learned from", train), ("watched", validation)):
        told.part(title, part, sum(len(task.train) for task in part))
    texts = adapters.condition_texts([*train, *validation])
    sentences = adapters.embed(load_base(options.sentences), texts, options.cache, progress=told.progress)
    model = load_language_model(options.base, device=options.device)
    shown = SHOWN[options.dial]
    learn, watch = (InstructionMixture(part, Chances(shown=shown)) for part in (train, validation))
    lower = None
    if shown[0] == 1:
        layer = adapters.first_layer(model, for_anchor.layers)
        rows = adapters.all_rows(model, [*train, *validation])
        lower = below.prepare(model, rows, layer, options.cache, progress=told.progress)

    told.stage(ANCHOR, for_anchor.pace)
    lesson = AnchorLesson(model, learn, watch, for_anchor, lower)
    anchor = adapters.train_anchor(lesson, options.out / ANCHOR, seed=options.seed, on_look=told.look)
    told.stage(GENERATOR, for_generator.pace)
    sites = adapters.chosen_sites(model, for_generator)
    fresh = Generator(sites, rank=for_generator.rank, steps=generator.GRADIENT_STEPS, seed=options.seed)
    told_by = Chances(shown=shown, modalities=generator.MODALITIES, renamed=generator.RENAMED)
    learn = InstructionMixture(train, told_by)
    lesson = GeneratorLesson(model, fresh.to(options.device), anchor, sentences, learn, watch, for_generator, lower)
    weights = generator.train(lesson, options.out / GENERATOR, seed=options.seed, on_look=told.look)

    bounds = generator.bounds(lesson, weights, seed=options.seed)
    dial, losses = generator.word_dial(lesson, weights)
    generator_file.write(options.out / FILE, anchor, weights, bounds, word_dial=dial)
    write_card(options, split, losses)
    draw(options.out, (ANCHOR, GENERATOR), "cross-entropy of an answer (nats a token)")
    print(f"Done: {options.out}")


def arguments() -> argparse.Namespace:
    flags = parser(__doc__ or "", DIALS, base="smollm2-135m-instruct")
    flags.add_argument("--fold", type=int, default=0, help="groups that it never sees; 0 hides the benchmarks too")
    flags.add_argument("--sentences", default="all-minilm-l6-v2", help="base that embeds conditions")
    return flags.parse_args()


def write_card(options: argparse.Namespace, split: instructions.Split, words: Mapping[float, float]) -> None:
    card = {
        "made by": "python -m recipes.text_generation --data DATA --out DIR "
        f"--fold {options.fold} --dial {options.dial} --seed {options.seed}",
        "base": options.base,
        "conditions by": options.sentences,
        "sha256": hashlib.sha256((options.out / FILE).read_bytes()).hexdigest(),
        "torch": torch.__version__,
        "watched losses without rows, by dial": words,
        "groups": sorted({task.group for task in split.train}),
        "tasks": sorted(task.name for task in split.train),
    }
    (options.out / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
