"""A frozen text encoder in the hand: its tokenizer, its anchor where it has one, and the layers that are read of it."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer

from sartor import settings
from sartor.assets import catalogue, resolve
from sartor.errors import AssetError, TaskError
from sartor.nn import anchor as anchors
from sartor.nn import lora, solve
from sartor.nn.branch import BranchedEncoder
from sartor.nn.encoder import BertEncoder, EncoderConfig, Pooling, load_encoder
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
    tokens_per_batch: int = 4096
    """Read at once, padding included. Fewer are faster on a processor; another number rounds sums otherwise, so what
    models are made with stays as it is."""

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
    try:
        content = anchor.read_bytes()
        found = anchors.read(content)
    except (OSError, SafetensorError) as error:
        raise AssetError(f"The anchor {anchor.name} cannot be read ({error}). Install Sartor again.") from error
    device = next(base.encoder.parameters()).device

    rows, questions = (
        {name: tensor.to(device) for name, tensor in adapter.items()} for adapter in (found.rows, found.questions)
    )
    lora.check(base.encoder, questions)
    sha256 = catalogue.anchored_sha256(base.ref.sha256, hashlib.sha256(content).hexdigest())
    return replace(
        base,
        ref=BaseRef(name, sha256, base.ref.licence),
        branched=BranchedEncoder(base.encoder, rows),
        questions=questions or None,
    )


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
