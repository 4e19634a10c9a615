"""What is odd about rows: copies, contradictions, labels spelled in two ways, texts of extreme length.

Nothing is refused here; the requirement stage decides what it cannot work with.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sartor.data.text import normalise, short, squeeze
from sartor.types import Example, Note

_LONG_WORDS = 20_000
_LONG_CHARACTERS = 100_000
_SHOWN = 3
"""Conflicts shown in a note; the summary holds all."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """One text (but for case, width and spaces) with several labels."""

    input: str
    """As first written."""
    outputs: tuple[str, ...]
    """Most frequent first."""
    rows: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What was found in the rows. Lengths are in characters."""

    rows: int
    classes: Mapping[str, int]
    """Label -> rows, most frequent first."""
    duplicates: int
    """Rows that repeat the text and the label of an earlier one."""
    conflicts: tuple[Conflict, ...]
    near_equal: tuple[tuple[str, ...], ...]
    """Labels that differ only in case, width or spaces; the most frequent of each group first."""
    length_median: int
    length_p95: int
    length_max: int
    very_long: int
    """Texts of more than 20,000 words or 100,000 characters."""
    notes: tuple[Note, ...] = ()


def inspect(examples: Sequence[Example]) -> Summary:
    """Count what is odd about the rows, and say it in notes."""
    classes = Counter(example.output for example in examples if example.output is not None)
    lengths = sorted(len(example.input) for example in examples)
    duplicates, conflicts = _repeats(examples)
    near_equal = tuple(group for group in _spellings(classes) if len(group) > 1)
    very_long = sum(_is_very_long(example.input) for example in examples)
    return Summary(
        rows=len(examples),
        classes=dict(classes.most_common()),
        duplicates=duplicates,
        conflicts=conflicts,
        near_equal=near_equal,
        length_median=_quantile(lengths, 50),
        length_p95=_quantile(lengths, 95),
        length_max=lengths[-1] if lengths else 0,
        very_long=very_long,
        notes=_notes(duplicates, conflicts, near_equal, very_long),
    )


def merge_labels(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Return the rows, labels that differ only in case, width or spaces spelled as the most frequent one."""
    classes = Counter(example.output for example in examples if example.output is not None)
    spelled = {label: group[0] for group in _spellings(classes) for label in group}
    return tuple(
        example if example.output is None else replace(example, output=spelled[example.output]) for example in examples
    )


def _spellings(classes: Counter[str]) -> Iterable[tuple[str, ...]]:
    """Group the labels that are one but for case, width and spaces, the most frequent spelling first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in classes:
        groups[squeeze(label)].append(label)
    for group in groups.values():
        yield tuple(sorted(group, key=lambda label: (-classes[label], label)))


def _repeats(examples: Sequence[Example]) -> tuple[int, tuple[Conflict, ...]]:
    """Return the number of duplicates, and the conflicts in order of first appearance."""
    outputs: dict[str, Counter[str | None]] = defaultdict(Counter)
    first: dict[str, str] = {}
    for example in examples:
        key = normalise(example.input)
        outputs[key][example.output] += 1
        first.setdefault(key, example.input)
    duplicates = sum(counts.total() - len(counts) for counts in outputs.values())
    conflicts: list[Conflict] = []
    for key, counts in outputs.items():
        labels = tuple(label for label, _ in counts.most_common() if label is not None)
        if len(labels) > 1:
            conflicts.append(Conflict(first[key], labels, sum(counts[label] for label in labels)))
    return duplicates, tuple(conflicts)


def _is_very_long(text: str) -> bool:
    # A text of W words has 2 W - 1 characters or more, which spares most texts the counting.
    return len(text) > _LONG_CHARACTERS or (len(text) >= 2 * _LONG_WORDS and len(text.split()) > _LONG_WORDS)


def _quantile(ordered: Sequence[int], percent: int) -> int:
    """Return the smallest value that ``percent`` of the values do not exceed; 0 of none."""
    return ordered[-(-len(ordered) * percent // 100) - 1] if ordered else 0


def _notes(
    duplicates: int,
    conflicts: Sequence[Conflict],
    near_equal: Sequence[Sequence[str]],
    very_long: int,
) -> tuple[Note, ...]:
    notes: list[Note] = []
    if duplicates:
        text = f"{duplicates:,} rows repeat the text and label of another; copies stay together in the proof."
        notes.append(Note("duplicates", text))
    if conflicts:
        shown = "; ".join(f"{short(c.input)!r}: {', '.join(map(repr, c.outputs))}" for c in conflicts[:_SHOWN])
        more = f"; and {len(conflicts) - _SHOWN:,} more" if len(conflicts) > _SHOWN else ""
        text = f"{len(conflicts):,} texts have more than one label ({shown}{more}). Decide on one label each."
        notes.append(Note("conflicts", text, "warning", quotes=True))
    for group in near_equal:
        names = " and ".join(repr(label) for label in group)
        text = f"labels {names} differ only in case, width or spaces; say --merge-labels to merge them"
        notes.append(Note("labels", text, "warning"))
    if very_long:
        text = (
            f"{very_long:,} texts are very long (more than {_LONG_WORDS:,} words or {_LONG_CHARACTERS:,} "
            "characters); only their beginning can be read."
        )
        notes.append(Note("length", text, "warning"))
    return tuple(notes)
