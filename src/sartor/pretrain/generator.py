"""Training of the generator of text-generation: conditions in, adapters out, the answers of the frozen base as judge.

What is generated stands beside the multi-task anchor, which is frozen here. What makes the condition matter is the
data: half of a step's tasks and more read the very same inputs. What keeps tasks from being learned by heart: noise on
the sentences of a condition, and rows that speak through their gradient (:mod:`sartor.nn.gradient_steps`), which
names no task.

Dimension key:   G: conditions of a step   B: rows of a step
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from sartor.nn.anchored import join
from sartor.nn.check_adapter import Bounds
from sartor.nn.condition import Conditions, Sentences
from sartor.nn.decoder import Adapters
from sartor.nn.decoder import rows_of as adapters_of_rows
from sartor.nn.generator import Generator
from sartor.nn.language import LanguageModel
from sartor.nn.support_rows import SupportRows
from sartor.pretrain import adapters, run
from sartor.pretrain.adapters import Dial, States
from sartor.pretrain.instructions import Episode, InstructionMixture
from sartor.pretrain.run import Look, Losses, Pace

CPU = Dial(Pace(steps=250, rate=1e-3, warm_up=30, every=50), tasks=5, rows=3, rank=16, layers=10, watched=8, support=10)
GPU = Dial(Pace(steps=8_000, rate=5e-4, warm_up=400, every=250), tasks=32, rows=4, rank=16, layers=30, support=16)

GRADIENT_STEPS = 3
"""Each is a pass forward and backward over a condition's rows, in training and in use."""
NOISE = 0.5
"""Length of the noise on a sentence's embedding, which is of length one, in training."""
RENAMED = 0.5
"""How often the answers of a task that has few are other words."""
MODALITIES = (0.15, 0.75, 0.0, 0.1)
"""In the order of :data:`sartor.pretrain.instructions.MODALITIES`."""


@dataclass(frozen=True, slots=True)
class GeneratorLesson:
    """Rows of many tasks, each answered with the adapter that its task's condition gave."""

    model: LanguageModel
    generator: Generator
    anchor: Adapters
    sentences: Sentences
    train: InstructionMixture
    watched: InstructionMixture
    dial: Dial
    below: States | None = None

    @property
    def weights(self) -> Mapping[str, float]:
        """Return what each loss counts; what the anchor alone loses is shown and not learned."""
        return {"answers": 1.0}

    def learn(self, parameters: Mapping[str, Tensor], random: np.random.Generator) -> Losses:
        """Return the mean loss of a step's rows."""
        episodes = adapters.draw(self.train, self.dial, random)
        return {"answers": self.losses(episodes, parameters, noise=random).mean()}

    def watch(self, parameters: Mapping[str, Tensor]) -> Losses:
        """Return the mean losses of the same rows every time: with the right condition, another's, and the anchor.

        The right condition's are shown by whether there are labelled rows in it, too.
        """
        random = np.random.default_rng(0)
        found: dict[str, list[Tensor]] = {}
        for _ in range(self.dial.watched):
            episodes = adapters.draw(self.watched, self.dial, random)
            others = [*episodes[1:], episodes[0]]
            right = self.losses(episodes, parameters)
            rows = torch.tensor([bool(one.condition.support) for one in episodes])[adapters.rows_of(episodes)]
            anchor = self.losses(episodes, parameters, dial=0.0)
            other = self.losses(episodes, parameters, conditions=others)
            for name, part in (
                ("answers", right),
                ("other condition", other),
                ("anchor", anchor),
                ("with rows", right[rows]),
                ("anchor, with rows", anchor[rows]),
                ("without rows", right[~rows]),
                ("anchor, without rows", anchor[~rows]),
            ):
                found.setdefault(name, []).append(part)
        return {name: torch.cat(parts).mean() for name, parts in found.items()}

    def losses(
        self,
        episodes: Sequence[Episode],
        parameters: Mapping[str, Tensor],
        *,
        conditions: Sequence[Episode] | None = None,
        dial: float = 1.0,
        noise: np.random.Generator | None = None,
    ) -> Tensor:
        """Return (B,) the losses of the rows of episodes, under their own conditions or those of others.

        Args:
            episodes: whose rows are answered.
            parameters: of the generator.
            conditions: in place of their own.
            dial: of the generated part.
            noise: what conditions are blurred by; None in a look.
        """
        joined = self.joined(conditions or episodes, parameters, dial=dial, noise=noise)
        of_row = torch.from_numpy(adapters.rows_of(episodes)).to(self.model.device)
        return adapters.episode_losses(self.model, episodes, adapters_of_rows(joined, of_row), self.dial, self.below)

    def joined(
        self,
        telling: Sequence[Episode],
        parameters: Mapping[str, Tensor],
        *,
        dial: float = 1.0,
        noise: np.random.Generator | None = None,
    ) -> Adapters:
        """Return the adapter of each episode's condition, the anchor in it; arguments as of :meth:`losses`."""
        device = self.model.device
        told = self.sentences([episode.condition for episode in telling], device)
        supports = [episode.condition.support for episode in telling]
        layer = adapters.first_layer(self.model, self.dial.layers)
        rows = SupportRows.of(self.model, supports, self.anchor, layer, self.below)
        if noise is not None:
            told = blurred(told, noise)
        generated: Adapters = functional_call(self.generator, dict(parameters), (told, rows))
        return join(self.anchor, generated, dial)


def blurred(told: Conditions, random: np.random.Generator) -> Conditions:
    """Return conditions whose sentences are not quite what they were: those of training tasks give them away."""
    drawn = random.normal(size=tuple(told.items_GNE.shape)).astype(np.float32)
    noise_GNE = torch.from_numpy(drawn).to(told.items_GNE) * NOISE / told.items_GNE.shape[-1] ** 0.5
    return replace(told, items_GNE=torch.nn.functional.normalize(told.items_GNE + noise_GNE, dim=-1))


def train(lesson: GeneratorLesson, folder: Path, *, seed: int, on_look: Callable[[Look], None]) -> dict[str, Tensor]:
    """Return the generator's weights; go on from ``folder`` if a run lies there."""
    start = {name: tensor.detach() for name, tensor in lesson.generator.named_parameters()}
    return run.descend(lesson, start, lesson.dial.pace, folder, seed=seed, on_look=on_look)


@torch.no_grad()
def bounds(lesson: GeneratorLesson, weights: Mapping[str, Tensor], *, seed: int, draws: int = 12) -> Bounds:
    """Return how large adapters of training tasks are at each site, with room for twice as much."""
    random = np.random.default_rng(seed)
    found = [lesson.joined(adapters.draw(lesson.train, lesson.dial, random), weights) for _ in range(draws)]
    return Bounds.from_adapters(found)


WORD_DIALS = (0.0, 0.25, 0.5, 0.75, 1.0)


@torch.no_grad()
def word_dial(lesson: GeneratorLesson, weights: Mapping[str, Tensor]) -> tuple[float, dict[float, float]]:
    """Return how much of the generated part is used where there are no rows, and the watched losses by which.

    What words alone make of a task never seen may be worse than the anchor; then it is 0, and the anchor answers.
    """
    random = np.random.default_rng(0)
    drawn = [adapters.draw(lesson.watched, lesson.dial, random) for _ in range(lesson.dial.watched)]
    wordy = [kept for episodes in drawn if (kept := [one for one in episodes if not one.condition.support])]
    if not wordy:
        return 0.0, {}
    found = {
        dial: float(torch.cat([lesson.losses(episodes, weights, dial=dial) for episodes in wordy]).mean())
        for dial in WORD_DIALS
    }
    return min(found, key=found.__getitem__), found
