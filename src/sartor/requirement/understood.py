"""What both kinds of models need understood of a task: its description, how long its texts are, whether a base fits."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sartor.data.text import encodable
from sartor.types import Example, Note, Requirement, Task

MOST_DESCRIPTION = 2000
"""Characters of a description that are kept; the rest is dropped with a note."""
_ROWS_FOR_LANGUAGE = 200
_PROCESS_MB = 450
"""Of Python and torch, before a base is loaded."""


class Understood(NamedTuple):
    """What the rules made of a task."""

    requirement: Requirement
    examples: tuple[Example, ...]
    """The rows to generate from: all that carry a known label, or an answer."""
    unlabelled: tuple[str, ...] = ()
    """The texts without a label that are worth reading."""


def described(task: Task) -> tuple[str, tuple[Note, ...]]:
    """Return the description as far as it is read, with a note if that is not all of it."""
    text = encodable(task.description).strip()
    if len(text) <= MOST_DESCRIPTION:
        return text, ()
    note = f"The description has {len(text):,} characters; the first {MOST_DESCRIPTION:,} are used."
    return text[:MOST_DESCRIPTION], (Note("description", note, "warning"),)


def sample(texts: Sequence[str]) -> Sequence[str]:
    """Return some of many texts, spread evenly, to tell a language by."""
    return texts[:: max(1, len(texts) // _ROWS_FOR_LANGUAGE)]


def fits(task: Task, base: str, n_parameters: int) -> Iterator[Note]:
    """Warn of a base that needs more memory than the task allows."""
    limit = task.limits.max_memory_mb
    needed = _PROCESS_MB + n_parameters * 4 / 1e6
    if limit is not None and needed > limit:
        text = f"The base {base} needs about {needed:.0f} MB of memory, and the task allows {limit:g} MB."
        yield Note("base", f"{text} The gate will measure it; name another with --base if it says no.", "warning")


def least_tokens(characters: int, per_token: float, lengths: Sequence[int], most: int) -> int:
    """Return the least of some lengths in tokens that holds so many characters, at most ``most``."""
    wanted = math.ceil(characters / per_token) + 2
    return next((tokens for tokens in lengths if wanted <= tokens <= most), min(lengths[-1], most))
