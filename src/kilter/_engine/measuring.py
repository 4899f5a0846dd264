"""Measurements of signals and gradients in each layer, without changing the model.

A reader uses a fixed sample of rows. While its program is traced, each layer's output is recorded and a zero
array is added to it; the gradient with respect to that zero is the gradient with respect to the output.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._array_types import Arrays
from kilter._engine.arrays import collect
from kilter._engine.augmenting import Augment, as_augmentation
from kilter._engine.checks import TargetCheck, check_inputs
from kilter._engine.feed import Order, ResidentFeed, single_steps
from kilter._engine.loop import training
from kilter._engine.padding import padded
from kilter._engine.program_cache import owners, shelf
from kilter._engine.step import Schedule, training_loss, without_optimizer
from kilter._models.arrays import some_rows
from kilter._models.layers import CONVOLUTIONS, Saturation, saturation
from kilter._models.tracing import LayerCall, fixed_batch_size, floats_in, watch_calls
from kilter._models.variables import State, build, fitting, pull, view
from kilter._progress import SILENT, Progress
from kilter._records import Measurements
from kilter._xla.compilation import quick_compilation
from kilter._xla.rewrite import rewritten, trace

OF_OUTPUTS = ("mean", "std", "zeros", "saturated", "dead")
OF_GRADIENTS = ("gradient_norm", "gradient_std")
OF_WEIGHTS = ("weight_norm", "weight_gradient_norm", "update_ratio")
VALUES = (*OF_OUTPUTS, *OF_GRADIENTS, *OF_WEIGHTS)
# For outputs with unknown saturation.
_NOWHERE = Saturation(math.nan, math.nan)
# Copying an array of more numbers costs more than compiling one more operation.
_LARGE = 1 << 18
# Multiply-adds of convolutions in a forward pass. At 2e8 readings take as long unoptimised as optimised, and
# compile in 60 % of the time; at 4e9 they take twice as long.
_QUICK_CONVOLVED = 5e8
READINGS = 8  # during the first steps


@dataclass(frozen=True)
class Measured:
    """A layer's output to measure, for each call of the layer; ``name#2`` is the path of the second call.

    ``last``: an output of the model, which the loss must get unchanged. ``weights``: positions among the
    model's trainable variables; () from a layer's second call on.
    """

    path: str
    layer: keras.layers.Layer
    shape: tuple[int, ...]
    dtype: Any
    last: bool
    weights: tuple[int, ...]


class Reader:
    """Reads a compiled, built model's layers on a fixed sample of rows, or one batch of a fixed size.

    Compiled on first use: fast if there are few ``readings``, and convolutions have little to do.
    Changes neither the model nor the state.
    """

    def __init__(
        self,
        model: keras.Model,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        readings: float = math.inf,
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
        TargetCheck(model)(chosen.data)
        self.model = model
        self.batch = chosen.data
        self.rows = chosen.count
        self.work = 0.0  # of one reading, in multiply-adds, once there is its program
        self._read: Any = None
        with fitting(model, self.batch):
            self.outputs = _outputs(model, view(model), self.batch)
        self.readings = readings if _convolved(self.outputs) <= _QUICK_CONVOLVED else math.inf

    def read(self, state: State) -> dict[str, np.ndarray]:
        """``loss``, shape (), and the values of :class:`~kilter._records.Measurements`, shape (l,)."""
        state = without_optimizer(self.model, state)
        if self._read is None:
            self._read = self._program(state)
        return {
            name: np.asarray(value, dtype=np.float64) for name, value in self._read(state, self.batch).items()
        }

    def _program(self, state: State) -> Callable[..., Any]:
        """The compiled reading, which models of one structure share."""
        programs, name = shelf(self.model), ("reading", self.rows)

        def make() -> Callable[..., Any]:
            reading = _reading(self.model, self.outputs)

            def run(state: State, batch: Any) -> dict[str, jax.Array]:
                traced = trace(reading, state, batch)
                return rewritten(
                    traced, lambda fast, _: fast(state, batch), batch_size=self.rows, carries=False
                )

            return run

        few = self.readings < math.inf
        with quick_compilation(self.readings) if few else contextlib.nullcontext():
            found = programs.get(name, owners(self.model), make, (state, self.batch))
        cost = programs.cost("reading")
        self.work = 0.0 if cost is None else cost.work
        return found

    def update_ratio(self, before: State, after: State) -> np.ndarray:
        """‖step‖ / ‖weights before‖ of each layer, float64 (l,); NaN for layers without a nonzero weight."""
        old, new = ([np.asarray(array, np.float64) for array in state.trainable] for state in (before, after))
        ratios = []
        for one in self.outputs:
            norm = np.sqrt(sum(np.sum(np.square(old[index])) for index in one.weights))
            with np.errstate(invalid="ignore"):  # weights may be infinite
                step = np.sqrt(sum(np.sum(np.square(new[index] - old[index])) for index in one.weights))
            ratios.append(step / norm if norm > 0 else np.nan)
        return np.array(ratios)


def probe(
    model: keras.Model,
    x: Arrays,
    y: Arrays,
    *,
    sample_weight: Arrays | None = None,
    rows: int = 256,
    seed: int = 0,
    reader: Reader | None = None,
) -> Measurements:
    """Measure a compiled model on at most ``rows`` rows drawn with ``seed``, without a training step.

    ``x``, ``y`` and ``sample_weight`` are as for :func:`kilter.fit`, which raises the same errors. The
    forward pass is that of training (dropout, batch statistics), and the loss is the training loss with its
    penalties. No bit of the model changes. ``reader``: one made from the same arguments, to save its
    compilation.

    Example::

        found = kilter.probe(model, x, y)
        dict(zip(found.layers, found.values["dead"][-1]))  # the share of dead units of each layer
    """
    reader = (
        Reader(model, x, y, sample_weight, rows=rows, seed=seed, readings=1) if reader is None else reader
    )
    return measurements(reader, [0], [reader.read(view(model))], [np.nan], [None])


def measured_steps(
    model: keras.Model,
    x: Arrays,
    y: Arrays,
    *,
    steps: int = 64,
    readings: int = READINGS,
    batch_size: int = 32,
    shuffle: bool = True,
    sample_weight: Arrays | None = None,
    schedule: Schedule | None = None,
    augment: Augment | None = None,
    rows: int = 256,
    seed: int = 0,
    reader: Reader | None = None,
    progress: Progress = SILENT,
) -> Measurements:
    """Train a copy of the model's state for ``steps`` steps and read it before about ``readings`` of them.

    Data and options are as for :func:`kilter.fit`: ``x``, ``y``, ``sample_weight``, ``batch_size``,
    ``shuffle``, ``schedule``, ``augment`` and ``seed``. So are the steps, but for partial batches.
    ``loss`` and ``loss_after`` are on the reader's rows, not augmented, before and after the one step that
    follows a reading. No bit of the model changes. ``reader`` as for :func:`probe`; ``progress`` shows steps.
    """
    reader = Reader(model, x, y, sample_weight, rows=rows, seed=seed) if reader is None else reader
    feed = ResidentFeed(collect(x, y, sample_weight), Order(batch_size, shuffle, seed, most=steps))
    if augment is None:
        feed = padded(model, feed, "train")  # as it is trained
    wanted = np.unique(np.linspace(0, max(steps - 1, 0), num=min(readings, steps)).astype(int)).tolist()
    runner, state = training(model, schedule, as_augmentation(augment), seed), pull(model)
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
    """Readings at some steps as one record; a ratio of None is unknown."""
    unknown = np.full(len(reader.outputs), np.nan)
    values = {name: np.stack([one[name] for one in read]) for name in VALUES if name != "update_ratio"}
    values["update_ratio"] = np.stack([unknown if one is None else one for one in ratios])
    return Measurements(
        steps=np.asarray(steps),
        loss=np.array([float(one["loss"]) for one in read]),
        loss_after=np.asarray(loss_after, dtype=np.float64),
        layers=tuple(one.path for one in reader.outputs),
        kinds=tuple(type(one.layer).__name__ for one in reader.outputs),
        values=values,
    )


def _outputs(model: keras.Model, state: State, batch: Any) -> tuple[Measured, ...]:
    positions = {id(variable): index for index, variable in enumerate(model.trainable_variables)}
    found: list[Measured] = []

    def look(state: State) -> Any:
        seen: list[tuple[LayerCall, Any]] = []

        def record(call: LayerCall, output: Any) -> Any:
            seen.append((call, output))
            return output

        outputs = _loss(model, state, batch, record)[1]
        ends = {id(leaf) for leaf in jax.tree.leaves(outputs)}
        times: dict[int, int] = {}
        for call, output in seen:
            times[id(call.layer)] = count = times.get(id(call.layer), 0) + 1
            path = call.path + (f"#{count}" if count > 1 else "")
            trainable = call.layer.trainable_variables if count == 1 else ()
            weights = tuple(positions[id(one)] for one in trainable)
            found.append(Measured(path, call.layer, output.shape, output.dtype, id(output) in ends, weights))
        return ()

    jax.eval_shape(look, state)
    return tuple(found)


def _convolved(measured: Iterable[Measured]) -> float:
    """The multiply-adds of the convolutions in a forward pass."""
    return float(
        sum(
            math.prod(one.shape[:-1]) * math.prod(kernel.shape)
            for one in measured
            if isinstance(one.layer, CONVOLUTIONS)
            for kernel in one.layer.trainable_variables
            if len(kernel.shape) > 2
        )
    )


def _reading(
    model: keras.Model, measured: tuple[Measured, ...]
) -> Callable[[State, Any], dict[str, jax.Array]]:
    def compute(state: State, batch: Any) -> dict[str, jax.Array]:
        zeros = [None if one.last else jnp.zeros(one.shape, one.dtype) for one in measured]

        def loss_of(trainable: list[Any], added: list[Any]) -> tuple[jax.Array, list[Any]]:
            recorded: list[Any] = []

            def record(_: LayerCall, output: Any) -> Any:
                recorded.append(output)
                zero = added[len(recorded) - 1]
                return output if zero is None else output + zero

            return _loss(model, state._replace(trainable=trainable), batch, record)[0], recorded

        (loss, outputs), (by_weights, by_outputs) = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)(
            state.trainable, zeros
        )
        flat = [jnp.array(saturation(one.layer) or _NOWHERE, jnp.float32) for one in measured]
        return {
            "loss": loss,
            **_each(OF_OUTPUTS, _of_output, outputs, flat),
            **_each(OF_GRADIENTS, _of_gradient, by_outputs),
            "weight_norm": _norms(measured, state.trainable),
            "weight_gradient_norm": _norms(measured, by_weights),
        }

    return compute


def _loss(
    model: keras.Model, state: State, batch: Any, record: Callable[[LayerCall, Any], Any]
) -> tuple[jax.Array, Any]:
    """The training loss and the outputs; ``record`` gets each layer's output, and may return another."""

    def see(call: LayerCall, output: Any) -> Any:
        return record(call, output) if floats_in(call.outputs) and call.outputs[0] is output else output

    with watch_calls(model, see):
        _, aux = training_loss(model, state, batch)
    return jnp.asarray(aux[0], jnp.float32), aux[1]


def _each(names: Sequence[str], measure: Callable[..., Any], *arrays: Sequence[Any]) -> dict[str, jax.Array]:
    """``measure`` of each of ``arrays`` (zipped if several) by name, shape (l,); NaN for None.

    Arrays of one shape are measured together, which is less to compile; stacking large ones would cost more.
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


def _norms(measured: Sequence[Measured], arrays: Sequence[jax.Array]) -> jax.Array:
    """The norm over the arrays of each layer's weights, shape (l,); NaN for a layer without."""
    most = max((len(one.weights) for one in measured), default=0)
    padded = [(*one.weights, *[len(arrays)] * (most - len(one.weights))) for one in measured]
    squares = jnp.append(_each(["sum"], _of_weights, arrays)["sum"], 0.0)
    sums = squares[np.array(padded, dtype=np.int32).reshape(len(measured), most)].sum(axis=1)
    return jnp.where(np.array([bool(one.weights) for one in measured]), jnp.sqrt(sums), jnp.nan)


def _of_weights(array: jax.Array) -> dict[str, jax.Array]:
    return {"sum": jnp.sum(jnp.square(array.astype(jnp.float32)))}
