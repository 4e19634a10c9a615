"""The linear head that every method ends in: on the mean of the last layer's real tokens, scaled to length one.

Dimension key:   N: rows   C: labels   H: hidden width
"""

import warnings
from collections.abc import Sequence

import numpy as np
import scipy.special
import threadpoolctl
import torch
from numpy.typing import NDArray
from torch import Tensor

from sartor.data.text import encodable
from sartor.families.interface import FloatArray, IntArray
from sartor.finetune.interface import Job, Predict
from sartor.nn.encoder import BertEncoder, Pooling, encode_texts
from sartor.nn.features import unit
from sartor.nn.text_base import TextBase

WEIGHT, BIAS = "head.weight", "head.bias"
_ABSENT = -30.0
"""Bias of a label that no row has: it is as good as never answered, and yet finite."""


def encode(base: TextBase, encoder: BertEncoder, texts: Sequence[str], max_tokens: int) -> NDArray[np.float32]:
    """Return (N, H) vectors of length one."""
    last = Pooling(encoder.config.layers)
    prefixed = [base.prefix + text for text in texts]
    pooled, _ = encode_texts(encoder, base.tokenizer, prefixed, [last], max_tokens=max_tokens)
    return unit(pooled[:, 0])


def solve(vectors: NDArray[np.float32], targets: IntArray, n_labels: int) -> dict[str, Tensor]:
    """Return the head of logistic regression (C = 10), the one that the control ``probe`` has."""
    from sklearn.linear_model import LogisticRegression  # one second to import

    present = np.unique(targets)
    model = LogisticRegression(C=10.0, max_iter=300, tol=1e-3)
    # matrices are small: threads that wait for each other cost more than the work
    with warnings.catch_warnings(), threadpoolctl.threadpool_limits(1, user_api="blas"):
        # "more labels than half the rows, is this regression?", and a solver that stops at max_iter: both are fine here
        warnings.simplefilter("ignore")
        model.fit(vectors, targets)
    rows, bias = model.coef_, model.intercept_
    if len(present) == 2:  # one row for both: half for the second label, half against the first
        rows, bias = np.concatenate([-rows, rows]) / 2, np.concatenate([-bias, bias]) / 2
    weight_CH = np.zeros((n_labels, vectors.shape[1]))
    bias_C = np.full(n_labels, _ABSENT)
    weight_CH[present], bias_C[present] = rows, bias
    return {WEIGHT: torch.from_numpy(weight_CH).float(), BIAS: torch.from_numpy(bias_C).float()}


def scores(head: dict[str, Tensor], vectors_NH: Tensor) -> Tensor:
    """Return (N, C) logits."""
    return torch.nn.functional.linear(vectors_NH, head[WEIGHT], head[BIAS])


def predictor(job: Job, encoder: BertEncoder, head: dict[str, Tensor]) -> Predict:
    """Return what answers texts with this encoder and head."""
    base, max_tokens = job.base, job.max_tokens

    def predict(texts: Sequence[str]) -> FloatArray:
        vectors = torch.from_numpy(encode(base, encoder, [encodable(text) for text in texts], max_tokens))
        with torch.no_grad():
            logits = scores({name: tensor.detach().cpu() for name, tensor in head.items()}, vectors)
        return scipy.special.softmax(logits.double().numpy(), axis=1)

    return predict
