"""All weights of the encoder, and the head."""

from sartor.finetune.descent import Body, descend
from sartor.finetune.interface import Job, Tuned
from sartor.nn.lora import rebuilt

NAME = "full"
RATE = 1e-4
"""Of 5e-5, 1e-4 and 2e-4 on the development tasks of :mod:`sartor.finetune.descent`; 5e-5 ends as high, but later."""


def tune(job: Job) -> Tuned:
    """Train a copy of the encoder, and the head."""
    base = job.base.encoder
    copy = rebuilt(base, {name: tensor.clone() for name, tensor in base.state_dict().items()}).requires_grad_()
    body = Body(
        method=NAME,
        trained=dict(copy.named_parameters()),
        states=lambda ids_BT, keep_BT: copy(ids_BT, keep_BT)[-1],
        encoder=lambda: copy,
        rate=RATE,
    )
    return descend(job, body)
