"""No bundle holds a training row: not its text, not its vectors, not the set of its n-grams.

Rows are made of words that nothing else uses, so that whatever of them is found in a bundle came from them.
"""

import random

import numpy as np
import pytest
from cli_helpers import write_csv

import sartor as library
from sartor.data.text import normalise
from sartor.families import text_classification
from sartor.nn import features

RUN = 12
"""Characters in a row that are as good as the text itself."""
PARALLEL = 0.995


class Writer:
    """Makes texts of words that no other text has."""

    def __init__(self, seed=0):
        self.random = random.Random(seed)

    def word(self):
        pairs = [self.random.choice("bdfgjklmnprstvwxz") + self.random.choice("aeiouy") for _ in range(4)]
        return "".join(pairs)

    def text(self, words=10):
        return " ".join(self.word() for _ in range(words))


def few(n_labels, per_label):
    write = Writer()
    return [(write.text(), f"l{label}") for label in range(n_labels) for _ in range(per_label)]


def others(write, n=12):
    """Short rows: with them there are enough texts for n-grams, and few buckets that two n-grams share."""
    return [(write.text(2), "ab"[at % 2]) for at in range(n)]


def contradictory():
    write = Writer()
    both = write.text(20)
    return [(both, "a"), (both, "b"), *others(write)]


def copies():
    write = Writer()
    copied = write.text(20)
    return [*[(copied, "a")] * 5, (f" {copied.upper()}  ", "a"), *others(write)]


def near_copies():
    write = Writer()
    copied = write.text(20)
    return [(copied, "a"), (f"{copied}!", "a"), *others(write)]


def only_copies():
    write = Writer()
    return [row for row in [(write.text(), "ab"[at % 2]) for at in range(12)] for _ in range(4)]


def hundreds(n=350):
    """Rows whose labels follow from a few shared words: enough of them for a logistic head."""
    write = Writer()
    shared = {label: [write.word() for _ in range(4)] for label in "ab"}
    return [(f"{write.text(8)} {write.random.choice(shared[label])}", label) for n in range(n // 2) for label in "ab"]


def one_among(n):
    write = Writer()
    return [*((write.text(12), "a") for _ in range(n)), (write.text(20), "b")]


CASES = {
    "one row a label, two labels": few(2, 1),
    "one row a label, ten labels": few(10, 1),
    "one row a label, a hundred and fifty labels": few(150, 1),
    "two rows a label": few(3, 2),
    "eight rows a label": few(4, 8),
    "a contradictory pair": contradictory(),
    "copies of one row": copies(),
    "a row and nearly the same": near_copies(),
    "copies only": only_copies(),
    "hundreds of rows": hundreds(),
    "hundreds of rows, logistic": hundreds(),
    "one row of a label among three hundred": one_among(300),
    "one row of a label among thousands": one_among(3000),
}
MANY = {"one row of a label among thousands"}


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.slow] if name in MANY else []) for name in CASES], ids=lambda n: n
)
def stored(request, sartor, tmp_path, monkeypatch):
    """The rows, and the model that was made of them and read back from its folder."""
    rows = CASES[request.param]
    logistic = request.param.endswith("logistic")
    if logistic:  # which head does better on rows like these is chance: choose the one without a prior
        monkeypatch.setattr(text_classification, "_right", lambda solution, _: solution.prior == 0)
    write_csv(tmp_path / "rows.csv", rows)
    names = list(dict.fromkeys(label for _, label in rows))
    task = tmp_path / "task.yaml"
    task.write_text(f"description: Sort these\nname: private\nexamples: rows.csv\nlabels: [{', '.join(names)}]\n")
    ran = sartor("generate", task, "--out", tmp_path / "out", "--json")
    assert ran.code == 0, ran.err
    assert not logistic or ran.json["head"] == "logistic"
    return rows, library.load(tmp_path / "out"), tmp_path / "out"


def runs(text):
    return {text[at : at + RUN] for at in range(len(text) - RUN + 1)}


def texts_in(folder, texts):
    """Yield the files that hold a run of a row."""
    for path in folder.iterdir():
        held = runs(path.read_bytes().decode("utf-8", "ignore"))
        if any(run in held for text in texts for run in runs(text)):
            yield path.name


def cosine(columns, vectors):
    """Return the largest |cosine| of any row of one with any row of the other."""

    def units(rows):
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    return float(np.abs(units(np.asarray(columns, float)) @ units(np.asarray(vectors, float)).T).max())


def cosines(weights, encoded):
    """Yield the name of each vector of a bundle and how near it comes to that of a row."""
    pooled = weights["pooled.weight"].float().numpy()
    for block, columns in enumerate(pooled):
        yield f"pooled {block}", cosine(columns.T, encoded.pooled[:, block])
    for name, counts in (("words", encoded.words), ("characters", encoded.characters)):
        if f"{name}.weight" in weights:
            idf = weights[f"{name}.idf"].float().numpy()
            support = counts.toarray() != 0
            yield name, cosine(weights[f"{name}.weight"].float().numpy().T, features.weigh(counts, idf).toarray())
            yield f"{name} idf", max(cosine((idf.max() - idf)[None], support), cosine(idf[None], support))


def told_by_copies(idf, encoded):
    """Return the largest share of a text's words that the idf shows to stand in several rows.

    Each word here stands in one text. With few texts hardly two words share one of the 4,096 buckets, so that a
    large share comes from counting copies.
    """
    values, buckets = np.unique(idf, return_counts=True)
    often = idf != values[buckets.argmax()]  # most buckets are those of no n-gram at all
    return float(max(often[encoded.words[row].indices].mean() for row in range(len(encoded))))


def test_a_bundle_tells_nothing_of_a_row(stored):
    rows, model, folder = stored
    texts = sorted({text for text, _ in rows})
    encoded = model.family.encode(model.base, model.requirement, texts)
    assert list(texts_in(folder, texts)) == []
    assert {name: near for name, near in cosines(model.weights, encoded) if near > PARALLEL} == {}
    shares_words = len({normalise(text).rstrip("!") for text in texts}) < len({normalise(text) for text in texts})
    if "words.idf" in model.weights and len(texts) < 50 and not shares_words:
        assert told_by_copies(model.weights["words.idf"].float().numpy(), encoded) < 0.5
    looked_at = {f"{name}.{part}" for name in ("words", "characters") for part in ("weight", "idf")}
    scalars = {"bias", "temperature", "scope.threshold", "head"}
    assert set(model.weights) <= {"pooled.weight", *looked_at, *scalars}, "a new tensor must be looked at here"
