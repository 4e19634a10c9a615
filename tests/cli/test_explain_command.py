"""``sartor explain``: what a model of a table looks at, and what is refused."""

import csv
import json
import shutil

import numpy as np
import pytest
from cli_helpers import write_csv
from test_contract_page import documented

import table_models
from sartor import Task, pipeline, settings
from sartor.explained import explain as explained
from sartor.families import tabular_classification, tabular_regression
from sartor.model import load
from sartor.requirement import tables

NAMES = {tables.CLASSES: "classes", tables.VALUES: "values"}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store that holds a small model of either kind, and a file of the rows that each was made from."""
    folder = tmp_path_factory.mktemp("tables")
    columns = table_models.table(40)
    with pytest.MonkeyPatch.context() as patch, table_models.small_nets():
        patch.setenv("SARTOR_HOME", str(folder / "home"))
        settings.current.cache_clear()
        patch.setattr(pipeline, "_COST_SECONDS", 0.01)
        patch.setattr(tabular_classification, "PEERS", ())
        patch.setattr(tabular_regression, "PEERS", ())
        for kind, name in NAMES.items():
            cells = zip(*columns.values(), table_models.answers(columns, kind), strict=True)
            file = write_csv(folder / f"{name}.csv", cells, [*columns, "y"])
            pipeline.make(Task("Foretell y", name=name, target="y", kind=kind), file)
    settings.current.cache_clear()
    return folder


@pytest.fixture
def rows(stored, home):
    """The folder of the files of rows; the models are in the store."""
    shutil.copytree(stored / "home", home)
    return stored


@pytest.fixture
def told(sartor, rows):
    """Explain a model and return what ``--json`` prints."""

    def run(*arguments):
        ran = sartor("explain", *arguments, "--json")
        assert ran.code == 0, ran.err
        return ran.json

    return run


def without(path, folder, *names):
    """Write a file of rows again without some columns; return its path."""
    with path.open() as file:
        kept = [{name: cell for name, cell in row.items() if name not in names} for row in csv.DictReader(file)]
    return write_csv(folder / "new.csv", [row.values() for row in kept], list(kept[0]))


def test_without_rows_there_are_scales_and_the_next_step(sartor, rows):
    ran = sartor("explain", "classes")
    assert ran.code == 0
    assert "A model keeps no row" in ran.out
    assert "explain classes --data rows.csv" in ran.out
    assert ran.out.index(" a ") < ran.out.index(" b ")


@pytest.mark.parametrize("name", NAMES.values())
def test_json_has_the_documented_keys_and_all_that_was_asked_for(told, rows, name):
    found = told(name, "--data", rows / f"{name}.csv", "--row-number", "3")
    assert list(found) == documented("explain")
    worth = {one["column"]: one["loss"]["value"] for one in found["importance"]["columns"]}
    assert max(worth, key=worth.get) == "a"
    assert worth["same"] == 0
    assert found["dependence"][0]["column"] == "a"
    row = found["contributions"]
    assert row["columns"][0]["column"] == "a"
    assert sum(one["change"] for one in row["columns"]) == pytest.approx(row["answer"] - row["usual"], abs=1e-5)
    assert any("very rows that the model was made from" in note["text"] for note in found["notes"])
    assert found == told(name, "--data", rows / f"{name}.csv", "--row-number", "3")


def test_the_answer_that_is_explained_is_the_one_that_predict_gives(sartor, told, rows):
    row = "a=1.2,b=0,side=left,day=2021-03-04,gaps=2"
    found = told("classes", "--data", rows / "classes.csv", "--row", row)["contributions"]
    answer = sartor("predict", "classes", row, "--json").json["answers"][0]
    assert (found["label"], found["answer"]) == (answer["label"], pytest.approx(answer["confidence"], abs=1e-5))
    assert {one["column"]: one["value"] for one in found["columns"]} == {
        "a": "1.2",
        "b": "0",
        "side": "left",
        "day": "2021-03-04",
        "gaps": "2",
    }


def test_rows_without_the_target_tell_all_but_worth(told, rows, tmp_path):
    found = told(
        "values", "--data", without(rows / "values.csv", tmp_path, "y"), "--column", "side", "--row-number", "1"
    )
    assert found["importance"] is None
    assert [one["column"] for one in found["dependence"]] == ["side"]
    assert found["contributions"]["columns"]
    assert any("no column 'y', the target" in note["text"] for note in found["notes"])


def test_too_few_labelled_rows_are_said(told, rows, tmp_path):
    lines = (rows / "classes.csv").read_text().splitlines()
    (tmp_path / "few.csv").write_text("\n".join(lines[:4]) + "\n")
    found = told("classes", "--data", tmp_path / "few.csv")
    assert found["importance"] is None
    assert any("3 rows have a target that the model knows, and it takes 10" in note["text"] for note in found["notes"])
    assert found["dependence"]


def test_labels_that_the_model_does_not_know_are_left_out_and_said(told, rows, tmp_path):
    text = (rows / "classes.csv").read_text().replace(",yes\n", ",perhaps\n", 3)
    (tmp_path / "odd.csv").write_text(text)
    found = told("classes", "--data", tmp_path / "odd.csv")
    assert found["importance"]["rows"] == 37
    assert any("3 rows have labels that the model does not know ('perhaps')" in note["text"] for note in found["notes"])


def test_for_a_person_columns_rows_and_a_page(sartor, rows, tmp_path):
    ran = sartor("explain", "values", "--data", rows / "values.csv", "--row-number", "2", "--html", tmp_path / "x.html")
    assert ran.code == 0
    for words in ("R² falls by", "▁", "█", "This row's answer is", "Written to"):
        assert words in ran.out
    page = (tmp_path / "x.html").read_text()
    assert page.count("<svg") >= 4
    named = sartor("explain", "values", "--data", rows / "values.csv", "--column", "side")
    for level in ("left", "right", "top"):
        assert level in named.out
    assert "mean answer: y" in named.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--row", "a=1"], "takes a file of rows"),
        (["--column", "a"], "takes a file of rows"),
        (["--column", "sidde"], "Did you mean 'side'?"),
        (["--column", "same"], "'same' is not read (every cell is the same)"),
        (["--data", "FILE", "--row", "a=1", "--row-number", "1"], "by its cells or by its number, not both"),
        (["--data", "FILE", "--row-number", "41"], "There is no row 41: the rows are numbered from 1 to 40."),
        (["--data", "FILE", "--row-number", "0"], "There is no row 0"),
        (["--data", "FILE", "--row", "a=1"], "none of the columns 'b', 'side', 'day', 'gaps'"),
        (["--data", "FILE", "--row", "one"], "name=value,name=value"),
        (["--data", "nowhere.csv"], "There is no file"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_words(sartor, rows, arguments, words):
    ran = sartor("explain", "classes", *(rows / "classes.csv" if one == "FILE" else one for one in arguments))
    assert ran.code == 2
    assert words in ran.err
    assert not ran.out


def test_rows_that_lack_a_column_are_refused(sartor, rows, tmp_path):
    ran = sartor("explain", "classes", "--data", without(rows / "classes.csv", tmp_path, "a"))
    assert ran.code == 2
    assert "no column 'a'" in ran.err


def test_a_model_of_texts_has_no_columns(sartor, made):
    ran = sartor("explain", "mails")
    assert ran.code == 2
    assert "'mails' reads texts (text-classification): it has no columns to explain" in ran.err


def test_a_table_in_memory_is_explained_as_a_file_is(rows, told):
    import pandas as pd

    file = rows / "values.csv"
    frame = pd.read_csv(file)
    found = explained(load("values"), frame, row_number=4)
    other = told("values", "--data", file, "--row-number", "4")
    assert found.importance is not None
    assert found.contributions is not None
    worth = [one["loss"]["value"] for one in other["importance"]["columns"]]
    assert [one.loss.value for one in found.importance.columns] == pytest.approx(worth)
    assert found.contributions.answer == pytest.approx(other["contributions"]["answer"])
    cells = json.loads(frame.iloc[[3]].drop(columns="y").to_json(orient="records"))[0]
    alone = explained(load("values"), frame, row={**cells, "gaps": cells["gaps"]}).contributions
    assert alone is not None
    assert alone.answer == pytest.approx(found.contributions.answer)
    assert np.isfinite(alone.usual)
