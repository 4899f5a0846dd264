"""Duplicates of Keras layers and metrics, made attribute by attribute.

Rebuilding from the configuration, as Keras does, fails for functions that are not registered, loses the
globals of a lambda, and does not say which inner layer of the copy belongs to which of the original.
"""

import copy
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

import jax.numpy as jnp
import keras

from kilter._models.keras_internals import (
    KerasSaveable,
    Operation,
    TrackedDict,
    TrackedList,
    TrackedOrderedDict,
    TrackedSet,
    Tracker,
    Trainer,
)

# Keras binds these to each new layer.
_BOUND: Final = ("build", "quantize")
# What compile() and training leave on a model: a duplicate is not compiled.
_COMPILED: Final = frozenset(
    {
        "optimizer", "loss", "compiled", "history", "stop_training", "auto_scale_loss", "steps_per_execution",
        "train_function", "test_function", "predict_function", "_compile_loss", "_compile_metrics",
        "_compile_config", "_loss_tracker", "_jit_compile", "_run_eagerly", "_jax_state", "_jax_state_synced",
        "_kilter_programs", "_compiled_trainable_state", "_eval_epoch_iterator", "stop_evaluating",
        "stop_predicting",
    }
)  # fmt: skip
# What symbolic calls leave on a layer, and the losses of its last call.
_FRESH: Final[dict[str, Callable[[], Any]]] = {
    "_inbound_nodes": list,
    "_outbound_nodes": list,
    "_losses": list,
    "_loss_ids": set,
}
_STATEFUL: Final = (KerasSaveable, keras.Variable)


class Duplicator:
    """Duplicates objects with all the variables and layers in them, each once; the rest is shared.

    ``layer`` makes the duplicate of an inner layer.
    """

    def __init__(self, layer: Callable[[Any], Any] | None = None) -> None:
        self._layer = self.duplicate if layer is None else layer
        self._made: dict[int, tuple[Any, Any]] = {}  # with the originals, so that no id is used twice

    def duplicate(self, original: Any) -> Any:
        """A layer, operation, metric or seed generator like ``original``, with the values of its variables.

        A model that is duplicated is not compiled.
        """
        if id(original) in self._made:
            return self._made[id(original)][1]
        kind: Any = type(original)
        twin = kind.__new__(kind) if isinstance(original, Operation) else object.__new__(kind)
        self._made[id(original)] = original, twin
        if isinstance(original, Trainer):
            Trainer.__init__(twin)
        for name, value in vars(original).items():
            if name in _FRESH:
                twin.__dict__[name] = _FRESH[name]()
            elif name not in _BOUND and not (name in _COMPILED and isinstance(original, Trainer)):
                twin.__dict__[name] = self.value(value)
        return twin

    def attributes(self, original: Any, twin: Any) -> None:
        """Give ``twin``, a model, duplicates of the attributes that only ``original`` has."""
        missing = [name for name in vars(original) if name not in vars(twin) and name not in _COMPILED]
        for name in missing:
            setattr(twin, name, self.value(vars(original)[name]))

    def value(self, value: Any) -> Any:
        """``value`` with each variable, layer and metric in it replaced by its duplicate."""
        if id(value) in self._made:
            return self._made[id(value)][1]
        made = self._new(value)
        self._made[id(value)] = value, made
        return made

    def _new(self, value: Any) -> Any:
        if isinstance(value, keras.layers.Layer):
            return self._layer(value)
        if isinstance(value, keras.optimizers.Optimizer):
            return type(value).from_config(value.get_config())
        if isinstance(value, KerasSaveable):
            return self.duplicate(value)
        if isinstance(value, keras.Variable):
            return _variable(value)
        if isinstance(value, Tracker):
            return self._tracker(value)
        if isinstance(value, dict | list | set | tuple):
            return self._container(value)
        if isinstance(value, types.MethodType):
            return types.MethodType(value.__func__, self.value(value.__self__))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        held = getattr(value, "__dict__", None)
        if isinstance(held, dict) and not isinstance(value, type) and _holds_state(held.values()):
            twin = copy.copy(value)
            twin.__dict__.update({name: self.value(one) for name, one in held.items()})
            return twin
        return value

    def _container(self, value: Any) -> Any:
        if isinstance(value, tuple):
            parts = [self.value(one) for one in value]
            return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
        kind: Any = type(value)
        base: Any = next(one for one in (OrderedDict, dict, list, set) if isinstance(value, one))
        # Keras's own containers would report elements to the original's tracker.
        tracked = isinstance(value, TrackedList | TrackedDict | TrackedOrderedDict | TrackedSet)
        twin = kind.__new__(kind) if tracked else copy.copy(value)
        self._made[id(value)] = value, twin  # before its elements, which may hold it
        base.clear(twin)
        if isinstance(value, dict):
            for key, one in value.items():
                base.__setitem__(twin, self.value(key), self.value(one))
        else:
            fill: Any = set.update if base is set else list.extend
            fill(twin, [self.value(one) for one in value])
        for name, one in getattr(value, "__dict__", {}).items():
            twin.__dict__[name] = self.value(one)
        return twin

    def _tracker(self, value: Tracker) -> Tracker:
        config = {name: (test, self.value(store)) for name, (test, store) in value.config.items()}
        twin = Tracker(config, value.exclusions)
        self._made[id(value)] = value, twin
        twin.stored_ids = {name: {id(one) for one in store} for name, (_, store) in config.items()}
        twin.locked, twin._lock_violation_msg = value.locked, value._lock_violation_msg
        return twin

    def _function(self, value: types.FunctionType) -> types.FunctionType:
        """The function itself; one that closes over layers or variables gets their duplicates."""
        cells = value.__closure__ or ()
        try:
            held = [cell.cell_contents for cell in cells]
        except ValueError:  # a name without a value yet
            return value
        if not _holds_state(held):
            return value
        closure = tuple(types.CellType(self.value(one)) for one in held)
        twin = types.FunctionType(
            value.__code__, value.__globals__, value.__name__, value.__defaults__, closure
        )
        twin.__kwdefaults__ = value.__kwdefaults__
        twin.__dict__.update(value.__dict__)
        return twin


def duplicate(original: Any) -> Any:
    """A duplicate of one metric or layer and of all that is in it."""
    return Duplicator().duplicate(original)


def _holds_state(values: Iterable[Any]) -> bool:
    """Whether one of ``values``, or of the elements of one, is a layer, a metric or a variable."""
    for value in values:
        parts = value.values() if isinstance(value, dict) else value
        elements = parts if isinstance(value, dict | list | tuple | set) else [value]
        if any(isinstance(one, _STATEFUL) for one in elements):
            return True
    return False


def _variable(original: keras.Variable) -> keras.Variable:
    twin = object.__new__(type(original))
    twin.__dict__.update(vars(original))
    if original._value is not None:
        # A copy: Keras donates the memory of a model's state when it predicts.
        twin.__dict__["_value"] = jnp.array(original._value, copy=True)
    return twin
