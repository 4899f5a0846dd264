"""Label smoothing for class numbers; Keras supports it only for one-hot and binary labels."""

from __future__ import annotations

from typing import Any

import keras

from kilter._models.keras_internals import LossFunctionWrapper
from kilter.errors import OptionError


def smoothed_sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, label_smoothing: float = 0.1, from_logits: bool = False
) -> Any:
    """The cross-entropy of each row against its smoothed label, shape (...) for ``y_pred`` (..., classes).

    The target for class c of K is the probability 1 - e + e/K of c and e/K of every other class, where e is
    ``label_smoothing`` (Szegedy et al. 2016). ``y_true``: class numbers, shape (...) or (..., 1); a number
    outside the classes counts as no class.
    """
    y_pred = keras.ops.convert_to_tensor(y_pred)
    if len(y_true.shape) == len(y_pred.shape):
        y_true = keras.ops.squeeze(y_true, axis=-1)
    one_hot = keras.ops.one_hot(keras.ops.cast(y_true, "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
    return keras.losses.categorical_crossentropy(
        one_hot, y_pred, from_logits=from_logits, label_smoothing=label_smoothing
    )


@keras.saving.register_keras_serializable(package="kilter")
class SmoothedSparseCategoricalCrossentropy(LossFunctionWrapper):
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
        if not 0 <= label_smoothing < 1:
            raise OptionError(
                expected="label_smoothing from 0 to below 1",
                received=f"label_smoothing={label_smoothing!r}",
                remedy="pass a share such as 0.1",
            )
        super().__init__(
            smoothed_sparse_categorical_crossentropy,
            reduction=reduction,  # pyright: ignore[reportArgumentType]  (Keras takes None too)
            name=name,
            dtype=dtype,
            label_smoothing=label_smoothing,
            from_logits=from_logits,
        )

    def get_config(self) -> dict[str, Any]:
        """The configuration from which Keras recreates the loss."""
        return {"name": self.name, "reduction": self.reduction, **self._fn_kwargs}
