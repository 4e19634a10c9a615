"""How many tokens a text is, when nobody with the right tokenizer says so."""

import math

MESSAGE_TOKENS = 16
"""That a chat template puts around a message, at most."""


def estimate(text: str) -> int:
    """Return about how many tokens ``text`` is: one for four ASCII characters, one for each other character.

    Of byte-level tokenizers of today's sizes; English is mostly a little less, Japanese a little less as well.

    >>> estimate("I was charged twice"), estimate("二重に請求された")
    (5, 8)
    """
    ascii_characters = sum(c.isascii() for c in text)
    return math.ceil(ascii_characters / 4) + len(text) - ascii_characters


def at_most(wire_bytes: int) -> int:
    """Return a number of tokens that a request of so many bytes cannot exceed.

    A byte-level tokenizer makes no more tokens than there are bytes; two messages have a template each.
    """
    return wire_bytes + 2 * MESSAGE_TOKENS
