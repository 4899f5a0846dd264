"""Arrays of a step that is being rewritten: as written, as their transpose, or both, made on demand."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax.extend import core


class Value:
    """A traced array and its transpose; each is made when it is first used.

    Attributes:
        transposed: the array is stored as its transpose, so using that costs nothing.
        turns: a transpose of this array counts as stored transposed, so that it is never written out.
        given: the array exists when the step begins.
        shape: of the array as written; None if it is not checked.
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
        self.shape: tuple[int, ...] | None = None
        self._make = make
        self._made: dict[bool, Any] = {}

    def get(self, transposed: bool = False) -> Any:
        """The array, or its transpose. Raises TypeError if its shape is not the expected one."""
        if transposed not in self._made:
            made = self._made[transposed] = self._make(transposed)
            if self.shape is not None and made.shape != (self.shape[::-1] if transposed else self.shape):
                raise TypeError("a rule made an array of another shape")
        return self._made[transposed]


def written(array: Any, *, given: bool = False) -> Value:
    """A value stored as it is written."""
    return Value(lambda transposed: array.T if transposed else array, given=given)


def stored_transposed(array: Any) -> Value:
    """The transpose of ``array``, as a value."""
    return Value(lambda transposed: array if transposed else array.T, transposed=True)


class Stored(NamedTuple):
    """How an array will be stored; the fields are those of :class:`Value`."""

    transposed: bool = False
    turns: bool = False


def stored(how: Stored) -> Value:
    """A value that is only planned: it has no array."""

    def unavailable(transposed: bool) -> Any:
        raise TypeError("a rule read an array while the layout was planned")

    return Value(unavailable, transposed=how.transposed, turns=how.turns)


class Pass:
    """One pass through a step's equations.

    ``latest``: the last product with a row for each example. ``waiting``: arrays that wait for the end of the
    backward pass, by the identity of the original, which is kept so that no identity is used twice.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.latest: Any = None
        self.waiting: dict[int, tuple[Any, Any]] = {}


def array_of(atom: Any) -> Any:
    """Shape and dtype of what an equation reads or makes."""
    return atom.aval


def bind(equation: core.JaxprEqn, *operands: Any, **changes: Any) -> Any:
    """The equation on these operands, with some of its parameters changed."""
    return equation.primitive.bind(*operands, **{**equation.params, **changes})
