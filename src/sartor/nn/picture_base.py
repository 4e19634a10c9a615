"""A frozen net for pictures in the hand."""

from dataclasses import dataclass

from sartor import settings
from sartor.assets import resolve
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
    return PictureBase(
        BaseRef(spec.name, spec.sha256, spec.licence), load_picture_net(config, files.weights, device), spec.side
    )
