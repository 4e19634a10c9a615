"""``sartor compress``: smaller, kept only if it loses no more than it may."""

import json

import numpy as np
import pytest
from cli_helpers import write_csv
from limited_disk import no_file_above
from tables_helpers import TASK, parts, table

from sartor.evaluate.noninferior import judge, labelled_loss, lower, rows_needed, unlabelled_loss, upper

KEYS = {"id", "parent", "method", "seconds", "kept", "report"}


@pytest.fixture
def many_csv(tmp_path, mails):
    """Rows enough to show that a point is not lost."""
    return write_csv(tmp_path / "many.csv", [(f"{text} {at}", label) for at in range(40) for text, label in mails])


@pytest.mark.parametrize("to", ["int8", "onnx"])
def test_a_compressed_model_is_a_model_as_any_other(sartor, made, mails, tmp_path, to):
    ran = sartor("compress", "mails", "--to", to, "--max-loss", 50, "--json")
    assert ran.code == 0, ran.err
    found = ran.json
    assert found.keys() >= KEYS
    assert (found["parent"], found["method"], found["kept"]) == (made["id"], to, True)
    assert found["id"] != made["id"]
    assert (found["name"], found["version"], found["alias"]) == ("mails", 2, "challenger")
    assert found["loss"]["rows"] > 500
    assert not found["loss"]["labelled"]
    assert not found["report"]["proved"]
    texts = [text for text, _ in mails]
    before, after = (
        {row["text"]: row["probabilities"] for row in sartor("predict", one, *texts, "--json").json["answers"]}
        for one in (made["id"], found["id"])
    )
    gap = max(abs(before[text][label] - after[text][label]) for text in texts for label in before[text])
    assert gap < (2e-5 if to == "onnx" else 0.2)
    shown = sartor("show", found["id"], "--json").json
    assert (shown["parent"], shown["method"], shown["rejected"]) == (made["id"], to, [])
    assert {"encoder.onnx", "encoder.json", "tokenizer.json"} < shown["files"].keys()
    assert sartor("predict", made["id"], "hello").code == 0


def test_it_needs_no_base_beside_it(sartor, made, tiny):
    from sartor import settings

    new = sartor("compress", "mails", "--to", "int8", "--max-loss", 50, "--json").json
    for file in (settings.current().cache / "bases").rglob("*"):
        if file.is_file():
            file.unlink()
    assert sartor("predict", made["id"], "hello").code == 2
    assert sartor("predict", new["id"], "hello").code == 0


def test_labelled_rows_give_an_exact_bound_and_a_paired_report(sartor, made, many_csv):
    ran = sartor("compress", "mails", "--to", "onnx", "--data", many_csv, "--json")
    assert ran.code == 0, ran.err
    loss = ran.json["loss"]
    assert (loss["rows"], loss["negative_flips"], loss["gained"], loss["labelled"]) == (480, 0, 0, True)
    assert loss["high"] == pytest.approx(upper(0, 480, 0.025))
    assert {one["name"] for one in ran.json["report"]["baselines"]} == {"majority", "parent"}


def test_what_is_not_shown_to_be_within_the_margin_is_refused(sartor, made, mails_csv):
    ran = sartor("compress", "mails", "--to", "onnx", "--data", mails_csv, "--json")
    assert ran.code == 3
    found = ran.json
    assert found["kept"] is False
    assert found["alias"] is None
    assert found["name"] == "mails.rejected"
    assert "368 rows at least" in " ".join(found["reasons"])
    assert sartor("predict", found["id"], "hello").code == 0
    listed = {one["id"]: one for one in sartor("models", "--json").json["models"]}
    assert listed[found["id"]]["name"] == "mails.rejected"
    assert sartor("show", found["id"], "--json").json["rejected"] == found["reasons"]
    assert sartor("predict", "mails", "hello", "--json").json["model"] == made["id"]


def test_rows_without_labels_will_do(sartor, made, mails, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text, _ in mails))
    found = sartor("compress", "mails", "--to", "onnx", "--data", path, "--max-loss", 20, "--json").json
    assert (found["loss"]["rows"], found["loss"]["labelled"], found["kept"]) == (12, False, True)


def test_a_limit_of_the_task_refuses_it_too(sartor, tmp_path, mails_csv):
    task = tmp_path / "task.json"
    about = {
        "description": "Route mails",
        "name": "quick",
        "examples": str(mails_csv),
        "limits": {"max_latency_ms": 1e-3},
    }
    task.write_text(json.dumps(about))
    sartor("generate", task)
    ran = sartor("compress", "quick", "--to", "onnx", "--max-loss", 50, "--json")
    assert (ran.code, ran.json["kept"]) == (3, False)
    assert "Latency" in " ".join(ran.json["reasons"])


@pytest.mark.parametrize(
    ("to", "said"),
    [("int9", "Did you mean 'int8'"), ("float16", "can be made int8 or onnx"), ("gguf", "no way to compress")],
)
def test_what_it_cannot_be_made_is_refused(sartor, made, to, said):
    ran = sartor("compress", "mails", "--to", to)
    assert (ran.code, said in ran.err) == (2, True), ran.err


def test_what_is_compressed_already_is_refused(sartor, made):
    found = sartor("compress", "mails", "--to", "onnx", "--max-loss", 50, "--json").json
    ran = sartor("compress", found["id"], "--to", "int8")
    assert ran.code == 2
    assert made["id"] in ran.err


def test_a_full_disk_leaves_nothing_behind(sartor, made):
    with no_file_above(60_000):
        ran = sartor("compress", "mails", "--to", "onnx", "--max-loss", 50)
    assert ran.code == 2, ran.err
    assert "Cannot write" in ran.err
    assert [one["id"] for one in sartor("models", "--json").json["models"]] == [made["id"]]
    assert sartor("predict", "mails", "hello").code == 0


def test_a_model_of_a_table_in_fewer_bytes(sartor, few_peers, tmp_path):
    rows = table(tmp_path / "parts.csv", parts(60, without=["price"]))
    parent = sartor("generate", TASK, "--examples", rows, "--target", "failed", "--name", "fails", "--json").json
    test = table(tmp_path / "new.csv", parts(400, start=900, without=["price"]))
    ran = sartor("compress", "fails", "--to", "float16", "--data", test, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["bytes_after"] < 0.75 * ran.json["bytes_before"]
    assert ran.json["loss"]["agreement"] == 1
    weights = [tensors(one) for one in (parent["path"], ran.json["path"])]
    assert np.array_equal(*(one["net.products.thresholds"] for one in weights))
    assert sartor("compress", "fails", "--to", "float16").code == 2  # nobody can make up rows of a table
    assert sartor("compress", ran.json["id"], "--to", "float16", "--data", test).code == 2


def tensors(folder):
    from safetensors.numpy import load_file

    return load_file(f"{folder}/model.safetensors")


def test_an_encoder_that_is_damaged_is_told(sartor, made, tmp_path):
    new = sartor("compress", "mails", "--to", "onnx", "--max-loss", 50, "--json").json
    with open(f"{new['path']}/encoder.onnx", "r+b") as file:
        file.write(b"broken")
    ran = sartor("predict", new["id"], "hello")
    assert (ran.code, "was changed" in ran.err) == (2, True)


def test_a_compressed_model_can_be_exported_and_evaluated(sartor, made, mails_csv, tmp_path):
    new = sartor("compress", "mails", "--to", "int8", "--max-loss", 50, "--json").json
    assert sartor("export", new["id"], "--format", "onnx", "--out", tmp_path / "out").code == 0
    assert sartor("evaluate", new["id"], "--data", mails_csv).code == 0
    assert (tmp_path / "out" / "model.onnx").stat().st_size > 1000


# --- the bounds --------------------------------------------------------------------------------------------


def test_bounds_hold_what_they_promise():
    random = np.random.default_rng(0)
    lost, gained, n = 0.03, 0.02, 200
    over = 0
    for _ in range(400):
        drawn = random.random(n)
        was, now = drawn >= gained, ~((drawn >= gained) & (drawn < gained + lost))
        over += labelled_loss(was, now, was == now).high < lost - gained
    assert over <= 400 * 0.05
    assert upper(0, 10, 0.05) == pytest.approx(1 - 0.05**0.1)
    assert (upper(10, 10, 0.05), lower(0, 10, 0.05)) == (1, 0)
    assert upper(0, rows_needed(0.01), 0.025) <= 0.01 < upper(0, rows_needed(0.01) - 1, 0.025)


def test_what_differs_at_a_tie_costs_next_to_nothing():
    parent = np.array([[0.51, 0.49]] * 10 + [[0.9, 0.1]] * 490)
    same = parent.argmax(axis=1)
    flipped = np.where(np.arange(500) < 10, 1, same)
    assert judge(unlabelled_loss(parent, flipped), 0.01).kept
    wild = np.where(np.arange(500) >= 490, 1, same)
    assert not judge(unlabelled_loss(parent, wild), 0.01).kept
    assert judge(unlabelled_loss(parent, same), 0.01).kept
