"""A text classifier as a folder that needs no torch: a graph, its tokenizer, and the file that answers with them."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sartor.compress import text_onnx
from sartor.compress.whole import new_folder
from sartor.nn import features
from sartor.nn.text_base import ENGINE, TextBase
from sartor.types import Requirement, Weights

RUNNER = Path(__file__).with_name("text_predict.py")
_NEEDED = ("numpy", "onnxruntime", "tokenizers")


def write_onnx(
    folder: Path, requirement: Requirement, weights: Weights, base: TextBase, files: dict[str, bytes], *, abstains: bool
) -> None:
    """Write ``model.onnx``, ``model.json``, ``tokenizer.json``, ``run.py`` and ``requirements.txt``.

    Args:
        folder: not there, or empty.
        requirement: of the model.
        weights: of the model.
        base: that it stands on.
        files: of its bundle; an encoder of its own is written as it is.
        abstains: whether it turns texts away that look like none it was made for.

    Raises:
        UserError: if the package onnx is not there.
        StorageError: if something stands at ``folder``, or the disk does not take the files.
    """
    encoder = files.get(ENGINE) or text_onnx.encoder_onnx(base)
    about = {
        "labels": [label.name for label in requirement.labels],
        "prefix": base.prefix,
        "max_tokens": requirement.max_tokens,
        "pad_id": base.encoder.config.pad_id,
        "blocks": [block for block in ("words", "characters") if f"{block}.weight" in weights],
        "buckets": features.BUCKETS,
        "most_characters": features.NGRAM_CHARACTERS,
        "threshold": float(weights["scope.threshold"]) if abstains else None,
    }
    content = text_onnx.with_head(encoder, weights)
    with new_folder(folder) as stage:
        (stage / "model.onnx").write_bytes(content)
        (stage / "model.json").write_text(json.dumps(about, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        (stage / "tokenizer.json").write_text(base.tokenizer.to_str(), encoding="utf-8", newline="\n")
        (stage / "run.py").write_bytes(RUNNER.read_bytes())
        (stage / "requirements.txt").write_text("".join(f"{_wanted(name)}\n" for name in _NEEDED), encoding="utf-8")


def _wanted(package: str) -> str:
    """Return what to install: at least the version that is here."""
    try:
        return f"{package}>={'.'.join(version(package).split('.')[:2])}"
    except PackageNotFoundError:
        return package
