"""One adapter as PEFT stores it: the folder that transformers, vLLM, LoRAX and others load.

What is written has the form that fits every engine: one rank, linear layers only, ``lora_alpha`` the rank, so that
PEFT's factor alpha / r (https://arxiv.org/abs/2106.09685, section 4.1) is one and any scale lies in B. What is read may
have another factor, rank-stabilised ones too (alpha / sqrt(r), https://arxiv.org/abs/2312.03732), and gets it into B.

Dimension key:   r: rank   I, O: inputs and outputs of a site
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from sartor.compress.merge import refuse_batch
from sartor.compress.whole import new_folder
from sartor.errors import BundleError, NotFoundError, TaskError
from sartor.nn.anchored import from_peft, to_peft
from sartor.nn.check_adapter import check_adapter
from sartor.nn.decoder import Adapters
from sartor.nn.weight_heads import Sites
from sartor.registry import disk

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_SITE = re.compile(r"model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)")
_REMEDY = "Give a plain LoRA of linear layers, saved by PEFT."
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Ways to begin a training that leave the base as it is."""
_OTHERWISE = (
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "monteclora_config",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
)
"""What PEFT's LoRA may have besides, each of which changes the answers."""


def write_peft(folder: Path, adapter: Adapters, *, base_name: str, base_sha256: str) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``; PEFT 0.14 and later load them.

    Args:
        folder: not there, or empty; its parents are made.
        adapter: site -> A (1, r, I) and B (1, O, r), written as float32.
        base_name: what PEFT loads as the base where it is not told: a folder, or a name on the hub.
        base_sha256: hash of the base's weights; it goes into the header of the safetensors file, since PEFT warns of
            fields that it does not know.

    Raises:
        TaskError: if ``adapter`` is a batch of several, or a site is no linear layer of a Llama.
        BundleError: if it is broken.
        StorageError: if something stands at ``folder``, or the disk does not take the files.
    """
    refuse_batch(adapter)
    check_adapter(adapter, _sites(adapter))
    rank = next(iter(adapter.values()))[0].shape[1]
    config = {
        "base_model_name_or_path": base_name,
        "bias": "none",
        "inference_mode": True,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": rank,
        "task_type": "CAUSAL_LM",
        **_targets(adapter),
    }
    weights = {name: weight.float().cpu() for name, weight in to_peft(adapter, 0).items()}
    with new_folder(folder) as stage:
        text = json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True)
        (stage / CONFIG).write_text(f"{text}\n", encoding="utf-8", newline="\n")
        (stage / WEIGHTS).write_bytes(save(weights, metadata={"base_sha256": base_sha256, "format": "pt"}))


def read_peft(folder: Path) -> Adapters:
    """Return site -> A (1, r, I) and B (1, O, r), in float32 and by the name of the site, with PEFT's factor in B.

    Whether the sites are those of a base is for :mod:`sartor.nn.check_adapter` to say.

    Raises:
        NotFoundError: if one of the two files is not there.
        BundleError: if they are damaged, do not fit each other, or hold more than a plain LoRA.
    """
    config = _config(folder)
    try:
        weights = load(_bytes(folder / WEIGHTS))
    except SafetensorError as error:
        raise BundleError(
            f"{str(folder / WEIGHTS)!r} is no sound safetensors file: {error}. It may be cut off; fetch it again."
        ) from error
    found = from_peft(dict(sorted(weights.items())))
    rank, factor = _rank_and_factor(config)
    stored = next(iter(found.values()))[0].shape[1]
    if stored != rank:
        raise BundleError(f"The adapter's r is {rank}, its tensors are of rank {stored}. Fetch both files again.")
    scaled = {path: (a_1rI.float(), b_1Or.float() * factor) for path, (a_1rI, b_1Or) in found.items()}
    check_adapter(scaled, _shapes(scaled))
    return scaled


# --- the configuration -------------------------------------------------------------------------------------


def _targets(adapter: Adapters) -> dict[str, Any]:
    """Return what tells PEFT the sites: kinds and layers where each layer has the same, else every path."""
    places = [_place(path) for path in adapter]
    layers, kinds = (sorted(set(part)) for part in zip(*places, strict=True))
    if len(layers) * len(kinds) != len(places):
        return {"target_modules": sorted(adapter)}
    return {"target_modules": kinds, "layers_to_transform": layers, "layers_pattern": "layers"}


def _place(path: str) -> tuple[int, str]:
    found = _SITE.fullmatch(path)
    if found is None:
        raise TaskError(
            f"The adapter has a part at {path!r}, which is no linear layer of a Llama; one is called as "
            "model.layers.3.self_attn.q_proj."
        )
    return int(found[1]), found[2]


def _sites(adapter: Adapters) -> Sites:
    for path in adapter:
        _place(path)
    return _shapes(adapter)


def _shapes(adapter: Adapters) -> Sites:
    return {path: (b_1Or.shape[1], a_1rI.shape[2]) for path, (a_1rI, b_1Or) in adapter.items()}


def _config(folder: Path) -> Mapping[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{str(path)!r} is no JSON: {error}. It may be cut off; fetch it again.") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else config
        raise BundleError(f"{str(path)!r} tells of an adapter of type {kind!r:.40}; known is 'LORA'. {_REMEDY}")
    more = [name for name in _OTHERWISE if config.get(name)]
    if config.get("bias", "none") != "none":
        more.append("bias")
    if config.get("init_lora_weights") not in _PLAIN_STARTS:
        more.append("init_lora_weights")  # the adapter stands on a base that was changed
    if more:
        said = ", ".join(f"{name} {config[name]!r:.40}" for name in more)
        raise BundleError(f"{str(path)!r} asks for more than a plain LoRA: {said}. {_REMEDY}")
    return config


def _rank_and_factor(config: Mapping[str, Any]) -> tuple[int, float]:
    rank, alpha = config.get("r", 0), config.get("lora_alpha", 0)
    if type(rank) is not int or rank < 1 or type(alpha) not in (int, float) or not 0 < alpha < math.inf:
        missing = [name for name in ("r", "lora_alpha") if name not in config]
        what = f"lacks {' and '.join(missing)}" if missing else f"has r {rank!r:.40} and lora_alpha {alpha!r:.40}"
        raise BundleError(
            f"{CONFIG} {what}; wanted are a whole number from 1 on, and a number above 0. Fetch the adapter again."
        )
    return rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _bytes(path: Path) -> bytes:
    with disk.explained(path, "read"):
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(
                f"There is no {str(path)!r}. A folder of PEFT holds {CONFIG} and {WEIGHTS}; name such a one."
            ) from None
