"""Text in, one of a list of labels out: a linear head on a frozen encoder's layers and on hashed n-grams.

The weights are solved in closed form by :mod:`sartor.nn.solve` from the rows and the label names. Where the base has
an anchor (LoRAs that ``recipes/text_classification.py`` learned over many tasks), the adapted last layer stands beside
the frozen ones, and yes and no are read behind the question that the description asks; without it the head is the
*floor*, on which nothing was learned. What is stored is one matrix a block, a bias, a temperature and an out-of-scope
threshold; scores are linear in the features, probabilities their tempered softmax. Without a row, label names (or the
question) alone answer, and unlabelled texts say which of them they are too fond of.

Dimension key:   N: rows   C: labels   P: pooled blocks   H: hidden width   K: buckets
"""

import re
import warnings
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import scipy.special
import threadpoolctl
import torch
from numpy.typing import NDArray
from typing_extensions import override

from sartor.assets import catalogue
from sartor.data.text import answers_a_question, encodable
from sartor.families.interface import (
    LEAST_UNLABELLED,
    Condition,
    Control,
    FloatArray,
    LabelFamily,
    Prediction,
    counted,
)
from sartor.nn import features, solve
from sartor.nn.branch import BranchedEncoder
from sartor.nn.encoder import (
    Layered,
    Pooling,
    encode_in_context,
    in_context,
)
from sartor.nn.features import TextFeatures
from sartor.nn.text_base import ANCHORED, ENGINE, LAST, POOLED, TextBase, engine_base, load_base
from sartor.nn.tuned import is_tuned, tuned_base
from sartor.types import Progress, Requirement, Weights, silent

ZERO_SHOT_TEMPERATURE = 7.0
"""Of softmax over label-name similarity when there is no row; fitted on development tasks (LOG.md, 2026-11-23)."""
RIDGE_TEMPERATURE = 3.5
"""What ridge scores usually need; a few rows cannot say otherwise. Fitted on development tasks likewise."""
LOGISTIC_TEMPERATURE = 1.0
NGRAM_TEXTS = 10
"""Different texts that n-grams take at least."""
OUT_OF_SCOPE_SHARE = 0.05
"""Share of the owner's own rows, unseen by the head, that the out-of-scope threshold turns away."""

DESCRIPTION_TOKENS = 64
"""Of a question with its answer behind it; what the anchor was trained with."""

UNLABELLED_TRUST = 0.5
"""How much of a label's mean similarity to unlabelled texts is taken off: all of it would make every label as
frequent as any other. Chosen on development tasks (LOG.md, 2026-11-25)."""

SERVED_TOKENS = 512
"""Read at once while serving: 64 short texts of all lengths took 8.4 ms of one core each, 18.2 with 4,096 (LOG.md,
2026-11-25)."""

_TEMPLATES = {"en": "This text is about {}.", "ja": "これは{}についての文です。"}


class TextClassification(LabelFamily[TextFeatures]):
    """The family ``text-classification``."""

    name: ClassVar[str] = "text-classification"
    summary: ClassVar[str] = "puts a text under one of your labels, and says when none fits"
    generator: ClassVar[str] = "anchor/2"

    @override
    def base(self, requirement: Requirement, *, progress: Progress = silent) -> TextBase:
        return load_base(requirement.base, device=requirement.limits.device or "cpu", progress=progress)

    @override
    def own_base(
        self, requirement: Requirement, weights: Weights, files: Mapping[str, bytes], *, progress: Progress = silent
    ) -> TextBase:
        if ENGINE in files:
            return engine_base(files)
        return tuned_base(self.base(requirement, progress=progress), weights)

    @override
    def brings_base(self, weights: Weights, files: Mapping[str, bytes]) -> bool:
        return ENGINE in files or is_tuned(weights)

    @override
    def encode(
        self, base: TextBase, requirement: Requirement, inputs: Sequence[str], *, progress: Progress = silent
    ) -> TextFeatures:
        inputs = [encodable(text) for text in inputs]
        pooled, cut = base.pooled(inputs, requirement.max_tokens, counted(progress, "encode", len(inputs)))
        words, characters = features.hash_ngrams(inputs)
        return TextFeatures(pooled, words, characters, cut, tuple(inputs))

    @override
    def encode_labels(self, base: TextBase, requirement: Requirement) -> TextFeatures:
        said = [sayings(label.name, label.description, requirement.language) for label in requirement.labels]
        names, sentences = [plain for plain, _ in said], [framed for _, framed in said]
        plain = self.encode(base, requirement, names)
        framed = self.encode(base, requirement, sentences)
        pooled = plain.pooled + framed.pooled
        if base.questions and requirement.description and answers_a_question(names):
            at = len(POOLED)
            reader = BranchedEncoder(base.encoder, base.questions)
            pooled[:, at] = _answers(base, reader, requirement.description, names, base.poolings[at])
        return TextFeatures(features.unit(pooled), plain.words, plain.characters, plain.cut, plain.texts)

    @override
    def generate(self, requirement: Requirement, condition: Condition[TextFeatures], *, seed: int) -> Weights:
        if len(condition.targets) == 0:
            solution = _zero_shot(requirement, condition)
            return _to_weights(requirement, condition, solution, "zero-shot", ZERO_SHOT_TEMPERATURE, 0.0, {})
        # the order of rows must not matter, and sums of floats depend on it
        condition = condition.take(_canonical_order(condition))
        idf = _idf(condition.support)
        problem = solve.Problem(
            blocks=_blocks(condition.support, idf),
            similarity=_similarity(requirement, condition.support, condition.labels),
            targets=condition.targets,
            n_labels=len(requirement.labels),
        )
        head, guess = "ridge", RIDGE_TEMPERATURE
        with _threads(len(condition.targets)):
            solution = solve.solve(problem, seed=seed)
            rival = solve.solve_logistic(problem, solution, seed=seed)
        if rival is not None and _right(rival, condition) > _right(solution, condition):
            solution, head, guess = rival, "logistic", LOGISTIC_TEMPERATURE
        t = solve.temperature(solution.out_of_sample, condition.targets[solution.rows], guess=guess)
        threshold = float(np.quantile(_scope(t * solution.out_of_sample), OUT_OF_SCOPE_SHARE))
        return _to_weights(requirement, condition, solution, head, t, threshold, idf)

    @override
    def predict(self, requirement: Requirement, weights: Weights, features: TextFeatures) -> Prediction:
        logits = scores(weights, features) * float(weights["temperature"])
        scope = _scope(logits)
        # with no row to set a threshold by, nothing is turned away
        abstain = (
            scope < float(weights["scope.threshold"])
            if self.head(weights) != "zero-shot"
            else np.zeros(len(scope), bool)
        )
        return Prediction(scipy.special.softmax(logits, axis=1), scope, abstain)

    @override
    def head(self, weights: Weights) -> str:
        return _HEADS[int(weights["head"])]

    @override
    def encodes_alike(self, requirement: Requirement) -> Hashable:
        return requirement.max_tokens, requirement.limits.device or "cpu"

    @override
    def for_serving(self, base: TextBase) -> TextBase:
        return replace(base, tokens_per_batch=SERVED_TOKENS)

    @override
    def embeddings(self, features: TextFeatures) -> NDArray[np.float32]:
        return features.pooled[:, LAST]

    @override
    def controls(self, requirement: Requirement) -> Sequence[Control[TextFeatures]]:
        floor = Control("floor", "Sartor without its anchor", without_anchor)
        return (
            *((floor,) if catalogue.spec(requirement.base).anchor else ()),
            Control("majority", "Majority class", majority),
            Control("tfidf", "TF-IDF + logistic regression", tfidf_logistic),
            Control("label-names", "Similarity to label names", label_names),
            Control("probe", "Logistic regression on the last layer", last_layer_probe),
        )


FAMILY = TextClassification()

_HEADS = ("zero-shot", "ridge", "logistic")
LOGISTIC = _HEADS.index("logistic")


def readable(label: str) -> str:
    """Return a label as words: ``CardLost`` and ``card_lost`` as "card lost".

    >>> readable("card_lost"), readable("CardLost"), readable("請求")
    ('card lost', 'card lost', '請求')
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", re.sub(r"[_\-/]+", " ", label))
    return spaced.lower().strip() if re.search(r"[a-z][A-Z]|[_\-/]", label) else label.strip()


def sayings(name: str, description: str, language: str) -> tuple[str, str]:
    """Return the two ways in which a label is said to the encoder; their vectors are averaged.

    >>> sayings("card_lost", "", "en")
    ('card lost', 'This text is about card lost.')
    """
    plain = readable(name)
    return plain, _TEMPLATES.get(language, _TEMPLATES["en"]).format(description or plain)


def _answers(
    base: TextBase, encoder: Layered, question: str, answers: Sequence[str], pooling: Pooling
) -> NDArray[np.float32]:
    """Return (C, H) answers read behind the question."""
    before = base.prefix + encodable(question)
    said = [in_context(base.tokenizer, before, answer.strip().casefold(), DESCRIPTION_TOKENS) for answer in answers]
    return encode_in_context(encoder, said, pooling)


def _canonical_order(condition: Condition[TextFeatures]) -> NDArray[np.int64]:
    support = condition.support
    copies = Counter(support.texts)

    def key(row: int) -> tuple[str, int, bytes]:
        text = support.texts[row]
        # copies of a text may differ in their last bits: sums round otherwise in another batch
        return text, int(condition.targets[row]), support.pooled[row].tobytes() if copies[text] > 1 else b""

    return np.array(sorted(range(len(support)), key=key), dtype=np.int64)


def _idf(support: TextFeatures) -> dict[str, NDArray[np.float32]]:
    """Return the inverse document frequencies of the n-gram blocks, told from each text once, near copies left out.

    Empty where there are too few texts: the few n-grams that two of them share would say little of the task, and the
    weights of a label's only row would lie along what that row shares with others.
    """
    rows = features.distinct_rows(support.characters)
    if len(rows) < NGRAM_TEXTS:
        return {}
    distinct = support.take(rows)
    return {"words": features.idf(distinct.words), "characters": features.idf(distinct.characters)}


def block_names(rows: TextFeatures) -> tuple[str, ...]:
    """Return the names of the pooled blocks, in the order of P."""
    return (*POOLED, *ANCHORED)[: rows.pooled.shape[1]]


def _blocks(support: TextFeatures, idf: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    blocks: dict[str, Any] = {name: support.pooled[:, at] for at, name in enumerate(block_names(support))}
    counts = {"words": support.words, "characters": support.characters}
    return blocks | {name: features.weigh(counts[name], vector) for name, vector in idf.items()}


def _directions(requirement: Requirement, labels: TextFeatures) -> Mapping[int, FloatArray]:
    """Return block -> (C, H) label names there, their mean taken off: what the prior scores a row against.

    The frozen last layer; where there is an anchor, its layer has an equal say.
    """
    blocks = [LAST, *([len(POOLED)] if labels.pooled.shape[1] > len(POOLED) else [])]
    names = {block: labels.pooled[:, block].astype(np.float64) for block in blocks}
    contrast = catalogue.spec(requirement.base).contrast / len(blocks)
    return {block: contrast * (vectors - vectors.mean(axis=0)) for block, vectors in names.items()}


def _similarity(requirement: Requirement, rows: TextFeatures, labels: TextFeatures) -> FloatArray:
    """Return (N, C) similarity to the label names; each row's mean is zero."""
    found = np.zeros((len(rows), len(labels)))
    for block, names in _directions(requirement, labels).items():
        found += rows.pooled[:, block].astype(np.float64) @ names.T
    return found


def _threads(rows: int) -> AbstractContextManager[Any]:
    """Keep small matrices on one core: on a busy machine, threads that wait for each other cost more than the work."""
    return nullcontext() if rows > solve.EIGEN_ROWS else threadpoolctl.threadpool_limits(1, user_api="blas")


def _right(solution: solve.Solution, condition: Condition[TextFeatures]) -> float:
    """Return the share of rows that a head which had not seen them gets right."""
    return solve.accuracy(solution.out_of_sample, condition.targets[solution.rows])


def _scope(scores: FloatArray) -> FloatArray:
    """Return (N,) the largest score: ridge scores of far-away rows fall back to the labels' base rates."""
    return scores.max(axis=1)


def _zero_shot(requirement: Requirement, condition: Condition[TextFeatures]) -> solve.Solution:
    """Return the label-name prior alone; unlabelled texts say which labels it is too fond of."""
    n_labels = len(requirement.labels)
    bias = np.zeros(n_labels)
    if condition.unlabelled is not None and len(condition.unlabelled) >= LEAST_UNLABELLED:
        bias -= UNLABELLED_TRUST * _similarity(requirement, condition.unlabelled, condition.labels).mean(axis=0)
    return solve.Solution({}, bias, 1.0, np.zeros((0, n_labels)), np.zeros(0, dtype=np.int64), {}, 0.0, 0.0)


def _to_weights(
    requirement: Requirement,
    condition: Condition[TextFeatures],
    solution: solve.Solution,
    head: str,
    temperature: float,
    threshold: float,
    idf: Mapping[str, NDArray[np.float32]],
) -> Weights:
    n_labels = len(solution.bias)
    hidden = condition.labels.pooled.shape[2]
    names = block_names(condition.labels)
    pooled = np.zeros((len(names), hidden, n_labels))
    for at, name in enumerate(names):
        if name in solution.weights:
            pooled[at] = solution.weights[name]
    for block, directions in _directions(requirement, condition.labels).items():
        pooled[block] += solution.prior * directions.T  # the prior is linear as well
    weights = {
        "pooled.weight": torch.from_numpy(pooled).half(),
        "bias": torch.from_numpy(solution.bias).float(),
        "temperature": torch.tensor(temperature, dtype=torch.float32),
        "scope.threshold": torch.tensor(threshold, dtype=torch.float32),
        "head": torch.tensor(_HEADS.index(head), dtype=torch.int32),
    }
    for name, vector in idf.items():
        if name in solution.weights:
            weights[f"{name}.weight"] = torch.from_numpy(solution.weights[name]).half()
            weights[f"{name}.idf"] = torch.from_numpy(vector).half()
    return weights


def scores(weights: Weights, rows: TextFeatures) -> FloatArray:
    """Return (N, C) what a head says of rows, before temperature and softmax."""
    found = np.einsum("nph,phc->nc", rows.pooled, weights["pooled.weight"].float().numpy(), optimize=True)
    for name, counts in (("words", rows.words), ("characters", rows.characters)):
        if f"{name}.weight" in weights:
            weighed = features.weigh(counts, weights[f"{name}.idf"].float().numpy())
            found = found + weighed @ weights[f"{name}.weight"].float().numpy()
    return found.astype(np.float64) + weights["bias"].double().numpy()


# --- controls ----------------------------------------------------------------------------------------------

_Condition = Condition[TextFeatures]
_UNSPACED = {"ja", "zh", "th"}


def majority(requirement: Requirement, condition: _Condition, rows: TextFeatures, seed: int) -> FloatArray:
    """Return the labels' shares (one row added to each) for every row."""
    counts = np.bincount(condition.targets, minlength=len(requirement.labels)) + 1.0
    return np.tile(counts / counts.sum(), (len(rows), 1))


def label_names(requirement: Requirement, condition: _Condition, rows: TextFeatures, seed: int) -> FloatArray:
    """Return the softmax of similarity to label names, as the prior sees it, the anchor's layer too; sees no row."""
    return scipy.special.softmax(ZERO_SHOT_TEMPERATURE * _similarity(requirement, rows, condition.labels), axis=1)


def without_anchor(requirement: Requirement, condition: _Condition, rows: TextFeatures, seed: int) -> FloatArray:
    """Return what the head solved on the frozen blocks alone says: the *floor*, on which nothing was learned."""
    unlabelled = None if condition.unlabelled is None else _frozen(condition.unlabelled)
    plain = Condition(_frozen(condition.labels), _frozen(condition.support), condition.targets, unlabelled)
    weights = FAMILY.generate(requirement, plain, seed=seed)
    return FAMILY.predict(requirement, weights, _frozen(rows)).probabilities


def _frozen(rows: TextFeatures) -> TextFeatures:
    return replace(rows, pooled=rows.pooled[:, : len(POOLED)])


def last_layer_probe(requirement: Requirement, condition: _Condition, rows: TextFeatures, seed: int) -> FloatArray:
    """Return logistic regression (C = 10) on the unit vectors of the last layer."""
    if not len(condition.support) or not len(rows):
        return majority(requirement, condition, rows, seed)
    return _logistic(requirement, condition, condition.support.pooled[:, LAST], rows.pooled[:, LAST])


def tfidf_logistic(requirement: Requirement, condition: _Condition, rows: TextFeatures, seed: int) -> FloatArray:
    """Return logistic regression (C = 10) on TF-IDF of words and pairs, or of characters where words have no spaces."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not len(condition.support) or not len(rows):
        return majority(requirement, condition, rows, seed)
    unspaced = requirement.language in _UNSPACED
    shared: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32, "max_features": 200_000}
    if unspaced:
        vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), **shared)
    else:
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **shared)
    limit = features.NGRAM_CHARACTERS
    try:
        train = vectorizer.fit_transform([text[:limit] for text in condition.support.texts])
    except ValueError:  # no text holds a word, only punctuation or emoji
        return majority(requirement, condition, rows, seed)
    return _logistic(requirement, condition, train, vectorizer.transform([text[:limit] for text in rows.texts]))


def _logistic(requirement: Requirement, condition: _Condition, train: Any, test: Any) -> FloatArray:
    from sklearn.linear_model import LogisticRegression

    present = np.unique(condition.targets)
    probabilities = np.zeros((test.shape[0], len(requirement.labels)))
    if len(present) == 1:
        probabilities[:, present[0]] = 1.0
        return probabilities
    model = LogisticRegression(C=10.0, max_iter=300, tol=1e-3)
    with warnings.catch_warnings(), _threads(len(condition.targets)):
        # "more labels than half the rows, is this regression?", and a solver that stops at max_iter: both are fine here
        warnings.simplefilter("ignore")
        probabilities[:, present] = model.fit(train, condition.targets).predict_proba(test)
    return probabilities
