"""A comparison for people: rows of its tables, a picture of quality against time and size, one self-contained page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sartor.evaluate.headline import p_value, percent
from sartor.evaluate.render import interval, template
from sartor.evaluate.sidebyside import Comparison, Contest, Entrant, Spent, share_right

CONTEST_COLUMNS = ("later", "earlier", "difference", "gained", "negative flips", "p", "p (Holm)", "the later is")
_QUALITY = {
    "labels": ("model", "right", "95% interval", "macro-F1", "log-loss", "ECE"),
    "values": ("model", "R²", "95% interval", "off by (mean)", "RMSE"),
    "texts": ("model", "exact", "95% interval", "token F1", "ROUGE-L"),
}
_VERDICTS = {"better": "better", "worse": "WORSE", "tie": "no better"}
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 700, 20, 320
_LARGEST = 26
"""Radius of the largest mark."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A model of the picture."""

    name: str
    title: str
    x: float
    y: float
    low: float
    high: float
    radius: float
    imported: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """What the picture draws."""

    y_title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]


def quality_columns(found: Comparison) -> tuple[str, ...]:
    """Return the header of :func:`quality_rows`."""
    return _QUALITY[found.kind]


def quality_rows(found: Comparison) -> list[tuple[str, ...]]:
    """Return each model and how good it is."""
    return [(one.model, *_quality(one)) for one in found.models]


def _quality(one: Entrant) -> tuple[str, ...]:
    if (scores := one.quality.scores) is not None:
        return (
            percent(scores.accuracy.value),
            interval(scores.accuracy),
            percent(scores.macro_f1.value),
            f"{scores.log_loss:.3f}",
            percent(scores.ece),
        )
    if (written := one.quality.written) is not None:
        return (
            percent(written.exact_match.value),
            interval(written.exact_match),
            percent(written.token_f1.value),
            percent(written.rouge_l.value),
        )
    numbers = one.quality.numbers
    assert numbers is not None
    r2 = numbers.r2
    return f"{r2.value:.3f}", f"[{r2.low:.3f}, {r2.high:.3f}]", f"{numbers.mae:.4g}", f"{numbers.rmse:.4g}"


def contest_rows(found: Comparison) -> list[tuple[str, ...]]:
    """Return every pair under ``CONTEST_COLUMNS``."""
    return [_contest(one, found.kind == "values") for one in found.contests]


def _contest(one: Contest, values: bool) -> tuple[str, ...]:
    d = one.difference
    scale, digits = (1, 3) if values else (100, 1)
    parts = [f"{scale * part:+.{digits}f}" for part in (d.value, d.low, d.high)]
    return (
        one.model,
        one.against,
        f"{parts[0]} [{parts[1]}, {parts[2]}]",
        "–" if one.gained is None else str(one.gained),
        "–" if one.negative_flips is None else str(one.negative_flips),
        *(p_value(p).removeprefix("p ").removeprefix("= ") for p in (one.p_value, one.p_holm)),
        _VERDICTS[one.verdict],
    )


def cost_columns(found: Comparison) -> tuple[str, ...]:
    """Return the header of :func:`cost_rows`."""
    batches = tuple(f"/s at {one.batch}" for one in found.costs[0].throughput)
    more = [
        *(["J an answer"] if any(one.joules is not None for one in found.costs) else []),
        *(["a million"] if any(one.price_per_million is not None for one in found.costs) else []),
        *(["machine"] if any(one.imported for one in found.costs) else []),
    ]
    return ("model", "p50 ms", "rounds", "p95 ms", "p99 ms", *batches, "cold s", "peak MB", "MB", "base MB", *more)


def cost_rows(found: Comparison) -> list[tuple[str, ...]]:
    """Return each model and what its answers cost; imported rows come last."""
    batches = [one.batch for one in found.costs[0].throughput]
    header = cost_columns(found)
    return [_cost(one, batches, header) for one in found.costs]


def _cost(one: Spent, batches: Sequence[int], header: Sequence[str]) -> tuple[str, ...]:
    speed = {found.batch: found.per_second for found in one.throughput}
    low, high = one.latency_spread_ms
    optional = {
        "J an answer": _or_dash(one.joules, ".3g"),
        "a million": _or_dash(one.price_per_million, ".4g"),
        "machine": one.machine if one.imported else "this one",
    }
    return (
        one.model,
        f"{one.latency_p50_ms:.1f}",
        f"{low:.1f}-{high:.1f}",
        f"{one.latency_p95_ms:.1f}",
        f"{one.latency_p99_ms:.1f}",
        *(_or_dash(speed.get(batch), ",.0f") for batch in batches),
        _or_dash(one.cold_start_s, ".1f"),
        _or_dash(one.peak_memory_mb, ".0f"),
        f"{one.size_bytes / 1e6:.2f}",
        f"{one.base_bytes / 1e6:.0f}",
        *(cell for name, cell in optional.items() if name in header),
    )


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def kpi_columns(found: Comparison) -> tuple[str, ...]:
    """Return the header of :func:`kpi_rows`; empty where no KPIs were given."""
    verdict = next((one.kpis for one in found.models if one.kpis is not None), None)
    if verdict is None:
        return ()
    named = [f"{value.name} ({value.bound})" if value.bound else value.name for value in verdict.values]
    return ("model", *named, *(["must pass"] if verdict.cases else []), "verdict")


def kpi_rows(found: Comparison) -> list[tuple[str, ...]]:
    """Return each model and every measure; one that is not kept is marked."""
    rows: list[tuple[str, ...]] = []
    for one in found.models:
        if (kpis := one.kpis) is None:
            continue
        values = [f"{value.value:.4g}{'' if value.passed else ' ✗'}" for value in kpis.values]
        failed = ", ".join(map(str, kpis.failed_cases))
        cases = [f"{kpis.cases - len(kpis.failed_cases)} of {kpis.cases}" + (f"; not {failed}" if failed else "")]
        rows.append((one.model, *values, *(cases if kpis.cases else []), "kept" if kpis.passed else "NOT KEPT"))
    return rows


def machine_line(found: Comparison) -> str:
    """Say what the costs were measured on."""
    card = found.machine
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    return (
        f"Measured on {card.processor}, {card.threads} thread(s), {card.memory_mb / 1000:.0f} GB, {card.system}, "
        f"{' '.join(card.flags) or 'no known instruction sets'}; load {card.load:g}; {versions}; {found.rounds} rounds "
        "in which models take turns."
    )


def lead(found: Comparison) -> str:
    """Say on what models were compared."""
    return f"{len(found.models)} model(s) on {found.rows:,} rows{f' of {found.source}' if found.source else ''}."


def to_html(found: Comparison) -> str:
    """Return one HTML page that needs nothing else."""
    return template("compare.html.j2").render(
        found=found,
        title=f"Compared: {', '.join(one.model for one in found.models)}",
        lead=lead(found),
        quality_columns=quality_columns(found),
        quality_rows=quality_rows(found),
        contest_columns=CONTEST_COLUMNS,
        contest_rows=contest_rows(found),
        cost_columns=cost_columns(found),
        cost_rows=cost_rows(found),
        kpi_columns=kpi_columns(found),
        kpi_rows=kpi_rows(found),
        machine_line=machine_line(found),
        picture=picture(found),
        standalone=False,
    )


def to_svg(found: Comparison) -> str:
    """Return the picture alone."""
    return template("compare.svg.j2").render(picture=picture(found), standalone=True)


# --- the picture -------------------------------------------------------------------------------------------


def picture(found: Comparison) -> Picture:
    """Lay out quality against latency; rows of other machines stand beside ours where the model is the same."""
    quality = {one.model: share_right(one.quality) for one in found.models}
    drawn = [one for one in found.costs if one.model in quality]
    floor = min(quality[one.model].low for one in drawn)
    top = max(quality[one.model].high for one in drawn)
    low, high = _padded(floor, top)
    lowest, highest = min(one.latency_p50_ms for one in drawn), max(one.latency_p50_ms for one in drawn)
    left, right = math.log10(max(lowest, 1e-3) / 1.6), math.log10(max(highest, 1e-3) * 1.6)
    largest = max(one.size_bytes + one.base_bytes for one in drawn) or 1

    def x(ms: float) -> float:
        share = (math.log10(max(ms, 1e-3)) - left) / (right - left)
        return round(_LEFT + share * (_RIGHT - _LEFT), 1)

    def y(value: float) -> float:
        return round(_BOTTOM - (min(max(value, low), high) - low) / (high - low) * (_BOTTOM - _TOP), 1)

    def mark(one: Spent) -> Mark:
        metric, size = quality[one.model], one.size_bytes + one.base_bytes
        where = f" on {one.machine}" if one.imported else ""
        title = f"{one.model}{where}: {_told(found, metric.value)}, {one.latency_p50_ms:.1f} ms, {size / 1e6:.1f} MB"
        radius = round(max(4.0, _LARGEST * math.sqrt(size / largest)), 1)
        return Mark(
            one.model,
            title,
            x(one.latency_p50_ms),
            y(metric.value),
            y(metric.low),
            y(metric.high),
            radius,
            one.imported,
        )

    steps = [low + part * (high - low) / 4 for part in range(5)]
    return Picture(
        y_title={"labels": "Right answers", "values": "R²", "texts": "Exact answers"}[found.kind],
        x_ticks=tuple(Tick(x(ms), f"{ms:g}") for ms in _round_values(10**left, 10**right)),
        y_ticks=tuple(Tick(y(value), _told(found, value)) for value in steps),
        marks=tuple(mark(one) for one in drawn),
    )


def _padded(low: float, high: float) -> tuple[float, float]:
    room = max(0.02, 0.1 * (high - low))
    return low - room, high + room


def _told(found: Comparison, value: float) -> str:
    return f"{value:.3f}" if found.kind == "values" else percent(value)


def _round_values(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten between two numbers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in (1, 2, 5) if low <= step * 10.0**power <= high]
