"""What holds for every command, and the commands that list and show."""

import json

import pytest
from cli_helpers import LABELS, ROUTE, write_csv

import sartor as library
from sartor import cli, settings
from sartor.assets import catalogue
from sartor.data.taskfile import read_task
from sartor.registry.store import Store

COMMANDS = [
    *("init", "data", "generate", "predict", "evaluate", "compare", "explain", "finetune", "compress", "export"),
    *("models", "show", "families", "controls", "doctor"),
]


def test_the_commands_are_those_of_the_contract():
    assert list(cli.cli.commands) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_json_and_seed(sartor, command):
    ran = sartor(*(("data", "check") if command == "data" else (command,)), "--help")
    assert ran.code == 0
    assert "--json" in ran.out
    assert "--seed" in ran.out


def test_help_and_version_answer(sartor):
    assert "Usage" in sartor("--help").out
    assert sartor("--version").code == 0


def test_no_command_shows_help(sartor):
    assert all(command in sartor().out + sartor().err for command in COMMANDS)


# --- evaluate, show ----------------------------------------------------------------------------------------


def test_evaluate_prints_the_stored_report(sartor, made):
    ran = sartor("evaluate", "mails", "--json")
    assert ran.code == 0
    assert ran.json["schema"] == 1
    assert ran.json["scores"] == made["report"]["scores"]
    assert ran.json["protocol"]["kind"] == "cross-validation"


def test_evaluate_scores_a_file(sartor, made, mails, tmp_path):
    data = write_csv(tmp_path / "test.csv", [(f"{text} today", label) for text, label in mails])
    ran = sartor("evaluate", "mails", "--data", data, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["schema"] == 1
    assert ran.json["protocol"]["kind"] == "test-file"
    assert ran.json["scores"]["n"] == 12
    assert ran.json["cost"]["latency_p50_ms"] > 0


def test_evaluate_with_the_rows_of_the_model_shows_every_baseline(sartor, made, mails, mails_csv, tmp_path):
    data = write_csv(tmp_path / "test.csv", [(f"{text} today", label) for text, label in mails])
    ran = sartor("evaluate", "mails", "--data", data, "--examples", mails_csv, "--json")
    assert ran.code == 0, ran.err
    baselines = {baseline["name"] for baseline in ran.json["baselines"]}
    assert baselines == {baseline["name"] for baseline in made["report"]["baselines"]}


def test_evaluate_says_when_it_is_given_its_own_training_rows(sartor, made, mails_csv):
    ran = sartor("evaluate", "mails", "--data", mails_csv, "--json")
    assert ran.code == 0
    assert ran.json["proved"] is False
    assert "these very rows" in ran.json["headline"]


def test_evaluate_writes_a_page_of_its_own(sartor, made, tmp_path):
    page = tmp_path / "report.html"
    ran = sartor("evaluate", "mails", "--html", page)
    assert ran.code == 0
    text = page.read_text()
    assert made["report"]["headline"].split(";")[0] in text
    assert "http://" not in text
    assert "src=" not in text


def test_evaluate_for_a_person_begins_with_the_headline(sartor, made):
    assert sartor("evaluate", "mails").out.startswith(made["report"]["headline"])


def test_show_prints_the_manifest(sartor, made):
    ran = sartor("show", "mails", "--json")
    assert ran.code == 0
    assert ran.json["id"] == made["id"]
    assert ran.json["format"] == 1
    assert set(ran.json["files"]) == {"model.safetensors", "report.json", "README.md"}
    assert [label["name"] for label in ran.json["requirement"]["labels"]] == LABELS
    assert "12 rows" in sartor("show", "mails").out


# --- models, families, doctor ------------------------------------------------------------------------------


def test_models_of_an_empty_store(sartor):
    assert sartor("models", "--json").json == {"home": str(settings.current().home), "models": []}
    assert "No models yet" in sartor("models").out
    assert not settings.current().home.exists()


def test_models_lists_what_was_made(sartor, made):
    (listed,) = sartor("models", "--json").json["models"]
    assert listed["id"] == made["id"]
    assert listed.keys() == {"name", "version", "id", "family", "created", "aliases", "path"}
    assert made["id"] in sartor("models").out


def test_families_lists_all_of_them(sartor):
    listed = sartor("families", "--json").json["families"]
    assert all(one.keys() == {"name", "summary", "generator"} for one in listed)
    assert [one["name"] for one in listed] == [
        *("tabular-classification", "tabular-regression"),
        *("text-classification", "text-generation"),
    ]
    assert "text-classification" in sartor("families").out


def test_doctor_finds_this_machine_sound(sartor):
    ran = sartor("doctor", "--json")
    assert ran.code == 0
    assert ran.json.keys() == {"healthy", "findings"}
    assert {finding["check"] for finding in ran.json["findings"]} >= {"python", "torch", "disk", "store", "network"}
    assert all(finding.keys() == {"check", "ok", "found", "advice"} for finding in ran.json["findings"])
    assert ran.json["healthy"]
    assert "All is well." in sartor("doctor").out


def test_doctor_sees_a_damaged_base_and_a_damaged_store(sartor, made):
    settings.current().home.joinpath("registry.db").write_bytes(b"no database" * 1000)
    (settings.current().cache / "bases" / "all-minilm-l6-v2" / catalogue.WEIGHTS).write_bytes(b"x")
    ran = sartor("doctor", "--json")
    assert ran.code == 0
    assert not ran.json["healthy"]
    broken = {finding["check"] for finding in ran.json["findings"] if not finding["ok"]}
    assert broken == {
        "store",
        "base all-minilm-l6-v2",
        "base all-minilm-l6-v2+anchor1",
        "base all-minilm-l6-v2+anchor2",
    }
    assert "Something needs care" in sartor("doctor").out


def test_doctor_writes_nothing(sartor):
    assert sartor("doctor").code == 0
    assert not settings.current().home.exists()


# --- init --------------------------------------------------------------------------------------------------


def test_init_writes_a_task_file_that_generate_takes(sartor, mails_csv, tmp_path):
    task = tmp_path / "task.yaml"
    ran = sartor("init", ROUTE, "--examples", mails_csv, "--out", task)
    assert ran.code == 0, ran.err
    assert "Written to" in ran.out
    assert list(read_task(task).labels) == LABELS
    made = sartor("generate", task, "--json")
    assert made.code == 0, made.err
    assert made.json["labels"] == LABELS
    assert Store(settings.current().home).list()[0].name == "route-mails-to-billing-bug-or-other"


def test_init_prints_one_json_object(sartor, tmp_path):
    ran = sartor("init", ROUTE, "--out", tmp_path / "task.yaml", "--json")
    assert ran.json.keys() == {"task_file", "task", "requirement"}
    assert list(ran.json["task"]["labels"]) == LABELS
    assert Store(settings.current().home).list() == []


def test_labels_go_through_init_and_generate_verbatim(sartor, mails, tmp_path):
    names = {"billing": "yes", "bug": "no", "other": "007"}
    rows = [(text, names[label]) for text, label in mails] + [("nothing", "null"), ("nil", "1.0"), ("on", "~")]
    data, task = write_csv(tmp_path / "rows.csv", rows), tmp_path / "task.yaml"
    assert sartor("init", "Sort these", "--examples", data, "--out", task).code == 0
    made = sartor("generate", task, "--json")
    assert made.code == 0, made.err
    assert sorted(made.json["labels"]) == sorted(["yes", "no", "007", "null", "1.0", "~"])


def test_labels_with_line_ends_and_markup_go_through_init_and_generate(sartor, mails, tmp_path):
    names = {"billing": "one\ntwo", "bug": "- **x**: #y", "other": "'\"{}[]\\ \x85\u2028"}
    rows = [{"text": text, "label": names[label].strip()} for text, label in mails]
    data, task = tmp_path / "rows.jsonl", tmp_path / "task.yaml"
    data.write_text("\n".join(map(json.dumps, rows)))
    assert sartor("init", "Sort these", "--examples", data, "--out", task).code == 0
    assert sorted(sartor("generate", task, "--json").json["labels"]) == sorted(name.strip() for name in names.values())


def test_init_keeps_an_existing_file_unless_forced(sartor, tmp_path):
    task = tmp_path / "task.yaml"
    task.write_text("mine")
    ran = sartor("init", ROUTE, "--out", task)
    assert ran.code == 2
    assert "--force" in ran.err
    assert task.read_text() == "mine"
    assert sartor("init", ROUTE, "--out", task, "--force").code == 0
    assert read_task(task).description == ROUTE


def test_what_init_understood_is_what_generate_makes(sartor, mails_csv, tmp_path):
    task = tmp_path / "task.yaml"
    need = sartor("init", ROUTE, "--examples", mails_csv, "--out", task, "--json").json["requirement"]
    sartor("generate", task, "--name", "same")
    model = library.load("same")
    for field in ("family", "language", "base", "max_tokens"):
        assert getattr(model.requirement, field) == need[field]
