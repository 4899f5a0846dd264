"""What a network does with the steps of a sequence: gradients by step, attention, and the order of steps.

One compiled program says which steps the loss depends on and how strongly. Another one is run three times:
as it is, for how attention spreads its weights; with permuted steps; and with other last steps, to see
whether an output sees later ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._diagnosis.context import Context, SequenceReading, within
from kilter._engine.arrays import collect
from kilter._engine.program_cache import owners, shelf
from kilter._engine.step import training_loss, without_optimizer
from kilter._models.arrays import some_rows
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.layers import ATTENTION, RECURRENT, SHAPING
from kilter._models.softmax_axes import misused_softmaxes, spreads
from kilter._models.tracing import fixed_batch_size, forward, forward_program, intercept_calls, watch_calls
from kilter._models.variables import State, fitting, pull, values
from kilter._xla.compilation import quick_compilation
from kilter.errors import KilterError

_ROWS: Final = 48
_LEAST_STEPS: Final = 3
_MOST_STEPS: Final = 4_096
_CHANGED: Final = 5e-5  # of an output, over the differences between rows: float32 sums differ by less
_MOST_SCORES: Final = 1 << 24  # numbers of attention that a reading may hold


@dataclass(frozen=True)
class _Entry:
    """Where the steps enter: ``call`` is the embedding's place among the calls of leaf layers; None: x.

    ``width``: of the embedding's vectors.
    """

    leaf: int
    steps: int
    call: int | None = None
    width: int = 0


def read_sequences(context: Context, seed: int) -> SequenceReading | None:
    """The reading of a model that takes sequences; None for any other, or if it cannot be read."""
    entry = _entry(context)
    if entry is None:
        return None
    try:
        batch, rows = _batch(context, seed)
        with fitting(context.model, batch):
            return _read(context, entry, batch, rows)
    except (KilterError, *FOREIGN_ERRORS):
        return None  # a custom layer that does not allow it: its steps cannot be measured


def _entry(context: Context) -> _Entry | None:
    """The first input of steps: a series, or ids that an embedding looks up."""
    first = [one for one in context.layers if not isinstance(one.layer, SHAPING)]
    inner = within(context, ATTENTION)  # its projections have an axis of heads
    pictures = any(len(one.shape) > 3 and one.path not in inner for one in first)
    for leaf, array in enumerate(context.inputs):
        steps = array.shape[1] if array.ndim > 1 else 0
        if not _LEAST_STEPS <= steps <= _MOST_STEPS or array.dtype.kind not in "fiub":
            continue
        for one in first:
            stepped = len(one.shape) == 3 and one.shape[1] == steps
            if array.ndim == 2 and isinstance(one.layer, keras.layers.Embedding) and stepped:
                return _Entry(leaf, steps, one.index, one.shape[-1])
            reads = array.ndim == 3 and array.dtype.kind == "f" and not pictures
            if reads and (stepped or isinstance(one.layer, RECURRENT)):
                return _Entry(leaf, steps)
    return None


def _batch(context: Context, seed: int) -> tuple[Any, int]:
    data = {"x": context.x, "y": context.y, "w": context.row_weights}
    count = fixed_batch_size(context.model) or min(_ROWS, context.rows)
    given = {name: value for name, value in data.items() if value is not None}
    sample = some_rows(given, count, seed)
    chosen = collect(sample["x"], sample.get("y"), sample.get("w"))
    return chosen.data, chosen.count


def _read(context: Context, entry: _Entry, batch: Any, rows: int) -> SequenceReading:
    model, state = context.model, without_optimizer(context.model, pull(context.model))
    inputs = [np.asarray(leaf) for leaf in jax.tree.leaves(batch[0])]
    order = np.random.default_rng(1).permutation(entry.steps)
    single = len(inputs) == 1

    def gradients(state: State, batch: Any) -> jax.Array:
        return _by_step(model, entry, state, batch)

    def answers(variables: Any, x: Any) -> tuple[list[jax.Array], dict[str, jax.Array]]:
        return _attended(model, variables, x)

    with quick_compilation(runs=3):
        programs, compiled = shelf(model), owners(model)
        graded = programs.get(("gradients", entry), compiled, lambda: gradients, (state, batch))
        by_step = np.asarray(graded(state, batch))
        given = values(model), batch[0]
        forwards = programs.get("answers", compiled, lambda: answers, given)
        outputs, attended = jax.tree.map(np.asarray, forwards(*given))
        moved: dict[str, Any] = {}
        if single:
            structure = jax.tree.structure(batch[0])
            run = lambda given: forwards(values(model), structure.unflatten([given]))[0]  # noqa: E731
            moved = _reordered(run, outputs, inputs[0], order)
    program = forward_program(model, batch[0])
    content = _content(inputs[entry.leaf], ids=entry.call is not None)
    heads = {name: attended[name] for name in attended if name.startswith("head:")}
    if not heads:  # attention of one's own
        flat = jax.tree.leaves((values(model), batch[0]))
        heads = {
            f"head:softmax {i + 1}": np.array([one]) for i, one in enumerate(spreads(program, rows, *flat))
        }
    return SequenceReading(
        inputs=inputs[entry.leaf],
        content=content,
        by_step=by_step,
        heads=heads,
        tokens={name: attended[name] for name in attended if name.startswith("tokens:")},
        order_change=moved.get("order", float("nan")),
        later_change=moved.get("later", float("nan")),
        lags=moved.get("lags"),
        misused=misused_softmaxes(program, rows),
    )


def _by_step(model: keras.Model, entry: _Entry, state: State, batch: Any) -> jax.Array:
    """The norm of the loss's gradient by each step of each row [rows, steps]."""
    leaves, structure = jax.tree.flatten(batch[0])
    entering = leaves[entry.leaf]

    def loss_of(added: jax.Array) -> jax.Array:
        calls = [0]

        def see(call: Any, output: Any) -> Any:
            if not any(jnp.issubdtype(one.dtype, jnp.floating) and one.ndim for one in call.outputs):
                return output
            calls[0] += 1
            return output + added.astype(output.dtype) if calls[0] - 1 == entry.call else output

        given = list(leaves)
        if entry.call is None:
            given[entry.leaf] = entering + added.astype(entering.dtype)
        with watch_calls(model, see):
            loss, _ = training_loss(model, state, (structure.unflatten(given), *batch[1:]))
        return jnp.asarray(loss, jnp.float32)

    shape = entering.shape if entry.call is None else (*entering.shape, entry.width)
    gradient = jax.grad(loss_of)(jnp.zeros(shape, jnp.float32))
    return jnp.sqrt(jnp.sum(jnp.square(gradient), axis=tuple(range(2, gradient.ndim))))


def _attended(model: keras.Model, variables: Any, x: Any) -> tuple[list[jax.Array], dict[str, jax.Array]]:
    """The outputs; and of each attention the entropy by head, and the likeness of its tokens."""
    found: dict[str, jax.Array] = {}
    layers = [one for one in model._flatten_layers() if isinstance(one, ATTENTION)]

    def around(layer: Any, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if options.get("return_attention_scores"):
            return call(*arguments, **options)
        output, scores = call(*arguments, **options, return_attention_scores=True)
        query = jax.tree.leaves(arguments)[0]
        if scores.size <= _MOST_SCORES and query.ndim == 3:
            number = sum(name.startswith("head:") for name in found)
            name = f"{layer.name}" + (f"#{number}" if f"head:{layer.name}" in found else "")
            found[f"head:{name}"] = _entropies(scores)
            found[f"tokens:{name}"] = _likeness(query)
        return output

    with intercept_calls(layers, around):
        outputs = forward(model, variables, x, training=False)
    return jax.tree.leaves(outputs), found


def _entropies(scores: jax.Array) -> jax.Array:
    """Entropy of each head, median over queries and rows, over that of uniform weights [heads]."""
    scores = scores.astype(jnp.float32)
    scores = scores[:, None] if scores.ndim == 3 else scores  # one head
    entropy = -jnp.sum(scores * jnp.log(jnp.maximum(scores, 1e-30)), axis=-1)
    allowed = jnp.sum(scores > 1e-20, axis=-1)
    share = jnp.where(allowed > 1, entropy / jnp.log(jnp.maximum(scores.shape[-1], 2)), jnp.nan)
    return jnp.nanmedian(jnp.moveaxis(share, 1, 0).reshape(share.shape[1], -1), axis=1)


def _likeness(tokens: jax.Array) -> jax.Array:
    """Mean cosine between two tokens of a row, and the share of variance that rows make at one step [2]."""
    tokens = tokens.astype(jnp.float32)
    steps = tokens.shape[1]
    units = tokens / jnp.maximum(jnp.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12)
    square = jnp.sum(jnp.square(jnp.sum(units, axis=1)), axis=-1)
    cosine = jnp.mean((square - steps) / max(steps * (steps - 1), 1))
    return jnp.stack([cosine, jnp.mean(jnp.var(tokens, axis=0)) / jnp.maximum(jnp.var(tokens), 1e-30)])


def _reordered(
    run: Callable[[np.ndarray], list[jax.Array]], outputs: list[np.ndarray], x: np.ndarray, order: np.ndarray
) -> dict[str, Any]:
    """How far the outputs change if the steps are permuted, and earlier outputs if the last step changes.

    Relative to how far outputs differ between rows. And "lags": see :class:`SequenceReading`.
    """
    middle = len(order) // 2
    given = (x[:, order], _exchanged(x, -1), _exchanged(x, middle))
    moved, changed, within_reach = (list(map(np.asarray, run(one))) for one in given)
    back = np.argsort(order)
    far, later, lags = [], [], None
    for one, two, three, four in zip(outputs, moved, changed, within_reach, strict=True):
        stepped = one.ndim > 2 and one.shape[1] == len(order)
        scale = one.std(axis=0).mean()
        scale = scale if scale > 1e-6 * np.abs(one).max() else np.nan  # else: all rows get one answer
        far.append(np.abs(one - (two[:, back] if stepped else two)).max() / scale)
        if stepped:
            later.append(np.abs(one - three)[:, :-1].max() / scale)
            change = np.abs(one - four).max(axis=(0, *range(2, one.ndim))) / scale
            reached = np.flatnonzero(change > _CHANGED) - middle
            lags = (int(reached[0]), int(reached[-1])) if len(reached) else None
    seen = float(np.max(later)) if later else float("nan")
    return {"order": float(np.max(far)), "later": seen, "lags": lags}


def _exchanged(x: np.ndarray, step: int) -> np.ndarray:
    """The rows with one step of another row."""
    other = x.copy()
    other[:, step] = np.roll(x[:, step], 1, axis=0)
    return other


def _content(array: np.ndarray, *, ids: bool) -> np.ndarray:
    """Which steps hold content [rows, steps]: all but runs of zeros at the start or the end of a row."""
    used = array != 0 if ids else np.any(array != 0, axis=tuple(range(2, array.ndim)))
    ahead = np.maximum.accumulate(used, axis=1)
    behind = np.maximum.accumulate(used[:, ::-1], axis=1)[:, ::-1]
    return ahead & behind
