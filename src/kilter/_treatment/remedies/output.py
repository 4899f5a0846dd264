"""Remedies for outputs that do not fit their targets: activation, units, loss, metrics and scale."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import keras
import numpy as np

from kilter._diagnosis.checks.output import (
    BINARY,
    CATEGORICAL,
    LOGARITHMIC,
    SPARSE,
    SQUARES,
    complaints,
    unfit_loss,
)
from kilter._diagnosis.targets import TargetFacts, ordered_classes, target_facts
from kilter._models.copying import fresh_name
from kilter._models.editing import Cut, can_be_cut, cut
from kilter._models.layers import (
    LayerFacts,
    OutputFacts,
    following,
    given_losses,
    like_losses,
    loss_weights,
    own_activation,
)
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
_NEAR: Final = 3.0  # a network reaches means and deviations of so much quickly
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
    distance, and no accuracy is compiled. With a cross-entropy they are classes even with gaps; class numbers
    from ``most_classes`` on are taken for identifiers. -1 and 1 are two classes for a hinge loss. None for
    custom losses.
    """
    targets = target_facts(output.targets)
    if targets is None or output.targets is None or output.targets.ndim > 2 or len(output.shape) != 2:
        return None
    loss = None if output.loss is None else output.loss.name
    if output.loss is None or loss not in _KNOWN or output.loss.options.get("ignore_class") is not None:
        return None
    distances = SQUARES if unfit_loss(loss, output.targets) else _DISTANCES
    if loss == "poisson" and loss in distances and not targets.one_hot and targets.classes != 2:
        fitting = ("poisson",)
        return Wanted("exponential", loss, targets.width, fitting, (("softplus", fitting),), of_classes=False)
    if targets.width > 1:
        return _of_rows(targets, distances)
    if (targets.low, targets.high) == (-1, 1) and targets.whole and loss not in _DISTANCES:
        return Wanted("tanh", "hinge", 1, _HINGES, (("linear", _HINGES),))
    alone = output.units == 1 and not ordered_classes(output)
    amounts = targets.classes > 2 and alone and loss in _DISTANCES
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
    numbers: no activation and the mean squared error; counts under a Poisson loss: exponential. An output
    without an activation stays if its loss takes logits. A last layer of another width is new, with weights
    drawn for its activation. What fits already stays, weights included.
    """
    outputs, model = subject.facts[1], subject.model
    if not model.compiled:
        return None
    most = subject.policy.remedies.most_classes
    losses, misfits = given_losses(model, len(outputs)), []
    several, weights = len(outputs) > 1, loss_weights(model, len(outputs))
    heads: dict[Any, Cut] = {}
    for place, output in enumerate(outputs):
        wanted = wanted_output(output, most)
        # Of several outputs those that cannot learn: the others may be meant so.
        wrong = not several or any(level == "severe" for level, _ in complaints(output))
        if wanted is None or wanted.is_met(output) or not (wrong or output.where in finding.where):
            continue
        if not wanted.keeps_model(output):
            cuts = _head_cuts(subject, output, wanted)
            if cuts is None:
                continue
            heads |= cuts
        kept = output.loss is not None and wanted.keeps_loss(output)
        losses[place] = losses[place] if kept else wanted.loss
        found = _statistics(output)
        if several and wanted.activation == "linear" and found is not None:  # or it drowns the others
            squared = (output.loss.name if output.loss and kept else wanted.loss) == "mean_squared_error"
            weights[place] /= float(np.mean(found[1])) ** (1.0 if squared else 0.5)
        misfits.append((output, wanted))
    if not misfits:
        return None
    made = _with_heads(subject, heads, misfits) if heads else None
    renewed = any(not one.keeps_loss(output) for output, one in misfits)
    compiled: dict[str, Any] = {"loss": like_losses(model, losses)} if renewed else {}
    (output, wanted), given = misfits[0], model._compile_config.config  # type: ignore[attr-defined]
    # The metrics of several outputs stay: most fit, and others only report.
    same = output.units == wanted.units and output.loss is not None and output.loss.name in wanted.losses
    if several:
        compiled["loss_weights"] = like_losses(model, weights)
    elif not same:
        compiled["metrics"] = _metrics(given["metrics"], wanted)
    before, after = zip(*(_words(*one) for one in misfits), strict=True)
    where = (*(one.where for one, _ in misfits), "loss")
    return changed(subject, where, ("; ".join(before), "; ".join(after)), model=made, compiled=compiled)


def _words(output: OutputFacts, wanted: Wanted) -> tuple[str, str]:
    """The output before and after."""
    name = output.loss.name if output.loss else None
    logits = " from logits" if output.loss and output.loss.from_logits else ""
    activation = output.activation or "a custom activation"
    after = name if wanted.keeps_loss(output) else wanted.loss
    before = f"{output.units} × {activation}, {name or 'a custom loss'}{logits}"
    return before, f"{wanted.units} × {wanted.activation}, {after}"


def _head_cuts(subject: Subject, output: OutputFacts, wanted: Wanted) -> dict[Any, Cut] | None:
    """The cuts for the wanted last activation and width; None if the model cannot be cut there."""
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
    return cuts


def _with_heads(
    subject: Subject, cuts: dict[Any, Cut], misfits: Sequence[tuple[OutputFacts, Wanted]]
) -> keras.Model:
    """An uncompiled copy with these cuts; heads of another width are drawn for their activation."""
    copied, layers = cut(subject.model, cuts), {one.path: one.layer for one in subject.layers}
    for output, wanted in misfits:
        if output.units != wanted.units:
            made = copied.twin(layers[output.where])
            reinitialize(made, paired_initializer(wanted.activation), subject.seed * 10_007)
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
    """A layer at the end of each output that multiplies by its targets' deviation and adds their mean.

    The network before it learns numbers of mean 0 and deviation 1, and the model still predicts in the
    targets' units. The loss is weighted by 1 / variance (1 / deviation if it is not squared), so that its
    gradient is that of scaled targets and usual learning rates fit. Of several outputs only amounts far from
    0 and 1 are scaled. None for outputs with an activation, and if no target is finite.
    """
    outputs, model = subject.facts[1], subject.model
    several, given = len(outputs) > 1, loss_weights(model, len(outputs))
    cuts: dict[Any, Cut] = {}
    weights, words, where = list(given), [], []
    for place, output in enumerate(outputs):
        head = next((one for one in subject.layers if one.path == output.where), None)
        tail = None if head is None else _tail_of(subject, head)
        found = _statistics(output)
        if head is None or tail is None or found is None or output.loss is None:
            continue
        mean, variance, axis = found
        whole = float(np.mean(variance))
        scaled = any(isinstance(one.layer, keras.layers.Normalization) for one in tail)
        near = several and not (_are_amounts(output) and max(abs(float(np.mean(mean))), whole**0.5) > _NEAR)
        if scaled or near or output.activation != "linear":
            continue
        last = replaceable(subject, tail[-1:] or [head])[0].layer
        name = fresh_name(model, f"target_scale_{place}" if several else "target_scale")
        cuts[last] = scaled_back(mean, variance, name, axis)
        weights[place] /= whole if output.loss.name == "mean_squared_error" else whole**0.5
        named = output.where if several else "targets"
        words.append(f"{named} with mean {np.mean(mean):.3g}, deviation {whole**0.5:.3g}")
        where.append(output.where)
    if not cuts:
        return None
    scaled = zip(given, weights, strict=True)
    why = "; ".join(why_weighted(new) for old, new in scaled if new != old)
    after = f"outputs scaled to the targets' mean and deviation by a layer in the model; {why}"
    compiled = {"loss_weights": like_losses(model, weights) if several else weights}
    return operated(subject, (*where, "targets"), ("; ".join(words), after), cuts, compiled=compiled)


def _are_amounts(output: OutputFacts) -> bool:
    """Whether numbers are learnt, and not classes or shares, by a distance."""
    facts, name = target_facts(output.targets), None if output.loss is None else output.loss.name
    return facts is not None and not facts.classes and not facts.shares and name in SQUARES


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
