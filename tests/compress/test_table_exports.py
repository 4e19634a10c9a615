"""What is written of a model of a table says what Sartor says."""

import ctypes
import dataclasses
import datetime
import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys

import compress_helpers
import exported_tables as made
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sartor import cli, export
from sartor.compress import table_plan, table_predict
from sartor.compress.table_c import write_c
from sartor.compress.table_js import write_js
from sartor.compress.table_numpy import write_numpy
from sartor.data import cells, columns, dates
from sartor.errors import BundleError, StorageError, TaskError
from sartor.nn.table_target import coder_of, net_of
from sartor.types import Column

MODELS = {"classes": made.classifier, "two classes": made.two_classes, "value": made.regressor}
ROWS = made.odd_rows()
COMPILER = next((found for found in map(shutil.which, ("cc", "gcc", "clang")) if found), None)
NODE = shutil.which("node")


def plan_of(model):
    return table_plan.plan(model.requirement, model.weights)


def rows_for(model):
    """Return odd rows, and some whose numbers stand at knots and at the very cells that steps may stand at."""
    frame = ROWS[[column.name for column in model.requirement.columns]]
    known, _ = made.table(60)
    knots = model.weights["coder.numbers.knots"].numpy()
    known.loc[:32, "income"] = knots[0]
    return pd.concat([frame, known[frame.columns]], ignore_index=True)


def prepared(model, frame):
    """Return cells as numbers and codes, in the order of the plan, as Sartor's own parser has them."""
    plan = plan_of(model)
    found, _ = columns.parse(columns.as_frame(frame), model.requirement.columns)
    numbers = found.numbers[:, [found.number_names.index(name) for name in plan.numbers]]
    codes = found.codes[:, [found.code_names.index(field.name) for field in plan.categories]]
    return numbers, codes


def same(model, got, wanted):
    """Compare probabilities; values by the spread of the target."""
    scale = 1.0 if model.requirement.labels else float(model.weights["target.spread"])
    np.testing.assert_allclose(np.asarray(got) / scale, np.asarray(wanted) / scale, rtol=0, atol=1e-5)


@pytest.fixture(params=MODELS.values(), ids=MODELS)
def model(request):
    return request.param()


# --- the plan ----------------------------------------------------------------------------------------------


def test_the_model_under_test_has_every_kind_of_column():
    plan = plan_of(made.classifier())
    assert {field.name: field.kind for field in plan.fields} == {
        **{"income": "number", "age": "number", "member": "boolean"},
        **{"colour": "category", "city": "category", "opened": "date", "seen": "date"},
    }
    assert [len(field.parts) for field in plan.fields if field.kind == "date"] == [4, 5]
    assert len(plan.arrays["bend_knots"]) == 1
    assert len(plan.arrays["gap_slot"]) == 1
    assert plan.arrays["level_count"].tolist() == [3, 40]
    assert all(len(plan.arrays[f"products_{order}_out"]) for order in (1, 2, 3))
    sure = made.classifier().answers(ROWS)
    assert np.ptp(sure, axis=0).min() > 0.5


def test_what_cannot_matter_is_left_out():
    before = made.classifier()
    weights = {name: tensor.clone() for name, tensor in before.weights.items()}
    weights["net.units.out"][:1000] = 0
    weights["net.units.bias"][1000:1500] = -1e6
    weights["net.products.out"][:3000] = 0
    weights["net.products.thresholds"][3000:4000, 0] = 4.0
    weights["net.products.signs"][3000:4000, 0] = 1.0
    sources = coder_of(weights).sources()
    city = [at for at, (kind, slot) in enumerate(sources) if (kind, slot) == ("category", 1)]
    weights["net.columns.out"][city] = 0
    weights["net.units.weight"][city] = 0
    in_city = torch.isin(weights["net.products.columns"], torch.tensor(city)).any(1)
    weights["net.products.out"][in_city] = 0
    after = dataclasses.replace(before, weights=weights)
    plan = plan_of(after)
    assert len(plan.arrays["units_bias"]) <= 2560 - 1500
    assert sum(len(plan.arrays[f"products_{order}_out"]) for order in (1, 2, 3)) <= 5120 - 4000
    assert "city" not in {field.name for field in plan.fields}
    assert table_plan.needless(after.requirement, plan) == ("Left out, since answers do not depend on it: 'city'.",)
    assert table_plan.needless(before.requirement, plan_of(before)) == ()
    write_and_read = answered(plan, prepared(after, ROWS))
    same(after, write_and_read, after.answers(ROWS))


def answered(plan, rows):
    """Return what numpy makes of a plan, without a file."""
    read = object.__new__(table_predict.Model)
    read._prepare(plan.about(), dict(plan.arrays))
    return read.answers(*rows)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32 - 1))
def test_any_net_is_told_to_the_letter_where_steps_stand_at_cells(seed):
    before, random = made.classifier(), np.random.default_rng(seed)
    coded_ND = torch.from_numpy(coder_of(before.weights).code(encoded(before)))
    many, width = 300, coded_ND.shape[1]
    columns_PK = torch.from_numpy(random.integers(0, width, (many, 3)))
    at_PK = torch.from_numpy(random.integers(0, len(coded_ND), (many, 3)))
    thresholds_PK = coded_ND[at_PK, columns_PK]
    unused_PK = torch.from_numpy(random.random((many, 3)) < 0.3)
    signs_PK = torch.from_numpy(random.choice([-1.0, 1.0], (many, 3)).astype(np.float32))
    weights = {
        **before.weights,
        "net.products.columns": columns_PK,
        "net.products.thresholds": thresholds_PK.masked_fill(unused_PK, -torch.inf),
        "net.products.signs": signs_PK.masked_fill(unused_PK, 1.0),
        "net.products.out": torch.from_numpy(random.normal(size=(many, 3)).astype(np.float32) / 8),
    }
    after = dataclasses.replace(before, weights=weights)
    wanted = after.answers(ROWS)
    assert np.abs(wanted - before.answers(ROWS)).max() > 0.1
    same(after, answered(plan_of(after), prepared(after, ROWS)), wanted)


def encoded(model):
    from sartor.data import records

    return model.family.encode(None, model.requirement, records.inputs_of(ROWS))


@pytest.mark.parametrize("labels", [("a", "b"), ()], ids=["class", "value"])
def test_a_model_that_answers_every_row_alike_is_no_export(labels):
    frame, _ = made.table(30)
    targets = np.zeros(30, dtype=np.int64) if labels else np.full(30, 7.0)
    with pytest.raises(TaskError, match="'worth' answers every row alike"):
        plan_of(made.made(frame, targets, labels))


def test_broken_weights_are_no_export():
    weights = {**made.regressor().weights, "net.bias": torch.tensor([math.nan])}
    with pytest.raises(BundleError, match="'bias' of this model is not finite"):
        plan_of(dataclasses.replace(made.regressor(), weights=weights))


# --- numpy -------------------------------------------------------------------------------------------------


def loaded(folder):
    spec = importlib.util.spec_from_file_location("predict", folder / "predict.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Model()


def test_numpy_says_what_sartor_says(model, tmp_path):
    write_numpy(tmp_path / "out", plan_of(model))
    assert sorted(os.listdir(tmp_path / "out")) == ["model.npz", "predict.py"]
    read, frame = loaded(tmp_path / "out"), rows_for(model)
    wanted = model.answers(frame)
    numbers, codes = read.prepare(frame.to_dict("records"))
    theirs = prepared(model, frame)
    np.testing.assert_array_equal(numbers[np.abs(theirs[0]) < 1e300], theirs[0][np.abs(theirs[0]) < 1e300])
    np.testing.assert_array_equal(np.maximum(codes, -1), np.maximum(theirs[1], -1))
    same(model, read.answers(numbers, codes), wanted)
    same(model, [read.answers(*row)[0] for row in zip(numbers[:40], codes[:40], strict=True)], wanted[:40])
    same(model, read.answers(np.tile(numbers, (3, 1)), np.tile(codes, (3, 1))), np.tile(wanted, (3, 1)))
    assert read.answers(numbers[:0], codes[:0]).shape == (0, wanted.shape[1])


def test_predict_py_needs_numpy_alone(tmp_path):
    model = made.classifier()
    write_numpy(tmp_path / "out", plan_of(model))
    frame = ROWS.iloc[20:30]
    rows = "".join(json.dumps(row) + "\n" for row in frame.to_dict("records"))
    without = "import sys; sys.modules.update(dict.fromkeys(['sartor', 'torch', 'pandas', 'scipy', 'pyarrow']))\n"
    code = f"{without}import runpy; runpy.run_path({str(tmp_path / 'out' / 'predict.py')!r}, run_name='__main__')"
    ran = subprocess.run([sys.executable, "-I", "-c", code], input=rows, capture_output=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stderr
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    wanted = model.answers(frame)
    same(model, [list(answer["probabilities"].values()) for answer in answers], wanted)
    labels = [label.name for label in model.requirement.labels]
    assert [answer["label"] for answer in answers] == [labels[at] for at in wanted.argmax(axis=1)]
    assert list(answers[0]["probabilities"]) == labels


def test_a_value_comes_with_its_interval(tmp_path):
    write_numpy(tmp_path / "out", plan_of(made.regressor()))
    [answer] = loaded(tmp_path / "out").predict(ROWS.iloc[50:51].to_dict("records"))
    same(made.regressor(), [list(answer.values())], made.regressor().answers(ROWS.iloc[50:51]))
    assert list(answer) == ["value", "low", "high"]
    assert answer["low"] < answer["value"] < answer["high"]


CELLS = [
    ("income", "12.5", 12.5),
    ("income", " 1e3 ", 1000.0),
    ("income", np.float32(0.5), 0.5),
    ("income", "n/a", None),
    ("income", "unknown", None),
    ("income", 10**400, None),
    ("age", True, 1),
    ("member", "YES", "Yes"),
    ("member", "off", "no"),
    ("member", "1", 1),
    ("member", None, None),
    ("colour", " GREEN  ? ", "green ?"),
    ("colour", "ＲＥＤ", "Red"),
    ("city", "CITY 3", "city 3"),
    ("city", "-", None),
    ("opened", datetime.date(2019, 2, 28), "2019-02-28"),
    ("opened", pd.Timestamp("2019-02-28 06:00"), "2019-02-28 06:00"),
    ("opened", pd.NaT, None),
    ("seen", "2021-3-9T4:05:06.7Z", "2021-03-09 04:05:06"),
]


@pytest.mark.parametrize(("name", "cell", "plain"), CELLS, ids=[f"{name} {cell!r}"[:40] for name, cell, _ in CELLS])
def test_cells_are_read_as_sartor_reads_them(tmp_path, name, cell, plain):
    write_numpy(tmp_path / "out", plan_of(made.classifier()))
    row = made.table(60)[0].iloc[7].to_dict()
    read = loaded(tmp_path / "out")
    found = read.prepare([{**row, name: cell}])
    wanted = prepared(made.classifier(), pd.DataFrame([{**row, name: plain}], dtype=object))
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(np.where(ours < -1, -1, ours), np.where(theirs < -1, -1, theirs))


BAD_CELLS = {"income": "3 kg", "age": "1,000", "member": "perhaps", "opened": "31.03.2021", "seen": "2021-02-30"}


@pytest.mark.parametrize("name", BAD_CELLS)
def test_a_cell_that_only_sartor_reads_is_an_error(tmp_path, name):
    write_numpy(tmp_path / "out", plan_of(made.classifier()))
    row = made.table(60)[0].iloc[7].to_dict()
    with pytest.raises(ValueError, match=f"The cell '.*' of '{name}' "):
        loaded(tmp_path / "out").predict([{**row, name: BAD_CELLS[name]}])
    del row[name]
    with pytest.raises(ValueError, match=f"no column '{name}'"):
        loaded(tmp_path / "out").predict([row])


def test_a_decimal_comma_is_never_guessed(tmp_path):
    before = made.two_classes()
    wide = tuple(dataclasses.replace(column, decimal=",") for column in before.requirement.columns)
    changed = dataclasses.replace(before, requirement=dataclasses.replace(before.requirement, columns=wide))
    write_numpy(tmp_path / "out", plan_of(changed))
    read = loaded(tmp_path / "out")
    for text in ("1.500", "1,5"):
        with pytest.raises(ValueError, match="no plain number"):
            read.predict([{"income": text, "age": 30}])
    assert read.predict([{"income": 1.5, "age": "30"}]) == read.predict([{"income": 1.5, "age": 30}])


@settings(max_examples=30, deadline=None)
@given(st.dates(datetime.date(1583, 1, 1)), st.times())
def test_dates_are_what_sartor_makes_of_them(day, time):
    text = f"{day.isoformat()} {time.hour:02}:{time.minute:02}:{time.second:02}"
    spelled = cells.spell(np.array([text], dtype=object))
    [wanted] = dates.parts(dates.read(spelled), spelled.codes_N, hours=True)
    found = table_predict.date_parts(day, time.hour + time.minute / 60 + time.second / 3600)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def test_what_says_no_where_others_are_missing():
    japanese = Column("卵", "boolean", levels=("あり", "なし"))
    assert columns.truths(japanese)["なし"] == 0.0
    assert "なし" not in columns.truths(Column("member", "boolean", levels=("Yes", "no")))


# --- C -----------------------------------------------------------------------------------------------------


def compiled(source, out, *flags):
    if COMPILER is None:
        pytest.skip("there is no C compiler here")
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O0"]
    subprocess.run([COMPILER, *strict, *flags, str(source), "-o", str(out), "-lm"], check=True)
    return out


def test_c_says_what_sartor_says(model, tmp_path):
    write_c(tmp_path / "model.c", plan_of(model))
    library = ctypes.CDLL(str(compiled(tmp_path / "model.c", tmp_path / "model.so", "-shared", "-fPIC")))
    frame = rows_for(model)
    wanted = model.answers(frame)
    numbers, codes = prepared(model, frame)
    numbers[:5, 0] = [math.inf, -math.inf, 1e308, math.nan, -1e301]  # missing, all of them
    frame.loc[:4, plan_of(model).fields[0].name] = None
    wanted[:5] = model.answers(frame[:5])
    out = (ctypes.c_double * wanted.shape[1])()
    found = []
    for number_M, code_G in zip(numbers, codes.astype(np.int32), strict=True):
        row = (ctypes.c_double * len(number_M))(*number_M), (ctypes.c_int * max(len(code_G), 1))(*code_G.tolist())
        assert library.sartor_predict(*row, out) == 0
        found.append(list(out))
    same(model, found, wanted)
    assert library.sartor_predict(None, None, out) == -1


def test_c_holds_the_names(tmp_path):
    plan = plan_of(made.classifier())
    write_c(tmp_path / "model.c", plan)
    library = ctypes.CDLL(str(compiled(tmp_path / "model.c", tmp_path / "model.so", "-shared", "-fPIC")))

    def names(symbol, many):
        return [text.decode() for text in (ctypes.c_char_p * many).in_dll(library, symbol)]

    assert names("SARTOR_LEVELS", 43) == [level for field in plan.categories for level in field.levels]
    assert names("SARTOR_LABELS", 3) == list(plan.labels)
    assert names("SARTOR_NUMBER_NAMES", len(plan.numbers)) == list(plan.numbers)
    assert names("SARTOR_CODE_NAMES", 2) == ["colour", "city"]
    parts = (ctypes.c_double * 5)()
    for day in ("0001-01-01", "1600-02-29", "1999-12-31", "2000-01-01", "2024-12-31", "2100-03-01", "9999-12-31"):
        date = datetime.date.fromisoformat(day)
        library.sartor_date(date.year, date.month, date.day, ctypes.c_double(13.25), parts)
        np.testing.assert_allclose(list(parts), table_predict.date_parts(date, 13.25), rtol=0, atol=1e-12)
    for year, month, day in ((2023, 2, 29), (2023, 13, 1), (2023, 0, 1), (0, 1, 1), (2023, 4, 31), (2023, 4, 0)):
        library.sartor_date(year, month, day, ctypes.c_double(0), parts)
        assert np.isnan(list(parts)).all()


def test_the_program_in_the_c_file_reads_rows(tmp_path):
    model = made.two_classes()
    write_c(tmp_path / "model.c", plan_of(model))
    program = compiled(tmp_path / "model.c", tmp_path / "model", "-DSARTOR_MAIN")
    frame = ROWS[["income", "age"]].iloc[12:60]
    numbers, _ = prepared(model, frame)
    lines = "".join(",".join("" if math.isnan(n) else repr(float(n)) for n in row) + "\n" for row in numbers)
    out = subprocess.run([program], input=lines, capture_output=True, text=True, check=True).stdout
    same(model, [[float(cell) for cell in line.split(",")] for line in out.splitlines()], model.answers(frame))


# --- JavaScript --------------------------------------------------------------------------------------------


def run_js(folder, code, rows):
    if NODE is None:
        pytest.skip("there is no Node here")
    (folder / "run.mjs").write_text(
        "import * as model from './model.mjs';\nimport { readFileSync } from 'node:fs';\n"
        f"const rows = JSON.parse(readFileSync(0, 'utf8'));\nconsole.log(JSON.stringify({code}));\n"
    )
    ran = subprocess.run([NODE, folder / "run.mjs"], input=json.dumps(rows), capture_output=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def as_json(frame):
    return json.loads(frame.to_json(orient="records"))  # what is not finite is null, which is missing as well


def test_js_says_what_sartor_says(model, tmp_path):
    write_js(tmp_path / "model.mjs", plan_of(model))
    frame = rows_for(model)
    wanted = model.answers(frame)
    same(model, run_js(tmp_path, "rows.map((row) => model.answers(...model.prepare(row)))", as_json(frame)), wanted)
    answers = run_js(tmp_path, "rows.map(model.predict)", as_json(frame))
    if model.requirement.labels:
        labels = [label.name for label in model.requirement.labels]
        assert [answer["label"] for answer in answers] == [labels[at] for at in wanted.argmax(axis=1)]
        same(model, [[answer["probabilities"][label] for label in labels] for answer in answers], wanted)
    else:
        same(model, [[answer["value"], answer["low"], answer["high"]] for answer in answers], wanted)


def test_js_reads_cells_as_python_does(tmp_path):
    plan = plan_of(made.classifier())
    write_js(tmp_path / "model.mjs", plan)
    write_numpy(tmp_path / "out", plan)
    row = made.table(60)[0].iloc[7].to_dict()
    said = [(name, cell) for name, cell, _ in CELLS if isinstance(cell, str | bool | None)]
    rows = [{**row, name: cell} for name, cell in said]
    found = run_js(tmp_path, "rows.map(model.prepare).map(([a, b]) => [...a, ...b])", rows)
    wanted = [[*numbers, *codes] for numbers, codes in zip(*loaded(tmp_path / "out").prepare(rows), strict=True)]
    as_numbers = np.array([[math.nan if cell is None else cell for cell in line] for line in found])
    np.testing.assert_allclose(as_numbers, np.array(wanted), rtol=0, atol=1e-12)
    tried = "rows.map((row) => { try { return model.predict(row); } catch (error) { return error.message; } })"
    bad = [{**row, name: cell} for name, cell in BAD_CELLS.items()]
    lacking = [{key: cell for key, cell in row.items() if key != name} for name in row]
    errors = run_js(tmp_path, tried, [*bad, *lacking, {**row, "member": "constructor"}])
    for name, error in zip([*BAD_CELLS, *row, "member"], errors, strict=True):
        assert f'"{name}"' in error
    [date] = run_js(tmp_path, "[model.prepare({ ...rows[0], opened: new Date('2019-02-28') })[0][3]]", [row])
    assert date == (datetime.date(2019, 2, 28) - datetime.date(2000, 1, 1)).days


# --- ONNX --------------------------------------------------------------------------------------------------


def run_onnx(path, plan, numbers, codes):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not there")
    session = runtime.InferenceSession(str(path))
    feeds = {name: numbers[:, [at]] for at, name in enumerate(plan.numbers)}
    for field in plan.categories:
        told = [
            field.levels[code] if code >= 0 else ("" if code == -1 else "never seen") for code in codes[:, field.at]
        ]
        feeds[field.name] = np.array(told, dtype=object)[:, None]
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, feeds), strict=True))


@pytest.fixture
def write_onnx():
    pytest.importorskip("onnx", reason="the package onnx is not there")
    from sartor.compress.table_onnx import write_onnx

    return write_onnx


def test_onnx_says_what_sartor_says(write_onnx, model, tmp_path):
    plan, frame = plan_of(model), rows_for(model)
    write_onnx(tmp_path / "model.onnx", plan)
    wanted = model.answers(frame)
    numbers, codes = prepared(model, frame)
    numbers[:4, 0] = [math.inf, -math.inf, 1e308, math.nan]  # missing, all of them
    frame.loc[:3, plan.fields[0].name] = None
    wanted[:4] = model.answers(frame[:4])
    found = run_onnx(tmp_path / "model.onnx", plan, numbers, codes)
    if plan.labels:
        assert list(found) == ["label", "probabilities"]
        same(model, found["probabilities"], wanted)
        assert found["label"].tolist() == [plan.labels[at] for at in wanted.argmax(axis=1)]
    else:
        assert list(found) == ["value", "low", "high"]
        same(model, np.stack(list(found.values()), axis=1), wanted)
    one = run_onnx(tmp_path / "model.onnx", plan, numbers[:1], codes[:1])
    same(model, list(one.values())[-1], list(found.values())[-1][:1])


def test_columns_may_be_called_as_onnx_calls_things(write_onnx, tmp_path):
    model, names = made.two_classes(), ["label", "node"]
    columns_ = tuple(
        dataclasses.replace(column, name=name) for column, name in zip(model.requirement.columns, names, strict=True)
    )
    renamed = dataclasses.replace(model, requirement=dataclasses.replace(model.requirement, columns=columns_))
    plan = plan_of(renamed)
    write_onnx(tmp_path / "model.onnx", plan)
    numbers, codes = prepared(model, ROWS[["income", "age"]])
    found = run_onnx(tmp_path / "model.onnx", plan, numbers, codes)
    assert list(found) == ["label_1", "probabilities"]
    same(model, found["probabilities"], model.answers(ROWS[["income", "age"]]))


def test_two_inputs_of_one_name_are_refused(write_onnx, tmp_path):
    plan = plan_of(made.classifier())
    fields = tuple(
        dataclasses.replace(field, name="opened: days") if field.name == "age" else field for field in plan.fields
    )
    with pytest.raises(TaskError, match="'opened: days'"):
        write_onnx(tmp_path / "model.onnx", dataclasses.replace(plan, fields=fields))
    assert os.listdir(tmp_path) == []


def test_without_the_package_a_sentence_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for module in ("sartor.compress.table_onnx", "sartor.compress.onnx_graph"):
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.delattr(module, raising=False)
    monkeypatch.setattr("sartor.model.load", lambda ref: made.model(made.two_classes()))
    assert cli.run(["export", "worths", "--format", "onnx", "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'sartor[onnx]'" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


# --- files and the command line ----------------------------------------------------------------------------

WRITERS = {"numpy": write_numpy, "c": write_c, "js": write_js}


@pytest.mark.parametrize("form", WRITERS)
def test_a_full_disk_leaves_nothing_and_nothing_is_overwritten(tmp_path, form):
    plan, write = plan_of(made.two_classes()), WRITERS[form]
    told = pytest.raises(StorageError, match="larger than this system lets you write")
    with told, compress_helpers.no_file_above(50_000):
        write(tmp_path / "a" / "out", plan)
    assert os.listdir(tmp_path / "a") == []
    write(tmp_path / "a" / "out", plan)
    with pytest.raises(StorageError, match="exists already"):
        write(tmp_path / "a" / "out", plan)
    assert os.listdir(tmp_path / "a") == ["out"]


@pytest.mark.parametrize("form", export.TABLE_FORMS)
def test_the_command_writes_and_tells(monkeypatch, capsys, tmp_path, form):
    if form == "onnx":
        pytest.importorskip("onnx", reason="the package onnx is not there")
    monkeypatch.setattr("sartor.model.load", lambda ref: made.model(made.two_classes()))
    command = ["export", "worths", "--format", form, "--out", str(tmp_path / "out")]
    assert cli.run([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["format"], told["path"], told["notes"]) == (form, str(tmp_path / "out"), [])
    assert told["bytes"] > 10_000
    assert cli.run(command) == 2
    assert "exists already" in capsys.readouterr().err
    command[-1] = str(tmp_path / "other")
    assert cli.run([*command, "--dial", "1"]) == 2
    assert "are of models that write" in capsys.readouterr().err
    assert cli.run(command) == 0
    assert str(tmp_path / "other") in capsys.readouterr().out.split("Load it: ")[1]


@pytest.mark.parametrize("form", ["peft", "gguf", "merged", "merged-gguf"])
def test_a_table_has_no_adapter(tmp_path, form):
    with pytest.raises(TaskError, match=f"{form} is a format of models that write; 'worths' is one of a table"):
        export.export(made.model(made.regressor()), form, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_the_net_of_the_tests_is_not_all_noise():
    """Units and products matter, or the comparisons above would compare columns alone."""
    weights = made.classifier().weights
    coded = coder_of(weights).code(encoded(made.classifier()))
    whole = net_of(weights).scores(coded)
    for part in ("units", "products"):
        less = {**weights, f"net.{part}.out": torch.zeros_like(weights[f"net.{part}.out"])}
        assert np.abs(net_of(less).scores(coded) - whole).max() > 0.05
