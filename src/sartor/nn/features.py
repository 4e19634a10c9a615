"""Text as blocks of features: pooled layers of a frozen encoder, and hashed n-grams.

The last layer knows topics and intents, the middle layers and the n-grams know form; which of them a task needs
is not known before its rows are seen, so all are kept apart here and weighed where the head is solved.

N-grams are hashed into a fixed number of buckets with signs (Weinberger et al. 2009,
https://arxiv.org/abs/0902.2206), so that no vocabulary of the user's texts exists anywhere.

Dimension key:   N: texts   P: pooled blocks   H: hidden width   K: buckets
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

BUCKETS = 4096
"""Per n-gram block. At 2,048 collisions cost accuracy, at 16,384 the head grows without gain."""
_NEAR = 0.7
_PAIRED_ROWS = 2000
NGRAM_CHARACTERS = 10_000
"""N-grams of a longer text are those of its beginning."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TextFeatures:
    """Encoded texts, one row each."""

    pooled: Floats
    """(N, P, H); each (H,) vector has length one."""
    words: sp.csr_matrix
    """(N, K) signed log counts of words and word pairs."""
    characters: sp.csr_matrix
    """(N, K) signed log counts of runs of 2 to 5 characters."""
    cut: NDArray[np.bool_]
    """(N,) true where a text was longer than what was encoded."""
    texts: tuple[str, ...]
    """The texts themselves, for the controls that read them; never stored."""

    def __len__(self) -> int:
        return len(self.pooled)

    def take(self, rows: Ints) -> "TextFeatures":
        """Return the features of these rows, in this order."""
        texts = tuple(self.texts[row] for row in rows)
        return TextFeatures(self.pooled[rows], self.words[rows], self.characters[rows], self.cut[rows], texts)


def unit(vectors: Floats) -> Floats:
    """Return ``vectors`` (..., H) scaled to length one; zero vectors stay zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def hash_ngrams(texts: Sequence[str]) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Return the word and the character n-grams of ``texts`` as (N, K) signed log counts."""
    if not texts:  # of which the vectorizers would complain
        return sp.csr_matrix((0, BUCKETS), dtype=np.float32), sp.csr_matrix((0, BUCKETS), dtype=np.float32)
    from sklearn.feature_extraction.text import HashingVectorizer  # one second to import

    shared: dict[str, Any] = {"n_features": BUCKETS, "norm": None, "dtype": np.float32}
    words = HashingVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **shared)
    characters = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 5), **shared)
    heads = [text[:NGRAM_CHARACTERS] for text in texts]
    return _log_counts(words.transform(heads)), _log_counts(characters.transform(heads))


def _log_counts(counts: Any) -> sp.csr_matrix:
    matrix = sp.csr_matrix(counts)
    matrix.data = np.sign(matrix.data) * np.log1p(np.abs(matrix.data))
    matrix.eliminate_zeros()  # n-grams of opposite signs that met in one bucket
    return matrix


def distinct_rows(characters: sp.csr_matrix) -> Ints:
    """Return the numbers of rows that are no copy, and no near copy, of an earlier one.

    Near is a cosine above .7 of :func:`hash_ngrams` characters: a word or a mark more or less. Beyond 2,000 rows only
    rows of the very same n-grams count as copies, for pairs cost too much.
    """
    n: int = characters.get_shape()[0]
    if n > _PAIRED_ROWS:
        first = {characters[row].indices.tobytes(): row for row in reversed(range(n))}
        return np.array(sorted(first.values()), dtype=np.int64)
    rows = weigh(characters, np.ones(BUCKETS, dtype=np.float32))
    near = np.tril((rows @ rows.T).toarray() > _NEAR, k=-1).any(axis=1)
    return np.flatnonzero(~near)


def idf(counts: sp.csr_matrix) -> Floats:
    """Return (K,) inverse document frequencies, log((1 + n) / (1 + df)) + 1, in half precision steps.

    A bucket that fewer than two rows hold is zero, as one that none holds. Otherwise all buckets of one row alone
    would get weights in the same proportion, and whoever sorts the stored matrix by direction could read off, row by
    row, which n-grams stood together. Copies would defeat this: give :func:`distinct_rows` only.
    """
    n: int = counts.get_shape()[0]
    frequency = np.bincount(counts.indices, minlength=counts.get_shape()[1])
    values = np.where(frequency > 1, np.log((1 + max(n, 1)) / (1 + np.maximum(frequency, 1))) + 1, 0)
    return values.astype(np.float16).astype(np.float32)


def weigh(counts: sp.csr_matrix, idf_K: Floats) -> sp.csr_matrix:
    """Return ``counts`` times ``idf_K``, each row scaled to length one."""
    weighted = sp.csr_matrix(counts.multiply(idf_K[None, :]), dtype=np.float32)
    norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    norms[norms == 0] = 1
    return sp.csr_matrix(sp.diags(1 / norms) @ weighted, dtype=np.float32)
