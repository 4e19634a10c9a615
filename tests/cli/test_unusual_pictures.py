"""Good pictures alone, on the command line: from a folder to answers, heat-maps and a report."""

import csv
import json
import re

import pytest
from PIL import Image
from test_contract_page import documented

import tiny_pictures

TASK = "Anything unusual on this fabric?"


def shots(folder, number, start=0, letters="abc"):
    """Write pictures of one look, each drawn anew."""
    folder.mkdir(parents=True, exist_ok=True)
    for at in range(number):
        tiny_pictures.picture_of(" ".join(letters[(at + k) % len(letters)] * 3 for k in range(3)) + "d" * at).save(
            folder / f"{start + at}.png"
        )
    return folder


@pytest.fixture
def flat(tmp_path):
    return shots(tmp_path / "good_only", 8)


@pytest.fixture
def fabric(sartor, flat):
    ran = sartor("generate", TASK, "--examples", flat, "--name", "fabric", "--json")
    assert ran.code == 0, ran.err
    return ran.json


@pytest.fixture
def asked(tmp_path):
    folder = tmp_path / "new"
    shots(folder / "good", 4, 20)
    shots(folder / "hole", 3, 30, "xyz")
    return folder


def test_a_flat_folder_makes_a_model_that_says_what_few_pictures_can_vouch_for(fabric):
    assert fabric["family"] == "image-anomaly-detection"
    assert fabric["labels"] == []
    found = fabric["report"]["unusual"]
    assert found["promised"] == pytest.approx(1 / 9)
    assert not fabric["report"]["proved"]
    assert "11.1%" in fabric["report"]["headline"]
    assert {one["kind"] for one in found["planted"]} == {"scratch", "spot", "blur", "colour"}
    assert found["baselines"]
    assert any(note["text"] == "8 good pictures." for note in fabric["notes"])
    assert list(fabric) == documented("generate")


def test_one_class_folder_is_the_same_with_its_name_as_the_good_label(sartor, tmp_path):
    shots(tmp_path / "photos" / "fine weave", 6)
    made = sartor("generate", TASK, "--examples", tmp_path / "photos", "--json").json
    assert (made["family"], made["labels"]) == ("image-anomaly-detection", ["fine weave"])


def test_with_a_kind_good_and_bad_folders_measure_what_is_found(sartor, asked):
    ran = sartor("generate", TASK, "--examples", asked, "--kind", "image-anomaly-detection", "--json")
    assert ran.json["labels"] == ["good"]
    found = ran.json["report"]["unusual"]
    assert (found["scores"]["n_good"], found["scores"]["n_bad"]) == (4, 3)
    assert [one["kind"] for one in found["kinds"]] == ["hole"]


def test_classes_of_which_none_is_the_good_one_are_refused(sartor, tmp_path):
    for name, letters in (("cat", "abc"), ("dog", "pqr")):
        shots(tmp_path / "pets" / name, 3, letters=letters)
    ran = sartor("generate", TASK, "--examples", tmp_path / "pets", "--kind", "image-anomaly-detection")
    assert ran.code == 2
    assert "Which pictures are good?" in ran.err


def test_two_pictures_are_too_few(sartor, tmp_path):
    ran = sartor("generate", TASK, "--examples", shots(tmp_path / "two", 2))
    assert ran.code == 2
    assert "Give more good pictures" in ran.err


def test_answers_have_the_documented_keys_and_a_broken_picture_has_a_row(sartor, fabric, asked):
    (asked / "broken.jpg").write_bytes(b"no picture")
    rows = sartor("predict", "fabric", asked, "--json").json["answers"]
    assert list(rows[0]) == documented("predict, unusual")
    by_name = {row["image"]: row for row in rows}
    assert by_name["broken.jpg"]["score"] is None
    assert "not a picture" in by_name["broken.jpg"]["error"]
    for name, row in by_name.items():
        if name != "broken.jpg":
            assert row["unusual"] is (row["score"] > row["threshold"])
            assert row["error"] is None


def test_answers_are_written_and_counted(sartor, fabric, asked, tmp_path):
    out = tmp_path / "answers.csv"
    told = sartor("predict", "fabric", "--input", asked, "--output", out, "--json").json
    with out.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert told["rows"] == len(rows) == 7
    assert told["unusual"] == sum(row["unusual"] == "true" for row in rows)
    assert told["unread"] == 0


def test_one_picture_is_told_for_a_person(sartor, fabric, asked):
    out = sartor("predict", "fabric", asked / "hole" / "30.png").out
    assert re.match(r"(unusual|usual)  \(score -?\d", out)


def test_heat_maps_are_pictures_named_after_theirs(sartor, fabric, asked, tmp_path):
    folder = tmp_path / "heat"
    assert sartor("predict", "fabric", asked, "--heatmaps", folder).code == 0
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 7
    assert "hole__30.png.png" in names
    for name in names:
        with Image.open(folder / name) as image:
            assert image.size == (48, 40)
    again = sartor("predict", "fabric", asked, "--heatmaps", folder)
    assert again.code == 2
    assert "holds files already" in again.err


def test_heat_maps_of_texts_are_refused(sartor, made, tmp_path):
    ran = sartor("predict", "mails", "hello", "--heatmaps", tmp_path / "heat")
    assert ran.code == 2
    assert "models of pictures" in ran.err
    assert not (tmp_path / "heat").exists()


def test_good_and_bad_folders_are_assessed_beside_the_baselines(sartor, fabric, flat, asked, tmp_path):
    page = tmp_path / "report.html"
    ran = sartor("evaluate", "fabric", "--data", asked, "--examples", flat, "--html", page)
    assert ran.code == 0, ran.err
    assert "AUROC" in ran.out
    text = page.read_text(encoding="utf-8")
    assert "hole" in text
    assert "Distance to the mean of pooled features" in text
    found = sartor("evaluate", "fabric", "--data", asked, "--json").json["unusual"]
    assert found["scores"]["n_bad"] == 3
    assert found["baselines"] == []


def test_no_picture_and_no_name_of_one_is_in_the_bundle(fabric, flat):
    from pathlib import Path

    for path in Path(fabric["path"]).iterdir():
        content = path.read_bytes()
        assert b"good_only/" not in content
        assert str(flat).encode() not in content
        assert b"PNG" not in content
        assert path.stat().st_size < 5_000_000
    assert json.loads((Path(fabric["path"]) / "report.json").read_text())["unusual"]["planted"]


def test_it_is_shown(sartor, fabric):
    out = sartor("show", "fabric").out
    assert "Above a score of" in out
    assert "artificial" in out
