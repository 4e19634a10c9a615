"""Free texts in a table: what a frozen encoder makes of each cell.

Dimension key:   N: rows   T: columns of text   E: width of an embedding
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sartor.nn.encoder import Pooling, encode_texts
from sartor.nn.text_base import TextBase
from sartor.types import Progress, silent

MOST_TOKENS = 128
"""Of a cell; what is longer is cut there."""


def embed(
    base: TextBase, columns: Sequence[NDArray[np.object_]], *, progress: Progress = silent
) -> NDArray[np.float32]:
    """Return (N, T, E) embeddings of length one, zero where a cell is empty; each text is read once."""
    distinct = sorted({str(text) for column in columns for text in column} - {""})
    width = base.encoder.config.hidden
    if not distinct:
        return np.zeros((len(columns[0]), len(columns), width), dtype=np.float32)
    done = 0

    def on_rows(rows: int) -> None:
        nonlocal done
        done += rows
        progress("encode", done, len(distinct))

    last = Pooling(base.encoder.config.layers)
    said = [base.prefix + text for text in distinct]
    found, _ = encode_texts(base.encoder, base.tokenizer, said, (last,), max_tokens=MOST_TOKENS, on_rows=on_rows)
    unit = found[:, 0] / np.linalg.norm(found[:, 0], axis=1, keepdims=True)
    place = {text: at for at, text in enumerate(distinct)}
    known = np.concatenate([unit, np.zeros((1, width))]).astype(np.float32)
    return np.stack([known[[place.get(str(text), -1) for text in column]] for column in columns], axis=1)
