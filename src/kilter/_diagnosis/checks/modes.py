"""What else a prediction depends on: the mode of its layers, and the other rows of its batch.

Layers that differ between training and inference must run in the right mode and place; a sum over axis 0
mixes rows.
"""

from collections.abc import Iterator
from typing import Any, Final

import jax
import keras
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._engine.arrays import pick
from kilter._engine.inference import predict_unchanged
from kilter._models.copying import FOREIGN_ERRORS, is_graph
from kilter._models.layers import DROPOUTS, PASSING, LayerFacts, activation_layers, drop_rates
from kilter._models.tracing import fixed_batch_size, forward, intercept_calls
from kilter._models.variables import values
from kilter._records import Evidence, Finding
from kilter.errors import KilterError

_NORM: Final = keras.layers.BatchNormalization


def check_modes(context: Context) -> list[Finding]:
    """Dropout and batch normalisation that are off while the model trains, or on at inference.

    Only in models with a call of their own, which may lose the argument ``training`` or pass another.
    Nothing is compiled: the model is traced once in each mode.
    """
    model = context.model
    layers = [one for one in model._flatten_layers() if isinstance(one, (*DROPOUTS, _NORM))]
    if not layers or not any(_is_own(one) for one in model._flatten_layers()):
        return []
    try:
        off = [one for one, on in _modes(context, layers, training=True).items() if not on]
        late = [one for one, on in _modes(context, layers, training=False).items() if on]
    except (KilterError, *FOREIGN_ERRORS):
        return []
    lost = not model._call_has_training_arg
    alone = not any(map(_is_loaded, layers))  # parts that were trained before are left off on purpose
    off = [one for one in off if alone and one.trainable and getattr(one, "rate", 1)]
    # Keras with JAX runs call() itself: what is not passed on, inner layers do not know.
    detail = "call() of the model has no argument training" if lost else "training is not passed to them"
    made = []
    if off:
        words = {"when": "as at inference while the model trains", "detail": detail}
        made.append(_mode(off, words))
    if late:
        words = {"when": "as in training at inference", "detail": "training=True is passed to them"}
        made.append(_mode(late, words))
    return made


def _mode(layers: list[Any], words: dict[str, Any]) -> Finding:
    evidence = [Evidence("layers in the other mode", len(layers), 0)]
    return finding("layer-mode", "warning", [one.name for one in layers], evidence, **words)


def _is_own(layer: Any) -> bool:
    return type(layer).__module__.partition(".")[0] not in ("keras", "kilter")


def _is_loaded(layer: Any) -> bool:
    """Whether it is a batch normalisation whose moving averages have changed since initialisation."""
    return isinstance(layer, _NORM) and bool(np.any(np.asarray(layer.moving_mean)))


def _modes(context: Context, layers: list[Any], *, training: bool) -> dict[Any, bool]:
    """Whether each of the layers that are called runs as in training, when the model does or does not."""
    found: dict[Any, bool] = {}

    def around(layer: Any, call: Any, *arguments: Any, **options: Any) -> Any:
        found[layer] = bool(options.get("training")) or found.get(layer, False)
        return call(*arguments, **options)

    count = fixed_batch_size(context.model) or min(2, context.rows)
    with intercept_calls(layers, around):
        jax.eval_shape(
            lambda state, x: jax.tree.leaves(forward(context.model, state, x, training=training)),
            values(context.model),
            pick(context.x, slice(count)),
        )
    return found


def check_last(context: Context) -> list[Finding]:
    """Dropout or noise on the predictions themselves, with at most an activation after it."""
    noisy = {
        one.path: max(drop_rates(one.layer), default=0.0)
        for one in context.layers
        if isinstance(one.layer, (*DROPOUTS, keras.layers.GaussianNoise)) and _is_last(context, one)
    }
    if not noisy:
        return []
    evidence = [Evidence("largest rate", max(noisy.values()), 0.0)]
    return [finding("dropout-at-output", "warning", noisy, evidence)]


def _is_last(context: Context, one: LayerFacts) -> bool:
    after = [context.layers[place] for place in one.consumers]
    if not after:  # inside a layer, as in attention, what comes next may be no layer at all
        return one.shape[1:] in {tuple(output.shape[1:]) for output in context.outputs}
    plain = all(isinstance(each.layer, (*PASSING, *activation_layers())) for each in after)
    return plain and all(_is_last(context, each) for each in after)


# Operations that keep rows apart, whatever their arguments.
_BY_ROW: Final = (
    *("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Power", "Negative", "Absolute", "Square"),
    *("Sqrt", "Exp", "Log", "Maximum", "Minimum", "Relu", "Sigmoid", "Tanh", "Gelu", "Silu", "Clip", "Cast"),
    *("Equal", "NotEqual", "Greater", "Less", "LogicalAnd", "LogicalNot", "Sin", "Cos", "Where", "GetItem"),
)


def check_mixing(context: Context) -> list[Finding]:
    """Predictions that change with other rows of the batch. Random numbers stay: they go by place."""
    if context.probe is None or not _may_mix(context.model) or context.answers is None:
        return []
    count = len(context.answers[0])
    half = count // 2
    # The first half of the rows as before, in the company of copies of the first row.
    order = np.where(np.arange(count) < half, np.arange(count), 0)
    try:
        given = predict_unchanged(context.model, pick(context.x, order), batch_size=count)
    except (KilterError, *FOREIGN_ERRORS):
        return []
    change = 0.0
    for before, after in zip(context.answers, map(np.asarray, jax.tree.leaves(given)), strict=True):
        in_batch = before.ndim > 1 and before.shape[1] == count  # similarities of all pairs of rows
        if half and not in_batch and np.isfinite(before).all() and np.isfinite(after).all():
            spread = max(float(before.std()), 1e-6)
            change = max(change, float(np.abs(after[:half] - before[:half]).max()) / spread)
    if change <= context.thresholds.rows_change:
        return []
    evidence = [
        context.seen("rows_change", "change of predictions with the other rows, over their spread", change)
    ]
    where = list(dict.fromkeys(_suspects(context.model)))
    return [finding("rows-mixed", "severe", where or ["training"], evidence)]


def _may_mix(model: keras.Model) -> bool:
    return not is_graph(model) or any(True for _ in _suspects(model))


def _suspects(model: Any) -> Iterator[str]:
    """Names of the parts of a graph that may compute over the rows: operations, functions, own layers."""
    for one in getattr(model, "_operations", None) or model.layers:
        if is_graph(one):
            yield from _suspects(one)
        elif not isinstance(one, keras.Layer):
            if type(one).__name__ not in _BY_ROW:
                yield one.name
        else:
            own = type(one).__module__.partition(".")[0] != "keras" or isinstance(one, keras.layers.Lambda)
            if own or getattr(one, "axis", -1) == 0:
                yield one.name


MODEL = (check_modes, check_last)
PROBE = (check_mixing,)
