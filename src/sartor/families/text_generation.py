"""Text in, text out: a small frozen language model, with an adapter that was generated for the task around it.

The base reads a user's input and nothing else; what is to be done with it lies in the adapter. That is the anchor (one
adapter for all tasks, rank r0) and, beside it along the rank, what the generator made of the rows or the description
(rank K, :mod:`sartor.nn.generator`), both learned by ``recipes/text_generation.py``. Stored are the two joined, how
much of the second is used (the dial), and who answers: a generated part that is no better than the anchor, or an anchor
that is no better than the plain base, does not answer unless it is asked to.

Dimension key:   N: rows   G: sets of rows   r: rank   I, O: inputs and outputs of a site
"""

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from typing_extensions import override

from sartor.data.named import named_answers
from sartor.data.text import encodable
from sartor.errors import AssetError, BundleError, TaskError
from sartor.families.interface import FloatArray, Writing, WritingControl, WritingFamily, WritingTask
from sartor.nn import generation, generator_file
from sartor.nn.anchored import from_peft, join, stacked, to_peft
from sartor.nn.check_adapter import check_adapter
from sartor.nn.condition import CONDITION_TOKENS, MOST_SUPPORT, SHOTS, Condition, Sentences, items
from sartor.nn.decoder import Adapters, sites
from sartor.nn.encoder import Pooling, encode_texts
from sartor.nn.generator_file import Trained, lowest_layer
from sartor.nn.language import LanguageModel, load_language_model
from sartor.nn.support_rows import SupportRows
from sartor.nn.teacher_forcing import Batch, answer_losses, below, write
from sartor.nn.text_base import TextBase, check_device, load_base
from sartor.types import Answerer, BaseRef, Example, Progress, Requirement, Weights, silent

MOST_READ = 384
"""Tokens of a labelled row's input that are read."""
MOST_TOGETHER = 768
"""Tokens of a labelled row that are read, its answer included: memory grows with their square."""
SHOWN = 5
"""Rows that the base is shown in context, as a control."""
MOST_SUPPORT_TOKENS = 6144
"""Of all labelled rows that go into a model, and of those of several models made at once: all are answered together,
with a gradient, and that is what memory goes into."""
_MADE_AT_ONCE = 32
"""Models of many that are made in one batch, at most; a few megabytes each."""
_MOST_TOKENS_AT_ONCE = 2048
"""Of all labelled rows of such a batch: more is hardly faster, and what is done is stored less often."""
_ANSWERS_AT_ONCE = 16
_ANSWERERS: tuple[Answerer, ...] = ("generated", "anchor", "base")
_DIAL, _ANSWERER, _ANCHOR_RANK = "dial", "answerer", "anchor.rank"
MOST_DIAL = 1.5


class WritingBase:
    """A frozen language model with its generator; the parts that only generating needs are loaded then."""

    def __init__(self, model: LanguageModel, trained: Trained | None = None, reader: TextBase | None = None) -> None:
        self.model = model
        self._trained = trained
        self._reader = reader

    @property
    def ref(self) -> BaseRef:
        """Return what a manifest says of it."""
        return BaseRef(self.model.spec.name, self.model.spec.sha256, self.model.spec.licence)

    @functools.cached_property
    def trained(self) -> Trained:
        """Return the generator of this base.

        Raises:
            TaskError: if there is none.
            AssetError: if it cannot be read.
        """
        return self._trained or load_generator(self.model)

    @functools.cached_property
    def reader(self) -> TextBase:
        """Return the encoder that conditions are read by."""
        spec = self.model.spec.generator
        return self._reader or load_base(spec.reader if spec else "all-minilm-l6-v2")

    @functools.cached_property
    def sites(self) -> Mapping[str, tuple[int, int]]:
        """Return all linear layers of the model."""
        return sites(self.model.decoder)


def load_generator(model: LanguageModel) -> Trained:
    """Return the generator that comes with Sartor for a language model.

    Raises:
        TaskError: if there is none.
        AssetError: if it is not the one that Sartor came with.
    """
    spec = model.spec.generator
    if spec is None:
        raise TaskError(f"There is no generator for the base {model.spec.name!r}. Train one with the recipe.")
    try:
        content = spec.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != spec.sha256:
            raise AssetError(f"The generator {spec.file} is not the one that Sartor came with. Install Sartor again.")
        return generator_file.read(content, sites(model.decoder))
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise AssetError(f"The generator {spec.file} cannot be read ({error}). Install Sartor again.") from error


class TextGeneration(WritingFamily):
    """The family ``text-generation``."""

    name: ClassVar[str] = "text-generation"
    summary: ClassVar[str] = "writes a text for a text: extracts, rewrites, converts, answers in words"
    generator: ClassVar[str] = "gradient/1"

    @override
    def base(self, requirement: Requirement, *, progress: Progress = silent) -> WritingBase:
        device = requirement.limits.device or "cpu"
        check_device(device)
        return WritingBase(load_language_model(requirement.base, device=device, progress=progress))

    @override
    def generate(
        self,
        base: WritingBase,
        requirement: Requirement,
        supports: Sequence[Sequence[Example]],
        prompts: Sequence[str] = (),
        *,
        progress: Progress = silent,
    ) -> list[Weights]:
        made: list[Weights] = []
        told = [within(base.model, _condition(requirement, support, prompts)) for support in supports]
        for part in _parts(base.model, told):
            made += generated(base, part)
            progress("generate", len(made), len(told))
        return made

    @override
    def generate_each(self, base: WritingBase, tasks: Sequence[WritingTask]) -> Iterator[list[tuple[int, Weights]]]:
        told = [_condition(task.requirement, task.support, task.prompts) for task in tasks]
        told = [spoken(within(base.model, condition)) for condition in told]
        for part in _alike([[_tokens(base.model, row) for row in condition.support] for condition in told]):
            yield list(zip(part, generated(base, [told[at] for at in part]), strict=True))

    @override
    def settle(self, weights: Weights, answerer: Answerer, dial: float = 1.0) -> Weights:
        if not 0 <= dial <= MOST_DIAL:
            raise TaskError(
                f"The dial goes from 0 (the anchor alone) to {MOST_DIAL}; got {dial:g}. 1 is what was made."
            )
        place = torch.tensor(_ANSWERERS.index(answerer))
        return {**weights, _DIAL: torch.tensor(float(dial)), _ANSWERER: place}

    @override
    def settled(self, weights: Weights) -> tuple[Answerer, float]:
        answerer = int(_stored(weights, _ANSWERER, 0, len(_ANSWERERS) - 1))
        return _ANSWERERS[answerer], _stored(weights, _DIAL, 0, MOST_DIAL)

    @override
    def losses(self, base: WritingBase, arms: Sequence[Weights | None], rows: Sequence[Example]) -> FloatArray:
        model, adapters = base.model, [self.adapter(base, weights) for weights in arms]
        layer = min((lowest_layer(adapter) for adapter in adapters if adapter), default=0)
        most_read, most = _limits(model)
        written = [write(model, row, max_tokens=most_read, most=most) for row in map(_readable, rows)]
        found = np.zeros((len(arms), len(rows)))
        order = np.argsort([len(row.ids) for row in written], kind="stable")
        for start in range(0, len(rows), _ANSWERS_AT_ONCE):
            part = order[start : start + _ANSWERS_AT_ONCE]
            batch = Batch.of([written[at] for at in part], model.device)
            with torch.inference_mode():
                known_BTH = below(model, batch, layer)  # two thirds of the work, the same for all
                for at, adapter in enumerate(adapters):
                    found[at, part] = answer_losses(model, batch, adapter, layer, known_BTH).cpu().numpy()
        return found

    @override
    def cut_rows(self, base: WritingBase, rows: Sequence[Example]) -> int:
        most_read, most = _limits(base.model)
        few = most_read // 4  # a letter is at most four bytes, and a token at least one
        longer = [row for row in map(_readable, rows) if len(row.input) > few or len(str(row.output)) > few]
        whole = [write(base.model, row, max_tokens=None) for row in longer]
        around = len(base.model.opening) + len(base.model.closing)
        return sum(row.answer - around > most_read or len(row.ids) > most for row in whole)

    @override
    def cut_inputs(self, base: WritingBase, inputs: Sequence[str], writing: Writing) -> int:
        most = _room(base.model, writing)
        around = len(base.model.opening) + len(base.model.closing)
        longer = [text for text in map(encodable, inputs) if len(text) > most // 4]
        return sum(len(base.model.prompt(text)) - around > most for text in longer)

    @override
    def answer(
        self,
        base: WritingBase,
        weights: Weights | None,
        inputs: Sequence[str],
        writing: Writing,
        *,
        progress: Progress = silent,
    ) -> list[str]:
        return self.written(base, self.adapter(base, weights), inputs, writing, progress=progress)

    @override
    def answer_mixed(
        self,
        base: WritingBase,
        asked: Sequence[tuple[Weights, str]],
        writing: Writing,
        *,
        progress: Progress = silent,
    ) -> list[str]:
        """Rows that want different adapters are written beside each other, each with its own."""
        found: dict[int, Adapters | None] = {}

        def beside(rows: Sequence[int]) -> Adapters | None:
            wanted = {id(asked[row][0]): asked[row][0] for row in rows}
            for key in found.keys() - wanted.keys():
                del found[key]  # a thousand adapters would be gigabytes
            for key, weights in wanted.items():
                if key not in found:
                    found[key] = self.adapter(base, weights)
            if len(wanted) == 1:
                return next(iter(found.values()))
            return stacked([found[id(asked[row][0])] for row in rows])

        # rows of one model come together, so that few adapters are at work at once
        first: dict[int, int] = {}
        for row, (weights, _) in enumerate(asked):
            first.setdefault(id(weights), row)
        order = sorted(range(len(asked)), key=lambda row: first[id(asked[row][0])])
        return self._written(base, beside, [text for _, text in asked], order, writing, progress)

    def written(
        self,
        base: WritingBase,
        adapter: Adapters | None,
        inputs: Sequence[str],
        writing: Writing,
        *,
        progress: Progress = silent,
    ) -> list[str]:
        """Return one answer for each input, with an adapter that is one already."""
        return self._written(base, lambda rows: adapter, inputs, range(len(inputs)), writing, progress)

    def _written(
        self,
        base: WritingBase,
        adapters: Callable[[Sequence[int]], Adapters | None],
        inputs: Sequence[str],
        order: Sequence[int],
        writing: Writing,
        progress: Progress,
    ) -> list[str]:
        """Return one answer for each input; ``adapters(rows)`` are those of some rows, ``order`` that of the work."""
        answers = [""] * len(inputs)  # nothing was asked, so nothing is answered
        asked = [at for at in order if inputs[at].strip()]
        draws = {at: place for place, at in enumerate(sorted(asked))}
        for start in range(0, len(asked), _ANSWERS_AT_ONCE):
            part = asked[start : start + _ANSWERS_AT_ONCE]
            said = generation.generate(
                base.model.decoder,
                [_prompt(base.model, inputs[at], writing) for at in part],
                adapters=adapters(part),
                max_new_tokens=writing.max_new_tokens,
                stop_ids=base.model.spec.stop_ids,
                temperature=writing.temperature,
                seed=[writing.seed + draws[at] for at in part],
            )
            for at, ids in zip(part, said, strict=True):
                answers[at] = base.model.read(ids)
            progress("answer", start + len(part), len(asked))
        return answers

    @override
    def stream(self, base: WritingBase, weights: Weights, text: str, writing: Writing) -> Iterator[str]:
        """Yield the pieces of one answer as they are written; together they are what :meth:`answer` gives."""
        adapter = self.adapter(base, weights)
        if not text.strip():
            return
        said = generation.stream(
            base.model.decoder,
            _prompt(base.model, text, writing),
            adapters=adapter,
            max_new_tokens=writing.max_new_tokens,
            stop_ids=base.model.spec.stop_ids,
            temperature=writing.temperature,
            seed=writing.seed,
        )
        ids: list[int] = []
        shown = ""
        for token in said:
            ids.append(token)
            whole = base.model.read(ids)
            # a token may be half a character; and what is stripped at the end may turn out to be inside
            if whole.startswith(shown) and not whole.endswith("\ufffd"):
                yield whole[len(shown) :]
                shown = whole
        yield base.model.read(ids)[len(shown) :]

    @override
    def head(self, weights: Weights) -> str:
        return self.settled(weights)[0]

    @override
    def controls(self, requirement: Requirement) -> Sequence[WritingControl]:
        told = WritingControl("instruction", "The plain base, told what to do", _told)
        shown = WritingControl("in-context", f"The plain base, shown {SHOWN} of the rows", _shown, needs_rows=True)
        return (*((told,) if requirement.description else ()), shown)

    def adapter(self, base: WritingBase, weights: Weights | None) -> Adapters | None:
        """Return the adapter that answers, checked; None for the plain base.

        Raises:
            BundleError: when it does not fit the base or is broken.
        """
        if weights is None:
            return None
        answerer, dial = self.settled(weights)
        parts = {name: part.float() for name, part in weights.items() if name not in (_DIAL, _ANSWERER, _ANCHOR_RANK)}
        found = from_peft(parts)
        rank = int(_stored(weights, _ANCHOR_RANK, 1, next(iter(found.values()))[0].shape[1]))
        missing = [path for path in found if path not in base.sites]
        if missing:
            raise BundleError(f"The model has a part at {missing[0]!r}, which its base has not. Generate it again.")
        check_adapter(found, {path: base.sites[path] for path in found})
        if answerer == "base":
            return None
        dial = dial if answerer == "generated" else 0.0
        device = base.model.device
        return {path: _dialled(*both, rank, dial, device) for path, both in found.items()}


def readable(rows: Sequence[Example]) -> list[Example]:
    """Return rows as they are read: without what no tokenizer takes."""
    return [_readable(row) for row in rows]


def limits(model: LanguageModel) -> tuple[int, int]:
    """Return how many tokens are read of an input, and of input and answer together."""
    return _limits(model)


def with_adapter(weights: Weights, adapter: Adapters) -> Weights:
    """Return the weights of a model whose whole adapter is another; it answers as it is."""
    settled = {_DIAL: torch.tensor(1.0), _ANSWERER: torch.tensor(_ANSWERERS.index("generated"))}
    return {**weights, **_halved(to_peft(adapter, 0)), **settled}


def _stored(weights: Weights, name: str, least: float, most: float) -> float:
    """Return a number that lies beside the adapter.

    Raises:
        BundleError: when it is not there, or none that is known.
    """
    found = weights.get(name)
    if found is None:
        raise BundleError(f"The model lacks its {name!r}: it is not whole. Generate it again.")
    if found.numel() != 1 or not least <= float(found) <= most:
        raise BundleError(
            f"The model's {name!r} is {found.tolist()}; known are numbers from {least:g} to {most:g}. Generate it "
            "again, or update Sartor."
        )
    return float(found)


def _dialled(a_1rI: Tensor, b_1Or: Tensor, rank: int, dial: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a site's factors with so much of what lies beyond the anchor's rank; nothing of it at zero."""
    if dial == 0:
        return a_1rI[:, :rank].to(device), b_1Or[..., :rank].to(device)
    return a_1rI.to(device), torch.cat([b_1Or[..., :rank], dial * b_1Or[..., rank:]], dim=-1).to(device)


# --- conditions --------------------------------------------------------------------------------------------


def drawn(rows: Sequence[Example], most: int) -> tuple[Example, ...]:
    """Return so many rows, chosen and ordered by their hashes: their order in a file does not matter."""

    def key(row: Example) -> str:
        return hashlib.sha256(f"{row.input}\0{row.output}".encode("utf-8", "surrogatepass")).hexdigest()

    return tuple(sorted(rows, key=key)[:most])


def _condition(requirement: Requirement, support: Sequence[Example], prompts: Sequence[str]) -> Condition:
    rows = drawn([_readable(row) for row in support], MOST_SUPPORT)
    plain = () if rows else tuple(encodable(text) for text in prompts[:SHOTS])
    return Condition(encodable(requirement.description) or None, rows, plain)


def spoken(condition: Condition) -> Condition:
    """Return a condition whose description speaks as rows if it names its answers: each a row, whatever was asked.

    Such rows say which words are answers, not when; on validation tasks they were as good as eight true rows (LOG.md,
    2026-11-25).
    """
    names = () if condition.support or not condition.description else named_answers(condition.description)
    if not names:
        return condition
    asked = condition.prompts[:SHOTS] or ("",)
    count = max(len(names), len(asked))
    rows = (Example(asked[at % len(asked)], names[at % len(names)]) for at in range(count))
    return Condition(condition.description, tuple(rows))


def _readable(row: Example) -> Example:
    return Example(encodable(row.input), encodable(str(row.output)))


def within(model: LanguageModel, condition: Condition) -> Condition:
    """Return a condition with as many of its rows as are read together; those drawn first are kept."""
    total, kept = 0, 0
    for row in condition.support:
        total += _tokens(model, row)
        if total > MOST_SUPPORT_TOKENS:
            break
        kept += 1
    return replace(condition, support=condition.support[:kept])


def _tokens(model: LanguageModel, row: Example) -> int:
    most_read, most = _limits(model)
    return len(write(model, row, max_tokens=most_read, most=most).ids)


def _parts(model: LanguageModel, conditions: Sequence[Condition]) -> Iterator[list[Condition]]:
    """Yield conditions in their order, as many together as are read at once."""
    part: list[Condition] = []
    total = 0
    for condition in conditions:
        size = sum(_tokens(model, row) for row in condition.support)
        if part and total + size > MOST_SUPPORT_TOKENS:
            yield part
            part, total = [], 0
        part.append(condition)
        total += size
    if part:
        yield part


def _alike(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield which conditions are made together, rows of like length beside each other: they are filled up to one.

    Args:
        tokens: of each condition's rows.
    """
    part: list[int] = []
    rows = 0
    for at in sorted(range(len(tokens)), key=lambda at: max(tokens[at], default=0)):
        more = rows + len(tokens[at])
        if part and (len(part) == _MADE_AT_ONCE or more * max(tokens[at], default=0) > _MOST_TOKENS_AT_ONCE):
            yield part
            part, more = [], len(tokens[at])
        part.append(at)
        rows = more
    if part:
        yield part


def generated(base: WritingBase, conditions: Sequence[Condition]) -> list[Weights]:
    """Return the weights of a target for each condition, all made in one batch."""
    trained, model = base.trained, base.model
    conditions = [spoken(condition) for condition in conditions]
    told = _sentences(base, conditions)(conditions, model.device)
    supports = [condition.support for condition in conditions]
    with torch.no_grad():  # the steps ask for gradients themselves
        most_read, most = _limits(model)
        rows = SupportRows.of(model, supports, trained.anchor, trained.layer, max_tokens=most_read, most=most)
        adapters = join(trained.anchor, trained.generator.to(model.device)(told, rows), 1.0)
    check_adapter(adapters, {path: base.sites[path] for path in adapters}, trained.bounds)
    rank = next(iter(trained.anchor.values()))[0].shape[1]
    made: list[Weights] = []
    for at, condition in enumerate(conditions):
        dial = 1.0 if condition.support else trained.word_dial
        answerer = _ANSWERERS.index("generated" if dial else "anchor")
        settled = {_DIAL: torch.tensor(dial), _ANSWERER: torch.tensor(answerer), _ANCHOR_RANK: torch.tensor(rank)}
        made.append({**_halved(to_peft(adapters, at)), **settled})
    return made


def _sentences(base: WritingBase, conditions: Sequence[Condition]) -> Sentences:
    texts = sorted({item.text for condition in conditions for item in items(condition)})
    if not texts:
        return Sentences([], np.zeros((0, base.trained.generator.encoder.inputs), dtype=np.float32))
    reader = base.reader
    last = Pooling(reader.encoder.config.layers)
    found, _ = encode_texts(reader.encoder, reader.tokenizer, texts, (last,), max_tokens=CONDITION_TOKENS)
    return Sentences(texts, found[:, 0] / np.linalg.norm(found[:, 0], axis=1, keepdims=True))


def _halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.half().cpu() for name, tensor in tensors.items()}


# --- asking the base ---------------------------------------------------------------------------------------


def _limits(model: LanguageModel) -> tuple[int, int]:
    """Return how many tokens are read of a labelled row's input, and of the whole row: no more than the base knows."""
    most = model.decoder.config.max_positions
    return min(MOST_READ, most // 2), min(MOST_TOGETHER, most)


def _prompt(model: LanguageModel, text: str, writing: Writing) -> tuple[int, ...]:
    return model.prompt(encodable(text), max_tokens=_room(model, writing))


def _room(model: LanguageModel, writing: Writing) -> int:
    room = model.decoder.config.max_positions - writing.max_new_tokens - len(model.opening) - len(model.closing)
    if room < 1:
        most = model.decoder.config.max_positions // 2
        raise TaskError(f"{writing.max_new_tokens} new tokens leave no room for a text. Ask for {most} at most.")
    return room


def _told(requirement: Requirement, support: Sequence[Example], text: str) -> str:
    return f"{requirement.description}\n\n{text}"


def _shown(requirement: Requirement, support: Sequence[Example], text: str) -> str:
    rows = "\n\n".join(f"{row.input}\n{row.output}" for row in drawn(support, SHOWN))
    told = f"{requirement.description}\n\n" if requirement.description else ""
    return f"{told}{rows}\n\n{text}" if rows else f"{told}{text}"


FAMILY = TextGeneration()
