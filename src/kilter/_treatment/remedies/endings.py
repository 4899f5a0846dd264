"""Remedies for how outputs end: the first activation removed, softmax over the classes, ``from_logits``."""

from typing import Any

import jax
import keras
import numpy as np

from kilter._diagnosis.checks.endings import are_probabilities, last_two
from kilter._diagnosis.checks.output import BINARY
from kilter._engine.arrays import pick
from kilter._engine.inference import predict_unchanged
from kilter._models.copying import fresh_name
from kilter._models.editing import Cut, open_layers
from kilter._models.layers import WEIGHTED
from kilter._records import Finding
from kilter._treatment.remedies.base import changed, operated, remedies, replaceable
from kilter._treatment.subject import Subject

_ROWS = 64


def remove_first_activation(subject: Subject, finding: Finding) -> Subject | None:
    """The activation before the output's softmax or sigmoid is left out."""
    cuts: dict[Any, Cut] = {}
    names, paths = [], []
    for output in subject.facts[1]:
        last, first = last_two(subject.facts[0], output)
        if first is None:
            continue
        replaceable(subject, [first])
        weighted = isinstance(first.layer, WEIGHTED)
        cuts[first.layer] = (
            (lambda config: {**config, "activation": "linear"}) if weighted else lambda _: None
        )
        names.append(f"{first.activation}, then {last}")
        paths.append(first.path)
    if not cuts:
        return None
    return operated(subject, tuple(paths), ("; ".join(names), "only the last activation"), cuts)


def softmax_last_axis(subject: Subject, finding: Finding) -> Subject | None:
    """An output's Softmax layer runs over the last axis, the classes; None for a function's axis."""
    # Before the last weights, a softmax such as one over the steps of a series may run over another axis.
    last = max((place for place, one in enumerate(subject.layers) if one.is_weighted), default=-1)
    wrong = [
        one
        for one in subject.layers[last + 1 :]
        if isinstance(one.layer, keras.layers.Softmax) and one.layer.axis not in (-1, len(one.shape) - 1)
    ]
    if not wrong:
        return None
    free = replaceable(subject, wrong)
    axes: list[Any] = [getattr(one.layer, "axis", None) for one in free]
    words = f"softmax over axis {', '.join(map(str, axes))}", "softmax over the last axis"
    cuts: dict[Any, Cut] = {one.layer: lambda config: {**config, "axis": -1} for one in free}
    return operated(subject, tuple(one.path for one in free), words, cuts)


def fix_from_logits(subject: Subject, finding: Finding) -> Subject | None:
    """``from_logits`` that fits what a single output of unknown activation gives for the first rows.

    None for a known activation, which the remedy repair-output treats.
    """
    outputs = subject.facts[1]
    if len(outputs) != 1 or outputs[0].activation is not None or outputs[0].loss is None:
        return None
    loss = outputs[0].loss
    kinds = {
        "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
        "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
        "binary_crossentropy": keras.losses.BinaryCrossentropy,
    }
    if loss.name not in kinds:
        return None
    given: Any = predict_unchanged(subject.model, pick(subject.x, slice(_ROWS)), batch_size=_ROWS)
    values = np.asarray(jax.tree.leaves(given)[0])
    kind, wanted = kinds[loss.name], not are_probabilities(values, categorical=loss.name not in BINARY)
    if wanted == loss.from_logits or not np.isfinite(values).all():
        return None
    kept = {key: value for key, value in loss.options.items() if key in ("label_smoothing", "ignore_class")}
    words = f"from_logits={loss.from_logits}", f"from_logits={wanted}"
    return changed(subject, ("loss",), words, compiled={"loss": kind(from_logits=wanted, **kept)})


def shift_logits(subject: Subject, finding: Finding) -> Subject | None:
    """A dense layer between a value that is never negative and the sigmoid layer that it goes into."""
    ends = [one for one in open_layers(subject.model) if is_sigmoid(one)]
    last = subject.model.layers[-1]
    if "shift-logits" in subject.remedies or last not in ends or len(last.output.shape) != 2:
        return None
    words = "a sigmoid of a value that is never negative", "a learnt factor and offset before the sigmoid"
    dense = {"units": int(last.output.shape[-1]), "name": fresh_name(subject.model, "logits")}
    return operated(
        subject, (last.name,), words, {last: lambda config: [keras.layers.Dense(**dense), config]}
    )


def is_sigmoid(layer: Any) -> bool:
    """Whether a layer is nothing but a sigmoid."""
    kind = isinstance(layer, keras.layers.Activation)
    return kind and layer.activation is keras.activations.sigmoid


REMEDIES = remedies(remove_first_activation, softmax_last_axis, shift_logits, needs_surgery=True) | remedies(
    fix_from_logits
)
