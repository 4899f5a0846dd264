"""Gradients that are NaN although the loss is finite: the operation whose derivative is infinite."""

from typing import Any, Final

import jax
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks import training
from kilter._diagnosis.checks.endings import last_two
from kilter._diagnosis.checks.probe import check_finite
from kilter._diagnosis.context import Context
from kilter._engine.arrays import collect, pick
from kilter._engine.step import training_loss, without_optimizer
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.singular import Singular, one_sided, singular
from kilter._models.tracing import forward
from kilter._models.variables import fitting, pull, values
from kilter._records import Evidence, Finding
from kilter.errors import KilterError

_ROWS: Final = 1_024
_FEW: Final = 8
_MAY_BE: Final = ("sigmoid", None)


def check_singular(context: Context) -> list[Finding]:
    """An operation with an infinite derivative, such as a root of 0, where gradients become NaN."""
    if context.probe is None or not len(context.probe) or check_finite(context):
        return []
    norms, gradients = (context.probe.values[name][0] for name in ("weight_norm", "weight_gradient_norm"))
    lost = np.isfinite(norms).any() and not np.isfinite(gradients[np.isfinite(norms)]).all()
    if not lost and not training.check_finite(context):
        return []
    found = _found(context)
    if found is None:
        return []
    evidence = [
        Evidence("inputs where its derivative is infinite", found.count, 0, f"of {found.size} numbers")
    ]
    words = {"name": found.name, "place": f" ({found.line})" if found.line else "", "count": found.count}
    return [finding("infinite-derivative", "severe", ["loss"], evidence, **words)]


def check_one_sided(context: Context) -> list[Finding]:
    """A sigmoid of a value that is never negative, such as a distance: the output cannot be 0."""
    if context.probe is None or all(one.activation not in _MAY_BE for one in context.outputs):
        return []
    try:
        batch = collect(pick(context.x, slice(min(_FEW, context.rows)))).data[0]
        with fitting(context.model, (batch, None, None)):
            program = jax.make_jaxpr(
                lambda variables, x: jax.tree.leaves(forward(context.model, variables, x, training=False))
            )(values(context.model), batch)
    except (KilterError, *FOREIGN_ERRORS):
        return []
    sides = one_sided(program)
    known = [last_two(context.layers, one)[1] is not None for one in context.outputs]
    if len(sides) != len(known):
        return []
    evidence = [Evidence("lowest possible output", 0.5, 0.0, "a sigmoid of values of either sign")]
    why = "The output never falls below 0.5, so it cannot predict 0. Put a Dense(1) between them"
    words = {"first": "a value that is never negative, such as a distance,", "last": "sigmoid", "why": why}
    return [
        finding("activation-before-softmax", "severe", [one.where], evidence, ("shift-logits",), **words)
        for one, half, reported in zip(context.outputs, sides, known, strict=True)
        if half and not reported
    ]


def _found(context: Context) -> Singular | None:
    """The operation, on the first rows; None if the loss cannot be traced on them."""
    rows = min(_ROWS, context.rows)
    try:
        batch = collect(*pick((context.x, context.y, context.row_weights), slice(rows))).data
        with fitting(context.model, batch):
            state = without_optimizer(context.model, pull(context.model))
            flat, structure = jax.tree.flatten((state, batch))

            def loss(*leaves: Any) -> Any:
                return training_loss(context.model, *jax.tree.unflatten(structure, leaves))[0]

            return singular(jax.make_jaxpr(loss)(*flat), *flat)
    except (KilterError, *FOREIGN_ERRORS):
        return None


PROBE = (check_one_sided,)
TRAINING = (check_singular,)
