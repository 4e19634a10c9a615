"""Training of the generator of text-generation: conditions in, adapters out, the answers of the frozen base as judge.

What is generated stands beside the multi-task anchor, which is frozen here, and starts at nothing: step 0 is the
anchor. What makes the condition matter is the data: half of a step's tasks and more read the very same inputs.

Dimension key:   G: conditions of a step   B: rows of a step
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from sartor.nn.anchored import join
from sartor.nn.decoder import Adapters
from sartor.nn.decoder import rows_of as adapters_of_rows
from sartor.nn.language import LanguageModel
from sartor.nn.set_encoder import SetEncoder
from sartor.nn.weight_heads import BasisHead, Sites
from sartor.pretrain import adapters, run
from sartor.pretrain.adapters import Conditions, Dial, Sentences, States
from sartor.pretrain.instructions import Episode, InstructionMixture
from sartor.pretrain.run import Look, Losses, Pace

CPU = Dial(Pace(steps=500, rate=1e-3, warm_up=40, every=100), tasks=8, rows=2, rank=16, layers=10, watched=6)
GPU = Dial(Pace(steps=8_000, rate=5e-4, warm_up=400, every=250), tasks=32, rows=4, rank=16, layers=30)


class Generator(nn.Module):
    """A set encoder and a weight head."""

    def __init__(self, sites: Sites, *, rank: int, width: int = 256, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.encoder = SetEncoder(width=width)
            self.head = BasisHead(sites, width=width, basis=rank, seed=seed)

    @override
    def forward(self, conditions: Conditions) -> Adapters:
        """Return an adapter for each condition."""
        given = (conditions.items_GNE, conditions.types_GN, conditions.keep_GN, conditions.example_GN)
        return self.head(self.encoder(*given))


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
        return {"answers": self.losses(adapters.draw(self.train, self.dial, random), parameters).mean()}

    def watch(self, parameters: Mapping[str, Tensor]) -> Losses:
        """Return the mean losses of the same rows every time: with the right condition, another's, and the anchor."""
        random = np.random.default_rng(0)
        found: list[Tensor] = []
        for _ in range(self.dial.watched):
            episodes = adapters.draw(self.watched, self.dial, random)
            others = [*episodes[1:], episodes[0]]
            found.append(
                torch.stack(
                    [
                        self.losses(episodes, parameters).mean(),
                        self.losses(episodes, parameters, conditions=others).mean(),
                        self.losses(episodes, parameters, dial=0.0).mean(),
                    ]
                )
            )
        return dict(zip(("answers", "other condition", "anchor"), torch.stack(found).mean(dim=0), strict=True))

    def losses(
        self,
        episodes: Sequence[Episode],
        parameters: Mapping[str, Tensor],
        *,
        conditions: Sequence[Episode] | None = None,
        dial: float = 1.0,
    ) -> Tensor:
        """Return (B,) the losses of the rows of episodes, under their own conditions or those of others."""
        device = next(self.model.decoder.parameters()).device
        told = self.sentences([episode.condition for episode in conditions or episodes], device)
        generated: Adapters = functional_call(self.generator, dict(parameters), (told,))
        of_row = torch.from_numpy(adapters.rows_of(episodes)).to(device)
        joined = adapters_of_rows(join(self.anchor, generated, dial), of_row)
        return adapters.episode_losses(self.model, episodes, joined, self.dial, self.below)


def train(lesson: GeneratorLesson, folder: Path, *, seed: int, on_look: Callable[[Look], None]) -> dict[str, Tensor]:
    """Return the generator's weights; go on from ``folder`` if a run lies there."""
    start = {name: tensor.detach() for name, tensor in lesson.generator.named_parameters()}
    return run.descend(lesson, start, lesson.dial.pace, folder, seed=seed, on_look=on_look)
