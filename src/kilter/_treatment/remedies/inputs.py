"""Remedies for the data: inputs standardised inside the model, and rows that are not finite removed."""

from collections.abc import Iterable
from itertools import compress
from typing import Any

import jax
import keras
import numpy as np

from kilter._diagnosis.values import masked_values, unmasked
from kilter._engine.arrays import pick
from kilter._models.copying import fresh_name
from kilter._models.editing import Cut, open_layers
from kilter._models.layers import LOOKUPS, SCALINGS, LayerFacts
from kilter._records import Finding
from kilter._treatment.policy import RemedyPolicy
from kilter._treatment.remedies.base import ADAPTED, changed, operated, remedies, replaceable
from kilter._treatment.subject import Subject
from kilter.data.scaling import moments


def standardize_inputs(subject: Subject, finding: Finding) -> Subject | None:
    """A Normalization layer in front of each numeric input that no layer looks up, adapted on training rows.

    The model still takes raw rows. Flat inputs and sequences are scaled by feature, images by channel, images
    without a channel axis as a whole. A constant feature is divided by the deviation of all features.
    Rescaling layers at the inputs are removed, and Normalization layers that do not fit the rows. None if the
    inputs are standardised already.
    """
    arrays = [np.asarray(one) for one in jax.tree.leaves(subject.x)]
    inputs = subject.model.inputs
    if len(arrays) != len(inputs) or any(one.dtype.kind not in "fiub" for one in arrays):
        return None  # a missing optional input, or text
    firsts = [one for one in subject.facts[0] if one.takes_input]
    readers = [[one for one in firsts if index in one.enters] for index in range(len(arrays))]
    unfit = input_scalings(subject) if finding.code == "scaled-twice" else []
    done = LOOKUPS if unfit else (*LOOKUPS, keras.layers.Normalization)
    if any(isinstance(one.layer, done) for one in firsts):  # an input that no known layer reads may be ids
        raw = [bool(some) and not any(isinstance(one.layer, done) for one in some) for some in readers]
    else:
        raw = [True] * len(arrays)
    if not any(raw):
        return None
    masks = [one for one in firsts if isinstance(one.layer, keras.layers.Masking)]
    if masks and len(arrays) > 1:
        return None
    # Padding must reach its Masking layer as it is: what follows that layer is standardised.
    steps = [unmasked(array, masked_values([one.layer for one in masks])) for array in arrays]
    made = [
        _normalized(subject, array, readers[index], index) if raw[index] else None
        for index, array in enumerate(steps)
    ]
    front = made if not masks else [None]
    free = {id(layer) for layer in open_layers(subject.model)}
    replaceable(subject, unfit, every=True)
    scaled = unfit or [one for one in firsts if isinstance(one.layer, keras.layers.Rescaling)]
    rescaling = [one.layer for one in scaled if id(one.layer) in free]
    before = f"inputs with {_described(compress(arrays, raw))}" + (
        ", rescaled in the model" if rescaling else ""
    )
    after = "mean 0 and variance 1, by a layer in the model"
    snippet = ADAPTED if len(arrays) == 1 else ""
    recipe = ("data.standardize=true",)
    cuts: dict[Any, Cut] = {layer: lambda config: None for layer in rescaling}
    cuts |= {one.layer: lambda config: [config, made[0]] for one in masks}
    return operated(subject, ("data",), (before, after), cuts, front=front, snippet=snippet, recipe=recipe)


def _normalized(subject: Subject, array: np.ndarray, firsts: list[Any], index: int) -> Any:
    """The Normalization layer for one input, which ``firsts`` read."""
    axis: Any = _kept_axis(array, firsts)
    mean, variance = statistics(array, axis, subject.policy.remedies.least_feature_deviation)
    name = fresh_name(subject.model, "normalization" if index == 0 else f"normalization_{index}")
    return keras.layers.Normalization(axis=axis, mean=mean, variance=variance, dtype="float32", name=name)


def input_scalings(subject: Subject) -> list[LayerFacts]:
    """The scaling layers that read an input, and those that read their outputs."""
    calls = subject.facts[0]
    chain, waiting = [], [one for one in calls if one.takes_input and isinstance(one.layer, SCALINGS)]
    while waiting:
        one = waiting.pop()
        chain.append(one)
        waiting += [calls[i] for i in one.consumers if isinstance(calls[i].layer, SCALINGS)]
    return chain


def statistics(
    array: np.ndarray, axis: int | None, least: float = RemedyPolicy.least_feature_deviation
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance along ``axis`` (None: of all), safe to divide by.

    The deviation is at least the share ``least`` of the range; a feature that never varies gets the variance
    of all values. Values that are not finite are left out.
    """
    array = array.reshape(len(array), -1) if axis is None else array
    if not np.all(np.isfinite(array)):
        rows = np.isfinite(array).reshape(len(array), -1).all(axis=1)
        array = array[rows] if rows.any() else np.nan_to_num(array, posinf=0.0, neginf=0.0)
    found = moments(array, axis=axis)
    others = tuple(i for i in range(array.ndim) if axis is None or i != axis % array.ndim)
    span = array.max(axis=others).astype("float64") - array.min(axis=others).astype("float64")
    variance = np.maximum(found.variance.astype("float64"), np.square(span * least))
    whole = float(moments(array, axis=None).variance)
    variance = np.where(span == 0, whole if whole > 0 else 1.0, variance)
    return np.asarray(found.mean), variance.astype("float32")


def _kept_axis(array: np.ndarray, firsts: list[Any]) -> int | None:
    reshaped = any(isinstance(one.layer, keras.layers.Flatten | keras.layers.Reshape) for one in firsts)
    if array.ndim == 1 or (array.ndim == 3 and reshaped):
        return None  # one number a row, or an image without a channel axis
    first = any(getattr(one.layer, "data_format", "") == "channels_first" for one in firsts)
    return 1 if first else -1


def _described(arrays: Iterable[np.ndarray]) -> str:
    finite = [array[np.isfinite(array)] for array in arrays]
    return " and ".join(f"mean {one.mean():.3g}, deviation {one.std():.3g}" for one in finite)


def clean_data(subject: Subject, finding: Finding) -> Subject | None:
    """Remove rows in which an input or a target is not finite; None if that were half of them or more."""
    (x, y, weights), left_out = _finite_rows(subject.x, subject.y, subject.training.sample_weight)
    held, left_out_too = subject.training.validation_data, 0
    if held is not None:
        held, left_out_too = _finite_rows(*held)
    if left_out + left_out_too == 0 or 2 * left_out >= subject.rows:
        return None
    return changed(
        subject,
        ("data",),
        (f"{left_out} training and {left_out_too} validation rows with NaN or infinity", "removed"),
        x=x,
        y=y,
        training={"validation_data": held, "sample_weight": weights},
        snippet="rows = np.isfinite(x_train).all(axis=1)\nx_train, y_train = x_train[rows], y_train[rows]",
        recipe=("data.skip_bad=true",),
    )


def _finite_rows(*parts: Any) -> tuple[Any, int]:
    """The parts without rows that are not finite, and the number of rows left out."""
    arrays = [np.asarray(one) for one in jax.tree.leaves(parts)]
    finite = np.ones(len(arrays[0]), dtype=bool)
    for array in arrays:
        if array.dtype.kind == "f":
            finite &= np.isfinite(array).reshape(len(array), -1).all(axis=1)
    return (parts, 0) if finite.all() else (pick(parts, finite), int(np.sum(~finite)))


REMEDIES = remedies(standardize_inputs, needs_surgery=True) | remedies(clean_data)
