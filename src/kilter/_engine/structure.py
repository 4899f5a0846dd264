"""The structure of a compiled model: a key that models with the same programs share."""

import json
from typing import Any, Final, NamedTuple

import jax
import keras

from kilter._models.copying import FOREIGN_ERRORS, is_graph
from kilter._models.optimizers import inner_optimizer

# The configurations of classes from these packages say everything about them.
_KNOWN = ("keras", "kilter")
_UNNAMED: Final = ("name", "keras_history", "input_layers", "output_layers")


class Structure(NamedTuple):
    """A key that is equal for compiled models with the same programs: of the network, and of each part."""

    network: str
    optimizer: tuple[Any, ...]
    compiled: tuple[Any, ...]

    def of(self, program: str) -> tuple[Any, ...]:
        """The parts that decide a program, by its name: only training steps need the optimiser."""
        if program in ("predict", "answers"):
            return (self.network,)
        return (self.network, self.compiled) if program in ("test", "reading", "gradients") else tuple(self)


def structure(model: keras.Model) -> Structure | None:
    """The model's structure; None if it is unknown.

    Values of variables, initialisers, names and a constant learning rate make no difference. Losses and
    metrics that are not Keras's, and optax transformations, count by identity: keep them alive as long as
    the key.
    """
    optimizer: Any = getattr(model, "optimizer", None)  # missing in a model loaded without compiling
    given: Any = getattr(model, "_compile_config", None)
    if not is_graph(model) or given is None or not all(map(_is_known, [*model._flatten_layers(), optimizer])):
        return None
    try:
        network = in_json(_described(model.get_config(), {}))
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
    names = tuple(getattr(model, "output_names", None) or ())
    functions = map(id, getattr(inner_optimizer(model), "transformation", ()))  # of optax
    step = (type(optimizer), repr(sorted(stepping.items())), *functions)
    return Structure(network, step, (names, *compiled))


def in_json(config: Any) -> str:
    """A configuration as text, the same for the numbers of Python and NumPy."""
    return json.dumps(config, sort_keys=True, default=lambda one: one.item())


def _is_known(thing: Any) -> bool:
    return type(thing).__module__.partition(".")[0] in _KNOWN and "call" not in vars(thing)


def _describes_foreign(config: dict[str, Any]) -> bool:
    """Whether it describes a function or an object from elsewhere; two of them may share a name."""
    name = str(config.get("class_name", "__"))
    own = str(config.get("module")).partition(".")[0] in _KNOWN
    return name == "__lambda__" or not (name.startswith("__") or own)  # such as __keras_tensor__


def _described(config: Any, names: dict[str, int], key: str = "") -> Any:
    """The configuration without initialisers, and with numbers for the names of layers.

    Raises ValueError for objects from elsewhere.
    """
    if isinstance(config, dict):
        if _describes_foreign(config):
            raise ValueError(config["class_name"])
        if config.get("class_name") == "DTypePolicy":  # its name says what it is
            return config
        kept = (one for one in config if not one.endswith("_initializer"))
        return {one: _described(config[one], names, one) for one in kept}
    if isinstance(config, list | tuple):
        return [_described(one, names, key) for one in config]
    return names.setdefault(config, len(names)) if key in _UNNAMED and isinstance(config, str) else config


def _identity(leaf: Any) -> Any:
    """Plain values as they are, Keras's losses and metrics by configuration, all else by identity."""
    if leaf is None or isinstance(leaf, str | int | float | bool):
        return leaf
    if isinstance(leaf, keras.Loss | keras.Metric) and _is_known(leaf):
        return type(leaf), repr(sorted(leaf.get_config().items()))
    return id(leaf)
