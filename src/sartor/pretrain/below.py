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
from sartor.nn.teacher_forcing import Written
from sartor.pretrain import kept
from sartor.types import Progress, silent

_TOKENS_A_BATCH = 2048


class Below:
    """The table of rows that a run draws from."""

    def __init__(self, rows: Sequence[Written], folder: Path, device: torch.device) -> None:
        self.place = {row.ids: at for at, row in enumerate(rows)}
        self.offsets: np.ndarray = np.load(folder / "offsets.npy")
        self.states = np.load(folder / "states.npy", mmap_mode="r")
        """(K, H) float16."""
        self.device = device

    def __call__(self, rows: Sequence[Written]) -> Tensor:
        """Return (B, T, H), filled up on the right with zeros.

        Raises:
            KeyError: if a row is not of the table.
        """
        longest = max(len(row.ids) for row in rows)
        found = np.zeros((len(rows), longest, self.states.shape[1]), dtype=np.float32)
        for at, row in enumerate(rows):
            place = self.place[row.ids]
            found[at, : len(row.ids)] = self.states[self.offsets[place] : self.offsets[place + 1]]
        return torch.from_numpy(found).to(self.device)


def prepare(
    model: LanguageModel, rows: Iterable[Written], layer: int, cache: Path, progress: Progress = silent
) -> Below:
    """Return the states that enter ``layer``, computed unless ``cache`` has them."""
    table = sorted(set(rows), key=lambda row: row.ids)
    told_by = [model.spec.sha256, layer, *(row.ids for row in table)]
    folder = kept.once(cache, "below", told_by, lambda folder: _compute(model, table, layer, folder, progress))
    return Below(table, folder, model.device)


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
