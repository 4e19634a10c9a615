"""What "the same text" means, for everybody who must agree on it."""

import unicodedata
from collections.abc import Iterable

MARKS = 30
"""Combining marks in a row that are read (Unicode Standard Annex 15, stream-safe text)."""


def normalise(text: str) -> str:
    """Return ``text`` without what does not change its meaning: width, case, runs of spaces.

    >>> normalise("  Ｈello   World ")
    'hello world'
    """
    folded = compatible(text).casefold()
    return " ".join(compatible(folded).split())


def compatible(text: str) -> str:
    """Return Unicode's NFKC of ``text``, combining marks beyond :data:`MARKS` in a row left out.

    The time that sorting them takes grows with the square of their number, and no script needs as many.
    """
    return text if text.isascii() else unicodedata.normalize("NFKC", _bounded(text))


def _bounded(text: str) -> str:
    kept: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= MARKS:
            kept.append(char)
    return text if len(kept) == len(text) else "".join(kept)


def short(text: str) -> str:
    """Return ``text`` cut to what fits a sentence."""
    return text if len(text) <= 60 else text[:57] + "..."


def squeeze(name: str) -> str:
    """Return ``name`` normalised and without any space: how labels and column names are compared.

    >>> squeeze("Bug Report") == squeeze("bugreport ")
    True
    """
    return normalise(name).replace(" ", "")


def encodable(text: str) -> str:
    """Return ``text`` with the halves of surrogate pairs joined, and halves that stand alone left out.

    No tokenizer and no file takes such a half. They come about where JSON's escapes are read by others than JSON's
    readers.

    >>> encodable(chr(0xD83D) + chr(0xDE42) + chr(0xD800) + "!")
    '🙂!'
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")


def answers_a_question(labels: Iterable[str]) -> bool:
    """Return whether labels say nothing themselves, but answer what the description asks.

    >>> answers_a_question(["No", "Yes"]), answers_a_question(["spam", "no"])
    (True, False)
    """
    return sorted(label.strip().casefold() for label in labels) == ["no", "yes"]
