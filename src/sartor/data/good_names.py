"""Which of several labels says that nothing is wrong."""

from collections.abc import Sequence

GOOD_NAMES = frozenset(
    {"good", "ok", "okay", "normal", "nominal", "fine", "pass", "passed", "intact", "healthy", "regular", "usual"}
    | {"defect-free", "no defect", "no-defect", "no_defect", "undamaged", "clean", "gut", "bon", "bueno", "io", "i.o."}
    | {"良", "良品", "正常", "合格", "問題なし"}
)
"""Usual names of a folder of good pictures; lower case."""


def good_label(labels: Sequence[str]) -> str | None:
    """Return which of several labels is that of good inputs, by its usual names; None where none is, or two are."""
    usual = [label for label in labels if label.strip().casefold() in GOOD_NAMES]
    return usual[0] if len(usual) == 1 else None
