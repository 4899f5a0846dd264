"""The subject: a compiled model, its data and its training. Remedies take a subject and return one."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import keras
import numpy as np

from kilter import schedules
from kilter._engine.arrays import collect, pick, row_count
from kilter._engine.feed import Order
from kilter._engine.training_spec import TrainingSpec
from kilter._models.code import difference_code
from kilter._models.copying import ModelCopy, copy_model, copy_written, is_graph
from kilter._models.layers import LayerFacts, OutputFacts
from kilter._models.optimizers import OptimizerFacts, compiled_like, optimizer_facts
from kilter._models.reading import paired_targets, read_model
from kilter._models.variables import build
from kilter._records import Change, Finding
from kilter._treatment.policy import Policy
from kilter.schedules import Performance

_TRAINING, _POLICY = TrainingSpec(), Policy()
# Arguments of fit whose values are code.
_PLAIN = ("batch_size", "epochs", "shuffle", "class_weight")
# Steps of a 1cycle that stand for an epoch, so that its middle is one of them.
_PARTS = 100


@dataclass(frozen=True)
class Step:
    """One step from the original subject to a treated one: a remedy's code, and the finding it was given.

    ``finding`` is None for a part of the sound sibling.
    """

    code: str
    finding: Finding | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with everything needed to train it. Remedies make new subjects; no subject ever changes.

    Attributes:
        model: compiled and built. Its variables are never written: train :meth:`copy`.
        training: how it is trained, with the validation data and sample weights; its ``seed`` draws weights
            and searches too.
        cycle: the peak rate of a 1cycle schedule over all epochs, however many; None for none.
        changes, steps: what remedies did so far, in order, and how to do it again.
        unit_variance: whether drawn weights are scaled to the data (:func:`kilter.nn.lsuv`).
        trained: whether the original model was trained already; then only remedies draw new weights.
        features: names of the columns of ``x``; () if they have none.
    """

    model: keras.Model
    x: Any = field(repr=False)
    y: Any = field(repr=False)
    training: TrainingSpec = _TRAINING
    cycle: float | None = None
    changes: tuple[Change, ...] = ()
    steps: tuple[Step, ...] = ()
    unit_variance: bool = False
    trained: bool = False
    policy: Policy = _POLICY
    features: tuple[str, ...] = ()

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
    def x_val(self) -> Any:
        """The validation inputs."""
        return self.training.validation_data[0]

    @property
    def y_val(self) -> Any:
        """The validation targets."""
        return self.training.validation_data[1]

    @property
    def remedies(self) -> tuple[str, ...]:
        """The codes of its changes, in order."""
        return tuple(change.remedy for change in self.changes)

    @property
    def seed(self) -> int:
        """Of orders of rows, of weights that are drawn, and of searches."""
        return self.training.seed

    @property
    def rows(self) -> int:
        """The number of training rows."""
        return row_count(x=self.x)

    @property
    def validation_rows(self) -> int:
        """The number of validation rows."""
        return row_count(x=self.x_val)

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps in an epoch."""
        return Order(self.training.batch_size, True, 0).steps(self.rows)

    @property
    def is_small(self) -> bool:
        """Whether copying the inputs to the device takes less time than compiling a program."""
        size = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(self.x))
        return size <= self.policy.search.small_data

    def copy(self) -> keras.Model:
        """A compiled copy of the model, with its weights and a fresh optimiser, to be trained."""
        return compiled_like(self.model, copy_of(self.model))

    def built_copy(self) -> keras.Model:
        """A copy whose optimiser and metrics have their variables already."""
        model, first = self.copy(), slice(self.training.batch_size)
        build(model, collect(*pick((self.x, self.y), first)).example(self.training.batch_size))
        return model

    def fit_arguments(self, epochs: int | None = None, *, validated: bool = True) -> dict[str, Any]:
        """The arguments of :func:`kilter.fit` for a training run of ``epochs``, by default all of them.

        Callbacks are copies, since Keras's keep state. A 1cycle is fitted to ``epochs`` and never stopped
        early. ``validated``: False leaves validation data and early stopping out, unless a callback or
        schedule may need them.
        """
        epochs = self.training.epochs if epochs is None else epochs
        spec = replace(self.training, epochs=epochs, callbacks=tuple(map(copy.copy, self.training.callbacks)))
        if self.cycle is not None:
            rates = self.rates(epochs)
            cycle = keras.callbacks.LearningRateScheduler(lambda epoch, _: rates[epoch])
            spec = replace(spec, callbacks=(*spec.callbacks, cycle))
            if spec.early_stopping is not None:
                spec = replace(spec, early_stopping=replace(spec.early_stopping, patience=epochs))
        if not validated:
            needed = self.training.callbacks or isinstance(spec.schedule, Performance)
            data = spec.validation_data if needed else None
            spec = replace(spec, early_stopping=None, validation_data=data)
        return {**spec.arguments(), "x": self.x, "y": self.y, "measure": None, "verbose": 0}

    def rates(self, epochs: int) -> Sequence[float | None]:
        """The learning rate of each epoch of a 1cycle: that of its middle; None without one.

        By epochs, not by steps as :func:`kilter.fit` takes a schedule, so that one program trains at any
        rate.
        """
        if self.cycle is None:
            return [None] * epochs
        cycle = schedules.one_cycle(self.cycle, length=epochs * _PARTS, momentum=None)
        return [float(cycle(int((epoch + 0.5) * _PARTS))) for epoch in range(epochs)]

    def with_training(self, **options: Any) -> "Subject":
        """The same subject with other fields of :class:`TrainingSpec`."""
        return replace(self, training=replace(self.training, **options))

    def changed(
        self, change: Change, *, model: keras.Model | None = None, training: Any = None, **fields: Any
    ) -> "Subject":
        """This subject after one more change: another compiled ``model``, other fields of ``training``.

        A change without a snippet gets the code of what differs.
        """
        if not change.snippet:
            code = self.code_of(model, training, fields.get("cycle"))
            change = replace(change, snippet=code or f"# {change.after}")
        return replace(
            self,
            model=self.model if model is None else model,
            training=replace(self.training, **(training or {})),
            changes=(*self.changes, change),
            **fields,
        )

    def code_of(
        self, model: keras.Model | None, training: Mapping[str, Any] | None = None, cycle: float | None = None
    ) -> str:
        """Keras code for another ``model``, other fields of ``training``, and a 1cycle up to a rate."""
        lines = [] if model is None else [difference_code(self.model, model)]
        given = [f"{key}={value!r}" for key, value in (training or {}).items() if key in _PLAIN]
        if given:
            lines.append(f"model.fit(x_train, y_train, {', '.join(given)})")
        if cycle is not None:
            epochs = self.training.epochs
            length = epochs * self.steps_per_epoch
            schedule = f"kilter.schedules.one_cycle({cycle:g}, length={length}, momentum=None)"
            lines.append(f"kilter.fit(model, x_train, y_train, epochs={epochs}, schedule={schedule})")
        return "\n".join(filter(None, lines))


def copied_with_layers(model: keras.Model) -> ModelCopy:
    """An uncompiled copy of any built model with the same weights, and which layer became which.

    Raises :class:`ModelError` if it holds something that cannot be copied.
    """
    return copy_model(model) if is_graph(model) else copy_written(model)


def copy_of(model: keras.Model) -> keras.Model:
    """An uncompiled copy of any built model with the same weights."""
    return copied_with_layers(model).model
