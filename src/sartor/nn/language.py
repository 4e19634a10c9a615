"""A small language model in the hand: its decoder, its tokenizer, and how a request to it is written.

What a user writes is never read as a mark of the template: ``<|im_end|>`` in a mail is nine characters, not the end of
the mail. So the template's marks and the user's text are tokenized apart.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from sartor import settings
from sartor.assets import resolve
from sartor.assets.catalogue import LanguageModelSpec
from sartor.errors import TaskError
from sartor.nn.decoder import Decoder, DecoderConfig, load_decoder
from sartor.types import Progress, silent

_HERE = "\x00"
"""Where the user's text stands in the template; no text of ours has it."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A frozen decoder with its tokenizer."""

    spec: LanguageModelSpec
    decoder: Decoder
    tokenizer: Tokenizer
    """Reads marks of the template as text."""
    opening: tuple[int, ...]
    """Of the template, before the user's text."""
    closing: tuple[int, ...]
    """Behind it, up to where the answer begins."""

    @property
    def device(self) -> torch.device:
        """Return where the decoder lies."""
        return next(self.decoder.parameters()).device

    @property
    def stop(self) -> int:
        """Return the token that ends an answer."""
        return self.spec.stop_ids[0]

    def prompt(self, text: str, instruction: str = "", *, max_tokens: int | None = None) -> tuple[int, ...]:
        """Return the tokens that ask for an answer to ``text``, an instruction before it if there is one.

        The text's own tokens are cut at ``max_tokens``.
        """
        whole = f"{instruction}\n\n{text}" if instruction else text
        return (*self.opening, *self._tokens(whole)[:max_tokens], *self.closing)

    def answer(self, text: str) -> tuple[int, ...]:
        """Return the tokens of an answer, its end included."""
        return (*self._tokens(text), self.stop)

    def read(self, ids: Sequence[int]) -> str:
        """Return the text of answered tokens, marks left out."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    def _tokens(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids


def load_language_model(
    name: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32, progress: Progress = silent
) -> LanguageModel:
    """Return the language model called ``name``, fetched if it is not in the cache.

    Raises:
        NotFoundError: if there is none of that name.
        AssetError: if it cannot be had.
    """
    files = resolve.resolve_language_model(name, settings.current(), progress=progress)
    config = DecoderConfig.from_hub(json.loads(files.config.read_bytes()))
    decoder = load_decoder(config, files.weights, device=device, dtype=dtype)
    return language_model(files.spec, decoder, Tokenizer.from_file(str(files.tokenizer)))


def language_model(spec: LanguageModelSpec, decoder: Decoder, tokenizer: Tokenizer) -> LanguageModel:
    """Return a language model of its parts; the tokenizer is this one's from now on."""
    before, _, behind = spec.chat(_HERE).partition(_HERE)
    if not behind:
        raise TaskError(f"The template of {spec.name!r} has no place for a text.")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = False
    opening, closing = (tuple(tokenizer.encode(part, add_special_tokens=False).ids) for part in (before, behind))
    tokenizer.encode_special_tokens = True
    return LanguageModel(spec, decoder, tokenizer, opening, closing)
