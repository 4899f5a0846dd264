"""The output that fits the targets: activation, loss and number of units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kilter._diagnosis.checks.output import BINARY, CATEGORICAL, LOGARITHMIC, SPARSE, SQUARES
from kilter._diagnosis.targets import TargetFacts, target_facts
from kilter._models.layers import OutputFacts
from kilter._treatment.policy import RemedyPolicy

_DISTANCES: Final = (*SQUARES, *LOGARITHMIC)
_HINGES: Final = ("hinge", "squared_hinge")
_KNOWN: Final = (*SPARSE, *CATEGORICAL, *BINARY, *_DISTANCES, *_HINGES)


@dataclass(frozen=True)
class Wanted:
    """The output that fits the targets.

    Attributes:
        activation, loss: by Keras's names; units: of the last layer.
        losses: all losses that fit this activation, ``loss`` among them.
        also: other pairs of an activation and losses that fit.
        of_classes: whether accuracy is meaningful.
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
    if targets.width > 1:
        return _of_rows(targets)
    if (targets.low, targets.high) == (-1, 1) and targets.whole and loss not in _DISTANCES:
        return Wanted("tanh", "hinge", 1, _HINGES, (("linear", _HINGES),))
    amounts = targets.classes > 2 and output.units == 1 and loss in _DISTANCES
    numbered = targets.whole and targets.low >= 0 and loss in (*SPARSE, *CATEGORICAL, *BINARY)
    if (targets.classes and not amounts) or numbered:
        return _of_classes(int(targets.high) + 1, output, most_classes)
    return _of_numbers(targets)


def _of_classes(classes: int, output: OutputFacts, most: int) -> Wanted | None:
    if classes <= 2 and output.units == 1:
        return Wanted("sigmoid", "binary_crossentropy", 1, BINARY)
    units = max(classes, output.units, 2)
    if units > most and units != output.units:
        return None
    return Wanted("softmax", "sparse_categorical_crossentropy", units, SPARSE)


def _of_rows(targets: TargetFacts) -> Wanted:
    if targets.shares:
        alone = (("sigmoid", BINARY),)
        return Wanted("softmax", "categorical_crossentropy", targets.width, CATEGORICAL, alone)
    if targets.whole and targets.low >= 0 and targets.high <= 1:
        return Wanted("sigmoid", "binary_crossentropy", targets.width, BINARY)
    return _of_numbers(targets)


def _of_numbers(targets: TargetFacts) -> Wanted:
    also: list[tuple[str, tuple[str, ...]]] = []
    if targets.low >= 0:
        also += [("exponential", LOGARITHMIC), ("softplus", _DISTANCES)]
    if targets.low >= 0 and targets.high <= 1:
        also += [("sigmoid", (*BINARY, *SQUARES))]
    if targets.low >= -1 and targets.high <= 1:
        also += [("tanh", SQUARES)]
    return Wanted("linear", "mean_squared_error", targets.width, _DISTANCES, tuple(also), of_classes=False)
