"""Checks of arguments (whole numbers, other numbers, names), and conversion of libraries' errors."""

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from numbers import Integral, Real
from typing import Any, Final, TypeGuard, TypeVar

from kilter._text import cause, did_you_mean
from kilter.errors import KilterError, OptionError

Record = TypeVar("Record")


def whole_number(
    name: str,
    value: Any,
    low: int | None = None,
    high: int | None = None,
    *,
    expected: str = "",
    remedy: str = "",
) -> int:
    """``value`` as an int, if it is a whole number between ``low`` and ``high``, both included.

    NumPy integers pass; bools, floats (3.0 too) and strings do not. ``expected`` and ``remedy`` replace the
    default words of the error where more can be said.

    Raises:
        OptionError: for any other value.

    Example:
        >>> whole_number("steps", 3, 1)
        3
        >>> whole_number("steps", 0, 1)
        Traceback (most recent call last):
        kilter.errors.OptionError: Expected steps as a whole number, at least 1. Received steps=0. To fix: ...
    """
    if is_whole(value, low, high):
        return int(value)
    wanted = int(value) if isinstance(value, str) and value.isdecimal() else _as_float(value)
    example = int(wanted) if math.isfinite(wanted) and wanted >= 1 else 1
    example = example if low is None else max(example, low)
    example = example if high is None else min(example, high)
    raise OptionError(
        expected=expected or f"{name} as a whole number{_bounds(low, high)}",
        received=f"{name}={value!r}",
        remedy=remedy or f"pass a whole number, for instance {name}={example}",
    )


def number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    expected: str = "",
    remedy: str = "",
) -> float:
    """``value`` as a float, if it is finite and within the bounds.

    ``low`` and ``high`` are allowed themselves, ``above`` and ``below`` are not. Ints and NumPy scalars pass;
    bools, NaN, infinities and strings do not. ``expected`` and ``remedy`` replace the default words of the
    error where more can be said.

    Raises:
        OptionError: for any other value.

    Example:
        >>> number("dropout", 0.5, 0, below=1)
        0.5
        >>> number("dropout", 1.0, 0, below=1)
        Traceback (most recent call last):
        kilter.errors.OptionError: Expected dropout as a number, at least 0 and below 1. Received ...
    """
    found = _as_float(value)
    if (
        math.isfinite(found)
        and (low is None or found >= low)
        and (high is None or found <= high)
        and (above is None or found > above)
        and (below is None or found < below)
    ):
        return found
    raise OptionError(
        expected=expected or f"{name} as a number{_bounds(low, high, above, below)}",
        received=f"{name}={value!r}",
        remedy=remedy or f"pass a finite number{_bounds(low, high, above, below)}",
    )


def is_whole(value: Any, low: int | None = None, high: int | None = None) -> TypeGuard[int]:
    """Whether :func:`whole_number` accepts ``value``: for arguments that may be something else too."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        return False
    return (low is None or int(value) >= low) and (high is None or int(value) <= high)


def one_of(name: str, value: object, allowed: Sequence[object], *, owner: str = "") -> None:
    """Raise :class:`OptionError` unless ``value`` is one of ``allowed``, with the nearest name.

    ``owner``: what has the option, if its name alone is not clear.
    """
    if any(value is one or (isinstance(one, str) and value == one) for one in allowed):
        return
    raise OptionError(
        expected=f"{name}{owner and f' of {owner}'} as one of {', '.join(map(str, allowed))}",
        received=f"{name}={value!r}",
        remedy=did_you_mean(value, allowed, "choose one of these"),
    )


def instance_of(name: str, value: object, kinds: type | tuple[type, ...], what: str) -> None:
    """Raise :class:`OptionError` if ``value`` is of none of ``kinds``, which ``what`` names in words.

    Example:
        >>> instance_of("history", [1], dict, "a dict of lists")
        Traceback (most recent call last):
        kilter.errors.OptionError: Expected history as a dict of lists. Received list. To fix: ...
    """
    if not isinstance(value, kinds):
        raise OptionError(
            expected=f"{name} as {what}",
            received=type(value).__name__,
            remedy=f"pass {what}, or leave it out",
        )


def whole_sizes(name: str, value: Any, axes: Sequence[str]) -> None:
    """Raise :class:`OptionError` unless ``value`` is None or a tuple of whole numbers, one for each axis."""
    if value is None or (
        isinstance(value, tuple) and len(value) == len(axes) and all(is_whole(side, 1) for side in value)
    ):
        return
    raise OptionError(
        expected=f"{name}=({', '.join(axes)}), whole numbers from 1",
        received=f"{name}={value!r}",
        remedy=f"for example {name}={(32, 32, 3)[: len(axes)]}",
    )


@contextmanager
def errors_as(
    kind: type[KilterError],
    *causes: type[BaseException],
    expected: str,
    remedy: str,
    received: str | Callable[[Any], str] = "",
) -> Iterator[None]:
    """Convert errors of the types ``causes`` in the body into ``kind``; kilter's own errors pass.

    The new error describes the cause after ``received`` and a colon, or as ``received(error)`` if callable.
    """
    try:
        yield
    except KilterError:
        raise
    except causes as error:
        what = received(error) if callable(received) else f"{received}: {cause(error)}".removeprefix(": ")
        raise kind(expected=expected, received=what, remedy=remedy) from error


def _as_float(value: Any) -> float:
    """The value as a float; NaN if it is not a number, or an int beyond the range of floats."""
    try:
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def _bounds(
    low: float | None, high: float | None, above: float | None = None, below: float | None = None
) -> str:
    """The bounds as text, with a comma before them; "" without bounds."""
    if low is not None and high is not None:
        return f" from {low} to {high}"
    pairs = (("at least", low), ("above", above), ("at most", high), ("below", below))
    words = [f"{word} {bound}" for word, bound in pairs if bound is not None]
    return f", {' and '.join(words)}" if words else ""


STRICT: Final[dict[str, Any]] = {"strict": True, "allow_inf_nan": False}
"""As ``__pydantic_config__`` of a frozen record: JSON must have exactly its types, and finite numbers."""


@cache
def _reader(kind: type[Any]) -> Any:
    return importlib.import_module("pydantic").TypeAdapter(kind)  # late: kilter.fit does without it


def record_from_json(kind: type[Record], text: str) -> Record:
    """The record of this class in a text of JSON; ``ValueError`` names the first problem."""
    pydantic = importlib.import_module("pydantic")
    try:
        return _reader(kind).validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}".removeprefix(": ")) from None
