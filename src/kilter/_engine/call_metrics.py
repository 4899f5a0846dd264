"""Metrics that a model updates in its own ``call``.

Keras on JAX does not support them: ``stateless_call`` carries weights and seeds only, so the update is lost
or fails. While a step is traced, :func:`metrics_in_call` carries these metrics along with the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

import keras

from kilter._models.keras_internals import get_stateless_scope
from kilter._models.tracing import intercept_calls, replace_attribute
from kilter.errors import ModelError


@contextlib.contextmanager
def metrics_in_call(model: keras.Model, values: Sequence[Any]) -> Generator[None]:
    """While a step is traced within it, metrics that ``model.call`` updates are part of its result.

    They start at ``values``. Raises :class:`ModelError` if the step does not compute the loss as Keras does.
    """
    known = {id(variable) for metric in _compiled(model) for variable in metric.variables}
    variables = list(model.metrics_variables)
    if all(id(variable) in known for variable in variables):
        yield
        return
    carried = _Carried(variables, list(values))
    with contextlib.ExitStack() as stack, intercept_calls([model], carried.calling):
        loss = model.stateless_compute_loss
        replace_attribute(model, "stateless_compute_loss", carried.losing(loss), stack)
        yield
    carried.check(model)


def _compiled(model: Any) -> list[Any]:
    """The loss tracker, and the compiled loss and metrics: Keras updates these outside of ``call``."""
    found = (model._loss_tracker, model._compile_loss, model._compile_metrics)
    return [one for one in found if one is not None]


class _Carried:
    """Carries the values of a model's metric variables from its ``call`` to its loss, in one trace."""

    def __init__(self, variables: list[Any], values: list[Any]) -> None:
        self._variables = variables
        self._first = values
        self._values = values
        self._passes = 0
        self._waiting = False

    def calling(self, _: Any, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run the model's ``call`` with the metrics in the scope that ``stateless_call`` opens for it."""
        scope = get_stateless_scope()
        if scope is None or any(scope.get_current_value(one) is not None for one in self._variables):
            return call(*arguments, **options)
        for variable, value in zip(self._variables, self._values, strict=True):
            scope.add_update((variable, value))
        outputs = call(*arguments, **options)
        found = [scope.get_current_value(variable) for variable in self._variables]
        if any(new is not old for new, old in zip(found, self._values, strict=True)):
            self._values, self._waiting = found, True
            self._passes += 1
        return outputs

    def losing(self, loss: Callable[..., Any]) -> Callable[..., Any]:
        """``stateless_compute_loss``, starting from the metrics as ``call`` left them."""

        def computed(trainable: Any, non_trainable: Any, metrics: Any, *others: Any, **named: Any) -> Any:
            if self._waiting:
                pairs = zip(metrics, self._values, self._first, strict=True)
                metrics = [given if new is old else new for given, new, old in pairs]
                # A value traced inside a gradient must not be used outside of it.
                self._values, self._waiting = self._first, False
            return loss(trainable, non_trainable, metrics, *others, **named)

        return computed

    def check(self, model: keras.Model) -> None:
        if self._waiting or self._passes > 1:
            raise ModelError(
                expected="at most one pass through the model in a step, whose loss stateless_compute_loss or "
                "compute_loss_and_updates computes, for a metric that is updated in call",
                received=f"a custom step of model {model.name!r} that works differently, so that Keras drops "
                "the metric's update",
                remedy="update the metric in compute_metrics, in compute_loss or in the step itself",
            )
