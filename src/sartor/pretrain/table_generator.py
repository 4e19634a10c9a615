"""Training of the generator of tables: synthetic tables in, hidden layers out, held-out rows as judge.

Every step draws tables that were never seen before and never are again, so nothing can be learned by heart. The rows of
a table are split: from the first ones the net is generated and its head solved; the others say what that was worth.

Dimension key:   B: tables   N: rows   D: columns   C: outputs
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sartor.nn import ridge, table_code, table_generator, table_net
from sartor.nn.table_generator import Draws, Generated, Support, TableGenerator
from sartor.pretrain import run, table_prior
from sartor.pretrain.run import Look, Losses, Pace
from sartor.pretrain.table_prior import Prior

FIRST_PASS = 0.3
"""What the loss of the first pass counts beside that of the last."""
REGRESSION = 0.25
"""Share of steps whose tables have a value to foretell."""
_FAR = 3.0
"""Standard deviations beyond which an error counts linearly."""


@dataclass(frozen=True, slots=True)
class Dial:
    """How much is trained."""

    pace: Pace
    tables: int
    """Of a step."""
    cells: int
    """Rows times columns of one table, about."""
    width: int = 64
    layers: int = 3
    watched: int = 12
    """Steps' worth of tables that are looked at."""


CPU = Dial(Pace(steps=12_000, rate=2e-3, warm_up=200, every=250), tables=16, cells=8_000)
GPU = Dial(Pace(steps=20_000, rate=1e-3, warm_up=500, every=1_000), tables=512, cells=16_000, width=128, layers=5)


@dataclass(frozen=True, slots=True)
class Size:
    """Of the tables of one step."""

    rows: int
    support: int
    columns: int

    @classmethod
    def draw(cls, random: np.random.Generator, cells: int) -> "Size":
        """Return few or many rows of few or many columns: both log-uniform, their product bounded."""
        columns = int(np.exp(random.uniform(np.log(2), np.log(48))))
        most = min(640, cells // columns + 64)
        rows = int(np.exp(random.uniform(np.log(48), np.log(most))))
        return cls(rows, int(rows * random.uniform(0.35, 0.8)), columns)


@dataclass(frozen=True, slots=True)
class TableLesson:
    """Tables, each foretold by the net that its first rows gave."""

    generator: TableGenerator
    dial: Dial
    prior: Prior
    device: str = "cpu"

    @property
    def weights(self) -> Mapping[str, float]:
        """Return what each loss counts."""
        return {"classes": 1.0, "values": 1.0, "first": FIRST_PASS}

    def learn(self, parameters: Mapping[str, Tensor], random: np.random.Generator) -> Losses:
        """Return the losses of a step's tables: of classes or of values, and of the first pass of either."""
        regression = bool(random.random() < REGRESSION)
        tables, size, seed = self._draw(random, regression)
        first, last = self._losses(tables, size, seed, parameters)
        zero = last * 0
        return {"classes": zero if regression else last, "values": last if regression else zero, "first": first}

    def watch(self, parameters: Mapping[str, Tensor]) -> Losses:
        """Return the mean losses of the same tables every time, beside those of the floor."""
        random = np.random.default_rng(2**31)
        found: dict[str, list[Tensor]] = {}
        for at in range(self.dial.watched):
            regression = at % 3 == 2
            tables, size, seed = self._draw(random, regression)
            kind = "values" if regression else "classes"
            support, rows = _support(tables, size)
            plain = table_generator.floor(support, Draws.of(*support.present_BD.shape, seed=seed, device=self.device))
            found.setdefault(kind, []).append(self._losses(tables, size, seed, parameters)[1])
            found.setdefault(f"{kind}, floor", []).append(_loss(plain, support, rows, tables, size))
        return {name: torch.stack(losses).mean() for name, losses in found.items()}

    def _draw(self, random: np.random.Generator, regression: bool) -> tuple[table_prior.Tables, Size, int]:
        size = Size.draw(random, self.dial.cells)
        seed = int(random.integers(2**31))
        drawn = torch.Generator(self.device).manual_seed(seed)
        tables = table_prior.draw(
            self.prior,
            sets=self.dial.tables,
            rows=size.rows,
            columns=size.columns,
            regression=regression,
            generator=drawn,
            fitted=size.support,
            device=self.device,
        )
        return tables, size, seed

    def _losses(
        self, tables: table_prior.Tables, size: Size, seed: int, parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        support, rows = _support(tables, size)
        draws = Draws.of(*support.present_BD.shape, seed=seed, device=self.device)
        passes = table_generator.generate(self.generator, support, draws, parameters)
        losses = [_loss(made, support, rows, tables, size) for made in passes]
        return torch.stack(losses[:-1]).mean(), losses[-1]


def _support(tables: table_prior.Tables, size: Size) -> tuple[Support, Tensor]:
    """Return the labelled rows, and the cells of all rows, coded by the labelled ones."""
    cells_BND, present_BD = table_code.standardised(tables.cells_BND, tables.present_BD, size.support)
    targets_BNC = _coded(tables, size.support)
    support = Support(cells_BND[:, : size.support], present_BD, targets_BNC[:, : size.support], tables.classes_B)
    return support, cells_BND


def _coded(tables: table_prior.Tables, support: int) -> Tensor:
    """Return (B, N, C) one-hot classes, or values standardised by the labelled rows."""
    if tables.targets_BN.is_floating_point():
        known_BN = tables.targets_BN[:, :support]
        mean_B1, spread_B1 = known_BN.mean(1, keepdim=True), known_BN.std(1, keepdim=True).clamp_min(1e-6)
        return ((tables.targets_BN - mean_B1) / spread_B1)[..., None]
    return torch.nn.functional.one_hot(tables.targets_BN, int(tables.classes_B.max())).float()


def _loss(made: Generated, support: Support, cells_BND: Tensor, tables: table_prior.Tables, size: Size) -> Tensor:
    """Return the mean loss of the other rows: cross-entropy of classes, Huber's of values."""
    features_BNF = table_net.features(made.hidden, cells_BND)
    head = ridge.solve(features_BNF[:, : size.support], support.targets_BNC, made.penalty_B)
    scores_BNC = head(features_BNF[:, size.support :])
    if tables.targets_BN.is_floating_point():
        wanted_BNC = _coded(tables, size.support)[:, size.support :].clamp(-10, 10)
        return torch.nn.functional.smooth_l1_loss(scores_BNC, wanted_BNC, beta=_FAR) * _FAR * 2
    # classes that a table does not have are no answer
    absent_BC = torch.arange(scores_BNC.shape[-1], device=scores_BNC.device) >= tables.classes_B[:, None]
    logits_BNC = table_generator.logits(scores_BNC, made.warmth_B2).masked_fill(absent_BC[:, None], -1e9)
    return torch.nn.functional.cross_entropy(logits_BNC.flatten(0, 1), tables.targets_BN[:, size.support :].flatten())


def train(lesson: TableLesson, folder: Path, *, seed: int, on_look: Callable[[Look], None]) -> dict[str, Tensor]:
    """Return the generator's weights; go on from ``folder`` if a run lies there."""
    start = {name: tensor.detach() for name, tensor in lesson.generator.named_parameters()}
    return run.descend(lesson, start, lesson.dial.pace, folder, seed=seed, on_look=on_look)
