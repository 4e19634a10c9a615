"""A model of pictures, written for other programs, says what Sartor says."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sartor import cli, families
from sartor.data.pictures import decode
from sartor.errors import StorageError, TaskError
from sartor.export import export
from sartor.families.interface import Condition
from sartor.model import Classifier, of_manifest
from sartor.nn.picture_base import PictureBase
from sartor.nn.picture_features import squeezed
from sartor.types import DataRef, Label, Manifest, Requirement

pytest.importorskip("onnx", reason="the package onnx is not there")
pytest.importorskip("onnxruntime", reason="onnxruntime is not there")
pytestmark = pytest.mark.usefixtures("tiny")

FAMILY = families.load("image-classification")
LABELS = ("gut", "schlecht", "日本")


def drawn(folder, target, seed):
    """A picture of stripes as wide as its label wants, a little noisy."""
    random = np.random.default_rng([target, seed])
    wave = np.sin(2 * np.pi * (np.arange(50) / (4 + 5 * target) + random.random()))[:, None, None]
    pixels = 128 + wave * random.integers(40, 120, 3) + random.normal(size=(50, 70, 3)) * 5
    path = folder / f"{target}-{seed}.png"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return str(path)


@pytest.fixture
def model(tmp_path):
    """A small model of three kinds of stripes."""
    (tmp_path / "seen").mkdir()
    targets = np.repeat([0, 1, 2], 5)
    paths = [drawn(tmp_path / "seen", target, seed) for seed, target in enumerate(targets)]
    requirement = Requirement(
        FAMILY.name, "stripes", "", tuple(map(Label, LABELS)), language="", base="efficientnet-lite0", max_tokens=0
    )
    base = FAMILY.base(requirement)
    condition = Condition(FAMILY.encode_labels(base, requirement), FAMILY.encode(base, requirement, paths), targets)
    weights = FAMILY.generate(requirement, condition, seed=0)
    manifest = Manifest(
        format=1,
        id="0123456789abcdef",
        family=FAMILY.name,
        name="stripes",
        created="2026-01-02T03:04:05+00:00",
        requirement=requirement,
        base=base.ref,
        generator=FAMILY.generator,
        head=FAMILY.head(weights),
        data=DataRef("cd" * 32, 15),
        seed=0,
        n_parameters=1,
        shapes={},
        files={},
    )
    return of_manifest(manifest, None, weights)


@pytest.fixture
def asked(tmp_path):
    (tmp_path / "asked").mkdir()
    return [drawn(tmp_path / "asked", target, 100 + seed) for target in range(3) for seed in range(4)]


def answers(folder, model, paths):
    """What the graph in a folder says: probabilities and scope."""
    import onnxruntime

    assert isinstance(model.base, PictureBase)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    side = model.base.side
    pictures = np.stack([squeezed(decode(path, side=side), side) for path in paths])
    return session.run(["probabilities", "scope"], {"pictures": pictures})


def test_the_graph_says_what_sartor_says(model, asked, tmp_path):
    export(model, "onnx", tmp_path / "out")
    assert isinstance(model, Classifier)
    wanted = model.prediction(asked)
    probabilities, scope = answers(tmp_path / "out", model, asked)
    assert np.ptp(wanted.probabilities[:, 0]) > 0.1
    np.testing.assert_allclose(probabilities, wanted.probabilities, atol=1e-4)
    np.testing.assert_allclose(scope, wanted.scope, atol=1e-3)
    alone, _ = answers(tmp_path / "out", model, asked[5:6])
    np.testing.assert_allclose(alone[0], probabilities[5], atol=1e-5)


@pytest.mark.parametrize("calibrated", [True, False], ids=["own pictures", "drawn pictures"])
def test_eight_bits_say_nearly_the_same_in_less_space(model, asked, tmp_path, calibrated):
    whole = export(model, "onnx", tmp_path / "whole")
    small = export(model, "onnx-int8", tmp_path / "small", calibrate=tmp_path / "seen" if calibrated else None)
    assert sorted(os.listdir(tmp_path / "small")) == ["labels.json", "model.onnx", "requirements.txt", "run.py"]
    assert small.size < whole.size
    assert b"QuantizeLinear" in (tmp_path / "small" / "model.onnx").read_bytes()
    wanted, _ = answers(tmp_path / "whole", model, asked)
    found, _ = answers(tmp_path / "small", model, asked)
    assert np.abs(found - wanted).max() < 0.25
    assert (found.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= 0.75


def test_the_program_beside_it_answers_path_by_path_without_torch(model, asked, tmp_path):
    export(model, "onnx", tmp_path / "out")
    (tmp_path / "broken.jpg").write_text("not a picture")
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", tmp_path / "out" / "run.py"],
        input="\n".join([*asked[:3], str(tmp_path / "broken.jpg"), "", asked[3]]) + "\n",
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    assert ran.returncode == 1
    assert "torch" not in ran.stderr
    assert "sartor" not in ran.stderr
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [one["picture"] for one in told] == [*asked[:3], str(tmp_path / "broken.jpg"), asked[3]]
    assert "error" in told.pop(3)
    assert isinstance(model, Classifier)
    for mine, sartor in zip(told, model.answer(asked[:4]), strict=True):
        assert mine["label"] == sartor.label
        assert mine["abstain"] == sartor.abstain
        assert mine["probabilities"] == pytest.approx(sartor.probabilities, abs=1e-4)


def test_who_reads_the_program_may_stop(model, asked, tmp_path):
    export(model, "onnx", tmp_path / "out")
    ran = subprocess.Popen(
        [sys.executable, tmp_path / "out" / "run.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert ran.stdin is not None
    assert ran.stdout is not None
    assert ran.stderr is not None
    ran.stdout.close()
    ran.stdin.write("".join(f"{path}\n" for path in asked).encode())
    ran.stdin.close()
    assert ran.stderr.read() == b""
    ran.stderr.close()
    ran.wait(60)


def odd(kind, path):
    """A picture that has to be turned, shown on white, or made of three colours."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 4)).astype(np.uint8)
    picture = Image.fromarray(pixels, "RGBA")
    match kind:
        case "turned":
            exif = Image.Exif()
            exif[0x0112] = 6
            picture.convert("RGB").save(path, "JPEG", exif=exif, quality=95)
        case "large":
            picture.convert("RGB").resize((900, 700)).save(path, "JPEG")
        case "clear":
            picture.save(path, "PNG")
        case "grey":
            picture.convert("L").save(path, "PNG")
        case "palette":
            picture.convert("RGB").quantize(16).save(path, "GIF", transparency=3)
        case _:
            picture.convert("CMYK").save(path, "JPEG", quality=95)


@pytest.mark.parametrize("kind", ["turned", "large", "clear", "grey", "palette", "cmyk"])
def test_the_program_reads_pictures_as_sartor_does(tmp_path, kind):
    from sartor.compress import picture_run

    odd(kind, tmp_path / "picture")
    reader = object.__new__(picture_run.Model)
    reader._side = 32
    found = reader.read(tmp_path / "picture")
    assert found.shape == (32, 32, 3)
    np.testing.assert_array_equal(found, squeezed(decode(str(tmp_path / "picture"), side=32), 32))


def test_nothing_is_overwritten_and_nothing_is_left_of_what_failed(model, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    for form in ("onnx", "onnx-int8"):
        with pytest.raises(StorageError, match="exists already"):
            export(model, form, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["mine.txt"]


@pytest.mark.parametrize("form", ["numpy", "c", "js", "peft", "merged-gguf"])
def test_formats_of_other_models_are_refused(model, tmp_path, form):
    with pytest.raises(TaskError, match=f"{form} is no format of models of pictures, and 'stripes' is one"):
        export(model, form, tmp_path / "out")
    with pytest.raises(TaskError, match="are of models that write"):
        export(model, "onnx", tmp_path / "out", dial=0.5)
    with pytest.raises(TaskError, match="--calibrate is of onnx-int8"):
        export(model, "onnx", tmp_path / "out", calibrate=tmp_path)
    assert not (tmp_path / "out").exists()


def test_the_command_writes_and_tells(model, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sartor.model.load", lambda ref: model)
    command = ["export", "stripes", "--format", "onnx", "--out", str(tmp_path / "out")]
    assert cli.run([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["format"], told["path"], told["notes"]) == ("onnx", str(tmp_path / "out"), [])
    command[-1] = str(tmp_path / "other")
    assert cli.run(command) == 0
    assert f"python {tmp_path}/other/run.py" in capsys.readouterr().out


def test_without_the_package_a_sentence_says_so(model, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr("sartor.model.load", lambda ref: model)
    assert cli.run(["export", "stripes", "--format", "onnx-int8", "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'sartor[onnx]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_labels_are_told_in_the_order_of_the_columns(model, tmp_path):
    export(model, "onnx", tmp_path / "out")
    about = json.loads((tmp_path / "out" / "labels.json").read_text(encoding="utf-8"))
    assert about["labels"] == list(LABELS)
    assert about["threshold"] == pytest.approx(float(model.weights["scope.threshold"]))
    assert io.StringIO((tmp_path / "out" / "requirements.txt").read_text()).readlines() == [
        *("numpy\n", "onnxruntime\n", "pillow\n"),
    ]
