"""No tensor of a model is, or is nearly, what the encoder made of one of its rows."""

import json
import random
import string

import numpy as np
import pytest
import torch

import tiny_pictures
from sartor import families, pipeline
from sartor.families.interface import Condition
from sartor.nn.features import hash_ngrams, idf, unit, weigh
from sartor.nn.table_target import coder_of
from sartor.nn.text_base import POOLED
from sartor.types import Example, Label, Requirement, Rows, Task, to_json

BASE = "all-minilm-l6-v2+anchor2"

FAMILY = families.load("text-classification")
PARALLEL = 0.995

SHAPES = {
    "one row": (3, [1]),
    "one row for each of two labels": (2, [0, 1]),
    "one row for each of five labels": (5, [0, 1, 2, 3, 4]),
    "one row for each of fifty labels": (50, list(range(50))),
    "two rows for each of two labels": (2, [0, 1] * 2),
    "two rows for each of twenty labels": (20, list(range(20)) * 2),
    "one row among many": (5, [0] + [1, 2, 3, 4] * 8),
    "one label without rows": (3, [0, 1, 0, 1]),
}


def text_of(row):
    draw = random.Random(row)
    return " ".join("".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 7))) for _ in range(8))


def columns_and_rows(weights, support):
    """Yield (block, (H, C) stored matrix, (N, H) what the block holds of the rows)."""
    for at, name in enumerate(POOLED):
        yield name, weights["pooled.weight"][at].float().numpy(), support.pooled[:, at]
    for name, counts in (("words", support.words), ("characters", support.characters)):
        if f"{name}.weight" in weights:
            yield name, weights[f"{name}.weight"].float().numpy(), weigh(counts, idf(counts)).toarray()


@pytest.mark.parametrize("shape", SHAPES)
def test_no_stored_column_is_parallel_to_a_row(tiny, shape):
    n_labels, targets = SHAPES[shape]
    names = tuple(Label(f"label {string.ascii_lowercase[c % 26] * (1 + c // 26)}") for c in range(n_labels))
    need = Requirement(
        "text-classification", "m", "", names, language="en", base="all-minilm-l6-v2+anchor2", max_tokens=64
    )
    base = FAMILY.base(need)
    support = FAMILY.encode(base, need, [text_of(row) for row in range(len(targets))])
    condition = Condition(FAMILY.encode_labels(base, need), support, np.array(targets))
    weights = FAMILY.generate(need, condition, seed=0)
    for name, columns, rows in columns_and_rows(weights, support):
        cosines = np.abs(unit(rows) @ unit(columns.T).T)
        assert cosines.max() < PARALLEL, name


@pytest.mark.parametrize("kind", [0, 1], ids=["words", "characters"])
def test_the_stored_frequencies_cannot_tell_what_one_row_alone_held(kind):
    others = [text_of(row) for row in range(9)]
    held_by_others = np.unique(hash_ngrams(others)[kind].indices)
    for secret in ("my pin is 4711", "zebra quagga okapi"):
        counts = hash_ngrams([*others, secret])[kind]
        values = np.delete(idf(counts), held_by_others)
        assert np.setdiff1d(counts.indices, held_by_others).size > 0
        assert len(np.unique(values)) == 1


@pytest.mark.parametrize("copies", [1, 3], ids=["each row once", "each row three times, in another case"])
def test_what_one_text_alone_holds_has_no_weight(tiny, copies):
    # its weights would all lie in one direction, by which the n-grams of a text could be told from those of others
    names = (Label("a"), Label("b"))
    need = Requirement(
        "text-classification", "m", "", names, language="en", base="all-minilm-l6-v2+anchor2", max_tokens=64
    )
    base = FAMILY.base(need)
    texts = ["refund for " + text_of(row) for row in range(12)]
    rows = [change(text) for text in texts for change in (str, str.upper, str.title)[:copies]]
    condition = Condition(
        FAMILY.encode_labels(base, need), FAMILY.encode(base, need, rows), np.repeat([0, 1] * 6, copies)
    )
    weights = FAMILY.generate(need, condition, seed=0)
    for kind, name in enumerate(("words", "characters")):
        held = (hash_ngrams(texts)[kind] != 0).sum(axis=0).A1
        stored = weights[f"{name}.weight"].float().numpy() * weights[f"{name}.idf"].float().numpy()[:, None]
        assert (stored[held == 1] == 0).all()
        assert (held == 1).sum() > 10
        assert np.abs(stored[held > 1]).max() > 0


# --- tables ------------------------------------------------------------------------------------------------

TABLES = ("tabular-classification", "tabular-regression")
SECRET = 4711.0625


def table_of(rows, secret):
    """Rows of six numbers and a category; in one row a number and a level that no other has."""
    draw = random.Random(rows)
    found = [
        {**{f"n{at}": round(draw.gauss(0, 1), 4) for at in range(6)}, "colour": draw.choice(["red", "blue", "green"])}
        for _ in range(rows)
    ]
    found[secret] |= {"n0": SECRET, "colour": "unobtainium"}
    return found


def made_of_table(family, found):
    target = [str(int(row["n1"] > 0)) if family == TABLES[0] else str(row["n1"] + 0.25) for row in found]
    rows = [Example(json.dumps(row), value) for row, value in zip(found, target, strict=True)]
    made = pipeline.make(Task("Foretell y", kind=family, target="y"), Rows(rows, (), "aa", "x.csv", "y"), store=False)
    return made.model


@pytest.mark.parametrize("n", [12, 40])
@pytest.mark.parametrize("family", TABLES)
def test_no_stored_vector_is_parallel_to_a_row_of_a_table(quick, few_peers, family, n):
    found = table_of(n, 3)
    model = made_of_table(family, found)
    cells = model.family.encode(model.base, model.requirement, [json.dumps(row) for row in found])
    coded_ND = coder_of(model.weights).code(cells)
    assert coded_ND.shape[1] > 6
    for name, tensor in model.weights.items():
        for axis, size in enumerate(tensor.shape):
            if tensor.dim() == 2 and size == coded_ND.shape[1]:
                vectors = unit((tensor.T if axis == 0 else tensor).double().numpy())
                assert np.abs(unit(coded_ND.astype(float)) @ vectors.T).max() < PARALLEL, name


@pytest.mark.parametrize("family", TABLES)
def test_no_cell_and_no_level_of_one_row_alone_is_in_a_bundle(quick, few_peers, family):
    model = made_of_table(family, table_of(40, 3))
    assert [column.kind for column in model.requirement.columns] == ["number"] * 6 + ["category"]
    assert set(model.requirement.columns[-1].levels) == {"red", "blue", "green"}
    for file, content in {**model.files(), "manifest.json": json.dumps(to_json(model.manifest)).encode()}.items():
        assert b"unobtainium" not in content, file
        assert b"4711" not in content or file == "model.safetensors", file
    for name, tensor in model.weights.items():
        if tensor.is_floating_point():
            assert not torch.isclose(tensor.double(), torch.tensor(SECRET, dtype=torch.float64), rtol=1e-6).any(), name


def test_what_a_level_of_many_usually_is_tells_no_single_row(quick, few_peers):
    # of more levels than have a column each, means are kept: of those that two rows or more carry
    draw = random.Random(0)
    found = [{"n0": draw.random(), "n1": draw.gauss(0, 1), "place": f"place {at % 20}"} for at in range(60)]
    found += [{"n0": draw.random(), "n1": draw.gauss(0, 1), "place": f"lonely {at}"} for at in range(5)]
    model = made_of_table(TABLES[1], found)
    assert len(model.requirement.columns[-1].levels) == 20
    counts = [tensor for name, tensor in model.weights.items() if name.endswith("effects.0.counts")]
    assert len(counts) == 1
    assert counts[0].min() >= 2
    assert counts[0].sum() == 60


# --- pictures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 5, 20])
def test_what_good_pictures_have_at_each_place_is_no_one_of_them(tiny, tmp_path, n):
    family = families.load("image-anomaly-detection")
    need = Requirement(family.name, "m", "", (), language="", base="efficientnet-lite0", max_tokens=0)
    base = family.base(need)
    inputs = tiny_pictures.pictures_of([text_of(row) for row in range(n)], tmp_path)
    features = family.encode(base, need, inputs)
    weights = family.generate(need, features, np.arange(n), seed=0)
    for name, maps in features.maps.items():
        flat_ND = maps.reshape(n, maps.shape[1], -1).astype(np.float64)
        usual = flat_ND.mean(axis=(0, 2))[:, None]
        mean = weights[f"{name}.mean"].double().numpy()
        if mean.shape[1] > 1:  # one mean for all places is of n times as many
            away = unit((flat_ND - usual).reshape(n, -1)) @ unit((mean - usual).reshape(-1))
            assert away.max() < PARALLEL, name
        assert n not in weights[f"{name}.mean"].shape
    for name, tensor in weights.items():
        for vector in tensor.double().reshape(-1, tensor.shape[-1] if tensor.dim() > 1 else 1).numpy():
            if len(vector) == features.pooled.shape[1]:
                assert np.abs(features.pooled @ unit(vector)).max() < PARALLEL, name
