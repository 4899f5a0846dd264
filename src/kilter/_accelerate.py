"""``kilter.accelerate`` and ``kilter.engine``: Keras's own methods run on kilter's engine."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Generator, Sequence
from types import MethodType
from typing import Any, Final, TypeVar

import keras
import numpy as np

from kilter._engine import inference
from kilter._engine.overrides import loop_called_by_model
from kilter._engine.stable_losses import from_logits
from kilter._fit import fit
from kilter._models.layers import require_model
from kilter._models.variables import values_survive
from kilter._text import warn
from kilter.errors import BackendError, KilterError

AnyModel = TypeVar("AnyModel", bound=keras.Model)

_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "fit": fit,
    "evaluate": inference.evaluate,
    "predict": inference.predict,
}


def accelerate(model: AnyModel, *, stable_loss: bool = True) -> AnyModel:
    """Make ``model.fit``, ``model.evaluate`` and ``model.predict`` run on kilter's engine; returns the model.

    The methods keep Keras's parameters, defaults and results. If kilter rejects a call before training
    starts, Keras's own method runs instead and a warning gives the reason. As in Keras, NumPy's global
    generator shuffles the rows, so ``keras.utils.set_random_seed`` determines their order.

    ``stable_loss``: as in :func:`kilter.fit`; False gives Keras's clipped cross-entropy.

    Only this object changes: copies, clones and saved files of the model are as Keras makes them. Undo it
    with :func:`restore`. For models that other code creates, use :func:`engine`.

    Raises:
        ModelError: if ``model`` is not a Keras model.

    Example:
        >>> import keras, kilter, numpy as np
        >>> model = kilter.accelerate(keras.Sequential([keras.layers.Dense(1)]))
        >>> model.compile(optimizer="sgd", loss="mse")
        >>> history = model.fit(np.ones((8, 2)), np.ones((8, 1)), epochs=3, verbose=0)
        >>> type(history).__module__.split(".")[0]
        'kilter'
    """
    require_model(model)
    for name in _FUNCTIONS:
        if name not in vars(model):
            method = _replaced(getattr(type(model), name), stable_loss)
            setattr(model, name, MethodType(method, model))
    return model


def restore(model: AnyModel) -> AnyModel:
    """Undo :func:`accelerate`; returns the model. A model that is not accelerated stays as it is.

    Raises:
        ModelError: if ``model`` is not a Keras model.
    """
    require_model(model)
    for name in _FUNCTIONS:
        if _is_ours(vars(model).get(name)):
            delattr(model, name)
    return model


@contextlib.contextmanager
def engine(*, stable_loss: bool = True) -> Generator[None]:
    """Context in which ``fit``, ``evaluate`` and ``predict`` of every Keras model run on kilter's engine.

    For code that creates its own models: tuners, wrappers, tasks. A model class that overrides one of these
    methods keeps its own; a call to ``super()`` in it runs on the engine. See :func:`accelerate` for what the
    methods and ``stable_loss`` do. May be nested.

    Example:
        >>> import keras, kilter, numpy as np
        >>> with kilter.engine():
        ...     model = keras.Sequential([keras.layers.Dense(1)])
        ...     model.compile(optimizer="sgd", loss="mse")
        ...     history = model.fit(np.ones((8, 2)), np.ones((8, 1)), verbose=0)
        >>> type(history).__module__.split(".")[0]
        'kilter'
    """
    before = {name: vars(keras.Model).get(name) for name in _FUNCTIONS}
    for name in _FUNCTIONS:
        setattr(keras.Model, name, _replaced(getattr(keras.Model, name), stable_loss))
    try:
        yield
    finally:
        for name, method in before.items():
            if method is None:  # inherited from Keras's trainer
                delattr(keras.Model, name)
            else:
                setattr(keras.Model, name, method)


def _is_ours(method: Any) -> bool:
    return hasattr(method, "keras_method")


def _replaced(method: Callable[..., Any], stable_loss: bool) -> Callable[..., Any]:
    """One of Keras's methods on the engine; in an override, ``super()`` runs on the engine."""
    if _is_ours(method):
        return method
    is_stock = method.__module__.startswith("keras.")

    @functools.wraps(method)
    def run(model: keras.Model, *args: Any, **options: Any) -> Any:
        if is_stock:
            with from_logits(stable_loss):
                return _on_engine(method, model, args, options)
        with engine(stable_loss=stable_loss):
            return method(model, *args, **options)

    run.keras_method = method  # type: ignore[attr-defined]
    return run


class _Begun(keras.callbacks.Callback):
    """Records whether callbacks have been called; from then on, errors are raised to the caller."""

    begun = False

    def on_train_begin(self, logs: Any = None) -> None:
        self.begun = True

    on_test_begin = on_predict_begin = on_train_begin


def _on_engine(
    method: Callable[..., Any], model: keras.Model, args: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    """The call of Keras's ``method`` on the engine, or by Keras if kilter rejects it before it begins."""
    name, watch = method.__name__, _Begun()

    def by_keras() -> Any:
        with values_survive(model):
            return method(model, *args, **options)

    signature = inspect.signature(method)
    known = {key: value for key, value in options.items() if name != "fit" or key in signature.parameters}
    bound = signature.bind(model, *args, **known)
    bound.apply_defaults()
    given = {key: value for key, value in bound.arguments.items() if key not in ("self", "kwargs")}
    given |= {key: value for key, value in options.items() if key not in known}  # kilter's own
    if bound.arguments.get("kwargs"):  # Keras's fit validates with an iterator that it keeps
        return by_keras()
    listed = given["callbacks"] or ()
    given["callbacks"] = [watch, *(listed if isinstance(listed, Sequence) else [listed])]
    if name == "fit":
        given["seed"] = int(np.random.randint(2**31))
    try:
        with loop_called_by_model(name):
            return _FUNCTIONS[name](model, **given)
    except KilterError as error:
        if watch.begun or isinstance(error, BackendError):  # Keras would hang
            raise
        warn(
            f"model.{name} runs on Keras's own loop, not on kilter's engine: expected {error.expected}; "
            f"received {error.received}."
        )
        return by_keras()
