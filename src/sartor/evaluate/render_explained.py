"""What a model of a table looks at, for people: rows for tables, sparklines, and one self-contained HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sartor.evaluate.explain import Dependence, Explanation, Point
from sartor.evaluate.render import template
from sartor.types import Manifest, Metric

COLUMN_COLUMNS = ("column", "kind", "let in")
CONTRIBUTION_COLUMNS = ("column", "its cell", "change", "±")
DEPENDENCE_COLUMNS = ("column", "of", "mean answer", "lowest", "highest")
_BLOCKS = "▁▂▃▄▅▆▇█"
_MOST_LINES = 4
_EMPTY = "(empty)"
_WAYS = {"generated": "the generated net", "random": "random units", "linear": "the columns alone"}


# --- words and tables --------------------------------------------------------------------------------------


def who_answers(found: Explanation) -> str:
    """Say how much of what answers is generated: the scales tell of that part alone."""
    used = {way: share for way, share in found.shares.items() if share > 0}
    if not used:
        return "The model is a constant: no column is looked at."
    parts = ", ".join(f"{_WAYS.get(way, way)} {100 * share:.0f}%" for way, share in used.items())
    rest = "" if set(used) == {"generated"} else "; the other parts let every column in alike"
    return f"Who answers: {parts}. What is let in is told of the generated net{rest}."


def column_columns(found: Explanation) -> tuple[str, ...]:
    """Return the header of :func:`column_rows`."""
    if found.importance is None:
        return COLUMN_COLUMNS
    if found.labels:
        return (*COLUMN_COLUMNS, "log-loss rises by", "95% interval", "accuracy falls by (points)")
    return (*COLUMN_COLUMNS, "R² falls by", "95% interval")


def column_rows(found: Explanation) -> list[tuple[str, ...]]:
    """Return each column with its scale and its worth; what is worth most comes first, what is not read last."""
    worth = {one.column: one for one in found.importance.columns} if found.importance else {}

    def merit(name: str, scale: float) -> tuple[float, float]:
        return (worth[name].loss.value if name in worth else 0.0), scale

    rows: list[tuple[str, ...]] = []
    for one in sorted(found.scales, key=lambda one: merit(one.column, one.scale), reverse=True):
        cells = [one.column, one.kind, f"{100 * one.scale:.1f}%" if not one.why else "–"]
        if (found_worth := worth.get(one.column)) is not None:
            cells += [f"{found_worth.loss.value:z.3f}", _interval(found_worth.loss)]
            if found_worth.accuracy is not None:
                cells.append(f"{100 * found_worth.accuracy.value:z.1f} {_interval(found_worth.accuracy, 100, 1)}")
        rows.append(tuple(cells))
    return rows


def importance_line(found: Explanation) -> str:
    """Say what permutation importance was measured on; "" where it was not."""
    if (worth := found.importance) is None:
        return ""
    return (
        f"On {worth.rows:,} rows the {worth.measure.replace('R2', 'R²')} is {worth.score:.3f}. Beside each column: how "
        f"much worse it gets when the column's cells change places among the rows (mean of {worth.shuffles} times)."
    )


def dependence_rows(found: Explanation) -> list[tuple[str, ...]]:
    """Return a sparkline of each column, all on one scale, under ``DEPENDENCE_COLUMNS``."""
    outputs = drawn_outputs(found)
    low, high = _range(found, outputs)
    rows: list[tuple[str, ...]] = []
    for one in found.dependence:
        for output in outputs:
            points = sorted(one.points, key=lambda point, at=output: point.answers[at])
            line = "".join(_block(point.answers[output], low, high) for point in one.points)
            label = found.labels[output] if found.labels else found.target
            rows.append((one.column, label, line, _at(found, points[0], output), _at(found, points[-1], output)))
    return rows


def point_columns(found: Explanation, one: Dependence) -> tuple[str, ...]:
    """Return the header of :func:`point_rows`."""
    names = [found.labels[output] if found.labels else found.target for output in drawn_outputs(found)]
    return (one.column, *(f"mean answer: {name}" for name in names))


def point_rows(found: Explanation, one: Dependence) -> list[tuple[str, ...]]:
    """Return the mean answer at each value of a column."""
    outputs = drawn_outputs(found)
    return [
        (point.value or _EMPTY, *(answer(found, point.answers[output]) for output in outputs)) for point in one.points
    ]


def contribution_line(found: Explanation) -> str:
    """Say what the answer is and what is usual; "" where no row was asked for."""
    if (row := found.contributions) is None:
        return ""
    of = f" for {row.label!r}" if row.label else ""
    return (
        f"This row's answer{of} is {answer(found, row.answer)}; {answer(found, row.usual)} is the mean of {row.rows} "
        "rows. The changes sum to the difference."
    )


def contribution_rows(found: Explanation) -> list[tuple[str, ...]]:
    """Return what each cell of the row adds, the largest first; cells that add nothing at all are left out."""
    row = found.contributions
    return [
        (one.column, one.value or _EMPTY, _change(found, one.change), _change(found, one.error).lstrip("+"))
        for one in (row.columns if row else ())
        if one.change or one.error
    ]


def answer(found: Explanation, value: float) -> str:
    """Return an answer for a person: a probability in percent, or a value with its unit."""
    return f"{100 * value:.1f}%" if found.labels else f"{value:.4g}{' ' + found.unit if found.unit else ''}"


def drawn_outputs(found: Explanation) -> list[int]:
    """Return which labels are drawn: of two the second, of more the four whose answers vary most."""
    n = len(found.labels)
    if n <= 2:
        return [n - 1] if n else [0]
    spread = [max((_span(one, at) for one in found.dependence), default=0.0) for at in range(n)]
    return sorted(sorted(range(n), key=lambda at: -spread[at])[:_MOST_LINES])


def _span(one: Dependence, output: int) -> float:
    answers = [point.answers[output] for point in one.points]
    return max(answers) - min(answers)


def _range(found: Explanation, outputs: Sequence[int]) -> tuple[float, float]:
    """Return the scale of all pictures: what is drawn, and where most answers lie, so that small effects look small."""
    answers = [point.answers[at] for one in found.dependence for point in one.points for at in outputs]
    answers += [end for at in outputs if at < len(found.middle) for end in found.middle[at]]
    return (min(answers), max(answers)) if answers else (0.0, 1.0)


def _block(value: float, low: float, high: float) -> str:
    share = (value - low) / (high - low) if high > low else 0.0
    return _BLOCKS[min(int(share * len(_BLOCKS)), len(_BLOCKS) - 1)]


def _at(found: Explanation, point: Point, output: int) -> str:
    return f"{answer(found, point.answers[output])} at {point.value or _EMPTY}"


def _change(found: Explanation, value: float) -> str:
    return f"{100 * value:+z.1f} points" if found.labels else f"{value:+.4g}"


def _interval(metric: Metric, scale: float = 1.0, digits: int = 3) -> str:
    return f"[{scale * metric.low:z.{digits}f}, {scale * metric.high:z.{digits}f}]"


# --- the page ----------------------------------------------------------------------------------------------


def to_html(found: Explanation, manifest: Manifest | None = None) -> str:
    """Return one HTML page that needs nothing else: no script, no font, no image from elsewhere."""
    return template("explain.html.j2").render(
        found=found,
        manifest=manifest,
        who=who_answers(found),
        columns=column_columns(found),
        rows=column_rows(found),
        importance_line=importance_line(found),
        bars=_bars(found),
        pictures=_pictures(found),
        contribution_line=contribution_line(found),
        contribution_columns=CONTRIBUTION_COLUMNS,
        contribution_rows=contribution_rows(found),
        contribution_bars=_contribution_bars(found),
    )


_MOST_BARS = 20
_STROKES = (("var(--model)", "none"), ("var(--alarm)", "6 3"), ("var(--ink)", "2 3"), ("var(--other)", "8 2 2 2"))
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 300.0, 12.0, 150.0
"""Edges of a picture's field."""
_ROW = 22.0


def _bars(found: Explanation) -> list[dict[str, Any]]:
    """Return how wide the bars of the columns are, 0..1, of what is worth most: by importance, else by scale."""
    if found.importance is not None:
        told = [(one.column, one.loss) for one in found.importance.columns]
    else:
        told = [(one.column, Metric(one.scale, one.scale, one.scale)) for one in found.scales]
    told = sorted((one for one in told if one[1].value > 0), key=lambda one: -one[1].value)[:_MOST_BARS]
    widest = max((metric.high for _, metric in told), default=0.0) or 1.0
    return [
        {
            "title": column,
            "value": metric.value / widest,
            "low": max(metric.low, 0.0) / widest,
            "high": metric.high / widest,
            "told": f"{metric.value:.3f}" if found.importance else f"{100 * metric.value:.1f}%",
        }
        for column, metric in told
    ]


def _contribution_bars(found: Explanation) -> list[dict[str, Any]]:
    row = found.contributions
    told = [one for one in (row.columns if row else ()) if one.change or one.error][:_MOST_BARS]
    widest = max((abs(one.change) for one in told), default=0.0) or 1.0
    return [
        {
            "title": f"{one.column} = {one.value or _EMPTY}",
            "start": min(one.change, 0.0) / widest,
            "width": abs(one.change) / widest,
            "up": one.change > 0,
            "told": _change(found, one.change),
        }
        for one in told
    ]


def _pictures(found: Explanation) -> list[dict[str, Any]]:
    """Return what is drawn of each column, all on one scale of answers: lines over numbers, dots beside levels."""
    outputs = drawn_outputs(found)
    low, high = _range(found, outputs)
    scale = _Scale(low, high, 0.05 * (high - low) or 0.5)
    legend = [
        {"label": found.labels[at] if found.labels else found.target, "stroke": stroke, "dash": dash}
        for at, (stroke, dash) in zip(outputs, _STROKES, strict=False)
    ]
    return [
        {"column": one.column, "kind": one.kind, "rows": one.rows, "legend": legend}
        | (_levels(found, one, outputs, scale) if one.kind == "category" else _lines(found, one, outputs, scale))
        for one in found.dependence
    ]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Of answers, with room beyond both ends."""

    low: float
    high: float
    room: float

    @property
    def ticks(self) -> tuple[float, ...]:
        return tuple(dict.fromkeys((self.low, (self.low + self.high) / 2, self.high)))

    def share(self, value: float) -> float:
        return (value - self.low + self.room) / (self.high - self.low + 2 * self.room)


def _lines(found: Explanation, one: Dependence, outputs: Sequence[int], scale: _Scale) -> dict[str, Any]:
    numbers = [point.number for point in one.points if point.number is not None]
    first, last = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    # where nothing stands in the cell is no place on the axis: beside it
    right = _RIGHT - 50 * (len(numbers) < len(one.points))

    def x(point: Point) -> float:
        if point.number is None:
            return _RIGHT - 15
        return _LEFT + (right - _LEFT) * ((point.number - first) / (last - first) if last > first else 0.5)

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * scale.share(value)

    lines = [
        {
            "dots": [(round(x(p), 1), round(y(p.answers[at]), 1), _at(found, p, at)) for p in one.points],
            "path": " ".join(f"{x(p):.1f},{y(p.answers[at]):.1f}" for p in one.points if p.number is not None),
        }
        for at in outputs
    ]
    known = [point for point in one.points if point.number is not None]
    ends = [known[0], known[-1]] if len(known) > 1 else known
    return {
        "height": 180,
        "lines": lines,
        "axis": f"M{_LEFT} {_TOP}V{_BOTTOM}H{right}",
        "x_ticks": [(round(x(p), 1), p.value, "start" if p is ends[0] else "end") for p in ends]
        + [(_RIGHT - 15, _EMPTY, "middle") for p in one.points if p.number is None],
        "x_at": _BOTTOM + 18,
        "y_ticks": [(_LEFT - 6, round(y(v), 1) + 4, answer(found, v), "end") for v in scale.ticks],
    }


def _levels(found: Explanation, one: Dependence, outputs: Sequence[int], scale: _Scale) -> dict[str, Any]:
    left = 110.0

    def x(value: float) -> float:
        return left + (_RIGHT - left) * scale.share(value)

    bottom = _TOP + _ROW * len(one.points)
    lines = [
        {
            "dots": [
                (round(x(p.answers[at]), 1), round(_TOP + _ROW * (n + 0.5), 1), _at(found, p, at))
                for n, p in enumerate(one.points)
            ],
            "path": "",
        }
        for at in outputs
    ]
    return {
        "height": int(bottom + 30),
        "lines": lines,
        "axis": f"M{left} {_TOP}V{bottom}H{_RIGHT}",
        "x_ticks": [(round(x(v), 1), answer(found, v), "middle") for v in (scale.low, scale.high)],
        "x_at": bottom + 18,
        "y_ticks": [
            (left - 6, round(_TOP + _ROW * (n + 0.5) + 4, 1), _cut(p.value or _EMPTY), "end")
            for n, p in enumerate(one.points)
        ],
    }


def _cut(text: str) -> str:
    return text if len(text) <= 14 else text[:13] + "…"
