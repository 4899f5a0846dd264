"""Remedies for scales: sentinels, scaling layers, channels, outputs and losses of several outputs."""

from collections.abc import Mapping
from typing import Any, Final

import jax
import keras
import numpy as np

from kilter._diagnosis.checks.output import BINARY, SQUARES
from kilter._diagnosis.targets import target_facts
from kilter._diagnosis.values import sentinels, without_sentinels
from kilter._models.copying import fresh_name
from kilter._models.editing import Cut, open_layers
from kilter._models.layers import (
    LOOKUPS,
    SCALINGS,
    LayerFacts,
    OutputFacts,
    following,
    like_losses,
    loss_weights,
)
from kilter._records import Finding
from kilter._text import counted
from kilter._treatment.remedies.base import (
    ADAPTED,
    operated,
    rebuilt,
    remedies,
    replaceable,
    scaled_back,
    why_weighted,
    with_targets,
)
from kilter._treatment.remedies.inputs import statistics
from kilter._treatment.subject import Subject

_RANGES: Final = {"sigmoid": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
_MARGIN: Final = 0.1


def clip_sentinels(subject: Subject, finding: Finding) -> Subject | None:
    """Layers that clip each column just outside of its other values, standardise it, and fill sentinels in.

    A sentinel becomes 0, the mean of the other values. With ``policy.remedies.mark_missing`` it differs from
    them by a tenth of their range instead.
    """
    arrays = [np.asarray(one) for one in jax.tree.leaves(subject.x)]
    if len(arrays) != len(subject.model.inputs):
        return None
    found = [{} if _is_looked_up(subject, i) else sentinels(one) for i, one in enumerate(arrays)]
    if not any(found) or _has(subject, "clip"):
        return None
    front = [
        _clipping(subject, array, index, columns) if columns else None
        for index, (array, columns) in enumerate(zip(arrays, found, strict=True))
    ]
    count = sum(map(len, found))
    marked = subject.policy.remedies.mark_missing
    meant = "clipped just outside of the other values" if marked else "taken as the mean of the other values"
    words = (
        f'{counted(count, "column")} with values that mean "missing"',
        f"these {meant}; columns standardised",
    )
    return operated(subject, ("data",), words, {}, front=front)


def _clipping(subject: Subject, array: np.ndarray, index: int, columns: Mapping[int, float]) -> keras.Model:
    """A model that scales columns so that sentinels fall outside of 0 to 1, clips, standardises and fills."""
    own = without_sentinels(array)
    finite = np.where(np.isfinite(own), own, np.nan)
    low, high = np.nanmin(finite, axis=0), np.nanmax(finite, axis=0)
    span = np.where(high > low, high - low, 1.0)
    below, whole = low - _MARGIN * span, (1 + 2 * _MARGIN) * span
    scaled = (finite - below) / whole
    mean, deviation = np.nanmean(scaled, axis=0), np.nanstd(scaled, axis=0)
    variance = np.square(np.where(deviation > 0, deviation, 1.0))
    options: dict[str, Any] = {"axis": -1, "dtype": "float32"}
    given = keras.Input(array.shape[1:])
    clipped = keras.layers.Normalization(mean=below, variance=np.square(whole), **options)(given)
    clipped = keras.layers.ReLU(max_value=1.0, dtype="float32")(clipped)
    made = keras.layers.Normalization(mean=mean, variance=variance, **options)(clipped)
    if not subject.policy.remedies.mark_missing:
        parts = [made]
        for above in (False, True):
            sides = {one for one, value in columns.items() if (value > high[one]) == above}
            if sides:
                steep = [(1 + 2 * _MARGIN) / _MARGIN * (one in sides) for one in range(array.shape[1])]
                # 0 at the end where the sentinels of these columns are, 1 at their other values.
                scale, offset = (-1, 1) if above else (1, 0)
                # Keras says float and takes one for each column.
                offsets: Any = [offset * one if one else 1.0 for one in steep]
                known = keras.layers.Rescaling([scale * one for one in steep], offsets, dtype="float32")
                parts.append(keras.layers.ReLU(max_value=1.0, dtype="float32")(known(clipped)))
        made = keras.layers.Multiply(dtype="float32")(parts)
    return keras.Model(given, made, name=fresh_name(subject.model, f"clip_{index}"))


def _is_looked_up(subject: Subject, index: int) -> bool:
    return any(isinstance(one.layer, LOOKUPS) for one in subject.layers if index in one.enters)


def _has(subject: Subject, name: str) -> bool:
    return any(layer.name.startswith(f"{name}_") for layer in subject.model.layers)


def refit_scaling(subject: Subject, finding: Finding) -> Subject | None:
    """Scaling layers at the inputs give way to one that fits the training rows."""
    chain = input_scalings(subject)
    arrays = [np.asarray(one) for one in jax.tree.leaves(subject.x)]
    if not chain or len(arrays) != len(subject.model.inputs) or _fits(subject, arrays):
        return None
    free = {id(layer) for layer in open_layers(subject.model)}
    if any(id(one.layer) not in free for one in chain):
        replaceable(subject, chain, every=True)
    scaled = {place for one in chain for place in one.enters}
    front = [_normalization(subject, array, i) if i in scaled else None for i, array in enumerate(arrays)]
    words = (
        ", then ".join(one.path for one in chain),
        "one layer that gives the training rows mean 0 and variance 1",
    )
    cuts: dict[Any, Cut] = {one.layer: lambda config: None for one in chain}
    where = tuple(dict.fromkeys(one.path for one in chain))
    return operated(subject, where, words, cuts, front=front, snippet=ADAPTED)


def input_scalings(subject: Subject) -> list[LayerFacts]:
    """The scaling layers that read an input, and those that read their outputs."""
    calls = subject.facts[0]
    chain, waiting = [], [one for one in calls if one.takes_input and isinstance(one.layer, SCALINGS)]
    while waiting:
        one = waiting.pop()
        chain.append(one)
        waiting += [calls[i] for i in one.consumers if isinstance(calls[i].layer, SCALINGS)]
    return chain


def _fits(subject: Subject, arrays: list[np.ndarray]) -> bool:
    """Whether the first layers are Normalization layers that fit the rows."""
    firsts = [one for one in subject.layers if one.takes_input and isinstance(one.layer, SCALINGS)]
    for one in firsts:
        for place in one.enters:
            made = np.asarray(one.layer(arrays[place][:2000].astype("float32")))
            if not (abs(float(made.mean())) < 0.5 and 0.3 < float(made.std()) < 2):
                return False
    return True


def _normalization(subject: Subject, array: np.ndarray, index: int) -> Any:
    axis: Any = -1 if array.ndim > 1 else None
    mean, variance = statistics(array, axis, subject.policy.remedies.least_feature_deviation)
    name = fresh_name(subject.model, f"refitted_{index}")
    return keras.layers.Normalization(axis=axis, mean=mean, variance=variance, dtype="float32", name=name)


def move_channels(subject: Subject, finding: Finding) -> Subject | None:
    """A layer in front moves the channels to where the convolutions expect them.

    The layers are rebuilt for the new shape; weights whose shape stays are kept.
    """
    if len(subject.model.inputs) != 1 or _has(subject, "channels"):
        return None
    array = np.asarray(jax.tree.leaves(subject.x)[0])
    first = next((one for one in subject.layers if one.takes_input), None)
    if array.ndim != 4 or first is None or not hasattr(first.layer, "data_format"):
        return None
    to_first = first.layer.data_format == "channels_first"
    order = (3, 1, 2) if to_first else (2, 3, 1)
    if array.shape[3 if to_first else 1] > 4:
        return None
    name = fresh_name(subject.model, "channels_moved")
    words = (
        f"images of shape {array.shape[1:]}",
        f"moved to {tuple(array.shape[i] for i in order)} by a layer in the model",
    )
    cuts = {one: rebuilt(type(one)) for one in open_layers(subject.model) if one.weights}
    return operated(subject, ("data",), words, cuts, front=[keras.layers.Permute(order, name=name)])


def stretch_output(subject: Subject, finding: Finding) -> Subject | None:
    """A layer after a bounded output stretches it to the range of the targets, which stay as they are.

    For distances as losses; the loss is weighted so that its gradient is that of targets in the old range.
    """
    outputs = subject.facts[1]
    if len(outputs) != 1:
        return None
    (output,) = outputs
    facts, bounds = target_facts(output.targets), _RANGES.get(output.activation or "")
    name = None if output.loss is None else output.loss.name
    if facts is None or bounds is None or name not in SQUARES or facts.high == facts.low:
        return None
    if facts.low >= bounds[0] and facts.high <= bounds[1]:
        return None
    factor = (facts.high - facts.low) / (bounds[1] - bounds[0])
    offset = facts.low - factor * bounds[0]
    last = subject.model.layers[-1]
    named = fresh_name(subject.model, "output_range")
    cuts: dict[Any, Cut] = {last: lambda config: [config, keras.layers.Rescaling(factor, offset, name=named)]}
    weight = 1 / factor**2 if name == "mean_squared_error" else 1 / factor
    before = f"{output.activation} for targets from {facts.low:g} to {facts.high:g}"
    after = f"its range stretched to that of the targets, by a layer in the model; {why_weighted(weight)}"
    return operated(subject, (output.where, "targets"), (before, after), cuts, loss_weights=[weight])


def rescale_targets(subject: Subject, finding: Finding) -> Subject | None:
    """Targets of two values, such as 0 and 255, become 0 and 1; the model then predicts shares.

    None for other targets, which keep their units.
    """
    outputs = subject.facts[1]
    if len(outputs) != 1 or outputs[0].targets is None:
        return None
    (output,) = outputs
    targets = np.asarray(output.targets)
    name = None if output.loss is None else output.loss.name
    values = np.unique(targets)
    if name not in BINARY or len(values) != 2 or (values[0], values[1]) == (0, 1):
        return None
    noun = "masks" if targets.ndim > 2 else "targets"
    words = f"{noun} of {values[0]:g} and {values[1]:g}", f"{noun} of 0 and 1"
    snippet = f"y_train = (y_train == {values[1]:g}).astype('float32')"
    return with_targets(subject, words, lambda one: (one == values[1]).astype("float32"), snippet)


def rescale_each_output(subject: Subject, finding: Finding) -> Subject | None:
    """Each output of amounts far from 0 and 1 gets a layer that scales it to its targets, and a loss weight.

    The network before it learns numbers of mean 0 and deviation 1; the model predicts in the targets' units.
    """
    outputs, model = subject.facts[1], subject.model
    if len(outputs) < 2 or isinstance(model, keras.Sequential):
        return None
    weights = loss_weights(model, len(outputs))
    cuts: dict[Any, Cut] = {}
    words = []
    for place, output in enumerate(outputs):
        head = next((one for one in subject.layers if one.path == output.where), None)
        moments = _moments(output)
        end = None if head is None else _end_of(subject, head)
        if end is None or moments is None or output.activation != "linear":
            continue
        replaceable(subject, [end])
        mean, deviation = moments
        cuts[end.layer] = scaled_back(mean, deviation**2, fresh_name(model, f"target_scale_{place}"))
        squared = output.loss is not None and output.loss.name == "mean_squared_error"
        weights[place] /= deviation**2 if squared else deviation
        words.append(f"{output.where}: mean {mean:.3g}, deviation {deviation:.3g}")
    if not cuts:
        return None
    before = "; ".join(words)
    after = "outputs scaled to their targets by layers in the model, and losses weighted alike"
    return operated(
        subject,
        ("targets", *(layer.name for layer in cuts)),
        (before, after),
        cuts,
        loss_weights=like_losses(model, weights),
    )


def _end_of(subject: Subject, head: LayerFacts) -> LayerFacts | None:
    """The last of the layers after an output's kernel that only name or shape it; None if others follow."""
    chain = [head, *following(subject.facts[0], head)]
    shaping = (keras.layers.Identity, keras.layers.Reshape, keras.layers.Flatten)
    shaped = all(isinstance(one.layer, shaping) for one in chain[1:])
    return chain[-1] if shaped and not chain[-1].consumers else None


def _moments(output: OutputFacts) -> tuple[float, float] | None:
    """Mean and deviation of amounts that are far from 0 and 1; None for others."""
    facts, name = target_facts(output.targets), None if output.loss is None else output.loss.name
    if facts is None or output.targets is None or facts.classes or facts.shares or name not in SQUARES:
        return None
    values = np.asarray(output.targets, dtype=np.float64)
    mean, deviation = float(values.mean()), float(values.std())
    return (mean, deviation) if deviation > 0 and max(abs(mean), deviation) > 3 else None


REMEDIES = remedies(
    clip_sentinels,
    refit_scaling,
    move_channels,
    stretch_output,
    rescale_each_output,
    needs_surgery=True,
) | remedies(rescale_targets)
