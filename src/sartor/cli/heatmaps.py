"""``--heatmaps DIR``: a picture for each answer that shows what it rests on."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sartor.errors import StorageError

if TYPE_CHECKING:
    from sartor.data.picture_folders import Found
    from sartor.families.interface import FloatArray

_MOST_NAME = 120


class Heatmaps:
    """A folder that heat-maps are written into."""

    def __init__(self, folder: Path) -> None:
        """Make the folder.

        Raises:
            StorageError: when it cannot be made, or holds something already.
        """
        self.folder = folder
        self._names: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            empty = not any(folder.iterdir())
        except OSError as error:
            raise StorageError(f"Cannot write into {str(folder)!r}: {error.strerror}. Choose another place.") from error
        if not empty:
            raise StorageError(f"{str(folder)!r} holds files already. Name a new folder for the heat-maps.")

    def write(self, pictures: "Sequence[Found]", heat_NHW: "FloatArray") -> None:
        """Write one PNG a picture: the picture, and over it where the heat is.

        Raises:
            StorageError: when one cannot be written.
        """
        from sartor.data.pictures import decode
        from sartor.evaluate.heatmap import MOST_SIDE, overlay

        for one, heat_HW in zip(pictures, heat_NHW, strict=True):
            path = self.folder / self._name(one.name)
            try:
                path.write_bytes(overlay(decode(one.path, side=MOST_SIDE), heat_HW))
            except OSError as error:
                raise StorageError(
                    f"Cannot write {str(path)!r}: {error.strerror}. Make room, or choose another."
                ) from error

    def _name(self, picture: str) -> str:
        """Return a file name of its own that tells which picture it is of."""
        plain = re.sub(r"[^\w.-]+", "_", picture.replace(os.sep, "__")).strip("._")[-_MOST_NAME:] or "picture"
        name, number = plain, 1
        while name in self._names:
            number += 1
            name = f"{plain}-{number}"
        self._names.add(name)
        return f"{name}.png"
