"""Answers that a description names: ``Answer 'yes' if it rains, otherwise 'no'``.

Narrower than what tells labels from a description (:mod:`sartor.requirement.labels`): what is found here is taken for
right answers without any row, so only quoted words behind a verb of answering count, two or more of them as a choice.
Of the 544 tasks that the generator of text-generation learns from, the answers of 26 are found so, those of one
wrongly, and 6 others mention words so that they look like a choice (LOG.md, 2026-11-25).
"""

import re

MOST = 12
"""Answers that are a choice, at most."""
_MOST_WORDS = 3
_QUOTES = "\"“”„«»‘’'`「」『』"
_QUOTED = rf"[{_QUOTES}]([^{_QUOTES}\n]{{1,30}})[{_QUOTES}](?!\w)"
_SAY = (
    r"answer|output|respond|reply|label|mark|classify|categori[sz]e|return|print|say|state|choose|select|generate|write|"
    r"give|indicate|predict"
)
_FIRST = re.compile(rf"\b(?:{_SAY})(?:s|d|ed|ing|es)?\b[^.{_QUOTES}\n]{{0,50}}(?<!\w){_QUOTED}", re.IGNORECASE)
_NEXT = re.compile(
    rf"[^{_QUOTES}\n]{{0,90}}?(?:\b(?:or|otherwise|else|if|when|vs)\b|[,/])[^{_QUOTES}\n]{{0,60}}(?<!\w){_QUOTED}",
    re.IGNORECASE,
)


def named_answers(description: str) -> tuple[str, ...]:
    """Return the answers that a description names as a choice, in its order; none where it names no choice.

    >>> named_answers("Answer 'yes' if it rains, otherwise 'no'."), named_answers('Say "hello" to everyone.')
    (('yes', 'no'), ())
    """
    for first in _FIRST.finditer(description):
        found, at = [first.group(1)], first.end()
        while following := _NEXT.match(description, at):
            found.append(following.group(1))
            at = following.end()
        names = (name.strip(" .,;:") for name in found)
        kept = tuple(dict.fromkeys(name for name in names if name and len(name.split()) <= _MOST_WORDS))
        if 2 <= len(kept) <= MOST:
            return kept
    return ()
