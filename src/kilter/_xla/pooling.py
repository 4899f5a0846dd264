"""The gradient of max pooling, written with whole arrays; the same numbers.

XLA's CPU kernel goes through the windows one number at a time. With whole arrays, each window first records
which of its places holds the largest number (the first of several). Then each place adds the gradients of the
windows that chose it. If windows do not overlap these are the same bits; otherwise a place's gradients are
added in another order.

Example in one dimension: x = (1, 3, 2, 0) in windows of two has the choices (1, 0). With gradients (g0, g1),
place 0 of the windows gets (0, g1) and place 1 gets (g0, 0), which interleaved is (0, g0, g1, 0).

Gain: 1.1 instead of 15 ms for 64 images of 32×32×32 in windows of 2×2, 3.7 instead of 25 ms for overlapping
windows of 3×3; an epoch of the benchmark's convolutional network 1.5 instead of 4.2 s (2 cores).

Depends on: jaxlib 0.10.2, CPU. Remove when XLA vectorises ``select_and_scatter`` on CPUs.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from kilter._xla.values import Pass, Value, written

# XLA handles larger windows, because each place is a separate operation. 3×3×3 places are 27.
_MOST_PLACES = 32


def is_max_pooling(equation: core.JaxprEqn, *_: Any) -> bool:
    """Whether the equation is the gradient of max pooling of floats, over windows of at most 32 places.

    Example:
        >>> import jax
        >>> pool = lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2), (1, 2), "VALID")
        >>> gradient = jax.make_jaxpr(jax.grad(lambda x: pool(x).sum()))(jnp.ones((3, 4)))
        >>> [is_max_pooling(equation) for equation in gradient.eqns if "scatter" in str(equation.primitive)]
        [True]
    """
    parameters = equation.params
    images: Any = equation.invars[1].aval
    return (
        equation.primitive.name == "select_and_scatter_add"
        and parameters["select_prim"].name == "ge"
        and math.prod(parameters["window_dimensions"]) <= _MOST_PLACES
        and jnp.issubdtype(images.dtype, jnp.floating)
    )


def pooled_gradient(equation: core.JaxprEqn, values: list[Value], passing: Pass) -> Value:
    """The gradient by the images, from that by the maxima of their windows.

    A window of only -inf passes its gradient to its first place, which may be in the padding.
    """
    gradient, images = (value.get() for value in values)
    parameters = equation.params
    window, strides = parameters["window_dimensions"], parameters["window_strides"]
    lows = [low for low, _ in parameters["padding"]]
    places = list(itertools.product(*map(range, window)))
    reach = [(count - 1) * stride for count, stride in zip(gradient.shape, strides, strict=True)]
    ends = [
        far + size - low - length
        for far, size, low, length in zip(reach, window, lows, images.shape, strict=True)
    ]
    border = [(low, end, 0) for low, end in zip(lows, ends, strict=True)]
    padded = lax.pad(images, np.array(-np.inf, images.dtype), border)
    chosen = _first_largest(padded, places, reach, strides)
    # Without the barrier each place of the images would recompute every window's choice.
    chosen, gradient = lax.optimization_barrier((chosen, gradient))
    spread = jnp.zeros_like(images)
    for number, place in enumerate(places):
        given = jnp.where(chosen == number, gradient, jnp.zeros_like(gradient))
        befores = [first - low for first, low in zip(place, lows, strict=True)]
        around = [
            (before, length - before - far - 1, stride - 1)
            for before, length, far, stride in zip(befores, images.shape, reach, strides, strict=True)
        ]
        spread = spread + lax.pad(given, np.array(0, given.dtype), around)
    return written(spread)


def _first_largest(
    padded: Any, places: Sequence[tuple[int, ...]], reach: Sequence[int], strides: Sequence[int]
) -> Any:
    """The index (uint8) of the place in each window that holds the largest number, the first of several."""
    largest, chosen = None, None
    for number, place in enumerate(places):
        ends = [first + far + 1 for first, far in zip(place, reach, strict=True)]
        here = lax.slice(padded, place, ends, strides)
        if largest is None or chosen is None:
            largest, chosen = here, jnp.zeros(here.shape, jnp.uint8)
            continue
        stays = largest >= here  # as XLA compares: NaN gives way to the next
        largest = jnp.where(stays, largest, here)
        chosen = jnp.where(stays, chosen, jnp.uint8(number))
    assert chosen is not None  # a window has a place
    return chosen
