"""Answers of one generated model of pictures; Pillow, numpy and onnxruntime are all that is needed. `sartor export
--format onnx` put this file beside the model, model.onnx, and labels.json.

    from run import Model
    model = Model()
    model.predict(["new/1.jpg", "new/2.png"])

or, one path a line, one JSON object an answer:

    ls new/*.jpg | python run.py

Pictures are read as they stand upright, transparent parts as white, of an animation the first frame. 16-bit greys and
raw formats are read by `sartor predict`, not here.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


class Model:
    """A generated model of pictures. It never changes: threads may share it.

    Args:
        folder: with model.onnx and labels.json; this file's if not given.
        threads: that one answer may use; 0 leaves it to onnxruntime.
    """

    def __init__(self, folder: str | Path | None = None, threads: int = 0) -> None:
        here = Path(folder) if folder is not None else Path(__file__).parent
        about = json.loads((here / "labels.json").read_text(encoding="utf-8"))
        self.labels: list[str] = about["labels"]
        self._side: int = about["side"]
        self._threshold: float = about["threshold"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(here / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def read(self, path: str | Path) -> np.ndarray:
        """Return (S, S, 3) the pixels that the net sees."""
        with Image.open(path) as picture:
            picture.draft("RGB", (self._side, self._side))
            upright = ImageOps.exif_transpose(picture)
            if "A" in upright.mode or "transparency" in upright.info:
                clear = upright.convert("RGBA")
                upright = Image.new("RGBA", clear.size, "white")
                upright.alpha_composite(clear)
            shown = upright.convert("RGB")
        return np.asarray(shown.resize((self._side, self._side), Image.Resampling.BILINEAR))

    def probabilities(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (N, C) probabilities, and (N,) how much each picture looks like what the model was made for.

        Args:
            pictures: (N, S, S, 3) uint8, as :meth:`read` gives them.
        """
        found, scope = self._session.run(["probabilities", "scope"], {"pictures": pictures})
        return np.asarray(found), np.asarray(scope)

    def predict(self, paths: Sequence[str | Path]) -> list[dict[str, Any]]:
        """Return one answer for each picture, in order."""
        return list(self.answers(paths))

    def answers(self, paths: Sequence[str | Path]) -> Iterator[dict[str, Any]]:
        """Yield one answer for each picture; ``abstain`` is true where none of the labels may fit."""
        for path in paths:
            odds, scope = self.probabilities(self.read(path)[None])
            best = int(odds[0].argmax())
            yield {
                "picture": str(path),
                "label": self.labels[best],
                "confidence": round(float(odds[0, best]), 6),
                "abstain": bool(scope[0] < self._threshold),
                "probabilities": dict(zip(self.labels, odds[0].round(6).tolist(), strict=True)),
            }


def main() -> int:
    """Answer for the paths on standard input; a picture that cannot be read is told, and the next one's turn comes."""
    model, failed = Model(), 0
    for line in sys.stdin:
        path = line.rstrip("\n")
        if not path:
            continue
        try:
            answer = next(model.answers([path]))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            answer, failed = {"picture": path, "error": str(error)}, 1
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    return failed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
