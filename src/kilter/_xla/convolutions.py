"""Convolutions in the form that XLA's CPU kernel computes fastest.

That kernel is good at a small window over large images, in the order batch, space, channel, with the kernel
in the order space, in, out. Convolutions from differentiation and transposed layers are converted to that
form:

- gradients of kernels become one product (:mod:`kilter._xla.kernel_gradients`);
- spread images are convolved without the zeros (:mod:`kilter._xla.spread_images`);
- images with an odd number of channels get one more channel of zeros, if the kernel is slow without it.

Example in one dimension: images (n, c, t) with a kernel (m, c, p) are transposed to (n, t, c) and (p, c, m),
convolved, and the result (n, t, m) is transposed back to (n, m, t). With c = 3 and m = 32, a channel of zeros
makes c = 4.

Gain of the order: the backward convolutions run 20 to 30 times slower inside a loop than outside, since XLA
cleans up loop bodies less; in this order they run at full speed. Gain of the even channels: the kernel is 1.4
to 13 times slower with an odd number of channels from 3 on and 17 to 32 filters (medians of 5, 2 cores).

Depends on: jaxlib 0.10.2, CPU. Remove when a convolution's gradient runs as fast inside ``lax.scan`` as
outside.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from kilter._xla import kernel_gradients
from kilter._xla.spread_images import Parameters, axes_of, convolve_in_kinds
from kilter._xla.values import Pass, Value, written

Form = Callable[[Any, Any, Any, Parameters], Any]
"""From the primitive, images (n, space, c), kernel (space, c, m) and parameters to results (n, space, m)."""

# For this many filters XLA's kernel is 1.4 to 13 times slower with an odd number of channels than with one
# more.
_SLOW_FOR_ODD = range(17, 33)
_FEWEST_ODD = 3


def convolution(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> Value:
    """The result of the equation (``conv_general_dilated``), in its own order."""
    images, kernel = (value.get() for value in values)
    numbers, space = equation.params["dimension_numbers"], "0123"[: images.ndim - 2]
    last = (lambda spec: (spec[0], *spec[2:], spec[1]), lambda spec: (*spec[2:], spec[1], spec[0]))
    sums_rows = numbers.lhs_spec[1] == numbers.rhs_spec[1] == 0  # as the gradient of a kernel does
    images = jnp.transpose(images, last[0](numbers.lhs_spec))
    kernel = jnp.transpose(kernel, last[1](numbers.rhs_spec))
    order = (f"N{space}C", f"{space}IO", f"N{space}C")
    canonical = lax.conv_dimension_numbers(images.shape, kernel.shape, order)
    parameters = {**equation.params, "dimension_numbers": canonical}
    form = _form(images, kernel, parameters, sums_rows=sums_rows)
    result = form(equation.primitive, images, kernel, parameters)
    return written(jnp.transpose(result, tuple(np.argsort(last[0](numbers.out_spec)).tolist())))


def _form(images: Any, kernel: Any, parameters: Parameters, *, sums_rows: bool) -> Form:
    axes = axes_of(images, kernel, parameters)
    if parameters["batch_group_count"] != 1:
        return _as_it_is
    few = parameters["feature_group_count"] == 1 and all(axis.results < axis.taps for axis in axes)
    spread = any(axis.spread > 1 for axis in axes)
    steady = all(axis.stride == axis.apart == 1 for axis in axes)
    if few and spread and steady:
        return _exchanged
    if few and not spread and sums_rows and kernel_gradients.fits(images, kernel, axes):
        return kernel_gradients.product
    if spread and steady:
        return convolve_in_kinds
    return _evened if _is_slow_for_odd(kernel, parameters) else _as_it_is


def _is_slow_for_odd(kernel: Any, parameters: Parameters) -> bool:
    channels, filters = kernel.shape[-2:]
    return (
        parameters["feature_group_count"] == 1
        and channels >= _FEWEST_ODD
        and channels % 2 == 1
        and filters in _SLOW_FOR_ODD
    )


def _evened(primitive: Any, images: Any, kernel: Any, parameters: Parameters) -> Any:
    zero, whole, more = jnp.zeros((), images.dtype), (0, 0, 0), (0, 1, 0)
    images = lax.pad(images, zero, [*[whole] * (images.ndim - 1), more])
    kernel = lax.pad(kernel, zero, [*[whole] * (kernel.ndim - 2), more, whole])
    return primitive.bind(images, kernel, **parameters)


def _as_it_is(primitive: Any, images: Any, kernel: Any, parameters: Parameters) -> Any:
    return primitive.bind(images, kernel, **parameters)


def _exchanged(primitive: Any, images: Any, kernel: Any, parameters: Parameters) -> Any:
    """Σ_p x(t + p - low) y(p), x being spread, as Σ_j y(spread·j + t' - low') x(j) for t' = T - 1 - t.

    The gradient of a transposed layer's kernel becomes that of a layer with strides.
    """
    padding = []
    for axis in axes_of(images, kernel, parameters):
        low = axis.results - 1 - axis.low
        padding.append((low, axis.results - 1 + (axis.size - 1) * axis.spread + 1 - axis.taps - low))
    given, taps = jnp.moveaxis(kernel, -1, 0), jnp.moveaxis(images, 0, -1)
    exchanged = {
        **parameters,
        "padding": tuple(padding),
        "lhs_dilation": parameters["rhs_dilation"],
        "rhs_dilation": parameters["lhs_dilation"],
    }
    form = _form(given, taps, exchanged, sums_rows=True)
    result = form(primitive, given, taps, exchanged)
    return jnp.swapaxes(jnp.flip(result, tuple(range(1, images.ndim - 1))), 0, -1)
