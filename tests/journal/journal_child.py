"""A process that writes to a journal, prints every answer that is safe, and kills itself at a given step."""

import os
import signal
import sys
from pathlib import Path

from sartor import journal


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


def row(answer_id: str, number: int) -> journal.AnswerRow:
    return journal.AnswerRow(
        answer_id, 1000.0 + number, "mails", "champion", 1, "0" * 16, "text-classification", "small"
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
