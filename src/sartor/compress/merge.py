"""An adapter folded into its base: one model, W + B A at each site, that any engine of the hub's layout loads.

Dimension key:   r: rank   I, O: inputs and outputs of a site
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from sartor.compress.whole import new_folder
from sartor.errors import BundleError, TaskError
from sartor.nn.check_adapter import check_adapter
from sartor.nn.decoder import Adapters, Decoder, DecoderConfig, sites
from sartor.nn.language import LanguageModel

# As the base was asked in training. The hub's template of SmolLM2 puts in a message from the system where there is
# none; an adapter never saw that.
CHAT_TEMPLATES = MappingProxyType(
    {
        "chatml": "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    }
)
"""Template of :class:`~sartor.assets.catalogue.LanguageModelSpec` -> the same in Jinja, for other engines."""

_DTYPES = MappingProxyType({"F32": torch.float32, "F16": torch.float16})


def check_one(adapter: Adapters, config: DecoderConfig) -> None:
    """Return if ``adapter`` is one adapter for this decoder, with finite numbers and one rank.

    Raises:
        TaskError: if it is a batch of several.
        BundleError: if it does not fit, or is broken.
    """
    refuse_batch(adapter)
    with torch.device("meta"):
        known = sites(Decoder(config))
    unknown = [path for path in adapter if path not in known]
    if unknown:
        raise BundleError(
            f"The adapter does not fit this decoder: it has no linear layer {unknown[0]!r}. Give an adapter that was "
            "made for this base."
        )
    check_adapter(adapter, {path: known[path] for path in adapter})


def refuse_batch(adapter: Adapters) -> None:
    """Return if each A and B is of one adapter.

    Raises:
        TaskError: if one is of several.
    """
    for path, factors in adapter.items():
        if any(factor.ndim != 3 or len(factor) != 1 for factor in factors):
            shapes = " and ".join(str(tuple(factor.shape)) for factor in factors)
            raise TaskError(
                f"One adapter is written at a time; at {path!r} stand {shapes}. Take A (1, r, I), B (1, O, r)."
            )


def merged(decoder: Decoder, adapter: Adapters) -> Iterator[tuple[str, Tensor]]:
    """Yield each weight of ``decoder`` under its name, in float32, with the update of ``adapter`` in it.

    Raises:
        BundleError: if a sum is not finite.
    """
    for name, weight in decoder.state_dict().items():
        path = name.removesuffix(".weight")
        whole = weight.detach().float().cpu()
        if path in adapter:
            a_rI, b_Or = (factor[0].detach().double().cpu() for factor in adapter[path])
            whole = (whole + b_Or @ a_rI).float()
        if not whole.isfinite().all():
            raise BundleError(f"With the adapter, {name!r} holds numbers that are not finite. Make the adapter again.")
        yield name, whole


def write_merged_safetensors(
    folder: Path, model: LanguageModel, adapter: Adapters, *, dtype: Literal["F32", "F16"] = "F32"
) -> None:
    """Write a folder as the hub has them: weights with the adapter in them, ``config.json``, the tokenizer.

    Args:
        folder: not there, or empty.
        model: the base.
        adapter: site -> A (1, r, I) and B (1, O, r).
        dtype: F16 is half the size; logits move by some 0.05.

    Raises:
        TaskError: if ``adapter`` is a batch of several, or the base is no Llama.
        BundleError: if it does not fit the base, is broken, or too large for ``dtype``.
        StorageError: if something stands at ``folder``, or the disk does not take the files.
    """
    refuse_other_shapes(model.decoder.config)
    check_one(adapter, model.decoder.config)
    texts = {
        "config.json": _config(model, dtype),
        "generation_config.json": {**_marks(model), "eos_token_id": list(model.spec.stop_ids), "do_sample": False},
        "tokenizer_config.json": _tokenizer_config(model),
    }
    weights = {name: _converted(name, weight, dtype) for name, weight in merged(model.decoder, adapter)}
    with new_folder(folder) as stage:
        for name, content in texts.items():
            text = json.dumps(content, ensure_ascii=False, indent=2)
            (stage / name).write_text(f"{text}\n", encoding="utf-8", newline="\n")
        (stage / "tokenizer.json").write_text(model.tokenizer.to_str(), encoding="utf-8", newline="\n")
        try:
            save_file(weights, stage / "model.safetensors", metadata={"format": "pt"})
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))  # the library has no error of its own for a full disk
            raise OSError(int(number[1]) if number else 0, str(error)) from error


def refuse_other_shapes(config: DecoderConfig) -> None:
    """Return if the decoder is a plain Llama.

    Raises:
        TaskError: if it is another.
    """
    if config.qkv_bias or config.qk_norm or config.heads * config.head_dim != config.hidden:
        raise TaskError(
            "Only a plain Llama can be written; this base has biases, normed queries or heads of another width. Write "
            "the adapter in PEFT's format instead."
        )


def _converted(name: str, weight: Tensor, dtype: str) -> Tensor:
    found = weight.to(_DTYPES[dtype])
    if not found.isfinite().all():
        raise BundleError(f"With the adapter, {name!r} holds numbers too large for {dtype}. Write F32 instead.")
    return found.contiguous()


def _config(model: LanguageModel, dtype: str) -> dict[str, Any]:
    config = model.decoder.config
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "dtype": str(_DTYPES[dtype]).removeprefix("torch."),
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.hidden,
        "intermediate_size": config.intermediate,
        "max_position_embeddings": config.max_positions,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.kv_heads,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_scaling": None,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied,
        "vocab_size": config.vocab_size,
        **_marks(model),
    }


def _marks(model: LanguageModel) -> dict[str, int]:
    return {"bos_token_id": model.opening[0], "eos_token_id": model.stop, "pad_token_id": model.stop}


def _tokenizer_config(model: LanguageModel) -> dict[str, Any]:
    marks = {"bos_token": model.opening[0], "eos_token": model.stop, "pad_token": model.stop}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.decoder.config.max_positions,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATES[model.spec.template],
        **{name: model.tokenizer.id_to_token(token) for name, token in marks.items()},
    }
