"""Measurements: what goes forward and backward through each layer, read without changing a bit of the model.

A reader looks at a fixed sample of rows. While its program is traced, each layer's ``call`` is replaced by
one that records its output and adds a zero array to it; the gradient by that zero is that by the output.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.arrays import collect
from kilter._engine.checks import check_inputs, check_targets
from kilter._engine.feed import Order, ResidentFeed, single_steps
from kilter._engine.loop import training
from kilter._engine.stable_losses import stable_losses
from kilter._engine.step import Schedule
from kilter._models.layers import Saturation, saturation
from kilter._models.tracing import fixed_batch_size, in_same_trace, leaf_layers, replace_attribute, some_rows
from kilter._models.variables import State, build, fitting, pull
from kilter._progress import SILENT, Progress
from kilter._records import Measurements
from kilter._xla.compilation import compile_options, is_rewritten
from kilter._xla.rewrite import rewrite, trace

OF_OUTPUTS = ("mean", "std", "zeros", "saturated", "dead")
OF_GRADIENTS = ("gradient_norm", "gradient_std")
OF_WEIGHTS = ("weight_norm", "weight_gradient_norm", "update_ratio")
VALUES = (*OF_OUTPUTS, *OF_GRADIENTS, *OF_WEIGHTS)
# For outputs of which is not known where they saturate.
_NOWHERE = Saturation(math.nan, math.nan)
# Numbers of an array from which on copying it takes longer than compiling one more operation is worth.
_LARGE = 1 << 18


@dataclass(frozen=True)
class Call:
    """One call of a layer in a forward pass: where it is told of, and what is known of its output."""

    path: str
    layer: keras.layers.Layer
    shape: tuple[int, ...]
    dtype: Any
    last: bool  # its output is one of the model's own, which the loss must get as it was made
    weights: tuple[
        int, ...
    ]  # positions among the model's trainable variables; () from a layer's second call on


class Reader:
    """Reads a compiled, built model's layers on a fixed sample of rows, for any of its states.

    One program is compiled, on first use: soon rather than well where it is to read ``once``. Reading changes
    neither the model nor the state. A model with a fixed batch size is read on one batch, not on ``rows``.
    """

    def __init__(
        self,
        model: keras.Model,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        once: bool = False,
        rows: int = 256,
        seed: int = 0,
    ) -> None:
        data = {
            name: value for name, value in (("x", x), ("y", y), ("w", sample_weight)) if value is not None
        }
        fixed = fixed_batch_size(model)
        sample = some_rows(data, rows if fixed is None else fixed, seed)
        chosen = collect(sample["x"], sample.get("y"), sample.get("w"))
        check_inputs(model, chosen)
        build(model, chosen.example(chosen.count))
        check_targets(model, chosen)
        self.model = model
        self.batch = chosen.data
        self.rows = chosen.count
        self.once = once
        self._read: Any = None
        with fitting(model, self.batch):
            self.calls = _calls(model, pull(model), self.batch)

    def read(self, state: State) -> dict[str, np.ndarray]:
        """``loss``, shape (), and the values of :class:`~kilter._records.Measurements`, shape (l,)."""
        if self._read is None:
            reading = _reading(self.model, self.calls)
            if is_rewritten():
                reading = rewrite(trace(reading, state, self.batch), batch_size=self.rows)
            lowered = jax.jit(reading).lower(state, self.batch)
            self._read = lowered.compile(compiler_options=compile_options(soon=self.once) or None)
        return {
            name: np.asarray(value, dtype=np.float64) for name, value in self._read(state, self.batch).items()
        }

    def update_ratio(self, before: State, after: State) -> np.ndarray:
        """‖step‖ / ‖weights before‖ of each layer, float64 (l,); NaN where there are no weights but zeros."""
        old, new = ([np.asarray(array, np.float64) for array in state.trainable] for state in (before, after))
        ratios = []
        for call in self.calls:
            norm = np.sqrt(sum(np.sum(np.square(old[index])) for index in call.weights))
            with np.errstate(invalid="ignore"):  # of weights that are no longer finite
                step = np.sqrt(sum(np.sum(np.square(new[index] - old[index])) for index in call.weights))
            ratios.append(step / norm if norm > 0 else np.nan)
        return np.array(ratios)


def probe(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    rows: int = 256,
    seed: int = 0,
    reader: Reader | None = None,
) -> Measurements:
    """Read a compiled model as it stands, on at most ``rows`` rows drawn with ``seed``; no step is taken.

    The forward pass is that of training (dropout, batch statistics); the loss is the one that is trained,
    with its penalties. The model stays as it is, bit for bit. Raises what :func:`kilter.fit` raises for data
    that do not fit. ``reader`` is one that was made of the same, to save its compilation.
    """
    reader = Reader(model, x, y, sample_weight, rows=rows, seed=seed, once=True) if reader is None else reader
    return measurements(reader, [0], [reader.read(pull(model))], [np.nan], [None])


def measured_steps(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    steps: int = 64,
    readings: int = 8,
    batch_size: int = 32,
    shuffle: bool = True,
    sample_weight: Any = None,
    schedule: Schedule | None = None,
    rows: int = 256,
    seed: int = 0,
    reader: Reader | None = None,
    progress: Progress = SILENT,
) -> Measurements:
    """Train a copy of the model's state for ``steps`` steps and read it before about ``readings`` of them.

    The steps are those that :func:`kilter.fit` would take, in its compiled program, but for partial batches,
    which are left out. ``loss`` and ``loss_after`` are of the reader's own rows before and after the one step
    that follows a reading. The model stays as it is, bit for bit. ``reader`` as for :func:`probe`;
    ``progress`` hears of the steps.
    """
    reader = Reader(model, x, y, sample_weight, rows=rows, seed=seed) if reader is None else reader
    feed = ResidentFeed(collect(x, y, sample_weight), Order(batch_size, shuffle, seed, most=steps))
    wanted = np.unique(np.linspace(0, max(steps - 1, 0), num=min(readings, steps)).astype(int)).tolist()
    runner, state = training(model, schedule), pull(model)
    read, after, ratios = [], [], []
    for step, (block, start) in enumerate(single_steps(feed, steps)):
        progress.stage("Measuring the first steps: step", step + 1, steps)
        measured = step in wanted
        if measured:
            read.append(reader.read(state))
        before = jax.tree.map(jnp.array, state) if measured else state  # the step may reuse its memory
        state, _ = runner.call(state, block, start, start + 1)
        if measured:
            after.append(float(reader.read(state)["loss"]))
            ratios.append(reader.update_ratio(before, state))
    return measurements(reader, wanted, read, after, ratios)


def measurements(
    reader: Reader,
    steps: Sequence[int],
    read: Sequence[Mapping[str, np.ndarray]],
    loss_after: Sequence[float],
    ratios: Sequence[np.ndarray | None],
) -> Measurements:
    """Readings at some steps as one record; a ratio of None is one that is not known."""
    unknown = np.full(len(reader.calls), np.nan)
    values = {name: np.stack([one[name] for one in read]) for name in VALUES if name != "update_ratio"}
    values["update_ratio"] = np.stack([unknown if one is None else one for one in ratios])
    return Measurements(
        steps=np.asarray(steps),
        loss=np.array([float(one["loss"]) for one in read]),
        loss_after=np.asarray(loss_after, dtype=np.float64),
        layers=tuple(call.path for call in reader.calls),
        kinds=tuple(type(call.layer).__name__ for call in reader.calls),
        values=values,
    )


def _calls(model: keras.Model, state: State, batch: Any) -> tuple[Call, ...]:
    """The layers in the order in which a forward pass calls them; a shared layer's later calls as name#2…"""
    positions = {id(variable): index for index, variable in enumerate(model.trainable_variables)}
    paths = {id(layer): path for path, layer in leaf_layers(model)}
    found: list[Call] = []

    def look(state: State) -> Any:
        seen: list[tuple[keras.layers.Layer, Any]] = []

        def record(layer: keras.layers.Layer, output: Any) -> Any:
            seen.append((layer, output))
            return output

        outputs = _loss(model, state, batch, record)[1]
        ends = {id(leaf) for leaf in jax.tree.leaves(outputs)}
        times: dict[int, int] = {}
        for layer, output in seen:
            times[id(layer)] = count = times.get(id(layer), 0) + 1
            path = paths[id(layer)] + (f"#{count}" if count > 1 else "")
            weights = tuple(positions[id(one)] for one in layer.trainable_variables) if count == 1 else ()
            found.append(Call(path, layer, output.shape, output.dtype, id(output) in ends, weights))
        return ()

    jax.eval_shape(look, state)
    return tuple(found)


def _reading(model: keras.Model, calls: tuple[Call, ...]) -> Callable[[State, Any], dict[str, jax.Array]]:
    def compute(state: State, batch: Any) -> dict[str, jax.Array]:
        zeros = [None if call.last else jnp.zeros(call.shape, call.dtype) for call in calls]

        def loss_of(trainable: list[Any], added: list[Any]) -> tuple[jax.Array, list[Any]]:
            recorded: list[Any] = []

            def record(layer: keras.layers.Layer, output: Any) -> Any:
                recorded.append(output)
                zero = added[len(recorded) - 1]
                return output if zero is None else output + zero

            return _loss(model, state._replace(trainable=trainable), batch, record)[0], recorded

        (loss, outputs), (by_weights, by_outputs) = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)(
            state.trainable, zeros
        )
        flat = [jnp.array(saturation(call.layer) or _NOWHERE, jnp.float32) for call in calls]
        return {
            "loss": loss,
            **_each(OF_OUTPUTS, _of_output, outputs, flat),
            **_each(OF_GRADIENTS, _of_gradient, by_outputs),
            "weight_norm": _norms(calls, state.trainable),
            "weight_gradient_norm": _norms(calls, by_weights),
        }

    return compute


def _loss(
    model: keras.Model, state: State, batch: Any, record: Callable[[keras.layers.Layer, Any], Any]
) -> tuple[jax.Array, Any]:
    """The training loss and the outputs; ``record`` sees, and may replace, what each layer gives."""
    x, y, sample_weight = batch
    with contextlib.ExitStack() as stack:
        visible = in_same_trace()
        for _, layer in leaf_layers(model):
            replace_attribute(layer, "call", _tapped(layer, record, visible), stack)
        stack.enter_context(stable_losses(model))
        _, aux = model.compute_loss_and_updates(
            state.trainable, state.non_trainable, state.metrics, x, y, sample_weight, training=True,
            optimizer_variables=state.optimizer,
        )  # fmt: skip
    return jnp.asarray(aux[0], jnp.float32), aux[1]


def _tapped(
    layer: keras.layers.Layer, record: Callable[..., Any], visible: Callable[[], bool]
) -> Callable[..., Any]:
    original = layer.call

    def call(*arguments: Any, **options: Any) -> Any:
        output = original(*arguments, **options)
        tells = hasattr(output, "dtype") and jnp.issubdtype(output.dtype, jnp.floating) and output.ndim > 0
        return record(layer, output) if tells and visible() else output

    return call


def _each(names: Sequence[str], measure: Callable[..., Any], *arrays: Sequence[Any]) -> dict[str, jax.Array]:
    """What ``measure`` gives of each of ``arrays`` (of several in step) by name, shape (l,); NaN for None.

    Those of one shape are measured together: in a deep stack that makes a few operations of hundreds, which
    all have to be compiled. Large ones are measured by themselves, since putting them together copies them.
    """
    groups: dict[Any, list[int]] = {}
    for index, array in enumerate(arrays[0]):
        if array is not None:
            alone = index if array.size > _LARGE else None
            groups.setdefault((array.shape, array.dtype, alone), []).append(index)
    found = [
        jax.vmap(measure)(*(jnp.stack([some[index] for index in members]) for some in arrays))
        for members in groups.values()
    ]
    made = {index: place for place, index in enumerate(chain(*groups.values()))}
    order = np.array([made.get(index, len(made)) for index in range(len(arrays[0]))], dtype=np.int32)
    unknown = jnp.full(1, jnp.nan, jnp.float32)
    return {name: jnp.concatenate([*(one[name] for one in found), unknown])[order] for name in names}


def _of_output(output: jax.Array, flat: jax.Array) -> dict[str, jax.Array]:
    output = output.astype(jnp.float32)
    silent = jnp.all(output == 0, axis=tuple(range(output.ndim - 1)))
    low, high = flat
    saturated = Saturation(low, high).of(output).mean()
    return {
        "mean": output.mean(),
        "std": output.std(),
        "zeros": (output == 0).mean(),
        "saturated": jnp.where(jnp.isnan(low), jnp.nan, saturated),
        "dead": silent.mean(),
    }


def _of_gradient(gradient: jax.Array) -> dict[str, jax.Array]:
    gradient = gradient.astype(jnp.float32)
    return {"gradient_norm": jnp.linalg.norm(gradient.ravel()), "gradient_std": gradient.std()}


def _norms(calls: Sequence[Call], arrays: Sequence[jax.Array]) -> jax.Array:
    """The norm over the arrays of each call's weights, shape (l,); NaN where it has none."""
    most = max((len(call.weights) for call in calls), default=0)
    padded = [(*call.weights, *[len(arrays)] * (most - len(call.weights))) for call in calls]
    squares = jnp.append(_each(["sum"], _of_weights, arrays)["sum"], 0.0)
    sums = squares[np.array(padded, dtype=np.int32).reshape(len(calls), most)].sum(axis=1)
    return jnp.where(np.array([bool(call.weights) for call in calls]), jnp.sqrt(sums), jnp.nan)


def _of_weights(array: jax.Array) -> dict[str, jax.Array]:
    return {"sum": jnp.sum(jnp.square(array.astype(jnp.float32)))}
