"""A frozen text encoder in the hand: its tokenizer, its anchor where it has one, and the layers that are read of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sartor import settings
from sartor.assets import catalogue, resolve
from sartor.errors import AssetError, BundleError, TaskError
from sartor.nn import anchor as anchors
from sartor.nn import lora, solve
from sartor.nn.branch import BranchedEncoder
from sartor.nn.encoder import BertEncoder, EncoderConfig, Pooling, encode_texts, load_encoder, pool_texts
from sartor.nn.engine import Engine, load_engine
from sartor.nn.features import unit
from sartor.types import BaseRef, Progress, Weights, silent

POOLED = ("first", "low", "mid", "last", "peak")
"""Names of the pooled blocks, in the order of P: mean of layers 0, 1/3, 2/3 and the last; maximum of the last."""
LAST = POOLED.index("last")
ANCHORED = (solve.ANCHOR, f"{solve.ANCHOR}-peak")
"""Blocks that follow where the base has an anchor: mean and maximum of the adapted last layer."""


@dataclass(frozen=True, slots=True)
class TextBase:
    """A frozen encoder with its tokenizer."""

    ref: BaseRef
    encoder: BertEncoder
    tokenizer: Tokenizer
    prefix: str
    branched: BranchedEncoder | None = None
    """The encoder with its anchor, if there is one."""
    questions: Weights | None = None
    """The adapter that the answers to a question are read by, if the anchor has one; few tasks ask any."""
    engine: Engine | None = None
    """What encodes in the encoder's place, if a model has its own; ``encoder`` is an empty shape then."""
    tokens_per_batch: int = 4096
    """Read at once, padding included. Fewer are faster on a processor; another number rounds sums otherwise, so what
    models are made with stays as it is."""

    def pooled(
        self, texts: Sequence[str], max_tokens: int, on_rows: Callable[[int], None] = lambda rows: None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return (N, P, H) unit vectors of texts, and which of them (N,) were cut at ``max_tokens``."""
        texts = [self.prefix + text for text in texts]
        if self.engine is None:
            found, cut = encode_texts(
                self.branched or self.encoder,
                self.tokenizer,
                texts,
                self.poolings,
                max_tokens=max_tokens,
                on_rows=on_rows,
                tokens_per_batch=self.tokens_per_batch,
            )
            return unit(found), cut
        engine, shape = self.engine, self.encoder.config
        return pool_texts(
            lambda ids_BT, keep_BT: engine.pooled(ids_BT.numpy(), keep_BT.numpy()),
            self.tokenizer,
            texts,
            (engine.blocks, shape.hidden),
            pad_id=shape.pad_id,
            max_tokens=max_tokens,
            on_rows=on_rows,
            tokens_per_batch=self.tokens_per_batch,
        )

    @property
    def poolings(self) -> tuple[Pooling, ...]:
        """Return what :data:`POOLED`, and :data:`ANCHORED` where there is one, means for this encoder's depth."""
        depth = self.encoder.config.layers
        anchored = (Pooling(depth + 1), Pooling(depth + 1, "max"))
        return (
            Pooling(0),
            Pooling(round(depth / 3)),
            Pooling(round(2 * depth / 3)),
            Pooling(depth),
            Pooling(depth, "max"),
            *(anchored if self.branched else ()),
        )


def load_base(name: str, *, device: str = "cpu", progress: Progress = silent) -> TextBase:
    """Return the base called ``name``, fetched if it is not in the cache.

    Raises:
        NotFoundError: if there is no base of that name.
        AssetError: if it cannot be had.
        TaskError: if this machine has no such device.
    """
    check_device(device)
    files = resolve.resolve(name, settings.current(), progress=progress)
    spec = files.spec
    config = EncoderConfig(
        vocab_size=spec.vocab_size,
        hidden=spec.dim,
        layers=spec.layers,
        heads=spec.heads,
        intermediate=spec.intermediate,
        max_positions=spec.max_positions,
        layer_norm_eps=spec.layer_norm_eps,
        pad_id=spec.pad_id,
    )
    tokenizer = Tokenizer.from_file(str(files.tokenizer))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    base = TextBase(
        BaseRef(spec.name, spec.files[catalogue.WEIGHTS], spec.licence),
        load_encoder(config, files.weights, device),
        tokenizer,
        spec.prefix,
    )
    if spec.anchor is None:
        return base
    found = anchored(base, spec.anchor.path, name=spec.name)
    if found.ref.sha256 != spec.sha256:
        raise AssetError(f"The anchor {spec.anchor.file} is not the one that Sartor came with. Install Sartor again.")
    return found


def anchored(base: TextBase, anchor: Path, *, name: str) -> TextBase:
    """Return a frozen base with an anchor beside it, under another name.

    Raises:
        AssetError: if the anchor cannot be read.
        BundleError: if it does not fit the base.
    """
    if base.branched:
        raise TaskError(f"The base {base.ref.name!r} has an anchor already. Give the plain base.")
    found, sha256 = anchors.from_file(anchor)
    device = next(base.encoder.parameters()).device

    rows, questions = (
        {name: tensor.to(device) for name, tensor in adapter.items()} for adapter in (found.rows, found.questions)
    )
    lora.check(base.encoder, questions)
    return replace(
        base,
        ref=BaseRef(name, catalogue.anchored_sha256(base.ref.sha256, sha256), base.ref.licence),
        branched=BranchedEncoder(base.encoder, rows),
        questions=questions or None,
    )


ENGINE, ENGINE_ABOUT, ENGINE_TOKENIZER = "encoder.onnx", "encoder.json", "tokenizer.json"
"""Files of a bundle that brings its own encoder: nothing of the base is needed beside it."""


def engine_files(base: TextBase, content: bytes, blocks: int) -> dict[str, bytes]:
    """Return the files of a bundle that answers by an engine: its graph, what it is, and its tokenizer."""
    about = {"base": asdict(base.ref), "prefix": base.prefix, "blocks": blocks, **asdict(base.encoder.config)}
    return {
        ENGINE: content,
        ENGINE_ABOUT: msgspec.json.format(msgspec.json.encode(about), indent=2),
        ENGINE_TOKENIZER: base.tokenizer.to_str().encode(),
    }


def engine_base(files: Mapping[str, bytes]) -> TextBase:
    """Return the base that lies in a bundle's own files.

    Raises:
        UserError: if what runs it is not installed.
        BundleError: if they cannot be read.
    """
    try:
        about = msgspec.json.decode(files[ENGINE_ABOUT], type=dict[str, Any])
        ref, prefix, blocks = (about.pop(key) for key in ("base", "prefix", "blocks"))
        with torch.device("meta"):  # a shape without weights
            encoder = BertEncoder(EncoderConfig(**about))
        tokenizer = Tokenizer.from_str(files[ENGINE_TOKENIZER].decode())
        found = TextBase(BaseRef(**ref), encoder, tokenizer, str(prefix))
        blocks = int(blocks)
    except Exception as error:  # the tokenizers have no error of their own
        raise BundleError(
            f"The encoder in this bundle cannot be read ({str(error)[:200]}). Take the bundle from where it came again."
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return replace(found, engine=load_engine(files[ENGINE], blocks, torch.get_num_threads()))


def check_device(device: str) -> None:
    """Return if this machine has the device.

    Raises:
        TaskError: if it has not.
    """
    known = ["cpu", *(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if torch.mps.is_available() else [])]
    if device.partition(":")[0] not in known:
        raise TaskError(
            f"The task wants the device {device!r}, but this machine offers {', '.join(known)}. "
            "Change 'device' under 'limits' in the task, or leave it out."
        )
