"""``sartor generate``: what it prints, what it writes, and when it says no."""

import json
import random

import pytest
from cli_helpers import LABELS, ROUTE, snapshot, write_csv

import sartor as library
from sartor import settings
from sartor.assets import catalogue
from sartor.registry.store import Store

WEIGHTS = "model.safetensors"


def test_generate_prints_one_json_object_with_what_the_contract_names(sartor, mails_csv, tmp_path):
    out = tmp_path / "model"
    ran = sartor("generate", ROUTE, "--examples", mails_csv, "--out", out, "--json")
    made = ran.json
    assert ran.code == 0
    assert {"id", "path", "family", "base", "head", "seconds", "n_parameters", "report"} <= made.keys()
    assert set(made["seconds"]) == {"load", "encode", "generate", "evaluate"}
    assert made["path"] == str(out)
    assert made["family"] == "text-classification"
    assert made["base"] == "all-minilm-l6-v2+anchor2"
    assert made["report"]["schema"] == 1
    assert made["report"]["seconds"].keys() == made["seconds"].keys()


def test_what_generate_prints_is_what_the_bundle_says(made):
    model = library.load(made["path"])
    assert made["id"] == model.id == library.load("mails").id
    assert made["n_parameters"] == model.manifest.n_parameters == sum(t.numel() for t in model.weights.values())
    assert made["labels"] == list(model.classes_) == LABELS
    assert made["report"]["headline"] == model.report.headline


def test_generate_for_a_person_says_what_was_understood_and_what_to_do_next(sartor, mails_csv):
    ran = sartor("generate", ROUTE, "--examples", mails_csv)
    assert ran.code == 0
    for part in ("Language: en", "Majority class", "Stored as route-mails-to-billing-bug-or-other@v1", "Next:"):
        assert part in ran.out


@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_seed_gives_the_same_bytes_and_the_order_of_rows_does_not_matter(sartor, mails, tmp_path, seed):
    files = []
    for n in range(3):
        rows = random.Random(n).sample(mails, len(mails)) if n else mails
        data = write_csv(tmp_path / "rows.csv", rows)
        out = tmp_path / f"out{n}"
        assert sartor("generate", ROUTE, "--examples", data, "--out", out, "--seed", seed).code == 0
        files.append((out / WEIGHTS).read_bytes())
    assert files[0] == files[1] == files[2]


# --- where it goes -----------------------------------------------------------------------------------------


def test_an_empty_folder_takes_the_model(sartor, mails_csv, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    assert sartor("generate", ROUTE, "--examples", mails_csv, "--out", out).code == 0
    assert {path.name for path in out.iterdir()} == {"manifest.json", WEIGHTS, "report.json", "README.md"}


def test_a_copy_of_what_the_store_holds_is_replaced(sartor, mails_csv, tmp_path):
    out = tmp_path / "out"
    for seed in (1, 2):
        assert sartor("generate", ROUTE, "--examples", mails_csv, "--out", out, "--seed", seed).code == 0
    assert json.loads((out / "manifest.json").read_text())["seed"] == 2
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_bundle_that_the_store_does_not_hold_is_not_replaced(sartor, made, mails_csv, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert sartor("generate", ROUTE, "--examples", mails_csv, "--out", out).code == 0
    monkeypatch.setenv("SARTOR_HOME", str(tmp_path / "another"))
    settings.current.cache_clear()
    before = snapshot(out)
    ran = sartor("generate", ROUTE, "--examples", mails_csv, "--out", out)
    assert ran.code == 2
    assert "does not" in ran.err
    assert snapshot(out) == before


def test_a_folder_with_other_things_is_refused_before_any_work(sartor, mails_csv, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    ran = sartor("generate", ROUTE, "--examples", mails_csv, "--out", out)
    assert ran.code == 2
    assert "is not overwritten" in ran.err
    assert snapshot(out) == {"thesis.txt": b"precious"}
    assert Store(settings.current().home).list() == []


def test_a_copied_folder_answers_where_the_store_is_empty(sartor, mails_csv, tmp_path, monkeypatch):
    out = tmp_path / "out"
    sartor("generate", ROUTE, "--examples", mails_csv, "--out", out)
    here = sartor("predict", out, "refund my money", "--json").json
    monkeypatch.setenv("SARTOR_HOME", str(tmp_path / "nowhere"))
    settings.current.cache_clear()
    (out).rename(tmp_path / "moved")
    there = sartor("predict", tmp_path / "moved", "refund my money", "--json")
    assert there.code == 0, there.err
    assert there.json == here
    assert not (tmp_path / "nowhere").exists()
    assert sartor("show", tmp_path / "moved").code == 0
    assert sartor("evaluate", tmp_path / "moved", "--json").json["schema"] == 1


# --- tasks -------------------------------------------------------------------------------------------------


def test_a_description_alone_is_enough_and_proves_nothing(sartor):
    ran = sartor("generate", ROUTE, "--name", "bare", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["labels"] == LABELS
    assert ran.json["head"] == "zero-shot"
    assert ran.json["report"]["headline"].startswith("Not proved")
    assert ran.json["report"]["proved"] is False
    assert ran.json["report"]["coverage"] == []
    answer = sartor("predict", "bare", "billing", "--json").json["answers"][0]
    assert answer["label"] in LABELS
    assert not answer["abstain"]


def test_a_description_alone_says_not_proved_to_a_person(sartor):
    assert "Not proved" in sartor("generate", ROUTE).out


def test_a_task_file_names_its_rows_relative_to_itself(sartor, mails_csv, monkeypatch):
    task = mails_csv.with_name("task.yaml")
    task.write_text(f"description: {ROUTE}\nexamples: mails.csv\nname: from-file\n")
    monkeypatch.chdir("/")
    ran = sartor("generate", task, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["name"], ran.json["version"]) == ("from-file", 1)
    assert sum(scores["rows"] for scores in ran.json["report"]["classes"]) == 12


def test_flags_override_the_task_file(sartor, mails, tmp_path):
    data = write_csv(
        tmp_path / "rows.csv", [(n, text, label) for n, (text, label) in enumerate(mails)], ("id", "a", "b")
    )
    task = tmp_path / "task.yaml"
    task.write_text(f"description: {ROUTE}\nname: old\nlanguage: fr\ncolumns: {{input: id, output: b}}\n")
    ran = sartor(
        *("generate", task, "--examples", data, "--name", "new", "--language", "en", "--text-column", "a"),
        *("--label-column", "b", "--base", "multilingual-e5-small", "--json"),
    )
    assert ran.code == 0, ran.err
    assert (ran.json["name"], ran.json["base"]) == ("new", "multilingual-e5-small")
    assert library.load("new").requirement.language == "en"


def test_a_second_generate_of_a_name_is_its_next_version(sartor, mails_csv):
    versions = [
        sartor("generate", ROUTE, "--examples", mails_csv, "--name", "mails", "--seed", seed, "--json").json["version"]
        for seed in (1, 2)
    ]
    assert versions == [1, 2]


# --- the gate ----------------------------------------------------------------------------------------------


@pytest.fixture
def noise_task(tmp_path, mails):
    """A task that asks for more than its rows, labelled by chance, can give."""
    write_csv(tmp_path / "noise.csv", [(text, LABELS[n % 3]) for n, (text, _) in enumerate(mails)])
    task = tmp_path / "task.yaml"
    task.write_text(f"description: {ROUTE}\nexamples: noise.csv\nname: noise\nlimits: {{min_accuracy: 1.0}}\n")
    return task


def test_a_missed_limit_exits_3_keeps_the_model_and_moves_no_alias(sartor, noise_task):
    ran = sartor("generate", noise_task)
    assert ran.code == 3
    assert ran.err.startswith("Refused: ")
    assert "no alias" in ran.err
    store = Store(settings.current().home)
    assert [entry.name for entry in store.list()] == ["noise"]
    assert store.aliases("noise") == {}
    assert sartor("predict", "noise", "hello").code == 0


def test_a_missed_limit_still_prints_one_json_object(sartor, noise_task):
    ran = sartor("generate", noise_task, "--json")
    assert ran.code == 3
    assert ran.json["gate"]["passed"] is False
    assert ran.json["alias"] is None
    assert "Accuracy" in " ".join(ran.json["gate"]["reasons"])


def test_an_option_that_is_no_base_names_those_that_are(sartor):
    ran = sartor("generate", ROUTE, "--base", "all-minilm")
    assert ran.code == 2
    assert all(name in ran.err for name in catalogue.catalogue())
