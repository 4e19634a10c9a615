import json
import sys

import numpy as np
import pandas as pd
import pytest
from benchmarks.tabular import Cell, Grid
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, roc_auc_score

from benchmarks import tabular, tabular_peers
from sartor.pretrain.real_tables import RealTable


def collection(folder):
    """Write a classification with names and gaps, and a regression."""
    random = np.random.default_rng(0)
    size, kind = random.normal(size=60).round(3), random.choice(["a", "b", "c"], 60)
    kind[7] = "seen once"
    rows = pd.DataFrame({"size": size, "kind": kind, "target": np.where(size + (kind == "a") > 0, "yes", "no")})
    rows.loc[3, "size"] = np.nan
    rows.loc[4, "kind"] = None
    put(folder / "arff" / "parts", rows, task="classification", nominal=["kind"])
    rows = pd.DataFrame({"x": size, "y": random.normal(size=60), "target": 2 * size + 0.1 * random.normal(size=60)})
    put(folder / "arff" / "weights", rows, task="regression", nominal=[])
    return folder


def put(folder, rows, **about):
    folder.mkdir(parents=True)
    rows.to_csv(folder / "data.csv", index=False)
    (folder / "meta.json").write_text(json.dumps({"name": folder.name, **about}))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return what runs the script on the made-up collection and returns its result."""
    collection(tmp_path / "data")
    monkeypatch.setattr(tabular, "CALLS", 2)

    def run(*words, peers="linear,random-forest", name="tabular-arff"):
        folders = [word for flag in ("data", "cache", "out") for word in (f"--{flag}", str(tmp_path / flag))]
        usual = ["--group", "arff", "--rows", "20,all", "--splits", "2", "--peers", peers]
        monkeypatch.setattr(sys, "argv", ["tabular", *folders, *usual, *words])
        tabular.main()
        return json.loads((tmp_path / "out" / f"{name}.json").read_text())

    return run


class Interval(Ridge):
    """A stand-in for the model: ridge with an interval that holds everything."""

    def __init__(self):
        super().__init__()

    def fit(self, frame, target):
        return super().fit(frame.fillna(0), target)

    def predict(self, frame):
        return super().predict(frame.fillna(0))

    def predict_interval(self, frame):
        return self.predict(frame)[:, None] + np.array([-100.0, 100.0])


class Numbers(LogisticRegression):
    """A stand-in for the model that reads numbers alone."""

    def fit(self, frame, target):
        return super().fit(frame[frame.columns[:1]].fillna(0), target)

    def predict_proba(self, frame):
        return super().predict_proba(frame[frame.columns[:1]].fillna(0))


def stand_in(task, nominal, seed):
    return Numbers() if task == "classification" else Interval()


@pytest.fixture
def with_model(monkeypatch):
    monkeypatch.setitem(tabular_peers.MAKERS, "sartor", stand_in)
    monkeypatch.setattr(tabular_peers, "missing", lambda name: "")
    monkeypatch.setattr(tabular_peers, "stamp", lambda name: f"{name} 1")


# --- the whole script --------------------------------------------------------------------------------------


def test_a_run_tells_of_every_set_budget_and_peer(run):
    found = run()
    assert {(row["set"], row["budget"], row["train"], row["peer"], row["splits"]) for row in found["rows"]} == {
        (name, budget, train, peer, 2)
        for name in ("parts", "weights")
        for budget, train in (("20", 20), ("all", 30 if name == "weights" else found["rows"][2]["train"]))
        for peer in ("linear", "random-forest")
    }
    parts, weights = (next(row for row in found["rows"] if row["set"] == name) for name in ("parts", "weights"))
    assert 0.5 < parts["auc"] <= 1
    assert (parts["rows"], parts["features"], parts["classes"]) == (60, 2, 2)
    assert weights["r2"] > 0.9
    assert "accuracy" not in weights
    assert weights["row_microseconds"] > 0
    assert weights["seconds"] == pytest.approx(weights["fit_seconds"] + weights["predict_seconds"], abs=2e-4)
    assert 0 < weights["cpu_seconds"] < 2 * weights["seconds"]
    assert found["command"].endswith(
        "--data DATA --group arff --rows 20,all --splits 2 --peers linear,random-forest --workers 1"
    )
    assert found["seeds"] == [0, 1]
    assert found["failed"] == []
    assert set(found["unavailable"]) >= {"tabpfn", "tabicl", "lightpfn"}
    assert [(told["task"], told["budget"], told["sets"]) for told in found["summary"]] == [
        ("classification", "20", 1),
        ("classification", "all", 1),
        ("regression", "20", 1),
        ("regression", "all", 1),
    ]


def test_a_run_that_was_cut_off_goes_on_where_it_was(run, monkeypatch, tmp_path):
    first, measure, calls = run(), tabular.measure, []
    monkeypatch.setattr(
        tabular, "measure", lambda job, name: calls.append((job.table.name, name)) or measure(job, name)
    )
    again = run()
    assert calls == []
    assert again["rows"] == first["rows"]
    next((tmp_path / "cache" / "tabular" / "arff" / "weights").glob("20-1-random-forest-*.json")).unlink()
    run()
    assert calls == [("weights", "random-forest")]


def test_a_fit_is_made_anew_when_its_library_or_its_rows_have_changed(run, monkeypatch, tmp_path):
    run()
    calls, measure = [], tabular.measure
    monkeypatch.setattr(
        tabular, "measure", lambda job, name: calls.append((job.table.name, name)) or measure(job, name)
    )
    stamp = tabular_peers.stamp
    monkeypatch.setattr(tabular_peers, "stamp", lambda name: f"{stamp(name)}!" if name == "linear" else stamp(name))
    run()
    assert set(calls) == {("parts", "linear"), ("weights", "linear")}
    calls.clear()
    path = tmp_path / "data" / "arff" / "parts" / "data.csv"
    path.write_text(path.read_text() + "1.5,b,yes\n")
    run()
    assert set(calls) == {("parts", "linear"), ("parts", "random-forest")}


@pytest.mark.slow
def test_two_workers_find_what_one_finds(run, tmp_path):
    quality = ("set", "budget", "peer", "auc", "r2")
    one = [[row.get(key) for key in quality] for row in run("--limit", "1", peers="linear")["rows"]]
    for path in (tmp_path / "cache").rglob("*.json"):
        path.unlink()
    two = run("--limit", "1", "--workers", "2", peers="linear")["rows"]
    assert [[row.get(key) for key in quality] for row in two] == one


def test_the_model_is_told_of_beside_each_peer(run, with_model):
    found = run(peers="linear,sartor")
    told = {(told["task"], told["budget"]): told for told in found["summary"]}
    weights = told["regression", "all"]
    assert weights["mean"]["coverage"]["sartor"][0] == 1.0
    assert list(weights["mean"]["coverage"]) == ["sartor"]
    assert weights["sartor_minus"]["r2"].keys() == {"linear"}
    assert weights["below_linear"]["sets"] == 0  # there are but 60 rows
    parts = told["classification", "all"]["sartor_minus"]["auc"]["linear"]
    assert parts["wins"] + parts["ties"] + parts["losses"] == 1


def test_a_peer_that_fails_on_a_set_is_told_of_and_the_set_left_out(run, monkeypatch):
    class Broken(DummyRegressor):
        def fit(self, frame, target):
            raise ValueError("no such thing")

    forest = tabular_peers.random_forest
    monkeypatch.setattr(tabular, "warm", lambda name, task: None)
    monkeypatch.setitem(
        tabular_peers.MAKERS,
        "random-forest",
        lambda task, nominal, seed: Broken() if task == "regression" else forest(task, nominal, seed),
    )
    found = run()
    assert {(row["set"], row["peer"], row["why"]) for row in found["failed"]} == {
        ("weights", "random-forest", "ValueError: no such thing")
    }
    left_out = {told["task"]: (told["sets"], told["left_out"]) for told in found["summary"]}
    assert left_out == {"classification": (1, []), "regression": (0, ["weights"])}
    monkeypatch.setitem(tabular_peers.MAKERS, "random-forest", forest)
    assert run()["failed"] == []  # what failed is tried again


def test_a_peer_that_is_not_installed_is_left_out_with_a_line(run, monkeypatch, capsys):
    monkeypatch.setattr(tabular_peers, "missing", lambda name: "catboost" if name == "catboost" else "")
    found = run("--limit", "1", peers="linear,catboost")
    assert {row["peer"] for row in found["rows"]} == {"linear"}
    assert "catboost is left out: catboost is not installed" in capsys.readouterr().err


def test_a_peer_that_no_one_knows_is_refused(run, capsys):
    with pytest.raises(SystemExit):
        run(peers="linear,magic")
    assert "there is no peer 'magic'; there are linear," in capsys.readouterr().err


def test_the_half_that_is_chosen_by_has_a_file_of_its_own(run, tmp_path):
    for name in ("iris", "sonar", "diabetes"):  # report, validation, and one of CC-18
        rows = pd.read_csv(tmp_path / "data" / "arff" / "parts" / "data.csv")[["size", "target"]]
        put(tmp_path / "data" / "pmlb" / name, rows, task="classification")
    found = run("--group", "pmlb", "--half", "validation", peers="linear", name="tabular-pmlb-validation")
    assert {row["set"] for row in found["rows"]} == {"sonar"}
    assert {row["set"] for row in run("--group", "pmlb", "--half", "report", name="tabular-pmlb")["rows"]} == {"iris"}


# --- rows --------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 4), min_size=4, max_size=80),
    st.sampled_from(["classification", "regression"]),
    st.integers(0, 3),
    st.integers(1, 60),
)
def test_halves_are_apart_and_hold_every_class(values, task, split, most):
    target = np.array(values, float if task == "regression" else str)
    train, test = tabular.split_rows(target, task, split, len(target))
    assert sorted([*train, *test]) == list(range(len(target)))
    assert set(target) == set(target[train]) or task == "regression"
    few, _ = tabular.split_rows(target, task, split, most)
    assert len(few) == min(most, len(train))
    assert set(few) <= set(train)
    if task == "classification":
        assert len(set(target[few])) == min(len(set(target)), len(few))


def test_classes_keep_their_shares_in_every_budget():
    target = np.array(["a"] * 900 + ["b"] * 90 + ["c"] * 10)
    for most in (50, 200, 1000):
        train, test = tabular.split_rows(target, "classification", 0, most)
        assert abs(np.mean(target[train] == "a") - 0.9) < 0.03
        assert sorted(np.unique(target[test], return_counts=True)[1]) == [5, 45, 450]


def test_splits_differ_and_no_more_than_a_thousand_rows_are_judged_by():
    target = np.arange(5000.0)
    one, other = (tabular.split_rows(target, "regression", split, 100) for split in (0, 1))
    assert set(one[0]) != set(other[0])
    assert len(one[1]) == 1000


def test_budgets_that_come_to_the_same_rows_are_measured_once():
    table = RealTable("x", "arff", "regression", pd.DataFrame({"a": range(300)}), np.arange(300.0), ())
    assert tabular.sizes(table, [50, 200, 1000, None]) == {50: [50], 150: [200, 1000, None]}


# --- figures -----------------------------------------------------------------------------------------------


@given(st.integers(2, 5), st.integers(0, 1000))
def test_auc_and_log_loss_are_scikit_learns(classes, seed):
    random = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(classes), random.integers(classes, size=30)])
    probabilities = random.dirichlet(np.ones(classes), len(codes)).round(2) + 0.01  # rounded: there are ties
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    score = probabilities if classes > 2 else probabilities[:, 1]
    assert tabular.auc(codes, probabilities) == pytest.approx(roc_auc_score(codes, score, multi_class="ovo"))
    assert tabular_peers.log_loss(codes, probabilities) == pytest.approx(log_loss(codes, probabilities))


def test_auc_is_of_the_classes_that_are_there():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1]])
    assert tabular.auc(np.array([0, 1]), probabilities) == 1.0
    assert np.isnan(tabular.auc(np.array([1, 1]), probabilities))


def test_a_class_without_a_row_has_probability_zero():
    found = tabular_peers.spread([[0.25, 0.75]], np.array([0, 2]), 3)
    np.testing.assert_array_equal(found, [[0.25, 0.0, 0.75]])


def test_figures_of_values_and_intervals():
    target = np.array([1.0, 2.0, 3.0, 4.0])
    found = tabular.value_figures(target, np.array([1.0, 2.0, 3.0, 6.0]))
    assert found["rmse"] == 1.0
    assert found["r2"] == pytest.approx(1 - 4 / 5)
    assert found["relative_rmse"] == pytest.approx(1 / np.sqrt(1.25))
    assert tabular.value_figures(target, target + 100)["r2_bounded"] == -1.0
    bounds = np.array([[0.0, 2.0], [2.0, 3.0], [3.5, 4.0], [0.0, 1.5]])
    assert tabular.interval_figures(target, bounds, 2.0) == {"coverage": 0.5, "width": pytest.approx(0.625)}


# --- what it comes to --------------------------------------------------------------------------------------


def cells(table, peer, values, *, source=None, rows=200, field="auc", failure=""):
    return [
        Cell(
            table,
            source or table,
            "classification",
            (rows, 3),
            2,
            "",
            False,
            50,
            50,
            split,
            peer,
            {field: value},
            failure,
        )
        for split, value in enumerate(values)
    ]


def test_ranks_by_hand():
    grid = Grid.of(
        [
            *cells("one", "sartor", [0.9, 0.7]),
            *cells("one", "linear", [0.7, 0.7]),
            *cells("one", "forest", [0.6, 0.6]),
            *cells("two", "sartor", [0.5]),
            *cells("two", "linear", [0.5]),
            *cells("two", "forest", [0.9]),
        ][:6]
    )
    assert tabular.mean_ranks(grid, "auc") == {"sartor": 1.0, "linear": 2.0, "forest": 3.0}
    grid = Grid.of([*cells("one", "sartor", [0.5]), *cells("one", "linear", [0.5]), *cells("one", "forest", [0.9])])
    assert tabular.mean_ranks(grid, "auc") == {"sartor": 2.5, "linear": 2.5, "forest": 1.0}


def test_a_low_log_loss_is_the_first_rank_and_a_win():
    grid = Grid.of([*cells("one", "sartor", [0.3], field="log_loss"), *cells("one", "linear", [0.4], field="log_loss")])
    assert tabular.mean_ranks(grid, "log_loss") == {"sartor": 1.0, "linear": 2.0}
    found = tabular.minus(grid, "log_loss")["linear"]
    assert found["difference"].value == pytest.approx(-0.1)
    assert (found["wins"], found["ties"], found["losses"]) == (1, 0, 0)


def test_tables_of_one_source_count_as_one_in_means_and_ranks():
    grid = Grid.of(
        [
            cell
            for name, source, mine, theirs in (("a", "s", 0.9, 0.5), ("b", "s", 0.9, 0.5), ("c", "t", 0.5, 0.9))
            for cell in (*cells(name, "sartor", [mine], source=source), *cells(name, "linear", [theirs], source=source))
        ]
    )
    assert tabular.mean_ranks(grid, "auc") == {"sartor": 1.5, "linear": 1.5}
    found = tabular.minus(grid, "auc")["linear"]
    assert found["difference"].value == pytest.approx(0.0)
    assert (found["wins"], found["ties"], found["losses"]) == (2, 0, 1)


def test_what_lies_below_linear_before_and_after_holm():
    gaps = {
        "surely": np.array([-0.10, -0.11, -0.10, -0.11, -0.10]),  # p = 2e-6
        "at first sight": np.array([-0.01, -0.02, -0.03, -0.05, -0.01]),  # p = 0.033, after Holm 0.065
        "tie": np.array([0.01, -0.01, 0.02, -0.02, 0.0]),
        "above": np.array([0.1, 0.11, 0.12, 0.11, 0.1]),
    }
    found = tabular.below(gaps)
    assert found["sets"] == 4
    assert list(found["interval_below"]) == ["surely", "at first sight"]
    assert found["below_after_holm"] == ["surely"]


def test_small_sets_are_not_asked_whether_they_lie_below_linear():
    every = [
        cell
        for name, rows in (("small", 99), ("large", 100))
        for cell in (
            *cells(name, "sartor", [0.5, 0.51, 0.52], rows=rows),
            *cells(name, "linear", [0.9, 0.91, 0.92], rows=rows),
        )
    ]
    (told,) = tabular.summarise(every)
    assert told["below_linear"]["sets"] == 1


def test_what_was_chosen_by_is_told_of_apart():
    kept = [*cells("one", "sartor", [0.5]), *cells("one", "linear", [0.4])]
    by = [
        Cell("two", "two", "classification", (200, 3), 2, "iris", True, 50, 50, 0, peer, {"auc": 0.9}, "")
        for peer in ("sartor", "linear")
    ]
    found = {told["kind"]: told for told in tabular.summarise([*kept, *by])}
    assert found["all"]["mean"]["auc"]["sartor"].value == pytest.approx(0.7)
    assert found["not chosen by"]["mean"]["auc"]["sartor"].value == 0.5


# --- peers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "random-forest", "hist-gradient-boosting", "catboost", "xgboost"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_peer_takes_names_it_has_not_seen_and_gaps(name, task):
    if name in ("catboost", "xgboost"):
        pytest.importorskip(name)
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"n": random.normal(size=40), "k": random.choice(["a", "b"], 40), "void": np.nan})
    frame["nameless"] = pd.Series([None] * 40, dtype=frame["k"].dtype)
    frame.loc[0, ["n", "k"]] = [np.nan, None]
    target = (frame["k"] == "a").to_numpy().astype(int)
    asked = pd.DataFrame({"n": [0.0, np.nan], "k": ["new", None], "void": np.nan, "nameless": [None, "b"]})
    asked = asked.astype({"k": frame["k"].dtype, "nameless": frame["k"].dtype})
    found = tabular_peers.answer(tabular_peers.make(name, task, ["k", "nameless"], 0), task, frame, target, asked, 2)
    assert found.shape == ((2, 2) if task == "classification" else (2,))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_search_keeps_the_best_it_tried_and_begins_with_the_defaults(monkeypatch, task):
    tried = []

    def maker(task, nominal, seed, **settings):
        tried.append(settings)
        return LogisticRegression(**settings) if task == "classification" else Ridge(**settings)

    good, bad = ({"C": 10.0}, {"C": 1e-9}) if task == "classification" else ({"alpha": 1e-3}, {"alpha": 1e9})
    drawn = iter([bad, good])
    monkeypatch.setitem(tabular_peers.MAKERS, "xgboost", maker)
    monkeypatch.setitem(tabular_peers.SPACES, "xgboost", lambda random: next(drawn, bad))
    frame = pd.DataFrame({"x": np.linspace(-1, 1, 60)})
    target = (frame["x"] > 0).to_numpy().astype(int) if task == "classification" else frame["x"].to_numpy()
    model = tabular_peers.make("xgboost-60s", task, (), 0, seconds=0.5).fit(frame, target)
    assert tried[:9] == [{}] * 3 + [bad] * 3 + [good] * 3
    assert model.tried >= 3
    assert tried[-1] == good


def test_a_search_without_time_is_the_defaults(monkeypatch):
    monkeypatch.setitem(tabular_peers.MAKERS, "catboost", lambda task, nominal, seed, **settings: Ridge(**settings))
    frame = pd.DataFrame({"x": np.arange(9.0)})
    model = tabular_peers.make("catboost-60s", "regression", (), 0, seconds=0).fit(frame, np.arange(9.0))
    assert (model.tried, model.model.alpha) == (0, 1.0)


@pytest.mark.parametrize("name", ["catboost", "xgboost"])
def test_what_is_searched_is_what_the_library_takes(name):
    pytest.importorskip(name)
    settings = tabular_peers.SPACES[name](np.random.default_rng(0)) | {"n_estimators": 3}
    settings.pop("iterations", None)
    model = tabular_peers.MAKERS[name]("regression", (), 0, **settings)
    frame = pd.DataFrame({"x": np.arange(30.0)})
    assert np.isfinite(model.fit(frame, np.arange(30.0)).predict(frame)).all()


def test_places_are_counted_within_a_class():
    place = tabular_peers.in_turn(np.array([0, 0, 1, 0, 1]), "classification", np.random.default_rng(0))
    assert sorted(place[[0, 1, 3]]) == [0, 1, 2]
    assert sorted(place[[2, 4]]) == [0, 1]


def test_the_models_stamp_is_of_its_files_and_a_librarys_of_its_version():
    assert len(tabular_peers.stamp("sartor")) == 64
    assert tabular_peers.stamp("linear").startswith("scikit-learn ")
