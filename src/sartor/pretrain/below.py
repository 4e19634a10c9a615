"""What the frozen layers below the lowest adapter say of every row, computed once and kept in a folder.

A training step then computes the upper layers alone. That pays where few rows are seen often (the ``cpu`` dial), and
again for every other head and every other seed on the same rows.

Dimension key:   K: tokens of all rows   B: rows of a step   T: tokens   H: hidden width
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sartor.nn.encoder import padded
from sartor.nn.language import LanguageModel
from sartor.nn.teacher_forcing import Batch, Written, below
from sartor.pretrain import kept
from sartor.types import Progress, silent

_TOKENS_A_BATCH = 2048


class Below:
    """The table of rows that a run draws from."""

    def __init__(self, model: LanguageModel, rows: Sequence[Written], layer: int, folder: Path) -> None:
        self.model, self.layer = model, layer
        self.place = {row.ids: at for at, row in enumerate(rows)}
        self.offsets: np.ndarray = np.load(folder / "offsets.npy")
        self.states = np.load(folder / "states.npy", mmap_mode="r")
        """(K, H) float16."""

    def __call__(self, rows: Sequence[Written]) -> Tensor:
        """Return (B, T, H), filled up on the right with zeros; rows that are not of the table are computed now."""
        longest = max(len(row.ids) for row in rows)
        found = np.zeros((len(rows), longest, self.states.shape[1]), dtype=np.float32)
        new = [at for at, row in enumerate(rows) if row.ids not in self.place]
        for at, row in enumerate(rows):
            if row.ids in self.place:
                place = self.place[row.ids]
                found[at, : len(row.ids)] = self.states[self.offsets[place] : self.offsets[place + 1]]
        states_BTH = torch.from_numpy(found).to(self.model.device)
        if new:
            batch = Batch.of([rows[at] for at in new], self.model.device)
            computed = below(self.model, batch, self.layer).float() * batch.keep_BT[..., None]
            states_BTH[new, : computed.shape[1]] = computed
        return states_BTH


def prepare(
    model: LanguageModel, rows: Iterable[Written], layer: int, cache: Path, progress: Progress = silent
) -> Below:
    """Return the states that enter ``layer``, computed unless ``cache`` has them."""
    table = sorted(set(rows), key=lambda row: row.ids)
    told_by = [model.spec.sha256, layer, *(row.ids for row in table)]
    folder = kept.once(cache, "below", told_by, lambda folder: _compute(model, table, layer, folder, progress))
    return Below(model, table, layer, folder)


@torch.inference_mode()
def _compute(model: LanguageModel, rows: Sequence[Written], layer: int, folder: Path, progress: Progress) -> None:
    device = model.device
    lengths = np.array([len(row.ids) for row in rows], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    shape = (int(offsets[-1]), model.decoder.config.hidden)
    states = np.lib.format.open_memmap(folder / "states.npy", "w+", np.float16, shape)
    order = np.argsort(-lengths, kind="stable")
    done = 0
    while done < len(order):
        part = order[done : done + max(1, _TOKENS_A_BATCH // int(lengths[order[done]]))]
        ids_BT, keep_BT = padded([rows[at].ids for at in part], 0)
        with torch.autocast(device.type, torch.bfloat16):
            found = model.decoder.below(ids_BT.to(device), keep_BT.to(device), layer)
        for at, place in enumerate(part):
            states[offsets[place] : offsets[place + 1]] = found[at, : lengths[place]].half().cpu().numpy()
        done += len(part)
        progress("layers below", done, len(order))
    states.flush()
    np.save(folder / "offsets.npy", offsets)
