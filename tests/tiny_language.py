"""A language model small enough for unit tests: random weights, a tokenizer of bytes, the template of the real one."""

import dataclasses
import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from sartor.assets import catalogue
from sartor.nn import generator_file
from sartor.nn.anchored import join
from sartor.nn.check_adapter import Bounds
from sartor.nn.condition import Conditions
from sartor.nn.decoder import Adapters, Decoder, DecoderConfig, sites
from sartor.nn.generator import Generator
from sartor.nn.language import LanguageModel, language_model

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SPEC = catalogue.language_model("smollm2-135m-instruct")


def tokenizer() -> Tokenizer:
    """Return one that knows bytes and the marks of the template."""
    pieces = {piece: at for at, piece in enumerate([*MARKS, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    made = Tokenizer(models.BPE(pieces, []))
    digits, words = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([digits, words])  # as the real one's
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    return made


CONFIG = {
    "model_type": "llama",
    "vocab_size": tokenizer().get_vocab_size(),
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}


def config() -> DecoderConfig:
    """Return the shape: 3 layers of 16."""
    return DecoderConfig.from_hub(CONFIG)


def model(seed: int = 0) -> LanguageModel:
    """Return a frozen model with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder = Decoder(config())
        for parameter in decoder.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
            else:
                torch.nn.init.ones_(parameter)
    return language_model(SPEC, decoder.eval().requires_grad_(False), tokenizer())


# --- with a generator --------------------------------------------------------------------------------------

READER_WIDTH = 32
"""Of a sentence of the tiny encoder."""


def anchor(decoder: Decoder, seed: int = 0) -> Adapters:
    """Return a small random adapter of the upper two layers."""
    random = torch.Generator().manual_seed(seed)
    here = {path: shape for path, shape in sites(decoder, ["q_proj", "down_proj"]).items() if ".0." not in path}
    return {
        path: (torch.randn(1, 2, inputs, generator=random) / 4, torch.randn(1, outputs, 2, generator=random) / 8)
        for path, (outputs, inputs) in here.items()
    }


def generator(decoder: Decoder, seed: int = 0) -> Generator:
    """Return one that is not trained but says something of a condition's words, too."""
    here = {path: shape for path, shape in sites(decoder).items() if path in anchor(decoder)}
    made = Generator(here, rank=3, steps=2, width=8, sentence=READER_WIDTH, seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.nn.init.normal_(made.head.small.weight, std=0.02)
    return made


def bounds(decoder: Decoder) -> Bounds:
    """Return bounds that leave room."""
    empty = torch.zeros(1, 1, READER_WIDTH), torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.bool)
    with torch.no_grad():
        found = generator(decoder)(Conditions(*empty))
    return Bounds.from_adapters([join(anchor(decoder), found, 1.0)], slack=1000.0)


def specs(cache: Path) -> dict[str, catalogue.LanguageModelSpec]:
    """Put the model into a cache under the real one's name, a generator beside it; return the catalogue's entries."""
    folder = cache / "bases" / SPEC.name
    folder.mkdir(parents=True, exist_ok=True)
    decoder = model().decoder
    save_file(decoder.state_dict(), folder / catalogue.WEIGHTS)
    tokenizer().save(str(folder / catalogue.TOKENIZER))
    (folder / catalogue.CONFIG).write_text(json.dumps(CONFIG))
    files = {name: _sha256(folder / name) for name in (catalogue.WEIGHTS, catalogue.TOKENIZER, catalogue.CONFIG)}
    path = folder / "generator.safetensors"
    generator_file.write(path, anchor(decoder), generator(decoder).state_dict(), bounds(decoder))
    made = catalogue.GeneratorSpec(str(path), _sha256(path), "all-minilm-l6-v2")
    return {SPEC.name: dataclasses.replace(SPEC, files=files, sources=(), generator=made, max_tokens=256)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
