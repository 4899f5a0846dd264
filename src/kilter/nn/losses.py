"""Losses of class numbers that Keras has for one-hot labels only, and the contrastive loss of pairs."""

from collections.abc import Sequence
from typing import Any

import keras

from kilter._models.keras_internals import LossFunctionWrapper
from kilter._validation import number, one_of


def smoothed_sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, label_smoothing: float = 0.1, from_logits: bool = False
) -> Any:
    """The cross-entropy of each row against its smoothed label, shape (...) for ``y_pred`` (..., classes).

    The target for class c of K is the probability 1 - e + e/K of c and e/K of every other class, where e is
    ``label_smoothing`` (Szegedy et al. 2016). ``y_true``: class numbers, shape (...) or (..., 1); a number
    outside the classes counts as no class.
    """
    one_hot, y_pred = _one_hot(y_true, y_pred)
    return keras.losses.categorical_crossentropy(
        one_hot, y_pred, from_logits=from_logits, label_smoothing=label_smoothing
    )


def sparse_categorical_focal_crossentropy(
    y_true: Any, y_pred: Any, alpha: Any = 0.25, gamma: float = 2.0, from_logits: bool = False
) -> Any:
    """Keras's ``categorical_focal_crossentropy`` for class numbers, shape (...) for (..., classes)."""
    one_hot, y_pred = _one_hot(y_true, y_pred)
    return keras.losses.categorical_focal_crossentropy(
        one_hot, y_pred, alpha=alpha, gamma=gamma, from_logits=from_logits
    )


def scaled_huber(y_true: Any, y_pred: Any, scales: Any, delta: float = 1.0) -> Any:
    """The mean Huber loss of the numbers of each row, in their ``scales``, shape (...) for (..., k)."""
    y_pred = keras.ops.convert_to_tensor(y_pred)
    scales = keras.ops.convert_to_tensor(scales, y_pred.dtype)
    return keras.losses.huber(keras.ops.cast(y_true, y_pred.dtype) / scales, y_pred / scales, delta)


def contrastive(y_true: Any, y_pred: Any, margin: float = 1.0, near: int = 1) -> Any:
    """The contrastive loss of distances (..., k) and as many labels, the mean over the last axis."""
    y_pred = keras.ops.convert_to_tensor(y_pred)
    # Labels (n,) beside distances (n, 1) would make (n, n).
    labels: Any = keras.ops.reshape(keras.ops.cast(y_true, y_pred.dtype), keras.ops.shape(y_pred))
    together = labels if near == 1 else 1 - labels
    apart = keras.ops.square(keras.ops.maximum(margin - y_pred, 0))
    return keras.ops.mean(together * keras.ops.square(y_pred) + (1 - together) * apart, axis=-1)


def sparse_dice(y_true: Any, y_pred: Any) -> Any:
    """1 - Dice of each class over all other axes, shape (classes,), for class numbers."""
    one_hot, y_pred = _one_hot(y_true, y_pred)
    return keras.losses.dice(one_hot, y_pred, axis=tuple(range(len(y_pred.shape) - 1)))


def _one_hot(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    y_pred, y_true = keras.ops.convert_to_tensor(y_pred), keras.ops.convert_to_tensor(y_true)
    if len(y_true.shape) == len(y_pred.shape):
        y_true = keras.ops.squeeze(y_true, axis=-1)
    return keras.ops.one_hot(keras.ops.cast(y_true, "int32"), y_pred.shape[-1], dtype=y_pred.dtype), y_pred


class _Recreated(LossFunctionWrapper):
    """A loss that Keras recreates from its name, reduction and options."""

    def __init__(self, fn: Any, reduction: str | None, name: str, dtype: Any, **options: Any) -> None:
        # Keras takes None as a reduction too.
        super().__init__(fn, reduction=reduction, name=name, dtype=dtype, **options)  # pyright: ignore[reportArgumentType]

    def get_config(self) -> dict[str, Any]:
        """The configuration from which Keras recreates the loss."""
        return {"name": self.name, "reduction": self.reduction, **self._fn_kwargs}


@keras.saving.register_keras_serializable(package="kilter")
class SmoothedSparseCategoricalCrossentropy(_Recreated):
    """Keras's ``CategoricalCrossentropy(label_smoothing=...)`` for labels that are class numbers.

    Its minimum is the entropy of the smoothed label, not 0, so do not compare losses with different
    smoothing; compare accuracies. In ``kilter.fit`` it is computed from the logits, also after a softmax.

    Args:
        label_smoothing: the share e of each label that is spread evenly over all K classes, 0 to below 1.
        from_logits: whether outputs are logits instead of probabilities.

    Raises:
        OptionError: for a share out of range.

    Example:
        >>> import numpy as np
        >>> loss = SmoothedSparseCategoricalCrossentropy(0.1, from_logits=True)
        >>> labels, logits = np.array([0, 1]), np.array([[2.0, -1.0], [0.5, 1.5]])
        >>> round(float(loss(labels, logits)), 4)  # 0.1809 without smoothing
        0.2809
    """

    def __init__(
        self,
        label_smoothing: float = 0.1,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str = "smoothed_sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        number("label_smoothing", label_smoothing, 0, below=1, remedy="pass a share such as 0.1")
        super().__init__(
            smoothed_sparse_categorical_crossentropy,
            reduction,
            name,
            dtype,
            label_smoothing=label_smoothing,
            from_logits=from_logits,
        )


@keras.saving.register_keras_serializable(package="kilter")
class SparseCategoricalFocalCrossentropy(_Recreated):
    """Keras's ``CategoricalFocalCrossentropy`` for labels that are class numbers, such as masks.

    Correct and confident predictions count little; ``alpha`` weighs the classes (Lin et al. 2017).

    Args:
        alpha: the weight of every class, or one for each.
        gamma: how much less sure answers count; 0 for none.
        from_logits: whether outputs are logits instead of probabilities.

    Example:
        >>> import numpy as np
        >>> loss = SparseCategoricalFocalCrossentropy(alpha=1.0)
        >>> round(float(loss(np.array([0]), np.array([[0.5, 0.5]]))), 4)  # 0.25 of the cross-entropy
        0.1733
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str = "sparse_categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            sparse_categorical_focal_crossentropy,
            reduction,
            name,
            dtype,
            alpha=alpha,
            gamma=gamma,
            from_logits=from_logits,
        )


@keras.saving.register_keras_serializable(package="kilter")
class SparseDice(_Recreated):
    """1 - Dice, the mean over the classes, for masks of class numbers: how far answers and masks overlap.

    Each class counts alike, however few pixels it has. It is computed over a whole batch, so that weights of
    rows have no effect.

    Example:
        >>> import numpy as np
        >>> masks, answers = np.array([[0, 1]]), np.array([[[1.0, 0.0], [0.0, 1.0]]])
        >>> round(float(SparseDice()(masks, answers)), 4)
        0.0
    """

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str = "sparse_dice", dtype: Any = None
    ) -> None:
        super().__init__(sparse_dice, reduction, name, dtype)


@keras.saving.register_keras_serializable(package="kilter")
class Contrastive(_Recreated):
    """The contrastive loss of distances: d² for pairs that belong together, max(margin - d, 0)² for others.

    Args:
        margin: the distance up to which other pairs are pushed apart.
        near: the label of pairs that belong together, 0 or 1.

    Raises:
        OptionError: for a margin that is not above 0, with which one point for all rows is the best answer,
            and for another label.

    Example:
        >>> import numpy as np
        >>> loss = Contrastive(margin=1.0)
        >>> [round(float(loss(np.array([label]), np.array([[0.2]]))), 2) for label in (1, 0)]
        [0.04, 0.64]
    """

    def __init__(
        self,
        margin: float = 1.0,
        near: int = 1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "contrastive",
        dtype: Any = None,
    ) -> None:
        number("margin", margin, above=0, remedy="pass a distance such as 1")
        one_of("near", near, (0, 1))
        super().__init__(contrastive, reduction, name, dtype, margin=margin, near=near)


@keras.saving.register_keras_serializable(package="kilter")
class ScaledHuber(_Recreated):
    """Keras's ``Huber(delta)`` of several numbers, each divided by its scale, so that all count alike.

    Args:
        scales: of each number of the target, above 0; typically its standard deviation.
        delta: how many scales large an error is that counts in proportion, and no longer squared.

    Example:
        >>> import numpy as np
        >>> loss = ScaledHuber([1000.0, 1.0], delta=3.0)
        >>> float(loss(np.array([[5000.0, 5.0]]), np.array([[6000.0, 6.0]])))
        0.5
    """

    def __init__(
        self,
        scales: Sequence[float],
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "scaled_huber",
        dtype: Any = None,
    ) -> None:
        super().__init__(scaled_huber, reduction, name, dtype, scales=list(scales), delta=delta)
