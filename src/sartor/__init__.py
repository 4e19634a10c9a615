"""Sartor: a task in plain words and a few examples in; a small, private, proved model out.

    task = sartor.Task("Route support mails to billing, bug or other")
    model = sartor.generate(task, "mails.csv")
    model.predict(["I was charged twice"])

Everything public is here, and is imported when it is first used: ``import sartor`` is cheap.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sartor.errors import GateRefused, SartorError, UserError
    from sartor.model import Answer, Model, load
    from sartor.pipeline import generate
    from sartor.types import Example, Report, Task

__all__ = [
    "Answer",
    "Example",
    "GateRefused",
    "Model",
    "Report",
    "SartorError",
    "Task",
    "UserError",
    "generate",
    "load",
]

_HOME = {
    "Answer": "sartor.model",
    "Example": "sartor.types",
    "GateRefused": "sartor.errors",
    "Model": "sartor.model",
    "Report": "sartor.types",
    "SartorError": "sartor.errors",
    "Task": "sartor.types",
    "UserError": "sartor.errors",
    "generate": "sartor.pipeline",
    "load": "sartor.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sartor' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
