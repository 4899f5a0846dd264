"""Ids outside an Embedding's table, found before training on them.

On JAX such an id reads NaN, a negative one counts from the end of the table, and a fraction is cut off. Ids
are checked where the layer receives them, after the model has flattened, sliced, clipped or shifted its
inputs. Ids that depend on weights or random numbers are not checked, and neither are subclasses of Embedding
that override ``call``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax

from kilter._engine.feed import given
from kilter._engine.host_rows import take
from kilter._engine.overrides import overrides
from kilter._engine.program_cache import Programs, owners
from kilter._engine.step import predict_step, test_step, train_step
from kilter._models.copying import is_graph
from kilter._models.tracing import intercept_calls, leaf_layers
from kilter._models.variables import State, fitting, values, view
from kilter._xla.partial import depending_on, variables
from kilter._xla.rewrite import trace
from kilter.errors import DataError

Kind = Literal["train", "test", "predict"]

_SHOWN_ROWS = 5
_PIECE_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class WrongIds:
    """The rows with an id outside the table of the Embedding at ``path``, and the first such id of each."""

    path: str
    size: int
    rows: np.ndarray
    ids: np.ndarray


class IdCheck:
    """Checks batches of one model against its Embedding layers, before a ``kind`` of step sees them."""

    def __init__(self, model: keras.Model, kind: Kind) -> None:
        self._model = model
        self._kind: Kind = kind
        self._programs = Programs(model)
        self.needed = any(True for _ in _tables(model))

    def rows(self, data: Any, batch_size: int, count: int) -> None:
        """Check ``count`` rows of arrays, a few megabytes at a time. Raises :class:`DataError`."""
        for _, wrong in self._all(data, batch_size, count):
            self._refuse(wrong)

    def found(self, data: Any, batch_size: int, count: int) -> list[WrongIds]:
        """The wrong ids in ``count`` rows of arrays, one record for each Embedding that has any."""
        parts: dict[str, list[WrongIds]] = {}
        for place, one in self._all(data, batch_size, count):
            parts.setdefault(place, []).append(one)
        return [_joined(several) for several in parts.values()]

    def _all(self, data: Any, batch_size: int, count: int) -> Iterator[tuple[str, WrongIds]]:
        """As :meth:`_wrong`, for ``count`` rows of arrays."""
        ids = _direct_ids(self._model, self._kind, data[0]) if self.needed else None
        if ids is None:
            for piece, order, numbers in self._pieces(data, batch_size, count):
                yield from self._wrong(piece, order, numbers)
        elif count:
            yield from _outside(self._model, ids[:count].reshape(count, -1))

    def _pieces(self, data: Any, batch_size: int, count: int) -> Iterator[tuple[Any, Any, np.ndarray]]:
        if not self.needed:
            return
        size = min(batch_size, count)
        bytes_a_batch = sum(leaf.nbytes for leaf in jax.tree.leaves(data)) // max(1, count // size)
        step = size * max(1, min(_PIECE_BYTES // max(bytes_a_batch, 1), count // size))
        for start in range(0, count, step):
            # The last piece is padded with its last row, so that one program serves all pieces.
            numbers = np.minimum(np.arange(start, start + step), count - 1)
            piece = jax.tree.map(lambda leaf, rows=numbers: given(leaf[rows]), data)
            yield piece, np.arange(step, dtype=np.int32).reshape(-1, size), numbers

    def block(self, data: Any, order: Any, numbers: np.ndarray) -> None:
        """Check the batches ``order`` of rows on the device; rows beyond ``numbers`` are padding."""
        for _, wrong in self._wrong(data, order, numbers):
            self._refuse(wrong)

    def _wrong(self, data: Any, order: Any, numbers: np.ndarray) -> Iterator[tuple[str, WrongIds]]:
        """For each Embedding with ids outside its table: where it is in the model, and those ids."""
        if not self.needed:
            return
        # Prediction needs no optimiser and no metrics.
        state = State(*values(self._model), [], []) if self._kind == "predict" else view(self._model)
        arguments = (state, data, given(order))
        try:
            with fitting(self._model, data):
                program = self._programs.get(
                    ("embedding ids", self._kind),
                    owners(self._model),
                    lambda: _ids_program(self._model, self._kind),
                    arguments,
                )
        except DataError:  # the step's own trace reports what does not fit
            self.needed = False
            return
        for place, (wrong, first) in program(*arguments).items():
            bad = np.flatnonzero(np.asarray(wrong).reshape(-1)[: len(numbers)])
            if len(bad):
                path, size = place.split("\n")[1:]
                yield place, WrongIds(path, int(size), numbers[bad], np.asarray(first).reshape(-1)[bad])

    def _refuse(self, wrong: WrongIds) -> None:
        order = np.unique(wrong.rows, return_index=True)[1]
        shown = order[:_SHOWN_ROWS]
        raise DataError(
            expected=f"ids from 0 to {wrong.size - 1} for the Embedding layer {wrong.path!r} "
            f"of model {self._model.name!r}, with input_dim={wrong.size}",
            received=f"ids outside in {len(order)} row{'s' * (len(order) > 1)} of x; "
            f"first rows {wrong.rows[shown].tolist()} with ids {wrong.ids[shown].tolist()}",
            remedy="correct the ids, or make input_dim larger than the largest id",
        )


def _joined(parts: list[WrongIds]) -> WrongIds:
    """One record of several pieces' rows, each row once."""
    rows, ids = (np.concatenate([getattr(one, name) for one in parts]) for name in ("rows", "ids"))
    rows, first = np.unique(rows, return_index=True)
    return WrongIds(parts[0].path, parts[0].size, rows, ids[first])


def _tables(model: keras.Model) -> Iterator[tuple[str, Any]]:
    stock = keras.layers.Embedding.call
    for path, layer in leaf_layers(model):
        if isinstance(layer, keras.layers.Embedding) and type(layer).call is stock:
            yield path, layer


def _direct_ids(model: Any, kind: Kind, x: Any) -> np.ndarray | None:
    """The ids that all Embedding layers get, if they are the model's only input; None for others.

    Nothing needs to be traced for these. Numbers with fractions may be cast on their way.
    """
    leaves, inputs = jax.tree.leaves(x), getattr(model, "inputs", None) or []
    if not is_graph(model) or overrides(model, f"{kind}_step") or len(leaves) != 1 or len(inputs) != 1:
        return None
    called = [[node.input_tensors for node in layer._inbound_nodes] for _, layer in _tables(model)]
    if not all(len(nodes) == 1 and nodes[0][0] is inputs[0] for nodes in called):
        return None
    return np.asarray(leaves[0]) if leaves[0].dtype.kind in "iu" else None


def _outside(model: keras.Model, ids: np.ndarray) -> Iterator[tuple[str, WrongIds]]:
    """For each Embedding with ids outside its table: its path, and those ids of the rows [rows, ids]."""
    low, high = (ids.min(), ids.max()) if ids.size else (0, 0)
    for path, layer in _tables(model):
        if low < 0 or high >= layer.input_dim:
            wrong = (ids < 0) | (ids >= layer.input_dim)
            rows = np.flatnonzero(wrong.any(axis=1))
            yield path, WrongIds(path, layer.input_dim, rows, ids[rows, wrong[rows].argmax(axis=1)])


def _ids_program(model: keras.Model, kind: Kind) -> Callable[..., Any]:
    """``(state, data, order)`` to the wrong ids by layer: which rows (bool) and their first wrong ids."""

    def run(state: State, data: Any, order: jax.Array) -> Any:
        find = _finder(model, kind)
        batch = jax.eval_shape(take, data, order[0])
        known = _known_from_data(find, state, batch)

        def of_batch(rows: jax.Array) -> Any:
            found = find(state, take(data, rows))
            return {place: found[place] for place in known}

        return lax.map(of_batch, order)

    return run


def _finder(model: keras.Model, kind: Kind) -> Callable[[State, Any], dict[str, Any]]:
    step, tables = _step(model, kind), list(_tables(model))

    def find(state: State, batch: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        rows = jax.tree.leaves(batch)[0].shape[0]
        paths = {id(layer): path for path, layer in tables}

        def check(layer: Any, call: Callable[..., Any], ids: Any, *arguments: Any, **named: Any) -> Any:
            place = f"{len(found):06}\n{paths[id(layer)]}\n{layer.input_dim}"
            found[place] = _wrong(jnp.asarray(ids), layer.input_dim, rows)
            return call(ids, *arguments, **named)

        with intercept_calls([layer for _, layer in tables], check):
            step(state, batch)
        return found

    return find


def _step(model: Any, kind: Kind) -> Callable[[State, Any], Any]:
    """What calls the model: its own step if it has one, else a forward pass, which traces faster."""
    if overrides(model, f"{kind}_step"):
        if kind == "predict":
            stepping = predict_step(model)
            return lambda state, batch: stepping(state.trainable, state.non_trainable, batch)
        return train_step(model) if kind == "train" else test_step(model, logged=False)
    options = {"training": kind == "train"} if model._call_has_training_arg else {}
    return lambda state, batch: model.stateless_call(
        state.trainable, state.non_trainable, batch[0], **options
    )


def _wrong(ids: jax.Array, size: int, rows: int) -> tuple[jax.Array, jax.Array]:
    """Which rows have an id outside the table, and the first such id of each."""
    by_row = ids.reshape(rows, -1) if ids.ndim and ids.shape[0] == rows else ids.reshape(1, -1)
    wrong = ~((by_row >= 0) & (by_row < size) & (by_row == jnp.floor(by_row)))
    first = jnp.take_along_axis(by_row, jnp.argmax(wrong, axis=1)[:, None], axis=1)[:, 0]
    return jnp.broadcast_to(wrong.any(axis=1), (rows,)), jnp.broadcast_to(first, (rows,))


def _known_from_data(find: Callable[..., Any], state: State, batch: Any) -> list[str]:
    """The places whose ids depend on the data alone, not on weights or random numbers."""
    traced = trace(find, state, batch)
    jaxpr = traced.equations.jaxpr
    depending = depending_on(jaxpr, jaxpr.invars[: len(jax.tree.leaves(state))])
    pairs = zip(jaxpr.outvars[::2], jaxpr.outvars[1::2], strict=True)
    places = zip(sorted(traced.result), pairs, strict=True)
    return [place for place, pair in places if depending.isdisjoint(variables(pair))]
