"""Finds personal data in texts, masks it, and puts it back into the answer.

    text -> fold (width, dashes, invisible characters) -> recognisers -> spans -> one span a place -> mask

Kinds whose numbers carry a check (card: Luhn, ISO/IEC 7812-1; IBAN: mod 97, ISO 13616; My Number: ordinance 85 of
2014, article 5) are found wherever the check holds, whatever separates the digits. Names and addresses are found by
pattern and list, in English and Japanese: many, never all. What may be a name though no list knows it is of the kind
``unrecognised``, which a policy can block: that fails closed.

Recognisers read a folded copy, in which full-width letters are plain and characters without width are gone, and every
character knows where in the text it stood.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from sartor.llm import names

CHECKED: Final = ("card", "iban", "my_number", "ip", "email")
"""Kinds told by a check or a strict form: of these, nothing may leak."""
KINDS: Final = (*CHECKED, "phone", "key", "url", "address", "name")
"""All kinds that a policy names, but for ``unrecognised``."""

_IBAN_LENGTHS: Final = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24,
    "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
_DASHES: Final = dict.fromkeys(map(ord, "‐‑‒–—―−－ー﹣⁃"), "-")
_INVISIBLE: Final = frozenset("\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e")


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of personal data in a text."""

    start: int
    end: int
    kind: str
    text: str
    """As it stands there."""


@dataclass(frozen=True, slots=True)
class Masked:
    """A text without its personal data, and the way back."""

    text: str
    tags: Mapping[str, str]
    """Tag -> what it stands for. Never stored, never sent."""
    counts: Mapping[str, int]
    """Kind -> places that were masked."""

    def unmask(self, answer: str) -> str:
        """Return ``answer`` with tags turned back into what they stand for."""
        for tag, value in self.tags.items():
            answer = answer.replace(tag, value)
        return answer


class Recogniser(Protocol):
    """Something else that finds personal data: the way in for other packages."""

    def __call__(self, text: str) -> Iterable[Span]:
        """Yield what it finds; spans may overlap."""
        ...


_Found: TypeAlias = tuple[int, int, str]
_Finder: TypeAlias = Callable[[str], Iterator[_Found]]


def find(text: str, *, unrecognised: bool = False, others: Sequence[Recogniser] = ()) -> tuple[Span, ...]:
    """Return the personal data in ``text``, in its order, no two spans overlapping.

    Args:
        text: any.
        unrecognised: also find what may be a name though no list knows it.
        others: more recognisers.
    """
    folded, places = _fold(text)
    finders = (*_FINDERS, _unrecognised) if unrecognised else _FINDERS
    found = [(places[start], places[end - 1] + 1, kind) for finder in finders for start, end, kind in finder(folded)]
    found += [(span.start, span.end, span.kind) for recogniser in others for span in recogniser(text)]
    return tuple(Span(start, end, kind, text[start:end]) for start, end, kind in _apart(found))


def mask(text: str, spans: Sequence[Span]) -> Masked:
    """Return ``text`` with every span replaced by a tag as ``[EMAIL_1]``; one value has one tag."""
    opening = "["
    while re.search(re.escape(opening) + r"[A-Z_]+_\d+\]", text):  # the text has such tags itself
        opening += "["
    tags: dict[tuple[str, str], str] = {}
    counts: dict[str, int] = {}
    pieces: list[str] = []
    at = 0
    for span in spans:
        number = sum(kind == span.kind for kind, _ in tags) + 1
        tag = tags.setdefault((span.kind, span.text), f"{opening}{span.kind.upper()}_{number}]")
        counts[span.kind] = counts.get(span.kind, 0) + 1
        pieces += [text[at : span.start], tag]
        at = span.end
    return Masked("".join([*pieces, text[at:]]), {tag: value for (_, value), tag in tags.items()}, counts)


def luhn(digits: str) -> bool:
    """Return whether the last digit checks the others (ISO/IEC 7812-1).

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    doubled = [int(digit) * (2 if at % 2 else 1) for at, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def iban(text: str) -> bool:
    """Return whether an account number without spaces checks (mod 97) and is as long as its country's.

    >>> iban("GB82WEST12345698765432"), iban("GB82WEST12345698765431")
    (True, False)
    """
    if len(text) != _IBAN_LENGTHS.get(text[:2], len(text)) or not 15 <= len(text) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def my_number(digits: str) -> bool:
    """Return whether twelve digits are a My Number by its check digit.

    >>> my_number("123456789018"), my_number("123456789012")
    (True, False)
    """
    if len(digits) != 12:
        return False
    weights = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
    rest = sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False)) % 11
    return int(digits[11]) == (0 if rest <= 1 else 11 - rest)


# --- folding -----------------------------------------------------------------------------------------------


def _fold(text: str) -> tuple[str, list[int]]:
    """Return the text as recognisers read it, and where each of its characters stood."""
    characters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        if character in _INVISIBLE:
            continue
        plain = unicodedata.normalize("NFKC", character) if not character.isascii() else character
        if character == "ー" and not (characters and characters[-1].isdigit()):
            plain = character  # of katakana, not between digits
        elif ord(character) in _DASHES:
            plain = "-"
        characters.append(plain if len(plain) == 1 else character)
        places.append(place)
    return "".join(characters), places


def _apart(found: list[_Found]) -> list[_Found]:
    """Return spans without overlaps: where two meet, the first kind of :data:`KINDS` takes both places."""
    rank = {kind: at for at, kind in enumerate((*KINDS, "unrecognised"))}
    apart: list[_Found] = []
    for start, end, kind in sorted(found, key=lambda span: (span[0], -span[1])):
        if apart and start < apart[-1][1]:
            before = apart[-1]
            best = min(before[2], kind, key=lambda one: rank.get(one, len(rank)))
            apart[-1] = (before[0], max(before[1], end), best)
        else:
            apart.append((start, end, kind))
    return apart


# --- recognisers -------------------------------------------------------------------------------------------

_EMAIL = re.compile(r"[A-Za-zÀ-ɏ0-9_.!#$%&'*+/=?^`{|}~-]{1,64}\s?@\s?[A-Za-zÀ-ɏ0-9-]{1,63}(?:\.[A-Za-zÀ-ɏ0-9-]{1,63})+")
_DIGITS = re.compile(r"\d(?:[ \t.\-/_]{0,3}\d){9,60}")
_GROUP = re.compile(r"\d+")
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[ -]?\d[ -]?\d(?:[ \-]{0,2}[A-Za-z0-9]){11,40}")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d]|\.\d)")
_IPV6 = re.compile(
    r"(?<![A-Za-z0-9:])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?"
    r"(?![A-Za-z0-9]|:[0-9A-Fa-f:])"
)
_PHONES = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        r"(?<![A-Za-z0-9+])\+\d{1,3}[ .\-]?(?:\(\d{1,4}\)[ .\-]?)?\d(?:[ .\-]{0,2}\d){5,13}(?!\d)",
        r"(?<!\d)\(?0\d{1,4}\)?[ \-]{0,2}\d{1,4}[ \-]{1,2}\d{3,4}(?!\d)",  # Japan, Britain: 03-1234-5678
        r"(?<!\d)0[5789]0[ \-]?\d{4}[ \-]?\d{4}(?!\d)",
        r"(?<!\d)0(?:120|800)[ \-]?\d{3}[ \-]?\d{3,4}(?!\d)",
        r"(?<!\d)0\d{9}(?!\d)",
        r"(?<![\d-])(?:1[ .\-])?\(?[2-9]\d{2}\)?[ .\-]{1,2}\d{3}[ .\-]\d{4}(?![\d-])",  # North America
        r"(?i)(?:tel|phone|mobile|cell|fax|電話|携帯)(?:番号)?(?: number)?(?: is)?[:：は \-.]{0,4}"
        r"(\+?\d(?:[ \-.()]{0,2}\d){5,13})",
    )
)
_KEYS = tuple(
    re.compile(pattern, re.ASCII)  # in Japanese no space stands before a key
    for pattern in (
        r"\b(?:sk|pk|rk)[-_](?:live|test|proj|ant|or|svcacct)?[-_]?[A-Za-z0-9_\-]{16,}",
        r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{12,20}\b",
        r"\bgh[pousr]_[A-Za-z0-9]{20,}\b",
        r"\bgithub_pat_[A-Za-z0-9_]{20,}\b",
        r"\bglpat-[A-Za-z0-9_\-]{16,}",
        r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
        r"\bAIza[A-Za-z0-9_\-]{30,}",
        r"\bhf_[A-Za-z0-9]{20,}\b",
        r"\bnpm_[A-Za-z0-9]{20,}\b",
        r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        r"(?i)\bbearer\s+[A-Za-z0-9._~+/\-]{12,}=*",
        r"(?i)(?:api[ _-]?key|secret|token|passw(?:or)?d|passphrase|pwd|パスワード|暗証番号|秘密鍵)"
        r"(?:[ \t]*[:=：は]|[ ]is[ ]?[:=]?)[ \t]*[\"']?(\S{4,})",
        r"(?<![A-Za-z0-9])(?=[A-Za-z0-9+/_\-]*\d)(?=[A-Za-z0-9+/_\-]*[A-Za-z])[A-Za-z0-9+/_\-]{40,}={0,2}",
    )
)
_URL = re.compile(
    r"(?i)(?<![A-Za-z0-9])(?:https?|ftp)://[^\s<>\"'、。）」]+|(?<![A-Za-z0-9])www\.[\w-]+(?:\.[\w-]+)+[^\s<>\"'、。）」]*"
)

_NUMBER = "[0-9一二三四五六七八九十百]"
_KANJI = r"[\u3400-\u9fff々ヶケノ]"
_TOWN = r"[\u3400-\u9fffぁ-んァ-ヴー々ヶ]"
_ADDRESSES = tuple(
    re.compile(pattern)
    for pattern in (
        r"〒?(?<!\d)\d{3}-\d{4}(?!\d)(?!-)",
        rf"(?:{'|'.join(names.PREFECTURES)})(?:{_TOWN}{{1,8}}?[市区町村郡])*(?:{_TOWN}{{1,12}}?)?"
        rf"(?:{_NUMBER}+(?:丁目|番地|番|号|の|-)?)+(?:{_NUMBER}*号室?)?"
        rf"(?:[ 　]?{_TOWN}{{1,12}}[ 　]?\d{{2,4}}(?:号室?)?)?",
        rf"(?:{'|'.join(names.PREFECTURES)}){_TOWN}{{1,8}}?[市区町村郡](?:{_TOWN}{{1,6}}?[区町村])?",
        rf"{_KANJI}{{1,6}}[市区町村]{_TOWN}{{0,12}}?{_NUMBER}+(?:丁目|番地|番|号|-)(?:{_NUMBER}+(?:丁目|番地|番|号|の|-)?)*"
        r"(?:号室?)?",
        rf"{_KANJI}{{1,8}}{_NUMBER}+丁目(?:{_NUMBER}+(?:番地|番|号|の|-)?)*",
        rf"(?i:(?<![\d:.,])\b\d{{1,5}}[A-Za-z]?,?\s+(?:[A-Z][\w'’.-]*\s+){{1,4}}(?:{'|'.join(names.STREETS_EN)})\b\.?)"
        r"(?:,?\s+(?i:apt|apartment|suite|unit|flat|#)\.?\s*\w+)?(?:,\s*[A-Z][\w'’ -]+){0,2}"
        r"(?:,?\s+[A-Z]{2}\s+\d{5}(?:-\d{4})?)?",
        r"(?i)\bP\.?\s?O\.?\s+Box\s+\d+",
        r"\b[A-Z]{1,2}\d[A-Z\d]?\s\d[A-Z]{2}\b",  # a British postcode
        r"\b[A-Z]{2}\s\d{5}(?:-\d{4})?\b",  # a state and a ZIP code
    )
)

_CAPITAL = r"(?<![A-Za-zÀ-ž])[A-ZÀ-ÖØ-ÞĀ-Ž][\w’'\-]{0,40}"
_TITLED = re.compile(
    rf"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Madam|Judge|Captain|Capt|Rev)\.?\s?({_CAPITAL}(?:\s{_CAPITAL}){{0,2}})"
)
_INTRODUCED = re.compile(
    r"(?:(?i:my name(?: is|[’']s)|i am called|name\s*[:=]|signed,?|regards,|sincerely,|called)"
    r"|\b(?:Dear|Hi|Hello|Hey|I am|I[’']m|This is|[Tt]hanks,|[Tt]hank you,|[Cc]heers,|[Bb]est,|cc|attn:?)),?\s+"
    rf"({_CAPITAL}(?:\s(?:{_CAPITAL}|[A-Z]\.)){{0,3}})"
)
_BESIDE_MAIL = re.compile(rf"({_CAPITAL}(?:\s(?:{_CAPITAL}|[A-Z]\.)){{0,3}})\s?[(<\[]\s?[\w.+-]{{1,64}}@")
_CAPITALS = re.compile(rf"{_CAPITAL}(?:\s(?:{_CAPITAL}|[A-Z]\.|de|van|von|der|bin|al|la|da|del|di)){{0,4}}")
_NO_NAMES = frozenset(
    names.words(
        """
        the this that these those i we you he she it they a an my our your his her its their and or but if when
        where how what why who please thanks thank dear hi hello hey sir madam team all everyone there mr mrs ms
        dr customer support service monday tuesday wednesday thursday friday saturday sunday january february
        march april may june july august september october november december not sorry sure very so still just
        also now then here in on at to of for from with as by is are was were be been has have had do does did
        can could will would should write make create translate give answer question yes no ok okay english
        japanese chinese french german spanish
        """
    )
)
_HONORIFICS = "さん|様|さま|氏|君|くん|ちゃん|先生|殿|部長|課長|社長|係長|専務|常務|教授|主任"
_SURNAMES = "|".join(sorted(names.SURNAMES_JA, key=len, reverse=True))
_GIVEN = "|".join(sorted(names.GIVEN_JA, key=len, reverse=True))
_JAPANESE_NAMES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?:{_SURNAMES})[ 　・]?(?:{_GIVEN})",
        rf"(?:{_SURNAMES})(?=(?:[ 　]?(?:{_HONORIFICS})))",
        rf"(?:(?:{_SURNAMES})[ 　]?[\u3400-\u9fffぁ-んァ-ヴー]{{0,3}}?)"
        rf"(?=(?:{_HONORIFICS}|と申し|といい|です。|でございます))",
        rf"(?<![\u3400-\u9fffァ-ヴー])(?:{_GIVEN})(?=(?:{_HONORIFICS}))",
        r"(?<![\u3400-\u9fff])[\u3400-\u9fff]{2,4}(?=(?:さん|氏|殿)(?![\u3400-\u9fff]))",
        r"(?<![ァ-ヴー])[ァ-ヴー]{2,8}(?:[ 　・][ァ-ヴー]{2,8})?(?=(?:さん|様|さま|氏|君|くん|ちゃん|先生))",
        r"(?:氏名|名前|お名前|担当者?|宛名|フリガナ|ふりがな|契約者|申込者|患者)(?:名)?[ 　]?(?:は|:|：|が)[ 　]?"
        r"([\u3400-\u9fffぁ-んァ-ヴー々]{1,6}(?:[ 　・][\u3400-\u9fffぁ-んァ-ヴー々]{1,6})??)"
        r"(?=です|と|で|、|。|,|\s(?![\u3400-\u9fffぁ-んァ-ヴー])|$|様|さん|に|の)",
        rf"(?:私は|わたくし|わたしは|僕は)[ 　]?((?:{_SURNAMES})(?:[ 　]?[\u3400-\u9fffぁ-んァ-ヴー]{{1,3}})?)"
        r"(?=です|と申|と言)",
        # after a stop: whatever is said to be called so, or is spoken of politely
        r"(?:^|[。、！？!?,，\s：:])([\u3400-\u9fff々]{1,5}[ 　]?[\u3400-\u9fffぁ-んァ-ヴー々]{1,5})"
        r"(?=と申し|と言いま|といいま)",
        r"お世話になって(?:おり|い)ます。([\u3400-\u9fff々]{1,5}[ 　]?[\u3400-\u9fffぁ-んァ-ヴー々]{0,5}?)"
        r"(?=です|と申)",
        r"(?:^|[。、！？!?,，\s：:はがのに])(?!皆|各|御|貴|奥|神|王|何|上|殿)([\u3400-\u9fff々]{2,5}"
        r"(?:[ 　][\u3400-\u9fffぁ-んァ-ヴー々]{1,5})?)(?=様|さん|氏|殿)",
        rf"(?<![\u3400-\u9fff])(?:{_SURNAMES})[ 　][\u3400-\u9fffぁ-んァ-ヴー]{{1,4}}(?![\u3400-\u9fff])",
    )
)


def _of(kind: str, *patterns: re.Pattern[str]) -> _Finder:
    """Return a finder of patterns; of one with a group, the group is what is found."""

    def finder(text: str) -> Iterator[_Found]:
        for pattern in patterns:
            for match in pattern.finditer(text):
                start, end = match.span(match.lastindex or 0)
                if end > start:
                    yield start, end, kind

    return finder


def _numbers(text: str) -> Iterator[_Found]:
    """Yield cards and My Numbers: any run of groups of digits whose check holds."""
    for match in _DIGITS.finditer(text):
        groups = [(group.start(), group.end()) for group in _GROUP.finditer(text, *match.span())]
        for first in range(len(groups)):
            digits = ""
            for last in range(first, len(groups)):
                digits += text[slice(*groups[last])]
                if len(digits) > 19:
                    break
                kind = _checked(digits)
                if kind:
                    yield groups[first][0], groups[last][1], kind


def _checked(digits: str) -> str:
    if 13 <= len(digits) <= 19 and digits[0] in "23456" and luhn(digits):
        return "card"
    return "my_number" if my_number(digits) else ""


def _accounts(text: str) -> Iterator[_Found]:
    for match in _IBAN_START.finditer(text):
        at, letters = match.start(), ""
        for place in range(at, match.end()):
            if text[place].isascii() and text[place].isalnum():
                letters += text[place].upper()
                follows = text[place + 1 : place + 2]
                if len(letters) >= 15 and not (follows.isascii() and follows.isalnum()) and iban(letters):
                    yield at, place + 1, "iban"


def _addresses_of_machines(text: str) -> Iterator[_Found]:
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            try:
                ipaddress.ip_address(match.group())
            except ValueError:
                continue
            yield *match.span(), "ip"


def _english_names(text: str) -> Iterator[_Found]:
    for pattern in (_TITLED, _INTRODUCED, _BESIDE_MAIL):
        for match in pattern.finditer(text):
            words = match.group(1).split()
            while words and words[-1].strip(".").lower() in _NO_NAMES:
                words.pop()
            if words and words[0].lower() not in _NO_NAMES:
                yield match.start(1), match.start(1) + len(" ".join(words)), "name"
    for match in _CAPITALS.finditer(text):
        yield from _listed_names(match)


def _listed_names(match: re.Match[str]) -> Iterator[_Found]:
    """Yield a run of capitalised words from a given name on, or from a surname on that follows one."""
    words = [(word.start() + match.start(), word.group()) for word in re.finditer(r"\S+", match.group())]
    for at, (start, word) in enumerate(words):
        plain = word.lower().removesuffix("'s").removesuffix("’s")
        follows = words[at + 1][1].lower() if at + 1 < len(words) else ""
        certain = plain in names.GIVEN_EN and plain not in names.AMBIGUOUS_EN
        beside = plain in names.GIVEN_EN and follows.removesuffix("'s") in names.SURNAMES_EN
        if not (certain or beside):
            continue
        tail = [pair for pair in words[at:] if pair[1].lower() not in _NO_NAMES][:4]
        last_start, last = tail[-1] if len(tail) == len(words[at:][:4]) else tail[0]
        yield start, last_start + len(last), "name"
        return


_SENTENCE_END = re.compile(r"(?:^|[.!?:。！？\n\"“”(\[•*|-])\s*$")


def _unrecognised(text: str) -> Iterator[_Found]:
    """Yield what may be a name: capitals within a sentence, capitals in a row, katakana, letters with digits."""
    for match in _CAPITALS.finditer(text):
        words = match.group().split()
        starts = bool(_SENTENCE_END.search(text[max(0, match.start() - 6) : match.start()]))
        if starts and len(words) == 1 and not words[0][1:].isupper():
            continue
        if all(word.lower() in _NO_NAMES for word in words):
            continue
        yield *match.span(), "unrecognised"
    for match in re.finditer(
        rf"[ァ-ヴー]{{2,}}(?:・[ァ-ヴー]{{2,}})*|(?:{_SURNAMES})(?![\u3400-\u9fff])|@\w{{3,}}", text
    ):
        yield *match.span(), "unrecognised"


_FINDERS: Final[tuple[_Finder, ...]] = (
    _of("email", _EMAIL),
    _numbers,
    _accounts,
    _addresses_of_machines,
    _of("phone", *_PHONES),
    _of("key", *_KEYS),
    _of("url", _URL),
    _of("address", *_ADDRESSES),
    _english_names,
    _of("name", *_JAPANESE_NAMES),
)
