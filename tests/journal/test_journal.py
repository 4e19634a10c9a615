import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from sartor import journal
from sartor.errors import NotFoundError, StorageError
from sartor.journal import AnswerRow, DecisionRow, EventRow, FeedbackRow, Journal, Reader

CHILD = Path(__file__).with_name("journal_child.py")


def answer(at=1000.0, **fields):
    row = AnswerRow(
        journal.new_answer_id(), at, "mails", "champion", 1, "ab" * 8, "text-classification", "small", 0.9, "bug"
    )
    return replace(row, **fields)


@pytest.fixture
def path(tmp_path):
    return tmp_path / journal.FILE


def test_what_was_written_is_read_back_whole(path):
    row = answer(
        latency_ms=1.5,
        input_hash="00ff",
        input_chars=12,
        scope=0.25,
        projection=tuple(np.linspace(-1, 1, 32, dtype=np.float32).tolist()),
        asked="mails@champion",
        text="my card was charged",
        output=None,
        value=None,
        abstain=True,
        source="abstain",
    )
    with Journal(path) as book:
        book.append(
            row,
            FeedbackRow(row.answer_id, 1001.0, "billing", None, "api"),
            FeedbackRow(row.answer_id, 1002.0, None, -1, "api"),
            DecisionRow(row.answer_id, 1000.0, "canary", "share 0.1", {"arm": "challenger"}),
            EventRow(1003.0, "start", "", {"port": 8000}),
        )
    reader = Reader(path)
    found = reader.answer(row.answer_id)
    assert replace(found, seq=0) == row
    assert found.seq == 1
    assert [replace(one, seq=0) for one in reader.answers()] == [replace(row, text=None)]
    assert [(one.label, one.thumbs) for one in reader.feedback_of(row.answer_id)] == [("billing", None), (None, -1)]
    assert [(one.label, whose.label, whose.text) for one, whose in reader.feedback(name="mails", last=1)] == [
        (None, "bug", "my card was charged")
    ]
    assert list(reader.feedback(name="others")) == []
    assert next(reader.decisions(kind="canary")).body == {"arm": "challenger"}
    assert next(reader.events(kind="start")).body == {"port": 8000}
    assert reader.names() == ("mails",)
    assert reader.has(row.answer_id)


def test_nothing_but_what_is_retained_holds_the_text(path):
    secret = "nobody may read this sentence"
    with Journal(path) as book:
        row = answer(input_hash=book.hash(secret), input_chars=len(secret))
        book.append(row)
        assert book.hash(secret) == row.input_hash
    with Journal(path) as book:  # the key stays with the journal
        assert book.hash(secret) == row.input_hash
    with Journal(path.with_name("other.db")) as other:
        assert other.hash(secret) != row.input_hash
    assert secret.encode() not in b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_readers_choose_by_name_alias_time_and_place(path):
    rows = [
        answer(at=float(at), name=name, alias=alias)
        for at, name, alias in [
            (1, "mails", "champion"),
            (2, "mails", "challenger"),
            (3, "tickets", "champion"),
            (4, "mails", "champion"),
        ]
    ]
    with Journal(path) as book:
        book.append(*rows)
        reader = book.reader()
        at = lambda **chosen: [row.at for row in reader.answers(**chosen)]  # noqa: E731
        assert at() == [1, 2, 3, 4]
        assert at(name="mails") == [1, 2, 4]
        assert at(name="mails", alias="champion") == [1, 4]
        assert at(since=2, until=4) == [2, 3]
        assert at(after=2) == [3, 4]
        assert at(last=2) == [3, 4]
        assert at(name="mails", last=2) == [2, 4]
        assert reader.count(name="mails", since=2) == 2
        assert reader.names() == ("mails", "tickets")
        assert reader.table(name="mails").column("at").to_pylist() == [1, 2, 4]


def test_a_journal_that_is_not_there_is_empty(path):
    reader = Reader(path)
    assert list(reader.answers()) == []
    assert reader.names() == ()
    assert journal.prune(path, before=1e12) == 0
    with pytest.raises(NotFoundError, match="pruned"):
        reader.answer(journal.new_answer_id())


def test_rows_are_never_changed(path):
    with Journal(path) as book:
        book.append(answer())
    with sqlite3.connect(path) as db, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute("UPDATE answers SET label = 'other'")


def test_an_answers_id_is_checked_and_grows_with_time():
    ids = [journal.new_answer_id(now) for now in (1.0, 2.0, 3000.0, 4e9)]
    assert ids == sorted(ids)
    assert all(map(journal.is_answer_id, ids))
    assert len({journal.new_answer_id(1.0) for _ in range(100)}) == 100
    for bad in ("", "ans_", ids[0] + "0", ids[0].upper(), ids[0] + "\n", "../" + ids[0], "ans_" + "u" * 26):
        assert not journal.is_answer_id(bad)


def test_many_threads_share_one_commit(path):
    commits = []
    with Journal(path) as book:
        before = journal.step
        journal.step = lambda name: commits.append(name) if name == "committed" else time.sleep(0.005)
        try:
            threads = [threading.Thread(target=book.append, args=(answer(),)) for _ in range(40)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            journal.step = before
        assert len(list(book.reader().answers())) == 40
    assert len(commits) < 20


def test_a_double_id_fails_its_batch_and_nothing_else(path):
    row = answer()
    with Journal(path) as book:
        book.append(row)
        with pytest.raises(sqlite3.IntegrityError):
            book.append(answer(), row)
        book.append(answer())
        assert book.reader().count() == 2
        assert book.waiting == 0


def test_one_bad_row_fails_none_of_those_that_waited_with_it(path, monkeypatch):
    held = threading.Event()
    with Journal(path) as book:
        row = answer()
        book.append(row)
        with monkeypatch.context() as patch:
            patch.setattr(journal, "step", lambda name: held.wait(10))
            first = book.write([answer()])
            others = [
                book.write([answer()]),
                book.write([row]),
                book.write([answer(label="\ud800")]),
                book.write([answer()]),
            ]
            held.set()
            first.result(10)
            failed = [done.exception(10) is not None for done in others]
        assert failed == [False, True, True, False]
        assert book.reader().count() == 4
        assert (book.waiting, book.last_error) == (0, None)


def test_who_comes_when_too_many_wait_is_turned_away(path):
    held = threading.Event()
    before = journal.step
    journal.step = lambda name: held.wait(10) if name == "committing" else None
    try:
        with Journal(path, most_waiting=3) as book:
            first = book.write([answer(), answer()])
            with pytest.raises(StorageError, match="wait for the disk"):
                book.write([answer(), answer()])
            held.set()
            first.result(10)
            book.append(answer(), answer())
    finally:
        held.set()
        journal.step = before


def test_the_fast_mode_does_not_wait_and_close_loses_nothing(path):
    held = threading.Event()
    before = journal.step
    journal.step = lambda name: held.wait(10) if name == "committing" else None
    try:
        book = Journal(path, mode="fast")
        assert all(book.write([answer()]).done() for _ in range(5))
        assert book.reader().count() == 0
        held.set()
        book.close()
    finally:
        held.set()
        journal.step = before
    assert Reader(path).count() == 5
    with pytest.raises(StorageError, match="closed"):
        book.write([answer()])


@pytest.mark.parametrize("at", ["committing", "committed"])
def test_nothing_that_was_told_is_lost_by_a_kill(path, at):
    child = subprocess.run(
        [sys.executable, str(CHILD), str(path), at, "5"], capture_output=True, text=True, timeout=60, check=False
    )
    assert child.returncode == -9, child.stderr
    told = [line.split() for line in child.stdout.splitlines()]
    kept = {row.answer_id for row in Reader(path).answers()}
    assert len(told) == 5
    assert {one for ids in told for one in ids} <= kept
    assert len(kept) % 3 == 0  # a batch is there as a whole or not at all
    with Journal(path) as book:  # and the next process goes on
        book.append(answer())


def test_a_full_disk_loses_nothing_that_was_told_and_takes_more_once_there_is_room(tmp_path):
    mount = ("unshare", "--mount", "--map-root-user", "sh", "-c")
    script = f'mount -t tmpfs -o size=1m tmpfs "{tmp_path}" && exec "$0" "$@"'
    if not shutil.which("unshare") or subprocess.run([*mount, script, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a tmpfs of their own")
    command = [*mount, script, sys.executable, str(CHILD), "full_disk", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "no space is left" in done.stdout or "may be full" in done.stdout


def test_prune_takes_texts_first_and_leaves_nothing_of_an_answer(path):
    old, middle, new = (answer(at=at, text=f"text of {at}") for at in (1.0, 2.0, 3.0))
    with Journal(path) as book:
        book.append(old, middle, new, EventRow(1.0, "start"), EventRow(3.0, "stop"))
        book.append(FeedbackRow(old.answer_id, 9.0, "bug"), DecisionRow(old.answer_id, 1.0, "keep"))
        assert journal.prune(path, before=1.5, texts_before=2.5) == 1
        reader = book.reader()
        assert [(row.at, row.text) for row in reader.answers(texts=True)] == [(2.0, None), (3.0, "text of 3.0")]
        assert reader.feedback_of(old.answer_id) == ()
        assert list(reader.decisions()) == []
        assert [event.kind for event in reader.events()] == ["stop"]
        book.append(answer(at=4.0))
        assert [row.seq for row in reader.answers(last=1)] == [4]  # numbers are not given twice


def test_export_writes_parquet_with_texts_only_where_asked(path, tmp_path):
    row = answer(text="a text", projection=tuple([0.5] * 32))
    with Journal(path) as book:
        book.append(row, answer())
        book.append(FeedbackRow(row.answer_id, 2.0, "bug", None, "api"))
        assert book.reader().export(tmp_path / "out.parquet") == 2
        read = parquet.read_table(tmp_path / "out.parquet")
        assert "text" not in read.column_names
        assert read.column("projection").to_pylist() == [[0.5] * 32, None]
        assert parquet.read_table(tmp_path / "out.feedback.parquet").column("label").to_pylist() == ["bug"]
        book.reader().export(tmp_path / "out.parquet", texts=True)
        assert parquet.read_table(tmp_path / "out.parquet").column("text").to_pylist() == ["a text", None]


def test_a_file_that_is_no_journal_is_refused_with_a_sentence(path, tmp_path):
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(StorageError, match="no database"):
        Journal(path)
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE t (x)")
    with pytest.raises(StorageError, match="another program"):
        Journal(foreign)
    newer = tmp_path / "newer.db"
    Journal(newer).close()
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="newer Sartor"):
        list(Reader(newer).answers())
    link = tmp_path / "link.db"
    os.symlink(newer, link)
    with pytest.raises(StorageError, match="Cannot open"):
        Journal(link)


def test_projections_keep_distances_and_are_the_same_everywhere():
    rows = np.random.default_rng(0).standard_normal((200, 384)).astype(np.float32)
    projected = journal.project(rows)
    assert projected.shape == (200, 32)
    before = np.linalg.norm(rows[:100] - rows[100:], axis=1)
    after = np.linalg.norm(projected[:100] - projected[100:], axis=1)
    assert abs((after / before).mean() - 1) < 0.05
    np.testing.assert_allclose(journal.project(np.eye(2, dtype=np.float32))[0, :3], GOLDEN, rtol=1e-6)


GOLDEN = [0.09647220373153687, -0.1364697366952896, 0.07978488504886627]
