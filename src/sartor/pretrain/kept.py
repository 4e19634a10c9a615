"""What is computed once before a run and kept in a folder, whole or not at all."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def once(cache: Path, kind: str, told_by: Sequence[Any], compute: Callable[[Path], None]) -> Path:
    """Return the folder that ``compute`` filled, now or for an earlier run with the same ``told_by``.

    A run that is cut off begins again: nothing stands under the folder's name before all is there, and two runs may
    begin at once.

    Args:
        cache: where such folders are kept.
        kind: what it is of; the folder is called KIND-HASH.
        told_by: all that the result depends on, as JSON takes it.
        compute: is given an empty folder.
    """
    key = hashlib.sha256(json.dumps(told_by).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    folder = cache / f"{kind}-{key}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{kind}-") as scratch:
            partial = Path(scratch) / key
            partial.mkdir()
            compute(partial)
            if not folder.exists():
                partial.rename(folder)
    return folder
