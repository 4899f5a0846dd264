"""The remedy for targets far from 0 and 1: the model scales its output to their mean and deviation."""

from __future__ import annotations

from typing import Any, Final

import keras
import numpy as np

from kilter._models.copying import fresh_name
from kilter._models.editing import can_be_cut, cut
from kilter._models.layers import OutputFacts
from kilter._records import Change, Finding
from kilter._treatment.remedies.base import replaceable
from kilter._treatment.remedies.output import tail_of
from kilter._treatment.subject import Subject, compiled_like
from kilter.data.scaling import moments

_SQUARED: Final = "mean_squared_error"


def rescale_outputs(subject: Subject, finding: Finding) -> Subject | None:
    """A layer at the end that multiplies by the targets' deviation and adds their mean.

    The network before it learns numbers of mean 0 and deviation 1, and the model still predicts in the
    targets' units. The loss is weighted by 1 / variance (1 / deviation if it is not squared), so that its
    gradient is that of scaled targets and usual learning rates fit. None for several outputs, for an output
    with an activation, and if no target is finite.
    """
    outputs = subject.facts[1]
    if len(outputs) != 1 or not can_be_cut(subject.model) or outputs[0].activation != "linear":
        return None
    (output,) = outputs
    head = next((one for one in subject.layers if one.path == output.where), None)
    tail = None if head is None else tail_of(subject, head)
    found = _statistics(output)
    if head is None or tail is None or found is None or output.loss is None:
        return None
    if any(isinstance(one.layer, keras.layers.Normalization) for one in tail):
        return None  # scaled already
    mean, variance = found[:2]
    axis: Any = found[2]  # Keras says int and takes None
    last = replaceable(subject, tail[-1:] or [head])[0].layer
    name = fresh_name(subject.model, "target_scale")
    copied = cut(
        subject.model,
        {
            last: lambda config: [
                config,
                keras.layers.Normalization(axis=axis, mean=mean, variance=variance, invert=True, name=name),
            ]
        },
    )
    whole = float(np.mean(variance))
    weight = 1 / whole if output.loss.name == _SQUARED else 1 / whole**0.5
    change = Change(
        remedy="rescale-outputs",
        where=(output.where, "targets"),
        before=f"targets with mean {np.mean(mean):.3g}, deviation {whole**0.5:.3g}",
        after="outputs scaled to the targets' mean and deviation by a layer in the model",
        snippet="scale = keras.layers.Normalization(axis=None, mean=y_train.mean(), variance=y_train.var(), "
        "invert=True)  # last in the model\n"
        f"model.compile(..., loss_weights={weight:.3g})",
    )
    model = compiled_like(subject.model, copied.model, loss_weights=[weight])
    return subject.changed(change, model=model)


def _statistics(output: OutputFacts) -> tuple[np.ndarray, np.ndarray, int | None] | None:
    """Mean and variance of the targets, by column if there are several, and the axis of the columns."""
    targets = output.targets
    if targets is None or targets.dtype.kind not in "fiu":
        return None
    rows = targets.reshape(len(targets), -1)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if not len(rows):
        return None
    axis = -1 if len(output.shape) == 2 and output.units == rows.shape[1] > 1 else None
    found = moments(rows, axis=axis)
    variance = np.where(found.variance > 0, found.variance, 1.0).astype("float32")
    return np.asarray(found.mean), variance, axis
