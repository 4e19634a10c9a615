"""``sartor predict --model-column``: rows that each name their model."""

import csv
import json
import re
from pathlib import Path

import pytest
from cli_helpers import write_csv

from sartor import writers
from sartor.errors import UserError
from sartor.families.interface import Writing
from sartor.model import load
from sartor.writers import Writers

ASKED = ["say ten", "say red", "", "March 3rd", "say blue", "a word"]
NAMES = ["capitals", "dates", "capitals", "dates@champion", "", "shout"]
SHORT = ("--max-new-tokens", 5)


@pytest.fixture
def store(sartor, tmp_path):
    """Three models that write."""
    rows = [{"input": f"say {word}", "output": word.upper()} for word in ("one", "two", "three", "four")]
    tasks = [
        {"name": "capitals", "examples": rows},
        {"name": "dates", "description": "Rewrite the date in ISO format"},
        {"name": "shout", "description": "Shout"},
    ]
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(json.dumps(task) + "\n" for task in tasks))
    assert sartor("generate", "--many", path).code == 0


@pytest.fixture
def questions(tmp_path):
    return write_csv(tmp_path / "rows.csv", zip(NAMES, ASKED, strict=True), ("model", "input"))


def wanted(dial=None):
    writing = Writing(max_new_tokens=5)
    models = [load(name or "shout") for name in NAMES]
    models = models if dial is None else [model.dialled(dial) for model in models]
    return [model.predict([text], writing)[0] for model, text in zip(models, ASKED, strict=True)]


def documented():
    page = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")
    table = page.split("<!-- keys: predict, mixed -->\n", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)


def test_every_row_gets_what_its_model_alone_would_answer(sartor, store, questions, tmp_path):
    command = ("predict", "shout", "--input", questions, "--model-column", "model", *SHORT)
    told = sartor(*command, "--json")
    assert told.code == 0, told.err
    assert [row["output"] for row in told.json["answers"]] == wanted()
    assert [row["model"] for row in told.json["answers"]] == [name or "shout" for name in NAMES]
    assert [row["input"] for row in told.json["answers"]] == ASKED
    assert list(told.json["answers"][0]) == documented()
    assert told.json["models"] == {name: load(name).id for name in dict.fromkeys(name or "shout" for name in NAMES)}
    lines = sartor(*command).out.splitlines()
    assert [json.loads(line) for line in lines] == told.json["answers"]
    for suffix in ("csv", "jsonl"):
        ran = sartor(*command, "--output", tmp_path / f"answers.{suffix}", "--json")
        assert ran.json["rows"] == len(ASKED)
        assert ran.json["models"] == told.json["models"]
    with (tmp_path / "answers.csv").open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.DictReader(file)) == told.json["answers"]
    assert "6 answers of 4 models" in sartor(*command, "--output", tmp_path / "answers.csv").out


def test_the_dial_holds_for_all(sartor, store, questions):
    command = ("predict", "shout", "--input", questions, "--model-column", "model", *SHORT, "--json")
    answers = sartor(*command, "--dial", 0).json["answers"]
    assert [row["output"] for row in answers] == wanted(dial=0)
    assert sartor(*command, "--dial", 9).code == 2


@pytest.mark.parametrize(
    ("rows", "arguments", "part"),
    [
        ([("capitals", "a"), ("capitols", "b")], [], "Did you mean 'capitals'?"),
        ([("capitals", "a"), ("", "b")], [], "Row 2 of rows.csv names no model"),
        ([("capitals", "a"), ("mails", "b")], [], "'mails' does not write"),
        ([("capitals", "a")], ["--text-column", "model"], "cannot both name the model and be the text"),
        ([("capitals", "a")], ["--model-column", "modell"], "Did you mean 'model'?"),
        ([("capitals", "a"), ("x1", "b"), ("x2", "b"), ("x3", "b"), ("x4", "b")], [], "And 1 more are wrong"),
    ],
)
def test_a_row_that_cannot_be_answered_is_told_and_nothing_is_written(
    sartor, store, made, tmp_path, rows, arguments, part
):
    path = write_csv(tmp_path / "rows.csv", rows, ("model", "input"))
    ran = sartor("predict", "--input", path, "--model-column", "model", *arguments, "--output", tmp_path / "out.csv")
    assert ran.code == 2
    assert part in ran.err
    assert not (tmp_path / "out.csv").exists()


def test_a_model_must_be_named_somewhere(sartor, store, questions):
    ran = sartor("predict", "--input", questions)
    assert ran.code == 2
    assert "Missing argument 'MODEL'" in ran.err
    ran = sartor("predict", "shout", "a text", "--model-column", "model")
    assert ran.code == 2
    assert "--model-column is a column of a file" in ran.err


def test_few_models_are_in_memory_together_and_one_base(store, monkeypatch):
    monkeypatch.setattr(writers, "_LOADED_AT_ONCE", 2)
    told, loads = [], []
    asked = [(name or "shout", text) for name, text in zip(NAMES, ASKED, strict=True)]
    writing = Writing(max_new_tokens=5)
    found = Writers([name for name, _ in asked])
    real = Writers._load
    monkeypatch.setattr(Writers, "_load", lambda self, name: loads.append(name) or real(self, name))
    assert found.predict(asked, writing, progress=lambda *at: told.append(at)) == wanted()
    assert sorted(loads) == sorted({name for name, _ in asked})
    assert len({id(base) for base in found._bases.values()}) == 1
    assert told[-1][1] <= told[-1][2] == len(ASKED)
    assert found.predict([], writing) == []
    assert found.cut([("capitals", "x" * 2000), ("dates", "y")], writing) == 1


def test_a_model_that_labels_is_no_writer(sartor, made):
    with pytest.raises(UserError, match="does not write: it is a model of text-classification"):
        Writers(["mails"])
