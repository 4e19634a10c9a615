"""A checkpoint of EfficientNet-Lite for torch -> the weights of a base for pictures.

The checkpoint is a dict of tensors; torch reads it with ``weights_only``, so nothing in it runs. At inference a batch
norm is a scale and a shift of each channel (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167, algorithm 2), so
each is folded into the convolution before it, in float64. The same bytes come out on every machine, so the result is
pinned by its hash.

In the checkpoint convolutions and norms bear names of their own: ``_blocks.3._expand_conv`` is followed by
``_blocks.3._bn0``. Here they are ``blocks.3.expand``.
"""

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sartor.assets import plain_safetensors
from sartor.errors import AssetError
from sartor.types import Progress, silent

EPS: Final = 1e-3
"""Of the batch norms; the checkpoint does not tell it."""

_IN_A_BLOCK: Final = {
    "_expand_conv": ("_bn0", "expand"),
    "_depthwise_conv": ("_bn1", "depthwise"),
    "_project_conv": ("_bn2", "project"),
}
"""Convolution -> its norm, and its name here; the first block does not expand."""

Arrays = Mapping[str, NDArray[Any]]


def convert(source: Path, folder: Path, *, progress: Progress = silent) -> None:
    """Write ``model.safetensors`` of the checkpoint ``source`` into ``folder``.

    Reports the stage ``convert`` in weights.

    Raises:
        AssetError: when ``source`` is not such a checkpoint.
    """
    try:
        found = dict(_folded(_read(source)))
        for name, values in found.items():
            if not np.isfinite(values).all():
                raise ValueError(f"{name} holds a value that is not a number or too large")
    except (ValueError, LookupError, AttributeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AssetError(
            f"{source.name} is not a checkpoint of EfficientNet-Lite: {why}. Delete it and fetch the package again."
        ) from error
    total, done = sum(values.size for values in found.values()), 0
    with (folder / "model.safetensors").open("wb") as file:
        file.write(plain_safetensors.header((name, "F32", v.shape, v.size) for name, v in found.items()))
        for values in found.values():
            file.write(values.tobytes())
            done += values.size
            progress("convert", done, total)


def _read(source: Path) -> Arrays:
    import torch  # two seconds, and a base that is cached needs none of it

    stored = torch.load(source, weights_only=True, map_location="cpu")
    return {name: tensor.double().numpy() for name, tensor in stored.items()}


def _folded(stored: Arrays) -> Iterator[tuple[str, NDArray[np.float32]]]:
    yield from _fold(stored, "_conv_stem", "_bn0", "stem")
    blocks = sorted({int(name.split(".")[1]) for name in stored if name.startswith("_blocks.")})
    for at in blocks:
        for convolution, (norm, name) in _IN_A_BLOCK.items():
            if f"_blocks.{at}.{convolution}.weight" in stored or convolution != "_expand_conv":
                yield from _fold(stored, f"_blocks.{at}.{convolution}", f"_blocks.{at}.{norm}", f"blocks.{at}.{name}")
    yield from _fold(stored, "_conv_head", "_bn1", "head")
    yield "classifier.weight", stored["_fc.weight"].astype("<f4")
    yield "classifier.bias", stored["_fc.bias"].astype("<f4")


def _fold(stored: Arrays, convolution: str, norm: str, name: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    scale = stored[f"{norm}.weight"] / np.sqrt(stored[f"{norm}.running_var"] + EPS)
    shift = stored[f"{norm}.bias"] - stored[f"{norm}.running_mean"] * scale
    yield f"{name}.weight", (stored[f"{convolution}.weight"] * scale[:, None, None, None]).astype("<f4")
    yield f"{name}.bias", shift.astype("<f4")
