"""A low-rank adapter on every linear layer, and the head (Hu et al. 2021, https://arxiv.org/abs/2106.09685)."""

import torch

from sartor.finetune.descent import Body, descend
from sartor.finetune.interface import Job, Tuned
from sartor.nn import lora

NAME = "lora"
RANK = 8
RATE = 3e-3
"""Of 1e-3, 3e-3 and 1e-2 on the development tasks of :mod:`sartor.finetune.descent`: the last one leaps about."""


def tune(job: Job) -> Tuned:
    """Train A and B of every linear layer, and the head."""
    encoder = job.base.encoder
    start = lora.fresh(encoder, RANK, generator=torch.Generator().manual_seed(job.seed))
    adapter = {name: tensor.requires_grad_() for name, tensor in start.items()}
    body = Body(
        method=NAME,
        trained=adapter,
        states=lambda ids_BT, keep_BT: lora.apply(encoder, adapter, ids_BT, keep_BT)[-1],
        encoder=lambda: lora.merged(encoder, adapter),
        rate=RATE,
    )
    return descend(job, body)
