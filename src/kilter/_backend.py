"""kilter runs on Keras with the JAX backend: chosen before Keras loads, checked where it is used.

Imported first by every module that imports Keras. Keras fixes its backend when it is imported, so the choice
cannot be made later; a backend that somebody else has already loaded is an error that says so.
"""

from __future__ import annotations

import os
import sys

from kilter.errors import BackendError


def require_jax() -> None:
    """Choose JAX as Keras's backend, or say that another one has been chosen already.

    Sets ``KERAS_BACKEND=jax`` where it is unset. Raises :class:`BackendError` where Keras is already loaded
    on another backend, or the variable names another one.
    """
    chosen = os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = sys.modules.get("keras")
    loaded = keras.backend.backend() if keras is not None and hasattr(keras, "backend") else chosen
    if loaded != "jax":
        where = (
            "Keras is already imported with it" if keras is not None else "the environment variable says so"
        )
        raise BackendError(
            expected="Keras on the JAX backend",
            received=f"KERAS_BACKEND={loaded} ({where})",
            remedy="import kilter before keras, or set KERAS_BACKEND=jax before Python starts",
        )


require_jax()
