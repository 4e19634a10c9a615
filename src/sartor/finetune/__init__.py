"""Gradient descent on a task's rows: what a generated model must be shown beside, and what may follow it.

A new method is one new file beside :mod:`sartor.finetune.probe` and one line of :data:`METHODS`.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sartor.data.text import encodable
from sartor.errors import DataError, TaskError, did_you_mean
from sartor.families.interface import IntArray
from sartor.finetune import full, lora, probe
from sartor.finetune.interface import Budget, Job, OnStep, Predict, Tuned
from sartor.nn.text_base import TextBase
from sartor.types import Progress, silent

__all__ = ["METHODS", "Budget", "Predict", "Tuned", "finetune"]

METHODS: Mapping[str, Callable[[Job], Tuned]] = {
    probe.NAME: probe.tune,
    lora.NAME: lora.tune,
    full.NAME: full.tune,
}


def _unjudged(step: int, seconds: float, predict: Predict) -> None:
    """Judge nothing."""


def finetune(
    base: TextBase,
    texts: Sequence[str],
    targets: IntArray,
    n_labels: int,
    *,
    method: str,
    budget: Budget,
    max_tokens: int,
    seed: int = 0,
    progress: Progress = silent,
    on_step: OnStep = _unjudged,
) -> Tuned:
    """Return a classifier trained from the base on labelled rows; the base stays as it is, whatever happens.

    Args:
        base: where training starts: at its frozen encoder; an anchor beside it is left aside.
        texts: N of them.
        targets: (N,) index of each text's label, 0 to ``n_labels - 1``.
        n_labels: labels without a row are never answered.
        method: a name in :data:`METHODS`.
        budget: when to stop.
        max_tokens: longer texts are cut here.
        seed: of the adapter's start and of the order of rows.
        progress: is told of every step.
        on_step: may judge the model after every step; see :data:`sartor.finetune.interface.OnStep`.

    Raises:
        TaskError: if there is no such method.
        DataError: if rows and targets do not fit, or fewer than two labels have rows.
    """
    if method not in METHODS:
        near = did_you_mean(method, METHODS)
        raise TaskError(f"No way to fine-tune named {method!r}.{near} Known ways: {', '.join(sorted(METHODS))}.")
    targets = np.asarray(targets, dtype=np.int64)
    _check(texts, targets, n_labels)
    return METHODS[method](
        Job(base, tuple(map(encodable, texts)), targets, n_labels, max_tokens, budget, seed, progress, on_step)
    )


def _check(texts: Sequence[str], targets: IntArray, n_labels: int) -> None:
    if targets.shape != (len(texts),):
        raise DataError(f"Each text needs one target; got {len(texts)} texts and targets of shape {targets.shape}.")
    present = np.unique(targets)
    if len(present) < 2:
        raise DataError(f"Need rows of at least two labels to fine-tune; got {len(present)}. Add labelled rows.")
    if present[0] < 0 or present[-1] >= n_labels:
        raise DataError(
            f"Targets are places among {n_labels} labels, 0 to {n_labels - 1}; got {present[0]} to {present[-1]}."
        )
