"""A frozen BERT encoder in plain torch that hands out every layer's states.

BERT (https://arxiv.org/abs/1810.04805), section 3; parameter names are those of the ecosystem's ``BertModel``, so
a hub checkpoint loads as it is. Why not the ecosystem's own class: importing it takes four seconds, more than
everything else that ``sartor predict`` does, and the generators of the next families address its linear layers
by name through ``torch.func.functional_call``. A test holds both to the same numbers.

Dimension key:   B: texts in a batch   T: tokens   H: hidden width   A: attention heads   D: head width
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from sartor.nn.threads import one_thread


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The shape of a BERT encoder."""

    vocab_size: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    max_positions: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_id: int = 0


def _table(rows: int, width: int) -> nn.Embedding:
    # the usual random start would, on the meta device, import a compiler: one second, for values never used
    return nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)


class _Embeddings(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.word_embeddings = _table(config.vocab_size, config.hidden)
        self.position_embeddings = _table(config.max_positions, config.hidden)
        self.token_type_embeddings = _table(config.type_vocab_size, config.hidden)
        self.LayerNorm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)

    @override
    def forward(self, ids_BT: Tensor) -> Tensor:
        positions_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        # all tokens are of type 0: we never encode pairs
        summed = self.word_embeddings(ids_BT) + self.position_embeddings(positions_T)
        return self.LayerNorm(summed + self.token_type_embeddings.weight[0])


class _SelfAttention(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.hidden, config.hidden)
        self.key = nn.Linear(config.hidden, config.hidden)
        self.value = nn.Linear(config.hidden, config.hidden)

    @override
    def forward(self, states_BTH: Tensor, keep_B11T: Tensor | None) -> Tensor:
        def split(projected_BTH: Tensor) -> Tensor:
            return projected_BTH.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B A T D

        mixed_BATD = functional.scaled_dot_product_attention(
            split(self.query(states_BTH)),
            split(self.key(states_BTH)),
            split(self.value(states_BTH)),
            attn_mask=keep_B11T,
        )
        return mixed_BATD.transpose(1, 2).flatten(-2)


class _Residual(nn.Module):
    """dense -> add -> LayerNorm, the way BERT ends both halves of a layer."""

    def __init__(self, width: int, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden)
        self.LayerNorm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)

    @override
    def forward(self, inner: Tensor, residual_BTH: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(inner) + residual_BTH)


class _Layer(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": _SelfAttention(config), "output": _Residual(config.hidden, config)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.hidden, config.intermediate)})
        self.output = _Residual(config.intermediate, config)

    @override
    def forward(self, states_BTH: Tensor, keep_B11T: Tensor | None) -> Tensor:
        mixed = self.attention["self"](states_BTH, keep_B11T)
        attended_BTH = self.attention["output"](mixed, states_BTH)
        return self.output(functional.gelu(self.intermediate["dense"](attended_BTH)), attended_BTH)


class BertEncoder(nn.Module):
    """Token ids to the hidden states of every layer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(_Layer(config) for _ in range(config.layers))})

    @override
    def forward(self, ids_BT: Tensor, keep_BT: Tensor | None = None) -> list[Tensor]:
        """Return the states (B, T, H) after the embeddings and after each layer: ``layers + 1`` tensors.

        Args:
            ids_BT: token ids.
            keep_BT: True for real tokens, False for padding; None when there is no padding.
        """
        keep_B11T = None if keep_BT is None else keep_BT[:, None, None, :]
        states = [self.embeddings(ids_BT)]
        for layer in self.encoder["layer"]:  # pyright: ignore[reportGeneralTypeIssues]
            states.append(layer(states[-1], keep_B11T))
        return states


class Layered(Protocol):
    """What texts can be encoded with: an encoder, or one with a second way through it."""

    config: EncoderConfig

    def __call__(self, ids_BT: Tensor, keep_BT: Tensor | None = None) -> list[Tensor]:
        """Return states (B, T, H), layer by layer."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return the weights, which tell the device."""
        ...


def load_encoder(config: EncoderConfig, weights: Path, device: str = "cpu") -> BertEncoder:
    """Return a frozen encoder with the weights of a safetensors file, in float32.

    Buffers and the pooler that some checkpoints carry are not used and are left out.
    """
    with torch.device("meta"):  # no time spent on initial values that are overwritten
        encoder = BertEncoder(config)
    wanted = encoder.state_dict().keys()
    stored = {key.removeprefix("bert."): tensor for key, tensor in load_file(weights).items()}
    encoder.load_state_dict({key: stored[key].float() for key in wanted}, assign=True)
    return encoder.eval().requires_grad_(False).to(device)


Pooler: TypeAlias = Callable[[Tensor, Tensor], NDArray[np.float32]]
"""``pooler(ids_BT, keep_BT)`` -> (B, P, H) on the CPU."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """One block of features: how the states of one layer become one vector."""

    layer: int
    """0 = embeddings, ``layers`` = the last."""
    kind: str = "mean"
    """``mean`` or ``max`` over real tokens."""

    @property
    def name(self) -> str:
        """Return as ``mean-6``."""
        return f"{self.kind}-{self.layer}"


def _batches(ids: Sequence[Sequence[int]], tokens_per_batch: int) -> Iterator[NDArray[np.int64]]:
    """Yield row numbers, longest texts first, so that padding is small and memory peaks at the start."""
    order = np.argsort([-len(row) for row in ids], kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, len(ids[order[start]]))
        size = max(1, tokens_per_batch // longest)
        yield order[start : start + size]
        start += size


def pool(states_BTH: Tensor, keep_BT: Tensor, kind: str) -> Tensor:
    """Return (B, H): ``mean`` or ``max`` over the tokens that ``keep_BT`` marks as real."""
    if kind == "max":
        return states_BTH.masked_fill(~keep_BT[:, :, None], -torch.inf).amax(dim=1)
    weight_BT = keep_BT.to(states_BTH.dtype)
    return torch.einsum("bth,bt->bh", states_BTH, weight_BT) / weight_BT.sum(dim=1, keepdim=True)


@torch.inference_mode()
def encode_texts(
    encoder: Layered,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    poolings: Sequence[Pooling],
    *,
    max_tokens: int,
    on_rows: Callable[[int], None] = lambda rows: None,
    tokens_per_batch: int = 4096,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return pooled states (N, len(poolings), H) and which texts (N,) were cut at ``max_tokens``.

    ``on_rows(n)`` is called after each batch with the number of rows it held. The tokenizer's own truncation and
    padding must be off; special tokens count towards ``max_tokens``.
    """
    return pool_texts(
        _pooler(encoder, poolings),
        tokenizer,
        texts,
        (len(poolings), encoder.config.hidden),
        pad_id=encoder.config.pad_id,
        max_tokens=max_tokens,
        on_rows=on_rows,
        tokens_per_batch=tokens_per_batch,
    )


def pool_texts(
    pooler: Pooler,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    shape: tuple[int, int],
    *,
    pad_id: int,
    max_tokens: int,
    on_rows: Callable[[int], None] = lambda rows: None,
    tokens_per_batch: int = 4096,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return what :func:`encode_texts` does, (N, *shape), from whatever pools a batch."""
    heads = [_shorten(text, max_tokens) for text in texts]
    encodings = tokenizer.encode_batch_fast(heads)
    unread = (len(head) < len(text) for head, text in zip(heads, texts, strict=True))
    cut = np.array([far or len(e.ids) > max_tokens for far, e in zip(unread, encodings, strict=True)], dtype=np.bool_)
    ids = [_truncate(e.ids, max_tokens) for e in encodings]
    pooled = np.empty((len(texts), *shape), dtype=np.float32)
    with one_thread(sum(map(len, ids)) <= _ONE_THREAD_TOKENS):
        for rows in _batches(ids, tokens_per_batch):
            pooled[rows] = pooler(*padded([ids[row] for row in rows], pad_id))
            on_rows(len(rows))
    return pooled, cut


@dataclass(frozen=True, slots=True)
class InContext:
    """A few words behind a text that says what they mean. They are read together; only the words are pooled."""

    ids: tuple[int, ...]
    own: tuple[int, int]
    """First token of the words, and the one behind their last."""


def in_context(tokenizer: Tokenizer, before: str, words: str, max_tokens: int) -> InContext:
    """Return ``words`` behind ``before``, which is cut where both are longer than ``max_tokens``; words keep half."""
    opening, *text, closing = tokenizer.encode(_shorten(before, max_tokens)).ids
    own = tokenizer.encode(_shorten(words, max_tokens), add_special_tokens=False).ids[: max_tokens // 2]
    text = text[: max_tokens - 2 - len(own)]
    start = 1 + len(text)
    return InContext((opening, *text, *own, closing), (start, start + len(own)))


def own_tokens(said: Sequence[InContext]) -> Tensor:
    """Return (B, T) True for the tokens to pool; all of them where the words have none."""
    own_BT = torch.zeros((len(said), max(len(one.ids) for one in said)), dtype=torch.bool)
    for at, one in enumerate(said):
        start, stop = one.own if one.own[0] < one.own[1] else (0, len(one.ids))
        own_BT[at, start:stop] = True
    return own_BT


@torch.inference_mode()
def encode_in_context(
    encoder: Layered, said: Sequence[InContext], pooling: Pooling, size: int = 64
) -> NDArray[np.float32]:
    """Return (len(said), H): the states of the words' own tokens, pooled."""
    device = next(encoder.parameters()).device
    found: list[Tensor] = []
    with one_thread(sum(len(one.ids) for one in said) <= _ONE_THREAD_TOKENS):
        for start in range(0, len(said), size):
            part = said[start : start + size]
            ids_BT, keep_BT = padded([one.ids for one in part], encoder.config.pad_id)
            states = encoder(ids_BT.to(device), keep_BT.to(device))[pooling.layer]
            found.append(pool(states, own_tokens(part).to(device), pooling.kind).cpu())
    return torch.cat(found).numpy()


_ONE_THREAD_TOKENS = 128
"""Of a short text: on one core 2 ms slower on an idle machine, 500 ms faster beside one other busy process."""


def padded(ids: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return token ids (B, T), filled up to the longest, and (B, T) True where a token is real."""
    longest = max(1, max(map(len, ids)))
    ids_BT = torch.full((len(ids), longest), pad_id, dtype=torch.long)
    keep_BT = torch.zeros((len(ids), longest), dtype=torch.bool)
    for at, row in enumerate(ids):
        ids_BT[at, : len(row)] = torch.tensor(row)
        keep_BT[at, : len(row)] = True
    return ids_BT, keep_BT


def _pooler(encoder: Layered, poolings: Sequence[Pooling]) -> Pooler:
    device = next(encoder.parameters()).device

    def pooled(ids_BT: Tensor, keep_BT: Tensor) -> NDArray[np.float32]:
        keep_BT = keep_BT.to(device)
        states = encoder(ids_BT.to(device), None if bool(keep_BT.all()) else keep_BT)
        blocks = [pool(states[pooling.layer], keep_BT, pooling.kind) for pooling in poolings]
        return torch.stack(blocks, dim=1).float().cpu().numpy()

    return pooled


def _shorten(text: str, max_tokens: int) -> str:
    # a token is at most a few dozen characters, so what lies far beyond cannot matter: tokenising it would only
    # cost time and memory (a cell of 50 MB is a real thing)
    return text[: max_tokens * 64]


def _truncate(ids: Sequence[int], max_tokens: int) -> Sequence[int]:
    return ids if len(ids) <= max_tokens else [*ids[: max_tokens - 1], ids[-1]]  # keeps the closing token
