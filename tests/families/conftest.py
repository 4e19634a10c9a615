from pathlib import Path

import pytest

from sartor import families
from sartor.families import tabular_classification, tabular_regression

TRIVIAL = str(Path(__file__).parent / "trivial_family")


@pytest.fixture
def letter_counts(monkeypatch):
    """The trivial family's folder is searched like our own; its one file is all there is."""
    monkeypatch.setattr(families, "__path__", [*families.__path__, TRIVIAL])


@pytest.fixture
def few_peers(monkeypatch):
    """Prove models of tables beside the majority, or the mean, alone."""
    for family in (tabular_classification, tabular_regression):
        monkeypatch.setattr(family, "PEERS", ())
