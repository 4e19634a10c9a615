import numpy as np
import pytest
from PIL import Image

from sartor import families
from sartor.errors import DataError, TaskError
from sartor.families.interface import Condition
from sartor.nn.features import unit
from sartor.nn.picture_features import BLOCKS
from sartor.types import Label, Requirement

pytestmark = pytest.mark.usefixtures("tiny")
FAMILY = families.load("image-classification")
PARALLEL = 0.995


def need(n_labels):
    labels = tuple(Label(f"label {at}") for at in range(n_labels))
    return Requirement(FAMILY.name, "m", "", labels, language="", base="efficientnet-lite0+anchor1", max_tokens=0)


def striped(folder, pitch, seed):
    """A picture of stripes in random colours."""
    random = np.random.default_rng(seed)
    wave = np.sin(2 * np.pi * (np.arange(48) / pitch + random.random()))[:, None, None] * np.ones((1, 48, 1))
    colours = random.integers(0, 120, 3) * wave + 128 + random.normal(size=(48, 48, 3)) * 5
    path = folder / f"{pitch}-{seed}.png"
    Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(path)
    return str(path)


def made(paths, targets, n_labels):
    requirement = need(n_labels)
    base = FAMILY.base(requirement)
    support = FAMILY.encode(base, requirement, paths)
    condition = Condition(FAMILY.encode_labels(base, requirement), support, np.array(targets))
    return base, condition, FAMILY.generate(requirement, condition, seed=0)


def test_what_tells_classes_apart_is_learnt_from_a_few_pictures(tmp_path):
    pitches = [3, 6, 16]
    paths = [striped(tmp_path, pitch, seed) for pitch in pitches for seed in range(6)]
    base, _, weights = made(paths, np.repeat([0, 1, 2], 6), 3)
    asked = [striped(tmp_path, pitch, 100 + seed) for pitch in pitches for seed in range(10)]
    found = FAMILY.predict(need(3), weights, FAMILY.encode(base, need(3), asked))
    assert (found.best == np.repeat([0, 1, 2], 10)).mean() > 0.8
    assert FAMILY.head(weights) == "ridge"
    assert weights["temperature"] > 0


def test_names_alone_make_no_model():
    requirement = need(2)
    base = FAMILY.base(requirement)
    nothing = FAMILY.encode(base, requirement, [])
    condition = Condition(FAMILY.encode_labels(base, requirement), nothing, np.array([], dtype=np.int64))
    with pytest.raises(TaskError, match="A model of pictures needs pictures"):
        FAMILY.generate(requirement, condition, seed=0)


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "notes.jpg").write_text("not a picture")
    requirement = need(2)
    with pytest.raises(DataError, match=r"notes\.jpg"):
        FAMILY.encode(FAMILY.base(requirement), requirement, [str(tmp_path / "notes.jpg")])


def test_a_base_for_texts_is_refused():
    requirement = Requirement(FAMILY.name, "m", "", (), language="", base="all-minilm-l6-v2", max_tokens=0)
    with pytest.raises(Exception, match="reads texts, and this task is one of pictures"):
        FAMILY.base(requirement)


def test_a_control_learns_as_well(tmp_path):
    paths = [striped(tmp_path, pitch, seed) for pitch in (3, 16) for seed in range(6)]
    requirement = need(2)
    base = FAMILY.base(requirement)
    rows = FAMILY.encode(base, requirement, paths)
    targets = np.repeat([0, 1], 6)
    condition = Condition(FAMILY.encode_labels(base, requirement), rows, targets)
    for control in FAMILY.controls(requirement):
        found = control.answer(requirement, condition, rows, 0)
        right = (found.argmax(axis=1) == targets).mean()
        assert right == 0.5 if control.name == "majority" else right > 0.8


SHAPES = {
    "one row": (3, [1]),
    "one row for each of two labels": (2, [0, 1]),
    "one row for each of five labels": (5, [0, 1, 2, 3, 4]),
    "one row for each of fifty labels": (50, list(range(50))),
    "two rows for each of two labels": (2, [0, 1] * 2),
    "one row among many": (5, [0] + [1, 2, 3, 4] * 8),
    "one label without rows": (3, [0, 1, 0, 1]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_stored_column_is_parallel_to_a_row(tmp_path, shape):
    n_labels, targets = SHAPES[shape]
    random = np.random.default_rng(0)
    paths = []
    for row in range(len(targets)):
        paths.append(str(tmp_path / f"{row}.png"))
        small = random.integers(0, 256, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(small).resize((48, 48)).save(paths[-1])
    _, condition, weights = made(paths, targets, n_labels)
    for name in BLOCKS:
        if f"{name}.weight" in weights:
            columns, rows = weights[f"{name}.weight"].float().numpy(), condition.support.blocks[name]
            cosines = np.abs(unit(rows) @ unit(columns.T).T)
            assert cosines.max() < PARALLEL, name
