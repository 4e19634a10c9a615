"""A language model small enough for unit tests: random weights, a tokenizer of bytes, the template of the real one."""

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from sartor.assets import catalogue
from sartor.nn.decoder import Decoder, DecoderConfig
from sartor.nn.language import LanguageModel, language_model

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SPEC = catalogue.language_model("smollm2-135m-instruct")


def tokenizer() -> Tokenizer:
    """Return one that knows bytes and the marks of the template."""
    pieces = {piece: at for at, piece in enumerate([*MARKS, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    made = Tokenizer(models.BPE(pieces, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    return made


def config() -> DecoderConfig:
    """Return the shape: 3 layers of 16."""
    return DecoderConfig.from_hub(
        {
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
    )


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
