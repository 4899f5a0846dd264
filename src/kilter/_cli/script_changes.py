"""The changes of a treatment in the calls of a script: layers, what the model is compiled with, and fit."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import keras
import numpy as np

from kilter._cli.script_calls import Sites, Training
from kilter._cli.script_edits import COMPILE, FIT, LayerEdit, Position, Script, arguments_of
from kilter._models.optimizers import inner_optimizer
from kilter._treatment.result import Treatment

_IGNORED: Final = ("name", "dtype", "trainable", "build_config", "batch_shape", "batch_input_shape")
_OPTIMIZER: Final = ("learning_rate", "momentum", "clipnorm", "clipvalue", "global_clipnorm", "weight_decay")
_COMPILE: Final = ("optimizer", "loss", "loss_weights")
_STANDARDIZED: Final = "standardize-inputs"
_FITTED: Final = {"epochs": 1, "batch_size": 32}
_RISING: Final = 0.45  # of the steps, as in kilter.schedules.one_cycle
_FIT_OPTIONS: Final = ("batch_size", "shuffle", "epochs", "class_weight")
_NUMBERS: Final = 16  # that a line of code holds
_PEAK: Final = re.compile(r"one_cycle\(([\d.e+-]+)")
_PLAIN: Final = (str, bool, int, float, type(None))


def rewritten(script: Script, training: Training, treatment: Treatment, sites: Sites) -> list[str]:
    """Make the treatment's changes in the script; the codes of the remedies that code cannot express."""
    if not treatment.changes:
        return []
    prefix, codes = script.keras(), {one.remedy for one in treatment.changes}
    gone = {
        place.rpartition("/")[2]
        for one in treatment.changes
        if one.remedy.startswith(("drop-", "remove-"))
        for place in one.where
    }
    if _STANDARDIZED in codes:
        layers = training.model._flatten_layers()
        gone |= {one.name for one in layers if isinstance(one, keras.layers.Rescaling)}
    said = _said_layers(script, training.model, treatment.model, sites, prefix, gone)
    if _STANDARDIZED in codes and _said_front(script, training, treatment.model, sites, prefix):
        said.add(_STANDARDIZED)
    peaks = [float(found[1]) for one in treatment.changes for found in _PEAK.finditer(one.snippet)]
    cycle = _cycle(peaks[-1], training, treatment, prefix) if peaks else None
    compiled = _said_compile(script, training, treatment.model, prefix, cycle)
    said |= compiled | ({"one-cycle", "change-optimizer"} if cycle and "optimizer" in compiled else set())
    said |= _said_fit(script, training, treatment)
    return [one.remedy for one in treatment.changes if not _covered(one, said)]


def _cycle(peak: float, training: Training, treatment: Treatment, prefix: str) -> str:
    """A schedule of Keras that rises to ``peak`` and falls to 0 over all steps, as a 1cycle does."""
    fitted = {name: code for one in treatment.changes for name, code in arguments_of(one.snippet).items()} | {
        name: str(training.options.get(name, usual)) for name, usual in _FITTED.items()
    }
    rows = len(keras.tree.flatten(training.x)[0])
    steps = int(fitted["epochs"]) * math.ceil(rows / int(fitted["batch_size"]))
    rising = max(1, round(_RISING * steps))
    return (
        f"{prefix}.optimizers.schedules.CosineDecay({peak / 10:.4g}, decay_steps={max(1, steps - rising)}, "
        f"warmup_target={peak:.4g}, warmup_steps={rising})"
    )


def _covered(change: Any, said: set[str]) -> bool:
    places = {place.partition("#")[0].rpartition("/")[2] for place in change.where}
    return bool(places & said) or change.remedy in said


def _said_layers(
    script: Script, before: keras.Model, after: keras.Model, sites: Sites, prefix: str, gone: set[str]
) -> set[str]:
    """The names of the layers whose change is said. ``gone``: of those that may be left out."""
    edits: dict[Position, list[tuple[str, LayerEdit]]] = {}
    count: dict[Position, int] = {}
    for layer, edit in _changed(before, after, prefix, gone):
        place = sites.of(layer)
        if place is not None:
            edits.setdefault(place, []).append((layer.name, edit))
    for layer in before._flatten_layers():
        place = sites.of(layer)
        if place is not None:
            count[place] = count.get(place, 0) + 1
    said: set[str] = set()
    for place, found in edits.items():
        call = script.at(place)
        alike = all(edit == found[0][1] for _, edit in found)
        if call is None or not alike or len(found) < count.get(place, 0):
            continue  # one call makes several layers, and not all of them change alike
        edit = found[0][1]
        if edit.left_out:
            said |= {name for name, _ in found} if script.remove(call) else set()
            continue
        if not script.set_arguments(call, edit.arguments, edit.order):
            continue
        if edit.kind:
            script.rename(call, edit.kind)
        if not edit.after or script.insert_after(call, edit.after):
            said |= {name for name, _ in found}
    return said


def _said_front(script: Script, training: Training, after: keras.Model, sites: Sites, prefix: str) -> bool:
    """Whether a Normalization before the only input's only reader is said, adapted just before fit."""
    before = training.model
    own = {layer.name for layer in before._flatten_layers(include_self=False)}
    kept = {layer.name for layer in after._flatten_layers(include_self=False)}
    front = [one for one in after._flatten_layers() if _is_new(one, own, keras.layers.Normalization)]
    firsts = [one for one in _first_layers(before) if one.name in kept]
    fit = script.method(FIT, training.line)
    call = script.at(place) if len(firsts) == 1 and (place := sites.of(firsts[0])) is not None else None
    if call is None or fit is None or len(front) != 1 or getattr(front[0], "invert", False):
        return False
    model, data = script.object_of(fit), script.plain_argument(fit, "x", 0)
    if model is None or data is None:
        return False
    name, axis = front[0].name, front[0].axis
    kept_axis = "" if axis in (-1, (-1,)) else f"axis={axis!r}, "
    adapted = f'{model}.get_layer("{name}").adapt({data})'
    made = f'{prefix}.layers.Normalization({kept_axis}name="{name}")'
    return script.insert_before(call, made) and script.insert_line(fit, adapted)


def _is_new(layer: Any, own: set[str], kind: type) -> bool:
    return isinstance(layer, kind) and layer.name not in own


def _first_layers(model: keras.Model) -> list[Any]:
    """The layers that read the only input of a graph; for a Rescaling, those that come after it."""
    layers = [one for one in getattr(model, "layers", ()) if not isinstance(one, keras.layers.InputLayer)]
    if isinstance(model, keras.Sequential):
        return [one for one in layers if not isinstance(one, keras.layers.Rescaling)][:1]
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1 or not hasattr(model, "_nodes_by_depth"):
        return []
    nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    read = {id(inputs[0])}
    found = []
    for node in sorted(nodes, key=lambda one: any(id(each) in read for each in one.input_tensors)):
        if any(id(each) in read for each in node.input_tensors):
            if isinstance(node.operation, keras.layers.Rescaling):
                read |= {id(each) for each in node.output_tensors}
            else:
                found.append(node.operation)
    return found


def _changed(
    before: keras.Model, after: keras.Model, prefix: str, gone: set[str]
) -> Iterator[tuple[Any, LayerEdit]]:
    """The original layers that a call must make otherwise, by the names that copies keep."""
    twins = {layer.name: layer for layer in after._flatten_layers(include_self=False)}
    own = {layer.name for layer in before._flatten_layers(include_self=False)}
    order = [
        layer for layer in getattr(after, "layers", ()) if not isinstance(layer, keras.layers.InputLayer)
    ]
    for layer in before._flatten_layers(include_self=False):
        twin = twins.get(layer.name)
        if twin is None:
            if layer.name in gone:
                yield layer, LayerEdit({}, left_out=True)
            continue
        arguments = _arguments(layer, twin, prefix)
        names = list(inspect.signature(type(layer).__init__).parameters)[1:]
        kind = type(twin).__name__ if type(twin) is not type(layer) else ""
        added = tuple(_inserted(order, twin, own, prefix))
        if arguments or kind or added:
            yield layer, LayerEdit(arguments, names, kind, added)


def _inserted(order: list[Any], twin: Any, own: set[str], prefix: str) -> Iterator[str]:
    """The code of the new layers that follow ``twin``."""
    places = [index for index, one in enumerate(order) if one is twin]
    for layer in order[places[0] + 1 :] if places else ():
        if layer.name in own:
            return
        module = f"{prefix}.layers" if type(layer).__module__.startswith("keras.") else "kilter.nn"
        yield f"{module}.{type(layer).__name__}({_plain_arguments(layer)})"


def _plain_arguments(layer: Any) -> str:
    """The arguments that differ from the defaults of the class, where code can say them."""
    config, found = layer.get_config(), []
    for name, parameter in list(inspect.signature(type(layer).__init__).parameters.items())[1:]:
        value = config.get(name, parameter.default)
        if name in _IGNORED or name not in config or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if isinstance(value, _PLAIN) and value != parameter.default:
            found.append(f"{name}={_literal(value)}")
        elif isinstance(value, list | tuple | np.ndarray) and 0 < np.size(value) <= _NUMBERS:
            found.append(f"{name}={[float(f'{one:.6g}') for one in np.ravel(np.asarray(value, float))]}")
    return ", ".join(found)


def _arguments(layer: Any, twin: Any, prefix: str) -> dict[str, str]:
    old, new = layer.get_config(), twin.get_config()
    found = {}
    for name, value in new.items():
        if name in _IGNORED or name not in old or value == old[name]:
            continue
        code = _code(value, prefix)
        if code is not None:
            found[name] = code
    return found


def _code(value: Any, prefix: str) -> str | None:
    """A value of a configuration as code; None if it cannot be said."""
    if isinstance(value, _PLAIN):
        return _literal(value)
    if isinstance(value, list | tuple) and all(isinstance(one, _PLAIN) for one in value):
        return repr(value)
    if not isinstance(value, dict) or "class_name" not in value:
        return None
    module, name, config = str(value.get("module") or ""), value["class_name"], value.get("config") or {}
    if module == "keras.initializers" and (short := _initializer_name(name, config)) is not None:
        return _literal(short)
    if not module.startswith("keras."):
        return None
    plain = {key: one for key, one in config.items() if isinstance(one, _PLAIN) and one is not None}
    inner = ", ".join(f"{key}={_literal(one)}" for key, one in plain.items() if key not in _IGNORED)
    return f"{prefix}.{module.removeprefix('keras.')}.{name}({inner})"


def _literal(value: Any) -> str:
    """A plain value as code, text in double quotes, numbers with the digits of float32."""
    if isinstance(value, float):
        return repr(float(f"{value:.7g}"))
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _initializer_name(name: str, config: Mapping[str, Any]) -> str | None:
    """Keras's short name of an initialiser with its default options; None for others."""
    short = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    try:
        usual = keras.initializers.get(short).get_config()  # type: ignore[union-attr]
    except ValueError:
        return None
    alike = {key: one for key, one in usual.items() if key != "seed"}
    return short if alike == {key: one for key, one in config.items() if key != "seed"} else None


def _said_compile(
    script: Script, training: Training, after: keras.Model, prefix: str, cycle: str | None = None
) -> set[str]:
    """The parts of compile() that were rewritten. ``cycle``: the code of the rate, if it has a schedule."""
    call, before = script.method(COMPILE, training.compiled), training.model
    values: dict[str, str] = {}
    optimizer = _optimizer_code(inner_optimizer(after), prefix, cycle)
    if optimizer is not None and optimizer != _optimizer_code(inner_optimizer(before), prefix):
        values["optimizer"] = optimizer
    losses = [one._compile_config.config.get("loss") for one in (before, after)]  # type: ignore[attr-defined]
    if _loss_code(losses[0], prefix) != (new := _loss_code(losses[1], prefix)) and new is not None:
        values["loss"] = new
    weights = [one._compile_config.config.get("loss_weights") for one in (before, after)]  # type: ignore[attr-defined]
    if weights[1] is not None and weights[0] != weights[1]:
        values["loss_weights"] = repr(keras.tree.map_structure(lambda one: float(f"{one:.3g}"), weights[1]))
    if call is None or not values or not script.set_arguments(call, values, _COMPILE):
        return set()
    return {*values, *(("loss",) if "loss_weights" in values else ())}


def _optimizer_code(optimizer: Any, prefix: str, cycle: str | None = None) -> str | None:
    if optimizer is None or not type(optimizer).__module__.startswith("keras."):
        return None
    config: Mapping[str, Any] = optimizer.get_config()
    defaults = inspect.signature(type(optimizer).__init__).parameters
    found = []
    for name in _OPTIMIZER:
        value = config.get(name)
        if value is None or name not in defaults:
            continue
        if name == "learning_rate" and cycle is not None:
            found.append(f"{name}={cycle}")
        elif isinstance(value, float | int | np.floating):
            if name == "learning_rate" or value != defaults[name].default:
                found.append(f"{name}={float(f'{float(value):.6g}')!r}")
        elif isinstance(value, dict) and (code := _code(value, prefix)) is not None:
            found.append(f"{name}={code}")
    return f"{prefix}.optimizers.{type(optimizer).__name__}({', '.join(found)})"


def _loss_code(loss: Any, prefix: str) -> str | None:
    if isinstance(loss, str):
        return _literal(loss)
    if isinstance(loss, keras.losses.Loss):
        return _code(keras.saving.serialize_keras_object(loss), prefix)
    return None


def _said_fit(script: Script, training: Training, treatment: Treatment) -> set[str]:
    """The remedies that change an argument of the call of fit."""
    call = script.method(FIT, training.line)
    said: set[str] = set()
    for change in treatment.changes:
        values = arguments_of(change.snippet)
        plain = {name: code for name, code in values.items() if name in _FIT_OPTIONS}
        if (
            call is not None
            and plain
            and script.set_arguments(call, plain, ("x", "y", "batch_size", "epochs"))
        ):
            said.add(change.remedy)
    return said
