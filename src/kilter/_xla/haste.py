"""Compiling in haste: for programs that run once, or not for long."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax

_OPTION = "jax_disable_most_optimizations"


@contextlib.contextmanager
def hasty_compilation() -> Iterator[None]:
    """Within it JAX compiles for a CPU without optimising, in all threads. Elsewhere it changes nothing.

    Weights of one more shape and distribution took 0.3 to 1.5 s of a processor to compile well, and 0.2 to
    0.5 s like this (2 cores, three initialisers, three shapes).
    """
    before = jax.config.values[_OPTION]
    jax.config.update(_OPTION, before or jax.default_backend() == "cpu")
    try:
        yield
    finally:
        jax.config.update(_OPTION, before)
