"""How a model is trained: one record that recipes are read into and that every trainer takes."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import keras

from kilter._engine.augmenting import Augment
from kilter._engine.scheduling import Schedule
from kilter.schedules import Performance


def listed(callbacks: Any) -> list[Any]:
    """Callbacks as a list: as in Keras, one callback and None are accepted too."""
    return list(callbacks or ()) if isinstance(callbacks, Sequence | None) else [callbacks]


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after ``patience`` epochs in which ``monitor`` did not improve by more than ``min_delta``.

    ``direction``: whether less ("min") or more ("max") of it is better.
    """

    monitor: str = "val_loss"
    direction: Literal["min", "max"] = "min"
    patience: int = 10
    min_delta: float = 0.0

    def callback(self) -> keras.callbacks.Callback:
        """A new Keras callback that stops so and restores the best weights."""
        options: dict[str, Any] = {"min_delta": self.min_delta}  # Keras annotates it as an int
        return keras.callbacks.EarlyStopping(
            self.monitor, mode=self.direction, patience=self.patience, restore_best_weights=True, **options
        )


@dataclass(frozen=True, eq=False)
class TrainingSpec:
    """All of how a model is trained, apart from the compiled model, x and y: as for :func:`kilter.fit`.

    Precision, optimiser and EMA belong to the compiled model; weight averaging is one of the ``callbacks``.
    """

    epochs: int = 1
    batch_size: int = 32
    shuffle: bool = True
    validation_data: Any = field(default=None, repr=False)
    class_weight: Mapping[int, float] | None = None
    sample_weight: Any = field(default=None, repr=False)
    schedule: Schedule | Performance | None = None
    augment: Augment | None = None
    early_stopping: EarlyStopping | None = None
    callbacks: tuple[keras.callbacks.Callback, ...] = ()
    evaluate_training: bool = False
    seed: int = 0

    def arguments(self, *names: str) -> dict[str, Any]:
        """The keyword arguments of :func:`kilter.fit`, or only ``names`` of them.

        Early stopping comes last among the callbacks: it then sees what the others did to the model.
        """
        given = {name: value for name, value in vars(self).items() if name != "early_stopping"}
        if self.early_stopping is not None:
            given["callbacks"] = (*self.callbacks, self.early_stopping.callback())
        return {name: given[name] for name in names or given}

    def arguments_for(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Those of the :meth:`arguments` that ``function`` has a keyword for, such as ``kilter.find_lr``."""
        taken = inspect.signature(function).parameters
        return self.arguments(*(name for name in self.arguments() if name in taken))
