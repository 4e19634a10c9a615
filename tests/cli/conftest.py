"""The command line in process, on the tiny base: ``sartor("generate", …)`` gives code, stdout and stderr."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import ROUTE, Ran
from tables_helpers import small_tables

from sartor import cli

TESTS = Path(__file__).parents[1]


@pytest.fixture
def sartor(tiny, quick, capsys) -> Callable[..., Ran]:
    """Run one command in this process; no traceback may ever show."""

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ran(code, out, err)

    return run


@pytest.fixture
def few_peers(monkeypatch):
    """Make models of tables of a few small nets, and prove them beside the majority, or the mean, alone."""
    small_tables(monkeypatch)


@pytest.fixture
def made(sartor, mails_csv) -> dict[str, Any]:
    """What ``generate --json`` printed for twelve mails; the model is in the store as ``mails``."""
    ran = sartor("generate", ROUTE, "--examples", mails_csv, "--name", "mails", "--json")
    assert ran.code == 0, ran.err
    return ran.json


@pytest.fixture
def child(tiny) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start one command in a fresh process, with the test's store and cache."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, before: Sequence[str] = ()) -> subprocess.Popen[str]:
        command = [*before, sys.executable, str(TESTS / "tiny_base.py"), *map(str, arguments)]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, env=environment, cwd=tiny.parent, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
