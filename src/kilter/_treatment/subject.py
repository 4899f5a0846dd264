"""The subject: a compiled model, the data it is trained on and how; what remedies take and give back."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import keras
import numpy as np

from kilter import schedules
from kilter._engine.arrays import collect, pick, row_count
from kilter._engine.feed import Order
from kilter._engine.scheduling import Schedule
from kilter._models.copying import FOREIGN_ERRORS, ModelCopy, copy_model, copy_written, is_graph
from kilter._models.duplicate import duplicate
from kilter._models.layers import CONVOLUTIONS, LayerFacts, OutputFacts
from kilter._models.optimizers import OptimizerFacts, inner_optimizer, optimizer_facts, optimizer_slot
from kilter._models.reading import paired_targets, read_model
from kilter._models.variables import build
from kilter._records import Change
from kilter._text import first_line
from kilter._treatment.shared_programs import Double, Twins
from kilter._xla.compilation import quick_compilation
from kilter.errors import ModelError, OptionError
from kilter.schedules import Performance

_KEEP: Any = object()
# Weights of a network whose steps are so short that compiling them well takes longer than the trials. Both
# ways took as long (2 cores) for 5,000 steps of 500 weights, 1,500 of 11,000, at most 1,700 of 50,000.
_SMALL = 10_000
# Data that are handed over in less time than a program takes to compile.
_SMALL_BYTES = 64 * 2**20
# Steps of a 1cycle that stand for an epoch, so that its middle is one of them.
_PARTS = 100


@dataclass(frozen=True)
class FitOptions:
    """How a model is trained, beside its data.

    Attributes:
        epochs, batch_size, shuffle, class_weight, augment, callbacks: as :func:`kilter.fit` takes them.
        schedule: of the learning rate; None where it stays, or where ``cycle`` says so.
        cycle: the peak rate of a 1cycle schedule over all epochs, whatever their number; none is left out.
        patience: epochs without a better validation loss before training ends with the best weights; None
            for all epochs.
        most_batches: an epoch takes no more of them, whole ones; None for all rows.
    """

    epochs: int = 10
    batch_size: int = 32
    shuffle: bool = True
    class_weight: Mapping[int, float] | None = None
    augment: Any = None
    callbacks: tuple[keras.callbacks.Callback, ...] = ()
    schedule: Schedule | Performance | None = None
    cycle: float | None = None
    patience: int | None = None
    most_batches: int | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with all that it takes to train it. Remedies make new ones; none is ever changed.

    Attributes:
        model: compiled and built. What it holds stays bit for bit as it is: train :meth:`copy`.
        x, y, x_val, y_val: the data, rows first; None for no validation part.
        options: how it is trained.
        seed: of weights that are drawn anew, and of searches.
        changes: what remedies did so far, in order.
        unit_variance: whether the weights to begin with are scaled to the data (:func:`kilter.nn.lsuv`), for
            whoever draws them anew.
        trained: whether the model had been trained when it came, so that its weights are not to be drawn anew
            but where a remedy does.
        twins: the models that it is trained in for trials, and others like it.
    """

    model: keras.Model
    x: Any = field(repr=False)
    y: Any = field(repr=False)
    x_val: Any = field(default=None, repr=False)
    y_val: Any = field(default=None, repr=False)
    options: FitOptions = FitOptions()
    seed: int = 0
    changes: tuple[Change, ...] = ()
    unit_variance: bool = False
    trained: bool = False
    twins: Twins = field(default_factory=Twins, repr=False)

    @cached_property
    def facts(self) -> tuple[tuple[LayerFacts, ...], tuple[OutputFacts, ...]]:
        """The model's layers as they are called, and its outputs."""
        return read_model(self.model, self.x, paired_targets(self.model, self.y))

    @property
    def layers(self) -> tuple[LayerFacts, ...]:
        """The calls of the model's layers, in order; each layer's first call only."""
        return tuple(one for one in self.facts[0] if not one.repeated)

    @property
    def optimizer(self) -> OptimizerFacts:
        """The facts of the model's optimiser."""
        return optimizer_facts(self.model)

    @property
    def rows(self) -> int:
        """How many rows there are to train on."""
        return row_count(x=self.x)

    @property
    def validation_rows(self) -> int:
        """How many rows the validation part has."""
        return row_count(x=self.x_val)

    @property
    def steps_per_epoch(self) -> int:
        """How many steps an epoch takes."""
        return Order(self.options.batch_size, True, 0, self.options.most_batches).steps(self.rows)

    @property
    def rows_per_epoch(self) -> int:
        """How many rows an epoch takes."""
        return min(self.rows, self.steps_per_epoch * self.options.batch_size)

    @cached_property
    def is_small(self) -> bool:
        """Whether its data are handed over in less time than a program takes to compile."""
        return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(self.x)) <= _SMALL_BYTES

    @property
    def validation(self) -> tuple[Any, Any] | None:
        """The validation part as :func:`kilter.fit` takes it."""
        return None if self.x_val is None else (self.x_val, self.y_val)

    def for_trials(self) -> contextlib.AbstractContextManager[None]:
        """How programs of its trials are compiled: quickly, where its steps are small enough for that."""
        convolves = any(isinstance(one.layer, CONVOLUTIONS) for one in self.layers)
        large = convolves or self.model.count_params() > _SMALL
        return contextlib.nullcontext() if large else quick_compilation()

    def copy(self) -> keras.Model:
        """A compiled copy of the model, with its weights and a fresh optimiser, to be trained."""
        return compiled_like(self.model, copy_of(self.model))

    def double(self) -> Double:
        """What to train in the place of the model: the same each time, whoever has trained it before."""
        return self.twins.double(self.model, self._built_copy)

    def _built_copy(self) -> keras.Model:
        """A copy with its variables and its optimiser's made, for these data."""
        model, first = self.copy(), slice(self.options.batch_size)
        build(model, collect(*pick((self.x, self.y), first)).example(self.options.batch_size))
        return model

    def fit_options(self, epochs: int | None = None) -> dict[str, Any]:
        """The options of :func:`kilter.fit`, validation part included; a 1cycle fits ``epochs``.

        Callbacks are copies or new ones, since Keras's keep what they saw.
        """
        own, epochs = self.options, self.options.epochs if epochs is None else epochs
        callbacks: list[Any] = [copy.copy(one) for one in own.callbacks]
        if own.patience is not None and self.x_val is not None:
            patience = own.patience if own.cycle is None else epochs  # its end is what it is for
            callbacks.append(keras.callbacks.EarlyStopping(patience=patience, restore_best_weights=True))
        if own.cycle is not None:
            rates = self.rates(epochs)
            callbacks.append(keras.callbacks.LearningRateScheduler(lambda epoch, _: rates[epoch]))
        return {
            "epochs": epochs,
            "batch_size": own.batch_size,
            "shuffle": own.shuffle,
            "class_weight": own.class_weight,
            "augment": own.augment,
            "callbacks": callbacks,
            "schedule": own.schedule,
            "validation_data": self.validation,
        }

    def rates(self, epochs: int) -> list[float] | list[None]:
        """The learning rate of each epoch of a 1cycle: that of its middle; None without one.

        By epochs, and not by steps as :func:`kilter.fit` takes a schedule, it runs in the program that trains
        at any other rate.
        """
        if self.options.cycle is None:
            return [None] * epochs
        cycle = schedules.one_cycle(self.options.cycle, length=epochs * _PARTS, momentum=None)
        return [float(cycle(int((epoch + 0.5) * _PARTS))) for epoch in range(epochs)]

    def changed(
        self, change: Change, *, model: keras.Model | None = None, options: Any = None, **fields: Any
    ) -> Subject:
        """This subject after one more change, to a compiled ``model`` or new fields of ``options``."""
        return replace(
            self,
            model=self.model if model is None else model,
            options=replace(self.options, **(options or {})),
            changes=(*self.changes, change),
            **fields,
        )


def copied_with_layers(model: keras.Model) -> ModelCopy:
    """An uncompiled copy of any built model with the same weights, and which layer became which.

    Raises :class:`ModelError` for one that holds something that cannot be copied.
    """
    return copy_model(model) if is_graph(model) else copy_written(model)


def copy_of(model: keras.Model) -> keras.Model:
    """An uncompiled copy of any built model with the same weights; raises as :func:`copied_with_layers`."""
    return copied_with_layers(model).model


def compiled_like(
    like: keras.Model,
    model: keras.Model,
    *,
    optimizer: keras.optimizers.Optimizer | None = None,
    loss: Any = _KEEP,
    metrics: Any = _KEEP,
    loss_weights: Any = _KEEP,
) -> keras.Model:
    """``model``, compiled as ``like`` is; with an optimiser of its own, with fresh state.

    ``optimizer``, ``loss``, ``metrics`` and ``loss_weights`` replace what ``like`` has where they are given.

    Raises :class:`OptionError` for a model that is not compiled.
    """
    given: Any = getattr(like, "_compile_config", None)
    if given is None or not like.compiled:
        raise OptionError(
            expected="a compiled model", received=f"model {like.name!r}", remedy="call its compile() first"
        )
    config = dict(given.config)
    config["optimizer"] = fresh_optimizer(like) if optimizer is None else optimizer
    for name, value in (("loss", loss), ("metrics", metrics), ("loss_weights", loss_weights)):
        if value is not _KEEP:
            config[name] = value
    if metrics is not _KEEP:
        config["weighted_metrics"] = None
    # Metrics count: two models may not share one.
    for name in ("metrics", "weighted_metrics"):
        config[name] = keras.tree.map_structure(_fresh_metric, config[name])
    # Keras's own: a class that overrides compile() may ask for more, and a copy has that already.
    keras.Model.compile(model, **config)
    return model


def _fresh_metric(metric: Any) -> Any:
    if not isinstance(metric, keras.Metric):
        return metric
    fresh = duplicate(metric)
    fresh.reset_state()
    return fresh


def fresh_optimizer(model: keras.Model, **changes: Any) -> keras.optimizers.Optimizer:
    """An optimiser like the model's that has taken no step, with ``changes`` of its configuration.

    Raises :class:`ModelError` where its class cannot make one.
    """
    optimizer = inner_optimizer(model)  # compile() wraps it again
    rate = optimizer_slot(model, "learning_rate")
    if rate is not None and rate.is_scheduled:
        changes = {"learning_rate": rate.value, **changes}
    try:
        return type(optimizer).from_config({**optimizer.get_config(), **changes})
    except FOREIGN_ERRORS as problem:
        raise ModelError(
            expected="an optimiser that can be made anew from its configuration",
            received=f"{type(optimizer).__name__}: {first_line(problem)}",
            remedy="give its class get_config",
        ) from problem
