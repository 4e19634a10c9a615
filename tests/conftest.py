"""Fixtures that many tests share. Nothing here reaches the network or the user's own store."""

import sys
from pathlib import Path

import pytest
import threadpoolctl
import torch

sys.path.insert(0, str(Path(__file__).parent))

import tiny_base
import tiny_language
import tiny_pictures
from sartor import pipeline, settings
from sartor.assets import catalogue


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Matrices are tiny here, and threads that wait for each other on a busy machine cost ten times the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture
def quick(monkeypatch):
    """Measure what an answer costs in 10 ms instead of a second: the figure does not matter here."""
    monkeypatch.setattr(pipeline, "_COST_SECONDS", 0.01)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A store and a cache of the test's own; nothing may be fetched."""
    monkeypatch.setenv("SARTOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SARTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SARTOR_OFFLINE", "1")
    settings.current.cache_clear()
    yield tmp_path / "home"
    settings.current.cache_clear()


@pytest.fixture
def tiny(home, monkeypatch):
    """The tiny bases under the names of the real ones, and an empty store; gives the store's folder."""
    cache = settings.current().cache
    monkeypatch.setattr(catalogue, "_BASES", tiny_base.specs(cache))
    monkeypatch.setattr(catalogue, "_LANGUAGE_MODELS", tiny_language.specs(cache))
    monkeypatch.setattr(catalogue, "_PICTURE_BASES", tiny_pictures.specs(cache))
    return home


MAILS = [
    ("I was charged twice for my invoice", "billing"),
    ("refund my money please, the bill is wrong", "billing"),
    ("my card was charged, but I did not pay for this", "billing"),
    ("the invoice is not mine", "billing"),
    ("the app shows an error and a broken screen", "bug"),
    ("crash after crash, it is a bug", "bug"),
    ("error 42 in the app", "bug"),
    ("the screen is broken since the update", "bug"),
    ("hello, I have a question about the text", "other"),
    ("thanks, great app", "other"),
    ("hello and thanks for the good help", "other"),
    ("a question: is this for free?", "other"),
]


@pytest.fixture
def mails():
    """Twelve support mails, four a label."""
    return list(MAILS)


@pytest.fixture
def mails_csv(tmp_path, mails):
    """The same as a CSV file."""
    path = tmp_path / "mails.csv"
    path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in mails))
    return path
