"""A task of text in, text out, to a requirement, by rules alone. Every decision leaves a note that says why."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from sartor.assets import catalogue
from sartor.assets.catalogue import LanguageModelSpec
from sartor.data.text import encodable
from sartor.errors import DataError, TaskError
from sartor.nn.condition import MOST_SUPPORT, SHOTS
from sartor.requirement import language as languages
from sartor.requirement.kind import WRITES, n_words
from sartor.requirement.understood import Understood, described, fits, sample
from sartor.types import Example, Note, Requirement, Rows, Task

BASE = "smollm2-135m-instruct"
"""The language model that is taken where none is asked for."""
MOST_WORDS = 200
"""Of an answer; what is longer is told, and kept."""
_FEW = 8
_FOREIGN_LETTERS = 0.02
"""Share of letters beyond ASCII below which the language of answers is not guessed: they may be names or codes."""
_NAMES = {"en": "English", "*": "every language"}


def understand_writing(
    task: Task,
    rows: Rows | None,
    *,
    name: str,
    base: str | None = None,
    unlabelled: Rows | None = None,
    why: Note,
) -> Understood:
    """Work out base, language and rows of a model that writes.

    Args:
        task: in the user's words.
        rows: texts with the answers to write; None or empty when the description is all there is.
        name: of the model, where the task has none.
        base: a language model of the catalogue; :data:`BASE` unless given.
        unlabelled: texts of the kind that will be asked; None when there are none or they were not looked at.
        why: the note that says why this is a task of writing.

    Raises:
        TaskError: when nothing says what is to be written, or the language is no code.
        DataError: when no row has both a text and an answer.
        NotFoundError: when the base is not known.
    """
    description, cut = described(task)
    kept, row_notes = _usable(rows)
    if not description and not kept:
        raise TaskError(
            "There is neither a description nor a row: nothing says what is to be written. Describe it in words, "
            "or give rows of texts and answers by --examples."
        )
    prompts, prompt_notes = _prompts(unlabelled, labelled=bool(kept))
    chosen = catalogue.language_model(BASE if base is None else base)
    texts = [example.input for example in kept] or prompts
    code, reason = _language(task, description, texts)
    notes = (
        *(rows.notes if rows else ()),
        *cut,
        why,
        *_no_labels(task),
        Note("language", f"Language: {code} ({reason})."),
        Note("base", f"Base: {chosen.name}, " + ("as none was asked for." if base is None else "as asked.")),
        *fits(task, chosen.name, chosen.n_parameters),
        *_foreign(code, [str(example.output) for example in kept], chosen),
        *row_notes,
        _rows(len(kept)),
        *_conflicts(kept),
        *_constant(kept),
        *_long_answers(kept),
        *prompt_notes,
    )
    requirement = Requirement(
        family=WRITES,
        name=task.name or name,
        description=description,
        labels=(),
        language=code,
        base=chosen.name,
        max_tokens=chosen.max_tokens,
        limits=task.limits,
        notes=notes,
    )
    return Understood(requirement, kept, prompts)


def _no_labels(task: Task) -> Iterator[Note]:
    if task.labels:
        text = "The labels that the task lists are not used: a model that writes keeps to no list."
        yield Note("labels", text, "warning")


# --- rows --------------------------------------------------------------------------------------------------


def _usable(rows: Rows | None) -> tuple[tuple[Example, ...], tuple[Note, ...]]:
    """Return the rows with a text and an answer, none of them twice, in their order."""
    if not rows or not rows.examples:
        return (), ()
    read = [Example(encodable(row.input), encodable(row.output or "")) for row in rows.examples]
    with_text = [row for row in read if row.input.strip()]
    whole = [row for row in with_text if (row.output or "").strip()]
    no_text, no_answer = len(read) - len(with_text), len(with_text) - len(whole)
    if not whole:
        raise DataError(
            f"None of the {len(rows.examples):,} rows can be used: {no_text:,} have no text and {no_answer:,} no "
            "answer. Give each row both; texts alone go into a file of their own, named by --unlabelled."
        )
    kept = tuple(dict.fromkeys(whole))
    notes = (*_dropped(no_text, "text"), *_dropped(no_answer, "answer"), *_repeats(len(whole) - len(kept)))
    return kept, notes


def _dropped(count: int, what: str) -> Iterator[Note]:
    if count:
        rows, were = ("row has", "was") if count == 1 else ("rows have", "were")
        yield Note("dropped", f"{count:,} {rows} no {what} and {were} left out.", "warning")


def _repeats(count: int) -> Iterator[Note]:
    if count:
        rows, each = ("row repeats", "is") if count == 1 else ("rows repeat", "are")
        yield Note("duplicates", f"{count:,} {rows} the text and answer of another and {each} not counted.")


def _rows(count: int) -> Note:
    if not count:
        text = (
            "No labelled rows: the description alone says what is to be done, and nothing can be proved; "
            f"about {_FEW} rows change that."
        )
        return Note("rows", text, "warning")
    if count > MOST_SUPPORT:
        text = f"{MOST_SUPPORT} of {count:,} rows, drawn by their hashes, go into the model; others measure it."
        return Note("rows", text)
    return Note("rows", "1 row." if count == 1 else f"{count} rows.")


def _conflicts(examples: Sequence[Example]) -> Iterator[Note]:
    answers: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        answers[_single_spaced(example.input)].add(_single_spaced(str(example.output)))
    count = sum(len(different) > 1 for different in answers.values())
    if count:
        texts = "1 text has" if count == 1 else f"{count:,} texts have"
        text = f"{texts} more than one answer; all are kept. Decide on one, unless several are right."
        yield Note("conflicts", text, "warning")


def _constant(examples: Sequence[Example]) -> Iterator[Note]:
    if len(examples) > 1 and len({_single_spaced(str(example.output)) for example in examples}) == 1:
        text = f"All {len(examples):,} rows have the same answer: they do not say what it depends on. Give others, too."
        yield Note("outputs", text, "warning")


def _single_spaced(text: str) -> str:
    return " ".join(text.split())


def _long_answers(examples: Sequence[Example]) -> Iterator[Note]:
    count = sum(n_words(str(example.output)) > MOST_WORDS for example in examples)
    if count:
        answers = "1 answer has" if count == 1 else f"{count:,} answers have"
        text = f"{answers} more than {MOST_WORDS} words: what is written ends at --max-new-tokens."
        yield Note("length", text, "warning")


def _prompts(rows: Rows | None, *, labelled: bool) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    """Return the texts to read as prompts, spread evenly over the rows, and why."""
    if rows is None:
        return (), ()
    if labelled:
        text = "The unlabelled rows are not read: they help only where there is no labelled row."
        return (), (Note("unlabelled", text),)
    texts = tuple(dict.fromkeys(text for row in rows.examples if (text := encodable(row.input)).strip()))
    if not texts:
        return (), (*rows.notes, Note("unlabelled", "No unlabelled row has a text: none is read.", "warning"))
    read = min(SHOTS, len(texts))
    prompts = tuple(texts[at * len(texts) // read] for at in range(read))
    number = f"{read} of {len(texts):,}" if read < len(texts) else f"{read}"
    verb = "is" if number == "1" else "are"
    return prompts, (*rows.notes, Note("unlabelled", f"Unlabelled rows: {number} {verb} read, as what will be asked."))


# --- language -------------------------------------------------------------------------------------------


def _language(task: Task, description: str, texts: Sequence[str]) -> tuple[str, str]:
    if task.language:
        return languages.checked(task.language), "as the task says"
    read = sample(texts)
    code, why = languages.detect(read or [description])
    # names and quantities in plain letters have no language, and letter statistics give them one at random
    if read and description and code != "en" and all(text.isascii() for text in read):
        code, why = languages.detect([description])
        return code, f"of the description, {why}; the texts are too plain to tell"
    return code, why


def _foreign(code: str, answers: Sequence[str], base: LanguageModelSpec) -> Iterator[Note]:
    """Warn of texts and answers in a language that the base does not know."""
    read = sample(answers)
    letters = [char for text in read for char in text[:2000] if char.isalpha()]
    told = sum(not char.isascii() for char in letters) > _FOREIGN_LETTERS * len(letters)
    found = dict.fromkeys((code, languages.detect(read)[0]) if told else (code,))
    unknown = [] if "*" in base.languages else [language for language in found if language not in base.languages]
    if unknown:
        known = ", ".join(_NAMES.get(language, language) for language in base.languages)
        text = f"The base {base.name} reads {known}: answers in {' and '.join(unknown)} will be poor."
        yield Note("language", text, "warning")
