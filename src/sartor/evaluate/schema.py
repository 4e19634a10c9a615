"""The report's schema as a page for people and programs, written from the types themselves."""

import ast
import inspect
import json
from collections.abc import Iterator

import msgspec

from sartor import types
from sartor.types import REPORT_SCHEMA, Report

_INTRODUCTION = """\
# The report

<!-- Written by sartor.evaluate.schema.schema_markdown(); edit the docstrings of sartor.types instead. -->

What a proof says, as JSON. Version {version} (`schema`): fields may be added within a version, never changed
or removed. Shares are 0..1, intervals are 95%, times are in the unit of the field's name.
"""


def schema_markdown() -> str:
    """Return docs/report-schema.md: a table for each type in a report, then its JSON Schema."""
    schema = msgspec.json.schema(Report)
    parts = [_INTRODUCTION.format(version=REPORT_SCHEMA)]
    parts += [_section(node) for node in _classes() if node.name in schema["$defs"]]
    parts.append(f"## JSON Schema\n\n```json\n{json.dumps(schema, indent=2, sort_keys=True)}\n```\n")
    return "\n".join(parts)


def _classes() -> Iterator[ast.ClassDef]:
    """Yield the classes of sartor.types as syntax: docstrings under fields are not kept at run time."""
    body = ast.parse(inspect.getsource(types)).body
    return (node for node in reversed(body) if isinstance(node, ast.ClassDef))


def _section(node: ast.ClassDef) -> str:
    rows = [f"| `{name}` | `{kind}` | {meaning} |" for name, kind, meaning in _fields(node)]
    table = "\n".join(["| field | type | meaning |", "|---|---|---|", *rows])
    return f"## {node.name}\n\n{_one_line(ast.get_docstring(node) or '')}\n\n{table}\n"


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and meaning of each field; the meaning is the string that follows it."""
    following = [*node.body[1:], None]
    for statement, after in zip(node.body, following, strict=True):
        if isinstance(statement, ast.AnnAssign):
            kind = ast.unparse(statement.annotation).replace("|", "\\|")
            yield ast.unparse(statement.target), kind, _one_line(_text(after))


def _text(statement: ast.stmt | None) -> str:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
        case _:
            return ""


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")
