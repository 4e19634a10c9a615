"""Is this adapter fit to be stored, or to be loaded?

A generator can fail without an error: numbers that are none, or an update so large that the base forgets how to write.
So an adapter is held against the sites it is for, and its update B A against what training adapters had, site by site:
the Frobenius norm, and the largest singular value, by which an input can be stretched at most.

Dimension key:   G: adapters   r: rank   I, O: inputs and outputs of a site
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sartor.errors import BundleError, TaskError, did_you_mean
from sartor.nn.decoder import Adapters
from sartor.nn.weight_heads import Sites


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large an update may be at each site."""

    frobenius: Mapping[str, float]
    """Site -> the largest Frobenius norm of B A."""
    spectral: Mapping[str, float]
    """Site -> the largest singular value of B A."""

    @classmethod
    def from_adapters(cls, adapters: Iterable[Adapters], *, slack: float = 2.0) -> "Bounds":
        """Return ``slack`` times the largest that is found in ``adapters``.

        Args:
            adapters: batches that are known to be good, all of the same sites.
            slack: at least 1, so that what the bounds were learned from keeps within them.

        Raises:
            TaskError: if there is no adapter, the slack is below 1, or the sites differ.
            BundleError: if a number in one of them is not finite.
        """
        if not 1 <= slack < math.inf:
            raise TaskError(f"The slack of bounds is a number from 1 on; got {slack}.")
        frobenius: dict[str, float] = {}
        spectral: dict[str, float] = {}
        for batch in adapters:
            if frobenius and batch.keys() != frobenius.keys():
                raise TaskError("Bounds are learned from adapters of the same sites; these are of different ones.")
            for path, (a_GrI, b_GOr) in batch.items():
                _check_finite(path, a_GrI, b_GOr)
                norm, stretch = frobenius_norms(a_GrI, b_GOr), singular_values(a_GrI, b_GOr)[:, 0]
                frobenius[path] = max(frobenius.get(path, 0.0), slack * float(norm.max()))
                spectral[path] = max(spectral.get(path, 0.0), slack * float(stretch.max()))
        if not frobenius:
            raise TaskError("Bounds are learned from adapters, and there is none.")
        return cls(frobenius, spectral)


def check_adapter(adapters: Adapters, sites: Sites, bounds: Bounds | None = None) -> None:
    """Return if every adapter of the batch is one for ``sites`` and within ``bounds``.

    Args:
        adapters: site -> A (G, r, I) and B (G, O, r).
        sites: path -> (O, I) of the linear layers that have an adapter, all of them and no others.
        bounds: None where nothing was learned about sizes.

    Raises:
        BundleError: if not; it names the site.
    """
    _check_sites(adapters, sites)
    first = next(iter(sites))
    wanted = tuple(adapters[first][0].shape[:2])
    for path, (a_GrI, b_GOr) in adapters.items():
        _check_shape(path, a_GrI, b_GOr, sites[path], wanted)
        _check_finite(path, a_GrI, b_GOr)
        if bounds is not None:
            _check_size(path, a_GrI, b_GOr, bounds)


def frobenius_norms(a_GrI: Tensor, b_GOr: Tensor) -> Tensor:
    """Return (G,) the Frobenius norms of B A, in float64."""
    return _norms(*_grams(a_GrI, b_GOr))


def singular_values(a_GrI: Tensor, b_GOr: Tensor) -> Tensor:
    """Return (G, r) the singular values of B A, largest first, in float64; B A itself (O, I) is never formed.

    Their squares are the eigenvalues of K^1/2 (B^T B) K^1/2, where K = A A^T: both are r x r. Small ones lose half of
    the digits to the squares; the largest, which counts here, does not.
    """
    return _stretches(*_grams(a_GrI, b_GOr))


def _norms(inner_Grr: Tensor, outer_Grr: Tensor) -> Tensor:
    return (inner_Grr * outer_Grr).sum(dim=(1, 2)).clamp_min(0).sqrt()  # |B A|^2 = tr(A A^T B^T B)


def _stretches(inner_Grr: Tensor, outer_Grr: Tensor) -> Tensor:
    values_Gr, vectors_Grr = torch.linalg.eigh(inner_Grr)
    root_Grr = vectors_Grr * values_Gr.clamp_min(0).sqrt()[:, None, :]
    squares_Gr = torch.linalg.eigvalsh(root_Grr.mT @ outer_Grr @ root_Grr)
    return squares_Gr.clamp_min(0).sqrt().flip(-1)


def _grams(a_GrI: Tensor, b_GOr: Tensor) -> tuple[Tensor, Tensor]:
    """Return A A^T and B^T B, both (G, r, r)."""
    a_GrI, b_GOr = (factor.detach().double() for factor in (a_GrI, b_GOr))
    return a_GrI @ a_GrI.mT, b_GOr.mT @ b_GOr


def _check_sites(adapters: Adapters, sites: Sites) -> None:
    for path in adapters:
        if path not in sites:
            raise BundleError(
                f"The adapter has a part at {path!r}, where none is meant to be.{did_you_mean(path, sites)} Give an "
                "adapter that was made for this base and these layers."
            )
    for path in sites:
        if path not in adapters:
            raise BundleError(f"The adapter has no part at {path!r}. It is not whole; make it again.")
    if not sites:
        raise BundleError("The adapter is for no site at all. Name the linear layers that it is meant for.")


def _check_shape(
    path: str, a_GrI: Tensor, b_GOr: Tensor, shape: tuple[int, int], groups_and_rank: tuple[int, ...]
) -> None:
    outputs, inputs = shape
    groups, rank = groups_and_rank if len(groups_and_rank) == 2 else (0, 0)
    fits = a_GrI.shape == (groups, rank, inputs) and b_GOr.shape == (groups, outputs, rank)
    if not fits or not groups or not rank:
        raise BundleError(
            f"The adapter does not fit at {path!r}: A {tuple(a_GrI.shape)} and B {tuple(b_GOr.shape)}; wanted are "
            f"(G, r, {inputs}) and (G, {outputs}, r), with the G and r of the first site. Give an adapter that was "
            "made for this base."
        )
    for factor in (a_GrI, b_GOr):
        if not factor.is_floating_point():
            raise BundleError(
                f"The adapter has numbers of type {factor.dtype} at {path!r}; wanted are floating-point numbers. Give "
                "one that is not quantised."
            )


def _check_finite(path: str, a_GrI: Tensor, b_GOr: Tensor) -> None:
    for name, factor in (("A", a_GrI), ("B", b_GOr)):
        if not bool(factor.isfinite().all()):
            bad = int((~factor.isfinite()).sum())
            raise BundleError(
                f"The adapter is broken at {path!r}: {bad} of the {factor.numel()} numbers of its {name} are not "
                "finite. Make it again; if that happens twice, its generator is broken."
            )


def _check_size(path: str, a_GrI: Tensor, b_GOr: Tensor, bounds: Bounds) -> None:
    if path not in bounds.frobenius or path not in bounds.spectral:
        raise BundleError(f"Nothing is known of how large an update may be at {path!r}. Learn the bounds anew.")
    grams = _grams(a_GrI, b_GOr)  # the dear part, once for both
    norm = float(_norms(*grams).max())
    _refuse_beyond(path, "Frobenius norm", norm, bounds.frobenius[path])
    # only now: with the norm in bounds the small products are finite
    stretch = float(_stretches(*grams).max())
    _refuse_beyond(path, "largest singular value", stretch, bounds.spectral[path])


def _refuse_beyond(path: str, what: str, found: float, most: float) -> None:
    if not found <= most:  # what is no number is beyond, too
        raise BundleError(
            f"The adapter is too large at {path!r}: the {what} of its update is {found:.4g}, and {most:.4g} is the "
            "most that is known to be good. Make it again, with a smaller dial if it has one."
        )
