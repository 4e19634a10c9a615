"""task.yaml -> Task, and back.

The YAML is walked as nodes against the keys we know and never turned into objects: so a label ``no`` stays
the text ``no`` where YAML 1.1 would make it false, a key written twice is seen, and a refusal names its line.
"""

import math
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import yaml

from sartor.data.encoding import decode
from sartor.data.text import encodable, short
from sartor.errors import DataError, StorageError, TaskError, did_you_mean
from sartor.types import Columns, Limits, Task

_DEVICES = ("cpu", "cuda")
_HEADER = """\
# A task of Sartor: what the model shall do. Only `description` or `examples` is needed.
# Paths are relative to this file's folder. Keys: name, description, kind, labels (a list, or label:
# description), language, columns (input, output), examples, unlabelled, target (a table's column to foretell),
# limits (max_latency_ms, max_memory_mb, min_accuracy, device).
"""
_T = TypeVar("_T")
_TAG = "tag:yaml.org,2002:"
_KINDS = {
    "str": "text",
    "int": "a number",
    "float": "a number",
    "bool": "a truth value",
    "null": "nothing",
    "timestamp": "a date",
    "map": "a mapping",
    "seq": "a list",
}


def read_task(path: Path) -> Task:
    """Read a task file, YAML or JSON; relative paths in it are taken from its own folder and made absolute.

    Raises:
        TaskError: when the file cannot be read, is no valid YAML, or says something we do not understand.
    """
    try:
        text, _ = decode(path.read_bytes(), path.name)
    except OSError as error:
        raise TaskError(f"The task file {str(path)!r} cannot be read: {error.strerror or error}.") from error
    except DataError as error:
        raise TaskError(str(error)) from error
    task = _Reader(path.name).task(_compose(text, path.name))
    folder = path.absolute().parent
    return replace(
        task,
        examples=_resolve(task.examples, "examples", folder, path.name),
        unlabelled=_resolve(task.unlabelled, "unlabelled", folder, path.name),
    )


def write_task(task: Task, path: Path) -> None:
    """Write a task file for people; :func:`read_task` gives the same task back.

    The file appears whole or not at all. Paths below its folder are written relative to it, so that the
    folder can be moved; other relative paths are taken from the working directory and written absolute.

    Raises:
        TaskError: when the task holds what a task file may not say.
        StorageError: when the file cannot be written.
    """
    folder = path.absolute().parent
    task = replace(task, examples=_relative(task.examples, folder), unlabelled=_relative(task.unlabelled, folder))
    text = _HEADER + yaml.dump(_content(task), Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100)
    back = _Reader(path.name).task(_compose(text, path.name))
    lost = [field.name for field in fields(Task) if getattr(back, field.name) != getattr(task, field.name)]
    if lost:
        raise TaskError(
            f"{path.name} would not give back the task's {', '.join(lost)} as they are. "
            "Take away whitespace around labels and characters that no text holds."
        )
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            with draft.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(
            f"The task file {str(path)!r} cannot be written: {error.strerror or error}. Choose another place."
        ) from error


# --- reading -----------------------------------------------------------------------------------------------

_Take: TypeAlias = Callable[[yaml.Node, str], Any]


def _compose(text: str, name: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}," if error.problem_mark else ""
        raise TaskError(f"{name}{line} is not valid YAML: {error.problem}. Mend it there.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise TaskError(f"{name} is not valid YAML: {' '.join(str(error).split())}.") from error
    except RecursionError as error:
        raise TaskError(f"{name} is nested too deeply for a task file.") from error
    if node is None:
        raise TaskError(f"{name} is empty. Write at least a description, or name a file of examples.")
    return node


def _kind(node: yaml.Node) -> str:
    """Return what a node is, as the sentence of a refusal needs it."""
    kind = _KINDS.get(node.tag.removeprefix(_TAG), f"something tagged {node.tag!r}")
    return f"{kind} ({short(node.value)})" if isinstance(node, yaml.ScalarNode) and node.value else kind


class _Reader:
    """Takes a task out of YAML nodes; knows the file's name for its refusals."""

    def __init__(self, name: str) -> None:
        self._name = name

    def task(self, node: yaml.Node) -> Task:
        """Return the task, its paths as they are written."""
        if not isinstance(node, yaml.MappingNode):
            raise TaskError(
                f"{self._name} holds {_kind(node)}, not a task. Write keys and values, as 'description: ...'."
            )
        takes: Mapping[str, _Take] = {
            "name": self._text,
            "description": self._text,
            "kind": self._text,
            "labels": self._labels,
            "language": self._verbatim,
            "columns": lambda inner, key: self._fields(inner, key, Columns, dict.fromkeys(_COLUMNS, self._verbatim)),
            "examples": self._text,
            "unlabelled": self._text,
            "target": self._verbatim,
            "limits": lambda inner, key: self._fields(inner, key, Limits, self._limits()),
        }
        return self._fields(node, "", Task, takes)

    def _fail(self, node: yaml.Node, sentence: str) -> TaskError:
        return TaskError(f"{self._name}, line {node.start_mark.line + 1}: {sentence}")

    def _wrong(self, node: yaml.Node, key: str, wanted: str) -> TaskError:
        return self._fail(node, f"{key!r} must be {wanted}; got {_kind(node)}.")

    def _pairs(self, node: yaml.Node, key: str, wanted: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Return key -> (key's node, value's node) of a mapping; no key twice."""
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong(node, key, wanted)
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for name_node, value in node.value:
            name = self._label(name_node, key)
            if name in pairs:
                where = f" in {key!r}" if key else ""
                raise self._fail(name_node, f"{name!r} is there twice{where}. Keep one of them.")
            pairs[name] = name_node, value
        return pairs

    def _fields(self, node: yaml.Node, key: str, kind: type[_T], takes: Mapping[str, _Take]) -> _T:
        """Return a ``kind`` with the fields of a mapping; a key without a value keeps its default."""
        if key and _is_null(node):
            return kind()
        found: dict[str, Any] = {}
        for name, (name_node, value) in self._pairs(node, key, f"a mapping of {_listed(takes)}").items():
            full = f"{key}.{name}" if key else name
            if name not in takes:
                raise self._fail(
                    name_node,
                    f"There is no key {short(full)!r}.{did_you_mean(name, takes)} Known keys: {_listed(takes)}.",
                )
            if not _is_null(value):
                found[name] = takes[name](value, full)
        return kind(**found)

    def _text(self, node: yaml.Node, key: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._wrong(node, key, "text")
        if node.tag != _TAG + "str":
            raise self._fail(node, f"{key!r} must be text; got {_kind(node)}. Put it in quotes if it is text.")
        return encodable(node.value)

    def _verbatim(self, node: yaml.Node, key: str) -> str:
        """Return a name as it is written, whatever YAML takes it for: the language ``no`` is Norwegian."""
        if not isinstance(node, yaml.ScalarNode):
            raise self._wrong(node, key, "text")
        return encodable(node.value)

    def _label(self, node: yaml.Node, key: str) -> str:
        """Return a label or a key as it is written; as in rows, the whitespace around it does not count."""
        where = f" in {key!r}" if key else ""
        if not isinstance(node, yaml.ScalarNode):
            raise self._fail(node, f"A name{where} must be text; got {_kind(node)}.")
        name = encodable(node.value).strip()
        if not name:
            raise self._fail(node, f"There is an empty name{where}. Write one, or take the line out.")
        return name

    def _labels(self, node: yaml.Node, key: str) -> dict[str, str]:
        """Return label -> description."""
        if isinstance(node, yaml.SequenceNode):
            labels: dict[str, str] = {}
            for item in node.value:
                label = self._label(item, key)
                if label in labels:
                    raise self._fail(item, f"{label!r} is there twice in {key!r}. Keep one of them.")
                labels[label] = ""
            return labels
        pairs = self._pairs(node, key, "a list of labels, or a mapping from label to description")
        return {
            label: "" if _is_null(value) else self._verbatim(value, f"{key}.{label}")
            for label, (_, value) in pairs.items()
        }

    def _limits(self) -> Mapping[str, _Take]:
        return {
            "max_latency_ms": self._positive,
            "max_memory_mb": self._positive,
            "min_accuracy": self._share,
            "device": self._device,
        }

    def _number(self, node: yaml.Node, key: str) -> float:
        if not isinstance(node, yaml.ScalarNode) or node.style is not None:
            raise self._wrong(node, key, "a number")
        try:
            number = float(node.value)
        except ValueError:
            raise self._wrong(node, key, "a number") from None
        if not math.isfinite(number):
            raise self._fail(node, f"{key!r} must be a finite number; got {node.value}.")
        return number

    def _positive(self, node: yaml.Node, key: str) -> float:
        number = self._number(node, key)
        if number <= 0:
            raise self._fail(node, f"{key!r} must be more than 0; got {number:g}. Leave it out for no limit.")
        return number

    def _share(self, node: yaml.Node, key: str) -> float:
        number = self._number(node, key)
        if not 0 <= number <= 1:
            hint = f" Did you mean {number / 100:g}?" if 1 < number <= 100 else ""
            raise self._fail(node, f"{key!r} must be between 0 and 1; got {number:g}.{hint}")
        return number

    def _device(self, node: yaml.Node, key: str) -> str:
        device = self._text(node, key)
        if device not in _DEVICES:
            raise self._fail(
                node,
                f"{key!r} must be {' or '.join(_DEVICES)}; got {short(device)!r}.{did_you_mean(device, _DEVICES)}",
            )
        return device


_COLUMNS = ("input", "output")


def _is_null(node: yaml.Node) -> bool:
    return node.tag == _TAG + "null"


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names)


def _resolve(value: str | None, key: str, folder: Path, name: str) -> str | None:
    if value is None:
        return None
    path = folder / value
    if not os.path.exists(path):  # unlike Path.exists, quiet about folders that may not be entered
        raise TaskError(f"{name} names {short(value)!r} as {key!r}, but there is no file {short(str(path))!r}.")
    return str(path)


# --- writing -----------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as a block."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # The line ends that only YAML 1.1 knows survive nothing but double quotes, in which they are escaped.
    style = '"' if re.search("[\x85\u2028\u2029]", text) else "|" if "\n" in text else None
    return dumper.represent_scalar(_TAG + "str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _content(task: Task) -> dict[str, Any]:
    """Return what a task file says of a task: the description, and whatever else is not at its default."""
    labels: dict[str, str] | Sequence[str] = dict(task.labels) if any(task.labels.values()) else list(task.labels)
    content = {
        "name": task.name,
        "description": task.description,
        "kind": task.kind,
        "labels": labels or None,
        "language": task.language,
        "columns": _set_fields(task.columns),
        "examples": task.examples,
        "unlabelled": task.unlabelled,
        "target": task.target,
        "limits": _set_fields(task.limits),
    }
    return {key: value for key, value in content.items() if value is not None}


def _set_fields(value: Columns | Limits) -> dict[str, Any] | None:
    found = {field.name: getattr(value, field.name) for field in fields(value)}
    return {key: item for key, item in found.items() if item is not None} or None


def _relative(path: str | None, folder: Path) -> str | None:
    if path is None:
        return None
    absolute = Path(path).absolute()
    return str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute)
