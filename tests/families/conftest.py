from pathlib import Path

import pytest

from sartor import families

TRIVIAL = str(Path(__file__).parent / "trivial_family")


@pytest.fixture
def letter_counts(monkeypatch):
    """The trivial family's folder is searched like our own; its one file is all there is."""
    monkeypatch.setattr(families, "__path__", [*families.__path__, TRIVIAL])
