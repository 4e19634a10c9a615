"""Task files: what is read, what is refused, and that nothing is lost on the way."""

import json
import os
import resource
import signal
import stat
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.data.taskfile import read_task, write_task
from sartor.errors import StorageError, TaskError
from sartor.types import Columns, Limits, Task

FULL = """\
name: tickets
description: |
  Sort support tickets.
  日本語もあります。
kind: text-classification
labels:
  billing: money and invoices
  bug:
language: ja
columns: {input: 本文, output: ラベル}
examples: rows.csv
unlabelled: more/texts.txt
limits:
  max_latency_ms: 20
  max_memory_mb: 512.5
  min_accuracy: .9
  device: cpu
"""


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str | bytes, name: str = "task.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(TaskError) as caught:
        read_task(path)
    message = str(caught.value)
    assert message.endswith((".", "?")), message
    return message


def test_every_key_is_read(save, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "rows.csv").touch()
    (tmp_path / "more" / "texts.txt").touch()
    assert read_task(save(FULL)) == Task(
        name="tickets",
        description="Sort support tickets.\n日本語もあります。\n",
        kind="text-classification",
        labels={"billing": "money and invoices", "bug": ""},
        language="ja",
        columns=Columns("本文", "ラベル"),
        examples=str(tmp_path / "rows.csv"),
        unlabelled=str(tmp_path / "more" / "texts.txt"),
        limits=Limits(20.0, 512.5, 0.9, "cpu"),
    )


def test_json_is_read(save):
    text = json.dumps({"description": "x", "labels": {"a": None, "b": "c"}, "limits": {"min_accuracy": 1}})
    assert read_task(save(text, "task.json")) == Task("x", labels={"a": "", "b": "c"}, limits=Limits(min_accuracy=1))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp932"])
def test_a_task_file_may_come_from_another_editor(save, encoding):
    task = read_task(save("description: 問い合わせを分類する\nlabels: [請求, 不具合]\n".encode(encoding)))
    assert task == Task("問い合わせを分類する", labels={"請求": "", "不具合": ""})


def test_labels_are_verbatim_whatever_yaml_takes_them_for(save):
    words = ["yes", "no", "On", "OFF", "y", "1", "1.0", "0x10", "1:30", "null", "~", "2024-01-01", "true", "1_000"]
    assert list(read_task(save(f"labels: [{', '.join(words)}]")).labels) == words
    mapping = "".join(f"  {word}: no\n" for word in words)
    assert read_task(save(f"labels:\n{mapping}")).labels == dict.fromkeys(words, "no")


def test_norwegian_and_columns_called_yes_are_no_truth_values(save):
    task = read_task(save("language: no\ncolumns: {input: 1, output: yes}"))
    assert (task.language, task.columns) == ("no", Columns("1", "yes"))


def test_keys_without_a_value_keep_their_default(save):
    keys = [field.name for field in fields(Task)]
    assert read_task(save("".join(f"{key}:\n" for key in keys))) == Task()


def test_a_description_of_one_megabyte_is_read(save):
    lines = "".join(f"line {n} of many, 長い\n" for n in range(50_000))
    text = "description: |\n" + "".join(f"  {line}\n" for line in lines.splitlines())
    assert len(text.encode()) > 1_000_000
    assert read_task(save(text)).description == lines


def test_paths_may_lead_out_of_the_folder(tmp_path):
    (tmp_path / "rows.csv").touch()
    (tmp_path / "task").mkdir()
    path = tmp_path / "task" / "task.yaml"
    path.write_text("examples: ../rows.csv\n")
    found = read_task(path).examples
    assert found is not None
    assert Path(found).is_absolute()
    assert Path(found).samefile(tmp_path / "rows.csv")


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lables: [a, b]", "no key 'lables'. Did you mean 'labels'?"),
        ("limits: {max_latency: 3}", "no key 'limits.max_latency'. Did you mean 'max_latency_ms'?"),
        ("columns: {inputs: a}", "no key 'columns.inputs'. Did you mean 'input'?"),
        ("zzz: 1", "Known keys: name, description"),
        ("<<: {name: a}", "no key '<<'"),
        ("description: [a]", "'description' must be text; got a list."),
        ("description: 5", "'description' must be text; got a number (5)."),
        ("name: yes", "got a truth value (yes). Put it in quotes"),
        ("kind: {a: b}", "'kind' must be text; got a mapping."),
        ("labels: a, b", "'labels' must be a list of labels, or a mapping"),
        ("labels: [[a], b]", "A name in 'labels' must be text; got a list."),
        ("labels: {a: [b]}", "'labels.a' must be text; got a list."),
        ("labels: [a, a]", "'a' is there twice in 'labels'"),
        ("labels: [a, ' a ']", "'a' is there twice in 'labels'"),
        ("labels: {a: x, a: y}", "'a' is there twice in 'labels'"),
        ("labels: [a, '']", "empty name in 'labels'"),
        ("labels: &x [*x]", "must be text; got a list"),
        ("name: a\nname: b", "line 2: 'name' is there twice."),
        ("limits: {device: cpu, device: cuda}", "'device' is there twice in 'limits'"),
        ("limits: 5", "'limits' must be a mapping of max_latency_ms"),
        ("limits: {min_accuracy: 90}", "between 0 and 1; got 90. Did you mean 0.9?"),
        ("limits: {min_accuracy: -0.1}", "between 0 and 1; got -0.1."),
        ("limits: {min_accuracy: '0.9'}", "must be a number; got text (0.9)"),
        ("limits: {min_accuracy: true}", "must be a number; got a truth value (true)"),
        ("limits: {min_accuracy: [1]}", "must be a number; got a list"),
        ("limits: {max_latency_ms: .nan}", "must be a number"),
        ("limits: {max_latency_ms: inf}", "must be a finite number; got inf"),
        ("limits: {max_latency_ms: 0}", "must be more than 0"),
        ("limits: {max_memory_mb: 1 GB}", "must be a number; got text (1 GB)"),
        ("limits: {device: gpu}", "must be cpu or cuda; got 'gpu'. Did you mean 'cpu'?"),
        ("examples: none.csv", "no file"),
        ("unlabelled: ../none.csv", "'unlabelled'"),
        ('examples: "a\\0b"', "no file"),
        ("[a]: b", "A name must be text; got a list."),
        ("'': b", "There is an empty name."),
        ("- a\n- b", "holds a list, not a task"),
        ("just words", "holds text (just words), not a task"),
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("name: 'a", "not valid YAML"),
        ("name: a\n\tkind: b", "line 2"),
        ("name: a\n---\nname: b", "not valid YAML"),
        ("name: a\x07", "not valid YAML"),
        ("name: !!python/object:os.system x", "something tagged"),
        ("name: *a", "not valid YAML"),
        ("[" * 5_000, "nested too deeply"),
    ],
)
def test_what_is_not_understood_is_refused_with_a_sentence(save, text, said):
    message = refusal(save(text))
    assert said in message
    assert "task.yaml" in message


def test_a_task_file_that_cannot_be_read_is_refused(save, tmp_path):
    assert "cannot be read" in refusal(tmp_path / "none.yaml")
    assert "cannot be read" in refusal(tmp_path)
    assert "PNG" in refusal(save(b"\x89PNG\r\n"))


# --- writing -----------------------------------------------------------------------------------------------


def test_a_written_task_is_meant_for_people(tmp_path):
    path = tmp_path / "task.yaml"
    (tmp_path / "rows.csv").touch()
    write_task(Task("分類する\n二行目", labels={"yes": "", "いいえ": ""}, examples=str(tmp_path / "rows.csv")), path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# A task of Sartor")
    assert "description: |-\n  分類する\n  二行目\n" in text
    assert "labels:\n- 'yes'\n- いいえ\n" in text
    assert "examples: rows.csv\n" in text


def test_a_relative_path_is_taken_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").touch()
    (tmp_path / "task").mkdir()
    monkeypatch.chdir(tmp_path)
    write_task(Task("x", examples="rows.csv"), Path("task/task.yaml"))
    assert read_task(Path("task/task.yaml")).examples == str(tmp_path / "rows.csv")


def test_a_task_that_could_not_be_read_back_is_not_written(tmp_path):
    path = tmp_path / "task.yaml"
    for task in [
        Task(labels={" a": ""}),
        Task(labels={"": ""}),
        Task(limits=Limits(min_accuracy=2)),
        Task(limits=Limits(device="tpu")),
    ]:
        with pytest.raises(TaskError, match=r"task\.yaml"):
            write_task(task, path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "task.yaml"
    path.mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_task(Task("x"), path)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(StorageError, match="cannot be written"):
        write_task(Task("x"), tmp_path / "nowhere" / "task.yaml")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "task.yaml"
    write_task(Task("old"), path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StorageError, match="cannot be written"):
            write_task(Task("new " * 10_000), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert read_task(path) == Task("old")
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_task_has_the_usual_permissions(tmp_path):
    before = os.umask(0o022)
    try:
        write_task(Task("x"), tmp_path / "task.yaml")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "task.yaml").stat().st_mode) == 0o644


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
names = words.map(str.strip).filter(bool) | st.sampled_from(["yes", "no", "null", "~", "1", "1e3", "=", "<<", "- a"])
optional = st.none() | names
limits = st.builds(
    Limits,
    st.none() | st.floats(1e-9, 1e9),
    st.none() | st.floats(1e-9, 1e9),
    st.none() | st.floats(0, 1),
    st.sampled_from([None, "cpu", "cuda"]),
)


@settings(max_examples=150, deadline=None)
@given(
    st.builds(
        Task,
        description=words,
        name=optional,
        kind=optional,
        labels=st.dictionaries(names, words, max_size=4),
        language=optional,
        columns=st.builds(Columns, optional, optional),
        limits=limits,
    )
)
def test_a_written_task_is_read_back_identical(tmp_path_factory, task):
    path = tmp_path_factory.getbasetemp() / "trip.yaml"
    write_task(task, path)
    back = read_task(path)
    assert back == task
    assert list(back.labels) == list(task.labels)


def test_paths_are_read_back_identical(tmp_path):
    for name in ("rows.csv", "行 1.csv", "# odd: name.csv"):
        (tmp_path / name).touch()
        task = Task("x", examples=str(tmp_path / name), unlabelled="/dev/null")
        write_task(task, tmp_path / "task.yaml")
        assert read_task(tmp_path / "task.yaml") == task


@given(st.text() | st.text("abc:- []{}'\"\n\t#&*!|>%@", max_size=40))
def test_any_text_is_read_or_refused_but_never_crashes(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    try:
        found: object = read_task(path)
    except TaskError as error:
        found = error
    assert isinstance(found, Task) or "any.yaml" in str(found)


def test_escapes_of_json_are_the_characters_they_stand_for(tmp_path):
    path = tmp_path / "task.json"
    path.write_text('{"description": "sort \\ud83d\\ude42 or \\ud800x", "labels": ["\\ud83d\\ude42", "b"]}')
    task = read_task(path)
    assert task.description == "sort 🙂 or x"
    assert list(task.labels) == ["🙂", "b"]
