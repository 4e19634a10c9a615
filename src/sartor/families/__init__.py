"""Kinds of models that can be generated. One file each; the file's name is the family's, with underscores.

Families outside this package are found by the entry-point group ``sartor.families`` (name -> module).
"""

import functools
import importlib
import importlib.metadata
import pkgutil
from typing import Any, cast

from sartor.errors import NotFoundError, TaskError, did_you_mean
from sartor.families.interface import Family, LabelFamily, NumberFamily, UnusualFamily, WritingFamily

_NOT_A_FAMILY = {"interface"}


def names() -> tuple[str, ...]:
    """Return the names of all families, sorted; nothing is imported for it."""
    return tuple(sorted(_modules()))


def load(name: str) -> Family:
    """Return the family called ``name``.

    Raises:
        NotFoundError: if there is none.
    """
    modules = _modules()
    if name not in modules:
        near = did_you_mean(name, modules)
        raise NotFoundError(f"No model family named {name!r}.{near} Known families: {', '.join(sorted(modules))}.")
    return _family(modules[name])


def load_label(name: str) -> LabelFamily[Any]:
    """Return a family whose models label.

    Raises:
        NotFoundError: if there is none of that name.
        TaskError: if its models do something else.
    """
    found = load(name)
    if not isinstance(found, LabelFamily):
        raise TaskError(f"Models of the family {name!r} do not label.")
    return cast(LabelFamily[Any], found)


def load_number(name: str) -> NumberFamily[Any]:
    """Return a family whose models foretell values.

    Raises:
        NotFoundError: if there is none of that name.
        TaskError: if its models do something else.
    """
    found = load(name)
    if not isinstance(found, NumberFamily):
        raise TaskError(f"Models of the family {name!r} do not foretell values.")
    return cast(NumberFamily[Any], found)


def load_unusual(name: str) -> UnusualFamily[Any]:
    """Return a family whose models say how unusual an input is.

    Raises:
        NotFoundError: if there is none of that name.
        TaskError: if its models do something else.
    """
    found = load(name)
    if not isinstance(found, UnusualFamily):
        raise TaskError(f"Models of the family {name!r} do not say what is unusual.")
    return cast(UnusualFamily[Any], found)


def load_writing(name: str) -> WritingFamily:
    """Return a family whose models write.

    Raises:
        NotFoundError: if there is none of that name.
        TaskError: if its models do something else.
    """
    found = load(name)
    if not isinstance(found, WritingFamily):
        raise TaskError(f"Models of the family {name!r} do not write.")
    return found


@functools.cache
def _family(module: str) -> Family:
    return importlib.import_module(module).FAMILY


def _modules() -> dict[str, str]:
    own = {
        info.name.replace("_", "-"): f"{__name__}.{info.name}"
        for info in pkgutil.iter_modules(__path__)
        if info.name not in _NOT_A_FAMILY
    }
    return {**_foreign(), **own}


@functools.cache  # looks at every package that is installed
def _foreign() -> dict[str, str]:
    return {point.name: point.value for point in importlib.metadata.entry_points(group="sartor.families")}
