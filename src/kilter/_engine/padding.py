"""The last partial batch, padded to a whole one, where no row can see another.

A second program for the last batch would take as long to compile as the first. Rows that repeat others and
count for nothing give the same numbers, to rounding, if every layer, loss and metric works row by row. This
is known only for Keras's own. Random numbers are those of the smaller batch: JAX draws each from its place in
the array, so the first rows of a larger array are the smaller one.
"""

import contextlib
import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar

import jax
import jax.numpy as jnp
import keras
from keras import layers as kinds

from kilter._engine.devices import placement
from kilter._engine.feed import Order, ResidentFeed, StreamFeed
from kilter._engine.overrides import overrides
from kilter._engine.stable_losses import is_plain
from kilter._models.copying import is_graph
from kilter._models.layers import CONVOLUTIONS, POOLINGS
from kilter._models.tracing import replace_attribute

# Padding beyond one row in this many would cost more than it saves, unless the padding takes fewer
# multiplications than this: they take less time than the call of a second program.
_ROWS_PER_PADDED_ROW: Final = 16
_FEW_MULTIPLICATIONS: Final = 250_000

# fmt: off
_RECURRENT: Final = (
    kinds.LSTM, kinds.GRU, kinds.SimpleRNN,
    kinds.LSTMCell, kinds.GRUCell, kinds.SimpleRNNCell,
)
_BY_ROW: Final = (
    kinds.InputLayer, kinds.Identity, kinds.Dense, kinds.EinsumDense, kinds.Embedding,
    *CONVOLUTIONS, *POOLINGS,
    kinds.Activation, kinds.ReLU, kinds.LeakyReLU, kinds.PReLU, kinds.ELU, kinds.Softmax,
    kinds.Flatten, kinds.Reshape, kinds.Permute, kinds.RepeatVector, kinds.Rescaling, kinds.Normalization,
    kinds.ZeroPadding1D, kinds.ZeroPadding2D, kinds.Cropping1D, kinds.Cropping2D,
    kinds.UpSampling1D, kinds.UpSampling2D, kinds.Add, kinds.Subtract, kinds.Multiply, kinds.Average,
    kinds.Maximum, kinds.Minimum, kinds.Concatenate, kinds.MultiHeadAttention,
    *_RECURRENT, kinds.Bidirectional,
    kinds.LayerNormalization, kinds.RMSNormalization, kinds.GroupNormalization,
)
_RANDOM: Final = (
    kinds.Dropout, kinds.SpatialDropout1D, kinds.SpatialDropout2D, kinds.GaussianNoise, kinds.GaussianDropout,
)
_LOSSES: Final = frozenset((
    "mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error", "huber", "log_cosh", "hinge", "squared_hinge", "categorical_hinge",
    "kl_divergence", "poisson", "binary_crossentropy", "binary_focal_crossentropy",
    "categorical_crossentropy", "categorical_focal_crossentropy", "sparse_categorical_crossentropy",
))
_METRICS: Final = frozenset((
    "Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy",
    "TopKCategoricalAccuracy", "SparseTopKCategoricalAccuracy", "MeanMetricWrapper",
    "MeanSquaredError", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredLogarithmicError",
    "RootMeanSquaredError", "LogCoshError", "Hinge", "SquaredHinge", "CategoricalHinge", "Poisson",
    "KLDivergence", "BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy",
))
# What the numbers of a step come from, beside layers, losses and metrics.
_STEPS: Final = (
    "train_step", "test_step", "compute_loss", "compute_metrics", "compute_loss_and_updates",
    "stateless_call", "stateless_compute_loss", "_update_metrics_variables",
    "get_metrics_result", "metrics", "__call__",
)
# fmt: on
_SUM_OVER_ROWS: Final = ("sum_over_batch_size", "mean")
_REDUCTIONS: Final = (*_SUM_OVER_ROWS, "sum", "mean_with_sample_weight")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Padded:
    """A batch of which only the rows ``real`` (bool, shape (batch,)) count."""

    x: Any
    y: Any
    sample_weight: Any
    real: jax.Array


def padded(model: keras.Model, feed: Any, kind: Literal["train", "test"]) -> Any:
    """The feed, with its last partial batch padded if that is exact and cheap; otherwise as it is."""
    if not isinstance(feed, ResidentFeed | StreamFeed) or placement() is not None or model.run_eagerly:
        return feed
    _, y, weights = feed.rows.data
    fits = _is_cheap(model, feed.rows.count, feed.order) and _fits(model, y, weights)
    return replace(feed, padded=True) if fits and works_by_row(model, kind) else feed


def _is_cheap(model: Any, count: int, order: Order) -> bool:
    whole, rest = divmod(count, order.batch_size)
    padding = order.batch_size - rest
    if not rest or padding * _ROWS_PER_PADDED_ROW <= count:
        return rest > 0
    return whole > 0 and is_graph(model) and padding * _multiplications(model) <= _FEW_MULTIPLICATIONS


def _multiplications(model: Any) -> float:
    """About those of a row in a forward pass: each layer's parameters at each place; infinite if unknown."""
    total = 0.0
    for layer in model.layers:
        if is_graph(layer):
            total += _multiplications(layer)
            continue
        nodes = layer._inbound_nodes
        shapes = [one.shape[1:-1] for node in nodes for one in (*node.input_tensors, *node.output_tensors)]
        if any(None in shape for shape in shapes):
            return math.inf
        total += layer.count_params() * len(nodes) * max(map(math.prod, shapes), default=1)
    return total


def works_by_row(model: keras.Model, kind: Literal["train", "test"]) -> bool:
    """Whether a step of the compiled, built model is known to treat each row alone."""
    compiled: Any = getattr(model, "_compile_loss", None)
    if not is_graph(model) or overrides(model, *_STEPS) or compiled is None or not compiled.built:
        return False
    losses = all(_is_loss_by_row(entry.loss) for entry in compiled._flat_losses)
    return losses and all(map(_is_metric_by_row, _metrics(model))) and _graph_by_row(model, kind)


def _graph_by_row(model: Any, kind: str) -> bool:
    """Whether all layers and operations are known to compute a row from that row, and random numbers."""
    return all(
        _graph_by_row(one, kind)
        if is_graph(one)
        else all(_is_known(part, kind) for part in one._flatten_layers())
        if isinstance(one, keras.Layer)
        else _is_sum(one)
        for one in getattr(model, "_operations", None) or model.layers
    )


def _is_known(layer: Any, kind: str) -> bool:
    exact = type(layer)
    if not exact.__module__.startswith("keras.src.layers.") or "call" in vars(layer):
        return False
    axis = getattr(layer, "axis", -1)
    axes = axis if isinstance(axis, list | tuple) else [axis]
    refused = (
        layer.activity_regularizer is not None,
        layer.quantization_mode is not None,
        0 in axes,
        *(getattr(layer, name, False) for name in ("mask_zero", "stateful", "recurrent_dropout")),
        isinstance(layer, _RECURRENT) and getattr(layer, "dropout", 0),
    )
    if any(refused):
        return False
    if exact is kinds.BatchNormalization:
        return kind == "test" or not layer.trainable
    if isinstance(layer, _RANDOM):
        return kind == "test" or _draws_by_place()
    return isinstance(layer, _BY_ROW)


def _is_sum(operation: Any) -> bool:
    """Whether an operation adds, subtracts or multiplies arrays of one rank, element by element."""
    if type(operation).__name__ not in ("Add", "Subtract", "Multiply"):
        return False
    tensors = [node.arguments.keras_tensors for node in operation._inbound_nodes]
    return all(len(one) == 2 and len(one[0].shape) == len(one[1].shape) for one in tensors)


def _draws_by_place() -> bool:
    """Whether JAX draws a random number from its place in the array alone, whatever the array's size."""
    read = jax.config.values
    return read["jax_threefry_partitionable"] and read["jax_default_prng_impl"] == "threefry2x32"


def _is_loss_by_row(loss: Any) -> bool:
    return (
        is_plain(loss)
        and type(loss).__module__.startswith("keras.")
        and str(loss.fn.__module__).startswith("keras.")
        and loss.fn.__name__ in _LOSSES
        and loss._fn_kwargs.get("axis", -1) == -1
        and loss.reduction in _REDUCTIONS
    )


def _is_metric_by_row(metric: Any) -> bool:
    known = type(metric).__name__ in _METRICS and type(metric).__module__.startswith("keras.")
    own = {"update_state", "result", "reset_state"} & set(vars(metric))
    function = getattr(metric, "_fn", None)
    return known and not own and (function is None or function.__module__.startswith("keras."))


def _metrics(model: Any) -> list[Any]:
    """The metrics that get targets and outputs; not the means of losses."""
    compiled = model._compile_metrics
    return [] if compiled is None else list(compiled.metrics)


def _fits(model: Any, y: Any, weights: Any) -> bool:
    """Whether losses have one number a row, or more with the row as first axis, for these targets."""
    outputs, targets = keras.tree.flatten(getattr(model, "outputs", None) or []), keras.tree.flatten(y)
    if not outputs or len(outputs) != len(targets) or any(one is None for one in targets):
        return False
    pairs = list(zip(targets, outputs, strict=True))
    if weights is not None:
        ranks = {len(output.shape) for output in outputs}
        single = not keras.tree.is_nested(weights) and weights.ndim == 1
        return single and ranks == {2} and all(target.ndim <= 2 for target in targets)
    return all(len(output.shape) - target.ndim in (0, 1) and target.ndim <= 3 for target, output in pairs)


Value = TypeVar("Value")


@contextlib.contextmanager
def real_rows(model: Any, batch: Any) -> Generator[None]:
    """While a step is traced within it, losses and metrics leave out padding (:class:`Padded`)."""
    if not isinstance(batch, Padded):
        yield
        return
    real, compiled = batch.real, model._compile_loss
    count = jnp.sum(real)
    with contextlib.ExitStack() as stack:
        entries = [entry._replace(loss=_LossOfReal(entry.loss, real)) for entry in compiled._flat_losses]
        replace_attribute(compiled, "_flat_losses", entries, stack)
        for metric in _metrics(model):
            replace_attribute(metric, "update_state", _of_real(metric.update_state, real), stack)
        for mean in (model._loss_tracker, *compiled.metrics):
            replace_attribute(mean, "update_state", _counting(mean.update_state, count), stack)
        yield


class _LossOfReal:
    """A loss over the real rows of a padded batch; a mean over rows is over these alone."""

    def __init__(self, loss: Any, real: jax.Array) -> None:
        self._loss, self._real = loss, real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loss, name)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        shape = jax.eval_shape(self._loss.call, *map(jnp.asarray, (y_true, y_pred))).shape
        weights = _weighted(self._real, sample_weight, shape)
        value = self._loss(y_true, y_pred, weights)
        if self._loss.reduction not in _SUM_OVER_ROWS:  # a sum, or divided by the sum of the weights
            return value
        return value * (len(self._real) / jnp.sum(self._real)).astype(value.dtype)


def _weighted(real: jax.Array, sample_weight: Any, shape: tuple[int, ...]) -> jax.Array:
    """The weights (those of shape (rows,), or ones of ``shape``), and zero for padding."""
    if sample_weight is not None:
        return jnp.where(real, jnp.asarray(sample_weight), 0)
    column = real.reshape(-1, *[1] * (len(shape) - 1))
    return jnp.broadcast_to(column, shape).astype(keras.config.floatx())


def _of_real(update: Any, real: jax.Array) -> Any:
    def updated(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return update(y_true, y_pred, _weighted(real, sample_weight, real.shape))

    return updated


def _counting(update: Any, count: jax.Array) -> Any:
    def updated(value: Any, sample_weight: Any = None) -> Any:
        return update(value, sample_weight=count)

    return updated
