"""Models of tables as scikit-learn estimators: ``fit`` is one pass of the generator and a solved head.

    from sartor.tabular import SartorClassifier, SartorRegressor
    model = SartorClassifier().fit(frame, target)
    model.predict_proba(new_frame)

A DataFrame with columns of words, dates or gaps is read as ``sartor generate`` reads a file (one of pandas' dtype
``category`` holds names, even where they are written as numbers); arrays and DataFrames of numbers are taken as they
are, NaN for what is missing.

Dimension key:   N: rows   D: columns   C: classes
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_random_state, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_feature_names,  # pyright: ignore[reportPrivateUsage]
    _check_sample_weight,  # pyright: ignore[reportPrivateUsage]
    assert_all_finite,
    check_is_fitted,
    column_or_1d,
    validate_data,
)
from typing_extensions import override

from sartor.data import columns, records
from sartor.families.tabular_regression import BEYOND, COVERAGE
from sartor.nn import table_coder, table_solver
from sartor.nn.table_coder import Cells, Coder
from sartor.nn.table_generator import TableGenerator
from sartor.nn.table_solver import Solved, Sums
from sartor.nn.table_target import shipped_generator
from sartor.types import Column

Floats = NDArray[np.float64]


class _Table(BaseEstimator):
    """What both estimators share."""

    members: int
    guard: bool
    learned: bool
    random_state: int | np.random.RandomState | None
    n_features_in_: int
    _columns: tuple[Column, ...] | None
    _numbers: list[int]
    _categories: list[int]
    _coder: Coder
    _solved: Solved
    _sums: Sums | None

    @override
    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    @property
    def feature_importances_(self) -> Floats:
        """Return (D,) how much of each column is let into the generated net; they sum to one."""
        check_is_fitted(self)
        origin_D = self._coder.origin(self._numbers, self._categories)
        return table_coder.by_column(origin_D, self._solved.importance_D, self.n_features_in_)

    def _read(self, rows: Any, *, learn: bool) -> Cells:
        """Return rows as cells; what columns are is learned in ``fit`` and applied later."""
        if learn:
            self._columns = None
            if _has_words(rows):
                frame = columns.as_frame(rows)
                named = [str(name) for name, kind in rows.dtypes.items() if kind == "category"]
                self._columns, self.notes_ = columns.learn(frame, categories=named)
        if self._columns is None:
            numbers_ND: Any = validate_data(self, rows, reset=learn, dtype=np.float64, ensure_all_finite="allow-nan")
            if learn:
                self._numbers, self._categories = list(range(numbers_ND.shape[1])), []
            return Cells(numbers_ND, np.zeros((len(numbers_ND), 0), dtype=np.int64))
        if not records.is_frame(rows):
            raise ValueError(
                f"X is {type(rows).__name__}, but the columns were learned from a DataFrame with more than numbers. "
                "Give a DataFrame with the same columns."
            )
        _check_feature_names(self, rows, reset=learn)
        if learn:
            self.n_features_in_ = rows.shape[1]
        found, _ = columns.parse(columns.as_frame(rows), self._columns)
        if learn:
            self._numbers, self._categories = columns.places(self._columns)
        return Cells(found.numbers, found.codes)

    def _solve(self, cells: Cells, targets_NC: Floats, weight_N: Floats | None, classes: int, kept: bool) -> Solved:
        levels = columns.levels(self._columns or ())
        self._coder, coded_ND = table_coder.learn(cells, levels, targets_NC)
        solved = table_solver.solve(
            shipped_generator() if self.learned else TableGenerator(),
            coded_ND,
            targets_NC,
            classes=classes,
            weight_N=weight_N,
            members=self.members,
            seed=_seed(self.random_state),
            guarded=self.guard,
        )
        # what is coded by left-out means is coded anew, as rows that come later will be
        self._sums = solved.sums(self._coder.code(cells), targets_NC, weight_N) if kept else None
        return replace(solved, net=self._sums.net()) if self._sums is not None and self._sums.members else solved

    def _add(self, cells: Cells, targets_NC: Floats, weight_N: Floats | None, sign: float) -> None:
        if self._sums is None:
            raise ValueError(
                "Rows can be added to or taken from a model that began with partial_fit; this one was made by fit, "
                "which keeps nothing of its rows. Begin again with partial_fit."
            )
        self._sums = self._sums.plus(self._coder.code(cells), targets_NC, weight_N, sign)
        self._solved = replace(self._solved, net=self._sums.net())

    @property
    def report_(self) -> Mapping[str, Any]:
        """Return how much each way counts, and the share of variance that each does not tell of rows left out."""
        check_is_fitted(self)
        return {"shares": dict(self._solved.shares), "left_out_error": dict(self._solved.errors)}


class SartorClassifier(ClassifierMixin, _Table):
    """A generated net that foretells classes.

    Args:
        members: nets that are generated and averaged.
        guard: whether rows left out may give a share of the answer to random units and to plain ridge.
        learned: False for a generator that has learned nothing: the control that a learned one must beat.
        class_weight: as scikit-learn has it: None, ``"balanced"`` or a dict; exact, as sample weights are.
        random_state: of the random part of the nets; None is 0, so that the same rows give the same model.
    """

    def __init__(
        self,
        *,
        members: int = table_solver.MEMBERS,
        guard: bool = True,
        learned: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.members = members
        self.guard = guard
        self.learned = learned
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Generate the net of labelled rows; nothing of them is kept.

        Args:
            X: (N, D) array or DataFrame.
            y: (N,) classes.
            sample_weight: (N,) how much each row counts.

        Raises:
            ValueError: when rows and classes do not fit each other.
        """
        return self._fit(X, y, sample_weight, None)

    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Generate the net of the first rows, with the sums that its head needs; add later rows to these.

        The head is exactly that of all rows together under the first rows' penalties. What was generated, how columns
        are read and how scores become probabilities stays as the first rows told it. A model made by :meth:`fit` has
        kept nothing of its rows: with it this begins anew.

        Args:
            X: (N, D) rows.
            y: (N,) classes.
            classes: all there will be; those of the first rows unless given.
            sample_weight: (N,) how much each row counts.
        """
        if getattr(self, "_sums", None) is None:
            return self._fit(X, y, sample_weight, np.unique(y) if classes is None else np.unique(classes))
        return self._change(X, y, sample_weight, 1.0)

    def forget(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Take rows off again that :meth:`partial_fit` was given, with their weights: the head is the others'."""
        check_is_fitted(self)
        return self._change(X, y, sample_weight, -1.0)

    def _change(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None, sign: float) -> Self:
        cells = self._read(X, learn=False)
        targets = _target(y, len(cells))
        unknown = np.setdiff1d(targets, self.classes_)
        if len(unknown):
            raise ValueError(f"y has the class {unknown[0]!r}, which was not among {self.classes_.tolist()!r:.200}.")
        targets_NC = np.eye(len(self.classes_))[np.searchsorted(self.classes_, targets)]
        self._add(cells, targets_NC, self._weighed(targets, sample_weight), sign)
        return self

    def _weighed(self, targets: NDArray[Any], sample_weight: ArrayLike | None) -> Floats | None:
        weight_N = _weights(sample_weight, len(targets))
        if self.class_weight is None:
            return weight_N
        by_class_N = compute_sample_weight(self.class_weight, targets)
        return by_class_N if weight_N is None else weight_N * by_class_N

    def _fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None, classes: NDArray[Any] | None) -> Self:
        """Generate; where the classes are given, rows will come later and sums are kept."""
        cells = self._read(X, learn=True)
        targets = _target(y, len(cells))
        check_classification_targets(targets)
        self.classes_ = np.unique(targets) if classes is None else classes
        if len(unknown := np.setdiff1d(targets, self.classes_)):
            raise ValueError(f"y has the class {unknown[0]!r}, which is not among the classes given.")
        at_N = np.searchsorted(self.classes_, targets)
        weight_N = self._weighed(targets, sample_weight)
        cells, at_N, weight_N = _counted(cells, at_N, weight_N)
        if len(self.classes_) < 2:
            raise ValueError(f"Classifier can't train when only one class is present: {self.classes_[0]!r}.")
        targets_NC = np.eye(len(self.classes_))[at_N]
        self._solved = self._solve(cells, targets_NC, weight_N, len(self.classes_), classes is not None)
        chosen = self._solved.rows
        weight_n = None if weight_N is None else weight_N[chosen]
        self._calibration = table_solver.calibrate(self._solved.left_out_NC, at_N[chosen], weight_n)
        return self

    def predict_proba(self, X: Any) -> Floats:
        """Return (N, C) calibrated probabilities, columns as in ``classes_``."""
        check_is_fitted(self)
        return self._calibration.probabilities(self._solved.net.scores(self._coder.code(self._read(X, learn=False))))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return (N,) the likeliest class of each row."""
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class SartorRegressor(RegressorMixin, _Table):
    """A generated net that foretells values, with intervals.

    Args:
        members: nets that are generated and averaged.
        guard: whether rows left out may give a share of the answer to random units and to plain ridge.
        learned: False for a generator that has learned nothing: the control that a learned one must beat.
        random_state: of the random part of the nets; None is 0, so that the same rows give the same model.
    """

    def __init__(
        self,
        *,
        members: int = table_solver.MEMBERS,
        guard: bool = True,
        learned: bool = True,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.members = members
        self.guard = guard
        self.learned = learned
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Generate the net of rows whose (N,) values are known; see :meth:`SartorClassifier.fit`."""
        return self._fit(X, y, sample_weight, kept=False)

    def partial_fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Generate the net of the first rows, and add later ones; see :meth:`SartorClassifier.partial_fit`."""
        if getattr(self, "_sums", None) is None:
            return self._fit(X, y, sample_weight, kept=True)
        return self._change(X, y, sample_weight, 1.0)

    def forget(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Take rows off again; see :meth:`SartorClassifier.forget`."""
        check_is_fitted(self)
        return self._change(X, y, sample_weight, -1.0)

    def _change(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None, sign: float) -> Self:
        cells = self._read(X, learn=False)
        values_N = _target(y, len(cells)).astype(np.float64)
        targets_N1 = ((values_N - self._middle) / self._spread)[:, None]
        self._add(cells, targets_N1, _weights(sample_weight, len(cells)), sign)
        return self

    def _fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None, *, kept: bool) -> Self:
        cells = self._read(X, learn=True)
        values_N = _target(y, len(cells)).astype(np.float64)
        assert_all_finite(values_N, input_name="y")
        if np.abs(values_N).max(initial=0) > _LARGEST:
            raise ValueError(f"Input y contains values beyond {_LARGEST:g}: give them in a larger unit.")
        if len(cells) < 2:
            raise ValueError("A value cannot be told from 1 sample: at least 2 are needed.")
        cells, values_N, weight_N = _counted(cells, values_N, _weights(sample_weight, len(cells)))
        self._middle, spread = float(np.average(values_N, weights=weight_N)), float(values_N.std())
        self._spread = spread if spread > 0 else 1.0
        targets_N1 = ((values_N - self._middle) / self._spread)[:, None]
        self._solved = self._solve(cells, targets_N1, weight_N, 0, kept)
        self._errors = np.abs(self._solved.left_out_NC[:, 0] - targets_N1[self._solved.rows, 0]) * self._spread
        room = BEYOND * (values_N.max() - values_N.min())
        self._range = (values_N.min() - room, values_N.max() + room)
        return self

    def predict(self, X: Any) -> Floats:
        """Return (N,) the value of each row."""
        check_is_fitted(self)
        scores_NC = self._solved.net.scores(self._coder.code(self._read(X, learn=False)))
        return np.clip(self._middle + self._spread * scores_NC[:, 0], *self._range)

    def predict_interval(self, X: Any, coverage: float = COVERAGE) -> Floats:
        """Return (N, 2) between which the right value lies with a chance of ``coverage``.

        Raises:
            ValueError: when ``coverage`` does not lie between 0 and 1.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage is {coverage}: give a share between 0 and 1, as {COVERAGE}.")
        values = self.predict(X)
        half = table_solver.kept_below(self._errors, coverage)
        return np.stack([values - half, values + half], axis=1)


def _has_words(rows: Any) -> bool:
    """Whether a DataFrame holds more than numbers, so that its columns must be read."""
    return records.is_frame(rows) and not all(getattr(kind, "kind", "O") in "biuf" for kind in rows.dtypes)


def _target(y: Any, rows: int) -> NDArray[Any]:
    if y is None:
        raise ValueError("This estimator requires y to be passed, but the target y is None.")
    found = column_or_1d(y, warn=True)
    assert_all_finite(found, input_name="y")
    if len(found) != rows:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: [{rows}, {len(found)}]")
    return found


def _seed(random_state: int | np.random.RandomState | None) -> int:
    if isinstance(random_state, np.random.RandomState):
        return int(check_random_state(random_state).randint(2**31 - 1))
    return random_state or 0


_MOST_REPEATED = 20
"""Times as many rows as there are that whole-numbered weights may make of them."""
_LARGEST = 1e140
"""Of values, so that their squares can be summed."""


def _weights(sample_weight: ArrayLike | None, rows: int) -> Floats | None:
    if sample_weight is None:
        return None
    weight_N = _check_sample_weight(sample_weight, np.zeros((rows, 1)))
    if (weight_N < 0).any():
        raise ValueError(f"Negative values in sample_weight: {weight_N.min():g} is the least. Weights begin at 0.")
    return weight_N


def _counted(
    cells: Cells, targets_N: NDArray[Any], weight_N: Floats | None
) -> tuple[Cells, NDArray[Any], Floats | None]:
    """Return rows in an order that does not depend on the one they came in; weights that are counts as so many rows.

    So whole numbers are exact in every part. Of other weights the head is exact; what is generated reads rows alike.
    Rows of no weight are not there.
    """
    order = cells.order(targets_N)
    if weight_N is None:
        return cells.take(order), targets_N[order], None
    order = order[weight_N[order] > 0]
    if not len(order):
        raise ValueError("Every sample has the weight 0: at least one must count.")
    weight_n = weight_N[order]
    largest = float(weight_n.max())
    weight_n = weight_n / largest if largest > _LARGEST else weight_n
    whole = bool((weight_n % 1 == 0).all())
    if whole and weight_n.sum() <= _MOST_REPEATED * len(weight_N):
        order = np.repeat(order, weight_n.astype(np.int64))
        return cells.take(order), targets_N[order], None
    return cells.take(order), targets_N[order], weight_n
