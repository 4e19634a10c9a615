"""What fine-tuning takes and gives, whatever the method.

    Job -> method -> Tuned

A method is one small file beside this one with a function ``tune(job) -> Tuned``, named in
:data:`sartor.finetune.METHODS`. The base is never changed: a method trains tensors of its own.

Dimension key:   N: rows   C: labels   H: hidden width
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from sartor.errors import TaskError
from sartor.families.interface import FloatArray, IntArray
from sartor.nn.text_base import TextBase
from sartor.types import Progress, Weights

Predict: TypeAlias = Callable[[Sequence[str]], FloatArray]
"""``predict(texts)`` -> (N, C) probabilities, rows sum to one; not calibrated."""

OnStep: TypeAlias = Callable[[int, float, Predict], None]
"""``on_step(step, seconds, predict)`` after every step, and at step 0 before the first.

``seconds`` is the work so far; what the callback itself takes is not counted. ``predict`` is the model of this step
until the callback returns, for the next step changes its tensors.
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """When training ends: at what comes first. A step that has begun is finished.

    Raises:
        TaskError: if neither is given, or one is negative.
    """

    seconds: float | None = None
    """Of work: encoding and training, not judging."""
    steps: int | None = None

    def __post_init__(self) -> None:
        given = [part for part in (self.seconds, self.steps) if part is not None]
        if not given or min(given) < 0:
            raise TaskError(
                f"A budget is a number of seconds, of steps, or both, none below zero; got seconds={self.seconds}, "
                f"steps={self.steps}."
            )

    def spent(self, seconds: float, steps: int) -> bool:
        """Say whether there is nothing left."""
        return (self.seconds is not None and seconds >= self.seconds) or (
            self.steps is not None and steps >= self.steps
        )


class Clock:
    """Counts the seconds of work; stands still while somebody judges."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._still = 0.0

    @property
    def seconds(self) -> float:
        """Return the seconds of work so far."""
        return time.perf_counter() - self._start - self._still

    @contextmanager
    def still(self) -> Generator[None]:
        """Do not count what happens inside."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._still += time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Job:
    """What a method is given."""

    base: TextBase
    texts: tuple[str, ...]
    targets: IntArray
    """(N,) index of each text's label; at least two different ones."""
    n_labels: int
    max_tokens: int
    budget: Budget
    seed: int
    progress: Progress
    on_step: OnStep
    clock: Clock = field(default_factory=Clock)

    def tell(self, step: int, predict: Predict) -> None:
        """Say that a step is done, and let the caller judge what came of it, off the clock."""
        seconds = self.clock.seconds
        with self.clock.still():
            self.progress("finetune", step, self.budget.steps or 0)
            self.on_step(step, seconds, predict)


@dataclass(frozen=True, slots=True)
class Tuned:
    """What fine-tuning made."""

    method: str
    weights: Weights
    """What was trained: ``head.weight`` (C, H), ``head.bias`` (C,), and the method's own by their names."""
    seconds: float
    """Of work; judging is not counted."""
    steps: int
    losses: tuple[float, ...]
    """Mean cross-entropy of each step's batch, before the step."""
    predict: Predict
