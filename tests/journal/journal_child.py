"""A process that writes to a journal, prints every answer that is safe, and kills itself at a given step."""

import os
import signal
import sys
from pathlib import Path

from sartor import journal
from sartor.errors import StorageError


def main(path: str, at: str, after: int) -> None:
    reached = 0

    def crash(name: str) -> None:
        nonlocal reached
        reached += name == at
        if name == at and reached > after:
            os.kill(os.getpid(), signal.SIGKILL)

    journal.step = crash
    with journal.Journal(Path(path)) as book:
        for number in range(1000):
            ids = [journal.new_answer_id() for _ in range(3)]
            book.append(*(row(answer_id, number) for answer_id in ids))
            sys.stdout.write(" ".join(ids) + "\n")
            sys.stdout.flush()


def full_disk(folder: str) -> None:
    """Write until the disk is full; what was told is there, and once there is room, more is taken."""
    path = Path(folder) / journal.FILE
    told: list[str] = []
    with journal.Journal(path) as book:
        book.append(row(journal.new_answer_id(), 0))
        filler = Path(folder) / "filler"
        filler.write_bytes(b"x" * 200_000)
        refused = 0
        while not refused:
            ids = [journal.new_answer_id() for _ in range(20)]
            try:
                book.append(*(row(answer_id, 1) for answer_id in ids))
            except StorageError as error:
                sys.stdout.write(f"{error}\n")
                refused += 1
            else:
                told += ids
        assert book.last_error is not None
        filler.unlink()
        book.append(row(journal.new_answer_id(), 2))
        assert book.last_error is None
    kept = [one.answer_id for one in journal.Reader(path).answers()]
    assert kept[1:-1] == told


def row(answer_id: str, number: int) -> journal.AnswerRow:
    return journal.AnswerRow(
        answer_id, 1000.0 + number, "mails", "champion", 1, "0" * 16, "text-classification", "small"
    )


if __name__ == "__main__":
    if sys.argv[1] == "full_disk":
        full_disk(sys.argv[2])
    else:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
