"""Text-to-text tasks that a program answers: unlimited rows, and many tasks that read the very same inputs.

A generator learns to ignore its condition where the input alone tells the task. So tasks draw their inputs from pools
that they share (business messages, lists of nouns, dates ...): the same message is to be put in capitals, searched
for an e-mail address, or wrapped in JSON, and only the condition says which.

Every text belongs to the training or to the test rows by its hash alone (:func:`is_test`), so that it is on the same
side in all tasks. Inputs are English, but for the pool ``languages`` and the words that some tasks answer with.
"""

import functools
import json
import random as randoms
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from typing import Any

from sartor.errors import NotFoundError
from sartor.pretrain.mixture import fingerprint
from sartor.types import Example

Function = Callable[[str], str | None]
"""What a task answers; None where the input does not suit it."""

TEXTS = 8000
"""Inputs that a pool makes at most for one seed."""
_REPEATS = 500
"""A pool is exhausted after as many repeats in a row."""
_COMPOSED = "composition"


@dataclass(frozen=True, slots=True)
class Pool:
    """A maker of inputs."""

    name: str
    given: str
    """What its texts are called in a description, with the article."""
    write: Callable[[randoms.Random], str]


@dataclass(frozen=True, slots=True)
class Transform:
    """A task with a program for an answer."""

    name: str
    """``FAMILY/NAME``, unique."""
    family: str
    """Tasks of one family are held out together."""
    pool: str
    """Tasks of one pool read the same inputs."""
    descriptions: tuple[str, ...]
    function: Function
    do: str
    """What is done, as an imperative; empty where labels are asked for."""
    noun: str
    """What is answered, with the article; empty where labels are asked for."""
    metric: str = "exact_match"
    parts: tuple[str, ...] = ()
    """Families of the steps of a composition; it can be learned only where all of them are."""

    def make(self, seed: int, n: int, keep: Callable[[str], bool] | None = None) -> tuple[Example, ...]:
        """Return up to ``n`` rows, no input twice, in the order of the pool.

        Args:
            seed: of the pool's inputs; tasks of one pool and seed read the same inputs.
            n: how many at most.
            keep: which inputs may be taken; None takes all.
        """
        found = ((text, self.function(text)) for text in inputs(self.pool, seed) if keep is None or keep(text))
        return tuple(islice((Example(text, answer) for text, answer in found if answer), n))


@functools.lru_cache(2**17)
def is_test(text: str) -> bool:
    """Return whether an input is a test row in all tasks; copies that differ in case or spaces go the same way."""
    return share(text, 2, "row") == 1


def share(text: str, parts: int, salt: str) -> int:
    """Return which of ``parts`` equal shares a text's hash falls in."""
    return int(fingerprint(f"{salt} {text}"), 16) % parts


@functools.cache
def inputs(pool: str, seed: int, most: int = TEXTS) -> tuple[str, ...]:
    """Return the distinct inputs of a pool, ``most`` of them or all that it has.

    Raises:
        NotFoundError: no pool has this name.
    """
    if pool not in POOLS:
        raise NotFoundError(f"There is no pool of inputs named {pool!r}; known are {', '.join(sorted(POOLS))}.")
    random = randoms.Random(f"{pool} {seed}")
    found: dict[str, str] = {}
    repeats = 0
    while len(found) < most and repeats < _REPEATS:
        text = POOLS[pool].write(random)
        key = text.casefold()
        repeats = repeats + 1 if key in found else 0
        found.setdefault(key, text)
    return tuple(found.values())


# --- words that texts are made of --------------------------------------------------------------------------

_V: dict[str, Any] = json.loads(files("sartor.pretrain").joinpath("vocabulary.json").read_text(encoding="utf-8"))


def _column(table: str, to: int) -> dict[str, str]:
    return {row[0]: row[to] for row in _V[table]}


def _keys(table: str) -> list[str]:
    return [row[0] for row in _V[table]]


_PLURAL = _column("nouns", 1)
_CITIES, _COMPANIES, _MONTHS = _V["city"], _V["company"], _V["month"]


# --- pools -------------------------------------------------------------------------------------------------


def _name(random: randoms.Random) -> str:
    return f"{random.choice(_V['first'])} {random.choice(_V['last'])}"


def _message(random: randoms.Random) -> str:
    first, last, site = random.choice(_V["first"]), random.choice(_V["last"]), random.choice(_V["site"])
    filled = {
        "name": f"{first} {last}",
        "email": f"{random.choice([first, last, f'{first}.{last}', 'info', 'office'])}@{site}".lower(),
        "phone": f"+{random.choice([1, 33, 44, 49, 61])} {random.randint(20, 989)} {random.randint(100000, 9999999)}",
        "money": f"{random.choice('$€£')}{random.choice([random.randint(2, 999), f'{random.randint(2, 99)}.50'])}",
        "order": f"{random.choice('ABCDEFGH')}-{random.randint(1000, 99999)}",
        "year": str(random.randint(1960, 2029)),
        "url": f"https://{site}/{random.choice(_V['page'])}",
        "percent": f"{random.randint(2, 95)}%",
        "time": f"{random.randint(7, 22)}:{random.choice(['00', '15', '30', '45'])}",
        **{key: random.choice(_V[key]) for key in ("company", "city", "thing", "tag", "quoted", "weekday")},
    }
    return random.choice(_V["messages"]).format(**filled)


def _sentence(random: randoms.Random) -> str:
    (noun, noun2), (adjective, adjective2) = random.sample(_keys("nouns"), 2), random.sample(_keys("adjectives"), 2)
    first, other = random.sample(_V["first"], 2)
    return random.choice(_V["sentences"]).format(
        **{"noun": noun, "noun2": noun2, "adjective": adjective, "adjective2": adjective2, "first": first},
        **{"other": other, "count": random.randint(2, 60), "more": random.randint(2, 60), "plural": _PLURAL[noun2]},
        **{"plural2": _PLURAL[random.choice(_keys("nouns"))], "past": random.choice(_V["past"])},
        **{"place": random.choice(_V["place"]), "city": random.choice(_CITIES)},
    )


def _review(random: randoms.Random) -> str:
    good = random.random() < 0.5
    aspect, aspect2 = random.sample(random.choice(list(_V["aspects"].values())), 2)
    text = random.choice(_V["review"]).format(
        aspect=aspect,
        aspect2=aspect2,
        judged=random.choice(_V["positive" if good else "negative"]),
        tail=random.choice(_V["praise" if good else "blame"]),
    )
    return text[0].upper() + text[1:]


def _list_of(table: str, sizes: Sequence[int]) -> Callable[[randoms.Random], str]:
    return lambda random: ", ".join(random.sample(_keys(table), random.choice(sizes)))


def _date(random: randoms.Random) -> str:
    year, month, day = random.randint(1980, 2039), random.randint(1, 12), random.randint(1, 28)
    name = _MONTHS[month - 1]
    return random.choice([f"{year}-{month:02}-{day:02}", f"{name} {day}, {year}", f"{day} {name} {year}"])


def _time(random: randoms.Random) -> str:
    hour, minute = random.randint(0, 23), random.randint(0, 59)
    return random.choice([f"{hour:02}:{minute:02}", _twelve(hour, minute)])


def _twelve(hour: int, minute: int) -> str:
    return f"{(hour + 11) % 12 + 1}:{minute:02} {'am' if hour < 12 else 'pm'}"


def _number(random: randoms.Random) -> str:
    kind, small = random.randrange(4), random.randint(1, 999)
    return [str(small), _spelled(small), f"{random.randint(1000, 9999)}", f"{random.randint(10000, 99999)}"][kind]


def _quantity(random: randoms.Random) -> str:
    number = random.choice([str(random.randint(2, 400)), f"{random.randint(2, 99)}.5"])
    short = random.choice(list(_UNITS))
    return f"{number} {short if random.random() < 0.6 else _UNITS[short][0]}"


def _record(random: randoms.Random) -> str:
    fields = {
        "name": _name(random),
        "city": random.choice(_CITIES),
        "item": random.choice(_keys("nouns")),
        "quantity": random.randint(2, 40),
    }
    return "; ".join(f"{key}: {value}" for key, value in fields.items())


def _foreign(random: randoms.Random) -> str:
    start, middle, end = map(random.choice, _V["languages"][random.choice(list(_V["languages"]))])
    return f"{start}, {middle} {end}"


POOLS: Mapping[str, Pool] = {
    pool.name: pool
    for pool in (
        Pool("messages", "a business message", _message),
        Pool("sentences", "a short sentence", _sentence),
        Pool("reviews", "a customer review", _review),
        Pool("nouns", "a list of words", _list_of("nouns", (1, 2, 2, 3, 3, 4))),
        Pool("verbs", "a few verbs", _list_of("verbs", (1, 2, 2, 3))),
        Pool("adjectives", "a few adjectives", _list_of("adjectives", (1, 2, 2, 3))),
        Pool("countries", "a list of countries", _list_of("countries", (1, 2, 2, 3))),
        Pool("dates", "a date", _date),
        Pool("times", "a time of day", _time),
        Pool("numbers", "a number", _number),
        Pool("quantities", "a quantity with its unit", _quantity),
        Pool("people", "a person's name", _name),
        Pool("records", "an order record", _record),
        Pool("languages", "a sentence in some language", _foreign),
    )
}

# --- how tasks are told ------------------------------------------------------------------------------------

_WORDINGS = (
    "{Do}.",
    "Could you {do}?",
    "Your task is to {do}. Answer with nothing else.",
    "You get {given}. Please {do}.",
    "I need a small model that takes {given} and returns {noun}, without any explanation.",
    "{Noun}",
    "For each input, which is {given}, the right output is {noun}.",
)
_LABEL_WORDINGS = (
    "Answer {rules}.",
    "Classes: {named}.",
    "You get {given}. Reply with {labels}: {named}.",
    "{steps}",
    "I need a classifier that reads {given} and returns {bracketed}, nothing else.",
    "Which one fits {given}? {arrows}",
)
_COMPOSED_WORDINGS = (
    "{Do}, then {then}.",
    "Take {noun} and {then}.",
    "Two steps. First, {do}. Second, {then}.",
    "You get {given}. Find {noun}, {then} and return only that.",
    "What comes out if you {do} and then {then}?",
    "From {given}, return {noun}; before you answer, {then}.",
)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _fill(wordings: Iterable[str], more: Iterable[str], values: Mapping[str, str]) -> tuple[str, ...]:
    capitals = {_capital(key): _capital(value) for key, value in values.items() if value}
    return tuple(dict.fromkeys([*more, *(wording.format(**values, **capitals) for wording in wordings)]))


def _task(family: str, pool: str, name: str, do: str, noun: str, function: Function, *more: str) -> Transform:
    """Return a task that is told by ``do``, by ``noun`` and in ``more`` words of its own."""
    told = _fill(_WORDINGS, more, {"do": do, "noun": noun, "given": POOLS[pool].given})
    return Transform(f"{family}/{name}", family, pool, told, function, do, noun)


def _labels(
    family: str, pool: str, name: str, kind: Callable[[str], str | None], classes: Mapping[str, tuple[str, str]]
) -> Transform:
    """Return a task that answers with label words.

    Args:
        family: of the task.
        pool: of its inputs.
        name: within the family.
        kind: the class of a text.
        classes: class -> its label, and a clause that says when it fits.
    """
    pairs = list(classes.values())
    labels = [label for label, _ in pairs]
    told = _fill(
        _LABEL_WORDINGS,
        (),
        {
            "rules": _joined([f"{label} if {clause}" for label, clause in pairs], "and"),
            "named": "; ".join(f"{label} = {clause}" for label, clause in pairs),
            "labels": _joined(labels, "or"),
            "steps": " ".join(f"If {clause}, write {label}." for label, clause in pairs),
            "bracketed": _joined([f"{label} ({clause})" for label, clause in pairs], "or"),
            "arrows": ", ".join(f"{clause} -> {label}" for label, clause in pairs),
            "given": POOLS[pool].given,
        },
    )

    def answer(text: str) -> str | None:
        found = kind(text)
        return None if found is None else classes[found][0]

    return Transform(f"{family}/{name}", family, pool, told, answer, "", "", metric="accuracy")


def _joined(parts: Sequence[str], word: str) -> str:
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}" if len(parts) > 1 else parts[0]


_Maker = Callable[..., Transform]


def _maker(family: str, pool: str) -> _Maker:
    return functools.partial(_task, family, pool)


# --- text ---------------------------------------------------------------------------------------------------


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text)


def _nth(place: int, least: int = 1) -> Function:
    def answer(text: str) -> str | None:
        words = _words(text)
        return words[place] if len(words) >= least else None

    return answer


def _kept(keep: Callable[[str], bool]) -> Function:
    """Keep words."""
    return lambda text: " ".join(word for word in _words(text) if keep(word)) or None


def _without(pattern: str) -> Function:
    """Delete what a pattern matches, and the spaces that would stand doubled."""

    def answer(text: str) -> str | None:
        left = " ".join(re.sub(pattern, "", text).split())
        return left if left != text else None

    return answer


def _all(pattern: str, between: str = " ") -> Function:
    return lambda text: between.join(re.findall(pattern, text)) or None


def _only(pattern: str) -> Function:
    """Return the one match; None where there is none or there are several."""

    def answer(text: str) -> str | None:
        found = re.findall(pattern, text)
        return found[0] if len(found) == 1 else None

    return answer


def _count(pattern: str) -> Function:
    return lambda text: str(len(re.findall(pattern, text)))


def _replaced(old: str, new: str) -> Function:
    """Replace what a pattern matches; None where it matches nothing."""
    return lambda text: re.sub(old, new, text) if re.search(old, text) else None


def _case() -> Iterator[Transform]:
    of = _maker("case", "sentences")
    yield of("upper", "write the text in capital letters", "the text in capital letters", str.upper, "all caps please")
    yield of("lower", "write everything in lower case", "the text in lower case", str.lower, "no capitals at all")
    yield of(
        "title",
        "capitalise the first letter of every word",
        "the text with every word capitalised",
        lambda text: re.sub(r"[^\W\d_]+", lambda found: _capital(found[0]), text),
        "Title Case",
    )
    yield of("swap", "swap upper and lower case", "the text with upper and lower case swapped", str.swapcase)
    yield of(
        "first_word_upper",
        "put only the first word in capital letters and keep the rest",
        "the text with its first word in capital letters",
        lambda text: re.sub(r"^\w+", lambda found: found[0].upper(), text),
        "SHOUT the first word only",
    )
    yield of(
        "last_word_upper",
        "put the last word in capital letters and keep the rest",
        "the text with its last word in capital letters",
        lambda text: re.sub(r"\w+(?=\W*$)", lambda found: found[0].upper(), text),
        "SHOUT the last word only",
    )
    yield of(
        "last_letters",
        "put the last letter of every word in capitals and the rest in lower case",
        "the text in lower case with each word's last letter as a capital",
        lambda text: re.sub(r"[^\W\d_]+", lambda found: found[0][:-1] + found[0][-1].upper(), text.lower()),
    )
    yield of(
        "vowels_upper",
        "write the vowels as capitals and everything else in lower case",
        "the text in lower case with capital vowels",
        lambda text: re.sub("[aeiou]", lambda found: found[0].upper(), text.lower()),
        "cApItAl vOwEls",
    )


def _position() -> Iterator[Transform]:
    of = _maker("position", "sentences")
    yield of("first", "write the first word", "the first word", _nth(0), "first word only")
    yield of("second", "write the second word", "the second word", _nth(1, 2), "word number two")
    yield of("third", "write the third word", "the third word", _nth(2, 3), "word no. 3, nothing more")
    yield of("last", "write the last word", "the last word", _nth(-1), "How does the text end? One word.")
    yield of("second_last", "write the last word but one", "the second-to-last word", _nth(-2, 3))
    yield of("first_two", "write the first two words", "the first two words", lambda text: " ".join(_words(text)[:2]))
    yield of("last_two", "write the last two words", "the last two words", lambda text: " ".join(_words(text)[-2:]))
    yield of(
        "both_ends",
        "write the first and the last word",
        "the first word followed by the last word",
        lambda text: f"{_words(text)[0]} {_words(text)[-1]}",
        "keep the two words at the ends",
    )
    yield of("first_letter", "write the first letter", "the first letter of the text", lambda text: text[0])
    yield of(
        "initials",
        "write the first letter of every word without spaces",
        "the string of the words' first letters",
        lambda text: "".join(word[0] for word in _words(text)),
        "make an acronym, keep the case",
    )


def _counting() -> Iterator[Transform]:
    of = _maker("count", "sentences")
    yield of("words", "count the words", "the number of words", lambda text: str(len(_words(text))), "How many words?")
    yield of("capitals", "count the capital letters", "the number of capital letters", _count("[A-Z]"))
    yield of("digits", "count the digits", "the number of digits", _count(r"\d"), "How many digits are in the text?")
    yield of("numbers", "count the numbers", "how many numbers the text has", _count(r"\d+"))
    yield of("the", 'count how often "the" occurs', 'the number of times "the" occurs', _count(r"(?i)\bthe\b"))
    yield of(
        "long_words",
        "count the words of six letters or more",
        "the number of words with at least six letters",
        lambda text: str(sum(len(word) >= 6 for word in _words(text))),
    )
    yield of(
        "first_length",
        "count the letters of the first word",
        "the length of the first word",
        lambda text: str(len(_words(text)[0])),
        "How many letters does the first word have?",
    )
    yield of(
        "last_length",
        "count the letters of the last word",
        "the length of the last word",
        lambda text: str(len(_words(text)[-1])),
    )
    listed = _maker("count", "nouns")
    yield listed("items", "count the words in the list", "the number of words in the list", _count(r"[a-z]+"))
    yield listed("letter_e", "count the letter e", "the number of times the letter e occurs", _count("e"))


def _removing() -> Iterator[Transform]:
    of = _maker("remove", "sentences")
    yield of("spaces", "delete all spaces", "the text without spaces", lambda text: text.replace(" ", ""), "no blanks")
    yield of("vowels", "delete all vowels", "the text without vowels", _without("(?i)[aeiou]"), "drop a, e, i, o and u")
    yield of("digits", "delete all digits", "the text without digits", _without(r"\d"), "strip the numbers")
    yield of("punctuation", "delete the punctuation", "the text without punctuation", _without(r"[^\w\s]"))
    yield of("the", 'delete every "the"', 'the text without the word "the"', _without(r"(?i)\bthe\b"))
    yield of("first", "delete the first word", "the text without its first word", _without(r"^\w+\W*"))
    yield of("last", "delete the last word", "the text without its last word", _without(r"\s*\w+\W*$"))
    yield of("short_words", "delete words of up to three letters", "the words longer than three letters",
             _kept(lambda word: len(word) > 3))  # fmt: skip
    yield of("capitals", "delete the words with a capital letter", "the words without a capital letter",
             _kept(str.islower), "only lower-case words stay")  # fmt: skip


def _keeping() -> Iterator[Transform]:
    of = _maker("keep", "messages")
    yield of("digits", "keep only the digits", "the digits of the message in their order", _all(r"\d", ""))
    yield of("capitals", "keep only the capital letters", "the capital letters of the message", _all("[A-Z]", ""))
    yield of("capitalised", "keep only the words with a capital letter at the start", "the capitalised words",
             _all(r"\b[A-Z]\w*"), "Capitalised words only")  # fmt: skip
    yield of("long_words", "keep only words of seven letters or more", "the words with at least seven letters",
             _all(r"\b[A-Za-z]{7,}\b"))  # fmt: skip
    yield of("short_words", "keep only words of two letters", "the words of exactly two letters",
             _all(r"\b[A-Za-z]{2}\b"))  # fmt: skip
    yield of("signs", "keep only signs that are neither letters nor digits nor spaces", "the punctuation and signs",
             _all(r"[^\w\s]", ""), "punctuation marks only, in order")  # fmt: skip


def _separators() -> Iterator[Transform]:
    def by(between: str) -> Function:
        return lambda text: between.join(_words(text))

    of = _maker("separator", "sentences")
    for name, sign, told in (
        ("hyphen", "-", "hyphens"),
        ("underscore", "_", "underscores"),
        ("slash", "/", "slashes"),
        ("pipe", " | ", "vertical bars"),
        ("dots", ".", "dots"),
        ("plus", "+", "plus signs"),
        ("arrow", " > ", "greater-than signs"),
    ):
        do, noun = f"join the words with {told} instead of spaces", f"the words joined by {told}"
        yield of(name, do, noun, by(sign), f"words separated by {sign.strip()}")
    yield of("snake", "turn the text into snake_case", "the text in snake_case",
             lambda text: "_".join(_words(text)).lower(), "lower case with underscores")  # fmt: skip
    yield of("camel", "turn the text into CamelCase", "the text in CamelCase",
             lambda text: "".join(_capital(word) for word in _words(text)), "TheWordsLikeThis")  # fmt: skip


def _in_json(text: str) -> str:
    return json.dumps({"text": text}, ensure_ascii=False)


def _wrapping() -> Iterator[Transform]:
    def around(before: str, after: str) -> Function:
        return lambda text: before + text + after

    of = _maker("wrap", "sentences")
    for name, before, after, told in (
        ("quotes", '"', '"', "double quotes"),
        ("brackets", "[", "]", "square brackets"),
        ("parentheses", "(", ")", "round brackets"),
        ("stars", "**", "**", "two asterisks on each side, as bold in Markdown"),
        ("backticks", "`", "`", "backticks"),
        ("tag", "<text>", "</text>", "an XML tag named text"),
        ("paragraph", "<p>", "</p>", "an HTML paragraph tag"),
    ):
        do, noun = f"put the text in {told}", f"the unchanged text inside {told}"
        yield of(name, do, noun, around(before, after), f"{before} text {after}")
    yield of("json", 'write a JSON object with the text under the key "text"', 'a JSON object with one key, "text"',
             _in_json, '{"text": ...}')  # fmt: skip
    yield of("bullet", "write the text as a bullet point with a hyphen", "a bullet point with the text",
             around("- ", ""), "- text")  # fmt: skip
    yield of("key", "write the text as a value: text=...", "the text behind text=", around("text=", ""))


def _affixes() -> Iterator[Transform]:
    of = _maker("affix", "messages")
    for name, before in (("re", "Re: "), ("forward", "Fwd: "), ("urgent", "URGENT: "), ("note", "Note to self: ")):
        yield of(name, f'put "{before.strip()}" in front', f'the message with "{before.strip()}" before it',
                 functools.partial(str.__add__, before), f"start with {before}")  # fmt: skip
    for name, after in (("thanks", " Thank you!"), ("checked", " (checked)"), ("regards", " Best regards, the team")):
        yield of(name, f'add "{after.strip()}" at the end', f'the message followed by "{after.strip()}"',
                 lambda text, after=after: text + after, f"end with {after.strip()}")  # fmt: skip


def _replacing() -> Iterator[Transform]:
    of = _maker("replace", "messages")
    name = rf"\b(?:{'|'.join(_V['first'])}) (?:{'|'.join(_V['last'])})\b"
    for key, told, pattern, new in (
        ("email", "the e-mail address", r"\S+@\S+[a-z]", "[EMAIL]"),
        ("phone", "the phone number", r"\+\d+ \d+ \d+", "[PHONE]"),
        ("name", "the person's name", name, "[NAME]"),
        ("money", "the amount of money", r"[$€£][\d.]*\d", "[AMOUNT]"),
        ("city", "the city", rf"\b(?:{'|'.join(_CITIES)})\b", "[CITY]"),
        ("weekday", "the weekday", rf"\b(?:{'|'.join(_V['weekday'])})\b", "Friday the 13th"),
        ("digits", "every digit", r"\d", "#"),
        ("spaces", "each space", " ", "_"),
    ):
        do, noun = f"replace {told} by {new}", f"the message with {new} instead of {told}"
        yield of(key, do, noun, _replaced(pattern, new), f"{told} -> {new}, the rest stays")


def _extraction() -> Iterator[Transform]:
    of = _maker("extraction", "messages")
    name = rf"\b(?:{'|'.join(_V['first'])}) (?:{'|'.join(_V['last'])})\b"
    for key, told, pattern in (
        ("email", "the e-mail address", r"[\w.]+@[\w.-]+[a-z]"),
        ("phone", "the phone number", r"\+\d+ \d+ \d+"),
        ("money", "the amount of money", r"[$€£][\d.]*\d"),
        ("order", "the order number", r"\b[A-H]-\d+\b"),
        ("year", "the year", r"(?<=in )\d{4}\b|(?<=Since )\d{4}\b"),
        ("url", "the web address", r"https://[\w./-]*\w"),
        ("hashtag", "the hashtag", r"#\w+"),
        ("quote", "the words in quotation marks", r'"([^"]+)"'),
        ("percent", "the percentage", r"\d+%"),
        ("time", "the time of day", r"\b\d+:\d\d\b"),
        ("weekday", "the weekday", rf"\b(?:{'|'.join(_V['weekday'])})\b"),
        ("name", "the name of the person", name),
        ("city", "the city", rf"\b(?:{'|'.join(_CITIES)})\b"),
        ("company", "the company", rf"\b(?:{'|'.join(_COMPANIES)})\b"),
        ("thing", "the thing the message is about", rf"(?<=[Tt]he )(?:{'|'.join(_V['thing'])})\b"),
        ("domain", "the domain of the e-mail or web address", r"(?:@|://)([\w.-]+[a-z])"),
    ):
        short = told.removeprefix("the ")
        yield of(key, f"extract {told}", told, _only(pattern), f"{short}?", f"pull out {told} from the text")


# --- labels -------------------------------------------------------------------------------------------------


def _sentiment_of(text: str) -> str | None:
    words = {word.lower() for word in _words(text)}
    good, bad = (bool(words & set(_V[key])) for key in ("positive", "negative"))
    return None if good == bad else ("good" if good else "bad")


def _topic_of(text: str) -> str | None:
    low = text.lower()
    found = [topic for topic, aspects in _V["aspects"].items() if any(aspect in low for aspect in aspects)]
    return found[0] if len(found) == 1 else None


def _sentiment() -> Iterator[Transform]:
    for name, good, bad in (
        ("words", "positive", "negative"),
        ("short", "pos", "neg"),
        ("yes_no", "yes", "no"),
        ("no_yes", "no", "yes"),
        ("a_b", "A", "B"),
        ("b_a", "B", "A"),
        ("one_zero", "1", "0"),
        ("zero_one", "0", "1"),
        ("thumbs", "👍", "👎"),
        ("faces", "😀", "😡"),
        ("german", "gut", "schlecht"),
        ("french", "bien", "mal"),
        ("japanese", "良い", "悪い"),
        ("signs", "+", "-"),
        ("mood", "happy", "angry"),
    ):
        classes = {"good": (good, "the customer is pleased"), "bad": (bad, "the customer is not pleased")}
        yield _labels("sentiment", "reviews", name, _sentiment_of, classes)


def _topic() -> Iterator[Transform]:
    clauses = {
        "restaurant": "the review is about a restaurant",
        "hotel": "the review is about a hotel",
        "phone": "the review is about a phone",
        "book": "the review is about a book",
    }
    for name, labels in (
        ("words", ("restaurant", "hotel", "phone", "book")),
        ("letters", ("A", "B", "C", "D")),
        ("reversed", ("D", "C", "B", "A")),
        ("numbers", ("1", "2", "3", "4")),
        ("emoji", ("🍝", "🏨", "📱", "📖")),
        ("german", ("Restaurant", "Hotel", "Handy", "Buch")),
        ("spanish", ("restaurante", "hotel", "teléfono", "libro")),
        ("japanese", ("料理", "ホテル", "電話", "本")),
        ("teams", ("kitchen team", "front desk", "repair shop", "publisher")),
    ):
        pairs = zip(labels, clauses.items(), strict=True)
        classes = {topic: (label, clause) for label, (topic, clause) in pairs}
        yield _labels("topic", "reviews", name, _topic_of, classes)
    for topic, clause in clauses.items():
        yes = {"yes": ("yes", clause), "no": ("no", clause.replace(" is ", " is not "))}

        def kind(text: str, topic: str = topic) -> str | None:
            found = _topic_of(text)
            return None if found is None else ("yes" if found == topic else "no")

        yield _labels("topic", "reviews", f"is_{topic}", kind, yes)


def _language_of(text: str) -> str:
    start = text.partition(",")[0]
    return next(name for name, parts in _V["languages"].items() if start in parts[0])


def _languages() -> Iterator[Transform]:
    names = list(_V["languages"])
    for name, labels in (
        ("names", names),
        ("codes", ["en", "de", "fr", "es"]),
        ("own_names", ["English", "Deutsch", "français", "español"]),
        ("countries", ["UK", "Germany", "France", "Spain"]),
        ("flags", ["🇬🇧", "🇩🇪", "🇫🇷", "🇪🇸"]),
        ("letters", ["A", "B", "C", "D"]),
        ("greetings", ["hello", "hallo", "salut", "hola"]),
        ("japanese", ["英語", "ドイツ語", "フランス語", "スペイン語"]),
    ):
        pairs = zip(names, labels, strict=True)
        classes = {language: (label, f"the text is in {language}") for language, label in pairs}
        yield _labels("language", "languages", name, _language_of, classes)
    for language in names:
        classes = {"yes": ("yes", f"the text is in {language}"), "no": ("no", f"the text is not in {language}")}

        def kind(text: str, language: str = language) -> str:
            return "yes" if _language_of(text) == language else "no"

        yield _labels("language", "languages", f"is_{language.lower()}", kind, classes)


def _checks() -> Iterator[Transform]:
    for name, test, (yes, no), clause, other in (
        ("question", r"\?$", ("yes", "no"), "the text is a question", "it is no question"),
        ("question_mark", r"\?$", ("?", "."), "the text asks something", "it asks nothing"),
        ("digit", r"\d", ("true", "false"), "the text has a digit", "it has none"),
        ("digit_reversed", r"\d", ("0", "1"), "the text has a digit", "it has no digit"),
        ("comma", ",", ("yes", "no"), "there is a comma", "there is no comma"),
        ("the", r"^(?i:the)\b", ("ok", "wrong"), "the text starts with the word the", "it starts with another word"),
        ("long", r"(?:\S+\s+){7}", ("long", "short"), "the text has more than seven words", "it has seven or fewer"),
        ("capital", "^[A-Z]", ("A", "B"), "the text begins with a capital letter", "it begins otherwise"),
        ("person", rf"\b(?:{'|'.join(_V['first'])})\b", ("person", "none"), "somebody is named", "nobody is named"),
        ("end", r"\w$", ("open", "closed"), "the text ends with a letter or digit", "it ends with a sign"),
    ):

        def kind(text: str, test: str = test) -> str:
            return "yes" if re.search(test, text) else "no"

        yield _labels("check", "sentences", name, kind, {"yes": (yes, clause), "no": (no, other)})


# --- lists and words ----------------------------------------------------------------------------------------


def _items(text: str) -> list[str]:
    return text.split(", ")


def _each(change: Mapping[str, str] | Callable[[str], str]) -> Function:
    one = change.__getitem__ if isinstance(change, Mapping) else change
    return lambda text: ", ".join(one(item) for item in _items(text))


def _from(change: Callable[[list[str]], str], least: int = 2) -> Function:
    """Return a function of the list; None for a shorter one."""

    def answer(text: str) -> str | None:
        items = _items(text)
        return change(items) if len(items) >= least else None

    return answer


def _order() -> Iterator[Transform]:
    of = _maker("order", "nouns")
    for name, do, noun, change in (
        ("alphabet", "sort the words by the alphabet", "the list in alphabetical order", sorted),
        ("backwards", "sort the words from z to a", "the list in reverse alphabetical order",
         lambda items: sorted(items, reverse=True)),
        ("reverse", "reverse the order of the words", "the list from the last word to the first",
         lambda items: items[::-1]),
        ("length", "sort the words by length, shortest first", "the list from the shortest to the longest word",
         lambda items: sorted(items, key=len)),
        ("rotate", "move the first word to the end", "the list with its first word at the end",
         lambda items: [*items[1:], items[0]]),
        ("last_first", "move the last word to the front", "the list with its last word in front",
         lambda items: [items[-1], *items[:-1]]),
        ("swap", "swap the first two words", "the list with its first two words swapped",
         lambda items: [items[1], items[0], *items[2:]]),
    ):  # fmt: skip
        yield of(name, do, noun, _from(lambda items, change=change: ", ".join(change(items))), f"{do}, same format")
    yield of("letters", "spell every word backwards", "the list with each word's letters reversed",
             _each(lambda word: word[::-1]), "gnirts")  # fmt: skip


def _picking() -> Iterator[Transform]:
    of = _maker("pick", "nouns")
    for name, do, noun, change in (
        ("first", "pick the first word of the list", "the first item", lambda items: items[0]),
        ("last", "pick the last word of the list", "the last item", lambda items: items[-1]),
        ("second", "pick the second word of the list", "the second item", lambda items: items[1]),
        ("alphabet", "pick the word that comes first in the alphabet", "the alphabetically first item", min),
        ("backwards", "pick the word that comes last in the alphabet", "the alphabetically last item", max),
        ("longest", "pick the longest word, the first one if several are", "the longest item",
         lambda items: max(items, key=len)),
        ("shortest", "pick the shortest word, the first one if several are", "the shortest item",
         lambda items: min(items, key=len)),
        ("all_but_first", "leave out the first word", "the list without its first item",
         lambda items: ", ".join(items[1:])),
        ("all_but_last", "leave out the last word", "the list without its last item",
         lambda items: ", ".join(items[:-1])),
    ):  # fmt: skip
        yield of(name, do, noun, _from(change))


def _formats() -> Iterator[Transform]:
    of = _maker("list_format", "nouns")
    yield of("and", 'join the words with "and"', 'the words joined by "and"', lambda text: " and ".join(_items(text)))
    yield of("sentence", 'write the list as in a sentence, with "and" before the last word',
             "the list as it would stand in a sentence", lambda text: _joined(_items(text), "and"))  # fmt: skip
    yield of("or", 'put "or" between the words', "the words as alternatives", lambda text: " or ".join(_items(text)))
    yield of("json", "write a JSON list", "the words as a JSON list", lambda text: json.dumps(_items(text)),
             '["...", "..."]')  # fmt: skip
    yield of("numbered", "number the words", "the words with numbers before them",
             lambda text: " ".join(f"{at}. {item}" for at, item in enumerate(_items(text), 1)), "1. 2. 3.")  # fmt: skip
    yield of("semicolon", "use semicolons instead of commas", "the list with semicolons",
             lambda text: "; ".join(_items(text)))  # fmt: skip
    yield of("hashtags", "turn every word into a hashtag", "the words as hashtags",
             lambda text: " ".join(f"#{item}" for item in _items(text)), "#one #two")  # fmt: skip
    yield of("quoted", "put each word in single quotes", "the list with every word in single quotes",
             _each(lambda item: f"'{item}'"))  # fmt: skip
    yield of("articles", 'put "the" before each word', 'the words, each with "the"', _each(lambda item: f"the {item}"))
    yield of("initials", "write the first letter of each word", "the first letters of the words",
             _each(lambda item: item[0]))  # fmt: skip
    yield of("upper", "write the list in capital letters", "the list in capital letters", str.upper)


def _inflection() -> Iterator[Transform]:
    of = _maker("inflection", "nouns")
    yield of("plural", "write the plural of each word", "the plural of each word", _each(_PLURAL), "one cat, two cats")
    yield of("two", 'write "two" and the plural for each word', "two of each thing, in words",
             _each(lambda item: f"two {_PLURAL[item]}"))  # fmt: skip
    verb = _maker("inflection", "verbs")
    for name, told, to in (
        ("past", "the simple past", 1),
        ("ing", "the -ing form", 2),
        ("third", "the third person singular", 3),
    ):
        yield verb(name, f"write {told} of each verb", f"{told} of each verb", _each(_column("verbs", to)))
    yield verb("infinitive", 'put "to" before each verb', 'the verbs with "to"', _each(lambda item: f"to {item}"))
    yield verb("future", 'write each verb in the future with "will"', "the future of each verb",
               _each(lambda item: f"will {item}"))  # fmt: skip
    yield verb("negated", 'negate each verb with "do not"', "the negated verbs", _each(lambda item: f"do not {item}"))
    adjective = _maker("inflection", "adjectives")
    for name, told, to in (("comparative", "the comparative", 1), ("superlative", "the superlative", 2)):
        yield adjective(name, f"write {told} of each adjective", f"{told} of each adjective",
                        _each(_column("adjectives", to)))  # fmt: skip
    yield adjective("very", 'put "very" before each adjective', 'the adjectives with "very"',
                    _each(lambda item: f"very {item}"))  # fmt: skip
    yield adjective("not", 'put "not" before each adjective', "the negated adjectives",
                    _each(lambda item: f"not {item}"))  # fmt: skip


def _meaning() -> Iterator[Transform]:
    yield _task("antonym", "adjectives", "all", "write the opposite of each adjective", "the opposite of each word",
                _each(_column("adjectives", 3)), "antonyms")  # fmt: skip
    yield _task("antonym", "adjectives", "first", "write the opposite of the first adjective",
                "the opposite of the first word", lambda text: _column("adjectives", 3)[_items(text)[0]])  # fmt: skip
    yield _task("antonym", "adjectives", "pair", 'write the first adjective, "or" and its opposite',
                "the first word and its opposite with or between", lambda text: " or ".join(
                    [_items(text)[0], _column("adjectives", 3)[_items(text)[0]]]))  # fmt: skip
    kinds = _column("nouns", 5)
    of = _maker("category", "nouns")
    yield of("each", "say for each word what kind of thing it is: animal, food, clothing, furniture, vehicle, body or "
             "nature", "the category of each word", _each(kinds), "categories, in the same order")  # fmt: skip
    yield of("first", "say what kind of thing the first word is: animal, food, clothing, furniture, vehicle, body or "
             "nature", "the category of the first word", lambda text: kinds[_items(text)[0]])  # fmt: skip
    for kind in ("animal", "food", "clothing", "vehicle"):
        yield of(f"only_{kind}", f"keep only the words of the kind {kind}, or write none",
                 f"the part of the list that is {kind}", lambda text, kind=kind: ", ".join(
                     item for item in _items(text) if kinds[item] == kind) or "none")  # fmt: skip
        classes = {"yes": ("yes", f"the first word is of the kind {kind}"), "no": ("no", "it is something else")}
        yield _labels("category", "nouns", f"is_{kind}",
                      lambda text, kind=kind: "yes" if kinds[_items(text)[0]] == kind else "no", classes)  # fmt: skip


def _translation() -> Iterator[Transform]:
    for at, (code, language) in enumerate((("de", "German"), ("fr", "French"), ("es", "Spanish"))):
        with_article = _column("nouns", 2 + at)
        bare = {word: re.sub(r"^(?:\w+ |l')", "", told) for word, told in with_article.items()}
        of = _maker("translation", "nouns")
        yield of(f"{code}_nouns", f"translate the words into {language} without articles",
                 f"the {language} words", _each(bare), f"in {language}, please")  # fmt: skip
        yield of(f"{code}_articles", f"translate the words into {language} with the definite article",
                 f"the {language} words, each with its article", _each(with_article))  # fmt: skip
        yield _task("translation", "verbs", f"{code}_verbs", f"translate the verbs into {language}",
                    f"the {language} infinitive of each verb", _each(_column("verbs", 4 + at)))  # fmt: skip
        yield _task("translation", "adjectives", f"{code}_adjectives", f"translate the adjectives into {language}",
                    f"the {language} word for each adjective", _each(_column("adjectives", 4 + at)))  # fmt: skip


def _geography() -> Iterator[Transform]:
    of = _maker("geography", "countries")
    for name, told, to in (
        ("capital", "the capital", 1),
        ("continent", "the continent", 2),
        ("adjective", "the nationality adjective", 3),
        ("code", "the two-letter country code", 4),
        ("currency", "the currency", 5),
    ):
        yield of(name, f"write {told} of each country", f"{told} of each country", _each(_column("countries", to)))
    yield of("first_capital", "write the capital of the first country only", "the capital of the first country",
             lambda text: _column("countries", 1)[_items(text)[0]])  # fmt: skip
    yield of("pairs", "write the capital in brackets behind each country", "the countries with capitals in brackets",
             _each({name: f"{name} ({city})" for name, city in _column("countries", 1).items()}))  # fmt: skip
    for place in ("Europe", "Asia"):
        classes = {"yes": ("yes", f"the first country is in {place}"), "no": ("no", f"it is not in {place}")}
        yield _labels("geography", "countries", f"in_{place.lower()}", lambda text, place=place:
                      "yes" if _column("countries", 2)[_items(text)[0]] == place else "no", classes)  # fmt: skip


# --- dates, times, numbers ---------------------------------------------------------------------------------


def _parsed(text: str) -> tuple[int, int, int]:
    """Return year, month and day of a text of the pool ``dates``."""
    if "-" in text:
        year, month, day = map(int, text.split("-"))
        return year, month, day
    name = re.findall("[A-Z][a-z]+", text)[0]
    day, year = map(int, re.findall(r"\d+", text))
    return year, _MONTHS.index(name) + 1, day


def _dates() -> Iterator[Transform]:
    of = _maker("date", "dates")
    for name, do, noun, write, *more in (
        ("iso", "write the date in ISO form", "the date as YYYY-MM-DD", lambda y, m, d: f"{y}-{m:02}-{d:02}"),
        ("us", "write the date the American way in digits", "the date as MM/DD/YYYY",
         lambda y, m, d: f"{m:02}/{d:02}/{y}"),
        ("german", "write the date the German way in digits", "the date as DD.MM.YYYY",
         lambda y, m, d: f"{d:02}.{m:02}.{y}"),
        ("british", "write the date the British way in digits", "the date as DD/MM/YYYY",
         lambda y, m, d: f"{d:02}/{m:02}/{y}"),
        ("compact", "write the date as eight digits without separators", "the date as YYYYMMDD",
         lambda y, m, d: f"{y}{m:02}{d:02}"),
        ("long", "write the date in long American form", "the date as Month day, year",
         lambda y, m, d: f"{_MONTHS[m - 1]} {d}, {y}", "for example May 4, 2020"),
        ("long_british", "write the date in long British form", "the date as day Month year",
         lambda y, m, d: f"{d} {_MONTHS[m - 1]} {y}", "for example 4 May 2020"),
        ("short", "write the date with the month cut to three letters", "the date as day Mon year",
         lambda y, m, d: f"{d} {_MONTHS[m - 1][:3]} {y}", "for example 4 Sep 2020"),
        ("long_german", "write the date in German words", "the date with the German name of the month",
         lambda y, m, d: f"{d}. {_V['month_de'][m - 1]} {y}"),
        ("long_french", "write the date in French", "the date with the French name of the month",
         lambda y, m, d: f"{d} {_V['month_fr'][m - 1]} {y}"),
        ("long_spanish", "write the date in Spanish", "the date with the Spanish name of the month",
         lambda y, m, d: f"{d} de {_V['month_es'][m - 1]} de {y}"),
    ):  # fmt: skip
        yield of(name, do, noun, _unlike(write), *more)
    of = _maker("date_part", "dates")
    for name, do, noun, write in (
        ("month", "name the month", "the name of the month", lambda y, m, d: _MONTHS[m - 1]),
        ("month_number", "write the month as a number", "the number of the month", lambda y, m, d: str(m)),
        ("month_german", "name the month in German", "the German name of the month",
         lambda y, m, d: _V["month_de"][m - 1]),
        ("year", "write the year", "the year of the date", lambda y, m, d: str(y)),
        ("year_short", "write the last two digits of the year", "the year in two digits",
         lambda y, m, d: f"{y % 100:02}"),
        ("day", "write the day of the month", "the day as a number", lambda y, m, d: str(d)),
        ("quarter", "write the quarter of the year", "the quarter, Q1 to Q4", lambda y, m, d: f"Q{(m + 2) // 3}"),
        ("half", "write the half of the year", "the half-year, H1 or H2", lambda y, m, d: f"H{(m + 5) // 6}"),
        ("month_year", "write month and year in words", "the month's name and the year",
         lambda y, m, d: f"{_MONTHS[m - 1]} {y}"),
        ("decade", "name the decade", "the decade, like 1990s", lambda y, m, d: f"{y // 10 * 10}s"),
    ):  # fmt: skip
        yield of(name, do, noun, _unlike(write))


def _unlike(write: Callable[[int, int, int], str]) -> Function:
    """Write a date; None where it stands so already."""

    def answer(text: str) -> str | None:
        written = write(*_parsed(text))
        return None if written == text else written

    return answer


def _clock(text: str) -> tuple[int, int]:
    hour, minute = map(int, re.findall(r"\d+", text))
    return (hour % 12 + (12 if text.endswith("pm") else 0) if text.endswith("m") else hour), minute


def _times() -> Iterator[Transform]:
    of = _maker("time", "times")
    for name, do, noun, write in (
        ("24", "write the time with 24 hours", "the time as HH:MM", lambda h, m: f"{h:02}:{m:02}"),
        ("12", "write the time with am or pm", "the time in the 12-hour form", _twelve),
        ("hour", "write the hour of the 24-hour clock", "the hour from 0 to 23", lambda h, m: str(h)),
        ("minute", "write the minutes", "the minutes of the time", lambda h, m: str(m)),
        ("half", "say whether it is am or pm", "am or pm", lambda h, m: "am" if h < 12 else "pm"),
        ("part", "say whether it is night (before 6), morning, afternoon (from 12) or evening (from 18)",
         "the part of the day", lambda h, m: ("night", "morning", "afternoon", "evening")[h // 6]),
        ("german", "write the time the German way", "the time as HH.MM Uhr", lambda h, m: f"{h:02}.{m:02} Uhr"),
        ("french", "write the time the French way", "the time as HHhMM", lambda h, m: f"{h:02}h{m:02}"),
        ("military", "write the time as four digits", "the time as HHMM", lambda h, m: f"{h:02}{m:02}"),
        ("full_hour", "round the time down to the full hour in the 24-hour form", "the last full hour as HH:00",
         lambda h, m: f"{h:02}:00"),
        ("later", "add one hour and use the 24-hour form", "the time one hour later as HH:MM",
         lambda h, m: f"{(h + 1) % 24:02}:{m:02}"),
    ):  # fmt: skip

        def answer(text: str, write: Callable[[int, int], str] = write) -> str | None:
            written = write(*_clock(text))
            return None if written == text else written

        yield of(name, do, noun, answer)


_ONES, _TENS = _V["ones"], _V["tens"]


def _spelled(number: int) -> str:
    """Return a number below a thousand in words."""
    if number >= 100:
        rest = f" {_spelled(number % 100)}" if number % 100 else ""
        return f"{_ONES[number // 100]} hundred{rest}"
    if number < 20:
        return _ONES[number]
    return _TENS[number // 10 - 2] + (f"-{_ONES[number % 10]}" if number % 10 else "")


@functools.cache
def _numbers_by_word() -> dict[str, int]:
    return {_spelled(number): number for number in range(1000)}


def _valued(text: str) -> int:
    return int(text) if text.isdecimal() else _numbers_by_word()[text]


def _ordinal(number: int) -> str:
    tail = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{tail}"


def _rounded(number: int, to: int) -> str:
    return str((number + to // 2) // to * to)


def _numbers() -> Iterator[Transform]:
    of = _maker("number_format", "numbers")
    for name, do, noun, write, *more in (
        ("words", "spell the number out", "the number in English words",
         lambda n: _spelled(n) if n < 1000 else None, "digits to words"),
        ("digits", "write the number in digits", "the number in digits", str, "words to digits"),
        ("thousands", "write the number in digits with commas between thousands", "the number like 12,345",
         lambda n: f"{n:,}"),
        ("german", "write the number in digits with German dots between thousands", "the number like 12.345",
         lambda n: f"{n:,}".replace(",", ".")),
        ("swiss", "write the number in digits with apostrophes between thousands", "the number like 12'345",
         lambda n: f"{n:,}".replace(",", "'")),
        ("padded", "write the number with leading zeros, six digits in all", "the number as six digits",
         lambda n: f"{n:06}"),
        ("ordinal", "write the ordinal number with its ending", "the ordinal like 21st", _ordinal),
        ("decimals", "write the number with two decimal places", "the number like 12.00", lambda n: f"{n}.00"),
        ("dollars", "write the number as an amount in dollars", "the number with a dollar sign", lambda n: f"${n}"),
        ("percent", "write the number as a percentage", "the number with a percent sign", lambda n: f"{n}%"),
        ("number_sign", 'write "No." and the number in digits', "the number behind No.", lambda n: f"No. {n}"),
        ("spaced", "write the digits with spaces between them", "the digits one by one",
         lambda n: " ".join(str(n))),
        ("reversed", "write the digits backwards", "the digits in reverse order", lambda n: str(n)[::-1]),
    ):  # fmt: skip
        yield of(name, do, noun, _valuing(write), *more)
    of = _maker("number_value", "numbers")
    for name, do, noun, write in (
        ("next", "write the number that follows, in digits", "the number plus one", lambda n: str(n + 1)),
        ("previous", "write the number before it, in digits", "the number minus one", lambda n: str(n - 1)),
        ("tens", "round to the nearest ten, in digits", "the nearest multiple of ten", lambda n: _rounded(n, 10)),
        ("hundreds", "round to the nearest hundred, in digits", "the nearest multiple of a hundred",
         lambda n: _rounded(n, 100)),
        ("last_digit", "write the last digit of the number", "the last digit", lambda n: str(n)[-1]),
        ("first_digit", "write the first digit of the number", "the first digit", lambda n: str(n)[0]),
        ("length", "say how many digits the number has", "the number of digits", lambda n: str(len(str(n)))),
        ("times_ten", "multiply by ten, in digits", "ten times the number", lambda n: str(n * 10)),
        ("even", "say whether the number is even or odd", "even or odd", lambda n: "odd" if n % 2 else "even"),
        ("large", 'write "large" for a thousand or more, otherwise "small"', "large or small",
         lambda n: "large" if n >= 1000 else "small"),
    ):  # fmt: skip
        yield of(name, do, noun, _valuing(write))


def _valuing(write: Callable[[int], str | None]) -> Function:
    """Write a number; None where it stands so already."""

    def answer(text: str) -> str | None:
        written = write(_valued(text))
        return None if written == text else written

    return answer


_UNITS = {
    "km": ("kilometres", "length"),
    "cm": ("centimetres", "length"),
    "m": ("metres", "length"),
    "kg": ("kilograms", "weight"),
    "g": ("grams", "weight"),
    "l": ("litres", "volume"),
    "ml": ("millilitres", "volume"),
    "h": ("hours", "time"),
    "min": ("minutes", "time"),
    "s": ("seconds", "time"),
}
_SHORT = {name: short for short, (name, _) in _UNITS.items()}


def _units() -> Iterator[Transform]:
    of = _maker("unit", "quantities")
    for name, do, noun, write in (
        ("name", "write the unit out", "the quantity with the full name of its unit",
         lambda number, unit: f"{number} {_UNITS[unit][0]}"),
        ("symbol", "abbreviate the unit", "the quantity with the symbol of its unit",
         lambda number, unit: f"{number} {unit}"),
        ("number", "write the number without the unit", "the bare number", lambda number, unit: number),
        ("unit", "write the symbol of the unit only", "the unit's symbol", lambda number, unit: unit),
        ("kind", "say what is measured: length, weight, volume or time", "the kind of quantity",
         lambda number, unit: _UNITS[unit][1]),
        ("tight", "write number and symbol without a space", "the quantity like 5km",
         lambda number, unit: f"{number}{unit}"),
        ("brackets", "put the symbol of the unit in square brackets", "the quantity like 5 [km]",
         lambda number, unit: f"{number} [{unit}]"),
        ("comma", "use a decimal comma and the symbol of the unit", "the quantity like 2,5 km",
         lambda number, unit: f"{number.replace('.', ',')} {unit}"),
        ("front", "put the symbol of the unit before the number", "the quantity like km 5",
         lambda number, unit: f"{unit} {number}"),
        ("about", 'write "about" and the quantity with its symbol', "the quantity like about 5 km",
         lambda number, unit: f"about {number} {unit}"),
        ("json", 'write JSON with the keys "value" and "unit"', "the quantity as a JSON object",
         lambda number, unit: f'{{"value": {number}, "unit": "{unit}"}}'),
    ):  # fmt: skip

        def answer(text: str, write: Callable[[str, str], str] = write) -> str | None:
            number, unit = text.split()
            written = write(number, _SHORT.get(unit, unit))
            return None if written == text else written

        yield of(name, do, noun, answer)


# --- people and records ------------------------------------------------------------------------------------


def _people() -> Iterator[Transform]:
    of = _maker("name_format", "people")
    for name, do, noun, write in (
        ("first", "write the first name", "the first name", lambda first, last: first),
        ("last", "write the family name", "the family name", lambda first, last: last),
        ("last_first", "put the family name first, with a comma", "the name as Last, First",
         lambda first, last: f"{last}, {first}"),
        ("initials", "write the initials", "the two initials without dots", lambda first, last: first[0] + last[0]),
        ("dotted", "write the initials with dots", "the two initials with dots",
         lambda first, last: f"{first[0]}.{last[0]}."),
        ("short_last", "cut the family name to its first letter", "the name like Anna M.",
         lambda first, last: f"{first} {last[0]}."),
        ("short_first", "cut the first name to its first letter", "the name like A. Miller",
         lambda first, last: f"{first[0]}. {last}"),
        ("user", "make a user name of the first letter and the family name", "the user name in lower case",
         lambda first, last: (first[0] + last).lower()),
        ("email", "make an e-mail address at example.com", "the address like anna.miller@example.com",
         lambda first, last: f"{first}.{last}@example.com".lower()),
        ("upper_last", "put the family name in capitals", "the name like Anna MILLER",
         lambda first, last: f"{first} {last.upper()}"),
        ("handle", "make a handle with an at sign", "the handle like @anna_miller",
         lambda first, last: f"@{first}_{last}".lower()),
    ):  # fmt: skip
        yield of(name, do, noun, lambda text, write=write: write(*text.split()))
    of = _maker("letter", "people")
    for name, told in (
        ("dear", "Dear {name},"),
        ("hello", "Hello {first}!"),
        ("morning", "Good morning, {name}. How can we help you?"),
        ("thanks", "Thank you for your order, {first}."),
        ("subject", "To: {name} Re: Invoice"),
        ("signed", "Signed: {name}"),
        ("welcome", "Welcome to the team, {first} {last}!"),
        ("birthday", "Happy birthday, {first}!"),
        ("absence", "{name} is out of office today."),
        ("badge", "Visitor: {last}, {first}"),
    ):
        yield of(name, f'write "{told}" with the name filled in', f'the line "{told}" for this person',
                 lambda text, told=told: told.format(name=text, first=text.split()[0], last=text.split()[1]),
                 told.replace("{", "<").replace("}", ">"))  # fmt: skip


def _fields(text: str) -> dict[str, str]:
    return dict(part.split(": ") for part in text.split("; "))


def _records() -> Iterator[Transform]:
    of = _maker("field", "records")
    for key in ("name", "city", "item", "quantity"):
        yield of(key, f"write the {key} of the record", f"the value of the field {key}",
                 lambda text, key=key: _fields(text)[key], f"{key}?")  # fmt: skip
    of = _maker("record_format", "records")
    for name, do, noun, told in (
        ("csv", "write the values as one CSV row", "the values with commas between", "{name},{city},{item},{quantity}"),
        ("tsv", "write the values with vertical bars between", "the values like a|b|c|d",
         "{name}|{city}|{item}|{quantity}"),
        ("pairs", "write key=value pairs with spaces", "the record as key=value pairs",
         "name={name} city={city} item={item} quantity={quantity}"),
        ("json", 'write JSON with the keys "item" and "quantity"', "item and quantity as a JSON object",
         '{{"item": "{item}", "quantity": {quantity}}}'),
        ("xml", "write the item as an XML element with the quantity as attribute n", "the item as an XML element",
         '<item n="{quantity}">{item}</item>'),
        ("times", "write quantity, x and item", "the order like 3 x lamp", "{quantity} x {item}"),
        ("from", "say who the customer is and from where", "the customer like Anna Miller from Oslo",
         "{name} from {city}"),
        ("sentence", "write a sentence: who orders how many of what", "a sentence about the order",
         "{name} orders {quantity} pieces of: {item}."),
        ("address", "write name and city as on an envelope, with a comma", "name and city with a comma",
         "{name}, {city}"),
        ("label", "write the city in brackets behind the item", "the item and its city in brackets", "{item} ({city})"),
    ):  # fmt: skip
        yield of(name, do, noun, lambda text, told=told: told.format(**_fields(text)))


# --- two steps ---------------------------------------------------------------------------------------------

_SECOND: Mapping[str, tuple[str, str, Callable[[str], str]]] = {
    "upper": ("case", "write the result in capital letters", str.upper),
    "lower": ("case", "write the result in lower case", str.lower),
    "quotes": ("wrap", "put the result in double quotes", lambda text: f'"{text}"'),
    "brackets": ("wrap", "put the result in square brackets", lambda text: f"[{text}]"),
    "json": ("wrap", 'write the result as JSON under the key "text"', _in_json),
    "hyphens": ("separator", "join the words of the result with hyphens", lambda text: "-".join(_words(text))),
    "length": ("count", "count the letters of the result", lambda text: str(sum(map(str.isalpha, text)))),
    "backwards": ("order", "spell the result backwards", lambda text: text[::-1]),
    "urgent": ("affix", 'put "URGENT:" in front of the result', lambda text: f"URGENT: {text}"),
}  # fmt: skip
"""Second steps: their family, how they are told, what they do."""

_PAIRS = (
    "position/first upper, position/last upper, position/second quotes, position/first backwards, position/second "
    "length, position/last_two hyphens, position/first_two brackets, extraction/email upper, extraction/name upper, "
    "extraction/city brackets, extraction/quote upper, extraction/order brackets, extraction/weekday lower, "
    "extraction/company json, extraction/city backwards, extraction/name hyphens, inflection/plural upper, "
    "inflection/past quotes, inflection/ing upper, inflection/comparative brackets, pick/last upper, pick/alphabet "
    "quotes, pick/longest length, pick/shortest backwards, order/alphabet upper, order/reverse brackets, date/iso "
    "brackets, date_part/month upper, date_part/month length, date_part/month quotes, name_format/first upper, "
    "name_format/last backwards, name_format/last length, field/item upper, field/city json, field/name urgent, "
    "translation/de_nouns upper, geography/capital upper, number_format/words upper, number_format/words hyphens, "
    "antonym/first upper, antonym/first quotes"
)
"""First step, second step."""


def _composed(first: Transform, step: str) -> Transform:
    family, then, change = _SECOND[step]

    def answer(text: str) -> str | None:
        between = first.function(text)
        return None if between is None else change(between)

    given = POOLS[first.pool].given
    values = {"do": first.do, "noun": first.noun, "then": then, "given": given}
    name = f"{_COMPOSED}/{first.name.replace('/', '_')}_{step}"
    return Transform(
        name,
        _COMPOSED,
        first.pool,
        _fill(_COMPOSED_WORDINGS, (), values),
        answer,
        f"{first.do}, then {then}",
        f"the result of two steps: {first.do}, then {then}",
        parts=tuple(dict.fromkeys([first.family, family])),
    )


def _simple() -> Iterator[Transform]:
    for made in (_case, _position, _counting, _removing, _keeping, _separators, _wrapping, _affixes, _replacing):
        yield from made()
    for made in (_extraction, _sentiment, _topic, _languages, _checks, _order, _picking, _formats, _inflection):
        yield from made()
    for made in (_meaning, _translation, _geography, _dates, _times, _numbers, _units, _people, _records):
        yield from made()


@functools.cache
def transforms() -> tuple[Transform, ...]:
    """Return all tasks, simple ones first."""
    simple = {task.name: task for task in _simple()}
    pairs = (pair.strip().split() for pair in _PAIRS.split(","))
    return (*simple.values(), *(_composed(simple[first], step) for first, step in pairs))
