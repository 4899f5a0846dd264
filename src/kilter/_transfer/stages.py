"""The stages of fine-tuning: which layers each trains, for how long and at which rate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from kilter import schedules
from kilter._transfer.depth import (
    EVERY,
    HEAD,
    RULES,
    Train,
    can_train,
    chosen_layers,
    depths,
    head_of,
    many_rates,
    one_rate,
)
from kilter._validation import number, whole_number
from kilter.errors import OptionError
from kilter.schedules.registry import schedule_kind, schedules_for_stages

Optimizer = str | Callable[[float], keras.optimizers.Optimizer]


@dataclass(frozen=True)
class Stage:
    """A stage of fine-tuning, with a fresh optimiser.

    Attributes:
        epochs: at least 1.
        train: "head", the layers that are trainable when fine-tuning begins; "all"; the number of layers with
            weights from the top; or names of layers ("name", in a nested model "model/name", or the model's).
            All others are frozen, batch normalisations in inference mode.
        learning_rate: of the top layer.
        decay: divides the rate from each layer with weights to the next lower one; at least 1 (2.6 in Howard
            and Ruder 2018). Normalisations have the rate of the layer before them.
        optimizer: the name of a Keras optimiser, or a function learning rate -> optimiser; with a ``decay``
            above 1 one of ``sgd``, ``adam``, ``nadam``, ``adamw``, ``adamax``, ``rmsprop``, ``adagrad``,
            ``lion``.
        schedule: of the rate over the stage: "constant", "cosine" down to 0, "one_cycle" up and down, or
            any other schedule that spans a given number of epochs.
        patience: stop the stage after this many epochs without a lower validation loss, and restore its best
            weights; None for neither.

    Raises :class:`~kilter.errors.OptionError` for values out of range.
    """

    epochs: int
    train: Train = EVERY
    learning_rate: float = 1e-3
    decay: float = 1.0
    optimizer: Optimizer = "adam"
    schedule: str = "constant"
    patience: int | None = None

    def __post_init__(self) -> None:
        whole_number("epochs", self.epochs, 1)
        if self.patience is not None:
            whole_number("patience", self.patience, 1)
        rate = number("learning_rate", self.learning_rate, above=0)
        decay = number("decay", self.decay, 1)
        if self.schedule not in (known := schedules_for_stages()):
            _refuse(f"schedule as one of {', '.join(known)}", f"schedule={self.schedule!r}")
        if decay > 1 and self.optimizer not in RULES:
            _refuse(f"with a decay above 1 one of {', '.join(RULES)}", f"optimizer={self.optimizer!r}")
        if isinstance(self.optimizer, str):
            one_rate(self.optimizer, rate)
        elif not callable(self.optimizer):
            _refuse("optimizer as a name or a function of the rate", f"optimizer={self.optimizer!r}")

    @staticmethod
    def gradual(
        layers: int,
        *,
        epochs: int = 1,
        learning_rate: float = 1e-3,
        decay: float = 2.6,
        optimizer: Optimizer = "adam",
    ) -> "list[Stage]":
        """Gradual unfreezing (Howard and Ruder 2018): the top layer, then the top two, up to ``layers``.

        ``epochs``: of each stage.

        Example:
            >>> [stage.train for stage in Stage.gradual(3)]
            [1, 2, 3]
        """
        counts = range(1, whole_number("layers", layers, 1) + 1)
        return [Stage(epochs, count, learning_rate, decay, optimizer) for count in counts]


def default_stages(*, validated: bool) -> list[Stage]:
    """Only the head for 5 epochs, then all layers for 20 at a tenth of the rate.

    With validation data the second stage ends after 5 epochs without a lower loss.
    """
    return [Stage(5, HEAD), Stage(20, EVERY, learning_rate=1e-4, patience=5 if validated else None)]


@dataclass(frozen=True, eq=False)
class Phase:
    """A stage of one model: epochs ``begin`` to ``end``, and the layers it trains.

    ``depths``: the depth of each variable by its path.
    """

    stage: Stage
    number: int
    begin: int
    trained: tuple[Any, ...]
    depths: dict[str, int] = field(repr=False)

    @property
    def end(self) -> int:
        """The epoch to stop before."""
        return self.begin + self.stage.epochs

    def optimizer(self, model: keras.Model) -> keras.optimizers.Optimizer:
        """A fresh optimiser for the trainable variables of ``model``."""
        stage = self.stage
        if not isinstance(stage.optimizer, str):
            return stage.optimizer(stage.learning_rate)
        if stage.decay == 1:
            return one_rate(stage.optimizer, stage.learning_rate)
        variables = model.trainable_variables
        return many_rates(stage.optimizer, stage.learning_rate, stage.decay, self.depths, variables)

    def schedule(self, batches: int) -> schedules.Schedule | None:
        """The stage's learning rates for epochs of `batches` batches; None for a constant rate."""
        kind = schedule_kind(self.stage.schedule)
        # Only the rate is scheduled: momenta differ between optimisers.
        settings = {"momentum": None} if kind.cycles_momentum else {}
        return kind.make(self.stage.learning_rate, self.stage.epochs, batches, **settings)


def phases_of(
    model: keras.Model, stages: Sequence[Stage], *, freeze_batch_norm: bool = False, validated: bool = True
) -> tuple[Phase, ...]:
    """The ``stages`` for ``model``. Its head is the layers that are trainable now.

    ``freeze_batch_norm``: no stage trains batch normalisations outside the head.
    """
    if not isinstance(stages, Sequence) or not stages or not all(isinstance(one, Stage) for one in stages):
        _refuse("stages as a list of kilter.Stage", f"stages={stages!r}")
    head, below = head_of(model), depths(model)
    own = {id(layer) for layer in head}
    phases: list[Phase] = []
    for index, stage in enumerate(stages):
        layers = [
            layer
            for layer in chosen_layers(model, stage.train, head)
            if id(layer) in own
            or not (freeze_batch_norm and isinstance(layer, keras.layers.BatchNormalization))
        ]
        if not any(map(can_train, layers)):
            raise OptionError(
                expected=f"something to train in stage {index + 1} of {len(stages)}",
                received=f"train={stage.train!r}, where every layer is frozen or has no weights",
                remedy='give the model a head with weights, or let the stage train="all"',
            )
        if stage.patience is not None and not validated:
            _refuse("validation data for a stage with patience", f"patience={stage.patience} and none")
        begin = phases[-1].end if phases else 0
        phases.append(Phase(stage, index, begin, tuple(layers), below))
    return tuple(phases)


def _refuse(expected: str, received: str) -> None:
    raise OptionError(expected=expected, received=received, remedy="see kilter.Stage and kilter.fine_tune")
