"""Gradient descent on an encoder's own or added tensors and a linear head, in batches.

The head starts as the probe's, so that training begins where the probe ends (linear probing, then fine-tuning:
Kumar et al. 2022, https://arxiv.org/abs/2202.10054, section 3.4).

Dimension key:   N: rows   C: labels   B: batch   T: tokens   H: hidden width
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sartor.finetune import head
from sartor.finetune.interface import Job, Predict, Tuned
from sartor.nn.encoder import BertEncoder, padded, pool
from sartor.types import Weights

# chosen on three development tasks (goemotions_ekman, airline_sentiment, nlueval_webapplications), 8 rows a label, two
# seeds, for the accuracy a second buys: 8 rows a batch reach in half the seconds what 16 do; the head's rate matters
# little between 1e-3 and 1e-2, as the head starts solved
BATCH = 8
HEAD_RATE = 3e-3
WEIGHT_DECAY = 0.01
"""AdamW's usual one."""
MAX_NORM = 1.0
"""Gradients together are no longer than this."""


@dataclass(frozen=True, slots=True)
class Body:
    """What is trained below the head, and how it is used."""

    method: str
    trained: Mapping[str, Tensor]
    """Leaf tensors; descent changes them in place."""
    states: Callable[[Tensor, Tensor | None], Tensor]
    """``states(ids_BT, keep_BT)`` -> (B, T, H) of the last layer; differentiable in ``trained``."""
    encoder: Callable[[], BertEncoder]
    """The encoder as trained so far, to answer with."""
    rate: float
    """AdamW's learning rate."""


def descend(job: Job, body: Body) -> Tuned:
    """Train until the budget is spent."""
    top = _start(job)
    optimizer = _optimizer(job, body, top)
    rows = _tokenised(job)
    order = _batches(len(rows), torch.Generator().manual_seed(job.seed))
    losses: list[float] = []

    def predict() -> Predict:
        return head.predictor(job, body.encoder(), top)

    job.tell(0, lambda texts: predict()(texts))
    while not job.budget.spent(job.clock.seconds, len(losses)):
        batch = next(order)
        loss = _loss(job, body, top, [rows[row] for row in batch], torch.from_numpy(job.targets)[batch])
        losses.append(_step(optimizer, loss))
        job.tell(len(losses), lambda texts: predict()(texts))
    weights = {name: tensor.detach() for name, tensor in {**body.trained, **top}.items()}
    return Tuned(body.method, weights, job.clock.seconds, len(losses), tuple(losses), predict())


def _start(job: Job) -> dict[str, Tensor]:
    vectors = head.encode(job.base, job.base.encoder, job.texts, job.max_tokens)
    solved = head.solve(vectors, job.targets, job.n_labels)
    return {name: tensor.to(_device(job)).requires_grad_() for name, tensor in solved.items()}


def _optimizer(job: Job, body: Body, top: Weights) -> torch.optim.Optimizer:
    groups = [
        {"params": list(body.trained.values()), "lr": body.rate},
        {"params": list(top.values()), "lr": HEAD_RATE},
    ]
    # fused: a tenth of the time where all of an encoder is trained
    return torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)


def _loss(job: Job, body: Body, top: dict[str, Tensor], rows: Sequence[Sequence[int]], targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of a batch."""
    ids_BT, keep_BT = padded(rows, job.base.encoder.config.pad_id)
    ids_BT, keep_BT = ids_BT.to(_device(job)), keep_BT.to(_device(job))
    states_BTH = body.states(ids_BT, None if bool(keep_BT.all()) else keep_BT)
    vectors_BH = functional.normalize(pool(states_BTH, keep_BT, "mean"), dim=1)
    return functional.cross_entropy(head.scores(top, vectors_BH), targets.to(_device(job)))


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], MAX_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def _batches(n: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield row numbers without end: every epoch holds each row once, in an order of its own."""
    while True:
        yield from torch.randperm(n, generator=generator).split(BATCH)


def _tokenised(job: Job) -> list[list[int]]:
    encodings = job.base.tokenizer.encode_batch_fast([job.base.prefix + text for text in job.texts])
    most = job.max_tokens
    # a text that is cut keeps its closing token
    return [e.ids if len(e.ids) <= most else [*e.ids[: most - 1], e.ids[-1]] for e in encodings]


def _device(job: Job) -> torch.device:
    return next(job.base.encoder.parameters()).device
