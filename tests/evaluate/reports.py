"""Small values to build reports from."""

from dataclasses import replace
from typing import Any

import numpy as np

from sartor.evaluate.judge import Answers, judge
from sartor.types import REPORT_SCHEMA, Baseline, Cost, Metric, Paired, Protocol, Report, Scores


def scores(accuracy: float, low: float = 0.0, high: float = 1.0, n: int = 400) -> Scores:
    metric = Metric(accuracy, low, high)
    return Scores(n, metric, metric, metric, log_loss=0.5, ece=0.02)


def baseline(title: str, accuracy: float, verdict: Any, p: float) -> Baseline:
    paired = Paired(Metric(0.0, -0.1, 0.1), wins=0, losses=0, p_value=p, verdict=verdict)
    return Baseline(title.lower(), title, scores(accuracy), paired)


COST = Cost(4.0, 9.0, 250.0, 300.0, 12_000, 3_000, "a machine")


def report(labels: tuple[str, ...] = ("no", "yes"), n: int = 400, **changes: Any) -> Report:
    """A report on a model that is right in about 9 of 10 rows, beside one that knows nothing."""
    rng = np.random.default_rng(3)
    targets = rng.integers(0, len(labels), n)
    guess = np.where(rng.random(n) < 0.9, targets, (targets + 1) % len(labels))
    sure = rng.uniform(0.6, 1.0, n)
    probabilities = np.full((n, len(labels)), 1.0) * ((1 - sure) / (len(labels) - 1))[:, None]
    probabilities[np.arange(n), guess] = sure
    idle = Answers("majority", "majority <class>", np.tile(np.eye(len(labels))[0], (n, 1)))
    judged = judge(targets, probabilities, labels, [idle], seed=0)
    made = Report(
        schema=REPORT_SCHEMA,
        headline="about 90% right",
        proved=True,
        protocol=Protocol("cross-validation", 5, n, 0, f"All {n} rows."),
        scores=judged.scores,
        baselines=judged.baselines,
        classes=judged.classes,
        calibration=judged.calibration,
        coverage=judged.coverage,
        cost=COST,
    )
    return replace(made, **changes)
