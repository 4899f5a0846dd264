"""The remedy for an output that does not fit its targets: last activation, units, loss and metrics."""

from __future__ import annotations

from typing import Any, Final

import keras

from kilter._models.editing import Cut, can_be_cut, cut
from kilter._models.layers import LayerFacts, OutputFacts, own_activation
from kilter._records import Change, Finding
from kilter._treatment.remedies.base import replaceable
from kilter._treatment.remedies.initialization import paired_initializer, reinitialize
from kilter._treatment.remedies.targets import Wanted, wanted_output
from kilter._treatment.subject import Subject, compiled_like

_ERRORS: Final = ("mae", "mse", "mean_absolute_error", "mean_squared_error")


def repair_output(subject: Subject, finding: Finding) -> Subject | None:
    """The last activation, the units and the loss that fit the targets; None if they do, or are unknown.

    Class numbers: softmax and the sparse cross-entropy, or for two classes and one unit sigmoid and binary
    cross-entropy; one-hot rows: softmax and categorical cross-entropy; several labels a row: sigmoid;
    numbers: no activation and the mean squared error. An output without an activation stays if its loss takes
    logits. A last layer of another width is new, with weights drawn for its activation. What fits already
    stays, weights included.
    """
    outputs = subject.facts[1]
    if len(outputs) != 1 or not subject.model.compiled:
        return None
    (output,) = outputs
    wanted = wanted_output(output, subject.policy.remedies.most_classes)
    if wanted is None or wanted.is_met(output):
        return None
    keeps_loss, keeps_model = wanted.keeps_loss(output), wanted.keeps_model(output)
    model = None if keeps_model else _with_head(subject, output, wanted)
    if model is None and not keeps_model:
        return None
    given: Any = subject.model._compile_config.config  # type: ignore[attr-defined]
    loss = given["loss"] if keeps_loss else wanted.loss
    same = output.units == wanted.units and output.loss is not None and output.loss.name in wanted.losses
    metrics = given["metrics"] if same else _metrics(given["metrics"], wanted)
    model = subject.copy() if model is None else model
    model = compiled_like(subject.model, model, loss=loss, metrics=metrics)
    return subject.changed(_change(output, wanted, keeps_loss), model=model)


def _change(output: OutputFacts, wanted: Wanted, keeps_loss: bool) -> Change:
    name = output.loss.name if output.loss else None
    logits = " from logits" if output.loss and output.loss.from_logits else ""
    activation = output.activation or "a custom activation"
    after = name if keeps_loss else wanted.loss
    return Change(
        remedy="repair-output",
        where=(output.where, "loss"),
        before=f"{output.units} × {activation}, {name or 'a custom loss'}{logits}",
        after=f"{wanted.units} × {wanted.activation}, {after}",
        snippet=f"keras.layers.Dense({wanted.units}, activation={wanted.activation!r})  # the last layer\n"
        f"model.compile(optimizer, loss={after!r})",
    )


def _with_head(subject: Subject, output: OutputFacts, wanted: Wanted) -> keras.Model | None:
    """An uncompiled copy with the wanted last activation and width; None if it cannot be cut."""
    head = next((one for one in subject.layers if one.path == output.where), None)
    if head is None or not can_be_cut(subject.model):
        return None
    tail = tail_of(subject, head)
    width = next((key for key in ("units", "filters") if hasattr(head.layer, key)), None)
    resized = output.units != wanted.units
    if tail is None or (resized and width is None):
        return None
    replaceable(subject, [head, *tail], every=True)
    own: dict[str, Any] = {width: wanted.units} if resized and width else {}
    cuts: dict[Any, Cut] = {}
    last = tail[-1] if tail else head
    activation = wanted.activation
    for one in tail:
        if own_activation(one.layer) is not None:
            cuts[one.layer] = _left_out
    if last is head:
        own["activation"] = activation
    else:
        own["activation"] = "linear"
        cuts[last.layer] = _ending(last.layer, activation)
    cuts[head.layer] = lambda config: {**config, **own}
    copied = cut(subject.model, cuts)
    if resized:
        reinitialize(copied.twin(head.layer), paired_initializer(activation), subject.seed * 10_007)
    return copied.model


def _left_out(config: dict[str, Any]) -> None:
    return None


def _ending(layer: Any, activation: str) -> Cut:
    """The last layer with an activation after it; an activation layer is replaced."""
    if own_activation(layer) is not None:
        return lambda config: [keras.layers.Activation(activation, name=config["name"])]
    return lambda config: [
        config,
        keras.layers.Activation(activation, name=f"{config['name']}_activation"),
    ]


def tail_of(subject: Subject, head: LayerFacts) -> list[LayerFacts] | None:
    """The layers after the last one with weights; None if they are not a plain sequence."""
    calls, at = subject.facts[0], head
    tail: list[LayerFacts] = []
    while len(at.consumers) == 1:
        at = calls[at.consumers[0]]
        tail.append(at)
    return None if at.consumers else tail


def _metrics(given: Any, wanted: Wanted) -> Any:
    """The metrics for the wanted output: accuracy for classes, error metrics for numbers."""
    listed = keras.tree.flatten(given) if given is not None else []
    others = [metric for metric in listed if metric in _ERRORS]
    return ["accuracy"] if wanted.of_classes else others or None
