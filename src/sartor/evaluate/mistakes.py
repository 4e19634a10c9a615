"""Which answers were wrong although the model was sure: the ones to look at. They quote inputs, so no bundle has them.

Dimension key:   N: rows   C: labels
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sartor.data.pictures import PictureError, decode
from sartor.families.interface import FloatArray, Unusualness
from sartor.types import Example

MOST = 24
"""On a page."""
THUMBNAIL = 160
"""Pixels of the longer side."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer."""

    input: str
    right: str
    answer: str
    how: str
    """How sure it was, for a person."""


def of_labels(examples: Sequence[Example], probabilities: FloatArray, labels: Sequence[str]) -> tuple[Mistake, ...]:
    """Return the wrong answers to labelled rows, the surest first.

    Args:
        examples: N rows with their right label, which need not be one of the model's.
        probabilities: (N, C).
        labels: of the model.
    """
    best: list[int] = probabilities.argmax(axis=1).tolist()
    sure = probabilities.max(axis=1)
    wrong = [at for at, row in enumerate(examples) if row.output != labels[best[at]]]
    wrong.sort(key=lambda at: -sure[at])
    return tuple(
        Mistake(examples[at].input, str(examples[at].output), labels[best[at]], f"{100 * sure[at]:.0f}% sure")
        for at in wrong[:MOST]
    )


def of_unusual(good: Sequence[str], bad: Sequence[tuple[str, str]], answer: Unusualness) -> tuple[Mistake, ...]:
    """Return false alarms and bad inputs that were missed, those farthest beyond the threshold first.

    Args:
        good: inputs.
        bad: inputs with their label.
        answer: for all of them, the good ones first.
    """
    beyond = answer.scores - answer.threshold
    known = [*((one, "good") for one in good), *bad]
    wrong = np.flatnonzero(answer.unusual == (np.arange(len(known)) < len(good)))
    wrong = wrong[np.argsort(-np.abs(beyond[wrong]), kind="stable")][:MOST]
    return tuple(
        Mistake(
            input=known[at][0],
            right=known[at][1],
            answer="unusual" if answer.unusual[at] else "usual",
            how=f"score {answer.scores[at]:.2f}",
        )
        for at in wrong.tolist()
    )


def thumbnail(source: str) -> str:
    """Return a small copy of a picture as a data URI; "" of one that cannot be read any more."""
    try:
        image = Image.fromarray(decode(source, side=THUMBNAIL))
    except PictureError:
        return ""
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    held = io.BytesIO()
    image.save(held, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode("ascii")
