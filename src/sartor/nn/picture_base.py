"""A frozen net for pictures in the hand, with the anchor that stands beside its upper stages."""

from dataclasses import dataclass, replace
from pathlib import Path

from sartor import settings
from sartor.assets import catalogue, resolve
from sartor.errors import AssetError, TaskError
from sartor.nn import anchor as anchors
from sartor.nn import picture_anchor
from sartor.nn.picture_net import PictureNet, PictureNetConfig, load_picture_net
from sartor.nn.text_base import check_device
from sartor.types import BaseRef, Progress, silent


@dataclass(frozen=True, slots=True)
class PictureBase:
    """A frozen net, and the side of the views that it reads, in pixels."""

    ref: BaseRef
    net: PictureNet
    side: int


def load_picture_base(name: str, *, device: str = "cpu", progress: Progress = silent) -> PictureBase:
    """Return the base for pictures called ``name``, fetched if it is not in the cache.

    Raises:
        NotFoundError: if there is no base of that name.
        AssetError: if it cannot be had.
        TaskError: if this machine has no such device.
    """
    check_device(device)
    files = resolve.resolve_picture_base(name, settings.current(), progress=progress)
    spec = files.spec
    config = PictureNetConfig(spec.width, spec.depth, spec.mean, spec.spread)
    base = PictureBase(
        BaseRef(spec.stem, spec.files[catalogue.WEIGHTS], spec.licence),
        load_picture_net(config, files.weights, device),
        spec.side,
    )
    if spec.anchor is None:
        return base
    found = anchored(base, spec.anchor.path, name=spec.name)
    if found.ref.sha256 != spec.sha256:
        raise AssetError(f"The anchor {spec.anchor.file} is not the one that Sartor came with. Install Sartor again.")
    return found


def anchored(base: PictureBase, anchor: Path, *, name: str) -> PictureBase:
    """Return a frozen base with an anchor beside it, under another name.

    Raises:
        AssetError: if the anchor cannot be read.
        BundleError: if it does not fit the base.
    """
    if base.net.anchored is not None:
        raise TaskError(f"The base {base.ref.name!r} has an anchor already. Give the plain base.")
    found, sha256 = anchors.from_file(anchor)
    placed = {name: tensor.to(base.net.device) for name, tensor in found.rows.items()}
    net = replace(base.net, anchored=picture_anchor.adapted(base.net, placed))
    ref = BaseRef(name, catalogue.anchored_sha256(base.ref.sha256, sha256), base.ref.licence)
    return replace(base, ref=ref, net=net)
