"""Public tasks as they lie in a data folder: an index, and one archive a collection.

Who may be trained on, and who is held out when, is decided here and by groups of sources, before a row is read.
"""

import csv
import hashlib
import json
import lzma
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sartor.types import Example

PUBLIC = frozenset({"banking77", "clinc", "hwu64", "sst/movie reviews", "trec", "ag_news"})
"""Groups of the public benchmarks: always reported, never developed on, and held out together."""
FOLDS = 3
_COLLECTION_LICENCE = {"sni"}
"""Collections that are licensed as a whole; their tasks' own flags forbid, but need not allow."""
_FORBIDDEN = {"non-commercial", "custom terms"}


@dataclass(frozen=True, slots=True)
class TextTask:
    """A public task: what a user would say and give, and rows to judge by."""

    name: str
    group: str
    """Tasks made from one source share it: they stand and fall together."""
    collection: str
    language: str
    description: str
    labels: tuple[str, ...]
    train: tuple[Example, ...]
    test: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A task as the data's index tells of it."""

    name: str
    collection: str
    group: str
    language: str
    kind: str
    canary: bool
    """From material that asks not to be trained on; it is only judged here."""
    licence: str = "unclear"
    """The index's flag: ``ok``, or why not."""
    metric: str = ""
    """What answers are judged by."""

    @property
    def trainable(self) -> bool:
        """Return whether weights that are shipped may learn from it."""
        allowed = self.licence == "ok" or self.collection in _COLLECTION_LICENCE
        return allowed and self.licence not in _FORBIDDEN and not self.canary


def side(group: str) -> str:
    """Return ``report``, whose figures are quoted, or ``dev``, by which choices are made."""
    return "report" if group in PUBLIC or _hash(group) % 2 == 0 else "dev"


def fold(group: str) -> int:
    """Return which of the :data:`FOLDS` generators never sees this group."""
    return 0 if group in PUBLIC else _hash(f"fold {group}") % FOLDS


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def read_index(data: Path) -> list[IndexRow]:
    """Return what the index says of each task."""
    with (data / "text" / "INDEX.csv").open(encoding="utf-8", newline="") as file:
        return [
            IndexRow(
                name=row["task"],
                collection=row["family"],
                group=row["source_group"],
                language=row["language"],
                kind=row["kind"],
                canary=row["canary"] == "True",
                licence=row["licence_flag"],
                metric=row["metric"],
            )
            for row in csv.DictReader(file)
        ]


def read_tasks(data: Path, rows: Iterable[IndexRow]) -> list[TextTask]:
    """Return the tasks that these rows of the index name, in their order."""
    rows = list(rows)
    archives = {name: read_archive(data / "text" / f"{name}.tar.xz") for name in {row.collection for row in rows}}
    return [read_task(row, archives[row.collection]) for row in rows]


def read_task(row: IndexRow, files: Mapping[str, bytes]) -> TextTask:
    """Return one task of an archive."""
    about = json.loads(files[f"{row.name}/task.json"])
    return TextTask(
        name=row.name,
        group=row.group,
        collection=row.collection,
        language=row.language,
        description=about["description"],
        labels=tuple(about["labels"] or ()),
        train=read_jsonl(files[f"{row.name}/train.jsonl"]),
        test=read_jsonl(files[f"{row.name}/test.jsonl"]),
    )


def descriptions(data: Path, tasks: Iterable[TextTask], most: int) -> dict[str, list[str]]:
    """Return task -> its own description and other wordings, ``most`` in all; the file of wordings may be absent."""
    found = {task.name: [task.description] for task in tasks if task.description}
    path = data / "text" / "descriptions.jsonl.xz"
    if path.exists():
        with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                told = json.loads(line)
                if told["our_task"] in found:
                    found[told["our_task"]] += told["descriptions"]
    return {task: list(dict.fromkeys(texts))[:most] for task, texts in found.items()}


def read_archive(path: Path) -> dict[str, bytes]:
    """Return the files of a ``.tar.xz`` by their path inside it, the first folder left off."""
    with tarfile.open(path, "r:xz") as archive:
        files = ((member, archive.extractfile(member)) for member in archive)
        return {member.name.partition("/")[2]: file.read() for member, file in files if file is not None}


def read_jsonl(content: bytes) -> tuple[Example, ...]:
    """Return the rows of an ``input``/``output`` file. Only a line feed ends a row; texts hold other breaks."""
    rows = (json.loads(line) for line in content.decode("utf-8").split("\n") if line)
    return tuple(Example(row["input"], row["output"]) for row in rows)
