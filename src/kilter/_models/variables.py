"""The one place where Keras's variables and the pure engine meet.

Nothing else in kilter assigns to a Keras variable.
"""

import contextlib
import sys
from collections.abc import Generator, Iterable, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._models.causes import explained
from kilter._models.keras_internals import compute_output_spec
from kilter._xla.compilation import fast_compilation
from kilter.errors import KilterError, ModelError


class State(NamedTuple):
    """Everything that a training step changes, as lists of arrays in Keras's order.

    ``non_trainable`` holds the statistics of batch normalisation and the seed generators; ``optimizer`` holds
    the iteration count, the learning rate and the slots.
    """

    trainable: list[Any]
    non_trainable: list[Any]
    optimizer: list[Any]
    metrics: list[Any]


def variables(model: keras.Model) -> State:
    """The model's Keras variables, in the layout of a :class:`State`."""
    optimizer = getattr(model, "optimizer", None)  # a Sequential has none before compile()
    return State(
        *_by_trainable(model),
        [] if optimizer is None else list(optimizer.variables),
        list(model.metrics_variables),
    )


_SPLIT: Final = ("trainable_variables", "non_trainable_variables")


def _by_trainable(model: keras.Model) -> tuple[list[Any], list[Any]]:
    """The model's trainable and other variables; Keras's own properties each walk through all layers."""
    if any(getattr(type(model), name) is not getattr(keras.Layer, name) for name in _SPLIT):
        return list(model.trainable_variables), list(model.non_trainable_variables)
    groups: tuple[list[Any], list[Any]] = ([], [])
    trains = model.trainable
    for variable in model.variables:
        groups[not (trains and variable.trainable)].append(variable)
    return groups


def values(model: keras.Model) -> tuple[list[Any], list[Any]]:
    """The values of the model's trainable and non-trainable variables; not copied."""
    return view(model)[:2]


def pull(model: keras.Model) -> State:
    """Copy the model's variables into a state that may be donated to XLA; the model stays readable."""
    return copied(view(model))


def lend(model: keras.Model, *, references: int = 0) -> State:
    """The model's values as a state that may be donated, without a copy, as Keras does.

    Until :func:`push` the model has values that programs may have taken. Arrays that anything besides the
    model's variable refers to are copied all the same; ``references``: of the caller, who does without them.
    """
    most = _references(_Alone()) + references
    return State(*([_lent(variable, most) for variable in group] for group in variables(model)))


class _Alone:
    """Like a variable whose value nothing else refers to; Python versions count references differently."""

    def __init__(self) -> None:
        self._value = object()


def _references(variable: Any) -> int:
    return sys.getrefcount(variable._value)


def _lent(variable: Any, most: int) -> Any:
    alone = _references(variable) <= most
    return variable._value if alone else jax.device_put(of_this_process(variable._value), may_alias=False)


def is_lent(model: keras.Model) -> bool:
    """Whether programs were given values of the model for good (donated), so that it has lost them."""
    return any(variable._value.is_deleted() for group in variables(model) for variable in group)


def copied(state: State) -> State:
    """A copy of the values in separate memory, so that they may be donated."""
    return jax.device_put(jax.tree.map(of_this_process, state), may_alias=False)


def of_this_process(leaf: Any) -> Any:
    """This process's copy of an array that is on the devices of several processes."""
    others = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
    return leaf.addressable_data(0) if others else leaf


def view(model: keras.Model) -> State:
    """The values of the model's variables without a copy: do not donate them."""
    return State(*([variable.value for variable in group] for group in variables(model)))


def push(state: State, model: keras.Model) -> None:
    """Write a state into the model's variables. The arrays are shared: do not donate the state afterwards."""
    for group, new in zip(variables(model), state, strict=True):
        assign(zip(group, new, strict=True))


def assign(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Write each value of ``pairs`` = (variable, value) into its variable; an array on a device is shared."""
    for variable, value in pairs:
        held = variable._value
        if held is value:
            continue
        alike = isinstance(held, jax.Array) and isinstance(value, jax.Array)
        if alike and held.dtype == value.dtype and held.shape == value.shape:
            variable._direct_assign(value)  # what assign() ends with; its checks take longer than a step
        else:
            variable.assign(value)


def assign_copies(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Write the value of each second variable into the first, in separate memory.

    Keras donates the memory of a model's state when it predicts, which must not take another model's with it.
    """
    assign((variable, jnp.array(source.value, copy=True)) for variable, source in pairs)


def draw(initializer: Any, shape: Sequence[int], seed: int) -> np.ndarray:
    """Weights of ``shape`` from ``initializer`` (or its name), with ``seed`` if it is random."""
    known: Any = keras.initializers.get(initializer)
    config = known.get_config() if isinstance(known, keras.initializers.Initializer) else {}
    if "seed" in config:
        known = type(known).from_config({**config, "seed": seed})
    with fast_compilation():
        return np.asarray(known(tuple(shape), dtype=keras.config.floatx()))


def draw_weights(layers: Iterable[Any], seed: int) -> None:
    """Initialise ``layers`` again, in place, with ``seed``; statistics start again too.

    Variables without an initialiser, and adapted normalisation layers, do not change.
    """
    number = 0
    for layer in layers:
        own = getattr(layer, "_trainable_variables", []) + getattr(layer, "_non_trainable_variables", [])
        for variable in own:
            number += 1
            kind = variable.name.removesuffix("_kernel") if variable.name != "kernel" else "kernel"
            initializer = getattr(layer, f"{kind}_initializer", None)
            if initializer is not None:
                value = draw(initializer, variable.shape, (seed * 1_000_003 + number) % (2**31 - 1))
                assign([(variable, value)])


@contextlib.contextmanager
def values_kept(kept: Iterable[Any]) -> Generator[None]:
    """Restore the values of these variables at the end."""
    before = [(variable, variable.value) for variable in kept]
    try:
        yield
    finally:
        assign(before)


@contextlib.contextmanager
def values_survive(model: keras.Model) -> Generator[None]:
    """If the body raises, variables that it leaves empty get back the values that they had.

    Keras's loops take the values out of the variables, and lose them if their first step cannot be traced.
    """
    optimizer = getattr(model, "optimizer", None)
    kept = [*model.variables, *(optimizer.variables if optimizer is not None else [])]
    before = [(variable, variable._value) for variable in kept if variable._value is not None]
    try:
        yield
    except BaseException:
        for variable, value in before:
            if variable._value is None and not value.is_deleted():
                variable._value = value
        raise


def build(model: keras.Model, batch: Sequence[Any], *, training: bool = True) -> None:
    """Create the variables of model, loss, metrics and optimiser from one ``(x, y, sample_weight)``."""
    check_compiled(model, training=training)
    with fitting(model, batch):
        model._symbolic_build(data_batch=tuple(batch))


def is_built(model: Any) -> bool:
    """Whether Keras needs no batch to build the model, its loss and its metrics."""
    compiled = (getattr(model, "_compile_loss", None), getattr(model, "_compile_metrics", None))
    return all(one is None or one.built for one in (*model._flatten_layers(), *compiled))


def build_forward(model: keras.Model, x: Any) -> None:
    """Create the variables of a model that is not built, from the shapes of one batch of inputs."""
    if not all(layer.built for layer in model._flatten_layers()):
        with fitting(model):
            compute_output_spec(model, _symbolic(x))


def check_compiled(model: keras.Model, *, training: bool = True) -> None:
    """Raise :class:`ModelError` if the model is not compiled, or has no optimiser although it is to train."""
    if not getattr(model, "compiled", False):
        raise ModelError(
            expected="a compiled model",
            received=f"model {model.name!r}, on which compile() was not called",
            remedy="call model.compile(optimizer=..., loss=...) first",
        )
    if training and model.optimizer is None:
        raise ModelError(
            expected="a model compiled with an optimiser",
            received=f"model {model.name!r} with optimizer=None",
            remedy="call model.compile(optimizer=..., loss=...)",
        )
    compiled: Any = getattr(model, "_compile_loss", None)
    weights = keras.tree.flatten(None if compiled is None else compiled._user_loss_weights)
    if any(isinstance(one, str | keras.Metric) for one in weights):
        raise ModelError(
            expected="numbers as loss_weights, the third argument of compile()",
            received=f"loss_weights={weights}",
            remedy="pass metrics by name: model.compile(optimizer, loss, metrics=[...])",
        )


@contextlib.contextmanager
def fitting(model: keras.Model, batch: Sequence[Any] | None = None) -> Generator[None]:
    """While active, Keras's errors become a DataError about ``batch``, else about inputs."""
    try:
        yield
    except (KilterError, jax.errors.JaxRuntimeError):  # the device's own errors, such as out of memory
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as problem:
        if batch is None and isinstance(problem, jax.errors.UnexpectedTracerError):
            raise ModelError(
                expected=f"layers of model {model.name!r} that are called outside loops",
                received="a layer inside a traced loop (jax.lax.scan), where its values cannot be read",
                remedy="call the layer outside the loop, or put the loop into a keras.layers.RNN",
            ) from problem
        raise explained(problem, model, batch) from problem


def output_specs(model: keras.Model, x: Any) -> list[Any]:
    """The outputs of a built model for inputs like ``x``: those it declares, else found by a slower trace."""
    declared = keras.tree.flatten(getattr(model, "outputs", None) or [])
    return declared or keras.tree.flatten(compute_output_spec(model, _symbolic(x)))


def _symbolic(batch: Any) -> Any:
    return keras.tree.map_structure(
        lambda leaf: (
            None
            if leaf is None  # an optional input
            else keras.KerasTensor(leaf.shape, keras.backend.standardize_dtype(leaf.dtype))
        ),
        batch,
    )
