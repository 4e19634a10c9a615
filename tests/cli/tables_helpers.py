"""Tables that the tests of the command line are made of."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import write_csv

from sartor.families import tabular_classification, tabular_regression
from sartor.nn import table_solver

TASK = "Predict whether a part fails final inspection"
PRICE = "Foretell what a part costs"


def part(seed: int) -> dict[str, str]:
    """Return a part: it fails where it is thick and hot; its price goes by width."""
    draw = random.Random(seed)
    width, heat, steel = draw.uniform(1, 9), draw.uniform(100, 300), draw.choice(["A", "B", "C"])
    fails = width + heat / 60 + 2 * (steel == "C") > 9
    return {
        "width": f"{width:.2f}",
        "heat": "" if draw.random() < 0.05 else f"{heat:.0f}",
        "steel": steel,
        "failed": "yes" if fails else "no",
        "price": f"{3 * width + draw.uniform(0, 1):.2f}",
    }


def parts(n: int, *, start: int = 0, without: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return parts, without these columns."""
    return [{name: cell for name, cell in part(start + at).items() if name not in without} for at in range(n)]


def table(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Write rows as a CSV file; return its path."""
    return write_csv(path, [list(row.values()) for row in rows], list(rows[0]))


def lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows as JSON Lines; return the path."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def small_tables(patch: pytest.MonkeyPatch) -> None:
    """Make models of tables of a few small nets, without peers: seconds less each."""
    for family in (tabular_classification, tabular_regression):
        patch.setattr(family, "PEERS", ())
    patch.setitem(table_solver.solve.__kwdefaults__, "members", 4)
    patch.setattr(table_solver, "DEPLOYED_PRODUCTS", 32)
