"""Logistic regression on the frozen last layer: nothing of the encoder is trained."""

from sartor.finetune import head
from sartor.finetune.interface import Job, Tuned

NAME = "probe"


def tune(job: Job) -> Tuned:
    """Solve the head. It has no steps, so that the budget does not matter."""
    encoder = job.base.encoder
    vectors = head.encode(job.base, encoder, job.texts, job.max_tokens)
    weights = head.solve(vectors, job.targets, job.n_labels)
    predict = head.predictor(job, encoder, weights)
    job.tell(0, predict)
    return Tuned(NAME, weights, job.clock.seconds, 0, (), predict)
