"""Many models at once: a task a line, one base in memory, nothing measured.

    lines -> check all -> understand -> generate, a batch at a time -> store

The stages are those of :mod:`sartor.pipeline` but for the proof, which takes a hundred times as long as the model:
``sartor evaluate`` gives it to those that are to be used.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from sartor import families, settings
from sartor.assets import catalogue
from sartor.data.encoding import decode
from sartor.data.load import fingerprint
from sartor.data.text import encodable, short
from sartor.errors import DataError, NotFoundError, StorageError, TaskError, UserError, did_you_mean
from sartor.evaluate import gate, written
from sartor.families.interface import Base, WritingFamily, WritingTask
from sartor.model import Model
from sartor.pipeline import Clock, Draft, assemble, gather, gather_unlabelled, read_with
from sartor.registry import bundle
from sartor.registry.store import Entry, Put, Store, slug
from sartor.requirement.heuristic import Understood, understand
from sartor.requirement.kind import WRITES
from sartor.types import Example, Manifest, Note, Progress, Report, Requirement, Rows, Task, Weights, silent

KEYS = ("name", "description", "kind", "examples", "prompts")
"""What a line may say."""


@dataclass(frozen=True, slots=True)
class Line:
    """A task of the file that can be made."""

    number: int
    """Of the line, from 1."""
    name: str
    """In the store."""
    understood: Understood
    rows: Rows | None
    """What the model is made from beside the description: labelled rows, else prompts."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be made, and why."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What a file of tasks says."""

    lines: tuple[Line, ...]
    bad: tuple[BadLine, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A model of one line, and where it lies."""

    line: int
    name: str
    id: str
    version: int | None
    """In the store; None in a folder."""
    path: Path
    status: Literal["made", "unchanged"]


# --- reading -----------------------------------------------------------------------------------------------


def read(path: Path, *, base: str | None = None, progress: Progress = silent) -> Listed:
    """Read a file of tasks, all of it, and say of each line whether it can be made.

    Args:
        path: JSON Lines, each an object of :data:`KEYS`; paths in it are relative to its folder.
        base: a language model of the catalogue; the usual one unless given.
        progress: told of the lines.

    Raises:
        TaskError: when the file cannot be read or holds no line.
        NotFoundError: when the base is not known.
    """
    if base is not None:
        catalogue.language_model(base)
    try:
        text, _ = decode(path.read_bytes(), path.name)
    except OSError as error:
        raise TaskError(f"The file of tasks {str(path)!r} cannot be read: {error.strerror or error}.") from error
    except DataError as error:
        raise TaskError(str(error)) from error
    written_on = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not written_on:
        raise TaskError(f"{path.name} is empty. Write a task a line, as {_AS}.")
    lines: list[Line] = []
    bad: list[BadLine] = []
    taken: dict[str, int] = {}
    for done, (number, line) in enumerate(written_on, 1):
        try:
            found = _line(number, line, path.absolute().parent, base)
            if found.name in taken:
                raise TaskError(
                    f"the name {found.name!r} is that of line {taken[found.name]} already. Give each its own."
                )
            taken[found.name] = number
            lines.append(found)
        except UserError as error:
            bad.append(BadLine(number, str(error)))
        progress("check", done, len(written_on))
    return Listed(tuple(lines), tuple(bad))


_AS = '{"name": "dates", "description": "Rewrite the date in ISO format", "examples": "dates.csv"}'


def _line(number: int, text: str, folder: Path, base: str | None) -> Line:
    told = _object(text)
    name, description = _text(told, "name"), encodable(_text(told, "description"))
    if not name.strip():
        raise TaskError("'name' is missing: it is what the model is stored and found again by. Give one.")
    task = Task(description=description, name=name, kind=_kind(_text(told, "kind")))
    rows = gather(task, _examples(told.get("examples"), folder))
    prompts = gather_unlabelled(task, _prompts(told.get("prompts"), folder))
    understood = understand(task, rows, name=slug(name), base=base, unlabelled=prompts)
    if rows is None and prompts is not None:
        rows = replace(prompts, sha256=fingerprint(prompts.examples))
    return Line(number, slug(name), understood, rows)


def _object(text: str) -> Mapping[str, Any]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"this is not JSON ({error}). Write one object a line, as {_AS}.") from error
    if not isinstance(told, dict):
        raise TaskError(f"this is a {type(told).__name__}, not an object. Write one a line, as {_AS}.")
    for key in told:
        if key not in KEYS:
            raise TaskError(f"there is no key {short(key)!r}.{did_you_mean(key, KEYS)} Known keys: {', '.join(KEYS)}.")
    return told


def _text(told: Mapping[str, Any], key: str) -> str:
    found = told.get(key)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise TaskError(f"{key!r} must be text; got {_shown(found)}. Put it in quotes.")
    return found


def _kind(asked: str) -> str:
    kind = asked or WRITES
    if not isinstance(families.load(kind), WritingFamily):
        raise TaskError(
            f"models of the kind {kind!r} are not made in bulk, only those of {WRITES!r}. Make it by 'sartor generate' "
            "alone."
        )
    return kind


def _examples(told: object, folder: Path) -> Path | list[Example] | None:
    match told:
        case None:
            return None
        case str():
            return folder / told
        case list():
            return [_example(row) for row in told]
        case _:
            raise TaskError(f"'examples' must be a path or a list of rows; got {_shown(told)}.")


def _example(row: object) -> Example:
    if isinstance(row, dict):
        text, answer = row.get("input", row.get("text")), row.get("output", row.get("label"))
        if isinstance(text, str) and isinstance(answer, str):
            return Example(text, answer)
    raise TaskError(f'a row of \'examples\' is {{"input": "…", "output": "…"}}, both text; got {_shown(row)}.')


def _prompts(told: object, folder: Path) -> Path | list[str] | None:
    match told:
        case None:
            return None
        case str():
            return folder / told
        case list() if all(isinstance(text, str) for text in told):
            return [str(text) for text in told]
        case _:
            raise TaskError(f"'prompts' must be a path or a list of texts; got {_shown(told)}.")


def _shown(value: object) -> str:
    return short(json.dumps(value, ensure_ascii=False))


# --- making ------------------------------------------------------------------------------------------------


def make(
    lines: Sequence[Line],
    *,
    out: Path | None = None,
    seed: int = 0,
    clock: Clock | None = None,
    progress: Progress = silent,
) -> Iterator[list[Kept]]:
    """Yield the models of some tasks as they are stored; those that are there already and unchanged come first.

    What was yielded is whole and stays, whatever comes after it: to go on later, ask for the same again.

    Args:
        lines: of one base.
        out: a folder that gets one of each name; the store unless given.
        seed: written down; nothing is drawn.
        clock: takes the seconds of ``load``, ``generate`` and ``store``.
        progress: told of the models.

    Raises:
        StorageError: when something else stands in the place of a model in ``out``, before any work.
        AssetError: when the base or its generator cannot be had.
    """
    if not lines:
        return
    clock = clock or Clock()
    family = families.load_writing(lines[0].understood.requirement.family)
    place = _Store(Store(settings.current().home)) if out is None else _Folder(out)
    there = {line.name: found for line in lines if (found := place.find(line.name)) is not None}
    with clock("load"):
        base = family.base(lines[0].understood.requirement, progress=progress)
    done: list[Kept] = []
    todo: list[Line] = []
    for line in lines:
        found = there.get(line.name)
        if found is not None and _unchanged(found.manifest, line, family, base):
            done.append(Kept(line.number, line.name, found.manifest.id, found.version, found.path, "unchanged"))
        else:
            todo.append(line)
    place.check(todo, there)
    if done:
        yield done
    yield from _made(family, base, place, todo, len(done), seed, clock, progress)


def _made(
    family: WritingFamily,
    base: Base,
    place: "_Place",
    lines: Sequence[Line],
    before: int,
    seed: int,
    clock: Clock,
    progress: Progress,
) -> Iterator[list[Kept]]:
    read = [read_with(family, base, line.understood) for line in lines]
    tasks = [WritingTask(*understood) for understood in read]
    batches = family.generate_each(base, tasks)
    done, total = before, before + len(lines)
    progress("generate", done, total)
    while True:
        took = clock.seconds.get("generate", 0.0)
        with clock("generate"):
            batch = next(batches, None)
        if batch is None:
            return
        share = {"generate": round((clock.seconds["generate"] - took) / len(batch), 4)}
        with clock("store"):
            models = [
                (lines[at], _model(family, base, read[at], weights, lines[at].rows, seed, share))
                for at, weights in batch
            ]
            kept = place.put(models)
        done += len(kept)
        progress("generate", done, total)
        yield kept


def _model(
    family: WritingFamily,
    base: Base,
    understood: Understood,
    weights: Weights,
    rows: Rows | None,
    seed: int,
    seconds: Mapping[str, float],
) -> Model:
    need, examples, _ = understood
    proved = written.in_bulk(len(examples), *family.settled(weights), seed)

    def report(_: object, notes: Sequence[Note]) -> Report:
        return written.to_report(proved, seconds=seconds, notes=notes)

    return assemble(family, base, Draft(need, weights, report), examples, rows, seed, silent, measured=False)


def _unchanged(manifest: Manifest, line: Line, family: WritingFamily, base: Base) -> bool:
    """Return whether a stored model is what would be made."""
    return _pinned(manifest.requirement, manifest.data.sha256) == _pinned(
        line.understood.requirement, line.rows.sha256 if line.rows else ""
    ) and (manifest.base.sha256, manifest.generator) == (base.ref.sha256, family.generator)


def _pinned(need: Requirement, sha256: str) -> tuple[str, ...]:
    return need.family, need.description, sha256


# --- where models lie --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    """A model that is there already."""

    manifest: Manifest
    version: int | None
    path: Path


_There: TypeAlias = Mapping[str, _Found]
_Models: TypeAlias = Sequence[tuple[Line, Model]]


class _Place(Protocol):
    """Where models are put."""

    def find(self, name: str) -> _Found | None:
        """Return the model of a name, if it is there."""
        ...

    def check(self, lines: Sequence[Line], there: _There) -> None:
        """Refuse what could not be put."""
        ...

    def put(self, models: _Models) -> list[Kept]:
        """Store models; those before an interrupt are whole."""
        ...


class _Store:
    """The store: a changed task is the next version of its name."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._latest: Mapping[str, Entry] = {entry.name: entry for entry in store.list()}

    def find(self, name: str) -> _Found | None:
        entry = self._latest.get(name)
        if entry is None:
            return None
        try:
            return _Found(bundle.read(entry.path, verify=False).manifest, entry.version, entry.path)
        except UserError:  # a damaged one is made again
            return None

    def check(self, lines: Sequence[Line], there: _There) -> None:
        pass  # a name takes another version

    def put(self, models: _Models) -> list[Kept]:
        puts = [Put(model.manifest, model.files(), line.name, _alias_of(model)) for line, model in models]
        entries = self._store.put_many(puts)
        return [
            Kept(line.number, line.name, entry.id, entry.version, entry.path, "made")
            for (line, _), entry in zip(models, entries, strict=True)
        ]


def _alias_of(model: Model) -> Callable[[Mapping[str, str]], str | None]:
    def asked(before: Mapping[str, str]) -> str | None:
        # the gate looks at what the new one is worth, and only whether there is one to be compared with
        incumbent = model.report if "champion" in before else None
        return gate.gate(model.report, model.requirement.limits, incumbent).alias

    return asked


class _Folder:
    """A folder with one of each name; what stands there is never replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        store = Store(settings.current().home)
        if self._folder.is_relative_to(store.home):
            raise StorageError(f"{str(folder)!r} lies within the store. Leave --out away, or choose a folder outside.")

    def find(self, name: str) -> _Found | None:
        path = self._folder / name
        try:
            return _Found(bundle.read(path, verify=False).manifest, None, path)
        except NotFoundError:
            return None
        except UserError as error:
            if path.is_dir() and not any(path.iterdir()):
                return None
            raise StorageError(f"{str(path)!r} is in the way: {error} Choose another folder.") from error

    def check(self, lines: Sequence[Line], there: _There) -> None:
        changed = [line.name for line in lines if line.name in there]
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise StorageError(
                f"{str(self._folder / changed[0])!r}{more} was made from another task, and is not replaced. Choose "
                "another folder, or remove it first."
            )

    def put(self, models: _Models) -> list[Kept]:
        kept: list[Kept] = []
        for line, model in models:
            path = self._folder / line.name
            manifest, sealed = bundle.seal(replace(model.manifest, name=line.name), model.files())
            bundle.write(path, sealed)
            kept.append(Kept(line.number, line.name, manifest.id, None, path, "made"))
        return kept
