"""Arrays of a traced step that may be held as they are written, as their transpose, or both, when asked for.

Gradients of weights are *late*: on a CPU the operations of a backward pass are short, each waits for the one
before, and one core does them all. A weight's gradient could be taken beside them, but XLA hands operations
to another core only where several wait at once, and waking it takes as long as several of them. So the
gradients wait until the backward pass is through, and are then ready all together, with all that an optimiser
does with them. What makes them wait is a factor of one that is made from the last product of the pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

# An array of more numbers does not wait: its product keeps the cores busy by itself, and waiting holds
# memory.
_MOST_HELD = 1 << 14


class Value:
    """A traced array, as written and as its transpose; each is made when it is first asked for.

    ``transposed`` says that the array is stored as its transpose, so that working on that costs nothing;
    ``turns`` that its transpose is to be taken for stored transposed, rather than be written anew; ``given``
    that it is there when the step begins.
    """

    def __init__(
        self,
        make: Callable[[bool], Any],
        *,
        transposed: bool = False,
        turns: bool = False,
        given: bool = False,
    ) -> None:
        self.transposed = transposed
        self.turns = turns
        self.given = given
        self._make = make
        self._made: dict[bool, Any] = {}

    def get(self, transposed: bool = False) -> Any:
        """The array, or its transpose."""
        if transposed not in self._made:
            self._made[transposed] = self._make(transposed)
        return self._made[transposed]


def written(array: Any, *, given: bool = False) -> Value:
    """A value stored as it is written."""
    return Value(lambda transposed: array.T if transposed else array, given=given)


def stored_transposed(array: Any) -> Value:
    """A value whose transpose is ``array``."""
    return Value(lambda transposed: array if transposed else array.T, transposed=True)


class Pass:
    """One going through a step's equations: ``batch_size``, and the last product with a row an example.

    ``latest`` is None until there is such a product.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.latest: Any = None
        self._late: dict[int, tuple[Any, Any]] = {}

    def late(self, value: Value, since: Any) -> Value:
        """The value, there only after :attr:`latest`, if that is another one than it was (``since``).

        A large array, or one of no floats, is left as it is.
        """
        array = value.get(value.transposed)
        held = array.size <= _MOST_HELD and jnp.issubdtype(array.dtype, jnp.floating)
        if not held or self.latest is None or self.latest is since:
            return value
        if id(array) not in self._late:  # gradients of weights and of biases ask for the same array
            self._late[id(array)] = array, array * _one_after(self.latest).astype(array.dtype)
        waiting = self._late[id(array)][1]
        return stored_transposed(waiting) if value.transposed else written(waiting)


def _one_after(array: Any) -> Any:
    """1, whatever is in ``array``, made of its first number in a way that XLA does not see through."""
    number = lax.slice(array, (0,) * array.ndim, (1,) * array.ndim).reshape(())
    return jnp.logical_or(number <= 0, jnp.logical_not(number <= 0))
