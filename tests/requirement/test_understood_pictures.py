import pytest

from picture_files import album, photo
from sartor import families
from sartor.data.picture_rows import read_pictures
from sartor.errors import DataError, NotFoundError, TaskError
from sartor.requirement import pictures
from sartor.requirement.heuristic import understand
from sartor.types import Columns, Example, Rows, Task


def rows_of(folder, **classes):
    return read_pictures(album(folder, classes), Columns())


def understood(task, rows, **options):
    return understand(task, rows, name="parts", **options)


def said(found):
    return " ".join(note.text for note in found.requirement.notes)


def test_classes_are_those_of_the_folders(tmp_path):
    found = understood(Task("Good or bad part?"), rows_of(tmp_path, good=10, bad=12))
    need = found.requirement
    assert (need.family, need.name, need.base) == ("image-classification", "parts", "efficientnet-lite0+anchor1")
    assert [(label.name, label.rows) for label in need.labels] == [("bad", 12), ("good", 10)]
    assert len(found.examples) == 22
    assert "Kind: image-classification, because pictures are to be put into classes." in said(found)
    assert "22 pictures: from 10 ('good') to 12 ('bad') a class." in said(found)
    assert not [note for note in need.notes if note.level == "warning"]


def test_descriptions_and_order_are_those_of_the_task(tmp_path):
    task = Task("x", labels={"good": "no scratch", "bad": "", "torn": ""}, kind="image-classification")
    found = understood(task, rows_of(tmp_path, good=8, bad=8, odd=1))
    need = found.requirement
    assert [(label.name, label.description, label.rows) for label in need.labels] == [
        ("good", "no scratch", 8),
        ("bad", "", 8),
        ("torn", "", 0),
    ]
    assert len(found.examples) == 16
    assert "No picture has the label 'torn'" in said(found)
    assert "1 picture was left out: labelled 'odd', which is not among the task's labels." in said(found)
    with pytest.raises(DataError, match="labels are taken verbatim"):
        understood(Task("x", labels={"a": "", "b": ""}), rows_of(tmp_path))


def test_few_and_unbalanced_pictures_are_told(tmp_path):
    found = understood(Task("x"), rows_of(tmp_path, good=25, bad=1, dull=3))
    assert "There is only one picture of 'bad'" in said(found)
    assert "There are fewer than 8 pictures of 'dull'" in said(found)
    assert "Very unbalanced: 'good' has 25 pictures, 'bad' 1." in said(found)


def test_pictures_that_look_alike_are_counted(tmp_path):
    album(tmp_path, {"good": 4, "bad": 4})
    photo("good", 0).save(tmp_path / "good" / "again.bmp")
    found = understood(Task("x"), read_pictures(tmp_path, Columns()))
    assert "2 pictures look like another" in said(found)


def test_one_class_is_refused_until_there_is_a_family_for_it(tmp_path, monkeypatch):
    one = rows_of(tmp_path / "one", good=3)
    flat = read_pictures(tmp_path / "one" / "good", Columns())
    monkeypatch.setattr(families, "names", lambda: ("image-classification",))
    with pytest.raises(DataError, match=r"Need pictures of at least two classes .* all 3 pictures are 'good'"):
        understood(Task("x"), one)
    with pytest.raises(DataError, match="none of the 3 pictures has a label"):
        understood(Task("x"), flat)
    monkeypatch.setattr(families, "names", lambda: ("image-anomaly-detection", "image-classification"))
    monkeypatch.setattr(families, "load", lambda name: None)
    assert understood(Task("x"), one).requirement.family == "image-anomaly-detection"
    found = understood(Task("x"), flat)
    assert (found.requirement.labels, len(found.examples)) == ((), 3)
    with pytest.raises(DataError, match="at least two classes"):
        understood(Task("x", kind="image-classification"), one)


def test_a_folder_too_many_is_hinted_at(tmp_path, monkeypatch):
    monkeypatch.setattr(families, "names", lambda: ("image-classification",))
    album(tmp_path / "photos", {"good": 2, "bad": 2})
    with pytest.raises(DataError, match=r"if those are the classes, give .*/photos\."):
        understood(Task("x"), read_pictures(tmp_path, Columns()))


@pytest.mark.parametrize("n", [60, 1001])
def test_names_are_no_classes(n):
    rows = Rows([Example(f"/nowhere/{at}.png", f"part {at}") for at in range(n)], pictures=True)
    with pytest.raises(DataError, match="looks like names, not classes"):
        understood(Task("x"), rows)


def test_what_does_not_go_together_is_refused(tmp_path):
    rows = rows_of(tmp_path, good=2, bad=2)
    with pytest.raises(TaskError, match="models of the kind text-classification read none"):
        understood(Task("x", kind="text-classification"), rows)
    with pytest.raises(NotFoundError, match="No model family"):
        understood(Task("x", kind="picture-classification"), rows)
    with pytest.raises(TaskError, match="A model of pictures is made from pictures"):
        understood(Task("x", kind="image-classification"), None)


def test_options(tmp_path):
    found = understood(
        Task("x"), rows_of(tmp_path, good=4, Good=5, bad=8), merge_labels=True, base="other", unlabelled=Rows(())
    )
    assert [label.name for label in found.requirement.labels] == ["Good", "bad"]
    assert found.requirement.base == "other"
    assert "Base: other, as asked." in said(found)
    assert "The unlabelled pictures are not read" in said(found)
    assert "differ only in case" in said(understood(Task("x"), rows_of(tmp_path)))


def test_pictures_without_a_label_beside_others_are_left_out():
    labelled = [Example(f"/nowhere/{at}.png", "ab"[at % 2]) for at in range(4)]
    kept, notes = pictures._labelled((*labelled, Example("/nowhere/x.png")))
    assert len(kept) == 4
    assert notes[0].text == "1 picture has no label and was left out."
