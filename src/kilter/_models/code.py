"""Keras objects as the code that makes them, and what differs between two models."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import keras
import numpy as np

from kilter._models.optimizers import inner_optimizer
from kilter._text import listed

# Arguments that do not change what a layer computes.
IGNORED: Final = ("name", "dtype", "trainable", "build_config", "batch_shape", "batch_input_shape")
_PLAIN: Final = (str, bool, int, float, type(None))
# What None stands for.
_NONE: Final = {"activation": '"linear"', "data_format": '"channels_last"', "arguments": "{}"}


def value_code(value: Any, prefix: str = "keras") -> str | None:
    """A value of a configuration as code; None if it cannot be written. ``prefix``: the name of Keras.

    Example:
        >>> value_code({"module": "keras.regularizers", "class_name": "L2", "config": {"l2": 0.01}})
        'keras.regularizers.L2(l2=0.01)'
    """
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, _PLAIN):
        return _literal(value)
    if isinstance(value, list | tuple):
        parts = [value_code(one, prefix) for one in value]
        if None in parts:
            return None
        inner = ", ".join(map(str, parts))
        return f"({inner})" if isinstance(value, tuple) and len(parts) > 1 else f"[{inner}]"
    if not isinstance(value, Mapping) or "class_name" not in value:
        return "{}" if value == {} else None
    if value["class_name"] == "function" and str(value.get("config")).isidentifier():
        return str(value["config"])  # of the user's own code
    module, name, config = str(value.get("module") or ""), value["class_name"], value.get("config") or {}
    if module == "keras.initializers" and (short := _initializer_name(name, config)) is not None:
        return _literal(short)
    if not module.startswith("keras."):
        return None
    if module == "keras.layers":
        return layer_code(getattr(keras.layers, name), config, prefix)
    parts = {
        key: value_code(one, prefix) for key, one in config.items() if key not in IGNORED and one is not None
    }
    if None in parts.values():
        return None
    inner = ", ".join(f"{key}={code}" for key, code in parts.items())
    return f"{prefix}.{module.removeprefix('keras.')}.{name}({inner})"


def layer_code(kind: type, config: Mapping[str, Any], prefix: str = "keras") -> str:
    """The call that makes a layer of this configuration, without default arguments.

    ``...`` stands for an argument that cannot be written, such as a lambda.

    Example:
        >>> layer_code(keras.layers.Dense, keras.layers.Dense(3, activation="relu").get_config())
        'keras.layers.Dense(3, activation="relu")'
    """
    if kind is keras.layers.Normalization and config.get("mean") is not None:
        kind, config = _known_scaling(config)
    return _call_code(kind, config, f"{prefix}.layers", prefix)


def _known_scaling(config: Mapping[str, Any]) -> tuple[type, Mapping[str, Any]]:
    """A Normalization of given numbers as a Rescaling, which a traced step can build too."""
    mean, deviation = np.asarray(config["mean"]), np.maximum(np.sqrt(config["variance"]), 1e-7)
    axis = keras.tree.flatten([] if config["axis"] is None else config["axis"])
    if axis not in ([], [-1]) and mean.ndim:
        return keras.layers.Normalization, config
    scale, offset = (deviation, mean) if config.get("invert") else (1 / deviation, -mean / deviation)
    return keras.layers.Rescaling, {"scale": scale, "offset": offset}


def _call_code(kind: type, config: Mapping[str, Any], home: str, prefix: str) -> str:
    """The call of a class of Keras's module ``home``, of kilter, or of the user."""
    own = {"keras": f"{home}.", "kilter": "kilter.nn."}.get(kind.__module__.partition(".")[0], "")
    found = []
    for name, parameter in list(inspect.signature(kind.__init__).parameters.items())[1:]:
        if name in IGNORED or name not in config or parameter.kind is parameter.VAR_KEYWORD:
            continue
        needed = parameter.default is parameter.empty
        code = value_code(config[name], prefix) or "..."
        usual = value_code(parameter.default, prefix)
        if not needed and code in (usual, usual == "None" and _NONE.get(name)):
            continue
        found.append(code if needed and not any("=" in one for one in found) else f"{name}={code}")
    return f"{own}{kind.__name__}({', '.join(found)})"


def loss_code(loss: Any, prefix: str = "keras") -> str | None:
    """A compiled loss, or several, as code; None if it cannot be written."""
    if isinstance(loss, str | None):
        return _literal(loss)
    if isinstance(loss, keras.losses.Loss):
        # Huber and others leave out of their configuration what they pass to their function.
        config = getattr(loss, "_fn_kwargs", {}) | loss.get_config()
        code = _call_code(type(loss), config, f"{prefix}.losses", prefix)
        return None if "..." in code else code
    if isinstance(loss, Mapping):
        named = {key: loss_code(one, prefix) for key, one in loss.items()}
        return None if None in named.values() else _braced(named)
    if isinstance(loss, list | tuple):
        parts = [loss_code(one, prefix) for one in loss]
        return None if None in parts else f"[{', '.join(one for one in parts if one is not None)}]"
    return None


def optimizer_code(optimizer: Any, prefix: str = "keras", rate: str | None = None) -> str | None:
    """An optimiser as code, with other code for the ``rate`` if given; None if it cannot be written."""
    if optimizer is None or not type(optimizer).__module__.startswith("keras."):
        return None
    config: Mapping[str, Any] = optimizer.get_config()
    found = {}
    for name, parameter in inspect.signature(type(optimizer).__init__).parameters.items():
        value = config.get(name)
        if name == "learning_rate":
            found[name] = rate or value_code(value, prefix)
        elif name not in IGNORED and value is not None and value != parameter.default:
            found[name] = value_code(value, prefix)
    if None in found.values():
        return None
    inner = ", ".join(f"{name}={code}" for name, code in found.items())
    return f"{prefix}.optimizers.{type(optimizer).__name__}({inner})"


def weights_code(weights: Any) -> str:
    """Compiled loss weights as code."""
    return repr(keras.tree.map_structure(lambda one: float(f"{one:.3g}"), weights))


def compiled_changes(before: keras.Model, after: keras.Model, prefix: str = "keras") -> dict[str, str]:
    """The arguments of compile() that differ, as code."""
    values: dict[str, str] = {}
    old, new = (optimizer_code(inner_optimizer(one), prefix) for one in (before, after))
    if new is not None and new != old:
        values["optimizer"] = new
    given, made = (one._compile_config.config for one in (before, after))  # type: ignore[attr-defined]
    code = loss_code(made.get("loss"), prefix)
    if code is not None and code != loss_code(given.get("loss"), prefix):
        values["loss"] = code
    weights = made.get("loss_weights")
    if weights is not None and weights != given.get("loss_weights"):
        values["loss_weights"] = weights_code(weights)
    return values


def difference_code(before: keras.Model, after: keras.Model) -> str:
    """Keras code for what differs between two models: a line for each kind of layer, and compile()."""
    lines = list(_layer_lines(before, after))
    if before.compiled and after.compiled and (values := compiled_changes(before, after)):
        lines.append(compile_code(after, **values))
    return "\n".join(lines)


def compile_code(model: keras.Model, **changed: str) -> str:
    """The call of compile() with all that a model was compiled with, except what is ``changed``."""
    given = model._compile_config.config  # type: ignore[attr-defined]
    optimizer = changed.pop("optimizer", optimizer_code(inner_optimizer(model)) or "model.optimizer")
    values = {"loss": loss_code(given.get("loss")) or "model.loss"}
    if given.get("loss_weights") is not None:
        values["loss_weights"] = weights_code(given["loss_weights"])
    for name in ("metrics", "weighted_metrics"):
        if given.get(name):
            values[name] = _metrics_code(given[name])
    values |= changed
    return f"model.compile({optimizer}, {', '.join(f'{key}={code}' for key, code in values.items())})"


def _metrics_code(metrics: Any) -> str:
    """Compiled metrics as code; those of the user's own by their names."""
    if isinstance(metrics, Mapping):
        return _braced({key: _metrics_code(one) for key, one in metrics.items()})
    if isinstance(metrics, list | tuple):
        return f"[{', '.join(map(_metrics_code, metrics))}]"
    kept = keras.saving.serialize_keras_object(metrics) if isinstance(metrics, keras.Metric) else metrics
    return value_code(kept) or str(getattr(metrics, "__name__", type(metrics).__name__))


def _layer_lines(before: keras.Model, after: keras.Model) -> Iterator[str]:
    known = {layer.name: layer for layer in _own_layers(before)}
    found: dict[tuple[str, str], list[str]] = {}
    last = ""
    for layer in _own_layers(after):
        code, old = code_of(layer), known.get(layer.name)
        if old is None:
            found.setdefault((code, "new, after {}" if last else "new, first{}"), []).append(last)
        elif code != code_of(old):
            found.setdefault((code, "{}"), []).append(layer.name)
        last = layer.name if old is not None else last
    for (code, words), names in found.items():
        yield f"{code}  # {words.format(listed(names))}"
    left = {layer.name for layer in _own_layers(after)}
    gone = [name for name in known if name not in left]
    if gone:
        yield f"# without {listed(gone)}"


def _own_layers(model: keras.Model) -> list[Any]:
    """The layers that a user writes: not those within other layers, such as a cell."""
    every = [
        one
        for one in model._flatten_layers(include_self=False)
        if not isinstance(one, keras.layers.InputLayer | keras.Model)
    ]
    inner = {id(part) for one in every for part in one._flatten_layers(include_self=False)}
    return [one for one in every if id(one) not in inner]


def code_of(layer: Any) -> str:
    """The call that makes a layer."""
    try:
        return layer_code(type(layer), layer.get_config())
    except (NotImplementedError, TypeError, ValueError):  # a user's own layer without a configuration
        return f"{type(layer).__name__}()"


def _literal(value: Any) -> str:
    """A plain value as code, text in double quotes, numbers with the digits of float32."""
    if isinstance(value, float):
        return repr(float(f"{value:.7g}")) if np.isfinite(value) else f'float("{value}")'
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _braced(values: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{_literal(key)}: {code}" for key, code in values.items()) + "}"


def _initializer_name(name: str, config: Mapping[str, Any]) -> str | None:
    """Keras's short name of an initialiser with its default options; None for others."""
    short = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    try:
        usual = keras.initializers.get(short).get_config()  # type: ignore[union-attr]
    except (ValueError, KeyError):  # the latter from constants, whose value has no default there
        return None
    alike = {key: one for key, one in usual.items() if key != "seed"}
    return short if alike == {key: one for key, one in config.items() if key != "seed"} else None
