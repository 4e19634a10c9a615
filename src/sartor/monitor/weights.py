"""Are a model's weights sound, and no larger than those of its generator's training?"""

import math
from collections.abc import Mapping

from safetensors import SafetensorError
from torch import Tensor

from sartor.assets import catalogue
from sartor.errors import NotFoundError
from sartor.nn.anchored import from_peft
from sartor.nn.check_adapter import Bounds, frobenius_norms, singular_values
from sartor.nn.generator_file import read_bounds
from sartor.types import Manifest

_LORA = (".lora_A.weight", ".lora_B.weight")


def share_of_bounds(weights: Mapping[str, Tensor], bounds: Bounds | None) -> float:
    """Return the largest norm or singular value of an adapter beside its bound; infinite where a number is none.

    0 where nothing is known of how large weights may be.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values() if tensor.is_floating_point()):
        return math.inf
    parts = {name: tensor.float() for name, tensor in weights.items() if name.endswith(_LORA)}
    if bounds is None or not parts:
        return 0.0
    found = [0.0]
    for path, (a_1rI, b_1Or) in from_peft(parts).items():
        found.append(float(frobenius_norms(a_1rI, b_1Or)) / bounds.frobenius.get(path, math.inf))
        found.append(float(singular_values(a_1rI, b_1Or)[0, 0]) / bounds.spectral.get(path, math.inf))
    return max(found)


def bounds_of(manifest: Manifest) -> Bounds | None:
    """Return how large adapters of a model's generator may be; None where nobody knows."""
    try:
        generator = catalogue.language_model(manifest.base.name).generator
        return None if generator is None else read_bounds(generator.path.read_bytes())
    except (NotFoundError, OSError, SafetensorError):
        return None
