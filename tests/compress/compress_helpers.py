"""A tiny base whose rows fill blocks, adapters for it, a disk that takes only so much."""

import contextlib
import resource
from collections.abc import Collection, Iterator

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import tiny_language
from sartor.nn.decoder import Adapters, Decoder, DecoderConfig, sites
from sartor.nn.language import LanguageModel, language_model

PIECES = ["he", "ll", "hell", "hello", "Ġw"]
MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w")]


def tokenizer() -> Tokenizer:
    """Return one of SmolLM's kind: digits one by one, then GPT-2's words."""
    pieces = [*tiny_language.MARKS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *PIECES]
    made = Tokenizer(models.BPE({piece: at for at, piece in enumerate(pieces)}, MERGES))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(mark, special=True) for mark in tiny_language.MARKS])
    return made


def model(seed: int = 0, **changes: object) -> LanguageModel:
    """Return a frozen random model: 2 layers of 64, 4 heads in 2 groups."""
    shape = {
        "vocab_size": tokenizer().get_vocab_size(),
        "hidden": 64,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 16,
        "intermediate": 96,
        "max_positions": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e5,
        "tied": True,
    }
    random = torch.Generator().manual_seed(seed)
    decoder = Decoder(DecoderConfig(**{**shape, **changes}))
    for parameter in decoder.parameters():
        start = torch.randn(parameter.shape, generator=random)
        parameter.data = 0.2 * start if parameter.dim() > 1 else 1 + 0.1 * start
    return language_model(tiny_language.SPEC, decoder.eval().requires_grad_(False), tokenizer())


def adapter(
    decoder: Decoder, rank: int = 3, *, seed: int = 1, only: Collection[str] | None = None, groups: int = 1
) -> Adapters:
    """Return a random adapter at every site, or at those of ``only``."""
    random = torch.Generator().manual_seed(seed)
    return {
        path: (
            torch.randn(groups, rank, inputs, generator=random),
            0.1 * torch.randn(groups, outputs, rank, generator=random),
        )
        for path, (outputs, inputs) in sites(decoder).items()
        if only is None or path in only
    }


def broken(found: Adapters, value: float = float("nan")) -> Adapters:
    """Return the adapter with one number of its last site's B replaced."""
    path = list(found)[-1]
    a, b = found[path]
    b = b.clone()
    b[0, 0, 0] = value
    return {**found, path: (a, b)}


def exact(decoder: Decoder) -> Decoder:
    """Return the decoder in float64."""
    copy = Decoder(decoder.config)
    copy.load_state_dict(decoder.state_dict())
    return copy.double().eval().requires_grad_(False)


def logits(decoder: Decoder, found: Adapters | None = None) -> torch.Tensor:
    """Return what the decoder says to a few tokens, in float64."""
    double = {path: (a.double(), b.double()) for path, (a, b) in (found or {}).items()}
    decoder = exact(decoder)
    return decoder.logits(decoder(ids(decoder.config), adapters=double))


def ids(config: DecoderConfig) -> torch.Tensor:
    return torch.randint(config.vocab_size, (2, 17), generator=torch.Generator().manual_seed(2))


@contextlib.contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Let this process write no file larger than that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
