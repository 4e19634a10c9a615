"""What is written of a text classifier says what Sartor says, without torch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils import murmurhash3_32

import sartor
from sartor import cli, export
from sartor.compress import text_onnx, text_predict
from sartor.errors import StorageError, TaskError, UserError
from sartor.nn import features
from sartor.nn.engine import load_engine

ODD = [
    "I was charged twice",
    "",
    "   ",
    "É, ﬁ and Ｗide   words   with  spaces",
    "請求が二重です。アプリが動かない",
    "a" * 400,
    "x " * 200,
    "emoji 🙂 and a lone half \ud800 !",
    "tab\tand\u00a0space under_score don't 42",
    "ᾳ̈ combining é",
]


@pytest.fixture
def model(tiny, quick, mails):
    return sartor.generate("Route mails to billing, bug or other", mails)


@given(st.binary(max_size=40))
def test_the_hash_is_the_one_that_others_have(data):
    assert text_predict.murmur3(data) == murmurhash3_32(data, seed=0)


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_n_grams_are_hashed_as_sartor_hashes_them(text):
    runner = object.__new__(text_predict.Model)
    runner.about = {"buckets": features.BUCKETS}
    wanted = [part.toarray()[0] for part in features.hash_ngrams([text])]
    for got, want in zip((text_predict.words(text), text_predict.characters(text)), wanted, strict=True):
        np.testing.assert_allclose(runner._hashed(got), want, atol=1e-6)


def test_every_row_is_answered_as_by_torch(model, mails, tmp_path):
    texts = [text for text, _ in mails] + ODD
    export.export(model, "onnx", tmp_path / "out")
    told = text_predict.Model(tmp_path / "out")
    probabilities, _ = told.scores(texts)
    np.testing.assert_allclose(probabilities, model.predict_proba(texts), atol=1e-4)
    alone = np.concatenate([told.scores([text])[0] for text in texts])
    np.testing.assert_allclose(alone, probabilities, atol=1e-4)
    answers = model.answer(texts)
    assert [(one, abstain) for one, _, abstain in told.predict(texts)] == [(a.label, a.abstain) for a in answers]


def test_a_model_that_saw_no_row_is_written_as_well(tiny, quick, tmp_path):
    model = sartor.generate(sartor.Task("Is it about bugs or about bills?", labels={"bug": "", "bill": ""}))
    export.export(model, "onnx", tmp_path / "out")
    told = text_predict.Model(tmp_path / "out")
    assert told.about["threshold"] is None
    np.testing.assert_allclose(told.scores(ODD)[0], model.predict_proba(ODD), atol=1e-4)


def test_the_folder_runs_without_torch(model, tmp_path):
    out = tmp_path / "out"
    export.export(model, "onnx", out)
    assert sorted(path.name for path in out.iterdir()) == [
        "model.json",
        "model.onnx",
        "requirements.txt",
        "run.py",
        "tokenizer.json",
    ]
    wanted = (out / "requirements.txt").read_text()
    assert "torch" not in wanted
    assert [line.partition(">=")[0] for line in wanted.split()] == ["numpy", "onnxruntime", "tokenizers"]
    lines = "I was charged twice\n\nthe app is broken\n"
    refusing = "import sys; sys.modules['torch'] = sys.modules['sartor'] = None; import runpy; sys.argv[1:] = %r; "
    refusing += f"runpy.run_path({str(out / 'run.py')!r}, run_name='__main__')"
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", refusing % []], input=lines, capture_output=True, text=True, env=environment, check=True
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    answers = model.answer(lines.splitlines())
    assert [label for label, _ in rows] == [answer.label for answer in answers]
    np.testing.assert_allclose([float(sure) for _, sure in rows], [a.confidence for a in answers], atol=1e-4)
    done = subprocess.run(
        [sys.executable, "-c", refusing % ["--json"]],
        input=lines,
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert [json.loads(line)["abstain"] for line in done.stdout.splitlines()] == [a.abstain for a in answers]


def test_int8_is_near_and_smaller(model, mails):
    base = model.base
    whole, small = (text_onnx.encoder_onnx(base, precision) for precision in ("float32", "int8"))
    assert len(small) < 0.6 * len(whole)
    ids = np.array([[2, 7, 8, 9, 3], [2, 7, 3, 0, 0]])
    real = ids > 0
    blocks = len(base.poolings)
    wanted, got = (load_engine(one, blocks, 1).pooled(ids, real) for one in (whole, small))
    assert np.min(np.sum(wanted * got, axis=-1)) > 0.98
    padded = load_engine(whole, blocks, 1).pooled(np.array([[2, 7, 3]]), np.ones((1, 3), dtype=bool))
    np.testing.assert_allclose(padded[0], wanted[1], atol=1e-5)


def test_nothing_is_overwritten_and_no_other_format_is_promised(model, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").write_text("mine")
    with pytest.raises(StorageError, match="exists already"):
        export.export(model, "onnx", tmp_path / "there")
    with pytest.raises(TaskError, match="Known for it: onnx"):
        export.export(model, "peft", tmp_path / "new")
    with pytest.raises(TaskError, match="compress"):
        export.export(model, "onnx", tmp_path / "new", dtype="int8")
    assert not (tmp_path / "new").exists()


def test_a_tool_that_is_not_installed_is_named(tmp_path, monkeypatch, model):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"sartor\[onnx\]"):
        load_engine(b"", 1, 1)
    for name in [name for name in sys.modules if name.startswith(("sartor.compress.text_", "onnx."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("sartor.compress.text_folder", raising=False)
    monkeypatch.delattr("sartor.compress.text_onnx", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    model.save(tmp_path / "model")
    assert cli.run(["export", str(tmp_path / "model"), "--format", "onnx", "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_the_runner_is_the_file_that_is_tested_here():
    from sartor.compress.text_folder import RUNNER

    assert Path(text_predict.__file__).read_bytes() == RUNNER.read_bytes()
