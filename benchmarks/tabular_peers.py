"""What stands beside the model on a table: each peer with its library's defaults, on one thread.

A peer gets the same frame as the model (names as strings, missing values as NaN) and the classes as 0, 1, 2 …; what
it needs beyond that (one-hot columns, a scale, a category's code) belongs to it and to its seconds.
CatBoost and XGBoost are optional (``pip install sartor[bench]``) and imported when they are first made.
"""

import hashlib
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

Task = Literal["classification", "regression"]
MODEL = "sartor"
FLOOR = "sartor-floor"
LINEAR = "linear"
DEFAULT = (LINEAR, "random-forest", "hist-gradient-boosting", "catboost", "xgboost", MODEL)
SEARCH_SECONDS = 60.0
FOLDS = 3
_MOST_CATEGORIES = 254
"""HistGradientBoosting takes no more of one column (255 with what is rare); rarer ones share a code."""
_EPS = float(np.finfo(np.float64).eps)

UNAVAILABLE = {
    "tabpfn": "9.2.0: no weights in the package; they are fetched from a hub after a log-in, and are non-commercial",
    "tabicl": "2.2.0: no weights in the package; they are fetched from a hub",
    "lightpfn": "1.1.0: no weights in the package; they are fetched from a hub",
    "hyperfast": "1.1.1: no weights in the package; 5.1 GB elsewhere, non-commercial",
    "mothernet": "no package; the place its weights were kept at is gone",
}
"""Peers that should be here and cannot be had where nothing is fetched -> why."""


def make(name: str, task: Task, nominal: Sequence[str], seed: int, *, seconds: float = SEARCH_SECONDS) -> Any:
    """Return a peer that was not fitted yet: ``fit(X, y)``, ``predict(X)`` and, of a class, ``predict_proba(X)``.

    Raises:
        ImportError: What it needs is not installed.
    """
    if name.endswith("-60s"):
        return Searched(name.removesuffix("-60s"), task, tuple(nominal), seed, seconds)
    return MAKERS[name](task, nominal, seed)


def missing(name: str) -> str:
    """Return the package that a peer lacks, or nothing."""
    if name in (MODEL, FLOOR):
        return "" if importlib.util.find_spec("sartor.tabular") else "sartor.tabular"
    package = name.removesuffix("-60s")
    return package if package in ("catboost", "xgboost") and importlib.util.find_spec(package) is None else ""


@cache
def stamp(name: str) -> str:
    """Return what a peer's figures depend on beside the rows: the version of its library, or the model's own files."""
    if name in (MODEL, FLOOR):
        folder = Path(import_module(MODEL).__file__ or "").parent
        digest = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".safetensors", ".json")):
            digest.update(path.read_bytes())
        return digest.hexdigest()
    package = name.removesuffix("-60s")
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"scikit-learn {version('scikit-learn')}"


# --- peers -------------------------------------------------------------------------------------------------


def linear(task: Task, nominal: Sequence[str], seed: int) -> Any:
    """Return ridge or logistic regression on one-hot and scaled columns, medians for missing values."""
    names, numbers = _of(nominal, True), _of(nominal, False)
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), names),
        (make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()), numbers),
    )
    # a hundred steps, the default, are at times too few to be done
    head = LogisticRegression(max_iter=1000) if task == "classification" else Ridge(random_state=seed)
    return make_pipeline(columns, head)


def random_forest(task: Task, nominal: Sequence[str], seed: int) -> Any:
    """Return a random forest; names are coded by their order."""
    forest = RandomForestClassifier if task == "classification" else RandomForestRegressor
    return make_pipeline(_coded(nominal, -1), forest(random_state=seed, n_jobs=1))


def hist_gradient_boosting(task: Task, nominal: Sequence[str], seed: int) -> Any:
    """Return scikit-learn's gradient boosting with its own treatment of categories."""
    boosting = HistGradientBoostingClassifier if task == "classification" else HistGradientBoostingRegressor
    columns = _coded(nominal, np.nan, max_categories=_MOST_CATEGORIES)
    return make_pipeline(columns, boosting(random_state=seed, categorical_features=list(range(len(nominal)))))


def catboost(task: Task, nominal: Sequence[str], seed: int, **settings: Any) -> Any:
    """Return CatBoost with its own treatment of categories."""
    package = import_module("catboost")
    maker = package.CatBoostClassifier if task == "classification" else package.CatBoostRegressor
    made = maker(random_seed=seed, thread_count=1, verbose=False, allow_writing_files=False, **settings)
    return CatBoost(made, tuple(nominal))


def xgboost(task: Task, nominal: Sequence[str], seed: int, **settings: Any) -> Any:
    """Return XGBoost with its own treatment of categories."""
    package = import_module("xgboost")
    maker = package.XGBClassifier if task == "classification" else package.XGBRegressor
    made = maker(random_state=seed, n_jobs=1, enable_categorical=True, **settings)
    return XGBoost(made, tuple(nominal))


def sartor(task: Task, nominal: Sequence[str], seed: int) -> Any:
    """Return the model, all as it comes; as every peer, it is told which columns are names."""
    package = import_module("sartor.tabular")
    made = package.SartorClassifier() if task == "classification" else package.SartorRegressor()
    return Sartor(made, tuple(nominal))


def floor(task: Task, nominal: Sequence[str], seed: int) -> Any:
    """Return the same model whose generator has learned nothing: what the learned part must beat."""
    package = import_module("sartor.tabular")
    maker = package.SartorClassifier if task == "classification" else package.SartorRegressor
    return Sartor(maker(learned=False), tuple(nominal))


MAKERS: Mapping[str, Callable[..., Any]] = {
    LINEAR: linear,
    "random-forest": random_forest,
    "hist-gradient-boosting": hist_gradient_boosting,
    "catboost": catboost,
    "xgboost": xgboost,
    FLOOR: floor,
    MODEL: sartor,
}
KNOWN = (*MAKERS, "catboost-60s", "xgboost-60s")


def _of(nominal: Sequence[str], wanted: bool, *, empty: bool = True) -> Callable[[pd.DataFrame], list[str]]:
    """Return what picks the columns that are names, or those that are not; ``empty`` ones too, or not."""
    chosen = frozenset(nominal)
    return lambda frame: [
        name for name in frame.columns if (name in chosen) is wanted and (empty or frame[name].notna().any())
    ]


def _coded(nominal: Sequence[str], unknown: float, **settings: Any) -> Any:
    """Return what puts the codes of names first and leaves numbers as they are.

    A column without a single number is dropped: scikit-learn's boosting fails on it.
    """
    coder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=unknown, **settings)
    return make_column_transformer((coder, _of(nominal, True)), ("passthrough", _of(nominal, False, empty=False)))


@dataclass(slots=True)
class Sartor:
    """The model, given columns of names as pandas' categories."""

    model: Any
    nominal: tuple[str, ...]

    def fit(self, frame: pd.DataFrame, target: NDArray[Any]) -> "Sartor":
        """Generate from rows."""
        self.model.fit(self._named(frame), target)
        return self

    def predict(self, frame: pd.DataFrame) -> Any:
        """Return values or classes."""
        return self.model.predict(self._named(frame))

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        """Return probabilities."""
        return self.model.predict_proba(self._named(frame))

    def __getattr__(self, name: str) -> Any:
        if name == "predict_interval" and hasattr(self.model, name):
            return lambda frame: self.model.predict_interval(self._named(frame))
        raise AttributeError(name)

    def _named(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.astype({name: "category" for name in self.nominal})


@dataclass(slots=True)
class CatBoost:
    """CatBoost, which takes names as strings and no missing one."""

    model: Any
    nominal: tuple[str, ...]

    def fit(self, frame: pd.DataFrame, target: NDArray[Any]) -> "CatBoost":
        """Fit the model."""
        self.model.fit(self._filled(frame), target, cat_features=list(self.nominal))
        return self

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return (N,) values."""
        return self.model.predict(self._filled(frame))

    def predict_proba(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return (N, classes) probabilities."""
        return self.model.predict_proba(self._filled(frame))

    def _filled(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: frame[name].astype(object).fillna("") for name in self.nominal})


@dataclass(slots=True)
class XGBoost:
    """XGBoost, which takes pandas' categories and refuses one it has not seen."""

    model: Any
    nominal: tuple[str, ...]
    categories: dict[str, pd.Index] = field(default_factory=dict)

    def fit(self, frame: pd.DataFrame, target: NDArray[Any]) -> "XGBoost":
        """Fit the model."""
        self.categories = {name: pd.Index(sorted(frame[name].dropna().unique())) for name in self.nominal}
        self.model.fit(self._coded(frame), target)
        return self

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return (N,) values."""
        return self.model.predict(self._coded(frame))

    def predict_proba(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return (N, classes) probabilities."""
        return self.model.predict_proba(self._coded(frame))

    def _coded(self, frame: pd.DataFrame) -> pd.DataFrame:
        # codes and not strings, so that what was not seen is missing
        codes = {
            name: pd.Categorical.from_codes(seen.get_indexer(frame[name]), categories=range(len(seen)))
            for name, seen in self.categories.items()
        }
        return frame.assign(**codes)


# --- a search ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Searched:
    """A random search of so many seconds, 3-fold cross-validation, then one fit of the best on all rows.

    The defaults are what is tried first. Time is looked at between folds; a fold that was begun is ended.
    """

    name: str
    task: Task
    nominal: tuple[str, ...]
    seed: int
    seconds: float
    tried: int = 0
    model: Any = None

    def fit(self, frame: pd.DataFrame, target: NDArray[Any]) -> "Searched":
        """Search, then fit the best found."""
        until, random = time.perf_counter() + self.seconds, np.random.default_rng(self.seed)
        fold = in_turn(target, self.task, random) % FOLDS
        best, least = {}, np.inf
        settings: dict[str, Any] = {}
        while time.perf_counter() < until:
            loss = self._loss(frame, target, fold, settings, until)
            if loss is not None:
                self.tried += 1
                best, least = (settings, loss) if loss < least else (best, least)
            settings = SPACES[self.name](random)
        self.model = MAKERS[self.name](self.task, self.nominal, self.seed, **best).fit(frame, target)
        return self

    def _loss(
        self, frame: pd.DataFrame, target: NDArray[Any], fold: NDArray[Any], settings: dict[str, Any], until: float
    ) -> float | None:
        losses = []
        for at in range(FOLDS):
            if time.perf_counter() >= until:
                return None
            inside = fold != at
            model = MAKERS[self.name](self.task, self.nominal, self.seed, **settings)
            found = answer(model, self.task, frame[inside], target[inside], frame[~inside], int(target.max()) + 1)
            losses.append(
                log_loss(target[~inside], found)
                if self.task == "classification"
                else float(np.mean((found - target[~inside]) ** 2))
            )
        return float(np.mean(losses))

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return (N,) values."""
        return self.model.predict(frame)

    def predict_proba(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return (N, classes) probabilities."""
        return self.model.predict_proba(frame)


def _log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _xgboost_space(random: np.random.Generator) -> dict[str, Any]:
    return {
        "learning_rate": _log_uniform(random, 1e-3, 1.0),
        "n_estimators": int(_log_uniform(random, 50, 2000)),
        "max_depth": int(random.integers(1, 11)),
        "subsample": random.uniform(0.2, 1.0),
        "colsample_bytree": random.uniform(0.2, 1.0),
        "colsample_bylevel": random.uniform(0.2, 1.0),
        "min_child_weight": _log_uniform(random, 1e-3, 100),
        "reg_alpha": _log_uniform(random, 1e-6, 10),
        "reg_lambda": _log_uniform(random, 1e-3, 100),
        "gamma": _log_uniform(random, 1e-6, 10),
    }


def _catboost_space(random: np.random.Generator) -> dict[str, Any]:
    return {
        "learning_rate": _log_uniform(random, 7e-3, 1.0),
        "iterations": int(_log_uniform(random, 50, 1000)),
        "depth": int(random.integers(2, 9)),
        "random_strength": random.uniform(1.0, 20.0),
        "l2_leaf_reg": _log_uniform(random, 1, 10),
        "bagging_temperature": random.uniform(0.0, 1.0),
        "leaf_estimation_iterations": int(random.integers(1, 11)),
    }


SPACES: Mapping[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "xgboost": _xgboost_space,
    "catboost": _catboost_space,
}


# --- rows and answers --------------------------------------------------------------------------------------


def in_turn(target: NDArray[Any], task: Task, random: np.random.Generator) -> NDArray[np.int64]:
    """Return (N,) each row's place among the rows of its class, or among all of a regression, in random order."""
    order = random.permutation(len(target))
    place = np.empty(len(target), np.int64)
    groups = np.unique(target, return_inverse=True)[1] if task == "classification" else np.zeros(len(target), int)
    for group in range(groups.max() + 1):
        rows = order[groups[order] == group]
        place[rows] = np.arange(len(rows))
    return place


def answer(
    model: Any, task: Task, frame: pd.DataFrame, target: NDArray[Any], asked: pd.DataFrame, classes: int
) -> NDArray[np.float64]:
    """Fit and return (N, classes) probabilities, zero for classes without a row, or (N,) values."""
    if task == "regression":
        return np.asarray(model.fit(frame, target).predict(asked), np.float64).reshape(-1)
    present, codes = np.unique(target, return_inverse=True)
    return spread(model.fit(frame, codes).predict_proba(asked), present, classes)


def spread(found: Any, present: NDArray[Any], classes: int) -> NDArray[np.float64]:
    """Return (N, classes) of the probabilities of the classes that are present."""
    whole = np.zeros((len(found), classes))
    whole[:, present] = np.asarray(found, np.float64)
    return whole / whole.sum(axis=1, keepdims=True)


def log_loss(codes: NDArray[Any], probabilities: NDArray[np.float64]) -> float:
    """Return the mean log-loss in nats; a probability of none counts as the least float above zero, as usual."""
    given = probabilities[np.arange(len(codes)), codes]
    return float(-np.log(np.clip(given, _EPS, 1.0)).mean())
