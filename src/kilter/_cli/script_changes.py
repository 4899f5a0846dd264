"""The changes of a treatment in the calls of a script: layers, what the model is compiled with, and fit."""

import ast
import inspect
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import keras
import numpy as np

from kilter._cli.script_calls import Sites, Training
from kilter._cli.script_edits import COMPILE, FIT, LayerEdit, Position, Script, arguments_of
from kilter._models.code import IGNORED, compiled_changes, layer_code, optimizer_code, value_code
from kilter._models.copying import fresh_name
from kilter._models.optimizers import inner_optimizer
from kilter._models.reading import read_model
from kilter._treatment.result import Treatment

_COMPILE: Final = ("optimizer", "loss", "loss_weights")
_STANDARDIZED: Final = "standardize-inputs"
_FITTED: Final = {"epochs": 1, "batch_size": 32}
_MOST_NUMBERS: Final = 64  # that a diff writes out
_RISING: Final = 0.45  # of the steps, as in kilter.schedules.one_cycle
_FIT_OPTIONS: Final = ("batch_size", "shuffle", "epochs", "class_weight")
_PEAK: Final = re.compile(r"one_cycle\(([\d.e+-]+)")


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
    fitted: dict[str, Any] = {name: training.options.get(name, usual) for name, usual in _FITTED.items()}
    for one in treatment.changes:
        fitted |= {name: code for name, code in arguments_of(one.snippet).items() if name in _FITTED}
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
    every = before._flatten_layers(include_self=False)
    # The outer call makes the cell of an LSTM and the two layers of a Bidirectional, and says their change.
    inner = {
        id(part)
        for one in every
        for part in one._flatten_layers(include_self=False)
        if sites.of(part) == sites.of(one)
    }
    places = {
        id(one): place for one in every if id(one) not in inner and (place := sites.of(one)) is not None
    }
    for layer, edit in _changed(before, after, prefix, gone):
        if id(layer) in places:
            edits.setdefault(places[id(layer)], []).append((layer.name, edit))
    for place in places.values():
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
    """Whether the diff could add a Normalization for each scaled input, adapted just before ``fit``.

    Where the rows have no name, as those of a generator, it gets the numbers themselves.
    """
    own = {layer.name for layer in training.model._flatten_layers(include_self=False)}
    kept = {layer.name for layer in after._flatten_layers(include_self=False)}
    fit = script.method(FIT, training.line)
    model = None if fit is None else script.object_of(fit)
    new = {one.layer.name: one for one in read_model(after, training.x, ())[0] if one.layer.name not in own}
    front = [one for one in new.values() if isinstance(one.layer, keras.layers.Normalization) and one.enters]
    if fit is None or model is None or not front:
        return False
    arrays = script.argument(fit, "y", 1) is not None
    before = read_model(training.model, training.x, ())[0]
    edits: list[Callable[[], bool]] = []
    for number, one in enumerate(front):
        (index,), axis = one.enters, one.layer.axis
        firsts = [each for each in before if index in each.enters]
        gone = [each for each in firsts if each.layer.name not in kept]  # a Rescaling
        firsts += [before[place] for each in gone for place in each.consumers]
        calls = [script.at(at) for each in firsts if each not in gone and (at := sites.of(each.layer))]
        data = _rows_of(script, fit, training.x, index) if arrays else None
        numbers = _numbers(one.layer) if data is None else ""
        if len(calls) != 1 or (call := calls[0]) is None or numbers is None:
            return False
        # Not a name that Keras gives by itself: an unnamed layer of the script would have it too.
        name = fresh_name(training.model, f"standardize_{number}" if number else "standardize")
        kept_axis = "" if axis in (-1, (-1,)) else f"axis={axis!r}, "
        made = f'{prefix}.layers.Normalization({kept_axis}{numbers}name="{name}")'
        edits.append(partial(script.insert_before, call, made))
        if data is not None:
            adapted = f'{model}.get_layer("{name}").adapt({data})'
            edits.append(partial(script.insert_line, fit, adapted))
    return script.attempt(edits)


def _numbers(layer: Any) -> str | None:
    """The means and variances of an adapted Normalization as arguments; None if there are too many."""
    values = [np.ravel(np.asarray(one)) for one in (layer.mean, layer.variance)]
    if len(values[0]) > _MOST_NUMBERS or (len(values[0]) > 1 and layer.axis not in (-1, (-1,))):
        return None
    mean, variance = ([float(f"{number:.4g}") for number in one] for one in values)
    if layer.axis is None:
        return f"mean={mean[0]}, variance={variance[0]}, "
    return f"mean={mean}, variance={variance}, "


def _rows_of(script: Script, fit: ast.Call, x: Any, index: int) -> str | None:
    """The training rows of an input as code, without those that ``validation_split`` holds out."""
    keys: Any = sorted(x) if isinstance(x, dict) else range(len(x)) if isinstance(x, list | tuple) else [None]
    data = script.part_of(script.argument(fit, "x", 0), keys[index])
    share, held = (script.argument(fit, f"validation_{name}", -1) for name in ("split", "data"))
    if data is None or share is None or held is not None:
        return data
    return f"{data}[:int(len({data}) * (1 - {ast.unparse(share)}))]"


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
        if any("..." in code for code in (*arguments.values(), *added)):
            continue  # a lambda, or an object of the script's own
        if arguments or kind or added:
            yield layer, LayerEdit(arguments, names, kind, added)


def _inserted(order: list[Any], twin: Any, own: set[str], prefix: str) -> Iterator[str]:
    """The code of the new layers that follow ``twin``."""
    places = [index for index, one in enumerate(order) if one is twin]
    for layer in order[places[0] + 1 :] if places else ():
        if layer.name in own:
            return
        yield layer_code(type(layer), layer.get_config(), prefix)


def _arguments(layer: Any, twin: Any, prefix: str) -> dict[str, str]:
    old, new = layer.get_config(), twin.get_config()
    changed = {name for name in new if name not in IGNORED and name in old and new[name] != old[name]}
    return {name: value_code(value, prefix) or "..." for name, value in new.items() if name in changed}


def _said_compile(
    script: Script, training: Training, after: keras.Model, prefix: str, cycle: str | None = None
) -> set[str]:
    """The parts of compile() that were rewritten. ``cycle``: the code of the rate, if it has a schedule."""
    call, before = script.method(COMPILE, training.compiled), training.model
    values = compiled_changes(before, after, prefix)
    code = None if cycle is None else optimizer_code(inner_optimizer(after), prefix, cycle)
    if code is not None:
        values["optimizer"] = code
    if call is None or not values or not script.set_arguments(call, values, _COMPILE):
        return set()
    return {*values, *(("loss",) if "loss_weights" in values else ())}


def _said_fit(script: Script, training: Training, treatment: Treatment) -> set[str]:
    """The remedies that change an argument of the call of fit."""
    call = script.method(FIT, training.line)
    said: set[str] = set()
    for change in treatment.changes:
        values = arguments_of(change.snippet)
        if "schedule" in values:
            continue  # a call of kilter.fit, with the script's own epochs
        plain = {name: code for name, code in values.items() if name in _FIT_OPTIONS}
        if (
            call is not None
            and plain
            and script.set_arguments(call, plain, ("x", "y", "batch_size", "epochs"))
        ):
            said.add(change.remedy)
    return said
