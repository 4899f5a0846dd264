"""Averages of the weights along a training, as callbacks: averages are judged and kept, weights are trained.

From the validation of an epoch to the beginning of the next one the model holds the averages. Validation,
early stopping and whatever saves the model see them, if they come later in the list of callbacks; then the
weights of the training come back, and it goes on with the bits it would have had without.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.batch_statistics import refresh_batch_norm
from kilter._models.variables import variables
from kilter.errors import OptionError

Pairs = list[tuple[Any, Any]]


class WeightAverage(keras.callbacks.Callback, ABC):
    """Puts averaged weights into the model while it is judged; at the end of training they stay in it.

    ``refresh``: None, or inputs from which batch normalisations then get their statistics.
    """

    def __init__(self, refresh: Any = None) -> None:
        super().__init__()
        self._refresh = refresh
        self._epoch: int | None = None
        self._aside: Pairs = []

    @abstractmethod
    def averages(self) -> Pairs:
        """(variable of the model, its average) for each that has one; [] while there is no average yet."""

    def end_of_epoch(self, epoch: int) -> None:
        """The model holds the weights that the training of ``epoch`` ended with."""

    def state(self) -> list[np.ndarray]:
        """What a checkpoint needs to go on with this average; [] where the optimiser's slots are enough."""
        return []

    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Let the next training go on with the average of :meth:`state`."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Nothing is put aside yet."""
        self._epoch, self._aside = None, []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Put the weights of the training back."""
        self._epoch = epoch
        _assign(self._aside)
        self._aside = []

    def on_test_begin(self, logs: Any = None) -> None:
        """Let the averages be validated."""
        self._show()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Let later callbacks see the averages, also where nothing was validated."""
        self._show()

    def on_train_end(self, logs: Any = None) -> None:
        """What is evaluated from here on is no validation of an epoch."""
        self._epoch = None

    @contextlib.contextmanager
    def training_weights(self) -> Iterator[None]:
        """While active the model holds the weights of the training: a checkpoint is made of these."""
        shown = [(variable, variable.value) for variable, _ in self._aside]
        _assign(self._aside)
        try:
            yield
        finally:
            _assign(shown)

    def _show(self) -> None:
        if self._epoch is None or self._aside:
            return
        self.end_of_epoch(self._epoch)
        averages = self.averages()
        if not averages:
            return
        state = variables(self._trained())
        # Copies: Keras's own loop donates the arrays in the model to the step.
        self._aside = [(one, jnp.array(one.value)) for one in (*state.trainable, *state.non_trainable)]
        _assign(averages)
        if self._refresh is not None:
            refresh_batch_norm(self._trained(), self._refresh)

    def _trained(self) -> keras.Model:
        if self.model is None:
            raise RuntimeError("the callback was called without a model: pass it to fit(callbacks=[...])")
        return self.model


class ExponentialMovingAverage(WeightAverage):
    """Validates, and ends with, the moving average that an optimiser with ``use_ema=True`` keeps.

    At each step average ← m·average + (1 − m)·weights with m the optimiser's ``ema_momentum``; after the
    first step it is the weights themselves (Polyak & Juditsky 1992). Keras's ``SwapEMAWeights`` leaves the
    unaveraged weights in the model where a training stops early.

    Args:
        refresh: the training inputs, from which batch normalisations get the statistics that fit the averages
            (:func:`kilter.refresh_batch_norm`), until the weights of the training come back. Without them the
            statistics are those of the training, which are moving averages too.

    Raises :class:`~kilter.errors.OptionError` when training begins with an optimiser that keeps no average.
    """

    def on_train_begin(self, logs: Any = None) -> None:
        """Check the optimiser."""
        super().on_train_begin(logs)
        if not self._averaging():
            raise OptionError(
                expected="an optimiser that keeps a moving average of the weights",
                received=f"{type(self._trained().optimizer).__name__} with use_ema=False",
                remedy="make it with use_ema=True, ema_momentum=0.999",
            )

    def averages(self) -> Pairs:
        """The optimiser's averages."""
        return [
            (variable, jnp.array(average.value))
            for optimizer in self._averaging()
            for variable, average in zip(
                optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True
            )
            if average is not None
        ]

    def _averaging(self) -> list[Any]:
        """The optimisers with an average, those within a MultiOptimizer or a LossScaleOptimizer too."""
        outer: Any = self._trained().optimizer
        inner = getattr(outer, "inner_optimizer", outer)
        return [optimizer for optimizer in getattr(inner, "optimizers", [inner]) if optimizer.use_ema]


class StochasticWeightAverage(WeightAverage):
    """Stochastic weight averaging (Izmailov et al. 2018): the mean of the weights at the ends of epochs.

    The weights after epoch ``start`` + 1 are the first that count, then those after every ``every``-th epoch.
    The rate should not fall to zero meanwhile: the paper takes a constant or a cyclic one. Means are kept in
    float64 on the host. Works in :func:`kilter.fit` and in ``model.fit``.

    Args:
        start: epochs before averaging begins: a whole number, or a share (0 to below 1) of all epochs.
        every: epochs between two that count.
        refresh: as in :class:`ExponentialMovingAverage`; needed where the model has batch normalisation,
            whose statistics belong to other weights than the average.

    Raises :class:`~kilter.errors.OptionError` for values out of range, and when training begins for a model
    with batch normalisation and no ``refresh``.
    """

    def __init__(self, start: float = 0.75, every: int = 1, refresh: Any = None) -> None:
        super().__init__(refresh)
        _check(start, every)
        self._start = start
        self._every = every
        self._count = 0
        self._means: list[np.ndarray] = []
        self._restored: Sequence[np.ndarray] = ()

    @property
    def count(self) -> int:
        """How many epochs the average is of, up to now."""
        return self._count

    def state(self) -> list[np.ndarray]:
        """How many epochs the average is of, then the means; [] before there is one."""
        return [np.array([self._count]), *self._means] if self._count else []

    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Let the next training go on with this average instead of a new one."""
        self._restored = state

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin a new average, or go on with the one restored."""
        super().on_train_begin(logs)
        _check_statistics(self._trained(), self._refresh)
        count, means = (self._restored[0], self._restored[1:]) if len(self._restored) else ([0], [])
        self._count, self._means, self._restored = int(count[0]), [np.array(mean) for mean in means], ()

    def end_of_epoch(self, epoch: int) -> None:
        """Take the weights into the mean, if it is the turn of this epoch."""
        waited = epoch - self._first(int((self.params or {})["epochs"]))
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

    def _first(self, epochs: int) -> int:
        return int(self._start * epochs) if isinstance(self._start, float) else self._start


def _assign(pairs: Pairs) -> None:
    for variable, value in pairs:
        variable.assign(value)


def _check(start: float, every: int) -> None:
    share = isinstance(start, float) and 0 <= start < 1
    if not share and (isinstance(start, bool | float) or start < 0):
        raise OptionError(
            expected="start as a whole number of epochs from 0, or a share of all epochs from 0.0 to below 1",
            received=f"start={start!r}",
            remedy="0.75 averages over the last quarter of the epochs",
        )
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise OptionError(
            expected="every as a whole number of epochs from 1",
            received=f"every={every!r}",
            remedy="1 averages over every epoch; the length of a cycle where the rate is cyclic",
        )


def _check_statistics(model: keras.Model, refresh: Any) -> None:
    if refresh is None and normalizes_batches(model):
        raise OptionError(
            expected="refresh=, as the statistics of batch normalisation do not fit the averaged weights",
            received=f"refresh=None and model {model.name!r}, which has batch normalisation",
            remedy="pass the training inputs as refresh: the statistics are made of them anew",
        )


def normalizes_batches(model: keras.Model) -> bool:
    """Whether the model has a batch normalisation that is not frozen."""
    return any(
        isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        for layer in model._flatten_layers()
    )
