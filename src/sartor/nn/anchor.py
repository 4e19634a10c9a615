"""What a recipe learned over many tasks and stands beside a frozen encoder: adapters, in one file of safetensors.

``encoder.layer.3.….lora_A`` and the like are the adapter of rows. Names of labels are read by one of their own, under
``names.``, or by that of rows where there is none (anchor 1). ``names.context`` is there if it was learned to read
names behind the description of their task.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load, save_file
from torch import Tensor

from sartor.types import Weights

ANCHOR = "anchor.safetensors"
"""What a recipe calls the file."""
NAMES = "names."
CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class Anchor:
    """Adapters in float32."""

    rows: Weights
    names: Weights = field(default_factory=dict[str, Tensor])
    """Of label names; empty where they are read as rows are."""
    context: Tensor | None = None
    """Log of the weight of a name read behind the description, beside its being said alone in two ways."""


def read(content: bytes) -> Anchor:
    """Return what a file holds.

    Raises:
        SafetensorError: if it is no such file.
    """
    tensors = {name: tensor.float() for name, tensor in load(content).items()}
    names = {name.removeprefix(NAMES): tensor for name, tensor in tensors.items() if name.startswith(NAMES)}
    rows = {name: tensor for name, tensor in tensors.items() if not name.startswith(NAMES)}
    return Anchor(rows, {name: tensor for name, tensor in names.items() if name != CONTEXT}, names.get(CONTEXT))


def write(anchor: Anchor, path: Path) -> None:
    """Write float16, whole or not at all."""
    tensors: dict[str, Tensor] = dict(anchor.rows)
    tensors |= {NAMES + name: tensor for name, tensor in anchor.names.items()}
    if anchor.context is not None:
        tensors[NAMES + CONTEXT] = anchor.context
    replace_file(path, {name: tensor.detach().half() for name, tensor in tensors.items()})


def replace_file(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write safetensors, whole or not at all."""
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, partial)
    partial.replace(path)
