"""The scikit-learn estimators, as their users call them."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from sartor.tabular import SartorClassifier, SartorRegressor

BOTH = pytest.mark.parametrize("kind", [SartorClassifier, SartorRegressor])


def made(kind, **more):
    return kind(members=2, **more)


@parametrize_with_checks([made(SartorClassifier), made(SartorRegressor)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_it_is_an_estimator_as_scikit_learn_wants_it(estimator, check):
    check(estimator)


def numbers(n=120, columns=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, columns))


def frame(n=90, seed=0):
    """Words, dates, truths and numbers, all with gaps, and classes that three of them tell."""
    random = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "size": random.normal(size=n),
            "colour": random.choice(["red", "green", "blue"], n),
            "opened": pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 2000, n), unit="D"),
            "paid": random.random(n) > 0.5,
            "town": random.choice([f"town {at}" for at in range(20)], n),
        }
    )
    label = np.where(
        (rows["size"] > 0) & (rows["colour"] != "red") | (rows["opened"].dt.year > 2023), "late", "in time"
    )
    rows = rows.astype({"paid": object})
    for at, name in enumerate(rows.columns):
        rows.loc[random.choice(n, 5 + at, replace=False), name] = None
    return rows, label


@pytest.fixture(scope="module")
def fitted():
    rows, label = frame()
    return made(SartorClassifier).fit(rows, label)


# --- frames ------------------------------------------------------------------------------------------------


def test_frames_of_words_dates_and_gaps_are_told_apart(fitted):
    rows, label = frame(300, seed=1)
    assert fitted.classes_.tolist() == ["in time", "late"]
    assert fitted.n_features_in_ == 5
    found = fitted.predict_proba(rows)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    usual = max(np.mean(label == name) for name in fitted.classes_)
    assert fitted.score(rows, label) > usual + 0.1
    assert len(fitted.notes_) == len(set(fitted.notes_))


def test_dates_and_words_written_as_text_are_read_as_the_same(fitted):
    rows, _ = frame(40, seed=1)
    written = rows.assign(
        opened=rows["opened"].dt.strftime("%Y-%m-%d"), size=rows["size"].map(repr, na_action="ignore")
    )
    np.testing.assert_allclose(fitted.predict_proba(written), fitted.predict_proba(rows), atol=1e-6)


def test_unseen_categories_and_empty_rows_are_answered(fitted):
    rows = frame(20, seed=1)[0][:3]
    strange = rows.assign(colour="mauve", town="nowhere")
    empty = pd.DataFrame({name: pd.Series([None] * 3, dtype=object) for name in rows.columns})
    for asked in (strange, empty):
        found = fitted.predict_proba(asked)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(axis=1), 1)
    assert np.ptp(fitted.predict_proba(empty), axis=0).max() == 0
    other = rows.assign(colour="teal", town="elsewhere")
    np.testing.assert_array_equal(fitted.predict_proba(other), fitted.predict_proba(strange))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda rows: rows.drop(columns="paid"), "now missing:\n- paid", id="missing"),
        pytest.param(lambda rows: rows.assign(more=1), "unseen at fit time:\n- more", id="extra"),
        pytest.param(lambda rows: rows[rows.columns[::-1]], "must be in the same order", id="reordered"),
        pytest.param(lambda rows: rows.to_numpy(), "X is ndarray, but .* DataFrame", id="an array"),
    ],
)
def test_columns_that_are_not_those_of_fit_are_refused(fitted, change, words):
    with pytest.raises(ValueError, match=words):
        fitted.predict_proba(change(frame(20)[0]))


def test_columns_that_say_nothing_have_no_importance_and_do_no_harm():
    rows, label = frame()
    rows.insert(0, "empty", None)
    rows.insert(2, "same", "x")
    rows["again"] = rows["size"]
    model = made(SartorClassifier).fit(rows, label)
    found = dict(zip(rows.columns, model.feature_importances_, strict=True))
    assert found["empty"] == found["same"] == 0
    assert found["size"] > 0
    assert model.score(rows, label) > 0.85


def test_feature_importances_are_of_the_frames_columns(fitted):
    found = fitted.feature_importances_
    assert found.shape == (5,)
    assert found.sum() == pytest.approx(1)
    assert (found > 0).all()
    assert fitted.feature_names_in_.tolist() == ["size", "colour", "opened", "paid", "town"]


def test_nullable_numbers_are_gaps_as_nan_is():
    x, y = numbers(60), numbers(60)[:, 0] > 0
    x[3, 1] = np.nan
    plain = pd.DataFrame(x, columns=list("abcd"))
    nullable = plain.astype("Float64")
    assert nullable.isna().to_numpy().sum() == 1
    first, second = (made(SartorClassifier).fit(rows, y).predict_proba(rows) for rows in (plain, nullable))
    np.testing.assert_array_equal(first, second)


# --- what is useful ----------------------------------------------------------------------------------------


@BOTH
def test_feature_importances_find_the_only_useful_columns(kind):
    x = numbers(300, 10)
    y = x[:, 2] ** 2 + np.maximum(x[:, 6], 0)
    model = made(kind).fit(x, y > np.median(y) if kind is SartorClassifier else y)
    assert set(np.argsort(model.feature_importances_)[-2:].tolist()) == {2, 6}
    assert model.feature_importances_.sum() == pytest.approx(1)


def test_the_report_says_which_way_answers_and_how_each_errs():
    x = numbers()
    report = made(SartorRegressor).fit(x, x[:, 0]).report_
    assert sum(report["shares"].values()) == pytest.approx(1)
    assert report["left_out_error"]["mix"] < 0.1
    alone = made(SartorRegressor, guard=False).fit(x, x[:, 0]).report_
    assert alone["shares"] == {"generated": 1.0}


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_intervals_hold_as_many_new_values_as_they_say(coverage):
    x, random = numbers(2000, 3), np.random.default_rng(1)
    y = 100 + 5 * x[:, 0] + 3 * np.abs(x[:, 1]) + 2 * random.normal(size=2000)
    model = made(SartorRegressor).fit(x[:300], y[:300])
    low, high = model.predict_interval(x[300:], coverage).T
    np.testing.assert_allclose((low + high) / 2, model.predict(x[300:]))
    assert np.mean((low <= y[300:]) & (y[300:] <= high)) == pytest.approx(coverage, abs=0.06)


@pytest.mark.parametrize("coverage", [0, 1, -1, 90])
def test_a_coverage_that_is_no_share_is_refused(coverage):
    model = made(SartorRegressor).fit(numbers(20), numbers(20)[:, 0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        model.predict_interval(numbers(2), coverage)


# --- weights -----------------------------------------------------------------------------------------------


@BOTH
def test_weights_that_are_counts_are_repetitions(kind):
    x = numbers(50)
    y = (x[:, 0] > 0) if kind is SartorClassifier else x[:, 0] * x[:, 1]
    count = np.random.default_rng(0).integers(0, 4, 50)
    weighted = made(kind).fit(x, y, sample_weight=count)
    repeated = made(kind).fit(np.repeat(x, count, axis=0), np.repeat(y, count))
    ask = "predict_proba" if kind is SartorClassifier else "predict"
    np.testing.assert_allclose(getattr(weighted, ask)(x), getattr(repeated, ask)(x), atol=1e-6)


def test_weights_of_a_frames_rows_are_of_these_rows():
    rows, label = frame(60)
    upside = np.where(label == "late", "in time", "late")
    weight = np.r_[np.full(60, 3), np.zeros(60)]
    both = pd.concat([rows, rows], ignore_index=True)
    model = made(SartorClassifier).fit(both, np.r_[label, upside], sample_weight=weight)
    assert model.score(rows, label) > 0.85


@BOTH
def test_the_scale_of_weights_does_not_matter_and_their_shares_do(kind):
    x = numbers(80)
    y = (x[:, 0] > 0) if kind is SartorClassifier else x[:, 0]
    weight = np.random.default_rng(0).uniform(0.1, 3, 80)
    weight[:5] = 0
    ask = "predict_proba" if kind is SartorClassifier else "predict"
    first, scaled, huge, other = (
        getattr(made(kind).fit(x, y, sample_weight=each), ask)(x)
        for each in (weight, 1e-6 * weight, 1e300 * weight, weight**3)
    )
    np.testing.assert_allclose(scaled, first, atol=1e-5)
    np.testing.assert_allclose(huge, first, atol=1e-5)
    assert np.abs(other - first).max() > 1e-3
    spoiled = np.r_[np.roll(y[:5], 1) if kind is SartorClassifier else y[:5] + 1e3, y[5:]]
    without = getattr(made(kind).fit(x, spoiled, sample_weight=weight), ask)(x)
    np.testing.assert_allclose(without, first, atol=1e-6)


@pytest.mark.parametrize("bad", [-1.0, np.nan])
@BOTH
def test_weights_that_are_no_weights_are_refused(kind, bad):
    weight = np.ones(20)
    weight[3] = bad
    with pytest.raises(ValueError, match=r"[Nn]egative|NaN"):
        made(kind).fit(numbers(20), numbers(20)[:, 0] > 0, sample_weight=weight)
    with pytest.raises(ValueError, match=r"zero|weight 0"):
        made(kind).fit(numbers(20), numbers(20)[:, 0] > 0, sample_weight=np.zeros(20))


def test_class_weights_are_sample_weights_and_balance_what_is_rare():
    x = numbers(200)
    y = np.where(x[:, 0] + numbers(200, seed=1)[:, 0] > 1.8, "rare", "usual")
    plain = made(SartorClassifier).fit(x, y)
    balanced = made(SartorClassifier, class_weight="balanced").fit(x, y)
    assert balanced.predict_proba(x)[:, 0].mean() > 2 * plain.predict_proba(x)[:, 0].mean()
    assert np.mean(balanced.predict(x) == "rare") > np.mean(plain.predict(x) == "rare")
    by_hand = made(SartorClassifier, class_weight={"rare": 3, "usual": 1}).fit(x, y)
    weighed = made(SartorClassifier).fit(x, y, sample_weight=np.where(y == "rare", 3, 1))
    np.testing.assert_array_equal(by_hand.predict_proba(x), weighed.predict_proba(x))


# --- the same, again ---------------------------------------------------------------------------------------


@BOTH
def test_a_pickled_model_answers_as_before(kind):
    rows, label = frame(60)
    model = made(kind).fit(rows, label if kind is SartorClassifier else np.arange(60.0))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(rows), model.predict(rows))


def test_no_row_is_kept_in_a_pickle():
    x = numbers(200, 3)
    content = pickle.dumps(made(SartorClassifier).fit(x, x[:, 0] > 0))
    kept = sum(row.tobytes() in content for row in x)
    assert kept == 0


@BOTH
def test_the_order_of_rows_does_not_matter_and_the_seed_does(kind):
    x = numbers(60)
    y = (x[:, 0] > 0).astype(int) if kind is SartorClassifier else x[:, 0] ** 2
    shuffled = np.random.default_rng(0).permutation(60)
    ask = "predict_proba" if kind is SartorClassifier else "predict"
    first = getattr(made(kind).fit(x, y), ask)(x)
    np.testing.assert_array_equal(getattr(made(kind).fit(x[shuffled], y[shuffled]), ask)(x), first)
    np.testing.assert_array_equal(getattr(made(kind, random_state=0).fit(x, y), ask)(x), first)
    for other in (1, np.random.RandomState(5)):
        assert not np.array_equal(getattr(made(kind, random_state=other).fit(x, y), ask)(x), first)
    assert clone(made(kind, random_state=3)).get_params()["random_state"] == 3


# --- extremes ----------------------------------------------------------------------------------------------


def test_three_hundred_classes():
    x = np.repeat(np.arange(300.0), 4)[:, None] + 0.1 * numbers(1200, 3)
    y = np.repeat([f"class {at:03}" for at in range(300)], 4)
    model = SartorClassifier(members=2).fit(x, y)
    found = model.predict_proba(x[::40])
    assert found.shape == (30, 300)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert model.score(x, y) > 10 / 300


@pytest.mark.parametrize("same", [0.0, 0.1, -7e9])
def test_a_target_that_is_constant_is_told(same):
    model = made(SartorRegressor).fit(numbers(30), np.full(30, same))
    np.testing.assert_allclose(model.predict(numbers(5, seed=1)), same, rtol=1e-9)
    np.testing.assert_allclose(model.predict_interval(numbers(5, seed=1)), same, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@BOTH
def test_a_target_with_gaps_is_refused(kind, bad):
    y = np.arange(20.0) % 2
    y[4] = bad
    with pytest.raises(ValueError, match=r"Input y contains (NaN|infinity)"):
        made(kind).fit(numbers(20), y)


def test_values_too_large_to_square_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="larger unit"):
        made(SartorRegressor).fit(numbers(20), 1e200 * numbers(20)[:, 0])


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_the_unit_of_the_target_does_not_matter(scale):
    x = numbers(60)
    y = x[:, 0] + x[:, 1] ** 2
    wanted = made(SartorRegressor).fit(x, y).predict(x)
    np.testing.assert_allclose(made(SartorRegressor).fit(x, scale * y).predict(x) / scale, wanted, atol=1e-4)


@BOTH
@pytest.mark.parametrize("n", [2, 3, 5])
def test_few_rows_are_enough(kind, n):
    x = numbers(n)
    y = np.arange(n) if kind is SartorRegressor else np.minimum(np.arange(n), 2)  # classes of one row
    model = made(kind).fit(x, y)
    asked = numbers(10, seed=1)
    found = model.predict_proba(asked) if kind is SartorClassifier else model.predict_interval(asked)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    "x",
    [
        pytest.param(np.c_[numbers(40), np.full(40, np.nan)], id="a column of gaps"),
        pytest.param(np.full((40, 2), np.nan), id="gaps only"),
        pytest.param(np.ones((40, 2)), id="constants"),
        pytest.param(np.tile(numbers(40, 1), 30), id="copies"),
        pytest.param(np.tile(numbers(40, 1), 30) + 1e-9 * numbers(40, 30), id="near copies"),
        pytest.param(np.abs(numbers(40)).clip(0, 1) * [1e308, 1e200, 1, 1e-300], id="as large as there are"),
        pytest.param(numbers(40, 700), id="more columns than are kept"),
        pytest.param(np.where(np.arange(40)[:, None] == 3, 1e9, 1e-9 * numbers(40)), id="one row far away"),
    ],
)
@BOTH
@pytest.mark.filterwarnings("ignore:overflow encountered in reduce")  # scikit-learn's own look for infinity
def test_tables_of_any_kind_are_answered(kind, x):
    y = numbers(40)[:, 0] if kind is SartorRegressor else numbers(40)[:, 0] > 0
    model = made(kind).fit(x, y)
    found = model.predict_proba(x) if kind is SartorClassifier else model.predict(x)
    assert np.isfinite(found).all()
    assert np.isfinite(model.feature_importances_).all()
    assert len(model.feature_importances_) == x.shape[1]


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="only one class"):
        made(SartorClassifier).fit(numbers(10), ["a"] * 10)


# --- rows that come and go ---------------------------------------------------------------------------------


def test_rows_that_were_added_can_be_taken_off_again():
    random = np.random.default_rng(4)
    rows = random.normal(size=(90, 3))
    classes = np.where(rows[:, 0] + rows[:, 1] * rows[:, 2] > 0, "yes", "no")
    model = SartorClassifier(members=2).partial_fit(rows[:60], classes[:60])
    before = model.predict_proba(rows)
    grown = model.partial_fit(rows[60:], classes[60:]).predict_proba(rows)
    assert np.abs(grown - before).max() > 0.01
    np.testing.assert_allclose(model.forget(rows[60:], classes[60:]).predict_proba(rows), before, atol=1e-5)


def test_the_head_of_rows_in_two_parts_is_that_of_all_rows():
    random = np.random.default_rng(5)
    rows = random.normal(size=(80, 3))
    values = rows[:, 0] ** 2 + rows[:, 1]
    model = SartorRegressor(members=2).partial_fit(rows[:50], values[:50]).partial_fit(rows[50:], values[50:])
    targets = ((values - model._middle) / model._spread)[:, None]
    whole = model._solved.sums(model._coder.code(model._read(rows, learn=False)), targets)
    np.testing.assert_allclose(model._solved.net.scores(rows.astype(np.float32)[:0]), np.zeros((0, 1)))
    for one, other in zip(model._sums.of_members, whole.of_members, strict=True):
        np.testing.assert_allclose(one.gram_FF.numpy(), other.gram_FF.numpy(), rtol=1e-9)
        np.testing.assert_allclose(one.aligned_FC.numpy(), other.aligned_FC.numpy(), atol=1e-9)


def test_a_model_that_kept_nothing_of_its_rows_takes_none():
    rows = np.random.default_rng(6).normal(size=(20, 2))
    model = SartorRegressor(members=2).fit(rows, rows[:, 0])
    with pytest.raises(ValueError, match="Begin again with partial_fit"):
        model.forget(rows[:2], rows[:2, 0])


def test_a_class_that_was_not_named_is_refused():
    rows = np.random.default_rng(7).normal(size=(20, 2))
    model = SartorClassifier(members=2).partial_fit(rows, np.arange(20) % 2, classes=[0, 1, 2])
    assert model.predict_proba(rows).shape == (20, 3)
    with pytest.raises(ValueError, match="has the class"):
        model.partial_fit(rows[:1], [7])
