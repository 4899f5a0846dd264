"""The changes of a treatment in the calls of a script: layers, what the model is compiled with, and fit."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

import keras

from kilter._cli.script_calls import Sites, Training
from kilter._cli.script_edits import COMPILE, FIT, LayerEdit, Position, Script, arguments_of
from kilter._models.code import IGNORED, compiled_changes, layer_code, optimizer_code, value_code
from kilter._models.optimizers import inner_optimizer
from kilter._treatment.result import Treatment

_COMPILE: Final = ("optimizer", "loss", "loss_weights")
_PEAK: Final = re.compile(r"one_cycle\(([\d.e+-]+)")


def rewritten(script: Script, training: Training, treatment: Treatment, sites: Sites) -> list[str]:
    """Make the treatment's changes in the script; the codes of the remedies that code cannot express."""
    if not treatment.changes:
        return []
    prefix = script.keras()
    gone = {
        place.rpartition("/")[2]
        for one in treatment.changes
        if one.remedy.startswith(("drop-", "remove-"))
        for place in one.where
    }
    said = _said_layers(script, training.model, treatment.model, sites, prefix, gone)
    peaks = [float(found[1]) for one in treatment.changes for found in _PEAK.finditer(one.snippet)]
    said |= _said_compile(script, training.model, treatment.model, prefix, peaks[-1] if peaks else None)
    said |= _said_fit(script, training, treatment)
    return [one.remedy for one in treatment.changes if not _covered(one, said)]


def _covered(change: Any, said: set[str]) -> bool:
    if _PEAK.search(change.snippet):
        return False  # fit() of Keras takes no schedule
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
        yield layer_code(type(layer), layer.get_config(), prefix)


def _arguments(layer: Any, twin: Any, prefix: str) -> dict[str, str]:
    old, new = layer.get_config(), twin.get_config()
    found = {}
    for name, value in new.items():
        if name in IGNORED or name not in old or value == old[name]:
            continue
        code = value_code(value, prefix)
        if code is not None:
            found[name] = code
    return found


def _said_compile(
    script: Script, before: keras.Model, after: keras.Model, prefix: str, peak: float | None = None
) -> set[str]:
    """The parts of compile() that were rewritten. ``peak``: the highest rate of a 1cycle, if there is one."""
    call, values = script.method(COMPILE), compiled_changes(before, after, prefix)
    if peak is not None:
        code = optimizer_code(inner_optimizer(after), prefix, peak)
        values |= {} if code is None else {"optimizer": code}
    if call is None or not values or not script.set_arguments(call, values, _COMPILE):
        return set()
    return {*values, *(("loss",) if "loss_weights" in values else ())}


def _said_fit(script: Script, training: Training, treatment: Treatment) -> set[str]:
    """The remedies that change an argument of the call of fit."""
    call = script.method(FIT, training.line)
    said: set[str] = set()
    for change in treatment.changes:
        values = arguments_of(change.snippet)
        plain = {name: code for name, code in values.items() if name in ("batch_size", "shuffle", "epochs")}
        if (
            call is not None
            and plain
            and script.set_arguments(call, plain, ("x", "y", "batch_size", "epochs"))
        ):
            said.add(change.remedy)
    return said
