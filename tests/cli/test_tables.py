"""Models of tables from the command line: made, asked, judged, shown."""

import csv
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from cli_helpers import forked, snapshot
from tables_helpers import PRICE, TASK, lines, part, parts, small_tables, table
from test_contract_page import documented

from sartor import pipeline
from sartor.data import taskfile
from sartor.families.tabular_classification import TabularClassification
from sartor.registry.store import Store
from sartor.types import Task


def saved(folder, target, rows, name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_COST_SECONDS", 0.01)
        small_tables(patch)
        made = pipeline.make(Task(name, name=name, target=target), table(folder / f"{name}.csv", rows), store=False)
    return made.model.save(folder / name)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A folder with a model that tells which parts fail."""
    return saved(tmp_path_factory.mktemp("made"), "failed", parts(60, without=["price"]), "inspection")


@pytest.fixture(scope="module")
def regressor(tmp_path_factory):
    """A folder with a model that tells prices."""
    return saved(tmp_path_factory.mktemp("made"), "price", parts(60, without=["failed"]), "prices")


def read_csv(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


# --- generate ----------------------------------------------------------------------------------------------


def test_a_classifier_is_made_proved_and_stored(sartor, tmp_path):
    rows = table(tmp_path / "parts.csv", parts(60, without=["price"]))
    ran = sartor("generate", TASK, "--examples", rows, "--target", "failed", "--name", "inspection", "--json")
    assert ran.code == 0, ran.err
    made = ran.json
    assert list(made) == documented("generate")
    assert (made["family"], made["base"], made["labels"]) == ("tabular-classification", "none", ["no", "yes"])
    assert made["alias"] == "champion"
    report = made["report"]
    assert report["proved"]
    assert report["scores"]["accuracy"]["value"] > 0.7
    assert [one["name"] for one in report["baselines"]] == ["majority", "floor", "linear", "forest", "boosting"]
    assert report["protocol"]["kind"] == "cross-validation"
    assert report["numbers"] is None
    said = " ".join(note["text"] for note in made["notes"])
    assert "Foretold: 'failed', from 3 of 3 columns." in said
    assert "Kind: tabular-classification, because the target is made of words." in said


def test_a_regressor_is_made_proved_and_stored(sartor, tmp_path):
    rows = table(tmp_path / "parts.csv", parts(60, without=["failed"]))
    ran = sartor("generate", PRICE, "--examples", rows, "--target", "price", "--json")
    assert ran.code == 0, ran.err
    assert list(ran.json) == documented("generate")
    assert (ran.json["family"], ran.json["labels"]) == ("tabular-regression", [])
    numbers = ran.json["report"]["numbers"]
    assert numbers["scores"]["r2"]["value"] > 0.8
    assert numbers["covered"]["value"] > 0.6
    assert [one["name"] for one in numbers["baselines"]] == ["mean", "floor", "linear", "forest", "boosting"]


def test_a_person_is_told_what_was_made_and_what_to_do(sartor, few_peers, tmp_path):
    rows = table(tmp_path / "parts.csv", parts(40, without=["failed"]))
    ran = sartor("generate", PRICE, "--examples", rows, "--target", "price", "--name", "prices")
    assert ran.code == 0
    assert "R² " in ran.out
    assert "Intervals are " in ran.out
    assert "Stored as prices@v1" in ran.out
    assert "sartor predict prices --input new.csv --output answers.csv" in ran.out
    assert "a text of yours" not in ran.out
    shown = sartor("show", "prices")
    assert "price from 3 columns" in shown.out
    assert "base " not in shown.out
    assert "sartor predict prices --input new.csv" in shown.out


def test_a_target_of_a_usual_name_need_not_be_named(sartor, few_peers, tmp_path):
    rows = [{("target" if name == "price" else name): cell for name, cell in row.items()} for row in parts(20)]
    ran = sartor("generate", PRICE, "--examples", table(tmp_path / "parts.csv", rows), "--json")
    assert ran.code == 0, ran.err
    assert ran.json["family"] == "tabular-regression"


@pytest.mark.parametrize("target", ["failed", "price"])
def test_a_seed_gives_one_model_whatever_the_order_of_rows(sartor, few_peers, tmp_path, target):
    rows = parts(30)
    order = [*rows[10:], *rows[:10]]
    asked = ["generate", TASK, "--target", target, "--json", "--examples"]
    first, again = (sartor(*asked, table(tmp_path / "parts.csv", rows), "--seed", 3).json for _ in range(2))
    turned = sartor(*asked, table(tmp_path / "turned.csv", order), "--seed", 3).json
    weights = [Path(one["path"], "model.safetensors").read_bytes() for one in (first, again, turned)]
    assert weights[0] == weights[1] == weights[2]
    other = sartor(*asked, tmp_path / "parts.csv", "--seed", 4).json
    assert Path(other["path"], "model.safetensors").read_bytes() != weights[0]


def test_a_classifier_of_whole_numbers_may_be_made_a_regressor(sartor, few_peers, tmp_path):
    rows = [{**row, "grade": str(at % 4)} for at, row in enumerate(parts(30))]
    path = table(tmp_path / "parts.csv", rows)
    plain = sartor("generate", TASK, "--examples", path, "--target", "grade", "--json").json
    asked = sartor(
        "generate", TASK, "--examples", path, "--target", "grade", "--kind", "tabular-regression", "--json"
    ).json
    assert (plain["family"], asked["family"]) == ("tabular-classification", "tabular-regression")
    assert any("say --kind tabular-regression" in note["text"] for note in plain["notes"])


def test_a_task_file_names_the_target(sartor, few_peers, tmp_path):
    table(tmp_path / "parts.csv", parts(30))
    task = tmp_path / "task.yaml"
    task.write_text(f"description: {TASK}\nexamples: parts.csv\ntarget: failed\n")
    ran = sartor("generate", task, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["family"] == "tabular-classification"


def test_init_writes_a_task_that_generate_reads(sartor, few_peers, tmp_path):
    rows, out = table(tmp_path / "parts.csv", parts(30)), tmp_path / "task.yaml"
    ran = sartor("init", TASK, "--examples", rows, "--target", "failed", "--out", out)
    assert ran.code == 0, ran.err
    assert "Leave out columns that will not be known when you ask" in ran.out
    task = taskfile.read_task(out)
    assert (task.target, task.kind, task.labels) == ("failed", "tabular-classification", {})
    assert sartor("generate", out, "--json").code == 0


def test_a_language_that_the_task_names_is_kept_and_none_is_made_up(sartor, few_peers, tmp_path):
    rows = table(tmp_path / "parts.csv", parts(20))
    asked = ["generate", TASK, "--examples", rows, "--target", "failed", "--json"]
    cards = [Path(sartor(*asked, *more).json["path"], "README.md").read_text() for more in ([], ["--language", "ja"])]
    assert "language:" not in cards[0]
    assert "language: ja" in cards[1]


# --- predict -----------------------------------------------------------------------------------------------


def test_classes_of_a_file_have_the_documented_keys(sartor, classifier, tmp_path):
    new = table(tmp_path / "new.csv", parts(5, start=900, without=["failed", "price"]))
    answers = sartor("predict", classifier, "--input", new, "--json").json["answers"]
    assert len(answers) == 5
    columns = ["width", "heat", "steel"]
    assert list(answers[0]) == columns + documented("predict, table")
    assert answers[0]["width"] == part(900)["width"]
    assert answers[0]["label"] in ("no", "yes")
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_values_of_a_file_have_the_documented_keys(sartor, regressor, tmp_path):
    new = table(tmp_path / "new.csv", parts(5, start=900, without=["failed", "price"]))
    answers = sartor("predict", regressor, "--input", new, "--json").json["answers"]
    assert list(answers[0]) == ["width", "heat", "steel", *documented("predict, value")]
    for at, row in enumerate(answers):
        assert row["low"] <= row["value"] <= row["high"]
        assert row["value"] == pytest.approx(float(part(900 + at)["price"]), abs=3)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_file_of_answers_keeps_the_columns(sartor, regressor, tmp_path, suffix):
    rows = parts(7, start=900, without=["failed"])
    out = tmp_path / f"out{suffix}"
    ran = sartor("predict", regressor, "--input", table(tmp_path / "new.csv", rows), "--output", out, "--json")
    assert (ran.code, ran.json["rows"], ran.err) == (0, 7, "")
    assert "abstained" not in ran.json
    found = read_csv(out) if suffix == ".csv" else [json.loads(line) for line in out.read_text().splitlines()]
    assert [list(row) for row in found] == [[*rows[0], "value", "low", "high"]] * 7
    assert [row["price"] for row in found] == [row["price"] for row in rows], "what is known stays beside what is told"


def test_a_file_of_classes_counts_those_not_sure(sartor, classifier, tmp_path):
    out = tmp_path / "out.csv"
    new = table(tmp_path / "new.csv", parts(7, start=900, without=["failed"]))
    told = sartor("predict", classifier, "--input", new, "--output", out, "--json").json
    found = read_csv(out)
    assert told["rows"] == 7
    assert told["abstained"] == sum(row["abstain"] == "true" for row in found)
    assert json.loads(found[0]["probabilities"]).keys() == {"no", "yes"}


def test_a_column_called_as_an_answer_is_stays_beside_it(sartor, few_peers, tmp_path):
    rows = [{"value": row["width"], "label": row["steel"], "failed": row["failed"]} for row in parts(30)]
    path = table(tmp_path / "parts.csv", rows)
    assert sartor("generate", TASK, "--examples", path, "--target", "failed", "--name", "odd").code == 0
    out = tmp_path / "out.csv"
    assert sartor("predict", "odd", "--input", path, "--output", out).code == 0
    found = read_csv(out)[0]
    assert list(found)[:3] == ["value", "input: label", "failed"]
    assert found["input: label"] == rows[0]["label"]
    assert found["label"] in ("no", "yes")


@pytest.mark.parametrize(
    "row",
    ['{"width": 4.2, "heat": null, "steel": "A"}', '{"steel":"A","heat":"","width":"4.2"}', "width=4.2, heat=,steel=A"],
)
def test_one_row_is_json_or_name_and_value(sartor, classifier, regressor, row):
    ran = sartor("predict", classifier, row)
    assert (ran.code, ran.err) == (0, "")
    assert "% sure" in ran.out
    told = sartor("predict", regressor, row)
    assert "nine of ten lie between" in told.out
    [answer] = sartor("predict", regressor, row, "--json").json["answers"]
    [same] = sartor("predict", regressor, "width=4.2,heat=,steel=A", "--json").json["answers"]
    assert answer["value"] == same["value"]


def test_rows_given_in_words_may_each_have_cells_of_their_own(sartor, classifier, tmp_path):
    out = tmp_path / "out.csv"
    rows = ["width=4,heat=200,steel=A", "width=5,heat=150,steel=B,note=x"]
    ran = sartor("predict", classifier, *rows, "--output", out)
    assert ran.code == 0, ran.err
    assert [row["note"] for row in read_csv(out)] == ["", "x"]
    shown = sartor("predict", classifier, *rows)
    assert "width=4, heat=200, steel=A" in shown.out


def test_columns_may_stand_in_any_order_and_be_written_another_way(sartor, classifier, tmp_path):
    rows = parts(6, start=900, without=["failed", "price"])
    other = [{"STEEL": row["steel"], "ｗｉｄｔｈ": row["width"], "Heat": row["heat"]} for row in rows]
    one = sartor("predict", classifier, "--input", table(tmp_path / "a.csv", rows), "--json").json["answers"]
    two = sartor("predict", classifier, "--input", table(tmp_path / "b.csv", other), "--json").json["answers"]
    assert [row["probabilities"] for row in one] == [row["probabilities"] for row in two]
    assert list(two[0])[:3] == ["STEEL", "ｗｉｄｔｈ", "Heat"]


def test_what_new_rows_have_more_is_said_once(sartor, classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["sartor.cli.predict"], "_CHUNK", 4)
    rows = [{**row, "steel": "Z", "width": "wide", "more": "1"} for row in parts(10, start=900, without=["price"])]
    ran = sartor("predict", classifier, "--input", table(tmp_path / "new.csv", rows), "--json")
    assert ran.code == 0
    assert len(ran.json["answers"]) == 10
    said = ran.err.splitlines()
    assert sum("not among those learned: 'steel' (10)" in line for line in said) == 1
    assert sum("no numbers were taken as missing: 'width'" in line for line in said) == 1
    assert sum("made without them: 'more'" in line for line in said) == 1
    assert "failed" not in ran.err, "the target is no column that was left aside"


# --- evaluate, show ----------------------------------------------------------------------------------------


def test_a_classifier_is_judged_on_a_file(sartor, classifier, tmp_path):
    test = table(tmp_path / "test.csv", parts(40, start=900, without=["price"]))
    report = sartor("evaluate", classifier, "--data", test, "--json").json
    assert report["protocol"]["kind"] == "test-file"
    assert report["scores"]["n"] == 40
    assert report["scores"]["accuracy"]["value"] > 0.7
    assert [one["name"] for one in report["baselines"]] == ["majority"]


def test_a_regressor_is_judged_on_a_file_beside_what_its_rows_can_tell(sartor, regressor, tmp_path):
    test = table(tmp_path / "test.csv", parts(40, start=900, without=["failed"]))
    alone = sartor("evaluate", regressor, "--data", test, "--json").json
    assert alone["numbers"]["scores"]["n"] == 40
    assert alone["numbers"]["baselines"] == []
    assert "compared with no baseline" in alone["headline"]
    made_from = regressor.with_suffix(".csv")
    page = tmp_path / "report.html"
    ran = sartor("evaluate", regressor, "--data", test, "--examples", made_from, "--html", page, "--json")
    assert ran.code == 0, ran.err
    assert [one["name"] for one in ran.json["numbers"]["baselines"]] == [
        "mean",
        "floor",
        "linear",
        "forest",
        "boosting",
    ]
    html = page.read_text(encoding="utf-8")
    assert "R²" in html
    assert "Gradient boosting" in html
    assert "Intervals are" in html


def test_other_rows_are_not_what_a_model_was_made_from(sartor, regressor, tmp_path):
    test = table(tmp_path / "test.csv", parts(20, start=900, without=["failed"]))
    ran = sartor("evaluate", regressor, "--data", test, "--examples", test)
    assert ran.code == 2
    assert "is not what this model was made from" in ran.err


def test_the_very_rows_prove_nothing(sartor, regressor):
    ran = sartor("evaluate", regressor, "--data", regressor.with_suffix(".csv"))
    assert ran.code == 0
    assert "the model was made from these very rows" in ran.out


@pytest.mark.parametrize("name", ["classifier", "regressor"])
def test_a_model_shows_what_it_is(sartor, request, tmp_path, name):
    folder = request.getfixturevalue(name)
    ran = sartor("show", folder)
    assert ran.code == 0
    assert "from 3 columns" in ran.out
    page = tmp_path / "report.html"
    assert sartor("evaluate", folder, "--html", page).code == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "## Columns" in card
    assert "| steel | category |" in card
    assert "base_model" not in card
    assert f"pipeline_tag: tabular-{'classification' if name == 'classifier' else 'regression'}" in card


# --- Japanese ----------------------------------------------------------------------------------------------


def test_a_japanese_table_goes_the_whole_way(sartor, few_peers, tmp_path):
    wide = str.maketrans("0123456789.", "０１２３４５６７８９．")
    rows = [
        {
            "幅": row["width"].translate(wide),
            "検査日": f"2021年{1 + at % 12}月{1 + at % 28}日",
            "社内": "はい" if at % 3 else "いいえ",
            "鋼材": {"A": "東", "B": "西", "C": "南"}[row["steel"]],
            "不良": {"yes": "あり", "no": "なし"}[row["failed"]],
        }
        for at, row in enumerate(parts(60))
    ]
    path = table(tmp_path / "部品.csv", rows)
    ran = sartor(
        "generate", "部品の不良を予測する", "--examples", path, "--target", "不良", "--json", "--name", "buhin"
    )
    assert ran.code == 0, ran.err
    assert ran.json["labels"] == ["あり", "なし"]
    manifest = sartor("show", "buhin", "--json").json
    kinds = {column["name"]: column["kind"] for column in manifest["requirement"]["columns"]}
    assert kinds == {"幅": "number", "検査日": "date", "社内": "boolean", "鋼材": "category"}
    out = tmp_path / "out.csv"
    assert sartor("predict", "buhin", "--input", path, "--output", out).code == 0
    assert read_csv(out)[0]["検査日"] == "2021年1月1日"
    one = sartor("predict", "buhin", "幅=４．２,検査日=2021年3月3日,社内=はい,鋼材=南")
    assert (one.code, one.err) == (0, "")
    shown = sartor("show", "buhin")
    assert "不良 from 4 columns" in shown.out


# --- interrupted -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [1, 2], ids=["generating", "proving"])
def test_an_interrupt_leaves_nothing(tiny, quick, few_peers, tmp_path, call):
    rows = table(tmp_path / "parts.csv", parts(30))

    def before():
        real, calls = TabularClassification.generate, []

        def signalled(*arguments, **options):
            calls.append(1)
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGINT)
            return real(*arguments, **options)

        TabularClassification.generate = signalled

    ran = forked(tmp_path, ["generate", TASK, "--examples", rows, "--target", "failed"], before)
    assert ran.code == 130
    assert "Traceback" not in ran.err
    assert Store(tiny).list() == []


def test_an_interrupted_file_of_answers_is_not_there(classifier, tiny, tmp_path):
    new = table(tmp_path / "new.csv", parts(30, start=900, without=["failed"]))
    folder = tmp_path / "answers"
    folder.mkdir()

    def before():
        def signalled(*_):
            os.kill(os.getpid(), signal.SIGINT)

        TabularClassification.predict = signalled

    ran = forked(tmp_path, ["predict", classifier, "--input", new, "--output", folder / "out.csv"], before)
    assert ran.code == 130
    assert snapshot(folder) == {}


# --- what is not kept --------------------------------------------------------------------------------------


def test_no_file_of_a_model_names_what_one_row_alone_carries(sartor, few_peers, tmp_path):
    rows = parts(40, without=["price"])
    rows[7]["steel"] = "Unobtainium"
    rows[8]["width"] = "7.7391746"
    path = table(tmp_path / "parts.csv", rows)
    made = sartor("generate", TASK, "--examples", path, "--target", "failed", "--json").json
    for file, content in snapshot(Path(made["path"])).items():
        assert b"nobtainium" not in content, file
        assert b"7.7391746" not in content, file


def test_rows_of_json_lines_are_a_table_as_well(sartor, few_peers, tmp_path):
    rows = [{**row, "width": float(row["width"]), "heat": int(row["heat"] or 0) or None} for row in parts(30)]
    ran = sartor("generate", TASK, "--examples", lines(tmp_path / "p.jsonl", rows), "--target", "failed", "--json")
    assert ran.code == 0, ran.err
    manifest = json.loads(Path(ran.json["path"], "manifest.json").read_text(encoding="utf-8"))
    assert [column["kind"] for column in manifest["requirement"]["columns"]] == [
        "number",
        "number",
        "category",
        "number",
    ]
