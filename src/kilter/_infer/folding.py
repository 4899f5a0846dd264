"""Folds batch normalisation into adjacent layers: the same outputs at inference, faster."""

import statistics
import time
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._array_types import Arrays
from kilter._engine.inference import predict_unchanged
from kilter._infer.fold_plan import FoldPlan, NormFold, plan_folds
from kilter._infer.kernels import write_weights
from kilter._models.copying import Cut, copy_model
from kilter._models.layers import require_model
from kilter._validation import whole_number
from kilter.errors import ModelError, OptionError


@dataclass(frozen=True)
class Speed:
    """Seconds per prediction of the same rows, timed alternately: n times ``before`` and ``after``."""

    before: tuple[float, ...]
    after: tuple[float, ...]
    rows: int

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times faster, per pair of timings."""
        return tuple(before / after for before, after in zip(self.before, self.after, strict=True))

    @property
    def ratio(self) -> float:
        """How many times faster, as the median over the pairs."""
        return statistics.median(self.ratios)

    def __str__(self) -> str:
        before, after = (statistics.median(seconds) * 1e3 for seconds in (self.before, self.after))
        return (
            f"{self.ratio:.2f} times as fast ({before:.3g} ms, then {after:.3g} ms for {self.rows} rows; "
            f"medians of {len(self.ratios)} alternating timings, ratios from {min(self.ratios):.2f} to "
            f"{max(self.ratios):.2f})"
        )


def largest_difference(before: keras.Model, after: keras.Model, x: Arrays, *, batch_size: int = 256) -> float:
    """max |a − b| / max |a| over the rows of ``x``, with outputs a of ``before`` and b of ``after``.

    The largest over several outputs. 0.0 if both are zero everywhere, infinity if only a is.

    Raises:
        ModelError: if a is not finite.
    """
    pairs = zip(
        jax.tree.leaves(predict_unchanged(before, x, batch_size=batch_size)),
        jax.tree.leaves(predict_unchanged(after, x, batch_size=batch_size)),
        strict=True,
    )
    return max(_relative(*pair) for pair in pairs)


def measure_speed(
    before: keras.Model, after: keras.Model, x: Any, *, timings: int, batch_size: int = 256
) -> Speed:
    """Time :func:`kilter.predict` of both models on ``x``, ``timings`` times each.

    They alternate, so that both see the same load. Compilation is not timed: each model predicts once before.
    """

    def seconds(model: keras.Model) -> float:
        began = time.perf_counter()
        predict_unchanged(model, x, batch_size=batch_size)
        return time.perf_counter() - began

    turns = [[seconds(model) for model in (before, after)] for _ in range(timings + 1)]
    first, second = zip(*turns[1:], strict=True)
    return Speed(first, second, len(jax.tree.leaves(x)[0]))


def _relative(before: np.ndarray, after: np.ndarray) -> float:
    before, after = before.astype(np.float64), after.astype(np.float64)
    if not np.isfinite(before).all():
        raise ModelError(
            expected="a model with finite outputs on the data to check with",
            received=f"{np.count_nonzero(~np.isfinite(before))} of {before.size} outputs that are not finite",
            remedy="check its weights, or use other data",
        )
    largest, apart = np.abs(before).max(), np.abs(before - after).max()
    if apart == 0.0:
        return 0.0
    return float(apart / largest) if largest > 0.0 else float("inf")


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
    require_model(model)
    if tolerance is not None and not tolerance >= 0.0:
        raise OptionError(
            expected="tolerance of at least 0",
            received=f"tolerance={tolerance!r}",
            remedy="leave it out, or pass a share such as 1e-4",
        )
    whole_number("timings", timings, 0, remedy="pass a number such as 20, 0 for none")
    plan = plan_folds(model)
    folded = _apply(model, plan)
    computed = {layer.compute_dtype for layer in model._flatten_layers()} & set(_UNITS) or {"float32"}
    units = max(_UNITS[name] * float(jnp.finfo(name).eps) for name in computed)
    allowed = units if tolerance is None else tolerance
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
