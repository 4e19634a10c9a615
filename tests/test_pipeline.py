"""From a task and rows to a stored, proved model, called from Python."""

import dataclasses
import math
import random

import pytest
import threadpoolctl
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import sartor
from sartor import pipeline, settings
from sartor.data.load import read_rows
from sartor.errors import DataError, NotFoundError, TaskError
from sartor.registry.store import Store
from sartor.types import Columns, Limits, Task

ROUTE = Task("Route mails to billing, bug or other", name="mails")


@pytest.fixture
def quick(tiny, monkeypatch):
    """Measure what an answer costs in 10 ms instead of a second: the figure does not matter here."""
    monkeypatch.setattr(pipeline, "_COST_SECONDS", 0.01)
    with threadpoolctl.threadpool_limits(1):  # threads that wait for each other cost more than this work
        yield tiny


def same(one, other):
    return one.keys() == other.keys() and all(bool((one[name] == other[name]).all()) for name in one)


def test_rows_may_be_pairs_dicts_examples_or_a_file(quick, mails, mails_csv):
    given = [
        mails,
        [{"text": text, "label": label} for text, label in mails],
        [{"input": text, "output": label} for text, label in mails],
        [sartor.Example(text, label) for text, label in mails],
        iter(mails),
        mails_csv,
        str(mails_csv),
        read_rows(mails_csv, Columns(), need_labels=True),
    ]
    models = [pipeline.make(ROUTE, rows, store=False).model for rows in given]
    assert all(same(model.weights, models[0].weights) for model in models)
    assert len({model.manifest.data.sha256 for model in models}) == 1


@pytest.mark.parametrize(
    "row", [("text",), ("text", 3), {"text": "a"}, {"label": "a"}, (None, "a"), ("a", "b", "c"), "ab", 3]
)
def test_a_row_of_another_shape_is_refused(quick, row):
    with pytest.raises(DataError, match="An example is a text and a label"):
        pipeline.make(ROUTE, [row], store=False)


def test_rows_given_go_before_rows_named(quick, mails, mails_csv):
    task = dataclasses.replace(ROUTE, examples=str(mails_csv))
    assert pipeline.make(task, store=False).model.manifest.data.rows == 12
    assert pipeline.make(task, mails[:9], store=False).model.manifest.data.rows == 9


def test_no_rows_at_all_are_a_description_alone(quick):
    for rows in (None, [], iter(())):
        made = pipeline.make(ROUTE, rows, store=False)
        assert made.model.manifest.head == "zero-shot"
        assert made.model.manifest.data.rows == 0
        assert not made.model.report.proved


def test_the_manifest_says_what_the_model_was_made_from(quick, mails_csv):
    made = pipeline.make(ROUTE, mails_csv, seed=5)
    manifest = made.model.manifest
    assert made.entry is not None
    assert (manifest.name, manifest.id, manifest.seed) == ("mails", made.entry.id, 5)
    assert (manifest.data.rows, manifest.data.source) == (12, "mails.csv")
    assert manifest.base.name == "all-minilm-l6-v2+anchor2"
    assert manifest.licence_lineage
    assert manifest.scores["accuracy"] == made.model.report.scores.accuracy.value
    assert manifest.shapes == {name: tuple(tensor.shape) for name, tensor in made.model.weights.items()}


def test_what_quotes_a_row_is_shown_and_not_stored(quick, mails):
    made = pipeline.make(ROUTE, [*mails, (mails[0][0], "bug")])
    assert any(note.quotes for note in made.notes)
    assert not any(note.quotes for note in made.model.requirement.notes)
    assert not any(note.quotes for note in made.model.report.notes)


def test_every_stage_is_timed_and_the_report_knows(quick, mails):
    made = pipeline.make(ROUTE, mails)
    assert list(made.seconds) == ["load", "encode", "generate", "evaluate"]
    assert all(spent >= 0 for spent in made.seconds.values())
    assert made.model.report.seconds == made.seconds
    assert sartor.load("mails").report.seconds == made.seconds


def test_progress_names_its_stages(quick, mails_csv):
    told = []
    pipeline.make(ROUTE, mails_csv, progress=lambda stage, done, total: told.append((stage, done, total)))
    assert {"load", "encode", "measure"} <= {stage for stage, *_ in told}
    assert all(0 <= done <= total or total == 0 for _, done, total in told)


# --- same input, same model --------------------------------------------------------------------------------


@hypothesis_settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(order=st.permutations(range(12)), seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_does_not_matter(quick, mails, order, seed):
    shuffled = [mails[row] for row in order]
    one, other = (pipeline.make(ROUTE, rows, seed=seed, store=False).model for rows in (mails, shuffled))
    assert same(one.weights, other.weights)


def test_the_global_seeds_are_neither_used_nor_moved(quick, mails):
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    first = pipeline.make(ROUTE, mails, store=False).model
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    torch.manual_seed(1)
    random.seed(1)
    assert same(pipeline.make(ROUTE, mails, store=False).model.weights, first.weights)


# --- the gate and the store --------------------------------------------------------------------------------


def test_the_first_model_of_a_name_is_its_champion_and_the_next_its_challenger(quick, mails):
    aliases = [pipeline.make(ROUTE, mails, seed=seed).decision.alias for seed in (1, 2)]
    assert aliases == ["champion", "challenger"]
    assert set(Store(settings.current().home).aliases("mails")) == {"champion", "challenger"}


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (Limits(min_accuracy=1.0), "ccuracy"),
        (Limits(max_memory_mb=1), "emory"),
        (Limits(max_latency_ms=1e-6), "ms"),
    ],
)
def test_a_missed_limit_keeps_the_model_and_moves_no_alias(quick, mails, limits, named):
    wrong = [(text, label) for (text, _), (_, label) in zip(mails, mails[5:] + mails[:5], strict=True)]
    made = pipeline.make(dataclasses.replace(ROUTE, limits=limits), wrong)
    assert not made.decision.passed
    assert any(named in reason for reason in made.decision.reasons)
    assert made.decision.alias is None
    assert Store(settings.current().home).aliases("mails") == {}
    assert sartor.load("mails").predict(["hello"]).shape == (1,)


@pytest.mark.parametrize(
    ("task", "rows", "error"),
    [
        (Task("Sort these"), None, TaskError),
        (Task("Sort these"), [("a", "x")], DataError),
        (Task("a or b", kind="sound-classification"), None, NotFoundError),
        (Task("a or b", language="klingon"), None, TaskError),
        (Task("a or b"), "nowhere.csv", DataError),
    ],
)
def test_what_is_refused_leaves_no_trace(quick, task, rows, error):
    with pytest.raises(error):
        pipeline.make(task, rows)
    assert not settings.current().home.exists()


# --- another file ------------------------------------------------------------------------------------------


def test_a_stored_model_is_assessed_on_a_file(quick, mails, tmp_path):
    model = sartor.generate(ROUTE, mails)
    path = tmp_path / "test.csv"
    path.write_text("text,label\n" + "".join(f'"{text} now",{label}\n' for text, label in mails))
    report = pipeline.assess(sartor.load(model.id), path)
    assert report.protocol.kind == "test-file"
    assert report.scores is not None
    assert report.scores.n == 12
    assert report.cost is not None
    assert math.isfinite(report.cost.latency_p95_ms)


def test_unlabelled_rows_are_lines_a_file_or_what_the_task_names(quick, tmp_path):
    texts = [f"my card was charged twice for invoice {n}" for n in range(12)]
    path = tmp_path / "texts.csv"
    path.write_text("text\n" + "\n".join(texts) + "\n", encoding="utf-8")
    named = dataclasses.replace(ROUTE, unlabelled=str(path))
    made = [
        pipeline.make(ROUTE, store=False, unlabelled=texts),
        pipeline.make(ROUTE, store=False, unlabelled=path),
        pipeline.make(named, store=False),
    ]
    assert all(same(other.model.weights, made[0].model.weights) for other in made)
    assert made[0].model.weights["bias"].any()
    assert not pipeline.make(ROUTE, store=False).model.weights["bias"].any()


def test_unlabelled_rows_that_cannot_be_read_are_refused(quick, tmp_path):
    with pytest.raises(DataError):
        pipeline.make(ROUTE, store=False, unlabelled=tmp_path / "none.csv")
