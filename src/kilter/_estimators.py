"""``KilterClassifier`` and ``KilterRegressor``: networks as scikit-learn estimators."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, Self

import keras
import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from kilter._array_types import Arrays, ClassShares, HostRows
from kilter._engine.inference import predict
from kilter._fit import fit
from kilter._progress import Verbose
from kilter._validation import whole_number
from kilter.data.memory import dense
from kilter.errors import DataError
from kilter.nn.builders import mlp

Builder = Callable[[tuple[int, ...], int], keras.Model]

# With fewer rows, a held-out part is too small for early stopping: train on all rows for all epochs.
_FEWEST_FOR_STOPPING = 50
_PREDICTED_TOGETHER = 64


@dataclass(eq=False, repr=False)
class _Network(BaseEstimator):
    """The base of both estimators; see :class:`KilterClassifier` for the parameters."""

    model: Builder | None = None
    _: KW_ONLY
    hidden: Sequence[int] = (100,)
    optimizer: Any = "nadam"
    learning_rate: float | None = 1e-3
    epochs: int = 100
    batch_size: int = 32
    patience: int | None = 10
    validation_fraction: float = 0.1
    random_state: Any = None
    verbose: Verbose = 0

    model_: keras.Model = field(init=False)
    history_: dict[str, list[float]] = field(init=False)
    n_iter_: int = field(init=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _train(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        outputs: int,
        loss: Any,
        weights: np.ndarray | None,
        classes: np.ndarray | None = None,
    ) -> None:
        """Build, compile and train the network; sets ``model_``, ``history_`` and ``n_iter_``."""
        whole_number("epochs", self.epochs, 1)
        whole_number("batch_size", self.batch_size, 1)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        # A row of weight zero must not influence means, splits and batches either.
        counted = slice(None) if weights is None or weights.all() else weights != 0
        given: list[Any] = [None if one is None else one[counted] for one in (X, targets, weights, classes)]
        rows, targets, weights, classes = given
        training, validation = self._parts(rows, targets, weights, classes, seed)
        model = self._network(training[0], outputs, seed)
        if not model.compiled:
            model.compile(optimizer=self._optimizer(), loss=loss)
        stopping = keras.callbacks.EarlyStopping(patience=self.patience or 0, restore_best_weights=True)
        history = fit(
            model,
            training[0],
            training[1],
            sample_weight=training[2],
            validation_data=validation,
            batch_size=min(self.batch_size, len(training[0])),
            epochs=self.epochs,
            callbacks=[stopping] if validation else [],
            measure=None,
            seed=seed,
            verbose=self.verbose,
        )
        self.model_ = model
        self.history_ = {name: list(map(float, values)) for name, values in history.history.items()}
        self.n_iter_ = len(history.epoch)

    def _parts(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None,
        classes: np.ndarray | None,
        seed: int,
    ) -> tuple[tuple[Any, ...], tuple[Any, ...] | None]:
        """Training and validation rows, ``(X, targets, weights)``; no validation without ``patience``."""
        if self.patience is None or len(X) < _FEWEST_FOR_STOPPING:
            return (X, targets, weights), None
        whole_number("patience", self.patience, 0)
        counts = [] if classes is None else np.unique(classes, return_counts=True)[1]
        stratified = len(counts) and min(counts) > 1 and len(X) * self.validation_fraction >= len(counts)
        kept, held = train_test_split(
            np.arange(len(X)),
            test_size=self.validation_fraction,
            random_state=seed,
            stratify=classes if stratified else None,
        )
        parts = [
            (X[rows], targets[rows], None if weights is None else weights[rows]) for rows in (kept, held)
        ]
        return parts[0], parts[1]

    def _network(self, X: np.ndarray, outputs: int, seed: int) -> keras.Model:
        if self.model is not None:
            return self.model(X.shape[1:], outputs)
        spread = X.var(axis=0, dtype="float64")
        statistics = (X.mean(axis=0, dtype="float64"), np.where(spread > 0, spread, 1.0))
        return mlp(X.shape[1:], outputs, hidden=tuple(self.hidden), normalization=statistics, seed=seed)

    def _optimizer(self) -> Any:
        made: Any = keras.optimizers.get(self.optimizer)
        copy = type(made).from_config(made.get_config())  # the given object may have been trained with
        if self.learning_rate is not None:
            copy.learning_rate = self.learning_rate
        return copy

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        rows = dense(validate_data(self, X, accept_sparse=True, dtype=[np.float64, np.float32], reset=False))
        # Whole batches: one program serves every number of rows, and a row's result does not depend on the
        # others.
        filled = np.pad(rows, ((0, -len(rows) % _PREDICTED_TOGETHER), (0, 0)))
        outputs = predict(self.model_, filled, batch_size=_PREDICTED_TOGETHER, verbose=0)
        return np.asarray(outputs)[: len(rows)]


def _weights(sample_weight: Any, rows: np.ndarray) -> np.ndarray | None:
    """A weight for each row, checked: negative ones would make the loss fall without end."""
    if sample_weight is None:
        return None
    return _check_sample_weight(sample_weight, rows, ensure_non_negative=True)


def _plain_labels(y: Any) -> Any:
    """``y`` as NumPy's types instead of pandas' nullable ones, which scikit-learn turns into floats.

    Raises DataError for None and pandas.NA, which scikit-learn cannot compare.
    """
    if y is None:
        return y
    kinds: Any = getattr(y, "dtypes", None)
    kind: Any = kinds.iloc[0] if hasattr(kinds, "iloc") and len(kinds) == 1 else kinds
    numpy_type = getattr(kind, "numpy_dtype", None)  # of nullable types only
    entries = np.asarray(y)
    if numpy_type is None and entries.dtype.kind != "O":
        return y
    missing = [i for i, one in enumerate(np.ravel(entries)) if _is_missing(one)]
    if missing:
        raise DataError(
            expected="a label in every row: Input y contains NaN, None or pandas.NA",
            received=f"{len(missing)} of {entries.size} missing, the first in row {missing[0]} (from 0)",
            remedy="leave these rows out, or give them a class of their own",
        )
    return y if numpy_type is None else y.to_numpy(dtype=numpy_type)


def _is_missing(entry: Any) -> bool:
    # By the name of the type: pandas may not be installed.
    is_nan = isinstance(entry, float) and np.isnan(entry)
    return entry is None or is_nan or type(entry).__name__ in ("NAType", "NaTType")


@dataclass(eq=False, repr=False, kw_only=True)
class KilterClassifier(ClassifierMixin, _Network):
    """A network for classification as a scikit-learn estimator.

    Args:
        model: a function (shape of a row, number of classes) -> Keras model with one logit for each class. If
            the model is compiled, its own optimiser and loss are used. None: a network of dense layers that
            standardises its inputs.
        hidden: the widths of the hidden layers, if ``model`` is None.
        optimizer: a Keras optimiser or its name; ``learning_rate`` replaces its rate unless None.
        epochs: passes over the training rows, at most.
        batch_size: rows per step.
        patience: stop after this many epochs without a better loss on ``validation_fraction`` of the rows,
            and keep the best weights. None, or fewer than 50 rows: train on all rows for all epochs.
        class_weight: "balanced", a weight for each class, or None.
        random_state: seed for initial weights, held-out rows and the order of rows.
        verbose: as in :func:`kilter.fit`.

    Attributes after ``fit``: ``model_`` (the Keras model), ``history_`` (losses by epoch), ``n_iter_``
    (epochs trained), ``classes_``, ``n_features_in_``.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> bool(KilterClassifier(random_state=0).fit(X, y).score(X, y) > 0.9)
        True
    """

    class_weight: Mapping[Any, float] | Literal["balanced"] | None = None
    classes_: np.ndarray = field(init=False)

    def fit(self, X: Arrays, y: Arrays, sample_weight: Arrays | None = None) -> Self:
        """Train on rows ``X`` (2-D, finite, may be sparse) and labels ``y`` (1-D); returns the estimator.

        ``sample_weight``: a weight for each row; those of weight 0 are left out. Raises ValueError where
        scikit-learn would, and for a single class.
        """
        given: tuple[Any, Any] = X, _plain_labels(y)  # scikit-learn's annotations take no arrays
        checked: Any = validate_data(self, *given, accept_sparse=True, dtype=[np.float64, np.float32])
        rows, labels = dense(checked[0]), checked[1]
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                expected="labels of at least two classes",
                received=f"one class, {str(self.classes_[0])!r}, in {len(labels)} rows",
                remedy="check the labels, or the split",
            )
        weights = _weights(sample_weight, rows)
        if self.class_weight is not None:
            of_class = compute_class_weight(self.class_weight, classes=self.classes_, y=labels)
            weights = of_class[numbers] * (1.0 if weights is None else weights)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._train(rows, numbers.astype("int32"), len(self.classes_), loss, weights, classes=numbers)
        return self

    def predict_proba(self, X: Arrays) -> ClassShares:
        """Probabilities of the classes, in the order of ``classes_``: shape (rows, classes), float32."""
        return softmax(self._outputs(X), axis=1)

    def predict(self, X: Arrays) -> HostRows:
        """The most probable class of each row: shape (rows,), of the labels' dtype."""
        best = self._outputs(X).argmax(axis=1)
        return self.classes_[best]


class KilterRegressor(RegressorMixin, _Network):
    """A network for regression as a scikit-learn estimator; one target or several.

    The parameters are those of :class:`KilterClassifier` without ``class_weight``; ``model`` is a function
    (shape of a row, number of targets) -> Keras model. Targets are centred and scaled to variance 1 for
    training, with the mean squared error as the loss; predictions are in the unit of ``y``.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> bool(KilterRegressor(random_state=0).fit(X, y).score(X, y) > 0.3)
        True
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Arrays, y: Arrays, sample_weight: Arrays | None = None) -> Self:
        """Train on rows ``X`` (2-D, finite, may be sparse) and targets ``y`` (1-D or 2-D); returns itself.

        ``sample_weight``: a weight for each row; those of weight 0 are left out. Raises ValueError where
        scikit-learn would.
        """
        given: tuple[Any, Any] = X, _plain_labels(y)  # as in the classifier
        checked: Any = validate_data(
            self,
            *given,
            accept_sparse=True,
            dtype=[np.float64, np.float32],
            multi_output=True,
            y_numeric=True,
        )
        rows, numbers = dense(checked[0]), checked[1]
        weights = _weights(sample_weight, rows)
        targets = np.asarray(numbers, "float64")
        self._is_vector = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        counted = targets if weights is None else targets[weights != 0]
        self._center = counted.mean(axis=0)
        spread = counted.std(axis=0)
        self._scale = np.where(spread > 0, spread, 1.0)
        scaled = (targets - self._center) / self._scale
        self._train(rows, scaled.astype("float32"), targets.shape[1], "mse", weights)
        return self

    def predict(self, X: Arrays) -> HostRows:
        """The targets of each row: shape (rows,) for a 1-D ``y``, else (rows, targets); float64."""
        outputs = self._outputs(X)
        found = outputs.reshape(len(outputs), -1) * self._scale + self._center
        return found[:, 0] if self._is_vector else found
