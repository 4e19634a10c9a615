"""What a recipe learned over many tasks and stands beside a frozen encoder: adapters, in one file of safetensors.

``encoder.layer.3.….lora_A`` and the like are the adapter that texts are read by; those under ``questions.``, if there
are any, read the answers to a question.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from sartor.errors import AssetError
from sartor.types import Weights

ANCHOR = "anchor.safetensors"
"""What a recipe calls the file."""
QUESTIONS = "questions."


@dataclass(frozen=True, slots=True)
class Anchor:
    """Adapters in float32."""

    rows: Weights
    questions: Weights = field(default_factory=dict[str, Tensor])
    """Of yes and no behind a question; empty where the anchor did not learn to read one (anchor 1)."""


def read(content: bytes) -> Anchor:
    """Return what a file holds.

    Raises:
        SafetensorError: if it is no such file.
    """
    tensors = {name: tensor.float() for name, tensor in load(content).items()}
    rows = {name: tensor for name, tensor in tensors.items() if not name.startswith(QUESTIONS)}
    return Anchor(
        rows,
        {name.removeprefix(QUESTIONS): tensor for name, tensor in tensors.items() if name.startswith(QUESTIONS)},
    )


def from_file(path: Path) -> tuple[Anchor, str]:
    """Return what a file holds, and the sha256 of its bytes.

    Raises:
        AssetError: if it cannot be read.
    """
    try:
        content = path.read_bytes()
        return read(content), hashlib.sha256(content).hexdigest()
    except (OSError, SafetensorError) as error:
        raise AssetError(f"The anchor {path.name} cannot be read ({error}). Install Sartor again.") from error


def write(anchor: Anchor, path: Path) -> None:
    """Write float16, whole or not at all."""
    tensors = {**anchor.rows, **{QUESTIONS + name: tensor for name, tensor in anchor.questions.items()}}
    replace_file(path, {name: tensor.detach().half() for name, tensor in tensors.items()})


def replace_file(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write safetensors, whole or not at all."""
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, partial)
    partial.replace(path)
