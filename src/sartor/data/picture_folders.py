"""A folder -> the pictures in it and the classes that its folders are; none is opened.

    photos/good/1.jpg, photos/bad/monday/7.png  ->  the classes "good" and "bad"

What is told of a picture names it as the user does: by its path within the folder.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sartor.data.pictures import FOREIGN, SUFFIXES, shown
from sartor.data.table import listed
from sartor.errors import DataError
from sartor.types import Note, Progress, silent

MOST_CLASSES = 1000
_IGNORED = {"__macosx", "thumbs.db", "desktop.ini", "@eadir"}
"""What systems put into folders; so are all names that begin with a dot."""
_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
"""Folders that are no classes but parts of a data set."""
_TABLES = {".csv", ".tsv", ".jsonl", ".json", ".xlsx", ".parquet"}
_SHOWN = 3


class Found(NamedTuple):
    """A picture that was named, not opened yet."""

    path: str
    """Absolute, or a data URI."""
    name: str
    """What a person knows it by."""
    label: str | None = None
    why_not: str = ""
    """Why it is not to be opened: what follows its name in a sentence."""


@dataclass(slots=True)
class Listing:
    """What lies in a folder."""

    root: Path
    pictures: list[Found] = field(default_factory=list[Found])
    """In the order of their names; ``label`` is the folder on the first level, None where there is none."""
    classes: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Folder on the first level -> folders in it."""
    outside: list[str] = field(default_factory=list[str])
    """Links that lead out of the folder."""
    closed: list[str] = field(default_factory=list[str])
    """Folders that may not be entered."""
    others: Counter[str] = field(default_factory=Counter[str])
    """Suffix -> files that are no pictures."""
    tables: list[str] = field(default_factory=list[str])
    """Files of rows on the first level."""


def list_folder(folder: Path, *, progress: Progress = silent) -> Listing:
    """Return the pictures in a folder, at any depth; none is opened.

    Hidden files are not looked at. Links to files within the folder are taken as files, links to folders are not
    followed: what is in the folder is found at its own place, and what is not is not asked for.

    Raises:
        DataError: when the folder cannot be read.
    """
    root = Path(os.path.realpath(folder))
    found = Listing(root)
    stack: list[tuple[str, str]] = [(str(root), "")]
    while stack:
        place, inner = stack.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            if not inner:
                raise DataError(f"The folder {str(folder)!r} cannot be read: {error.strerror}.") from error
            found.closed.append(shown(inner))
            continue
        for entry in entries:
            name = f"{inner}/{entry.name}" if inner else entry.name
            if not _is_ignored(entry.name) and _is_to_be_entered(entry, name, found):
                stack.append((entry.path, name))
                _remember(name, found)
        progress("load", len(found.pictures), 0)
    found.pictures.sort(key=lambda one: one.path)
    return found


# --- what an entry is -------------------------------------------------------------------------------------


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in _IGNORED


def _is_to_be_entered(entry: "os.DirEntry[str]", name: str, found: Listing) -> bool:
    """Note what an entry of a folder is; return whether it is a folder to look into."""
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if not Path(target).is_relative_to(found.root):
            found.outside.append(shown(name))
            return False
        if os.path.isdir(target):
            return False
    elif entry.is_dir(follow_symlinks=False):
        return True
    suffix = os.path.splitext(entry.name)[1].lower()
    if suffix in SUFFIXES:
        first, _, rest = name.partition("/")
        found.pictures.append(Found(entry.path, shown(name), _label_of(first) if rest else None))
    else:
        found.others[suffix] += 1
        if suffix in _TABLES and "/" not in name:
            found.tables.append(shown(name))
    return False


def _label_of(folder: str) -> str:
    return shown(folder).strip() or folder


def _remember(name: str, found: Listing) -> None:
    """Note a folder on the first or the second level."""
    first, _, rest = name.partition("/")
    inner = found.classes.setdefault(_label_of(first), set())
    if rest:
        inner.add(shown(rest.partition("/")[0]))


# --- what is told -----------------------------------------------------------------------------------------


def no_picture(found: Listing) -> DataError:
    """Return the refusal of a folder in which there is none."""
    others = f"; of other kinds it holds {_counted(found.others)}" if found.others else ""
    return DataError(
        f"{found.root.name!r} is a folder without a picture{others}. Put a folder of pictures for each class into it "
        "(JPEG, PNG, WebP, BMP, TIFF or GIF), or name a file of rows."
    )


def _counted(suffixes: Mapping[str, int]) -> str:
    common = Counter(suffixes).most_common(5)
    return ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in common)


def check_classes(found: Listing) -> None:
    """Refuse folders that cannot be classes.

    Raises:
        DataError: when they are parts of a data set (``train``, ``test``), or too many.
    """
    names = [name for name in found.classes if name.lower() in _PARTS and found.classes[name]]
    if names and len(names) == len(found.classes):
        raise DataError(
            f"The folders {listed(sorted(names))} in {found.root.name!r} are parts of a data set, not classes. Give "
            f"one of them, as {found.root.name}/{names[0]}, and keep the others for 'sartor evaluate'."
        )
    classes = {one.label for one in found.pictures if one.label is not None}
    if len(classes) > MOST_CLASSES:
        raise DataError(
            f"Got {len(classes):,} folders with {len(found.pictures):,} pictures in {found.root.name!r}: at most "
            f"{MOST_CLASSES:,} classes are possible, each with several pictures. Merge folders, or give the folder one "
            "level below."
        )


def notes_of(found: Listing, classes: Collection[str]) -> tuple[Note, ...]:
    """Return what must be known of a folder; ``classes`` are those of its pictures that can be used."""
    return (
        *_classes_without(found, classes),
        *_beside(found),
        *_nested(found),
        *notes_of_files(found),
    )


def notes_of_files(found: Listing) -> tuple[Note, ...]:
    """Return what must be known where classes do not matter."""
    return (*_not_followed(found), *_others(found))


def _classes_without(found: Listing, classes: Collection[str]) -> Iterator[Note]:
    without = sorted(name for name in found.classes if name not in classes) if classes else []
    if without:
        holds = "The folder {} holds" if len(without) == 1 else "The folders {} hold"
        text = holds.format(listed(without[:_SHOWN])) + (" …" if len(without) > _SHOWN else "")
        yield Note("labels", f"{text} no picture that can be used: no class is made of it.", "warning", quotes=True)


def _beside(found: Listing) -> Iterator[Note]:
    count = sum(one.label is None for one in found.pictures)
    if 0 < count < len(found.pictures):
        was = "1 picture lies" if count == 1 else f"{count:,} pictures lie"
        text = f"{was} beside the folders of the classes, so without a label, and {were(count)} left out."
        yield Note("dropped", text, "warning")


def _nested(found: Listing) -> Iterator[Note]:
    """Warn of a folder too many, as archives have it when they are unpacked, and of labels in a file."""
    inner = next(iter(found.classes.values()), set[str]())
    deep = sum("/" in one.name.partition("/")[2] for one in found.pictures)
    if len(found.classes) == 1 and len(inner) > 1 and 2 * deep > len(found.pictures):
        outer = next(iter(found.classes))
        text = f"There is one folder, {outer!r}, and in it {listed(sorted(inner)[:_SHOWN])}"
        more = " …" if len(inner) > _SHOWN else ""
        yield Note("folders", f"{text}{more}: if those are the classes, give {found.root.name}/{outer}.", "warning")
    if found.tables and not any(one.label for one in found.pictures):
        name = sorted(found.tables)[0]
        yield Note("folders", f"If {name!r} holds the labels, give {found.root.name}/{name}.", "warning")


def _not_followed(found: Listing) -> Iterator[Note]:
    for names, one, many in (
        (found.outside, "1 link leads out of the folder and was", "{:,} links lead out of the folder and were"),
        (found.closed, "1 folder may not be entered and was", "{:,} folders may not be entered and were"),
    ):
        if names:
            text = one if len(names) == 1 else many.format(len(names))
            more = " …" if len(names) > _SHOWN else ""
            yield Note("dropped", f"{text} left out: {listed(names[:_SHOWN])}{more}.", "warning", quotes=True)


def _others(found: Listing) -> Iterator[Note]:
    foreign = {suffix: count for suffix, count in found.others.items() if suffix in FOREIGN}
    other = {suffix: count for suffix, count in found.others.items() if suffix not in FOREIGN}
    if foreign:
        text = f"Pictures of kinds that are not read were left out: {_counted(foreign)}. Save them as JPEG or PNG."
        yield Note("dropped", text, "warning")
    if other:
        yield Note("dropped", f"Files that are no pictures were not looked at: {_counted(other)}.")


def were(count: int) -> str:
    """Return "was" of one, else "were"."""
    return "was" if count == 1 else "were"
