"""The README.md of a bundle: a model card in the form that the Hugging Face hub reads.

It is written before the bundle is sealed and so does not hold the id. It says how many rows a model was made
from and their hash, and never a row or its text.
"""

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, TypeAlias

import jinja2
import yaml

from sartor.types import Manifest, Metric, Paired, Report, Scores, WrittenScores

_TEMPLATE = "card.md.j2"
_UNUSUAL = "image-anomaly-detection"
"""The registry knows no family; this one needs words of its own."""
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|~$])")
_HUB_LICENCES = {
    *(
        "apache-2.0",
        "mit",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
    ),
    *("gemma", "llama3.1", "llama3.2", "mpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "openrail", "unlicense"),
}


def model_card(manifest: Manifest, report: Report) -> str:
    """Return the model card of a model that is about to be sealed.

    Args:
        manifest: its ``id`` and ``files`` are not looked at.
        report: its proof.
    """
    return _template().render(
        front=yaml.safe_dump(_front(manifest, report), allow_unicode=True, sort_keys=False, width=1000),
        manifest=manifest,
        requirement=manifest.requirement,
        report=report,
        limits=_limits(manifest),
        results=[("this model", report.scores, None)] * (report.scores is not None)
        + [(baseline.title, baseline.scores, baseline.paired) for baseline in report.baselines],
        written=_written(report),
        unusual=manifest.family == _UNUSUAL,
    )


@functools.cache  # to compile it takes longer than to generate a model
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters.update(text=_plain, percent=_percent, interval=_interval, number=_number, paired=_paired)
    source = resources.files("sartor.registry").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source)


def _written(report: Report) -> Sequence[tuple[str, WrittenScores, Paired | None]]:
    found = report.written
    if found is None or found.scores is None:
        return ()
    return (("this model", found.scores, None), *((one.title, one.scores, one.paired) for one in found.baselines))


# --- the front matter --------------------------------------------------------------------------------------


def _front(manifest: Manifest, report: Report) -> Mapping[str, Any]:
    front: dict[str, Any] = {}
    if _LANGUAGE.fullmatch(manifest.requirement.language):
        front["language"] = manifest.requirement.language
    front |= _licence(manifest.base.licence)
    front |= {
        "library_name": "sartor",
        "pipeline_tag": manifest.family,
        **({"base_model": manifest.base.name} if manifest.base.sha256 else {}),
        "tags": ["sartor", manifest.family, manifest.head],
    }
    if report.scores is not None:
        front["model-index"] = [
            {"name": manifest.name, "results": [_result(manifest, report, _label_metrics(report.scores))]}
        ]
    elif report.numbers is not None:
        found = report.numbers.scores
        values = [("r2", "R2", found.r2.value), ("mae", "Mean absolute error", found.mae), ("rmse", "RMSE", found.rmse)]
        front["model-index"] = [{"name": manifest.name, "results": [_result(manifest, report, values)]}]
    elif report.unusual is not None and report.unusual.scores is not None:
        scored = report.unusual.scores
        told = [("roc_auc", "AUROC", scored.auroc.value), ("recall", "Share of bad ones found", scored.found.value)]
        front["model-index"] = [{"name": manifest.name, "results": [_result(manifest, report, told)]}]
    elif report.written is not None and report.written.scores is not None:
        metrics = _written_metrics(report.written.scores)
        front["model-index"] = [{"name": manifest.name, "results": [_result(manifest, report, metrics)]}]
    return front


def _licence(name: str) -> Mapping[str, str]:
    if not name:
        return {"license": "unknown"}
    if name.lower() in _HUB_LICENCES:
        return {"license": name.lower()}
    return {"license": "other", "license_name": name}


_Metrics: TypeAlias = Sequence[tuple[str, str, float]]
"""Type, title and value."""


def _label_metrics(scores: Scores) -> _Metrics:
    return [
        ("accuracy", "Accuracy", scores.accuracy.value),
        ("balanced_accuracy", "Balanced accuracy", scores.balanced_accuracy.value),
        ("f1", "Macro F1", scores.macro_f1.value),
    ]


def _written_metrics(scores: WrittenScores) -> _Metrics:
    return [
        ("exact_match", "Exact match", scores.exact_match.value),
        ("f1", "Token F1", scores.token_f1.value),
        ("rouge", "ROUGE-L", scores.rouge_l.value),
        ("chrf", "chrF", scores.chrf.value),
    ]


def _result(manifest: Manifest, report: Report, metrics: _Metrics) -> Mapping[str, Any]:
    data = manifest.data
    name = f"{data.rows} private rows, sha256 {data.sha256[:16]}, {report.protocol.kind}"
    return {
        "task": {"type": manifest.family},
        "dataset": {"type": "private", "name": name},
        "metrics": [{"type": kind, "name": title, "value": round(value, 6)} for kind, title, value in metrics],
    }


def _limits(manifest: Manifest) -> Sequence[str]:
    limits = manifest.requirement.limits
    asked = [
        ("at most {} ms for one input (p95)", limits.max_latency_ms),
        ("at most {} MB of memory", limits.max_memory_mb),
        ("an accuracy of at least {}", limits.min_accuracy),
        ("to run on {}", limits.device),
    ]
    return [text.format(value) for text, value in asked if value is not None]


# --- text and numbers --------------------------------------------------------------------------------------


def _plain(text: object) -> str:
    """Return text that Markdown and HTML show as it is, on one line, also within a table."""
    printable = (" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in str(text))
    line = " ".join("".join(printable).split())
    line = _MARKDOWN.sub(r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    # What would begin a list or a heading at the start of a line.
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", line) if re.match(r"[-+=]|\d+[.)](\s|$)", line) else line


def _number(value: float) -> str:
    return f"{value:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _interval(metric: Metric) -> str:
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def _paired(paired: Paired | None) -> str:
    if paired is None:
        return ""
    d = paired.difference
    return f"{paired.verdict}: {d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f}), p = {paired.p_value:.3g}"
