"""Selects the JAX backend before Keras loads.

Every package that uses Keras imports this module first. Keras fixes its backend on import, so it cannot be
changed later. If another backend is already loaded, an error says so.
"""

import functools
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Final

from kilter.errors import BackendError, RunWarning

# Limits of the shell. The first training of a small network takes 2.3 GB of address space on two cores, and a
# checkpoint fails with 24 open files, not with 32.
_LEAST: Final = {
    "Max address space": (4 << 30, "bytes of address space", "XLA may end it without an error", "-v"),
    "Max open files": (64, "open files", "saving a checkpoint may fail", "-n"),
}
_LIMITS: Final = Path("/proc/self/limits")


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
    """Warn of a limit of the shell that is too low for JAX or for checkpoints; on Linux only."""
    try:
        limits = _LIMITS.read_text(encoding="utf-8")
    except OSError:
        return  # another system
    for name, (least, what, effect, option) in _LEAST.items():
        found = re.search(rf"^{name} +(\d+) ", limits, re.MULTILINE)  # the soft limit, unless "unlimited"
        if found and int(found[1]) < least:
            warnings.warn(
                f"this process may use only {int(found[1]):,} {what}: with fewer than {least:,} {effect}. "
                f"Raise the limit with ulimit {option}",
                RunWarning,
                stacklevel=2,
            )


@functools.cache
def _parent() -> int:
    """The process that called this first, which child processes inherit: see :func:`note_fork`."""
    return os.getpid()


def note_fork() -> None:
    """Called before a fork: remember this process if JAX has started threads, which the child will lack."""
    # The public way, jax.extend.backend.backends(), would start them.
    if getattr(sys.modules.get("jax._src.xla_bridge"), "_backends", None):
        _parent()


def require_own_jax() -> None:
    """Raise :class:`BackendError` in a process forked after JAX had started, where it would hang."""
    if _parent.cache_info().currsize and _parent() != os.getpid():
        raise BackendError(
            expected="a process that started JAX itself",
            received="a process forked after JAX had started; JAX would hang in it, and so would model.fit",
            remedy='use multiprocessing.get_context("spawn"), or fork before the first model is made',
        )


require_jax()
warn_of_limits()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=note_fork)
