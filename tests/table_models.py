"""Models of small tables, made in a second: few products, no proof."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from sartor import families
from sartor.data import records
from sartor.data.load import fingerprint
from sartor.evaluate import explain
from sartor.evaluate.explain import Subject
from sartor.families.interface import Condition
from sartor.nn import table_solver
from sartor.nn.table_coder import Cells
from sartor.requirement import tables
from sartor.types import Requirement, Rows, Task, Weights

N = 80


def table(n: int = N, seed: int = 0) -> dict[str, Sequence[object]]:
    """Return columns of which only ``a`` (and, a little, ``side``) tells the answer; ``same`` never varies."""
    rng = np.random.default_rng(seed)
    return {
        "a": np.round(rng.normal(size=n), 3).tolist(),
        "b": np.round(rng.normal(size=n), 3).tolist(),
        "side": rng.choice(["left", "right", "top"], n).tolist(),
        "day": [f"2021-{1 + int(at) % 12:02}-{1 + int(at) % 28:02}" for at in rng.integers(0, 400, n)],
        "same": ["x"] * n,
        "gaps": [None if at % 5 == 0 else float(at % 7) for at in rng.integers(0, 100, n)],
    }


def answers(columns: dict[str, Sequence[object]], kind: str) -> list[str]:
    """Return what is to be foretold: yes where ``a`` is above 0, or twice ``a``, a little more on the right."""
    if kind == tables.CLASSES:
        return ["yes" if a > 0 else "no" for a in columns["a"]]
    return [f"{2 * a + (side == 'right') / 2:.4f}" for a, side in zip(columns["a"], columns["side"], strict=True)]


def rows(columns: dict[str, Sequence[object]], outputs: Sequence[str]) -> Rows:
    """Return rows as a file of them is read."""
    header, cells = list(columns), list(zip(*columns.values(), outputs, strict=True))
    found = records.of_cells([*header, "y"], [["" if cell is None else str(cell) for cell in row] for row in cells], 6)
    return Rows(found, sha256=fingerprint(found), target="y")


@contextmanager
def small_nets() -> Iterator[None]:
    """Generate few nets of few products: quick, and hardly worse on tables as small as these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_solver, "DEPLOYED_PRODUCTS", 16)
        patch.setitem(table_solver.solve.__kwdefaults__, "members", 4)
        yield


def made(kind: str, n: int = N) -> tuple[Requirement, Weights, Cells, np.ndarray]:
    """Return a model of the table, and the rows that it was made from."""
    columns = table(n)
    given = rows(columns, answers(columns, kind))
    need = tables.understand_table(Task("y", target="y", kind=kind), given, name="y").requirement
    inputs = [example.input for example in given.examples]
    with small_nets():
        if kind == tables.VALUES:
            family = families.load_number(kind)
            cells, (targets, _) = family.encode(None, need, inputs), tables.values_of(given.examples, "y")
            return need, family.generate(need, cells, targets, seed=0), cells, targets
        family = families.load_label(kind)
        cells = family.encode(None, need, inputs)
        targets = np.array([example.output == "yes" for example in given.examples], dtype=np.int64)
        condition = Condition(family.encode_labels(None, need), cells, targets)
        return need, family.generate(need, condition, seed=0), cells, targets


def subject(kind: str, need: Requirement, weights: Weights) -> Subject:
    """Return the model as it is explained."""
    return explain.subject_of(families.load(kind), need, weights)  # pyright: ignore[reportArgumentType]
