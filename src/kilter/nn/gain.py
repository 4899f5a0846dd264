"""Mean-field theory of one layer: how it changes the variance of signals and gradients at initialisation.

For independent weights with mean 0 and variance σ², a unit's input ``z = Σ w·x`` over ``n`` incoming numbers
is nearly normal with mean 0 and variance ``q = n·σ²·E[x²]``, and its output has the moments ``E[f(z)]`` and
``E[f(z)²]``. Backward, the variance of gradients is multiplied by ``n_out·σ²·E[f'(z)²]``. Sources: He et al.
2015; Poole et al. 2016 (Exponential expressivity in deep neural networks through transient chaos); Schoenholz
et al. 2017 (Deep information propagation).
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._models.keras_internals import compute_fans
from kilter._validation import errors_as, number
from kilter.errors import OptionError
from kilter.nn.layers import LOWER, UPPER
from kilter.nn.options import LEAKY_SLOPE, PRELU_SLOPE
from kilter.nn.pairing import VarianceScaling, pairing_of

# Gauss-Legendre on either side of zero: most activations have a kink there, which costs Gauss-Hermite 1e-3.
# The share of a normal beyond ±12 is 1e-32.
_REACH: Final = 12.0
_HALF, _HALF_WEIGHTS = np.polynomial.legendre.leggauss(128)
_NODES: Final = np.concatenate([(_HALF - 1), (_HALF + 1)]) * _REACH / 2
_WEIGHTS: Final = (
    np.tile(_HALF_WEIGHTS, 2) * _REACH / 2 * np.exp(-np.square(_NODES) / 2) / math.sqrt(2 * math.pi)
)
# Keras's TruncatedNormal cuts at two deviations without correcting the variance; VarianceScaling corrects it.
_TRUNCATED_VARIANCE: Final = 0.7737413
COUPLED: Final = (
    keras.activations.softmax,
    keras.activations.log_softmax,
    keras.activations.sparsemax,
    keras.activations.glu,
)
"""Functions of several units at once, to which moments of a single unit do not apply."""


@dataclass(frozen=True)
class Moments:
    """For ``f`` of a normal ``z``: ``mean`` is E[f(z)], ``second`` E[f(z)²], ``slope`` E[f'(z)²]."""

    mean: float
    second: float
    slope: float


@dataclass(frozen=True)
class Gain:
    """The factor by which one layer multiplies variances: below 1 they vanish, above 1 they explode.

    Attributes:
        forward: the variance of the units' inputs, from one layer to the next.
        backward: the variance of the gradients, from one layer to the one before.
    """

    forward: float
    backward: float


def activation_moments(activation: str | Callable[[Any], Any], variance: float = 1.0) -> Moments:
    """The moments of ``activation`` for a normal input with mean 0 and the given ``variance``.

    In closed form for relu, linear and the leaky family (slope 0.2; prelu with its initial 0.25; rrelu as in
    training), otherwise by quadrature to about 1e-6. ``activation`` is a name in Keras or an elementwise
    function. A variance of 0 gives the values at 0.

    Raises:
        OptionError: for an unknown name, a softmax (it couples the units of a layer), and a variance that is
            negative or not finite.

    Example:
        >>> activation_moments("relu").second
        0.5
    """
    variance = number("variance", variance, 0, remedy="1 is usual")
    slopes = _SLOPES.get(activation) if isinstance(activation, str) else None
    return _by_quadrature(activation, variance) if slopes is None else piecewise_linear(*slopes, variance)


def piecewise_linear(mean_slope: float, square_slope: float, variance: float) -> Moments:
    """Moments of ``x`` above zero and ``a·x`` below, for slopes ``a`` with this mean and mean square."""
    both = (1 + square_slope) / 2
    return Moments((1 - mean_slope) * math.sqrt(variance / (2 * math.pi)), variance * both, both)


# The mean and the mean square of the slope below zero.
_RRELU_MEAN: Final = (LOWER + UPPER) / 2
_SLOPES: Final = {
    "linear": (1.0, 1.0),
    "relu": (0.0, 0.0),
    "leaky_relu": (LEAKY_SLOPE, LEAKY_SLOPE**2),
    "prelu": (PRELU_SLOPE, PRELU_SLOPE**2),
    "rrelu": (_RRELU_MEAN, _RRELU_MEAN**2 + (UPPER - LOWER) ** 2 / 12),
}


def _by_quadrature(activation: str | Callable[[Any], Any], variance: float) -> Moments:
    if isinstance(activation, str):
        pairing_of(activation)
        function: Any = keras.activations.get(activation)
    else:
        function = activation
    if function in COUPLED:
        raise OptionError(
            expected="an elementwise activation",
            received=f"activation={function.__name__!r}, which couples the units of a layer",
            remedy="leave the output layer out",
        )
    nodes = jnp.asarray(_NODES * math.sqrt(variance), dtype="float32")
    values = np.asarray(function(nodes), dtype="float64")
    slopes = np.asarray(jax.vmap(jax.grad(lambda z: jnp.sum(function(z))))(nodes), dtype="float64")
    return Moments(
        float(_WEIGHTS @ values), float(_WEIGHTS @ np.square(values)), float(_WEIGHTS @ np.square(slopes))
    )


def weight_moment(initializer: Any, shape: Sequence[int]) -> float | None:
    """The variance of weights of ``shape`` from ``initializer``; None if unknown, or if the mean is not 0."""
    known = _keras_initializer(initializer)
    law = type(known).__name__
    if isinstance(known, keras.initializers.VarianceScaling):
        fan_in, fan_out = compute_fans(tuple(shape))
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        return known.scale / max(1.0, fans[known.mode])
    if isinstance(known, keras.initializers.Orthogonal):
        return known.gain**2 / max(math.prod(shape[:-1]), shape[-1])
    if law == "Zeros":
        return 0.0
    if law == "RandomUniform" and known.minval == -known.maxval:
        return known.maxval**2 / 3
    if law in ("RandomNormal", "TruncatedNormal") and known.mean == 0:
        return known.stddev**2 * (_TRUNCATED_VARIANCE if law == "TruncatedNormal" else 1)
    return None


def _keras_initializer(initializer: Any) -> Any:
    if isinstance(initializer, VarianceScaling):
        return keras.initializers.VarianceScaling(**dataclasses.asdict(initializer))
    with errors_as(
        OptionError,
        ValueError,
        expected="one of Keras's initialisers, or a VarianceScaling",
        received=lambda _: f"initializer={initializer!r}",
        remedy="use pairing_of(activation).default",
    ):
        return keras.initializers.get(initializer)


def variance_gain(
    activation: str | Callable[[Any], Any],
    initializer: Any = None,
    *,
    variance: float = 1.0,
    fan_in: int = 100,
    fan_out: int | None = None,
) -> Gain:
    """The factors by which a dense layer with ``activation`` and ``initializer`` multiplies variances.

    ``forward = fan_in·σ²·E[f(z)²]/q`` and ``backward = fan_out·σ²·E[f'(z)²]`` with ``z`` normal of variance
    ``q`` and σ² the variance of the weights.

    Args:
        activation: its name in Keras, or an elementwise function.
        initializer: one of Keras's, its name or a :class:`~kilter.nn.VarianceScaling`; if None, the one
            paired with the activation.
        variance: q, of the units' inputs, above 0. It does not matter for the ReLU family.
        fan_in, fan_out: the widths before and after; equal if ``fan_out`` is None. The gain of a square layer
            does not depend on the width.

    Raises:
        OptionError: as :func:`activation_moments`, and for a variance of 0, fans below 1, and initialisers
            without a known variance.

    Example:
        >>> variance_gain("relu"), variance_gain("relu", "glorot_uniform").forward
        (Gain(forward=1.0, backward=1.0), 0.5)
    """
    moments = activation_moments(activation, variance)
    if initializer is None and isinstance(activation, str):
        initializer = pairing_of(activation).default
    after = fan_in if fan_out is None else fan_out
    weight = weight_moment(initializer, (fan_in, after)) if min(fan_in, after) >= 1 else None
    if weight is None or initializer is None or variance == 0:
        raise OptionError(
            expected="a variance above 0, fans of at least 1, and an initializer with mean 0",
            received=f"variance={variance}, fan_in={fan_in}, fan_out={after}, initializer={initializer!r}",
            remedy="use the defaults; a function as activation needs an initializer",
        )
    return Gain(fan_in * weight * moments.second / variance, after * weight * moments.slope)
