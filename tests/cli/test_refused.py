"""Bad input: exit 2, a sentence on stderr, and nothing written."""

import json
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from cli_helpers import ROUTE, forked, snapshot, write_csv

from sartor import settings


@pytest.fixture
def refused(sartor, tmp_path):
    """Run a command that must be refused; return the sentence. The store and ``out`` must stay as they are."""

    def run(*arguments):
        home, out = settings.current().home, tmp_path / "out"
        before, had_out = snapshot(home), out.exists()
        ran = sartor(*arguments)
        assert ran.code == 2, ran
        assert ran.out == ""
        assert snapshot(home) == before
        assert out.exists() == had_out
        sentence = ran.err.split("Error: ", 1)[1].strip()
        assert len(sentence.split()) >= 3
        return sentence

    return run


# --- files of rows -----------------------------------------------------------------------------------------

FILES = {
    "an empty file": (b"", "is empty"),
    "blank lines": (b"\n\n\n", "nothing but blank lines"),
    "a header only": (b"text,label\n", "no rows"),
    "one label only": (b"text,label\na b,x\nc d,x\n", "at least two labels"),
    "rows without a label": (b"text,label\na b,\nc d,\n", "2 no label"),
    "ten thousand labels": (
        b"text,label\n" + b"".join(b"text %d,label %d\n" % (n, n) for n in range(10_000)),
        "free text or an id",
    ),
    "no label column": (b"text,price,size\na b,1,2\nc d,3,4\n", "no label column"),
    "numbers to predict": (b"text,label\na b,0.25\nc d,1.75\ne f,3\n", "regression"),
    "binary junk": (random.Random(0).randbytes(5000), "not a text file"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
    "a column twice": (b"text,label,label\na b,x,y\n", "more than one column called 'label'"),
    "a row that is too long": (b"text,label\na b,x\nc, d, e,y\n", "Line 3"),
    "a quote that is never closed": (b'text,label\n"a b,x\nc d,y\n', "never closed"),
}


@pytest.mark.parametrize(("content", "part"), FILES.values(), ids=FILES)
def test_a_file_that_cannot_be_used_is_refused(refused, tmp_path, content, part):
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    assert part in refused("generate", "Sort these", "--examples", path, "--out", tmp_path / "out")


PATHS = {
    "no such file": ("missing.csv", "There is no file"),
    "a folder": (".", "is a folder"),
    "an unknown suffix": ("rows.docx", "its format is not known"),
    "a picture called a workbook": ("rows.xlsx", "not an Excel workbook"),
    "text called Parquet": ("rows.parquet", "not a Parquet file"),
    "a picture called JSON Lines": ("rows.jsonl", "a PNG image"),
}


@pytest.mark.parametrize(("name", "part"), PATHS.values(), ids=PATHS)
def test_a_path_that_cannot_be_used_is_refused(refused, tmp_path, name, part):
    for known in ("rows.docx", "rows.xlsx", "rows.parquet", "rows.jsonl"):
        (tmp_path / known).write_bytes(b'\x89PNG\r\n\x1a\n {"text": ')
    assert part in refused("generate", "Sort these", "--examples", tmp_path / name)


def test_a_column_that_is_not_there_is_refused_and_the_nearest_named(refused, mails_csv):
    sentence = refused("generate", ROUTE, "--examples", mails_csv, "--label-column", "lable")
    assert "Did you mean 'label'?" in sentence


def test_rows_whose_labels_the_task_does_not_list_are_refused(refused, mails_csv, tmp_path):
    task = tmp_path / "task.yaml"
    task.write_text("labels: [spam, ham]\nexamples: mails.csv\n")
    assert "verbatim" in refused("generate", task)


# --- tasks -------------------------------------------------------------------------------------------------

TASKS = {
    "an unknown key": ("description: x\nlables: [a, b]\n", "Did you mean 'labels'?"),
    "an unknown inner key": ("description: x\nlimits: {max_latency: 3}\n", "Did you mean 'max_latency_ms'?"),
    "a list": ("- a\n- b\n", "not a task"),
    "no YAML": ("a: [b\n", "not valid YAML"),
    "nothing": ("", "is empty"),
    "one label": ("description: x\nlabels: [a]\n", "at least two labels"),
    "a label twice": ("description: x\nlabels: [a, a]\n", "twice"),
    "an unknown family": ("description: a or b\nkind: text-clasification\n", "Did you mean 'text-classification'?"),
    "no such rows": ("description: a or b\nexamples: nowhere.csv\n", "there is no file"),
    "a share in percent": ("description: a or b\nlimits: {min_accuracy: 90}\n", "Did you mean 0.9?"),
    "too many labels": ("labels: [" + ",".join(f"l{n}" for n in range(1001)) + "]\n", "at most 1,000"),
    "nothing to go by": ("name: x\n", "description is empty"),
}


@pytest.mark.parametrize(("content", "part"), TASKS.values(), ids=TASKS)
def test_a_task_file_that_cannot_be_used_is_refused(refused, tmp_path, content, part):
    path = tmp_path / "task.yaml"
    path.write_text(content)
    assert part in refused("generate", path, "--out", tmp_path / "out")


OPTIONS = {
    "no such task file": (["generate", "missing.yaml"], "cannot be read"),
    "an empty description": (["generate", ""], "description is empty"),
    "a blank description": (["generate", " \n\t"], "description is empty"),
    "a description without labels": (["generate", "Sort these mails"], "Cannot tell the labels"),
    "an unknown base": (["generate", ROUTE, "--base", "bert-huge"], "all-minilm-l6-v2"),
    "no language": (["generate", ROUTE, "--language", "klingon"], "language"),
    "a seed that is no number": (["generate", ROUTE, "--seed", "x"], "'x' is not a valid integer"),
    "a seed below zero": (["generate", ROUTE, "--seed", "-1"], "--seed"),
    "an unknown option": (["generate", ROUTE, "--outt", "x"], "No such option"),
    "an unknown command": (["genrate", ROUTE], "No such command"),
    "no argument": (["generate"], "Missing argument"),
    "an empty store": (["predict", "mails", "hello"], "is empty"),
    "an empty name": (["predict", "", "hello"], "no model"),
}


@pytest.mark.parametrize(("arguments", "part"), OPTIONS.values(), ids=OPTIONS)
def test_an_argument_that_cannot_be_used_is_refused(refused, arguments, part):
    assert part in refused(*arguments)


def test_rows_in_the_place_of_a_task_are_refused_with_the_right_command(refused, mails_csv):
    assert f"--examples {mails_csv}" in refused("generate", mails_csv)


# --- models ------------------------------------------------------------------------------------------------

REFS = [
    "../../etc",
    "../../etc/passwd",
    "/etc",
    "./nothing",
    "models/../..",
    "mails@v9",
    "mails@chmpion",
    "nails",
    "a\0b",
    "x" * 5000,
]


@pytest.mark.parametrize("command", ["predict", "show", "evaluate"])
def test_a_ref_that_names_no_model_is_refused(refused, made, command):
    for ref in REFS:
        refused(command, ref, *(["hello"] if command == "predict" else []))


def test_the_nearest_name_is_offered(refused, made):
    assert "Did you mean 'mails'?" in refused("predict", "mials", "hello")


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "report.json", "README.md"])
def test_a_bundle_with_one_byte_flipped_is_refused(refused, made, name):
    file = Path(made["path"]) / name
    whole = file.read_bytes()
    for at in (0, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        for command in (["predict", "mails", "hello"], ["show", "mails"], ["evaluate", "mails"]):
            assert name in refused(*command)
    file.write_bytes(whole)


def test_a_bundle_of_a_newer_format_is_refused(refused, made):
    file = Path(made["path"]) / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 2}))
    assert "newer Sartor" in refused("predict", made["path"], "hello")


def test_a_bundle_with_a_file_too_few_or_too_many_is_refused(refused, made):
    folder = Path(made["path"])
    (folder / "extra.py").write_text("import os")
    assert "extra.py" in refused("predict", folder, "hello")
    (folder / "extra.py").unlink()
    (folder / "report.json").unlink()
    assert "report.json" in refused("predict", folder, "hello")


# --- predict and evaluate ----------------------------------------------------------------------------------


def test_a_file_and_texts_together_are_refused(refused, made, mails_csv):
    assert "not both" in refused("predict", "mails", "hello", "--input", mails_csv)
    assert "not neither" in refused("predict", "mails")


@pytest.mark.parametrize("suffix", [".xlsx", ".txt", ""])
def test_an_output_of_another_format_is_refused_before_any_work(refused, made, mails_csv, tmp_path, suffix):
    output = tmp_path / f"answers{suffix}"
    assert ".jsonl, .csv" in refused("predict", "mails", "--input", mails_csv, "--output", output)
    assert not output.exists()


@pytest.mark.parametrize(
    "option", [["predict", "mails", "hi", "--output"], ["evaluate", "mails", "--html"], ["init", ROUTE, "--out"]]
)
def test_an_output_whose_folder_is_missing_is_refused(refused, made, tmp_path, option):
    suffix = {"predict": "csv", "evaluate": "html", "init": "yaml"}[option[0]]
    assert "annot" in refused(*option, tmp_path / "nowhere" / f"file.{suffix}")
    assert not (tmp_path / "nowhere").exists()


def test_an_output_that_is_a_folder_is_refused(refused, made, tmp_path):
    folder = tmp_path / "answers.csv"
    folder.mkdir()
    refused("predict", "mails", "hi", "--output", folder)
    assert list(folder.iterdir()) == []
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_input_without_a_text_column_is_refused(refused, made, tmp_path):
    source = write_csv(tmp_path / "new.csv", [("1", "2", "3")], ["a", "b", "c"])
    assert "no text column" in refused("predict", "mails", "--input", source)


def test_rows_without_labels_cannot_be_scored(refused, made, tmp_path):
    data = write_csv(tmp_path / "test.csv", [("1", "2", "3")], ["text", "b", "c"])
    assert "no label column" in refused("evaluate", "mails", "--data", data)


# --- JSON --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["generate", "", "--json"], "TaskError"),
        (["generate", ROUTE, "--examples", "missing.csv", "--json"], "DataError"),
        (["predict", "nobody", "hi", "--json"], "NotFoundError"),
        (["show", "../../etc", "--json"], "NotFoundError"),
        (["models", "--json", "--seed", "x"], "BadParameter"),
        (["models", "--json", "--nonsense"], "NoSuchOption"),
    ],
)
def test_with_json_an_error_is_one_object(sartor, arguments, kind):
    ran = sartor(*arguments)
    assert ran.code == 2
    assert ran.json.keys() == {"error"}
    assert ran.json["error"]["type"] == kind
    assert ran.json["error"]["message"] in ran.err.replace("\n", " ") or kind in ("NoSuchOption", "BadParameter")


# --- rights ------------------------------------------------------------------------------------------------


@pytest.fixture
def ground():
    """A folder that other users may enter: pytest's own are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def give_up_rights():
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


@pytest.mark.parametrize("place", ["home", "out", "answers"])
def test_a_place_that_may_not_be_written_is_refused(made, ground, monkeypatch, mails_csv, place, tmp_path):
    mails = ground / "mails.csv"
    mails.write_bytes(mails_csv.read_bytes())
    (ground / "free").mkdir()
    closed = ground / "closed"
    for folder in (closed, ground / "free" / "model"):
        folder.mkdir()
    shutil.copytree(made["path"], ground / "free" / "model", dirs_exist_ok=True)
    shutil.copytree(settings.current().cache, ground / "cache")
    for path in ground.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o644)
    closed.chmod(0o555)
    monkeypatch.setenv("SARTOR_HOME", str((closed if place == "home" else ground / "free") / "home"))
    monkeypatch.setenv("SARTOR_CACHE", str(ground / "cache"))
    settings.current.cache_clear()
    command = {
        "home": ["generate", ROUTE, "--examples", mails],
        "out": ["generate", ROUTE, "--examples", mails, "--out", closed / "out"],
        "answers": ["predict", ground / "free" / "model", "--input", mails, "--output", closed / "answers.csv"],
    }[place]
    ran = forked(tmp_path, command, give_up_rights)
    assert ran.code == 2, ran
    assert "ermission" in ran.err
    assert "Traceback" not in ran.err
    assert list(closed.iterdir()) == []


def test_a_working_folder_that_may_not_be_entered_is_no_matter(made, ground, mails_csv, tmp_path, monkeypatch):
    (ground / "closed").mkdir()
    monkeypatch.chdir(ground / "closed")
    (ground / "closed").chmod(0o000)
    ran = forked(tmp_path, ["generate", "no labels here"], give_up_rights)
    (ground / "closed").chmod(0o755)
    assert ran.code == 2, ran
    assert "Cannot tell the labels" in ran.err
