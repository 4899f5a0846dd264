"""kilter runs on Keras with the JAX backend: chosen before Keras loads, checked where it is used.

Imported first by every module that imports Keras. Keras fixes its backend when it is imported, so the choice
cannot be made later; a backend that somebody else has already loaded is an error that says so.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

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


@contextlib.contextmanager
def hasty_compilation() -> Iterator[None]:
    """Within it JAX compiles for a CPU without optimising: for what runs once. Elsewhere it changes nothing.

    Random numbers of one more shape take a CPU 0.3 to 1.5 s to compile well, and 0.2 s like this.
    """
    import jax

    name = "jax_disable_most_optimizations"
    before = jax.config.values[name]
    jax.config.update(name, before or jax.default_backend() == "cpu")
    try:
        yield
    finally:
        jax.config.update(name, before)


require_jax()
