"""A whole model as Keras code that builds it anew."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kilter._models.code import compile_code, layer_code, value_code
from kilter._models.keras_internals import Functional


def model_code(model: keras.Model, data: Sequence[str]) -> str | None:
    """Code that builds ``model``, adapts its Normalization layers and compiles it; None if it has no such.

    ``data``: the training rows of each input, as code. Weights are not written: they are drawn again. None
    for classes of the user's own, frozen layers, models within models, layers that are shared or hold a
    vocabulary, and operations that are no layers.
    """
    graph: Any = model._functional if isinstance(model, keras.Sequential) and model.built else model
    if type(model) not in (keras.Sequential, Functional) or type(graph) is not Functional:
        return None
    nodes = [node for depth in sorted(graph._nodes_by_depth)[::-1] for node in graph._nodes_by_depth[depth]]
    steps = [node for node in nodes if not node.is_input]
    if max(Counter(id(node.operation) for node in steps).values(), default=2) > 1:
        return None
    names = {id(one): f"inputs{f'_{i}' * (len(graph.inputs) > 1)}" for i, one in enumerate(graph.inputs)}
    entries = [_input_code(one, named=isinstance(graph._inputs_struct, dict)) for one in graph.inputs]
    rows = {id(one): code for one, code in zip(graph.inputs, data, strict=True)}
    lines, made, adapted = [], [], []
    for place, node in enumerate(steps):
        ends = len(graph.outputs) > 1 and any(node.outputs[0] is one for one in graph.outputs)
        code = _layer(node.operation, named=ends)
        given = node.input_tensors
        if code is None or len(node.outputs) != 1:
            return None
        if isinstance(node.operation, keras.layers.Normalization) and not node.operation.invert:
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
    own = "loss=model.loss" in compiled  # a function of the user's own
    lines = [*(["given = model"] if own else []), *adapted, *lines]
    return "\n".join([*lines, compiled.replace("loss=model.loss", "loss=given.loss")])


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
