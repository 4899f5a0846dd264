"""A treatment as one program: rows, the whole model as Keras code, one compile() and one fit()."""

import ast
import builtins
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import keras
import numpy as np

from kilter._layout import wrapped
from kilter._models.code import code_of, compile_code, difference_code, layer_code, value_code
from kilter._models.keras_internals import Functional
from kilter._text import listed
from kilter._treatment.subject import Subject

_GIVEN: Final = "given.get_layer"
_MODULES: Final = {"keras": "keras", "kilter": "kilter", "np": "numpy as np"}


def model_code(
    model: keras.Model, data: Sequence[str], original: keras.Model, *, trained: bool = False
) -> str | None:
    """Code that builds ``model``, adapts its Normalization layers and compiles it; None if it has no such.

    ``data``: the training rows of each input, as code. ``original``: the model that the code finds as
    ``model``. Its unchanged layers are taken from it if they are of the user's own class, frozen, models, or
    hold a vocabulary, and all of them if it was ``trained``; other weights are drawn again. None for
    operations that are no layers, and where such a layer was changed.
    """
    graph: Any = model._functional if isinstance(model, keras.Sequential) and model.built else model
    if type(model) not in (keras.Sequential, Functional) or type(graph) is not Functional:
        return None
    nodes = [node for depth in sorted(graph._nodes_by_depth)[::-1] for node in graph._nodes_by_depth[depth]]
    steps = [node for node in nodes if not node.is_input]
    uses = Counter(id(node.operation) for node in steps)
    if not steps:
        return None
    names = {id(one): f"inputs{f'_{i}' * (len(graph.inputs) > 1)}" for i, one in enumerate(graph.inputs)}
    entries = [_input_code(one, named=isinstance(graph._inputs_struct, dict)) for one in graph.inputs]
    rows = {id(one): code for one, code in zip(graph.inputs, data, strict=True)}
    lines, made, adapted = [], [], []
    kept_layers: dict[int, str] = {}  # those that are called several times
    for place, node in enumerate(steps):
        ends = len(graph.outputs) > 1 and any(node.outputs[0] is one for one in graph.outputs)
        layer, given = node.operation, node.input_tensors
        taken = _taken(layer, original)
        code = taken if trained and taken else _layer(layer, named=ends) or taken
        if code is None or len(node.outputs) != 1:
            return None
        if uses[id(layer)] > 1:
            if id(layer) not in kept_layers:
                kept_layers[id(layer)] = f"shared_{len(kept_layers) + 1}"
                adapted.append(f"{kept_layers[id(layer)]} = {code}")
            code = kept_layers[id(layer)]
        elif isinstance(layer, keras.layers.Normalization) and not layer.invert and code != taken:
            scaled = rows.get(id(given[0]))
            if scaled is None:
                return None
            kept = f"normalization{f'_{len(adapted) // 2}' * bool(adapted)}"
            adapted += [f"{kept} = {code}", f"{kept}.adapt({scaled})"]
            code = kept
        passed = _passed(node.arguments, names)
        if passed is None:
            return None
        name = f"h{place + 1}"
        lines.append(f"{name} = {code}({passed})")
        made.append((code, len(given) == 1 and passed == (f"h{place}" if place else "inputs")))
        names[id(node.outputs[0])] = name
    if all(alone for _, alone in made) and not isinstance(graph._outputs_struct, dict | list | tuple):
        parts = [*entries, *(code for code, _ in made)]
        lines = ["model = keras.Sequential([", *(f"    {one}," for one in parts), "])"]
    else:
        begin = [f"{names[id(one)]} = {code}" for one, code in zip(graph.inputs, entries, strict=True)]
        between = [_nested(one, names) for one in (graph._inputs_struct, graph._outputs_struct)]
        lines = [*begin, *lines, f"model = keras.Model({', '.join(between)})"]
    compiled = compile_code(model)
    if "model.optimizer" in compiled:
        return None
    lines = [*adapted, *lines]
    if "loss=model.loss" in compiled or any(_GIVEN in one for one in lines):
        lines.insert(0, "given = model")
    return "\n".join([*lines, compiled.replace("loss=model.loss", "loss=given.loss")])


def _taken(layer: Any, original: keras.Model) -> str | None:
    """The code that takes a layer of the original model, if it is there with the same weights."""
    found = next((one for one in original.layers if one.name == layer.name), None)
    if found is None or type(found) is not type(layer) or found.trainable != layer.trainable:
        return None
    same = code_of(found) == code_of(layer) and len(found.weights) == len(layer.weights)
    pairs = zip(found.weights, layer.weights, strict=False)
    same = same and all(np.array_equal(one.numpy(), other.numpy(), equal_nan=True) for one, other in pairs)
    return f'{_GIVEN}("{layer.name}")' if same else None


def _input_code(tensor: Any, *, named: bool) -> str:
    dtype = "" if tensor.dtype == "float32" else f', dtype="{tensor.dtype}"'
    name = f', name="{tensor.name}"' if named else ""
    return f"keras.Input({tuple(tensor.shape[1:])!r}{dtype}{name})"


def _layer(layer: Any, *, named: bool) -> str | None:
    """The call that makes a layer; None if it cannot be written."""
    inside = layer._flatten_layers() if isinstance(layer, keras.Layer) else ()
    plain = inside and all(one.trainable and not isinstance(one, keras.Model) for one in inside)
    if not plain or not type(layer).__module__.startswith(("keras.", "kilter.")):
        return None
    if hasattr(layer, "adapt") and not isinstance(layer, keras.layers.Normalization):
        return None
    config = layer.get_config()
    if isinstance(layer, keras.layers.Normalization) and not layer.invert:
        axis = keras.tree.flatten(config["axis"])
        config |= {"mean": None, "variance": None, "axis": -1 if axis == [-1] else config["axis"]}
    code = layer_code(type(layer), config)
    if named:
        comma = "" if code.endswith("()") else ", "
        code = f'{code[:-1]}{comma}name="{layer.name}")'
    return None if "..." in code else code


def _passed(arguments: Any, names: Mapping[int, str]) -> str | None:
    """The arguments of a call of a layer as code; None if they hold anything else."""
    given = {key: one for key, one in arguments.kwargs.items() if one is not None and key != "training"}
    parts = [_nested(one, names) for one in arguments.args]
    parts += [f"{key}={_nested(one, names)}" for key, one in given.items()]
    return None if any("None" in one for one in parts) else ", ".join(parts)


def _nested(value: Any, names: Mapping[int, str]) -> str:
    """Tensors in lists and dicts as code."""
    if isinstance(value, keras.KerasTensor):
        return names[id(value)]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{key}": {_nested(one, names)}' for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_nested(one, names) for one in value) + "]"
    return str(value_code(value))


_LAYER: Final = re.compile(r"(?:keras\.layers|kilter\.nn)\.([A-Z]\w*)|normalization(?:\.adapt| = )")
_COMPILE: Final = "model.compile("
_FIT: Final = re.compile(r"(model|kilter)\.fit\(")
_CALLBACK: Final = "keras.callbacks."


def program(original: Subject, treated: Subject) -> str:
    """Code that makes the changes of ``treated``, with ``model``, ``x_train`` and ``y_train``; "" for none.

    The model is built anew, with the unchanged layers of the original where these are trained or cannot be
    written. A model with operations that are no layers keeps a line for each changed layer, with its place.
    """
    if not treated.changes:
        return ""
    data = ["x_train"]
    if isinstance(treated.x, dict):
        data = [f'x_train["{key}"]' for key in sorted(treated.x)]
    elif isinstance(treated.x, list | tuple):
        data = [f"x_train[{place}]" for place in range(len(treated.x))]
    differing = difference_code(original.model, treated.model).splitlines()
    changed = any(not line.startswith(_COMPILE) for line in differing)
    known = changed and len(data) == len(treated.model.inputs or ())
    whole = model_code(treated.model, data, original.model, trained=original.trained) if known else None
    heads, rows, after, options, callbacks = [], [], [], {}, []
    for one in treated.changes:
        heads += wrapped(f"# {one.remedy}: {one.after}", 100, indent="#     ")
        if one.snippet.startswith("#") and one.snippet != f"# {one.after}":
            heads.append(one.snippet.partition("\n")[0])
    cycle = "" if treated.cycle is None else treated.code_of(None, cycle=treated.cycle)
    for line, node in _statements("\n".join([*(one.snippet for one in treated.changes), cycle])):
        value, layer = getattr(node, "value", None), _LAYER.match(line)
        if line.startswith(_COMPILE) or (layer and whole and (layer[1] or "Normalization") in whole):
            continue
        if isinstance(value, ast.Call) and _FIT.match(line):
            options |= {str(one.arg): ast.unparse(one.value) for one in value.keywords}
        elif value is not None and line.startswith(_CALLBACK):
            callbacks.append(ast.unparse(value))
        else:
            (after if re.search(r"\bmodel\b", line) or layer else rows).append(line)
    recompiled = any(_COMPILE in one.snippet for one in treated.changes)
    built, compiled = "", compile_code(treated.model) if recompiled else ""
    if whole:
        built, _, compiled = whole.rpartition("\n")
    if not cycle:
        options.pop("schedule", None)
    if callbacks:
        options["callbacks"] = f"[{', '.join(callbacks)}]"
    given = ", ".join(f"{key}={code}" for key, code in options.items())
    called = "kilter.fit(model, " if cycle or "augment" in options else "model.fit("
    fit = f"{called}x_train, y_train, {given})" if given else ""
    code = "\n".join(filter(None, [*rows, built, *after, compiled, fit]))
    return "\n".join([*_needed(code), *heads, *filter(None, [code])])


def _needed(code: str) -> list[str]:
    """A comment with the modules and the objects of the user's own that code reads and does not make."""
    made, read = set(dir(builtins)), dict[str, None]()
    for statement in ast.parse(code).body:
        names = [one for one in ast.walk(statement) if isinstance(one, ast.Name)]
        local = {one.arg for one in ast.walk(statement) if isinstance(one, ast.arg)}
        turns = [one.target for one in ast.walk(statement) if isinstance(one, ast.comprehension | ast.For)]
        local |= {one.id for each in turns for one in ast.walk(each) if isinstance(one, ast.Name)}
        read |= dict.fromkeys(
            sorted({one.id for one in names if isinstance(one.ctx, ast.Load)} - local - made)
        )
        made |= {one.id for one in names if isinstance(one.ctx, ast.Store)} | _defined(statement)
    modules = [f"import {_MODULES[name]}" for name in read if name in _MODULES]
    own = [name for name in read if name not in _MODULES]
    parts = [listed(modules)] * bool(modules) + [f"your own {listed(own)}"] * bool(own)
    return wrapped(f"# Needs {'; '.join(parts)}.", 100, indent="#     ") if parts else []


def _defined(statement: ast.stmt) -> set[str]:
    """The names that an import, a function or a class defines."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(one.asname or one.name).partition(".")[0] for one in statement.names}
    return {statement.name} if isinstance(statement, ast.FunctionDef | ast.ClassDef) else set()


def _statements(snippet: str) -> list[tuple[str, ast.stmt]]:
    """The statements of a snippet, each with its code and the comment behind it."""
    lines = snippet.splitlines()
    return [("\n".join(lines[node.lineno - 1 : node.end_lineno]), node) for node in ast.parse(snippet).body]
