"""Replaces batch normalisation's moving averages by the mean and variance of the training set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax

from kilter._array_types import Arrays
from kilter._engine.arrays import collect
from kilter._engine.checks import check_inputs
from kilter._engine.feed import Order, ResidentFeed
from kilter._engine.host_rows import take
from kilter._engine.program_cache import shelf
from kilter._models.layers import require_model
from kilter._models.tracing import forward, intercept_calls, leaf_layers
from kilter._models.variables import assign, fitting, values
from kilter._validation import whole_number
from kilter.errors import ModelError

Norms = Sequence[tuple[str, Any]]
Moments = tuple[Any, Any, Any]


@dataclass(frozen=True)
class RefreshedNorm:
    """How far off the statistics of one layer were.

    Attributes:
        layer: its path, such as ``"block/norm_1"``.
        mean_moved: the largest change of a mean, in standard deviations of that channel.
        variance_moved: the largest factor by which a variance changed, up or down; 1.0 for none. Both count
            the layer's epsilon in.
    """

    layer: str
    mean_moved: float
    variance_moved: float


@dataclass(frozen=True)
class RefreshRecord:
    """What :func:`kilter.refresh_batch_norm` did: the layers in the order of the model, ``left`` those that
    were not touched (frozen, or never called), the ``passes`` over the ``rows`` that it took.
    """

    layers: tuple[RefreshedNorm, ...]
    left: tuple[str, ...]
    passes: int
    rows: int


def refresh_batch_norm(model: keras.Model, x: Arrays, *, batch_size: int = 256) -> RefreshRecord:
    """Set every batch normalisation's mean and variance to those of its inputs over all of ``x``, in place.

    In training Keras keeps moving averages over batches, which lag behind the weights: with a momentum of
    0.99 half of what they hold is older than 69 steps. Inference should use the mean and the variance over
    the training set (Ioffe & Szegedy 2015, algorithm 2; here with 1/N, as in training), every row counted
    once, the rows of a smaller last batch too, and masked positions not at all.

    A layer's input depends on the statistics of the layers before it. So all are measured, set and measured
    again, until nothing changes: after k passes the layers with fewer than k others before them are exact.
    Sums within a batch are float32 with corrected rounding; batches are combined in float64 (Chan, Golub &
    LeVeque 1979).

    Frozen layers (``trainable=False``) and the rest of the model do not change.

    Args:
        model: any built model with batch normalisations, subclassed ones too, called outside traced loops.
        x: the training inputs, as for :func:`kilter.predict`.
        batch_size: affects only memory and speed.

    Raises:
        ModelError: if there is no layer to refresh, or a statistic is not finite; the model does not change.
        DataError: if the inputs do not fit.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])
        >>> record = refresh_batch_norm(model, np.array([[1.0], [2.0], [6.0]]))
        >>> [weight.tolist() for weight in model.get_weights()[2:]], record.passes
        ([[3.0], [4.666666507720947]], 1)
    """
    require_model(model)
    whole_number("batch_size", batch_size, 1)
    rows = collect(x)
    check_inputs(model, rows)
    norms = [found for found in leaf_layers(model) if isinstance(found[1], keras.layers.BatchNormalization)]
    live = [(path, layer) for path, layer in norms if layer.built and layer.trainable]
    if not live:
        raise ModelError(
            expected=f"batch normalisations in model {model.name!r} that may change",
            received=f"{len(norms)} that are frozen or not built" if norms else "none",
            remedy="set trainable = True on the layers to refresh"
            if norms
            else "there is nothing to refresh",
        )
    old = {path: (np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)) for path, layer in live}
    found, passes = _settle(model, live, ResidentFeed(rows, Order(batch_size, shuffle=False, seed=0)))
    bad = [path for path, new in found.items() if not all(np.isfinite(values).all() for values in new)]
    if bad:
        raise ModelError(
            expected=f"finite inputs to every batch normalisation of model {model.name!r}",
            received=f"NaN or infinite statistics in {', '.join(bad[:5])}",
            remedy="check the weights before these layers, and masks that leave no values",
        )
    for path, layer in live:
        if path in found:
            assign(zip((layer.moving_mean, layer.moving_variance), found[path], strict=True))
    epsilons = {path: layer.epsilon for path, layer in live}
    return RefreshRecord(
        tuple(_moved(path, old[path], new, epsilons[path]) for path, new in found.items()),
        tuple(path for path, _ in norms if path not in found),
        passes,
        rows.count,
    )


def _settle(model: keras.Model, norms: Norms, feed: ResidentFeed) -> tuple[dict[str, Any], int]:
    """Mean and variance by layer after they settled, and the passes: each makes one more layer exact."""
    trainable, others = values(model)
    place = {id(variable): index for index, variable in enumerate(model.non_trainable_variables)}
    found: dict[str, Any] = {}
    for passes in range(1, len(norms) + 1):
        before, found = found, _measure(model, norms, feed, (trainable, others))
        for path, layer in norms:
            if path in found:
                statistics = (layer.moving_mean, layer.moving_variance)
                for variable, value in zip(statistics, found[path], strict=True):
                    others[place[id(variable)]] = jnp.asarray(value, variable.dtype)
        if before.keys() == found.keys() and all(
            np.array_equal(before[path], found[path], equal_nan=True) for path in found
        ):
            return found, passes
    return found, len(norms)


def _measure(model: keras.Model, norms: Norms, feed: ResidentFeed, variables: Any) -> dict[str, Any]:
    """Population mean and variance (float64) of the inputs of each layer that is called."""
    parts: list[list[list[Moments]]] = []  # by block, layer and call of the layer
    for block in feed.blocks(0):
        arguments = (variables, block.data[0], block.order)
        with fitting(model):
            program = shelf(model).get("moments", (), lambda: _moments_program(model, norms), arguments)
        parts.append(jax.device_get(program(*arguments)))
    found = {}
    for index, (path, _) in enumerate(norms):
        pieces = [moments for part in parts for moments in part[index]]
        if pieces:
            joined = (np.concatenate(arrays).astype(np.float64) for arrays in zip(*pieces, strict=True))
            count, mean, squares = _combined(*joined)
            with np.errstate(divide="ignore", invalid="ignore"):  # all masked: NaN, which is refused
                found[path] = (np.where(count > 0, mean, np.nan), squares / count)
    return found


def _moments_program(model: keras.Model, norms: Norms) -> Callable[..., Any]:
    def batch(variables: Any, rows: Any) -> list[list[Moments]]:
        seen: list[list[Moments]] = [[] for _ in norms]
        found = {id(layer): moments for (_, layer), moments in zip(norms, seen, strict=True)}

        def measure(layer: Any, call: Callable[..., Any], inputs: Any, *others: Any, **named: Any) -> Any:
            found[id(layer)].append(_batch_moments(inputs, named.get("mask"), layer.axis))
            return call(inputs, *others, **named)

        with intercept_calls([layer for _, layer in norms], measure):
            forward(model, variables, rows, training=False)
        return seen

    def run(variables: Any, x: Any, order: jax.Array) -> Any:
        return lax.map(lambda rows: batch(variables, take(x, rows)), order)

    return run


def _batch_moments(inputs: Any, mask: Any, axis: int) -> Moments:
    """Count, mean and sum of squared deviations by channel, first per row, then over all rows."""
    wide = jnp.asarray(inputs, jnp.promote_types(inputs.dtype, jnp.float32))
    counts = jnp.ones_like(wide)
    if mask is not None:
        counts = jnp.broadcast_to(jnp.expand_dims(mask, -1), wide.shape).astype(wide.dtype)
    cells, counts = (_by_cell(array, axis) for array in (jnp.where(counts > 0, wide, 0), counts))
    moments = (counts, cells, jnp.zeros_like(cells))
    of_rows = _combined(*moments) if len(cells) > 1 else tuple(part[0] for part in moments)
    return _combined(*of_rows)


def _by_cell(array: jax.Array, axis: int) -> jax.Array:
    """[batch, *space, channels], the channels at ``axis``, as [space, batch, channels]."""
    last = jnp.moveaxis(array, axis, -1)
    return jnp.moveaxis(last.reshape(last.shape[0], -1, last.shape[-1]), 1, 0)


def _combined(counts: Any, means: Any, squares: Any) -> Moments:
    """The moments of groups along the first axis, combined; zeros if every count is 0.

    The mean is computed twice, the second time on the residuals, which removes most of the rounding.
    """
    count = counts.sum(0)
    safe = count + (count == 0)
    rough = (counts * means).sum(0) / safe
    apart = means - rough
    rest = (counts * apart).sum(0) / safe
    return count, rough + rest, (squares + counts * apart**2).sum(0) - count * rest**2


def _moved(path: str, old: Any, new: Any, epsilon: float) -> RefreshedNorm:
    width = np.sqrt(new[1] + epsilon)
    factor = (new[1] + epsilon) / (old[1].astype(np.float64) + epsilon)
    return RefreshedNorm(
        path, float(np.max(np.abs(new[0] - old[0]) / width)), float(np.max(np.maximum(factor, 1 / factor)))
    )
