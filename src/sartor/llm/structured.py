"""Answers that keep to a JSON Schema: asked for, read with small repairs, checked, and asked for again.

Of JSON Schema these words are known: type, enum, const, properties, required, additionalProperties, items, minItems,
maxItems, minimum, maximum, maxLength. A schema with others is refused, rather than half checked.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sartor.errors import LargeModelError
from sartor.llm.interface import LargeModel, Reply, Request

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_KNOWN = frozenset(
    (
        *("type", "enum", "const", "properties", "required", "additionalProperties", "items", "minItems", "maxItems"),
        *("minimum", "maximum", "maxLength", "description", "title", "$schema"),
    )
)


@dataclass(frozen=True, slots=True)
class Answered:
    """What was answered, as JSON."""

    value: Any
    reply: Reply
    """The last one; its cost and bytes are those of all attempts."""
    attempts: int


def ask(model: LargeModel, request: Request, *, attempts: int = 2) -> Answered:
    """Ask until the answer keeps to the request's schema, ``attempts`` times at most.

    Raises:
        LargeModelError: when none did (outcome ``malformed``), or as :meth:`LargeModel.ask`.
        EgressRefused: as :meth:`LargeModel.ask`.
    """
    if request.schema is None:
        raise ValueError("a structured request has a schema")
    told, wrong, spent, sent, received = request, "", 0.0, 0, 0
    for attempt in range(1, attempts + 1):
        try:
            reply = model.ask(told)
        except LargeModelError as error:
            error.bytes_out += sent
            raise
        spent, sent, received = spent + reply.cost, sent + reply.bytes_out, received + reply.bytes_in
        try:
            value = parse(reply.text)
            wrong = violation(value, request.schema)
        except ValueError as error:
            value, wrong = None, str(error)
        if not wrong:
            whole = replace(reply, cost=spent, bytes_out=sent, bytes_in=received)
            return Answered(value, whole, attempt)
        # only what was wrong is told, never the answer itself: it may hold what was masked
        told = replace(
            request,
            system=f"{request.system}\nThe last answer was not valid ({wrong}). Answer with JSON of the schema alone.",
            seed=request.seed + attempt,
        )
    failure = LargeModelError(f"The answer does not keep to its form after {attempts} attempts: {wrong}.", "malformed")
    failure.bytes_out = sent
    raise failure


def parse(text: str) -> Any:
    r"""Return the JSON in ``text``: all of it, or the first object or list in it, with small mistakes mended.

    >>> parse('Sure! ```json\n{"label": "bug",}\n```')
    {'label': 'bug'}

    Raises:
        ValueError: when there is none.
    """
    for candidate in (text, _fenced(text), _first(text)):
        if candidate is None:
            continue
        for spelled in (candidate, _mended(candidate)):
            try:
                return json.loads(spelled, parse_constant=_refuse)
            except (ValueError, RecursionError):
                continue
    raise ValueError("there is no JSON in it")


def violation(value: Any, schema: Mapping[str, Any], at: str = "answer") -> str:
    """Return what of ``value`` does not keep to ``schema``, "" if all does.

    >>> violation({"label": "spam"}, {"type": "object", "properties": {"label": {"enum": ["bug", "other"]}}})
    'answer.label is not one of the allowed values'

    Raises:
        ValueError: when the schema has words that are not known here.
    """
    unknown = schema.keys() - _KNOWN
    if unknown:
        raise ValueError(f"the schema has words that are not known here: {', '.join(sorted(unknown))}")
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{at} must be of type {' or '.join(kinds)}"
    if "const" in schema and value != schema["const"]:
        return f"{at} is not the allowed value"
    if "enum" in schema and not any(value == one and type(value) is type(one) for one in schema["enum"]):
        return f"{at} is not one of the allowed values"
    if isinstance(value, dict):
        return _object(value, schema, at)
    if isinstance(value, list):
        return _array(value, schema, at)
    return _scalar(value, schema, at)


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], at: str) -> str:
    properties: Mapping[str, Any] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            return f"{at}.{name} is missing"
    rest = schema.get("additionalProperties", True)
    for name, inner in value.items():
        if name not in properties and rest is False:
            return f"{at} has a key that is not allowed"
        wanted = properties.get(name, rest if isinstance(rest, dict) else {})
        if wrong := violation(inner, wanted, f"{at}.{name}"):
            return wrong
    return ""


def _array(value: list[Any], schema: Mapping[str, Any], at: str) -> str:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return f"{at} has {len(value)} items"
    wrongs = (violation(inner, schema.get("items", {}), f"{at}[{place}]") for place, inner in enumerate(value))
    return next((wrong for wrong in wrongs if wrong), "")


def _scalar(value: Any, schema: Mapping[str, Any], at: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            return f"{at} is out of range"
    elif isinstance(value, str) and len(value) > schema.get("maxLength", len(value)):
        return f"{at} is too long"
    return ""


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES.get(kind, ())) or (
        kind == "integer" and isinstance(value, float) and value % 1 == 0
    )


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _fenced(text: str) -> str | None:
    match = re.search(r"```(?:json)?\s*\n?(.*?)(?:```|\Z)", text, flags=re.DOTALL)
    return match.group(1).strip() if match else None


def _first(text: str) -> str | None:
    """Return the first balanced object or list."""
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    if start < 0:
        return None
    depth, quoted = 0, False
    for at in range(start, len(text)):
        character = text[at]
        if quoted:
            quoted = character != '"' or not _even(text, at)
            continue
        if character == '"':
            quoted = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
            if depth == 0:
                return text[start : at + 1]
    return text[start:] + "}" * max(depth, 0)


def _even(text: str, at: int) -> bool:
    """Return whether an even number of backslashes stands before ``at``."""
    before = len(text[:at]) - len(text[:at].rstrip("\\"))
    return before % 2 == 0


def _mended(text: str) -> str:
    """Return JSON without a comma before an end, with plain quotes, and with Python's words spelled as JSON's."""
    text = re.sub(r",\s*([}\]])", r"\1", text.strip())
    text = text.translate(str.maketrans("“”„", '"""'))
    if '"' not in text:
        text = text.replace("'", '"')
    return re.sub(r"(?<=[:\[,])(\s*)(True|False|None)\b", lambda m: m.group(1) + _WORDS[m.group(2)], text)


_WORDS = {"True": "true", "False": "false", "None": "null"}
