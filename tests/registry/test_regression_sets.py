import os
import stat

import pytest

from sartor.errors import StorageError, UserError
from sartor.registry import disk, regression
from sartor.registry.regression import Case


def test_cases_are_kept_in_order_and_the_last_word_on_an_input_holds(tmp_path):
    assert regression.read(tmp_path, "mails") == ()
    assert regression.add(tmp_path, "mails", [Case("a", "bug", True), Case("b", "other")]) == (2, 2)
    assert regression.add(tmp_path, "mails", [Case("a", "billing"), Case("c", "bug", source="feedback")]) == (1, 3)
    assert regression.read(tmp_path, "mails") == (
        Case("a", "billing", True),  # what must pass goes on to
        Case("b", "other"),
        Case("c", "bug", source="feedback"),
    )
    assert regression.read(tmp_path, "others") == ()


def test_texts_come_back_whole_whatever_is_in_them(tmp_path):
    odd = [Case("a\nb\r\n\u2028c\x00", "é"), Case("日本語 🎈", '"'), Case("", "")]
    regression.add(tmp_path, "mails", odd)
    assert list(regression.read(tmp_path, "mails")) == odd


def test_only_its_owner_reads_a_set(tmp_path):
    regression.add(tmp_path, "mails", [Case("a", "bug")])
    path = regression.path_of(tmp_path, "mails")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["../mails", "a/b", "", ".hidden", "A", "x" * 65, "a\n"])
def test_a_name_never_is_a_path(tmp_path, name):
    with pytest.raises(UserError, match="no name"):
        regression.read(tmp_path, name)


def test_a_crash_while_writing_leaves_the_old_set(tmp_path, monkeypatch):
    regression.add(tmp_path, "mails", [Case("a", "bug")])
    with monkeypatch.context() as patch:
        patch.setattr(disk, "step", lambda name: os.kill(os.getpid(), 9))
        child = os.fork()
        if child == 0:
            regression.add(tmp_path, "mails", [Case("b", "bug")])
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert regression.read(tmp_path, "mails") == (Case("a", "bug"),)
    assert regression.add(tmp_path, "mails", [Case("c", "bug")]) == (1, 2)


def test_a_damaged_line_is_named(tmp_path):
    regression.add(tmp_path, "mails", [Case("a", "bug"), Case("b", "bug")])
    path = regression.path_of(tmp_path, "mails")
    path.write_text(path.read_text().replace('"b"', "b"))
    with pytest.raises(StorageError, match="Line 2"):
        regression.read(tmp_path, "mails")


def test_a_set_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(regression, "MOST_CASES", 2)
    with pytest.raises(UserError, match="at most 2"):
        regression.add(tmp_path, "mails", [Case(str(n), "bug") for n in range(3)])
    assert regression.read(tmp_path, "mails") == ()
