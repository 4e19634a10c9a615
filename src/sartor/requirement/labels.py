"""Labels that a description names: "... to billing, bug or other", "...を請求・不具合・その他に分類"."""

import re

_WORD = r"\w(?:[\w&+#./'-]*[\w+#])?"
_PHRASE = rf"{_WORD}(?: {_WORD}){{0,3}}"
# "a, b or c" / "a or b" / "a / b / c": at least one separator
_SERIES = re.compile(
    rf"(?P<first>{_PHRASE})(?P<more>(?:\s*,\s*(?!or\b|and\b){_PHRASE})*)"
    rf"\s*,?\s+(?:or|and|vs\.?|versus)\s+(?P<last>{_PHRASE})",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"\s(?:or|vs\.?|versus)\s", re.IGNORECASE)
_AFTER_COLON = re.compile(rf"[:(]\s*({_PHRASE}(?:\s*,\s*{_PHRASE})+)\s*[.)]*\s*$")
_SLASHES = re.compile(rf"{_WORD}(?:\s*[/|]\s*{_WORD})+")
_LEAD = re.compile(r"\b(?:to|into|as|between|either|is|are|in|labels?|classes|categories|one of)[\s:]+", re.IGNORECASE)
_LEADING_NOISE = re.compile(r"^(?:(?:a|an|the|it is|it's|is it|is|are|be|either|being|about)\s+)+", re.IGNORECASE)
_TRAILING_NOISE = re.compile(
    r"\s+(?:mails?|emails?|messages?|tickets?|texts?|reviews?|categories|classes|labels|ones?|by|for|from|in|of|on|so"
    r"|that|with|according|depending|based)\b.*$",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"^(?:(?:is|are|was|were)\s+)?(?:this|these|that|those|the|my|our|it|each)\b.*\s(\S+)$", re.IGNORECASE
)
_SUBJECT_JA = re.compile(r"^.*[はがを](?=[^はがを]+$)")
_QUOTED = re.compile(r"「([^」]{1,40})」|『([^』]{1,40})』|\"([^\"]{1,40})\"|“([^”]{1,40})”|'([^']{2,40})'")
_YES_NO = re.compile(r"^\s*(?:is|are|does|do|did|was|were|has|have|can|should|will|would)\b[^?]*\?\s*$", re.IGNORECASE)
_WHETHER = re.compile(r"\bwhether or not\b|\bor not\s*[?.]?\s*$", re.IGNORECASE)
_YES_NO_JA = re.compile(r"(?:ですか|ますか|でしょうか)[^、。]*[。??]?\s*$")
_SERIES_JA = re.compile(
    r"([^\s。「」を]{1,200}?)\s*(?:の(?:どれか|いずれか|どちらか)|の?[0-9二三四五六七八九十]+(?:つ|種類?|クラス|値)"
    r"|か?に(?:分類|分け|振り?分け|仕分け|割り?当て)|か(?:を|分類|判定|判別|どちら))"
)
_SPLIT_JA = re.compile(r"\s*(?:、|,|，|・|/|／|または|もしくは|あるいは|及び|および|か(?=[^\s、]))\s*")


def labels_in(description: str) -> tuple[str, ...]:
    """Return the labels that ``description`` names, in its order; empty when it names none.

    >>> labels_in("Route support mails to billing, bug or other")
    ('billing', 'bug', 'other')
    >>> labels_in("Is this review positive or negative?")
    ('positive', 'negative')
    >>> labels_in("Does the customer want a refund?")
    ('yes', 'no')
    >>> labels_in("問い合わせを「請求」「不具合」「その他」に分類する")
    ('請求', '不具合', 'その他')
    """
    for find in (_quoted, _whether, _japanese, _series, _after_colon, _slashes, _yes_no):
        labels = tuple(dict.fromkeys(find(description)))
        if len(labels) >= 2:
            return labels
    return ()


def _quoted(description: str) -> list[str]:
    return ["".join(groups).strip() for groups in _QUOTED.findall(description)]


def _series(description: str) -> list[str]:
    # a list is named last: "mails and chats to billing, bug or other" must give the second one, so the text after
    # the last lead word ("to", "into", "as" ...) is tried before the whole
    starts = [match.end() for match in _LEAD.finditer(description)]
    for start in [*reversed(starts), 0]:
        match = _SERIES.match(description, start) if start else _SERIES.search(description)
        if match and (start or _CHOICE.search(match.group(0))):
            middle = [part for part in match.group("more").split(",") if part.strip()]
            return [_trim(part) for part in (match.group("first"), *middle, match.group("last"))]
    return []


def _after_colon(description: str) -> list[str]:
    found = _AFTER_COLON.search(description)
    return [_trim(part) for part in found.group(1).split(",")] if found else []


def _slashes(description: str) -> list[str]:
    found = _SLASHES.findall(description)
    return [_trim(part) for part in re.split(r"[/|]", found[-1])] if found else []


def _trim(phrase: str) -> str:
    phrase = phrase.strip().rstrip(".?!;:")
    # what stands before a label in a question: "Is this review positive" -> "positive"
    if question := _SUBJECT.match(phrase):
        phrase = question.group(1)
    phrase = _TRAILING_NOISE.sub("", _LEADING_NOISE.sub("", phrase))
    return phrase.strip()


def _whether(description: str) -> list[str]:
    if _WHETHER.search(description):
        return ["yes", "no"]
    return ["はい", "いいえ"] if "かどうか" in description else []


def _yes_no(description: str) -> list[str]:
    if _YES_NO.match(description) or re.search(r"\byes[ /-]*(?:or )?no\b", description, re.I):
        return ["yes", "no"]
    return ["はい", "いいえ"] if _YES_NO_JA.search(description) else []


def _japanese(description: str) -> list[str]:
    match = _SERIES_JA.search(description)
    if match is None:
        return []
    first, *rest = [part for part in _SPLIT_JA.split(match.group(1)) if part]
    return [_SUBJECT_JA.sub("", first), *rest]
