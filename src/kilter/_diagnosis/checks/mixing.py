"""Whether the predictions for a row depend on the other rows of its batch, as after a sum over axis 0."""

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
from kilter._records import Finding
from kilter.errors import KilterError

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
