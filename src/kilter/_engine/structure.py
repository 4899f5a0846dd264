"""What decides the compiled programs of a model apart from the values of its variables."""

from __future__ import annotations

import json
from typing import Any

import jax
import keras

from kilter._models.copying import FOREIGN_ERRORS, is_graph

# The configurations of classes from these packages say everything about them.
_KNOWN = ("keras", "kilter")
Structure = tuple[Any, ...]


def structure(model: keras.Model) -> Structure | None:
    """A key that is equal for compiled models whose programs are the same.

    The values of variables, initialisers and a constant learning rate make no difference. None where the
    configuration does not say everything: classes with their own ``call``, and layers, functions or
    optimisers from elsewhere. Losses and metrics that are not Keras's count by identity: keep them alive as
    long as the key.
    """
    optimizer: Any = model.optimizer
    given: Any = getattr(model, "_compile_config", None)
    if not is_graph(model) or given is None or not all(map(_is_known, [*model._flatten_layers(), optimizer])):
        return None
    try:
        network = json.dumps(_without_initializers(model.get_config()), sort_keys=True)
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


def _is_known(thing: Any) -> bool:
    return type(thing).__module__.partition(".")[0] in _KNOWN and "call" not in vars(thing)


def _is_foreign(config: dict[str, Any]) -> bool:
    """Whether it describes a function or an object from elsewhere; two of them may share a name."""
    name = str(config.get("class_name", "__"))
    own = str(config.get("module")).partition(".")[0] in _KNOWN
    return name == "__lambda__" or not (name.startswith("__") or own)  # such as __keras_tensor__


def _without_initializers(config: Any) -> Any:
    """The configuration without initialisers. Raises ValueError for objects from elsewhere."""
    if isinstance(config, dict):
        if _is_foreign(config):
            raise ValueError(config["class_name"])
        kept = (key for key in config if not key.endswith("_initializer"))
        return {key: _without_initializers(config[key]) for key in kept}
    return [_without_initializers(one) for one in config] if isinstance(config, list | tuple) else config


def _identity(leaf: Any) -> Any:
    """Plain values as they are, Keras's losses and metrics by configuration, all else by identity."""
    if leaf is None or isinstance(leaf, str | int | float | bool):
        return leaf
    if isinstance(leaf, keras.Loss | keras.Metric) and _is_known(leaf):
        return type(leaf), repr(sorted(leaf.get_config().items()))
    return id(leaf)
