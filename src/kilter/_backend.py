"""Selects the JAX backend before Keras loads.

Every package that uses Keras imports this module first. Keras fixes its backend on import, so it cannot be
changed later. If another backend is already loaded, an error says so.
"""

import os
import sys
import warnings
from typing import Final

from kilter.errors import BackendError, RunWarning

# Limits of the shell. The first training of a small network takes 2.3 GB of address space on two cores, and a
# checkpoint fails with 24 open files, not with 32.
_LEAST: Final = {
    "RLIMIT_AS": (4 << 30, "bytes of address space", "-v"),
    "RLIMIT_NOFILE": (64, "open files", "-n"),
}


def require_jax() -> None:
    """Select JAX as Keras's backend.

    Sets ``KERAS_BACKEND=jax`` if unset. Raises :class:`BackendError` if Keras is already loaded with another
    backend, or the variable names another one.
    """
    chosen = os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = sys.modules.get("keras")
    loaded = keras.backend.backend() if keras is not None and hasattr(keras, "backend") else chosen
    if loaded != "jax":
        where = (
            "Keras is already imported with this backend"
            if keras is not None
            else "from the environment variable"
        )
        raise BackendError(
            expected="Keras on the JAX backend",
            received=f"KERAS_BACKEND={loaded} ({where})",
            remedy="import kilter before keras, or set KERAS_BACKEND=jax before Python starts",
        )


def warn_of_limits() -> None:
    """Warn of a limit so low that XLA may end the process without an error, or a checkpoint fail."""
    if sys.platform == "win32":
        return
    import resource

    for name, (least, what, option) in _LEAST.items():
        limit, _ = resource.getrlimit(getattr(resource, name))
        if limit != resource.RLIM_INFINITY and limit < least:
            warnings.warn(
                f"this process may use only {limit:,} {what}: with fewer than {least:,} XLA may end it "
                f"without an error, or a checkpoint may fail. Raise the limit with ulimit {option}",
                RunWarning,
                stacklevel=2,
            )


require_jax()
warn_of_limits()
