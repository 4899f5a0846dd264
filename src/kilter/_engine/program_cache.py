"""The cache of compiled programs: by model, and by structure where models share them.

A program takes the state, the data and the order of the rows, and runs the steps ``start`` to ``stop`` in one
compiled loop. The bounds are traced, so one compilation serves a whole epoch, a part of one, and any number
of epochs; the rows of a batch are gathered on the device.
"""

import contextlib
import time
import weakref
from collections.abc import Callable, Generator, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import keras
from jax import lax

from kilter._engine.devices import Kept, kept_in_place
from kilter._engine.fingerprint import Fingerprints, reference_to
from kilter._engine.host_rows import take
from kilter._engine.interrupt import interruptible
from kilter._engine.padding import Padded
from kilter._engine.stable_losses import is_from_logits, losses_used
from kilter._engine.step import Step
from kilter._engine.step_cost import StepCost, cost_of
from kilter._engine.structure import structure
from kilter._models.layers import CONVOLUTIONS
from kilter._models.variables import State
from kilter._xla.compilation import compares_floats, compile_options, is_quick, quick_compilation
from kilter._xla.rewrite import Layout, is_rewritten, rewritten, trace, turn

Chunk = Callable[..., Any]
_SHELF = "_kilter_programs"
# Number of programs that are kept although they differ only in values their traces read, for values that
# change back and forth.
_MOST_READINGS = 4


class Program(NamedTuple):
    """A compiled function, what one pass of its loop costs, and whether a loss is computed from logits."""

    run: Callable[..., Any]
    cost: StepCost
    from_logits: bool


# Settings of JAX that a trace or a compilation reads; all can be set for a part of a program.
_SETTINGS: Final = (
    "default_matmul_precision",
    "enable_x64",
    "numpy_dtype_promotion",
    "debug_nans",
    "debug_infs",
)


class Key(NamedTuple):
    """What decides a compiled program."""

    name: Hashable
    signature: Hashable
    owners: tuple[int, ...]
    quick: bool
    rewritten: bool
    from_logits: bool
    settings: tuple[Any, ...]
    read: int


def batch_at(data: Any, order: Any, index: Any, *, split: bool, padded: bool = False) -> Any:
    """Batch ``index``: the rows of its order; or, of data already ``split`` into batches, that one.

    ``padded``: as in :class:`~kilter._engine.feed.Block`; gives a :class:`~kilter._engine.padding.Padded`.
    """
    if split:
        return jax.tree.map(lambda array: lax.dynamic_index_in_dim(array, index, keepdims=False), data)
    rows = order[index]
    if not padded:
        return take(data, rows)
    x, y, sample_weight = take(data, jnp.where(rows < 0, ~rows, rows))
    return Padded(x, y, sample_weight, rows >= 0)


def steps_program(
    step: Step, kept: Kept | None = None, *, split: bool = False, padded: bool = False, once: bool = False
) -> Chunk:
    """``(state, data, order, start, stop, *given) -> (state, last step's logs)`` over ``order[start:stop]``.

    ``order``: row numbers, shape (steps, batch). ``given``: arrays that every step gets beside its batch.
    ``kept``: where state and batch are, on several devices. ``split``: the data are batches, not rows.
    ``padded``: some rows only fill a batch. ``once``: run the first step alone, as traced and
    without a loop, which compiles faster.
    """

    def at(data: Any, order: jax.Array, index: Any) -> Any:
        return batch_at(data, order, index, split=split, padded=padded)

    def run(
        state: State, data: Any, order: jax.Array, start: jax.Array, stop: jax.Array, *given: jax.Array
    ) -> Any:
        if once:
            as_written = (False,) * len(jax.tree.leaves(state))
            return kept_in_place(step, kept, as_written)(state, at(data, order, 0), *given)
        batch = jax.eval_shape(lambda: at(data, order, 0))
        traced = trace(step, state, batch, *given)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), traced.result[1])

        def loop(fast: Callable[..., Any], layout: Layout) -> Any:
            placed = kept_in_place(fast, kept, layout)

            def body(index: jax.Array, carry: Any) -> Any:
                return placed(carry[0], at(data, order, index), *given)

            held, logs = lax.fori_loop(start, stop, body, (turn(state, layout), zeros))
            return turn(held, layout), logs

        return rewritten(traced, loop, batch_size=order.shape[1])

    return run


def eager_steps(step: Step) -> Chunk:
    """:func:`steps_program` without compilation, for ``run_eagerly``: each step runs as Python reads it."""

    def run(state: State, data: Any, order: jax.Array, start: int, stop: int, *given: jax.Array) -> Any:
        logs = None
        for index in range(int(start), int(stop)):
            state, logs = step(state, take(data, order[index]), *given)
        return state, logs

    return run


def runs_eagerly(model: keras.Model) -> bool:
    """Whether steps run as Python: with ``run_eagerly=True``, and within ``jax.disable_jit()``."""
    return model.run_eagerly or bool(_setting("disable_jit"))


def looks_for_nan() -> bool:
    """Whether JAX looks for NaN or infinity in every result, as with ``JAX_DEBUG_NANS=True``."""
    return bool(_setting("debug_nans") or _setting("debug_infs"))


def _setting(name: str) -> Any:
    return getattr(jax.config, f"jax_{name}")


def located(program: Callable[..., Any], eager: Callable[..., Any]) -> Callable[..., Any]:
    """``program``; where JAX finds a NaN in its results, ``eager`` finds the operation, as in ``jax.jit``."""

    def run(*arguments: Any) -> Any:
        try:
            return program(*arguments)
        except Exception as error:
            if type(error).__name__ != "InternalFloatingPointError":  # JAX has no public name for it
                raise
            eager(*arguments)
            raise FloatingPointError(
                "a NaN or an infinity in a result of the compiled step, which the same step has not if run "
                "operation by operation"
            ) from error

    return run


class _Shared:
    """Programs by structure. Keeps objects alive that its keys identify by ``id``."""

    def __init__(self) -> None:
        self.programs: dict[Hashable, Program] = {}
        self.kept: list[Any] = []


_shared: ContextVar[_Shared | None] = ContextVar("kilter_shared_programs", default=None)


@contextlib.contextmanager
def shared_programs() -> Generator[None]:
    """Context in which models of equal :func:`~kilter._engine.structure.structure` share programs.

    Within another such context it is that one.
    """
    if _shared.get() is not None:
        yield
        return
    token = _shared.set(_Shared())
    try:
        yield
    finally:
        _shared.reset(token)


QUICK_WEIGHTS: Final = 50_000
MANY_BATCHES: Final = 16  # an epoch, for which short runs leave the last, partial one out
QUICK_STEPS: Final = 30_000
_decided: ContextVar[bool] = ContextVar("kilter_compilation_decided", default=False)


@contextlib.contextmanager
def compiled_for(
    model: keras.Model, steps: int, most_weights: float = QUICK_WEIGHTS, most_steps: int = QUICK_STEPS
) -> Generator[None]:
    """Context for trainings of ``steps`` steps of models like this one, whose programs compile alike.

    They compile fast for few steps of small networks without convolutions, which gain more than they lose.
    Within another such context it is that one: programs that compile in two ways are compiled twice.
    """
    if _decided.get():
        yield
        return
    convolves = any(isinstance(layer, CONVOLUTIONS) for layer in model._flatten_layers())
    slow = convolves or steps > most_steps or (model.built and model.count_params() > most_weights)
    token = _decided.set(True)
    try:
        with contextlib.nullcontext() if slow else quick_compilation():
            yield
    finally:
        _decided.reset(token)


@dataclass
class Shelf:
    """The programs compiled for one model, in whose ``__dict__`` it lives, and the seconds they took."""

    model: Callable[[], Any]
    programs: dict[Key, tuple[Program, tuple[Callable[[], Any], ...]]] = field(default_factory=dict)
    seconds: float = 0.0
    _fingerprints: Fingerprints = field(default_factory=Fingerprints)

    def get(
        self,
        name: Hashable,
        owners: tuple[Any, ...],
        make: Callable[[], Chunk],
        arguments: tuple[Any, ...],
        *,
        donate: tuple[int, ...] = (),
        hoists: bool = False,
        shapes: Hashable = None,
    ) -> Callable[..., Any]:
        """The program ``name`` for the shapes of ``arguments``, compiled from ``make()`` if it is not there.

        ``donate``: arguments whose memory it may reuse. ``hoists``: as for
        :func:`~kilter._xla.compilation.compile_options`. ``owners``: objects that the trace depends on; with
        one of them the program goes too. The key also holds the values that a trace reads
        (:mod:`kilter._engine.fingerprint`). ``shapes``: the arguments' :func:`signature`, if it is known.
        """
        entries = self._fingerprints.read(self.model(), owners)
        key = Key(
            name,
            shapes or signature(arguments),
            tuple(id(owner) for owner in owners),
            is_quick(),
            is_rewritten(),
            is_from_logits(),
            tuple(map(_setting, _SETTINGS)),
            self._fingerprints.number(entries),
        )
        program, held = self.programs.get(key, (None, ()))
        # A deleted owner's identity may have been used again by another object.
        if program is None or any(one() is not owner for one, owner in zip(held, owners, strict=True)):
            self._forget(key)
            began, keys = time.perf_counter(), {key}
            place = self._shared_key(key, owners)
            shared = _shared.get()
            program = None if shared is None or place is None else shared.programs.get(place)
            if program is None:
                program = _compiled(make, arguments, donate, hoists)
                self._fingerprints.traced(entries, after := self._fingerprints.read(self.model(), owners))
                keys = {key._replace(read=self._fingerprints.number(read)) for read in (entries, after)}
                if shared is not None and place is not None:
                    shared.programs[place] = program
                    shared.kept += [owners, getattr(self.model(), "_compile_config", None)]
                self.seconds += time.perf_counter() - began
            self.programs |= dict.fromkeys(keys, (program, tuple(map(reference_to, owners))))
        return program.run

    def cost(self, name: str) -> StepCost | None:
        """The cost of a step of the last program ``name``, or (``name``, ...); None without one."""
        program = self._last(name)
        return None if program is None else program.cost

    def uses_logits(self, name: str) -> bool:
        """Whether that program computes a cross-entropy from logits where Keras would clip probabilities."""
        program = self._last(name)
        return program is not None and program.from_logits

    def _last(self, name: str) -> Program | None:
        for key, (program, _) in reversed(self.programs.items()):
            kind = key.name[0] if isinstance(key.name, tuple) else key.name
            if kind == name and key.from_logits == is_from_logits():
                return program
        return None

    def _shared_key(self, key: Key, owned: tuple[Any, ...]) -> Hashable:
        """The key without identities of this model's own parts; None where its structure is not known."""
        model = self.model()
        if _shared.get() is None or (parts := structure(model)) is None:
            return None
        own = {id(one): place for place, one in enumerate(owners(model))}
        name = key.name[0] if isinstance(key.name, tuple) else key.name
        owned_by = tuple(own.get(one, one) for one in map(id, owned))
        return parts.of(str(name)), key._replace(owners=owned_by, read=0)

    def reading(self, owners: tuple[Any, ...]) -> int:
        """The number of the values that a trace would read now."""
        return self._fingerprints.number(self._fingerprints.read(self.model(), owners))

    def _forget(self, new: Key) -> None:
        """Drop programs with a deleted owner, and the oldest of those that read other values."""
        gone = [
            key
            for key, (_, held) in self.programs.items()
            if any(isinstance(one, weakref.ref) and one() is None for one in held)
        ]
        alike = [key for key in self.programs if key._replace(read=new.read) == new and key not in gone]
        for key in [*gone, *alike[: -_MOST_READINGS or None]]:
            del self.programs[key]


def _compiled(
    make: Callable[[], Chunk], arguments: tuple[Any, ...], donate: tuple[int, ...], hoists: bool
) -> Program:
    with losses_used() as losses:
        traced = jax.jit(make(), donate_argnums=donate).trace(*arguments)
    lowered, cost = traced.lower(), cost_of(traced.jaxpr)
    options = compile_options(compares=compares_floats(traced.jaxpr), hoists=hoists, work=cost.work) or None
    run = interruptible(lambda: lowered.compile(compiler_options=options))
    return Program(run, cost, bool(losses))


def signature(arguments: Any) -> Hashable:
    """Structure, shapes and types of a program's arguments."""
    leaves, structure = jax.tree.flatten(arguments)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


def shelf(model: keras.Model) -> Shelf:
    """The model's shelf of programs; a new one if layers were frozen or unfrozen since."""
    flags = tuple(layer.trainable for layer in model._flatten_layers())
    held_flags, held = model.__dict__.get(_SHELF, (None, None))
    if held is None or held_flags != flags or held.model() is not model:
        held = Shelf(reference_to(model))
        model.__dict__[_SHELF] = (flags, held)
    return held


def owners(model: keras.Model, *others: Any) -> tuple[Any, ...]:
    """The objects that a trace of the model depends on and that compile() replaces; None before compile()."""
    names = ("optimizer", "_compile_loss", "_compile_metrics", "_loss_tracker")
    return (*(getattr(model, name, None) for name in names), *others)


class Programs:
    """A model's programs for one call, in which changes of the model by a callback take no effect."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._held: dict[Any, tuple[Any, Any]] = {}

    def get(
        self, name: Hashable, owners: tuple[Any, ...], make: Callable[[], Chunk], arguments: Any, **how: Any
    ) -> Any:
        """The program as :meth:`Shelf.get` gives it."""
        programs = shelf(self._model)
        modes = (is_quick(), is_rewritten(), is_from_logits(), *how.items())
        shapes = signature(arguments)
        key = (name, shapes, *modes, id(programs), *map(id, owners))
        if key not in self._held:
            program = programs.get(name, owners, make, arguments, shapes=shapes, **how)
            # Keeps the shelf and the owners alive, so that their identities stay unique.
            self._held[key] = program, (programs, owners)
        return self._held[key][0]
