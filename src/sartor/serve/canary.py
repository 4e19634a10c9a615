"""Who gets a share of the requests, and what becomes of it: pure functions.

A request goes to the canary by a hash of its input, so that the same input always goes the same way. After a window of
answers there is a verdict: *success*, *fail*, or *inconclusive*, which waits for more. A few failures are enough to
fail.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy.special import gammaln

Verdict: TypeAlias = Literal["success", "fail", "inconclusive"]

_RISK = 0.01
"""Chance to fail a canary that is as good, for each of the comparisons."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When a canary is good, and when it is not."""

    window: int = 200
    """Answers of the canary that a success takes."""
    failure_limit: int = 3
    """Failed answers (errors, what is no number, too late) within the window that fail it at once."""
    least: int = 30
    """Answers below which shares are not compared."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What was counted of one of the two since the canary began."""

    answers: int = 0
    failed: int = 0
    abstained: int = 0
    judged: int = 0
    """Answers with feedback."""
    wrong: int = 0
    """Of these, the ones that were wrong."""


def chosen(name: str, text: str, share: float) -> bool:
    """Return whether an input goes to the canary of ``name``; about ``share`` of all inputs do."""
    digest = hashlib.blake2b(f"{name}\0{text}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def judge(canary: Arm, champion: Arm, rules: Rules) -> tuple[Verdict, str]:
    """Return the verdict, and why in a sentence."""
    if canary.failed >= rules.failure_limit:
        return "fail", f"{canary.failed} answers of the canary failed ({rules.failure_limit} are too many)."
    if canary.answers >= rules.least and champion.answers >= rules.least:
        pairs = [
            ("abstained in", canary.abstained, canary.answers, champion.abstained, champion.answers),
            ("was wrong, as feedback says, in", canary.wrong, canary.judged, champion.wrong, champion.judged),
        ]
        for what, bad, of, theirs, among in pairs:
            if _more(bad, of, theirs, among):
                return "fail", f"The canary {what} {bad} of {of} answers, the champion in {theirs} of {among}."
    if canary.answers < rules.window:
        return "inconclusive", f"{canary.answers} of {rules.window} answers are given."
    if champion.answers < rules.least:
        return "inconclusive", f"The champion gave only {champion.answers} answers to compare with."
    return "success", f"{canary.answers} answers, {canary.failed} failed; nothing is worse than the champion's."


def _more(bad: int, of: int, theirs: int, among: int) -> bool:
    """Return whether the share of bad ones is larger than theirs, beyond chance (Fisher's exact test, one-sided)."""
    if not of or not among or bad * among <= theirs * of:
        return False
    return _fisher(bad, of, theirs, among) < _RISK


def _fisher(bad: int, of: int, theirs: int, among: int) -> float:
    """Return the chance of at least ``bad`` here, if all bad ones fell at random; scipy.stats is a slow import."""

    def ways(n: int, k: Any) -> Any:
        return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)

    both = bad + theirs
    counts = np.arange(bad, min(of, both) + 1)
    return float(np.exp(ways(of, counts) + ways(among, both - counts) - ways(of + among, both)).sum())
