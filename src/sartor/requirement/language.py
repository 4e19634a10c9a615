"""Which language a task is in: by script where the script decides, by letter statistics where it does not."""

import re
import unicodedata
from collections.abc import Sequence

from sartor.data.text import short
from sartor.errors import TaskError

_SCRIPTS = {  # the first word of a character's Unicode name -> language that the script implies
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "THAI": "th",
    "GREEK": "el",
    "HEBREW": "he",
    "DEVANAGARI": "hi",
}
_ISO_639_1 = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo
es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg
ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn
no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta
te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
_CODES = frozenset(_ISO_639_1.split())
_SAMPLE_CHARACTERS = 20_000
_ENGLISH = re.compile(
    r"\b(the|is|are|was|and|or|to|of|for|in|it|this|that|with|you|my|i|not|be|by|from|on|at|what|how|can)\b"
)


def checked(code: str) -> str:
    """Return ``code`` in lower case, without a region: ``en`` for ``en-GB``.

    Raises:
        TaskError: when it is no code of ISO 639-1.
    """
    found = re.split("[-_]", code.strip().lower())[0]
    if found not in _CODES:
        raise TaskError(
            f"{short(code)!r} is no language code. Give the two letters of ISO 639-1, as 'en' or 'ja', or leave the "
            "language out to have it detected."
        )
    return found


def detect(texts: Sequence[str]) -> tuple[str, str]:
    """Return (ISO 639-1 code, one line of why) for the language that most of ``texts`` are in.

    Empty texts give English: that is what a description without letters is usually about.
    """
    sample = " ".join(text[:2000] for text in texts)[:_SAMPLE_CHARACTERS]
    letters = [char for char in sample if char.isalpha()]
    if not letters:
        return "en", "no letters to tell a language by; English taken"
    by_script = _by_script(letters)
    if by_script is not None:
        return by_script
    if sample.isascii() and len(_ENGLISH.findall(sample.lower())) >= max(2, len(sample.split()) // 20):
        return "en", "English function words"
    return _by_statistics(sample)


def _by_script(letters: Sequence[str]) -> tuple[str, str] | None:
    names = [unicodedata.name(char, "").split(" ", 1)[0] for char in letters]
    kana = sum(name in ("HIRAGANA", "KATAKANA") or name.startswith("HALFWIDTH") for name in names)
    han = sum(name == "CJK" for name in names)
    # Japanese mixes in Latin words and product names freely, so a modest share of kana decides
    if kana >= 0.05 * len(letters) or (kana and han):
        return "ja", f"{_share(kana + han, letters)} of the letters are Japanese"
    if han >= 0.3 * len(letters):
        return "zh", f"{_share(han, letters)} of the letters are Han characters, without kana"
    for script, code in _SCRIPTS.items():
        if (count := names.count(script)) >= 0.3 * len(letters):
            return code, f"{_share(count, letters)} of the letters are {script.title()}"
    return None


def _share(count: int, letters: Sequence[str]) -> str:
    return f"{100 * count / len(letters):.0f}%"


def _by_statistics(sample: str) -> tuple[str, str]:
    import py3langid  # 90 ms, and only where the script does not decide

    # too little plain ASCII is guessed at random: English is the safer reading of "refund" or "bug"
    if sample.isascii() and len(sample.split()) < 4:
        return "en", "too few words to tell; plain Latin letters, English taken"
    code, _ = py3langid.classify(sample)
    if code not in _CODES:  # a few rare languages have three letters, and three letters are what is taken for them
        return "en", "too little to tell by; English taken"
    return code, "letter statistics"
