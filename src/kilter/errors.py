"""The errors of kilter: what was expected, what was received, how to fix it.

Every error that a user can cause derives from :class:`KilterError` and the matching builtin, so that ``except
ValueError`` keeps working. The command line prints the three parts and exits with code 2.
"""

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

__all__ = [
    "BackendError",
    "DataError",
    "KilterError",
    "ModelError",
    "OptionError",
    "RecipeError",
    "RunError",
    "RunWarning",
]


class KilterError(Exception):
    """Root of all errors that kilter raises on purpose.

    Parameters are sentences or fragments without a final full stop. ``said``: the text of another library's
    error, which is then shown first.

    Example:
        >>> str(DataError(expected="labels 0 to 9", received="label=12 in row 3", remedy="correct the row"))
        'Expected labels 0 to 9. Received label=12 in row 3. To fix: correct the row.'
    """

    def __init__(self, *, expected: str, received: str, remedy: str, said: str = "") -> None:
        self.expected = expected
        self.received = received
        self.remedy = remedy
        self.said = said
        parts = f"Expected {expected}. Received {received}. To fix: {remedy}."
        super().__init__(f"{said}\n\n{parts}" if said else parts)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the three parts: worker processes send errors back."""
        parts = {name: getattr(self, name) for name in ("expected", "received", "remedy", "said")}
        return partial(type(self), **parts), ()


@contextmanager
def about(what: str) -> Generator[None]:
    """While active, errors say that they are about ``what``, such as an argument.

    Example:
        >>> with about("validation_data"):
        ...     raise DataError(expected="one row", received="0 rows", remedy="check the filter")
        Traceback (most recent call last):
        kilter.errors.DataError: Expected one row. Received validation_data with 0 rows. To fix: check ...
    """
    try:
        yield
    except KilterError as error:
        raise type(error)(
            expected=error.expected,
            received=f"{what} with {error.received}",
            remedy=error.remedy,
            said=error.said,
        ) from (error.__cause__ or error)


class BackendError(KilterError, RuntimeError):
    """Keras runs on a backend other than JAX."""


class DataError(KilterError, ValueError):
    """The data cannot be trained on."""


class ModelError(KilterError, ValueError):
    """The model, or how it was compiled, does not fit."""


class OptionError(KilterError, ValueError):
    """An argument has an invalid value."""


class RecipeError(KilterError, ValueError):
    """A recipe has an unknown key, or a value of the wrong type or range."""


class RunError(KilterError, OSError):
    """A run directory cannot be created, read or written."""


class RunWarning(UserWarning):
    """A run continues from an older checkpoint, or from one that cannot be verified."""
