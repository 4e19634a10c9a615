"""A model made from another: a bundle of its own that names its parent; what a gate refused stands apart.

A candidate that is kept is the next version of its parent's name, and gets an alias as any other. One that was refused
is stored as ``NAME.rejected``, with the reasons in its manifest, so that nobody gets its answers unasked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version

from sartor import pipeline, settings
from sartor.evaluate.gate import Decision
from sartor.model import Model, load, of_manifest
from sartor.registry.store import Entry, Store, slug
from sartor.types import DataRef, Report, Weights

REJECTED = ".rejected"


@dataclass(frozen=True, slots=True)
class Derived:
    """A candidate, where it is stored, and whether it was kept."""

    model: Model
    entry: Entry
    parent: str
    method: str
    kept: bool
    reasons: tuple[str, ...]
    """Of the gate that compares it with its parent."""
    decision: Decision | None
    """Of the gate that grants aliases; None where the first refused."""
    seconds: float


def candidate(
    parent: Model,
    weights: Weights,
    own_files: Mapping[str, bytes],
    *,
    method: str,
    report: Report,
    head: str | None = None,
    data: DataRef | None = None,
    seed: int = 0,
) -> Model:
    """Return a model with other weights or files, and a manifest that names its parent.

    Args:
        parent: that it was made from; stored.
        weights: of the new model.
        own_files: that its bundle holds besides.
        method: how it was made.
        report: on the new model.
        head: what answers, where that changed.
        data: the rows that it was made from, where there are new ones.
        seed: of the making.
    """
    before = parent.manifest
    manifest = replace(
        before,
        id="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        head=head or before.head,
        data=data or before.data,
        seed=seed,
        n_parameters=sum(tensor.numel() for tensor in weights.values()),
        shapes={name: tuple(tensor.shape) for name, tensor in weights.items()},
        files={},
        scores=pipeline.scores_of(report),
        parent=before.id,
        method=method,
        rejected=(),
        sartor_version=version("sartor"),
    )
    return of_manifest(manifest, report, weights, own_files=own_files)


def keep(made: Model, *, kept: bool, reasons: Sequence[str], seconds: float) -> Derived:
    """Store a candidate; one that is kept may get an alias.

    Raises:
        StorageError: when the disk does not take it; nothing is left of it then.
    """
    home = Store(settings.current().home)
    manifest = made.manifest
    name = manifest.name if kept else rejected_name(manifest.name)
    entry = home.put(replace(manifest, rejected=() if kept else tuple(reasons)), made.files(), name)
    stored = load(entry.path)
    decision = pipeline.release(stored, entry) if kept else None
    return Derived(
        model=stored,
        entry=home.get(entry.id),
        parent=str(manifest.parent),
        method=manifest.method,
        kept=kept,
        reasons=tuple(reasons),
        decision=decision,
        seconds=seconds,
    )


def rejected_name(name: str) -> str:
    """Return the name that refused candidates of ``name`` stand under.

    >>> rejected_name("mails")
    'mails.rejected'
    """
    return slug(name[: 64 - len(REJECTED)] + REJECTED)
