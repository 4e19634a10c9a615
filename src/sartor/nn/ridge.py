"""Ridge regression of many small problems at once, with what each row would be told had it been left out.

The leave-one-out identity e_i / (1 - h_i) of Golub, Heath and Wahba 1979 (Technometrics 21, section 2). A penalty is
given relative to the mean squared length of a centred row, so that 1 means as much noise as signal whatever the
features are. The intercept is not penalised.

Dimension key:   B: problems   N: rows   F: features   C: outputs   L: penalties
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST = 1e-12
"""Of a row's squared length, and of what a row leaves to the others."""
_ROUNDINGS = 8
"""By how many last digits of its largest entry a Gram matrix may be wrong in a direction."""


@dataclass(frozen=True, slots=True)
class Head:
    """A linear head: scores are ``features @ weight_BFC + bias_BC``."""

    weight_BFC: Tensor
    bias_BC: Tensor

    def __call__(self, features_BNF: Tensor) -> Tensor:
        """Return (B, N, C) scores."""
        return features_BNF @ self.weight_BFC + self.bias_BC[:, None]


def solve(features_BNF: Tensor, targets_BNC: Tensor, penalty_B: Tensor) -> Head:
    """Return the heads that fit best under a penalty; through the smaller of rows and features."""
    mean_B1F, mean_B1C = features_BNF.mean(1, keepdim=True), targets_BNC.mean(1, keepdim=True)
    x_BNF, y_BNC = features_BNF - mean_B1F, targets_BNC - mean_B1C
    root_BKK = _root(x_BNF, penalty_B)
    if x_BNF.shape[2] <= x_BNF.shape[1]:
        weight_BFC = torch.cholesky_solve(x_BNF.mT @ y_BNC, root_BKK)
    else:
        weight_BFC = x_BNF.mT @ torch.cholesky_solve(y_BNC, root_BKK)
    return Head(weight_BFC, (mean_B1C - mean_B1F @ weight_BFC)[:, 0])


def left_out(features_BNF: Tensor, targets_BNC: Tensor, penalty_B: Tensor) -> Tensor:
    """Return (B, N, C) the scores of each row by the head of all other rows, under one penalty."""
    mean_B1C = targets_BNC.mean(1, keepdim=True)
    x_BNF, y_BNC = features_BNF - features_BNF.mean(1, keepdim=True), targets_BNC - mean_B1C
    n = x_BNF.shape[1]
    root_BKK = _root(x_BNF, penalty_B)
    if x_BNF.shape[2] <= n:
        whitened_BFN = torch.linalg.solve_triangular(root_BKK, x_BNF.mT, upper=False)
        fitted_BNC = whitened_BFN.mT @ (whitened_BFN @ y_BNC)
        leverage_BN = whitened_BFN.square().sum(1)
    else:
        added_B11 = _added(x_BNF, penalty_B)
        inverse_BNN = torch.cholesky_inverse(root_BKK)
        fitted_BNC = y_BNC - added_B11 * (inverse_BNN @ y_BNC)
        leverage_BN = 1 - added_B11[..., 0] * inverse_BNN.diagonal(dim1=1, dim2=2)
    free_BN1 = (1 - leverage_BN - 1 / n).clamp_min(1e-4)[..., None]
    return targets_BNC - (y_BNC - fitted_BNC) / free_BN1


def _root(x_BNF: Tensor, penalty_B: Tensor) -> Tensor:
    """Return the Cholesky factor of the penalised Gram matrix, of features or of rows, whichever are fewer."""
    gram_BKK = x_BNF.mT @ x_BNF if x_BNF.shape[2] <= x_BNF.shape[1] else x_BNF @ x_BNF.mT
    return torch.linalg.cholesky(gram_BKK + _added(x_BNF, penalty_B) * torch.eye(gram_BKK.shape[-1]).to(x_BNF))


def _added(x_BNF: Tensor, penalty_B: Tensor) -> Tensor:
    """Return (B, 1, 1) what a penalty adds to the Gram matrix: never less than what its rounding takes away."""
    least = _ROUNDINGS * torch.finfo(x_BNF.dtype).eps * x_BNF.shape[1]
    return (penalty_B.clamp_min(least) * scale(x_BNF))[:, None, None]


def scale(centred_BNF: Tensor) -> Tensor:
    """Return (B,) the mean squared length of a centred row, by which penalties are told."""
    return centred_BNF.square().sum(-1).mean(-1).clamp_min(_LEAST)


@dataclass(frozen=True, slots=True)
class Path:
    """Heads of one problem after another under each of L penalties, not yet made; only what judges them."""

    left_out_BLNC: Tensor
    """Scores of each row by the head of all other rows."""
    rotation_BFK: Tensor
    """Features to the K principal directions of the centred rows."""
    energy_BK: Tensor
    """Eigenvalues of the Gram matrix there."""
    aligned_BKC: Tensor
    """Targets along each direction."""
    scale_B: Tensor
    mean_BF: Tensor
    mean_BC: Tensor

    def head(self, shares_BL: Tensor, penalties_L: Tensor) -> Head:
        """Return the head that mixes those of all penalties."""
        added_BL1 = (penalties_L * self.scale_B[:, None])[:, :, None]
        shrunk_BK = (shares_BL[:, :, None] / (self.energy_BK[:, None] + added_BL1)).sum(1)
        weight_BFC = self.rotation_BFK @ (shrunk_BK[:, :, None] * self.aligned_BKC)
        bias_BC = self.mean_BC - (self.mean_BF[:, None] @ weight_BFC)[:, 0]
        return Head(weight_BFC, bias_BC)


def path(features_BNF: Tensor, targets_BNC: Tensor, penalties_L: Tensor, weight_N: Tensor | None = None) -> Path:
    """Return what every penalty would have told each row that was left out, in float64.

    Args:
        features_BNF: of the rows.
        targets_BNC: one-hot classes, or standardised values.
        penalties_L: relative to :func:`scale`.
        weight_N: how much each row counts, mean 1; all alike unless given.
    """
    x_BNF, y_BNC = features_BNF.double(), targets_BNC.double()
    n = x_BNF.shape[1]
    root_N1 = (torch.ones(n).to(x_BNF) if weight_N is None else weight_N.to(x_BNF) * n / weight_N.sum()).sqrt()[:, None]
    share_N1 = root_N1.square() / n
    mean_B1F, mean_B1C = (share_N1 * x_BNF).sum(1, keepdim=True), (share_N1 * y_BNC).sum(1, keepdim=True)
    x_BNF, y_BNC = root_N1 * (x_BNF - mean_B1F), root_N1 * (y_BNC - mean_B1C)
    scale_B = scale(x_BNF)
    basis_BNK, energy_BK, rotation_BFK = _principal(x_BNF)
    aligned_BKC = rotation_BFK.mT @ (x_BNF.mT @ y_BNC)
    spread_BKC = basis_BNK.mT @ y_BNC
    left_out = []
    for penalty in penalties_L:
        kept_BK = energy_BK / (energy_BK + (penalty * scale_B)[:, None])
        fitted_BNC = basis_BNK @ (kept_BK[:, :, None] * spread_BKC)
        leverage_BN1 = (basis_BNK.square() @ kept_BK[:, :, None]) + share_N1
        free_BN1 = (1 - leverage_BN1).clamp_min(1e-6)
        # a row's own error, had it been left out, taken off what it should be
        left_out.append((y_BNC - (y_BNC - fitted_BNC) / free_BN1) / root_N1.clamp_min(1e-9) + mean_B1C)
    return Path(torch.stack(left_out, 1), rotation_BFK, energy_BK, aligned_BKC, scale_B, mean_B1F[:, 0], mean_B1C[:, 0])


def _principal(x_BNF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows along their principal directions (length one each), the energies, and the directions."""
    n, width = x_BNF.shape[1:]
    if width <= n:
        energy_BK, rotation_BFK = torch.linalg.eigh(x_BNF.mT @ x_BNF)
        energy_BK = energy_BK.clamp_min(0)
        return x_BNF @ rotation_BFK * _inverse_root(energy_BK)[:, None], energy_BK, rotation_BFK
    energy_BK, basis_BNK = torch.linalg.eigh(x_BNF @ x_BNF.mT)
    energy_BK = energy_BK.clamp_min(0)
    return basis_BNK, energy_BK, x_BNF.mT @ basis_BNK * _inverse_root(energy_BK)[:, None]


def _inverse_root(energy_BK: Tensor) -> Tensor:
    """Return 1 / sqrt of energies, 0 for those that are rounding errors."""
    large = energy_BK > 1e-10 * energy_BK.amax(-1, keepdim=True).clamp_min(_LEAST)
    return torch.where(large, energy_BK.clamp_min(_LEAST).rsqrt(), torch.zeros_like(energy_BK))


# --- sums over rows ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sums:
    """All that a head needs of rows: they can be added, and taken off again, exactly."""

    weight: float
    features_F: Tensor
    targets_C: Tensor
    gram_FF: Tensor
    aligned_FC: Tensor

    @classmethod
    def of(cls, features_NF: Tensor, targets_NC: Tensor, weight_N: Tensor | None = None) -> "Sums":
        """Return the sums of rows, in float64."""
        x_NF, y_NC = features_NF.double(), targets_NC.double()
        w_N = torch.ones(len(x_NF), dtype=torch.float64) if weight_N is None else weight_N.double()
        weighed_NF = w_N[:, None] * x_NF
        return cls(float(w_N.sum()), weighed_NF.sum(0), w_N @ y_NC, weighed_NF.mT @ x_NF, weighed_NF.mT @ y_NC)

    def plus(self, other: "Sums", sign: float = 1.0) -> "Sums":
        """Return the sums with other rows, or (sign -1) without them."""
        return Sums(
            self.weight + sign * other.weight,
            self.features_F + sign * other.features_F,
            self.targets_C + sign * other.targets_C,
            self.gram_FF + sign * other.gram_FF,
            self.aligned_FC + sign * other.aligned_FC,
        )

    def head(self, penalty: float) -> Head:
        """Return the head (B = 1) of these rows, as :func:`solve` would."""
        mean_F, mean_C = self.features_F / self.weight, self.targets_C / self.weight
        gram_FF = self.gram_FF - self.weight * mean_F[:, None] * mean_F
        aligned_FC = self.aligned_FC - self.weight * mean_F[:, None] * mean_C
        # centring takes off what is common to all rows, and leaves the rounding of the whole
        rounding = _ROUNDINGS * torch.finfo(torch.float64).eps * self.gram_FF.trace()
        added = torch.maximum(penalty * (gram_FF.trace() / self.weight).clamp_min(_LEAST), rounding)
        root_FF = torch.linalg.cholesky(gram_FF + added * torch.eye(len(gram_FF), dtype=torch.float64))
        weight_FC = torch.cholesky_solve(aligned_FC, root_FF)
        return Head(weight_FC[None], (mean_C - mean_F @ weight_FC)[None])
