"""A base small enough for unit tests: two layers, random weights, a word-piece tokenizer with a few words.

It stands in the cache and the catalogue under the names of the real bases, so that everything above runs as it is.
``python tests/tiny_base.py ARGUMENTS`` is ``sartor ARGUMENTS`` on it, for tests that need a process of their own;
it expects SARTOR_CACHE and SARTOR_HOME to be set.
"""

import dataclasses
import hashlib
import os
import string
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from sartor import settings
from sartor.assets import catalogue, resolve
from sartor.nn import lora
from sartor.nn.anchor import Anchor, write
from sartor.nn.encoder import BertEncoder, EncoderConfig

WORDS = (
    "refund money charged twice invoice bill pay card crash bug error broken screen app hello thanks question good bad "
    "great awful love hate the a is was my i it not and to of for in this billing other text about"
).split()
KANA = "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん請求不具合他"


def tokenizer() -> Tokenizer:
    """Return a tokenizer that knows some words whole and spells the rest."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    letters = string.ascii_lowercase + string.digits + string.punctuation + KANA
    pieces += [letter for letter in letters if letter not in pieces] + [f"##{letter}" for letter in letters]
    made = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


def config() -> EncoderConfig:
    """Return the shape: 2 layers of 32."""
    return EncoderConfig(
        vocab_size=tokenizer().get_vocab_size(), hidden=32, layers=2, heads=2, intermediate=48, max_positions=64
    )


def encoder(seed: int = 0) -> BertEncoder:
    """Return an encoder with random weights."""
    shape = config()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = BertEncoder(shape)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    for name, parameter in made.named_parameters():
        if name.endswith("LayerNorm.weight"):
            torch.nn.init.ones_(parameter)
    return made.eval().requires_grad_(False)


def specs(cache: Path) -> dict[str, catalogue.BaseSpec]:
    """Put the tiny base into ``cache`` under the names of the real ones; return the catalogue that knows it."""
    found = {}
    shape = config()
    stems = list(dict.fromkeys(real.stem for real in catalogue.catalogue().values()))
    for name, real in catalogue.catalogue().items():
        seed = stems.index(real.stem)
        folder = cache / "bases" / real.stem
        folder.mkdir(parents=True, exist_ok=True)
        save_file(encoder(seed).state_dict(), folder / catalogue.WEIGHTS)
        tokenizer().save(str(folder / catalogue.TOKENIZER))
        files = {
            file: hashlib.sha256((folder / file).read_bytes()).hexdigest()
            for file in (catalogue.WEIGHTS, catalogue.TOKENIZER)
        }
        found[name] = dataclasses.replace(
            real,
            dim=shape.hidden,
            layers=shape.layers,
            heads=shape.heads,
            intermediate=shape.intermediate,
            vocab_size=shape.vocab_size,
            max_tokens=64,
            max_positions=shape.max_positions,
            pad_id=0,
            files=files,
            sources=(),
            anchor=anchor(folder, seed) if real.anchor else None,
        )
    return found


def adapter(made: BertEncoder, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return a random adapter of rank 2 for the upper half of an encoder."""
    generator = torch.Generator().manual_seed(seed)
    upper = [f"encoder.layer.{layer}." for layer in range(made.config.layers // 2, made.config.layers)]
    return {
        name: torch.randn(tensor.shape, generator=generator) * 0.3
        for name, tensor in lora.fresh(made, 2, generator=generator).items()
        if name.startswith(tuple(upper))
    }


def anchor(folder: Path, seed: int) -> catalogue.AnchorSpec:
    """Put a random anchor of the tiny base into ``folder``; return what the catalogue says of it."""
    path = folder / "anchor.safetensors"
    made = encoder(seed)
    write(Anchor(adapter(made, seed), adapter(made, seed + 100)), path)
    return catalogue.AnchorSpec(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def install(cache: Path) -> None:
    """Make this process use the tiny base."""
    catalogue._BASES = MappingProxyType(specs(cache))


if __name__ == "__main__":
    assert {"SARTOR_CACHE", "SARTOR_HOME"} <= os.environ.keys(), "set both, or the real cache would be overwritten"
    install(settings.current().cache)
    assert resolve.cached(catalogue.spec("all-minilm-l6-v2+anchor2"), settings.current()) is not None
    from sartor.cli import main

    main()
