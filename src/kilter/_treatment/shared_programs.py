"""Patients that differ by the values of their variables alone are trained in one model, compiled once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import keras

from kilter._engine.program_cache import share
from kilter._models.copying import FOREIGN_ERRORS, is_graph
from kilter._models.variables import State, pull, push

# Packages whose classes and functions are told by their names and configurations.
_KNOWN = ("keras", "kilter")
Parts = tuple[Any, ...]


class Double(NamedTuple):
    """What is trained in the place of a model.

    ``model``: a built copy of it, with a fresh optimiser; whatever it holds, it is to begin with ``begin``.
    ``trained``: the model whose programs are used, the copy or one that is alike.
    """

    model: keras.Model
    begin: State
    trained: keras.Model

    def ready(self) -> keras.Model:
        """``trained`` as it is to begin."""
        push(self.begin, self.trained)
        return self.trained


class Twins:
    """Compiled models by their structure; the first of each structure serves all that are alike.

    What is asked about stays alive as long as this does, so that what is told apart by identity stays apart.
    """

    def __init__(self) -> None:
        self._models: dict[Parts, keras.Model] = {}
        self._seen: dict[Parts, keras.Model] = {}
        self._doubles: dict[keras.Model, Double] = {}
        self._kept: list[Any] = []

    def double(self, model: keras.Model, make: Callable[[], keras.Model]) -> Double:
        """The model's double; ``make`` gives the built copy that it needs at first."""
        if model not in self._doubles:
            copy = make()
            self._doubles[model] = Double(copy, pull(copy), self.of(copy))
        return self._doubles[model]

    def of(self, model: keras.Model) -> keras.Model:
        """The model to train in the place of a compiled and built ``model``: one that is alike, or itself."""
        parts = structure(model)
        if parts is None:
            return model
        if parts not in self._models:
            self._models[parts] = model
            if parts in self._seen:
                share(self._seen[parts], model)
        self._kept.append(model._compile_config)
        return self._models[parts]

    def saw(self, model: keras.Model) -> None:
        """Programs that ``model`` was run in may serve others that are alike; it is not trained itself."""
        parts = structure(model)
        if parts is not None:
            self._kept.append(model._compile_config)
            self._seen[parts] = model


def structure(model: keras.Model) -> Parts | None:
    """What decides the programs of a compiled model, values of variables and initialisers left out.

    None where it cannot be told: classes with a ``call`` of their own, and layers, functions or optimisers of
    others.
    """
    optimizer: Any = model.optimizer
    given: Any = getattr(model, "_compile_config", None)
    if not is_graph(model) or given is None or not all(map(_known, [*model._flatten_layers(), optimizer])):
        return None
    try:
        network = json.dumps(_shape_of(model.get_config()), sort_keys=True)
        stepping = {key: value for key, value in optimizer.get_config().items() if key != "name"}
    except FOREIGN_ERRORS:  # layers of others, or without a configuration
        return None
    if isinstance(stepping.get("learning_rate"), float):
        del stepping["learning_rate"]  # a variable; a schedule is code
    compiled = tuple(
        (name, _identity(leaf))
        for name, value in sorted(given.config.items())
        if name != "optimizer"
        for leaf in jax.tree.leaves(value)
    )
    return network, type(optimizer), repr(sorted(stepping.items())), compiled


def _known(thing: Any) -> bool:
    return type(thing).__module__.partition(".")[0] in _KNOWN


def _is_foreign(config: dict[str, Any]) -> bool:
    """Whether it stands for a function or an object of others; two of them may share a name."""
    name = str(config.get("class_name", "__"))
    own = str(config.get("module")).partition(".")[0] in _KNOWN
    return name == "__lambda__" or not (name.startswith("__") or own)  # such as __keras_tensor__


def _shape_of(config: Any) -> Any:
    """A configuration without initialisers. Raises ValueError for what is not told by its configuration."""
    if isinstance(config, dict):
        if _is_foreign(config):
            raise ValueError(config["class_name"])
        return {key: _shape_of(one) for key, one in config.items() if not key.endswith("_initializer")}
    return [_shape_of(one) for one in config] if isinstance(config, list | tuple) else config


def _identity(leaf: Any) -> Any:
    """Losses and metrics of Keras by their configuration, what else is no plain value by itself."""
    if leaf is None or isinstance(leaf, str | int | float | bool):
        return leaf
    if isinstance(leaf, keras.Loss | keras.Metric) and _known(leaf):
        return type(leaf), repr(sorted(leaf.get_config().items()))
    return id(leaf)
