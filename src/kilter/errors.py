"""The errors kilter raises: what was expected, what was received, what to do.

Every error a person can cause derives from :class:`KilterError` and from the builtin that fits, so that
``except ValueError`` keeps working. The command line prints the three parts and exits with code 2.
"""

from __future__ import annotations

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

    Parameters are sentences or fragments without a final full stop.

    Example:
        >>> str(DataError(expected="labels 0 to 9", received="label=12 in row 3", remedy="correct the row"))
        'Expected labels 0 to 9. Received label=12 in row 3. To fix: correct the row.'
    """

    def __init__(self, *, expected: str, received: str, remedy: str) -> None:
        self.expected = expected
        self.received = received
        self.remedy = remedy
        super().__init__(f"Expected {expected}. Received {received}. To fix: {remedy}.")


class BackendError(KilterError, RuntimeError):
    """Keras runs on another backend than JAX."""


class DataError(KilterError, ValueError):
    """The data cannot be trained on as they are."""


class ModelError(KilterError, ValueError):
    """The model, or how it was compiled, cannot be used as asked."""


class OptionError(KilterError, ValueError):
    """An argument has a value that makes no sense."""


class RecipeError(KilterError, ValueError):
    """A recipe has an unknown key, or a value of the wrong type or range."""


class RunError(KilterError, OSError):
    """A run directory cannot be made, read or written."""


class RunWarning(UserWarning):
    """A run goes on, but not as expected: from an older checkpoint, or from one that cannot be verified."""
