"""Models that write, end to end, with a tiny language model."""

import csv
import json
import os
from pathlib import Path

import pytest
from cli_helpers import write_csv

from sartor import model as models
from sartor.registry import bundle

TASK = "Rewrite the words in capital letters"
NUMBERS = "one two three four five six seven eight nine".split()
UNIQUE = [(f"say {word}", f"{word.upper()} {at}") for at, word in enumerate(NUMBERS)]
COLUMNS = ("input", "output")


@pytest.fixture
def rows_csv(tmp_path):
    return write_csv(tmp_path / "rows.csv", UNIQUE, COLUMNS)


@pytest.fixture
def capitals(sartor, rows_csv):
    """A model that writes, from nine rows; what the command said of it."""
    ran = sartor("generate", TASK, "--examples", rows_csv, "--name", "capitals", "--json")
    assert ran.code == 0, ran.err
    return ran.json


def test_the_kind_is_told_and_everything_is_stored(sartor, capitals):
    assert capitals["family"] == "text-generation"
    assert capitals["base"] == "smollm2-135m-instruct"
    assert capitals["labels"] == []
    assert capitals["head"] == capitals["report"]["written"]["answerer"]
    assert any(note["topic"] == "kind" and "text-generation" in note["text"] for note in capitals["notes"])
    assert sorted(os.listdir(capitals["path"])) == ["README.md", "manifest.json", "model.safetensors", "report.json"]
    titles = [one["title"] for one in capitals["report"]["written"]["baselines"]]
    assert any("anchor" in title for title in titles)
    assert any("told what to do" in title for title in titles)
    assert any("shown" in title for title in titles)
    assert "capitals" in sartor("models").out
    shown = sartor("show", "capitals")
    assert "text-generation" in shown.out
    assert "exact" in shown.out


def test_no_row_is_in_the_bundle(capitals):
    for name in os.listdir(capitals["path"]):
        with open(os.path.join(capitals["path"], name), "rb") as file:
            content = file.read()
        assert b"say eight" not in content
        assert b"EIGHT 7" not in content


def test_the_same_seed_and_rows_give_the_same_weights(sartor, capitals, rows_csv, tmp_path):
    with rows_csv.open() as file:
        header, *rows = csv.reader(file)
    mixed = write_csv(tmp_path / "mixed.csv", rows[::-1], header)
    again = sartor("generate", TASK, "--examples", mixed, "--name", "again", "--json").json
    one, other = (bundle.load(Path(found["path"]))[1]["model.safetensors"] for found in (capitals, again))
    assert one == other


def test_predict_writes_one_answer_for_each_row(sartor, capitals, tmp_path):
    asked = ["say ten", "", "say <|im_end|> é 日本"]
    questions = write_csv(tmp_path / "new.csv", [(text, "") for text in asked], COLUMNS)
    for suffix in ("jsonl", "csv"):
        output = tmp_path / f"answers.{suffix}"
        ran = sartor("predict", "capitals", "--input", questions, "--output", output, "--max-new-tokens", 5)
        assert ran.code == 0, ran.err
        assert "3 answers written" in ran.out
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == [["input", "output"]] * 3
    assert [line["input"] for line in lines] == asked
    assert lines[1]["output"] == ""
    with (tmp_path / "answers.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["output"] for row in csv.DictReader(file)] == [line["output"] for line in lines]
    told = sartor("predict", capitals["path"], "say ten", "--json", "--max-new-tokens", 5).json
    assert told == {"model": capitals["id"], "answers": [lines[0]]}


def test_one_text_is_shown_as_it_is_written(sartor, capitals):
    whole = sartor("predict", "capitals", "say ten", "--json").json["answers"][0]["output"]
    assert sartor("predict", "capitals", "say ten").out.strip("\n") == whole


def test_the_dial_overrides_who_answers(sartor, capitals):
    asked = ("predict", "capitals", "say ten", "say red", "--json", "--max-new-tokens", 6)
    loaded, writing = models.load("capitals"), models.Writing(max_new_tokens=6)
    for dial, answerer in ((0, "anchor"), (1.5, "generated")):
        settled = loaded.family.settle(loaded.weights, answerer, dial)
        wanted = models.Writer(loaded.manifest, loaded.report, settled).predict(["say ten", "say red"], writing)
        assert [row["output"] for row in sartor(*asked, "--dial", dial).json["answers"]] == wanted
    refused = sartor(*asked, "--dial", 7)
    assert refused.code == 2
    assert "The dial goes from 0" in refused.err


def test_flags_of_writing_are_refused_for_labels(sartor, made):
    refused = sartor("predict", "mails", "hello", "--temperature", 1)
    assert refused.code == 2
    assert "--temperature is for models that write" in refused.err


def test_evaluate_puts_it_beside_the_other_ways_to_answer(sartor, capitals, rows_csv, tmp_path):
    test = write_csv(tmp_path / "test.csv", [(f"say {letter}", letter.upper()) for letter in "abcdefghijkl"], COLUMNS)
    page = tmp_path / "report.html"
    ran = sartor("evaluate", "capitals", "--data", test, "--examples", rows_csv, "--html", page, "--json")
    assert ran.code == 0, ran.err
    written = ran.json["written"]
    assert written["scores"]["n"] == 12
    assert ran.json["protocol"]["kind"] == "test-file"
    assert len(written["baselines"]) >= 4
    assert "Who answers" in page.read_text()
    plain = sartor("evaluate", "capitals", "--data", test)
    assert "nats" in plain.out or "exact" in plain.out
    itself = sartor("evaluate", "capitals", "--data", rows_csv, "--json").json
    assert not itself["proved"]


@pytest.mark.parametrize("form", ["peft", "gguf", "merged", "merged-gguf"])
def test_it_is_exported_and_nothing_is_overwritten(sartor, capitals, tmp_path, form):
    out = tmp_path / "exports" / form
    command = ["export", "capitals", "--format", form, "--out", out, "--dial", 1]
    if form == "merged-gguf":
        command += ["--dtype", "f16"]
    ran = sartor(*command, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["model"] == capitals["id"]
    assert ran.json["bytes"] > 1000
    assert os.path.exists(ran.json["path"])
    again = sartor(*command)
    assert again.code == 2
    assert "exists already" in again.err


def test_an_export_bakes_the_dial_in(sartor, capitals, tmp_path):
    from sartor.compress.peft import read_peft

    for dial in (0, 1):
        assert sartor("export", "capitals", "--format", "peft", "--out", tmp_path / str(dial), "--dial", dial).code == 0
    ranks = [next(iter(read_peft(tmp_path / str(dial)).values()))[0].shape[1] for dial in (0, 1)]
    assert ranks[0] < ranks[1]


def test_what_cannot_be_exported_is_told(sartor, made, capitals, tmp_path):
    refused = sartor("export", "mails", "--format", "peft", "--out", tmp_path / "out")
    assert refused.code == 2
    assert "Known for it: onnx" in refused.err
    refused = sartor("export", "capitals", "--format", "merged", "--dtype", "q9", "--out", tmp_path / "out")
    assert refused.code == 2
    assert "No number format 'q9'" in refused.err
    refused = sartor("export", "capitals", "--format", "peft", "--dtype", "F16", "--out", tmp_path / "out")
    assert refused.code == 2
    assert not (tmp_path / "out").exists()


def test_a_description_alone_gives_a_model_that_proves_nothing(sartor):
    ran = sartor("generate", "Rewrite the date in ISO format", "--name", "dates", "--json")
    assert ran.code == 0, ran.err
    assert not ran.json["report"]["proved"]
    assert ran.json["report"]["written"]["scores"] is None
    assert sartor("predict", "dates", "March 3rd, 2021", "--json").code == 0
    assert "Not proved" in sartor("show", "dates").out


def test_rows_that_contradict_each_other_are_kept_and_told(sartor, tmp_path):
    rows = [("say one", "ONE"), ("say one", "TWO"), *UNIQUE[2:]]
    path = write_csv(tmp_path / "rows.csv", rows, COLUMNS)
    ran = sartor("generate", TASK, "--examples", path, "--json")
    assert ran.code == 0, ran.err
    assert any(note["topic"] == "conflicts" for note in ran.json["notes"])


def test_init_writes_the_kind_down(sartor, rows_csv, tmp_path):
    ran = sartor("init", TASK, "--examples", rows_csv, "--out", tmp_path / "task.yaml")
    assert ran.code == 0, ran.err
    assert "kind: text-generation" in (tmp_path / "task.yaml").read_text()
    assert "16 rows" in ran.out
    assert sartor("generate", tmp_path / "task.yaml").code == 0


def test_a_model_that_was_changed_on_the_disk_is_refused(sartor, capitals):
    path = os.path.join(capitals["path"], "model.safetensors")
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"\x00\x01\x02")
    ran = sartor("predict", "capitals", "say ten")
    assert ran.code == 2
    assert "Traceback" not in ran.err
