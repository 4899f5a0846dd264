"""How programs are compiled, and where they are cached between processes.

XLA's persistent cache is on by default: the second process that trains the same model on the same shapes
loads its program instead of compiling it. The cache is in ``$KILTER_CACHE`` (default ``~/.cache/kilter/xla``;
``off`` turns it off), holds at most :data:`CACHE_BYTES` and drops the least recently used programs. A cache
directory that the user has set through JAX is kept.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Generator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

_OPTION = "jax_disable_most_optimizations"


@contextlib.contextmanager
def fast_compilation() -> Generator[None]:
    """Context in which JAX compiles for a CPU without optimisation, in all threads.

    No effect on other devices. An initialiser for a new shape and distribution then compiles in 0.2 to 0.5 s
    instead of 0.3 to 1.5.
    """
    before = jax.config.values[_OPTION]
    jax.config.update(_OPTION, before or jax.default_backend() == "cpu")
    try:
        yield
    finally:
        jax.config.update(_OPTION, before)


def give_back() -> None:
    """Return freed memory to the system after a compilation; glibc would keep it."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


CACHE_BYTES = 1 << 30


def cache_directory() -> Path | None:
    """The directory of kilter's compilation cache; None if it is turned off."""
    chosen = os.environ.get("KILTER_CACHE", "")
    if chosen.lower() == "off":
        return None
    if chosen:
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "kilter" / "xla"


def enable_cache() -> None:
    """Turn the persistent cache on, unless it is off or JAX already has a directory."""
    directory = cache_directory()
    if directory is None or jax.config.values["jax_compilation_cache_dir"]:
        return
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


_quick: ContextVar[bool] = ContextVar("kilter_quick_compilation", default=False)


@contextlib.contextmanager
def quick_compilation() -> Generator[None]:
    """Context in which programs for a CPU compile faster, to slower code. No effect on other devices.

    For programs of dense layers that run a few hundred steps; unoptimised convolutions are too slow.
    """
    token = _quick.set(True)
    try:
        with fast_compilation():
            yield
    finally:
        _quick.reset(token)


def is_quick() -> bool:
    """Whether programs are compiled faster, to slower code."""
    return _quick.get() and jax.default_backend() == "cpu"


def compile_options(*, compares: bool = False, hoists: bool = True) -> dict[str, Any]:
    """Options for XLA by platform: on a CPU, the widest vectors that the machine has.

    Within :func:`quick_compilation` less optimisation, but some if the program ``compares`` floats for
    equality (:func:`compares_floats`). Unless it ``hoists``, what a loop computes alike in every step stays
    in it: in a training step the factors of frozen normalisation, each of which would be a kernel to compile.
    """
    if jax.default_backend() != "cpu":
        return {}
    if not _quick.get():
        stays = {} if hoists else {"xla_disable_hlo_passes": "while-loop-invariant-code-motion"}
        return {"xla_cpu_prefer_vector_width": 512} | stays
    return {"xla_backend_optimization_level": 1 if compares else 0}


def compares_floats(jaxpr: Any) -> bool:
    """Whether a jaxpr compares floats for equality, as the gradient of a maximum does.

    At optimisation level 0, XLA's CPU backend may compute an array twice with different rounding. Where it
    then looks for the maximum of one in the other, it finds none, and the gradient is wrong or NaN.
    """
    return any(
        (one.primitive.name == "eq" and jnp.issubdtype(one.invars[0].aval.dtype, jnp.inexact))
        or any(map(compares_floats, jaxprs_within(one)))
        for one in jaxpr.eqns
    )


def jaxprs_within(equation: Any) -> list[Any]:
    """The jaxprs that an equation calls: bodies of loops, branches, inlined functions."""
    values = equation.params.values()
    each = (one for value in values for one in (value if isinstance(value, list | tuple) else [value]))
    return [one for one in each if hasattr(one, "eqns")]


enable_cache()
