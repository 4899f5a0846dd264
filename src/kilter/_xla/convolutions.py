"""Convolutions written as a CPU computes them fastest; equal numbers, to rounding.

XLA's CPU kernel is good at a small window that moves over large images, in the dimension order batch, space,
channel, with the kernel in the order space, in, out. What differentiation and transposed layers ask for is
brought into that form, or into another one that is fast:

- *The gradient of a kernel* has a window as large as the image, and few results. It is one matrix product of
  the layer's inputs with the gradient of its outputs, summed over rows and places; for each tap of the kernel
  one of the two is shifted.
- *Spread images* (of a transposed layer, or of the gradient of a layer with strides) are mostly zeros. The
  results are of several kinds, by which taps of the kernel meet no zeros; each kind is a convolution with
  these taps alone, over images that are not spread.
- *Images of three channels*, or another odd number, get one of zeros more where the kernel is slow without.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

Parameters = dict[str, Any]
Form = Callable[[Any, Any, Any, Parameters], Any]
"""From the primitive, images (n, space, c), kernel (space, c, m) and parameters to results (n, space, m)."""

# With fewer filters XLA's kernel is slow, and all kinds of results are better taken in one convolution.
_FEW_FILTERS = 16
# With more kinds too, since each convolution takes its time to compile.
_MANY_KINDS = 16
# For so many filters XLA's kernel is 1.4 to 13 times slower with an odd number of channels than with one
# more.
_SLOW_FOR_ODD = range(17, 33)
_FEWEST_ODD = 3
# Numbers that the operands of a product may have, 256 MiB of float32, and taps, each a piece of one of them.
_MOST_NUMBERS = 1 << 26
_MOST_TAPS = 128


def convolution(equation: core.JaxprEqn, images: Any, kernel: Any) -> Any:
    """What the equation (``conv_general_dilated``) makes of ``images`` and ``kernel``, in its own order."""
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
    return jnp.transpose(result, tuple(np.argsort(last[0](numbers.out_spec)).tolist()))


@dataclass(frozen=True)
class _Axis:
    """One dimension of space: result t is the sum over the taps p of x(stride·t + apart·p - low) y(p).

    ``size`` counts the images' places, which lie ``spread`` apart with zeros between.
    """

    size: int
    taps: int
    stride: int
    spread: int
    apart: int
    low: int
    high: int

    @property
    def results(self) -> int:
        """How many results there are."""
        length = (self.size - 1) * self.spread + 1 + self.low + self.high
        return (length - (self.taps - 1) * self.apart - 1) // self.stride + 1


def _axes(images: Any, kernel: Any, parameters: Parameters) -> list[_Axis]:
    return [
        _Axis(*numbers, *padding)
        for *numbers, padding in zip(
            images.shape[1:-1],
            kernel.shape[:-2],
            parameters["window_strides"],
            parameters["lhs_dilation"],
            parameters["rhs_dilation"],
            parameters["padding"],
            strict=True,
        )
    ]


def _form(images: Any, kernel: Any, parameters: Parameters, *, sums_rows: bool) -> Form:
    """How a convolution is best computed."""
    axes = _axes(images, kernel, parameters)
    if parameters["batch_group_count"] != 1:
        return _as_it_is
    few = parameters["feature_group_count"] == 1 and all(axis.results < axis.taps for axis in axes)
    spread = any(axis.spread > 1 for axis in axes)
    steady = all(axis.stride == axis.apart == 1 for axis in axes)
    if few and spread and steady:
        return _exchanged
    if few and not spread and sums_rows and _fits(images, kernel, axes):
        return _product
    if spread and steady:
        return _in_kinds
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
    """The same with a channel of zeros more."""
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
    for axis in _axes(images, kernel, parameters):
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


def _sizes(images: Any, kernel: Any, axes: Sequence[_Axis]) -> Iterator[tuple[int, tuple[bool, ...]]]:
    """The ways to write a product: the numbers that both its operands have, and which one is shifted.

    For each axis True where the images are, False where the kernel is; that needs taps side by side.
    """
    for ways in itertools.product(*[(True, False) if axis.apart == 1 else (True,) for axis in axes]):
        ours, theirs, summed = images.shape[0], kernel.shape[-1], images.shape[-1]
        for axis, images_are in zip(axes, ways, strict=True):
            ours *= axis.results if images_are else 1
            theirs *= 1 if images_are else axis.results
            summed *= axis.taps if images_are else axis.taps + axis.stride * (axis.results - 1)
        yield summed * (ours + theirs), ways


def _fits(images: Any, kernel: Any, axes: Sequence[_Axis]) -> bool:
    """Whether a product is not too large."""
    taps = math.prod(axis.results for axis in axes)  # of the kernel whose gradient it is
    return taps <= _MOST_TAPS and min(_sizes(images, kernel, axes))[0] <= _MOST_NUMBERS


def _product(primitive: Any, images: Any, kernel: Any, parameters: Parameters) -> Any:
    """One product, summed over channels and places, of the images and the kernel, one of them shifted."""
    axes = _axes(images, kernel, parameters)
    _, ways = min(_sizes(images, kernel, axes))
    x, y = _shifted_images(images, axes, ways), _shifted_kernel(kernel, axes, ways)
    results = [axis.results for axis in axes]
    there = [count if images_are else 1 for count, images_are in zip(results, ways, strict=True)]
    here = [1 if images_are else count for count, images_are in zip(results, ways, strict=True)]
    swaps = x.shape[1] > y.shape[1]  # the narrower operand first is the faster
    product = lax.dot_general(
        *((y, x) if swaps else (x, y)),
        (((0,), (0,)), ((), ())),
        precision=parameters["precision"],
        preferred_element_type=parameters["preferred_element_type"],
    )
    # Behind a barrier, or XLA would exchange the operands to save the transpose.
    product = lax.optimization_barrier(product).T if swaps else product
    count = len(axes)
    product = product.reshape(*there, images.shape[0], *here, kernel.shape[-1])
    paired = [one for axis in range(count) for one in (axis, count + 1 + axis)]
    return product.transpose(count, *paired, 2 * count + 1).reshape(
        images.shape[0], *results, kernel.shape[-1]
    )


def _shifted_images(images: Any, axes: Sequence[_Axis], ways: Sequence[bool]) -> Any:
    """Rows (channels · places, results of the shifted axes · n)."""
    # Turned before anything else, so that XLA sees that the rows are as they were before they were images.
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


def _shifted_kernel(kernel: Any, axes: Sequence[_Axis], ways: Sequence[bool]) -> Any:
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


def _shifts(axes: Sequence[_Axis], ways: Sequence[bool]) -> list[range]:
    return [range(axis.results if shifted else 1) for axis, shifted in zip(axes, ways, strict=True)]


def _as_rows(pieces: Sequence[Any]) -> Any:
    # Unless they stand alone, XLA computes the shifts anew for every use.
    return lax.optimization_barrier(
        jnp.concatenate(pieces, axis=-1).reshape(-1, sum(one.shape[-1] for one in pieces))
    )


@dataclass(frozen=True)
class _Kind:
    """Along one axis, the results spread·j + place for j = 0, 1, …: of the taps first, first + spread, …

    ``low``: how many places before the images the first of them begins; ``count``: how many taps there are.
    """

    first: int
    count: int
    low: int


def _kinds(axis: _Axis) -> list[_Kind]:
    kinds = []
    for place in range(axis.spread):
        first = (axis.low - place) % axis.spread
        count = len(range(first, axis.taps, axis.spread))
        kinds.append(_Kind(first, count, (axis.low - place - first) // axis.spread))
    return kinds


def _in_kinds(primitive: Any, images: Any, kernel: Any, parameters: Parameters) -> Any:
    """The convolution of spread images: one for each kind of results, put together again."""
    axes = _axes(images, kernel, parameters)
    kinds = list(itertools.product(*map(_kinds, axes)))
    parts = [
        kernel[tuple(slice(one.first, None, axis.spread) for one, axis in zip(kind, axes, strict=True))]
        for kind in kinds
    ]
    at_once = kernel.shape[-1] < _FEW_FILTERS or len(kinds) > _MANY_KINDS
    if at_once and parameters["feature_group_count"] == 1:
        lows, part = _side_by_side(parts, kinds)
        whole = _interleaved(_moved(primitive, images, part, lows, axes, parameters), axes)
    else:
        lows = [[one.low for one in kind] for kind in kinds]
        made = [
            _moved(primitive, images, part, low, axes, parameters)
            for part, low in zip(parts, lows, strict=True)
        ]
        whole = _stacked(made, axes)
    return whole[(slice(None), *(slice(axis.results) for axis in axes))]


def _interleaved(made: Any, axes: Sequence[_Axis]) -> Any:
    """From results of all kinds, (n, counts, kinds · m), to their own order, (n, space, m)."""
    count, spread = len(axes), [axis.spread for axis in axes]
    counts = made.shape[1:-1]
    made = made.reshape(made.shape[0], *counts, *spread, -1)
    paired = [one for axis in range(count) for one in (1 + axis, 1 + count + axis)]
    made = made.transpose(0, *paired, 2 * count + 1)
    return made.reshape(made.shape[0], *map(operator.mul, counts, spread), made.shape[-1])


def _stacked(made: Sequence[Any], axes: Sequence[_Axis]) -> Any:
    """The same from an array for each kind: put beside one another place by place, axis after axis."""
    for number, axis in reversed(list(enumerate(axes, 1))):
        groups = [made[first : first + axis.spread] for first in range(0, len(made), axis.spread)]
        shape = list(made[0].shape)
        shape[number] *= axis.spread
        made = [jnp.concatenate(group, axis=number + 1).reshape(shape) for group in groups]
    return made[0]


def _side_by_side(parts: Sequence[Any], kinds: Sequence[tuple[_Kind, ...]]) -> tuple[list[int], Any]:
    """The kernels of all kinds in one window, their filters one behind the other, and where it begins."""
    along = list(zip(*kinds, strict=True))
    lows = [max(one.low for one in some) for some in along]
    ends = [max(one.count - one.low for one in some) for some in along]
    placed = [
        jnp.pad(
            part,
            [
                *(
                    (low - one.low, end - one.count + one.low)
                    for low, end, one in zip(lows, ends, kind, strict=True)
                ),
                (0, 0),
                (0, 0),
            ],
        )
        for part, kind in zip(parts, kinds, strict=True)
    ]
    return lows, jnp.concatenate(placed, axis=-1)


def _moved(
    primitive: Any,
    images: Any,
    kernel: Any,
    lows: Sequence[int],
    axes: Sequence[_Axis],
    parameters: Parameters,
) -> Any:
    """Every spread-th result: the kernel moved over images that are not spread, from ``lows`` before them."""
    counts = [-(-axis.results // axis.spread) for axis in axes]
    if kernel.size == 0:  # kinds that meet zeros alone
        return jnp.zeros((images.shape[0], *counts, kernel.shape[-1]), images.dtype)
    padding = [
        (low, count + taps - 1 - low - axis.size)
        for low, count, taps, axis in zip(lows, counts, kernel.shape, axes, strict=False)
    ]
    # XLA's kernel reads past the images where a border is negative.
    cuts = [(0, 0, 0), *((min(low, 0), min(high, 0), 0) for low, high in padding), (0, 0, 0)]
    images = lax.pad(images, jnp.zeros((), images.dtype), cuts)
    dense = {
        **parameters,
        "padding": tuple((max(low, 0), max(high, 0)) for low, high in padding),
        "lhs_dilation": (1,) * len(axes),
    }
    return primitive.bind(images, kernel, **dense)
