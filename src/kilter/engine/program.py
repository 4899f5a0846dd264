"""Compiled programs: many steps in one call, over rows that lie on the device.

A program takes the state, the data and the order of the rows, and runs the steps ``start`` to ``stop`` in one
compiled loop. The bounds are traced, so one compilation serves a whole epoch, a part of one, and any number
of epochs; the rows of a batch are gathered on the device.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kilter import backend  # noqa: F401

# isort: split
import keras

from kilter.engine.bridge import State
from kilter.engine.compilation import compile_options, is_quick, is_rewritten
from kilter.engine.interrupt import interruptible
from kilter.engine.rewrite import Layout, carry_layout, rewrite, trace, turn
from kilter.engine.step import Step

Chunk = Callable[..., Any]
_SHELF = "_kilter_programs"


def take(data: Any, rows: jax.Array) -> Any:
    """The given rows of every array in ``data``; the indices must be in range (they are not checked)."""
    return jax.tree.map(lambda array: array.at[rows].get(mode="promise_in_bounds"), data)


def steps_program(step: Step) -> Chunk:
    """``(state, data, order, start, stop, *given) -> (state, last step's logs)`` over ``order[start:stop]``.

    ``order`` has shape (steps, batch) and holds row numbers. ``given`` are arrays that every step gets beside
    its batch. With ``start == stop`` the state is returned as it came and the logs are zero.
    """

    def run(
        state: State, data: Any, order: jax.Array, start: jax.Array, stop: jax.Array, *given: jax.Array
    ) -> Any:
        batch = jax.eval_shape(take, data, order[0])
        traced = trace(step, state, batch, *given)
        layout: Layout = (False,) * len(jax.tree.leaves(state))
        fast: Callable[..., Any] = traced
        if is_rewritten():
            layout = carry_layout(traced, batch_size=order.shape[1])
            fast = rewrite(traced, batch_size=order.shape[1], layout=layout)

        def body(index: jax.Array, carry: Any) -> Any:
            return fast(carry[0], take(data, order[index]), *given)

        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), traced.result[1])
        held, logs = lax.fori_loop(start, stop, body, (turn(state, layout), zeros))
        return turn(held, layout), logs

    return run


@dataclass
class Shelf:
    """The programs compiled for one model, and the seconds their compilation took.

    Lives in the model's ``__dict__`` (Keras neither tracks nor saves it), so that it goes with the model.
    """

    programs: dict[Any, tuple[Any, tuple[Callable[[], Any], ...]]] = field(default_factory=dict)
    seconds: float = 0.0

    def get(
        self,
        name: Hashable,
        owners: tuple[Any, ...],
        make: Callable[[], Chunk],
        arguments: tuple[Any, ...],
        *,
        donate: tuple[int, ...] = (),
        rare: bool = False,
    ) -> Any:
        """The program ``name`` for the shapes of ``arguments``, compiled now if it is not on the shelf.

        ``make`` gives the function to compile; ``donate`` its arguments whose memory it may use. ``owners``
        are the objects that the trace depends on; a program goes when one of them does, as an optimiser
        goes when the model is compiled with another. What is called ``rare``-ly is compiled soon rather
        than well.
        """
        leaves, structure = jax.tree.flatten(arguments)
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        key = (name, structure, shapes, tuple(id(owner) for owner in owners), is_quick(), rare)
        program, held = self.programs.get(key, (None, ()))
        # An identity may have been used twice, of an owner that went and of one that came.
        if program is None or any(one() is not owner for one, owner in zip(held, owners, strict=True)):
            self._forget()
            began = time.perf_counter()
            lowered = jax.jit(make(), donate_argnums=donate).lower(*arguments)
            options = compile_options(soon=rare) or None
            program = interruptible(lambda: lowered.compile(compiler_options=options))
            self.programs[key] = program, tuple(map(_reference, owners))
            self.seconds += time.perf_counter() - began
        return program

    def _forget(self) -> None:
        """Drop the programs an owner of which is gone."""
        gone = [key for key, (_, held) in self.programs.items() if any(map(_is_gone, held))]
        for key in gone:
            del self.programs[key]


def _reference(owner: Any) -> Callable[[], Any]:
    """A function that gives ``owner`` while it is alive; it does not keep it so, if that can be helped."""
    try:
        return weakref.ref(owner)
    except TypeError:  # None, and what Python cannot refer to weakly
        return lambda: owner


def _is_gone(reference: Callable[[], Any]) -> bool:
    return isinstance(reference, weakref.ref) and reference() is None


def shelf(model: keras.Model) -> Shelf:
    """The model's shelf of programs, made on first use and emptied when layers are frozen or thawed."""
    flags = tuple(layer.trainable for layer in model._flatten_layers())
    held_flags, held = model.__dict__.get(_SHELF, (None, None))
    if held is None or held_flags != flags:
        held = Shelf()
        model.__dict__[_SHELF] = (flags, held)
    return held


def owners(model: keras.Model, *others: Any) -> tuple[Any, ...]:
    """The objects that a trace of the model depends on: compile() replaces them. None before it."""
    names = ("optimizer", "_compile_loss", "_compile_metrics")
    return (*(getattr(model, name, None) for name in names), *others)


def share(model: keras.Model, other: keras.Model) -> None:
    """Let ``other`` run what was compiled for ``model``: it must be alike in all that decides programs."""
    theirs = dict(zip(map(id, owners(model)), owners(other), strict=True))
    ours = shelf(other).programs
    for (*key, _, quick, rare), (program, held) in shelf(model).programs.items():
        owned = tuple(theirs.get(id(one()), one()) for one in held)
        references = tuple(map(_reference, owned))
        ours.setdefault((*key, tuple(map(id, owned)), quick, rare), (program, references))
