"""How near one text comes to another: exact match, token F1, ROUGE-L, chrF. Every figure lies in [0, 1].

All four look at what a reader sees. Halves of surrogate pairs that stand alone are left out, and so are marks that
only steer layout: zero-width spaces, direction marks, soft hyphens, variation selectors. What is left is brought to
Unicode's NFKC, so that full-width and ligature forms are no difference. Two texts of which nothing is left are the
same text and score 1; if one of them has something left, they score 0.

The formulas stand here because they are short and the libraries that have them are not: rouge-score reads the letters
a to z alone and brings nltk; sacrebleu brings lxml, for test sets that are not used here. The tests hold these figures
to theirs.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from sartor.data import text as texts

LCS_TOKENS = 2000
"""ROUGE-L compares as many tokens of each text, from the start: its time grows with the product of the two."""
CHRF_ORDER = 6
CHRF_BETA = 2

_LAYOUT = dict.fromkeys(map(ord, "\u00ad\u061c\u200b\u200e\u200f\u2060\ufe0e\ufe0f\ufeff"))
_LAYOUT |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
"""Not the joiners U+200C and U+200D: they change letters, in Persian and Sinhala for two."""
_QUOTES = "\"'`“”„‟‘’‚‛«»‹›"
_OPENING = _QUOTES + " ([{「『【〈《〔¿¡"
_CLOSING = _QUOTES + " )]}」』】〉》〕.,;:!?。、।॥،؛؟۔"
"""No stop opens an answer, for .5 is not 5; no sign, hash or per cent is outer punctuation: -5, C#, 50%."""
_ARTICLES = frozenset({"a", "an", "the"})
_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan; Burmese; Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u2600-\u27bf\U0001f000-\U0001faff"  # pictographs
)
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def normalised(text: str, *, fold_case: bool = False, strip_punctuation: bool = False) -> str:
    """Return what exact match compares: ``text`` as it is seen, with every run of white space as one space.

    Args:
        text: any string.
        fold_case: take upper and lower case for the same.
        strip_punctuation: take off quotes and brackets around the text and stops behind it, unless nothing else is
            there. Signs that carry meaning stay: -5, .5, 50%, C#.

    >>> normalised(" “Ｐaris”. ", fold_case=True, strip_punctuation=True)
    'paris'
    """
    seen = _seen(text)
    plain = texts.normalise(seen) if fold_case else " ".join(seen.split())
    if not strip_punctuation:
        return plain
    return plain.lstrip(_OPENING).rstrip(_CLOSING) or plain


def exact_match(answer: str, reference: str, *, fold_case: bool = False, strip_punctuation: bool = False) -> bool:
    """Return whether the two are the same text; the flags are those of :func:`normalised`."""
    how = {"fold_case": fold_case, "strip_punctuation": strip_punctuation}
    return normalised(answer, **how) == normalised(reference, **how)


def token_f1(answer: str, reference: str) -> float:
    """Return the F1 of the tokens that two texts share, as often as both have them; symmetric.

    As in SQuAD (Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250, section 6.1): without case, punctuation and
    the articles a, an, the. Other than there, punctuation is Unicode's, a text of nothing but punctuation or articles
    keeps them, and where words have no spaces between them (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan;
    pictographs) every character is a token, as in CMRC 2018 (https://arxiv.org/abs/1810.07366).
    """
    ours, theirs = _squad_tokens(answer), _squad_tokens(reference)
    return _f1((Counter(ours) & Counter(theirs)).total(), len(ours), len(theirs))


def rouge_l(answer: str, reference: str) -> float:
    """Return ROUGE-L: the F1 of the longest common subsequence of tokens; symmetric.

    Lin, "ROUGE: a package for automatic evaluation of summaries" (ACL 2004), section 3.1, with beta = 1. Tokens are
    runs of letters and digits without case, or characters as in :func:`token_f1`. Of a text with more than
    ``LCS_TOKENS`` tokens only the first ``LCS_TOKENS`` are looked at.
    """
    ours, theirs = _rouge_tokens(answer)[:LCS_TOKENS], _rouge_tokens(reference)[:LCS_TOKENS]
    return _f1(_common_subsequence(ours, theirs), len(ours), len(theirs))


def chrf(answer: str, reference: str) -> float:
    """Return chrF2: the F-beta of character n-grams, recall counting twice as much as precision; not symmetric.

    Popović, "chrF: character n-gram F-score" (WMT 2015), with n = 1..6 and the beta = 2 of her paper of 2016
    (https://aclanthology.org/W16-2341); precision and recall are averaged over the orders for which both texts are
    long enough, as sacreBLEU does. Case and punctuation count, white space does not. The time is linear in the texts.
    """
    ours, theirs = "".join(_seen(answer).split()), "".join(_seen(reference).split())
    orders = min(CHRF_ORDER, len(ours), len(theirs))
    if not orders:
        return float(ours == theirs)
    precision = recall = 0.0
    for n in range(1, orders + 1):
        shared = (_ngrams(ours, n) & _ngrams(theirs, n)).total()
        precision += shared / (len(ours) - n + 1)
        recall += shared / (len(theirs) - n + 1)
    if not precision:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return (1 + CHRF_BETA**2) * precision * recall / (CHRF_BETA**2 * precision + recall)


# --- parts -------------------------------------------------------------------------------------------------


def _seen(text: str) -> str:
    if text.isascii():
        return text
    return texts.compatible(texts.encodable(text).translate(_LAYOUT))


def _squad_tokens(text: str) -> list[str]:
    plain = normalised(text, fold_case=True)
    words = _tokens(plain, "")
    return [word for word in words if word not in _ARTICLES] or words or plain.split()


def _rouge_tokens(text: str) -> list[str]:
    plain = normalised(text, fold_case=True)
    return _tokens(plain, " ") or plain.split()


def _tokens(plain: str, gap: str) -> list[str]:
    """Split a text that has ``gap`` in place of every punctuation mark."""
    return _TOKEN.findall("".join(gap if _is_punctuation(char) else char for char in plain))


@lru_cache(maxsize=4096)
def _is_punctuation(char: str) -> bool:
    # ASCII's marks include symbols as $ and +; beyond ASCII a symbol may be an emoji or a currency, so it stays
    return char in string.punctuation or unicodedata.category(char).startswith("P")


def _f1(shared: int, ours: int, theirs: int) -> float:
    return 2 * shared / (ours + theirs) if ours + theirs else 1.0


def _ngrams(text: str, n: int) -> Counter[str]:
    return Counter(text[start : start + n] for start in range(len(text) - n + 1))


def _common_subsequence(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    A row of the usual table is one integer, with a zero bit wherever its length grows (Hyyrö, "Bit-parallel
    LCS-length computation revisited", AWOCA 2004): 2,000 by 2,000 tokens take a millisecond or two.
    """
    places: dict[str, int] = {}
    for place, token in enumerate(ours):
        places[token] = places.get(token, 0) | 1 << place
    row = whole = (1 << len(ours)) - 1
    for token in theirs:
        matched = row & places.get(token, 0)
        row = (row + matched | row - matched) & whole
    return len(ours) - row.bit_count()
