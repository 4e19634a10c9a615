"""What is public, and what importing it costs."""

import subprocess
import sys

import pytest

import sartor

PUBLIC = [
    "Answer",
    "Example",
    "GateRefused",
    "Model",
    "Report",
    "SartorError",
    "Task",
    "UserError",
    "generate",
    "load",
]
HEAVY = {
    "torch",
    "numpy",
    "pandas",
    "sklearn",
    "scipy",
    "tokenizers",
    "pyarrow",
    "huggingface_hub",
    "jinja2",
    "rich",
    "PIL",
}


def imported_by(code):
    """Return the top-level modules that a fresh interpreter has after running ``code``."""
    told = f"{code}\nimport sys\nprint(' '.join({{name.split('.')[0] for name in sys.modules}}), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.splitlines()[-1].split())


def test_the_public_names_are_these():
    assert sartor.__all__ == PUBLIC == sorted(PUBLIC)
    assert dir(sartor) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_had(name):
    assert getattr(sartor, name).__name__ == name


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = sartor.train


def test_importing_sartor_imports_nothing_heavy():
    assert imported_by("import sartor; sartor.Task; sartor.SartorError; sartor.Example") & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["--version"], ["init", ""]])
def test_help_and_refused_flags_import_nothing_heavy(arguments):
    assert imported_by(f"from sartor import cli; cli.run({arguments!r})") & HEAVY == set()


def test_listing_models_imports_no_torch(home):
    assert "torch" not in imported_by("from sartor import cli; cli.run(['models'])")
    assert "torch" not in imported_by("from sartor import cli; cli.run(['show', 'nobody'])")
