import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from picture_files import album, csv_of, photo
from sartor.data import picture_rows, pictures
from sartor.data.picture_rows import of_pairs, problems, read_arguments, read_names, read_pictures
from sartor.data.table import read_table
from sartor.errors import DataError
from sartor.types import Columns, Example

NONE = Columns()


def names(rows, folder):
    return [(os.path.relpath(row.input, os.path.realpath(folder)), row.output) for row in rows.examples]


def said(rows, topic=None):
    return " ".join(note.text for note in rows.notes if topic in (None, note.topic))


# --- folders -----------------------------------------------------------------------------------------------


def test_a_class_is_a_folder_and_deeper_folders_belong_to_it(tmp_path):
    album(tmp_path, {"good": 2, "bad": 1})
    album(tmp_path / "good" / "monday", {"early": 1}, start=7)
    rows = read_pictures(tmp_path, NONE)
    wanted = [("bad/000.png", "bad"), ("good/000.png", "good"), ("good/001.png", "good")]
    assert names(rows, tmp_path) == [*wanted, ("good/monday/early/007.png", "good")]
    assert (rows.pictures, rows.source, rows.notes) == (True, tmp_path.name, ())


def test_a_flat_folder_has_no_labels(tmp_path):
    folder = album(tmp_path, {"new": 3}) / "new"
    assert names(read_pictures(folder, NONE), folder) == [(f"00{at}.png", None) for at in range(3)]


def test_names_in_any_language_and_suffixes_in_any_case(tmp_path):
    folder = tmp_path / "写真"
    for at, name in enumerate(["良品/日本語.jpg", "良品/é.JPEG", "傷あり/IMG 1.PNG", "傷あり/x.TiF"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        photo("good", at).save(folder / name)
    rows = read_pictures(folder, NONE)
    assert {row.output for row in rows.examples} == {"良品", "傷あり"}
    assert len(rows.examples) == 4


def test_a_label_is_the_same_whether_a_mac_or_another_system_wrote_it(tmp_path):
    album(tmp_path, {"か\u3099": 1, "bad": 1})  # decomposed, as Macs write it
    assert {row.output for row in read_pictures(tmp_path, NONE).examples} == {"が", "bad"}


def test_what_systems_put_into_folders_is_not_looked_at(tmp_path):
    album(tmp_path, {"good": 1, "bad": 1, "__MACOSX": 1, ".hidden": 1, "@eaDir": 1})
    for name in ("good/._000.png", "good/Thumbs.db", "good/.DS_Store", "bad/desktop.ini"):
        (tmp_path / name).write_bytes(b"junk")
    rows = read_pictures(tmp_path, NONE)
    assert len(rows.examples) == 2
    assert rows.notes == ()


def test_files_of_other_kinds_are_counted(tmp_path):
    album(tmp_path, {"good": 1, "bad": 1})
    for name in ("good/a.HEIC", "good/b.heic", "bad/notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    rows = read_pictures(tmp_path, NONE)
    assert said(rows) == (
        "Pictures of kinds that are not read were left out: 2 .heic. Save them as JPEG or PNG. "
        "Files that are no pictures were not looked at: 1 .txt."
    )
    assert [note.level for note in rows.notes] == ["warning", "info"]


def test_a_folder_without_a_picture_is_named_and_pictures_beside_the_folders_are_counted(tmp_path):
    album(tmp_path, {"good": 1, "bad": 1, "odd": 0, "broken": 0})
    (tmp_path / "broken" / "x.jpg").write_text("words")
    photo("good", 9).save(tmp_path / "cover.png")
    rows = read_pictures(tmp_path, NONE)
    assert "The folders 'broken', 'odd' hold no picture that can be used: no class is made of it." in said(rows)
    assert "1 picture lies beside the folders of the classes, so without a label, and was left out." in said(rows)
    assert {row.output for row in rows.examples} == {"good", "bad"}


def test_bad_pictures_are_left_out_counted_and_three_are_named(tmp_path):
    album(tmp_path, {"good": 3, "bad": 2})
    for at in range(5):
        (tmp_path / "bad" / f"{at}.jpg").write_text("words")
    rows = read_pictures(tmp_path, NONE)
    [note] = rows.notes
    assert (note.topic, note.level, note.quotes) == ("dropped", "warning", True)
    assert note.text.startswith("5 pictures cannot be used and were left out: 'bad/0.jpg' is text, not a picture")
    assert "'bad/2.jpg' is text" in note.text
    assert "'bad/3.jpg'" not in note.text
    assert note.text.endswith("; and 2 more.")
    assert len(rows.examples) == 5


def test_a_folder_of_bad_pictures_alone_is_refused(tmp_path):
    album(tmp_path, {"good": 0})
    for at in range(4):
        (tmp_path / "good" / f"{at}.jpg").write_text("words")
    with pytest.raises(
        DataError, match=r"None of the 4 pictures of .* can be used: 'good/0.jpg' is text.*; and 1 more"
    ):
        read_pictures(tmp_path, NONE)


def test_copies_count_once_and_those_with_two_labels_not_at_all(tmp_path):
    album(tmp_path, {"good": 3, "bad": 2})
    shutil.copy(tmp_path / "good" / "000.png", tmp_path / "good" / "copy.png")
    shutil.copy(tmp_path / "good" / "001.png", tmp_path / "bad" / "torn.png")
    rows = read_pictures(tmp_path, NONE)
    assert "1 picture is a copy of another and is not counted." in said(rows, "duplicates")
    assert "1 picture stands under more than one class and was left out ('bad/torn.png' = 'good/001.png')" in said(rows)
    kept = [name for name, _ in names(rows, tmp_path)]
    assert kept == ["bad/000.png", "bad/001.png", "good/000.png", "good/002.png"]


def test_a_folder_of_which_every_picture_has_two_labels_is_refused(tmp_path):
    album(tmp_path, {"good": 1, "bad": 0})
    shutil.copy(tmp_path / "good" / "000.png", tmp_path / "bad")
    with pytest.raises(DataError, match="each stands under two classes"):
        read_pictures(tmp_path, NONE)


def test_the_hash_is_that_of_contents_and_labels(tmp_path):
    first = read_pictures(album(tmp_path / "a", {"good": 2, "bad": 2}), NONE)
    other = tmp_path / "b"
    shutil.copytree(tmp_path / "a", other)
    (other / "good" / "000.png").rename(other / "good" / "zzz.png")
    renamed = read_pictures(other, NONE)
    assert names(first, tmp_path / "a") != names(renamed, other)
    assert first.sha256 == renamed.sha256
    rows = [(f"a/{label}/00{at}.png", label) for label in ("good", "bad") for at in (1, 0)]
    assert read_pictures(csv_of(tmp_path / "rows.csv", rows), NONE).sha256 == first.sha256
    (other / "good").rename(other / "fine")
    assert read_pictures(other, NONE).sha256 != first.sha256


def test_links_within_the_folder_end_and_those_out_of_it_are_told(tmp_path):
    folder = album(tmp_path / "photos", {"good": 2, "bad": 1})
    album(tmp_path, {"elsewhere": 1})
    (folder / "good" / "again").symlink_to(folder)
    (folder / "good" / "self").symlink_to("self")
    (folder / "bad" / "loop.png").symlink_to("loop.png")
    (folder / "bad" / "broken.png").symlink_to("gone.png")
    (folder / "bad" / "good2.png").symlink_to(folder / "good" / "001.png")
    (folder / "third").symlink_to(tmp_path / "elsewhere")
    (folder / "good" / "secret.png").symlink_to("/etc/hostname")
    rows = read_pictures(folder, NONE)
    assert "2 links lead out of the folder and were left out: 'third', 'good/secret.png'." in said(rows)
    assert "'bad/broken.png' is not there; 'bad/loop.png' cannot be read" in said(rows)
    assert "'bad/good2.png' = 'good/001.png'" in said(rows)
    assert names(rows, folder) == [("bad/000.png", "bad"), ("good/000.png", "good")]
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    assert read_pictures(linked, NONE).sha256 == rows.sha256


def test_a_folder_that_may_not_be_entered_is_told(tmp_path, monkeypatch):
    album(tmp_path, {"good": 1, "bad": 1, "closed": 1})
    real = os.scandir

    def scandir(path):  # root, as whom tests may run, may enter all
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    rows = read_pictures(tmp_path, NONE)
    assert "1 folder may not be entered and was left out: 'closed'." in said(rows)
    monkeypatch.setattr(os, "scandir", lambda _: scandir("closed"))
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        read_pictures(tmp_path, NONE)


@pytest.mark.parametrize("inside", [[], ["notes.txt", "x.heic"]])
def test_a_folder_without_a_picture_is_refused(tmp_path, inside):
    for name in inside:
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match="is a folder without a picture") as told:
        read_pictures(tmp_path, NONE)
    assert ("1 .txt" in str(told.value)) == bool(inside)


def test_parts_of_a_data_set_are_no_classes(tmp_path):
    album(tmp_path / "train", {"good": 1, "bad": 1})
    album(tmp_path / "test", {"good": 1, "bad": 1})
    with pytest.raises(DataError, match=r"'test', 'train' in .* are parts of a data set, not classes"):
        read_pictures(tmp_path, NONE)
    assert len(read_pictures(album(tmp_path / "own", {"test": 1, "train": 1}), NONE).examples) == 2


def test_a_folder_too_many_is_told(tmp_path):
    album(tmp_path / "photos", {"good": 2, "bad": 1})
    (tmp_path / "photos" / "words.jpg").write_text("words")
    rows = read_pictures(tmp_path, NONE)
    assert f"in it 'bad', 'good': if those are the classes, give {tmp_path.name}/photos." in said(rows, "folders")


def test_a_file_that_may_hold_the_labels_is_told(tmp_path):
    folder = album(tmp_path, {"photos": 2}) / "photos"
    csv_of(folder / "metadata.csv", [("000.png", "good")], ("file_name", "label"))
    assert (
        said(read_pictures(folder, NONE), "folders") == "If 'metadata.csv' holds the labels, give photos/metadata.csv."
    )


def test_ten_thousand_classes_are_refused_before_a_picture_is_opened(tmp_path, monkeypatch):
    photo("good", 0).save(tmp_path / "one.png")
    for at in range(10_000):
        os.mkdir(tmp_path / str(at))
        os.link(tmp_path / "one.png", tmp_path / str(at) / "a.png")
    monkeypatch.setattr(picture_rows, "look", None)
    with pytest.raises(DataError, match="Got 10,000 folders with 10,001 pictures"):
        read_pictures(tmp_path, NONE)


def test_a_picture_in_the_place_of_a_folder_is_refused(tmp_path):
    photo("good", 0).save(tmp_path / "a.PNG")
    with pytest.raises(DataError, match=r"is one picture\. Give the folder"):
        read_pictures(tmp_path / "a.PNG", NONE)


def test_progress_tells_how_many_are_read(tmp_path):
    told = []
    read_pictures(album(tmp_path, {"good": 3, "bad": 2}), NONE, progress=lambda *step: told.append(step))
    assert told[-6:] == [("load", done, 5) for done in range(6)]


def test_few_pictures_are_in_hand_at_any_time_and_an_interrupt_ends_at_once(tmp_path, monkeypatch):
    found = [picture_rows.Found(f"/nowhere/{at}.png", f"{at}.png") for at in range(50_000)]
    lock, asked = threading.Lock(), []

    def slow(one):
        with lock:
            asked.append(one)
        time.sleep(0.005)
        return one.name

    monkeypatch.setattr(picture_rows, "_check", slow)
    done = 0

    def progress(stage, at, total):
        nonlocal done
        done = at
        if at == 20:
            raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(picture_rows._checked(found, progress))
    assert time.monotonic() - begun < 5
    assert done == 20
    assert len(asked) <= 21 + picture_rows._AHEAD
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]


# --- files -------------------------------------------------------------------------------------------------


@pytest.fixture
def four(tmp_path):
    """Four pictures, and the rows that name them."""
    album(tmp_path, {"good": 2, "bad": 2})
    return [(f"{label}/00{at}.png", label) for label in ("good", "bad") for at in range(2)]


HEADERS = [("image", "label"), ("file_name", "class"), ("画像", "ラベル"), ("what it is", "label"), ("a", "b")]


@pytest.mark.parametrize("header", HEADERS)
def test_columns_are_told_by_usual_names_or_by_what_they_hold(tmp_path, four, header):
    rows = read_pictures(csv_of(tmp_path / "rows.csv", four, header), NONE)
    assert names(rows, tmp_path) == four
    assert rows.source == "rows.csv"
    assert f"The pictures are in column {header[0]!r}, the label in {header[1]!r}." in said(rows)


def test_columns_can_be_named(tmp_path, four):
    rows = [(f"{at}", name, label, "x") for at, (name, label) in enumerate(four)]
    path = csv_of(tmp_path / "rows.csv", rows, ("image", "where", "kind", "label"))
    assert names(read_pictures(path, Columns("where", "kind")), tmp_path) == four
    with pytest.raises(DataError, match="has no column 'wher'"):
        read_pictures(path, Columns("wher", "kind"))


def test_a_file_without_a_column_of_pictures_is_refused(tmp_path):
    path = csv_of(tmp_path / "rows.csv", [("a b", "x", "1"), ("c d", "y", "2")], ("text", "label", "n"))
    with pytest.raises(DataError, match="no column of pictures that we know"):
        read_pictures(path, NONE)
    assert not picture_rows.looks_like_pictures(read_table(path), NONE)


def test_other_formats_of_files_and_paths_as_windows_writes_them(tmp_path, four):
    lines = "".join(f'{{"image": "{name}", "label": "{label}"}}\n' for name, label in four)
    (tmp_path / "rows.jsonl").write_text(lines)
    assert names(read_pictures(tmp_path / "rows.jsonl", NONE), tmp_path) == four
    path = csv_of(tmp_path / "w.csv", [(name.replace("/", "\\"), label) for name, label in four])
    assert picture_rows.looks_like_pictures(read_table(path), NONE)
    assert names(read_pictures(path, NONE), tmp_path) == four
    absolute = csv_of(tmp_path / "a.csv", [(str(tmp_path / name), label) for name, label in four])
    assert names(read_pictures(absolute, NONE), tmp_path) == four


def test_paths_that_lead_nowhere_or_out_of_the_folder_are_named_and_left_out(tmp_path, four):
    folder = tmp_path / "own"
    album(folder, {"good": 1, "bad": 1})
    (folder / "link.png").symlink_to(tmp_path / "good" / "001.png")
    outside = [("../good/000.png", "good"), ("link.png", "good"), ("/etc/passwd", "bad"), ("gone.png", "bad")]
    blank = [("", "good"), ("good/000.png", "")]
    path = csv_of(folder / "rows.csv", [("good/000.png", "good"), ("bad/000.png", "bad"), *outside, *blank])
    rows = read_pictures(path, NONE)
    assert names(rows, folder) == [("good/000.png", "good"), ("bad/000.png", "bad")]
    assert (
        "4 pictures cannot be used and were left out: '../good/000.png' lies outside of the file's folder; "
        "'link.png' lies outside of the file's folder; '/etc/passwd' lies outside of the file's folder; and 1 more."
    ) in said(rows)
    assert "1 row names no picture and was left out." in said(rows)
    assert "1 row has no label and was left out." in said(rows)
    with pytest.raises(DataError, match=r"None of the 4 pictures of bad.csv can be used: .*lies outside"):
        read_pictures(csv_of(folder / "bad.csv", outside), NONE)
    with pytest.raises(DataError, match=r"The only picture of one.csv cannot be used: 'gone.png' is not there"):
        read_pictures(csv_of(folder / "one.csv", outside[3:]), NONE)
    with pytest.raises(DataError, match="1 name no picture and 1 have no label"):
        read_pictures(csv_of(folder / "blank.csv", blank), NONE)


def test_a_file_of_names_alone_has_no_labels(tmp_path, four):
    for header in ("image", "x"):
        path = csv_of(tmp_path / f"{header}.csv", [(name,) for name, _ in four], (header,))
        rows = read_pictures(path, NONE)
        assert names(rows, tmp_path) == [(name, None) for name, _ in four]
        assert ("'x' is not there" in said(rows)) == (header == "x")  # what no name of a column is, is a row


# --- in Python ---------------------------------------------------------------------------------------------


def test_pairs_of_path_and_label(tmp_path, four, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [four[0], (Path(four[1][0]), four[1][1]), {"image": four[2][0], "label": "bad"}, Example(*four[3])]
    rows = of_pairs(given)
    assert names(rows, tmp_path) == four
    assert all(os.path.isabs(row.input) for row in rows.examples)
    for bad in ([("a", 1)], ["a"], [(1, "good")]):
        with pytest.raises(DataError, match="An example is the path of a picture and a label"):
            of_pairs(bad)
    with pytest.raises(DataError, match="There is no picture"):
        of_pairs([])


# --- to answer for -----------------------------------------------------------------------------------------


def test_arguments_are_pictures_and_folders(tmp_path, four, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, _ = read_arguments(["good"])
    assert [one.name for one in found] == ["000.png", "001.png"]
    found, _ = read_arguments(["good", "./bad/000.png", "nowhere.jpg"])
    assert [one.name for one in found] == ["good/000.png", "good/001.png", "./bad/000.png", "nowhere.jpg"]
    assert problems(found) == ["", "", "", "The picture 'nowhere.jpg' is not there."]
    found, _ = read_names(Path("."), NONE)
    assert [one.name for one in found] == sorted(name for name, _ in four)
    found, _ = read_names(Path("good/000.png"), NONE)
    assert [one.name for one in found] == ["good/000.png"]


def test_every_row_of_a_file_is_answered_in_its_order(tmp_path, four):
    path = csv_of(tmp_path / "rows.csv", [four[2], ("", "x"), ("/etc/passwd", "x"), four[0], four[0]])
    found, _ = read_names(path, NONE)
    told = problems(found)
    assert [one.name for one in found] == [four[2][0], "", "/etc/passwd", four[0][0], four[0][0]]
    outside = "The picture '/etc/passwd' lies outside of the file's folder."
    assert told == ["", "This row names no picture.", outside, "", ""]


def test_a_picture_is_unpacked_once_to_be_read_and_compared(tmp_path, monkeypatch):
    unpacked = []
    real = pictures._decoded
    monkeypatch.setattr(pictures, "_decoded", lambda *asked: unpacked.append(asked[0]) or real(*asked))
    rows = read_pictures(album(tmp_path, {"good": 2, "bad": 2}), NONE)
    for row in rows.examples:
        pictures.look(row.input)
    assert len(unpacked) == 4
