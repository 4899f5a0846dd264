"""Weight averaging as callbacks: the weights are trained, and their averages are validated and kept.

From the validation of an epoch to the beginning of the next one the model holds the averages. Validation,
early stopping and callbacks that save the model see them, if they come later in the list. Then the training
weights return, and training continues with the same bits as without averaging.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import Any

import jax.numpy as jnp
import keras
import numpy as np

from kilter._array_types import Arrays, Host
from kilter._engine.batch_statistics import refresh_batch_norm
from kilter._models.optimizers import averaging_optimizers
from kilter._models.variables import assign, variables
from kilter._validation import whole_number
from kilter.errors import OptionError

Pairs = list[tuple[Any, Any]]


class WeightAverage(keras.callbacks.Callback, ABC):
    """Puts averaged weights into the model for validation, and leaves them there when training ends.

    ``refresh``: None, or inputs from which to recompute the statistics of batch normalisation.
    """

    def __init__(self, refresh: Arrays | None = None) -> None:
        super().__init__()
        self._refresh = refresh
        self._epoch: int | None = None
        self._aside: Pairs = []

    @abstractmethod
    def averages(self) -> Pairs:
        """(variable of the model, its average) for each variable with one; [] while there are none."""

    def end_of_epoch(self, epoch: int) -> None:
        """Called when the model has the training weights at the end of ``epoch``."""

    def state(self) -> list[Host]:
        """What a checkpoint needs to continue this average; [] if the optimiser's slots are enough."""
        return []

    def restore(self, state: Sequence[Host]) -> None:
        """Continue the average of :meth:`state` in the next training."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Reset."""
        self._epoch, self._aside = None, []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Put the training weights back."""
        self._epoch = epoch
        assign(self._aside)
        self._aside = []

    def on_test_begin(self, logs: Any = None) -> None:
        """Show the averages to validation."""
        self._show()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Show the averages to later callbacks, also without validation."""
        self._show()

    def on_train_end(self, logs: Any = None) -> None:
        """Later evaluations are not validations of an epoch."""
        self._epoch = None

    @contextlib.contextmanager
    def training_weights(self) -> Generator[None]:
        """While active, the model has the training weights: these go into a checkpoint."""
        shown = [(variable, variable.value) for variable, _ in self._aside]
        assign(self._aside)
        try:
            yield
        finally:
            assign(shown)

    def _show(self) -> None:
        if self._epoch is None or self._aside:
            return
        self.end_of_epoch(self._epoch)
        averages = self.averages()
        if not averages:
            return
        state = variables(self._trained())
        # Copies: Keras's loop donates the model's arrays to the step.
        self._aside = [(one, jnp.array(one.value)) for one in (*state.trainable, *state.non_trainable)]
        assign(averages)
        if self._refresh is not None:
            refresh_batch_norm(self._trained(), self._refresh)

    def _trained(self) -> keras.Model:
        if self.model is None:
            raise RuntimeError("the callback was called without a model: pass it to fit(callbacks=[...])")
        return self.model


class ExponentialMovingAverage(WeightAverage):
    """Validates, and ends with, the moving average that an optimiser with ``use_ema=True`` keeps.

    At each step average ← m·average + (1 − m)·weights, with the optimiser's ``ema_momentum`` m; after the
    first step it equals the weights (Polyak & Juditsky 1992). Keras's ``SwapEMAWeights`` leaves the
    unaveraged weights in the model if training stops early.

    Args:
        refresh: training inputs from which to recompute the statistics of batch normalisation for the
            averages (:func:`kilter.refresh_batch_norm`). Without them the averages use the statistics of the
            training, which are moving averages too.

    Raises:
        OptionError: when training begins with an optimiser that keeps no average.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        """Check the optimiser."""
        super().on_train_begin(logs)
        if not averaging_optimizers(self._trained()):
            raise OptionError(
                expected="an optimiser that keeps a moving average of the weights",
                received=f"{type(self._trained().optimizer).__name__} with use_ema=False",
                remedy="make it with use_ema=True, ema_momentum=0.999",
            )

    def averages(self) -> Pairs:
        """The optimiser's averages."""
        return [
            (variable, jnp.array(average.value))
            for optimizer in averaging_optimizers(self._trained())
            for variable, average in zip(
                optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True
            )
            if average is not None
        ]


class StochasticWeightAverage(WeightAverage):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the ends of epochs.

    Averaging begins with the weights after epoch ``start`` + 1 and continues after every ``every``-th epoch.
    The learning rate should not fall to zero meanwhile: the paper uses a constant or a cyclic one. Means are
    kept in float64 on the host. Works in :func:`kilter.fit` and in ``model.fit``.

    Args:
        start: epochs before averaging begins: a whole number, or a share (0 to below 1) of all epochs.
        every: average after every so many epochs.
        refresh: as in :class:`ExponentialMovingAverage`; required with batch normalisation, because its
            statistics do not fit the average.

    Raises:
        OptionError: for values out of range, and at the start of training if the model has batch
            normalisation and there is no ``refresh``.
    """

    def __init__(self, start: float = 0.75, every: int = 1, refresh: Arrays | None = None) -> None:
        super().__init__(refresh)
        share = isinstance(start, float) and 0 <= start < 1
        if not share and (isinstance(start, bool | float) or start < 0):
            raise OptionError(
                expected="start as a whole number of epochs from 0, or a share of all from 0.0 to below 1",
                received=f"start={start!r}",
                remedy="0.75 averages over the last quarter of the epochs",
            )
        whole_number(
            "every",
            every,
            1,
            expected="every as a whole number of epochs from 1",
            remedy="1 averages over every epoch; use the length of a cycle if the rate is cyclic",
        )
        self._start = start
        self._every = every
        self._count = 0
        self._means: list[Host] = []
        self._restored: Sequence[Host] = ()

    @property
    def count(self) -> int:
        """The number of epochs averaged so far."""
        return self._count

    def state(self) -> list[Host]:
        """The number of epochs averaged, then the means; [] before there are any."""
        return [np.array([self._count]), *self._means] if self._count else []

    def restore(self, state: Sequence[Host]) -> None:
        """Continue this average in the next training."""
        self._restored = state

    def on_train_begin(self, logs: Any = None) -> None:
        """Start a new average, or continue the restored one."""
        super().on_train_begin(logs)
        model = self._trained()
        if self._refresh is None and normalizes_batches(model):
            raise OptionError(
                expected="refresh=, since statistics of batch normalisation do not fit averaged weights",
                received=f"refresh=None and model {model.name!r}, which has batch normalisation",
                remedy="pass the training inputs as refresh, to recompute the statistics",
            )
        count, means = (self._restored[0], self._restored[1:]) if len(self._restored) else ([0], [])
        self._count, self._means, self._restored = int(count[0]), [np.array(mean) for mean in means], ()

    def end_of_epoch(self, epoch: int) -> None:
        """Add the weights to the mean, if this epoch counts."""
        epochs = int((self.params or {})["epochs"])
        waited = epoch - (int(self._start * epochs) if isinstance(self._start, float) else self._start)
        if waited < 0 or waited % self._every:
            return
        weights = [np.asarray(variable.value, np.float64) for variable in self._averaged()]
        self._count += 1
        if not self._means:
            self._means = weights
            return
        self._means = [
            mean + (weight - mean) / self._count for mean, weight in zip(self._means, weights, strict=True)
        ]

    def averages(self) -> Pairs:
        """The means."""
        return list(zip(self._averaged(), self._means, strict=True)) if self._count else []

    def _averaged(self) -> list[Any]:
        return variables(self._trained()).trainable


def normalizes_batches(model: keras.Model) -> bool:
    """Whether the model has batch normalisation that is not frozen."""
    return any(
        isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        for layer in model._flatten_layers()
    )
