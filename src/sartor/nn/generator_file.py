"""A trained generator in one file of safetensors: its anchor, its weights, and how large its adapters are.

Tensors are ``anchor.SITE.A`` (r, I) and ``….B`` (O, r), ``generator.PARAMETER``, ``bounds.SITE`` (2), the largest
Frobenius norm and the largest singular value of a good adapter there, and ``words``: how much of the generated part is
used where there are no rows. What a generator looks like, its rank and its steps, is told by the shapes alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor

from sartor.nn.anchor import replace_file
from sartor.nn.check_adapter import Bounds
from sartor.nn.decoder import Adapters
from sartor.nn.generator import Generator
from sartor.nn.weight_heads import Sites

_ANCHOR, _GENERATOR, _BOUNDS, _WORDS = "anchor.", "generator.", "bounds.", "words"


@dataclass(frozen=True, slots=True)
class Trained:
    """What a recipe learned, in float32."""

    anchor: Adapters
    generator: Generator
    bounds: Bounds
    word_dial: float = 1.0
    """How much of the generated part is used where there are no rows."""

    @property
    def layer(self) -> int:
        """Return the lowest layer that adapters change."""
        return lowest_layer(self.anchor)


def lowest_layer(adapter: Adapters) -> int:
    """Return the lowest layer that an adapter changes."""
    return min(int(path.split(".")[2]) for path in adapter)


def write(
    path: Path, anchor: Adapters, weights: Mapping[str, Tensor], bounds: Bounds, *, word_dial: float = 1.0
) -> None:
    """Write float16, whole or not at all."""
    found: dict[str, Tensor] = {_GENERATOR + name: tensor.half() for name, tensor in weights.items()}
    for site, (a_1rI, b_1Or) in anchor.items():
        found[f"{_ANCHOR}{site}.A"], found[f"{_ANCHOR}{site}.B"] = a_1rI[0].half(), b_1Or[0].half()
        found[_BOUNDS + site] = torch.tensor([bounds.frobenius[site], bounds.spectral[site]])
    found[_WORDS] = torch.tensor(word_dial)
    replace_file(path, {name: tensor.detach() for name, tensor in found.items()})


def read(content: bytes, sites: Sites) -> Trained:
    """Return what a file holds.

    Args:
        content: of the file.
        sites: all of the decoder's, in its order, which a file of tensors does not keep.

    Raises:
        SafetensorError: if it is no such file.
        KeyError: if a tensor is missing, or of a site that is not there.
        RuntimeError: if tensors do not fit each other.
    """
    tensors = {name: tensor.float() for name, tensor in load(content).items()}
    here = {path: shape for path, shape in sites.items() if _BOUNDS + path in tensors}
    anchor = {path: (tensors[f"{_ANCHOR}{path}.A"][None], tensors[f"{_ANCHOR}{path}.B"][None]) for path in here}
    bounds = _bounds(tensors)
    weights = {name.removeprefix(_GENERATOR): part for name, part in tensors.items() if name.startswith(_GENERATOR)}
    return Trained(anchor, restored(here, weights), bounds, float(tensors[_WORDS]))


def read_bounds(content: bytes) -> Bounds:
    """Return how large adapters of a generator's training were, without making the generator.

    Raises:
        SafetensorError: if the content is no such file.
    """
    return _bounds(load(content))


def _bounds(tensors: Mapping[str, Tensor]) -> Bounds:
    sites = [name.removeprefix(_BOUNDS) for name in tensors if name.startswith(_BOUNDS)]
    largest = {path: tensors[_BOUNDS + path].float().tolist() for path in sites}
    return Bounds({path: one[0] for path, one in largest.items()}, {path: one[1] for path, one in largest.items()})


def restored(sites: Sites, weights: Mapping[str, Tensor]) -> Generator:
    """Return the generator of these weights, whose shapes tell its own; frozen."""
    steps, _, rank = weights["gradient.columns"].shape
    width, sentence = weights["encoder.project.weight"].shape
    made = Generator(sites, rank=rank, steps=steps, width=width, sentence=sentence)
    made.load_state_dict(dict(weights))
    return made.eval().requires_grad_(False)
