"""Gradients that are NaN although the loss is finite: the operation whose derivative is infinite."""

from __future__ import annotations

from typing import Any, Final

import jax
import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.checks import training
from kilter._diagnosis.checks.probe import check_finite
from kilter._diagnosis.context import Check, Context
from kilter._engine.arrays import collect, pick
from kilter._engine.step import training_loss, without_optimizer
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.singular import Singular, singular
from kilter._models.variables import fitting, pull
from kilter._records import Evidence, Finding
from kilter.errors import KilterError

_ROWS: Final = 1_024


def check_singular(context: Context) -> list[Finding]:
    """A root, logarithm or power of 0 in the loss or in a layer, where gradients become NaN."""
    if context.probe is None or not len(context.probe) or check_finite(context):
        return []
    norms, gradients = (context.probe.values[name][0] for name in ("weight_norm", "weight_gradient_norm"))
    lost = np.isfinite(norms).any() and not np.isfinite(gradients[np.isfinite(norms)]).all()
    if not lost and not training.check_finite(context):
        return []
    found = _found(context)
    if found is None:
        return []
    evidence = [Evidence("zeros that it gets", found.count, 0, f"of {found.size} numbers")]
    words = {"name": found.name, "place": f" ({found.line})" if found.line else "", "count": found.count}
    return [finding("infinite-derivative", "severe", ["loss"], evidence, **words)]


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


CHECKS: tuple[Check, ...] = (check_singular,)
