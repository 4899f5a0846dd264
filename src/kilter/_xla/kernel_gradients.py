"""The gradient of a convolution's kernel as one matrix product.

XLA computes it as a convolution with a window as large as the image, which is slow for few filters. But there
are few results: one for each tap of the kernel. So for few filters, and for kernels of one tap, it is written
as a product of the layer's inputs with the gradient of its outputs, summed over rows and places, one of them
shifted for each tap.

Example in one dimension, for a kernel of two taps, inputs x of three places and output gradients g of two:
dy(0) = x(0)·g(0) + x(1)·g(1) and dy(1) = x(1)·g(0) + x(2)·g(1). Either the images are shifted,
``[[x0, x1], [x1, x2]] @ [g0, g1]``, or the gradient is, ``[x0, x1, x2] @ [[g0, 0], [g1, g0], [0, g1]]``; the
way with the smaller operands is taken.

Gain, CPU time in a loop: 2.8 instead of 5.8 ms (64 to 1 filters, 28×28), 4.0 instead of 5.6 (64 to 4), 0.43
instead of 0.63 (64 to 64, 8×8, one tap). With 8 to 128 filters and nine taps the convolution takes 0.4 to 1.1
times as long as the product, half the memory and a third of the time to compile (decision 121).

Depends on: jaxlib 0.10.2, CPU. Remove when XLA's CPU backend computes these gradients as fast as the forward
pass, inside a loop too.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from kilter._xla.spread_images import Axis, Parameters, axes_of

# Largest operands of a product, 256 MiB of float32, and most taps, each of which adds a shifted copy.
_MOST_NUMBERS = 1 << 26
_MOST_TAPS = 128
_FEW_FILTERS = 4


def fits(images: Any, kernel: Any, axes: Sequence[Axis]) -> bool:
    """Whether the product is small enough, and faster."""
    taps = math.prod(axis.results for axis in axes)  # of the kernel whose gradient it is
    faster = kernel.shape[-1] <= _FEW_FILTERS or taps == 1
    return faster and taps <= _MOST_TAPS and min(_sizes(images, kernel, axes))[0] <= _MOST_NUMBERS


def product(primitive: Any, images: Any, kernel: Any, parameters: Parameters) -> Any:
    """The convolution as one product over channels and places, with the images or the kernel shifted."""
    axes = axes_of(images, kernel, parameters)
    _, ways = min(_sizes(images, kernel, axes))
    x, y = _shifted_images(images, axes, ways), _shifted_kernel(kernel, axes, ways)
    results = [axis.results for axis in axes]
    there = [count if images_are else 1 for count, images_are in zip(results, ways, strict=True)]
    here = [1 if images_are else count for count, images_are in zip(results, ways, strict=True)]
    swaps = x.shape[1] > y.shape[1]  # faster with the narrower operand first
    result = lax.dot_general(
        *((y, x) if swaps else (x, y)),
        (((0,), (0,)), ((), ())),
        precision=parameters["precision"],
        preferred_element_type=parameters["preferred_element_type"],
    )
    # The barrier keeps XLA from swapping the operands back to save the transpose.
    result = lax.optimization_barrier(result).T if swaps else result
    count = len(axes)
    result = result.reshape(*there, images.shape[0], *here, kernel.shape[-1])
    paired = [one for axis in range(count) for one in (axis, count + 1 + axis)]
    return result.transpose(count, *paired, 2 * count + 1).reshape(
        images.shape[0], *results, kernel.shape[-1]
    )


def _sizes(images: Any, kernel: Any, axes: Sequence[Axis]) -> Iterator[tuple[int, tuple[bool, ...]]]:
    """The ways to write the product: its operands' size, and for each axis whether the images are shifted.

    Shifting the kernel (False) needs adjacent taps.
    """
    for ways in itertools.product(*[(True, False) if axis.apart == 1 else (True,) for axis in axes]):
        ours, theirs, summed = images.shape[0], kernel.shape[-1], images.shape[-1]
        for axis, images_are in zip(axes, ways, strict=True):
            ours *= axis.results if images_are else 1
            theirs *= 1 if images_are else axis.results
            summed *= axis.taps if images_are else axis.taps + axis.stride * (axis.results - 1)
        yield summed * (ours + theirs), ways


def _shifted_images(images: Any, axes: Sequence[Axis], ways: Sequence[bool]) -> Any:
    """Rows (channels · places, results of the shifted axes · n)."""
    # Transposed first, so that XLA sees that the rows are as they were before they became images.
    rows = jnp.moveaxis(images, (-1, 0), (0, -1))
    borders = [(0, 0, 0), *((axis.low, axis.high, 0) for axis in axes), (0, 0, 0)]
    rows = lax.pad(rows, jnp.zeros((), rows.dtype), borders)
    pieces = []
    for shifts in itertools.product(*_shifts(axes, ways)):
        first = [axis.stride * shift for axis, shift in zip(axes, shifts, strict=True)]
        lengths = [
            axis.apart * (axis.taps - 1) + 1 if images_are else axis.taps + axis.stride * (axis.results - 1)
            for axis, images_are in zip(axes, ways, strict=True)
        ]
        last = [start + length for start, length in zip(first, lengths, strict=True)]
        steps = [axis.apart for axis in axes]
        pieces.append(lax.slice(rows, (0, *first, 0), (rows.shape[0], *last, rows.shape[-1]), (1, *steps, 1)))
    return _as_rows(pieces)


def _shifted_kernel(kernel: Any, axes: Sequence[Axis], ways: Sequence[bool]) -> Any:
    """Rows (channels · places, results of the other axes · m)."""
    rows = jnp.moveaxis(kernel, -2, 0)
    pieces = []
    for shifts in itertools.product(*_shifts(axes, [not images_are for images_are in ways])):
        borders = [
            (0, 0, 0) if images_are else (axis.stride * shift, axis.stride * (axis.results - 1 - shift), 0)
            for axis, shift, images_are in zip(axes, shifts, ways, strict=True)
        ]
        pieces.append(lax.pad(rows, jnp.zeros((), rows.dtype), [(0, 0, 0), *borders, (0, 0, 0)]))
    return _as_rows(pieces)


def _shifts(axes: Sequence[Axis], ways: Sequence[bool]) -> list[range]:
    return [range(axis.results if shifted else 1) for axis, shifted in zip(axes, ways, strict=True)]


def _as_rows(pieces: Sequence[Any]) -> Any:
    # Without the barrier XLA recomputes the shifts for every use.
    return lax.optimization_barrier(
        jnp.concatenate(pieces, axis=-1).reshape(-1, sum(one.shape[-1] for one in pieces))
    )
