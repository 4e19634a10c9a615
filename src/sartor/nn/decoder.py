"""A frozen Llama-shaped decoder in plain torch, with low-rank ways around its linear layers.

Llama (https://arxiv.org/abs/2302.13971), section 2.2: RMSNorm before each half of a layer
(https://arxiv.org/abs/1910.07467), SwiGLU (https://arxiv.org/abs/2002.05202), rotary positions
(https://arxiv.org/abs/2104.09864); grouped queries (https://arxiv.org/abs/2305.13245). Qwen2 adds biases to queries,
keys and values, Qwen3 an RMSNorm to each head's queries and keys. Parameter names are those of the hub's checkpoints,
so one loads as it is. Why not the ecosystem's own class: importing it takes four seconds, it has no adapter of its own
for each row of a batch, and training wants the lower, unadapted layers computed once. A test holds both to the same
numbers.

LoRA (https://arxiv.org/abs/2106.09685): y = x W^T + (x A^T) B^T, without the paper's factor alpha / r, which is one
here: any scale lies in B.

Dimension key:   B: rows of a batch   T: new tokens   S: tokens in all, those in the cache too   H: hidden width
                 A: query heads   K: key and value heads   D: head width   V: vocabulary
                 G: adapters, B or 1   r: rank   I: inputs of a linear layer   O: its outputs
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from sartor.errors import AssetError, BundleError, TaskError, did_you_mean

Adapters: TypeAlias = Mapping[str, tuple[Tensor, Tensor]]
"""Module path of a linear layer -> A (G, r, I), B (G, O, r). G = B gives each row its own, G = 1 all the same."""

_LAYERS = "model.layers."
_KNOWN = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The shape of a decoder."""

    vocab_size: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    """Query heads share keys and values in ``kv_heads`` groups."""
    head_dim: int
    intermediate: int
    max_positions: int
    """Longest text, in tokens, that the base was made for."""
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    tied: bool = False
    """The output layer is the token table."""
    qkv_bias: bool = False
    qk_norm: bool = False

    @classmethod
    def from_hub(cls, config: Mapping[str, Any]) -> "DecoderConfig":
        """Return the shape that a hub's ``config.json`` tells.

        Raises:
            AssetError: if it is of another architecture, or asks for something that this module does not do.
        """
        kind = config.get("model_type")
        if kind not in _KNOWN:
            raise AssetError(
                f"The base is of type {kind!r}; a decoder can be {', '.join(_KNOWN)}. Choose another base."
            )
        _refuse_unsupported(config)
        try:
            hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
            # old files of Llama leave them out
            groups = config.get("num_key_value_heads", heads) if kind == "llama" else config["num_key_value_heads"]
            found = cls(
                vocab_size=int(config["vocab_size"]),
                hidden=hidden,
                layers=int(config["num_hidden_layers"]),
                heads=heads,
                kv_heads=int(groups or heads),
                head_dim=int(config.get("head_dim") or hidden // heads),
                intermediate=int(config["intermediate_size"]),
                max_positions=int(config["max_position_embeddings"]),
                rms_norm_eps=float(config.get("rms_norm_eps", 1e-6)),
                rope_theta=float(_rope(config).get("rope_theta", config.get("rope_theta", 10_000.0))),
                tied=bool(config.get("tie_word_embeddings", False)),
                qkv_bias=kind == "qwen2",
                qk_norm=kind == "qwen3",
            )
        except (LookupError, TypeError, ValueError, ZeroDivisionError) as error:
            raise AssetError(
                f"The base's config.json is not complete: {type(error).__name__}, {error}. Fetch the base again."
            ) from error
        if found.heads % found.kv_heads or found.head_dim % 2:
            raise AssetError(
                f"The base's config.json has {found.heads} heads in {found.kv_heads} groups of width {found.head_dim}; "
                "groups must be equal and the width even. Fetch the base again."
            )
        return found


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    # newer files have all of it in rope_parameters, older ones the scaling in rope_scaling
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def _refuse_unsupported(config: Mapping[str, Any]) -> None:
    kind = config["model_type"]
    rope = _rope(config)
    # Qwen's files name a window and then switch it off
    window = config.get("sliding_window") if config.get("use_sliding_window", kind == "mistral") else None
    other_layers = set(config.get("layer_types") or ()) - {"full_attention"}
    scaled = rope.get("rope_type") or rope.get("type") or "default"
    asked = {
        f"a sliding window of {window}": bool(window),
        f"layers of {', '.join(sorted(other_layers))}": bool(other_layers),
        f"positions scaled by {scaled!r}": scaled != "default",
        "rotary positions for a part of a head": _rotates_a_part(rope, config),
        f"the activation {config.get('hidden_act')!r}": config.get("hidden_act", "silu") != "silu",
        "biases in its attention": kind != "qwen2" and bool(config.get("attention_bias")),
        "biases in its feed-forward layers": bool(config.get("mlp_bias")),
    }
    if any(asked.values()):
        wanted = ", ".join(what for what, is_asked in asked.items() if is_asked)
        raise AssetError(
            f"The base needs {wanted}, which this decoder does not have. It knows full attention, plain rotary "
            "positions and SwiGLU. Choose another base."
        )


def _rotates_a_part(rope: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    return (rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0) != 1.0


# --- the cache ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Cache:
    """Keys and values of the tokens read so far. :class:`Decoder` writes into it and moves ``length`` on."""

    keys: list[Tensor]
    """Of each layer, (B, K, capacity, D)."""
    values: list[Tensor]
    keep_BS: Tensor | None = None
    """(B, capacity), True for real tokens; None as long as there was no padding."""
    length: int = 0

    @classmethod
    def empty(
        cls, config: DecoderConfig, rows: int, capacity: int, *, device: torch.device, dtype: torch.dtype
    ) -> "Cache":
        """Return a cache with room for ``capacity`` tokens of ``rows`` rows."""
        shape = (rows, config.kv_heads, capacity, config.head_dim)

        def room() -> list[Tensor]:
            return [torch.empty(shape, device=device, dtype=dtype) for _ in range(config.layers)]

        return cls(room(), room())

    def rows(self, kept: Tensor) -> "Cache":
        """Return a cache of some rows, by their numbers."""
        keep_BS = None if self.keep_BS is None else self.keep_BS[kept]
        return Cache([k[kept] for k in self.keys], [v[kept] for v in self.values], keep_BS, self.length)

    def _keep(self, keep_BT: Tensor | None, rows: int, new: int, device: torch.device) -> Tensor | None:
        """Note which of the ``new`` tokens are real; return (B, S), or None when all are."""
        stop = self.length + new
        if stop > self.keys[0].shape[2]:
            raise ValueError(f"the cache has room for {self.keys[0].shape[2]} tokens, not for {stop}")
        if self.keep_BS is None:
            if keep_BT is None:
                return None
            self.keep_BS = torch.ones((rows, self.keys[0].shape[2]), dtype=torch.bool, device=device)
        self.keep_BS[:, self.length : stop] = True if keep_BT is None else keep_BT
        return self.keep_BS[:, :stop]

    def _append(self, layer: int, key_BKTD: Tensor, value_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        """Write one layer's new keys and values; return all of its, (B, K, S, D)."""
        stop = self.length + key_BKTD.shape[2]
        self.keys[layer][:, :, self.length : stop] = key_BKTD
        self.values[layer][:, :, self.length : stop] = value_BKTD
        return self.keys[layer][:, :, :stop], self.values[layer][:, :, :stop]


# --- the modules -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Run:
    """What all layers of one pass share."""

    cos_BTD: Tensor
    sin_BTD: Tensor
    """With a minus in its first half; B may be 1, and both have an axis for heads."""
    mask_BTS: Tensor | None
    """True where a token may look; with an axis for heads. None: wherever causality lets it."""
    causal: bool
    cache: Cache | None


@dataclass(frozen=True, slots=True)
class _Around:
    """The adapters of one layer, by the last parts of their paths."""

    pairs: dict[str, tuple[Tensor, Tensor]]

    def __call__(self, path: str, linear: nn.Linear, x: Tensor) -> Tensor:
        """Return ``linear(x)`` with the low-rank way around it, where there is one."""
        straight = linear(x)
        if path not in self.pairs:
            return straight
        a_GrI, b_GOr = (factor.to(x.dtype) for factor in self.pairs[path])
        if len(a_GrI) == 1:  # one large product instead of B small ones
            return straight + functional.linear(functional.linear(x, a_GrI[0]), b_GOr[0])
        return straight + x @ a_GrI.mT @ b_GOr.mT


class _HeadNorm(nn.RMSNorm):
    @override
    def forward(self, x: Tensor) -> Tensor:
        # under autocast heads come in less precision than the weights have
        return functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class _Attention(nn.Module):
    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        hidden, width, bias = config.hidden, config.head_dim, config.qkv_bias
        self.q_proj = nn.Linear(hidden, config.heads * width, bias=bias)
        self.k_proj = nn.Linear(hidden, config.kv_heads * width, bias=bias)
        self.v_proj = nn.Linear(hidden, config.kv_heads * width, bias=bias)
        self.o_proj = nn.Linear(config.heads * width, hidden, bias=False)
        if config.qk_norm:
            self.q_norm = _HeadNorm(width, eps=config.rms_norm_eps)
            self.k_norm = _HeadNorm(width, eps=config.rms_norm_eps)

    @override
    def forward(self, states_BTH: Tensor, run: _Run, around: _Around) -> Tensor:
        def split(projected_BTO: Tensor) -> Tensor:
            return projected_BTO.unflatten(-1, (-1, self.config.head_dim))  # B T heads D

        query_BTAD = split(around("self_attn.q_proj", self.q_proj, states_BTH))
        key_BTKD = split(around("self_attn.k_proj", self.k_proj, states_BTH))
        value_BKTD = split(around("self_attn.v_proj", self.v_proj, states_BTH)).transpose(1, 2)
        if self.config.qk_norm:
            query_BTAD, key_BTKD = self.q_norm(query_BTAD), self.k_norm(key_BTKD)
        query_BATD = _rotated(query_BTAD.transpose(1, 2), run, value_BKTD.dtype)
        key_BKSD = _rotated(key_BTKD.transpose(1, 2), run, value_BKTD.dtype)
        value_BKSD = value_BKTD
        if run.cache is not None:
            key_BKSD, value_BKSD = run.cache._append(self.layer, key_BKSD, value_BKTD)
        mixed_BATD = functional.scaled_dot_product_attention(
            query_BATD, key_BKSD, value_BKSD, attn_mask=run.mask_BTS, is_causal=run.causal, enable_gqa=True
        )
        return around("self_attn.o_proj", self.o_proj, mixed_BATD.transpose(1, 2).flatten(-2))


def _rotated(heads: Tensor, run: _Run, dtype: torch.dtype) -> Tensor:
    """Turn each pair (d, d + D/2) by its position's angle: the hub's layout, halves and not neighbours."""
    first, second = heads.chunk(2, dim=-1)
    return (heads * run.cos_BTD + torch.cat((second, first), dim=-1) * run.sin_BTD).to(dtype)


class _FeedForward(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.down_proj = nn.Linear(config.intermediate, config.hidden, bias=False)

    @override
    def forward(self, states_BTH: Tensor, around: _Around) -> Tensor:
        gate = functional.silu(around("mlp.gate_proj", self.gate_proj, states_BTH))
        return around("mlp.down_proj", self.down_proj, gate * around("mlp.up_proj", self.up_proj, states_BTH))


class _Layer(nn.Module):
    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = _Attention(config, layer)
        self.mlp = _FeedForward(config)
        self.input_layernorm = nn.RMSNorm(config.hidden, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden, eps=config.rms_norm_eps)

    @override
    def forward(self, states_BTH: Tensor, run: _Run, around: _Around) -> Tensor:
        attended_BTH = states_BTH + self.self_attn(self.input_layernorm(states_BTH), run, around)
        return attended_BTH + self.mlp(self.post_attention_layernorm(attended_BTH), around)


class _Model(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        # the usual random start would, on the meta device, import a compiler: one second, for values never used
        table = torch.empty(config.vocab_size, config.hidden)
        self.embed_tokens = nn.Embedding.from_pretrained(table, freeze=False)
        self.layers = nn.ModuleList(_Layer(config, layer) for layer in range(config.layers))
        self.norm = nn.RMSNorm(config.hidden, eps=config.rms_norm_eps)


class Decoder(nn.Module):
    """Token ids to the last hidden states, and those to logits."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.model = _Model(config)
        if not config.tied:
            self.lm_head = nn.Linear(config.hidden, config.vocab_size, bias=False)

    @override
    def forward(
        self,
        ids_BT: Tensor,
        keep_BT: Tensor | None = None,
        *,
        adapters: Adapters | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the last states (B, T, H), behind the final norm.

        States of padding are of no meaning, whatever side it is on. Positions count from a row's first real token.

        Args:
            ids_BT: token ids; with a cache only the new ones.
            keep_BT: True for real tokens, False for padding; None when there is no padding.
            adapters: low-rank ways around linear layers; the result is differentiable in them.
            cache: what was read before; the new tokens are added to it.

        Raises:
            BundleError: if an adapter does not fit.
        """
        embedded = self.model.embed_tokens(ids_BT)
        return self.model.norm(self._through(embedded, keep_BT, range(self.config.layers), adapters, cache))

    def below(self, ids_BT: Tensor, keep_BT: Tensor | None, layer: int) -> Tensor:
        """Return the states (B, T, H) that enter ``layer``: 0 is the first one, ``config.layers`` the final norm."""
        return self._through(self.model.embed_tokens(ids_BT), keep_BT, range(self._number(layer)), None, None)

    def above(
        self, states_BTH: Tensor, keep_BT: Tensor | None, *, layer: int, adapters: Adapters | None = None
    ) -> Tensor:
        """Return the last states (B, T, H), behind the final norm, from those that enter ``layer``.

        Raises:
            BundleError: if an adapter does not fit, or is of a layer below.
        """
        layers = range(self._number(layer), self.config.layers)
        return self.model.norm(self._through(states_BTH, keep_BT, layers, adapters, None))

    def logits(self, states: Tensor) -> Tensor:
        """Return (…, V) for last states (…, H)."""
        return functional.linear(states, (self.model.embed_tokens if self.config.tied else self.lm_head).weight)

    def _number(self, layer: int) -> int:
        if not 0 <= layer <= self.config.layers:
            raise ValueError(f"layer {layer}: the decoder has 0 to {self.config.layers}")
        return layer

    def _through(
        self,
        states_BTH: Tensor,
        keep_BT: Tensor | None,
        layers: range,
        adapters: Adapters | None,
        cache: Cache | None,
    ) -> Tensor:
        around = _by_layer(self.config, adapters or {}, layers, len(states_BTH))
        run = _run(self.config, states_BTH, keep_BT, cache)
        for layer in layers:
            states_BTH = self.model.layers[layer](states_BTH, run, around[layer])
        if cache is not None:
            cache.length += states_BTH.shape[1]
        return states_BTH


def _run(config: DecoderConfig, states_BTH: Tensor, keep_BT: Tensor | None, cache: Cache | None) -> _Run:
    rows, new = states_BTH.shape[:2]
    device = states_BTH.device
    before = 0 if cache is None else cache.length
    keep_BS = keep_BT if cache is None else cache._keep(keep_BT, rows, new, device)
    if keep_BS is None:
        positions_BT = torch.arange(before, before + new, device=device)[None]
    else:
        positions_BT = (keep_BS.cumsum(dim=1) - 1)[:, before:].clamp(min=0)
    half = torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float32) / config.head_dim
    angles = positions_BT[:, None, :, None] * config.rope_theta**-half
    cos, sin = angles.cos(), angles.sin()
    mask_BTS = _mask(keep_BS, before, new, device)
    return _Run(
        cos_BTD=torch.cat((cos, cos), dim=-1).to(states_BTH.dtype),
        sin_BTD=torch.cat((-sin, sin), dim=-1).to(states_BTH.dtype),
        mask_BTS=mask_BTS,
        causal=mask_BTS is None and new > 1,
        cache=cache,
    )


def _mask(keep_BS: Tensor | None, before: int, new: int, device: torch.device) -> Tensor | None:
    """Return (B, 1, T, S): a token sees itself and the real ones before it. None where torch knows it itself."""
    if keep_BS is None and (before == 0 or new == 1):
        return None
    itself_TS = torch.ones(new, before + new, dtype=torch.bool, device=device).tril(before)
    if keep_BS is None:
        return itself_TS[None, None]
    # padding sees itself too: a softmax over nothing is not a number, and would spread from layer to layer
    diagonal_TS = itself_TS & ~itself_TS.tril(-1 + before)
    return ((itself_TS & keep_BS[:, None, :]) | diagonal_TS)[:, None]


# --- adapters ----------------------------------------------------------------------------------------------


def sites(decoder: Decoder, targets: Collection[str] | None = None) -> dict[str, tuple[int, int]]:
    """Return the module path of every linear layer -> (O, I), the shape of its weight, in the decoder's order.

    The output layer is not among them.

    Args:
        decoder: whose layers.
        targets: the last parts of module paths, as ``q_proj`` or ``mlp.up_proj``; None is every linear layer.

    Raises:
        TaskError: if a target names no linear layer.
    """
    inner = _inner_sites(decoder.config)
    for target in targets or ():
        if not any(_ends_in(path, target) for path in inner):
            lasts = [path.rpartition(".")[2] for path in inner]
            raise TaskError(
                f"No linear layer ends in {target!r}.{did_you_mean(target, [*lasts, *inner])} Each layer of the "
                f"decoder has {', '.join(inner)}."
            )
    return {
        f"{_LAYERS}{layer}.{path}": shape
        for layer in range(decoder.config.layers)
        for path, shape in inner.items()
        if targets is None or any(_ends_in(path, target) for target in targets)
    }


def _inner_sites(config: DecoderConfig) -> dict[str, tuple[int, int]]:
    hidden, wide = config.hidden, config.intermediate
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    return {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (wide, hidden),
        "mlp.up_proj": (wide, hidden),
        "mlp.down_proj": (hidden, wide),
    }


def _ends_in(path: str, target: str) -> bool:
    return f".{path}".endswith(f".{target}")


def _by_layer(config: DecoderConfig, adapters: Adapters, layers: range, rows: int) -> Mapping[int, _Around]:
    """Return layer -> its adapters, checked: one that does not fit must not pass for the base."""
    found = {layer: _Around({}) for layer in layers}
    known = {f"{layer}.{path}": (layer, path) for layer in range(config.layers) for path in _inner_sites(config)}
    for path, (a_GrI, b_GOr) in adapters.items():
        layer, inner = known.get(path.removeprefix(_LAYERS), (-1, ""))
        if layer < 0 or not path.startswith(_LAYERS):
            raise BundleError(
                f"The adapter does not fit this decoder: it has no linear layer {path!r}. Give an adapter that was "
                "made for this base."
            )
        if layer not in found:
            raise BundleError(
                f"The adapter has a part at {path!r}, and only layers from {layers.start} on are computed here. Give "
                "an adapter of these layers."
            )
        _check(path, a_GrI, b_GOr, _inner_sites(config)[inner], rows)
        found[layer].pairs[inner] = (a_GrI, b_GOr)
    return found


def _check(path: str, a_GrI: Tensor, b_GOr: Tensor, shape: tuple[int, int], rows: int) -> None:
    outputs, inputs = shape
    groups, rank = tuple(a_GrI.shape[:2]) if a_GrI.ndim == 3 else (0, 0)
    fits = a_GrI.shape == (groups, rank, inputs) and b_GOr.shape == (groups, outputs, rank)
    if not fits or groups not in (1, rows) or not rank:
        raise BundleError(
            f"The adapter does not fit this decoder at {path!r}: A {tuple(a_GrI.shape)} and B {tuple(b_GOr.shape)} for "
            f"a weight of {shape} and {rows} rows; wanted are (G, r, {inputs}) and (G, {outputs}, r) with G 1 or "
            f"{rows}. Give an adapter that was made for this base."
        )


def rows_of(adapters: Adapters, kept: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the adapters of some rows, by their numbers; those that all rows share stay as they are."""

    def some(factor: Tensor) -> Tensor:
        return factor if len(factor) == 1 else factor[kept]

    return {path: (some(a_GrI), some(b_GOr)) for path, (a_GrI, b_GOr) in adapters.items()}


# --- loading -----------------------------------------------------------------------------------------------


def load_decoder(
    config: DecoderConfig, weights: Path, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Decoder:
    """Return a frozen decoder with the weights of a safetensors file.

    Raises:
        AssetError: if the file lacks a weight, or has it in another shape.
    """
    with torch.device("meta"):  # no time spent on initial values that are overwritten
        decoder = Decoder(config)
    wanted = decoder.state_dict()
    stored = load_file(weights)
    wrong = [name for name, empty in wanted.items() if name not in stored or stored[name].shape != empty.shape]
    if wrong:
        raise AssetError(
            f"{weights} does not hold the weights that its config.json tells of. Missing or of another shape: "
            f"{_some(wrong)}. Fetch the base again."
        )
    decoder.load_state_dict({name: stored[name].to(device, dtype) for name in wanted}, assign=True)
    return decoder.eval().requires_grad_(False)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
