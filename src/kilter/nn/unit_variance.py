"""Layer-sequential unit-variance initialisation (LSUV; Mishkin & Matas 2016, All you need is a good init)."""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._array_types import Arrays
from kilter._models.arrays import some_rows
from kilter._models.keras_internals import BaseDepthwiseConv, BaseSeparableConv
from kilter._models.layers import KERNELS, WEIGHTED, require_model
from kilter._models.tracing import fixed_batch_size, forward, in_same_trace, leaf_layers, replace_attribute
from kilter._models.variables import assign, build_forward, fitting, values
from kilter._validation import number, whole_number
from kilter.errors import ModelError


def orthonormal(shape: tuple[int, ...], generator: np.random.Generator, *, each_channel: bool) -> np.ndarray:
    """A kernel as a matrix (all axes but the last, the last) with orthonormal columns, or rows if wide.

    Drawn uniformly (Haar). With ``each_channel``, every channel of a depthwise kernel (…, channels,
    multiplier) is such a matrix.
    """
    count = shape[-2] if each_channel else 1
    columns = shape[-1]
    rows = math.prod(shape) // (count * columns)
    normal = generator.standard_normal((count, max(rows, columns), min(rows, columns)))
    basis, triangle = np.linalg.qr(normal)
    basis *= np.sign(np.diagonal(triangle, axis1=1, axis2=2))[:, None, :]  # makes the distribution uniform
    matrices = basis if rows >= columns else basis.transpose(0, 2, 1)
    return matrices.transpose(1, 0, 2).reshape(shape)


@dataclass(frozen=True)
class LayerScaling:
    """What :func:`lsuv` did to one layer. Deviations are of its output before its activation, over the batch.

    Attributes:
        layer: the layer's path, such as ``"block/dense_1"``.
        before: the standard deviation before :func:`lsuv`.
        after: the standard deviation now.
        scale: the factor that the orthonormal kernel was multiplied by.
        iterations: the number of times it was scaled.
    """

    layer: str
    before: float
    after: float
    scale: float
    iterations: int


@dataclass(frozen=True)
class LsuvRecord:
    """What :func:`lsuv` did: the scaled layers in the order of their calls, and those it skipped.

    Attributes:
        layers: one entry for each scaled layer.
        skipped: path and reason of each layer with a kernel that was not changed.
        rows: rows of ``x`` that were used.
    """

    layers: tuple[LayerScaling, ...]
    skipped: tuple[tuple[str, str], ...]
    rows: int


@dataclass(frozen=True)
class _Target:
    """A layer to scale: path, number of calls, and positions of its weights among the trainable ones."""

    path: str
    layer: Any
    calls: int
    kernels: tuple[int, ...]
    biases: tuple[int, ...]


def lsuv(
    model: keras.Model,
    x: Arrays,
    *,
    tolerance: float = 0.1,
    max_iterations: int = 10,
    rows: int = 512,
    seed: int = 0,
) -> LsuvRecord:
    """Initialise ``model`` so that every layer's output has variance 1 on the batch ``x``.

    Every Dense, EinsumDense and convolution (of any rank; depthwise, separable, transposed) gets orthonormal
    kernels and zero biases. Then, in the order of the calls, each kernel is divided by the standard deviation
    of the layer's output, until ``|variance - 1| <= tolerance`` for all layers. As in the paper, this is the
    output before the activation, over rows and units together, so ``Dense(activation="relu")`` and a Dense
    followed by a ReLU get the same kernels. In a separable convolution the pointwise kernel is scaled.

    With zero biases an output is proportional to its kernel, so one compiled forward pass finds all factors
    exactly. Only layers that are called more than once need further iterations. The pass runs in inference
    mode; batch normalisation statistics, seeds and all other variables do not change.

    Works on any model. Frozen layers, and layers that the pass does not call, do not change; the record lists
    them.

    Args:
        model: sequential, functional, nested or subclassed; built on ``x`` if needed.
        x: inputs as the model takes them: an array, or a list or dict of arrays.
        tolerance: the allowed deviation of the variances from 1, above 0 and below 1.
        max_iterations: how many times kernels may be scaled.
        rows: use at most this many rows of ``x``, sampled with ``seed``; one batch if the model has a fixed
            batch size.
        seed: of the orthonormal kernels and of the rows.

    Raises:
        ModelError: if the model has no such layer, an output is constant or not finite, or the variances do
            not converge. The model then stays unchanged.
        OptionError: for options out of range.
        DataError: if the data do not fit.
    """
    require_model(model)
    number("tolerance", tolerance, above=0, below=1, remedy="the paper uses 0.1")
    whole_number("max_iterations", max_iterations, 1, remedy="the paper uses 10")
    batch = some_rows(x, fixed_batch_size(model) or rows, seed)
    build_forward(model, batch)
    targets, skipped = _targets(model, batch)
    given, fixed = values(model)
    deviations = _program(model, targets, batch)
    before = deviations(given, fixed, normalize=False)
    start = _orthonormalized(targets, given, seed)
    scales, after, iterations = _scales(
        lambda scales, normalize: deviations(_scaled(start, targets, scales), fixed, normalize=normalize),
        targets,
        tolerance,
        max_iterations,
    )
    assign(zip(model.trainable_variables, _scaled(start, targets, scales), strict=True))
    layers = tuple(
        LayerScaling(target.path, float(was), float(now), float(scale), iterations)
        for target, was, now, scale in zip(targets, before, after, scales, strict=True)
    )
    return LsuvRecord(layers, skipped, len(jax.tree.leaves(batch)[0]))


def _targets(model: keras.Model, batch: Any) -> tuple[list[_Target], tuple[tuple[str, str], ...]]:
    """The layers to scale in the order of their first calls, and the skipped layers with a kernel."""
    candidates = {layer: path for path, layer in leaf_layers(model) if isinstance(layer, WEIGHTED)}
    positions = {id(variable): index for index, variable in enumerate(model.trainable_variables)}
    calls: list[Any] = []

    def run(variables: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for layer in candidates:
                _tap(layer, lambda value, layer=layer: calls.append(layer) or value, stack)
            return forward(model, variables, batch, training=False)

    with fitting(model):
        jax.eval_shape(run, values(model))
    called = list(dict.fromkeys(calls))
    targets, skipped = [], []
    for layer in [*called, *(layer for layer in candidates if layer not in called)]:
        named = {variable.name: positions.get(id(variable)) for variable in layer.weights}
        found = [named[name] for name in KERNELS if name in named]
        kernels = tuple(index for index in found if index is not None)
        if layer not in called:
            skipped.append((candidates[layer], "not called"))
        elif not kernels or None in found:
            skipped.append((candidates[layer], "frozen"))
        else:
            bias = named.get("bias")
            biases = () if bias is None else (bias,)
            targets.append(_Target(candidates[layer], layer, calls.count(layer), kernels, biases))
    if not targets:
        raise ModelError(
            expected="a model that calls a dense or convolutional layer with trainable kernels",
            received=f"model {model.name!r}: " + (", ".join(map(" ".join, skipped)) or "no such layer"),
            remedy="set layer.trainable = True on the layers to initialise",
        )
    return targets, tuple(skipped)


def _tap(layer: Any, look: Callable[[Any], Any], stack: contextlib.ExitStack) -> None:
    """Let ``look`` see, and replace, the layer's output before its activation."""
    activation, visible = layer.activation, in_same_trace()

    def tapped(value: Any) -> Any:
        seen = look(value) if visible() else value
        return seen if activation is None else activation(seen)

    replace_attribute(layer, "activation", tapped, stack)


def _program(model: keras.Model, targets: list[_Target], batch: Any) -> Callable[..., np.ndarray]:
    """``(trainable, fixed, normalize) -> deviations``, one for each target, compiled once.

    With ``normalize``, outputs of layers called once are divided by their deviation, as later layers will see
    them.
    """

    def run(trainable: Any, fixed: Any, inputs: Any, normalize: jax.Array) -> jax.Array:
        seen: list[list[Any]] = [[] for _ in targets]

        def looking(index: int) -> Callable[[Any], Any]:
            def look(value: Any) -> Any:
                exact = value.astype("float32")
                variance = jnp.var(exact)
                seen[index].append((exact.size, jnp.mean(exact), variance))
                divide = normalize & (targets[index].calls == 1) & (variance > 0)
                return (exact / jnp.where(divide, jnp.sqrt(variance), 1)).astype(value.dtype)

            return look

        with contextlib.ExitStack() as stack:
            for index, target in enumerate(targets):
                _tap(target.layer, looking(index), stack)
            forward(model, (trainable, fixed), inputs, training=False)
        return jnp.stack([_pooled_deviation(*zip(*calls, strict=True)) for calls in seen])

    compiled = jax.jit(run)
    return lambda trainable, fixed, *, normalize: np.asarray(compiled(trainable, fixed, batch, normalize))


def _pooled_deviation(sizes: Any, means: Any, variances: Any) -> jax.Array:
    """The standard deviation of a layer's outputs, over all its calls."""
    shares = jnp.asarray(sizes, "float32") / sum(sizes)
    means, variances = jnp.stack(means), jnp.stack(variances)
    return jnp.sqrt(shares @ (variances + jnp.square(means - shares @ means)))


def _orthonormalized(targets: list[_Target], given: list[Any], seed: int) -> list[Any]:
    """The trainable values ``given``, with orthonormal kernels and zero biases in the targets."""
    start = list(given)
    generator = np.random.default_rng(seed)
    for target in targets:
        depthwise = isinstance(target.layer, BaseDepthwiseConv), isinstance(target.layer, BaseSeparableConv)
        for position, index in enumerate(target.kernels):
            each_channel = depthwise[0] or (depthwise[1] and position == 0)
            kernel = orthonormal(given[index].shape, generator, each_channel=each_channel)
            start[index] = jnp.asarray(kernel, dtype=given[index].dtype)
        for index in target.biases:
            start[index] = jnp.zeros_like(given[index])
    return start


def _scaled(start: list[Any], targets: list[_Target], scales: np.ndarray) -> list[Any]:
    """``start`` with the last kernel of each target multiplied by its scale."""
    scaled = list(start)
    for target, scale in zip(targets, scales, strict=True):
        scaled[target.kernels[-1]] = start[target.kernels[-1]] * np.float32(scale)
    return scaled


def _scales(
    deviations: Callable[[np.ndarray, bool], np.ndarray], targets: list[_Target], tolerance: float, most: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """The factor of each kernel, the resulting deviations, and the number of iterations."""
    scales, iteration = np.ones(len(targets)), 0
    while True:
        found = deviations(scales, False)
        _check(found, targets)
        off = np.abs(found**2 - 1)
        if np.all(off <= tolerance):
            return scales, found, iteration
        if iteration == most:
            break
        scales, iteration = scales / deviations(scales, True), iteration + 1
    worst = int(np.argmax(off))
    raise ModelError(
        expected=f"variances that settle within {tolerance} of 1 in {most} iterations",
        received=f"variance {found[worst] ** 2:.4g} of layer {targets[worst].path!r}, "
        f"called {targets[worst].calls} times",
        remedy="raise tolerance or max_iterations, or freeze this layer to leave it out",
    )


def _check(found: np.ndarray, targets: list[_Target]) -> None:
    for deviation, target in zip(found, targets, strict=True):
        if not np.isfinite(deviation):
            raise ModelError(
                expected="finite outputs of every layer",
                received=f"layer {target.path!r}, with an output that is not finite on this batch",
                remedy="check x for NaN, infinity and very large numbers; standardise it",
            )
        if deviation == 0:
            raise ModelError(
                expected="outputs that vary over the batch",
                received=f"layer {target.path!r}, with a constant output",
                remedy="pass rows that differ; if the layers before it are dead, freeze it to skip it",
            )
