"""Remedies for networks of sequences: cells, states, masks, positions, and warm-up under attention."""

from collections.abc import Iterable
from typing import Any, Final

import keras
import numpy as np

from kilter._diagnosis.sibling import CLIP
from kilter._models.editing import Cut, open_layers
from kilter._models.layers import ATTENTION, RECURRENT, LayerFacts
from kilter._models.optimizers import CLIPS, fresh_optimizer
from kilter._models.variables import assign, draw
from kilter._records import Finding
from kilter._treatment.remedies.base import changed, chosen, counted, operated, optimized, paths, remedies
from kilter._treatment.subject import Subject, copied_with_layers
from kilter.nn.layers import PositionEmbedding

_INNER: Final = ("layer", "backward_layer", "cell")
_KERNELS: Final = {"kernel": "glorot_uniform", "recurrent_kernel": "orthogonal"}
_FEW_STEPS: Final = 100  # that a gradient passes through, as in truncated training of recurrent networks
_WARM_RATE: Final = 1e-3
_OPPOSITE: Final = {
    "Equal": "not_equal",
    "NotEqual": "equal",
    "Greater": "less_equal",
    "GreaterEqual": "less",
    "Less": "greater_equal",
    "LessEqual": "greater",
}


def _recurrent(subject: Subject) -> list[LayerFacts]:
    return [one for one in subject.layers if isinstance(one.layer, RECURRENT)]


def _holders(subject: Subject, layers: Iterable[LayerFacts]) -> dict[Any, list[LayerFacts]]:
    """The layers that can be replaced, such as a Bidirectional, by what they hold of ``layers``."""
    named, found = list(layers), {}
    for layer in open_layers(subject.model):
        inner = {id(layer), *(id(one) for one in layer._flatten_layers())}
        held = [one for one in named if id(one.layer) in inner]
        if held:
            found[layer] = held
    return found


def _with(config: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The configuration with ``values`` where it has such keys, those of inner layers and cells too."""
    found = {key: values.get(key, value) for key, value in config.items()}
    for key in _INNER:
        if isinstance(found.get(key), dict) and "config" in found[key]:
            found[key] = {**found[key], "config": _with(found[key]["config"], values)}
    return found


def _reconfigured(
    subject: Subject, finding: Finding, values: dict[str, Any], before: str, after: str
) -> Subject | None:
    """The recurrent layers named with ``values`` in their configuration."""
    layers = chosen(finding, _recurrent(subject))
    holders = _holders(subject, layers)
    if not holders:
        return None
    held = [one for ones in holders.values() for one in ones]
    cuts: dict[Any, Cut] = {layer: lambda config: _with(config, values) for layer in holders}
    return operated(subject, paths(held), (before, after), cuts)


def recurrent_tanh(subject: Subject, finding: Finding) -> Subject | None:
    """Keras's own activations in recurrent layers: tanh for the state, sigmoid for the gates."""
    wanted = {"activation": "tanh", "recurrent_activation": "sigmoid"}
    cells = [inner for one in chosen(finding, _recurrent(subject)) for inner in _cells(one.layer)]
    names = [
        getattr(getattr(cell, key, None), "__name__", sound)
        for cell in cells
        for key, sound in wanted.items()
    ]
    others = [name for name in names if name not in wanted.values()]
    if not others:
        return None
    return _reconfigured(subject, finding, wanted, counted(others), "tanh, gates with sigmoid")


def _cells(layer: Any) -> list[Any]:
    cell = getattr(layer, "cell", None)
    return [] if cell is None else list(getattr(cell, "cells", [cell]))


def stateless(subject: Subject, finding: Finding) -> Subject | None:
    """Recurrent layers that start every row from zeros."""
    if not any(getattr(one.layer, "stateful", False) for one in _recurrent(subject)):
        return None
    words = "states kept between batches", "a new state for every row"
    return _reconfigured(subject, finding, {"stateful": False}, *words)


def read_last_step(subject: Subject, finding: Finding) -> Subject | None:
    """The last recurrent layer returns its last step instead of all; not under attention."""
    layers = [one for one in _recurrent(subject) if getattr(one.layer, "return_sequences", False)]
    if not layers or any(isinstance(one.layer, ATTENTION) for one in subject.layers):
        return None
    last = Finding(finding.code, finding.severity, (layers[-1].path,), (), "", (), "")
    words = "an answer for every step", "an answer after the last step"
    return _reconfigured(subject, last, {"return_sequences": False}, *words)


def orthogonal_recurrent(subject: Subject, finding: Finding) -> Subject | None:
    """Reinitialise recurrent layers: orthogonal from step to step, Glorot uniform for inputs, zero biases.

    Forget gates start at 1.
    """
    layers = [one for one in chosen(finding, _recurrent(subject)) if any(map(_to_draw, _cells(one.layer)))]
    if not layers:
        return None
    copied = copied_with_layers(subject.model)
    number = 0
    for one in layers:
        for cell in filter(_is_known, _cells(copied.twin(one.layer))):
            for variable in cell.weights:
                if variable.name in _KERNELS:
                    number += 1
                    seed = subject.seed * 10_007 + number
                    assign([(variable, draw(_KERNELS[variable.name], variable.shape, seed))])
            cell.kernel_initializer = keras.initializers.get("glorot_uniform")
            cell.recurrent_initializer = keras.initializers.get("orthogonal")
            _open_gates(cell)
    before = counted(type(_cells(one.layer)[0].recurrent_initializer).__name__ for one in layers)
    after = "orthogonal recurrent kernels, Glorot uniform kernels"
    return changed(subject, paths(layers), (before, after), model=copied.model)


def _is_known(cell: Any) -> bool:
    return isinstance(cell, (keras.layers.LSTMCell, keras.layers.GRUCell, keras.layers.SimpleRNNCell))


def _to_draw(cell: Any) -> bool:
    """Whether a cell is known, and its kernels are not as they would be drawn."""
    if not _is_known(cell):
        return False
    recurrent, kernel = np.asarray(cell.recurrent_kernel, float), np.asarray(cell.kernel, float)
    turned = np.allclose(recurrent @ recurrent.T, np.eye(len(recurrent)), atol=1e-3)
    scale = float(np.sqrt(np.square(kernel).mean() * sum(kernel.shape) / 2))
    return not (turned and 0.5 < scale < 2.0)


def _open_gates(cell: Any) -> None:
    """Biases 0, those of forget gates 1."""
    bias = getattr(cell, "bias", None)
    if bias is None:
        return
    values = np.zeros(bias.shape)
    if isinstance(cell, keras.layers.LSTMCell):
        values[cell.units : 2 * cell.units] = 1.0
        cell.unit_forget_bias = True
    cell.bias_initializer = keras.initializers.get("zeros")
    assign([(bias, values)])


def unit_forget_bias(subject: Subject, finding: Finding) -> Subject | None:
    """Biases of LSTMs that open the forget gates: 1 there, 0 elsewhere."""
    layers = [
        one
        for one in chosen(finding, _recurrent(subject))
        if any(isinstance(cell, keras.layers.LSTMCell) and cell.use_bias for cell in _cells(one.layer))
    ]
    if not layers or all(_are_open(cell) for one in layers for cell in _cells(one.layer)):
        return None
    copied = copied_with_layers(subject.model)
    for one in layers:
        for cell in _cells(copied.twin(one.layer)):
            if isinstance(cell, keras.layers.LSTMCell):
                _open_gates(cell)
    words = "forget gates closed", "a forget bias of 1"
    return changed(subject, paths(layers), words, model=copied.model)


def _are_open(cell: Any) -> bool:
    bias = getattr(cell, "bias", None)
    if not isinstance(cell, keras.layers.LSTMCell) or bias is None:
        return True
    return float(np.asarray(bias)[cell.units : 2 * cell.units].mean()) >= 0.5


def pool_steps(subject: Subject, finding: Finding) -> Subject | None:
    """Means of neighbouring steps of a long series, so that gradients pass through about 100 steps.

    None for ids, for several inputs, under a mask, and where a layer before the recurrent one pools already.
    """
    inputs = subject.model.inputs
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 3 or shape[1] is None or np.asarray(subject.x).dtype.kind != "f":
        return None
    first = next(one for one in subject.layers if one.takes_input)
    size = round(shape[1] / _FEW_STEPS)
    if size < 2 or not isinstance(first.layer, RECURRENT):
        return None
    pool = keras.layers.AveragePooling1D(size, name="pool_steps")
    words = f"{shape[1]} steps in sequence", f"means of {size} steps each, {shape[1] // size} in sequence"
    snippet = f"keras.layers.AveragePooling1D({size})  # the first layer"
    return operated(subject, (first.path,), words, {}, front=[pool], snippet=snippet)


def add_positions(subject: Subject, finding: Finding) -> Subject | None:
    """A trained vector for each step, added to the embedded tokens, or to what the first attention reads."""
    if any(isinstance(one, PositionEmbedding) for one in subject.model._flatten_layers()):
        return None
    free = {id(layer) for layer in open_layers(subject.model)}
    entering = [
        one
        for one in subject.layers
        if one.takes_input and len(one.shape) == 3 and id(one.layer) in free and one.layer.weights
    ]
    if not entering:
        return None
    first = entering[0]
    words = "no positions", "a trained vector for each step, added"
    return operated(
        subject, (first.path,), words, {first.layer: lambda config: [config, PositionEmbedding()]}
    )


def repair_softmax_axis(subject: Subject, finding: Finding) -> Subject | None:
    """A softmax over the steps where it runs over an axis of length 1, in a layer of its own."""
    free = {id(layer) for layer in open_layers(subject.model)}
    layers = [one for one in subject.layers if _runs_over_one(one) and id(one.layer) in free]
    cuts: dict[Any, Cut] = {}
    for one in layers:
        if isinstance(one.layer, keras.layers.Softmax):
            cuts[one.layer] = lambda config: {**config, "axis": 1}
        elif isinstance(one.layer, keras.layers.Activation):
            cuts[one.layer] = lambda config: [keras.layers.Softmax(axis=1, name=config["name"])]
        else:
            cuts[one.layer] = lambda config: [
                {**config, "activation": "linear"},
                keras.layers.Softmax(axis=1),
            ]
    if not cuts:
        return None
    words = "softmax over the wrong axis", "softmax over the steps"
    return operated(subject, paths(layers), words, cuts, snippet="keras.layers.Softmax(axis=1)")


def _runs_over_one(one: LayerFacts) -> bool:
    """Whether the layer is a softmax over the last axis of [rows, steps, 1], and no output of the model."""
    own = isinstance(one.layer, keras.layers.Softmax) and one.layer.axis in (-1, 2)
    given = getattr(one.layer, "activation", None) is keras.activations.softmax
    return (own or given) and len(one.shape) == 3 and one.shape[-1] == 1 and not one.is_output


def warm_up(subject: Subject, finding: Finding) -> Subject | None:
    """A rate that rises to at most 1e-3 and falls again over all epochs; gradients are clipped.

    By epochs, so that short trials go through the whole course too, in the program of any rate. None for
    an optimiser whose rate is scheduled, or unknown.
    """
    facts = subject.optimizer
    if facts.learning_rate is None or facts.scheduled or subject.cycle is not None:
        return None
    if subject.training.schedule is not None:
        return None
    peak = min(facts.learning_rate, _WARM_RATE)
    clipped = any(getattr(facts.optimizer, name, None) for name in CLIPS)
    extra = {} if clipped else {"clipnorm": CLIP}
    optimizer = fresh_optimizer(subject.model, learning_rate=peak, **extra)
    before = f"learning rate {facts.learning_rate:.3g} from the first step"
    after = f"rising to {peak:g} and down again over all epochs (1cycle)"
    after += "" if clipped else f", gradient norm at most {CLIP:g}"
    recipe = ("schedule.name=one_cycle", f"optimizer.learning_rate={peak:g}")
    return optimized(subject, (before, after), optimizer, cycle=peak, recipe=recipe)


def invert_mask(subject: Subject, finding: Finding) -> Subject | None:
    """The only comparison of the graph, such as ``ids == 0``, which makes the mask, becomes its opposite.

    The mask of the only layer that makes one is negated.
    """
    if "invert-mask" in subject.remedies:
        return None
    found = [one for one in subject.model._operations if type(one).__name__ in _OPPOSITE]
    makers = [] if found else [one for one in open_layers(subject.model) if _makes_mask(one)]
    if len(found) + len(makers) != 1:
        return None
    (one,) = (*found, *makers)
    if makers:
        return operated(
            subject,
            (one.name,),
            (f"the mask of {one.name}", "its opposite"),
            {one: lambda config: [config, keras.ops.logical_not]},
            snippet=f'mask = keras.ops.logical_not(model.get_layer("{one.name}").output)  # True: read',
        )
    kind = type(one).__name__
    opposite = _OPPOSITE[kind]
    words = f"mask by {kind}", f"mask by {opposite}"
    snippet = f"mask = keras.ops.{opposite}(x_train, 0)  # True for the steps to use"
    # Not a layer: any function may take its place.
    return operated(
        subject, (one.name,), words, {one: lambda _: [getattr(keras.ops, opposite)]}, snippet=snippet
    )


def _makes_mask(layer: Any) -> bool:
    """Whether what a layer returns is a tensor of true and false."""
    output = getattr(layer, "output", None)
    return getattr(output, "dtype", None) == "bool" and not isinstance(layer, keras.layers.InputLayer)


REMEDIES = {
    **remedies(
        recurrent_tanh,
        stateless,
        read_last_step,
        pool_steps,
        add_positions,
        repair_softmax_axis,
        invert_mask,
        needs_surgery=True,
    ),
    **remedies(orthogonal_recurrent, unit_forget_bias, warm_up),
}
