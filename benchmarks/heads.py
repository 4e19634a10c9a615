"""(k) Which weight head, learned from what: three heads over a set encoder and learned gradient steps, at equal cost.

    python -m benchmarks.heads --data DATA --run DIR --work DIR

``--run`` is what ``recipes/text_generation.py`` left, of which the anchor is taken.
In ``--work`` each cell of the table is kept, so that the same line goes on where a run was cut off.

Heads: ``direct``, ``hyperconv``, ``basis`` (``sartor.nn.weight_heads``) read sentences: the description and up to 15
labelled rows, each of which is one item, its input's embedding beside its answer's; ``hyperconv`` reads the tokens of
the same texts instead. ``gradient`` is what is shipped: gradient steps on the rows, no sentence beside them.
Objectives:

- ``answers``: cross-entropy of answers through the frozen base, the tasks, chances and noise of the recipe
- ``checkpoints``: adapters are trained for as many tasks as half of the budget is enough for, and their checkpoints
  regressed in the other half (``sartor.pretrain.reconstruction``); there is nothing to regress for ``gradient``

Equal cost is ``--seconds`` of one core's processor time for each cell, making of checkpoints and embedding of texts
within steps included. Not counted, and the same for all: what the frozen lower layers say of training rows, the
embeddings of their texts, and the looks at validation tasks, which choose the checkpoint and the dial.
The rate of ``basis`` from ``answers`` is the better of 1e-3 and 1e-4 on validation tasks after 72 seconds (``--only``
and ``--rate``); for ``direct`` and ``hyperconv`` neither was better, and they have one between. The others were not
searched.

Judged on held-out tasks of the fold, one a group first, test rows, nats a token of the answer: the anchor alone, the
adapter from the right condition, from the next task's, from the description alone, the mean of what is generated for
training tasks (of the updates, not of A and B), and the right one at the dial that is best on validation tasks.
``own`` is an adapter trained on the 15 rows as targets of ``checkpoints`` are: what could be regressed at best.

Dimension key:   G: conditions   N: items   E: width of a sentence embedding   L: tokens of an item   r: rank
                 I, O: inputs and outputs of a site
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from benchmarks.common import Run, arguments, group_mean, table
from benchmarks.generation import BASE, GENERATOR, follower, spread
from sartor.nn import generator_file
from sartor.nn.anchor import replace_file
from sartor.nn.anchored import join
from sartor.nn.condition import CONDITION_TOKENS, DESCRIPTION, PROMPT, Condition, Conditions, Sentences, tensors
from sartor.nn.decoder import Adapters, sites
from sartor.nn.decoder import rows_of as adapters_of_rows
from sartor.nn.encoder import Pooling, encode_texts, padded
from sartor.nn.generator import Generator
from sartor.nn.language import LanguageModel, load_language_model
from sartor.nn.set_encoder import SetEncoder
from sartor.nn.support_rows import SupportRows
from sartor.nn.teacher_forcing import Batch, Written, answer_losses, write
from sartor.nn.text_base import TextBase, load_base
from sartor.nn.weight_heads import CASCADE, BasisHead, DirectHead, HyperConvHead, Sites
from sartor.pretrain import adapters, below, generator, instructions, reconstruction, run
from sartor.pretrain.adapters import Dial, States
from sartor.pretrain.generator import NOISE
from sartor.pretrain.instructions import Chances, InstructionMixture, InstructionTask
from sartor.pretrain.reconstruction import Farm, Normal, ReconstructionLesson
from sartor.pretrain.run import Budget, Look, Losses
from sartor.types import Example

HEADS, OBJECTIVES = ("direct", "hyperconv", "basis"), ("answers", "checkpoints")
GRADIENT = "gradient"
CELLS = (
    ("direct", "answers"),
    ("basis", "answers"),
    (GRADIENT, "answers"),
    ("basis", "checkpoints"),
    ("direct", "checkpoints"),
    ("hyperconv", "answers"),
    ("hyperconv", "checkpoints"),
)
LOOKS = {head: 4 for head in HEADS} | {GRADIENT: 2}
"""Of a cell; each of the last one's takes half a minute."""
SHOTS = 15
"""Labelled rows of a condition at most; with the description as many items as a hyper-convolution reads."""
MODALITIES = (0.15, 0.15, 0.6, 0.1)
"""Of heads that read sentences; description, examples, both, prompts."""
RATES = {
    ("direct", "answers"): 3e-4,
    ("hyperconv", "answers"): 3e-4,
    ("basis", "answers"): 1e-3,
    (GRADIENT, "answers"): 1e-3,
    **{(head, "checkpoints"): 1e-3 for head in HEADS},
}
ON_TARGETS = 0.5
"""Share of the budget of ``checkpoints`` that goes into their making."""
MEAN_OF = 12
"""Training tasks whose generated updates are averaged."""
VALIDATION, QUERIES = 12, 4
"""Tasks and rows of each that a look judges."""
DIALS = (0.25, 0.5, 0.75, 1.0)
SEED = 0

Blur: TypeAlias = np.random.Generator | None
Make: TypeAlias = Callable[[Sequence[Condition], Mapping[str, Tensor], Blur], Adapters]
"""Conditions, what was learned, and what conditions are blurred by in training -> the generated part for each."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large heads are. The defaults are those of a run, a test has smaller ones."""

    width: int = 64
    latent: int = 256
    last: int = 256
    cascade: Sequence[tuple[int, int, int]] = CASCADE
    columns: int = 64
    items: int = 16
    """That a hyper-convolution reads."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all cells have in common."""

    model: LanguageModel
    anchor: Adapters
    reader: "Reader"
    lower: States
    train: Sequence[InstructionTask]
    validation: Sequence[InstructionTask]
    held_out: Sequence[InstructionTask]
    seconds: float
    rows: int
    """Test rows of a held-out task at most."""
    rank: int = generator.CPU.rank
    size: Size = field(default_factory=Size)
    farm: Farm = field(default_factory=Farm)
    steps: int = generator.GRADIENT_STEPS

    @property
    def sites(self) -> Sites:
        """Return those of the anchor, in the decoder's order."""
        return adapters.sites_of(self.model, self.anchor)

    @property
    def layer(self) -> int:
        """Return the lowest layer that adapters change."""
        return generator_file.lowest_layer(self.anchor)

    @property
    def dial(self) -> Dial:
        """Return how a step's rows are drawn: as in the recipe."""
        return replace(generator.CPU, layers=self.model.decoder.config.layers - self.layer, rank=self.rank)


def main() -> None:
    options = arguments(
        __doc__ or "",
        seeds=1,
        extend={
            "--run": {"type": Path, "required": True, "help": "folder of the recipe's run"},
            "--work": {"type": Path, "required": True, "help": "folder where cells are kept"},
            "--fold": {"type": int, "default": 0, "help": "that the run never saw"},
            "--seconds": {"type": float, "default": 300.0, "help": "of one core for each cell"},
            "--most": {"type": int, "default": 34, "help": "held-out tasks"},
            "--rows": {"type": int, "default": 12, "help": "test rows of a task at most"},
            "--cells": {"type": int, "default": len(CELLS), "help": "so many of the table, in its order"},
            "--only": {"nargs": 2, "default": None, "help": "head and objective of one cell; judges validation alone"},
            "--rate": {"type": float, "default": None, "help": "of that cell"},
        },
    )
    torch.set_num_threads(1)
    told = Run("heads", options, seeds=range(options.seeds))
    setting = load(options)
    told.say("loaded")
    if options.only:
        train_cell(setting, *options.only, options.work, told.say, options.rate)
        return
    rows: list[dict[str, Any]] = []
    cells: dict[str, Any] = {}
    for head, objective in CELLS[: options.cells]:
        cell = train_cell(setting, head, objective, options.work, told.say)
        rows += kept_rows(options.work / f"{cell.name}.rows.json", lambda cell=cell: judge(setting, cell))
        cells[cell.name] = cell.about
        told.say(f"{cell.name}: judged")
    rows += kept_rows(options.work / "own.rows.json", lambda: own(setting))
    summary = summarise(rows) | {"cells": cells}
    print(to_table(summary))
    told.write(rows, summary, base=BASE, fold=options.fold)


def load(options: Any) -> Setting:
    """Return what all cells have in common."""
    split = instructions.load(options.data, held_out=options.fold)
    most = (24, 8)  # rows and wordings of the recipe's cpu dial, whose lower states may be in the cache
    train, validation = (adapters.few_rows(part, *most) for part in (split.train, split.validation))
    held_out = spread(split.held_out, options.most)
    model = load_language_model(BASE)
    trained = generator_file.read((options.run / GENERATOR).read_bytes(), sites(model.decoder))
    base = load_base("all-minilm-l6-v2")
    texts = adapters.condition_texts([*train, *validation])
    reader = Reader(base, adapters.embed(base, texts, options.cache))
    learned_from = adapters.all_rows(model, [*train, *validation])
    judged_by = [write(model, row) for task in held_out for row in (*task.train[:SHOTS], *task.test[: options.rows])]
    tables = [below.prepare(model, part, trained.layer, options.cache) for part in (learned_from, judged_by)]
    anchor = {path: trained.anchor[path] for path in adapters.sites_of(model, trained.anchor)}
    watched = spread(validation, VALIDATION)
    lower = Lower(tables)
    return Setting(model, anchor, reader, lower, train, watched, held_out, options.seconds, options.rows)


class Lower:
    """Lower states out of several tables, of which each batch needs one alone."""

    def __init__(self, tables: Sequence[below.Below]) -> None:
        self.tables = tables

    def __call__(self, rows: Sequence[Written]) -> Tensor:
        """Return (B, T, H); rows of no table are computed now."""
        found = max(self.tables, key=lambda table: sum(row.ids in table.place for row in rows))
        return found(rows)


# --- what heads read ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """Conditions as heads read them: items of twice a sentence's width, or the states of their tokens."""

    conditions: Conditions
    tokens_GNLE: Tensor | None


class Reader:
    """Frozen embeddings of sentences and tokens, each computed once."""

    def __init__(self, base: TextBase, known: Sentences | None = None) -> None:
        self.base = base
        self.known = known
        self.width = base.encoder.config.hidden
        self.sentences: dict[str, NDArray[np.floating]] = {}
        self.tokens: dict[str, Tensor] = {}

    def __call__(self, conditions: Sequence[Condition], blur: Blur, *, tokens: bool) -> Told:
        """Return what heads read of conditions, blurred in training."""
        listed = [items(condition) for condition in conditions]
        if tokens:
            empty = torch.zeros(len(listed), 1, 1), torch.zeros(len(listed), 1), torch.zeros(len(listed), 1)
            return Told(Conditions(*empty), self._tokens(listed, blur))
        self._learn([text for one in listed for _, texts in one for text in texts])
        size = (len(listed), max(1, *map(len, listed)))
        embedded = np.zeros((*size, 2, self.width), dtype=np.float32)
        types, keep = np.zeros(size, np.int64), np.zeros(size, bool)
        for at, one in enumerate(listed):
            for place, (kind, texts) in enumerate(one):
                types[at, place], keep[at, place] = kind, True
                for half, text in enumerate(texts):
                    embedded[at, place, half] = self.sentence(text)
        if blur is not None:
            there = np.abs(embedded).sum(axis=-1, keepdims=True) > 0
            embedded += there * NOISE / math.sqrt(self.width) * blur.normal(size=embedded.shape).astype(np.float32)
        halves = functional.normalize(torch.from_numpy(embedded), dim=-1).flatten(2)
        return Told(Conditions(halves, torch.from_numpy(types), torch.from_numpy(keep)), None)

    def sentence(self, text: str) -> NDArray[np.floating]:
        """Return (E,) of length one."""
        if self.known is not None and text in self.known.place:
            return self.known.embeddings_NE[self.known.place[text]]
        self._learn([text])
        return self.sentences[text]

    def _learn(self, texts: Sequence[str]) -> None:
        known = self.known.place if self.known is not None else {}
        new = list(dict.fromkeys(text for text in texts if text not in known and text not in self.sentences))
        if not new:
            return
        last = Pooling(self.base.encoder.config.layers)
        with torch.autocast("cpu", torch.bfloat16):
            found, _ = encode_texts(self.base.encoder, self.base.tokenizer, new, (last,), max_tokens=CONDITION_TOKENS)
        unit = found[:, 0] / np.linalg.norm(found[:, 0], axis=1, keepdims=True)
        self.sentences |= dict(zip(new, unit, strict=True))

    def _tokens(self, listed: Sequence[Sequence[tuple[int, tuple[str, ...]]]], blur: Blur) -> Tensor:
        """Return (G, N, L, E), an answer before its input, so that it is not cut off."""
        lines = [[": ".join(texts[::-1]) for _, texts in one] for one in listed]
        new = list(dict.fromkeys(line for one in lines for line in one if line not in self.tokens))
        for start in range(0, len(new), 32):
            part = new[start : start + 32]
            ids = [encoding.ids[:CONDITION_TOKENS] for encoding in self.base.tokenizer.encode_batch(part)]
            ids_BT, keep_BT = padded(ids, self.base.encoder.config.pad_id)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                states = self.base.encoder(ids_BT, keep_BT)[-1].float()
            self.tokens |= {line: states[at, : len(ids[at])].half().clone() for at, line in enumerate(part)}
        longest = max((len(self.tokens[line]) for one in lines for line in one), default=1)
        found = torch.zeros(len(lines), max(1, *map(len, lines)), longest, self.width)
        for at, one in enumerate(lines):
            for place, line in enumerate(one):
                found[at, place, : len(self.tokens[line])] = self.tokens[line].float()
        if blur is None:
            return found
        noise = torch.from_numpy(blur.normal(size=tuple(found.shape)).astype(np.float32))
        return found + noise * found.norm(dim=-1, keepdim=True) * NOISE / math.sqrt(self.width)


def items(condition: Condition) -> list[tuple[int, tuple[str, ...]]]:
    """Return the texts of a condition, labelled rows as pairs, each with its type."""
    found: list[tuple[int, tuple[str, ...]]] = []
    if condition.description:
        found.append((DESCRIPTION, (condition.description,)))
    found += [(PROMPT, (row.input, str(row.output))) for row in condition.support]
    found += [(PROMPT, (prompt,)) for prompt in condition.prompts]
    return found


class Headed(nn.Module):
    """A set encoder, unless the head reads tokens, and a weight head."""

    def __init__(self, kind: str, here: Sites, *, rank: int, sentence: int, size: Size, seed: int = SEED) -> None:
        super().__init__()
        self.kind = kind
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            if kind == "hyperconv":
                reads = (size.items, CONDITION_TOKENS, sentence)
                self.head = HyperConvHead(
                    here, reads=reads, cascade=size.cascade, rank=rank, columns=size.columns, seed=seed
                )
                return
            self.encoder = SetEncoder(inputs=2 * sentence, width=size.width)
            if kind == "direct":
                self.head = DirectHead(here, width=size.width, latent=size.latent, last=size.last, rank=rank, seed=seed)
            else:
                self.head = BasisHead(here, width=size.width, basis=rank, seed=seed)

    def forward(self, told: Told) -> Adapters:
        """Return the generated part; of a basis A is the learned one, and B what a task makes of the other."""
        if isinstance(self.head, HyperConvHead):
            return self.head(None, told.tokens_GNLE)
        vectors_GD = self.encoder(told.conditions.items_GNE, told.conditions.types_GN, told.conditions.keep_GN)
        if not isinstance(self.head, BasisHead):
            return self.head(vectors_GD)
        payload_GSKK = self.head.payload(vectors_GD)
        return {
            path: (self.head.v[at].expand(len(payload_GSKK), -1, -1), self.head.u[at] @ payload_GSKK[:, at])
            for at, path in enumerate(self.head.sites)
        }


# --- training ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """A head that learned by an objective."""

    name: str
    make: Make
    weights: Mapping[str, Tensor]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnswersLesson:
    """End to end: rows of many tasks, each answered with the adapter that its task's condition gave."""

    setting: Setting
    make: Make
    mixture: InstructionMixture
    dial: Dial

    @property
    def weights(self) -> Mapping[str, float]:
        """Return what the loss counts."""
        return {"answers": 1.0}

    def learn(self, parameters: Mapping[str, Tensor], random: np.random.Generator) -> Losses:
        """Return the mean loss of a step's rows."""
        setting = self.setting
        episodes = adapters.draw(self.mixture, self.dial, random)
        joined = join(setting.anchor, self.make([one.condition for one in episodes], parameters, random), 1.0)
        of_row = torch.from_numpy(adapters.rows_of(episodes))
        losses = adapters.episode_losses(
            setting.model, episodes, adapters_of_rows(joined, of_row), self.dial, setting.lower
        )
        return {"answers": losses.mean()}

    def watch(self, parameters: Mapping[str, Tensor]) -> Losses:
        """Return the loss of validation tasks."""
        return {"answers": torch.tensor(validated(self.setting, self.make, parameters)[1.0])}


def maker(setting: Setting, head: str) -> tuple[Make, dict[str, Tensor]]:
    """Return how a head makes adapters, and the weights that it begins with."""
    if head == GRADIENT:
        module: nn.Module = Generator(
            setting.sites, rank=setting.rank, steps=setting.steps, sentence=setting.reader.width, seed=SEED
        )
        return gradient_maker(setting, module), start_of(module)
    module = Headed(head, setting.sites, rank=setting.rank, sentence=setting.reader.width, size=setting.size)

    def make(conditions: Sequence[Condition], parameters: Mapping[str, Tensor], blur: Blur) -> Adapters:
        told = setting.reader(conditions, blur, tokens=head == "hyperconv")
        return functional_call(module, dict(parameters), (told,))

    return make, start_of(module)


def gradient_maker(setting: Setting, module: nn.Module) -> Make:
    """Return how learned gradient steps make adapters."""

    def make(conditions: Sequence[Condition], parameters: Mapping[str, Tensor], blur: Blur) -> Adapters:
        told = tensors(conditions, setting.reader.sentence, setting.reader.width, setting.model.device)
        if blur is not None:
            told = generator.blurred(told, blur)
        supports = [condition.support for condition in conditions]
        rows = SupportRows.of(setting.model, supports, setting.anchor, setting.layer, setting.lower)
        return functional_call(module, dict(parameters), (told, rows))

    return make


def start_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's weights."""
    return {name: tensor.detach() for name, tensor in module.named_parameters()}


def regressed(setting: Setting, make: Make, normal: Normal) -> Make:
    """Return a head whose B is the one that was regressed, and whose A is that of all targets."""
    shared = reconstruction.shared_a(setting.sites, setting.rank, SEED)

    def restored(conditions: Sequence[Condition], parameters: Mapping[str, Tensor], blur: Blur) -> Adapters:
        made = make(conditions, parameters, blur)
        return {
            path: (shared[path].expand(len(b_GOr), -1, -1), normal.restored(path, b_GOr))
            for path, (_, b_GOr) in made.items()
        }

    return restored


def train_cell(
    setting: Setting,
    head: str,
    objective: str,
    folder: Path,
    say: Callable[[str], None],
    rate: float | None = None,
) -> Cell:
    """Return a trained cell, out of ``folder`` if it is there: the look that is best on validation tasks."""
    name = f"{head}, {objective}"
    make, start = maker(setting, head)
    targets = made_targets(setting, folder, say) if objective == "checkpoints" else None
    spent_before = targets.seconds if targets else 0.0
    foretell = make
    if targets:
        make = regressed(setting, foretell, targets.normal)
    path = folder / f"{name}.safetensors"
    if not path.exists():
        looks: list[dict[str, Any]] = []
        found: list[dict[str, Tensor]] = []

        def on_look(look: Look, parameters: dict[str, Tensor], spent: float) -> None:
            looks.append(
                {"step": look.step, "seconds": spent_before + spent, "learned": look.learned, "watched": look.watched}
            )
            found.append(parameters)
            say(f"{name}: {looks[-1]}")

        lesson = recon_lesson(setting, make, foretell, targets) if targets else answers_lesson(setting, make, head)
        budget = Budget(setting.seconds - spent_before, rate or RATES[head, objective], LOOKS[head])
        began = time.perf_counter()
        run.descend_for(lesson, start, budget, seed=SEED, on_look=on_look)
        best = min(range(len(looks)), key=lambda at: looks[at]["watched"]["answers"])
        with torch.no_grad():
            dials = validated(setting, make, found[best], DIALS)
        about = {
            "parameters": sum(tensor.numel() for tensor in start.values()),
            "rate": budget.rate,
            "looks": looks,
            "chosen step": looks[best]["step"],
            "validation, by dial": {f"{dial:g}": loss for dial, loss in dials.items()},
            "dial": min(DIALS, key=dials.__getitem__),
            "anchor on validation": dials[0.0],
            "seconds of the wall": time.perf_counter() - began,
            **({"tasks with targets": len(targets.tasks), "seconds on targets": targets.seconds} if targets else {}),
        }
        folder.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps(about, indent=1))
        replace_file(path, found[best])
    return Cell(name, make, load_file(path), json.loads(path.with_suffix(".json").read_text()))


def answers_lesson(setting: Setting, make: Make, head: str) -> AnswersLesson:
    """Return the lesson of a head end to end: the recipe's draws; heads that read sentences have both kinds of them."""
    modalities = generator.MODALITIES if head == GRADIENT else MODALITIES
    dial = setting.dial if head == GRADIENT else replace(setting.dial, support=SHOTS)
    chances = Chances(shown=(1.0, 0.0, 0.0), modalities=modalities, renamed=generator.RENAMED)
    return AnswersLesson(setting, make, InstructionMixture(setting.train, chances), dial)


@dataclass(frozen=True, slots=True)
class Targets:
    """Checkpoints of training tasks."""

    tasks: Sequence[InstructionTask]
    values: Mapping[str, Mapping[str, Tensor]]
    """Task -> site -> B (W, O, r)."""
    unseen: Mapping[str, Mapping[str, Tensor]]
    """Of validation tasks."""
    normal: Normal
    seconds: float


def made_targets(setting: Setting, folder: Path, say: Callable[[str], None]) -> Targets:
    """Return checkpoints of as many tasks as their share of the budget is enough for, out of ``folder`` if there."""
    path = folder / "targets.safetensors"
    if not path.exists():
        order = spread(setting.train, len(setting.train))
        spent, made = 0.0, []
        while spent < ON_TARGETS * setting.seconds and len(made) < len(order):
            began = time.process_time()
            made.append(farmed(setting, order[len(made)], order[len(made)].train))
            spent += time.process_time() - began
        say(f"targets of {len(made)} tasks in {spent:.0f} s")
        unseen = [farmed(setting, task, task.train) for task in setting.validation]
        stored = {
            f"{part}\n{at}\n{path}": tensor.half()
            for part, some in (("learned", made), ("unseen", unseen))
            for at, one in enumerate(some)
            for path, tensor in one.items()
        }
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, {**stored, "seconds": torch.tensor(spent)})
    stored = load_file(path)
    parts: dict[str, dict[int, dict[str, Tensor]]] = {"learned": {}, "unseen": {}}
    for name, tensor in stored.items():
        if name != "seconds":
            part, at, site = name.split("\n")
            parts[part].setdefault(int(at), {})[site] = tensor
    tasks = spread(setting.train, len(setting.train))[: len(parts["learned"])]
    values = {task.name: ordered(setting, parts["learned"][at]) for at, task in enumerate(tasks)}
    unseen = {task.name: ordered(setting, parts["unseen"][at]) for at, task in enumerate(setting.validation)}
    return Targets(tasks, values, unseen, Normal.of(list(values.values())), float(stored["seconds"]))


def ordered(setting: Setting, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in the decoder's order, which a file does not keep."""
    return {path: found[path] for path in setting.sites}


def farmed(setting: Setting, task: InstructionTask, rows: Sequence[Example]) -> dict[str, Tensor]:
    """Return the checkpoints of a task."""
    return reconstruction.checkpoints(
        setting.model,
        [write(setting.model, row) for row in rows],
        setting.anchor,
        reconstruction.shared_a(setting.sites, setting.rank, SEED),
        setting.farm,
        setting.layer,
        setting.lower,
        np.random.default_rng(SEED),
    )


def recon_lesson(setting: Setting, make: Make, foretell: Make, targets: Targets) -> ReconstructionLesson:
    """Return the lesson of a head by checkpoints.

    Args:
        setting: of all cells.
        make: how the head makes adapters.
        foretell: how it makes normalised B.
        targets: what is regressed.
    """
    chances = Chances(same_input=0.0, modalities=MODALITIES, shown=(1.0, 0.0, 0.0))

    def foretold(conditions: Sequence[Condition], parameters: Mapping[str, Tensor], blur: Blur) -> dict[str, Tensor]:
        return {path: b_GOr for path, (_, b_GOr) in foretell(conditions, parameters, blur).items()}

    def watched(parameters: Mapping[str, Tensor]) -> Losses:
        told = [condition_of(task) for task in setting.validation]
        wanted = [targets.unseen[task.name] for task in setting.validation]
        found = foretold(told, parameters, None)
        return {
            "answers": torch.tensor(validated(setting, make, parameters)[1.0]),
            "blocks": reconstruction.left(found, wanted, targets.normal, np.random.default_rng(0)),
        }

    return ReconstructionLesson(
        foretold,
        InstructionMixture(targets.tasks, chances),
        targets.values,
        targets.normal,
        support=SHOTS,
        watched=watched,
    )


# --- judging -----------------------------------------------------------------------------------------------


def condition_of(task: InstructionTask) -> Condition:
    """Return all that is told of a task."""
    return Condition(task.descriptions[0], task.train[:SHOTS])


@torch.no_grad()
def loss(setting: Setting, generated: Adapters, rows: Sequence[Example], dial: float = 1.0) -> float:
    """Return the mean loss of rows under one generated part."""
    told = [write(setting.model, row) for row in rows]
    joined = join(setting.anchor, generated, dial)
    batch = Batch.of(told, setting.model.device)
    return float(answer_losses(setting.model, batch, joined, setting.layer, setting.lower(told)).mean())


def validated(
    setting: Setting, make: Make, parameters: Mapping[str, Tensor], dials: Sequence[float] = ()
) -> dict[float, float]:
    """Return the mean loss of validation tasks by dial, the anchor's (0) only where dials are given."""
    asked = (0.0, *dials) if dials else (1.0,)
    found: dict[float, list[float]] = {dial: [] for dial in asked}
    for task in setting.validation:
        made = make([condition_of(task)], parameters, None)
        queries = task.train[SHOTS : SHOTS + QUERIES]
        for dial in asked:
            found[dial].append(loss(setting, made, queries, dial))
    return {dial: float(np.mean(losses)) for dial, losses in found.items()}


def judge(setting: Setting, cell: Cell) -> list[dict[str, Any]]:
    """Return a row for each held-out task: its losses under every arm."""
    tasks = setting.held_out
    with torch.no_grad():
        made = [cell.make([condition_of(task)], cell.weights, None) for task in tasks]
        learned = spread(setting.train, MEAN_OF)
        mean = averaged([cell.make([condition_of(task)], cell.weights, None) for task in learned])
        told = [cell.make([Condition(task.descriptions[0])], cell.weights, None) for task in tasks]
    dial = cell.about.get("dial", 1.0)
    rows: list[dict[str, Any]] = []
    for at, task in enumerate(tasks):
        judged = task.test[: setting.rows]
        other = made[tasks.index(follower(tasks, at))]
        right = loss(setting, made[at], judged)
        rows.append(
            {
                "cell": cell.name,
                "task": task.name,
                "group": task.group,
                "anchor": loss(setting, made[at], judged, 0.0),
                "right": right,
                "at dial": right if dial == 1 else loss(setting, made[at], judged, dial),
                "other": loss(setting, other, judged),
                "mean": loss(setting, mean, judged),
                "description": loss(setting, told[at], judged),
            }
        )
    return rows


def averaged(made: Sequence[Adapters]) -> Adapters:
    """Return an adapter whose update is the mean of those of others: all of them along the rank."""
    return {
        path: (
            torch.cat([one[path][0] for one in made], dim=1),
            torch.cat([one[path][1] for one in made], dim=2) / len(made),
        )
        for path in made[0]
    }


def own(setting: Setting) -> list[dict[str, Any]]:
    """Return rows of adapters trained as targets are, on a held-out task's own labelled rows."""
    shared = reconstruction.shared_a(setting.sites, setting.rank, SEED)
    rows: list[dict[str, Any]] = []
    for task in setting.held_out:
        began = time.process_time()
        found = farmed(setting, task, task.train[:SHOTS])
        spent = time.process_time() - began
        last = {path: (shared[path][None], b_WOr[-1:]) for path, b_WOr in found.items()}
        judged = task.test[: setting.rows]
        rows.append(
            {
                "cell": "own",
                "task": task.name,
                "group": task.group,
                "anchor": loss(setting, last, judged, 0.0),
                "right": loss(setting, last, judged),
                "seconds": spent,
            }
        )
    return rows


def kept_rows(path: Path, judged: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return rows out of a file, or judge and keep them."""
    if not path.exists():
        found = judged()
        path.write_text(json.dumps(found))
    return json.loads(path.read_text())


# --- what it says ------------------------------------------------------------------------------------------

CONTROLS = ("anchor", "other", "mean", "description")


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return means of every arm, what the right condition is below its controls, and objectives against each other."""
    by_cell: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_cell.setdefault(row["cell"], {})[row["task"]] = row
    first = next(iter(by_cell.values()))
    names = sorted(first)
    groups = [first[name]["group"] for name in names]

    def below_by(cell: str, arm: str, other: str, against: str) -> Any:
        return group_mean(groups, [by_cell[against][name][other] - by_cell[cell][name][arm] for name in names])

    found: dict[str, Any] = {"tasks": len(names), "groups": len(set(groups)), "mean": {}, "right_below": {}}
    for cell, judged in by_cell.items():
        some = judged[names[0]]
        arms = [arm for arm in ("anchor", "right", "at dial", *CONTROLS[1:]) if arm in some]
        found["mean"][cell] = {arm: group_mean(groups, [judged[name][arm] for name in names]) for arm in arms}
        found["right_below"][cell] = {arm: below_by(cell, "right", arm, cell) for arm in CONTROLS if arm in some}
        if "at dial" in some:
            found["right_below"][cell]["anchor, at dial"] = below_by(cell, "at dial", "anchor", cell)
    found["answers_below_checkpoints"] = {
        head: below_by(f"{head}, answers", "right", "right", f"{head}, checkpoints")
        for head in HEADS
        if f"{head}, answers" in by_cell and f"{head}, checkpoints" in by_cell
    }
    ours = f"{GRADIENT}, answers"
    found["gradient_below"] = {
        cell: below_by(ours, "right", "right", cell) for cell in by_cell if cell != ours and ours in by_cell
    }
    return found


def to_table(summary: Mapping[str, Any]) -> str:
    """Return means and differences for a person."""

    def told(metric: Any) -> str:
        return "" if metric is None else f"{metric.value:+.3f} [{metric.low:+.3f}, {metric.high:+.3f}]"

    lines: list[tuple[object, ...]] = []
    for cell, mean in summary["mean"].items():
        below_ = summary["right_below"][cell]
        names = ("anchor", "other", "mean", "description", "anchor, at dial")
        lines.append((cell, f"{mean['right'].value:.3f}", *(told(below_.get(name)) for name in names)))
    title = f"nats a token: {summary['tasks']} held-out tasks in {summary['groups']} groups; right condition below …"
    return "\n".join([title, table(("cell", "right", *names), lines)])


if __name__ == "__main__":
    main()
