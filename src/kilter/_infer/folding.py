"""Folds batch normalisation into adjacent layers: the same outputs at inference, faster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import jax.numpy as jnp
import keras

from kilter._array_types import Arrays
from kilter._infer.checking import Speed, largest_difference, measure_speed
from kilter._infer.fold_plan import FoldPlan, NormFold, plan_folds
from kilter._infer.kernels import write_weights
from kilter._models.copying import Cut, copy_model
from kilter._validation import whole_number
from kilter.errors import ModelError, OptionError

# In units of rounding of the coarsest dtype that a layer computes in. A fold rounds each weight once more,
# and rounding accumulates over layers: twenty folded layers in float32 differed by 7 to 46 units, a wrong
# fold by thousands. Half-precision units are so coarse that fewer are allowed.
_UNITS: Final = {"float64": 64, "float32": 80, "float16": 16, "bfloat16": 16}


@dataclass(frozen=True)
class FoldRecord:
    """What :func:`kilter.fold_batch_norm` did.

    Attributes:
        layers: every batch normalisation of the model, in execution order.
        difference: the largest difference between the outputs before and after, relative to the largest
            output; see :func:`kilter.largest_difference`.
        tolerance: the largest allowed difference.
        parameters: numbers in the model, before and after.
        speed: how much faster the folded model predicts; None if it was not timed.
    """

    layers: tuple[NormFold, ...]
    difference: float
    tolerance: float
    parameters: tuple[int, int]
    speed: Speed | None = None

    @property
    def folded(self) -> tuple[NormFold, ...]:
        """The batch normalisations that were folded."""
        return tuple(layer for layer in self.layers if layer.into is not None)

    @property
    def left(self) -> tuple[NormFold, ...]:
        """The others, with the reason."""
        return tuple(layer for layer in self.layers if layer.into is None)


def fold_batch_norm(
    model: keras.Model,
    x_check: Arrays,
    *,
    tolerance: float | None = None,
    timings: int = 0,
    batch_size: int = 256,
) -> tuple[keras.Model, FoldRecord]:
    """A copy of the model without its batch normalisations, equal at inference; and a record.

    y = γ(z−μ)/√(σ²+ε) + β after z = Wx + b is one layer with W' = W·γ/√(σ²+ε) and b' = (b−μ)·γ/√(σ²+ε) + β
    (Jacob et al. 2018, section 3.2). A normalisation is folded into the layer before it, if that is Dense,
    Conv1D/2D/3D, DepthwiseConv1D/2D, SeparableConv1D/2D or Conv1D/2D/3DTranspose with no activation between;
    a bias is added if there is none. Otherwise it is folded into the layer after it, if that is Dense or a
    convolution without padding: the zeros of ``padding="same"`` are added after the normalisation, so that
    fold would not be exact. Layers that are shared, branch, or cannot be folded exactly for another reason
    stay, and the record says why.

    The weights are computed in float64. The outputs of both models on ``x_check`` are compared before
    anything is returned. If there is nothing to fold, the result is a plain copy.

    Args:
        model: built, Sequential or Functional, with nested models; it does not change.
        x_check: rows to compare the outputs on, as for :func:`kilter.predict`.
        tolerance: the largest allowed difference, relative to the largest output; by default 1e-5 in float32
            (80 roundings), 16 roundings if a layer computes in half precision.
        timings: how often to time each model on ``x_check``, alternately; 0 for not at all.
        batch_size: of the comparison and the timing.

    Returns:
        The folded model, uncompiled, and a ``FoldRecord``.

    Raises:
        ModelError: if the outputs differ by more than ``tolerance`` or are not finite, or if the model cannot
            be copied.
        DataError: if the rows do not fit the model.

    Example:
        >>> import numpy as np
        >>> layers = [keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.ReLU()]
        >>> model = keras.Sequential([keras.Input((4,)), *layers])
        >>> folded, record = fold_batch_norm(model, np.eye(4))
        >>> len(folded.layers), record.parameters, record.layers[0].into
        (2, (27, 15), 'dense...')
    """
    _check_options(tolerance, timings)
    plan = plan_folds(model)
    folded = _apply(model, plan)
    allowed = _default_tolerance(model) if tolerance is None else tolerance
    difference = largest_difference(model, folded, x_check, batch_size=batch_size)
    if not difference <= allowed:
        raise ModelError(
            expected=f"outputs that differ by at most {allowed:.2g}, relative to the largest",
            received=f"a difference of {difference:.3g} with {len(plan.dropped)} batch normalisations folded",
            remedy="pass a larger tolerance= if that is acceptable; moving means far above the standard "
            "deviation cost digits",
        )
    speed = measure_speed(model, folded, x_check, timings=timings, batch_size=batch_size) if timings else None
    parameters = (model.count_params(), folded.count_params())
    return folded, FoldRecord(plan.layers, difference, allowed, parameters, speed)


def _apply(model: keras.Model, plan: FoldPlan) -> keras.Model:
    def change(layer: Any) -> Cut | None:
        if layer in plan.dropped:
            return lambda config: None
        return (lambda config: {**config, "use_bias": True}) if layer in plan.weights else None

    copied = copy_model(model, change)
    for layer, weights in plan.weights.items():
        write_weights(copied.twin(layer), weights)
    return copied.model


def _default_tolerance(model: keras.Model) -> float:
    return max(map(_tolerance_of, _compute_types(model)), default=_tolerance_of("float32"))


def _tolerance_of(name: str) -> float:
    return _UNITS[name] * float(jnp.finfo(name).eps)


def _compute_types(model: keras.Model) -> Iterable[str]:
    return {layer.compute_dtype for layer in model._flatten_layers() if layer.compute_dtype in _UNITS}


def _check_options(tolerance: float | None, timings: int) -> None:
    if tolerance is not None and not tolerance >= 0.0:
        raise OptionError(
            expected="tolerance of at least 0",
            received=f"tolerance={tolerance!r}",
            remedy="leave it out, or pass a share such as 1e-4",
        )
    whole_number("timings", timings, 0, remedy="pass a number such as 20, 0 for none")
