"""What the frozen half of an encoder says of every text, computed once and kept in a folder.

An anchor changes the upper layers alone, so all that a training step needs from below are the states of one layer.

Dimension key:   N: texts   K: tokens of all texts   n: texts of a step   T: tokens   H: hidden width
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sartor.nn import branch
from sartor.nn.encoder import BertEncoder, InContext, own_tokens, padded, pool
from sartor.nn.text_base import POOLED, TextBase
from sartor.pretrain import kept
from sartor.types import Progress, silent

MAX_TOKENS = 64
"""Of a text in training; three texts in four of the public tasks are shorter than half of it."""
FROZEN = ("mid", "last", "peak")
"""Blocks of the frozen encoder that an episode's head sees beside the adapted ones."""
_TOKENS_A_BATCH = 4096
_TOKENS_A_CHUNK = 1024
_TEXTS_A_TURN = 2048


class States:
    """The table of texts that all tasks of a run share."""

    def __init__(self, encoder: BertEncoder, folder: Path) -> None:
        self.encoder = encoder
        self.offsets: NDArray[np.int64] = np.load(folder / "offsets.npy")
        self.states = np.load(folder / "states.npy", mmap_mode="r")
        """(K, H) float16."""
        self.frozen = np.load(folder / "frozen.npy", mmap_mode="r")
        """(N, len(FROZEN), H) float16, rows of length one."""

    def encode(self, texts: NDArray[np.int64], adapter: Mapping[str, Tensor]) -> Tensor:
        """Return (n, 2, H): mean and maximum of the adapted last layer, of length one; differentiable."""
        lengths = self.offsets[texts + 1] - self.offsets[texts]
        order = np.argsort(-lengths, kind="stable")  # texts of like length together: little padding
        parts: list[Tensor] = []
        start = 0
        while start < len(order):
            longest = int(lengths[order[start]])
            rows = order[start : start + max(1, _TOKENS_A_CHUNK // longest)]
            start += len(rows)
            states_nTH, keep_nT = self._padded(texts[rows], longest)
            with _half(states_nTH):
                found = branch.upper_states(
                    self.encoder, adapter, states_nTH, None if bool(keep_nT.all()) else keep_nT
                ).float()
            parts.append(
                torch.stack([functional.normalize(pool(found, keep_nT, k), dim=-1) for k in ("mean", "max")], 1)
            )
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        return torch.cat(parts)[torch.from_numpy(back).to(parts[0].device)]

    def encode_behind(self, said: Sequence[InContext], adapter: Mapping[str, Tensor]) -> Tensor:
        """Return (n, H): the mean of the adapted last layer over each one's own tokens, of length one; differentiable.

        These are texts of no table, so the layers below are run as well.
        """
        device = next(self.encoder.parameters()).device
        start = branch.first_layer(adapter)
        ids_nT, keep_nT = padded([one.ids for one in said], self.encoder.config.pad_id)
        own_nT, keep_nT = own_tokens(said).to(device), keep_nT.to(device)
        with torch.no_grad(), _half(keep_nT):
            below_nTH = self.encoder(ids_nT.to(device), keep_nT)[start]
        with _half(keep_nT):
            found = branch.upper_states(self.encoder, adapter, below_nTH, keep_nT)
        return functional.normalize(pool(found.float(), own_nT, "mean"), dim=-1)

    @torch.no_grad()
    def encode_all(self, texts: NDArray[np.int64], adapter: Mapping[str, Tensor]) -> Tensor:
        """Return (N, H): the mean of the adapted last layer of these texts, zeros for the others of the table."""
        device = next(self.encoder.parameters()).device
        found = torch.zeros((len(self.offsets) - 1, self.states.shape[1]), device=device)
        for part in np.array_split(texts, max(1, len(texts) // _TEXTS_A_TURN)):
            found[torch.from_numpy(part).to(device)] = self.encode(part, adapter)[:, 0]
        return found

    def _padded(self, texts: NDArray[np.int64], longest: int) -> tuple[Tensor, Tensor]:
        device = next(self.encoder.parameters()).device
        states_nTH = np.zeros((len(texts), longest, self.states.shape[1]), dtype=np.float32)
        keep_nT = np.zeros((len(texts), longest), dtype=bool)
        for at, text in enumerate(texts):
            part = self.states[self.offsets[text] : self.offsets[text + 1]]
            states_nTH[at, : len(part)] = part
            keep_nT[at, : len(part)] = True
        return torch.from_numpy(states_nTH).to(device), torch.from_numpy(keep_nT).to(device)


def _half(states: Tensor) -> torch.autocast:
    """Multiply in bfloat16: 2.2 times as fast on a core that can."""
    return torch.autocast(states.device.type, torch.bfloat16)


def prepare(base: TextBase, texts: Sequence[str], start: int, cache: Path, progress: Progress = silent) -> Path:
    """Compute the states of layer ``start`` of all texts, unless ``cache`` has them; return their folder."""
    told_by = [base.ref.sha256, base.prefix, start, MAX_TOKENS, *texts]
    return kept.once(cache, "states", told_by, lambda folder: _compute(base, texts, start, folder, progress))


@torch.inference_mode()
def _compute(base: TextBase, texts: Sequence[str], start: int, folder: Path, progress: Progress) -> None:
    encoded = base.tokenizer.encode_batch_fast([base.prefix + text[: MAX_TOKENS * 64] for text in texts])
    ids = [row.ids if len(row.ids) <= MAX_TOKENS else [*row.ids[: MAX_TOKENS - 1], row.ids[-1]] for row in encoded]
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    width = base.encoder.config.hidden
    states = np.lib.format.open_memmap(folder / "states.npy", "w+", np.float16, (int(offsets[-1]), width))
    frozen = np.zeros((len(ids), len(FROZEN), width), dtype=np.float16)
    poolings = [base.poolings[POOLED.index(name)] for name in FROZEN]
    order = np.argsort(-lengths, kind="stable")
    done = 0
    while done < len(order):
        rows = order[done : done + max(1, _TOKENS_A_BATCH // int(lengths[order[done]]))]
        ids_BT, keep_BT = padded([ids[row] for row in rows], base.encoder.config.pad_id)
        layers = base.encoder(ids_BT, keep_BT)
        for at, pooling in enumerate(poolings):
            pooled = functional.normalize(pool(layers[pooling.layer], keep_BT, pooling.kind), dim=-1)
            frozen[rows, at] = pooled.half().numpy()
        below = layers[start].half().numpy()
        for at, row in enumerate(rows):
            states[offsets[row] : offsets[row + 1]] = below[at, : lengths[row]]
        done += len(rows)
        progress("encode", done, len(order))
    states.flush()
    np.save(folder / "frozen.npy", frozen)
    np.save(folder / "offsets.npy", offsets)
