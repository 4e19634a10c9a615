"""Cells of a table to the numbers that a net reads: in training, for many tables at once.

What :mod:`sartor.nn.table_coder` does for one table of a user, with the same rules: missing cells stand at the mean and
are told by a column of their own, every column is standardised by the labelled rows, and cut at four deviations.

Dimension key:   B: tables   N: rows   D: columns   M: columns that say what is missing
"""

import torch
from torch import Tensor

from sartor.nn.table_net import LARGEST

_MOST_TOLD = 8
"""Columns whose gaps are told, those with most of them."""


def standardised(cells_BND: Tensor, present_BD: Tensor, support: int) -> tuple[Tensor, Tensor]:
    """Return cells (B, N, D + M) and which columns there are, told by the first ``support`` rows."""
    missing_BND = cells_BND.isnan()
    filled_BND = cells_BND.nan_to_num(0.0)
    known_BnD = (~missing_BND[:, :support]).to(filled_BND)
    count_B1D = known_BnD.sum(1, keepdim=True).clamp_min(1)
    mean_B1D = (filled_BND[:, :support] * known_BnD).sum(1, keepdim=True) / count_B1D
    centred_BND = (filled_BND - mean_B1D).masked_fill(missing_BND, 0.0)
    parts, exist = [centred_BND], [present_BD]
    share_BD = missing_BND[:, :support].float().mean(1)
    told = min(_MOST_TOLD, int((share_BD > 0).sum(1).max()))
    if told:
        most_BM = share_BD.topk(told, dim=1).indices
        gaps_BNM = missing_BND.to(filled_BND).gather(2, most_BM[:, None].expand(-1, cells_BND.shape[1], -1))
        parts.append(gaps_BNM - gaps_BNM[:, :support].mean(1, keepdim=True))
        exist.append(present_BD.gather(1, most_BM))
    every_BND = torch.cat(parts, -1)
    spread_B1D = every_BND[:, :support].square().mean(1, keepdim=True).sqrt()
    varies_B1D = spread_B1D > 1e-6
    cells = torch.where(varies_B1D, every_BND / spread_B1D.clamp_min(1e-6), torch.zeros_like(every_BND))
    exist_BD = torch.cat(exist, -1) & varies_B1D[:, 0]
    return cells.clamp(-LARGEST, LARGEST) * exist_BD[:, None], exist_BD
