"""Is the vendor's model still the one that thresholds were set for? A few fixed questions, asked now and then.

The questions hold nothing of a user. At temperature 0 a model mostly answers as before; a new one does not, or calls
itself otherwise. What was promised of the old one then has to be calibrated again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import scipy.stats

from sartor.errors import LargeModelError
from sartor.llm.interface import LargeModel, Request

QUESTIONS: tuple[str, ...] = (
    "What is 17 * 23? Answer with the number alone.",
    "Name the capital of Australia in one word.",
    "Is 91 a prime number? Answer yes or no.",
    "Which is heavier, a litre of water or a litre of oil? One word.",
    "Write the word 'tailor' backwards. Nothing else.",
    "日本の首都を漢字二文字で答えてください。",
    "Sentiment of 'not bad at all': positive or negative? One word.",
    "How many letters r are in 'strawberry'? Answer with the number alone.",
    "Continue with one number: 2, 3, 5, 8, 12,",
    "Translate 'cat' into French. One word.",
    "What comes right after 'to be or not to be,' in the play? Five words.",
    "Round 3.14159 to two decimals. Nothing else.",
)
_USUAL = 0.9
"""Share of questions that the same model answers alike at least, tokens being drawn on other machines each time."""
_ALARM = 0.01


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """How a model answered."""

    model: str
    """What it called itself."""
    answers: tuple[str | None, ...]
    """None where it gave none."""


def take(large: LargeModel, questions: Sequence[str] = QUESTIONS) -> Fingerprint:
    """Ask the questions; the policy must allow the purpose ``canary``.

    Raises:
        EgressRefused: when it does not.
        LargeModelError: when not one question was answered.
    """
    answers: list[str | None] = []
    name, last = "", None
    for question in questions:
        try:
            reply = large.ask(Request(question, purpose="canary", max_tokens=24))
        except LargeModelError as error:
            answers.append(None)
            last = error
            continue
        name = reply.model or name
        answers.append(" ".join(reply.text.lower().split()).strip(" .!\"'"))
    if last is not None and not any(answers):
        raise last
    return Fingerprint(name, tuple(answers))


def changed(before: Fingerprint, now: Fingerprint) -> str:
    """Return how a model differs from what it was, "" if it does not: by its name, or by more answers than chance.

    An exact binomial test against nine of ten alike; questions without an answer are left out.
    """
    if before.model != now.model:
        return f"the endpoint's model calls itself {now.model!r} now, {before.model!r} before"
    pairs = [(a, b) for a, b in zip(before.answers, now.answers, strict=True) if a is not None and b is not None]
    alike = sum(a == b for a, b in pairs)
    if not pairs or scipy.stats.binomtest(alike, len(pairs), _USUAL, "less").pvalue >= _ALARM:
        return ""
    return f"the endpoint answers {len(pairs) - alike} of {len(pairs)} fixed questions otherwise than before"
