"""What a training that was done says of itself, without another look at data or weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras
import numpy as np

from kilter._diagnosis.checks import training
from kilter._diagnosis.context import Context
from kilter._engine.arrays import is_array
from kilter._models.layers import optimizer_facts
from kilter._models.reading import read_model
from kilter._records import Finding, Measurements, ranked


def two_rows(x: Any) -> Any:
    """Copies of two rows of arrays, as a sample of their shapes; None of anything else."""
    return jax.tree.map(lambda array: np.array(array[:2]), x) if is_array(x) else None


def training_findings(
    model: keras.Model,
    rows: Any,
    *,
    history: Mapping[str, Sequence[float]],
    measurements: Measurements | None,
    batch_size: int,
) -> tuple[Finding, ...]:
    """The findings in a training's curves and, where there are any, its measurements.

    Args:
        model: that was trained; its layers are looked at, and nothing is computed.
        rows: some rows like those it was trained on; None where there are none, as with batches.
        history, measurements: as the training's history has them.
        batch_size: rows a step.
    """
    layers, outputs = ((), ()) if rows is None else read_model(model, rows, ())
    context = Context(
        model=model,
        layers=layers,
        outputs=outputs,
        optimizer=optimizer_facts(model),
        inputs=() if rows is None else tuple(jax.tree.leaves(rows)),
        x=rows,
        y=None,
        batch_size=batch_size,
        training=measurements,
        history=history,
    )
    return ranked([one for check in training.CHECKS for one in check(context)])
