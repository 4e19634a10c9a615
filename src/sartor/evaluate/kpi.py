"""Measures of a business as expressions over predictions: ``kpi.yaml``, and what it says of a model.

    costs: {billing: {bug: 5}, otherwise: 1, abstain: 0.2}
    kpis:
      - {name: cost a mail, value: mean(cost), max: 0.3}
    must_pass:
      - {text: I was charged twice, label: billing}

Expressions are parsed into Python's syntax tree and walked here, node by node, against what is listed in this module;
nothing is ever handed to ``eval``. A name is a number, or an array with one entry a row.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import yaml

from sartor.data.encoding import decode
from sartor.data.text import short
from sartor.errors import DataError, TaskError, did_you_mean
from sartor.types import Example

Value: TypeAlias = Any
"""A number, a text, or an array of either."""

MOST_CHARACTERS = 500
MOST_KPIS = 50
_OTHERWISE, _ABSTAIN = "otherwise", "abstain"
_KEYS = ("kpis", "costs", "must_pass")


@dataclass(frozen=True, slots=True)
class Kpi:
    """One measure, and the bounds it must keep to; None is no bound."""

    name: str
    value: str
    """The expression, as written."""
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Costs:
    """What a wrong answer costs; a right one costs nothing."""

    by_label: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    """right label -> answered label -> cost."""
    otherwise: float = 1.0
    """Of errors that are not named."""
    abstain: float | None = None
    """Of a row that a model abstains on, whatever it would have said; None: its best label counts."""


@dataclass(frozen=True, slots=True)
class KpiFile:
    """What ``kpi.yaml`` says."""

    kpis: tuple[Kpi, ...] = ()
    costs: Costs = field(default_factory=Costs)
    must_pass: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class KpiValue:
    """What a measure is for one model."""

    name: str
    value: float
    passed: bool
    bound: str
    """As ``at most 0.3``; "" where there is none."""


@dataclass(frozen=True, slots=True)
class KpiVerdict:
    """All measures of one model."""

    values: tuple[KpiValue, ...]
    failed_cases: tuple[int, ...]
    """Numbers of the must-pass cases that it does not answer as told, from 1 on."""
    cases: int
    passed: bool


# --- reading -----------------------------------------------------------------------------------------------


def read_kpis(path: Path) -> KpiFile:
    """Read ``kpi.yaml``; every expression is parsed now, so that a mistake is told before minutes are spent.

    Raises:
        TaskError: when the file cannot be read, or says what is not understood.
    """
    try:
        text, _ = decode(path.read_bytes(), path.name)
        content = _plain(yaml.compose(text, Loader=yaml.BaseLoader), path.name)
    except OSError as error:
        raise TaskError(f"The file of KPIs {str(path)!r} cannot be read: {error.strerror or error}.") from error
    except DataError as error:
        raise TaskError(str(error)) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise TaskError(f"{path.name} is not valid YAML: {' '.join(str(error).split())[:200]}.") from error
    if not isinstance(content, dict):
        raise TaskError(f"{path.name} holds no mapping. Its keys are {', '.join(_KEYS)}.")
    _known(content, _KEYS, path.name)
    found = KpiFile(
        kpis=tuple(_kpi(one, path.name) for one in _listed(content.get("kpis"), "kpis", path.name)),
        costs=_costs(content.get("costs") or {}, path.name),
        must_pass=tuple(_case(one, path.name) for one in _listed(content.get("must_pass"), "must_pass", path.name)),
    )
    names = [kpi.name for kpi in found.kpis]
    if len(set(names)) < len(names):
        raise TaskError(f"{path.name} names a KPI twice: {', '.join(names)}. Give each a name of its own.")
    if len(names) > MOST_KPIS:
        raise TaskError(f"{path.name} has {len(names)} KPIs; at most {MOST_KPIS} are read.")
    if not (found.kpis or found.must_pass):
        raise TaskError(f"{path.name} asks for nothing. Write at least one of 'kpis' and 'must_pass'.")
    return found


def _plain(node: yaml.Node | None, name: str) -> Any:
    """Return YAML as dicts, lists and texts as they are written; ``no`` stays a text."""
    match node:
        case yaml.MappingNode():
            found: dict[str, Any] = {}
            for key_node, value in node.value:
                key = str(_plain(key_node, name))
                if key in found:
                    raise TaskError(f"{name}, line {key_node.start_mark.line + 1}: {key!r} is there twice. Keep one.")
                found[key] = _plain(value, name)
            return found
        case yaml.SequenceNode():
            return [_plain(item, name) for item in node.value]
        case None:
            return None
        case _:
            return node.value


def _known(content: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    for key in content:
        if key not in keys:
            raise TaskError(f"{where} has no key {short(key)!r}.{did_you_mean(key, keys)} Known: {', '.join(keys)}.")


def _listed(value: Any, key: str, name: str) -> list[Mapping[str, Any]]:
    if not value:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise TaskError(f"{key!r} in {name} must be a list of mappings, as '- {{name: …}}'.")
    return value


def _kpi(one: Mapping[str, Any], name: str) -> Kpi:
    _known(one, ("name", "value", "min", "max"), f"A KPI in {name}")
    if not one.get("name") or not one.get("value"):
        raise TaskError(f"A KPI in {name} needs a 'name' and a 'value', as 'value: mean(cost)'; got {dict(one)!r:.99}.")
    kpi = Kpi(str(one["name"]), str(one["value"]), _bound(one.get("min"), name), _bound(one.get("max"), name))
    Expression(kpi.value)
    return kpi


def _bound(value: Any, name: str) -> float | None:
    return None if value in (None, "") else _number(value, "A bound", name)


def _number(value: Any, what: str, name: str) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise TaskError(f"{what} in {name} must be a number; got {short(str(value))!r}.")
    return found


def _costs(content: Any, name: str) -> Costs:
    if not isinstance(content, dict):
        raise TaskError(f"'costs' in {name} must be a mapping: right label to answered label to cost.")
    by_label: dict[str, Mapping[str, float]] = {}
    otherwise, abstain = 1.0, None
    for label, value in content.items():
        if label == _OTHERWISE:
            otherwise = _number(value, "The cost 'otherwise'", name)
        elif label == _ABSTAIN:
            abstain = _number(value, "The cost 'abstain'", name)
        elif isinstance(value, dict):
            by_label[label] = {other: _number(cost, f"The cost of {label!r}", name) for other, cost in value.items()}
        else:
            raise TaskError(
                f"The costs of {label!r} in {name} must say which answer costs what, as "
                f"'{label}: {{other: 5}}'; got {short(str(value))!r}."
            )
    return Costs(by_label, otherwise, abstain)


def _case(one: Mapping[str, Any], name: str) -> Example:
    _known(one, ("text", "label", "input", "output"), f"A must-pass case in {name}")
    text, label = one.get("text", one.get("input")), one.get("label", one.get("output"))
    if not isinstance(text, str) or not isinstance(label, str):
        raise TaskError(f"A must-pass case in {name} is a 'text' and a 'label'; got {dict(one)!r:.120}.")
    return Example(text, label)


# --- judging -----------------------------------------------------------------------------------------------


def row_costs(costs: Costs, right: Sequence[str], answered: Sequence[str], abstain: Sequence[bool]) -> np.ndarray:
    """Return (N,) what each answer costs."""
    return np.array(
        [
            costs.abstain
            if none and costs.abstain is not None
            else 0.0
            if wanted == got
            else costs.by_label.get(wanted, {}).get(got, costs.otherwise)
            for wanted, got, none in zip(right, answered, abstain, strict=True)
        ]
    )


def judge_kpis(found: KpiFile, names: Mapping[str, Value], failed_cases: Sequence[int]) -> KpiVerdict:
    """Return every measure of one model, told of what its expressions may name.

    Raises:
        TaskError: when an expression names what is not there, or is no number.
    """
    values = tuple(_judged(kpi, Expression(kpi.value)(names)) for kpi in found.kpis)
    passed = all(one.passed for one in values) and not failed_cases
    return KpiVerdict(values, tuple(failed_cases), len(found.must_pass), passed)


def _judged(kpi: Kpi, value: float) -> KpiValue:
    bounds = [
        *([f"at least {kpi.least:g}"] if kpi.least is not None else []),
        *([f"at most {kpi.most:g}"] if kpi.most is not None else []),
    ]
    # what cannot be told (no row to take a mean of) keeps no bound
    kept = (kpi.least is None or value >= kpi.least) and (kpi.most is None or value <= kpi.most)
    return KpiValue(kpi.name, value, kept, ", ".join(bounds))


# --- expressions -------------------------------------------------------------------------------------------

_BINARY: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = MappingProxyType(
    {
        ast.Add: np.add,
        ast.Sub: np.subtract,
        ast.Mult: np.multiply,
        ast.Div: np.true_divide,
        ast.BitAnd: np.logical_and,
        ast.BitOr: np.logical_or,
        ast.And: np.logical_and,
        ast.Or: np.logical_or,
    }
)
_UNARY: Mapping[type[ast.AST], Callable[[Any], Any]] = MappingProxyType(
    {ast.USub: np.negative, ast.UAdd: np.positive, ast.Not: np.logical_not, ast.Invert: np.logical_not}
)
_COMPARED: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = MappingProxyType(
    {
        ast.Eq: operator.eq,
        ast.NotEq: operator.ne,
        ast.Lt: operator.lt,
        ast.LtE: operator.le,
        ast.Gt: operator.gt,
        ast.GtE: operator.ge,
    }
)


def _mean(values: Any) -> float:
    return float(np.mean(values)) if np.size(values) else math.nan


def _quantile(values: Any, q: Any) -> float:
    return float(np.quantile(np.asarray(values, dtype=float), float(q))) if np.size(values) else math.nan


_FUNCTIONS: Mapping[str, tuple[int, Callable[..., Any]]] = MappingProxyType(
    {
        "mean": (1, _mean),
        "share": (1, lambda values: _mean(np.asarray(values, dtype=bool))),
        "sum": (1, lambda values: float(np.sum(values))),
        "count": (1, lambda values: float(np.count_nonzero(values))),
        "min": (1, lambda values: float(np.min(values)) if np.size(values) else math.nan),
        "max": (1, lambda values: float(np.max(values)) if np.size(values) else math.nan),
        "median": (1, lambda values: _quantile(values, 0.5)),
        "quantile": (2, _quantile),
        "abs": (1, np.abs),
        "where": (3, np.where),
        "only": (2, lambda values, rows: np.asarray(values)[np.asarray(rows, dtype=bool)]),
    }
)


class Expression:
    """One expression, parsed and checked.

    >>> Expression("mean(cost) + share(right & (confidence > 0.5))")({"cost": np.ones(2), "right": np.array([True,
    ... False]), "confidence": np.array([0.9, 0.9])})
    1.5
    """

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > MOST_CHARACTERS:
            raise TaskError(f"An expression has at most {MOST_CHARACTERS} characters; got {len(text)}.")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._fail(f"it cannot be read ({getattr(error, 'msg', error)})") from error
        self._check(self._tree)

    def __call__(self, names: Mapping[str, Value]) -> float:
        """Return its value; one number.

        Raises:
            TaskError: when it names what is not among ``names``, or gives no single number.
        """
        with np.errstate(all="ignore"):
            try:
                value = np.asarray(self._value(self._tree, names))
            except (ValueError, TypeError, IndexError) as error:
                raise self._fail(f"its parts do not fit each other ({error})") from error
        if value.ndim or value.dtype.kind not in "biuf":
            raise self._fail("it gives a value for each row; take its mean(…), sum(…) or share(…)")
        return float(value)

    def _check(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=value) if isinstance(value, int | float | str):
                return
            case ast.Name():
                return
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
                parts = [left, right]
            case ast.BoolOp(values=parts):
                pass
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                parts = [operand]
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARED:
                parts = [left, right]
            case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]):
                if name not in _FUNCTIONS:
                    known = ", ".join(_FUNCTIONS)
                    raise self._fail(f"there is no function {name!r}.{did_you_mean(name, _FUNCTIONS)} Known: {known}")
                if len(parts) != _FUNCTIONS[name][0]:
                    raise self._fail(f"{name} takes {_FUNCTIONS[name][0]} argument(s); got {len(parts)}")
            case _:
                raise self._fail(
                    f"{ast.unparse(node)!r:.60} is not allowed. Known: numbers, texts, names, + - * /, comparisons, "
                    f"and or not & | ~, and {', '.join(_FUNCTIONS)}"
                )
        for part in parts:
            self._check(part)

    def _value(self, node: ast.expr, names: Mapping[str, Value]) -> Value:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                if name not in names:
                    known = ", ".join(names)
                    raise self._fail(f"there is no {name!r}.{did_you_mean(name, names)} Known here: {known}")
                return names[name]
            case ast.BinOp(op=op, left=left, right=right):
                return _BINARY[type(op)](self._value(left, names), self._value(right, names))
            case ast.BoolOp(op=op, values=parts):
                found = [self._value(part, names) for part in parts]
                whole = found[0]
                for one in found[1:]:
                    whole = _BINARY[type(op)](whole, one)
                return whole
            case ast.UnaryOp(op=op, operand=operand):
                return _UNARY[type(op)](self._value(operand, names))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return _COMPARED[type(op)](self._value(left, names), self._value(right, names))
            case ast.Call(func=ast.Name(id=name), args=args):
                return _FUNCTIONS[name][1](*(self._value(arg, names) for arg in args))
            case _:  # _check let nothing else through
                raise AssertionError(ast.dump(node))

    def _fail(self, why: str) -> TaskError:
        return TaskError(f"The expression {short(self.text)!r} cannot be used: {why}.")
