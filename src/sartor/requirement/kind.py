"""What kind of model a task asks for: one that puts texts under labels, or one that writes.

Rows say most: labels repeat, written answers do not. A description says it by its verb, and a task file may say it
outright. Where nothing tells, labels are taken to be wanted.
"""

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from sartor import families
from sartor.data.text import normalise, squeeze
from sartor.requirement.labels import labels_in
from sartor.requirement.understood import described
from sartor.types import Note, Rows, Task

LABELS = "text-classification"
WRITES = "text-generation"

Verb: TypeAlias = Literal["labels", "writes", "answers"]
"""What a description opens with: ``classify``, ``rewrite``, or a verb as ``answer`` that labels may follow as well."""
_WRITTEN: tuple[Verb, ...] = ("writes", "answers")

_FEW = 8
"""Rows below which repeats say little."""
_LONG_WORDS = 4
"""Words that few labels exceed."""

# --- words -------------------------------------------------------------------------------------------------

_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f"
"""Kana and Han characters, between which no space stands."""
_RUN = re.compile(rf"[{_UNSPACED}]+")
_HIRAGANA = re.compile(r"[\u3040-\u309f]+")
_WORD = re.compile(r"\w+(?:['’.-]\w+)*")
_UNSPACED_PER_WORD = 4


def n_words(text: str) -> int:
    """Return the number of words; four characters count as one where no spaces stand between words.

    >>> n_words("Don't panic!"), n_words("明日は雨です")
    (2, 2)
    """
    unspaced = sum(map(len, _RUN.findall(text)))
    return len(_WORD.findall(_RUN.sub(" ", text))) + -(-unspaced // _UNSPACED_PER_WORD)


def _words(text: str) -> set[str]:
    """Return the words of a text; where no spaces stand between them, pairs of characters that are not all endings."""
    plain = normalise(text)
    pairs = (run[at : at + 2] for run in _RUN.findall(plain) for at in range(max(1, len(run) - 1)))
    return {*_WORD.findall(_RUN.sub(" ", plain)), *(pair for pair in pairs if not _HIRAGANA.fullmatch(pair))}


# --- verbs -------------------------------------------------------------------------------------------------

_SORT_IN_ORDER = r"sort(?=.*\b(?:alphabet\w*|order|ascending|descending|words|letters|numbers|lists?|lines)\b)"
_LABELLING = r"classify|categori[sz]e|label|tag|route|triage|assign|sort"
_WRITING = (
    r"re-?write|reformat|format|rephrase|paraphrase|reword|extract|convert|transform|translate|transliterate|write|"
    r"summari[sz]e|shorten|simplify|expand|abbreviate|correct|fix|edit|proofread|complete|fill|remove|delete|drop|strip|"
    r"replace|substitute|swap|reverse|spell|turn|change|normali[sz]e|capitali[sz]e|upper-?case|lower-?case|pluralise|"
    r"pluralize|count|add|insert|append|join|split|redact|mask|anonymi[sz]e|generate|compose|draft|repeat|copy|round|"
    rf"calculate|compute|solve|keep|wrap|negate|conjugate|construct|formulate|rename|rearrange|reorder|{_SORT_IN_ORDER}"
)
_ANSWERING = r"answer|give|return|list|name|output|print|respond|reply|produce|provide"
_LABEL_NOUN = (
    r"(?:say|tell me|tell|state|name|give|return|output|answer|find|identify|predict|determine)\b(?:"
    r" (?:which|whether|if)|[^.,:;(]{0,40}?\b(?:intent|category|class|label|sentiment|topic|emotion|kind|type))"
)
_ASKED = (
    r"(?:your|the)(?: main)? (?:task|job|goal|aim|objective)(?: here)? is to|"
    r"you (?:have to|need to|should|must|will|are (?:asked|expected|supposed) to)|"
    r"(?:i|we) (?:want|need|ask|would like|'d like) you to|(?:i|we) (?:want|need|would like|'d like) to"
)
_POLITE = r"please|kindly|now|just|simply|then|(?:can|could|would|will) you|help me(?: to)?"
_GIVEN = r"(?:given|for (?:each|every)|in this task|from|here is|here are|task)\b[^.,:;!?\n]*[,:]"
_OPENING = re.compile(
    rf"(?:^[\W\d_]*(?:(?:{_POLITE}|{_GIVEN}),?\s+)*|\b(?:{_ASKED})\s+)"
    rf"(?:(?P<writes>{_WRITING})|(?P<labels>{_LABELLING}|{_LABEL_NOUN})|(?P<answers>{_ANSWERING}))\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?;。！？])\s+|(?<=[。！？])|\n+")
_WRITING_JA = (
    r"書き換え|書きかえ|書き直|言い換え|言いかえ|置き換え|並べ替え|並べかえ|並び替え|並べ|抽出|抜き出|取り出|変換|翻訳|"
    r"和訳|英訳|訳し|訳す|要約|まとめ|短く|修正|訂正|校正|添削|直し|直す|削除|取り除|除去|補完|数え|変え|答え|回答し|"
    r"回答す|生成|作成|書い|書く|整形|列挙|挙げ"
)
_LABELLING_JA = r"分類|判定|判別|仕分け|振り分け|振分け|割り当て|分け"
_ENDING_JA = re.compile(
    rf"(?:(?P<writes>{_WRITING_JA})|(?P<labels>{_LABELLING_JA}))[\u3040-\u309f]{{0,14}}(?:下さい|頂きたい|欲しい)?"
    r"[\s。．.!！]*$"
)
_ONE_OF = re.compile(r"\b(?:one of|either|labels?|class(?:es|ify)?|categor(?:y|ies|i[sz]e))\b", re.IGNORECASE)
_CHOICE = re.compile(r"\b(?:or|vs|versus|whether|either)\b|[/|\"“「『'=]", re.IGNORECASE)


def verb_of(description: str) -> Verb | None:
    """Return what the first sentence that opens with a known verb (in Japanese: ends in one) asks for, if there is one.

    >>> verb_of("You get a date. Please rewrite it as YYYY-MM-DD."), verb_of("問い合わせを分類する")
    ('writes', 'labels')
    """
    for sentence in _SENTENCE.split(description):
        found = _OPENING.search(sentence) or _ENDING_JA.search(sentence)
        if found:
            return next(verb for verb in get_args(Verb) if found.groupdict().get(verb))
    return None


# --- the choice --------------------------------------------------------------------------------------------


def kind_of(task: Task, rows: Rows | None) -> tuple[str, Note]:
    """Return the name of the family that a task asks for, and why.

    Raises:
        NotFoundError: when the task names a kind that is not known.
    """
    if task.kind is not None:
        if task.kind != WRITES:
            families.load(task.kind)  # refuses what is not known
        return task.kind, Note("kind", f"Kind: {task.kind}, as the task says.")
    why = "" if task.labels else _written(described(task)[0], _answered(rows))
    if not why:
        return LABELS, Note("kind", f"Kind: {LABELS}, because texts are to be put under labels.")
    text = f"Kind: {WRITES}, because {why}. If there are labels to choose from, say kind: {LABELS}."
    return WRITES, Note("kind", text)


def _answered(rows: Rows | None) -> list[tuple[str, str]]:
    """Return input and output of the rows that have one."""
    found = ((row.input, row.output or "") for row in (rows.examples if rows else ()))
    return [(text, output) for text, output in found if output.strip()]


def _written(description: str, answered: Sequence[tuple[str, str]]) -> str:
    """Return why answers are to be written, or "" where labels are to be chosen."""
    verb, named = verb_of(description), labels_in(description)
    if answered:
        return _written_by_rows(verb, named, answered)
    # lists that a description names by chance ("the first and the last letter") are no choice
    choice = named and (_ONE_OF.search(description) or (verb == "answers" and _CHOICE.search(description)))
    return "the description asks for a text" if verb in _WRITTEN and not choice else ""


def _written_by_rows(verb: Verb | None, named: Sequence[str], answered: Sequence[tuple[str, str]]) -> str:
    outputs = [squeeze(output) for _, output in answered]
    known = {squeeze(name) for name in named}
    long = 2 * sum(n_words(output) > _LONG_WORDS for _, output in answered) > len(answered)
    if 2 * sum(output in known for output in outputs) >= len(outputs) or (verb == "labels" and not long):
        return ""
    n, distinct = len(outputs), len(set(outputs))
    if n >= _FEW:
        return f"{distinct:,} of {n:,} outputs differ, as labels do not" if 2 * distinct > n else ""
    if distinct < n or (named and verb not in _WRITTEN):
        return ""
    return _written_by_few_rows(verb, answered)


def _written_by_few_rows(verb: Verb | None, answered: Sequence[tuple[str, str]]) -> str:
    """Return why few outputs, no two of them the same, are to be written, or "" if they are labels."""
    if verb in _WRITTEN:
        return "the description asks for a text and no two outputs are the same"
    if any(n_words(output) > _LONG_WORDS for _, output in answered):
        return "outputs are as long as no label is"
    shared = sum(bool(_words(text) & _words(output)) for text, output in answered)
    return "outputs are made of the words of their inputs" if 2 * shared > len(answered) else ""
