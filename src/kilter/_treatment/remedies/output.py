"""Remedies for outputs that do not fit their targets: activation, units, loss, metrics and scale."""

from dataclasses import dataclass, replace
from typing import Any, Final

import keras
import numpy as np

from kilter._diagnosis.checks.output import BINARY, CATEGORICAL, LOGARITHMIC, SPARSE, SQUARES, unfit_loss
from kilter._diagnosis.targets import TargetFacts, target_facts
from kilter._models.copying import fresh_name
from kilter._models.editing import Cut, can_be_cut, cut
from kilter._models.layers import LayerFacts, OutputFacts, following, own_activation
from kilter._models.optimizers import compiled_like
from kilter._records import Finding
from kilter._treatment.policy import RemedyPolicy
from kilter._treatment.remedies.base import (
    changed,
    operated,
    remedies,
    replaceable,
    scaled_back,
    why_weighted,
)
from kilter._treatment.remedies.initialization import paired_initializer, reinitialize
from kilter._treatment.subject import Subject
from kilter.data.scaling import moments

_ERRORS: Final = ("mae", "mse", "mean_absolute_error", "mean_squared_error")
_DISTANCES: Final = (*SQUARES, *LOGARITHMIC)
_HINGES: Final = ("hinge", "squared_hinge")
_KNOWN: Final = (*SPARSE, *CATEGORICAL, *BINARY, *_DISTANCES, *_HINGES)


@dataclass(frozen=True)
class Wanted:
    """The output that fits the targets: activation, loss and units of the last layer.

    ``losses``: all that fit this activation. ``also``: other pairs of an activation and losses that fit.
    ``of_classes``: whether accuracy is meaningful.
    """

    activation: str
    loss: str
    units: int
    losses: tuple[str, ...]
    also: tuple[tuple[str, tuple[str, ...]], ...] = ()
    of_classes: bool = True

    def keeps_loss(self, output: OutputFacts) -> bool:
        """Whether the output's loss can stay."""
        loss = output.loss
        return loss is not None and loss.name in self.losses and not loss.from_logits

    def keeps_model(self, output: OutputFacts) -> bool:
        """Whether the last activation and the number of units can stay."""
        return output.activation == self.activation and output.units == self.units

    def is_met(self, output: OutputFacts) -> bool:
        """Whether the output fits, in this or another way, from logits included."""
        loss = output.loss
        if loss is None or output.units != self.units:
            return False
        pairs = ((self.activation, self.losses), *self.also)
        if loss.from_logits:
            return output.activation == "linear" and any(loss.name in losses for _, losses in pairs)
        return any(output.activation == one and loss.name in losses for one, losses in pairs)


def wanted_output(output: OutputFacts, most_classes: int = RemedyPolicy.most_classes) -> Wanted | None:
    """The output for its targets of shape [n], [n, 1] or [n, k]; None if it cannot be known.

    Whole numbers from 0 are classes, unless there are more than two and a single unit learns them by a
    distance. With a cross-entropy they are classes even with gaps; class numbers from ``most_classes`` on
    are taken for identifiers. -1 and 1 are two classes for a hinge loss. None for custom losses.
    """
    targets = target_facts(output.targets)
    if targets is None or output.targets is None or output.targets.ndim > 2 or len(output.shape) != 2:
        return None
    loss = None if output.loss is None else output.loss.name
    if output.loss is None or loss not in _KNOWN or output.loss.options.get("ignore_class") is not None:
        return None
    distances = SQUARES if unfit_loss(loss, output.targets) else _DISTANCES
    if targets.width > 1:
        return _of_rows(targets, distances)
    if (targets.low, targets.high) == (-1, 1) and targets.whole and loss not in _DISTANCES:
        return Wanted("tanh", "hinge", 1, _HINGES, (("linear", _HINGES),))
    amounts = targets.classes > 2 and output.units == 1 and loss in _DISTANCES
    numbered = targets.whole and targets.low >= 0 and loss in (*SPARSE, *CATEGORICAL, *BINARY)
    if (targets.classes and not amounts) or numbered:
        return _of_classes(int(targets.high) + 1, output, most_classes)
    return _of_numbers(targets, distances)


def _of_classes(classes: int, output: OutputFacts, most: int) -> Wanted | None:
    if classes <= 2 and output.units == 1:
        return Wanted("sigmoid", "binary_crossentropy", 1, BINARY)
    units = max(classes, output.units, 2)
    if units > most and units != output.units:
        return None
    return Wanted("softmax", "sparse_categorical_crossentropy", units, SPARSE)


def _of_rows(targets: TargetFacts, distances: tuple[str, ...]) -> Wanted:
    if targets.shares:
        alone = (("sigmoid", BINARY),)
        return Wanted("softmax", "categorical_crossentropy", targets.width, CATEGORICAL, alone)
    if targets.whole and targets.low >= 0 and targets.high <= 1:
        return Wanted("sigmoid", "binary_crossentropy", targets.width, BINARY)
    return _of_numbers(targets, distances)


def _of_numbers(targets: TargetFacts, distances: tuple[str, ...]) -> Wanted:
    also: list[tuple[str, tuple[str, ...]]] = []
    if targets.low >= 0:
        also += [("exponential", LOGARITHMIC), ("softplus", distances)]
    if targets.low >= 0 and targets.high <= 1:
        also += [("sigmoid", (*BINARY, *SQUARES))]
    if targets.low >= -1 and targets.high <= 1:
        also += [("tanh", SQUARES)]
    return Wanted("linear", "mean_squared_error", targets.width, distances, tuple(also), of_classes=False)


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
    return changed(subject, (output.where, "loss"), _words(output, wanted, keeps_loss), model=model)


def _words(output: OutputFacts, wanted: Wanted, keeps_loss: bool) -> tuple[str, str]:
    """The output before and after."""
    name = output.loss.name if output.loss else None
    logits = " from logits" if output.loss and output.loss.from_logits else ""
    activation = output.activation or "a custom activation"
    after = name if keeps_loss else wanted.loss
    before = f"{output.units} × {activation}, {name or 'a custom loss'}{logits}"
    return before, f"{wanted.units} × {wanted.activation}, {after}"


def _with_head(subject: Subject, output: OutputFacts, wanted: Wanted) -> keras.Model | None:
    """An uncompiled copy with the wanted last activation and width; None if it cannot be cut."""
    head = next((one for one in subject.layers if one.path == output.where), None)
    if head is None or not can_be_cut(subject.model):
        return None
    tail = _tail_of(subject, head)
    width = next((key for key in ("units", "filters") if hasattr(head.layer, key)), None)
    resized = output.units != wanted.units
    if tail is None or (resized and width is None):
        return None
    replaceable(subject, [head, *tail], every=True)
    activation = wanted.activation
    own: dict[str, Any] = {width: wanted.units} if resized and width else {}
    own["activation"] = "linear" if tail else activation
    cuts: dict[Any, Cut] = {
        one.layer: lambda config: None for one in tail if own_activation(one.layer) is not None
    }
    if tail:
        cuts[tail[-1].layer] = _ending(tail[-1].layer, activation)
    cuts[head.layer] = lambda config: {**config, **own}
    copied = cut(subject.model, cuts)
    if resized:
        reinitialize(copied.twin(head.layer), paired_initializer(activation), subject.seed * 10_007)
    return copied.model


def _ending(layer: Any, activation: str) -> Cut:
    """The last layer with an activation after it; an activation layer is replaced."""
    if own_activation(layer) is not None:
        return lambda config: [keras.layers.Activation(activation, name=config["name"])]
    return lambda config: [config, keras.layers.Activation(activation, name=f"{config['name']}_activation")]


def _tail_of(subject: Subject, head: LayerFacts) -> list[LayerFacts] | None:
    """The layers after the last one with weights; None if they are not a plain sequence."""
    tail = list(following(subject.facts[0], head))
    return None if [head, *tail][-1].consumers else tail


def _metrics(given: Any, wanted: Wanted) -> Any:
    """The metrics for the wanted output: accuracy for classes, error metrics for numbers."""
    listed = keras.tree.flatten(given) if given is not None else []
    others = [metric for metric in listed if metric in _ERRORS]
    return ["accuracy"] if wanted.of_classes else others or None


def rescale_outputs(subject: Subject, finding: Finding) -> Subject | None:
    """A layer at the end that multiplies by the targets' deviation and adds their mean.

    The network before it learns numbers of mean 0 and deviation 1, and the model still predicts in the
    targets' units. The loss is weighted by 1 / variance (1 / deviation if it is not squared), so that its
    gradient is that of scaled targets and usual learning rates fit. None for several outputs, for an output
    with an activation, and if no target is finite.
    """
    outputs = subject.facts[1]
    if len(outputs) != 1 or outputs[0].activation != "linear":
        return None
    (output,) = outputs
    head = next((one for one in subject.layers if one.path == output.where), None)
    tail = None if head is None else _tail_of(subject, head)
    found = _statistics(output)
    if head is None or tail is None or found is None or output.loss is None:
        return None
    if any(isinstance(one.layer, keras.layers.Normalization) for one in tail):
        return None  # scaled already
    mean, variance, axis = found
    last = replaceable(subject, tail[-1:] or [head])[0].layer
    name = fresh_name(subject.model, "target_scale")
    cuts = {last: scaled_back(mean, variance, name, axis)}
    whole = float(np.mean(variance))
    weight = 1 / whole if output.loss.name == "mean_squared_error" else 1 / whole**0.5
    before = f"targets with mean {np.mean(mean):.3g}, deviation {whole**0.5:.3g}"
    after = (
        f"outputs scaled to the targets' mean and deviation by a layer in the model; {why_weighted(weight)}"
    )
    return operated(subject, (output.where, "targets"), (before, after), cuts, loss_weights=[weight])


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


# The loss is repaired in other models than graphs too.
_REPAIR: Final = replace(remedies(repair_output)["repair-output"], needs_surgery=True)
REMEDIES = {"repair-output": _REPAIR, **remedies(rescale_outputs, needs_surgery=True)}
