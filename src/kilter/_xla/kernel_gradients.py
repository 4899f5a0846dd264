"""The gradient of a convolution's kernel as one matrix product.

XLA computes it as a convolution with a window as large as the image, which is slow for few filters. But there
are few results: one for each tap of the kernel. So for few filters, and for kernels of one tap, it is written
as a product of the layer's inputs with the gradient of its outputs, summed over rows and places, one of them
shifted for each tap.

Example in one dimension, for a kernel of two taps, inputs x of three places and output gradients g of two:
dy(0) = x(0)·g(0) + x(1)·g(1) and dy(1) = x(1)·g(0) + x(2)·g(1), which is the product
``[x0, x1, x2] @ [[g0, 0], [g1, g0], [0, g1]]``. With a stride, one tap does not meet adjacent places of x, so
such layers keep the convolution, unless their kernel has one tap.

Gain, CPU time in a loop: 2.8 instead of 5.8 ms (64 to 1 filters, 28×28), 4.0 instead of 5.6 (64 to 4), 0.43
instead of 0.63 (64 to 64, 8×8, one tap). With 8 to 128 filters and nine taps the convolution takes 0.4 to 1.1
times as long as the product, half the memory and a third of the time to compile (decision 121).

Depends on: jaxlib 0.10.2, CPU. Remove when XLA's CPU backend computes these gradients as fast as the forward
pass, inside a loop too.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from kilter._xla.axis import Axis, Parameters, axes_of

# Largest operands of a product, 256 MiB of float32, and most taps, each of which adds a shifted copy.
_MOST_NUMBERS = 1 << 26
_MOST_TAPS = 128
_FEW_FILTERS = 4


def fits(images: Any, kernel: Any, axes: Sequence[Axis]) -> bool:
    """Whether the product is possible, small enough, and faster."""
    taps = math.prod(axis.results for axis in axes)  # of the kernel whose gradient it is
    faster = kernel.shape[-1] <= _FEW_FILTERS or taps == 1
    adjacent = all(axis.apart == 1 or axis.results == 1 for axis in axes)
    summed = images.shape[-1] * math.prod(axis.taps + axis.stride * (axis.results - 1) for axis in axes)
    small = summed * (images.shape[0] + kernel.shape[-1] * taps) <= _MOST_NUMBERS
    return faster and adjacent and small and taps <= _MOST_TAPS


def product(primitive: Any, images: Any, kernel: Any, parameters: Parameters) -> Any:
    """The convolution as one product over channels and places, with a shifted kernel for each result."""
    axes = axes_of(images, kernel, parameters)
    x, y = _places(images, axes), _shifted(kernel, axes)
    swaps = x.shape[1] > y.shape[1]  # faster with the narrower operand first
    result = lax.dot_general(
        *((y, x) if swaps else (x, y)),
        (((0,), (0,)), ((), ())),
        precision=parameters["precision"],
        preferred_element_type=parameters["preferred_element_type"],
    )
    # The barrier keeps XLA from swapping the operands back to save the transpose.
    result = lax.optimization_barrier(result).T if swaps else result
    return result.reshape(images.shape[0], *(axis.results for axis in axes), kernel.shape[-1])


def _places(images: Any, axes: Sequence[Axis]) -> Any:
    """Rows (channels · places, n)."""
    # Transposed first, so that XLA sees that the rows are as they were before they became images.
    rows = jnp.moveaxis(images, (-1, 0), (0, -1))
    borders = [(0, 0, 0), *((axis.low, axis.high, 0) for axis in axes), (0, 0, 0)]
    rows = lax.pad(rows, jnp.zeros((), rows.dtype), borders)
    ends = [axis.apart * (axis.taps - 1) + 1 + axis.stride * (axis.results - 1) for axis in axes]
    return _as_rows(
        [rows[(slice(None), *(slice(0, end, axis.apart) for end, axis in zip(ends, axes, strict=True)))]]
    )


def _shifted(kernel: Any, axes: Sequence[Axis]) -> Any:
    """Rows (channels · places, results · m)."""
    rows = jnp.moveaxis(kernel, -2, 0)
    pieces = []
    for shifts in itertools.product(*(range(axis.results) for axis in axes)):
        borders = [
            (axis.stride * shift, axis.stride * (axis.results - 1 - shift), 0)
            for axis, shift in zip(axes, shifts, strict=True)
        ]
        pieces.append(lax.pad(rows, jnp.zeros((), rows.dtype), [(0, 0, 0), *borders, (0, 0, 0)]))
    return _as_rows(pieces)


def _as_rows(pieces: Sequence[Any]) -> Any:
    # Without the barrier XLA recomputes the shifts for every use.
    return lax.optimization_barrier(
        jnp.concatenate(pieces, axis=-1).reshape(-1, sum(one.shape[-1] for one in pieces))
    )
