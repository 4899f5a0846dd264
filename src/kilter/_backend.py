"""Selects the JAX backend before Keras loads.

Every package that uses Keras imports this module first. Keras fixes its backend on import, so it cannot be
changed later. If another backend is already loaded, an error says so.
"""

import os
import sys

from kilter.errors import BackendError


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


require_jax()
