"""How programs are compiled, and where they are cached between processes.

XLA's persistent cache is on by default: the second process that trains the same model on the same shapes
loads its program instead of compiling it. The cache is in ``$KILTER_CACHE`` (default ``~/.cache/kilter/xla``;
``off`` turns it off), holds at most :data:`CACHE_BYTES` and drops the least recently used programs. A cache
directory that the user has set through JAX is kept.
"""

import contextlib
import ctypes
import math
import os
import sys
import warnings
from collections.abc import Generator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from kilter._system import context_value
from kilter._xla.equations import equations_of

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
    # Processes share the cache. One that cannot get its lock in time compiles instead, which only costs time.
    busy = r"Error (reading|writing) persistent compilation cache entry .*: Timeout: "
    warnings.filterwarnings("ignore", busy, UserWarning)
    if directory is None or jax.config.values["jax_compilation_cache_dir"]:
        return
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


TESTED_JAX: Final = ("0.10.0", "0.11")
"""The first version of JAX that rules and options for XLA were tested with, and the first one that they were
not tested with."""


def is_tested() -> bool:
    """Whether kilter's rules and options for XLA were tested with the installed JAX."""
    low, high = (tuple(map(int, bound.split("."))) for bound in TESTED_JAX)
    parts = [int(part) for part in jax.__version__.split(".")[:3] if part.isdigit()]
    return low <= tuple(parts) < high


# How often a quick program runs; 0 for programs that are not quick.
_runs: ContextVar[float] = ContextVar("kilter_quick_runs", default=0)
# Work of all runs of a program up to which it is not optimised: that saves more than these runs lose.
# Counted as in kilter._engine.step_cost.
UNOPTIMIZED_WORK: Final = 1e9
# Fewer kernels, compiled one after another: a quarter to a half less to compile, for steps as fast or, with
# narrow dense layers, up to half as slow again.
_QUICK: Final = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}


@contextlib.contextmanager
def quick_compilation(runs: float = math.inf) -> Generator[None]:
    """Context in which programs for a CPU compile faster, to slower code. No effect on other devices.

    For programs without convolutions, which would be too slow. ``runs``: how often each of them is run; those
    that run little are not optimised at all.
    """
    with context_value(_runs, runs), fast_compilation():
        yield


def is_quick() -> bool:
    """Whether programs are compiled faster, to slower code."""
    return _runs.get() > 0 and jax.default_backend() == "cpu"


def compile_options(
    *, compares: bool = False, hoists: bool = True, rare: bool = False, work: float = math.inf
) -> dict[str, Any]:
    """Options for XLA by platform: on a CPU, the widest vectors that the machine has.

    None with a JAX that kilter was not tested with, whose XLA may not know them. Unless it ``hoists``, what a
    loop computes alike in every step stays in the loop. In a training step these are the factors of frozen
    normalisation: short vectors, each of which would be a kernel to compile. A ``rare`` program, such as that
    of the last partial batch, compiles at level 1: an eighth less, and its step takes as long (decision 149).

    Within :func:`quick_compilation` less optimisation; none if the program, with this ``work``, runs little.
    One that also compares floats for equality (``compares``, see :func:`compares_floats`) is not fused then.
    """
    if jax.default_backend() != "cpu" or not is_tested():
        return {}
    if rare and not is_quick():
        return {"xla_backend_optimization_level": 1}
    if not is_quick():
        stays = {} if hoists else {"xla_disable_hlo_passes": "while-loop-invariant-code-motion"}
        return {"xla_cpu_prefer_vector_width": 512} | stays
    if _runs.get() * work > UNOPTIMIZED_WORK:
        return {"xla_backend_optimization_level": 1, **_QUICK}
    whole = {"xla_disable_hlo_passes": "fusion"} if compares else {}
    return {"xla_backend_optimization_level": 0, **_QUICK, **whole}


def compares_floats(jaxpr: Any) -> bool:
    """Whether a jaxpr compares two arrays of floats for equality, as the gradient of a maximum does.

    At optimisation level 0, XLA's CPU backend may fuse an array into two loops that round it differently.
    Where it then looks for the maximum of one in the other, it finds none, and the gradient is wrong or NaN.
    """
    return any(map(_compares_floats, equations_of(jaxpr)))


def _compares_floats(equation: Any) -> bool:
    """Whether an equation compares floats, but not with a constant such as 0."""
    named = equation.primitive.name == "eq" and not any(isinstance(one, Literal) for one in equation.invars)
    return named and jnp.issubdtype(equation.invars[0].aval.dtype, jnp.inexact)


enable_cache()
