"""Routes ``fit``, ``evaluate`` and ``predict`` of every ``keras.Model`` through kilter, or counts calls.

Only the call is translated. What kilter does not take is passed on all the same, so that its own error shows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import kilter

# isort: split
import keras

METHODS = ("fit", "evaluate", "predict")
# The class of Keras's JAX backend that defines the three methods.
_OWNER: Any = next(owner for owner in keras.Model.__mro__ if "fit" in vars(owner))
_STOCK: dict[str, Callable[..., Any]] = {name: getattr(_OWNER, name) for name in METHODS}

called: list[str] = []  # the methods called since it was cleared


def install(route: str) -> None:
    """Count the calls ("plain"), or also send them to kilter ("kilter")."""
    for name in METHODS:
        setattr(_OWNER, name, _counted(name, _STOCK[name] if route == "plain" else _ROUTED[name]))


def _counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        called.append(name)
        return method(self, *arguments, **options)

    counted.__doc__ = _STOCK[name].__doc__
    return counted


def _fit(model: keras.Model, *arguments: Any, **options: Any) -> Any:
    return kilter.fit(model, **_given("fit", model, arguments, options))


def _evaluate(model: keras.Model, *arguments: Any, **options: Any) -> Any:
    given = {"batch_size": 32} | _given("evaluate", model, arguments, options)
    as_dict = given.get("return_dict", False)
    if "return_dict" not in inspect.signature(kilter.evaluate).parameters:
        given.pop("return_dict", None)
    results: Any = kilter.evaluate(model, **given)
    return results if as_dict or not isinstance(results, dict) else _in_order(model, results)


def _predict(model: keras.Model, *arguments: Any, **options: Any) -> Any:
    return kilter.predict(model, **{"batch_size": 32} | _given("predict", model, arguments, options))


_ROUTED = {"fit": _fit, "evaluate": _evaluate, "predict": _predict}


def _given(name: str, model: keras.Model, arguments: Any, options: Any) -> dict[str, Any]:
    """The arguments of a call of Keras's method by name, without those that have Keras's default."""
    signature = inspect.signature(_STOCK[name])
    given = dict(signature.bind(model, *arguments, **options).arguments)
    del given["self"]
    given |= given.pop("kwargs", {})
    defaults = {each.name: each.default for each in signature.parameters.values()}
    same = [key for key, value in given.items() if key != "x" and value is defaults.get(key, inspect._empty)]
    return {"x": None} | {key: value for key, value in given.items() if key not in same}


def _in_order(model: Any, results: dict[str, Any]) -> Any:
    """What ``model.evaluate`` returns without ``return_dict``: a list in Keras's order, or one number."""
    listed = model._flatten_metrics_in_order(results)
    return listed[0] if isinstance(listed, list) and len(listed) == 1 else listed
