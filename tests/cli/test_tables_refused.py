"""What people's tables have that no model can be made of, or asked: a sentence, exit code 2, and nothing stored."""

import json

import pytest
from cli_helpers import write_csv
from tables_helpers import TASK, lines, parts, small_tables, table

from sartor import pipeline
from sartor.registry.store import Store
from sartor.types import Task

pytestmark = pytest.mark.usefixtures("few_peers")


@pytest.fixture
def refused(sartor, tiny, tmp_path):
    """Run a command that is to be refused; return its sentence."""

    def run(*arguments, named=()):
        ran = sartor(*arguments)
        assert ran.code == 2, ran.out + ran.err
        sentence = ran.err.split("Error: ", 1)[1]
        assert len(sentence.strip().rstrip(".")) > 20
        for word in named:
            assert word in sentence
        assert Store(tiny).list() == []
        assert not any(path.suffix == ".safetensors" for path in tiny.rglob("*")), "half a model"
        return sentence

    return run


@pytest.fixture
def generated(sartor):
    """Make a model that is to be made; return what was printed."""

    def run(path, target, *more):
        ran = sartor("generate", TASK, "--examples", path, "--target", target, "--json", *more)
        assert ran.code == 0, ran.err
        return ran.json

    return run


def kinds(sartor, made):
    return {one["name"]: one["kind"] for one in sartor("show", made["id"], "--json").json["requirement"]["columns"]}


def with_column(name, cells, n=40):
    return [{**row, name: cells[at % len(cells)]} for at, row in enumerate(parts(n, without=["price"]))]


# --- the target --------------------------------------------------------------------------------------------


def test_a_target_that_is_not_there_is_named_with_those_that_are(refused, tmp_path):
    path = table(tmp_path / "parts.csv", parts(20))
    refused(
        "generate", TASK, "--examples", path, "--target", "faild",
        named=["'faild'", "Did you mean 'failed'?", "'width', 'heat', 'steel'"],
    )  # fmt: skip


@pytest.mark.parametrize("kind", [[], ["--kind", "tabular-classification"]])
def test_a_constant_target_is_refused(refused, tmp_path, kind):
    path = table(tmp_path / "parts.csv", with_column("failed", ["no"]))
    refused("generate", TASK, "--examples", path, "--target", "failed", *kind, named=["'no' in every row"])


def test_a_target_without_a_cell_is_refused(refused, tmp_path):
    path = table(tmp_path / "parts.csv", with_column("failed", [""]))
    refused("generate", TASK, "--examples", path, "--target", "failed", named=["empty in all 40 rows"])


def test_blanks_in_a_target_are_left_out_and_counted(generated, tmp_path):
    made = generated(table(tmp_path / "parts.csv", with_column("failed", ["no", "yes", "", " "])), "failed")
    assert made["report"]["scores"]["n"] == 20
    assert any("20 rows have nothing in the target column 'failed'" in note["text"] for note in made["notes"])


def test_ten_thousand_classes_are_refused(refused, tmp_path):
    rows = [[str(at % 7), f"class {at}"] for at in range(10_000)]
    path = write_csv(tmp_path / "parts.csv", rows, ["a", "kind"])
    refused(
        "generate", TASK, "--examples", path, "--target", "kind",
        named=["10,000 different values", "Name another column with --target"],
    )  # fmt: skip


def test_a_target_of_numbers_with_units_is_read(generated, tmp_path):
    rows = [{**row, "price": f"{row['price']} kg"} for row in parts(40, without=["failed"])]
    made = generated(table(tmp_path / "parts.csv", rows), "price")
    assert made["report"]["numbers"]["unit"] == "kg"
    assert " kg on average" in made["report"]["headline"]


@pytest.mark.parametrize("odd", ["inf", "1e308", "cheap", "9" * 400])
def test_a_target_that_is_no_number_in_one_row_is_refused_with_its_cell(refused, tmp_path, odd):
    rows = parts(40, without=["failed"])
    rows[3]["price"] = odd
    path = table(tmp_path / "parts.csv", rows)
    refused(
        "generate", TASK, "--examples", path, "--target", "price",
        named=["'price' is no finite number in 1 of 40 rows", odd[:20]],
    )  # fmt: skip


def test_words_are_no_values(refused, tmp_path):
    path = table(tmp_path / "parts.csv", parts(20))
    refused(
        *("generate", TASK, "--examples", path, "--target", "steel", "--kind", "tabular-regression"),
        named=["'steel' is to be a number", "--kind tabular-classification"],
    )


def test_a_table_that_was_not_called_one_is_told_how(refused, tmp_path):
    rows = [{"name": "a bolt", "colour": row["steel"], "finish": "dull", "failed": row["failed"]} for row in parts(9)]
    path = table(tmp_path / "parts.csv", rows)
    refused("generate", TASK, "--examples", path, named=["name the column to foretell from the others with --target"])
    path = table(tmp_path / "numbers.csv", parts(9, without=["steel", "failed"]))
    refused("generate", TASK, "--examples", path, named=["--target"])


def test_a_table_without_rows_is_refused(refused, tmp_path):
    path = write_csv(tmp_path / "parts.csv", [], ["a", "failed"])
    refused("generate", TASK, "--examples", path, "--target", "failed", named=["no rows"])
    refused("generate", TASK, "--target", "failed", named=["--examples"])
    refused("init", TASK, "--target", "failed", "--out", tmp_path / "task.yaml", named=["--examples"])
    assert not (tmp_path / "task.yaml").exists()


# --- the columns -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["failed", "price"])
def test_one_row_is_refused(refused, tmp_path, target):
    refused("generate", TASK, "--examples", table(tmp_path / "parts.csv", parts(1)), "--target", target)


def test_the_target_alone_is_refused(refused, tmp_path):
    path = write_csv(tmp_path / "parts.csv", [["yes"], ["no"]] * 10, ["failed"])
    refused("generate", TASK, "--examples", path, "--target", "failed", named=["no column to tell 'failed' from"])


def test_columns_that_say_nothing_are_refused(refused, tmp_path):
    rows = [{"a": "1", "b": "", "failed": row["failed"]} for row in parts(20)]
    path = table(tmp_path / "parts.csv", rows)
    refused("generate", TASK, "--examples", path, "--target", "failed", named=["every cell is the same"])


def test_one_column_is_enough(generated, tmp_path):
    rows = [{"width": row["width"], "failed": row["failed"]} for row in parts(40)]
    assert generated(table(tmp_path / "parts.csv", rows), "failed")["family"] == "tabular-classification"


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_two_columns_of_one_name_are_refused(refused, tmp_path, suffix):
    path = tmp_path / f"parts.{suffix}"
    path.write_text("a,a,failed\n1,2,no\n2,1,yes\n" if suffix == "csv" else '{"a": 1, "a": 2, "failed": "no"}\n')
    if suffix == "csv":
        refused("generate", TASK, "--examples", path, "--target", "failed", named=["more than one column called 'a'"])
    else:
        refused("generate", TASK, "--examples", path, "--target", "failed")


@pytest.mark.parametrize(
    ("cells", "kind", "said"),
    [
        (["", "NA", "-"], "ignored", "every cell is missing"),
        (["inf", "1", "2", "3"], "number", "Infinite numbers"),
        (["1e308", "1", "2", "-1e308"], "number", "1e300 or more"),
        (["9" * 60, "8" * 60, "1", "2"], "number", ""),
        (["2021-03-31", "2021/4/30", "31.05.2021"], "date", ""),
        (["12 kg", "3,000 kg", "1.5kg"], "number", "Units were taken off"),
    ],
    ids=["missing", "inf", "1e308", "60 digits", "three formats", "units"],
)
def test_odd_columns_are_read_or_left_aside_with_a_note(generated, sartor, tmp_path, cells, kind, said):
    path = table(tmp_path / "parts.csv", with_column("odd", cells))
    made = generated(path, "failed")
    assert kinds(sartor, made)["odd"] == kind
    assert said in " ".join(note["text"] for note in made["notes"])
    ran = sartor("predict", made["id"], "--input", path, "--json")
    assert ran.code == 0, ran.err
    for answer in ran.json["answers"]:
        assert 0 <= answer["confidence"] <= 1


# --- new rows ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a model that tells which parts fail."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_COST_SECONDS", 0.01)
        small_tables(patch)
        rows = table(folder / "parts.csv", parts(40, without=["price"]))
        made = pipeline.make(Task(TASK, target="failed"), rows, store=False)
    return made.model.save(folder / "inspection")


def test_a_missing_column_is_named(refused, model, tmp_path):
    new = table(tmp_path / "new.csv", parts(5, without=["heat", "failed", "price"]))
    out = tmp_path / "out.csv"
    refused("predict", model, "--input", new, "--output", out, named=["no column 'heat'", "leave its cells empty"])
    assert not out.exists()


def test_a_renamed_column_is_guessed(refused, model, tmp_path):
    rows = [{("heats" if name == "heat" else name): cell for name, cell in row.items()} for row in parts(5)]
    new = table(tmp_path / "new.csv", rows)
    refused("predict", model, "--input", new, named=["no column 'heat'", "Did you mean 'heats'?"])


def test_new_rows_that_are_none_are_refused(refused, model, tmp_path):
    new = write_csv(tmp_path / "new.csv", [], ["width", "heat", "steel"])
    refused("predict", model, "--input", new, named=["no rows"])


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("a thick part", "name=value,name=value"),
        ("[1, 2, 3]", "name=value,name=value"),
        ("width=4,5,heat=200,steel=A", "go into JSON"),
        ('{"width": 4', "is a JSON object"),
        ('{"width": 4}', "none of the columns 'heat', 'steel'"),
        ("{}", "none of the columns"),
        ("", "name=value,name=value"),
    ],
)
def test_a_row_that_is_none_is_refused(refused, model, row, named):
    refused("predict", model, row, named=[named])


def test_nested_cells_and_what_is_no_number_are_missing(sartor, model):
    row = json.dumps({"width": [1, 2], "heat": {"a": 1}, "steel": True})
    ran = sartor("predict", model, row, "--json")
    assert ran.code == 0, ran.err
    assert "! Cells that are no numbers were taken as missing" in ran.err


def test_options_of_texts_are_refused(refused, model, tmp_path):
    new = table(tmp_path / "new.csv", parts(5))
    refused("predict", model, "--input", new, "--text-column", "steel", named=["--text-column is for models of texts"])
    refused("predict", model, "--input", new, "--dial", "1", named=["--dial is for models that write"])


def test_a_file_without_the_target_judges_nothing(refused, model, tmp_path):
    new = table(tmp_path / "new.csv", parts(5, without=["failed"]))
    refused("evaluate", model, "--data", new, named=["no column 'failed'"])
    blank = table(tmp_path / "blank.csv", [{**row, "failed": ""} for row in parts(5)])
    refused("evaluate", model, "--data", blank, named=["empty in all 5 rows"])


def test_classes_that_the_model_does_not_know_count_as_wrong(sartor, model, tmp_path):
    rows = [{**row, "failed": "perhaps"} if at < 3 else row for at, row in enumerate(parts(30, start=900))]
    ran = sartor("evaluate", model, "--data", table(tmp_path / "test.csv", rows))
    assert ran.code == 0, ran.err
    assert "does not know the labels 'perhaps'; their 3 rows count as wrong" in ran.out


@pytest.mark.parametrize("cells", [{"a": 1}, {"a": "x"}])
def test_rows_of_other_keys_are_padded(generated, tmp_path, cells):
    rows = [*parts(30, without=["price"]), {**parts(1)[0], **cells}]
    made = generated(lines(tmp_path / "parts.jsonl", rows), "failed")
    assert any("'a'" in note["text"] for note in made["notes"])
