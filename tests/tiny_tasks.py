"""Text-to-text tasks and the tiny language model with its generator, ready to be judged beside their controls."""

import json
from dataclasses import dataclass
from pathlib import Path

import tiny_base
import tiny_language
from sartor.families.text_generation import WritingBase
from sartor.nn.generator_file import Trained
from sartor.nn.text_base import TextBase
from sartor.pretrain import arms
from sartor.pretrain.controls import Source
from sartor.pretrain.instructions import InstructionTask
from sartor.types import BaseRef, Example, silent


def task(name, answer, group=None):
    """Return a task of two words."""
    rows = tuple(Example(f"{word} {at}", answer(word)) for word in ("red", "blue") for at in range(10))
    told = (f"say {name}", f"please say {name}")
    return InstructionTask(name, group or f"group {name}", "f", told, rows[:16], rows[16:], "exact_match", None)


TASKS = (task("upper", str.upper), task("first", lambda word: word[0]))


def bench(learned=TASKS):
    """Return what all tasks are judged with."""
    model = tiny_language.model()
    decoder = model.decoder
    generator = tiny_language.generator(decoder).eval().requires_grad_(False)
    trained = Trained(tiny_language.anchor(decoder), generator, tiny_language.bounds(decoder))
    reader = TextBase(BaseRef("tiny", "0", "none"), tiny_base.encoder(), tiny_base.tokenizer(), "")
    return arms.bench(model, trained, WritingBase(model, trained, reader), learned)


@dataclass(frozen=True)
class TinySource(Source):
    """Where processes get it from."""

    def bench(self, progress=silent):
        """Return it, made anew."""
        return bench(self.learned)


def own_folder(folder: Path, *, tasks: int = 3, rows: int = 12) -> Path:
    """Write a collection of tasks as a user has them."""
    for at in range(tasks):
        here = folder / f"task{at}"
        here.mkdir(parents=True)
        (here / "task.yaml").write_text(f"description: Say it with a {at}\nexamples: train.csv\n")
        lines = [f"word {row},word {row} {at}\n" for row in range(rows)]
        (here / "train.csv").write_text("input,output\n" + "".join(lines))
    return folder


def write_task(folder: Path, **about: str) -> None:
    """Write a task file of JSON."""
    folder.mkdir(parents=True)
    (folder / "task.json").write_text(json.dumps(about))
