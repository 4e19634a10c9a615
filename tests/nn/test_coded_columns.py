"""Which column of a table a coded column came from."""

import numpy as np
import pytest

from sartor.data import columns
from sartor.nn import table_coder
from sartor.nn.table_coder import Cells

N = 60


@pytest.fixture
def table():
    """A number, a category of many levels, a date with hours, a number with gaps, yes or no, a category of two."""
    rng = np.random.default_rng(0)
    days = [f"2021-{1 + at % 12:02}-{1 + at % 28:02} {at % 24:02}:30" for at in range(N)]
    gapped = [None if at % 7 == 0 else float(at % 11) for at in range(N)]
    return {
        "a": rng.normal(size=N),
        "city": [f"town {at % 20}" for at in range(N)],
        "day": days,
        "same": ["x"] * N,
        "gaps": gapped,
        "ok": ["yes" if at % 3 else "no" for at in range(N)],
        "side": ["left" if at % 2 else "right" for at in range(N)],
    }


def coded(table, found):
    cells, _ = columns.parse(columns.as_frame(table), found)
    return Cells(cells.numbers, cells.codes)


def test_a_change_of_one_column_changes_its_coded_columns_and_no_other(table):
    found, _ = columns.learn(columns.as_frame(table))
    levels = [len(column.levels) for column in found if column.kind == "category"]
    targets_NC = np.random.default_rng(1).normal(size=(N, 1))
    coder, _ = table_coder.learn(coded(table, found), levels, targets_NC)
    origin_D = coder.origin(*columns.places(found))
    before_ND = coder.code(coded(table, found))
    assert origin_D.shape == (before_ND.shape[1],)
    for at, name in enumerate(table):
        changed = {**table, name: list(table[name][1:]) + list(table[name][:1])}
        moved_D = (coder.code(coded(changed, found)) != before_ND).any(axis=0)
        assert not moved_D[origin_D != at].any(), name
        # how frequent a town is does not change where towns change places
        assert moved_D[origin_D == at].sum() >= (origin_D == at).sum() - (name == "city"), name


def test_every_part_of_a_date_is_of_the_date(table):
    for times, parts in ((True, 5), (False, 4)):
        days = table["day"] if times else [day.split()[0] for day in table["day"]]
        found, _ = columns.learn(columns.as_frame({"day": days, "day: days": table["a"]}))
        cells, _ = columns.parse(columns.as_frame({"day": days, "day: days": table["a"]}), found)
        numbers, categories = columns.places(found)
        assert numbers == [0] * parts + [1]
        assert len(numbers) == cells.numbers.shape[1]
        assert categories == []


def test_what_is_told_of_coded_columns_is_shared_out():
    shares = table_coder.by_column(np.array([0, 2, 2]), np.array([1.0, 0.5, 0.5], dtype=np.float32), 4)
    assert shares.tolist() == [0.5, 0, 0.5, 0]
    assert table_coder.by_column(np.array([], dtype=np.int64), np.array([]), 2).tolist() == [0, 0]
