"""``sartor predict``: one answer a row, in order, labels verbatim."""

import csv
import json

import pytest
from cli_helpers import LABELS, ROUTE, write_csv, write_jsonl

FIELDS = ["text", "label", "confidence", "abstain", "probabilities"]
ROWS = ["refund", "", "a bug\nin the app", "  ", 'say "hi", please', "請求書", "refund", "🙂" * 3]


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def read_csv(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def assert_answer(answer, labels):
    assert list(answer) == FIELDS
    assert sorted(answer["probabilities"]) == sorted(labels)
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert answer["confidence"] == answer["probabilities"][answer["label"]]
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert isinstance(answer["abstain"], bool)


def test_predict_prints_one_json_object_for_texts(sartor, made):
    ran = sartor("predict", "mails", "refund my money", "error", "--json")
    assert ran.code == 0
    assert ran.json.keys() == {"model", "answers"}
    assert ran.json["model"] == made["id"]
    assert [answer["text"] for answer in ran.json["answers"]] == ["refund my money", "error"]
    for answer in ran.json["answers"]:
        assert_answer(answer, LABELS)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_every_row_of_a_file_has_its_answer_in_order(sartor, made, tmp_path, suffix):
    source = write_jsonl(tmp_path / "new.jsonl", [(text, "no label of ours") for text in ROWS])
    output = tmp_path / f"answers.{suffix}"
    ran = sartor("predict", "mails", "--input", source, "--output", output, "--json")
    assert ran.code == 0, ran.err
    answers = read_jsonl(output) if suffix == "jsonl" else read_csv(output)
    assert [answer["text"] for answer in answers] == ROWS
    assert [list(answer) for answer in answers] == [FIELDS] * len(ROWS)
    abstained = [answer["abstain"] in (True, "true") for answer in answers]
    assert ran.json == {"model": made["id"], "output": str(output), "rows": len(ROWS), "abstained": sum(abstained)}
    assert abstained[1]
    assert abstained[3]


def test_both_formats_say_the_same(sartor, made, tmp_path):
    source = write_csv(tmp_path / "new.csv", [(text,) for text in ROWS], ["text"])
    for suffix in ("jsonl", "csv"):
        assert sartor("predict", "mails", "--input", source, "--output", tmp_path / f"a.{suffix}").code == 0
    for one, other in zip(read_jsonl(tmp_path / "a.jsonl"), read_csv(tmp_path / "a.csv"), strict=True):
        assert_answer(one, LABELS)
        spelled = {**other, "confidence": float(other["confidence"]), "abstain": other["abstain"] == "true"}
        assert {**spelled, "probabilities": json.loads(other["probabilities"])} == one


def test_without_an_output_file_the_answers_are_json_lines(sartor, made, mails_csv):
    ran = sartor("predict", "mails", "--input", mails_csv)
    assert ran.code == 0
    assert len([json.loads(line) for line in ran.out.splitlines()]) == 12


def test_labels_in_the_input_do_not_change_the_answers(sartor, made, mails, tmp_path):
    plain = write_csv(tmp_path / "plain.csv", [(text,) for text, _ in mails], ["text"])
    labelled = write_csv(tmp_path / "labelled.csv", [(text, "bug") for text, _ in mails])
    answers = [sartor("predict", "mails", "--input", path, "--json").json["answers"] for path in (plain, labelled)]
    assert answers[0] == answers[1]


def test_a_file_of_one_label_column_and_another_text_column_is_read_by_name(sartor, made, mails, tmp_path):
    rows = [(label, n, text) for n, (text, label) in enumerate(mails)]
    source = write_csv(tmp_path / "new.csv", rows, ["label", "number", "what they wrote"])
    ran = sartor("predict", "mails", "--input", source, "--text-column", "what they wrote", "--json")
    assert [answer["text"] for answer in ran.json["answers"]] == [text for text, _ in mails]


VERBATIM = ["007", "yes", "no", "null", "1.50", "with space", "ÜBER", "請求・返金", "👍🏽", "a,b", 'q"q']


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_labels_come_back_verbatim(sartor, tmp_path, suffix):
    rows = [(f"{text} number {n}", label) for n, label in enumerate(VERBATIM) for text in ("refund", "error")]
    data = write_csv(tmp_path / "rows.csv", rows)
    assert sartor("generate", "Sort these", "--examples", data, "--name", "odd").code == 0
    output = tmp_path / f"answers.{suffix}"
    assert sartor("predict", "odd", "--input", data, "--output", output).code == 0
    answers = read_jsonl(output) if suffix == "jsonl" else read_csv(output)
    assert {answer["label"] for answer in answers} <= set(VERBATIM)
    assert len({answer["label"] for answer in answers}) > 3
    known = answers[0]["probabilities"]
    assert sorted(known if suffix == "jsonl" else json.loads(known)) == sorted(VERBATIM)


def test_labels_of_a_task_file_that_yaml_would_convert_stay_text(sartor, tmp_path):
    task = tmp_path / "task.yaml"
    task.write_text("description: Is it good?\nname: yaml\nlabels: [yes, no, 1, 007, null, 1.0]\n")
    assert sartor("generate", task).code == 0
    (answer,) = sartor("predict", "yaml", "good", "--json").json["answers"]
    assert list(answer["probabilities"]) == ["yes", "no", "1", "007", "null", "1.0"]


def test_a_thousand_rows_stay_in_order_over_batches(sartor, made, tmp_path):
    texts = [f"{'refund ' * (n % 7)}{n}" for n in range(1000)]
    source = write_csv(tmp_path / "new.csv", [(text,) for text in texts], ["text"])
    output = tmp_path / "answers.jsonl"
    assert sartor("predict", "mails", "--input", source, "--output", output).code == 0
    assert [answer["text"] for answer in read_jsonl(output)] == texts


def test_an_answer_does_not_depend_on_its_neighbours(sartor, made):
    alone = sartor("predict", "mails", "refund", "--json").json["answers"][0]
    beside = sartor("predict", "mails", "error " * 40, "refund", "", "--json").json["answers"][1]
    assert alone["label"] == beside["label"]
    assert alone["probabilities"] == pytest.approx(beside["probabilities"], abs=1e-4)


def test_predict_for_a_person_names_the_label_and_how_sure_it_is(sartor, made):
    ran = sartor("predict", "mails", "refund my money")
    assert ran.out.startswith("billing  (")
    assert "% sure" in ran.out


@pytest.mark.parametrize("ref", ["mails", "mails@v1", "id", "path", "prefix"])
def test_a_model_is_named_by_name_version_id_or_folder(sartor, made, ref):
    named = {"id": made["id"], "path": made["path"], "prefix": made["id"][:8]}.get(ref, ref)
    assert sartor("predict", named, "hello", "--json").json["model"] == made["id"]


def test_a_name_is_its_latest_version_and_an_alias_stays_where_it_is(sartor, made, mails_csv):
    assert made["alias"] == "champion"
    later = sartor("generate", ROUTE, "--examples", mails_csv, "--name", "mails", "--seed", "3", "--json").json
    assert later["alias"] == "challenger"
    answered_by = {ref: sartor("predict", ref, "hi", "--json").json["model"] for ref in ("mails", "mails@champion")}
    assert answered_by == {"mails": later["id"], "mails@champion": made["id"]}
