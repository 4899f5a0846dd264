"""Remedies with batch normalisation: inserted, repaired, and layers that conflict with it removed."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kilter._models.editing import Cut, cut
from kilter._models.layers import CONVOLUTIONS, NORMALIZATIONS, LayerFacts, own_activation
from kilter._models.variables import assign
from kilter._records import Change, Finding
from kilter._treatment.policy import RemedyPolicy
from kilter._treatment.remedies.base import (
    changed,
    chosen,
    hidden_layers,
    operated,
    paths,
    remedies,
    replaceable,
    updated,
)
from kilter._treatment.subject import Subject

_POLICY = RemedyPolicy()


def insert_batch_norm(subject: Subject, finding: Finding) -> Subject | None:
    """Batch normalisation before the activation of every hidden layer without one, instead of its bias.

    Shared layers stay. None if batches are too small.
    """
    small = subject.training.batch_size < subject.policy.remedies.least_norm_batch
    if small:
        return None
    shared = {id(one.layer) for one in subject.facts[0] if one.repeated}
    layers = [
        one
        for one in hidden_layers(subject)
        if not _reaches(subject, one, NORMALIZATIONS, past_weights=False)
        and id(one.layer) not in shared
        and hasattr(one.layer, "use_bias")
    ]
    if not layers:
        return None
    layers = replaceable(subject, layers)
    momentum = fitting_momentum(subject.steps_per_epoch, subject.policy.remedies)
    cuts: dict[Any, Cut] = {one.layer: _normalized(one, momentum) for one in layers}
    before = "no normalisation between layers"
    after = f"batch normalisation before each activation (momentum {momentum:g})"
    recipe = ("model.batch_norm=before", f"model.batch_norm_momentum={momentum:g}")
    treated = operated(subject, paths(layers), (before, after), cuts, recipe=recipe)
    return replace(treated, changes=(*subject.changes, in_whole_batches(subject, treated.changes[-1])))


def in_whole_batches(subject: Subject, change: Change) -> Change:
    """The change, with the rows to train on if the last batch is too small for a mean and variance."""
    rest = subject.rows % subject.training.batch_size
    if not 0 < rest < subject.policy.remedies.least_norm_batch:
        return change
    whole = subject.rows - rest
    after = (
        f"{change.after}; train on x[:{whole}]: a last batch of {rest} rows is too small for its statistics"
    )
    rows = f"x_train, y_train = x_train[:{whole}], y_train[:{whole}]"
    return replace(change, after=after, snippet=f"{change.snippet}\n{rows}")


def fitting_momentum(steps: int, policy: RemedyPolicy = _POLICY) -> float:
    """The largest usual momentum with moving averages that adapt within half an epoch of ``steps`` steps.

    Within two epochs if these are short. Averages that lag cost most in short training runs.
    """
    fitting = (one for one, epochs in policy.momenta if one ** (epochs * steps) <= policy.average_left)
    return next(fitting, policy.momenta[-1][0])


def _normalized(one: LayerFacts, momentum: float) -> Cut:
    layer: Any = one.layer

    def make(config: dict[str, Any]) -> list[Any]:
        own = own_activation(layer)
        linear = {**config, "use_bias": False, "activation": "linear"}
        name, axis = config["name"], _channels(layer)
        norm = keras.layers.BatchNormalization(axis=axis, momentum=momentum, name=f"{name}_norm")
        if own == "linear":
            return [linear, norm]
        return [linear, norm, keras.layers.Activation(layer.activation, name=f"{name}_activation")]

    return make


def _channels(layer: Any) -> int:
    return 1 if getattr(layer, "data_format", "channels_last") == "channels_first" else -1


def _reaches(subject: Subject, one: LayerFacts, kinds: tuple[type, ...], *, past_weights: bool) -> bool:
    """Whether a layer of these kinds comes after: before the next one with weights, or ``past_weights``."""
    calls, waiting, seen = subject.facts[0], list(one.consumers), set()
    while waiting:
        call = calls[waiting.pop()]
        if isinstance(call.layer, kinds):
            return True
        if call.index not in seen and (past_weights or not call.is_weighted):
            seen.add(call.index)
            waiting.extend(call.consumers)
    return False


def remove_redundant_bias(subject: Subject, finding: Finding) -> Subject | None:
    """Remove the bias of layers (those named, or all) with an output that goes only into batch normalisation.

    The bias is subtracted from the moving mean, so that the model computes the same.
    """
    calls = subject.facts[0]
    pairs = {
        one: after
        for one in chosen(finding, (one for one in subject.layers if one.is_weighted))
        if one.use_bias and len(one.consumers) == 1 and own_activation(one.layer) == "linear"
        for after in [calls[one.consumers[0]]]
        if type(after.layer) is keras.layers.BatchNormalization
    }
    if not pairs:
        return None
    pairs = {one: pairs[one] for one in replaceable(subject, pairs)}
    words = "a bias that the batch normalisation subtracts again", "no bias"
    copied = cut(subject.model, {one.layer: lambda config: {**config, "use_bias": False} for one in pairs})
    for one, after in pairs.items():
        mean, layer = copied.twin(after.layer).moving_mean, one.layer
        assign([(mean, np.asarray(mean) - np.asarray(layer.bias))])  # type: ignore[attr-defined]
    return changed(subject, paths(pairs), words, model=copied.model)


def repair_batch_norm(subject: Subject, finding: Finding) -> Subject | None:
    """Batch normalisation over the feature or channel axis, with a momentum that fits the steps."""
    momentum = fitting_momentum(subject.steps_per_epoch, subject.policy.remedies)
    norms = [one for one in subject.layers if type(one.layer) is keras.layers.BatchNormalization]
    wanted = {one: _right(subject, one, momentum) for one in chosen(finding, norms)}
    wrong = {one: config for one, config in wanted.items() if config}
    if not wrong:
        return None
    wrong = {one: wrong[one] for one in replaceable(subject, wrong)}
    first, config = next(iter(wrong.items()))
    before = ", ".join(f"{key} {getattr(first.layer, key)}" for key in config)
    after = ", ".join(f"{key} {value}" for key, value in config.items())
    return operated(
        subject,
        paths(wrong),
        (before, after),
        {one.layer: updated(changes) for one, changes in wrong.items()},
        recipe=(f"model.batch_norm_momentum={momentum:g}",) if "momentum" in config else (),
    )


def _right(subject: Subject, one: LayerFacts, momentum: float) -> dict[str, Any]:
    """The changes that a batch normalisation's configuration needs."""
    layer: Any = one.layer
    rank, changes = len(one.shape), {}
    calls = [call for call in subject.facts[0] if isinstance(call.layer, CONVOLUTIONS)]
    first = rank > 2 and any(_channels(call.layer) == 1 for call in calls)
    axis = 1 if first else rank - 1
    if layer.axis % rank != axis:
        changes["axis"] = 1 if first else -1
    if layer.momentum > momentum:
        changes["momentum"] = momentum
    return changes


def reorder_dropout(subject: Subject, finding: Finding) -> Subject | None:
    """Move dropout from before batch normalisation to before the last layer."""
    calls = subject.facts[0]
    drops = [one for one in subject.layers if isinstance(one.layer, keras.layers.Dropout)]
    norm = (keras.layers.BatchNormalization,)
    early = [one for one in chosen(finding, drops) if _reaches(subject, one, norm, past_weights=True)]
    outputs = [one for one in subject.layers if one.is_weighted and one.is_output]
    if not early or len(outputs) != 1:
        return None
    early, (last,) = replaceable(subject, early), outputs
    replaceable(subject, [last], every=True)
    rate = max(one.layer.rate for one in early)  # type: ignore[attr-defined]
    cuts: dict[Any, Cut] = {one.layer: lambda config: None for one in early}
    stays = any(
        isinstance(calls[i].layer, keras.layers.Dropout) and calls[i] not in early for i in last.sources
    )
    if not stays:
        cuts[last.layer] = lambda config: [
            keras.layers.Dropout(rate, seed=subject.seed, name=f"{config['name']}_dropout"),
            config,
        ]
    words = "dropout before batch normalisation", "dropout once, before the last layer"
    return operated(subject, paths(early), words, cuts)


REMEDIES = remedies(
    insert_batch_norm, repair_batch_norm, remove_redundant_bias, reorder_dropout, needs_surgery=True
)
