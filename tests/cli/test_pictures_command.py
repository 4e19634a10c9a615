"""Models of pictures from the command line: made, asked, judged, begun; on a tiny base."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from cli_helpers import forked, snapshot
from test_contract_page import documented

import sartor as library
from picture_files import TASK, album, csv_of, photo
from sartor import pipeline
from sartor.data import taskfile
from sartor.types import Task

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of good and of scratched parts."""
    return album(tmp_path_factory.mktemp("album") / "photos", {"good": 10, "scratched": 10})


@pytest.fixture
def parts(sartor, photos):
    """What ``generate --json`` printed; the model is in the store as ``parts``."""
    ran = sartor("generate", TASK, "--examples", photos, "--name", "parts", "--json")
    assert ran.code == 0, ran.err
    return ran.json


@pytest.fixture
def new(tmp_path):
    """A folder of new pictures, one of which is none."""
    folder = album(tmp_path / "new", {"a": 2, "b": 1}, start=100)
    (folder / "a" / "words.JPG").write_text("these are words")
    return folder


def read_csv(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


# --- generate ----------------------------------------------------------------------------------------------


def test_a_folder_a_class_makes_a_proved_stored_model(parts):
    assert list(parts) == documented("generate")
    assert (parts["family"], parts["base"]) == ("image-classification", "efficientnet-lite0+anchor1")
    assert parts["labels"] == ["good", "scratched"]
    report = parts["report"]
    assert report["protocol"]["kind"] == "cross-validation"
    assert report["protocol"]["rows"] == 20


def test_nothing_of_a_picture_or_its_name_is_stored(sartor, tmp_path, home):
    folder = album(tmp_path / "secret-folder", {"good": 3, "scratched": 3})
    (folder / "good" / "secret-name.jpg").write_text("secret-words")
    (folder / "secret-class").mkdir()
    assert sartor("generate", TASK, "--examples", folder, "--name", "parts").code == 0
    stored = b"".join(content or b"" for content in snapshot(home).values())
    assert b"secret-name" not in stored
    assert b"secret-class" not in stored
    assert str(tmp_path).encode() not in stored
    assert b"000.png" not in stored


def test_a_person_is_told_what_was_made_and_what_to_do(sartor, photos):
    ran = sartor("generate", TASK, "--examples", photos, "--name", "parts")
    assert ran.code == 0
    assert "20 pictures, 10 a class." in ran.out
    assert "pictures/s" in ran.out
    assert "sartor predict parts new.jpg" in ran.out
    assert "sartor predict parts new_photos/ --output answers.csv" in ran.out
    assert "sartor evaluate parts --data test_photos/ --html report.html" in ran.out
    assert "new_photos/" in sartor("show", "parts").out
    card = (Path(sartor("models", "--json").json["models"][0]["path"]) / "README.md").read_text()
    assert "It is meant for pictures like those it was made from" in card
    assert "sartor predict DIR photos/" in card
    assert "token" not in card
    assert "reads pictures" in sartor("explain", "parts").err


def test_a_file_that_names_pictures_gives_the_same_model(sartor, parts, photos):
    rows = [(f"{label}/00{at}.png", label) for at in range(10) for label in parts["labels"]]
    path = csv_of(photos / "rows.csv", rows)
    try:
        ran = sartor("generate", TASK, "--examples", path, "--name", "rows", "--json")
    finally:
        path.unlink()
    assert ran.code == 0, ran.err
    assert ran.json["family"] == "image-classification"
    assert ran.json["n_parameters"] == parts["n_parameters"]
    assert "in column 'image', the label in 'label'" in " ".join(note["text"] for note in ran.json["notes"])


def test_a_task_file_names_the_folder(sartor, photos, tmp_path):
    task = tmp_path / "task.yaml"
    task.write_text(f"description: {TASK}\nkind: image-classification\nlabels: [scratched, good]\nexamples: {photos}\n")
    ran = sartor("generate", task, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["labels"] == ["scratched", "good"]


def test_unlabelled_pictures_are_not_read(sartor, photos, new):
    ran = sartor("generate", TASK, "--examples", photos, "--unlabelled", new, "--json")
    assert ran.code == 0, ran.err
    assert "The unlabelled pictures are not read" in " ".join(note["text"] for note in ran.json["notes"])


def test_copies_that_were_saved_again_are_kept_together_in_the_proof(sartor, tmp_path):
    folder = album(tmp_path / "photos", {"good": 3, "scratched": 3})
    for label in ("good", "scratched"):
        for at in range(3):
            photo(label, at).save(folder / label / f"again-{at}.bmp")
    report = sartor("generate", TASK, "--examples", folder, "--json").json["report"]
    assert report["protocol"]["folds"] == 3  # of six pictures a class, only three look different


def test_in_python_as_on_the_command_line(quick, photos, monkeypatch):
    made = library.generate(TASK, str(photos))
    assert made.classes_.tolist() == ["good", "scratched"]
    monkeypatch.chdir(photos)
    pairs = [(path.relative_to(photos), path.parent.name) for path in sorted(photos.rglob("*.png"))]
    again = pipeline.make(Task(TASK, kind="image-classification"), pairs, store=False).model
    assert again.manifest.data.sha256 == made.manifest.data.sha256
    plain = library.generate(TASK, [(str(path), label) for path, label in pairs])  # no text is called like a file
    assert plain.manifest.data.sha256 == made.manifest.data.sha256
    paths = [photos / "good" / "000.png", "good/001.png"]
    assert again.predict(paths).tolist() == made.predict([str(photos / path) for path in paths]).tolist()
    assert made.predict_proba(paths).shape == (2, 2)
    for wrong, why in ((str(paths[0]), "a list of pictures"), ([3], "by its path"), (["none.png"], "is not there")):
        with pytest.raises(library.UserError, match=why):
            made.predict(wrong)


# --- predict -----------------------------------------------------------------------------------------------


def test_answers_have_the_documented_keys_and_bad_pictures_say_why(sartor, parts, new):
    ran = sartor("predict", "parts", new, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["model"] == parts["id"]
    rows = ran.json["answers"]
    assert [row["image"] for row in rows] == ["a/100.png", "a/101.png", "a/words.JPG", "b/100.png"]
    for row in rows:
        assert list(row) == documented("predict, picture")
        bad = row["image"] == "a/words.JPG"
        assert (row["error"] is not None) == bad
        assert all((row[key] is None) == bad for key in ("label", "confidence", "abstain", "probabilities"))
    assert rows[2]["error"].startswith("The picture 'a/words.JPG' is text, not a picture")
    assert "! 1 of 4 pictures could not be read: its row says why." in ran.err


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_answers_go_to_a_file(sartor, parts, new, tmp_path, suffix):
    out = tmp_path / f"answers.{suffix}"
    ran = sartor("predict", "parts", new, "--output", out, "--json")
    assert ran.json == {"model": parts["id"], "output": str(out), "rows": 4, "abstained": 0, "unread": 1} | {
        "abstained": ran.json["abstained"]
    }
    assert "3 answers written" in sartor("predict", "parts", new, "--output", out).out
    if suffix == "csv":
        rows = read_csv(out)
        assert list(rows[0]) == documented("predict, picture")
        assert [row["label"] == "" for row in rows] == [False, False, True, False]
        assert [row["error"] == "" for row in rows] == [True, True, False, True]
    else:
        assert [json.loads(line)["label"] is None for line in out.read_text().splitlines()] == [0, 0, 1, 0]


def test_pictures_are_given_as_files_folders_and_rows(sartor, parts, new, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = sartor("predict", "parts", "new/a/100.png")
    assert "% sure" in one.out
    assert "100.png" not in one.out
    both = sartor("predict", "parts", "new/b", "new/a/100.png", "--json").json["answers"]
    assert [row["image"] for row in both] == ["new/b/100.png", "new/a/100.png"]
    folder = sartor("predict", "parts", "--input", "new")
    assert json.loads(folder.out.splitlines()[0])["image"] == "a/100.png"
    rows = csv_of(tmp_path / "new" / "rows.csv", [("b/100.png",), ("b/none.png",), ("../x.png",)], ("image",))
    given = [json.loads(line) for line in sartor("predict", "parts", "--input", rows).out.splitlines()]
    assert [row["image"] for row in given] == ["b/100.png", "b/none.png", "../x.png"]
    assert [row["error"] for row in given] == [
        None,
        "The picture 'b/none.png' is not there.",
        "The picture '../x.png' lies outside of the file's folder.",
    ]


def test_answers_do_not_depend_on_bad_pictures_beside_them(sartor, parts, new, monkeypatch):
    from sartor.cli import answered

    with_bad = sartor("predict", "parts", new, "--json").json["answers"]
    monkeypatch.setattr(answered, "_PICTURES", 1)
    one_by_one = sartor("predict", "parts", new, "--json").json["answers"]
    assert [row["label"] for row in one_by_one] == [row["label"] for row in with_bad]
    (new / "a" / "words.JPG").unlink()
    without = sartor("predict", "parts", new, "--json").json["answers"]
    assert [row for row in one_by_one if not row["error"]] == without


def test_names_that_are_not_utf8_can_be_answered_for(sartor, parts, new, tmp_path):
    odd = os.fsdecode(os.fsencode(new) + b"/\xff.png")
    photo("good", 5).save(odd)
    ran = sartor("predict", "parts", new, "--output", tmp_path / "a.csv")
    assert ran.code == 0, ran.err
    assert "\ufffd.png" in [row["image"] for row in read_csv(tmp_path / "a.csv")]
    assert sartor("predict", "parts", odd).code == 0


# --- evaluate, init ----------------------------------------------------------------------------------------


def test_a_folder_of_labelled_pictures_judges_a_model(sartor, parts, photos, tmp_path):
    test = album(tmp_path / "test", {"good": 4, "scratched": 4, "unknown": 1}, start=200)
    ran = sartor("evaluate", "parts", "--data", test, "--examples", photos, "--html", tmp_path / "r.html", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["protocol"]["rows"] == 9
    assert "does not know the labels 'unknown'" in " ".join(note["text"] for note in ran.json["notes"])
    assert len(ran.json["baselines"]) > 1
    told = sartor("evaluate", "parts", "--data", test)
    assert "pictures/s" in told.out
    other = sartor("evaluate", "parts", "--data", test, "--examples", test)
    assert other.code == 2
    assert "is not what this model was made from" in other.err


def test_the_pictures_a_model_was_made_from_prove_nothing(sartor, parts, photos):
    report = sartor("evaluate", "parts", "--data", photos, "--json").json
    assert not report["proved"]
    assert "made from these very rows" in " ".join(note["text"] for note in report["notes"])


def test_init_writes_a_task_file_that_generate_takes(sartor, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, tmp_path / "photos")
    ran = sartor("init", TASK, "--examples", "photos")
    assert ran.code == 0, ran.err
    assert "the same camera" in ran.out
    task = taskfile.read_task(tmp_path / "task.yaml")
    assert (task.kind, list(task.labels)) == ("image-classification", ["good", "scratched"])
    assert sartor("generate", "task.yaml").code == 0


# --- interrupts --------------------------------------------------------------------------------------------


def test_an_interrupt_while_many_pictures_are_read_leaves_nothing(sartor, tmp_path, home):
    folder = album(tmp_path / "photos", {"good": 1, "scratched": 1})
    for at in range(20_000):
        os.link(folder / "good" / "000.png", folder / "good" / f"x{at}.png")

    def arrange():
        import signal

        from sartor.data import picture_rows

        real, calls = picture_rows.look, []

        def look(path):
            calls.append(path)
            if len(calls) == 50:
                os.kill(os.getpid(), signal.SIGINT)
            return real(path)

        picture_rows.look = look
        sys.stdout.flush()

    before = snapshot(home)
    ran = forked(tmp_path, ["generate", TASK, "--examples", folder, "--out", tmp_path / "out"], arrange)
    assert ran.code == 130, ran
    assert "Interrupted; nothing was left half-written." in ran.err
    assert not (tmp_path / "out").exists()
    assert snapshot(home) == before


# --- what is shown of pictures -----------------------------------------------------------------------------


def test_heat_maps_show_what_each_answer_rests_on(sartor, parts, new, tmp_path):
    ran = sartor("predict", "parts", new, "--heatmaps", tmp_path / "heat", "--json")
    assert ran.code == 0, ran.err
    read = [row["image"] for row in ran.json["answers"] if not row["error"]]
    assert len(read) == 3
    names = sorted(path.name for path in (tmp_path / "heat").iterdir())
    assert names == sorted(f"{name.replace('/', '__')}.png" for name in read)


def test_explain_points_to_the_heat_maps(sartor, parts):
    ran = sartor("explain", "parts")
    assert ran.code == 2
    assert "--heatmaps" in ran.err


def test_a_page_shows_the_surest_mistakes_and_a_table_of_all_against_all(sartor, parts, photos, tmp_path):
    swapped = tmp_path / "swapped"
    shutil.copytree(photos / "good", swapped / "scratched")
    shutil.copytree(photos / "scratched", swapped / "good")
    page = tmp_path / "page.html"
    assert sartor("evaluate", "parts", "--data", swapped, "--html", page).code == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("<figure>") >= 10
    assert text.count("data:image/jpeg;base64,") == text.count("<figure>")
    assert text.count('<table class="confusion">') == 1
    assert str(photos) not in text
    stored = tmp_path / "stored.html"
    assert sartor("evaluate", "parts", "--html", stored).code == 0
    assert "<figure>" not in stored.read_text(encoding="utf-8")
    for path in Path(parts["path"]).iterdir():
        assert b"data:image" not in path.read_bytes(), path.name
