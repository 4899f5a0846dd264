"""Loss and metrics that fit a model and its data, and how outputs become classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
from scipy.special import softmax

from kilter.data import Dataset, Task
from kilter.data.precision import TargetScale, target_scales
from kilter.errors import ModelError, OptionError
from kilter.nn.losses import ScaledHuber, SmoothedSparseCategoricalCrossentropy

LIKE_SCALES: Final = 3.0  # largest deviation of several targets over the smallest, up to which none drowns
HUBER_DEVIATIONS: Final = 3.0  # up to here errors are squared, and beyond they count in proportion


@dataclass(frozen=True)
class Objective:
    """Loss and metrics for ``model.compile``. ``metrics`` are their names in the history."""

    task: Task
    loss: keras.losses.Loss
    metrics: tuple[str, ...]
    loss_weight: float | None = None
    binary: bool = False
    from_logits: bool = True

    def make_metrics(self) -> list[Any]:
        """New metric objects: they hold state, so each model needs its own."""
        if self.task == "regression":
            return [
                keras.metrics.MeanAbsoluteError(name="mae"),
                keras.metrics.RootMeanSquaredError(name="rmse"),
            ]
        if self.binary:
            return [keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0 if self.from_logits else 0.5)]
        return [keras.metrics.SparseCategoricalAccuracy(name=self.metrics[0])]

    def classes_of(
        self, outputs: np.ndarray, *, positive: int = 1, threshold: float | None = None
    ) -> np.ndarray:
        """Class indexes (int64 [n]) of a classifier's outputs [n, classes], or [n, 1] of a binary one.

        Of masks [n, h, w] from [n, h, w, classes].

        ``threshold``: for two classes, ``positive`` is predicted from this probability on.
        """
        if threshold is not None:
            chosen = self.probabilities(outputs)[:, positive] >= threshold
            return np.where(chosen, positive, 1 - positive).astype(np.int64)
        if self.binary:
            return (outputs.reshape(len(outputs)) > (0.0 if self.from_logits else 0.5)).astype(np.int64)
        return outputs.argmax(axis=-1)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Class probabilities, float64 [n, classes], from outputs [n, classes], or [n, 1] if binary."""
        outputs = outputs.astype(np.float64)
        if self.binary:
            # The softmax of (0, logit) is the sigmoid, without overflow.
            if self.from_logits:
                return softmax(np.concatenate([np.zeros_like(outputs), outputs], axis=1), axis=1)
            return np.concatenate([1 - outputs, outputs], axis=1)
        return softmax(outputs, axis=-1) if self.from_logits else outputs


def objective_for(model: keras.Model, train: Dataset, label_smoothing: float = 0.0) -> Objective:
    """The objective that fits data and model: cross-entropy for classes, mean squared error for numbers.

    Outputs are logits unless the last layer is a softmax or sigmoid. The loss of a regression is divided by
    the variance of the targets: 1 for a model that predicts their mean, whatever the unit; mae and rmse are
    in that unit. A target with a long tail has the Huber loss, by the variance of most of its rows: a few
    rows would be nearly all of the squared error. So have several targets of unlike scales, each in its own.
    ``label_smoothing`` spreads that share of each label evenly over all classes.
    """
    if train.task == "regression" and label_smoothing:
        raise OptionError(
            expected="label smoothing for classification only",
            received=f"label_smoothing={label_smoothing} and targets that are numbers",
            remedy="leave regularize.label_smoothing out",
        )
    if train.task == "regression":
        check_outputs(model, train.task, train.outputs)
        scales = () if train.y is None else target_scales(train.y)
        if len(scales) > 1 and _are_unlike(scales):
            huber = ScaledHuber([one.deviation for one in scales], HUBER_DEVIATIONS)
            return Objective("regression", huber, ("mae", "rmse"))
        if len(scales) == 1 and scales[0].has_tail:
            deviation = scales[0].deviation
            huber = keras.losses.Huber(HUBER_DEVIATIONS * deviation)
            return Objective("regression", huber, ("mae", "rmse"), 1.0 / deviation**2)
        variance = float(np.var(train.y, axis=0, dtype=np.float64).mean())  # type: ignore[arg-type]
        weight = 1.0 / variance if variance > 0 else None
        return Objective("regression", keras.losses.MeanSquaredError(), ("mae", "rmse"), weight)
    found = check_outputs(model, train.task, train.outputs)
    from_logits = last_activation(model) not in ("softmax", "sigmoid")
    if train.task == "classification" and found == 1:
        loss = keras.losses.BinaryCrossentropy(from_logits=from_logits, label_smoothing=label_smoothing)
        return Objective("classification", loss, ("accuracy",), binary=True, from_logits=from_logits)
    if label_smoothing:
        loss = SmoothedSparseCategoricalCrossentropy(label_smoothing, from_logits=from_logits)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    accuracy = "pixel_accuracy" if train.task == "segmentation" else "accuracy"
    return Objective(train.task, loss, (accuracy,), from_logits=from_logits)


def _are_unlike(scales: Sequence[TargetScale]) -> bool:
    """Whether the squared error would be that of one of these targets, or of a few rows."""
    deviations = [one.deviation for one in scales]
    return any(one.has_tail for one in scales) or max(deviations) > LIKE_SCALES * min(deviations)


def check_outputs(model: keras.Model, task: Task, count: int) -> int | None:
    """The width of the model's output; None if it declares none (a subclassed model that is not built).

    Raises :class:`ModelError` unless the model has one output that fits ``count`` classes or numbers.
    """
    fitting = {1, 2} if task == "classification" and count == 2 else {count}
    axes = ("rows", "height", "width") if task == "segmentation" else ("rows",)
    what = f"{count} numbers to predict" if task == "regression" else f"{count} classes"
    outputs = getattr(model, "outputs", None)
    if not outputs:
        return None
    alone = not isinstance(getattr(model, "_outputs_struct", None), dict | list | tuple)
    ranked = len(outputs) == 1 and len(outputs[0].shape) == len(axes) + 1
    if alone and ranked and outputs[0].shape[-1] in fitting:
        return int(outputs[0].shape[-1])
    widths = " or ".join(str(width) for width in sorted(fitting))
    raise ModelError(
        expected=f"one output of shape ({', '.join(axes)}, {widths}), for {what}",
        received=", ".join(f"{tensor.shape}" for tensor in outputs) + f" from model {model.name!r}",
        remedy="give the model a last layer of that width",
    )


def last_activation(model: keras.Model, index: int = 0) -> str:
    """The name of the activation at output ``index`` of a model; "" if unknown."""
    outputs = getattr(model, "outputs", None) or []
    if index >= len(outputs):
        return ""
    last, _, position = outputs[index]._keras_history
    if isinstance(last, keras.Model):
        return last_activation(last, position)
    if isinstance(last, keras.layers.Softmax):
        return "softmax"
    return getattr(getattr(last, "activation", None), "__name__", "")
