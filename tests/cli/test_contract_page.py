"""docs/contract.md says what the commands do."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from cli_helpers import ROUTE

from sartor import settings
from sartor.cli import cli
from sartor.data import taskfile
from sartor.evaluate import timing
from sartor.monitor.review import Reviewed
from sartor.monitor.signals import BY_NAME

PAGE = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")


def documented(command):
    """Return the keys in the table of a command."""
    table = PAGE.split(f"<!-- keys: {command} -->\n", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)


def test_generate_prints_the_documented_keys(made):
    assert list(made) == documented("generate")


def test_predict_prints_the_documented_keys(sartor, made):
    assert list(sartor("predict", "mails", "hello", "--json").json["answers"][0]) == documented("predict")


@pytest.mark.parametrize("command", ["models", "families", "doctor"])
def test_lists_print_the_documented_keys(sartor, command):
    assert list(sartor(command, "--json").json) == documented(command)


def test_monitor_and_review_print_the_documented_keys(sartor, made):
    assert list(sartor("monitor", "--once", "--json").json) == documented("monitor")
    assert list(sartor("review", "mails", "--json").json) == documented("review")
    section = PAGE.split("\n## monitor\n", 1)[1].split("\n## ", 1)[0]
    assert all(f"`{signal}`" in section for signal in BY_NAME)
    assert [field.name for field in fields(Reviewed)] == documented("review, judged")


def test_compare_prints_the_documented_keys(sartor, made, mails_csv, monkeypatch):
    monkeypatch.setattr(timing, "fresh_process", lambda folder, texts: timing.Fresh())
    ran = sartor("compare", "mails", "--data", mails_csv, "--rounds", 1, "--batch", 1, "--json")
    assert list(ran.json) == documented("compare")


def test_compress_prints_the_documented_keys(sartor, made):
    ran = sartor("compress", "mails", "--to", "onnx", "--max-loss", 50, "--json")
    assert list(ran.json) == [*documented("derived"), *documented("compress")]


def test_finetune_prints_the_documented_keys(sartor, made, mails_csv):
    ran = sartor("finetune", "mails", "--data", mails_csv, "--json")
    assert list(ran.json) == [*documented("derived"), *documented("finetune")]


def test_data_check_prints_the_documented_keys(sartor, tiny, mails_csv):
    assert list(sartor("data", "check", mails_csv, "--json").json) == documented("data check")


def test_init_prints_the_documented_keys(sartor, tmp_path):
    assert list(sartor("init", ROUTE, "--out", tmp_path / "task.yaml", "--json").json) == documented("init")


def all_commands():
    """Yield each command under the name of its section; those of a group under the group's."""
    for name, command in cli.commands.items():
        yield name, command
        for one in getattr(command, "commands", {}).values():
            yield name, one


def test_every_command_and_option_is_on_the_page():
    common = {"--json", "--seed"}
    for name, command in all_commands():
        section = PAGE.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
        for parameter in command.params:
            for option in (text for text in parameter.opts if text.startswith("--") and text not in common):
                assert option in section or option in ("--text-column", "--label-column", "--name", "--language")


def test_every_key_of_a_task_file_is_on_the_page():
    section = PAGE.split("## Task files", 1)[1].split("\n## ", 1)[0]
    for key in re.findall(r"[a-z_]+", taskfile._HEADER.split("Keys:", 1)[1].replace("#", "")):
        assert key in section


def test_every_file_of_a_bundle_is_on_the_page(made):
    section = PAGE.split("## Bundle", 1)[1].split("\n## ", 1)[0]
    assert sorted(re.findall(r"^\| `([\w.]+)` \|", section, flags=re.MULTILINE)) == sorted(
        path.name for path in Path(made["path"]).iterdir()
    )


def test_every_variable_of_the_settings_is_on_the_page():
    source = Path(settings.__file__).read_text()
    for variable in set(re.findall(r"(?:SARTOR|HF_HUB)_[A-Z_]+", source)):
        assert f"`{variable}`" in PAGE
