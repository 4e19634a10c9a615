"""Pictures that cannot be used: exit 2, a sentence, and nothing written."""

import io
import os

import numpy as np
import pytest
from cli_helpers import snapshot
from PIL import Image

from picture_files import TASK, album, csv_of, photo, png_of
from sartor import settings

LARGE = 30_000


@pytest.fixture
def refused(sartor, tmp_path):
    """Run a command that must be refused; return the sentence. The store and ``out`` must stay as they are."""

    def run(*arguments):
        home = settings.current().home
        before = snapshot(home)
        ran = sartor(*arguments)
        assert ran.code == 2, ran
        assert ran.out == ""
        assert snapshot(home) == before
        assert not (tmp_path / "out").exists()
        return ran.err.split("Error: ", 1)[1].strip()

    return run


def truncated():
    file = io.BytesIO()
    photo("good", 0, (320, 240)).save(file, "JPEG")
    return file.getvalue()[:4000]


def empty(folder):
    pass


def one_picture(folder):
    album(folder, {"good": 1})


def one_class(folder):
    album(folder, {"good": 5, "bad": 0})


def flat(folder):
    for at in range(3):
        photo("good", at).save(folder / f"{at}.png")


def all_text(folder):
    (folder / "good").mkdir()
    (folder / "good" / "a.jpg").write_text("words")


def all_truncated(folder):
    (folder / "good").mkdir()
    (folder / "good" / "a.jpg").write_bytes(truncated())


def all_large(folder):
    (folder / "good").mkdir()
    (folder / "good" / "a.png").write_bytes(png_of(LARGE, LARGE))


def loops(folder):
    (folder / "good").symlink_to(folder)
    (folder / "bad").mkdir()
    (folder / "bad" / "a.jpg").symlink_to("a.jpg")


def outside(folder):
    album(folder.parent, {"elsewhere": 2})
    (folder / "good").symlink_to(folder.parent / "elsewhere")


def ten_thousand(folder):
    photo("good", 0).save(folder.parent / "one.png")
    for at in range(10_000):
        (folder / str(at)).mkdir()
        os.link(folder.parent / "one.png", folder / str(at) / "a.png")


def parts(folder):
    album(folder / "train", {"good": 1, "bad": 1})
    album(folder / "test", {"good": 1, "bad": 1})


FOLDERS = {
    empty: "is a folder without a picture",
    one_picture: "at least two classes to choose between; all 1 pictures are 'good'",
    one_class: "at least two classes",
    flat: "none of the 3 pictures has a label",
    all_text: "'good/a.jpg' is text, not a picture",
    all_truncated: "'good/a.jpg' is damaged or cut short",
    all_large: "has too many pixels, and at most 100 million are read",
    loops: "'bad/a.jpg' cannot be read",
    outside: "is a folder without a picture",
    ten_thousand: "Got 10,000 folders",
    parts: "are parts of a data set, not classes",
}


@pytest.mark.parametrize("make", FOLDERS, ids=lambda make: make.__name__)
def test_a_folder_that_cannot_be_used_is_refused(refused, tmp_path, make):
    folder = tmp_path / "photos"
    folder.mkdir()
    make(folder)
    arguments = ("--examples", folder, "--kind", "image-classification", "--out", tmp_path / "out")
    assert FOLDERS[make] in refused("generate", TASK, *arguments)


FILES = {
    "files that do not exist": ([("a.jpg", "good"), ("b.jpg", "bad")], "'a.jpg' is not there"),
    "files outside": ([("../a.png", "good"), ("/etc/passwd", "bad")], "'../a.png' lies outside of the file's folder"),
    "one class": ([("good/000.png", "good"), ("good/001.png", "good")], "all 2 pictures are 'good'"),
    "ten thousand classes": ([(f"x{at}.jpg", f"l{at}") for at in range(10_000)], "can be used: 'x0.jpg' is not there"),
}


@pytest.mark.parametrize(("rows", "part"), FILES.values(), ids=FILES)
def test_a_file_that_names_no_pictures_is_refused(refused, tmp_path, rows, part):
    folder = album(tmp_path / "photos", {"good": 2, "bad": 2})
    photo("good", 9).save(tmp_path / "a.png")
    path = csv_of(folder / "rows.csv", rows)
    assert part in refused("generate", TASK, "--examples", path, "--kind", "image-classification")


def test_a_class_for_each_picture_is_refused(refused, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for at in range(60):
        photo("good", at).save(folder / f"{at}.png")
    path = csv_of(folder / "rows.csv", [(f"{at}.png", f"part {at}") for at in range(60)])
    assert "looks like names, not classes" in refused("generate", TASK, "--examples", path)


def test_other_mistakes_are_refused(refused, tmp_path):
    folder = album(tmp_path / "photos", {"good": 2, "bad": 2})
    assert "is one picture" in refused("generate", TASK, "--examples", folder / "good" / "000.png")
    assert "is a folder, not a file" in refused("generate", TASK, "--examples", folder, "--kind", "text-classification")
    assert "made from pictures" in refused("generate", TASK, "--kind", "image-classification")
    assert "all-minilm-l6-v2" in refused("generate", TASK, "--examples", folder, "--base", "all-minilm-l6-v2")


MIXED = {
    "text.jpg": b"these are words",
    "cut.jpg": truncated(),
    "large.png": png_of(LARGE, LARGE),
    "empty.png": b"",
}


def test_bad_pictures_among_good_ones_are_left_out_and_the_rest_makes_a_model(sartor, tmp_path):
    folder = album(tmp_path / "写真", {"良品": 3, "傷あり": 3, "空": 0})
    for name, content in MIXED.items():
        (folder / "良品" / name).write_bytes(content)
    frames = [photo("good", at) for at in (50, 51)]
    frames[0].save(folder / "良品" / "動く.GIF", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    photo("good", 52).save(folder / "良品" / "日本語.JPG", exif=exif)
    photo("good", 53).convert("CMYK").save(folder / "傷あり" / "cmyk.jpg")
    photo("good", 54).convert("RGBA").save(folder / "傷あり" / "alpha.png")
    sixteen = np.asarray(photo("good", 55).convert("L")).astype(np.uint16) * 257
    Image.fromarray(sixteen).save(folder / "傷あり" / "16.png")
    (folder / "傷あり" / "loop").symlink_to(folder)
    ran = sartor("generate", "傷があるか", "--examples", folder, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["labels"] == ["傷あり", "良品"]
    assert ran.json["report"]["protocol"]["rows"] == 11
    said = " ".join(note["text"] for note in ran.json["notes"])
    assert "4 pictures cannot be used and were left out: '良品/cut.jpg' is damaged or cut short" in said
    assert "The folder '空' holds no picture" in said
    assert not ran.err


def test_predict_is_refused_where_no_picture_can_be_read(sartor, refused, tmp_path):
    folder = album(tmp_path / "photos", {"good": 3, "bad": 3})
    assert sartor("generate", TASK, "--examples", folder, "--name", "parts").code == 0
    new = tmp_path / "new"
    new.mkdir()
    assert "is a folder without a picture" in refused("predict", "parts", new)
    out = tmp_path / "answers.csv"
    out.write_text("the old ones")
    for name, content in MIXED.items():
        (new / name).write_bytes(content)
    for where in ([], ["--output", out], ["--json"]):
        ran = sartor("predict", "parts", new, *where)
        assert ran.code == 2
        assert ran.err.startswith("Error: None of the 4 pictures can be read. The picture 'cut.jpg' is damaged")
        assert "So is 1 more." in ran.err
    assert out.read_text() == "the old ones"
    assert sorted(os.listdir(tmp_path)) == ["answers.csv", "cache", "home", "new", "photos"]
    assert "is not there" in refused("predict", "parts", tmp_path / "nowhere.jpg")


def test_evaluate_is_refused_where_pictures_have_no_labels(sartor, refused, tmp_path):
    folder = album(tmp_path / "photos", {"good": 3, "bad": 3})
    assert sartor("generate", TASK, "--examples", folder, "--name", "parts").code == 0
    assert "has a label" in refused("evaluate", "parts", "--data", folder / "good")
    assert "is a folder without a picture" in refused("evaluate", "parts", "--data", tmp_path / "home" / "tmp")
