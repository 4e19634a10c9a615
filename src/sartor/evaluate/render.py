"""A report for people: rows for tables, promises in words, and one self-contained HTML page."""

import functools
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from sartor.evaluate.headline import p_value, percent
from sartor.evaluate.mistakes import Mistake, thumbnail
from sartor.types import (
    ClassScores,
    Coverage,
    Manifest,
    Metric,
    NumberBaseline,
    NumberScores,
    Paired,
    Report,
    Scores,
    UnusualBaseline,
    WrittenScores,
)

if TYPE_CHECKING:
    from jinja2 import Template

COMPARISON_COLUMNS = ("", "accuracy", "95% interval", "macro-F1", "difference", "p", "the model is")
CLASS_COLUMNS = ("label", "rows", "precision", "recall", "95% interval", "F1", "most often taken for")
WRITTEN_COLUMNS = ("", "exact", "95% interval", "token F1", "ROUGE-L", "chrF", "difference", "p", "the model is")
NUMBER_COLUMNS = ("", "R²", "95% interval", "off by (mean)", "RMSE", "difference", "p", "the model is")
UNUSUAL_COLUMNS = ("", "AUROC", "95% interval", "difference", "p", "the model is")
FOUND_COLUMNS = ("", "of", "found", "95% interval", "AUROC", "95% interval")
_PAIRS = 10
_VERDICTS = {"better": "better", "worse": "WORSE", "tie": "no better"}


def comparison_rows(report: Report) -> list[tuple[str, ...]]:
    """Return the model and then its baselines, most accurate first, under ``COMPARISON_COLUMNS``.

    The difference is the model's accuracy less the baseline's, in points.
    """
    if report.scores is None:
        return []
    baselines = sorted(report.baselines, key=lambda b: -b.scores.accuracy.value)
    return [
        ("this model", *_scores_cells(report.scores), "", "", ""),
        *((b.title, *_scores_cells(b.scores), *_paired_cells(b.paired)) for b in baselines),
    ]


def written_rows(report: Report) -> list[tuple[str, ...]]:
    """Return a model that writes and then the other ways to answer, most often exact first, under ``WRITTEN_COLUMNS``.

    The difference is the model's share of exact answers less the other's, in points.
    """
    found = report.written
    if found is None or found.scores is None:
        return []
    others = sorted(found.baselines, key=lambda b: -b.scores.exact_match.value)
    return [
        ("this model", *_written_cells(found.scores), "", "", ""),
        *((b.title, *_written_cells(b.scores), *_paired_cells(b.paired)) for b in others),
    ]


def written_lines(report: Report) -> list[str]:
    """Return who answers and why, and how well right answers are foretold with more and less of what was generated."""
    found = report.written
    if found is None:
        return []
    lines = [found.why]
    if found.sweep:
        points = ", ".join(f"{point.dial:g}: {point.cross_entropy:.2f}" for point in found.sweep)
        lines.append(f"Nats a token by the dial (0 is the anchor alone, 1 what was generated): {points}.")
    return lines


def number_rows(report: Report) -> list[tuple[str, ...]]:
    """Return a model that foretells values and then its baselines, the best first, under ``NUMBER_COLUMNS``.

    The difference is the model's R2 less the baseline's.
    """
    if (found := report.numbers) is None:
        return []
    others = sorted(found.baselines, key=lambda b: -b.scores.r2.value)
    return [
        ("this model", *_number_cells(found.scores), "", "", ""),
        *((b.title, *_number_cells(b.scores), *_difference_cells(b)) for b in others),
    ]


def number_lines(report: Report) -> list[str]:
    """Return how wide intervals are and how often they held."""
    found = report.numbers
    if found is None or found.covered is None:
        return []
    unit = f" {found.unit}" if found.unit else ""
    return [
        f"Intervals are {found.width:.4g}{unit} wide and are to hold {100 * found.nominal:g}% of the right values; "
        f"they held {percent(found.covered.value)} {interval(found.covered)}."
    ]


def unusual_rows(report: Report) -> list[tuple[str, ...]]:
    """Return a model that tells what is unusual and then its baselines, the best first, under ``UNUSUAL_COLUMNS``."""
    if (found := report.unusual) is None or found.auroc is None:
        return []
    others = sorted(found.baselines, key=lambda b: -b.auroc.value)
    return [
        ("this model", f"{found.auroc.value:.3f}", _thousandths(found.auroc), "", "", ""),
        *((b.title, f"{b.auroc.value:.3f}", _thousandths(b.auroc), *_auroc_cells(b)) for b in others),
    ]


def found_rows(report: Report) -> list[tuple[str, ...]]:
    """Return how many of each kind of bad (or planted) inputs were found, under ``FOUND_COLUMNS``."""
    if (found := report.unusual) is None:
        return []
    named = [(one.kind, one) for one in found.kinds] + [(f"planted: {one.title}", one) for one in found.planted]
    return [
        (
            name,
            str(one.n),
            percent(one.found.value),
            interval(one.found),
            f"{one.auroc.value:.3f}",
            _thousandths(one.auroc),
        )
        for name, one in named
    ]


def unusual_lines(report: Report) -> list[str]:
    """Return what is promised of false alarms, what was seen of them, and what planted defects are worth."""
    if (found := report.unusual) is None:
        return []
    lines: list[str] = []
    if (alarms := found.false_alarms) is not None:
        few = f"; so few can vouch for {percent(found.promised)} at best" if found.promised > found.wanted else ""
        lines.append(
            f"Above a score of {found.threshold:.4g} an input is unusual. Of good ones {percent(found.wanted)} may "
            f"be{few}; of those that were left out it was {percent(alarms.value)} {interval(alarms)}."
        )
    if found.planted:
        lines.append(
            "Planted defects are artificial: painted by rule, from faint to plain, on good ones that the model had not "
            "seen. They show that it is awake; real defects may be found more often or less."
        )
    return lines


def class_rows(report: Report) -> list[tuple[str, ...]]:
    """Return one row for each label under ``CLASS_COLUMNS``."""
    return [
        (
            c.label,
            str(c.rows),
            percent(c.precision),
            percent(c.recall.value) if c.rows else "–",
            interval(c.recall) if c.rows else "–",
            percent(c.f1),
            c.most_confused_with or "",
        )
        for c in report.classes
    ]


def promise_lines(report: Report) -> list[str]:
    """Return one sentence for each promise, kept or refused."""
    if not report.coverage:
        return ["Nothing is promised, because the model is not proved."]
    return [_promise(coverage) for coverage in report.coverage]


def confusion_lines(report: Report) -> list[str]:
    """Return which label is taken for which other, the least recalled first; ten at most."""
    confused = sorted((c for c in report.classes if c.most_confused_with), key=lambda c: c.recall.value)
    return [_confusion(c) for c in confused[:_PAIRS]]


def interval(metric: Metric) -> str:
    """Return a 95% interval in percent.

    >>> interval(Metric(0.825, 0.791, 0.855))
    '[79.1, 85.5]'
    """
    return f"[{100 * metric.low:.1f}, {100 * metric.high:.1f}]"


def to_html(report: Report, manifest: Manifest | None = None, mistakes: Sequence[Mistake] = ()) -> str:
    """Return one HTML page that needs nothing else: no script, no font, no image from elsewhere.

    ``mistakes`` are wrong answers to pictures, of which the page shows small copies.
    """
    return template("report.html.j2").render(
        report=report,
        manifest=manifest,
        title=manifest.name if manifest else "Report",
        comparison_columns=COMPARISON_COLUMNS,
        comparison_rows=comparison_rows(report),
        class_columns=CLASS_COLUMNS,
        class_rows=class_rows(report),
        written_columns=WRITTEN_COLUMNS,
        written_rows=written_rows(report),
        written_lines=written_lines(report),
        number_columns=NUMBER_COLUMNS,
        number_rows=number_rows(report),
        number_lines=number_lines(report),
        unusual_columns=UNUSUAL_COLUMNS,
        unusual_rows=unusual_rows(report),
        unusual_lines=unusual_lines(report),
        found_columns=FOUND_COLUMNS,
        found_rows=found_rows(report),
        promise_lines=[] if report.written or report.numbers or report.unusual else promise_lines(report),
        confusion_lines=confusion_lines(report),
        confusion=_confusion_cells(report),
        mistakes=[(one, thumbnail(one.input)) for one in mistakes],
        bars=_bars(report),
        interval=interval,
        percent=percent,
    )


@functools.cache
def template(name: str) -> "Template":
    """Return a template that lies beside this module; whatever it shows is escaped."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # 30 ms that only a page is worth

    loader = FunctionLoader(lambda name: files("sartor.evaluate").joinpath(name).read_text(encoding="utf-8"))
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)


def _bars(report: Report) -> list[dict[str, Any]]:
    """Return what the bar chart draws, in the order of the comparison table."""
    if report.written is not None and report.written.scores is not None:
        others = sorted(report.written.baselines, key=lambda b: -b.scores.exact_match.value)
        return [
            {"title": "this model", "accuracy": report.written.scores.exact_match, "model": True},
            *({"title": b.title, "accuracy": b.scores.exact_match, "model": False} for b in others),
        ]
    if report.numbers is not None:
        rows = [("this model", report.numbers.scores.r2, True)]
        rows += [(b.title, b.scores.r2, False) for b in report.numbers.baselines]
        clipped = (
            (title, Metric(max(r2.value, 0), max(r2.low, 0), max(r2.high, 0)), model) for title, r2, model in rows
        )
        return [{"title": title, "accuracy": r2, "model": model} for title, r2, model in clipped]
    if (unusual := report.unusual) is not None and unusual.auroc is not None:
        others = sorted(unusual.baselines, key=lambda b: -b.auroc.value)
        return [
            {"title": "this model", "accuracy": unusual.auroc, "model": True},
            *({"title": b.title, "accuracy": b.auroc, "model": False} for b in others),
        ]
    if report.scores is None:
        return []
    baselines = sorted(report.baselines, key=lambda b: -b.scores.accuracy.value)
    return [
        {"title": "this model", "accuracy": report.scores.accuracy, "model": True},
        *({"title": b.title, "accuracy": b.scores.accuracy, "model": False} for b in baselines),
    ]


def _scores_cells(scores: Scores) -> tuple[str, str, str]:
    return percent(scores.accuracy.value), interval(scores.accuracy), percent(scores.macro_f1.value)


def _written_cells(scores: WrittenScores) -> tuple[str, ...]:
    others = (scores.token_f1, scores.rouge_l, scores.chrf)
    return (
        percent(scores.exact_match.value),
        interval(scores.exact_match),
        *(percent(metric.value) for metric in others),
    )


def _number_cells(scores: NumberScores) -> tuple[str, ...]:
    r2 = scores.r2
    return f"{r2.value:.3f}", f"[{r2.low:.3f}, {r2.high:.3f}]", f"{scores.mae:.4g}", f"{scores.rmse:.4g}"


def _thousandths(metric: Metric) -> str:
    return f"[{metric.low:.3f}, {metric.high:.3f}]"


def _auroc_cells(baseline: UnusualBaseline) -> tuple[str, str, str]:
    d = baseline.difference
    p = p_value(baseline.p_value).removeprefix("p ").removeprefix("= ")
    return f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]", p, _VERDICTS[baseline.verdict]


def _difference_cells(baseline: NumberBaseline) -> tuple[str, str, str]:
    d = baseline.difference
    p = p_value(baseline.p_value).removeprefix("p ").removeprefix("= ")
    return f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]", p, _VERDICTS[baseline.verdict]


def _paired_cells(paired: Paired) -> tuple[str, str, str]:
    difference = paired.difference
    points = f"{100 * difference.value:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
    return points, p_value(paired.p_value).removeprefix("p ").removeprefix("= "), _VERDICTS[paired.verdict]


def _promise(c: Coverage) -> str:
    wanted = f"{100 * c.precision:g}%"
    if c.threshold is not None:
        condition = f"with a confidence of at least {c.threshold:.4g}" if c.threshold else "whatever their confidence"
        return (
            f"{wanted} right is promised for answers {condition}: {percent(c.coverage)} of the rows "
            f"({c.errors} of {c.accepted} such answers were wrong here)."
        )
    if c.accepted < c.needed:
        return (
            f"{wanted} right cannot be promised: it takes at least {c.needed} rows, all right; there are {c.accepted}."
        )
    return f"{wanted} right cannot be promised: {c.errors} of the {c.accepted} most confident answers were wrong."


def _confusion_cells(report: Report) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return of each label how many rows were answered with each, and their share, for the shade of the cell."""
    return [
        (one.label, [(count, count / max(sum(row), 1)) for count in row])
        for one, row in zip(report.classes, report.confusion, strict=False)
    ]


def _confusion(c: ClassScores) -> str:
    return (
        f"{c.label!r}: {percent(c.recall.value)} of {c.rows} rows found; "
        f"the others are most often taken for {c.most_confused_with!r}."
    )
