"""The ledger: chained, append-only, safe under many writers, and nothing is written that cannot be."""

import resource
import sqlite3
import threading

import pytest

from sartor.errors import EgressRefused, StorageError
from sartor.llm.ledger import DAY_S, Ledger


def change(book, statement, *values):
    with sqlite3.connect(book.path) as database:
        database.execute(statement, values)
    database.close()


@pytest.fixture
def filled(book):
    for number in range(5):
        book.append({"kind": "sent", "n": number})
    return book


def test_a_ledger_that_is_not_there_is_whole_and_stays_not_there(book):
    assert book.verify().ok
    assert list(book.rows()) == []
    assert book.spent() == 0
    assert not book.path.exists()


def test_rows_come_back_in_order_and_verify(filled):
    assert [row.body["n"] for row in filled.rows()] == [0, 1, 2, 3, 4]
    checked = filled.verify()
    assert (checked.ok, checked.rows) == (True, 5)
    assert checked.head == list(filled.rows())[-1].hash


@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE rows SET body = \'{"kind":"sent","n":9}\' WHERE seq = 3',
        "UPDATE rows SET cost = 1 WHERE seq = 3",
        "UPDATE rows SET at = at + 1 WHERE seq = 3",
        "UPDATE rows SET hash = 'x' WHERE seq = 5",
        "DELETE FROM rows WHERE seq = 3",
        "DELETE FROM rows WHERE seq = 1",
        "DELETE FROM rows WHERE seq = 5",
        "DELETE FROM rows",
        "INSERT INTO rows VALUES (9, 0, 0, '{}', 'x')",
        "DROP TABLE rows",
    ],
)
def test_whatever_is_changed_shows(filled, statement):
    change(filled, statement)
    checked = filled.verify()
    assert not checked.ok
    assert checked.why


def test_a_file_that_is_no_database_is_broken_not_a_crash(book):
    book.path.write_bytes(b"not a database" * 100)
    assert not book.verify().ok
    with pytest.raises(StorageError, match="nothing is sent"):
        book.append({})


def test_a_noted_head_shows_a_chain_that_was_made_anew(filled, tmp_path):
    noted = filled.verify().head
    filled.append({"more": True})
    assert filled.verify(noted).ok
    other = Ledger(tmp_path / "other.db")
    other.append({"kind": "sent"})
    assert other.verify().ok
    assert not other.verify(noted).ok
    assert not Ledger(tmp_path / "none.db").verify(noted).ok


def test_many_threads_make_one_chain(book):
    threads = [threading.Thread(target=lambda: [book.append({"n": 1}) for _ in range(5)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert book.verify().rows == 30
    assert book.verify().ok


def test_a_clock_that_goes_back_stands_still_in_the_ledger(tmp_path):
    now = [1000.0]
    book = Ledger(tmp_path / "l.db", clock=lambda: now[0])
    book.append({}, cost=1)
    now[0] = 5.0
    row = book.append({}, cost=2)
    assert row.at == 1000.0
    assert book.spent() == 3
    now[0] = 1000.0 + DAY_S
    assert book.spent() == 0


def test_what_the_check_refuses_has_no_row(book):
    def refuse(spent):
        raise EgressRefused("no", "budget")

    with pytest.raises(EgressRefused):
        book.append({}, check=refuse)
    assert book.verify().rows == 0


def test_a_full_disk_takes_no_row_and_leaves_the_chain_whole(filled):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = max(path.stat().st_size for path in filled.path.parent.iterdir())
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        with pytest.raises(StorageError, match="nothing is sent"):
            filled.append({"filler": "x" * 100_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    checked = filled.verify()
    assert checked.ok
    assert checked.rows == 5


def test_the_same_text_has_another_hash_in_another_ledger(book, tmp_path):
    assert book.digest("a") == book.digest("a") != Ledger(tmp_path / "other.db").digest("a")
    assert book.path.stat().st_mode & 0o077 == 0
