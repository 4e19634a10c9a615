"""``sartor generate --many`` with a tiny language model: bulk runs, bad lines, kills, and going on."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from cli_helpers import forked, snapshot, write_csv
from safetensors.torch import load_file

from sartor import pipeline, settings
from sartor.cli.console import _Lines
from sartor.families import text_generation
from sartor.registry import bundle, disk
from sartor.registry.store import Store
from sartor.types import Task

ROWS = [{"input": f"say {word}", "output": word.upper()} for word in "one two three four five".split()]
TASKS = [
    {"name": "Loud Words", "description": "Rewrite the words in capital letters", "examples": ROWS},
    {"name": "dates", "description": "Rewrite the date in ISO format"},
    {"name": "first", "description": "Extract the first word", "kind": "text-generation", "prompts": ["a b", "c d"]},
    {"name": "file", "examples": "rows.csv"},
    {"name": "shout", "description": "Shout"},
]
NAMES = ["loud-words", "dates", "first", "file", "shout"]


def write_tasks(path, tasks):
    path.write_text("".join(f"{json.dumps(task) if isinstance(task, dict) else task}\n" for task in tasks))
    return path


@pytest.fixture
def tasks(tmp_path):
    write_csv(tmp_path / "rows.csv", [(row["input"], row["output"]) for row in ROWS[:3]], ("input", "output"))
    return write_tasks(tmp_path / "tasks.jsonl", TASKS)


@pytest.fixture
def in_twos(monkeypatch):
    """Two models a batch, so that there are several."""
    monkeypatch.setattr(text_generation, "_MADE_AT_ONCE", 2)


def stored():
    return Store(settings.current().home)


def documented():
    page = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")
    table = page.split("<!-- keys: generate, many -->\n", 1)[1].split("\n\n", 1)[0]
    return [line.split("`")[1] for line in table.splitlines()[2:]]


# --- what is made ------------------------------------------------------------------------------------------


def test_every_line_becomes_a_stored_model_that_is_not_proved(sartor, tasks, in_twos):
    ran = sartor("generate", "--many", tasks, "--json")
    assert ran.code == 0, ran.err
    assert list(ran.json) == documented()
    assert (ran.json["made"], ran.json["unchanged"], ran.json["left_out"]) == (5, 0, 0)
    assert [one["name"] for one in ran.json["models"]] == NAMES
    assert [one["line"] for one in ran.json["models"]] == [1, 2, 3, 4, 5]
    assert {one["version"] for one in ran.json["models"]} == {1}
    store = stored()
    store.verify_chain()
    assert {entry.name: entry.aliases for entry in store.list()} == {name: ("champion",) for name in NAMES}
    for one in ran.json["models"]:
        manifest = bundle.read(Path(one["path"])).manifest
        assert (manifest.id, manifest.name, manifest.family) == (one["id"], one["name"], "text-generation")
        report = json.loads((Path(one["path"]) / "report.json").read_text())
        assert not report["proved"]
        assert "made in bulk" in report["headline"]
        assert report["cost"] is None
        assert report["seconds"]["generate"] > 0
    shown = sartor("show", "loud-words").out
    assert "Not proved: it was made in bulk" in shown
    assert "sartor evaluate" in shown
    assert sartor("predict", "file", "say six", "--json").code == 0


def test_no_row_is_in_what_is_stored(sartor, tasks):
    assert sartor("generate", "--many", tasks).code == 0
    for path in (settings.current().home / "models").rglob("*.*"):
        for told in (b"say three", b"THREE", b"c d"):
            assert told not in path.read_bytes()


def test_the_weights_are_those_of_each_task_alone(sartor, tasks, tmp_path):
    assert sartor("generate", "--many", tasks).code == 0
    alone = [
        pipeline.make(Task(TASKS[1]["description"], kind="text-generation"), store=False),
        pipeline.make(Task(kind="text-generation"), tmp_path / "rows.csv", store=False),
    ]
    for name, made in zip(("dates", "file"), alone, strict=True):
        stored_weights = load_file(stored().get(name).path / "model.safetensors")
        assert stored_weights.keys() == made.model.weights.keys()
        for key, tensor in made.model.weights.items():
            if key not in ("dial", "answerer"):  # a proof may have settled these
                torch.testing.assert_close(stored_weights[key].float(), tensor.float(), atol=2e-3, rtol=2e-2)


def test_the_summary_says_what_to_do_next(sartor, tasks):
    ran = sartor("generate", "--many", tasks)
    assert ran.code == 0, ran.err
    assert "5 models made." in ran.out
    assert "a minute" in ran.out
    assert "None is proved" in ran.out
    assert "sartor predict loud-words" in ran.out


def test_a_folder_gets_one_of_each_and_the_store_nothing(sartor, tasks, tmp_path, in_twos):
    out = tmp_path / "out"
    ran = sartor("generate", "--many", tasks, "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert sorted(os.listdir(out)) == sorted(NAMES)
    assert {one["version"] for one in ran.json["models"]} == {None}
    assert stored().list() == []
    assert bundle.read(out / "dates").manifest.name == "dates"
    before = snapshot(out)
    again = sartor("generate", "--many", tasks, "--out", out, "--json").json
    assert (again["made"], again["unchanged"]) == (0, 5)
    changed = write_tasks(tasks.with_name("changed.jsonl"), [{**TASKS[1], "description": "Another"}])
    refused = sartor("generate", "--many", changed, "--out", out)
    assert refused.code == 2
    assert "made from another task" in refused.err
    (out / "free").mkdir()
    (out / "free" / "notes.txt").write_text("mine")
    in_the_way = write_tasks(tasks.with_name("other.jsonl"), [{"name": "free", "description": "Shout"}])
    refused = sartor("generate", "--many", in_the_way, "--out", out)
    assert refused.code == 2
    assert "is in the way" in refused.err
    shutil.rmtree(out / "free")
    assert snapshot(out) == before


# --- going on ----------------------------------------------------------------------------------------------


def test_run_again_only_what_changed_is_made(sartor, tasks):
    first = sartor("generate", "--many", tasks, "--json").json
    ran = sartor("generate", "--many", tasks)
    assert "0 models made; 5 unchanged" in ran.out
    rows = [*ROWS, {"input": "say six", "output": "SIX"}]
    changed = [{**TASKS[0], "examples": rows}, {**TASKS[1], "description": "Rewrite the date"}, *TASKS[2:]]
    changed[2] = {**changed[2], "prompts": ["e f"]}
    again = sartor("generate", "--many", write_tasks(tasks, changed), "--json").json
    assert (again["made"], again["unchanged"]) == (3, 2)
    assert [one["status"] for one in again["models"]] == ["made"] * 3 + ["unchanged"] * 2
    assert [one["version"] for one in again["models"]] == [2, 2, 2, 1, 1]
    assert [one["id"] for one in again["models"]][3:] == [one["id"] for one in first["models"]][3:]
    aliases = stored().aliases("dates")
    assert aliases["champion"] == first["models"][1]["id"]
    assert aliases["challenger"] == again["models"][1]["id"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("out", [False, True])
def test_what_is_complete_stays_and_the_rest_is_made_later(sartor, tasks, tmp_path, in_twos, number, out):
    folder = tmp_path / "folder"
    folder.mkdir()
    command = ["generate", "--many", tasks, *(["--out", folder] if out else [])]

    def in_the_fourth():
        real, placed = disk.place, []

        def signalled(*arguments, **options):
            placed.append(arguments)
            if len(placed) == 4:
                os.kill(os.getpid(), number)
            return real(*arguments, **options)

        disk.place = signalled

    ran = forked(tmp_path, command, in_the_fourth)
    assert ran.code == (130 if number == signal.SIGINT else -number), ran
    store = stored()
    store.verify_chain()
    # of a batch of two all or none is in the store; in a folder each stands for itself
    whole = [path for path in folder.iterdir() if not path.name.startswith(".")] if out else store.list()
    assert len(whole) == (3 if out else 2)
    for one in whole:
        bundle.read(one if out else one.path)
    if number == signal.SIGINT:
        assert "Traceback" not in ran.err
        assert "2 of 5 models are there" in ran.err
        assert not out or len(list(folder.iterdir())) == 3
    again = sartor(*command, "--json")
    assert again.code == 0, again.err
    assert (again.json["made"], again.json["unchanged"]) == (5 - len(whole), len(whole))
    store.verify_chain()
    if out:
        assert sorted(os.listdir(folder)) == sorted(NAMES)
    else:
        assert sorted(entry.name for entry in store.list()) == sorted(NAMES)
        store.collect_garbage(older_than=0)
        assert os.listdir(store.home / "tmp") == []
        assert sorted(os.listdir(store.home / "models")) == sorted(entry.id for entry in store.list())


# --- what is refused ---------------------------------------------------------------------------------------

GOOD = {"name": "good", "description": "Shout"}
BAD = {
    "no JSON": ("{nonsense", "this is not JSON"),
    "no object": ("[1, 2]", "this is a list, not an object"),
    "deep": ("[" * 100_000, "this is not JSON"),
    "an unknown key": ({"name": "a", "descripton": "Shout"}, "Did you mean 'description'?"),
    "no name": ({"description": "Shout"}, "'name' is missing"),
    "a name that is a number": ({"name": 3, "description": "Shout"}, "'name' must be text; got 3"),
    "the same name": ({"name": "good", "description": "Whisper"}, "is that of line 1 already"),
    "a name that is stored as the same": ({"name": "Good", "description": "Whisper"}, "is that of line 1 already"),
    "nothing to go by": ({"name": "a"}, "neither a description nor a row"),
    "another kind": ({"name": "a", "description": "b", "kind": "text-classification"}, "not made in bulk"),
    "an unknown kind": ({"name": "a", "description": "b", "kind": "text-generatoin"}, "Did you mean"),
    "no such rows": ({"name": "a", "examples": "nowhere.csv"}, "There is no file"),
    "rows of another shape": ({"name": "a", "examples": [["x", "y"]]}, "a row of 'examples' is"),
    "a row without an answer": ({"name": "a", "examples": [{"input": "x"}]}, "a row of 'examples' is"),
    "rows that are a number": ({"name": "a", "examples": 3}, "'examples' must be a path or a list"),
    "rows with blank answers": ({"name": "a", "examples": [{"input": "x", "output": " "}]}, "can be used"),
    "prompts that are no texts": ({"name": "a", "description": "b", "prompts": [1]}, "'prompts' must be"),
}


@pytest.mark.parametrize(("line", "part"), BAD.values(), ids=BAD)
def test_a_line_that_cannot_be_used_is_told_and_nothing_is_made(sartor, tmp_path, line, part):
    path = write_tasks(tmp_path / "tasks.jsonl", [GOOD, "", line])
    ran = sartor("generate", "--many", path)
    assert ran.code == 2, ran
    assert "Line 3: " in ran.err
    assert part in ran.err
    assert "--skip-bad" in ran.err
    assert not settings.current().home.exists()


def test_all_bad_lines_are_told_at_once(sartor, tmp_path):
    path = write_tasks(tmp_path / "tasks.jsonl", [GOOD, *(line for line, _ in BAD.values())])
    ran = sartor("generate", "--many", path, "--json")
    assert ran.code == 2
    message = ran.json["error"]["message"]
    assert f"{len(BAD)} lines of tasks.jsonl cannot be used, and nothing was made" in message
    for number, (_, part) in enumerate(BAD.values(), 2):
        [told] = [line for line in message.splitlines() if line.startswith(f"  Line {number}: ")]
        assert part in told
    assert not settings.current().home.exists()


def test_bad_lines_are_left_out_where_that_is_asked_for(sartor, tmp_path):
    path = write_tasks(tmp_path / "tasks.jsonl", ["{nonsense", GOOD])
    ran = sartor("generate", "--many", path, "--skip-bad", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["made"], ran.json["left_out"]) == (1, 1)
    assert ran.json["bad"][0]["number"] == 1
    assert "Line 1 is left out: this is not JSON" in ran.err
    only_bad = write_tasks(tmp_path / "bad.jsonl", ["{nonsense"])
    assert sartor("generate", "--many", only_bad, "--skip-bad").code == 2


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["Shout"], "Give no TASK beside it"),
        (["--examples", "rows.csv"], "Give no TASK beside it"),
        (["--name", "x"], "Give no TASK beside it"),
        (["--base", "nobody"], "nobody"),
    ],
)
def test_what_does_not_go_with_many_is_refused(sartor, tasks, arguments, part):
    ran = sartor("generate", "--many", tasks, *arguments)
    assert ran.code == 2
    assert part in ran.err
    assert not settings.current().home.exists()


def test_a_file_that_is_none_is_refused(sartor, tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n\n")
    for path, part in ((tmp_path / "none.jsonl", "cannot be read"), (tmp_path / "empty.jsonl", "is empty")):
        ran = sartor("generate", "--many", path)
        assert ran.code == 2
        assert part in ran.err
    ran = sartor("generate", "Shout", "--skip-bad")
    assert ran.code == 2
    assert "--skip-bad goes with --many" in ran.err


def test_a_folder_within_the_store_is_refused(sartor, tasks):
    ran = sartor("generate", "--many", tasks, "--out", settings.current().home / "models")
    assert ran.code == 2
    assert "lies within the store" in ran.err


# --- progress ----------------------------------------------------------------------------------------------


def test_progress_in_a_log_says_how_much_time_is_left(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("sartor.cli.console.time.monotonic", lambda: now[0])
    lines = _Lines()
    for seconds, done in ((0, 10), (5, 20), (16, 30), (600, 40), (700, 100)):
        now[0] = seconds
        lines("generate", done, 100)
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "generate: 20 of 100, about 40 s left",
        "generate: 30 of 100, about 56 s left",
        "generate: 40 of 100, about 20 min left",
        "generate: 100 of 100",
    ]
