"""A model of a table as numpy arrays, and the file that answers with them (:mod:`sartor.compress.table_predict`)."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from sartor.compress import table_predict
from sartor.compress.table_plan import Plan
from sartor.compress.whole import new_folder


def write_numpy(path: Path, plan: Plan) -> None:
    """Write a folder with ``model.npz`` (no pickle) and ``predict.py``, which needs numpy alone.

    Raises:
        StorageError: if something stands at ``path``, or the disk does not take the files.
    """
    arrays: dict[str, Any] = {**plan.arrays, "about": np.frombuffer(json.dumps(plan.about()).encode(), dtype=np.uint8)}
    with new_folder(path) as folder:
        np.savez(folder / "model.npz", **arrays)
        (folder / "predict.py").write_bytes(Path(table_predict.__file__).read_bytes())
